//! Streamable HTTP, as a tower service: sessions for clients of the earlier protocols, single requests for those of the
//! newest.
//!
//! Invariant: a session is of the caller who opened it, and of no other: what one was answered, or is told, no other
//! reads. A server that ends lets the calls finish that it answers.

use std::{
    collections::HashMap,
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use ::http::{HeaderMap, Method, Request, Response, StatusCode, header};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use openact::limits::{MCP_MESSAGE_BYTES_MAX, MCP_SESSIONS_MAX};
use rmcp::{
    model::ProtocolVersion,
    transport::streamable_http_server::{
        SessionManager, StreamableHttpServerConfig, StreamableHttpService,
        session::local::LocalSessionManager,
    },
};
use serde_json::json;
use tokio_util::{
    sync::CancellationToken,
    task::{TaskTracker, task_tracker::TaskTrackerToken},
};
use tower_service::Service;

use crate::{McpCaller, Server, handler::Handler};

const SESSION: &str = "mcp-session-id";
const VERSION: &str = "mcp-protocol-version";
const METHOD: &str = "mcp-method";

/// An answer.
type Answer = Response<BoxBody<Bytes, Infallible>>;

/// The server over HTTP. Clones share everything.
#[derive(Clone)]
pub struct McpService {
    server: Arc<Server>,
    inner: StreamableHttpService<Handler, LocalSessionManager>,
    sessions: Arc<Sessions>,
    /// Answers to requests that go on.
    answers: TaskTracker,
    /// Cancelled when everything ends.
    ended: CancellationToken,
}

struct Sessions {
    of: Mutex<HashMap<String, McpCaller>>,
    manager: Arc<LocalSessionManager>,
}

impl McpService {
    pub(crate) fn new(server: Arc<Server>) -> Self {
        let ended = CancellationToken::new();
        let mut config = StreamableHttpServerConfig::default();
        config.json_response = true;
        config.cancellation_token = ended.clone();
        config.max_request_body_bytes = MCP_MESSAGE_BYTES_MAX;
        let config = match server.settings.loopback_only {
            true => config.enforce_origin_validation(),
            false => config.disable_allowed_hosts(),
        };
        let manager = Arc::new(LocalSessionManager::default());
        let handlers = server.clone();
        let inner =
            StreamableHttpService::new(move || Ok(Handler::new(handlers.clone())), manager.clone(), config);
        let sessions = Arc::new(Sessions { of: Mutex::default(), manager });
        Self { server, inner, sessions, answers: TaskTracker::new(), ended }
    }

    /// Ends the server: nothing waits for changes any more, what is being answered is answered, then every connection is
    /// closed. Dropping the future before leaves off waiting, and [`McpService::close`] ends the rest.
    pub async fn shutdown(&self) {
        self.server.ending.cancel();
        self.answers.close();
        self.answers.wait().await;
        self.close();
        // What ran on for clients that had left is over, and recorded, before the store is closed.
        self.server.calls.close();
        self.server.calls.wait().await;
    }

    /// Ends the server and every call at once.
    pub fn close(&self) {
        self.server.ending.cancel();
        self.ended.cancel();
    }

    async fn answer<B>(self, mut request: Request<B>) -> Answer
    where
        B: Body + Send + 'static,
        B::Error: std::fmt::Display,
    {
        let told = request.extensions().get::<McpCaller>().or(self.server.settings.caller.as_ref());
        let Some(caller) = told.cloned() else {
            return refused(StatusCode::UNAUTHORIZED, "who calls is not known");
        };
        request.extensions_mut().insert(caller.clone());
        let is_post = request.method() == Method::POST;
        match text(request.headers(), SESSION) {
            Some(id) if !self.sessions.is_of(id, &caller) => {
                // As if there were none: the specification's answer to it, after which a client begins anew.
                return refused(StatusCode::NOT_FOUND, "there is no such session");
            }
            None if is_post && may_open_session(request.headers()) && !self.sessions.has_room().await => {
                return refused(StatusCode::SERVICE_UNAVAILABLE, "as many sessions are open as may be");
            }
            _ => {}
        }
        let answering = is_post.then(|| self.answers.token());
        let answer = self.inner.handle(request).await;
        if let Some(id) = text(answer.headers(), SESSION) {
            self.sessions.opened(id, caller);
        }
        match answering {
            Some(token) => answer.map(|body| Answering { body, _token: token }.boxed()),
            None => answer,
        }
    }
}

/// Whether it may be of a client that has sessions. Those of the newest protocol say which they speak, and the method, which the
/// SDK holds them to; one of them that begins as the earlier ones did (`initialize`) gets a session all the same.
fn may_open_session(headers: &HeaderMap) -> bool {
    let is_older = |version: &str| version < ProtocolVersion::V_2026_07_28.as_str();
    text(headers, VERSION).is_none_or(is_older)
        || text(headers, METHOD).is_none_or(|method| method == "initialize")
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap_or(""))
}

impl Sessions {
    fn is_of(&self, id: &str, caller: &McpCaller) -> bool {
        let same = |of: &McpCaller| of.name == caller.name && of.tenant == caller.tenant;
        self.lock().get(id).is_some_and(same)
    }

    fn opened(&self, id: &str, caller: McpCaller) {
        self.lock().entry(id.to_owned()).or_insert(caller);
    }

    async fn has_room(&self) -> bool {
        if self.lock().len() < MCP_SESSIONS_MAX {
            return true;
        }
        // Sessions end by themselves, when nobody used them for a while.
        let ids: Vec<String> = self.lock().keys().cloned().collect();
        for id in ids {
            if !self.manager.has_session(&id.as_str().into()).await.unwrap_or(true) {
                self.lock().remove(&id);
            }
        }
        self.lock().len() < MCP_SESSIONS_MAX
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, McpCaller>> {
        self.of.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A refusal before there is a message to answer.
fn refused(status: StatusCode, message: &str) -> Answer {
    let error = json!({ "jsonrpc": "2.0", "id": null, "error": { "code": -32600, "message": message } });
    let mut answer = Response::new(Full::new(Bytes::from(error.to_string())).boxed());
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    answer
}

impl<B> Service<Request<B>> for McpService
where
    B: Body + Send + 'static,
    B::Error: std::fmt::Display,
{
    type Response = Answer;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, Infallible>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move { Ok(service.answer(request).await) })
    }
}

/// The body of an answer, counted while it goes on.
struct Answering {
    body: BoxBody<Bytes, Infallible>,
    _token: TaskTrackerToken,
}

impl Body for Answering {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_may_get_a_session_is_counted() {
        let newest = (VERSION, "2026-07-28");
        for (pairs, may) in [
            (vec![], true),
            (vec![(VERSION, "2025-06-18")], true),
            (vec![(VERSION, "2025-06-18"), (METHOD, "tools/call")], true),
            (vec![newest], true),
            (vec![newest, (METHOD, "initialize")], true),
            (vec![newest, (METHOD, "tools/call")], false),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in &pairs {
                headers.append(*name, value.parse().unwrap());
            }
            assert_eq!(may_open_session(&headers), may, "{pairs:?}");
        }
    }
}
