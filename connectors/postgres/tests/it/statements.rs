//! Statements, their answers and their failures; several in a transaction; reading only; streams.

use openact_connector::{
    Failure, UpstreamFailure,
    log::Level,
    testing::{FakeHost, Invoke, Script},
};
use openact_postgres::{Postgres, wire};
use serde_json::{Value, json};

use crate::{
    answered, call, columns, complete, connection, described, entered, error, message, parameters, prepare,
    query, ready, row, run, sent, simple,
};

fn no_rows(oids: &[u32]) -> Vec<u8> {
    [message(b'1', b""), parameters(oids), message(b'n', b""), ready(b'I')].concat()
}

fn one(script: Script) -> Result<Value, Failure> {
    let host = FakeHost::new().socket(script);
    query("SELECT 1", &host)
}

fn with_answer(parts: &[Vec<u8>]) -> Script {
    let script = entered().expect(prepare("openact_1", "SELECT 1")).answer(described());
    script.expect(run("openact_1", &[])).answer(parts.concat())
}

#[test]
fn values_are_sent_beside_the_statement() {
    let described = [message(b'1', b""), parameters(&[23, 25]), columns(&[]), ready(b'I')].concat();
    let done = || [message(b'2', b""), complete("INSERT 0 3"), ready(b'I')].concat();
    let evil = "'; DROP TABLE t; --";
    let script = || entered().expect(prepare("openact_1", "INSERT $1, $2")).answer(described.clone());
    for (action, input, values) in [
        (json!({}), json!({"args": [7, evil]}), [Some("7"), Some(evil)]),
        (
            json!({"parameters": [{"name": "a"}, {"name": "b"}]}),
            json!({"b": evil, "a": "7"}),
            [Some("7"), Some(evil)],
        ),
        (
            json!({"parameters": [{"name": "a", "type": "integer"}, {"name": "b", "required": false}]}),
            json!({"a": 1}),
            [Some("1"), None],
        ),
        (
            json!({"parameters": [{"name": "a", "default": 5}, {"name": "b", "default": null}]}),
            json!({}),
            [Some("5"), None],
        ),
    ] {
        let host = FakeHost::new().socket(script().expect(run("openact_1", &values)).answer(done()));
        let mut action = action;
        action["statement"] = "INSERT $1, $2".into();
        assert_eq!(
            call("query", action, input, &host).unwrap(),
            json!({"columns": [], "rows": [], "rows_affected": 3}),
            "{}",
            host.left()
        );
    }
    for (action, input) in [
        (json!({}), json!({"args": [1]})),
        (json!({}), json!({"a": 1, "b": 2})),
        (json!({"parameters": [{"name": "a", "type": "integer"}, {"name": "b"}]}), json!({"a": "x", "c": 2})),
        (json!({"parameters": [{"name": "a"}, {"name": "b"}]}), json!({"a": 1})),
    ] {
        let host = FakeHost::new().socket(script());
        let mut action = action;
        action["statement"] = "INSERT $1, $2".into();
        let failure = call("query", action, input, &host).unwrap_err();
        assert!(matches!(failure, Failure::InvalidInput(_)), "{failure:?}");
        // The session is as good as before.
        assert_eq!(host.parked().len(), 1, "{failure:?}");
    }
}

