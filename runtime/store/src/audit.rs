//! The table `audit_log`: who changed configuration, credentials and grants, when, through which door, from what to what.
//!
//! ```text
//! a change's transaction ─► trail: key, head ─► entries, each authenticated with the one before ─► rows, head ─► commit
//! ```
//!
//! The chain's key is random and sealed by the master key, so that whoever can write the file and lacks that key can
//! neither change an entry nor leave one out unnoticed, nor change a connection, an action, a connector, a secret, a
//! credential or a token past the log: these are compared with what was last written of them. Who takes the log away entirely, with
//! its key and head, leaves a database with configuration and no log of it, which is found; the next change begins another
//! log with `BEGIN` and what it found, as it does over a database of before there was a log, and verifying says so.
//!
//! Not found is what needs something outside of the file: an older copy of the whole file, or of the log with its head and
//! rows, put back. For that, verifying gives the head to be kept elsewhere, and whether a kept one is in the log can be
//! asked. After a restore, a head of before the copy is in it, and one of after the copy is not, as it should be: the
//! entry `database.restore` names the head that was given up, and the new one is to be kept from then on.
//! A database in memory has no log: it ends with the process that alone can write it.
//!
//! Invariants: an entry is written in the transaction of its change, so that there is none without the other, and where
//! no entry can be written (the master key is missing, the head was changed) nothing is changed; a secret appears as a
//! keyed hash.

mod chain;
mod changes;
mod current;
mod database;
mod runs;
mod verify;

use openact_core::{Result, Tenant, Timestamp, run::Door, secret::SecretString};
use serde_json::Value;
use sqlx::{FromRow, QueryBuilder, Sqlite, SqliteConnection};

use crate::{
    Store, failure,
    rows::{Row, time_text},
};

pub(crate) use chain::{ChainKey, Head};
pub(crate) use database::{Entered, Restore, claimed_head, enter_restore, enter_rollback, not_whole};
pub use runs::AuditRuns;
pub use verify::{AuditReport, BrokenAt};

/// Who does something, and through which door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Author {
    /// The user of the operating system, or the name of a token.
    pub actor: String,
    /// How they came in.
    pub door: Door,
}

impl Default for Author {
    fn default() -> Self {
        Self { actor: "unknown".into(), door: Door::Embedded }
    }
}

/// One change.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditEntry {
    /// 1 for the first one.
    pub id: u64,
    /// When.
    pub at: Timestamp,
    /// Whose; none for what belongs to no tenant.
    pub tenant: Option<Tenant>,
    /// Who.
    pub actor: String,
    /// How they came in.
    pub door: String,
    /// `connection.update`, `secret.set`, …
    pub operation: String,
    /// A TRN, `secret/…`, `connector/…`, `token/…`, `key/…`, `run/…`.
    pub object: String,
    /// What was there.
    pub before: Option<Value>,
    /// What is there now.
    pub after: Option<Value>,
}

/// An entry to be written.
pub(crate) struct NewEntry {
    pub(crate) tenant: Option<String>,
    pub(crate) operation: &'static str,
    pub(crate) object: String,
    /// JSON.
    pub(crate) before: Option<String>,
    /// JSON.
    pub(crate) after: Option<String>,
}

/// Entries written in one statement; SQLite's bound on parameters would allow for more.
const ROWS_PER_STATEMENT: usize = 200;

impl Store {
    /// The same store, with what it changes ascribed to `author`.
    #[must_use]
    pub fn acting_as(&self, author: Author) -> Self {
        Self(self.0.clone(), author.into())
    }

    /// Entries of `tenant` and of what belongs to no tenant, the latest first.
    pub async fn list_audit(&self, tenant: &Tenant, limit: u32) -> Result<Vec<AuditEntry>> {
        self.audit_where(tenant, " OR tenant IS NULL", limit).await
    }

    /// Entries of `tenant` alone, the latest first.
    pub async fn list_audit_of(&self, tenant: &Tenant, limit: u32) -> Result<Vec<AuditEntry>> {
        self.audit_where(tenant, "", limit).await
    }

    async fn audit_where(&self, tenant: &Tenant, or: &'static str, limit: u32) -> Result<Vec<AuditEntry>> {
        let mut query = QueryBuilder::<Sqlite>::new(COLUMNS);
        query.push(" WHERE tenant = ").push_bind(tenant.to_string());
        query.push(or).push(" ORDER BY id DESC LIMIT ").push_bind(limit);
        let rows: Vec<EntryRow> =
            query.build_query_as().fetch_all(&self.0.readers).await.map_err(self.failed(READ))?;
        rows.into_iter().map(EntryRow::entry).collect()
    }

