//! Importing configuration: from files to versions in the store.
//!
//! An import is planned against the store first ([`Plan`], made by `plan`) and then applied in one transaction; if somebody
//! else changed the store in between, it is planned anew. Invariant: a stored version never changes; an edit makes the next
//! version, and a secret belongs to the version it came with.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use openact_config::{Context, Document, Format, SecretsMode};
use openact_core::{ConnectorName, Error, ErrorCode, JsonObject, Name, Result, Tenant, limits::PLANS_MAX};
use openact_store::Kind;

use crate::{
    OpenAct,
    plan::{ChangeStatus, Key, Plan, Planned, plan},
    prune,
    records::{Deleted, Precondition, planned_deletion},
    sync::{self, Sources, SyncOptions},
    template,
};

/// How an import treats what is already stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Versioning {
    /// A new version of everything.
    AlwaysBump,
    /// A new version of what changed.
    #[default]
    ReuseIfUnchanged,
    /// Keep what exists, create only what is missing.
    ForceRollback,
}

/// What happens when a file differs from what is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnConflict {
    /// [`Versioning`] decides.
    #[default]
    Overwrite,
    /// What is stored stays as it is, whatever [`Versioning`] says: the same as [`Versioning::ForceRollback`].
    Skip,
    /// Nothing is imported; the error names every record that differs.
    Abort,
}

/// How to import.
#[derive(Clone, Debug)]
pub struct ImportOptions {
    /// Whose configuration it becomes.
    pub tenant: Tenant,
    /// What to do with what is already stored.
    pub versioning: Versioning,
    /// What happens when a file differs from what is stored.
    pub on_conflict: OnConflict,
    /// Put, with a dash, before the name of every connection and action, and where one names another of the same files.
    pub namespace: Option<Name>,
    /// Seal secrets into the store, or keep references to the environment.
    pub secrets: SecretsMode,
    /// Plan, but change nothing.
    pub dry_run: bool,
    /// Told how far it is.
    pub progress: Option<Arc<Progress>>,
}

impl Default for ImportOptions {
    fn default() -> Self {
        Self {
            tenant: Tenant::default(),
            versioning: Versioning::default(),
            on_conflict: OnConflict::default(),
            namespace: None,
            secrets: SecretsMode::Seal,
            dry_run: false,
            progress: None,
        }
    }
}

/// How far an import is, for another task to look at and show.
#[derive(Debug, Default)]
pub struct Progress {
    /// Records to write; 0 while files are read, `PLANNING` while they are compared.
    total: AtomicUsize,
    written: Arc<AtomicUsize>,
}

const PLANNING: usize = usize::MAX;

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.total.load(Ordering::Relaxed) {
            0 => f.write_str("reading"),
            PLANNING => f.write_str("comparing with what is stored"),
            total => write!(f, "writing {} of {total}", self.written.load(Ordering::Relaxed)),
        }
    }
}

