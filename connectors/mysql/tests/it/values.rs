//! Values both ways: what a caller sends as the server takes it, what the server sends as JSON.

use openact_connector::{
    Failure,
    args::Kind,
    testing::{FakeHost, Script},
};
use openact_mysql::to_binary::{self, Value};
use proptest::prelude::*;
use serde_json::json;

use crate::{IDLE, answer, call, column, command, done, parked, prepared, reset, reset_answer, select};

/// The value of one column in a binary row.
fn binary(
    code: u8,
    flags: u16,
    charset: u16,
    decimals: u8,
    value: &[u8],
) -> Result<serde_json::Value, Failure> {
    let mut described = column("x", code, flags, charset);
    let at = described.len() - 3;
    described[at] = decimals;
    let row = [&[0, 0][..], value].concat();
    let rows = answer(&[vec![1], described, row, done(0xfe, IDLE)]);
    let script = Script::new()
        .resumed(parked())
        .expect_anything()
        .answer([prepared(2), rows, reset_answer()].concat());
    select(&FakeHost::new().socket(script)).map(|mut result| result["rows"][0]["x"].take())
}

#[test]
fn each_type_of_a_binary_row() {
    const TEXT: u16 = 45;
    const BYTES: u16 = 63;
    let check = |code, flags, charset, decimals, value: &[u8], expected: serde_json::Value| {
        assert_eq!(binary(code, flags, charset, decimals, value), Ok(expected), "{code}");
    };
    check(1, 0, BYTES, 0, &[0xff], json!(-1));
    check(1, 0x20, BYTES, 0, &[0xff], json!(255));
    check(2, 0, BYTES, 0, &[0, 0x80], json!(-32768));
    check(13, 0x60, BYTES, 0, &[0xe8, 7], json!(2024));
    check(9, 0, BYTES, 0, &[0xff; 4], json!(-1));
    check(3, 0x20, BYTES, 0, &[0xff; 4], json!(4_294_967_295_u32));
    check(8, 0, BYTES, 0, &i64::MIN.to_le_bytes(), json!("-9223372036854775808"));
    check(8, 0x20, BYTES, 0, &u64::MAX.to_le_bytes(), json!("18446744073709551615"));
    check(4, 0, BYTES, 31, &1.1_f32.to_le_bytes(), json!(1.1));
    check(5, 0, BYTES, 31, &f64::NAN.to_le_bytes(), json!("NaN"));
    check(246, 0, BYTES, 2, b"\x041.50", json!("1.50"));
    check(16, 0, BYTES, 0, &[2, 1, 0], json!(256));
    check(245, 0, TEXT, 0, b"\x07{\"a\":1}", json!({"a": 1}));
    check(245, 0, TEXT, 0, b"\x04oops", json!("oops"));
    check(252, 0, TEXT, 0, b"\x01x", json!("x"));
    check(252, 0, BYTES, 0, b"\x01x", json!({"base64": "eA=="}));
    check(253, 0, TEXT, 0, b"\x01\xff", json!({"base64": "/w=="}));
    check(255, 0, BYTES, 0, b"\x02\0\x01", json!({"base64": "AAE="}));
    check(254, 0x100, BYTES, 0, b"\x01a", json!("a"));
    check(6, 0, BYTES, 0, b"", json!(null));
    check(10, 0, BYTES, 0, &[0], json!("0000-00-00"));
    check(10, 0, BYTES, 0, &[4, 0xe8, 7, 2, 29], json!("2024-02-29"));
    check(12, 0, BYTES, 0, &[4, 0xe8, 7, 2, 29], json!("2024-02-29T00:00:00"));
    check(12, 0, BYTES, 3, &[0], json!("0000-00-00T00:00:00.000"));
    check(7, 0, BYTES, 0, &[7, 0xe8, 7, 2, 29, 1, 2, 3], json!("2024-02-29T01:02:03"));
    check(12, 0, BYTES, 6, &[11, 0xe8, 7, 2, 29, 1, 2, 3, 4, 0, 0, 0], json!("2024-02-29T01:02:03.000004"));
    check(12, 0, BYTES, 31, &[11, 0xe8, 7, 2, 29, 1, 2, 3, 4, 0, 0, 0], json!("2024-02-29T01:02:03.000004"));
    check(11, 0, BYTES, 0, &[0], json!("00:00:00"));
    check(11, 0, BYTES, 0, &[8, 1, 34, 0, 0, 0, 22, 59, 59], json!("-838:59:59"));
    check(11, 0, BYTES, 2, &[12, 0, 0, 0, 0, 0, 1, 2, 3, 0x20, 0xa1, 7, 0], json!("01:02:03.50"));
}

