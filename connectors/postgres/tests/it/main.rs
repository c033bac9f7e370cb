//! The postgres connector, called natively: its server follows a script.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

mod hostile;
mod login;
mod schema;
mod sessions;
mod statements;
mod values;

use openact_connector::{
    Failure,
    testing::{FakeHost, Invoke, Script},
};
use openact_postgres::{Postgres, wire};
use serde_json::{Value, json};

/// What a resumed session begins with.
const RESET: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ALL; \
    UNLISTEN *; SELECT pg_catalog.pg_advisory_unlock_all(); DISCARD TEMP; DISCARD SEQUENCES; COMMIT";

fn connection() -> Value {
    json!({"host": "db.example.com", "user": "ada", "database": "app", "tls": "disable"})
}

fn call(operation: &'static str, action: Value, input: Value, host: &FakeHost) -> Result<Value, Failure> {
    Invoke { operation, connection: connection(), action, input, dry_run: false }.on::<Postgres>(host)
}

fn query(statement: &str, host: &FakeHost) -> Result<Value, Failure> {
    call("query", json!({ "statement": statement }), json!({}), host)
}

/// What a connector writes.
fn sent(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out);
    out
}

fn startup() -> Vec<u8> {
    sent(|out| {
        wire::startup(
            out,
            &[
                ("user", "ada"),
                ("client_encoding", "UTF8"),
                ("DateStyle", "ISO"),
                ("IntervalStyle", "iso_8601"),
                ("database", "app"),
                ("application_name", "openact"),
            ],
        );
    })
}

fn prepare(name: &str, statement: &str) -> Vec<u8> {
    sent(|out| {
        wire::parse(out, name, statement);
        wire::describe(out, name);
        wire::sync(out);
    })
}

fn run(name: &str, values: &[Option<&str>]) -> Vec<u8> {
    let values: Vec<Option<String>> = values.iter().map(|value| value.map(str::to_owned)).collect();
    sent(|out| {
        wire::bind(out, name, &values);
        wire::execute(out, 10_001);
        wire::sync(out);
    })
}

fn simple(sql: &str) -> Vec<u8> {
    sent(|out| wire::query(out, sql))
}

/// A message of a server's.
fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    out.extend(u32::try_from(body.len() + 4).unwrap().to_be_bytes());
    out.extend(body);
    out
}

fn authentication(kind: u32, rest: &[u8]) -> Vec<u8> {
    message(b'R', &[&kind.to_be_bytes()[..], rest].concat())
}

fn ready(status: u8) -> Vec<u8> {
    message(b'Z', &[status])
}

fn complete(tag: &str) -> Vec<u8> {
    message(b'C', format!("{tag}\0").as_bytes())
}

fn error(code: &str, text: &str) -> Vec<u8> {
    message(b'E', format!("SFEHLER\0VERROR\0C{code}\0M{text}\0P7\0Htry again\0\0").as_bytes())
}

fn parameters(oids: &[u32]) -> Vec<u8> {
    let count = u16::try_from(oids.len()).unwrap().to_be_bytes();
    message(b't', &[&count[..], &oids.iter().flat_map(|oid| oid.to_be_bytes()).collect::<Vec<_>>()].concat())
}

fn columns(columns: &[(&str, u32)]) -> Vec<u8> {
    let mut body = u16::try_from(columns.len()).unwrap().to_be_bytes().to_vec();
    for (name, oid) in columns {
        body.extend(name.as_bytes());
        body.extend([0; 7]);
        body.extend(oid.to_be_bytes());
        body.extend([0; 8]);
    }
    message(b'T', &body)
}

fn row(values: &[Option<&[u8]>]) -> Vec<u8> {
    let mut body = u16::try_from(values.len()).unwrap().to_be_bytes().to_vec();
    for value in values {
        body.extend(value.map_or(u32::MAX, |value| u32::try_from(value.len()).unwrap()).to_be_bytes());
        body.extend(value.unwrap_or_default());
    }
    message(b'D', &body)
}

/// What a server says to who may come in without a password.
fn welcome() -> Vec<u8> {
    [
        authentication(0, b""),
        message(b'S', b"server_version\x0015.18\0"),
        message(b'S', b"client_encoding\0UTF8\0"),
        message(b'K', &[0, 0, 0, 9, 1, 2, 3, 4]),
        ready(b'I'),
    ]
    .concat()
}

/// What a server says to the reset.
fn was_reset() -> Vec<u8> {
    [
        complete("BEGIN"),
        complete("RESET"),
        columns(&[("x", 2278)]),
        row(&[Some(b"")]),
        complete("COMMIT"),
        ready(b'I'),
    ]
    .concat()
}

/// A stream that is let in.
fn entered() -> Script {
    Script::new().expect(startup()).answer(welcome())
}

/// What a server says of a statement without values and with one column, `n` of type int4.
fn described() -> Vec<u8> {
    [message(b'1', b""), parameters(&[]), columns(&[("n", 23)]), ready(b'I')].concat()
}

/// One row, 1.
fn answered() -> Vec<u8> {
    [message(b'2', b""), row(&[Some(b"1")]), complete("SELECT 1"), ready(b'I')].concat()
}

/// The state that is parked after a first call of `SELECT 1`.
fn parked() -> Vec<u8> {
    let script = entered().expect(prepare("openact_1", "SELECT 1")).answer(described());
    let host = FakeHost::new().socket(script.expect(run("openact_1", &[])).answer(answered()));
    query("SELECT 1", &host).unwrap();
    host.parked().remove(0).1
}
