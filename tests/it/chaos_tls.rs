//! The same as `chaos_calls` where there is TLS on the way, and over HTTP/2: errors that say what it was, within
//! bounds, and never a hang.
//!
//! Invariant: every case says its error code, and how often it was sent.

use openact::ErrorCode;
use serde_json::{Value, json};
use support::{
    ca::pki,
    chaos::{
        Chaos, Script,
        h2::{CANCEL, ChaosH2, Deed, Frame, INTERNAL_ERROR, NO_ERROR, REFUSED_STREAM, well},
    },
};

use crate::{
    chaos_calls::{body, every_fault_is_typed, faults, to},
    setup::{Via, failure, memory, request, value},
};

const MIB: u64 = 1 << 20;

/// A connection that is not patient, and trusts the authority of the tests alone.
fn to_tls(url: &str) -> Value {
    let mut connection = to(url);
    connection["network"] = json!({"tls": {"ca": pki().ca.text, "ca_only": true}});
    connection
}

/// Up to three attempts, at once.
fn retried(mut connection: Value) -> Value {
    connection["retry"] = json!({"max_attempts": 3, "initial_delay_ms": 1});
    connection
}

/// Those that are about TLS itself.
fn faults_of_tls() -> Vec<(&'static str, Script, ErrorCode)> {
    vec![
        ("cut_before_head", Script::cut_before_head(), ErrorCode::NetworkError),
        ("cut_inside_body", Script::cut_inside_body(), ErrorCode::NetworkError),
        ("garbage_beneath", Script::garbage_beneath(), ErrorCode::NetworkError),
    ]
}

#[tokio::test]
async fn e14_every_fault_over_tls_is_a_typed_error_after_one_request() {
    let mut faults = faults();
    faults.extend(faults_of_tls());
    for via in Via::BOTH {
        let scripts: Vec<Script> = faults.iter().map(|(_, script, _)| script.clone()).collect();
        let chaos = Chaos::each_tls(move |number| scripts[number].clone()).await;
        every_fault_is_typed(via, to_tls(&chaos.url), &faults, &chaos).await;
    }
}

#[tokio::test]
async fn over_tls_an_answer_that_ends_as_it_should_is_one() {
    for via in Via::BOTH {
        for script in [Script::well(), Script::http_1_0(), Script::trailers()] {
            let chaos = Chaos::each_tls(move |_| script.clone()).await;
            let openact = via.build(memory(&[]), to_tls(&chaos.url), json!({})).await;
            let answer = value(&openact, via.action(), json!({})).await;
            assert_eq!(
                (&answer["status_code"], body(&answer)),
                (&json!(200), json!({"ok": true})),
                "{via:?}"
            );
        }
    }
}

#[tokio::test]
async fn over_tls_a_post_that_broke_is_not_sent_twice_and_a_get_is() {
    let broken = [
        Script::reset_before_head(),
        Script::reset_inside_head(),
        Script::cut_before_head(),
        Script::no_answer(),
    ];
    for script in broken {
        for (method, requests) in [("POST", 1), ("GET", 3)] {
            for via in Via::BOTH {
                let script = script.clone();
                let chaos = Chaos::each_tls(move |_| script.clone()).await;
                let action = json!({"method": method});
                let openact = via.build(memory(&[]), retried(to_tls(&chaos.url)), action).await;
                let (error, run) = failure(&openact, via.action(), json!({})).await;
                assert_eq!(error.code, ErrorCode::NetworkError, "{via:?} {method}: {error:?}");
                assert_eq!(
                    (chaos.requests(), run.host_calls.len()),
                    (requests, requests),
                    "{via:?} {method}"
                );
            }
        }
    }
}

fn send(frames: impl IntoIterator<Item = Frame>) -> Vec<Deed> {
    frames.into_iter().map(Deed::Send).collect()
}

/// Frames, and then this.
fn then(frames: impl IntoIterator<Item = Frame>, last: Deed) -> Vec<Deed> {
    let mut deeds = send(frames);
    deeds.push(last);
    deeds
}

