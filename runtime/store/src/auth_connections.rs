//! The tables `auth_connections` and `auth_connection_history`: credentials obtained from a provider, and every
//! change of one.
//!
//! Invariants: tokens are sealed, in the record and on both sides of its history; a write names the version it has
//! read, so that a stale writer is refused instead of undoing a newer token; the history outlives the record.

use openact_core::{
    AuthTrn, Error, Result, Timestamp,
    secret::{ExposeSecret, SecretString},
};
use serde::Serialize;
use sqlx::{Executor, FromRow, QueryBuilder, Sqlite, SqliteConnection};
use zeroize::Zeroizing;

use crate::{
    Store,
    key_versions::{KEY_ID, VersionKeys},
    rows::{Row, time_text},
    seal::{DataKey, Keys, Sealed, Slot},
};

/// A stored credential. Its `Debug` shows no token.
#[derive(Clone, Debug)]
pub struct AuthConnection {
    /// Whose it is, at which provider.
    pub trn: AuthTrn,
    /// What is sent.
    pub access_token: SecretString,
    /// What gets the next one.
    pub refresh_token: Option<SecretString>,
    /// When the access token ends, if the provider said so.
    pub expires_at: Option<Timestamp>,
    /// `Bearer`, as a rule.
    pub token_type: String,
    /// The scopes granted, as the provider wrote them.
    pub scope: Option<String>,
    /// Whatever else the provider gave, as JSON text.
    pub extra: Option<SecretString>,
    /// When it was first stored.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// How often it was written; 0 for one that is not stored yet.
    pub version: u32,
}

/// One change of a credential.
#[derive(Clone, Debug)]
pub struct AuthChange {
    /// `create`, `update` or `delete`.
    pub operation: String,
    /// The record before, as JSON text.
    pub old: Option<SecretString>,
    /// The record after, as JSON text.
    pub new: Option<SecretString>,
    /// When.
    pub created_at: Timestamp,
    /// Why, as the writer said.
    pub reason: Option<String>,
}

const TABLE: &str = "auth_connections";
const HISTORY: &str = "auth_connection_history";

const COLUMNS: &str =
    "access_token_encrypted, access_token_nonce, refresh_token_encrypted, refresh_token_nonce,
    expires_at, token_type, scope, extra_data_encrypted, extra_data_nonce, data_key_encrypted, data_key_nonce,
    key_version, created_at, updated_at, version, ";

impl Store {
    /// The credential of that identity.
    pub async fn get_auth_connection(&self, trn: &AuthTrn) -> Result<Option<AuthConnection>> {
        match self.read_auth_connection(&self.0.readers, trn).await {
            // After the row was read, a rotation may have ended and its old key gone; the row is another one by now.
            Err(_) => self.read_auth_connection(&self.0.readers, trn).await,
            read => read,
        }
    }

    /// Stores a credential and returns its new version. `credential.version` must be the one that is stored, or 0 if
    /// there is none; otherwise somebody else was faster, which is a `conflict`. The times are the store's.
    pub async fn put_auth_connection(
        &self,
        credential: &AuthConnection,
        reason: Option<&str>,
    ) -> Result<u32> {
        self.0.keys.ring()?;
        let mut tx = self.begin().await?;
        let key = self.sealing_key(&mut tx).await?;
        let trn = &credential.trn;
        let old = self.read_auth_connection(&mut *tx, trn).await?;
        let stored = old.as_ref().map_or(0, |old| old.version);
        if stored != credential.version {
            return Err(Error::conflict(format!("{trn} is at version {stored}, not {}", credential.version))
                .hint("read it again and decide again")
                .with_retryable(true));
        }
        let now = Timestamp::now();
        let new = AuthConnection {
            created_at: old.as_ref().map_or(now, |old| old.created_at),
            updated_at: now,
            version: stored.saturating_add(1),
            ..credential.clone()
        };
        self.audit_credential(&mut tx, old.as_ref(), Some(&new)).await?;
        self.write_row(&mut tx, &key, &new).await?;
        self.write_history(&mut tx, &key, trn, old.as_ref(), Some(&new), reason).await?;
        self.commit(tx).await?;
        Ok(new.version)
    }

