//! Copies of a database, and putting one in its place.
//!
//! ```text
//! backup    VACUUM INTO a file beside ─► opened and verified ─► on the disk ─► its name
//! restore   a copy beside the database ─► verified the same way ─► entered in its log ─► the old one gets a dated name
//!           ─► its name
//! ```
//!
//! Invariants: a file has its name only once it was verified and is on the disk, and a copy never takes the name of
//! another file; a database that is replaced is kept; who is stopped anywhere leaves the old or the new one, whole; a restore
//! makes no token valid that was not valid before it.

use std::{
    ffi::OsString,
    fs,
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use aws_lc_rs::digest;
use openact_core::{Error, Result, Timestamp, limits::SQLITE_BUSY_TIMEOUT};
use sqlx::{
    ConnectOptions, Connection, QueryBuilder, Sqlite, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteSynchronous},
};

use crate::{
    ApiToken, AuditReport, Author, KeySource, Store, StoreUrl,
    audit::{self, Entered},
    connectors::to_digest,
    failure,
    migrate::{self, MIGRATIONS, SchemaState},
    open,
    tokens::{end_unshared, tokens_of},
};

/// What a verified copy holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupReport {
    /// The copy.
    pub file: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// Rows of each table, by name.
    pub rows: Vec<(String, u64)>,
    /// What verifying its audit log found; none if that has no log, or this process not its key. A broken log is no reason
    /// not to have a copy.
    pub audit: Option<AuditReport>,
}

/// What a restore did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoreReport {
    /// The database.
    pub file: PathBuf,
    /// Rows of each table of the copy, by name.
    pub rows: Vec<(String, u64)>,
    /// As in [`BackupReport`].
    pub audit: Option<AuditReport>,
    /// Whether the log has an entry of it: not without the key, nor if the log cannot go on, nor in an older schema.
    pub logged: bool,
    /// Where the database that was there is now.
    pub replaced: Option<PathBuf>,
    /// Migrations that it lacks, being of an older OpenAct.
    pub missing: Vec<String>,
    /// Names of the tokens that are over, since the copy and the database that was there do not both have them.
    pub ended_tokens: Vec<String>,
}

impl Store {
    /// Writes a copy of the database to the file `to`, which must not exist, while others write. It is as of one moment,
    /// verified by opening it, its owner's alone, and on the disk when this returns.
    pub async fn backup(&self, to: &Path) -> Result<BackupReport> {
        let Some(from) = &self.0.path else {
            return Err(Error::invalid_input("a database in memory cannot be copied")
                .hint("name a file with --db, or export the configuration"));
        };
        let draft = Draft::of_copy(to)?;
        // Not one of the store's own: a connection that may only read does not copy either.
        vacuum(&mut connect(from, &self.0.place).await?, &self.0.place, &draft).await?;
        let (rows, _) = verify_ours(&draft, &to.display().to_string()).await?;
        let mut copy = connect(&draft.0, &self.0.place).await?;
        let audit = self.verify_audit_in(&mut copy).await.ok();
        close(copy, &to.display().to_string()).await?;
        draft.publish(to, rows, audit)
    }

    /// Puts a copy of the file `from` in the place of the database at `url`, once it is verified. One that is there is
    /// replaced with `force` only and is kept beside it; one that another process has open is not replaced. `key` is to
    /// verify the audit log of the copy, if it opens that, and to enter there what `author` did.
    pub async fn restore(
        url: &StoreUrl,
        key: KeySource,
        author: Author,
        from: &Path,
        force: bool,
    ) -> Result<RestoreReport> {
        let Some(database) = url.path() else {
            return Err(
                Error::invalid_input("a database in memory cannot be restored").hint("name a file with --db")
            );
        };
        // First: that it would replace something is no help to who mistyped a name.
        fs::metadata(from).map_err(|error| unreadable(from, &error))?;
        let is_there = fs::metadata(database).is_ok_and(|metadata| metadata.len() > 0);
        if is_there && !force {
            return Err(Error::conflict(format!("there is a database at {url} already"))
                .hint("replace it with --force; it is kept beside the new one"));
        }
        if let Some(folder) = database.parent().filter(|_| url.creates_folder()) {
            open::create_folder(folder).map_err(|error| unwritable(database, &error))?;
        }
        let draft = Draft::beside(database)?;
        let digest = read_copy(from, database, &draft)?;
        let (rows, missing) = verify_ours(&draft, &from.display().to_string()).await?;
        let (head, tokens) = if is_there { known_of(database).await } else { Default::default() };
        let Entered { audit, logged, ended } = match missing.is_empty() {
            true => {
                let restore = audit::Restore { from, digest, replaced: head, tokens: &tokens };
                audit::enter_restore(&draft.0, key, author, restore).await?
            }
            false => {
                let place = database.display().to_string();
                let mut copy = connect(&draft.0, &place).await?;
                let ended = end_unshared(&mut copy, &place, &tokens).await?;
                close(copy, &place).await?;
                Entered { audit: None, logged: false, ended }
            }
        };
        if fs::metadata(with_suffix(&draft.0, "-wal")).is_ok_and(|log| log.len() > 0) {
            return Err(audit::not_whole(&database.display().to_string()));
        }
        draft.sync()?;
        let replaced = if is_there { Some(replace(&draft, database).await?) } else { None };
        if replaced.is_none() {
            // At most an empty file is there: one that was made and never used.
            fs::rename(&draft.0, database).map_err(|error| unwritable(database, &error))?;
        }
        sync_folder(database)?;
        let ended_tokens = ended.into_iter().map(|(_, token)| token.name).collect();
        Ok(RestoreReport { file: database.to_owned(), rows, audit, logged, replaced, missing, ended_tokens })
    }
}

