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
        let line = |text: String| {
            // Redacted before it is cut, so that no part of a secret is left at the end.
            let text = match &state.grants.credential {
                Some(credential) => credential.redact(&text),
                None => text,
            };
            let end = text.floor_char_boundary(LOG_LINE_BYTES_MAX);
            one_line(text.get(..end).unwrap_or_default())
        };
        let (message, fields) = (line(message), line(fields));
        let connector = state.manifest.as_ref().map_or("?", |manifest| manifest.name.as_str());
        let run = state.run.map(|run| run.to_string()).unwrap_or_default();
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
