//! Databases of the earlier OpenAct, made by its own SQL, and what they are afterwards.
//!
//! Invariant: a database here is written by plain SQL, never by the code that is tested.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::Output,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use openact::OpenAct;
use serde_json::{Value, json};
use sqlx::{
    Connection, QueryBuilder, Row, Sqlite, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteRow},
};
use support::{
    command::{openact, stderr},
    upstream::Received,
};

pub(super) const TASKS: &str = include_str!("tasks.sql");
pub(super) const ACTIONS: &str = include_str!("actions.sql");

/// In every credential: what must not be seen afterwards.
pub(super) const CANARY: &str = "canary-5d81e0";

/// A database in a folder of its own, with the home of whoever uses it.
pub(super) struct Database {
    pub(super) home: tempfile::TempDir,
}

impl Database {
    pub(super) async fn new(schema: &'static str) -> Self {
        let database = Self { home: tempfile::tempdir().unwrap() };
        let mut connection = database.open().await;
        sqlx::raw_sql(schema).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        database
    }

    pub(super) fn path(&self) -> PathBuf {
        self.home.path().join("test.db")
    }

    pub(super) async fn open(&self) -> SqliteConnection {
        let options = SqliteConnectOptions::new().filename(self.path()).create_if_missing(true);
        SqliteConnection::connect_with(&options.foreign_keys(false)).await.unwrap()
    }

    /// Inserts a row: objects and lists as JSON text.
    pub(super) async fn insert(&self, table: &str, row: Value) {
        let mut connection = self.open().await;
        let row = row.as_object().unwrap();
        let mut query = QueryBuilder::<Sqlite>::new(format!("INSERT INTO {table} ("));
        let mut columns = query.separated(", ");
        for column in row.keys() {
            columns.push(column);
        }
        query.push(") VALUES (");
        let mut values = query.separated(", ");
        for value in row.values() {
            match value {
                Value::Null => values.push("NULL"),
                Value::Number(number) => values.push_bind(number.as_i64().unwrap()),
                Value::String(text) => values.push_bind(text.clone()),
                other => values.push_bind(other.to_string()),
            };
        }
        query.push(")").build().execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }

    pub(super) async fn sql(&self, sql: &'static str) {
        let mut connection = self.open().await;
        sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }

    /// `openact migrate` with `args`.
    pub(super) async fn migrate(&self, args: &[&str]) -> Output {
        let mut command = openact(self.home.path());
        command.args(["migrate", "--db"]).arg(self.path()).args(args);
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }

    /// The same, as JSON of one that succeeds, and whose exit code says whether every row came along.
    pub(super) async fn migrated(&self, args: &[&str]) -> Value {
        let output = self.migrate(&[args, &["--format", "json"]].concat()).await;
        assert!(!String::from_utf8_lossy(&output.stdout).contains(CANARY), "the report shows a secret");
        let report: Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", stderr(&output)));
        let code = if report["complete"] == false { 3 } else { 0 };
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
        report
    }

    /// An OpenAct over it, with the key that the command made.
    pub(super) async fn openact(&self) -> OpenAct {
        support::builder(self.home.path(), &[])
            .key_file(self.home.path().join("config/master.key"))
            .build()
            .await
            .unwrap()
    }

    /// Every row of every table, as text, and the statements that made the tables.
    pub(super) async fn dump(&self) -> BTreeMap<String, Vec<String>> {
        let mut connection = self.open().await;
        let objects: Vec<(String, String, Option<String>)> = sqlx::query_as(
            "SELECT type, name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite%' ORDER BY name",
        )
        .fetch_all(&mut connection)
        .await
        .unwrap();
        let mut dump = BTreeMap::new();
        for (kind, name, sql) in objects {
            // Renaming a table puts its name in quotes.
            let mut lines = vec![sql.unwrap_or_default().replace('"', "")];
            if kind == "table" {
                let mut query = QueryBuilder::<Sqlite>::new(format!("SELECT * FROM \"{name}\""));
                let rows = query.build().fetch_all(&mut connection).await.unwrap();
                lines.extend(rows.iter().map(text_of));
            }
            dump.insert(format!("{kind} {name}"), lines);
        }
        connection.close().await.unwrap();
        dump
    }
}

fn text_of(row: &SqliteRow) -> String {
    let cell = |index: usize| {
        row.try_get_unchecked::<Option<Vec<u8>>, _>(index)
            .unwrap()
            .map_or("NULL".into(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
    };
    (0..row.len()).map(cell).collect::<Vec<_>>().join("|")
}

/// The names of the files in a folder, and their bytes.
pub(super) fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            files.insert(name, std::fs::read(path).unwrap());
        }
    }
    files
}

/// A value as the earlier store wrote it.
pub(super) fn encoded(value: &str) -> String {
    BASE64_STANDARD.encode(value)
}

/// A connection's columns: its credential, and what else differs from nothing.
pub(super) fn connection(id: &str, kind: &str, parameters: Value, more: Value) -> Value {
    let mut row = json!({
        "trn": format!("trn:openact:default:connection/{id}"), "name": id, "authorization_type": kind,
        "auth_params_encrypted": encoded(&parameters.to_string()), "auth_params_nonce": "no-encryption",
        "key_version": 0, "created_at": "2025-01-02 03:04:05", "updated_at": "2025-02-03T04:05:06.789+00:00",
    });
    row.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    row
}

/// A task's columns.
pub(super) fn task(id: &str, over: &str, method: &str, endpoint: &str, more: Value) -> Value {
    let mut row = json!({
        "trn": format!("trn:openact:default:task/{id}"), "name": id,
        "connection_trn": format!("trn:openact:default:connection/{over}"), "api_endpoint": endpoint, "method": method,
        "created_at": "2025-01-02 03:04:05", "updated_at": "2025-02-03 04:05:06",
    });
    row.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    row
}

pub(super) fn api_key(name: &str) -> Value {
    json!({"api_key_auth_parameters": {"api_key_name": name, "api_key_value": format!("{CANARY}-key")}})
}

/// What a request was, without what every client adds on its own.
pub(super) fn seen(request: &Received) -> Value {
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    let query: BTreeSet<String> = url::form_urlencoded::parse(query.as_bytes())
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let own = ["host", "content-length", "user-agent", "accept-encoding", "connection"];
    let mut headers: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in request.headers.iter().filter(|(name, _)| !own.contains(&name.as_str())) {
        headers
            .entry(name.clone())
            .and_modify(|all| all.push_str(&format!(" & {value}")))
            .or_insert(value.clone());
    }
    if headers.get("accept").is_some_and(|accept| accept == "*/*") {
        headers.remove("accept");
    }
    let body: Value = if request.body.is_empty() {
        Value::Null
    } else {
        serde_json::from_slice(&request.body).expect("a JSON body")
    };
    json!({"method": request.method, "path": path, "query": query, "headers": headers, "body": body})
}
