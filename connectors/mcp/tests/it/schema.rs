//! What the schemas say, and what is found wrong with arguments.

use jsonschema::Validator;
use openact_connector::{Capability, testing::describe};
use openact_mcp_connector::{Mcp, schema::misfit, tools::nearest};
use proptest::prelude::*;
use serde_json::{Value, json};

fn schema(text: &str) -> Validator {
    let schema: Value = serde_json::from_str(text).unwrap();
    jsonschema::draft202012::new(&schema).unwrap()
}

#[test]
fn the_manifest() {
    let manifest = describe::<Mcp>();
    assert_eq!((manifest.name.as_str(), manifest.default_operation.as_str()), ("mcp", "call-tool"));
    assert_eq!(manifest.needs, [Capability::Http, Capability::State, Capability::Emit]);
    let names: Vec<_> = manifest.operations.iter().map(|operation| operation.name.as_str()).collect();
    let expected =
        ["call-tool", "list-tools", "read-resource", "list-resources", "get-prompt", "list-prompts"];
    assert_eq!(names, expected);
    for operation in &manifest.operations {
        assert!(operation.overridable.is_empty(), "{}", operation.name);
        assert_eq!(operation.idempotent, operation.name != "call-tool");
    }
    let connection: Value = serde_json::from_str(&manifest.connection_schema).unwrap();
    assert_eq!(connection["properties"]["url"]["format"], "uri");
    let output = schema(manifest.operations[0].output_schema.as_ref().unwrap());
    assert!(output.is_valid(&json!({"content": [{"type": "text", "text": "x"}], "structured_content": [1]})));
    assert!(!output.is_valid(&json!({"structured_content": {}})));
}

#[test]
fn connections_and_actions() {
    let manifest = describe::<Mcp>();
    let connection = schema(&manifest.connection_schema);
    for protocol in ["auto", "2026-07-28", "2025-11-25", "2025-06-18", "2025-03-26"] {
        let valid = json!({"url": "https://h/mcp", "protocol": protocol, "headers": {"X-A": "b"}});
        assert!(connection.is_valid(&valid), "{protocol}");
        assert!(serde_json::from_value::<openact_mcp_connector::config::Connection>(valid).is_ok());
    }
    for wrong in [
        json!({}),
        json!({"url": "https://h", "protocol": "2024-11-05"}),
        json!({"url": "https://h", "headers": {"a": 1}}),
        json!({"url": "https://h", "token": "x"}),
    ] {
        assert!(!connection.is_valid(&wrong), "{wrong}");
        assert!(serde_json::from_value::<openact_mcp_connector::config::Connection>(wrong).is_err());
    }
    let tool = schema(&manifest.operations[0].action_schema);
    for (valid, action) in [
        (true, json!({"tool": "t"})),
        (true, json!({"tool": "t", "arguments": {"a": "{{b}}"}, "stream": true})),
        (false, json!({})),
        (false, json!({"tool": ""})),
        (false, json!({"tool": "t", "arguments": ["a"]})),
        (false, json!({"tool": "t", "arg": {}})),
    ] {
        assert_eq!(tool.is_valid(&action), valid, "{action}");
    }
}

fn example() -> Value {
    json!({
        "type": "object", "required": ["city"], "additionalProperties": false,
        "properties": {
            "city": {"type": "string", "minLength": 2, "maxLength": 5},
            "days": {"type": "integer", "minimum": 1, "exclusiveMaximum": 8},
            "unit": {"enum": ["c", "f"]},
            "tags": {"type": "array", "maxItems": 2, "items": {"$ref": "#/$defs/tag"}},
            "where": {"anyOf": [{"type": "null"}, {"type": "object", "required": ["lat"]}]},
            "any": {},
        },
        "$defs": {"tag": {"type": ["string", "number"]}},
    })
}

#[test]
fn mistakes_are_found_and_named() {
    for (arguments, expected) in [
        (
            json!({"city": "Rome", "days": 7, "unit": "c", "tags": ["a", 1], "where": {"lat": 1}, "any": [{}]}),
            None,
        ),
        (json!({"city": "Rome", "days": 3.0, "where": null}), None),
        (json!({}), Some("argument 'city' is missing")),
        (json!([]), Some("the arguments must be of type object")),
        (json!({"city": 1}), Some("argument 'city' must be of type string")),
        (json!({"city": "x"}), Some("argument 'city' must be at least 2 characters")),
        (json!({"city": "żółćże"}), Some("argument 'city' must be at most 5 characters")),
        (json!({"city": "Rome", "days": 1.5}), Some("argument 'days' must be of type integer")),
        (json!({"city": "Rome", "days": 0}), Some("argument 'days' must be at least 1")),
        (json!({"city": "Rome", "days": 8}), Some("argument 'days' must be less than 8")),
        (json!({"city": "Rome", "unit": "k"}), Some("argument 'unit' must be one of \"c\", \"f\"")),
        (
            json!({"city": "Rome", "tags": [1, true]}),
            Some("argument 'tags/1' must be of type string or number"),
        ),
        (json!({"city": "Rome", "tags": [1, 2, 3]}), Some("argument 'tags' must be at most 2 items")),
        (json!({"city": "Rome", "where": {}}), Some("argument 'where' must be of type null")),
    ] {
        assert_eq!(misfit(&example(), &arguments).as_deref(), expected, "{arguments}");
        assert_eq!(
            jsonschema::draft202012::new(&example()).unwrap().is_valid(&arguments),
            expected.is_none()
        );
    }
    let circle = json!({"$ref": "#"});
    assert_eq!(misfit(&circle, &json!({})), None);
    for unknown in [json!(7), json!({"type": 7}), json!({"$ref": "https://x/y"}), json!({"properties": []})] {
        assert_eq!(misfit(&unknown, &json!({"a": 1})), None, "{unknown}");
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3i64..12).prop_map(Value::from),
        (-20i32..20).prop_map(|n| Value::from(f64::from(n) / 4.0)),
        "[a-cf]{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        let names = prop_oneof![
            Just("city"),
            Just("days"),
            Just("unit"),
            Just("tags"),
            Just("where"),
            Just("lat"),
            Just("x")
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(names.prop_map(str::to_owned), inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    /// What is refused here is refused by a whole validator too: a caller loses nothing.
    #[test]
    fn nothing_is_refused_that_fits(value in any_value()) {
        let validator = jsonschema::draft202012::new(&example()).unwrap();
        if misfit(&example(), &value).is_some() {
            prop_assert!(!validator.is_valid(&value), "{value}");
        }
    }
}

#[test]
fn names_that_are_alike() {
    let names = ["get-sum", "get_summary", "echo", "getWeather"];
    assert_eq!(nearest("getsum", names.into_iter()), ["get-sum"]);
    assert_eq!(nearest("get-weather", names.into_iter()), ["getWeather"]);
    assert_eq!(nearest("ehco", names.into_iter()), ["echo"]);
    assert!(nearest("delete-everything", names.into_iter()).is_empty());
}
