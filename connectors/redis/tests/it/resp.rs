//! Bytes to values: as another implementation reads them, and whatever a hostile server sends.

use openact_connector::Failure;
use openact_redis::{
    answer::push_message,
    resp::{DEPTH_MAX, Kind, Scan, Scanner},
};
use proptest::prelude::*;
use redis_protocol::resp3::{
    encode::complete::encode,
    types::{OwnedFrame, Resp3Frame},
};
use serde_json::{Value, json};

use crate::answered;

/// One message as JSON, its bytes arriving as `parts` says: after each scan so many more.
fn read(bytes: &[u8], mut parts: impl FnMut() -> usize) -> Result<(usize, Value), Failure> {
    let mut scanner = Scanner::default();
    let mut there = 0;
    loop {
        match scanner.scan(&bytes[..there])? {
            Scan::Done(Kind::Reply, length) => {
                let mut json = String::new();
                push_message(&mut json, &bytes[..length])?;
                return Ok((length, serde_json::from_str(&json).unwrap()));
            }
            Scan::Done(..) => return Ok((there, Value::Null)),
            Scan::Needs(count) => {
                assert!(count > there, "{count} of {there}");
                if there == bytes.len() {
                    return Err(Failure::Network("not whole".into()));
                }
                there = bytes.len().min(there + parts());
            }
        }
    }
}

fn whole(bytes: &[u8]) -> Result<Value, Failure> {
    read(bytes, || bytes.len()).map(|(_, value)| value)
}

#[test]
fn each_kind_of_reply() {
    for (bytes, value) in [
        (&b"+OK\r\n"[..], json!("OK")),
        (b"+\r\n", json!("")),
        (b"$5\r\nh\xc3\xa9\r\n\r\n", json!("h\u{e9}\r\n")),
        (b"$0\r\n\r\n", json!("")),
        (b"$3\r\n\x00\xff\x01\r\n", json!({"base64": "AP8B"})),
        (b"+\xff\r\n", json!({"base64": "/w=="})),
        (b"=7\r\ntxt:a\xc3\xa9\r\n", json!("a\u{e9}")),
        (b"=4\r\nmkd:\r\n", json!("")),
        (b":0\r\n", json!(0)),
        (b":9007199254740991\r\n", json!(9_007_199_254_740_991_i64)),
        (b":9007199254740992\r\n", json!("9007199254740992")),
        (b":-9223372036854775808\r\n", json!("-9223372036854775808")),
        (b":+7\r\n", json!(7)),
        (b",3\r\n", json!(3)),
        (b",1.5e-7\r\n", json!(1.5e-7)),
        (b",.5\r\n", json!(0.5)),
        (b",-1.\r\n", json!(-1.0)),
        (b",01\r\n", json!(1.0)),
        (b",inf\r\n", json!("Infinity")),
        (b",-inf\r\n", json!("-Infinity")),
        (b",nan\r\n", json!("NaN")),
        (
            b"(-3492890328409238509324850943850943825024385\r\n",
            json!("-3492890328409238509324850943850943825024385"),
        ),
        (b"#t\r\n", json!(true)),
        (b"#f\r\n", json!(false)),
        (b"_\r\n", Value::Null),
        (b"$-1\r\n", Value::Null),
        (b"*-1\r\n", Value::Null),
        (b"*0\r\n", json!([])),
        (b"~2\r\n:1\r\n*1\r\n$-1\r\n", json!([1, [null]])),
        (b"%0\r\n", json!({})),
        (b"%2\r\n$1\r\na\r\n:1\r\n+b\r\n%1\r\n+c\r\n_\r\n", json!({"a": 1, "b": {"c": null}})),
        (b"%2\r\n+a\r\n:1\r\n$1\r\na\r\n:2\r\n", json!([["a", 1], ["a", 2]])),
        (b"%1\r\n:7\r\n*1\r\n#t\r\n", json!([[7, [true]]])),
        (b"%1\r\n$1\r\n\xff\r\n:1\r\n", json!([[{"base64": "/w=="}, 1]])),
        (
            b"*3\r\n:1\r\n-WRONGTYPE no \"list\"\r\n!11\r\nERR a\r\nb \xff \r\n",
            json!([
                1,
                {"error": {"code": "WRONGTYPE", "message": "WRONGTYPE no \"list\""}},
                {"error": {"code": "ERR", "message": "ERR a\r\nb \u{fffd} "}},
            ]),
        ),
        (b"*1\r\n-oops\r\n", json!([{"error": {"code": null, "message": "oops"}}])),
    ] {
        assert_eq!(whole(bytes), Ok(value), "{}", bytes.escape_ascii());
        // The same, byte by byte, with something behind it that is not its business.
        let more = [bytes, b":1\r\n"].concat();
        let (length, _) = read(&more, || 1).unwrap();
        assert_eq!(length, bytes.len(), "{}", bytes.escape_ascii());
    }
}

