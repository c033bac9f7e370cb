//! The spans of one call, for whoever takes them: `openact.call` (the door) ► `openact.run` ► what the engine adds.
//!
//! | span | fields, beside `error.type` |
//! |---|---|
//! | `openact.call` | `openact.door` `openact.tenant` |
//! | `openact.run` | `openact.run_id` `openact.action` `openact.connection` `openact.connector` `openact.dry_run` |
//!
//! All are of the target `openact::trace` and the level `info`. Invariant: they hold names of records and codes, and nothing
//! of an input, a result or a message.

use openact_core::{
    Error,
    run::{Door, RunId},
    trace::{SpanId, TraceContext, TraceId},
};
use opentelemetry::{
    Context,
    trace::{SpanContext, TraceContextExt as _, TraceFlags, TraceState},
};
use tracing::{Span, field::Empty};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::{Request, prepared::Prepared};

/// The span of a call, in the trace that its caller began, if one did.
pub(crate) fn call(request: &Request) -> Span {
    let kind = if matches!(request.door, Door::Rest | Door::Mcp) { "server" } else { "internal" };
    macro_rules! span {
        ($($parent:tt)*) => {
            tracing::info_span!(target: "openact::trace", $($parent)* "openact.call",
                "otel.kind" = kind, "otel.status_code" = Empty, "error.type" = Empty,
                "openact.door" = request.door.as_str(), "openact.tenant" = %request.tenant)
        };
    }
    let Some(trace) = &request.trace else { return span!() };
    let span = span!(parent: None,);
    if !span.is_disabled() {
        // Fails only where the span has begun, and where nobody exports it.
        let _ = span.set_parent(remote(trace));
    }
    span
}

/// The span of steps 3 to 7.
pub(crate) fn run(prepared: &Prepared, run: RunId, dry_run: bool) -> Span {
    tracing::info_span!(target: "openact::trace", "openact.run",
        "otel.status_code" = Empty, "error.type" = Empty, "openact.run_id" = %run,
        "openact.action" = prepared.action.short(), "openact.connection" = prepared.connection.short(),
        "openact.connector" = %prepared.action.connector, "openact.dry_run" = dry_run)
}

/// How what `span` is about ended.
pub(crate) fn ended(span: &Span, error: Option<&Error>) {
    if let Some(error) = error.filter(|_| !span.is_disabled()) {
        span.record("otel.status_code", "ERROR");
        span.record("error.type", error.code.as_str());
    }
}

/// The trace that the current span is part of, if it is exported; else the caller's.
pub(crate) fn trace_id(request: &Request) -> Option<TraceId> {
    let span = Span::current();
    let exported = if span.is_disabled() { None } else { context_of(&span) };
    exported.or_else(|| request.trace.clone()).map(|trace| trace.trace_id)
}

/// A span's identity, if somebody exports it.
pub(crate) fn context_of(span: &Span) -> Option<TraceContext> {
    let context = span.context();
    let span = context.span();
    let known = span.span_context();
    let (trace, span) = (known.trace_id().to_bytes(), known.span_id().to_bytes());
    let context = TraceContext::new(TraceId::new(trace)?, SpanId::new(span)?, known.trace_flags().to_u8());
    Some(context.with_state(&known.trace_state().header()))
}

fn remote(trace: &TraceContext) -> Context {
    let state = trace.tracestate().and_then(|state| state.parse::<TraceState>().ok()).unwrap_or_default();
    Context::new().with_remote_span_context(SpanContext::new(
        opentelemetry::TraceId::from_bytes(trace.trace_id.bytes()),
        opentelemetry::SpanId::from_bytes(trace.span_id.bytes()),
        TraceFlags::new(trace.flags),
        true,
        state,
    ))
}
