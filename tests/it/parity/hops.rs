//! Two hops: OpenAct's `mcp` connector calls the MCP server of another OpenAct, which calls the next system.
//!
//! Invariant: the inner one is a process of its own, so that nothing is the same in both but what they told each other.

use openact::{CheckOutcome, ErrorCode, Format, Governance, OpenAct, Request, Tenant, TraceContext};
use serde_json::{Value, json};
use support::{
    command::openact,
    upstream::{Answer, Received, Upstream},
};

use crate::{
    rest::serve::Server,
    setup::{config, failure, memory, request},
};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// The next system, and `openact serve --mcp` over it.
async fn inner(home: &std::path::Path) -> (Upstream, Server) {
    let upstream = Upstream::start(|request| match request.target.as_str() {
        "/broken" => Answer::full(500, &[], "it broke"),
        target => Answer::Json(json!({ "target": target }).to_string()),
    })
    .await;
    let mcp = json!({"enabled": true});
    let login = json!({"type": "object", "properties": {"login": {"type": "string"}}, "required": ["login"]});
    let actions = json!({
        "get": {"path": "/users/{login}", "input_schema": login, "mcp": mcp},
        "broken": {"path": "/broken", "response": {"fail_on_status": true}, "mcp": mcp},
    });
    let file = home.join("inner.json");
    std::fs::write(&file, config("http", json!({"base_url": upstream.url()}), actions)).unwrap();
    let mut serve = openact(home);
    serve
        .args(["serve", "--addr", "127.0.0.1:0", "--mcp", "--allow-private", "127.0.0.1/32", "--config"])
        .arg(&file);
    let server = tokio::task::spawn_blocking(move || Server::start(&mut serve, "ready")).await.unwrap();
    (upstream, server)
}

async fn outer(server: &Server, protocol: &str) -> OpenAct {
    let connection = json!({"url": format!("{}/mcp", server.url), "protocol": protocol});
    let actions = json!({
        "get": {"tool": "http.get"},
        "mine": {"tool": "http.get", "arguments": {"login": "{{whose}}"}},
        "broken": {"tool": "http.broken"},
    });
    memory(&[]).config_text(config("mcp", connection, actions), Format::Json).build().await.unwrap()
}

/// The newest of the inner one's `count` runs. They are written in groups, a moment after their calls.
async fn remembered(server: &Server, count: usize) -> Value {
    for _ in 0..100_000 {
        let answer = reqwest::get(format!("{}/api/v1/runs", server.url)).await.unwrap();
        let answer: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        let runs = answer["data"]["runs"].as_array().unwrap_or_else(|| panic!("{answer}"));
        if runs.len() == count {
            return runs[0].clone();
        }
    }
    panic!("there are no {count} runs");
}

fn told(received: &Received) -> TraceContext {
    let [parent] = received.header("traceparent")[..] else { panic!("{received:?}") };
    TraceContext::parse(parent, None).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openact_calls_its_own_mcp_server_in_one_trace() {
    let home = tempfile::tempdir().unwrap();
    let (upstream, server) = inner(home.path()).await;
    let parent = TraceContext::parse(PARENT, None).unwrap();
    for (round, protocol) in ["2026-07-28", "2025-11-25"].into_iter().enumerate() {
        let openact = outer(&server, protocol).await;
        let call = Request { trace: Some(parent.clone()), ..request("mcp/get", json!({"login": "octocat"})) };
        let execution = openact.execute(call).await;
        let result = execution.result.unwrap().value().unwrap();
        assert_eq!(result["structured_content"]["body"]["target"], "/users/octocat", "{protocol} {result}");
        assert_eq!(execution.run.unwrap().trace_id, Some(parent.trace_id));
        let run = remembered(&server, round + 1).await;
        assert_eq!((&run["door"], &run["status"]), (&json!("mcp"), &json!("ok")), "{run}");
        assert_eq!(run["trace_id"], json!(parent.trace_id), "{run}");
        let told = told(&upstream.received()[round]);
        assert_eq!(told.trace_id, parent.trace_id);
        assert_ne!(told.span_id, parent.span_id, "a span for each hop");
    }
    server.terminate();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_of_the_inner_call_is_told_by_the_outer_with_its_code() {
    let home = tempfile::tempdir().unwrap();
    let (upstream, server) = inner(home.path()).await;
    let mut runs = 0;
    for protocol in ["2026-07-28", "2025-11-25"] {
        let openact = outer(&server, protocol).await;
        for (action, inner) in [("broken", "upstream_error"), ("get", "invalid_input")] {
            let (error, run) = failure(&openact, &format!("mcp/{action}"), json!({})).await;
            assert_eq!(error.code, ErrorCode::UpstreamError, "{error:?}");
            assert!(error.message.contains(&format!("{inner}: ")), "{error:?}");
            let details = error.details.as_ref().unwrap().to_string();
            assert!(details.contains(&format!("\"code\":\"{inner}\"")), "{details}");
            runs += 1;
            let remembered = remembered(&server, runs).await;
            assert_eq!(remembered["error"]["code"].as_str().unwrap().to_lowercase(), inner, "{remembered}");
            assert!(details.contains(remembered["run_id"].as_str().unwrap()), "{details}");
            assert!(run.host_calls.iter().any(|call| call.target.ends_with("/mcp")), "{run:?}");
        }
        // Once it was checked, the outer one knows what the inner one takes, and asks nobody.
        let asked = upstream.received().len();
        let report = openact.check_connection(&Tenant::default(), "mcp/c").await.unwrap();
        assert!(matches!(report.outcome, CheckOutcome::Works(_)), "{report:?}");
        let takes = async |action: &str| {
            let reference = format!("mcp/{action}");
            openact
                .interface(&Tenant::default(), &reference, &Governance::default())
                .await
                .unwrap()
                .input_schema
        };
        assert_eq!(takes("get").await["required"], json!(["login"]));
        let mine = takes("mine").await;
        assert_eq!(
            (&mine["required"], &mine["properties"]["whose"]["type"]),
            (&json!(["whose"]), &json!("string"))
        );
        let (error, run) = failure(&openact, "mcp/get", json!({"login": 5})).await;
        assert_eq!((error.code, run.host_calls.len()), (ErrorCode::InvalidInput, 0), "{error:?}");
        assert_eq!(upstream.received().len(), asked);
    }
    server.terminate();
}
