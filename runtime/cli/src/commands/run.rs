//! `openact run`: one action, from the database or straight from a file. Standard output is its result.

use openact::{Door, Error, Format, ImportOptions, OpenAct, Request, Result, RunRecord};

use crate::{
    app::App,
    args,
    commands::input,
    output::{self, Output},
};

pub(crate) async fn run(app: &App, args: args::Run) -> Result<Output> {
    // Read first: a mistake in the input should not have to wait for a database.
    let input = input::read(args.input.clone(), &args.set).await?;
    let openact = opened(app, &args).await?;
    let request = Request {
        tenant: app.settings.tenant.clone(),
        action: args.action,
        input,
        timeout: args.timeout,
        dry_run: args.dry_run,
        door: Door::Cli,
        items: None,
    };
    let execution = openact.execute(request).await;
    if let Some(run) = &execution.run {
        log(run);
        if args.show_run {
            output::to_stderr(&format!("{}\n", run.to_json()));
        }
    }
    let result = Output::Json(execution.result?.as_str().to_owned());
    match args.output {
        None => Ok(result),
        Some(path) => {
            output::to_file(&path, &result.to_bytes(app.settings.format, false)?)?;
            Ok(Output::Nothing)
        }
    }
}

fn log(run: &RunRecord) {
    tracing::info!(run = %run.id, action = %run.action, connection = %run.connection, us = run.duration_us, "ran");
    for call in &run.host_calls {
        tracing::debug!(run = %run.id, call = call.target, outcome = call.outcome, us = call.duration_us, "{}", call.function);
    }
}

/// OpenAct with the configuration to run from.
async fn opened<'a>(app: &'a App, args: &args::Run) -> Result<&'a OpenAct> {
    let options = ImportOptions { tenant: app.settings.tenant.clone(), ..Default::default() };
    if let Some(text) = &args.config_json {
        let openact = app.without_database(&args.connector).await?;
        openact.import_text("--config-json", text, Format::Json, &options).await?;
        return Ok(openact);
    }
    if args.config.is_empty() {
        if !args.connector.is_empty() {
            return Err(Error::invalid_input("--connector goes with --config or --config-json")
                .hint("with a database, install it once: openact connector install FILE"));
        }
        return app.openact().await;
    }
    let openact = app.without_database(&args.connector).await?;
    openact.import_files(&args.config, &options).await?;
    Ok(openact)
}
