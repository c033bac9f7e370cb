//! `http`: one request at a time, through the policy, with the credential applied unseen.
//!
//! Order of a request: parse → egress policy → headers → credential → dial. Each redirect hop goes through it again.
//! Invariant: nothing is resolved or dialled before the policy said yes, and what the guest gets back (URLs, errors)
//! holds no part of the credential.

use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use openact_core::{
    Error, ErrorCode, Result,
    limits::{
        HTTP_HEADER_BYTES_MAX, HTTP_HEADERS_MAX, HTTP_INLINE_BYTES, HTTP_READ_BYTES_MAX, HTTP_REDIRECTS_MAX,
        HTTP_URL_BYTES_MAX,
    },
    manifest::Capability,
    policy::Origin,
};
use url::Url;
use wasmtime::component::Resource;

use super::HostView;
use crate::{
    bindings::v0_1::{
        http::{self as wit, CredentialUse, RedirectPolicy},
        types::HostError,
    },
    error::http_client,
    instance::limit_error,
};

/// The rest of a response body.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct BodyStream {
    response: reqwest::Response,
    /// Received but not yet read.
    pending: Bytes,
    /// Method, origin and path, for messages.
    target: String,
}

/// A request that the policy let through.
#[derive(Clone)]
struct Outgoing {
    method: Method,
    url: Url,
    origin: Origin,
    headers: HeaderMap,
    body: Option<Bytes>,
    credential: bool,
    follow: bool,
}

impl wit::Host for HostView<'_> {
    async fn send(&mut self, request: wit::Request) -> wasmtime::Result<Result<wit::Response, HostError>> {
        let started = Instant::now();
        let (target, sent) = match self.prepare(request) {
            Ok(outgoing) => {
                // The path helps to find the call; the query may hold what should not be kept.
                let target = format!("{} {}{}", outgoing.method, outgoing.origin, outgoing.url.path());
                let sent = self.send_following(outgoing, &target).await;
                (target, sent)
            }
            Err(error) => {
                let denied = error.details.as_ref().and_then(|details| details.get("denied")?.as_str());
                (denied.unwrap_or("-").to_owned(), Err(error))
            }
        };
        let outcome = match &sent {
            Ok(response) => response.status.to_string(),
            Err(error) => error.code.as_str().to_owned(),
        };
        self.record("http.send", target, outcome, started);
        Ok(sent.map_err(|error| self.refuse(error)))
    }
}

impl wit::HostBodyStream for HostView<'_> {
    async fn read(
        &mut self,
        stream: Resource<BodyStream>,
        max: u32,
    ) -> wasmtime::Result<Result<Option<Vec<u8>>, HostError>> {
        let mut budget =
            ResponseBudget { used: self.0.usage.response_bytes, max: self.0.limits.response_bytes };
        let stream = self.0.table.get_mut(&stream)?;
        let read = stream.read(max, &mut budget).await;
        self.0.usage.response_bytes = budget.used;
        Ok(read.map_err(|error| self.refuse(error)))
    }

    async fn drop(&mut self, stream: Resource<BodyStream>) -> wasmtime::Result<()> {
        self.0.table.delete(stream)?;
        Ok(())
    }
}

