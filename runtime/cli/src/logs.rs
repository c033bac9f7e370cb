//! Logs, on standard error.
//!
//! Invariant: a crate that is not OpenAct's logs warnings at most, whatever flags and `RUST_LOG` say: HTTP libraries
//! write request headers, with credentials in them, at lower levels.

use std::io;

use tracing::{Level, Metadata, level_filters::LevelFilter};
use tracing_subscriber::{
    Layer, Registry,
    filter::{FilterExt, Targets, filter_fn},
    layer::SubscriberExt,
};

use crate::{
    args::LogFormat,
    settings::{self, Logs},
};

/// Starts logging for the process.
pub(crate) fn start(logs: &Logs, color: bool) {
    let layer = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(color);
    // A closed standard error must not end the process.
    let layer = layer.log_internal_errors(false);
    let layer: Box<dyn Layer<Registry> + Send + Sync> = match logs.format {
        LogFormat::Text => layer.boxed(),
        LogFormat::Json => layer.json().boxed(),
    };
    let filter = wanted(&logs.level).and(filter_fn(may_be_logged));
    // It can only fail where logging was started before, and nothing here did.
    let _ = tracing::subscriber::set_global_default(Registry::default().with(layer.with_filter(filter)));
}

fn wanted(level: &settings::Level) -> Targets {
    match level {
        settings::Level::Flag(level) => Targets::new().with_default(*level),
        settings::Level::Environment(text) => {
            text.parse().unwrap_or_else(|_| Targets::new().with_default(LevelFilter::WARN))
        }
    }
}

fn may_be_logged(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target();
    let own =
        target.strip_prefix("openact").is_some_and(|rest| rest.is_empty() || rest.starts_with(['_', ':']));
    own || *metadata.level() <= Level::WARN
}
