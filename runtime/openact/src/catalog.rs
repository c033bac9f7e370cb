//! Which connectors there are, and their loaded components.
//!
//! A name belongs to the first of: bundled with this program, given to the builder, installed in the store. Invariant:
//! an installed component never takes the name of a bundled one, since it would be handed that connector's traffic.

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use openact_core::{
    ConnectorName, Error, Result, Timestamp,
    manifest::{Capability, ComponentDigest, Manifest},
    schema::nearest,
};
use openact_engine::Connector;
use openact_store::ConnectorRecord;
use serde::Serialize;

use crate::{OpenAct, Shared};

/// See the module.
#[derive(Default)]
pub(crate) struct Catalog {
    given: Mutex<HashMap<ConnectorName, Arc<Connector>>>,
    loaded: Mutex<HashMap<ConnectorName, Arc<Connector>>>,
    /// Held while one is loaded, so that two calls do not compile the same.
    loading: tokio::sync::Mutex<()>,
}

/// Where a connector comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ConnectorSource {
    /// Part of this program.
    Bundled,
    /// Given to [`crate::Builder`].
    Given,
    /// In the store.
    Installed,
    /// A file that was looked at.
    File,
}

/// A connector, for people.
#[derive(Clone, Debug, Serialize)]
pub struct ConnectorInfo {
    /// Where it comes from.
    pub source: ConnectorSource,
    /// SHA-256 of its component.
    #[serde(serialize_with = "as_text")]
    pub digest: ComponentDigest,
    /// What it says of itself.
    pub manifest: Arc<Manifest>,
}

fn as_text<S: serde::Serializer>(
    digest: &ComponentDigest,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_str(digest)
}

impl Catalog {
    /// The connector of that name, loaded.
    pub(crate) async fn connector(&self, openact: &Shared, name: &ConnectorName) -> Result<Arc<Connector>> {
        if let Some(connector) = self.loaded(name) {
            return Ok(connector);
        }
        let _turn = self.loading.lock().await;
        if let Some(connector) = self.loaded(name) {
            return Ok(connector);
        }
        let bytes = match bundled(name.as_str()) {
            Some(bytes) => Some(Bytes::from_static(bytes)),
            None => match lock(&self.given).get(name) {
                Some(connector) => return Ok(connector.clone()),
                None => None,
            },
        };
        let bytes = match bytes {
            Some(bytes) => bytes,
            None => match openact.store.connector_bytes(name).await? {
                Some(bytes) => bytes.into(),
                None => return Err(self.unknown(openact, name).await),
            },
        };
        let connector = Arc::new(openact.engine.load(bytes).await?);
        if connector.manifest().name != *name {
            return Err(Error::internal(format!(
                "the component kept as '{name}' says it is '{}'",
                connector.manifest().name
            )));
        }
        lock(&self.loaded).insert(name.clone(), connector.clone());
        Ok(connector)
    }

    fn loaded(&self, name: &ConnectorName) -> Option<Arc<Connector>> {
        lock(&self.loaded).get(name).cloned()
    }

    /// Forgets what was loaded from the store.
    pub(crate) fn clear(&self) {
        lock(&self.loaded).retain(|name, _| bundled(name.as_str()).is_some());
    }

    /// Every name, in order.
    pub(crate) async fn names(&self, openact: &Shared) -> Result<Vec<ConnectorName>> {
        let mut names: Vec<ConnectorName> =
            openact_bundled::CONNECTORS.iter().filter_map(|b| b.name.parse().ok()).collect();
        names.extend(lock(&self.given).keys().cloned());
        names.extend(openact.store.list_connectors().await?.into_iter().map(|record| record.name));
        names.sort();
        names.dedup();
        Ok(names)
    }

    async fn unknown(&self, openact: &Shared, name: &ConnectorName) -> Error {
        let error = Error::not_found(format!("there is no connector '{name}'"));
        let names = self.names(openact).await.unwrap_or_default();
        match nearest(name.as_str(), names.iter().map(ConnectorName::as_str)) {
            Some(near) => error.hint(format!("did you mean '{near}'?")),
            None => error.hint("see: openact connector list; add one with: openact connector install FILE"),
        }
    }

    pub(crate) fn give(&self, connector: Connector) -> Result<()> {
        let name = connector.manifest().name.clone();
        refuse_bundled_name(&name)?;
        lock(&self.given).insert(name, Arc::new(connector));
        Ok(())
    }

