//! The table `connections`: a row per version. Rows are made by [`crate::apply`] and never changed.
//!
//! Invariant: a connection that an action runs over cannot be deleted.

use openact_core::{ConnectionTrn, ConnectorName, Error, Name, Result, Tenant, connection::ConnectionRecord};
use sqlx::{FromRow, QueryBuilder, Sqlite, SqliteConnection};

use crate::{
    Store, failure,
    rows::{Row, json_text, time_text},
    synced::Kind,
};

/// Which connections of a tenant; what is absent does not narrow.
#[derive(Clone, Debug, Default)]
pub struct ConnectionFilter {
    /// Of this connector.
    pub connector: Option<ConnectorName>,
    /// Of this name.
    pub name: Option<Name>,
    /// Only the highest version of each.
    pub latest_only: bool,
}

const COLUMNS: &str = "SELECT trn, config_json, created_at, updated_at FROM connections r";

impl Store {
    /// The connection of that identity.
    pub async fn get_connection(&self, trn: &ConnectionTrn) -> Result<Option<ConnectionRecord>> {
        let mut query = QueryBuilder::<Sqlite>::new(COLUMNS);
        query.push(" WHERE trn = ").push_bind(trn.to_string());
        let row: Option<ConnectionRow> = query
            .build_query_as()
            .fetch_optional(&self.0.readers)
            .await
            .map_err(self.failed("read a connection"))?;
        row.map(ConnectionRow::record).transpose()
    }

    /// The connections of `tenant` that `filter` lets through, by connector, name and version.
    pub async fn find_connections(
        &self,
        tenant: &Tenant,
        filter: &ConnectionFilter,
    ) -> Result<Vec<ConnectionRecord>> {
        let mut query = QueryBuilder::new(COLUMNS);
        push_filter(
            &mut query,
            "connections",
            tenant,
            filter.connector.as_ref(),
            filter.name.as_ref(),
            filter.latest_only,
        );
        query.push(" ORDER BY +r.connector, +r.name, +r.version");
        self.fetch_connections(query).await
    }

    /// Every version of the connections of a connector, of all tenants: who replaces the connector answers for them.
    pub async fn connections_of(&self, connector: &ConnectorName) -> Result<Vec<ConnectionRecord>> {
        let mut query = QueryBuilder::<Sqlite>::new(COLUMNS);
        query.push(" WHERE connector = ").push_bind(connector.to_string()).push(" ORDER BY trn");
        self.fetch_connections(query).await
    }

    async fn fetch_connections(&self, mut query: QueryBuilder<Sqlite>) -> Result<Vec<ConnectionRecord>> {
        let rows: Vec<ConnectionRow> = query
            .build_query_as()
            .fetch_all(&self.0.readers)
            .await
            .map_err(self.failed("read connections"))?;
        rows.into_iter().map(ConnectionRow::record).collect()
    }

    /// The latest versions of those of `names` that there are.
    pub async fn latest_connections(
        &self,
        tenant: &Tenant,
        connector: &ConnectorName,
        names: &[Name],
    ) -> Result<Vec<ConnectionRecord>> {
        let mut query = QueryBuilder::new(COLUMNS);
        push_latest(&mut query, Kind::Connection, tenant, connector, names)?;
        self.fetch_connections(query).await
    }

