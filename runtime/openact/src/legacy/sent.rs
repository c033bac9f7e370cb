//! What the earlier OpenAct sent: headers, query and body of a task over its connection.
//!
//! Its connections came before its tasks, and a policy then took headers away, so that not all of what a row holds was
//! ever sent.
//!
//! Invariant: names of headers are in lower case, as it sent them.

use std::collections::BTreeMap;

use openact_core::JsonObject;
use serde_json::Value;

/// Headers or parameters by name.
pub(super) type Pairs = BTreeMap<String, String>;

/// The earlier `http_policy`, as far as it decided what was sent.
pub(super) struct Policy {
    denied: Vec<String>,
    reserved: Vec<String>,
    appended: Vec<String>,
    drops: bool,
    value_length: usize,
    content_types: Vec<String>,
}

pub(super) const RESERVED: &[&str] = &["authorization"];
pub(super) const APPENDED: &[&str] =
    &["accept", "accept-encoding", "accept-language", "cookie", "set-cookie", "cache-control"];
const DENIED: &[&str] = &[
    "host",
    "content-length",
    "transfer-encoding",
    "expect",
    "connection",
    "upgrade",
    "proxy-authorization",
];

impl Policy {
    /// A row's, or the one that held without it.
    pub(super) fn of(policy: Option<&JsonObject>) -> Self {
        let list = |key: &str, default: &[&str]| match policy.and_then(|policy| policy.get(key)?.as_array()) {
            Some(list) => list.iter().filter_map(Value::as_str).map(str::to_ascii_lowercase).collect(),
            None => default.iter().map(|name| (*name).to_owned()).collect(),
        };
        let value = |key: &str| policy.and_then(|policy| policy.get(key));
        Self {
            denied: list("denied_headers", DENIED),
            reserved: list("reserved_headers", RESERVED),
            appended: list("multi_value_append_headers", APPENDED),
            drops: value("drop_forbidden_headers").and_then(Value::as_bool).unwrap_or(true),
            value_length: value("max_header_value_length")
                .and_then(Value::as_u64)
                .and_then(|length| usize::try_from(length).ok())
                .unwrap_or(8192),
            content_types: list("allowed_content_types", &[]),
        }
    }

    /// The headers that were sent for a task's own and a connection's.
    pub(super) fn headers(&self, connection: &Pairs, task: &Pairs) -> Pairs {
        let mut sent = task.clone();
        sent.extend(connection.clone());
        sent.retain(|name, value| !self.denied.contains(name) && (self.allows(name, value) || !self.drops));
        for name in &self.reserved {
            if let Some(value) = task.get(name) {
                sent.insert(name.clone(), value.clone());
            }
        }
        for name in &self.appended {
            if let Some(value) = sent.get_mut(name) {
                let mut parts: Vec<&str> =
                    value.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
                parts.sort_unstable();
                parts.dedup();
                *value = parts.join(", ");
            }
        }
        sent
    }

    fn allows(&self, name: &str, value: &str) -> bool {
        let essence = || value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let is_type = name == "content-type" && !self.content_types.is_empty();
        let lower = value.to_lowercase();
        value.len() <= self.value_length
            && (!is_type || self.content_types.contains(&essence()))
            && !value.chars().any(|c| c.is_control() && c != '\t')
            && !["<script", "javascript:", "data:"].iter().any(|part| lower.contains(part))
    }
}

/// The parameters that were added to the endpoint.
pub(super) fn query(connection: &Pairs, task: &Pairs) -> Pairs {
    let mut sent = task.clone();
    sent.extend(connection.clone());
    sent
}

/// The body that was sent: fields of the connection over those of the task.
pub(super) fn body(connection: &Pairs, task: Option<&Value>) -> Option<Value> {
    if connection.is_empty() {
        return task.cloned();
    }
    let fields = connection.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str())));
    let mut body = match task {
        Some(Value::Object(own)) => own.clone(),
        _ => JsonObject::new(),
    };
    body.extend(fields);
    Some(Value::Object(body))
}

/// `value` so that the reader of files and the connector find neither variable nor template in it.
pub(super) fn literal(value: &Value) -> Value {
    each_text(value, &|text| escaped(text).replace("{{", "{{{{"))
}

/// `value` so that the reader of files finds no variable in it.
pub(super) fn without_variables(value: &Value) -> Value {
    each_text(value, &escaped)
}

fn escaped(text: &str) -> String {
    text.replace("${", "$${")
}

fn each_text(value: &Value, change: &dyn Fn(&str) -> String) -> Value {
    match value {
        Value::String(text) => change(text).into(),
        Value::Array(items) => items.iter().map(|item| each_text(item, change)).collect(),
        Value::Object(object) => {
            Value::Object(object.iter().map(|(key, value)| (key.clone(), each_text(value, change))).collect())
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pairs(value: Value) -> Pairs {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_connection_came_first_and_a_policy_last() {
        let connection = pairs(json!({"x-a": "c", "accept": "b, a,b", "host": "evil", "x-bad": "data:1"}));
        let task = pairs(json!({"x-a": "t", "x-b": "t", "authorization": "own"}));
        let sent = Policy::of(None).headers(&connection, &task);
        assert_eq!(sent, pairs(json!({"x-a": "c", "x-b": "t", "accept": "a, b", "authorization": "own"})));
        let policy = json!({"denied_headers": ["X-B"], "reserved_headers": ["x-a"], "drop_forbidden_headers": false,
            "multi_value_append_headers": []});
        let sent = Policy::of(policy.as_object()).headers(&connection, &task);
        assert_eq!((&sent["x-a"][..], &sent["accept"][..], &sent["x-bad"][..]), ("t", "b, a,b", "data:1"));
        assert!(!sent.contains_key("x-b"));
    }

    #[test]
    fn the_body_is_the_connections_over_the_tasks() {
        let connection = pairs(json!({"a": "c"}));
        assert_eq!(body(&connection, Some(&json!({"a": 1, "b": 2}))), Some(json!({"a": "c", "b": 2})));
        assert_eq!(body(&connection, Some(&json!([1]))), Some(json!({"a": "c"})));
        assert_eq!(body(&connection, None), Some(json!({"a": "c"})));
        assert_eq!(body(&Pairs::new(), Some(&json!([1]))), Some(json!([1])));
        assert_eq!(body(&Pairs::new(), None), None);
    }

    #[test]
    fn text_stays_text() {
        assert_eq!(literal(&json!({"a": ["${X} {{y}} $"]})), json!({"a": ["$${X} {{{{y}} $"]}));
        assert_eq!(without_variables(&json!("${X} {{y}}")), json!("$${X} {{y}}"));
    }
}
