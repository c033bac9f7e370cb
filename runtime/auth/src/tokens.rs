//! The access tokens of the process: fetched once, shared by every call, replaced before they end.
//!
//! | state of a token | a caller |
//! |---|---|
//! | good | takes it |
//! | about to end ([`TOKEN_EARLY`], or half of a shorter life) | takes it; the first one also starts a request for the next |
//! | ended, refused, or none | waits for the one request under way, or starts it |
//! | the last request failed less than [`TOKEN_COOLDOWN`] ago | takes what is still valid, or gets that failure |
//!
//! Times are of the monotonic clock, counted from before the request, so no clock needs to be right.
//!
//! Invariant: for one credential at most one token request is under way, and it goes on when whoever began it is gone.

use std::{
    convert::Infallible,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use openact_core::{
    Error, Result, Timestamp,
    credential::Injection,
    limits::{
        TOKEN_COOLDOWN, TOKEN_COOLDOWN_MAX, TOKEN_EARLY, TOKEN_LIFETIME, TOKEN_REQUEST_TIMEOUT, TOKENS_MAX,
    },
    secret,
};
use quick_cache::sync::Cache;
use tokio::{runtime::Handle, sync::watch};

use crate::grant::{Grant, Issued};

/// See the module. One for the process.
pub struct Tokens {
    slots: Cache<[u8; 32], Arc<Slot>>,
    clock: Clock,
    patience: Duration,
    requests: Arc<[AtomicU64; 2]>,
}

type Clock = Arc<dyn Fn() -> Instant + Send + Sync>;

/// What is known of one credential's token. The lock is never held across an await.
#[derive(Default)]
struct Slot(Mutex<State>);

#[derive(Default)]
struct State {
    token: Option<Arc<Token>>,
    flight: Option<Flight>,
    /// The last request's failure, and until when there is no other.
    failure: Option<(Failure, Instant)>,
    /// The next token takes the place of a refused one.
    was_refused: bool,
}

/// Says how a request ended, once it has.
type Flight = watch::Receiver<Option<Outcome>>;
type Outcome = Result<Arc<Token>, Failure>;

struct Token {
    injections: Arc<[Injection]>,
    begun: Instant,
    early: Instant,
    end: Instant,
    replaces_refused: bool,
}

/// Why there is no token, for everyone who waited for it.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    error: Arc<Error>,
    /// What the endpoint asked to wait.
    pub(crate) wait: Option<Duration>,
}

impl Default for Tokens {
    fn default() -> Self {
        Self::new(Arc::new(Instant::now), TOKEN_REQUEST_TIMEOUT)
    }
}

impl Tokens {
    /// By a clock of the caller's: for tests, in which tokens end without anybody waiting for it.
    pub fn with_clock(clock: impl Fn() -> Instant + Send + Sync + 'static) -> Self {
        Self::new(Arc::new(clock), TOKEN_REQUEST_TIMEOUT)
    }

    pub(crate) fn new(clock: Clock, patience: Duration) -> Self {
        Self { slots: Cache::new(TOKENS_MAX), clock, patience, requests: Arc::default() }
    }

    /// Requests for a token that succeeded, and that failed.
    pub fn requests(&self) -> [u64; 2] {
        std::array::from_fn(|n| self.requests.get(n).map_or(0, |count| count.load(Ordering::Relaxed)))
    }

    /// What sends the token of `grant`.
    pub(crate) async fn get(&self, grant: &Arc<Grant>, now: Timestamp) -> Result<Arc<[Injection]>> {
        let mut flight = match self.take(grant, now)? {
            Taken::Token(token) => return Ok(token.injections.clone()),
            Taken::Flight(flight) => flight,
        };
        let landed = flight.wait_for(Option::is_some).await.map(|outcome| outcome.clone());
        match landed.ok().flatten() {
            Some(outcome) => outcome.map(|token| token.injections.clone()).map_err(|failure| failure.error()),
            None => Err(Error::internal("the request for a token was given up").with_retryable(true)),
        }
    }

    fn take(&self, grant: &Arc<Grant>, now: Timestamp) -> Result<Taken> {
        let Ok(slot) = self.slots.get_or_insert_with(&grant.key, || Ok::<_, Infallible>(Arc::default()));
        let instant = (self.clock)();
        let mut state = slot.lock();
        let valid = state.token.clone().filter(|token| instant < token.end);
        if let Some(token) = &valid
            && instant < token.early
        {
            return Ok(Taken::Token(token.clone()));
        }
        let flight = match (&state.flight, &state.failure) {
            (Some(flight), _) => flight.clone(),
            (None, Some((failure, until))) if instant < *until => {
                return valid.map(Taken::Token).ok_or_else(|| failure.error());
            }
            (None, _) => {
                let flight = self.start(grant.clone(), slot.clone(), instant, now)?;
                state.flight.insert(flight).clone()
            }
        };
        Ok(valid.map_or(Taken::Flight(flight), Taken::Token))
    }

