//! What a store promises, on any database. `records` is what it keeps, `secrets` and `rotation` how, `files` which databases it
//! accepts, `audit` who changed it, `backup` copies of it, `connectors` and `runs` the rest.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests, which clippy.toml does not see as tests"
)]

use openact_core::{
    ActionTrn, ConnectionTrn, JsonObject, Timestamp,
    action::ActionRecord,
    connection::ConnectionRecord,
    manifest::ComponentDigest,
    run::{Door, HostCall, RunId, RunRecord, Usage},
};
use openact_store::{KeySource, MasterKey, RunWrites, Store, StoreUrl};
use sqlx::{Connection, SqliteConnection};

#[path = "contract/audit.rs"]
mod audit;
#[path = "contract/backup.rs"]
mod backup;
#[path = "contract/connectors.rs"]
mod connectors;
#[path = "contract/files.rs"]
mod files;
#[path = "contract/records.rs"]
mod records;
#[path = "contract/rotation.rs"]
mod rotation;
#[path = "contract/runs.rs"]
mod runs;
#[path = "contract/secrets.rs"]
mod secrets;
#[path = "contract/state.rs"]
mod state;

/// A database in a folder that goes away with it.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("openact.db")
    }

    async fn open(&self) -> Store {
        self.open_with(key(1), RunWrites::Grouped).await
    }

    async fn open_with(&self, key: KeySource, writes: RunWrites) -> Store {
        Store::open(&StoreUrl::file(self.path()), key, writes).await.unwrap()
    }

    /// Past the store, as somebody with an SQLite shell.
    async fn sql(&self, statement: &str) -> sqlx::Result<u64> {
        let mut connection =
            SqliteConnection::connect(&format!("sqlite://{}", self.path().display())).await?;
        let done = sqlx::raw_sql(sqlx::AssertSqlSafe(statement))
            .execute(&mut connection)
            .await
            .map(|done| done.rows_affected());
        connection.close().await?;
        done
    }
}

async fn memory() -> Store {
    Store::open(&StoreUrl::memory(), key(1), RunWrites::Grouped).await.unwrap()
}

fn key(byte: u8) -> KeySource {
    KeySource::Keys(vec![master_key(byte)])
}

fn master_key(byte: u8) -> MasterKey {
    use base64::{Engine, prelude::BASE64_STANDARD};
    MasterKey::from_base64(&BASE64_STANDARD.encode([byte; 32])).unwrap()
}

fn connection_trn(text: &str) -> ConnectionTrn {
    format!("trn:openact:{text}").parse().unwrap()
}

fn action_trn(text: &str) -> ActionTrn {
    format!("trn:openact:{text}").parse().unwrap()
}

fn object(value: serde_json::Value) -> JsonObject {
    value.as_object().unwrap().clone()
}

/// `default:connection/http/github@v1`
fn connection(text: &str) -> ConnectionRecord {
    let now = Timestamp::now();
    ConnectionRecord {
        trn: connection_trn(text),
        config: object(serde_json::json!({"z": 1, "base_url": "https://api.example.com", "a": null})),
        created_at: now,
        updated_at: now,
    }
}

/// `default:action/http/get@v1` over `default:connection/http/github@v1`
fn action(text: &str, over: &str) -> ActionRecord {
    let now = Timestamp::now();
    ActionRecord {
        trn: action_trn(text),
        connection: connection_trn(over),
        config: object(serde_json::json!({"method": "GET", "path": "/user"})),
        mcp_enabled: true,
        mcp_overrides: Some(serde_json::json!({"tool_name": "t"})),
        created_at: now,
        updated_at: now,
    }
}

fn run(action: &str) -> RunRecord {
    RunRecord {
        id: RunId(uuid::Uuid::now_v7()),
        action: action_trn(action),
        connection: connection_trn("default:connection/http/c@v1"),
        connector_digest: ComponentDigest([7; 32]),
        door: Door::Embedded,
        dry_run: true,
        trace_id: Some("0af7651916cd43dd8448eb211c80319c".parse().unwrap()),
        started_at: Timestamp::now(),
        duration_us: 1234,
        failure: Some((openact_core::ErrorCode::EgressDenied, "a \"quoted\" message\n".into())),
        host_calls: vec![HostCall {
            function: "http.send".into(),
            target: "GET https://api.example.com/user".into(),
            outcome: "denied".into(),
            duration_us: 5,
        }],
        usage: Usage {
            memory_bytes: 1,
            cpu_ms: 2,
            host_calls: 3,
            items: 5,
            host_calls_unrecorded: 4,
            request_bytes: 4,
            response_bytes: 5,
            output_bytes: 6,
            log_lines_dropped: 7,
        },
    }
}
