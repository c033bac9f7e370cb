//! From an open stream to a session, and what is kept of it.

use bson::{Binary, Document, doc, spec::BinarySubtype};
use openact_connector::{
    Failure, HostError,
    testing::{FakeHost, Script},
};
use serde_json::{Value, json};

use crate::{batch, call, call_on, connection, find, found, greeted, hello, primary, reply, resumed, sent};

fn bytes(text: &str) -> Binary {
    Binary { subtype: BinarySubtype::Generic, bytes: text.as_bytes().to_vec() }
}

fn known() -> Value {
    let mut connection = connection();
    connection["user"] = "ada".into();
    connection["auth_source"] = "admin".into();
    connection
}

fn start(mechanism: &str, payload: &str) -> Document {
    doc! {"saslStart": 1, "mechanism": mechanism, "payload": bytes(payload), "options": {"skipEmptyExchange": true}}
}

fn speculating(mechanism: &str) -> Vec<u8> {
    let mut hello = hello();
    let db = hello.remove("$db").unwrap();
    let mut first = start(mechanism, "first");
    first.insert("db", "admin");
    hello.extend(doc! {"saslSupportedMechs": "admin.ada", "speculativeAuthenticate": first, "$db": db});
    sent(1, &hello)
}

fn step(payload: &str, done: bool) -> Document {
    doc! {"conversationId": 9, "payload": bytes(payload), "done": done, "ok": 1.0}
}

fn going_on(number: i32, payload: &str) -> Vec<u8> {
    sent(number, &doc! {"saslContinue": 1, "conversationId": 9, "payload": bytes(payload), "$db": "admin"})
}

const STEPS: &[(&[u8], &[u8])] = &[(b"", b"first"), (b"server-first", b"proof"), (b"server-final", b"")];

fn logged_in() -> Script {
    let mut of_itself = primary();
    of_itself.insert("speculativeAuthenticate", step("server-first", false));
    Script::new()
        .login("SCRAM-SHA-256", STEPS)
        .expect(speculating("SCRAM-SHA-256"))
        .answer(reply(1, &of_itself))
        .expect(going_on(2, "proof"))
}

fn find_as(connection: Value, host: &FakeHost) -> Result<Value, Failure> {
    call_on(connection, "find", find(), json!({}), host)
}

#[test]
fn a_login_of_two_round_trips_wherever_the_bytes_are_cut() {
    let script = logged_in()
        .answer(reply(2, &step("server-final", true)))
        .expect(sent(3, &found()))
        .answer(reply(3, &batch(vec![doc! {"name": "ada"}])));
    script.at_every_split(|host| {
        assert_eq!(find_as(known(), &host), Ok(json!({"documents": [{"name": "ada"}]})));
        assert_eq!(host.parked(), [("primary".to_owned(), Vec::new())]);
        assert_eq!(host.left(), "");
    });
}

#[test]
fn what_a_server_may_ask_for_beside() {
    // An empty step at the end, as servers before 4.4 want it.
    let script = logged_in()
        .answer(reply(2, &step("server-final", false)))
        .expect(going_on(3, ""))
        .answer(reply(3, &step("", true)))
        .expect(sent(4, &found()))
        .answer(reply(4, &batch(vec![])));
    assert_eq!(find_as(known(), &FakeHost::new().socket(script)), Ok(json!({"documents": []})));
    // A user with SCRAM-SHA-1 alone.
    let mut of_itself = primary();
    of_itself.insert("saslSupportedMechs", vec!["PLAIN", "SCRAM-SHA-1"]);
    let mut started = start("SCRAM-SHA-1", "one");
    started.insert("$db", "admin");
    let script = Script::new()
        .login("SCRAM-SHA-256", STEPS)
        .expect(speculating("SCRAM-SHA-256"))
        .answer(reply(1, &of_itself))
        .login("SCRAM-SHA-1", &[(b"", b"one"), (b"server-first", b"proof"), (b"server-final", b"")])
        .expect(sent(2, &started))
        .answer(reply(2, &step("server-first", false)))
        .expect(going_on(3, "proof"))
        .answer(reply(3, &step("server-final", true)))
        .expect(sent(4, &found()))
        .answer(reply(4, &batch(vec![])));
    assert_eq!(find_as(known(), &FakeHost::new().socket(script)), Ok(json!({"documents": []})));
}

