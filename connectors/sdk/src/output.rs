//! `output`: results streamed while the call runs, through [`crate::Host::emit`]. Where the caller takes no stream the
//! answer is `unsupported`, which a connector learns from the first item and not before.

pub use crate::bindings::openact::connector::output::emit;
