//! Who may use the doors, and what they come back for: tokens, runs that nobody waits for, idempotency keys, records written
//! one at a time.
//!
//! Invariant: what is said to be done once is counted at the other system.

use std::sync::Arc;

use openact::{
    Author, Door, ErrorCode, Execution, Expected, ExposeSecret, Format, Governance, NewToken, OpenAct,
    Request, RunEvent, RunEventKind, RunState, Tenant, TokenScope,
};
use serde_json::{Value, json};
use support::{
    command::{stderr, stdout},
    upstream::{Answer, Upstream},
};

use crate::{
    import::Home,
    setup::{config, http, request},
};

fn other() -> Tenant {
    "other".parse().unwrap()
}

/// What a command and this process share: a database and its key.
async fn beside(home: &Home) -> OpenAct {
    support::builder(home.path(), &[])
        .store(format!("sqlite://{}", home.path().join("data.db").display()))
        .key_file(home.path().join("config/master.key"))
        .build()
        .await
        .unwrap()
}

fn keyed(action: &str, input: Value, key: &str) -> Request {
    Request { idempotency_key: Some(key.into()), ..request(action, input) }
}

/// An upstream that holds every request until it is let go, and an action that asks it.
async fn held(upstream: &Upstream) -> OpenAct {
    http(json!({"base_url": upstream.url()}), json!({"get": {"path": "/x"}, "other": {"path": "/y"}})).await
}

