//! The way back from a conversion, and the end of the way: the earlier tables under their names again, or gone.
//!
//! Invariant: both are one transaction. What is dropped is overwritten, because it holds secrets in clear. Dropping is in
//! the audit log, or is not done; rolling back, which ends the log, is entered in that of the copy if it can be.

use std::path::PathBuf;

use openact_core::{Error, Result, limits::SQLITE_BUSY_TIMEOUT};
use serde_json::json;
use sqlx::{QueryBuilder, Sqlite, SqliteConnection, SqlitePool, Transaction};

use super::{aside, copy_beside, quoted, recognise, set_aside, tables_of_ours};
use crate::{
    Author, KeySource, RunWrites, Store, StoreUrl, audit, failure,
    migrate::{self, MIGRATIONS, SchemaState},
    open::Pools,
};

/// A conversion that was undone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RolledBack {
    /// The copy of what the database was; it alone has what happened since the conversion.
    pub backup: Option<PathBuf>,
    /// The tables that have their names again.
    pub tables: Vec<String>,
    /// Records of runs that are only in the copy.
    pub runs: u64,
    /// Whether the copy's audit log ends with an entry of this: not without the key, nor if that log cannot go on.
    pub logged: bool,
}

impl Store {
    /// Brings the earlier tables of the database at `url` back and removes this version's.
    pub async fn roll_back_legacy(
        url: &StoreUrl,
        key: KeySource,
        author: Author,
        with_backup: bool,
    ) -> Result<RolledBack> {
        let pools = Pools::prepare_existing(url, SQLITE_BUSY_TIMEOUT)?;
        let done = roll_back(&pools, with_backup, key, author).await;
        pools.writer.close().await;
        done
    }

    /// Removes the earlier tables that are set aside in the database at `url`, and every trace of what they held.
    pub async fn drop_legacy(url: &StoreUrl, key: KeySource, author: Author) -> Result<Vec<String>> {
        let pools = Pools::prepare_existing(url, SQLITE_BUSY_TIMEOUT)?;
        let store = Self::assemble(pools, key, RunWrites::BeforeAnswer).acting_as(author);
        let done = drop_all(&store).await;
        let closed = store.close().await;
        let done = done?;
        closed.map(|()| done)
    }
}

async fn roll_back(pools: &Pools, with_backup: bool, key: KeySource, author: Author) -> Result<RolledBack> {
    let failed = |error| failure::explain(&pools.place, "bring the earlier tables back", error);
    let ours = tables_of_ours().await.map_err(failed)?;
    let (mut tx, tables) = begin(&pools.writer, &pools.place).await?;
    let runs: i64 =
        sqlx::query_scalar("SELECT count(*) FROM runs").fetch_one(&mut *tx).await.map_err(failed)?;
    let (mut backup, mut logged) = (None, false);
    if let Some(path) = pools.path.as_ref().filter(|_| with_backup) {
        let copy = copy_beside(path).await?;
        // The log is in the copy alone from now on.
        let after = json!({ "tables": tables, "runs": runs });
        logged = audit::enter_rollback(&copy, key, author, after).await.is_ok();
        backup = Some(copy);
    }
    sqlx::query("PRAGMA defer_foreign_keys = ON").execute(&mut *tx).await.map_err(failed)?;
    for table in ours {
        alter(&mut tx, format!("DROP TABLE IF EXISTS {}", quoted(&table))).await.map_err(failed)?;
    }
    for table in &tables {
        let sql = format!("ALTER TABLE {} RENAME TO {}", quoted(&aside(table)), quoted(table));
        alter(&mut tx, sql).await.map_err(failed)?;
    }
    sqlx::query("PRAGMA application_id = 0").execute(&mut *tx).await.map_err(failed)?;
    tx.commit().await.map_err(failed)?;
    let tables = tables.into_iter().map(str::to_owned).collect();
    Ok(RolledBack { backup, tables, runs: runs.unsigned_abs(), logged })
}

/// The names of the tables that are dropped but not yet overwritten everywhere.
const DROPPED: &str = "legacy_dropped";

