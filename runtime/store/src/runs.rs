//! The table `runs`, written off the call's path.
//!
//! ```text
//! record_run ─► queue (RUN_QUEUE_MAX; full: the caller waits) ─► one task: up to RUN_GROUP_MAX in one transaction
//! ```
//!
//! Invariant: a record that [`Store::record_run`] or [`Store::queue_run`] took is written. A locked database or a full disk delays it, and the
//! queue then holds the callers back; only [`Store::close`] gives up, after a few attempts, and says how many it lost.

use std::{
    sync::{
        Arc, LazyLock, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use openact_core::{
    ActionTrn, ConnectorName, Error, Result, Tenant,
    limits::{RUN_GROUP_MAX, RUN_GROUP_WAIT, RUN_QUEUE_MAX},
    manifest::ComponentDigest,
    run::{RunId, RunRecord, Usage},
    trace::TraceId,
};
use serde::{Deserialize, Serialize};
use sqlx::{Arguments as _, FromRow, QueryBuilder, Sqlite, SqlitePool, sqlite::SqliteArguments};
use tokio::sync::{Notify, mpsc, oneshot, watch};

use crate::{
    Inner, Store, failure,
    rows::{Row, damaged, json_text, time_text},
};

/// When a run record is in the database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RunWrites {
    /// Soon: records are written in groups, and at the latest by [`Store::close`].
    #[default]
    Grouped,
    /// Before the caller is answered.
    BeforeAnswer,
}

/// Which runs of a tenant; what is absent does not narrow.
#[derive(Clone, Debug, Default)]
pub struct RunFilter {
    /// Of this action version.
    pub action: Option<ActionTrn>,
    /// Of this connector's actions.
    pub connector: Option<ConnectorName>,
    /// Only those that failed.
    pub failed_only: bool,
}

/// Pause after a group could not be written, before it is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(250);

/// Attempts to write the last group when the store is being closed.
const CLOSING_ATTEMPTS: u32 = 3;

impl Store {
    /// Takes the record of a run. When it returns, the record is in the database or, with [`RunWrites::Grouped`], in
    /// the queue. Recording a run twice is the same as once.
    pub async fn record_run(&self, record: impl Into<Arc<RunRecord>>) -> Result<()> {
        let record = record.into();
        let RunSink { writes, queue, failures, .. } = &self.0.runs;
        match writes {
            RunWrites::BeforeAnswer => insert(&self.0.writer, &[record], Some(self)).await.map_err(|error| {
                failures.fetch_add(1, Ordering::Relaxed);
                failure::explain(&self.0.place, RECORD, error)
            }),
            RunWrites::Grouped => queue
                .send(Message::Record(record))
                .await
                .map_err(|_| Error::store_unavailable("failed to record a run: the store is closed")),
        }
    }

    /// The same for who cannot wait and has nobody to answer: the record is in the queue, with either of [`RunWrites`]. Fails
    /// if that is full.
    pub fn queue_run(&self, record: impl Into<Arc<RunRecord>>) -> Result<()> {
        self.0.runs.queue.try_send(Message::Record(record.into())).map_err(|error| {
            let why = match error {
                mpsc::error::TrySendError::Full(_) => "as many as may wait to be written are waiting",
                mpsc::error::TrySendError::Closed(_) => "the store is closed",
            };
            Error::store_unavailable(format!("failed to record a run: {why}"))
        })
    }

    /// Returns when every record taken so far is in the database.
    pub async fn flush_runs(&self) -> Result<()> {
        self.0.runs.ask(Message::Flush).await
    }

    /// Records that are taken and not written yet, and how often writing failed since the store was opened.
    pub fn run_writes(&self) -> (usize, u64) {
        let RunSink { queue, failures, .. } = &self.0.runs;
        (queue.max_capacity() - queue.capacity(), failures.load(Ordering::Relaxed))
    }

    /// The latest runs of `tenant` that `filter` lets through, newest first. With [`RunWrites::Grouped`] the very
    /// latest may not be there yet.
    pub async fn list_runs(&self, tenant: &Tenant, limit: u32, filter: &RunFilter) -> Result<Vec<RunRecord>> {
        let mut query = QueryBuilder::<Sqlite>::new(COLUMNS);
        query.push(" WHERE tenant = ").push_bind(tenant.to_string());
        if let Some(action) = &filter.action {
            query.push(" AND action_trn = ").push_bind(action.to_string());
        }
        if let Some(connector) = &filter.connector {
            // Neither a tenant nor a connector holds a character that LIKE would read as a pattern.
            query
                .push(" AND action_trn LIKE ")
                .push_bind(format!("trn:openact:{tenant}:action/{connector}/%"));
        }
        if filter.failed_only {
            query.push(" AND status = 'failed'");
        }
        query.push(" ORDER BY id DESC LIMIT ").push_bind(limit);
        let rows: Vec<RunRow> =
            query.build_query_as().fetch_all(&self.0.readers).await.map_err(self.failed("read runs"))?;
        rows.into_iter().map(RunRow::record).collect()
    }

    /// The run of that id, if it is one of `tenant`'s.
    pub async fn get_run(&self, tenant: &Tenant, id: RunId) -> Result<Option<RunRecord>> {
        let mut query = QueryBuilder::<Sqlite>::new(COLUMNS);
        query
            .push(" WHERE id = ")
            .push_bind(id.to_string())
            .push(" AND tenant = ")
            .push_bind(tenant.to_string());
        let row: Option<RunRow> = query
            .build_query_as()
            .fetch_optional(&self.0.readers)
            .await
            .map_err(self.failed("read a run"))?;
        row.map(RunRow::record).transpose()
    }
}

/// Where records go.
pub(crate) struct RunSink {
    writes: RunWrites,
    queue: mpsc::Sender<Message>,
    closing: watch::Sender<bool>,
    hurry: Arc<Notify>,
    failures: Arc<AtomicU64>,
}

pub(crate) enum Message {
    Record(Arc<RunRecord>),
    Flush(oneshot::Sender<Result<()>>),
    Close(oneshot::Sender<Result<()>>),
}

impl RunSink {
    pub(crate) fn start(writes: RunWrites, place: &str, writer: &SqlitePool, store: Weak<Inner>) -> Self {
        let (queue, inbox) = mpsc::channel(RUN_QUEUE_MAX);
        let (closing, is_closing) = watch::channel(false);
        let hurry = Arc::new(Notify::new());
        let failures = Arc::new(AtomicU64::new(0));
        let writer = GroupWriter {
            place: place.to_owned(),
            pool: writer.clone(),
            store,
            inbox,
            is_closing,
            hurry: hurry.clone(),
            failures: failures.clone(),
            group: Vec::new(),
        };
        tokio::spawn(writer.run());
        Self { writes, queue, closing, hurry, failures }
    }

    /// Writes what was taken; takes nothing more. A second call does nothing.
    pub(crate) async fn close(&self) -> Result<()> {
        if self.queue.is_closed() {
            return Ok(());
        }
        self.closing.send_replace(true);
        self.ask(Message::Close).await
    }

    async fn ask(&self, message: impl FnOnce(oneshot::Sender<Result<()>>) -> Message) -> Result<()> {
        let gone = || Error::store_unavailable("failed to write runs: the store is closed");
        let (reply, answer) = oneshot::channel();
        self.queue.send(message(reply)).await.map_err(|_| gone())?;
        self.hurry.notify_one();
        answer.await.map_err(|_| gone())?
    }
}

/// The one task that writes groups. It ends when the store is closed or every clone of it is dropped, and writes what
/// is in the queue first.
struct GroupWriter {
    place: String,
    pool: SqlitePool,
    /// For the audit log. Gone once nobody has the store.
    store: Weak<Inner>,
    inbox: mpsc::Receiver<Message>,
    is_closing: watch::Receiver<bool>,
    /// Somebody waits for what is in the queue.
    hurry: Arc<Notify>,
    failures: Arc<AtomicU64>,
    group: Vec<Arc<RunRecord>>,
}

impl GroupWriter {
    async fn run(mut self) {
        let mut messages = Vec::with_capacity(RUN_GROUP_MAX);
        let mut waiting = Vec::new();
        let mut result = Ok(());
        while self.next_group(&mut messages).await {
            for message in messages.drain(..) {
                match message {
                    Message::Record(record) => self.group.push(record),
                    Message::Flush(reply) => {
                        // Whoever asked may have gone; the records are written all the same.
                        let _ = reply.send(
                            self.write().await.map_err(|error| failure::explain(&self.place, RECORD, error)),
                        );
                    }
                    Message::Close(reply) => {
                        self.inbox.close();
                        waiting.push(reply);
                    }
                }
            }
            result = result.and(self.write_at_last().await);
        }
        for reply in waiting {
            let _ = reply.send(std::mem::replace(&mut result, Ok(())));
        }
    }

    /// Waits for a message, and then a little for others to share its transaction, unless somebody is waiting for this
    /// one. False when there will be no more.
    async fn next_group(&mut self, messages: &mut Vec<Message>) -> bool {
        let Some(first) = self.inbox.recv().await else { return false };
        messages.push(first);
        if self.inbox.len() < RUN_GROUP_MAX {
            tokio::select! {
                () = tokio::time::sleep(RUN_GROUP_WAIT) => {}
                () = self.hurry.notified() => {}
            }
        }
        while messages.len() < RUN_GROUP_MAX
            && let Ok(message) = self.inbox.try_recv()
        {
            messages.push(message);
        }
        true
    }

    /// Tries until the group is written. Gives up only when the store is being closed.
    async fn write_at_last(&mut self) -> Result<()> {
        let mut attempts_closing = 0;
        while let Err(error) = self.write().await {
            // A sender that is gone means that every clone of the store is: nobody will call close.
            let is_closing = *self.is_closing.borrow() || self.is_closing.has_changed().is_err();
            attempts_closing += u32::from(is_closing);
            self.failures.fetch_add(1, Ordering::Relaxed);
            let lost = self.group.len();
            let error = failure::explain(&self.place, RECORD, error);
            tracing::warn!(?error, records = lost, "run records could not be written yet");
            if attempts_closing >= CLOSING_ATTEMPTS {
                self.group.clear();
                return Err(error.context(format!("{lost} run records are lost")));
            }
            let mut is_closing_watch = self.is_closing.clone();
            tokio::select! {
                () = tokio::time::sleep(RETRY_PAUSE) => {}
                _ = is_closing_watch.wait_for(|closing| *closing), if !is_closing => {}
            }
        }
        Ok(())
    }

    async fn write(&mut self) -> Result<(), sqlx::Error> {
        if !self.group.is_empty() {
            let store = self.store.upgrade().map(|inner| Store(inner, Arc::default()));
            insert(&self.pool, &self.group, store.as_ref()).await?;
            self.group.clear();
        }
        Ok(())
    }
}

/// What failed, for an error.
const RECORD: &str = "record a run";

const OK: &str = "ok";
const FAILED: &str = "failed";

/// How many rows, and the statement that inserts them, the largest first. A round trip to SQLite's thread costs more than
/// a row, and with few sizes every statement is written and prepared once.
static INSERTS: LazyLock<[(usize, String); 4]> = LazyLock::new(|| {
    [64, 16, 4, 1].map(|rows| {
        let row = "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
        let statement = format!(
            "INSERT INTO runs (id, tenant, action_trn, connection_trn, connector_digest, door, dry_run, started_at,
                 duration_us, status, error_code, error_message, host_calls_json, usage_json)
             VALUES {row}{} ON CONFLICT (tenant, id) DO NOTHING",
            format!(", {row}").repeat(rows - 1)
        );
        (rows, statement)
    })
});

