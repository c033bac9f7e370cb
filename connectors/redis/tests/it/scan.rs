//! Keys, and what is in them, item by item.

use openact_connector::{
    Failure,
    testing::{FakeHost, Invoke, Script},
};
use openact_redis::Redis;
use serde_json::{Value, json};

use crate::{connection, resumed, sent};

fn scan(action: Value, input: Value, host: &FakeHost) -> Result<Value, Failure> {
    Invoke { operation: "scan", connection: connection(), action, input, dry_run: false }.on::<Redis>(host)
}

fn step(cursor: &str, items: &[&str]) -> String {
    let items: String =
        items.iter().map(|item| format!("${}\r\n{item}\r\n", item.len())).collect::<Vec<_>>().concat();
    format!("*2\r\n${}\r\n{cursor}\r\n", cursor.len())
        + &format!("*{}\r\n", items.matches('$').count())
        + &items
}

fn two_steps() -> Script {
    resumed(&[&["SCAN", "0", "COUNT", "500"]], step("17", &["a", "b"]).as_bytes())
        .expect(sent(&[&["SCAN", "17", "COUNT", "500"]]))
        .answer(step("0", &["c"]))
}

#[test]
fn keys_are_gathered_or_streamed() {
    let host = FakeHost::new().socket(two_steps());
    assert_eq!(scan(json!({}), json!({}), &host), Ok(json!({"value": ["a", "b", "c"]})));
    assert_eq!(host.parked().len(), 1);
    let host = FakeHost::new().streaming().socket(two_steps());
    assert_eq!(scan(json!({"stream": true}), json!({}), &host), Ok(json!({"value": null, "emitted": 3})));
    assert_eq!(host.emitted(), [json!("a"), json!("b"), json!("c")]);
    // Who takes no stream gets a list all the same.
    let host = FakeHost::new().socket(two_steps());
    assert_eq!(scan(json!({"stream": true}), json!({}), &host), Ok(json!({"value": ["a", "b", "c"]})));
}

#[test]
fn a_limit_ends_after_a_whole_step_and_says_where_to_go_on() {
    let host = FakeHost::new()
        .socket(resumed(&[&["SCAN", "0", "COUNT", "500"]], step("17", &["a", "b"]).as_bytes()));
    assert_eq!(
        scan(json!({"limit": 1}), json!({}), &host),
        Ok(json!({"value": ["a", "b"], "truncated": true, "cursor": "17"}))
    );
    let host =
        FakeHost::new().socket(resumed(&[&["SCAN", "17", "COUNT", "500"]], step("0", &["c"]).as_bytes()));
    assert_eq!(
        scan(json!({"limit": 1, "cursor": "{{after}}"}), json!({"after": "17"}), &host),
        Ok(json!({"value": ["c"]}))
    );
    let failure =
        scan(json!({"cursor": "{{after}}"}), json!({"after": "1 2"}), &FakeHost::new()).unwrap_err();
    assert!(matches!(failure, Failure::InvalidInput(_)), "{failure:?}");
}

#[test]
fn each_collection() {
    let match_type = &["SCAN", "0", "COUNT", "9", "MATCH", "user:*", "TYPE", "hash"][..];
    let host = FakeHost::new().socket(resumed(&[match_type], step("0", &[]).as_bytes()));
    let action = json!({"match": "user:{{what}}", "type": "hash", "count": 9});
    assert_eq!(scan(action, json!({"what": "*"}), &host), Ok(json!({"value": []})));
    for (kind, name, items, value) in [
        ("hash", "HSCAN", &["f", "1"][..], json!([{"field": "f", "value": "1"}])),
        ("set", "SSCAN", &["m", "\u{e9}"], json!(["m", "\u{e9}"])),
        (
            "zset",
            "ZSCAN",
            &["m", "1.5", "n", "inf"],
            json!([{"member": "m", "score": 1.5}, {"member": "n", "score": "Infinity"}]),
        ),
    ] {
        let host = FakeHost::new()
            .socket(resumed(&[&[name, "k", "0", "COUNT", "500"]], step("0", items).as_bytes()));
        let action = json!({"scan": kind, "key": "{{key}}"});
        assert_eq!(scan(action.clone(), json!({"key": "k"}), &host), Ok(json!({ "value": value })), "{kind}");
        let failure = scan(action, json!({}), &FakeHost::new()).unwrap_err();
        assert!(matches!(failure, Failure::InvalidInput(_)), "{failure:?}");
        let failure = scan(json!({ "scan": kind }), json!({}), &FakeHost::new()).unwrap_err();
        assert!(matches!(failure, Failure::InvalidConfig(_)), "{failure:?}");
    }
}

#[test]
fn a_scan_moves_to_the_node_with_the_key() {
    let command = &["SSCAN", "k", "0", "COUNT", "500"][..];
    let host = FakeHost::new()
        .socket(resumed(&[command], b"-MOVED 1 :7001\r\n"))
        .socket(resumed(&[command], step("0", &["m"]).as_bytes()));
    assert_eq!(scan(json!({"scan": "set", "key": "k"}), json!({}), &host), Ok(json!({"value": ["m"]})));
}

#[test]
fn s5_what_is_no_step() {
    for answer in [
        "+OK\r\n",
        "*0\r\n",
        "*1\r\n$1\r\n0\r\n",
        "*2\r\n:0\r\n*0\r\n",
        "*2\r\n$1\r\n0\r\n$1\r\nx\r\n",
        "*2\r\n$1\r\n0\r\n*1\r\n:1\r\n",
        "*2\r\n$1\r\nx\r\n*0\r\n",
        "*2\r\n$0\r\n\r\n*0\r\n",
        "%1\r\n$1\r\n0\r\n*0\r\n",
    ] {
        let host = FakeHost::new().socket(resumed(&[&["SCAN", "0", "COUNT", "500"]], answer.as_bytes()));
        assert!(matches!(scan(json!({}), json!({}), &host), Err(Failure::Protocol(_))), "{answer}");
    }
    let host = FakeHost::new()
        .socket(resumed(&[&["HSCAN", "k", "0", "COUNT", "500"]], step("0", &["f"]).as_bytes()));
    let failure = scan(json!({"scan": "hash", "key": "k"}), json!({}), &host).unwrap_err();
    assert!(matches!(failure, Failure::Protocol(_)), "{failure:?}");
}

#[test]
fn a_dry_run_opens_nothing() {
    let action = json!({"scan": "set", "key": "k"});
    let invoke =
        Invoke { operation: "scan", connection: connection(), action, input: json!({}), dry_run: true };
    let host = FakeHost::new();
    assert_eq!(
        invoke.on::<Redis>(&host),
        Ok(json!({"dry_run": true, "commands": [["SSCAN", "k", "0", "COUNT", "500"]]}))
    );
    assert!(host.opened().is_empty());
}
