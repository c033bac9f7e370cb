//! The fields of a connection and of actions, as they are written in a configuration file. Their descriptions are what
//! people read in an editor and in messages.
//!
//! Invariant: nothing here is a secret; `authorization` belongs to the host.

use std::{borrow::Cow, collections::BTreeMap};

use openact_connector::{Failure, Json};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

use crate::tools;

/// Where, and how.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Connection {
    /// The server's endpoint for Streamable HTTP, such as `https://mcp.example.com/mcp`.
    #[schemars(url, extend("x-aliases" = ["base_url", "endpoint"]))]
    pub url: String,
    /// Names and values that every request has. Secrets belong under authorization.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The version of the protocol: found out at the first call, or the one that is named.
    #[serde(default)]
    pub protocol: Protocol,
}

/// Headers that are the protocol's own.
const OWN_HEADERS: &[&str] = &["accept", "content-type", "last-event-id"];

impl Connection {
    /// Refuses headers that would contradict the protocol.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        let is_own = |name: &&String| {
            let name = name.to_ascii_lowercase();
            OWN_HEADERS.contains(&name.as_str()) || name.starts_with("mcp-")
        };
        match self.headers.keys().find(is_own) {
            Some(name) => Err(Failure::InvalidConfig(format!(
                "the connection sets the header '{}', which the protocol itself sets",
                name.escape_debug()
            ))),
            None => Ok(()),
        }
    }
}

/// The version of the protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum Protocol {
    /// The newest that both sides have.
    #[default]
    #[serde(rename = "auto")]
    Auto,
    /// Without sessions.
    #[serde(rename = "2026-07-28")]
    V20260728,
    /// With sessions.
    #[serde(rename = "2025-11-25")]
    V20251125,
    /// With sessions.
    #[serde(rename = "2025-06-18")]
    V20250618,
    /// With sessions.
    #[serde(rename = "2025-03-26")]
    V20250326,
}

/// A call of a tool.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CallTool {
    /// The tool's name, as the server lists it.
    #[schemars(length(min = 1), extend("x-input" = {"kept": tools::SHELF, "sets": "arguments"}))]
    pub tool: String,
    /// The tool's arguments; if absent, the whole input. {{name}} in a string is replaced by the input's field of that
    /// name; a string that is nothing else keeps the field's type.
    #[serde(default)]
    #[schemars(with = "Object", extend("x-variables" = "{{name}}"))]
    pub arguments: Option<Json>,
    /// Hand what the server says of its progress to the caller as it arrives, if it takes a stream.
    #[serde(default)]
    pub stream: bool,
}

/// A resource to read.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReadResource {
    /// The resource's URI. {{name}} is replaced by the input's field of that name, as one segment, but for a URI that is
    /// only this. If absent, the input's uri.
    #[serde(default = "any_uri")]
    #[schemars(length(min = 1), extend("x-variables" = "{{name}}"))]
    pub uri: String,
}

fn any_uri() -> String {
    "{{uri}}".into()
}

/// A prompt to get.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetPrompt {
    /// The prompt's name, as the server lists it.
    #[schemars(length(min = 1))]
    pub prompt: String,
    /// The prompt's arguments, text each; if absent, the whole input. {{name}} in a string is replaced by the input's
    /// field of that name.
    #[serde(default)]
    #[schemars(with = "Object", extend("x-variables" = "{{name}}"))]
    pub arguments: Option<Json>,
}

/// A list of what the server has.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct List {
    /// Stop after so many; the result then says that it is truncated.
    #[serde(default = "limit")]
    #[schemars(range(min = 1, max = 10000))]
    pub limit: u64,
    /// Hand them to the caller as they arrive, if it takes a stream.
    #[serde(default)]
    pub stream: bool,
}

fn limit() -> u64 {
    1_000
}

/// An object of anything.
struct Object;

impl JsonSchema for Object {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Object".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "object"})
    }
}

/// What a tool answered.
pub struct ToolResult;

impl JsonSchema for ToolResult {
    fn schema_name() -> Cow<'static, str> {
        "ToolResult".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "properties": {
                "content": {
                    "description": "Text, images and whatever else, each with its type.",
                    "type": "array", "items": {"type": "object"},
                },
                "structured_content": {"description": "The same as data, if the tool has it."},
            },
            "required": ["content"],
        })
    }
}
