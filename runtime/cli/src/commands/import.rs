//! `openact import`: files into the database, as one change.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use openact::{
    Change, ChangeStatus, Error, ExposeSecret, ImportOptions, OnConflict, Plan, Progress, Result,
    SecretsMode, Versioning,
};
use serde_json::{Value, json};

use crate::{
    app::App,
    args::{self, Import},
    commands::encrypted,
    output::{self, Output},
};

pub(crate) async fn import(app: &App, args: Import) -> Result<Output> {
    let progress = Arc::new(Progress::default());
    let options = ImportOptions {
        tenant: app.settings.tenant.clone(),
        versioning: match args.versioning {
            args::Versioning::AlwaysBump => Versioning::AlwaysBump,
            args::Versioning::ReuseIfUnchanged => Versioning::ReuseIfUnchanged,
            args::Versioning::ForceRollback => Versioning::ForceRollback,
        },
        on_conflict: match args.on_conflict {
            args::OnConflict::Overwrite => OnConflict::Overwrite,
            args::OnConflict::Skip => OnConflict::Skip,
            args::OnConflict::Abort => OnConflict::Abort,
        },
        namespace: args.namespace.clone(),
        secrets: secrets(args.secrets),
        dry_run: args.dry_run,
        progress: Some(progress.clone()),
    };
    let openact = app.openact().await?;
    let opened = match encrypted(&args)? {
        None => None,
        Some(path) => {
            let text = encrypted::opened(path, args.identity.as_deref()).await?;
            Some((path.display().to_string(), encrypted::format_within(path)?, text))
        }
    };
    let plan = {
        let _shown = Shown::start(app, progress);
        match opened {
            None => openact.import_files(&args.files, &options).await?,
            Some((name, format, text)) => {
                openact.import_text(&name, text.expose_secret(), format, &options).await?
            }
        }
    };
    Ok(shown(&plan, args.dry_run, &[]))
}

/// The encrypted file, if one is to be imported.
fn encrypted(args: &Import) -> Result<Option<&Path>> {
    match args.files.iter().find(|path| encrypted::is_named(path)) {
        Some(path) if args.files.len() == 1 => Ok(Some(path)),
        Some(path) => Err(Error::invalid_input(format!("'{}' is encrypted", path.display()))
            .hint("import an encrypted file by itself")),
        None if args.identity.is_some() => {
            Err(Error::invalid_input("--identity opens an encrypted export, and no file here is one")
                .hint("leave it out; an encrypted file is named .age"))
        }
        None => Ok(None),
    }
}

pub(crate) fn secrets(args: args::Secrets) -> SecretsMode {
    match args {
        args::Secrets::Seal => SecretsMode::Seal,
        args::Secrets::Reference => SecretsMode::Reference,
    }
}

/// A plan as lines with a summary. Deletions are counted where they may occur, which `also` says.
pub(crate) fn shown(plan: &Plan, dry_run: bool, also: &[&str]) -> Output {
    let mut counts = vec![("created", 0), ("changed", 0), ("unchanged", 0)];
    counts.extend(also.iter().map(|word| (*word, 0)));
    let (mut lines, mut changes) = (String::new(), Vec::new());
    warn(plan);
    for change in &plan.changes {
        let status = status(change);
        if let Some((_, count)) = counts.iter_mut().find(|(word, _)| *word == status) {
            *count += 1;
        }
        lines.push_str(&format!("{change}\n"));
        changes.push(to_json(change));
    }
    for note in &plan.notes {
        lines.push_str(&format!("note: {note}\n"));
    }
    let nothing = if dry_run { " (dry run: nothing was changed)" } else { "" };
    let summary: Vec<String> = counts.iter().map(|(word, count)| format!("{count} {word}")).collect();
    lines.push_str(&format!("{}{nothing}\n", summary.join(", ")));
    let summary: serde_json::Map<String, Value> =
        counts.into_iter().map(|(word, count)| (word.to_owned(), count.into())).collect();
    let mut json = json!({ "dry_run": dry_run, "summary": summary, "changes": changes });
    if let (false, Some(object)) = (plan.notes.is_empty(), json.as_object_mut()) {
        object.insert("notes".into(), json!(plan.notes));
    }
    if let (false, Some(object)) = (plan.warnings.is_empty(), json.as_object_mut()) {
        object.insert("warnings".into(), json!(plan.warnings));
    }
    Output::Lines(lines, json)
}

/// On standard error, whatever the format: the one who reads the result may be a program.
pub(crate) fn warn(plan: &Plan) {
    for warning in &plan.warnings {
        tracing::warn!("{warning}");
    }
}

fn status(change: &Change) -> &'static str {
    match change.status {
        ChangeStatus::Created => "created",
        ChangeStatus::Changed(_) => "changed",
        ChangeStatus::Unchanged => "unchanged",
        ChangeStatus::Deleted => "deleted",
    }
}

pub(crate) fn to_json(change: &Change) -> Value {
    let mut json = json!({ "status": status(change), "kind": change.kind, "record": change.record });
    if let (ChangeStatus::Changed(fields), Some(object)) = (&change.status, json.as_object_mut()) {
        object.insert("fields".into(), json!(fields));
    }
    json
}

/// How far an import is, on one line of a terminal that goes when this does. Nothing elsewhere.
struct Shown {
    task: Option<tokio::task::JoinHandle<()>>,
    /// Whether there is a line; none any more once it is over.
    line: Arc<Mutex<Option<bool>>>,
}

impl Shown {
    fn start(app: &App, progress: Arc<Progress>) -> Self {
        let line = Arc::new(Mutex::new(Some(false)));
        let wanted = app.settings.stderr.is_terminal && !app.settings.quiet;
        let task = wanted.then(|| {
            let line = line.clone();
            tokio::spawn(async move {
                loop {
                    // First this: of a short import there is nothing to show.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    if let Some(is_there) = line.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
                        *is_there = true;
                        output::to_stderr(&format!("\r{progress}\u{1b}[K"));
                    }
                }
            })
        });
        Self { task, line }
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
        if self.line.lock().unwrap_or_else(PoisonError::into_inner).take() == Some(true) {
            output::to_stderr("\r\u{1b}[K");
        }
    }
}