/// Inserts all of `records` or none. An id that is there already is the same record, tried again after a commit whose
/// answer got lost.
async fn insert(
    writer: &SqlitePool,
    records: &[Arc<RunRecord>],
    store: Option<&Store>,
) -> Result<(), sqlx::Error> {
    let mut tx = writer.begin_with("BEGIN IMMEDIATE").await?;
    let mut rest = records;
    for (rows, statement) in INSERTS.iter() {
        while let Some((chunk, after)) = rest.split_at_checked(*rows) {
            let values = values(chunk)?;
            sqlx::query_with(statement.as_str(), values).execute(&mut *tx).await?;
            rest = after;
        }
    }
    if let Some(store) = store {
        store.audit_run_ends(&mut tx, records).await;
    }
    tx.commit().await
}

/// What a record shares with most of those around it, as text.
struct Identity<'a> {
    of: &'a RunRecord,
    texts: [Arc<str>; 4],
}

impl<'a> Identity<'a> {
    fn new(of: &'a RunRecord) -> Self {
        let RunRecord { action, connection, connector_digest, .. } = of;
        let texts = [
            action.tenant.to_string(),
            action.to_string(),
            connection.to_string(),
            connector_digest.to_string(),
        ];
        Self { of, texts: texts.map(Arc::from) }
    }

