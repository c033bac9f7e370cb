//! The MCP server: by the official Python SDK, and by messages written out, where a client is too polite.
//!
//! Invariant: what holds for one transport and one generation of the protocol is asked of all of them.

mod clients;
mod stdio;

use std::sync::Arc;

use openact::{Format, Governance, ImportOptions, OpenAct, Tenant};
use openact_mcp::{McpCaller, McpSettings, ToolSet};
use serde_json::{Value, json};
use support::upstream::{Answer, Received, Upstream};

use self::clients::{Served, python};
use crate::setup::memory;

/// The generations, as the Python SDK names them: `initialize`, and `server/discover` with what it offers.
const GENERATIONS: [&str; 2] = ["legacy", "auto"];

/// Answers by path; `/held` when it is released.
async fn upstream() -> Upstream {
    Upstream::start(|request: &Received| match request.target.split('?').next().unwrap_or_default() {
        "/held" => Answer::Held(r#"{"held": true}"#.to_owned()),
        "/list" => Answer::Json(r#"[{"n": 1}, {"n": 2}, {"n": 3}]"#.to_owned()),
        "/broken" => Answer::full(500, &[], "broken"),
        _ => Answer::Json(json!({"target": request.target, "big": 9_007_199_254_740_993_u64}).to_string()),
    })
    .await
}

/// A configuration over that, as JSON.
fn config(upstream: &Upstream) -> Value {
    let mcp = json!({"enabled": true});
    json!({"connectors": {"http": {
        "connections": {"api": {"base_url": upstream.url()}},
        "actions": {
            "get-user": {
                "connection": "api", "path": "/users/{login}", "description": "a user by login", "mcp": mcp,
                "input_schema": {
                    "type": "object", "properties": {"login": {"type": "string", "minLength": 1}},
                    "required": ["login"], "additionalProperties": false,
                },
            },
            "list": {"connection": "api", "path": "/list", "mcp": mcp, "pagination": {"type": "page", "max_pages": 1}},
            "broken": {
                "connection": "api", "path": "/broken", "response": {"fail_on_status": true}, "mcp": mcp,
            },
            "remove": {"connection": "api", "method": "DELETE", "path": "/users/{login}",
                "mcp": {"enabled": true, "tool_name": "remove_user", "description": "removes a user"}},
            "held": {"connection": "api", "path": "/held", "mcp": mcp},
            "private": {"connection": "api", "path": "/private"},
        },
    }}})
}

async fn openact(config: &Value) -> OpenAct {
    memory(&[]).config_text(config.to_string(), Format::Json).build().await.unwrap()
}

fn governance(allow: &[&str], deny: &[&str]) -> Governance {
    let patterns = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    Governance { allow: patterns(allow), deny: patterns(deny) }
}

fn caller(name: &str, tenant: &str, governance: Governance) -> McpCaller {
    McpCaller { name: name.to_owned(), tenant: tenant.parse().unwrap(), governance: Arc::new(governance) }
}

fn settings() -> McpSettings {
    McpSettings::new(Some(McpCaller::default()))
}

fn names(listed: &Value) -> Vec<&str> {
    listed["items"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect()
}

#[track_caller]
fn assert_failed(answer: &Value, code: &str) {
    assert_eq!(answer["isError"], true, "{answer}");
    assert_eq!(answer["structuredContent"]["error"]["code"], code, "{answer}");
    let text = answer["content"][0]["text"].as_str().unwrap();
    assert!(text.starts_with(&format!("{code}: ")), "{text}");
}

/// Everything a client does, by the official SDK of Python; what each step gave.
fn conversation(config_file: &str, changed: &Value) -> Value {
    let user = json!({"login": "octocat"});
    json!([
        ["about"],
        ["tools"],
        ["call", "http.get-user", user],
        ["call", "http.get-user", {}],
        ["call", "http.broken", {}],
        ["call", "openact.execute", {"connector": "http", "action": "get-user", "version": "latest", "input": user}],
        ["call", "openact.execute", {"action_trn": "trn:openact:default:action/http/get-user@v1", "input": user}],
        ["call", "openact.execute", {"connector": "http", "action": "get-user", "input": user}],
        ["call", "openact.execute", {"connector": "http", "action": "private", "version": 1}],
        ["call", "http.get-uzer", user],
        ["stream", "http.list", {}],
        ["together", (0..20).map(|n| json!(["http.get-user", {"login": format!("user-{n}")}])).collect::<Vec<_>>()],
        ["resources"],
        ["templates"],
        ["read", "openact://actions/http/get-user"],
        ["read", "openact://runs/recent"],
        ["read", "openact://actions/http/private"],
        ["changed", config_file, changed.to_string()],
        ["tools"],
    ])
}

fn check_conversation(mode: &str, done: &[Value]) {
    let [
        about,
        tools,
        user,
        without,
        broken,
        latest,
        by_trn,
        unversioned,
        private,
        misspelt,
        streamed,
        together,
        resources,
        templates,
        action,
        runs,
        hidden,
        changed,
        tools_after,
    ] = done
    else {
        panic!("{done:?}")
    };
    let version = if mode == "legacy" { "2025-11-25" } else { "2026-07-28" };
    assert_eq!(about["version"], version);
    assert!(about["instructions"].as_str().unwrap().contains("OpenAct"));
    assert_eq!(
        names(tools),
        ["http.broken", "http.get-user", "http.held", "http.list", "openact.execute", "remove_user"]
    );
    let tool = |name: &str| {
        tools["items"].as_array().unwrap().iter().find(|tool| tool["name"] == name).unwrap().clone()
    };
    assert_eq!(tool("http.get-user")["inputSchema"]["required"], json!(["login"]));
    assert_eq!(tool("http.get-user")["description"], "a user by login");
    assert_eq!(tool("http.get-user")["annotations"]["readOnlyHint"], true);
    assert_eq!(tool("remove_user")["description"], "removes a user");
    assert_eq!(tool("remove_user")["annotations"]["destructiveHint"], true);
    for answer in [user, latest, by_trn] {
        assert_ne!(answer["isError"], true, "{answer}");
        assert_eq!(answer["structuredContent"]["body"]["target"], "/users/octocat");
        let text: Value = serde_json::from_str(answer["content"][0]["text"].as_str().unwrap()).unwrap();
        assert_eq!(text, answer["structuredContent"]);
        assert!(answer["_meta"]["openact/run_id"].is_string(), "{answer}");
    }
    assert_failed(without, "invalid_input");
    assert_failed(broken, "upstream_error");
    assert!(broken["structuredContent"]["run_id"].is_string(), "{broken}");
    assert_failed(unversioned, "invalid_input");
    assert!(unversioned["structuredContent"]["error"]["hint"].as_str().unwrap().contains("latest"));
    assert_failed(private, "forbidden");
    assert_eq!(misspelt["protocol_error"]["code"], -32602);
    assert!(
        misspelt["protocol_error"]["message"].as_str().unwrap().contains("did you mean 'http.get-user'?")
    );
    check_stream(streamed);
    let logins = together
        .as_array()
        .unwrap()
        .iter()
        .map(|answer| answer["structuredContent"]["body"]["target"].clone());
    assert_eq!(
        logins.collect::<Vec<_>>(),
        (0..20).map(|n| json!(format!("/users/user-{n}"))).collect::<Vec<_>>()
    );
    assert!(names(resources).contains(&"http/get-user") && !names(resources).contains(&"http/private"));
    assert_eq!(templates["items"][0]["uriTemplate"], "openact://actions/{connector}/{name}");
    assert_eq!(action["tool"], "http.get-user");
    assert_eq!(action["input_schema"]["required"], json!(["login"]));
    assert!(runs["runs"].as_array().unwrap().iter().all(|run| run["door"] == "mcp"), "{runs}");
    assert!(
        hidden["protocol_error"]["message"].as_str().unwrap().contains("there is no resource"),
        "{hidden}"
    );
    assert!(changed.is_string(), "{changed}");
    assert_eq!(names(tools_after), ["http.added", "openact.execute"]);
}

/// Items as progress, and all of them in the result.
fn check_stream(streamed: &Value) {
    let told: Vec<(f64, Value)> = streamed["told"]
        .as_array()
        .unwrap()
        .iter()
        .map(|told| (told[0].as_f64().unwrap(), serde_json::from_str(told[1].as_str().unwrap()).unwrap()))
        .collect();
    let items = [json!({"n": 1}), json!({"n": 2}), json!({"n": 3})];
    assert_eq!(told, [(1.0, items[0].clone()), (2.0, items[1].clone()), (3.0, items[2].clone())]);
    let whole = &streamed["answer"]["structuredContent"];
    assert_eq!(whole["items"], json!(items), "{streamed}");
    assert_eq!(whole.get("emitted"), None);
}

/// What the configuration is changed to.
fn changed(config: &Value) -> Value {
    let mut changed = config.clone();
    let actions = &mut changed["connectors"]["http"]["actions"];
    *actions = json!({"added": {"connection": "api", "path": "/added", "mcp": {"enabled": true}}});
    changed
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sdk_of_python_does_everything_over_stdio() {
    let upstream = upstream().await;
    let config = config(&upstream);
    // One home: a client that asks first which protocol is spoken waits for a start, but not for the first one's compiling.
    let home = tempfile::tempdir().unwrap();
    for mode in GENERATIONS {
        let file = home.path().join("config.json");
        std::fs::write(&file, config.to_string()).unwrap();
        let file = file.to_str().unwrap();
        let target = stdio::command(home.path(), &["--config", file]);
        let done = python(&target, mode, &conversation(file, &changed(&config)), &json!({})).await;
        check_conversation(mode, &done);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sdk_of_python_does_everything_over_http() {
    let upstream = upstream().await;
    let config = config(&upstream);
    for mode in GENERATIONS {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("config.json");
        std::fs::write(&file, config.to_string()).unwrap();
        let served = Served::start(memory(&[]).config_file(&file).build().await.unwrap(), settings()).await;
        let steps = conversation(file.to_str().unwrap(), &changed(&config));
        check_conversation(mode, &python(&served.url, mode, &steps, &json!({})).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn m4_arguments_are_checked_before_anything_runs() {
    let upstream = upstream().await;
    let served = Served::start(openact(&config(&upstream)).await, settings()).await;
    for arguments in [json!({}), json!({"login": 5}), json!({"login": ""}), json!({"login": "a", "more": 1})]
    {
        assert_failed(&served.call("http.get-user", arguments.clone()).await, "invalid_input");
        let generic = json!({"connector": "http", "action": "get-user", "version": 1, "input": arguments});
        assert_failed(&served.call("openact.execute", generic).await, "invalid_input");
    }
    for arguments in [
        json!({}),
        json!({"connector": "http", "action": "list", "version": 1, "input": [1]}),
        json!({"connector": "http", "action": "list", "version": 1, "inputs": {}}),
        json!({"connector": "http", "action": "list", "version": 1.5}),
        json!({"action_trn": "trn:openact:default:action/http/list@v0"}),
    ] {
        assert_failed(&served.call("openact.execute", arguments).await, "invalid_input");
    }
    assert!(upstream.received().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn m5_a_failure_is_a_result_that_says_why_and_has_its_run() {
    let upstream = upstream().await;
    let openact = openact(&config(&upstream)).await;
    let served = Served::start(openact.clone(), settings()).await;
    let answer = served.call("http.broken", json!({})).await;
    assert_failed(&answer, "upstream_error");
    let id = answer["structuredContent"]["run_id"].as_str().unwrap();
    let run = openact.get_run(&Tenant::default(), id.parse().unwrap()).await.unwrap().to_json();
    assert_eq!((&run["door"], &run["status"]), (&json!("mcp"), &json!("failed")));
    assert_eq!(run["error"]["message"], answer["structuredContent"]["error"]["message"]);
    let absent = json!({"connector": "http", "action": "get-usr", "version": 1});
    let answer = served.call("openact.execute", absent).await;
    assert_failed(&answer, "not_found");
    assert!(
        answer["structuredContent"]["error"]["hint"].as_str().unwrap().contains("http/get-user"),
        "{answer}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn m6_the_tools_are_the_actions_and_nothing_that_manages() {
    let upstream = upstream().await;
    let mut config = config(&upstream);
    let actions = &mut config["connectors"]["http"]["actions"];
    actions["list"]["mcp"]["tool_name"] = "remove_user".into();
    actions["broken"]["mcp"]["tool_name"] = "not a name".into();
    let openact = openact(&config).await;
    let actions = ["http.broken", "http.get-user", "http.held", "remove_user", "http.remove"];
    for (tools, has_actions, others) in [
        (ToolSet::Mixed, true, &["openact.execute"][..]),
        (ToolSet::AOnly, false, &["openact.execute"]),
        (ToolSet::BOnly, true, &[]),
        (ToolSet::Search, false, &["openact.execute", "openact.search"]),
    ] {
        let served = Served::start(openact.clone(), McpSettings { tools, ..settings() }).await;
        let listed = served.list().await;
        let mut expected: Vec<&str> = if has_actions { actions.to_vec() } else { Vec::new() };
        expected.extend(others);
        expected.sort_unstable();
        assert_eq!(listed, expected, "{tools:?}");
        // What is not listed is not there.
        let by_name =
            served.post("tools/call", json!({"name": "http.get-user", "arguments": {"login": "a"}})).await;
        assert_eq!(by_name["error"].is_null(), has_actions, "{by_name}");
        let generic = json!({"connector": "http", "action": "list", "version": 1});
        let generic =
            served.post("tools/call", json!({"name": "openact.execute", "arguments": generic})).await;
        assert_eq!(generic["error"].is_null(), others.contains(&"openact.execute"), "{generic}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn m7_governance_holds_on_every_path() {
    let upstream = upstream().await;
    let openact = openact(&config(&upstream)).await;
    openact.run("http/remove", json!({"login": "x"})).await.unwrap();
    let before = upstream.received().len();
    let denied = caller("c", "default", governance(&["http.*"], &["http.remove", "*.list"]));
    for tools in [ToolSet::Mixed, ToolSet::Search] {
        let served =
            Served::start(openact.clone(), McpSettings { tools, ..McpSettings::new(Some(denied.clone())) })
                .await;
        let listed = served.list().await;
        assert!(!listed.iter().any(|name| name == "remove_user" || name == "http.list"), "{listed:?}");
        for arguments in [
            json!({"connector": "http", "action": "remove", "version": 1, "input": {"login": "x"}}),
            json!({"connector": "HTTP", "action": "remove", "version": "latest", "input": {"login": "x"}}),
            json!({"action_trn": "trn:openact:default:action/http/remove@v1", "input": {"login": "x"}}),
            json!({"action_trn": "trn:openact:default:action/http/remove@v1", "dry_run": true, "input": {"login": "x"}}),
        ] {
            assert_failed(&served.call("openact.execute", arguments).await, "forbidden");
        }
        if tools == ToolSet::Mixed {
            assert_failed(&served.call("remove_user", json!({"login": "x"})).await, "forbidden");
            let near = served.post("tools/call", json!({"name": "remove_usr", "arguments": {}})).await;
            assert!(!near.to_string().contains("remove_user"), "{near}");
        } else {
            let found =
                served.call("openact.search", json!({"query": "remove user list", "limit": 50})).await;
            let found = found["structuredContent"].to_string();
            assert!(
                found.contains("http/get-user") && !found.contains("remove") && !found.contains("http/list"),
                "{found}"
            );
        }
        for uri in ["openact://actions/http/remove", "openact://actions/http/list"] {
            let read = served.post("resources/read", json!({"uri": uri})).await;
            assert!(read["error"].is_object(), "{read}");
        }
        let resources = served.post("resources/list", json!({})).await.to_string();
        assert!(resources.contains("http/get-user") && !resources.contains("http/remove"), "{resources}");
        let runs = served.post("resources/read", json!({"uri": "openact://runs/recent"})).await.to_string();
        assert!(runs.contains("runs") && !runs.contains("http/remove"), "{runs}");
    }
    assert_eq!(upstream.received().len(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn m7_what_is_taken_away_from_clients_is_gone_in_every_version() {
    let upstream = upstream().await;
    let mut config = config(&upstream);
    let openact = openact(&config).await;
    let served = Served::start(openact.clone(), settings()).await;
    let run = async |version: Value| {
        let wanted = json!({"connector": "http", "action": "list", "version": version});
        served.post("tools/call", json!({"name": "openact.execute", "arguments": wanted})).await
    };
    assert_eq!(run(json!(1)).await["result"]["isError"], false);
    config["connectors"]["http"]["actions"]["list"]["mcp"]["enabled"] = false.into();
    let options = ImportOptions::default();
    openact.import_text("changed", &config.to_string(), Format::Json, &options).await.unwrap();
    let before = upstream.received().len();
    for version in [json!(1), json!(2), json!("latest")] {
        assert_failed(&run(version).await["result"], "forbidden");
    }
    assert_eq!(upstream.received().len(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn m8_another_tenants_actions_are_not_there() {
    let upstream = upstream().await;
    let openact = openact(&config(&upstream)).await;
    openact.run("http/list", json!({})).await.unwrap();
    let before = upstream.received().len();
    let options = ImportOptions { tenant: "other".parse().unwrap(), ..Default::default() };
    openact
        .import_text("other", &changed(&config(&upstream)).to_string(), Format::Json, &options)
        .await
        .unwrap();
    let other = caller("o", "other", Governance::default());
    let served = Served::start(openact, McpSettings::new(Some(other))).await;
    assert_eq!(served.list().await, ["http.added", "openact.execute"]);
    let trn = "trn:openact:default:action/http/list@v1";
    for arguments in [
        json!({"action_trn": trn}),
        json!({"action_trn": trn, "tenant": "default"}),
        json!({"connector": "http", "action": "list", "version": 1}),
        json!({"connector": "http", "action": "added", "version": 1, "tenant": "default"}),
    ] {
        let answer = served.call("openact.execute", arguments.clone()).await.to_string();
        // What is not there at all gets the same answer.
        let absent = |text: &str| {
            ["list", "added"].iter().fold(text.to_owned(), |text, name| {
                text.replace(&format!("\"{name}\""), "\"none\"").replace(&format!("http/{name}"), "http/none")
            })
        };
        let arguments: Value = serde_json::from_str(&absent(&arguments.to_string())).unwrap();
        let of_absent = served.call("openact.execute", arguments).await;
        assert_failed(&of_absent, "not_found");
        assert_eq!(absent(&answer), of_absent.to_string());
    }
    let unknown = served.post("tools/call", json!({"name": "http.list", "arguments": {}})).await;
    assert_eq!(unknown["error"]["code"], -32602);
    let read = served.post("resources/read", json!({"uri": "openact://actions/http/list"})).await;
    assert!(read["error"].is_object(), "{read}");
    let runs = served.post("resources/read", json!({"uri": "openact://runs/recent"})).await;
    assert_eq!(runs["result"]["contents"][0]["text"], r#"{"runs":[]}"#);
    assert_eq!(upstream.received().len(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn m8_a_session_is_of_the_caller_who_opened_it() {
    let upstream = upstream().await;
    let served = Served::with_callers(openact(&config(&upstream)).await, McpSettings::new(None)).await;
    assert_eq!(served.raw(json!({}), &[]).await.0, 401);
    let (status, id, _) = served.initialize(&[("x-caller", "one")]).await;
    assert_eq!(status, 200);
    let list = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list"});
    let as_one = served.raw(list.clone(), &[("x-caller", "one"), ("mcp-session-id", &id)]).await;
    assert!(as_one.0 == 200 && as_one.1.contains("http.get-user"), "{as_one:?}");
    let as_two = served.raw(list, &[("x-caller", "two"), ("mcp-session-id", &id)]).await;
    assert_eq!(as_two.0, 404, "{as_two:?}");
    for (method, expected) in [("GET", 404), ("DELETE", 404)] {
        assert_eq!(
            served.send(method, &[("x-caller", "two"), ("mcp-session-id", &id)]).await,
            expected,
            "{method}"
        );
    }
    assert_eq!(served.send("DELETE", &[("x-caller", "one"), ("mcp-session-id", &id)]).await, 202);
    assert_eq!(served.send("GET", &[("x-caller", "one"), ("mcp-session-id", &id)]).await, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn m1_another_host_and_a_page_are_refused() {
    let upstream = upstream().await;
    let served = Served::start(openact(&config(&upstream)).await, settings()).await;
    for headers in [[("host", "evil.example")], [("origin", "http://evil.example")], [("origin", "null")]] {
        assert_eq!(
            served.raw(clients::request("tools/list", json!({})), &headers).await.0,
            403,
            "{headers:?}"
        );
    }
    assert_eq!(
        served.raw(clients::request("tools/list", json!({})), &[("host", "localhost:1")]).await.0,
        200
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a5_a_call_with_a_key_runs_once() {
    let upstream = upstream().await;
    let served = Served::start(openact(&config(&upstream)).await, settings()).await;
    let by_tool = |login: &str| {
        let mut message =
            clients::request("tools/call", json!({"name": "http.get-user", "arguments": {"login": login}}));
        message["params"]["_meta"]["openact/idempotency_key"] = "k1".into();
        message["params"]["_meta"]["progressToken"] = 7.into();
        message
    };
    let (first, again) = (served.raw(by_tool("a"), &[]).await, served.raw(by_tool("a"), &[]).await);
    assert!(first.1.contains("/users/a") && again.1.contains("/users/a"), "{first:?} {again:?}");
    assert_eq!(upstream.received().len(), 1);
    assert!(served.raw(by_tool("b"), &[]).await.1.contains("idempotency_mismatch"));
    // The same key by the generic tool is the same request.
    let generic = |login: &str, key: Value| {
        json!({
            "connector": "http", "action": "get-user", "version": "latest", "input": {"login": login}, "idempotency_key": key,
        })
    };
    let answer = served.call("openact.execute", generic("a", "k1".into())).await;
    assert_eq!(answer["structuredContent"]["body"]["target"], "/users/a", "{answer}");
    assert_failed(&served.call("openact.execute", generic("c", "k1".into())).await, "idempotency_mismatch");
    assert_failed(&served.call("openact.execute", generic("c", 5.into())).await, "invalid_input");
    assert_eq!(upstream.received().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_goes_on_to_the_other_system() {
    let upstream = upstream().await;
    let served = Served::start(openact(&config(&upstream)).await, settings()).await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let parent = format!("00-{trace}-00f067aa0ba902b7-01");
    let mut message =
        clients::request("tools/call", json!({"name": "http.get-user", "arguments": {"login": "a"}}));
    assert_eq!(served.raw(message.clone(), &[("traceparent", &parent)]).await.0, 200);
    message["params"]["_meta"]["traceparent"] = parent.into();
    assert_eq!(served.raw(message, &[]).await.0, 200);
    let received = upstream.received();
    assert_eq!(received.len(), 2);
    for request in received {
        let sent = request.header("traceparent");
        assert!(sent.len() == 1 && sent[0].contains(trace), "{sent:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_given_up_ends() {
    let upstream = upstream().await;
    let settings = McpSettings { concurrency_max: 1, ..settings() };
    let served = Served::start(openact(&config(&upstream)).await, settings).await;
    // There is one place: while a call is held, no other is answered.
    let held = tokio::spawn({
        let served = served.clone();
        async move { served.call("http.held", json!({})).await }
    });
    upstream.wait_for_held(1).await;
    held.abort();
    let answer = served.call("http.get-user", json!({"login": "next"})).await;
    assert_eq!(answer["structuredContent"]["body"]["target"], "/users/next", "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_has_the_servers_longest_deadline() {
    let upstream = upstream().await;
    let longest = Some(std::time::Duration::from_millis(300));
    let served =
        Served::start(openact(&config(&upstream)).await, McpSettings { timeout: longest, ..settings() })
            .await;
    assert_failed(&served.call("http.held", json!({})).await, "timeout");
    let longer = json!({"connector": "http", "action": "held", "version": 1, "timeout_ms": 3_600_000});
    assert_failed(&served.call("openact.execute", longer).await, "timeout");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_ends_answers_what_it_was_asked() {
    let upstream = upstream().await;
    let served = Served::start(openact(&config(&upstream)).await, settings()).await;
    let held = tokio::spawn({
        let served = served.clone();
        async move { served.call("http.held", json!({})).await }
    });
    // One that waits for changes is told that the server ends.
    let filter = json!({"notifications": {"toolsListChanged": true}});
    let listening = tokio::spawn({
        let served = served.clone();
        async move { served.raw(clients::request("subscriptions/listen", filter), &[]).await }
    });
    upstream.wait_for_held(1).await;
    let ended = tokio::spawn({
        let service = served.service.clone();
        async move { service.shutdown().await }
    });
    let (status, text) = listening.await.unwrap();
    assert!(status == 200 && text.contains("notifications/subscriptions/acknowledged"), "{text}");
    assert!(!ended.is_finished());
    upstream.release();
    assert_eq!(held.await.unwrap()["structuredContent"]["body"], json!({"held": true}));
    ended.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn m3_a_long_list_comes_in_pages() {
    let upstream = upstream().await;
    let mut config = config(&upstream);
    let actions = config["connectors"]["http"]["actions"].as_object_mut().unwrap();
    for number in 0..450 {
        let action = json!({"connection": "api", "path": "/x", "mcp": {"enabled": true}});
        actions.insert(format!("a{number:03}"), action);
    }
    let served = Served::start(openact(&config).await, settings()).await;
    let done = python(&served.url, GENERATIONS[1], &json!([["tools"], ["resources"]]), &json!({})).await;
    let found = names(&done[0]);
    assert_eq!((found.len(), &done[0]["pages"]), (456, &json!(3)));
    let mut sorted = found.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(found, sorted);
    assert_eq!(names(&done[1]).len(), 456);
    let wrong = served.post("tools/list", json!({"cursor": "no cursor!"})).await;
    assert_eq!(wrong["error"]["code"], -32602);
}
