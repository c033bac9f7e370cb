//! Runs that somebody comes back for, and the keys by which they ask: `kept_runs`, `run_results`, `idempotency_keys`.
//!
//! ```text
//! keep_run ─► queued, running ─► settle_run ─► over, with a sealed outcome ─► gone after OUTCOME_KEPT
//!                   └─ the process ends before that ─► interrupted, as soon as anybody looks
//! ```
//!
//! Whether a process is there is told by a file beside the database that it holds locked: the system lets go of it however
//! the process ends. Invariant: a key is a run's before that run begins, in one transaction; so of two who ask at once one
//! runs, and nothing that may have run is run again.

use std::{
    fs::{File, TryLockError},
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use openact_core::{
    ActionTrn, Error, Result, Tenant, Timestamp,
    limits::{OUTCOME_BYTES_MAX, OUTCOME_KEPT, OUTCOMES_BYTES_MAX},
    outcome::RunState,
    run::RunId,
    secret::{SecretString, same},
};
use sqlx::{FromRow, QueryBuilder, Sqlite, SqliteConnection};

use crate::{
    Store, failure,
    key_versions::KEY_ID,
    open,
    rows::{Row, time_text},
    seal::{DataKey, Sealed, Slot},
};

/// A run that somebody comes back for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptRun {
    /// Whose.
    pub tenant: Tenant,
    /// Which.
    pub id: RunId,
    /// Of which action version.
    pub action: ActionTrn,
    /// Where it is.
    pub state: RunState,
    /// When it was asked for.
    pub started_at: Timestamp,
}

/// What a caller says of a run, so that asking again does not do it again.
#[derive(Clone, Debug)]
pub struct IdempotencyKey {
    /// The caller's own text.
    pub key: String,
    /// Everything that makes the request another one, as text. A keyed hash of it is kept.
    pub request: SecretString,
}

/// What became of a run to be kept.
#[derive(Debug, PartialEq, Eq)]
pub enum Kept {
    /// It is, and nobody asked for it before.
    New,
    /// The key is that of this run, which was asked for in the same words.
    Same(KeptRun),
    /// The key is that of a run that was asked for in other words.
    Other,
}

/// This process, to other processes.
pub(crate) struct Owner {
    id: String,
    /// Whether it ever had a run.
    had_runs: AtomicBool,
    lock: Mutex<Option<File>>,
}

impl Owner {
    pub(crate) fn new() -> Self {
        Self { id: uuid::Uuid::now_v7().simple().to_string(), had_runs: false.into(), lock: Mutex::default() }
    }

    /// From now on it can be told whether this process is there.
    fn hold(&self, database: Option<&Path>) -> std::io::Result<()> {
        let mut lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        if let (None, Some(database)) = (&*lock, database) {
            let file = open::create_private(&lock_path(database, &self.id))?;
            file.try_lock().map_err(|error| match error {
                TryLockError::Error(error) => error,
                TryLockError::WouldBlock => std::io::ErrorKind::ResourceBusy.into(),
            })?;
            *lock = Some(file);
        }
        self.had_runs.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn let_go(&self, database: Option<&Path>) {
        let held = self.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let (Some(file), Some(database)) = (held, database) {
            // One that stays is removed by who finds that nobody holds it.
            let _ = std::fs::remove_file(lock_path(database, &self.id));
            drop(file);
        }
    }

    fn is_there(&self, owner: &str, database: Option<&Path>) -> bool {
        let Some(database) = database.filter(|_| owner != self.id) else { return owner == self.id };
        let path = lock_path(database, owner);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) => return error.kind() != std::io::ErrorKind::NotFound,
        };
        if file.try_lock().is_err() {
            return true;
        }
        // Its name is never used again.
        let _ = std::fs::remove_file(&path);
        false
    }
}

/// Names from a row are only ours.
fn lock_path(database: &Path, owner: &str) -> PathBuf {
    let owner: String = owner.chars().filter(char::is_ascii_alphanumeric).collect();
    let mut name = database.as_os_str().to_owned();
    name.push(format!("-runs-{owner}"));
    name.into()
}

