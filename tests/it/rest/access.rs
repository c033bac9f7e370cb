//! Who may call: from where, by which page, with which token.

use openact::{ExposeSecret, Governance, NewToken, TokenScope};
use openact_server::ServerSettings;
use reqwest::Method;
use serde_json::json;

use super::{Got, Served, octocat};

/// The text of a new token.
async fn token(served: &Served, name: &str, scope: TokenScope) -> String {
    let (_, text) =
        served.openact.create_token(NewToken { name: name.into(), scope, expires_at: None }).await.unwrap();
    text.expose_secret().to_owned()
}

async fn send(
    served: &Served,
    token: &str,
    method: Method,
    path: &str,
    body: Option<serde_json::Value>,
) -> Got {
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    served.send(method, path, &headers, body.map(|body| body.to_string()).as_deref()).await
}

#[tokio::test]
async fn m1_with_a_token_in_the_store_every_caller_needs_one() {
    let (upstream, served) = octocat(ServerSettings::default()).await;
    served.get("/api/v1/actions").await.data();
    let text = token(&served, "ci", TokenScope::default()).await;
    for path in ["/api/v1/actions", "/metrics", "/api/v1/nowhere"] {
        served.get(path).await.error(401, "UNAUTHENTICATED");
    }
    send(&served, &text, Method::GET, "/api/v1/actions", None).await.data();
    served.send(Method::GET, "/api/v1/actions", &[("x-api-key", &text)], None).await.data();
    // A page of a name that was bound anew to this address has no token, and so is told nothing.
    served
        .send(Method::GET, "/api/v1/actions", &[("host", "evil.example")], None)
        .await
        .error(401, "UNAUTHENTICATED");
    let execute = "/api/v1/actions/http.get/execute?version=1";
    served.post(execute, json!({"input": {}})).await.error(401, "UNAUTHENTICATED");
    assert!(upstream.received().is_empty());
    served.openact.revoke_token("ci").await.unwrap();
    send(&served, &text, Method::POST, execute, Some(json!({"input": {}})))
        .await
        .error(401, "UNAUTHENTICATED");
    assert!(upstream.received().is_empty());
}

#[tokio::test]
async fn m6_a_token_that_runs_actions_manages_nothing() {
    let (_upstream, served) = octocat(ServerSettings::default()).await;
    let runs = token(&served, "runs", TokenScope::default()).await;
    let manages = token(&served, "manages", TokenScope { may_manage: true, ..TokenScope::default() }).await;
    let bound = TokenScope {
        may_manage: true,
        tenants: Some(vec![openact::Tenant::default()]),
        ..TokenScope::default()
    };
    let bound = token(&served, "bound", bound).await;
    let made = json!({"name": "more", "manage": true});
    let inline = json!({"config": {}, "action": "x", "input": {}});
    let managing = [
        (Method::GET, "/api/v1/connections", None),
        (Method::GET, "/api/v1/connections/http.c", None),
        (Method::POST, "/api/v1/connections/http.c/check", None),
        (Method::GET, "/api/v1/actions/http.get", None),
        (Method::GET, "/api/v1/secrets", None),
        (Method::POST, "/api/v1/secrets", Some(json!({"name": "a", "value": "b"}))),
        (Method::GET, "/api/v1/connectors", None),
        (Method::POST, "/api/v1/execute-inline", Some(inline)),
        (Method::GET, "/api/v1/audit", None),
        (Method::GET, "/api/v1/tokens", None),
        (Method::POST, "/api/v1/tokens", Some(made)),
        (Method::DELETE, "/api/v1/tokens/manages", None),
        (Method::DELETE, "/api/v1/connectors/x", None),
    ];
    for (method, path, body) in managing {
        send(&served, &runs, method.clone(), path, body.clone()).await.error(403, "FORBIDDEN");
        let of_all = path.starts_with("/api/v1/tokens") || method == Method::DELETE;
        if of_all {
            send(&served, &bound, method, path, body).await.error(403, "FORBIDDEN");
        }
    }
    assert_eq!(served.openact.list_tokens().await.unwrap().len(), 3);
    for path in
        ["/api/v1/kinds", "/api/v1/actions", "/api/v1/actions/http.get/schema", "/api/v1/runs", "/metrics"]
    {
        assert!(send(&served, &runs, Method::GET, path, None).await.status.is_success(), "{path}");
    }
    let made = send(&served, &manages, Method::POST, "/api/v1/tokens", Some(json!({"name": "more"}))).await;
    let text = made.data()["token"].as_str().unwrap().to_owned();
    send(&served, &text, Method::GET, "/api/v1/actions", None).await.data();
    assert!(!send(&served, &manages, Method::GET, "/api/v1/tokens", None).await.text.contains(&text));
    send(&served, &manages, Method::DELETE, "/api/v1/tokens/more", None).await.data();
    send(&served, &text, Method::GET, "/api/v1/actions", None).await.error(401, "UNAUTHENTICATED");
}

