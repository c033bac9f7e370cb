//! The table `secrets`: what configuration refers to as `{"$secret": "name"}`, sealed.
//!
//! The first secret of a database ties it to a master key: `settings` keeps the key's id, which says nothing about
//! the key, so that a wrong one is refused before it seals or opens anything.
//!
//! Invariant: a value enters and leaves as a `SecretString` and is in no column but `value_encrypted`.

use openact_core::{Error, Result, Tenant, Timestamp, secret::ExposeSecret, secret::SecretString};
use sqlx::{FromRow, SqliteConnection};

use crate::{
    NewSecret, Store, failure,
    rows::{Row, damaged, time_text},
    seal::{DataKey, Keys, Sealed, Slot},
};

/// A secret as it may be listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSecret {
    /// Its name.
    pub name: String,
    /// When it was first set.
    pub created_at: Timestamp,
    /// When it was last set.
    pub updated_at: Timestamp,
}

const FIELD: &str = "value";

impl Store {
    /// Seals `value` under `name`, in place of what was there.
    pub async fn put_secret(&self, tenant: &Tenant, name: &str, value: &SecretString) -> Result<()> {
        let keys = self.0.sealer.keys().await?;
        let mut tx = self.begin().await?;
        let key_version = self.claim_key(keys, &mut tx).await?;
        let sealed = SealedSecret::seal(keys, key_version, tenant, name, value)?;
        sealed.insert(&mut tx, ON_CONFLICT_REPLACE).await.map_err(self.failed("write a secret"))?;
        self.commit_configuration(tx).await
    }

    /// The value of a secret.
    pub async fn open_secret(&self, tenant: &Tenant, name: &str) -> Result<Option<SecretString>> {
        let row: Option<SecretRow> = sqlx::query_as(
            "SELECT value_encrypted, value_nonce, data_key_encrypted, data_key_nonce, key_version
             FROM secrets WHERE tenant = ? AND name = ?",
        )
        .bind(tenant.as_str())
        .bind(name)
        .fetch_optional(&self.0.readers)
        .await
        .map_err(self.failed("read a secret"))?;
        let Some(row) = row else { return Ok(None) };
        let keys = self.keys_for_opening(row.key_version).await?;
        let wrapped = Sealed { encrypted: row.data_key_encrypted, nonce: row.data_key_nonce };
        let sealed = Sealed { encrypted: row.value_encrypted, nonce: row.value_nonce };
        DataKey::unwrap(keys, slot(tenant, name, row.key_version), &wrapped)?.open(FIELD, &sealed).map(Some)
    }

    /// The secrets of `tenant`, by name. Needs no key.
    pub async fn list_secrets(&self, tenant: &Tenant) -> Result<Vec<StoredSecret>> {
        let rows: Vec<(String, String, String)> =
            sqlx::query_as("SELECT name, created_at, updated_at FROM secrets WHERE tenant = ? ORDER BY name")
                .bind(tenant.as_str())
                .fetch_all(&self.0.readers)
                .await
                .map_err(self.failed("read secrets"))?;
        rows.into_iter()
            .map(|(name, created_at, updated_at)| {
                let row = Row { table: "secrets", key: &name };
                let (created_at, updated_at) =
                    (row.parse("created_at", &created_at)?, row.parse("updated_at", &updated_at)?);
                Ok(StoredSecret { name, created_at, updated_at })
            })
            .collect()
    }

    /// Deletes a secret; says whether there was one.
    pub async fn delete_secret(&self, tenant: &Tenant, name: &str) -> Result<bool> {
        let mut tx = self.begin().await?;
        let deleted = sqlx::query("DELETE FROM secrets WHERE tenant = ? AND name = ?")
            .bind(tenant.as_str())
            .bind(name)
            .execute(&mut *tx)
            .await
            .map_err(self.failed("delete a secret"))?;
        if deleted.rows_affected() == 0 {
            return Ok(false);
        }
        self.commit_configuration(tx).await?;
        Ok(true)
    }

    /// The keyed hash by which values are compared without opening one. Equal values of two tenants differ.
    pub async fn fingerprint(&self, tenant: &Tenant, value: &SecretString) -> Result<String> {
        let keys = self.0.sealer.keys().await?;
        let (version, id) = read_key_settings(&self.0.readers).await.map_err(self.failed("read settings"))?;
        self.check_key(keys, &version, id.as_deref())?;
        Ok(keys.fingerprint(tenant, value))
    }

    /// The keyed hash of a stored secret. Needs no key.
    pub async fn secret_fingerprint(&self, tenant: &Tenant, name: &str) -> Result<Option<String>> {
        sqlx::query_scalar("SELECT fingerprint FROM secrets WHERE tenant = ? AND name = ?")
            .bind(tenant.as_str())
            .bind(name)
            .fetch_optional(&self.0.readers)
            .await
            .map_err(self.failed("read a secret"))
    }

