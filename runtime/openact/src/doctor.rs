//! Looking for what is wrong with an installation, and saying what to do.
//!
//! | check | what |
//! |---|---|
//! | `store` | the database opens, is of this schema, sound, writable, its owner's alone; its log and its disk |
//! | `key` | every master key that records need is there; none is left of a rotation |
//! | `audit` | the audit log is as it was written |
//! | `cache` | the folder of compiled connectors is writable and its owner's alone |
//! | `connector` | each one loads |
//! | `clock` | not before this program, nor before what is stored |
//! | `config` | each file given can be imported |
//! | `environment` | what is read is understood, and no variable is nearly one that is read |
//!
//! Invariant: nothing is made or changed but the cache of compiled connectors, and no database where there is none; what
//! one check finds keeps no other from being made.

use std::{
    fs,
    path::{Path, PathBuf},
};

use openact_core::{Error, ErrorCode, Tenant, Timestamp, schema::nearest};
use openact_store::{AuditRuns, KeyOrigin, KeyState, KeyStatus, RunWrites, Store, StoreUrl};
use serde_json::{Value, json};

use crate::{Environment, ImportOptions, OpenAct, settings, settings::Folders};

/// How a check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// As it should be.
    Ok,
    /// It works, and something should be done.
    Warn,
    /// It does not work.
    Fail,
}

/// What a check found.
#[derive(Clone, Debug)]
pub struct Finding {
    /// See the module.
    pub check: &'static str,
    /// How it went.
    pub health: Health,
    /// What was found.
    pub what: String,
    /// What to do.
    pub hint: Option<String>,
    /// What kind of failure it is, if it is one.
    pub code: Option<ErrorCode>,
}

impl Finding {
    fn ok(check: &'static str, what: impl Into<String>) -> Self {
        Self { check, health: Health::Ok, what: what.into(), hint: None, code: None }
    }

    fn warn(check: &'static str, what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { check, health: Health::Warn, what: what.into(), hint: Some(hint.into()), code: None }
    }

    fn fail(check: &'static str, error: Error) -> Self {
        let (what, hint, code) = (error.message.clone(), error.hint.clone(), Some(error.code));
        Self { check, health: Health::Fail, what, hint, code }
    }

    /// For scripts.
    pub fn to_json(&self) -> Value {
        let health = match self.health {
            Health::Ok => "ok",
            Health::Warn => "warn",
            Health::Fail => "fail",
        };
        json!({
            "check": self.check, "status": health, "what": self.what, "hint": self.hint,
            "code": self.code.map(ErrorCode::as_str),
        })
    }
}

/// A write-ahead log of this size, bytes, is not folded into the database as it should be.
const LOG_BYTES_WARN: u64 = 256 << 20;

/// Free space, bytes, below which a warning is due, and below which an import may not fit.
const FREE_BYTES_WARN: u64 = 1 << 30;
const FREE_BYTES_MIN: u64 = 32 << 20;

/// No clock is right that says less.
const BUILT_AFTER: &str = "2026-01-01T00:00:00Z";

/// How far a clock may be behind the newest row, seconds: several machines may have written it.
const SKEW_SECONDS: i64 = 300;

/// Makes every check of the database at `url` and of the configuration files `config`.
pub async fn doctor(url: &str, tenant: &Tenant, config: &[PathBuf]) -> Vec<Finding> {
    let env: Environment = std::sync::Arc::new(|name| std::env::var(name).ok());
    let mut found = Vec::new();
    let newest = match settings::store_url(url) {
        Ok(parsed) => database(&parsed, &env, &mut found).await,
        Err(error) => {
            found.push(Finding::fail("store", error));
            None
        }
    };
    cache(&mut found);
    let works = found.iter().any(|finding| finding.check == "store")
        && !found.iter().any(|finding| finding.check == "store" && finding.health == Health::Fail);
    let is_there = settings::store_url(url).is_ok_and(|url| is_there(&url));
    // Connectors and files are looked at without a database if there is none that works.
    let store = if works && is_there { url } else { "sqlite::memory:" };
    // Looking needs no entry in the log, and what that setting has wrong is the environment's finding.
    match OpenAct::builder().store(store).audit_runs(AuditRuns::Off).instances_max(4).build().await {
        Ok(openact) => {
            connectors(&openact, &mut found).await;
            files(&openact, tenant, config, &mut found).await;
            if let Err(error) = openact.close().await {
                found.push(Finding::fail("store", error));
            }
        }
        Err(error) => found.push(Finding::fail("connector", error)),
    }
    clock(newest, &mut found);
    environment(&env, &mut found);
    found
}