async fn holding() -> Upstream {
    Upstream::start(|_| Answer::Held(r#"{"done": true}"#.into())).await
}

fn body(execution: &Execution) -> Value {
    execution.result.as_ref().unwrap().value().unwrap()["body"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_printed_once_and_kept_as_a_hash() {
    let home = Home::new();
    let made = home.output(&[
        "token",
        "create",
        "ci",
        "--allow",
        "http.*",
        "--tenant",
        "a",
        "--tenant",
        "b",
        "--expires",
        "30d",
    ]);
    assert_eq!(made.status.code(), Some(0), "{}", stderr(&made));
    let text = stdout(&made);
    let text = text.trim();
    let [_, id, secret] = text.split('_').collect::<Vec<_>>()[..] else { panic!("{text}") };
    assert!(secret.len() == 64 && !stderr(&made).contains(secret), "{}", stderr(&made));
    assert!(stderr(&made).contains("not shown again"));
    // Not in any file, by any of the words.
    for entry in std::fs::read_dir(home.path()).unwrap() {
        let path = entry.unwrap().path();
        let bytes = if path.is_file() { std::fs::read(&path).unwrap() } else { continue };
        assert!(!bytes.windows(secret.len()).any(|part| part == secret.as_bytes()), "{}", path.display());
    }
    let listed = home.json(&["token", "list"]);
    assert_eq!((&listed[0]["name"], &listed[0]["id"]), (&json!("ci"), &json!(id)));
    assert_eq!((&listed[0]["tenants"], &listed[0]["manage"]), (&json!(["a", "b"]), &json!(false)));
    assert!(!listed.to_string().contains(secret));
    let log = home.json(&["audit", "list"]);
    assert_eq!(log[0]["operation"], "token.create");
    assert!(!log.to_string().contains(secret));

    // This process knows it, and within the time of a look at the database that it is gone.
    let openact = beside(&home).await;
    let caller = openact.authenticate(text).await.unwrap();
    assert!(caller.covers(&"b".parse().unwrap()) && !caller.covers(&Tenant::default()));
    let mut changes = openact.config_changes();
    changes.mark_unchanged();
    let revoked = home.output(&["token", "revoke", "ci"]);
    assert_eq!(revoked.status.code(), Some(0), "{}", stderr(&revoked));
    changes.changed().await.unwrap();
    assert_eq!(openact.authenticate(text).await.unwrap_err().code, ErrorCode::Unauthenticated);
    assert_eq!(home.output(&["token", "revoke", "ci"]).status.code(), Some(4));
    let verified = home.output(&["audit", "verify"]);
    assert_eq!(verified.status.code(), Some(0), "{}", stderr(&verified));
    openact.close().await.unwrap();
}

#[tokio::test]
async fn a4_a_token_that_was_put_past_the_log_is_named() {
    use sqlx::{Connection, SqliteConnection};
    let home = Home::new();
    let openact = beside(&home).await;
    let new = NewToken { name: "ci".into(), scope: TokenScope::default(), expires_at: None };
    let (info, _) = openact.create_token(new).await.unwrap();
    assert!(openact.verify_audit().await.unwrap().error().is_none());
    let path = home.path().join("data.db").display().to_string();
    let mut database = SqliteConnection::connect(&format!("sqlite://{path}")).await.unwrap();
    sqlx::query("UPDATE api_tokens SET scope_json = json_set(scope_json, '$.may_manage', json('true'))")
        .execute(&mut database)
        .await
        .unwrap();
    let report = openact.verify_audit().await.unwrap();
    assert_eq!(report.differ, [format!("token/{}", info.id)]);
    openact.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m7_what_a_caller_may_not_run_runs_by_no_way_and_is_not_named() {
    let upstream = Upstream::json("{}").await;
    let openact = http(json!({"base_url": upstream.url()}), json!({"get": {}, "delete-all": {}})).await;
    let governance = Arc::new(Governance { allow: vec![], deny: vec!["http.delete-all".parse().unwrap()] });
    let governed = |action: &str| Request { governance: governance.clone(), ..request(action, json!({})) };
    for action in ["delete-all", "http/delete-all", "trn:openact:default:action/http/delete-all@v1"] {
        let denied = openact.execute(governed(action)).await.result.unwrap_err();
        assert_eq!(denied.code, ErrorCode::Forbidden, "{action}");
        let keyed = Request { idempotency_key: Some("k".into()), ..governed(action) };
        assert_eq!(openact.execute(keyed).await.result.unwrap_err().code, ErrorCode::Forbidden);
        assert_eq!(openact.start_run(governed(action), false).await.unwrap_err().code, ErrorCode::Forbidden);
    }
    let near = openact.execute(governed("http/delete-al")).await.result.unwrap_err();
    assert_eq!(near.code, ErrorCode::NotFound);
    assert!(!near.to_json().to_string().contains("delete-all"), "{:?}", near.hint);
    openact.execute(governed("http/get")).await.result.unwrap();
    assert_eq!(upstream.received().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m8_a_run_goes_on_without_its_caller_and_is_its_tenants_alone() {
    let upstream = holding().await;
    let openact = held(&upstream).await;
    let tenant = Tenant::default();
    let id = openact.start_run(request("get", json!({})), false).await.unwrap();
    upstream.wait_for_held(1).await;
    let status = openact.run_status(&tenant, id).await.unwrap();
    assert_eq!((status.state, status.outcome.is_none()), (RunState::Running, true));
    for error in [
        openact.run_status(&other(), id).await.unwrap_err(),
        openact.cancel_run(&other(), id).await.unwrap_err(),
        openact.run_events(&other(), id, 0).await.err().unwrap(),
    ] {
        assert_eq!(error.code, ErrorCode::NotFound);
    }
    let mut events = openact.run_events(&tenant, id, 0).await.unwrap();
    upstream.release();
    let RunEvent { id: last, kind: RunEventKind::Result(result) } = events.next().await.unwrap() else {
        panic!("a result")
    };
    assert_eq!((last, &result.value().unwrap()["body"]), (1, &json!({"done": true})));
    assert!(events.next().await.is_none());
    openact.finish_runs().await;
    let status = openact.run_status(&tenant, id).await.unwrap();
    assert_eq!(status.state, RunState::Succeeded);
    assert_eq!(status.outcome.unwrap().unwrap().as_str(), result.as_str());
    let record = openact.get_run(&tenant, id).await.unwrap();
    assert!(record.failure.is_none() && record.host_calls.len() == 1);
    assert_eq!(openact.cancel_run(&tenant, id).await.unwrap_err().code, ErrorCode::Conflict);
    assert_eq!(openact.run_status(&other(), id).await.unwrap_err().code, ErrorCode::NotFound);
    // What is wrong with the name is said at once.
    assert_eq!(
        openact.start_run(request("nope", json!({})), false).await.unwrap_err().code,
        ErrorCode::NotFound
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_run_ends_and_leaves_a_record() {
    let upstream = holding().await;
    let openact = held(&upstream).await;
    let tenant = Tenant::default();
    let id = openact.start_run(keyed("get", json!({}), "k"), false).await.unwrap();
    upstream.wait_for_held(1).await;
    openact.cancel_run(&tenant, id).await.unwrap();
    openact.finish_runs().await;
    let status = openact.run_status(&tenant, id).await.unwrap();
    assert_eq!(status.state, RunState::Cancelled);
    assert_eq!(status.outcome.unwrap().unwrap_err().message, "the run was cancelled");
    assert!(openact.get_run(&tenant, id).await.unwrap().failure.is_some());
    // It may have done something: its key is used up.
    let again = openact.execute(keyed("get", json!({}), "k")).await;
    assert_eq!(again.result.unwrap_err().message, "the run was cancelled");
    assert_eq!(upstream.received().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_a_stream_are_taken_up_where_they_were_left() {
    let lines = |_: &_| Answer::full(200, &[("content-type", "application/x-ndjson")], "1\n2\n3\n");
    let upstream = Upstream::start(lines).await;
    let openact = http(json!({"base_url": upstream.url()}), json!({"get": {}})).await;
    let tenant = Tenant::default();
    let id = openact.start_run(request("get", json!({})), true).await.unwrap();
    for (after, items) in [(0, &["1", "2", "3"][..]), (2, &["3"]), (3, &[])] {
        let mut events = openact.run_events(&tenant, id, after).await.unwrap();
        for (index, item) in items.iter().enumerate() {
            let event = events.next().await.unwrap();
            assert_eq!(event.id, after + 1 + index as u64);
            assert!(matches!(event.kind, RunEventKind::Item(json) if json.as_str() == *item), "{item}");
        }
        let last = events.next().await.unwrap();
        assert!(last.id == 4 && matches!(last.kind, RunEventKind::Result(_)), "{last:?}");
        assert!(events.next().await.is_none());
    }
    assert!(
        openact.run_events(&tenant, id, 4).await.unwrap().next().await.is_none(),
        "nothing after the last"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a5_a_request_with_a_key_is_done_once() {
    let upstream = holding().await;
    let openact = held(&upstream).await;
    let first = {
        let openact = openact.clone();
        tokio::spawn(async move { openact.execute(keyed("get", json!({"a": 1, "b": 2}), "k")).await })
    };
    upstream.wait_for_held(1).await;
    let meanwhile = openact.execute(keyed("get", json!({"a": 1, "b": 2}), "k")).await.result.unwrap_err();
    assert_eq!(meanwhile.code, ErrorCode::Conflict, "{meanwhile:?}");
    let id = openact.start_run(keyed("get", json!({"b": 2, "a": 1}), "k"), false).await.unwrap();
    // Whoever asked goes away; the run does not.
    first.abort();
    let _ = first.await;
    upstream.release();
    openact.finish_runs().await;
    let again = openact.execute(keyed("http/get", json!({"b": 2, "a": 1}), "k")).await;
    assert_eq!(body(&again), json!({"done": true}));
    assert_eq!(again.run.unwrap().id, id);
    assert_eq!(upstream.received().len(), 1);

    let request = Request { dry_run: true, ..keyed("get", json!({"a": 1, "b": 2}), "k") };
    for request in [keyed("get", json!({"a": 1}), "k"), request] {
        let error = openact.execute(request).await.result.unwrap_err();
        assert_eq!(error.code, ErrorCode::IdempotencyMismatch, "{error:?}");
    }
    assert_eq!(upstream.received().len(), 1);
    // Of another action, and by another key, it is another request.
    openact.execute(keyed("other", json!({"a": 1, "b": 2}), "k")).await.result.unwrap();
    openact.execute(keyed("get", json!({"a": 1, "b": 2}), "l")).await.result.unwrap();
    assert_eq!(upstream.received().len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a5_a_key_is_its_tenants_and_its_request_survives_a_new_version() {
    let upstream = Upstream::json("{}").await;
    let openact = http(json!({"base_url": upstream.url()}), json!({"get": {}})).await;
    let text = config("http", json!({"base_url": upstream.url()}), json!({"get": {"query": {"a": "1"}}}));
    let others = openact::ImportOptions { tenant: other(), ..Default::default() };
    openact.import_text("other", &text, Format::Json, &others).await.unwrap();
    openact.execute(keyed("get", json!({}), "k")).await.result.unwrap();
    let theirs = Request { tenant: other(), ..keyed("get", json!({}), "k") };
    openact.execute(theirs).await.result.unwrap();
    assert_eq!(upstream.received().len(), 2);
    openact.import_text("mine", &text, Format::Json, &Default::default()).await.unwrap();
    let again = openact.execute(keyed("get", json!({}), "k")).await;
    assert_eq!(again.run.unwrap().action.version.get(), 1, "a retry is one, whatever was changed meanwhile");
    assert_eq!(upstream.received().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a5_an_error_is_given_again_and_what_did_nothing_may_be_tried_again() {
    let upstream = Upstream::start(|_| Answer::full(500, &[], "no")).await;
    let action = json!({"get": {"path": "/{id}", "response": {"fail_on_status": true}}});
    let openact = http(json!({"base_url": upstream.url()}), action).await;
    // Refused before anything was asked of anybody: the same key, once the input is right.
    let error = openact.execute(keyed("get", json!({}), "k")).await.result.unwrap_err();
    assert_eq!(error.code, ErrorCode::InvalidInput, "{error:?}");
    let first = openact.execute(keyed("get", json!({"id": 1}), "k")).await.result.unwrap_err();
    let again = openact.execute(keyed("get", json!({"id": 1}), "k")).await.result.unwrap_err();
    assert_eq!(first.code, ErrorCode::UpstreamError, "{first:?}");
    assert_eq!(first.to_json(), again.to_json());
    assert_eq!(upstream.received().len(), 1);
    // Nobody could be given the items again.
    let (items, _taken) = tokio::sync::mpsc::channel(1);
    let streamed = Request { items: Some(items), ..keyed("get", json!({"id": 1}), "s") };
    assert_eq!(openact.execute(streamed).await.result.unwrap_err().code, ErrorCode::InvalidInput);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a5_a_process_that_was_killed_leaves_an_unknown_outcome_that_is_not_run_again() {
    let upstream = holding().await;
    let home = Home::new();
    home.write(
        "c.json",
        &serde_json::from_str(&config("http", json!({"base_url": upstream.url()}), json!({"pay": {}})))
            .unwrap(),
    );
    assert_eq!(home.output(&["import", "c.json"]).status.code(), Some(0));
    let pay = ["run", "http/pay", "--set", "amount=5", "--idempotency-key", "k-1"];
    let mut child = home.command(&pay).spawn().unwrap();
    upstream.wait_for_held(1).await;
    let output = |args: &[&str]| {
        let mut command = home.command(args);
        tokio::task::spawn_blocking(move || command.output().unwrap())
    };
    let meanwhile = output(&pay).await.unwrap();
    assert_eq!(meanwhile.status.code(), Some(3), "{}", stderr(&meanwhile));
    assert!(stderr(&meanwhile).contains("is being run"), "{}", stderr(&meanwhile));
    child.kill().unwrap();
    child.wait().unwrap();
    upstream.release();
    for _ in 0..2 {
        let again = output(&pay).await.unwrap();
        assert_eq!((again.status.code(), stdout(&again)), (Some(3), String::new()));
        assert!(stderr(&again).contains("was interrupted"), "{}", stderr(&again));
    }
    assert_eq!(upstream.received().len(), 1, "it is not run again");
    // Another key is another request, and its answer is given again.
    let pay = ["run", "http/pay", "--set", "amount=5", "--idempotency-key", "k-2"];
    let (first, again) = (output(&pay).await.unwrap(), output(&pay).await.unwrap());
    assert_eq!((first.status.code(), stdout(&first)), (Some(0), stdout(&again)));
    assert_eq!(upstream.received().len(), 2);
    // Nothing of the processes is left.
    let locks = std::fs::read_dir(home.path()).unwrap();
    let locks: Vec<_> = locks
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("-runs-"))
        .collect();
    assert!(locks.is_empty(), "{locks:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a5_an_answer_is_sealed_at_rest_and_outlives_a_rotation_of_the_key() {
    let upstream = Upstream::json(r#"{"name": "canary-of-a-result"}"#).await;
    let home = Home::new();
    let openact = beside(&home).await;
    let text = config("http", json!({"base_url": upstream.url()}), json!({"get": {}}));
    openact.import_text("config", &text, Format::Json, &Default::default()).await.unwrap();
    let asked = || keyed("get", json!({"q": "canary-of-a-request"}), "k");
    let first = openact.execute(asked()).await;
    // By which key it is sealed is told, before and after.
    let sealed = async || {
        let versions = openact.key_status().await.unwrap().versions.into_iter();
        versions.map(|key| (key.version, key.outcomes)).collect::<Vec<_>>()
    };
    assert_eq!(sealed().await, [(Some(1), 1)]);
    assert_eq!(openact.rotate_key().await.unwrap().records, 1);
    assert_eq!(sealed().await, [(Some(2), 1), (Some(1), 0)]);
    let again = openact.execute(asked()).await;
    assert_eq!(body(&again), json!({"name": "canary-of-a-result"}));
    assert_eq!(again.run.unwrap().id, first.run.unwrap().id);
    assert_eq!(upstream.received().len(), 1);
    openact.close().await.unwrap();
    for entry in std::fs::read_dir(home.path()).unwrap() {
        let path = entry.unwrap().path();
        let bytes = if path.is_file() { std::fs::read(&path).unwrap() } else { continue };
        assert!(!bytes.windows(10).any(|part| part == b"canary-of-"), "{}", path.display());
    }
    // Another process knows it as well.
    let openact = beside(&home).await;
    assert_eq!(body(&openact.execute(asked()).await), json!({"name": "canary-of-a-result"}));
    assert_eq!(upstream.received().len(), 1);
    openact.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_is_written_over_what_its_writer_saw() {
    let home = Home::new();
    let openact = beside(&home).await;
    let author = Author { actor: "token ci".into(), door: Door::Rest };
    let (tenant, acting) = (Tenant::default(), openact.acting_as(author));
    let connection = |url: &str| json!({"connector": "http", "name": "api", "config": {"base_url": url}});
    let made =
        acting.put_connection(&tenant, &connection("http://127.0.0.1:1"), &Expected::Absent).await.unwrap();
    assert!(made.created);
    let taken = acting.put_connection(&tenant, &connection("http://127.0.0.1:2"), &Expected::Absent).await;
    assert_eq!(taken.unwrap_err().code, ErrorCode::Conflict);
    let action = json!({"connector": "http", "name": "get", "connection": "api", "config": {"path": "/x"}, "mcp": {"enabled": true}});
    let action = acting.put_action(&tenant, &action, &Expected::Any).await.unwrap();
    assert!(action.created && action.record.to_json()["mcp"]["enabled"] == true);

    let etag = Expected::Etag(made.record.etag());
    let changed = acting.put_connection(&tenant, &connection("http://127.0.0.1:3"), &etag).await.unwrap();
    assert!(!changed.created && changed.record.etag() != made.record.etag());
    assert_eq!(changed.record.trn(), "trn:openact:default:connection/http/api@v2");
    // Its actions follow.
    let followed = openact.show(&tenant, "http/get").await.unwrap().to_json();
    assert_eq!(followed["connection"], "trn:openact:default:connection/http/api@v2");
    let late = acting.put_connection(&tenant, &connection("http://127.0.0.1:4"), &etag).await.unwrap_err();
    assert_eq!(late.code, ErrorCode::Conflict, "{late:?}");
    let log = openact.list_audit(&tenant, 10).await.unwrap();
    assert!(log.iter().all(|entry| entry.actor == "token ci" && entry.door == "rest"), "{log:?}");

    // What a file may say of this machine, a door may not.
    let secrets = [json!({"$env": "HOME"}), json!({"$file": "/etc/passwd"}), json!("${HOME}")];
    for secret in secrets.into_iter().chain([json!("vault://secret/all#/root"), json!("VAULT://secret/all")])
    {
        let config =
            json!({"base_url": "http://127.0.0.1:1", "authorization": {"type": "bearer", "token": secret}});
        let body = json!({"connector": "http", "name": "thief", "config": config});
        let refused = acting.put_connection(&tenant, &body, &Expected::Any).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::InvalidConfig, "{refused:?}");
    }
    for bad in [
        json!([]),
        json!({"connector": "http", "name": "x"}),
        json!({"connector": "http", "name": "x", "config": {}, "more": 1}),
    ] {
        assert_eq!(
            acting.put_connection(&tenant, &bad, &Expected::Any).await.unwrap_err().code,
            ErrorCode::InvalidInput
        );
    }
    let in_use = acting.delete_connection(&tenant, "http/api", &Expected::Any).await.unwrap_err();
    assert_eq!(in_use.code, ErrorCode::Conflict, "{in_use:?}");
    assert_eq!(
        acting.delete_action(&other(), "http/get", &Expected::Any).await.unwrap_err().code,
        ErrorCode::NotFound
    );
    acting.delete_action(&tenant, "http/get", &Expected::Any).await.unwrap();
    acting.delete_connection(&tenant, "http/api", &Expected::Any).await.unwrap();
    assert!(openact.list_connections(&tenant, None).await.unwrap().is_empty());
    assert!(openact.verify_audit().await.unwrap().error().is_none());
    openact.close().await.unwrap();
}

#[tokio::test]
async fn a_token_is_noted_as_used_off_the_callers_way() {
    let home = Home::new();
    let openact = beside(&home).await;
    let (_, text) = openact
        .create_token(NewToken { name: "ci".into(), scope: TokenScope::default(), expires_at: None })
        .await
        .unwrap();
    openact.authenticate(text.expose_secret()).await.unwrap();
    let used = loop {
        match openact.list_tokens().await.unwrap()[0].last_used_at {
            Some(used) => break used,
            None => tokio::task::yield_now().await,
        }
    };
    // Within the minute it is not noted again.
    openact.authenticate(text.expose_secret()).await.unwrap();
    assert_eq!(openact.list_tokens().await.unwrap()[0].last_used_at, Some(used));
    openact.close().await.unwrap();
}
