//! The master key, and the ring of those a process has: where they come from, and that they stay out of sight.
//!
//! A database names the keys its records are sealed with by id, so it does not matter in which order or from where a
//! process has them. More than one is there while the key is rotated.
//!
//! Invariant: the 32 bytes are never printed, never in an error, and zeroed when dropped.

use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use openact_core::{Error, Result};
use zeroize::{Zeroize, Zeroizing};

use crate::{key_file, seal::Keys};

/// Length of the master key, bytes: AES-256's.
pub(crate) const KEY_BYTES: usize = 32;

/// What wraps the data keys of all sealed records.
#[derive(Clone)]
pub struct MasterKey(Zeroizing<[u8; KEY_BYTES]>);

/// Where master keys come from.
pub enum KeySource {
    /// These, the newest first.
    Keys(Vec<MasterKey>),
    /// A key file ([`crate::key_file`]), made when the first secret of a database is sealed. Read when one is first
    /// sealed, opened or compared, and again when a record needs a key that was not in it.
    File(PathBuf),
    /// The environment. Asked as a file is read: late, so that a command without secrets needs no key. The newest
    /// first. An error is reported and the next use asks again.
    Environment(Box<dyn Fn() -> Result<Vec<MasterKey>> + Send + Sync>),
}

impl KeySource {
    /// What it is called in messages.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Keys(_) => "the program".into(),
            Self::File(path) => format!("key file {}", path.display()),
            Self::Environment(_) => "the environment".into(),
        }
    }
}

impl MasterKey {
    /// Reads base64 (standard alphabet, padded) of 32 bytes. White space around it is ignored.
    pub fn from_base64(text: &str) -> Result<Self> {
        let bad = || {
            Error::invalid_config("the master key is not base64 of 32 bytes")
                .hint("make one with: head -c 32 /dev/urandom | base64")
        };
        let mut decoded = BASE64_STANDARD.decode(text.trim()).map_err(|_| bad())?;
        let key =
            <[u8; KEY_BYTES]>::try_from(&*decoded).map(|key| Self(Zeroizing::new(key))).map_err(|_| bad());
        decoded.zeroize();
        key
    }

    /// A random key that nobody else will ever know.
    pub fn ephemeral() -> Result<Self> {
        let mut key = Self(Zeroizing::new([0; KEY_BYTES]));
        crate::seal::random(&mut *key.0)?;
        Ok(key)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &*self.0
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(…)")
    }
}

/// The keys a process has, the newest first.
pub(crate) struct KeyRing(Vec<RingKey>);

/// A key of the ring.
pub(crate) struct RingKey {
    /// Its number in the key file.
    pub(crate) number: Option<i64>,
    pub(crate) keys: Arc<Keys>,
}

impl KeyRing {
    /// The key with that id.
    pub(crate) fn find(&self, id: &str) -> Option<Arc<Keys>> {
        self.0.iter().find(|key| key.keys.id() == id).map(|key| key.keys.clone())
    }

    pub(crate) fn newest(&self) -> Option<&RingKey> {
        self.0.first()
    }

    /// The newest key that came after the one with that id; none if it is the newest.
    pub(crate) fn newer_than(&self, id: &str) -> Option<&RingKey> {
        self.newest().filter(|newest| newest.keys.id() != id)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &RingKey> {
        self.0.iter()
    }

    fn read(source: &KeySource) -> Result<Self> {
        let derived = |number, key: &MasterKey| -> Result<RingKey> {
            Ok(RingKey { number, keys: Arc::new(Keys::derive(key)?) })
        };
        let ring: Result<Vec<RingKey>> = match source {
            KeySource::Keys(keys) => keys.iter().map(|key| derived(None, key)).collect(),
            KeySource::Environment(ask) => ask()?.iter().map(|key| derived(None, key)).collect(),
            KeySource::File(path) => {
                key_file::read(path)?.iter().map(|key| derived(Some(key.number), &key.key)).collect()
            }
        };
        ring.map(Self)
    }
}

/// The ring of a process, read from its source when first needed.
pub(crate) struct KeyHolder {
    source: KeySource,
    ring: Mutex<Option<Arc<KeyRing>>>,
}

impl KeyHolder {
    pub(crate) fn new(source: KeySource) -> Self {
        Self { source, ring: Mutex::new(None) }
    }

    pub(crate) fn source(&self) -> &KeySource {
        &self.source
    }

    /// The ring; without a key where there is no key file yet.
    pub(crate) fn ring(&self) -> Result<Arc<KeyRing>> {
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        match &*ring {
            Some(ring) => Ok(ring.clone()),
            None => Ok(ring.insert(Arc::new(KeyRing::read(&self.source)?)).clone()),
        }
    }

    /// The ring as its source has it now.
    pub(crate) fn reload(&self) -> Result<Arc<KeyRing>> {
        let read = Arc::new(KeyRing::read(&self.source)?);
        *self.ring.lock().unwrap_or_else(PoisonError::into_inner) = Some(read.clone());
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c9_a_master_key_does_not_show() {
        let text = BASE64_STANDARD.encode([7; 32]);
        let key = MasterKey::from_base64(&format!("{text}\n")).unwrap();
        assert_eq!(key.bytes(), [7; 32]);
        assert_eq!(format!("{key:?}"), "MasterKey(…)");
        for bad in [&text[1..], "", "AAAA", &format!("{text}AAAA")] {
            let error = MasterKey::from_base64(bad).unwrap_err();
            assert!(bad.is_empty() || !format!("{error:?}").contains(bad));
        }
    }
}
