//! `log`: diagnostics, written through [`crate::Host::log`]. Redacted and bounded by the host.

pub use crate::bindings::openact::connector::log::Level;
