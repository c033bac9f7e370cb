//! The schemas of a connector as its entries are read and checked against them.
//!
//! Invariant: what a file may say of an action is the operation's own fields and [`HOST_KEYS`], nothing else.

use std::sync::Arc;

use openact_core::{
    JsonObject, Result,
    action::action_schema,
    connection::connection_schema,
    manifest::Manifest,
    schema::{Schema, SchemaView},
};
use serde_json::{Value, json};

use crate::parameters;

/// A connector's schemas, compiled.
pub(crate) struct Connector {
    pub(crate) manifest: Arc<Manifest>,
    pub(crate) connection_schema: Value,
    pub(crate) connection: Schema,
    pub(crate) operations: Vec<Operation>,
}

pub(crate) struct Operation {
    pub(crate) name: String,
    /// Of an action's configuration.
    pub(crate) config_schema: Value,
    pub(crate) config: Schema,
    /// The same without `required`, for what is only a part of a configuration.
    pub(crate) part: Schema,
    /// Of an action as a file writes it, with what is the host's.
    pub(crate) entry_schema: Value,
    /// Those of [`HOST_KEYS`] that are no field of the connector's own.
    pub(crate) host_keys: Vec<&'static str>,
}

/// Keys of an action in a file that are not part of its configuration.
const HOST_KEYS: &[&str] = &["connection", "mcp", "mcp_enabled", "parameters", "metadata"];
/// Those of them that a connector may have for itself.
const YIELDING: &[&str] = &["parameters", "metadata"];

impl Connector {
    /// Compiles what `manifest` declares.
    pub(crate) fn new(manifest: Arc<Manifest>) -> Result<Self> {
        let connection_schema = connection_schema(&manifest);
        let connection = Schema::compile(
            &connection_schema,
            &format!("the connection schema of connector '{}'", manifest.name),
        )?;
        let operation = |operation: &openact_core::manifest::Operation| {
            let config_schema = action_schema(operation);
            let what = format!("the action schema of operation '{}'", operation.name);
            let (mut part, mut entry_schema) = (config_schema.clone(), config_schema.clone());
            if let Some(part) = part.as_object_mut() {
                part.shift_remove("required");
            }
            let own = entry_schema.get_mut("properties").and_then(Value::as_object_mut);
            let is_own =
                |key: &str| YIELDING.contains(&key) && own.as_ref().is_some_and(|own| own.contains_key(key));
            let host_keys: Vec<&str> = HOST_KEYS.iter().copied().filter(|key| !is_own(key)).collect();
            if let (Some(own), Value::Object(host)) = (own, host_properties()) {
                own.extend(host.into_iter().filter(|(key, _)| host_keys.contains(&key.as_str())));
            }
            let (config, part) = (Schema::compile(&config_schema, &what)?, Schema::compile(&part, &what)?);
            Ok(Operation {
                name: operation.name.clone(),
                config_schema,
                config,
                part,
                entry_schema,
                host_keys,
            })
        };
        let operations = manifest.operations.iter().map(operation).collect::<Result<_>>()?;
        Ok(Self { manifest, connection_schema, connection, operations })
    }

    /// The operation that knows most of the keys of `defaults`: they are merged under the actions of all of them.
    pub(crate) fn operation_of_defaults(&self, fields: &JsonObject) -> Option<&Operation> {
        let defaults = fields.get("defaults").or_else(|| fields.get("config")?.get("defaults"));
        let keys = || defaults.and_then(Value::as_object).into_iter().flat_map(|defaults| defaults.keys());
        self.operations.iter().rev().max_by_key(|operation| {
            let view = SchemaView::new(&operation.config_schema);
            let known = keys()
                .filter(|key| view.property(key).is_some() || view.canonical_name(key).is_some())
                .count();
            (known, operation.name == self.manifest.default_operation)
        })
    }
}

/// Schemas of [`HOST_KEYS`]. `metadata` is the file's own, as at its top.
pub(crate) fn host_properties() -> Value {
    let (text, flag) = (json!({"type": "string"}), json!({"type": "boolean"}));
    json!({
        "connection": text,
        "mcp_enabled": flag,
        "mcp": {"type": "object", "additionalProperties": false, "properties": {
            "enabled": flag, "tool_name": text, "description": text, "tags": {"type": "array", "items": text},
            "requires_auth": flag, "input_shape": {"type": "string", "enum": ["object", "args"]},
            "input_schema": {"type": "object"},
        }},
        "parameters": parameters::schema(),
        "metadata": {"type": "object"},
    })
}
