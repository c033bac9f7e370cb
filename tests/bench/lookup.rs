//! B5: what comes before the sandbox (reference, merge, checks), with 100,000 stored actions and with 10.
//!
//! The engine's time would hide it, so the calls end just before: the connection's credential is read from an
//! environment variable that is not set, which is noticed after the checks. Invariant: both sides call ten actions,
//! spread over what is stored.

use std::{
    fmt::Write,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use openact::{ErrorCode, Format, ImportOptions, MasterKey, OpenAct};
use serde_json::{Value, json};

use crate::{
    figure::{Budget, Compare, Figure},
    rounds::{Effort, median, median_us},
};

/// Actions that are called.
const CALLED: usize = 10;
const MANY: usize = 100_000;
const MANY_QUICKLY: usize = 10_000;
/// Actions in one imported document.
const CHUNK: usize = 10_000;

/// Calls whose action is known, and first calls, which read it from the store.
pub(crate) async fn many_and_few(effort: Effort) -> Result<[Figure; 2]> {
    let count = if effort.quick { MANY_QUICKLY } else { MANY };
    let (few, many) = (Stored::new(CALLED).await?, Stored::new(count).await?);
    let imported = format!("{count} stored actions; importing them took {:.1} s", many.import.as_secs_f64());

    let (mut known, mut first) = (Vec::new(), Vec::new());
    let (with_few, with_many) = (few.open().await?, many.open().await?);
    for _ in 0..effort.rounds * 2 {
        known.push((many.known(&with_many, effort.calls).await?, few.known(&with_few, effort.calls).await?));
    }
    with_few.close().await?;
    with_many.close().await?;
    for _ in 0..effort.rounds * 2 {
        first.push((many.first().await?, few.first().await?));
    }
    let figure = |id, what, rounds, budget, note| Figure {
        id,
        what,
        unit: "µs",
        rounds,
        compare: Compare::Ratio,
        budget,
        note,
    };
    Ok([
        figure(
            "B5",
            "resolve, merge and checks with many stored actions, against 10",
            known,
            Budget::AtMost(1.3, None),
            imported,
        ),
        figure("B5 first", "the same, first call of an action", first, Budget::None, String::new()),
    ])
}

/// A database file with so many actions.
struct Stored {
    folder: tempfile::TempDir,
    names: Vec<String>,
    import: Duration,
}

impl Stored {
    async fn new(count: usize) -> Result<Self> {
        let mut stored = Self { folder: tempfile::tempdir()?, names: Vec::new(), import: Duration::ZERO };
        let openact = stored.open().await?;
        let started = Instant::now();
        for first in (0..count).step_by(CHUNK) {
            let text = document(first..count.min(first + CHUNK));
            openact
                .import_text("actions", &text, Format::Json, &ImportOptions::default())
                .await
                .context("failed to import")?;
        }
        stored.import = started.elapsed();
        stored.names = (0..CALLED).map(|index| format!("http/{}", name(index * count / CALLED))).collect();
        openact.close().await?;
        Ok(stored)
    }

    async fn open(&self) -> Result<OpenAct> {
        let builder = support::builder(self.folder.path(), &[]).master_key(MasterKey::ephemeral()?);
        Ok(builder.instances_max(16).build().await?)
    }

    /// The median time of `calls` calls, none of them an action's first.
    async fn known(&self, openact: &OpenAct, calls: usize) -> Result<f64> {
        for name in &self.names {
            call(openact.clone(), name.clone()).await?;
        }
        let (openact, names, mut turn) = (openact.clone(), self.names.clone(), 0);
        median_us(calls, move || {
            turn += 1;
            call(openact.clone(), names[turn % CALLED].clone())
        })
        .await
    }

    /// The median time of the first calls after a start. The very first loads the connector and is left out.
    async fn first(&self) -> Result<f64> {
        let openact = self.open().await?;
        let (opening, rest) = self.names.split_first().context("nothing is stored")?;
        call(openact.clone(), opening.clone()).await?;
        let mut times = Vec::new();
        for name in rest {
            let started = Instant::now();
            call(openact.clone(), name.clone()).await?;
            times.push(started.elapsed().as_secs_f64() * 1e6);
        }
        openact.close().await?;
        Ok(median(times))
    }
}

async fn call(openact: OpenAct, name: String) -> Result<()> {
    let input = json!({"id": 7, "query": {"page": 2}, "headers": {"x-trace": "1"}});
    match openact.run(&name, input).await {
        Err(error) => ensure!(error.code == ErrorCode::AuthRequired, "{name} fails otherwise: {error:?}"),
        Ok(outcome) => anyhow::bail!("{name} answers {}", outcome.result),
    }
    Ok(())
}

fn name(index: usize) -> String {
    format!("get-thing-{index}")
}

/// A configuration file with these actions, over one connection.
pub(crate) fn document(actions: std::ops::Range<usize>) -> String {
    let connection = json!({
        "base_url": "http://127.0.0.1:9",
        "auth": {"type": "bearer", "token": {"$env": "OPENACT_BENCH_ABSENT"}},
        "defaults": {"headers": {"accept": "application/json"}},
    });
    let mut all = String::new();
    for index in actions {
        let action: Value = json!({
            "connection": "api", "method": "GET", "path": format!("/things/{{id}}/{index}"), "query": {"page": 1},
            "input_schema": {
                "type": "object", "required": ["id"], "properties": {"id": {"type": "integer", "minimum": 0}},
            },
        });
        let _ = write!(all, "{}{}:{action}", if all.is_empty() { "" } else { "," }, json!(name(index)));
    }
    format!(r#"{{"connectors":{{"http":{{"connections":{{"api":{connection}}},"actions":{{{all}}}}}}}}}"#)
}
