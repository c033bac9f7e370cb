//! Hostile guests: each ends by its own documented error, leaves that in its record, and hurts nobody else.
//!
//! Invariant: after every attack the same OpenAct runs the next call.

use std::{sync::Arc, time::Duration};

use openact::{Error, ErrorCode, Execution, Format, OpenAct, RunRecord, Tenant};
use serde_json::{Value, json};
use support::{
    guests::guest,
    upstream::{Answer, Upstream},
};
use tokio::net::TcpListener;

use crate::{
    logged::Logged,
    setup::{config, failure, hostile, hostile_config, limit, memory, request, value},
};

/// Runs `attack`, which must end with `code` and name `passed` as the limit, be recorded so, and leave the runtime
/// working.
async fn ends(
    attack: &str,
    connection: Value,
    input: Value,
    code: ErrorCode,
    passed: Option<&str>,
) -> (Error, Arc<RunRecord>) {
    let openact = hostile(connection).await;
    let (error, run) = failure(&openact, &format!("hostile/{attack}"), input).await;
    assert_eq!((error.code, limit(&error)), (code, passed), "{error:?}");
    assert_eq!(error.code.exit_code(), if code == ErrorCode::Timeout { 8 } else { 9 });
    works(&openact).await;
    let kept = openact.get_run(&Tenant::default(), run.id).await.unwrap();
    assert_eq!(kept.to_json(), run.to_json());
    openact.close().await.unwrap();
    (error, run)
}

/// Runs an attack that is only refused what it asks for, and returns what it saw.
async fn sees(attack: &str, input: Value) -> Value {
    let openact = hostile(json!({})).await;
    let seen = value(&openact, &format!("hostile/{attack}"), input).await;
    works(&openact).await;
    seen
}

async fn works(openact: &OpenAct) {
    assert_eq!(value(openact, "hostile/echo", json!({"count": 7})).await["count"], 7);
}

/// A listener that counts who connects, until it is asked.
struct Canary(TcpListener);

impl Canary {
    async fn start() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    fn address(&self) -> String {
        self.0.local_addr().unwrap().to_string()
    }

    /// A connection that was made waits in the listener's queue, and on loopback it is there when `connect` returns.
    async fn assert_silent(self) {
        let polled = std::future::poll_fn(|context| std::task::Poll::Ready(self.0.poll_accept(context)));
        // Twice: the first one registers with the reactor, the second one has its answer.
        assert!(polled.await.is_pending(), "somebody connected");
        tokio::task::yield_now().await;
        let own = tokio::net::TcpStream::connect(self.address()).await.unwrap();
        let (_, first) = self.0.accept().await.unwrap();
        assert_eq!(first, own.local_addr().unwrap(), "somebody connected before");
    }
}

#[tokio::test]
async fn s1_a_spinning_guest_ends_by_its_processor_budget() {
    let (error, run) =
        ends("spin", json!({"limits": {"cpu_ms": 100}}), json!({}), ErrorCode::LimitExceeded, Some("cpu_ms"))
            .await;
    assert_eq!(error.message, "the connector computed for more than 100 ms");
    assert!((100..=120).contains(&run.usage.cpu_ms), "{:?}", run.usage);
}

#[tokio::test]
async fn s1_spinning_guests_do_not_stop_the_others() {
    let openact = hostile(json!({"limits": {"cpu_ms": 300}})).await;
    let spinning = (0..4).map(|_| {
        let openact = openact.clone();
        tokio::spawn(async move { failure(&openact, "hostile/spin", json!({})).await.0 })
    });
    let spinning: Vec<_> = spinning.collect();
    works(&openact).await;
    assert!(spinning.iter().any(|task| !task.is_finished()), "the call waited for those that spin");
    for task in spinning {
        assert_eq!(limit(&task.await.unwrap()), Some("cpu_ms"));
    }
}

#[tokio::test]
async fn s2_the_deadline_cancels_a_pending_host_call() {
    let (_, run) =
        ends("spin-in-host", json!({"timeout_ms": 150}), json!({}), ErrorCode::Timeout, Some("wall_ms"))
            .await;
    assert!(run.usage.cpu_ms < 150, "waiting was charged as computing: {:?}", run.usage);
}

