//! The settings of one invocation, resolved. Precedence of each, first one wins:
//!
//! 1. its flag
//! 2. its environment variable: `OPENACT_DB`, `OPENACT_TENANT`; `NO_COLOR`; `RUST_LOG` for the level of logs
//! 3. the default: the database file of the user's data folder, tenant `default`, warnings
//!
//! Invariant: nothing after this reads the arguments' global flags or those variables.

use std::io::IsTerminal;

use openact::Tenant;

use crate::args::{Format, Global, LogFormat};

/// See the module.
#[derive(Debug)]
pub(crate) struct Settings {
    /// None: the default, which is looked for only by commands that need a database.
    store: Option<String>,
    pub(crate) tenant: Tenant,
    /// Errors only.
    pub(crate) quiet: bool,
    /// What was asked for; else it depends on where the result goes.
    pub(crate) format: Option<Format>,
    pub(crate) logs: Logs,
    pub(crate) stdout: Stream,
    pub(crate) stderr: Stream,
}

/// What is logged and how.
#[derive(Debug)]
pub(crate) struct Logs {
    pub(crate) level: Level,
    pub(crate) format: LogFormat,
}

/// How much is logged.
#[derive(Debug)]
pub(crate) enum Level {
    /// Asked for by flags.
    Flag(tracing::level_filters::LevelFilter),
    /// What `RUST_LOG` says.
    Environment(String),
}

/// Where text goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stream {
    pub(crate) is_terminal: bool,
    pub(crate) color: bool,
}

impl Settings {
    pub(crate) fn new(global: Global) -> Self {
        let no_color = global.no_color || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let stream = |is_terminal: bool| Stream { is_terminal, color: is_terminal && !no_color };
        Self {
            store: global.db.filter(|url| !url.is_empty()),
            tenant: global.tenant,
            quiet: global.quiet,
            format: global.format,
            logs: Logs {
                level: level(global.quiet, global.verbose, std::env::var("RUST_LOG").ok()),
                format: global.log_format,
            },
            stdout: stream(std::io::stdout().is_terminal()),
            stderr: stream(std::io::stderr().is_terminal()),
        }
    }

    /// Whether a database was named, and not left to the default.
    pub(crate) fn names_a_store(&self) -> bool {
        self.store.is_some()
    }

    /// The database's URL.
    pub(crate) fn store(&self) -> openact::Result<String> {
        match &self.store {
            Some(url) => Ok(url.clone()),
            None => openact::settings::default_store(),
        }
    }
}

fn level(quiet: bool, verbose: u8, rust_log: Option<String>) -> Level {
    use tracing::level_filters::LevelFilter;
    match (quiet, verbose, rust_log) {
        (true, ..) => Level::Flag(LevelFilter::ERROR),
        (_, 1, _) => Level::Flag(LevelFilter::INFO),
        (_, 2, _) => Level::Flag(LevelFilter::DEBUG),
        (_, 3.., _) => Level::Flag(LevelFilter::TRACE),
        (_, 0, Some(text)) if !text.is_empty() => Level::Environment(text),
        _ => Level::Flag(LevelFilter::WARN),
    }
}
