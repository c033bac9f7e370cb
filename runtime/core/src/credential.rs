//! What the host adds to a request so that the other system knows who asks.
//!
//! ```text
//! authorization (configuration) ──► openact-auth ──► Credential ──► engine: applied to each request, redacted from each answer
//! ```
//!
//! Invariants: a [`Credential`] is bound to one origin, and to a path prefix if it has one; a request to anything else
//! gets none of it. What is injected replaces whatever a guest or caller set by the same name.

use std::{fmt, pin::Pin, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use secrecy::SecretString;
use url::Url;

use crate::{Result, Timestamp, policy::Origin, secret::SecretRef};

/// A future that a trait object returns.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Looks up the value of a secret reference; none if there is no such secret.
pub trait SecretSource {
    /// The secret `reference` names.
    fn secret(&self, reference: &SecretRef) -> Result<Option<SecretString>>;
}

/// Where a credential may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The only origin it is sent to.
    pub origin: Origin,
    /// If set, only to paths below it, segment by segment: `/v1` covers `/v1` and `/v1/x`, not `/v10`.
    pub path_prefix: Option<String>,
}

impl Binding {
    /// Whether a request to `url`, whose origin is `origin`, gets the credential.
    pub fn covers(&self, origin: &Origin, url: &Url) -> bool {
        self.origin == *origin && self.covers_path(url.path())
    }

    fn covers_path(&self, path: &str) -> bool {
        let Some(prefix) = &self.path_prefix else { return true };
        let prefix = prefix.trim_end_matches('/');
        // A server may decode these, or leave a parameter out, and so reach elsewhere; such a path is outside.
        let lower = path.to_ascii_lowercase();
        if ["%2e", "%2f", "%5c", "%25", "..;", "//"].iter().any(|odd| lower.contains(odd)) {
            return false;
        }
        path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

/// A credential, ready to be used.
#[derive(Debug)]
pub struct Credential {
    /// Where it may go.
    pub binding: Binding,
    /// What it consists of.
    pub kind: CredentialKind,
}

/// How the injections of a request come about.
#[derive(Debug)]
pub enum CredentialKind {
    /// The same for every request.
    Fixed(Arc<[Injection]>),
    /// Made for each request: signed, or fetched and refreshed.
    Computed(Arc<dyn Authenticator>),
}

/// One thing added to a request.
#[derive(Debug)]
pub enum Injection {
    /// A header.
    Header {
        /// Its name, in lower case.
        name: String,
        /// Its whole value.
        value: SecretString,
    },
    /// A header that is good for this request alone: a signature. An answer must not say it as it is; it is worth nothing
    /// in other encodings.
    Once {
        /// Its name, in lower case.
        name: String,
        /// Its whole value.
        value: SecretString,
    },
    /// A header that goes with the credential and is no secret, such as the time of a signature. An answer may say it.
    Plain {
        /// Its name, in lower case.
        name: String,
        /// Its whole value.
        value: String,
    },
    /// A query parameter.
    Query {
        /// Its name.
        name: String,
        /// Its value, not yet encoded.
        value: SecretString,
    },
    /// A cookie.
    Cookie {
        /// Its name.
        name: String,
        /// Its value.
        value: SecretString,
    },
}

/// A request as it is about to leave, but for the credential. Header `host` is not in `headers`; it follows from `url`.
#[derive(Clone, Copy, Debug)]
pub struct RequestView<'a> {
    /// Its method.
    pub method: &'a Method,
    /// Its URL.
    pub url: &'a Url,
    /// Its headers, `content-type` included.
    pub headers: &'a HeaderMap,
    /// Its whole body; empty if it has none.
    pub body: &'a [u8],
    /// When it is sent.
    pub now: Timestamp,
}

/// Computes what a request needs. Shared by every call of a connection.
pub trait Authenticator: Send + Sync + fmt::Debug {
    /// What to add to `request`. The same `Arc` again means that nothing changed.
    fn authenticate<'a>(&'a self, request: RequestView<'a>) -> BoxFuture<'a, Result<Arc<[Injection]>>>;

    /// The headers it may add, in lower case, as far as that is known before a request is there.
    fn names(&self) -> Vec<String>;

    /// The other system refused `sent` with 401 (`headers` are its answer's). Says whether a second attempt would be
    /// made with something else. At most one is made, and only of a request that may be sent twice, unless
    /// [`Authenticator::begins_refused`].
    fn refused<'a>(
        &'a self,
        _request: RequestView<'a>,
        _sent: &'a [Injection],
        _headers: &'a HeaderMap,
    ) -> BoxFuture<'a, Result<bool>> {
        // Of a signature, nothing but the time would be another.
        Box::pin(async { Ok(false) })
    }

    /// Whether the scheme itself begins with a refused request (digest), so that any request may be sent again.
    fn begins_refused(&self) -> bool {
        false
    }
}

/// Sends a request on behalf of the host itself (token endpoints, vaults), under the same rules as a guest's.
pub trait Transport: Send + Sync {
    /// One exchange. Redirects are not followed.
    fn exchange<'a>(&'a self, request: Exchange) -> BoxFuture<'a, Result<Answer>>;
}

/// A request of the host.
pub struct Exchange {
    /// Its method.
    pub method: Method,
    /// Where to; it is checked against the grants of whoever made the transport.
    pub url: Url,
    /// Headers; secret ones marked sensitive.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
}

/// What came back, at most [`crate::limits::EXCHANGE_BYTES_MAX`] of it.
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c3_a_path_prefix_ends_at_a_segment_and_cannot_be_climbed_out_of() {
        let origin = Origin::parse_grant("https://api.example.com").unwrap();
        let binding = Binding { origin, path_prefix: Some("/v1/".into()) };
        let covers = |url: &str| {
            let url = Url::parse(url).unwrap();
            binding.covers(&Origin::of(&url).unwrap(), &url)
        };
        for inside in ["https://api.example.com/v1", "https://api.example.com/v1/users?x=1"] {
            assert!(covers(inside), "{inside}");
        }
        for outside in [
            "https://api.example.com/v10",
            "https://api.example.com/",
            "https://api.example.com/v1/../admin",
            "https://api.example.com/v1/%2e%2e/admin",
            "https://api.example.com/v1/..%2Fadmin",
            "https://api.example.com/v1//admin",
            "https://api.example.com/v1/..;/admin",
            "https://api.example.com/v1/%252e%252e/admin",
            "https://evil.example.com/v1",
            "http://api.example.com/v1",
        ] {
            assert!(!covers(outside), "{outside}");
        }
    }
}
