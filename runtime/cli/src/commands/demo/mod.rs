//! `openact demo`: a tour with a local API, and nothing else.
//!
//! Invariant: it leaves nothing behind. The one file is in a temporary folder that goes with this future, however that
//! ends; the database is in memory; compiled connectors are not kept.

mod api;
mod story;

use std::{
    path::Path,
    time::{Duration, Instant},
};

use openact::{Door, Error, ErrorCode, ImportOptions, OpenAct, Request, Result, Tenant};
use serde_json::{Value, json};

use crate::output::Output;

use api::Api;
use story::{Story, Timings};

/// Calls to take the median of.
const CALLS: usize = 200;

const TOKEN: &str = "demo-token-that-the-sandbox-never-holds";

pub(crate) async fn demo() -> Result<Output> {
    let started = Instant::now();
    let failed = |error: std::io::Error| Error::internal("failed to set up the demo").because(error);
    let folder = tempfile::tempdir().map_err(failed)?;
    let file = folder.path().join("connectors.yaml");
    let elsewhere = Api::start(None).await.map_err(failed)?;
    let api = Api::start(Some(elsewhere.origin())).await.map_err(failed)?;
    let config = config(&api.origin());
    std::fs::write(&file, &config).map_err(failed)?;
    let openact = OpenAct::builder()
        .without_cache()
        .env(|name| (name == "DEMO_TOKEN").then(|| TOKEN.to_owned()))
        .build()
        .await?;
    let told = tour(&openact, &api, &elsewhere, config, &file).await;
    openact.close().await?;
    Ok(Output::Text(told?.to_text(started.elapsed())))
}

async fn tour(openact: &OpenAct, api: &Api, elsewhere: &Api, config: String, file: &Path) -> Result<Story> {
    let clock = Instant::now();
    let plan = openact.import_file(file, &ImportOptions::default()).await?;
    let import = clock.elapsed();

    let clock = Instant::now();
    let allowed = call(openact, "http/get-user", false).await?;
    let first_call = clock.elapsed();
    let server_saw = api.last_request().unwrap_or_default();
    let mut told = call(openact, "http/get-user", true).await?;
    let mut part = |pointer: &str| told.pointer_mut(pointer).map(Value::take).unwrap_or_default();
    let sandbox_saw = json!({ "url": part("/request/url"), "headers": part("/request/headers"), "body": part("/request/body") });

    let denied = match call(openact, "http/call-elsewhere", false).await {
        Err(error) if error.code == ErrorCode::EgressDenied => error,
        Err(error) => return Err(error),
        Ok(_) => return Err(Error::internal("a call that should have been denied was not")),
    };
    let mut calls = Vec::with_capacity(CALLS);
    for _ in 0..CALLS {
        let clock = Instant::now();
        call(openact, "http/get-user", false).await?;
        calls.push(clock.elapsed());
    }
    let bare = api.time_bare_requests(CALLS).await;
    let bare = bare.map_err(|error| Error::internal("failed to call the demo's API").because(error))?;
    Ok(Story {
        config,
        plan,
        allowed,
        server_saw,
        sandbox_saw,
        denied,
        reached_elsewhere: elsewhere.requests(),
        timings: Timings { import, first_call, call: median(calls), bare: median(bare) },
    })
}

/// One call; the result, or what a dry run tells.
async fn call(openact: &OpenAct, action: &str, dry_run: bool) -> Result<Value> {
    let input = json!({ "login": "octocat" });
    let request = Request { dry_run, ..Request::new(Door::Cli, Tenant::default(), action, input) };
    openact.execute(request).await.result?.value()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn config(origin: &str) -> String {
    format!(
        r#"connectors:
  http:
    connections:
      demo-api:
        base_url: "{origin}"
        auth: {{ type: bearer, token: "${{DEMO_TOKEN}}" }}
    actions:
      get-user: {{ connection: demo-api, method: GET, path: "/users/{{login}}" }}
      call-elsewhere: {{ connection: demo-api, method: GET, path: /moved, follow_redirects: true }}
"#
    )
}