fn is_there(url: &StoreUrl) -> bool {
    url.path().is_some_and(|path| fs::metadata(path).is_ok_and(|metadata| metadata.len() > 0))
}

/// What the store says; the time of its newest row.
async fn database(url: &StoreUrl, env: &Environment, found: &mut Vec<Finding>) -> Option<Timestamp> {
    let Some(path) = url.path() else {
        found.push(Finding::ok("store", "a database in memory: nothing is kept"));
        return None;
    };
    if !is_there(url) {
        found.push(Finding::warn(
            "store",
            format!("there is no database at {url} yet"),
            "it is made by the first command that uses it, such as: openact import FILE",
        ));
        disk(path, found);
        return None;
    }
    file(path, found);
    disk(path, found);
    let key = match settings::key_source(url, env) {
        Ok(key) => key,
        Err(error) => {
            found.push(Finding::fail("key", error));
            return None;
        }
    };
    let store = match Store::open(url, key, RunWrites::BeforeAnswer).await {
        Ok(store) => store,
        Err(error) => {
            found.push(Finding::fail("store", error));
            return None;
        }
    };
    let newest = match store.health().await {
        Ok(health) => {
            match (health.damage, health.unwritable) {
                (Some(damage), _) => found.push(Finding::fail(
                    "store",
                    Error::store_unavailable(format!("database {url} is damaged: {damage}"))
                        .hint("restore a backup: openact restore FILE --force")
                        .with_retryable(false),
                )),
                (None, Some(error)) => found.push(Finding::fail("store", error)),
                (None, None) => {
                    let migrations = health.migrations;
                    found.push(Finding::ok(
                        "store",
                        format!("{url} is sound and writable ({migrations} migrations)"),
                    ));
                }
            }
            health.newest
        }
        Err(error) => {
            found.push(Finding::fail("store", error));
            None
        }
    };
    match store.key_status().await {
        Ok(status) => key_findings(&status, found),
        Err(error) => found.push(Finding::fail("key", error)),
    }
    found.push(log(&store).await);
    if let Err(error) = store.close().await {
        found.push(Finding::fail("store", error));
    }
    newest
}

async fn log(store: &Store) -> Finding {
    match store.verify_audit().await.map(|report| (report.entries, report.error())) {
        Ok((entries, None)) => Finding::ok("audit", format!("{entries} entries, each as it was written")),
        Ok((_, Some(error))) | Err(error) => Finding::fail("audit", error),
    }
}

fn file(path: &Path, found: &mut Vec<Finding>) {
    if let Some(finding) = widely_readable("store", path) {
        found.push(finding);
    }
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let bytes = fs::metadata(&log).map_or(0, |metadata| metadata.len());
    if bytes > LOG_BYTES_WARN {
        found.push(Finding::warn(
            "store",
            format!("the write-ahead log of the database has {} MiB", bytes >> 20),
            "a process reads for very long, or was killed: stop every process that uses the database, then run: openact key status",
        ));
    }
}

