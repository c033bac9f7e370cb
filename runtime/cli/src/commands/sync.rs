//! `openact sync`: the database made equal to files, once or whenever they change.

use openact::{ChangeStatus, Error, Plan, Result, SyncOptions};

use super::import::{secrets, shown, to_json, warn};
use crate::{
    app::App,
    args::{Format, Sync},
    output::{self, Output},
};

pub(crate) async fn sync(app: &App, args: Sync) -> Result<Output> {
    let options = SyncOptions {
        tenant: app.settings.tenant.clone(),
        secrets: secrets(args.secrets),
        prune: args.prune,
        prune_all: args.prune_all,
        dry_run: args.dry_run,
    };
    let files = if args.files.is_empty() { &args.config } else { &args.files };
    let openact = app.openact().await?;
    if !args.watch {
        let plan = openact.sync(files, &options).await?;
        return Ok(shown(&plan, args.dry_run, &["deleted"]));
    }
    // The files have to be right at the start: somebody is there to mend them, or to be told of a wrong path.
    let (plan, mut watch) = openact.watch(files, &options).await?;
    let mut is_read = print(app, &plan)?;
    while is_read {
        is_read = match watch.next().await {
            Ok(plan) => print(app, &plan)?,
            Err(error) => {
                // It goes on, with what was there before.
                let _ = output::failure(&app.settings, &error.into());
                true
            }
        };
    }
    Ok(Output::Nothing)
}

/// A line per change; false if nobody reads any more.
fn print(app: &App, plan: &Plan) -> Result<bool> {
    let is_terminal = app.settings.stdout.is_terminal;
    let format = app.settings.format.unwrap_or(if is_terminal { Format::Table } else { Format::Json });
    for change in plan.changes.iter().filter(|change| change.status != ChangeStatus::Unchanged) {
        let line = match format {
            Format::Table | Format::Raw => change.to_string(),
            Format::Json => to_json(change).to_string(),
            // A list to which items are added.
            Format::Yaml => serde_yaml::to_string(&[to_json(change)]).map_err(|error| {
                Error::internal("failed to write the result in this format").because(error)
            })?,
        };
        if !output::lines(&line)? {
            return Ok(false);
        }
    }
    warn(plan);
    for note in &plan.notes {
        tracing::warn!("{note}");
    }
    Ok(true)
}
