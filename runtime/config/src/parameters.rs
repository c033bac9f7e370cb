//! `parameters`, the list form of an action's input, as JSON Schema.
//!
//! Invariant: every keyword a parameter may carry has its place in the result; none is dropped.

use openact_core::JsonObject;
use serde_json::{Value, json};

/// Keywords that mean the same in JSON Schema.
const KEYWORDS: &[&str] = &[
    "type",
    "description",
    "default",
    "enum",
    "format",
    "minLength",
    "maxLength",
    "pattern",
    "minimum",
    "maximum",
    "items",
    "properties",
];

/// The schema of `parameters` itself, as a file writes it.
pub(crate) fn schema() -> Value {
    let (text, count, number) =
        (json!({"type": "string"}), json!({"type": "integer", "minimum": 0}), json!({"type": "number"}));
    let flag = json!({"type": "boolean"});
    json!({"type": "array", "items": {
        "type": "object", "required": ["name"], "additionalProperties": false,
        "properties": {
            "name": {"type": "string", "minLength": 1},
            "type": {"type": "string", "enum": ["string", "number", "integer", "boolean", "object", "array"]},
            "required": flag, "nullable": flag, "default": {}, "description": text,
            "enum": {"type": "array"}, "format": text, "pattern": text, "minLength": count, "maxLength": count,
            "minimum": number, "maximum": number, "items": {"type": "object"}, "properties": {"type": "object"},
            "schema": {"type": "object"},
        },
    }})
}

/// The input schema that `parameters` (which fit [`schema`]) describe, and the names given twice.
pub(crate) fn input_schema(parameters: &[Value]) -> (Value, Vec<String>) {
    let mut properties = JsonObject::new();
    let (mut required, mut twice) = (Vec::new(), Vec::new());
    for parameter in parameters.iter().filter_map(Value::as_object) {
        let Some(name) = parameter.get("name").and_then(Value::as_str) else {
            continue;
        };
        if properties.insert(name.to_owned(), Value::Object(property(parameter))).is_some() {
            twice.push(name.to_owned());
        }
        if parameter.get("required") == Some(&Value::Bool(true)) {
            required.push(Value::from(name));
        }
    }
    let mut schema = json!({ "type": "object", "properties": properties });
    if let (Value::Object(schema), false) = (&mut schema, required.is_empty()) {
        schema.insert("required".into(), required.into());
    }
    (schema, twice)
}

fn property(parameter: &JsonObject) -> JsonObject {
    // A schema written out wins over the short keywords beside it.
    let mut property = parameter.get("schema").and_then(Value::as_object).cloned().unwrap_or_default();
    for keyword in KEYWORDS {
        if let (Some(value), false) = (parameter.get(*keyword), property.contains_key(*keyword)) {
            property.insert((*keyword).to_owned(), value.clone());
        }
    }
    if parameter.get("nullable") == Some(&Value::Bool(true)) {
        if let Some(kind) = property.get_mut("type").filter(|kind| kind.is_string()) {
            *kind = json!([kind.take(), "null"]);
        }
        if let Some(Value::Array(values)) = property.get_mut("enum")
            && !values.contains(&Value::Null)
        {
            values.push(Value::Null);
        }
    }
    property
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_keyword_arrives() {
        let (schema, twice) = input_schema(&[
            json!({"name": "a", "type": "string", "required": true, "description": "d", "enum": ["x"], "format": "date",
                "minLength": 1, "maxLength": 2, "pattern": "^x", "default": "x"}),
            json!({"name": "n", "type": "integer", "minimum": 1, "maximum": 5, "nullable": true}),
            json!({"name": "e", "type": "string", "enum": ["x"], "nullable": true}),
            json!({"name": "l", "type": "array", "items": {"type": "string"}}),
            json!({"name": "o", "type": "object", "properties": {"k": {"type": "string"}}, "required": false}),
            json!({"name": "s", "type": "string", "description": "d", "schema": {"type": "number"}}),
        ]);
        assert_eq!(
            schema,
            json!({"type": "object", "required": ["a"], "properties": {
                "a": {"type": "string", "description": "d", "enum": ["x"], "format": "date", "minLength": 1, "maxLength": 2,
                    "pattern": "^x", "default": "x"},
                "n": {"type": ["integer", "null"], "minimum": 1, "maximum": 5},
                "e": {"type": ["string", "null"], "enum": ["x", null]},
                "l": {"type": "array", "items": {"type": "string"}},
                "o": {"type": "object", "properties": {"k": {"type": "string"}}},
                "s": {"type": "number", "description": "d"},
            }})
        );
        assert!(twice.is_empty());
        assert_eq!(input_schema(&[json!({"name": "a"}), json!({"name": "a"})]).1, ["a"]);
    }
}
