//! Runs that somebody comes back for, by REST: started without waiting, or with a key.

use openact_server::ServerSettings;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use support::upstream::{Answer, Upstream};

use super::{Served, octocat, over};

const TRN: &str = "trn:openact:default:action/http/get@v1";

#[tokio::test]
async fn a_run_is_started_looked_at_and_followed() {
    let upstream = Upstream::start(|_| Answer::Held(r#"{"late": true}"#.into())).await;
    let served = Served::start(over(&upstream).await, ServerSettings::default()).await;
    let started = served.post("/api/v1/runs", json!({"action_trn": TRN, "input": {}})).await;
    assert_eq!(started.status, StatusCode::ACCEPTED);
    let place = started.headers["location"].to_str().unwrap().to_owned();
    upstream.wait_for_held(1).await;
    assert_eq!(served.get(&place).await.data()["state"], "running");
    let url = format!("{}{place}/events", served.url);
    let events = tokio::spawn(async move { reqwest::get(url).await.unwrap().text().await.unwrap() });
    upstream.release();
    let events = events.await.unwrap();
    let last = events.split("event: result\ndata: ").nth(1).unwrap();
    assert_eq!(serde_json::from_str::<Value>(last).unwrap()["data"]["result"]["body"], json!({"late": true}));
    let over = served.get(&place).await;
    assert_eq!(
        (&over.data()["state"], &over.data()["result"]["body"]),
        (&json!("succeeded"), &json!({"late": true}))
    );
    served.send(Method::POST, &format!("{place}/cancel"), &[], None).await.error(409, "CONFLICT");
    // Whoever has the last event is told nothing more.
    let id = events.lines().find_map(|line| line.strip_prefix("id: ")).unwrap();
    let again = served.send(Method::GET, &format!("{place}/events"), &[("last-event-id", id)], None).await;
    assert!(!again.text.contains("event: "), "{}", again.text);
}

#[tokio::test]
async fn a_run_is_cancelled() {
    let upstream = Upstream::start(|_| Answer::Held("{}".into())).await;
    let served = Served::start(over(&upstream).await, ServerSettings::default()).await;
    let started = served.post("/api/v1/runs", json!({"action_trn": TRN, "input": {}})).await;
    let place = started.headers["location"].to_str().unwrap().to_owned();
    upstream.wait_for_held(1).await;
    served.send(Method::POST, &format!("{place}/cancel"), &[], None).await.data();
    let events = served.get(&format!("{place}/events")).await;
    assert!(events.text.contains("event: error"), "{}", events.text);
    assert_eq!(served.get(&place).await.data()["state"], "cancelled");
}

#[tokio::test]
async fn m8_another_tenants_run_is_not_found_by_any_of_its_routes() {
    let (_upstream, served) = octocat(ServerSettings::default()).await;
    let started = served.post("/api/v1/runs", json!({"action_trn": TRN, "input": {}})).await;
    let place = started.headers["location"].to_str().unwrap().to_owned();
    let other = [("x-tenant", "other")];
    for (method, path) in [
        (Method::GET, place.clone()),
        (Method::GET, format!("{place}/events")),
        (Method::POST, format!("{place}/cancel")),
    ] {
        served.send(method, &path, &other, None).await.error(404, "NOT_FOUND");
    }
}

#[tokio::test]
async fn a5_a_key_runs_once_and_another_body_is_refused() {
    let (upstream, served) = octocat(ServerSettings::default()).await;
    let send = async |key: &str, body: Value| {
        let headers = [("content-type", "application/json"), ("idempotency-key", key)];
        served.send(Method::POST, "/api/v1/execute", &headers, Some(&body.to_string())).await
    };
    let body = json!({"action_trn": TRN, "input": {"login": "x"}});
    let first = send("k1", body.clone()).await;
    let again = send("k1", body.clone()).await;
    assert_eq!(first.data(), again.data());
    assert_eq!(first.json["metadata"]["run_id"], again.json["metadata"]["run_id"]);
    assert_eq!(upstream.received().len(), 1);
    send("k1", json!({"action_trn": TRN, "input": {"login": "y"}})).await.error(422, "IDEMPOTENCY_MISMATCH");
    assert_eq!(upstream.received().len(), 1);
    send("k2", body).await.data();
    assert_eq!(upstream.received().len(), 2);
}

#[tokio::test]
async fn a5_a_key_in_flight_is_a_conflict() {
    let upstream = Upstream::start(|_| Answer::Held("{}".into())).await;
    let served = Served::start(over(&upstream).await, ServerSettings::default()).await;
    let body = json!({"action_trn": TRN, "input": {}}).to_string();
    let request = reqwest::Client::new()
        .post(format!("{}/api/v1/execute", served.url))
        .header("content-type", "application/json")
        .header("idempotency-key", "k")
        .body(body.clone());
    let in_flight = tokio::spawn(async move { request.send().await.unwrap().status() });
    upstream.wait_for_held(1).await;
    let headers = [("content-type", "application/json"), ("idempotency-key", "k")];
    served.send(Method::POST, "/api/v1/execute", &headers, Some(&body)).await.error(409, "CONFLICT");
    upstream.release();
    assert_eq!(in_flight.await.unwrap(), 200);
    assert_eq!(upstream.received().len(), 1);
}
