//! `output`: results streamed while the call runs.
//!
//! Invariant: a connector that is faster than its caller waits, and one whose caller takes no stream is told so, so that
//! it can collect its items instead.

use openact_core::{Error, manifest::Capability};
use serde_json::value::RawValue;

use super::HostView;
use crate::{
    ItemSender,
    bindings::v0_1::{output, types::HostError},
    instance::limit_error,
};

impl output::Host for HostView<'_> {
    async fn emit(&mut self, item: String) -> wasmtime::Result<Result<(), HostError>> {
        let emitted = match self.require(Capability::Emit) {
            Err(error) => Err(error),
            Ok(()) => match self.0.items.clone() {
                None => return Ok(Err(HostError::Unsupported("the caller does not take a stream".into()))),
                Some(items) => hand_over(item, self.0.limits.output_bytes, &items).await,
            },
        };
        if emitted.is_ok() {
            // Whoever takes them bounds them, by taking them: a million rows are one call of a person who wants them.
            self.0.usage.host_calls -= 1;
            self.0.usage.items += 1;
        }
        Ok(emitted.map_err(|error| self.refuse(error)))
    }
}

async fn hand_over(item: String, max: u64, items: &ItemSender) -> openact_core::Result<()> {
    let bytes = item.len() as u64;
    if bytes > max {
        let message = format!("a streamed item has {bytes} bytes; at most {max} are allowed");
        return Err(limit_error("output_bytes", message));
    }
    let item =
        RawValue::from_string(item).map_err(|_| Error::invalid_input("a streamed item is not JSON"))?;
    items.send(item).await.map_err(|_| nobody_reads())
}

/// A stream that nobody reads any more is like one whose time is over: a connector that is told so stops the other
/// system's work.
pub(super) fn nobody_reads() -> Error {
    Error::timeout("the caller of the stream went away")
}
