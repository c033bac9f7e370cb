//! A fake host, and ways to call a connector as the host would, natively.
//!
//! Invariant: calls go through the same parsing and choice of handler as in a component.

use std::{cell::RefCell, collections::VecDeque};

use serde_json::Value;

use crate::{
    Connector, Failure, Host, HostError, Json, Request, Response,
    bindings::{Invocation, openact::connector::types},
    connector,
    http::Rest,
    log::Level,
    sockets::{Endpoint, Opened, TlsMode},
};

/// A host that answers from a script and remembers what it was asked.
#[derive(Default)]
pub struct FakeHost {
    script: RefCell<VecDeque<Result<Response, HostError>>>,
    requests: RefCell<Vec<Request>>,
    lines: RefCell<Vec<(Level, String)>>,
    /// Where the caller takes a stream.
    emitted: Option<RefCell<Vec<Value>>>,
}

impl FakeHost {
    /// A host without a script: every request is refused as `denied`.
    pub fn new() -> Self {
        Self::default()
    }

    /// Answers the next request with `status`, headers and `body`.
    #[must_use]
    pub fn respond(self, status: u16, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> Self {
        self.respond_in_parts(status, headers, vec![body.into()])
    }

    /// Answers the next request with a body that arrives in parts: the first inline, the others to be read.
    #[must_use]
    pub fn respond_in_parts(self, status: u16, headers: &[(&str, &str)], parts: Vec<Vec<u8>>) -> Self {
        let headers =
            headers.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
        let mut parts = VecDeque::from(parts);
        let first = parts.pop_front().unwrap_or_default();
        let rest = (!parts.is_empty()).then(|| Box::new(Parts(parts)) as Box<dyn Rest>);
        self.script.borrow_mut().push_back(Ok(Response::from_parts(status, headers, first, rest)));
        self
    }

    /// Lets the next request fail.
    #[must_use]
    pub fn fail(self, error: HostError) -> Self {
        self.script.borrow_mut().push_back(Err(error));
        self
    }

    /// Lets the caller take a stream: [`Host::emit`] succeeds, and [`FakeHost::emitted`] has the items.
    #[must_use]
    pub fn streaming(mut self) -> Self {
        self.emitted = Some(RefCell::default());
        self
    }

    /// The items that were emitted, in order.
    pub fn emitted(&self) -> Vec<Value> {
        self.emitted.as_ref().map(|items| items.borrow().clone()).unwrap_or_default()
    }

    /// The requests that were sent, in order.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.borrow().clone()
    }

    /// The log lines, in order.
    pub fn lines(&self) -> Vec<(Level, String)> {
        self.lines.borrow().clone()
    }
}

impl Host for FakeHost {
    fn send(&self, request: Request) -> Result<Response, HostError> {
        self.requests.borrow_mut().push(request);
        let unexpected = || Err(HostError::Denied("the script of the fake host has no answer left".into()));
        self.script.borrow_mut().pop_front().unwrap_or_else(unexpected)
    }

    fn open(&self, endpoint: &Endpoint, tls: TlsMode, session: Option<&str>) -> Result<Opened, HostError> {
        let _ = (tls, session);
        Err(HostError::Denied(format!("the fake host opens nothing to {}:{}", endpoint.host, endpoint.port)))
    }

    fn log(&self, level: Level, message: &str, _fields: Option<&Json>) {
        self.lines.borrow_mut().push((level, message.to_owned()));
    }

    fn emit(&self, item: &Json) -> Result<(), HostError> {
        let Some(emitted) = &self.emitted else {
            return Err(HostError::Unsupported("the caller takes no stream".into()));
        };
        let not_json = |error: serde_json::Error| HostError::InvalidRequest(error.to_string());
        emitted.borrow_mut().push(item.parse().map_err(not_json)?);
        Ok(())
    }
}

struct Parts(VecDeque<Vec<u8>>);

impl Rest for Parts {
    fn read(&mut self, _max: u32) -> Result<Option<Vec<u8>>, HostError> {
        Ok(self.0.pop_front())
    }
}

/// What to call an operation with.
#[derive(Clone, Debug)]
pub struct Invoke {
    /// The operation.
    pub operation: &'static str,
    /// The connection.
    pub connection: Value,
    /// The action, as merged.
    pub action: Value,
    /// The input.
    pub input: Value,
    /// Whether nothing may have an effect.
    pub dry_run: bool,
}

impl Invoke {
    /// Calls `T` with it.
    pub fn on<T: Connector>(&self, host: &FakeHost) -> Result<Value, Failure> {
        let invocation = Invocation {
            call_id: "test".into(),
            operation: self.operation.into(),
            connection: self.connection.to_string(),
            action: self.action.to_string(),
            input: self.input.to_string(),
            deadline_ms: 60_000,
            dry_run: self.dry_run,
        };
        parsed(connector::invoke::<T>(invocation, host)?)
    }
}

/// Asks `T` whether `connection` works.
pub fn check<T: Connector>(connection: &Value, host: &FakeHost) -> Result<Value, Failure> {
    parsed(connector::check::<T>(&connection.to_string(), host)?)
}

/// What `T` says about itself, as the host gets it. Schemas are JSON text.
pub fn describe<T: Connector>() -> types::Manifest {
    T::manifest().describe()
}

fn parsed(json: Json) -> Result<Value, Failure> {
    json.parse().map_err(|error| Failure::Protocol(format!("the connector's result is not JSON: {error}")))
}
