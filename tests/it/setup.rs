//! What several modules set up alike: an OpenAct in memory, configuration as JSON, the hostile guest, a process of a
//! test's own.
//!
//! Invariant: nothing here is shared between two tests but compiled components.

use std::{path::Path, process::Output, sync::Arc};

use openact::{Builder, Door, Error, Execution, Format, OpenAct, Request, RunRecord, RunWrites, Tenant};
use serde_json::{Value, json};
use support::command::{stderr, stdout};

/// A builder whose database ends with it, and whose sandbox has room for eight calls.
pub(crate) fn memory(env: &[(&str, &str)]) -> Builder {
    support::builder(Path::new("unused"), env)
        .store("sqlite::memory:")
        .run_writes(RunWrites::BeforeAnswer)
        .instances_max(8)
}

/// A configuration of one connector and one connection, `c`.
pub(crate) fn config(connector: &str, connection: Value, actions: Value) -> String {
    let mut actions = actions;
    for action in actions.as_object_mut().unwrap().values_mut() {
        action["connection"] = "c".into();
    }
    json!({"connectors": {connector: {"connections": {"c": connection}, "actions": actions}}}).to_string()
}

/// An OpenAct with one connection of the `http` connector.
pub(crate) async fn http(connection: Value, actions: Value) -> OpenAct {
    memory(&[]).config_text(config("http", connection, actions), Format::Json).build().await.unwrap()
}

/// The two ways in which a component asks for HTTP; what holds for one has to hold for the other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Via {
    /// `openact:connector/http`, by the bundled connector.
    Contract,
    /// `wasi:http`, by the guest of that name.
    Wasi,
}

impl Via {
    pub(crate) const BOTH: [Self; 2] = [Self::Contract, Self::Wasi];

    fn connector(self) -> &'static str {
        match self {
            Self::Contract => "http",
            Self::Wasi => "wasi-http",
        }
    }

    /// The one action of [`Via::build`].
    pub(crate) fn action(self) -> &'static str {
        match self {
            Self::Contract => "http/send",
            Self::Wasi => "wasi-http/send",
        }
    }

    /// An OpenAct of `builder` with one connection and one action, which sends a GET if it says nothing else.
    pub(crate) async fn build(self, builder: Builder, connection: Value, action: Value) -> OpenAct {
        let builder = match self {
            Self::Contract => builder,
            Self::Wasi => builder.connector_bytes(support::guests::guest("wasi-http")),
        };
        let text = config(self.connector(), connection, json!({ "send": action }));
        builder.config_text(text, Format::Json).build().await.unwrap()
    }
}

/// Every operation of the guest `hostile`, as actions over one connection.
pub(crate) fn hostile_config(connection: Value) -> String {
    const OPERATIONS: [&str; 29] = [
        "echo",
        "spin",
        "spin-in-host",
        "allocate",
        "panic",
        "overflow-stack",
        "exit",
        "huge-output",
        "big-output",
        "malformed-json",
        "flood-host-calls",
        "flood-wasi",
        "flood-log",
        "flood-stdout",
        "huge-log",
        "flood-huge-log",
        "twice-log",
        "huge-request",
        "leak-handles",
        "leak-responses",
        "random-huge",
        "open-ungranted-host",
        "call-ungranted",
        "read-environment",
        "read-files",
        "raw-wasi-socket",
        "raw-wasi-http",
        "dump-memory",
        "stash",
    ];
    let actions = OPERATIONS.map(|name| (name.to_owned(), json!({"operation": name})));
    config("hostile", connection, Value::Object(actions.into_iter().collect()))
}

/// An OpenAct with the guest `hostile`.
pub(crate) async fn hostile(connection: Value) -> OpenAct {
    memory(&[])
        .connector_bytes(support::guests::guest("hostile"))
        .config_text(hostile_config(connection), Format::Json)
        .build()
        .await
        .unwrap()
}

/// A call of the tenant `default`.
pub(crate) fn request(action: &str, input: Value) -> Request {
    Request::new(Door::Embedded, Tenant::default(), action, input)
}

/// The value of a call that must succeed.
pub(crate) async fn value(openact: &OpenAct, action: &str, input: Value) -> Value {
    openact.run(action, input).await.unwrap().result.value().unwrap()
}

/// The error of a call that must fail, and its record, which must tell the same.
pub(crate) async fn failure(openact: &OpenAct, action: &str, input: Value) -> (Error, Arc<RunRecord>) {
    let Execution { result, run } = openact.execute(request(action, input)).await;
    let (error, run) = (result.unwrap_err(), run.expect("a call that reached an action has a record"));
    assert_eq!(run.failure, Some((error.code, error.message.clone())));
    (error, run)
}

/// Which limit an error says was passed.
pub(crate) fn limit(error: &Error) -> Option<&str> {
    error.details.as_ref()?.get("limit")?.as_str()
}

const ROLE: &str = "OPENACT_TEST_ROLE";

/// What the test is told by the one that runs it as a process of its own; none in the first process.
pub(crate) fn role() -> Option<String> {
    std::env::var(ROLE).ok()
}

/// Starts the test called `name` again in a process of its own, which is told `role`, has `env`, and may open as many
/// files as 1,000 connections need on both sides.
pub(crate) fn start_again(name: &str, role: &str, env: &[(&str, &str)]) -> tokio::process::Child {
    tokio::process::Command::new("sh")
        .args(["-c", "ulimit -n 8192 2>/dev/null; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture"])
        .env(ROLE, role)
        .envs(env.iter().copied())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// Fails unless the test in the other process ran and passed.
pub(crate) fn assert_passed(output: &Output) {
    let (stdout, stderr) = (support::command::stdout(output), support::command::stderr(output));
    assert!(output.status.success() && stdout.contains("1 passed"), "{stdout}\n{stderr}");
}

/// A failure of the command: its code, its message, nothing on standard output, and nowhere the `secret`.
#[track_caller]
pub(crate) fn assert_fails(secret: &str, output: &Output, code: i32, parts: &[&str]) {
    let text = stderr(output);
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert_eq!(stdout(output), "");
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
    assert!(!text.contains(secret), "{text}");
}
