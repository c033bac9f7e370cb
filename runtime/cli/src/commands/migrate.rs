//! `openact migrate`: brings the database to the current schema, from an older one or from the earlier OpenAct's, and says
//! what that took; and the two ways on from there, back and final.

use openact::{
    Door, ErrorCode, MigrateOptions, Migration, Result,
    legacy::report::{Effect, LegacyReport},
};
use serde_json::{Value, json};

use crate::{app::App, args::Migrate, output::Output};

pub(crate) async fn migrate(app: &App, args: Migrate) -> Result<Output> {
    let store = app.settings.store()?;
    if args.drop_legacy {
        return drop_legacy(&store).await;
    }
    if args.rollback {
        return roll_back(&store, !args.no_backup).await;
    }
    let options = MigrateOptions { dry_run: args.dry_run, backup: !args.no_backup, door: Door::Cli };
    let migration = openact::migrate(&store, &options).await?;
    let output = shown(&migration, options);
    Ok(match lost(&migration) {
        0 => output,
        _ => Output::Verdict(Box::new(output), ErrorCode::Conflict.exit_code()),
    })
}

/// Rows that are in the earlier tables alone.
fn lost(migration: &Migration) -> usize {
    migration.legacy.as_ref().map_or(0, LegacyReport::rows_not_carried)
}

fn shown(migration: &Migration, options: MigrateOptions) -> Output {
    let mut lines = String::new();
    let is_changed = !migration.applied.is_empty() || migration.legacy.is_some();
    let (created, applied) =
        if options.dry_run { ("would create", "would apply") } else { ("created", "applied") };
    if let Some(backup) = &migration.backup {
        lines.push_str(&format!("copied the database to {} and verified the copy\n", backup.display()));
    } else if is_changed && !migration.created && !options.dry_run {
        lines.push_str("no copy of the database was made\n");
    }
    if let Some(legacy) = &migration.legacy {
        lines.push_str(&report(legacy, options.dry_run));
    }
    if migration.created {
        lines.push_str(&format!("{created} the database\n"));
    }
    for name in &migration.applied {
        lines.push_str(&format!("{applied} {name}\n"));
    }
    if !is_changed {
        lines.push_str("nothing to apply: the database is current\n");
    }
    if !migration.set_aside.is_empty() {
        lines.push_str(&format!(
            "tables of the earlier OpenAct are kept: {}\n",
            migration.set_aside.join(", ")
        ));
        lines.push_str(NEXT);
    } else if migration.legacy.is_some() {
        lines.push_str(if options.dry_run { "dry run: nothing was changed\n" } else { NEXT });
    }
    match lost(migration) {
        0 => {}
        lost if options.dry_run => {
            lines.push_str(&format!("not complete: {lost} rows would not be carried; see above\n"));
        }
        lost => lines.push_str(&format!(
            "not complete: {lost} rows were not carried and are in the earlier tables alone; see above\n"
        )),
    }
    let mut json = json!({
        "complete": lost(migration) == 0, "created": migration.created, "applied": migration.applied, "backup": migration.backup,
        "dry_run": options.dry_run, "set_aside": migration.set_aside,
    });
    if let (Some(legacy), Some(object)) = (&migration.legacy, json.as_object_mut()) {
        object.insert("legacy".into(), serde_json::to_value(legacy).unwrap_or(Value::Null));
    }
    Output::Lines(lines, json)
}

const NEXT: &str = "they hold secrets in clear: once all is well, openact migrate --drop-legacy removes them for good; \
                    until then openact migrate --rollback brings them back\n";

fn report(legacy: &LegacyReport, dry_run: bool) -> String {
    let mut lines = format!("the database is of the earlier OpenAct: {}\n", legacy.schema);
    for count in legacy.tables.iter().filter(|count| count.rows > 0) {
        lines.push_str(&format!("  {}: {} of {} rows carried\n", count.table, count.carried, count.rows));
    }
    for row in &legacy.carried {
        let is_same = row.to.iter().eq([&row.from]);
        if !is_same {
            lines.push_str(&format!("  {row}\n"));
        }
    }
    for finding in &legacy.findings {
        lines.push_str(&format!("{finding}\n"));
    }
    let of = |effect| legacy.findings.iter().filter(|finding| finding.effect == effect).count();
    lines.push_str(&format!(
        "{} not carried, {} fields not carried, {} changed, {} notes\n",
        of(Effect::RowNotCarried),
        of(Effect::FieldNotCarried),
        of(Effect::Changed),
        of(Effect::Note)
    ));
    let kept = if dry_run { "would be kept" } else { "are kept" };
    lines.push_str(&format!("the earlier tables {kept}: {}\n", legacy.kept_as.join(", ")));
    lines
}

async fn roll_back(store: &str, backup: bool) -> Result<Output> {
    let done = openact::roll_back(store, backup, Door::Cli).await?;
    let mut lines = match &done.backup {
        Some(backup) => format!("copied the database to {} and verified the copy\n", backup.display()),
        None => "no copy of the database was made\n".to_owned(),
    };
    lines.push_str(&format!("the earlier tables are back: {}\n", done.tables.join(", ")));
    let where_to = if done.backup.is_some() { "are in the copy alone" } else { "are lost" };
    lines.push_str(&format!("{} runs, and whatever else was changed since, {where_to}\n", done.runs));
    lines.push_str(match (&done.backup, done.logged) {
        (Some(_), true) => "the audit log ends there with an entry of this\n",
        (Some(_), false) => "the audit log is there, without an entry of this: it could not be written\n",
        (None, _) => "the audit log is lost too\n",
    });
    let json = json!({
        "backup": done.backup, "tables": done.tables, "runs": done.runs, "logged": done.logged,
    });
    Ok(Output::Lines(lines, json))
}

async fn drop_legacy(store: &str) -> Result<Output> {
    let tables = openact::drop_legacy(store, Door::Cli).await?;
    let lines = format!(
        "removed for good: {}\ncopies that migrate made hold the same secrets: delete those, too, when they are not needed\n",
        tables.join(", ")
    );
    Ok(Output::Lines(lines, json!({ "dropped": tables })))
}
