//! The rows of an earlier database, as text.
//!
//! A small file can hold large rows: a column that was added later has its default in every one of them. So what they
//! come to is asked before they are read.
//!
//! Invariant: the file is opened for reading alone: nothing of it changes, not a byte.

use std::collections::BTreeMap;

use openact_core::{
    Result,
    limits::{LEGACY_CELL_BYTES_MAX, LEGACY_ROWS_BYTES_MAX, SQLITE_BUSY_TIMEOUT},
};
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
    /// Not UTF-8, or longer than [`LEGACY_CELL_BYTES_MAX`].
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

    /// The columns that hold bytes that are no text, or more of it than is read.
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
    let mut room = LEGACY_ROWS_BYTES_MAX;
    for table in TABLES.iter().filter(|table| !table.ends_with("_migrations")) {
        if let Some(columns) = tables.get(*table) {
            room = room_after(connection, place, table, columns, room).await?;
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

/// What of `room` is left once a table is read; an error if that is less than nothing.
async fn room_after(
    connection: &mut SqliteConnection,
    place: &str,
    table: &str,
    columns: &[String],
    room: u64,
) -> Result<u64> {
    let failed = |error| failure::explain(place, "read the earlier tables", error);
    let mut query = QueryBuilder::<Sqlite>::new("SELECT count(*)");
    for column in columns {
        query.push(format_args!(", coalesce(sum(octet_length({})), 0)", bounded(column)));
    }
    query.push(format_args!(" FROM {}", quoted(table)));
    let counts = query.build().fetch_one(&mut *connection).await.map_err(failed)?;
    let count = |index: usize| counts.try_get::<i64, _>(index).map(i64::unsigned_abs).map_err(failed);
    let rows = count(0)?;
    let (mut total, mut largest) = (0_u64, (0, None));
    for (index, column) in columns.iter().enumerate() {
        let bytes = count(index + 1)?;
        let names = rows.saturating_mul((column.len() + size_of::<(String, Cell)>()) as u64);
        total = total.saturating_add(bytes).saturating_add(names);
        largest = largest.max((bytes, Some(column)));
    }
    if let Some(left) = room.checked_sub(total) {
        return Ok(left);
    }
    let (Some(first), (_, Some(column))) = (columns.first(), largest) else { return Ok(0) };
    let row: Vec<u8> = QueryBuilder::<Sqlite>::new(format!(
        "SELECT CAST(substr(coalesce({}, ''), 1, 200) AS BLOB) FROM {} ORDER BY octet_length({}) DESC LIMIT 1",
        quoted(first),
        quoted(table),
        bounded(column)
    ))
    .build_query_scalar()
    .fetch_one(connection)
    .await
    .map_err(failed)?;
    Err(migrate::refused(
        place,
        &format!(
            "is of the earlier OpenAct and has more than {} MiB of rows; most of '{table}' is in its column '{}', and most of that in the row '{}'",
            LEGACY_ROWS_BYTES_MAX >> 20,
            column.escape_debug(),
            String::from_utf8_lossy(&row).escape_debug()
        ),
        "remove what is not needed from a copy of it, and migrate that; this one was not changed",
    ))
}

/// A column, in which what is longer than a value may be is a byte that is no text.
fn bounded(column: &str) -> String {
    let column = quoted(column);
    format!("CASE WHEN octet_length({column}) > {LEGACY_CELL_BYTES_MAX} THEN x'FF' ELSE {column} END")
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
        selected.push(format_args!("CAST({} AS BLOB)", bounded(column)));
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

#[cfg(test)]
mod tests {
    use super::*;

    async fn legacy(more: &'static str) -> (tempfile::TempDir, StoreUrl) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("old.db");
        let options = SqliteConnectOptions::new().filename(&path).create_if_missing(true);
        let mut connection = options.connect().await.unwrap();
        sqlx::raw_sql(
            "CREATE TABLE connections (trn TEXT, name TEXT, authorization_type TEXT, auth_params_encrypted TEXT);
             CREATE TABLE tasks (trn TEXT, connection_trn TEXT, api_endpoint TEXT, method TEXT)",
        )
        .execute(&mut connection)
        .await
        .unwrap();
        sqlx::raw_sql(more).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        let url = StoreUrl::file(path);
        (folder, url)
    }

    #[tokio::test]
    async fn a_small_file_of_large_rows_is_refused_before_it_is_read() {
        // 300 rows and a default of 1,000,000 bytes.
        let default = "0".repeat(1_000_000);
        let sql = format!(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300)
             INSERT INTO tasks (trn) SELECT 'trn-' || i || char(27) FROM n;
             ALTER TABLE tasks ADD COLUMN extra TEXT DEFAULT '{default}'"
        );
        let (folder, url) = legacy(sql.leak()).await;
        assert!(folder.path().join("old.db").metadata().unwrap().len() < 2_000_000);
        let error = Store::survey(&url).await.err().unwrap();
        assert_eq!(error.code, openact_core::ErrorCode::StoreUnavailable);
        assert!(error.message.contains("column 'extra'"), "{}", error.message);
        assert!(error.message.contains("row 'trn-1\\u{1b}'"), "{}", error.message);
    }

    #[tokio::test]
    async fn a_value_over_the_bound_is_not_read_and_one_at_it_is() {
        let (_folder, url) = legacy(
            "INSERT INTO tasks (trn, method, api_endpoint) VALUES ('a', 'GET', printf('%.*c', 1048576, 'x'));
             INSERT INTO tasks (trn, method, api_endpoint) VALUES ('b', NULL, printf('%.*c', 1048577, 'x'))",
        )
        .await;
        let Survey::Legacy(rows) = Store::survey(&url).await.unwrap() else { panic!("not recognised") };
        let [a, b] = rows.of("tasks") else { panic!("two rows") };
        assert_eq!((a.text("api_endpoint").map(str::len), a.unreadable().count()), (Some(1_048_576), 0));
        assert_eq!((a.text("method"), b.text("method"), b.text("trn")), (Some("GET"), None, Some("b")));
        assert_eq!(b.text("api_endpoint"), None);
        assert_eq!(b.unreadable().collect::<Vec<_>>(), ["api_endpoint"]);
    }
}
