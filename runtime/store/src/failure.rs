//! What an error of SQLite means to the person who runs OpenAct.
//!
//! | SQLite | code | retry |
//! |---|---|---|
//! | `BUSY`, `LOCKED` | `store_unavailable` | yes |
//! | `READONLY`, `PERM`, `CANTOPEN`, `FULL`, `IOERR`, `CORRUPT`, `NOTADB` | `store_unavailable` | no |
//! | a constraint | `conflict` | no |
//! | a column that does not decode, and anything else | `internal` | no |
//!
//! Invariant: every message names the database, and every failure a user can mend says how.

use openact_core::{Error, Result};

/// Primary and extended result codes (<https://sqlite.org/rescode.html>).
pub(crate) mod code {
    pub(crate) const PERM: i32 = 3;
    pub(crate) const BUSY: i32 = 5;
    pub(crate) const LOCKED: i32 = 6;
    pub(crate) const READONLY: i32 = 8;
    pub(crate) const IOERR: i32 = 10;
    pub(crate) const CORRUPT: i32 = 11;
    pub(crate) const FULL: i32 = 13;
    pub(crate) const CANTOPEN: i32 = 14;
    pub(crate) const CONSTRAINT: i32 = 19;
    pub(crate) const NOTADB: i32 = 26;
    pub(crate) const CONSTRAINT_FOREIGNKEY: i32 = 787;
    pub(crate) const CONSTRAINT_PRIMARYKEY: i32 = 1555;
    pub(crate) const CONSTRAINT_TRIGGER: i32 = 1811;
    pub(crate) const CONSTRAINT_UNIQUE: i32 = 2067;
}

/// The extended result code of SQLite, if the error is one of its own.
pub(crate) fn extended_code(error: &sqlx::Error) -> Option<i32> {
    error.as_database_error()?.code()?.parse().ok()
}

/// Whether another connection's lock is all that is in the way.
pub(crate) fn is_busy(error: &sqlx::Error) -> bool {
    extended_code(error).is_some_and(|extended| matches!(extended & 0xff, code::BUSY | code::LOCKED))
}

/// Whether the file is no sound database.
pub(crate) fn is_damage(error: &sqlx::Error) -> bool {
    extended_code(error).is_some_and(|extended| matches!(extended & 0xff, code::CORRUPT | code::NOTADB))
}

/// `error` as it is reported: `place` is the database, `doing` completes "failed to".
pub(crate) fn explain(place: &str, doing: &str, error: sqlx::Error) -> Error {
    let unavailable = |what: &str, hint: &str| {
        Error::store_unavailable(format!("failed to {doing}: database {place} {what}"))
            .hint(hint)
            .with_retryable(false)
    };
    let explained = match (&error, extended_code(&error)) {
        (_, Some(extended)) => match extended & 0xff {
            code::BUSY | code::LOCKED => {
                unavailable("is locked by another process", "try again, or stop the process that holds it")
                    .with_retryable(true)
            }
            code::READONLY => unavailable("is read-only", "make the file and its folder writable"),
            code::PERM | code::CANTOPEN => unavailable(
                "cannot be opened",
                "check that the path exists, and that its file and folder can be read and written",
            ),
            code::FULL => {
                unavailable("cannot grow: the disk is full", "free space on its disk and try again")
            }
            code::IOERR => unavailable("cannot be read or written", "check its disk and try again"),
            code::CORRUPT => unavailable("is damaged", "restore it from a backup, or name another file"),
            code::NOTADB => unavailable("is not a SQLite database", "name another file"),
            code::CONSTRAINT => {
                Error::conflict(format!("failed to {doing}: the change contradicts what is stored"))
            }
            _ => Error::internal(format!("failed to {doing}: database {place} refused a statement")),
        },
        (sqlx::Error::PoolTimedOut, _) => unavailable("is too busy", "try again").with_retryable(true),
        (sqlx::Error::PoolClosed, _) => unavailable("is closed", "open it again"),
        (sqlx::Error::Io(_), _) => unavailable("cannot be opened", "check its path"),
        (sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_), _) => {
            Error::internal(format!("failed to {doing}: a row of database {place} is damaged"))
        }
        _ => Error::internal(format!("failed to {doing}: database {place} failed")),
    };
    explained.because(error)
}

/// For a constraint that can be put in the user's words; other errors are explained as usual.
pub(crate) fn explain_constraint<T>(
    result: sqlx::Result<T>,
    place: &str,
    doing: &str,
    words: impl FnOnce(i32, &str) -> Option<Error>,
) -> Result<T> {
    result.map_err(|error| {
        let said =
            extended_code(&error).zip(error.as_database_error().map(|error| error.message().to_owned()));
        match said.and_then(|(extended, message)| words(extended, &message)) {
            Some(worded) => worded.because(error),
            None => explain(place, doing, error),
        }
    })
}

#[cfg(test)]
mod tests {
    use sqlx::{SqlitePool, sqlite::SqlitePoolOptions};

    use super::*;

    async fn failing(setup: &'static str, statement: &'static str) -> Error {
        let pool: SqlitePool =
            SqlitePoolOptions::new().max_connections(1).connect("sqlite::memory:").await.unwrap();
        sqlx::raw_sql(setup).execute(&pool).await.unwrap();
        let error = sqlx::raw_sql(statement).execute(&pool).await.unwrap_err();
        explain("t.db", "write", error)
    }

    #[tokio::test]
    async fn a2_full_and_read_only_say_what_to_do() {
        for (setup, statement, part) in [
            (
                "PRAGMA page_size = 512; CREATE TABLE t (x); PRAGMA max_page_count = 4",
                "INSERT INTO t VALUES (zeroblob(9000))",
                "disk is full",
            ),
            ("CREATE TABLE t (x); PRAGMA query_only = ON", "INSERT INTO t VALUES (1)", "read-only"),
        ] {
            let error = failing(setup, statement).await;
            assert_eq!(error.code, openact_core::ErrorCode::StoreUnavailable, "{error:?}");
            assert!(
                error.message.contains(part) && error.message.contains("t.db") && error.hint.is_some(),
                "{error:?}"
            );
            assert!(!error.retryable());
        }
    }

    #[tokio::test]
    async fn a_wrong_statement_is_our_bug() {
        assert_eq!(failing("SELECT 1", "SELECT nonsense").await.code, openact_core::ErrorCode::Internal);
    }
}
