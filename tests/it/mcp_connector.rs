//! The `mcp` connector against real servers, of both generations of the protocol, and against one that waits for us.
//!
//! Invariant: a server of its own where a test ends sessions; the others are shared and keep nothing of a call.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    sync::Arc,
};

use openact::{CheckOutcome, ErrorCode, Format, Governance, ImportOptions, OpenAct, Tenant};
use serde_json::{Value, json};
use sqlx::{Connection, SqliteConnection};
use support::{
    servers::{Mcp, mcp_everything, mcp_python},
    upstream::{Answer, Upstream},
};

use crate::{
    logged::Logged,
    setup::{config, failure, memory, request, value},
};

/// The Python server, asked for `protocol`.
fn python(protocol: &str) -> Value {
    let authorization = json!({"type": "bearer", "token": Mcp::TOKEN});
    json!({"url": mcp_python().url, "protocol": protocol, "authorization": authorization})
}

fn actions() -> Value {
    json!({
        "add": {"tool": "add"},
        "add-anything": {"tool": "add", "input_schema": {"type": "object"}},
        "add-two": {"tool": "add", "arguments": {"a": 2, "b": "{{other}}"}},
        "ad": {"tool": "ad"},
        "fail": {"tool": "fail", "arguments": {"why": "because of {{what}}"}},
        "count": {"tool": "count", "stream": true},
        "headers": {"tool": "headers"},
        "tools": {"operation": "list-tools"},
        "note": {"operation": "read-resource", "uri": "note://{{name}}"},
        "resources": {"operation": "list-resources"},
        "prompts": {"operation": "list-prompts"},
        "greet": {"operation": "get-prompt", "prompt": "greet"},
    })
}

async fn opened(connection: Value, actions: Value) -> OpenAct {
    memory(&[]).config_text(config("mcp", connection, actions), Format::Json).build().await.unwrap()
}

/// What a check of the connection found.
async fn checked(openact: &OpenAct) -> Value {
    let report = openact.check_connection(&Tenant::default(), "mcp/c").await.unwrap();
    match report.outcome {
        CheckOutcome::Works(found) => found.value().unwrap(),
        other => panic!("{other:?}"),
    }
}

/// The requests of the last call, as method and status.
async fn requests(openact: &OpenAct, action: &str, input: Value) -> usize {
    let execution = openact.execute(request(action, input)).await;
    execution.result.unwrap();
    let calls = &execution.run.unwrap().host_calls;
    calls.iter().filter(|call| call.function == "http.send").count()
}

fn names(list: &Value) -> Vec<&str> {
    let mut names: Vec<_> =
        list.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    names
}

#[tokio::test]
async fn both_generations_do_the_same() {
    for (protocol, spoken) in [
        ("auto", "2026-07-28"),
        ("2026-07-28", "2026-07-28"),
        ("2025-11-25", "2025-11-25"),
        ("2025-06-18", "2025-06-18"),
    ] {
        let openact = opened(python(protocol), actions()).await;
        let sum = value(&openact, "mcp/add", json!({"a": 2, "b": 40})).await;
        assert_eq!(sum["structured_content"], json!({"result": 42}), "{protocol}");
        assert_eq!(sum["content"], json!([{"type": "text", "text": "42"}]));
        assert_eq!(
            requests(&openact, "mcp/add", json!({"a": 1, "b": 1})).await,
            1,
            "{protocol}: greeted again"
        );

        let tools = value(&openact, "mcp/tools", json!({})).await;
        assert_eq!(names(&tools["tools"]), ["add", "count", "fail", "headers"]);
        let found = checked(&openact).await;
        assert_eq!(found["server"], json!({"name": "tools", "version": "4.5.6"}), "{protocol}");
        assert_eq!((&found["protocol"], names(&found["tools"]).len()), (&json!(spoken), 4));
        let add = found["tools"].as_array().unwrap().iter().find(|tool| tool["name"] == "add").unwrap();
        assert_eq!(add["input_schema"]["required"], json!(["a", "b"]));

        let note = value(&openact, "mcp/note", json!({"name": "x y"})).await;
        assert_eq!(
            (&note["contents"][0]["uri"], &note["contents"].as_array().unwrap().len()),
            (&json!("note://x%20y"), &1)
        );
        assert_eq!(value(&openact, "mcp/resources", json!({})).await, json!({"resources": []}));
        let prompts = value(&openact, "mcp/prompts", json!({})).await;
        assert_eq!(names(&prompts["prompts"]), ["greet"]);
        let greeting = value(&openact, "mcp/greet", json!({"name": "Ada"})).await;
        assert_eq!(greeting["messages"][0]["content"]["text"], "Say hello to Ada");
        assert_eq!(greeting["description"], "A greeting.");
    }
}

