//! What SCRAM derives from a password, with as many rounds as the server says: slow on purpose, so done once.
//!
//! Invariants: no asynchronous thread computes it, and at most [`SCRAM_DERIVATIONS_AT_ONCE`] others do; the cache names
//! an entry by a keyed digest, whose key no other process has, and holds no password.

use std::{num::NonZeroU32, sync::Arc};

use aws_lc_rs::{digest, hmac, pbkdf2, rand::SystemRandom};
use openact_core::{
    Error, Result,
    limits::{SCRAM_DERIVATIONS_AT_ONCE, SCRAM_KEYS_MAX},
};
use quick_cache::sync::Cache;
use tokio::{runtime::Handle, sync::Semaphore};
use zeroize::Zeroizing;

/// A hash that SCRAM is defined for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hash {
    Sha1,
    Sha256,
}

impl Hash {
    pub(super) fn hmac(self) -> hmac::Algorithm {
        match self {
            Self::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => hmac::HMAC_SHA256,
        }
    }

    fn digest(self) -> &'static digest::Algorithm {
        match self {
            Self::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &digest::SHA256,
        }
    }

    fn pbkdf2(self) -> pbkdf2::Algorithm {
        match self {
            Self::Sha1 => pbkdf2::PBKDF2_HMAC_SHA1,
            Self::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
        }
    }
}

/// What a key is derived from.
#[derive(Clone)]
pub(super) struct Source {
    pub(super) hash: Hash,
    pub(super) password: Arc<Zeroizing<Vec<u8>>>,
    pub(super) salt: Vec<u8>,
    pub(super) rounds: NonZeroU32,
}

/// RFC 5802 section 3.
pub(super) struct Key {
    pub(super) client: Zeroizing<Vec<u8>>,
    pub(super) stored: Zeroizing<Vec<u8>>,
    pub(super) server: Zeroizing<Vec<u8>>,
}

impl Key {
    fn derive(source: &Source) -> Self {
        let hash = source.hash;
        let mut salted = Zeroizing::new(vec![0; hash.digest().output_len()]);
        pbkdf2::derive(hash.pbkdf2(), source.rounds, &source.salt, &source.password, &mut salted);
        let salted = hmac::Key::new(hash.hmac(), &salted);
        let of = |what: &[u8]| Zeroizing::new(hmac::sign(&salted, what).as_ref().to_vec());
        let client = of(b"Client Key");
        let stored = Zeroizing::new(digest::digest(hash.digest(), &client).as_ref().to_vec());
        Self { client, stored, server: of(b"Server Key") }
    }
}

/// The derived keys of the process.
pub(super) struct Keys {
    kept: Cache<[u8; 32], Arc<Key>>,
    names: hmac::Key,
    turns: Arc<Semaphore>,
}

impl Keys {
    pub(super) fn new() -> Result<Self> {
        let names = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())
            .map_err(|_| Error::internal("failed to get random bytes"))?;
        let turns = Arc::new(Semaphore::new(SCRAM_DERIVATIONS_AT_ONCE));
        Ok(Self { kept: Cache::new(SCRAM_KEYS_MAX), names, turns })
    }

    /// The key of `source`. Of several callers who ask for the same one, one has it derived.
    pub(super) async fn get(&self, source: Source) -> Result<Arc<Key>> {
        let name = self.name(&source)?;
        self.kept.get_or_insert_async(&name, self.derive(source)).await
    }

    async fn derive(&self, source: Source) -> Result<Arc<Key>> {
        let failed = |error| Error::internal("failed to derive a key").because(error);
        let runtime = Handle::try_current()
            .map_err(|error| Error::internal("a login is made outside the runtime").because(error))?;
        let turn = self.turns.clone().acquire_owned().await.map_err(|_| is_closed())?;
        let derived = runtime.spawn_blocking(move || {
            let key = Key::derive(&source);
            // Here, because the thread goes on when nobody waits for it any more.
            drop(turn);
            key
        });
        derived.await.map(Arc::new).map_err(failed)
    }

    fn name(&self, source: &Source) -> Result<[u8; 32]> {
        let mut context = hmac::Context::with_key(&self.names);
        let (algorithm, rounds) = ([source.hash as u8], source.rounds.get().to_le_bytes());
        for part in [&algorithm, rounds.as_slice(), &source.salt, &source.password] {
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part);
        }
        context.sign().as_ref().try_into().map_err(|_| Error::internal("SHA-256 has another length"))
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.kept.len()
    }
}

fn is_closed() -> Error {
    Error::internal("no key is derived any more")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(hash: Hash, password: &str, salt: &[u8], rounds: u32) -> Source {
        let password = Arc::new(Zeroizing::new(password.as_bytes().to_vec()));
        Source { hash, password, salt: salt.to_vec(), rounds: NonZeroU32::new(rounds).unwrap() }
    }

    #[tokio::test]
    async fn c10_a_key_is_kept_per_password_salt_rounds_and_hash() {
        let keys = Keys::new().unwrap();
        let first = keys.get(source(Hash::Sha256, "a", b"bc", 4096)).await.unwrap();
        let again = keys.get(source(Hash::Sha256, "a", b"bc", 4096)).await.unwrap();
        assert!(Arc::ptr_eq(&first, &again));
        for other in [
            source(Hash::Sha1, "a", b"bc", 4096),
            source(Hash::Sha256, "ab", b"c", 4096),
            source(Hash::Sha256, "b", b"bc", 4096),
            source(Hash::Sha256, "a", b"bd", 4096),
            source(Hash::Sha256, "a", b"bc", 4097),
        ] {
            let other = keys.get(other).await.unwrap();
            assert_ne!(*other.client, *first.client);
        }
        assert_eq!(keys.len(), 6);
    }

    #[tokio::test]
    async fn c9_the_cache_names_no_password() {
        let (one, two) = (Keys::new().unwrap(), Keys::new().unwrap());
        let of = source(Hash::Sha256, "hunter2", b"salt", 4096);
        assert_ne!(one.name(&of).unwrap(), two.name(&of).unwrap());
    }

    /// One thread, which the derivation must not take: a task beside it runs all the while.
    #[tokio::test]
    async fn deriving_leaves_the_asynchronous_thread_free_and_is_done_once() {
        let keys = Keys::new().unwrap();
        let get = || keys.get(source(Hash::Sha256, "a", b"salt", 600_000));
        let (mut turns, mut beside) = (0u64, Box::pin(get()));
        loop {
            tokio::select! {
                biased;
                key = &mut beside => { key.unwrap(); break; }
                () = tokio::task::yield_now() => turns += 1,
            }
        }
        assert!(turns > 10, "{turns}");
        let (a, b) = tokio::join!(get(), get());
        assert!(Arc::ptr_eq(&a.unwrap(), &b.unwrap()));
    }
}
