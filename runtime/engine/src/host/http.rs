//! `http`: what a connector asks of the way out, in the contract's words. The path of a request is
//! `egress/traffic.rs`.

use bytes::Bytes;
use http::{HeaderMap, Method, header};
use openact_core::{
    Error, Result,
    header_policy::parse_headers,
    limits::{HTTP_INLINE_BYTES, HTTP_READ_BYTES_MAX, HTTP_URL_BYTES_MAX},
    manifest::Capability,
};
use url::Url;
use wasmtime::component::Resource;

use super::HostView;
use crate::{
    bindings::v0_1::{
        http::{self as wit, CredentialUse, RedirectPolicy},
        types::HostError,
    },
    egress::{Body, traffic::Outgoing},
    instance::limit_error,
};

/// The rest of a response body.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct BodyStream(Body);

impl wit::Host for HostView<'_> {
    async fn send(&mut self, request: wit::Request) -> wasmtime::Result<Result<wit::Response, HostError>> {
        Ok(self.exchange(request).await.map_err(|error| self.refuse(error)))
    }
}

impl wit::HostBodyStream for HostView<'_> {
    async fn read(
        &mut self,
        stream: Resource<BodyStream>,
        max: u32,
    ) -> wasmtime::Result<Result<Option<Vec<u8>>, HostError>> {
        let stream = self.0.table.get_mut(&stream)?;
        let read = stream.0.next(max.clamp(1, HTTP_READ_BYTES_MAX) as usize).await;
        Ok(read.map(|part| part.map(Vec::from)).map_err(|error| self.refuse(error)))
    }

    async fn drop(&mut self, stream: Resource<BodyStream>) -> wasmtime::Result<()> {
        self.0.table.delete(stream)?;
        Ok(())
    }
}

impl HostView<'_> {
    async fn exchange(&mut self, request: wit::Request) -> Result<wit::Response> {
        self.require(Capability::Http)?;
        let url = parse_url(&request.url)?;
        let origin = self.0.traffic.permit(&url)?;
        let outgoing = Outgoing {
            method: method(&request.method)?,
            url,
            headers: parse_headers(request.headers)?,
            body: request.body.map(Bytes::from),
            credential: request.credential == CredentialUse::Connection,
            follow: request.redirects == RedirectPolicy::Follow,
        };
        let wants_events = names_events(&outgoing.headers, &header::ACCEPT);
        let incoming = self.0.traffic.send(origin, outgoing).await?;
        let headers = incoming
            .headers
            .iter()
            .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
            .collect();
        let mut rest = incoming.body;
        // A stream of events may say something that has to be answered before it goes on.
        let (body, has_more) = match wants_events && names_events(&incoming.headers, &header::CONTENT_TYPE) {
            true => (Vec::new(), true),
            false => rest.first(HTTP_INLINE_BYTES).await?,
        };
        let full = |error| {
            limit_error("resources", "too many response bodies are open at once".into()).because(error)
        };
        let rest = has_more.then(|| self.0.table.push(BodyStream(rest)).map_err(full)).transpose()?;
        Ok(wit::Response { status: incoming.status.as_u16(), headers, body, rest })
    }
}

/// Whether a header is about `text/event-stream`, which is read as it comes if it was asked for.
fn names_events(headers: &HeaderMap, name: &header::HeaderName) -> bool {
    let is_named =
        |part: &str| part.split(';').next().unwrap_or(part).trim().eq_ignore_ascii_case("text/event-stream");
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|text| text.split(',').any(is_named))
}

/// A method that may be sent.
pub(super) fn method(text: &str) -> Result<Method> {
    Method::from_bytes(text.as_bytes())
        .ok()
        .filter(|method| method != Method::CONNECT && method != Method::TRACE)
        .ok_or_else(|| Error::invalid_input("the method is not one that can be sent"))
}

/// A guest's URL, if it can be read in one way only.
pub(super) fn parse_url(text: &str) -> Result<Url> {
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