#[tokio::test]
async fn errors_say_who_is_to_mend_what() {
    for protocol in ["auto", "2025-11-25"] {
        let openact = opened(python(protocol), actions()).await;
        let (error, _) = failure(&openact, "mcp/fail", json!({"what": "rain"})).await;
        assert_eq!(error.code, ErrorCode::UpstreamError, "{protocol}");
        assert!(error.message.contains("it failed: because of rain"), "{error:?}");
        let (error, _) = failure(&openact, "mcp/ad", json!({})).await;
        assert_eq!(error.code, ErrorCode::InvalidConfig);
        assert!(error.message.contains("no tool 'ad'; the nearest: add"), "{error:?}");
        // Unchecked, the server refuses; checked, nothing is sent. Where the action takes anything, nothing is sent but the
        // question whether the schema is still so.
        let wrong = json!({"a": "canary-argument", "b": 1});
        let (error, run) = failure(&openact, "mcp/add", wrong.clone()).await;
        assert!(matches!(error.code, ErrorCode::UpstreamError | ErrorCode::InvalidInput), "{error:?}");
        assert!(!run.host_calls.is_empty());
        checked(&openact).await;
        for (action, said, sent) in
            [("add", "/a: the value is not of type", 0), ("add-anything", "'a' must be of type integer", 1)]
        {
            let (error, run) = failure(&openact, &format!("mcp/{action}"), wrong.clone()).await;
            assert_eq!(error.code, ErrorCode::InvalidInput);
            assert!(error.message.contains(said) && !format!("{error:?}").contains("canary"), "{error:?}");
            assert_eq!(run.host_calls.iter().filter(|call| call.function == "http.send").count(), sent);
        }
    }
    let mut connection = python("auto");
    connection["authorization"]["token"] = "wrong-token-of-some-length".into();
    let openact = opened(connection, actions()).await;
    assert_eq!(failure(&openact, "mcp/add", json!({})).await.0.code, ErrorCode::AuthRequired);
    let report = openact.check_connection(&Tenant::default(), "mcp/c").await.unwrap();
    assert_eq!(report.error().unwrap().code, ErrorCode::AuthRequired);
    let nobody = format!("http://{}/mcp", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    let openact = opened(json!({ "url": nobody }), actions()).await;
    assert_eq!(failure(&openact, "mcp/add", json!({})).await.0.code, ErrorCode::NetworkError);
    let upstream = Upstream::json("{\"hello\": 1}").await;
    let openact = opened(json!({"url": upstream.url(), "protocol": "2026-07-28"}), actions()).await;
    let (error, _) = failure(&openact, "mcp/add", json!({})).await;
    assert_eq!(error.code, ErrorCode::UpstreamError, "{error:?}");
}

/// The schema of an action's input, as every caller sees it.
async fn takes(openact: &OpenAct, action: &str) -> Value {
    let reference = format!("mcp/{action}");
    openact.interface(&Tenant::default(), &reference, &Governance::default()).await.unwrap().input_schema
}

#[tokio::test]
async fn m4_what_a_tool_takes_is_found_by_a_check_and_kept() {
    let home = tempfile::tempdir().unwrap();
    // What is kept is sealed, and opened by other processes.
    let key = ("OPENACT_MASTER_KEY", "aW5wdXRzLWlucHV0cy1pbnB1dHMtaW5wdXRzLWlucHU=");
    let cache = home.path().join("cache/compiled");
    let opened =
        async || support::builder(home.path(), &[key]).cache_folder(cache.clone()).build().await.unwrap();
    let openact = opened().await;
    let text = config("mcp", python("auto"), actions());
    openact.import_text("c.json", &text, Format::Json, &ImportOptions::default()).await.unwrap();
    let anything = json!({"type": "object"});
    assert_eq!(takes(&openact, "add").await, anything);
    assert_eq!(takes(&openact, "add-two").await["required"], json!(["other"]));
    assert_eq!(takes(&openact, "note").await["required"], json!(["name"]));
    // Prepared before the check, in this process and in another one.
    let wrong = json!({"a": "x", "b": 1});
    let other = opened().await;
    for openact in [&openact, &other] {
        assert!(!failure(openact, "mcp/add", wrong.clone()).await.1.host_calls.is_empty());
    }
    let (mut told, mut told_other) = (openact.config_changes(), other.config_changes());
    told.mark_unchanged();
    told_other.mark_unchanged();
    checked(&openact).await;
    assert!(told.has_changed().unwrap(), "who lists tools is told");
    told_other.changed().await.unwrap();
    let again = opened().await;
    for openact in [&openact, &other, &again] {
        let add = takes(openact, "add").await;
        assert_eq!(
            (&add["required"], &add["properties"]["a"]["type"]),
            (&json!(["a", "b"]), &json!("integer"))
        );
        let two = takes(openact, "add-two").await;
        assert_eq!(
            (&two["required"], &two["properties"]["other"]["type"]),
            (&json!(["other"]), &json!("integer"))
        );
        assert_eq!(
            two["properties"].as_object().unwrap().len(),
            1,
            "what the action sets nobody is asked for"
        );
        assert_eq!(takes(openact, "add-anything").await, anything, "its own");
        for (action, input) in [("add", &wrong), ("add-two", &json!({"other": "x"})), ("add-two", &json!({}))]
        {
            let (error, run) = failure(openact, &format!("mcp/{action}"), input.clone()).await;
            assert_eq!((error.code, run.host_calls.len()), (ErrorCode::InvalidInput, 0), "{error:?}");
            assert!(error.hint.as_ref().unwrap().contains("openact check mcp/c"), "{error:?}");
        }
        assert_eq!(
            value(openact, "mcp/add-two", json!({"other": 40})).await["structured_content"]["result"],
            42
        );
    }
    let db = format!("sqlite://{}", home.path().join("test.db").display());
    // What other processes see; this one may tell of the first check twice.
    let told = async || {
        let mut database = SqliteConnection::connect(&db).await.unwrap();
        let generation = "SELECT value FROM settings WHERE key = 'found_generation'";
        sqlx::query_scalar::<_, String>(generation).fetch_one(&mut database).await.unwrap()
    };
    let before = told().await;
    checked(&openact).await;
    assert_eq!(told().await, before, "nothing is new");
    let mut show = support::command::openact(home.path());
    show.args(["--db", &db, "show", "mcp/add", "--format", "json"]).envs([key]);
    let shown = tokio::task::spawn_blocking(move || show.output().unwrap()).await.unwrap();
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(shown["input_schema"], takes(&openact, "add").await);
}

#[tokio::test]
async fn m4_a_schema_that_cannot_be_used_is_left_out_and_nothing_is_fetched_for_it() {
    let elsewhere = Upstream::json(r#"{"type": "string"}"#).await;
    let remote = json!({"type": "object", "properties": {"a": {"$ref": elsewhere.url()}}});
    let tools = json!([
        {"name": "remote", "inputSchema": remote},
        {"name": "broken", "inputSchema": {"type": "object", "required": 5}},
        {"name": "tree", "inputSchema": {"type": "object", "properties": {"child": {"$ref": "#"}}}},
    ]);
    let server = Upstream::start(move |received| {
        let message: Value = serde_json::from_slice(&received.body).unwrap();
        let result = match message["method"].as_str().unwrap() {
            "tools/list" => json!({"resultType": "complete", "tools": tools}),
            "tools/call" => json!({"resultType": "complete", "content": [{"type": "text", "text": "done"}]}),
            _ => json!({"resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": {}}),
        };
        Answer::Json(json!({"jsonrpc": "2.0", "id": message["id"], "result": result}).to_string())
    })
    .await;
    let actions =
        json!({"remote": {"tool": "remote"}, "broken": {"tool": "broken"}, "tree": {"tool": "tree"}});
    let openact = opened(json!({"url": server.url(), "protocol": "2026-07-28"}), actions).await;
    let report = openact.check_connection(&Tenant::default(), "mcp/c").await.unwrap();
    let note = report.note.as_ref().unwrap();
    assert!(note.contains("'broken' is not a valid JSON Schema (and 1 more)"), "{note}");
    assert_eq!(report.to_json()["note"], json!(note));
    for action in ["remote", "broken"] {
        assert_eq!(takes(&openact, action).await, json!({"type": "object"}));
        let done = value(&openact, &format!("mcp/{action}"), json!({"b": 1})).await;
        assert_eq!(done["content"][0]["text"], "done", "{action}");
    }
    assert_eq!(takes(&openact, "tree").await["properties"]["child"], json!({"$ref": "#"}));
    assert!(elsewhere.received().is_empty());
}

#[tokio::test]
async fn the_reference_server_keeps_its_session_and_forgets_it() {
    let server = Arc::new(Mcp::everything());
    let actions = json!({
        "sum": {"tool": "get-sum", "arguments": {"a": "{{a}}", "b": "{{b}}"}},
        "structured": {"tool": "get-structured-content"},
        "image": {"tool": "get-tiny-image"},
        "slow": {"tool": "trigger-long-running-operation", "arguments": {"duration": 0.2, "steps": 2}, "stream": true},
        "misspelt": {"tool": "get_sums"},
        "tools": {"operation": "list-tools"},
        "resources": {"operation": "list-resources", "limit": 3},
        "prompts": {"operation": "list-prompts"},
    });
    let openact = opened(json!({ "url": server.url }), actions).await;
    let input = json!({"a": 2, "b": 40});
    let sum = value(&openact, "mcp/sum", input.clone()).await;
    assert!(sum["content"][0]["text"].as_str().unwrap().contains("42"), "{sum}");
    assert_eq!(requests(&openact, "mcp/sum", input.clone()).await, 1);
    // Its sessions are gone: refused once, asked for its version, greeted, told so, called.
    let restarted = server.clone();
    // Beside the runtime, which has to notice that its connections are gone.
    tokio::task::spawn_blocking(move || restarted.restart()).await.unwrap();
    assert_eq!(requests(&openact, "mcp/sum", input.clone()).await, 5);
    assert_eq!(requests(&openact, "mcp/sum", input).await, 1);

    let weather = value(&openact, "mcp/structured", json!({"location": "New York"})).await;
    assert!(weather["structured_content"]["temperature"].is_number(), "{weather}");
    let image = value(&openact, "mcp/image", json!({})).await;
    let kinds: Vec<_> = image["content"].as_array().unwrap().iter().map(|item| &item["type"]).collect();
    assert!(kinds.contains(&&json!("image")), "{kinds:?}");
    let tools = value(&openact, "mcp/tools", json!({})).await;
    assert!(names(&tools["tools"]).contains(&"get-sum"));
    let resources = value(&openact, "mcp/resources", json!({})).await;
    assert_eq!(
        (resources["resources"].as_array().unwrap().len(), &resources["truncated"]),
        (3, &json!(true))
    );
    assert!(value(&openact, "mcp/prompts", json!({})).await["prompts"].as_array().unwrap().len() > 1);
    let (error, _) = failure(&openact, "mcp/misspelt", json!({})).await;
    assert!(error.message.contains("the nearest: get-sum"), "{error:?}");
    let (items, result) = streamed(&openact, "mcp/slow", json!({})).await;
    assert_eq!(items.len(), 2, "{items:?}");
    assert!(result["content"][0]["text"].as_str().unwrap().contains("completed"), "{result}");
    assert_eq!(checked(&openact).await["protocol"], "2025-11-25");
}

#[tokio::test]
async fn a_session_is_shared_by_calls_at_once() {
    let openact = opened(json!({"url": mcp_everything().url}), json!({"sum": {"tool": "get-sum"}})).await;
    value(&openact, "mcp/sum", json!({"a": 0, "b": 0})).await;
    let calls = (0..8).map(|number| {
        let openact = openact.clone();
        tokio::spawn(async move {
            let sum = value(&openact, "mcp/sum", json!({"a": number, "b": 1000})).await;
            assert!(
                sum["content"][0]["text"].as_str().unwrap().contains(&(number + 1000).to_string()),
                "{sum}"
            );
        })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap();
    }
}

/// What is handed on while the call runs, and its result.
async fn streamed(openact: &OpenAct, action: &str, input: Value) -> (Vec<Value>, Value) {
    let (sender, mut items) = tokio::sync::mpsc::channel(1);
    let mut call = request(action, input);
    call.items = Some(sender);
    let gather = async {
        let mut all = Vec::new();
        while let Some(item) = items.recv().await {
            all.push(serde_json::from_str::<Value>(item.get()).unwrap());
        }
        all
    };
    let (execution, items) = tokio::join!(openact.execute(call), gather);
    (items, execution.result.unwrap().value().unwrap())
}

#[tokio::test]
async fn progress_is_a_stream() {
    for protocol in ["auto", "2025-11-25"] {
        let openact = opened(python(protocol), actions()).await;
        let (items, result) = streamed(&openact, "mcp/count", json!({"to": 3})).await;
        let expected: Vec<_> =
            (1..=3).map(|n| json!({"progress": n, "total": 3, "message": format!("at {n}")})).collect();
        let floats: Vec<_> = items.iter().map(|item| item["progress"].as_f64().unwrap()).collect();
        assert_eq!((floats, items.len()), (vec![1.0, 2.0, 3.0], expected.len()), "{protocol} {items:?}");
        assert_eq!(items[2]["message"], expected[2]["message"]);
        assert_eq!(result["content"][0]["text"], "counted to 3");
    }
}

/// Reads one request, and gives the stream to answer on and the body.
fn received(listener: &TcpListener) -> (TcpStream, String, Value) {
    let (stream, _) = listener.accept().unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    (stream, head, serde_json::from_slice(&body).unwrap())
}

/// Each event is seen when it was sent, though more is to come and its end could be the beginning of the token's echo; else
/// this server and the connector would wait for each other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_server_asks_for_is_answered_before_its_stream_goes_on() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (mut first, head, message) = received(&listener);
        assert_eq!(message["method"], "initialize");
        assert!(head.to_lowercase().contains("authorization: bearer canary-mcp-6uf2token"), "{head}");
        let result = json!({"jsonrpc": "2.0", "id": message["id"], "result":
            {"protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": {"name": "s", "version": "1"}}});
        let result = result.to_string();
        let head =
            "HTTP/1.1 200 OK\r\nconnection: close\r\nmcp-session-id: s1\r\ncontent-type: application/json";
        write!(first, "{head}\r\ncontent-length: {}\r\n\r\n{result}", result.len()).unwrap();
        let (mut told, _, _) = received(&listener);
        write!(told, "HTTP/1.1 202 Accepted\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").unwrap();
        let (mut call, _, message) = received(&listener);
        let head = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: text/event-stream";
        write!(call, "{head}\r\n\r\ndata: {}\n\n", json!({"jsonrpc": "2.0", "id": 5, "method": "ping"}))
            .unwrap();
        let (mut reply, head, answer) = received(&listener);
        assert!(head.to_lowercase().contains("mcp-session-id: s1"), "{head}");
        write!(reply, "HTTP/1.1 202 Accepted\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").unwrap();
        let result = json!({"content": [{"type": "text", "text": Mcp::TOKEN}]});
        // It answers and does not end the stream.
        write!(call, "data: {}\n\n", json!({"jsonrpc": "2.0", "id": message["id"], "result": result}))
            .unwrap();
        (answer, call)
    });
    let connection = json!({"url": url, "protocol": "2025-06-18",
        "authorization": {"type": "bearer", "token": Mcp::TOKEN}});
    let openact = opened(connection, json!({"call": {"tool": "t"}})).await;
    let result = value(&openact, "mcp/call", json!({})).await;
    let (answer, _call) = server.join().unwrap();
    assert_eq!(answer, json!({"jsonrpc": "2.0", "id": 5, "result": {}}));
    assert_eq!(
        result["content"][0]["text"],
        "*".repeat(Mcp::TOKEN.len()),
        "an echo of the token is blanked out"
    );
}

