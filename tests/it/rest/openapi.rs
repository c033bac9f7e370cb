//! The OpenAPI document, and whether it tells the truth.

use openact_server::ServerSettings;

use super::octocat;

/// `UPDATE=1` writes it anew.
#[test]
fn the_document_is_the_one_checked_in() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");
    let made = openact_server::openapi_json() + "\n";
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, &made).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    assert!(kept == made, "docs/openapi.json is not what the routes say; write it anew with UPDATE=1");
}

#[tokio::test]
async fn the_pages_ask_no_other_host() {
    let (_upstream, served) = octocat(ServerSettings::default()).await;
    for (path, kind) in
        [("/docs", "text/html"), ("/docs/docs.js", "text/javascript"), ("/docs/docs.css", "text/css")]
    {
        let got = served.get(path).await;
        assert!(got.headers["content-type"].to_str().unwrap().starts_with(kind), "{path}");
        let policy = got.headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        assert!(!got.text.contains("https://") && !got.text.contains("//cdn"), "{path}");
        assert!(got.text.len() > 200, "{path}");
    }
    let got = served.get("/api/v1/openapi.json").await;
    assert_eq!(got.json["openapi"], "3.1.0");
    assert_eq!(got.text, openact_server::openapi_json());
}
