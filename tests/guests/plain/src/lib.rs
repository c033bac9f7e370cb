//! A connector written against `wit/v0.1` by plain `wit-bindgen`, as somebody without the SDK would.
//!
//! `greet` with `{"name": …}` returns `{"greeting": "hello, …"}`; with `base_url` in the connection it asks that URL
//! first and adds the answer's status and text.

use openact::connector::{
    http::{self, CredentialUse, RedirectPolicy, Request},
    types::{Capability, Effect, HostError, Operation},
};
use serde_json::{Value, json};

wit_bindgen::generate!({ path: "../../../wit/v0.1", world: "connector" });

struct Plain;

impl Guest for Plain {
    fn describe() -> Manifest {
        Manifest {
            name: "plain".into(),
            version: "1.2.3".into(),
            summary: "greetings".into(),
            connection_schema: json!({
                "type": "object", "properties": {"base_url": {"type": "string", "format": "uri"}},
            })
            .to_string(),
            operations: vec![Operation {
                name: "greet".into(),
                summary: "say hello".into(),
                action_schema: json!({"type": "object", "properties": {"greeting": {"type": "string"}}})
                    .to_string(),
                input_schema: json!({
                    "type": "object", "required": ["name"], "properties": {"name": {"type": "string"}},
                })
                .to_string(),
                output_schema: None,
                overridable: vec![],
                effect: Effect::Read,
                idempotent: true,
            }],
            default_operation: "greet".into(),
            needs: vec![Capability::Http],
        }
    }

    fn check(connection: String) -> Result<String, Failure> {
        match base_url(&parse(&connection)?) {
            Some(url) => get(url).map(|answer| answer.to_string()),
            None => Ok(r#"{"ok":true}"#.into()),
        }
    }

    fn invoke(invocation: Invocation) -> Result<String, Failure> {
        let (connection, action) = (parse(&invocation.connection)?, parse(&invocation.action)?);
        let input = parse(&invocation.input)?;
        let name = input["name"].as_str().ok_or_else(|| Failure::InvalidInput("'name' is missing".into()))?;
        let greeting = action["greeting"].as_str().unwrap_or("hello");
        let mut result = json!({"greeting": format!("{greeting}, {name}")});
        if let Some(url) = base_url(&connection) {
            result["answer"] = get(url)?;
        }
        Ok(result.to_string())
    }
}

fn parse(text: &str) -> Result<Value, Failure> {
    serde_json::from_str(text).map_err(|error| Failure::InvalidConfig(error.to_string()))
}

fn base_url(connection: &Value) -> Option<&str> {
    connection["base_url"].as_str()
}

fn get(url: &str) -> Result<Value, Failure> {
    let response = http::send(&Request {
        method: "GET".into(),
        url: url.into(),
        headers: vec![],
        body: None,
        credential: CredentialUse::Connection,
        redirects: RedirectPolicy::Manual,
    })
    .map_err(|error| match error {
        HostError::Denied(text) => Failure::Denied(text),
        HostError::AuthRequired(text) => Failure::Unauthenticated(text),
        HostError::Timeout(text) => Failure::Timeout(text),
        other => Failure::Network(other.to_string()),
    })?;
    Ok(json!({"status": response.status, "text": String::from_utf8_lossy(&response.body)}))
}

export!(Plain);
