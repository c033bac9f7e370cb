//! The key of the chain, and its head: how many entries there are, and the mac of the last.
//!
//! | is there | key | head | entries | a change |
//! |---|---|---|---|---|
//! | a log that goes on | yes | fits the key | any | continues it |
//! | a new database | no | no | no | makes the key |
//! | anything else | | | | is refused: going on would hide what was done to the log |
//!
//! Invariant: every part that is authenticated goes in with its length, so that no two entries give the same bytes.

use aws_lc_rs::{constant_time, hmac};
use base64::{Engine, prelude::BASE64_STANDARD};
use openact_core::{
    Error, Result, Tenant, Timestamp,
    secret::{ExposeSecret, SecretString},
};
use sqlx::{FromRow, QueryBuilder, Sqlite, SqliteConnection};
use zeroize::Zeroizing;

use super::{EntryRow, READ};
use crate::{
    Store, failure,
    key_versions::KEY_ID,
    rows::{damaged, time_text},
    seal::{DataKey, Sealed, Slot, random},
};

const KEY_BYTES: usize = 32;
const FIELD: &str = "mac_key";

/// What authenticates the log.
pub(crate) struct ChainKey(hmac::Key);

/// How far the chain goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) count: i64,
    /// Empty before the first entry.
    pub(crate) mac: String,
}

impl ChainKey {
    fn from_base64(text: &SecretString) -> Option<Self> {
        let bytes = Zeroizing::new(BASE64_STANDARD.decode(text.expose_secret()).ok()?);
        (bytes.len() == KEY_BYTES).then(|| Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
    }

    /// Of an entry after the one whose mac is `previous`.
    pub(crate) fn mac(&self, previous: &str, row: &EntryRow) -> String {
        let id = row.id.to_string();
        self.sign(&[
            Some("entry"),
            Some(previous),
            Some(&id),
            Some(&row.at),
            row.tenant.as_deref(),
            Some(&row.actor),
            Some(&row.door),
            Some(&row.operation),
            Some(&row.object),
            row.before_json.as_deref(),
            row.after_json.as_deref(),
        ])
    }

    /// How a secret's value appears in an entry.
    pub(crate) fn print(&self, tenant: &Tenant, value: &SecretString) -> String {
        self.sign(&[Some("secret"), Some(tenant.as_str()), Some(value.expose_secret())])
    }

    fn head_mac(&self, head: &Head) -> String {
        self.sign(&[Some("head"), Some(&head.count.to_string()), Some(&head.mac)])
    }

    fn sign(&self, parts: &[Option<&str>]) -> String {
        let mut context = hmac::Context::with_key(&self.0);
        for part in parts {
            // An absent part is no empty one.
            let length = part.map_or(u64::MAX, |part| part.len() as u64);
            context.update(&length.to_be_bytes());
            context.update(part.unwrap_or_default().as_bytes());
        }
        BASE64_STANDARD.encode(context.sign())
    }
}

impl Head {
    pub(crate) const START: Self = Self { count: 0, mac: String::new() };

    /// `COUNT MAC MAC_OF_BOTH`
    pub(crate) async fn write(&self, key: &ChainKey, tx: &mut SqliteConnection) -> sqlx::Result<()> {
        sqlx::query("INSERT OR REPLACE INTO settings (key, value) VALUES ('audit_head', ?)")
            .bind(format!("{} {} {}", self.count, self.mac, key.head_mac(self)))
            .execute(tx)
            .await
            .map(drop)
    }

    /// None if it was not written with this key.
    pub(crate) fn parse(text: &str, key: &ChainKey) -> Option<Self> {
        let [count, mac, head_mac] = *text.split(' ').collect::<Vec<_>>() else { return None };
        let head = Self { count: count.parse().ok()?, mac: mac.to_owned() };
        same(&key.head_mac(&head), head_mac).then_some(head)
    }

    /// As it is stored, if it is.
    pub(crate) async fn read(connection: &mut SqliteConnection) -> sqlx::Result<Option<String>> {
        sqlx::query_scalar("SELECT value FROM settings WHERE key = 'audit_head'")
            .fetch_optional(connection)
            .await
    }
}

/// Whether two macs are the same, in a time that does not depend on where they differ.
pub(crate) fn same(one: &str, other: &str) -> bool {
    constant_time::verify_slices_are_equal(one.as_bytes(), other.as_bytes()).is_ok()
}

impl Store {
    /// The key and the head to go on from; see the module.
    pub(crate) async fn continue_chain(&self, tx: &mut SqliteConnection) -> Result<(ChainKey, Head)> {
        let failed = |error| failure::explain(&self.0.place, READ, error);
        let head = Head::read(&mut *tx).await.map_err(failed)?;
        match (self.chain_key(tx).await?, head) {
            (Some(key), Some(text)) => match Head::parse(&text, &key) {
                Some(head) => Ok((key, head)),
                None => Err(self.broken_chain("its head was changed")),
            },
            (Some(_), None) => Err(self.broken_chain("its head was removed")),
            (None, Some(_)) => Err(self.broken_chain("its key was removed")),
            (None, None) => {
                let any: bool = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM audit_log)")
                    .fetch_one(&mut *tx)
                    .await
                    .map_err(failed)?;
                if any {
                    return Err(self.broken_chain("its key and its head were removed"));
                }
                let key = self.make_chain_key(tx).await?;
                // At once, and not with the first entry: a change may turn out to leave none.
                Head::START.write(&key, tx).await.map_err(failed)?;
                Ok((key, Head::START))
            }
        }
    }