/// Copies a database whatever its tables are, as [`Store::backup`] does. That its rows fit its foreign keys is not asked.
pub async fn copy_database(from: &Path, to: &Path) -> Result<BackupReport> {
    let draft = Draft::of_copy(to)?;
    let mut source = connect(from, &from.display().to_string()).await?;
    vacuum(&mut source, &from.display().to_string(), &draft).await?;
    let place = to.display().to_string();
    let mut copy = connect(&draft.0, &place).await?;
    let rows = verify(&mut copy, &place).await?;
    close(copy, &place).await?;
    draft.publish(to, rows, None)
}

/// What failed, for an error.
const COPY: &str = "copy the database";
const VERIFY: &str = "verify the copy";

/// A file that does not have its name yet. It goes away with this.
struct Draft(PathBuf);

impl Draft {
    /// For a copy that must not take another file's name.
    fn of_copy(to: &Path) -> Result<Self> {
        if fs::symlink_metadata(to).is_ok() {
            return Err(exists(to));
        }
        Self::beside(to)
    }

    /// An empty file beside `target`, its owner's alone from its first byte.
    fn beside(target: &Path) -> Result<Self> {
        let name = target
            .file_name()
            .ok_or_else(|| Error::invalid_input(format!("{} is not the name of a file", target.display())))?;
        let mut draft = OsString::from(".");
        draft.push(name);
        draft.push(format!(".{}.partial", uuid::Uuid::now_v7().simple()));
        let draft = Self(target.with_file_name(draft));
        open::create_private(&draft.0).map_err(|error| unwritable(target, &error))?;
        Ok(draft)
    }

    fn sync(&self) -> Result<()> {
        fs::File::open(&self.0).and_then(|file| file.sync_all()).map_err(|error| unwritable(&self.0, &error))
    }

    /// Gives a verified copy its name.
    fn publish(
        self,
        to: &Path,
        rows: Vec<(String, u64)>,
        audit: Option<AuditReport>,
    ) -> Result<BackupReport> {
        self.sync()?;
        match fs::hard_link(&self.0, to) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(exists(to)),
            // There are file systems without links; between the two somebody else would have to choose the same name.
            Err(_) if fs::symlink_metadata(to).is_ok() => return Err(exists(to)),
            Err(_) => fs::rename(&self.0, to).map_err(|error| unwritable(to, &error))?,
        }
        sync_folder(to)?;
        let bytes = fs::metadata(to).map_err(|error| unwritable(to, &error))?.len();
        Ok(BackupReport { file: to.to_owned(), bytes, rows, audit })
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        for suffix in ["", "-wal", "-shm", "-journal"] {
            // What is not there need not be removed.
            let _ = fs::remove_file(with_suffix(&self.0, suffix));
        }
    }
}

/// A connection of its own to a database that is there.
async fn connect(path: &Path, place: &str) -> Result<SqliteConnection> {
    // SQLite reads a name that starts with "file:" as a URI.
    let path = std::path::absolute(path).map_err(|error| unreadable(path, &error))?;
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .foreign_keys(true)
        .pragma("trusted_schema", "OFF")
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(SQLITE_BUSY_TIMEOUT)
        .disable_statement_logging()
        .connect()
        .await
        .map_err(|error| failure::explain(place, "open the database", error))
}

async fn close(connection: SqliteConnection, place: &str) -> Result<()> {
    connection.close().await.map_err(|error| failure::explain(place, VERIFY, error))
}

/// Copies as of one moment, without the space of what was deleted. The copy keeps the journal mode.
async fn vacuum(source: &mut SqliteConnection, place: &str, to: &Draft) -> Result<()> {
    let failed = |error| failure::explain(place, COPY, error);
    let target = std::path::absolute(&to.0).map_err(|error| unwritable(&to.0, &error))?;
    let target = target.to_str().ok_or_else(|| {
        Error::invalid_input(format!("{} is not UTF-8", to.0.display())).hint("name another file")
    })?;
    sqlx::query("VACUUM INTO ?").bind(target).execute(&mut *source).await.map_err(failed)?;
    let mode: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(source).await.map_err(failed)?;
    if mode == "wal" {
        let mut copy = connect(&to.0, place).await?;
        sqlx::query("PRAGMA journal_mode = WAL").execute(&mut copy).await.map_err(failed)?;
        copy.close().await.map_err(failed)?;
    }
    Ok(())
}

