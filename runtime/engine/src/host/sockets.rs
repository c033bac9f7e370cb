//! `sockets`: byte streams for wire protocols, in the contract's words. The streams themselves are `egress/socket.rs`.

use openact_core::{
    Error, Result,
    limits::{SESSION_STATE_BYTES_MAX, SOCKET_READ_BYTES_MAX},
    manifest::Capability,
};
use wasmtime::component::Resource;

use super::{HostView, output::nobody_reads};
use crate::{
    bindings::v0_1::{
        sockets::{self, Endpoint, Opened, TextEncoding, TlsMode},
        types::HostError,
    },
    egress::socket::{self, Opening},
    instance::limit_error,
};

/// An open stream.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct Socket(pub(super) socket::Socket);

impl sockets::Host for HostView<'_> {
    async fn open(
        &mut self,
        endpoint: Endpoint,
        tls: TlsMode,
        session: Option<String>,
    ) -> wasmtime::Result<Result<Opened, HostError>> {
        let tls = tls == TlsMode::Tls;
        let opening = Opening { host: endpoint.host, port: endpoint.port, tls, session };
        Ok(self.opened(opening).await.map_err(|error| self.refuse(error)))
    }
}

impl sockets::HostSocket for HostView<'_> {
    async fn read(
        &mut self,
        socket: Resource<Socket>,
        max: u32,
    ) -> wasmtime::Result<Result<Vec<u8>, HostError>> {
        // Who has taken items and left will not take those that this waits for, however long they need.
        let items = self.0.items.clone().filter(|_| self.0.usage.items > 0);
        let gone = async {
            match &items {
                Some(items) => items.closed().await,
                None => std::future::pending().await,
            }
        };
        let socket = self.0.table.get_mut(&socket)?;
        let read = tokio::select! {
            read = socket.0.read((max as usize).min(SOCKET_READ_BYTES_MAX)) => read,
            () = gone => Err(nobody_reads()),
        };
        Ok(read.map_err(|error| self.refuse(error)))
    }

    async fn write(
        &mut self,
        socket: Resource<Socket>,
        bytes: Vec<u8>,
    ) -> wasmtime::Result<Result<(), HostError>> {
        let socket = self.0.table.get_mut(&socket)?;
        let written = socket.0.write(&bytes).await;
        Ok(written.map_err(|error| self.refuse(error)))
    }

    async fn start_tls(&mut self, socket: Resource<Socket>) -> wasmtime::Result<Result<(), HostError>> {
        let socket = self.0.table.get_mut(&socket)?;
        let begun = socket.0.start_tls().await;
        Ok(begun.map_err(|error| self.refuse(error)))
    }

    async fn write_credential(
        &mut self,
        _socket: Resource<Socket>,
        _name: String,
        _encoding: TextEncoding,
    ) -> wasmtime::Result<Result<(), HostError>> {
        Ok(Err(self.refuse_to_reveal("socket.write-credential")))
    }

    async fn park(
        &mut self,
        socket: Resource<Socket>,
        session: String,
        state: Vec<u8>,
    ) -> wasmtime::Result<()> {
        let Socket(socket) = self.0.table.delete(socket)?;
        if state.len() <= SESSION_STATE_BYTES_MAX {
            socket.park(session, state);
        }
        Ok(())
    }

    async fn drop(&mut self, socket: Resource<Socket>) -> wasmtime::Result<()> {
        self.0.table.delete(socket)?;
        Ok(())
    }
}

impl HostView<'_> {
    async fn opened(&mut self, opening: Opening) -> Result<Opened> {
        self.require(Capability::Sockets)?;
        let (socket, resumed) = socket::Socket::open(&self.0.traffic, opening, self.0.digest).await?;
        let full =
            |error| limit_error("resources", "too many streams are open at once".into()).because(error);
        Ok(Opened { socket: self.0.table.push(Socket(socket)).map_err(full)?, resumed })
    }

    /// The one answer of what would hand a secret over: written by itself, it can be read back from a server that keeps or
    /// repeats what it is sent. Logins are how a secret is used.
    pub(super) fn refuse_to_reveal(&mut self, what: &str) -> HostError {
        let denied = self.require(Capability::RevealCredential).err().unwrap_or_else(|| {
            Error::egress_denied(format!(
                "{what} would let the connector have the secret, which nobody granted"
            ))
            .hint("the connector has to use credentials.login or credentials.sign instead")
        });
        self.refuse(denied)
    }
}
