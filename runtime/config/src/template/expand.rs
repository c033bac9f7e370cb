//! From a template's records to the base connector's.
//!
//! | layer, the weakest first | of a connection | of an action |
//! |---|---|---|
//! | the template's `connection` | everything | `defaults` |
//! | the connection | `defaults` and the host's sections over it; `authorization` or `auth_ref` in its place | `defaults` |
//! | the template's operation | | all of it, as further `defaults` |
//! | the action | | everything |
//!
//! Invariant: what comes out is what a user could have written for the base; the call after it knows no templates.

use openact_core::{
    JsonObject, Result,
    manifest::Manifest,
    merge::{merge, merge_patch},
    policies::{SECTIONS, normalized},
    schema::SchemaView,
};
use serde_json::Value;

use super::{
    Template, TemplateOperation,
    fill::{Filler, only},
};

/// The configuration of one action and its connection, as the base has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Expanded {
    /// Of the connection.
    pub connection: JsonObject,
    /// Of the action.
    pub action: JsonObject,
}

impl Template {
    /// A connection of this template as one of the base.
    pub fn expand_connection(&self, config: &JsonObject, base: &Manifest) -> Result<JsonObject> {
        let is_credential = |key: &str| matches!(key, "authorization" | "auth_ref");
        let mut own = self.connection.clone();
        if config.iter().any(|(key, value)| is_credential(key) && !value.is_null()) {
            own.shift_remove("authorization");
        }
        let mut out = Filler::new(&self.parameters, config)?.connection(&own, &base.name)?;
        let action_schema = &base.operation(None)?.action_schema;
        let mut sections = normalized(&taken(&mut out, SECTIONS));
        let mut said = config.clone();
        said.retain(|key, _| !self.parameters.iter().any(|parameter| parameter.name == *key));
        let over = normalized(&taken(&mut said, SECTIONS));
        patch(&mut sections, &over);
        for (key, value) in said {
            match (key.as_str(), value) {
                ("defaults", Value::Object(over)) => lay(&mut out, &over, action_schema),
                ("rate_limit", value) => {
                    merge_patch(out.entry("rate_limit").or_insert(Value::Null), &value);
                }
                (_, value) => drop(out.insert(key, value)),
            }
        }
        out.extend(sections);
        Ok(out)
    }

    /// An action of this template and its connection as those of the base.
    pub fn expand(&self, action: &JsonObject, connection: &JsonObject, base: &Manifest) -> Result<Expanded> {
        let mut connection = self.expand_connection(connection, base)?;
        let mut action = action.clone();
        if let Some(operation) = self.operation_of(&action) {
            let schema = &base.operation(operation.operation.as_deref())?.action_schema;
            lay(&mut connection, &operation.fields, schema);
            match &operation.operation {
                Some(name) => drop(action.insert("operation".into(), name.as_str().into())),
                None => drop(action.shift_remove("operation")),
            }
            if let (Some(schema), false) = (&operation.input_schema, action.contains_key("input_schema")) {
                action.insert("input_schema".into(), schema.clone());
            }
        }
        Ok(Expanded { connection, action })
    }

    /// What of an expanded connection is its user's word: what the connection says for the base, and the parameters that the
    /// template hands through as they are.
    pub fn words_of_user(&self, config: &JsonObject) -> JsonObject {
        let is_parameter = |key: &String| self.parameters.iter().any(|parameter| parameter.name == *key);
        let mut words = match handed_through(&Value::Object(self.connection.clone()), config) {
            Some(Value::Object(words)) => words,
            _ => JsonObject::new(),
        };
        if config.contains_key("authorization") || config.contains_key("auth_ref") {
            words.shift_remove("authorization");
        }
        let own = config.iter().filter(|(key, _)| !is_parameter(key));
        patch(&mut words, &normalized(&own.map(|(key, value)| (key.clone(), value.clone())).collect()));
        words
    }

    /// The template's operation that an action names; none if it names one of the base or none.
    pub fn operation_of(&self, action: &JsonObject) -> Option<&TemplateOperation> {
        let name = action.get("operation")?.as_str()?;
        self.operations.iter().find(|operation| operation.name == name)
    }
}

/// Merges `over` into the `defaults` of a connection.
fn lay(connection: &mut JsonObject, over: &JsonObject, action_schema: &Value) {
    let mut defaults = match connection.shift_remove("defaults") {
        Some(Value::Object(defaults)) => normalized(&defaults),
        _ => JsonObject::new(),
    };
    merge(&mut defaults, &normalized(over), &SchemaView::new(action_schema));
    connection.insert("defaults".into(), Value::Object(defaults));
}

/// `value` with those texts alone that are one hole for which the connection has a value.
fn handed_through(value: &Value, config: &JsonObject) -> Option<Value> {
    match value {
        Value::String(text) => {
            let (name, _) = only(text)?;
            config.get(name).filter(|value| !value.is_null()).cloned()
        }
        Value::Object(object) => {
            let kept: JsonObject = object
                .iter()
                .filter_map(|(key, value)| Some((key.clone(), handed_through(value, config)?)))
                .collect();
            (!kept.is_empty()).then_some(Value::Object(kept))
        }
        _ => None,
    }
}

fn patch(base: &mut JsonObject, over: &JsonObject) {
    for (key, value) in over {
        merge_patch(base.entry(key.as_str()).or_insert(Value::Null), value);
    }
}

fn taken(object: &mut JsonObject, keys: &[&str]) -> JsonObject {
    keys.iter().filter_map(|key| Some(((*key).to_owned(), object.shift_remove(*key)?))).collect()
}
