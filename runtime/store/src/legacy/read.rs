//! The rows of an earlier database, as text.
//!
//! Invariant: the file is opened for reading alone: nothing of it changes, not a byte.

use std::collections::BTreeMap;

use openact_core::{Result, limits::SQLITE_BUSY_TIMEOUT};
use sqlx::{
    ConnectOptions, Connection, QueryBuilder, Row, Sqlite, SqliteConnection, sqlite::SqliteConnectOptions,
};

use super::{LegacySchema, TABLES, Tables, aside, quoted, recognise, set_aside, tables, tables_of_ours};
use crate::{
    Store, StoreUrl, failure,
    migrate::{self, MIGRATIONS, SchemaState},
};

/// What a database is, and what a migration would do with it.
pub enum Survey {
    /// There is none, or it is empty: it would be made, with these migrations.
    Empty(Vec<String>),
    /// It is of this version.
    Current {
        /// The tables of an earlier OpenAct that are set aside in it.
        set_aside: Vec<String>,
    },
    /// Of an older version of this one: it would get these migrations.
    Older(Vec<String>),
    /// Of the earlier OpenAct.
    Legacy(LegacyRows),
}

/// Every row of an earlier database. It has no `Debug`: its columns hold secrets in clear.
pub struct LegacyRows {
    /// Which schema it is.
    pub schema: LegacySchema,
    /// The tables that are set aside, by the names they have.
    pub tables: Vec<String>,
    /// Tables that are none of OpenAct's; they stay.
    pub strangers: Vec<String>,
    rows: BTreeMap<&'static str, Vec<LegacyRow>>,
}

/// One row. It has no `Debug`: it holds secrets in clear.
pub struct LegacyRow {
    columns: Vec<(String, Cell)>,
}

enum Cell {
    Null,
    Text(String),
    /// Not UTF-8.
    Bytes,
}

impl LegacyRows {
    /// The rows of a table, in its order; none if there is no such table.
    pub fn of(&self, table: &str) -> &[LegacyRow] {
        self.rows.get(table).map_or(&[], Vec::as_slice)
    }
}

impl LegacyRow {
    /// The text of a column; none if it is null, not text, or not there.
    pub fn text(&self, column: &str) -> Option<&str> {
        self.columns.iter().find_map(|(name, cell)| match cell {
            Cell::Text(text) if name == column => Some(text.as_str()),
            _ => None,
        })
    }

    /// The columns that hold bytes that are no text.
    pub fn unreadable(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().filter(|(_, cell)| matches!(cell, Cell::Bytes)).map(|(name, _)| name.as_str())
    }

    /// The columns that hold something.
    pub fn filled(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().filter(|(_, cell)| !matches!(cell, Cell::Null)).map(|(name, _)| name.as_str())
    }
}

impl Store {
    /// Looks at the database at `url` and changes nothing, for a migration that is only to say what it would do.
    pub async fn survey(url: &StoreUrl) -> Result<Survey> {
        let all = || Survey::Empty(MIGRATIONS.iter().map(migrate::name).collect());
        let Some(path) = url.path().filter(|path| path.metadata().is_ok_and(|file| file.len() > 0)) else {
            return Ok(all());
        };
        let place = url.to_string();
        let options = SqliteConnectOptions::new()
            .filename(std::path::Path::new(".").join(path))
            .read_only(true)
            .busy_timeout(SQLITE_BUSY_TIMEOUT)
            .disable_statement_logging();
        let mut connection =
            options.connect().await.map_err(|error| failure::explain(&place, "open the store", error))?;
        let survey = match recognise(&mut connection, &place).await? {
            Some(schema) => Survey::Legacy(read(&mut connection, &place, schema).await?),
            None => match migrate::state(&mut connection, &place, &MIGRATIONS).await? {
                SchemaState::Empty => all(),
                SchemaState::Older(missing) => Survey::Older(missing),
                SchemaState::Current => {
                    let set_aside = set_aside(&mut connection, &place).await?;
                    Survey::Current { set_aside: set_aside.into_iter().map(aside).collect() }
                }
            },
        };
        connection.close().await.map_err(|error| failure::explain(&place, "close the store", error))?;
        Ok(survey)
    }
}

/// Every row there is, of a database that was recognised.
pub(super) async fn read(
    connection: &mut SqliteConnection,
    place: &str,
    schema: LegacySchema,
) -> Result<LegacyRows> {
    let tables = tables(connection, place).await?;
    refuse_names_of_ours(&tables, place).await?;
    let mut rows = BTreeMap::new();
    for table in TABLES.iter().filter(|table| !table.ends_with("_migrations")) {
        if let Some(columns) = tables.get(*table) {
            rows.insert(*table, read_table(connection, place, table, columns).await?);
        }
    }
    let (own, strangers) = tables.keys().cloned().partition(|name| TABLES.contains(&name.as_str()));
    Ok(LegacyRows { schema, tables: own, strangers, rows })
}

/// A table beside the earlier ones that has a name which ours, or those set aside, are to have.
async fn refuse_names_of_ours(tables: &Tables, place: &str) -> Result<()> {
    let ours = tables_of_ours().await.map_err(|error| failure::explain(place, "open the store", error))?;
    let is_taken = |name: &&String| {
        let is_earlier = TABLES.contains(&name.as_str());
        (ours.contains(*name) && !is_earlier) || TABLES.iter().any(|table| aside(table) == **name)
    };
    match tables.keys().find(is_taken) {
        None => Ok(()),
        Some(name) => Err(migrate::refused(
            place,
            &format!("is of the earlier OpenAct and has a table '{name}' that is not, whose name is needed"),
            "rename that table, or name another file; this one was not changed",
        )),
    }
}

async fn read_table(
    connection: &mut SqliteConnection,
    place: &str,
    table: &str,
    columns: &[String],
) -> Result<Vec<LegacyRow>> {
    let mut query = QueryBuilder::<Sqlite>::new("SELECT ");
    let mut selected = query.separated(", ");
    for column in columns {
        // As bytes, so that whatever a column holds can be read.
        selected.push(format_args!("CAST({} AS BLOB)", quoted(column)));
    }
    query.push(format_args!(" FROM {}", quoted(table)));
    let rows = query
        .build()
        .fetch_all(connection)
        .await
        .map_err(|error| failure::explain(place, "read the earlier tables", error))?;
    rows.into_iter()
        .map(|row| {
            let cell = |(index, name): (usize, &String)| {
                let bytes: Option<Vec<u8>> = row
                    .try_get(index)
                    .map_err(|error| failure::explain(place, "read the earlier tables", error))?;
                let cell = match bytes.map(String::from_utf8) {
                    None => Cell::Null,
                    Some(Ok(text)) => Cell::Text(text),
                    Some(Err(_)) => Cell::Bytes,
                };
                Ok((name.clone(), cell))
            };
            Ok(LegacyRow { columns: columns.iter().enumerate().map(cell).collect::<Result<_>>()? })
        })
        .collect()
}