/// Reads every page and row of a copy; gives its tables and how many rows each has.
async fn verify(copy: &mut SqliteConnection, place: &str) -> Result<Vec<(String, u64)>> {
    let failed = |error| failure::explain(place, VERIFY, error);
    let sound: String =
        sqlx::query_scalar("PRAGMA integrity_check(1)").fetch_one(&mut *copy).await.map_err(failed)?;
    if sound != "ok" {
        return Err(Error::store_unavailable(format!("database {place} is damaged: {}", sound.trim()))
            .hint("restore another copy")
            .with_retryable(false));
    }
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name",
    )
    .fetch_all(&mut *copy)
    .await
    .map_err(failed)?;
    let mut rows = Vec::with_capacity(tables.len());
    for table in tables {
        let quoted = format!("SELECT count(*) FROM \"{}\"", table.replace('"', "\"\""));
        let count: i64 = QueryBuilder::<Sqlite>::new(quoted)
            .build_query_scalar()
            .fetch_one(&mut *copy)
            .await
            .map_err(failed)?;
        rows.push((table, count.unsigned_abs()));
    }
    Ok(rows)
}

/// Of a copy of our schema: what it holds, and which migrations it lacks.
async fn verify_ours(draft: &Draft, place: &str) -> Result<(Vec<(String, u64)>, Vec<String>)> {
    let mut copy = connect(&draft.0, place).await?;
    let missing = match migrate::state(&mut copy, place, &MIGRATIONS).await? {
        SchemaState::Empty => {
            return Err(Error::store_unavailable(format!("database {place} is empty"))
                .hint("name a file that openact backup wrote")
                .with_retryable(false));
        }
        SchemaState::Older(missing) => missing,
        SchemaState::Current => Vec::new(),
    };
    let rows = verify(&mut copy, place).await?;
    let failed = |error| failure::explain(place, VERIFY, error);
    let orphans: Option<String> =
        sqlx::query_scalar("SELECT \"table\" FROM pragma_foreign_key_check LIMIT 1")
            .fetch_optional(&mut copy)
            .await
            .map_err(failed)?;
    if let Some(table) = orphans {
        return Err(Error::store_unavailable(format!(
            "database {place} is damaged: a row of table '{table}' refers to one that is gone"
        ))
        .hint("restore another copy")
        .with_retryable(false));
    }
    // What is put in the place of a database is written by several processes from then on.
    sqlx::query("PRAGMA journal_mode = WAL").execute(&mut copy).await.map_err(failed)?;
    close(copy, place).await?;
    Ok((rows, missing))
}

/// The head of the log of a database that is to be replaced, and its tokens, if it is sound enough to say.
async fn known_of(database: &Path) -> (Option<String>, Vec<ApiToken>) {
    let Ok(mut old) = connect(database, "").await else { return Default::default() };
    let known = (audit::claimed_head(&mut old).await, tokens_of(&mut old).await);
    match old.close().await {
        Ok(()) => known,
        Err(_) => Default::default(),
    }
}

/// Takes the bytes of the file `from`; gives their digest.
fn read_copy(from: &Path, database: &Path, draft: &Draft) -> Result<String> {
    let metadata = fs::metadata(from).map_err(|error| unreadable(from, &error))?;
    let refused = |what: &str| {
        Err(Error::invalid_input(format!("{} {what}", from.display()))
            .hint("name a file that openact backup wrote"))
    };
    if !metadata.is_file() {
        return refused("is not a file");
    }
    if fs::canonicalize(from).ok().is_some_and(|from| fs::canonicalize(database).is_ok_and(|to| from == to)) {
        return refused("is the database itself");
    }
    // What a killed process left undone is in the second: the file alone is half of a change.
    if ["-wal", "-journal"]
        .iter()
        .any(|log| fs::metadata(with_suffix(from, log)).is_ok_and(|log| log.len() > 0))
    {
        return refused("is a database in use: its latest changes are in a file beside it");
    }
    let mut source = fs::File::open(from).map_err(|error| unreadable(from, &error))?;
    let mut target =
        fs::OpenOptions::new().write(true).open(&draft.0).map_err(|error| unwritable(database, &error))?;
    let (mut context, mut buffer) = (digest::Context::new(&digest::SHA256), vec![0; 1 << 16]);
    loop {
        let length = source.read(&mut buffer).map_err(|error| unreadable(from, &error))?;
        let Some(read @ [_, ..]) = buffer.get(..length) else { break };
        context.update(read);
        target.write_all(read).map_err(|error| unwritable(database, &error))?;
    }
    Ok(to_digest(&context.finish()).to_string())
}

