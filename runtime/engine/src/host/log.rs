//! `log`: a connector's lines go to the operator's log, redacted and bounded.

use openact_core::limits::{LOG_LINE_BYTES_MAX, LOG_LINES_MAX};

use super::{HostView, one_line};
use crate::bindings::v0_1::log::{self, Level};

impl log::Host for HostView<'_> {
    async fn write(&mut self, level: Level, message: String, fields: String) -> wasmtime::Result<()> {
        let state = &mut *self.0;
        state.log_lines += 1;
        if state.log_lines > LOG_LINES_MAX {
            state.usage.log_lines_dropped += 1;
            return Ok(());
        }
        let masks = state.traffic.grants.masks(None);
        let line = |text: String| {
            let end = text.floor_char_boundary(LOG_LINE_BYTES_MAX);
            let (kept, is_cut) = (text.get(..end).unwrap_or_default(), end < text.len());
            let redacted = masks.redact(kept);
            // A secret that the cut went through is not recognised; its beginning goes with the last bytes.
            let cut = if is_cut { masks.longest() } else { 0 };
            let last = redacted.len().saturating_sub(cut);
            one_line(redacted.get(..redacted.floor_char_boundary(last)).unwrap_or_default())
        };
        let (message, fields) = (line(message), line(fields));
        let connector = state.manifest.as_ref().map_or("?", |manifest| manifest.name.as_str());
        let run = state.run.map(|run| run.to_string()).unwrap_or_default();
        let fields = (!fields.is_empty()).then_some(fields);
        macro_rules! write {
            ($level:ident) => { tracing::$level!(target: "openact::connector", connector, run, fields, "{message}") };
        }
        match level {
            Level::Trace => write!(trace),
            Level::Debug => write!(debug),
            Level::Info => write!(info),
            Level::Warn => write!(warn),
            Level::Error => write!(error),
        }
        Ok(())
    }
}
