//! `{{name}}`, and that it is the configuration's alone.

use openact_connector::{Failure, Json, testing::FakeHost};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{call, header, refused, sent, text};

/// The body that a template makes of an input.
fn filled(body: Value, input: Value) -> Value {
    let request = sent(json!({"method": "POST", "body": body}), input);
    serde_json::from_str(text(&request)).unwrap()
}

#[test]
fn a_body_keeps_types_and_places() {
    let input = json!({
        "id": 7, "name": "a\"b", "user": {"id": 1.5, "tags": ["x", "y"]}, "flag": true, "nothing": null,
        "user.id": "no",
    });
    for (body, expected) in [
        (json!("{{id}}"), json!(7)),
        (json!("{{ user }}"), json!({"id": 1.5, "tags": ["x", "y"]})),
        (json!("{{nothing}}"), json!(null)),
        (json!("{{user.tags.1}}"), json!("y")),
        (json!("{{user.tags}}"), json!(["x", "y"])),
        // A member with dots in its name comes first.
        (json!("{{user.id}}"), json!("no")),
        (json!({"a": [{"b": "{{name}}"}], "c": 1}), json!({"a": [{"b": "a\"b"}], "c": 1})),
        (json!("<{{name}}|{{id}}|{{flag}}>"), json!("<a\"b|7|true>")),
        (json!("j={{user.tags}}"), json!("j=[\"x\",\"y\"]")),
        (json!({"{{id}}": "{{id}}"}), json!({"{{id}}": 7})),
        (
            json!({"a": "{{none?}}", "b": "x{{none?}}y", "c": ["{{none?}}", 1], "d": "{{id?}}"}),
            json!({"b": "xy", "c": [1], "d": 7}),
        ),
        (json!({"b": 1, "a": "{{none?}}"}), json!({"b": 1})),
        (json!("{{{{id}}"), json!("{{id}}")),
        (json!("{{{{{{id}}"), json!("{{7")),
        (json!("{{id}}{{id}}}}"), json!("77}}")),
        (json!("{id}"), json!("{id}")),
    ] {
        assert_eq!(filled(body.clone(), input.clone()), expected, "{body}");
    }
}

#[test]
fn what_is_not_a_template_stays_byte_for_byte() {
    // Through the connector's own parsing, since a `Value` would lose the digits.
    let action =
        r#"{"method":"POST","body":{"z":1.10, "n":123456789012345678901234567890,"t":"{{v}}","z":2}}"#;
    let action: openact_http::config::Action = serde_json::from_str(action).unwrap();
    assert_eq!(
        action.body.unwrap().as_str(),
        r#"{"z":1.10, "n":123456789012345678901234567890,"t":"{{v}}","z":2}"#
    );
    // An input's number keeps its digits too.
    assert_eq!(filled(json!({"b": 1, "a": "{{v}}"}), json!({"v": 1.0})), json!({"b": 1, "a": 1.0}));
    let request =
        sent(json!({"method": "POST", "body": {"b": "{{v}}", "a": 1}}), json!({"v": {"z": 1, "y": 2}}));
    assert_eq!(text(&request), r#"{"b":{"z":1,"y":2},"a":1}"#);
}

#[test]
fn headers_query_and_cookies_take_scalars_and_lists() {
    let action = json!({
        "headers": {
            "x-id": "{{id}}", "x-list": "{{list}}", "x-text": "n-{{id}}", "x-none": "{{no?}}", "x-null": "{{null}}",
        },
        "query": {"q": "{{ text }}", "l": ["a", "{{list}}", "{{no?}}"], "gone": "{{no?}}"},
        "cookies": {"c": "v{{id}}"},
        "path": "/s?gone=kept&q=replaced",
    });
    let request = sent(action, json!({"id": 7, "list": [1, true], "text": "a b", "null": null}));
    assert_eq!(request.url, "https://api.example.com/v1/s?gone=kept&q=a%20b&l=a&l=1&l=true");
    let headers: Vec<_> = request
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), std::str::from_utf8(value).unwrap()))
        .collect();
    assert_eq!(
        headers,
        [("x-id", "7"), ("x-list", "1"), ("x-list", "true"), ("x-text", "n-7"), ("cookie", "c=v7")]
    );
}

