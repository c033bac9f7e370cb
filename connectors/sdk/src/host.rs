//! What a connector may ask of its host. Handlers take it as `&dyn Host`, so that a test can hand in a fake.

use crate::{
    HostError, Json, Request, Response,
    bindings::openact::connector::{http, log},
    log::Level,
};

/// The host of a running connector, or a fake one (see [`crate::testing`]).
pub trait Host {
    /// Sends one request and waits for the head of the response and the first part of its body.
    fn send(&self, request: Request) -> Result<Response, HostError>;

    /// Writes one line of diagnostics. `fields` is a JSON object.
    fn log(&self, level: Level, message: &str, fields: Option<&Json>);
}

/// The real one: the component's imports.
pub(crate) struct ComponentHost;

impl Host for ComponentHost {
    fn send(&self, request: Request) -> Result<Response, HostError> {
        http::send(&request).map(Response::from)
    }

    fn log(&self, level: Level, message: &str, fields: Option<&Json>) {
        log::write(level, message, fields.map(Json::as_str).unwrap_or_default());
    }
}
