//! The runtime behind the routes, which may not be there yet: a server starts while its store is down.
//!
//! Invariant: once there is one, it stays.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use openact::{Error, OpenAct, Result};

/// See the module.
#[derive(Clone, Default)]
pub struct Slot(Arc<Inner>);

#[derive(Default)]
struct Inner {
    openact: OnceLock<OpenAct>,
    /// Message and hint of why there is none.
    why: Mutex<Option<(String, Option<String>)>>,
}

impl Slot {
    /// Gives the routes their runtime.
    pub fn fill(&self, openact: OpenAct) {
        // A second one is dropped, which nobody does.
        let _ = self.0.openact.set(openact);
    }

    /// Says why there is none yet.
    pub fn failed(&self, error: &Error) {
        let said = (error.message.clone(), error.hint.clone());
        *self.0.why.lock().unwrap_or_else(PoisonError::into_inner) = Some(said);
    }

    /// The runtime.
    pub fn get(&self) -> Result<&OpenAct> {
        self.0.openact.get().ok_or_else(|| {
            let why = self.0.why.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let (message, hint) = why.unwrap_or_else(|| ("the store is not open yet".into(), None));
            let error = Error::store_unavailable(message).with_retryable(true);
            match hint {
                Some(hint) => error.hint(hint),
                None => error,
            }
        })
    }
}

impl From<OpenAct> for Slot {
    fn from(openact: OpenAct) -> Self {
        let slot = Self::default();
        slot.fill(openact);
        slot
    }
}
