//! Which values of a configuration that a template was written out to are its user's words, and which the template's.
//!
//! Written out, both are the connection's, and origins are found as for any connector; here they are told apart after that.
//! Invariant: only what was found to be the connection's becomes the template's.

use openact_core::{
    JsonObject, clear::HIDDEN, manifest::Operation, policies::normalized, schema::SchemaView,
};
use serde_json::Value;

use super::settings::{Setting, SettingOrigin, leaves, written};
use crate::template::Kind;

/// What the user of a template says by a connection, and whether an action is one of the template's operations.
pub(super) struct Words {
    connection: JsonObject,
    is_operation: bool,
}

impl Words {
    /// Of records as their user wrote them; none if they are of no template.
    pub(super) fn of(kind: &Kind, action: &JsonObject, connection: &JsonObject) -> Option<Self> {
        let template = kind.as_template()?;
        let is_operation = template.operation_of(action).is_some();
        Some(Self { connection: template.words_of_user(connection), is_operation })
    }

    /// Gives the template what is its word.
    pub(super) fn tell_apart(&self, operation: &Operation, found: &mut [Setting]) {
        let own = self.leaves(operation);
        // A preset is its values: they are the word of whoever chose it.
        let has_preset =
            own.iter().any(|(path, value)| (path == "retry" || path == "retry.preset") && value.is_string());
        let is_own = |setting: &Setting| {
            let said = |(path, value): &(String, Value)| {
                let path = if path == "retry" { "retry.preset" } else { path };
                path == setting.path && (*value == setting.value || setting.value == HIDDEN)
            };
            own.iter().any(said) || has_preset && setting.path.starts_with("retry.")
        };
        for setting in found {
            match setting.origin {
                SettingOrigin::Connection if !is_own(setting) => setting.origin = SettingOrigin::Template,
                _ if setting.path == "operation" && self.is_operation => {
                    setting.origin = SettingOrigin::Template;
                }
                _ => {}
            }
        }
    }

    /// Every value with the path that it has as a setting.
    fn leaves(&self, operation: &Operation) -> Vec<(String, Value)> {
        let mut own = self.connection.clone();
        let defaults = own.shift_remove("defaults");
        let defaults = normalized(defaults.as_ref().and_then(Value::as_object).unwrap_or(&JsonObject::new()));
        let schema = SchemaView::new(&operation.action_schema);
        let mut found = Vec::new();
        let mut at = Vec::new();
        for (key, value) in own.iter().chain(&defaults) {
            let property = schema.property(key);
            let is_whole = defaults.contains_key(key) && property.is_some_and(|one| one.merges_whole());
            at.push(key.clone());
            leaves(value, is_whole, &mut at, &mut |at, leaf| found.push((written(at), leaf.clone())));
            at.pop();
        }
        found
    }
}
