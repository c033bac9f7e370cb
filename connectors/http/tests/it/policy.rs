//! The `response` section.

use openact_connector::{Failure, UpstreamFailure, testing::FakeHost};
use serde_json::{Value, json};

use crate::call;

const JSON: &[(&str, &str)] = &[("content-type", "application/json"), ("x-a", "b")];

fn answered(response: Value, status: u16, body: &str) -> Result<Value, Failure> {
    let host = FakeHost::new().respond(status, JSON, body);
    call(json!({"response": response}), json!({}), &host)
}

fn upstream(result: Result<Value, Failure>) -> UpstreamFailure {
    match result {
        Err(Failure::Upstream(upstream)) => upstream,
        other => unreachable!("{other:?}"),
    }
}

#[test]
fn a_longer_body_is_refused_and_not_read() {
    for name in ["max_bytes", "max_response_size", "max_body_bytes"] {
        assert_eq!(answered(json!({name: 4}), 200, "[12]").unwrap()["body"], json!([12]));
        let failure = answered(json!({name: 4}), 200, "[123]").unwrap_err();
        assert!(
            matches!(&failure, Failure::LimitExceeded(text) if text.contains("response.max_bytes (4)")),
            "{failure:?}"
        );
    }
    let endless = vec![vec![b' '; 1000]; 1000];
    let host = FakeHost::new().respond_in_parts(200, JSON, endless);
    let failure = call(json!({"response": {"max_bytes": 1500}}), json!({}), &host).unwrap_err();
    assert!(matches!(failure, Failure::LimitExceeded(_)), "{failure:?}");
}

#[test]
fn a_status_that_is_not_allowed_is_a_failure() {
    for name in ["allowed_status", "allowed_status_codes", "expected_status"] {
        for (allowed, fine, failing) in [
            (json!(200), vec![200], vec![201, 404]),
            (json!([200, 404]), vec![200, 404], vec![201]),
            (json!("2xx"), vec![200, 299], vec![199, 300]),
            (json!("404"), vec![404], vec![200]),
            (json!(["200-204", "3XX", 418]), vec![200, 204, 301, 418], vec![205, 400]),
            (json!("200 - 299"), vec![250], vec![300]),
        ] {
            for status in fine {
                let result = answered(json!({name: allowed, "fail_on_status": true}), status, "[]");
                assert_eq!(result.unwrap()["status_code"], status, "{allowed}");
            }
            for status in failing {
                let failure = upstream(answered(json!({name: allowed}), status, "[1]"));
                assert_eq!(failure.code, Some(status.to_string()), "{allowed}");
                assert!(failure.message.contains(&status.to_string()));
            }
        }
    }
    for wrong in [
        json!(99),
        json!(600),
        json!("6xx"),
        json!("xx"),
        json!("300-200"),
        json!(true),
        json!([[]]),
        json!([]),
        json!(200.5),
        json!("1-2-3"),
    ] {
        let failure = answered(json!({"allowed_status": wrong}), 200, "").unwrap_err();
        assert!(
            matches!(&failure, Failure::InvalidConfig(text) if text.contains("status")),
            "{wrong}: {failure:?}"
        );
    }
}

