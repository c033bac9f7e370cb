//! Sessions from call to call: the reset, what is prepared, what is sent again and what never.

use openact_connector::{
    Failure, HostError,
    testing::{FakeHost, Script},
};
use openact_postgres::wire;
use serde_json::json;

use crate::{
    RESET, answered, call, columns, complete, described, entered, error, message, parameters, parked,
    prepare, query, ready, row, run, sent, simple, was_reset,
};

fn resumed() -> Script {
    Script::new().resumed(parked())
}

fn again() -> Vec<u8> {
    [simple(RESET), run("openact_1", &[])].concat()
}

#[test]
fn a_repeated_call_is_one_round_trip() {
    let script = resumed().expect(again()).answer([was_reset(), answered()].concat());
    script.at_every_split(|host| {
        assert_eq!(query("SELECT 1", &host).unwrap()["rows"], json!([{"n": 1}]));
        // Nothing is sent after the first answer, and the next call finds the same.
        assert_eq!((host.written().concat(), host.left()), (again(), String::new()));
        assert_eq!(host.parked(), [("write".to_owned(), parked())]);
    });
}

#[test]
fn nothing_runs_in_a_session_that_cannot_be_reset() {
    let refused = [error("25P02", "current transaction is aborted"), ready(b'E')].concat();
    let not_reset = [complete("BEGIN"), error("57014", "statement timeout"), ready(b'E')].concat();
    let new = entered().expect(prepare("openact_1", "SELECT 1")).answer(described());
    let host = FakeHost::new()
        .socket(resumed().expect(again()).answer([not_reset, refused].concat()))
        .socket(new.expect(run("openact_1", &[])).answer(answered()));
    assert!(query("SELECT 1", &host).is_ok());
    let names: Vec<_> = host.opened().into_iter().map(|(.., session)| session.unwrap()).collect();
    assert_eq!(names, ["write", "write anew"]);
    // If it was over before it began, the statement may have run, and is not sent again.
    let over = [error("57014", "statement timeout"), ready(b'I'), answered()].concat();
    let host = FakeHost::new()
        .socket(resumed().expect(again()).answer(over))
        .fail_open(HostError::Network("x".into()));
    assert!(matches!(query("SELECT 1", &host), Err(Failure::Timeout(_))));
    assert!(host.parked().is_empty());
}

#[test]
fn what_may_write_is_never_sent_twice() {
    let lost = || HostError::Network("reset by peer".into());
    for script in [
        resumed().expect(again()).fail_read(lost()),
        resumed().expect(again()).end(),
        resumed().expect(again()).answer(was_reset()).end(),
        resumed().expect(again()).answer([was_reset(), answered()].concat().split_at(90).0).end(),
    ] {
        let host = FakeHost::new().socket(script);
        assert!(matches!(query("SELECT 1", &host), Err(Failure::Network(_))));
        assert_eq!((host.opened().len(), host.parked().len()), (1, 0));
    }
    // Nothing but a preparation has gone out: that is harmless.
    let new = entered().expect(prepare("openact_1", "SELECT 2")).answer(described());
    let host = FakeHost::new()
        .socket(resumed().expect_anything().fail_read(lost()))
        .socket(new.expect(run("openact_1", &[])).answer(answered()));
    assert!(query("SELECT 2", &host).is_ok());
    // And so is what only reads.
    let host = FakeHost::new().socket(resumed().expect_anything().fail_read(lost())).fail_open(lost());
    let read = call("query", json!({"statement": "SELECT 1", "read_only": true}), json!({}), &host);
    assert!(read.is_err() && host.opened().len() == 2);
}

#[test]
fn a_statement_that_is_no_more_what_it_was_is_prepared_anew() {
    for code in ["26000", "0A000", "22003", "42P01", "XX000"] {
        let stale =
            [was_reset(), error(code, "cached plan must not change result type"), ready(b'I')].concat();
        let script = resumed().expect(again()).answer(stale);
        let script = script.expect(sent(|out| {
            wire::parse(out, "openact_2", "SELECT 1");
            wire::describe(out, "openact_2");
            wire::close(out, "openact_1");
            wire::sync(out);
        }));
        let script = script.answer(described()).expect(run("openact_2", &[]));
        let host = FakeHost::new().socket(script.clone().answer(answered()));
        assert_eq!(query("SELECT 1", &host).unwrap()["rows"], json!([{"n": 1}]), "{}", host.left());
        // Once: what a new preparation does not mend is the answer.
        let host = FakeHost::new().socket(script.answer([error(code, "x"), ready(b'I')].concat()));
        assert!(matches!(query("SELECT 1", &host), Err(Failure::Upstream(_))));
        assert_eq!((host.left(), host.parked().len()), (String::new(), 1));
        // Not once it has begun, and not twice.
        let begun = [was_reset(), message(b'2', b""), error(code, "x"), ready(b'I')].concat();
        let host = FakeHost::new().socket(resumed().expect(again()).answer(begun));
        assert!(matches!(query("SELECT 1", &host), Err(Failure::Upstream(_))));
        assert_eq!(host.written().concat(), again());
    }
}

