//! A server that goes away in the middle of thousands of calls and comes back: what was said to be done is done, what was
//! not is done once at most, and nobody has to start OpenAct again.
//!
//! Invariant: every write has a name of its own, and the server's ordinary client counts how often it was done.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use openact::{ErrorCode, Format, OpenAct, RunWrites};
use serde_json::{Value, json};
use support::databases::{Mongodb, Mysql, Postgres, Redis};

use crate::setup::{config, memory};

const TASKS: usize = 16;
const CALLS: u64 = 10_000;

/// Done again after each way of going away.
const DONE_AFTERWARDS: u64 = 1_000;

/// What the calls go to.
struct Restarted {
    stop: Box<dyn Fn() + Send + Sync>,
    kill: Box<dyn Fn() + Send + Sync>,
    start: Box<dyn Fn() + Send + Sync>,
    /// Every name that was ever written, and how often.
    written: Box<dyn Fn() -> BTreeMap<String, u64> + Send + Sync>,
}

/// What one task saw.
#[derive(Default)]
struct Seen {
    done: Vec<String>,
    failed: Vec<String>,
    reads: u64,
}

/// Actions `write` and `read`, whose input is a `name`. `times` is how often a name was written, by what `read` answers.
async fn survives(
    server: Restarted,
    connector: &'static str,
    connection: Value,
    actions: Value,
    times: fn(&Value) -> u64,
) {
    let text = config(connector, connection, actions);
    let builder = memory(&[]).run_writes(RunWrites::Grouped).instances_max(2 * TASKS as u32);
    let openact = builder.config_text(text, Format::Json).build().await.unwrap();
    let server = Arc::new(server);
    let (calls, done, is_over) =
        (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            tokio::spawn(one_task(
                openact.clone(),
                connector,
                task,
                times,
                [calls.clone(), done.clone()],
                is_over.clone(),
            ))
        })
        .collect();
    let (restarted, so_many) = (server.clone(), done.clone());
    let restarts = tokio::task::spawn_blocking(move || {
        let wait_for = |goal: u64| {
            let started = Instant::now();
            while so_many.load(Ordering::Relaxed) < goal {
                assert!(
                    started.elapsed() < Duration::from_secs(60),
                    "{connector}: calls do not succeed again"
                );
                std::thread::sleep(Duration::from_millis(5));
            }
        };
        for kill in [false, true, false] {
            wait_for(so_many.load(Ordering::Relaxed) + DONE_AFTERWARDS);
            if kill {
                (restarted.kill)()
            } else {
                (restarted.stop)()
            }
            (restarted.start)();
        }
        wait_for(so_many.load(Ordering::Relaxed) + DONE_AFTERWARDS);
    });
    let restarts = restarts.await;
    is_over.store(true, Ordering::Relaxed);
    let mut seen = Seen::default();
    for task in tasks {
        let Seen { done, failed, reads } = task.await.unwrap();
        seen.done.extend(done);
        seen.failed.extend(failed);
        seen.reads += reads;
    }
    restarts.unwrap();
    assert!(
        calls.load(Ordering::Relaxed) >= CALLS && seen.reads > 0 && !seen.failed.is_empty(),
        "{connector}"
    );
    let written = tokio::task::spawn_blocking(move || (server.written)()).await.unwrap();
    for name in &seen.done {
        assert_eq!(written.get(name), Some(&1), "{connector}: {name} was done");
    }
    for name in &seen.failed {
        assert!(written.get(name).is_none_or(|times| *times == 1), "{connector}: {name} failed");
    }
    assert!(written.len() <= seen.done.len() + seen.failed.len(), "{connector}");
}

async fn one_task(
    openact: OpenAct,
    connector: &'static str,
    task: usize,
    times: fn(&Value) -> u64,
    [calls, done]: [Arc<AtomicU64>; 2],
    is_over: Arc<AtomicBool>,
) -> Seen {
    let mut seen = Seen::default();
    for index in 0.. {
        if is_over.load(Ordering::Relaxed) && calls.load(Ordering::Relaxed) >= CALLS {
            break;
        }
        let name = format!("{task}-{index}");
        match call(&openact, &format!("{connector}/write"), &name).await {
            Some(_) => {
                done.fetch_add(1, Ordering::Relaxed);
                seen.done.push(name);
            }
            None => seen.failed.push(name),
        }
        if let Some(last) = seen.done.last()
            && let Some(found) = call(&openact, &format!("{connector}/read"), last).await
        {
            assert_eq!(times(&found), 1, "{connector}: {last} reads {found}");
            seen.reads += 1;
        }
        calls.fetch_add(2, Ordering::Relaxed);
    }
    seen
}

