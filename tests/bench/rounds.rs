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

/// Who calls one after another; each has a task of its own.
pub(crate) trait Caller: Send + 'static {
    /// One call, whose answer is looked at.
    fn call(&mut self) -> impl Future<Output = Result<()>> + Send;
}

impl<C, F> Caller for C
where
    C: FnMut() -> F + Send + 'static,
    F: Future<Output = Result<()>> + Send,
{
    fn call(&mut self) -> impl Future<Output = Result<()>> + Send {
        self()
    }
}

/// What callers did in a turn.
pub(crate) struct Saturated<C> {
    pub(crate) calls: u64,
    pub(crate) elapsed: Duration,
    /// They, for another turn.
    pub(crate) callers: Vec<C>,
}

impl<C> Saturated<C> {
    pub(crate) fn per_second(&self) -> f64 {
        self.calls as f64 / self.elapsed.as_secs_f64()
    }
}

/// All of `callers` at once, for `turn`.
pub(crate) async fn saturate<C: Caller>(turn: Duration, callers: Vec<C>) -> Result<Saturated<C>> {
    let started = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for mut caller in callers {
        tasks.spawn(async move {
            let mut calls = 0;
            while started.elapsed() < turn {
                caller.call().await?;
                calls += 1;
            }
            anyhow::Ok((calls, caller))
        });
    }
    let (mut calls, mut callers) = (0, Vec::new());
    while let Some(done) = tasks.join_next().await {
        let (done, caller) = done??;
        calls += done;
        callers.push(caller);
    }
    Ok(Saturated { calls, elapsed: started.elapsed(), callers })
}
