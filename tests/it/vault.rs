//! `vault://`: secrets of a HashiCorp Vault, KV version 2. The server here is a fake, since no package of a real one can be
//! had where the tests run; it answers as the API's documentation says.

use openact::ErrorCode;
use serde_json::{Value, json};
use support::upstream::Upstream;

use crate::setup::{Via, failure, memory, value};

const TOKEN: &str = "hvs.vault-token-of-the-runtime";

async fn with_vault(vault: &Upstream, upstream: &Upstream, secret: &str) -> openact::OpenAct {
    let builder =
        memory(&[("VAULT_ADDR", &vault.url()), ("VAULT_TOKEN", TOKEN), ("VAULT_NAMESPACE", "team-a")]);
    let connection = json!({"base_url": upstream.url(), "auth": {"type": "bearer", "token": secret}});
    Via::Contract.build(builder, connection, json!({})).await
}

fn kv(data: Value) -> String {
    json!({"request_id": "x", "data": {"data": data, "metadata": {"version": 3}}}).to_string()
}

#[tokio::test]
async fn a_secret_is_read_from_the_vault_and_kept_for_a_while() {
    let vault = Upstream::json(&kv(json!({"token": "from-the-vault", "other": 1}))).await;
    let upstream = Upstream::json("{}").await;
    let openact = with_vault(&vault, &upstream, "vault://secret/apps/api#/token").await;
    for _ in 0..3 {
        value(&openact, "http/send", json!({})).await;
    }
    let asked = vault.received();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].target, "/v1/secret/data/apps/api");
    assert_eq!(asked[0].header("x-vault-token"), [TOKEN]);
    assert_eq!(asked[0].header("x-vault-namespace"), ["team-a"]);
    let sent = upstream.received();
    assert!(sent.iter().all(|request| request.header("authorization") == ["Bearer from-the-vault"]));
    assert!(sent.iter().all(|request| request.header("x-vault-token").is_empty()));
}

#[tokio::test]
async fn c5_a_secret_the_vault_does_not_have_fails_before_the_request() {
    let upstream = Upstream::json("{}").await;
    for (answer, secret) in [
        (kv(json!({"token": "x"})), "vault://secret/a#/missing"),
        (kv(json!({"a": "canary-1", "b": "canary-2"})), "vault://secret/a"),
        (json!({"data": {"token": "canary-3"}}).to_string(), "vault://secret/a#/token"),
        ("canary-4".to_owned(), "vault://secret/a#/token"),
    ] {
        let vault = Upstream::json(&answer).await;
        let openact = with_vault(&vault, &upstream, secret).await;
        let (error, _) = failure(&openact, "http/send", json!({})).await;
        assert!(
            matches!(error.code, ErrorCode::AuthRequired | ErrorCode::UpstreamError),
            "{secret}: {error:?}"
        );
        let said = format!("{error:?} {}", error.to_json());
        assert!(!said.contains("canary") && !said.contains(TOKEN), "{said}");
    }
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn without_a_vault_the_error_names_what_to_set() {
    let upstream = Upstream::json("{}").await;
    let connection =
        json!({"base_url": upstream.url(), "auth": {"type": "bearer", "token": "vault://secret/a#/b"}});
    let openact = Via::Contract.build(memory(&[]), connection, json!({})).await;
    let (error, _) = failure(&openact, "http/send", json!({})).await;
    assert_eq!(error.code, ErrorCode::AuthRequired);
    assert!(error.message.contains("VAULT_ADDR"), "{error:?}");
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn a_malformed_reference_is_refused_when_it_is_read() {
    let text = crate::setup::config(
        "http",
        json!({"base_url": "http://127.0.0.1:9", "auth": {"type": "bearer", "token": "vault://secret"}}),
        json!({"get": {}}),
    );
    let error = memory(&[]).config_text(text, openact::Format::Json).build().await.err().unwrap();
    assert_eq!(error.code, ErrorCode::InvalidConfig);
}