impl Store {
    /// Takes a run down as one that somebody comes back for, and its key, if it has one that is nobody's yet.
    pub async fn keep_run(&self, run: &KeptRun, key: Option<&IdempotencyKey>) -> Result<Kept> {
        self.0.owner.hold(self.0.path.as_deref()).map_err(|error| {
            Error::store_unavailable(format!(
                "failed to lock a file beside database {}: {error}",
                self.0.place
            ))
            .hint("make the folder of the database writable")
            .with_retryable(false)
        })?;
        // Getting the key may take a while, and others wait for the lock.
        self.0.keys.ring()?;
        let mut tx = self.begin().await?;
        self.purge(&mut tx).await?;
        let prints = match key {
            Some(key) => self.prints_of(&mut tx, &run.tenant, &key.request).await?,
            None => Vec::new(),
        };
        let action = format!("{}/{}", run.action.connector, run.action.name);
        if let Some(key) = key {
            let known: Option<(String, String)> = sqlx::query_as(
                "SELECT request, run_id FROM idempotency_keys WHERE tenant = ? AND action = ? AND key = ?",
            )
            .bind(run.tenant.as_str())
            .bind(&action)
            .bind(&key.key)
            .fetch_optional(&mut *tx)
            .await
            .map_err(self.failed(READ))?;
            if let Some((request, id)) = known {
                drop(tx);
                let is_same = |print: &String| same(&print.as_str().into(), &request.as_str().into());
                if !prints.iter().any(is_same) {
                    return Ok(Kept::Other);
                }
                let id = Row { table: "idempotency_keys", key: &key.key }.parse("run_id", &id)?;
                let run = self.get_kept_run(&run.tenant, id).await?;
                return run.map(Kept::Same).ok_or_else(|| {
                    Error::conflict("the run of this key has just been forgotten").with_retryable(true)
                });
            }
        }
        sqlx::query(
            "INSERT INTO kept_runs (tenant, run_id, action_trn, owner, state, started_at, expires_at)
             VALUES (?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(run.tenant.as_str())
        .bind(run.id.to_string())
        .bind(run.action.to_string())
        .bind(&self.0.owner.id)
        .bind(run.state.as_str())
        .bind(time_text(run.started_at))
        .bind(time_text(end_of_keeping(run.started_at)))
        .execute(&mut *tx)
        .await
        .map_err(self.failed(WRITE))?;
        if let Some(key) = key {
            self.insert_key(&mut tx, run, &action, &key.key, prints.first()).await?;
        }
        self.commit(tx).await?;
        Ok(Kept::New)
    }

    /// A kept run of `tenant`. One whose process is gone is interrupted from now on.
    pub async fn get_kept_run(&self, tenant: &Tenant, id: RunId) -> Result<Option<KeptRun>> {
        let Some((run, owner)) = self.read_kept_run(tenant, id).await? else { return Ok(None) };
        if run.state.is_over() || self.0.owner.is_there(&owner, self.0.path.as_deref()) {
            return Ok(Some(run));
        }
        self.interrupt_runs(&owner, Some(id)).await?;
        Ok(self.read_kept_run(tenant, id).await?.map(|(run, _)| run))
    }

    /// A run begins.
    pub async fn begin_kept_run(&self, tenant: &Tenant, id: RunId) -> Result<()> {
        sqlx::query(
            "UPDATE kept_runs SET state = 'running' WHERE tenant = ? AND run_id = ? AND state = 'queued'",
        )
        .bind(tenant.as_str())
        .bind(id.to_string())
        .execute(&self.0.writer)
        .await
        .map(drop)
        .map_err(self.failed(WRITE))
    }

    /// A run is over: `outcome` is kept, if it is not too long, and from now on for [`OUTCOME_KEPT`]. If nothing was done
    /// (`releases_key`), its key is nobody's again.
    pub async fn settle_run(
        &self,
        tenant: &Tenant,
        id: RunId,
        state: RunState,
        outcome: &str,
        releases_key: bool,
    ) -> Result<()> {
        let mut tx = self.begin_change().await?;
        let settled =
            sqlx::query("UPDATE kept_runs SET state = ?, expires_at = ? WHERE tenant = ? AND run_id = ?")
                .bind(state.as_str())
                .bind(time_text(end_of_keeping(Timestamp::now())))
                .bind(tenant.as_str())
                .bind(id.to_string())
                .execute(&mut *tx)
                .await
                .map_err(self.failed(WRITE))?;
        if settled.rows_affected() == 0 {
            return Err(Error::not_found(format!("run {id} is not kept any more")));
        }
        if outcome.len() <= OUTCOME_BYTES_MAX {
            self.insert_outcome(&mut tx, tenant, id, outcome).await?;
        }
        if releases_key {
            sqlx::query("DELETE FROM idempotency_keys WHERE tenant = ? AND run_id = ?")
                .bind(tenant.as_str())
                .bind(id.to_string())
                .execute(&mut *tx)
                .await
                .map_err(self.failed(WRITE))?;
        }
        self.commit(tx).await
    }

    /// This process is about to end: runs of it that are not over are interrupted.
    pub(crate) async fn let_go_of_runs(&self) -> Result<()> {
        if !self.0.owner.had_runs.swap(false, Ordering::Relaxed) {
            return Ok(());
        }
        let interrupted = self.interrupt_runs(&self.0.owner.id, None).await;
        self.0.owner.let_go(self.0.path.as_deref());
        interrupted
    }

    /// A run of this process that its task did not bring to an end is interrupted.
    pub async fn interrupt_own_run(&self, id: RunId) -> Result<()> {
        self.interrupt_runs(&self.0.owner.id, Some(id)).await
    }

    /// What [`Store::settle_run`] was given; none if it was too long, or is gone already.
    pub async fn get_outcome(&self, tenant: &Tenant, id: RunId) -> Result<Option<SecretString>> {
        let mut query = QueryBuilder::<Sqlite>::new(
            "SELECT outcome_encrypted, outcome_nonce, data_key_encrypted, data_key_nonce, key_version, ",
        );
        query.push(KEY_ID).push(" FROM run_results WHERE tenant = ").push_bind(tenant.as_str());
        query.push(" AND run_id = ").push_bind(id.to_string());
        let row: Option<OutcomeRow> =
            query.build_query_as().fetch_optional(&self.0.readers).await.map_err(self.failed(READ))?;
        let Some(row) = row else { return Ok(None) };
        let keys = self.opening_keys(row.key_version, row.key_id.as_deref())?;
        let wrapped = Sealed { encrypted: row.data_key_encrypted, nonce: row.data_key_nonce };
        let sealed = Sealed { encrypted: row.outcome_encrypted, nonce: row.outcome_nonce };
        DataKey::unwrap(&keys, slot(tenant, id, row.key_version), &wrapped)?.open(FIELD, &sealed).map(Some)
    }

    async fn insert_key(
        &self,
        tx: &mut SqliteConnection,
        run: &KeptRun,
        action: &str,
        key: &str,
        request: Option<&String>,
    ) -> Result<()> {
        sqlx::query(
            "INSERT INTO idempotency_keys (tenant, action, key, request, run_id) VALUES (?, ?, ?, ?, ?)",
        )
        .bind(run.tenant.as_str())
        .bind(action)
        .bind(key)
        .bind(request)
        .bind(run.id.to_string())
        .execute(tx)
        .await
        .map(drop)
        .map_err(self.failed(WRITE))
    }

    async fn insert_outcome(
        &self,
        tx: &mut SqliteConnection,
        tenant: &Tenant,
        id: RunId,
        outcome: &str,
    ) -> Result<()> {
        let sealing = self.sealing_key(tx).await?;
        let (data_key, wrapped) = DataKey::fresh(&sealing.keys, slot(tenant, id, sealing.version))?;
        let sealed = data_key.seal(FIELD, outcome)?;
        sqlx::query(
            "INSERT INTO run_results (tenant, run_id, bytes, outcome_encrypted, outcome_nonce, data_key_encrypted,
                 data_key_nonce, key_version) VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (tenant, run_id) DO NOTHING",
        )
        .bind(tenant.as_str())
        .bind(id.to_string())
        .bind(i64::try_from(sealed.encrypted.len()).unwrap_or(i64::MAX))
        .bind(sealed.encrypted)
        .bind(sealed.nonce)
        .bind(wrapped.encrypted)
        .bind(wrapped.nonce)
        .bind(sealing.version)
        .execute(&mut *tx)
        .await
        .map_err(|error| failure::explain(&self.0.place, WRITE, error))?;
        self.make_room(tx).await
    }

    /// The oldest outcomes go while there are too many bytes of them.
    async fn make_room(&self, tx: &mut SqliteConnection) -> Result<()> {
        loop {
            let deleted = sqlx::query(
                "DELETE FROM run_results WHERE rowid IN (SELECT rowid FROM run_results ORDER BY rowid LIMIT 20)
                 AND (SELECT sum(bytes) FROM run_results) > ?",
            )
            .bind(i64::try_from(OUTCOMES_BYTES_MAX).unwrap_or(i64::MAX))
            .execute(&mut *tx)
            .await
            .map_err(|error| failure::explain(&self.0.place, WRITE, error))?;
            if deleted.rows_affected() == 0 {
                return Ok(());
            }
        }
    }

    /// What is kept no longer. One that still runs is not over, however long it takes.
    async fn purge(&self, tx: &mut SqliteConnection) -> Result<()> {
        sqlx::query("DELETE FROM kept_runs WHERE expires_at < ? AND state NOT IN ('queued', 'running')")
            .bind(time_text(Timestamp::now()))
            .execute(tx)
            .await
            .map(drop)
            .map_err(self.failed(WRITE))
    }

    async fn interrupt_runs(&self, owner: &str, only: Option<RunId>) -> Result<()> {
        let mut query =
            QueryBuilder::<Sqlite>::new("UPDATE kept_runs SET state = 'interrupted', expires_at = ");
        query.push_bind(time_text(end_of_keeping(Timestamp::now())));
        query.push(" WHERE state IN ('queued', 'running') AND owner = ").push_bind(owner);
        if let Some(id) = only {
            query.push(" AND run_id = ").push_bind(id.to_string());
        }
        query.build().execute(&self.0.writer).await.map(drop).map_err(self.failed(WRITE))
    }

    async fn read_kept_run(&self, tenant: &Tenant, id: RunId) -> Result<Option<(KeptRun, String)>> {
        let row: Option<KeptRow> = sqlx::query_as(
            "SELECT action_trn, owner, state, started_at FROM kept_runs WHERE tenant = ? AND run_id = ?",
        )
        .bind(tenant.as_str())
        .bind(id.to_string())
        .fetch_optional(&self.0.readers)
        .await
        .map_err(self.failed(READ))?;
        let Some(found) = row else { return Ok(None) };
        let key = id.to_string();
        let row = Row { table: "kept_runs", key: &key };
        let run = KeptRun {
            tenant: tenant.clone(),
            id,
            action: row.parse("action_trn", &found.action_trn)?,
            state: row.parse("state", &found.state)?,
            started_at: row.parse("started_at", &found.started_at)?,
        };
        Ok(Some((run, found.owner)))
    }

    /// By the key in use first, then by every other there is: the one of before a rotation stays for a while.
    async fn prints_of(
        &self,
        tx: &mut SqliteConnection,
        tenant: &Tenant,
        request: &SecretString,
    ) -> Result<Vec<String>> {
        let mut prints = vec![self.sealing_key(tx).await?.keys.fingerprint(tenant, request)];
        prints.extend(self.0.keys.ring()?.iter().map(|key| key.keys.fingerprint(tenant, request)));
        Ok(prints)
    }
}

fn end_of_keeping(from: Timestamp) -> Timestamp {
    from.checked_add(OUTCOME_KEPT).unwrap_or(from)
}

fn slot(tenant: &Tenant, id: RunId, key_version: i64) -> Slot {
    Slot { table: "run_results", record: format!("{tenant}:{id}"), key_version }
}

const FIELD: &str = "outcome";

/// What failed, for an error.
const READ: &str = "read a kept run";
const WRITE: &str = "write a kept run";

#[derive(FromRow)]
struct KeptRow {
    action_trn: String,
    owner: String,
    state: String,
    started_at: String,
}

#[derive(FromRow)]
struct OutcomeRow {
    outcome_encrypted: String,
    outcome_nonce: String,
    data_key_encrypted: String,
    data_key_nonce: String,
    key_version: i64,
    key_id: Option<String>,
}
