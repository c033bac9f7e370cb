//! Deleting versions that nobody needs any more.
//!
//! Invariant: the latest version of a connection or action is never deleted, and neither is a connection version that an
//! action which stays runs over.

use std::collections::HashSet;

use openact_core::{
    ActionTrn, ConnectionTrn, Result, Tenant,
    trn::{RecordKind, RecordTrn},
};
use openact_store::{DeletedConnection, Kind, Store};

use crate::{
    OpenAct,
    import::Job,
    plan::{ChangeStatus, Plan, Planned, secret_name},
};

impl OpenAct {
    /// Deletes versions of a tenant's connections and actions that are older than the `keep` latest of each, with the
    /// secrets that came with them. Records of runs stay.
    pub async fn prune(&self, tenant: &Tenant, keep: u32, dry_run: bool) -> Result<Plan> {
        self.carry_out(&Job::Prune(tenant, keep), dry_run, None).await
    }
}

pub(crate) async fn planned(store: &Store, tenant: &Tenant, keep: u32) -> Result<Planned> {
    let mut planned = Planned::default();
    planned.changes.planned_at = Some(store.config_generation().await?);
    let actions = store.action_versions(tenant).await?;
    let old: HashSet<&ActionTrn> =
        old_versions(actions.iter().map(|(trn, _)| trn), keep).into_iter().collect();
    let mut in_use: HashSet<&ConnectionTrn> = HashSet::new();
    for (trn, connection) in &actions {
        if old.contains(trn) {
            planned.delete_action(trn.clone());
        } else {
            in_use.insert(connection);
        }
    }
    let connections = store.connection_versions(tenant).await?;
    for trn in old_versions(connections.iter(), keep) {
        if !in_use.contains(trn) {
            planned.delete_connection(trn.clone());
        }
    }
    for trn in &planned.changes.deleted_actions {
        planned.plan.push(Kind::Action, trn.short(), ChangeStatus::Deleted);
    }
    for deleted in &planned.changes.deleted_connections {
        planned.plan.push(Kind::Connection, deleted.trn.short(), ChangeStatus::Deleted);
    }
    Ok(planned)
}

impl Planned {
    pub(crate) fn delete_action(&mut self, trn: ActionTrn) {
        self.changes.deleted_actions.push(trn);
    }

    /// With the secrets that came with that version.
    pub(crate) fn delete_connection(&mut self, trn: ConnectionTrn) {
        let secrets = secret_name(&trn, "");
        self.changes.deleted_connections.push(DeletedConnection { trn, secrets });
    }
}

/// Of versions ordered by record and number, all but the last `keep` of each record.
fn old_versions<'a, K: RecordKind>(
    versions: impl Iterator<Item = &'a RecordTrn<K>>,
    keep: u32,
) -> Vec<&'a RecordTrn<K>> {
    let versions: Vec<&RecordTrn<K>> = versions.collect();
    let same_record =
        |a: &&RecordTrn<K>, b: &&RecordTrn<K>| (&a.connector, &a.name) == (&b.connector, &b.name);
    // Were none kept, `latest` would name nothing.
    let keep = keep.max(1) as usize;
    let records = versions.chunk_by(same_record);
    records.flat_map(|record| record.iter().take(record.len().saturating_sub(keep)).copied()).collect()
}
