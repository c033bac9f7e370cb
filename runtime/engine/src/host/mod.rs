//! What the host lends a guest: one file per WIT interface.
//!
//! The generated traits are implemented on [`HostView`], which borrows a call's state for the time of one function.
//! Invariant: a function that refuses says why through [`HostView::refuse`], which keeps the full error for the
//! caller and tells the guest its message.

pub(crate) mod credentials;
pub(crate) mod http;
mod log;
mod output;
pub(crate) mod sockets;
mod state;
pub(crate) mod wasi;
mod wasi_http;

use openact_core::{Error, manifest::Capability};
use wasmtime::component::HasData;

use crate::{
    bindings::v0_1::types::{self, HostError},
    error,
    instance::CallState,
};

/// Marks [`HostView`] as the linker's view of a call.
pub(crate) struct Host;

impl HasData for Host {
    type Data<'a> = HostView<'a>;
}

/// A call's state, borrowed for one host function.
pub(crate) struct HostView<'a>(&'a mut CallState);

pub(crate) fn view(state: &mut CallState) -> HostView<'_> {
    HostView(state)
}

/// A guest's text for the operator's log: without line breaks and terminal codes, it cannot pass for a line of ours.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

impl types::Host for HostView<'_> {}

impl HostView<'_> {
    /// Fails unless the connector declared that it needs `capability`. While it is asked for its manifest it has
    /// declared nothing yet.
    fn require(&self, capability: Capability) -> Result<(), Error> {
        match &self.0.manifest {
            None => Err(Error::egress_denied("describe runs without any capability")),
            Some(manifest) if manifest.needs(capability) => Ok(()),
            Some(manifest) => Err(Error::egress_denied(format!(
                "connector '{}' uses '{capability}' but its manifest does not say so",
                manifest.name
            ))
            .hint(format!("the connector's author must add '{capability}' to `needs`"))),
        }
    }

    /// Keeps `error` for the caller and says it to the guest.
    fn refuse(&mut self, error: Error) -> HostError {
        let told = error::to_guest(&error);
        self.0.traffic.ledger().last_error = Some(error);
        told
    }
}
