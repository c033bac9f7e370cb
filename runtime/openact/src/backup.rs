//! Copies of the database, and putting one in its place.
//!
//! Invariant: a copy is verified by opening it before it has its name, and so is one before it becomes the database.

use std::{path::Path, sync::Arc};

use openact_core::Result;
use openact_store::{BackupReport, RestoreReport, Store};

use crate::{OpenAct, settings};

impl OpenAct {
    /// Writes a copy of the database to a file that must not exist, while calls and changes go on.
    pub async fn backup(&self, to: &Path) -> Result<BackupReport> {
        self.0.store.backup(to).await
    }
}

/// Puts a copy in the place of the database at `url`. One that is there is replaced with `force` only, kept beside it,
/// and not replaced while any process has it open. Without its master key, the audit log is not verified.
pub async fn restore(url: &str, from: &Path, force: bool) -> Result<RestoreReport> {
    let url = settings::store_url(url)?;
    let key =
        settings::key_source(&url, &(Arc::new(|name: &str| std::env::var(name).ok()) as crate::Environment))?;
    Store::restore(&url, key, from, force).await
}
