//! What a change of configuration leaves in the log.
//!
//! | operation | object | before, after |
//! |---|---|---|
//! | `connection.create` `.update` `.delete`, `action.…` | TRN | the configuration; of an update, the version before |
//! | `secret.set` `secret.delete` | `secret/NAME` | a keyed hash |
//! | `connector.install` `connector.remove` | `connector/NAME` | version, digest, grants |
//! | `credential.create` `.update` `.delete` | TRN | keyed hashes, scope, expiry |
//! | `audit.begin`, then `connection.found` `action.found` | `audit`, TRN | what was there before the log began |
//! | `key.rotate` `key.rotated` `key.drop_old` | `key/VERSION` | versions |
//!
//! Invariant: entries are made before anything is written, when what was there can still be read.

use std::collections::HashMap;

use openact_core::{
    Result, Tenant,
    secret::SecretString,
    trn::{RecordKind, RecordTrn},
};
use serde_json::{Value, json};
use sqlx::{QueryBuilder, Sqlite, SqliteConnection};

use super::{BEGIN, NewEntry, Trail};
use crate::{
    AuthConnection, ChangeSet, ConnectorRecord, Store, failure,
    rows::{json_text, time_text},
};

/// How a connection is written in the log, as SQL and by [`of_connection`].
const CONNECTIONS: &str = "SELECT trn, config_json FROM connections";

/// How an action is written in the log, as SQL and by [`Store::audit_changes`].
const ACTIONS: &str = "SELECT trn, json_object('connection', connection_trn, 'config', json(config_json),
    'mcp_enabled', json(iif(mcp_enabled, 'true', 'false')), 'mcp_overrides', json(mcp_overrides_json)) FROM actions";

impl Store {
    /// Entries for all of `changes`, within its transaction and before anything of it is done.
    pub(crate) async fn audit_changes(&self, tx: &mut SqliteConnection, changes: &ChangeSet) -> Result<()> {
        let Some(mut trail) = self.trail(tx).await? else { return Ok(()) };
        let before = changes.connections.iter().filter_map(|record| previous(&record.trn));
        let deleted = changes.deleted_connections.iter().map(|deleted| deleted.trn.to_string());
        let mut stored = self.stored(tx, CONNECTIONS, before.chain(deleted).collect()).await?;
        for record in &changes.connections {
            let before = previous(&record.trn).and_then(|trn| stored.get(&trn).cloned());
            let operation = if before.is_some() { "connection.update" } else { "connection.create" };
            let after = Some(json_text(&record.config)?);
            trail.add(&self.1, of_record(&record.trn, operation, before, after));
        }
        for secret in &changes.secrets {
            let print = json!({ "fingerprint": trail.print(&secret.tenant, &secret.value) });
            trail.add(&self.1, of_secret(&secret.tenant, &secret.name, "secret.set", None, Some(print)));
        }
        let before = changes.actions.iter().filter_map(|record| previous(&record.trn));
        let deleted = changes.deleted_actions.iter().map(ToString::to_string);
        let mut actions = self.stored(tx, ACTIONS, before.chain(deleted).collect()).await?;
        for record in &changes.actions {
            let before = previous(&record.trn).and_then(|trn| actions.get(&trn).cloned());
            let operation = if before.is_some() { "action.update" } else { "action.create" };
            let after = json!({
                "connection": record.connection, "config": record.config,
                "mcp_enabled": record.mcp_enabled, "mcp_overrides": record.mcp_overrides,
            });
            trail.add(&self.1, of_record(&record.trn, operation, before, Some(after.to_string())));
        }
        for trn in &changes.deleted_actions {
            if let Some(before) = actions.remove(&trn.to_string()) {
                trail.add(&self.1, of_record(trn, "action.delete", Some(before), None));
            }
        }
        for deleted in &changes.deleted_connections {
            if let Some(before) = stored.remove(&deleted.trn.to_string()) {
                trail.add(&self.1, of_record(&deleted.trn, "connection.delete", Some(before), None));
            }
            let tenant = &deleted.trn.tenant;
            for name in self.secret_names(tx, tenant, &deleted.secrets).await? {
                let before = self.secret_print(tx, &trail, tenant, &name).await?;
                trail.add(&self.1, of_secret(tenant, &name, "secret.delete", before, None));
            }
        }
        trail.write(tx, &self.0.place).await
    }

