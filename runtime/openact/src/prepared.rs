//! An action version with everything that is the same for each of its calls: merged configuration, compiled schemas,
//! limits, grants. Built once per version and kept in the snapshot.
//!
//! Invariant: a [`Prepared`] is immutable; a change of configuration makes another one.

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use openact_core::{
    ActionTrn, ConnectionTrn, Error, ErrorCode, JsonObject, Result, Tenant,
    action::{ActionParts, ActionRecord},
    connection::{ConnectionParts, ConnectionRecord, Timeouts},
    limits::{CallLimits, SECRET_FILE_BYTES_MAX},
    manifest::Operation,
    merge::merge,
    schema::{Schema, SchemaView},
    secret::{SecretRef, SecretString},
};
use openact_engine::{Connector, Grants, HttpSettings};
use serde_json::Value;
use tokio::sync::OnceCell;

use crate::Shared;

/// See the module.
pub(crate) struct Prepared {
    pub(crate) action: ActionTrn,
    pub(crate) connection: ConnectionTrn,
    pub(crate) connector: Arc<Connector>,
    pub(crate) operation: String,
    pub(crate) connection_json: String,
    pub(crate) limits: CallLimits,
    action_config: JsonObject,
    action_json: String,
    overridable: Vec<String>,
    action_schema: Value,
    action_check: Schema,
    /// None if every input fits.
    input_check: Option<Schema>,
    connection_parts: ConnectionParts,
    timeout: Timeouts,
    /// Filled at the first call. Not used where a secret is read from the environment or a file at every call.
    grants: OnceCell<Arc<Grants>>,
}

/// An action as merged for one call.
pub(crate) enum Merged<'a> {
    /// The caller changed nothing: the text made beforehand.
    Same(&'a str),
    /// With what the caller set.
    Changed(Value, String),
}

impl Merged<'_> {
    pub(crate) fn json(&self) -> &str {
        match self {
            Self::Same(text) => text,
            Self::Changed(_, text) => text,
        }
    }
}

impl Prepared {
    pub(crate) fn new(
        action: ActionRecord,
        connection: ConnectionRecord,
        connector: Arc<Connector>,
    ) -> Result<Self> {
        let what = action.trn.short();
        let manifest = connector.manifest();
        let parts = ActionParts::of(&action.config).map_err(|error| error.context(&what))?;
        let operation =
            manifest.operation(parts.operation.as_deref()).map_err(|error| error.context(&what))?;
        let connection_parts = ConnectionParts::of(&connection.config, manifest)
            .map_err(|error| error.context(connection.trn.short()))?;
        let action_config = effective_action(&connection_parts, &parts, operation);
        let action_check = Schema::compile(
            &operation.action_schema,
            &format!("the action schema of connector '{}'", manifest.name),
        )?;
        action_check.check(
            &Value::Object(action_config.clone()),
            ErrorCode::InvalidConfig,
            &format!("the configuration of {what}"),
        )?;
        let input_schema = parts.input_schema.as_ref().unwrap_or(&operation.input_schema);
        let input_check = match accepts_everything(input_schema) {
            true => None,
            false => Some(Schema::compile(input_schema, &format!("the input schema of {what}"))?),
        };
        let timeout = Timeouts {
            connect_ms: parts.timeout.connect_ms.or(connection_parts.timeout.connect_ms),
            read_ms: parts.timeout.read_ms.or(connection_parts.timeout.read_ms),
            total_ms: parts.timeout.total_ms.or(connection_parts.timeout.total_ms),
        };
        let mut limits = CallLimits::default();
        limits.wall_ms = timeout.total_ms.unwrap_or(limits.wall_ms);
        Ok(Self {
            limits: limits.with(&connection_parts.limits).with(&parts.limits),
            operation: operation.name.clone(),
            overridable: operation.overridable.clone(),
            action_schema: operation.action_schema.clone(),
            connection_json: Value::Object(connection_parts.guest.clone()).to_string(),
            action_json: Value::Object(action_config.clone()).to_string(),
            action: action.trn,
            connection: connection.trn,
            connector,
            action_config,
            action_check,
            input_check,
            connection_parts,
            timeout,
            grants: OnceCell::new(),
        })
    }

