//! Which connectors there are, components and templates over them, and what of them is loaded.
//!
//! A name belongs to the first of: bundled with this program, given to the builder, installed in the store. Invariant:
//! an installed one never takes the name of a bundled one, since it would be handed that connector's traffic and secrets.

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use openact_config::template::Template;
use openact_core::{
    ConnectorName, Error, Result, Timestamp,
    manifest::{Capability, ComponentDigest, Manifest},
    schema::nearest,
};
use openact_store::ConnectorRecord;
use serde::Serialize;
use serde_json::Value;

use crate::{
    OpenAct, Shared,
    replace::{self, Replacing},
    template::{self, Kind},
};

/// See the module.
#[derive(Default)]
pub(crate) struct Catalog {
    given: Mutex<HashMap<ConnectorName, Arc<Kind>>>,
    loaded: Mutex<HashMap<ConnectorName, Arc<Kind>>>,
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
    /// SHA-256 of its component, or of its template's text.
    #[serde(serialize_with = "as_text")]
    pub digest: ComponentDigest,
    /// What it says of itself.
    pub manifest: Arc<Manifest>,
    /// Of a template, the connector it is over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extends: Option<ConnectorName>,
    /// Of a template, the URLs its connections lead to; what a connection says is `{{parameter}}` in them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reaches: Option<Vec<String>>,
    /// Of a template, what it is made of: parameters, connection, operations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<Value>,
}

fn as_text<S: serde::Serializer>(
    digest: &ComponentDigest,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_str(digest)
}

impl Catalog {
    /// The connector of that name, loaded.
    pub(crate) async fn connector(&self, openact: &Shared, name: &ConnectorName) -> Result<Arc<Kind>> {
        if let Some(kind) = self.loaded(name) {
            return Ok(kind);
        }
        let _turn = self.loading.lock().await;
        let Some(extends) = self.load(openact, name).await? else {
            return self.required(openact, name).await;
        };
        // A template: its base comes first.
        self.load(openact, &extends).await?;
        let base = self.loaded(&extends).or_else(|| lock(&self.given).get(&extends).cloned());
        let base = base.ok_or_else(|| {
            Error::not_found(format!("the template '{name}' extends '{extends}', which is not there"))
                .hint("see: openact connector list; add one with: openact connector install FILE")
        })?;
        let text = self.bytes(openact, name).await?.unwrap_or_default();
        let text = std::str::from_utf8(&text).unwrap_or_default();
        let kind = Kind::template(text, Template::read_again(text)?, base.component.clone())?;
        self.keep(name, kind)
    }

    /// Loads the component of that name, if it is one and not loaded; of a template what it extends.
    async fn load(&self, openact: &Shared, name: &ConnectorName) -> Result<Option<ConnectorName>> {
        if self.loaded(name).is_some() || lock(&self.given).contains_key(name) {
            return Ok(None);
        }
        let Some(bytes) = self.bytes(openact, name).await? else { return Ok(None) };
        if !bytes.starts_with(COMPONENT) {
            let text = std::str::from_utf8(&bytes).unwrap_or_default();
            return Template::read_again(text).map(|template| Some(template.extends));
        }
        let component = Arc::new(openact.engine.load(bytes).await?);
        self.keep(name, Kind::component(component))?;
        Ok(None)
    }

    async fn required(&self, openact: &Shared, name: &ConnectorName) -> Result<Arc<Kind>> {
        let found = self.loaded(name).or_else(|| lock(&self.given).get(name).cloned());
        match found {
            Some(kind) => Ok(kind),
            None => Err(self.unknown(openact, name).await),
        }
    }

    fn keep(&self, name: &ConnectorName, kind: Kind) -> Result<Arc<Kind>> {
        if kind.manifest().name != *name {
            return Err(Error::internal(format!(
                "the connector kept as '{name}' says it is '{}'",
                kind.manifest().name
            )));
        }
        let kind = Arc::new(kind);
        lock(&self.loaded).insert(name.clone(), kind.clone());
        Ok(kind)
    }