/// A change of configuration that can be planned as often as necessary.
pub(crate) enum Job<'a> {
    Import(&'a Document, &'a ImportOptions),
    Sync(&'a Sources, &'a SyncOptions),
    Prune(&'a Tenant, u32),
    /// One record, if what was there before is what its writer says.
    Write(&'a Document, &'a ImportOptions, &'a Precondition<'a>),
    Delete(&'a Tenant, Deleted<'a>, Precondition<'a>),
}

/// Where each record of what was read comes from, by the index of the file.
pub(crate) type Origins = HashMap<(Kind, Key), usize>;

impl OpenAct {
    /// Imports a configuration file.
    pub async fn import_file(&self, path: &Path, options: &ImportOptions) -> Result<Plan> {
        self.import_files(&[path.to_owned()], options).await
    }

    /// Imports several files as one: all of them or none.
    pub async fn import_files(&self, paths: &[PathBuf], options: &ImportOptions) -> Result<Plan> {
        let files: Vec<File<'_>> = paths.iter().map(|path| File::Path(path)).collect();
        let (document, _) = self.read(&files, options.secrets).await?;
        self.import(document, options).await
    }

    /// Imports configuration from text; `name` stands for the file in messages.
    pub async fn import_text(
        &self,
        name: &str,
        text: &str,
        format: Format,
        options: &ImportOptions,
    ) -> Result<Plan> {
        let (document, _) = self.read(&[File::Text(name, text, format)], options.secrets).await?;
        self.import(document, options).await
    }

    async fn import(&self, mut document: Document, options: &ImportOptions) -> Result<Plan> {
        if let Some(namespace) = &options.namespace {
            put_into(namespace, &mut document)?;
        }
        self.carry_out(&Job::Import(&document, options), options.dry_run, options.progress.as_deref()).await
    }

    /// Reads several files as one, in their order.
    pub(crate) async fn read(&self, files: &[File<'_>], secrets: SecretsMode) -> Result<(Document, Origins)> {
        self.read_in(files, secrets, &|name| (self.0.env)(name)).await
    }

    /// The same with other variables than this process's.
    pub(crate) async fn read_in(
        &self,
        files: &[File<'_>],
        secrets: SecretsMode,
        env: &(dyn Fn(&str) -> Option<String> + Sync),
    ) -> Result<(Document, Origins)> {
        refuse_twice(files)?;
        let connectors = self.0.catalog.names(&self.0).await?;
        let mut kinds: HashMap<ConnectorName, Arc<template::Kind>> = HashMap::new();
        for name in &connectors {
            kinds.insert(name.clone(), self.0.catalog.connector(&self.0, name).await?);
        }
        let manifest = |name: &ConnectorName| Some(kinds.get(name)?.manifest().clone());
        let made_of = |name: &ConnectorName, config: &JsonObject| {
            kinds.get(name).map_or(Ok(()), |kind| kind.check_connection(config))
        };
        let context =
            Context { env, manifest: &manifest, connectors: &connectors, secrets, made_of: &made_of };
        let (mut whole, mut origins) = (Document::default(), Origins::new());
        let mut wrong = Vec::new();
        for (index, file) in files.iter().enumerate() {
            // What is wrong with the others, too, is told at once.
            let document = match file.read(&context) {
                Ok(document) => document,
                Err(error) => {
                    wrong.push(error);
                    continue;
                }
            };
            let connections = document
                .connections
                .iter()
                .map(|draft| (Kind::Connection, (draft.connector.clone(), draft.name.clone())));
            let actions = document
                .actions
                .iter()
                .map(|draft| (Kind::Action, (draft.connector.clone(), draft.name.clone())));
            for (kind, key) in connections.chain(actions) {
                let what = format!("{} '{}/{}'", kind.as_str(), key.0, key.1);
                if let Some(earlier) = origins.insert((kind, key), index).and_then(|index| files.get(index)) {
                    let message = format!("{what} of {file} is in {earlier} too");
                    wrong.push(Error::invalid_config(message).hint("take it out of one of them"));
                }
            }
            whole.connections.extend(document.connections);
            whole.actions.extend(document.actions);
            whole.warnings.extend(document.warnings);
        }
        match openact_config::together(wrong) {
            Some(error) => Err(error),
            None => Ok((whole, origins)),
        }
    }

    /// Plans and applies. What somebody else changes between the two makes the plan void, and it is made anew.
    pub(crate) async fn carry_out(
        &self,
        job: &Job<'_>,
        dry_run: bool,
        progress: Option<&Progress>,
    ) -> Result<Plan> {
        let mut plans = 0;
        loop {
            if let Some(progress) = progress {
                progress.total.store(PLANNING, Ordering::Relaxed);
            }
            let Planned { plan, mut changes, .. } = self.plan(job).await?;
            if dry_run {
                return Ok(plan);
            }
            if let Some(progress) = progress {
                progress.written.store(0, Ordering::Relaxed);
                changes.written = progress.written.clone();
                let total = changes.connections.len() + changes.actions.len();
                progress.total.store(total.max(1), Ordering::Relaxed);
            }
            plans += 1;
            match self.store().apply(changes).await {
                Ok(()) => {
                    self.0.forget_prepared();
                    return Ok(plan);
                }
                Err(error) if error.code == ErrorCode::Conflict && error.retryable() && plans < PLANS_MAX => {
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn plan(&self, job: &Job<'_>) -> Result<Planned> {
        let store = &self.0.store;
        match job {
            Job::Sync(sources, options) => sync::planned(store, sources, options).await,
            Job::Prune(tenant, keep) => prune::planned(store, tenant, *keep).await,
            Job::Write(document, options, when) => {
                // First: what is changed after the look makes the plan void.
                let generation = store.config_generation().await?;
                self.check_precondition(&options.tenant, when).await?;
                let mut planned = plan(store, document, &options.tenant, options.versioning).await?;
                planned.changes.planned_at = Some(generation);
                Ok(planned)
            }
            Job::Delete(tenant, what, when) => {
                let planned = planned_deletion(store, tenant, what).await?;
                self.check_precondition(tenant, when).await?;
                Ok(planned)
            }
            Job::Import(document, options) => {
                let tenant = &options.tenant;
                let versioning = match options.on_conflict {
                    OnConflict::Skip => Versioning::ForceRollback,
                    OnConflict::Overwrite => options.versioning,
                    OnConflict::Abort => {
                        let natural = plan(store, document, tenant, Versioning::ReuseIfUnchanged).await?;
                        refuse_changes(&natural.plan)?;
                        options.versioning
                    }
                };
                plan(store, document, tenant, versioning).await
            }
        }
    }
}

/// Something to read configuration from.
pub(crate) enum File<'a> {
    Path(&'a Path),
    /// A name for messages, and the text.
    Text(&'a str, &'a str, Format),
}

impl File<'_> {
    fn read(&self, context: &Context<'_>) -> Result<Document> {
        match self {
            Self::Path(path) => openact_config::read_file(path, context),
            Self::Text(name, text, format) => openact_config::read_text(name, text, *format, context),
        }
    }
}

impl fmt::Display for File<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(f),
            Self::Text(name, ..) => f.write_str(name),
        }
    }
}

/// A file that is named twice, once by its folder perhaps, would clash with itself record by record.
fn refuse_twice(files: &[File<'_>]) -> Result<()> {
    let mut seen = HashSet::new();
    for file in files {
        if let File::Path(path) = file
            && let Ok(real) = path.canonicalize()
            && !seen.insert(real)
        {
            return Err(Error::invalid_config(format!("the file '{file}' is named twice"))
                .hint("name each file once; a folder stands for all files in it"));
        }
    }
    Ok(())
}

/// For [`OnConflict::Abort`]: an error that names every record in which the files differ from what is stored.
fn refuse_changes(plan: &Plan) -> Result<()> {
    let differing: Vec<String> = plan
        .changes
        .iter()
        .filter_map(|change| match &change.status {
            ChangeStatus::Changed(fields) => {
                let stored = change.record.split('@').next().unwrap_or_default();
                Some(format!("{} {stored} ({})", change.kind, fields.join(", ")))
            }
            _ => None,
        })
        .collect();
    if differing.is_empty() {
        return Ok(());
    }
    Err(Error::conflict(format!("the files differ from what is stored: {}", differing.join("; ")))
        .hint("nothing was imported; --on-conflict overwrite makes new versions, skip keeps what is stored")
        .details(serde_json::json!({ "differing": differing })))
}

/// Puts every record of `document` into a namespace, and what they say of each other.
fn put_into(namespace: &Name, document: &mut Document) -> Result<()> {
    let prefixed = |name: &Name| -> Result<Name> {
        let long: String = format!("{namespace}-{name}");
        long.parse().map_err(|error: Error| {
            Error::invalid_config(format!("in namespace '{namespace}': {}", error.message))
        })
    };
    let mut inside = HashSet::new();
    for draft in &mut document.connections {
        inside.insert((draft.connector.clone(), draft.name.clone()));
        draft.name = prefixed(&draft.name)?;
    }
    for draft in &mut document.actions {
        // A connection that is not in the files is one that is stored, under the name it has there.
        if inside.contains(&(draft.connector.clone(), draft.connection.clone())) {
            draft.connection = prefixed(&draft.connection)?;
        }
        draft.name = prefixed(&draft.name)?;
    }
    Ok(())
}
