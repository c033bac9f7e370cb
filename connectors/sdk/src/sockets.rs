//! `sockets`: outbound byte streams for wire protocols, opened by [`open_by`]. TLS, name resolution and the
//! egress policy are the host's. Most connectors use a [`crate::Stream`], which reads and writes in large pieces.
//!
//! Invariant: one [`Socket`] is one stream of the other system's own; dropping it closes it.

use serde_json::Value;

use crate::{
    Host, HostError, Login,
    bindings::openact::connector::{credentials, sockets},
};

pub use sockets::{Endpoint, TlsMode};

impl Endpoint {
    /// `host` and `port` of one of the connection's own endpoints.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self { host: host.into(), port }
    }
}

/// What [`open_by`] gives: the stream, and the state of the parked session if one was resumed.
pub type Opened = (Box<dyn Socket>, Option<Vec<u8>>);

/// Opens streams, in a test.
pub trait Streams {
    /// As [`open_by`].
    fn open(&self, endpoint: &Endpoint, tls: TlsMode, session: Option<&str>) -> Result<Opened, HostError>;
}

/// Opens a stream to one of the connection's own endpoints, or resumes one that was parked under the same `session`. Needs
/// [`crate::Capability::Sockets`]. See [`crate::pool`] for reading and writing.
pub fn open_by(
    host: &dyn Host,
    endpoint: &Endpoint,
    tls: TlsMode,
    session: Option<&str>,
) -> Result<Opened, HostError> {
    match host.streams() {
        Some(streams) => streams.open(endpoint, tls, session),
        None => open(endpoint, tls, session),
    }
}

/// [`open_by`] the component's own host. Only in a component.
pub fn open(endpoint: &Endpoint, tls: TlsMode, session: Option<&str>) -> Result<Opened, HostError> {
    let opened = sockets::open(endpoint, tls, session)?;
    Ok((Box::new(opened.socket), opened.resumed))
}

/// An open stream.
pub trait Socket {
    /// The next bytes, at least one and at most `max`; empty at the end of the stream.
    fn read(&mut self, max: u32) -> Result<Vec<u8>, HostError>;

    /// Writes all of `bytes`.
    fn write(&mut self, bytes: &[u8]) -> Result<(), HostError>;

    /// Upgrades in place. `denied` if plain bytes have arrived that were not read.
    fn start_tls(&mut self) -> Result<(), HostError>;

    /// Begins a login with the connection's secret, unseen. `not-found` if the connection has none.
    fn login(&mut self, mechanism: &str, parameters: &Value) -> Result<Box<dyn Login>, HostError>;

    /// Keeps the stream for a later call under `session`, with `state` (at most 64 KiB) for the one who resumes it.
    fn park(self: Box<Self>, session: &str, state: &[u8]);
}

/// The real one: a resource of the host.
impl Socket for sockets::Socket {
    fn read(&mut self, max: u32) -> Result<Vec<u8>, HostError> {
        sockets::Socket::read(self, max)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), HostError> {
        sockets::Socket::write(self, bytes)
    }

    fn start_tls(&mut self) -> Result<(), HostError> {
        sockets::Socket::start_tls(self)
    }

    fn login(&mut self, mechanism: &str, parameters: &Value) -> Result<Box<dyn Login>, HostError> {
        let login = credentials::Login::start(mechanism, self, &parameters.to_string())?;
        Ok(Box::new(login))
    }

    fn park(self: Box<Self>, session: &str, state: &[u8]) {
        sockets::Socket::park(*self, session, state);
    }
}
