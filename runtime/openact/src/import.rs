//! Importing configuration: from files to versions in the store.
//!
//! An import is planned against the store first ([`Plan`]) and then applied in one transaction. Invariant: a stored
//! version never changes; an edit makes the next version, and a secret belongs to the version it came with.

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
};

use openact_config::{ActionDraft, ConnectionDraft, Context, Document, Format, SecretsMode};
use openact_core::{
    ActionTrn, ConnectionTrn, ConnectorName, Error, JsonObject, Name, Result, Tenant, Timestamp, Version,
    action::ActionRecord,
    connection::ConnectionRecord,
    schema::nearest,
    secret::SecretRef,
    trn::{RecordKind, RecordTrn},
};
use openact_store::{ActionFilter, ChangeSet, ConnectionFilter, NewSecret};
use serde_json::Value;

use crate::OpenAct;

/// How an import treats what is already stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Versioning {
    /// A new version of everything.
    AlwaysBump,
    /// A new version of what changed.
    #[default]
    ReuseIfUnchanged,
    /// Keep what exists, create only what is missing.
    ForceRollback,
}

/// How to import.
#[derive(Clone, Debug)]
pub struct ImportOptions {
    /// Whose configuration it becomes.
    pub tenant: Tenant,
    /// What to do with what is already stored.
    pub versioning: Versioning,
    /// Seal secrets into the store, or keep references to the environment.
    pub secrets: SecretsMode,
    /// Plan, but change nothing.
    pub dry_run: bool,
}

impl Default for ImportOptions {
    fn default() -> Self {
        Self {
            tenant: Tenant::default(),
            versioning: Versioning::default(),
            secrets: SecretsMode::Seal,
            dry_run: false,
        }
    }
}

/// What an import does, in the order of the file.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// A line per connection and action.
    pub changes: Vec<Change>,
}

/// What an import does with one record.
#[derive(Clone, Debug)]
pub struct Change {
    /// `connection` or `action`.
    pub kind: &'static str,
    /// `connector/name@vN`, of the version that is current afterwards.
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
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.status {
            ChangeStatus::Created => write!(f, "+ {} {}", self.kind, self.record),
            ChangeStatus::Changed(fields) => {
                write!(f, "~ {} {} ({})", self.kind, self.record, fields.join(", "))
            }
            ChangeStatus::Unchanged => write!(f, "= {} {}", self.kind, self.record),
        }
    }
}

impl OpenAct {
    /// Imports a configuration file.
    pub async fn import_file(&self, path: &Path, options: &ImportOptions) -> Result<Plan> {
        let document = self.read(options.secrets, |context| openact_config::read_file(path, context)).await?;
        self.import(document, options).await
    }

    /// Imports several files as one: all of them or none.
    pub async fn import_files(&self, paths: &[PathBuf], options: &ImportOptions) -> Result<Plan> {
        let (mut whole, mut seen) = (Document::default(), HashSet::new());
        for path in paths {
            let document =
                self.read(options.secrets, |context| openact_config::read_file(path, context)).await?;
            let connections =
                document.connections.iter().map(|draft| ("connection", &draft.connector, &draft.name));
            let actions = document.actions.iter().map(|draft| ("action", &draft.connector, &draft.name));
            for (kind, connector, name) in connections.chain(actions) {
                if !seen.insert((kind, connector.clone(), name.clone())) {
                    let what = format!(
                        "{kind} '{connector}/{name}' of {} is in an earlier file too",
                        path.display()
                    );
                    return Err(Error::invalid_config(what).hint("take it out of one of them"));
                }
            }
            whole.connections.extend(document.connections);
            whole.actions.extend(document.actions);
        }
        self.import(whole, options).await
    }

    /// Imports configuration from text; `name` stands for the file in messages.
    pub async fn import_text(
        &self,
        name: &str,
        text: &str,
        format: Format,
        options: &ImportOptions,
    ) -> Result<Plan> {
        let document = self
            .read(options.secrets, |context| openact_config::read_text(name, text, format, context))
            .await?;
        self.import(document, options).await
    }

