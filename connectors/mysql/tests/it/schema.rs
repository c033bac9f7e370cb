//! What the connector says about itself.

use openact_connector::testing::{FakeHost, Invoke, Script, describe};
use openact_mysql::Mysql;
use serde_json::{Value, json};

use crate::{IDLE, NONCE, answer, ok, packet};

fn accepts(schema: &str, value: &Value) -> bool {
    jsonschema::validator_for(&serde_json::from_str(schema).unwrap()).unwrap().is_valid(value)
}

#[test]
fn connections_old_and_new() {
    let manifest = describe::<Mysql>();
    let connection = &manifest.connection_schema;
    for good in [
        json!({"host": "h", "user": "u"}),
        json!({"host": "h", "port": 3307, "user": "u", "database": "d", "tls": "verify-full"}),
        json!({"host": "h", "user": "u", "tls": "VERIFY_IDENTITY"}),
        json!({"host": "h", "user": "u", "settings": {"time_zone": "+00:00", "max_execution_time": 5, "x": true}}),
    ] {
        assert!(accepts(connection, &good), "{good}");
    }
    for bad in [
        json!({"host": "h"}),
        json!({"host": "h", "user": "u", "tls": "maybe"}),
        json!({"host": "h", "user": "u", "x": 1}),
    ] {
        assert!(!accepts(connection, &bad), "{bad}");
    }
    let schema: Value = serde_json::from_str(connection).unwrap();
    assert_eq!(schema["properties"]["host"]["x-endpoint"], json!({"port": "port", "default_port": 3306}));
    assert_eq!(schema["properties"]["password"]["writeOnly"], true);
    assert_eq!(schema["properties"]["url"]["x-url"]["query"]["ssl-mode"], "tls");
    assert_eq!((manifest.name.as_str(), manifest.default_operation.as_str()), ("mysql", "query"));
    let names: Vec<&str> = manifest.operations.iter().map(|operation| operation.name.as_str()).collect();
    assert_eq!(names, ["query", "transaction", "execute", "list-tables"]);
}

#[test]
fn actions_old_and_new() {
    let manifest = describe::<Mysql>();
    let query = &manifest.operations[0].action_schema;
    let parameters = json!([{"name": "id", "type": "integer", "required": true}]);
    assert!(accepts(
        query,
        &json!({"statement": "SELECT ?", "parameters": parameters, "read_only": true, "max_rows": 5})
    ));
    for bad in [
        json!({}),
        json!({"statement": ""}),
        json!({"statement": "x", "max_rows": 0}),
        json!({"statement": "x", "y": 1}),
    ] {
        assert!(!accepts(query, &bad), "{bad}");
    }
    let transaction = &manifest.operations[1].action_schema;
    let parted = json!({"statements": ["a", {"statement": "b", "parameters": parameters}], "isolation": "read_committed"});
    assert!(accepts(transaction, &parted));
    assert!(!accepts(transaction, &json!({"statements": []})));
}

#[test]
fn settings_are_no_way_into_a_statement() {
    let with = |settings: Value| {
        let script = Script::new()
            .answer(crate::greeting("8.4.0", "caching_sha2_password", crate::PLAIN))
            .login("caching_sha2_password", &[(NONCE, b"scramble")])
            .expect_anything()
            .answer(packet(2, &ok(IDLE)))
            .expect_anything()
            .answer([crate::setup_answer(), answer(&[crate::error(1064, "enough")])].concat())
            .end();
        let host = FakeHost::new().socket(script);
        let connection = json!({"host": "h", "user": "u", "settings": settings});
        let action = json!({"statement": "SELECT 1"});
        let result = Invoke { operation: "query", connection, action, input: json!(null), dry_run: false }
            .on::<Mysql>(&host);
        (result.unwrap_err(), host.written().concat())
    };
    let (_, written) = with(json!({"time_zone": "+00:00", "foreign_key_checks": false, "wait_timeout": 9}));
    let text = String::from_utf8_lossy(&written).into_owned();
    let set = "@@SESSION.foreign_key_checks = 0, @@SESSION.time_zone = '+00:00', @@SESSION.wait_timeout = 9";
    assert!(text.contains(set), "{text}");
    for bad in [
        json!({"a b": 1}),
        json!({"": 1}),
        json!({"a": "'"}),
        json!({"a": "\\"}),
        json!({"a": "\n"}),
        json!({"autocommit": 0}),
        json!({"SQL_Select_Limit": 1}),
        json!({"a;b": 1}),
    ] {
        let (failure, written) = with(bad.clone());
        assert!(matches!(failure, openact_connector::Failure::InvalidConfig(_)), "{bad}: {failure:?}");
        assert!(written.is_empty());
    }
}
