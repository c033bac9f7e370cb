//! Runs that somebody comes back for: started without waiting for them, or with an idempotency key (A5).
//!
//! ```text
//! start_run ────────┐                       ┌─► stored: state, sealed outcome ─► run_status, the same key again
//! execute with key ─┴─► taken down ─► task ─┤
//!                                           └─► in memory: items ─► run_events
//! ```
//!
//! The task belongs to this process and not to the caller: one who goes away and asks again finds the run they left.
//! Invariants: nothing runs before its key is taken down, and a key with which something may have been done runs nothing
//! again; a run is only its tenant's.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use openact_core::{
    ActionTrn, Error, ErrorCode, Result, Tenant, Timestamp,
    limits::{
        IDEMPOTENCY_KEY_BYTES_MAX, OUTCOME_BYTES_MAX, RUN_ITEMS_BYTES_MAX, RUN_ITEMS_MAX, RUNS_AT_ONCE_MAX,
        RUNS_OVER_MAX, RUNS_PENDING_MAX, SNAPSHOT_POLL,
    },
    outcome::RunState,
    run::RunId,
    secret::ExposeSecret,
};
use openact_store::{IdempotencyKey, Kept, KeptRun};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json, value::RawValue};
use tokio::sync::{Semaphore, mpsc, watch};

use crate::{
    Execution, Json, OpenAct, Request, Shared,
    execute::{self, execute_as},
};

/// Where a run is, and how it ended.
#[derive(Debug)]
pub struct RunStatus {
    /// Which.
    pub id: RunId,
    /// Of which action version.
    pub action: ActionTrn,
    /// Where it is.
    pub state: RunState,
    /// When it was asked for.
    pub started_at: Timestamp,
    /// How it ended. None while it goes on, and of one that was interrupted, or that was not started to be come back for.
    pub outcome: Option<Result<Json>>,
}

/// What happened in a run.
#[derive(Debug)]
pub struct RunEvent {
    /// Grows from event to event: who comes back says the last one they have.
    pub id: u64,
    /// What.
    pub kind: RunEventKind,
}

/// See [`RunEvent`].
#[derive(Debug)]
pub enum RunEventKind {
    /// The action streamed an item.
    Item(Json),
    /// So many items before this one are no longer to be had.
    Missed(u64),
    /// It is over, with this result. The last event.
    Result(Json),
    /// It is over, with this error. The last event.
    Error(Error),
}

/// What happens in a run, as it happens.
pub struct RunEvents {
    openact: OpenAct,
    tenant: Tenant,
    id: RunId,
    live: Option<(Arc<Live>, watch::Receiver<bool>)>,
    /// The last that the caller has.
    after: u64,
    is_over: bool,
}

/// The runs of this process.
pub(crate) struct Runs {
    /// Those that go on, and the last ones that are over.
    live: Mutex<HashMap<RunId, Arc<Live>>>,
    over: Mutex<VecDeque<RunId>>,
    at_once: Semaphore,
    pending: Arc<Semaphore>,
}

impl Default for Runs {
    fn default() -> Self {
        Self {
            live: Mutex::default(),
            over: Mutex::default(),
            at_once: Semaphore::new(RUNS_AT_ONCE_MAX),
            pending: Arc::new(Semaphore::new(RUNS_PENDING_MAX)),
        }
    }
}

struct Live {
    tenant: Tenant,
    stop: watch::Sender<bool>,
    items: Mutex<Items>,
    /// Whether it is over; told of every item, too.
    changed: watch::Sender<bool>,
}

#[derive(Default)]
struct Items {
    kept: VecDeque<Json>,
    bytes: usize,
    /// How many there were before those that are kept.
    gone: u64,
}

impl Items {
    fn count(&self) -> u64 {
        self.gone + self.kept.len() as u64
    }

    fn push(&mut self, item: Json) {
        self.bytes += item.as_str().len();
        self.kept.push_back(item);
        while self.kept.len() > RUN_ITEMS_MAX || self.bytes > RUN_ITEMS_BYTES_MAX {
            let Some(oldest) = self.kept.pop_front() else { break };
            self.bytes -= oldest.as_str().len();
            self.gone += 1;
        }
    }