#[test]
fn rows_are_told_by_the_names_and_types_of_their_columns() {
    let described = columns(&[("id", 23), ("id", 1009), ("c", 16), ("d", 999_999)]);
    let look_up = sent(|out| {
        wire::parse(out, "", openact_postgres::kind::LOOK_UP);
        wire::bind(out, "", &[Some("{999999}".into())]);
        wire::execute(out, 0);
        wire::sync(out);
    });
    let mood = [&b"999999"[..], b"mood", b"0", b"0"].map(Some);
    let known = row(&[&mood[..], &[None, None, None]].concat());
    let script = entered()
        .expect(prepare("openact_1", "SELECT 1"))
        .answer([message(b'1', b""), parameters(&[]), described, ready(b'I')].concat())
        .expect(look_up)
        .answer([message(b'1', b""), message(b'2', b""), known, complete("SELECT 1"), ready(b'I')].concat())
        .expect(run("openact_1", &[]));
    let rows = [row(&[Some(b"1"), Some(b"{a,NULL}"), Some(b"t"), Some(b"happy")]), row(&[None; 4])].concat();
    let host = FakeHost::new().socket(script.answer([rows, complete("SELECT 2"), ready(b'I')].concat()));
    assert_eq!(
        query("SELECT 1", &host).unwrap(),
        json!({
            "columns": [{"name": "id", "type": "int4"}, {"name": "id_2", "type": "text[]"},
                {"name": "c", "type": "bool"}, {"name": "d", "type": "mood"}],
            "rows": [{"id": 1, "id_2": ["a", null], "c": true, "d": "happy"},
                {"id": null, "id_2": null, "c": null, "d": null}],
        })
    );
}

#[test]
fn an_error_is_told_as_the_server_tells_it() {
    let host = FakeHost::new().socket(with_answer(&[error("23505", "duplicate"), ready(b'I')]));
    let failure = query("SELECT 1", &host).unwrap_err();
    let Failure::Upstream(UpstreamFailure { code, message, details, retryable }) = failure else {
        unreachable!("{failure:?}");
    };
    assert_eq!((code.as_deref(), message.as_str(), retryable), (Some("23505"), "duplicate", false));
    assert_eq!(
        serde_json::from_str::<Value>(&details.unwrap()).unwrap(),
        json!({"severity": "ERROR", "position": 7, "hint": "try again"})
    );
    // It is an answer, after which the session goes on.
    assert_eq!(host.parked().len(), 1);
    for (code, retryable) in [("40001", true), ("40P01", true), ("53300", true), ("22012", false)] {
        match one(with_answer(&[error(code, "x"), ready(b'I')])) {
            Err(Failure::Upstream(upstream)) => assert_eq!(upstream.retryable, retryable, "{code}"),
            other => unreachable!("{other:?}"),
        }
    }
    for code in ["57P01", "57P02"] {
        assert!(matches!(one(with_answer(&[error(code, "x")]).end()), Err(Failure::Network(_))), "{code}");
    }
    assert!(matches!(one(with_answer(&[error("57014", "x"), ready(b'I')])), Err(Failure::Timeout(_))));
    let long = error("XX000", &"é".repeat(50_000));
    match one(with_answer(&[long, ready(b'I')])) {
        Err(Failure::Upstream(upstream)) => assert!(upstream.message.len() < 5_000),
        other => unreachable!("{other:?}"),
    }
}

#[test]
fn several_statements_belong_into_a_transaction() {
    let refused =
        [error("42601", "cannot insert multiple commands into a prepared statement"), ready(b'I')].concat();
    let host =
        FakeHost::new().socket(entered().expect(prepare("openact_1", "SELECT 1; SELECT 2")).answer(refused));
    match query("SELECT 1; SELECT 2", &host) {
        Err(Failure::Upstream(upstream)) => assert_eq!(upstream.code.as_deref(), Some("42601")),
        other => unreachable!("{other:?}"),
    }
    let failure = query("SELECT 1\0; DROP", &FakeHost::new()).unwrap_err();
    assert!(matches!(&failure, Failure::InvalidConfig(text) if text.contains("zero byte")), "{failure:?}");
}

#[test]
fn notices_are_logged_and_notifications_are_for_nobody() {
    let notice = message(b'N', b"SX\0VWARNING\0C01000\0Mbeware\0\0");
    let notification = message(b'A', b"\0\0\0\x09channel\0payload\0");
    let script = with_answer(&[
        notification.clone(),
        message(b'2', b""),
        notice.clone(),
        row(&[Some(b"1")]),
        notification,
        complete("SELECT 1"),
        notice,
        ready(b'I'),
    ]);
    let host = FakeHost::new().socket(script);
    assert!(query("SELECT 1", &host).is_ok());
    assert_eq!(host.lines(), vec![(Level::Warn, "beware".to_owned()); 2]);
}

