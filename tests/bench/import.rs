//! B10: importing 10,000 actions, against 1,000: what a thousand of them take.
//!
//! Invariant: both sides import into a new database file, and find everything missing; what is measured ends when it is
//! committed.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use openact::{Format, ImportOptions, MasterKey};

use crate::{
    figure::{Budget, Compare, Figure},
    lookup::document,
    rounds::Effort,
};

const MANY: usize = 10_000;
const FEW: usize = 1_000;

pub(crate) async fn per_thousand(effort: Effort) -> Result<[Figure; 2]> {
    let (mut new, mut again) = (Vec::new(), Vec::new());
    for _ in 0..effort.rounds {
        let (many, few) = (times(MANY).await?, times(FEW).await?);
        new.push((many.0, few.0));
        again.push((many.1, few.1));
    }
    let figure = |id, what, rounds, budget| Figure {
        id,
        what,
        unit: "ms",
        rounds,
        compare: Compare::Ratio,
        budget,
        note: String::new(),
    };
    Ok([
        figure("B10", "import of 10,000 actions per 1,000, against 1,000", new, Budget::AtMost(1.3, None)),
        figure("B10 again", "the same, when nothing has changed", again, Budget::None),
    ])
}

/// Milliseconds per 1,000 actions: of the first import, and of the same once more.
async fn times(count: usize) -> Result<(f64, f64)> {
    let folder = tempfile::tempdir()?;
    let openact = support::builder(folder.path(), &[])
        .master_key(MasterKey::ephemeral()?)
        .instances_max(16)
        .build()
        .await?;
    let text = document(0..count);
    // The connector is loaded before.
    let one = document(0..1);
    let options = ImportOptions { dry_run: true, ..Default::default() };
    openact.import_text("actions", &one, Format::Json, &options).await?;
    let mut times = [0.0; 2];
    for (changed, time) in [true, false].into_iter().zip(&mut times) {
        let started = Instant::now();
        let plan = openact
            .import_text("actions", &text, Format::Json, &ImportOptions::default())
            .await
            .context("failed to import")?;
        *time = started.elapsed().as_secs_f64() * 1e3 / (count as f64 / 1e3);
        ensure!(plan.changes.len() == count + 1 && plan.is_empty() != changed, "another plan was expected");
    }
    openact.close().await?;
    Ok(times.into())
}
