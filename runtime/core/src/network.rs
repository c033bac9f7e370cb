//! `network`: how the host reaches the other system.
//!
//! | field | meaning |
//! |---|---|
//! | `allowed_hosts` | further origins the connector may reach |
//! | `allow_plaintext` | logins over byte streams without TLS to other machines (false) |
//! | `allow_private` | private addresses it may reach: `10.1.0.0/16`, `10.1.2.3`, `db.internal:8080` |
//! | `proxy` | `http://`, `https://`, `socks5://` or `socks5h://`; as text or `{url, username, password}` |
//! | `trace` | whether requests say to which trace they belong, if there is one (true) |
//! | `tls` | `verify` (true), `ca`, `ca_only`, `client_cert`, `client_key`, `server_name`, `min_version` (`1.2`, `1.3`) |
//!
//! Invariant: [`Network`] holds references to secrets, [`NetworkSettings`] their values; only the first is ever stored.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use url::{Host, Url};

use crate::{
    Error, Result,
    credential::SecretSource,
    policy::{Origin, PrivateRule, Scheme},
    secret::SecretRef,
};

/// `network` as configured.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Network {
    /// Further origins the connector may reach.
    pub allowed_hosts: Vec<String>,
    /// Private addresses it may reach.
    pub allow_private: Vec<String>,
    /// Whether a password may be proven over a byte stream that anybody on the way can read.
    pub allow_plaintext: bool,
    /// Whether the host sends `traceparent` and `tracestate` where a call is part of a trace.
    pub trace: bool,
    /// The proxy.
    pub proxy: Option<ProxyConfig>,
    /// TLS.
    pub tls: Tls,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            allowed_hosts: Vec::new(),
            allow_private: Vec::new(),
            allow_plaintext: false,
            trace: true,
            proxy: None,
            tls: Tls::default(),
        }
    }
}

/// A proxy: its URL, or that with who asks.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum ProxyConfig {
    /// Its URL alone.
    Url(String),
    /// With a user.
    Full(ProxyUser),
}

/// A proxy and who asks.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProxyUser {
    /// Its URL.
    pub url: String,
    /// The user.
    #[serde(default)]
    pub username: Option<String>,
    /// The user's password.
    #[serde(default)]
    pub password: Option<SecretText>,
}

/// `network.tls`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// Whether the server's certificate must be valid.
    pub verify: bool,
    /// Certificates to trust beside the system's, PEM.
    pub ca: Option<SecretText>,
    /// Trust `ca` alone.
    pub ca_only: bool,
    /// The client's certificate chain, PEM.
    pub client_cert: Option<SecretText>,
    /// Its key, PEM.
    pub client_key: Option<SecretText>,
    /// The name the server's certificate must have, and that is sent as SNI, if not the URL's host.
    pub server_name: Option<String>,
    /// The lowest version.
    pub min_version: TlsVersion,
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            verify: true,
            ca: None,
            ca_only: false,
            client_cert: None,
            client_key: None,
            server_name: None,
            min_version: TlsVersion::default(),
        }
    }
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
pub enum TlsVersion {
    /// TLS 1.2
    #[default]
    #[serde(rename = "1.2")]
    V12,
    /// TLS 1.3
    #[serde(rename = "1.3")]
    V13,
}

/// A text that may be a secret: itself, or where to find it.
#[derive(Clone)]
pub enum SecretText {
    /// The text.
    Clear(SecretString),
    /// Where it is.
    Reference(SecretRef),
}

impl SecretText {
    /// The text. `field` names the place in messages.
    pub fn resolve(&self, field: &str, secrets: &dyn SecretSource) -> Result<SecretString> {
        let value = match self {
            Self::Clear(text) => Some(text.clone()),
            Self::Reference(reference) => secrets.secret(reference)?,
        };
        value.filter(|value| !value.expose_secret().is_empty()).ok_or_else(|| {
            let what = match self {
                Self::Clear(_) => "is empty".to_owned(),
                Self::Reference(reference) => {
                    format!("refers to {}, which does not exist", reference.to_json())
                }
            };
            Error::auth_required(format!("{field} {what}"))
                .hint("set it, or take the field out of the connection")
        })
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clear(_) => f.write_str("[secret]"),
            Self::Reference(reference) => reference.fmt(f),
        }
    }
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        match (SecretRef::from_json(&value), value) {
            (Some(reference), _) => Ok(Self::Reference(reference)),
            (None, Value::String(text)) => Ok(Self::Clear(text.into())),
            _ => Err(serde::de::Error::custom("expected text or a reference to a secret")),
        }
    }
}

