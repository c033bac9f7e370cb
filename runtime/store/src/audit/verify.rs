//! Verifying the log: every entry is where it was written and as it was written, and none is missing.
//!
//! Invariant: what is read is one moment of the database, so that a log that grows meanwhile is no broken one.

use std::collections::HashMap;

use openact_core::{Error, Result};
use sqlx::{QueryBuilder, Sqlite, SqliteConnection};

use super::{BEGIN, COLUMNS, ChainKey, EntryRow, Head, READ, chain::same, configured, current::logged};
use crate::{Store, failure};

/// Entries read at a time.
const PAGE: i64 = 1_000;

/// Characters of a mac that are enough to tell it from any other.
const SHORT: usize = 16;

/// In place of the mac of no entry.
const NO_MAC: &str = "0000000000000000";

/// What verifying found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditReport {
    /// Entries that are as they were written, from the first one on.
    pub entries: u64,
    /// The first one that is not.
    pub broken: Option<BrokenAt>,
    /// Connections, actions, connectors, secrets and credentials that are not what was last written of them, or of which
    /// nothing was; not looked for in a log that is broken.
    pub differ: Vec<String>,
    /// How many entries there are and the beginning of the last one's mac, to be kept outside of the database.
    pub head: Option<String>,
    /// Whether there was configuration before the first entry: it is of before the log, or a log was removed.
    pub began_late: bool,
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
        let broken = |what| Ok(AuditReport::broken(0, Some(BrokenAt { id: 1, what })));
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
        let Walked { good, wrong, written, began_late } = self.walk(connection, &key).await?;
        if let Some(what) = wrong {
            return Ok(AuditReport::broken(good.count.unsigned_abs(), Some(at(&good, what))));
        }
        let what = match head {
            None => Some("the head of the log was changed or removed: entries may be missing from here on"),
            Some(head) if head == good => None,
            Some(head) if head.count > good.count => Some("it is missing, and with it all that came after"),
            Some(_) => Some("it was added by somebody else"),
        };
        let mut report = AuditReport::broken(good.count.unsigned_abs(), what.map(|what| at(&good, what)));
        report.began_late = began_late;
        if report.broken.is_none() {
            report.differ = self.past_the_log(connection, &key, written).await?;
            report.head = Some(good.short());
        }
        Ok(report)
    }

    /// Whether a head that was kept is in the log, which may have gone on since.
    pub async fn has_audit_head(&self, head: &str) -> Result<bool> {
        let Some((count, start)) = head.split_once('-').filter(|(_, start)| start.len() >= SHORT) else {
            return Err(Error::invalid_input("that is no head of an audit log")
                .hint("it is as openact audit verify prints it, such as 12-"));
        };
        if head == Head::START.short() {
            return Ok(true);
        }
        let mac: Option<String> = sqlx::query_scalar("SELECT mac FROM audit_log WHERE id = ?")
            .bind(count.parse::<i64>().ok())
            .fetch_optional(&self.0.readers)
            .await
            .map_err(self.failed(READ))?;
        Ok(mac.is_some_and(|mac| mac.starts_with(start)))
    }

    /// How far the entries are good, and what is wrong with the next.
    async fn walk(&self, connection: &mut SqliteConnection, key: &ChainKey) -> Result<Walked> {
        let mut walked =
            Walked { good: Head::START, wrong: None, written: HashMap::new(), began_late: false };
        let mut after = i64::MIN;
        loop {
            let mut query = QueryBuilder::<Sqlite>::new(COLUMNS);
            query.push(" WHERE id > ").push_bind(after).push(" ORDER BY id LIMIT ").push_bind(PAGE);
            let rows: Vec<EntryRow> = query
                .build_query_as()
                .fetch_all(&mut *connection)
                .await
                .map_err(|error| failure::explain(&self.0.place, READ, error))?;
            let Some(last) = rows.last() else { return Ok(walked) };
            after = last.id;
            for row in rows {
                let good = &walked.good;
                if row.id != good.count.saturating_add(1) {
                    return Ok(Walked { wrong: Some("it is missing"), ..walked });
                }
                if !same(&key.mac(&good.mac, &row), &row.mac) {
                    return Ok(Walked { wrong: Some("it is not as it was written, or not where"), ..walked });
                }
                walked.take(row);
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
        .fetch_optional(&mut *connection)
        .await
        .map_err(|error| failure::explain(&self.0.place, READ, error))?;
        let configured =
            configured(connection).await.map_err(|error| failure::explain(&self.0.place, READ, error))?;
        let what = match changed {
            Some(false) if configured => Some(
                "it is missing: there is configuration and no log of it, which was removed, unless openact migrate has just brought the database here from an OpenAct without one: then the next change begins it",
            ),
            Some(false) => None,
            Some(true) => Some(
                "it is missing: the configuration was changed since the log began, and there is no entry",
            ),
            None => Some("the settings that say when the log began were removed"),
        };
        Ok(AuditReport::broken(0, what.map(|what| BrokenAt { id: 1, what })))
    }
}

/// What was seen of the log so far.
struct Walked {
    good: Head,
    wrong: Option<&'static str>,
    /// Connections, actions, connectors, secrets, credentials and tokens that there are, by the log.
    written: HashMap<String, String>,
    began_late: bool,
}

impl Walked {
    fn take(&mut self, row: EntryRow) {
        self.began_late |= row.id == 1 && row.operation == BEGIN;
        let name = logged(&row);
        self.good = Head { count: row.id, mac: row.mac };
        let Some(name) = name else { return };
        match row.after_json {
            Some(after) => self.written.insert(name, after),
            None => self.written.remove(&name),
        };
    }
}

impl Head {
    pub(super) fn short(&self) -> String {
        format!("{}-{}", self.count, self.mac.get(..SHORT).unwrap_or(NO_MAC))
    }
}

fn at(good: &Head, what: &'static str) -> BrokenAt {
    BrokenAt { id: good.count.unsigned_abs() + 1, what }
}

impl AuditReport {
    /// The failure it amounts to, if any.
    pub fn error(&self) -> Option<Error> {
        let Some(BrokenAt { id, what }) = self.broken.as_ref() else { return self.differ_error() };
        Some(
            Error::conflict(format!("entry {id} of the audit log: {what}"))
                .hint("entries before it are as they were written; compare with a backup")
                .details(serde_json::json!({ "entry": id, "verified": self.entries })),
        )
    }

    fn differ_error(&self) -> Option<Error> {
        let first = self.differ.first()?;
        let more = match self.differ.len() {
            1 => String::new(),
            number => format!(" (and {} more)", number.saturating_sub(1)),
        };
        let message = format!("{first} is not what the audit log says was last written of it{more}");
        Some(
            Error::conflict(message)
                .hint(
                    "somebody changed the database past openact; compare with a backup, then import or set it again",
                )
                .details(serde_json::json!({ "differ": self.differ, "verified": self.entries })),
        )
    }

    fn broken(entries: u64, broken: Option<BrokenAt>) -> Self {
        Self { entries, broken, differ: Vec::new(), head: None, began_late: false }
    }
}
