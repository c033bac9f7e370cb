//! One call: a place in the pool, a fresh store with its limits, the guest's function, and what it used.
//!
//! Invariant: a store serves one call and is dropped; every bound of [`CallLimits`] that ends it leaves its name in
//! [`CallState::hit`], so that the error says which.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use openact_core::{
    Error, ErrorCode, Result,
    limits::{
        self, CORE_INSTANCES_PER_COMPONENT_MAX, CallLimits, EPOCH_TICK, MEMORIES_PER_COMPONENT_MAX,
        TABLE_ELEMENTS_MAX, TABLES_PER_COMPONENT_MAX,
    },
    manifest::{Capability, Manifest},
    run::{HostCall, RunId, Usage},
};
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout_at};
use wasmtime::{
    CallHook, Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig, ResourceLimiter, Store,
    StoreContextMut, UpdateDeadline,
    component::{Linker, ResourceTable, ResourceTableError},
};

use crate::{
    Call, CallKind, CallReport, Engine, ItemSender,
    bindings::v0_1::{Connector, ConnectorPre, types},
    egress::{Grants, trace::CallTrace, traffic::Traffic},
    error,
    host::{self, wasi::Wasi},
    ticker::Ticks,
};

/// What a store holds: the state of one call.
pub(crate) struct CallState {
    pub(crate) table: ResourceTable,
    pub(crate) wasi: Wasi,
    /// What it sends and receives.
    pub(crate) traffic: Arc<Traffic>,
    /// Takes streamed items; none if the caller does not.
    pub(crate) items: Option<ItemSender>,
    /// The connector's own word on what it needs; none while it is being asked.
    pub(crate) manifest: Option<Arc<Manifest>>,
    pub(crate) run: Option<RunId>,
    /// The connector's digest.
    pub(crate) digest: [u8; 32],
    pub(crate) limits: CallLimits,
    pub(crate) usage: Usage,
    pub(crate) log_lines: u32,
    hit: Option<Limit>,
    meter: Meter,
}

/// A bound that ended a call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Limit {
    Memory,
    Cpu,
    HostCalls,
}

/// Guest time in ticks: it runs while the guest computes and stands still during host calls.
struct Meter {
    ticks: Ticks,
    resumed_at: u64,
    paused_at: u64,
    /// The crossing under way is that of the tick itself.
    ticking: bool,
    used: u64,
    budget: u64,
}

impl Meter {
    fn resume(&mut self) {
        self.resumed_at = self.ticks.now();
    }

    fn pause(&mut self) {
        self.used += self.ticks.now().saturating_sub(self.resumed_at);
        self.resume();
        self.paused_at = self.resumed_at;
    }

    /// Whether a host function took so long that a tick passed by unseen.
    fn missed_a_tick(&mut self) -> bool {
        !std::mem::take(&mut self.ticking) && self.ticks.now() != self.paused_at
    }
}

/// The wasmtime engine of OpenAct. Design note: `design` figures in ARCHITECTURE.md say what each setting buys.
pub(crate) fn wasmtime_engine(instances: u32) -> Result<wasmtime::Engine> {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_stacks(instances)
        // Room for every place to be taken by the greediest component there may be, so that one connector's calls never
        // leave another's place without memory. What is not used is address space only.
        .total_memories(instances.saturating_mul(MEMORIES_PER_COMPONENT_MAX))
        .total_tables(instances.saturating_mul(TABLES_PER_COMPONENT_MAX))
        .total_core_instances(instances.saturating_mul(CORE_INSTANCES_PER_COMPONENT_MAX))
        .max_core_instances_per_component(CORE_INSTANCES_PER_COMPONENT_MAX)
        .max_memories_per_component(MEMORIES_PER_COMPONENT_MAX)
        .max_tables_per_component(TABLES_PER_COMPONENT_MAX)
        .max_component_instance_size(4 << 20)
        .max_core_instance_size(4 << 20)
        .table_elements(TABLE_ELEMENTS_MAX)
        .max_memory_size(CallLimits::MAX.memory_bytes as usize)
        // Pages a call dirtied are zeroed in place instead of being given back and faulted in again.
        .linear_memory_keep_resident(1 << 20)
        .async_stack_keep_resident(64 << 10)
        .table_keep_resident(64 << 10)
        .pagemap_scan(Enabled::Auto);
    let mut config = Config::new();
    config
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
        .epoch_interruption(true)
        // A trap's backtrace names guest functions that mean nothing to the caller, and costs on every error. Without it
        // nobody reads these tables, which are a third of a compiled component.
        .wasm_backtrace_max_frames(None)
        .generate_address_map(false)
        .native_unwind_info(cfg!(windows))
        .concurrency_support(false)
        .memory_init_cow(true);
    wasmtime::Engine::new(&config).map_err(|error| {
        Error::internal("failed to reserve memory for the sandbox")
            .hint("the process needs to reserve address space; check `ulimit -v`")
            .because(error.into_boxed_dyn_error())
    })
}

