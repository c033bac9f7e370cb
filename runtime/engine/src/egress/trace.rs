//! What a call asks of the outside, as spans, and what the next system is told of the trace.
//!
//! | span | fields, as OpenTelemetry's conventions name them |
//! |---|---|
//! | `http.send`, one for each attempt | `http.request.method` `url.scheme` `server.address` `server.port` `http.request.resend_count` `http.response.status_code` |
//! | `sockets.open` | `server.address` `server.port` `network.transport` `openact.outcome` |
//! | `credentials.login`, one for each step | `openact.mechanism` `openact.outcome` |
//!
//! and `error.type`, a code of ours, where it failed. Invariants: no span holds a path, a query, a header or what a guest
//! wrote; where nobody takes spans none is made, and a call that is part of no trace sends no header of one.

use std::hash::{BuildHasher, RandomState};

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use openact_core::{
    Error,
    policy::Origin,
    trace::{SpanId, TraceContext},
};
use tracing::{Span, field::Empty};

/// Gives a span's identity, if somebody exports it.
pub type TraceOf = fn(&Span) -> Option<TraceContext>;

/// The trace of one call.
pub(crate) struct CallTrace {
    /// The run's span. What goes on in a task of its own is below it, too.
    span: Span,
    /// What is sent, but for the span; none: nothing is.
    sent: Option<TraceContext>,
    of: Option<TraceOf>,
}

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

impl CallTrace {
    /// Of a call in the current span. `joined` is the trace its caller began; `told` says whether others may know.
    pub(crate) fn new(joined: Option<&TraceContext>, of: Option<TraceOf>, told: bool) -> Self {
        let span = Span::current();
        let exported = of.filter(|_| told && !span.is_disabled()).and_then(|of| of(&span));
        let sent = exported.or_else(|| joined.filter(|_| told).cloned());
        Self { span, sent, of }
    }

    /// Takes out what a guest or a caller wrote in place of what the host sends. Before anything is signed.
    pub(crate) fn admit(&self, headers: &mut HeaderMap) {
        if self.sent.is_some() {
            headers.remove(TRACEPARENT);
            headers.remove(TRACESTATE);
        }
    }

    /// Adds the headers of one attempt, whose span is `span`, after the credential, which does not cover them. What
    /// `denies` a header wins.
    pub(crate) fn tell(&self, span: &Span, headers: &mut HeaderMap, denies: impl Fn(&HeaderName) -> bool) {
        let Some(sent) = &self.sent else { return };
        let exported = self.of.filter(|_| !span.is_disabled()).and_then(|of| of(span));
        let context = exported.unwrap_or_else(|| sent.child(random_span()));
        if denies(&TRACEPARENT) {
            return;
        }
        // Both are plain text by their types.
        let parent = HeaderValue::from_str(&context.traceparent());
        let state = context.tracestate().filter(|_| !denies(&TRACESTATE)).map(HeaderValue::from_str);
        for (name, value) in [(TRACEPARENT, Some(parent)), (TRACESTATE, state)] {
            if let Some(Ok(value)) = value {
                headers.entry(name).or_insert(value);
            }
        }
    }

    /// Of one attempt; `resent` is how many there were before.
    pub(crate) fn http(&self, method: &Method, origin: &Origin, resent: u32) -> Span {
        let span = tracing::info_span!(target: "openact::trace", parent: &self.span, "http.send",
            "otel.kind" = "client", "otel.status_code" = Empty,
            "http.request.method" = method.as_str(), "url.scheme" = %origin.scheme(),
            "server.address" = %origin.host(), "server.port" = origin.port(),
            "http.request.resend_count" = Empty, "http.response.status_code" = Empty, "error.type" = Empty);
        if resent > 0 {
            span.record("http.request.resend_count", resent);
        }
        span
    }

    pub(crate) fn open(&self, origin: &Origin) -> Span {
        tracing::info_span!(target: "openact::trace", parent: &self.span, "sockets.open",
            "otel.kind" = "client", "otel.status_code" = Empty, "network.transport" = "tcp",
            "server.address" = %origin.host(), "server.port" = origin.port(),
            "openact.outcome" = Empty, "error.type" = Empty)
    }

