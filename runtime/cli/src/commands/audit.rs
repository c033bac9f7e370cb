//! `openact audit`: the log of changes; whether it is as it was written. The exit code of `verify` says so.

use openact::{AuditEntry, ErrorCode, OpenAct, Result};
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
        Audit::Verify { expect } => verify(openact, expect.as_deref()).await,
    }
}

async fn verify(openact: &OpenAct, expect: Option<&str>) -> Result<Output> {
    let report = openact.verify_audit().await?;
    let lost = match expect {
        Some(head) => !openact.has_audit_head(head).await?,
        None => false,
    };
    let (mut line, mut code) = match report.error() {
        None => (format!("{} entries, each as it was written\n", report.entries), 0),
        Some(error) => (format!("{}\n", error.message), ErrorCode::Conflict.exit_code()),
    };
    if report.began_late {
        line.push_str(
            "there was configuration before the first entry: from before the log, or a log was removed\n",
        );
    }
    if lost {
        line.push_str("the expected head is not in the log: it is an older one, or another\n");
        code = ErrorCode::Conflict.exit_code();
    }
    if let Some(head) = &report.head {
        line.push_str(&format!("head {head}\n"));
    }
    let broken = report.broken.as_ref().map(|broken| json!({ "entry": broken.id, "what": broken.what }));
    let json = json!({
        "entries": report.entries, "ok": code == 0, "broken": broken, "differ": report.differ,
        "head": report.head, "began_late": report.began_late, "has_expected": expect.map(|_| !lost),
    });
    Ok(Output::Verdict(Box::new(Output::Lines(line, json)), code))
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
