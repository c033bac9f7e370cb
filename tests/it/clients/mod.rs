//! Clients that others wrote: the MCP Inspector, the official conformance suite, a client generated from the OpenAPI
//! document, Schemathesis.
//!
//! Invariant: what they talk to is `openact serve --mcp` or `openact mcp` as people start it, over an API on loopback.

mod conformance;
mod generated;
mod inspector;
mod schemathesis;

use std::{
    path::PathBuf,
    process::{Command, Output},
};

use serde_json::{Value, json};
use support::{
    command::{openact, stderr, stdout},
    upstream::{Answer, Received, Upstream},
};

use crate::rest::serve::Server;

/// An API, actions over it, and a server of them.
struct Serving {
    server: Server,
    /// What callers need, if there is one.
    token: Option<String>,
    upstream: Upstream,
    home: tempfile::TempDir,
}

impl Serving {
    /// One that everybody on this machine may use.
    async fn open() -> Self {
        Self::start(false).await
    }

    /// One that needs a token, which may do everything.
    async fn with_token() -> Self {
        Self::start(true).await
    }

    async fn start(needs_token: bool) -> Self {
        let upstream = Upstream::start(answer).await;
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("config.json");
        std::fs::write(&file, config(&upstream).to_string()).unwrap();
        let token = needs_token.then(|| {
            let arguments = ["token", "create", "clients", "--manage", "--all-tenants"];
            let created = openact(home.path()).args(arguments).output().unwrap();
            assert!(created.status.success(), "{}", stderr(&created));
            stdout(&created).trim().to_owned()
        });
        let mut serve = openact(home.path());
        serve.args([
            "serve",
            "--mcp",
            "--addr",
            "127.0.0.1:0",
            "--allow-private",
            "127.0.0.1/32",
            "--config",
        ]);
        let server = Server::start(serve.arg(&file), "ready");
        Self { server, token, upstream, home }
    }

    fn config_file(&self) -> PathBuf {
        self.home.path().join("config.json")
    }
}

fn answer(request: &Received) -> Answer {
    match request.target.split('?').next().unwrap_or_default() {
        "/list" => Answer::Json(r#"[{"n": 1}, {"n": 2}, {"n": 3}]"#.to_owned()),
        "/broken" => Answer::full(500, &[], "broken"),
        _ => Answer::Json(json!({"target": request.target}).to_string()),
    }
}

/// Actions that succeed, fail, stream and change something; and under the names that the conformance suite calls, tools of
/// the kinds that OpenAct has.
fn config(upstream: &Upstream) -> Value {
    let login = json!({
        "type": "object", "properties": {"login": {"type": "string", "minLength": 1}},
        "required": ["login"], "additionalProperties": false,
    });
    let named = |name: &str| json!({"enabled": true, "tool_name": name, "description": format!("of the suite: {name}")});
    let list = json!({"connection": "api", "path": "/list", "pagination": {"type": "page", "max_pages": 1}});
    let broken = json!({"connection": "api", "path": "/broken", "response": {"fail_on_status": true}});
    let with = |action: &Value, mcp: Value| {
        let mut action = action.clone();
        action["mcp"] = mcp;
        action
    };
    let mcp = json!({"enabled": true});
    json!({"connectors": {"http": {
        "connections": {"api": {"base_url": upstream.url()}},
        "actions": {
            "get-user": {"connection": "api", "path": "/users/{login}", "description": "a user by login",
                "input_schema": login, "mcp": mcp},
            "anything": {"connection": "api", "path": "/anything", "input_schema": {"type": "object"}},
            "list": with(&list, mcp.clone()),
            "broken": with(&broken, mcp.clone()),
            "remove": {"connection": "api", "method": "DELETE", "path": "/users/{login}", "input_schema": login,
                "mcp": mcp},
            "suite-text": {"connection": "api", "path": "/text", "mcp": named("test_simple_text")},
            "suite-error": with(&broken, named("test_error_handling")),
            "suite-progress": with(&list, named("test_tool_with_progress")),
            "suite-log": {"connection": "api", "path": "/text", "mcp": named("test_logging_tool")},
            "suite-header": {"connection": "api", "path": "/text", "mcp": named("test_header"), "input_schema": {
                "type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}}},
            "suite-schema": {"connection": "api", "path": "/schema", "input_schema": conformance::schema(),
                "mcp": named("json_schema_2020_12_tool")},
        },
    }}})
}

/// What a program gave, whatever came of it.
fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{:?}: {error}", command.get_program()))
}
