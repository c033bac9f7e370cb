//! Runs in the log, by setting.
//!
//! | setting | before a run | after it |
//! |---|---|---|
//! | `off` | | |
//! | `on` | | `run.end`, in the transaction of its record; one that cannot be written is logged instead |
//! | `required` | `run.start`, without which it does not begin | `run.end`, as above |
//!
//! Invariant: with `off`, a run costs one read of an atomic number more.

use std::{str::FromStr, sync::Arc, sync::atomic::Ordering};

use openact_core::{
    ActionTrn, Error, Result,
    run::{Door, RunId, RunRecord},
};
use serde_json::json;
use sqlx::{Connection, SqliteConnection};

use super::{Author, NewEntry};
use crate::{Store, failure};

/// Whether runs are in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AuditRuns {
    /// They are not.
    #[default]
    Off,
    /// They are, if the log can be written.
    On,
    /// They are, or they do not begin.
    Required,
}

impl FromStr for AuditRuns {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        match text {
            "off" => Ok(Self::Off),
            "on" => Ok(Self::On),
            "required" => Ok(Self::Required),
            _ => Err(Error::invalid_config("runs are audited 'off', 'on' or 'required', and nothing else")),
        }
    }
}

impl Store {
    /// Sets whether runs are in the log, for all clones of this store.
    pub fn set_audit_runs(&self, runs: AuditRuns) -> Result<()> {
        if runs == AuditRuns::Required && self.0.path.is_none() {
            return Err(Error::invalid_config(
                "runs must be in the audit log, which a database in memory has not",
            )
            .hint("name a file with --db, or set OPENACT_AUDIT_RUNS=on"));
        }
        self.0.audit_runs.store(runs as u8, Ordering::Relaxed);
        Ok(())
    }

    /// To be called before anything of a run is sent; an error means that it must not begin.
    pub async fn audit_run_start(&self, id: RunId, action: &ActionTrn, door: Door) -> Result<()> {
        if self.0.audit_runs.load(Ordering::Relaxed) != AuditRuns::Required as u8 {
            return Ok(());
        }
        let mut tx = self.begin_change().await?;
        if let Some(mut trail) = self.trail(&mut tx).await? {
            let after = json!({ "action": action }).to_string();
            trail.add(&Author { actor: self.1.actor.clone(), door }, of_run(id, action, "run.start", after));
            trail.write(&mut tx, &self.0.place).await?;
        }
        self.commit(tx).await
    }

    /// Entries for runs whose records are being written, within that transaction.
    pub(crate) async fn audit_run_ends(&self, tx: &mut SqliteConnection, records: &[Arc<RunRecord>]) {
        if self.0.audit_runs.load(Ordering::Relaxed) == AuditRuns::Off as u8 {
            return;
        }
        let written = async {
            let failed = |error| failure::explain(&self.0.place, "write the audit log", error);
            // A savepoint: half of the entries would be worse than none.
            let mut tx = tx.begin().await.map_err(failed)?;
            let Some(mut trail) = self.trail(&mut tx).await? else { return Ok(()) };
            for record in records {
                let after = json!({
                    "action": record.action, "connection": record.connection, "dry_run": record.dry_run,
                    "connector_digest": record.connector_digest.to_string(),
                    "error": record.failure.as_ref().map(|(code, _)| code),
                });
                let author = Author { actor: self.1.actor.clone(), door: record.door };
                trail.add(&author, of_run(record.id, &record.action, "run.end", after.to_string()));
            }
            trail.write(&mut tx, &self.0.place).await?;
            tx.commit().await.map_err(failed)
        };
        let written: Result<()> = written.await;
        if let Err(error) = written {
            tracing::error!(runs = records.len(), "runs are not in the audit log: {error:?}");
        }
    }
}

fn of_run(id: RunId, action: &ActionTrn, operation: &'static str, after: String) -> NewEntry {
    let (tenant, object) = (Some(action.tenant.to_string()), format!("run/{id}"));
    NewEntry { tenant, operation, object, before: None, after: Some(after) }
}
