//! A copy of the whole database beside it, before it is changed.
//!
//! Invariant: a copy that is named was opened, read through and is on the disk; see [`crate::backup`].

use std::path::{Path, PathBuf};

use openact_core::{ErrorCode, Result, Timestamp};

use crate::backup::copy_database;

/// Copies the database at `path` to a file beside it whose name says when. The caller holds the write lock, so that the
/// copy is of the state that will be changed.
pub(crate) async fn copy_beside(path: &Path) -> Result<PathBuf> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let when = Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
    let mut target = path.with_file_name(format!("{name}.{when}.bak"));
    let mut number = 2;
    loop {
        match copy_database(path, &target).await {
            Ok(report) => return Ok(report.file),
            // Of the same second.
            Err(error) if error.code == ErrorCode::Conflict && number < 100 => {
                target = path.with_file_name(format!("{name}.{when}-{number}.bak"));
                number += 1;
            }
            Err(error) => {
                return Err(error.context("no copy was made before the migration, so nothing was changed"));
            }
        }
    }
}
