//! An earlier database becomes one of this version.
//!
//! ```text
//! BEGIN IMMEDIATE ─ copy the file ─ rename to legacy_* ─ migrations ─ what the rows became, sealed ─ COMMIT
//! ```
//!
//! Invariant: it is one transaction, so that a killed process leaves the earlier database or the new one.

use std::path::PathBuf;

use openact_core::{AuthTrn, Result};
use sqlx::{QueryBuilder, Sqlite, SqliteConnection};

use super::{LegacyRows, TABLES, aside, copy_beside, quoted, read::read, recognise};
use crate::{
    AuthChange, AuthConnection, Author, ChangeSet, KeySource, RunWrites, Store, StoreUrl, bump_generation,
    migrate::{self, MIGRATIONS},
    open::Pools,
};

/// What the rows of an earlier database became.
#[derive(Default)]
pub struct LegacyChanges {
    /// Connections, actions and their secrets.
    pub configuration: ChangeSet,
    /// Stored credentials, with the versions and times that they had.
    pub credentials: Vec<AuthConnection>,
    /// Changes of credentials, the first one first.
    pub history: Vec<(AuthTrn, AuthChange)>,
}

/// A database that was converted.
pub struct Converted<T> {
    /// The copy of what it was.
    pub backup: Option<PathBuf>,
    /// The migrations applied.
    pub applied: Vec<String>,
    /// What the conversion has to say.
    pub outcome: T,
}

impl Store {
    /// Converts the database at `url` if it is of the earlier OpenAct: `convert` says what its rows become. None if it is
    /// not, or not any more.
    pub async fn convert_legacy<T>(
        url: &StoreUrl,
        key: KeySource,
        author: Author,
        with_backup: bool,
        convert: impl FnOnce(&LegacyRows) -> Result<(LegacyChanges, T)>,
    ) -> Result<Option<Converted<T>>> {
        let timeout = openact_core::limits::SQLITE_BUSY_TIMEOUT;
        let pools = Pools::prepare(url, timeout)?;
        let path = pools.path.clone();
        let store = Self::assemble(pools, key, RunWrites::BeforeAnswer).acting_as(author);
        let done = store.convert(path.filter(|_| with_backup), convert).await;
        if matches!(done, Ok(Some(_))) {
            Pools::use_wal(&store.0.writer, &store.0.place, timeout).await?;
        }
        let closed = store.close().await;
        let done = done?;
        closed.map(|()| done)
    }

    async fn convert<T>(
        &self,
        copied: Option<PathBuf>,
        convert: impl FnOnce(&LegacyRows) -> Result<(LegacyChanges, T)>,
    ) -> Result<Option<Converted<T>>> {
        let place = &self.0.place;
        let mut tx = self.begin_change().await?;
        let Some(schema) = recognise(&mut tx, place).await? else { return Ok(None) };
        let rows = read(&mut tx, place, schema).await?;
        let backup = match &copied {
            Some(path) => Some(copy_beside(path).await?),
            None => None,
        };
        let (changes, outcome) = convert(&rows)?;
        rename_aside(&mut tx, &rows).await.map_err(self.failed("set the earlier tables aside"))?;
        migrate::run(&mut tx, place, &MIGRATIONS).await?;
        self.write(&mut tx, changes).await?;
        bump_generation(&mut tx).await.map_err(self.failed("write settings"))?;
        self.commit(tx).await?;
        Ok(Some(Converted { backup, applied: MIGRATIONS.iter().map(migrate::name).collect(), outcome }))
    }

    async fn write(&self, tx: &mut SqliteConnection, changes: LegacyChanges) -> Result<()> {
        self.write_changes(tx, &changes.configuration).await?;
        if changes.credentials.is_empty() && changes.history.is_empty() {
            return Ok(());
        }
        let key = self.sealing_key(tx).await?;
        for credential in &changes.credentials {
            self.audit_credential(tx, None, Some(credential)).await?;
            self.write_row(tx, &key, credential).await?;
        }
        for (trn, change) in &changes.history {
            self.write_change(tx, &key, trn, change).await?;
        }
        Ok(())
    }
}

/// References between tables, indexes and triggers go along with the tables.
async fn rename_aside(tx: &mut SqliteConnection, rows: &LegacyRows) -> sqlx::Result<()> {
    for table in TABLES.iter().filter(|table| rows.tables.iter().any(|name| name == *table)) {
        let (from, to) = (quoted(table), quoted(&aside(table)));
        let mut query = QueryBuilder::<Sqlite>::new("ALTER TABLE ");
        query.push(format_args!("{from} RENAME TO {to}"));
        query.build().execute(&mut *tx).await?;
    }
    Ok(())
}