/// `network` with its secrets, as the engine makes clients of it.
#[derive(Clone, Debug, Default)]
pub struct NetworkSettings {
    /// See [`Network::allow_plaintext`].
    pub allow_plaintext: bool,
    /// The proxy.
    pub proxy: Option<Proxy>,
    /// TLS.
    pub tls: TlsSettings,
}

impl NetworkSettings {
    /// The name that stands for the host of `origin` in TLS: only for the connection's own. Every endpoint of byte
    /// streams is its own: what is listed beside its hosts are other nodes of the same service.
    pub fn server_name(&self, origin: &Origin, is_own: bool) -> Option<&str> {
        self.tls.server_name.as_deref().filter(|_| match origin.scheme() {
            Scheme::Http => false,
            Scheme::Https => is_own,
            Scheme::Tcp => true,
        })
    }
}

/// A proxy, ready to be used.
#[derive(Clone, Debug)]
pub struct Proxy {
    /// `http`, `https`, `socks5` or `socks5h`, without a user in it.
    pub url: Url,
    /// Who asks.
    pub user: Option<(String, SecretString)>,
}

/// See [`Tls`].
#[derive(Clone, Debug, Default)]
pub struct TlsSettings {
    /// Accept any certificate.
    pub insecure: bool,
    /// PEM of further roots.
    pub ca: Option<SecretString>,
    /// Trust these alone.
    pub ca_only: bool,
    /// PEM of the client's chain and key.
    pub client: Option<(SecretString, SecretString)>,
    /// Name to verify and send.
    pub server_name: Option<String>,
    /// Lowest version.
    pub min_version: TlsVersion,
}

impl Network {
    /// Fails if fields contradict each other. Needs no secret.
    pub fn check(&self) -> Result<()> {
        let tls = &self.tls;
        let bad = |what: &str| Err(Error::invalid_config(what));
        if tls.client_cert.is_some() != tls.client_key.is_some() {
            return bad("network.tls needs both client_cert and client_key, or neither");
        }
        if tls.ca_only && tls.ca.is_none() {
            return bad("network.tls.ca_only needs network.tls.ca");
        }
        if !tls.verify && (tls.ca.is_some() || tls.server_name.is_some()) {
            return bad(
                "network.tls.verify: false makes ca and server_name pointless; keep one or the other",
            );
        }
        if let Some(name) = &tls.server_name {
            // An address, or what reads as one, would be dialled without a look at it.
            let is_name = matches!(Host::parse(name), Ok(Host::Domain(parsed)) if parsed == *name);
            if !is_name || name.ends_with('.') {
                return bad("network.tls.server_name is not a host name in lower case, such as api.internal");
            }
            if self.proxy.is_some() {
                return bad(
                    "network.tls.server_name does not go with network.proxy: the proxy would be asked for that name",
                );
            }
        }
        let has_tls_proxy = self.proxy_url()?.is_some_and(|url| url.scheme() == "https");
        if has_tls_proxy && tls.client_cert.is_some() {
            return bad(
                "network.tls.client_cert does not go with a network.proxy of https: the proxy would be shown it too",
            );
        }
        self.origins()?;
        self.private_rules()?;
        self.proxy_url().map(drop)
    }

    /// `allowed_hosts`, parsed.
    pub fn origins(&self) -> Result<Vec<Origin>> {
        self.allowed_hosts.iter().map(|text| Origin::parse_grant(text)).collect()
    }

    /// `allow_private`, parsed.
    pub fn private_rules(&self) -> Result<Vec<PrivateRule>> {
        self.allow_private.iter().map(|text| text.parse()).collect()
    }

