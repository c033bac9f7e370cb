//! The table `actions`: a row per version. Rows are made by [`crate::apply`] and never changed.
//!
//! Invariant: an action has the tenant and connector of its connection, which triggers prove on insert and update;
//! and looking one up by name reads an index, however many there are.

use openact_core::{
    ActionTrn, ConnectionTrn, ConnectorName, Error, Name, Result, Tenant, action::ActionRecord,
};
use sqlx::{FromRow, QueryBuilder, Sqlite, SqliteConnection};

use crate::{
    Store,
    connections::{push_filter, push_latest},
    failure,
    rows::{Row, json_text, time_text},
    synced::Kind,
};

/// Which actions of a tenant; what is absent does not narrow.
#[derive(Clone, Debug, Default)]
pub struct ActionFilter {
    /// Of this connector.
    pub connector: Option<ConnectorName>,
    /// Of this name.
    pub name: Option<Name>,
    /// Over this version of a connection.
    pub connection: Option<ConnectionTrn>,
    /// Only the highest version of each.
    pub latest_only: bool,
}

const COLUMNS: &str = "SELECT trn, connection_trn, config_json, mcp_enabled, mcp_overrides_json, created_at, updated_at FROM actions r";

/// How the message of the integrity triggers starts; the migrations have the rest.
const MISMATCH: &str = "openact: an action must have";

impl Store {
    /// The action of that identity.
    pub async fn get_action(&self, trn: &ActionTrn) -> Result<Option<ActionRecord>> {
        let mut query = QueryBuilder::<Sqlite>::new(COLUMNS);
        query.push(" WHERE trn = ").push_bind(trn.to_string());
        let row: Option<ActionRow> = query
            .build_query_as()
            .fetch_optional(&self.0.readers)
            .await
            .map_err(self.failed("read an action"))?;
        row.map(ActionRow::record).transpose()
    }

    /// The actions of `tenant` that `filter` lets through, by connector, name and version. With a name it is one
    /// search of an index.
    pub async fn find_actions(&self, tenant: &Tenant, filter: &ActionFilter) -> Result<Vec<ActionRecord>> {
        let rows: Vec<ActionRow> = find_query(COLUMNS, tenant, filter)
            .build_query_as()
            .fetch_all(&self.0.readers)
            .await
            .map_err(self.failed("read actions"))?;
        rows.into_iter().map(ActionRow::record).collect()
    }

    /// The latest versions of those of `names` that there are.
    pub async fn latest_actions(
        &self,
        tenant: &Tenant,
        connector: &ConnectorName,
        names: &[Name],
    ) -> Result<Vec<ActionRecord>> {
        let mut query = QueryBuilder::new(COLUMNS);
        push_latest(&mut query, Kind::Action, tenant, connector, names)?;
        let rows: Vec<ActionRow> =
            query.build_query_as().fetch_all(&self.0.readers).await.map_err(self.failed("read actions"))?;
        rows.into_iter().map(ActionRow::record).collect()
    }

    /// Every version of the actions of a connector, of every tenant.
    pub async fn actions_of(&self, connector: &ConnectorName) -> Result<Vec<ActionRecord>> {
        let mut query = QueryBuilder::<Sqlite>::new(COLUMNS);
        query.push(" WHERE connector = ").push_bind(connector.to_string()).push(" ORDER BY trn");
        let rows: Vec<ActionRow> =
            query.build_query_as().fetch_all(&self.0.readers).await.map_err(self.failed("read actions"))?;
        rows.into_iter().map(ActionRow::record).collect()
    }

    /// Deletes one version; says whether there was one.
    pub async fn delete_action(&self, trn: &ActionTrn) -> Result<bool> {
        let mut tx = self.begin_change().await?;
        self.audit_delete(&mut tx, trn, "action.delete").await?;
        let deleted = sqlx::query("DELETE FROM actions WHERE trn = ?")
            .bind(trn.to_string())
            .execute(&mut *tx)
            .await
            .map_err(self.failed("delete an action"))?;
        if deleted.rows_affected() == 0 {
            return Ok(false);
        }
        self.commit_configuration(tx).await?;
        Ok(true)
    }
}

fn find_query(columns: &str, tenant: &Tenant, filter: &ActionFilter) -> QueryBuilder<Sqlite> {
    let mut query = QueryBuilder::new(columns);
    push_filter(
        &mut query,
        "actions",
        tenant,
        filter.connector.as_ref(),
        filter.name.as_ref(),
        filter.latest_only,
    );
    if let Some(connection) = &filter.connection {
        query.push(" AND r.connection_trn = ").push_bind(connection.to_string());
    }
    // The '+' keeps the planner from walking a whole tenant in this order to spare the sort.
    query.push(" ORDER BY +r.connector, +r.name, +r.version");
    query
}