#[tokio::test]
async fn s2_the_deadline_cancels_a_pending_request() {
    let upstream = Upstream::start(|_| Answer::Held("{}".into())).await;
    let connection = json!({"base_url": upstream.url(), "timeout_ms": 150});
    ends("dump-memory", connection, json!({}), ErrorCode::Timeout, Some("wall_ms")).await;
    assert_eq!(upstream.received().len(), 1);
}

#[tokio::test]
async fn s3_memory_is_capped() {
    let (error, run) =
        ends("allocate", json!({}), json!({}), ErrorCode::LimitExceeded, Some("memory_bytes")).await;
    assert_eq!(error.message, format!("the connector needs more than {} bytes of memory", 64 << 20));
    assert!(run.usage.memory_bytes <= 64 << 20);
}

#[tokio::test]
async fn s3_memory_can_be_capped_lower() {
    let connection = json!({"limits": {"memory_bytes": 8 << 20}});
    let (_, run) =
        ends("allocate", connection, json!({}), ErrorCode::LimitExceeded, Some("memory_bytes")).await;
    assert!(run.usage.memory_bytes <= 8 << 20);
}

#[tokio::test]
async fn s3_a_full_sandbox_queues_until_the_deadline() {
    let upstream = Arc::new(Upstream::start(|_| Answer::Held("{}".into())).await);
    let openact = memory(&[])
        .instances_max(2)
        .config_text(config("http", json!({"base_url": upstream.url()}), json!({"get": {}})), Format::Json)
        .build()
        .await
        .unwrap();
    let calls: Vec<_> = (0..10)
        .map(|_| {
            let openact = openact.clone();
            tokio::spawn(async move { openact.run("http/get", json!({})).await.map(|_| ()) })
        })
        .collect();
    upstream.wait_for_held(2).await;
    let mut late = request("http/get", json!({}));
    late.timeout = Some(Duration::from_millis(50));
    let Execution { result, run } = openact.execute(late).await;
    let error = result.unwrap_err();
    assert_eq!((error.code, limit(&error)), (ErrorCode::Overloaded, Some("instances")), "{error:?}");
    assert!(error.retryable());
    assert_eq!(run.unwrap().failure.as_ref().unwrap().0, ErrorCode::Overloaded);
    assert_eq!(upstream.received().len(), 2, "more calls than places");
    upstream.release();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(upstream.received().len(), 10);
}

#[tokio::test]
async fn s3_a_dropped_call_gives_its_place_back() {
    let upstream = Upstream::start(|received| match received.target.as_str() {
        "/held" => Answer::Held("{}".into()),
        _ => Answer::Json("{}".into()),
    })
    .await;
    let actions = json!({"held": {"path": "/held"}, "free": {"path": "/free"}});
    let openact = memory(&[])
        .instances_max(1)
        .config_text(config("http", json!({"base_url": upstream.url()}), actions), Format::Json)
        .build()
        .await
        .unwrap();
    let dropped = tokio::spawn({
        let openact = openact.clone();
        async move { openact.run("http/held", json!({})).await.map(|_| ()) }
    });
    upstream.wait_for_held(1).await;
    dropped.abort();
    assert!(dropped.await.unwrap_err().is_cancelled());
    value(&openact, "http/free", json!({})).await;
}

#[tokio::test]
async fn s4_random_bytes_are_capped() {
    ends("random-huge", json!({}), json!({}), ErrorCode::ConnectorCrashed, None).await;
    assert_eq!(sees("random-huge", json!({"count": 65_536})).await["done"], 65_536);
    ends("random-huge", json!({}), json!({"count": 65_537}), ErrorCode::ConnectorCrashed, None).await;
}

#[tokio::test]
async fn s4_handles_are_capped() {
    // Each takes two places in the table: what it waits for, and the handle.
    assert_eq!(sees("leak-handles", json!({"count": 450})).await["done"], 450);
    ends("leak-handles", json!({}), json!({}), ErrorCode::LimitExceeded, Some("resources")).await;
}

