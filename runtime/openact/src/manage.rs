//! Managing what is stored: export, list, show.

use std::collections::HashSet;

use openact_config::{
    Export, Format,
    age::{self, Keys},
};
use openact_core::{
    ConnectionTrn, ConnectorName, Error, JsonObject, Name, Result, Tenant,
    action::ActionRecord,
    clear::{hide_clear, visit_clear},
    connection::ConnectionRecord,
    governance::Governance,
    run::{RunId, RunRecord},
    trn::{Action, Connection, Reference},
};
use openact_store::{ActionFilter, ConnectionFilter, RunFilter};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::{OpenAct, find::find, plan::some_of};

/// A record of either kind.
#[derive(Clone, Debug)]
pub enum Record {
    /// A connection.
    Connection(ConnectionRecord),
    /// An action.
    Action(ActionRecord),
}

impl Record {
    /// The record as `show` prints it. Secrets appear as references, and headers in clear that look like one not at all.
    pub fn to_json(&self) -> Value {
        let shown = |config: &JsonObject| {
            let mut config = config.clone();
            hide_clear(&mut config);
            config
        };
        match self {
            Self::Connection(record) => serde_json::json!({
                "trn": record.trn, "config": shown(&record.config),
                "created_at": record.created_at, "updated_at": record.updated_at,
            }),
            Self::Action(record) => serde_json::json!({
                "trn": record.trn, "connection": record.connection, "config": shown(&record.config),
                "mcp": {"enabled": record.mcp_enabled, "overrides": record.mcp_overrides},
                "created_at": record.created_at, "updated_at": record.updated_at,
            }),
        }
    }
}

impl OpenAct {
    /// The configuration of a tenant, latest versions, as the text of a file. `connectors` narrows it down.
    pub async fn export(
        &self,
        tenant: &Tenant,
        connectors: &[ConnectorName],
        format: Format,
    ) -> Result<String> {
        openact_config::write(&self.exported(tenant, connectors).await?, format)
    }

    /// The same with the values of secrets, the whole encrypted by age for `keys`, as armored text. Secrets set by hand stay
    /// references.
    pub async fn export_with_secrets(
        &self,
        tenant: &Tenant,
        connectors: &[ConnectorName],
        format: Format,
        keys: Keys,
    ) -> Result<String> {
        let mut export = self.exported(tenant, connectors).await?;
        for name in export.own_secrets() {
            if let Some(value) = self.0.store.open_secret(tenant, &name).await? {
                export.secrets.insert(name, value);
            }
        }
        let text = Zeroizing::new(openact_config::write(&export, format)?);
        // A passphrase takes a second of a whole core.
        tokio::task::spawn_blocking(move || age::encrypt(&text, &keys))
            .await
            .map_err(|error| Error::internal("failed to encrypt the export").because(error))?
    }

    async fn exported(&self, tenant: &Tenant, connectors: &[ConnectorName]) -> Result<Export> {
        let wanted = |connector: &ConnectorName| connectors.is_empty() || connectors.contains(connector);
        let mut connections = self.list_connections(tenant, None).await?;
        connections.retain(|record| wanted(&record.trn.connector));
        let mut actions = self.list_actions(tenant, None, None).await?;
        actions.retain(|record| wanted(&record.trn.connector));
        for connector in connectors {
            let is_stored = connections.iter().any(|record| record.trn.connector == *connector);
            if !is_stored && !self.0.catalog.names(&self.0).await?.contains(connector) {
                self.0.catalog.connector(&self.0, connector).await?;
            }
        }
        // A file has one version of each: the latest.
        let latest: HashSet<&ConnectionTrn> = connections.iter().map(|record| &record.trn).collect();
        let earlier = actions.iter().filter(|action| !latest.contains(&action.connection));
        let earlier: Vec<String> = earlier.map(|action| action.trn.short()).collect();
        if !earlier.is_empty() {
            let names = some_of(&earlier);
            tracing::warn!(
                "over an earlier version of their connection, and over the latest in what is written: {names}"
            );
        }
        warn_of_clear(&connections, &actions);
        Ok(Export { connections, actions, ..Export::default() })
    }

