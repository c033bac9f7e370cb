//! The table `synced`: what `sync` made, and from where. It is all that `sync --prune` may delete.
//!
//! Invariant: rows come within [`Store::apply`]'s transaction, and a trigger takes the row of a record with its last
//! version.

use std::collections::HashMap;

use openact_core::{ConnectorName, Name, Result, Tenant, Timestamp};
use sqlx::SqliteConnection;

use crate::{
    Store, failure,
    rows::{Row, json_text, time_text},
};

/// `connection` or `action`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A connection.
    Connection,
    /// An action.
    Action,
}

impl Kind {
    /// The word in tables and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Action => "action",
        }
    }

    pub(crate) fn table(self) -> &'static str {
        match self {
            Self::Connection => "connections",
            Self::Action => "actions",
        }
    }
}

/// A record that sync made.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Synced {
    /// What it is.
    pub kind: Kind,
    /// Its connector.
    pub connector: ConnectorName,
    /// Its name.
    pub name: Name,
    /// The file or folder that sync was told to read.
    pub source: String,
}

impl Store {
    /// What sync made of a tenant's configuration.
    pub async fn list_synced(&self, tenant: &Tenant) -> Result<Vec<Synced>> {
        let rows: Vec<(String, String, String, String)> = sqlx::query_as(
            "SELECT kind, connector, name, source FROM synced WHERE tenant = ? ORDER BY kind, connector, name",
        )
        .bind(tenant.as_str())
        .fetch_all(&self.0.readers)
        .await
        .map_err(self.failed("read what was synced"))?;
        let parsed = rows.into_iter().map(|(kind, connector, name, source)| {
            let key = format!("{kind} {connector}/{name}");
            let row = Row { table: "synced", key: &key };
            let kind = if kind == "action" { Kind::Action } else { Kind::Connection };
            Ok(Synced {
                kind,
                connector: row.parse("connector", &connector)?,
                name: row.parse("name", &name)?,
                source,
            })
        });
        parsed.collect()
    }

    /// For those of `names` of which versions were deleted, the highest that was.
    pub async fn retired_versions(
        &self,
        tenant: &Tenant,
        kind: Kind,
        connector: &ConnectorName,
        names: &[Name],
    ) -> Result<HashMap<Name, u32>> {
        let rows: Vec<(String, i64)> = sqlx::query_as(
            "SELECT name, version FROM retired_versions
             WHERE tenant = ? AND kind = ? AND connector = ? AND name IN (SELECT value FROM json_each(?))",
        )
        .bind(tenant.as_str())
        .bind(kind.as_str())
        .bind(connector.as_str())
        .bind(json_text(&names)?)
        .fetch_all(&self.0.readers)
        .await
        .map_err(self.failed("read versions"))?;
        let parsed = rows.iter().map(|(name, version)| {
            let row = Row { table: "retired_versions", key: name };
            Ok((row.parse("name", name)?, row.unsigned("version", *version)?))
        });
        parsed.collect()
    }
}

/// Remembers one within [`Store::apply`]'s transaction.
pub(crate) async fn remember(
    tx: &mut SqliteConnection,
    place: &str,
    tenant: &Tenant,
    synced: &Synced,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO synced (tenant, kind, connector, name, source, synced_at) VALUES (?, ?, ?, ?, ?, ?)
         ON CONFLICT (tenant, kind, connector, name) DO UPDATE SET source = excluded.source,
             synced_at = excluded.synced_at",
    )
    .bind(tenant.as_str())
    .bind(synced.kind.as_str())
    .bind(synced.connector.as_str())
    .bind(synced.name.as_str())
    .bind(&synced.source)
    .bind(time_text(Timestamp::now()))
    .execute(tx)
    .await
    .map(drop)
    .map_err(|error| failure::explain(place, "write what was synced", error))
}
