//! Servers that lie: every answer is a result or a typed failure, and memory follows what arrived.

use bson::{Document, doc};
use openact_connector::{Failure, testing::FakeHost};
use proptest::prelude::*;
use serde_json::json;

use crate::{batch, call, find, found, message, reply, resumed, sent};

/// What becomes of a call whose server says this in place of its answer.
fn told(answer: &[u8]) -> (Result<serde_json::Value, Failure>, FakeHost) {
    let script = resumed().expect(sent(1, &found())).answer(answer).end();
    let host = FakeHost::new().socket(script);
    (call("find", find(), json!({}), &host), host)
}

fn refused(answer: &[u8]) {
    let (result, host) = told(answer);
    let shown = answer.escape_ascii();
    assert!(
        matches!(result, Err(Failure::Protocol(_) | Failure::Network(_) | Failure::LimitExceeded(_))),
        "{shown}: {result:?}"
    );
    assert!(host.parked().is_empty(), "{shown}");
}

#[test]
fn s5_heads_that_do_not_fit() {
    let good = reply(1, &batch(vec![]));
    assert!(told(&good).0.is_ok());
    for length in [0, 1, 15, 16, 25, -1, i32::MIN] {
        let mut answer = good.clone();
        answer[..4].copy_from_slice(&i32::to_le_bytes(length));
        refused(&answer);
    }
    for length in [good.len() as i32 - 1, good.len() as i32 + 1, i32::MAX, 18 << 20] {
        let mut answer = good.clone();
        answer[..4].copy_from_slice(&length.to_le_bytes());
        refused(&answer);
    }
    let section = [vec![0], batch(vec![]).to_vec().unwrap()].concat();
    // Answers to another request; other messages; a checksum, more to come, and what nobody knows.
    refused(&message(77, 2, 0, &section));
    for operation in [1_i32, 2012, 2004, 0] {
        let mut answer = good.clone();
        answer[12..16].copy_from_slice(&operation.to_le_bytes());
        refused(&answer);
    }
    for flags in [1, 2, 3, 1 << 2, 1 << 15] {
        refused(&message(77, 1, flags, &section));
    }
    for (flag, why) in [(1, "checksum"), (2, "more to come")] {
        let (result, _) = told(&message(77, 1, flag, &section));
        assert!(matches!(&result, Err(Failure::Protocol(text)) if text.contains(why)), "{result:?}");
    }
    assert!(told(&message(77, 1, 1 << 16, &section)).0.is_ok(), "a flag that may be passed over");
    // A section of another kind, two of them, and something behind.
    refused(&message(77, 1, 0, &[vec![1], section[1..].to_vec()].concat()));
    refused(&message(77, 1, 0, &[section.clone(), section.clone()].concat()));
    refused(&message(77, 1, 0, &[section, vec![0]].concat()));
}

#[test]
fn s5_replies_that_are_none() {
    let cursor = |cursor: Document| doc! {"ok": 1.0, "cursor": cursor};
    for answer in [
        doc! {},
        doc! {"ok": 1.0},
        doc! {"ok": 1.0, "cursor": 5},
        cursor(doc! {"firstBatch": []}),
        cursor(doc! {"firstBatch": {}, "id": 0_i64}),
        cursor(doc! {"nextBatch": [], "id": 0_i64}),
        cursor(doc! {"firstBatch": [], "id": "x"}),
    ] {
        refused(&reply(1, &answer));
    }
    let (result, _) = told(&reply(1, &doc! {"ok": 0.0}));
    assert!(matches!(result, Err(Failure::Upstream(_))), "{result:?}");
    let long = "é".repeat(50_000);
    let labels: Vec<String> = (0..1000).map(|_| long.clone()).collect();
    let (result, _) = told(&reply(1, &doc! {"ok": 0.0, "code": 1, "errmsg": long, "errorLabels": labels}));
    assert!(format!("{result:?}").len() < 200_000);
}

#[test]
fn s5_a_cursor_without_an_end() {
    let open = doc! {"ok": 1.0, "cursor": {"firstBatch": [], "id": 1_i64, "ns": "app.c"}};
    let empty = doc! {"ok": 1.0, "cursor": {"nextBatch": [], "id": 1_i64, "ns": "app.c"}};
    let mut script = resumed().expect(sent(1, &found())).answer(reply(1, &open));
    for number in 2..102 {
        script = script.expect_anything().answer(reply(number, &empty));
    }
    let host = FakeHost::new().socket(script.expect_anything().answer(reply(102, &doc! {"ok": 1.0})));
    let result = call("find", find(), json!({}), &host);
    assert!(matches!(result, Err(Failure::Protocol(_))), "{result:?}");
}

#[test]
fn s5_a_write_without_a_count() {
    for answer in [doc! {"ok": 1.0}, doc! {"ok": 1.0, "n": "x"}, doc! {"ok": 1.0, "n": 1, "writeErrors": [5]}]
    {
        let host = FakeHost::new().socket(resumed().expect_anything().answer(reply(1, &answer)));
        let result = call("delete", json!({"collection": "c", "filter": {}}), json!({}), &host);
        assert!(matches!(result, Err(Failure::Protocol(_))), "{result:?}");
    }
}

proptest! {
    #[test]
    fn s5_any_bytes(answer in any::<Vec<u8>>()) {
        let (result, host) = told(&answer);
        prop_assert!(result.is_err() && host.parked().is_empty());
    }

    #[test]
    fn s5_any_byte_changed(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let documents = vec![doc! {"a": [1, {"b": "text"}], "c": 5_i64, "d": 1.5}];
        let mut answer = reply(1, &batch(documents));
        let at = at.index(answer.len());
        answer[at] = byte;
        // That it ends is the point.
        let _ = told(&answer);
    }
}