async fn drop_all(store: &Store) -> Result<Vec<String>> {
    let failed = |error| failure::explain(&store.0.place, "drop the earlier tables", error);
    let writer = &store.0.writer;
    sqlx::query("PRAGMA secure_delete = ON").fetch_all(writer).await.map_err(failed)?;
    let tables = match dropped_before(writer).await.map_err(failed)? {
        Some(tables) => tables,
        None => drop_tables(store).await?,
    };
    // Pages that were free before hold older states of the rows, and so does the write-ahead log.
    sqlx::query("VACUUM").execute(writer).await.map_err(failed)?;
    let (busy, _, _): (i64, i64, i64) =
        sqlx::query_as("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(writer).await.map_err(failed)?;
    if busy != 0 {
        let place = &store.0.place;
        return Err(Error::store_unavailable(format!(
            "the earlier tables of database {place} are dropped, but what they held is still in its file: another process is using it"
        ))
        .hint("stop every other process that uses the database, then run openact migrate --drop-legacy again"));
    }
    alter(&mut *writer.acquire().await.map_err(failed)?, format!("DROP TABLE {DROPPED}"))
        .await
        .map_err(failed)?;
    Ok(tables)
}

/// What a run that could not overwrite everything has dropped.
async fn dropped_before(writer: &SqlitePool) -> sqlx::Result<Option<Vec<String>>> {
    let is_there: bool =
        sqlx::query_scalar("SELECT count(*) > 0 FROM sqlite_schema WHERE type = 'table' AND name = ?")
            .bind(DROPPED)
            .fetch_one(writer)
            .await?;
    if !is_there {
        return Ok(None);
    }
    let names = sqlx::query_scalar("SELECT name FROM legacy_dropped ORDER BY rowid");
    names.fetch_all(writer).await.map(Some)
}

async fn drop_tables(store: &Store) -> Result<Vec<String>> {
    let place = &store.0.place;
    let failed = |error| failure::explain(place, "drop the earlier tables", error);
    // Before the transaction: getting the key may take a while, and others wait for the lock.
    store.0.keys.ring()?;
    let (mut tx, tables) = begin(&store.0.writer, place).await?;
    if let SchemaState::Older(missing) = migrate::state(&mut tx, place, &MIGRATIONS).await? {
        return Err(migrate::older(place, &missing));
    }
    sqlx::query("PRAGMA defer_foreign_keys = ON").execute(&mut *tx).await.map_err(failed)?;
    // Those that refer to others come after them in the list.
    for table in tables.iter().rev() {
        alter(&mut tx, format!("DROP TABLE {}", quoted(&aside(table)))).await.map_err(failed)?;
    }
    let tables: Vec<String> = tables.into_iter().map(aside).collect();
    alter(&mut tx, format!("CREATE TABLE {DROPPED} (name TEXT NOT NULL)")).await.map_err(failed)?;
    for table in &tables {
        let insert = sqlx::query("INSERT INTO legacy_dropped (name) VALUES (?)").bind(table);
        insert.execute(&mut *tx).await.map_err(failed)?;
    }
    store.audit_database(&mut tx, "database.drop_legacy", None, json!({ "tables": tables })).await?;
    tx.commit().await.map_err(failed)?;
    Ok(tables)
}

/// A transaction on a database of ours that has earlier tables, and these.
async fn begin(
    writer: &SqlitePool,
    place: &str,
) -> Result<(Transaction<'static, Sqlite>, Vec<&'static str>)> {
    let mut tx = writer
        .begin_with("BEGIN IMMEDIATE")
        .await
        .map_err(|error| failure::explain(place, "begin a transaction", error))?;
    let nothing =
        |what: &str| Error::not_found(format!("database {place} {what}")).hint("nothing was changed");
    if recognise(&mut tx, place).await?.is_some() {
        return Err(nothing("is still as the earlier OpenAct left it"));
    }
    if migrate::state(&mut tx, place, &MIGRATIONS).await? == SchemaState::Empty {
        return Err(nothing("is empty"));
    }
    let tables = set_aside(&mut tx, place).await?;
    if !tables.contains(&"connections") {
        return Err(nothing("holds no tables of an earlier OpenAct"));
    }
    Ok((tx, tables))
}

async fn alter(tx: &mut SqliteConnection, sql: String) -> sqlx::Result<()> {
    QueryBuilder::<Sqlite>::new(sql).build().execute(tx).await.map(drop)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use openact_core::ErrorCode;
    use sqlx::{Connection, sqlite::SqliteConnectOptions};

    use super::*;

    const CANARY: &str = "canary-7f3a";

    #[tokio::test]
    async fn what_another_process_still_reads_is_not_said_to_be_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("test.db");
        let url: StoreUrl = format!("sqlite://{}", path.display()).parse().unwrap();
        Store::migrate(&url, false).await.unwrap();
        let options = SqliteConnectOptions::new().filename(&path);
        let mut other = SqliteConnection::connect_with(&options).await.unwrap();
        sqlx::raw_sql(
            "CREATE TABLE legacy_connections (trn TEXT); INSERT INTO legacy_connections VALUES ('canary-7f3a');
             PRAGMA wal_checkpoint(TRUNCATE); BEGIN; SELECT * FROM legacy_connections",
        )
        .execute(&mut other)
        .await
        .unwrap();
        let held = || {
            let bytes = std::fs::read(&path).unwrap();
            bytes.windows(CANARY.len()).any(|window| window == CANARY.as_bytes())
        };
        let pools = Pools::prepare_existing(&url, Duration::from_millis(1)).unwrap();
        let key = KeySource::Keys(vec![crate::MasterKey::ephemeral().unwrap()]);
        let store = Store::assemble(pools, key, RunWrites::BeforeAnswer);
        let error = drop_all(&store).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::StoreUnavailable, "{error:?}");
        assert!(error.hint.as_deref().unwrap().contains("stop every other process"), "{}", error.message);
        assert!(held());
        let again = drop_all(&store).await.unwrap_err();
        assert_eq!(again.code, ErrorCode::StoreUnavailable, "it is not forgotten: {again:?}");

        sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
        assert_eq!(drop_all(&store).await.unwrap(), ["legacy_connections"]);
        assert!(!held());
        assert_eq!(drop_all(&store).await.unwrap_err().code, ErrorCode::NotFound);
        // Once, however often it was tried.
        let log = store.list_audit(&openact_core::Tenant::default(), 10).await.unwrap();
        let operations: Vec<&str> = log.iter().map(|entry| &*entry.operation).collect();
        assert_eq!(operations, ["database.drop_legacy"]);
        store.close().await.unwrap();
        other.close().await.unwrap();
    }
}