    /// Entries for what was there before the log began.
    pub(crate) async fn audit_found(&self, tx: &mut SqliteConnection, trail: &mut Trail) -> Result<()> {
        let (tenant, object) = (None, "audit".to_owned());
        trail.add(&self.1, NewEntry { tenant, operation: BEGIN, object, before: None, after: None });
        for (operation, sql) in [("connection.found", CONNECTIONS), ("action.found", ACTIONS)] {
            for (object, after) in self.all_stored(&mut *tx, sql).await? {
                let tenant = object.split(':').nth(2).map(str::to_owned);
                trail.add(&self.1, NewEntry { tenant, operation, object, before: None, after: Some(after) });
            }
        }
        Ok(())
    }

    /// Of `written`, what the log says of connections and actions, those that are not what is stored; and what is stored
    /// without an entry.
    pub(crate) async fn past_the_log(
        &self,
        tx: &mut SqliteConnection,
        mut written: HashMap<String, String>,
    ) -> Result<Vec<String>> {
        let mut differ = Vec::new();
        for sql in [CONNECTIONS, ACTIONS] {
            for (trn, stored) in self.all_stored(&mut *tx, sql).await? {
                // Not the text: SQLite wrote one of the two.
                let json = |text: &str| serde_json::from_str::<Value>(text).ok();
                let same = written.remove(&trn).is_some_and(|written| json(&written) == json(&stored));
                if !same {
                    differ.push(trn);
                }
            }
        }
        differ.extend(written.into_keys());
        differ.sort();
        Ok(differ)
    }

    async fn all_stored(
        &self,
        tx: &mut SqliteConnection,
        sql: &'static str,
    ) -> Result<Vec<(String, String)>> {
        sqlx::query_as(sql).fetch_all(tx).await.map_err(self.failed("read the configuration"))
    }

    /// An entry for one version that is about to be deleted; nothing if there is none.
    pub(crate) async fn audit_delete<K: RecordKind>(
        &self,
        tx: &mut SqliteConnection,
        trn: &RecordTrn<K>,
        operation: &'static str,
    ) -> Result<()> {
        let sql = if operation == "action.delete" { ACTIONS } else { CONNECTIONS };
        match self.stored(tx, sql, vec![trn.to_string()]).await?.remove(&trn.to_string()) {
            Some(before) => self.audit(tx, of_record(trn, operation, Some(before), None)).await,
            None => Ok(()),
        }
    }

    /// An entry for a secret that is about to be set, or deleted.
    pub(crate) async fn audit_secret(
        &self,
        tx: &mut SqliteConnection,
        tenant: &Tenant,
        name: &str,
        value: Option<&SecretString>,
    ) -> Result<()> {
        let Some(mut trail) = self.trail(tx).await? else { return Ok(()) };
        let before = self.secret_print(tx, &trail, tenant, name).await?;
        let after = value.map(|value| json!({ "fingerprint": trail.print(tenant, value) }));
        let operation = if after.is_some() { "secret.set" } else { "secret.delete" };
        if before.is_some() || after.is_some() {
            trail.add(&self.1, of_secret(tenant, name, operation, before, after));
        }
        trail.write(tx, &self.0.place).await
    }

    /// An entry for a credential that is about to be stored, replaced or deleted.
    pub(crate) async fn audit_credential(
        &self,
        tx: &mut SqliteConnection,
        old: Option<&AuthConnection>,
        new: Option<&AuthConnection>,
    ) -> Result<()> {
        let (Some(record), Some(mut trail)) = (new.or(old), self.trail(tx).await?) else { return Ok(()) };
        let operation = match (old, new) {
            (None, _) => "credential.create",
            (Some(_), Some(_)) => "credential.update",
            (Some(_), None) => "credential.delete",
        };
        let side =
            |record: Option<&AuthConnection>| record.map(|record| of_credential(&trail, record).to_string());
        let entry = NewEntry {
            tenant: Some(record.trn.tenant.to_string()),
            operation,
            object: record.trn.to_string(),
            before: side(old),
            after: side(new),
        };
        trail.add(&self.1, entry);
        trail.write(tx, &self.0.place).await
    }