#[tokio::test]
async fn m7_a_token_sees_and_runs_what_it_and_the_door_allow() {
    let of_door = Governance { allow: vec!["http.*".parse().unwrap()], deny: vec![] };
    let settings = ServerSettings { governance: of_door.into(), ..ServerSettings::default() };
    let (upstream, served) = octocat(settings).await;
    let governance = Governance { allow: vec!["*.get".parse().unwrap()], deny: vec![] };
    let text = token(&served, "reader", TokenScope { governance, ..TokenScope::default() }).await;
    let listed = send(&served, &text, Method::GET, "/api/v1/actions", None).await;
    assert_eq!((&listed.data()["total"], &listed.data()["actions"][0]["name"]), (&json!(1), &json!("get")));
    let body = Some(json!({"input": {}}));
    send(&served, &text, Method::POST, "/api/v1/actions/http.remove/execute?version=1", body.clone())
        .await
        .error(403, "FORBIDDEN");
    let started = json!({"action_trn": "trn:openact:default:action/http/remove@v1", "input": {}});
    send(&served, &text, Method::POST, "/api/v1/runs", Some(started)).await.error(403, "FORBIDDEN");
    assert!(upstream.received().is_empty());
    send(&served, &text, Method::POST, "/api/v1/actions/http.get/execute?version=1", body).await.data();
}