    /// Begins a request in a task of its own: whoever began it may be cancelled, and others wait for it too.
    fn start(&self, grant: Arc<Grant>, slot: Arc<Slot>, begun: Instant, now: Timestamp) -> Result<Flight> {
        let runtime = Handle::try_current()
            .map_err(|error| Error::internal("a token is asked for outside the runtime").because(error))?;
        let (sender, flight) = watch::channel(None);
        let (clock, patience, requests) = (self.clock.clone(), self.patience, self.requests.clone());
        runtime.spawn(async move {
            let landing = Landing { slot, sender, clock, landed: false };
            let outcome = tokio::time::timeout(patience, grant.request(now)).await;
            let outcome = outcome
                .unwrap_or_else(|_| Err(Error::timeout("the token endpoint did not answer in time").into()));
            let [succeeded, failed] = &*requests;
            if outcome.is_ok() { succeeded } else { failed }.fetch_add(1, Ordering::Relaxed);
            landing.land(outcome, begun);
        });
        Ok(flight)
    }

    /// `sent` was refused: forgets it if it is the current one. Says whether there is, or will be, another.
    ///
    /// A token that has just taken the place of a refused one is kept: a server that refuses every token is not to be
    /// answered by a request for each call.
    pub(crate) fn refused(&self, key: &[u8; 32], sent: &[Injection]) -> bool {
        let Some(slot) = self.slots.get(key) else { return true };
        let instant = (self.clock)();
        let mut state = slot.lock();
        if let Some(token) = state.token.as_ref().filter(|token| same(sent, &token.injections)) {
            if token.replaces_refused && instant < token.begun + TOKEN_COOLDOWN {
                return false;
            }
            state.token = None;
            state.was_refused = true;
        }
        let cooling = state.failure.as_ref().is_some_and(|(_, until)| instant < *until);
        state.token.is_some() || state.flight.is_some() || !cooling
    }
}

enum Taken {
    Token(Arc<Token>),
    Flight(Flight),
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends a flight, also one whose task is dropped or panics.
struct Landing {
    slot: Arc<Slot>,
    sender: watch::Sender<Option<Outcome>>,
    clock: Clock,
    landed: bool,
}

impl Landing {
    fn land(mut self, outcome: Result<Issued, Failure>, begun: Instant) {
        let instant = (self.clock)();
        let mut state = self.slot.lock();
        let outcome = match outcome {
            Ok(issued) => {
                let token = Arc::new(Token::new(issued, begun, std::mem::take(&mut state.was_refused)));
                state.token = Some(token.clone());
                Ok(token)
            }
            Err(failure) => {
                // The callers that still have a token do not hear of it.
                tracing::warn!(code = %failure.error.code, "{}", failure.error);
                let wait = failure.wait.unwrap_or_default().clamp(TOKEN_COOLDOWN, TOKEN_COOLDOWN_MAX);
                state.failure = Some((failure.clone(), instant + wait));
                Err(failure)
            }
        };
        state.flight = None;
        drop(state);
        self.landed = true;
        self.sender.send_replace(Some(outcome));
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        // Once landed, the slot's flight may be the next one.
        if !self.landed {
            self.slot.lock().flight = None;
        }
    }
}

impl Token {
    fn new(issued: Issued, begun: Instant, replaces_refused: bool) -> Self {
        let lifetime = issued.lifetime.unwrap_or(TOKEN_LIFETIME);
        // A lifetime beyond what the clock can count is as good as a long one.
        let (lifetime, end) = begun
            .checked_add(lifetime)
            .map_or((TOKEN_LIFETIME, begun + TOKEN_LIFETIME), |end| (lifetime, end));
        let early = begun + lifetime.saturating_sub(TOKEN_EARLY.min(lifetime / 2));
        Self { injections: issued.injections, begun, early, end, replaces_refused }
    }
}

impl Failure {
    /// The error once more: one cannot be cloned, and many callers get it.
    fn error(&self) -> Error {
        let first = &self.error;
        let mut error = Error::new(first.code, first.message.clone()).with_retryable(first.retryable());
        if let Some(hint) = &first.hint {
            error = error.hint(hint.clone());
        }
        if let Some(details) = &first.details {
            error = error.details(details.clone());
        }
        match &first.source {
            Some(cause) => error.because(cause.to_string()),
            None => error,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error: Arc::new(error), wait: None }
    }
}

/// Whether the headers of both are the same.
pub(crate) fn same(sent: &[Injection], made: &[Injection]) -> bool {
    let has = |wanted: &Injection| {
        sent.iter().any(|sent| match (sent, wanted) {
            (Injection::Header { name: a, value: x }, Injection::Header { name: b, value: y }) => {
                a == b && secret::same(x, y)
            }
            _ => false,
        })
    };
    made.iter().all(has)
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("credentials", &self.slots.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
