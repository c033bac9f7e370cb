//! The mongodb connector, called natively with servers that follow a script.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should stop where it is"
)]

mod hostile;
mod input;
mod login;
mod members;
mod operations;
mod schema;
mod values;

use bson::{Document, doc};
use openact_connector::{
    Failure,
    testing::{FakeHost, Invoke, Script},
};
use openact_mongodb::MongoDb;
use serde_json::{Value, json};

fn connection() -> Value {
    json!({"host": "db.example.com", "database": "app"})
}

/// Calls an operation. So that what is sent is known, the server has five seconds.
fn call(operation: &'static str, action: Value, input: Value, host: &FakeHost) -> Result<Value, Failure> {
    call_on(connection(), operation, action, input, host)
}

fn call_on(
    connection: Value,
    operation: &'static str,
    mut action: Value,
    input: Value,
    host: &FakeHost,
) -> Result<Value, Failure> {
    action["max_time_ms"] = 5000.into();
    Invoke { operation, connection, action, input, dry_run: false }.on::<MongoDb>(host)
}

/// The command that an action and an input make.
fn command(operation: &'static str, action: Value, input: Value) -> Result<Value, Failure> {
    let invoke = Invoke { operation, connection: connection(), action, input, dry_run: true };
    invoke.on::<MongoDb>(&FakeHost::new()).map(|answer| answer["command"].clone())
}

fn message(number: i32, answers: i32, flags: u32, sections: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in [i32::try_from(sections.len()).unwrap() + 20, number, answers, 2013] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend(flags.to_le_bytes());
    bytes.extend_from_slice(sections);
    bytes
}

/// A command as it is sent.
fn sent(number: i32, command: &Document) -> Vec<u8> {
    message(number, 0, 0, &[vec![0], command.to_vec().unwrap()].concat())
}

/// The reply to a command.
fn reply(number: i32, document: &Document) -> Vec<u8> {
    message(77, number, 0, &[vec![0], document.to_vec().unwrap()].concat())
}

fn hello() -> Document {
    let driver = doc! {"name": "openact", "version": env!("CARGO_PKG_VERSION")};
    let client = doc! {"application": {"name": "openact"}, "driver": driver, "os": {"type": "wasm"}};
    doc! {"hello": 1, "client": client, "$db": "admin"}
}

fn primary() -> Document {
    doc! {"isWritablePrimary": true, "setName": "rs0", "primary": "db.example.com:27017", "maxWireVersion": 17, "ok": 1.0}
}

fn secondary(primary: Option<&str>) -> Document {
    let mut document = doc! {"isWritablePrimary": false, "secondary": true, "setName": "rs0", "maxWireVersion": 17, "ok": 1.0};
    if let Some(primary) = primary {
        document.insert("primary", primary);
    }
    document
}

/// A new stream to a server that says this of itself.
fn greeted(of_itself: &Document) -> Script {
    Script::new().expect(sent(1, &hello())).answer(reply(1, of_itself))
}

/// A stream that was parked.
fn resumed() -> Script {
    Script::new().resumed(b"")
}

fn find() -> Value {
    json!({"collection": "c", "filter": {"name": "ada"}})
}

/// What `find` sends.
fn found() -> Document {
    doc! {
        "find": "c", "filter": {"name": "ada"}, "limit": 10_001, "batchSize": 10_002, "maxTimeMS": 5000, "$db": "app",
    }
}

/// A reply with all there is.
fn batch(documents: Vec<Document>) -> Document {
    doc! {"cursor": {"firstBatch": documents, "id": 0_i64, "ns": "app.c"}, "ok": 1.0}
}
