//! The redis connector, called natively with servers that follow a script.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should stop where it is"
)]

mod arguments;
mod cluster;
mod lists;
mod resp;
mod scan;
mod schema;
mod session;

use openact_connector::{
    Failure, HostError,
    testing::{FakeHost, Invoke, Script},
};
use openact_redis::{Redis, resp::push_command};
use serde_json::{Value, json};

const HELLO: &[u8] = b"%2\r\n$6\r\nserver\r\n$5\r\nredis\r\n$5\r\nproto\r\n:3\r\n";

fn connection() -> Value {
    json!({"host": "cache.example.com"})
}

/// Calls the operation `command`.
fn call(action: Value, input: Value, host: &FakeHost) -> Result<Value, Failure> {
    call_on(connection(), action, input, host)
}

fn call_on(connection: Value, action: Value, input: Value, host: &FakeHost) -> Result<Value, Failure> {
    Invoke { operation: "command", connection, action, input, dry_run: false }.on::<Redis>(host)
}

/// The commands that an action and an input make.
fn commands(action: Value, input: Value) -> Result<Value, Failure> {
    let invoke = Invoke { operation: "command", connection: connection(), action, input, dry_run: true };
    invoke.on::<Redis>(&FakeHost::new()).map(|answer| answer["commands"].clone())
}

/// What commands are as bytes.
fn sent(commands: &[&[&str]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    commands.iter().for_each(|command| push_command(&mut bytes, command));
    bytes
}

/// A stream that was parked: its reset is expected with the commands.
fn resumed(commands: &[&[&str]], answer: &[u8]) -> Script {
    let all: Vec<&[&str]> = [&["SELECT", "0"][..]].into_iter().chain(commands.iter().copied()).collect();
    Script::new().resumed(b"").expect(sent(&all)).answer([b"+OK\r\n", answer].concat())
}

/// A new stream to a server without a password.
fn new() -> Script {
    Script::new()
        .fail_login(HostError::NotFound("no password".into()))
        .expect(sent(&[&["HELLO", "3"]]))
        .answer(HELLO)
}

/// The answer to one command that was answered with these bytes.
fn answered(bytes: &[u8]) -> Result<Value, Failure> {
    let host = FakeHost::new().socket(resumed(&[&["GET", "k"]], bytes));
    call(json!({"command": ["GET", "k"]}), json!({}), &host).map(|answer| answer["value"].clone())
}
