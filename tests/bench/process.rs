//! B4: `openact run` from a cold process, and `curl` of the same URL.
//!
//! Invariant: our side reads its action from a database and its connector from the compiled cache, as a second use
//! of the command does.

use std::{
    io::ErrorKind,
    path::Path,
    process::{Command, Output},
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use support::command::{openact, stderr, stdout};

use crate::{
    figure::{Budget, Compare, Figure, Outcome},
    http,
    rounds::{Effort, median},
};

const ID: &str = "B4";
const WHAT: &str = "cold `openact run` of an HTTP action, p50, against curl";

pub(crate) async fn cold(effort: Effort) -> Result<Outcome> {
    match Command::new("curl").arg("--version").output() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Ok(Outcome::Skipped { id: ID, what: WHAT, why: "no curl".into() });
        }
        found => found.context("failed to start curl")?,
    };
    let upstream = http::upstream().await;
    let base_url = upstream.url();
    // Off the workers, which serve.
    let rounds = tokio::task::spawn_blocking(move || take_turns(&base_url, effort)).await??;
    Ok(Outcome::Measured(Figure {
        id: ID,
        what: WHAT,
        unit: "ms",
        rounds,
        compare: Compare::Ratio,
        budget: Budget::AtMost(5.0, Some(3.0)),
        note: String::new(),
    }))
}

/// Spawned alternately; a round is the median of eight each.
fn take_turns(base_url: &str, effort: Effort) -> Result<Vec<(f64, f64)>> {
    let home = tempfile::tempdir()?;
    let file = home.path().join("connectors.yaml");
    std::fs::write(&file, http::CONFIG)?;
    let mut import = openact(home.path());
    import.arg("import").arg(&file).env("BASE_URL", base_url).env("TOKEN", http::TOKEN);
    timed(&mut import)?;
    // Compiles the connector.
    ours(home.path())?;

    let url = format!("{base_url}{}", http::PATH);
    let mut rounds = Vec::new();
    for _ in 0..effort.rounds.min(6) {
        let (mut mine, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..8 {
            mine.push(ours(home.path())?);
            theirs.push(curl(&url)?);
        }
        rounds.push((median(mine), median(theirs)));
    }
    Ok(rounds)
}

fn ours(home: &Path) -> Result<f64> {
    let (output, ms) = timed(openact(home).args(["run", http::ACTION]))?;
    ensure!(stdout(&output).contains("octocat"), "openact printed {}{}", stdout(&output), stderr(&output));
    Ok(ms)
}

fn curl(url: &str) -> Result<f64> {
    let mut command = Command::new("curl");
    command.args([
        "-s",
        "-H",
        &format!("Accept: {}", http::ACCEPT),
        "-H",
        &format!("Authorization: Bearer {}", http::TOKEN),
        url,
    ]);
    let (output, ms) = timed(&mut command)?;
    ensure!(stdout(&output) == http::BODY, "curl printed {}", stdout(&output));
    Ok(ms)
}

/// From starting the process to having all of its output, in milliseconds.
fn timed(command: &mut Command) -> Result<(Output, f64)> {
    let started = Instant::now();
    let output = command.output()?;
    let ms = started.elapsed().as_secs_f64() * 1e3;
    ensure!(output.status.success(), "{command:?} ended with {}: {}", output.status, stderr(&output));
    Ok((output, ms))
}
