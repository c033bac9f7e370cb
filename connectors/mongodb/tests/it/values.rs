//! BSON to JSON and back, with the crate `bson` as a second opinion.

use bson::{Bson, Document, doc, spec::BinarySubtype};
use openact_connector::{Failure, Json, variables::Variables};
use openact_mongodb::{
    bson::Document as Own,
    commands, date, decimal,
    from_json::encode,
    to_json::{Form, push_document},
};
use proptest::prelude::*;
use serde_json::{Value, json};

fn to_json(bytes: &[u8], form: Form) -> Result<Value, Failure> {
    let mut out = String::new();
    push_document(&mut out, Own::of(bytes)?, form)?;
    Ok(serde_json::from_str(&out).unwrap())
}

fn from_json(json: &str) -> Result<Vec<u8>, Failure> {
    let input = Json::from_text("{}".into());
    let json = Json::from_text(json.to_owned());
    encode(&json, "document", commands::documents(), &Variables::of(&input)).map(|value| value.unwrap().1)
}

/// As a caller would send it.
fn from_input(json: &str) -> Result<Vec<u8>, Failure> {
    let input = Json::from_text(format!("{{\"v\":{json}}}"));
    let template = Json::from_text("\"{{v}}\"".into());
    encode(&template, "document", commands::documents(), &Variables::of(&input)).map(|value| value.unwrap().1)
}

fn both(document: &Document) {
    let bytes = document.to_vec().unwrap();
    let canonical = to_json(&bytes, Form::Canonical).unwrap();
    assert_eq!(from_input(&canonical.to_string()).unwrap(), bytes, "{canonical}");
    // Floating point may be written in several ways.
    if !canonical.to_string().contains("numberDouble") {
        assert_eq!(canonical, Bson::Document(document.clone()).into_canonical_extjson());
    }
    let relaxed = to_json(&bytes, Form::Relaxed).unwrap().to_string();
    let again = from_input(&relaxed).unwrap();
    assert_eq!(to_json(&again, Form::Relaxed).unwrap().to_string(), relaxed);
}

