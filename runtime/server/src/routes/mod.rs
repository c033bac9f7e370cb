//! The routes, a file per thing.
//!
//! Invariant: a route that changes something, or shows configuration, takes a [`Manage`](crate::access::Manage).

mod actions;
mod audit;
mod connections;
mod connectors;
mod execute;
mod health;
mod inline;
mod kinds;
mod records;
mod runs;
mod secrets;
mod tokens;

pub use inline::Inline;

use axum::{Router, extract::Request, routing::get};
use http::StatusCode;
use openact::{Error, Result, limits, nearest};
use utoipa::openapi::{ComponentsBuilder, OpenApiBuilder};
use utoipa::{PartialSchema, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{Doors, docs, envelope::Failure, shapes};

/// Everything below `/api/v1`, which is described by the OpenAPI document.
pub(crate) fn routes() -> OpenApiRouter<Doors> {
    let mut schemas = Vec::new();
    shapes::FailureEnvelope::schemas(&mut schemas);
    let components = schemas
        .into_iter()
        .fold(ComponentsBuilder::new(), |components, (name, schema)| components.schema(name, schema))
        .schema(shapes::FailureEnvelope::name(), shapes::FailureEnvelope::schema())
        .build();
    let document = OpenApiBuilder::new().components(Some(components)).build();
    let below = OpenApiRouter::new()
        .routes(routes!(health::health))
        .routes(routes!(health::ready))
        .routes(routes!(health::version))
        .routes(routes!(health::metrics))
        .routes(routes!(kinds::list))
        .routes(routes!(kinds::get))
        .routes(routes!(kinds::connection_schema))
        .routes(routes!(kinds::action_schema))
        .routes(routes!(connections::list, connections::create))
        .routes(routes!(connections::get, connections::put, connections::delete))
        .routes(routes!(connections::check))
        .routes(routes!(actions::list, actions::create))
        .routes(routes!(actions::get, actions::put, actions::delete))
        .routes(routes!(actions::schema))
        .routes(routes!(execute::by_reference))
        .routes(routes!(execute::by_trn))
        .routes(routes!(inline::run))
        .routes(routes!(runs::list, runs::start))
        .routes(routes!(runs::get))
        .routes(routes!(runs::events))
        .routes(routes!(runs::cancel))
        .routes(routes!(secrets::list, secrets::set))
        .routes(routes!(connectors::list, connectors::install))
        .routes(routes!(connectors::remove))
        .routes(routes!(tokens::list, tokens::create))
        .routes(routes!(tokens::revoke))
        .routes(routes!(audit::list));
    OpenApiRouter::with_openapi(document).nest("/api/v1", below)
}

/// What is outside of it: for probes, for people.
pub(crate) fn outside() -> Router<Doors> {
    Router::new()
        .route("/health", get(health::health))
        .route("/ready", get(health::ready))
        .route("/version", get(health::version))
        .route("/metrics", get(health::metrics))
        .route("/api/v1/openapi.json", get(health::openapi))
        .route("/docs", get(docs::page))
        .route("/docs/docs.js", get(docs::script))
        .route("/docs/docs.css", get(docs::style))
}

/// A path that is no route.
pub(crate) async fn unknown_route(request: Request) -> Failure {
    let path = request.uri().path();
    let mut error =
        Error::not_found(format!("there is no route {} {}", request.method(), path.escape_debug()));
    let known = ["/health", "/ready", "/version", "/metrics", "/docs", "/mcp"].into_iter();
    let below =
        ["kinds", "connections", "actions", "execute", "execute-inline", "runs", "secrets", "connectors"]
            .into_iter()
            .chain(["tokens", "audit", "openapi.json"])
            .map(|name| format!("/api/v1/{name}"))
            .collect::<Vec<_>>();
    error = match nearest(path, known.chain(below.iter().map(String::as_str))) {
        Some(near) => error.hint(format!("did you mean {near}?")),
        None => error.hint("the routes are described at /docs; a '/' inside of a name is written %2F"),
    };
    error.into()
}

/// A route that is there, for other methods.
pub(crate) async fn wrong_method(request: Request) -> Failure {
    let message = format!("{} is not a method of {}", request.method(), request.uri().path().escape_debug());
    Failure::from(Error::invalid_input(message).hint("the header allow says which methods there are"))
        .status(StatusCode::METHOD_NOT_ALLOWED)
}

/// The part of a list that was asked for.
pub(crate) struct Page {
    pub(crate) number: u32,
    pub(crate) size: u32,
}

impl Page {
    pub(crate) fn of(number: Option<u32>, size: Option<u32>) -> Result<Self> {
        let (number, size) = (number.unwrap_or(1), size.unwrap_or(50));
        if number == 0 {
            return Err(Error::invalid_input("pages are counted from 1"));
        }
        if size == 0 || size > limits::PAGE_SIZE_MAX {
            return Err(Error::invalid_input(format!("page_size must be 1 to {}", limits::PAGE_SIZE_MAX)));
        }
        Ok(Self { number, size })
    }

    pub(crate) fn skipped(&self) -> usize {
        (self.number as usize - 1).saturating_mul(self.size as usize)
    }

    /// Its part of everything.
    pub(crate) fn cut<T>(&self, all: Vec<T>) -> Vec<T> {
        all.into_iter().skip(self.skipped()).take(self.size as usize).collect()
    }
}

/// A typed answer as JSON.
pub(crate) fn json(shape: impl serde::Serialize) -> Result<serde_json::Value> {
    serde_json::to_value(shape).map_err(|error| Error::internal("failed to write an answer").because(error))
}
