//! Requests to the server and the answers to them, whatever else it says meanwhile.
//!
//! While an answer is a stream, the server may report progress, write log lines and ask for things, see [`crate::hearing`].
//!
//! Invariant: a request is sent again only if HTTP refused it for a session that is over, and then once; a stream that broke
//! off is resumed, and its request not repeated.

use std::{
    cell::{Cell, RefCell},
    time::Duration,
};

use openact_connector::{
    Failure, Host, HostError, Json, Response, UpstreamFailure, log::Level, state, write::push_string,
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    config::{Connection, Protocol},
    exchange::{Answer, Exchange, Outgoing, Trouble},
    message::{self, Message, RpcError, code},
    session::{self, Session},
    sse::Events,
};

/// Messages of a server within one answer: a stream that says nothing is not read for ever.
const MESSAGES_MAX: u32 = 100_000;

/// How often a stream that broke off is asked to go on, without a message in between.
const RESUMES_MAX: u32 = 2;

/// The longest that a server may make us wait before that.
const RETRY_MAX: Duration = Duration::from_secs(10);

/// The wait where it says nothing.
const RETRY: Duration = Duration::from_millis(500);

/// One request.
#[derive(Clone, Copy)]
pub(crate) struct Ask<'a> {
    pub(crate) method: &'a str,
    /// What it is about, as the header says it.
    pub(crate) name: Option<&'a str>,
    /// The members of its parameters, without braces.
    pub(crate) params: &'a str,
    /// Further headers, for a server without sessions.
    pub(crate) headers: &'a [(String, String)],
    /// Whether the server is to report progress.
    pub(crate) progress: bool,
}

impl<'a> Ask<'a> {
    pub(crate) fn new(method: &'a str, params: &'a str) -> Self {
        Self { method, name: None, params, headers: &[], progress: false }
    }
}

/// One call's view of a server.
pub(crate) struct Client<'h> {
    exchange: Exchange<'h>,
    /// What the ids of requests begin with: they are unique in a session that calls share.
    call: String,
    requests: Cell<u32>,
    dry_run: bool,
    /// Whether progress goes to the caller.
    streaming: Cell<bool>,
    session: RefCell<Option<Session>>,
    /// Whether the session may be over, since an earlier call began it.
    is_kept: Cell<bool>,
    revision: Cell<Option<u64>>,
    /// What the server said of itself when it was first asked.
    server: RefCell<Option<Value>>,
}

/// What is read of the answer to `initialize` or `server/discover`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Introduction {
    #[serde(default)]
    protocol_version: Option<String>,
    #[serde(default)]
    supported_versions: Vec<String>,
    #[serde(default)]
    server_info: Option<Value>,
    #[serde(default, rename = "_meta")]
    meta: Option<Value>,
}

impl Introduction {
    fn server(&self) -> Option<Value> {
        let in_meta = || self.meta.as_ref()?.get("io.modelcontextprotocol/serverInfo").cloned();
        let info = self.server_info.clone().or_else(in_meta)?;
        Some(json!({"name": info.get("name"), "version": info.get("version")}))
    }
}

impl<'h> Client<'h> {
    pub(crate) fn new(
        connection: &'h Connection,
        host: &'h dyn Host,
        call: String,
        dry_run: bool,
    ) -> Result<Self, Failure> {
        connection.check()?;
        Ok(Self {
            exchange: Exchange { connection, host, session_id: Cell::new(None) },
            call,
            requests: Cell::new(0),
            dry_run,
            streaming: Cell::new(false),
            session: RefCell::new(None),
            is_kept: Cell::new(false),
            revision: Cell::new(None),
            server: RefCell::new(None),
        })
    }

    /// Whether progress is handed to the caller.
    pub(crate) fn stream(&self, wanted: bool) {
        self.streaming.set(wanted);
    }

    pub(crate) fn is_streaming(&self) -> bool {
        self.streaming.get()
    }

