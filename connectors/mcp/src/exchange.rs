//! One message to the server, and what comes back over HTTP: JSON, a stream of events, or a refusal.
//!
//! Invariant: a message goes to the connection's own origin alone; a redirect away from it is a failure.

use std::{borrow::Cow, cell::Cell};

use base64::{Engine, engine::general_purpose::STANDARD};
use openact_connector::{Failure, Host, HostError, Request, Response, UpstreamFailure};

use crate::{
    config::Connection,
    message::{Message, RpcError, fits},
    session::Session,
};

/// Redirects of one message. A server that adds a slash needs one.
const REDIRECTS_MAX: u32 = 3;

/// An answer that is no stream, bytes: as an event of one.
const BODY_BYTES_MAX: u64 = crate::sse::BYTES_MAX as u64;

/// A refusal is read this far, bytes.
const REFUSAL_BYTES_MAX: usize = 64 * 1024;

/// Why there is no result.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The call fails.
    Failed(Failure),
    /// The server answered the request with an error, under this status.
    Error {
        /// Of HTTP.
        status: u16,
        /// Its own.
        error: RpcError,
    },
    /// HTTP says no, and nothing that answers the request: it was not run.
    Refused {
        /// Of HTTP.
        status: u16,
        /// What it comes to if that is the end of it.
        failure: Failure,
    },
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<HostError> for Trouble {
    fn from(error: HostError) -> Self {
        Self::Failed(error.into())
    }
}

impl Trouble {
    /// What the caller is told.
    pub(crate) fn into_failure(self) -> Failure {
        match self {
            Self::Failed(failure) | Self::Refused { failure, .. } => failure,
            Self::Error { error, .. } => error.into_failure(),
        }
    }
}

/// What a message is sent with.
pub(crate) struct Outgoing<'a> {
    pub(crate) method: &'a str,
    /// What the method is about: a tool, a URI.
    pub(crate) name: Option<&'a str>,
    /// Further headers.
    pub(crate) headers: &'a [(String, String)],
    pub(crate) body: String,
}

/// What an answer is.
pub(crate) enum Answer {
    /// There is none, as for what is no request.
    Nothing,
    /// One text of JSON.
    Json(String),
    /// Events that arrive.
    Events(Response),
}

/// Sends to one server.
pub(crate) struct Exchange<'h> {
    pub(crate) connection: &'h Connection,
    pub(crate) host: &'h dyn Host,
    /// The session id of the last answer that had one.
    pub(crate) session_id: Cell<Option<String>>,
}

impl Exchange<'_> {
    /// Posts a message.
    pub(crate) fn post(&self, session: &Session, outgoing: &Outgoing<'_>) -> Result<Answer, Trouble> {
        let mut request = self.request("POST", session).header("content-type", "application/json");
        if session.is_stateless() {
            request = request.header("mcp-method", outgoing.method);
            if let Some(name) = outgoing.name {
                request = request.header("mcp-name", header_value(name).into_owned());
            }
        }
        for (name, value) in outgoing.headers {
            request = request.header(name.clone(), value.clone());
        }
        let response = self.send(request.body(outgoing.body.clone()))?;
        self.session_id.set(response.header("mcp-session-id").map(str::to_owned));
        answer(response)
    }

    /// Asks for what a stream would have gone on with.
    pub(crate) fn resume(&self, session: &Session, last_id: &str) -> Result<Answer, Trouble> {
        let request = self.request("GET", session).header("last-event-id", last_id);
        answer(self.send(request)?)
    }

    fn request(&self, method: &str, session: &Session) -> Request {
        let mut request = Request::new(method, self.connection.url.clone());
        for (name, value) in &self.connection.headers {
            request = request.header(name.clone(), value.clone());
        }
        let accept =
            if method == "GET" { "text/event-stream" } else { "application/json, text/event-stream" };
        request = request.header("accept", accept);
        if let Some(version) = session.version() {
            request = request.header("mcp-protocol-version", version);
        }
        if let Some(id) = session.id() {
            request = request.header("mcp-session-id", id);
        }
        request
    }

    /// Sends it, and again to where the server says on the same origin. Only 307 and 308 keep the message.
    fn send(&self, request: Request) -> Result<Response, Trouble> {
        let mut url = request.url.clone();
        for _ in 0..=REDIRECTS_MAX {
            let response = self.host.send(Request { url: url.clone(), ..request.clone() })?;
            if !matches!(response.status, 301 | 302 | 303 | 307 | 308) {
                return Ok(response);
            }
            let to = response.header("location").unwrap_or_default();
            match redirected(&url, to).filter(|_| matches!(response.status, 307 | 308)) {
                Some(to) => url = to,
                None => return Err(Trouble::Failed(redirect(response.status, to))),
            }
        }
        Err(Trouble::Failed(Failure::upstream("the server redirects in a circle")))
    }
}

