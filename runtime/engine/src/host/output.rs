//! `output`: streamed results. Not in this version.

use openact_core::manifest::Capability;

use super::HostView;
use crate::bindings::v0_1::{output, types::HostError};

impl output::Host for HostView<'_> {
    async fn emit(&mut self, _item: String) -> wasmtime::Result<Result<(), HostError>> {
        self.unsupported(Capability::Emit, "output.emit")
    }
}