    async fn bytes(&self, openact: &Shared, name: &ConnectorName) -> Result<Option<Bytes>> {
        match bundled(name.as_str()) {
            Some(bytes) => Ok(Some(Bytes::from_static(bytes))),
            None => Ok(openact.store.connector_bytes(name).await?.map(Bytes::from)),
        }
    }

    fn loaded(&self, name: &ConnectorName) -> Option<Arc<Kind>> {
        lock(&self.loaded).get(name).cloned()
    }

    /// Forgets what was loaded from the store.
    pub(crate) fn clear(&self) {
        lock(&self.loaded).retain(|name, _| bundled(name.as_str()).is_some());
    }

    /// Every name, in order.
    pub(crate) async fn names(&self, openact: &Shared) -> Result<Vec<ConnectorName>> {
        let components = openact_bundled::CONNECTORS.iter().map(|bundled| bundled.name);
        let templates = openact_bundled::TEMPLATES.iter().map(|bundled| bundled.name);
        let mut names: Vec<ConnectorName> =
            components.chain(templates).filter_map(|name| name.parse().ok()).collect();
        names.extend(lock(&self.given).keys().cloned());
        names.extend(openact.store.list_connectors().await?.into_iter().map(|record| record.name));
        names.sort();
        names.dedup();
        Ok(names)
    }

    /// The names of those with code, in order.
    pub(crate) async fn components(&self, openact: &Shared) -> Result<Vec<ConnectorName>> {
        let mut found = Vec::new();
        for name in self.names(openact).await? {
            let given = lock(&self.given).get(&name).cloned();
            let is_component = match given {
                Some(kind) => !kind.is_template(),
                None => self.bytes(openact, &name).await?.is_some_and(|bytes| bytes.starts_with(COMPONENT)),
            };
            if is_component {
                found.push(name);
            }
        }
        Ok(found)
    }

    /// The installed templates that extend `name`, each with its text.
    pub(crate) async fn templates_over(
        &self,
        openact: &Shared,
        name: &ConnectorName,
    ) -> Result<Vec<(String, Template)>> {
        let mut found = Vec::new();
        for record in openact.store.list_connectors().await? {
            let bytes = openact.store.connector_bytes(&record.name).await?.unwrap_or_default();
            found.extend(replace::extending(&bytes, name));
        }
        Ok(found)
    }

    async fn unknown(&self, openact: &Shared, name: &ConnectorName) -> Error {
        let error = Error::not_found(format!("there is no connector '{name}'"));
        let names = self.names(openact).await.unwrap_or_default();
        match nearest(name.as_str(), names.iter().map(ConnectorName::as_str)) {
            Some(near) => error.hint(format!("did you mean '{near}'?")),
            None => error.hint("see: openact connector list; add one with: openact connector install FILE"),
        }
    }

    pub(crate) fn give(&self, kind: Kind) -> Result<()> {
        let name = kind.manifest().name.clone();
        refuse_bundled_name(&name)?;
        lock(&self.given).insert(name, Arc::new(kind));
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
        self.0.catalog.connector(&self.0, name).await?.info(self.0.catalog.source(name))
    }

    /// Looks at a component or a template without keeping it.
    pub async fn inspect_connector_file(&self, path: &Path) -> Result<ConnectorInfo> {
        if template::is_template_file(path) {
            let (name, text) = (path.display().to_string(), template::read_file(path)?);
            return template::read(&self.0, &name, &text).await?.info(ConnectorSource::File);
        }
        let connector =
            self.0.engine.load(read_component(path)?).await.map_err(|error| error.context(path.display()))?;
        Kind::component(Arc::new(connector)).info(ConnectorSource::File)
    }

