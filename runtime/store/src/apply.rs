//! One change of configuration is one transaction: all of its connections, actions and secrets, or none.
//!
//! Invariant: this is the only way a connection or an action comes to be, and it never overwrites one.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use openact_core::{
    ActionTrn, Error, Result, Tenant, action::ActionRecord, connection::ConnectionRecord,
    secret::SecretString,
};
use sqlx::SqliteConnection;

use crate::{Store, Synced, actions, connections, prune, prune::DeletedConnection, synced};

/// What is to be added and deleted together.
#[derive(Debug, Default)]
pub struct ChangeSet {
    /// Inserted first.
    pub connections: Vec<ConnectionRecord>,
    /// Inserted last; each over a connection that exists by then.
    pub actions: Vec<ActionRecord>,
    /// Sealed and inserted.
    pub secrets: Vec<NewSecret>,
    /// Deleted after everything is inserted.
    pub deleted_actions: Vec<ActionTrn>,
    /// Deleted last, with their secrets.
    pub deleted_connections: Vec<DeletedConnection>,
    /// Remembered as made by sync.
    pub synced: Vec<(Tenant, Synced)>,
    /// What [`Store::config_generation`] was when this was planned.
    pub planned_at: Option<u64>,
    /// Counts what is written, for whoever watches.
    pub written: Arc<AtomicUsize>,
}

impl ChangeSet {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.connections.is_empty()
            && self.actions.is_empty()
            && self.secrets.is_empty()
            && self.deleted_actions.is_empty()
            && self.deleted_connections.is_empty()
            && self.synced.is_empty()
    }
}

/// A secret to be sealed.
#[derive(Debug)]
pub struct NewSecret {
    /// Who owns it.
    pub tenant: Tenant,
    /// What `{"$secret": …}` says.
    pub name: String,
    /// The value.
    pub value: SecretString,
}

impl Store {
    /// Does everything in `changes`, or nothing. A version or secret that exists already is a `conflict`, and so is an
    /// action whose connection is missing or of another tenant or connector, and a connection that is deleted while an
    /// action runs over it. If the configuration is another one than was planned for, the conflict is retryable: what is
    /// planned anew may fit.
    pub async fn apply(&self, changes: ChangeSet) -> Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        if !changes.secrets.is_empty() {
            // Before the transaction: getting the key may take a while, and others wait for the lock.
            self.0.keys.ring()?;
        }
        let mut tx = self.begin_change().await?;
        if let Some(planned_at) = changes.planned_at
            && self.generation_of(&mut *tx).await? != planned_at
        {
            return Err(Error::conflict("the configuration was changed by somebody else in the same moment")
                .hint("try again")
                .with_retryable(true));
        }
        self.write_changes(&mut tx, &changes).await?;
        self.commit_configuration(tx).await
    }

    /// Writes `changes`, and their entries in the audit log, in the caller's transaction.
    pub(crate) async fn write_changes(&self, tx: &mut SqliteConnection, changes: &ChangeSet) -> Result<()> {
        self.audit_changes(tx, changes).await?;
        let written = || changes.written.fetch_add(1, Ordering::Relaxed);
        for connection in &changes.connections {
            connections::insert(tx, &self.0.place, connection).await?;
            written();
        }
        if !changes.secrets.is_empty() {
            let key = self.sealing_key(tx).await?;
            for secret in &changes.secrets {
                self.insert_secret(tx, &key, secret).await?;
            }
        }
        for action in &changes.actions {
            actions::insert(tx, &self.0.place, action).await?;
            written();
        }
        prune::delete(tx, &self.0.place, changes).await?;
        for (tenant, record) in &changes.synced {
            synced::remember(tx, &self.0.place, tenant, record).await?;
        }
        Ok(())
    }
}
