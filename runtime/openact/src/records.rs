//! Writing one record at a time, for a door: the same checks, versions and audit entries as an import of a file that has it
//! alone.
//!
//! Invariants: what was changed since its writer looked is not written over, if the writer says what they saw; a record that
//! comes in by a door refers to no variable, file or vault of this machine, since its writer may see none of them.

use openact_config::{ActionDraft, Document, Format, SecretsMode};
use openact_core::{
    ActionTrn, ConnectionTrn, Error, ErrorCode, Result, Tenant,
    secret::SecretRef,
    trn::{Action, Connection, Reference, VersionWanted},
};
use openact_store::{Store, connectors::digest_of};
use serde_json::{Value, json};

use crate::{
    ImportOptions, OpenAct, Record,
    find::Stored,
    import::{File, Job},
    plan::{ChangeStatus, Plan, Planned},
};

/// What a writer says is there before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Expected {
    /// Anything, or nothing.
    #[default]
    Any,
    /// Nothing.
    Absent,
    /// Something.
    Present,
    /// A record whose [`Record::etag`] this is.
    Etag(String),
}

/// A record that was written.
#[derive(Debug)]
pub struct Written {
    /// As it is now.
    pub record: Record,
    /// Whether there was none before.
    pub created: bool,
    /// What changed, and what should be known of it.
    pub plan: Plan,
}

/// Which record a precondition is about, and what it says.
pub(crate) enum Precondition<'a> {
    Connection(&'a Reference<Connection>, &'a Expected),
    Action(&'a Reference<Action>, &'a Expected),
}