#[tokio::test]
async fn s4_standard_streams_are_capped() {
    let logged = Logged::start();
    assert_eq!(sees("flood-stdout", json!({"count": 100})).await["done"], 100);
    for stream in ["stdout", "stderr"] {
        let lines = logged.lines(&format!("stream=\"{stream}\""));
        assert_eq!(lines.len(), 1, "{stream}");
        assert!((65_536..66_000).contains(&lines[0].len()), "{stream}: {}", lines[0].len());
    }
    ends("flood-stdout", json!({}), json!({}), ErrorCode::LimitExceeded, Some("host_calls")).await;
}

#[tokio::test]
async fn s4_bytes_handed_to_the_host_are_capped() {
    let upstream = Upstream::json("{}").await;
    let connection = json!({"base_url": upstream.url(), "limits": {"request_bytes": 1000}});
    ends("huge-request", connection.clone(), json!({}), ErrorCode::LimitExceeded, Some("request_bytes"))
        .await;
    assert_eq!(upstream.connections(), 0);
    let openact = hostile(connection).await;
    assert_eq!(value(&openact, "hostile/huge-request", json!({"count": 1000})).await["status"], 200);
    assert_eq!(upstream.received()[0].body.len(), 1000);
    // Two texts that are the same bytes of the guest: its own memory does not bound them.
    assert_eq!(sees("twice-log", json!({"count": 1 << 20})).await["done"], 1);
    ends("twice-log", json!({}), json!({}), ErrorCode::ConnectorCrashed, None).await;
}

#[tokio::test]
async fn s5_zero_and_huge_deadlines() {
    let openact = hostile(json!({})).await;
    let mut none = request("hostile/spin-in-host", json!({}));
    none.timeout = Some(Duration::ZERO);
    assert_eq!(openact.execute(none).await.result.unwrap_err().code, ErrorCode::Timeout);
    for huge in [Duration::MAX, Duration::from_secs(u64::MAX / 1000 + 1)] {
        let mut long = request("hostile/echo", json!({}));
        long.timeout = Some(huge);
        let deadline = openact.execute(long).await.result.unwrap().value().unwrap()["deadline_ms"].clone();
        assert!((3_500_000..=3_600_000).contains(&deadline.as_u64().unwrap()), "{deadline}");
    }
}

#[tokio::test]
async fn a_panic_is_a_crash_of_the_connector() {
    ends("panic", json!({}), json!({}), ErrorCode::ConnectorCrashed, None).await;
}

#[tokio::test]
async fn endless_recursion_is_a_crash_of_the_connector() {
    ends("overflow-stack", json!({}), json!({}), ErrorCode::ConnectorCrashed, None).await;
}

#[tokio::test]
async fn an_exit_is_a_crash_of_the_connector() {
    let (error, _) = ends("exit", json!({}), json!({}), ErrorCode::ConnectorCrashed, None).await;
    assert_eq!(error.message, "the connector crashed: it called exit");
}

#[tokio::test]
async fn a_result_of_a_gigabyte_does_not_fit_into_the_guest() {
    ends("huge-output", json!({}), json!({}), ErrorCode::LimitExceeded, Some("memory_bytes")).await;
}

#[tokio::test]
async fn a_result_over_its_limit_is_refused() {
    let (_, run) = ends(
        "big-output",
        json!({"limits": {"max_bytes": 1002}}),
        json!({"count": 1001}),
        ErrorCode::LimitExceeded,
        Some("output_bytes"),
    )
    .await;
    assert_eq!(run.usage.output_bytes, 1003);
    ends("big-output", json!({}), json!({}), ErrorCode::LimitExceeded, Some("output_bytes")).await;
    let openact = hostile(json!({"limits": {"max_bytes": 1002}})).await;
    let fits = value(&openact, "hostile/big-output", json!({"count": 1000})).await;
    assert_eq!(fits.as_str().unwrap().len(), 1000);
}

#[tokio::test]
async fn a_result_that_is_not_json_is_a_crash_of_the_connector() {
    let (error, _) = ends("malformed-json", json!({}), json!({}), ErrorCode::ConnectorCrashed, None).await;
    assert_eq!(error.message, "the connector returned something that is not JSON");
}

