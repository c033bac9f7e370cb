//! What the `kind` of a connection stands for: a component, or a template over one.
//!
//! A record keeps what its user wrote; where it is used it is written out as the component's own ([`Kind::expand`]).
//! Invariant: everything after that knows components alone, so that a template can do nothing that a configuration by hand
//! could not.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{Arc, OnceLock},
};

use openact_config::template::{Base, Bases, Template};
use openact_core::{
    ConnectorName, Error, ErrorCode, JsonObject, Result, Timestamp,
    action::ActionRecord,
    connection::{ConnectionParts, ConnectionRecord, connection_schema},
    limits::TEMPLATE_BYTES_MAX,
    manifest::{ComponentDigest, Manifest},
    policy::Origin,
    schema::{Schema, SchemaView},
    secret::visit_secrets,
};
use openact_engine::Connector;
use openact_store::{ConnectorRecord, connectors::digest_of};
use serde_json::Value;
use url::Url;

use crate::{
    ConnectorInfo, ConnectorSource, OpenAct, Shared,
    catalog::{refuse_bundled_name, unreadable},
    replace::{self, Replacing},
};

/// See the module.
pub(crate) struct Kind {
    pub(crate) component: Arc<Connector>,
    manifest: Arc<Manifest>,
    digest: ComponentDigest,
    template: Option<Template>,
    base_schema: OnceLock<(Value, Schema)>,
}

impl Kind {
    pub(crate) fn component(component: Arc<Connector>) -> Self {
        let (manifest, digest) = (component.manifest().clone(), component.digest());
        Self { component, manifest, digest, template: None, base_schema: OnceLock::new() }
    }

    /// The template in `text`, which was checked before, over the component that it extends.
    pub(crate) fn template(text: &str, template: Template, component: Arc<Connector>) -> Result<Self> {
        let manifest = Arc::new(template.manifest(component.manifest())?);
        let digest = digest_of(text.as_bytes());
        Ok(Self { component, manifest, digest, template: Some(template), base_schema: OnceLock::new() })
    }

    pub(crate) fn is_template(&self) -> bool {
        self.template.is_some()
    }

    /// What a configuration may say of it.
    pub(crate) fn manifest(&self) -> &Arc<Manifest> {
        &self.manifest
    }

    /// A connection as the component has it.
    pub(crate) fn expand_connection(&self, mut record: ConnectionRecord) -> Result<ConnectionRecord> {
        if let Some(template) = &self.template {
            let expanded = self.expanded(template, &record.config);
            record.config = expanded.map_err(|error| error.context(record.trn.short()))?;
        }
        Ok(record)
    }

    /// An action and its connection as the component has them.
    pub(crate) fn expand(
        &self,
        mut action: ActionRecord,
        mut connection: ConnectionRecord,
    ) -> Result<(ActionRecord, ConnectionRecord)> {
        if let Some(template) = &self.template {
            let expanded = || {
                // One that the template has no longer is missed here, by the name its user knows.
                self.manifest.operation(action.config.get("operation").and_then(Value::as_str))?;
                self.expanded(template, &connection.config)?;
                template.expand(&action.config, &connection.config, self.component.manifest())
            };
            let expanded = expanded().map_err(|error| error.context(action.trn.short()))?;
            (action.config, connection.config) = (expanded.action, expanded.connection);
        }
        Ok((action, connection))
    }

    /// Fails if the template makes nothing of a connection that its component can use. What its component says itself was
    /// checked before.
    pub(crate) fn check_connection(&self, config: &JsonObject) -> Result<()> {
        let Some(template) = &self.template else { return Ok(()) };
        let expanded = self.expanded(template, config)?;
        ConnectionParts::of(&expanded, self.component.manifest()).map(drop)
    }

    /// A parameter is checked when it is read; what the template makes of it only here.
    fn expanded(&self, template: &Template, config: &JsonObject) -> Result<JsonObject> {
        let base = self.component.manifest();
        let expanded = template.expand_connection(config, base)?;
        let (schema, check) = self.base_schema()?;
        let mut plain = expanded.clone();
        visit_secrets(&mut plain, &SchemaView::new(schema), &mut |_, value| *value = "secret".into());
        let what = format!("what the template '{}' makes of this", self.manifest.name);
        check.check(&plain.into(), ErrorCode::InvalidConfig, &what)?;
        Ok(expanded)
    }

    /// Of a connection of the component, compiled once for all connections of this kind.
    fn base_schema(&self) -> Result<&(Value, Schema)> {
        if let Some(known) = self.base_schema.get() {
            return Ok(known);
        }
        let base = self.component.manifest();
        let schema = connection_schema(base);
        let check = Schema::compile(&schema, &format!("the connection schema of connector '{}'", base.name))?;
        Ok(self.base_schema.get_or_init(|| (schema, check)))
    }

    /// The template's own operations and connection, to tell its words from its user's.
    pub(crate) fn as_template(&self) -> Option<&Template> {
        self.template.as_ref()
    }

