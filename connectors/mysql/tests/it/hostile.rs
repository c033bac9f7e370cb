//! Servers that break the protocol: a typed failure, bounded memory, no panic.

use openact_connector::{
    Failure, HostError,
    testing::{FakeHost, Script},
};
use proptest::prelude::*;
use serde_json::json;

use crate::{
    IDLE, answer, bigint, call, column, command, done, greeting, ok, packet, parked, prepared, reset_answer,
    rows, select,
};

/// What comes of a repeated call that is answered with these bytes, and then nothing.
fn answered(bytes: Vec<u8>) -> Result<serde_json::Value, Failure> {
    let script = Script::new().resumed(parked()).expect_anything().answer(bytes).end();
    let gone = HostError::Network("no other".into());
    let host = FakeHost::new().socket(script).fail_open(gone);
    let result = select(&host);
    assert!(host.parked().is_empty());
    result
}

fn is_protocol(bytes: Vec<u8>) {
    let result = answered(bytes.clone());
    assert!(matches!(result, Err(Failure::Protocol(_))), "{result:?} {}", bytes.escape_ascii());
}

#[test]
fn packets_out_of_order_and_lengths_that_lie() {
    is_protocol(packet(0, &ok(IDLE)));
    is_protocol([prepared(2), packet(2, &ok(IDLE))].concat());
    is_protocol([prepared(2), answer(&[vec![]])].concat());
    is_protocol([prepared(2), answer(&[vec![1], vec![3, b'd']])].concat());
    is_protocol([prepared(2), answer(&[vec![0xfc, 0xff, 0xff]])].concat());
    is_protocol([prepared(2), answer(&[vec![0xfe; 9]])].concat());
    is_protocol([prepared(2), answer(&[vec![2], bigint("a"), bigint("b"), vec![0, 0, 1]])].concat());
    is_protocol([prepared(2), answer(&[vec![1], bigint("a"), vec![5, 0]])].concat());
    is_protocol([prepared(2), answer(&[vec![1], bigint("a"), vec![0xfe, 0]])].concat());
    is_protocol([prepared(2), answer(&[vec![0, 0xff, 0, 0, 0, 0, 0]])].concat());
    is_protocol(answer(&[vec![0, 1, 0]]));
    is_protocol(answer(&[vec![0xff]]));
    // An answer to a command that has none such.
    is_protocol(
        [prepared(2), rows(), answer(&[vec![1]])]
            .concat()
            .into_iter()
            .take(prepared(2).len())
            .chain([1, 0, 0, 1, 0xfd])
            .collect(),
    );
    // Names that would need gigabytes together.
    let long = column(&"n".repeat(6 << 20), 8, 0, 63);
    let whole = [prepared(2), answer(&[vec![3], long.clone(), long.clone(), long])].concat();
    is_protocol(whole);
    // A packet of 16 MiB and more.
    assert!(matches!(
        answered([prepared(2), vec![0xff, 0xff, 0xff, 1]].concat()),
        Err(Failure::LimitExceeded(_))
    ));
    // A long one is waited for no longer than it comes.
    assert!(matches!(answered([prepared(2), vec![0xfe, 0xff, 0xff, 1]].concat()), Err(Failure::Network(_))));
}

#[test]
fn rows_without_end_are_bounded() {
    let mut bytes = answer(&[vec![1], bigint("x")]);
    for at in 0..50_000_u32 {
        bytes.extend(packet((at + 3) as u8, &[&[0, 0][..], &7_u64.to_le_bytes()].concat()));
    }
    let script = || {
        let bytes = [prepared(2), bytes.clone()].concat();
        Script::new().resumed(parked()).expect_anything().answer(bytes).end()
    };
    let gone = || HostError::Network("no other".into());
    // Beyond what is wanted they are read past, until the stream ends; of a reader they are left.
    let host = FakeHost::new().socket(script()).fail_open(gone());
    assert!(matches!(select(&host), Err(Failure::Network(_))));
    let host = FakeHost::new().socket(script()).fail_open(gone());
    let small = json!({"statement": "SELECT ?", "max_bytes": 1000});
    assert!(matches!(call(small, json!([7]), &host), Err(Failure::LimitExceeded(_))));
    assert!(host.parked().is_empty());
}

#[test]
fn whatever_a_server_sends_is_a_typed_failure_or_an_answer() {
    let whole = [prepared(2), rows(), reset_answer()].concat();
    // Cut anywhere, and each byte replaced.
    for at in 0..whole.len() {
        let _ = answered(whole[..at].to_vec());
        for byte in [0, 1, 0xfb, 0xfe, 0xff] {
            let mut changed = whole.clone();
            changed[at] = byte;
            let host = FakeHost::new()
                .socket(Script::new().resumed(parked()).expect_anything().answer(changed).end())
                .fail_open(HostError::Network("no other".into()));
            let _ = select(&host);
        }
    }
}

proptest! {
    #[test]
    fn random_bytes_at_any_point(bytes in proptest::collection::vec(any::<u8>(), 0..200), after in 0_usize..3) {
        let known = [vec![], prepared(2), [prepared(2), answer(&[vec![1], bigint("x")])].concat()];
        let script = Script::new().resumed(parked()).expect_anything().answer([known[after].clone(), bytes.clone()].concat()).end();
        let host = FakeHost::new().socket(script).fail_open(HostError::Network("no other".into()));
        let _ = select(&host);
        let script = Script::new()
            .answer([greeting("8.4.0", "caching_sha2_password", crate::PLAIN), bytes.clone()].concat())
            .login("caching_sha2_password", &[(crate::NONCE, b"scramble")])
            .end();
        let _ = select(&FakeHost::new().socket(script));
        let _ = select(&FakeHost::new().socket(Script::new().answer(bytes).end()));
    }
}

#[test]
fn one_that_says_it_has_rolled_back_is_not_believed_blindly() {
    // An OK in place of rows is an answer without rows, and nothing more.
    let script = Script::new()
        .resumed(parked())
        .expect_anything()
        .answer([prepared(2), answer(&[done(0, IDLE)]), reset_answer()].concat());
    let host = FakeHost::new().socket(script);
    assert_eq!(select(&host), Ok(json!({"columns": [], "rows": [], "rows_affected": 0})));
    assert!(host.written()[0].starts_with(&command(22, b"SELECT ?")));
}
