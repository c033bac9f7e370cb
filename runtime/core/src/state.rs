//! Small values that a connector keeps for a connection between calls.
//!
//! Invariant: what one connection version and one component wrote, no other reads.

use crate::{ConnectionTrn, Result, credential::BoxFuture, manifest::ComponentDigest};

/// Whose values they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateOwner {
    /// The connection version.
    pub connection: ConnectionTrn,
    /// The component.
    pub connector: ComponentDigest,
}

/// A value, and the revision it was written at: 1 for the first, one more for each after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateEntry {
    /// The value.
    pub value: Vec<u8>,
    /// The revision.
    pub revision: u64,
}

/// Where they are kept.
pub trait States: Send + Sync {
    /// The value at `key`.
    fn get_state<'a>(
        &'a self,
        owner: &'a StateOwner,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<StateEntry>>>;

    /// Writes `value` if the revision there is `expected` (none: if there is no value); the new revision, or a
    /// `conflict`.
    fn set_state<'a>(
        &'a self,
        owner: &'a StateOwner,
        key: &'a str,
        value: &'a [u8],
        expected: Option<u64>,
    ) -> BoxFuture<'a, Result<u64>>;

    /// Removes it, if it is there.
    fn delete_state<'a>(&'a self, owner: &'a StateOwner, key: &'a str) -> BoxFuture<'a, Result<()>>;
}