/// What is deleted: one version, or all of a name.
pub(crate) enum Deleted<'a> {
    Connection(&'a ConnectionTrn, bool),
    Action(&'a ActionTrn, bool),
}

impl Record {
    /// Another text for another content of the record, or another version of it.
    pub fn etag(&self) -> String {
        let digest = digest_of(self.to_json().to_string().as_bytes()).hex();
        digest.get(..32).unwrap_or_default().to_owned()
    }

    /// Its TRN.
    pub fn trn(&self) -> String {
        match self {
            Self::Connection(record) => record.trn.to_string(),
            Self::Action(record) => record.trn.to_string(),
        }
    }
}

impl OpenAct {
    /// Writes a connection: `{"connector", "name", "config"}`. The actions over its latest version follow to the new one.
    pub async fn put_connection(
        &self,
        tenant: &Tenant,
        body: &Value,
        expected: &Expected,
    ) -> Result<Written> {
        let Parts { connector, name, config } = Parts::of(body, &["connector", "name", "config"])?;
        let file = json!({ "connectors": { connector: { "connections": { name: config } } } });
        let mut document = self.read_record(&file).await?;
        let reference: Reference<Connection> = format!("{connector}/{name}").parse()?;
        self.bring_actions(tenant, &mut document).await?;
        let plan = self.write(tenant, &document, &Precondition::Connection(&reference, expected)).await?;
        let record = self.show_connection(tenant, &format!("{connector}/{name}")).await?;
        Ok(Written { created: plan.created("connection"), record, plan })
    }

    /// Writes an action: `{"connector", "name", "connection", "config", "mcp"?}`.
    pub async fn put_action(&self, tenant: &Tenant, body: &Value, expected: &Expected) -> Result<Written> {
        let fields = ["connector", "name", "config", "connection", "mcp"];
        let Parts { connector, name, config } = Parts::of(body, &fields)?;
        let mut config = config.clone();
        for key in ["connection", "mcp"] {
            if let (Value::Object(config), Some(value)) = (&mut config, body.get(key)) {
                config.insert(key.to_owned(), value.clone());
            }
        }
        let file = json!({ "connectors": { connector: { "actions": { name: config } } } });
        let document = self.read_record(&file).await?;
        let text = format!("{connector}/{name}");
        let reference: Reference<Action> = text.parse()?;
        let plan = self.write(tenant, &document, &Precondition::Action(&reference, expected)).await?;
        let record = self.show(tenant, &text).await?;
        Ok(Written { created: plan.created("action"), record, plan })
    }

    /// Deletes a connection that no action runs over: every version of it, or the one that `reference` names.
    pub async fn delete_connection(
        &self,
        tenant: &Tenant,
        reference: &str,
        expected: &Expected,
    ) -> Result<()> {
        let reference: Reference<Connection> = reference.parse()?;
        let found = self.show_connection(tenant, &written(&reference)).await?;
        let Record::Connection(found) = found else { return Ok(()) };
        let job = Job::Delete(
            tenant,
            Deleted::Connection(&found.trn, names_all(&reference)),
            Precondition::Connection(&reference, expected),
        );
        self.carry_out(&job, false, None).await.map(drop)
    }

    /// Deletes an action: every version of it, or the one that `reference` names.
    pub async fn delete_action(&self, tenant: &Tenant, reference: &str, expected: &Expected) -> Result<()> {
        let reference: Reference<Action> = reference.parse()?;
        let found = crate::find::find(&self.0, tenant, &reference, &Default::default()).await?;
        let job = Job::Delete(
            tenant,
            Deleted::Action(&found.trn, names_all(&reference)),
            Precondition::Action(&reference, expected),
        );
        self.carry_out(&job, false, None).await.map(drop)
    }

    async fn write(&self, tenant: &Tenant, document: &Document, when: &Precondition<'_>) -> Result<Plan> {
        let options = ImportOptions { tenant: tenant.clone(), ..Default::default() };
        self.carry_out(&Job::Write(document, &options, when), false, None).await
    }

    /// Reads the one record of a body as if it stood in a file.
    async fn read_record(&self, file: &Value) -> Result<Document> {
        refuse_references(file)?;
        let text = file.to_string();
        let files = [File::Text("the body", &text, Format::Json)];
        let (document, _) = self.read_in(&files, SecretsMode::Seal, &|_| None).await?;
        Ok(document)
    }

    /// The latest actions over a connection of the document, as they are: they get its new version with it.
    async fn bring_actions(&self, tenant: &Tenant, document: &mut Document) -> Result<()> {
        let Some(draft) = document.connections.first() else { return Ok(()) };
        let over = self.list_actions(tenant, Some(&draft.connector), Some(&draft.name)).await?;
        document.actions.extend(over.into_iter().map(|record| ActionDraft {
            connector: record.trn.connector,
            name: record.trn.name,
            connection: record.connection.name,
            config: record.config,
            mcp_enabled: record.mcp_enabled,
            mcp_overrides: record.mcp_overrides,
            place: None,
        }));
        Ok(())
    }

    /// Fails with `conflict` unless what is there is what its writer says. Asked in the loop that plans: what is true here is
    /// true when the change is written, or the change is planned anew.
    pub(crate) async fn check_precondition(&self, tenant: &Tenant, when: &Precondition<'_>) -> Result<()> {
        let (found, expected, what) = match when {
            Precondition::Connection(reference, expected) => {
                let found = crate::find::find(&self.0, tenant, reference, &Default::default()).await;
                (found.map(Record::Connection), expected, written(reference))
            }
            Precondition::Action(reference, expected) => {
                let found = crate::find::find(&self.0, tenant, reference, &Default::default()).await;
                (found.map(Record::Action), expected, written(reference))
            }
        };
        let found = match found {
            Ok(record) => Some(record),
            Err(error) if error.code == ErrorCode::NotFound => None,
            Err(error) => return Err(error),
        };
        match (expected, found) {
            (Expected::Any, _) | (Expected::Absent, None) | (Expected::Present, Some(_)) => Ok(()),
            (Expected::Absent, Some(_)) => Err(Error::conflict(format!("there is {what} already"))
                .hint("to change it, write it under its own address")),
            (Expected::Present | Expected::Etag(_), None) => {
                Err(Error::conflict(format!("there is no {what} any more")))
            }
            (Expected::Etag(etag), Some(record)) if record.etag() == *etag => Ok(()),
            (Expected::Etag(_), Some(record)) => {
                Err(Error::conflict(format!("{what} was changed since you looked at it"))
                    .hint("get it again, and write over what it is now")
                    .details(json!({ "etag": record.etag() })))
            }
        }
    }
}

/// What is deleted, planned as any change is.
pub(crate) async fn planned_deletion(store: &Store, tenant: &Tenant, what: &Deleted<'_>) -> Result<Planned> {
    let mut planned = Planned::default();
    planned.changes.planned_at = Some(store.config_generation().await?);
    match what {
        Deleted::Action(trn, all) => {
            let versions = store.action_versions(tenant).await?.into_iter().map(|(version, _)| version);
            let is_meant = |other: &ActionTrn| *other == trn.at(other.version) && (*all || other == *trn);
            for version in versions.filter(is_meant) {
                planned.plan.push(openact_store::Kind::Action, version.short(), ChangeStatus::Deleted);
                planned.delete_action(version);
            }
        }
        Deleted::Connection(trn, all) => {
            let versions = store.connection_versions(tenant).await?.into_iter();
            let is_meant = |other: &ConnectionTrn| *other == trn.at(other.version) && (*all || other == *trn);
            for version in versions.filter(is_meant) {
                planned.plan.push(openact_store::Kind::Connection, version.short(), ChangeStatus::Deleted);
                planned.delete_connection(version);
            }
        }
    }
    Ok(planned)
}

impl Plan {
    fn created(&self, kind: &str) -> bool {
        self.changes.iter().any(|change| change.kind == kind && change.status == ChangeStatus::Created)
    }
}

/// What every record has.
struct Parts<'a> {
    connector: &'a str,
    name: &'a str,
    config: &'a Value,
}

