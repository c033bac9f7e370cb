//! The http connector, called natively with a fake host.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

mod body;
mod pages;
mod policy;
mod request;
mod response;
mod schema;
mod target;
mod template;

use openact_connector::{
    Failure, Request,
    testing::{FakeHost, Invoke},
};
use openact_http::Http;
use serde_json::{Value, json};

/// Calls the connector on https://api.example.com/v1.
fn call(action: Value, input: Value, host: &FakeHost) -> Result<Value, Failure> {
    let connection = json!({"base_url": "https://api.example.com/v1"});
    Invoke { operation: "request", connection, action, input, dry_run: false }.on::<Http>(host)
}

/// A host that answers `{}` once.
fn answering() -> FakeHost {
    FakeHost::new().respond(200, &[("content-type", "application/json")], "{}")
}

/// The request that an action and an input make.
fn sent(action: Value, input: Value) -> Request {
    let host = answering();
    call(action, input, &host).unwrap();
    host.requests().remove(0)
}

/// Why an action and an input make none.
fn refused(action: Value, input: Value) -> Failure {
    let host = answering();
    let failure = call(action, input, &host).unwrap_err();
    assert!(host.requests().is_empty(), "nothing may be sent");
    failure
}

/// The body of a request as text.
fn text(request: &Request) -> &str {
    std::str::from_utf8(request.body.as_deref().unwrap()).unwrap()
}

/// The first header called `name`.
fn header<'r>(request: &'r Request, name: &str) -> Option<&'r str> {
    let (_, value) = request.headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name))?;
    Some(std::str::from_utf8(value).unwrap())
}
