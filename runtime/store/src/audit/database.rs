//! Entries about a whole database: that it was restored, rolled back, rid of its earlier tables.
//!
//! Invariant: what replaces a database, or is all that is left of it, has the entry in it before it is that.

use std::path::Path;

use openact_core::{Error, Result};
use serde_json::{Value, json};
use sqlx::SqliteConnection;

use super::{AuditReport, Author, Head, NewEntry};
use crate::{KeySource, RunWrites, Store, StoreUrl};

/// What an entry says of a restore.
pub(crate) struct Restore<'a> {
    /// The copy, as the user named it.
    pub(crate) from: &'a Path,
    /// The digest of its bytes.
    pub(crate) digest: String,
    /// The head of the log of the database that is replaced, if it could be read.
    pub(crate) replaced: Option<String>,
}

impl Store {
    /// An entry about this database, within the caller's transaction.
    pub(crate) async fn audit_database(
        &self,
        tx: &mut SqliteConnection,
        operation: &'static str,
        before: Option<Value>,
        after: Value,
    ) -> Result<()> {
        let (object, before) = ("database".to_owned(), before.map(|before| before.to_string()));
        let after = Some(after.to_string());
        self.audit(tx, NewEntry { tenant: None, operation, object, before, after }).await
    }

    async fn enter(&self, operation: &'static str, before: Option<Value>, after: Value) -> Result<()> {
        let mut tx = self.begin_change().await?;
        self.audit_database(&mut tx, operation, before, after).await?;
        self.commit(tx).await
    }
}

/// Verifies the log of a copy that is about to become a database, and enters that. None without the key; whether there is
/// an entry. A log that is sound gets it or this fails; that of a broken one is no reason not to have the copy.
pub(crate) async fn enter_restore(
    copy: &Path,
    key: KeySource,
    author: Author,
    restore: Restore<'_>,
) -> Result<(Option<AuditReport>, bool)> {
    let store = Store::open(&StoreUrl::file(copy), key, RunWrites::BeforeAnswer).await?.acting_as(author);
    let report = store.verify_audit().await.ok();
    let entered = match &report {
        None => Ok(false),
        Some(report) => {
            let wrong = report.error().map(|error| error.message.clone());
            let before = restore.replaced.map(|head| json!({ "head": head }));
            let after = json!({
                "backup": restore.from.display().to_string(), "digest": restore.digest,
                "entries": report.entries, "head": report.head, "verified": wrong.is_none(), "wrong": wrong,
            });
            match store.enter("database.restore", before, after).await {
                Err(_) if report.broken.is_some() => Ok(false),
                entered => entered.map(|()| true),
            }
        }
    };
    let closed = store.close().await;
    let entered = entered?;
    closed.map(|()| (report, entered))
}

/// Enters into the copy of a database that this one is no more.
pub(crate) async fn enter_rollback(copy: &Path, key: KeySource, author: Author, after: Value) -> Result<()> {
    let store = Store::open(&StoreUrl::file(copy), key, RunWrites::BeforeAnswer).await?.acting_as(author);
    let entered = store.enter("database.rollback", None, after).await;
    let closed = store.close().await;
    entered.and(closed)
}

/// The head of the log of another database, as it says; nothing vouches for it.
pub(crate) async fn claimed_head(connection: &mut SqliteConnection) -> Option<String> {
    let text = Head::read(connection).await.ok()??;
    let mut parts = text.split(' ');
    let head = Head { count: parts.next()?.parse().ok()?, mac: parts.next()?.to_owned() };
    Some(head.short())
}

/// For a copy that turns out to be more than one file.
pub(crate) fn not_whole(place: &str) -> Error {
    Error::store_unavailable(format!("the audit entry of database {place} was not folded into its file"))
        .hint("try again")
}