#[tokio::test]
async fn s5_host_calls_are_capped() {
    let (_, run) =
        ends("flood-host-calls", json!({}), json!({}), ErrorCode::LimitExceeded, Some("host_calls")).await;
    assert_eq!(run.usage.host_calls, 10_001);
    assert_eq!(run.host_calls.len(), 50, "the record is bounded too");
    assert!(run.host_calls.iter().all(|call| call.outcome == "egress_denied"));
}

#[tokio::test]
async fn s5_calls_of_wasi_are_capped_too() {
    ends(
        "flood-wasi",
        json!({"limits": {"host_calls": 500}}),
        json!({}),
        ErrorCode::LimitExceeded,
        Some("host_calls"),
    )
    .await;
}

#[tokio::test]
async fn s5_log_lines_are_capped_and_those_dropped_are_counted() {
    let logged = Logged::start();
    let openact = hostile(json!({})).await;
    let outcome = openact.run("hostile/flood-log", json!({"count": 1000})).await.unwrap();
    assert_eq!(outcome.run.usage.log_lines_dropped, 800);
    assert_eq!(logged.lines("openact::connector").len(), 200);
    let (_, run) =
        ends("flood-log", json!({}), json!({}), ErrorCode::LimitExceeded, Some("host_calls")).await;
    assert!(run.usage.log_lines_dropped > 9_000, "{:?}", run.usage);
}

#[tokio::test]
async fn s2_host_calls_that_never_wait_do_not_hold_off_the_deadline() {
    let connection = json!({"timeout_ms": 300, "limits": {"memory_bytes": 33554432}});
    ends("flood-huge-log", connection, json!({}), ErrorCode::Timeout, Some("wall_ms")).await;
}

#[tokio::test]
async fn s5_a_log_line_is_cut_and_cannot_forge_another() {
    let logged = Logged::start();
    sees("huge-log", json!({})).await;
    let lines = logged.lines("openact::connector");
    assert_eq!(lines.len(), 1, "one call, one line");
    assert!(lines[0].len() < 2 * 4096, "{}", lines[0].len());
    assert!(lines[0].contains("forged=line"), "the guest's text follows on the same line");
    assert!(!lines[0].contains(|c: char| c.is_control()), "{:?}", &lines[0][..200]);
}

#[tokio::test]
async fn s5_unread_responses_are_capped() {
    let upstream = Upstream::start(|_| Answer::Endless { announced: None }).await;
    let connection = json!({"base_url": upstream.url(), "limits": {"response_bytes": 3 << 20}});
    ends("leak-responses", connection, json!({}), ErrorCode::LimitExceeded, Some("response_bytes")).await;
    assert!((2..=12).contains(&upstream.connections()), "{}", upstream.connections());
}

#[tokio::test]
async fn the_environment_is_empty() {
    assert!(std::env::vars().next().is_some(), "this process has an environment to see");
    let seen = sees("read-environment", json!({})).await;
    assert_eq!(seen["environment"], json!({}));
    assert_eq!(seen["arguments"], json!([]));
    assert_eq!(seen["stdin"], "");
}

#[tokio::test]
async fn there_are_no_files() {
    let seen = sees("read-files", json!({})).await;
    assert_eq!(seen, json!({"read": [], "listed": [], "written": [], "preopened": 0}));
    assert!(!std::path::Path::new("/tmp/openact-hostile").exists());
}

#[tokio::test]
async fn e1_wasi_sockets_and_names_are_denied() {
    let canary = Canary::start().await;
    let seen = sees("raw-wasi-socket", json!({"addr": canary.address()})).await;
    assert_ne!(seen["connect"], "connected");
    assert_eq!(seen["resolved"], false);
    canary.assert_silent().await;
}

#[tokio::test]
async fn e1_wasi_http_reaches_what_is_granted_and_nothing_else() {
    let (granted, other) = (Upstream::json("{}").await, Upstream::json("{}").await);
    let openact = hostile(json!({"base_url": granted.url()})).await;
    let seen = value(&openact, "hostile/raw-wasi-http", json!({"url": other.url()})).await;
    assert!(seen["error"].as_str().unwrap().contains("HttpRequestDenied"), "{seen}");
    assert_eq!(other.connections(), 0);
    assert_eq!(value(&openact, "hostile/raw-wasi-http", json!({})).await["status"], 200);
    assert_eq!(granted.received().len(), 1);
}

