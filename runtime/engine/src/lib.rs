//! The sandbox: everything of wasmtime, and everything a guest can do to the outside.
//!
//! ```text
//! Engine::load(bytes)  component: verify imports → compile or read the cache → describe → Connector
//! Engine::call(call)   instance:  place in the pool → fresh store → invoke → CallReport
//!                      host:      http, log, … answer the guest, through egress
//! ```
//!
//! Read in this order: [`Engine`], `component`, `instance`, `host`, `egress`, `error`.
//!
//! Invariant: nothing of a call is left in the sandbox when it ends; what survives (HTTP pools, parked sessions) lives in the host.

mod bindings;
mod cache;
mod component;
mod egress;
mod error;
mod host;
mod instance;
mod ticker;

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::Duration,
};

use openact_core::{
    Result,
    credential::Transport,
    limits::{self, CallLimits},
    manifest::{ComponentDigest, Manifest},
    run::{HostCall, RunId, Usage},
    seeds::{Listed, SeedList},
    trace::TraceContext,
};
use serde_json::value::RawValue;
use tokio::sync::Semaphore;

pub use cache::CacheKey;
pub use egress::{GrantSettings, Grants, Limiter, Resolve, TraceOf};

/// Takes the items a connector streams, one by one; a full channel makes the connector wait.
pub type ItemSender = tokio::sync::mpsc::Sender<Box<RawValue>>;

/// How an [`Engine`] is set up.
#[derive(Default)]
pub struct EngineSettings {
    /// Folder for compiled components, and the key that authenticates them; none: compile every time.
    pub cache: Option<(PathBuf, CacheKey)>,
    /// Calls in the sandbox at once; [`limits::INSTANCES_MAX`] if not set.
    pub instances_max: Option<u32>,
    /// Looks host names up; the operating system if not set.
    pub resolver: Option<Arc<dyn Resolve>>,
    /// Says which span of an exported trace a span is; nobody exports any if not set.
    pub trace_of: Option<TraceOf>,
    /// The server of DNS that is asked for lists of hosts; those of the operating system if not set.
    pub dns_server: Option<SocketAddr>,
}

/// Loads connectors and runs calls. Cheap to clone.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    wasmtime: wasmtime::Engine,
    linker: wasmtime::component::Linker<instance::CallState>,
    ticks: ticker::Ticks,
    places: Semaphore,
    compilers: Arc<Semaphore>,
    cache: Option<cache::CompiledCache>,
    trace_of: Option<TraceOf>,
    shared: Arc<egress::Shared>,
    lists: egress::Lists,
}

/// A loaded connector: compiled, checked, ready to be instantiated.
pub struct Connector {
    digest: ComponentDigest,
    manifest: Arc<Manifest>,
    pre: bindings::v0_1::ConnectorPre<instance::CallState>,
}

impl Connector {
    /// What it is and can do.
    pub fn manifest(&self) -> &Arc<Manifest> {
        &self.manifest
    }

    /// SHA-256 of the component.
    pub fn digest(&self) -> ComponentDigest {
        self.digest
    }
}

/// One call of a connector.
pub struct Call<'a> {
    /// Which code.
    pub connector: &'a Connector,
    /// The run it belongs to.
    pub run: RunId,
    /// What to do.
    pub kind: CallKind<'a>,
    /// The guest's part of the connection, JSON.
    pub connection: &'a str,
    /// What the call may use of the outside.
    pub grants: &'a Arc<Grants>,
    /// What the call may use of the machine.
    pub limits: CallLimits,
    /// What of its time (`limits.wall_ms`) is gone by now.
    pub spent: Duration,
    /// Takes streamed items, if the caller wants a stream.
    pub items: Option<ItemSender>,
    /// The trace that whoever asked for it began.
    pub trace: Option<&'a TraceContext>,
    /// Gets what was done by a call that is dropped before its end.
    pub done: Option<&'a OnceLock<(Vec<HostCall>, Usage)>>,
}

/// What a [`Call`] asks of the connector.
pub enum CallKind<'a> {
    /// Does the connection work?
    Check,
    /// Run an operation.
    Invoke {
        /// Its name.
        operation: &'a str,
        /// The merged action, JSON.
        action: &'a str,
        /// The input, JSON.
        input: &'a str,
        /// Change nothing.
        dry_run: bool,
    },
}

/// How a call went.
pub struct CallReport {
    /// The connector's answer, valid JSON, or how it failed.
    pub result: Result<Box<RawValue>>,
    /// The first uses of host functions.
    pub host_calls: Vec<HostCall>,
    /// What it used.
    pub usage: Usage,
}

impl Engine {
    /// An engine with its pool reserved and its ticker running.
    pub fn new(settings: EngineSettings) -> Result<Self> {
        let instances = settings.instances_max.unwrap_or(limits::INSTANCES_MAX).max(1);
        let wasmtime = instance::wasmtime_engine(instances)?;
        let cache = settings.cache.map(|(folder, key)| cache::CompiledCache::new(folder, key, &wasmtime));
        Ok(Self(Arc::new(Inner {
            linker: instance::linker(&wasmtime)?,
            ticks: ticker::start(&wasmtime)?,
            places: Semaphore::new(instances as usize),
            compilers: Arc::new(Semaphore::new(limits::COMPILERS_MAX)),
            cache,
            trace_of: settings.trace_of,
            shared: Arc::new(egress::Shared::new(
                settings.resolver.unwrap_or_else(|| Arc::new(egress::SystemResolver)),
            )),
            lists: egress::Lists::new(settings.dns_server),
            wasmtime,
        })))
    }

    /// Loads a component: from the cache if it was compiled before, else by compiling it, which takes a
    /// core for 0.1 s (Rust) to 15 s (Python). Fails with `invalid_config` for what is not a connector.
    pub async fn load(&self, bytes: impl Into<bytes::Bytes>) -> Result<Connector> {
        component::load(self, bytes.into()).await
    }

    /// Runs one call in a fresh instance. Dropping the future ends the call.
    pub async fn call(&self, call: Call<'_>) -> CallReport {
        // In a box: who waits for it would copy it from place to place, and it is large.
        Box::pin(instance::run(self, call)).await
    }

    /// The grants of an action version: what it may reach, as whom and how.
    pub fn grants(&self, settings: GrantSettings) -> Result<Grants> {
        Grants::new(settings, &self.0.shared)
    }

    /// What DNS has of the hosts of a connection that names none. Kept for as long as its records say, within bounds.
    pub async fn listed(&self, seeds: &SeedList) -> Result<Arc<Listed>> {
        self.0.lists.get(seeds).await
    }

    /// Closes every parked session: configuration changed, and with it perhaps what they may be used for.
    pub fn close_sessions(&self) {
        self.0.shared.sessions.clear();
    }

    /// Parked sessions: streams that wait for their connection's next call.
    pub fn sessions(&self) -> usize {
        self.0.shared.sessions.count()
    }

    /// Sends requests of the host itself, by the same rules.
    pub fn transport(&self, settings: GrantSettings) -> Result<Arc<dyn Transport>> {
        Ok(Arc::new(egress::HostTransport(self.grants(settings)?)))
    }
}
