//! What is counted of calls, for Prometheus.
//!
//! A call looks no label up: an action version keeps its connector's [`Meter`], whose counters are made at their first use.
//! Invariant: the labels are bounded, whatever comes: doors, codes, functions and outcomes are lists of ours, and connectors
//! past [`METRICS_CONNECTORS_MAX`] are `other`. No tenant, action, host or message is one.

use std::{
    collections::HashMap,
    fmt::Write as _,
    sync::{Arc, Mutex, OnceLock, PoisonError, atomic::Ordering},
    time::Duration,
};

use openact_core::{
    ConnectorName, Error, ErrorCode,
    limits::METRICS_CONNECTORS_MAX,
    run::{Door, HostCall, RunRecord},
};
use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::Registry,
};

use crate::{OpenAct, Shared, prepared::Prepared};

/// The `Content-Type` of [`OpenAct::metrics`].
pub const METRICS_CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

impl OpenAct {
    /// What is counted of this process, in the text format of OpenMetrics, which Prometheus reads.
    pub fn metrics(&self) -> String {
        let Shared { metrics, engine, store, tokens, snapshot, .. } = &*self.0;
        let state = &metrics.state;
        let count = |counter: &Counter, value: u64| counter.inner().store(value, Ordering::Relaxed);
        let level = |gauge: &Gauge, value: usize| gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        let (waiting, failures) = store.run_writes();
        level(&state.sessions, engine.sessions());
        level(&state.run_queue, waiting);
        count(&state.write_failures, failures);
        let [fetched, failed] = tokens.requests();
        count(&state.tokens_fetched, fetched);
        count(&state.tokens_failed, failed);
        state.generation.set(i64::try_from(*snapshot.changes().borrow()).unwrap_or(i64::MAX));
        let mut text = String::new();
        if text::encode(&mut text, &metrics.registry).is_err() {
            // Writing to a string does not fail; half an answer is none.
            text.clear();
            let _ = text.write_str("# EOF\n");
        }
        text
    }
}

/// See the module.
pub(crate) struct Metrics {
    registry: Registry,
    runs: Family<RunLabels, Counter>,
    durations: Family<ConnectorLabel, Histogram, fn() -> Histogram>,
    refused: Family<RefusedLabels, Counter>,
    dropped: Counter,
    in_flight: Gauge,
    host_calls: Family<HostCallLabels, Counter>,
    host_durations: Family<FunctionLabel, Histogram, fn() -> Histogram>,
    functions: [Function; FUNCTIONS.len()],
    by_connector: Mutex<HashMap<ConnectorName, Arc<Meter>>>,
    state: State,
}

/// What others know, asked for when somebody looks.
#[derive(Default)]
struct State {
    sessions: Gauge,
    run_queue: Gauge,
    write_failures: Counter,
    tokens_fetched: Counter,
    tokens_failed: Counter,
    generation: Gauge,
}

/// What is counted of one connector's runs.
pub(crate) struct Meter {
    connector: String,
    runs: [[OnceLock<Counter>; OUTCOMES]; DOORS.len()],
    duration: Histogram,
}

