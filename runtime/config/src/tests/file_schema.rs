//! The schema for editors: every file that loads fits it, and what is wrong at a glance does not.

use std::sync::Arc;

use openact_core::schema::Schema;
use serde_json::{Value, json};

use super::{FLAT, SEED};
use crate::{file_schema, fixture::manifest};

fn schema() -> Value {
    file_schema(&[Arc::new(manifest("http")), Arc::new(manifest("postgres"))]).unwrap()
}

fn compiled() -> Schema {
    Schema::compile(&schema(), "the schema of files").unwrap()
}

fn value(text: &str) -> Value {
    serde_yaml::from_str(text).unwrap()
}

/// The cases of a table of earlier spellings, each as a file.
fn earlier(text: &str, file: impl Fn(Value) -> Value) -> Vec<Value> {
    let cases: Vec<Value> = serde_yaml::from_str(text).unwrap();
    cases.iter().map(|case| file(value(case["written"].as_str().unwrap()))).collect()
}

#[test]
fn every_file_that_loads_fits() {
    let schema = compiled();
    let connection = |mut fields: Value| {
        fields["kind"] = "http".into();
        fields["base_url"] = "https://h".into();
        json!({"connections": {"c": fields}})
    };
    let action = |mut fields: Value| {
        fields["connection"] = "c".into();
        json!({"actions": {"a": fields}})
    };
    let mut files: Vec<Value> = [
        SEED,
        FLAT,
        include_str!("earlier/files/example-config.yaml"),
        include_str!("earlier/files/test-config.yaml"),
        include_str!("earlier/files/http.yaml"),
        include_str!("earlier/files/docs-http.yaml"),
        include_str!("earlier/files/spec.yaml"),
        include_str!("earlier/files/every-field.yaml"),
        "{}",
        "$schema: x\nconnectors:\n",
        "connections:\nactions: { a: { connection: c, method: \"${M}\", timeout_ms: \"${T}\", path: null } }\n",
        "connections: { c: { kind: pg, config: { base_url: h, port: \"${PORT:1}\", verify: \"${V}\" } } }\n",
        "connections: [ { trn: x, base_url: h } ]\nactions: [ { name: a } ]\n",
    ]
    .map(value)
    .into();
    files.extend(earlier(include_str!("earlier/connections.yaml"), connection));
    files.extend(earlier(include_str!("earlier/actions.yaml"), action));
    for file in files {
        let found: Vec<_> =
            schema.mismatches(&file).into_iter().map(|m| format!("{}: {}", m.pointer, m.message)).collect();
        assert!(found.is_empty(), "{file:#}\n{found:#?}");
    }
}

#[test]
fn what_is_wrong_at_a_glance_does_not_fit() {
    let schema = compiled();
    let connection = |fields: &str| {
        value(&format!("connectors: {{ http: {{ connections: {{ c: {{ base_url: h, {fields} }} }} }} }}"))
    };
    let action = |fields: &str| {
        value(&format!("connectors: {{ http: {{ actions: {{ a: {{ connection: c, {fields} }} }} }} }}"))
    };
    for wrong in [
        value("connectorz: {}"),
        value("connectors: { htpp: {} }"),
        value("connectors: { http: { connection: {} } }"),
        value("connectors: {}\nconnections: {}"),
        value("version: 2"),
        value("connections: { c: { base_url: h } }"),
        value("connections: { c: { kind: http } }"),
        value("connections: { c: { kind: htpp, base_url: h } }"),
        value("connections: { 'a b': { kind: http, base_url: h } }"),
        value("connections: { c: { kind: http, base_url: h, prot: 1 } }"),
        value("actions: { a: { conection: c } }"),
        connection("prot: 1"),
        connection("kind: http"),
        connection("port: x"),
        connection("port: 70000"),
        connection("verify: 'true'"),
        connection("authorization: { type: beerer }"),
        connection("authorization: beerer"),
        connection("authorization: { type: bearer }"),
        connection("authorization: { type: bearer, token: { $evn: X } }"),
        connection("authorization: { type: bearer, token: 5 }"),
        connection("timeout: { conect_ms: 5 }"),
        connection("retry: { preset: often }"),
        connection("limits: { memory_bytes: 0 }"),
        connection("rate_limit: {}"),
        connection("defaults: { pathh: / }"),
        connection("network: { tls: { verfy: false } }"),
        action("methd: GET"),
        action("method: FETCH"),
        action("parameters: [ { type: string } ]"),
        action("parameters: [ { name: a, kind: string } ]"),
        action("mcp: { enabeld: true }"),
        action("mcp_enabled: 1"),
    ] {
        assert!(!schema.accepts(&wrong), "{wrong:#}");
    }
}

#[test]
fn a_field_has_what_an_editor_shows() {
    let schema = schema();
    let at = |pointer: &str| schema.pointer(pointer).unwrap_or_else(|| panic!("{pointer} in {schema:#}"));
    assert_eq!(at("/$schema"), "https://json-schema.org/draft/2020-12/schema");
    let described = |pointer: &str| at(&format!("{pointer}/description")).as_str().unwrap().to_owned();
    assert_eq!(
        described("/$defs/timeout/anyOf/0/properties/connect_ms"),
        "to connect, TLS included (default: 10000)"
    );
    assert_eq!(
        described("/$defs/http.connection/properties/timeout_config"),
        "an earlier spelling of timeout"
    );
    assert_eq!(at("/$defs/http.connection/properties/token/deprecated"), true);
    assert!(described("/$defs/mcp/anyOf/0/properties/tool_name").contains("name"));
    let token = at("/$defs/authorization/anyOf/0/anyOf/0/properties/token");
    assert_eq!((&token["writeOnly"], &token["anyOf"][0]["$ref"]), (&json!(true), &json!("#/$defs/secret")));
    assert_eq!(at("/$defs/http.connection/additionalProperties"), false);
    assert_eq!(at("/$defs/http.action.request/additionalProperties"), false);
}