#[test]
fn rows_beyond_the_limit_are_left_out() {
    let asked = sent(|out| {
        wire::bind(out, "openact_1", &[]);
        wire::execute(out, 3);
        wire::sync(out);
    });
    let rows =
        [message(b'2', b""), row(&[Some(b"1")]), row(&[Some(b"2")]), row(&[Some(b"3")]), message(b's', b"")];
    let script = entered().expect(prepare("openact_1", "SELECT 1")).answer(described());
    let host = FakeHost::new().socket(script.expect(asked).answer([rows.concat(), ready(b'I')].concat()));
    let result = call("query", json!({"statement": "SELECT 1", "max_rows": 2}), json!({}), &host).unwrap();
    assert_eq!((&result["rows"], &result["truncated"]), (&json!([{"n": 1}, {"n": 2}]), &json!(true)));
    assert_eq!(host.parked().len(), 1);
    let script = with_answer(&vec![row(&[Some(b"1234567")]); 10]);
    let host = FakeHost::new().socket(script);
    let result = call("query", json!({"statement": "SELECT 1", "max_bytes": 100}), json!({}), &host);
    assert!(matches!(result, Err(Failure::LimitExceeded(_))) && host.parked().is_empty());
}

#[test]
fn a_stream_asks_for_more_when_it_has_taken_what_there_was() {
    let (execute, bind) = (
        sent(|out| {
            wire::execute(out, 2);
            wire::flush(out);
        }),
        sent(|out| wire::bind(out, "openact_1", &[])),
    );
    let two = [row(&[Some(b"1")]), row(&[Some(b"2")]), message(b's', b"")].concat();
    let script = || {
        let script = entered().expect(prepare("openact_1", "SELECT 1")).answer(described());
        let script = script.expect([bind.clone(), execute.clone()].concat());
        script.answer([message(b'2', b""), two.clone()].concat()).expect(execute.clone())
    };
    let action = json!({"statement": "SELECT 1", "stream": true, "fetch_rows": 2});
    let last = script().answer([row(&[Some(b"3")]), complete("SELECT 1")].concat()).expect(sent(wire::sync));
    for streaming in [true, false] {
        let host = FakeHost::new().socket(last.clone().answer(ready(b'I')));
        let host = if streaming { host.streaming() } else { host };
        let result = call("query", action.clone(), json!({}), &host).unwrap();
        let rows = json!([{"n": 1}, {"n": 2}, {"n": 3}]);
        if streaming {
            assert_eq!((Value::from(host.emitted()), &result["emitted"]), (rows, &json!(3)));
        } else {
            assert_eq!(result["rows"], rows);
        }
        assert_eq!((host.left(), host.parked().len()), (String::new(), 1));
    }
    let mut limited = action;
    limited["max_rows"] = json!(3);
    let enough = script().answer(two.clone()).expect(sent(wire::sync)).answer(ready(b'I'));
    let host = FakeHost::new().socket(enough).streaming();
    let result = call("query", limited, json!({}), &host).unwrap();
    assert_eq!((host.emitted().len(), &result["truncated"], host.parked().len()), (3, &json!(true), 1));
}

