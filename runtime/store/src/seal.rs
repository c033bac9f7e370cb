//! How a secret is kept at rest: AES-256-GCM with a fresh data key for every record, wrapped by the master key.
//!
//! | bound into every ciphertext (associated data) | so that |
//! |---|---|
//! | table, record, field | one moved to another row or column does not open |
//! | key version | a row cannot claim to be sealed with another master key |
//!
//! The parts are joined with their lengths, so that no two lists of parts give the same bytes. From the master key,
//! HKDF-SHA256 derives three: one wraps data keys, one makes fingerprints, one gives the key an id by which a wrong
//! key is told from a damaged row. Nonces are 96 random bits; a data key seals a handful of fields, once.
//!
//! Invariant: what this module returns as text is sealed or keyed; clear text leaves it only as a `SecretString`, and
//! every buffer that held some is zeroed.

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    constant_time, hkdf, hmac,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use openact_core::{Error, Result, Tenant, secret::ExposeSecret, secret::SecretString};
use zeroize::Zeroizing;

use crate::key::MasterKey;

const DATA_KEY_BYTES: usize = 32;

/// What is derived from the master key.
pub(crate) struct Keys {
    wrapping: LessSafeKey,
    fingerprint: hmac::Key,
    id: String,
}

impl Keys {
    pub(crate) fn derive(master: &MasterKey) -> Result<Self> {
        let root = hkdf::Salt::new(hkdf::HKDF_SHA256, b"openact store").extract(master.bytes());
        let derive = |purpose: &[u8]| -> Result<Zeroizing<[u8; DATA_KEY_BYTES]>> {
            let mut key = Zeroizing::new([0; DATA_KEY_BYTES]);
            root.expand(&[purpose], hkdf::HKDF_SHA256)
                .and_then(|okm| okm.fill(&mut *key))
                .map_err(|_| broken())?;
            Ok(key)
        };
        let id = derive(b"key id v1")?;
        Ok(Self {
            wrapping: aes(&*derive(b"wrap data keys v1")?)?,
            fingerprint: hmac::Key::new(hmac::HMAC_SHA256, &*derive(b"fingerprints v1")?),
            id: BASE64_STANDARD.encode(id.get(..16).unwrap_or_default()),
        })
    }

    /// Tells this master key from others without saying anything about it.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Equal for equal values of one tenant; says nothing without the master key.
    pub(crate) fn fingerprint(&self, tenant: &Tenant, value: &SecretString) -> String {
        BASE64_STANDARD.encode(self.keyed_hash(tenant, value))
    }

    /// Whether `fingerprint` is that of `value`, in a time that does not depend on how much of it fits.
    pub(crate) fn has_fingerprint(&self, tenant: &Tenant, value: &SecretString, fingerprint: &str) -> bool {
        let stored = BASE64_STANDARD.decode(fingerprint).unwrap_or_default();
        constant_time::verify_slices_are_equal(self.keyed_hash(tenant, value).as_ref(), &stored).is_ok()
    }

    fn keyed_hash(&self, tenant: &Tenant, value: &SecretString) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.fingerprint);
        for part in [tenant.as_str(), value.expose_secret()] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        context.sign()
    }
}

/// The record a ciphertext belongs to.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    pub(crate) table: &'static str,
    /// The row: its TRN, or its name.
    pub(crate) record: String,
    /// The version of the master key.
    pub(crate) key_version: i64,
}

impl Slot {
    fn associated_data(&self, field: &str) -> Vec<u8> {
        let version = self.key_version.to_string();
        let mut data = Vec::new();
        for part in [self.table, &self.record, field, &version] {
            data.extend_from_slice(&(part.len() as u64).to_be_bytes());
            data.extend_from_slice(part.as_bytes());
        }
        data
    }
}

/// A ciphertext and its nonce, both base64: two columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sealed {
    pub(crate) encrypted: String,
    pub(crate) nonce: String,
}

impl Sealed {
    /// The two columns of an optional field; one without the other is damage.
    pub(crate) fn of_columns(encrypted: Option<String>, nonce: Option<String>) -> Option<Self> {
        match (encrypted, nonce) {
            (None, None) => None,
            (encrypted, nonce) => {
                Some(Self { encrypted: encrypted.unwrap_or_default(), nonce: nonce.unwrap_or_default() })
            }
        }
    }
}

/// The key of one record.
pub(crate) struct DataKey {
    key: LessSafeKey,
    slot: Slot,
}

const DATA_KEY: &str = "data_key";

impl DataKey {
    /// A fresh one, and how it is stored.
    pub(crate) fn fresh(keys: &Keys, slot: Slot) -> Result<(Self, Sealed)> {
        let mut bytes = Zeroizing::new([0; DATA_KEY_BYTES]);
        random(&mut *bytes)?;
        let wrapped = seal(&keys.wrapping, &slot, DATA_KEY, &*bytes)?;
        Ok((Self { key: aes(&*bytes)?, slot }, wrapped))
    }

    /// The one stored as `wrapped`.
    pub(crate) fn unwrap(keys: &Keys, slot: Slot, wrapped: &Sealed) -> Result<Self> {
        let bytes = open(&keys.wrapping, &slot, DATA_KEY, wrapped)?;
        Ok(Self { key: aes(&bytes)?, slot })
    }

    pub(crate) fn seal(&self, field: &str, value: &str) -> Result<Sealed> {
        seal(&self.key, &self.slot, field, value.as_bytes())
    }

    pub(crate) fn open(&self, field: &str, sealed: &Sealed) -> Result<SecretString> {
        let bytes = open(&self.key, &self.slot, field, sealed)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| does_not_open(&self.slot, field))?;
        Ok(SecretString::from(text))
    }
}

