//! What is sent.

use openact_connector::{
    Capability, Failure, HostError, Request,
    http::{CredentialUse, RedirectPolicy},
    log::Level,
    testing::{FakeHost, Invoke, check, describe},
};
use openact_http::Http;
use serde_json::{Value, json};

use crate::{answering, call, header, refused, sent, text};

#[test]
fn an_action_without_fields_gets_the_base_url() {
    let expected = Request {
        method: "GET".into(),
        url: "https://api.example.com/v1".into(),
        headers: vec![],
        body: None,
        credential: CredentialUse::Connection,
        redirects: RedirectPolicy::Manual,
    };
    assert_eq!(sent(json!({}), json!({})), expected);
}

#[test]
fn headers_keep_their_order_and_lists_repeat() {
    let request = sent(
        json!({"headers": {"x-b": ["1", 2, true], "Accept": "a/b", "x-a": 1.5, "x-none": null}}),
        json!({}),
    );
    let headers: Vec<_> = request
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), std::str::from_utf8(value).unwrap()))
        .collect();
    assert_eq!(headers, [("x-b", "1"), ("x-b", "2"), ("x-b", "true"), ("Accept", "a/b"), ("x-a", "1.5")]);
}

#[test]
fn methods_are_upper_case_tokens() {
    assert_eq!(sent(json!({"method": "patch"}), json!({})).method, "PATCH");
    for bad in ["", "GE T", "GET\r\nX: y", "GÉT"] {
        let failure = call(json!({"method": bad}), json!({}), &answering()).unwrap_err();
        assert!(matches!(failure, Failure::InvalidConfig(_)), "{bad:?}: {failure:?}");
    }
}

#[test]
fn a_json_body_goes_out_as_it_was_written() {
    let action = r#"{"method":"POST","body":{"b":1.10,"a":[null,12345678901234567890123]}}"#;
    let host = answering();
    let invocation = Invoke {
        operation: "request",
        connection: json!({"base_url": "https://h"}),
        action: serde_json::from_str(&action.replace("12345678901234567890123", "1")).unwrap(),
        input: json!({}),
        dry_run: false,
    };
    invocation.on::<Http>(&host).unwrap();
    let request = host.requests().remove(0);
    assert_eq!(serde_json::from_str::<Value>(text(&request)).unwrap(), json!({"b": 1.10, "a": [null, 1]}));
    assert_eq!(request.headers, [("content-type".into(), b"application/json".to_vec())]);
}

