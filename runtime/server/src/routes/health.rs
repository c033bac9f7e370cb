//! Whether the server lives, and whether calls can be answered.
//!
//! Invariant: `ready` tells the truth: it asks the store when it is asked.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::header;
use openact::{Error, KeyState, METRICS_CONTENT_TYPE};

use super::json;
use crate::{
    Doors,
    access::Call,
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

/// Whether calls can be answered: the store can be read, its key is here, the configuration is loaded
#[utoipa::path(get, path = "/ready", tag = "server", responses(
    (status = 200, description = "They can", body = Envelope<Readiness>),
))]
pub(crate) async fn ready(State(doors): State<Doors>) -> Answer {
    let checks = checks(&doors).await;
    let wrong: Vec<String> = checks
        .iter()
        .filter(|check| !check.ok)
        .map(|check| format!("{}: {}", check.name, check.message.as_deref().unwrap_or_default()))
        .collect();
    if wrong.is_empty() {
        return Ok(Reply::new(json(Readiness { ready: true, checks })?));
    }
    let details = json(Readiness { ready: false, checks })?;
    Err(Failure::from(Error::store_unavailable(format!("not ready: {}", wrong.join("; "))).details(details)))
}

async fn checks(doors: &Doors) -> Vec<ReadinessCheck> {
    let check = |name, wrong: Option<String>| ReadinessCheck { name, ok: wrong.is_none(), message: wrong };
    let openact = match doors.openact() {
        Ok(openact) => openact,
        Err(error) => return vec![check("store", Some(error.message.clone()))],
    };
    let status = openact.key_status().await;
    let (store, key) = match status {
        Err(error) => (Some(error.message.clone()), None),
        Ok(status) => {
            let missing = status.versions.iter().find(|key| key.state != KeyState::Unused && !key.available);
            (
                None,
                missing.map(|key| {
                    format!("records are sealed with the master key {}, which is not here", key.id)
                }),
            )
        }
    };
    vec![check("store", store), check("key", key), check("configuration", None)]
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
