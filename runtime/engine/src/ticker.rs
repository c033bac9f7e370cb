//! The one epoch ticker of an engine: a thread that advances the epoch every [`EPOCH_TICK`], so that computing guests
//! come up for air.
//!
//! Invariant: the thread ends with its engine.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use openact_core::{Error, Result, limits::EPOCH_TICK};

/// How many ticks have passed.
#[derive(Clone, Default)]
pub(crate) struct Ticks(Arc<AtomicU64>);

impl Ticks {
    pub(crate) fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Starts the ticker of `engine`.
pub(crate) fn start(engine: &wasmtime::Engine) -> Result<Ticks> {
    let ticks = Ticks::default();
    let (weak, count) = (engine.weak(), ticks.clone());
    thread::Builder::new()
        .name("openact-epoch".into())
        .spawn(move || {
            while let Some(engine) = weak.upgrade() {
                count.0.fetch_add(1, Ordering::Relaxed);
                engine.increment_epoch();
                drop(engine);
                thread::sleep(EPOCH_TICK);
            }
        })
        .map_err(|error| Error::internal("failed to start the epoch ticker").because(error))?;
    Ok(ticks)
}
