//! Whether the server lives, and whether calls can be answered.
//!
//! Invariant: `ready` tells the truth: it asks the store when it is asked. Anybody may ask, so it costs little and names no
//! file, address or key but to a caller.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, header};
use openact::{Error, METRICS_CONTENT_TYPE};

use super::json;
use crate::{
    Doors,
    access::{self, Call},
    envelope::{Answer, Failure, Reply},
    openapi,
    shapes::{Envelope, Health, Readiness, ReadinessCheck, VersionShape},
};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Whether the process answers
#[utoipa::path(get, path = "/health", tag = "server", responses((status = 200, description = "It does", body = Envelope<Health>)))]
pub(crate) async fn health() -> Answer {
    Ok(Reply::new(json(Health { status: "ok", service: "openact", version: VERSION })?))
}

/// Whether calls can be answered: the store can be read, its key is here; and whether by the newest configuration. Why not
/// is told to callers: elsewhere than on loopback, to who shows a token
#[utoipa::path(get, path = "/ready", tag = "server", responses(
    (status = 200, description = "They can; if `degraded`, by the configuration before the one that was refused", body = Envelope<Readiness>),
))]
pub(crate) async fn ready(State(doors): State<Doors>, headers: HeaderMap) -> Answer {
    let mut checks = checks(&doors).await;
    // What is wrong names files and hosts.
    if access::caller(&doors, &headers).await.is_err() {
        for check in &mut checks {
            check.message = check.message.take().map(|_| in_short(check.name).to_owned());
        }
    }
    let wrong: Vec<&ReadinessCheck> = checks.iter().filter(|check| !check.ok).collect();
    if wrong.iter().all(|check| check.name == CONFIGURATION) {
        let status = if wrong.is_empty() { "ready" } else { "degraded" };
        return Ok(Reply::new(json(Readiness { status, ready: true, checks })?));
    }
    let said =
        |check: &&ReadinessCheck| format!("{}: {}", check.name, check.message.as_deref().unwrap_or_default());
    let message = format!("not ready: {}", wrong.iter().map(said).collect::<Vec<_>>().join("; "));
    let details = json(Readiness { status: "not_ready", ready: false, checks })?;
    Err(Failure::from(Error::store_unavailable(message).details(details)))
}

const STORE: &str = "store";
const KEY: &str = "key";
const CONFIGURATION: &str = "configuration";

/// What is wrong, for somebody who may be anybody.
fn in_short(check: &str) -> &'static str {
    match check {
        STORE => "it cannot be read; the log of the server says why",
        KEY => "a master key that records are sealed with is not here",
        _ => "files that changed were refused; the log of the server says why",
    }
}

async fn checks(doors: &Doors) -> Vec<ReadinessCheck> {
    let check = |name, wrong: Option<String>| ReadinessCheck { name, ok: wrong.is_none(), message: wrong };
    let openact = match doors.openact() {
        Ok(openact) => openact,
        Err(error) => return vec![check(STORE, Some(error.message.clone()))],
    };
    let (store, key) = match openact.missing_key().await {
        Err(error) => (Some(error.message.clone()), None),
        Ok(missing) => (
            None,
            missing.map(|id| format!("records are sealed with the master key {id}, which is not here")),
        ),
    };
    let refused = openact.refused_files().map(|error| {
        let place = error.place.as_ref().map(|place| format!(" ({place})")).unwrap_or_default();
        format!("files that changed were refused: {error}{place}")
    });
    vec![check(STORE, store), check(KEY, key), check(CONFIGURATION, refused)]
}

/// The version of the server
#[utoipa::path(get, path = "/version", tag = "server", responses((status = 200, description = "Which one", body = Envelope<VersionShape>)))]
pub(crate) async fn version() -> Answer {
    Ok(Reply::new(json(VersionShape { service: "openact", version: VERSION, api: "v1" })?))
}

/// What happens here, in numbers, for Prometheus
#[utoipa::path(get, path = "/metrics", tag = "server",
    responses((status = 200, description = "As text", content_type = "application/openmetrics-text", body = String)))]
pub(crate) async fn metrics(call: Call) -> Response {
    ([(header::CONTENT_TYPE, METRICS_CONTENT_TYPE)], call.openact.metrics()).into_response()
}

/// The document that describes the routes.
pub(crate) async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], openapi::json()).into_response()
}
