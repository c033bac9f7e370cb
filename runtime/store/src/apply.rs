//! One import is one transaction: all of its connections, actions and secrets, or none.
//!
//! Invariant: this is the only way a connection or an action comes to be, and it never overwrites one.

use openact_core::{
    Result, Tenant, action::ActionRecord, connection::ConnectionRecord, secret::SecretString,
};

use crate::{Store, actions, connections};

/// What is to be added together.
#[derive(Debug, Default)]
pub struct ChangeSet {
    /// Inserted first.
    pub connections: Vec<ConnectionRecord>,
    /// Inserted last; each over a connection that exists by then.
    pub actions: Vec<ActionRecord>,
    /// Sealed and inserted.
    pub secrets: Vec<NewSecret>,
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
    /// Adds everything in `changes`, or nothing. A version or secret that exists already is a `conflict`, and so is an
    /// action whose connection is missing or of another tenant or connector.
    pub async fn apply(&self, changes: ChangeSet) -> Result<()> {
        if changes.connections.is_empty() && changes.actions.is_empty() && changes.secrets.is_empty() {
            return Ok(());
        }
        if !changes.secrets.is_empty() {
            // Before the transaction: getting the key may take a while, and others wait for the lock.
            self.0.keys.ring()?;
        }
        let mut tx = self.begin().await?;
        for connection in &changes.connections {
            connections::insert(&mut tx, &self.0.place, connection).await?;
        }
        if !changes.secrets.is_empty() {
            let key = self.sealing_key(&mut tx).await?;
            for secret in &changes.secrets {
                self.insert_secret(&mut tx, &key, secret).await?;
            }
        }
        for action in &changes.actions {
            actions::insert(&mut tx, &self.0.place, action).await?;
        }
        self.commit_configuration(tx).await
    }
}
