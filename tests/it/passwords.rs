//! The passwords of the four databases: in no answer, record, log, error, export or explanation, and not in the memory of the
//! connector that logged in with them.
//!
//! Invariant: each row logged in, and looking finds what is there: what a guest was given is in its memory, and so would be
//! a password that was handed to it.

#[cfg(target_os = "linux")]
use std::{fs::File, os::unix::fs::FileExt};

use base64::{Engine, prelude::BASE64_STANDARD};
use openact::{ErrorCode, Format, OpenAct, Request, Tenant};
use serde_json::{Value, json};
use support::{
    command::{stderr, stdout},
    databases::{
        Login, Mongodb, Mysql, Postgres, Redis, fresh_name, mariadb, mongodb, mysql, postgres, redis,
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::mpsc,
};

use crate::{
    import::Home,
    logged::Logged,
    setup::{config, failure, memory, request},
};

/// Of nobody: what a server refuses, or repeats.
const WRONG: &str = "canary+Zq7/wrong=41";

/// A database, and actions of its own connector.
struct Row {
    connector: &'static str,
    connection: Value,
    password: &'static str,
    /// Streams item by item, and has the text in it that it was made with.
    rows: Value,
}

/// `text` gets into each guest's memory with the action.
fn rows(text: &str) -> Vec<Row> {
    let at = |port: u16, (user, password): Login| json!({"host": "127.0.0.1", "port": port, "user": user, "password": password, "tls": "disable"});
    let with = |mut connection: Value, more: Value| {
        connection.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        connection
    };
    let many = format!(
        "WITH RECURSIVE n AS (SELECT 1 AS x UNION ALL SELECT x + 1 FROM n WHERE x < 500) SELECT x, '{text}' AS t FROM n"
    );
    let row =
        |connector, connection, (_, password): Login, rows| Row { connector, connection, password, rows };
    let mut all = vec![
        row(
            "postgres",
            with(at(postgres().port, Postgres::USER), json!({"database": Postgres::DATABASE})),
            Postgres::USER,
            json!({"statement": many, "stream": true}),
        ),
        row(
            "postgres",
            with(at(postgres().port, Postgres::CLEARTEXT), json!({"database": Postgres::DATABASE})),
            Postgres::CLEARTEXT,
            json!({"statement": many, "stream": true}),
        ),
        row(
            "redis",
            at(redis().port, Redis::USER),
            Redis::USER,
            json!({"operation": "scan", "match": format!("{text}*"), "stream": true}),
        ),
        row(
            "mongodb",
            with(at(mongodb().port, Mongodb::USER), json!({"database": "app", "auth_source": "admin"})),
            Mongodb::USER,
            json!({"operation": "aggregate", "pipeline": [{"$documents": (0..50).map(|n| json!({"n": n, "t": text})).collect::<Vec<_>>()}], "stream": true}),
        ),
    ];
    for server in [Some(mariadb()), mysql()].into_iter().flatten() {
        all.push(row(
            "mysql",
            with(at(server.port, Mysql::USER), json!({"database": Mysql::DATABASE})),
            Mysql::USER,
            json!({"statement": many, "stream": true}),
        ));
    }
    all
}

/// A secret as it may be written down.
fn forms(secret: &str) -> Vec<String> {
    let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    let base64 = BASE64_STANDARD.encode(secret);
    let percent = secret.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D").replace('-', "%2D");
    // The last group of base64 depends on what follows.
    vec![secret.to_owned(), hex.to_uppercase(), hex, base64[..base64.len() - 4].to_owned(), percent]
}

fn assert_absent(place: &str, secret: &str, bytes: impl AsRef<[u8]>) {
    for form in forms(secret) {
        let found = bytes.as_ref().windows(form.len()).any(|window| window == form.as_bytes());
        assert!(!found, "{place} holds {form}");
    }
}

async fn over(row: &Row, connection: &Value) -> OpenAct {
    let actions = json!({"rows": row.rows});
    let text = config(row.connector, connection.clone(), actions);
    memory(&[]).config_text(text, Format::Json).build().await.unwrap()
}

fn action(row: &Row) -> String {
    format!("{}/rows", row.connector)
}

#[tokio::test]
async fn c1_c2_c7_the_password_of_each_database_is_seen_nowhere() {
    let logged = Logged::start();
    let key = fresh_name();
    for n in 0..20 {
        redis().cli(&["set", &format!("{key}{n}"), "x"]);
    }
    for row in rows(&key) {
        let (name, password) = (row.connector, row.password);
        let openact = over(&row, &row.connection).await;
        for _ in 0..2 {
            let ended = openact.execute(request(&action(&row), json!({}))).await;
            let result = ended.result.unwrap();
            assert!(result.as_str().len() > 100 && result.as_str().contains(&key), "{name}: {result}");
            let run = ended.run.unwrap();
            assert_absent(name, password, format!("{result} {run:?} {}", run.to_json()));
        }
        let tenant = Tenant::default();
        let export = openact.export(&tenant, &[], Format::Yaml).await.unwrap();
        assert!(export.contains("127.0.0.1"), "{export}");
        let shown = openact.show(&tenant, &format!("{name}/c")).await.unwrap();
        let explained = openact.explain(&tenant, &action(&row), None).await.unwrap();
        let checked = openact.check_connection(&tenant, &format!("{name}/c")).await.unwrap();
        assert_eq!(checked.to_json()["ok"], true, "{name}: {}", checked.to_json());
        let told = format!(
            "{export} {shown:?} {} {explained:?} {} {}",
            shown.to_json(),
            explained.to_json(),
            checked.to_json()
        );
        assert_absent(name, password, told);

        let mut wrong = row.connection.clone();
        wrong["password"] = WRONG.into();
        let (error, run) = failure(&over(&row, &wrong).await, &action(&row), json!({})).await;
        assert_eq!(error.code, ErrorCode::AuthRequired, "{name}: {error:?}");
        let told = format!("{error:?} {error} {} {run:?} {}", error.to_json(), run.to_json());
        assert_absent(name, WRONG, &told);
    }
    let text = logged.text();
    assert!(text.len() > 1000, "the log is at its most verbose: {} bytes", text.len());
    for row in rows(&key) {
        assert_absent("the log", row.password, &text);
    }
    assert_absent("the log", WRONG, &text);
}

/// Asks for the password by the protocol's own word for it, and answers with whatever it is sent.
async fn echo(connector: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut bytes = vec![0; 8192];
            let _ = match connector {
                // AuthenticationCleartextPassword, after the StartupMessage.
                "postgres" => {
                    let _ = stream.read(&mut bytes).await;
                    stream.write_all(b"R\0\0\0\x08\0\0\0\x03").await
                }
                _ => Ok(()),
            };
            while let Ok(count @ 1..) = stream.read(&mut bytes).await {
                let heard = bytes[..count].iter().map(|byte| if *byte < b' ' { b' ' } else { *byte });
                let mut said: Vec<u8> = heard.collect();
                match connector {
                    "redis" => {
                        said = [b"-ERR unknown command, with args beginning with: ", said.as_slice(), b"\r\n"]
                            .concat()
                    }
                    "postgres" => {
                        let fields = [b"SFATAL\0C28P01\0M", said.as_slice(), b"\0\0"].concat();
                        let length = u32::try_from(fields.len() + 4).unwrap().to_be_bytes();
                        said = [b"E", length.as_slice(), fields.as_slice()].concat();
                    }
                    _ => {}
                }
                if stream.write_all(&said).await.is_err() {
                    break;
                }
            }
        }
    });
    port
}

