//! Which versions of the master key the records of this database are sealed with.
//!
//! ```text
//! settings   master_key_id.1 = …   records of version 1 may exist; there is one such row as a rule
//!            master_key_id.2 = …   a second one from the start of a rotation to its end
//! ```
//!
//! The id says nothing about the key. It ties the database to its keys: a process finds the key of a version by id in
//! its ring, wherever that comes from, and one that has another key is refused before it seals or opens anything.
//!
//! Invariants: a record is sealed with the newest version that both the database and the process know; a version's row
//! goes in the transaction that has seen that no record is of that version, and nothing is sealed with it afterwards.

use std::sync::Arc;

use openact_core::{Error, Result};
use sqlx::{Executor, FromRow, Sqlite, SqliteConnection};

use crate::{
    Store,
    key::{KeyRing, KeySource},
    key_file,
    seal::Keys,
};

/// The keys of one version.
#[derive(Clone)]
pub(crate) struct VersionKeys {
    pub(crate) version: i64,
    pub(crate) keys: Arc<Keys>,
}

/// A version that records of this database may be of.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub(crate) struct LiveVersion {
    pub(crate) version: i64,
    pub(crate) id: String,
}

/// The column `key_id` of a sealed row: the id of the key it is sealed with, read in the same moment as the row.
pub(crate) const KEY_ID: &str =
    "(SELECT value FROM settings WHERE key = 'master_key_id.' || key_version) AS key_id";

/// Where a process's keys come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyOrigin {
    /// Given by the program that embeds OpenAct.
    Given,
    /// `OPENACT_MASTER_KEY`, and `OPENACT_MASTER_KEY_PREVIOUS` while rotating.
    Environment,
    /// A key file.
    File(std::path::PathBuf),
}

/// The master keys of a database, and of this process.
#[derive(Clone, Debug)]
pub struct KeyStatus {
    /// Where this process's keys come from.
    pub origin: KeyOrigin,
    /// The newest first.
    pub versions: Vec<KeyVersion>,
}

/// One version of the master key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyVersion {
    /// Its number; none for a key that has none yet.
    pub version: Option<i64>,
    /// Tells the key from others and says nothing about it.
    pub id: String,
    /// What it is for.
    pub state: KeyState,
    /// Whether this process has it.
    pub available: bool,
    /// Secrets sealed with it.
    pub secrets: u64,
    /// Stored credentials sealed with it.
    pub credentials: u64,
    /// Changes of credentials sealed with it.
    pub history: u64,
    /// Values of connectors sealed with it.
    pub state_values: u64,
    /// Outcomes of runs that somebody comes back for, sealed with it.
    pub outcomes: u64,
}

impl KeyVersion {
    /// Records of every kind that are sealed with it.
    pub fn records(&self) -> u64 {
        self.secrets + self.credentials + self.history + self.state_values + self.outcomes
    }
}

/// See [`KeyVersion`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// New records are sealed with it.
    Current,
    /// A rotation away from it was begun and is not finished.
    Rotating,
    /// This process has it and this database does not use it.
    Unused,
}

impl Store {
    /// Which keys the records are sealed with and which of them this process has. Needs no key.
    pub async fn key_status(&self) -> Result<KeyStatus> {
        let holder = &self.0.keys;
        let ring = holder.reload()?;
        let mut tx = self.0.readers.begin().await.map_err(self.failed("read settings"))?;
        let live = self.live_versions(&mut *tx).await?;
        let mut versions = Vec::new();
        for key in ring.iter().filter(|key| live.iter().all(|live| live.id != key.keys.id())) {
            let (version, id) = (key.number, key.keys.id().to_owned());
            let (state, available) = (KeyState::Unused, true);
            versions.push(KeyVersion {
                version,
                id,
                state,
                available,
                secrets: 0,
                credentials: 0,
                history: 0,
                state_values: 0,
                outcomes: 0,
            });
        }
        for (index, LiveVersion { version, id }) in live.into_iter().enumerate() {
            let counts: (i64, i64, i64, i64, i64) = sqlx::query_as(
                "SELECT (SELECT count(*) FROM secrets WHERE key_version = ?1),
                        (SELECT count(*) FROM auth_connections WHERE key_version = ?1),
                        (SELECT count(*) FROM auth_connection_history WHERE key_version = ?1),
                        (SELECT count(*) FROM connector_state WHERE key_version = ?1),
                        (SELECT count(*) FROM run_results WHERE key_version = ?1)",
            )
            .bind(version)
            .fetch_one(&mut *tx)
            .await
            .map_err(self.failed("count sealed records"))?;
            versions.push(KeyVersion {
                version: Some(version),
                available: ring.find(&id).is_some(),
                id,
                state: if index == 0 { KeyState::Current } else { KeyState::Rotating },
                secrets: counts.0.unsigned_abs(),
                credentials: counts.1.unsigned_abs(),
                history: counts.2.unsigned_abs(),
                state_values: counts.3.unsigned_abs(),
                outcomes: counts.4.unsigned_abs(),
            });
        }
        versions.sort_by_key(|key| std::cmp::Reverse(key.version));
        let origin = match holder.source() {
            KeySource::Keys(_) => KeyOrigin::Given,
            KeySource::Environment(_) => KeyOrigin::Environment,
            KeySource::File(path) => KeyOrigin::File(path.clone()),
        };
        Ok(KeyStatus { origin, versions })
    }

