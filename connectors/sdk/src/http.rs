//! `http`: requests, and responses whose body may arrive in parts.
//!
//! Invariant: nothing here can set or see a credential; [`CredentialUse`] only says whether the host adds it.

use serde::{Serialize, de::DeserializeOwned};

use crate::{Failure, HostError, UpstreamFailure, bindings::openact::connector::http};

pub use http::{CredentialUse, RedirectPolicy, Request};

/// At most this much is asked for by one read of a body.
const READ_BYTES_MAX: u32 = 1024 * 1024;

/// A `content-length` is a promise of the other side: no more than this is reserved on its word.
const RESERVE_BYTES_MAX: usize = 16 * 1024 * 1024;

impl Request {
    /// A request without headers or body, sent with the connection's credential; redirects are not followed.
    pub fn new(method: impl Into<String>, url: impl Into<String>) -> Self {
        Self {
            method: method.into(),
            url: url.into(),
            headers: Vec::new(),
            body: None,
            credential: CredentialUse::Connection,
            redirects: RedirectPolicy::Manual,
        }
    }

    /// A GET request.
    pub fn get(url: impl Into<String>) -> Self {
        Self::new("GET", url)
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.body = Some(bytes.into());
        self
    }

    /// Sets the body to `value` as JSON, and its content type.
    pub fn json(self, value: &(impl Serialize + ?Sized)) -> Result<Self, Failure> {
        let text = crate::Json::of(value)?;
        Ok(self.header("content-type", "application/json").body(String::from(text)))
    }
}

/// The rest of a body, part by part.
pub(crate) trait Rest {
    /// The next bytes, at most `max`; none at the end.
    fn read(&mut self, max: u32) -> Result<Option<Vec<u8>>, HostError>;
}

impl Rest for http::BodyStream {
    fn read(&mut self, max: u32) -> Result<Option<Vec<u8>>, HostError> {
        http::BodyStream::read(self, max)
    }
}

/// An answer.
pub struct Response {
    /// Its status.
    pub status: u16,
    /// Names in lower case, in the order they arrived; repeated ones are repeated.
    pub headers: Vec<(String, Vec<u8>)>,
    first: Vec<u8>,
    rest: Option<Box<dyn Rest>>,
}

impl Response {
    pub(crate) fn from_parts(
        status: u16,
        headers: Vec<(String, Vec<u8>)>,
        first: Vec<u8>,
        rest: Option<Box<dyn Rest>>,
    ) -> Self {
        Self { status, headers, first, rest }
    }

    /// The first header called `name` (lower case), if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(header, _)| header == name)?;
        std::str::from_utf8(value).ok()
    }

    /// Reads the whole body and takes it out: a second call finds nothing.
    pub fn take_body(&mut self) -> Result<Vec<u8>, HostError> {
        let mut body = std::mem::take(&mut self.first);
        let Some(mut rest) = self.rest.take() else {
            return Ok(body);
        };
        if let Some(length) = self.header("content-length").and_then(|text| text.parse::<usize>().ok()) {
            body.reserve_exact(length.min(RESERVE_BYTES_MAX).saturating_sub(body.len()));
        }
        while let Some(part) = rest.read(READ_BYTES_MAX)? {
            body.extend_from_slice(&part);
        }
        Ok(body)
    }

    /// Like [`Response::take_body`], but none if the body is longer than `bytes_max`; what is left is not read.
    pub fn take_body_within(&mut self, bytes_max: u64) -> Result<Option<Vec<u8>>, HostError> {
        let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
        let mut body = std::mem::take(&mut self.first);
        let mut rest = self.rest.take();
        while body.len() <= bytes_max {
            match rest.as_mut().map(|rest| rest.read(READ_BYTES_MAX)).transpose()?.flatten() {
                Some(part) => body.extend_from_slice(&part),
                None => return Ok(Some(body)),
            }
        }
        Ok(None)
    }

    /// The next part of the body, at most 1 MiB; none at the end.
    pub fn read(&mut self) -> Result<Option<Vec<u8>>, HostError> {
        if !self.first.is_empty() {
            return Ok(Some(std::mem::take(&mut self.first)));
        }
        match &mut self.rest {
            Some(rest) => rest.read(READ_BYTES_MAX),
            None => Ok(None),
        }
    }

    /// Reads the whole body as JSON.
    pub fn json<T: DeserializeOwned>(mut self) -> Result<T, Failure> {
        let body = self.take_body()?;
        serde_json::from_slice(&body).map_err(|error| {
            Failure::Protocol(format!("the answer is not the JSON that was expected: {error}"))
        })
    }

    /// The answer, unless its status is an error (see [`Response::failure`]).
    pub fn success(self) -> Result<Self, Failure> {
        match self.failure() {
            Some(failure) => Err(failure),
            None => Ok(self),
        }
    }

    /// What the status says went wrong: 401 and 403 are `unauthenticated`, 429 is `rate-limited`, the rest from 400 on
    /// `upstream`.
    pub fn failure(&self) -> Option<Failure> {
        match self.status {
            status @ (401 | 403) => Some(Failure::Unauthenticated(format!("the server answered {status}"))),
            429 => {
                // The form with a date is left out: the host's clock decides how long to wait, not ours.
                let seconds = self.header("retry-after").and_then(|text| text.trim().parse::<u64>().ok());
                Some(Failure::RateLimited(seconds.map(|seconds| seconds.saturating_mul(1000))))
            }
            status @ 400.. => Some(Failure::Upstream(UpstreamFailure {
                code: Some(status.to_string()),
                message: format!("the server answered {status}"),
                details: None,
                retryable: matches!(status, 408 | 500 | 502 | 503 | 504),
            })),
            _ => None,
        }
    }
}

impl From<http::Response> for Response {
    fn from(response: http::Response) -> Self {
        let rest = response.rest.map(|stream| Box::new(stream) as Box<dyn Rest>);
        Self::from_parts(response.status, response.headers, response.body, rest)
    }
}
