//! Long results: handed on as they arrive in memory that does not grow with them, and no server works for a reader who
//! has left.
//!
//! Invariant: memory is that of a process of its own, by the system's count, and the rows are looked at one by one.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use openact::{ErrorCode, Format};
use serde_json::{Value, json};
use support::{
    command::{openact, openact_bin},
    databases::{Mongodb, Mysql, Postgres, Redis, fresh_name, mariadb, mongodb, mysql, postgres},
    servers,
};

use crate::setup::{config, memory, request};

/// What a longer result may cost more, KiB: some bytes for each further row would be more.
const MARGIN_KIB: u64 = 4 * 1024;

/// Starts the command with its output in a file, and prints its exit code and the most memory it ever had, in KiB.
const MEASURE: &str = "
import os, sys
home, file = sys.argv[1:3]
env = {name: value for name, value in os.environ.items() if not name.startswith('OPENACT_')}
env.update(OPENACT_HOME=home, NO_COLOR='1')
with open(file, 'wb') as out:
    to = [(os.POSIX_SPAWN_DUP2, out.fileno(), 1)]
    process = os.posix_spawn(sys.argv[3], sys.argv[3:], env, file_actions=to)
_, status, usage = os.wait4(process, 0)
print(os.waitstatus_to_exitcode(status), usage.ru_maxrss)
";

/// A connection, and an action `rows` that streams as many rows as its input says.
struct Source {
    connector: &'static str,
    config: String,
}

impl Source {
    fn new(connector: &'static str, connection: Value, actions: Value) -> Self {
        Self { connector, config: config(connector, connection, actions) }
    }

    /// Streams to a file by the command; the most memory that took. `looks_right` is handed each line.
    fn measured(&self, home: &Path, rows: u64, mut looks_right: impl FnMut(u64, &str) -> bool) -> u64 {
        let (file, configuration) = (home.join("rows"), home.join("config.json"));
        std::fs::write(&configuration, &self.config).unwrap();
        let (action, rows_set) = (format!("{}/rows", self.connector), format!("rows={rows}"));
        let printed = servers::python(
            MEASURE,
            &[
                home.to_str().unwrap(),
                file.to_str().unwrap(),
                openact_bin().to_str().unwrap(),
                "run",
                &action,
                "--config",
                configuration.to_str().unwrap(),
                "--stream",
                "--set",
                &rows_set,
            ],
        );
        let (code, peak) = printed.split_once(' ').unwrap();
        assert_eq!(code, "0", "{}", self.connector);
        let lines = BufReader::new(std::fs::File::open(file).unwrap()).lines();
        let mut found = 0;
        for line in lines {
            let line = line.unwrap();
            found += 1;
            assert!(looks_right(found, &line), "{} {found}: {line}", self.connector);
        }
        assert_eq!(found, rows, "{}", self.connector);
        peak.parse().unwrap()
    }

    /// That a million rows need no more memory than a hundred thousand.
    fn is_flat(&self, row: impl Fn(u64) -> String) {
        let home = tempfile::tempdir().unwrap();
        // The first call compiles the connector.
        self.measured(home.path(), 1, |at, line| line == row(at));
        let fewer = self.measured(home.path(), 100_000, |at, line| line == row(at));
        let more = self.measured(home.path(), 1_000_000, |at, line| line == row(at));
        assert!(more <= fewer + MARGIN_KIB, "{}: {fewer} KiB, then {more} KiB", self.connector);
    }

    /// That the command ends well, and `is_idle` comes true, when its reader has seen enough.
    fn is_left(&self, is_idle: impl Fn() -> bool) {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("config.json");
        std::fs::write(&file, &self.config).unwrap();
        let mut command = openact(home.path());
        command.arg("run").arg(format!("{}/rows", self.connector)).arg("--config").arg(file);
        command.args(["--stream", "--set", "rows=1000000"]).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        assert_eq!(lines.take(1_000).filter(Result::is_ok).count(), 1_000, "{}", self.connector);
        assert!(process.wait().unwrap().success(), "{}", self.connector);
        until(self.connector, is_idle);
    }
}

