//! One invocation, from arguments to exit code.
//!
//! ```text
//! arguments ─► settings ─► command ─┬─► close (run records are written) ─► print ─► exit code
//!                          Ctrl-C ──┘
//! ```
//!
//! Invariant: the result is printed last, when nothing can fail any more but the printing.

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use openact::{Door, Error, OpenAct, Result, Telemetry};
use tokio::sync::OnceCell;

use crate::{
    args::{Cli, Command},
    commands, exit_code,
    failure::Failure,
    logs,
    output::{self, Output},
    settings::Settings,
};

/// What commands work with.
pub(crate) struct App {
    pub(crate) settings: Settings,
    telemetry: Option<Telemetry>,
    openact: OnceCell<OpenAct>,
}

impl App {
    /// OpenAct over the user's database, opened at the first call.
    pub(crate) async fn openact(&self) -> Result<&OpenAct> {
        self.openact
            .get_or_try_init(|| async { self.builder().store(self.settings.store()?).build().await })
            .await
    }

    /// OpenAct over a database for a command that only reads one: where a name was mistyped, it makes none.
    pub(crate) async fn stored(&self) -> Result<&OpenAct> {
        let url: openact::StoreUrl = self.settings.store()?.parse()?;
        match url.path().filter(|path| self.settings.names_a_store() && !path.exists()) {
            None => self.openact().await,
            Some(path) => Err(Error::not_found(format!("there is no database at {}", path.display()))
                .hint("look at --db and OPENACT_DB; openact import, sync and migrate make one")),
        }
    }

    /// OpenAct without a database. A command uses either this or [`App::openact`].
    pub(crate) async fn without_database(&self, connectors: &[PathBuf]) -> Result<&OpenAct> {
        let builder = connectors.iter().fold(self.builder(), |builder, path| builder.connector_file(path));
        self.openact.get_or_try_init(|| builder.build()).await
    }

    /// The same, for many calls at once, and following the configuration files: a change of them is one of what is served.
    pub(crate) async fn following(
        &self,
        config: &[PathBuf],
        connectors: &[PathBuf],
        calls_max: u32,
    ) -> Result<&OpenAct> {
        let mut builder = self.builder().instances_max(calls_max);
        builder = connectors.iter().fold(builder, |builder, path| builder.connector_file(path));
        builder = match config {
            [] => builder.store(self.settings.store()?),
            files => files.iter().fold(builder, |builder, path| builder.config_file(path)),
        };
        self.openact.get_or_try_init(|| builder.build()).await
    }

    /// A command runs one call: room for a few is reserved faster than room for thousands.
    fn builder(&self) -> openact::Builder {
        self.traced(OpenAct::builder().instances_max(16).door(Door::Cli))
    }

    /// The same that exports its spans, if the environment asks for that.
    pub(crate) fn traced(&self, builder: openact::Builder) -> openact::Builder {
        match &self.telemetry {
            Some(telemetry) => builder.telemetry(telemetry.clone()),
            None => builder,
        }
    }

    async fn close(&self) {
        if let Some(openact) = self.openact.get()
            && let Err(error) = openact.close().await
        {
            // The command did what it was asked; answering that it failed would make a caller do it again.
            tracing::error!("failed to close the store: {error:?}");
        }
    }
}

/// Everything after the first line of `main`.
pub(crate) fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(usage) => return output::usage(&usage),
    };
    let settings = Settings::new(cli.global);
    let telemetry = logs::start(&settings.logs, settings.stderr.color);
    // One worker for the call and one beside it: more would only take longer to start.
    let workers = match &cli.command {
        Command::Serve(_) => std::thread::available_parallelism().map_or(2, usize::from),
        _ => 2,
    };
    let runtime =
        match tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                return output::failure(&settings, &Error::internal("failed to start").because(error).into());
            }
        };
    let app = App { settings, telemetry, openact: OnceCell::new() };
    let goes_on = matches!(&cli.command, Command::Sync(args) if args.watch);
    // These look out for signals themselves, and end in order.
    let ends_itself = matches!(&cli.command, Command::Mcp(_) | Command::Serve(_));
    let done = runtime.block_on(async {
        let done = tokio::select! {
            done = commands::run(&app, cli.command) => done,
            // What goes on until it is stopped has done what it was asked.
            _ = interrupted(), if goes_on => Ok(Output::Nothing),
            signal = interrupted(), if !goes_on && !ends_itself => Err(Failure::Interrupted(signal)),
        };
        app.close().await;
        done
    });
    // A thread may still wait for standard input; it ends with the process.
    runtime.shutdown_background();
    match done {
        Ok(output) => output::result(&app.settings, &output),
        Err(failure) => output::failure(&app.settings, &failure),
    }
}

/// Waits for the user, or the system, to ask the process to end; gives the exit code that says so.
pub(crate) async fn interrupted() -> u8 {
    #[cfg(unix)]
    if let Ok(mut terminated) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        return tokio::select! {
            code = ctrl_c() => code,
            _ = terminated.recv() => exit_code::TERMINATED,
        };
    }
    ctrl_c().await
}

async fn ctrl_c() -> u8 {
    match tokio::signal::ctrl_c().await {
        Ok(()) => exit_code::INTERRUPTED,
        Err(error) => {
            tracing::debug!("Ctrl-C cannot be noticed: {error}");
            std::future::pending().await
        }
    }
}
