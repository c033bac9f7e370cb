//! The MCP Inspector's command-line mode, over both transports and both generations of the protocol.
//!
//! Invariant: each step is a process of its own, as somebody at a terminal runs it: what it prints and its exit code are
//! all that is looked at.

use std::path::Path;

use serde_json::{Value, json};
use support::{
    command::{openact_bin, stderr, stdout},
    servers::{node, npm},
};

use super::{Serving, run};

/// Generations by the Inspector's names, and the version each speaks.
const ERAS: [(&str, &str); 2] = [("legacy", "2025-11-25"), ("modern", "2026-07-28")];

/// The Inspector's exit code for a tool that says it failed.
const TOOL_FAILED: i32 = 5;

struct Inspector<'a> {
    home: &'a Path,
    /// What says which server.
    target: Vec<String>,
}

impl Inspector<'_> {
    fn asks(&self, method: &str, arguments: &[&str]) -> (Option<i32>, Value) {
        let mut command = node(&npm("@modelcontextprotocol/inspector/clients/launcher/build/index.js"));
        command.arg("--cli").args(&self.target).args(["--method", method]).args(arguments);
        let output = run(command.args(["--format", "json"]).env("HOME", self.home));
        let text = stdout(&output);
        let printed: Value =
            serde_json::from_str(&text).unwrap_or_else(|_| panic!("{method}: {text} {}", stderr(&output)));
        (output.status.code(), printed["result"].clone())
    }

    fn calls(&self, tool: &str, arguments: &Value) -> (Option<i32>, Value) {
        self.asks("tools/call", &["--tool-name", tool, "--tool-args-json", &arguments.to_string()])
    }
}

/// A file of servers as such clients have: ours by each transport, in each generation.
fn servers(serving: &Serving) -> Value {
    let file = serving.config_file().display().to_string();
    let token = format!("Bearer {}", serving.token.as_deref().unwrap());
    let mut servers = json!({});
    for (era, _) in ERAS {
        servers[format!("http-{era}")] = json!({
            "type": "streamable-http", "url": format!("{}/mcp", serving.server.url),
            "headers": {"Authorization": token}, "protocolEra": era,
        });
        servers[format!("stdio-{era}")] = json!({
            "type": "stdio", "command": openact_bin(), "args": ["mcp", "--config", file],
            "env": {"OPENACT_HOME": serving.home.path()}, "protocolEra": era,
        });
    }
    json!({ "mcpServers": servers })
}

fn names<'a>(listed: &'a Value, what: &str) -> Vec<&'a str> {
    listed[what].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_inspector_does_everything_over_both_transports() {
    let serving = Serving::with_token().await;
    let file = serving.home.path().join("servers.json");
    std::fs::write(&file, servers(&serving).to_string()).unwrap();
    for (era, version) in ERAS {
        for transport in ["http", "stdio"] {
            let target = ["--config", file.to_str().unwrap(), "--server", &format!("{transport}-{era}")];
            let inspector =
                Inspector { home: serving.home.path(), target: target.map(str::to_owned).to_vec() };
            conversation(&inspector, version);
        }
    }
    assert!(
        serving.upstream.received().iter().all(|request| request.method == "GET"),
        "the dry run was none"
    );
}

fn conversation(inspector: &Inspector<'_>, version: &str) {
    let (code, about) = inspector.asks("initialize", &[]);
    assert_eq!((code, &about["protocolVersion"]), (Some(0), &json!(version)), "{about}");
    assert_eq!(about["serverInfo"]["name"], "openact", "{about}");
    let (code, tools) = inspector.asks("tools/list", &[]);
    assert_eq!(code, Some(0));
    for tool in ["http.broken", "http.get-user", "http.list", "http.remove", "openact.execute"] {
        assert!(names(&tools, "tools").contains(&tool), "{tools}");
    }
    let (code, user) = inspector.calls("http.get-user", &json!({"login": "octocat"}));
    assert_eq!((code, &user["structuredContent"]["body"]["target"]), (Some(0), &json!("/users/octocat")));
    let (code, list) = inspector.calls("http.list", &json!({}));
    assert_eq!(
        (code, list["structuredContent"]["items"].as_array().map(Vec::len)),
        (Some(0), Some(3)),
        "{list}"
    );
    let dry = json!({"connector": "http", "action": "remove", "version": "latest", "input": {"login": "octocat"}, "dry_run": true});
    let (code, shown) = inspector.calls("openact.execute", &dry);
    assert_eq!((code, &shown["structuredContent"]["dry_run"]), (Some(0), &json!(true)), "{shown}");
    for (tool, arguments, expected) in [
        ("http.broken", json!({}), "upstream_error"),
        ("http.get-user", json!({"login": ""}), "invalid_input"),
    ] {
        let (code, failed) = inspector.calls(tool, &arguments);
        assert_eq!(code, Some(TOOL_FAILED), "{failed}");
        assert_eq!(failed["structuredContent"]["error"]["code"], expected, "{failed}");
    }
    let (code, resources) = inspector.asks("resources/list", &[]);
    assert_eq!(code, Some(0));
    assert!(names(&resources, "resources").contains(&"http/get-user"), "{resources}");
    let (code, read) = inspector.asks("resources/read", &["--uri", "openact://actions/http/get-user"]);
    assert_eq!(code, Some(0));
    let action: Value = serde_json::from_str(read["contents"][0]["text"].as_str().unwrap()).unwrap();
    assert_eq!(action["tool"], "http.get-user");
}

/// As its documentation has it, without a file.
#[tokio::test(flavor = "multi_thread")]
async fn the_inspector_is_refused_without_a_token() {
    let serving = Serving::with_token().await;
    let url = format!("{}/mcp", serving.server.url);
    let token = format!("Authorization: Bearer {}", serving.token.as_deref().unwrap());
    let ask = |header: &[&str]| {
        let mut command = node(&npm("@modelcontextprotocol/inspector/clients/launcher/build/index.js"));
        command.args(["--cli", &url, "--transport", "http", "--method", "tools/list", "--stored-auth-only"]);
        run(command.args(header).env("HOME", serving.home.path()))
    };
    let output = ask(&["--header", &token]);
    assert!(output.status.success() && stdout(&output).contains("http.get-user"), "{}", stderr(&output));
    // Its code for whoever has to log in first.
    let output = ask(&[]);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert!(!stdout(&output).contains("http.get-user"));
}
