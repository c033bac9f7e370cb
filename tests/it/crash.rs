//! The command killed at any moment (A1), in need of space (A2), and twice at once: what is stored is what was before or
//! what comes after, never anything between.
//!
//! Invariant: the moments are random, and a failure names the seed that chose them; `CRASH_SEED` chooses them again.

mod state;

use std::{
    fs,
    hash::{BuildHasher, RandomState},
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Output, Stdio},
    time::{Duration, Instant},
};

use openact_core::secret::SecretString;
use openact_store::AuthConnection;
use serde_json::json;
use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use support::command::{openact, stderr};

use self::state::{State, open};

/// What is killed, and how often: how its home is made, and what is run in it.
struct Operation {
    name: &'static str,
    kills: usize,
    prepare: fn(&Path),
    args: &'static [&'static str],
}

const OPERATIONS: [Operation; 6] = [
    Operation { name: "import", kills: 50, prepare: imported, args: &["import", "second.json"] },
    Operation { name: "sync", kills: 50, prepare: synced, args: &["sync", "config.json", "--prune"] },
    Operation { name: "rotate", kills: 50, prepare: imported, args: &["key", "rotate"] },
    Operation { name: "migrate", kills: 50, prepare: earlier, args: &["migrate"] },
    Operation { name: "restore", kills: 40, prepare: copied, args: &["restore", "copy.db", "--force"] },
    Operation { name: "rollback", kills: 40, prepare: migrated, args: ROLLBACK },
];

const ROLLBACK: &[&str] = &["migrate", "--rollback"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a1_killed_at_any_moment_it_is_before_or_after() {
    let seed = match std::env::var("CRASH_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => RandomState::new().hash_one("seed"),
    };
    let mut killing = tokio::task::JoinSet::new();
    for (index, operation) in OPERATIONS.into_iter().enumerate() {
        killing.spawn(kill_often(operation, Random(seed.wrapping_add(index as u64) | 1), seed));
    }
    let killed = killing.join_all().await;
    assert!(
        killed.iter().all(|(killed, kills)| killed * 5 >= *kills),
        "hardly any was killed while it ran: {killed:?}"
    );
}

/// Kills one operation; gives how often it had not ended by itself, of how many times.
async fn kill_often(operation: Operation, mut random: Random, seed: u64) -> (usize, usize) {
    let Operation { name, kills, prepare, args } = operation;
    let template = tempfile::tempdir().unwrap();
    prepare(template.path());
    let before = State::of(template.path()).await;
    let whole = Home::copy_of(template.path());
    let started = Instant::now();
    let output = blocking(command(whole.path(), args)).await;
    assert_eq!(output.status.code(), Some(0), "{name}: {}", stderr(&output));
    let duration = started.elapsed();
    let after = State::of(whole.path()).await;
    // A rotation changes no more than what everything is sealed with.
    assert_eq!(before == after, name == "rotate", "{name} changes nothing: {after:#?}");
    let mut killed = 0;
    for round in 0..kills {
        let home = Home::copy_of(template.path());
        // Every other time from where the file is written on, which is a small part of the time.
        let is_late = round % 2 == 1;
        let wait = if is_late {
            duration.mul_f64(random.fraction() * 0.1)
        } else {
            duration.mul_f64(random.fraction())
        };
        let child = command(home.path(), args);
        let database = home.database();
        let status =
            tokio::task::spawn_blocking(move || kill(child, &database, is_late, wait)).await.unwrap();
        killed += usize::from(status.code().is_none());
        let found = State::of(home.path()).await;
        assert!(
            found == before || found == after,
            "{name} was left between before and after, in round {round} of CRASH_SEED={seed}:\n{found:#?}"
        );
        // Of a rollback that is done there is none again.
        if round % 5 == 0 && (args != ROLLBACK || found == before) {
            let output = blocking(command(home.path(), args)).await;
            assert_eq!(output.status.code(), Some(0), "{name}, CRASH_SEED={seed}: {}", stderr(&output));
            assert_eq!(State::of(home.path()).await.content, after.content, "{name}, CRASH_SEED={seed}");
        }
    }
    (killed, kills)
}

/// Starts a command, and kills it after `wait`, which for a late one begins when it has begun to write.
fn kill(mut command: Command, database: &Path, is_late: bool, wait: Duration) -> ExitStatus {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let folder = database.parent().unwrap();
    // Into a log of the database, or into a copy.
    let writes = || {
        fs::read_dir(folder).unwrap().filter_map(Result::ok).any(|entry| {
            let name = entry.file_name().into_string().unwrap();
            let is_log = name.ends_with("-wal") || name.ends_with("-journal");
            name.contains(".partial") || (is_log && entry.metadata().is_ok_and(|metadata| metadata.len() > 0))
        })
    };
    let mut since = (!is_late).then(Instant::now);
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        match since {
            None if writes() => since = Some(Instant::now()),
            Some(since) if since.elapsed() >= wait => break,
            _ => std::thread::yield_now(),
        }
        std::thread::park_timeout(Duration::from_micros(200));
    }
    child.kill().unwrap();
    child.wait().unwrap()
}

