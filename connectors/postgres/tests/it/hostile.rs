//! Servers that lie: every answer is a result or a typed failure, and memory follows what arrived.

use openact_connector::{
    Failure,
    testing::{FakeHost, Script},
};
use proptest::prelude::*;

use crate::{
    answered, authentication, columns, complete, described, entered, error, message, parameters, prepare,
    query, ready, row, run, startup, welcome,
};

/// What becomes of a call whose server says this in place of its answer.
fn told(answer: Vec<u8>) -> (Result<serde_json::Value, Failure>, FakeHost) {
    let script = entered().expect(prepare("openact_1", "SELECT 1")).answer(described());
    let host = FakeHost::new().socket(script.expect(run("openact_1", &[])).answer(answer).end());
    (query("SELECT 1", &host), host)
}

fn refused(answer: Vec<u8>) {
    let shown = answer.escape_ascii().to_string();
    let (result, host) = told(answer);
    assert!(
        matches!(result, Err(Failure::Protocol(_) | Failure::Network(_) | Failure::LimitExceeded(_))),
        "{shown}: {result:?}"
    );
    assert!(host.parked().is_empty(), "{shown}");
}

#[test]
fn lengths_that_do_not_fit() {
    for length in [0_u32, 1, 3, 5, 20, u32::MAX, i32::MAX as u32, 0x0100_0001] {
        for tag in *b"DTCEZ12sKR" {
            let mut answer = vec![tag];
            answer.extend(length.to_be_bytes());
            refused(answer);
        }
    }
    for broken in [
        message(b'D', b""),
        message(b'D', &[0, 1]),
        message(b'D', &[0, 1, 0, 0, 0, 9, b'x']),
        message(b'D', &[0, 1, 0xff, 0xff, 0xff, 0xfe]),
        message(b'D', &[0xff, 0xff]),
        message(b'C', b"SELECT 1"),
        message(b'E', b"Mno end"),
        message(b'N', b"Mno end"),
        message(b'S', b"name\0"),
        message(b'Z', b""),
        message(b'Z', b"X"),
    ] {
        refused(broken);
    }
}

#[test]
fn messages_where_they_do_not_belong() {
    for stray in [
        authentication(0, b""),
        authentication(3, b""),
        message(b'K', &[0; 8]),
        parameters(&[23]),
        columns(&[("m", 25)]),
        message(b'n', b""),
        message(b'v', &[0; 8]),
        message(b'c', b""),
        message(b'W', &[0, 0, 0]),
        message(b'?', b""),
        b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
    ] {
        let stray_alone = told(stray.clone()).0;
        assert!(stray_alone.is_err(), "{stray_alone:?}");
        assert!(told([message(b'2', b""), stray].concat()).0.is_err());
    }
    // Too few values, too many, and values where there are no columns.
    refused([row(&[]), complete("SELECT 1"), ready(b'I')].concat());
    refused([row(&[None, None]), complete("SELECT 1"), ready(b'I')].concat());
    let none = [message(b'1', b""), parameters(&[]), message(b'n', b""), ready(b'I')].concat();
    let script =
        entered().expect(prepare("openact_1", "SELECT 1")).answer(none).expect(run("openact_1", &[]));
    let host = FakeHost::new().socket(script.answer([row(&[None]), complete("X"), ready(b'I')].concat()));
    assert!(matches!(query("SELECT 1", &host), Err(Failure::Protocol(_))));
}

#[test]
fn an_answer_cut_anywhere_is_no_answer() {
    let whole = answered();
    for end in 0..whole.len() {
        let (result, host) = told(whole[..end].to_vec());
        assert!(matches!(result, Err(Failure::Network(_))), "{end}: {result:?}");
        assert!(host.parked().is_empty());
    }
    let start = welcome();
    for end in 0..start.len() {
        let host = FakeHost::new().socket(crate::Script::new().expect(startup()).answer(&start[..end]).end());
        assert!(matches!(query("SELECT 1", &host), Err(Failure::Network(_))), "{end}");
    }
}

#[test]
fn what_never_ends_is_ended() {
    let many = row(&[Some(&[b'x'; 4000])]).repeat(5_000);
    let (result, host) = told(many);
    assert!(matches!(result, Err(Failure::LimitExceeded(_))) && host.parked().is_empty(), "{result:?}");
    refused(row(&[Some(b"1")]).repeat(10_002));
    // A row that is announced longer than any may be.
    let mut long = vec![b'D'];
    long.extend((32_u32 << 20).to_be_bytes());
    long.extend([0; 1000]);
    assert!(matches!(told(long).0, Err(Failure::LimitExceeded(_))));
    // A start without an end.
    let endless = [authentication(0, b""), message(b'K', &[0; 8]).repeat(5_000)].concat();
    let host = FakeHost::new().socket(Script::new().expect(startup()).answer(endless));
    assert!(matches!(query("SELECT 1", &host), Err(Failure::Protocol(_))));
}

fn any_message() -> impl Strategy<Value = Vec<u8>> {
    let short = prop::collection::vec(any::<u8>(), 0..24);
    prop_oneof![
        (prop::sample::select(b"RKSZ123tTnDCsIENAGHdcWv".to_vec()), short.clone())
            .prop_map(|(tag, body)| message(tag, &body)),
        Just(row(&[Some(b"1")])),
        Just(complete("SELECT 1")),
        Just(ready(b'I')),
        Just(ready(b'T')),
        Just(error("0A000", "x")),
        Just(described()),
        Just(columns(&[("n", 23)])),
        short,
    ]
}

proptest! {
    #[test]
    fn whatever_comes_is_answered_or_refused(
        parts in prop::collection::vec(any_message(), 1..12), place in 0_u8..4,
    ) {
        let garbage = parts.concat();
        let script = match place {
            0 => Script::new().expect(startup()).answer(garbage).end(),
            1 => entered().expect_anything().answer(garbage).end(),
            2 => entered().expect_anything().answer(described()).expect_anything().answer(garbage).end(),
            _ => Script::new().resumed(crate::parked()).expect_anything().answer(garbage).end(),
        };
        // Where it goes on, the script has nothing to expect, which is a failure too; the point is that it returns.
        let host = FakeHost::new().socket(script);
        if let Ok(result) = query("SELECT 1", &host) {
            prop_assert!(result["rows"].is_array());
        }
    }
}
