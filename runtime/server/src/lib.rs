//! The REST door: an axum router over [`OpenAct`], and a listener that is not held by slow or silent clients.
//!
//! Read in this order: [`router`] (the routes and what is around them), `access` (who calls, as whom), `envelope` (what is
//! answered), `request` (what is read), `routes/` (a file per thing), `stream` (items as they come), `listen` (connections).
//!
//! Invariants: every answer of a route is the JSON envelope, but those of streams, metrics, pages and the metadata of OAuth
//! (`resource`); no action runs on a request that was not read whole and understood whole; nothing here is a rule that
//! another door would lack.

mod access;
mod docs;
mod envelope;
mod extract;
mod listen;
mod mcp;
mod meter;
mod openapi;
mod origin;
mod resource;
mod routes;
mod shapes;
mod slot;
mod stream;

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::{Router, middleware};
use openact::{Error, Governance, OpenAct, Result};
use tower_http::{
    compression::{CompressionLayer, Predicate, predicate::DefaultPredicate, predicate::NotForContentType},
    cors::{AllowOrigin, CorsLayer},
};

pub use listen::{Listener, Patience};
pub use mcp::McpDoor;
pub use routes::Inline;
pub use slot::Slot;

/// How the server treats its callers. The default is for loopback.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// Whether a caller without a token may do everything, as long as there is no token in the store: for loopback.
    pub open_without_tokens: bool,
    /// Names in `Host` that are this server's, besides those of loopback. With none, any is accepted once tokens are needed.
    pub hosts: Vec<String>,
    /// How others know this server, scheme and host: for the metadata that leads clients to the issuer of tokens. With none, as
    /// each request names it.
    pub public_url: Option<String>,
    /// Web pages that may call from a browser: `https://app.example.com`.
    pub cors_origins: Vec<String>,
    /// What may be run at all, whatever a caller's token allows.
    pub governance: Arc<Governance>,
    /// The longest deadline that a caller may ask for.
    pub timeout_max: Option<Duration>,
    /// MCP at `/mcp`, if at all.
    pub mcp: Option<McpDoor>,
    /// Whether, and how, a configuration that is in a request is run.
    pub inline: Option<Inline>,
    /// How long it waits for slow clients.
    pub patience: Patience,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            open_without_tokens: true,
            hosts: Vec::new(),
            public_url: None,
            cors_origins: Vec::new(),
            governance: Arc::default(),
            timeout_max: None,
            mcp: None,
            inline: None,
            patience: Patience::default(),
        }
    }
}

/// What every route works with.
#[derive(Clone)]
pub(crate) struct Doors(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) slot: Slot,
    pub(crate) settings: ServerSettings,
    pub(crate) meters: meter::Meters,
    /// Made with the runtime, when it is first asked for.
    pub(crate) mcp: OnceLock<openact_mcp::McpService>,
}

impl std::ops::Deref for Doors {
    type Target = Inner;
    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl Doors {
    /// The runtime, once its store could be opened.
    pub(crate) fn openact(&self) -> Result<&OpenAct> {
        self.slot.get()
    }
}

/// Every route, with all that is around them. `openact` is an [`OpenAct`], or a [`Slot`] that gets one later.
pub fn router(openact: impl Into<Slot>, settings: ServerSettings) -> Result<Router> {
    routed(&doors(openact.into(), settings))
}

/// Serves until `shutdown` is done; then takes no more connections and waits for what is being answered, within
/// [`Patience::grace`].
pub async fn serve(
    listener: Listener,
    openact: impl Into<Slot>,
    settings: ServerSettings,
    shutdown: impl Future<Output = ()>,
) -> Result<()> {
    let patience = settings.patience;
    let doors = doors(openact.into(), settings);
    listen::serve(listener, routed(&doors)?, patience, shutdown, mcp::shutdown(&doors)).await;
    Ok(())
}

fn doors(slot: Slot, settings: ServerSettings) -> Doors {
    Doors(Arc::new(Inner { slot, settings, meters: meter::Meters::default(), mcp: OnceLock::new() }))
}

fn routed(doors: &Doors) -> Result<Router> {
    let cors = cors(&doors.settings)?;
    doors.settings.public_url.as_deref().map(resource::check).transpose()?;
    let (routes, _) = routes::routes().split_for_parts();
    let is_small_and_whole = DefaultPredicate::new()
        .and(NotForContentType::const_new("application/x-ndjson"))
        .and(NotForContentType::const_new("text/event-stream"));
    let routes = routes
        .merge(routes::outside())
        .merge(mcp::routes(doors))
        .merge(resource::routes())
        .fallback(routes::unknown_route)
        .method_not_allowed_fallback(routes::wrong_method)
        .layer(middleware::from_fn_with_state(doors.clone(), access::admit))
        .layer(middleware::from_fn_with_state(doors.clone(), origin::check))
        .layer(middleware::from_fn(envelope::finish))
        .layer(CompressionLayer::new().compress_when(is_small_and_whole))
        .with_state(doors.clone());
    Ok(match cors {
        Some(cors) => routes.layer(cors),
        None => routes,
    })
}

/// The document that describes the routes, as it is served at `/api/v1/openapi.json`.
pub fn openapi_json() -> String {
    openapi::json()
}

/// None: a browser lets no other site's page read an answer.
fn cors(settings: &ServerSettings) -> Result<Option<CorsLayer>> {
    if settings.cors_origins.is_empty() {
        return Ok(None);
    }
    let mut origins = Vec::new();
    for origin in &settings.cors_origins {
        let bad = || {
            Error::invalid_config(format!("'{origin}' is not the origin of a web page"))
                .hint("expected a scheme, a host and perhaps a port: https://app.example.com")
        };
        let url = url::Url::parse(origin).map_err(|_| bad())?;
        if !matches!(url.scheme(), "http" | "https") || url.origin().ascii_serialization() != *origin {
            return Err(bad());
        }
        origins.push(origin.parse().map_err(|_| bad())?);
    }
    let headers = [
        "authorization",
        "content-type",
        "accept",
        "x-api-key",
        "x-tenant",
        "x-request-id",
        "idempotency-key",
    ]
    .into_iter()
    .chain(["if-match", "if-none-match", "last-event-id", "traceparent", "tracestate"])
    .chain(["mcp-protocol-version", "mcp-session-id", "mcp-method", "mcp-name"]);
    let exposed = [
        "x-request-id",
        "etag",
        "location",
        "retry-after",
        "mcp-session-id",
        "mcp-protocol-version",
        "www-authenticate",
    ];
    Ok(Some(
        CorsLayer::new()
            .allow_origin(AllowOrigin::list(origins))
            .allow_methods([http::Method::GET, http::Method::POST, http::Method::PUT, http::Method::DELETE])
            .allow_headers(headers.map(http::HeaderName::from_static).collect::<Vec<_>>())
            .expose_headers(exposed.map(http::HeaderName::from_static))
            .max_age(Duration::from_secs(600)),
    ))
}
