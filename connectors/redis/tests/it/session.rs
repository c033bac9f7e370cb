//! Login, reset, what is parked, and what is sent again.

use openact_connector::{
    Failure, HostError, TlsMode,
    testing::{FakeHost, Script, check},
};
use openact_redis::Redis;
use serde_json::{Value, json};

use crate::{HELLO, call, call_on, connection, new, resumed, sent};

fn get() -> Value {
    json!({"command": ["GET", "{{key}}"]})
}

fn value(host: &FakeHost) -> Result<Value, Failure> {
    call(get(), json!({"key": "k"}), host)
}

#[test]
fn a_session_that_was_parked_is_reset_in_the_same_flight() {
    let script = resumed(&[&["GET", "k"]], b"$1\r\nv\r\n");
    let host = FakeHost::new().socket(script.clone());
    assert_eq!(value(&host), Ok(json!({"value": "v"})));
    assert_eq!(host.written(), [sent(&[&["SELECT", "0"], &["GET", "k"]])]);
    assert_eq!(host.parked(), [("redis".to_owned(), Vec::new())]);
    script.at_every_split(|host| {
        assert_eq!(value(&host), Ok(json!({"value": "v"})));
        assert_eq!(host.parked().len(), 1);
    });
}

#[test]
fn a_new_session_knows_the_answer_to_its_login_before_it_sends_anything_else() {
    let script = Script::new()
        .login("redis-auth", &[(b"", b"")])
        .expect(sent(&[&["HELLO", "3"]]))
        .answer([b"+OK\r\n", HELLO].concat())
        .expect(sent(&[&["GET", "k"]]))
        .answer("$1\r\nv\r\n");
    script.at_every_split(|host| {
        assert_eq!(value(&host), Ok(json!({"value": "v"})));
        assert_eq!(host.left(), "");
        assert_eq!(host.parked().len(), 1);
    });
    // Where the default user needs no password, the command would be done as that one.
    let refused = Script::new()
        .login("redis-auth", &[(b"", b"")])
        .expect(sent(&[&["HELLO", "3"]]))
        .answer([b"-WRONGPASS invalid username-password pair\r\n", HELLO].concat());
    let host = FakeHost::new().socket(refused);
    assert!(matches!(value(&host), Err(Failure::Unauthenticated(text)) if text.contains("WRONGPASS")));
    assert!(host.parked().is_empty());
}

#[test]
fn servers_without_resp3_and_without_a_password() {
    let old = |answer: &[u8]| {
        let none = HostError::NotFound("no password".into());
        Script::new().fail_login(none).expect(sent(&[&["HELLO", "3"]])).answer(answer)
    };
    let unknown = b"-ERR unknown command `HELLO`, with args beginning with: `3`, \r\n";
    let host = FakeHost::new().socket(old(unknown).expect(sent(&[&["GET", "k"]])).answer("$-1\r\n"));
    assert_eq!(value(&host), Ok(json!({"value": null})));

    let host = FakeHost::new()
        .socket(old(b"-NOAUTH HELLO must be called with the client already authenticated\r\n"));
    assert!(matches!(value(&host), Err(Failure::Unauthenticated(text)) if text.contains("set password")));

    let wanted = json!({"host": "h", "protocol": 3});
    let host = FakeHost::new().socket(old(unknown));
    let failure = call_on(wanted, get(), json!({"key": "k"}), &host).unwrap_err();
    assert!(matches!(failure, Failure::Upstream(error) if error.code.as_deref() == Some("ERR")));

    let none = HostError::NotFound("no password".into());
    let two = Script::new().fail_login(none.clone()).expect(sent(&[&["GET", "k"]])).answer("$-1\r\n");
    let host = FakeHost::new().socket(two);
    assert_eq!(
        call_on(json!({"host": "h", "protocol": "2"}), get(), json!({"key": "k"}), &host),
        Ok(json!({"value": null}))
    );

    let host = FakeHost::new().socket(Script::new().fail_login(none));
    let failure = call_on(json!({"host": "h", "user": "u"}), get(), json!({"key": "k"}), &host).unwrap_err();
    assert!(matches!(failure, Failure::Unauthenticated(_)), "{failure:?}");

    let host = FakeHost::new().socket(Script::new().fail_login(HostError::Denied("plain text".into())));
    assert_eq!(value(&host), Err(Failure::Denied("plain text".into())));
}

