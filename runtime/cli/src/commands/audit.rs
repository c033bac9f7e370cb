//! `openact audit`: the log of changes; whether it is as it was written. The exit code of `verify` says so.

use openact::{AuditEntry, ErrorCode, Result};
use serde_json::{Value, json};

use crate::{
    app::App,
    args::Audit,
    output::{List, Output},
};

pub(crate) async fn audit(app: &App, command: Audit) -> Result<Output> {
    let openact = app.stored().await?;
    match command {
        Audit::List { limit } => {
            let entries = openact.list_audit(&app.settings.tenant, limit).await?;
            Ok(Output::List(List {
                header: &["id", "at", "actor", "door", "operation", "object"],
                rows: entries.iter().map(row).collect(),
                records: entries.iter().map(to_json).collect(),
            }))
        }
        Audit::Verify => {
            let report = openact.verify_audit().await?;
            let (line, code) = match report.error() {
                None => (format!("{} entries, each as it was written\n", report.entries), 0),
                Some(error) => (format!("{}\n", error.message), ErrorCode::Conflict.exit_code()),
            };
            let broken =
                report.broken.as_ref().map(|broken| json!({ "entry": broken.id, "what": broken.what }));
            let json = json!({ "entries": report.entries, "ok": broken.is_none(), "broken": broken });
            Ok(Output::Verdict(Box::new(Output::Lines(line, json)), code))
        }
    }
}

fn row(entry: &AuditEntry) -> Vec<String> {
    let AuditEntry { id, at, actor, door, operation, object, .. } = entry;
    vec![id.to_string(), format!("{at:.0}"), actor.clone(), door.clone(), operation.clone(), object.clone()]
}

fn to_json(entry: &AuditEntry) -> Value {
    json!({
        "id": entry.id, "at": entry.at, "tenant": entry.tenant.as_ref().map(ToString::to_string),
        "actor": entry.actor, "door": entry.door, "operation": entry.operation, "object": entry.object,
        "before": entry.before, "after": entry.after,
    })
}
