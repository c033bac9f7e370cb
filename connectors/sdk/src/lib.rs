//! Write a connector for OpenAct.
//!
//! A connector is one WebAssembly component, instantiated afresh for every call. It says what it can do
//! ([`Connector::manifest`]), whether a connection works ([`Connector::check`]), and does one thing at a time (the
//! handlers of its [`Operation`]s). It reaches the world through a [`Host`] only. It is never given a credential:
//! the host adds that to a request, unseen.
//!
//! A working connector that calls an API, in fifty lines (`examples/fifty.rs`):
#![doc = concat!("```\n", include_str!("../examples/fifty.rs"), "\n```")]
//!
//! Build it as a `cdylib` with `cargo build --release --target wasm32-wasip2`; install the `.wasm` file with
//! `openact connector install FILE`. Test it natively with the fake host of [`testing`].
//!
//! What connectors of wire protocols share:
//!
//! | for | there is |
//! |---|---|
//! | reading and writing messages | [`Stream`] |
//! | sessions that outlive a call, and what is tried again | [`pool`] |
//! | a login without seeing the password | [`Stream::login`] |
//! | `{{name}}` in the strings of an action | [`template`] |
//! | the parameters of a statement | [`args`] |
//! | rows and other items as a result, or emitted | [`rows`], [`items`], [`mod@write`] |
//! | tests without a host | [`testing::Script`], [`testing::TcpHost`] |
//!
//! Invariant: only `bindings` knows the binary interface; everything public here compiles, and is tested, natively.

pub mod args;
#[doc(hidden)]
pub mod bindings;
mod connector;
pub mod credentials;
mod failure;
mod host;
pub mod http;
pub mod items;
mod json;
pub mod log;
mod manifest;
pub mod members;
pub mod output;
pub mod pool;
pub mod rows;
pub mod sockets;
pub mod state;
mod stream;
pub mod template;
pub mod testing;
pub mod variables;
pub mod write;

pub use bindings::openact::connector::types::{Capability, Effect, Failure, HostError, UpstreamFailure};
pub use connector::{Call, Connector};
pub use credentials::Login;
pub use host::Host;
pub use http::{Request, Response};
pub use json::Json;
pub use manifest::{Manifest, Operation};
pub use sockets::{Endpoint, Socket, TlsMode};
pub use stream::Stream;
pub use variables::Input;

/// What `export!` expands to; not for use by hand.
#[doc(hidden)]
pub mod __private {
    pub use crate::connector::Exported;
}

/// Makes a component of a [`Connector`]: its `describe`, `check` and `invoke`. Once per crate; nothing on a native
/// target, so that the crate can be tested there.
#[macro_export]
macro_rules! export {
    ($connector:ty) => {
        #[cfg(target_family = "wasm")]
        const _: () = {
            type Exported = $crate::__private::Exported<$connector>;
    $crate::bindings::export_component!(Exported with_types_in $crate::bindings);
        };
    };
}