    /// Deletes a credential; says whether there was one. Its history stays.
    pub async fn delete_auth_connection(&self, trn: &AuthTrn, reason: Option<&str>) -> Result<bool> {
        self.0.keys.ring()?;
        let mut tx = self.begin().await?;
        let key = self.sealing_key(&mut tx).await?;
        let Some(old) = self.read_auth_connection(&mut *tx, trn).await? else {
            return Ok(false);
        };
        self.audit_credential(&mut tx, Some(&old), None).await?;
        sqlx::query("DELETE FROM auth_connections WHERE trn = ?")
            .bind(trn.to_string())
            .execute(&mut *tx)
            .await
            .map_err(self.failed("delete a credential"))?;
        self.write_history(&mut tx, &key, trn, Some(&old), None, reason).await?;
        self.commit(tx).await?;
        Ok(true)
    }

    /// Every change of a credential, the first one first, also after it was deleted.
    pub async fn auth_connection_history(&self, trn: &AuthTrn) -> Result<Vec<AuthChange>> {
        match self.read_history(trn).await {
            Err(_) => self.read_history(trn).await,
            read => read,
        }
    }

    async fn read_history(&self, trn: &AuthTrn) -> Result<Vec<AuthChange>> {
        let mut query = QueryBuilder::<Sqlite>::new(
            "SELECT id, operation, old_data_encrypted, old_data_nonce, new_data_encrypted, new_data_nonce,
                 data_key_encrypted, data_key_nonce, key_version, created_at, reason, ",
        );
        query.push(KEY_ID).push(" FROM auth_connection_history WHERE trn = ").push_bind(trn.to_string());
        let rows: Vec<HistoryRow> = query
            .push(" ORDER BY rowid")
            .build_query_as()
            .fetch_all(&self.0.readers)
            .await
            .map_err(self.failed("read the history of a credential"))?;
        rows.into_iter()
            .map(|row| {
                let keys = self.opening_keys(row.key_version, row.key_id.as_deref())?;
                row.open(&keys, trn)
            })
            .collect()
    }

    async fn read_auth_connection(
        &self,
        executor: impl Executor<'_, Database = Sqlite>,
        trn: &AuthTrn,
    ) -> Result<Option<AuthConnection>> {
        let mut query = QueryBuilder::<Sqlite>::new("SELECT ");
        query.push(COLUMNS).push(KEY_ID);
        query.push(" FROM auth_connections WHERE trn = ").push_bind(trn.to_string());
        let row: Option<AuthRow> = query
            .build_query_as()
            .fetch_optional(executor)
            .await
            .map_err(self.failed("read a credential"))?;
        let Some(row) = row else { return Ok(None) };
        let keys = self.opening_keys(row.key_version, row.key_id.as_deref())?;
        row.open(&keys, trn).map(Some)
    }

    /// Every stored credential by TRN, as `map` has it; none for one that does not open.
    pub(crate) async fn map_auth_connections<T>(
        &self,
        tx: &mut SqliteConnection,
        map: &(dyn Fn(&AuthConnection) -> T + Sync),
    ) -> Result<Vec<(String, Option<T>)>> {
        let mut query = QueryBuilder::<Sqlite>::new("SELECT trn, ");
        query.push(COLUMNS).push(KEY_ID).push(" FROM auth_connections");
        let rows: Vec<NamedRow> =
            query.build_query_as().fetch_all(tx).await.map_err(self.failed("read credentials"))?;
        let mut mapped = Vec::with_capacity(rows.len());
        for NamedRow { trn: name, row } in rows {
            let record = match (name.parse::<AuthTrn>(), &row.key_id) {
                (Ok(trn), Some(id)) => {
                    // A key that is not there is no fault of the row.
                    let keys = self.opening_keys(row.key_version, Some(id))?;
                    row.open(&keys, &trn).ok()
                }
                _ => None,
            };
            mapped.push((name, record.as_ref().map(map)));
        }
        Ok(mapped)
    }

