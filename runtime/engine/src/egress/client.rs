//! Every HTTP client of the process, shared by connections that would make the same one.
//!
//! Invariant: no client follows a redirect, reads a proxy variable of the environment, or dials an address that
//! [`GuardedResolver`] did not check. A client certificate is only in clients of the credential's origin.

use std::{sync::Arc, time::Duration};

use aws_lc_rs::digest::{Context, SHA256};
use openact_core::{
    Error, Result,
    limits::{HTTP_CLIENTS_MAX, HTTP_HEADERS_MAX, HTTP_IDLE_PER_HOST_MAX, HTTP_IDLE_TIMEOUT},
    network::{NetworkSettings, TlsVersion},
    policies::Timeouts,
    policy::{Origin, PrivateAccess, Scheme},
    secret::{ExposeSecret, SecretString},
};
use quick_cache::sync::Cache;
use url::Host;

use super::resolve::{ClientResolver, GuardedResolver, Resolve};

/// The clients, and how names are looked up.
pub(crate) struct HttpClients {
    clients: Cache<[u8; 32], reqwest::Client>,
    resolver: Arc<dyn Resolve>,
}

/// What a client is made for.
pub(crate) struct ClientFor<'a> {
    pub(crate) origin: &'a Origin,
    pub(crate) network: &'a NetworkSettings,
    pub(crate) timeout: Timeouts,
    pub(crate) private: &'a Arc<PrivateAccess>,
    /// Whether the origin is the connection's own: it is shown the client certificate.
    pub(crate) is_own: bool,
}

impl HttpClients {
    pub(crate) fn new(resolver: Arc<dyn Resolve>) -> Self {
        Self { clients: Cache::new(HTTP_CLIENTS_MAX), resolver }
    }

    /// How names are looked up.
    pub(crate) fn resolver(&self) -> &dyn Resolve {
        &*self.resolver
    }

    /// The client for `wanted`, made at its first use.
    pub(crate) fn get(&self, wanted: &ClientFor<'_>) -> Result<reqwest::Client> {
        self.clients.get_or_insert_with(&wanted.fingerprint(), || wanted.build(&self.resolver))
    }
}