/// Puts `draft` in the place of a database and returns where that one is now.
async fn replace(draft: &Draft, database: &Path) -> Result<PathBuf> {
    let alone = take_alone(draft, database).await?;
    let kept = name_for_replaced(database);
    let failed = |error: io::Error| unwritable(database, &error);
    // A second name first, so that there is a database under its own at every moment.
    if fs::hard_link(database, &kept).is_err() {
        fs::rename(database, &kept).map_err(failed)?;
    }
    for suffix in ["-wal", "-shm"] {
        // Those of a damaged one: they would be taken for the new one's.
        match fs::rename(with_suffix(database, suffix), with_suffix(&kept, suffix)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
    }
    fs::rename(&draft.0, database).map_err(failed)?;
    if let Some(alone) = alone {
        // It is the replaced file's, which nobody else knows by now; that it opens as before is a courtesy.
        let _ = alone.close().await;
        if let Ok(mut replaced) = connect(&kept, "").await {
            let _ = sqlx::query("PRAGMA journal_mode = WAL").execute(&mut replaced).await;
            let _ = replaced.close().await;
        }
    }
    Ok(kept)
}

/// Locks out every other process and folds the write-ahead log into the file. None of one that is too damaged to be locked.
async fn take_alone(draft: &Draft, database: &Path) -> Result<Option<SqliteConnection>> {
    let place = database.display().to_string();
    let mut ours = connect(&draft.0, &place).await?;
    let id = application_id(&mut ours).await.map_err(|error| failure::explain(&place, VERIFY, error))?;
    close(ours, &place).await?;
    let mut old = match connect(database, &place).await {
        Ok(old) => old,
        Err(_) => return Ok(None),
    };
    let locked = async {
        sqlx::query("PRAGMA busy_timeout = 0").execute(&mut old).await?;
        if application_id(&mut old).await? != id {
            return Ok(false);
        }
        sqlx::query("PRAGMA locking_mode = EXCLUSIVE").execute(&mut old).await?;
        // Leaving the write-ahead log needs the file for oneself, as every open store has a part in it.
        sqlx::query("PRAGMA journal_mode = DELETE").execute(&mut old).await?;
        sqlx::query("BEGIN EXCLUSIVE").execute(&mut old).await?;
        Ok(true)
    };
    match locked.await {
        Ok(true) => Ok(Some(old)),
        Ok(false) => Err(Error::conflict(format!("database {place} holds tables that are not OpenAct's"))
            .hint("name another file with --db; this one was not changed")),
        Err(error) if failure::is_busy(&error) => {
            Err(Error::conflict(format!("another process has the database {place} open"))
                .hint("stop every process that uses it, and try again"))
        }
        Err(error) if failure::is_damage(&error) => Ok(None),
        Err(error) => Err(failure::explain(&place, "replace the database", error)),
    }
}

async fn application_id(connection: &mut SqliteConnection) -> sqlx::Result<i64> {
    // The table is read, too: the number alone is in a page that may be all there is.
    sqlx::query_scalar(
        "SELECT CASE WHEN (SELECT count(*) FROM sqlite_schema) > 0 THEN application_id END FROM pragma_application_id",
    )
    .fetch_one(connection)
    .await
}

fn name_for_replaced(database: &Path) -> PathBuf {
    let dated = with_suffix(database, &Timestamp::now().strftime(".replaced-%Y%m%dT%H%M%SZ").to_string());
    let mut name = dated.clone();
    let mut number = 2;
    while fs::symlink_metadata(&name).is_ok() {
        name = with_suffix(&dated, &format!("-{number}"));
        number += 1;
    }
    name
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// A name is on the disk when its folder is.
fn sync_folder(path: &Path) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if cfg!(unix) {
        fs::File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(|error| unwritable(path, &error))?;
    }
    Ok(())
}

fn exists(path: &Path) -> Error {
    Error::conflict(format!("{} exists already", path.display()))
        .hint("name another file; none is overwritten")
}

fn unwritable(path: &Path, error: &io::Error) -> Error {
    let hint = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "free space on its disk and try again",
        _ => "check that its folder exists and can be written",
    };
    Error::store_unavailable(format!("failed to write {}: {error}", path.display()))
        .hint(hint)
        .with_retryable(false)
}

fn unreadable(path: &Path, error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::NotFound => Error::not_found(format!("there is no file {}", path.display()))
            .hint("a path is taken from the folder the command is run in"),
        _ => Error::store_unavailable(format!("failed to read {}: {error}", path.display()))
            .with_retryable(false)
            .hint("name a file that this user can read"),
    }
}
