//! The way out: which client a connection uses, and what one action version may reach and as whom.
//!
//! Invariant: no request leaves the process but through a client made here. Proxy variables of the environment are
//! ignored, redirects are never followed by the client itself (the host re-checks each hop).

use std::{
    collections::HashMap,
    fmt,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use http::{HeaderName, HeaderValue};
use openact_core::{
    Error, Result,
    connection::Timeouts,
    credential::{Credential, Injection},
    limits::{HTTP_IDLE_PER_HOST_MAX, HTTP_IDLE_TIMEOUT},
    policy::{EgressGrants, Origin, Scheme},
    secret::{ExposeSecret, SecretString},
};
use url::Url;

/// What an action version may reach, as whom and how; made into [`Grants`] once.
#[derive(Debug, Default)]
pub struct HttpSettings {
    /// Origins it may reach.
    pub egress: EgressGrants,
    /// The credential the host applies.
    pub credential: Option<Credential>,
    /// Connect and read timeouts.
    pub timeout: Timeouts,
}

/// What one action version may use of the outside. Built once and kept; secrets inside are zeroed when it goes.
pub struct Grants {
    pub(crate) egress: EgressGrants,
    pub(crate) credential: Option<AppliedCredential>,
    client: Option<reqwest::Client>,
}

impl fmt::Debug for Grants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Grants({:?}, credential: {})", self.egress.origins(), self.credential.is_some())
    }
}

impl Grants {
    /// Nothing.
    pub(crate) fn none() -> Self {
        Self { egress: EgressGrants::default(), credential: None, client: None }
    }

    pub(crate) fn new(settings: HttpSettings, clients: &HttpClients) -> Result<Self> {
        let client = match settings.egress.origins() {
            [] => None,
            origins => Some(clients.get(ClientKey {
                connect_ms: settings.timeout.connect_ms.unwrap_or(10_000),
                read_ms: settings.timeout.read_ms.unwrap_or(30_000),
                tls: origins.iter().any(|origin| origin.scheme() == Scheme::Https),
            })?),
        };
        let credential = settings.credential.map(AppliedCredential::new).transpose()?;
        Ok(Self { egress: settings.egress, credential, client })
    }

    pub(crate) fn client(&self) -> Result<&reqwest::Client> {
        self.client.as_ref().ok_or_else(|| Error::egress_denied("this connection may not reach anything"))
    }
}

/// What decides whether two connections can share a client and its pool.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct ClientKey {
    connect_ms: u64,
    read_ms: u64,
    /// Reading the system's certificates takes milliseconds; a client for plain HTTP goes without.
    tls: bool,
}

/// Every HTTP client of the process.
#[derive(Default)]
pub(crate) struct HttpClients(Mutex<HashMap<ClientKey, reqwest::Client>>);

impl HttpClients {
    fn get(&self, key: ClientKey) -> Result<reqwest::Client> {
        let mut clients = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&key) {
            return Ok(client.clone());
        }
        let mut builder = reqwest::Client::builder()
            .connect_timeout(Duration::from_millis(key.connect_ms))
            .read_timeout(Duration::from_millis(key.read_ms))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .user_agent(concat!("openact/", env!("CARGO_PKG_VERSION")))
            .pool_max_idle_per_host(HTTP_IDLE_PER_HOST_MAX)
            .pool_idle_timeout(HTTP_IDLE_TIMEOUT);
        if !key.tls {
            builder = builder.tls_certs_only([]);
        }
        let client = builder
            .build()
            .map_err(|error| Error::internal("failed to make an HTTP client").because(error))?;
        clients.insert(key, client.clone());
        Ok(client)
    }
}

/// A credential in the form it is written into a request.
pub(crate) struct AppliedCredential {
    pub(crate) origin: Origin,
    headers: Vec<(HeaderName, HeaderValue)>,
    query: Vec<(String, SecretString)>,
    cookies: Vec<(String, SecretString)>,
}