#[test]
fn a_stream_is_ended_once() {
    let run = sent(|out| {
        wire::bind(out, "openact_1", &[]);
        wire::execute(out, 1000);
        wire::flush(out);
    });
    let begun = || {
        let script = entered().expect(prepare("openact_1", "SELECT 1")).answer(described());
        script.expect(run.clone())
    };
    let stream = |script: Script, end: &[u8]| {
        let host = FakeHost::new().socket(script);
        let action = json!({"statement": "SELECT 1", "stream": true});
        let failure = call("query", action, json!({}), &host).unwrap_err();
        assert_eq!((host.left(), host.parked().len()), (String::new(), 1), "{failure:?}");
        // One more Sync would be answered in the next call.
        assert!(host.written().concat().ends_with(&[&run, end].concat()), "{failure:?}");
        failure
    };
    // A deferred constraint speaks after the command is complete.
    let done = [message(b'2', b""), row(&[Some(b"1")]), complete("INSERT 0 1")].concat();
    let script = begun().answer(done).expect(sent(wire::sync)).answer(error("23503", "no such parent"));
    assert!(matches!(stream(script.answer(ready(b'I')), &sent(wire::sync)), Failure::Upstream(_)));
    // Copying is over with the Sync that follows its end.
    let fail = sent(|out| {
        wire::copy_fail(out);
        wire::sync(out);
    });
    let script = begun().answer([message(b'2', b""), message(b'G', &[0, 0, 0])].concat());
    let script = script.expect(fail.clone()).answer(error("57014", "COPY from stdin failed"));
    assert!(matches!(stream(script.answer(ready(b'I')), &fail), Failure::Unsupported(_)));
}

#[test]
fn copying_is_refused_and_leaves_nothing_waiting() {
    let fail = sent(|out| {
        wire::copy_fail(out);
        wire::sync(out);
    });
    let script = with_answer(&[message(b'2', b""), message(b'G', &[0, 0, 0])]).expect(fail);
    let host = FakeHost::new()
        .socket(script.answer([error("57014", "COPY from stdin failed"), ready(b'I')].concat()));
    assert!(matches!(query("SELECT 1", &host), Err(Failure::Unsupported(_))), "{}", host.left());
    let out = with_answer(&[message(b'2', b""), message(b'H', &[0, 0, 0]), message(b'd', b"x")]);
    let host = FakeHost::new().socket(out);
    assert!(matches!(query("SELECT 1", &host), Err(Failure::Unsupported(_))) && host.parked().is_empty());
}

/// What reading only begins with; the session itself is one for reading, too.
fn entered_to_read() -> Script {
    let start = sent(|out| {
        wire::startup(
            out,
            &[
                ("user", "ada"),
                ("client_encoding", "UTF8"),
                ("DateStyle", "ISO"),
                ("IntervalStyle", "iso_8601"),
                ("default_transaction_read_only", "on"),
                ("database", "app"),
                ("application_name", "openact"),
            ],
        );
    });
    Script::new().expect(start).answer(crate::welcome())
}

#[test]
fn reading_only_is_the_servers_to_enforce() {
    let action = json!({"statement": "SELECT 1", "read_only": true});
    let begin = simple("BEGIN READ ONLY; SELECT");
    let begun = [complete("BEGIN"), complete("SELECT 0"), ready(b'T')].concat();
    let described = [message(b'1', b""), parameters(&[]), columns(&[("n", 23)]), ready(b'T')].concat();
    let script = entered_to_read()
        .expect([begin.clone(), prepare("openact_1", "SELECT 1")].concat())
        .answer([begun.clone(), described].concat())
        .expect([run("openact_1", &[]), simple("COMMIT")].concat());
    let done = [
        message(b'2', b""),
        row(&[Some(b"1")]),
        complete("SELECT 1"),
        ready(b'T'),
        complete("COMMIT"),
        ready(b'I'),
    ];
    let host = FakeHost::new().socket(script.answer(done.concat()));
    assert_eq!(
        call("query", action.clone(), json!({}), &host).unwrap()["rows"],
        json!([{"n": 1}]),
        "{}",
        host.left()
    );
    assert_eq!(host.parked()[0].0, "read");
    // What gives no rows is not run: COPY … TO PROGRAM changes nothing in the database.
    let script = entered_to_read().expect([begin, prepare("openact_1", "SELECT 1")].concat());
    let nothing = [message(b'1', b""), parameters(&[]), message(b'n', b""), ready(b'T')].concat();
    let script = script.answer([begun, nothing].concat()).expect(simple("ROLLBACK"));
    let host = FakeHost::new().socket(script.answer([complete("ROLLBACK"), ready(b'I')].concat()));
    let failure = call("query", action, json!({}), &host).unwrap_err();
    assert!(matches!(&failure, Failure::InvalidConfig(text) if text.contains("read_only")), "{failure:?}");
    assert_eq!((host.left(), host.parked().len()), (String::new(), 1));
}

