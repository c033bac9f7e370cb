//! The postgres connector against a real server: what it writes psql reads, and the other way round.
//!
//! Invariant: every table is of its test alone, and who stops a server or counts its sessions has one of its own.

use std::path::Path;

use openact::{ErrorCode, Format, OpenAct};
use serde_json::{Value, json};
use support::{
    ca::pki,
    databases::{By, Login, ODD, Postgres, fresh_name, postgres},
};

use crate::setup::{config, failure, memory, request, value};

fn connection(server: &Postgres, (user, password): Login, by: By) -> Value {
    let tls = if by == By::Tls { "require" } else { "disable" };
    json!({
        "host": "localhost", "port": server.port, "user": user, "password": password, "database": Postgres::DATABASE,
        "tls": tls, "network": {"tls": {"ca": pki().ca.text}},
    })
}

async fn over(connection: Value, more: Value) -> OpenAct {
    let mut actions = json!({
        "any": {"operation": "execute"},
        "read": {"operation": "execute", "read_only": true},
        "who": {"statement": "SELECT current_user AS user, pg_backend_pid() AS pid"},
    });
    actions.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let text = config("postgres", connection, actions);
    memory(&[]).config_text(text, Format::Json).build().await.unwrap()
}

async fn plain(more: Value) -> OpenAct {
    over(connection(postgres(), Postgres::USER, By::Plain), more).await
}

/// The rows of a statement.
async fn any(openact: &OpenAct, statement: &str, args: Value) -> Value {
    value(openact, "postgres/any", json!({"statement": statement, "args": args})).await["rows"].take()
}

/// The code and message of a statement that must be refused.
async fn refused(openact: &OpenAct, action: &str, statement: &str) -> (ErrorCode, String) {
    let (error, _) = failure(openact, action, json!({ "statement": statement })).await;
    (error.code, format!("{} {:?}", error.message, error.details))
}

#[tokio::test]
async fn c7_each_login_over_tls_and_in_plain_text() {
    for by in [By::Plain, By::Tls] {
        for login in [Postgres::USER, Postgres::MD5, Postgres::CLEARTEXT, (Postgres::TRUSTED, ""), ODD] {
            let mut known = connection(postgres(), login, by);
            if login.1.is_empty() {
                known.as_object_mut().unwrap().remove("password");
            }
            let openact = over(known.clone(), json!({})).await;
            let sql = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
            assert_eq!(any(&openact, sql, json!([])).await, json!([{"ssl": by == By::Tls}]), "{login:?}");
            assert_eq!(value(&openact, "postgres/who", json!({})).await["rows"][0]["user"], login.0);
            if !login.1.is_empty() {
                known["password"] = "wrong-canary-77".into();
                let (error, run) = failure(&over(known, json!({})).await, "postgres/who", json!({})).await;
                assert_eq!(error.code, ErrorCode::AuthRequired, "{error:?}");
                assert!(!format!("{error:?}{run:?}").contains("wrong-canary"));
            }
        }
    }
    let preferring = |login| {
        let mut connection = connection(postgres(), login, By::Tls);
        connection["tls"] = "prefer".into();
        connection
    };
    assert!(
        over(preferring(Postgres::TLS_ONLY), json!({})).await.run("postgres/who", json!({})).await.is_ok()
    );
    // A server whose certificate nobody vouches for is not spoken to in plain text instead.
    let mut unknown = preferring(Postgres::USER);
    unknown.as_object_mut().unwrap().remove("network");
    let (error, _) = failure(&over(unknown, json!({})).await, "postgres/who", json!({})).await;
    assert_eq!(error.code, ErrorCode::NetworkError, "{error:?}");
}

#[tokio::test]
async fn a_url_and_a_check() {
    let (user, password) = Postgres::USER;
    let url = format!("postgres://{user}:{password}@localhost:{}/app?sslmode=disable", postgres().port);
    let openact = over(json!({ "url": url }), json!({})).await;
    assert_eq!(value(&openact, "postgres/who", json!({})).await["rows"][0]["user"], user);
}

