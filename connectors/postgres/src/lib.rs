//! The `postgres` connector: SQL statements to a PostgreSQL server.
//!
//! | module | job |
//! |---|---|
//! | [`config`] | the fields of a connection and of actions |
//! | [`wire`] | the protocol's messages |
//! | `login` | TLS and who asks |
//! | [`session`] | a session, its reset, its prepared statements |
//! | [`query`] | one statement, or several in a transaction |
//! | [`kind`], [`to_json`], [`to_text`] | values both ways |
//! | [`statements`] | what is kept of prepared statements between calls |
//! | [`failure`] | the server's errors and notices |
//!
//! Names, TLS, certificates, passwords and where a stream may lead are the host's. Invariant: a caller's value is never
//! part of a statement.

pub mod config;
pub mod failure;
pub mod kind;
mod login;
pub mod query;
pub mod session;
pub mod statements;
pub mod to_json;
pub mod to_text;
pub mod wire;

use std::cell::{Cell, RefCell};

use openact_connector::{
    Call, Capability, Connector, Effect, Failure, Host, Input, Json, Manifest, Operation, Stream, TlsMode,
    args::Args,
    pool::{Pool, Work},
    rows::Rows,
};
use serde_json::json;

use crate::{
    config::{Answer, Connection, Execute, ExecuteInput, ListTables, ListTablesInput, Query, Transaction},
    query::Job,
    session::{CancelKey, Session},
};

/// The connector.
pub struct Postgres;

impl Connector for Postgres {
    type Connection = Connection;

    fn manifest() -> Manifest<Connection> {
        Manifest::new("postgres", env!("CARGO_PKG_VERSION"), "PostgreSQL databases")
            .needs(&[Capability::Sockets, Capability::Emit])
            .operation(Operation::new("query", "run one SQL statement", query))
            .operation(Operation::new(
                "transaction",
                "run several SQL statements that take effect together or not at all",
                transaction,
            ))
            .operation(
                Operation::new("execute", "run one SQL statement of the caller's own", execute)
                    .effect(Effect::Destructive),
            )
            .operation(
                Operation::new("list-tables", "list tables and views with their columns", list_tables)
                    .effect(Effect::Read)
                    .idempotent(),
            )
    }

    /// Logs in and asks the server who it takes us for.
    fn check(connection: Connection, host: &dyn Host) -> Result<Json, Failure> {
        const WHO: &str = "SELECT current_user, current_database(), current_setting('server_version'), \
            pg_catalog.pg_is_in_recovery(), (SELECT ssl FROM pg_catalog.pg_stat_ssl WHERE pid \
            OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid())";
        let answer = Answer { max_rows: Some(1), max_bytes: None, stream: false, fetch_rows: 1 };
        let args = Args::Positional(Vec::new());
        let job = Job { text: WHO, parameters: &[], args: &args, read_only: true, kept: false, answer };
        let json = one(&connection, &job, host)?;
        let result: serde_json::Value =
            json.parse().map_err(|_| wire::unexpected("an answer that is not one"))?;
        let row = |name: &str| result.pointer(&format!("/rows/0/{name}")).cloned().unwrap_or_default();
        Ok(json!({
            "user": row("current_user"), "database": row("current_database"),
            "server_version": row("current_setting"), "standby": row("pg_is_in_recovery"), "tls": row("ssl"),
            "host": connection.host, "port": connection.port,
        })
        .into())
    }
}

fn query(call: Call<Connection, Query, Input>, host: &dyn Host) -> Result<Json, Failure> {
    let Call { connection, action, input: Input(input), dry_run, .. } = call;
    let args = Args::of(&input, &action.parameters)?;
    let job = Job {
        text: checked(&action.statement)?,
        parameters: &action.parameters,
        args: &args,
        read_only: action.read_only,
        kept: true,
        answer: action.answer(),
    };
    if dry_run {
        return described(&[&job]);
    }
    one(&connection, &job, host)
}

fn execute(call: Call<Connection, Execute, ExecuteInput>, host: &dyn Host) -> Result<Json, Failure> {
    let Call { connection, action, input, dry_run, .. } = call;
    let list = Json::of(&input.args)?;
    let args = Args::of(&list, &[])?;
    let job = Job {
        text: checked(&input.statement).map_err(callers)?,
        parameters: &[],
        args: &args,
        read_only: action.read_only,
        // It may prepare or drop statements, also those of others.
        kept: false,
        answer: action.answer(),
    };
    if dry_run {
        return described(&[&job]);
    }
    one(&connection, &job, host)
}

fn transaction(call: Call<Connection, Transaction, Input>, host: &dyn Host) -> Result<Json, Failure> {
    let Call { connection, action, input: Input(input), dry_run, .. } = call;
    let answer = action.answer();
    let mut args = Vec::with_capacity(action.statements.len());
    let parameters = |at: usize| match action.statements.get(at) {
        Some(statement) if !statement.0.parameters.is_empty() => statement.0.parameters.as_slice(),
        _ => action.parameters.as_slice(),
    };
    for at in 0..action.statements.len() {
        args.push(Args::of(&input, parameters(at))?);
    }
    let mut jobs = Vec::with_capacity(args.len());
    for (at, (statement, args)) in action.statements.iter().zip(&args).enumerate() {
        let text = checked(&statement.0.statement)?;
        let parameters = parameters(at);
        jobs.push(Job { text, parameters, args, read_only: action.read_only, kept: true, answer });
    }
    if dry_run {
        return described(&jobs.iter().collect::<Vec<_>>());
    }
    let level = action.isolation.map(|level| format!(" ISOLATION LEVEL {}", level.sql())).unwrap_or_default();
    let new_rows = || Rows::new(host, false, answer.limits());
    let results = in_session(&connection, action.read_only, host, |session| {
        query::run_all(session, &level, &jobs, new_rows)
    })?;
    let results: Vec<Json> =
        results.into_iter().map(|(rows, done)| rows.finish(done.rows_affected)).collect();
    let texts: Vec<&str> = results.iter().map(Json::as_str).collect();
    Ok(Json::from_text(format!("{{\"results\":[{}]}}", texts.join(","))))
}

