//! `openact backup` and `openact restore`: a copy of the database, and putting one in its place.

use openact::{AuditReport, Door, Result};
use serde_json::{Value, json};

use crate::{
    app::App,
    args::{Backup, Restore},
    output::Output,
};

pub(crate) async fn backup(app: &App, args: Backup) -> Result<Output> {
    let report = app.stored().await?.backup(&args.file).await?;
    let line = format!("wrote {} ({} bytes), verified\n", report.file.display(), report.bytes);
    Ok(Output::Lines(
        line + &audited(&report.audit),
        json!({
            "file": report.file, "bytes": report.bytes, "rows": rows(&report.rows), "audit": to_json(&report.audit),
        }),
    ))
}

pub(crate) async fn restore(app: &App, args: Restore) -> Result<Output> {
    let report = openact::restore(&app.settings.store()?, &args.file, args.force, Door::Cli).await?;
    let mut lines = format!("restored {}\n", report.file.display());
    if let Some(replaced) = &report.replaced {
        lines.push_str(&format!("what was there is now {}\n", replaced.display()));
    }
    if !report.missing.is_empty() {
        lines.push_str("it is of an older OpenAct; run: openact migrate\n");
    }
    if !report.ended_tokens.is_empty() {
        lines.push_str(&format!(
            "tokens that are over, as they may have been revoked since the copy was made: {}; revoke them, and make new \
             ones: openact token create\n",
            report.ended_tokens.join(", ")
        ));
    }
    lines.push_str(&audited(&report.audit));
    if !report.logged {
        lines.push_str("its audit log has no entry of this: it could not be written\n");
    }
    Ok(Output::Lines(
        lines,
        json!({
            "file": report.file, "rows": rows(&report.rows), "replaced": report.replaced, "logged": report.logged,
            "missing": report.missing, "audit": to_json(&report.audit),
            "ended_tokens": report.ended_tokens,
        }),
    ))
}

fn rows(rows: &[(String, u64)]) -> Value {
    rows.iter().map(|(table, count)| (table.clone(), Value::from(*count))).collect()
}

fn audited(report: &Option<AuditReport>) -> String {
    match report.as_ref().map(AuditReport::error) {
        None => "its audit log was not verified: the key is not there\n".to_owned(),
        Some(None) => String::new(),
        Some(Some(error)) => format!("its audit log is not as it was written: {}\n", error.message),
    }
}

fn to_json(report: &Option<AuditReport>) -> Value {
    report.as_ref().map_or(Value::Null, |report| {
        json!({ "entries": report.entries, "broken": report.broken.as_ref().map(|broken| broken.id) })
    })
}