impl HostView<'_> {
    fn prepare(&mut self, request: wit::Request) -> Result<Outgoing> {
        self.require(Capability::Http)?;
        let url = parse_url(&request.url)?;
        let origin = self.0.grants.egress.check(&url)?;
        let method = Method::from_bytes(request.method.as_bytes())
            .ok()
            .filter(|method| method != Method::CONNECT && method != Method::TRACE)
            .ok_or_else(|| Error::invalid_input("the method is not one that can be sent"))?;
        let headers = guest_headers(request.headers)?;
        let body = request.body.map(Bytes::from);
        let credential = request.credential == CredentialUse::Connection;
        let follow = request.redirects == RedirectPolicy::Follow;
        Ok(Outgoing { method, url, origin, headers, body, credential, follow })
    }

    async fn send_following(&mut self, mut outgoing: Outgoing, target: &str) -> Result<wit::Response> {
        for _ in 0..=HTTP_REDIRECTS_MAX {
            let again = outgoing.follow.then(|| outgoing.clone());
            let response = self.send_once(outgoing, target).await?;
            outgoing = match again.and_then(|again| again.redirected(&response)) {
                None => return self.receive(response, target).await,
                Some(next) => next?,
            };
            // Each hop passes the policy anew (E8).
            self.0.grants.egress.check(&outgoing.url)?;
        }
        Err(limit_error("redirects", format!("{target}: more than {HTTP_REDIRECTS_MAX} redirects")))
    }

    async fn send_once(&mut self, outgoing: Outgoing, target: &str) -> Result<reqwest::Response> {
        let Outgoing { method, mut url, origin, mut headers, body, .. } = outgoing;
        // Charged for each hop: a redirect may send the body again.
        self.0.usage.request_bytes += body.as_ref().map_or(0, Bytes::len) as u64;
        if self.0.usage.request_bytes > self.0.limits.request_bytes {
            return Err(limit_error(
                "request_bytes",
                format!("the call would send more than {} bytes", self.0.limits.request_bytes),
            ));
        }
        let credential = self.0.grants.credential.as_ref();
        if let Some(credential) = credential.filter(|c| outgoing.credential && c.origin == origin) {
            credential.apply(&mut url, &mut headers);
        }
        let mut request = reqwest::Request::new(method, url);
        *request.headers_mut() = headers;
        *request.body_mut() = body.map(Into::into);
        self.0.grants.client()?.execute(request).await.map_err(|error| http_client(error, target))
    }

    async fn receive(&mut self, mut response: reqwest::Response, target: &str) -> Result<wit::Response> {
        let status = response.status().as_u16();
        if response.headers().len() > HTTP_HEADERS_MAX {
            return Err(limit_error(
                "response_headers",
                format!("{target}: the response has more than {HTTP_HEADERS_MAX} headers"),
            ));
        }
        let headers = response
            .headers()
            .iter()
            .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
            .collect();
        let mut budget =
            ResponseBudget { used: self.0.usage.response_bytes, max: self.0.limits.response_bytes };
        budget.foresee(response.content_length(), target)?;
        let mut body =
            Vec::with_capacity(response.content_length().unwrap_or(0).min(HTTP_INLINE_BYTES as u64) as usize);
        let mut pending = None;
        while let Some(chunk) = response.chunk().await.map_err(|error| http_client(error, target))? {
            let taken = budget.take(chunk.len(), target);
            self.0.usage.response_bytes = budget.used;
            taken?;
            if body.len() + chunk.len() > HTTP_INLINE_BYTES {
                pending = Some(chunk);
                break;
            }
            body.extend_from_slice(&chunk);
        }
        let rest = match pending {
            None => None,
            Some(pending) => {
                let stream = BodyStream { response, pending, target: target.to_owned() };
                Some(self.0.table.push(stream).map_err(|error| {
                    limit_error("resources", "too many response bodies are open at once".into())
                        .because(error)
                })?)
            }
        };
        Ok(wit::Response { status, headers, body, rest })
    }
}

impl BodyStream {
    async fn read(&mut self, max: u32, budget: &mut ResponseBudget) -> Result<Option<Vec<u8>>> {
        while self.pending.is_empty() {
            match self.response.chunk().await.map_err(|error| http_client(error, &self.target))? {
                None => return Ok(None),
                Some(chunk) => {
                    budget.take(chunk.len(), &self.target)?;
                    self.pending = chunk;
                }
            }
        }
        let length = self.pending.len().min(max.clamp(1, HTTP_READ_BYTES_MAX) as usize);
        Ok(Some(self.pending.split_to(length).to_vec()))
    }
}

/// Body bytes received by the whole call.
struct ResponseBudget {
    used: u64,
    max: u64,
}

impl ResponseBudget {
    /// Refuses a body whose announced length does not fit, before any of it is read.
    fn foresee(&self, length: Option<u64>, target: &str) -> Result<()> {
        match length {
            Some(length) if self.used.saturating_add(length) > self.max => Err(self.exceeded(target)),
            _ => Ok(()),
        }
    }

