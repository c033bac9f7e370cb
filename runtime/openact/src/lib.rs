#![doc = include_str!("../../../README.md")]
//!
//! # Map of this crate
//!
//! [`Builder`] sets up an [`OpenAct`]; [`execute`](OpenAct::execute) is the path of one call, `interface` what a caller sees of an action, `inputs` what a check found of that; `import` (and `plan`, `sync`, `watch`,
//! `prune`) and `manage` change and list configuration, `explain` and `check` tell what it does and whether it works, `secrets` what it refers to and the key
//! that seals it; `snapshot` and `prepared` keep what calls read; `find` is from a name to its record; `catalog` knows the
//! connectors; `callers` and `oidc` know who calls; [`legacy`] converts databases of the earlier OpenAct; `audit` who changed what, `backup` copies, `doctor`
//! what is wrong; [`settings`] where things are kept; `metrics`, `spans` and `telemetry` what is seen of calls from outside. Invariant: every door is a translation to and from what is public here.

mod access;
mod audit;
mod backup;
mod callers;
mod catalog;
mod check;
mod doctor;
mod execute;
mod explain;
mod find;
mod import;
mod inputs;
mod interface;
mod kept;
pub mod legacy;
mod manage;
mod metrics;
mod oidc;
mod plan;
mod prepared;
mod prune;
mod records;
mod replace;
mod secrets;
pub mod settings;
mod snapshot;
mod spans;
mod sync;
mod telemetry;
mod template;
mod vault;
mod watch;

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use openact_auth::{Mechanisms, Tokens};
use openact_core::{limits::CONNECTION_STATE_MAX, login::Logins};
use openact_engine::{CacheKey, Engine, EngineSettings, Limiter};
use openact_store::{KeySource, Store};
use quick_cache::sync::Cache as Kept;
use serde_json::{Value, value::RawValue};
use tokio::task::{AbortHandle, JoinSet};

use crate::sync::Source;

pub use backup::restore;
pub use callers::{Caller, NewToken, TokenInfo};
pub use catalog::{ConnectorInfo, ConnectorSource};
pub use check::{CheckOutcome, CheckReport};
pub use doctor::{Finding, Health, doctor};
pub use execute::{Execution, Going, Request};
pub use explain::{Explanation, Setting, SettingOrigin};
pub use import::{ImportOptions, OnConflict, Progress, Versioning};
pub use interface::Interface;
pub use kept::{RunEvent, RunEventKind, RunEvents, RunStatus};
pub use legacy::{MigrateOptions, Migration, drop_legacy, migrate, roll_back};
pub use manage::Record;
pub use metrics::METRICS_CONTENT_TYPE;
pub use oidc::{MANAGE as SCOPE_MANAGE, RUN as SCOPE_RUN};
pub use openact_config::{Format, SecretsMode, age};
pub use openact_core::{
    ActionTrn, ConnectionTrn, ConnectorName, Error, ErrorCode, Name, Place, Result, SecretName, Tenant,
    Timestamp, Version,
    action::ActionRecord,
    connection::ConnectionRecord,
    governance::{Governance, Pattern},
    limits,
    manifest::{Capability, ComponentDigest, Effect, Manifest, Operation},
    outcome::RunState,
    policy::{EgressGrants, PrivateAccess, PrivateRule},
    run::{Door, HostCall, RunId, RunRecord, Usage},
    schema::nearest,
    scope::TokenScope,
    secret::{ExposeSecret, SecretRef, SecretString, same as same_secrets},
    trace::{SpanId, TraceContext, TraceId},
};
pub use openact_engine::{ItemSender, Resolve};
pub use openact_store::{
    AuditEntry, AuditReport, AuditRuns, Author, BackupReport, BrokenAt, KeyOrigin, KeyRotation, KeyState,
    KeyStatus, KeyVersion, MasterKey, RestoreReport, RolledBack, RunFilter, RunWrites, StoreUrl,
    StoredSecret,
};
pub use plan::{Change, ChangeStatus, Plan};
pub use records::{Expected, Written};
pub use replace::Replacing;
pub use sync::SyncOptions;
pub use telemetry::Telemetry;
pub use watch::Watch;

/// A JSON result, kept as the text the connector returned.
#[derive(Clone, Debug)]
pub struct Json(Box<RawValue>);

impl Json {
    /// The text.
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    /// The value, parsed.
    pub fn value(&self) -> Result<Value> {
        self.parse()
    }

    /// Parsed into a type of the caller's.
    pub fn parse<T: serde::de::DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_str(self.as_str()).map_err(|error| {
            Error::invalid_input("the result has another shape than the one asked for").because(error)
        })
    }
}

