//! Making the database equal to the files it manages.
//!
//! What sync creates it remembers, with the file or folder it was told to read (its source). Invariant: nothing is deleted
//! but what sync created from a source that it was told to read again and that has it no longer, and nothing at all if an
//! action of somebody else would lose its connection, or if nothing would be left of a source unless that is asked for.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs, io,
    path::{Component, Path, PathBuf},
};

use openact_config::{Document, Format, SecretsMode};
use openact_core::{
    Error, Result, Tenant,
    limits::CONFIG_FOLDERS_DEEP_MAX,
    trn::{RecordKind, RecordTrn},
};
use openact_store::{Kind, Store, Synced};

use crate::{
    OpenAct,
    import::{File, Job, Versioning},
    plan::{ChangeStatus, Key, Plan, Planned, key, plan},
};

/// How to sync.
#[derive(Clone, Debug, Default)]
pub struct SyncOptions {
    /// Whose configuration it becomes.
    pub tenant: Tenant,
    /// Seal secrets into the store, or keep references to the environment.
    pub secrets: SecretsMode,
    /// Delete what sync created earlier from the same files and folders, and they have no longer.
    pub prune: bool,
    /// The same, even if a file or folder has nothing left of what came from it earlier, as another one of its name would.
    pub prune_all: bool,
    /// Plan, but change nothing.
    pub dry_run: bool,
}

impl OpenAct {
    /// Makes a tenant's configuration equal to files and folders of files, all of it or nothing: creates what is missing,
    /// makes a new version of what differs, and with `prune` deletes what they dropped.
    pub async fn sync(&self, paths: &[PathBuf], options: &SyncOptions) -> Result<Plan> {
        let sources: Vec<Source> = paths.iter().cloned().map(Source::Path).collect();
        self.sync_sources(&sources, options).await
    }

    pub(crate) async fn sync_sources(&self, sources: &[Source], options: &SyncOptions) -> Result<Plan> {
        let sources = self.read_sources(sources, options.secrets).await?;
        self.carry_out(&Job::Sync(&sources, options), options.dry_run, None).await
    }

    async fn read_sources(&self, sources: &[Source], secrets: SecretsMode) -> Result<Sources> {
        let mut paths: Vec<(PathBuf, String)> = Vec::new();
        for source in sources {
            if let Source::Path(path) = source {
                paths.extend(files_of(path)?.into_iter().map(|file| (file, source_name(path))));
            }
        }
        let texts = sources.iter().filter_map(|source| match source {
            Source::Text(text, format) => Some(File::Text("configuration", text, *format)),
            Source::Path(_) => None,
        });
        let files: Vec<File<'_>> = paths.iter().map(|(path, _)| File::Path(path)).chain(texts).collect();
        let (document, origins) = self.read(&files, secrets).await?;
        let name =
            |index: usize| paths.get(index).map_or_else(|| "text".to_owned(), |(_, name)| name.clone());
        Ok(Sources {
            document,
            of: origins.into_iter().map(|(record, index)| (record, name(index))).collect(),
            roots: paths.iter().map(|(_, name)| name.clone()).collect(),
        })
    }
}

/// What sync is told to read.
pub(crate) enum Source {
    /// A file, or a folder of files.
    Path(PathBuf),
    /// Text that an embedder gave.
    Text(String, Format),
}

/// What was read.
pub(crate) struct Sources {
    document: Document,
    /// The source of each record.
    of: HashMap<(Kind, Key), String>,
    /// The sources that were read.
    roots: HashSet<String>,
}

pub(crate) async fn planned(store: &Store, sources: &Sources, options: &SyncOptions) -> Result<Planned> {
    let tenant = &options.tenant;
    let mut planned = plan(store, &sources.document, tenant, Versioning::ReuseIfUnchanged).await?;
    let remembered: Vec<Synced> = store.list_synced(tenant).await?;
    // What it creates now, and what it created and finds in another source now.
    let moved = remembered.iter().filter_map(|synced| {
        let record = (synced.kind, (synced.connector.clone(), synced.name.clone()));
        sources.of.get(&record).filter(|source| **source != synced.source).map(|_| record)
    });
    for record in planned.created.iter().cloned().chain(moved) {
        if let Some(source) = sources.of.get(&record) {
            let (kind, (connector, name)) = record;
            let synced = Synced { kind, connector, name, source: source.clone() };
            planned.changes.synced.push((tenant.clone(), synced));
        }
    }
    if options.prune || options.prune_all {
        if !options.prune_all {
            refuse_strangers(sources, &remembered)?;
        }
        Dropped::new(sources, &remembered, &mut planned.plan).plan(store, tenant, &mut planned).await?;
    }
    Ok(planned)
}