/// Everything a guest can import, linked once per engine.
pub(crate) fn linker(engine: &wasmtime::Engine) -> Result<Linker<CallState>> {
    let mut linker = Linker::new(engine);
    let linked = wasmtime_wasi::p2::add_to_linker_async(&mut linker)
        .and_then(|()| wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker))
        .and_then(|()| Connector::add_to_linker::<_, host::Host>(&mut linker, host::view));
    linked.map_err(|error| {
        Error::internal("failed to link the host functions").because(error.into_boxed_dyn_error())
    })?;
    Ok(linker)
}

/// Asks a component for its manifest, with nothing granted.
pub(crate) async fn describe(engine: &Engine, pre: &ConnectorPre<CallState>) -> Result<types::Manifest> {
    let grants = Arc::new(Grants::none());
    let state = CallState::new(
        engine,
        Traffic::new(grants, limits::DESCRIBE, Duration::ZERO, false, CallTrace::new(None, None, false)),
        None,
    );
    let (answer, _) = enter(engine, pre, state, Ask::Describe).await;
    match answer? {
        Answer::Manifest(manifest) => Ok(manifest),
        Answer::Result(_) => Err(Error::internal("describe answered with a result")),
    }
}

/// Runs one call.
pub(crate) async fn run(engine: &Engine, call: Call<'_>) -> CallReport {
    let dry_run = matches!(call.kind, CallKind::Invoke { dry_run: true, .. });
    let told = call.grants.policies.network.trace;
    let trace = CallTrace::new(call.trace, engine.0.trace_of, told);
    let traffic = Traffic::new(call.grants.clone(), call.limits, call.spent, dry_run, trace);
    let mut state = CallState::new(engine, traffic, Some(call.connector.manifest.clone()));
    state.run = Some(call.run);
    state.digest = call.connector.digest.0;
    state.items = call.items;
    let mut unfinished = Unfinished { traffic: state.traffic.clone(), done: call.done };
    let ask = match call.kind {
        CallKind::Check => Ask::Check(call.connection),
        CallKind::Invoke { operation, action, input, dry_run } => Ask::Invoke(types::Invocation {
            call_id: call.run.to_string(),
            operation: operation.to_owned(),
            connection: call.connection.to_owned(),
            action: action.to_owned(),
            input: input.to_owned(),
            deadline_ms: call.limits.wall_ms,
            dry_run,
        }),
    };
    let (answer, mut state) = enter(engine, &call.connector.pre, state, ask).await;
    let mut result = answer.and_then(|answer| match answer {
        Answer::Result(Ok(text)) => state.accept(text),
        Answer::Result(Err(failure)) => Err(state.explain(error::failure(failure, &call.grants.masks(None)))),
        Answer::Manifest(_) => Err(Error::internal("a call answered with a manifest")),
    });
    state.usage.cpu_ms = state.meter.used * EPOCH_TICK.as_millis() as u64;
    let mut ledger = state.traffic.ledger();
    if let Some(request) = ledger.described.take() {
        // Whatever the connector made of not being let through, this is what was asked for.
        let text = serde_json::json!({ "dry_run": true, "request": request }).to_string();
        result = RawValue::from_string(text)
            .map_err(|error| Error::internal("failed to describe a request").because(error));
    }
    state.usage.request_bytes = ledger.request_bytes;
    state.usage.response_bytes = ledger.response_bytes;
    state.usage.host_calls_unrecorded = ledger.unrecorded;
    let host_calls = std::mem::take(&mut ledger.host_calls);
    drop(ledger);
    unfinished.done = None;
    CallReport { result, host_calls, usage: state.usage }
}

/// A call that goes on. If it is dropped, this tells what it had done outside.
struct Unfinished<'a> {
    traffic: Arc<Traffic>,
    /// None once it has come to its end.
    done: Option<&'a OnceLock<(Vec<HostCall>, Usage)>>,
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        let Some(done) = self.done else { return };
        let mut ledger = self.traffic.ledger();
        let usage = Usage {
            request_bytes: ledger.request_bytes,
            response_bytes: ledger.response_bytes,
            host_calls_unrecorded: ledger.unrecorded,
            ..Usage::default()
        };
        // Nobody else sets it: it is of one call.
        let _ = done.set((std::mem::take(&mut ledger.host_calls), usage));
    }
}