    /// Where the next entries go; none for a database in memory. The first time, the chain gets its key.
    pub(crate) async fn trail(&self, tx: &mut SqliteConnection) -> Result<Option<Trail>> {
        if self.0.path.is_none() {
            return Ok(None);
        }
        let (key, head) = self.continue_chain(tx).await?;
        let begins = head.count == 0;
        let mut trail = Trail { key, head, at: time_text(Timestamp::now()), rows: Vec::new() };
        if begins && configured(tx).await.map_err(self.failed(READ))? {
            self.audit_found(tx, &mut trail).await?;
        }
        Ok(Some(trail))
    }

    /// Writes one entry in the transaction of its change.
    pub(crate) async fn audit(&self, tx: &mut SqliteConnection, entry: NewEntry) -> Result<()> {
        if let Some(mut trail) = self.trail(tx).await? {
            trail.add(&self.1, entry);
            trail.write(tx, &self.0.place).await?;
        }
        Ok(())
    }
}

/// Entries on their way into the log.
pub(crate) struct Trail {
    key: ChainKey,
    head: Head,
    at: String,
    rows: Vec<EntryRow>,
}

impl Trail {
    pub(crate) fn add(&mut self, author: &Author, entry: NewEntry) {
        let mut row = EntryRow {
            id: self.head.count.saturating_add(1),
            at: self.at.clone(),
            tenant: entry.tenant,
            actor: author.actor.clone(),
            door: author.door.as_str().to_owned(),
            operation: entry.operation.to_owned(),
            object: entry.object,
            before_json: entry.before,
            after_json: entry.after,
            mac: String::new(),
        };
        row.mac = self.key.mac(&self.head.mac, &row);
        self.head = Head { count: row.id, mac: row.mac.clone() };
        self.rows.push(row);
    }

    /// How a secret appears in the log: equal for equal values of one tenant.
    pub(crate) fn print(&self, tenant: &Tenant, value: &SecretString) -> Value {
        self.key.print(tenant, value).into()
    }

    pub(crate) async fn write(self, tx: &mut SqliteConnection, place: &str) -> Result<()> {
        let failed = |error| failure::explain(place, "write the audit log", error);
        for chunk in self.rows.chunks(ROWS_PER_STATEMENT) {
            let mut insert = QueryBuilder::<Sqlite>::new(
                "INSERT INTO audit_log (id, at, tenant, actor, door, operation, object, before_json, after_json, mac) ",
            );
            insert.push_values(chunk, |mut values, row| {
                values.push_bind(row.id).push_bind(&row.at).push_bind(&row.tenant);
                values.push_bind(&row.actor).push_bind(&row.door).push_bind(&row.operation);
                values.push_bind(&row.object).push_bind(&row.before_json).push_bind(&row.after_json);
                values.push_bind(&row.mac);
            });
            insert.build().execute(&mut *tx).await.map_err(failed)?;
        }
        if !self.rows.is_empty() {
            self.head.write(&self.key, tx).await.map_err(failed)?;
        }
        Ok(())
    }
}

/// The operation of the first entry of a log that begins when there is configuration already.
const BEGIN: &str = "audit.begin";

/// Whether there is anything that should have left an entry.
async fn configured(connection: &mut SqliteConnection) -> sqlx::Result<bool> {
    sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM connections) OR EXISTS (SELECT 1 FROM actions) OR EXISTS (SELECT 1 FROM secrets)
             OR EXISTS (SELECT 1 FROM connectors) OR EXISTS (SELECT 1 FROM auth_connections)
             OR EXISTS (SELECT 1 FROM api_tokens)",
    )
    .fetch_one(connection)
    .await
}

/// What failed, for an error.
const READ: &str = "read the audit log";

const COLUMNS: &str =
    "SELECT id, at, tenant, actor, door, operation, object, before_json, after_json, mac FROM audit_log";

/// A row as it is stored, and as it is authenticated.
#[derive(FromRow)]
pub(crate) struct EntryRow {
    id: i64,
    at: String,
    tenant: Option<String>,
    actor: String,
    door: String,
    operation: String,
    object: String,
    before_json: Option<String>,
    after_json: Option<String>,
    mac: String,
}

impl EntryRow {
    fn entry(self) -> Result<AuditEntry> {
        let key = self.id.to_string();
        let row = Row { table: "audit_log", key: &key };
        let json =
            |column, text: &Option<String>| text.as_ref().map(|text| row.json(column, text)).transpose();
        Ok(AuditEntry {
            id: row.unsigned("id", self.id)?,
            at: row.parse("at", &self.at)?,
            tenant: self.tenant.as_ref().map(|tenant| row.parse("tenant", tenant)).transpose()?,
            before: json("before_json", &self.before_json)?,
            after: json("after_json", &self.after_json)?,
            actor: self.actor,
            door: self.door,
            operation: self.operation,
            object: self.object,
        })
    }
}