#[test]
fn a_variable_that_is_missing_or_unfit_is_named_with_its_place() {
    for (action, parts) in [
        (json!({"headers": {"X-A": "{{no}}"}}), ["'no' is missing", "headers/X-A"]),
        (json!({"query": {"q": "x{{no}}"}}), ["'no' is missing", "query/q"]),
        (json!({"cookies": {"c": "{{obj.no}}"}}), ["'obj.no' is missing", "cookies/c"]),
        (json!({"method": "POST", "body": {"a": [1, {"b": "{{no}}"}]}}), ["'no' is missing", "body/a/1/b"]),
        (json!({"headers": {"X-A": "{{obj}}"}}), ["'obj' must be", "headers/X-A"]),
        (json!({"query": {"q": "x{{list}}"}}), ["'list' must be", "query/q"]),
        (json!({"method": "POST", "body": "x{{null}}"}), ["'null' must not be null", "body"]),
        (json!({"query": {"q": "{{nested}}"}}), ["'nested' must be", "query/q"]),
    ] {
        let input = json!({"obj": {"a": 1}, "list": [1], "null": null, "nested": [[1]]});
        let failure = refused(action.clone(), input);
        let fits =
            matches!(&failure, Failure::InvalidInput(text) if parts.iter().all(|part| text.contains(part)));
        assert!(fits, "{action}: {failure:?}");
    }
}

#[test]
fn an_opening_that_is_no_template_is_the_authors_fault() {
    let far = format!("{} {{{{ a b }}}} and more", "x".repeat(200));
    let failure = refused(json!({"headers": {"x": far}}), json!({}));
    let named = |text: &str| text.contains("headers/x") && text.contains("'{{ a b }} and more'");
    assert!(matches!(&failure, Failure::InvalidConfig(text) if named(text)), "{failure:?}");
    for text in ["{{", "{{}}", "{{ a b }}", "{{a", "{{{a}}}", "{{a}", "{{a??}}", "{{é}}", "x {{#if}} y"] {
        for action in [json!({"method": "POST", "body": [text]}), json!({"headers": {"x": text}})] {
            let failure = refused(action, json!({"a": 1}));
            assert!(
                matches!(&failure, Failure::InvalidConfig(message) if message.contains("{{{{")),
                "{text}: {failure:?}"
            );
        }
    }
}

#[test]
fn what_the_caller_sends_is_never_expanded() {
    // As the host merges: the action has the caller's values, and so has the input.
    let own = json!({"h": "{{secret_var}}"});
    for (key, action, input_key) in [
        ("headers", json!({"h": "{{secret_var}}", "mine": "{{ok}}"}), json!({"H": "{{secret_var}}"})),
        ("query", json!({"h": "{{secret_var}}", "mine": "{{ok}}"}), own.clone()),
        ("cookies", json!({"h": "{{secret_var}}", "mine": "{{ok}}"}), own.clone()),
    ] {
        let input = json!({key: input_key, "secret_var": "leak", "ok": "yes"});
        if key == "cookies" {
            // Braces may be in no cookie name, but in a value they may.
            let request = sent(json!({key: action}), input);
            assert_eq!(header(&request, "cookie"), Some("h={{secret_var}}; mine=yes"));
            continue;
        }
        let request = sent(json!({key: action}), input);
        let all = format!("{} {:?}", request.url, header(&request, "h"));
        assert!(!all.contains("leak"), "{all}");
        assert!(all.contains("secret_var"), "{all}");
        assert!(request.url.contains("mine=yes") || header(&request, "mine") == Some("yes"));
    }
    for body in [json!("{{secret_var}}"), json!({"a": ["{{secret_var}}", "{{"]})] {
        let request =
            sent(json!({"method": "POST", "body": body}), json!({"body": body, "secret_var": "leak"}));
        assert_eq!(serde_json::from_str::<Value>(text(&request)).unwrap(), body);
    }
}

#[test]
fn a_variable_does_not_decide_what_kind_of_body_it_is() {
    let typed = json!({"type": "text", "content": "x"});
    assert_eq!(filled(json!("{{v}}"), json!({"v": typed})), typed);
    assert_eq!(filled(json!({"type": "{{t}}", "content": "x"}), json!({"t": "text"})), typed);
    let request = sent(
        json!({"method": "POST", "body": {"type": "form", "fields": {"a": "{{v}}", "b": "{{no?}}"}}}),
        json!({"v": ["1", "&b=2"]}),
    );
    assert_eq!(text(&request), "a=1&a=%26b%3D2");
}

#[test]
fn a_body_that_is_an_optional_variable_may_be_none() {
    let action = json!({"method": "POST", "body": "{{payload?}}"});
    let request = sent(action.clone(), json!({}));
    assert_eq!((request.body, request.headers), (None, vec![]));
    assert_eq!(text(&sent(action, json!({"payload": [1]}))), "[1]");
}