/// A warning if others than the owner can read a file or enter a folder.
fn widely_readable(check: &'static str, path: &Path) -> Option<Finding> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let metadata = fs::metadata(path).ok()?;
        let (mode, own) =
            (metadata.permissions().mode() & 0o777, if metadata.is_dir() { "700" } else { "600" });
        (mode & 0o077 != 0).then(|| {
            let what = format!("{} can be used by others than its owner (mode {mode:o})", path.display());
            Finding::warn(check, what, format!("run: chmod {own} {}", path.display()))
        })
    }
    #[cfg(not(unix))]
    None
}

fn disk(path: &Path, found: &mut Vec<Finding>) {
    #[cfg(unix)]
    {
        let folder = path.ancestors().skip(1).find(|folder| folder.is_dir()).unwrap_or(Path::new("."));
        let Ok(disk) = rustix::fs::statvfs(folder) else { return };
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        let what = format!("{} MiB are free on the disk of {}", free >> 20, folder.display());
        found.push(match free {
            ..FREE_BYTES_MIN => {
                let error = Error::store_unavailable(what).hint("free space on it").with_retryable(false);
                Finding::fail("store", error)
            }
            FREE_BYTES_MIN..FREE_BYTES_WARN => {
                Finding::warn("store", what, "free space on it before it is full")
            }
            _ => Finding::ok("store", what),
        });
    }
    #[cfg(not(unix))]
    let _ = (path, found);
}

fn key_findings(status: &KeyStatus, found: &mut Vec<Finding>) {
    let before = found.len();
    for key in status.versions.iter().filter(|key| !key.available) {
        let version = key.version.unwrap_or_default();
        found.push(Finding::fail(
            "key",
            Error::store_unavailable(format!("version {version} of the master key is missing"))
                .hint("bring it back, or the secrets and the audit log sealed with it cannot be opened")
                .with_retryable(false),
        ));
    }
    if status.versions.iter().any(|key| key.state == KeyState::Rotating) {
        found.push(Finding::warn(
            "key",
            "a rotation of the master key was begun and is not finished",
            "run: openact key rotate",
        ));
    } else if status.origin == KeyOrigin::Environment
        && status.versions.iter().any(|key| key.state == KeyState::Unused)
        && status.versions.len() > 1
    {
        let what =
            format!("a key of the environment is not used ({})", settings::OPENACT_MASTER_KEY_PREVIOUS);
        found.push(Finding::warn("key", what, "unset it once no database needs it"));
    }
    if found.len() > before {
        return;
    }
    let current = status.versions.iter().find(|key| key.state == KeyState::Current);
    found.push(match current.and_then(|key| key.version) {
        Some(version) => Finding::ok("key", format!("version {version} of the master key is there")),
        None => Finding::ok("key", "no key yet: one is made with the first change"),
    });
}

fn cache(found: &mut Vec<Finding>) {
    let Some(folder) = Folders::of_platform().map(|folders| folders.compiled()) else {
        found.push(Finding::warn(
            "cache",
            "there is no home folder for compiled connectors: each start compiles them",
            "set OPENACT_HOME",
        ));
        return;
    };
    let shown = folder.display();
    found.push(match fs::metadata(&folder) {
        Err(_) => Finding::ok("cache", format!("{shown} is made when a connector is first compiled")),
        Ok(metadata) if !metadata.is_dir() => Finding::warn(
            "cache",
            format!("{shown} is not a folder: each start compiles the connectors"),
            "remove it",
        ),
        Ok(_) => match (widely_readable("cache", &folder), is_writable(&folder)) {
            (Some(finding), _) => finding,
            (None, false) => Finding::warn(
                "cache",
                format!("{shown} cannot be written: each start compiles the connectors"),
                "make it writable",
            ),
            (None, true) => Finding::ok("cache", format!("{shown} is writable and its owner's alone")),
        },
    });
}

fn is_writable(folder: &Path) -> bool {
    #[cfg(unix)]
    return rustix::fs::access(folder, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK).is_ok();
    #[cfg(not(unix))]
    fs::metadata(folder).is_ok_and(|metadata| !metadata.permissions().readonly())
}

