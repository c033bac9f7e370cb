//! How often and how many at once a caller may call.
//!
//! Invariant: what is counted belongs to one caller's name and limits; a token with other limits begins anew.

use std::{num::NonZeroU32, sync::Arc};

use governor::{
    DefaultDirectRateLimiter, Quota, RateLimiter,
    clock::{Clock, DefaultClock},
};
use http::header;
use openact::{Caller, Error, ErrorCode, limits};
use quick_cache::sync::Cache;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::envelope::Failure;

type Key = (String, Option<u32>, Option<u32>);

/// See the module.
pub(crate) struct Meters(Cache<Key, Arc<Meter>>);

impl Default for Meters {
    fn default() -> Self {
        Self(Cache::new(limits::CALLERS_MAX))
    }
}

struct Meter {
    rate: Option<DefaultDirectRateLimiter>,
    places: Option<Arc<Semaphore>>,
}

impl Meters {
    /// Counts a request; gives the caller's place among those they may have at once, if that is bounded.
    pub(crate) fn admit(&self, caller: &Caller) -> Result<Option<OwnedSemaphorePermit>, Failure> {
        if caller.rate_per_second.is_none() && caller.concurrency.is_none() {
            return Ok(None);
        }
        let key = (caller.id.clone(), caller.rate_per_second, caller.concurrency);
        let made = self.0.get_or_insert_with(&key, || Ok::<_, Failure>(Arc::new(Meter::of(caller))));
        let meter = made?;
        if let Some(rate) = &meter.rate
            && let Err(not_until) = rate.check()
        {
            let wait = not_until.wait_time_from(DefaultClock::default().now()).as_secs_f64().ceil().max(1.0);
            let most = caller.rate_per_second.unwrap_or_default();
            return Err(too_many(format!("more than {most} requests in a second"), wait as u64));
        }
        match &meter.places {
            None => Ok(None),
            Some(places) => places.clone().try_acquire_owned().map(Some).map_err(|_| {
                too_many(format!("more than {} requests at once", caller.concurrency.unwrap_or_default()), 1)
            }),
        }
    }
}

impl Meter {
    fn of(caller: &Caller) -> Self {
        let rate = caller.rate_per_second.and_then(NonZeroU32::new);
        Self {
            rate: rate.map(|rate| RateLimiter::direct(Quota::per_second(rate))),
            places: caller.concurrency.map(|places| Arc::new(Semaphore::new(places as usize))),
        }
    }
}

fn too_many(message: String, wait_s: u64) -> Failure {
    let error = Error::new(ErrorCode::RateLimited, format!("the limit of this token is passed: {message}"))
        .hint("wait as long as retry-after says")
        .details(serde_json::json!({ "retry_after_s": wait_s }));
    Failure::from(error).header(header::RETRY_AFTER, &wait_s.to_string())
}

#[cfg(test)]
mod tests {
    use openact::TokenScope;

    use super::*;

    fn caller(id: &str, rate_per_second: Option<u32>, concurrency: Option<u32>) -> Caller {
        Caller::new(id, id, TokenScope { rate_per_second, concurrency, ..TokenScope::default() })
    }

    #[test]
    fn each_caller_has_its_own_count() {
        let meters = Meters::default();
        let caller = |id: &str| caller(id, None, Some(1));
        let first = meters.admit(&caller("a")).unwrap();
        let refused = meters.admit(&caller("a")).unwrap_err();
        assert_eq!(refused.error.code, ErrorCode::RateLimited);
        assert_eq!(refused.headers[header::RETRY_AFTER], "1");
        assert!(meters.admit(&caller("b")).is_ok());
        drop(first);
        assert!(meters.admit(&caller("a")).is_ok());
    }

    #[test]
    fn a_rate_is_passed_by_the_call_after_the_last_one_allowed() {
        let meters = Meters::default();
        let caller = caller("a", Some(2), None);
        // A burst of one second's calls is allowed; of a thousand at once, hardly more.
        let passed = (0..1000).filter(|_| meters.admit(&caller).is_ok()).count();
        assert!((2..1000).contains(&passed), "{passed}");
    }
}
