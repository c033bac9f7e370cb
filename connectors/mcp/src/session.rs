//! Which protocol the server speaks, and the session, kept in `state` so that calls share them.
//!
//! | version | before the first request | with each request |
//! |---|---|---|
//! | 2026-07-28 | nothing | version, client and method in headers and `_meta` |
//! | earlier | `initialize`, `notifications/initialized` | the session id, if the server gave one |
//!
//! Where the connection does not say which, `server/discover` asks: it changes nothing, whoever answers. What is not
//! evidence of 2026-07-28 is an earlier server.
//!
//! Invariant: what is kept is never trusted further than one refusal of the server.

use openact_connector::Failure;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::config::Protocol;

/// The version without sessions.
pub(crate) const STATELESS: &str = "2026-07-28";

/// The newest version with sessions.
const NEWEST_WITH_SESSIONS: &str = "2025-11-25";

/// Versions with sessions that a server may settle for.
const WITH_SESSIONS: &[&str] = &["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];

/// The longest session id that is kept, bytes.
const ID_BYTES_MAX: usize = 4096;

/// Where it is kept.
pub(crate) const KEY: &str = "session";

/// How to speak to the server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Session {
    /// The version of the protocol; none before it is settled.
    #[serde(default)]
    protocol: Option<String>,
    /// The id of the session, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<String>,
}

impl Session {
    /// Nothing settled yet.
    pub(crate) fn none() -> Self {
        Self::default()
    }

    /// Of the version without sessions.
    pub(crate) fn stateless() -> Self {
        Self { protocol: Some(STATELESS.into()), id: None }
    }

    /// What a server settled for in its answer to `initialize`.
    pub(crate) fn settled(version: &str, id: Option<String>) -> Result<Self, Failure> {
        if version != STATELESS && !WITH_SESSIONS.contains(&version) {
            return Err(Failure::Protocol(format!(
                "the server speaks version '{}' of the protocol, which this connector does not",
                version.chars().take(40).collect::<String>().escape_debug()
            )));
        }
        let legal = |id: &String| id.len() <= ID_BYTES_MAX && id.bytes().all(|b| b.is_ascii_graphic());
        if id.as_ref().is_some_and(|id| !legal(id)) {
            return Err(Failure::Protocol("the server gave a session id that is none".into()));
        }
        Ok(Self { protocol: Some(version.into()), id: id.filter(|_| version != STATELESS) })
    }

    /// The one that was kept, if it is of what the connection asks for.
    pub(crate) fn of_kept(bytes: &[u8], wanted: Protocol) -> Option<Self> {
        let kept: Self = serde_json::from_slice(bytes).ok()?;
        let version = kept.protocol.as_deref()?;
        (wanted == Protocol::Auto || (wanted == Protocol::V20260728) == (version == STATELESS))
            .then_some(kept)
    }

    /// As it is kept.
    pub(crate) fn to_kept(&self) -> Vec<u8> {
        json!({"protocol": self.protocol, "id": self.id}).to_string().into_bytes()
    }

    /// Whether each request stands for itself.
    pub(crate) fn is_stateless(&self) -> bool {
        self.protocol.as_deref() == Some(STATELESS)
    }

    /// What the header says.
    pub(crate) fn version(&self) -> Option<&str> {
        self.protocol.as_deref()
    }

    /// The session's id.
    pub(crate) fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }
}

/// The version to ask for in `initialize`.
pub(crate) fn to_initialize(wanted: Protocol) -> &'static str {
    match wanted {
        Protocol::V20250618 => "2025-06-18",
        Protocol::V20250326 => "2025-03-26",
        Protocol::Auto | Protocol::V20260728 | Protocol::V20251125 => NEWEST_WITH_SESSIONS,
    }
}

/// Who we are.
pub(crate) fn client() -> Value {
    json!({"name": "openact", "version": env!("CARGO_PKG_VERSION")})
}

/// Whether one of `versions`, a list of the server's, is with sessions.
pub(crate) fn has_sessions(versions: &[String]) -> bool {
    versions.iter().any(|version| WITH_SESSIONS.contains(&version.as_str()))
}
