//! What a database holds, to be compared with what it held before.
//!
//! Invariant: all that matters is in it, opened where it is sealed; what differs between two runs of one command (times,
//! macs, nonces, ids) is not.

use std::path::Path;

use openact_core::{AuthTrn, secret::ExposeSecret};
use openact_store::{KeySource, RunWrites, Store, StoreUrl};
use sqlx::{Connection, QueryBuilder, Sqlite, SqliteConnection, sqlite::SqliteConnectOptions};

/// What is configured, with the values of secrets and credentials, what is set aside, and how much of it is in the log.
#[derive(Debug, PartialEq)]
pub(super) struct State {
    /// Lines, in order.
    pub(super) content: Vec<String>,
    /// Entries but those of the key, of which a rotation that was stopped and begun again leaves more.
    entries: i64,
}

impl State {
    /// Opens a database as it was left, and finds that it is sound.
    pub(super) async fn of(home: &Path) -> Self {
        let options = SqliteConnectOptions::new().filename(super::database(home));
        let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
        let sound: String =
            sqlx::query_scalar("PRAGMA integrity_check").fetch_one(&mut connection).await.unwrap();
        assert_eq!(sound, "ok");
        let orphans = sqlx::query("PRAGMA foreign_key_check").fetch_all(&mut connection).await.unwrap();
        assert!(orphans.is_empty());
        let mut content: Vec<String> = sqlx::query_scalar(
            "SELECT type || ' ' || name FROM sqlite_schema WHERE name NOT LIKE 'sqlite%' ORDER BY 1",
        )
        .fetch_all(&mut connection)
        .await
        .unwrap();
        let tables: Vec<String> =
            content.iter().filter_map(|line| line.strip_prefix("table ")).map(str::to_owned).collect();
        let is_ours = tables.iter().any(|table| table == "audit_log");
        for table in tables.iter().filter(|table| !is_ours || table.starts_with("legacy_")) {
            content.extend(rows(&mut connection, table).await);
        }
        let mut entries = 0;
        if is_ours {
            let rows: Vec<String> = sqlx::query_scalar(OURS).fetch_all(&mut connection).await.unwrap();
            content.extend(rows);
            let count = "SELECT count(*) FROM audit_log WHERE operation NOT LIKE 'key.%'";
            entries = sqlx::query_scalar(count).fetch_one(&mut connection).await.unwrap();
            content.extend(sealed(home, &mut connection).await);
        }
        connection.close().await.unwrap();
        Self { content, entries }
    }
}

/// A key's id is random, and how many there are is a matter of how far a rotation came.
const OURS: &str = "
    SELECT trn || ' ' || config_json FROM connections UNION ALL
    SELECT trn || ' ' || connection_trn || ' ' || config_json || mcp_enabled || coalesce(mcp_overrides_json, '')
        FROM actions UNION ALL
    SELECT 'connector ' || name || version || digest || manifest || grants || hex(bytes) FROM connectors UNION ALL
    SELECT kind || ' ' || connector || '/' || name || ' ' || source FROM synced UNION ALL
    SELECT kind || ' ' || connector || '/' || name || ' ' || version FROM retired_versions UNION ALL
    SELECT 'setting ' || key || iif(key IN ('config_generation', 'audit_since'), ' ' || value, '') FROM settings
        WHERE key NOT GLOB 'master_key_id.*' ORDER BY 1";

/// Every row of a table, every column of it.
async fn rows(connection: &mut SqliteConnection, table: &str) -> Vec<String> {
    let columns: Vec<String> = sqlx::query_scalar("SELECT name FROM pragma_table_info(?)")
        .bind(table)
        .fetch_all(&mut *connection)
        .await
        .unwrap();
    let columns: Vec<String> = columns.iter().map(|column| format!("quote(\"{column}\")")).collect();
    let sql = format!("SELECT '{table} ' || {} FROM \"{table}\" ORDER BY 1", columns.join(" || ',' || "));
    QueryBuilder::<Sqlite>::new(sql).build_query_scalar().fetch_all(connection).await.unwrap()
}

pub(super) async fn open(home: &Path) -> Store {
    let (url, key) = (StoreUrl::file(super::database(home)), KeySource::File(home.join("config/master.key")));
    Store::open(&url, key, RunWrites::BeforeAnswer).await.unwrap()
}

/// Every secret and credential with its value and history, after the log was verified.
async fn sealed(home: &Path, connection: &mut SqliteConnection) -> Vec<String> {
    let store = open(home).await;
    let report = store.verify_audit().await.unwrap();
    assert!(report.error().is_none(), "{report:?}");
    let mut all = Vec::new();
    let names: Vec<String> = sqlx::query_scalar("SELECT name FROM secrets ORDER BY name")
        .fetch_all(&mut *connection)
        .await
        .unwrap();
    for name in names {
        let value = store.open_secret(&openact::Tenant::default(), &name).await.unwrap().unwrap();
        all.push(format!("{name} = {}", value.expose_secret()));
    }
    let sql = "SELECT trn FROM auth_connections UNION SELECT trn FROM auth_connection_history ORDER BY 1";
    let trns: Vec<String> = sqlx::query_scalar(sql).fetch_all(connection).await.unwrap();
    for trn in trns {
        let trn: AuthTrn = trn.parse().unwrap();
        if let Some(record) = store.get_auth_connection(&trn).await.unwrap() {
            let refresh = record.refresh_token.as_ref().map(|token| token.expose_secret());
            let token = record.access_token.expose_secret();
            all.push(format!("credential {trn}: {token} {refresh:?} {}", record.version));
        }
        for change in store.auth_connection_history(&trn).await.unwrap() {
            let side = |text: &Option<openact_core::secret::SecretString>| {
                text.as_ref().map(|text| text.expose_secret().to_owned())
            };
            let (old, new) = (side(&change.old), side(&change.new));
            all.push(format!("history {trn}: {} {old:?} {new:?} {:?}", change.operation, change.reason));
        }
    }
    store.close().await.unwrap();
    all
}
