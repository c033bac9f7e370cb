//! Copies of the database, and putting one in its place.
//!
//! Invariant: a copy is verified by opening it before it has its name, and so is one before it becomes the database.

use std::path::Path;

use openact_core::{Result, run::Door};
use openact_store::{BackupReport, RestoreReport, Store};

use crate::{OpenAct, settings};

impl OpenAct {
    /// Writes a copy of the database to a file that must not exist, while calls and changes go on.
    pub async fn backup(&self, to: &Path) -> Result<BackupReport> {
        self.0.store.backup(to).await
    }
}

/// Puts a copy in the place of the database at `url`. One that is there is replaced with `force` only, kept beside it,
/// and not replaced while any process has it open. Its audit log is verified first, and gets an entry of this; without the
/// master key, neither.
pub async fn restore(url: &str, from: &Path, force: bool, door: Door) -> Result<RestoreReport> {
    let url = settings::store_url(url)?;
    let (key, author) = settings::key_and_author(&url, door)?;
    Store::restore(&url, key, author, from, force).await
}