#[test]
fn the_database_is_there_before_the_first_command() {
    let connection = json!({"host": "h", "database": "5", "tls": "verify-full", "port": 6380});
    let login = |answer: &[u8]| {
        Script::new()
            .login("redis-auth", &[(b"", b"")])
            .expect(sent(&[&["HELLO", "3"], &["SELECT", "5"]]))
            .answer([b"+OK\r\n", HELLO, answer].concat())
    };
    let host = FakeHost::new().socket(login(b"+OK\r\n").expect(sent(&[&["GET", "k"]])).answer("_\r\n"));
    assert_eq!(call_on(connection.clone(), get(), json!({"key": "k"}), &host), Ok(json!({"value": null})));
    let (endpoint, tls, session) = host.opened().remove(0);
    assert_eq!((endpoint.host.as_str(), endpoint.port, tls), ("h", 6380, TlsMode::Tls));
    assert_eq!(session.as_deref(), Some("redis"));

    let host = FakeHost::new().socket(login(b"-ERR DB index is out of range\r\n"));
    let failure = call_on(connection, get(), json!({"key": "k"}), &host).unwrap_err();
    assert!(matches!(failure, Failure::Upstream(_)), "{failure:?}");
    assert!(host.parked().is_empty());
}

#[test]
fn c7_what_leaves_something_behind_is_not_parked() {
    for command in [
        json!(["SELECT", "1"]),
        json!(["select", "1"]),
        json!(["WATCH", "k"]),
        json!(["MULTI"]),
        json!(["CLIENT", "TRACKING", "ON"]),
        json!(["READONLY"]),
        json!(["ASKING"]),
        json!(["SCRIPT", "DEBUG", "YES"]),
    ] {
        let script = Script::new().resumed(b"").expect_anything().answer("+OK\r\n+OK\r\n");
        let host = FakeHost::new().socket(script);
        assert_eq!(
            call(json!({ "command": command }), json!({}), &host),
            Ok(json!({"value": "OK"})),
            "{command}"
        );
        assert!(host.parked().is_empty(), "{command}");
    }
    // What is no answer to anything is nobody's.
    let host = FakeHost::new().socket(resumed(&[&["GET", "k"]], b"$1\r\nv\r\n$1\r\nx\r\n"));
    assert_eq!(value(&host), Ok(json!({"value": "v"})));
    assert!(host.parked().is_empty());
    // And an error is an answer.
    let host = FakeHost::new().socket(resumed(&[&["GET", "k"]], b"-WRONGTYPE no\r\n"));
    assert!(
        matches!(value(&host), Err(Failure::Upstream(error)) if error.code.as_deref() == Some("WRONGTYPE"))
    );
    assert_eq!(host.parked().len(), 1);
}

#[test]
fn c7_a_reset_that_is_answered_with_something_else_ends_the_session() {
    // `QUEUED` is what a transaction that was left open says: to the command too, which is not done then.
    for answer in ["+QUEUED\r\n+QUEUED\r\n", "$2\r\nOK\r\n+OK\r\n"] {
        let host = FakeHost::new().socket(Script::new().resumed(b"").expect_anything().answer(answer));
        assert!(matches!(value(&host), Err(Failure::Protocol(_))), "{answer}");
        assert!(host.parked().is_empty());
    }
    // Who may not select has nothing to reset.
    let script = Script::new().resumed(b"").expect_anything().answer("-NOPERM no\r\n$1\r\nv\r\n");
    assert_eq!(value(&FakeHost::new().socket(script)), Ok(json!({"value": "v"})));
}