enum Ask<'a> {
    Describe,
    Check(&'a str),
    Invoke(types::Invocation),
}

enum Answer {
    Manifest(types::Manifest),
    Result(Answered),
}

type Answered = Result<String, types::Failure>;

/// Waits for a place, instantiates, asks, and gives the state back with the answer.
async fn enter(
    engine: &Engine,
    pre: &ConnectorPre<CallState>,
    state: CallState,
    ask: Ask<'_>,
) -> (Result<Answer>, CallState) {
    let inner = &engine.0;
    let deadline = state.traffic.deadline;
    let place = match inner.places.try_acquire() {
        Ok(place) => Some(place),
        Err(_) => timeout_at(deadline, inner.places.acquire()).await.ok().and_then(Result::ok),
    };
    let Some(_place) = place else {
        let error = Error::overloaded("every place in the sandbox was taken until the deadline")
            .details(serde_json::json!({ "limit": "instances" }));
        return (Err(error), state);
    };
    let mut store = store(&inner.wasmtime, state);
    let outcome = timeout_at(deadline, instantiate_and_ask(&mut store, pre, ask, deadline)).await;
    let mut state = store.into_data();
    state.wasi.finish(state.run);
    let answer = match outcome {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(state.trapped(error)),
        Err(_) => Err(state.out_of_time()),
    };
    (answer, state)
}

fn store(engine: &wasmtime::Engine, state: CallState) -> Store<CallState> {
    let mut store = Store::new(engine, state);
    store.limiter(|state| state);
    store.set_hostcall_fuel(limits::HOSTCALL_BYTES_MAX);
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(on_tick);
    store.call_hook(on_crossing);
    store
}

async fn instantiate_and_ask(
    store: &mut Store<CallState>,
    pre: &ConnectorPre<CallState>,
    ask: Ask<'_>,
    deadline: Instant,
) -> wasmtime::Result<Answer> {
    let guest = pre.instance_pre().instantiate_async(&mut *store).await?;
    // Only the function that is asked is looked up: finding one costs as much as the pool's share of an instance.
    Ok(match ask {
        Ask::Describe => {
            let describe = guest.get_typed_func::<(), (types::Manifest,)>(&mut *store, "describe")?;
            Answer::Manifest(describe.call_async(store, ()).await?.0)
        }
        Ask::Check(connection) => {
            let check = guest.get_typed_func::<(&str,), (Answered,)>(&mut *store, "check")?;
            Answer::Result(check.call_async(store, (connection,)).await?.0)
        }
        Ask::Invoke(mut invocation) => {
            let invoke = guest.get_typed_func::<(&types::Invocation,), (Answered,)>(&mut *store, "invoke")?;
            invocation.deadline_ms = deadline.saturating_duration_since(Instant::now()).as_millis() as u64;
            Answer::Result(invoke.call_async(store, (&invocation,)).await?.0)
        }
    })
}

/// The guest has computed for a tick: charge it, and let other tasks run.
fn on_tick(mut store: StoreContextMut<'_, CallState>) -> wasmtime::Result<UpdateDeadline> {
    let state = store.data_mut();
    state.meter.pause();
    state.meter.ticking = true;
    if state.meter.used > state.meter.budget {
        return Err(state.exceeded(Limit::Cpu));
    }
    Ok(UpdateDeadline::Yield(1))
}

/// The call goes in or out of the guest: the meter follows, and host calls are counted.
fn on_crossing(mut store: StoreContextMut<'_, CallState>, hook: CallHook) -> wasmtime::Result<()> {
    let state = store.data_mut();
    match hook {
        CallHook::CallingWasm => state.meter.resume(),
        CallHook::ReturningFromWasm => state.meter.pause(),
        CallHook::CallingHost => {
            state.meter.pause();
            state.usage.host_calls += 1;
            if state.usage.host_calls > state.limits.host_calls {
                return Err(state.exceeded(Limit::HostCalls));
            }
            if state.meter.used > state.meter.budget {
                return Err(state.exceeded(Limit::Cpu));
            }
        }
        CallHook::ReturningFromHost => {
            // Time spent in the host is not the guest's, so its next tick is a whole one. But a host function that
            // does not wait yields to nobody: if a tick passed by in it, the guest comes up for air at once (S2).
            let late = state.meter.missed_a_tick();
            state.meter.resume();
            store.set_epoch_deadline(u64::from(!late));
        }
    }
    Ok(())
}