    /// An entry for a connector that is about to be installed, or removed.
    pub(crate) async fn audit_connector(
        &self,
        tx: &mut SqliteConnection,
        name: &str,
        new: Option<&ConnectorRecord>,
    ) -> Result<()> {
        let before: Option<String> = sqlx::query_scalar(
            "SELECT json_object('version', version, 'digest', digest, 'grants', json(grants)) FROM connectors
             WHERE name = ?",
        )
        .bind(name)
        .fetch_optional(&mut *tx)
        .await
        .map_err(|error| failure::explain(&self.0.place, "read a connector", error))?;
        let after = new.map(|record| {
            json!({ "version": record.version, "digest": record.digest.to_string(), "grants": record.grants })
        });
        let operation = if new.is_some() { "connector.install" } else { "connector.remove" };
        let (tenant, object, after) =
            (None, format!("connector/{name}"), after.map(|after| after.to_string()));
        self.audit(tx, NewEntry { tenant, operation, object, before, after }).await
    }

    /// An entry for the master key.
    pub(crate) async fn audit_key(
        &self,
        tx: &mut SqliteConnection,
        operation: &'static str,
        version: i64,
        before: Option<Value>,
    ) -> Result<()> {
        let after = Some(json!({ "version": version }).to_string());
        let (object, before) = (format!("key/{version}"), before.map(|before| before.to_string()));
        self.audit(tx, NewEntry { tenant: None, operation, object, before, after }).await
    }

    /// What is stored of these, in one statement, by TRN.
    async fn stored(
        &self,
        tx: &mut SqliteConnection,
        sql: &'static str,
        trns: Vec<String>,
    ) -> Result<HashMap<String, String>> {
        if trns.is_empty() {
            return Ok(HashMap::new());
        }
        let mut query = QueryBuilder::<Sqlite>::new(sql);
        query.push(" WHERE trn IN (SELECT value FROM json_each(").push_bind(json_text(&trns)?).push("))");
        let rows: Vec<(String, String)> = query
            .build_query_as()
            .fetch_all(tx)
            .await
            .map_err(|error| failure::explain(&self.0.place, "read what is changed", error))?;
        Ok(rows.into_iter().collect())
    }

    async fn secret_names(
        &self,
        tx: &mut SqliteConnection,
        tenant: &Tenant,
        prefix: &str,
    ) -> Result<Vec<String>> {
        sqlx::query_scalar(
            "SELECT name FROM secrets WHERE tenant = ? AND name >= ? AND name < ? || char(0x10ffff) ORDER BY name",
        )
        .bind(tenant.as_str())
        .bind(prefix)
        .bind(prefix)
        .fetch_all(tx)
        .await
        .map_err(|error| failure::explain(&self.0.place, "read secrets", error))
    }

    /// The keyed hash of a stored secret; none if there is none, and `null` in its place for one that does not open,
    /// which is no reason not to replace it.
    async fn secret_print(
        &self,
        tx: &mut SqliteConnection,
        trail: &Trail,
        tenant: &Tenant,
        name: &str,
    ) -> Result<Option<Value>> {
        let print = match self.open_secret_in(tx, tenant, name).await {
            Ok(None) => return Ok(None),
            Ok(Some(value)) => trail.print(tenant, &value),
            Err(_) => Value::Null,
        };
        Ok(Some(json!({ "fingerprint": print })))
    }
}

/// The version before this one, if any.
fn previous<K: RecordKind>(trn: &RecordTrn<K>) -> Option<String> {
    let before = trn.version.get().checked_sub(1).filter(|version| *version > 0)?;
    trn.to_string().strip_suffix(&trn.version.to_string()).map(|stem| format!("{stem}{before}"))
}

fn of_record<K: RecordKind>(
    trn: &RecordTrn<K>,
    operation: &'static str,
    before: Option<String>,
    after: Option<String>,
) -> NewEntry {
    NewEntry { tenant: Some(trn.tenant.to_string()), operation, object: trn.to_string(), before, after }
}

fn of_secret(
    tenant: &Tenant,
    name: &str,
    operation: &'static str,
    before: Option<Value>,
    after: Option<Value>,
) -> NewEntry {
    let text = |value: Option<Value>| value.map(|value| value.to_string());
    let (before, after) = (text(before), text(after));
    NewEntry { tenant: Some(tenant.to_string()), operation, object: format!("secret/{name}"), before, after }
}

fn of_credential(trail: &Trail, record: &AuthConnection) -> Value {
    let print =
        |value: &Option<SecretString>| value.as_ref().map(|value| trail.print(&record.trn.tenant, value));
    json!({
        "access_token": { "fingerprint": trail.print(&record.trn.tenant, &record.access_token) },
        "refresh_token": { "fingerprint": print(&record.refresh_token) },
        "extra": { "fingerprint": print(&record.extra) },
        "expires_at": record.expires_at.map(time_text),
        "token_type": record.token_type,
        "scope": record.scope,
        "version": record.version,
    })
}
