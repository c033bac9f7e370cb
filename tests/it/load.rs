//! Acceptance 5: a thousand calls in flight at once, none lost, every one recorded, nothing left behind.
//!
//! The server and the client are processes of their own: the test's process may open too few files, and what the
//! client takes is to be seen from outside. Invariant: nothing is timed; the server answers nobody before all are there.

use std::{collections::HashSet, fs};

use openact::{Format, RunWrites, Tenant, limits::HTTP_IDLE_PER_HOST_MAX};
use serde_json::json;
use support::upstream::{Answer, Upstream};

use crate::setup::{self, memory};

const NAME: &str = "load::a_thousand_calls_in_flight_are_all_answered_and_recorded";

/// How many calls are in flight in each phase. The first shows what the process takes without them, the middle ones
/// what they cost and whether that grows, the last what is left.
const PHASES: [usize; 5] = [1, 1000, 1000, 1000, 1];

/// Resident memory of a call that waits for its upstream. In optimised code, B6; the benchmark measures that. Other
/// code has several times the stack.
const BYTES_PER_CALL_MAX: u64 = if cfg!(debug_assertions) { 512 } else { 150 } * 1024;

#[tokio::test]
async fn a_thousand_calls_in_flight_are_all_answered_and_recorded() {
    match setup::role().as_deref() {
        None => {
            setup::assert_passed(&setup::start_again(NAME, "server", &[]).wait_with_output().await.unwrap())
        }
        Some("server") => server().await,
        Some(urls) => client(urls).await,
    }
}

/// What a process holds, as Linux tells it.
#[derive(Clone, Copy, Debug)]
struct Held {
    resident_bytes: u64,
    files: usize,
}

/// None where it is not told.
fn held(process: u32) -> Option<Held> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = resident.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(Held {
        resident_bytes: kib * 1024,
        files: fs::read_dir(format!("/proc/{process}/fd")).ok()?.count(),
    })
}

async fn server() {
    let mut upstreams = Vec::new();
    for _ in PHASES {
        upstreams.push(Upstream::start(|received| Answer::Held(format!("{:?}", received.target))).await);
    }
    let urls: Vec<_> = upstreams.iter().map(Upstream::url).collect();
    let client = setup::start_again(NAME, &urls.join(" "), &[]);
    let process = client.id().unwrap();
    let output = tokio::spawn(client.wait_with_output());
    let mut seen = Vec::new();
    for (upstream, calls) in upstreams.iter().zip(PHASES) {
        tokio::select! {
            () = upstream.wait_for_held(calls) => {}
            // A client that ended early is reported below.
            () = ended(&output) => break,
        }
        seen.push(held(process));
        upstream.release();
    }
    setup::assert_passed(&output.await.unwrap().unwrap());
    for (upstream, calls) in upstreams.iter().zip(PHASES) {
        let targets: HashSet<_> = upstream.received().into_iter().map(|received| received.target).collect();
        assert_eq!((upstream.received().len(), targets.len()), (calls, calls), "each call asked once");
    }
    if let [Some(before), Some(first), Some(second), Some(third), Some(after)] = seen[..] {
        for phase in [first, second, third] {
            let per_call = (phase.resident_bytes - before.resident_bytes) / 1000;
            assert!(per_call <= BYTES_PER_CALL_MAX, "{per_call} bytes per call: {seen:?}");
            assert!(phase.files >= 1000, "{seen:?}");
        }
        assert!(after.files <= before.files + 3 * HTTP_IDLE_PER_HOST_MAX + 16, "{seen:?}");
    }
}

async fn ended<T>(task: &tokio::task::JoinHandle<T>) {
    while !task.is_finished() {
        tokio::task::yield_now().await;
    }
}

async fn client(urls: &str) {
    let folder = tempfile::tempdir().unwrap();
    let (mut connections, mut actions) = (json!({}), json!({}));
    for (phase, url) in urls.split(' ').enumerate() {
        connections[format!("c{phase}")] = json!({ "base_url": url });
        actions[format!("a{phase}")] = json!({"connection": format!("c{phase}"), "path": "/{call}"});
    }
    let text = json!({"connectors": {"http": {"connections": connections, "actions": actions}}}).to_string();
    let openact = memory(&[])
        .store(format!("sqlite://{}", folder.path().join("load.db").display()))
        .run_writes(RunWrites::Grouped)
        .instances_max(1000)
        .config_text(text, Format::Json)
        .build()
        .await
        .unwrap();
    let mut ids = HashSet::new();
    for (phase, calls) in PHASES.into_iter().enumerate() {
        let calls: Vec<_> = (0..calls)
            .map(|call| {
                let openact = openact.clone();
                tokio::spawn(async move {
                    let outcome =
                        openact.run(&format!("http/a{phase}"), json!({ "call": call })).await.unwrap();
                    // The answer says which call it belongs to.
                    let body = outcome.result.value().unwrap()["body"].clone();
                    assert_eq!(body, format!("/{call}"));
                    outcome.run.id
                })
            })
            .collect();
        for call in calls {
            assert!(ids.insert(call.await.unwrap()));
        }
    }
    openact.close().await.unwrap();
    let reopened = memory(&[])
        .store(format!("sqlite://{}", folder.path().join("load.db").display()))
        .build()
        .await
        .unwrap();
    let recorded: HashSet<_> = reopened
        .list_runs(&Tenant::default(), 10_000, &Default::default())
        .await
        .unwrap()
        .into_iter()
        .map(|run| run.id)
        .collect();
    assert_eq!(recorded, ids);
    assert_eq!(recorded.len(), PHASES.iter().sum::<usize>());
    reopened.close().await.unwrap();
}
