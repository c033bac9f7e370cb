//! Deleting versions, and what is known of versions without reading their configuration.
//!
//! Invariant: versions are deleted within [`Store::apply`]'s transaction, together with the secrets that came with them,
//! or not at all; a connection version that an action runs over is not deleted.

use openact_core::{ActionTrn, ConnectionTrn, Error, Result, Tenant};
use sqlx::SqliteConnection;

use crate::{ChangeSet, Store, failure, rows::Row};

/// A connection version to delete.
#[derive(Debug)]
pub struct DeletedConnection {
    /// Its identity.
    pub trn: ConnectionTrn,
    /// How the names of the secrets start that came with it.
    pub secrets: String,
}

impl Store {
    /// Every version of a tenant's actions with the connection version it runs over, by connector, name and version.
    pub async fn action_versions(&self, tenant: &Tenant) -> Result<Vec<(ActionTrn, ConnectionTrn)>> {
        let rows: Vec<(String, String)> = sqlx::query_as(
            "SELECT trn, connection_trn FROM actions WHERE tenant = ? ORDER BY connector, name, version",
        )
        .bind(tenant.as_str())
        .fetch_all(&self.0.readers)
        .await
        .map_err(self.failed("read actions"))?;
        let parsed = rows.iter().map(|(trn, connection)| {
            let row = Row { table: "actions", key: trn };
            Ok((row.parse("trn", trn)?, row.parse("connection_trn", connection)?))
        });
        parsed.collect()
    }

    /// Every version of a tenant's connections, by connector, name and version.
    pub async fn connection_versions(&self, tenant: &Tenant) -> Result<Vec<ConnectionTrn>> {
        let rows: Vec<String> = sqlx::query_scalar(
            "SELECT trn FROM connections WHERE tenant = ? ORDER BY connector, name, version",
        )
        .bind(tenant.as_str())
        .fetch_all(&self.0.readers)
        .await
        .map_err(self.failed("read connections"))?;
        rows.iter().map(|trn| Row { table: "connections", key: trn }.parse("trn", trn)).collect()
    }
}

/// Deletes what `changes` says, actions first, since connections are held by them.
pub(crate) async fn delete(tx: &mut SqliteConnection, place: &str, changes: &ChangeSet) -> Result<()> {
    for trn in &changes.deleted_actions {
        sqlx::query("DELETE FROM actions WHERE trn = ?")
            .bind(trn.to_string())
            .execute(&mut *tx)
            .await
            .map_err(|error| failure::explain(place, "delete an action", error))?;
    }
    for DeletedConnection { trn, secrets } in &changes.deleted_connections {
        let deleted = sqlx::query("DELETE FROM connections WHERE trn = ?")
            .bind(trn.to_string())
            .execute(&mut *tx)
            .await;
        failure::explain_constraint(deleted, place, "delete a connection", |code, _| match code {
            failure::code::CONSTRAINT_FOREIGNKEY => {
                Some(Error::conflict(format!("{trn} is in use by an action")).hint("delete the action first"))
            }
            _ => None,
        })?;
        // A range, because a name may hold what LIKE takes for a wildcard.
        sqlx::query("DELETE FROM secrets WHERE tenant = ? AND name >= ? AND name < ? || char(0x10ffff)")
            .bind(trn.tenant.as_str())
            .bind(secrets)
            .bind(secrets)
            .execute(&mut *tx)
            .await
            .map_err(|error| failure::explain(place, "delete secrets", error))?;
    }
    Ok(())
}
