//! The commands, a file each. Invariant: a command calls the crate `openact` and shapes what it answers; it holds no
//! rule that an embedder would lack.

mod audit;
mod backup;
mod check;
mod completions;
mod connector;
mod demo;
mod doctor;
mod encrypted;
mod explain;
mod export;
mod import;
mod input;
mod key;
mod list;
mod mcp;
mod migrate;
mod prune;
mod run;
mod schema;
mod secret;
mod serve;
mod show;
mod sync;
mod token;

use crate::{app::App, args::Command, failure::Failure, output::Output};

/// Runs a command.
pub(crate) async fn run(app: &App, command: Command) -> Result<Output, Failure> {
    Ok(match command {
        Command::Demo => demo::demo().await?,
        Command::Run(args) => run::run(app, args).await?,
        Command::Migrate(args) => migrate::migrate(app, args).await?,
        Command::Import(args) => import::import(app, args).await?,
        Command::Sync(args) => sync::sync(app, args).await?,
        Command::Prune(args) => prune::prune(app, args).await?,
        Command::List(args) => list::list(app, args).await?,
        Command::Show { reference } => show::show(app, &reference).await?,
        Command::Explain(args) => explain::explain(app, args).await?,
        Command::Check(args) => check::check(app, args).await?,
        Command::Export(args) => export::export(app, args).await?,
        Command::Schema(args) => schema::schema(app, args).await?,
        Command::Backup(args) => backup::backup(app, args).await?,
        Command::Restore(args) => backup::restore(app, args).await?,
        Command::Audit(command) => audit::audit(app, command).await?,
        Command::Doctor(args) => doctor::doctor(app, args).await?,
        Command::Serve(args) => serve::serve(app, args).await?,
        Command::Mcp(args) => mcp::mcp(app, args).await?,
        Command::Connector(command) => connector::connector(app, command).await?,
        Command::Secret(command) => secret::secret(app, command).await?,
        Command::Token(command) => token::token(app, command).await?,
        Command::Key(command) => key::key(app, command).await?,
        Command::Completions { shell } => completions::completions(shell),
    })
}