#[test]
fn an_error_of_the_server_is_a_failure_where_asked_for() {
    for (status, retryable) in [(400, false), (404, false), (500, true), (503, true)] {
        assert_eq!(answered(json!({}), status, "[]").unwrap()["status_code"], status);
        let failure = upstream(answered(json!({"fail_on_status": true}), status, r#"{"why": 1}"#));
        assert_eq!((failure.code.unwrap(), failure.retryable), (status.to_string(), retryable));
        assert_eq!(
            serde_json::from_str::<Value>(&failure.details.unwrap()).unwrap(),
            json!({
                "status_code": status, "headers": {"content-type": "application/json", "x-a": "b"},
                "body": {"why": 1}, "truncated": false,
            })
        );
    }
    assert_eq!(answered(json!({"fail_on_status": true}), 302, "[]").unwrap()["status_code"], 302);
    for status in [401, 403] {
        let failure = answered(json!({"fail_on_status": true}), status, "").unwrap_err();
        assert!(matches!(failure, Failure::Unauthenticated(_)), "{failure:?}");
    }
    let host = FakeHost::new().respond(429, &[("retry-after", "7")], "");
    let failure = call(json!({"response": {"fail_on_status": true}}), json!({}), &host).unwrap_err();
    assert_eq!(failure, Failure::RateLimited(Some(7000)));
}

#[test]
fn particulars_of_a_failure_are_bounded_whatever_the_server_sent() {
    let long_header = "h".repeat(40_000);
    for (kind, body) in [
        ("text/plain", format!("x{}", "é".repeat(20_000))),
        ("text/plain", "\u{1}".repeat(20_000)),
        ("application/json", format!("[\"{}\"]", "a".repeat(20_000))),
        ("image/png", "b".repeat(20_000)),
    ] {
        let parts = body.as_bytes().chunks(5_000).map(<[u8]>::to_vec).collect();
        let headers = [("content-type", kind), ("x-long", long_header.as_str())];
        let host = FakeHost::new().respond_in_parts(500, &headers, parts);
        let failure = upstream(call(json!({"response": {"fail_on_status": true}}), json!({}), &host));
        let details = failure.details.unwrap();
        assert!(details.len() < 64 * 1024, "{kind}: {}", details.len());
        let details: Value = serde_json::from_str(&details).unwrap();
        assert_eq!((&details["truncated"], &details["headers"]), (&json!(true), &json!({})));
        if kind == "text/plain" && body.starts_with('x') {
            assert_eq!(details["body"].as_str().unwrap().chars().filter(|c| *c == 'é').count(), 8_191);
        }
    }
}

#[test]
fn a_part_of_the_body_becomes_the_result() {
    let body = r#"{"a": {"b/c": [{"x": 1.10}, null]}, "e": "", "k~": [[5]], "": 9}"#;
    for (place, expected) in [
        ("", serde_json::from_str(body).unwrap()),
        ("/a/b~1c/0/x", json!(1.10)),
        ("/a/b~1c/1", json!(null)),
        ("/k~0/0/0", json!(5)),
        ("/", json!(9)),
        ("$", serde_json::from_str(body).unwrap()),
        ("$.e", json!("")),
        ("$.a['b/c'][0].x", json!(1.10)),
        ("$.a[\"b/c\"][1]", json!(null)),
        ("$['k~'][0][0]", json!(5)),
    ] {
        for name in ["extract", "extract_json_path"] {
            let result = answered(json!({name: place}), 200, body).unwrap();
            assert_eq!((&result["body"], &result["status_code"]), (&expected, &json!(200)), "{place}");
        }
    }
    for place in ["/no", "/a/b~1c/2", "/a/b~1c/00", "/a/b~1c/+1", "/a/b~1c/-", "/e/0", "$.a.b"] {
        let failure = upstream(answered(json!({"extract": place}), 200, body));
        assert!(failure.message.contains(&format!("'{place}'")), "{place}: {}", failure.message);
    }
    for wrong in ["a", "a/b", "/~2", "/~", "$..a", "$.*", "$a", "$[a]", "$.a[", "$."] {
        let failure = answered(json!({"extract": wrong}), 200, body).unwrap_err();
        assert!(
            matches!(&failure, Failure::InvalidConfig(text) if text.contains("no place")),
            "{wrong}: {failure:?}"
        );
    }
    let host = FakeHost::new().respond(200, &[("content-type", "text/plain")], "[1]");
    let failure = upstream(call(json!({"response": {"extract": "/0"}}), json!({}), &host));
    assert!(failure.message.contains("not JSON"), "{}", failure.message);
    // The body of an error is another thing; what it says must not be lost.
    assert_eq!(answered(json!({"extract": "/no"}), 404, body).unwrap()["status_code"], 404);
}

#[test]
fn bytes_can_be_refused() {
    let bytes = || FakeHost::new().respond(200, &[("content-type", "image/png")], "x");
    assert!(call(json!({"response": {"allow_binary": true}}), json!({}), &bytes()).is_ok());
    let failure = upstream(call(json!({"response": {"allow_binary": false}}), json!({}), &bytes()));
    assert!(failure.message.contains("image/png"), "{}", failure.message);
    assert!(answered(json!({"allow_binary": false}), 200, "[]").is_ok());
    assert!(answered(json!({"allow_binary": false}), 204, "").is_ok());
    // Text in a charset that is not known is bytes, and which one that is must be said.
    let strange = FakeHost::new().respond(200, &[("content-type", "text/plain; charset=Shift_JIS")], "x");
    let failure = upstream(call(json!({"response": {"allow_binary": false}}), json!({}), &strange));
    assert!(failure.message.contains("'Shift_JIS'"), "{}", failure.message);
}

#[test]
fn an_answer_without_a_body_has_no_part_to_be_taken() {
    for (status, body) in [(204, ""), (200, ""), (304, ""), (302, "<p>"), (399, "{}")] {
        let result = answered(json!({"extract": "/a"}), status, body).unwrap();
        let expected = match body {
            "" => Value::Null,
            "{}" => json!({}),
            text => json!(text),
        };
        assert_eq!((&result["status_code"], &result["body"]), (&json!(status), &expected), "{status}");
    }
    let host = FakeHost::new().respond(200, JSON, "");
    let action = json!({"method": "HEAD", "response": {"extract": "/a"}});
    assert_eq!(call(action, json!({}), &host).unwrap()["body"], Value::Null);
}

#[test]
fn a_body_is_read_as_it_is_wanted() {
    let read = |wanted: &str, kind: &str, status: u16, bytes: &[u8]| {
        let host = FakeHost::new().respond(status, &[("content-type", kind)], bytes);
        let result = call(json!({"response": {"as": wanted}}), json!({}), &host);
        result.map(|mut result| result["body"].take())
    };
    for (wanted, kind, bytes, expected) in [
        ("auto", "application/json", &b"[1]"[..], json!([1])),
        ("bytes", "application/json", b" [1]", json!({"base64": "IFsxXQ=="})),
        ("bytes", "text/plain; charset=latin1", b"\xef\xbb\xbf\xe9", json!({"base64": "77u/6Q=="})),
        ("bytes", "text/plain", b"", json!({"base64": ""})),
        ("text", "application/json", b"[1.0 ]", json!("[1.0 ]")),
        ("text", "image/png", b"a", json!("a")),
        ("text", "application/pdf; charset=latin1", b"\xe9", json!("é")),
        ("text", "text/plain", b"", json!("")),
        ("json", "text/plain", b" [1]", json!([1])),
        ("json", "image/png", b"\xef\xbb\xbf{}", json!({})),
        ("json", "text/plain", b"", Value::Null),
    ] {
        assert_eq!(read(wanted, kind, 200, bytes).unwrap(), expected, "{wanted} {kind}");
    }
    for (wanted, kind, bytes, parts) in [
        ("json", "text/html", &b"<p>"[..], ["text/html", "not JSON"]),
        ("json", "application/json", b"{", ["application/json", "not JSON"]),
        ("json", "application/json", b"\xff", ["application/json", "not JSON"]),
        ("text", "image/png", b"\xff", ["image/png", "not text"]),
        ("text", "text/plain; charset=big5", b"a", ["'big5'", "utf-8"]),
    ] {
        let failure = upstream(read(wanted, kind, 200, bytes));
        assert!(parts.iter().all(|part| failure.message.contains(part)), "{wanted}: {}", failure.message);
        assert!(!failure.retryable);
    }
    // What an error says must not be lost.
    assert_eq!(read("json", "text/html", 502, b"<p>").unwrap(), "<p>");
    assert_eq!(read("text", "image/png", 404, b"\xff").unwrap(), json!({"base64": "/w=="}));
    assert_eq!(answered(json!({"response_format": "text"}), 200, "[]").unwrap()["body"], "[]");
    assert_eq!(answered(json!({"as": "json", "extract": "/0"}), 200, "[7]").unwrap()["body"], 7);
    // What `allow_binary` refuses is refused however it is read; text as bytes is none of it.
    assert!(answered(json!({"as": "bytes", "allow_binary": false}), 200, "[]").is_ok());
    let png = FakeHost::new().respond(200, &[("content-type", "image/png")], "x");
    upstream(call(json!({"response": {"as": "bytes", "allow_binary": false}}), json!({}), &png));
    for wanted in ["text", "bytes"] {
        let failure = answered(json!({"as": wanted, "extract": "/a"}), 200, "{}").unwrap_err();
        assert!(
            matches!(&failure, Failure::InvalidConfig(text) if text.contains("response.as")),
            "{failure:?}"
        );
    }
}

#[test]
fn what_is_not_supported_is_an_unknown_key() {
    let failure = answered(json!({"transform_response": "x"}), 200, "").unwrap_err();
    assert!(
        matches!(&failure, Failure::InvalidConfig(text) if text.contains("transform_response")),
        "{failure:?}"
    );
}
