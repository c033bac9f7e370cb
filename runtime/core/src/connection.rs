//! A connection: where and as whom. Its configuration is the connector's own fields and the sections the host owns.
//!
//! Invariant: what the guest sees ([`ConnectionParts::guest`]) holds no host-owned section and no secret.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    ConnectionTrn, Error, JsonObject, Result, Timestamp,
    limits::LimitOverrides,
    manifest::Manifest,
    policy::{EgressGrants, Origin},
    schema::SchemaView,
    secret::visit_secrets,
};

/// One stored version of a connection.
#[derive(Clone, Debug, PartialEq)]
pub struct ConnectionRecord {
    /// Its identity.
    pub trn: ConnectionTrn,
    /// Its configuration; secrets only as references.
    pub config: JsonObject,
    /// When this version was made.
    pub created_at: Timestamp,
    /// When this row was last written.
    pub updated_at: Timestamp,
}

/// `timeout: {connect_ms, read_ms, total_ms}`; what is absent keeps its default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    /// To connect, TLS included; 10,000.
    pub connect_ms: Option<u64>,
    /// Longest silence while a response arrives; 30,000.
    pub read_ms: Option<u64>,
    /// The whole call; 60,000.
    pub total_ms: Option<u64>,
}

/// `network`: how and where to besides the connection's own URL.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Network {
    /// Further origins the connector may reach.
    pub allowed_hosts: Vec<String>,
}

/// A connection's configuration, taken apart.
#[derive(Clone, Debug, Default)]
pub struct ConnectionParts {
    /// What the connector is given: its own fields, without secrets.
    pub guest: JsonObject,
    /// `authorization`, with secrets as references.
    pub authorization: JsonObject,
    /// `defaults`: merged under every action.
    pub defaults: JsonObject,
    /// `timeout`, with `timeout_ms` as its total.
    pub timeout: Timeouts,
    /// `limits`
    pub limits: LimitOverrides,
    /// What it may reach.
    pub egress: EgressGrants,
    /// The origin a credential is bound to: that of the first URL in the connector's own fields.
    pub credential_origin: Option<Origin>,
}

/// Keys of a connection that belong to the host.
const HOST_SECTIONS: &[&str] =
    &["description", "authorization", "defaults", "timeout", "timeout_ms", "limits", "network"];

impl ConnectionParts {
    /// Takes `config` apart for the connector that `manifest` describes.
    pub fn of(config: &JsonObject, manifest: &Manifest) -> Result<Self> {
        let mut guest = config.clone();
        let mut host: JsonObject = HOST_SECTIONS
            .iter()
            .filter_map(|key| Some(((*key).to_owned(), guest.shift_remove(*key)?)))
            .collect();
        let network: Network = section(&mut host, "network")?;
        let mut timeout: Timeouts = section(&mut host, "timeout")?;
        if let Some(total) = host.get("timeout_ms").and_then(Value::as_u64) {
            timeout.total_ms = Some(timeout.total_ms.unwrap_or(total));
        }
        let view = SchemaView::new(&manifest.connection_schema);
        let mut origins = Vec::new();
        collect_origins(&Value::Object(guest.clone()), &manifest.connection_schema, &mut origins)?;
        let credential_origin = origins.first().cloned();
        for text in &network.allowed_hosts {
            origins.push(Origin::parse_grant(text)?);
        }
        visit_secrets(&mut guest, &view, &mut |_, value| *value = Value::Null);
        guest.retain(|_, value| !value.is_null());
        Ok(Self {
            guest,
            authorization: section(&mut host, "authorization")?,
            defaults: section(&mut host, "defaults")?,
            timeout,
            limits: section(&mut host, "limits")?,
            egress: EgressGrants::new(origins),
            credential_origin,
        })
    }
}

pub(crate) fn section<T: serde::de::DeserializeOwned + Default>(
    object: &mut JsonObject,
    key: &str,
) -> Result<T> {
    match object.shift_remove(key) {
        None | Some(Value::Null) => Ok(T::default()),
        // The value may hold a secret, so serde's message, which can quote it, stays in the cause.
        Some(value) => serde_json::from_value(value).map_err(|error| {
            Error::invalid_config(format!("'{key}' has a wrong field or type")).because(error)
        }),
    }
}

