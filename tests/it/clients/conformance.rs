//! The official conformance suite of the Model Context Protocol, both ways: it judges our server, and it is the server by
//! which our connector is judged.
//!
//! Invariant: what fails is listed with the reason, and what is listed has to fail, so that no reason outlives its cause.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use serde_json::{Value, json};
use support::{
    command::{openact_bin, stderr},
    servers::{node, npm, own},
};

use super::{Serving, run};

/// What fails, and why it may: a scenario, `scenario:check`, or the beginning of their names and `*`.
type Exceptions = &'static [(&'static str, &'static str)];

const NO_CONTENT: &str =
    "a result is what the action gave, as JSON: there are no images, sounds or embedded resources";
const NO_PROMPTS: &str = "actions are tools; there are no prompts";
const OWN_RESOURCES: &str =
    "resources are actions and runs; there are none at the suite's addresses, and they are not told of";
const NO_QUESTIONS: &str = "no tool asks the client for anything";
const NO_LOGGING: &str = "log lines are the server's, not the caller's";
const NO_TASKS: &str = "an extension: runs that outlive a call are started by REST";

const SERVER_2025_11_25: Exceptions = &[
    ("logging-set-level", NO_LOGGING),
    ("tools-call-with-logging", NO_LOGGING),
    ("completion-complete", NO_PROMPTS),
    ("prompts-*", NO_PROMPTS),
    ("tools-call-image", NO_CONTENT),
    ("tools-call-audio", NO_CONTENT),
    ("tools-call-embedded-resource", NO_CONTENT),
    ("tools-call-mixed-content", NO_CONTENT),
    ("tools-call-sampling", NO_QUESTIONS),
    ("tools-call-elicitation", NO_QUESTIONS),
    ("elicitation-*", NO_QUESTIONS),
    ("resources-read-*", OWN_RESOURCES),
    ("resources-templates-read", OWN_RESOURCES),
    ("resources-subscribe", OWN_RESOURCES),
    ("resources-unsubscribe", OWN_RESOURCES),
    ("server-sse-polling:server-sse-disconnect-resume", "no tool ends its stream before its answer"),
];

const SERVER_2026_07_28: Exceptions = &[
    ("completion-complete", NO_PROMPTS),
    ("prompts-*", NO_PROMPTS),
    ("caching:sep-2549-prompts-list-caching-hints", NO_PROMPTS),
    ("tools-call-image", NO_CONTENT),
    ("tools-call-audio", NO_CONTENT),
    ("tools-call-embedded-resource", NO_CONTENT),
    ("tools-call-mixed-content", NO_CONTENT),
    ("resources-read-*", OWN_RESOURCES),
    ("resources-templates-read", OWN_RESOURCES),
    ("input-required-result-*", NO_QUESTIONS),
    ("server-stateless:sep-2575-server-rejects-undeclared-capability", NO_QUESTIONS),
    ("server-stateless:sep-2575-missing-capability-http-400", NO_QUESTIONS),
    ("server-stateless:sep-2575-http-server-no-independent-requests-on-stream", NO_QUESTIONS),
    (
        "server-stateless:sep-2575-server-sends-tools-list-changed-on-subscription",
        "tools change with the configuration; no tool changes them, as the suite's would",
    ),
    (
        "http-custom-header-server-validation:*",
        "no tool wants an argument as a header: what says so is taken out",
    ),
    ("tasks-*", NO_TASKS),
];

/// What is run with our connector as the client, and what fails. The scenarios called `auth/…` are of clients that log people
/// in by a browser; those of elicitation, of clients that have somebody to ask.
const CLIENT: [(&str, &str, Exceptions); 11] = [
    ("initialize", "2025-11-25", &[]),
    ("tools_call", "2025-11-25", &[]),
    ("sse-retry", "2025-11-25", &[]),
    ("json-schema-2020-12-preservation", "2025-11-25", &[]),
    ("tools_call", "2026-07-28", &[]),
    (
        "request-metadata",
        "2026-07-28",
        &[(
            "request-metadata:sep-2575-client-retry-supported-version",
            "the server refuses a version and names the same one as what it speaks: asking again is no use",
        )],
    ),
    ("http-standard-headers", "2026-07-28", &[]),
    ("http-custom-headers", "2026-07-28", &[]),
    ("http-invalid-tool-headers", "2026-07-28", &[]),
    ("json-schema-ref-no-deref", "2026-07-28", &[]),
    ("json-schema-2020-12-preservation", "2026-07-28", &[]),
];

