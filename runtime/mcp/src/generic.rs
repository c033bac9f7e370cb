//! `openact.execute`: one tool for every action that is for MCP clients.
//!
//! Invariant: a caller of another tenant is told nothing (M8), and an action that is not for MCP clients is not run: that
//! it is no tool of its own would be nothing otherwise.

use std::{sync::Arc, time::Duration};

use openact::{ActionTrn, ConnectorName, Error, ErrorCode, Interface, Name, Result};
use rmcp::model::{Tool, ToolAnnotations};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{McpCaller, Server, call::Asked, names::EXECUTE};

/// The arguments of `openact.execute`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Arguments {
    action_trn: Option<String>,
    connector: Option<String>,
    action: Option<String>,
    version: Option<WantedVersion>,
    /// Of earlier clients. A caller has one tenant.
    tenant: Option<String>,
    input: Option<Value>,
    dry_run: bool,
    timeout_ms: Option<u64>,
    idempotency_key: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum WantedVersion {
    Number(u32),
    Text(String),
}

/// The tool as it is listed.
pub(crate) fn tool() -> Tool {
    let text = |description: &str| json!({ "type": "string", "description": description });
    let schema = json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "action_trn": text("the action by its TRN: trn:openact:TENANT:action/CONNECTOR/NAME@vN; instead of the three below"),
            "connector": text("the action's connector, such as http"),
            "action": text("the action's name"),
            "version": {
                "anyOf": [{"type": "integer", "minimum": 1}, {"const": "latest"}],
                "description": "the action's version, or latest",
            },
            "input": {"type": "object", "description": "what the action takes, by its schema"},
            "dry_run": {"type": "boolean", "description": "tell what would be done, and do nothing"},
            "timeout_ms": {"type": "integer", "minimum": 1, "description": "a deadline of this call"},
            "idempotency_key": text("asked for again with it, the call is answered as it was and not run again"),
        },
    });
    let schema = schema.as_object().cloned().unwrap_or_default();
    let description = "Run an action of OpenAct that is named by its TRN, or by connector, action and version. What an \
                       action takes is told by the resource openact://actions/CONNECTOR/NAME.";
    let annotations =
        ToolAnnotations::new().read_only(false).destructive(true).idempotent(false).open_world(true);
    Tool::new(EXECUTE, description, Arc::new(schema)).with_annotations(annotations)
}

/// What to run, if the caller may.
pub(crate) async fn asked(
    server: &Server,
    caller: &McpCaller,
    arguments: Map<String, Value>,
) -> Result<Asked> {
    let arguments: Arguments = serde_json::from_value(Value::Object(arguments)).map_err(|error| {
        Error::invalid_input(format!("the arguments of {EXECUTE} are wrong: {error}"))
            .hint("give action_trn, or connector, action and version; and input, an object")
    })?;
    let reference = arguments.reference()?;
    if arguments.tenant.as_ref().is_some_and(|tenant| tenant != caller.tenant.as_str()) {
        return Err(Error::not_found(format!("there is no action '{reference}'")));
    }
    if arguments.input.as_ref().is_some_and(|input| !input.is_object()) {
        return Err(Error::invalid_input("input must be an object"));
    }
    if arguments.timeout_ms == Some(0) {
        return Err(Error::invalid_input("timeout_ms must be at least 1"));
    }
    let action = match server.openact.interface(&caller.tenant, &reference, &caller.governance).await {
        Ok(interface) if !is_for_clients(server, caller, &interface).await => {
            let message = format!("{} is not for MCP clients", interface.action.short());
            return Err(Error::new(ErrorCode::Forbidden, message)
                .hint("whoever configured it decides; it would be with mcp: { enabled: true }"));
        }
        Ok(interface) => interface.action.to_string(),
        // Refused by the call itself, which leaves a record, as by every door.
        Err(error) if error.code == ErrorCode::Forbidden => reference,
        Err(error) => return Err(error),
    };
    Ok(Asked {
        action,
        input: arguments.input.unwrap_or_else(|| Value::Object(Map::new())),
        timeout: arguments.timeout_ms.map(Duration::from_millis),
        dry_run: arguments.dry_run,
        idempotency_key: arguments.idempotency_key,
    })
}

/// It is, and so is the newest of its name: what is taken away from clients is gone in every version.
async fn is_for_clients(server: &Server, caller: &McpCaller, interface: &Interface) -> bool {
    if !interface.mcp_enabled {
        return false;
    }
    let newest = format!("{}/{}", interface.action.connector, interface.action.name);
    let newest = server.openact.interface(&caller.tenant, &newest, &caller.governance).await;
    newest.is_ok_and(|newest| newest.mcp_enabled)
}

impl Arguments {
    /// The action as OpenAct reads it.
    fn reference(&self) -> Result<String> {
        if let Some(trn) = &self.action_trn {
            if self.connector.is_some() || self.action.is_some() || self.version.is_some() {
                return Err(Error::invalid_input("action_trn excludes connector, action and version"));
            }
            return trn.parse::<ActionTrn>().map(|trn| trn.to_string());
        }
        let (Some(connector), Some(action)) = (&self.connector, &self.action) else {
            return Err(Error::invalid_input("which action is missing")
                .hint("give action_trn, or connector, action and version"));
        };
        let (connector, name) = (ConnectorName::canonical(connector)?, action.parse::<Name>()?);
        match &self.version {
            None => Err(Error::invalid_input(format!("the version of {connector}/{name} is missing"))
                .hint("give its number, or \"latest\"")),
            Some(WantedVersion::Text(text)) if text == "latest" => Ok(format!("{connector}/{name}")),
            Some(WantedVersion::Number(number)) if *number > 0 => Ok(format!("{connector}/{name}@v{number}")),
            Some(_) => {
                Err(Error::invalid_input("version is not a version")
                    .hint("give a number from 1, or \"latest\""))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(arguments: Value) -> Result<String> {
        serde_json::from_value::<Arguments>(arguments).unwrap().reference()
    }

    #[test]
    fn an_action_is_named_by_its_trn_or_with_a_version() {
        let trn = "trn:openact:default:action/http/get@v3";
        for (arguments, expected) in [
            (json!({ "action_trn": trn }), trn),
            (json!({ "connector": "http", "action": "get", "version": 3 }), "http/get@v3"),
            (json!({ "connector": "HTTP", "action": "get", "version": "latest" }), "http/get"),
            (json!({ "connector": "postgresql", "action": "a.b", "version": 1 }), "postgres/a.b@v1"),
        ] {
            assert_eq!(reference(arguments).unwrap(), expected);
        }
        for wrong in [
            json!({}),
            json!({ "connector": "http", "action": "get" }),
            json!({ "connector": "http", "action": "get", "version": 0 }),
            json!({ "connector": "http", "action": "get", "version": "newest" }),
            json!({ "connector": "http", "version": 1 }),
            json!({ "connector": "http", "action": "get/../x", "version": 1 }),
            json!({ "action_trn": "http/get" }),
            json!({ "action_trn": trn, "version": 1 }),
        ] {
            let error = reference(wrong.clone()).unwrap_err();
            assert_eq!(error.code, ErrorCode::InvalidInput, "{wrong}");
        }
    }
}
