//! What an import changes, worked out before anything is.
//!
//! What is stored is read in a few statements, however long the files are. Invariant: a plan is of one state of the store,
//! and is applied to that state or not at all: [`ChangeSet::planned_at`] says which.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fmt,
};

use openact_config::{ActionDraft, ConnectionDraft, Document};
use openact_core::{
    ActionTrn, ConnectionTrn, ConnectorName, Error, JsonObject, Name, Result, Tenant, Timestamp, Version,
    action::ActionRecord,
    connection::ConnectionRecord,
    schema::nearest,
    secret::{SecretRef, SecretString},
    trn::{RecordKind, RecordTrn},
};
use openact_store::{ActionFilter, ChangeSet, ConnectionFilter, Kind, NewSecret, Store};
use serde_json::Value;

use crate::import::Versioning;

/// What a change of configuration does: of an import in the order of the files, then what is deleted.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// A line per connection and action.
    pub changes: Vec<Change>,
    /// What a person should know besides.
    pub notes: Vec<String>,
    /// What the files should say otherwise, each with its place.
    pub warnings: Vec<String>,
}

impl Plan {
    /// Whether anything changes at all.
    pub fn is_empty(&self) -> bool {
        !self.changes.iter().any(Change::is_one)
    }

    pub(crate) fn push(&mut self, kind: Kind, record: String, status: ChangeStatus) {
        self.changes.push(Change { kind: kind.as_str(), record, status });
    }
}

/// What happens to one record.
#[derive(Clone, Debug)]
pub struct Change {
    /// `connection` or `action`.
    pub kind: &'static str,
    /// `connector/name@vN`, of the version that is current afterwards, or of a version that is deleted; `connector/name`
    /// if all of them are.
    pub record: String,
    /// What happens to it.
    pub status: ChangeStatus,
}

/// See [`Change`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangeStatus {
    /// It is new.
    Created,
    /// It gets a new version; the top-level fields that differ.
    Changed(Vec<String>),
    /// It stays as it is.
    Unchanged,
    /// It is deleted.
    Deleted,
}

impl Change {
    pub(crate) fn is_one(&self) -> bool {
        self.status != ChangeStatus::Unchanged
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match &self.status {
            ChangeStatus::Created => '+',
            ChangeStatus::Changed(_) => '~',
            ChangeStatus::Unchanged => '=',
            ChangeStatus::Deleted => '-',
        };
        write!(f, "{sign} {} {}", self.kind, self.record)?;
        match &self.status {
            ChangeStatus::Changed(fields) if !fields.is_empty() => write!(f, " ({})", fields.join(", ")),
            _ => Ok(()),
        }
    }
}

/// A record's connector and name.
pub(crate) type Key = (ConnectorName, Name);

pub(crate) fn key<K: RecordKind>(trn: &RecordTrn<K>) -> Key {
    (trn.connector.clone(), trn.name.clone())
}

/// A plan, and the changes that carry it out.
#[derive(Default)]
pub(crate) struct Planned {
    pub(crate) plan: Plan,
    pub(crate) changes: ChangeSet,
    /// The connection version that each action of the document ends at.
    pub(crate) over: HashMap<Key, ConnectionTrn>,
    pub(crate) created: Vec<(Kind, Key)>,
}

/// Plans the import of `document` for `tenant`.
pub(crate) async fn plan(
    store: &Store,
    document: &Document,
    tenant: &Tenant,
    versioning: Versioning,
) -> Result<Planned> {
    // First: whatever is changed after this makes the plan void.
    let generation = store.config_generation().await?;
    let stored = Stored::read(store, document, tenant).await?;
    let mut planner = Planner {
        tenant,
        versioning,
        now: Timestamp::now(),
        stored,
        connections: HashMap::new(),
        done: Planned::default(),
    };
    planner.done.changes.planned_at = Some(generation);
    planner.done.plan.warnings.clone_from(&document.warnings);
    for draft in &document.connections {
        planner.connection(draft);
    }
    let failed: Vec<Error> =
        document.actions.iter().filter_map(|draft| planner.action(draft).err()).collect();
    if let Some(error) = openact_config::together(failed) {
        return Err(error);
    }
    planner.note_what_stays(store).await?;
    Ok(planner.done)
}