    /// `mechanism` is one that there is.
    pub(crate) fn login(&self, mechanism: &str) -> Span {
        tracing::info_span!(target: "openact::trace", parent: &self.span, "credentials.login",
            "otel.kind" = "internal", "otel.status_code" = Empty,
            "openact.mechanism" = mechanism, "openact.outcome" = Empty, "error.type" = Empty)
    }
}

/// How an attempt ended.
pub(crate) fn answered(span: &Span, status: Result<u16, &Error>) {
    match status {
        Ok(status) => {
            span.record("http.response.status_code", status);
            if status >= 400 {
                span.record("otel.status_code", "ERROR");
                span.record("error.type", status);
            }
        }
        Err(error) => failed(span, error),
    }
}

/// How something else ended.
pub(crate) fn ended<'a>(span: &Span, outcome: Result<&'a str, &'a Error>) {
    match outcome {
        Ok(outcome) => drop(span.record("openact.outcome", outcome)),
        Err(error) => failed(span, error),
    }
}

fn failed(span: &Span, error: &Error) {
    span.record("otel.status_code", "ERROR");
    span.record("error.type", error.code.as_str());
}

/// Nobody's secret: it only has to be another one each time.
fn random_span() -> SpanId {
    loop {
        if let Some(span) = SpanId::new(RandomState::new().hash_one(0_u8).to_be_bytes()) {
            return span;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn joined() -> TraceContext {
        TraceContext::parse(PARENT, Some("a=1")).unwrap()
    }

    /// What is sent of a request whose guest wrote trace headers of its own.
    fn sent(trace: &CallTrace, denied: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for name in [TRACEPARENT, TRACESTATE] {
            headers.append(name, HeaderValue::from_static("of the guest"));
        }
        trace.admit(&mut headers);
        trace.tell(&Span::none(), &mut headers, |name| denied.contains(&name.as_str()));
        headers
    }

    #[test]
    fn each_attempt_is_another_child_of_the_callers_trace() {
        let trace = CallTrace::new(Some(&joined()), None, true);
        let [one, other] = [sent(&trace, &[]), sent(&trace, &[])];
        assert_ne!(one[TRACEPARENT], other[TRACEPARENT]);
        for headers in [one, other] {
            assert_eq!(headers.get_all(TRACEPARENT).iter().count(), 1);
            let told = TraceContext::of_headers(&headers).unwrap();
            assert_eq!((told.trace_id, told.flags, told.tracestate()), (joined().trace_id, 1, Some("a=1")));
            assert_ne!(told.span_id, joined().span_id);
        }
    }

    #[test]
    fn what_nobody_traces_or_may_be_told_is_left_as_it_is() {
        for trace in [CallTrace::new(None, None, true), CallTrace::new(Some(&joined()), None, false)] {
            assert_eq!(sent(&trace, &[])[TRACEPARENT], "of the guest");
        }
    }

    #[test]
    fn a_denied_header_is_not_sent_for_the_host_either() {
        let trace = CallTrace::new(Some(&joined()), None, true);
        assert!(sent(&trace, &["traceparent"]).is_empty());
        let without_state = sent(&trace, &["tracestate"]);
        assert!(without_state.contains_key(TRACEPARENT) && !without_state.contains_key(TRACESTATE));
    }

    #[test]
    fn the_span_that_is_exported_is_the_one_that_is_told() {
        fn of(_: &Span) -> Option<TraceContext> {
            TraceContext::parse("00-11111111111111111111111111111111-2222222222222222-00", None)
        }
        // Where nobody takes spans, it is not asked.
        let trace = CallTrace::new(None, Some(of), true);
        assert!(trace.sent.is_none());
        let subscriber = tracing_subscriber::registry();
        tracing::subscriber::with_default(subscriber, || {
            let span = tracing::info_span!("a");
            let trace = span.in_scope(|| CallTrace::new(Some(&joined()), Some(of), true));
            let mut headers = HeaderMap::new();
            trace.tell(&span, &mut headers, |_| false);
            assert_eq!(headers[TRACEPARENT], of(&span).unwrap().traceparent());
        });
    }
}
