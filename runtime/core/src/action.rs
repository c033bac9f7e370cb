//! An action: what to do over a connection. Its configuration is the operation's own fields and a few the host owns.

use serde_json::{Value, json};

use crate::{
    ActionTrn, ConnectionTrn, JsonObject, Result, Timestamp,
    connection::extend_schema,
    manifest::Operation,
    policies::{self, section, take_sections},
};

/// One stored version of an action.
#[derive(Clone, Debug, PartialEq)]
pub struct ActionRecord {
    /// Its identity.
    pub trn: ActionTrn,
    /// The connection version it runs over; of the same tenant and connector.
    pub connection: ConnectionTrn,
    /// Its configuration.
    pub config: JsonObject,
    /// Whether it is an MCP tool.
    pub mcp_enabled: bool,
    /// Name and description of the tool, where they differ.
    pub mcp_overrides: Option<Value>,
    /// When this version was made.
    pub created_at: Timestamp,
    /// When this row was last written.
    pub updated_at: Timestamp,
}

/// An action's configuration, taken apart.
#[derive(Clone, Debug, Default)]
pub struct ActionParts {
    /// The operation's own fields.
    pub guest: JsonObject,
    /// For people and models.
    pub description: Option<String>,
    /// Which operation; the connector's default if absent.
    pub operation: Option<String>,
    /// JSON Schema of the input; the operation's if absent.
    pub input_schema: Option<Value>,
    /// The host's sections, merged over the connection's by [`policies::Policies::of`].
    pub sections: JsonObject,
}

/// Keys of an action that belong to the host, beside the sections of [`crate::policies`].
const HOST_KEYS: &[&str] = &["description", "operation", "input_schema"];

impl ActionParts {
    /// Takes `config` apart.
    pub fn of(config: &JsonObject) -> Result<Self> {
        let mut guest = config.clone();
        let mut host: JsonObject =
            HOST_KEYS.iter().filter_map(|key| Some(((*key).to_owned(), guest.shift_remove(*key)?))).collect();
        let sections = take_sections(&mut guest);
        policies::Policies::check_action(&sections)?;
        Ok(Self {
            guest,
            description: section(&mut host, "description")?,
            operation: section(&mut host, "operation")?,
            input_schema: section(&mut host, "input_schema")?,
            sections,
        })
    }
}

/// The JSON Schema of a whole action: the operation's own fields and the host's, closed.
pub fn action_schema(operation: &Operation) -> Value {
    let mut properties = json!({
        "description": {"type": "string"},
        "operation": {"type": "string"},
        "input_schema": {"type": "object", "x-aliases": ["schema"]},
    });
    if let Value::Object(properties) = &mut properties {
        properties.extend(policies::properties());
    }
    extend_schema(&operation.action_schema, properties)
}
