//! What the `kind` of a connection stands for: a component, or a template over one.
//!
//! A record keeps what its user wrote; where it is used it is written out as the component's own ([`Kind::expand`]).
//! Invariant: everything after that knows components alone, so that a template can do nothing that a configuration by hand
//! could not.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use openact_config::template::{Base, Bases, Template};
use openact_core::{
    ConnectorName, Error, Result, Timestamp,
    action::ActionRecord,
    connection::{ConnectionParts, ConnectionRecord, connection_schema},
    limits::TEMPLATE_BYTES_MAX,
    manifest::{ComponentDigest, Manifest},
    policy::Origin,
    schema::Schema,
};
use openact_engine::Connector;
use openact_store::{ConnectorRecord, connectors::digest_of};
use url::Url;

use crate::{
    ConnectorInfo, ConnectorSource, OpenAct, Shared,
    catalog::{refuse_bundled_name, unreadable},
};

/// What becomes of a template under whose name connections are stored that it would lead to other hosts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NewHosts {
    /// It is refused: it would be sent the secrets that were given to another one.
    #[default]
    Refuse,
    /// It takes the place of the earlier one.
    Allow,
}

/// See the module.
pub(crate) struct Kind {
    pub(crate) component: Arc<Connector>,
    manifest: Arc<Manifest>,
    digest: ComponentDigest,
    template: Option<Template>,
}

impl Kind {
    pub(crate) fn component(component: Arc<Connector>) -> Self {
        let (manifest, digest) = (component.manifest().clone(), component.digest());
        Self { component, manifest, digest, template: None }
    }

    /// The template in `text`, which was checked before, over the component that it extends.
    pub(crate) fn template(text: &str, template: Template, component: Arc<Connector>) -> Result<Self> {
        let manifest = Arc::new(template.manifest(component.manifest())?);
        Ok(Self { component, manifest, digest: digest_of(text.as_bytes()), template: Some(template) })
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
            let base = self.component.manifest();
            let expanded = template.expand_connection(&record.config, base);
            record.config = expanded.map_err(|error| error.context(record.trn.short()))?;
            self.check(&record)?;
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
            let expanded = template
                .expand(&action.config, &connection.config, self.component.manifest())
                .map_err(|error| error.context(connection.trn.short()))?;
            (action.config, connection.config) = (expanded.action, expanded.connection);
            self.check(&connection)?;
        }
        Ok((action, connection))
    }

    /// A parameter is checked when it is read; what the template makes of it only here.
    fn check(&self, record: &ConnectionRecord) -> Result<()> {
        let base = self.component.manifest();
        let mut config = record.config.clone();
        let schema = connection_schema(base);
        openact_core::secret::visit_secrets(
            &mut config,
            &openact_core::schema::SchemaView::new(&schema),
            &mut |_, value| *value = "secret".into(),
        );
        Schema::compile(&schema, &format!("the connection schema of connector '{}'", base.name))?.check(
            &config.into(),
            openact_core::ErrorCode::InvalidConfig,
            &format!("what the template '{}' makes of {}", self.manifest.name, record.trn.short()),
        )
    }

    /// The connector and the origins that a connection leads to, those of tokens included, after the one its credential
    /// goes to; none if it cannot be used.
    fn leads_to(&self, record: &ConnectionRecord) -> Option<(ConnectorName, Vec<String>)> {
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
    /// in messages. Refused if stored connections would send what they hold to other hosts, unless that is allowed.
    pub async fn install_template(&self, name: &str, text: &str, hosts: NewHosts) -> Result<ConnectorInfo> {
        let kind = read(&self.0, name, text).await?;
        refuse_bundled_name(&kind.manifest.name)?;
        if hosts == NewHosts::Refuse {
            self.refuse_new_hosts(&kind).await?;
        }
        let record = ConnectorRecord {
            name: kind.manifest.name.clone(),
            version: kind.manifest.version.clone(),
            digest: kind.digest,
            manifest: (*kind.manifest).clone(),
            grants: Vec::new(),
            installed_at: Timestamp::now(),
        };
        self.0.store.install_connector(&record, text.as_bytes()).await?;
        self.0.forget_connectors();
        kind.info(ConnectorSource::Installed)
    }

    /// What a connection holds was given to the hosts of the template as it was then.
    async fn refuse_new_hosts(&self, new: &Kind) -> Result<()> {
        let name = &new.manifest.name;
        let records = self.0.store.connections_of(name).await?;
        if records.is_empty() {
            return Ok(());
        }
        let old = self.0.catalog.connector(&self.0, name).await.ok();
        for record in records {
            let Some(after) = new.leads_to(&record) else { continue };
            let before = old.as_ref().and_then(|old| old.leads_to(&record));
            if before.as_ref() == Some(&after) {
                continue;
            }
            let (before, after) =
                (before.map_or_else(|| "nowhere".to_owned(), |to| listed(&to)), listed(&after));
            return Err(Error::conflict(format!(
                "{} leads to {before}; with this template in place of the earlier '{name}' it and its secrets would go to \
                 {after}",
                record.trn.short()
            ))
            .hint("give the template another name, or allow it with --allow-new-hosts")
            .details(serde_json::json!({ "connection": record.trn.to_string(), "old": before, "new": after })));
        }
        Ok(())
    }
}

/// Of a URL; all of it if it has none.
fn origin(url: &str) -> String {
    let origin = Url::parse(url).ok().as_ref().and_then(Origin::of);
    origin.map_or_else(|| url.to_owned(), |origin| origin.to_string())
}

fn listed((base, origins): &(ConnectorName, Vec<String>)) -> String {
    format!("{} (by {base})", if origins.is_empty() { "no URL".to_owned() } else { origins.join(", ") })
}

/// Reads and checks a template; everything that is wrong with it is in the error.
pub(crate) async fn read(openact: &Shared, file: &str, text: &str) -> Result<Kind> {
    let mut component = None;
    let mut is_template = false;
    if let Some(name) = Template::extends_of(text) {
        match openact.catalog.connector(openact, &name).await {
            Ok(kind) if kind.is_template() => is_template = true,
            Ok(kind) => component = Some(kind.component.clone()),
            Err(error) if error.code == openact_core::ErrorCode::NotFound => {}
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