/// The URL of a redirect, if it stays on the origin of `url`.
fn redirected(url: &str, location: &str) -> Option<String> {
    let after_scheme = url.find("://")? + 3;
    let end = url.get(after_scheme..)?.find(['/', '?', '#']).map_or(url.len(), |at| after_scheme + at);
    let origin = url.get(..end)?;
    if location.starts_with('/') && !location.starts_with("//") && !location.starts_with("/\\") {
        return Some(format!("{origin}{location}"));
    }
    let (same, rest) = (location.get(..end)?, location.get(end..)?);
    (same.eq_ignore_ascii_case(origin) && rest.starts_with(['/', '?'])).then(|| location.to_owned())
}

fn redirect(status: u16, to: &str) -> Failure {
    let to: String = to.split(['?', '#']).next().unwrap_or_default().chars().take(200).collect();
    Failure::Upstream(UpstreamFailure {
        code: Some(status.to_string()),
        message: format!(
            "the server redirects to '{}', which is not followed; if that is the server, make it the connection's url",
            to.escape_debug()
        ),
        details: None,
        retryable: false,
    })
}

fn answer(mut response: Response) -> Result<Answer, Trouble> {
    let status = response.status;
    if !(200..300).contains(&status) {
        return Err(refusal(response));
    }
    let content_type = response.header("content-type").unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if essence == "text/event-stream" {
        return Ok(Answer::Events(response));
    }
    let Some(body) = response.take_body_within(BODY_BYTES_MAX)? else {
        let message = format!("the server's answer is longer than {BODY_BYTES_MAX} bytes");
        return Err(Trouble::Failed(Failure::LimitExceeded(message)));
    };
    if body.trim_ascii().is_empty() {
        return Ok(Answer::Nothing);
    }
    let is_json = essence == "application/json" || essence.ends_with("+json");
    match String::from_utf8(body) {
        Ok(text) if is_json => Ok(Answer::Json(text)),
        _ => Err(Trouble::Failed(Failure::Protocol(format!(
            "the server answered {status} with '{}', which is neither JSON nor a stream of events; is the url that of an \
             MCP endpoint (Streamable HTTP)?",
            essence.escape_debug()
        )))),
    }
}

/// What a status from 300 on comes to.
fn refusal(mut response: Response) -> Trouble {
    let status = response.status;
    let failure = response.failure();
    let mut body = Vec::new();
    // What broke off is as good as what was cut.
    while let Ok(Some(part)) = response.read() {
        body.extend_from_slice(&part);
        if body.len() > REFUSAL_BYTES_MAX {
            body.truncate(REFUSAL_BYTES_MAX);
            break;
        }
    }
    let text = String::from_utf8_lossy(&body);
    match failure {
        Some(failure @ (Failure::Unauthenticated(_) | Failure::RateLimited(_))) => Trouble::Failed(failure),
        _ => match Message::of(&text) {
            Some(Message::Error { id: Some(_), error }) => Trouble::Error { status, error },
            Some(Message::Error { id: None, error }) => {
                Trouble::Refused { status, failure: error.into_failure() }
            }
            _ => Trouble::Refused { status, failure: unspoken(status, failure, &text) },
        },
    }
}

/// A refusal without a message of the protocol.
fn unspoken(status: u16, failure: Option<Failure>, body: &str) -> Failure {
    let retryable = matches!(&failure, Some(Failure::Upstream(upstream)) if upstream.retryable);
    let details = serde_json::json!({"status_code": status, "body": body}).to_string();
    Failure::Upstream(UpstreamFailure {
        code: Some(status.to_string()),
        message: format!("the server answered {status}"),
        details: Some(details).filter(|details| fits(details)),
        retryable,
    })
}

/// A value as a header has it (SEP-2243): in base64 if it could not be sent as it is, or would be taken for that.
pub(crate) fn header_value(value: &str) -> Cow<'_, str> {
    let is_edge = |byte: char| matches!(byte, ' ' | '\t');
    let is_taken = value.starts_with("=?base64?") && value.ends_with("?=");
    let plain =
        value.bytes().all(|byte| (b' '..=b'~').contains(&byte)) && value.trim_matches(is_edge) == value;
    let plain = plain && !is_taken;
    if plain { value.into() } else { format!("=?base64?{}?=", STANDARD.encode(value)).into() }
}
