//! What the schemas say: mistakes of a file that are found when it is read.

use jsonschema::Validator;
use openact_connector::{Capability, testing::describe};
use openact_redis::Redis;
use serde_json::{Value, json};

fn schema(text: &str) -> Validator {
    let schema: Value = serde_json::from_str(text).unwrap();
    jsonschema::draft202012::new(&schema).unwrap()
}

#[test]
fn the_manifest() {
    let manifest = describe::<Redis>();
    assert_eq!((manifest.name.as_str(), manifest.default_operation.as_str()), ("redis", "command"));
    assert_eq!(manifest.needs, [Capability::Sockets, Capability::Emit]);
    let schema: Value = serde_json::from_str(&manifest.connection_schema).unwrap();
    let properties = &schema["properties"];
    assert_eq!(schema["required"], json!(["host"]));
    assert_eq!(properties["host"]["x-endpoint"], json!({"port": "port", "default_port": 6379}));
    assert_eq!(properties["password"]["writeOnly"], json!(true));
    assert_eq!(properties["url"]["x-url"]["schemes"]["rediss"], json!({"tls": "require"}));
    for (field, aliases) in [("user", json!(["username"])), ("database", json!(["db"]))] {
        assert_eq!(properties[field]["x-aliases"], aliases, "{field}");
    }
    // What the URL sets is there.
    for field in ["host", "port", "user", "password", "database", "tls", "protocol"] {
        assert!(properties.get(field).is_some(), "{field}");
    }
}

#[test]
fn connections() {
    let schema = schema(&describe::<Redis>().connection_schema);
    for more in [
        json!({}),
        json!({"port": 6380, "user": "u", "password": "p", "database": 3, "tls": "require", "protocol": 2}),
        json!({"database": "3", "tls": "verify-full", "protocol": "auto", "allow": ["GET"], "deny": ["DEBUG"]}),
    ] {
        let mut connection = json!({"host": "h"});
        connection.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        assert!(schema.is_valid(&connection), "{connection}");
        assert!(serde_json::from_value::<openact_redis::config::Connection>(connection).is_ok());
    }
    for connection in [
        json!({}),
        json!({"host": "h", "port": 70_000}),
        json!({"host": "h", "database": -1}),
        json!({"host": "h", "database": "x"}),
        json!({"host": "h", "tls": "maybe"}),
        json!({"host": "h", "protocol": 4}),
        json!({"host": "h", "databse": 1}),
    ] {
        assert!(!schema.is_valid(&connection), "{connection}");
        assert!(serde_json::from_value::<openact_redis::config::Connection>(connection).is_err());
    }
}

#[test]
fn actions() {
    let operations = describe::<Redis>().operations;
    let command = schema(&operations[0].action_schema);
    for action in [
        json!({"command": ["GET", "{{key}}", 1, true, ["EX", 5], {"base64": "AA=="}]}),
        json!({"pipeline": [["GET", "a"], ["GET", "b"]], "transaction": true}),
        json!({"script": "return 1", "keys": ["k"], "args": [1], "allow": ["EVAL"], "deny": []}),
    ] {
        assert!(command.is_valid(&action), "{action}");
    }
    for action in [
        json!({}),
        json!({"command": "GET k"}),
        json!({"command": []}),
        json!({"command": [null]}),
        json!({"command": ["GET", {"x": 1}]}),
        json!({"pipeline": ["GET"]}),
        json!({"pipeline": []}),
        json!({"command": ["GET", "k"], "script": "return 1"}),
        json!({"comand": ["GET"]}),
    ] {
        assert!(!command.is_valid(&action), "{action}");
    }
    let scan = schema(&operations[1].action_schema);
    assert!(scan.is_valid(
        &json!({"scan": "zset", "key": "k", "match": "*", "count": 5, "limit": 1, "stream": true})
    ));
    for action in [json!({"scan": "list"}), json!({"count": 0}), json!({"limit": 0}), json!({"keys": "x"})] {
        assert!(!scan.is_valid(&action), "{action}");
    }
}
