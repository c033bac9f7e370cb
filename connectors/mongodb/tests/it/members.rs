//! Which of several servers is asked.

use bson::doc;
use openact_connector::{
    Failure, HostError,
    testing::{FakeHost, Script},
};
use serde_json::{Value, json};

use crate::{batch, call_on, find, found, greeted, primary, reply, resumed, secondary, sent};

fn several() -> Value {
    json!({"hosts": ["a", "b", "c:1"], "database": "app"})
}

fn find_on(connection: Value, host: &FakeHost) -> Result<Value, Failure> {
    call_on(connection, "find", find(), json!({}), host)
}

fn answers() -> Script {
    greeted(&primary()).expect(sent(2, &found())).answer(reply(2, &batch(vec![])))
}

fn kept() -> Script {
    resumed().expect(sent(1, &found())).answer(reply(1, &batch(vec![])))
}

/// The hosts that were opened.
fn opened(host: &FakeHost) -> Vec<String> {
    host.opened().iter().map(|(endpoint, ..)| format!("{}:{}", endpoint.host, endpoint.port)).collect()
}

#[test]
fn a_secondary_says_who_the_primary_is_and_is_remembered() {
    let host = FakeHost::new().socket(greeted(&secondary(Some("b:27017")))).socket(answers());
    assert_eq!(find_on(several(), &host), Ok(json!({"documents": []})));
    assert_eq!(opened(&host), ["a:27017", "b:27017"]);
    let parked = host.parked();
    assert_eq!(parked[0], ("primary".to_owned(), b"[b]:27017".to_vec()));
    assert_eq!(parked[1], ("primary".to_owned(), Vec::new()));
    // The next call needs no round trip to find it.
    let host = FakeHost::new().socket(Script::new().resumed(b"[b]:27017")).socket(kept());
    assert_eq!(find_on(several(), &host), Ok(json!({"documents": []})));
    assert_eq!(opened(&host), ["a:27017", "b:27017"]);
    assert_eq!(host.parked().len(), 2);
}

#[test]
fn e12_a_primary_that_is_not_granted_is_not_reached() {
    let denied = "tcp://evil.example.com:1 is not granted; add to the connection: …";
    let host = FakeHost::new()
        .socket(greeted(&secondary(Some("evil.example.com:1"))))
        .fail_open(HostError::Denied(denied.into()));
    assert_eq!(find_on(several(), &host), Err(Failure::Denied(denied.into())));
    for name in ["", "a:b:c", "/tmp/x", "x:99999"] {
        let host = FakeHost::new()
            .socket(greeted(&secondary(Some(name))))
            .socket(greeted(&secondary(Some(name))))
            .socket(greeted(&secondary(Some(name))));
        assert!(matches!(find_on(several(), &host), Err(Failure::Protocol(_))), "{name}");
    }
}

#[test]
fn servers_that_are_down_are_passed_over() {
    let down = || HostError::Network("refused".into());
    let host = FakeHost::new().fail_open(down()).socket(greeted(&secondary(None))).socket(answers());
    assert_eq!(find_on(several(), &host), Ok(json!({"documents": []})));
    assert_eq!(opened(&host), ["a:27017", "b:27017", "c:1"]);
    let host = FakeHost::new().fail_open(down()).fail_open(down()).fail_open(down());
    assert_eq!(find_on(several(), &host), Err(Failure::Network("refused".into())));
    // What was remembered of one that is down is forgotten.
    let host = FakeHost::new()
        .socket(Script::new().resumed(b"[b]:27017"))
        .fail_open(down())
        .socket(Script::new().resumed(b"[b]:27017"))
        .socket(answers());
    assert_eq!(find_on(several(), &host), Ok(json!({"documents": []})));
    assert_eq!(opened(&host), ["a:27017", "b:27017", "a:27017", "a:27017"]);
}

#[test]
fn who_is_no_primary_any_more_has_done_nothing() {
    let stepped_down =
        doc! {"ok": 0.0, "code": 10107, "codeName": "NotWritablePrimary", "errmsg": "not primary"};
    let insert =
        doc! {"delete": "c", "deletes": [{"q": {"_id": 1}, "limit": 1}], "maxTimeMS": 5000, "$db": "app"};
    let refusing = || resumed().expect(sent(1, &insert)).answer(reply(1, &stepped_down));
    let host = FakeHost::new()
        .socket(refusing())
        // Another that was kept is as old as the first.
        .socket(resumed())
        .socket(greeted(&secondary(Some("b:27017"))))
        .socket(greeted(&primary()).expect(sent(2, &insert)).answer(reply(2, &doc! {"ok": 1, "n": 1})));
    let action = json!({"collection": "c", "filter": {"_id": 1}});
    let delete = |host: &FakeHost| call_on(several(), "delete", action.clone(), json!({}), host);
    assert_eq!(delete(&host), Ok(json!({"deleted_count": 1})));
    // Once is enough.
    let host = FakeHost::new()
        .socket(refusing())
        .socket(greeted(&primary()).expect(sent(2, &insert)).answer(reply(2, &stepped_down)));
    assert_eq!(delete(&host), Err(Failure::Network("not primary (10107)".into())));
    assert!(host.parked().is_empty());
    // What may have been done is not done again.
    let stopping = doc! {"ok": 0.0, "code": 11600, "errmsg": "interrupted at shutdown"};
    let host = FakeHost::new().socket(resumed().expect(sent(1, &insert)).answer(reply(1, &stopping)));
    assert_eq!(delete(&host), Err(Failure::Network("interrupted at shutdown (11600)".into())));
}

