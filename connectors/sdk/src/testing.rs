//! A fake host with scripted streams ([`Script`]), one with real ones ([`TcpHost`]), and ways to call a connector as the
//! host would, natively.
//!
//! Invariant: calls go through the same parsing and choice of handler as in a component.

mod replies;
mod script;
#[cfg(not(target_family = "wasm"))]
mod tcp;

use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    rc::Rc,
};

use serde_json::Value;

use crate::{
    Connector, Failure, Host, HostError, Json, Request, Response,
    bindings::{Invocation, openact::connector::types},
    connector,
    http::Rest,
    log::Level,
    sockets::{Endpoint, Opened, Streams, TlsMode},
    state::{Entry, States},
};

pub use replies::Replies;
pub use script::Script;
#[cfg(not(target_family = "wasm"))]
pub use tcp::{LoginSteps, TcpHost};

/// A host that answers from a script and remembers what it was asked.
#[derive(Default)]
pub struct FakeHost {
    script: RefCell<VecDeque<Result<Response, HostError>>>,
    requests: RefCell<Vec<Request>>,
    lines: RefCell<Vec<(Level, String)>>,
    /// Where the caller takes a stream.
    emitted: Option<RefCell<Vec<Value>>>,
    sockets: RefCell<VecDeque<Result<script::Script, HostError>>>,
    opened: RefCell<Vec<(Endpoint, TlsMode, Option<String>)>>,
    seen: Rc<RefCell<script::Seen>>,
    states: RefCell<BTreeMap<String, Kept>>,
}

/// A value, unless it was deleted, and its revision.
type Kept = (Option<Vec<u8>>, u64);

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
        self.answer(status, headers, parts.into_iter().map(Ok).collect())
    }

    /// The same, with a body that breaks off with `error` after its parts.
    #[must_use]
    pub fn respond_half(
        self,
        status: u16,
        headers: &[(&str, &str)],
        parts: Vec<Vec<u8>>,
        error: HostError,
    ) -> Self {
        self.answer(status, headers, parts.into_iter().map(Ok).chain([Err(error)]).collect())
    }

    fn answer(
        self,
        status: u16,
        headers: &[(&str, &str)],
        mut parts: VecDeque<Result<Vec<u8>, HostError>>,
    ) -> Self {
        let headers =
            headers.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
        let first = match parts.pop_front() {
            Some(Ok(part)) => part,
            Some(error) => {
                parts.push_front(error);
                Vec::new()
            }
            None => Vec::new(),
        };
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

    /// Answers the next [`Streams::open`] with a stream that follows `script`.
    #[must_use]
    pub fn socket(self, script: Script) -> Self {
        self.sockets.borrow_mut().push_back(Ok(script));
        self
    }

    /// Lets the next [`Streams::open`] fail.
    #[must_use]
    pub fn fail_open(self, error: HostError) -> Self {
        self.sockets.borrow_mut().push_back(Err(error));
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

    /// The streams that were asked for, in order.
    pub fn opened(&self) -> Vec<(Endpoint, TlsMode, Option<String>)> {
        self.opened.borrow().clone()
    }

    /// What was written to each stream, in the order they were opened.
    pub fn written(&self) -> Vec<Vec<u8>> {
        self.seen.borrow().written.clone()
    }

    /// Session and state of the streams that were parked, in order.
    pub fn parked(&self) -> Vec<(String, Vec<u8>)> {
        self.seen.borrow().parked.clone()
    }

    /// What the scripts of the streams have left: empty when each was played to its end.
    pub fn left(&self) -> String {
        let mut left = self.seen.borrow().left.clone();
        left.extend(self.sockets.borrow().iter().map(|_| "a stream that was not opened".to_owned()));
        left.retain(|text| !text.is_empty());
        left.join("; ")
    }

    /// Keeps `value` at `key`, as if an earlier call had.
    #[must_use]
    pub fn keep(self, key: &str, value: impl Into<Vec<u8>>) -> Self {
        self.states.borrow_mut().insert(key.to_owned(), (Some(value.into()), 1));
        self
    }

    /// What is kept at `key`.
    pub fn kept(&self, key: &str) -> Option<Vec<u8>> {
        self.states.borrow().get(key).and_then(|(value, _)| value.clone())
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

    fn streams(&self) -> Option<&dyn Streams> {
        Some(self)
    }

    fn states(&self) -> Option<&dyn States> {
        Some(self)
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

impl Streams for FakeHost {
    fn open(&self, endpoint: &Endpoint, tls: TlsMode, session: Option<&str>) -> Result<Opened, HostError> {
        self.opened.borrow_mut().push((endpoint.clone(), tls, session.map(str::to_owned)));
        let unexpected = || Err(HostError::Denied("the fake host has no stream left to open".into()));
        let script = self.sockets.borrow_mut().pop_front().unwrap_or_else(unexpected)?;
        let resumed = script.resumed.clone();
        Ok((Box::new(script::Scripted::new(script, self.seen.clone())), resumed))
    }
}

impl States for FakeHost {
    fn get(&self, key: &str) -> Result<Option<Entry>, HostError> {
        let states = self.states.borrow();
        let found = states.get(key).and_then(|(value, revision)| Some((value.clone()?, *revision)));
        Ok(found.map(|(value, revision)| Entry { value, revision }))
    }

    fn set_if(&self, key: &str, value: &[u8], expected: Option<u64>) -> Result<u64, HostError> {
        let mut states = self.states.borrow_mut();
        let (kept, revision) = states.entry(key.to_owned()).or_default();
        if kept.as_ref().map(|_| *revision) != expected {
            return Err(HostError::Conflict(format!("'{key}' changed")));
        }
        *kept = Some(value.to_vec());
        *revision += 1;
        Ok(*revision)
    }

    fn delete(&self, key: &str) -> Result<(), HostError> {
        if let Some((value, _)) = self.states.borrow_mut().get_mut(key) {
            *value = None;
        }
        Ok(())
    }
}

/// A host with streams of its own. Everything else is a [`FakeHost`]'s.
trait OverFake: Streams {
    fn fake(&self) -> &FakeHost;
}

impl<T: OverFake> Host for T {
    fn send(&self, request: Request) -> Result<Response, HostError> {
        self.fake().send(request)
    }

    fn streams(&self) -> Option<&dyn Streams> {
        Some(self)
    }

    fn states(&self) -> Option<&dyn States> {
        self.fake().states()
    }

    fn log(&self, level: Level, message: &str, fields: Option<&Json>) {
        self.fake().log(level, message, fields);
    }

    fn emit(&self, item: &Json) -> Result<(), HostError> {
        self.fake().emit(item)
    }
}

struct Parts(VecDeque<Result<Vec<u8>, HostError>>);

impl Rest for Parts {
    fn read(&mut self, _max: u32) -> Result<Option<Vec<u8>>, HostError> {
        self.0.pop_front().transpose()
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
    pub fn on<T: Connector>(&self, host: &dyn Host) -> Result<Value, Failure> {
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
pub fn check<T: Connector>(connection: &Value, host: &dyn Host) -> Result<Value, Failure> {
    parsed(connector::check::<T>(&connection.to_string(), host)?)
}

/// What `T` says about itself, as the host gets it. Schemas are JSON text.
pub fn describe<T: Connector>() -> types::Manifest {
    T::manifest().describe()
}

fn parsed(json: Json) -> Result<Value, Failure> {
    json.parse().map_err(|error| Failure::Protocol(format!("the connector's result is not JSON: {error}")))
}