    fn broken_chain(&self, what: &str) -> Error {
        Error::store_unavailable(format!(
            "nothing can be changed: the audit log of database {} cannot be continued, {what}",
            self.0.place
        ))
        .hint("see: openact audit verify; then restore a backup, or export the configuration and import it elsewhere")
        .with_retryable(false)
    }

    /// The key, if the chain has one.
    pub(crate) async fn chain_key(&self, connection: &mut SqliteConnection) -> Result<Option<ChainKey>> {
        let mut query = QueryBuilder::<Sqlite>::new(
            "SELECT mac_key_encrypted, mac_key_nonce, data_key_encrypted, data_key_nonce, key_version, ",
        );
        query.push(KEY_ID).push(" FROM audit_keys");
        let row: Option<KeyRow> = query
            .build_query_as()
            .fetch_optional(connection)
            .await
            .map_err(|error| failure::explain(&self.0.place, READ, error))?;
        let Some(row) = row else { return Ok(None) };
        let keys = self.opening_keys(row.key_version, row.key_id.as_deref())?;
        let wrapped = Sealed { encrypted: row.data_key_encrypted, nonce: row.data_key_nonce };
        let sealed = Sealed { encrypted: row.mac_key_encrypted, nonce: row.mac_key_nonce };
        let text = DataKey::unwrap(&keys, slot(row.key_version), &wrapped)?.open(FIELD, &sealed)?;
        ChainKey::from_base64(&text)
            .map(Some)
            .ok_or_else(|| damaged("audit_keys", "1", "mac_key_encrypted", "not a key"))
    }

    async fn make_chain_key(&self, tx: &mut SqliteConnection) -> Result<ChainKey> {
        let sealing = self.sealing_key(&mut *tx).await?;
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        random(&mut *bytes)?;
        let text = SecretString::from(BASE64_STANDARD.encode(*bytes));
        let (data_key, wrapped) = DataKey::fresh(&sealing.keys, slot(sealing.version))?;
        let sealed = data_key.seal(FIELD, text.expose_secret())?;
        sqlx::query(
            "INSERT INTO audit_keys (id, mac_key_encrypted, mac_key_nonce, data_key_encrypted, data_key_nonce,
                 key_version, created_at) VALUES (1, ?, ?, ?, ?, ?, ?)",
        )
        .bind(sealed.encrypted)
        .bind(sealed.nonce)
        .bind(wrapped.encrypted)
        .bind(wrapped.nonce)
        .bind(sealing.version)
        .bind(time_text(Timestamp::now()))
        .execute(tx)
        .await
        .map_err(|error| failure::explain(&self.0.place, "write the audit log", error))?;
        Ok(ChainKey(hmac::Key::new(hmac::HMAC_SHA256, &*bytes)))
    }
}

/// Rotation names the record by the same word.
fn slot(key_version: i64) -> Slot {
    Slot { table: "audit_keys", record: "chain".into(), key_version }
}

#[derive(FromRow)]
struct KeyRow {
    mac_key_encrypted: String,
    mac_key_nonce: String,
    data_key_encrypted: String,
    data_key_nonce: String,
    key_version: i64,
    key_id: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> ChainKey {
        ChainKey(hmac::Key::new(hmac::HMAC_SHA256, &[byte; KEY_BYTES]))
    }

    #[test]
    fn a4_parts_of_an_entry_cannot_be_shifted() {
        let key = key(1);
        assert_ne!(key.sign(&[Some("ab"), Some("c")]), key.sign(&[Some("a"), Some("bc")]));
        assert_ne!(key.sign(&[Some("a"), None]), key.sign(&[Some("a"), Some("")]));
        assert_ne!(key.sign(&[Some("a")]), self::key(2).sign(&[Some("a")]));
    }

    #[test]
    fn a4_a_head_of_another_count_is_none() {
        let (key, head) = (key(1), Head { count: 7, mac: "m".into() });
        let text = format!("7 m {}", key.head_mac(&head));
        assert_eq!(Head::parse(&text, &key), Some(head));
        for bad in [text.replacen('7', "6", 1), text.replacen('m', "n", 1), format!("{text} "), String::new()]
        {
            assert_eq!(Head::parse(&bad, &key), None, "{bad}");
        }
        assert_eq!(Head::parse(&text, &self::key(2)), None);
    }
}
