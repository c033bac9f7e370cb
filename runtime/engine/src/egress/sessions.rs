//! Streams that a connector leaves for its next call: connected, logged in, with what it knows of them.
//!
//! Invariants (C6, C7): a session is resumed only under the key it was parked with, which is the connection version, its
//! secrets and network settings, the connector's digest, the endpoint and the name; only while it is silent, since bytes
//! nobody asked for would be taken for the next call's answer; and none that was opened before configuration changed is
//! there after it.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use openact_core::{
    limits::{
        SESSION_AGE_MAX, SESSION_IDLE_MAX, SESSION_NAME_BYTES_MAX, SESSION_STATE_BYTES_MAX, SESSIONS_MAX,
        SESSIONS_PER_CONNECTION_MAX, SESSIONS_PER_KEY_MAX,
    },
    policy::Origin,
};
use tokio::time::{Instant, sleep};
use zeroize::Zeroizing;

use super::socket::Io;

/// Whose a session is.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct SessionKey {
    /// Connection version, secrets and network settings.
    pub(crate) grants: [u8; 32],
    /// The connector's digest.
    pub(crate) connector: [u8; 32],
    pub(crate) origin: Origin,
    /// Whether it was opened with TLS from the first byte.
    pub(crate) tls: bool,
    /// What the connector calls it.
    pub(crate) name: String,
}

/// A parked stream.
pub(crate) struct Session {
    pub(crate) io: Io,
    /// What the connector knows of it.
    pub(crate) state: Zeroizing<Vec<u8>>,
    pub(crate) born: Instant,
    pub(crate) parked: Instant,
    /// What [`Sessions::era`] was when it was opened.
    pub(crate) era: u64,
}

impl Session {
    fn is_fresh(&self, now: Instant) -> bool {
        now.duration_since(self.parked) < SESSION_IDLE_MAX && now.duration_since(self.born) < SESSION_AGE_MAX
    }

    /// Open, and with nothing to read: neither on its way nor decrypted already.
    fn is_silent(&self) -> bool {
        let read = self.io.tcp().map(|tcp| tcp.try_read(&mut [0; 1]));
        self.io.is_drained() && matches!(read, Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock)
    }

    fn is_small(&self, key: &SessionKey) -> bool {
        self.state.len() <= SESSION_STATE_BYTES_MAX && key.name.len() <= SESSION_NAME_BYTES_MAX
    }
}

/// Every parked session of an engine.
#[derive(Default)]
pub(crate) struct Sessions(Arc<Mutex<Parked>>);

#[derive(Default)]
struct Parked {
    by_key: HashMap<SessionKey, Vec<Session>>,
    count: usize,
    /// How often all were closed.
    era: u64,
    is_swept: bool,
}

impl Parked {
    fn has_room(&self, key: &SessionKey) -> bool {
        let of_key = self.by_key.get(key).map_or(0, Vec::len);
        let is_same = |(other, _): &(&SessionKey, _)| other.grants == key.grants;
        let of_connection = self.by_key.iter().filter(is_same).map(|(_, sessions)| sessions.len());
        self.count < SESSIONS_MAX
            && of_key < SESSIONS_PER_KEY_MAX
            && of_connection.sum::<usize>() < SESSIONS_PER_CONNECTION_MAX
    }
}

impl Sessions {
    /// The session of that key which was parked last, if it can be used.
    pub(crate) fn take(&self, key: &SessionKey) -> Option<Session> {
        let mut parked = lock(&self.0);
        let now = Instant::now();
        loop {
            let sessions = parked.by_key.get_mut(key)?;
            let session = sessions.pop();
            // A connector may call each by another name: what is empty does not stay.
            if sessions.is_empty() {
                parked.by_key.remove(key);
            }
            let session = session?;
            parked.count -= 1;
            if session.is_fresh(now) && session.is_silent() {
                return Some(session);
            }
        }
    }

    /// Keeps a session, unless there are enough, it is too old, its state or name too large, or configuration has changed
    /// since it was opened.
    pub(crate) fn park(&self, key: SessionKey, session: Session) {
        let mut parked = lock(&self.0);
        let is_wanted =
            session.era == parked.era && session.is_fresh(session.parked) && session.is_small(&key);
        if !is_wanted || !parked.has_room(&key) {
            return;
        }
        parked.by_key.entry(key).or_default().push(session);
        parked.count += 1;
        if !std::mem::replace(&mut parked.is_swept, true) {
            tokio::spawn(sweep(Arc::downgrade(&self.0)));
        }
    }

    /// What a session notes when it is opened: another one after every [`Sessions::clear`].
    pub(crate) fn era(&self) -> u64 {
        lock(&self.0).era
    }

    /// Closes all of them, and those in use when they are parked.
    pub(crate) fn clear(&self) {
        let mut parked = lock(&self.0);
        parked.era += 1;
        let closed = std::mem::take(&mut parked.by_key);
        parked.count = 0;
        drop(parked);
        drop(closed);
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        lock(&self.0).count
    }
}

fn lock(parked: &Mutex<Parked>) -> MutexGuard<'_, Parked> {
    parked.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Closes what nobody came for, until there is nothing left.
async fn sweep(parked: Weak<Mutex<Parked>>) {
    let _sweeping = Sweeping(parked.clone());
    loop {
        sleep(SESSION_IDLE_MAX / 4).await;
        let Some(parked) = parked.upgrade() else { return };
        let mut parked = lock(&parked);
        let now = Instant::now();
        let mut closed = Vec::new();
        for sessions in parked.by_key.values_mut() {
            closed.extend(sessions.extract_if(.., |session| !session.is_fresh(now)));
        }
        parked.by_key.retain(|_, sessions| !sessions.is_empty());
        parked.count -= closed.len();
        if parked.count == 0 {
            // Here and not only when it is dropped: what is parked in between would be swept by nobody.
            parked.is_swept = false;
            return;
        }
    }
}

/// That somebody sweeps. A runtime that ends drops its tasks, and the next one has to begin again.
struct Sweeping(Weak<Mutex<Parked>>);

impl Drop for Sweeping {
    fn drop(&mut self) {
        if let Some(parked) = self.0.upgrade() {
            lock(&parked).is_swept = false;
        }
    }
}

#[cfg(test)]
mod tests;
