//! What the schemas take: files of today, and of earlier versions.

use jsonschema::Validator;
use openact_connector::testing::describe;
use openact_postgres::Postgres;
use serde_json::{Value, json};

fn connection() -> Validator {
    let schema: Value = serde_json::from_str(&describe::<Postgres>().connection_schema).unwrap();
    jsonschema::draft202012::new(&schema).unwrap()
}

fn action(operation: &str) -> Validator {
    let operations = describe::<Postgres>().operations;
    let operation = operations.into_iter().find(|other| other.name == operation).unwrap();
    jsonschema::draft202012::new(&serde_json::from_str(&operation.action_schema).unwrap()).unwrap()
}

#[test]
fn connections() {
    for (valid, value) in [
        (true, json!({"host": "h", "user": "u"})),
        (
            true,
            json!({"host": "h", "port": 5432, "user": "u", "password": null, "database": "d", "max_connections": 5}),
        ),
        (
            true,
            json!({"host": "h", "user": "u", "tls": "verify-full", "settings": {"a": 1, "b": "x", "c": true}}),
        ),
        (true, json!({"host": "h", "user": "u", "application_name": "x", "connect_timeout_seconds": 10})),
        (false, json!({"host": "h"})),
        (false, json!({"host": "h", "user": "u", "tls": "maybe"})),
        (false, json!({"host": "h", "user": "u", "port": 70_000})),
        (false, json!({"host": "h", "user": "u", "tables": []})),
    ] {
        assert_eq!(connection().is_valid(&value), valid, "{value}");
    }
    let schema: Value = serde_json::from_str(&describe::<Postgres>().connection_schema).unwrap();
    for (name, alias) in
        [("user", "username"), ("tls", "sslmode"), ("tls", "ssl_mode"), ("settings", "query_params")]
    {
        let aliases = schema["properties"][name]["x-aliases"].as_array().unwrap();
        assert!(aliases.contains(&alias.into()), "{name}");
    }
    for secret in ["password", "url"] {
        assert_eq!(schema["properties"][secret]["writeOnly"], true);
    }
    assert_eq!(schema["properties"]["host"]["x-endpoint"], json!({"port": "port", "default_port": 5432}));
}

#[test]
fn actions() {
    let parameter = json!({"name": "id", "type": "integer", "required": true, "description": "d", "nullable": false,
        "enum": [1], "format": "x", "pattern": "y", "minLength": 1, "maxLength": 2, "minimum": 0, "maximum": 9,
        "items": {}, "properties": {}, "schema": {}, "default": 3});
    for (operation, valid, value) in [
        ("query", true, json!({"statement": "SELECT 1", "parameters": [parameter], "read_only": true})),
        (
            "query",
            true,
            json!({"statement": "SELECT 1", "max_rows": 5, "max_bytes": 9, "stream": true, "fetch_rows": 3}),
        ),
        ("query", false, json!({"parameters": []})),
        ("query", false, json!({"statement": "SELECT 1", "max_rows": 0})),
        ("query", false, json!({"statement": "SELECT 1", "parameters": [{"nam": "x"}]})),
        ("query", false, json!({"statement": "SELECT 1", "statements": []})),
        (
            "transaction",
            true,
            json!({"statements": ["A", {"statement": "B", "parameters": [{"name": "x"}]}]}),
        ),
        ("transaction", true, json!({"statements": ["A"], "isolation": "serializable", "read_only": true})),
        ("transaction", false, json!({"statements": []})),
        ("transaction", false, json!({"statements": [{"parameters": []}]})),
        ("transaction", false, json!({"statements": [7]})),
        ("transaction", false, json!({"statements": ["A"], "isolation": "chaos"})),
        ("execute", true, json!({"read_only": true})),
        ("execute", false, json!({"statement": "SELECT 1"})),
        ("list-tables", true, json!({"schema": "public"})),
    ] {
        assert_eq!(action(operation).is_valid(&value), valid, "{operation} {value}");
    }
}
