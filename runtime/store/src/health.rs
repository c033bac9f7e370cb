//! What can be told of an open database from inside: is it sound, can it be written, how new are its rows.
//!
//! Invariant: nothing is changed; the one transaction that could write is rolled back.

use openact_core::{Error, Result, Timestamp};

use crate::{Store, failure, rows::damaged};

/// See the module.
#[derive(Debug)]
pub struct Health {
    /// Migrations it has.
    pub migrations: u64,
    /// What SQLite found wrong with its pages, if anything.
    pub damage: Option<String>,
    /// Why it cannot be written, if so.
    pub unwritable: Option<Error>,
    /// The time of its newest row.
    pub newest: Option<Timestamp>,
}

impl Store {
    /// Reads every page and index.
    pub async fn health(&self) -> Result<Health> {
        let failed = |error| failure::explain(&self.0.place, "look at the database", error);
        let readers = &self.0.readers;
        let sound: String =
            sqlx::query_scalar("PRAGMA integrity_check(1)").fetch_one(readers).await.map_err(failed)?;
        let migrations: i64 = sqlx::query_scalar("SELECT count(*) FROM _sqlx_migrations")
            .fetch_one(readers)
            .await
            .map_err(failed)?;
        let newest: Option<String> = sqlx::query_scalar(
            "SELECT max(at) FROM (
                 SELECT max(updated_at) AS at FROM connections UNION ALL SELECT max(updated_at) FROM actions
                 UNION ALL SELECT max(updated_at) FROM secrets UNION ALL SELECT max(started_at) FROM runs
                 UNION ALL SELECT at FROM (SELECT at FROM audit_log ORDER BY id DESC LIMIT 1))",
        )
        .fetch_one(readers)
        .await
        .map_err(failed)?;
        let newest = newest
            .map(|text| text.parse().map_err(|error| damaged("audit_log", "the newest", "at", error)))
            .transpose()?;
        let unwritable = match self.begin().await {
            Ok(tx) => tx.rollback().await.map_err(failed).err(),
            Err(error) => Some(error),
        };
        let damage = (sound != "ok").then(|| sound.trim().to_owned());
        Ok(Health { migrations: migrations.unsigned_abs(), damage, unwritable, newest })
    }
}