    async fn read(
        &self,
        secrets: SecretsMode,
        read: impl FnOnce(&Context<'_>) -> Result<Document>,
    ) -> Result<Document> {
        let connectors = self.0.catalog.names(&self.0).await?;
        let mut manifests = HashMap::new();
        for name in &connectors {
            manifests.insert(name.clone(), self.0.catalog.connector(&self.0, name).await?.manifest().clone());
        }
        let (env, manifest) =
            (|name: &str| (self.0.env)(name), |name: &ConnectorName| manifests.get(name).cloned());
        read(&Context { env: &env, manifest: &manifest, connectors: &connectors, secrets })
    }

    async fn import(&self, document: Document, options: &ImportOptions) -> Result<Plan> {
        let mut planner = Planner::new(self, options);
        for draft in document.connections {
            planner.connection(draft).await?;
        }
        for draft in document.actions {
            planner.action(draft).await?;
        }
        if !options.dry_run {
            self.0.store.apply(planner.changes).await?;
            self.0.snapshot.clear();
        }
        Ok(planner.plan)
    }
}

/// Works out what an import changes.
struct Planner<'a> {
    openact: &'a OpenAct,
    options: &'a ImportOptions,
    now: Timestamp,
    /// The version each connection of the document ends at.
    connections: HashMap<(ConnectorName, Name), ConnectionTrn>,
    changes: ChangeSet,
    plan: Plan,
}

impl<'a> Planner<'a> {
    fn new(openact: &'a OpenAct, options: &'a ImportOptions) -> Self {
        Self {
            openact,
            options,
            now: Timestamp::now(),
            connections: HashMap::new(),
            changes: ChangeSet::default(),
            plan: Plan::default(),
        }
    }

    async fn connection(&mut self, draft: ConnectionDraft) -> Result<()> {
        let tenant = &self.options.tenant;
        let stored = self.latest_connection(&draft.connector, &draft.name).await?;
        let differing = match &stored {
            None => None,
            Some(stored) => Some(self.differing_fields(&draft, stored).await?),
        };
        let trn = ConnectionTrn::new(tenant.clone(), draft.connector, draft.name, Version::FIRST);
        let stored = stored.map(|stored| stored.trn.version);
        let (trn, status) = decide(trn, stored, differing, self.options.versioning);
        if status != ChangeStatus::Unchanged {
            let mut config = draft.config;
            rename_secrets(&mut config, &|pointer| secret_name(&trn, pointer));
            let secrets = draft.secrets.into_iter().map(|taken| NewSecret {
                tenant: tenant.clone(),
                name: secret_name(&trn, &taken.pointer),
                value: taken.value,
            });
            self.changes.secrets.extend(secrets);
            let (created_at, updated_at) = (self.now, self.now);
            self.changes.connections.push(ConnectionRecord {
                trn: trn.clone(),
                config,
                created_at,
                updated_at,
            });
        }
        self.plan.changes.push(Change { kind: "connection", record: trn.short(), status });
        self.connections.insert((trn.connector.clone(), trn.name.clone()), trn);
        Ok(())
    }

    async fn action(&mut self, draft: ActionDraft) -> Result<()> {
        let connection = self.connection_of(&draft).await?;
        let filter = ActionFilter {
            connector: Some(draft.connector.clone()),
            name: Some(draft.name.clone()),
            latest_only: true,
            ..Default::default()
        };
        let stored = self.openact.0.store.find_actions(&self.options.tenant, &filter).await?.pop();
        let differing = stored.as_ref().map(|stored| {
            let mut fields = differing_keys(&draft.config, &stored.config);
            if stored.connection != connection {
                fields.push("connection".into());
            }
            if stored.mcp_enabled != draft.mcp_enabled || stored.mcp_overrides != draft.mcp_overrides {
                fields.push("mcp".into());
            }
            fields
        });
        let trn = ActionTrn::new(self.options.tenant.clone(), draft.connector, draft.name, Version::FIRST);
        let stored = stored.map(|stored| stored.trn.version);
        let (trn, status) = decide(trn, stored, differing, self.options.versioning);
        self.plan.changes.push(Change { kind: "action", record: trn.short(), status: status.clone() });
        if status != ChangeStatus::Unchanged {
            self.changes.actions.push(ActionRecord {
                trn,
                connection,
                config: draft.config,
                mcp_enabled: draft.mcp_enabled,
                mcp_overrides: draft.mcp_overrides,
                created_at: self.now,
                updated_at: self.now,
            });
        }
        Ok(())
    }

