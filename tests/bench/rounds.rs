//! Taking turns, and what the turns come to.
//!
//! Invariant: each round runs our side and then the other; a median, never a mean, stands for the rounds.

use std::time::{Duration, Instant};

use anyhow::Result;

/// How long to measure.
#[derive(Clone, Copy)]
pub(crate) struct Effort {
    /// A look rather than a measurement.
    pub(crate) quick: bool,
    /// Turns of each side.
    pub(crate) rounds: usize,
    /// Of one side's turn, where it has no natural end.
    pub(crate) turn: Duration,
    /// Of one side's turn, where single calls are timed.
    pub(crate) calls: usize,
}

impl Effort {
    pub(crate) const FULL: Self =
        Self { quick: false, rounds: 11, turn: Duration::from_millis(1500), calls: 2_000 };
    pub(crate) const QUICK: Self =
        Self { quick: true, rounds: 3, turn: Duration::from_millis(400), calls: 300 };
}

/// The middle one; of an even number, the lower middle.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
}

/// The median time of `count` calls one after another, in microseconds.
pub(crate) async fn median_us<F>(count: usize, mut call: impl FnMut() -> F + Send + 'static) -> Result<f64>
where
    F: Future<Output = Result<()>> + Send,
{
    // On a worker, like the calls of a server; the thread of `main` would wake another for each answer.
    let timed = tokio::spawn(async move {
        let mut times = Vec::with_capacity(count);
        for _ in 0..count {
            let started = Instant::now();
            call().await?;
            times.push(started.elapsed().as_secs_f64() * 1e6);
        }
        anyhow::Ok(times)
    });
    timed.await?.map(median)
}
