//! A connector, environment and context for this crate's tests.

use std::sync::Arc;

use openact_core::{ConnectorName, Error, Place, Result, manifest::Manifest};
use serde_json::{Value, json};

use crate::{Context, Document, Format, SecretsMode, read_text};

/// A manifest with the fields of an HTTP connector that tests need, and a `port` and a `key` for typing and sealing.
/// Only `http` has pages, and only others have a URL that is taken apart, and byte streams rather than requests.
pub(crate) fn manifest(name: &str) -> Manifest {
    let mut manifest = json!({
        "name": name, "version": "0.1.0", "summary": "s", "default_operation": "request", "needs": ["http"],
        "connection_schema": {
            "type": "object", "required": ["base_url"],
            "properties": {
                "base_url": {"type": "string", "format": "uri"},
                "port": {"type": "integer", "minimum": 1, "maximum": 65535},
                "ratio": {"type": "number"}, "verify": {"type": "boolean"}, "code": {"type": ["string", "integer"]},
                "keys": {"type": "array", "items": {"type": "object", "additionalProperties": false,
                    "properties": {"key": {"type": "string", "writeOnly": true}, "user": {"type": "string"}}}},
            },
        },
        "operations": [{
            "name": "request", "summary": "s", "overridable": [], "effect": "write", "idempotent": false,
            "input_schema": {"type": "object"}, "output_schema": null,
            "action_schema": {
                "type": "object", "required": ["method", "path"],
                "properties": {
                    "method": {"type": "string", "enum": ["GET", "POST", "PUT", "DELETE"]}, "path": {"type": "string"},
                    "headers": {"type": "object", "additionalProperties": {"type": ["string", "array"]}},
                    "query": {"type": "object", "x-aliases": ["query_params"]}, "cookies": {"type": "object"},
                    "body": {"x-merge": "replace", "x-aliases": ["request_body"]}, "follow_redirects": {"type": "boolean"},
                    "response": {"type": "object", "x-aliases": ["response_policy"]}, "pagination": {"type": "object"},
                    "signature": {"type": ["string", "object"], "writeOnly": true},
                },
            },
        }],
    });
    if name != "http" {
        manifest["needs"] = json!(["sockets"]);
        let fields = manifest.pointer_mut("/operations/0/action_schema/properties").unwrap();
        fields.as_object_mut().unwrap().shift_remove("pagination");
        let fields = manifest.pointer_mut("/connection_schema/properties").unwrap().as_object_mut().unwrap();
        let text = json!({"type": "string"});
        fields.extend([
            ("host".to_owned(), json!({"type": "string", "x-endpoint": {"port": "port", "default_port": 5432}})),
            ("user".into(), text.clone()),
            ("password".into(), json!({"type": "string", "writeOnly": true})),
            ("database".into(), text.clone()),
            ("tls".into(), json!({"enum": ["prefer", "require"]})),
            ("url".into(), json!({"type": "string", "writeOnly": true, "x-url": {
                "schemes": {"postgres": {}, "postgress": {"tls": "require"}},
                "host": "host", "port": "port", "user": "user", "password": "password", "path": "database",
                "query": {"sslmode": "tls"},
            }})),
            ("seeds".into(), json!({"type": "string", "x-url": {
                "schemes": {"mongodb": {}, "mongodb+srv": {}}, "srv": {"mongodb+srv": "database"}, "hosts": "keys"}})),
        ]);
    }
    serde_json::from_value::<Manifest>(manifest).unwrap().validated().unwrap()
}

pub(crate) fn env(name: &str) -> Option<String> {
    let value = match name {
        "GITHUB_TOKEN" => "s3cr3t-t0ken",
        "DIGITS" => "123456",
        "PORT" => "8443",
        "HALF" => "0.5",
        "YES" => "true",
        "TRAP" => "${GITHUB_TOKEN}",
        "DATABASE_URL" => "postgres://app:s3cr3t%2Ft0ken@db.example.com/orders",
        _ => return None,
    };
    Some(value.to_owned())
}

pub(crate) fn read_in(
    text: &str,
    format: Format,
    secrets: SecretsMode,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Document> {
    let connectors: Vec<ConnectorName> = ["http", "postgres"].map(|name| name.parse().unwrap()).into();
    let known = |name: &ConnectorName| connectors.contains(name).then(|| Arc::new(manifest(name.as_str())));
    read_text(
        "c.yaml",
        text,
        format,
        &Context { env, manifest: &known, connectors: &connectors, secrets, made_of: &|_, _| Ok(()) },
    )
}

/// Reads YAML that is right.
pub(crate) fn read(text: &str) -> Document {
    read_in(text, Format::Yaml, SecretsMode::Seal, &env).unwrap()
}

/// Reads a text that is wrong.
pub(crate) fn refused(text: &str, format: Format) -> Error {
    read_in(text, format, SecretsMode::Seal, &env).unwrap_err()
}

/// Every mistake of YAML, as `line:column message`.
pub(crate) fn mistakes(text: &str) -> Vec<String> {
    let error = refused(text, Format::Yaml);
    let show = |place: &str, message: &str| format!("{} {message}", place.trim_start_matches("c.yaml:"));
    match error.details.as_ref().and_then(|details| details.get("problems")) {
        Some(Value::Array(list)) => list
            .iter()
            .map(|p| show(p["place"].as_str().unwrap_or("?"), p["message"].as_str().unwrap()))
            .collect(),
        _ => vec![show(&error.place.as_ref().map(Place::to_string).unwrap_or_default(), &error.message)],
    }
}
