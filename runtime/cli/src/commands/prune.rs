//! `openact prune`: old versions, deleted.

use openact::Result;
use serde_json::json;

use super::import::to_json;
use crate::{app::App, args::Prune, output::Output};

pub(crate) async fn prune(app: &App, args: Prune) -> Result<Output> {
    let plan = app.stored().await?.prune(&app.settings.tenant, args.keep, args.dry_run).await?;
    let mut lines: String = plan.changes.iter().map(|change| format!("{change}\n")).collect();
    let nothing = if args.dry_run { " (dry run: nothing was changed)" } else { "" };
    lines.push_str(&format!("{} deleted{nothing}\n", plan.changes.len()));
    let changes: Vec<_> = plan.changes.iter().map(to_json).collect();
    let summary = json!({ "deleted": changes.len() });
    Ok(Output::Lines(lines, json!({ "dry_run": args.dry_run, "summary": summary, "changes": changes })))
}