    fn is_of(&self, record: &RunRecord) -> bool {
        self.of.action == record.action
            && self.of.connection == record.connection
            && self.of.connector_digest == record.connector_digest
    }
}

fn values(records: &[Arc<RunRecord>]) -> Result<SqliteArguments, sqlx::Error> {
    let mut values = SqliteArguments::default();
    let mut identity: Option<Identity<'_>> = None;
    for record in records {
        let known = identity.take().filter(|identity| identity.is_of(record));
        let Identity { texts: [tenant, action, connection, digest], .. } =
            identity.insert(known.unwrap_or_else(|| Identity::new(record)));
        let failure = record.failure.as_ref();
        let add = |values: &mut SqliteArguments| {
            values.add(record.id.to_string())?;
            values.add(tenant.clone())?;
            values.add(action.clone())?;
            values.add(connection.clone())?;
            values.add(digest.clone())?;
            values.add(record.door.as_str())?;
            values.add(record.dry_run)?;
            values.add(time_text(record.started_at))?;
            values.add(i64::try_from(record.duration_us).unwrap_or(i64::MAX))?;
            values.add(if failure.is_none() { OK } else { FAILED })?;
            values.add(failure.map(|(code, _)| code.as_str()))?;
            values.add(failure.map(|(_, message)| message.as_str()))?;
            values.add(json_text(&record.host_calls)?)?;
            values.add(json_text(&UsageJson::of(record))?)
        };
        add(&mut values).map_err(sqlx::Error::Encode)?;
    }
    Ok(values)
}

