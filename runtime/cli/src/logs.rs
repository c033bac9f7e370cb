//! Logs, on standard error; and the spans of calls, for who collects them.
//!
//! Invariant: a crate that is not OpenAct's logs warnings at most, whatever flags and `RUST_LOG` say: HTTP libraries
//! write request headers, with credentials in them, at lower levels. That of MCP logs nothing: to it a client's mistake is a
//! warning, and a connection that ends an error.

use std::io;

use openact::Telemetry;
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

/// Starts logging for the process, and gives what exports spans if the environment asks for that.
pub(crate) fn start(logs: &Logs, color: bool) -> Option<Telemetry> {
    let layer = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(color);
    // A closed standard error must not end the process.
    let layer = layer.log_internal_errors(false);
    let filter = wanted(&logs.level).and(filter_fn(may_be_logged));
    let layer: Box<dyn Layer<Registry> + Send + Sync> = match logs.format {
        // Whoever reads along sees what happened; of which call, the line says itself.
        LogFormat::Text => layer.with_filter(filter.and(filter_fn(|metadata| !metadata.is_span()))).boxed(),
        LogFormat::Json => layer.json().with_current_span(false).with_filter(filter).boxed(),
    };
    let (telemetry, refused) = match Telemetry::from_env() {
        Ok(telemetry) => (telemetry, None),
        Err(error) => (None, Some(error)),
    };
    let layers = vec![Some(layer), telemetry.as_ref().map(|telemetry| telemetry.layer().boxed())];
    let layers: Vec<_> = layers.into_iter().flatten().collect();
    // It can only fail where logging was started before, and nothing here did.
    let _ = tracing::subscriber::set_global_default(Registry::default().with(layers));
    if let Some(error) = refused {
        tracing::warn!("no spans are exported: {error}");
    }
    telemetry
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
    own || *metadata.level() <= Level::WARN && !target.starts_with("rmcp")
}
