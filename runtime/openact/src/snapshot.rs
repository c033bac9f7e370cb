//! The configuration a call reads: prepared action versions in memory, so that a call touches no SQL.
//!
//! An action version is read from the store at its first call and kept until the configuration changes, or what a check
//! found of inputs, whoever changed it: this process clears the snapshot itself, a change by another process is seen by its
//! `prepared_generation` within [`SNAPSHOT_POLL`]. Invariant: what was loaded before a change is never kept after it.

use std::sync::{
    Arc, Weak,
    atomic::{AtomicU64, Ordering},
};

use openact_core::{
    ConnectionTrn, Error, Result, Tenant,
    action::ActionRecord,
    connection::ConnectionRecord,
    governance::Governance,
    limits::{INPUTS_KEPT_MAX, PREPARED_MAX, SNAPSHOT_POLL},
    manifest::ComponentDigest,
    trn::{Action, Reference},
};
use openact_engine::Connector;
use quick_cache::sync::Cache;
use tokio::sync::watch;

use crate::{Shared, find::find, inputs::Inputs, prepared::Prepared};

/// See the module.
pub(crate) struct Snapshot {
    by_reference: Cache<String, Arc<Prepared>>,
    inputs: Cache<(ConnectionTrn, ComponentDigest), Arc<Inputs>>,
    /// Counts the clearings, so that a load that overlaps one is not kept.
    epoch: AtomicU64,
    /// Tells the same number to who waits for a change.
    changes: watch::Sender<u64>,
}

impl Default for Snapshot {
    fn default() -> Self {
        Self {
            by_reference: Cache::new(PREPARED_MAX),
            inputs: Cache::new(INPUTS_KEPT_MAX),
            epoch: AtomicU64::new(0),
            changes: watch::Sender::new(0),
        }
    }
}

impl Snapshot {
    /// The action version that `reference` (which the caller wrote as `text`) names for `tenant`. Whether the caller may run
    /// it is not asked here; of what they may not see no error speaks.
    pub(crate) async fn prepared(
        &self,
        openact: &Shared,
        tenant: &Tenant,
        text: &str,
        reference: &Reference<Action>,
        governance: &Governance,
    ) -> Result<Arc<Prepared>> {
        let key = format!("{tenant} {text}");
        // Calls that come while the first one loads wait for it rather than load the same.
        let place = match self.by_reference.get_value_or_guard_async(&key).await {
            Ok(prepared) => return Ok(prepared),
            Err(place) => place,
        };
        let epoch = self.epoch.load(Ordering::Acquire);
        let (action, connection) = match pair(openact, tenant, reference, governance).await? {
            (action, Some(connection)) => (action, connection),
            // Both may have been deleted between the two looks, and the reference names a newer version by now.
            _ => match pair(openact, tenant, reference, governance).await? {
                (action, Some(connection)) => (action, connection),
                (action, None) => {
                    return Err(Error::not_found(format!(
                        "{} refers to {}, which does not exist",
                        action.trn.short(),
                        action.connection.short()
                    )));
                }
            },
        };
        let connector = openact.catalog.connector(openact, &action.trn.connector).await?;
        let inputs = self.inputs(openact, &connector.component, &connection.trn).await;
        let prepared = Arc::new(Prepared::new(action, connection, connector, &inputs)?);
        if self.epoch.load(Ordering::Acquire) == epoch {
            // Failing means that the place was cleared meanwhile.
            let _ = place.insert(prepared.clone());
        }
        Ok(prepared)
    }

    /// What `connector` knows of inputs over a connection, the same for every reader until it is cleared.
    pub(crate) async fn inputs(
        &self,
        openact: &Shared,
        connector: &Connector,
        connection: &ConnectionTrn,
    ) -> Arc<Inputs> {
        if !Inputs::are_known_to(connector.manifest()) {
            return Arc::default();
        }
        let key = (connection.clone(), connector.digest());
        let place = match self.inputs.get_value_or_guard_async(&key).await {
            Ok(inputs) => return inputs,
            Err(place) => place,
        };
        let epoch = self.epoch.load(Ordering::Acquire);
        let inputs = Arc::new(Inputs::read(openact, connector, connection).await);
        if self.epoch.load(Ordering::Acquire) == epoch {
            let _ = place.insert(inputs.clone());
        }
        inputs
    }

    /// Forgets everything: what it was made of changed.
    pub(crate) fn clear(&self) {
        let epoch = self.epoch.fetch_add(1, Ordering::AcqRel).wrapping_add(1);
        self.inputs.clear();
        self.by_reference.clear();
        // The highest is told, whichever of two clearings comes last.
        self.changes.send_modify(|told| *told = epoch.max(*told));
    }

    /// A number that grows with every clearing.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

/// An action version and, if it is there, its connection.
async fn pair(
    openact: &Shared,
    tenant: &Tenant,
    reference: &Reference<Action>,
    governance: &Governance,
) -> Result<(ActionRecord, Option<ConnectionRecord>)> {
    let action = find(openact, tenant, reference, governance).await?;
    let connection = openact.store.get_connection(&action.connection).await?;
    Ok((action, connection))
}

/// Watches the store for changes by other processes until `openact` is gone.
pub(crate) async fn watch(openact: Weak<Shared>, mut seen: u64) {
    loop {
        tokio::time::sleep(SNAPSHOT_POLL).await;
        let Some(openact) = openact.upgrade() else { return };
        match openact.store.prepared_generation().await {
            Ok(now) if now != seen => {
                seen = now;
                openact.forget_connectors();
            }
            Ok(_) => {}
            Err(error) => tracing::debug!("failed to look for changes: {error:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Format, OpenAct};

    const CONFIG: &str = r#"{"connectors": {"http": {
        "connections": {"api": {"base_url": "http://127.0.0.1:1"}}, "actions": {"get": {"connection": "api"}}}}}"#;

    async fn prepared(openact: OpenAct) -> Arc<Prepared> {
        let tenant = Tenant::default();
        let all = Governance::default();
        openact.0.snapshot.prepared(&openact.0, &tenant, "get", &"get".parse().unwrap(), &all).await.unwrap()
    }

    #[tokio::test]
    async fn calls_that_come_at_once_share_what_the_first_one_loads() {
        let openact =
            OpenAct::builder().without_cache().config_text(CONFIG, Format::Json).build().await.unwrap();
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..50 {
            calls.spawn(prepared(openact.clone()));
        }
        let all = calls.join_all().await;
        assert!(all.iter().all(|one| Arc::ptr_eq(one, &all[0])));
        // A change of configuration makes another one.
        openact.0.snapshot.clear();
        assert!(!Arc::ptr_eq(&prepared(openact).await, &all[0]));
    }
}