    pub(crate) fn exchange(&self) -> &Exchange<'h> {
        &self.exchange
    }

    pub(crate) fn host(&self) -> &'h dyn Host {
        self.exchange.host
    }

    pub(crate) fn is_dry_run(&self) -> bool {
        self.dry_run
    }

    /// Whether the server is one without sessions, as far as is known.
    pub(crate) fn is_stateless(&self) -> bool {
        self.session.borrow().as_ref().is_some_and(Session::is_stateless)
    }

    /// What the server says of itself and the version it speaks, asked anew.
    pub(crate) fn introduce(&self) -> Result<(Option<Value>, String), Failure> {
        if let Ok(Some(entry)) = state::get_by(self.host(), session::KEY) {
            self.revision.set(Some(entry.revision));
        }
        let session = self.begin()?;
        // Otherwise it was asked to settle the version.
        if self.exchange.connection.protocol == Protocol::V20260728 {
            self.discover(&session).map_err(Trouble::into_failure)?;
        }
        let version = session.version().unwrap_or_default().to_owned();
        Ok((self.server.borrow().clone(), version))
    }

    /// The result of a request, or the error that the server answered with.
    pub(crate) fn ask(&self, ask: Ask<'_>) -> Result<Result<Json, RpcError>, Failure> {
        loop {
            let session = self.session()?;
            let trouble = match self.ask_in(&session, ask) {
                Ok(result) => return Ok(Ok(result)),
                Err(trouble) => trouble,
            };
            if self.is_kept.get() && is_over(&session, &trouble) {
                self.host().log(Level::Debug, "the server does not know the session any more", None);
                self.begin()?;
                continue;
            }
            return match trouble {
                Trouble::Error { error, .. } => Ok(Err(error)),
                other => Err(other.into_failure()),
            };
        }
    }

    /// The session of this call: the one it has, the kept one, or a new one.
    fn session(&self) -> Result<Session, Failure> {
        if let Some(session) = self.session.borrow().as_ref() {
            return Ok(session.clone());
        }
        let wanted = self.exchange.connection.protocol;
        match state::get_by(self.host(), session::KEY) {
            Ok(Some(entry)) => {
                self.revision.set(Some(entry.revision));
                if let Some(session) = Session::of_kept(&entry.value, wanted) {
                    self.is_kept.set(true);
                    *self.session.borrow_mut() = Some(session.clone());
                    return Ok(session);
                }
            }
            Ok(None) => {}
            // A session can be begun without it.
            Err(error) => {
                let told = format!("what is kept of the server cannot be read: {error:?}");
                self.host().log(Level::Warn, &told, None);
            }
        }
        match (wanted, self.dry_run) {
            (Protocol::V20260728, _) | (Protocol::Auto, true) => {
                *self.session.borrow_mut() = Some(Session::stateless());
                Ok(Session::stateless())
            }
            // It ends at the request that has an effect, and not at the greeting before it.
            (_, true) => Session::settled(session::to_initialize(wanted), None),
            (_, false) => self.begin(),
        }
    }

    /// Settles the version, begins a session where there are sessions, and keeps that.
    fn begin(&self) -> Result<Session, Failure> {
        let session = match self.exchange.connection.protocol {
            Protocol::V20260728 => Session::stateless(),
            Protocol::Auto => match self.discover(&Session::stateless()) {
                Ok(true) => Session::stateless(),
                Ok(false) => self.initialize()?,
                Err(Trouble::Failed(failure)) => return Err(failure),
                Err(Trouble::Refused { status: 500.., failure }) => return Err(failure),
                Err(Trouble::Refused { .. }) => self.initialize()?,
                Err(Trouble::Error { error, .. }) => match error.code {
                    code::HEADER_MISMATCH | code::MISSING_CAPABILITY => return Err(error.into_failure()),
                    _ if error.code == code::UNSUPPORTED_VERSION && !names_sessions(&error) => {
                        return Err(error.into_failure());
                    }
                    _ => self.initialize()?,
                },
            },
            _ => self.initialize()?,
        };
        self.is_kept.set(false);
        *self.session.borrow_mut() = Some(session.clone());
        self.keep(&session);
        Ok(session)
    }

    /// Whether the server speaks the version without sessions.
    fn discover(&self, session: &Session) -> Result<bool, Trouble> {
        let result = self.ask_in(session, Ask::new("server/discover", ""))?;
        let Ok(introduction) = result.parse::<Introduction>() else { return Ok(false) };
        *self.server.borrow_mut() = introduction.server();
        Ok(introduction.supported_versions.iter().any(|version| version == session::STATELESS))
    }

    fn initialize(&self) -> Result<Session, Failure> {
        let version = session::to_initialize(self.exchange.connection.protocol);
        let params = format!(
            "\"protocolVersion\":\"{version}\",\"capabilities\":{{}},\"clientInfo\":{}",
            session::client()
        );
        let result = self.ask_in(&Session::none(), Ask::new("initialize", &params));
        let result = result.map_err(Trouble::into_failure)?;
        let id = self.exchange.session_id.take();
        let introduction: Introduction = result.parse().map_err(|_| {
            Failure::Protocol("the server's answer to initialize is none that the protocol has".into())
        })?;
        let session = Session::settled(introduction.protocol_version.as_deref().unwrap_or_default(), id)?;
        *self.server.borrow_mut() = introduction.server();
        if !session.is_stateless() {
            let body = "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}".to_owned();
            let told = Outgoing { method: "notifications/initialized", name: None, headers: &[], body };
            self.exchange.post(&session, &told).map_err(Trouble::into_failure)?;
        }
        Ok(session)
    }

    /// Keeps the session for later calls. Whoever comes first wins; this call has its own in any case.
    fn keep(&self, session: &Session) {
        if self.dry_run {
            return;
        }
        match state::set_if_by(self.host(), session::KEY, &session.to_kept(), self.revision.get()) {
            Ok(revision) => self.revision.set(Some(revision)),
            Err(HostError::Conflict(_)) => {}
            Err(error) => {
                let told = format!("the session is not kept for the next call: {error:?}");
                self.host().log(Level::Warn, &told, None);
            }
        }
    }

    /// One request in a session.
    fn ask_in(&self, session: &Session, ask: Ask<'_>) -> Result<Json, Trouble> {
        self.requests.set(self.requests.get() + 1);
        let id = format!("{}/{}", self.call, self.requests.get());
        let params = params(session, &ask, &id);
        let outgoing = Outgoing {
            method: ask.method,
            name: ask.name,
            headers: if session.is_stateless() { ask.headers } else { &[] },
            body: message::request(&id, ask.method, &params),
        };
        match self.exchange.post(session, &outgoing)? {
            Answer::Json(text) => {
                let mut told = 0;
                for message in Message::all_of(&text) {
                    if let Some(result) = self.take(session, message, &id, &mut told)? {
                        return Ok(result);
                    }
                }
                Err(Failure::Protocol(format!("the server's answer has none to {}", ask.method)).into())
            }
            Answer::Events(response) => self.follow(session, response, &id),
            Answer::Nothing => {
                Err(Failure::Protocol(format!("the server answered {} with nothing", ask.method)).into())
            }
        }
    }

    /// Reads a stream to the answer, and from where it broke off if that is possible.
    fn follow(&self, session: &Session, mut response: Response, id: &str) -> Result<Json, Trouble> {
        let (mut events, mut messages, mut replies, mut resumed) = (Events::default(), 0, 0, 0);
        loop {
            let broken = loop {
                match response.read() {
                    Ok(Some(bytes)) => events.push(&bytes),
                    Ok(None) => break None,
                    Err(error @ HostError::Network(_)) => break Some(error),
                    Err(error) => return Err(error.into()),
                }
                while let Some(event) = events.take()? {
                    messages += 1;
                    if messages > MESSAGES_MAX {
                        let message = format!("the server sent {MESSAGES_MAX} messages and no answer");
                        return Err(Failure::LimitExceeded(message).into());
                    }
                    if event.kind != "message" {
                        continue;
                    }
                    resumed = 0;
                    for message in Message::all_of(&event.data) {
                        if let Some(result) = self.take(session, message, id, &mut replies)? {
                            return Ok(result);
                        }
                    }
                }
            };
            let ended = || Failure::Network("the server's stream ended before its answer came".into());
            let last_id = events.last_id().filter(|_| !session.is_stateless() && resumed < RESUMES_MAX);
            let Some(last_id) = last_id.map(str::to_owned) else {
                return Err(broken.map_or_else(ended, Failure::from).into());
            };
            resumed += 1;
            let wait = events.retry_ms().map_or(RETRY, Duration::from_millis).min(RETRY_MAX);
            std::thread::sleep(wait);
            self.host().log(
                Level::Debug,
                "the server's stream ended before its answer came: it is resumed",
                None,
            );
            response = match self.exchange.resume(session, &last_id) {
                Ok(Answer::Events(response)) => response,
                Ok(_) | Err(Trouble::Refused { .. } | Trouble::Error { .. }) => return Err(ended().into()),
                Err(failed) => return Err(failed),
            };
            events = Events::after(Some(last_id));
        }
    }
}

