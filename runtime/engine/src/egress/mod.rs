//! The way out: what one action version may reach, how and as whom, and the one path every request takes.
//!
//! | file | job |
//! |---|---|
//! | `traffic` | one call's requests, from policy to answer |
//! | `client` `resolve` | HTTP clients; names looked up once and checked |
//! | `listed` | hosts that a connection's own are listed under in DNS |
//! | `socket` `sessions` `tls` | byte streams of wire protocols; those that wait for the next call |
//! | `credential` | what is added to a request, and blanked out of its answer |
//! | `body` | answers as they arrive, counted |
//! | `trace` | spans, and what the next system is told of the trace |
//! | `rate` | a connection's rate limit |
//!
//! Invariant: no request leaves the process but through a client made here, after `EgressGrants::check`.

mod body;
mod client;
mod credential;
mod listed;
mod rate;
mod resolve;
mod sessions;
pub(crate) mod socket;
mod tls;
pub(crate) mod trace;
pub(crate) mod traffic;

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use aws_lc_rs::digest::{Context, SHA256};
use bytes::BytesMut;
use http::{HeaderMap, HeaderValue, header};
use openact_core::{
    ConnectionTrn, Error, Result,
    credential::{Answer, BoxFuture, Credential, Exchange, Transport},
    limits::{EXCHANGE_BYTES_MAX, EXCHANGE_TIME_MAX},
    login::Logins,
    network::NetworkSettings,
    policies::Policies,
    policy::{EgressGrants, Origin},
    secret::{ExposeSecret, SecretString},
    state::States,
};
use tokio::time::timeout;
use url::Url;

pub(crate) use body::Body;
use client::ClientFor;
use client::HttpClients;
pub(crate) use credential::Masks;
use credential::{Applied, BoundCredential};
pub(crate) use listed::Lists;
pub use rate::Limiter;
pub use resolve::Resolve;
pub(crate) use resolve::SystemResolver;
pub use trace::TraceOf;

use crate::{error::http_client, instance::limit_error};

/// What an action version may reach, as whom and how; made into [`Grants`] once.
#[derive(Default)]
pub struct GrantSettings {
    /// Origins it may reach.
    pub egress: EgressGrants,
    /// The credential the host applies.
    pub credential: Option<Credential>,
    /// The only origin that is shown the client certificate of `network`, and that its `server_name` is for.
    pub own_origin: Option<Origin>,
    /// Timeouts, retry, headers.
    pub policies: Policies,
    /// Proxy and TLS.
    pub network: NetworkSettings,
    /// The connection's rate limit.
    pub limiter: Option<Arc<Limiter>>,
    /// Headers of the connection itself, which some policies prefer.
    pub connection_headers: HeaderMap,
    /// The connection version: whose parked sessions and kept values these are.
    pub owner: Option<ConnectionTrn>,
    /// Secrets of the connector's own fields, by name, for logins.
    pub secrets: Vec<(String, SecretString)>,
    /// Where they may be proven: what the connection itself names, and not what one of its actions adds.
    pub login_origins: Vec<Origin>,
    /// `network` as the connection itself has it; none if it cannot be had.
    pub login_network: Option<NetworkSettings>,
    /// How logins are done.
    pub logins: Option<Arc<dyn Logins>>,
    /// Where connectors keep values.
    pub states: Option<Arc<dyn States>>,
}

/// What all grants of an engine have in common.
pub(crate) struct Shared {
    pub(crate) clients: HttpClients,
    pub(crate) sessions: sessions::Sessions,
}

impl Shared {
    pub(crate) fn new(resolver: Arc<dyn Resolve>) -> Self {
        Self { clients: HttpClients::new(resolver), sessions: sessions::Sessions::default() }
    }
}

/// What one action version may use of the outside. Built once and kept, while the snapshot keeps the action version.
pub struct Grants {
    pub(crate) egress: EgressGrants,
    pub(crate) policies: Policies,
    pub(crate) connection_headers: HeaderMap,
    pub(crate) limiter: Option<Arc<Limiter>>,
    credential: Option<BoundCredential>,
    /// What the proxy is sent, and a server behind it may see, and the secrets of logins.
    hidden: Vec<Arc<Applied>>,
    pub(crate) secrets: Vec<(String, SecretString)>,
    login_origins: Vec<Origin>,
    /// Whether the connection itself says what `network` says of TLS.
    is_network_own: bool,
    pub(crate) logins: Option<Arc<dyn Logins>>,
    /// Whose values, and where they are kept.
    pub(crate) states: Option<(ConnectionTrn, Arc<dyn States>)>,
    /// Whose parked sessions these grants may resume.
    session_key: [u8; 32],
    tls: OnceLock<Arc<rustls::ClientConfig>>,
    pub(crate) network: NetworkSettings,
    own_origin: Option<Origin>,
    /// One for each origin of `egress`, made at its first use.
    clients: Vec<(Origin, OnceLock<reqwest::Client>)>,
    shared: Option<Arc<Shared>>,
}