/// Asks until it is so; a server needs a moment to see that somebody left.
fn until(what: &str, is_so: impl Fn() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < Duration::from_secs(30), "{what} still works");
    }
}

/// Enough for a million rows, as docs/connectors tells it.
fn enough() -> Value {
    json!({"response_bytes": 1_000_000_000, "cpu_ms": 300_000, "timeout_ms": 600_000})
}

fn of_postgres(statement: &str) -> Source {
    let (user, password) = Postgres::USER;
    let connection = json!({
        "host": "127.0.0.1", "port": postgres().port, "user": user, "password": password,
        "database": Postgres::DATABASE, "tls": "disable",
    });
    let rows = json!({
        "statement": statement, "parameters": [{"name": "rows"}], "stream": true, "limits": enough(),
    });
    Source::new("postgres", connection, json!({ "rows": rows }))
}

fn runs_at_postgres(mark: &str) -> bool {
    postgres().psql(&format!(
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%{mark}%' AND state <> 'idle' AND pid <> pg_backend_pid()"
    )) != "0"
}

fn of_mysql(server: &Mysql, statement: &str) -> Source {
    let (user, password) = Mysql::USER;
    let connection = json!({
        "host": "127.0.0.1", "port": server.port, "user": user, "password": password,
        "database": Mysql::DATABASE, "tls": "disable",
    });
    let rows = json!({
        "statement": statement, "parameters": [{"name": "rows"}], "stream": true, "limits": enough(),
    });
    Source::new("mysql", connection, json!({ "rows": rows }))
}

/// A million numbers from the digits of a table.
fn numbers(server: &Mysql) -> String {
    let digits = fresh_name();
    let values: Vec<String> = (0..1_000).map(|digit| format!("({digit})")).collect();
    server.sql(&format!(
        "CREATE TABLE {digits} (d INT PRIMARY KEY); INSERT INTO {digits} VALUES {}",
        values.join(",")
    ));
    format!("SELECT h.d * 1000 + l.d + 1 AS id FROM {digits} h JOIN {digits} l ON h.d * 1000 + l.d < ?")
}

fn each_mysql() -> impl Iterator<Item = &'static Mysql> {
    [Some(mariadb()), mysql()].into_iter().flatten()
}

/// `rows` documents in a collection of a thousand.
fn of_mongodb(collection: &str) -> Source {
    let (user, password) = Mongodb::USER;
    let connection = json!({
        "host": "127.0.0.1", "port": mongodb().port, "user": user, "password": password,
        "database": Mongodb::DATABASE, "auth_source": "admin",
    });
    let each = json!({"$range": [{"$add": [{"$multiply": ["$_id", 1_000]}, 1]}, {"$add": [{"$multiply": ["$_id", 1_000]}, 1_001]}]});
    let pipeline = json!([
        {"$sort": {"_id": 1}}, {"$project": {"_id": 0, "id": each}}, {"$unwind": "$id"},
        {"$limit": "{{rows}}"}, {"$project": {"id": 1, "text": {"$concat": ["row ", {"$toString": "$id"}]}}},
    ]);
    let rows = json!({
        "operation": "aggregate", "collection": collection, "pipeline": pipeline, "stream": true, "limits": enough(),
    });
    Source::new("mongodb", connection, json!({ "rows": rows }))
}

fn of_redis(server: &Redis) -> Source {
    let connection = json!({"host": "127.0.0.1", "port": server.port, "password": Redis::PASSWORD});
    let rows = json!({"operation": "scan", "match": "few:{{rows}}:*", "stream": true, "limits": enough()});
    Source::new("redis", connection, json!({ "rows": rows }))
}

#[test]
fn a5_a_million_rows_of_postgres_in_the_memory_of_fewer() {
    let statement =
        "SELECT g AS id, g::int8 * 7919 % 1000003 AS n, 'row ' || g AS t FROM generate_series(1, $1::int) g";
    let row = |at: u64| format!("{{\"id\":{at},\"n\":{},\"t\":\"row {at}\"}}", at * 7919 % 1_000_003);
    of_postgres(statement).is_flat(row);
}

