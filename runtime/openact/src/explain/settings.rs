//! The merged configuration of an action version, value by value, each with where it comes from.
//!
//! | part | layers, the weakest first |
//! |---|---|
//! | the operation's fields | the connector's schema, the connection's `defaults`, the action, the input's keys |
//! | `timeout` `retry` `limits` `network` `http_policy` | built in, the connection, its `defaults`, the action |
//! | the connector's part of the connection, `authorization`, `rate_limit` | built in, the connection |
//!
//! What is merged comes from where calls take it ([`crate::prepared`], `core/src/policies.rs`); only origins are found out
//! here: the strongest layer that says the merged value at that place. Invariant: a value at a place of a secret is shown
//! as its reference, and as [`HIDDEN`] if it is none; so is a header in clear that looks like one.

use std::{fmt, time::Duration};

use openact_core::{
    JsonObject, Result,
    action::{ActionParts, ActionRecord},
    clear::{HIDDEN, hide_clear},
    connection::{ConnectionParts, ConnectionRecord, connection_schema},
    manifest::{Manifest, Operation},
    merge::merge_patch,
    policies::{Policies, SECTIONS, normalized},
    schema::SchemaView,
    secret::{SecretRef, visit_secrets},
};
use serde::Serialize;
use serde_json::Value;

use super::words::Words;
use crate::prepared::{effective_action, known_defaults, overrides};

/// A schema refers to itself where values nest; below this depth there are no defaults.
const SCHEMA_DEPTH_MAX: usize = 8;

/// One value of a merged configuration.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Setting {
    /// Where: names with dots between them, such as `headers.accept`. A name with other characters is in quotes.
    pub path: String,
    /// What. A secret is a reference such as `{"$secret": "name"}`.
    pub value: Value,
    /// Whose word it is.
    pub origin: SettingOrigin,
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SettingOrigin {
    /// The connection, or its `defaults`.
    Connection,
    /// The action.
    Action,
    /// The caller.
    Input,
    /// The template that the kind of the connection is.
    Template,
    /// Nobody: it is built in, or the connector's schema says so.
    Default,
}

impl fmt::Display for SettingOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connection => "connection",
            Self::Action => "action",
            Self::Input => "input",
            Self::Template => "template",
            Self::Default => "default",
        })
    }
}

/// What a configuration is merged from.
pub(super) struct Sources<'a> {
    pub(super) action: &'a ActionRecord,
    pub(super) connection: &'a ConnectionRecord,
    pub(super) manifest: &'a Manifest,
    /// Null if it is not at hand.
    pub(super) input: &'a Value,
    /// The caller's deadline.
    pub(super) timeout: Option<Duration>,
    /// If the records were written out by a template.
    pub(super) words: Option<Words>,
}

type Layer<'a> = (SettingOrigin, &'a JsonObject);

/// Every value, as a call reads it.
pub(super) fn settings(sources: &Sources<'_>) -> Result<Vec<Setting>> {
    let action = ActionParts::of(&sources.action.config)?;
    let connection = ConnectionParts::of(&sources.connection.config, sources.manifest)?;
    let operation = sources.manifest.operation(action.operation.as_deref())?;
    let mut found = Vec::new();
    of_operation(sources, &connection, &action, operation, &mut found);
    of_connection(sources, &mut found);
    of_host(sources, &connection, &action, &mut found)?;
    if let Some(words) = &sources.words {
        words.tell_apart(operation, &mut found);
    }
    Ok(found)
}

