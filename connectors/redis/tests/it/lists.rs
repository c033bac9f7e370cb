//! Which commands may be sent.

use openact_connector::{Failure, testing::FakeHost};
use openact_redis::rules::Name;
use serde_json::{Value, json};

use crate::{call_on, connection};

/// What becomes of a command on a connection with these lists: nothing is opened, so `denied` is what passes.
fn passes(lists: Value, command: Value) -> bool {
    let mut connection = connection();
    connection.as_object_mut().unwrap().extend(lists.as_object().unwrap().clone());
    let input = json!({ "all": command });
    match call_on(connection, json!({"command": ["{{all...}}"]}), input, &FakeHost::new()) {
        Err(Failure::Denied(_)) => true,
        Err(Failure::InvalidInput(_)) => false,
        other => panic!("{other:?}"),
    }
}

#[test]
fn denied_ones() {
    let deny = json!({"deny": ["flushall", "CONFIG SET", "script|flush", "DEB*", "acl *", "CLIENT K*"]});
    for command in [
        json!(["FLUSHALL"]),
        json!(["FlushAll", "ASYNC"]),
        json!(["config", "set", "a", "b"]),
        json!(["SCRIPT", "Flush"]),
        json!(["DEBUG", "SLEEP", "1"]),
        json!(["ACL", "WHOAMI"]),
        json!(["client", "kill", "x"]),
        // Servers compare up to a zero byte.
        json!(["FLUSHALL\0x"]),
        json!(["CONFIG", "SET\0x", "a", "b"]),
        // They run what no list sees.
        json!(["EVAL", "redis.call('flushall')", "0"]),
        json!(["fcall", "f", "0"]),
        json!(["EVALSHA_RO", "x", "0"]),
    ] {
        assert!(!passes(deny.clone(), command.clone()), "{command}");
    }
    for command in [
        json!(["GET", "FLUSHALL"]),
        json!(["CONFIG", "GET", "SET"]),
        json!(["SCRIPT", "EXISTS", "x"]),
        json!(["FLUSHDB"]),
        json!(["CONFIG"]),
        json!(["CLIENT", "LIST"]),
    ] {
        assert!(passes(deny.clone(), command.clone()), "{command}");
    }
    assert!(passes(json!({}), json!(["EVAL", "return 1", "0"])));
}

#[test]
fn allowed_ones() {
    let allow = json!({"allow": ["get", "CONFIG GET", "FT.*", "EVAL"], "deny": ["FT.DROPINDEX"]});
    for command in [
        json!(["GET", "k"]),
        json!(["config", "get", "x"]),
        json!(["ft.search", "x"]),
        json!(["eval", "x", "0"]),
    ] {
        assert!(passes(allow.clone(), command.clone()), "{command}");
    }
    for command in [
        json!(["SET", "k", "v"]),
        json!(["CONFIG", "SET", "x", "y"]),
        json!(["CONFIG"]),
        json!(["GETDEL", "k"]),
        json!(["FT.DROPINDEX", "x"]),
        json!(["FT"]),
    ] {
        assert!(!passes(allow.clone(), command.clone()), "{command}");
    }
}

#[test]
fn an_action_can_only_narrow_what_its_connection_allows() {
    let on = |connection: Value, action: Value| {
        let mut whole = crate::connection();
        whole.as_object_mut().unwrap().extend(connection.as_object().unwrap().clone());
        !matches!(call_on(whole, action, json!({}), &FakeHost::new()), Err(Failure::InvalidConfig(_)))
    };
    assert!(on(json!({"allow": ["GET"]}), json!({"command": ["GET", "k"], "allow": ["GET", "SET"]})));
    assert!(!on(json!({"allow": ["GET"]}), json!({"command": ["SET", "k", "v"], "allow": ["SET"]})));
    assert!(!on(json!({}), json!({"command": ["GET", "k"], "deny": ["GET"]})));
    assert!(!on(json!({"deny": ["SET"]}), json!({"pipeline": [["GET", "k"], ["SET", "k", "v"]]})));
    // A script is what the configuration wrote: it is allowed or denied as such.
    assert!(on(json!({"deny": ["FLUSHALL"]}), json!({"script": "return 1"})));
    assert!(on(json!({"deny": ["FLUSHALL"]}), json!({"command": ["EVAL", "return 1", "0", "{{x}}"]})));
    assert!(!on(json!({"deny": ["EVAL"]}), json!({"script": "return 1"})));
    assert!(!on(json!({"allow": ["GET"]}), json!({"script": "return 1"})));
}

#[test]
fn what_no_connection_can_do() {
    for command in [
        json!(["AUTH", "x"]),
        json!(["hello", "3", "AUTH", "a", "b"]),
        json!(["SUBSCRIBE", "c"]),
        json!(["Monitor"]),
        json!(["CLIENT", "reply", "OFF"]),
        json!(["CLIENT", "REPLY\0", "OFF"]),
        // Whoever the default user is, it is not the connection's.
        json!(["RESET"]),
        json!(["PSYNC", "?", "-1"]),
        json!(["QUIT"]),
        json!(["unsubscribe"]),
    ] {
        assert!(!passes(json!({}), command.clone()), "{command}");
        // Not even where it is allowed by name.
        assert!(!passes(json!({"allow": [command[0]]}), command.clone()), "{command}");
    }
}

#[test]
fn every_read_is_known_as_one() {
    let name =
        |words: &[&str]| Name::of(&words.iter().map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>());
    for read in ["bitcount", "GET", "XREAD", "xrange", "ZUNION", "HGETALL", "PING", "scan"] {
        assert!(name(&[read, "k"]).is_read(), "{read}");
    }
    for write in
        ["SET", "GETDEL", "GETEX", "SORT", "EVAL", "SPOP", "XREADGROUP", "BLPOP", "TOUCH", "", "FT.SEARCH"]
    {
        assert!(!name(&[write, "k"]).is_read(), "{write}");
    }
    for state in
        [&["select", "1"][..], &["CLIENT", "TRACKING", "ON"], &["MULTI"], &["SCRIPT", "DEBUG", "YES"]]
    {
        assert!(name(state).leaves_state(), "{state:?}");
    }
    assert!(!name(&["SCRIPT", "LOAD", "x"]).leaves_state());
}