#[test]
fn a_mechanism_that_is_named_is_the_one() {
    let mut connection = known();
    connection["auth_mechanism"] = "SCRAM-SHA-1".into();
    let mut of_itself = primary();
    of_itself.insert("speculativeAuthenticate", step("server-first", false));
    let script = Script::new()
        .login("SCRAM-SHA-1", STEPS)
        .expect(speculating("SCRAM-SHA-1"))
        .answer(reply(1, &of_itself))
        .expect(going_on(2, "proof"))
        .answer(reply(2, &step("server-final", true)))
        .expect(sent(3, &found()))
        .answer(reply(3, &batch(vec![])));
    assert!(find_as(connection, &FakeHost::new().socket(script)).is_ok());
}

#[test]
fn logins_that_fail() {
    let refusal =
        doc! {"ok": 0.0, "code": 18, "codeName": "AuthenticationFailed", "errmsg": "Authentication failed."};
    let script = logged_in().answer(reply(2, &refusal));
    let host = FakeHost::new().socket(script);
    assert_eq!(
        find_as(known(), &host),
        Err(Failure::Unauthenticated("the server refused the login: Authentication failed.".into()))
    );
    assert!(host.parked().is_empty());
    // A server that lets anybody in without having proved itself.
    for answer in [step("", true), step("forged", true), step("server-first", false)] {
        let host = FakeHost::new().socket(logged_in().answer(reply(2, &answer)));
        assert!(find_as(known(), &host).is_err());
        assert!(host.parked().is_empty() && host.written()[0].windows(4).all(|four| four != b"find"));
    }
    let mut endless = logged_in().answer(reply(2, &step("server-final", false)));
    for number in 3..5 {
        endless = endless.expect(going_on(number, "")).answer(reply(number, &step("", false)));
    }
    assert!(matches!(find_as(known(), &FakeHost::new().socket(endless)), Err(Failure::Protocol(_))));
    let mut other = primary();
    other.insert("saslSupportedMechs", vec!["MONGODB-X509"]);
    let script = Script::new()
        .login("SCRAM-SHA-256", STEPS)
        .expect(speculating("SCRAM-SHA-256"))
        .answer(reply(1, &other));
    assert!(matches!(find_as(known(), &FakeHost::new().socket(script)), Err(Failure::Unsupported(_))));
    let none = Script::new().fail_login(HostError::NotFound("no password".into()));
    assert!(matches!(find_as(known(), &FakeHost::new().socket(none)), Err(Failure::Unauthenticated(_))));
    let plain = Script::new().fail_login(HostError::Denied("no password without TLS".into()));
    assert!(matches!(find_as(known(), &FakeHost::new().socket(plain)), Err(Failure::Denied(_))));
    let mut old = primary();
    old.insert("maxWireVersion", 6);
    assert!(matches!(
        find_as(connection(), &FakeHost::new().socket(greeted(&old))),
        Err(Failure::Unsupported(_))
    ));
}

#[test]
fn a_find_again_is_one_round_trip() {
    let script = resumed().expect(sent(1, &found())).answer(reply(1, &batch(vec![])));
    let host = FakeHost::new().socket(script);
    assert_eq!(call("find", find(), json!({}), &host), Ok(json!({"documents": []})));
    assert_eq!((host.parked().len(), host.left()), (1, String::new()));
}

#[test]
fn a_read_is_sent_again_and_a_write_never() {
    let again = || greeted(&primary()).expect(sent(2, &found())).answer(reply(2, &batch(vec![])));
    for closed in [
        resumed().expect(sent(1, &found())).end(),
        resumed().fail_write(HostError::Network("gone".into())),
        resumed().expect(sent(1, &found())).fail_read(HostError::Network("gone".into())),
    ] {
        let host = FakeHost::new().socket(closed).socket(again());
        assert_eq!(call("find", find(), json!({}), &host), Ok(json!({"documents": []})));
    }
    for (operation, action) in [
        ("insert", json!({"collection": "c", "document": {"_id": 1}})),
        ("update", json!({"collection": "c", "filter": {}, "update": {"$set": {"a": 1}}})),
        ("delete", json!({"collection": "c", "filter": {}})),
        ("run-command", json!({"command": {"ping": 1}})),
    ] {
        let host = FakeHost::new().socket(resumed().expect_anything().end()).socket(again());
        let result = call(operation, action, json!({}), &host);
        assert!(matches!(result, Err(Failure::Network(_))), "{operation}: {result:?}");
        assert_eq!(host.opened().len(), 1, "{operation}");
    }
}