#[test]
fn a5_a_million_rows_of_mysql_in_the_memory_of_fewer() {
    for server in each_mysql() {
        let statement = numbers(server) + " ORDER BY h.d, l.d";
        of_mysql(server, &statement).is_flat(|at| format!("{{\"id\":{at}}}"));
    }
}

#[test]
fn a5_a_million_documents_in_the_memory_of_fewer() {
    let collection = fresh_name();
    mongodb().pymongo(&format!("db.{collection}.insert_many([{{'_id': i}} for i in range(1000)])"));
    of_mongodb(&collection).is_flat(|at| format!("{{\"id\":{at},\"text\":\"row {at}\"}}"));
}

#[test]
fn a5_many_keys_in_the_memory_of_fewer() {
    let server = Redis::own(&[]);
    for rows in ["1", "10000", "100000"] {
        server.cli(&["debug", "populate", rows, &format!("few:{rows}")]);
    }
    let (home, source) = (tempfile::tempdir().unwrap(), of_redis(&server));
    let measured = |rows: u64| {
        let mut missing = vec![true; usize::try_from(rows).unwrap()];
        source.measured(home.path(), rows, |_, line| {
            let number = line.strip_prefix(&format!("\"few:{rows}:")).and_then(|line| line.strip_suffix('"'));
            // While nothing comes and goes, each is given once.
            std::mem::take(&mut missing[number.unwrap().parse::<usize>().unwrap()])
        })
    };
    measured(1);
    let (fewer, more) = (measured(10_000), measured(100_000));
    assert!(more <= fewer + MARGIN_KIB, "{fewer} KiB, then {more} KiB");
}

#[test]
fn a5_a_reader_that_leaves_ends_the_servers_work() {
    let mark = fresh_name();
    of_postgres(&format!("SELECT g AS {mark} FROM generate_series(1, $1::int) g"))
        .is_left(|| !runs_at_postgres(&mark));
    for server in each_mysql() {
        let statement = format!("{} /* {mark} */", numbers(server));
        let running = format!(
            "SELECT count(*) FROM information_schema.processlist WHERE info LIKE '%/* {mark} *%' AND info NOT LIKE '%processlist%'"
        );
        of_mysql(server, &statement).is_left(|| server.sql_as_root(&running) == "0");
    }
    let collection = fresh_name();
    mongodb().pymongo(&format!("db.{collection}.insert_many([{{'_id': i}} for i in range(1000)])"));
    of_mongodb(&collection).is_left(|| open_cursors(&collection) == "0");
    let server = Redis::own(&[]);
    server.cli(&["debug", "populate", "100000", "few:1000000"]);
    of_redis(&server).is_left(|| !server.cli(&["client", "list"]).contains("cmd=scan"));
}

/// How many cursors of a collection the server keeps for somebody who may come back.
fn open_cursors(collection: &str) -> String {
    let all = "{'$currentOp': {'allUsers': True, 'idleCursors': True}}";
    let (user, password) = Mongodb::ADMIN;
    let program = format!(
        "print(sum(1 for op in client.admin.aggregate([{all}]) if op.get('ns', '').endswith('.{collection}')))"
    );
    mongodb().pymongo_as((user, password), support::databases::By::Plain, &program).unwrap()
}

#[tokio::test]
async fn a5_a_reader_that_leaves_ends_what_has_no_next_row_yet() {
    let mark = fresh_name();
    // So long that the server sends the first ones before it has the rest.
    let statement = format!(
        "SELECT repeat('x', 30000) AS {mark}, CASE WHEN g > 3 THEN pg_sleep(3600) END FROM generate_series(1, $1::int) g"
    );
    let openact =
        memory(&[]).config_text(of_postgres(&statement).config, Format::Json).build().await.unwrap();
    let (items, mut rows) = tokio::sync::mpsc::channel(1);
    let mut asked = request("postgres/rows", json!({"rows": 10}));
    asked.items = Some(items);
    let leaving = async {
        for _ in 0..2 {
            rows.recv().await.unwrap();
        }
        drop(rows);
    };
    let (execution, ()) = tokio::join!(openact.execute(asked), leaving);
    let error = execution.result.unwrap_err();
    assert_eq!(error.code, ErrorCode::Timeout, "{error:?}");
    until("postgres", || !runs_at_postgres(&mark));
}
