//! The five doors, and what comes out of each, in one form.
//!
//! Invariant: what a door says of itself (exit code, status, upper case, `isError`) is held against the table of codes here,
//! and is not in what is compared.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::Arc,
};

use openact::{Door, ErrorCode, Governance, OpenAct, Request, RunId, Tenant};
use serde_json::{Value, json};
use support::command::{openact, stderr, stdout};

use crate::rest::serve::Server;

/// A call, the same by every door.
#[derive(Clone)]
pub(super) struct Call {
    pub(super) trn: String,
    pub(super) input: Value,
    pub(super) dry_run: bool,
}

/// What came of it: the result, or the error as JSON with its code in lower case; and the run, if there is one.
#[derive(Debug)]
pub(super) struct Came {
    pub(super) outcome: Result<Value, Value>,
    pub(super) run: Option<RunId>,
}

/// The command, with the database in `home`. The key is the environment's, so that all processes have the same.
pub(super) fn command(home: &Path, env: &[(&str, &str)]) -> Command {
    let mut command = openact(home);
    command.args(["--db", &database(home)]).envs(env.iter().copied());
    command
}

pub(super) fn database(home: &Path) -> String {
    format!("sqlite://{}", home.join("test.db").display())
}

fn run_id(value: &Value) -> Option<RunId> {
    value.as_str().map(|id| id.parse().unwrap())
}

fn code_of(error: &Value) -> ErrorCode {
    error["code"].as_str().unwrap_or_default().parse().unwrap_or_else(|()| panic!("no code of ours: {error}"))
}

/// `openact run`: a process for each call.
pub(super) async fn cli(mut command: Command, call: &Call) -> Came {
    let input = call.input.to_string();
    command.args(["run", &call.trn, "--input", &input, "--format", "json", "--show-run", "--quiet"]);
    if call.dry_run {
        command.arg("--dry-run");
    }
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let said = stderr(&output);
    let lines: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let run = lines.iter().find_map(|line| run_id(&line["run_id"]));
    let error = lines.iter().find(|line| line["error"].is_object() && line["run_id"].is_null());
    let outcome = match error {
        None => Ok(serde_json::from_str(&stdout(&output)).expect(&said)),
        Some(error) => Err(error["error"].clone()),
    };
    let exit = outcome.as_ref().err().map_or(0, |error| code_of(error).exit_code());
    assert_eq!(output.status.code(), Some(i32::from(exit)), "{said}");
    assert!(outcome.is_ok() || output.stdout.is_empty(), "{}", stdout(&output));
    Came { outcome, run }
}

/// REST, of a server that runs.
pub(super) async fn rest(server: &Server, call: &Call) -> Came {
    let body = json!({"action_trn": call.trn, "input": call.input, "options": {"dry_run": call.dry_run}});
    let (status, answer) = post(&format!("{}/api/v1/execute", server.url), &[], &body).await;
    let run = run_id(&answer["metadata"]["run_id"]);
    if answer["success"] == true {
        assert_eq!(status, 200, "{answer}");
        return Came { outcome: Ok(answer["data"]["result"].clone()), run };
    }
    let mut error = answer["error"].clone();
    let code = error["code"].as_str().unwrap().to_owned();
    assert_eq!(code, code.to_uppercase());
    error["code"] = code.to_lowercase().into();
    assert_eq!(status, code_of(&error).http_status(), "{answer}");
    Came { outcome: Err(error), run }
}

/// MCP over Streamable HTTP, of the same server.
pub(super) async fn mcp_http(server: &Server, call: &Call) -> Came {
    let mut params = execute(call);
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
    let headers = [
        ("accept", "application/json, text/event-stream"),
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", "openact.execute"),
    ];
    let (status, answer) = post(&format!("{}/mcp", server.url), &headers, &message).await;
    assert_eq!(status, 200, "{answer}");
    told(&answer)
}

/// MCP over stdio: one process for all calls.
pub(super) struct Conversation {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    calls: u64,
}

impl Conversation {
    pub(super) fn start(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        let mut started = Self { child, stdin, stdout, calls: 0 };
        started.ask("initialize", &json!({
            "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"},
        }));
        started.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
        started
    }

    fn send(&mut self, message: &Value) {
        writeln!(self.stdin.as_mut().unwrap(), "{message}").unwrap();
    }

    fn ask(&mut self, method: &str, params: &Value) -> Value {
        self.calls += 1;
        self.send(&json!({"jsonrpc": "2.0", "id": self.calls, "method": method, "params": params}));
        loop {
            let mut line = String::new();
            assert!(self.stdout.read_line(&mut line).unwrap() > 0, "it ended");
            let message: Value = serde_json::from_str(&line).unwrap();
            if message["id"] == self.calls {
                return message;
            }
        }
    }

    pub(super) fn call(&mut self, call: &Call) -> Came {
        told(&self.ask("tools/call", &execute(call)))
    }

    /// Leaves, and waits until it has written what it has to.
    pub(super) fn end(mut self) {
        self.stdin = None;
        assert!(self.child.wait().unwrap().success());
    }
}

/// The embedded crate.
pub(super) async fn embedded(openact: &OpenAct, governance: Arc<Governance>, call: &Call) -> Came {
    let request = Request {
        dry_run: call.dry_run,
        governance,
        ..Request::new(Door::Embedded, Tenant::default(), call.trn.clone(), call.input.clone())
    };
    let execution = openact.execute(request).await;
    let outcome = match execution.result {
        Ok(result) => Ok(result.value().unwrap()),
        Err(error) => Err(error.to_json()),
    };
    Came { outcome, run: execution.run.map(|run| run.id) }
}

fn execute(call: &Call) -> Value {
    let arguments = json!({"action_trn": call.trn, "input": call.input, "dry_run": call.dry_run});
    json!({"name": "openact.execute", "arguments": arguments})
}

/// A tool's result: `structuredContent`, the same as text, and a failure that says so.
fn told(answer: &Value) -> Came {
    let result = &answer["result"];
    let (structured, text) = (&result["structuredContent"], result["content"][0]["text"].as_str().unwrap());
    if result["isError"] == true {
        let error = structured["error"].clone();
        assert!(text.starts_with(&format!("{}: ", code_of(&error))), "{text}");
        return Came { outcome: Err(error), run: run_id(&structured["run_id"]) };
    }
    assert_eq!(serde_json::from_str::<Value>(text).unwrap(), *structured, "{answer}");
    Came { outcome: Ok(structured.clone()), run: run_id(&result["_meta"]["openact/run_id"]) }
}

async fn post(url: &str, headers: &[(&str, &str)], body: &Value) -> (u16, Value) {
    let mut request = reqwest::Client::new().post(url).header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = request.body(body.to_string()).send().await.unwrap();
    let (status, text) = (response.status().as_u16(), response.text().await.unwrap());
    (status, serde_json::from_str(&text).unwrap_or_else(|_| panic!("{status} {text}")))
}