#[derive(Default)]
struct Function {
    outcomes: [OnceLock<Counter>; HOST_OUTCOMES.len()],
    duration: OnceLock<Histogram>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RunLabels {
    connector: String,
    outcome: &'static str,
    door: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusedLabels {
    outcome: &'static str,
    door: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ConnectorLabel {
    connector: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HostCallLabels {
    function: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FunctionLabel {
    function: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

const DOORS: [Door; 4] = [Door::Cli, Door::Embedded, Door::Rest, Door::Mcp];

/// `ok` and each code.
const OUTCOMES: usize = ErrorCode::ALL.len() + 1;

const FUNCTIONS: [&str; 4] = ["http.send", "sockets.open", "credentials.login", OTHER];

/// Of statuses their class. The last one is everything else.
const HOST_OUTCOMES: [&str; 15] = [
    "2xx",
    "3xx",
    "4xx",
    "5xx",
    "ok",
    "connected",
    "resumed",
    "cancelled",
    ErrorCode::EgressDenied.as_str(),
    ErrorCode::NetworkError.as_str(),
    ErrorCode::Timeout.as_str(),
    ErrorCode::AuthRequired.as_str(),
    ErrorCode::LimitExceeded.as_str(),
    ErrorCode::RateLimited.as_str(),
    OTHER,
];

const OTHER: &str = "other";

/// Seconds: from a call without a request to the longest there are.
const BUCKETS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];

fn histogram() -> Histogram {
    Histogram::new(BUCKETS)
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("openact"),
            runs: Family::default(),
            durations: Family::new_with_constructor(histogram),
            refused: Family::default(),
            dropped: Counter::default(),
            in_flight: Gauge::default(),
            host_calls: Family::default(),
            host_durations: Family::new_with_constructor(histogram),
            functions: Default::default(),
            by_connector: Mutex::default(),
            state: State::default(),
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    fn register(&mut self) {
        let Self { registry, state, .. } = self;
        registry.register("runs", "Runs that ended", self.runs.clone());
        registry.register("run_duration_seconds", "How long runs took", self.durations.clone());
        registry.register("calls_refused", "Calls that reached no action", self.refused.clone());
        registry.register("calls_dropped", "Calls whose caller left", self.dropped.clone());
        registry.register("calls_in_flight", "Calls that have begun and not ended", self.in_flight.clone());
        registry.register(
            "host_calls",
            "Requests, streams and logins of connectors",
            self.host_calls.clone(),
        );
        let durations = self.host_durations.clone();
        registry.register("host_call_duration_seconds", "How long those took", durations);
        registry.register("sessions_parked", "Streams that wait for the next call", state.sessions.clone());
        registry.register("run_queue_length", "Run records that wait to be written", state.run_queue.clone());
        registry.register(
            "run_write_failures",
            "Times that run records could not be written",
            state.write_failures.clone(),
        );
        let tokens = Family::<ResultLabel, Counter>::default();
        state.tokens_fetched = tokens.get_or_create_owned(&ResultLabel { result: "ok" });
        state.tokens_failed = tokens.get_or_create_owned(&ResultLabel { result: "failed" });
        registry.register("token_requests", "Requests for access tokens", tokens);
        registry.register(
            "config_generation",
            "Times that the configuration calls read was made anew",
            state.generation.clone(),
        );
        let version = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "This program", version);
    }

    /// A call has begun; see [`InFlight`].
    pub(crate) fn enter(&self) -> InFlight<'_> {
        self.in_flight.inc();
        InFlight { metrics: self, has_ended: false }
    }

    /// A call reached no action.
    pub(crate) fn refused(&self, door: Door, error: &Error) {
        let labels = RefusedLabels { outcome: error.code.as_str(), door: door.as_str() };
        self.refused.get_or_create(&labels).inc();
    }

    /// A run ended.
    pub(crate) fn ran(&self, prepared: &Prepared, run: &RunRecord) {
        let meter = prepared.meter.get_or_init(|| self.meter(&prepared.action.connector));
        let outcome = run.failure.as_ref().map(|(code, _)| *code);
        let door = DOORS.iter().position(|door| *door == run.door).unwrap_or_default();
        let cell =
            meter.runs.get(door).and_then(|of_door| of_door.get(outcome.map_or(0, |code| code as usize + 1)));
        if let Some(cell) = cell {
            let labels = || RunLabels {
                connector: meter.connector.clone(),
                outcome: outcome.map_or("ok", ErrorCode::as_str),
                door: run.door.as_str(),
            };
            cell.get_or_init(|| self.runs.get_or_create_owned(&labels())).inc();
        }
        meter.duration.observe(seconds(run.duration_us));
        for call in &run.host_calls {
            self.host_called(call);
        }
    }

    fn host_called(&self, call: &HostCall) {
        let named = FUNCTIONS.iter().zip(&self.functions);
        let Some((function, counts)) =
            named.clone().find(|(name, _)| **name == call.function).or_else(|| named.last())
        else {
            return;
        };
        let outcome = outcome(&call.outcome);
        if let Some((cell, name)) = counts.outcomes.get(outcome).zip(HOST_OUTCOMES.get(outcome)) {
            let labels = HostCallLabels { function, outcome: name };
            cell.get_or_init(|| self.host_calls.get_or_create_owned(&labels)).inc();
        }
        let duration = || self.host_durations.get_or_create_owned(&FunctionLabel { function });
        counts.duration.get_or_init(duration).observe(seconds(call.duration_us));
    }

    fn meter(&self, connector: &ConnectorName) -> Arc<Meter> {
        let mut known = self.by_connector.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(meter) = known.get(connector) {
            return meter.clone();
        }
        let is_other = known.len() >= METRICS_CONNECTORS_MAX;
        let name = if is_other { OTHER.to_owned() } else { connector.to_string() };
        let labels = ConnectorLabel { connector: name.clone() };
        let duration = self.durations.get_or_create_owned(&labels);
        let meter = Arc::new(Meter { connector: name, runs: Default::default(), duration });
        if !is_other {
            known.insert(connector.clone(), meter.clone());
        }
        meter
    }
}

/// That a call is under way. If it is dropped before [`InFlight::done`], its caller left.
pub(crate) struct InFlight<'a> {
    metrics: &'a Metrics,
    has_ended: bool,
}

impl InFlight<'_> {
    pub(crate) fn done(mut self) {
        self.has_ended = true;
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.metrics.in_flight.dec();
        if !self.has_ended {
            self.metrics.dropped.inc();
        }
    }
}

/// The place of an outcome in [`HOST_OUTCOMES`].
fn outcome(text: &str) -> usize {
    let class = match text.as_bytes() {
        [class @ b'2'..=b'5', _, _] => Some(usize::from(class - b'2')),
        _ => None,
    };
    let found = || HOST_OUTCOMES.iter().position(|known| *known == text);
    class.or_else(found).unwrap_or(HOST_OUTCOMES.len() - 1)
}

fn seconds(us: u64) -> f64 {
    Duration::from_micros(us).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_a_short_list() {
        let name = |text| HOST_OUTCOMES[outcome(text)];
        assert_eq!([name("200"), name("304"), name("404"), name("599")], ["2xx", "3xx", "4xx", "5xx"]);
        assert_eq!(
            [name("resumed"), name("egress_denied"), name("timeout")],
            ["resumed", "egress_denied", "timeout"]
        );
        for other in ["", "100", "999", "20x0", "invalid_input", "what a guest says"] {
            assert_eq!(name(other), OTHER, "{other}");
        }
    }

    #[test]
    fn every_code_has_its_place() {
        for (place, code) in ErrorCode::ALL.iter().enumerate() {
            assert_eq!(*code as usize, place);
        }
    }

    #[test]
    fn connectors_past_the_bound_are_counted_together() {
        let metrics = Metrics::default();
        let name = |n: usize| format!("c{n}").parse::<ConnectorName>().unwrap();
        let meters: Vec<_> = (0..METRICS_CONNECTORS_MAX + 2).map(|n| metrics.meter(&name(n))).collect();
        assert_eq!(meters[METRICS_CONNECTORS_MAX - 1].connector, format!("c{}", METRICS_CONNECTORS_MAX - 1));
        assert!(meters[METRICS_CONNECTORS_MAX..].iter().all(|meter| meter.connector == OTHER));
        assert_eq!(metrics.meter(&name(0)).connector, "c0");
        assert!(Arc::ptr_eq(&metrics.meter(&name(0)), &meters[0]));
        let mut text = String::new();
        text::encode(&mut text, &metrics.registry).unwrap();
        assert_eq!(text.matches("openact_run_duration_seconds_count{").count(), METRICS_CONNECTORS_MAX + 1);
    }

    #[test]
    fn a_call_that_is_dropped_is_in_flight_no_more() {
        let metrics = Metrics::default();
        let (one, other) = (metrics.enter(), metrics.enter());
        assert_eq!(metrics.in_flight.get(), 2);
        one.done();
        assert_eq!((metrics.in_flight.get(), metrics.dropped.get()), (1, 0));
        drop(other);
        assert_eq!((metrics.in_flight.get(), metrics.dropped.get()), (0, 1));
    }
}