    /// The event after `after`, if there is one already.
    fn after(&self, after: u64) -> Option<RunEvent> {
        if after < self.gone {
            return Some(RunEvent { id: self.gone, kind: RunEventKind::Missed(self.gone - after) });
        }
        let item = self.kept.get(usize::try_from(after - self.gone).ok()?)?;
        Some(RunEvent { id: after + 1, kind: RunEventKind::Item(item.clone()) })
    }
}

/// How a run ended, as it is stored.
#[derive(Serialize, Deserialize)]
struct Outcome {
    items: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Value>,
}

impl Outcome {
    fn of(result: &Result<Json>, items: u64) -> Self {
        match result {
            Ok(json) => Self { items, result: Some(json.0.clone()), error: None },
            Err(error) => Self { items, result: None, error: Some(error.to_json()) },
        }
    }

    fn into_result(self) -> Result<Json> {
        match (self.result, self.error) {
            (Some(result), _) => Ok(Json(result)),
            (None, error) => Err(error_of(&error.unwrap_or_default())),
        }
    }
}

impl OpenAct {
    /// Starts a run and does not wait for it. Its result is kept for [`OUTCOME_KEPT`](crate::limits::OUTCOME_KEPT). With
    /// `streams` the items of the action are events, and its result is without them. What is wrong with the action's name, or
    /// with who asks for it, is said here. With a key that was used before for the same, it is the run of then.
    pub async fn start_run(&self, mut request: Request, streams: bool) -> Result<RunId> {
        request.items = None;
        let key = idempotency_key(&request)?;
        let action = execute::admitted(&self.0, &request).await?;
        let place = self.0.runs.pending.clone().try_acquire_owned().map_err(|_| {
            Error::overloaded(format!("{RUNS_PENDING_MAX} runs are waiting or running already"))
        })?;
        let run = kept_run(&request, action, RunState::Queued);
        let live = match take_down(&self.0, &run, key.as_ref()).await? {
            Taken::Known(run) => return Ok(run.id),
            Taken::New(live) => live,
        };
        let (openact, id) = (self.clone(), run.id);
        self.0.spawn(async move {
            let mut collecting = None;
            if streams {
                let (items, given) = mpsc::channel(1);
                request.items = Some(items);
                collecting = Some(tokio::spawn(collect(live.clone(), given)));
            }
            let turn = openact.0.runs.at_once.acquire().await;
            if let Err(error) = openact.0.store.begin_kept_run(&run.tenant, run.id).await {
                tracing::debug!("{error:?}");
            }
            run_to_end(&openact.0, &live, run, request, collecting).await;
            drop((turn, place));
        });
        Ok(id)
    }

    /// Where a run of `tenant` is, and how it ended.
    pub async fn run_status(&self, tenant: &Tenant, id: RunId) -> Result<RunStatus> {
        let Some(run) = kept(&self.0, tenant, id).await? else {
            // One that was waited for has a record, and that is all.
            let run = self.get_run(tenant, id).await?;
            let state = if run.failure.is_none() { RunState::Succeeded } else { RunState::Failed };
            let (action, started_at) = (run.action, run.started_at);
            return Ok(RunStatus { id, action, state, started_at, outcome: None });
        };
        let outcome = match run.state {
            state if !state.is_over() => None,
            RunState::Interrupted => None,
            _ => Some(outcome(&self.0, &run).await.and_then(Outcome::into_result)),
        };
        Ok(RunStatus { id, action: run.action, state: run.state, started_at: run.started_at, outcome })
    }

    /// What happens in a run of `tenant`, from the event after `after` on (0: from the first one).
    pub async fn run_events(&self, tenant: &Tenant, id: RunId, after: u64) -> Result<RunEvents> {
        self.run_status(tenant, id).await?;
        let live = self.0.runs.get(tenant, id).map(|live| {
            let changed = live.changed.subscribe();
            (live, changed)
        });
        Ok(RunEvents { openact: self.clone(), tenant: tenant.clone(), id, live, after, is_over: false })
    }

    /// Stops a run of `tenant` that goes on in this process.
    pub async fn cancel_run(&self, tenant: &Tenant, id: RunId) -> Result<()> {
        let state = self.run_status(tenant, id).await?.state;
        if state.is_over() {
            return Err(Error::conflict(format!("run {id} is over: {}", state.as_str())));
        }
        match self.0.runs.get(tenant, id) {
            Some(live) => {
                live.stop.send_replace(true);
                Ok(())
            }
            None => Err(Error::conflict(format!("run {id} goes on in another process"))
                .hint("ask that process, or wait until it is over")),
        }
    }

