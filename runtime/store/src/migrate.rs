//! Which databases are ours, and bringing one to the current schema.
//!
//! | the database | is |
//! |---|---|
//! | no tables | empty: ours to fill |
//! | our `application_id`, exactly the embedded migrations | current |
//! | our `application_id`, the first few of them | older: `openact migrate` |
//! | our `application_id`, one that is not embedded, or one that differs | newer or altered: refused |
//! | our `application_id`, a view, or a trigger on our tables, that they do not make | altered: refused, see `schema` |
//! | tables, another `application_id` or none | foreign: refused; the earlier OpenAct's is for [`crate::legacy`] |
//!
//! Invariant: all missing migrations are applied in one transaction that first looks again, so that a killed process
//! leaves the old schema or the new one, and of two that start at once one finds nothing to do.

use std::{
    borrow::Cow,
    path::{Path, PathBuf},
};

use openact_core::{Error, Result};
use sqlx::{
    SqliteConnection, SqlitePool,
    migrate::{Migration, Migrator},
};

use crate::{failure, legacy, schema::Schema};

/// The migrations of this version.
pub(crate) static MIGRATIONS: Migrator = sqlx::migrate!("../../migrations/sqlite");

/// `PRAGMA application_id` of our databases, "OACT"; the first migration sets it.
const APPLICATION_ID: i64 = 0x4F41_4354;

/// What a migration did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MigrateReport {
    /// The migrations applied, such as `0001_initial`.
    pub applied: Vec<String>,
    /// Whether the database was made.
    pub created: bool,
    /// The copy of what it was, if it was not made and anything was applied.
    pub backup: Option<PathBuf>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SchemaState {
    Current,
    Empty,
    /// Ours, and lacks these migrations.
    Older(Vec<String>),
}

/// What the database is; an error if it must not be touched.
pub(crate) async fn state(
    connection: &mut SqliteConnection,
    place: &str,
    known: &Migrator,
) -> Result<SchemaState> {
    let failed = |error| failure::explain(place, "open the store", error);
    let (id, tables): (i64, i64) = sqlx::query_as(
        "SELECT (SELECT application_id FROM pragma_application_id), (SELECT count(*) FROM sqlite_schema)",
    )
    .fetch_one(&mut *connection)
    .await
    .map_err(failed)?;
    match (id, tables) {
        (0, 0) => return Ok(SchemaState::Empty),
        (APPLICATION_ID, 1..) => {}
        _ => return Err(foreign(connection, place).await),
    }
    let schema = Schema::read(connection, place).await?;
    let applied: Vec<(i64, Vec<u8>, bool)> =
        match sqlx::query_as("SELECT version, checksum, success FROM _sqlx_migrations ORDER BY version")
            .fetch_all(&mut *connection)
            .await
        {
            // Its tables say it is ours, and the one that says how far it came is gone.
            Err(error) if failure::extended_code(&error) == Some(1) => {
                return Err(refused(
                    place,
                    "does not say which migrations it has",
                    "restore it from a backup",
                )
                .because(error));
            }
            result => result.map_err(failed)?,
        };
    for (version, checksum, success) in &applied {
        let Some(migration) = known.iter().find(|migration| migration.version == *version) else {
            let what = format!("is of a newer OpenAct: migration {version:04} is not known here");
            return Err(refused(place, &what, "use the OpenAct that wrote it, or a newer one"));
        };
        if *checksum != *migration.checksum || !success {
            let what = format!("was altered: migration {} is not the one of this OpenAct", name(migration));
            return Err(refused(place, &what, "restore it from a backup, or name another file"));
        }
    }
    let has = |migration: &&Migration| applied.iter().any(|row| row.0 == migration.version);
    schema.check(connection, place, known.iter().filter(has)).await?;
    let missing: Vec<String> = known.iter().filter(|migration| !has(migration)).map(name).collect();
    Ok(if missing.is_empty() { SchemaState::Current } else { SchemaState::Older(missing) })
}

/// Applies what is missing, all or nothing.
pub(crate) async fn apply(writer: &SqlitePool, place: &str, known: &Migrator) -> Result<MigrateReport> {
    apply_after_copy(writer, place, known, None).await
}

/// The same, once the file at `copied` has a copy; a database that is only made needs none.
pub(crate) async fn apply_after_copy(
    writer: &SqlitePool,
    place: &str,
    known: &Migrator,
    copied: Option<&Path>,
) -> Result<MigrateReport> {
    let failed = |error| failure::explain(place, "migrate the store", error);
    let mut tx = writer.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
    let (applied, created) = match state(&mut tx, place, known).await? {
        SchemaState::Current => return Ok(MigrateReport::default()),
        SchemaState::Empty => (known.iter().map(name).collect(), true),
        SchemaState::Older(missing) => (missing, false),
    };
    let backup = match copied.filter(|_| !created) {
        Some(path) => Some(legacy::copy_beside(path).await?),
        None => None,
    };
    run(&mut tx, place, known).await?;
    tx.commit().await.map_err(failed)?;
    Ok(MigrateReport { applied, created, backup })
}

/// Applies what is missing, in the caller's transaction.
pub(crate) async fn run(tx: &mut SqliteConnection, place: &str, known: &Migrator) -> Result<()> {
    let failed = |error| failure::explain(place, "migrate the store", error);
    // `run` takes an `Acquire`, with which this future could not be shown to be `Send`.
    known.run_direct(None, tx, false).await.map_err(|error| match error {
        sqlx::migrate::MigrateError::Execute(error) => failed(error),
        sqlx::migrate::MigrateError::ExecuteMigration(error, version) => {
            failed(error).context(format!("migration {version:04}"))
        }
        other => refused(place, "cannot be migrated", "restore it from a backup, or name another file")
            .because(other),
    })
}

