//! Databases of the earlier OpenAct: what `openact migrate` makes of them, and the ways back and on.

mod database;
mod rows;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use openact::{Door, Execution, Format, ImportOptions, Request, Tenant};
use serde_json::{Value, json};
use support::{
    command::stderr,
    upstream::{Answer, Upstream},
};

use self::database::{ACTIONS, CANARY, Database, TASKS, api_key, connection, encoded, files, seen, task};

async fn upstream() -> Arc<Upstream> {
    let answer = |request: &support::upstream::Received| match request.target.as_str() {
        "/token" => {
            Answer::Json(r#"{"access_token": "minted", "token_type": "Bearer", "expires_in": 3600}"#.into())
        }
        _ => Answer::Json("{}".into()),
    };
    Arc::new(Upstream::start(answer).await)
}

fn request(tenant: &str, action: &str, input: Value) -> Request {
    Request::new(Door::Embedded, tenant.parse().unwrap(), action, input)
}

fn findings(report: &Value) -> &Vec<Value> {
    report["legacy"]["findings"].as_array().unwrap()
}

/// The columns of the findings of a row with that effect.
fn columns<'r>(report: &'r Value, trn: &str, effect: &str) -> BTreeSet<Option<&'r str>> {
    findings(report)
        .iter()
        .filter(|finding| finding["effect"] == effect && finding["trn"].as_str().unwrap().ends_with(trn))
        .map(|finding| finding["column"].as_str())
        .collect()
}

#[tokio::test]
async fn every_row_sends_what_it_sent_or_is_reported() {
    let (one, other) = (upstream().await, upstream().await);
    let database = Database::new(TASKS).await;
    let expected = rows::good(&database, &one.url(), &other.url()).await;
    let lost = rows::bad(&database, &one.url()).await;
    rows::credentials(&database).await;
    let report = database.migrated(&[]).await;

    let counts: BTreeMap<&str, (u64, u64)> = report["legacy"]["tables"]
        .as_array()
        .unwrap()
        .iter()
        .map(|count| {
            let number = |key: &str| count[key].as_u64().unwrap();
            (count["table"].as_str().unwrap(), (number("rows"), number("carried")))
        })
        .collect();
    let rows: u64 = counts.values().map(|(rows, _)| rows).sum();
    assert!(rows >= 40, "{counts:?}");
    assert_eq!(counts["tasks"].1 as usize, expected.len(), "{:#}", report["legacy"]);
    assert_eq!(counts["auth_connections"], (8, 2), "{:#}", report["legacy"]);
    assert_eq!(counts["auth_connection_history"], (5, 2));
    for (trn, column) in &lost {
        assert!(columns(&report, trn, "row_not_carried").contains(column), "{trn}: {:#?}", findings(&report));
    }
    let (all, carried) =
        (counts["connections"].0 + counts["tasks"].0, counts["connections"].1 + counts["tasks"].1);
    assert_eq!(all - carried, lost.len() as u64, "each row is carried or reported, none is both");
    assert_eq!(report["complete"], false);

    let openact = database.openact().await;
    for sent in &expected {
        let upstream = if sent.elsewhere { &other } else { &one };
        let Execution { result, .. } = openact.execute(request(sent.tenant, sent.action, json!({}))).await;
        result.unwrap_or_else(|error| panic!("{}: {error:?}", sent.action));
        assert_eq!(seen(upstream.received().last().unwrap()), sent.request, "{}", sent.action);
    }
    openact.close().await.unwrap();
    let reported: BTreeSet<&str> =
        findings(&report).iter().map(|finding| finding["effect"].as_str().unwrap()).collect();
    assert_eq!(reported, ["changed", "field_not_carried", "note", "row_not_carried"].into());
}