    /// Returns when no run goes on that was started without waiting for it, or with a key.
    pub async fn finish_runs(&self) {
        loop {
            let going_on: Vec<_> = lock(&self.0.runs.live)
                .values()
                .map(|live| live.changed.subscribe())
                .filter(|changed| !*changed.borrow())
                .collect();
            if going_on.is_empty() {
                return;
            }
            for mut changed in going_on {
                let _ = changed.wait_for(|is_over| *is_over).await;
            }
        }
    }
}

impl RunEvents {
    /// The next event; none after the last.
    pub async fn next(&mut self) -> Option<RunEvent> {
        while !self.is_over {
            // Looked at first: what happened before it ended is all there is.
            let is_over = match &mut self.live {
                Some((_, changed)) => *changed.borrow_and_update(),
                None => self.is_over_elsewhere().await,
            };
            if let Some((live, _)) = &self.live
                && let Some(event) = lock(&live.items).after(self.after)
            {
                self.after = event.id;
                return Some(event);
            }
            if is_over {
                self.is_over = true;
                return self.last().await;
            }
            match &mut self.live {
                Some((_, changed)) => drop(changed.changed().await),
                None => tokio::time::sleep(SNAPSHOT_POLL).await,
            }
        }
        None
    }

    async fn is_over_elsewhere(&self) -> bool {
        let status = self.openact.run_status(&self.tenant, self.id).await;
        status.map_or(true, |status| status.state.is_over())
    }

    /// The last event; none if the caller has it.
    async fn last(&self) -> Option<RunEvent> {
        let stored = async {
            match kept(&self.openact.0, &self.tenant, self.id).await? {
                Some(run) if run.state == RunState::Interrupted => Err(interrupted(self.id)),
                Some(run) => outcome(&self.openact.0, &run).await,
                None => Err(Error::not_found(format!("the result of run {} was not kept", self.id))),
            }
        };
        let (items, result) = match stored.await {
            Ok(outcome) => (outcome.items, outcome.into_result()),
            Err(error) => (self.after, Err(error)),
        };
        let id = items + 1;
        let kind = result.map_or_else(RunEventKind::Error, RunEventKind::Result);
        (self.after < id).then_some(RunEvent { id, kind })
    }
}

/// Runs a request with an idempotency key: once, whoever asks how often.
pub(crate) async fn execute_once(openact: &OpenAct, mut request: Request) -> Execution {
    let begun = async {
        let key = idempotency_key(&request)?;
        let action = execute::admitted(&openact.0, &request).await?;
        let run = kept_run(&request, action, RunState::Running);
        let taken = take_down(&openact.0, &run, key.as_ref()).await?;
        Ok::<_, Error>((run, taken))
    };
    let (run, live) = match begun.await {
        Ok((run, Taken::New(live))) => (run, live),
        Ok((_, Taken::Known(known))) => return replayed(openact, known).await,
        Err(error) => return Execution { result: Err(error), run: None },
    };
    request.idempotency_key = None;
    let (answer, answered) = tokio::sync::oneshot::channel();
    let (shared, id) = (openact.0.clone(), run.id);
    openact.0.spawn(async move {
        let execution = run_to_end(&shared, &live, run, request, None).await;
        // Whoever asked may have gone.
        let _ = answer.send(execution);
    });
    answered.await.unwrap_or_else(|_| Execution { result: Err(interrupted(id)), run: None })
}

enum Taken {
    New(Arc<Live>),
    /// It was asked for before.
    Known(KeptRun),
}

/// Takes a run down. It is one that goes on before others can read of it, so that nobody takes it for an interrupted one.
async fn take_down(openact: &Shared, run: &KeptRun, key: Option<&IdempotencyKey>) -> Result<Taken> {
    let live = openact.runs.add(run);
    let mut taking = Taking { runs: &openact.runs, id: run.id, is_taken: false };
    match openact.store.keep_run(run, key).await? {
        Kept::New => {
            taking.is_taken = true;
            Ok(Taken::New(live))
        }
        Kept::Same(known) => Ok(Taken::Known(known)),
        Kept::Other => Err(mismatch(key)),
    }
}