#[test]
fn what_does_not_fit_is_a_broken_protocol() {
    for (code, value) in [
        (8, &[1, 2, 3][..]),
        (8, &[0; 9]),
        (10, &[3, 1, 2, 3]),
        (10, &[5, 1, 2, 3, 4, 5]),
        (12, &[7, 1, 2]),
        (12, &[12; 13]),
        (11, &[7; 8]),
        (252, &[0xfb]),
        (252, &[0xff]),
        (252, &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        (99, b""),
    ] {
        assert!(matches!(binary(code, 0, 63, 0, value), Err(Failure::Protocol(_))), "{code} {value:?}");
    }
}

fn value(json: &str, kind: Option<Kind>) -> Result<Value, Failure> {
    Value::of(json, kind, &|| "'x'".into())
}

#[test]
fn each_json_value_has_a_type() {
    let check = |json: &str, kind, expected| assert_eq!(value(json, kind), Ok(expected), "{json}");
    let decimal = |text: &str| Value::Decimal(text.into());
    let text = |text: &str| Value::Text(text.into());
    check("null", None, Value::Null);
    check("true", None, Value::Bool(true));
    check("-9223372036854775808", None, Value::Int(i64::MIN));
    check("9223372036854775808", None, Value::Uint(1 << 63));
    check("18446744073709551616", None, decimal("18446744073709551616"));
    check("0.1", None, decimal("0.1"));
    check("-1.50", None, decimal("-1.50"));
    check("1e3", None, Value::Double(1000.0));
    check("0.0000000000000000000000000000001", None, Value::Double(1e-31));
    check("\"a\\u0000b\"", None, text("a\0b"));
    check("\"12\"", None, text("12"));
    check("\"12\"", Some(Kind::Integer), Value::Int(12));
    check("\"-0.50\"", Some(Kind::Number), decimal("-0.50"));
    for odd in ["", "+1", "1e3", "0x10", " 1", "1 OR 1=1", "NaN", "-", "."] {
        check(&json!(odd).to_string(), Some(Kind::Number), text(odd));
    }
    check("{\"a\":1}", None, text("{\"a\":1}"));
    check("[1]", None, text("[1]"));
    check("{\"base64\":\"AP8=\"}", None, Value::Bytes(vec![0, 255]));
    check("{\"base64\":\"AP8=\",\"a\":1}", None, text("{\"base64\":\"AP8=\",\"a\":1}"));
    assert!(
        matches!(value("{\"base64\":\"?\"}", None), Err(Failure::InvalidInput(text)) if text.starts_with("'x'"))
    );
    assert!(matches!(value("1e999", None), Err(Failure::InvalidInput(_))));
}

#[test]
fn the_bytes_of_values() {
    let mut out = Vec::new();
    let nulls = vec![Value::Null; 9];
    to_binary::execute(
        &mut out,
        5,
        &[vec![Value::Bool(true), Value::Uint(u64::MAX), Value::Text("é".into())], nulls].concat(),
    );
    let mut expected = vec![5, 0, 0, 0, 0, 1, 0, 0, 0, 0b1111_1000, 0b1111, 1, 1, 0, 8, 0x80, 253, 0];
    expected.extend([6, 0].repeat(9));
    expected.push(1);
    expected.extend([0xff; 8]);
    expected.extend([2, 0xc3, 0xa9]);
    assert_eq!(out, expected);
}

#[test]
fn values_come_by_name_or_position() {
    let sent = |action: serde_json::Value, input: serde_json::Value| {
        let invoke = openact_connector::testing::Invoke {
            operation: "query",
            connection: crate::connection(),
            action,
            input,
            dry_run: true,
        };
        invoke
            .on::<openact_mysql::Mysql>(&FakeHost::new())
            .map(|mut described| described["statements"][0].take())
    };
    let named =
        json!({"statement": "SELECT :b, :a, :b", "parameters": [{"name": "a"}, {"name": "b", "default": 5}]});
    assert_eq!(sent(named.clone(), json!({"a": 1})).unwrap()["values"], json!([5, 1, 5]));
    assert_eq!(sent(named.clone(), json!([1, 2])).unwrap()["values"], json!([2, 1, 2]));
    assert!(matches!(sent(named, json!({})), Err(Failure::InvalidInput(text)) if text.contains("'a'")));
    let free = json!({"statement": "SELECT :a"});
    assert_eq!(sent(free.clone(), json!({"a": "x"})).unwrap()["values"], json!(["x"]));
    assert!(matches!(sent(free, json!({"b": "x"})), Err(Failure::InvalidInput(_))));
    let other = json!({"statement": "SELECT :c", "parameters": [{"name": "a"}]});
    assert!(matches!(sent(other, json!({"a": 1})), Err(Failure::InvalidConfig(text)) if text.contains(":c")));
    let both = json!({"statement": "SELECT :a, ?"});
    assert!(matches!(sent(both, json!({"a": 1})), Err(Failure::InvalidConfig(_))));
}

#[test]
fn as_many_values_as_the_statement_has() {
    let script =
        || Script::new().resumed(parked()).expect_anything().answer([prepared(2), reset_answer()].concat());
    let host = FakeHost::new().socket(script());
    assert!(matches!(
        call(json!({"statement": "SELECT ?"}), json!([1, 2]), &host),
        Err(Failure::InvalidInput(_))
    ));
    assert_eq!(host.written()[0], [command(22, b"SELECT ?"), reset()].concat());
    let action = json!({"statement": "SELECT ?", "parameters": []});
    let host = FakeHost::new().socket(script());
    assert!(call(action, json!(null), &host).is_err());
    assert_eq!(host.parked().len(), 1);
}

proptest! {
    #[test]
    fn any_json_is_a_value_or_an_error(text in "\\PC{0,30}") {
        let _ = value(&text, None);
        let _ = value(&text, Some(Kind::Number));
        let json = serde_json::to_string(&text).unwrap();
        prop_assert_eq!(value(&json, None), Ok(Value::Text(text)));
    }

    #[test]
    fn doubles_keep_every_bit(number: f64) {
        prop_assume!(number.is_finite());
        let json = format!("{number:e}");
        prop_assert_eq!(value(&json, None), Ok(Value::Double(number)));
        let back = binary(5, 0, 63, 31, &number.to_le_bytes()).unwrap();
        prop_assert_eq!(back.as_f64().map(f64::to_bits), Some(number.to_bits()));
    }
}
