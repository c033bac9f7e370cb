//! Texts of earlier rows that the reader of files would take for references to secrets.
//!
//! A row could be written by whoever could write to the earlier database, and its host is in the row as well: a value of
//! the environment, of a file or of Vault that it names would be sent there.
//!
//! Invariant: a text is after [`Mark::unmark`] what it was before [`Mark::mark`].

use openact_core::{
    JsonObject,
    secret::{ExposeSecret, SecretRef},
};
use serde_json::Value;
use uuid::Uuid;

use super::drafts::{Drafts, Field};

/// Columns of data that is sent as it is, in which nothing is looked up.
const DATA: &[&str] = &["body", "request_body"];

/// What stands before a text that would be read as a reference, while it is read: in no row, because it is new.
pub(super) struct Mark(String);

impl Default for Mark {
    fn default() -> Self {
        Self(format!("text-{}-", Uuid::now_v7().simple()))
    }
}

impl Mark {
    /// Marks every text within `value` that would be read as a reference to Vault.
    pub(super) fn mark(&self, value: &mut Value) {
        each_text(value, &mut |text| {
            if SecretRef::parse_vault(text).is_some() {
                text.insert_str(0, &self.0);
            }
        });
    }

    /// Takes the marks away.
    pub(super) fn unmark(&self, drafts: &mut Drafts) {
        let mut clean = |text: &mut String| {
            if text.contains(&self.0) {
                *text = text.replace(&self.0, "");
            }
        };
        for draft in drafts.connections.values_mut() {
            draft.config.values_mut().for_each(|value| each_text(value, &mut clean));
            for taken in &mut draft.secrets {
                let mut text = taken.value.expose_secret().to_owned();
                clean(&mut text);
                taken.value = text.into();
            }
        }
        for draft in drafts.actions.values_mut() {
            let own = draft.config.values_mut().chain(&mut draft.mcp_overrides);
            own.for_each(|value| each_text(value, &mut clean));
        }
        for finding in &mut drafts.findings {
            clean(&mut finding.why);
            clean(&mut finding.advice);
        }
    }
}

/// Whether a field of a row holds an object that would be read as a reference to a secret.
pub(super) fn has_reference(field: &Field) -> bool {
    !DATA.contains(&field.key.as_str()) && is_reference_within(&field.value)
}

fn is_reference_within(value: &Value) -> bool {
    match value {
        Value::Object(object) => object.iter().any(|(key, value)| {
            ["$env", "$file", "$secret"].contains(&&key[..]) || is_reference_within(value)
        }),
        Value::Array(items) => items.iter().any(is_reference_within),
        _ => false,
    }
}

/// Whether a configuration that was read has a reference to Vault that is not marked.
pub(super) fn refers(config: &JsonObject) -> bool {
    let mut found = false;
    for value in config.values() {
        each_text(&mut value.clone(), &mut |text| found |= SecretRef::parse_vault(text).is_some());
    }
    found
}

fn each_text(value: &mut Value, change: &mut dyn FnMut(&mut String)) {
    match value {
        Value::String(text) => change(text),
        Value::Array(items) => items.iter_mut().for_each(|item| each_text(item, change)),
        Value::Object(object) => object.values_mut().for_each(|value| each_text(value, change)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_begins_as_a_reference_is_marked_and_nothing_else() {
        let mark = Mark::default();
        let mut value = json!({"a": ["vault://secret/app#/token", "VAULT://x", "see vault://secret/app"]});
        mark.mark(&mut value);
        assert!(!refers(value.as_object().unwrap()));
        assert_eq!(value["a"][2], "see vault://secret/app");
        assert_eq!(value["a"][0], format!("{}vault://secret/app#/token", mark.0));
        assert_eq!(value["a"][1], format!("{}VAULT://x", mark.0));
        assert!(refers(json!({"a": [{"b": "vault://secret/app"}]}).as_object().unwrap()));
    }

    #[test]
    fn an_object_that_looks_like_a_reference_is_found_but_in_a_body() {
        let field = |key: &str, value| Field { column: "c".into(), key: key.into(), value };
        for reference in ["$env", "$file", "$secret"] {
            let value = json!([{"token": {reference: "X", "more": 1}}]);
            assert!(has_reference(&field("authorization", value.clone())), "{reference}");
            assert!(!has_reference(&field("body", value)));
        }
        assert!(!has_reference(&field("authorization", json!({"token": "$env", "env": "$file"}))));
    }
}