#[tokio::test]
async fn a2_what_one_call_leaves_behind_the_next_does_not_find() {
    let openact = over(
        connection(postgres(), Postgres::ADMIN, By::Plain),
        json!({
            "set": {"statement": "SELECT set_config($1, $2, false)"},
            "lock": {"statement": "SELECT pg_advisory_lock(77)"},
            "sequence": {"statement": "SELECT nextval($1)"},
        }),
    )
    .await;
    let sequence = fresh_name();
    postgres().psql(&format!("CREATE SEQUENCE {sequence}"));
    value(&openact, "postgres/who", json!({})).await;
    for (leak, probe, clean) in [
        ("SET search_path TO leak", "SELECT current_setting('search_path') AS x", json!("\"$user\", public")),
        (
            "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
            "SELECT current_setting('transaction_read_only') AS x",
            json!("off"),
        ),
        ("SET ROLE pg_monitor", "SELECT current_user AS x", json!(Postgres::ADMIN.0)),
        ("SET SESSION AUTHORIZATION pg_monitor", "SELECT session_user AS x", json!(Postgres::ADMIN.0)),
        ("CREATE TEMP TABLE leak (a int)", "SELECT to_regclass('leak') AS x", Value::Null),
        ("LISTEN leak", "SELECT count(*) AS x FROM pg_listening_channels()", json!(0)),
        (
            "DECLARE leak CURSOR WITH HOLD FOR SELECT 1",
            "SELECT count(*) AS x FROM pg_cursors WHERE name = 'leak'",
            json!(0),
        ),
        (
            "PREPARE leak AS SELECT 666",
            "SELECT count(*) AS x FROM pg_prepared_statements WHERE from_sql",
            json!(0),
        ),
        (
            "DO $$ BEGIN EXECUTE 'PREPARE leak AS SELECT 666'; END $$",
            "SELECT count(*) AS x FROM pg_prepared_statements WHERE from_sql",
            json!(0),
        ),
    ] {
        any(&openact, leak, json!([])).await;
        assert_eq!(any(&openact, probe, json!([])).await, json!([{ "x": clean }]), "{leak}");
    }
    value(&openact, "postgres/set", json!({"args": ["statement_timeout", "12345"]})).await;
    value(&openact, "postgres/lock", json!({})).await;
    value(&openact, "postgres/sequence", json!({"args": [sequence]})).await;
    let held = "SELECT current_setting('statement_timeout') AS s, (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'
        AND pid = pg_backend_pid()) AS l";
    assert_eq!(any(&openact, held, json!([])).await, json!([{"s": "0", "l": 0}]));
    let (code, message) = refused(&openact, "postgres/any", "SELECT lastval()").await;
    assert!(code == ErrorCode::UpstreamError && message.contains("lastval"), "{message}");
    let table = fresh_name();
    any(&openact, "BEGIN", json!([])).await;
    any(&openact, &format!("CREATE TABLE {table} ()"), json!([])).await;
    assert_eq!(postgres().psql(&format!("SELECT to_regclass('{table}')")), table);
    // It was one session all the time, but for the one with the open transaction.
    let pid = |row: Value| row["rows"][0]["pid"].clone();
    let first = pid(value(&openact, "postgres/who", json!({})).await);
    assert_eq!(pid(value(&openact, "postgres/who", json!({})).await), first);
}

