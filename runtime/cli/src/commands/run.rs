//! `openact run`: one action, from the database or straight from a file. Standard output is its result, or the items
//! it streams.
//!
//! Invariant: no result is lost. One that came after streamed items is not printed among them, but what of it says that
//! they are not all is.

use std::path::PathBuf;

use openact::{
    Door, Error, Format, ImportOptions, ItemSender, Json, OpenAct, Record, Request, Result, RunRecord,
};
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::{
    app::App,
    args,
    commands::input,
    output::{self, Output},
};

pub(crate) async fn run(app: &App, args: args::Run) -> Result<Output> {
    // Read first: a mistake in the input should not have to wait for a database.
    let input = input::read(args.call.input.clone(), &args.call.set).await?;
    let openact = opened(app, &args.call.source, &args.call.connector).await?;
    let (items, printed) = if args.stream { stream() } else { (None, None) };
    let request = Request {
        timeout: args.timeout,
        dry_run: args.dry_run,
        items,
        idempotency_key: args.idempotency_key,
        trace: trace_of_environment(),
        ..Request::new(Door::Cli, app.settings.tenant.clone(), args.action, input)
    };
    let execution = openact.execute(request).await;
    if let Some(run) = &execution.run {
        log(run);
        if args.show_run {
            output::to_stderr(&format!("{}\n", run.to_json()));
        }
    }
    if let Some(printed) = printed {
        return streamed(execution.result, printed).await;
    }
    let json = execution.result?.as_str().to_owned();
    let result = match &execution.run {
        Some(run) if app.settings.format == Some(args::Format::Raw) && gives_bytes(openact, run).await => {
            Output::JsonOfBytes(json)
        }
        _ => Output::Json(json),
    };
    match args.output {
        None => Ok(result),
        Some(path) => {
            output::to_file(&path, &result.to_bytes(app.settings.format, false)?)?;
            Ok(Output::Nothing)
        }
    }
}

/// Prints items as they come, on a thread of its own: while a reader makes it wait, Ctrl-C still ends the process. The
/// action waits too, since the channel holds one item.
fn stream() -> (Option<ItemSender>, Option<JoinHandle<Result<Printed>>>) {
    let (sender, mut items) = tokio::sync::mpsc::channel(1);
    let printing = tokio::task::spawn_blocking(move || {
        let mut printed = Printed { items: 0, reader_left: false };
        while let Some(item) = items.blocking_recv() {
            printed.reader_left = !output::item(Json::from(item).as_str())?;
            if printed.reader_left {
                break;
            }
            printed.items += 1;
        }
        Ok(printed)
    });
    (Some(sender), Some(printing))
}

struct Printed {
    items: u64,
    /// As `head` does when it has seen enough.
    reader_left: bool,
}

async fn streamed(result: Result<Json>, printing: JoinHandle<Result<Printed>>) -> Result<Output> {
    let printed =
        printing.await.map_err(|error| Error::internal("failed to print items").because(error))??;
    // A call that was stopped because nobody reads on has not failed.
    if printed.reader_left {
        return Ok(Output::Nothing);
    }
    let result = result?;
    if printed.items == 0 {
        return Ok(Output::Json(result.as_str().to_owned()));
    }
    tracing::info!(items = printed.items, result = result.as_str(), "streamed");
    let result = result.value()?;
    if result.get("truncated") == Some(&Value::Bool(true)) {
        tracing::warn!(items = printed.items, "there are more items than were asked for (truncated: true)");
    }
    if let Some(status) = result.get("status_code").and_then(Value::as_u64).filter(|status| *status >= 400) {
        tracing::warn!(items = printed.items, status, "the server answered with an error status");
    }
    Ok(Output::Nothing)
}

/// Whether the action has bodies as bytes whatever their type, which a result does not tell.
async fn gives_bytes(openact: &OpenAct, run: &RunRecord) -> bool {
    let tenant = &run.action.tenant;
    let wanted = |response: Option<&Value>| Some(response?.get("as")? == "bytes");
    if let Ok(Record::Action(action)) = openact.show(tenant, &run.action.to_string()).await {
        let response = action.config.get("response");
        // A null takes that of the connection away.
        if let Some(wanted) = wanted(response).or(response.filter(|own| own.is_null()).map(|_| false)) {
            return wanted;
        }
    }
    match openact.show(tenant, &run.connection.to_string()).await {
        Ok(Record::Connection(connection)) => {
            let defaults = connection.config.get("defaults");
            wanted(defaults.and_then(|defaults| defaults.get("response"))).unwrap_or(false)
        }
        _ => false,
    }
}

fn log(run: &RunRecord) {
    tracing::info!(run = %run.id, action = %run.action, connection = %run.connection, us = run.duration_us, "ran");
    for call in &run.host_calls {
        tracing::debug!(run = %run.id, call = call.target, outcome = call.outcome, us = call.duration_us, "{}", call.function);
    }
}

/// OpenAct with the configuration to work from.
pub(crate) async fn opened<'a>(
    app: &'a App,
    source: &args::Source,
    connectors: &[PathBuf],
) -> Result<&'a OpenAct> {
    let options = ImportOptions { tenant: app.settings.tenant.clone(), ..Default::default() };
    if let Some(text) = &source.config_json {
        let openact = app.without_database(connectors).await?;
        openact.import_text("--config-json", text, Format::Json, &options).await?;
        return Ok(openact);
    }
    if source.config.is_empty() {
        if !connectors.is_empty() {
            return Err(Error::invalid_input("--connector goes with --config or --config-json")
                .hint("with a database, install it once: openact connector install FILE"));
        }
        return app.openact().await;
    }
    let openact = app.without_database(connectors).await?;
    openact.import_files(&source.config, &options).await?;
    Ok(openact)
}

/// The trace of whoever started this, as OpenTelemetry has it for processes.
fn trace_of_environment() -> Option<openact::TraceContext> {
    let parent = std::env::var("TRACEPARENT").ok()?;
    openact::TraceContext::parse(&parent, std::env::var("TRACESTATE").ok().as_deref())
}
