//! The words and rules of OpenAct. No I/O: no clock, no file, no environment, no socket.
//!
//! Read in this order: [`trn`] (identities), [`connection`] and [`action`] (what is configured), [`manifest`] (what a
//! connector says of itself), [`merge`] (how configuration combines), [`schema`] (checking it), [`policy`] (where a
//! call may go), [`policies`] (how: [`network`], [`retry`], [`header_policy`]), [`credential`] (as whom), [`login`] (as whom, to a wire protocol), [`secret`] (what must not be shown), [`limits`] (every bound), [`run`] (what is remembered of a
//! call), [`trace`] (whose trace it is part of), [`error`] (how it fails).

pub mod action;
pub mod address;
pub mod clear;
pub mod connection;
pub mod credential;
pub mod error;
pub mod governance;
pub mod header_policy;
pub mod limits;
pub mod login;
pub mod manifest;
pub mod merge;
pub mod network;
pub mod outcome;
pub mod policies;
pub mod policy;
mod private;
pub mod retry;
pub mod run;
pub mod schema;
pub mod scope;
pub mod secret;
pub mod seeds;
pub mod state;
pub mod trace;
pub mod trn;

pub use error::{Error, ErrorCode, Place, Result};
pub use trn::{ActionTrn, AuthTrn, ConnectionTrn, ConnectorName, Name, SecretName, Tenant, Version};

/// A JSON object, in the order it was written.
pub type JsonObject = serde_json::Map<String, serde_json::Value>;

/// A point in time, printed as RFC 3339.
pub type Timestamp = jiff::Timestamp;