    /// The JSON Schema of configuration files for every connector there is, for editors.
    pub async fn file_schema(&self) -> Result<Value> {
        let mut manifests = Vec::new();
        for name in self.0.catalog.names(&self.0).await? {
            manifests.push(self.0.catalog.connector(&self.0, &name).await?.manifest().clone());
        }
        openact_config::file_schema(&manifests)
    }

    /// Latest versions of a tenant's connections.
    pub async fn list_connections(
        &self,
        tenant: &Tenant,
        connector: Option<&ConnectorName>,
    ) -> Result<Vec<ConnectionRecord>> {
        let filter =
            ConnectionFilter { connector: connector.cloned(), latest_only: true, ..Default::default() };
        self.0.store.find_connections(tenant, &filter).await
    }

    /// Latest versions of a tenant's actions, of one connector or over one connection.
    pub async fn list_actions(
        &self,
        tenant: &Tenant,
        connector: Option<&ConnectorName>,
        connection: Option<&Name>,
    ) -> Result<Vec<ActionRecord>> {
        let filter = ActionFilter { connector: connector.cloned(), latest_only: true, ..Default::default() };
        let mut actions = self.0.store.find_actions(tenant, &filter).await?;
        // By name, since an action may run over an earlier version of it.
        actions.retain(|action| connection.is_none_or(|name| action.connection.name == *name));
        Ok(actions)
    }

    /// A tenant's runs that `filter` lets through, newest first.
    pub async fn list_runs(&self, tenant: &Tenant, limit: u32, filter: &RunFilter) -> Result<Vec<RunRecord>> {
        self.0.store.list_runs(tenant, limit, filter).await
    }

    /// One run of a tenant.
    pub async fn get_run(&self, tenant: &Tenant, id: RunId) -> Result<RunRecord> {
        self.0
            .store
            .get_run(tenant, id)
            .await?
            .ok_or_else(|| Error::not_found(format!("there is no run {id}")))
    }

    /// The connection a person names, in any form of reference.
    pub async fn show_connection(&self, tenant: &Tenant, reference: &str) -> Result<Record> {
        find(&self.0, tenant, &reference.parse::<Reference<Connection>>()?, &Governance::default())
            .await
            .map(Record::Connection)
    }

    /// The record a person names: an action, else a connection, in any form of reference.
    pub async fn show(&self, tenant: &Tenant, reference: &str) -> Result<Record> {
        if let Ok(trn) = reference.parse::<ConnectionTrn>() {
            return find(&self.0, tenant, &Reference::Trn(trn), &Governance::default())
                .await
                .map(Record::Connection);
        }
        match find(&self.0, tenant, &reference.parse::<Reference<Action>>()?, &Governance::default()).await {
            Ok(record) => Ok(Record::Action(record)),
            Err(error) if error.code == openact_core::ErrorCode::NotFound => {
                match find(
                    &self.0,
                    tenant,
                    &reference.parse::<Reference<Connection>>()?,
                    &Governance::default(),
                )
                .await
                {
                    Ok(record) => Ok(Record::Connection(record)),
                    // A connection may be what was meant.
                    Err(other) if !is_near(&error) && is_near(&other) => Err(other),
                    Err(_) => Err(error),
                }
            }
            Err(error) => Err(error),
        }
    }
}

/// Whether an error knows which record may have been meant.
fn is_near(error: &Error) -> bool {
    error.hint.as_ref().is_some_and(|hint| hint.starts_with("did you mean"))
}

/// What is exported has to be imported again, and so it has what was written in clear.
fn warn_of_clear(connections: &[ConnectionRecord], actions: &[ActionRecord]) {
    let connections = connections.iter().map(|record| (record.trn.short(), &record.config));
    let actions = actions.iter().map(|record| (record.trn.short(), &record.config));
    let mut names = Vec::new();
    for (name, config) in connections.chain(actions) {
        let mut found = false;
        visit_clear(&mut config.clone(), &mut |_, _| found = true);
        if found {
            names.push(name);
        }
    }
    if !names.is_empty() {
        tracing::warn!("headers that look like secrets are written as they are: {}", some_of(&names));
    }
}
