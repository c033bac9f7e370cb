//! The `mysql` connector: SQL statements to MySQL, MariaDB, and what else speaks their protocol.
//!
//! | module | job |
//! |---|---|
//! | [`config`] | the fields of a connection and of actions |
//! | [`wire`] | packets, and what is in them |
//! | [`login`] | TLS and who asks |
//! | [`session`] | a session, its prepared statements, how it is set back |
//! | `query` | one statement, or several in a transaction |
//! | [`names`] | `:name` in a statement |
//! | [`mod@column`], [`to_json`], [`to_binary`] | values both ways |
//! | [`statements`] | what is kept of statements between calls |
//! | [`failure`] | the server's errors |
//!
//! Names, TLS, certificates, passwords and where a stream may lead are the host's. Invariant: a caller's value is never
//! part of a statement.

pub mod column;
pub mod config;
pub mod failure;
pub mod login;
pub mod names;
mod query;
pub mod session;
pub mod statements;
pub mod to_binary;
pub mod to_json;
pub mod wire;

use std::cell::Cell;

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
    session::{Session, Setup},
    wire::command,
};

/// The connector.
pub struct Mysql;

impl Connector for Mysql {
    type Connection = Connection;

    fn manifest() -> Manifest<Connection> {
        Manifest::new("mysql", env!("CARGO_PKG_VERSION"), "MySQL and MariaDB databases")
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

    /// Asks the server whether it is there, and who it takes us for.
    fn check(connection: Connection, host: &dyn Host) -> Result<Json, Failure> {
        const WHO: &str =
            "SELECT CURRENT_USER() AS user, DATABASE() AS db, VERSION() AS version, @@read_only AS ro";
        let answer = Answer { max_rows: Some(1), max_bytes: None, stream: false };
        let args = Args::Positional(Vec::new());
        let job = Job { text: WHO, parameters: &[], args: &args, read_only: true, kept: false, answer };
        let (ready, encrypted) = (job.ready()?, Cell::new(false));
        let json = in_session(&connection, true, answer, host, |session| {
            session.ping()?;
            encrypted.set(session.server.encrypted);
            query::run(session, &job, &ready, |first| rows(host, answer, first))
        })?;
        let result: serde_json::Value =
            json.finish().parse().map_err(|_| wire::unexpected("an answer that is not one"))?;
        let row = |name: &str| result.pointer(&format!("/rows/0/{name}")).cloned().unwrap_or_default();
        Ok(json!({
            "user": row("user"), "database": row("db"), "server_version": row("version"),
            "read_only": row("ro") != 0, "tls": encrypted.get(),
            "host": connection.host, "port": connection.port,
        })
        .into())
    }
}

fn query(call: Call<Connection, Query, Input>, host: &dyn Host) -> Result<Json, Failure> {
    let Call { connection, action, input: Input(input), dry_run, .. } = call;
    let args = Args::of(&input, &action.parameters)?;
    let job = Job {
        text: &action.statement,
        parameters: &action.parameters,
        args: &args,
        read_only: action.read_only,
        kept: true,
        answer: action.answer(),
    };
    if dry_run {
        return described(&[&job]);
    }
    one(&connection, &job, "", host)
}

fn execute(call: Call<Connection, Execute, ExecuteInput>, host: &dyn Host) -> Result<Json, Failure> {
    let Call { connection, action, input, dry_run, .. } = call;
    let list = Json::of(&input.args)?;
    let args = Args::of(&list, &[])?;
    let job = Job {
        text: &input.statement,
        parameters: &[],
        args: &args,
        read_only: action.read_only,
        // It will hardly come again.
        kept: false,
        answer: action.answer(),
    };
    if dry_run {
        return described(&[&job]);
    }
    one(&connection, &job, "", host)
}

fn transaction(call: Call<Connection, Transaction, Input>, host: &dyn Host) -> Result<Json, Failure> {
    let Call { connection, action, input: Input(input), dry_run, .. } = call;
    let answer = action.answer();
    let parameters = |at: usize| match action.statements.get(at) {
        Some(statement) if !statement.0.parameters.is_empty() => statement.0.parameters.as_slice(),
        _ => action.parameters.as_slice(),
    };
    let args = (0..action.statements.len()).map(|at| Args::of(&input, parameters(at)));
    let args: Vec<Args<'_>> = args.collect::<Result<_, Failure>>()?;
    let jobs = action.statements.iter().zip(&args).enumerate().map(|(at, (statement, args))| Job {
        text: &statement.0.statement,
        parameters: parameters(at),
        args,
        read_only: action.read_only,
        kept: true,
        answer,
    });
    let jobs: Vec<Job<'_>> = jobs.collect();
    // What is wrong with a value is known before anything is done.
    let described = described(&jobs.iter().collect::<Vec<_>>())?;
    if dry_run {
        return Ok(described);
    }
    let level = action.isolation.map(config::Isolation::sql);
    let results = in_session(&connection, action.read_only, answer, host, |session| {
        query::run_all(session, level, &jobs, |_| rows(host, answer, false))
    })?;
    let results: Vec<Json> = results.into_iter().map(query::Outcome::finish).collect();
    let texts: Vec<&str> = results.iter().map(Json::as_str).collect();
    Ok(Json::from_text(format!("{{\"results\":[{}]}}", texts.join(","))))
}

fn list_tables(
    call: Call<Connection, ListTables, ListTablesInput>,
    host: &dyn Host,
) -> Result<Json, Failure> {
    const TABLES: &str = include_str!("tables.sql");
    // The columns of a table are one text, cut without this.
    const LONG: &str = "SET SESSION group_concat_max_len = 1000000";
    let connection = call.connection;
    let schema = call.input.schema.or(call.action.schema).or_else(|| connection.database.clone());
    let schema = Json::of(&[&schema, &schema])?;
    let args = Args::of(&schema, &[])?;
    let answer = Answer { max_rows: None, max_bytes: None, stream: false };
    let job = Job { text: TABLES, parameters: &[], args: &args, read_only: true, kept: true, answer };
    if call.dry_run {
        return described(&[&job]);
    }
    one(&connection, &job, LONG, host)
}

/// One statement by itself, after `before` if that is not empty.
fn one(connection: &Connection, job: &Job<'_>, before: &str, host: &dyn Host) -> Result<Json, Failure> {
    let ready = job.ready()?;
    let outcome = in_session(connection, job.read_only, job.answer, host, |session| {
        if !before.is_empty() {
            session.before(before)?;
        }
        query::run(session, job, &ready, |first| rows(host, job.answer, first))
    })?;
    Ok(outcome.finish())
}

fn rows(host: &dyn Host, answer: Answer, first: bool) -> Rows<'_> {
    Rows::new(host, answer.stream && first, answer.limits())
}

