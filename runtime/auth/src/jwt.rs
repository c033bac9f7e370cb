//! `jwt`: an assertion signed with a key of the connection.
//!
//! | field | default | |
//! |---|---|---|
//! | `use` | `bearer` | `bearer`: the assertion itself is sent; `grant`: what it is traded for (see [`crate::grant`]) |
//! | `header`, `prefix` | `Authorization`, `Bearer` | where it goes |
//!
//! and those of [`crate::signer`].
//!
//! Invariant: an assertion is sent again until shortly before its end, and never after it.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::HeaderMap;
use openact_core::{
    Result, Timestamp,
    credential::{Authenticator, BoxFuture, Injection, RequestView},
    limits::TOKEN_EARLY,
};

use crate::{fields::Fields, placement::Placement, signer::Signer, tokens::same};

/// See the module.
#[derive(Debug)]
pub(crate) struct Jwt {
    signer: Signer,
    placement: Placement,
    current: Mutex<Option<Assertion>>,
}

#[derive(Debug)]
struct Assertion {
    injections: Arc<[Injection]>,
    made: Timestamp,
}

impl Jwt {
    pub(crate) fn of(fields: &Fields<'_>) -> Result<Self> {
        Ok(Self {
            signer: Signer::of(fields, None)?,
            placement: Placement::of(fields)?,
            current: Mutex::default(),
        })
    }

    fn injections(&self, now: Timestamp) -> Result<Arc<[Injection]>> {
        let lifetime = Duration::from_secs(self.signer.lifetime_s().into());
        let fresh = lifetime.saturating_sub(TOKEN_EARLY.min(lifetime / 2));
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        // Negative if the clock went back: then its end may be far away.
        let age = |assertion: &Assertion| Duration::try_from(now.duration_since(assertion.made)).ok();
        if let Some(assertion) = current.as_ref().filter(|made| age(made).is_some_and(|age| age < fresh)) {
            return Ok(assertion.injections.clone());
        }
        let injection = self.placement.injection(&self.signer.assertion(now)?)?;
        let injections: Arc<[Injection]> = Arc::new([injection]);
        *current = Some(Assertion { injections: injections.clone(), made: now });
        Ok(injections)
    }

    /// One that was made for this very request is as good as the next one would be.
    fn drop_refused(&self, sent: &[Injection], now: Timestamp) -> bool {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        match current.as_ref() {
            Some(assertion) if same(sent, &assertion.injections) => {
                let older = assertion.made.as_second() < now.as_second();
                if older {
                    *current = None;
                }
                older
            }
            _ => true,
        }
    }
}

impl Authenticator for Jwt {
    fn authenticate<'a>(&'a self, request: RequestView<'a>) -> BoxFuture<'a, Result<Arc<[Injection]>>> {
        Box::pin(async move { self.injections(request.now) })
    }

    fn names(&self) -> Vec<String> {
        vec![self.placement.name()]
    }

    fn refused<'a>(
        &'a self,
        request: RequestView<'a>,
        sent: &'a [Injection],
        _: &'a HeaderMap,
    ) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move { Ok(self.drop_refused(sent, request.now)) })
    }
}

#[cfg(test)]
mod tests {
    use http::Method;
    use serde_json::json;

    use super::*;
    use crate::testing::{Request, authenticator, ready, shown};

    #[test]
    fn an_assertion_is_sent_again_until_shortly_before_its_end() {
        let at = |now: &str| Request::new(Method::GET, "https://api.example.com/").at(now);
        let jwt = authenticator(&json!({"type": "jwt", "algorithm": "HS256", "key": "k", "prefix": "JWT"}));
        let send = |now: &str| ready(jwt.authenticate(at(now).view())).unwrap();
        let first = send("2024-01-01T00:00:00Z");
        assert!(shown(&first)[0].starts_with("header authorization: JWT ey"));
        // It lives five minutes.
        assert!(Arc::ptr_eq(&first, &send("2024-01-01T00:03:59Z")));
        let second = send("2024-01-01T00:04:00Z");
        assert!(!Arc::ptr_eq(&first, &second));
        // The clock went back.
        assert!(!Arc::ptr_eq(&second, &send("2024-01-01T00:02:00Z")));
    }

    #[test]
    fn o13_a_refused_assertion_is_made_anew_unless_it_was_new() {
        let at = |now: &str| Request::new(Method::GET, "https://api.example.com/").at(now);
        let jwt = authenticator(&json!({"type": "jwt", "algorithm": "HS256", "key": "k"}));
        let send = |now: &str| ready(jwt.authenticate(at(now).view())).unwrap();
        let refused = |now: &str, sent: &[Injection]| {
            ready(jwt.refused(at(now).view(), sent, &HeaderMap::new())).unwrap()
        };
        let first = send("2024-01-01T00:00:00Z");
        assert!(!refused("2024-01-01T00:00:00.5Z", &first));
        assert!(refused("2024-01-01T00:00:10Z", &first));
        let second = send("2024-01-01T00:00:10Z");
        assert!(!Arc::ptr_eq(&first, &second));
        // Another task's refusal of the first one leaves the second.
        assert!(refused("2024-01-01T00:00:11Z", &first));
        assert!(Arc::ptr_eq(&second, &send("2024-01-01T00:00:11Z")));
    }
}