#[test]
fn servers_that_send_to_each_other_for_ever() {
    let mut host = FakeHost::new();
    for _ in 0..100 {
        host = host.socket(greeted(&secondary(Some("b:27017"))));
    }
    assert!(matches!(find_on(several(), &host), Err(Failure::Network(_))));
    assert!(host.opened().len() <= 64);
    // Notes that lead to each other are old.
    let host = FakeHost::new()
        .socket(Script::new().resumed(b"[b]:27017"))
        .socket(Script::new().resumed(b"[a]:27017"))
        .socket(Script::new().resumed(b"[b]:27017"))
        .socket(Script::new().resumed(b"[a]:27017"))
        .socket(answers());
    assert_eq!(find_on(several(), &host), Ok(json!({"documents": []})));
    assert_eq!(opened(&host), ["a:27017", "b:27017", "a:27017", "b:27017", "b:27017"]);
    let mut host = FakeHost::new();
    for _ in 0..60 {
        host = host.socket(Script::new().resumed(b"[b]:27017")).socket(Script::new().resumed(b"[a]:27017"));
    }
    assert!(find_on(several(), &host).is_err());
    assert!(host.opened().len() <= 64);
}

#[test]
fn reads_go_to_a_copy_if_that_is_preferred() {
    let mut nearby = several();
    nearby["read_preference"] = "secondaryPreferred".into();
    let mut command = found();
    let time = command.remove("maxTimeMS").unwrap();
    let db = command.remove("$db").unwrap();
    command.extend(doc! {"$readPreference": {"mode": "secondaryPreferred"}, "maxTimeMS": time, "$db": db});
    let answers = |of_itself| greeted(&of_itself).expect(sent(2, &command)).answer(reply(2, &batch(vec![])));
    let host = FakeHost::new().socket(greeted(&primary())).socket(answers(secondary(Some("a:27017"))));
    assert_eq!(find_on(nearby.clone(), &host), Ok(json!({"documents": []})));
    assert_eq!(host.parked()[0], ("nearby".to_owned(), b"[b]:27017".to_vec()));
    // Without one the primary will do.
    let host = FakeHost::new()
        .socket(greeted(&primary()))
        .fail_open(HostError::Network("refused".into()))
        .fail_open(HostError::Network("refused".into()))
        .socket(answers(primary()));
    assert_eq!(find_on(nearby.clone(), &host), Ok(json!({"documents": []})));
    assert_eq!(opened(&host), ["a:27017", "b:27017", "c:1", "a:27017"]);
    // Writes go to the primary in any case.
    let host = FakeHost::new()
        .socket(greeted(&secondary(Some("b:27017"))))
        .socket(greeted(&primary()).expect_anything().answer(reply(2, &doc! {"ok": 1, "n": 0})));
    let action = json!({"collection": "c", "filter": {}});
    assert_eq!(call_on(nearby, "delete", action, json!({}), &host), Ok(json!({"deleted_count": 0})));
}

#[test]
fn one_server_directly_and_one_of_another_set() {
    let direct = json!({"host": "a", "database": "app", "direct_connection": true});
    let host = FakeHost::new()
        .socket(greeted(&secondary(Some("b:1"))).expect_anything().answer(reply(2, &batch(vec![]))));
    assert_eq!(find_on(direct, &host), Ok(json!({"documents": []})));
    assert!(host.written()[0].windows(16).any(|text| text == b"primaryPreferred"));
    let mut other = several();
    other["replica_set"] = "rs1".into();
    let mut host = FakeHost::new();
    for _ in 0..3 {
        host = host.socket(greeted(&primary()));
    }
    let failure = find_on(other, &host).unwrap_err();
    assert!(
        matches!(&failure, Failure::InvalidConfig(text) if text.contains("'rs0', not of 'rs1'")),
        "{failure:?}"
    );
}