/// The name under which a secret of a connection version is kept; with no pointer, how those of the version start.
pub(crate) fn secret_name(trn: &ConnectionTrn, pointer: &str) -> String {
    format!("connection/{}#{pointer}", trn.short())
}

/// What the store has of the records of a document.
struct Stored {
    connections: HashMap<Key, ConnectionRecord>,
    actions: HashMap<Key, ActionRecord>,
    retired: HashMap<(Kind, Key), u32>,
    /// Of connectors whose actions name a connection that is nowhere, those there are.
    names: BTreeSet<Key>,
    /// Names of secrets whose value is the document's.
    same_secrets: HashSet<String>,
}

impl Stored {
    async fn read(store: &Store, document: &Document, tenant: &Tenant) -> Result<Self> {
        let (mut connections, mut actions) = (BTreeMap::new(), BTreeMap::new());
        for draft in &document.connections {
            note(&mut connections, &draft.connector, &draft.name);
        }
        for draft in &document.actions {
            note(&mut connections, &draft.connector, &draft.connection);
            note(&mut actions, &draft.connector, &draft.name);
        }
        let mut stored = Self {
            connections: HashMap::new(),
            actions: HashMap::new(),
            retired: HashMap::new(),
            names: BTreeSet::new(),
            same_secrets: HashSet::new(),
        };
        for (connector, names) in connections {
            let names: Vec<Name> = names.into_iter().cloned().collect();
            let found = store.latest_connections(tenant, connector, &names).await?;
            stored.connections.extend(found.into_iter().map(|record| (key(&record.trn), record)));
            stored.read_retired(store, tenant, Kind::Connection, connector, &names).await?;
        }
        for (connector, names) in actions {
            let names: Vec<Name> = names.into_iter().cloned().collect();
            let found = store.latest_actions(tenant, connector, &names).await?;
            stored.actions.extend(found.into_iter().map(|record| (key(&record.trn), record)));
            stored.read_retired(store, tenant, Kind::Action, connector, &names).await?;
        }
        let mut values: HashMap<String, &SecretString> = HashMap::new();
        for draft in &document.connections {
            if let Some(record) = stored.connections.get(&(draft.connector.clone(), draft.name.clone())) {
                let named = draft
                    .secrets
                    .iter()
                    .map(|taken| (secret_name(&record.trn, &taken.pointer), &taken.value));
                values.extend(named);
            }
        }
        stored.same_secrets = store.same_secrets(tenant, &values).await?;
        stored.read_names(store, document, tenant).await?;
        Ok(stored)
    }

    /// Where an action names a connection that is nowhere, it may be meant for any that is stored.
    async fn read_names(&mut self, store: &Store, document: &Document, tenant: &Tenant) -> Result<()> {
        let own: HashSet<_> =
            document.connections.iter().map(|draft| (&draft.connector, &draft.name)).collect();
        let is_lost = |draft: &&ActionDraft| {
            let key = (draft.connector.clone(), draft.connection.clone());
            !self.connections.contains_key(&key) && !own.contains(&(&key.0, &key.1))
        };
        let lost: BTreeSet<&ConnectorName> =
            document.actions.iter().filter(is_lost).map(|draft| &draft.connector).collect();
        for connector in lost {
            let connector = Some(connector.clone());
            let filter = ConnectionFilter { connector, latest_only: true, ..Default::default() };
            let records = store.find_connections(tenant, &filter).await?;
            self.names.extend(records.into_iter().map(|record| key(&record.trn)));
        }
        Ok(())
    }

    async fn read_retired(
        &mut self,
        store: &Store,
        tenant: &Tenant,
        kind: Kind,
        connector: &ConnectorName,
        names: &[Name],
    ) -> Result<()> {
        let retired = store.retired_versions(tenant, kind, connector, names).await?;
        let keyed = retired.into_iter().map(|(name, version)| ((kind, (connector.clone(), name)), version));
        self.retired.extend(keyed);
        Ok(())
    }