/// Inserts one within [`Store::apply`]'s transaction.
pub(crate) async fn insert(tx: &mut SqliteConnection, place: &str, record: &ActionRecord) -> Result<()> {
    let result = sqlx::query(
        "INSERT INTO actions (trn, tenant, connector, name, version, connection_trn, config_json, mcp_enabled,
             mcp_overrides_json, created_at, updated_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(record.trn.to_string())
    .bind(record.trn.tenant.as_str())
    .bind(record.trn.connector.as_str())
    .bind(record.trn.name.as_str())
    .bind(record.trn.version.get())
    .bind(record.connection.to_string())
    .bind(json_text(&record.config)?)
    .bind(record.mcp_enabled)
    .bind(record.mcp_overrides.as_ref().map(json_text).transpose()?)
    .bind(time_text(record.created_at))
    .bind(time_text(record.updated_at))
    .execute(tx)
    .await;
    let (trn, connection) = (&record.trn, &record.connection);
    failure::explain_constraint(result, place, "write an action", |code, message| match code {
        failure::code::CONSTRAINT_PRIMARYKEY | failure::code::CONSTRAINT_UNIQUE => Some(
            Error::conflict(format!("{trn} exists already"))
                .hint("a stored version never changes; make the next one"),
        ),
        failure::code::CONSTRAINT_TRIGGER if message.contains(MISMATCH) => Some(Error::conflict(format!(
            "{trn} cannot run over {connection}: its tenant or connector is another"
        ))),
        failure::code::CONSTRAINT_FOREIGNKEY => {
            Some(Error::conflict(format!("{trn} runs over {connection}, which does not exist")))
        }
        _ => None,
    })
    .map(drop)
}

#[derive(FromRow)]
struct ActionRow {
    trn: String,
    connection_trn: String,
    config_json: String,
    mcp_enabled: bool,
    mcp_overrides_json: Option<String>,
    created_at: String,
    updated_at: String,
}

impl ActionRow {
    fn record(self) -> Result<ActionRecord> {
        let row = Row { table: "actions", key: &self.trn };
        Ok(ActionRecord {
            trn: row.parse("trn", &self.trn)?,
            connection: row.parse("connection_trn", &self.connection_trn)?,
            config: row.json("config_json", &self.config_json)?,
            mcp_enabled: self.mcp_enabled,
            mcp_overrides: self
                .mcp_overrides_json
                .as_ref()
                .map(|text| row.json("mcp_overrides_json", text))
                .transpose()?,
            created_at: row.parse("created_at", &self.created_at)?,
            updated_at: row.parse("updated_at", &self.updated_at)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{KeySource, MasterKey, RunWrites, StoreUrl};

    #[tokio::test]
    async fn b5_a_lookup_by_name_searches_an_index_on_the_name() {
        let key = KeySource::Keys(vec![MasterKey::ephemeral().unwrap()]);
        let store = Store::open(&StoreUrl::memory(), key, RunWrites::BeforeAnswer).await.unwrap();
        let (name, http): (Name, ConnectorName) = ("get-user".parse().unwrap(), "http".parse().unwrap());
        let by_name = ActionFilter { name: Some(name), latest_only: true, ..Default::default() };
        let by_both = ActionFilter { connector: Some(http), ..by_name.clone() };
        let over = Some("trn:openact:default:connection/http/c@v1".parse().unwrap());
        let by_connection = ActionFilter { connection: over, ..Default::default() };
        for (filter, term) in [(by_name, "name=?"), (by_both, "name=?"), (by_connection, "connection_trn=?")]
        {
            let mut explain =
                find_query(&format!("EXPLAIN QUERY PLAN {COLUMNS}"), &Tenant::default(), &filter);
            let plan: Vec<(i64, i64, i64, String)> =
                explain.build_query_as().fetch_all(&store.0.readers).await.unwrap();
            let searches = || plan.iter().map(|row| &row.3[..]).filter(|step| step.starts_with("SEARCH"));
            assert_eq!(searches().count(), if filter.latest_only { 2 } else { 1 }, "{plan:?}");
            assert!(searches().all(|step| step.contains(term)), "{plan:?}");
            assert!(plan.iter().all(|row| !row.3.starts_with("SCAN")), "{plan:?}");
        }
    }

    #[tokio::test]
    async fn b10_many_names_are_looked_up_by_one_statement_that_searches_an_index() {
        let key = KeySource::Keys(vec![MasterKey::ephemeral().unwrap()]);
        let store = Store::open(&StoreUrl::memory(), key, RunWrites::BeforeAnswer).await.unwrap();
        let (names, http) = (["a".parse().unwrap(), "b".parse().unwrap()], "http".parse().unwrap());
        let mut explain = QueryBuilder::new(format!("EXPLAIN QUERY PLAN {COLUMNS}"));
        push_latest(&mut explain, Kind::Action, &Tenant::default(), &http, &names).unwrap();
        let plan: Vec<(i64, i64, i64, String)> =
            explain.build_query_as().fetch_all(&store.0.readers).await.unwrap();
        // Of the rows, as of the versions of each.
        let by_name =
            |step: &&(i64, i64, i64, String)| step.3.starts_with("SEARCH") && step.3.contains("name=?");
        assert_eq!(plan.iter().filter(by_name).count(), 2, "{plan:?}");
        let scanned: Vec<&str> =
            plan.iter().map(|row| &row.3[..]).filter(|step| step.starts_with("SCAN")).collect();
        assert!(scanned.iter().all(|step| step.contains("json_each")), "{plan:?}");
    }
}