#[test]
fn bodies_of_text_and_bytes() {
    let request = sent(json!({"method": "PUT", "body": "grüße", "body_type": "text"}), json!({}));
    assert_eq!(text(&request), "grüße");
    assert_eq!(request.headers, [("content-type".into(), b"text/plain; charset=utf-8".to_vec())]);
    let request = sent(json!({"method": "PUT", "body": "AP8=", "body_type": "base64"}), json!({}));
    assert_eq!(request.body.unwrap(), [0, 255]);
    assert_eq!(request.headers, [("content-type".into(), b"application/octet-stream".to_vec())]);
    // Under the default type a string is JSON, quotes and all.
    assert_eq!(text(&sent(json!({"method": "PUT", "body": "x"}), json!({}))), r#""x""#);
}

#[test]
fn a_content_type_of_the_action_stays() {
    let action = json!({"method": "POST", "headers": {"Content-Type": "text/csv"}, "body": "a,b", "body_type": "text"});
    assert_eq!(sent(action, json!({})).headers, [("Content-Type".into(), b"text/csv".to_vec())]);
}

#[test]
fn a_body_of_the_wrong_kind_is_the_fault_of_who_set_it() {
    for body in [json!({"body": {}, "body_type": "text"}), json!({"body": "é", "body_type": "base64"})] {
        let mut action = json!({"method": "POST"});
        action.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
        let failure = call(action.clone(), json!({}), &answering()).unwrap_err();
        assert!(matches!(failure, Failure::InvalidConfig(_)), "{failure:?}");
        let failure = call(action, json!({"body": body["body"]}), &answering()).unwrap_err();
        assert!(matches!(failure, Failure::InvalidInput(_)), "{failure:?}");
    }
}

#[test]
fn get_and_head_leave_the_body_out_and_say_so() {
    for method in ["GET", "head"] {
        let host = answering();
        call(json!({"method": method, "body": {"a": 1}}), json!({}), &host).unwrap();
        let request = host.requests().remove(0);
        assert_eq!((request.body, request.headers), (None, vec![]));
        assert!(matches!(host.lines().as_slice(), [(Level::Warn, line)] if line.contains("body")));
    }
    assert!(sent(json!({"method": "DELETE", "body": {}}), json!({})).body.is_some());
}

#[test]
fn cookies_are_one_header_after_those_set_under_headers() {
    for (action, expected) in [
        (json!({"cookies": {"a": 1, "b": ["x", true], "none": null}}), Some("a=1; b=x; b=true")),
        (
            json!({"cookies": {"a": "\"q\""}, "headers": {"COOKIE": ["x=1", "y=2"]}}),
            Some("x=1; y=2; a=\"q\""),
        ),
        (json!({"cookies": {"a": ""}}), Some("a=")),
        (json!({"cookies": {}, "headers": {"cookie": "x=1"}}), Some("x=1")),
        (json!({"cookies": {"a": null}}), None),
    ] {
        let request = sent(action.clone(), json!({}));
        assert_eq!(header(&request, "cookie"), expected, "{action}");
        assert!(request.headers.len() <= 1, "{action}");
    }
}

#[test]
fn a_cookie_with_an_illegal_character_is_refused_by_place() {
    for (name, value, place) in [
        ("a", "x; b=2", "character 2 "),
        ("a", "x,y", "character 2 "),
        ("a", "é", "character 1 "),
        ("a", "\"q\"q\"", "character 3 "),
        ("a", "x\r\nHost: evil", "character 2 "),
        ("a b", "x", "name 'a b'"),
        ("a=b", "x", "name 'a=b'"),
        ("", "x", "name ''"),
    ] {
        let failure = refused(json!({"cookies": {name: value}}), json!({}));
        assert!(
            matches!(&failure, Failure::InvalidConfig(text) if text.contains(place)),
            "{name}={value}: {failure:?}"
        );
        let failure = refused(json!({"cookies": {name: value}}), json!({"cookies": {name: value}}));
        assert!(matches!(&failure, Failure::InvalidInput(_)), "{failure:?}");
    }
}

#[test]
fn redirects_only_where_asked_for() {
    assert_eq!(sent(json!({"follow_redirects": true}), json!({})).redirects, RedirectPolicy::Follow);
}

#[test]
fn unknown_fields_are_refused() {
    let failure = call(json!({"metod": "GET"}), json!({}), &answering()).unwrap_err();
    assert!(matches!(&failure, Failure::InvalidConfig(text) if text.contains("metod")), "{failure:?}");
}

#[test]
fn in_a_dry_run_the_host_sees_the_same_request() {
    // The host ends a dry run at `http.send`, where the request is exactly what would go out.
    let host = answering();
    let action = json!({"method": "POST", "path": "/u/{id}", "body": {"k": null}});
    let connection = json!({"base_url": "https://h"});
    let result = Invoke { operation: "request", connection, action, input: json!({"id": 7}), dry_run: true };
    result.on::<Http>(&host).unwrap();
    assert_eq!(host.requests().remove(0).url, "https://h/u/7");
}

#[test]
fn a_check_reports_what_was_reached() {
    let connection = json!({"base_url": "https://h/v1"});
    let host = FakeHost::new().respond(404, &[], "no");
    assert_eq!(
        check::<Http>(&connection, &host).unwrap(),
        json!({"status_code": 404, "url": "https://h/v1"})
    );
    let request = host.requests().remove(0);
    assert_eq!((request.method.as_str(), request.credential), ("GET", CredentialUse::Connection));
    for status in [401, 403] {
        let failure = check::<Http>(&connection, &FakeHost::new().respond(status, &[], "")).unwrap_err();
        assert!(matches!(failure, Failure::Unauthenticated(_)), "{failure:?}");
    }
    let failure = check::<Http>(&connection, &FakeHost::new().respond(503, &[], "")).unwrap_err();
    assert!(matches!(failure, Failure::Upstream(ref upstream) if upstream.retryable), "{failure:?}");
}

#[test]
fn what_the_host_refuses_keeps_its_kind() {
    for (error, failure) in [
        (HostError::Denied("d".into()), Failure::Denied("d".into())),
        (HostError::AuthRequired("a".into()), Failure::Unauthenticated("a".into())),
        (HostError::InvalidRequest("i".into()), Failure::InvalidConfig("i".into())),
        (HostError::Network("n".into()), Failure::Network("n".into())),
        (HostError::Timeout("t".into()), Failure::Timeout("t".into())),
        (HostError::Protocol("p".into()), Failure::Protocol("p".into())),
        (HostError::LimitExceeded("l".into()), Failure::LimitExceeded("l".into())),
        (HostError::Unsupported("u".into()), Failure::Unsupported("u".into())),
    ] {
        assert_eq!(call(json!({}), json!({}), &FakeHost::new().fail(error)).unwrap_err(), failure);
    }
}

#[test]
fn the_manifest_is_what_the_host_builds_on() {
    let manifest = describe::<Http>();
    let connection: Value = serde_json::from_str(&manifest.connection_schema).unwrap();
    assert_eq!(connection["properties"]["base_url"]["format"], "uri");
    assert_eq!(connection["required"], json!(["base_url"]));
    let operation = &manifest.operations[0];
    assert_eq!((operation.name.as_str(), manifest.default_operation.as_str()), ("request", "request"));
    assert_eq!(operation.overridable, ["headers", "query", "cookies", "body"]);
    let action: Value = serde_json::from_str(&operation.action_schema).unwrap();
    assert_eq!(action["additionalProperties"], false);
    assert_eq!(action["properties"]["query"]["x-aliases"], json!(["query_params"]));
    assert_eq!(action["properties"]["body"]["x-merge"], "replace");
    assert!(action.get("required").is_none());
    let response = &action["properties"]["response"];
    assert_eq!(
        response["properties"]["max_bytes"]["x-aliases"],
        json!(["max_response_size", "max_body_bytes"])
    );
    assert_eq!(action["properties"]["pagination"]["required"], json!(["type"]));
    assert!(response.get("required").is_none());
    for section in ["response", "pagination"] {
        let section = &action["properties"][section];
        assert_eq!((&section["type"], &section["additionalProperties"]), (&json!("object"), &json!(false)));
        for (name, property) in section["properties"].as_object().unwrap() {
            assert!(property["description"].is_string(), "{name}");
        }
    }
    assert_eq!(manifest.needs, [Capability::Http, Capability::Emit]);
    let input: Value = serde_json::from_str(&operation.input_schema).unwrap();
    assert_eq!(input, json!({"type": "object"}));
}