#[tokio::test]
async fn c2_a_server_that_repeats_what_it_is_sent_is_not_repeated() {
    let logged = Logged::start();
    for row in rows("x") {
        let mut connection = row.connection.clone();
        connection["port"] = echo(row.connector).await.into();
        connection["password"] = WRONG.into();
        connection["timeout_ms"] = 3000.into();
        connection["tls"] = "disable".into();
        let (error, run) = failure(&over(&row, &connection).await, &action(&row), json!({})).await;
        let told = format!("{error:?} {error} {} {run:?} {}", error.to_json(), run.to_json());
        assert_absent(row.connector, WRONG, &told);
        match row.connector {
            "redis" => assert!(error.message.contains("answered with the password"), "{error:?}"),
            "postgres" => assert!(error.message.contains("***"), "{error:?}"),
            _ => {}
        }
    }
    assert_absent("the log", WRONG, logged.text());
}

/// The memory of every guest of this process: the engine's pool maps it from an image of the component's own.
#[cfg(target_os = "linux")]
fn guest_memory() -> Vec<u8> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let memory = File::open("/proc/self/mem").unwrap();
    let mut all = Vec::new();
    let mut guest_ends_at = None;
    for line in maps.lines() {
        let (range, rest) = line.split_once(' ').unwrap();
        let (start, end) = range.split_once('-').unwrap();
        let [start, end] = [start, end].map(|text| u64::from_str_radix(text, 16).unwrap());
        // What it has beyond its image follows at once.
        let is_guest = rest.contains("wasm-memory-image") || guest_ends_at == Some(start);
        guest_ends_at = (is_guest && rest.starts_with("rw")).then_some(end);
        if guest_ends_at.is_some() {
            let mut bytes = vec![0; usize::try_from(end - start).unwrap()];
            let read = memory.read_at(&mut bytes, start).unwrap_or(0);
            all.extend_from_slice(&bytes[..read]);
        }
    }
    all
}