    pub(crate) async fn write_row(
        &self,
        tx: &mut SqliteConnection,
        key: &VersionKeys,
        new: &AuthConnection,
    ) -> Result<()> {
        let (data_key, wrapped) = DataKey::fresh(&key.keys, slot(&new.trn, key.version))?;
        let access = data_key.seal("access_token", new.access_token.expose_secret())?;
        let optional = |field, value: &Option<SecretString>| -> Result<(Option<String>, Option<String>)> {
            let sealed =
                value.as_ref().map(|value| data_key.seal(field, value.expose_secret())).transpose()?;
            Ok(sealed.map(|sealed| (sealed.encrypted, sealed.nonce)).unzip())
        };
        let refresh = optional("refresh_token", &new.refresh_token)?;
        let extra = optional("extra_data", &new.extra)?;
        sqlx::query(
            "INSERT OR REPLACE INTO auth_connections (trn, tenant, provider, user_id, access_token_encrypted,
                 access_token_nonce, refresh_token_encrypted, refresh_token_nonce, expires_at, token_type, scope,
                 extra_data_encrypted, extra_data_nonce, data_key_encrypted, data_key_nonce, key_version, created_at,
                 updated_at, version)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(new.trn.to_string())
        .bind(new.trn.tenant.as_str())
        .bind(new.trn.provider.as_str())
        .bind(new.trn.user())
        .bind(access.encrypted)
        .bind(access.nonce)
        .bind(refresh.0)
        .bind(refresh.1)
        .bind(new.expires_at.map(time_text))
        .bind(&new.token_type)
        .bind(&new.scope)
        .bind(extra.0)
        .bind(extra.1)
        .bind(wrapped.encrypted)
        .bind(wrapped.nonce)
        .bind(key.version)
        .bind(time_text(new.created_at))
        .bind(time_text(new.updated_at))
        .bind(new.version)
        .execute(tx)
        .await
        .map(drop)
        .map_err(self.failed("write a credential"))
    }

    async fn write_history(
        &self,
        tx: &mut SqliteConnection,
        key: &VersionKeys,
        trn: &AuthTrn,
        old: Option<&AuthConnection>,
        new: Option<&AuthConnection>,
        reason: Option<&str>,
    ) -> Result<()> {
        let operation = match (old, new) {
            (None, _) => "create",
            (Some(_), Some(_)) => "update",
            (Some(_), None) => "delete",
        };
        let side = |record: &AuthConnection| Ok(SecretString::from(snapshot(record)?.as_str()));
        let change = AuthChange {
            operation: operation.to_owned(),
            old: old.map(side).transpose()?,
            new: new.map(side).transpose()?,
            created_at: Timestamp::now(),
            reason: reason.map(str::to_owned),
        };
        self.write_change(tx, key, trn, &change).await
    }

    /// Writes a change of a credential, sealed.
    pub(crate) async fn write_change(
        &self,
        tx: &mut SqliteConnection,
        key: &VersionKeys,
        trn: &AuthTrn,
        change: &AuthChange,
    ) -> Result<()> {
        let id = uuid::Uuid::now_v7().to_string();
        let (data_key, wrapped) = DataKey::fresh(&key.keys, history_slot(trn, &id, key.version))?;
        let side = |field, text: &Option<SecretString>| -> Result<(Option<String>, Option<String>)> {
            let sealed = text.as_ref().map(|text| data_key.seal(field, text.expose_secret())).transpose()?;
            Ok(sealed.map(|sealed| (sealed.encrypted, sealed.nonce)).unzip())
        };
        let (old, new) = (side("old_data", &change.old)?, side("new_data", &change.new)?);
        sqlx::query(
            "INSERT INTO auth_connection_history (id, trn, operation, old_data_encrypted, old_data_nonce,
                 new_data_encrypted, new_data_nonce, data_key_encrypted, data_key_nonce, key_version, created_at, reason)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(id)
        .bind(trn.to_string())
        .bind(&change.operation)
        .bind(old.0)
        .bind(old.1)
        .bind(new.0)
        .bind(new.1)
        .bind(wrapped.encrypted)
        .bind(wrapped.nonce)
        .bind(key.version)
        .bind(time_text(change.created_at))
        .bind(&change.reason)
        .execute(tx)
        .await
        .map(drop)
        .map_err(self.failed("write the history of a credential"))
    }
}

fn slot(trn: &AuthTrn, key_version: i64) -> Slot {
    Slot { table: TABLE, record: trn.to_string(), key_version }
}

fn history_slot(trn: &AuthTrn, id: &str, key_version: i64) -> Slot {
    Slot { table: HISTORY, record: format!("{id}:{trn}"), key_version }
}