/// A run that is being taken down. If its caller leaves meanwhile nobody runs it, so that it does not go on, either.
struct Taking<'a> {
    runs: &'a Runs,
    id: RunId,
    is_taken: bool,
}

impl Drop for Taking<'_> {
    fn drop(&mut self) {
        if !self.is_taken {
            lock(&self.runs.live).remove(&self.id);
        }
    }
}

/// What a run of the same key came to.
async fn replayed(openact: &OpenAct, known: KeptRun) -> Execution {
    let known = match kept(&openact.0, &known.tenant, known.id).await {
        Ok(Some(known)) => known,
        Ok(None) => return Execution { result: Err(interrupted(known.id)), run: None },
        Err(error) => return Execution { result: Err(error), run: None },
    };
    let details = json!({ "run_id": known.id.to_string(), "state": known.state });
    let result = match known.state {
        RunState::Queued | RunState::Running => {
            Err(Error::conflict("a request with this idempotency key is being run")
                .hint("ask again when it is over; the answer is kept")
                .details(details))
        }
        RunState::Interrupted => Err(interrupted(known.id)),
        _ => outcome(&openact.0, &known).await.and_then(Outcome::into_result),
    };
    let record = match openact.get_run(&known.tenant, known.id).await {
        Err(error) if error.code == ErrorCode::NotFound => {
            // It may be on its way.
            let _ = openact.0.store.flush_runs().await;
            openact.get_run(&known.tenant, known.id).await
        }
        record => record,
    };
    Execution { result, run: record.ok().map(Arc::new) }
}

async fn run_to_end(
    openact: &Shared,
    live: &Arc<Live>,
    run: KeptRun,
    request: Request,
    collecting: Option<tokio::task::JoinHandle<()>>,
) -> Execution {
    let _ended = Ended { openact, live, id: run.id };
    let mut stop = live.stop.subscribe();
    let stopped = async move {
        let asked = stop.wait_for(|stop| *stop).await.is_ok();
        if asked { cancelled() } else { std::future::pending().await }
    };
    let execution = execute_as(openact, request, run.id, stopped).await;
    if let Some(collecting) = collecting {
        // The last items are on their way to those who follow.
        let _ = collecting.await;
    }
    let state = match &execution.result {
        Ok(_) => RunState::Succeeded,
        Err(error) if *live.stop.borrow() && error.message == CANCELLED => RunState::Cancelled,
        Err(_) => RunState::Failed,
    };
    // What asked nothing of the host did nothing: the key may be used again once the input, or a secret, was mended.
    // Of one that was stopped it is not known.
    let did_nothing = state == RunState::Failed
        && execution.run.as_ref().is_none_or(|run| run.host_calls.is_empty() && run.usage.host_calls == 0);
    let outcome = Outcome::of(&execution.result, lock(&live.items).count());
    let text = serde_json::to_string(&outcome).unwrap_or_default();
    let settled = openact.store.settle_run(&run.tenant, run.id, state, &text, did_nothing).await;
    if let Err(error) = settled {
        // It ran, and its caller is told so. With the same key it is not run again: that it is not over, and nobody runs it,
        // is found then.
        tracing::error!(run = %run.id, "failed to keep what a run came to: {error:?}");
    }
    execution
}

/// However the task ends, those who follow are told, and the run is no longer one that goes on.
struct Ended<'a> {
    openact: &'a Shared,
    live: &'a Arc<Live>,
    id: RunId,
}

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        let runs = &self.openact.runs;
        let mut over = lock(&runs.over);
        over.push_back(self.id);
        if over.len() > RUNS_OVER_MAX
            && let Some(oldest) = over.pop_front()
        {
            lock(&runs.live).remove(&oldest);
        }
        drop(over);
        self.live.changed.send_replace(true);
    }
}

impl Runs {
    fn add(&self, run: &KeptRun) -> Arc<Live> {
        let live = Arc::new(Live {
            tenant: run.tenant.clone(),
            stop: watch::Sender::new(false),
            items: Mutex::default(),
            changed: watch::Sender::new(false),
        });
        lock(&self.live).insert(run.id, live.clone());
        live
    }

    /// Of that tenant, going on or just over.
    fn get(&self, tenant: &Tenant, id: RunId) -> Option<Arc<Live>> {
        lock(&self.live).get(&id).filter(|live| live.tenant == *tenant).cloned()
    }

