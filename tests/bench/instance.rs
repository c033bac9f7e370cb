//! B3: a connector that does nothing, called in full, and its function alone on an instance that is kept.
//!
//! The other side is what the same code costs where an instance is kept: the same wasmtime with the same engine settings
//! (async, epochs), no limits, no host functions, no record. Invariant: both sides parse the same three documents, of
//! the size that those of an HTTP action have.

use std::time::Instant;

use anyhow::{Result, anyhow, ensure};
use openact::{Format, OpenAct};
use serde_json::{Value, json};
use wasmtime::{
    Config, Engine, Store,
    component::{Component, Linker},
};

use crate::{
    figure::{Budget, Compare, Figure},
    http::BODY,
    rounds::{Effort, median, median_us},
};

mod bindings {
    wasmtime::component::bindgen!({ path: "../wit/v0.1", world: "connector", exports: { default: async } });
}

use bindings::{Connector, openact::connector::types::Invocation};

const CONFIG: &str = r#"
connectors:
  noop:
    connections:
      nothing: { base_url: "https://api.example.com" }
    actions:
      nothing: { connection: nothing, factor: 3 }
"#;

pub(crate) async fn fresh_and_warm(effort: Effort) -> Result<Figure> {
    let folder = tempfile::tempdir()?;
    let openact = support::builder(folder.path(), &[])
        .master_key(openact::MasterKey::ephemeral()?)
        .connector_bytes(support::guests::guest("noop"))
        .config_text(CONFIG, Format::Yaml)
        .build()
        .await?;
    // An API's object of ordinary size, of which the connector reads two fields.
    let mut input: Value = serde_json::from_str(BODY)?;
    input["name"] = json!("Ada");
    input["count"] = json!(14);
    let answer = openact.run("noop/nothing", input.clone()).await?.result;
    ensure!(answer.value()? == json!({"name": "Ada", "count": 42}), "the action answers {answer}");

    let mut warm = Warm::new(&input.to_string()).await?;
    let mut rounds = Vec::new();
    for _ in 0..effort.rounds * 2 {
        let (ours, input) = (openact.clone(), input.clone());
        let full = median_us(effort.calls, move || call(ours.clone(), input.clone())).await?;
        rounds.push((full, warm.median_us(effort.calls / BATCH).await?));
    }
    openact.close().await?;
    Ok(Figure {
        id: "B3",
        what: "full call of a connector that does nothing, against a warm instance",
        unit: "µs",
        rounds,
        compare: Compare::Ratio,
        budget: Budget::AtMost(10.0, Some(5.0)),
        note: String::new(),
    })
}

async fn call(openact: OpenAct, input: Value) -> Result<()> {
    openact.run("noop/nothing", input).await?;
    Ok(())
}

/// Calls timed together: one alone is near the clock's own cost.
const BATCH: usize = 50;

struct Warm {
    store: Store<()>,
    connector: Connector,
    invocation: Invocation,
}

impl Warm {
    async fn new(input: &str) -> Result<Self> {
        let engine = Engine::new(Config::new().epoch_interruption(true).concurrency_support(false))?;
        let component = Component::from_binary(&engine, &support::guests::guest("noop"))?;
        let mut linker = Linker::new(&engine);
        linker.define_unknown_imports_as_traps(&component)?;
        let mut store = Store::new(&engine, ());
        store.set_epoch_deadline(u64::MAX / 2);
        let connector = Connector::instantiate_async(&mut store, &component, &linker).await?;
        let invocation = Invocation {
            call_id: "00000000-0000-0000-0000-000000000000".into(),
            operation: "nothing".into(),
            connection: r#"{"base_url":"https://api.example.com"}"#.into(),
            action: r#"{"factor":3}"#.into(),
            input: input.into(),
            deadline_ms: 60_000,
            dry_run: false,
        };
        Ok(Self { store, connector, invocation })
    }

    async fn median_us(&mut self, batches: usize) -> Result<f64> {
        let mut times = Vec::with_capacity(batches);
        for _ in 0..batches {
            let started = Instant::now();
            for _ in 0..BATCH {
                let answer = self.connector.call_invoke(&mut self.store, &self.invocation).await?;
                answer.map_err(|failure| anyhow!("the connector failed: {failure:?}"))?;
            }
            times.push(started.elapsed().as_secs_f64() * 1e6 / BATCH as f64);
        }
        Ok(median(times))
    }
}
