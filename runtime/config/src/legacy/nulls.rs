//! Nulls of a connection: earlier exports wrote every field, and null where there was nothing.
//!
//! Invariant: a null is dropped only where it can mean nothing else: in what the host owns, and in `defaults`, which
//! lie under everything. What a connector takes whole, such as a request body, keeps its own, and so do `claims`.

use openact_core::schema::SchemaView;
use serde_json::Value;

use super::{OF_DEFAULTS, is_authorization, knows};
use crate::written::{Member, Written};

/// Keys of a connection that the host reads, in every spelling.
const OF_THE_HOST: &[&str] = &[
    "auth",
    "auth_parameters",
    "auth_ref",
    "authorization",
    "defaults",
    "description",
    "http_policy",
    "invocation_http_parameters",
    "limits",
    "network",
    "network_config",
    "rate_limit",
    "retry",
    "retry_policy",
    "timeout",
    "timeout_config",
    "timeout_ms",
    "timeout_seconds",
];

/// Keys that it reads unless the connector declares them.
const YIELDING: &[&str] = &["proxy", "proxy_url", "verify_ssl"];

/// Drops the nulls of a connection that `view` describes. A credential that is null is a mistake.
pub(super) fn of_connection(
    members: &mut Vec<Member>,
    view: &SchemaView<'_>,
    defaults: Option<&SchemaView<'_>>,
) {
    let of_defaults = |key: &str| OF_DEFAULTS.contains(&key) && defaults.is_some_and(|view| knows(view, key));
    let is_ours = |key: &str| {
        OF_THE_HOST.contains(&key)
            || (YIELDING.contains(&key) || of_defaults(key)) && view.property(key).is_none()
    };
    members.retain(|member| !(member.is_null() && is_ours(&member.key) && !is_authorization(&member.key)));
    // `defaults` know which of their fields are taken whole.
    for member in members.iter_mut().filter(|member| is_ours(&member.key) && member.key != "defaults") {
        drop_within(member);
    }
}

/// Drops the nulls of `defaults`, which `view` describes.
pub(super) fn of_defaults(fields: &mut Vec<Member>, view: Option<&SchemaView<'_>>) {
    fields.retain(|field| !field.is_null());
    let is_whole = |key: &str| {
        view.is_some_and(|view| {
            let name = view.canonical_name(key).unwrap_or(key);
            view.property(name).is_some_and(|property| property.merges_whole())
        })
    };
    fields.iter_mut().filter(|field| !is_whole(&field.key)).for_each(drop_within);
}

fn drop_within(member: &mut Member) {
    fn within(value: &mut Value) {
        if let Value::Object(object) = value {
            object.retain(|_, value| !value.is_null());
            // A null takes one of the usual claims away.
            object.iter_mut().filter(|(key, _)| *key != "claims").for_each(|(_, value)| within(value));
        }
    }
    if let Written::Value(value) = &mut member.value {
        within(value);
    }
}