    /// The id of a key that records may be sealed with and this process does not have. Reads no record.
    pub async fn missing_key_id(&self) -> Result<Option<String>> {
        let ring = self.0.keys.reload()?;
        let live = self.live_versions(&self.0.readers).await?;
        Ok(live.into_iter().map(|live| live.id).find(|id| ring.find(id).is_none()))
    }

    /// What to seal with. The first time, ties the database to the newest key of the process.
    pub(crate) async fn sealing_key(&self, tx: &mut SqliteConnection) -> Result<VersionKeys> {
        let live = self.live_versions(&mut *tx).await?;
        let Some(newest) = live.first() else { return self.first_key(tx).await };
        if let Some(keys) = self.0.keys.ring()?.find(&newest.id) {
            return Ok(VersionKeys { version: newest.version, keys });
        }
        // A rotation may have begun since the keys were read.
        let ring = self.0.keys.reload()?;
        let mut known = live.iter().filter_map(|live| {
            let keys = ring.find(&live.id)?;
            Some(VersionKeys { version: live.version, keys })
        });
        known.next().ok_or_else(|| self.another_key(newest.version, Some(&newest.id)))
    }

    async fn first_key(&self, tx: &mut SqliteConnection) -> Result<VersionKeys> {
        let holder = &self.0.keys;
        let mut ring = holder.ring()?;
        if let (KeySource::File(path), None) = (holder.source(), ring.newest()) {
            key_file::create(path)?;
            ring = holder.reload()?;
        }
        let newest = ring.newest().ok_or_else(|| {
            Error::store_unavailable(format!("there is no master key in {}", holder.source().name()))
                .hint("set OPENACT_MASTER_KEY: base64 of 32 bytes")
                .with_retryable(false)
        })?;
        let version = newest.number.unwrap_or(1);
        self.add_version(tx, version, newest.keys.id()).await?;
        Ok(VersionKeys { version, keys: newest.keys.clone() })
    }

    /// Ties the database to one more key.
    pub(crate) async fn add_version(&self, tx: &mut SqliteConnection, version: i64, id: &str) -> Result<()> {
        sqlx::query("INSERT INTO settings (key, value) VALUES ('master_key_id.' || ?, ?)")
            .bind(version)
            .bind(id)
            .execute(tx)
            .await
            .map(drop)
            .map_err(self.failed("write settings"))
    }

    /// The keys for a record of that version, whose id is `key_id` by the database.
    pub(crate) fn opening_keys(&self, key_version: i64, key_id: Option<&str>) -> Result<Arc<Keys>> {
        let id = key_id.ok_or_else(|| self.another_key(key_version, None))?;
        if let Some(keys) = self.0.keys.ring()?.find(id) {
            return Ok(keys);
        }
        // A rotation may have begun since the keys were read.
        self.0.keys.reload()?.find(id).ok_or_else(|| self.another_key(key_version, Some(id)))
    }

    /// The newest first.
    pub(crate) async fn live_versions(
        &self,
        executor: impl Executor<'_, Database = Sqlite>,
    ) -> Result<Vec<LiveVersion>> {
        sqlx::query_as(
            "SELECT CAST(substr(key, 15) AS INTEGER) AS version, value AS id FROM settings
             WHERE key GLOB 'master_key_id.*' ORDER BY version DESC",
        )
        .fetch_all(executor)
        .await
        .map_err(self.failed("read settings"))
    }

    /// The version that `live` says is in use and `ring` does not have; none if it has all.
    pub(crate) fn missing_key(&self, live: &[LiveVersion], ring: &KeyRing) -> Option<Error> {
        let missing = live.iter().find(|live| ring.find(&live.id).is_none())?;
        Some(self.another_key(missing.version, Some(&missing.id)))
    }

    /// Names the version that is needed. Retrying does not help until somebody brings the key.
    fn another_key(&self, version: i64, id: Option<&str>) -> Error {
        let source = self.0.keys.source().name();
        Error::store_unavailable(format!(
            "secrets of database {} are sealed with version {version} of the master key, which is not in {source}",
            self.0.place
        ))
        .hint(match self.0.keys.source() {
            KeySource::File(_) => format!("restore version {version} of the key file, or set OPENACT_MASTER_KEY to it"),
            _ => format!(
                "set OPENACT_MASTER_KEY, or OPENACT_MASTER_KEY_PREVIOUS while rotating, to version {version} of the key"
            ),
        })
        .details(serde_json::json!({ "key_version": version, "key_id": id }))
        .with_retryable(false)
    }
}
