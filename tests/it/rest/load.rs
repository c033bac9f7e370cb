//! `openact serve` at saturation: as many clients as fit, one request after another, and then its end in the middle.
//!
//! | round | what is seen |
//! |---|---|
//! | warm-up | what the server holds once such a load is over |
//! | load | that it holds no more after the same again, or after `OPENACT_LOAD_SECONDS` of it |
//! | end | that SIGTERM breaks no answer |
//!
//! Invariant: each request has a whole, right answer. Only once the server was asked to end may it have none at all, and then
//! nothing ran: the runs in the database are those that were answered, one by one.

use std::{
    collections::HashSet,
    fs,
    io::Write as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use openact::Tenant;
use serde_json::{Value, json};
use support::{
    openmetrics,
    upstream::{Answer, Upstream},
};
use tokio::sync::Semaphore;

use super::{
    listener::{Raw, Seen, comes, request},
    serve::{Server, serve},
};
use crate::setup::memory;

const CLIENTS: usize = 200;

/// Of a client in the rounds before the last.
const REQUESTS: usize = 15;

/// What the server may hold more after the load than after the warm-up. What it keeps (pools of the sandbox, threads, pages of
/// the allocator) it has by then; what it would lose is lost with each of thousands of requests.
const GROWTH_BYTES_MAX: u64 = 24 << 20;

/// What a round came to.
#[derive(Default)]
struct Round {
    runs: Vec<String>,
    refused: usize,
}

/// What the clients of a round have in common.
struct Shared {
    /// No more requests are begun.
    is_over: AtomicBool,
    /// The server was asked to end.
    is_ending: AtomicBool,
    /// A permit for each answer.
    answered: Semaphore,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn saturated_and_ended_in_the_middle_it_breaks_no_answer_and_loses_no_run() {
    let upstream =
        Upstream::start_forgetful(|received| Answer::Json(json!(received.target).to_string())).await;
    let home = tempfile::tempdir().unwrap();
    let (file, store) = (home.path().join("c.json"), home.path().join("load.db"));
    let store = format!("sqlite://{}", store.display());
    let connector = json!({"connections": {"c": {"base_url": upstream.url()}},
        "actions": {"get": {"connection": "c", "path": "/{call}"}}});
    fs::write(&file, json!({"connectors": {"http": connector}}).to_string()).unwrap();
    let mut command = serve(home.path());
    command.args(["--db", &store, "--allow-private", "127.0.0.1", "--config"]).arg(&file);
    let server = tokio::task::spawn_blocking(move || Server::start(&mut command, "ready")).await.unwrap();

    let so_many = |shared: Arc<Shared>| async move {
        let answers = u32::try_from(CLIENTS * REQUESTS).unwrap();
        comes(shared.answered.acquire_many(answers)).await.unwrap().forget();
    };
    let mut runs = Vec::new();
    let warm_up = round(&server.url, so_many).await;
    let before = settled(&server).await;
    let began = Instant::now();
    let load = match std::env::var("OPENACT_LOAD_SECONDS").map(|seconds| seconds.parse().unwrap()) {
        Ok(seconds) => round(&server.url, |_| tokio::time::sleep(Duration::from_secs(seconds))).await,
        Err(_) => round(&server.url, so_many).await,
    };
    let took = began.elapsed();
    let after = settled(&server).await;
    let (process, url) = (server.id(), server.url.clone());
    let last = round(&url, |shared| async move {
        so_many(shared.clone()).await;
        shared.is_ending.store(true, Ordering::SeqCst);
        let ended = tokio::task::spawn_blocking(move || server.terminate()).await.unwrap();
        // In time, and with nothing to say.
        assert_eq!(ended, (Some(0), String::new()));
    })
    .await;
    assert!(!std::path::Path::new(&format!("/proc/{process}")).exists());
    let _ = writeln!(
        std::io::stderr(),
        "{CLIENTS} clients: {} requests in {took:?}; at the end {} more and {} closed without one; held {before:?}, {after:?}",
        load.runs.len(),
        last.runs.len(),
        last.refused
    );
    assert_eq!((warm_up.refused, load.refused), (0, 0));
    for round in [warm_up, load, last] {
        runs.extend(round.runs);
    }
    let answered: HashSet<&str> = runs.iter().map(String::as_str).collect();
    assert_eq!(answered.len(), runs.len(), "an id twice");
    let stored = memory(&[]).store(store).build().await.unwrap();
    let stored = stored.list_runs(&Tenant::default(), u32::MAX, &Default::default()).await.unwrap();
    let recorded: HashSet<String> = stored.iter().map(|run| run.id.to_string()).collect();
    let differ = |a: &HashSet<&str>, b: &HashSet<&str>| a.difference(b).count();
    let recorded: HashSet<&str> = recorded.iter().map(String::as_str).collect();
    assert_eq!((differ(&answered, &recorded), differ(&recorded, &answered)), (0, 0), "lost, and unasked for");
    if let (Some(before), Some(after)) = (before, after) {
        assert!(after <= before + GROWTH_BYTES_MAX, "{before} bytes, then {after}");
    }
}

/// Clients that ask until `over` is done.
async fn round<F: Future<Output = ()>>(url: &str, over: impl FnOnce(Arc<Shared>) -> F) -> Round {
    let shared = Arc::new(Shared {
        is_over: AtomicBool::new(false),
        is_ending: AtomicBool::new(false),
        answered: Semaphore::new(0),
    });
    let mut raws = Vec::new();
    for _ in 0..CLIENTS {
        raws.push(Raw::open(url).await);
    }
    let clients: Vec<_> = raws
        .into_iter()
        .enumerate()
        .map(|(number, raw)| tokio::spawn(client(number, raw, shared.clone())))
        .collect();
    over(shared.clone()).await;
    shared.is_over.store(true, Ordering::SeqCst);
    let mut all = Round::default();
    for client in clients {
        let of_one = comes(client).await.unwrap();
        all.runs.extend(of_one.runs);
        all.refused += of_one.refused;
    }
    all
}

async fn client(number: usize, mut raw: Raw, shared: Arc<Shared>) -> Round {
    let mut seen = Round::default();
    for call in 0.. {
        if shared.is_over.load(Ordering::SeqCst) {
            break;
        }
        let name = format!("{number}-{call}");
        let body = json!({"input": {"call": name}}).to_string();
        raw.say(&request("/api/v1/actions/http.get/execute?version=1", &body)).await;
        match raw.answer().await {
            Seen::Whole { status: 200, body, closes } => {
                let answer: Value = serde_json::from_str(&body).unwrap();
                assert_eq!(answer["data"]["result"]["body"], format!("/{name}"), "that of another: {answer}");
                seen.runs.push(answer["metadata"]["run_id"].as_str().unwrap().to_owned());
                shared.answered.add_permits(1);
                if closes {
                    assert!(shared.is_ending.load(Ordering::SeqCst));
                    break;
                }
            }
            Seen::Nothing if shared.is_ending.load(Ordering::SeqCst) => {
                seen.refused += 1;
                break;
            }
            wrong => panic!("{wrong:?}"),
        }
    }
    seen
}

/// What the server holds once nothing goes on in it; none where that is not told.
async fn settled(server: &Server) -> Option<u64> {
    let url = format!("{}/metrics", server.url);
    comes(async {
        loop {
            let seen = openmetrics::parse(&reqwest::get(&url).await.unwrap().text().await.unwrap());
            if (seen["openact_calls_in_flight"], seen["openact_run_queue_length"]) == (0.0, 0.0) {
                break;
            }
        }
    })
    .await;
    let status = fs::read_to_string(format!("/proc/{}/status", server.id())).ok()?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(resident.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}
