//! What is done by every door: each connector, each code.
//!
//! Invariant: a case leaves nothing behind that another call of it would notice.

use openact::ErrorCode;
use serde_json::{Value, json};
use support::{
    databases::{Mongodb, Mysql, Postgres, Redis, fresh_name, mariadb, mongodb, postgres, redis},
    servers::{Mcp, mcp_python},
    upstream::{Answer, Received, Upstream},
};

use super::doors::Call;

/// What `serve`, `mcp` and the embedder deny.
pub(super) const DENIED: &str = "http.denied";

/// Where nobody listens.
const NOBODY: &str = "http://127.0.0.1:9";

/// An action over a connection of its own, and what comes of it.
pub(super) struct Case {
    /// Of the connection and the action.
    pub(super) name: &'static str,
    pub(super) connector: &'static str,
    connection: Value,
    action: Value,
    input: Value,
    dry_run: bool,
    /// Whether the connection is checked before anything is called.
    pub(super) is_checked: bool,
    /// A place in the result and what is there, or a code.
    pub(super) outcome: Result<(&'static str, Value), ErrorCode>,
}

impl Case {
    fn dry(mut self) -> Self {
        self.dry_run = true;
        self
    }

    fn checked(mut self) -> Self {
        self.is_checked = true;
        self
    }

    pub(super) fn call(&self) -> Call {
        let trn = format!("trn:openact:default:action/{}/{}@v1", self.connector, self.name);
        Call { trn, input: self.input.clone(), dry_run: self.dry_run }
    }

    /// Whether nothing is to be done, by the call or by the action.
    pub(super) fn is_dry(&self) -> bool {
        self.outcome == Ok(("/dry_run", json!(true)))
    }

