//! What must not be shown, and how configuration refers to it.
//!
//! Invariant: a secret in memory is a [`SecretString`], which has no `Display`, no `Serialize` and a redacting
//! `Debug`, and is zeroed when dropped; a secret in configuration is a [`SecretRef`], never the value.

pub use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use crate::{JsonObject, schema::SchemaView};

/// Where the value of a secret comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SecretRef {
    /// `{"$secret": "name"}`: sealed in the store.
    Stored(String),
    /// `{"$env": "VAR"}`: an environment variable of the runtime, read at call time.
    Env(String),
    /// `{"$file": "path"}`: a file, read at call time.
    File(String),
}

impl SecretRef {
    /// Reads the JSON form; none if `value` is not one.
    pub fn from_json(value: &Value) -> Option<Self> {
        let object = value.as_object().filter(|object| object.len() == 1)?;
        let (key, text) = object.iter().next()?;
        let text = text.as_str()?.to_owned();
        match key.as_str() {
            "$secret" => Some(Self::Stored(text)),
            "$env" => Some(Self::Env(text)),
            "$file" => Some(Self::File(text)),
            _ => None,
        }
    }

    /// The JSON form.
    pub fn to_json(&self) -> Value {
        match self {
            Self::Stored(name) => json!({ "$secret": name }),
            Self::Env(name) => json!({ "$env": name }),
            Self::File(path) => json!({ "$file": path }),
        }
    }
}

/// A secret taken out of a configuration.
#[derive(Debug)]
pub struct TakenSecret {
    /// JSON Pointer to the place it was at.
    pub pointer: String,
    /// The value.
    pub value: SecretString,
}

/// Takes every clear-text secret out of `config`: each non-empty value at a place that `schema` marks `writeOnly`.
/// What `name` returns for the place's pointer is what `{"$secret": …}` will say there. References stay.
pub fn take_secrets(
    config: &mut JsonObject,
    schema: &SchemaView<'_>,
    name: impl Fn(&str) -> String,
) -> Vec<TakenSecret> {
    let mut taken = Vec::new();
    visit_secrets(config, schema, &mut |pointer, value| {
        if SecretRef::from_json(value).is_some() {
            return;
        }
        let text = match &*value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        *value = SecretRef::Stored(name(pointer)).to_json();
        taken.push(TakenSecret { pointer: pointer.to_owned(), value: text.into() });
    });
    taken
}

/// Calls `visit` with the pointer and value of every place that `schema` marks `writeOnly`.
pub fn visit_secrets(
    config: &mut JsonObject,
    schema: &SchemaView<'_>,
    visit: &mut dyn FnMut(&str, &mut Value),
) {
    visit_object(config, schema, &mut String::new(), visit);
}

fn visit_object(
    object: &mut JsonObject,
    schema: &SchemaView<'_>,
    at: &mut String,
    visit: &mut dyn FnMut(&str, &mut Value),
) {
    for (key, value) in object.iter_mut() {
        if let Some(child) = schema.property(key) {
            visit_value(value, &child, &key.replace('~', "~0").replace('/', "~1"), at, visit);
        }
    }
}

fn visit_value(
    value: &mut Value,
    schema: &SchemaView<'_>,
    segment: &str,
    at: &mut String,
    visit: &mut dyn FnMut(&str, &mut Value),
) {
    let length = at.len();
    at.push('/');
    at.push_str(segment);
    if schema.is_write_only() {
        if !value.is_null() {
            visit(at, value);
        }
    } else {
        match value {
            Value::Object(object) => visit_object(object, schema, at, visit),
            Value::Array(items) => {
                if let Some(child) = schema.item() {
                    for (index, item) in items.iter_mut().enumerate() {
                        visit_value(item, &child, &index.to_string(), at, visit);
                    }
                }
            }
            _ => {}
        }
    }
    at.truncate(length);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c9_a_secret_does_not_show() {
        let taken = TakenSecret { pointer: "/token".into(), value: "hunter2".into() };
        assert!(!format!("{taken:?}").contains("hunter2"));
    }

    #[test]
    fn secrets_are_taken_by_schema_and_references_stay() {
        let schema = json!({"properties": {
            "password": {"writeOnly": true}, "user": {"type": "string"},
            "list": {"items": {"properties": {"key": {"writeOnly": true}}}},
            "ref": {"writeOnly": true},
        }});
        let mut config = json!({"password": "p", "user": "u", "list": [{"key": 5}], "ref": {"$env": "X"}});
        let config = config.as_object_mut().unwrap();
        let taken = take_secrets(config, &SchemaView::new(&schema), |pointer| format!("s{pointer}"));
        assert_eq!(
            Value::Object(config.clone()),
            json!({
                "password": {"$secret": "s/password"}, "user": "u",
                "list": [{"key": {"$secret": "s/list/0/key"}}], "ref": {"$env": "X"},
            })
        );
        let values: Vec<_> = taken.iter().map(|t| t.value.expose_secret()).collect();
        assert_eq!(values, ["p", "5"]);
    }
}
