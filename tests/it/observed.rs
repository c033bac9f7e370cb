//! What is seen of calls from outside: their trace, at a collector and at the next system; metrics; structured logs.
//!
//! Invariant: the collector of these tests takes what an OTLP collector takes, bytes of protobuf, and nothing is looked up
//! in the exporting process.

use std::{collections::HashMap, path::Path, process::Output};

use openact::{Door, ErrorCode, Request, Tenant, TraceContext};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::any_value::Value as Any,
    trace::v1::{Span, span::SpanKind, status::StatusCode},
};
use prost::Message as _;
use serde_json::{Value, json};
use support::{
    command::{openact, stderr, stdout},
    openmetrics,
    upstream::{Answer, Received, Upstream},
};

use crate::{
    logged::Logged,
    setup::{config, hostile_config, http, memory, request},
};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const CANARY: &str = "canary+Zq7/observed=41";

/// A span as a collector has it.
struct Seen {
    span: Span,
    attributes: HashMap<String, String>,
}

impl Seen {
    fn attribute(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("-", String::as_str)
    }

    fn failed(&self) -> bool {
        self.span.status.as_ref().is_some_and(|status| status.code() == StatusCode::Error)
    }
}

/// Every span that `collector` was sent.
fn spans(collector: &Upstream) -> Vec<Seen> {
    let mut seen = Vec::new();
    for received in collector.received() {
        assert_eq!((received.method.as_str(), received.target.as_str()), ("POST", "/v1/traces"));
        assert_eq!(received.header("content-type"), ["application/x-protobuf"]);
        let request = ExportTraceServiceRequest::decode(received.body.as_slice()).unwrap();
        for resource in request.resource_spans {
            let named = resource.resource.unwrap().attributes;
            let named = named.into_iter().find(|pair| pair.key == "service.name").unwrap();
            assert_eq!(named.value.unwrap().value, Some(Any::StringValue("openact".into())));
            for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                assert!(span.events.is_empty(), "nothing that was logged is exported: {:?}", span.events);
                let text = |value: Option<Any>| match value {
                    Some(Any::StringValue(text)) => text,
                    Some(Any::IntValue(number)) => number.to_string(),
                    Some(Any::BoolValue(truth)) => truth.to_string(),
                    other => format!("{other:?}"),
                };
                let pairs = span.attributes.iter().cloned();
                let pairs = pairs.map(|pair| (pair.key, text(pair.value.and_then(|value| value.value))));
                seen.push(Seen { attributes: pairs.collect(), span });
            }
        }
    }
    seen
}

fn named<'a>(spans: &'a [Seen], name: &str) -> Vec<&'a Seen> {
    spans.iter().filter(|seen| seen.span.name == name).collect()
}

async fn collector() -> Upstream {
    Upstream::start(|_| Answer::full(200, &[("content-type", "application/x-protobuf")], "")).await
}

/// Answers 503 the first time, if that is to be, then with what it was sent.
async fn echo(fails_first: bool) -> Upstream {
    let first = std::sync::atomic::AtomicBool::new(fails_first);
    Upstream::start(move |received| match first.swap(false, std::sync::atomic::Ordering::SeqCst) {
        true => Answer::full(503, &[("retry-after", "0")], ""),
        false => Answer::Json(json!({"sent": format!("{received:?}")}).to_string()),
    })
    .await
}

fn of_http(upstream: &Upstream, action: Value) -> String {
    let connection = json!({"base_url": upstream.url(), "retry": {"max_attempts": 3, "initial_delay_ms": 1},
        "authorization": {"type": "bearer", "token": CANARY}});
    config("http", connection, json!({"get": action}))
}