    /// The proxy's URL, checked.
    pub fn proxy_url(&self) -> Result<Option<Url>> {
        let text = match &self.proxy {
            None => return Ok(None),
            Some(ProxyConfig::Url(text)) | Some(ProxyConfig::Full(ProxyUser { url: text, .. })) => text,
        };
        // The text may hold a password, so no message quotes it.
        let bad = |what: &str| {
            Error::invalid_config(format!("network.proxy {what}"))
                .hint("expected such as http://proxy.example:3128")
        };
        let url = Url::parse(text).map_err(|error| bad(&format!("is not a URL: {error}")))?;
        if !matches!(url.scheme(), "http" | "https" | "socks5" | "socks5h") || url.host().is_none() {
            return Err(bad("is not an http, https, socks5 or socks5h URL with a host"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(bad("holds a user name or password").hint(
                "write network.proxy: { url: …, username: …, password: … }, which seals the password",
            ));
        }
        if url.port_or_known_default().is_none() && url.port().is_none() {
            return Err(bad("has no port"));
        }
        Ok(Some(url))
    }

    /// Every reference to a secret.
    pub fn references(&self) -> Vec<SecretRef> {
        let password = match &self.proxy {
            Some(ProxyConfig::Full(user)) => user.password.as_ref(),
            _ => None,
        };
        let tls = &self.tls;
        [password, tls.ca.as_ref(), tls.client_cert.as_ref(), tls.client_key.as_ref()]
            .into_iter()
            .flatten()
            .filter_map(|text| match text {
                SecretText::Reference(reference) => Some(reference.clone()),
                SecretText::Clear(_) => None,
            })
            .collect()
    }

    /// With the secrets in place of their references.
    pub fn resolve(&self, secrets: &dyn SecretSource) -> Result<NetworkSettings> {
        let user = match &self.proxy {
            Some(ProxyConfig::Full(ProxyUser { username: Some(name), password, .. })) => {
                let password = password
                    .as_ref()
                    .map(|password| password.resolve("network.proxy.password", secrets))
                    .transpose()?;
                Some((name.clone(), password.unwrap_or_default()))
            }
            _ => None,
        };
        let tls = &self.tls;
        let pem = |field: &str, text: &Option<SecretText>| {
            text.as_ref().map(|text| text.resolve(&format!("network.tls.{field}"), secrets)).transpose()
        };
        Ok(NetworkSettings {
            allow_plaintext: self.allow_plaintext,
            proxy: self.proxy_url()?.map(|url| Proxy { url, user }),
            tls: TlsSettings {
                insecure: !tls.verify,
                ca: pem("ca", &tls.ca)?,
                ca_only: tls.ca_only,
                client: pem("client_cert", &tls.client_cert)?.zip(pem("client_key", &tls.client_key)?),
                server_name: tls.server_name.clone(),
                min_version: tls.min_version,
            },
        })
    }
}

/// The JSON Schema of `network`.
pub(crate) fn schema() -> Value {
    let text = json!({"type": "string", "minLength": 1});
    let secret = |what: &str| json!({"type": ["string", "object"], "writeOnly": true, "description": what});
    let pem = |what: &str, alias: &str| json!({"type": ["string", "object"], "writeOnly": true, "description": what, "x-aliases": [alias]});
    json!({
        "type": "object", "x-aliases": ["network_config"], "additionalProperties": false,
        "description": "how the host reaches the other system",
        "properties": {
            "allowed_hosts": {"type": "array", "items": text,
                "description": "further origins the connector may reach, such as https://uploads.example.com or tcp://replica.example.com:5432"},
            "allow_private": {"type": "array", "items": text,
                "description": "private addresses it may reach: 10.1.0.0/16, 10.1.2.3, db.internal:8080"},
            "allow_plaintext": {"type": "boolean",
                "description": "log in over byte streams without TLS to other machines: whoever is on the way can listen"},
            "trace": {"type": "boolean",
                "description": "send traceparent and tracestate where a call is part of a trace (true)"},
            "proxy": {"type": ["string", "object"], "x-aliases": ["proxy_url"], "additionalProperties": false,
                "description": "http://, https://, socks5:// or socks5h://",
                "required": ["url"],
                "properties": {"url": text, "username": text, "password": secret("the proxy's password")}},
            "tls": {"type": "object", "additionalProperties": false, "properties": {
                "verify": {"type": "boolean", "x-aliases": ["verify_peer", "verify_ssl"],
                    "description": "false accepts any certificate: for tests only"},
                "ca": pem("certificates to trust beside the system's, PEM", "ca_pem"),
                "ca_only": {"type": "boolean", "description": "trust ca alone"},
                "client_cert": pem("the client's certificate chain, PEM", "client_cert_pem"),
                "client_key": pem("its key, PEM", "client_key_pem"),
                "server_name": {"type": "string", "minLength": 1,
                    "description": "the name in the server's certificate, if not the URL's host"},
                "min_version": {"enum": ["1.2", "1.3"]},
            }},
        },
    })
}