    fn goes_on(&self, tenant: &Tenant, id: RunId) -> bool {
        self.get(tenant, id).is_some_and(|live| !*live.changed.borrow())
    }
}

async fn collect(live: Arc<Live>, mut items: mpsc::Receiver<Box<RawValue>>) {
    while let Some(item) = items.recv().await {
        lock(&live.items).push(Json(item));
        live.changed.send_modify(|_| {});
    }
}

/// A kept run as it is now. One of this process that is not over and that nobody runs was interrupted: its task was ended,
/// or its end could not be stored.
async fn kept(openact: &Shared, tenant: &Tenant, id: RunId) -> Result<Option<KeptRun>> {
    let goes_on = openact.runs.goes_on(tenant, id);
    let Some(run) = openact.store.get_kept_run(tenant, id).await? else { return Ok(None) };
    if run.state.is_over() || goes_on {
        return Ok(Some(run));
    }
    openact.store.interrupt_own_run(id).await?;
    openact.store.get_kept_run(tenant, id).await
}

async fn outcome(openact: &Shared, run: &KeptRun) -> Result<Outcome> {
    let gone = || {
        Error::limit_exceeded(format!(
            "run {} is over ({}), and its result is not kept: it had more than {OUTCOME_BYTES_MAX} bytes, or made room for others",
            run.id,
            run.state.as_str()
        ))
        .details(json!({ "limit": "outcome_bytes", "state": run.state }))
    };
    let text = openact.store.get_outcome(&run.tenant, run.id).await?.ok_or_else(gone)?;
    serde_json::from_str(text.expose_secret())
        .map_err(|error| Error::internal("the outcome of a run is damaged").because(error))
}

const CANCELLED: &str = "the run was cancelled";

/// How a run ended that nobody wants the end of.
pub(crate) fn cancelled() -> Error {
    Error::conflict(CANCELLED)
}

fn kept_run(request: &Request, action: ActionTrn, state: RunState) -> KeptRun {
    let id = RunId(uuid::Uuid::now_v7());
    KeptRun { tenant: request.tenant.clone(), id, action, state, started_at: Timestamp::now() }
}

/// The key, with all that makes a request another one.
fn idempotency_key(request: &Request) -> Result<Option<IdempotencyKey>> {
    let Some(key) = &request.idempotency_key else { return Ok(None) };
    if key.is_empty() || key.len() > IDEMPOTENCY_KEY_BYTES_MAX || key.chars().any(char::is_control) {
        return Err(Error::invalid_input(format!(
            "an idempotency key is text of 1 to {IDEMPOTENCY_KEY_BYTES_MAX} bytes"
        )));
    }
    if request.items.is_some() {
        return Err(Error::invalid_input(
            "a streamed result cannot be given again, so it takes no idempotency key",
        )
        .hint("start it as a run of its own, whose result is kept, or leave the key out"));
    }
    let input = match &request.input {
        Value::Null => json!({}),
        input => sorted(input),
    };
    let timeout_ms = request.timeout.map(|timeout| timeout.as_millis());
    let asked = json!({ "input": input, "timeout_ms": timeout_ms, "dry_run": request.dry_run });
    Ok(Some(IdempotencyKey { key: key.clone(), request: asked.to_string().into() }))
}

/// The same JSON, whatever the order of its members was.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut all: Vec<_> = fields.iter().map(|(key, value)| (key.clone(), sorted(value))).collect();
            all.sort_by(|(a, _), (b, _)| a.cmp(b));
            Value::Object(all.into_iter().collect())
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

fn mismatch(key: Option<&IdempotencyKey>) -> Error {
    let key = key.map_or("", |key| key.key.as_str());
    let message = format!("the idempotency key '{}' was used for another request", key.escape_debug());
    Error::new(ErrorCode::IdempotencyMismatch, message).hint("take a new key for what is another request")
}

fn interrupted(id: RunId) -> Error {
    Error::conflict(format!(
        "run {id} was interrupted: what it did is not known, and it is not run again by itself"
    ))
    .hint("look at the other system; to run it again, take another idempotency key")
    .details(json!({ "run_id": id.to_string(), "state": RunState::Interrupted }))
}

