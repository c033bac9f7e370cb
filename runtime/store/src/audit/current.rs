//! What there is now, written as the log writes it: for a log that begins over it, and to find what was changed past it.
//!
//! Invariant: the same words for a row whether its change is logged or the row is read back, so that only somebody who
//! went past the store makes a difference.

use std::collections::HashMap;

use openact_core::{Result, Tenant, secret::SecretString};
use serde_json::{Value, json};
use sqlx::{FromRow, SqliteConnection};

use super::{
    BEGIN, ChainKey, EntryRow, NewEntry, Trail,
    changes::{of_credential, tenant_of, without_secrets},
};
use crate::{Store, connectors::digest_of};

/// How a connection is written in the log, as SQL and by `of_connection`.
pub(super) const CONNECTIONS: &str = "SELECT trn, config_json FROM connections";

/// How an action is written in the log, as SQL and by [`Store::audit_changes`].
pub(super) const ACTIONS: &str = "SELECT trn, json_object('connection', connection_trn, 'config', json(config_json),
    'mcp_enabled', json(iif(mcp_enabled, 'true', 'false')), 'mcp_overrides', json(mcp_overrides_json)) FROM actions";

/// A row that should have an entry.
struct Current {
    /// The operation of its entry in a log that begins now.
    found: &'static str,
    tenant: Option<String>,
    object: String,
    /// As the log has it, as JSON text; `null` if it is not what it says of itself.
    text: String,
}

impl Store {
    /// Entries for what was there before the log began.
    pub(super) async fn audit_found(&self, tx: &mut SqliteConnection, trail: &mut Trail) -> Result<()> {
        let (tenant, object) = (None, "audit".to_owned());
        trail.add(&self.1, NewEntry { tenant, operation: BEGIN, object, before: None, after: None });
        for Current { found, tenant, object, text } in self.current(tx, &trail.key).await? {
            let after = Some(text);
            trail.add(&self.1, NewEntry { tenant, operation: found, object, before: None, after });
        }
        Ok(())
    }

    /// Of `written`, what the log says there is, by [`logged`]: what is not what is stored; and what is stored without an
    /// entry.
    pub(super) async fn past_the_log(
        &self,
        tx: &mut SqliteConnection,
        key: &ChainKey,
        mut written: HashMap<String, String>,
    ) -> Result<Vec<String>> {
        let mut differ = Vec::new();
        for Current { tenant, object, text, .. } in self.current(tx, key).await? {
            // Not the text: SQLite wrote one of the two.
            let json = |text: &str| serde_json::from_str::<Value>(text).ok();
            let named = named(object, tenant.as_deref());
            // An entry may be of before what looks like a secret was hashed in it.
            let written = written.remove(&named).map(|written| without_secrets(key, &named, written));
            let same = written.is_some_and(|written| json(&written) == json(&text));
            if !same {
                differ.push(named);
            }
        }
        differ.extend(written.into_keys());
        differ.sort();
        Ok(differ)
    }

    async fn current(&self, tx: &mut SqliteConnection, key: &ChainKey) -> Result<Vec<Current>> {
        let mut all = Vec::new();
        for (found, sql) in [("connection.found", CONNECTIONS), ("action.found", ACTIONS)] {
            let rows: Vec<(String, String)> =
                sqlx::query_as(sql).fetch_all(&mut *tx).await.map_err(self.failed(READ))?;
            all.extend(rows.into_iter().map(|(object, text)| {
                let (tenant, text) =
                    (tenant_of(&object).map(str::to_owned), without_secrets(key, &object, text));
                Current { found, tenant, object, text }
            }));
        }
        let names: Vec<String> = sqlx::query_scalar("SELECT name FROM connectors")
            .fetch_all(&mut *tx)
            .await
            .map_err(self.failed(READ))?;
        for name in names {
            let is = self.connector_as_logged(tx, &name).await?.unwrap_or_default();
            let (object, text) = (format!("connector/{name}"), is.to_string());
            all.push(Current { found: "connector.found", tenant: None, object, text });
        }
        let print = |tenant: &Tenant, value: &SecretString| key.print(tenant, value);
        for (tenant, name, print) in self.secret_prints(tx, &print).await? {
            let (object, text) = (format!("secret/{name}"), json!({ "fingerprint": print }).to_string());
            all.push(Current { found: "secret.found", tenant: Some(tenant), object, text });
        }
        for (object, is) in self.map_auth_connections(tx, &|record| of_credential(key, record)).await? {
            let (tenant, text) = (tenant_of(&object).map(str::to_owned), is.unwrap_or_default().to_string());
            all.push(Current { found: "credential.found", tenant, object, text });
        }
        for (object, is) in self.tokens_as_logged(tx).await? {
            all.push(Current { found: "token.found", tenant: None, object, text: is.to_string() });
        }
        Ok(all)
    }

    /// A connector as its entry has it; none if there is none, and `null` for one whose bytes are not those of its digest.
    pub(super) async fn connector_as_logged(
        &self,
        tx: &mut SqliteConnection,
        name: &str,
    ) -> Result<Option<Value>> {
        let row: Option<ConnectorRow> =
            sqlx::query_as("SELECT version, digest, manifest, grants, bytes FROM connectors WHERE name = ?")
                .bind(name)
                .fetch_optional(tx)
                .await
                .map_err(self.failed(READ))?;
        Ok(row.map(|row| {
            if digest_of(&row.bytes).to_string() != row.digest {
                return Value::Null;
            }
            let grants: Value = serde_json::from_str(&row.grants).unwrap_or_default();
            of_connector(&row.version, &row.digest, grants, &row.manifest)
        }))
    }
}

/// What failed, for an error.
const READ: &str = "read the configuration";

#[derive(FromRow)]
struct ConnectorRow {
    version: String,
    digest: String,
    manifest: String,
    grants: String,
    bytes: Vec<u8>,
}

/// How a connector is written in the log; its manifest is JSON as it is stored.
pub(super) fn of_connector(version: &str, digest: &str, grants: Value, manifest: &str) -> Value {
    let manifest = digest_of(manifest.as_bytes()).to_string();
    json!({ "version": version, "digest": digest, "grants": grants, "manifest": manifest })
}

/// What an entry is about, if that is a row there should be, by the name that [`Store::past_the_log`] gives it.
pub(super) fn logged(row: &EntryRow) -> Option<String> {
    let kinds = ["connection", "action", "connector", "secret", "credential", "token"];
    let (kind, _) = row.operation.split_once('.')?;
    kinds.contains(&kind).then(|| named(row.object.clone(), row.tenant.as_deref()))
}

/// An object by a name that no other tenant's has.
fn named(object: String, tenant: Option<&str>) -> String {
    match tenant.filter(|_| object.starts_with("secret/")) {
        Some(tenant) => format!("{object} of tenant {tenant}"),
        None => object,
    }
}
