//! `openact mcp`, byte by byte: standard output is the protocol and nothing else, whatever happens.

use std::{
    io::{BufRead, BufReader, Read, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use serde_json::{Value, json};
use support::{
    command::{openact, openact_bin},
    upstream::Upstream,
};

use super::{assert_failed, config, upstream};

/// `openact mcp` with a home of its own, as a client starts it.
pub(super) fn command(home: &Path, arguments: &[&str]) -> String {
    let home = format!("OPENACT_HOME={}", home.display());
    let mut command = vec!["env".to_owned(), home, openact_bin().display().to_string(), "mcp".to_owned()];
    command.extend(arguments.iter().map(|argument| (*argument).to_owned()));
    json!(command).to_string()
}

/// A running `openact mcp`. Everything it wrote to standard output is looked at when it has ended.
struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    seen: Vec<u8>,
    /// Answers that came before they were asked after.
    early: Vec<Value>,
    /// Standard error, read all the while: more than a pipe holds would stop it.
    errors: std::thread::JoinHandle<String>,
    home: tempfile::TempDir,
}

impl Running {
    /// One over `upstream`, with `arguments`, that was initialized.
    fn start(upstream: &Upstream, global: &[&str], arguments: &[&str]) -> Self {
        let mut running = Self::silent(upstream, global, arguments);
        running.send(&json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
            "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"},
        }}));
        assert_eq!(running.answer(0)["result"]["protocolVersion"], "2025-06-18");
        running.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
        running
    }

    /// One to which nothing was said.
    fn silent(upstream: &Upstream, global: &[&str], arguments: &[&str]) -> Self {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("config.json");
        std::fs::write(&file, config(upstream).to_string()).unwrap();
        let mut command: Command = openact(home.path());
        let db = format!("sqlite://{}", home.path().join("test.db").display());
        // The runs are looked at afterwards, so the configuration is in a database.
        let imported = openact(home.path()).args(["--db", &db, "import"]).arg(&file).output().unwrap();
        assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
        command.args(["--db", &db]).args(global).arg("mcp").args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        let mut stderr = child.stderr.take().unwrap();
        let errors = std::thread::spawn(move || {
            let mut text = Vec::new();
            stderr.read_to_end(&mut text).unwrap();
            String::from_utf8_lossy(&text).into_owned()
        });
        Self { child, stdin, stdout, seen: Vec::new(), early: Vec::new(), errors, home }
    }

    fn send(&mut self, message: &Value) {
        self.write(format!("{message}\n").as_bytes());
    }

    fn write(&mut self, bytes: &[u8]) {
        let stdin = self.stdin.as_mut().unwrap();
        stdin.write_all(bytes).unwrap();
        stdin.flush().unwrap();
    }

    fn call(&mut self, id: u64, name: &str, arguments: Value) {
        self.send(&json!({"jsonrpc": "2.0", "id": id, "method": "tools/call",
            "params": {"name": name, "arguments": arguments}}));
    }

    /// The answer to a request, in whatever order answers come.
    fn answer(&mut self, id: u64) -> Value {
        if let Some(at) = self.early.iter().position(|message| message["id"] == id) {
            return self.early.remove(at);
        }
        loop {
            let mut line = Vec::new();
            assert!(
                self.stdout.read_until(b'\n', &mut line).unwrap() > 0,
                "it ended before it answered {id}"
            );
            self.seen.extend_from_slice(&line);
            let message: Value = serde_json::from_slice(&line).unwrap();
            if message["id"] == id {
                return message;
            }
            self.early.push(message);
        }
    }

    /// Closes standard input.
    fn leave(&mut self) {
        self.stdin = None;
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
    }

    /// Waits for its end: exit code, the messages, what it said on standard error.
    fn end(mut self) -> (Option<i32>, Vec<Value>, String, tempfile::TempDir) {
        self.stdout.read_to_end(&mut self.seen).unwrap();
        let code = self.child.wait().unwrap().code();
        (code, messages(&self.seen), self.errors.join().unwrap(), self.home)
    }
}

/// The runs that the database of a home has.
fn runs(home: &Path) -> Vec<Value> {
    let db = format!("sqlite://{}", home.join("test.db").display());
    let listed = openact(home).args(["--db", &db, "list", "runs", "--format", "json"]).output().unwrap();
    serde_json::from_slice(&listed.stdout).unwrap()
}

