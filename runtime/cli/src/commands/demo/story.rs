//! What the demo tells, from what it saw.
//!
//! Invariant: every statement of the text is taken from what happened; one that did not come true reads so.

use std::time::Duration;

use openact::{Error, Plan};
use serde_json::Value;

use super::{CALLS, TOKEN};

pub(super) struct Story {
    pub(super) config: String,
    pub(super) plan: Plan,
    /// The result of the allowed call.
    pub(super) allowed: Value,
    /// The head of the request that arrived.
    pub(super) server_saw: String,
    /// The same request as the sandbox made it.
    pub(super) sandbox_saw: Value,
    /// Why the other call was refused.
    pub(super) denied: Error,
    /// Requests that arrived where none may go.
    pub(super) reached_elsewhere: usize,
    pub(super) timings: Timings,
}

pub(super) struct Timings {
    /// The import, compiling the connector included.
    pub(super) import: Duration,
    pub(super) first_call: Duration,
    /// The median of all later calls.
    pub(super) call: Duration,
    /// The median of the same request without OpenAct.
    pub(super) bare: Duration,
}

impl Story {
    pub(super) fn to_text(&self, took: Duration) -> String {
        let plan: String = self.plan.changes.iter().map(|change| format!("  {change}\n")).collect();
        let sandbox_text = self.sandbox_saw.to_string();
        let Timings { import, first_call, call, bare } = &self.timings;
        format!(
            "\
OpenAct in one minute: a local API, a configuration file, an allowed call, a denied call.

1. The configuration, connectors.yaml

{config}
2. openact import connectors.yaml

{plan}
3. openact run http/get-user --set login=octocat

{allowed}
   What the API saw         {server}
   What the sandbox held    {sandbox}
   The host adds the credential after the request has left the sandbox.

4. openact run http/call-elsewhere
   The API answers with a redirect to another origin, which the connection was never given.

  error[{code}]: {message}
    help: {hint}

   Requests that reached the other origin: {reached}

5. Timings

  import, compiling the connector   {import}
  first call                        {first_call}
  later calls, median of {CALLS}        {call}   each in a sandbox of its own
  the same request, bare            {bare}

Done in {took}; nothing is left behind. Next:

  openact import connectors.yaml           your own file, in the form above
  openact run http/ACTION --set KEY=VALUE  one of its actions
  openact run --help                       input from files, dry runs, deadlines
",
            config = indented(&self.config),
            allowed = indented(&format!("{:#}\n", self.allowed)),
            server =
                seen(self.server_saw.contains(&format!("Bearer {TOKEN}")), "Authorization: Bearer [hidden]"),
            sandbox = seen(
                sandbox_text.contains(TOKEN) || sandbox_text.contains("authorization"),
                "Authorization: [hidden]"
            ),
            code = self.denied.code,
            message = self.denied.message,
            hint = self.denied.hint.as_deref().unwrap_or("(none)"),
            reached = self.reached_elsewhere,
            import = shown(*import),
            first_call = shown(*first_call),
            call = shown(*call),
            bare = shown(*bare),
            took = shown(took).trim_start(),
        )
    }
}

fn seen(there: bool, what: &'static str) -> &'static str {
    if there { what } else { "no Authorization header, no token" }
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}

fn shown(time: Duration) -> String {
    match time.as_secs_f64() {
        seconds if seconds >= 1.0 => format!("{seconds:8.2} s"),
        seconds => format!("{:8.2} ms", seconds * 1000.0),
    }
}