#[tokio::test]
async fn a_reader_writes_nothing_whatever_it_is_told() {
    let server = postgres();
    let (table, file) = (fresh_name(), format!("/tmp/{}", fresh_name()));
    server.psql(&format!("CREATE TABLE {table} AS SELECT 1 AS x"));
    let openact = over(connection(server, Postgres::ADMIN, By::Plain), json!({
        "sly": {"operation": "transaction", "read_only": true, "statements":
            ["SELECT 1", "SELECT set_config('transaction_read_only', 'off', false)", format!("DELETE FROM {table} RETURNING 1")]},
        "ends": {"operation": "transaction", "read_only": true, "statements": ["COMMIT", format!("DELETE FROM {table}")]},
    }))
    .await;
    for statement in [
        format!("DELETE FROM {table}"),
        format!("DELETE FROM {table} RETURNING x"),
        format!("WITH gone AS (DELETE FROM {table} RETURNING x) SELECT * FROM gone"),
        format!("EXPLAIN ANALYZE DELETE FROM {table}"),
        format!("COPY {table} TO PROGRAM 'touch {file}'"),
        format!("COPY {table} TO '{file}'"),
        format!("DO $$ BEGIN COMMIT; DELETE FROM {table}; END $$"),
        format!("SELECT 1; DELETE FROM {table}"),
        format!("COMMIT; DELETE FROM {table}"),
        "SET TRANSACTION READ WRITE".into(),
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE".into(),
        "COMMIT".into(),
        "COMMIT AND CHAIN".into(),
        "ROLLBACK".into(),
        "SELECT set_config('transaction_read_only', 'off', false)".into(),
        "SELECT nextval('pg_catalog.x')".into(),
    ] {
        for _ in 0..2 {
            let (error, _) = failure(&openact, "postgres/read", json!({ "statement": statement })).await;
            assert!(
                matches!(error.code, ErrorCode::UpstreamError | ErrorCode::InvalidConfig),
                "{statement}: {error:?}"
            );
        }
    }
    // It may say so, and it changes nothing.
    let says = json!({"statement": "SELECT set_config('default_transaction_read_only', 'off', false)"});
    value(&openact, "postgres/read", says).await;
    let (_, message) = refused(&openact, "postgres/read", &format!("DELETE FROM {table} RETURNING 1")).await;
    assert!(message.contains("25006"), "{message}");
    for action in ["postgres/sly", "postgres/ends"] {
        failure(&openact, action, json!({})).await;
    }
    assert_eq!(server.psql(&format!("SELECT count(*) FROM {table}")), "1");
    assert!(!Path::new(&file).exists());
    assert_eq!(
        value(&openact, "postgres/read", json!({"statement": format!("SELECT * FROM {table}")})).await["rows"],
        json!([{"x": 1}])
    );
}