#[tokio::test]
async fn what_is_not_asked_for_is_denied_and_what_is_not_granted_too() {
    let seen = sees("call-ungranted", json!({})).await;
    let said = |function: &str| seen[function].as_str().unwrap().to_owned();
    assert_eq!(
        said("credentials.reveal"),
        "HostError::Denied(\"connector 'hostile' uses 'reveal-credential' but its manifest does not say so\")"
    );
    assert_eq!(said("credentials.length"), said("credentials.reveal"));
    assert_eq!(said("credentials.sign"), "HostError::NotFound(\"the connection has no secret 'token'\")");
    assert_eq!(
        said("sockets.open"),
        "HostError::Denied(\"this connection may not reach tcp://127.0.0.1:9\")"
    );
    assert_eq!(said("output.emit"), "HostError::Unsupported(\"the caller does not take a stream\")");
    // Of its own connection it may.
    for function in ["state.get", "state.set-if", "state.delete"] {
        assert_eq!(said(function), "ok", "{function}");
    }
    assert_eq!(seen.as_object().unwrap().len(), 8);
}

#[tokio::test]
async fn s7_nothing_of_one_call_is_in_the_next() {
    let openact = hostile(json!({})).await;
    for _ in 0..5 {
        assert_eq!(value(&openact, "hostile/stash", json!({})).await["calls"], 1);
    }
}

#[tokio::test]
async fn a_failed_call_leaves_nothing_behind_for_the_next() {
    let openact = hostile(json!({"limits": {"cpu_ms": 50}})).await;
    for attack in ["spin", "panic", "malformed-json", "allocate", "exit"] {
        failure(&openact, &format!("hostile/{attack}"), json!({})).await;
        assert_eq!(value(&openact, "hostile/stash", json!({})).await["calls"], 1, "after {attack}");
    }
}

#[tokio::test]
async fn attacks_at_once_end_each_by_its_own_error() {
    let openact = memory(&[])
        .instances_max(4)
        .connector_bytes(guest("hostile"))
        .config_text(hostile_config(json!({"limits": {"cpu_ms": 200}, "timeout_ms": 20_000})), Format::Json)
        .build()
        .await
        .unwrap();
    let attacks = [
        ("spin", ErrorCode::LimitExceeded),
        ("panic", ErrorCode::ConnectorCrashed),
        ("allocate", ErrorCode::LimitExceeded),
        ("malformed-json", ErrorCode::ConnectorCrashed),
        ("exit", ErrorCode::ConnectorCrashed),
    ];
    let calls: Vec<_> = (0..25)
        .map(|number| {
            let (openact, (attack, code)) = (openact.clone(), attacks[number % attacks.len()]);
            tokio::spawn(async move {
                let (error, _) = failure(&openact, &format!("hostile/{attack}"), json!({})).await;
                assert_eq!(error.code, code, "{attack}: {error:?}");
            })
        })
        .collect();
    for call in calls {
        call.await.unwrap();
    }
    works(&openact).await;
}

#[tokio::test]
async fn s3_items_that_the_caller_takes_are_no_host_calls() {
    let text = config("puppet", json!({"limits": {"host_calls": 20}}), json!({"play": {}}));
    let builder = memory(&[]).connector_bytes(guest("puppet")).config_text(text, Format::Json);
    let openact = builder.build().await.unwrap();
    let hex: String = ["E1"; 50].join("\n").bytes().map(|byte| format!("{byte:02x}")).collect();
    let mut streamed = request("puppet/play", json!({"script": hex}));
    let (sender, mut items) = tokio::sync::mpsc::channel(1);
    streamed.items = Some(sender);
    let counted = tokio::spawn(async move {
        let mut count = 0;
        while items.recv().await.is_some() {
            count += 1;
        }
        count
    });
    let Execution { result, run } = openact.execute(streamed).await;
    assert!(result.is_ok(), "{result:?}");
    assert_eq!((run.unwrap().usage.items, counted.await.unwrap()), (50, 50));
    // Nobody takes these: each is a host call like another.
    let (error, _) = failure(&openact, "puppet/play", json!({"script": hex})).await;
    assert_eq!(limit(&error), Some("host_calls"));
}