/// The schema that the suite's tool of that name has: every keyword of it has to arrive.
pub(super) fn schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "$defs": {"address": {
            "$anchor": "addressDef", "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }},
        "properties": {
            "name": {"type": "string"}, "address": {"$ref": "#/$defs/address"},
            "contactMethod": {"type": "string", "enum": ["phone", "email"]},
            "phone": {"type": "string"}, "email": {"type": "string"},
        },
        "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
        "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
        "then": {"required": ["phone"]},
        "else": {"required": ["email"]},
        "additionalProperties": false,
    })
}

fn suite(home: &Path) -> std::process::Command {
    let mut command = node(&npm("@modelcontextprotocol/conformance/dist/index.js"));
    command.env("HOME", home);
    command
}

/// What came of the scenarios that were run, by the suite's own records.
struct Judged {
    /// Of each scenario how many checks passed, and `scenario:check` of those that did not.
    scenarios: BTreeMap<String, (usize, Vec<String>)>,
    messages: String,
}

impl Judged {
    /// The records in a folder, one folder per scenario, called `{prefix}SCENARIO-TIME`.
    fn of(folder: &Path, prefix: &str) -> Self {
        let mut judged = Self { scenarios: BTreeMap::new(), messages: String::new() };
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let (scenario, _) = name.split_at(name.len() - "-2026-07-28T00-00-00-000Z".len());
            let scenario = scenario.strip_prefix(prefix).unwrap();
            let checks = std::fs::read(entry.path().join("checks.json")).unwrap();
            let checks: Vec<Value> = serde_json::from_slice(&checks).unwrap();
            for check in checks {
                let (passed, failed) = judged.scenarios.entry(scenario.to_owned()).or_default();
                let id = format!("{scenario}:{}", check["id"].as_str().unwrap());
                // How late it was, a busy machine decides.
                let is_late = check["details"]["slightlyLate"] == true;
                match check["status"].as_str().unwrap() {
                    "SUCCESS" => *passed += 1,
                    "FAILURE" | "WARNING" if !is_late => {
                        judged.messages += &format!("{id}: {}\n", check["errorMessage"]);
                        failed.push(id);
                    }
                    _ => {}
                }
            }
        }
        judged
    }

    /// That every scenario passed something, and that what failed is what is listed, and all of that.
    #[track_caller]
    fn assert_only(&self, exceptions: Exceptions) {
        let mut unexpected = Vec::new();
        let mut stale: BTreeSet<&str> = exceptions.iter().map(|(what, _)| *what).collect();
        for (scenario, (passed, failed)) in &self.scenarios {
            let nothing = format!("{scenario}:nothing-was-looked-at");
            let nothing = Some(&nothing).filter(|_| *passed == 0 && failed.is_empty());
            for id in failed.iter().chain(nothing) {
                let is_of = |what: &str| match what.strip_suffix('*') {
                    Some(beginning) => id.starts_with(beginning),
                    None => what == id || what == scenario,
                };
                match exceptions.iter().find(|(what, _)| is_of(what)) {
                    Some((what, _)) => drop(stale.remove(what)),
                    None => unexpected.push(id.clone()),
                }
            }
        }
        let fine = unexpected.is_empty() && stale.is_empty() && !self.scenarios.is_empty();
        assert!(fine, "{unexpected:?}\nnot failing: {stale:?}\n{}", self.messages);
    }
}

/// Lets the suite judge a server by everything that a revision requires.
async fn judge_server(revision: &str, exceptions: Exceptions) {
    let serving = Serving::open().await;
    let folder = serving.home.path().join(revision);
    let url = format!("{}/mcp", serving.server.url);
    let mut suite = suite(serving.home.path());
    let output = run(suite.args(["server", "--url", &url, "--requirements", revision, "-o"]).arg(&folder));
    assert!(folder.is_dir(), "{}", stderr(&output));
    Judged::of(&folder, "server-").assert_only(exceptions);
}

#[tokio::test(flavor = "multi_thread")]
async fn our_server_does_what_2025_11_25_requires() {
    judge_server("2025-11-25", SERVER_2025_11_25).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn our_server_does_what_2026_07_28_requires() {
    judge_server("2026-07-28", SERVER_2026_07_28).await;
}

#[test]
fn our_connector_does_what_both_revisions_require() {
    let client = node(&own("conformance_client.mjs"));
    for (scenario, version, exceptions) in CLIENT {
        let home = tempfile::tempdir().unwrap();
        let [program, script] = [client.get_program().into(), own("conformance_client.mjs")];
        let command = [&program, &script, openact_bin(), home.path()].map(|path| path.display().to_string());
        let folder = home.path().join("judged");
        let arguments = ["client", "--command", &command.join(" "), "--scenario", scenario];
        let mut suite = suite(home.path());
        let output = run(suite.args(arguments).args(["--spec-version", version, "-o"]).arg(&folder));
        assert!(folder.is_dir(), "{scenario}: {}", stderr(&output));
        Judged::of(&folder, "").assert_only(exceptions);
    }
}