/// Does `work` in a session, a parked one if there is one. A statement whose answer is not waited for is stopped at the
/// server.
fn in_session<T>(
    connection: &Connection,
    read_only: bool,
    answer: Answer,
    host: &dyn Host,
    work: impl FnMut(&mut Session<'_>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let assignments = connection.checked()?.assignments()?;
    let setup = Setup { connection, assignments, read_only, rows: answer.rows_asked() };
    let running = Cell::new(None);
    // Those for reading are set up otherwise, so that they never stand in for the others.
    let session = if read_only { "read" } else { "write" };
    let pool = Pool { endpoint: connection.endpoint(), tls: TlsMode::Plain, session: session.into() };
    let kind = if read_only { Work::Reads } else { Work::Writes };
    let connect = |stream: Stream, state: Option<Vec<u8>>| {
        running.set(None);
        let mut stream = stream.limited_to(wire::PACKET_BYTES_MAX + 4);
        match state {
            Some(state) => Session::resume(stream, &state, &setup, &running),
            None => {
                let server = login::log_in(&mut stream, connection)?;
                Session::new(stream, server, &setup, &running)
            }
        }
    };
    let result = pool.run(host, kind, connect, work);
    match (&result, running.get()) {
        (Err(Failure::Network(_)), _) | (_, None) => {}
        // Of an answer, too, whose rest nobody wants.
        (_, Some(id)) => kill(connection, &pool, id, host),
    }
    result
}

/// Asks the server to stop the statement that runs in another session of ours.
fn kill(connection: &Connection, pool: &Pool, id: u32, host: &dyn Host) {
    let Ok((socket, _)) = openact_connector::sockets::open_by(host, &pool.endpoint, TlsMode::Plain, None)
    else {
        return;
    };
    let mut stream = Stream::new(socket);
    if login::log_in(&mut stream, connection).is_ok() {
        wire::put_command(stream.write_buf(), command::QUERY, format!("KILL QUERY {id}").as_bytes());
        let sent = stream.flush_harmless();
        // The request would be lost with a stream that closes before the server has read it.
        let _ = sent.and_then(|()| stream.fill());
    }
}

/// What would be sent.
fn described(jobs: &[&Job<'_>]) -> Result<Json, Failure> {
    let statements = jobs.iter().map(|job| {
        let ready = job.ready()?;
        let values = ready.values.iter().map(|(json, ..)| Json::from_text((*json).to_owned()));
        let (values, statement) = (Json::of(&values.collect::<Vec<_>>())?, Json::of(ready.text.as_ref())?);
        let (values, statement, read_only) = (values.as_str(), statement.as_str(), job.read_only);
        Ok(format!("{{\"statement\":{statement},\"values\":{values},\"read_only\":{read_only}}}"))
    });
    let statements: Vec<String> = statements.collect::<Result<_, Failure>>()?;
    Ok(Json::from_text(format!("{{\"dry_run\":true,\"statements\":[{}]}}", statements.join(","))))
}

openact_connector::export!(Mysql);