    async fn latest_connection(
        &self,
        connector: &ConnectorName,
        name: &Name,
    ) -> Result<Option<ConnectionRecord>> {
        let filter = ConnectionFilter {
            connector: Some(connector.clone()),
            name: Some(name.clone()),
            latest_only: true,
        };
        Ok(self.openact.0.store.find_connections(&self.options.tenant, &filter).await?.pop())
    }

    /// The connection version an action of the document runs over: the document's, else the latest stored one.
    async fn connection_of(&self, draft: &ActionDraft) -> Result<ConnectionTrn> {
        if let Some(trn) = self.connections.get(&(draft.connector.clone(), draft.connection.clone())) {
            return Ok(trn.clone());
        }
        if let Some(stored) = self.latest_connection(&draft.connector, &draft.connection).await? {
            return Ok(stored.trn);
        }
        let known = self
            .connections
            .keys()
            .filter(|(connector, _)| *connector == draft.connector)
            .map(|(_, name)| name.as_str());
        let error = Error::invalid_config(format!(
            "action '{}' uses connection '{}', which is neither in the file nor in the database",
            draft.name, draft.connection
        ))
        .at(draft.place.clone());
        Err(match nearest(draft.connection.as_str(), known) {
            Some(near) => error.hint(format!("did you mean '{near}'?")),
            None => error.hint(format!("add it under connections of '{}'", draft.connector)),
        })
    }

    /// Top-level fields in which a draft differs from what is stored; secrets are compared by keyed hash.
    async fn differing_fields(
        &self,
        draft: &ConnectionDraft,
        stored: &ConnectionRecord,
    ) -> Result<Vec<String>> {
        let (store, tenant) = (&self.openact.0.store, &self.options.tenant);
        let mut config = draft.config.clone();
        rename_secrets(&mut config, &|pointer| secret_name(&stored.trn, pointer));
        let mut fields = differing_keys(&config, &stored.config);
        for taken in &draft.secrets {
            let name = secret_name(&stored.trn, &taken.pointer);
            let same = store.secret_is(tenant, &name, &taken.value).await?;
            let field = taken.pointer.split('/').nth(1).unwrap_or_default().to_owned();
            if !same && !fields.contains(&field) {
                fields.push(field);
            }
        }
        Ok(fields)
    }
}

/// The name under which a secret of a connection version is kept.
fn secret_name(trn: &ConnectionTrn, pointer: &str) -> String {
    format!("connection/{}#{pointer}", trn.short())
}

/// Gives every `{"$secret": "/pointer"}` that a file's reader left the name it has in the store.
fn rename_secrets(config: &mut JsonObject, name: &dyn Fn(&str) -> String) {
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

fn differing_keys(new: &JsonObject, old: &JsonObject) -> Vec<String> {
    let mut keys: Vec<String> =
        new.iter().filter(|(key, value)| old.get(*key) != Some(value)).map(|(key, _)| key.clone()).collect();
    keys.extend(old.keys().filter(|key| !new.contains_key(*key)).cloned());
    keys
}

/// The version a record ends at, and what happens to it.
fn decide<K: RecordKind>(
    first: RecordTrn<K>,
    stored: Option<Version>,
    differing: Option<Vec<String>>,
    versioning: Versioning,
) -> (RecordTrn<K>, ChangeStatus) {
    match (stored, differing) {
        (Some(version), Some(fields)) => match versioning {
            Versioning::ForceRollback => (first.at(version), ChangeStatus::Unchanged),
            Versioning::ReuseIfUnchanged if fields.is_empty() => (first.at(version), ChangeStatus::Unchanged),
            _ => (first.at(version.next()), ChangeStatus::Changed(fields)),
        },
        _ => (first, ChangeStatus::Created),
    }
}