#[test]
fn a_server_that_goes_says_why() {
    for answer in [
        error("57P01", "terminating connection due to administrator command"),
        [was_reset(), error("57P01", "terminating connection due to administrator command")].concat(),
    ] {
        let host = FakeHost::new().socket(resumed().expect(again()).answer(answer).end());
        let failure = query("SELECT 1", &host).unwrap_err();
        assert!(matches!(&failure, Failure::Network(text) if text.contains("administrator")), "{failure:?}");
        assert_eq!((host.opened().len(), host.parked().len()), (1, 0));
    }
}

#[test]
fn statements_that_somebody_may_have_prepared_are_forgotten() {
    for tag in ["DO", "CALL", "PREPARE", "DEALLOCATE ALL", "DISCARD ALL", "LOAD"] {
        let done = [message(b'2', b""), complete(tag), ready(b'I')].concat();
        let none = [message(b'1', b""), parameters(&[]), message(b'n', b""), ready(b'I')].concat();
        let script = resumed().expect(sent(|out| {
            wire::query(out, RESET);
            out.extend(prepare("openact_2", "x"));
        }));
        let script = script.answer([was_reset(), none].concat()).expect(run("openact_2", &[])).answer(done);
        let host = FakeHost::new().socket(script);
        assert_eq!(query("x", &host).unwrap()["rows_affected"], 0);
        let (_, state) = host.parked().remove(0);
        let forget = RESET.replace("; COMMIT", "; DEALLOCATE ALL; COMMIT");
        let script = Script::new().resumed(state);
        let script = script.expect([simple(&forget), prepare("openact_1", "SELECT 1")].concat());
        let script = script.answer([was_reset(), described()].concat());
        let host = FakeHost::new().socket(script.expect(run("openact_1", &[])).answer(answered()));
        assert!(query("SELECT 1", &host).is_ok(), "{tag}: {}", host.left());
    }
}

#[test]
fn a_callers_own_statement_leaves_none_prepared() {
    let script = resumed().expect([simple(RESET), prepare("", "SELECT $1")].concat());
    let described = [message(b'1', b""), parameters(&[25]), columns(&[("c", 25)]), ready(b'I')].concat();
    let answer = [message(b'2', b""), row(&[Some(b"x")]), complete("SELECT 1"), ready(b'I')].concat();
    let script = script.answer([was_reset(), described].concat());
    let host = FakeHost::new().socket(script.expect(run("", &[Some("x")])).answer(answer));
    let input = json!({"statement": "SELECT $1", "args": ["x"]});
    assert_eq!(
        call("execute", json!({}), input, &host).unwrap()["rows"],
        json!([{"c": "x"}]),
        "{}",
        host.left()
    );
    let (_, state) = host.parked().remove(0);
    let host = FakeHost::new().socket(Script::new().resumed(state).expect_anything());
    let _ = query("SELECT 1", &host);
    assert!(String::from_utf8_lossy(&host.written().concat()).contains("DEALLOCATE ALL"));
}

#[test]
fn an_open_transaction_is_closed_with_its_stream() {
    for status in [b'T', b'E'] {
        let open = [message(b'2', b""), complete("BEGIN"), ready(status)].concat();
        let none = [message(b'1', b""), parameters(&[]), message(b'n', b""), ready(b'I')].concat();
        let script = entered().expect(prepare("openact_1", "BEGIN")).answer(none);
        let host = FakeHost::new().socket(script.expect(run("openact_1", &[])).answer(open));
        assert!(query("BEGIN", &host).is_ok());
        assert!(host.parked().is_empty());
    }
}

#[test]
fn a_statement_that_takes_too_long_is_cancelled() {
    let timeout = || HostError::Timeout("the deadline".into());
    let cancelled = sent(|out| wire::cancel_request(out, 9, &[1, 2, 3, 4]));
    let script = entered().expect(prepare("openact_1", "SELECT 1")).answer(described());
    let host = FakeHost::new()
        .socket(script.expect(run("openact_1", &[])).fail_read(timeout()))
        .socket(Script::new().expect(cancelled.clone()).end());
    assert_eq!(query("SELECT 1", &host), Err(Failure::Timeout("the deadline".into())));
    assert_eq!((host.written()[1].clone(), host.parked().len()), (cancelled, 0));
    // By itself the server has stopped already: a limit of its own, or somebody there.
    let script = entered().expect(prepare("openact_1", "SELECT 1")).answer(described());
    let stopped = [error("57014", "statement timeout"), ready(b'I')].concat();
    let host = FakeHost::new().socket(script.expect(run("openact_1", &[])).answer(stopped));
    assert!(
        matches!(query("SELECT 1", &host), Err(Failure::Timeout(text)) if text.contains("statement timeout"))
    );
    assert_eq!(host.opened().len(), 1);
    // Nobody to be told yet.
    let host = FakeHost::new().socket(Script::new().expect_anything().fail_read(timeout()));
    assert!(matches!(query("SELECT 1", &host), Err(Failure::Timeout(_))));
    assert_eq!(host.opened().len(), 1);
}

#[test]
fn a_state_that_cannot_be_read_costs_a_new_session() {
    for state in [&b""[..], b"\x02", &parked()[..20]] {
        let new = entered().expect(prepare("openact_1", "SELECT 1")).answer(described());
        let host = FakeHost::new()
            .socket(Script::new().resumed(state))
            .socket(new.expect(run("openact_1", &[])).answer(answered()));
        assert!(query("SELECT 1", &host).is_ok(), "{}", host.left());
    }
}