    /// Whether it reaches an action at all.
    pub(super) fn is_recorded(&self) -> bool {
        self.outcome != Err(ErrorCode::NotFound)
    }
}

/// The configuration of all of them.
pub(super) fn config(cases: &[Case]) -> Value {
    let mut connectors = json!({});
    for case in cases.iter().filter(|case| case.is_recorded()) {
        let of = &mut connectors[case.connector];
        of["connections"][case.name] = case.connection.clone();
        let mut action = case.action.clone();
        action["connection"] = case.name.into();
        action["mcp"] = json!({"enabled": true});
        of["actions"][case.name] = action;
    }
    json!({ "connectors": connectors })
}

/// What the cases are about.
pub(super) struct World {
    pub(super) home: tempfile::TempDir,
    upstream: Upstream,
    /// A table, a collection, a key.
    name: String,
}

impl World {
    pub(super) async fn new() -> Self {
        let upstream = Upstream::start(answer).await;
        let (home, name) = (tempfile::tempdir().unwrap(), fresh_name());
        let prepared = name.clone();
        let databases = move || {
            let table = format!("CREATE TABLE {prepared} (id INT PRIMARY KEY, label TEXT)");
            let row = format!("INSERT INTO {prepared} VALUES (1, 'one')");
            postgres().psql(&format!("{table}; {row}"));
            mariadb().sql(&format!("{table}; {row}"));
            redis().cli(&["set", &format!("app:{prepared}"), "kept"]);
            mongodb().pymongo(&format!("db['{prepared}'].insert_one({{'_id': 1, 'label': 'one'}})"));
            mcp_python();
        };
        tokio::task::spawn_blocking(databases).await.unwrap();
        Self { home, upstream, name }
    }
}

fn answer(request: &Received) -> Answer {
    match request.target.split('?').next().unwrap_or_default() {
        "/missing" => Answer::full(404, &[("content-type", "application/json")], r#"{"nothing": true}"#),
        "/bytes" => Answer::full(200, &[("content-type", "image/png")], vec![0x89, 0x50, 0xff]),
        "/list" => Answer::Json(r#"[{"n": 1}, {"n": 2}]"#.to_owned()),
        "/broken" => Answer::full(500, &[("content-type", "text/plain")], "it broke"),
        "/held" => Answer::Held("{}".to_owned()),
        "/away" => Answer::full(302, &[("location", "http://10.1.2.3/")], ""),
        "/endless" => Answer::Endless { announced: Some(2 << 30) },
        "/cut" => Answer::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"a\":".to_vec()),
        "/limited" => Answer::full(429, &[("retry-after", "3")], ""),
        _ => {
            let body = String::from_utf8_lossy(&request.body);
            let told = json!({"target": request.target, "body": body, "big": 9_007_199_254_740_993_u64});
            Answer::Json(told.to_string())
        }
    }
}

pub(super) fn all(world: &World) -> Vec<Case> {
    [http(world), failing_http(world), sql(world), others(world), mcp(world), hostile()]
        .into_iter()
        .flatten()
        .collect()
}

type Outcome = Result<(&'static str, Value), ErrorCode>;

fn case(
    (connector, name): (&'static str, &'static str),
    connection: &Value,
    action: Value,
    input: Value,
    outcome: Outcome,
) -> Case {
    let (connection, dry_run, is_checked) = (connection.clone(), false, false);
    Case { name, connector, connection, action, input, dry_run, is_checked, outcome }
}

fn http(world: &World) -> Vec<Case> {
    let to = json!({"base_url": world.upstream.url()});
    let case = |name, action, input, outcome| case(("http", name), &to, action, input, outcome);
    let schema =
        json!({"type": "object", "properties": {"login": {"type": "string"}}, "required": ["login"]});
    let remove = json!({"method": "DELETE", "path": "/users/{login}"});
    vec![
        case(
            "get",
            json!({"path": "/users/{login}"}),
            json!({"login": "a b"}),
            Ok(("/body/target", json!("/users/a%20b"))),
        ),
        case("big", json!({"path": "/"}), json!({}), Ok(("/body/big", json!(9_007_199_254_740_993_u64)))),
        case(
            "post",
            json!({"method": "POST", "path": "/", "body": {"name": "{{name}}"}}),
            json!({"name": "é\u{0}\"\n"}),
            Ok(("/status_code", json!(200))),
        ),
        case("missing", json!({"path": "/missing"}), json!({}), Ok(("/status_code", json!(404)))),
        case("bytes", json!({"path": "/bytes"}), json!({}), Ok(("/body/base64", json!("iVD/")))),
        case(
            "list",
            json!({"path": "/list", "pagination": {"type": "page", "max_pages": 1}}),
            json!({}),
            Ok(("/items/1/n", json!(2))),
        ),
        case("remove", remove.clone(), json!({"login": "x"}), Ok(("/dry_run", json!(true)))).dry(),
        case(
            "described",
            json!({"path": "/", "limits": {"dry_run": true}}),
            json!({}),
            Ok(("/dry_run", json!(true))),
        ),
        case(
            "input",
            json!({"path": "/", "input_schema": schema}),
            json!({"login": 5}),
            Err(ErrorCode::InvalidInput),
        ),
        case("variable", json!({"path": "/{login}"}), json!({}), Err(ErrorCode::InvalidInput)),
        case("denied", remove, json!({"login": "x"}), Err(ErrorCode::Forbidden)),
        case("got", json!({}), json!({}), Err(ErrorCode::NotFound)),
    ]
}

fn failing_http(world: &World) -> Vec<Case> {
    let to = json!({"base_url": world.upstream.url()});
    let nobody = json!({"base_url": NOBODY});
    let without = json!({"base_url": world.upstream.url(),
        "authorization": {"type": "bearer", "token": {"$secret": "nobody-set-it"}}});
    let case =
        |name, connection, action, outcome| case(("http", name), connection, action, json!({}), outcome);
    vec![
        case(
            "broken",
            &to,
            json!({"path": "/broken", "response": {"fail_on_status": true}}),
            Err(ErrorCode::UpstreamError),
        ),
        case("held", &to, json!({"path": "/held", "timeout_ms": 300}), Err(ErrorCode::Timeout)),
        case("away", &to, json!({"path": "/away", "follow_redirects": true}), Err(ErrorCode::EgressDenied)),
        case("endless", &to, json!({"path": "/endless"}), Err(ErrorCode::LimitExceeded)),
        case("cut", &to, json!({"path": "/cut"}), Err(ErrorCode::NetworkError)),
        case("closed", &nobody, json!({"path": "/"}), Err(ErrorCode::NetworkError)),
        case("keyless", &without, json!({"path": "/"}), Err(ErrorCode::AuthRequired)),
    ]
}

fn sql(world: &World) -> Vec<Case> {
    let name = &world.name;
    let connection = |port: u16, (user, password): (&str, &str), database: &str| json!({"host": "127.0.0.1", "port": port, "user": user, "password": password, "database": database, "tls": "disable"});
    let postgres_as =
        |password| connection(postgres().port, (Postgres::USER.0, password), Postgres::DATABASE);
    let (pg, refused) = (postgres_as(Postgres::USER.1), postgres_as("wrong-canary-parity"));
    let my = connection(mariadb().port, Mysql::USER, Mysql::DATABASE);
    let closed = connection(9, Mysql::USER, Mysql::DATABASE);
    let of = |connector, name, connection, statement: String, outcome| {
        case((connector, name), connection, json!({ "statement": statement }), json!({}), outcome)
    };
    let select = format!("SELECT id, label FROM {name}");
    let label = || Ok(("/rows/0/label", json!("one")));
    let insert = format!("INSERT INTO {name} VALUES (2, 'two')");
    vec![
        of("postgres", "select", &pg, select.clone(), label()),
        of("postgres", "insert", &pg, insert.clone(), Ok(("/dry_run", json!(true)))).dry(),
        of(
            "postgres",
            "twice",
            &pg,
            format!("INSERT INTO {name} VALUES (1, 'one')"),
            Err(ErrorCode::UpstreamError),
        ),
        of("postgres", "refused", &refused, select.clone(), Err(ErrorCode::AuthRequired)),
        of("mysql", "select", &my, select.clone(), label()),
        of("mysql", "no-table", &my, "SELECT * FROM no_such_table".to_owned(), Err(ErrorCode::UpstreamError)),
        of("mysql", "closed", &closed, select, Err(ErrorCode::NetworkError)),
    ]
}

fn others(world: &World) -> Vec<Case> {
    let (redis_user, redis_password) = Redis::USER;
    let re =
        json!({"host": "127.0.0.1", "port": redis().port, "user": redis_user, "password": redis_password});
    let (user, password) = Mongodb::USER;
    let mo = json!({"host": "127.0.0.1", "port": mongodb().port, "user": user, "password": password,
        "database": Mongodb::DATABASE, "auth_source": "admin"});
    let key = format!("app:{}", world.name);
    let command = |name, command: Value, input, outcome| {
        case(("redis", name), &re, json!({ "command": command }), input, outcome)
    };
    let collection = json!({"collection": world.name});
    let of_mongo = |name, more: Value, input, outcome| {
        let mut action = collection.clone();
        action.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        case(("mongodb", name), &mo, action, input, outcome)
    };
    let insert = json!({"operation": "insert", "document": {"_id": 1}});
    vec![
        command("get", json!(["GET", key]), json!({}), Ok(("/value", json!("kept")))),
        command("wrong-type", json!(["LPUSH", key, "x"]), json!({}), Err(ErrorCode::UpstreamError)),
        command("delete", json!(["DEL", "{{key}}"]), json!({ "key": key }), Ok(("/dry_run", json!(true))))
            .dry(),
        of_mongo(
            "find",
            json!({"filter": {"_id": "{{id}}"}}),
            json!({"id": 1}),
            Ok(("/documents/0/label", json!("one"))),
        ),
        of_mongo("twice", insert.clone(), json!({}), Err(ErrorCode::UpstreamError)),
        of_mongo("insert", insert, json!({}), Ok(("/dry_run", json!(true)))).dry(),
    ]
}

fn mcp(world: &World) -> Vec<Case> {
    let with =
        |token: &str| json!({"url": mcp_python().url, "authorization": {"type": "bearer", "token": token}});
    let (to, wrong) = (with(Mcp::TOKEN), with("wrong-token-of-some-length"));
    let limited = json!({"url": format!("{}/limited", world.upstream.url()), "protocol": "2026-07-28"});
    let of = |name, action, input, outcome| case(("mcp", name), &to, action, input, outcome).checked();
    let add = json!({"tool": "add"});
    vec![
        of("add", add.clone(), json!({"a": 2, "b": 40}), Ok(("/structured_content/result", json!(42)))),
        of(
            "count",
            json!({"tool": "count", "stream": true}),
            json!({"to": 2}),
            Ok(("/content/0/text", json!("counted to 2"))),
        ),
        of(
            "greet",
            json!({"operation": "get-prompt", "prompt": "greet"}),
            json!({"name": "Ada"}),
            Ok(("/description", json!("A greeting."))),
        ),
        of("add-dry", add.clone(), json!({"a": 1, "b": 2}), Ok(("/dry_run", json!(true)))).dry(),
        of("found", add.clone(), json!({"a": 2, "b": "x"}), Err(ErrorCode::InvalidInput)),
        of("fail", json!({"tool": "fail"}), json!({"why": "rain"}), Err(ErrorCode::UpstreamError)),
        of("misspelt", json!({"tool": "ad"}), json!({}), Err(ErrorCode::InvalidConfig)),
        case(("mcp", "unknown"), &wrong, add.clone(), json!({"a": 1, "b": 1}), Err(ErrorCode::AuthRequired)),
        case(("mcp", "limited"), &limited, add, json!({"a": 1, "b": 1}), Err(ErrorCode::RateLimited)),
    ]
}

fn hostile() -> Vec<Case> {
    let to = json!({});
    let of = |name, outcome| case(("hostile", name), &to, json!({ "operation": name }), json!({}), outcome);
    vec![
        of("panic", Err(ErrorCode::ConnectorCrashed)),
        of("malformed-json", Err(ErrorCode::ConnectorCrashed)),
        of("flood-host-calls", Err(ErrorCode::LimitExceeded)),
    ]
}