/// A source is known by its name, which a folder of another repository may have too: an error if none of what came from it
/// earlier is there.
fn refuse_strangers(sources: &Sources, remembered: &[Synced]) -> Result<()> {
    let mut of_sources: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for synced in remembered.iter().filter(|synced| sources.roots.contains(&synced.source)) {
        let record = (synced.kind, (synced.connector.clone(), synced.name.clone()));
        let (all, kept) = of_sources.entry(&synced.source).or_default();
        *all += 1;
        *kept += usize::from(sources.of.contains_key(&record));
    }
    let Some((source, (all, _))) = of_sources.into_iter().find(|(_, (_, kept))| *kept == 0) else {
        return Ok(());
    };
    Err(Error::conflict(format!(
        "nothing of what sync made from '{source}' earlier is in it: --prune would delete all of it ({all})"
    ))
    .hint("if it is another file or folder of that name, give it another path; if all of it is to go, use --prune-all"))
}

/// What the files have no longer.
struct Dropped {
    records: HashSet<(Kind, Key)>,
    /// What sync created and the files still have.
    own: HashSet<(Kind, Key)>,
}

impl Dropped {
    fn new(sources: &Sources, remembered: &[Synced], plan: &mut Plan) -> Self {
        let mut dropped = Self { records: HashSet::new(), own: HashSet::new() };
        let mut elsewhere: BTreeMap<&str, usize> = BTreeMap::new();
        for synced in remembered {
            let record = (synced.kind, (synced.connector.clone(), synced.name.clone()));
            if sources.of.contains_key(&record) {
                dropped.own.insert(record);
            } else if sources.roots.contains(&synced.source) {
                dropped.records.insert(record);
            } else {
                *elsewhere.entry(&synced.source).or_default() += 1;
            }
        }
        plan.notes.extend(elsewhere.iter().map(|(source, count)| {
            format!("{count} of '{source}' stay: --prune looks only at the files and folders it is given")
        }));
        dropped
    }

    fn has<K: RecordKind>(&self, kind: Kind, trn: &RecordTrn<K>) -> bool {
        self.records.contains(&(kind, key(trn)))
    }

    async fn plan(&self, store: &Store, tenant: &Tenant, planned: &mut Planned) -> Result<()> {
        if self.records.is_empty() {
            return Ok(());
        }
        let mut holders: Vec<(String, String)> = Vec::new();
        for ((connector, name), connection) in &planned.over {
            if self.has(Kind::Connection, connection) {
                holders.push((short(connection), format!("action {connector}/{name} of the same files")));
            }
        }
        for (trn, connection) in store.action_versions(tenant).await? {
            if self.has(Kind::Action, &trn) {
                planned.delete_action(trn);
            } else if self.has(Kind::Connection, &connection) {
                let action = key(&trn);
                if !self.own.contains(&(Kind::Action, action.clone())) {
                    let who = format!("action {}, which sync did not make from these files", trn.short());
                    holders.push((short(&connection), who));
                } else if planned.over.get(&action).is_some_and(|over| *over != connection) {
                    // A version from before the files gave the action another connection.
                    planned.plan.push(Kind::Action, trn.short(), ChangeStatus::Deleted);
                    planned.delete_action(trn);
                }
            }
        }
        refuse(holders)?;
        for trn in store.connection_versions(tenant).await? {
            if self.has(Kind::Connection, &trn) {
                planned.delete_connection(trn);
            }
        }
        let mut records: Vec<&(Kind, Key)> = self.records.iter().collect();
        // Actions first, as they are deleted.
        records.sort_by_key(|(kind, key)| (std::cmp::Reverse(*kind), key));
        for (kind, (connector, name)) in records {
            planned.plan.push(*kind, format!("{connector}/{name}"), ChangeStatus::Deleted);
        }
        Ok(())
    }
}

fn short<K: RecordKind>(trn: &RecordTrn<K>) -> String {
    format!("{} {}/{}", K::WORD, trn.connector, trn.name)
}