    fn source(&self, name: &ConnectorName) -> ConnectorSource {
        if bundled(name.as_str()).is_some() {
            ConnectorSource::Bundled
        } else if lock(&self.given).contains_key(name) {
            ConnectorSource::Given
        } else {
            ConnectorSource::Installed
        }
    }
}

impl OpenAct {
    /// Every connector.
    pub async fn list_connectors(&self) -> Result<Vec<ConnectorInfo>> {
        let mut all = Vec::new();
        for name in self.0.catalog.names(&self.0).await? {
            all.push(self.connector_info(&name).await?);
        }
        Ok(all)
    }

    /// The connector of that name.
    pub async fn connector_info(&self, name: &ConnectorName) -> Result<ConnectorInfo> {
        let connector = self.0.catalog.connector(&self.0, name).await?;
        Ok(info(&connector, self.0.catalog.source(name)))
    }

    /// Looks at a component file without keeping it.
    pub async fn inspect_connector_file(&self, path: &Path) -> Result<ConnectorInfo> {
        let connector =
            self.0.engine.load(read_component(path)?).await.map_err(|error| error.context(path.display()))?;
        Ok(info(&connector, ConnectorSource::File))
    }

    /// Installs a component file.
    pub async fn install_connector_file(
        &self,
        path: &Path,
        grants: Vec<Capability>,
    ) -> Result<ConnectorInfo> {
        self.install_connector(read_component(path)?, grants)
            .await
            .map_err(|error| error.context(path.display()))
    }

    /// Checks a component and keeps it in the store, in place of an earlier one of the same name.
    pub async fn install_connector(&self, bytes: Vec<u8>, grants: Vec<Capability>) -> Result<ConnectorInfo> {
        let bytes = Bytes::from(bytes);
        let connector = self.0.engine.load(bytes.clone()).await?;
        let manifest = connector.manifest();
        refuse_bundled_name(&manifest.name)?;
        for grant in &grants {
            if !manifest.needs(*grant) {
                return Err(Error::invalid_input(format!(
                    "connector '{}' does not ask for '{grant}'",
                    manifest.name
                )));
            }
        }
        let record = ConnectorRecord {
            name: manifest.name.clone(),
            version: manifest.version.clone(),
            digest: connector.digest(),
            manifest: (**manifest).clone(),
            grants,
            installed_at: Timestamp::now(),
        };
        self.0.store.install_connector(&record, &bytes).await?;
        self.0.forget_connectors();
        Ok(info(&connector, ConnectorSource::Installed))
    }

    /// Removes an installed connector; refused while a connection uses it.
    pub async fn remove_connector(&self, name: &ConnectorName) -> Result<()> {
        refuse_bundled_name(name)?;
        self.0.store.remove_connector(name).await?;
        self.0.forget_connectors();
        Ok(())
    }
}

/// Reads a component file within its bound.
pub(crate) fn read_component(path: &Path) -> Result<Vec<u8>> {
    let unreadable = |error: std::io::Error| {
        let message = format!("failed to read {}: {error}", path.display());
        match error.kind() {
            std::io::ErrorKind::NotFound => Error::not_found(message),
            _ => Error::invalid_config(message),
        }
        .hint("name a .wasm file that this user can read")
    };
    let size = std::fs::metadata(path).map_err(unreadable)?.len();
    if size > openact_core::limits::COMPONENT_BYTES_MAX {
        return Err(Error::limit_exceeded(format!(
            "{} has {size} bytes; a component may have {}",
            path.display(),
            openact_core::limits::COMPONENT_BYTES_MAX
        ))
        .details(serde_json::json!({ "limit": "component_bytes" })));
    }
    std::fs::read(path).map_err(unreadable)
}

fn refuse_bundled_name(name: &ConnectorName) -> Result<()> {
    match bundled(name.as_str()) {
        Some(_) => {
            Err(Error::conflict(format!("'{name}' is the name of a connector that is part of OpenAct"))
                .hint("give the component another name in its manifest"))
        }
        None => Ok(()),
    }
}

fn bundled(name: &str) -> Option<&'static [u8]> {
    openact_bundled::CONNECTORS.iter().find(|bundled| bundled.name == name).map(|bundled| bundled.bytes)
}

fn info(connector: &Connector, source: ConnectorSource) -> ConnectorInfo {
    ConnectorInfo { source, digest: connector.digest(), manifest: connector.manifest().clone() }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