/// Fills `bytes` from the operating system's generator.
pub(crate) fn random(bytes: &mut [u8]) -> Result<()> {
    aws_lc_rs::rand::fill(bytes).map_err(|_| broken())
}

fn aes(key: &[u8]) -> Result<LessSafeKey> {
    UnboundKey::new(&AES_256_GCM, key).map(LessSafeKey::new).map_err(|_| broken())
}

fn seal(key: &LessSafeKey, slot: &Slot, field: &str, clear: &[u8]) -> Result<Sealed> {
    let mut nonce = [0; NONCE_LEN];
    random(&mut nonce)?;
    // Room for the tag from the start: growing would leave a copy of the clear text behind.
    let mut buffer = Zeroizing::new(Vec::with_capacity(clear.len() + AES_256_GCM.tag_len()));
    buffer.extend_from_slice(clear);
    let aad = Aad::from(slot.associated_data(field));
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut *buffer)
        .map_err(|_| broken())?;
    Ok(Sealed { encrypted: BASE64_STANDARD.encode(&*buffer), nonce: BASE64_STANDARD.encode(nonce) })
}

fn open(key: &LessSafeKey, slot: &Slot, field: &str, sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>> {
    let refused = || does_not_open(slot, field);
    let nonce =
        BASE64_STANDARD.decode(&sealed.nonce).ok().and_then(|nonce| <[u8; NONCE_LEN]>::try_from(nonce).ok());
    let nonce = Nonce::assume_unique_for_key(nonce.ok_or_else(refused)?);
    let mut buffer = Zeroizing::new(BASE64_STANDARD.decode(&sealed.encrypted).map_err(|_| refused())?);
    let aad = Aad::from(slot.associated_data(field));
    let length = key.open_in_place(nonce, aad, &mut buffer).map_err(|_| refused())?.len();
    buffer.truncate(length);
    Ok(buffer)
}

fn does_not_open(slot: &Slot, field: &str) -> Error {
    Error::store_unavailable(format!(
        "the sealed '{field}' of row '{}' in table '{}' does not open: it was changed or moved",
        slot.record, slot.table
    ))
    .hint("restore the database from a backup, or set the secret again")
    .with_retryable(false)
}

fn broken() -> Error {
    Error::internal("the cryptographic library failed")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(byte: u8) -> Keys {
        Keys::derive(&MasterKey::from_base64(&BASE64_STANDARD.encode([byte; 32])).unwrap()).unwrap()
    }

    fn slot() -> Slot {
        Slot { table: "secrets", record: "default:a".into(), key_version: 1 }
    }

    #[test]
    fn c8_a_value_opens_only_where_it_was_sealed() {
        let keys = keys(1);
        let (data_key, wrapped) = DataKey::fresh(&keys, slot()).unwrap();
        let sealed = data_key.seal("value", "hunter2").unwrap();
        let reopened = DataKey::unwrap(&keys, slot(), &wrapped).unwrap();
        assert_eq!(reopened.open("value", &sealed).unwrap().expose_secret(), "hunter2");

        assert!(reopened.open("other", &sealed).is_err(), "another field");
        for other in [
            Slot { table: "auth_connections", ..slot() },
            Slot { record: "default:b".into(), ..slot() },
            Slot { key_version: 2, ..slot() },
        ] {
            assert!(DataKey::unwrap(&keys, other.clone(), &wrapped).is_err(), "{other:?}");
            let moved = DataKey {
                key: aes(&open(&keys.wrapping, &slot(), DATA_KEY, &wrapped).unwrap()).unwrap(),
                slot: other,
            };
            assert!(moved.open("value", &sealed).is_err(), "{:?}", moved.slot);
        }
        assert!(DataKey::unwrap(&self::keys(2), slot(), &wrapped).is_err(), "another master key");
    }

    #[test]
    fn parts_of_the_associated_data_cannot_be_shifted() {
        let shifted = Slot { record: "default:".into(), ..slot() };
        assert_ne!(slot().associated_data("value"), shifted.associated_data("avalue"));
    }

    #[test]
    fn c8_damaged_columns_are_errors() {
        let keys = keys(1);
        let (data_key, _) = DataKey::fresh(&keys, slot()).unwrap();
        let good = data_key.seal("value", "v").unwrap();
        assert_ne!(good, data_key.seal("value", "v").unwrap(), "nonces are fresh");
        for bad in [
            Sealed { nonce: String::new(), ..good.clone() },
            Sealed { nonce: "AAAA".into(), ..good.clone() },
            Sealed { encrypted: String::new(), ..good.clone() },
            Sealed { encrypted: "not base64".into(), ..good.clone() },
            Sealed { encrypted: BASE64_STANDARD.encode([0; 17]), ..good },
        ] {
            assert!(data_key.open("value", &bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn fingerprints_are_keyed_and_apart_by_tenant() {
        let (one, other): (Tenant, Tenant) = ("one".parse().unwrap(), "other".parse().unwrap());
        let value = SecretString::from("v");
        let print = keys(1).fingerprint(&one, &value);
        assert_eq!(print, keys(1).fingerprint(&one, &value));
        assert_ne!(print, keys(1).fingerprint(&other, &value));
        assert_ne!(print, keys(2).fingerprint(&one, &value));
        assert_ne!(print, keys(1).fingerprint(&one, &"w".into()));
        assert!(keys(1).has_fingerprint(&one, &value, &print));
        assert!(!keys(1).has_fingerprint(&one, &"w".into(), &print));
        assert!(!keys(1).has_fingerprint(&one, &value, ""), "c10");
    }
}