fn of_operation(
    sources: &Sources<'_>,
    connection: &ConnectionParts,
    action: &ActionParts,
    operation: &Operation,
    found: &mut Vec<Setting>,
) {
    let origin = action.operation.as_ref().map_or(SettingOrigin::Default, |_| SettingOrigin::Action);
    found.push(Setting { path: "operation".into(), value: operation.name.clone().into(), origin });
    let schema = SchemaView::new(&operation.action_schema);
    let mut defaults = known_defaults(connection, operation);
    let mut set = overrides(&operation.overridable, sources.input);
    let mut own = action.guest.clone();
    let mut merged = effective_action(connection, action, operation);
    openact_core::merge::merge(&mut merged, &set, &schema);
    for layer in [&mut defaults, &mut own, &mut set, &mut merged] {
        hide_secrets(layer, &schema);
        hide_clear(layer);
    }
    let layers =
        [(SettingOrigin::Input, &set), (SettingOrigin::Action, &own), (SettingOrigin::Connection, &defaults)];
    let mut at = Vec::new();
    for (key, value) in &merged {
        at.push(key.clone());
        // What is replaced whole is one layer's word and may be data of any size.
        let is_whole = schema.property(key).is_some_and(|property| property.merges_whole());
        leaves(value, is_whole, &mut at, &mut |at, leaf| found.push(setting(at, leaf, &layers)));
        at.pop();
    }
    schema_defaults(&operation.action_schema, Some(&Value::Object(merged)), &mut at, found);
}

fn of_connection(sources: &Sources<'_>, found: &mut Vec<Setting>) {
    let schema = connection_schema(sources.manifest);
    let mut config = sources.connection.config.clone();
    hide_secrets(&mut config, &SchemaView::new(&schema));
    // The sections are merged with the action's, and so are the defaults.
    config.retain(|key, _| key != "description" && key != "defaults" && !SECTIONS.contains(&key.as_str()));
    let mut at = Vec::new();
    let layers = [(SettingOrigin::Connection, &config)];
    for (key, value) in &config {
        at.push(key.clone());
        leaves(value, false, &mut at, &mut |at, leaf| found.push(setting(at, leaf, &layers)));
        at.pop();
    }
    schema_defaults(
        &sources.manifest.connection_schema,
        Some(&Value::Object(config.clone())),
        &mut at,
        found,
    );
    let mut built_in = |path: &str, value: Value| {
        found.push(Setting { path: path.into(), value, origin: SettingOrigin::Default });
    };
    if !config.contains_key("authorization") && !config.contains_key("auth_ref") {
        built_in("authorization.type", "none".into());
    }
    match config.get("rate_limit").and_then(Value::as_object) {
        None => built_in("rate_limit", Value::Null),
        Some(limit) => {
            if let Some(requests) = limit.get("requests") {
                let defaults = [("per_ms", Value::from(1_000)), ("burst", requests.clone())];
                for (field, value) in defaults.into_iter().filter(|(field, _)| !limit.contains_key(*field)) {
                    built_in(&format!("rate_limit.{field}"), value);
                }
            }
        }
    }
}

fn of_host(
    sources: &Sources<'_>,
    connection: &ConnectionParts,
    action: &ActionParts,
    found: &mut Vec<Setting>,
) -> Result<()> {
    let [own, defaults] = &connection.sections;
    let mut policies = Policies::of([own, defaults, &action.sections])?;
    if let Some(timeout) = sources.timeout {
        let ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        (policies.timeout.total_ms, policies.limits.timeout_ms) = (Some(ms), None);
    }
    let schema = connection_schema(sources.manifest);
    let schema = SchemaView::new(&schema);
    let [own, defaults, set] = [own, defaults, &action.sections].map(|layer| {
        let mut layer = normalized(layer);
        hide_secrets(&mut layer, &schema);
        layer
    });
    let mut merged = Value::Object(own.clone());
    for layer in [&defaults, &set] {
        merge_patch(&mut merged, &Value::Object(layer.clone()));
    }
    if sources.timeout.is_some() {
        // The caller's deadline stands in their place.
        merge_patch(
            &mut merged,
            &serde_json::json!({"timeout": {"total_ms": null}, "limits": {"timeout_ms": null}}),
        );
    }
    let layers = [
        (SettingOrigin::Action, &set),
        (SettingOrigin::Connection, &defaults),
        (SettingOrigin::Connection, &own),
    ];
    // A preset is its values: they are the word of whoever chose it.
    let preset = [&["retry", "preset"][..], &["retry"]].into_iter().find_map(|path| {
        let preset = at(&merged, path).filter(|value| value.is_string())?;
        Some(origin(&path.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>(), preset, &layers))
    });
    let mut in_force = Vec::new();
    leaves(&policies.in_force(), false, &mut Vec::new(), &mut |path, leaf| {
        in_force.push((path.to_vec(), leaf.clone()))
    });
    let mut path = Vec::new();
    leaves(&merged, false, &mut path, &mut |path, leaf| {
        // Shown with what is in force, below; what is not there is a secret or has no default. Without sections the whole
        // is a leaf.
        if !path.is_empty() && !in_force.iter().any(|(known, _)| known == path) {
            let mut setting = setting(path, leaf, &layers);
            if setting.path == "retry" {
                setting.path = "retry.preset".into();
            }
            found.push(setting);
        }
    });
    for (path, leaf) in in_force {
        let names: Vec<&str> = path.iter().map(String::as_str).collect();
        let said = at(&merged, &names).map(|value| origin(&path, value, &layers));
        let origin = match (names.as_slice(), said) {
            (["timeout", "total_ms"], _) if sources.timeout.is_some() => SettingOrigin::Input,
            (["timeout", "total_ms"], _) if policies.limits.timeout_ms.is_some() => continue,
            (_, Some(said)) => said,
            (["retry", _], None) => preset.unwrap_or(SettingOrigin::Default),
            (_, None) => SettingOrigin::Default,
        };
        found.push(Setting { path: written(&path), value: leaf, origin });
    }
    Ok(())
}

