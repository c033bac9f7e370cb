//! JSON-RPC messages (JSON-RPC 2.0): ours as text, the server's by what they are.
//!
//! Invariant: what the server sends as result or parameters stays the text it was.

use std::borrow::Cow;

use openact_connector::{Failure, UpstreamFailure, write::push_string};
use serde::Deserialize;
use serde_json::value::RawValue;

/// A message says this much of the server's own reason, bytes.
pub(crate) const REASON_BYTES_MAX: usize = 2_000;

/// An error of the server carries this much of its particulars, bytes; the host drops more.
const DATA_BYTES_MAX: usize = 60 * 1024;

/// What the server sent.
#[derive(Debug)]
pub(crate) enum Message<'a> {
    /// The result of a request.
    Result { id: &'a RawValue, result: &'a RawValue },
    /// A request failed; without an id it is not known which.
    Error { id: Option<&'a RawValue>, error: RpcError },
    /// The server asks for something.
    Request { id: &'a RawValue, method: Cow<'a, str> },
    /// The server tells something.
    Notification { method: Cow<'a, str>, params: Option<&'a RawValue> },
}

/// An error of JSON-RPC.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct RpcError {
    #[serde(default)]
    pub(crate) code: i64,
    #[serde(default)]
    pub(crate) message: String,
    #[serde(default)]
    pub(crate) data: Option<Box<RawValue>>,
}

/// The codes that mean something here.
pub(crate) mod code {
    pub(crate) const METHOD_NOT_FOUND: i64 = -32601;
    pub(crate) const INVALID_PARAMS: i64 = -32602;
    pub(crate) const HEADER_MISMATCH: i64 = -32020;
    pub(crate) const MISSING_CAPABILITY: i64 = -32021;
    pub(crate) const UNSUPPORTED_VERSION: i64 = -32022;
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    params: Option<&'a RawValue>,
    #[serde(borrow, default)]
    result: Option<&'a RawValue>,
    #[serde(default)]
    error: Option<RpcError>,
}

impl<'a> Message<'a> {
    /// The message that `json` is, if it is one.
    pub(crate) fn of(json: &'a str) -> Option<Self> {
        let Envelope { id, method, params, result, error } = serde_json::from_str(json).ok()?;
        match (id, method, result, error) {
            (Some(id), Some(method), _, _) => Some(Self::Request { id, method }),
            (None, Some(method), _, _) => Some(Self::Notification { method, params }),
            (id, None, None, Some(error)) => Some(Self::Error { id, error }),
            (Some(id), None, Some(result), None) => Some(Self::Result { id, result }),
            _ => None,
        }
    }

    /// The messages that `json` is: one, or a list of them (which only 2025-03-26 has).
    pub(crate) fn all_of(json: &'a str) -> Vec<Self> {
        if json.trim_start().starts_with('[') {
            let all: Vec<&RawValue> = serde_json::from_str(json).unwrap_or_default();
            all.into_iter().filter_map(|one| Self::of(one.get())).collect()
        } else {
            Self::of(json).into_iter().collect()
        }
    }
}

impl RpcError {
    /// The failure that it is.
    pub(crate) fn into_failure(self) -> Failure {
        let Self { code, message, data } = self;
        let reason = if message.is_empty() { "no reason" } else { clipped(&message) };
        Failure::Upstream(UpstreamFailure {
            code: Some(code.to_string()),
            message: format!("the server refused: {reason}"),
            details: data.map(|data| String::from(Box::<str>::from(data))).filter(|details| fits(details)),
            // An internal error of JSON-RPC says nothing about whether it was run.
            retryable: false,
        })
    }
}

/// Whether particulars are few enough to be handed on.
pub(crate) fn fits(details: &str) -> bool {
    details.len() <= DATA_BYTES_MAX
}

/// As much of a reason as a message holds.
pub(crate) fn clipped(text: &str) -> &str {
    text.get(..text.floor_char_boundary(REASON_BYTES_MAX)).unwrap_or_default()
}

/// Whether an id of the server is the text `ours`.
pub(crate) fn is_id(id: &RawValue, ours: &str) -> bool {
    serde_json::from_str::<Cow<'_, str>>(id.get()).is_ok_and(|id| id == ours)
}

/// A request with `params`, an object.
pub(crate) fn request(id: &str, method: &str, params: &str) -> String {
    let mut out = String::with_capacity(params.len() + 128);
    out.push_str("{\"jsonrpc\":\"2.0\",\"id\":");
    push_string(&mut out, id);
    out.push_str(",\"method\":");
    push_string(&mut out, method);
    out.push_str(",\"params\":");
    out.push_str(params);
    out.push('}');
    out
}

/// What a request of the server is answered with.
pub(crate) fn reply(id: &RawValue, method: &str) -> String {
    if method == "ping" {
        return format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{}}}}");
    }
    let mut out = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{{\"code\":-32601,\"message\":");
    push_string(&mut out, &format!("this client does not answer {}", clipped(method)));
    out.push_str("}}");
    out
}