impl From<Box<RawValue>> for Json {
    fn from(raw: Box<RawValue>) -> Self {
        Self(raw)
    }
}

impl serde::Serialize for Json {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl std::fmt::Display for Json {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A call that succeeded.
#[derive(Debug)]
pub struct Outcome {
    /// The action's result.
    pub result: Json,
    /// What was done.
    pub run: Arc<RunRecord>,
}

/// The runtime: runs actions, manages configuration. Clones share everything.
// The store is the same one, with somebody else's name for what is changed through it.
#[derive(Clone)]
pub struct OpenAct(Arc<Shared>, Option<Store>);

pub(crate) struct Shared {
    pub(crate) engine: Engine,
    pub(crate) store: Store,
    pub(crate) snapshot: snapshot::Snapshot,
    pub(crate) catalog: catalog::Catalog,
    pub(crate) env: Environment,
    /// Which private addresses may be reached.
    pub(crate) private: PrivateAccess,
    /// Access tokens of every connection.
    pub(crate) tokens: Arc<Tokens>,
    /// How connectors of wire protocols log in.
    pub(crate) logins: Arc<dyn Logins>,
    /// Of connections with a rate limit.
    pub(crate) limiters: Kept<ConnectionTrn, Arc<Limiter>>,
    /// What was read from vaults.
    pub(crate) vault: Kept<SecretRef, access::VaultValue>,
    /// API tokens.
    pub(crate) callers: callers::Callers,
    /// The issuer of other tokens.
    pub(crate) oidc: Option<Arc<oidc::Oidc>>,
    /// Runs that somebody comes back for.
    pub(crate) runs: kept::Runs,
    /// What is counted of calls.
    pub(crate) metrics: metrics::Metrics,
    /// Why the files that are followed were refused, as long as they are not mended.
    pub(crate) refused_files: Mutex<Option<Arc<Error>>>,
    /// Takes spans away.
    telemetry: Option<Telemetry>,
    /// What goes on in the background. It ends when the store is closed, and when this is dropped.
    tasks: Mutex<JoinSet<()>>,
}

impl Shared {
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that have ended are not kept for it.
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task)
    }

    /// Forgets all that was read of the store: connectors, what was prepared with one, tokens.
    pub(crate) fn forget_connectors(&self) {
        self.catalog.clear();
        self.callers.clear();
        self.forget_prepared();
    }

    /// Forgets what was prepared for calls, because what it was made of changed.
    pub(crate) fn forget_prepared(&self) {
        self.snapshot.clear();
        self.engine.close_sessions();
    }
}

/// Reads an environment variable.
pub type Environment = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

impl OpenAct {
    /// Starts to set one up.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The store that changes are made through: in the name of whoever this acts as.
    pub(crate) fn store(&self) -> &Store {
        self.1.as_ref().unwrap_or(&self.0.store)
    }

    /// Runs an action of the tenant `default`. Dropping the future ends the call; its record says that it was cancelled.
    pub async fn run(&self, action: &str, input: Value) -> Result<Outcome> {
        let request = Request::new(Door::Embedded, Tenant::default(), action, input);
        match self.execute(request).await {
            Execution { result: Ok(result), run: Some(run) } => Ok(Outcome { result, run }),
            Execution { result: Ok(_), run: None } => Err(Error::internal("a run left no record")),
            Execution { result: Err(error), .. } => Err(error),
        }
    }

    /// Runs an action and gives its record with the result, whether it succeeded or not.
    pub async fn execute(&self, request: Request) -> Execution {
        match request.idempotency_key {
            None => execute::execute(&self.0, request).await,
            Some(_) => kept::execute_once(self, request).await,
        }
    }

    /// The same as a task of its own: it goes on while nobody waits for it, and until what this gives is dropped.
    pub fn start(&self, request: Request) -> Going {
        execute::start(self.clone(), request)
    }

