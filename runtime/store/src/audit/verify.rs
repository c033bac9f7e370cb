//! Verifying the log: every entry is where it was written and as it was written, and none is missing.
//!
//! Invariant: what is read is one moment of the database, so that a log that grows meanwhile is no broken one.

use openact_core::{Error, Result};
use sqlx::{QueryBuilder, Sqlite, SqliteConnection};

use super::{COLUMNS, ChainKey, EntryRow, Head, READ, chain::same};
use crate::{Store, failure};

/// Entries read at a time.
const PAGE: i64 = 1_000;

/// What verifying found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditReport {
    /// Entries that are as they were written, from the first one on.
    pub entries: u64,
    /// The first one that is not.
    pub broken: Option<BrokenAt>,
}

/// Where the chain breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokenAt {
    /// The entry.
    pub id: u64,
    /// What is wrong with it.
    pub what: &'static str,
}

impl Store {
    /// Reads the whole log. An error means that it could not be verified, for example without its key.
    pub async fn verify_audit(&self) -> Result<AuditReport> {
        match self.verify_audit_once().await {
            // After its key was read, a rotation may have ended and the old master key gone.
            Err(_) => self.verify_audit_once().await,
            verified => verified,
        }
    }

    async fn verify_audit_once(&self) -> Result<AuditReport> {
        // One transaction is one moment.
        let mut tx = self.0.readers.begin().await.map_err(self.failed(READ))?;
        self.verify_audit_in(&mut tx).await
    }

    pub(crate) async fn verify_audit_in(&self, connection: &mut SqliteConnection) -> Result<AuditReport> {
        let failed = |error| failure::explain(&self.0.place, READ, error);
        let head = Head::read(connection).await.map_err(failed)?;
        let key = self.chain_key(connection).await?;
        let entries: i64 = sqlx::query_scalar("SELECT count(*) FROM audit_log")
            .fetch_one(&mut *connection)
            .await
            .map_err(failed)?;
        let broken = |what| Ok(AuditReport { entries: 0, broken: Some(BrokenAt { id: 1, what }) });
        let (key, head) = match (key, head) {
            (Some(key), Some(text)) => match Head::parse(&text, &key) {
                // The entries tell where; the last of them is as far as one can see.
                Some(head) => (key, Some(head)),
                None => (key, None),
            },
            (Some(key), None) => (key, None),
            (None, None) if entries == 0 => return self.verify_none(connection).await,
            (None, _) => return broken("the key of the log was removed"),
        };
        let (good, wrong) = self.walk(connection, &key).await?;
        if let Some(what) = wrong {
            return Ok(AuditReport { entries: good.count.unsigned_abs(), broken: Some(at(&good, what)) });
        }
        let what = match head {
            None => Some("the head of the log was changed or removed: entries may be missing from here on"),
            Some(head) if head == good => None,
            Some(head) if head.count > good.count => Some("it is missing, and with it all that came after"),
            Some(_) => Some("it was added by somebody else"),
        };
        Ok(AuditReport { entries: good.count.unsigned_abs(), broken: what.map(|what| at(&good, what)) })
    }

    /// How far the entries are good, and what is wrong with the next.
    async fn walk(
        &self,
        connection: &mut SqliteConnection,
        key: &ChainKey,
    ) -> Result<(Head, Option<&'static str>)> {
        let mut good = Head { count: 0, mac: String::new() };
        let mut after = i64::MIN;
        loop {
            let mut query = QueryBuilder::<Sqlite>::new(COLUMNS);
            query.push(" WHERE id > ").push_bind(after).push(" ORDER BY id LIMIT ").push_bind(PAGE);
            let rows: Vec<EntryRow> = query
                .build_query_as()
                .fetch_all(&mut *connection)
                .await
                .map_err(|error| failure::explain(&self.0.place, READ, error))?;
            let Some(last) = rows.last() else { return Ok((good, None)) };
            after = last.id;
            for row in rows {
                if row.id != good.count.saturating_add(1) {
                    return Ok((good, Some("it is missing")));
                }
                if !same(&key.mac(&good.mac, &row), &row.mac) {
                    return Ok((good, Some("it is not as it was written, or not where")));
                }
                good = Head { count: row.id, mac: row.mac };
            }
        }
    }

    /// Of a log without entries: is there anything that should have left one?
    async fn verify_none(&self, connection: &mut SqliteConnection) -> Result<AuditReport> {
        let changed: Option<bool> = sqlx::query_scalar(
            "SELECT CAST(generation.value AS INTEGER) > CAST(since.value AS INTEGER)
             FROM settings generation, settings since
             WHERE generation.key = 'config_generation' AND since.key = 'audit_since'",
        )
        .fetch_optional(connection)
        .await
        .map_err(|error| failure::explain(&self.0.place, READ, error))?;
        let what = match changed {
            Some(false) => None,
            Some(true) => Some(
                "it is missing: the configuration was changed since the log began, and there is no entry",
            ),
            None => Some("the settings that say when the log began were removed"),
        };
        Ok(AuditReport { entries: 0, broken: what.map(|what| BrokenAt { id: 1, what }) })
    }
}

fn at(good: &Head, what: &'static str) -> BrokenAt {
    BrokenAt { id: good.count.unsigned_abs() + 1, what }
}

impl AuditReport {
    /// The failure it amounts to, if any.
    pub fn error(&self) -> Option<Error> {
        let BrokenAt { id, what } = self.broken.as_ref()?;
        Some(
            Error::conflict(format!("entry {id} of the audit log: {what}"))
                .hint("entries before it are as they were written; compare with a backup")
                .details(serde_json::json!({ "entry": id, "verified": self.entries })),
        )
    }
}
