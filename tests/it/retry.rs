//! Retries and rate limits through the whole runtime: how often the other side is asked, and what the caller gets.
//!
//! Invariant: delays that must not be waited for are an hour long, so that waiting for one is a failure and not a
//! slow test.

use std::sync::atomic::{AtomicUsize, Ordering};

use openact::{ErrorCode, OpenAct, Outcome, RunRecord};
use serde_json::{Value, json};
use support::{
    chaos::{Chaos, Script},
    upstream::{Answer, Upstream},
};

use crate::setup::{self, Via, failure, http, memory, value};

const HOUR_MS: u64 = 3_600_000;

/// An upstream that answers with one status after the other, the last again and again, and these headers.
async fn answering(statuses: &'static [u16], headers: &'static [(&'static str, &'static str)]) -> Upstream {
    let asked = AtomicUsize::new(0);
    Upstream::start(move |_| {
        let number = asked.fetch_add(1, Ordering::SeqCst);
        Answer::full(statuses[number.min(statuses.len() - 1)], headers, number.to_string())
    })
    .await
}

/// A policy of three attempts that waits for next to nothing, with `more`.
fn policy(more: Value) -> Value {
    let mut policy = json!({"max_attempts": 3, "initial_delay_ms": 1});
    policy.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    policy
}

fn outcomes(run: &RunRecord) -> Vec<&str> {
    run.host_calls.iter().map(|call| call.outcome.as_str()).collect()
}

async fn call(openact: &OpenAct) -> (Value, Outcome) {
    let outcome = openact.run("http/send", json!({})).await.unwrap();
    (outcome.result.value().unwrap(), outcome)
}

#[tokio::test]
async fn a_request_is_sent_again_until_it_succeeds_and_each_attempt_is_recorded() {
    for via in Via::BOTH {
        let upstream = answering(&[503, 503, 200], &[]).await;
        let connection = json!({"base_url": upstream.url(), "retry": policy(json!({}))});
        let openact = via.build(memory(&[]), connection, json!({})).await;
        let outcome = openact.run(via.action(), json!({})).await.unwrap();
        assert_eq!(outcome.result.value().unwrap()["status_code"], 200, "{via:?}");
        assert_eq!(outcomes(&outcome.run), ["503", "503", "200"]);
        assert_eq!(upstream.received().len(), 3);
        let first = &upstream.received()[0];
        assert!(upstream.received().iter().all(|again| again.headers == first.headers));
    }
}

#[tokio::test]
async fn the_last_answer_is_the_result_when_none_is_better() {
    for via in Via::BOTH {
        let upstream = answering(&[503, 502, 504, 200], &[]).await;
        let connection = json!({"base_url": upstream.url(), "retry": policy(json!({}))});
        let openact = via.build(memory(&[]), connection, json!({})).await;
        let result = value(&openact, via.action(), json!({})).await;
        assert_eq!(result["status_code"], 504, "{via:?} {result}");
        assert!(result["body"] == "2" || result["body"] == 2, "{result}");
        assert_eq!(upstream.received().len(), 3);
    }
}

#[tokio::test]
async fn without_a_policy_nothing_is_sent_again() {
    for retry in [Value::Null, json!("none"), json!({"max_attempts": 1})] {
        let upstream = answering(&[503, 200], &[]).await;
        let openact = http(json!({"base_url": upstream.url(), "retry": retry}), json!({"send": {}})).await;
        assert_eq!(value(&openact, "http/send", json!({})).await["status_code"], 503, "{retry}");
        assert_eq!(upstream.received().len(), 1);
    }
}

#[tokio::test]
async fn a_post_without_a_key_is_sent_once_and_with_one_again() {
    let key = json!({"Idempotency-Key": "one-and-the-same"});
    for (method, headers, requests) in [
        ("POST", json!({}), 1),
        ("PATCH", json!({}), 1),
        ("POST", json!({"Idempotency-Key": " "}), 1),
        ("POST", key.clone(), 3),
        ("PATCH", key, 3),
        ("PUT", json!({}), 3),
        ("DELETE", json!({}), 3),
    ] {
        let action = json!({"method": method, "headers": headers, "body": {"amount": 1}});
        let retry = policy(json!({}));
        let upstream = answering(&[503, 503, 200], &[]).await;
        let connection = json!({"base_url": upstream.url(), "retry": retry});
        let openact = http(connection, json!({"send": action})).await;
        let (result, _) = call(&openact).await;
        assert_eq!(result["status_code"], if requests == 1 { 503 } else { 200 }, "{method} {headers}");
        let received = upstream.received();
        assert_eq!(received.len(), requests, "{method} {headers}");
        assert!(
            received.iter().all(|one| one.body == received[0].body && one.headers == received[0].headers)
        );
        // The same where the connection broke and nobody knows what the other side did.
        let chaos = Chaos::start(Script::reset_before_head()).await;
        let connection = json!({"base_url": chaos.url, "retry": policy(json!({}))});
        let openact = http(connection, json!({"send": action})).await;
        let (error, run) = failure(&openact, "http/send", json!({})).await;
        assert_eq!(error.code, ErrorCode::NetworkError, "{error:?}");
        assert_eq!((chaos.requests(), run.host_calls.len()), (requests, requests), "{method} {headers}");
    }
}

