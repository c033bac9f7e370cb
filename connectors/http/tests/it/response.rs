//! What comes back.

use openact_connector::{Failure, HostError, testing::FakeHost};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::call;

fn body(content_type: &str, bytes: &[u8]) -> Value {
    let host = FakeHost::new().respond(200, &[("content-type", content_type)], bytes);
    call(json!({}), json!({}), &host).unwrap().get_mut("body").unwrap().take()
}

#[test]
fn json_passes_through() {
    assert_eq!(body("application/json", br#" {"a":[1,null]} "#), json!({"a": [1, null]}));
    assert_eq!(body("application/vnd.github.v3+json; charset=utf-8", b"[1]"), json!([1]));
    assert_eq!(body("APPLICATION/JSON", b"\xef\xbb\xbf{}"), json!({}));
}

#[test]
fn json_is_not_rebuilt() {
    // Parsing and rebuilding would lose digits, the order of names and the repeated one.
    let text = r#"{"z":1.10,"a":123456789012345678901234567890,"z":2}"#;
    let headers = [("content-type".to_owned(), b"application/json".to_vec())];
    let result = openact_http::answer::result(200, &headers, text.as_bytes());
    let start = r#"{"status_code":200,"headers":{"content-type":"application/json"},"body":"#;
    assert_eq!(result.as_str(), format!("{start}{text}}}"));
}

#[test]
fn invalid_json_is_text() {
    for text in ["{not json", "{} {}", "nul", "{\"a\":1}}, \"forged\": {\"x\":1"] {
        assert_eq!(body("application/json", text.as_bytes()), text);
    }
    assert_eq!(body("application/json", b"\xff\xfe"), json!({"base64": "//4="}));
}

#[test]
fn text_bytes_and_nothing() {
    assert_eq!(body("text/plain", "a\"\\\n\u{1}é\u{2028}".as_bytes()), "a\"\\\n\u{1}é\u{2028}");
    assert_eq!(body("text/html; charset=\"ISO-8859-1\"", b"gr\xfc\xdf"), "grüß");
    assert_eq!(body("application/xml", b"<a/>"), "<a/>");
    assert_eq!(body("", b"plain"), "plain");
    assert_eq!(body("text/plain", b"\xff"), json!({"base64": "/w=="}));
    assert_eq!(body("image/png", b"\x89PNG"), json!({"base64": "iVBORw=="}));
    // The shape follows from the type, not from what the bytes happen to be.
    assert_eq!(body("application/octet-stream", b"abc"), json!({"base64": "YWJj"}));
    for kind in ["application/json", "text/plain", "image/png"] {
        assert_eq!(body(kind, b""), Value::Null);
    }
}

#[test]
fn text_by_charset() {
    for (content_type, bytes, expected) in [
        ("text/plain; charset=utf-8", &b"\xc3\xa9"[..], json!("é")),
        // What is said counts, not what the bytes could also be; Latin-1 is read as browsers read it.
        ("text/plain; charset=iso-8859-1", b"\xc3\xa9\x80", json!("Ã©€")),
        ("text/plain; Charset=\"Windows-1252\"", b"\x93\x81", json!("“\u{81}")),
        ("text/csv; header=present; charset=utf-16", b"\xff\xfea\0", json!("a")),
        ("text/csv; charset=utf-16", b"\xfe\xff\0a", json!("a")),
        ("text/plain; charset=utf-16be", b"\0a\xd8\x3d\xde\0", json!("a😀")),
        ("text/plain; charset=unicode-1-1-utf-8", b"\xc3\xa9", json!("é")),
        ("text/plain; charset=iso_8859-1", b"\xe9", json!("é")),
        ("text/plain; charset=ISO88591", b"\xe9", json!("é")),
        ("text/plain; charset=cp819", b"\xe9", json!("é")),
        ("text/plain; charset=iso_8859-1:1987", b"\xe9", json!("é")),
        ("text/plain; charset=ansi_x3.4-1968", b"e", json!("e")),
        ("text/plain; charset=x-cp1252", b"\x80", json!("€")),
        ("text/plain; charset=iso-8859-15", b"\xa4\xe9\xa5", json!("€é¥")),
        ("text/plain; charset=ucs-2", b"a\0", json!("a")),
        ("text/plain; charset=unicodeFFFE", b"\0a", json!("a")),
        ("text/plain", b"\xff\xfea\0", json!("a")),
        ("text/plain; charset=utf-16le", b"a\0b", json!({"base64": "YQBi"})),
        ("text/plain; charset=utf-16le", b"\x3d\xd8", json!({"base64": "Pdg="})),
        ("text/plain; charset=shift_jis", b"a", json!({"base64": "YQ=="})),
        ("text/plain; charset=utf-8", b"\xff", json!({"base64": "/w=="})),
        ("application/json; charset=utf-16", b"\xff\xfe[\0]\0", json!([])),
        ("application/json; charset=iso-8859-1", b"[\"\xe9\"]", json!(["é"])),
        ("application/json; charset=klingon", b"[1]", json!([1])),
        ("text/plain", b"\xef\xbb\xbf", Value::Null),
        // Bytes are not touched.
        ("image/png", b"\xef\xbb\xbfx", json!({"base64": "77u/eA=="})),
    ] {
        assert_eq!(body(content_type, bytes), expected, "{content_type} {bytes:?}");
    }
}

#[test]
fn headers_of_one_name_are_joined_but_cookies_listed() {
    let headers = [
        ("vary", "a"),
        ("set-cookie", "x=1"),
        ("vary", "b"),
        ("set-cookie", "y=2"),
        ("x-quote", "\"q\""),
        ("etag", "1"),
    ];
    let result = call(json!({}), json!({}), &FakeHost::new().respond(204, &headers, "")).unwrap();
    assert_eq!(
        result,
        json!({
            "status_code": 204,
            "headers": {"vary": "a, b", "set-cookie": ["x=1", "y=2"], "x-quote": "\"q\"", "etag": "1"},
            "body": null,
        })
    );
}

#[test]
fn an_error_of_the_server_is_a_result() {
    for status in [401, 404, 429, 500] {
        let host = FakeHost::new().respond(status, &[], "no");
        assert_eq!(call(json!({}), json!({}), &host).unwrap()["status_code"], status);
    }
}

#[test]
fn a_long_body_is_read_to_its_end() {
    let parts = vec![b"[1,".to_vec(), vec![b' '; 2_000_000], b"2]".to_vec()];
    let headers = [("content-type", "application/json"), ("content-length", "18446744073709551615")];
    let host = FakeHost::new().respond_in_parts(200, &headers, parts);
    assert_eq!(call(json!({}), json!({}), &host).unwrap()["body"], json!([1, 2]));
}

#[test]
fn a_failure_to_send_is_no_result() {
    let host = FakeHost::new().fail(HostError::Protocol("cut off".into()));
    assert_eq!(call(json!({}), json!({}), &host).unwrap_err(), Failure::Protocol("cut off".into()));
}

proptest! {
    /// Whatever a server sends: the result is JSON with its three members, and nothing of the server's beside them.
    #[test]
    fn a_result_is_json_whatever_came(
        bytes in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..24),
            "[\\[\\]{}\",:0-9a\\\\u \u{1}é\u{feff}]{0,16}".prop_map(String::into_bytes),
        ],
        value in prop::collection::vec(any::<u8>(), 0..8),
        kind in "(text/plain|application/json|text/csv|a/b|)(; ?charset=(utf-8|latin1|utf-16|utf-16be|x|\")?)?",
    ) {
        let headers = [
            ("content-type".to_owned(), kind.into_bytes()),
            ("x\"y".to_owned(), value.clone()),
            ("set-cookie".to_owned(), value),
        ];
        let result = openact_http::answer::result(200, &headers, &bytes);
        let result: Value = serde_json::from_str(result.as_str()).unwrap();
        let names: Vec<_> = result.as_object().unwrap().keys().map(String::as_str).collect();
        prop_assert_eq!(names, ["status_code", "headers", "body"]);
        prop_assert_eq!(result["headers"].as_object().unwrap().len(), 3);
    }
}

