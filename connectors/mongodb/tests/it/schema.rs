//! What the schemas say: mistakes of a file that are found when it is read.

use jsonschema::Validator;
use openact_connector::{Capability, Effect, testing::describe};
use openact_mongodb::{MongoDb, config::Connection};
use serde_json::{Value, json};

fn schema(text: &str) -> Validator {
    let schema: Value = serde_json::from_str(text).unwrap();
    jsonschema::draft202012::new(&schema).unwrap()
}

#[test]
fn the_manifest() {
    let manifest = describe::<MongoDb>();
    assert_eq!((manifest.name.as_str(), manifest.default_operation.as_str()), ("mongodb", "find"));
    assert_eq!(manifest.needs, [Capability::Sockets, Capability::Emit]);
    let schema: Value = serde_json::from_str(&manifest.connection_schema).unwrap();
    let properties = &schema["properties"];
    assert_eq!(properties["host"]["x-endpoint"], json!({"port": "port", "default_port": 27017}));
    assert_eq!(properties["hosts"]["items"]["x-endpoint"], json!({"default_port": 27017}));
    assert_eq!(properties["password"]["writeOnly"], json!(true));
    let url = &properties["url"]["x-url"];
    for field in url["query"].as_object().unwrap().values().chain([&url["hosts"], &url["path"]]) {
        assert!(properties.get(field.as_str().unwrap()).is_some(), "{field}");
    }
    for operation in manifest.operations {
        let reads =
            ["find", "aggregate", "count", "distinct", "list-collections"].contains(&operation.name.as_str());
        assert_eq!(
            (operation.effect == Effect::Read, operation.idempotent),
            (reads, reads),
            "{}",
            operation.name
        );
    }
}

#[test]
fn connections() {
    let schema = schema(&describe::<MongoDb>().connection_schema);
    for connection in [
        json!({"host": "h", "port": 1, "user": "u", "password": "p", "database": "d", "tls": true}),
        json!({"hosts": ["a:1", "b"], "tls": "false", "read_preference": "secondary_preferred", "write_concern": 2}),
        json!({"hosts": ["a"], "read_preference": "secondaryPreferred", "auth_mechanism": "SCRAM-SHA-1", "write_concern": "majority", "replica_set": "rs0"}),
        json!({"host": "h", "direct_connection": true, "retry_writes": true, "allow": ["ping"], "deny": ["drop"]}),
    ] {
        assert!(schema.is_valid(&connection), "{connection}");
        assert!(serde_json::from_value::<Connection>(connection).is_ok());
    }
    for connection in [
        json!({"host": "h", "port": 70_000}),
        json!({"hosts": [1]}),
        json!({"host": "h", "tls": "maybe"}),
        json!({"host": "h", "write_concern": 0}),
        json!({"host": "h", "auth_mechanism": "PLAIN"}),
        json!({"host": "h", "databse": 1}),
    ] {
        assert!(!schema.is_valid(&connection), "{connection}");
        assert!(serde_json::from_value::<Connection>(connection).is_err());
    }
    let endpoints = |connection: Value| serde_json::from_value::<Connection>(connection).unwrap().endpoints();
    let named: Vec<_> = endpoints(json!({"hosts": ["a:1", "b", "[::1]:5", "[::1]"]})).unwrap();
    let named: Vec<_> = named.iter().map(|endpoint| (endpoint.host.as_str(), endpoint.port)).collect();
    assert_eq!(named, [("a", 1), ("b", 27017), ("::1", 5), ("::1", 27017)]);
    for connection in [
        json!({}),
        json!({"hosts": ["/tmp/mongodb.sock"]}),
        json!({"hosts": ["a:0"]}),
        json!({"hosts": ["a:b"]}),
        json!({"hosts": [""]}),
        json!({"hosts": ["a", "b"], "direct_connection": true}),
        json!({"hosts": ["a"], "load_balanced": true}),
        json!({"srv_host": "c.example.com"}),
    ] {
        assert!(endpoints(connection.clone()).is_err(), "{connection}");
    }
}

#[test]
fn actions() {
    let operations = describe::<MongoDb>().operations;
    let of = |name: &str| {
        schema(&operations.iter().find(|operation| operation.name == name).unwrap().action_schema)
    };
    for (operation, action, fits) in [
        ("find", json!({"collection": "c", "filter": {"a": 1}, "limit": "{{n}}", "hint": "by_name"}), true),
        ("find", json!({"collection": "c", "filter": "{{filter}}"}), true),
        ("find", json!({"collection": "c", "filter": "name = 1"}), false),
        ("find", json!({"collection": "c", "limit": -1}), false),
        ("find", json!({"filter": {}}), false),
        ("find", json!({"collection": "c", "filtr": {}}), false),
        ("aggregate", json!({"pipeline": [{"$listLocalSessions": {}}]}), true),
        ("aggregate", json!({"pipeline": {}}), false),
        ("insert", json!({"collection": "c", "documents": "{{all}}"}), true),
        ("insert", json!({"collection": "c"}), false),
        ("insert", json!({"collection": "c", "document": {}, "documents": []}), false),
        ("update", json!({"collection": "c", "filter": {}, "update": [{"$set": {}}]}), true),
        ("update", json!({"collection": "c", "update": {}}), false),
        ("delete", json!({"collection": "c"}), false),
        ("delete", json!({"collection": "c", "filter": {}, "multi": true}), true),
        ("distinct", json!({"collection": "c", "field": ""}), false),
        ("run-command", json!({"command": {"ping": 1}, "deny": ["drop"]}), true),
        ("run-command", json!({}), false),
        ("list-collections", json!({}), true),
    ] {
        assert_eq!(of(operation).is_valid(&action), fits, "{operation} {action}");
    }
}
