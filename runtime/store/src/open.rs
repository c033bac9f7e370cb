//! From a [`StoreUrl`] to connections: makes the file if it is absent, refuses what cannot work, opens nothing that
//! is not needed yet.
//!
//! Invariant: a database that is not ours is read and never written, not even its journal mode. A new file and a new
//! folder belong to their owner alone; SQLite gives its `-wal` and `-shm` files the mode of the database.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use openact_core::{Error, Result};
use sqlx::{
    ConnectOptions, SqlitePool,
    sqlite::{SqliteConnectOptions, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::time::Instant;

use crate::{
    StoreUrl, failure,
    migrate::{self, MIGRATIONS, MigrateReport, SchemaState},
    url::Location,
};

/// Connections for reading, opened when needed. The calls' path reads from a snapshot in memory, so few suffice.
const READERS_MAX: u32 = 4;

/// How long to wait before asking again for a lock that SQLite does not wait for by itself.
const LOCK_POLL: Duration = Duration::from_millis(5);

pub(crate) struct Pools {
    pub(crate) place: String,
    pub(crate) path: Option<PathBuf>,
    pub(crate) readers: SqlitePool,
    pub(crate) writer: SqlitePool,
}

impl Pools {
    /// Opens a database of the current schema; an empty one is brought to it first.
    pub(crate) async fn open(url: &StoreUrl, busy_timeout: Duration) -> Result<Self> {
        let pools = Self::prepare(url, busy_timeout)?;
        match pools.state().await? {
            SchemaState::Current => {}
            SchemaState::Empty => {
                Self::use_wal(&pools.writer, &pools.place, busy_timeout).await?;
                migrate::apply(&pools.writer, &pools.place, &MIGRATIONS).await?;
            }
            SchemaState::Older(missing) => return Err(migrate::older(&pools.place, &missing)),
        }
        Ok(pools)
    }

    /// The same for a database that must be there.
    pub(crate) fn prepare_existing(url: &StoreUrl, busy_timeout: Duration) -> Result<Self> {
        if url.path().is_some_and(|path| !path.exists()) {
            return Err(Error::not_found(format!("there is no database {url}")).hint("name it with --db"));
        }
        Self::prepare(url, busy_timeout)
    }

    /// Connections that are made when they are needed.
    pub(crate) fn prepare(url: &StoreUrl, busy_timeout: Duration) -> Result<Self> {
        let options = SqliteConnectOptions::new()
            .foreign_keys(true)
            .pragma("trusted_schema", "OFF")
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(busy_timeout)
            .disable_statement_logging();
        // A connection lives as long as the store: closing an idle one saves nothing, and would end a database in memory.
        let pool = |connections| {
            SqlitePoolOptions::new()
                .max_connections(connections)
                .idle_timeout(None)
                .max_lifetime(None)
                .test_before_acquire(false)
        };
        let place = url.to_string();
        match url.location() {
            Location::Memory => {
                // One connection is one database, shared by reading and writing.
                let only = pool(1).connect_lazy_with(options.in_memory(true));
                Ok(Self { place, path: None, readers: only.clone(), writer: only })
            }
            Location::File(path) => {
                prepare_file(path, url.creates_folder())
                    .map_err(|error| error.context(format!("database {place} cannot be opened")))?;
                // SQLite reads a name that starts with "file:" as a URI.
                let options = options.filename(if path.is_relative() {
                    Path::new(".").join(path)
                } else {
                    path.clone()
                });
                Ok(Self {
                    place,
                    path: Some(path.clone()),
                    readers: pool(READERS_MAX).connect_lazy_with(options.clone().pragma("query_only", "ON")),
                    writer: pool(1).connect_lazy_with(options),
                })
            }
        }
    }

    async fn state(&self) -> Result<SchemaState> {
        let mut writer = self
            .writer
            .acquire()
            .await
            .map_err(|error| failure::explain(&self.place, "open the store", error))?;
        migrate::state(&mut writer, &self.place, &MIGRATIONS).await
    }

    /// Write-ahead logging is kept in the file: it is asked for once, when the file is made. Two processes that do so
    /// at once get `SQLITE_BUSY` without a wait.
    pub(crate) async fn use_wal(writer: &SqlitePool, place: &str, busy_timeout: Duration) -> Result<()> {
        let deadline = Instant::now() + busy_timeout;
        loop {
            match sqlx::query("PRAGMA journal_mode = WAL").execute(writer).await {
                Ok(_) => return Ok(()),
                Err(error) if failure::is_busy(&error) && Instant::now() < deadline => {
                    tokio::time::sleep(LOCK_POLL).await;
                }
                Err(error) => return Err(failure::explain(place, "open the store", error)),
            }
        }
    }
}

/// Brings the database to the current schema, one of an older version with a copy first.
pub(crate) async fn migrate(
    url: &StoreUrl,
    with_backup: bool,
    busy_timeout: Duration,
) -> Result<MigrateReport> {
    let pools = Pools::prepare(url, busy_timeout)?;
    let migrated = async {
        if pools.state().await? == SchemaState::Empty {
            Pools::use_wal(&pools.writer, &pools.place, busy_timeout).await?;
        }
        let copied = pools.path.as_deref().filter(|_| with_backup);
        migrate::apply_after_copy(&pools.writer, &pools.place, &MIGRATIONS, copied).await
    };
    let report = migrated.await;
    pools.writer.close().await;
    report
}

/// Makes the file if it is absent, so that it has the right mode from its first byte.
fn prepare_file(path: &Path, creates_folder: bool) -> Result<()> {
    let unusable = |what: &str, hint: &str| Error::store_unavailable(what).hint(hint).with_retryable(false);
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => Err(unusable("it is a folder", "name a file")),
        // Asked for here because the superuser could write it all the same, which its owner did not mean.
        Ok(metadata) if metadata.permissions().readonly() => {
            Err(unusable("the file is read-only", "make the file and its folder writable"))
        }
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            if let Some(folder) = folder.filter(|folder| !folder.exists()) {
                if !creates_folder {
                    return Err(unusable(
                        &format!("there is no folder {}", folder.display()),
                        "create the folder, or name another path",
                    ));
                }
                create_folder(folder).map_err(|error| explain_io(&error))?;
            }
            match create_private(path) {
                // Another process was faster, which is just as well.
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(explain_io(&error)),
                _ => Ok(()),
            }
        }
        Err(error) => Err(explain_io(&error)),
    }
}

fn explain_io(error: &io::Error) -> Error {
    let hint = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "free space on its disk and try again",
        _ => "check that its folder exists, and can be read and written",
    };
    Error::store_unavailable(error.to_string()).hint(hint).with_retryable(false)
}

/// A new file that only its owner can read.
pub(crate) fn create_private(path: &Path) -> io::Result<fs::File> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// A file that is only there to be locked. It stays: whoever removed it could remove one that somebody just locked.
pub(crate) fn lock_file(path: &Path) -> io::Result<fs::File> {
    match create_private(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::OpenOptions::new().write(true).open(path)
        }
        made => made,
    }
}

/// A folder, with those above it, that only its owner can enter. One that exists stays as it is.
pub(crate) fn create_folder(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}
