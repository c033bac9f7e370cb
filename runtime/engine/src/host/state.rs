//! `state`: small values kept between calls. Not in this version.

use openact_core::manifest::Capability;

use super::HostView;
use crate::bindings::v0_1::{
    state::{self, Entry},
    types::HostError,
};

impl state::Host for HostView<'_> {
    async fn get(&mut self, _key: String) -> wasmtime::Result<Result<Option<Entry>, HostError>> {
        self.unsupported(Capability::State, "state.get")
    }

    async fn set_if(
        &mut self,
        _key: String,
        _value: Vec<u8>,
        _expected: Option<u64>,
    ) -> wasmtime::Result<Result<u64, HostError>> {
        self.unsupported(Capability::State, "state.set-if")
    }

    async fn delete(&mut self, _key: String) -> wasmtime::Result<Result<(), HostError>> {
        self.unsupported(Capability::State, "state.delete")
    }
}
