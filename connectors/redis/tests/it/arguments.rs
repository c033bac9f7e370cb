//! Templates: what becomes which argument, and what is left out.

use openact_connector::Failure;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::commands;

#[track_caller]
fn makes(command: Value, input: Value, expected: Value) {
    assert_eq!(commands(json!({ "command": command }), input), Ok(json!([expected])), "{command}");
}

#[track_caller]
fn wrong_input(command: Value, input: Value, says: &str) {
    match commands(json!({ "command": command }), input) {
        Err(Failure::InvalidInput(message)) => assert!(message.contains(says), "{message}"),
        other => panic!("{command}: {other:?}"),
    }
}

#[test]
fn a_value_is_one_argument_whatever_it_holds() {
    let command = json!(["SET", "{{key}}", "{{value}}", "NX"]);
    for value in ["a b", "a\r\nb\r\n*1\r\n$8\r\nFLUSHALL\r\n", "\"", "'", "{{key}}", "", "EX 1", "\u{0}"] {
        makes(command.clone(), json!({"key": "k", "value": value}), json!(["SET", "k", value, "NX"]));
        makes(json!(["GET", "x:{{key}}"]), json!({ "key": value }), json!(["GET", format!("x:{value}")]));
    }
    // Not even a list, which would be more arguments than the configuration wrote.
    makes(
        command.clone(),
        json!({"key": "k", "value": ["1", "EX", 1]}),
        json!(["SET", "k", "[\"1\",\"EX\",1]", "NX"]),
    );
    makes(command.clone(), json!({"key": 1, "value": {"a": 1.50}}), json!(["SET", "1", "{\"a\":1.5}", "NX"]));
    makes(command, json!({"key": true, "value": -0.25}), json!(["SET", "true", "-0.25", "NX"]));
}

#[test]
fn bytes_in_and_out() {
    makes(
        json!(["SET", "k", "{{v}}"]),
        json!({"v": {"base64": "AP8B"}}),
        json!(["SET", "k", {"base64": "AP8B"}]),
    );
    makes(json!(["SET", "k", {"base64": "aGk="}]), json!({}), json!(["SET", "k", "hi"]));
    wrong_input(json!(["SET", "k", "{{v}}"]), json!({"v": {"base64": "?"}}), "base64");
    let failure = commands(json!({"command": ["SET", "k", {"base64": "?"}]}), json!({})).unwrap_err();
    assert!(matches!(failure, Failure::InvalidConfig(_)), "{failure:?}");
    // An object that has more than that is JSON.
    makes(
        json!(["SET", "k", "{{v}}"]),
        json!({"v": {"base64": "AP8B", "x": 1}}),
        json!(["SET", "k", "{\"base64\":\"AP8B\",\"x\":1}"]),
    );
}

#[test]
fn what_is_written_without_quotes() {
    makes(json!(["EXPIRE", "k", 60, true, 1.5]), json!({}), json!(["EXPIRE", "k", "60", "true", "1.5"]));
    makes(json!(["SET", "k", "{{{{x}}"]), json!({}), json!(["SET", "k", "{{x}}"]));
}

#[test]
fn what_is_missing_at_the_end_is_left_off() {
    let set = json!(["SET", "{{key}}", "{{value}}", "EX", "{{ttl}}"]);
    makes(set.clone(), json!({"key": "k", "value": "v", "ttl": 5}), json!(["SET", "k", "v", "EX", "5"]));
    makes(set.clone(), json!({"key": "k", "value": "v"}), json!(["SET", "k", "v"]));
    makes(set.clone(), json!({"key": "k", "value": "v", "ttl": null}), json!(["SET", "k", "v"]));
    makes(
        json!(["ZRANGE", "k", 0, 9, "LIMIT", "{{o}}", "{{c}}"]),
        json!({}),
        json!(["ZRANGE", "k", "0", "9"]),
    );
    makes(json!(["GET", "{{key}}"]), json!({}), json!(["GET"]));
    makes(json!(["LPUSH", "k", "EX", "{{v?}}"]), json!({}), json!(["LPUSH", "k"]));
    // Not what is missing before something that is there.
    wrong_input(set.clone(), json!({"key": "k", "ttl": 5}), "'value' is missing");
    wrong_input(set, json!({"key": null, "value": "v"}), "'key' is missing");
    wrong_input(json!(["{{command}}"]), json!({}), "'command' is missing");
    wrong_input(json!(["{{command?}}"]), json!({}), "there is no command");
    wrong_input(json!(["{{command}}", "x"]), json!({"command": ""}), "there is no command");
}