async fn connectors(openact: &OpenAct, found: &mut Vec<Finding>) {
    let names = match openact.0.catalog.names(&openact.0).await {
        Ok(names) => names,
        Err(error) => return found.push(Finding::fail("connector", error)),
    };
    for name in names {
        found.push(match openact.connector_info(&name).await {
            Ok(info) => {
                Finding::ok("connector", format!("{name} {} loads ({})", info.manifest.version, info.digest))
            }
            Err(error) => Finding::fail("connector", error.context(format!("connector '{name}'"))),
        });
    }
}

async fn files(openact: &OpenAct, tenant: &Tenant, config: &[PathBuf], found: &mut Vec<Finding>) {
    for path in config {
        let options = ImportOptions { tenant: tenant.clone(), dry_run: true, ..Default::default() };
        match openact.import_file(path, &options).await {
            Ok(plan) => {
                let what = format!("{}: {} connections and actions", path.display(), plan.changes.len());
                found.push(Finding::ok("config", what));
            }
            Err(error) => found.extend(problems(error)),
        }
    }
}

/// A finding for each mistake of a file.
fn problems(error: Error) -> Vec<Finding> {
    let all = error.details.as_ref().and_then(|details| details.get("problems")?.as_array().cloned());
    let at = |place: &Value| place.as_str().map_or_else(|| place.to_string(), str::to_owned);
    let Some(all) = all.filter(|all| !all.is_empty()) else {
        let place = error.place.as_ref().map(|place| format!("{place}: ")).unwrap_or_default();
        let what = format!("{place}{}", error.message);
        return vec![Finding { what, ..Finding::fail("config", error) }];
    };
    let each = all.iter().map(|problem| {
        let text = |key: &str| problem.get(key).and_then(Value::as_str).map(str::to_owned);
        let place = problem.get("place").map(at).unwrap_or_default();
        let what = format!("{place}: {}", text("message").unwrap_or_default());
        Finding { check: "config", health: Health::Fail, what, hint: text("hint"), code: Some(error.code) }
    });
    each.collect()
}

fn clock(newest: Option<Timestamp>, found: &mut Vec<Finding>) {
    let now = Timestamp::now();
    let behind = |what: String| {
        Finding::fail(
            "clock",
            Error::invalid_config(what)
                .hint("set it, for example by NTP: tokens, signatures and certificates depend on it"),
        )
    };
    let built: Option<Timestamp> = BUILT_AFTER.parse().ok();
    found.push(match newest {
        _ if built.is_some_and(|built| now < built) => {
            behind(format!("the clock says {now:.0}, before this program was built"))
        }
        Some(newest) if newest.as_second() > now.as_second().saturating_add(SKEW_SECONDS) => {
            behind(format!("the clock says {now:.0}, and the newest row of the database is of {newest:.0}"))
        }
        _ => Finding::ok("clock", format!("{now:.0}")),
    });
}

fn environment(env: &Environment, found: &mut Vec<Finding>) {
    let wrong = settings::audit_runs(env).err().map(|error| {
        let hint = format!("set {} to one of them, or unset it", settings::OPENACT_AUDIT_RUNS);
        Finding::fail("environment", error.hint(hint))
    });
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let unknown: Vec<String> =
        names.filter(|name| name.starts_with("OPENACT") && !settings::VARIABLES.contains(&&**name)).collect();
    let near = |name: &String| {
        let near = nearest(name, settings::VARIABLES.iter().copied())?;
        Some(Finding::warn("environment", format!("{name} is not read"), format!("did you mean {near}?")))
    };
    let warnings: Vec<Finding> = unknown.iter().filter_map(near).collect();
    if warnings.is_empty() && wrong.is_none() {
        found.push(Finding::ok("environment", "no variable is nearly one that is read"));
    }
    found.extend(wrong.into_iter().chain(warnings));
}