#[test]
fn a_read_is_sent_again_and_a_write_is_not() {
    let broken = || Script::new().resumed(b"").expect_anything().end();
    let fresh = |command: &[&str]| new().expect(sent(&[command])).answer("+OK\r\n");
    let host = FakeHost::new().socket(broken()).socket(fresh(&["GET", "k"]));
    assert_eq!(value(&host), Ok(json!({"value": "OK"})));
    assert_eq!(host.left(), "");

    for action in [
        json!({"command": ["SET", "k", "v"]}),
        json!({"pipeline": [["GET", "k"], ["DEL", "k"]]}),
        json!({"script": "return 1"}),
    ] {
        let host = FakeHost::new().socket(broken()).socket(fresh(&["SET", "k", "v"]));
        let failure = call(action.clone(), json!({}), &host).unwrap_err();
        assert!(matches!(failure, Failure::Network(_)), "{action}: {failure:?}");
        assert_eq!(host.opened().len(), 1, "{action}");
    }
}

#[test]
fn answers_that_break_off() {
    for answer in ["", "$5\r\nab", "$5", "*3\r\n:1\r\n", "+O"] {
        let host = FakeHost::new().socket(new().expect(sent(&[&["GET", "k"]])).answer(answer).end());
        assert!(matches!(value(&host), Err(Failure::Network(_))), "{answer}");
        assert!(host.parked().is_empty());
    }
    let late = HostError::Timeout("the answer timed out".into());
    let blocking = json!({"command": ["BLPOP", "k", 0]});
    let host = FakeHost::new().socket(new().expect(sent(&[&["BLPOP", "k", "0"]])).fail_read(late));
    assert_eq!(call(blocking, json!({}), &host), Err(Failure::Timeout("the answer timed out".into())));
    assert!(host.parked().is_empty());
}

#[test]
fn what_the_server_says_unasked_is_passed_over() {
    let push = ">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n";
    let answer = format!("{push}|1\r\n+ttl\r\n:3600\r\n{push}$1\r\nv\r\n");
    let script = resumed(&[&["GET", "k"]], answer.as_bytes());
    script.at_every_split(|host| {
        assert_eq!(value(&host), Ok(json!({"value": "v"})));
    });
}

#[test]
fn a_pipeline_is_answered_one_by_one() {
    let commands: &[&[&str]] = &[&["SET", "a", "1"], &["LPOP", "a"], &["GET", "a"]];
    let script = resumed(commands, b"+OK\r\n-WRONGTYPE no list\r\n$1\r\n1\r\n");
    script.at_every_split(|host| {
        assert_eq!(
            call(json!({ "pipeline": commands }), json!({}), &host),
            Ok(json!({
                "value": ["OK", {"error": {"code": "WRONGTYPE", "message": "WRONGTYPE no list"}}, "1"],
                "errors": 1,
            }))
        );
        assert_eq!(host.parked().len(), 1);
    });
}