    /// Top-level fields in which a draft differs from what is stored; secrets are compared by keyed hash.
    fn differing_fields(&self, draft: &ConnectionDraft, stored: &ConnectionRecord) -> Vec<String> {
        let mut config = draft.config.clone();
        rename_secrets(&mut config, &|pointer| secret_name(&stored.trn, pointer));
        let mut fields = differing_keys(&config, &stored.config);
        for taken in &draft.secrets {
            let field = taken.pointer.split('/').nth(1).unwrap_or_default().to_owned();
            if !self.same_secrets.contains(&secret_name(&stored.trn, &taken.pointer))
                && !fields.contains(&field)
            {
                fields.push(field);
            }
        }
        fields
    }
}

fn note<'a>(
    all: &mut BTreeMap<&'a ConnectorName, BTreeSet<&'a Name>>,
    connector: &'a ConnectorName,
    name: &'a Name,
) {
    all.entry(connector).or_default().insert(name);
}

/// Works out what an import changes.
struct Planner<'a> {
    tenant: &'a Tenant,
    versioning: Versioning,
    now: Timestamp,
    stored: Stored,
    /// The version each connection of the document ends at.
    connections: HashMap<Key, ConnectionTrn>,
    done: Planned,
}

impl Planner<'_> {
    fn connection(&mut self, draft: &ConnectionDraft) {
        let key = (draft.connector.clone(), draft.name.clone());
        let stored = self.stored.connections.get(&key);
        let differing =
            stored.map(|stored| (stored.trn.version, self.stored.differing_fields(draft, stored)));
        let (version, status) = self.decide(Kind::Connection, &key, differing);
        let trn = ConnectionTrn::new(self.tenant.clone(), key.0.clone(), key.1.clone(), version);
        if status != ChangeStatus::Unchanged {
            let mut config = draft.config.clone();
            rename_secrets(&mut config, &|pointer| secret_name(&trn, pointer));
            let secrets = draft.secrets.iter().map(|taken| NewSecret {
                tenant: self.tenant.clone(),
                name: secret_name(&trn, &taken.pointer),
                value: taken.value.clone(),
            });
            self.done.changes.secrets.extend(secrets);
            self.done.changes.connections.push(ConnectionRecord {
                trn: trn.clone(),
                config,
                created_at: self.now,
                updated_at: self.now,
            });
        }
        self.done.plan.push(Kind::Connection, trn.short(), status);
        self.connections.insert(key, trn);
    }

    fn action(&mut self, draft: &ActionDraft) -> Result<()> {
        let connection = self.connection_of(draft)?;
        let key = (draft.connector.clone(), draft.name.clone());
        let differing = self.stored.actions.get(&key).map(|stored| {
            let mut fields = differing_keys(&draft.config, &stored.config);
            if stored.connection != connection {
                fields.push("connection".into());
            }
            if stored.mcp_enabled != draft.mcp_enabled || stored.mcp_overrides != draft.mcp_overrides {
                fields.push("mcp".into());
            }
            (stored.trn.version, fields)
        });
        let (version, status) = self.decide(Kind::Action, &key, differing);
        let trn = ActionTrn::new(self.tenant.clone(), key.0.clone(), key.1.clone(), version);
        self.done.plan.push(Kind::Action, trn.short(), status.clone());
        let mut over = connection.clone();
        if status != ChangeStatus::Unchanged {
            self.done.changes.actions.push(ActionRecord {
                trn,
                connection,
                config: draft.config.clone(),
                mcp_enabled: draft.mcp_enabled,
                mcp_overrides: draft.mcp_overrides.clone(),
                created_at: self.now,
                updated_at: self.now,
            });
        } else if let Some(stored) = self.stored.actions.get(&key) {
            over = stored.connection.clone();
        }
        self.done.over.insert(key, over);
        Ok(())
    }

    /// Actions that are not in the document go on over the connection version they have, which is for a person to know.
    async fn note_what_stays(&mut self, store: &Store) -> Result<()> {
        let changed: BTreeSet<&ConnectorName> =
            self.done.changes.connections.iter().map(|record| &record.trn.connector).collect();
        let mut stay: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for connector in changed {
            let filter =
                ActionFilter { connector: Some(connector.clone()), latest_only: true, ..Default::default() };
            for action in store.find_actions(self.tenant, &filter).await? {
                let now = self.connections.get(&key(&action.connection));
                let is_left = now.is_some_and(|now| *now != action.connection);
                if is_left && !self.done.over.contains_key(&key(&action.trn)) {
                    stay.entry(action.connection.short()).or_default().push(action.trn.short());
                }
            }
        }
        self.done.plan.notes.extend(stay.into_iter().map(|(connection, actions)| {
            let (are, names) = (if actions.len() == 1 { "stays" } else { "stay" }, some_of(&actions));
            format!("{names} {are} over {connection}; import with their file to have them follow")
        }));
        Ok(())
    }

    /// The connection version an action of the document runs over: the document's, else the latest stored one.
    fn connection_of(&self, draft: &ActionDraft) -> Result<ConnectionTrn> {
        let key = (draft.connector.clone(), draft.connection.clone());
        if let Some(trn) = self.connections.get(&key) {
            return Ok(trn.clone());
        }
        if let Some(stored) = self.stored.connections.get(&key) {
            return Ok(stored.trn.clone());
        }
        let known = self
            .connections
            .keys()
            .chain(&self.stored.names)
            .filter(|(connector, _)| *connector == draft.connector)
            .map(|(_, name)| name.as_str());
        let error = Error::invalid_config(format!(
            "action '{}' uses connection '{}', which is neither in the file nor in the database",
            draft.name, draft.connection
        ))
        .at(draft.place.clone());
        Err(match nearest(draft.connection.as_str(), known) {
            Some(near) => error.hint(format!("did you mean '{near}'?")),
            None => error.hint(format!(
                "add it under connections of '{}', or see: openact list connections",
                draft.connector
            )),
        })
    }

    /// The version a record ends at, and what happens to it, by the version that is stored and what differs from it.
    fn decide(
        &mut self,
        kind: Kind,
        key: &Key,
        stored: Option<(Version, Vec<String>)>,
    ) -> (Version, ChangeStatus) {
        let retired = self.stored.retired.get(&(kind, key.clone())).copied().and_then(Version::new);
        let Some((version, fields)) = stored else {
            self.done.created.push((kind, key.clone()));
            return (retired.map_or(Version::FIRST, Version::next), ChangeStatus::Created);
        };
        let stays = match self.versioning {
            Versioning::ForceRollback => true,
            Versioning::ReuseIfUnchanged => fields.is_empty(),
            Versioning::AlwaysBump => false,
        };
        if stays {
            return (version, ChangeStatus::Unchanged);
        }
        (retired.map_or(version, |retired| retired.max(version)).next(), ChangeStatus::Changed(fields))
    }
}

