//! The benchmark of OpenAct: what a call costs beside what it is compared with.
//!
//! ```text
//! bench [B1 B2 …] [--quick]     a table on standard output, and bench.json in the current folder
//! ```
//!
//! | figure | file |
//! |---|---|
//! | B1 throughput and B2 latency of an HTTP action, against bare reqwest | [`http`] |
//! | B3 a fresh instance, against a warm one | [`instance`] |
//! | B4 a cold process, against curl | [`process`] |
//! | B5 many stored actions, against few | [`lookup`] |
//! | B6 memory of calls in flight | [`memory`] |
//! | B7 a row of PostgreSQL, B8 a value of Redis, and the same of MariaDB and MongoDB, against native drivers | `databases` |
//! | B9 REST, against embedded; B11 the server's start, against Node.js; B12 its memory | [`serve`] |
//! | B10 an import of many actions, against few | [`import`] |
//!
//! Invariant: the two sides of a figure take turns in one run, so that whatever slows the machine slows both. A
//! missed budget is printed as such and is no failure; a side that does not do its work is.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program whose output is a table")]
#![expect(clippy::indexing_slicing, reason = "a table of known width, JSON, and rounds that are counted")]

#[cfg(feature = "bench")]
mod databases;
mod figure;
mod http;
mod import;
mod instance;
mod lookup;
mod memory;
mod process;
mod rounds;
mod serve;

use anyhow::{Context, Result, bail};
use figure::{Figure, Outcome};
use rounds::Effort;
use serde_json::{Value, json};

// As the command line has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ALL: [&str; 14] =
    ["B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "MySQL", "MongoDB", "B9", "B10", "B11", "B12"];

const FILE: &str = "bench.json";

fn main() -> Result<()> {
    if std::env::var_os("RUST_LIB_BACKTRACE").is_none() {
        // SAFETY: no other thread runs yet. As the command line does: wasmtime makes an error value for each store it
        // drops, and a backtrace in it costs as much as the rest of a call.
        unsafe { std::env::set_var("RUST_LIB_BACKTRACE", "0") };
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // Two workers: the figures are ratios of work on two cores, wherever they are measured.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        match arguments.split_first() {
            Some((first, rest)) if first == memory::CHILD => memory::child(rest).await,
            _ => run(&arguments).await,
        }
    })
}

async fn run(arguments: &[String]) -> Result<()> {
    let (effort, wanted) = parse(arguments)?;
    let mut outcomes = Vec::new();
    for id in wanted {
        eprintln!("measuring {id}");
        outcomes.extend(measure(id, effort).await.with_context(|| format!("failed to measure {id}"))?);
    }
    print!("{}", figure::table(&outcomes));
    let file = json!({
        "quick": effort.quick,
        "profile_is_optimised": !cfg!(debug_assertions),
        "figures": outcomes.iter().map(Outcome::to_json).collect::<Vec<Value>>(),
    });
    std::fs::write(FILE, format!("{file:#}\n")).with_context(|| format!("failed to write {FILE}"))
}

fn parse(arguments: &[String]) -> Result<(Effort, Vec<&'static str>)> {
    let (mut effort, mut wanted) = (Effort::FULL, Vec::new());
    for argument in arguments {
        match ALL.into_iter().find(|id| id.eq_ignore_ascii_case(argument)) {
            Some(id) => wanted.push(id),
            None if argument == "--quick" => effort = Effort::QUICK,
            None => bail!("usage: bench [{}] [--quick]", ALL.join(" ")),
        }
    }
    if wanted.is_empty() {
        wanted.extend(ALL);
    }
    Ok((effort, wanted))
}

async fn measure(id: &'static str, effort: Effort) -> Result<Vec<Outcome>> {
    let one = |figure: Figure| vec![Outcome::Measured(figure)];
    Ok(match id {
        "B1" => one(http::throughput(effort).await?),
        "B2" => one(http::latency(effort).await?),
        "B3" => one(instance::fresh_and_warm(effort).await?),
        "B4" => vec![process::cold(effort).await?],
        "B5" => lookup::many_and_few(effort).await?.map(Outcome::Measured).into(),
        "B10" => import::per_thousand(effort).await?.map(Outcome::Measured).into(),
        "B9" => one(serve::throughput(effort).await?),
        "B11" => vec![serve::ready(effort).await?],
        "B12" => one(serve::idle(effort).await?),
        "B6" => one(memory::in_flight(effort).await?),
        id => vec![database(id, effort).await?],
    })
}

#[cfg(feature = "bench")]
async fn database(id: &'static str, effort: Effort) -> Result<Outcome> {
    databases::throughput(id, effort).await.map(Outcome::Measured)
}

/// Their drivers are many crates, which who builds the tests has no use for.
#[cfg(not(feature = "bench"))]
async fn database(id: &'static str, _: Effort) -> Result<Outcome> {
    Ok(Outcome::Skipped { id, what: "a database", why: "built without the feature `bench`".into() })
}