#[cfg(target_os = "linux")]
fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// The guest waits for its reader after its first item: it has logged in, and everything it ever had may still be there.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c1_c7_the_memory_of_a_connector_that_logged_in_has_no_password() {
    let key = fresh_name();
    for n in 0..20 {
        redis().cli(&["set", &format!("{key}{n}"), "x"]);
    }
    for row in rows(&key) {
        for planted in [false, true] {
            let openact = over(&row, &row.connection).await;
            let (items, mut taken) = mpsc::channel(1);
            let input = if planted { json!({"planted": row.password}) } else { json!({}) };
            let request = Request { items: Some(items), ..request(&action(&row), input) };
            let call = tokio::spawn(async move { openact.execute(request).await });
            taken.recv().await.expect("there are items");
            let seen = guest_memory();
            assert!(holds(&seen, &key), "{}: that is not its memory: {} bytes", row.connector, seen.len());
            match planted {
                false => assert_absent(&format!("the memory of {}", row.connector), row.password, &seen),
                true => assert!(holds(&seen, row.password), "{}: looking finds nothing", row.connector),
            }
            drop(taken);
            call.await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn c1_no_command_shows_a_databases_password() {
    let home = Home::new();
    let (key, mut connectors) = (fresh_name(), serde_json::Map::new());
    redis().cli(&["set", &key, "x"]);
    let all: Vec<Row> = rows(&key).into_iter().rev().collect();
    for row in &all {
        let of = json!({"connections": {"c": row.connection}, "actions": {"rows": {"connection": "c"}}});
        let mut of = of;
        of["actions"]["rows"].as_object_mut().unwrap().extend(row.rows.as_object().unwrap().clone());
        connectors.insert(row.connector.into(), of);
    }
    home.write("c.json", &json!({ "connectors": connectors }));
    let run = async |args: Vec<String>| {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let mut command = home.command(&args);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", stderr(&output));
        let said = format!("{}{}", stdout(&output), stderr(&output));
        for row in &all {
            assert_absent(&format!("{args:?}"), row.password, &said);
        }
        said
    };
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    run(words("import c.json")).await;
    run(words("export")).await;
    for connector in connectors.keys() {
        let said = run(words(&format!("run {connector}/rows --show-run -vvv"))).await;
        assert!(said.contains(&key) && said.contains("sockets.open"), "{said}");
        for command in ["show CONNECTOR/c", "explain CONNECTOR/rows"] {
            run(words(&command.replace("CONNECTOR", connector))).await;
        }
    }
    for entry in std::fs::read_dir(home.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() && !path.ends_with("c.json") {
            for row in &all {
                assert_absent(&path.display().to_string(), row.password, std::fs::read(&path).unwrap());
            }
        }
    }
}
