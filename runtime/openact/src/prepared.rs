//! An action version with everything that is the same for each of its calls: merged configuration, compiled schemas,
//! limits, grants. Built once per version and kept in the snapshot.
//!
//! Invariant: a [`Prepared`] is immutable; a change of configuration makes another one.

use std::{
    borrow::Cow,
    sync::{Arc, OnceLock},
};

use openact_core::{
    ActionTrn, ConnectionTrn, ErrorCode, JsonObject, Result,
    action::{ActionParts, ActionRecord},
    connection::{ConnectionParts, ConnectionRecord},
    limits::CallLimits,
    manifest::Operation,
    merge::merge,
    policies::Policies,
    schema::{Schema, SchemaView},
};
use openact_engine::Connector;
use serde_json::Value;

use crate::{access::Access, inputs::Inputs, metrics::Meter, template::Kind};

/// See the module.
pub(crate) struct Prepared {
    pub(crate) action: ActionTrn,
    pub(crate) connection: ConnectionTrn,
    pub(crate) connector: Arc<Connector>,
    pub(crate) kind: Arc<Kind>,
    pub(crate) operation: String,
    pub(crate) limits: CallLimits,
    /// Its configuration says that it only ever describes what it would do.
    pub(crate) dry_run: bool,
    pub(crate) access: Access,
    /// Counts its runs; filled by the first that ends.
    pub(crate) meter: OnceLock<Arc<Meter>>,
    action_config: JsonObject,
    action_json: String,
    overridable: Vec<String>,
    action_schema: Value,
    action_check: Schema,
    /// None if every input fits.
    input_check: Option<Schema>,
    /// Whether that is what a check of the connection found.
    input_is_found: bool,
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
        kind: Arc<Kind>,
        inputs: &Inputs,
    ) -> Result<Self> {
        let what = action.trn.short();
        let (action, connection) = kind.expand(action, connection)?;
        let connector = kind.component.clone();
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
        let found = match parts.input_schema {
            Some(_) => None,
            None => inputs.of(operation, &action_config).filter(|input| input.is_checked),
        };
        let input_schema = parts.input_schema.as_ref().or(found.as_ref().map(|input| &input.schema));
        let input_schema = input_schema.unwrap_or(&operation.input_schema);
        let input_check = match accepts_everything(input_schema) {
            true => None,
            false => Some(Schema::compile(input_schema, &format!("the input schema of {what}"))?),
        };
        let [own, defaults] = &connection_parts.sections;
        let policies =
            Policies::of([own, defaults, &parts.sections]).map_err(|error| error.context(&what))?;
        Ok(Self {
            limits: policies.call_limits(),
            dry_run: policies.limits.dry_run.unwrap_or(false),
            operation: operation.name.clone(),
            overridable: operation.overridable.clone(),
            action_schema: operation.action_schema.clone(),
            action_json: Value::Object(action_config.clone()).to_string(),
            action: action.trn,
            access: Access::new(connection.trn.clone(), connection_parts, policies)?,
            connection: connection.trn,
            connector,
            kind,
            meter: OnceLock::new(),
            action_config,
            action_check,
            input_check,
            input_is_found: found.is_some(),
        })
    }

    /// The action with the keys of the input that the connector lets a caller set.
    pub(crate) fn merged_action(&self, input: &Value) -> Merged<'_> {
        let set = overrides(&self.overridable, input);
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
        let hint = || match self.input_is_found {
            false => format!("what it takes: openact show {}", self.action.short()),
            true => format!(
                "what it takes: openact show {}; if that is no longer so: openact check {}",
                self.action.short(),
                self.connection.short()
            ),
        };
        input_fits.and_then(|()| action_fits()).map_err(|error| error.hint(hint()))
    }
}

/// `defaults` of the connection that this operation knows, by the names it has for them.
pub(crate) fn known_defaults(connection: &ConnectionParts, operation: &Operation) -> JsonObject {
    let view = SchemaView::new(&operation.action_schema);
    let named = connection.defaults.iter().map(|(key, value)| {
        let name = view.canonical_name(key).map_or(Cow::Borrowed(key.as_str()), Cow::Borrowed);
        (name.into_owned(), value.clone())
    });
    named.filter(|(name, _)| view.property(name).is_some()).collect()
}

/// The connection's defaults under the action.
pub(crate) fn effective_action(
    connection: &ConnectionParts,
    action: &ActionParts,
    operation: &Operation,
) -> JsonObject {
    let mut merged = known_defaults(connection, operation);
    merge(&mut merged, &action.guest, &SchemaView::new(&operation.action_schema));
    merged
}

/// The keys of the input that the connector lets a caller set.
pub(crate) fn overrides(overridable: &[String], input: &Value) -> JsonObject {
    overridable.iter().filter_map(|key| Some((key.clone(), input.get(key)?.clone()))).collect()
}

/// Whether a schema is so open that checking against it is no use: `{}` or `{"type": "object"}`.
fn accepts_everything(schema: &Value) -> bool {
    schema.as_object().is_some_and(|schema| {
        schema.keys().all(|key| matches!(key.as_str(), "$schema" | "title" | "description"))
    })
}