    pub(crate) async fn insert_secret(
        &self,
        tx: &mut SqliteConnection,
        keys: &Keys,
        key_version: i64,
        secret: &NewSecret,
    ) -> Result<()> {
        let sealed = SealedSecret::seal(keys, key_version, &secret.tenant, &secret.name, &secret.value)?;
        let result = sealed.insert(tx, "").await;
        failure::explain_constraint(result, &self.0.place, "write a secret", |code, _| match code {
            failure::code::CONSTRAINT_PRIMARYKEY | failure::code::CONSTRAINT_UNIQUE => {
                Some(Error::conflict(format!("secret '{}' exists already", secret.name)))
            }
            _ => None,
        })
    }

    /// Ties the database to this master key, or proves that it is the one; returns the version to seal with.
    pub(crate) async fn claim_key(&self, keys: &Keys, tx: &mut SqliteConnection) -> Result<i64> {
        let (version, id) = read_key_settings(&mut *tx).await.map_err(self.failed("read settings"))?;
        let number = self.check_key(keys, &version, id.as_deref())?;
        if id.is_none() {
            sqlx::query("INSERT INTO settings (key, value) VALUES ('master_key_id', ?)")
                .bind(keys.id())
                .execute(tx)
                .await
                .map_err(self.failed("write settings"))?;
        }
        Ok(number)
    }

    /// The keys for a record sealed with `key_version` of the master key.
    pub(crate) async fn keys_for_opening(&self, key_version: i64) -> Result<&Keys> {
        let keys = self.0.sealer.keys().await?;
        let (version, id) = read_key_settings(&self.0.readers).await.map_err(self.failed("read settings"))?;
        if self.check_key(keys, &version, id.as_deref())? != key_version {
            return Err(self.another_key(&key_version.to_string()));
        }
        Ok(keys)
    }

    fn check_key(&self, keys: &Keys, version: &str, id: Option<&str>) -> Result<i64> {
        if id.is_some_and(|id| id != keys.id()) {
            return Err(self.another_key(version));
        }
        version.parse().map_err(|error| damaged("settings", "key_version", "value", error))
    }

    fn another_key(&self, version: &str) -> Error {
        Error::invalid_config(format!(
            "the secrets of database {} are sealed with another master key, version {version}",
            self.0.place
        ))
        .hint(format!("set OPENACT_MASTER_KEY to version {version} of the key, or restore its key file"))
        .details(serde_json::json!({ "key_version": version }))
    }
}

/// Version and id of the master key in use; no id before the first secret.
async fn read_key_settings(
    executor: impl sqlx::SqliteExecutor<'_>,
) -> sqlx::Result<(String, Option<String>)> {
    sqlx::query_as(
        "SELECT (SELECT value FROM settings WHERE key = 'key_version'), (SELECT value FROM settings WHERE key = 'master_key_id')",
    )
    .fetch_one(executor)
    .await
}

fn slot(tenant: &Tenant, name: &str, key_version: i64) -> Slot {
    // A tenant has no colon, so this is one record's alone.
    Slot { table: "secrets", record: format!("{tenant}:{name}"), key_version }
}

const ON_CONFLICT_REPLACE: &str = " ON CONFLICT (tenant, name) DO UPDATE SET value_encrypted = excluded.value_encrypted,
    value_nonce = excluded.value_nonce, data_key_encrypted = excluded.data_key_encrypted,
    data_key_nonce = excluded.data_key_nonce, fingerprint = excluded.fingerprint, key_version = excluded.key_version,
    updated_at = excluded.updated_at";

struct SealedSecret<'a> {
    tenant: &'a Tenant,
    name: &'a str,
    value: Sealed,
    wrapped: Sealed,
    fingerprint: String,
    key_version: i64,
}

impl<'a> SealedSecret<'a> {
    fn seal(
        keys: &Keys,
        key_version: i64,
        tenant: &'a Tenant,
        name: &'a str,
        value: &SecretString,
    ) -> Result<Self> {
        let (data_key, wrapped) = DataKey::fresh(keys, slot(tenant, name, key_version))?;
        let fingerprint = keys.fingerprint(tenant, value);
        Ok(Self {
            tenant,
            name,
            value: data_key.seal(FIELD, value.expose_secret())?,
            wrapped,
            fingerprint,
            key_version,
        })
    }

    async fn insert(self, tx: &mut SqliteConnection, on_conflict: &'static str) -> sqlx::Result<()> {
        let now = time_text(Timestamp::now());
        let mut query = sqlx::QueryBuilder::new(
            "INSERT INTO secrets (tenant, name, value_encrypted, value_nonce, data_key_encrypted, data_key_nonce,
                 fingerprint, key_version, created_at, updated_at) VALUES (",
        );
        let mut values = query.separated(", ");
        for text in [self.tenant.to_string(), self.name.to_owned()] {
            values.push_bind(text);
        }
        for sealed in [self.value, self.wrapped] {
            values.push_bind(sealed.encrypted);
            values.push_bind(sealed.nonce);
        }
        values.push_bind(self.fingerprint);
        values.push_bind(self.key_version);
        values.push_bind(now.clone());
        values.push_bind(now);
        query.push(")").push(on_conflict);
        query.build().execute(tx).await.map(drop)
    }
}

#[derive(FromRow)]
struct SecretRow {
    value_encrypted: String,
    value_nonce: String,
    data_key_encrypted: String,
    data_key_nonce: String,
    key_version: i64,
}