impl CallState {
    fn new(engine: &Engine, traffic: Traffic, manifest: Option<Arc<Manifest>>) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits::RESOURCES_MAX);
        let ticks = engine.0.ticks.clone();
        let (limits, traffic) = (traffic.limits, Arc::new(traffic));
        let meter = Meter {
            resumed_at: ticks.now(),
            paused_at: ticks.now(),
            ticking: false,
            ticks,
            used: 0,
            budget: limits.cpu_ms.div_ceil(EPOCH_TICK.as_millis() as u64),
        };
        let may_http = manifest.as_ref().is_some_and(|manifest| manifest.needs(Capability::Http));
        Self {
            table,
            wasi: Wasi::new(traffic.clone(), may_http),
            traffic,
            items: None,
            manifest,
            run: None,
            digest: [0; 32],
            limits,
            usage: Usage::default(),
            log_lines: 0,
            hit: None,
            meter,
        }
    }

    fn exceeded(&mut self, limit: Limit) -> wasmtime::Error {
        self.hit = Some(limit);
        wasmtime::Error::msg("over a limit of the call")
    }

    /// The connector's text, if it is JSON and short enough.
    fn accept(&mut self, text: String) -> Result<Box<RawValue>> {
        let bytes = text.len() as u64;
        self.usage.output_bytes = bytes;
        if bytes > self.limits.output_bytes {
            return Err(limit_error(
                "output_bytes",
                format!("the result has {bytes} bytes; at most {} are allowed", self.limits.output_bytes),
            ));
        }
        RawValue::from_string(text).map_err(|error| {
            Error::new(ErrorCode::ConnectorCrashed, "the connector returned something that is not JSON")
                .because(error)
        })
    }

    /// The caller's error for a failure of the guest: the host's own, if that is why the guest gave up.
    fn explain(&mut self, failure: Error) -> Error {
        match self.traffic.ledger().last_error.take() {
            Some(error) if may_become(error.code, failure.code) => error,
            _ => failure,
        }
    }

    fn trapped(&mut self, error: wasmtime::Error) -> Error {
        let own = &self.limits;
        match self.hit {
            Some(Limit::Memory) => limit_error(
                "memory_bytes",
                format!("the connector needs more than {} bytes of memory", own.memory_bytes),
            ),
            Some(Limit::Cpu) => {
                limit_error("cpu_ms", format!("the connector computed for more than {} ms", own.cpu_ms))
            }
            Some(Limit::HostCalls) => limit_error(
                "host_calls",
                format!("the connector made more than {} host calls", own.host_calls),
            ),
            None if matches!(error.downcast_ref(), Some(ResourceTableError::Full)) => limit_error(
                "resources",
                format!("the connector holds more than {} streams and handles", limits::RESOURCES_MAX),
            ),
            None if error.is::<wasmtime::PoolConcurrencyLimitError>() => {
                Error::overloaded("no memory is left in the sandbox's pool")
                    .because(error.into_boxed_dyn_error())
            }
            None => {
                let error = error::trap(error);
                tracing::warn!(target: "openact::connector", run = ?self.run, stderr = %self.wasi.stderr(), "{error:?}");
                error
            }
        }
    }

    fn out_of_time(&self) -> Error {
        let ms = self.limits.wall_ms;
        Error::timeout(format!("the call took longer than {ms} ms"))
            .hint("raise it with timeout_ms in the action or connection, or --timeout")
            .details(serde_json::json!({ "limit": "wall_ms" }))
    }
}

pub(crate) fn limit_error(limit: &str, message: String) -> Error {
    Error::limit_exceeded(message).details(serde_json::json!({ "limit": limit }))
}

/// Whether a guest that was told of `code` may fail with `failure` for that reason. The contract knows no rate limit, and
/// `wasi:http` little more than that a request was denied or failed.
fn may_become(code: ErrorCode, failure: ErrorCode) -> bool {
    let is_denial = matches!(code, ErrorCode::EgressDenied | ErrorCode::Forbidden | ErrorCode::AuthRequired);
    code == failure || failure == if is_denial { ErrorCode::EgressDenied } else { ErrorCode::NetworkError }
}

impl ResourceLimiter for CallState {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        // A component may have several memories; the bound is for all together.
        let total = self.usage.memory_bytes + desired.saturating_sub(current) as u64;
        if total > self.limits.memory_bytes {
            self.hit = Some(Limit::Memory);
            return Ok(false);
        }
        self.usage.memory_bytes = total;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ELEMENTS_MAX)
    }
}