    /// Writes what is still to be written and closes the store. To be called before the process ends; a run
    /// record may be lost otherwise.
    pub async fn close(&self) -> Result<()> {
        let mut tasks = std::mem::take(&mut *self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        tasks.shutdown().await;
        let closed = self.0.store.close().await;
        if let Some(telemetry) = &self.0.telemetry {
            telemetry.flush().await;
        }
        closed
    }
}

/// Sets up an [`OpenAct`]. Every setting has a default.
#[derive(Default)]
pub struct Builder {
    store: Option<String>,
    key: Option<KeySource>,
    run_writes: RunWrites,
    config: Vec<Source>,
    config_once: bool,
    connectors: Vec<ComponentSource>,
    cache: Cache,
    instances_max: Option<u32>,
    env: Option<Environment>,
    private: PrivateAccess,
    resolver: Option<Arc<dyn Resolve>>,
    dns_server: Option<SocketAddr>,
    author: Option<Author>,
    audit_runs: Option<AuditRuns>,
    telemetry: Option<Telemetry>,
    oidc: Option<(String, String)>,
}

enum ComponentSource {
    File(PathBuf),
    Bytes(Vec<u8>),
}

/// Where compiled components are kept.
#[derive(Default)]
enum Cache {
    /// The platform's cache folder, if it can be used.
    #[default]
    Platform,
    Folder(PathBuf),
    None,
}

impl Cache {
    /// The folder and the key that authenticates what is in it. The key lies beside the folder and is as private.
    fn open(self) -> Result<Option<(PathBuf, CacheKey)>> {
        let with_key = |folder: PathBuf| {
            let key = CacheKey::from_file_or_create(&folder.with_extension("key"))?;
            Ok(Some((folder, key)))
        };
        match self {
            Self::None => Ok(None),
            Self::Folder(folder) => with_key(folder),
            Self::Platform => {
                match settings::Folders::of_platform().map(|folders| with_key(folders.compiled())) {
                    Some(Err(error)) => {
                        // It only saves time, and a container may have nowhere to write.
                        tracing::warn!("connectors are compiled at every start: {error:?}");
                        Ok(None)
                    }
                    opened => opened.unwrap_or(Ok(None)),
                }
            }
        }
    }
}

impl Builder {
    /// The database: `sqlite://PATH`, or `sqlite::memory:` (the default) for one that ends with the process.
    #[must_use]
    pub fn store(mut self, url: impl Into<String>) -> Self {
        self.store = Some(url.into());
        self
    }

    /// The key that seals secrets. Default: `OPENACT_MASTER_KEY`, else a file made on first use
    /// ([`settings::Folders`]); for `sqlite::memory:` a random one.
    #[must_use]
    pub fn master_key(mut self, key: MasterKey) -> Self {
        self.key = Some(KeySource::Keys(vec![key]));
        self
    }

    /// While the key is rotated: the new one, and the one that records are still sealed with.
    #[must_use]
    pub fn master_keys(mut self, key: MasterKey, previous: MasterKey) -> Self {
        self.key = Some(KeySource::Keys(vec![key, previous]));
        self
    }

    /// The key file, made when a secret is first sealed. It is read again when a record needs a key it did not have.
    #[must_use]
    pub fn key_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.key = Some(KeySource::File(path.into()));
        self
    }

