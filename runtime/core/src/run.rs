//! What is remembered of a call.
//!
//! Invariant: a run record holds no input, no result, no header value and no query string; only what was done, where,
//! how long it took and how it ended.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    ActionTrn, ConnectionTrn, Error, ErrorCode, Result, Timestamp, manifest::ComponentDigest, trace::TraceId,
};

/// The identity of a run: a UUID of version 7 (RFC 9562), so that runs sort by time.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RunId(pub uuid::Uuid);

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for RunId {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        text.parse().map(Self).map_err(|_| {
            Error::invalid_input("not a run id").hint("expected a UUID, as printed by --show-run")
        })
    }
}

/// Which door a call came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Door {
    /// The `openact` command.
    Cli,
    /// A Rust program.
    Embedded,
    /// The REST API.
    Rest,
    /// An MCP client.
    Mcp,
}

impl Door {
    /// The word in the run record.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cli => "cli",
            Self::Embedded => "embedded",
            Self::Rest => "rest",
            Self::Mcp => "mcp",
        }
    }
}

/// One use of a host function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostCall {
    /// `http.send`
    pub function: String,
    /// What it was about: method, origin and path, without query.
    pub target: String,
    /// `200`, `denied`, `timeout`, …
    pub outcome: String,
    /// How long it took, microseconds.
    pub duration_us: u64,
}

/// What a call used of its limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Highest linear memory, bytes.
    pub memory_bytes: u64,
    /// Guest time, milliseconds, counted in ticks.
    pub cpu_ms: u64,
    /// Calls of host functions, but for those that streamed an item.
    pub host_calls: u64,
    /// Items streamed.
    #[serde(default)]
    pub items: u64,
    /// Uses of them that had no more room in the record.
    #[serde(default)]
    pub host_calls_unrecorded: u64,
    /// Body bytes sent.
    pub request_bytes: u64,
    /// Body bytes received.
    pub response_bytes: u64,
    /// Length of the result, bytes.
    pub output_bytes: u64,
    /// Log lines dropped past the bound.
    pub log_lines_dropped: u64,
}

/// The record of one call.
#[derive(Clone, Debug)]
pub struct RunRecord {
    /// Its identity.
    pub id: RunId,
    /// What ran, of which tenant.
    pub action: ActionTrn,
    /// Over which connection version.
    pub connection: ConnectionTrn,
    /// By which code.
    pub connector_digest: ComponentDigest,
    /// Through which door.
    pub door: Door,
    /// Whether nothing was to be changed.
    pub dry_run: bool,
    /// The trace it is part of, if it is part of one.
    pub trace_id: Option<TraceId>,
    /// When it started.
    pub started_at: Timestamp,
    /// How long it took, microseconds.
    pub duration_us: u64,
    /// How it failed, if it did: the code and the message the caller saw.
    pub failure: Option<(ErrorCode, String)>,
    /// The first uses of host functions, at most [`crate::limits::RUN_HOST_CALLS_MAX`].
    pub host_calls: Vec<HostCall>,
    /// What it used.
    pub usage: Usage,
}

impl RunRecord {
    /// The record as `--show-run` and the lists print it.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "run_id": self.id.to_string(),
            "action_trn": self.action,
            "connection_trn": self.connection,
            "connector_digest": self.connector_digest.to_string(),
            "door": self.door,
            "dry_run": self.dry_run,
            "trace_id": self.trace_id,
            "started_at": self.started_at,
            "duration_us": self.duration_us,
            "status": if self.failure.is_none() { "ok" } else { "failed" },
            "error": self.failure.as_ref().map(|(code, message)| serde_json::json!({"code": code, "message": message})),
            "host_calls": self.host_calls,
            "usage": self.usage,
        })
    }
}