#[test]
fn a_transaction_is_done_whole_or_not_at_all() {
    let inside: &[&[&str]] = &[&["SET", "a", "1"], &["LPOP", "a"]];
    let action = json!({"pipeline": inside, "transaction": true});
    let whole = sent(&[inside[0], inside[1], &["EXEC"]]);
    let multi = |answer: &[u8]| resumed(&[&["MULTI"]], answer);
    let done = b"+QUEUED\r\n+QUEUED\r\n*2\r\n+OK\r\n-WRONGTYPE no list\r\n";
    multi(b"+OK\r\n").expect(whole.clone()).answer(done).at_every_split(|host| {
        assert_eq!(
            call(action.clone(), json!({}), &host),
            Ok(json!({
                "value": ["OK", {"error": {"code": "WRONGTYPE", "message": "WRONGTYPE no list"}}],
                "errors": 1,
            }))
        );
        assert_eq!(host.parked().len(), 1);
    });
    let aborted = b"+QUEUED\r\n-ERR unknown command 'LPO'\r\n-EXECABORT Transaction discarded\r\n";
    let host = FakeHost::new().socket(multi(b"+OK\r\n").expect(whole).answer(aborted));
    match call(action.clone(), json!({}), &host) {
        Err(Failure::Upstream(error)) => assert!(error.message.contains("unknown command"), "{error:?}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(host.parked().len(), 1);
}

#[test]
fn without_multi_nothing_of_a_transaction_is_sent() {
    let action = json!({"pipeline": [["SET", "a", "1"]], "transaction": true});
    let host = FakeHost::new().socket(resumed(&[&["MULTI"]], b"-NOPERM no permissions to run 'multi'\r\n"));
    match call(action.clone(), json!({}), &host) {
        Err(Failure::Upstream(error)) => assert_eq!(error.code.as_deref(), Some("NOPERM")),
        other => panic!("{other:?}"),
    }
    assert_eq!((host.left(), host.parked().len()), (String::new(), 1));
    // What is in it is not sent twice.
    let gone = resumed(&[&["MULTI"]], b"+OK\r\n").expect_anything().end();
    let host = FakeHost::new().socket(gone).socket(new().expect_anything());
    assert!(matches!(call(action.clone(), json!({}), &host), Err(Failure::Network(_))));
    assert_eq!(host.opened().len(), 1);
    // A session that breaks before does not cost the call.
    let whole =
        new().expect(sent(&[&["MULTI"]])).answer("+OK\r\n").expect(sent(&[&["SET", "a", "1"], &["EXEC"]]));
    let host = FakeHost::new()
        .socket(Script::new().resumed(b"").expect_anything().end())
        .socket(whole.answer("+QUEUED\r\n*1\r\n+OK\r\n"));
    assert_eq!(call(action, json!({}), &host), Ok(json!({"value": ["OK"]})));
}

#[test]
fn a_script_is_sent_where_it_is_not_known() {
    let action = json!({"script": "return KEYS[1]", "keys": ["k"]});
    let hash = "4a2267357833227dd98abdedb8cf24b15a986445";
    let by_hash: &[&str] = &["EVALSHA", hash, "1", "k"];
    let host = FakeHost::new().socket(resumed(&[by_hash], b"$1\r\nk\r\n"));
    assert_eq!(call(action.clone(), json!({}), &host), Ok(json!({"value": "k"})));
    let host = FakeHost::new()
        .socket(resumed(&[by_hash], b"-NOSCRIPT No matching script. Please use EVAL.\r\n"))
        .socket(resumed(&[&["EVAL", "return KEYS[1]", "1", "k"]], b"$1\r\nk\r\n"));
    assert_eq!(call(action, json!({}), &host), Ok(json!({"value": "k"})));
}

#[test]
fn errors_that_pass_say_so() {
    for (answer, retryable) in
        [("-BUSY x\r\n", true), ("-TRYAGAIN x\r\n", true), ("-OOM x\r\n", false), ("-oops\r\n", false)]
    {
        let host = FakeHost::new().socket(resumed(&[&["GET", "k"]], answer.as_bytes()));
        match value(&host) {
            Err(Failure::Upstream(error)) => {
                assert_eq!(error.retryable, retryable, "{answer}");
                assert_eq!(error.message, answer[1..].trim_end());
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn check_says_as_whom_and_what_was_reached() {
    let answer = b"+PONG\r\n%3\r\n+server\r\n+redis\r\n+version\r\n$6\r\n7.0.15\r\n+id\r\n:7\r\n";
    let host = FakeHost::new().socket(resumed(&[&["PING"], &["HELLO"]], answer));
    assert_eq!(
        check::<Redis>(&connection(), &host),
        Ok(json!({"server": "redis", "version": "7.0.15", "user": "default", "database": 0}))
    );
    let host =
        FakeHost::new().socket(resumed(&[&["PING"], &["HELLO"]], b"+PONG\r\n-ERR unknown command\r\n"));
    assert_eq!(check::<Redis>(&connection(), &host), Ok(json!({"user": "default", "database": 0})));
    let host = FakeHost::new().socket(resumed(&[&["PING"], &["HELLO"]], b"-LOADING x\r\n-LOADING x\r\n"));
    assert!(matches!(check::<Redis>(&connection(), &host), Err(Failure::Network(_))));
}