#[tokio::test]
async fn what_is_another_way_now_is_flagged_by_row_and_column() {
    let one = upstream().await;
    let database = Database::new(TASKS).await;
    rows::good(&database, &one.url(), "http://localhost:1").await;
    rows::credentials(&database).await;
    let report = database.migrated(&["--dry-run"]).await;
    for (trn, effect, wanted) in [
        // The connection came first, or a policy took it away.
        ("task/over", "field_not_carried", vec!["headers_json", "query_params_json", "request_body_json"]),
        ("task/list", "field_not_carried", vec!["request_body_json"]),
        ("task/ruled", "field_not_carried", vec!["headers_json", "http_policy_json", "request_body_json"]),
        ("connection/defaults", "field_not_carried", vec!["default_headers_json"]),
        ("task/get", "changed", vec!["request_body_json"]),
        (
            "task/obeys",
            "field_not_carried",
            vec!["headers_json", "network_config_json", "timeout_config_json"],
        ),
        ("connection/rules", "field_not_carried", vec!["http_policy_json", "network_config_json"]),
        ("connection/rules", "changed", vec!["retry_policy_json"]),
        ("task/posts", "changed", vec!["retry_policy_json"]),
        ("task/spared", "field_not_carried", vec!["response_policy_json", "retry_policy_json"]),
        ("connection/cc", "field_not_carried", vec!["auth_ref"]),
        ("connection/ac", "field_not_carried", vec!["auth_params_encrypted"]),
        ("task/byhand", "note", vec!["headers_json"]),
        ("connection/direct", "note", vec!["default_headers_json"]),
        ("connection/qs@v1", "note", vec!["trn"]),
        ("auth_connection/Google/bob@example.com", "field_not_carried", vec!["refresh_token_encrypted"]),
        // Nothing to say of these.
        ("task/bare", "field_not_carried", vec![]),
        ("task/qs", "changed", vec![]),
        ("connection/qs", "field_not_carried", vec![]),
    ] {
        let wanted: BTreeSet<Option<&str>> = wanted.into_iter().map(Some).collect();
        assert_eq!(columns(&report, trn, effect), wanted, "{trn}, {effect}: {:#?}", findings(&report));
    }
    let why = |trn: &str| {
        let of = |finding: &&Value| finding["trn"].as_str().unwrap().ends_with(trn);
        findings(&report)
            .iter()
            .filter(of)
            .map(|finding| finding["why"].as_str().unwrap())
            .collect::<Vec<_>>()
    };
    assert!(why("task/over").contains(&"'x-a' was never sent: the connection's came before it"));
    assert!(why("task/over").contains(&"'expect' was never sent: the policy took it away"));
    assert!(!why("task/over").iter().any(|why| why.contains("x-same")), "the same is no difference");
    // References go along.
    let to = |from: &str| {
        let rows = report["legacy"]["carried"].as_array().unwrap();
        rows.iter().find(|row| row["from"].as_str().unwrap().ends_with(from)).unwrap()["to"].clone()
    };
    assert_eq!(to(":task/qs@v2"), json!(["trn:openact:default:action/http/qs@v2"]));
    assert_eq!(to("auth/github-alice"), json!(["trn:openact:default:auth/github/alice"]));
    let port = one.url().rsplit(':').next().unwrap().to_owned();
    let multi = [
        "multi",
        "multi-localhost-1",
        &format!("multi-127.0.0.1-{port}"),
        &format!("multi-127.0.0.1-{port}-2"),
    ];
    let multi: Vec<String> =
        multi.iter().map(|name| format!("trn:openact:default:connection/http/{name}@v1")).collect();
    assert_eq!(to("connection/multi"), json!(multi));
}

#[tokio::test]
async fn a_dry_run_says_the_same_and_changes_no_byte() {
    let database = Database::new(TASKS).await;
    rows::good(&database, "http://127.0.0.1:1", "http://127.0.0.1:2").await;
    rows::bad(&database, "http://127.0.0.1:1").await;
    rows::credentials(&database).await;
    let before = files(database.home.path());
    let refused = openact::OpenAct::builder().without_cache().store(database.path().display().to_string());
    let error = refused.build().await.err().unwrap();
    assert!(
        error.message.contains("earlier OpenAct")
            && error.hint.as_deref().unwrap().contains("openact migrate")
    );
    let planned = database.migrated(&["--dry-run"]).await;
    assert_eq!(files(database.home.path()), before);
    assert_eq!(planned["backup"], Value::Null);
    let done = database.migrated(&[]).await;
    assert_eq!(done["legacy"], planned["legacy"]);
    let copy = done["backup"].as_str().unwrap();
    assert!(copy.ends_with(".bak") && copy.contains("test.db.2"), "{copy}");

    // The copy is what was there, and a second time there is nothing to do.
    let dump = database.dump().await;
    let again = database.migrated(&[]).await;
    assert_eq!((&again["applied"], &again["backup"]), (&json!([]), &Value::Null));
    assert!(again["legacy"].is_null() && again["set_aside"].as_array().unwrap().len() == 5, "{again}");
    assert_eq!(database.dump().await, dump);
    let text = database.migrate(&["--format", "table"]).await;
    assert!(String::from_utf8_lossy(&text.stdout).contains("nothing to apply"), "{text:?}");
}

