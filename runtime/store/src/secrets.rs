//! The table `secrets`: what configuration refers to as `{"$secret": "name"}`, sealed.
//!
//! Invariant: a value enters and leaves as a `SecretString` and is in no column but `value_encrypted`.

use std::collections::{HashMap, HashSet};

use openact_core::{Error, Result, Tenant, Timestamp, secret::ExposeSecret, secret::SecretString};
use sqlx::{Executor, FromRow, Sqlite, SqliteConnection};

use crate::{
    NewSecret, Store, failure,
    key_versions::{KEY_ID, VersionKeys},
    rows::{Row, json_text, time_text},
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
        // Before the transaction: getting the key may take a while, and others wait for the lock.
        self.0.keys.ring()?;
        let mut tx = self.begin().await?;
        let key = self.sealing_key(&mut tx).await?;
        let sealed = SealedSecret::seal(&key, tenant, name, value)?;
        self.audit_secret(&mut tx, tenant, name, Some(value)).await?;
        sealed.insert(&mut tx, ON_CONFLICT_REPLACE).await.map_err(self.failed("write a secret"))?;
        self.commit_configuration(tx).await
    }

    /// The value of a secret.
    pub async fn open_secret(&self, tenant: &Tenant, name: &str) -> Result<Option<SecretString>> {
        match self.open_secret_in(&self.0.readers, tenant, name).await {
            // After the row was read, a rotation may have ended and its old key gone; the row is another one by now.
            Err(_) => self.open_secret_in(&self.0.readers, tenant, name).await,
            opened => opened,
        }
    }

    pub(crate) async fn open_secret_in(
        &self,
        executor: impl Executor<'_, Database = Sqlite>,
        tenant: &Tenant,
        name: &str,
    ) -> Result<Option<SecretString>> {
        let mut query = sqlx::QueryBuilder::<sqlx::Sqlite>::new(
            "SELECT value_encrypted, value_nonce, data_key_encrypted, data_key_nonce, key_version, ",
        );
        query.push(KEY_ID).push(" FROM secrets WHERE tenant = ").push_bind(tenant.as_str());
        query.push(" AND name = ").push_bind(name);
        let row: Option<SecretRow> =
            query.build_query_as().fetch_optional(executor).await.map_err(self.failed("read a secret"))?;
        let Some(row) = row else { return Ok(None) };
        let keys = self.opening_keys(row.key_version, row.key_id.as_deref())?;
        row.open(&keys, tenant, name).map(Some)
    }

    /// Every secret by tenant and name, as `print` has its value: none for one that does not open, or is said to be another
    /// than it is.
    pub(crate) async fn secret_prints(
        &self,
        tx: &mut SqliteConnection,
        print: &(dyn Fn(&Tenant, &SecretString) -> String + Sync),
    ) -> Result<Vec<(String, String, Option<String>)>> {
        let mut query = sqlx::QueryBuilder::<sqlx::Sqlite>::new(
            "SELECT tenant, name, fingerprint, value_encrypted, value_nonce, data_key_encrypted, data_key_nonce,
                 key_version, ",
        );
        let rows: Vec<NamedRow> = query
            .push(KEY_ID)
            .push(" FROM secrets")
            .build_query_as()
            .fetch_all(tx)
            .await
            .map_err(self.failed("read secrets"))?;
        let mut prints = Vec::with_capacity(rows.len());
        for NamedRow { tenant: owner, name, fingerprint, row } in rows {
            let printed = match (owner.parse::<Tenant>(), &row.key_id) {
                (Ok(tenant), Some(id)) => {
                    // A key that is not there is no fault of the row.
                    let keys = self.opening_keys(row.key_version, Some(id))?;
                    let value = row.open(&keys, &tenant, &name).ok();
                    let value = value.filter(|value| keys.has_fingerprint(&tenant, value, &fingerprint));
                    value.map(|value| print(&tenant, &value))
                }
                _ => None,
            };
            prints.push((owner, name, printed));
        }
        Ok(prints)
    }

    /// Whether the secret of that name is `value`, by keyed hash: nothing is opened. False if there is none.
    pub async fn secret_is(&self, tenant: &Tenant, name: &str, value: &SecretString) -> Result<bool> {
        Ok(!self.same_secrets(tenant, &HashMap::from([(name.to_owned(), value)])).await?.is_empty())
    }

    /// Those of the names under which the given value is stored, by keyed hash.
    pub async fn same_secrets(
        &self,
        tenant: &Tenant,
        values: &HashMap<String, &SecretString>,
    ) -> Result<HashSet<String>> {
        if values.is_empty() {
            return Ok(HashSet::new());
        }
        match self.same_secrets_once(tenant, values).await {
            Err(_) => self.same_secrets_once(tenant, values).await,
            compared => compared,
        }
    }

    async fn same_secrets_once(
        &self,
        tenant: &Tenant,
        values: &HashMap<String, &SecretString>,
    ) -> Result<HashSet<String>> {
        let names: Vec<&String> = values.keys().collect();
        let mut query = sqlx::QueryBuilder::<sqlx::Sqlite>::new("SELECT name, fingerprint, key_version, ");
        query.push(KEY_ID).push(" FROM secrets WHERE tenant = ").push_bind(tenant.as_str());
        query.push(" AND name IN (SELECT value FROM json_each(").push_bind(json_text(&names)?).push("))");
        let rows: Vec<(String, String, i64, Option<String>)> =
            query.build_query_as().fetch_all(&self.0.readers).await.map_err(self.failed("read secrets"))?;
        let mut same = HashSet::new();
        for (name, fingerprint, key_version, key_id) in rows {
            let keys = self.opening_keys(key_version, key_id.as_deref())?;
            if values.get(&name).is_some_and(|value| keys.has_fingerprint(tenant, value, &fingerprint)) {
                same.insert(name);
            }
        }
        Ok(same)
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
        let mut tx = self.begin_change().await?;
        self.audit_secret(&mut tx, tenant, name, None).await?;
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

    pub(crate) async fn insert_secret(
        &self,
        tx: &mut SqliteConnection,
        key: &VersionKeys,
        secret: &NewSecret,
    ) -> Result<()> {
        let sealed = SealedSecret::seal(key, &secret.tenant, &secret.name, &secret.value)?;
        let result = sealed.insert(tx, "").await;
        failure::explain_constraint(result, &self.0.place, "write a secret", |code, _| match code {
            failure::code::CONSTRAINT_PRIMARYKEY | failure::code::CONSTRAINT_UNIQUE => {
                Some(Error::conflict(format!("secret '{}' exists already", secret.name)))
            }
            _ => None,
        })
    }
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
    fn seal(key: &VersionKeys, tenant: &'a Tenant, name: &'a str, value: &SecretString) -> Result<Self> {
        let key_version = key.version;
        let (data_key, wrapped) = DataKey::fresh(&key.keys, slot(tenant, name, key_version))?;
        let fingerprint = key.keys.fingerprint(tenant, value);
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
    key_id: Option<String>,
}

impl SecretRow {
    fn open(self, keys: &Keys, tenant: &Tenant, name: &str) -> Result<SecretString> {
        let wrapped = Sealed { encrypted: self.data_key_encrypted, nonce: self.data_key_nonce };
        let sealed = Sealed { encrypted: self.value_encrypted, nonce: self.value_nonce };
        DataKey::unwrap(keys, slot(tenant, name, self.key_version), &wrapped)?.open(FIELD, &sealed)
    }
}

#[derive(FromRow)]
struct NamedRow {
    tenant: String,
    name: String,
    fingerprint: String,
    #[sqlx(flatten)]
    row: SecretRow,
}
