//! The same action by any door: one result, one row of the table of codes, one run record.
//!
//! Every case has a connection of its own, so that what a call finds warm (a parked session, a pool) is the same for all
//! doors. Codes that no action of an operator's can bring about at will are not here: `unauthenticated` and `overloaded`
//! belong to one door or one moment, `conflict` to names, `store_unavailable` and `internal` to what is broken.
//!
//! Invariant: what differs between two calls in any case is taken out by [`comparable`] and by nothing else.

mod cases;
mod doors;
mod hops;

use std::sync::Arc;

use openact::{Door, Governance, ImportOptions, OpenAct, RunId, RunRecord, Tenant};
use serde_json::{Value, json};

use self::{
    cases::{Case, World},
    doors::{Call, Came, Conversation, cli, command, embedded, mcp_http, rest},
};
use crate::rest::serve::Server;

/// What every process seals with: base64 of 32 bytes.
const KEY: (&str, &str) = ("OPENACT_MASTER_KEY", "cGFyaXR5LXBhcml0eS1wYXJpdHktcGFyaXR5LXBhcmk=");
/// The doors, in the order in which they are asked.
const NAMES: [&str; 5] = ["embedded", "rest", "mcp over http", "mcp over stdio", "cli"];
const RECORDED: [Door; 5] = [Door::Embedded, Door::Rest, Door::Mcp, Door::Mcp, Door::Cli];

/// Without what is another for each call: its id, when, how long, at what cost, through which door.
fn comparable(value: &Value, run: Option<RunId>) -> Value {
    fn without_times(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                for key in ["run_id", "door", "started_at", "duration_us", "usage"] {
                    fields.shift_remove(key);
                }
                fields.values_mut().for_each(without_times);
            }
            Value::Array(items) => items.iter_mut().for_each(without_times),
            _ => {}
        }
    }
    let mut text = value.to_string();
    if let Some(run) = run {
        text = text.replace(&run.to_string(), "RUN");
    }
    let mut value = serde_json::from_str(&text).unwrap();
    without_times(&mut value);
    value
}

/// Runs every case by every door, against one store.
async fn by_every_door(world: &World, cases: &[Case]) -> (OpenAct, Vec<Vec<Came>>) {
    let home = world.home.path();
    let openact = support::builder(home, &[KEY])
        // The other processes find there what this one compiled.
        .cache_folder(home.join("cache/compiled"))
        .build()
        .await
        .unwrap();
    openact.install_connector(support::guests::guest("hostile"), Vec::new()).await.unwrap();
    let config = cases::config(cases).to_string();
    openact.import_text("c.json", &config, openact::Format::Json, &ImportOptions::default()).await.unwrap();
    let calls: Vec<Call> = cases.iter().map(Case::call).collect();
    for case in cases.iter().filter(|case| case.is_checked) {
        // Servers of MCP are known to whoever called them once, by any door.
        let name = format!("{}/{}", case.connector, case.name);
        let report = openact.check_connection(&Tenant::default(), &name).await.unwrap();
        assert_eq!(report.status(), "ok", "{name} {:?}", report.error());
    }
    let governance = Governance { allow: vec![], deny: vec![cases::DENIED.parse().unwrap()] };
    let governance = Arc::new(governance);
    let door = |arguments: &[&str]| {
        let mut door = command(home, &[KEY]);
        door.args(arguments).args(["--deny", cases::DENIED]);
        door
    };
    // One each for REST and MCP: what one finds warm the other left behind.
    let serve = async || {
        let mut serve = door(&["serve", "--addr", "127.0.0.1:0", "--mcp", "--allow-private", "127.0.0.1/32"]);
        tokio::task::spawn_blocking(move || Server::start(&mut serve, "ready")).await.unwrap()
    };
    let (for_rest, for_mcp) = (serve().await, serve().await);
    let mut stdio = Conversation::start(door(&["mcp"]));
    let mut all = Vec::new();
    for (case, call) in cases.iter().zip(&calls) {
        let mut came = vec![
            embedded(&openact, governance.clone(), call).await,
            rest(&for_rest, call).await,
            mcp_http(&for_mcp, call).await,
            tokio::task::block_in_place(|| stdio.call(call)),
        ];
        // Who has the command line is denied nothing.
        if case.outcome != Err(openact::ErrorCode::Forbidden) {
            came.push(cli(command(home, &[KEY]), call).await);
        }
        all.push(came);
    }
    // Whoever has ended has written its records.
    tokio::task::block_in_place(|| {
        stdio.end();
        for server in [for_rest, for_mcp] {
            assert_eq!(server.terminate().0, Some(0));
        }
    });
    (openact, all)
}

/// What is not as it should be, or not the same by all doors.
fn differences(case: &Case, came: &[Came], runs: &[Option<RunRecord>]) -> Vec<String> {
    let outcome = |came: &Came| match &came.outcome {
        Ok(result) => comparable(&json!({"result": result}), came.run),
        Err(error) => comparable(&json!({"error": error}), came.run),
    };
    let outcomes: Vec<Value> = came.iter().map(outcome).collect();
    let record = |run: &RunRecord| comparable(&run.to_json(), Some(run.id));
    let records: Vec<Option<Value>> = runs.iter().map(|run| run.as_ref().map(record)).collect();
    let is_expected = match &case.outcome {
        Ok((place, value)) => outcomes[0].pointer(&format!("/result{place}")) == Some(value),
        Err(code) => outcomes[0]["error"]["code"] == code.as_str(),
    };
    let mut found = Vec::new();
    let mut wants = |is_so: bool, what: &str, index: usize| {
        if !is_so {
            let (one, other) = ((&outcomes[index], &records[index]), (&outcomes[0], &records[0]));
            found.push(format!("{}: {what} by {}:\n  {one:?}\n  {other:?}", case.name, NAMES[index]));
        }
    };
    wants(is_expected, "another outcome", 0);
    for (index, run) in runs.iter().enumerate() {
        wants(outcomes[index] == outcomes[0], "another outcome", index);
        wants(records[index] == records[0], "another record", index);
        wants(run.is_some() == case.is_recorded(), "a record or none", index);
        let Some(run) = run else { continue };
        wants((run.door, run.dry_run) == (RECORDED[index], case.is_dry()), "another door", index);
        let error = &outcomes[index]["error"];
        let told = error["code"].as_str().zip(error["message"].as_str());
        let failure = run.failure.as_ref().map(|(code, message)| (code.as_str(), message.as_str()));
        wants(failure == told, "another failure in the record", index);
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_door_gives_the_same_result_code_and_record() {
    let world = World::new().await;
    let cases = cases::all(&world);
    assert!(cases.len() >= 30, "{}", cases.len());
    let (openact, all) = by_every_door(&world, &cases).await;
    let mut found = Vec::new();
    for (case, came) in cases.iter().zip(&all) {
        let mut runs = Vec::new();
        for came in came {
            runs.push(match came.run {
                Some(id) => Some(openact.get_run(&Tenant::default(), id).await.unwrap()),
                None => None,
            });
        }
        found.extend(differences(case, came, &runs));
    }
    openact.close().await.unwrap();
    assert!(found.is_empty(), "{}", found.join("\n"));
}
