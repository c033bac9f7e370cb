//! `http_policy` from the configuration to the wire, whoever set the header and whichever way the component asks.
//!
//! Invariant: what is refused was never dialled, and next to each refusal stands what just passes.

use openact::ErrorCode::{self, EgressDenied, InvalidInput, LimitExceeded};
use serde_json::{Value, json};
use support::upstream::{Answer, Received, Upstream};

use crate::setup::{Via, failure, limit, memory, value};

/// What the upstream has to get of one header, or how the call has to fail.
enum Outcome {
    Sent(&'static str, &'static [&'static str]),
    Refused(ErrorCode, &'static str),
}

use Outcome::{Refused, Sent};

struct Case {
    policy: Value,
    /// `headers` of the connection's defaults, the action and the input.
    headers: [Value; 3],
    outcome: Outcome,
}

fn case(policy: Value, headers: [Value; 3], outcome: Outcome) -> Case {
    Case { policy, headers, outcome }
}

fn names() -> Vec<Case> {
    let none = || json!({});
    let all = |name: &str| ["connection", "action", "input"].map(|whose| json!({ name: whose }));
    let denied = || json!({"denied_headers": ["X-Debug"]});
    let dropped = || json!({"denied_headers": ["X-Debug"], "drop_forbidden_headers": true});
    let reserved = || json!({"reserved_headers": ["X-Team"]});
    let joined = || json!({"multi_value_append_headers": ["X-Tags"]});
    let tags = [json!({"x-tags": "a, b"}), json!({"x-tags": "b, c"}), none()];
    vec![
        // Without a policy the last word wins.
        case(none(), all("x-team"), Sent("x-team", &["input"])),
        case(denied(), [none(), none(), json!({"x-other": "1"})], Sent("x-other", &["1"])),
        case(
            denied(),
            [json!({"x-debug": "1"}), none(), none()],
            Refused(EgressDenied, "'x-debug' is denied"),
        ),
        case(
            denied(),
            [none(), json!({"X-DEBUG": "1"}), none()],
            Refused(EgressDenied, "'x-debug' is denied"),
        ),
        case(
            denied(),
            [none(), none(), json!({"x-Debug": "1"})],
            Refused(EgressDenied, "'x-debug' is denied"),
        ),
        case(dropped(), all("X-Debug"), Sent("x-debug", &[])),
        case(dropped(), [none(), json!({"x-debug": "1", "x-other": "1"}), none()], Sent("x-other", &["1"])),
        case(reserved(), all("x-team"), Sent("x-team", &["connection"])),
        case(reserved(), [none(), json!({"x-team": "action"}), none()], Sent("x-team", &["action"])),
        case(joined(), tags.clone(), Sent("x-tags", &["a, b, c"])),
        case(joined(), [none(), tags[1].clone(), none()], Sent("x-tags", &["b, c"])),
        case(joined(), all("x-tags"), Sent("x-tags", &["connection, input"])),
        case(none(), tags, Sent("x-tags", &["b, c"])),
        // The credential is the host's own.
        case(
            json!({"denied_headers": ["authorization"]}),
            [none(), none(), none()],
            Sent("authorization", &["Bearer t"]),
        ),
    ]
}

fn bounds() -> Vec<Case> {
    let none = || json!({});
    let of_type = |media: &str| [none(), json!({"content-type": media}), none()];
    let types = || json!({"allowed_content_types": ["application/json", "text/*"]});
    let eight = || json!({"max_header_value_length": 8});
    let value = |text: &str| [none(), none(), json!({"x-value": text})];
    let three = || json!({"max_total_headers": 3});
    vec![
        case(types(), of_type("text/csv; charset=utf-8"), Sent("content-type", &["text/csv; charset=utf-8"])),
        case(types(), of_type("application/JSON"), Sent("content-type", &["application/JSON"])),
        case(types(), of_type("application/xml"), Refused(InvalidInput, "'application/xml' is not allowed")),
        case(types(), of_type("textual/csv"), Refused(InvalidInput, "'textual/csv' is not allowed")),
        case(types(), [none(), none(), none()], Sent("content-type", &[])),
        case(eight(), value("12345678"), Sent("x-value", &["12345678"])),
        case(eight(), value("123456789"), Refused(LimitExceeded, "'x-value' is longer than 8 bytes")),
        case(three(), [json!({"x-1": "1"}), json!({"x-2": "2"}), json!({"x-3": "3"})], Sent("x-3", &["3"])),
        case(
            three(),
            [json!({"x-1": "1"}), json!({"x-2": "2"}), json!({"x-3": "3", "x-4": "4"})],
            Refused(LimitExceeded, "more than 3 headers"),
        ),
    ]
}

async fn runs(cases: Vec<Case>) {
    for (number, Case { policy, headers: [defaults, action, input], outcome }) in
        cases.into_iter().enumerate()
    {
        // An action's policy holds as a connection's does.
        for (via, of_action) in Via::BOTH.into_iter().flat_map(|via| [(via, false), (via, true)]) {
            let upstream = Upstream::json("{}").await;
            let mut connection = json!({
                "base_url": upstream.url(), "authorization": {"type": "bearer", "token": "t"},
                "defaults": {"headers": defaults},
            });
            let mut action = json!({"headers": action});
            let owner = if of_action { &mut action } else { &mut connection };
            owner["http_policy"] = policy.clone();
            let openact = via.build(memory(&[]), connection, action).await;
            let input = json!({"headers": input});
            let case = format!("{number} by {via:?}, {of_action}: {policy}");
            match &outcome {
                Sent(name, expected) => {
                    value(&openact, via.action(), input).await;
                    assert_eq!(upstream.received()[0].header(name), *expected, "{case}");
                }
                Refused(code, text) => {
                    let (error, _) = failure(&openact, via.action(), input).await;
                    assert_eq!(error.code, *code, "{case}: {error:?}");
                    assert!(error.message.contains(text), "{case}: {error:?}");
                    assert_eq!(upstream.connections(), 0, "{case}");
                }
            }
        }
    }
}

#[tokio::test]
async fn e10_denied_reserved_and_appended_headers_on_the_wire() {
    runs(names()).await;
}

#[tokio::test]
async fn e14_header_sizes_counts_and_content_types_on_the_wire() {
    runs(bounds()).await;
}

/// Three hops within the origin.
fn hops(received: &Received) -> Answer {
    match received.target.as_str() {
        "/0" => Answer::full(302, &[("location", "/1")], ""),
        "/1" => Answer::full(302, &[("location", "/2")], ""),
        "/2" => Answer::full(302, &[("location", "/3")], ""),
        _ => Answer::Json("{}".into()),
    }
}

#[tokio::test]
async fn e8_max_redirects_of_the_policy_is_the_number_followed() {
    for (max, requests, succeeds) in [(0, 1, false), (2, 3, false), (3, 4, true)] {
        let upstream = Upstream::start(hops).await;
        let connection = json!({"base_url": upstream.url(), "http_policy": {"max_redirects": max}});
        let action = json!({"path": "/0", "follow_redirects": true});
        let openact = Via::Contract.build(memory(&[]), connection.clone(), action).await;
        if succeeds {
            assert_eq!(value(&openact, "http/send", json!({})).await["status_code"], 200);
        } else {
            let (error, _) = failure(&openact, "http/send", json!({})).await;
            assert_eq!((error.code, limit(&error)), (LimitExceeded, Some("redirects")), "{max}: {error:?}");
        }
        assert_eq!(upstream.received().len(), requests, "{max}");
        // `wasi:http` follows none: the redirect is its answer.
        let openact = Via::Wasi.build(memory(&[]), connection, json!({"path": "/0"})).await;
        assert_eq!(value(&openact, "wasi-http/send", json!({})).await["status_code"], 302);
        assert_eq!(upstream.received().len(), requests + 1);
    }
}

#[tokio::test]
async fn e8_cross_origin_redirects_are_refused_if_the_policy_says_so() {
    let other = Upstream::json("{}").await;
    for (may_leave, reached) in [(false, 0), (true, 1)] {
        let to = other.url();
        let own = Upstream::start(move |received| match received.target.as_str() {
            "/leave" => Answer::full(307, &[("location", &to)], ""),
            _ => hops(received),
        })
        .await;
        let connection = json!({
            "base_url": own.url(), "network": {"allowed_hosts": [other.url()]},
            "http_policy": {"cross_origin_redirects": may_leave},
        });
        let action = |path: &str| json!({"path": path, "follow_redirects": true});
        // Within the origin it follows in any case.
        let within = Via::Contract.build(memory(&[]), connection.clone(), action("/0")).await;
        assert_eq!(value(&within, "http/send", json!({})).await["status_code"], 200);
        let leaving = Via::Contract.build(memory(&[]), connection.clone(), action("/leave")).await;
        if may_leave {
            assert_eq!(value(&leaving, "http/send", json!({})).await["status_code"], 200);
        } else {
            let (error, _) = failure(&leaving, "http/send", json!({})).await;
            assert_eq!(error.code, EgressDenied, "{error:?}");
            assert!(error.hint.as_deref().unwrap().contains("cross_origin_redirects"), "{error:?}");
        }
        assert_eq!(other.connections(), reached);
        let by_wasi = Via::Wasi.build(memory(&[]), connection, json!({"path": "/leave"})).await;
        assert_eq!(value(&by_wasi, "wasi-http/send", json!({})).await["status_code"], 307);
        assert_eq!(other.connections(), reached);
    }
}
