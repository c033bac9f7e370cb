//! The path of one call: resolve, load, admit, merge, check, authorise, call, record.
//!
//! Every door (command line, REST, MCP, Rust) enters [`execute`] and leaves with an [`Execution`]. Invariant: a call
//! that reached an action version leaves a run record, however it ended: also when its caller left and its future was dropped
//! ([`Begun`]); nothing is dialled before step 7.

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use openact_core::{
    ActionTrn, Error, ErrorCode, Result, Tenant, Timestamp,
    governance::Governance,
    limits::{CallLimits, INPUT_BYTES_MAX},
    run::{Door, HostCall, RunId, RunRecord, Usage},
    trace::TraceContext,
    trn::{Action, Reference},
};
use openact_engine::{Call, CallKind, CallReport, ItemSender};
use serde_json::Value;
use tokio::{sync::oneshot, task::AbortHandle, time::timeout};
use tracing::Instrument as _;

use crate::{Json, OpenAct, Shared, access::Granted, explain, kept, prepared::Prepared, spans};

/// What to run, for whom.
#[derive(Clone, Debug)]
pub struct Request {
    /// Whose action.
    pub tenant: Tenant,
    /// The action as the caller names it: `http/get-user`, `get-user`, a TRN.
    pub action: String,
    /// The input; `null` means an empty object.
    pub input: Value,
    /// A shorter or longer deadline than the configuration's.
    pub timeout: Option<Duration>,
    /// The longest deadline of all, whoever asks for another.
    pub timeout_max: Option<Duration>,
    /// Describe what would be done, change nothing.
    pub dry_run: bool,
    /// The door the call came through.
    pub door: Door,
    /// Takes what the action streams, item by item; none: the result holds all of it.
    pub items: Option<ItemSender>,
    /// What the caller may see and run. Holds however the action is named.
    pub governance: Arc<Governance>,
    /// The trace that the caller began, if one did.
    pub trace: Option<TraceContext>,
    /// What the caller calls this request: asked for again, it is answered as it was and not run again.
    pub idempotency_key: Option<String>,
}

impl Request {
    /// A call of `tenant` by `door`, with no bound of its own, of a caller who may run everything.
    pub fn new(door: Door, tenant: Tenant, action: impl Into<String>, input: Value) -> Self {
        Self {
            tenant,
            action: action.into(),
            input,
            timeout: None,
            timeout_max: None,
            dry_run: false,
            door,
            items: None,
            governance: Arc::default(),
            trace: None,
            idempotency_key: None,
        }
    }
}

/// How a call ended, and its record if it reached an action.
#[derive(Debug)]
pub struct Execution {
    /// The result, or why there is none.
    pub result: Result<Json>,
    /// What was done.
    pub run: Option<Arc<RunRecord>>,
}

/// A call that goes on by itself. Dropping it ends the call.
pub struct Going {
    task: AbortHandle,
    ended: oneshot::Receiver<Execution>,
}

