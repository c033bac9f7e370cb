//! What a connector may ask of its host. Handlers take it as `&dyn Host`, so that a test can hand in a fake.

use crate::{
    HostError, Json, Request, Response,
    bindings::openact::connector::{http, log, output},
    log::Level,
    sockets::Streams,
    state::States,
};

/// The host of a running connector, or a fake one (see [`crate::testing`]).
pub trait Host {
    /// Sends one request and waits for the head of the response and the first part of its body.
    fn send(&self, request: Request) -> Result<Response, HostError>;

    /// What opens streams in place of the component's imports, in a test; see [`crate::sockets::open_by`]. The imports are
    /// not behind this trait, since a component is linked with all that a trait object can reach, and pays for each
    /// import at every call.
    fn streams(&self) -> Option<&dyn Streams> {
        None
    }

    /// What keeps values in place of the component's imports, in a test; see [`crate::state::get_by`].
    fn states(&self) -> Option<&dyn States> {
        None
    }

    /// Writes one line of diagnostics. `fields` is a JSON object.
    fn log(&self, level: Level, message: &str, fields: Option<&Json>);

    /// Hands one item to the caller while the call runs, and waits while the caller is slower. Answers `unsupported`
    /// where the caller takes no stream: the items then belong into the result. Needs [`crate::Capability::Emit`].
    fn emit(&self, item: &Json) -> Result<(), HostError>;
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

    fn emit(&self, item: &Json) -> Result<(), HostError> {
        output::emit(item.as_str())
    }
}