pub(crate) fn name(migration: &Migration) -> String {
    let description: Cow<'_, str> = migration.description.replace(' ', "_").into();
    format!("{:04}_{description}", migration.version)
}

async fn foreign(connection: &mut SqliteConnection, place: &str) -> Error {
    match legacy::recognise(connection, place).await {
        Ok(Some(schema)) => refused(
            place,
            &format!("is of the earlier OpenAct, with its tables {}", schema.name()),
            "run: openact migrate (it copies the file first; --dry-run says what would become of it)",
        ),
        Ok(None) => refused(
            place,
            "holds tables that are not OpenAct's",
            "name another file; this one was not changed",
        ),
        Err(error) => error,
    }
}

pub(crate) fn older(place: &str, missing: &[String]) -> Error {
    let what = format!("is of an older OpenAct: it lacks {}", missing.join(", "));
    refused(place, &what, "run: openact migrate")
}

pub(crate) fn refused(place: &str, what: &str, hint: &str) -> Error {
    Error::store_unavailable(format!("database {place} {what}")).hint(hint).with_retryable(false)
}

#[cfg(test)]
mod tests {
    use sqlx::{SqlSafeStr, migrate::MigrationType, sqlite::SqlitePoolOptions};

    use super::*;

    async fn memory() -> SqlitePool {
        SqlitePoolOptions::new().max_connections(1).connect("sqlite::memory:").await.unwrap()
    }

    async fn state_of(pool: &SqlitePool, known: &Migrator) -> Result<SchemaState> {
        state(&mut pool.acquire().await.unwrap(), "test.db", known).await
    }

    /// Today's migrations and one of tomorrow.
    fn with_another(sql: &'static str) -> Migrator {
        let another =
            Migration::new(9000, "of tomorrow".into(), MigrationType::Simple, sql.into_sql_str(), false);
        Migrator::with_migrations(MIGRATIONS.iter().cloned().chain([another]).collect())
    }

    #[tokio::test]
    async fn empty_then_current_then_older_then_newer() {
        let pool = memory().await;
        assert_eq!(state_of(&pool, &MIGRATIONS).await.unwrap(), SchemaState::Empty);
        let report = apply(&pool, "test.db", &MIGRATIONS).await.unwrap();
        assert_eq!((report.created, &report.applied[0][..]), (true, "0001_initial"));
        assert_eq!(state_of(&pool, &MIGRATIONS).await.unwrap(), SchemaState::Current);
        assert_eq!(apply(&pool, "test.db", &MIGRATIONS).await.unwrap(), MigrateReport::default());

        let tomorrow = with_another("CREATE TABLE more (x TEXT) STRICT");
        let missing = vec!["9000_of_tomorrow".to_owned()];
        assert_eq!(state_of(&pool, &tomorrow).await.unwrap(), SchemaState::Older(missing.clone()));
        let report = apply(&pool, "test.db", &tomorrow).await.unwrap();
        assert_eq!(report, MigrateReport { applied: missing, ..Default::default() });
        let error = state_of(&pool, &MIGRATIONS).await.unwrap_err();
        assert!(error.message.contains("newer OpenAct: migration 9000"), "{error:?}");
    }

    #[tokio::test]
    async fn a1_a_migration_that_fails_leaves_nothing() {
        let pool = memory().await;
        let error = apply(&pool, "test.db", &with_another("CREATE TABLE more (x TEXT); SELECT nonsense"))
            .await
            .unwrap_err();
        assert!(error.message.contains("migration 9000"), "{error:?}");
        assert_eq!(state_of(&pool, &MIGRATIONS).await.unwrap(), SchemaState::Empty);
    }

    #[tokio::test]
    async fn an_altered_migration_is_refused() {
        let pool = memory().await;
        apply(&pool, "test.db", &with_another("CREATE TABLE a (x TEXT)")).await.unwrap();
        let error = state_of(&pool, &with_another("CREATE TABLE b (x TEXT)")).await.unwrap_err();
        assert!(error.message.contains("was altered: migration 9000_of_tomorrow"), "{error:?}");
        sqlx::query("DROP TABLE _sqlx_migrations").execute(&pool).await.unwrap();
        assert!(state_of(&pool, &MIGRATIONS).await.unwrap_err().message.contains("does not say"));
    }

    #[tokio::test]
    async fn foreign_tables_are_refused_and_the_earlier_schema_is_named() {
        for (sql, part) in [
            ("CREATE TABLE customers (x TEXT)", "not OpenAct's"),
            (
                "CREATE TABLE connections (trn TEXT, connector TEXT, name TEXT, config_json TEXT);
                 CREATE TABLE actions (trn TEXT, connector TEXT, name TEXT, connection_trn TEXT, config_json TEXT)",
                "earlier OpenAct, with its tables connections and actions",
            ),
            // Nearly is not enough: its rows would mean nothing.
            ("CREATE TABLE connections (trn TEXT); CREATE TABLE actions (trn TEXT)", "not OpenAct's"),
            ("PRAGMA application_id = 7", "not OpenAct's"),
        ] {
            let pool = memory().await;
            sqlx::raw_sql(sql).execute(&pool).await.unwrap();
            for error in [
                state_of(&pool, &MIGRATIONS).await.unwrap_err(),
                apply(&pool, "test.db", &MIGRATIONS).await.unwrap_err(),
            ] {
                assert_eq!(error.code, openact_core::ErrorCode::StoreUnavailable);
                assert!(error.message.contains(part) && error.hint.is_some(), "{error:?}");
            }
        }
    }
}
