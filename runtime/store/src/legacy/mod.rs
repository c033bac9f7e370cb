//! Databases of the earlier OpenAct: recognised, read raw, set aside and brought back.
//!
//! | schema | tables |
//! |---|---|
//! | [`LegacySchema::Tasks`] | `connections` with `authorization_type`, `tasks` |
//! | [`LegacySchema::Actions`] | `connections` and `actions` with `config_json`, unique by (connector, name) |
//!
//! `read` gives every row as text, `convert` sets the tables aside and writes what became of them, `undo` brings them
//! back or drops them, `copy` keeps the file as it was. What a row means is not known here; that is `openact::legacy`.
//!
//! Invariant: no row of an earlier table is ever changed. They are renamed to `legacy_*`, with their indexes and
//! triggers, and renamed back.

mod convert;
mod copy;
mod read;
mod undo;

use std::collections::BTreeMap;

use openact_core::Result;
use sqlx::{Connection, SqliteConnection};

pub use convert::{Converted, LegacyChanges};
pub(crate) use copy::copy_beside;
pub use read::{LegacyRow, LegacyRows, Survey};
pub use undo::RolledBack;

use crate::{failure, migrate::MIGRATIONS};

/// Which of the earlier schemas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LegacySchema {
    /// `connections` and `tasks`: HTTP alone, a column per field.
    Tasks,
    /// `connections` and `actions`: every connector, the fields as JSON.
    Actions,
}

impl LegacySchema {
    /// The tables that make it, for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tasks => "connections and tasks",
            Self::Actions => "connections and actions",
        }
    }
}

/// Every table that an earlier OpenAct made. Those that are there are set aside.
const TABLES: &[&str] = &[
    "connections",
    "tasks",
    "actions",
    "auth_connections",
    "auth_connection_history",
    "run_checkpoints",
    "_migrations",
    "_sqlx_migrations",
];

/// What a table is called once it is set aside.
fn aside(table: &str) -> String {
    format!("legacy_{table}")
}

/// A name as SQL writes it.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The tables of a database and their columns.
type Tables = BTreeMap<String, Vec<String>>;

async fn tables(connection: &mut SqliteConnection, place: &str) -> Result<Tables> {
    let columns: Vec<(String, String)> = sqlx::query_as(
        "SELECT t.name, c.name FROM sqlite_schema t, pragma_table_info(t.name) c
         WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite~_%' ESCAPE '~' ORDER BY t.name, c.cid",
    )
    .fetch_all(connection)
    .await
    .map_err(|error| failure::explain(place, "open the store", error))?;
    let mut tables = Tables::new();
    for (table, column) in columns {
        tables.entry(table).or_default().push(column);
    }
    Ok(tables)
}

/// Which earlier schema `tables` are, if they are one: by the columns without which a row means nothing.
fn schema_of(tables: &Tables) -> Option<LegacySchema> {
    let has = |table: &str, columns: &[&str]| {
        tables
            .get(table)
            .is_some_and(|own| columns.iter().all(|column| own.iter().any(|name| name == column)))
    };
    let tasks = has("connections", &["trn", "name", "authorization_type", "auth_params_encrypted"])
        && has("tasks", &["trn", "connection_trn", "api_endpoint", "method"]);
    let actions = has("connections", &["trn", "connector", "name", "config_json"])
        && has("actions", &["trn", "connector", "name", "connection_trn", "config_json"]);
    match (tasks, actions) {
        (true, false) => Some(LegacySchema::Tasks),
        (false, true) => Some(LegacySchema::Actions),
        _ => None,
    }
}

/// Which earlier schema a database is of. One that says by its `application_id` that it is something else is none.
pub(crate) async fn recognise(
    connection: &mut SqliteConnection,
    place: &str,
) -> Result<Option<LegacySchema>> {
    let id: i64 = sqlx::query_scalar("SELECT application_id FROM pragma_application_id")
        .fetch_one(&mut *connection)
        .await
        .map_err(|error| failure::explain(place, "open the store", error))?;
    Ok(if id == 0 { schema_of(&tables(connection, place).await?) } else { None })
}

/// The tables that are set aside in a database of ours.
async fn set_aside(connection: &mut SqliteConnection, place: &str) -> Result<Vec<&'static str>> {
    let tables = tables(connection, place).await?;
    Ok(TABLES.iter().copied().filter(|table| tables.contains_key(&aside(table))).collect())
}

/// The tables that the migrations make, whatever they are by now.
async fn tables_of_ours() -> sqlx::Result<Vec<String>> {
    let mut memory = SqliteConnection::connect("sqlite::memory:").await?;
    MIGRATIONS
        .run_direct(None, &mut memory, false)
        .await
        .map_err(|error| sqlx::Error::Configuration(Box::new(error)))?;
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite~_%' ESCAPE '~'",
    )
    .fetch_all(&mut memory)
    .await?;
    memory.close().await?;
    // An action before its connection.
    let (first, rest): (Vec<String>, Vec<String>) = tables.into_iter().partition(|table| table == "actions");
    Ok(first.into_iter().chain(rest).collect())
}
