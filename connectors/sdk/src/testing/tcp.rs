//! A host whose streams are real ones, to try a connector natively against a real server. No TLS, no policy: for tests.
//!
//! Invariant: a parked stream is resumed by its endpoint and session only, as by the real host.

use std::{
    cell::RefCell,
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    rc::Rc,
    time::Duration,
};

use serde_json::Value;

use super::{FakeHost, OverFake};
use crate::{
    Endpoint, HostError, Login, Socket, TlsMode,
    sockets::{Opened, Streams},
};

/// A read that waits for longer has hung.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Makes a login by a mechanism with its parameters; the stream is for those that write a frame themselves.
type MakeLogin = dyn Fn(&str, &Value, TcpStream) -> Result<Box<dyn Login>, HostError>;

type Parked = Rc<RefCell<Vec<(Key, TcpStream, Vec<u8>)>>>;

type Key = (String, u16, Option<String>);

/// A host over real streams. The rest is a [`FakeHost`]'s.
pub struct TcpHost {
    /// For requests, emitted items and log lines.
    pub fake: FakeHost,
    login: Rc<MakeLogin>,
    parked: Parked,
}

impl TcpHost {
    /// A host whose connection has no password: each login is answered with `not-found`.
    pub fn new() -> Self {
        let none = |_: &str, _: &Value, _| Err(HostError::NotFound("there is no password".into()));
        Self { fake: FakeHost::new().streaming(), login: Rc::new(none), parked: Parked::default() }
    }

    /// Sets how a login is made.
    #[must_use]
    pub fn login(
        mut self,
        make: impl Fn(&str, &Value, TcpStream) -> Result<Box<dyn Login>, HostError> + 'static,
    ) -> Self {
        self.login = Rc::new(make);
        self
    }

    /// How many streams are parked.
    pub fn parked(&self) -> usize {
        self.parked.borrow().len()
    }
}

impl Default for TcpHost {
    fn default() -> Self {
        Self::new()
    }
}

impl OverFake for TcpHost {
    fn fake(&self) -> &FakeHost {
        &self.fake
    }
}

impl Streams for TcpHost {
    fn open(&self, endpoint: &Endpoint, tls: TlsMode, session: Option<&str>) -> Result<Opened, HostError> {
        if tls == TlsMode::Tls {
            return Err(HostError::Unsupported("this host has no TLS".into()));
        }
        let key = (endpoint.host.clone(), endpoint.port, session.map(str::to_owned));
        let found = self.parked.borrow().iter().position(|(other, ..)| session.is_some() && *other == key);
        let (stream, state) = match found.map(|at| self.parked.borrow_mut().remove(at)) {
            Some((_, stream, state)) => (stream, Some(state)),
            None => (TcpStream::connect((endpoint.host.as_str(), endpoint.port)).map_err(network)?, None),
        };
        stream.set_nodelay(true).map_err(network)?;
        stream.set_read_timeout(Some(READ_TIMEOUT)).map_err(network)?;
        let socket = TcpSocket { stream, key, login: self.login.clone(), parked: self.parked.clone() };
        Ok((Box::new(socket), state))
    }
}

struct TcpSocket {
    stream: TcpStream,
    key: Key,
    login: Rc<MakeLogin>,
    parked: Parked,
}

impl Socket for TcpSocket {
    fn read(&mut self, max: u32) -> Result<Vec<u8>, HostError> {
        let mut bytes = vec![0; max as usize];
        let count = self.stream.read(&mut bytes).map_err(network)?;
        bytes.truncate(count);
        Ok(bytes)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), HostError> {
        self.stream.write_all(bytes).map_err(network)
    }

    fn start_tls(&mut self) -> Result<(), HostError> {
        Err(HostError::Unsupported("this host has no TLS".into()))
    }

    fn login(&mut self, mechanism: &str, parameters: &Value) -> Result<Box<dyn Login>, HostError> {
        (self.login)(mechanism, parameters, self.stream.try_clone().map_err(network)?)
    }

    fn park(self: Box<Self>, session: &str, state: &[u8]) {
        let (host, port, _) = self.key;
        let key = (host, port, Some(session.to_owned()));
        self.parked.borrow_mut().push((key, self.stream, state.to_vec()));
    }
}

/// A login whose steps are a closure.
pub struct LoginSteps<F>(pub F);

impl<F: FnMut(&[u8]) -> Result<Vec<u8>, HostError>> Login for LoginSteps<F> {
    fn step(&mut self, challenge: &[u8]) -> Result<Vec<u8>, HostError> {
        (self.0)(challenge)
    }
}

fn network(error: std::io::Error) -> HostError {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => HostError::Timeout(error.to_string()),
        _ => HostError::Network(error.to_string()),
    }
}
