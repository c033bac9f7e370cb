//! B6: resident memory of 1,000 calls that wait for another system.
//!
//! The calls are made by a child process, so that neither the server nor the figures before are counted. It is told on
//! its standard input when all of its calls have arrived, and answers with what it has grown by:
//!
//! ```text
//! parent  ── bench --memory-child openact|reqwest URL ──► child: a few calls, then 1,000
//! parent  ── "arrived" ──► child ── bytes ──► parent releases ── child: every call was answered ── "done"
//! ```

use std::process::Stdio;

use anyhow::{Context, Result, bail, ensure};
use openact::{Format, MasterKey, Tenant};
use serde_json::json;
use support::upstream::{Answer, Upstream};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines, Stdin},
    process::Command,
    task::JoinSet,
};

use crate::{
    figure::{Budget, Compare, Figure},
    http::BODY,
    rounds::Effort,
};

/// First argument of the child process.
pub(crate) const CHILD: &str = "--memory-child";

const CALLS: usize = 1_000;

const CONFIG: &str = r#"
connectors:
  http:
    connections:
      api: { base_url: "${BASE_URL}" }
    actions:
      now: { connection: api, path: /now }
      held: { connection: api, path: /held }
"#;

pub(crate) async fn in_flight(effort: Effort) -> Result<Figure> {
    let mut rounds = Vec::new();
    for _ in 0..effort.rounds.min(3) {
        rounds.push((grown_by("openact").await?, grown_by("reqwest").await?));
    }
    Ok(Figure {
        id: "B6",
        what: "resident memory with 1,000 calls in flight, per call; reqwest for comparison",
        unit: "KiB",
        rounds,
        compare: Compare::Ours,
        budget: Budget::AtMost(150.0, None),
        note: String::new(),
    })
}

/// KiB a call, in a process of its own.
async fn grown_by(side: &str) -> Result<f64> {
    let upstream = Upstream::start_forgetful(|request| match request.target.as_str() {
        "/held" => Answer::Held(BODY.to_owned()),
        _ => Answer::Json(BODY.to_owned()),
    })
    .await;
    let mut child = Command::new(std::env::current_exe()?)
        .args([CHILD, side, &upstream.url()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut answers = BufReader::new(child.stdout.take().context("no standard output")?).lines();
    let mut orders = child.stdin.take().context("no standard input")?;
    tokio::select! {
        () = upstream.wait_for_held(CALLS) => {}
        ended = child.wait() => bail!("the {side} side ended early: {}", ended?),
    }
    orders.write_all(b"arrived\n").await?;
    let grown: f64 = answers.next_line().await?.context("the child said nothing")?.parse()?;
    upstream.release();
    let last = answers.next_line().await?;
    ensure!(
        child.wait().await?.success() && last.as_deref() == Some("done"),
        "calls of the {side} side were lost"
    );
    Ok(grown / 1024.0 / CALLS as f64)
}

/// The child process.
pub(crate) async fn child(arguments: &[String]) -> Result<()> {
    let orders = BufReader::new(tokio::io::stdin()).lines();
    match arguments {
        [side, url] if side == "openact" => openact_side(url, orders).await,
        [side, url] if side == "reqwest" => reqwest_side(url, orders).await,
        _ => bail!("{CHILD} is for the benchmark itself"),
    }
}

async fn openact_side(url: &str, orders: Lines<BufReader<Stdin>>) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let openact = support::builder(folder.path(), &[("BASE_URL", url)])
        .master_key(MasterKey::ephemeral()?)
        .config_text(CONFIG, Format::Yaml)
        .build()
        .await?;
    for _ in 0..WARM_CALLS {
        openact.run("http/now", json!({})).await?;
    }
    let mut calls = JoinSet::new();
    let before = resident_bytes()?;
    for _ in 0..CALLS {
        let openact = openact.clone();
        calls.spawn(async move { Ok(openact.run("http/held", json!({})).await.map(drop)?) });
    }
    report(before, orders, calls).await?;
    // Closing writes what is queued.
    let after = openact.clone();
    after.close().await?;
    let openact = support::builder(folder.path(), &[]).master_key(MasterKey::ephemeral()?).build().await?;
    let recorded = openact.list_runs(&Tenant::default(), 2 * CALLS as u32, &Default::default()).await?.len();
    ensure!(recorded == CALLS + WARM_CALLS, "{recorded} runs are recorded");
    openact.close().await?;
    done()
}

async fn reqwest_side(url: &str, orders: Lines<BufReader<Stdin>>) -> Result<()> {
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build()?;
    for _ in 0..WARM_CALLS {
        client.get(format!("{url}/now")).send().await?.bytes().await?;
    }
    let mut calls = JoinSet::new();
    let before = resident_bytes()?;
    for _ in 0..CALLS {
        let (client, url) = (client.clone(), format!("{url}/held"));
        calls.spawn(async move { Ok(client.get(url).send().await?.bytes().await.map(drop)?) });
    }
    report(before, orders, calls).await?;
    done()
}

/// So that code is paged in, the connector loaded and its pools made.
const WARM_CALLS: usize = 20;

/// Says how much the process has grown once every call waits, and then waits for them all.
async fn report(
    before: u64,
    mut orders: Lines<BufReader<Stdin>>,
    mut calls: JoinSet<Result<()>>,
) -> Result<()> {
    ensure!(orders.next_line().await?.as_deref() == Some("arrived"), "the parent is gone");
    println!("{}", resident_bytes()?.saturating_sub(before));
    while let Some(call) = calls.join_next().await {
        call??;
    }
    Ok(())
}

fn done() -> Result<()> {
    println!("done");
    Ok(())
}

/// Proportional set size: a page of a connector's image that every instance maps is one page of memory, where the
/// resident set size counts it once for each.
fn resident_bytes() -> Result<u64> {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").context("memory is read from /proc")?;
    let line = rollup.lines().find(|line| line.starts_with("Pss:")).context("smaps_rollup has no Pss")?;
    let kib: u64 = line.split_whitespace().nth(1).context("Pss has no value")?.parse()?;
    Ok(kib * 1024)
}
