//! Rotating the master key while everything goes on.
//!
//! ```text
//! a new key in the ring ─► its version in settings ─► every record sealed anew, in batches ─► the old version's row out
//! (key file: written                (new records          (a transaction each; readers            (sees that no record
//!  before anything refers to it)     are of it)            open both versions)                     is left)
//! ```
//!
//! A record is opened and sealed again with a fresh data key, since what it is sealed with is bound into every
//! ciphertext. Stopped anywhere, each record opens with the key of its own version, and the next rotation goes on where
//! the last one stopped instead of beginning another.
//!
//! Invariants: one rotation at a time for a database; the old key is needed until the row of its version is gone, which
//! is on the disk before anybody is told so.

use std::{fs::TryLockError, time::Duration};

use openact_core::{Error, Result, Tenant, secret::ExposeSecret, secret::SecretString};
use sqlx::{QueryBuilder, Row as _, Sqlite, SqliteConnection, sqlite::SqliteRow};

use crate::{
    Store,
    key::KeySource,
    key_file,
    key_versions::{KEY_ID, VersionKeys},
    rows::damaged,
    seal::{DataKey, Sealed, Slot},
};

/// Records per transaction: some milliseconds of holding the lock that every writer waits for.
const BATCH: i64 = 50;

/// Between batches the lock is free for about as long. SQLite's waiters poll, and would starve without.
const PAUSE: Duration = Duration::from_millis(5);

/// Passes in a row that find records left and none to seal: others are faster, for once or for good.
const IDLE_PASSES_MAX: u32 = 10;

/// What a rotation did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRotation {
    /// The version that is in use now, and the only one.
    pub version: i64,
    /// Records sealed anew.
    pub records: u64,
    /// Whether an earlier rotation had been stopped, and this one finished it.
    pub resumed: bool,
}

/// A table with sealed columns. A field's columns are `<field>_encrypted` and `<field>_nonce`.
struct SealedTable {
    name: &'static str,
    /// SQL for the record as its ciphertexts name it.
    record: &'static str,
    fields: &'static [&'static str],
    fingerprint: bool,
}

const TABLES: [SealedTable; 5] = [
    SealedTable { name: "secrets", record: "tenant || ':' || name", fields: &["value"], fingerprint: true },
    SealedTable {
        name: "auth_connections",
        record: "trn",
        fields: &["access_token", "refresh_token", "extra_data"],
        fingerprint: false,
    },
    SealedTable {
        name: "auth_connection_history",
        record: "id || ':' || trn",
        fields: &["old_data", "new_data"],
        fingerprint: false,
    },
    SealedTable {
        name: "connector_state",
        record: "connection_trn || '|' || connector_digest || '|' || key",
        fields: &["value"],
        fingerprint: false,
    },
    SealedTable {
        name: "run_results",
        record: "tenant || ':' || run_id",
        fields: &["outcome"],
        fingerprint: false,
    },
];

/// The key of the audit log. It changes last, in the transaction that ends the rotation: until then a process that has only
/// the old key can change something.
const AUDIT_KEYS: SealedTable =
    SealedTable { name: "audit_keys", record: "'chain'", fields: &["mac_key"], fingerprint: false };

/// How far one pass over the tables came.
#[derive(Default)]
struct Pass {
    sealed: u64,
    /// The first record that does not open.
    damaged: Option<Error>,
}

impl Store {
    /// Brings every sealed record to a new master key, or finishes the rotation that was stopped before. The new key
    /// is made where the keys are in a file; else it is the first one of the source. The old one is needed until this
    /// succeeds, and not afterwards. A rotation by another process is a `conflict`.
    pub async fn rotate_key(&self) -> Result<KeyRotation> {
        let _alone = self.lock_rotation()?;
        let (target, resumed) = self.rotation_target().await?;
        let (mut records, mut idle) = (0, 0);
        loop {
            let mut pass = Pass::default();
            for table in &TABLES {
                self.reseal_table(table, &target, &mut pass).await?;
            }
            records += pass.sealed;
            // A process that had only the old key may have sealed something behind the pass.
            if self.finish_rotation(&target).await? {
                return Ok(KeyRotation { version: target.version, records, resumed });
            }
            idle = if pass.sealed == 0 { idle + 1 } else { 0 };
            if let (Some(error), 1..) = (pass.damaged, idle) {
                return Err(error.context("the rotation is not finished"));
            }
            if idle == IDLE_PASSES_MAX {
                return Err(Error::conflict(
                    "the rotation is not finished: records go on being sealed with the old key",
                )
                .hint(
                    "start every process that has only the old key with both, and run: openact key rotate",
                ));
            }
        }
    }

