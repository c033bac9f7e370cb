//! `credentials`: using a secret without seeing it. Not in this version.

use openact_core::manifest::Capability;
use wasmtime::component::Resource;

use super::{HostView, sockets::Socket};
use crate::bindings::v0_1::{credentials, types::HostError};

/// A login in progress. There is none yet: `start` never succeeds.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub enum Login {}

impl credentials::Host for HostView<'_> {
    async fn length(&mut self, _name: String) -> wasmtime::Result<Result<u32, HostError>> {
        self.unsupported(Capability::Sockets, "credentials.length")
    }

    async fn sign(
        &mut self,
        _algorithm: String,
        _name: String,
        _message: Vec<u8>,
    ) -> wasmtime::Result<Result<Vec<u8>, HostError>> {
        self.unsupported(Capability::Sockets, "credentials.sign")
    }

    async fn reveal(&mut self, _name: String) -> wasmtime::Result<Result<String, HostError>> {
        self.unsupported(Capability::RevealCredential, "credentials.reveal")
    }
}

impl credentials::HostLogin for HostView<'_> {
    async fn start(
        &mut self,
        _mechanism: String,
        _on: Resource<Socket>,
        _parameters: String,
    ) -> wasmtime::Result<Result<Resource<Login>, HostError>> {
        self.unsupported(Capability::Sockets, "login.start")
    }

    async fn step(
        &mut self,
        _login: Resource<Login>,
        _challenge: Vec<u8>,
    ) -> wasmtime::Result<Result<Vec<u8>, HostError>> {
        self.unsupported(Capability::Sockets, "login.step")
    }

    async fn drop(&mut self, login: Resource<Login>) -> wasmtime::Result<()> {
        self.0.table.delete(login)?;
        Ok(())
    }
}