fn hide_secrets(config: &mut JsonObject, schema: &SchemaView<'_>) {
    visit_secrets(config, schema, &mut |_, value| {
        if SecretRef::from_json(value).is_none() {
            *value = HIDDEN.into();
        }
    });
}

fn setting(path: &[String], leaf: &Value, layers: &[Layer<'_>]) -> Setting {
    Setting { path: written(path), value: leaf.clone(), origin: origin(path, leaf, layers) }
}

/// The strongest layer that says `leaf` at `path`. The merged value is always some layer's own.
fn origin(path: &[String], leaf: &Value, layers: &[Layer<'_>]) -> SettingOrigin {
    let Some((first, rest)) = path.split_first() else { return SettingOrigin::Default };
    let names: Vec<&str> = rest.iter().map(String::as_str).collect();
    let found = layers.iter().find(|(_, layer)| {
        layer.get(first).and_then(|value| at(value, &names)).is_some_and(|value| value == leaf)
    });
    found.map_or(SettingOrigin::Default, |(origin, _)| *origin)
}

fn at<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, key| match value {
        Value::Array(items) => items.get(key.parse::<usize>().ok()?),
        other => other.get(*key),
    })
}

/// Calls `visit` with each value that has none below it. A list of plain values is one, and so is a reference to a
/// secret.
pub(super) fn leaves(
    value: &Value,
    is_whole: bool,
    path: &mut Vec<String>,
    visit: &mut dyn FnMut(&[String], &Value),
) {
    match value {
        Value::Object(object) if !is_whole && !object.is_empty() && SecretRef::from_json(value).is_none() => {
            for (key, value) in object {
                path.push(key.clone());
                leaves(value, false, path, visit);
                path.pop();
            }
        }
        Value::Array(items) if !is_whole && items.iter().any(|item| item.is_object() || item.is_array()) => {
            for (index, value) in items.iter().enumerate() {
                path.push(index.to_string());
                leaves(value, false, path, visit);
                path.pop();
            }
        }
        leaf => visit(path, leaf),
    }
}