fn list_tables(
    call: Call<Connection, ListTables, ListTablesInput>,
    host: &dyn Host,
) -> Result<Json, Failure> {
    const TABLES: &str = include_str!("tables.sql");
    let schema = Json::of(&[call.input.schema.or(call.action.schema)])?;
    let args = Args::of(&schema, &[])?;
    let answer = Answer { max_rows: None, max_bytes: None, stream: false, fetch_rows: 1 };
    let job = Job { text: TABLES, parameters: &[], args: &args, read_only: true, kept: true, answer };
    if call.dry_run {
        return described(&[&job]);
    }
    one(&call.connection, &job, host)
}

/// One statement by itself.
fn one(connection: &Connection, job: &Job<'_>, host: &dyn Host) -> Result<Json, Failure> {
    let (rows, done) = in_session(connection, job.read_only, host, |session| {
        let mut rows = Rows::new(host, job.answer.stream, job.answer.limits());
        if !job.kept {
            session.taint();
        }
        query::run(session, job, &mut rows).map(|done| (rows, done))
    })?;
    Ok(rows.finish(done.rows_affected))
}

/// Does `work` in a session, a parked one if there is one. A statement that takes too long is cancelled at the server.
fn in_session<T>(
    connection: &Connection,
    read_only: bool,
    host: &dyn Host,
    mut work: impl FnMut(&mut Session<'_>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let parameters = connection.startup(read_only)?;
    let unready = Cell::new(false);
    // Whether the server may still be at it. An answer that says that it stopped by itself is one.
    let busy = Cell::new(false);
    let mut work = |session: &mut Session<'_>| {
        let result = work(session);
        busy.set(session.status == session::Status::Busy);
        result
    };
    let key = RefCell::new(CancelKey::default());
    // Those for reading begin with other parameters, so that they never stand in for the others.
    let session = if read_only { "read" } else { "write" };
    let mut pool = Pool { endpoint: connection.endpoint(), tls: TlsMode::Plain, session: session.into() };
    let kind = if read_only { Work::Reads } else { Work::Writes };
    let mut connect = |stream: Stream, state: Option<Vec<u8>>| {
        let session = match state {
            Some(state) => Session::resume(stream, &state, host, &unready)?,
            None => {
                let mut session = Session::new(stream, host, &unready);
                login::log_in(&mut session, connection.tls, &parameters)?;
                session
            }
        };
        key.replace(session.key.clone());
        Ok(session)
    };
    let mut result = pool.run(host, kind, &mut connect, &mut work);
    if result.is_err() && unready.take() {
        // Nothing was done, so it can be done elsewhere. Under this name nothing is parked that could be as bad.
        pool.session.push_str(" anew");
        result = pool.run(host, kind, &mut connect, &mut work);
    }
    if let (Err(Failure::Timeout(_)), true) = (&result, busy.get()) {
        cancel(connection, &pool, &key.take(), host);
    }
    result
}

/// Asks the server to stop what it still does for us. Nobody waits for an answer, because there is none.
fn cancel(connection: &Connection, pool: &Pool, key: &CancelKey, host: &dyn Host) {
    if *key == CancelKey::default() {
        return;
    }
    let Ok((socket, _)) = openact_connector::sockets::open_by(host, &pool.endpoint, TlsMode::Plain, None)
    else {
        return;
    };
    let mut stream = Stream::new(socket);
    if login::encrypt(&mut stream, connection.tls).is_ok() {
        wire::cancel_request(stream.write_buf(), key.process, &key.secret);
        let sent = stream.flush_harmless();
        // The server closes when it has read it; the request would be lost with a stream that closes before.
        let _ = sent.and_then(|()| stream.fill());
    }
}

/// What would be sent.
fn described(jobs: &[&Job<'_>]) -> Result<Json, Failure> {
    let statements = jobs.iter().map(|job| {
        let values = job.args.ordered(job.parameters)?;
        let values: Vec<Json> = values.into_iter().map(|value| Json::from_text(value.to_owned())).collect();
        let (statement, read_only) = (Json::of(job.text)?, job.read_only);
        let (values, statement) = (Json::of(&values)?, statement.as_str());
        Ok(format!("{{\"statement\":{statement},\"values\":{},\"read_only\":{read_only}}}", values.as_str()))
    });
    let statements: Vec<String> = statements.collect::<Result<_, Failure>>()?;
    Ok(Json::from_text(format!("{{\"statements\":[{}]}}", statements.join(","))))
}

/// The protocol ends a text with a zero byte.
fn checked(statement: &str) -> Result<&str, Failure> {
    match statement.contains('\0') {
        true => Err(Failure::InvalidConfig("the statement has a zero byte in it".into())),
        false => Ok(statement),
    }
}

fn callers(failure: Failure) -> Failure {
    match failure {
        Failure::InvalidConfig(text) => Failure::InvalidInput(text),
        failure => failure,
    }
}

openact_connector::export!(Postgres);