#[test]
fn a_binary_answer_can_be_sent_on() {
    let input = json!({"file": {"base64": "/w=="}});
    for action in [
        json!({"method": "PUT", "body_type": "base64", "body": "{{file}}"}),
        json!({"method": "PUT", "body": {"type": "raw", "data": "{{file}}"}}),
    ] {
        assert_eq!(sent(action, input.clone()).body.unwrap(), [255]);
    }
    let action =
        json!({"method": "POST", "body": {"type": "multipart", "files": {"f": {"content": "{{file}}"}}}});
    let body = sent(action, input).body.unwrap();
    assert!(body.windows(5).any(|window| window == b"\r\n\xff\r\n"));
}

#[test]
fn a_header_that_the_input_filled_in_is_the_callers_fault() {
    let host = FakeHost::new().fail(openact_connector::HostError::InvalidRequest("line break".into()));
    let failure = call(json!({"headers": {"x": "{{v}}"}}), json!({"v": "a\nb"}), &host).unwrap_err();
    assert_eq!(failure, Failure::InvalidInput("line break".into()));
}

#[test]
fn what_the_input_filled_in_elsewhere_is_no_reason_to_blame_the_caller() {
    let used = json!({"v": "1"});
    let wrong_body = json!({"type": "raw", "data": "no base64"});
    for action in [
        json!({"method": "POST", "headers": {"x": "{{v}}"}, "body": wrong_body}),
        json!({"method": "POST", "path": "/{v}", "body": wrong_body}),
        json!({"body_type": "text", "method": "POST", "query": {"x": "{{v}}"}, "body": 1}),
        json!({"headers": {"x": "{{v}}"}, "cookies": {"a b": "c"}}),
        json!({"headers": {"x": "{{v}}"}, "query": {"page": "one"}, "pagination": {"type": "page"}}),
        json!({"headers": {"x": "{{v}}"}, "method": "POST", "body": 1, "pagination": {
            "type": "cursor", "in": "body", "cursor": "/c", "items": "/i",
        }}),
    ] {
        let host =
            FakeHost::new().respond(200, &[("content-type", "application/json")], r#"{"i":[],"c":"x"}"#);
        let failure = call(action.clone(), used.clone(), &host).unwrap_err();
        assert!(matches!(failure, Failure::InvalidConfig(_)), "{action}: {failure:?}");
    }
    // And those it filled in are the caller's.
    for action in [
        json!({"method": "POST", "body": {"type": "raw", "data": "{{v}}"}}),
        json!({"cookies": {"c": "{{v}}"}}),
        json!({"query": {"page": "{{v}}"}, "pagination": {"type": "page"}}),
        json!({"path": "/x?page={v}", "pagination": {"type": "page"}}),
    ] {
        let failure = refused(action.clone(), json!({"v": "é;"}));
        assert!(matches!(failure, Failure::InvalidInput(_)), "{action}: {failure:?}");
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<i32>().prop_map(Value::from),
        "(\\{\\{|\\}\\}|v|secret|\\?|\"|\\\\|é| ){0,5}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("(\\{\\{|\\}\\}|v|a){0,3}", inner, 0..3)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    /// Whatever a variable holds comes out as it is, in a whole-value template and beside other members.
    #[test]
    fn what_a_variable_holds_is_not_expanded(value in any_json()) {
        let input = json!({"v": value, "secret": "leak"});
        prop_assert_eq!(filled(json!({"a": "{{v}}", "b": [1, "{{v}}"]}), input), json!({"a": value, "b": [1, value]}));
    }

    /// Text is inserted as it is, in headers and bodies alike.
    #[test]
    fn text_is_inserted_as_it_is(value in "(\\{\\{|\\}\\}|v|secret|\"|\\\\|é){0,6}") {
        let input = json!({"v": value, "secret": "leak"});
        prop_assert_eq!(filled(json!("<{{v}}>"), input.clone()), json!(format!("<{value}>")));
        let request = sent(json!({"headers": {"x": "<{{v}}>"}}), input);
        let expected = format!("<{value}>");
        prop_assert_eq!(header(&request, "x"), Some(expected.as_str()));
    }

    /// A body of the caller goes out as it came.
    #[test]
    fn a_callers_body_is_not_expanded(body in any_json()) {
        prop_assume!(!body.is_null());
        let action = json!({"method": "POST", "body": body, "body_type": "json"});
        let request = sent(action, json!({"body": body, "secret": "leak", "v": "leak"}));
        let expected = Json::from(body);
        prop_assert_eq!(text(&request), expected.as_str());
    }

    /// No template, however odd, ends in anything but a request or a failure.
    #[test]
    fn any_template_is_expanded_or_refused(body in any_json()) {
        let host = crate::answering();
        let _ = call(json!({"method": "POST", "body": body}), json!({"v": [1], "secret": {"v": 2}}), &host);
    }
}