/// An error if a connection that is to be deleted is in use; each with who uses it.
fn refuse(mut holders: Vec<(String, String)>) -> Result<()> {
    holders.sort();
    let Some((connection, _)) = holders.first() else { return Ok(()) };
    let of_first: Vec<&str> =
        holders.iter().filter(|(other, _)| other == connection).map(|(_, who)| who.as_str()).collect();
    let users: Vec<String> = holders.iter().map(|(connection, who)| format!("{connection}: {who}")).collect();
    Err(Error::conflict(format!(
        "{connection} is in the files no longer and cannot be deleted: it is used by {}",
        of_first.join("; ")
    ))
    .hint("put it back into the files, take the action away where it came from, or sync without --prune")
    .details(serde_json::json!({ "in_use": users })))
}

/// How a source is remembered: as it was named, so that it is the same on every machine that checks the files out.
fn source_name(path: &Path) -> String {
    let plain: PathBuf = path.components().filter(|part| !matches!(part, Component::CurDir)).collect();
    if plain.as_os_str().is_empty() { ".".to_owned() } else { plain.display().to_string() }
}

/// The configuration files of a source: itself, or all of a folder and the folders in it but hidden ones, by name.
pub(crate) fn files_of(source: &Path) -> Result<Vec<PathBuf>> {
    if fs::metadata(source).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
        return Err(Error::not_found(format!("there is no file or folder '{}'", source.display()))
            .hint("a path is taken from the folder the command is run in"));
    }
    if !source.is_dir() {
        return Ok(vec![source.to_owned()]);
    }
    let mut files = Vec::new();
    walk(source, 0, &mut files)?;
    if files.is_empty() {
        // More likely a wrong path, or a disk that is not there, than a wish to have nothing.
        return Err(Error::invalid_config(format!(
            "there is no configuration file in folder '{}'",
            source.display()
        ))
        .hint("files end in .yaml, .yml, .json or .toml"));
    }
    Ok(files)
}

fn walk(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<()> {
    let failed = |path: &Path, error: &io::Error| {
        Error::invalid_config(format!("failed to read '{}': {error}", path.display()))
    };
    if depth > CONFIG_FOLDERS_DEEP_MAX {
        let what = format!("folder '{}' is too deep", folder.display());
        return Err(Error::invalid_config(what).hint("is there a link that leads back to a folder above it?"));
    }
    let entries = fs::read_dir(folder).map_err(|error| failed(folder, &error))?;
    let mut paths = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| failed(folder, &error))?;
        // Kubernetes keeps the versions of a config map in hidden folders, and links to the current one.
        if !entry.file_name().to_string_lossy().starts_with('.') {
            paths.push(entry.path());
        }
    }
    paths.sort();
    for path in paths {
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => walk(&path, depth + 1, files)?,
            // Neither a pipe, which would have to be waited for, nor a device.
            Ok(metadata) if metadata.is_file() && Format::of(&path).is_ok() => files.push(path),
            Ok(_) => {}
            // Gone since the folder was read; a link to nowhere is still there, and is a mistake.
            Err(_) if fs::symlink_metadata(&path).is_err() => {}
            Err(error) => return Err(failed(&path, &error)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn of_a_folder_only_regular_files_are_read_and_links_to_them() {
        let folder = std::env::temp_dir().join(format!("openact-regular-{}", uuid::Uuid::now_v7()));
        fs::create_dir(&folder).unwrap();
        let at = |name: &str| folder.join(name);
        fs::write(at("a.json"), "{}").unwrap();
        std::os::unix::fs::symlink("a.json", at("b.json")).unwrap();
        std::os::unix::fs::symlink("/dev/null", at("device.json")).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(at("pipe.json")).status().unwrap().success());
        assert_eq!(files_of(&folder).unwrap(), [at("a.json"), at("b.json")]);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_source_is_remembered_as_it_was_named() {
        for (path, name) in [
            ("config", "config"),
            ("./config/", "config"),
            ("config/./a.yaml", "config/a.yaml"),
            ("../config", "../config"),
            ("/etc/openact/", "/etc/openact"),
            (".", "."),
            ("./", "."),
        ] {
            assert_eq!(source_name(Path::new(path)), name, "{path}");
        }
    }
}