    /// The action with the keys of the input that the connector lets a caller set.
    pub(crate) fn merged_action(&self, input: &Value) -> Merged<'_> {
        let Value::Object(input) = input else {
            return Merged::Same(&self.action_json);
        };
        let set: JsonObject =
            self.overridable.iter().filter_map(|key| Some((key.clone(), input.get(key)?.clone()))).collect();
        if set.is_empty() {
            return Merged::Same(&self.action_json);
        }
        let mut merged = self.action_config.clone();
        merge(&mut merged, &set, &SchemaView::new(&self.action_schema));
        let merged = Value::Object(merged);
        let text = merged.to_string();
        Merged::Changed(merged, text)
    }

    /// Fails with `invalid_input` if the input, or the action with the caller's keys, does not fit its schema.
    pub(crate) fn check(&self, input: &Value, action: &Merged<'_>) -> Result<()> {
        let input_fits = match &self.input_check {
            Some(check) => check.check(input, ErrorCode::InvalidInput, "the input"),
            None => Ok(()),
        };
        let action_fits = || match action {
            Merged::Same(_) => Ok(()),
            Merged::Changed(merged, _) => {
                self.action_check.check(merged, ErrorCode::InvalidInput, "the input, merged into the action,")
            }
        };
        let hint = || format!("what it takes: openact show {}", self.action.short());
        input_fits.and_then(|()| action_fits()).map_err(|error| error.hint(hint()))
    }

    /// What the call may reach, with its credential.
    pub(crate) async fn grants(&self, openact: &Shared) -> Result<Arc<Grants>> {
        let references = openact_auth::references(&self.connection_parts.authorization);
        if references.iter().all(|reference| matches!(reference, SecretRef::Stored(_))) {
            self.grants.get_or_try_init(|| self.make_grants(openact, references)).await.cloned()
        } else {
            self.make_grants(openact, references).await
        }
    }

    /// A connection version's sealed secrets are its own. Another's, by the name it has in the store, would be sent to
    /// this one's host.
    fn refuse_foreign(&self, references: &[SecretRef]) -> Result<()> {
        let own = format!("connection/{}#", self.connection.short());
        for reference in references {
            if let SecretRef::Stored(name) = reference
                && name.starts_with("connection/")
                && !name.starts_with(&own)
            {
                return Err(Error::invalid_config(format!(
                    "{} refers to a secret of another connection",
                    self.connection.short()
                ))
                .hint("import the connection with a secret of its own"));
            }
        }
        Ok(())
    }

    async fn make_grants(&self, openact: &Shared, references: Vec<SecretRef>) -> Result<Arc<Grants>> {
        let parts = &self.connection_parts;
        self.refuse_foreign(&references)?;
        let secrets = KnownSecrets::read(openact, &self.connection.tenant, references).await?;
        let credential =
            openact_auth::credential(&parts.authorization, parts.credential_origin.as_ref(), &secrets)
                .map_err(|error| error.context(self.connection.short()))?;
        let settings = HttpSettings { egress: parts.egress.clone(), credential, timeout: self.timeout };
        openact.engine.grants(settings).map(Arc::new)
    }
}

/// `defaults` of the connection that this operation knows, under the action.
fn effective_action(connection: &ConnectionParts, action: &ActionParts, operation: &Operation) -> JsonObject {
    let view = SchemaView::new(&operation.action_schema);
    let mut merged = JsonObject::new();
    for (key, value) in &connection.defaults {
        let name = view.canonical_name(key).map_or(Cow::Borrowed(key.as_str()), Cow::Borrowed);
        if view.property(&name).is_some() {
            merged.insert(name.into_owned(), value.clone());
        }
    }
    merge(&mut merged, &action.guest, &view);
    merged
}

/// Whether a schema is so open that checking against it is no use: `{}` or `{"type": "object"}`.
fn accepts_everything(schema: &Value) -> bool {
    schema.as_object().is_some_and(|schema| {
        schema.keys().all(|key| matches!(key.as_str(), "$schema" | "title" | "description"))
    })
}

/// The secrets of one connection, looked up beforehand.
struct KnownSecrets(HashMap<SecretRef, SecretString>);

impl KnownSecrets {
    async fn read(openact: &Shared, tenant: &Tenant, references: Vec<SecretRef>) -> Result<Self> {
        let mut known = HashMap::new();
        for reference in references {
            let value = match &reference {
                SecretRef::Stored(name) => openact.store.open_secret(tenant, name).await?,
                SecretRef::Env(name) => (openact.env)(name).map(SecretString::from),
                SecretRef::File(path) => read_secret_file(path)?,
                SecretRef::Vault { .. } => {
                    return Err(Error::auth_required("secrets in Vault are not supported yet"));
                }
            };
            if let Some(value) = value {
                known.insert(reference, value);
            }
        }
        Ok(Self(known))
    }
}

/// A secret file without its last line break; none if there is no such file. A device or pipe could hold a call, and
/// every other call on its thread, for ever.
fn read_secret_file(path: &str) -> Result<Option<SecretString>> {
    let unreadable = |what: &dyn std::fmt::Display| {
        Error::auth_required(format!("failed to read the secret file {path}: {what}"))
            .hint("name a small text file that this user can read")
    };
    match std::fs::metadata(path) {
        Ok(file) if !file.is_file() => return Err(unreadable(&"it is not a file")),
        Ok(file) if file.len() > SECRET_FILE_BYTES_MAX => {
            return Err(unreadable(&format_args!("it has more than {SECRET_FILE_BYTES_MAX} bytes")));
        }
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(&error)),
    }
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(&error))?;
    Ok(Some(text.trim_end_matches(['\r', '\n']).into()))
}

impl openact_auth::SecretSource for KnownSecrets {
    fn secret(&self, reference: &SecretRef) -> Result<Option<SecretString>> {
        Ok(self.0.get(reference).cloned())
    }
}