#[tokio::test]
async fn a_redirect_to_another_host_is_not_followed() {
    let other = Upstream::json("{}").await;
    let to = other.url() + "/mcp";
    let upstream = Upstream::start(move |_| Answer::full(307, &[("location", &to)], "")).await;
    let openact = opened(json!({ "url": upstream.url() }), actions()).await;
    let (error, _) = failure(&openact, "mcp/add", json!({})).await;
    assert_eq!(error.code, ErrorCode::UpstreamError);
    assert!(error.message.contains("redirects"), "{error:?}");
    assert!(other.received().is_empty());
}

#[tokio::test]
async fn a_dry_run_shows_the_call_and_sends_nothing() {
    let upstream = Upstream::json("{}").await;
    let connection = json!({"url": upstream.url(), "authorization": {"type": "bearer", "token": Mcp::TOKEN}});
    let openact = opened(connection, actions()).await;
    let mut call = request("mcp/add", json!({"a": 1, "b": 2}));
    call.dry_run = true;
    let shown = openact.execute(call).await.result.unwrap().value().unwrap().to_string();
    assert!(shown.contains("tools/call") && !shown.contains(Mcp::TOKEN), "{shown}");
    assert!(upstream.received().is_empty());
}

#[tokio::test]
async fn c1_the_token_is_nowhere() {
    let logged = Logged::start();
    let openact = opened(python("auto"), actions()).await;
    let mut seen = vec![checked(&openact).await.to_string()];
    for (action, input) in
        [("add", json!({"a": 1, "b": 2})), ("headers", json!({})), ("count", json!({"to": 2}))]
    {
        let execution = openact.execute(request(&format!("mcp/{action}"), input)).await;
        seen.push(execution.result.unwrap().value().unwrap().to_string());
        seen.push(format!("{:?}", execution.run.unwrap()));
    }
    // The server did get it, and says so.
    assert!(seen[3].contains("authorization"), "{}", seen[3]);
    for (action, input) in [("fail", json!({"what": "x"})), ("ad", json!({})), ("add", json!({"a": "x"}))] {
        let (error, run) = failure(&openact, &format!("mcp/{action}"), input).await;
        seen.push(format!("{error:?}"));
        seen.push(format!("{run:?}"));
    }
    seen.push(openact.export(&Tenant::default(), &[], Format::Yaml).await.unwrap());
    seen.push(logged.text());
    for text in seen {
        assert!(!text.contains(Mcp::TOKEN) && !text.contains("6uF2"), "{text}");
    }
}

/// The file of `config/examples`, every action of it.
#[tokio::test]
async fn the_example_does_what_it_says() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/examples/mcp.yaml");
    let openact = memory(&[("TOOLS_TOKEN", Mcp::TOKEN), ("TOOLS_URL", &mcp_python().url)]).config_file(file);
    let openact = openact.build().await.unwrap();
    for (action, input, place, expected) in [
        ("add", json!({"a": 2, "b": 40}), "/content/0/text", "42"),
        ("count-to-three", json!({}), "/content/0/text", "counted to 3"),
        ("all-tools", json!({}), "/tools/0/name", "add"),
        ("note", json!({"name": "one"}), "/contents/0/text", "the note one"),
        ("greeting", json!({"name": "Ada"}), "/messages/0/content/text", "Say hello to Ada"),
    ] {
        let result = value(&openact, &format!("mcp/{action}"), input).await;
        assert_eq!(result.pointer(place), Some(&json!(expected)), "{action} {result}");
    }
    let (error, _) = failure(&openact, "mcp/add", json!({"a": 1})).await;
    assert_eq!(error.code, ErrorCode::InvalidInput);
}
