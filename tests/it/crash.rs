//! The command killed at any moment (A1), in need of space (A2), and twice at once: what is stored is what was before or
//! what comes after, never anything between.
//!
//! Invariant: the moments are random, and a failure names the seed that chose them; `CRASH_SEED` chooses them again.

use std::{
    fs,
    hash::{BuildHasher, RandomState},
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Output, Stdio},
    time::{Duration, Instant},
};

use openact_store::{KeySource, RunWrites, Store, StoreUrl};
use serde_json::json;
use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use support::command::{openact, stderr};

/// How often each of [`OPERATIONS`] is killed.
const KILLS: usize = 50;

/// What is killed: how its home is made, and what is run in it.
struct Operation {
    name: &'static str,
    prepare: fn(&Path),
    args: &'static [&'static str],
}

const OPERATIONS: [Operation; 4] = [
    Operation { name: "import", prepare: imported, args: &["import", "second.json"] },
    Operation { name: "sync", prepare: synced, args: &["sync", "config.json", "--prune"] },
    Operation { name: "rotate", prepare: imported, args: &["key", "rotate"] },
    Operation { name: "migrate", prepare: earlier, args: &["migrate"] },
];

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
        killed.iter().all(|killed| killed * 5 >= KILLS),
        "hardly any was killed while it ran: {killed:?}"
    );
}

/// Kills one operation [`KILLS`] times; gives how often it had not ended by itself.
async fn kill_often(operation: Operation, mut random: Random, seed: u64) -> usize {
    let Operation { name, prepare, args } = operation;
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
    for round in 0..KILLS {
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
        if round % 5 == 0 {
            let output = blocking(command(home.path(), args)).await;
            assert_eq!(output.status.code(), Some(0), "{name}, CRASH_SEED={seed}: {}", stderr(&output));
            assert_eq!(State::of(home.path()).await.content, after.content, "{name}, CRASH_SEED={seed}");
        }
    }
    killed
}

/// Starts a command, and kills it after `wait`, which for a late one begins when it has begun to write.
fn kill(mut command: Command, database: &Path, is_late: bool, wait: Duration) -> ExitStatus {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let writes = || {
        ["-wal", "-journal"].iter().any(|suffix| {
            let file = PathBuf::from(format!("{}{suffix}", database.display()));
            fs::metadata(file).is_ok_and(|metadata| metadata.len() > 0)
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
        for file in ["first.json", "second.json", "config.json"] {
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
}

fn synced(home: &Path) {
    fs::write(home.join("config.json"), config("first", 0..40)).unwrap();
    succeed(home, &["sync", "config.json"]);
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
            'trn:openact:default:connection/c' || (1 + i % 40) || '@v1', 'https://api.example.com/' || i, 'GET' FROM n;";
    let path = database(home);
    let made = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
            let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
            sqlx::raw_sql(include_str!("legacy/tasks.sql")).execute(&mut connection).await.unwrap();
            sqlx::raw_sql(rows).execute(&mut connection).await.unwrap();
            connection.close().await.unwrap();
        });
    });
    made.join().unwrap();
}

/// All that matters of a database: what is configured, with the values of secrets, and how much of it is in the log.
#[derive(Debug, PartialEq)]
struct State {
    /// Lines, in order.
    content: Vec<String>,
    /// Entries but those of the key, of which a rotation that was stopped and begun again leaves more.
    entries: i64,
}

impl State {
    /// Opens a database as it was left, and finds that it is sound.
    async fn of(home: &Path) -> Self {
        let path = database(home);
        let options = SqliteConnectOptions::new().filename(&path);
        let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
        let sound: String =
            sqlx::query_scalar("PRAGMA integrity_check").fetch_one(&mut connection).await.unwrap();
        assert_eq!(sound, "ok");
        let orphans = sqlx::query("PRAGMA foreign_key_check").fetch_all(&mut connection).await.unwrap();
        assert!(orphans.is_empty());
        let mut content: Vec<String> = sqlx::query_scalar(
            "SELECT type || ' ' || name FROM sqlite_schema WHERE name NOT LIKE 'sqlite%' ORDER BY 1",
        )
        .fetch_all(&mut connection)
        .await
        .unwrap();
        let is_ours = content.contains(&"table audit_log".to_owned());
        let rows = if is_ours {
            "SELECT trn || ' ' || config_json FROM connections UNION ALL
             SELECT trn || ' ' || connection_trn || ' ' || config_json FROM actions UNION ALL
             SELECT kind || ' ' || name FROM synced UNION ALL
             SELECT kind || ' ' || name || ' ' || version FROM retired_versions ORDER BY 1"
        } else {
            "SELECT trn || ' ' || auth_params_encrypted FROM connections UNION ALL SELECT trn FROM tasks ORDER BY 1"
        };
        let rows: Vec<String> = sqlx::query_scalar(rows).fetch_all(&mut connection).await.unwrap();
        content.extend(rows);
        let mut entries = 0;
        if is_ours {
            let count = "SELECT count(*) FROM audit_log WHERE operation NOT LIKE 'key.%'";
            entries = sqlx::query_scalar(count).fetch_one(&mut connection).await.unwrap();
            content.extend(secrets(home, &mut connection).await);
        }
        connection.close().await.unwrap();
        Self { content, entries }
    }
}

/// Every secret with its value, after the log was verified.
async fn secrets(home: &Path, connection: &mut SqliteConnection) -> Vec<String> {
    use openact_core::secret::ExposeSecret;
    let key = KeySource::File(home.join("config/master.key"));
    let store = Store::open(&StoreUrl::file(database(home)), key, RunWrites::BeforeAnswer).await.unwrap();
    assert_eq!(store.verify_audit().await.unwrap().broken, None);
    let names: Vec<String> =
        sqlx::query_scalar("SELECT name FROM secrets ORDER BY name").fetch_all(connection).await.unwrap();
    let mut secrets = Vec::new();
    for name in names {
        let value = store.open_secret(&openact::Tenant::default(), &name).await.unwrap().unwrap();
        secrets.push(format!("{name} = {}", value.expose_secret()));
    }
    store.close().await.unwrap();
    secrets
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
