//! `openact import`: files into the database, as one change.

use openact::{Change, ChangeStatus, ImportOptions, Plan, Result, SecretsMode, Versioning};
use serde_json::{Value, json};

use crate::{
    app::App,
    args::{self, Import},
    output::Output,
};

pub(crate) async fn import(app: &App, args: Import) -> Result<Output> {
    let options = ImportOptions {
        tenant: app.settings.tenant.clone(),
        versioning: match args.versioning {
            args::Versioning::AlwaysBump => Versioning::AlwaysBump,
            args::Versioning::ReuseIfUnchanged => Versioning::ReuseIfUnchanged,
            args::Versioning::ForceRollback => Versioning::ForceRollback,
        },
        secrets: match args.secrets {
            args::Secrets::Seal => SecretsMode::Seal,
            args::Secrets::Reference => SecretsMode::Reference,
        },
        dry_run: args.dry_run,
    };
    let plan = app.openact().await?.import_files(&args.files, &options).await?;
    Ok(shown(&plan, args.dry_run))
}

fn shown(plan: &Plan, dry_run: bool) -> Output {
    let (mut created, mut changed, mut unchanged) = (0, 0, 0);
    let (mut lines, mut changes) = (String::new(), Vec::new());
    for change in &plan.changes {
        match change.status {
            ChangeStatus::Created => created += 1,
            ChangeStatus::Changed(_) => changed += 1,
            ChangeStatus::Unchanged => unchanged += 1,
        }
        lines.push_str(&format!("{change}\n"));
        changes.push(to_json(change));
    }
    let nothing = if dry_run { " (dry run: nothing was changed)" } else { "" };
    lines.push_str(&format!("{created} created, {changed} changed, {unchanged} unchanged{nothing}\n"));
    let summary = json!({ "created": created, "changed": changed, "unchanged": unchanged });
    Output::Lines(lines, json!({ "dry_run": dry_run, "summary": summary, "changes": changes }))
}

fn to_json(change: &Change) -> Value {
    let (status, fields) = match &change.status {
        ChangeStatus::Created => ("created", None),
        ChangeStatus::Changed(fields) => ("changed", Some(fields)),
        ChangeStatus::Unchanged => ("unchanged", None),
    };
    let mut json = json!({ "status": status, "kind": change.kind, "record": change.record });
    if let (Some(fields), Some(object)) = (fields, json.as_object_mut()) {
        object.insert("fields".into(), json!(fields));
    }
    json
}
