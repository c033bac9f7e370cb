//! The embedded API: from a file or a database, by every kind of reference, to the same result.

use openact::{
    ChangeStatus, ErrorCode, Format, ImportOptions, MasterKey, OpenAct, Plan, RunRecord, RunWrites,
    SecretsMode, Tenant,
};
use serde_json::{Value, json};
use sqlx::Connection as _;
use support::{
    guests::guest,
    upstream::{Answer, Upstream},
};

use crate::setup::{config, failure, http, memory, request, value};

/// The example of the first seed.
const CONFIG: &str = r#"
connectors:
  http:
    connections:
      github-api:
        base_url: "${BASE_URL}"
        timeout_ms: 30000
        auth: { type: bearer, token: "${GITHUB_TOKEN}" }
    actions:
      get-user:
        connection: github-api
        method: GET
        path: /user
        headers: { Accept: application/vnd.github.v3+json }
"#;

/// base64 of 32 bytes.
const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

/// An OpenAct over the database in `folder`.
async fn open(folder: &std::path::Path, env: &[(&str, &str)]) -> OpenAct {
    let key = MasterKey::from_base64(KEY).unwrap();
    support::builder(folder, env).instances_max(4).master_key(key).build().await.unwrap()
}

async fn import(openact: &OpenAct, options: &ImportOptions) -> Plan {
    openact.import_text("seed.yaml", CONFIG, Format::Yaml, options).await.unwrap()
}

