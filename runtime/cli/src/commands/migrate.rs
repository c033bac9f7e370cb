//! `openact migrate`: brings the database to the current schema and says what that took.

use openact::Result;
use serde_json::json;

use crate::{app::App, args::Migrate, output::Output};

pub(crate) async fn migrate(app: &App, _args: Migrate) -> Result<Output> {
    let report = openact::migrate(&app.settings.store()?).await?;
    let mut lines = String::new();
    if report.created {
        lines.push_str("created the database\n");
    }
    for name in &report.applied {
        lines.push_str(&format!("applied {name}\n"));
    }
    if report.applied.is_empty() {
        lines.push_str("nothing to apply: the database is current\n");
    }
    Ok(Output::Lines(lines, json!({ "created": report.created, "applied": report.applied })))
}