impl Going {
    /// Waits for its end.
    pub async fn end(mut self) -> Execution {
        let broken_off = || Execution { result: Err(Error::internal("a call broke off")), run: None };
        (&mut self.ended).await.unwrap_or_else(|_| broken_off())
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Runs a call as a task of the runtime's, which is over before the store is closed.
pub(crate) fn start(openact: OpenAct, request: Request) -> Going {
    let (end, ended) = oneshot::channel();
    let calling = openact.clone();
    let task = openact.0.spawn(async move {
        // Whoever asked may have gone.
        let _ = end.send(calling.execute(request).await);
    });
    Going { task, ended }
}

/// Runs one call.
pub(crate) async fn execute(openact: &Shared, request: Request) -> Execution {
    execute_as(openact, request, RunId(uuid::Uuid::now_v7()), std::future::pending()).await
}

/// The same under an id that is known already, until it is `stopped`.
pub(crate) async fn execute_as(
    openact: &Shared,
    request: Request,
    id: RunId,
    stopped: impl Future<Output = Error>,
) -> Execution {
    let (span, in_flight) = (spans::call(&request), openact.metrics.enter());
    let execution = steps(openact, request, id, stopped).instrument(span.clone()).await;
    spans::ended(&span, execution.result.as_ref().err());
    in_flight.done();
    execution
}

async fn steps(
    openact: &Shared,
    mut request: Request,
    id: RunId,
    stopped: impl Future<Output = Error>,
) -> Execution {
    let started = Started::now(id);

    // 1. resolve the reference, and 2. load action, connection and connector from the snapshot
    let prepared = match find(openact, &request).await {
        Ok(prepared) => prepared,
        Err(error) => {
            openact.metrics.refused(request.door, &error);
            return Execution { result: Err(error), run: None };
        }
    };
    request.dry_run |= prepared.dry_run;
    let begun = Begun::new(openact, &request, &prepared, started);
    // 3. to 7.
    let span = spans::run(&prepared, id, request.dry_run);
    let attempted = match openact.store.audit_run_start(id, &prepared.action, request.door).await {
        Ok(()) => tokio::select! {
            biased;
            stopped = stopped => Err(stopped),
            attempted = attempt(openact, &request, &prepared, &begun.started).instrument(span.clone()) => attempted,
        },
        // By a setting, what cannot be in the audit log does not happen.
        Err(error) => Err(error),
    };
    let report = match attempted {
        Ok(report) => report,
        Err(error) => {
            let (host_calls, usage) = begun.started.done.get().cloned().unwrap_or_default();
            CallReport { result: Err(error), host_calls, usage }
        }
    };
    spans::ended(&span, report.result.as_ref().err());
    drop(span);
    // 8. record
    begun.end(report).await
}

/// The action version that a request names, if its caller may run it.
pub(crate) async fn admitted(openact: &Shared, request: &Request) -> Result<ActionTrn> {
    let action = find(openact, request).await?.action.clone();
    if request.governance.allows(&action) { Ok(action) } else { Err(forbidden(&action)) }
}

async fn find(openact: &Shared, request: &Request) -> Result<Arc<Prepared>> {
    let reference: Reference<Action> = request.action.parse()?;
    let Request { tenant, action, governance, .. } = request;
    openact.snapshot.prepared(openact, tenant, action, &reference, governance).await
}

/// Steps 3 to 7 of a dry run, without a record.
pub(crate) async fn dry_run(openact: &Shared, request: &Request, prepared: &Prepared) -> Result<Json> {
    let started = Started::now(RunId(uuid::Uuid::now_v7()));
    attempt(openact, request, prepared, &started).await?.result.map(Json::from)
}

async fn attempt(
    openact: &Shared,
    request: &Request,
    prepared: &Prepared,
    started: &Started,
) -> Result<CallReport> {
    // 3. admit
    let (input, input_json) = admit(request, &prepared.action)?;
    // 4. merge connection defaults < action < what the caller may set
    let action = prepared.merged_action(&input);
    // 5. check the input, and the action as merged
    prepared.check(&input, &action)?;
    // 6. authorise: a missing credential fails here, before any dial; a dry run dials nothing and says so
    let limits = limits(prepared.limits, request);
    let authorised = timeout(limits.wall(), authorise(openact, request.dry_run, prepared));
    let (granted, missing) = authorised.await.map_err(|_| late(&limits))??;
    // 7. call
    let call = Call {
        connector: &prepared.connector,
        run: started.id,
        kind: CallKind::Invoke {
            operation: &prepared.operation,
            action: action.json(),
            input: &input_json,
            dry_run: request.dry_run,
        },
        connection: &granted.connection,
        grants: &granted.grants,
        limits,
        // What looking secrets up took is the call's time.
        spent: started.clock.elapsed(),
        items: request.items.clone(),
        trace: request.trace.as_ref(),
        done: Some(&started.done),
    };
    let mut report = openact.engine.call(call).await;
    if let (true, Ok(said)) = (request.dry_run, &report.result) {
        report.result = explain::described(openact, request, prepared, said, missing).await;
    }
    Ok(report)
}

async fn authorise(openact: &Shared, dry_run: bool, prepared: &Prepared) -> Result<(Granted, Option<Error>)> {
    match dry_run {
        true => prepared.access.grants_of_dry_run(openact).await,
        false => Ok((prepared.access.grants(openact).await?, None)),
    }
}

fn late(limits: &CallLimits) -> Error {
    let message =
        format!("the secrets or hosts of the connection were not to be had within {} ms", limits.wall_ms);
    Error::timeout(message)
        .hint("where they are kept (a vault, or DNS) does not answer; the deadline is timeout_ms of the action or connection")
        .details(serde_json::json!({ "limit": "wall_ms" }))
}

/// That the caller may run it, and the input as an object, and as text, within its bound.
fn admit<'a>(request: &'a Request, action: &ActionTrn) -> Result<(std::borrow::Cow<'a, Value>, String)> {
    if !request.governance.allows(action) {
        return Err(forbidden(action));
    }
    let input = match &request.input {
        Value::Null => std::borrow::Cow::Owned(Value::Object(Default::default())),
        other => std::borrow::Cow::Borrowed(other),
    };
    let text = input.to_string();
    if text.len() > INPUT_BYTES_MAX {
        return Err(Error::invalid_input(format!(
            "the input has {} bytes; at most {INPUT_BYTES_MAX} are allowed",
            text.len()
        )));
    }
    Ok((input, text))
}

pub(crate) fn forbidden(action: &ActionTrn) -> Error {
    Error::new(ErrorCode::Forbidden, format!("you may not run {}", action.short()))
        .hint("who gave you access (a token, or --allow and --deny of the server) did not allow this action")
}

fn limits(mut limits: CallLimits, request: &Request) -> CallLimits {
    let ms = |duration: Duration| {
        u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).clamp(1, CallLimits::MAX.wall_ms)
    };
    limits.wall_ms = request.timeout.map_or(limits.wall_ms, ms);
    limits.wall_ms = request.timeout_max.map_or(limits.wall_ms, |max| limits.wall_ms.min(ms(max)));
    limits
}

