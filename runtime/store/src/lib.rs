//! All SQL of OpenAct: what is configured, what ran, and secrets at rest. SQLite.
//!
//! ```text
//! StoreUrl ── Store::open ── check the schema ──► readers: a few connections, `query_only`
//!                                             └─► writer:  one connection, every transaction BEGIN IMMEDIATE
//!                                                           ▲
//!                                 record_run ── queue ── one task, groups of records
//! ```
//!
//! Read in this order: [`url`] and [`key`] (what a store is opened with), `open` and [`migrate`] (which files are
//! accepted), [`seal`] (how a secret is kept), `key_versions` and `rotation` (with which key), then a file per record: [`connections`], [`actions`] and [`apply`]
//! (both at once), [`legacy`] (databases of the earlier OpenAct), [`prune`] and [`synced`], [`secrets`], [`connectors`], [`runs`], [`checkpoints`], [`auth_connections`], [`tokens`] and [`kept_runs`] of the doors. `rows` turns columns
//! into values, `failure` turns errors of SQLite into errors of OpenAct.
//!
//! Invariants: there is no rule here beyond uniqueness and integrity; a row that changes configuration and the
//! counter of [`Store::config_generation`] change in one transaction; nothing but `secrets` and the columns named
//! `*_encrypted` holds a secret, and those only sealed.

pub mod actions;
pub mod apply;
pub mod audit;
pub mod auth_connections;
pub mod backup;
pub mod checkpoints;
pub mod connections;
pub mod connectors;
mod failure;
pub mod health;
pub mod kept_runs;
pub mod key;
pub mod key_file;
mod key_versions;
pub mod legacy;
pub mod migrate;
mod open;
pub mod prune;
mod rotation;
mod rows;
pub mod runs;
mod schema;
pub mod seal;
pub mod secrets;
pub mod state;
pub mod synced;
pub mod tokens;
pub mod url;

use std::sync::Arc;

use openact_core::{Error, Result};
use sqlx::{Sqlite, SqliteConnection, SqlitePool, Transaction};

pub use actions::ActionFilter;
pub use apply::{ChangeSet, NewSecret};
pub use audit::{AuditEntry, AuditReport, AuditRuns, Author, BrokenAt};
pub use auth_connections::{AuthChange, AuthConnection};
pub use backup::{BackupReport, RestoreReport, copy_database};
pub use checkpoints::Checkpoint;
pub use connections::ConnectionFilter;
pub use connectors::ConnectorRecord;
pub use health::Health;
pub use kept_runs::{IdempotencyKey, Kept, KeptRun};
pub use key::{KeySource, MasterKey};
pub use key_versions::{KeyOrigin, KeyState, KeyStatus, KeyVersion};
pub use legacy::{Converted, LegacyChanges, LegacyRow, LegacyRows, LegacySchema, RolledBack, Survey};
pub use migrate::MigrateReport;
pub use prune::DeletedConnection;
pub use rotation::KeyRotation;
pub use runs::{RunFilter, RunWrites};
pub use secrets::StoredSecret;
pub use synced::{Kind, Synced};
pub use tokens::{ApiToken, parse_token};
pub use url::StoreUrl;

/// An open store. Clones share it; [`Store::close`] ends it for all of them.
#[derive(Clone)]
pub struct Store(Arc<Inner>, Arc<Author>);

struct Inner {
    /// The database as the user named it, for messages.
    place: String,
    /// Its file; none for one in memory.
    path: Option<std::path::PathBuf>,
    readers: SqlitePool,
    writer: SqlitePool,
    keys: key::KeyHolder,
    runs: runs::RunSink,
    owner: kept_runs::Owner,
    /// An [`AuditRuns`].
    audit_runs: std::sync::atomic::AtomicU8,
}

impl Store {
    /// Opens the database at `url`. A file that is absent or empty is created and migrated; one of an older or newer
    /// OpenAct, or of something else, is refused. `key` is not asked before a secret is sealed, opened or compared.
    pub async fn open(url: &StoreUrl, key: KeySource, run_writes: RunWrites) -> Result<Self> {
        let pools = open::Pools::open(url, openact_core::limits::SQLITE_BUSY_TIMEOUT).await?;
        Ok(Self::assemble(pools, key, run_writes))
    }

    fn assemble(pools: open::Pools, key: KeySource, run_writes: RunWrites) -> Self {
        let open::Pools { place, path, readers, writer } = pools;
        let inner = Arc::new_cyclic(|inner| {
            let runs = runs::RunSink::start(run_writes, &place, &writer, inner.clone());
            let keys = key::KeyHolder::new(key);
            let owner = kept_runs::Owner::new();
            Inner { place, path, readers, writer, keys, runs, owner, audit_runs: Default::default() }
        });
        Self(inner, Arc::default())
    }