#[test]
fn s5_what_is_no_reply() {
    let deep = "*1\r\n".repeat(DEPTH_MAX + 1);
    let long = format!("+{}", "x".repeat(70_000));
    for bytes in [
        &b"x\r\n"[..],
        b"\r\n\r\n",
        b"HTTP/1.1 400 Bad Request\r\n",
        b":1x\r\n",
        b":\r\n",
        b":9223372036854775808\r\n",
        b"$-2\r\n",
        b"$x\r\n",
        b"*-2\r\n",
        b"*?\r\n",
        b"$?\r\n",
        b"%-1\r\n",
        b"~-1\r\n",
        b"#x\r\n",
        b"_x\r\n",
        b",\r\n",
        b",1,5\r\n",
        b"(\r\n",
        b"(-\r\n",
        b"(1.5\r\n",
        b"=3\r\nabc\r\n",
        b"=4\r\nabcd\r\n",
        b"$1\r\nabc\r\n",
        b"$3\r\nab\r\n\r\n",
        b"*1\r\n>1\r\n+a\r\n",
        b"*1\r\n|1\r\n+a\r\n:1\r\n:2\r\n",
        deep.as_bytes(),
        long.as_bytes(),
        &[b':'; 5_000],
    ] {
        let shown = bytes[..bytes.len().min(60)].escape_ascii().to_string();
        assert!(matches!(whole(bytes), Err(Failure::Protocol(_))), "{shown}");
        assert!(matches!(read(bytes, || 1), Err(Failure::Protocol(_))), "{shown}, byte by byte");
        assert!(matches!(answered(bytes), Err(Failure::Protocol(_))), "{shown}, by the connector");
    }
}

#[test]
fn s5_lengths_that_are_announced_and_never_come() {
    // Nothing is reserved on the word of the server: these would be exabytes.
    for bytes in [
        &b"*9223372036854775807\r\n:1\r\n"[..],
        b"%9223372036854775807\r\n+a\r\n",
        b"*2\r\n*9223372036854775807\r\n*9223372036854775807\r\n",
        b"|4611686018427387904\r\n",
    ] {
        assert!(matches!(whole(bytes), Err(Failure::Network(_))), "{}", bytes.escape_ascii());
    }
    for length in ["9223372036854775807", "1099511627776", "536870912", "16777217"] {
        let failure = answered(format!("${length}\r\nabc").as_bytes()).unwrap_err();
        assert!(matches!(failure, Failure::LimitExceeded(_)), "{length}: {failure:?}");
    }
}

#[test]
fn the_deepest_reply_that_is_taken() {
    let bytes = format!("{}:1\r\n", "*1\r\n".repeat(DEPTH_MAX));
    let mut value = whole(bytes.as_bytes()).unwrap();
    for _ in 0..DEPTH_MAX {
        value = value[0].take();
    }
    assert_eq!(value, json!(1));
}

#[test]
fn json_that_grows_is_bounded() {
    // Six bytes of JSON for each.
    let bytes = [b"$5000000\r\n".as_slice(), &vec![1; 5_000_000], b"\r\n"].concat();
    assert!(matches!(whole(&bytes), Err(Failure::LimitExceeded(_))));
}