/// What is wrong with the answer, how that is done, and what it may be called.
type FaultH2 = (&'static str, Vec<Deed>, &'static [ErrorCode]);

fn faults_of_h2() -> Vec<FaultH2> {
    use ErrorCode::{LimitExceeded, NetworkError, Timeout};
    /// Of all streams that can be.
    const ALL: u32 = u32::MAX >> 1;
    let head = || Frame::head(&[("content-length", "100")]);
    let of_any_length = || Frame::head(&[]);
    let first = || Frame::data(b"first");
    let broken: &[ErrorCode] = &[NetworkError];
    vec![
        ("refused", send([Frame::reset(REFUSED_STREAM)]), broken),
        ("reset before the head", send([Frame::reset(INTERNAL_ERROR)]), broken),
        ("cancelled before the head", send([Frame::reset(CANCEL)]), broken),
        ("reset inside the body", send([head(), first(), Frame::reset(INTERNAL_ERROR)]), broken),
        ("cancelled inside the body", send([head(), first(), Frame::reset(CANCEL)]), broken),
        ("left inside the body", send([head(), first(), Frame::reset(NO_ERROR)]), broken),
        ("ended inside the body", send([head(), Frame::last_data(b"first")]), broken),
        ("more than was announced", send([head(), Frame::last_data(&[b' '; 101])]), broken),
        ("go away, nothing was done", then([Frame::go_away(0, NO_ERROR)], Deed::Silence), broken),
        ("go away and cut", then([Frame::go_away(ALL, NO_ERROR)], Deed::Cut), broken),
        (
            "go away inside the body",
            then([head(), first(), Frame::go_away(ALL, INTERNAL_ERROR)], Deed::Cut),
            broken,
        ),
        ("cut before the head", vec![Deed::Cut], broken),
        ("cut inside the head", then([Frame::begun_head()], Deed::Cut), broken),
        ("cut inside the body", then([head(), first()], Deed::Cut), broken),
        ("cut inside a body of any length", then([of_any_length(), first()], Deed::Cut), broken),
        ("a head without end", then([Frame::begun_head()], Deed::Forever(Frame::more_head(16))), broken),
        (
            "a head of nothing without end",
            then([Frame::begun_head()], Deed::Forever(Frame::more_head(0))),
            broken,
        ),
        ("a head that unpacks to 48 MiB", then([Frame::packed_head()], Deed::Silence), broken),
        ("data on no stream", send([Frame::stray_data()]), broken),
        (
            "data beyond the window",
            then([of_any_length()], Deed::Forever(Frame::data(&[b' '; 16_000]))),
            &[NetworkError, LimitExceeded],
        ),
        ("early hints without end", vec![Deed::Forever(Frame::early_hints())], &[NetworkError, Timeout]),
        ("pings without end", vec![Deed::Forever(Frame::ping())], &[NetworkError, Timeout]),
        ("silence", vec![Deed::Silence], &[Timeout]),
        ("silence inside the body", then([head(), first()], Deed::Silence), &[Timeout]),
    ]
}

#[tokio::test]
async fn e14_every_fault_of_http2_is_a_typed_error_after_one_request() {
    for via in Via::BOTH {
        for (name, deeds, codes) in faults_of_h2() {
            let chaos = ChaosH2::start(move |_| deeds.clone()).await;
            let mut connection = to_tls(&chaos.url);
            connection["limits"] = json!({"response_bytes": MIB});
            let openact = via.build(memory(&[]), connection, json!({})).await;
            let (error, run) = failure(&openact, via.action(), json!({})).await;
            assert!(codes.contains(&error.code), "{via:?} {name}: {error:?}");
            assert_eq!((chaos.requests(), run.host_calls.len()), (1, 1), "{via:?} {name}");
            assert!(run.usage.response_bytes <= MIB + 64 * 1024, "{via:?} {name}: {:?}", run.usage);
            if !codes.contains(&ErrorCode::Timeout) {
                assert!(chaos.sent() < 32 * MIB, "{via:?} {name}: {} were sent", chaos.sent());
            }
        }
    }
}

