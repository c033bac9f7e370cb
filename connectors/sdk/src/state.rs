//! `state`: small values kept for a connection between calls, by [`get_by`], [`set_if_by`] and [`delete_by`]. Needs
//! [`crate::Capability::State`].
//!
//! Invariant: a component is linked with `state` only if it calls one of these; what a test keeps instead is behind
//! [`States`].

pub use crate::bindings::openact::connector::state::{Entry, delete, get, set_if};
use crate::{Host, HostError};

/// Keeps values in place of the component's imports, in a test.
pub trait States {
    /// As [`get_by`].
    fn get(&self, key: &str) -> Result<Option<Entry>, HostError>;

    /// As [`set_if_by`].
    fn set_if(&self, key: &str, value: &[u8], expected: Option<u64>) -> Result<u64, HostError>;

    /// As [`delete_by`].
    fn delete(&self, key: &str) -> Result<(), HostError>;
}

/// The value at `key`, if there is one.
pub fn get_by(host: &dyn Host, key: &str) -> Result<Option<Entry>, HostError> {
    match host.states() {
        Some(states) => states.get(key),
        None => get(key),
    }
}

/// Writes `value` (at most 64 KiB) if the revision there is `expected` (none: if there is no value). The new revision, or
/// `conflict`.
pub fn set_if_by(host: &dyn Host, key: &str, value: &[u8], expected: Option<u64>) -> Result<u64, HostError> {
    match host.states() {
        Some(states) => states.set_if(key, value, expected),
        None => set_if(key, value, expected),
    }
}

/// Removes the value, if there is one.
pub fn delete_by(host: &dyn Host, key: &str) -> Result<(), HostError> {
    match host.states() {
        Some(states) => states.delete(key),
        None => delete(key),
    }
}