    /// Removes from the key file what this database does not need after a rotation; returns the numbers. Other
    /// databases that use the file may need it still.
    pub async fn drop_old_keys(&self) -> Result<Vec<i64>> {
        let KeySource::File(path) = self.0.keys.source() else {
            return Err(Error::invalid_input("the master key is not in a key file")
                .hint("after a rotation, unset OPENACT_MASTER_KEY_PREVIOUS"));
        };
        let _alone = self.lock_rotation()?;
        let live = self.live_versions(&self.0.readers).await?;
        let current = match &*live {
            [] => return Ok(Vec::new()),
            [current] => current,
            _ => {
                return Err(Error::conflict("the rotation of the master key is not finished")
                    .hint("run: openact key rotate"));
            }
        };
        let ring = self.0.keys.reload()?;
        if let Some(error) = self.missing_key(&live, &ring) {
            return Err(error);
        }
        let number = ring.iter().find(|key| key.keys.id() == current.id).and_then(|key| key.number);
        if let Some(number) = number.filter(|number| ring.iter().any(|key| key.number < Some(*number))) {
            // The file is no part of a transaction: rather an entry without the change than the change without one.
            let mut tx = self.begin().await?;
            self.audit_key(&mut tx, "key.drop_old", number, None).await?;
            self.commit(tx).await?;
        }
        let dropped = key_file::retain(path, |key| number.is_none_or(|number| key.number >= number))?;
        self.0.keys.reload()?;
        Ok(dropped)
    }

    /// What to rotate to, and whether an earlier rotation had that goal already.
    async fn rotation_target(&self) -> Result<(VersionKeys, bool)> {
        let mut tx = self.begin().await?;
        let current = self.sealing_key(&mut tx).await?;
        let live = self.live_versions(&mut *tx).await?;
        self.commit(tx).await?;
        let ring = self.0.keys.reload()?;
        if let Some(error) = self.missing_key(&live, &ring) {
            return Err(error);
        }
        if live.len() > 1 {
            return Ok((current, true));
        }
        let next = self.next_key(&current)?;
        let mut tx = self.begin().await?;
        if self.live_versions(&mut *tx).await? != live {
            return Err(Error::conflict("the master key is being rotated by another process"));
        }
        self.add_version(&mut tx, next.version, next.keys.id()).await?;
        let before = serde_json::json!({ "version": current.version });
        self.audit_key(&mut tx, "key.rotate", next.version, Some(before)).await?;
        self.commit(tx).await?;
        Ok((next, false))
    }

    /// The key after `current`. One that is there and unused was made by a rotation that was stopped, or by that of
    /// another database with the same file.
    fn next_key(&self, current: &VersionKeys) -> Result<VersionKeys> {
        let (holder, id) = (&self.0.keys, current.keys.id());
        let after = current.version.saturating_add(1);
        let mut ring = holder.ring()?;
        if let (KeySource::File(path), None) = (holder.source(), ring.newer_than(id)) {
            key_file::add(path, after)?;
            ring = holder.reload()?;
        }
        let next = ring.newer_than(id).ok_or_else(|| {
            Error::invalid_input(format!("the master key in use is the newest that {} has", holder.source().name()))
                .hint(
                    "start every process with OPENACT_MASTER_KEY set to a new key and OPENACT_MASTER_KEY_PREVIOUS to \
                     the one in use, and then run: openact key rotate",
                )
        })?;
        Ok(VersionKeys {
            version: next.number.map_or(after, |number| number.max(after)),
            keys: next.keys.clone(),
        })
    }