#[tokio::test]
async fn over_http2_a_post_that_broke_is_not_sent_twice_and_a_get_is() {
    let broken = [
        // Even where the server says that it did nothing: it is not what everybody means by it.
        send([Frame::reset(REFUSED_STREAM)]),
        send([Frame::reset(INTERNAL_ERROR)]),
        then([Frame::go_away(0, NO_ERROR)], Deed::Silence),
        vec![Deed::Cut],
    ];
    for (number, deeds) in broken.into_iter().enumerate() {
        for (method, requests) in [("POST", 1), ("GET", 3)] {
            for via in Via::BOTH {
                let deeds = deeds.clone();
                let chaos = ChaosH2::start(move |_| deeds.clone()).await;
                let action = json!({"method": method, "body": (method == "POST").then_some("once")});
                let openact = via.build(memory(&[]), retried(to_tls(&chaos.url)), action).await;
                let (error, run) = failure(&openact, via.action(), json!({})).await;
                let case = format!("{via:?} {number} {method}");
                assert_eq!(error.code, ErrorCode::NetworkError, "{case}: {error:?}");
                assert_eq!((chaos.requests(), run.host_calls.len()), (requests, requests), "{case}");
                let received = String::from_utf8(chaos.received()).unwrap();
                assert_eq!(
                    received.matches("once").count(),
                    usize::from(method == "POST"),
                    "{case}: {received}"
                );
            }
        }
    }
}

/// A server that is being replaced says go away after its answer; nobody may notice.
#[tokio::test]
async fn over_http2_a_connection_that_goes_away_between_two_calls_fails_none() {
    for via in Via::BOTH {
        let deeds = || [well(), send([Frame::go_away(u32::MAX >> 1, NO_ERROR)])].concat();
        let chaos = ChaosH2::start(move |_| deeds()).await;
        let openact = via.build(memory(&[]), to_tls(&chaos.url), json!({})).await;
        for number in 1..=3 {
            let answer = value(&openact, via.action(), json!({})).await;
            assert_eq!(
                (&answer["status_code"], body(&answer)),
                (&json!(200), json!({"ok": true})),
                "{via:?}"
            );
            assert_eq!((chaos.requests(), chaos.connections()), (number, number), "{via:?}");
        }
    }
}

/// One connection is many calls: what breaks one of them is nothing to the others.
#[tokio::test]
async fn over_http2_a_stream_that_is_reset_takes_no_other_with_it() {
    let chaos = ChaosH2::start(|number| match number % 2 {
        0 => well(),
        _ => send([Frame::reset(INTERNAL_ERROR)]),
    })
    .await;
    let openact = Via::Contract.build(memory(&[]), to_tls(&chaos.url), json!({})).await;
    for number in 0..6 {
        let result = openact.execute(request("http/send", json!({}))).await.result;
        assert_eq!(result.is_ok(), number % 2 == 0, "{result:?}");
    }
    assert_eq!((chaos.requests(), chaos.connections()), (6, 1));
}

/// Nor is what an answer to HEAD, or a 304, says of a body that does not come.
#[tokio::test]
async fn over_http2_a_length_is_no_promise_where_there_is_no_body() {
    let length = || Frame::last_head(200, &[("content-length", "1000000000000")]);
    let unmodified = || Frame::last_head(304, &[("content-length", "100")]);
    for (method, head, status) in [("HEAD", length(), 200), ("GET", unmodified(), 304)] {
        for via in Via::BOTH {
            let head = head.clone();
            let chaos = ChaosH2::start(move |_| send([head.clone()])).await;
            let openact = via.build(memory(&[]), to_tls(&chaos.url), json!({"method": method})).await;
            let answer = value(&openact, via.action(), json!({})).await;
            assert_eq!(answer["status_code"], status, "{via:?} {method}: {answer}");
        }
    }
}
