//! From node to node of a cluster.

use openact_connector::{
    Failure, HostError,
    testing::{FakeHost, Script},
};
use serde_json::{Value, json};

use crate::{call, resumed, sent};

fn places(host: &FakeHost) -> Vec<String> {
    host.opened().iter().map(|(endpoint, ..)| format!("{}:{}", endpoint.host, endpoint.port)).collect()
}

fn set(host: &FakeHost) -> Result<Value, Failure> {
    call(json!({"command": ["SET", "k", "v"]}), json!({}), host)
}

#[test]
fn a_write_goes_to_the_node_that_has_the_key() {
    let command: &[&[&str]] = &[&["SET", "k", "v"]];
    let host = FakeHost::new()
        .socket(resumed(command, b"-MOVED 3999 10.0.0.2:6381\r\n"))
        .socket(resumed(command, b"-MOVED 3999 :6382\r\n"))
        .socket(resumed(command, b"-MOVED 3999 fd00::1:7000\r\n"))
        .socket(resumed(command, b"+OK\r\n"));
    assert_eq!(set(&host), Ok(json!({"value": "OK"})));
    assert_eq!(places(&host), ["cache.example.com:6379", "10.0.0.2:6381", "10.0.0.2:6382", "fd00::1:7000"]);
    assert_eq!(host.parked().len(), 4);
}

#[test]
fn a_key_on_its_way_is_asked_for() {
    let command: &[&[&str]] = &[&["SET", "k", "v"]];
    let host = FakeHost::new()
        .socket(resumed(command, b"-ASK 3999 10.0.0.2:6381\r\n"))
        .socket(resumed(&[&["ASKING"], command[0]], b"+OK\r\n+OK\r\n"));
    assert_eq!(set(&host), Ok(json!({"value": "OK"})));
    assert_eq!(host.parked().len(), 2);
}

#[test]
fn another_host_is_for_the_host_to_refuse() {
    let host = FakeHost::new()
        .socket(resumed(&[&["SET", "k", "v"]], b"-MOVED 1 evil.example.net:6379\r\n"))
        .fail_open(HostError::Denied("not granted".into()));
    assert_eq!(set(&host), Err(Failure::Denied("not granted".into())));
    assert_eq!(places(&host).last().map(String::as_str), Some("evil.example.net:6379"));
}

#[test]
fn circles_end() {
    let around = || Script::new().resumed(b"").expect_anything().answer("+OK\r\n-MOVED 1 :6379\r\n");
    let host = (0..20).fold(FakeHost::new(), |host, _| host.socket(around()));
    assert!(matches!(set(&host), Err(Failure::Protocol(_))));
    assert_eq!(places(&host).len(), 6);
    let host = (0..20).fold(FakeHost::new(), |host, _| host.socket(around()));
    let failure = call(json!({"pipeline": [["SET", "k", "v"]]}), json!({}), &host).unwrap_err();
    assert!(matches!(failure, Failure::Protocol(_)));
    assert_eq!(places(&host).len(), 6);
}

#[test]
fn redirections_to_nowhere_are_errors() {
    for answer in [
        "-MOVED\r\n",
        "-MOVED 1\r\n",
        "-MOVED 1 nowhere\r\n",
        "-MOVED 1 ?:6379\r\n",
        "-MOVED 1 h:0\r\n",
        "-MOVED 1 h:99999\r\n",
        "-MOVED x h:1\r\n",
        "-MOVED 1 h:1 script: 4a22, on @user_script:1.\r\n",
    ] {
        let host = FakeHost::new().socket(resumed(&[&["SET", "k", "v"]], answer.as_bytes()));
        assert!(matches!(set(&host), Err(Failure::Upstream(_))), "{answer}");
        assert_eq!(places(&host).len(), 1, "{answer}");
    }
}

#[test]
fn a_pipeline_goes_to_several_nodes_and_keeps_its_order() {
    let commands: &[&[&str]] =
        &[&["SET", "a", "1"], &["SET", "b", "1"], &["SET", "c", "1"], &["SET", "a", "2"]];
    let host = FakeHost::new()
        .socket(resumed(commands, b"-MOVED 1 :7001\r\n+B\r\n-ASK 2 :7002\r\n-MOVED 1 :7001\r\n"))
        .socket(resumed(&[commands[0], commands[3]], b"+A1\r\n+A2\r\n"))
        .socket(resumed(&[&["ASKING"], commands[2]], b"+OK\r\n-ERR c\r\n"));
    assert_eq!(
        call(json!({ "pipeline": commands }), json!({}), &host),
        Ok(json!({"value": ["A1", "B", {"error": {"code": "ERR", "message": "ERR c"}}, "A2"], "errors": 1}))
    );
    assert_eq!(host.left(), "");
}

#[test]
fn a_transaction_moves_as_a_whole() {
    let with = |answer: &[u8]| {
        let multi = resumed(&[&["MULTI"]], b"+OK\r\n");
        multi.expect(sent(&[&["SET", "k", "v"], &["EXEC"]])).answer(answer)
    };
    let action = json!({"pipeline": [["SET", "k", "v"]], "transaction": true});
    let moved = b"-MOVED 3999 :7001\r\n-EXECABORT Transaction discarded\r\n";
    let host = FakeHost::new().socket(with(moved)).socket(with(b"+QUEUED\r\n*1\r\n+OK\r\n"));
    assert_eq!(call(action.clone(), json!({}), &host), Ok(json!({"value": ["OK"]})));

    let asked = b"-ASK 3999 :7001\r\n-EXECABORT Transaction discarded\r\n";
    let host = FakeHost::new().socket(with(asked));
    match call(action, json!({}), &host) {
        Err(Failure::Upstream(error)) => assert!(error.retryable && error.code.as_deref() == Some("ASK")),
        other => panic!("{other:?}"),
    }
    // No part of one that is written out goes elsewhere, where it would be done by itself.
    let written: &[&[&str]] = &[&["MULTI"], &["SET", "k", "v"], &["EXEC"]];
    let moved = b"+OK\r\n-MOVED 3999 :7001\r\n-EXECABORT Transaction discarded\r\n";
    let host = FakeHost::new().socket(resumed(written, moved));
    let answer = call(json!({ "pipeline": written }), json!({}), &host).unwrap();
    assert_eq!((&answer["errors"], &answer["value"][1]["error"]["code"]), (&json!(2), &json!("MOVED")));
    assert_eq!(host.opened().len(), 1);
}

#[test]
fn a_script_moves_before_it_is_sent_whole() {
    let hash = "4a2267357833227dd98abdedb8cf24b15a986445";
    let by_hash: &[&[&str]] = &[&["EVALSHA", hash, "1", "k"]];
    let whole: &[&[&str]] = &[&["EVAL", "return KEYS[1]", "1", "k"]];
    let host = FakeHost::new()
        .socket(resumed(by_hash, b"-MOVED 1 :7001\r\n"))
        .socket(resumed(by_hash, b"-NOSCRIPT no\r\n"))
        .socket(resumed(whole, b"-MOVED 1 :7001\r\n"))
        .socket(resumed(whole, b"$1\r\nk\r\n"));
    let action = json!({"script": "return KEYS[1]", "keys": ["k"]});
    assert_eq!(call(action, json!({}), &host), Ok(json!({"value": "k"})));
    assert_eq!(sent(by_hash).len() + 23, host.written()[1].len());
}