fn any_bson() -> impl Strategy<Value = Bson> {
    let text = || "[^\u{0}]{0,12}";
    let leaf = prop_oneof![
        any::<f64>().prop_map(|number| Bson::Double(if number.is_nan() { f64::NAN } else { number })),
        ".{0,20}".prop_map(Bson::String),
        any::<bool>().prop_map(Bson::Boolean),
        Just(Bson::Null),
        any::<i32>().prop_map(Bson::Int32),
        any::<i64>().prop_map(Bson::Int64),
        (0_i64..100).prop_map(Bson::Int64),
        any::<i64>().prop_map(|millis| Bson::DateTime(bson::DateTime::from_millis(millis))),
        (0..253_402_300_800_000_i64).prop_map(|millis| Bson::DateTime(bson::DateTime::from_millis(millis))),
        any::<[u8; 12]>().prop_map(|id| Bson::ObjectId(bson::oid::ObjectId::from_bytes(id))),
        (any::<u32>(), any::<u32>())
            .prop_map(|(time, increment)| Bson::Timestamp(bson::Timestamp { time, increment })),
        (any::<Vec<u8>>(), any::<u8>()).prop_filter_map("a subtype of its own form", |(bytes, subtype)| {
            let subtype = BinarySubtype::from(subtype);
            let vector = matches!(subtype, BinarySubtype::BinaryOld | BinarySubtype::Vector);
            (!vector).then_some(Bson::Binary(bson::Binary { subtype, bytes }))
        }),
        (text(), "[ilmsux]{0,3}").prop_filter_map("no pattern", |(pattern, options)| {
            let mut options: Vec<char> = options.chars().collect();
            options.sort_unstable();
            let options: String = options.into_iter().collect();
            Some(Bson::RegularExpression(bson::Regex {
                pattern: pattern.try_into().ok()?,
                options: options.try_into().ok()?,
            }))
        }),
        any::<[u8; 16]>().prop_filter_map("written in one way only", |bytes| {
            let bits = decimal::of_text(&decimal::to_text(u128::from_le_bytes(bytes)))?;
            Some(Bson::Decimal128(bson::Decimal128::from_bytes(bits.to_le_bytes())))
        }),
        ".{0,9}".prop_map(Bson::JavaScriptCode),
        (".{0,9}", any::<i32>()).prop_map(|(code, x)| {
            Bson::JavaScriptCodeWithScope(bson::JavaScriptCodeWithScope { code, scope: doc! {"x": x} })
        }),
        ".{0,9}".prop_map(Bson::Symbol),
        Just(Bson::MinKey),
        Just(Bson::MaxKey),
        Just(Bson::Undefined),
    ];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Bson::Array),
            prop::collection::vec(("[^$\u{0}][^\u{0}]{0,8}", inner), 0..6)
                .prop_map(|members| Bson::Document(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn a7_random_documents_come_back_as_they_were(members in prop::collection::vec(("[^$\u{0}]{1,8}", any_bson()), 0..5)) {
        both(&members.into_iter().collect());
    }

    #[test]
    fn decimals_are_what_the_other_says(bytes in any::<[u8; 16]>()) {
        let theirs = bson::Decimal128::from_bytes(bytes).to_string();
        let ours = decimal::to_text(u128::from_le_bytes(bytes));
        prop_assert_eq!(&ours, &theirs);
        let again = decimal::of_text(&ours).unwrap();
        prop_assert_eq!(decimal::to_text(again), ours);
    }

    #[test]
    fn text_is_a_decimal_as_the_other_says(text in "[-+]?[0-9]{1,36}(\\.[0-9]{0,36})?([eE][-+]?[0-9]{1,4})?") {
        let theirs = text.parse::<bson::Decimal128>().ok().map(|decimal| decimal.to_string());
        let ours = decimal::of_text(&text).map(decimal::to_text);
        prop_assert_eq!(ours, theirs, "{}", text);
    }

    #[test]
    fn dates_are_what_the_other_says(millis in 0..253_402_300_800_000_i64) {
        let text = date::to_text(millis).unwrap();
        prop_assert_eq!(date::of_text(&text), Some(millis));
        let theirs = bson::DateTime::from_millis(millis).try_to_rfc3339_string().unwrap();
        prop_assert_eq!(date::of_text(&theirs), Some(millis));
        prop_assert_eq!(bson::DateTime::parse_rfc3339_str(text).unwrap().timestamp_millis(), millis);
    }

    #[test]
    fn s5_any_bytes_are_a_document_or_a_failure(bytes in any::<Vec<u8>>()) {
        let _ = to_json(&bytes, Form::Relaxed);
    }

    #[test]
    fn s5_a_document_with_any_byte_changed(bson in any_bson(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = doc! {"a": bson}.to_vec().unwrap();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = to_json(&bytes, Form::Canonical);
        let length = u32::try_from(bytes.len()).unwrap();
        bytes[..4].copy_from_slice(&length.to_le_bytes());
        let _ = to_json(&bytes, Form::Canonical);
    }

    #[test]
    fn s5_any_text_is_json_or_a_failure(text in ".{0,40}", json in "[\\[\\]{}\",:$ a-z0-9.-]{0,40}") {
        for text in [text, json] {
            let is_json = serde_json::from_str::<Value>(&text).is_ok();
            let taken = from_json(&text);
            prop_assert!(is_json || taken.is_err() || !text.starts_with(['{', '[', '"']), "{}", text);
        }
    }
}

#[test]
fn each_type_is_written_as_the_table_says() {
    let id = bson::oid::ObjectId::parse_str("0123456789abcdef01234567").unwrap();
    for (value, relaxed, canonical) in [
        (Bson::Int32(5), json!(5), json!({"$numberInt": "5"})),
        (Bson::Int64(5), json!(5), json!({"$numberLong": "5"})),
        (
            Bson::Int64(9_007_199_254_740_991),
            json!(9_007_199_254_740_991_i64),
            json!({"$numberLong": "9007199254740991"}),
        ),
        (
            Bson::Int64(9_007_199_254_740_993),
            json!({"$numberLong": "9007199254740993"}),
            json!({"$numberLong": "9007199254740993"}),
        ),
        (Bson::Double(1.0), json!(1.0), json!({"$numberDouble": "1.0"})),
        (Bson::Double(f64::NAN), json!({"$numberDouble": "NaN"}), json!({"$numberDouble": "NaN"})),
        (
            Bson::Double(f64::NEG_INFINITY),
            json!({"$numberDouble": "-Infinity"}),
            json!({"$numberDouble": "-Infinity"}),
        ),
        (
            Bson::DateTime(bson::DateTime::from_millis(1_709_208_000_250)),
            json!({"$date": "2024-02-29T12:00:00.250Z"}),
            json!({"$date": {"$numberLong": "1709208000250"}}),
        ),
        (
            Bson::DateTime(bson::DateTime::from_millis(-1)),
            json!({"$date": {"$numberLong": "-1"}}),
            json!({"$date": {"$numberLong": "-1"}}),
        ),
        (
            Bson::ObjectId(id),
            json!({"$oid": "0123456789abcdef01234567"}),
            json!({"$oid": "0123456789abcdef01234567"}),
        ),
        (
            Bson::Decimal128("1.50".parse().unwrap()),
            json!({"$numberDecimal": "1.50"}),
            json!({"$numberDecimal": "1.50"}),
        ),
        (
            Bson::try_from(json!({"$dbPointer": {"$ref": "c", "$id": {"$oid": "0123456789abcdef01234567"}}}))
                .unwrap(),
            json!({"$dbPointer": {"$ref": "c", "$id": {"$oid": "0123456789abcdef01234567"}}}),
            json!({"$dbPointer": {"$ref": "c", "$id": {"$oid": "0123456789abcdef01234567"}}}),
        ),
        (
            Bson::Binary(bson::Binary { subtype: BinarySubtype::BinaryOld, bytes: vec![1, 2] }),
            json!({"$binary": {"base64": "AQI=", "subType": "02"}}),
            json!({"$binary": {"base64": "AQI=", "subType": "02"}}),
        ),
    ] {
        let document = doc! {"v": value};
        let bytes = document.to_vec().unwrap();
        assert_eq!(to_json(&bytes, Form::Relaxed).unwrap()["v"], relaxed);
        assert_eq!(to_json(&bytes, Form::Canonical).unwrap()["v"], canonical);
        both(&document);
    }
}

#[test]
fn what_may_be_written_in_several_ways() {
    let value = |json: Value| {
        let bytes = from_json(&json!({ "v": json }).to_string()).unwrap();
        to_json(&bytes, Form::Canonical).unwrap()["v"].clone()
    };
    for (written, taken) in [
        (json!(2_147_483_648_i64), json!({"$numberLong": "2147483648"})),
        (json!(-1.5), json!({"$numberDouble": "-1.5"})),
        (json!({"$numberLong": 5}), json!({"$numberLong": "5"})),
        (json!({"$oid": {"$oid": "0123456789ABCDEF01234567"}}), json!({"$oid": "0123456789abcdef01234567"})),
        (json!({"$date": 5}), json!({"$date": {"$numberLong": "5"}})),
        (json!({"$date": "1970-01-01T01:00:00.0056789+01:00"}), json!({"$date": {"$numberLong": "5"}})),
        (json!({"$date": "1969-12-31T23:59:59Z"}), json!({"$date": {"$numberLong": "-1000"}})),
        (
            json!({"$uuid": "00112233-4455-6677-8899-aabbccddeeff"}),
            json!({"$binary": {"base64": "ABEiM0RVZneImaq7zN3u/w==", "subType": "04"}}),
        ),
        (
            json!({"$regularExpression": {"pattern": "a", "options": "mi"}}),
            json!({"$regularExpression": {"pattern": "a", "options": "im"}}),
        ),
    ] {
        assert_eq!(value(written.clone()), taken, "{written}");
    }
}

#[test]
fn what_is_no_value_is_refused() {
    for json in [
        "18446744073709551615",
        "1e999",
        "{\"$oid\": \"0123\"}",
        "{\"$oid\": 5}",
        "{\"$oid\": \"é123456789abcdef0123456\"}",
        "{\"$date\": \"2023-02-29T00:00:00Z\"}",
        "{\"$date\": \"2024-01-01\"}",
        "{\"$date\": true}",
        "{\"$date\": \"2024-01-01T00:00:00\"}",
        "{\"$date\": \"2024-01-01T24:00:00Z\"}",
        "{\"$date\": \"2024-01-01T00:00:00+\"}",
        "{\"$numberInt\": \"2147483648\"}",
        "{\"$numberLong\": \"1.5\"}",
        "{\"$numberDouble\": \"x\"}",
        "{\"$numberDecimal\": \"12345678901234567890123456789012345\"}",
        "{\"$numberDecimal\": \"1e9999\"}",
        "{\"$binary\": {\"base64\": \"?\", \"subType\": \"00\"}}",
        "{\"$binary\": \"AA==\"}",
        "{\"$binary\": {\"base64\": \"\", \"subType\": \"00\", \"x\": 1}}",
        "{\"$uuid\": \"00112233\"}",
        "{\"$timestamp\": {\"t\": -1, \"i\": 0}}",
        "{\"$minKey\": 2}",
        "{\"$undefined\": false}",
        "{\"$oid\": \"0123456789abcdef01234567\", \"x\": 1}",
        "{\"$code\": \"x\", \"$scope\": 5}",
        "{\"a\\u0000b\": 1}",
        "{\"$regularExpression\": {\"pattern\": \"a\\u0000\", \"options\": \"\"}}",
    ] {
        let document = format!("{{\"v\": {json}}}");
        assert!(
            matches!(from_json(&document), Err(Failure::InvalidConfig(_))),
            "{json}: {:?}",
            from_json(&document)
        );
    }
    let deep = |levels: usize| format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
    assert!(from_json(&deep(100)).is_ok());
    assert!(matches!(from_json(&deep(200)), Err(Failure::InvalidConfig(_))));
}

#[test]
fn s5_deep_and_broken_documents() {
    let nested = |levels: usize| {
        let mut bytes = doc! {}.to_vec().unwrap();
        for _ in 0..levels {
            let length = i32::try_from(bytes.len() + 8).unwrap();
            bytes = [&length.to_le_bytes()[..], b"\x03a\0", &bytes, b"\0"].concat();
        }
        bytes
    };
    assert!(to_json(&nested(100), Form::Relaxed).is_ok());
    assert!(matches!(to_json(&nested(50_000), Form::Relaxed), Err(Failure::LimitExceeded(_))));
    for inside in [
        &b"\x02a\0\xff\xff\xff\x7fx\0"[..],
        b"\x02a\0\0\0\0\0",
        b"\x02a\0\x02\0\0\0xx",
        b"\x02a\0\xff\xff\xff\xff",
        b"\x03a\0\x04\0\0\0\0",
        b"\x03a\0\x08\0\0\0\x0aa\0\x01",
        b"\x05a\0\xff\xff\xff\xff\0",
        b"\x08a\0\x02",
        b"\x0fa\0\x03\0\0\0",
        b"\x0fa\0\x20\0\0\0\x01\0\0\0\0\x05\0\0\0\0",
        b"\x0ba\0pattern",
        b"\x10a",
        b"\x20a\0",
        b"\x13a\0\0",
    ] {
        let length = i32::try_from(inside.len() + 5).unwrap();
        let bytes = [&length.to_le_bytes()[..], inside, b"\0"].concat();
        assert!(matches!(to_json(&bytes, Form::Relaxed), Err(Failure::Protocol(_))), "{inside:?}");
    }
    // Text that is not UTF-8 hides nothing else.
    let bytes = b"\x13\0\0\0\x02a\0\x03\0\0\0\xffx\0\x0ab\xfe\0\0";
    assert_eq!(to_json(bytes, Form::Relaxed).unwrap(), json!({"a": "\u{fffd}x", "b\u{fffd}": null}));
}
