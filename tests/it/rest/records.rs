//! Connections and actions written by REST, and actions that are in the request itself.

use openact_server::{Inline, ServerSettings};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use support::upstream::Upstream;

use super::{Got, Served, octocat, over};
use crate::setup::memory;

async fn write(served: &Served, method: Method, path: &str, condition: &[(&str, &str)], body: Value) -> Got {
    let mut headers = vec![("content-type", "application/json")];
    headers.extend(condition);
    served.send(method, path, &headers, Some(&body.to_string())).await
}

#[tokio::test]
async fn records_are_created_changed_and_deleted_under_their_etag() {
    let (upstream, served) = octocat(ServerSettings::default()).await;
    let connection = |path: &str| json!({"connector": "http", "name": "new", "config": {"base_url": format!("{}{path}", upstream.url())}});
    let created = write(&served, Method::POST, "/api/v1/connections", &[], connection("/a")).await;
    assert_eq!((created.status, created.headers.contains_key("location")), (StatusCode::CREATED, true));
    write(&served, Method::POST, "/api/v1/connections", &[], connection("/b")).await.error(409, "CONFLICT");
    let action = json!({"connector": "http", "name": "go", "connection": "new", "config": {"path": "/user"}});
    write(&served, Method::POST, "/api/v1/actions", &[], action).await.data();
    served.post("/api/v1/actions/http.go/execute?version=1", json!({"input": {}})).await.data();
    assert_eq!(upstream.received()[0].target, "/a/user");

    let path = "/api/v1/connections/http.new";
    let etag = served.get(path).await.headers["etag"].to_str().unwrap().to_owned();
    // Who has it already is told so, and nothing else.
    let known = [("if-none-match", etag.as_str())];
    let same = served.send(Method::GET, path, &known, None).await;
    assert_eq!((same.status, same.text.as_str()), (StatusCode::NOT_MODIFIED, ""));
    assert_eq!(same.headers["etag"].to_str().unwrap(), etag);
    assert!(
        same.headers.contains_key("x-request-id") && !same.headers.contains_key("content-type"),
        "{same:?}"
    );
    served.send(Method::GET, "/api/v1/actions/http.go", &known, None).await.data();
    let changed = write(&served, Method::PUT, path, &[("if-match", &etag)], connection("/b")).await;
    assert_eq!(
        (changed.status, &changed.data()["trn"]),
        (StatusCode::OK, &json!("trn:openact:default:connection/http/new@v2"))
    );
    assert_ne!(served.send(Method::GET, path, &known, None).await.data()["trn"], Value::Null);
    // Who looked before the change does not write over it, nor delete it.
    write(&served, Method::PUT, path, &[("if-match", &etag)], connection("/c")).await.error(409, "CONFLICT");
    served.send(Method::DELETE, path, &[("if-match", &etag)], None).await.error(409, "CONFLICT");
    write(&served, Method::PUT, path, &[("if-match", "nonsense")], connection("/c"))
        .await
        .error(400, "INVALID_INPUT");
    write(&served, Method::PUT, "/api/v1/connections/http.other", &[], connection("/c"))
        .await
        .error(400, "INVALID_INPUT");
    served.post("/api/v1/actions/http.go/execute?version=latest", json!({"input": {}})).await.data();
    assert_eq!(upstream.received()[1].target, "/b/user");

    served.send(Method::DELETE, path, &[], None).await.error(409, "CONFLICT");
    served
        .send(Method::DELETE, "/api/v1/actions/http.go", &[("x-tenant", "other")], None)
        .await
        .error(404, "NOT_FOUND");
    served.send(Method::DELETE, "/api/v1/actions/http.go", &[], None).await.data();
    served.send(Method::DELETE, path, &[], None).await.data();
    served.get(path).await.error(404, "NOT_FOUND");
    served
        .post("/api/v1/actions/http.go/execute?version=latest", json!({"input": {}}))
        .await
        .error(404, "NOT_FOUND");
}

#[tokio::test]
async fn a_record_that_is_wrong_or_reaches_into_the_server_is_refused() {
    let (_upstream, served) = octocat(ServerSettings::default()).await;
    let token = |reference: Value| {
        json!({"connector": "http", "name": "new", "config": {
            "base_url": "https://example.com", "authorization": {"type": "bearer", "token": reference}}})
    };
    for reference in [json!({"$env": "HOME"}), json!({"$file": "/etc/passwd"}), json!("${HOME}")] {
        let got = write(&served, Method::POST, "/api/v1/connections", &[], token(reference)).await;
        assert_eq!(got.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", got.text);
    }
    let sealed = write(&served, Method::POST, "/api/v1/connections", &[], token(json!("canary-token"))).await;
    assert!(sealed.status == StatusCode::CREATED && !sealed.text.contains("canary-token"), "{}", sealed.text);
    let misspelt = json!({"connector": "http", "name": "x", "config": {"base_ur": "https://example.com"}});
    write(&served, Method::POST, "/api/v1/connections", &[], misspelt).await.error(422, "INVALID_CONFIG");
    let more = json!({"connector": "http", "name": "x", "config": {}, "more": 1});
    write(&served, Method::POST, "/api/v1/connections", &[], more).await.error(400, "INVALID_INPUT");
}

#[tokio::test]
async fn an_action_in_the_request_runs_apart_from_what_is_stored() {
    let upstream = Upstream::json(r#"{"login": "octocat"}"#).await;
    let settings = ServerSettings {
        inline: Some(Inline::new(|| memory(&[("HOME", "canary")]))),
        ..ServerSettings::default()
    };
    let served = Served::start(over(&upstream).await, settings).await;
    let body = |connection: Value| {
        json!({"config": {"connectors": {"http": {"connections": {"c": connection}, "actions": {"now": {"connection": "c", "path": "/x"}}}}},
               "action": "http/now", "input": {}})
    };
    let got = served.post("/api/v1/execute-inline", body(json!({"base_url": upstream.url()}))).await;
    assert_eq!(got.data()["result"]["body"], json!({"login": "octocat"}));
    assert_eq!(got.json["metadata"]["warnings"], json!(["the run is not kept"]));
    served
        .post("/api/v1/actions/http.now/execute?version=latest", json!({"input": {}}))
        .await
        .error(404, "NOT_FOUND");
    for reference in [json!({"$env": "HOME"}), json!({"$file": "/etc/passwd"}), json!("${HOME}")] {
        let connection =
            json!({"base_url": upstream.url(), "authorization": {"type": "bearer", "token": reference}});
        served.post("/api/v1/execute-inline", body(connection)).await.error(422, "INVALID_CONFIG");
    }
    // A door that was not told how runs none.
    let (_other, closed) = octocat(ServerSettings::default()).await;
    closed
        .post("/api/v1/execute-inline", body(json!({"base_url": "https://example.com"})))
        .await
        .error(403, "FORBIDDEN");
    assert_eq!(upstream.received().len(), 1);
}