fn frame() -> impl Strategy<Value = OwnedFrame> {
    let bytes = proptest::collection::vec(any::<u8>(), 0..20);
    let line = "[ -~é]{0,12}";
    let leaf = prop_oneof![
        bytes.prop_map(|data| OwnedFrame::BlobString { data, attributes: None }),
        line.prop_map(|text| OwnedFrame::SimpleString { data: text.into_bytes(), attributes: None }),
        "[A-Z]{1,5} [ -~]{0,12}".prop_map(|data| OwnedFrame::SimpleError { data, attributes: None }),
        any::<i64>().prop_map(|data| OwnedFrame::Number { data, attributes: None }),
        any::<bool>().prop_map(|data| OwnedFrame::Boolean { data, attributes: None }),
        prop::num::f64::NORMAL.prop_map(|data| OwnedFrame::Double { data, attributes: None }),
        Just(OwnedFrame::Null),
        "-?[1-9][0-9]{0,40}"
            .prop_map(|text| OwnedFrame::BigNumber { data: text.into_bytes(), attributes: None }),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        let list = proptest::collection::vec(inner.clone(), 0..6);
        let map = proptest::collection::hash_map("[a-z]{1,6}", inner, 0..6);
        prop_oneof![
            list.prop_map(|data| OwnedFrame::Array { data, attributes: None }),
            map.prop_map(|map| {
                let named =
                    |name: String| OwnedFrame::SimpleString { data: name.into_bytes(), attributes: None };
                let data = map.into_iter().map(|(name, value)| (named(name), value)).collect();
                OwnedFrame::Map { data, attributes: None }
            }),
        ]
    })
}

/// What the other implementation's value is as JSON, by the table of the documentation.
fn expected(frame: &OwnedFrame) -> Value {
    let text = |data: &[u8]| match std::str::from_utf8(data) {
        Ok(text) => json!(text),
        Err(_) => {
            let mut text = String::new();
            openact_connector::write::push_base64(&mut text, data);
            json!({"base64": serde_json::from_str::<Value>(&text).unwrap()})
        }
    };
    match frame {
        OwnedFrame::BlobString { data, .. }
        | OwnedFrame::SimpleString { data, .. }
        | OwnedFrame::BigNumber { data, .. } => text(data),
        OwnedFrame::SimpleError { data, .. } => {
            json!({"error": {"code": data.split(' ').next().unwrap(), "message": data}})
        }
        OwnedFrame::Number { data, .. } if data.unsigned_abs() < 1 << 53 => json!(data),
        OwnedFrame::Number { data, .. } => json!(data.to_string()),
        OwnedFrame::Boolean { data, .. } => json!(data),
        // As it was written, which may be an integer.
        OwnedFrame::Double { data, .. } => json!(data),
        OwnedFrame::Null => Value::Null,
        OwnedFrame::Array { data, .. } => data.iter().map(expected).collect(),
        OwnedFrame::Map { data, .. } => data
            .iter()
            .map(|(name, value)| {
                (String::from_utf8(name.as_bytes().unwrap().to_vec()).unwrap(), expected(value))
            })
            .collect::<serde_json::Map<_, _>>()
            .into(),
        other => panic!("{other:?}"),
    }
}

/// Numbers by their value: `1` and `1.0` are the same double.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one.as_f64() == other.as_f64(),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(name, one)| other.get(name).is_some_and(|other| same(one, other)))
        }
        _ => one == other,
    }
}

proptest! {
    #[test]
    fn what_another_implementation_writes_is_read(frame in frame(), parts in proptest::collection::vec(1_usize..9, 1..9)) {
        let mut bytes = vec![0; frame.encode_len(false)];
        encode(&mut bytes, &frame, false).unwrap();
        let mut at = 0;
        let (length, value) = read(&bytes, || {
            at += 1;
            parts[at % parts.len()]
        })
        .unwrap();
        prop_assert_eq!(length, bytes.len());
        prop_assert!(same(&value, &expected(&frame)), "{value} of {frame:?}");
    }

    #[test]
    fn s6_no_bytes_are_too_much(bytes in proptest::collection::vec(prop_oneof![
        Just(b'*'), Just(b'$'), Just(b'%'), Just(b'\r'), Just(b'\n'), Just(b'1'), Just(b'>'), Just(b'-'), any::<u8>(),
    ], 0..200)) {
        let at_once = whole(&bytes);
        let one_by_one = read(&bytes, || 1).map(|(_, value)| value);
        match (&at_once, &one_by_one) {
            // What comes first is told; which error that is may depend on how much is there.
            (Err(_), Err(_)) => {}
            _ => prop_assert_eq!(at_once, one_by_one),
        }
    }
}