/// What is kept beside a call's usage: a run has a trace now and then, and a column in an existing table it cannot have
/// (`schema`).
#[derive(Serialize, Deserialize)]
struct UsageJson<U> {
    #[serde(flatten)]
    usage: U,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    trace_id: Option<TraceId>,
}

impl<'a> UsageJson<&'a Usage> {
    fn of(record: &'a RunRecord) -> Self {
        Self { usage: &record.usage, trace_id: record.trace_id }
    }
}

const COLUMNS: &str =
    "SELECT id, action_trn, connection_trn, connector_digest, door, dry_run, started_at, duration_us,
    status, error_code, error_message, host_calls_json, usage_json FROM runs";

#[derive(FromRow)]
struct RunRow {
    id: String,
    action_trn: String,
    connection_trn: String,
    connector_digest: String,
    door: String,
    dry_run: bool,
    started_at: String,
    duration_us: i64,
    status: String,
    error_code: Option<String>,
    error_message: Option<String>,
    host_calls_json: String,
    usage_json: String,
}

impl RunRow {
    fn record(self) -> Result<RunRecord> {
        let row = Row { table: "runs", key: &self.id };
        let failure = match (&*self.status, &self.error_code) {
            (OK, None) => None,
            (FAILED, Some(code)) => {
                let code = code.parse().map_err(|()| row.damaged("error_code", "not a code"))?;
                Some((code, self.error_message.unwrap_or_default()))
            }
            _ => return Err(damaged("runs", &self.id, "status", "it does not fit error_code")),
        };
        let digest: ComponentDigest = row.parse("connector_digest", &self.connector_digest)?;
        let used: UsageJson<Usage> = row.json("usage_json", &self.usage_json)?;
        Ok(RunRecord {
            id: row.parse("id", &self.id)?,
            action: row.parse("action_trn", &self.action_trn)?,
            connection: row.parse("connection_trn", &self.connection_trn)?,
            connector_digest: digest,
            door: serde_json::from_value(self.door.into()).map_err(|error| row.damaged("door", error))?,
            dry_run: self.dry_run,
            trace_id: used.trace_id,
            started_at: row.parse("started_at", &self.started_at)?,
            duration_us: row.unsigned("duration_us", self.duration_us)?,
            failure,
            host_calls: row.json("host_calls_json", &self.host_calls_json)?,
            usage: used.usage,
        })
    }
}