/// What a schema says of places where `value` says nothing. An object that has to have a field is off unless it is set.
fn schema_defaults(root: &Value, value: Option<&Value>, path: &mut Vec<String>, found: &mut Vec<Setting>) {
    fn walk(
        root: &Value,
        node: &Value,
        value: Option<&Value>,
        path: &mut Vec<String>,
        found: &mut Vec<Setting>,
    ) {
        let target =
            node.get("$ref").and_then(Value::as_str).and_then(|reference| reference.strip_prefix('#'));
        let node = target.and_then(|pointer| root.pointer(pointer)).unwrap_or(node);
        for (key, property) in node.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let there = value.and_then(|value| value.get(key));
            let is_off =
                property.get("required").and_then(Value::as_array).is_some_and(|names| !names.is_empty());
            path.push(key.clone());
            match (there, property.get("default")) {
                (Some(Value::Object(_)), _)
                    if property.get("x-merge").is_none() && path.len() < SCHEMA_DEPTH_MAX =>
                {
                    walk(root, property, there, path, found);
                }
                (Some(_), _) => {}
                (None, Some(default)) => leaves(default, false, path, &mut |path, leaf| {
                    if !leaf.is_null() && leaf.as_object().is_none_or(|object| !object.is_empty()) {
                        let (path, value) = (written(path), leaf.clone());
                        found.push(Setting { path, value, origin: SettingOrigin::Default });
                    }
                }),
                (None, None) if !is_off && path.len() < SCHEMA_DEPTH_MAX => {
                    walk(root, property, None, path, found)
                }
                (None, None) => {}
            }
            path.pop();
        }
    }
    walk(root, root, value, path, found);
}

/// Names with dots between them; in quotes where a name is not plain.
pub(super) fn written(path: &[String]) -> String {
    let is_plain = |name: &str| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'$'))
    };
    let name =
        |name: &String| if is_plain(name) { name.clone() } else { Value::from(name.as_str()).to_string() };
    path.iter().map(name).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use openact_core::{ActionTrn, ConnectionTrn, Timestamp};
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> JsonObject {
        value.as_object().cloned().unwrap()
    }

    /// A connector installed anew may call secret what its earlier version did not.
    #[test]
    fn c1_what_is_secret_now_and_was_stored_in_the_clear_is_hidden() {
        let secret = json!({"type": "string", "writeOnly": true});
        let manifest: Manifest = serde_json::from_value(json!({
            "name": "it", "version": "1.0.0", "summary": "", "default_operation": "get", "needs": [],
            "connection_schema": {"properties": {"pin": secret, "list": {"items": {"properties": {"key": secret}}}}},
            "operations": [{
                "name": "get", "summary": "", "input_schema": {}, "output_schema": null, "overridable": ["code"],
                "effect": "read", "idempotent": true,
                "action_schema": {"properties": {"code": secret, "salt": secret, "plain": {"default": "p"}}},
            }],
        }))
        .unwrap();
        let connection_trn: ConnectionTrn = "trn:openact:default:connection/it/c@v1".parse().unwrap();
        let action_trn: ActionTrn = "trn:openact:default:action/it/a@v1".parse().unwrap();
        let now = Timestamp::now();
        let connection = ConnectionRecord {
            trn: connection_trn.clone(),
            config: object(json!({
                "pin": "hunter2", "list": [{"key": {"$env": "KEY"}}, {"key": "hunter2"}],
                "defaults": {"salt": "hunter2"},
                "authorization": {"type": "bearer", "token": "hunter2"},
                "network": {"proxy": {"url": "http://p:1", "username": "u", "password": "hunter2"}},
            })),
            created_at: now,
            updated_at: now,
        };
        let action = ActionRecord {
            trn: action_trn,
            connection: connection_trn,
            config: object(json!({"code": "hunter2"})),
            mcp_enabled: false,
            mcp_overrides: None,
            created_at: now,
            updated_at: now,
        };
        let input = json!({"code": "hunter2"});
        let (manifest, input) = (&manifest, &input);
        let found = settings(&Sources {
            action: &action,
            connection: &connection,
            manifest,
            input,
            timeout: None,
            words: None,
        })
        .unwrap();
        assert!(!format!("{found:?}").contains("hunter2"), "{found:?}");
        let said: Vec<String> =
            found.iter().map(|s| format!("{} {} {}", s.path, s.value, s.origin)).collect();
        for line in [
            "salt \"[secret]\" connection",
            "code \"[secret]\" input",
            "plain \"p\" default",
            "pin \"[secret]\" connection",
            "list.0.key {\"$env\":\"KEY\"} connection",
            "list.1.key \"[secret]\" connection",
            "authorization.token \"[secret]\" connection",
            "network.proxy.password \"[secret]\" connection",
        ] {
            assert!(said.iter().any(|said| said == line), "{line}: {said:#?}");
        }
    }
}