    async fn reseal_table(&self, table: &SealedTable, target: &VersionKeys, pass: &mut Pass) -> Result<()> {
        let mut after = i64::MIN;
        loop {
            let mut tx = self.begin().await?;
            let rows = table.select(target.version, after).build().fetch_all(&mut *tx).await;
            let rows = rows.map_err(self.failed("read sealed records"))?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = last.try_get("rowid").map_err(self.failed("read sealed records"))?;
            for row in &rows {
                match self.reseal(table, target, row) {
                    Ok(update) => {
                        update.run(&mut tx).await.map_err(self.failed("write a sealed record"))?;
                        pass.sealed += 1;
                    }
                    Err(error) => pass.damaged = pass.damaged.take().or(Some(error)),
                }
            }
            self.commit(tx).await?;
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn reseal(&self, table: &SealedTable, target: &VersionKeys, row: &SqliteRow) -> Result<Update> {
        let columns =
            table.columns(row).map_err(|error| damaged(table.name, "of an unknown name", "*", error))?;
        let keys = self.opening_keys(columns.key_version, columns.key_id.as_deref())?;
        let slot = |key_version| Slot { table: table.name, record: columns.record.clone(), key_version };
        let old = DataKey::unwrap(&keys, slot(columns.key_version), &columns.data_key)?;
        let (new, data_key) = DataKey::fresh(&target.keys, slot(target.version))?;
        let (mut fields, mut fingerprint) = (Vec::new(), None);
        for (field, sealed) in &columns.fields {
            let value = sealed.as_ref().map(|sealed| old.open(field, sealed)).transpose()?;
            if let (true, Some(value)) = (table.fingerprint, &value) {
                fingerprint = Some(fingerprint_of(target, &columns.record, value)?);
            }
            let sealed = value.map(|value| new.seal(field, value.expose_secret())).transpose()?;
            fields.push((*field, sealed));
        }
        let key_version = target.version;
        Ok(Update { table: table.name, rowid: columns.rowid, key_version, data_key, fields, fingerprint })
    }

    /// Ends the rotation if no record is left of another version. What it ends on is on the disk when this returns: the
    /// next thing to happen may be that the old key is thrown away.
    async fn finish_rotation(&self, target: &VersionKeys) -> Result<bool> {
        let (failed, version) = (|| self.failed("finish the rotation"), target.version);
        sqlx::query("PRAGMA synchronous = FULL").execute(&self.0.writer).await.map_err(failed())?;
        let mut tx = self.begin().await?;
        let left: i64 = sqlx::query_scalar(
            "SELECT (SELECT count(*) FROM secrets WHERE key_version <> ?1)
                  + (SELECT count(*) FROM auth_connections WHERE key_version <> ?1)
                  + (SELECT count(*) FROM auth_connection_history WHERE key_version <> ?1)
                  + (SELECT count(*) FROM connector_state WHERE key_version <> ?1)
                  + (SELECT count(*) FROM run_results WHERE key_version <> ?1)",
        )
        .bind(version)
        .fetch_one(&mut *tx)
        .await
        .map_err(failed())?;
        if left == 0 {
            let log_key = AUDIT_KEYS.select(version, i64::MIN).build().fetch_optional(&mut *tx).await;
            if let Some(row) = log_key.map_err(failed())? {
                self.reseal(&AUDIT_KEYS, target, &row)?.run(&mut tx).await.map_err(failed())?;
            }
            sqlx::query(
                "DELETE FROM settings WHERE key GLOB 'master_key_id.*' AND key <> 'master_key_id.' || ?",
            )
            .bind(version)
            .execute(&mut *tx)
            .await
            .map_err(failed())?;
            self.audit_key(&mut tx, "key.rotated", version, None).await?;
            self.commit(tx).await?;
        } else {
            drop(tx);
        }
        sqlx::query("PRAGMA synchronous = NORMAL").execute(&self.0.writer).await.map_err(failed())?;
        Ok(left == 0)
    }

    /// Held until dropped, or until the process ends, however it does.
    fn lock_rotation(&self) -> Result<std::fs::File> {
        let Some(path) = &self.0.path else {
            return Err(Error::invalid_input(
                "a database in memory has a key of its own, which ends with it",
            ));
        };
        let mut name = path.as_os_str().to_owned();
        name.push("-rotation");
        let failed = |error: std::io::Error| {
            Error::store_unavailable(format!("failed to lock {}: {error}", name.display()))
                .with_retryable(false)
        };
        let file = crate::open::lock_file(name.as_ref()).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => {
                Err(Error::conflict(format!("the master key of database {} is being rotated", self.0.place))
                    .hint("wait for the other rotation to end; see: openact key status"))
            }
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }
}

fn fingerprint_of(target: &VersionKeys, record: &str, value: &SecretString) -> Result<String> {
    let tenant = record.split(':').next().unwrap_or_default();
    let tenant: Tenant = tenant.parse().map_err(|error| damaged("secrets", record, "tenant", error))?;
    Ok(target.keys.fingerprint(&tenant, value))
}

/// A sealed row as it is read.
struct Columns {
    rowid: i64,
    record: String,
    key_version: i64,
    key_id: Option<String>,
    data_key: Sealed,
    fields: Vec<(&'static str, Option<Sealed>)>,
}

impl SealedTable {
    /// Rows that are not of `version`, after the row `after`.
    fn select(&self, version: i64, after: i64) -> QueryBuilder<Sqlite> {
        let mut query =
            QueryBuilder::new("SELECT rowid AS rowid, key_version, data_key_encrypted, data_key_nonce");
        for field in self.fields {
            query.push(format!(", {field}_encrypted, {field}_nonce"));
        }
        query.push(format!(", {KEY_ID}, {} AS record FROM {}", self.record, self.name));
        query.push(" WHERE key_version <> ").push_bind(version);
        query.push(" AND rowid > ").push_bind(after);
        query.push(" ORDER BY rowid LIMIT ").push_bind(BATCH);
        query
    }

    fn columns(&self, row: &SqliteRow) -> sqlx::Result<Columns> {
        let sealed = |field: &str| -> sqlx::Result<Option<Sealed>> {
            let encrypted = row.try_get(&*format!("{field}_encrypted"))?;
            let nonce = row.try_get(&*format!("{field}_nonce"))?;
            Ok(Sealed::of_columns(encrypted, nonce))
        };
        let mut fields = Vec::with_capacity(self.fields.len());
        for field in self.fields {
            fields.push((*field, sealed(field)?));
        }
        Ok(Columns {
            rowid: row.try_get("rowid")?,
            record: row.try_get("record")?,
            key_version: row.try_get("key_version")?,
            key_id: row.try_get("key_id")?,
            data_key: sealed("data_key")?.ok_or(sqlx::Error::RowNotFound)?,
            fields,
        })
    }
}

/// A sealed row as it is written back.
struct Update {
    table: &'static str,
    rowid: i64,
    key_version: i64,
    data_key: Sealed,
    fields: Vec<(&'static str, Option<Sealed>)>,
    fingerprint: Option<String>,
}

impl Update {
    async fn run(self, tx: &mut SqliteConnection) -> sqlx::Result<()> {
        let mut query = QueryBuilder::<Sqlite>::new("UPDATE ");
        query.push(self.table).push(" SET key_version = ").push_bind(self.key_version);
        let data_key = [("data_key", Some(self.data_key))];
        for (field, sealed) in data_key.into_iter().chain(self.fields) {
            let (encrypted, nonce) = sealed.map(|sealed| (sealed.encrypted, sealed.nonce)).unzip();
            query.push(format!(", {field}_encrypted = ")).push_bind(encrypted);
            query.push(format!(", {field}_nonce = ")).push_bind(nonce);
        }
        if let Some(fingerprint) = self.fingerprint {
            query.push(", fingerprint = ").push_bind(fingerprint);
        }
        query.push(" WHERE rowid = ").push_bind(self.rowid);
        query.build().execute(tx).await.map(drop)
    }
}