/// Every byte is part of a line that is a message.
fn messages(bytes: &[u8]) -> Vec<Value> {
    assert!(bytes.is_empty() || bytes.ends_with(b"\n"), "it ends within a line");
    let lines = bytes.split_inclusive(|byte| *byte == b'\n');
    let parsed = lines.map(|line| {
        let message: Value = serde_json::from_slice(line)
            .unwrap_or_else(|_| panic!("no message: {}", String::from_utf8_lossy(line)));
        assert_eq!(message["jsonrpc"], "2.0", "{message}");
        message
    });
    parsed.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_byte_is_protocol_at_the_most_verbose() {
    let upstream = upstream().await;
    for global in [&["-vvv"][..], &["-vvv", "--log-format", "json"]] {
        let mut running = Running::start(&upstream, global, &[]);
        running.send(&json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}));
        running.call(2, "http.get-user", json!({"login": "octocat"}));
        running.call(3, "http.broken", json!({}));
        running.call(4, "no.such", json!({}));
        // What is no message, and what is none of ours.
        running.write(b"this is not json\n\n{\"half\": \n[1, 2]\n{\"jsonrpc\": \"2.0\", \"id\": 5, \"method\": \"no/such\"}\n");
        running.write(b"{\"jsonrpc\": \"2.0\", \"method\": \"notifications/no-such\"}\n\xff\xfe\n");
        running.call(6, "http.get-user", json!({"login": "again"}));
        for id in [1, 2, 3, 4, 5, 6] {
            let answer = running.answer(id);
            assert!(answer["result"].is_object() || answer["error"].is_object(), "{answer}");
        }
        running.leave();
        let (code, messages, errors, _) = running.end();
        assert_eq!(code, Some(0), "{errors}");
        // One answer each; without an id, one for the message that is none, and one for each line that is no JSON.
        assert_eq!(messages.len(), 11, "{messages:?}");
        let codes = |code: i64| messages.iter().filter(|message| message["error"]["code"] == code).count();
        assert_eq!((codes(-32700), codes(-32600)), (3, 1), "{messages:?}");
        assert!(errors.contains("openact"), "nothing was logged: {errors}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_asked_before_the_client_left_is_answered_and_recorded() {
    let upstream = upstream().await;
    let mut running = Running::start(&upstream, &[], &[]);
    running.call(1, "http.held", json!({}));
    upstream.wait_for_held(1).await;
    running.leave();
    upstream.release();
    let (code, messages, errors, home) = running.end();
    assert_eq!(code, Some(0), "{errors}");
    let answer = messages.iter().find(|message| message["id"] == 1).unwrap();
    assert_eq!(answer["result"]["structuredContent"]["body"], json!({"held": true}));
    let runs = runs(home.path());
    assert_eq!(runs.len(), 1, "{runs:?}");
    assert_eq!(runs[0]["door"], "mcp");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_ends_it_whatever_is_going_on() {
    let upstream = upstream().await;
    // Before it says anything, after half a line, and with a call that never ends.
    let mut silent = Running::silent(&upstream, &[], &[]);
    silent.leave();
    let mut half = Running::silent(&upstream, &[], &[]);
    half.write(b"{\"jsonrpc\": \"2.0\", \"id\": 1, \"method\": \"initi");
    half.leave();
    let mut endless = Running::start(&upstream, &[], &[]);
    endless.call(1, "http.held", json!({}));
    upstream.wait_for_held(1).await;
    endless.leave();
    for (running, calls) in [(silent, 0), (half, 0), (endless, 1)] {
        let (code, messages, errors, home) = running.end();
        assert_eq!(code, Some(0), "{errors}");
        assert!(messages.len() <= 1, "{messages:?}");
        // The call that nobody waits for any more was ended, and has its record.
        let runs = runs(home.path());
        assert_eq!(runs.len(), calls, "{runs:?}");
        for run in runs {
            assert_eq!(run["error"], json!({"code": "conflict", "message": "the run was cancelled"}));
            assert_eq!(run["host_calls"][0]["outcome"], "cancelled", "{run}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_a_crash_and_a_closed_output_leave_whole_messages() {
    let upstream = upstream().await;
    for (signal, expected) in [("TERM", Some(0)), ("INT", Some(0)), ("KILL", None)] {
        let mut running = Running::start(&upstream, &["-vvv"], &[]);
        for id in 1..50 {
            running.call(id, "http.get-user", json!({"login": "x".repeat(500)}));
        }
        running.answer(7);
        running.signal(signal);
        let (code, messages, errors, _) = running.end();
        assert_eq!(code, expected, "{signal}: {errors}");
        assert!(messages.len() >= 2, "{signal}");
    }
    let mut running = Running::start(&upstream, &[], &[]);
    let (stdin, mut child) = (running.stdin.take(), running.child);
    drop(running.stdout);
    let mut stdin = stdin.unwrap();
    // Standard input stays open: it is the output that nobody reads.
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    stdin.write_all(format!("{message}\n").as_bytes()).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_cancelled_by_a_notification() {
    let upstream = upstream().await;
    // There is one place: another call is answered once the first one has ended.
    let mut running = Running::start(&upstream, &[], &["--max-concurrency", "1"]);
    running.call(1, "http.held", json!({}));
    upstream.wait_for_held(1).await;
    running.send(&json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}));
    running.call(2, "http.get-user", json!({"login": "next"}));
    assert_eq!(running.answer(2)["result"]["structuredContent"]["body"]["target"], "/users/next");
    running.leave();
    let (code, messages, _, _) = running.end();
    assert_eq!(code, Some(0));
    assert!(messages.iter().all(|message| message["id"] != 1), "{messages:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_typed_says_which_tools_there_are_and_who_may_run_them() {
    let upstream = upstream().await;
    let mut running =
        Running::start(&upstream, &[], &["--preset", "b-only", "--allow", "http.*", "--deny", "http.remove"]);
    running.send(&json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}));
    let listed = running.answer(1);
    let tools = listed["result"]["tools"].as_array().unwrap().iter().map(|tool| tool["name"].clone());
    assert_eq!(tools.collect::<Vec<_>>(), ["http.broken", "http.get-user", "http.held", "http.list"]);
    running.call(2, "remove_user", json!({"login": "x"}));
    assert_failed(&running.answer(2)["result"], "forbidden");
    running.leave();
    assert_eq!(running.end().0, Some(0));
    for (arguments, code) in
        [(&["--allow", "http"][..], 2), (&["--tools", "all"], 2), (&["--max-concurrency", "0"], 2)]
    {
        let home = tempfile::tempdir().unwrap();
        let output = openact(home.path()).arg("mcp").args(arguments).output().unwrap();
        assert_eq!((output.status.code(), &output.stdout[..]), (Some(code), &[][..]), "{arguments:?}");
    }
    let home = tempfile::tempdir().unwrap();
    let output = openact(home.path()).args(["mcp", "--config", "/no/such.yaml"]).output().unwrap();
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(4), &[][..]));
}