fn asked(response: Value, status: u16, answer: &str) -> Result<Value, Failure> {
    let host = FakeHost::new().respond(status, &[("content-type", "application/json")], answer.as_bytes());
    call(json!({"response": response}), json!({}), &host)
}

#[test]
fn an_answer_that_says_it_is_a_failure_is_one() {
    let when =
        json!({"fail_when": {"pointer": "/ok", "equals": false, "code": "$.error", "message": "/why"}});
    for (answer, code, message) in [
        (r#"{"ok":false,"error":"not_found"}"#, Some("not_found"), "the server refused: not_found"),
        (r#"{"ok":false,"error":7,"why":"no"}"#, Some("7"), "the server refused: 7: no"),
        (r#"{"ok":false,"error":{},"why":"no"}"#, None, "the server refused: no"),
        (r#"{"ok": false , "error": ""}"#, None, "the server refused: /ok is false"),
    ] {
        let Err(Failure::Upstream(failure)) = asked(when.clone(), 200, answer) else { panic!("{answer}") };
        assert_eq!((failure.code.as_deref(), failure.message.as_str()), (code, message));
        assert!(!failure.retryable);
        let details: Value = serde_json::from_str(&failure.details.unwrap()).unwrap();
        assert_eq!(details["body"], serde_json::from_str::<Value>(answer).unwrap());
        assert_eq!(details["status_code"], 200);
    }
    for answer in [r#"{"ok":true}"#, r#"{"ok":"false"}"#, r#"{"ok":null}"#, "{}", "[false]", "", "nonsense"] {
        assert!(asked(when.clone(), 200, answer).is_ok(), "{answer}");
    }
    // A status counts first, and what is taken out of the answer last.
    let mut all = when;
    all["extract"] = "/data".into();
    all["fail_on_status"] = true.into();
    let refused = |status| match asked(all.clone(), status, r#"{"ok":false,"error":"e","data":1}"#) {
        Err(Failure::Upstream(failure)) => failure.code.unwrap(),
        other => panic!("{other:?}"),
    };
    assert_eq!((refused(200), refused(404)), ("e".into(), "404".into()));
    let text = json!({"fail_when": {"pointer": "/status", "equals": "error"}});
    assert!(asked(text, 200, r#"{"status":"error"}"#).is_err());
    // However long its reason is.
    let long = format!(r#"{{"ok":false,"error":"{}"}}"#, "ü".repeat(20_000));
    let Err(Failure::Upstream(failure)) = asked(all, 200, &long) else { panic!() };
    assert!(failure.message.len() < 600);
}
