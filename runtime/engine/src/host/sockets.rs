//! `sockets`: byte streams for wire protocols. Not in this version.

use openact_core::manifest::Capability;
use wasmtime::component::Resource;

use super::HostView;
use crate::bindings::v0_1::{
    sockets::{self, Endpoint, Opened, TextEncoding, TlsMode},
    types::HostError,
};

/// A socket. There is none yet: `open` never succeeds.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub enum Socket {}

impl sockets::Host for HostView<'_> {
    async fn open(
        &mut self,
        _endpoint: Endpoint,
        _tls: TlsMode,
        _session: Option<String>,
    ) -> wasmtime::Result<Result<Opened, HostError>> {
        self.unsupported(Capability::Sockets, "sockets.open")
    }
}

impl sockets::HostSocket for HostView<'_> {
    async fn read(
        &mut self,
        _socket: Resource<Socket>,
        _max: u32,
    ) -> wasmtime::Result<Result<Vec<u8>, HostError>> {
        self.unsupported(Capability::Sockets, "socket.read")
    }

    async fn write(
        &mut self,
        _socket: Resource<Socket>,
        _bytes: Vec<u8>,
    ) -> wasmtime::Result<Result<(), HostError>> {
        self.unsupported(Capability::Sockets, "socket.write")
    }

    async fn start_tls(&mut self, _socket: Resource<Socket>) -> wasmtime::Result<Result<(), HostError>> {
        self.unsupported(Capability::Sockets, "socket.start-tls")
    }

    async fn write_credential(
        &mut self,
        _socket: Resource<Socket>,
        _name: String,
        _encoding: TextEncoding,
    ) -> wasmtime::Result<Result<(), HostError>> {
        self.unsupported(Capability::Sockets, "socket.write-credential")
    }

    async fn park(
        &mut self,
        socket: Resource<Socket>,
        _session: String,
        _state: Vec<u8>,
    ) -> wasmtime::Result<()> {
        self.drop(socket).await
    }

    async fn drop(&mut self, socket: Resource<Socket>) -> wasmtime::Result<()> {
        self.0.table.delete(socket)?;
        Ok(())
    }
}
