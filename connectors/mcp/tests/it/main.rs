//! The mcp connector, called natively with servers that follow a script.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should stop where it is"
)]

mod calls;
mod events;
mod hostile;
mod schema;
mod sessions;

use openact_connector::{
    Failure, Request,
    testing::{FakeHost, Invoke},
};
use openact_mcp_connector::Mcp;
use serde_json::{Value, json};

const JSON: &[(&str, &str)] = &[("content-type", "application/json")];
const EVENTS: &[(&str, &str)] = &[("content-type", "text/event-stream; charset=utf-8")];
const URL: &str = "https://mcp.example.com/mcp";

/// What is kept of a server without sessions.
const STATELESS: &str = r#"{"protocol": "2026-07-28"}"#;

/// What is kept of a server with the session `s1`.
const WITH_SESSION: &str = r#"{"protocol": "2025-11-25", "id": "s1"}"#;

fn connection() -> Value {
    json!({"url": URL})
}

/// A host that remembers `kept` of the server.
fn knowing(kept: &str) -> FakeHost {
    FakeHost::new().keep("session", kept)
}

/// Calls an operation.
fn invoke(operation: &'static str, action: Value, input: Value, host: &FakeHost) -> Result<Value, Failure> {
    Invoke { operation, connection: connection(), action, input, dry_run: false }.on::<Mcp>(host)
}

/// Calls the tool `add`.
fn add(host: &FakeHost) -> Result<Value, Failure> {
    invoke("call-tool", json!({"tool": "add"}), json!({"a": 1, "b": 2}), host)
}

/// The result of the request `id`.
fn result(id: &str, result: Value) -> String {
    json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string()
}

/// An error in answer to the request `id`.
fn error(id: Value, code: i64, message: &str) -> String {
    json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}}).to_string()
}

/// The result of a tool.
fn said(id: &str, text: &str) -> String {
    result(id, json!({"content": [{"type": "text", "text": text}]}))
}

/// A message as an event.
fn event(message: impl std::fmt::Display) -> String {
    format!("event: message\ndata: {message}\n\n")
}

/// The first text of a tool's result.
fn text(answer: &Value) -> &str {
    answer["content"][0]["text"].as_str().unwrap()
}

/// The messages that were posted.
fn posted(host: &FakeHost) -> Vec<Value> {
    let bodies = host.requests().into_iter().filter_map(|request| request.body);
    bodies.map(|body| serde_json::from_slice(&body).unwrap()).collect()
}

/// The methods that were posted; replies are `null`.
fn methods(host: &FakeHost) -> Vec<Value> {
    posted(host).iter().map(|message| message["method"].clone()).collect()
}

/// A header of a request.
fn header(request: &Request, name: &str) -> Option<String> {
    let found = request.headers.iter().find(|(other, _)| other == name)?;
    Some(String::from_utf8(found.1.clone()).unwrap())
}

/// The code and message of a failure of the server.
fn upstream(result: Result<Value, Failure>) -> (String, String) {
    match result.unwrap_err() {
        Failure::Upstream(failure) => (failure.code.unwrap_or_default(), failure.message),
        other => panic!("{other:?}"),
    }
}