impl AppliedCredential {
    fn new(credential: Credential) -> Result<Self> {
        let mut applied =
            Self { origin: credential.origin, headers: Vec::new(), query: Vec::new(), cookies: Vec::new() };
        for injection in credential.injections {
            match injection {
                Injection::Header { name, value } => {
                    let illegal = || Error::auth_required("the credential cannot be sent as a header");
                    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| illegal())?;
                    let mut value = HeaderValue::from_str(value.expose_secret()).map_err(|_| illegal())?;
                    value.set_sensitive(true);
                    applied.headers.push((name, value));
                }
                Injection::Query { name, value } => applied.query.push((name, value)),
                Injection::Cookie { name, value } => applied.cookies.push((name, value)),
            }
        }
        Ok(applied)
    }

    /// Puts the credential into a request to its own origin, in place of whatever has the same name (C4).
    pub(crate) fn apply(&self, url: &mut Url, headers: &mut http::HeaderMap) {
        for (name, value) in &self.headers {
            headers.insert(name.clone(), value.clone());
        }
        if !self.query.is_empty() {
            let kept: Vec<(String, String)> = url
                .query_pairs()
                .filter(|(name, _)| self.query.iter().all(|(own, _)| own != name))
                .map(|(name, value)| (name.into_owned(), value.into_owned()))
                .collect();
            let mut pairs = url.query_pairs_mut();
            pairs.clear().extend_pairs(kept);
            pairs.extend_pairs(self.query.iter().map(|(name, value)| (name, value.expose_secret())));
        }
        if !self.cookies.is_empty() {
            self.apply_cookies(headers);
        }
    }

    fn apply_cookies(&self, headers: &mut http::HeaderMap) {
        let mut cookies: Vec<String> = Vec::new();
        for value in headers.get_all(http::header::COOKIE) {
            for cookie in
                String::from_utf8_lossy(value.as_bytes()).split(';').map(str::trim).filter(|c| !c.is_empty())
            {
                let name = cookie.split('=').next().unwrap_or(cookie).trim_end();
                if self.cookies.iter().all(|(own, _)| own != name) {
                    cookies.push(cookie.to_owned());
                }
            }
        }
        cookies.extend(self.cookies.iter().map(|(name, value)| format!("{name}={}", value.expose_secret())));
        if let Ok(mut value) = HeaderValue::from_str(&cookies.join("; ")) {
            value.set_sensitive(true);
            headers.insert(http::header::COOKIE, value);
        }
    }

    /// `text` with every appearance of the credential replaced, for logs.
    pub(crate) fn redact(&self, text: &str) -> String {
        // Replacing a very short secret would blank out ordinary text and so give it away.
        let secrets = self.forms().filter(|secret| secret.len() >= 4);
        secrets.fold(text.to_owned(), |text, secret| text.replace(secret, "[redacted]"))
    }

    /// Length of the longest form that [`Self::redact`] replaces.
    pub(crate) fn longest(&self) -> usize {
        self.forms().map(str::len).max().unwrap_or(0)
    }

    /// The credential's values, and those of headers without their scheme.
    fn forms(&self) -> impl Iterator<Item = &str> {
        let values = self.headers.iter().filter_map(|(_, value)| value.to_str().ok());
        let bare = values.clone().filter_map(|value| value.split_once(' ').map(|(_, rest)| rest));
        let named = self.query.iter().chain(&self.cookies).map(|(_, value)| value.expose_secret());
        values.chain(bare).chain(named)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(injection: Injection, url: &str, headers: &[(&str, &str)]) -> (String, http::HeaderMap) {
        let origin = Origin::parse_grant("https://api.example.com").unwrap();
        let credential = AppliedCredential::new(Credential { origin, injections: vec![injection] }).unwrap();
        let mut url = Url::parse(url).unwrap();
        let mut map = http::HeaderMap::new();
        for (name, value) in headers {
            map.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        credential.apply(&mut url, &mut map);
        (url.to_string(), map)
    }

    #[test]
    fn c4_a_credential_replaces_what_has_its_name() {
        let injection = Injection::Header { name: "x-api-key".into(), value: "real".into() };
        let (_, headers) =
            applied(injection, "https://api.example.com/", &[("X-API-Key", "a"), ("x-api-key", "b")]);
        let values: Vec<_> = headers.get_all("x-api-key").iter().collect();
        assert_eq!(values, ["real"]);
        assert!(values[0].is_sensitive());

        let injection = Injection::Query { name: "key".into(), value: "real&x".into() };
        let (url, _) = applied(injection, "https://api.example.com/?key=a&q=1&k%65y=b", &[]);
        assert_eq!(url, "https://api.example.com/?q=1&key=real%26x");

        let injection = Injection::Cookie { name: "sid".into(), value: "real".into() };
        let (_, headers) = applied(
            injection,
            "https://api.example.com/",
            &[("cookie", "sid=a; theme=dark"), ("cookie", "sid =b")],
        );
        let cookies: Vec<_> = headers.get_all("cookie").iter().collect();
        assert_eq!(cookies, ["theme=dark; sid=real"]);
    }

    #[test]
    fn c1_a_log_line_loses_the_credential_and_its_bare_token() {
        let origin = Origin::parse_grant("https://api.example.com").unwrap();
        let injections =
            vec![Injection::Header { name: "authorization".into(), value: "Bearer hunter2".into() }];
        let credential = AppliedCredential::new(Credential { origin, injections }).unwrap();
        assert_eq!(
            credential.redact("sent Bearer hunter2, token hunter2"),
            "sent [redacted], token [redacted]"
        );
    }
}
