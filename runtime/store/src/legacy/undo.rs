//! The way back from a conversion, and the end of the way: the earlier tables under their names again, or gone.
//!
//! Invariant: both are one transaction. What is dropped is overwritten, because it holds secrets in clear.

use std::path::PathBuf;

use openact_core::{Error, Result, limits::SQLITE_BUSY_TIMEOUT};
use sqlx::{QueryBuilder, Sqlite, SqliteConnection, Transaction};

use super::{aside, copy_beside, quoted, recognise, set_aside, tables_of_ours};
use crate::{
    Store, StoreUrl, failure,
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
}

impl Store {
    /// Brings the earlier tables of the database at `url` back and removes this version's.
    pub async fn roll_back_legacy(url: &StoreUrl, with_backup: bool) -> Result<RolledBack> {
        let pools = Pools::prepare_existing(url, SQLITE_BUSY_TIMEOUT)?;
        let done = roll_back(&pools, with_backup).await;
        pools.writer.close().await;
        done
    }

    /// Removes the earlier tables that are set aside in the database at `url`, and every trace of what they held.
    pub async fn drop_legacy(url: &StoreUrl) -> Result<Vec<String>> {
        let pools = Pools::prepare_existing(url, SQLITE_BUSY_TIMEOUT)?;
        let done = drop_all(&pools).await;
        pools.writer.close().await;
        done
    }
}

async fn roll_back(pools: &Pools, with_backup: bool) -> Result<RolledBack> {
    let failed = |error| failure::explain(&pools.place, "bring the earlier tables back", error);
    let ours = tables_of_ours().await.map_err(failed)?;
    let (mut tx, tables) = begin(pools).await?;
    let backup = match pools.path.as_ref().filter(|_| with_backup) {
        Some(path) => Some(copy_beside(path).await?),
        None => None,
    };
    let runs: i64 =
        sqlx::query_scalar("SELECT count(*) FROM runs").fetch_one(&mut *tx).await.map_err(failed)?;
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
    Ok(RolledBack { backup, tables, runs: runs.unsigned_abs() })
}

async fn drop_all(pools: &Pools) -> Result<Vec<String>> {
    let failed = |error| failure::explain(&pools.place, "drop the earlier tables", error);
    sqlx::query("PRAGMA secure_delete = ON").fetch_all(&pools.writer).await.map_err(failed)?;
    let (mut tx, tables) = begin(pools).await?;
    sqlx::query("PRAGMA defer_foreign_keys = ON").execute(&mut *tx).await.map_err(failed)?;
    // Those that refer to others come after them in the list.
    for table in tables.iter().rev() {
        alter(&mut tx, format!("DROP TABLE {}", quoted(&aside(table)))).await.map_err(failed)?;
    }
    tx.commit().await.map_err(failed)?;
    // Pages that were free before hold older states of the rows, and so does the write-ahead log.
    for statement in ["VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"] {
        sqlx::query(statement).fetch_all(&pools.writer).await.map_err(failed)?;
    }
    Ok(tables.into_iter().map(aside).collect())
}

/// A transaction on a database of ours that has earlier tables, and these.
async fn begin(pools: &Pools) -> Result<(Transaction<'static, Sqlite>, Vec<&'static str>)> {
    let place = &pools.place;
    let mut tx = pools
        .writer
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
