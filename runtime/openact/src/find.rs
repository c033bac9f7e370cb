//! From what people write to the record they mean: actions and connections alike.
//!
//! Invariant: another tenant's record does not exist for this one (M8), and no message names an action that the caller may
//! not see (M7).

use openact_core::{
    ConnectorName, Error, Name, Result, Tenant,
    action::ActionRecord,
    connection::ConnectionRecord,
    governance::Governance,
    schema::nearest,
    trn::{Action, Connection, RecordKind, RecordTrn, Reference, VersionWanted},
};
use openact_store::{ActionFilter, ConnectionFilter, Store};

use crate::Shared;

/// A kind of record the store keeps by TRN.
pub(crate) trait Stored: RecordKind {
    type Record: Send;

    fn trn(record: &Self::Record) -> &RecordTrn<Self>;

    /// Whether a caller under `governance` may hear of it.
    fn is_seen(trn: &RecordTrn<Self>, governance: &Governance) -> bool;

    fn get(store: &Store, trn: &RecordTrn<Self>)
    -> impl Future<Output = Result<Option<Self::Record>>> + Send;

    /// Those of a connector and name, where these are given.
    fn list(
        store: &Store,
        tenant: &Tenant,
        connector: Option<ConnectorName>,
        name: Option<Name>,
        latest_only: bool,
    ) -> impl Future<Output = Result<Vec<Self::Record>>> + Send;
}

impl Stored for Action {
    type Record = ActionRecord;

    fn trn(record: &ActionRecord) -> &RecordTrn<Self> {
        &record.trn
    }

    fn is_seen(trn: &RecordTrn<Self>, governance: &Governance) -> bool {
        governance.allows(trn)
    }

    async fn get(store: &Store, trn: &RecordTrn<Self>) -> Result<Option<ActionRecord>> {
        store.get_action(trn).await
    }

    async fn list(
        store: &Store,
        tenant: &Tenant,
        connector: Option<ConnectorName>,
        name: Option<Name>,
        latest_only: bool,
    ) -> Result<Vec<ActionRecord>> {
        store.find_actions(tenant, &ActionFilter { connector, name, latest_only, ..Default::default() }).await
    }
}

impl Stored for Connection {
    type Record = ConnectionRecord;

    fn trn(record: &ConnectionRecord) -> &RecordTrn<Self> {
        &record.trn
    }

    /// Governance is of actions; whoever may not manage is shown no connections at all.
    fn is_seen(_: &RecordTrn<Self>, _: &Governance) -> bool {
        true
    }

    async fn get(store: &Store, trn: &RecordTrn<Self>) -> Result<Option<ConnectionRecord>> {
        store.get_connection(trn).await
    }

    async fn list(
        store: &Store,
        tenant: &Tenant,
        connector: Option<ConnectorName>,
        name: Option<Name>,
        latest_only: bool,
    ) -> Result<Vec<ConnectionRecord>> {
        store.find_connections(tenant, &ConnectionFilter { connector, name, latest_only }).await
    }
}

/// The record that `reference` names, or an error that helps to name it right: with names that `governance` lets the caller
/// see. Whether the record itself is one of those is for the caller to ask.
pub(crate) async fn find<K: Stored>(
    openact: &Shared,
    tenant: &Tenant,
    reference: &Reference<K>,
    governance: &Governance,
) -> Result<K::Record> {
    match reference {
        Reference::Trn(trn) if trn.tenant == *tenant => match K::get(&openact.store, trn).await? {
            Some(record) => Ok(record),
            None => Err(unknown::<K>(openact, tenant, &trn.short(), &trn.name, governance).await),
        },
        Reference::Trn(trn) => Err(Error::not_found(format!("there is no {} {trn}", K::WORD))),
        Reference::Short { connector, name, version, dotted } => {
            let mut found = candidates::<K>(openact, tenant, connector.clone(), name, *version).await?;
            if let (true, Some((connector, name))) = (found.is_empty(), dotted) {
                found = candidates::<K>(openact, tenant, Some(connector.clone()), name, *version).await?;
            }
            if found.len() > 1 {
                return Err(ambiguous::<K>(name, &found, governance));
            }
            if let Some(record) = found.pop() {
                return Ok(record);
            }
            let mut text = connector.as_ref().map_or_else(String::new, |connector| format!("{connector}/"));
            text.push_str(name.as_str());
            if let VersionWanted::Exactly(version) = version {
                text.push_str(&format!("@v{version}"));
            }
            Err(unknown::<K>(openact, tenant, &text, name, governance).await)
        }
    }
}

fn ambiguous<K: Stored>(name: &Name, found: &[K::Record], governance: &Governance) -> Error {
    let seen = found.iter().filter(|record| K::is_seen(K::trn(record), governance));
    let seen: Vec<String> = seen.map(named::<K>).collect();
    match &seen[..] {
        [] => Error::not_found(format!("there is no {} '{name}'", K::WORD)),
        [one] => Error::conflict(format!("'{name}' is ambiguous"))
            .hint(format!("write it with its connector: {one}")),
        _ => Error::conflict(format!("'{name}' is ambiguous: {} {}s have that name", seen.len(), K::WORD))
            .hint(format!("use one of: {}", seen.join(", "))),
    }
}

/// `connector/name`
fn named<K: Stored>(record: &K::Record) -> String {
    let trn = K::trn(record);
    format!("{}/{}", trn.connector, trn.name)
}

async fn candidates<K: Stored>(
    openact: &Shared,
    tenant: &Tenant,
    connector: Option<ConnectorName>,
    name: &Name,
    version: VersionWanted,
) -> Result<Vec<K::Record>> {
    let latest_only = version == VersionWanted::Latest;
    let mut found = K::list(&openact.store, tenant, connector, Some(name.clone()), latest_only).await?;
    if let VersionWanted::Exactly(version) = version {
        found.retain(|record| K::trn(record).version == version);
    }
    Ok(found)
}

async fn unknown<K: Stored>(
    openact: &Shared,
    tenant: &Tenant,
    text: &str,
    name: &Name,
    governance: &Governance,
) -> Error {
    let error = Error::not_found(format!("there is no {} '{text}'", K::WORD));
    let Ok(mut all) = K::list(&openact.store, tenant, None, None, true).await else {
        return error;
    };
    all.retain(|record| K::is_seen(K::trn(record), governance));
    let names: Vec<String> = all.iter().map(named::<K>).collect();
    let near = nearest(text, names.iter().map(String::as_str)).or_else(|| {
        let short = nearest(name.as_str(), all.iter().map(|record| K::trn(record).name.as_str()))?;
        names
            .iter()
            .map(String::as_str)
            .find(|full| full.split_once('/').is_some_and(|(_, name)| name == short))
    });
    match near {
        Some(near) => error.hint(format!("did you mean '{near}'?")),
        None if names.is_empty() => {
            error.hint(format!("there are no {}s yet; add some with: openact import FILE", K::WORD))
        }
        None => error.hint(format!("see: openact list {}s", K::WORD)),
    }
}