/// Whether a refusal may only mean that what was kept of the server is out of date.
fn is_over(session: &Session, trouble: &Trouble) -> bool {
    match trouble {
        Trouble::Failed(_) => false,
        Trouble::Error { error, .. } if session.is_stateless() => error.code == code::UNSUPPORTED_VERSION,
        // 404 it should be; several servers have 400 for what they do not know.
        Trouble::Error { status, .. } | Trouble::Refused { status, .. } => {
            matches!(status, 400 | 404 | 405 | 406)
        }
    }
}

fn names_sessions(error: &RpcError) -> bool {
    #[derive(Deserialize)]
    struct Supported {
        #[serde(default)]
        supported: Vec<String>,
    }
    let data = error.data.as_ref().and_then(|data| serde_json::from_str::<Supported>(data.get()).ok());
    // Whoever does not say may have them.
    data.is_none_or(|data| session::has_sessions(&data.supported))
}

/// The parameters of a request, as an object.
fn params(session: &Session, ask: &Ask<'_>, id: &str) -> String {
    let mut meta = String::new();
    if session.is_stateless() {
        meta.push_str(&format!(
            "\"io.modelcontextprotocol/protocolVersion\":\"{}\",\"io.modelcontextprotocol/clientInfo\":{},\
             \"io.modelcontextprotocol/clientCapabilities\":{{}}",
            session::STATELESS,
            session::client()
        ));
    }
    if ask.progress {
        if session.is_stateless() {
            meta.push_str(",\"io.modelcontextprotocol/logLevel\":\"info\",");
        }
        meta.push_str("\"progressToken\":");
        push_string(&mut meta, id);
    }
    let mut out = format!("{{{}", ask.params);
    if !meta.is_empty() {
        out.push_str(if ask.params.is_empty() { "\"_meta\":{" } else { ",\"_meta\":{" });
        out.push_str(&meta);
        out.push('}');
    }
    out.push('}');
    out
}

/// A failure of a server that wants what there is nobody to give.
pub(crate) fn wants_input(result: &str) -> Failure {
    Failure::Upstream(UpstreamFailure {
        code: Some("input_required".into()),
        message: "the server asks for input in the middle of the call, and there is nobody to give it".into(),
        details: Some(result.to_owned()).filter(|details| message::fits(details)),
        retryable: false,
    })
}