    /// Brings the database at `url` to the current schema, creating it if it is absent. One of an older version is copied
    /// first, if asked; one of the earlier OpenAct is for [`Store::convert_legacy`].
    pub async fn migrate(url: &StoreUrl, with_backup: bool) -> Result<MigrateReport> {
        open::migrate(url, with_backup, openact_core::limits::SQLITE_BUSY_TIMEOUT).await
    }

    /// Writes what is left of the run records and closes the database. To be called once, at shutdown; every call of
    /// the store afterwards fails. An error says how many records were lost.
    pub async fn close(&self) -> Result<()> {
        let flushed = self.0.runs.close().await;
        if let Err(error) = self.let_go_of_runs().await {
            tracing::warn!("runs that are not over are found to be interrupted later: {error:?}");
        }
        // The writer goes last: the last connection to close folds the write-ahead log into the file.
        self.0.readers.close().await;
        self.0.writer.close().await;
        flushed
    }

    /// A number that grows with every change of connections, actions, connectors or secrets, by any process.
    pub async fn config_generation(&self) -> Result<u64> {
        self.generation_of(&self.0.readers).await
    }

    /// A number that grows with every change of what calls are prepared from, by any process: of configuration, and of what
    /// a check found (see [`Store::found`]).
    pub async fn prepared_generation(&self) -> Result<u64> {
        let sum: i64 = sqlx::query_scalar(
            "SELECT sum(CAST(value AS INTEGER)) FROM settings WHERE key IN ('config_generation', 'found_generation')",
        )
        .fetch_one(&self.0.readers)
        .await
        .map_err(self.failed("read settings"))?;
        Ok(sum.unsigned_abs())
    }

    /// Tells every process that a check found something that calls are prepared from. That is no change of configuration:
    /// nobody decided it, and the audit log has nothing to say of it.
    pub async fn found(&self) -> Result<()> {
        let mut tx = self.begin().await?;
        sqlx::query(
            "INSERT INTO settings (key, value) VALUES ('found_generation', '1')
             ON CONFLICT (key) DO UPDATE SET value = CAST(value AS INTEGER) + 1",
        )
        .execute(&mut *tx)
        .await
        .map_err(self.failed("write settings"))?;
        self.commit(tx).await
    }

    async fn generation_of(&self, executor: impl sqlx::Executor<'_, Database = Sqlite>) -> Result<u64> {
        let text: String = sqlx::query_scalar("SELECT value FROM settings WHERE key = 'config_generation'")
            .fetch_one(executor)
            .await
            .map_err(self.failed("read settings"))?;
        text.parse().map_err(|error| rows::damaged("settings", "config_generation", "value", error))
    }

    /// The database as the user named it.
    pub fn place(&self) -> &str {
        &self.0.place
    }

    /// A write transaction. It holds the lock from the start, so that a read in it stays true until it commits.
    async fn begin(&self) -> Result<Transaction<'static, Sqlite>> {
        self.0.writer.begin_with("BEGIN IMMEDIATE").await.map_err(self.failed("begin a transaction"))
    }

    /// The same, for a change that leaves an entry in the audit log: it needs the key, and getting that may take a while,
    /// which others should not wait for.
    async fn begin_change(&self) -> Result<Transaction<'static, Sqlite>> {
        if self.0.path.is_some() {
            self.0.keys.ring()?;
        }
        self.begin().await
    }

    async fn commit(&self, tx: Transaction<'static, Sqlite>) -> Result<()> {
        tx.commit().await.map_err(self.failed("commit a transaction"))
    }

    /// Commits a transaction that changed configuration.
    async fn commit_configuration(&self, mut tx: Transaction<'static, Sqlite>) -> Result<()> {
        bump_generation(&mut tx).await.map_err(self.failed("write settings"))?;
        self.commit(tx).await
    }

    /// For `map_err`: says what was being done when SQLite failed.
    fn failed(&self, doing: &'static str) -> impl FnOnce(sqlx::Error) -> Error {
        move |error| failure::explain(&self.0.place, doing, error)
    }
}

async fn bump_generation(tx: &mut SqliteConnection) -> sqlx::Result<()> {
    sqlx::query("UPDATE settings SET value = CAST(value AS INTEGER) + 1 WHERE key = 'config_generation'")
        .execute(tx)
        .await
        .map(drop)
}
