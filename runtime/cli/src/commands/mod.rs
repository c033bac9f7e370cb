//! The commands, a file each. Invariant: a command calls the crate `openact` and shapes what it answers; it holds no
//! rule that an embedder would lack.

mod check;
mod completions;
mod connector;
mod demo;
mod explain;
mod export;
mod import;
mod input;
mod key;
mod list;
mod migrate;
mod run;
mod secret;
mod show;

use crate::{app::App, args::Command, failure::Failure, output::Output};

/// Runs a command.
pub(crate) async fn run(app: &App, command: Command) -> Result<Output, Failure> {
    Ok(match command {
        Command::Demo => demo::demo().await?,
        Command::Run(args) => run::run(app, args).await?,
        Command::Migrate => migrate::migrate(app).await?,
        Command::Import(args) => import::import(app, args).await?,
        Command::List(args) => list::list(app, args).await?,
        Command::Show { reference } => show::show(app, &reference).await?,
        Command::Explain(args) => explain::explain(app, args).await?,
        Command::Check(args) => check::check(app, args).await?,
        Command::Export(args) => export::export(app, args).await?,
        Command::Connector(command) => connector::connector(app, command).await?,
        Command::Secret(command) => secret::secret(app, command).await?,
        Command::Key(command) => key::key(app, command).await?,
        Command::Completions { shell } => completions::completions(shell),
    })
}