fn lines(plan: &Plan) -> Vec<String> {
    plan.changes.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn the_seeds_example_runs_with_its_credential() {
    let upstream = Upstream::json(r#"{"login": "octocat"}"#).await;
    let folder = tempfile::tempdir().unwrap();
    let openact =
        support::builder(folder.path(), &[("BASE_URL", &upstream.url()), ("GITHUB_TOKEN", "canary-token")])
            .master_key(MasterKey::ephemeral().unwrap())
            .config_text(CONFIG, Format::Yaml)
            .build()
            .await
            .unwrap();
    let outcome = openact.run("http/get-user", json!({})).await.unwrap();
    assert_eq!(outcome.result.value().unwrap()["body"], json!({"login": "octocat"}));
    assert_eq!(outcome.result.value().unwrap()["status_code"], 200);
    let received = upstream.received();
    assert_eq!(received[0].header("authorization"), ["Bearer canary-token"]);
    assert_eq!(received[0].header("accept"), ["application/vnd.github.v3+json"]);
    assert_eq!(received[0].target, "/user");
    let missing = openact.run("http/get-usr", json!({})).await.unwrap_err();
    assert_eq!(missing.code, ErrorCode::NotFound);
    assert!(missing.hint.as_deref().unwrap().contains("http/get-user"), "{missing:?}");
    openact.close().await.unwrap();
}

#[tokio::test]
async fn file_database_trn_and_short_references_give_equal_results() {
    let upstream = Upstream::json(r#"{"login":  "octocat", "id": 1.0}"#).await;
    let env = [("BASE_URL", &*upstream.url()), ("GITHUB_TOKEN", "canary-token")];
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("connectors.yaml");
    std::fs::write(&file, CONFIG).unwrap();
    let imported = {
        let openact = open(folder.path(), &env).await;
        import(&openact, &ImportOptions::default()).await;
        openact.close().await.unwrap();
        // Another process later, which has no variable set.
        open(folder.path(), &[]).await
    };
    let from_file = memory(&env).config_file(&file).build().await.unwrap();
    let from_text = memory(&env).config_text(CONFIG, Format::Yaml).build().await.unwrap();
    let mut results = Vec::new();
    for openact in [&from_file, &from_text, &imported] {
        for reference in [
            "http/get-user",
            "http/get-user@v1",
            "http/get-user@latest",
            "get-user",
            "get-user@v1",
            "http.get-user",
            "trn:openact:default:action/http/get-user@v1",
        ] {
            let outcome = openact.run(reference, json!({})).await.unwrap();
            assert_eq!(outcome.run.action.to_string(), "trn:openact:default:action/http/get-user@v1");
            results.push(outcome.result.to_string());
        }
    }
    assert_eq!(results.len(), 21);
    for result in &results {
        assert_eq!(result, &results[0]);
    }
    let parsed: Value = serde_json::from_str(&results[0]).unwrap();
    assert_eq!(parsed["status_code"], 200);
    let received = upstream.received();
    assert_eq!(received.len(), 21);
    for one in received {
        assert_eq!(one.header("authorization"), ["Bearer canary-token"]);
        assert_eq!(one.target, "/user");
    }
    imported.close().await.unwrap();
}

#[tokio::test]
async fn a_caller_may_set_what_the_connector_declares_and_nothing_else() {
    let upstream = Upstream::json("{}").await;
    let action = json!({
        "method": "POST", "path": "/fixed", "body": {"by": "action", "kept": 1},
        "headers": {"X-A": "action", "X-B": "action"}, "query": {"a": "action", "b": "action"},
    });
    let openact = http(json!({"base_url": upstream.url()}), json!({"post": action})).await;
    let input = json!({
        "method": "DELETE", "path": "/evil", "follow_redirects": true,
        "body": {"by": "caller"}, "headers": {"x-a": "caller", "X-B": null}, "query": {"a": "caller", "b": null},
    });
    value(&openact, "http/post", input).await;
    value(&openact, "http/post", json!({})).await;
    let received = upstream.received();
    assert_eq!((received[0].method.as_str(), received[0].target.as_str()), ("POST", "/fixed?a=caller"));
    assert_eq!((received[0].header("x-a"), received[0].header("x-b").len()), (vec!["caller"], 0));
    assert_eq!(serde_json::from_slice::<Value>(&received[0].body).unwrap(), json!({"by": "caller"}));
    // What one caller set is not there for the next.
    assert_eq!(received[1].target, "/fixed?a=action&b=action");
    assert_eq!(received[1].header("x-a"), ["action"]);
    assert_eq!(serde_json::from_slice::<Value>(&received[1].body).unwrap()["by"], "action");
}

#[tokio::test]
async fn connection_defaults_are_under_the_action_and_the_input() {
    let upstream = Upstream::json("{}").await;
    let connection = json!({
        "base_url": upstream.url(),
        "defaults": {
            "headers": {"X-One": "connection", "X-Two": "connection", "X-Three": "connection"},
            "query": {"from": "connection"},
        },
    });
    let actions = json!({"get": {"headers": {"x-two": "action", "x-three": "action"}}, "none": {"query": {"from": null}}});
    let openact = http(connection, actions).await;
    value(&openact, "http/get", json!({"headers": {"X-THREE": "caller"}})).await;
    value(&openact, "http/none", json!({})).await;
    let received = upstream.received();
    let seen = ["x-one", "x-two", "x-three"].map(|name| received[0].header(name).concat());
    assert_eq!(seen, ["connection", "action", "caller"]);
    assert_eq!((received[0].target.as_str(), received[1].target.as_str()), ("/?from=connection", "/"));
}

#[tokio::test]
async fn a_dry_run_says_what_it_would_do_and_does_not() {
    let upstream = Upstream::json("{}").await;
    let env = [("BASE_URL", &*upstream.url()), ("GITHUB_TOKEN", "canary-token")];
    let openact = memory(&env).config_text(CONFIG, Format::Yaml).build().await.unwrap();
    let mut dry = request("http/get-user", json!({"query": {"page": 2}}));
    dry.dry_run = true;
    let execution = openact.execute(dry).await;
    let result = execution.result.unwrap();
    assert!(!result.as_str().contains("canary-token"));
    let result = result.value().unwrap();
    assert_eq!(result["dry_run"], true);
    assert_eq!(result["request"]["url"], upstream.url() + "/user?page=2");
    assert_eq!(result["request"]["headers"]["accept"], "application/vnd.github.v3+json");
    assert_eq!(upstream.connections(), 0);
    let run = execution.run.unwrap();
    assert!(run.dry_run && openact.get_run(&Tenant::default(), run.id).await.unwrap().dry_run);
}

#[tokio::test]
async fn a_name_of_two_connectors_is_a_conflict_that_lists_both() {
    let upstream = Upstream::json("{}").await;
    let text = json!({"connectors": {
        "http": {"connections": {"c": {"base_url": upstream.url()}}, "actions": {"same": {"connection": "c"}}},
        "plain": {"connections": {"c": {}}, "actions": {"same": {"connection": "c"}, "only": {"connection": "c"}}},
    }});
    let openact = memory(&[])
        .connector_bytes(guest("plain"))
        .config_text(text.to_string(), Format::Json)
        .build()
        .await
        .unwrap();
    let error = openact.run("same", json!({"name": "x"})).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Conflict, "{error:?}");
    let hint = error.hint.clone().unwrap();
    assert!(hint.contains("http/same") && hint.contains("plain/same"), "{hint}");
    assert_eq!(value(&openact, "http/same", json!({})).await["status_code"], 200);
    assert_eq!(value(&openact, "plain.same", json!({"name": "x"})).await["greeting"], "hello, x");
    assert_eq!(value(&openact, "only", json!({"name": "y"})).await["greeting"], "hello, y");
}

#[tokio::test]
async fn an_unchanged_import_changes_nothing_and_a_new_secret_makes_a_version() {
    let upstream = Upstream::json("{}").await;
    let folder = tempfile::tempdir().unwrap();
    let url = upstream.url();
    let env = |token| [("BASE_URL", &*url), ("GITHUB_TOKEN", token)];
    let first = open(folder.path(), &env("old-token")).await;
    let options = ImportOptions::default();
    assert_eq!(
        lines(&import(&first, &options).await),
        ["+ connection http/github-api@v1", "+ action http/get-user@v1"]
    );
    let again = import(&first, &options).await;
    assert!(again.changes.iter().all(|change| change.status == ChangeStatus::Unchanged), "{again:?}");
    assert_eq!(lines(&again), ["= connection http/github-api@v1", "= action http/get-user@v1"]);
    first.close().await.unwrap();

    let second = open(folder.path(), &env("new-token")).await;
    let expected =
        ["~ connection http/github-api@v2 (authorization)", "~ action http/get-user@v2 (connection)"];
    let planned = import(&second, &ImportOptions { dry_run: true, ..options.clone() }).await;
    assert_eq!(lines(&planned), expected);
    assert_eq!(
        second.list_actions(&Tenant::default(), None, None).await.unwrap()[0].trn.version.to_string(),
        "1"
    );
    assert_eq!(lines(&import(&second, &options).await), expected);
    for (reference, token) in [
        ("http/get-user@v1", "Bearer old-token"),
        ("http/get-user@v2", "Bearer new-token"),
        ("get-user", "Bearer new-token"),
    ] {
        value(&second, reference, json!({})).await;
        assert_eq!(upstream.received().pop().unwrap().header("authorization"), [token], "{reference}");
    }
    second.close().await.unwrap();
}

#[tokio::test]
async fn an_import_is_seen_by_the_next_call_of_the_same_reference() {
    let upstream = Upstream::json("{}").await;
    let env = [("BASE_URL", &*upstream.url()), ("GITHUB_TOKEN", "t")];
    let openact = memory(&env).config_text(CONFIG, Format::Yaml).build().await.unwrap();
    value(&openact, "get-user", json!({})).await;
    let changed = CONFIG.replace("path: /user", "path: /changed");
    openact.import_text("x", &changed, Format::Yaml, &ImportOptions::default()).await.unwrap();
    value(&openact, "get-user", json!({})).await;
    value(&openact, "get-user@v1", json!({})).await;
    let targets: Vec<_> = upstream.received().into_iter().map(|received| received.target).collect();
    assert_eq!(targets, ["/user", "/changed", "/user"]);
}

#[tokio::test]
async fn an_import_is_all_or_nothing() {
    let openact = memory(&[("BASE_URL", "http://x.invalid"), ("GITHUB_TOKEN", "t")]).build().await.unwrap();
    let broken = CONFIG.to_owned() + "      broken: { connection: nowhere }\n";
    let error = openact
        .import_text("broken.yaml", &broken, Format::Yaml, &ImportOptions::default())
        .await
        .unwrap_err();
    assert_eq!(error.code, ErrorCode::InvalidConfig);
    assert!(error.message.contains("nowhere"), "{}", error.message);
    assert!(openact.list_actions(&Tenant::default(), None, None).await.unwrap().is_empty());
    assert!(openact.list_connections(&Tenant::default(), None).await.unwrap().is_empty());
}

#[tokio::test]
async fn in_reference_mode_a_secret_is_read_at_every_call() {
    let upstream = Upstream::json("{}").await;
    let token = std::sync::Arc::new(std::sync::Mutex::new(Some("first-token".to_owned())));
    let (url, shared) = (upstream.url(), token.clone());
    let openact = memory(&[])
        .env(move |name| match name {
            "BASE_URL" => Some(url.clone()),
            "GITHUB_TOKEN" => shared.lock().unwrap().clone(),
            _ => None,
        })
        .build()
        .await
        .unwrap();
    import(&openact, &ImportOptions { secrets: SecretsMode::Reference, ..ImportOptions::default() }).await;
    let tenant = Tenant::default();
    let stored = openact.list_connections(&tenant, None).await.unwrap().remove(0);
    assert_eq!(stored.config["authorization"]["token"], json!({"$env": "GITHUB_TOKEN"}));
    assert!(openact.list_secrets(&tenant).await.unwrap().is_empty());
    value(&openact, "get-user", json!({})).await;
    *token.lock().unwrap() = Some("second-token".to_owned());
    value(&openact, "get-user", json!({})).await;
    *token.lock().unwrap() = None;
    let (error, _) = failure(&openact, "get-user", json!({})).await;
    assert_eq!(error.code, ErrorCode::AuthRequired, "{error:?}");
    let tokens: Vec<_> =
        upstream.received().iter().map(|received| received.header("authorization").concat()).collect();
    assert_eq!(tokens, ["Bearer first-token", "Bearer second-token"]);
}

#[tokio::test]
async fn m8_another_tenant_sees_nothing() {
    let upstream = Upstream::json("{}").await;
    let env = [("BASE_URL", &*upstream.url()), ("GITHUB_TOKEN", "t")];
    let openact = memory(&env).config_text(CONFIG, Format::Yaml).build().await.unwrap();
    let other: Tenant = "other".parse().unwrap();
    let own_run = openact.run("get-user", json!({})).await.unwrap().run.id;
    for reference in [
        "http/get-user",
        "http/get-user@v1",
        "get-user",
        "http.get-user",
        "trn:openact:default:action/http/get-user@v1",
        "trn:openact:other:action/http/get-user@v1",
    ] {
        let mut foreign = request(reference, json!({}));
        foreign.tenant = other.clone();
        let execution = openact.execute(foreign).await;
        let error = execution.result.unwrap_err();
        assert_eq!(error.code, ErrorCode::NotFound, "{reference}");
        assert!(execution.run.is_none());
        let told = error.to_json().to_string();
        assert!(!told.contains("did you mean"), "{reference}: {told}");
    }
    let error = openact.run("trn:openact:other:action/http/get-user@v1", json!({})).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::NotFound);
    assert!(openact.list_actions(&other, None, None).await.unwrap().is_empty());
    assert!(openact.list_connections(&other, None).await.unwrap().is_empty());
    assert!(openact.list_secrets(&other).await.unwrap().is_empty());
    assert!(openact.list_runs(&other, 10, &Default::default()).await.unwrap().is_empty());
    assert_eq!(openact.get_run(&other, own_run).await.unwrap_err().code, ErrorCode::NotFound);
    assert_eq!(openact.show(&other, "http/github-api").await.unwrap_err().code, ErrorCode::NotFound);
    assert!(!openact.export(&other, &[], Format::Yaml).await.unwrap().contains("github"));
    assert_eq!(upstream.received().len(), 1);
}

#[tokio::test]
async fn the_same_name_of_two_tenants_is_two_actions() {
    let upstream = Upstream::json("{}").await;
    let openact = memory(&[("BASE_URL", &upstream.url()), ("GITHUB_TOKEN", "t")]).build().await.unwrap();
    let tenants: [Tenant; 2] = ["one".parse().unwrap(), "two".parse().unwrap()];
    for tenant in &tenants {
        let options = ImportOptions { tenant: tenant.clone(), ..ImportOptions::default() };
        let text = CONFIG.replace("path: /user", &format!("path: /{tenant}"));
        openact.import_text("x", &text, Format::Yaml, &options).await.unwrap();
    }
    for tenant in &tenants {
        let mut own = request("get-user", json!({}));
        own.tenant = tenant.clone();
        openact.execute(own).await.result.unwrap();
        assert_eq!(upstream.received().pop().unwrap().target, format!("/{tenant}"));
    }
}

#[tokio::test]
async fn input_that_does_not_fit_is_refused_before_any_dial() {
    let upstream = Upstream::json("{}").await;
    let schema =
        json!({"type": "object", "required": ["login"], "properties": {"login": {"type": "string"}}});
    let action = json!({"path": "/users/{login}", "input_schema": schema});
    let openact =
        http(json!({"base_url": upstream.url()}), json!({"get": action, "open": {"path": "/{id}"}})).await;
    for (reference, input, named) in [
        ("http/get", json!({}), "login"),
        ("http/get", json!({"login": 5}), "login"),
        ("http/get", json!([]), "input"),
        ("http/get", Value::Null, "login"),
        ("http/get", json!({"login": "x", "headers": 5}), "headers"),
        ("http/open", json!({}), "id"),
    ] {
        let (error, _) = failure(&openact, reference, input.clone()).await;
        assert_eq!(error.code, ErrorCode::InvalidInput, "{input}: {error:?}");
        assert!(error.message.contains(named), "{input}: {}", error.message);
    }
    assert_eq!(upstream.connections(), 0);
    value(&openact, "http/get", json!({"login": "a b/c"})).await;
    assert_eq!(upstream.received()[0].target, "/users/a%20b%2Fc");
}

#[tokio::test]
async fn an_answer_of_4xx_or_5xx_is_a_result() {
    let upstream = Upstream::start(|received| {
        Answer::full(received.target[1..].parse().unwrap(), &[("content-type", "text/plain")], "said so")
    })
    .await;
    let openact = http(json!({"base_url": upstream.url()}), json!({"get": {"path": "/{status}"}})).await;
    for status in [400, 401, 404, 429, 500, 503] {
        let result = value(&openact, "http/get", json!({"status": status})).await;
        assert_eq!((&result["status_code"], &result["body"]), (&json!(status), &json!("said so")));
    }
}

/// An OpenAct over the database in `folder` whose action waits for `upstream`.
async fn waiting(folder: &std::path::Path, upstream: &Upstream, writes: RunWrites) -> OpenAct {
    let text = config("http", json!({"base_url": upstream.url()}), json!({"get": {"path": "/x"}}));
    let builder = support::builder(folder, &[]).instances_max(4).master_key(MasterKey::ephemeral().unwrap());
    builder.run_writes(writes).config_text(text, Format::Json).build().await.unwrap()
}

/// What is in the database of `openact` when it is closed.
async fn recorded(folder: &std::path::Path, openact: OpenAct) -> Vec<RunRecord> {
    openact.close().await.unwrap();
    let reopened = support::builder(folder, &[]).instances_max(4).build().await.unwrap();
    reopened.list_runs(&Tenant::default(), 10, &Default::default()).await.unwrap()
}

#[tokio::test]
async fn a_call_that_is_dropped_leaves_a_record_of_what_it_did() {
    for writes in [RunWrites::Grouped, RunWrites::BeforeAnswer] {
        let upstream = Upstream::start(|_| Answer::Held("{}".into())).await;
        let folder = tempfile::tempdir().unwrap();
        let openact = waiting(folder.path(), &upstream, writes).await;
        let calling = openact.clone();
        let call = tokio::spawn(async move { calling.run("http/get", json!({})).await });
        upstream.wait_for_held(1).await;
        call.abort();
        assert!(call.await.unwrap_err().is_cancelled());
        let going = openact.start(request("http/get", json!({})));
        upstream.wait_for_held(2).await;
        drop(going);
        // One that was never asked for has none.
        drop(openact.run("http/get", json!({})));
        let runs = recorded(folder.path(), openact).await;
        assert_eq!(runs.len(), 2, "{writes:?}");
        for run in runs {
            assert_eq!(run.failure, Some((ErrorCode::Conflict, "the run was cancelled".into())));
            let [call] = &run.host_calls[..] else { panic!("{run:?}") };
            assert_eq!((&*call.function, &*call.outcome), ("http.send", "cancelled"));
            assert_eq!(call.target, format!("GET {}/x", upstream.url()));
        }
    }
}

#[tokio::test]
async fn a_call_that_is_dropped_while_it_is_recorded_is_recorded_as_it_ended() {
    let upstream = Upstream::start(|_| Answer::Held("{}".into())).await;
    let folder = tempfile::tempdir().unwrap();
    let openact = waiting(folder.path(), &upstream, RunWrites::BeforeAnswer).await;
    let calling = openact.clone();
    let call = tokio::spawn(async move { calling.run("http/get", json!({})).await });
    upstream.wait_for_held(1).await;
    let url = format!("sqlite://{}", folder.path().join("test.db").display());
    let mut holder = sqlx::SqliteConnection::connect(&url).await.unwrap();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut holder).await.unwrap();
    upstream.release();
    let counted = |outcome: &str| {
        let name =
            format!("openact_runs_total{{connector=\"http\",outcome=\"{outcome}\",door=\"embedded\"}}");
        support::openmetrics::parse(&openact.metrics()).get(&name).copied().unwrap_or_default()
    };
    while counted("ok") == 0.0 {
        tokio::task::yield_now().await;
    }
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled(), "the database was not locked");
    sqlx::query("COMMIT").execute(&mut holder).await.unwrap();
    assert_eq!((counted("ok"), counted("conflict")), (1.0, 0.0));
    let runs = recorded(folder.path(), openact).await;
    assert!(matches!(&runs[..], [RunRecord { failure: None, .. }]), "{runs:?}");
}