    /// Installs a component file, or a template's (`.yaml`).
    pub async fn install_connector_file(
        &self,
        path: &Path,
        grants: Vec<Capability>,
        replacing: Replacing,
    ) -> Result<ConnectorInfo> {
        if template::is_template_file(path) {
            if !grants.is_empty() {
                return Err(Error::invalid_input(
                    "a template asks for nothing: it has what its connector has",
                ));
            }
            let text = template::read_file(path)?;
            return self.install_template(&path.display().to_string(), &text, replacing).await;
        }
        self.replace_connector(read_component(path)?, grants, replacing)
            .await
            .map_err(|error| error.context(path.display()))
    }

    /// Checks a component and keeps it in the store, in place of an earlier one of the same name. Refused if that would harm
    /// what is stored; [`OpenAct::replace_connector`] can be told to do it all the same.
    pub async fn install_connector(&self, bytes: Vec<u8>, grants: Vec<Capability>) -> Result<ConnectorInfo> {
        self.replace_connector(bytes, grants, Replacing::default()).await
    }

    /// The same, with what is allowed of it.
    pub async fn replace_connector(
        &self,
        bytes: Vec<u8>,
        grants: Vec<Capability>,
        replacing: Replacing,
    ) -> Result<ConnectorInfo> {
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
        let connector = Arc::new(connector);
        let kind = Arc::new(Kind::component(connector.clone()));
        replace::refuse_harm(&self.0, &kind, replacing).await?;
        let manifest = connector.manifest();
        let record = ConnectorRecord {
            name: manifest.name.clone(),
            version: manifest.version.clone(),
            digest: connector.digest(),
            manifest: (**manifest).clone(),
            grants,
            installed_at: Timestamp::now(),
        };
        self.store().install_connector(&record, &bytes).await?;
        self.0.forget_connectors();
        kind.info(ConnectorSource::Installed)
    }

    /// Removes an installed connector; refused while a connection uses it or a template extends it.
    pub async fn remove_connector(&self, name: &ConnectorName) -> Result<()> {
        refuse_bundled_name(name)?;
        if let Some((_, template)) = self.0.catalog.templates_over(&self.0, name).await?.first() {
            return Err(Error::conflict(format!("the template '{}' extends '{name}'", template.name))
                .hint(format!("remove it first: openact connector remove {}", template.name)));
        }
        if !self.store().remove_connector(name).await? {
            return Err(self.0.catalog.unknown(&self.0, name).await);
        }
        self.0.forget_connectors();
        Ok(())
    }
}

/// Reads a component file within its bound.
pub(crate) fn read_component(path: &Path) -> Result<Vec<u8>> {
    let unreadable = |error| unreadable(path, "a .wasm file", &error);
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

/// What to say of a file that cannot be read.
pub(crate) fn unreadable(path: &Path, wanted: &str, error: &std::io::Error) -> Error {
    let message = format!("failed to read {}: {error}", path.display());
    match error.kind() {
        std::io::ErrorKind::NotFound => Error::not_found(message),
        _ => Error::invalid_config(message),
    }
    .hint(format!("name {wanted} that this user can read"))
}

pub(crate) fn refuse_bundled_name(name: &ConnectorName) -> Result<()> {
    match bundled(name.as_str()) {
        Some(_) => {
            Err(Error::conflict(format!("'{name}' is the name of a connector that is part of OpenAct"))
                .hint("give it another name, in its manifest or template"))
        }
        None => Ok(()),
    }
}

/// What every component begins with, and no template.
const COMPONENT: &[u8] = b"\0asm";

fn bundled(name: &str) -> Option<&'static [u8]> {
    let component = openact_bundled::CONNECTORS.iter().find(|bundled| bundled.name == name);
    let template = || openact_bundled::TEMPLATES.iter().find(|bundled| bundled.name == name);
    component.map(|bundled| bundled.bytes).or_else(|| template().map(|bundled| bundled.text.as_bytes()))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