#[tokio::test]
async fn a7_values_stay_values_and_come_back() {
    let openact = plain(json!({})).await;
    let types = fresh_name();
    postgres().psql(&format!(
        "CREATE TYPE {types}_mood AS ENUM ('sad', 'happy'); CREATE TYPE {types}_pair AS (a int, b text);
         CREATE DOMAIN {types}_amount AS int CHECK (VALUE > 0)"
    ));
    let evil = "x'); DROP TABLE pg_class; -- \" \\ $1 {{a}} \u{1f600}";
    let (mood, pair, amount) = (format!("{types}_mood"), format!("{types}_pair"), format!("{types}_amount"));
    for (kind, sent) in [
        ("text", json!(evil)),
        ("varchar", json!("")),
        ("json", json!({"a": [evil, 1.5, null, true]})),
        ("jsonb", json!([evil])),
        ("text[]", json!([evil, "", "NULL", "a,b", "{}", null])),
        ("text[]", json!([["a", "b"], ["c", evil]])),
        ("jsonb[]", json!([{"a": evil}, [1, [2]], "s"])),
        ("int2", json!(-32768)),
        ("int8", json!("9223372036854775807")),
        ("int8[]", json!([1, null, "-9223372036854775808"])),
        ("numeric", json!("123456789012345678901234567890.1234567890")),
        ("numeric", json!("NaN")),
        ("float8", json!(0.1)),
        ("float8", json!(5e-324)),
        ("float4", json!(1.1754944e-38)),
        ("float8[]", json!([1.5, "NaN", "-Infinity"])),
        ("bool[]", json!([true, false, null])),
        ("bytea", json!("\\x00ff27225c")),
        ("bytea[]", json!(["\\x", "\\x5c22"])),
        ("uuid", json!("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")),
        ("date", json!("0044-03-15 BC")),
        ("date", json!("infinity")),
        ("time", json!("23:59:59.999999")),
        ("timetz", json!("23:59:59+05:30")),
        ("timestamp", json!("2024-02-29T23:59:59.123456")),
        ("timestamp", json!("10000-01-01 00:00:00")),
        ("timestamp[]", json!(["2024-02-29T23:59:59", null])),
        ("timestamptz", json!("-infinity")),
        ("interval", json!("P1Y2M-3DT4H5M6.7S")),
        ("int4range", json!("[1,5)")),
        ("tstzrange", json!("empty")),
        ("int4multirange", json!("{[1,3),[5,8)}")),
        ("inet", json!("fe80::1/64")),
        ("macaddr", json!("08:00:2b:01:02:03")),
        ("bit(4)", json!("0101")),
        ("varbit", json!("")),
        ("money", json!("$1.50")),
        ("point", json!("(1.5,-2)")),
        ("box[]", json!(["(2,2),(1,1)", "(4,4),(3,3)"])),
        ("tsvector", json!("'a':1 'b''c':2")),
        ("xml", json!("<a>&lt;</a>")),
        ("int4[]", json!("[0:1]={1,2}")),
        (mood.as_str(), json!("happy")),
        (&format!("{mood}[]"), json!(["sad", null])),
        (&pair, json!("(1,\"a,b\")")),
        (&format!("{pair}[]"), json!(["(1,\"x\"\"y\")"])),
        (&amount, json!(7)),
        (&format!("{amount}[]"), json!([7, 8])),
    ] {
        let sql = format!("SELECT $1::{kind} AS x");
        if kind.ends_with("pair[]") {
            // As PostgreSQL itself quotes it, which is not the only way.
            let rows = any(&openact, &sql, json!([sent])).await;
            assert_eq!(any(&openact, &sql, json!([rows[0]["x"]])).await, rows);
            continue;
        }
        assert_eq!(any(&openact, &sql, json!([sent])).await, json!([{ "x": sent }]), "{kind}");
    }
    let table = fresh_name();
    postgres().psql(&format!("CREATE TABLE {table} (id int PRIMARY KEY, v text, b bytea, j jsonb)"));
    let insert = format!("INSERT INTO {table} VALUES ($1, $2, $3, $4) RETURNING id");
    let values = json!([1, evil, {"base64": "AP8n"}, {"k": evil}]);
    assert_eq!(any(&openact, &insert, values).await, json!([{"id": 1}]));
    assert_eq!(postgres().psql(&format!("SELECT v, b FROM {table}")), format!("{evil}|\\x00ff27"));
    postgres().psql(&format!("UPDATE {table} SET v = j->>'k' || 'ü' WHERE id = 1"));
    assert_eq!(
        any(&openact, &format!("SELECT v FROM {table}"), json!([])).await,
        json!([{"v": format!("{evil}ü")}])
    );
}

#[tokio::test]
async fn names_types_and_limits_are_the_actions() {
    let table = fresh_name();
    postgres().psql(&format!("CREATE TABLE {table} (id serial PRIMARY KEY, name text UNIQUE)"));
    let openact = plain(json!({
        "add": {
            "statement": format!("INSERT INTO {table} (name) VALUES ($1) \nRETURNING id"),
            "parameters": [{"name": "name", "type": "string", "required": true, "minLength": 1}],
        },
        // As earlier files have it.
        "legacy": {"sql": "SELECT $2::text || $1::text AS x", "parameters": [{"name": "b", "param_type": "string"}, {"name": "a"}]},
        "few": {"statement": "SELECT g FROM generate_series(1, 100) g", "max_rows": 3},
        "long": {"statement": "SELECT repeat('x', 1000) FROM generate_series(1, 100)", "max_bytes": 5000},
        "both": {"operation": "transaction", "parameters": [{"name": "name"}], "statements": [
            format!("INSERT INTO {table} (name) VALUES ($1)"), {"statement": "SELECT 1 / $1::int", "parameters": [{"name": "by"}]},
        ]},
    }))
    .await;
    let added = value(&openact, "postgres/add", json!({"name": "ada"})).await;
    assert_eq!((&added["rows"], &added["rows_affected"]), (&json!([{"id": 1}]), &json!(1)));
    for input in [json!({}), json!({"name": 7}), json!({"name": ""})] {
        let (error, run) = failure(&openact, "postgres/add", input).await;
        assert!(error.code == ErrorCode::InvalidInput && run.host_calls.is_empty(), "{error:?}");
    }
    let (error, _) = failure(&openact, "postgres/add", json!({"name": "ada"})).await;
    let told = format!("{} {:?}", error.message, error.details);
    assert!(
        error.code == ErrorCode::UpstreamError && told.contains("23505") && told.contains("already exists"),
        "{told}"
    );
    assert_eq!(value(&openact, "postgres/legacy", json!({"a": "a", "b": "b"})).await["rows"][0]["x"], "ab");
    let few = value(&openact, "postgres/few", json!({})).await;
    assert_eq!((&few["rows"], &few["truncated"]), (&json!([{"g": 1}, {"g": 2}, {"g": 3}]), &json!(true)));
    assert_eq!(failure(&openact, "postgres/long", json!({})).await.0.code, ErrorCode::LimitExceeded);
    let (error, _) = failure(&openact, "postgres/both", json!({"name": "bob", "by": 0})).await;
    assert!(error.message.contains("statement 2"), "{error:?}");
    let done = value(&openact, "postgres/both", json!({"name": "bob", "by": 1})).await;
    assert_eq!(done["results"][1]["rows"], json!([{"?column?": 1}]));
    assert_eq!(postgres().psql(&format!("SELECT string_agg(name, ',') FROM {table}")), "ada,bob");
    let (code, message) = refused(&openact, "postgres/any", "SELEC 1").await;
    assert!(code == ErrorCode::UpstreamError && message.contains("position"), "{message}");
}

