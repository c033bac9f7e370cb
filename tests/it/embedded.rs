//! The embedded API: the path of one call, from a file to the result.

use openact::ErrorCode;
use serde_json::json;
use support::upstream::Upstream;

const CONFIG: &str = r#"
connectors:
  http:
    connections:
      github-api:
        base_url: "${BASE_URL}"
        timeout_ms: 30000
        auth: { type: bearer, token: "${GITHUB_TOKEN}" }
    actions:
      get-user:
        connection: github-api
        method: GET
        path: /user
        headers: { Accept: application/vnd.github.v3+json }
"#;

#[tokio::test]
async fn the_seeds_example_runs_with_its_credential() {
    let upstream = Upstream::json(r#"{"login": "octocat"}"#).await;
    let folder = tempfile::tempdir().unwrap();
    let openact = support::builder(folder.path(), &[("BASE_URL", &upstream.url()), ("GITHUB_TOKEN", "canary-token")])
        .master_key(openact::MasterKey::ephemeral().unwrap())
        .config_text(CONFIG, openact::Format::Yaml)
        .build()
        .await
        .unwrap();
    let outcome = openact.run("http/get-user", json!({})).await.unwrap();
    assert_eq!(outcome.result.value().unwrap()["body"], json!({"login": "octocat"}));
    assert_eq!(outcome.result.value().unwrap()["status_code"], 200);
    let received = upstream.received();
    assert_eq!(received[0].header("authorization"), ["Bearer canary-token"]);
    assert_eq!(received[0].header("accept"), ["application/vnd.github.v3+json"]);
    assert_eq!(received[0].target, "/user");
    let missing = openact.run("http/get-usr", json!({})).await.unwrap_err();
    assert_eq!(missing.code, ErrorCode::NotFound);
    assert!(missing.hint.as_deref().unwrap().contains("http/get-user"), "{missing:?}");
    openact.close().await.unwrap();
}
