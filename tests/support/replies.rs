//! The fuzz target `replies`: whatever a database answers, its connector ends with a result or a typed failure.
//!
//! The connectors are called natively, so that a panic or an endless loop is seen where it happens; their host is a
//! [`Replies`]. A case is two letters and the bytes that the server answers: what is called (a row of `calls`), and how many
//! bytes arrive at a time (`0` to `9` for so many, `.` for all there are).
//!
//! Invariant: what is called depends on the case alone.

use openact_connector::{
    Connector, Failure,
    testing::{Invoke, Replies, check},
};
use openact_mongodb::MongoDb;
use openact_mysql::Mysql;
use openact_postgres::Postgres;
use openact_redis::Redis;
use serde_json::{Value, json};

/// A result has at most this, by the connectors' own bound, and what is around the last row.
const RESULT_BYTES_MAX: usize = 17 * 1024 * 1024;

/// No call here has more to say.
const WRITTEN_BYTES_MAX: usize = 1024 * 1024;

/// See the module.
pub fn replies(data: &[u8]) {
    match outcome(data) {
        Some(Ok(value)) => assert!(value.to_string().len() <= RESULT_BYTES_MAX),
        Some(Err(Failure::Protocol(text))) => assert!(!text.contains("result is not JSON"), "{text}"),
        Some(Err(_)) | None => {}
    }
}

/// How the call of a case ends; none if it names no call.
pub fn outcome(data: &[u8]) -> Option<Result<Value, Failure>> {
    let (&[call, piece], bytes) = data.split_first_chunk()?;
    let calls = calls();
    let call = calls.get(usize::from(call.wrapping_sub(b'a')))?;
    let piece = if piece.is_ascii_digit() { usize::from(piece - b'0') } else { usize::MAX };
    let host = Replies::new(bytes, piece);
    let result = call(&host);
    assert!(host.written() <= WRITTEN_BYTES_MAX, "{} bytes were sent", host.written());
    Some(result)
}

type Call = Box<dyn Fn(&Replies) -> Result<Value, Failure>>;

/// Every way in which a server is spoken to, from `a` on.
fn calls() -> Vec<Call> {
    fn call<T: Connector>(operation: &'static str, connection: Value, action: Value) -> Call {
        let invoke = Invoke { operation, connection, action, input: json!({"x": 7}), dry_run: false };
        Box::new(move |host| invoke.on::<T>(host))
    }
    fn checks<T: Connector>(connection: Value) -> Call {
        Box::new(move |host| check::<T>(&connection, host))
    }
    let sql = || json!({"host": "db", "user": "ada", "database": "app", "tls": "disable"});
    let redis = || json!({"host": "db", "user": "ada"});
    let mongodb = || json!({"host": "db", "user": "ada", "database": "app"});
    let select = || json!({"statement": "SELECT * FROM t", "max_rows": 100});
    let streamed = || json!({"statement": "SELECT * FROM t", "stream": true});
    let both = || json!({"statements": ["SELECT 1", "SELECT 2"]});
    vec![
        call::<Postgres>("query", sql(), select()),
        call::<Postgres>("query", sql(), streamed()),
        call::<Postgres>("transaction", sql(), both()),
        checks::<Postgres>(sql()),
        call::<Mysql>("query", sql(), select()),
        call::<Mysql>("query", sql(), streamed()),
        call::<Mysql>("transaction", sql(), both()),
        checks::<Mysql>(sql()),
        call::<Redis>("command", redis(), json!({"command": ["GET", "{{x}}"]})),
        call::<Redis>(
            "command",
            redis(),
            json!({"pipeline": [["SET", "a", "1"], ["RPUSH", "b", "x", "y"], ["LRANGE", "b", "0", "9"]]}),
        ),
        call::<Redis>("scan", redis(), json!({"match": "*", "stream": true})),
        checks::<Redis>(redis()),
        call::<MongoDb>("find", mongodb(), json!({"collection": "c"})),
        call::<MongoDb>("aggregate", mongodb(), json!({"collection": "c", "pipeline": [], "stream": true})),
        call::<MongoDb>("insert", mongodb(), json!({"collection": "c", "document": {"x": "{{x}}"}})),
        checks::<MongoDb>(mongodb()),
    ]
}
