//! Secrets set by hand, and the master key that seals every secret.
//!
//! A file refers to a secret set by hand as `{"$secret": "name"}`. What a file brought along is kept in the same table
//! under names that [`SecretName`] cannot hold, and is changed by another import only.
//!
//! Invariant: a value goes in and does not come out; only a call's credential is made from it.

use std::collections::{BTreeSet, HashSet};

use openact_core::{
    ConnectionTrn, Error, JsonObject, Result, SecretName, Tenant,
    limits::SECRET_FILE_BYTES_MAX,
    secret::{ExposeSecret, SecretRef, SecretString},
};
use openact_store::{KeyRotation, KeyStatus, StoredSecret};
use serde_json::Value;

use crate::OpenAct;

impl OpenAct {
    /// Seals `value` under `name`, in place of what was there. The next call uses it; in another process, the next one
    /// after [`limits::SNAPSHOT_POLL`](crate::limits::SNAPSHOT_POLL).
    pub async fn set_secret(&self, tenant: &Tenant, name: &SecretName, value: &SecretString) -> Result<()> {
        let bytes = value.expose_secret().len() as u64;
        if bytes == 0 {
            return Err(Error::invalid_input(format!("the value of secret '{name}' is empty"))
                .hint(format!("to remove it: openact secret delete {name}")));
        }
        if bytes > SECRET_FILE_BYTES_MAX {
            return Err(Error::invalid_input(format!(
                "the value of secret '{name}' has {bytes} bytes; at most {SECRET_FILE_BYTES_MAX} are allowed"
            )));
        }
        self.store().put_secret(tenant, name.as_str(), value).await?;
        self.0.forget_prepared();
        Ok(())
    }

    /// Names of a tenant's secrets: those set by hand, and those that came with a connection.
    pub async fn list_secrets(&self, tenant: &Tenant) -> Result<Vec<StoredSecret>> {
        self.0.store.list_secrets(tenant).await
    }

    /// Deletes a secret that was set by hand. One that is in use stays, unless `force` says otherwise: latest versions
    /// of connections and actions refer to it, or the connection version that such an action runs over.
    pub async fn delete_secret(&self, tenant: &Tenant, name: &SecretName, force: bool) -> Result<()> {
        let missing =
            || Error::not_found(format!("there is no secret '{name}'")).hint("see: openact secret list");
        if !self.list_secrets(tenant).await?.iter().any(|secret| secret.name == name.as_str()) {
            return Err(missing());
        }
        let (connections, actions) =
            if force { Default::default() } else { self.users_of(tenant, name).await? };
        if !connections.is_empty() || !actions.is_empty() {
            let of_actions = actions.iter().map(|action| format!("action {action}"));
            let users: Vec<String> = connections.iter().cloned().chain(of_actions).collect();
            return Err(Error::conflict(format!("secret '{name}' is in use: {}", users.join(", ")))
                .hint("change what uses it first, or delete it all the same with --force")
                .details(serde_json::json!({ "connections": connections, "actions": actions })));
        }
        if !self.store().delete_secret(tenant, name.as_str()).await? {
            return Err(missing());
        }
        self.0.forget_prepared();
        Ok(())
    }

    /// The connections and actions that a call may use and that refer to a secret.
    async fn users_of(&self, tenant: &Tenant, name: &SecretName) -> Result<(Vec<String>, Vec<String>)> {
        let refers = |config: &JsonObject| config.values().any(|value| refers_to(value, name));
        let mut connections = self.list_connections(tenant, None).await?;
        let mut actions = self.list_actions(tenant, None, None).await?;
        let latest: HashSet<ConnectionTrn> = connections.iter().map(|record| record.trn.clone()).collect();
        // An action stays with the connection version it was imported over.
        let earlier: BTreeSet<&ConnectionTrn> =
            actions.iter().map(|action| &action.connection).filter(|trn| !latest.contains(*trn)).collect();
        for trn in earlier {
            connections.extend(self.0.store.get_connection(trn).await?);
        }
        connections.retain(|connection| refers(&connection.config));
        actions.retain(|action| refers(&action.config));
        Ok((
            connections.iter().map(|connection| connection.trn.short()).collect(),
            actions.iter().map(|action| action.trn.short()).collect(),
        ))
    }

    /// Which versions of the master key records are sealed with, and which keys there are.
    pub async fn key_status(&self) -> Result<KeyStatus> {
        self.0.store.key_status().await
    }

    /// The id of a master key that records are sealed with and that this process does not have. Counts nothing, as
    /// [`OpenAct::key_status`] does.
    pub async fn missing_key(&self) -> Result<Option<String>> {
        self.0.store.missing_key_id().await
    }

    /// Seals every record anew with a new master key while calls go on, in this process and others.
    pub async fn rotate_key(&self) -> Result<KeyRotation> {
        self.store().rotate_key().await
    }

    /// Removes from the key file the keys that no record of this database needs any more; returns their numbers.
    pub async fn drop_old_keys(&self) -> Result<Vec<i64>> {
        self.store().drop_old_keys().await
    }
}

fn refers_to(value: &Value, name: &SecretName) -> bool {
    match (SecretRef::from_json(value), value) {
        (Some(SecretRef::Stored(stored)), _) => stored == name.as_str(),
        (_, Value::Object(object)) => object.values().any(|value| refers_to(value, name)),
        (_, Value::Array(items)) => items.iter().any(|value| refers_to(value, name)),
        _ => false,
    }
}