impl ClientFor<'_> {
    /// Whether there is TLS on the way: to the origin, or to its proxy.
    fn has_tls(&self) -> bool {
        let proxy = self.network.proxy.as_ref();
        self.origin.scheme() == Scheme::Https || proxy.is_some_and(|proxy| proxy.url.scheme() == "https")
    }

    /// The client's certificate and key, where they are shown.
    fn identity(&self) -> Option<&(SecretString, SecretString)> {
        let is_shown = self.is_own && self.origin.scheme() == Scheme::Https;
        self.network.tls.client.as_ref().filter(|_| is_shown)
    }

    /// The name that is sent and verified in place of the host's.
    fn server_name(&self) -> Option<&str> {
        self.network.server_name(self.origin, self.is_own)
    }

    /// Equal for clients that can be shared. A digest, because it covers keys and passwords.
    fn fingerprint(&self) -> [u8; 32] {
        let mut context = Context::new(&SHA256);
        let mut add = |part: &[u8]| {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        };
        add(&(self.timeout.connect().as_millis() as u64).to_be_bytes());
        add(&(self.timeout.read().as_millis() as u64).to_be_bytes());
        add(&self.origin.port().to_be_bytes());
        add(format!("{} {:?}", self.origin.scheme(), self.private).as_bytes());
        if let Some(proxy) = &self.network.proxy {
            add(proxy.url.as_str().as_bytes());
            if let Some((name, password)) = &proxy.user {
                add(name.as_bytes());
                add(password.expose_secret().as_bytes());
            }
        }
        if self.has_tls() {
            let tls = &self.network.tls;
            add(&[u8::from(tls.insecure), u8::from(tls.ca_only), tls.min_version as u8]);
            add(tls.ca.as_ref().map_or("", |ca| ca.expose_secret()).as_bytes());
            if let Some((cert, key)) = self.identity() {
                add(cert.expose_secret().as_bytes());
                add(key.expose_secret().as_bytes());
            }
            if let Some(name) = self.server_name() {
                add(name.as_bytes());
                add(self.origin.host().to_string().as_bytes());
            }
        }
        context.finish().as_ref().try_into().unwrap_or_default()
    }

    fn build(&self, resolver: &Arc<dyn Resolve>) -> Result<reqwest::Client> {
        let proxy = self.network.proxy.as_ref();
        let known = proxy.and_then(|proxy| {
            // The same name may be the proxy's and, looked up for socks5, the target's.
            let is_target = proxy.url.scheme() == "socks5";
            let (host, mut ports) = (proxy_host(&proxy.url)?, vec![proxy.url.port_or_known_default()?]);
            if is_target && host == *self.origin.host() {
                ports.push(self.origin.port());
            }
            Some((host, ports))
        });
        let guarded = GuardedResolver {
            inner: resolver.clone(),
            private: self.private.clone(),
            port: self.origin.port(),
            proxy: known,
            stands_for: self.server_name().map(|name| (name.to_owned(), self.origin.host().clone())),
        };
        let mut builder = reqwest::Client::builder()
            .connect_timeout(self.timeout.connect())
            .read_timeout(self.timeout.read())
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .referer(false)
            // What is sent again is decided, counted and recorded in `traffic`.
            .retry(reqwest::retry::never())
            .http1_max_headers(HTTP_HEADERS_MAX + 1)
            .http2_max_header_list_size(HTTP2_HEADER_LIST_BYTES)
            .tcp_keepalive(Some(Duration::from_secs(30)))
            .pool_max_idle_per_host(HTTP_IDLE_PER_HOST_MAX)
            .pool_idle_timeout(HTTP_IDLE_TIMEOUT)
            .dns_resolver(ClientResolver(Arc::new(guarded)));
        if let Some(proxy) = proxy {
            builder = builder.proxy(self.proxy(proxy)?);
        }
        builder = if self.has_tls() {
            self.tls(builder)?
        } else {
            // Reading the system's certificates takes milliseconds; a client for plain HTTP goes without.
            builder.tls_certs_only([])
        };
        builder.build().map_err(|error| {
            Error::invalid_config("no HTTP client can be made of network.tls").because(error)
        })
    }

    /// The proxy is checked as any other host (E9): a literal address here, a name when it is looked up.
    fn proxy(&self, proxy: &openact_core::network::Proxy) -> Result<reqwest::Proxy> {
        let bad = || Error::invalid_config("network.proxy cannot be used");
        let host = proxy_host(&proxy.url).ok_or_else(bad)?;
        let port = proxy.url.port_or_known_default().unwrap_or_default();
        let literal = match &host {
            Host::Ipv4(address) => Some((*address).into()),
            Host::Ipv6(address) => Some((*address).into()),
            Host::Domain(_) => None,
        };
        if let Some(address) = literal {
            self.private
                .admit(&host.to_string(), port, &[address])
                .map_err(|error| error.context("network.proxy"))?;
        }
        let mut url = proxy.url.clone();
        url.set_host(Some(&host.to_string())).map_err(|_| bad())?;
        let made = reqwest::Proxy::all(url).map_err(|error| bad().because(error))?;
        Ok(match &proxy.user {
            Some((name, password)) => made.basic_auth(name, password.expose_secret()),
            None => made,
        })
    }

    fn tls(&self, mut builder: reqwest::ClientBuilder) -> Result<reqwest::ClientBuilder> {
        let tls = &self.network.tls;
        let bad = |field: &str, error: reqwest::Error| {
            Error::invalid_config(format!("network.tls.{field} is not PEM that can be used"))
                .hint("expected -----BEGIN CERTIFICATE----- or -----BEGIN PRIVATE KEY----- blocks")
                .because(error)
        };
        if let Some(ca) = &tls.ca {
            let certificates = reqwest::Certificate::from_pem_bundle(ca.expose_secret().as_bytes())
                .map_err(|error| bad("ca", error))?;
            if certificates.is_empty() {
                return Err(Error::invalid_config("network.tls.ca holds no certificate")
                    .hint("expected -----BEGIN CERTIFICATE----- blocks"));
            }
            builder = match tls.ca_only {
                true => builder.tls_certs_only(certificates),
                false => builder.tls_certs_merge(certificates),
            };
        }
        if let Some((cert, key)) = self.identity() {
            let pem = SecretString::from(format!("{}\n{}", cert.expose_secret(), key.expose_secret()));
            let identity = reqwest::Identity::from_pem(pem.expose_secret().as_bytes())
                .map_err(|error| bad("client_cert or client_key", error))?;
            builder = builder.identity(identity);
        }
        if tls.insecure {
            tracing::warn!(origin = %self.origin, "network.tls.verify is false: any server can pretend to be this one");
            builder = builder.tls_danger_accept_invalid_certs(true);
        }
        if tls.min_version == TlsVersion::V13 {
            builder = builder.tls_version_min(reqwest::tls::Version::TLS_1_3);
        }
        if self.server_name().is_some() {
            // HTTP/2 would take the stand-in for its authority; in HTTP/1.1 the Host header says which host is meant.
            builder = builder.http1_only();
        }
        Ok(builder)
    }
}

/// The proxy's host, in whichever way it is spelt: in URLs of socks5 the parser takes every host for a name.
fn proxy_host(url: &url::Url) -> Option<Host<String>> {
    Host::parse(url.host_str()?).ok()
}

/// Bytes of a response's headers in HTTP/2, where hyper's own bound is 16 KiB.
const HTTP2_HEADER_LIST_BYTES: u32 = openact_core::limits::HTTP_HEADER_BYTES_MAX as u32;