/// Every URL at a place of format "uri" names an origin the operator chose to talk to.
fn collect_origins(value: &Value, schema: &Value, origins: &mut Vec<Origin>) -> Result<()> {
    fn walk(value: &Value, view: &SchemaView<'_>, origins: &mut Vec<Origin>) -> Result<()> {
        match value {
            Value::String(text) if view.has_format("uri") => {
                // The text may hold a password, so no message quotes it.
                let url = url::Url::parse(text).map_err(|error| {
                    Error::invalid_config(format!("a URL of the connection is malformed: {error}"))
                })?;
                let origin = Origin::of(&url).ok_or_else(|| {
                    Error::invalid_config("a URL of the connection is not an http or https URL with a host")
                })?;
                if !url.username().is_empty() || url.password().is_some() {
                    return Err(Error::invalid_config(
                        "a URL of a connection must not hold a user name or password",
                    )
                    .hint("use authorization: { type: basic, username: …, password: … }"));
                }
                origins.push(origin);
            }
            Value::Object(object) => {
                for (key, value) in object {
                    if let Some(child) = view.property(key) {
                        walk(value, &child, origins)?;
                    }
                }
            }
            Value::Array(items) => {
                if let Some(child) = view.item() {
                    for item in items {
                        walk(item, &child, origins)?;
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
    walk(value, &SchemaView::new(schema), origins)
}

/// The JSON Schema of a whole connection: the connector's own fields and the host's sections, closed.
pub fn connection_schema(manifest: &Manifest) -> Value {
    extend_schema(&manifest.connection_schema, host_properties())
}

/// Adds `properties` to an object schema and closes it against unknown keys.
pub(crate) fn extend_schema(schema: &Value, properties: Value) -> Value {
    let mut schema = schema.clone();
    if let (Value::Object(schema), Value::Object(more)) = (&mut schema, properties) {
        let own = schema.entry("properties").or_insert_with(|| json!({}));
        if let Value::Object(own) = own {
            own.extend(more);
        }
        schema.insert("additionalProperties".into(), Value::Bool(false));
    }
    schema
}

pub(crate) fn timeout_properties() -> Value {
    json!({
        "timeout": {
            "type": "object", "additionalProperties": false,
            "description": "connect, read (idle) and total, milliseconds",
            "properties": {
                "connect_ms": {"type": "integer", "minimum": 1}, "read_ms": {"type": "integer", "minimum": 1},
                "total_ms": {"type": "integer", "minimum": 1, "maximum": 3_600_000},
            },
        },
        "timeout_ms": {"type": "integer", "minimum": 1, "maximum": 3_600_000, "description": "the same as timeout.total_ms"},
    })
}

pub(crate) fn limit_properties() -> Value {
    let max = crate::limits::CallLimits::MAX;
    let fields = [
        ("memory_bytes", max.memory_bytes),
        ("cpu_ms", max.cpu_ms),
        ("timeout_ms", max.wall_ms),
        ("host_calls", max.host_calls),
        ("max_bytes", max.output_bytes),
        ("response_bytes", max.response_bytes),
        ("request_bytes", max.request_bytes),
    ];
    let property = |(field, max): (&str, u64)| {
        (field.to_owned(), json!({"type": "integer", "minimum": 1, "maximum": max}))
    };
    let properties: JsonObject = fields.into_iter().map(property).collect();
    json!({"limits": {"type": "object", "additionalProperties": false, "properties": properties}})
}

/// Schemas of the sections every connection may carry.
fn host_properties() -> Value {
    let secret = json!({"type": ["string", "object"], "writeOnly": true});
    let text = json!({"type": "string", "minLength": 1});
    let when = |kind: &str, required: &[&str]| json!({"if": {"properties": {"type": {"const": kind}}}, "then": {"required": required}});
    let mut properties = json!({
        "description": {"type": "string"},
        "authorization": {
            "type": "object", "x-aliases": ["auth"], "required": ["type"], "additionalProperties": false,
            "description": "the credential; the host applies it, the connector never sees it",
            "properties": {
                "type": {"enum": ["none", "bearer", "api_key", "basic"]},
                "token": secret, "value": secret, "username": text, "password": secret,
                "header": text, "query": text, "cookie": text, "prefix": {"type": "string"},
            },
            "allOf": [when("bearer", &["token"]), when("api_key", &["value"]), when("basic", &["username", "password"])],
        },
        "defaults": {"type": "object", "description": "merged under every action of this connection"},
        "network": {
            "type": "object", "additionalProperties": false,
            "properties": {"allowed_hosts": {"type": "array", "items": {"type": "string"},
                "description": "further origins the connector may reach, such as https://uploads.example.com"}},
        },
    });
    if let Value::Object(properties) = &mut properties {
        for more in [timeout_properties(), limit_properties()] {
            if let Value::Object(more) = more {
                properties.extend(more);
            }
        }
    }
    properties
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ErrorCode, limits::CallLimits, schema::Schema};

    #[test]
    fn a_limit_above_the_highest_is_refused_not_lowered() {
        let schema = extend_schema(&json!({"type": "object"}), limit_properties());
        let schema = Schema::compile(&schema, "it").unwrap();
        let fits = |bytes: u64| schema.accepts(&json!({"limits": {"memory_bytes": bytes}}));
        assert!(fits(CallLimits::MAX.memory_bytes));
        assert!(!fits(CallLimits::MAX.memory_bytes + 1));
    }

    #[test]
    fn a_url_with_a_password_is_refused_without_being_quoted() {
        let manifest: Manifest = serde_json::from_value(json!({
            "name": "it", "version": "1", "summary": "", "operations": [], "default_operation": "", "needs": [],
            "connection_schema": {"properties": {"base_url": {"format": "uri"}}},
        }))
        .unwrap();
        for url in
            ["https://u:hunter2@example.com", "https://u:hunter2@example.com:99999", "ftp://u:hunter2@x"]
        {
            let config = json!({"base_url": url});
            let error = ConnectionParts::of(config.as_object().unwrap(), &manifest).unwrap_err();
            assert_eq!(error.code, ErrorCode::InvalidConfig, "{url}");
            assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        }
    }
}