#[tokio::test]
async fn a_statement_that_takes_too_long_is_stopped_at_the_server() {
    let mark = fresh_name();
    let openact = plain(json!({
        "sleep": {"statement": format!("SELECT pg_sleep(3600) AS {mark}"), "timeout_ms": 1000},
    }))
    .await;
    let (error, _) = failure(&openact, "postgres/sleep", json!({})).await;
    assert_eq!(error.code, ErrorCode::Timeout, "{error:?}");
    let running = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%3600%{mark}%' AND pid <> pg_backend_pid()"
    );
    assert!((0..500).any(|_| postgres().psql(&running) == "0"), "it still runs");
}

#[tokio::test]
async fn a5_rows_are_handed_out_as_they_arrive() {
    let mark = fresh_name();
    let openact = plain(json!({
        "all": {"statement": format!("SELECT g AS {mark} FROM generate_series(1, 20000) g"), "stream": true,
            "limits": {"host_calls": 100_000}},
    }))
    .await;
    let (items, mut rows) = tokio::sync::mpsc::channel(4);
    let mut asked = request("postgres/all", json!({}));
    asked.items = Some(items);
    let call = openact.execute(asked);
    let reading = async {
        let mut sum = 0_u64;
        while let Some(row) = rows.recv().await {
            let row: Value = serde_json::from_str(row.get()).unwrap();
            sum += row[&mark].as_u64().unwrap();
        }
        sum
    };
    let (execution, sum) = tokio::join!(call, reading);
    let result = execution.result.unwrap().value().unwrap();
    assert_eq!((sum, &result["emitted"], &result["rows"]), (200_010_000, &json!(20_000), &Value::Null));
    // Without a reader they are in the result.
    assert_eq!(value(&openact, "postgres/all", json!({})).await["rows"].as_array().unwrap().len(), 20_000);
    // A reader that leaves takes the server's work with it.
    let (items, mut rows) = tokio::sync::mpsc::channel(1);
    let mut asked = request("postgres/all", json!({}));
    asked.items = Some(items);
    let call = openact.execute(asked);
    let leaving = async {
        rows.recv().await.unwrap();
        drop(rows);
    };
    let (execution, ()) = tokio::join!(call, leaving);
    assert!(execution.result.is_err());
    let running = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%{mark}%' AND pid <> pg_backend_pid() AND state <> 'idle'"
    );
    assert!((0..500).any(|_| postgres().psql(&running) == "0"), "it still runs");
}

