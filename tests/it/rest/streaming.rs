//! Results as they come.

use futures_util::StreamExt;
use openact::{Format, RunFilter, Tenant};
use openact_server::ServerSettings;
use serde_json::{Value, json};
use support::{
    guests::guest,
    upstream::{Answer, Upstream},
};

use super::{Served, listener::until};
use crate::setup::{config, memory};

/// The guest that does what its input says, with an upstream to wait for.
async fn puppet(upstream: &Upstream) -> Served {
    let text = config("puppet", json!({"base_url": upstream.url()}), json!({"play": {}}));
    let builder = memory(&[]).connector_bytes(guest("puppet")).config_text(text, Format::Json);
    Served::start(builder.build().await.unwrap(), ServerSettings::default()).await
}

fn body(script: &str) -> String {
    let hex: String = script.bytes().map(|byte| format!("{byte:02x}")).collect();
    json!({"input": {"script": hex}, "options": {"stream": true}}).to_string()
}

async fn play(served: &Served, accept: &str, script: &str) -> reqwest::Response {
    reqwest::Client::new()
        .post(format!("{}/api/v1/actions/puppet.play/execute?version=1", served.url))
        .header("content-type", "application/json")
        .header("accept", accept)
        .header("accept-encoding", "gzip")
        .body(body(script))
        .send()
        .await
        .unwrap()
}

const HELD: &str = "SGET\t@/x\t\t\t";

#[tokio::test]
async fn items_come_as_events_before_the_action_has_ended() {
    let upstream = Upstream::start(|_| Answer::Held("{}".into())).await;
    let served = puppet(&upstream).await;
    let script = format!("E1\nE{{\"a\":\"b\"}}\n{HELD}\no{{\"end\": true}}");
    let response = play(&served, "text/event-stream", &script).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert!(!response.headers().contains_key("content-encoding"), "it would be held back");
    let mut bytes = response.bytes_stream();
    let mut text = String::new();
    let items = "event: item\ndata: 1\n\nevent: item\ndata: {\"a\":\"b\"}\n\n";
    while text.len() < items.len() {
        text.push_str(std::str::from_utf8(&bytes.next().await.unwrap().unwrap()).unwrap());
    }
    assert_eq!(text, items);
    upstream.wait_for_held(1).await;
    upstream.release();
    let mut rest = String::new();
    while let Some(more) = bytes.next().await {
        rest.push_str(std::str::from_utf8(&more.unwrap()).unwrap());
    }
    let last = rest.strip_prefix("event: result\ndata: ").unwrap();
    let last: Value = serde_json::from_str(last).unwrap();
    assert_eq!((&last["success"], &last["data"]["result"]), (&json!(true), &json!({"end": true})));
    assert_eq!(last["metadata"]["version"], 1);
}

#[tokio::test]
async fn items_come_as_lines_and_the_last_is_the_envelope() {
    let upstream = Upstream::json("{}").await;
    let served = puppet(&upstream).await;
    let text = play(&served, "application/x-ndjson", "E1\nE2\no{\"end\": true}").await.text().await.unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[..2], [json!({"item": 1}), json!({"item": 2})]);
    assert_eq!((lines.len(), &lines[2]["data"]["result"]["end"]), (3, &json!(true)));
}

#[tokio::test]
async fn a_failure_after_items_is_the_last_word_and_before_them_a_status() {
    let upstream = Upstream::json("{}").await;
    let served = puppet(&upstream).await;
    let response = play(&served, "text/event-stream", "E1\nf6\twhy").await;
    assert_eq!(response.status(), 200);
    let text = response.text().await.unwrap();
    let last = text.split("event: error\ndata: ").nth(1).unwrap();
    assert_eq!(serde_json::from_str::<Value>(last).unwrap()["success"], false);
    let response = play(&served, "text/event-stream", "f6\twhy").await;
    assert!(response.status().is_server_error() || response.status().is_client_error());
    assert_eq!(response.headers()["content-type"], "application/json");
    let response = play(&served, "application/json", "E1").await;
    assert_eq!(response.status(), 400);
}

#[tokio::test]
async fn a_reader_that_leaves_ends_the_call() {
    let upstream = Upstream::start(|_| Answer::Held("{}".into())).await;
    let served = puppet(&upstream).await;
    let response = play(&served, "application/x-ndjson", &format!("E1\n{HELD}")).await;
    upstream.wait_for_held(1).await;
    drop(response);
    // The instance is given back: as many calls as there are places run after one another, each left in the middle.
    for _ in 0..8 {
        drop(play(&served, "application/x-ndjson", &format!("E1\n{HELD}")).await);
    }
    let text = play(&served, "application/x-ndjson", "o1").await.text().await.unwrap();
    assert!(text.contains(r#""success":true"#), "{text}");
    let (tenant, failed) = (Tenant::default(), RunFilter { failed_only: true, ..RunFilter::default() });
    // Each of them has a record all the same.
    until(async || served.openact.list_runs(&tenant, 20, &failed).await.unwrap().len() == 9).await;
}
