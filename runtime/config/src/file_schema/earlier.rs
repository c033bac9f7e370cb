//! The earlier spellings that are no plain renames, as [`crate::legacy`] reads them. They are marked `deprecated`, so that
//! an editor strikes them through and does not offer them first.
//!
//! Invariant: nothing that a connector declares itself is changed.

use serde_json::{Value, json};

use crate::{connector::Connector, legacy::AUTHORIZATION_WORDS};

/// Fields of actions that could stand on a connection.
const OF_DEFAULTS: &[&str] = &["headers", "query", "query_params", "cookies", "response_policy"];
/// What belonged to the word and stood beside it.
const SECRETS_BESIDE: &[&str] = &["token", "api_key", "api_key_value", "password", "client_secret"];
const TEXTS_BESIDE: &[&str] = &[
    "api_key_name",
    "header_name",
    "prefix",
    "username",
    "client_id",
    "token_url",
    "scope",
    "scopes",
    "auth_url",
    "authorization_url",
    "redirect_uri",
    "callback_url",
    "provider",
];

/// What a connection could hold.
pub(super) fn connection(schema: &mut Value, connector: &Connector) {
    shared(schema);
    authorization(schema);
    for name in SECRETS_BESIDE {
        add(schema, name, json!({"type": "string", "writeOnly": true, "deprecated": true}));
    }
    for name in TEXTS_BESIDE {
        add(schema, name, json!({"type": ["string", "array"], "deprecated": true}));
    }
    let object = json!({"type": "object", "deprecated": true});
    let list = json!({"type": "array", "items": {"type": "object", "required": ["key", "value"]}});
    add(schema, "use_pkce", json!({"type": "boolean", "deprecated": true}));
    add(schema, "auth_parameters", object.clone());
    add(schema, "oauth_parameters", object.clone());
    add(schema, "authflow", object);
    add(
        schema,
        "invocation_http_parameters",
        json!({"type": "object", "additionalProperties": false, "deprecated": true, "properties": {
            "header_parameters": list, "query_string_parameters": list, "body_parameters": list}}),
    );
    add(schema, "verify_ssl", json!({"type": "boolean", "deprecated": true}));
    add(schema, "proxy", json!({"type": ["string", "object"], "deprecated": true}));
    add(schema, "proxy_url", json!({"type": "string", "deprecated": true}));
    let known = connector.operation_of_defaults(&Default::default());
    for name in OF_DEFAULTS {
        let view = known.map(|operation| openact_core::schema::SchemaView::new(&operation.config_schema));
        if view.is_some_and(|view| view.property(name).is_some() || view.canonical_name(name).is_some()) {
            add(schema, name, json!({"type": "object", "deprecated": true}));
        }
    }
}

fn authorization(schema: &mut Value) {
    let Some(section) = schema.pointer_mut("/properties/authorization") else { return };
    if let Some(Value::Array(kinds)) = section.pointer_mut("/properties/type/enum") {
        let earlier = AUTHORIZATION_WORDS.iter().map(|word| json!(word));
        let more: Vec<Value> = earlier.filter(|word| !kinds.contains(word)).collect();
        kinds.extend(more);
    }
    // As an object of an earlier kind it may hold what stood beside the word.
    for name in SECRETS_BESIDE.iter().chain(TEXTS_BESIDE).chain(&["use_pkce", "name"]) {
        add(section, name, json!({"deprecated": true}));
    }
    let object = section.take();
    let description = object.get("description").cloned();
    *section = json!({
        "description": description, "x-aliases": ["auth"],
        "anyOf": [object, {"enum": AUTHORIZATION_WORDS, "deprecated": true}],
    });
}

/// What connections, their defaults and actions could hold.
pub(super) fn shared(schema: &mut Value) {
    let (any, flag) = (json!({"deprecated": true}), json!({"type": "boolean", "deprecated": true}));
    let section = |schema: &mut Value, name: &str, change: &dyn Fn(&mut Value)| {
        if let Some(section) = schema.pointer_mut(&format!("/properties/{name}")) {
            change(section);
        }
    };
    section(schema, "timeout", &|timeout| {
        set(timeout, "type", json!(["object", "number"]));
        set(timeout, "exclusiveMinimum", 0.into());
    });
    add(schema, "timeout_seconds", json!({"type": "number", "exclusiveMinimum": 0, "deprecated": true}));
    let rows = json!({"type": "integer", "minimum": 1, "deprecated": true});
    section(schema, "limits", &|limits| add(limits, "max_rows", rows.clone()));
    section(schema, "http_policy", &|policy| add(policy, "follow_redirects", flag.clone()));
    section(schema, "network", &|network| {
        add(network, "verify_ssl", flag.clone());
        add(network, "verify_peer", flag.clone());
        for pem in ["ca", "client_cert", "client_key"] {
            if let Some(field) = network.pointer_mut(&format!("/properties/tls/properties/{pem}")) {
                set(field, "type", json!(["string", "object", "array"]));
            }
        }
    });
    if schema.pointer("/properties/response").is_some() {
        add(schema, "expected_status", any.clone());
        add(schema, "response_format", json!({"type": "string", "deprecated": true}));
        section(schema, "response", &|response| {
            add(response, "success_status", any.clone());
            add(response, "transform_response", json!({"type": "null", "deprecated": true}));
        });
    }
}

/// Sets a keyword of a schema.
pub(super) fn set(schema: &mut Value, keyword: &str, value: Value) {
    if let Some(schema) = schema.as_object_mut() {
        schema.insert(keyword.to_owned(), value);
    }
}

/// Adds a property to an object schema that does not declare it.
fn add(schema: &mut Value, name: &str, property: Value) {
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        properties.entry(name).or_insert(property);
    }
}