#[tokio::test]
async fn a6_a_restart_costs_calls_and_repeats_none() {
    let server = Postgres::own(&[]);
    server.psql("CREATE TABLE done (n int)");
    let openact = over(
        connection(&server, Postgres::USER, By::Plain),
        json!({
            "add": {"statement": "INSERT INTO done VALUES ($1)", "parameters": [{"name": "n"}]},
        }),
    )
    .await;
    let mut done = Vec::new();
    for n in 0..300 {
        match n {
            100 => server.stop(),
            120 => server.start(),
            200 => server.kill(),
            220 => server.start(),
            _ => {}
        }
        match openact.run("postgres/add", json!({ "n": n })).await {
            Ok(_) => done.push(n),
            Err(error) => assert_eq!(error.code, ErrorCode::NetworkError, "{n}: {error:?}"),
        }
    }
    assert!(done.contains(&99) && done.contains(&299) && done.len() >= 250, "{}", done.len());
    assert_eq!(server.psql("SELECT count(*) = count(DISTINCT n) FROM done"), "t");
    let list = done.iter().map(i32::to_string).collect::<Vec<_>>().join(",");
    let missing = format!("SELECT count(*) FROM unnest(ARRAY[{list}]) n WHERE n NOT IN (SELECT n FROM done)");
    assert_eq!(server.psql(&missing), "0");
}

#[tokio::test]
async fn a_dry_run_opens_nothing() {
    let openact = plain(json!({})).await;
    let mut dry = request("postgres/any", json!({"statement": "DROP TABLE nothing", "args": []}));
    dry.dry_run = true;
    let execution = openact.execute(dry).await;
    assert!(execution.run.unwrap().host_calls.is_empty());
    assert_eq!(
        execution.result.unwrap().value().unwrap()["result"]["statements"][0]["statement"],
        "DROP TABLE nothing"
    );
}

#[tokio::test]
async fn a9_the_example_file_and_an_earlier_one_run() {
    let (server, database) = (postgres(), postgres().fresh_database());
    let setup = "CREATE TABLE users (id serial PRIMARY KEY, name text, email text); CREATE TABLE stock (item int, held int);
        CREATE TABLE shelf (item int, held int); INSERT INTO stock VALUES (5, 9); INSERT INTO shelf VALUES (5, 0)";
    server.psql_in(&database, Postgres::USER, By::Plain, setup).unwrap();
    let port = server.port.to_string();
    let env = [
        ("PG_PORT", port.as_str()),
        ("PG_DATABASE", &database),
        ("PG_USER", Postgres::USER.0),
        ("PG_PASSWORD", Postgres::USER.1),
    ];
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/examples/postgres.yaml");
    let text = std::fs::read_to_string(file)
        .unwrap()
        .replace("    # TLS where", "    tls: disable\n    # TLS where");
    let openact = memory(&env).config_text(text, Format::Yaml).build().await.unwrap();
    assert_eq!(
        value(&openact, "postgres/add-user", json!({"name": "ada"})).await["rows"],
        json!([{"id": 1}])
    );
    let found = value(&openact, "postgres/find-user", json!({"id": 1})).await;
    assert_eq!(found["rows"], json!([{"id": 1, "name": "ada", "email": null}]));
    let moved = value(&openact, "postgres/move-stock", json!({"item": 5})).await;
    assert_eq!(moved["results"][1]["rows"], json!([{"held": 1}]));
    assert_eq!(value(&openact, "postgres/all-users", json!({})).await["rows"].as_array().unwrap().len(), 1);
    let asked = json!({"statement": "SELECT count(*) FROM users"});
    assert_eq!(value(&openact, "postgres/ask", asked).await["rows"], json!([{"count": 1}]));
    let earlier = format!(
        "version: \"1.0\"\nconnections:\n  main:\n    kind: postgresql\n    host: 127.0.0.1\n    port: ${{PG_PORT:5432}}
    database: {database}\n    user: {}\n    password: ${{PG_PASSWORD:123456}}\n    ssl_mode: disable\n    max_connections: 5
actions:\n  get-user:\n    connection: main\n    description: one user\n    statement: SELECT name FROM users WHERE id = $1
    parameters:\n      - name: id\n        type: number\n        required: true\n    mcp_enabled: true\n",
        Postgres::USER.0
    );
    let openact = memory(&env).config_text(earlier, Format::Yaml).build().await.unwrap();
    for input in [json!({"id": 1}), json!({"id": 1, "other": 2})] {
        assert_eq!(value(&openact, "postgresql/get-user", input).await["rows"], json!([{"name": "ada"}]));
    }
}