#[test]
fn optional_ones_and_groups_anywhere() {
    let set = json!(["SET", "k", "v", ["EX", "{{ttl}}"], "{{how?}}", "GET"]);
    makes(set.clone(), json!({}), json!(["SET", "k", "v", "GET"]));
    makes(set.clone(), json!({"how": null}), json!(["SET", "k", "v", "GET"]));
    makes(set, json!({"ttl": 5, "how": "NX"}), json!(["SET", "k", "v", "EX", "5", "NX", "GET"]));
    let nested = json!(["X", ["a", "{{a}}", ["b", "{{b}}"]], "z"]);
    makes(nested.clone(), json!({"a": 1}), json!(["X", "a", "1", "z"]));
    makes(nested, json!({"a": 1, "b": 2}), json!(["X", "a", "1", "b", "2", "z"]));
}

#[test]
fn several_arguments_where_they_are_asked_for() {
    makes(
        json!(["DEL", "{{keys...}}"]),
        json!({"keys": ["a b", 1, {"base64": "/w=="}]}),
        json!(["DEL", "a b", "1", {"base64": "/w=="}]),
    );
    makes(
        json!(["HSET", "k", "{{fields...}}"]),
        json!({"fields": {"b": 1, "a": "x"}}),
        json!(["HSET", "k", "b", "1", "a", "x"]),
    );
    makes(
        json!(["HSET", "k", "{{fields...}}"]),
        json!({"fields": {"\"\n": 1}}),
        json!(["HSET", "k", "\"\n", "1"]),
    );
    makes(json!(["{{all...}}"]), json!({"all": ["GET", "k"]}), json!(["GET", "k"]));
    makes(
        json!(["SET", "k", {"base64": ""}, ["X", "{{o...}}"], "Y"]),
        json!({}),
        json!(["SET", "k", "", "Y"]),
    );
    wrong_input(json!(["DEL", "{{keys...}}"]), json!({"keys": "a"}), "must be a list");
    wrong_input(json!(["DEL", "{{keys...}}"]), json!({"keys": [null]}), "null");
    wrong_input(json!(["DEL", "{{keys...}}", "x"]), json!({}), "'keys' is missing");
    wrong_input(json!(["{{all...}}"]), json!({"all": []}), "there is no command");
}

#[test]
fn arguments_that_are_none() {
    for command in [json!([null]), json!(["GET", {"a": 1}]), json!(["GET", "{{a b}}"]), json!(["GET", "{{"])]
    {
        let failure = commands(json!({ "command": command }), json!({"a": 1})).unwrap_err();
        assert!(matches!(failure, Failure::InvalidConfig(_)), "{command}: {failure:?}");
    }
    let mut deep = json!(["x"]);
    for _ in 0..12 {
        deep = json!([deep]);
    }
    let failure = commands(json!({"command": ["GET", deep]}), json!({})).unwrap_err();
    assert!(matches!(failure, Failure::InvalidConfig(_)), "{failure:?}");
}

#[test]
fn scripts_pipelines_and_what_does_not_go_together() {
    let script = json!({"script": "return KEYS[1]", "keys": ["{{k}}", "b"], "args": ["{{a}}", "{{b}}"]});
    let hash = "4a2267357833227dd98abdedb8cf24b15a986445";
    assert_eq!(
        commands(script.clone(), json!({"k": "x y", "a": 1})),
        Ok(json!([["EVALSHA", hash, "2", "x y", "b", "1"]]))
    );
    // Where a key stands counts.
    let failure = commands(script, json!({"a": 1})).unwrap_err();
    assert!(matches!(failure, Failure::InvalidInput(_)), "{failure:?}");
    assert_eq!(
        commands(json!({"pipeline": [["A", "{{x}}"], ["B"]]}), json!({"x": 1})),
        Ok(json!([["A", "1"], ["B"]]))
    );
    for action in [
        json!({}),
        json!({"command": []}),
        json!({"pipeline": []}),
        json!({"command": ["GET", "k"], "script": "x"}),
        json!({"command": ["GET", "k"], "pipeline": [["GET", "k"]]}),
        json!({"command": ["GET", "k"], "transaction": true}),
        json!({"command": ["GET", "k"], "keys": ["k"]}),
        json!({"pipeline": [["MULTI"], ["EXEC"]], "transaction": true}),
    ] {
        let failure = commands(action.clone(), json!({})).unwrap_err();
        assert!(
            matches!(failure, Failure::InvalidConfig(_) | Failure::InvalidInput(_)),
            "{action}: {failure:?}"
        );
    }
}

proptest! {
    #[test]
    fn any_text_is_one_argument(text in "\\PC*|(?s).*") {
        let made = commands(json!({"command": ["SET", "{{k}}", "a{{k}}b", "{{k}}"]}), json!({ "k": text }));
        prop_assert_eq!(made, Ok(json!([["SET", text, format!("a{text}b"), text]])));
    }
}