    /// Deletes one version; says whether there was one. Refused while an action runs over it.
    pub async fn delete_connection(&self, trn: &ConnectionTrn) -> Result<bool> {
        let doing = "delete a connection";
        let mut tx = self.begin_change().await?;
        self.audit_delete(&mut tx, trn, "connection.delete").await?;
        let users: Vec<String> =
            sqlx::query_scalar("SELECT trn FROM actions WHERE connection_trn = ? ORDER BY trn LIMIT 4")
                .bind(trn.to_string())
                .fetch_all(&mut *tx)
                .await
                .map_err(self.failed(doing))?;
        if !users.is_empty() {
            let some: Vec<&str> = users.iter().take(3).map(String::as_str).collect();
            let more = if users.len() > some.len() { " and others" } else { "" };
            return Err(Error::conflict(format!("{trn} is in use by {}{more}", some.join(", ")))
                .hint("delete the actions first"));
        }
        let deleted = sqlx::query("DELETE FROM connections WHERE trn = ?")
            .bind(trn.to_string())
            .execute(&mut *tx)
            .await
            .map_err(self.failed(doing))?;
        if deleted.rows_affected() == 0 {
            return Ok(false);
        }
        self.commit_configuration(tx).await?;
        Ok(true)
    }
}

/// Adds the `WHERE` that connections and actions share. `table` is read as `r`.
pub(crate) fn push_filter(
    query: &mut QueryBuilder<Sqlite>,
    table: &str,
    tenant: &Tenant,
    connector: Option<&ConnectorName>,
    name: Option<&Name>,
    latest_only: bool,
) {
    query.push(" WHERE r.tenant = ").push_bind(tenant.to_string());
    if let Some(connector) = connector {
        query.push(" AND r.connector = ").push_bind(connector.to_string());
    }
    if let Some(name) = name {
        query.push(" AND r.name = ").push_bind(name.to_string());
    }
    if latest_only {
        push_latest_only(query, table);
    }
}

fn push_latest_only(query: &mut QueryBuilder<Sqlite>, table: &str) {
    query.push(format_args!(
        " AND r.version = (SELECT max(n.version) FROM {table} n
           WHERE n.tenant = r.tenant AND n.connector = r.connector AND n.name = r.name)"
    ));
}

/// Adds the `WHERE` for the latest versions of many names: one statement that searches an index for each.
pub(crate) fn push_latest(
    query: &mut QueryBuilder<Sqlite>,
    kind: Kind,
    tenant: &Tenant,
    connector: &ConnectorName,
    names: &[Name],
) -> Result<()> {
    query.push(" WHERE r.tenant = ").push_bind(tenant.to_string());
    query.push(" AND r.connector = ").push_bind(connector.to_string());
    query.push(" AND r.name IN (SELECT value FROM json_each(").push_bind(json_text(&names)?).push("))");
    push_latest_only(query, kind.table());
    Ok(())
}

/// Inserts one within [`Store::apply`]'s transaction.
pub(crate) async fn insert(tx: &mut SqliteConnection, place: &str, record: &ConnectionRecord) -> Result<()> {
    let result = sqlx::query(
        "INSERT INTO connections (trn, tenant, connector, name, version, config_json, created_at, updated_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(record.trn.to_string())
    .bind(record.trn.tenant.as_str())
    .bind(record.trn.connector.as_str())
    .bind(record.trn.name.as_str())
    .bind(record.trn.version.get())
    .bind(json_text(&record.config)?)
    .bind(time_text(record.created_at))
    .bind(time_text(record.updated_at))
    .execute(tx)
    .await;
    failure::explain_constraint(result, place, "write a connection", |code, _| match code {
        failure::code::CONSTRAINT_PRIMARYKEY | failure::code::CONSTRAINT_UNIQUE => Some(
            Error::conflict(format!("{} exists already", record.trn))
                .hint("a stored version never changes; make the next one"),
        ),
        _ => None,
    })
    .map(drop)
}

#[derive(FromRow)]
struct ConnectionRow {
    trn: String,
    config_json: String,
    created_at: String,
    updated_at: String,
}

impl ConnectionRow {
    fn record(self) -> Result<ConnectionRecord> {
        let row = Row { table: "connections", key: &self.trn };
        Ok(ConnectionRecord {
            trn: row.parse("trn", &self.trn)?,
            config: row.json("config_json", &self.config_json)?,
            created_at: row.parse("created_at", &self.created_at)?,
            updated_at: row.parse("updated_at", &self.updated_at)?,
        })
    }
}
