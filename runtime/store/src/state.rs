//! The table `connector_state`: what connectors keep between calls, sealed.
//!
//! Invariant: a value is written over the revision its writer read and no other, and it opens only at the row it was
//! sealed for.

use base64::{Engine, prelude::BASE64_STANDARD};
use openact_core::{
    Error, Result, Timestamp,
    credential::BoxFuture,
    limits::STATE_KEYS_MAX,
    secret::ExposeSecret,
    state::{StateEntry, StateOwner, States},
};
use sqlx::FromRow;
use zeroize::Zeroizing;

use crate::{
    Store,
    key_versions::KEY_ID,
    rows::{damaged, time_text},
    seal::{DataKey, Sealed, Slot},
};

const TABLE: &str = "connector_state";
const FIELD: &str = "value";

impl States for Store {
    fn get_state<'a>(
        &'a self,
        owner: &'a StateOwner,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<StateEntry>>> {
        Box::pin(async move {
            match self.read_state(owner, key).await {
                // After the row was read, a rotation may have ended and its old key gone; the row is another one by now.
                Err(_) => self.read_state(owner, key).await,
                read => read,
            }
        })
    }

    fn set_state<'a>(
        &'a self,
        owner: &'a StateOwner,
        key: &'a str,
        value: &'a [u8],
        expected: Option<u64>,
    ) -> BoxFuture<'a, Result<u64>> {
        Box::pin(self.write_state(owner, key, value, expected))
    }

    fn delete_state<'a>(&'a self, owner: &'a StateOwner, key: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let mut tx = self.begin().await?;
            sqlx::query(
                "DELETE FROM connector_state WHERE connection_trn = ? AND connector_digest = ? AND key = ?",
            )
            .bind(owner.connection.to_string())
            .bind(owner.connector.to_string())
            .bind(key)
            .execute(&mut *tx)
            .await
            .map_err(self.failed("delete a connector's state"))?;
            self.commit(tx).await
        })
    }
}

impl Store {
    async fn read_state(&self, owner: &StateOwner, key: &str) -> Result<Option<StateEntry>> {
        let mut query = sqlx::QueryBuilder::<sqlx::Sqlite>::new(
            "SELECT revision, value_encrypted, value_nonce, data_key_encrypted, data_key_nonce, key_version, ",
        );
        query.push(KEY_ID).push(" FROM connector_state WHERE connection_trn = ");
        query.push_bind(owner.connection.to_string());
        query.push(" AND connector_digest = ").push_bind(owner.connector.to_string());
        query.push(" AND key = ").push_bind(key);
        let row: Option<StateRow> = query
            .build_query_as()
            .fetch_optional(&self.0.readers)
            .await
            .map_err(self.failed("read a connector's state"))?;
        let Some(row) = row else { return Ok(None) };
        let keys = self.opening_keys(row.key_version, row.key_id.as_deref())?;
        let slot = slot(owner, key, row.key_version);
        let record = slot.record.clone();
        let wrapped = Sealed { encrypted: row.data_key_encrypted, nonce: row.data_key_nonce };
        let sealed = Sealed { encrypted: row.value_encrypted, nonce: row.value_nonce };
        let text = DataKey::unwrap(&keys, slot, &wrapped)?.open(FIELD, &sealed)?;
        let value = BASE64_STANDARD.decode(text.expose_secret());
        let value = value.map_err(|error| damaged(TABLE, &record, "value_encrypted", error))?;
        let revision =
            u64::try_from(row.revision).map_err(|error| damaged(TABLE, &record, "revision", error))?;
        Ok(Some(StateEntry { value, revision }))
    }

    async fn write_state(
        &self,
        owner: &StateOwner,
        key: &str,
        value: &[u8],
        expected: Option<u64>,
    ) -> Result<u64> {
        // Before the transaction: getting the key may take a while, and others wait for the lock.
        self.0.keys.ring()?;
        let (connection, connector) = (owner.connection.to_string(), owner.connector.to_string());
        let mut tx = self.begin().await?;
        let (found, count): (Option<i64>, i64) = sqlx::query_as(
            "SELECT (SELECT revision FROM connector_state WHERE connection_trn = ?1 AND connector_digest = ?2 AND key = ?3),
                    (SELECT count(*) FROM connector_state WHERE connection_trn = ?1 AND connector_digest = ?2)",
        )
        .bind(&connection)
        .bind(&connector)
        .bind(key)
        .fetch_one(&mut *tx)
        .await
        .map_err(self.failed("read a connector's state"))?;
        if found.and_then(|found| u64::try_from(found).ok()) != expected {
            return Err(Error::conflict("the value was changed since it was read"));
        }
        if found.is_none() && count >= STATE_KEYS_MAX {
            return Err(Error::limit_exceeded(format!("a connector keeps at most {STATE_KEYS_MAX} values"))
                .details(serde_json::json!({ "limit": "state_keys" })));
        }
        let sealing = self.sealing_key(&mut tx).await?;
        let (data_key, wrapped) = DataKey::fresh(&sealing.keys, slot(owner, key, sealing.version))?;
        let sealed = data_key.seal(FIELD, &Zeroizing::new(BASE64_STANDARD.encode(value)))?;
        let revision = found.unwrap_or(0) + 1;
        sqlx::query(
            "INSERT INTO connector_state (connection_trn, connector_digest, key, revision, value_encrypted, value_nonce,
                 data_key_encrypted, data_key_nonce, key_version, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
             ON CONFLICT (connection_trn, connector_digest, key) DO UPDATE SET revision = excluded.revision,
                 value_encrypted = excluded.value_encrypted, value_nonce = excluded.value_nonce,
                 data_key_encrypted = excluded.data_key_encrypted, data_key_nonce = excluded.data_key_nonce,
                 key_version = excluded.key_version, updated_at = excluded.updated_at",
        )
        .bind(&connection)
        .bind(&connector)
        .bind(key)
        .bind(revision)
        .bind(sealed.encrypted)
        .bind(sealed.nonce)
        .bind(wrapped.encrypted)
        .bind(wrapped.nonce)
        .bind(sealing.version)
        .bind(time_text(Timestamp::now()))
        .execute(&mut *tx)
        .await
        .map_err(self.failed("write a connector's state"))?;
        self.commit(tx).await?;
        Ok(revision.unsigned_abs())
    }
}

/// A TRN and a digest have no bar, so this is one record's alone.
fn slot(owner: &StateOwner, key: &str, key_version: i64) -> Slot {
    Slot { table: TABLE, record: format!("{}|{}|{key}", owner.connection, owner.connector), key_version }
}

#[derive(FromRow)]
struct StateRow {
    revision: i64,
    value_encrypted: String,
    value_nonce: String,
    data_key_encrypted: String,
    data_key_nonce: String,
    key_version: i64,
    key_id: Option<String>,
}
