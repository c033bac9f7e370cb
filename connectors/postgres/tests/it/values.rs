//! Values both ways.

use openact_postgres::{
    kind::{Kind, Known, Scalar, of},
    to_json, to_text,
};
use proptest::prelude::*;
use serde_json::{Value, json};

fn kind(name: &str) -> Kind {
    (1..10_000)
        .filter_map(|oid| of(oid, &Known::new()))
        .find_map(|(other, kind)| (other == name).then_some(kind))
        .unwrap_or_else(|| unreachable!("{name}"))
}

fn told(name: &str, text: impl AsRef<[u8]>) -> Value {
    let mut out = String::new();
    to_json::push(&mut out, kind(name), text.as_ref());
    serde_json::from_str(&out).unwrap_or_else(|error| unreachable!("{name}: {out}: {error}"))
}

fn sent(name: &str, json: &str) -> Option<String> {
    to_text::of(json, kind(name), &|| "'x'".into()).unwrap()
}

#[test]
fn from_the_server() {
    for (name, text, expected) in [
        ("bool", "t", json!(true)),
        ("bool", "f", json!(false)),
        ("int2", "-32768", json!(-32768)),
        ("int4", "2147483647", json!(2_147_483_647)),
        ("int8", "9007199254740991", json!(9_007_199_254_740_991_i64)),
        ("int8", "9007199254740992", json!("9007199254740992")),
        ("int8", "-9223372036854775808", json!("-9223372036854775808")),
        ("float8", "0.1", json!(0.1)),
        ("float8", "1e+300", json!(1e300)),
        ("float8", "-0", json!(-0.0)),
        ("float4", "1.17549435e-38", json!(1.175_494_35e-38)),
        ("float8", "NaN", json!("NaN")),
        ("float8", "-Infinity", json!("-Infinity")),
        ("numeric", "1.10", json!("1.10")),
        ("numeric", "NaN", json!("NaN")),
        ("text", "a\"\\\u{1}é", json!("a\"\\\u{1}é")),
        ("uuid", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", json!("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")),
        ("json", " {\"a\": 1.10}\n", json!({"a": 1.1})),
        ("jsonb", "null", json!(null)),
        ("json", "[\"\\u00e9\\ud83d\\ude00\"]", json!(["é😀"])),
        // Half a character is no text, and many a reader would refuse the whole answer for it.
        ("json", "\"\\ud83d\"", json!("\"\\ud83d\"")),
        ("bytea", "\\x00ff", json!("\\x00ff")),
        ("bytea", "a\\000\\\\\\377", json!("\\x61005cff")),
        ("date", "2024-02-29", json!("2024-02-29")),
        ("timestamp", "2024-02-29 23:59:59.123456", json!("2024-02-29T23:59:59.123456")),
        ("timestamptz", "2024-02-29 23:59:59+05:30", json!("2024-02-29T23:59:59+05:30")),
        ("timestamptz", "2024-02-29 23:59:59-03", json!("2024-02-29T23:59:59-03:00")),
        ("timestamptz", "0044-03-15 00:00:00+00 BC", json!("0044-03-15 00:00:00+00 BC")),
        ("timestamptz", "10000-01-01 00:00:00+00", json!("10000-01-01 00:00:00+00")),
        ("timestamptz", "infinity", json!("infinity")),
        ("interval", "P1Y2M3DT4H5M6.7S", json!("P1Y2M3DT4H5M6.7S")),
        ("int4range", "[1,5)", json!("[1,5)")),
        ("void", "", json!(null)),
        ("int4[]", "{}", json!([])),
        ("int4[]", "{1,NULL,-3}", json!([1, null, -3])),
        ("int4[]", "{{1,2},{3,4}}", json!([[1, 2], [3, 4]])),
        ("int4[]", "[0:1]={1,2}", json!("[0:1]={1,2}")),
        (
            "text[]",
            "{a,\"b,c\",\"\\\"\\\\\",\"NULL\",NULL,\"\",null}",
            json!(["a", "b,c", "\"\\", "NULL", null, "", "null"]),
        ),
        ("jsonb[]", "{\"{\\\"a\\\": [1]}\",\"[]\"}", json!([{"a": [1]}, []])),
        ("timestamp[]", "{\"2024-01-01 00:00:00\"}", json!(["2024-01-01T00:00:00"])),
        ("box[]", "{(1,1),(0,0);(2,2),(1,1)}", json!(["(1,1),(0,0)", "(2,2),(1,1)"])),
    ] {
        assert_eq!(told(name, text), expected, "{name} {text}");
    }
    assert_eq!(told("text", b"\xff"), json!({"base64": "/w=="}));
    // JSON passes as it is, digits and all.
    let mut out = String::new();
    to_json::push(&mut out, kind("json"), b"[1.100, 123456789012345678901234567890]");
    assert_eq!(out, "[1.100, 123456789012345678901234567890]");
}

#[test]
fn what_is_not_as_it_should_be_stays_text() {
    for (name, text) in [
        ("bool", "yes"),
        ("int4", "1\",\"x\":\"2"),
        ("int4", ""),
        ("float8", "1.e5"),
        ("float8", "[1]"),
        ("float8", " 1"),
        ("json", "{\"a\":1},{"),
        ("json", ""),
        ("timestamp", "2024-02-29x23:59:59"),
        ("int4[]", "{1,2"),
        ("int4[]", "{1,,2}"),
        ("int4[]", "{1,2}}"),
        ("int4[]", "{1}{2}"),
        ("int4[]", "{{1},2"),
        ("int4[]", "{\"1}"),
        ("int4[]", "1,2"),
        ("int4[]", ""),
        ("int4[]", "}"),
        ("int4[]", "{1 \"2\"}x"),
    ] {
        assert_eq!(told(name, text), json!(text), "{name} {text}");
    }
    assert_eq!(told("timestamp", "2024-02-29 23:59:59\",\"x"), json!("2024-02-29T23:59:59\",\"x"));
}

#[test]
fn to_the_server() {
    for (name, json, expected) in [
        ("int4", "7", "7"),
        ("int8", "9223372036854775807", "9223372036854775807"),
        ("numeric", "123456789012345678901234567890.10", "123456789012345678901234567890.10"),
        ("float8", "1e-7", "1e-7"),
        ("bool", "true", "true"),
        ("text", r#""a\u0000'\"""#, "a\0'\""),
        ("text", "1.50", "1.50"),
        ("text", r#"{"a":  1}"#, r#"{"a":  1}"#),
        ("jsonb", r#""text""#, r#""text""#),
        ("jsonb", "[1, null]", "[1, null]"),
        ("bytea", r#"{"base64": "AAH/"}"#, "\\x0001ff"),
        ("bytea", r#""\\x00""#, "\\x00"),
        ("int4[]", "[1, null, [2]]", "{\"1\",NULL,{\"2\"}}"),
        ("int4[]", r#""{1,2}""#, "{1,2}"),
        ("text[]", r#"["a,b", "c\"d", "\\", "NULL", ""]"#, r#"{"a,b","c\"d","\\","NULL",""}"#),
        ("jsonb[]", r#"[{"a": [1]}, [2], "x"]"#, r#"{"{\"a\": [1]}","[2]","\"x\""}"#),
        ("bytea[]", r#"[{"base64": "/w=="}]"#, r#"{"\\xff"}"#),
        ("box[]", r#"["(1,1),(0,0)", "(2,2),(1,1)"]"#, r#"{"(1,1),(0,0)";"(2,2),(1,1)"}"#),
    ] {
        assert_eq!(sent(name, json).as_deref(), Some(expected), "{name} {json}");
    }
    for name in ["int4", "jsonb", "text[]"] {
        assert_eq!(sent(name, " null "), None);
    }
    for (name, json) in [("bytea", r#"{"base64": "?"}"#), ("bytea", "{}"), ("int4[]", "[[[[[[[1]]]]]]]")] {
        assert!(to_text::of(json, kind(name), &|| "'x'".into()).is_err(), "{name} {json}");
    }
}

#[test]
fn types_of_a_database_of_ones_own() {
    let mut known = Known::new();
    for (row, expected) in [
        (["20001", "mood", "0", "0", "", "", ""], Kind::One(Scalar::Text)),
        (["20002", "_mood", "0", "20001", ",", "mood", "0"], Kind::Array(Scalar::Text, b',')),
        (["20003", "amount", "23", "0", "", "", ""], Kind::One(Scalar::Int)),
        (["20004", "_amount", "0", "20003", ",", "amount", "23"], Kind::Array(Scalar::Int, b',')),
        (["20005", "_odd", "0", "20006", ";", "odd", "0"], Kind::Array(Scalar::Text, b';')),
    ] {
        let row = row.map(|text| (!text.is_empty()).then(|| text.to_owned()));
        openact_postgres::kind::learn(&mut known, &row).unwrap();
        assert_eq!(of(row[0].as_ref().unwrap().parse().unwrap(), &known).unwrap().1, expected);
    }
    assert_eq!(of(30_000, &known), None);
    assert_eq!(of(20_002, &known).unwrap().0, "mood[]");
    for row in [[None; 7], [Some("x"), None, None, None, None, None, None], [Some(""); 7]] {
        let _ = openact_postgres::kind::learn(&mut known, &row.map(|text| text.map(str::to_owned)));
    }
}

fn any_list(depth: u32) -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![Just(Value::Null), any::<String>().prop_map(Value::from)];
    prop::collection::vec(leaf, 1..5)
        .prop_map(move |items| (0..depth).fold(items.into(), |list, _| json!([list])))
}

proptest! {
    #[test]
    fn a_list_comes_back_as_it_went(list in (0_u32..5).prop_flat_map(any_list)) {
        let text = sent("text[]", &list.to_string()).unwrap();
        prop_assert_eq!(told("text[]", text), list);
    }

    #[test]
    fn whatever_the_server_sends_is_one_json_value(
        bytes in prop::collection::vec(any::<u8>(), 0..40), text in r#"[{},"\\NUL 0-9:+TBCx-]{0,30}"#, at in 0_usize..60,
    ) {
        let kinds: Vec<Kind> = (1..10_000).filter_map(|oid| of(oid, &Known::new())).map(|(_, kind)| kind).collect();
        for bytes in [bytes.as_slice(), text.as_bytes()] {
            for kind in kinds.iter().filter(|kind| **kind != Kind::One(Scalar::Text)).skip(at % 7).take(12) {
                let mut out = String::new();
                to_json::push(&mut out, *kind, bytes);
                prop_assert!(serde_json::from_str::<Value>(&out).is_ok(), "{} {:?}", out, kind);
            }
        }
    }
}