fn transaction(statements: Value, script: Script) -> (Result<Value, Failure>, FakeHost) {
    let host = FakeHost::new().socket(script);
    let action = json!({"statements": statements, "parameters": [{"name": "x"}]});
    (call("transaction", action, json!({"x": 5}), &host), host)
}

#[test]
fn a_transaction_is_all_or_nothing() {
    let begun = || entered().expect(simple("BEGIN")).answer([complete("BEGIN"), ready(b'T')].concat());
    let in_transaction = |answer: Vec<u8>| {
        let mut answer = answer;
        *answer.last_mut().unwrap() = b'T';
        answer
    };
    let insert = |script: Script| {
        let script = script.expect(prepare("openact_1", "INSERT $1")).answer(in_transaction(no_rows(&[23])));
        let done = [message(b'2', b""), complete("INSERT 0 1"), ready(b'T')].concat();
        script.expect(run("openact_1", &[Some("5")])).answer(done)
    };
    let select =
        |script: Script| script.expect(prepare("openact_2", "SELECT 1")).answer(in_transaction(described()));
    let statements = json!(["INSERT $1", {"statement": "SELECT 1", "parameters": []}]);
    // The second has no list of its own, so the action's holds, and there is a value too many.
    let script = select(insert(begun()))
        .expect(simple("ROLLBACK"))
        .answer([complete("ROLLBACK"), ready(b'I')].concat());
    let (result, host) = transaction(statements, script);
    assert!(
        matches!(&result, Err(Failure::InvalidConfig(text)) if text.starts_with("statement 2: ")),
        "{result:?}"
    );
    assert_eq!((host.left(), host.parked().len()), (String::new(), 1));

    let action =
        json!({"statements": [{"statement": "INSERT $1", "parameters": [{"name": "x"}]}, "SELECT 1"]});
    let script = select(insert(begun())).expect(run("openact_2", &[])).answer(in_transaction(answered()));
    let committed =
        script.clone().expect(simple("COMMIT")).answer([complete("COMMIT"), ready(b'I')].concat());
    let host = FakeHost::new().socket(committed);
    let result = call("transaction", action.clone(), json!({"x": 5}), &host).unwrap();
    assert_eq!(result["results"][0]["rows_affected"], 1);
    assert_eq!(result["results"][1]["rows"], json!([{"n": 1}]));
    assert_eq!((host.left(), host.parked().len()), (String::new(), 1));
    // A deferred constraint speaks at the end.
    let refused =
        script.expect(simple("COMMIT")).answer([error("23503", "no such parent"), ready(b'I')].concat());
    let host = FakeHost::new().socket(refused);
    match call("transaction", action, json!({"x": 5}), &host) {
        Err(Failure::Upstream(upstream)) => assert_eq!(upstream.code.as_deref(), Some("23503")),
        other => unreachable!("{other:?}"),
    }
}

