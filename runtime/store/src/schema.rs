//! Whether the schema of a database is that of its migrations and no more: a trigger or a view in a file from elsewhere is
//! code that would run in this process.
//!
//! SQLite keeps the text of what made each table, index and trigger, so that what is there is compared with the text of
//! the migrations, which costs an open database one query. A migration that renames or alters makes this refuse a new
//! database, and so the first test that opens one fail.
//!
//! Invariant: nothing but the list of what is there is read before it is found to be ours; tables that are not ours,
//! which `openact migrate` keeps, bring their own indexes and triggers, and nothing of ours sets these off.

use std::collections::HashSet;

use openact_core::Result;
use sqlx::{FromRow, SqliteConnection, migrate::Migration};

use crate::{failure, migrate::refused};

/// As sqlx makes it.
const APPLIED: &str = "CREATE TABLE _sqlx_migrations ( version BIGINT PRIMARY KEY, description TEXT NOT NULL, \
    installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, success BOOLEAN NOT NULL, checksum BLOB NOT NULL, \
    execution_time BIGINT NOT NULL )";

/// What a database has, by its own list.
pub(crate) struct Schema(Vec<Object>);

#[derive(FromRow)]
struct Object {
    #[sqlx(rename = "type")]
    kind: String,
    name: String,
    tbl_name: String,
    /// None for an index that a constraint made.
    sql: Option<String>,
}

impl Schema {
    /// Refuses one in which the list of migrations is anything but a table.
    pub(crate) async fn read(connection: &mut SqliteConnection, place: &str) -> Result<Self> {
        let objects: Vec<Object> = sqlx::query_as("SELECT type, name, tbl_name, sql FROM sqlite_schema")
            .fetch_all(connection)
            .await
            .map_err(|error| failure::explain(place, "open the store", error))?;
        let is_named = |object: &&Object| object.name.eq_ignore_ascii_case("_sqlx_migrations");
        match objects.iter().filter(is_named).find(|object| !object.lists_migrations()) {
            Some(object) => Err(altered(place, object)),
            None => Ok(Self(objects)),
        }
    }

    /// Whether it is what these migrations made.
    pub(crate) async fn check<'a>(
        &self,
        connection: &mut SqliteConnection,
        place: &str,
        applied: impl Iterator<Item = &'a Migration>,
    ) -> Result<()> {
        let mut expected: Vec<&str> = applied.flat_map(statements).collect();
        let others: Vec<&Object> = self.0.iter().filter(|object| !object.is_one_of(&mut expected)).collect();
        let tables = self.0.iter().filter(|object| object.kind == "table");
        let ours: HashSet<String> = tables
            .filter(|object| {
                object.lists_migrations() || others.iter().all(|other| other.name != object.name)
            })
            .map(|object| object.name.to_ascii_lowercase())
            .collect();
        let mut keeps_triggers = false;
        for object in others {
            if object.is_kept(&ours) {
                keeps_triggers |= object.kind == "trigger";
            } else if !object.is_sqlites() && !object.lists_migrations() {
                return Err(altered(place, object));
            }
        }
        if let Some(missing) = expected.first().and_then(|text| text.lines().next()) {
            let what = format!("was altered: it lacks what makes '{}'", missing.trim_end_matches([' ', '(']));
            return Err(refused(place, &what, "restore it from a backup"));
        }
        if keeps_triggers && refers_to_ours(connection, place, &ours).await? {
            let what = "was altered: a table with triggers that is not OpenAct's refers to one that is";
            return Err(refused(place, what, "restore it from a backup"));
        }
        Ok(())
    }
}

impl Object {
    /// `text` is the rest of a migration from a statement on.
    fn is_made_by(&self, text: &str) -> bool {
        let rest = self.sql.as_deref().and_then(|sql| text.strip_prefix(sql));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(';'))
    }

    /// Whether it is one of those; then it is taken from them.
    fn is_one_of(&self, expected: &mut Vec<&str>) -> bool {
        let at = expected.iter().position(|text| self.is_made_by(text));
        at.map(|at| expected.swap_remove(at)).is_some()
    }

    /// What `openact migrate` left or renamed.
    fn is_kept(&self, ours: &HashSet<String>) -> bool {
        let is_plain = match self.kind.as_str() {
            "table" => self.is_plain_table(),
            "index" | "trigger" => true,
            _ => false,
        };
        is_plain && !ours.contains(&self.tbl_name.to_ascii_lowercase())
    }

    /// Statistics, and indexes of constraints.
    fn is_sqlites(&self) -> bool {
        match self.kind.as_str() {
            "table" => self.name.starts_with("sqlite_") && self.is_plain_table(),
            "index" => self.sql.is_none(),
            _ => false,
        }
    }

    fn lists_migrations(&self) -> bool {
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        self.sql.as_deref().is_some_and(|sql| words(sql) == APPLIED)
    }

    /// A virtual one is code.
    fn is_plain_table(&self) -> bool {
        self.sql.as_deref().is_some_and(|sql| sql.starts_with("CREATE TABLE "))
    }
}

/// The text of a migration from each of its statements on.
fn statements(migration: &Migration) -> impl Iterator<Item = &str> {
    let sql = migration.sql.as_str();
    let made = sql.match_indices("CREATE ").map(|(at, _)| at);
    made.filter(move |at| *at == 0 || sql.get(..*at).is_some_and(|before| before.ends_with('\n')))
        .filter_map(move |at| sql.get(at..))
}

/// Whether deleting a row of ours can change another table, whose triggers may do anything.
async fn refers_to_ours(
    connection: &mut SqliteConnection,
    place: &str,
    ours: &HashSet<String>,
) -> Result<bool> {
    let references: Vec<(String, String)> = sqlx::query_as(
        r#"SELECT kept.name, reference."table" FROM sqlite_schema kept, pragma_foreign_key_list(kept.name) reference
           WHERE kept.type = 'table'"#,
    )
    .fetch_all(connection)
    .await
    .map_err(|error| failure::explain(place, "open the store", error))?;
    let is_ours = |name: &str| ours.contains(&name.to_ascii_lowercase());
    Ok(references.iter().any(|(from, to)| !is_ours(from) && is_ours(to)))
}

fn altered(place: &str, object: &Object) -> openact_core::Error {
    let what =
        format!("was altered: {} '{}' of '{}' is not OpenAct's", object.kind, object.name, object.tbl_name);
    refused(place, &what, "restore a backup that you trust, or drop it if you made it yourself")
}