impl<'a> Parts<'a> {
    fn of(body: &'a Value, fields: &[&str]) -> Result<Self> {
        let bad = |what: String| {
            Error::invalid_input(what).hint(format!("a record is an object with {}", fields.join(", ")))
        };
        let object = body.as_object().ok_or_else(|| bad("the record is no object".into()))?;
        if let Some(unknown) = object.keys().find(|key| !fields.contains(&key.as_str())) {
            return Err(bad(format!("'{}' is no field of a record", unknown.escape_debug())));
        }
        let text = |key: &str| {
            let value = object.get(key).and_then(Value::as_str);
            value.ok_or_else(|| bad(format!("'{key}' is missing in the record, or no text")))
        };
        let config = object.get("config").filter(|config| config.is_object());
        let config = config.ok_or_else(|| bad("'config' is missing in the record, or no object".into()))?;
        Ok(Self { connector: text("connector")?, name: text("name")?, config })
    }
}

/// `{"$env": …}`, `{"$file": …}` and `vault://…` would hand what this machine keeps, or may read of a vault, to whatever host
/// the record names.
fn refuse_references(value: &Value) -> Result<()> {
    let in_vault = value.as_str().is_some_and(|text| SecretRef::parse_vault(text).is_some());
    if in_vault || matches!(SecretRef::from_json(value), Some(SecretRef::Env(_) | SecretRef::File(_))) {
        return Err(Error::invalid_config(
            "a record that is written through a door cannot refer to a variable, a file or the vault of the server",
        )
        .hint("set a secret and refer to it as {\"$secret\": \"name\"}, or import a file on the server"));
    }
    match value {
        Value::Object(fields) => fields.values().try_for_each(refuse_references),
        Value::Array(items) => items.iter().try_for_each(refuse_references),
        _ => Ok(()),
    }
}

/// Whether a reference is to a record and not to one version of it.
fn names_all<K: Stored>(reference: &Reference<K>) -> bool {
    matches!(reference, Reference::Short { version: VersionWanted::Latest, .. })
}

fn written<K: Stored>(reference: &Reference<K>) -> String {
    match reference {
        Reference::Trn(trn) => trn.to_string(),
        Reference::Short { connector, name, version, .. } => {
            let connector = connector.as_ref().map_or_else(String::new, |connector| format!("{connector}/"));
            match version {
                VersionWanted::Latest => format!("{connector}{name}"),
                VersionWanted::Exactly(version) => format!("{connector}{name}@v{version}"),
            }
        }
    }
}
