//! Entries about a whole database: that it was restored, rolled back, rid of its earlier tables.
//!
//! Invariant: what replaces a database, or is all that is left of it, has the entry in it before it is that.

use std::path::Path;

use openact_core::{Error, Result};
use serde_json::{Value, json};
use sqlx::SqliteConnection;

use super::{AuditReport, Author, Head, NewEntry};
use crate::{
    ApiToken, KeySource, RunWrites, Store, StoreUrl,
    tokens::{Ended, end_unshared},
};

/// What an entry says of a restore.
pub(crate) struct Restore<'a> {
    /// The copy, as the user named it.
    pub(crate) from: &'a Path,
    /// The digest of its bytes.
    pub(crate) digest: String,
    /// The head of the log of the database that is replaced, if it could be read.
    pub(crate) replaced: Option<String>,
    /// Its tokens.
    pub(crate) tokens: &'a [ApiToken],
}

/// What was entered of a restore.
pub(crate) struct Entered {
    /// What verifying the log found; none without its key.
    pub(crate) audit: Option<AuditReport>,
    /// Whether there is an entry.
    pub(crate) logged: bool,
    /// Tokens that are over by it.
    pub(crate) ended: Vec<Ended>,
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

    /// Ends tokens of a copy, with an entry of the restore and of each of them if there is something to enter.
    async fn restored(
        &self,
        entry: Option<(Option<Value>, Value)>,
        tokens: &[ApiToken],
    ) -> Result<Vec<Ended>> {
        let is_logged = entry.is_some();
        let mut tx = if is_logged { self.begin_change().await? } else { self.begin().await? };
        if let Some((before, after)) = entry {
            self.audit_database(&mut tx, "database.restore", before, after).await?;
        }
        let ended = end_unshared(&mut tx, &self.0.place, tokens).await?;
        for (before, after) in ended.iter().filter(|_| is_logged) {
            self.audit_token(&mut tx, "token.end", before.as_ref(), Some(after)).await?;
        }
        self.commit(tx).await?;
        Ok(ended)
    }
}

/// Verifies the log of a copy that is about to become a database, and enters that there. A log that is sound gets its entry or
/// this fails; that of a broken one is no reason not to have the copy. Tokens are ended in any case.
pub(crate) async fn enter_restore(
    copy: &Path,
    key: KeySource,
    author: Author,
    restore: Restore<'_>,
) -> Result<Entered> {
    let store = Store::open(&StoreUrl::file(copy), key, RunWrites::BeforeAnswer).await?.acting_as(author);
    let report = store.verify_audit().await.ok();
    let tokens = restore.tokens;
    let entered = match &report {
        None => Ok(None),
        Some(report) => {
            let wrong = report.error().map(|error| error.message.clone());
            let before = restore.replaced.map(|head| json!({ "head": head }));
            let after = json!({
                "backup": restore.from.display().to_string(), "digest": restore.digest,
                "entries": report.entries, "head": report.head, "verified": wrong.is_none(), "wrong": wrong,
            });
            match store.restored(Some((before, after)), tokens).await {
                Err(_) if report.broken.is_some() => Ok(None),
                ended => ended.map(Some),
            }
        }
    };
    let entered = match entered {
        Ok(Some(ended)) => Ok((true, ended)),
        Ok(None) => store.restored(None, tokens).await.map(|ended| (false, ended)),
        Err(error) => Err(error),
    };
    let closed = store.close().await;
    let (logged, ended) = entered?;
    closed.map(|()| Entered { audit: report, logged, ended })
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