/// A small generator: the moments need to differ, and to be the same for the same seed.
struct Random(u64);

impl Random {
    fn fraction(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// A home with its own database and keys, and the compiled connectors of another.
struct Home(tempfile::TempDir);

impl Home {
    fn copy_of(template: &Path) -> Self {
        let home = Self(tempfile::tempdir().unwrap());
        for folder in ["data", "config"] {
            fs::create_dir(home.path().join(folder)).unwrap();
            let Ok(entries) = fs::read_dir(template.join(folder)) else { continue };
            for entry in entries {
                let entry = entry.unwrap();
                fs::copy(entry.path(), home.path().join(folder).join(entry.file_name())).unwrap();
            }
        }
        for file in ["first.json", "second.json", "config.json", "copy.db"] {
            if template.join(file).exists() {
                fs::copy(template.join(file), home.path().join(file)).unwrap();
            }
        }
        #[cfg(unix)]
        std::os::unix::fs::symlink(template.join("cache"), home.path().join("cache")).unwrap();
        home
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn database(&self) -> PathBuf {
        database(self.path())
    }
}

fn database(home: &Path) -> PathBuf {
    home.join("data/openact.db")
}

fn command(home: &Path, args: &[&str]) -> Command {
    let mut command = openact(home);
    command.args(args).current_dir(home);
    command
}

async fn blocking(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn succeed(home: &Path, args: &[&str]) {
    let output = command(home, args).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{args:?}: {}", stderr(&output));
}

/// Connections with a secret each, and two actions over each.
fn config(mark: &str, connections: std::ops::Range<usize>) -> String {
    let all = |each: &dyn Fn(usize) -> Vec<(String, serde_json::Value)>| -> serde_json::Value {
        serde_json::Value::Object(connections.clone().flat_map(each).collect())
    };
    let of_connections = all(&|i| {
        let auth = json!({"type": "bearer", "token": format!("token-{mark}-{i}-{mark}")});
        vec![(format!("c{i}"), json!({"base_url": format!("https://{mark}.example.com"), "auth": auth}))]
    });
    let of_actions = all(&|i| {
        let action =
            |name| (format!("{name}{i}"), json!({"connection": format!("c{i}"), "path": format!("/{mark}")}));
        vec![action("a"), action("b")]
    });
    json!({"connectors": {"http": {"connections": of_connections, "actions": of_actions}}}).to_string()
}

fn imported(home: &Path) {
    fs::write(home.join("first.json"), config("first", 0..40)).unwrap();
    fs::write(home.join("second.json"), config("second", 20..60)).unwrap();
    succeed(home, &["import", "first.json"]);
    complete(home);
}

/// Adds a connector of its own, and a credential with a history.
fn complete(home: &Path) {
    fs::write(home.join("acme.yaml"), ACME).unwrap();
    succeed(home, &["connector", "install", "acme.yaml"]);
    in_runtime(async {
        let store = open(home).await;
        for (token, version) in [("first-token", 0), ("second-token", 1)] {
            let credential = AuthConnection {
                trn: "trn:openact:default:auth/github/bob".parse().unwrap(),
                access_token: SecretString::from(token),
                refresh_token: Some("a-refresh-token".into()),
                expires_at: None,
                token_type: "Bearer".into(),
                scope: None,
                extra: None,
                created_at: openact_core::Timestamp::UNIX_EPOCH,
                updated_at: openact_core::Timestamp::UNIX_EPOCH,
                version,
            };
            store.put_auth_connection(&credential, Some("a test")).await.unwrap();
        }
        store.close().await.unwrap();
    });
}

const ACME: &str = "
name: acme
version: 1.0.0
description: a template
extends: http
connection: { base_url: 'https://acme.example.com' }
operations: { greet: { description: say hello, method: GET, path: /greet } }
";

/// A database, and a copy of what it was before.
fn copied(home: &Path) {
    imported(home);
    succeed(home, &["backup", "copy.db"]);
    succeed(home, &["import", "second.json"]);
}

/// A database of the earlier OpenAct that was converted, and has changed since.
fn migrated(home: &Path) {
    earlier(home);
    succeed(home, &["migrate"]);
    fs::write(home.join("first.json"), config("first", 100..120)).unwrap();
    succeed(home, &["import", "first.json"]);
    complete(home);
}

/// Runs what needs a runtime where there is one already that must not be blocked.
fn in_runtime(future: impl Future<Output = ()> + Send) {
    std::thread::scope(|scope| {
        let run = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(future);
        };
        scope.spawn(run).join().unwrap();
    });
}

fn synced(home: &Path) {
    fs::write(home.join("config.json"), config("first", 0..40)).unwrap();
    succeed(home, &["sync", "config.json"]);
    complete(home);
    fs::write(home.join("config.json"), config("second", 20..60)).unwrap();
}

/// A database of the earlier OpenAct, and connectors compiled for it.
fn earlier(home: &Path) {
    succeed(home, &["list", "connectors", "--db", "sqlite::memory:"]);
    fs::create_dir_all(home.join("data")).unwrap();
    let rows = "
        WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40)
        INSERT INTO connections (trn, name, authorization_type, auth_params_encrypted, auth_params_nonce, key_version)
        SELECT 'trn:openact:default:connection/c' || i || '@v1', 'c' || i, 'api_key',
            'eyJhcGlfa2V5X2F1dGhfcGFyYW1ldGVycyI6eyJhcGlfa2V5X25hbWUiOiJYLUtleSIsImFwaV9rZXlfdmFsdWUiOiJjYW5hcnkta2V5In19',
            'no-encryption', 0 FROM n;
        WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 80)
        INSERT INTO tasks (trn, name, connection_trn, api_endpoint, method)
        SELECT 'trn:openact:default:task/t' || i || '@v1', 't' || i,
            'trn:openact:default:connection/c' || (1 + i % 40) || '@v1', 'https://api.example.com/' || i, 'GET' FROM n;
        INSERT INTO auth_connections (trn, tenant, provider, user_id, access_token_encrypted, access_token_nonce)
        VALUES ('trn:openact:default:auth/github-alice', 'default', 'github', 'alice', 'YS10b2tlbg==', 'no-encryption');
        INSERT INTO auth_connection_history (trn, operation, new_data_encrypted, new_data_nonce)
        VALUES ('trn:openact:default:auth/github-alice', 'create', 'eyJhY2Nlc3NfdG9rZW4iOiJhIn0=', 'no-encryption');";
    in_runtime(async {
        let options = SqliteConnectOptions::new().filename(database(home)).create_if_missing(true);
        let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
        sqlx::raw_sql(include_str!("legacy/tasks.sql")).execute(&mut connection).await.unwrap();
        sqlx::raw_sql(rows).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    });
}

#[cfg(unix)]
#[tokio::test]
async fn a2_a_disk_that_takes_no_more_leaves_what_was_there() {
    let template = tempfile::tempdir().unwrap();
    imported(template.path());
    fs::write(template.path().join("second.json"), config("second", 0..900)).unwrap();
    let home = Home::copy_of(template.path());
    let before = State::of(home.path()).await;
    // No file may grow beyond this, which is an error of the disk to whoever writes one.
    let limited = format!(
        "trap '' XFSZ; ulimit -f 600; exec {} import second.json",
        support::command::openact_bin().display()
    );
    let mut shell = Command::new("sh");
    shell.args(["-c", &limited]).current_dir(home.path());
    shell.env("OPENACT_HOME", home.path()).env_remove("OPENACT_MASTER_KEY");
    let output = blocking(shell).await;
    assert_eq!(output.status.code(), Some(10), "{}", stderr(&output));
    assert!(stderr(&output).contains("openact.db"), "{}", stderr(&output));
    assert_eq!(State::of(home.path()).await, before);
    succeed(home.path(), &["import", "second.json"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a1_of_two_imports_at_once_one_comes_after_the_other() {
    let template = tempfile::tempdir().unwrap();
    succeed(template.path(), &["list", "connectors"]);
    fs::write(template.path().join("first.json"), config("first", 0..20)).unwrap();
    fs::write(template.path().join("second.json"), config("second", 0..20)).unwrap();
    for _ in 0..3 {
        let home = Home::copy_of(template.path());
        let import = |file| blocking(command(home.path(), &["import", file]));
        let (first, second) = tokio::join!(import("first.json"), import("second.json"));
        for output in [first, second] {
            assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        }
        let content = State::of(home.path()).await.content;
        let of_version = |version: &str| -> Vec<bool> {
            let of = |line: &&String| {
                line.starts_with("trn:") && line.split(' ').next().unwrap().ends_with(version)
            };
            content.iter().filter(of).map(|line| line.contains("second")).collect()
        };
        let (one, two) = (of_version("@v1"), of_version("@v2"));
        assert_eq!((one.len(), two.len()), (60, 60), "{content:#?}");
        assert!(one.iter().all(|is_second| *is_second == one[0]), "half of each: {content:#?}");
        assert!(two.iter().all(|is_second| *is_second != one[0]), "half of each: {content:#?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a2_a_lock_that_stays_is_a_clean_error_and_leaves_what_was_there() {
    let template = tempfile::tempdir().unwrap();
    synced(template.path());
    fs::write(template.path().join("second.json"), config("second", 20..60)).unwrap();
    let home = Home::copy_of(template.path());
    let before = State::of(home.path()).await;
    let options = SqliteConnectOptions::new().filename(home.database());
    let mut holder = SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut holder).await.unwrap();
    // Each waits as long as it is ready to wait, all of them at once.
    let mut waiting = tokio::task::JoinSet::new();
    for args in [
        &["import", "second.json"][..],
        &["sync", "config.json", "--prune"],
        &["secret", "set", "s", "--from-env", "PATH"],
        &["connector", "remove", "acme"],
        &["key", "rotate"],
    ] {
        let command = command(home.path(), args);
        waiting.spawn(async move { (args, blocking(command).await) });
    }
    for (args, output) in waiting.join_all().await {
        assert_eq!(output.status.code(), Some(10), "{args:?}: {}", stderr(&output));
        for part in ["is locked by another process", "openact.db", "stop the process that holds it"] {
            assert!(stderr(&output).contains(part), "{args:?}, {part}: {}", stderr(&output));
        }
        assert!(output.stdout.is_empty(), "{args:?}");
    }
    sqlx::raw_sql("ROLLBACK").execute(&mut holder).await.unwrap();
    holder.close().await.unwrap();
    assert_eq!(State::of(home.path()).await, before);
    succeed(home.path(), &["import", "second.json"]);
}