impl fmt::Debug for Grants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Grants({:?}, credential: {})", self.egress.origins(), self.credential.is_some())
    }
}

impl Grants {
    /// Nothing.
    pub(crate) fn none() -> Self {
        Self {
            egress: EgressGrants::default(),
            policies: Policies::default(),
            connection_headers: HeaderMap::new(),
            limiter: None,
            credential: None,
            hidden: Vec::new(),
            secrets: Vec::new(),
            login_origins: Vec::new(),
            is_network_own: false,
            logins: None,
            states: None,
            session_key: [0; 32],
            tls: OnceLock::new(),
            network: NetworkSettings::default(),
            own_origin: None,
            clients: Vec::new(),
            shared: None,
        }
    }

    pub(crate) fn new(settings: GrantSettings, shared: &Arc<Shared>) -> Result<Self> {
        let clients =
            settings.egress.origins().iter().map(|origin| (origin.clone(), OnceLock::new())).collect();
        let proxy_user = settings.network.proxy.as_ref().and_then(|proxy| proxy.user.as_ref());
        let hidden = proxy_user.map(|(name, password)| Applied::of_proxy(name, password));
        let hidden =
            hidden.into_iter().chain(settings.secrets.iter().map(|(_, secret)| Applied::of_login(secret)));
        Ok(Self {
            hidden: hidden.collect::<Result<_>>()?,
            session_key: session_key(&settings),
            secrets: settings.secrets,
            login_origins: settings.login_origins,
            is_network_own: settings.login_network.is_some_and(|own| trust(&own) == trust(&settings.network)),
            logins: settings.logins,
            states: settings.owner.zip(settings.states),
            tls: OnceLock::new(),
            credential: settings.credential.map(BoundCredential::new).transpose()?,
            egress: settings.egress,
            policies: settings.policies,
            connection_headers: settings.connection_headers,
            limiter: settings.limiter,
            network: settings.network,
            own_origin: settings.own_origin,
            clients,
            shared: Some(shared.clone()),
        })
    }

    /// Fails unless a secret may be proven to `origin`: an action opens hosts to its connector, and says how careful TLS
    /// is for its own requests, but the connection's password is the connection's.
    pub(crate) fn permit_login(&self, origin: &Origin) -> Result<()> {
        if !self.login_origins.contains(origin) {
            let message = format!("{origin}: an action opened this host, and no password is proven to it");
            return Err(Error::egress_denied(message).hint(format!(
                "if the connection's password is for it, add to the connection: network: {{ allowed_hosts: [\"{origin}\"] }}"
            )));
        }
        if !self.is_network_own {
            let message = format!("{origin}: no password is proven with the network settings of an action");
            return Err(Error::egress_denied(message)
                .hint("move network.tls and network.allow_plaintext from the action to the connection"));
        }
        Ok(())
    }

    /// What must not be in an answer to a request that had `sent`, nor in a log.
    pub(crate) fn masks(&self, sent: Option<Arc<Applied>>) -> Masks {
        let masks = self.credential.as_ref().map(|credential| credential.masks(sent)).unwrap_or_default();
        masks.and(&self.hidden)
    }

    /// The client for a granted origin.
    fn client(&self, origin: &Origin) -> Result<&reqwest::Client> {
        let nothing = || Error::egress_denied(NOTHING);
        let (_, cell) = self.clients.iter().find(|(granted, _)| granted == origin).ok_or_else(nothing)?;
        if let Some(client) = cell.get() {
            return Ok(client);
        }
        let client = self.shared()?.clients.get(&ClientFor {
            origin,
            network: &self.network,
            timeout: self.policies.timeout,
            private: self.egress.private(),
            is_own: self.is_own(origin),
        })?;
        Ok(cell.get_or_init(|| client))
    }

    /// What the engine lends; nothing to what may reach nothing.
    fn shared(&self) -> Result<&Arc<Shared>> {
        self.shared.as_ref().ok_or_else(|| Error::egress_denied(NOTHING))
    }