async fn run(home: &Path, config: &str, args: &[&str], env: &[(&str, &str)]) -> Output {
    let mut command = openact(home);
    command.args(["run", "get", "--config-json", config]).args(args).envs(env.iter().copied());
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn told(received: &Received) -> TraceContext {
    let state = received.header("tracestate").first().copied();
    let [parent] = received.header("traceparent")[..] else { panic!("{received:?}") };
    TraceContext::parse(parent, state).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c1_a_call_is_one_tree_in_its_callers_trace_and_no_secret_is_in_it() {
    let (home, collector, upstream) = (tempfile::tempdir().unwrap(), collector().await, echo(true).await);
    let action = json!({"path": "/a/{id}", "query": {"q": "{{q}}"}, "headers": {"traceparent": "00-mine"}});
    let input = format!("q={CANARY}");
    let args = ["--show-run", "--set", "id=7", "--set", &input, "-vvv", "--log-format", "json"];
    let headers = format!("authorization=Bearer%20{CANARY}");
    let env = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url()),
        ("OTEL_EXPORTER_OTLP_HEADERS", headers),
        ("TRACEPARENT", PARENT.to_owned()),
        ("TRACESTATE", "vendor=1".to_owned()),
    ];
    let env = env.each_ref().map(|(name, value)| (*name, value.as_str()));
    let output = run(home.path(), &of_http(&upstream, action), &args, &env).await;
    assert!(output.status.success(), "{}", stderr(&output));
    let parent = TraceContext::parse(PARENT, Some("vendor=1")).unwrap();

    let spans = spans(&collector);
    let [call] = named(&spans, "openact.call")[..] else { panic!("one call") };
    let [run] = named(&spans, "openact.run")[..] else { panic!("one run") };
    let sends = named(&spans, "http.send");
    assert_eq!((spans.len(), sends.len()), (4, 2), "one span for each attempt");
    assert!(spans.iter().all(|seen| seen.span.trace_id == parent.trace_id.bytes()));
    assert_eq!(call.span.parent_span_id, parent.span_id.bytes());
    assert_eq!(run.span.parent_span_id, call.span.span_id);
    assert!(sends.iter().all(|send| send.span.parent_span_id == run.span.span_id));
    assert_eq!(call.attribute("openact.door"), "cli");
    assert_eq!(run.attribute("openact.connector"), "http");
    assert!(run.attribute("openact.action").starts_with("http/get"), "{:?}", run.attributes);

    // What the next system is told is the span of the attempt, whatever the action says.
    let requests = upstream.received();
    for (send, (status, resent)) in [(&requests[0], ("503", "-")), (&requests[1], ("200", "1"))] {
        let told = told(send);
        assert_eq!((told.trace_id, told.tracestate()), (parent.trace_id, Some("vendor=1")));
        let span = sends.iter().find(|seen| seen.span.span_id == told.span_id.bytes()).unwrap();
        assert_eq!(span.span.kind(), SpanKind::Client);
        assert_eq!(span.attribute("http.request.method"), "GET");
        assert_eq!(span.attribute("server.address"), "127.0.0.1");
        assert_eq!(span.attribute("server.port"), upstream.address().port().to_string());
        assert_eq!(span.attribute("http.response.status_code"), status);
        assert_eq!(span.attribute("http.request.resend_count"), resent);
        assert_eq!(span.failed(), status == "503");
    }
    assert!(
        stderr(&output).contains(&format!("\"trace_id\":\"{}\"", parent.trace_id)),
        "the run record has it"
    );

    // The secret was sent to both, and is nowhere else.
    assert!(format!("{requests:?}").contains(CANARY));
    for received in collector.received() {
        assert_eq!(received.header("authorization"), [format!("Bearer {CANARY}")]);
        assert!(!String::from_utf8_lossy(&received.body).contains("canary"));
    }
    let log = stderr(&output);
    assert!(!log.contains("canary"), "{log}");
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let in_run = |line: &&Value| line["spans"].as_array().is_some_and(|spans| spans.len() >= 2);
    assert!(lines.iter().filter(|line| line["level"].is_string()).count() > 1, "{log}");
    for line in lines.iter().filter(in_run) {
        assert_eq!(line["spans"][0]["openact.door"], "cli", "{line}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_malformed_traceparent_starts_a_trace_and_a_failure_is_marked() {
    let (home, collector) = (tempfile::tempdir().unwrap(), collector().await);
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config =
        config("http", json!({"base_url": format!("http://{closed}")}), json!({"get": {"path": "/"}}));
    let url = collector.url();
    let env = [("OTEL_EXPORTER_OTLP_ENDPOINT", url.as_str()), ("TRACEPARENT", &PARENT.to_uppercase())];
    let output = run(home.path(), &config, &[], &env).await;
    assert_eq!(output.status.code(), Some(7), "{}", stderr(&output));
    let spans = spans(&collector);
    assert_eq!(spans.len(), 3);
    let trace = TraceContext::parse(PARENT, None).unwrap().trace_id;
    assert!(spans.iter().all(|seen| seen.span.trace_id != trace.bytes()));
    assert!(spans.iter().all(|seen| seen.span.trace_id == spans[0].span.trace_id));
    assert!(named(&spans, "openact.call")[0].span.parent_span_id.is_empty(), "a trace of its own");
    for seen in &spans {
        assert_eq!(
            (seen.failed(), seen.attribute("error.type")),
            (true, "network_error"),
            "{}",
            seen.span.name
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_not_there_costs_spans_and_no_call() {
    let (home, upstream) = (tempfile::tempdir().unwrap(), echo(false).await);
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let endpoint = format!("http://{closed}");
    let config = of_http(&upstream, json!({"path": "/"}));
    let output = run(home.path(), &config, &[], &[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)]).await;
    assert!(output.status.success() && stdout(&output).contains("sent"), "{}", stderr(&output));
    assert!(stderr(&output).contains("spans could not be exported"), "{}", stderr(&output));
    let env = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")];
    let output = run(home.path(), &config, &[], &env).await;
    assert!(output.status.success() && stderr(&output).contains("grpc"), "{}", stderr(&output));
}

#[tokio::test]
async fn the_next_system_is_told_of_a_trace_that_there_is_and_where_it_may_know() {
    let upstream = echo(false).await;
    let mine = "00-11111111111111111111111111111111-2222222222222222-00";
    let action = json!({"path": "/", "headers": {"traceparent": mine}});
    let traced = |openact: openact::OpenAct, trace: Option<TraceContext>| async move {
        let execution = openact.execute(Request { trace, ..request("http/get", json!({})) }).await;
        execution.result.unwrap();
        execution.run.unwrap().trace_id
    };
    let parent = TraceContext::parse(PARENT, None).unwrap();
    let open = |network: Value| {
        http(json!({"base_url": upstream.url(), "network": network}), json!({"get": action}))
    };
    // Without a trace, the header is like any other.
    assert_eq!(traced(open(json!({})).await, None).await, None);
    assert_eq!(upstream.received()[0].header("traceparent"), [mine]);
    // With one it is the host's, and another for each attempt.
    for _ in 0..2 {
        assert_eq!(traced(open(json!({})).await, Some(parent.clone())).await, Some(parent.trace_id));
    }
    let [one, other] = [1, 2].map(|n| told(&upstream.received()[n]));
    assert_eq!([one.trace_id, other.trace_id], [parent.trace_id; 2]);
    assert!(one.span_id != other.span_id && one.span_id != parent.span_id);
    // Where it is nobody's business, the run still knows.
    let run = traced(open(json!({"trace": false})).await, Some(parent.clone())).await;
    assert_eq!(run, Some(parent.trace_id));
    assert_eq!(upstream.received()[3].header("traceparent"), [mine]);
}

#[tokio::test]
async fn metrics_count_runs_and_what_they_asked_for() {
    let upstream = Upstream::start(|received| match received.target.as_str() {
        "/missing" => Answer::full(404, &[], "{}"),
        "/away" => Answer::full(302, &[("location", "http://10.1.2.3/")], ""),
        _ => Answer::Json("{}".into()),
    })
    .await;
    let actions = json!({"get": {"path": "/"}, "missing": {"path": "/missing"},
        "denied": {"path": "/away", "follow_redirects": true}});
    let openact = http(json!({"base_url": upstream.url()}), actions).await;
    for _ in 0..3 {
        openact.run("get", json!({})).await.unwrap();
    }
    let by_rest = Request::new(Door::Rest, Tenant::default(), "get", json!({}));
    openact.execute(by_rest).await.result.unwrap();
    openact.run("missing", json!({})).await.unwrap();
    let denied = openact.run("denied", json!({})).await.unwrap_err();
    assert_eq!(denied.code, ErrorCode::EgressDenied);
    openact.run("nothing-like-it", json!({})).await.unwrap_err();
    drop(openact.run("get", json!({})));
    let mut left = Box::pin(openact.run("get", json!({})));
    assert!(futures_util::poll!(&mut left).is_pending());
    let during = openmetrics::parse(&openact.metrics());
    assert_eq!(during["openact_calls_in_flight"], 1.0);
    drop(left);

    let seen = openmetrics::parse(&openact.metrics());
    let run = |outcome: &str, door: &str| {
        let name = format!("openact_runs_total{{connector=\"http\",outcome=\"{outcome}\",door=\"{door}\"}}");
        seen.get(&name).copied().unwrap_or_default()
    };
    assert_eq!([run("ok", "embedded"), run("ok", "rest"), run("egress_denied", "embedded")], [4.0, 1.0, 1.0]);
    // That of the caller who left is a run, too.
    assert_eq!(run("conflict", "embedded"), 1.0);
    assert_eq!(seen["openact_run_duration_seconds_count{connector=\"http\"}"], 7.0);
    assert_eq!(seen["openact_calls_refused_total{outcome=\"not_found\",door=\"embedded\"}"], 1.0);
    let host = |outcome: &str| {
        seen[&format!("openact_host_calls_total{{function=\"http.send\",outcome=\"{outcome}\"}}")]
    };
    assert_eq!([host("2xx"), host("4xx"), host("egress_denied")], [4.0, 1.0, 1.0]);
    assert_eq!((seen["openact_calls_dropped_total"], seen["openact_calls_in_flight"]), (1.0, 0.0));
    // Its record, which nobody waits for, is on its way.
    assert_eq!((seen["openact_run_queue_length"], seen["openact_run_write_failures_total"]), (1.0, 0.0));
    assert_eq!(
        (seen["openact_sessions_parked"], seen["openact_token_requests_total{result=\"ok\"}"]),
        (0.0, 0.0)
    );
    assert!(seen.keys().any(|name| name.starts_with("openact_build_info{version=")));
    assert!(!seen.keys().any(|name| name.contains("tenant") || name.contains("127.0.0.1")));
}

#[tokio::test]
async fn c1_s5_what_a_guest_logs_is_bounded_and_marked_within_the_calls_spans() {
    let logged = Logged::start();
    let connection =
        json!({"authorization": {"type": "bearer", "token": CANARY}, "base_url": "http://127.0.0.1:1"});
    let openact = memory(&[])
        .connector_bytes(support::guests::guest("hostile"))
        .config_text(hostile_config(connection), openact::Format::Json)
        .build()
        .await
        .unwrap();
    openact.run("hostile/flood-log", json!({"count": 300})).await.unwrap();
    let lines = logged.lines("openact::connector");
    assert_eq!(lines.len(), 200);
    for line in &lines {
        assert!(line.contains("connector=\"hostile\"") && line.contains("openact.run{"), "{line}");
    }
    assert!(!logged.text().contains("canary"));
}