/// What is answered; none if the server was away.
async fn call(openact: &OpenAct, action: &str, name: &str) -> Option<Value> {
    match openact.run(action, json!({ "name": name })).await {
        Ok(outcome) => Some(outcome.result.value().unwrap()),
        Err(error) => {
            assert_eq!(error.code, ErrorCode::NetworkError, "{action}: {error:?}");
            None
        }
    }
}

/// Lines of a name, something between, and how often.
fn counted(text: &str, between: char) -> BTreeMap<String, u64> {
    let pairs = text.lines().filter_map(|line| line.split_once(between));
    pairs.map(|(name, times)| (name.to_owned(), times.trim().parse().unwrap())).collect()
}

/// A server of one of the kinds, which have these methods and no trait.
macro_rules! restarted {
    ($server:expr, $written:expr) => {{
        let server = Arc::new($server);
        let [stopped, killed, started, asked] = [server.clone(), server.clone(), server.clone(), server];
        Restarted {
            stop: Box::new(move || stopped.stop()),
            kill: Box::new(move || killed.kill()),
            start: Box::new(move || started.start()),
            written: Box::new(move || $written(&asked)),
        }
    }};
}

/// How often a name is there, by the first column of the first row.
fn first_cell(answer: &Value) -> u64 {
    answer["rows"][0]["times"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a6_ten_thousand_calls_of_postgres() {
    let server = Postgres::own(&[]);
    server.psql("CREATE TABLE done (name text); CREATE INDEX ON done (name)");
    let (user, password) = Postgres::USER;
    let connection = json!({
        "host": "127.0.0.1", "port": server.port, "user": user, "password": password,
        "database": Postgres::DATABASE, "tls": "disable",
    });
    let name = json!([{"name": "name"}]);
    let actions = json!({
        "write": {"statement": "INSERT INTO done VALUES ($1)", "parameters": name},
        "read": {"statement": "SELECT count(*) AS times FROM done WHERE name = $1", "parameters": name, "read_only": true},
    });
    let written =
        |server: &Postgres| counted(&server.psql("SELECT name, count(*) FROM done GROUP BY name"), '|');
    survives(restarted!(server, written), "postgres", connection, actions, first_cell).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a6_ten_thousand_calls_of_mysql() {
    for server in [Some(Mysql::own_mariadb(&[])), Mysql::own_mysql(&[])].into_iter().flatten() {
        server.sql("CREATE TABLE done (name VARCHAR(40), INDEX (name)) ENGINE=InnoDB");
        let (user, password) = Mysql::USER;
        let connection = json!({
            "host": "127.0.0.1", "port": server.port, "user": user, "password": password,
            "database": Mysql::DATABASE, "tls": "disable",
        });
        let name = json!([{"name": "name"}]);
        let actions = json!({
            "write": {"statement": "INSERT INTO done VALUES (?)", "parameters": name},
            "read": {"statement": "SELECT COUNT(*) AS times FROM done WHERE name = ?", "parameters": name, "read_only": true},
        });
        let written =
            |server: &Mysql| counted(&server.sql("SELECT name, COUNT(*) FROM done GROUP BY name"), '\t');
        survives(restarted!(server, written), "mysql", connection, actions, first_cell).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a6_ten_thousand_calls_of_redis() {
    let server = Redis::own(&["appendonly yes", "appendfsync always"]);
    let connection = json!({"host": "127.0.0.1", "port": server.port, "password": Redis::PASSWORD});
    let actions =
        json!({"write": {"command": ["INCR", "{{name}}"]}, "read": {"command": ["GET", "{{name}}"]}});
    let all = "local r = {} for _, k in ipairs(redis.call('KEYS', '*')) do r[#r + 1] = k .. ' ' .. redis.call('GET', k) end return r";
    let written = |server: &Redis| counted(&server.cli(&["eval", all, "0"]), ' ');
    survives(restarted!(server, written), "redis", connection, actions, |answer| {
        answer["value"].as_str().unwrap().parse().unwrap()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a6_ten_thousand_calls_of_mongodb() {
    let server = Mongodb::own(&[]);
    server.pymongo("db.done.create_index('name')");
    let (user, password) = Mongodb::USER;
    let connection = json!({
        "host": "127.0.0.1", "port": server.port, "user": user, "password": password,
        "database": Mongodb::DATABASE, "auth_source": "admin",
    });
    let actions = json!({
        "write": {"operation": "insert", "collection": "done", "document": {"name": "{{name}}"}},
        "read": {"operation": "count", "collection": "done", "filter": {"name": "{{name}}"}},
    });
    let written = |server: &Mongodb| {
        let group = "{'$group': {'_id': '$name', 'times': {'$sum': 1}}}";
        let program = format!("for one in db.done.aggregate([{group}]): print(one['_id'], one['times'])");
        counted(&server.pymongo(&program), ' ')
    };
    survives(restarted!(server, written), "mongodb", connection, actions, |answer| {
        answer["count"].as_u64().unwrap()
    })
    .await;
}
