//! Requests that are wrong, broken off or endless: none of them runs an action.

use openact_server::ServerSettings;
use reqwest::Method;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{Served, octocat};

const EXECUTE: &str = "/api/v1/actions/http.get/execute?version=1";
const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test]
async fn a_wrong_body_is_told_in_the_envelope_and_runs_nothing() {
    let (upstream, served) = octocat(ServerSettings::default()).await;
    for body in [
        "",
        "{",
        "null",
        "[]",
        "\"x\"",
        "{}",
        r#"{"input": null}"#,
        r#"{"input": "x"}"#,
        r#"{"input": []}"#,
        r#"{"input": {}} x"#,
        r#"{"input": {}, "more": 1}"#,
        r#"{"input": {}, "options": {"dryrun": true}}"#,
        r#"{"input": {}, "options": {"timeout_ms": "9"}}"#,
        r#"{"input": {}, "options": {"timeout_ms": 0}}"#,
        r#"{"input": {}, "options": {"timeout_ms": -1}}"#,
        r#"{"input": {}, "input": {}}"#,
        r#"{"input": {"login": 5}}"#,
        r#"{"input": {"other": "x"}}"#,
    ] {
        let got = served.send(Method::POST, EXECUTE, &[JSON], Some(body)).await;
        got.error(400, "INVALID_INPUT");
    }
    let deep = format!(r#"{{"input": {{"login": {}1{}}}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    served.send(Method::POST, EXECUTE, &[JSON], Some(&deep)).await.error(400, "INVALID_INPUT");
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"] {
        let got =
            served.send(Method::POST, EXECUTE, &[("content-type", kind)], Some(r#"{"input": {}}"#)).await;
        got.error(415, "INVALID_INPUT");
    }
    served.send(Method::POST, EXECUTE, &[], None).await.error(415, "INVALID_INPUT");
    for query in ["version=1&verison=2", "version=1&validate=perhaps", "version=1&version=2"] {
        let path = format!("/api/v1/actions/http.get/execute?{query}");
        served.post(&path, json!({"input": {}})).await.error(400, "INVALID_INPUT");
    }
    assert!(upstream.received().is_empty());
    assert_eq!(
        served.get("/api/v1/runs?status=failed").await.data()["runs"].as_array().unwrap().len(),
        2,
        "what reached the action"
    );
}

#[tokio::test]
async fn a_wrong_method_and_an_unknown_path_are_told_in_the_envelope() {
    let (_upstream, served) = octocat(ServerSettings::default()).await;
    let got = served.get(EXECUTE).await;
    got.error(405, "INVALID_INPUT");
    assert_eq!(got.headers["allow"], "POST");
    served.send(Method::DELETE, "/api/v1/kinds", &[], None).await.error(405, "INVALID_INPUT");
    for path in [
        "/",
        "/api",
        "/api/v1",
        "/api/v1/",
        "/api/v2/actions",
        "/api/v1/actions/",
        "/api/v1/actions/a/b",
        "/mcp",
    ] {
        served.get(path).await.error(404, "NOT_FOUND");
    }
    for path in ["/api/v1/actions/%FF/schema", "/api/v1/actions/%00/schema", "/api/v1/runs/none"] {
        served.get(path).await.error(400, "INVALID_INPUT");
    }
}

#[tokio::test]
async fn a_body_over_its_bound_is_not_read() {
    let (upstream, served) = octocat(ServerSettings::default()).await;
    let address = served.url.strip_prefix("http://").unwrap();
    let head = format!("POST {EXECUTE} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n");
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("{head}content-length: 99999999999\r\n\r\n{{").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("INVALID_INPUT"), "{answer}");
    // Without a length it is counted.
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("{head}transfer-encoding: chunked\r\n\r\n").as_bytes()).await.unwrap();
    let chunk = format!("{:x}\r\n{}\r\n", 1 << 20, " ".repeat(1 << 20));
    let (mut reading, mut writing) = stream.into_split();
    let sent = tokio::spawn(async move { while writing.write_all(chunk.as_bytes()).await.is_ok() {} });
    let mut answer = Vec::new();
    let _ = reading.read_to_end(&mut answer).await;
    assert!(answer.starts_with(b"HTTP/1.1 413 "), "{}", String::from_utf8_lossy(&answer));
    sent.await.unwrap();
    assert!(upstream.received().is_empty());
}

#[tokio::test]
async fn a_body_that_ends_early_runs_nothing() {
    let (upstream, served) = octocat(ServerSettings::default()).await;
    let address = served.url.strip_prefix("http://").unwrap().to_owned();
    let head = format!("POST {EXECUTE} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n");
    let body = r#"{"input": {}}"#;
    for broken in [
        // A whole document, less than what was announced.
        format!("{head}content-length: {}\r\n\r\n{body}", body.len() + 5),
        format!("{head}transfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n", body.len()),
        format!("{head}transfer-encoding: chunked\r\n\r\nzz\r\n{body}\r\n0\r\n\r\n"),
        format!("{head}content-length: 5\r\ncontent-length: 13\r\n\r\n{body}"),
        format!("{head}content-length: 13\r\n\r\n{}", &body[..5]),
    ] {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        stream.write_all(broken.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert!(
            !String::from_utf8_lossy(&answer).contains(" 200 "),
            "{broken:?} {}",
            String::from_utf8_lossy(&answer)
        );
    }
    // What comes whole still runs.
    served.post(EXECUTE, json!({"input": {}})).await.data();
    assert_eq!(upstream.received().len(), 1);
    assert_runs(&served, 1).await;
}

async fn assert_runs(served: &Served, count: usize) {
    assert_eq!(served.get("/api/v1/runs").await.data()["runs"].as_array().unwrap().len(), count);
}

#[tokio::test]
async fn connections_that_say_nothing_hold_nobody() {
    let (_upstream, served) = octocat(ServerSettings::default()).await;
    let address = served.url.strip_prefix("http://").unwrap();
    let mut silent = Vec::new();
    for index in 0..200 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        if index % 2 == 0 {
            stream.write_all(b"POST /api/v1/execute HTTP/1.1\r\nhost: loc").await.unwrap();
        }
        silent.push(stream);
    }
    served.post(EXECUTE, json!({"input": {}})).await.data();
    // Nor do they hold the server's end: what is idle is closed at once.
    drop(silent.drain(100..));
}