    /// A configuration file, or a folder of them, for the tenant `default`. May be called several times; together with
    /// [`Builder::config_text`] they are one configuration, taken whole or refused whole.
    ///
    /// Files are followed until the [`OpenAct`] is dropped or closed: within a second of a change, calls that start use the
    /// new configuration, and calls in flight finish on the old one. Files with a mistake are logged once and change nothing.
    /// What files have no longer goes from a database in memory; in a file it stays, as after an import
    /// (`openact sync --prune` deletes it).
    #[must_use]
    pub fn config_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.config.push(Source::Path(path.into()));
        self
    }

    /// Configuration as text.
    #[must_use]
    pub fn config_text(mut self, text: impl Into<String>, format: Format) -> Self {
        self.config.push(Source::Text(text.into(), format));
        self
    }

    /// Reads configuration files at the start and does not follow them.
    #[must_use]
    pub fn config_once(mut self) -> Self {
        self.config_once = true;
        self
    }

    /// A connector component to use without installing it, or a template (`.yaml`); what it extends comes before it.
    #[must_use]
    pub fn connector_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.connectors.push(ComponentSource::File(path.into()));
        self
    }

    /// A connector component to use without installing it, as bytes.
    #[must_use]
    pub fn connector_bytes(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.connectors.push(ComponentSource::Bytes(bytes.into()));
        self
    }

    /// When run records are written: in groups off the call's path (the default), or before each answer.
    #[must_use]
    pub fn run_writes(mut self, run_writes: RunWrites) -> Self {
        self.run_writes = run_writes;
        self
    }

    /// The folder for compiled connectors. Default: the platform's cache folder.
    #[must_use]
    pub fn cache_folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.cache = Cache::Folder(folder.into());
        self
    }

    /// Keeps no compiled connectors on disk: every start compiles them.
    #[must_use]
    pub fn without_cache(mut self) -> Self {
        self.cache = Cache::None;
        self
    }

    /// Calls in the sandbox at once; [`limits::INSTANCES_MAX`] by default.
    #[must_use]
    pub fn instances_max(mut self, instances: u32) -> Self {
        self.instances_max = Some(instances);
        self
    }

    /// Where `${VAR}` and `{"$env": …}` are read. Default: the process's environment.
    #[must_use]
    pub fn env(mut self, env: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        self.env = Some(Arc::new(env));
        self
    }

    /// The only private addresses that may be reached, whatever connections say: for a server whose connections are written
    /// by others. Without this, a connection may lead to a private host that it names itself.
    #[must_use]
    pub fn allow_private_only(mut self, rules: Vec<PrivateRule>) -> Self {
        self.private = PrivateAccess::only(rules);
        self
    }

    /// How host names are looked up. Default: as the operating system does.
    #[must_use]
    pub fn resolver(mut self, resolver: impl Resolve + 'static) -> Self {
        self.resolver = Some(Arc::new(resolver));
        self
    }

    /// The server of DNS that is asked for lists of hosts (`mongodb+srv://`). Default: what `OPENACT_DNS_SERVER` says, else
    /// those of the operating system.
    #[must_use]
    pub fn dns_server(mut self, server: SocketAddr) -> Self {
        self.dns_server = Some(server);
        self
    }

    /// To whom the audit log ascribes what is changed. Default: the operating system's user, a Rust program.
    #[must_use]
    pub fn author(mut self, author: Author) -> Self {
        self.author = Some(author);
        self
    }

    /// The same, for the operating system's user who came through this door.
    #[must_use]
    pub fn door(self, door: Door) -> Self {
        self.author(Author { actor: audit::user_of_process(), door })
    }

    /// Whether runs are in the audit log, too. Default: what `OPENACT_AUDIT_RUNS` says, else they are not.
    #[must_use]
    pub fn audit_runs(mut self, audit_runs: AuditRuns) -> Self {
        self.audit_runs = Some(audit_runs);
        self
    }

    /// Exports spans. [`Telemetry::layer`] has to be part of the process's subscriber, too.
    #[must_use]
    pub fn telemetry(mut self, telemetry: Telemetry) -> Self {
        self.telemetry = Some(telemetry);
        self
    }

    /// The OpenID provider whose tokens callers may show ([`OpenAct::authenticate`]), by its `issuer`, and what it writes as
    /// `aud` into those for this server. Its keys are read in the background, again if it is down.
    #[must_use]
    pub fn oidc(mut self, issuer: impl Into<String>, audience: impl Into<String>) -> Self {
        self.oidc = Some((issuer.into(), audience.into()));
        self
    }

    /// Opens the store, starts the engine, loads given connectors, imports given configuration.
    pub async fn build(self) -> Result<OpenAct> {
        let oidc = self.oidc.map(|(issuer, audience)| oidc::Settings::new(issuer, audience)).transpose()?;
        let env: Environment = self.env.unwrap_or_else(|| Arc::new(|name| std::env::var(name).ok()));
        let url = settings::store_url(self.store.as_deref().unwrap_or("sqlite::memory:"))?;
        let key = match self.key {
            Some(key) => key,
            None => settings::key_source(&url, &env)?,
        };
        // The key that seals every secret is nobody's to send or to keep in a configuration.
        let keys = [settings::OPENACT_MASTER_KEY, settings::OPENACT_MASTER_KEY_PREVIOUS];
        let env: Environment = Arc::new(move |name| if keys.contains(&name) { None } else { env(name) });
        let cache = self.cache.open()?;
        let engine = Engine::new(EngineSettings {
            cache,
            instances_max: self.instances_max,
            resolver: self.resolver,
            dns_server: self.dns_server.map_or_else(|| settings::dns_server(&env), |own| Ok(Some(own)))?,
            trace_of: Some(spans::context_of),
        })?;
        if let Some(telemetry) = &self.telemetry {
            telemetry.connect(&engine)?;
        }
        let audit_runs = match self.audit_runs {
            Some(audit_runs) => audit_runs,
            None => settings::audit_runs(&env)?,
        };
        let author =
            self.author.unwrap_or_else(|| Author { actor: audit::user_of_process(), door: Door::Embedded });
        let store = Store::open(&url, key, self.run_writes).await?.acting_as(author);
        store.set_audit_runs(audit_runs)?;
        let generation = store.prepared_generation().await?;
        let oidc = oidc.map(|settings| oidc::Oidc::start(settings, &engine, &self.private));
        let shared = Arc::new(Shared {
            engine,
            store,
            snapshot: Default::default(),
            catalog: Default::default(),
            env,
            private: self.private,
            tokens: Arc::new(Tokens::default()),
            logins: Arc::new(Mechanisms::new()?),
            limiters: Kept::new(CONNECTION_STATE_MAX),
            vault: Kept::new(CONNECTION_STATE_MAX),
            callers: Default::default(),
            oidc,
            runs: Default::default(),
            metrics: Default::default(),
            telemetry: self.telemetry,
            refused_files: Mutex::default(),
            tasks: Mutex::default(),
        });
        let openact = OpenAct(shared.clone(), None);
        give(&shared, self.connectors).await?;
        if !self.config.is_empty() {
            let has_files = self.config.iter().any(|source| matches!(source, Source::Path(_)));
            // A database in memory is this configuration's alone.
            let is_alone = url.path().is_none();
            let options = SyncOptions { prune: is_alone, prune_all: is_alone, ..Default::default() };
            let follower = watch::Follower::new(self.config, options).await;
            follower.sync(&openact).await?;
            if has_files && !self.config_once {
                shared.spawn(watch::follow(Arc::downgrade(&shared), follower));
            }
        }
        if url.path().is_some() {
            shared.spawn(snapshot::watch(Arc::downgrade(&shared), generation));
        }
        Ok(openact)
    }
}

