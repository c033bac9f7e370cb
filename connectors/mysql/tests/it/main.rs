//! The mysql connector, called natively with servers that follow a script.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should stop where it is"
)]

mod hostile;
mod login;
mod schema;
mod session;
mod values;

use openact_connector::{
    Failure,
    testing::{FakeHost, Invoke, Script},
};
use openact_mysql::{Mysql, wire};
use serde_json::{Value, json};

const NONCE: &[u8; 20] = b"12345678abcdefghijkl";

/// In a transaction, and autocommit.
const OPEN: u16 = 3;
const READ_ONLY: u16 = 0x2003;
const IDLE: u16 = 2;
const MORE: u16 = 10;

fn connection() -> Value {
    json!({"host": "db.example.com", "user": "me", "database": "app"})
}

fn call(action: Value, input: Value, host: &FakeHost) -> Result<Value, Failure> {
    call_on(connection(), "query", action, input, host)
}

fn call_on(
    connection: Value,
    operation: &'static str,
    action: Value,
    input: Value,
    host: &FakeHost,
) -> Result<Value, Failure> {
    Invoke { operation, connection, action, input, dry_run: false }.on::<Mysql>(host)
}

fn select(host: &FakeHost) -> Result<Value, Failure> {
    call(json!({"statement": "SELECT ?"}), json!([7]), host)
}

fn one_row() -> Value {
    json!({"columns": [{"name": "x", "type": "bigint"}], "rows": [{"x": 7}]})
}

/// One packet.
fn packet(number: u8, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    wire::put(&mut out, number, body);
    out
}

/// Packets of an answer.
fn answer(bodies: &[Vec<u8>]) -> Vec<u8> {
    bodies.iter().zip(1_u8..).flat_map(|(body, number)| packet(number, body)).collect()
}

fn command(command: u8, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    wire::put_command(&mut out, command, body);
    out
}

fn sql(text: &str) -> Vec<u8> {
    command(3, text.as_bytes())
}

fn ok(status: u16) -> Vec<u8> {
    done(0, status)
}

/// What ends rows, or is an answer by itself.
fn done(first: u8, status: u16) -> Vec<u8> {
    [&[first, 0, 0][..], &status.to_le_bytes(), &[0, 0]].concat()
}

fn error(number: u16, text: &str) -> Vec<u8> {
    [&[0xff][..], &number.to_le_bytes(), b"#42000", text.as_bytes()].concat()
}

/// The description of a column.
fn column(name: &str, code: u8, flags: u16, charset: u16) -> Vec<u8> {
    let mut out = Vec::new();
    for text in ["def", "", "", "", name, ""] {
        wire::put_counted(&mut out, text.as_bytes());
    }
    out.push(12);
    out.extend(charset.to_le_bytes());
    out.extend([0; 4]);
    out.push(code);
    out.extend(flags.to_le_bytes());
    out.extend([0, 0, 0]);
    out
}

fn bigint(name: &str) -> Vec<u8> {
    column(name, 8, 0, 63)
}

/// What `SELECT ?` is prepared as.
fn prepared(id: u32) -> Vec<u8> {
    let head = [&[0][..], &id.to_le_bytes(), &[1, 0, 1, 0, 0, 0, 0]].concat();
    answer(&[head, bigint("?"), bigint("x")])
}

/// A row with 7 in it.
fn rows() -> Vec<u8> {
    answer(&[vec![1], bigint("x"), [&[0, 0][..], &7_u64.to_le_bytes()].concat(), done(0xfe, IDLE)])
}

fn execute(id: u32) -> Vec<u8> {
    let head = [&id.to_le_bytes()[..], &[0, 1, 0, 0, 0, 0, 1, 8, 0]].concat();
    command(23, &[head, 7_u64.to_le_bytes().to_vec()].concat())
}

/// A server's greeting.
fn greeting(version: &str, plugin: &str, capabilities: u32) -> Vec<u8> {
    let [a, b, c, d] = capabilities.to_le_bytes();
    let mut out = vec![10];
    out.extend(version.as_bytes());
    out.extend([0, 42, 0, 0, 0]);
    out.extend(&NONCE[..8]);
    out.extend([0, a, b, 45, 2, 0, c, d, 21]);
    out.extend([0; 10]);
    out.extend(&NONCE[8..]);
    out.push(0);
    out.extend(plugin.as_bytes());
    out.push(0);
    packet(0, &out)
}

const ALL: u32 = 0x01ff_ffff;
const PLAIN: u32 = ALL & !wire::capability::SSL;

/// What a new session is set to, for as many rows.
fn settings(rows: &str) -> String {
    format!("SET NAMES utf8mb4, autocommit = 1, sql_select_limit = {rows}")
}

/// What is asked of a new session.
fn setup() -> Vec<u8> {
    [sql("SELECT CURRENT_ROLE()"), sql(&settings("10001"))].concat()
}

fn setup_answer() -> Vec<u8> {
    let role = answer(&[vec![1], column("r", 253, 0, 45), b"\x04NONE".to_vec(), done(0xfe, IDLE)]);
    [role, answer(&[ok(IDLE)])].concat()
}

/// What sets a session back.
fn reset() -> Vec<u8> {
    [command(31, b""), sql(&settings("10001")), sql("SET ROLE NONE"), command(2, b"app")].concat()
}

fn reset_answer() -> Vec<u8> {
    answer(&[ok(IDLE)]).repeat(4)
}

/// A new stream to a MySQL that wants no password, up to its first statement.
fn new() -> Script {
    Script::new()
        .answer(greeting("8.4.0", "caching_sha2_password", PLAIN))
        .login("caching_sha2_password", &[(NONCE, b"scramble")])
        .expect_anything()
        .answer(packet(2, &ok(IDLE)))
        .expect(setup_and_prepare())
        .answer([setup_answer(), prepared(1)].concat())
}

fn setup_and_prepare() -> Vec<u8> {
    [setup(), command(22, b"SELECT ?")].concat()
}

/// The state of a session that has had `SELECT ?`.
fn parked() -> Vec<u8> {
    let script = new().expect([execute(1), reset()].concat()).answer([rows(), reset_answer()].concat());
    let host = FakeHost::new().socket(script);
    assert_eq!(select(&host), Ok(one_row()));
    assert_eq!(host.left(), "");
    let (session, state) = host.parked().remove(0);
    assert_eq!(session, "write");
    state
}
