//! `rate_limit` of a connection: requests beyond it wait, and fail when their deadline would pass first.
//!
//! Invariant: one limiter per connection version, shared by all its actions and calls.

use std::{sync::Arc, time::Duration};

use governor::{DefaultDirectRateLimiter, Quota, clock::Clock};
use openact_core::{Error, ErrorCode, Result, policies::RateLimit};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep_until, timeout_at},
};

/// See the module.
#[derive(Debug)]
pub struct Limiter {
    rate: Option<DefaultDirectRateLimiter>,
    slots: Option<Arc<Semaphore>>,
}

impl Limiter {
    /// A limiter with nothing used yet.
    pub fn new(limit: &RateLimit) -> Self {
        let rate = limit.requests.and_then(|requests| {
            let period = Duration::from_millis(limit.per_ms.max(1)) / requests.get();
            let quota = Quota::with_period(period.max(Duration::from_nanos(1)))?;
            Some(DefaultDirectRateLimiter::direct(quota.allow_burst(limit.burst.unwrap_or(requests))))
        });
        let slots = limit.concurrency.map(|slots| Arc::new(Semaphore::new(slots.get() as usize)));
        Self { rate, slots }
    }

    /// Waits for the turn of one request. The permit is held until its answer was read.
    pub(crate) async fn turn(&self, deadline: Instant) -> Result<Option<OwnedSemaphorePermit>> {
        let permit = self.place(deadline).await?;
        self.pace(deadline).await?;
        Ok(permit)
    }

    /// Waits for a place among those that ask at once.
    pub(crate) async fn place(&self, deadline: Instant) -> Result<Option<OwnedSemaphorePermit>> {
        let Some(slots) = &self.slots else { return Ok(None) };
        match timeout_at(deadline, slots.clone().acquire_owned()).await {
            Ok(permit) => Ok(permit.ok()),
            Err(_) => {
                Err(limited("its requests under way are as many as rate_limit.concurrency allows", None))
            }
        }
    }

    /// Waits until the period has room for one more.
    pub(crate) async fn pace(&self, deadline: Instant) -> Result<()> {
        while let Some(Err(not_yet)) = self.rate.as_ref().map(DefaultDirectRateLimiter::check) {
            let wait = not_yet.wait_time_from(governor::clock::DefaultClock::default().now());
            let turn = Instant::now() + wait;
            if turn > deadline {
                return Err(limited(
                    "its next request is allowed after the deadline of this call",
                    Some(wait),
                ));
            }
            sleep_until(turn).await;
        }
        Ok(())
    }
}

fn limited(why: &str, wait: Option<Duration>) -> Error {
    let error = Error::new(ErrorCode::RateLimited, format!("the connection's rate limit is used up: {why}"))
        .hint("raise rate_limit of the connection, or call less often");
    match wait {
        Some(wait) => error.details(serde_json::json!({ "retry_after_ms": wait.as_millis() as u64 })),
        None => error,
    }
}