/// Loads connectors that are not installed, in their order.
async fn give(shared: &Shared, connectors: Vec<ComponentSource>) -> Result<()> {
    for source in connectors {
        let bytes = match source {
            ComponentSource::File(path) if template::is_template_file(&path) => {
                let text = template::read_file(&path)?;
                shared.catalog.give(template::read(shared, &path.display().to_string(), &text).await?)?;
                continue;
            }
            ComponentSource::File(path) => catalog::read_component(&path)?,
            ComponentSource::Bytes(bytes) => bytes,
        };
        shared.catalog.give(template::Kind::component(Arc::new(shared.engine.load(bytes).await?)))?;
    }
    Ok(())
}

/// A deadline as people write it: `30s`, `500ms`, `2m`, or seconds alone.
pub fn parse_duration(text: &str) -> Result<Duration> {
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let number: Option<u64> = digits.parse().ok();
    let duration = match (number, unit) {
        (Some(n), "ms") => Some(Duration::from_millis(n)),
        (Some(n), "s" | "") => Some(Duration::from_secs(n)),
        (Some(n), "m") => n.checked_mul(60).map(Duration::from_secs),
        _ => None,
    };
    duration
        .filter(|d| !d.is_zero() && *d <= Duration::from_millis(limits::CallLimits::MAX.wall_ms))
        .ok_or_else(|| {
            Error::invalid_input(format!("'{text}' is not a duration"))
                .hint("expected a number with ms, s or m, at most 60m: 30s")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sends<T: Send>(_: T) {}

    /// An embedder spawns these; a future that is not `Send` fails to compile here and not there.
    #[tokio::test]
    async fn the_futures_can_be_spawned() {
        sends(OpenAct::builder().build());
        let openact = OpenAct::builder().without_cache().build().await.unwrap();
        sends(openact.run("x", Value::Null));
        sends(openact.import_files(&[], &ImportOptions::default()));
        sends(openact.sync(&[], &SyncOptions::default()));
        sends(openact.watch(&[], &SyncOptions::default()));
        sends(openact.prune(&Tenant::default(), 5, false));
        sends(openact.explain(&Tenant::default(), "x", None));
        sends(openact.check_connection(&Tenant::default(), "x"));
        sends(openact.check_all(&Tenant::default(), None));
        sends(openact.install_connector(Vec::new(), Vec::new()));
        sends(openact.interfaces(&Tenant::default(), &Governance::default()));
        sends(openact.create_token(NewToken::default()));
        sends(openact.authenticate("x"));
        let request = Request::new(Door::Embedded, Tenant::default(), "x", Value::Null);
        sends(openact.execute(request.clone()));
        sends(openact.start_run(request, true));
        sends(openact.close());
    }

    #[test]
    fn durations_as_people_write_them() {
        for (text, ms) in [("500ms", 500), ("30s", 30_000), ("2m", 120_000), ("7", 7_000)] {
            assert_eq!(parse_duration(text).unwrap().as_millis(), ms, "{text}");
        }
        for text in ["", "0", "0s", "-1s", "1h", "61m", "99999999999999999999s", "s", "1.5s"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
