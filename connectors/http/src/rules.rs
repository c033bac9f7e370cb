//! What the JSON Schema says of fields that depend on each other, so that a file's mistakes are found when it is read.
//!
//! Invariant: what is refused here is refused by the connector too, which knows it in better words.

use serde_json::{Value, json};

/// A path without what a URL cannot begin with or hold, and without an opening that begins no `{name}`.
pub(crate) const PATH: &str = r"^(?!//|@)([^{\\#\x00-\x1f\x7f]|\{\+?[A-Za-z0-9_.-]+\})*$";

/// What a method does to the other system (RFC 9110 section 9.2): of others it is not known.
pub(crate) fn effects() -> Value {
    let (read, write) =
        (json!({"effect": "read", "idempotent": true}), json!({"effect": "write", "idempotent": true}));
    let destructive = json!({"effect": "destructive", "idempotent": true});
    json!({"GET": read, "HEAD": read, "OPTIONS": read, "PUT": write, "DELETE": destructive})
}

/// What each type of pagination needs, and what it has no use for.
pub(crate) fn of_pagination() -> Vec<Value> {
    let when = |kinds: &[&str], then: Value| {
        let is_one = json!({"required": ["type"], "properties": {"type": {"enum": kinds}}});
        json!({"if": is_one, "then": then})
    };
    vec![
        when(&["cursor"], json!({"required": ["cursor", "items"]})),
        when(&["link", "page", "offset"], json!({"properties": {"cursor": false, "in": {"const": "query"}}})),
        when(
            &["link", "cursor"],
            json!({"properties": {"start": false, "size": false, "size_param": false}}),
        ),
        when(&["link"], json!({"properties": {"param": false}})),
        when(&["page"], json!({"dependentRequired": {"size": ["size_param"]}})),
        json!({"dependentRequired": {"size_param": ["size"]}}),
    ]
}

/// What of an action its pagination excludes, or needs.
pub(crate) fn of_action() -> Vec<Value> {
    let in_body = json!({"required": ["in"], "properties": {"in": {"const": "body"}}});
    let has_body = json!({"not": {"pattern": "^([gG][eE][tT]|[hH][eE][aA][dD])$"}});
    vec![
        json!({
            "if": {"required": ["pagination"]},
            "then": {"properties": {"response": {"properties": {
                "extract": false, "as": {"enum": ["auto", "json"]},
            }}}},
        }),
        json!({
            "if": {"required": ["pagination"], "properties": {"pagination": in_body}},
            "then": {"required": ["method"], "properties": {"method": has_body}},
        }),
    ]
}

/// A part can be taken out of JSON only.
pub(crate) fn extract_needs_json() -> Value {
    json!({
        "if": {"required": ["extract"]},
        "then": {"properties": {"as": {"enum": ["auto", "json"]}}},
    })
}