/// Gives every `{"$secret": "/pointer"}` that a file's reader left the name it has in the store.
pub(crate) fn rename_secrets(config: &mut JsonObject, name: &dyn Fn(&str) -> String) {
    fn walk(value: &mut Value, name: &dyn Fn(&str) -> String) {
        if let Some(SecretRef::Stored(pointer)) = SecretRef::from_json(value) {
            // One that names a secret set by hand is not a pointer and stays.
            if pointer.starts_with('/') {
                *value = SecretRef::Stored(name(&pointer)).to_json();
            }
            return;
        }
        match value {
            Value::Object(object) => object.values_mut().for_each(|value| walk(value, name)),
            Value::Array(items) => items.iter_mut().for_each(|value| walk(value, name)),
            _ => {}
        }
    }
    config.values_mut().for_each(|value| walk(value, name));
}

/// Names for a message: all, or the first few and how many more.
pub(crate) fn some_of(names: &[String]) -> String {
    match names.split_at_checked(5) {
        Some((first, rest)) if !rest.is_empty() => format!("{} and {} more", first.join(", "), rest.len()),
        _ => names.join(", "),
    }
}

fn differing_keys(new: &JsonObject, old: &JsonObject) -> Vec<String> {
    let mut keys: Vec<String> =
        new.iter().filter(|(key, value)| old.get(*key) != Some(value)).map(|(key, _)| key.clone()).collect();
    keys.extend(old.keys().filter(|key| !new.contains_key(*key)).cloned());
    keys
}
