//! `state`: small values kept for a connection between calls. Where they are kept is the store's.
//!
//! Invariant: the owner is this call's connection version and this very component; a guest names nothing but the key.

use std::sync::Arc;

use openact_core::{
    Error, Result,
    limits::{STATE_KEY_BYTES_MAX, STATE_VALUE_BYTES_MAX},
    manifest::{Capability, ComponentDigest},
    state::{StateOwner, States},
};

use super::HostView;
use crate::{
    bindings::v0_1::{
        state::{self, Entry},
        types::HostError,
    },
    instance::limit_error,
};

impl state::Host for HostView<'_> {
    async fn get(&mut self, key: String) -> wasmtime::Result<Result<Option<Entry>, HostError>> {
        let found = match self.kept(&key) {
            Ok((owner, states)) => states.get_state(&owner, &key).await,
            Err(error) => Err(error),
        };
        let entry =
            found.map(|found| found.map(|entry| Entry { value: entry.value, revision: entry.revision }));
        Ok(entry.map_err(|error| self.refuse(error)))
    }

    async fn set_if(
        &mut self,
        key: String,
        value: Vec<u8>,
        expected: Option<u64>,
    ) -> wasmtime::Result<Result<u64, HostError>> {
        let set = match self.changing(&key, value.len()) {
            Ok((owner, states)) => states.set_state(&owner, &key, &value, expected).await,
            Err(error) => Err(error),
        };
        Ok(set.map_err(|error| self.refuse(error)))
    }

    async fn delete(&mut self, key: String) -> wasmtime::Result<Result<(), HostError>> {
        let deleted = match self.changing(&key, 0) {
            Ok((owner, states)) => states.delete_state(&owner, &key).await,
            Err(error) => Err(error),
        };
        Ok(deleted.map_err(|error| self.refuse(error)))
    }
}

impl HostView<'_> {
    fn kept(&self, key: &str) -> Result<(StateOwner, Arc<dyn States>)> {
        self.require(Capability::State)?;
        if key.is_empty() || key.len() > STATE_KEY_BYTES_MAX || key.contains(char::is_control) {
            return Err(Error::invalid_input(format!(
                "a key of state has 1 to {STATE_KEY_BYTES_MAX} bytes and no control character"
            )));
        }
        let kept = self.0.traffic.grants.states.as_ref();
        let (connection, states) =
            kept.ok_or_else(|| Error::egress_denied("this call has no connection to keep anything for"))?;
        let owner = StateOwner { connection: connection.clone(), connector: ComponentDigest(self.0.digest) };
        Ok((owner, states.clone()))
    }

    fn changing(&self, key: &str, bytes: usize) -> Result<(StateOwner, Arc<dyn States>)> {
        let kept = self.kept(key)?;
        if self.0.traffic.dry_run {
            return Err(Error::egress_denied("this is a dry run: nothing is kept"));
        }
        if bytes > STATE_VALUE_BYTES_MAX {
            let message =
                format!("a value of state has {bytes} bytes; at most {STATE_VALUE_BYTES_MAX} are kept");
            return Err(limit_error("state_bytes", message));
        }
        Ok(kept)
    }
}