/// A whole record as JSON, in one buffer that is zeroed.
fn snapshot(record: &AuthConnection) -> Result<Zeroizing<String>> {
    #[derive(Serialize)]
    struct Snapshot<'a> {
        access_token: &'a str,
        refresh_token: Option<&'a str>,
        expires_at: Option<Timestamp>,
        token_type: &'a str,
        scope: Option<&'a str>,
        extra: Option<&'a str>,
        version: u32,
    }
    let exposed =
        |value: &'_ Option<SecretString>| value.as_ref().map_or(0, |value| value.expose_secret().len());
    let secret_bytes =
        record.access_token.expose_secret().len() + exposed(&record.refresh_token) + exposed(&record.extra);
    let rest_bytes = record.token_type.len() + record.scope.as_ref().map_or(0, String::len);
    // JSON writes a byte in at most six; with all the room there from the start, no copy is left behind by growing.
    let mut json = Zeroizing::new(Vec::with_capacity(512 + 6 * (secret_bytes + rest_bytes)));
    let snapshot = Snapshot {
        access_token: record.access_token.expose_secret(),
        refresh_token: record.refresh_token.as_ref().map(|token| token.expose_secret()),
        expires_at: record.expires_at,
        token_type: &record.token_type,
        scope: record.scope.as_deref(),
        extra: record.extra.as_ref().map(|extra| extra.expose_secret()),
        version: record.version,
    };
    let unwritable = |_| Error::internal("a credential cannot be written as JSON");
    serde_json::to_writer(&mut *json, &snapshot).map_err(unwritable)?;
    String::from_utf8(std::mem::take(&mut *json))
        .map(Zeroizing::new)
        .map_err(|_| Error::internal("a credential cannot be written as JSON"))
}

#[derive(FromRow)]
struct AuthRow {
    access_token_encrypted: String,
    access_token_nonce: String,
    refresh_token_encrypted: Option<String>,
    refresh_token_nonce: Option<String>,
    expires_at: Option<String>,
    token_type: String,
    scope: Option<String>,
    extra_data_encrypted: Option<String>,
    extra_data_nonce: Option<String>,
    data_key_encrypted: String,
    data_key_nonce: String,
    key_version: i64,
    key_id: Option<String>,
    created_at: String,
    updated_at: String,
    version: i64,
}

impl AuthRow {
    fn open(self, keys: &Keys, trn: &AuthTrn) -> Result<AuthConnection> {
        let wrapped = Sealed { encrypted: self.data_key_encrypted, nonce: self.data_key_nonce };
        let data_key = DataKey::unwrap(keys, slot(trn, self.key_version), &wrapped)?;
        let optional = |field, encrypted, nonce| {
            Sealed::of_columns(encrypted, nonce).map(|sealed| data_key.open(field, &sealed)).transpose()
        };
        let key = trn.to_string();
        let row = Row { table: TABLE, key: &key };
        let access = Sealed { encrypted: self.access_token_encrypted, nonce: self.access_token_nonce };
        Ok(AuthConnection {
            trn: trn.clone(),
            access_token: data_key.open("access_token", &access)?,
            refresh_token: optional("refresh_token", self.refresh_token_encrypted, self.refresh_token_nonce)?,
            extra: optional("extra_data", self.extra_data_encrypted, self.extra_data_nonce)?,
            expires_at: self.expires_at.as_ref().map(|text| row.parse("expires_at", text)).transpose()?,
            created_at: row.parse("created_at", &self.created_at)?,
            updated_at: row.parse("updated_at", &self.updated_at)?,
            version: row.unsigned("version", self.version)?,
            token_type: self.token_type,
            scope: self.scope,
        })
    }
}

#[derive(FromRow)]
struct NamedRow {
    trn: String,
    #[sqlx(flatten)]
    row: AuthRow,
}

#[derive(FromRow)]
struct HistoryRow {
    id: String,
    operation: String,
    old_data_encrypted: Option<String>,
    old_data_nonce: Option<String>,
    new_data_encrypted: Option<String>,
    new_data_nonce: Option<String>,
    data_key_encrypted: String,
    data_key_nonce: String,
    key_version: i64,
    key_id: Option<String>,
    created_at: String,
    reason: Option<String>,
}

impl HistoryRow {
    fn open(self, keys: &Keys, trn: &AuthTrn) -> Result<AuthChange> {
        let wrapped = Sealed { encrypted: self.data_key_encrypted, nonce: self.data_key_nonce };
        let data_key = DataKey::unwrap(keys, history_slot(trn, &self.id, self.key_version), &wrapped)?;
        let side = |field, encrypted, nonce| {
            Sealed::of_columns(encrypted, nonce).map(|sealed| data_key.open(field, &sealed)).transpose()
        };
        Ok(AuthChange {
            old: side("old_data", self.old_data_encrypted, self.old_data_nonce)?,
            new: side("new_data", self.new_data_encrypted, self.new_data_nonce)?,
            created_at: Row { table: HISTORY, key: &self.id }.parse("created_at", &self.created_at)?,
            operation: self.operation,
            reason: self.reason,
        })
    }
}