#[tokio::test]
async fn what_was_never_sent_is_tried_again_whatever_it_is() {
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    for method in ["GET", "POST"] {
        let connection = json!({"base_url": closed, "retry": policy(json!({}))});
        let openact = http(connection, json!({"send": {"method": method}})).await;
        let (error, run) = failure(&openact, "http/send", json!({})).await;
        assert_eq!(error.code, ErrorCode::NetworkError, "{error:?}");
        assert_eq!(outcomes(&run), ["network_error"; 3], "{method}");
    }
}

#[tokio::test]
async fn retry_after_takes_the_place_of_the_delay() {
    // Where it were not honoured, the delay would end after the call's deadline, and the 503 stand.
    let long =
        json!({"initial_delay_ms": HOUR_MS, "max_delay_ms": HOUR_MS, "total_ms": HOUR_MS, "jitter": false});
    for (name, headers) in [
        ("zero", &[("retry-after", "0")]),
        ("a date that has passed", &[("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT")]),
    ] {
        let upstream = answering(&[503, 429, 200], headers).await;
        let connection = json!({"base_url": upstream.url(), "retry": policy(long.clone())});
        let openact = http(connection, json!({"send": {}})).await;
        assert_eq!(call(&openact).await.0["status_code"], 200, "{name}");
        assert_eq!(upstream.received().len(), 3);
    }
    // Unless it is not to be.
    let upstream = answering(&[503, 200], &[("retry-after", "0")]).await;
    let mut deaf = long.clone();
    deaf["respect_retry_after"] = false.into();
    let openact = http(json!({"base_url": upstream.url(), "retry": policy(deaf)}), json!({"send": {}})).await;
    assert_eq!(call(&openact).await.0["status_code"], 503);
}

#[tokio::test]
async fn an_answer_stands_where_the_next_attempt_would_come_too_late() {
    let hour = json!({"max_delay_ms": HOUR_MS, "total_ms": HOUR_MS});
    for (name, headers, more) in [
        ("after the deadline", &[("retry-after", "3600")][..], hour.clone()),
        ("a date after the deadline", &[("retry-after", "Fri, 31 Dec 9999 23:59:59 GMT")], hour),
        (
            "after the time for all attempts",
            &[("retry-after", "30")],
            json!({"max_delay_ms": 60_000, "total_ms": 29_000}),
        ),
        ("no time for a second attempt", &[], json!({"total_ms": 0, "jitter": false})),
    ] {
        let upstream = answering(&[503, 200], headers).await;
        let connection = json!({"base_url": upstream.url(), "retry": policy(more)});
        let openact = http(connection, json!({"send": {}})).await;
        let (result, outcome) = call(&openact).await;
        assert_eq!((&result["status_code"], &result["body"]), (&json!(503), &json!("0")), "{name}");
        assert_eq!(outcomes(&outcome.run), ["503"], "{name}");
        assert_eq!(upstream.received().len(), 1, "{name}");
    }
}

#[tokio::test]
async fn e14_the_bytes_of_every_attempt_are_counted() {
    for via in Via::BOTH {
        let upstream = answering(&[503], &[]).await;
        let headers = json!({"Idempotency-Key": "k", "content-type": "text/plain"});
        let action = json!({"method": "POST", "body": "ten bytes.", "headers": headers});
        let mut action = action;
        if via == Via::Contract {
            action["body_type"] = "text".into();
        }
        let run = |limit: u64| {
            let connection = json!({
                "base_url": upstream.url(), "retry": policy(json!({})), "limits": {"request_bytes": limit},
            });
            let action = action.clone();
            async move {
                let openact = via.build(memory(&[]), connection, action).await;
                openact.run(via.action(), json!({})).await.unwrap()
            }
        };
        let all = run(30).await;
        assert_eq!((outcomes(&all.run).len(), all.run.usage.request_bytes), (3, 30), "{via:?}");
        // Where a third would be too much, the second answer stands.
        let two = run(29).await;
        assert_eq!(two.result.value().unwrap()["status_code"], 503);
        assert_eq!((outcomes(&two.run).len(), two.run.usage.request_bytes), (2, 20), "{via:?}");
        assert_eq!(upstream.received().len(), 5);
    }
}