#[tokio::test]
async fn rows_that_stay_behind_are_an_exit_code_and_the_last_line() {
    for (schema, bad, dry, word) in
        [(TASKS, true, true, "would not be"), (TASKS, true, false, "were not"), (TASKS, false, false, "")]
    {
        let database = Database::new(schema).await;
        let parameters =
            json!({"api_key_auth_parameters": {"api_key_name": "X-API-Key", "api_key_value": "demo"}});
        database.insert("connections", connection("qs", "api_key", parameters, json!({}))).await;
        database.insert("tasks", task("qs", "qs", "GET", "https://api.example.com/get", json!({}))).await;
        if bad {
            database
                .insert("tasks", task("lost", "gone", "GET", "https://api.example.com/", json!({})))
                .await;
        }
        let dry: &[&str] = if dry { &["--dry-run"] } else { &[] };
        let output = database.migrate(&[&["--format", "table"], dry].concat()).await;
        let text = String::from_utf8(output.stdout.clone()).unwrap();
        let last = text.lines().last().unwrap();
        assert_eq!(output.status.code(), Some(if bad { 3 } else { 0 }), "{text}");
        assert_eq!(last.starts_with(&format!("not complete: 1 rows {word}")), bad, "{text}");
        assert_eq!(text.contains("not complete"), bad, "{text}");
        if dry.is_empty() {
            assert_eq!(database.migrate(&[]).await.status.code(), Some(0), "there is nothing left to do");
            let openact = database.openact().await;
            assert_eq!(openact.list_actions(&Tenant::default(), None, None).await.unwrap().len(), 1);
            openact.close().await.unwrap();
        }
    }
}