struct Started {
    id: RunId,
    at: Timestamp,
    clock: Instant,
    /// What was done by a call that was stopped on its way.
    done: OnceLock<(Vec<HostCall>, Usage)>,
}

impl Started {
    fn now(id: RunId) -> Self {
        Self { id, at: Timestamp::now(), clock: Instant::now(), done: OnceLock::new() }
    }
}

/// A call that has begun. It leaves its record by [`Begun::end`], or, when its caller is gone before that, with this value.
struct Begun<'a> {
    openact: &'a Shared,
    request: &'a Request,
    prepared: &'a Prepared,
    started: Started,
    /// On its way to the store.
    record: Option<Arc<RunRecord>>,
    has_ended: bool,
}

impl<'a> Begun<'a> {
    fn new(openact: &'a Shared, request: &'a Request, prepared: &'a Prepared, started: Started) -> Self {
        Self { openact, request, prepared, started, record: None, has_ended: false }
    }

    async fn end(mut self, report: CallReport) -> Execution {
        let CallReport { result, host_calls, usage } = report;
        let run = self.record(result.as_ref().err(), host_calls, usage);
        self.record = Some(run.clone());
        let recorded = self.openact.store.record_run(run.clone()).await;
        self.has_ended = true;
        told_if_lost(&run, recorded);
        Execution { result: result.map(Json::from), run: Some(run) }
    }

    fn record(&self, error: Option<&Error>, host_calls: Vec<HostCall>, usage: Usage) -> Arc<RunRecord> {
        let Self { request, prepared, started, .. } = self;
        let run = Arc::new(RunRecord {
            id: started.id,
            action: prepared.action.clone(),
            connection: prepared.connection.clone(),
            connector_digest: prepared.connector.digest(),
            door: request.door,
            dry_run: request.dry_run,
            trace_id: spans::trace_id(request),
            started_at: started.at,
            duration_us: started.clock.elapsed().as_micros() as u64,
            failure: error.map(|error| (error.code, error.message.clone())),
            host_calls,
            usage,
        });
        self.openact.metrics.ran(prepared, &run);
        run
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        if self.has_ended {
            return;
        }
        let run = self.record.take().unwrap_or_else(|| {
            let (host_calls, usage) = self.started.done.take().unwrap_or_default();
            self.record(Some(&kept::cancelled()), host_calls, usage)
        });
        told_if_lost(&run, self.openact.store.queue_run(run.clone()));
    }
}

/// The action ran. Answering that it failed would make a caller run it again, so a record that cannot be written goes to the
/// log instead.
fn told_if_lost(run: &RunRecord, recorded: Result<()>) {
    if let Err(error) = recorded {
        tracing::error!(run = %run.to_json(), "failed to record a run: {error:?}");
    }
}
