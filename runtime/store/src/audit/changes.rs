//! What a change of configuration leaves in the log.
//!
//! | operation | object | before, after |
//! |---|---|---|
//! | `connection.create` `.update` `.delete`, `action.…` | TRN | the configuration; of an update, the version before |
//! | `secret.set` `secret.delete` | `secret/NAME` | a keyed hash |
//! | `connector.install` `connector.remove` | `connector/NAME` | version, grants, digests of component and manifest |
//! | `credential.create` `.update` `.delete` | TRN | keyed hashes, scope, expiry |
//! | `token.create` `token.revoke` `token.end` (by a restore) | `token/ID` | name, scope, expiry, digest of the secret |
//! | `audit.begin`, then `connection.found` `secret.found` … | `audit`, as above | what was there before the log began |
//! | `key.rotate` `key.rotated` `key.drop_old` | `key/VERSION` | versions |
//! | `database.restore` | `database` | the head of the log that was replaced; the copy, its digest, what its log was |
//! | `database.rollback` (in the copy made first) `database.drop_legacy` | `database` | the earlier tables |
//!
//! In a configuration, a header in clear that looks like a secret is a keyed hash too.
//!
//! Invariant: entries are made before anything is written, when what was there can still be read.

use std::collections::HashMap;

use openact_core::{
    JsonObject, Result, Tenant,
    clear::visit_clear,
    secret::SecretString,
    trn::{RecordKind, RecordTrn},
};
use serde_json::{Value, json};
use sqlx::{QueryBuilder, Sqlite, SqliteConnection};

use super::{
    ChainKey, NewEntry, Trail,
    current::{ACTIONS, CONNECTIONS, of_connector},
};
use crate::{
    ApiToken, AuthConnection, ChangeSet, ConnectorRecord, Store, failure,
    rows::{json_text, time_text},
    tokens::object_of,
};

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
            let entry = of_record(&trail, &record.trn, operation, before, after);
            trail.add(&self.1, entry);
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
            let entry = of_record(&trail, &record.trn, operation, before, Some(after.to_string()));
            trail.add(&self.1, entry);
        }
        for trn in &changes.deleted_actions {
            if let Some(before) = actions.remove(&trn.to_string()) {
                let entry = of_record(&trail, trn, "action.delete", Some(before), None);
                trail.add(&self.1, entry);
            }
        }
        for deleted in &changes.deleted_connections {
            if let Some(before) = stored.remove(&deleted.trn.to_string()) {
                let entry = of_record(&trail, &deleted.trn, "connection.delete", Some(before), None);
                trail.add(&self.1, entry);
            }
            let tenant = &deleted.trn.tenant;
            for name in self.secret_names(tx, tenant, &deleted.secrets).await? {
                let before = self.secret_print(tx, &trail, tenant, &name).await?;
                trail.add(&self.1, of_secret(tenant, &name, "secret.delete", before, None));
            }
        }
        trail.write(tx, &self.0.place).await
    }

    /// An entry for one version that is about to be deleted; nothing if there is none.
    pub(crate) async fn audit_delete<K: RecordKind>(
        &self,
        tx: &mut SqliteConnection,
        trn: &RecordTrn<K>,
        operation: &'static str,
    ) -> Result<()> {
        let sql = if operation == "action.delete" { ACTIONS } else { CONNECTIONS };
        let before = self.stored(tx, sql, vec![trn.to_string()]).await?.remove(&trn.to_string());
        let (Some(before), Some(mut trail)) = (before, self.trail(tx).await?) else { return Ok(()) };
        let entry = of_record(&trail, trn, operation, Some(before), None);
        trail.add(&self.1, entry);
        trail.write(tx, &self.0.place).await
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
        let side = |record: Option<&AuthConnection>| {
            record.map(|record| of_credential(&trail.key, record).to_string())
        };
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
        let before = self.connector_as_logged(tx, name).await?;
        let after = match new {
            Some(record) => Some(of_connector(
                &record.version,
                &record.digest.to_string(),
                serde_json::to_value(&record.grants).unwrap_or_default(),
                &json_text(&record.manifest)?,
            )),
            None => None,
        };
        let operation = if new.is_some() { "connector.install" } else { "connector.remove" };
        let text = |value: Option<Value>| value.map(|value| value.to_string());
        let (object, before, after) = (format!("connector/{name}"), text(before), text(after));
        self.audit(tx, NewEntry { tenant: None, operation, object, before, after }).await
    }

    /// An entry for a token that is made, revoked or ended.
    pub(crate) async fn audit_token(
        &self,
        tx: &mut SqliteConnection,
        operation: &'static str,
        before: Option<&ApiToken>,
        after: Option<&ApiToken>,
    ) -> Result<()> {
        let Some(token) = after.or(before) else { return Ok(()) };
        let object = object_of(&token.id);
        let [before, after] = [before, after].map(|side| side.map(|token| token.as_logged().to_string()));
        self.audit(tx, NewEntry { tenant: None, operation, object, before, after }).await
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
    trail: &Trail,
    trn: &RecordTrn<K>,
    operation: &'static str,
    before: Option<String>,
    after: Option<String>,
) -> NewEntry {
    let object = trn.to_string();
    let side = |text: Option<String>| text.map(|text| without_secrets(&trail.key, &object, text));
    let (before, after) = (side(before), side(after));
    NewEntry { tenant: Some(trn.tenant.to_string()), operation, object, before, after }
}

pub(super) fn tenant_of(trn: &str) -> Option<&str> {
    trn.split(':').nth(2)
}

/// The JSON of a connection or an action with keyed hashes for what looks like a secret; the text itself if there is none.
pub(super) fn without_secrets(key: &ChainKey, trn: &str, text: String) -> String {
    let tenant: Option<Tenant> = tenant_of(trn).and_then(|tenant| tenant.parse().ok());
    let (Some(tenant), Ok(mut json)) = (tenant, serde_json::from_str::<JsonObject>(&text)) else {
        return text;
    };
    let mut found = false;
    let mut print = |_: &str, value: &mut Value| {
        found = true;
        let secret = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        *value = json!({ "fingerprint": key.print(&tenant, &SecretString::from(secret)) });
    };
    // Of an action there is more than its configuration.
    match json.get_mut("config") {
        Some(Value::Object(config)) if trn.contains(":action/") => visit_clear(config, &mut print),
        _ => visit_clear(&mut json, &mut print),
    }
    if found { Value::Object(json).to_string() } else { text }
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

pub(super) fn of_credential(key: &ChainKey, record: &AuthConnection) -> Value {
    let print =
        |value: &Option<SecretString>| value.as_ref().map(|value| key.print(&record.trn.tenant, value));
    json!({
        "access_token": { "fingerprint": key.print(&record.trn.tenant, &record.access_token) },
        "refresh_token": { "fingerprint": print(&record.refresh_token) },
        "extra": { "fingerprint": print(&record.extra) },
        "expires_at": record.expires_at.map(time_text),
        "token_type": record.token_type,
        "scope": record.scope,
        "version": record.version,
    })
}