#[tokio::test]
async fn each_hop_of_a_redirect_has_its_attempts() {
    let asked = AtomicUsize::new(0);
    let upstream = Upstream::start(move |received| {
        match (received.target.as_str(), asked.fetch_add(1, Ordering::SeqCst)) {
            ("/start", 0) => Answer::full(503, &[], ""),
            ("/start", _) => Answer::full(302, &[("location", "/next")], ""),
            (_, 2 | 3) => Answer::full(503, &[], ""),
            _ => Answer::full(200, &[], ""),
        }
    })
    .await;
    let connection = json!({"base_url": upstream.url(), "retry": policy(json!({}))});
    let openact = http(connection, json!({"send": {"path": "/start", "follow_redirects": true}})).await;
    let (result, outcome) = call(&openact).await;
    assert_eq!(result["status_code"], 200);
    assert_eq!(outcomes(&outcome.run), ["503", "302", "503", "503", "200"]);
    assert!(outcome.run.host_calls[4].target.ends_with("/next"));
}

#[tokio::test]
async fn a_refusal_of_a_fixed_credential_is_final() {
    for authorization in [
        json!({"type": "bearer", "token": "not the right one"}),
        json!({"type": "basic", "username": "u", "password": "wrong one"}),
        json!({"type": "api_key", "value": "wrong one", "header": "X-Key"}),
    ] {
        let upstream =
            answering(&[401, 200], &[("www-authenticate", "Bearer error=\"invalid_token\"")]).await;
        let connection =
            json!({"base_url": upstream.url(), "authorization": authorization, "retry": policy(json!({}))});
        let openact = http(connection, json!({"send": {}})).await;
        assert_eq!(call(&openact).await.0["status_code"], 401, "{authorization}");
        assert_eq!(upstream.received().len(), 1, "{authorization}");
    }
}

#[tokio::test]
async fn no_more_requests_are_under_way_than_the_connection_allows() {
    for via in Via::BOTH {
        let (limited, other) =
            (Upstream::start(|_| Answer::Held("{}".into())).await, Upstream::json("{}").await);
        let connection = json!({"base_url": limited.url(), "rate_limit": {"concurrency": 2}});
        let openact = via.build(memory(&[]), connection, json!({})).await;
        let unlimited = via.build(memory(&[]), json!({"base_url": other.url()}), json!({})).await;
        let calls = (0..5).map(|_| {
            let openact = openact.clone();
            tokio::spawn(async move {
                openact.run(via.action(), json!({})).await.unwrap().result.value().unwrap()
            })
        });
        let calls: Vec<_> = calls.collect();
        limited.wait_for_held(2).await;
        // Whoever were not held back would be there by the time that others, who began later, are answered.
        for _ in 0..5 {
            value(&unlimited, via.action(), json!({})).await;
        }
        assert_eq!((limited.received().len(), other.received().len()), (2, 5), "{via:?}");
        limited.release();
        for call in calls {
            assert_eq!(call.await.unwrap()["status_code"], 200);
        }
        assert_eq!(limited.received().len(), 5);
    }
}

#[tokio::test]
async fn a_rate_that_cannot_be_met_in_time_is_an_error_that_says_when() {
    for via in Via::BOTH {
        let upstream = Upstream::json("{}").await;
        let limit = json!({"requests": 2, "per_ms": HOUR_MS});
        let connection = json!({"base_url": upstream.url(), "rate_limit": limit});
        let openact = via.build(memory(&[]), connection, json!({})).await;
        for _ in 0..2 {
            value(&openact, via.action(), json!({})).await;
        }
        let (error, run) = failure(&openact, via.action(), json!({})).await;
        assert_eq!(error.code, ErrorCode::RateLimited, "{via:?} {error:?}");
        let wait = error.details.as_ref().unwrap()["retry_after_ms"].as_u64().unwrap();
        assert!((60_000..=HOUR_MS / 2).contains(&wait), "{wait}");
        assert_eq!(outcomes(&run), ["rate_limited"]);
        assert_eq!(upstream.received().len(), 2);
    }
}

#[tokio::test]
async fn attempts_count_against_the_rate() {
    let upstream = answering(&[503, 503, 503, 200], &[]).await;
    let connection = json!({
        "base_url": upstream.url(), "retry": policy(json!({})),
        "rate_limit": {"requests": 2, "per_ms": HOUR_MS},
    });
    let openact = http(connection, json!({"send": {}})).await;
    let (error, _) = failure(&openact, "http/send", json!({})).await;
    assert_eq!((error.code, setup::limit(&error)), (ErrorCode::RateLimited, None), "{error:?}");
    assert_eq!(upstream.received().len(), 2);
}