#[test]
fn a_value_that_is_wrong_however_often_a_transaction_is_tried_is_told() {
    let in_transaction = |parts: &[Vec<u8>]| [parts.concat(), ready(b'T')].concat();
    let attempt = |script: Script, name: &str| {
        let described = [message(b'1', b""), parameters(&[]), message(b'n', b"")];
        let done = [message(b'2', b""), complete("INSERT 0 1")];
        script
            .expect(simple("BEGIN"))
            .answer(in_transaction(&[complete("BEGIN")]))
            .expect(prepare(name, "INSERT"))
            .answer(in_transaction(&described))
            .expect(run(name, &[]))
            .answer(in_transaction(&done))
            .expect(run(name, &[]))
            .answer([error("22P02", "invalid input syntax"), ready(b'E')].concat())
            .expect(simple("ROLLBACK"))
            .answer([complete("ROLLBACK"), ready(b'I')].concat())
    };
    // The second time the statement is the first one's, which was prepared in this very call.
    let host = FakeHost::new().socket(attempt(attempt(entered(), "openact_1"), "openact_2"));
    match call("transaction", json!({"statements": ["INSERT", "INSERT"]}), json!({}), &host) {
        Err(Failure::Upstream(upstream)) => {
            assert_eq!(upstream.code.as_deref(), Some("22P02"));
            assert!(upstream.message.starts_with("statement 2: "), "{upstream:?}");
        }
        other => unreachable!("{other:?} {}", host.left()),
    }
    assert_eq!((host.left(), host.parked().len()), (String::new(), 1));
}

#[test]
fn a_statement_cannot_end_the_transaction_unseen() {
    let script = |statement: &str, tag: &str, status: u8| {
        let begun = entered().expect(simple("BEGIN")).answer([complete("BEGIN"), ready(b'T')].concat());
        let none = [message(b'1', b""), parameters(&[]), message(b'n', b""), ready(b'T')].concat();
        let ended = [message(b'2', b""), complete(tag), ready(status)].concat();
        let script = begun.expect(prepare("openact_1", statement)).answer(none);
        script.expect(run("openact_1", &[])).answer(ended)
    };
    let back = [complete("ROLLBACK"), ready(b'I')].concat();
    for (statement, tag) in
        [("COMMIT", "COMMIT"), ("End And Chain", "COMMIT"), ("ROLLBACK AND CHAIN", "ROLLBACK")]
    {
        // With a chain there is a transaction again, of which the server's status tells nothing.
        let status = if statement == "COMMIT" { b'I' } else { b'T' };
        let ended = script(statement, tag, status);
        let ended =
            if status == b'T' { ended.expect(simple("ROLLBACK")).answer(back.clone()) } else { ended };
        let host = FakeHost::new().socket(ended);
        let action = json!({"statements": [statement, "DELETE FROM t"]});
        let failure = call("transaction", action, json!({}), &host).unwrap_err();
        assert!(
            matches!(&failure, Failure::InvalidConfig(text) if text.contains("statement 1")),
            "{statement}: {failure:?}"
        );
        assert!(!String::from_utf8_lossy(&host.written().concat()).contains("DELETE"));
        assert_eq!(host.left(), "");
    }
    let kept = script("rollback to s", "ROLLBACK", b'T').expect(simple("COMMIT"));
    let host = FakeHost::new().socket(kept.answer([complete("COMMIT"), ready(b'I')].concat()));
    call("transaction", json!({"statements": ["rollback to s"]}), json!({}), &host).unwrap();
}

#[test]
fn a_dry_run_says_what_it_would_send_and_opens_nothing() {
    let host = FakeHost::new();
    for (operation, action, input, statements) in [
        (
            "query",
            json!({"statement": "DELETE $1", "parameters": [{"name": "id"}]}),
            json!({"id": "7"}),
            json!([{"statement": "DELETE $1", "values": ["7"], "read_only": false}]),
        ),
        (
            "transaction",
            json!({"statements": ["A", "B"], "read_only": true}),
            json!({}),
            json!([{"statement": "A", "values": [], "read_only": true}, {"statement": "B", "values": [], "read_only": true}]),
        ),
        (
            "execute",
            json!({}),
            json!({"statement": "C", "args": [1.50]}),
            json!([{"statement": "C", "values": [1.50], "read_only": false}]),
        ),
    ] {
        let invoke = Invoke { operation, connection: connection(), action, input, dry_run: true };
        let result = invoke.on::<Postgres>(&host).unwrap();
        assert_eq!(result, json!({ "statements": statements }));
    }
    assert!(host.opened().is_empty());
}