    /// The connector and the origins that a connection leads to, those of tokens included, after the one its credential
    /// goes to; none if it cannot be used.
    pub(crate) fn leads_to(&self, record: &ConnectionRecord) -> Option<(ConnectorName, Vec<String>)> {
        let base = self.component.manifest();
        let expanded = self.expand_connection(record.clone()).ok()?;
        let first = ConnectionParts::of(&expanded.config, base).ok()?.credential_origin;
        let mut origins: Vec<String> = first.iter().map(ToString::to_string).collect();
        let urls = openact_config::template::urls(&expanded.config, base);
        let others: BTreeSet<String> = urls.iter().map(|url| origin(url)).collect();
        origins.extend(
            others.into_iter().filter(|other| first.as_ref().is_none_or(|first| first.to_string() != *other)),
        );
        Some((base.name.clone(), origins))
    }

    pub(crate) fn info(&self, source: ConnectorSource) -> Result<ConnectorInfo> {
        let template = self.template.as_ref();
        Ok(ConnectorInfo {
            source,
            digest: self.digest,
            manifest: self.manifest.clone(),
            extends: template.map(|template| template.extends.clone()),
            reaches: template.map(|template| template.reaches(self.component.manifest())).transpose()?,
            template: template.map(Template::to_json),
        })
    }
}

impl OpenAct {
    /// Checks a template and keeps it in the store, in place of an earlier one of the same name. `name` stands for the file
    /// in messages. Refused if that would harm what is stored, unless it is allowed.
    pub async fn install_template(
        &self,
        name: &str,
        text: &str,
        replacing: Replacing,
    ) -> Result<ConnectorInfo> {
        let kind = Arc::new(read(&self.0, name, text).await?);
        refuse_bundled_name(&kind.manifest.name)?;
        replace::refuse_harm(&self.0, &kind, replacing).await?;
        let record = ConnectorRecord {
            name: kind.manifest.name.clone(),
            version: kind.manifest.version.clone(),
            digest: kind.digest,
            manifest: (*kind.manifest).clone(),
            grants: Vec::new(),
            installed_at: Timestamp::now(),
        };
        self.store().install_connector(&record, text.as_bytes()).await?;
        self.0.forget_connectors();
        kind.info(ConnectorSource::Installed)
    }

    /// By what a connection is who it is: the `type` of its authorization, which may be its template's, `auth_ref`, or `none`.
    /// Of a connection that its template makes nothing of, `unknown`.
    pub async fn credential_kind(&self, record: &ConnectionRecord) -> String {
        fn said(config: &JsonObject) -> Option<String> {
            let own = config.get("authorization").and_then(|section| section.get("type")?.as_str());
            let stored = config.get("auth_ref").filter(|reference| reference.is_string());
            own.or(stored.map(|_| "auth_ref")).map(str::to_owned)
        }
        if let Some(own) = said(&record.config) {
            return own;
        }
        let is_bundled =
            openact_bundled::CONNECTORS.iter().any(|own| own.name == record.trn.connector.as_str());
        let expanded = match is_bundled {
            true => Ok(record.clone()),
            false => match self.0.catalog.connector(&self.0, &record.trn.connector).await {
                Ok(kind) => kind.expand_connection(record.clone()),
                Err(error) => Err(error),
            },
        };
        match expanded {
            Ok(record) => said(&record.config).unwrap_or_else(|| "none".to_owned()),
            Err(_) => "unknown".to_owned(),
        }
    }
}

/// Of a URL; all of it if it has none.
fn origin(url: &str) -> String {
    let origin = Url::parse(url).ok().as_ref().and_then(Origin::of);
    origin.map_or_else(|| url.to_owned(), |origin| origin.to_string())
}

/// Reads and checks a template; everything that is wrong with it is in the error.
pub(crate) async fn read(openact: &Shared, file: &str, text: &str) -> Result<Kind> {
    let mut component = None;
    let mut is_template = false;
    if let Some(name) = Template::extends_of(text) {
        match openact.catalog.connector(openact, &name).await {
            Ok(kind) if kind.is_template() => is_template = true,
            Ok(kind) => component = Some(kind.component.clone()),
            Err(error) if error.code == ErrorCode::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    let connectors = openact.catalog.components(openact).await?;
    let base = |_: &ConnectorName| match &component {
        Some(component) => Base::Connector(component.manifest().clone()),
        None if is_template => Base::Template,
        None => Base::Unknown,
    };
    let template = Template::read(file, text, &Bases { base: &base, connectors: &connectors })?;
    let component = component.ok_or_else(|| Error::internal("a template without a base passed its check"))?;
    Kind::template(text, template, component)
}

/// Whether a file holds a template, by its name.
pub(crate) fn is_template_file(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    ["yaml", "yml"].iter().any(|yaml| extension.eq_ignore_ascii_case(yaml))
}

/// The text of a template's file, within its bound.
pub(crate) fn read_file(path: &Path) -> Result<String> {
    let unreadable = |error| unreadable(path, "a .yaml file", &error);
    let file = std::fs::File::open(path).map_err(unreadable)?;
    // One byte more than allowed: the check of the text itself says so.
    let within = std::io::Read::take(file, TEMPLATE_BYTES_MAX as u64 + 1);
    std::io::read_to_string(within).map_err(unreadable)
}