#[tokio::test]
async fn a4_a_rollback_is_the_last_entry_of_the_copy_and_a_drop_is_an_entry_or_is_not_done() {
    let listed = async |database: &Database, path: &std::path::Path| -> Vec<Value> {
        let mut command = support::command::openact(database.home.path());
        command.args(["audit", "list", "--format", "json", "--db"]).arg(path);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let verified = async |database: &Database, path: &std::path::Path| {
        let mut command = support::command::openact(database.home.path());
        command.args(["audit", "verify", "--db"]).arg(path);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
    };
    let database = Database::new(TASKS).await;
    rows::good(&database, "http://127.0.0.1:1", "http://127.0.0.1:2").await;
    database.migrated(&[]).await;
    let back = database.migrated(&["--rollback"]).await;
    assert_eq!(back["logged"], true);
    let copy = std::path::Path::new(back["backup"].as_str().unwrap());
    let last = listed(&database, copy).await.remove(0);
    assert_eq!((&last["operation"], &last["door"]), (&json!("database.rollback"), &json!("cli")), "{last}");
    assert_eq!(last["after"]["tables"], back["tables"]);
    verified(&database, copy).await;

    // Without its key there is no entry in the copy, which is said and is no reason not to go back.
    database.migrated(&[]).await;
    let key = database.home.path().join("config/master.key");
    std::fs::rename(&key, key.with_extension("away")).unwrap();
    let back = database.migrated(&["--rollback"]).await;
    assert_eq!(back["logged"], false, "{back}");
    std::fs::rename(key.with_extension("away"), &key).unwrap();

    database.migrated(&[]).await;
    std::fs::rename(&key, key.with_extension("away")).unwrap();
    let before = database.dump().await;
    let refused = database.migrate(&["--drop-legacy"]).await;
    assert_eq!(refused.status.code(), Some(10), "{}", stderr(&refused));
    assert_eq!(database.dump().await, before);
    std::fs::rename(key.with_extension("away"), &key).unwrap();
    let dropped = database.migrated(&["--drop-legacy"]).await;
    let last = listed(&database, &database.path()).await.remove(0);
    assert_eq!(
        (&last["operation"], &last["after"]["tables"]),
        (&json!("database.drop_legacy"), &dropped["dropped"])
    );
    verified(&database, &database.path()).await;
}

#[tokio::test]
async fn a_rollback_brings_everything_back_as_it_was() {
    for (schema, is_tasks) in [(TASKS, true), (ACTIONS, false)] {
        let database = Database::new(schema).await;
        if is_tasks {
            rows::good(&database, "http://127.0.0.1:1", "http://127.0.0.1:2").await;
            rows::bad(&database, "http://127.0.0.1:1").await;
        } else {
            later(&database, "http://127.0.0.1:1").await;
        }
        rows::credentials(&database).await;
        database.sql("CREATE TABLE notes (text TEXT); INSERT INTO notes VALUES ('mine')").await;
        let before = database.dump().await;
        let early = database.migrate(&["--rollback"]).await;
        assert_eq!(early.status.code(), Some(4), "{}", stderr(&early));
        assert_eq!(database.dump().await, before);

        let report = database.migrated(&["--no-backup"]).await;
        assert!(report["backup"].is_null());
        assert!(findings(&report).iter().any(|finding| finding["trn"] == "notes"));
        let openact = database.openact().await;
        let options = ImportOptions::default();
        let more =
            r#"{"connectors": {"http": {"connections": {"new": {"base_url": "http://127.0.0.1:1"}}}}}"#;
        openact.import_text("more", more, Format::Json, &options).await.unwrap();
        openact.close().await.unwrap();
        assert_ne!(database.dump().await, before);

        let back = database.migrated(&["--rollback"]).await;
        assert!(std::path::Path::new(back["backup"].as_str().unwrap()).is_file(), "{back}");
        assert_eq!(database.dump().await, before);
        // And from there again.
        let again = database.migrated(&[]).await;
        assert_eq!(again["legacy"], report["legacy"]);
    }
    let none = Database::new("CREATE TABLE customers (x TEXT)").await;
    for args in [&["--rollback"][..], &["--drop-legacy"], &[], &["--dry-run"]] {
        let output = none.migrate(args).await;
        assert_eq!(output.status.code(), Some(10), "{args:?}: {}", stderr(&output));
    }
    assert_eq!(none.dump().await.len(), 1);
}

#[tokio::test]
async fn secrets_are_sealed_and_the_old_ones_can_be_dropped_for_good() {
    let database = Database::new(TASKS).await;
    rows::good(&database, "http://127.0.0.1:1", "http://127.0.0.1:2").await;
    rows::credentials(&database).await;
    let text = database.migrate(&["--format", "table"]).await;
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(
        text.contains("--drop-legacy") && text.contains("--rollback") && !text.contains(CANARY),
        "{text}"
    );

    let old =
        [CANARY.to_owned(), encoded(&api_key("X-API-Key").to_string()), encoded(&format!("{CANARY}-access"))];
    for (table, lines) in database.dump().await {
        if !table.contains("legacy_") {
            let holds = |text: &String| lines.iter().any(|line| line.contains(text.as_str()));
            assert!(!old.iter().any(holds), "{table} holds a secret");
        }
    }
    let held = |old: &str| {
        let is_in = |bytes: &Vec<u8>| bytes.windows(old.len()).any(|window| window == old.as_bytes());
        files(database.home.path()).iter().filter(|(_, bytes)| is_in(bytes)).count()
    };
    assert_eq!(held(&old[1]), 2, "the database and its copy");
    let dropped = database.migrated(&["--drop-legacy"]).await;
    assert_eq!(dropped["dropped"].as_array().unwrap().len(), 5, "{dropped}");
    assert_eq!(old.each_ref().map(|old| held(old)), [1, 1, 1], "the copy alone");
    let rest = database.dump().await;
    assert!(rest.keys().all(|name| !name.contains("legacy")), "{:?}", rest.keys());
    let openact = database.openact().await;
    assert!(openact.list_actions(&Tenant::default(), None, None).await.unwrap().len() > 20);
    openact.close().await.unwrap();
    let late = database.migrate(&["--rollback"]).await;
    assert_eq!(late.status.code(), Some(4), "{}", stderr(&late));
}

#[tokio::test]
async fn the_quick_start_of_the_earlier_openact() {
    let database = Database::new(TASKS).await;
    let parameters =
        json!({"api_key_auth_parameters": {"api_key_name": "X-API-Key", "api_key_value": "demo"}});
    database.insert("connections", connection("qs", "api_key", parameters, json!({}))).await;
    database.insert("tasks", task("qs", "qs", "GET", "https://postman-echo.com/get", json!({}))).await;
    let report = database.migrated(&[]).await;
    let effects: Vec<&Value> = findings(&report).iter().map(|finding| &finding["effect"]).collect();
    assert!(effects.iter().all(|effect| **effect == "note"), "{:#}", report["legacy"]);
    let openact = database.openact().await;
    let connections = openact.list_connections(&Tenant::default(), None).await.unwrap();
    assert_eq!(connections[0].trn.to_string(), "trn:openact:default:connection/http/qs@v1");
    assert_eq!(connections[0].config["base_url"], "https://postman-echo.com");
    assert_eq!(connections[0].config["retry"], "none");
    assert_eq!(connections[0].created_at.to_string(), "2025-01-02T03:04:05Z");
    let actions = openact.list_actions(&Tenant::default(), None, None).await.unwrap();
    assert_eq!(actions[0].trn.to_string(), "trn:openact:default:action/http/qs@v1");
    assert_eq!(actions[0].connection, connections[0].trn);
    assert_eq!(actions[0].config, json!({"method": "GET", "path": "/get"}).as_object().unwrap().clone());
    openact.close().await.unwrap();
}

#[tokio::test]
async fn the_commands_of_the_guide() {
    let database = Database::new(TASKS).await;
    let page = include_str!("../../docs/migrating.md");
    let (_, block) = page.split_once("```console\n").unwrap();
    let commands: Vec<&str> = block.split("```").next().unwrap().lines().collect();
    assert!(commands.len() >= 5);
    for command in commands {
        let args = command.strip_prefix("openact migrate --db old.db").unwrap();
        let args: Vec<&str> = args.split_whitespace().collect();
        let output = database.migrate(&args).await;
        assert_eq!(output.status.code(), Some(0), "{command}: {}", stderr(&output));
    }
}

#[tokio::test]
async fn text_that_looks_like_a_reference_is_text_and_an_object_is_not_carried() {
    let one = upstream().await;
    let database = Database::new(TASKS).await;
    let key =
        |value: &str| json!({"api_key_auth_parameters": {"api_key_name": "X-Key", "api_key_value": value}});
    let text = "vault://secret/app#/token";
    for (id, value, more) in [
        ("vault", text, json!({})),
        ("torn", "VAULT://${HOME}", json!({"default_headers_json": [{"key": "X-V", "value": text}]})),
        ("file", "k", json!({"network_config_json": {"tls": {"custom_ca_pem": {"$file": "/etc/hostname"}}}})),
        (
            "proxy",
            "k",
            json!({"network_config_json": {"proxy_url": "http://u:vault%3A%2F%2Fsecret%2Fapp@127.0.0.1:1"}}),
        ),
    ] {
        database.insert("connections", connection(id, "api_key", key(value), more)).await;
        database.insert("tasks", task(id, id, "GET", &format!("{}/{id}", one.url()), json!({}))).await;
    }
    let report = database.migrated(&[]).await;
    for id in ["file", "proxy"] {
        for kind in ["connection", "task"] {
            let lost = columns(&report, &format!("{kind}/{id}"), "row_not_carried");
            assert_eq!(lost.len(), 1, "{kind}/{id}: {:#?}", findings(&report));
        }
    }
    assert!(columns(&report, "task/torn", "row_not_carried").is_empty(), "{:#?}", findings(&report));
    let openact = database.openact().await;
    for (action, headers) in
        [("vault", json!({"x-key": text})), ("torn", json!({"x-key": "VAULT://${HOME}", "x-v": text}))]
    {
        let Execution { result, .. } = openact.execute(request("default", action, json!({}))).await;
        result.unwrap_or_else(|error| panic!("{action}: {error:?}"));
        assert_eq!(seen(one.received().last().unwrap())["headers"], headers);
    }
    openact.close().await.unwrap();
}

#[tokio::test]
async fn references_in_the_later_schema_are_not_carried_and_data_is() {
    let one = upstream().await;
    let database = Database::new(ACTIONS).await;
    let row = |kind: &str, name: &str, config: Value| {
        json!({"trn": format!("trn:openact:default:{kind}/http/{name}@v1"), "connector": "http", "name": name,
            "config_json": config})
    };
    for (name, token) in [
        ("env", json!({"$env": "HOME"})),
        ("file", json!({"$file": "/etc/hostname"})),
        ("text", json!("vault://secret/app#/token")),
    ] {
        let authorization = json!({"type": "bearer", "token": token});
        let config = json!({"base_url": one.url(), "authorization": authorization});
        database.insert("connections", row("connection", name, config)).await;
        let mut action = row(
            "action",
            name,
            json!({"method": "POST", "path": format!("/{name}"), "body": {"a": {"$env": "HOME"}, "b": "vault://a/b"}}),
        );
        action["connection_trn"] = format!("trn:openact:default:connection/http/{name}@v1").into();
        database.insert("actions", action).await;
    }
    let report = database.migrated(&[]).await;
    for name in ["env", "file"] {
        let lost = columns(&report, &format!("connection/http/{name}@v1"), "row_not_carried");
        assert_eq!(lost, [Some("config_json, authorization")].into(), "{:#?}", findings(&report));
        assert_eq!(columns(&report, &format!("action/http/{name}@v1"), "row_not_carried"), [None].into());
    }
    let openact = database.openact().await;
    assert_eq!(openact.list_connections(&Tenant::default(), None).await.unwrap().len(), 1);
    let Execution { result, .. } = openact.execute(request("default", "http/text", json!({}))).await;
    result.unwrap();
    let sent = seen(one.received().last().unwrap());
    assert_eq!(sent["headers"]["authorization"], "Bearer vault://secret/app#/token");
    assert_eq!(sent["body"], json!({"a": {"$env": "HOME"}, "b": "vault://a/b"}));
    openact.close().await.unwrap();
}

/// Rows of the schema of connections and actions.
async fn later(database: &Database, one: &str) {
    let connection = |name: &str, config: Value| {
        json!({"trn": format!("trn:openact:default:connection/http/{name}@v1"), "connector": "http", "name": name,
            "config_json": config})
    };
    let key = json!({"api_key_auth_parameters": {"api_key_name": "api_key", "api_key_value": format!("{CANARY}-key")}});
    for row in [
        connection(
            "plain",
            json!({"base_url": one, "authorization": "api_key", "auth_parameters": key,
            "auth_ref": null, "kind": "http", "invocation_http_parameters": {"header_parameters":
                [{"key": "X-D", "value": "{{d}}"}], "query_string_parameters": [], "body_parameters": []}}),
        ),
        connection("deep", json!({"base_url": format!("{one}/v1"), "authorization": "none"})),
        connection(
            "stored",
            json!({"base_url": one, "authorization": "oauth2_authorization_code",
            "auth_ref": "trn:openact:default:auth/github-alice", "auth_parameters": {"oauth_parameters":
                {"client_id": "me", "client_secret": CANARY, "token_url": "https://id.example.com/token"}}}),
        ),
        connection("wrong", json!({"base_url": one, "no_such_field": 1})),
        json!({"trn": "trn:openact:default:connection/bigtable/rows@v1", "connector": "bigtable", "name": "rows",
            "config_json": {"project_id": "p"}}),
        json!({"trn": "trn:openact:default:connection/http/torn@v1", "connector": "http", "name": "torn",
            "config_json": "{"}),
    ] {
        database.insert("connections", row).await;
    }
    let action = |name: &str, over: &str, config: Value, more: Value| {
        let mut row = json!({"trn": format!("trn:openact:default:action/http/{name}@v1"), "connector": "http",
            "name": name, "connection_trn": format!("trn:openact:default:connection/http/{over}@v1"),
            "config_json": config});
        row.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        row
    };
    let tool = json!({"mcp_enabled": 1, "version": 3,
        "mcp_overrides_json": {"tool_name": "ask", "description": null, "tags": ["a"], "requires_auth": false}});
    for row in [
        action(
            "ask",
            "plain",
            json!({"method": "POST", "path": "/ask", "kind": "http", "headers": {"X-L": ["1", "2"]},
            "query_params": {"q": ["${HOME}"]}, "body": {"type": "json", "data": {"t": "{{t}}"}},
            "input_schema": {"type": "object"}}),
            tool,
        ),
        action("abs", "deep", json!({"method": "GET", "path": "/abs"}), json!({})),
        action("rel", "deep", json!({"method": "GET", "path": "rel?x=1"}), json!({})),
        action("template", "deep", json!({"method": "GET", "path": "/users/{id}"}), json!({})),
        action("me", "stored", json!({"method": "GET", "path": "/me"}), json!({})),
        action("wrongly", "wrong", json!({"method": "GET", "path": "/x"}), json!({})),
        action("misspelt", "plain", json!({"metod": "GET", "path": "/x"}), json!({})),
        action("orphan", "gone", json!({"method": "GET", "path": "/x"}), json!({})),
        action("torn", "torn", json!({"method": "GET", "path": "/x"}), json!({})),
    ] {
        database.insert("actions", row).await;
    }
    let row = json!({"run_id": "run-1", "paused_state": "s", "context_json": {"client_secret": CANARY}});
    database.insert("run_checkpoints", row).await;
}

#[tokio::test]
async fn the_later_schema_is_carried_too() {
    let one = upstream().await;
    let database = Database::new(ACTIONS).await;
    later(&database, &one.url()).await;
    rows::credentials(&database).await;
    let plain = json!({"trn": "trn:openact:default:auth/gitlab/ann", "tenant": "default", "provider": "gitlab",
        "user_id": "ann", "access_token_encrypted": CANARY, "access_token_nonce": ""});
    database.insert("auth_connections", plain).await;
    let report = database.migrated(&[]).await;
    for (trn, column) in [
        ("http/wrong@v1", Some("config_json, no_such_field")),
        ("http/misspelt@v1", Some("config_json, metod")),
        ("http/torn@v1", Some("config_json")),
        ("action/http/torn@v1", Some("connection_trn")),
        ("action/http/orphan@v1", Some("connection_trn")),
        ("action/http/wrongly@v1", None),
        ("bigtable/rows@v1", None),
        ("run-1", None),
    ] {
        assert!(
            columns(&report, trn, "row_not_carried").contains(&column),
            "{trn}: {:#?}",
            findings(&report)
        );
    }
    assert!(columns(&report, "http/template@v1", "changed").contains(&Some("config_json")));
    assert!(columns(&report, "http/ask@v1", "field_not_carried").contains(&Some("config_json")));

    let openact = database.openact().await;
    let none = Value::Null;
    for (action, input, path, query, headers, body) in [
        (
            "http/ask",
            json!({}),
            "/ask",
            json!(["api_key", "q=${HOME}"]),
            json!({"x-d": "{{d}}", "x-l": "1", "content-type": "application/json"}),
            json!({"t": "{{t}}"}),
        ),
        ("http/abs", json!({}), "/abs", json!([]), json!({}), none.clone()),
        ("http/rel", json!({}), "/v1/rel", json!(["x=1"]), json!({}), none.clone()),
        ("http/template", json!({"id": 7}), "/users/7", json!([]), json!({}), none.clone()),
        (
            "http/me",
            json!({}),
            "/me",
            json!([]),
            json!({"authorization": format!("Bearer {CANARY}-access")}),
            none,
        ),
    ] {
        let Execution { result, .. } = openact.execute(request("default", action, input)).await;
        result.unwrap_or_else(|error| panic!("{action}: {error:?}"));
        let mut sent = seen(one.received().last().unwrap());
        sent.as_object_mut().unwrap().shift_remove("method");
        let (mut query, mut headers) = (query, headers);
        if query[0] == "api_key" {
            // "key" is in the name, so it was a header.
            query.as_array_mut().unwrap().remove(0);
            headers["api_key"] = format!("{CANARY}-key").into();
        }
        assert_eq!(sent, json!({"path": path, "query": query, "headers": headers, "body": body}), "{action}");
    }
    let ask = openact.list_actions(&Tenant::default(), None, None).await.unwrap();
    let ask = ask.iter().find(|action| action.trn.name.as_str() == "ask").unwrap();
    assert!(ask.mcp_enabled);
    assert_eq!(ask.mcp_overrides, Some(json!({"tool_name": "ask", "tags": ["a"], "requires_auth": false})));
    openact.close().await.unwrap();
}