    /// TLS as the connection wants it.
    fn tls(&self) -> Result<&Arc<rustls::ClientConfig>> {
        if let Some(config) = self.tls.get() {
            return Ok(config);
        }
        let config = Arc::new(tls::config(&self.network.tls)?);
        Ok(self.tls.get_or_init(|| config))
    }

    /// Whether `origin` is the connection's own, and not just one that it may reach too.
    fn is_own(&self, origin: &Origin) -> bool {
        self.own_origin.as_ref() == Some(origin)
    }

    /// Where TLS has a server name of its own, the URL gets it in place of the host, and the host goes into `Host`.
    fn stand_in(&self, origin: &Origin, url: &mut Url, headers: &mut HeaderMap) -> Result<()> {
        let Some(name) = self.network.server_name(origin, self.is_own(origin)) else { return Ok(()) };
        let bad = || Error::invalid_config("network.tls.server_name is not a host name");
        headers.insert(header::HOST, HeaderValue::from_str(&origin.authority()).map_err(|_| bad())?);
        url.set_host(Some(name)).map_err(|_| bad())
    }
}

const NOTHING: &str = "this connection may not reach anything";

/// Equal where a parked session may be resumed: for one connection version, its secrets and its network settings. A digest,
/// because it covers keys and passwords.
fn session_key(settings: &GrantSettings) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    let mut add = |part: &[u8]| add(&mut context, part);
    add(settings.owner.as_ref().map(ConnectionTrn::to_string).unwrap_or_default().as_bytes());
    for (name, secret) in &settings.secrets {
        add(name.as_bytes());
        add(secret.expose_secret().as_bytes());
    }
    add(&trust(&settings.network));
    add(format!("{:?}", settings.egress.private()).as_bytes());
    finished(context)
}

/// What decides whom a byte stream takes for the other end.
fn trust(network: &NetworkSettings) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    let mut add = |part: &[u8]| add(&mut context, part);
    let tls = &network.tls;
    add(&[
        u8::from(tls.insecure),
        u8::from(tls.ca_only),
        tls.min_version as u8,
        u8::from(network.allow_plaintext),
    ]);
    let (cert, key) =
        tls.client.as_ref().map_or(("", ""), |(cert, key)| (cert.expose_secret(), key.expose_secret()));
    let ca = tls.ca.as_ref().map_or("", |ca| ca.expose_secret());
    for part in [ca, cert, key, tls.server_name.as_deref().unwrap_or_default()] {
        add(part.as_bytes());
    }
    finished(context)
}

fn add(context: &mut Context, part: &[u8]) {
    context.update(&(part.len() as u64).to_be_bytes());
    context.update(part);
}

fn finished(context: Context) -> [u8; 32] {
    context.finish().as_ref().try_into().unwrap_or_default()
}

/// Requests of the host itself (token endpoints, vaults), by the same rules (E12).
pub(crate) struct HostTransport(pub(crate) Grants);

impl Transport for HostTransport {
    fn exchange<'a>(&'a self, exchange: Exchange) -> BoxFuture<'a, Result<Answer>> {
        Box::pin(async move {
            // The clients' own timeout is for each silence; a byte now and then would hold a call for ever.
            timeout(EXCHANGE_TIME_MAX, self.send(exchange))
                .await
                .unwrap_or_else(|_| Err(Error::timeout("the answer took too long")))
        })
    }
}

impl HostTransport {
    async fn send(&self, exchange: Exchange) -> Result<Answer> {
        let Exchange { method, mut url, mut headers, body } = exchange;
        let origin = self.0.egress.check(&url)?;
        let target = format!("{method} {origin}{}", url.path());
        self.0.stand_in(&origin, &mut url, &mut headers)?;
        let mut request = reqwest::Request::new(method, url);
        *request.headers_mut() = headers;
        *request.body_mut() = Some(body.into());
        let none = Masks::default();
        let sent = self.0.client(&origin)?.execute(request).await;
        let mut response = sent
            .map_err(|error| resolve::denial(&error).unwrap_or_else(|| http_client(error, &target, &none)))?;
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| http_client(error, &target, &none))? {
            if body.len() + chunk.len() > EXCHANGE_BYTES_MAX {
                return Err(limit_error(
                    "exchange_bytes",
                    format!("{target}: the answer is larger than {EXCHANGE_BYTES_MAX} bytes"),
                ));
            }
            body.extend_from_slice(&chunk);
        }
        let headers = std::mem::take(response.headers_mut());
        Ok(Answer { status: response.status(), headers, body: body.freeze() })
    }
}