#[tokio::test]
async fn a_tokens_rate_and_concurrency_are_kept() {
    let upstream = support::upstream::Upstream::start(|_| support::upstream::Answer::Held("{}".into())).await;
    let served = Served::start(super::over(&upstream).await, ServerSettings::default()).await;
    let one = token(&served, "one", TokenScope { concurrency: Some(1), ..TokenScope::default() }).await;
    let (url, bearer) =
        (format!("{}/api/v1/actions/http.get/execute?version=1", served.url), format!("Bearer {one}"));
    let request = reqwest::Client::new()
        .post(url)
        .header("authorization", bearer)
        .header("content-type", "application/json");
    let in_flight =
        tokio::spawn(async move { request.body(r#"{"input": {}}"#).send().await.unwrap().status() });
    upstream.wait_for_held(1).await;
    let got = send(&served, &one, Method::GET, "/api/v1/actions", None).await;
    assert_eq!(got.error(429, "RATE_LIMITED")["retryable"], true);
    assert_eq!(got.headers["retry-after"], "1");
    upstream.release();
    assert_eq!(in_flight.await.unwrap(), 200);
    send(&served, &one, Method::GET, "/api/v1/actions", None).await.data();
    let slow = token(&served, "slow", TokenScope { rate_per_second: Some(1), ..TokenScope::default() }).await;
    let mut limited = 0;
    for _ in 0..20 {
        limited +=
            usize::from(send(&served, &slow, Method::GET, "/api/v1/actions", None).await.status == 429);
    }
    assert!(limited > 0);
}

#[tokio::test]
async fn m1_a_foreign_host_or_origin_is_refused() {
    let (_upstream, served) = octocat(ServerSettings::default()).await;
    let address = served.url.strip_prefix("http://").unwrap().to_owned();
    for host in ["evil.example", "localhost.evil.example", "169.254.169.254", ""] {
        for path in ["/api/v1/actions", "/health", "/docs", "/nowhere"] {
            served.send(Method::GET, path, &[("host", host)], None).await.error(403, "FORBIDDEN");
        }
    }
    for host in ["localhost", "localhost:1234", "127.0.0.1", "[::1]:80"] {
        served.send(Method::GET, "/api/v1/actions", &[("host", host)], None).await.data();
    }
    for origin in ["https://evil.example", "null", "http://localhost:1", "http://127.0.0.1.evil.example"] {
        served
            .send(Method::GET, "/api/v1/actions", &[("origin", origin)], None)
            .await
            .error(403, "FORBIDDEN");
    }
    let own = format!("http://{address}");
    let got = served.send(Method::GET, "/api/v1/actions", &[("origin", &own)], None).await;
    got.data();
    assert!(!got.headers.contains_key("access-control-allow-origin"), "no other site's page reads answers");
}

#[tokio::test]
async fn m1_what_comes_by_way_of_a_proxy_is_not_of_this_machine() {
    let (_upstream, served) = octocat(ServerSettings::default()).await;
    served.get("/api/v1/actions").await.data();
    for header in ["forwarded", "x-forwarded-for", "x-real-ip", "via"] {
        let got = served.send(Method::GET, "/api/v1/actions", &[(header, "203.0.113.7")], None).await;
        got.error(401, "UNAUTHENTICATED");
    }
    let text = token(&served, "ci", TokenScope::default()).await;
    let headers = [("x-forwarded-for", "203.0.113.7"), ("x-api-key", &*text)];
    served.send(Method::GET, "/api/v1/actions", &headers, None).await.data();
}

#[tokio::test]
async fn m1_a_listed_page_may_call_and_a_named_host_is_answered() {
    let settings = ServerSettings {
        cors_origins: vec!["https://app.example".into()],
        hosts: vec!["openact.internal".into()],
        ..ServerSettings::default()
    };
    let (_upstream, served) = octocat(settings).await;
    let headers = [("origin", "https://app.example"), ("host", "openact.internal")];
    let got = served.send(Method::GET, "/api/v1/actions", &headers, None).await;
    got.data();
    assert_eq!(got.headers["access-control-allow-origin"], "https://app.example");
    let asked = [("origin", "https://app.example"), ("access-control-request-method", "POST")];
    let got = served.send(Method::OPTIONS, "/api/v1/execute", &asked, None).await;
    assert!(got.status.is_success() && got.headers.contains_key("access-control-allow-methods"), "{got:?}");
    served
        .send(Method::GET, "/api/v1/actions", &[("host", "other.internal")], None)
        .await
        .error(403, "FORBIDDEN");
    served
        .send(Method::GET, "/api/v1/actions", &[("origin", "https://other.example")], None)
        .await
        .error(403, "FORBIDDEN");
}

#[tokio::test]
async fn m1_off_loopback_nothing_is_answered_without_a_token() {
    let settings = ServerSettings { open_without_tokens: false, ..ServerSettings::default() };
    let (upstream, served) = octocat(settings).await;
    for path in
        ["/api/v1/actions", "/api/v1/connections", "/api/v1/runs", "/api/v1/nowhere", "/metrics", "/mcp"]
    {
        let got = served.get(path).await;
        got.error(401, "UNAUTHENTICATED");
        assert!(got.headers["www-authenticate"].to_str().unwrap().starts_with("Bearer"));
    }
    let body = serde_json::json!({"input": {}});
    served.post("/api/v1/actions/http.get/execute?version=1", body).await.error(401, "UNAUTHENTICATED");
    for header in
        [("authorization", "Bearer oat_x_y"), ("x-api-key", "oat_x_y"), ("authorization", "Basic eDp5")]
    {
        served.send(Method::GET, "/api/v1/actions", &[header], None).await.error(401, "UNAUTHENTICATED");
    }
    for path in ["/health", "/ready", "/version", "/docs", "/api/v1/openapi.json", "/api/v1/health"] {
        assert!(served.get(path).await.status.is_success(), "{path}");
    }
    assert!(upstream.received().is_empty());
}
