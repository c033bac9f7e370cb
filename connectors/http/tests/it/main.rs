//! The http connector, called natively with a fake host.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

mod request;
mod response;
mod target;

use openact_connector::{
    Failure,
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