    fn take(&mut self, bytes: usize, target: &str) -> Result<()> {
        self.used += bytes as u64;
        if self.used > self.max { Err(self.exceeded(target)) } else { Ok(()) }
    }

    fn exceeded(&self, target: &str) -> Error {
        limit_error("response_bytes", format!("{target}: the response is larger than {} bytes", self.max))
            .hint("raise limits.response_bytes of the action or connection")
    }
}

impl Outgoing {
    /// The request that follows this one by `response` (RFC 9110 section 15.4); none if it is no redirect.
    fn redirected(mut self, response: &reqwest::Response) -> Option<Result<Self>> {
        let status = response.status().as_u16();
        if !matches!(status, 301 | 302 | 303 | 307 | 308) {
            return None;
        }
        let location = response.headers().get(header::LOCATION)?;
        let next = location.to_str().ok().and_then(|location| self.url.join(location).ok());
        let Some((next, origin)) = next.and_then(|next| Some((next.clone(), Origin::of(&next)?))) else {
            return Some(Err(Error::new(
                ErrorCode::UpstreamError,
                "the redirect's Location is not an http or https URL",
            )));
        };
        if origin != self.origin {
            // Another origin gets nothing the guest or the connection meant for this one (E8).
            self.headers.clear();
            self.credential = false;
        }
        let get = match status {
            303 => self.method != Method::HEAD,
            301 | 302 => self.method == Method::POST,
            _ => false,
        };
        if get {
            self.method = Method::GET;
            self.body = None;
            for name in [
                header::CONTENT_TYPE,
                header::CONTENT_ENCODING,
                header::CONTENT_LANGUAGE,
                header::CONTENT_LOCATION,
            ] {
                self.headers.remove(name);
            }
        }
        (self.url, self.origin) = (next, origin);
        Some(Ok(self))
    }
}

fn parse_url(text: &str) -> Result<Url> {
    if text.len() > HTTP_URL_BYTES_MAX {
        return Err(limit_error("url_bytes", format!("the URL is longer than {HTTP_URL_BYTES_MAX} bytes")));
    }
    // The parser drops these silently; they are how one text comes to mean two URLs.
    if text.bytes().any(|b| b.is_ascii_control() || b == b' ') {
        return Err(Error::invalid_input("the URL holds a space or control character"));
    }
    let mut url =
        Url::parse(text).map_err(|error| Error::invalid_input(format!("the URL is malformed: {error}")))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Error::invalid_input("the URL must not hold a user name or password"));
    }
    url.set_fragment(None);
    Ok(url)
}

/// Headers the host or the HTTP library decides; a guest that could set them could smuggle (E10).
fn is_host_owned(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "host"
            | "content-length"
            | "transfer-encoding"
            | "connection"
            | "keep-alive"
            | "upgrade"
            | "te"
            | "trailer"
            | "expect"
            | "http2-settings"
    ) || name.as_str().starts_with("proxy-")
}

fn guest_headers(raw: Vec<(String, Vec<u8>)>) -> Result<HeaderMap> {
    let bytes: usize = raw.iter().map(|(name, value)| name.len() + value.len()).sum();
    if raw.len() > HTTP_HEADERS_MAX || bytes > HTTP_HEADER_BYTES_MAX {
        return Err(limit_error(
            "request_headers",
            format!("more than {HTTP_HEADERS_MAX} headers or {HTTP_HEADER_BYTES_MAX} bytes of them"),
        ));
    }
    let mut headers = HeaderMap::with_capacity(raw.len() + 2);
    for (name, value) in raw {
        let parsed = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| Error::invalid_input(format!("'{}' is not a header name", name.escape_debug())))?;
        if is_host_owned(&parsed) {
            return Err(Error::egress_denied(format!("the header '{parsed}' is set by the host"))
                .hint(format!("remove '{parsed}' from the headers of the action, connection or input")));
        }
        let value = HeaderValue::from_bytes(&value).map_err(|_| {
            Error::invalid_input(format!(
                "the value of header '{parsed}' holds a line break or control character"
            ))
        })?;
        headers.append(parsed, value);
    }
    Ok(headers)
}
