//! What a call makes of an upstream that misbehaves: an error that says what it was, within bounds, and never a hang.
//!
//! Invariant: every case says its error code; `internal` is none of them.

use openact::{ErrorCode, Execution, RunRecord};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use support::{
    chaos::{Chaos, Script, Step},
    servers::{httpbin, python, verifier},
};

use crate::setup::{Via, failure, limit, memory, request, value};

const MIB: u64 = 1 << 20;

/// A connection that is not patient.
pub(crate) fn to(url: &str) -> Value {
    json!({"base_url": url, "timeout": {"connect_ms": 5_000, "read_ms": 300, "total_ms": 10_000}})
}

pub(crate) fn body(answer: &Value) -> Value {
    match &answer["body"] {
        Value::String(text) => serde_json::from_str(text).unwrap_or_else(|_| text.clone().into()),
        body => body.clone(),
    }
}

/// A fault, and what a call that meets it ends with.
pub(crate) type Fault = (&'static str, Script, ErrorCode);

pub(crate) fn faults() -> Vec<Fault> {
    use ErrorCode::{LimitExceeded, NetworkError, Timeout};
    vec![
        ("reset_before_head", Script::reset_before_head(), NetworkError),
        ("reset_inside_head", Script::reset_inside_head(), NetworkError),
        ("reset_inside_body", Script::reset_inside_body(), NetworkError),
        ("truncated", Script::truncated(), NetworkError),
        ("truncated_chunk", Script::truncated_chunk(), NetworkError),
        ("no_last_chunk", Script::no_last_chunk(), NetworkError),
        ("two_lengths", Script::two_lengths(), NetworkError),
        ("length +5", Script::length("+5"), NetworkError),
        ("length -1", Script::length("-1"), NetworkError),
        ("length 0x5", Script::length("0x5"), NetworkError),
        ("length 5, 6", Script::length("5, 6"), NetworkError),
        ("length of 30 digits", Script::length(&"9".repeat(30)), NetworkError),
        ("length of 16 digits", Script::length(&"9".repeat(16)), LimitExceeded),
        ("chunk size -5", Script::chunk_size("-5"), NetworkError),
        ("chunk size g", Script::chunk_size("g"), NetworkError),
        ("chunk size of 20 digits", Script::chunk_size(&"f".repeat(20)), NetworkError),
        ("folded_header", Script::folded_header(), NetworkError),
        ("http_0_9", Script::http_0_9(), NetworkError),
        ("garbage", Script::garbage(), NetworkError),
        ("closed_at_once", Script::closed_at_once(), NetworkError),
        ("no_answer", Script::no_answer(), NetworkError),
        ("many_headers", Script::many_headers(1000), NetworkError),
        ("huge_header", Script::huge_header(MIB as usize), NetworkError),
        ("endless_headers", Script::endless_headers(), NetworkError),
        ("endless_header", Script::endless_header(), NetworkError),
        ("endless_early_hints", Script::endless_early_hints(), Timeout),
        ("endless_body", Script::endless_body(), LimitExceeded),
        ("silent", Script::silent(), Timeout),
        ("slow", Script::slow(Duration::from_secs(3600)), Timeout),
        ("slow_body", Script::slow_body(Duration::from_secs(3600)), Timeout),
        ("not gzip", no_coding("gzip"), NetworkError),
        ("not brotli", no_coding("br"), NetworkError),
        ("not zstd", no_coding("zstd"), NetworkError),
    ]
}

#[tokio::test]
async fn every_fault_is_a_typed_error_after_one_request() {
    let faults = faults();
    for via in Via::BOTH {
        let scripts: Vec<Script> = faults.iter().map(|(_, script, _)| script.clone()).collect();
        // One connection each; none outlives its fault.
        let chaos = Chaos::each(move |number| scripts[number].clone()).await;
        every_fault_is_typed(via, to(&chaos.url), &faults, &chaos).await;
    }
}

/// Calls once for each fault over `connection`, which leads to `chaos`, where they lie in that order.
pub(crate) async fn every_fault_is_typed(via: Via, mut connection: Value, faults: &[Fault], chaos: &Chaos) {
    connection["limits"] = json!({"response_bytes": MIB});
    let openact = via.build(memory(&[]), connection, json!({})).await;
    for (number, (name, _, code)) in faults.iter().enumerate() {
        let before = chaos.sent();
        let (error, run) = failure(&openact, via.action(), json!({})).await;
        assert_eq!(error.code, *code, "{via:?} {name}: {error:?}");
        assert_eq!((run.host_calls.len(), chaos.connections()), (1, number + 1), "{via:?} {name}");
        assert!(run.usage.response_bytes <= MIB + 64 * 1024, "{via:?} {name}: {:?}", run.usage);
        // What is endless was left early; the rest lay in buffers of the system.
        if *code != ErrorCode::Timeout {
            assert!(chaos.sent() - before < 32 * MIB, "{via:?} {name}: {}", chaos.sent());
        }
    }
}

#[tokio::test]
async fn oddities_that_http_allows_are_answers() {
    for (name, script, status, expected) in [
        ("well", Script::well(), 200, json!({"ok": true})),
        ("early_hints", Script::early_hints(), 200, json!({"ok": true})),
        ("trailers", Script::trailers(), 200, json!({"ok": true})),
        ("http_1_0", Script::http_1_0(), 200, json!({"ok": true})),
        ("slow", Script::slow(Duration::from_micros(50)), 200, json!({"ok": true})),
        ("50 headers", Script::many_headers(50), 200, json!({"ok": true})),
        ("a long header", Script::huge_header(8_000), 200, json!({"ok": true})),
        ("bare_lf", Script::bare_lf(), 200, json!("first")),
        ("continue", unasked_continue(), 200, json!({"ok": true})),
    ] {
        for via in Via::BOTH {
            let chaos = Chaos::start(script.clone()).await;
            let openact = via.build(memory(&[]), to(&chaos.url), json!({})).await;
            // A connection that is to be kept is used again.
            let keeps = script.0.iter().any(|step| matches!(step, Step::Again));
            for _ in 0..1 + usize::from(keeps) {
                let answer = value(&openact, via.action(), json!({})).await;
                assert_eq!(
                    (&answer["status_code"], body(&answer)),
                    (&json!(status), expected.clone()),
                    "{via:?} {name}"
                );
                assert!(!answer["headers"].to_string().contains("late=1"), "{name}: trailers are no headers");
            }
            assert_eq!(
                (chaos.connections(), chaos.requests()),
                (1, 1 + usize::from(keeps)),
                "{via:?} {name}"
            );
        }
    }
}

/// What says to be under `coding` and is not, and then the end of the connection.
fn no_coding(coding: &str) -> Script {
    let Script(mut steps) = Script::encoded(coding, &[0xff; 100]);
    steps.pop();
    Script(steps)
}

/// 100 though nobody expects it, twice, and then a good answer.
fn unasked_continue() -> Script {
    let Step::Send(interim) = &Script::continues().0[1] else {
        panic!("the second step is the interim answer")
    };
    let Script(mut steps) = Script::well();
    steps.insert(1, Step::Send(interim.repeat(2)));
    Script(steps)
}

#[tokio::test]
async fn an_answer_behind_an_answer_is_nobodys() {
    for script in [Script::too_long(), Script::length_and_chunked()] {
        for via in Via::BOTH {
            let chaos = Chaos::start(script.clone()).await;
            let openact = via.build(memory(&[]), to(&chaos.url), json!({})).await;
            for number in 1..=3 {
                let answer = value(&openact, via.action(), json!({})).await;
                assert!(answer["body"].to_string().contains("first"), "{answer}");
                assert_eq!((chaos.requests(), chaos.connections()), (number, number), "{via:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_switch_of_protocols_that_nobody_asked_for_hangs_nobody() {
    for via in Via::BOTH {
        let chaos = Chaos::start(Script::switches_protocols()).await;
        let openact = via.build(memory(&[]), to(&chaos.url), json!({})).await;
        let Execution { result, .. } = openact.execute(request(via.action(), json!({}))).await;
        match result {
            Ok(result) => assert_eq!(result.value().unwrap()["status_code"], 101),
            Err(error) => assert!(
                matches!(error.code, ErrorCode::NetworkError | ErrorCode::UpstreamError),
                "{via:?} {error:?}"
            ),
        }
        assert_eq!(chaos.requests(), 1);
    }
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_meanwhile_fails_no_call() {
    for via in Via::BOTH {
        let chaos = Chaos::start(Script::keep_alive_closed()).await;
        let openact = via.build(memory(&[]), to(&chaos.url), json!({})).await;
        for number in 1..=4 {
            assert_eq!(value(&openact, via.action(), json!({})).await["status_code"], 200, "{via:?}");
            assert_eq!((chaos.requests(), chaos.connections()), (number, number));
        }
    }
}

#[tokio::test]
async fn a_kept_connection_that_is_reset_under_a_request_is_tried_again_by_policy_alone() {
    for (method, retry, succeeds) in [
        ("GET", json!({"max_attempts": 2, "initial_delay_ms": 1}), true),
        ("POST", json!({"max_attempts": 2, "initial_delay_ms": 1}), false),
        ("GET", json!("none"), false),
    ] {
        let chaos = Chaos::start(Script::keep_alive_reset()).await;
        let mut connection = to(&chaos.url);
        connection["retry"] = retry;
        let openact = Via::Contract.build(memory(&[]), connection, json!({ "method": method })).await;
        value(&openact, "http/send", json!({})).await;
        let result = openact.execute(request("http/send", json!({}))).await.result;
        assert_eq!(result.is_ok(), succeeds, "{method}");
        if let Err(error) = result {
            assert_eq!(error.code, ErrorCode::NetworkError, "{error:?}");
        }
        assert_eq!(chaos.requests(), 2 + usize::from(succeeds));
    }
}

#[tokio::test]
async fn a_trickle_is_ended_by_the_deadline_and_silence_by_the_read_timeout() {
    for via in Via::BOTH {
        // Each byte comes in time; all of them would not.
        let chaos = Chaos::start(Script::slow_body(Duration::from_millis(20))).await;
        let connection =
            json!({"base_url": chaos.url, "timeout": {"connect_ms": 100, "read_ms": 100, "total_ms": 100}});
        let openact = via.build(memory(&[]), connection, json!({})).await;
        let (error, _) = failure(&openact, via.action(), json!({})).await;
        assert_eq!(error.code, ErrorCode::Timeout, "{via:?} {error:?}");
    }
}

#[tokio::test]
async fn the_read_timeout_ends_a_silence_long_before_the_total() {
    // Before the head, and once it has come.
    for (name, script) in [("silent", Script::silent()), ("silent after the head", silent_after_head())] {
        for via in Via::BOTH {
            let chaos = Chaos::start(script.clone()).await;
            let timeout = json!({"connect_ms": 5_000, "read_ms": 100, "total_ms": 30_000});
            let openact =
                via.build(memory(&[]), json!({"base_url": chaos.url, "timeout": timeout}), json!({})).await;
            let (error, _) = failure(&openact, via.action(), json!({})).await;
            assert_eq!(error.code, ErrorCode::Timeout, "{via:?} {name}: {error:?}");
            assert!(error.message.ends_with("the response timed out"), "{via:?} {name}: {error:?}");
            assert_eq!((chaos.connections(), chaos.requests()), (1, 1), "{via:?} {name}");
        }
    }
}

/// A good head, five bytes of the body, and then nothing.
fn silent_after_head() -> Script {
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\nfirst".to_vec();
    Script(vec![Step::Request, Step::Send(head), Step::Silence])
}

/// TLS belongs to connecting, and a server that accepts and never answers the handshake is one that cannot be connected
/// to, on any system. (A full backlog is not: systems differ in what they do with it.)
#[tokio::test]
async fn the_connect_timeout_ends_a_handshake_that_nobody_answers() {
    for via in Via::BOTH {
        let chaos = Chaos::start(Script(vec![Step::Silence])).await;
        let url = chaos.url.replace("http:", "https:");
        let timeout = json!({"connect_ms": 100, "read_ms": 20_000, "total_ms": 30_000});
        let openact = via.build(memory(&[]), json!({"base_url": url, "timeout": timeout}), json!({})).await;
        let (error, _) = failure(&openact, via.action(), json!({})).await;
        assert_eq!(error.code, ErrorCode::Timeout, "{via:?} {error:?}");
        assert!(error.message.ends_with("connecting timed out"), "{via:?} {error:?}");
        assert_eq!((chaos.connections(), chaos.requests()), (1, 0), "{via:?}");
    }
}

#[tokio::test]
async fn what_was_coded_is_what_it_was() {
    let verifier = verifier();
    let json_of = |program: &str| -> Value { serde_json::from_str(&python(program, &[])).unwrap() };
    // The text of `codings.py`, in its own words.
    let plain = json_of("import json; print(json.dumps({'text': 'zażółć gęślą jaźń ' * 20}))");
    for via in Via::BOTH {
        for coding in ["gzip", "br", "zstd"] {
            let openact =
                via.build(memory(&[]), to(&format!("{}/{coding}", verifier.http())), json!({})).await;
            let answer = value(&openact, via.action(), json!({})).await;
            assert_eq!(body(&answer), plain, "{via:?} {coding}");
            assert!(!answer["headers"].to_string().contains("content-encoding"), "{via:?} {coding} {answer}");
        }
        for (path, field) in [("/gzip", "gzipped"), ("/brotli", "brotli")] {
            let openact = via.build(memory(&[]), to(&format!("{}{path}", httpbin().url)), json!({})).await;
            let answer = body(&value(&openact, via.action(), json!({})).await);
            // What httpbin echoes inside is what was asked for.
            assert_eq!(answer[field], true, "{via:?} {answer}");
            assert_eq!(answer["headers"]["Accept-Encoding"], "gzip, br, zstd", "{via:?} {answer}");
        }
    }
}

/// The record of a call that is to end as a bomb does.
async fn bombed(via: Via, url: &str) -> Arc<RunRecord> {
    let mut connection = to(url);
    connection["limits"] = json!({"response_bytes": MIB});
    let openact = via.build(memory(&[]), connection, json!({})).await;
    let (error, run) = failure(&openact, via.action(), json!({})).await;
    let expected = (ErrorCode::LimitExceeded, Some("response_bytes"));
    assert_eq!((error.code, limit(&error)), expected, "{via:?} {url}: {error:?}");
    run
}

#[tokio::test]
async fn e14_what_is_small_on_the_wire_and_huge_inside_ends_at_the_limit() {
    for via in Via::BOTH {
        let chaos = Chaos::start(Script::gzip_bomb(256)).await;
        let mut runs = vec![bombed(via, &chaos.url).await];
        for coding in ["gzip", "br", "zstd"] {
            runs.push(bombed(via, &format!("{}/bomb/{coding}?mib=64", verifier().http())).await);
        }
        for run in runs {
            // The limit and what was decoded at once, which is never much.
            let received = run.usage.response_bytes;
            assert!((MIB..MIB + 512 * 1024).contains(&received), "{via:?} {:?}", run.usage);
            assert!(run.usage.memory_bytes < 16 * MIB, "{via:?} {:?}", run.usage);
        }
    }
}

#[tokio::test]
async fn e14_a_bomb_inside_a_bomb_is_not_unpacked_twice() {
    for via in Via::BOTH {
        let chaos = Chaos::start(Script::gzip_bomb_nested(256)).await;
        let mut connection = to(&chaos.url);
        connection["limits"] = json!({"response_bytes": 4 * MIB});
        let openact = via.build(memory(&[]), connection, json!({})).await;
        let Execution { run, .. } = openact.execute(request(via.action(), json!({}))).await;
        let usage = run.unwrap().usage;
        assert!(usage.response_bytes < 4 * MIB && usage.memory_bytes < 16 * MIB, "{via:?} {usage:?}");
    }
}