/// An error as it was stored.
fn error_of(stored: &Value) -> Error {
    let text = |key: &str| stored.get(key).and_then(Value::as_str);
    let code = text("code").and_then(|code| code.parse().ok()).unwrap_or(ErrorCode::Internal);
    let mut error = Error::new(code, text("message").unwrap_or("the run failed"));
    if let Some(hint) = text("hint") {
        error = error.hint(hint);
    }
    if let Some(details) = stored.get("details") {
        error = error.details(details.clone());
    }
    match stored.get("retryable").and_then(Value::as_bool) {
        Some(retryable) => error.with_retryable(retryable),
        None => error,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(text: &str) -> Json {
        Json(RawValue::from_string(text.to_owned()).unwrap())
    }

    #[test]
    fn who_is_slower_than_the_items_misses_the_oldest_and_is_told() {
        let mut items = Items::default();
        for number in 0..RUN_ITEMS_MAX + 5 {
            items.push(item(&number.to_string()));
        }
        let first = items.after(0).unwrap();
        assert_eq!(first.id, 5);
        assert!(matches!(first.kind, RunEventKind::Missed(5)));
        let next = items.after(first.id).unwrap();
        assert!(
            matches!(next.kind, RunEventKind::Item(json) if json.as_str() == "5"),
            "the next one that is there"
        );
        assert_eq!(next.id, 6);
        assert!(items.after(items.count()).is_none());
        assert!(items.after(u64::MAX).is_none());
        items.push(item(&format!("\"{}\"", "x".repeat(RUN_ITEMS_BYTES_MAX))));
        assert!(items.kept.is_empty() && items.bytes == 0, "one that is too large for all is not kept");
    }

    #[test]
    fn a5_the_order_of_members_makes_no_other_request_and_everything_else_does() {
        let request = |input: Value| Request {
            idempotency_key: Some("k".into()),
            ..Request::new(crate::Door::Embedded, Tenant::default(), "x", input)
        };
        let asked =
            |request: &Request| idempotency_key(request).unwrap().unwrap().request.expose_secret().to_owned();
        let one = asked(&request(json!({"a": 1, "b": {"c": [1, 2], "d": null}})));
        assert_eq!(one, asked(&request(json!({"b": {"d": null, "c": [1, 2]}, "a": 1}))));
        for other in [json!({"a": 1}), json!({"a": 1, "b": {"c": [2, 1], "d": null}}), json!({"a": "1"})] {
            assert_ne!(one, asked(&request(other)));
        }
        assert_eq!(asked(&request(Value::Null)), asked(&request(json!({}))));
        let dry = Request { dry_run: true, ..request(json!({})) };
        assert_ne!(asked(&dry), asked(&request(json!({}))));
        for bad in ["", "a\nb", &"x".repeat(256)] {
            let bad = Request { idempotency_key: Some(bad.to_owned()), ..request(json!({})) };
            assert_eq!(idempotency_key(&bad).unwrap_err().code, ErrorCode::InvalidInput);
        }
    }

    #[tokio::test]
    async fn a5_a_caller_who_leaves_before_the_key_is_taken_down_leaves_no_run_behind() {
        const CONFIG: &str = r#"{"connectors": {"http": {
            "connections": {"api": {"base_url": "http://127.0.0.1:1"}}, "actions": {"get": {"connection": "api"}}}}}"#;
        let openact = OpenAct::builder().without_cache();
        let openact = openact.config_text(CONFIG, crate::Format::Json).build().await.unwrap();
        let request = Request {
            idempotency_key: Some("k".into()),
            ..Request::new(crate::Door::Embedded, Tenant::default(), "get", json!({}))
        };
        let mut call = Box::pin(execute_once(&openact, request));
        while lock(&openact.0.runs.live).is_empty() {
            let is_over = std::future::poll_fn(|context| {
                std::task::Poll::Ready(call.as_mut().poll(context).is_ready())
            });
            assert!(!is_over.await, "it was over before it was taken down");
            tokio::task::yield_now().await;
        }
        drop(call);
        assert!(lock(&openact.0.runs.live).is_empty(), "it goes on for ever");
        openact.finish_runs().await;
    }

    #[test]
    fn an_error_is_given_again_as_it_was() {
        let error = Error::timeout("late").hint("wait").details(json!({"a": 1})).with_retryable(false);
        assert_eq!(error_of(&error.to_json()).to_json(), error.to_json());
    }
}