#[cfg(test)]
mod tests {
    use sqlx::{Connection, SqliteConnection};

    use openact_core::{ErrorCode, run::Door};

    use super::*;
    use crate::{KeySource, MasterKey, StoreUrl, open::Pools};

    /// A store that does not wait for locks, and somebody who holds the lock of its file.
    async fn locked(folder: &tempfile::TempDir) -> (Store, SqliteConnection) {
        let path = folder.path().join("t.db");
        let pools = Pools::open(&StoreUrl::file(&path), Duration::ZERO).await.unwrap();
        let store = Store::assemble(
            pools,
            KeySource::Keys(vec![MasterKey::ephemeral().unwrap()]),
            RunWrites::Grouped,
        );
        let mut holder = SqliteConnection::connect(&format!("sqlite://{}", path.display())).await.unwrap();
        sqlx::query("BEGIN IMMEDIATE").execute(&mut holder).await.unwrap();
        (store, holder)
    }

    fn record() -> RunRecord {
        RunRecord {
            id: RunId(uuid::Uuid::now_v7()),
            action: "trn:openact:default:action/http/a@v1".parse().unwrap(),
            connection: "trn:openact:default:connection/http/c@v1".parse().unwrap(),
            connector_digest: ComponentDigest([1; 32]),
            door: Door::Cli,
            dry_run: false,
            trace_id: None,
            started_at: openact_core::Timestamp::UNIX_EPOCH,
            duration_us: 1,
            failure: None,
            host_calls: Vec::new(),
            usage: Usage::default(),
        }
    }

    #[tokio::test]
    async fn a2_a_locked_database_delays_a_record_and_loses_none() {
        let folder = tempfile::tempdir().unwrap();
        let (store, mut holder) = locked(&folder).await;
        let record = record();
        let id = record.id;
        store.record_run(record).await.unwrap();
        let error = store.flush_runs().await.unwrap_err();
        assert!(error.code == ErrorCode::StoreUnavailable && error.retryable(), "{error:?}");
        assert!(
            error.message.contains("locked by another process") && error.message.contains("t.db"),
            "{error:?}"
        );
        sqlx::query("COMMIT").execute(&mut holder).await.unwrap();
        store.flush_runs().await.unwrap();
        assert!(store.get_run(&Tenant::default(), id).await.unwrap().is_some());
        assert_eq!(store.run_writes().0, 0);
        store.close().await.unwrap();
    }

    #[tokio::test]
    async fn a2_closing_gives_up_at_last_and_says_what_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let (store, _holder) = locked(&folder).await;
        for _ in 0..3 {
            store.record_run(record()).await.unwrap();
        }
        let error = store.close().await.unwrap_err();
        assert!(error.message.starts_with("3 run records are lost"), "{error:?}");
        assert!(store.run_writes().1 >= 3, "{:?}", store.run_writes());
        assert_eq!(store.record_run(record()).await.unwrap_err().code, ErrorCode::StoreUnavailable);
    }
}
