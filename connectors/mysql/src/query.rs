//! One statement: its values, its rows, and what the server says it did.
//!
//! What is known from an earlier call is sent at once, so that a repeated call is one round trip:
//!
//! | | first call | later ones |
//! |---|---|---|
//! | a statement | `PREPARE`, then `EXECUTE` and the reset | `PREPARE`, `EXECUTE`, the reset |
//! | read only | the same after `START TRANSACTION READ ONLY` | `START`, `PREPARE`, `EXECUTE`, the reset |
//! | one that cannot be prepared | `PREPARE`, then its text and the reset | its text, the reset |
//!
//! Invariant: a statement is sent again only if the server had refused it before it began.

use openact_connector::{
    Failure, Json, UpstreamFailure,
    args::{Args, Parameter},
    items::More,
    rows::Rows,
    write::push_uint,
};

use crate::{
    config::Answer,
    failure,
    names::{self, Rewritten},
    session::{Head, Line, Prepared, Session},
    to_binary::{self, Value},
    to_json,
    wire::{Done, command, status},
};

/// Results of one CALL beside the first; each has the action's limits.
const FURTHER_MAX: usize = 15;

/// One statement and where its values come from.
pub(crate) struct Job<'j> {
    /// The SQL, with names.
    pub(crate) text: &'j str,
    /// The names of its values.
    pub(crate) parameters: &'j [Parameter],
    /// What the caller sent.
    pub(crate) args: &'j Args<'j>,
    /// Whether the server must refuse what changes something.
    pub(crate) read_only: bool,
    /// Whether later calls will have the same statement.
    pub(crate) kept: bool,
    /// What becomes of its rows.
    pub(crate) answer: Answer,
}

impl Job<'_> {
    /// The values as JSON, with what each must be and is called, and the statement as the server takes it.
    pub(crate) fn ready(&self) -> Result<Ready<'_>, Failure> {
        let wrong = |text: String| Err(Failure::InvalidConfig(text));
        let Rewritten { text, names, marks } = names::rewrite(self.text);
        let given = self.args.ordered(self.parameters);
        if names.is_empty() {
            let place = |at: usize| match self.parameters.get(at) {
                Some(parameter) => format!("'{}'", parameter.name),
                None => format!("value {}", at + 1),
            };
            let kind = |at: usize| self.parameters.get(at).and_then(|parameter| parameter.kind);
            let values = given?.into_iter().enumerate().map(|(at, json)| (json, kind(at), place(at)));
            return Ok(Ready { text, values: values.collect() });
        }
        if marks {
            return wrong("the statement has both ? and :name; use one of them".into());
        }
        let given = if self.parameters.is_empty() { Vec::new() } else { given? };
        let mut values = Vec::with_capacity(names.len());
        for name in names {
            let at = self.parameters.iter().position(|parameter| parameter.name == name);
            let value = match at.and_then(|at| Some((given.get(at)?, self.parameters.get(at)?))) {
                Some((json, parameter)) => (*json, parameter.kind),
                None if self.parameters.is_empty() => match self.args.named(name) {
                    Some(json) => (json, None),
                    None => return Err(Failure::InvalidInput(format!("'{name}' is missing in the input"))),
                },
                None => {
                    return wrong(format!(
                        "the statement has :{name}, which the action's parameters do not name"
                    ));
                }
            };
            values.push((value.0, value.1, format!("'{name}'")));
        }
        Ok(Ready { text, values })
    }
}

/// A statement as the server takes it, with its values: JSON, what it must be, what it is called.
pub(crate) struct Ready<'j> {
    pub(crate) text: std::borrow::Cow<'j, str>,
    pub(crate) values: Vec<(&'j str, Option<openact_connector::args::Kind>, String)>,
}

/// What became of a statement.
pub(crate) struct Outcome<'h> {
    rows: Rows<'h>,
    further: Vec<Rows<'h>>,
    has_columns: bool,
    done: Done,
}

impl<'h> Outcome<'h> {
    fn new(rows: Rows<'h>) -> Self {
        Self { rows, further: Vec::new(), has_columns: false, done: Done::default() }
    }

    /// As JSON.
    pub(crate) fn finish(self) -> Json {
        let mut out = String::from("{");
        self.rows.finish_into(&mut out);
        if !self.further.is_empty() {
            out.push_str(",\"more_results\":[");
            for (at, rows) in self.further.into_iter().enumerate() {
                out.push_str(if at == 0 { "{" } else { ",{" });
                rows.finish_into(&mut out);
                out.push('}');
            }
            out.push(']');
        }
        let Done { rows_affected, last_insert_id, warnings, .. } = self.done;
        for (name, number, always) in [
            ("rows_affected", rows_affected, !self.has_columns),
            ("last_insert_id", last_insert_id, false),
            ("warnings", warnings.into(), false),
        ] {
            if always || number > 0 {
                out.push_str(",\"");
                out.push_str(name);
                out.push_str("\":");
                push_uint(&mut out, number);
            }
        }
        out.push('}');
        Json::from_text(out)
    }
}

/// What the server answered.
enum Answered<'h> {
    Done(Outcome<'h>),
    /// What was thought of the statement is wrong; nothing has begun.
    Stale(Failure),
}

/// Runs one statement by itself.
pub(crate) fn run<'h>(
    session: &mut Session<'_>,
    job: &Job<'_>,
    ready: &Ready<'_>,
    mut new_rows: impl FnMut(bool) -> Rows<'h>,
) -> Result<Outcome<'h>, Failure> {
    match attempt(session, job, ready, &mut new_rows, true)? {
        Answered::Done(outcome) => Ok(outcome),
        Answered::Stale(_) => {
            session.forget(&ready.text);
            match attempt(session, job, ready, &mut new_rows, false)? {
                Answered::Done(outcome) => Ok(outcome),
                Answered::Stale(failure) => Err(failure),
            }
        }
    }
}

fn attempt<'h>(
    session: &mut Session<'_>,
    job: &Job<'_>,
    ready: &Ready<'_>,
    new_rows: &mut impl FnMut(bool) -> Rows<'h>,
    at_once: bool,
) -> Result<Answered<'h>, Failure> {
    if job.read_only {
        session.before("START TRANSACTION READ ONLY")?;
    }
    let (prepared, values) = match begin(session, job, ready, at_once) {
        Ok(begun) => begun,
        Err(failure) => {
            // Nothing was run. What broke has nothing more to say, and is not parked.
            if !is_broken(&failure) && session.settle().is_ok() {
                session.reset();
            }
            return Err(failure);
        }
    };
    send(session, ready, &prepared, &values, true)?;
    let ahead = match session.settle() {
        Err(failure) if is_broken(&failure) => return Err(failure),
        ahead => ahead,
    };
    // What the server says of the statement now may be something else than what was sent with it relied on.
    let relied_on =
        ahead.as_ref().is_ok_and(|said| said.is_none_or(|said| session.is_still(&prepared, said)));
    let mut outcome = Outcome::new(new_rows(true));
    let reading = Reading { binary: prepared.shape.prepares, may_stop: job.read_only };
    let read = reading.read(session, &mut outcome, new_rows);
    session.reset();
    match (ahead, read) {
        // The statement was not prepared, or not in the transaction that it was to be in.
        (Err(failure), _) => Err(failure),
        (Ok(_), Ok(())) => Ok(Answered::Done(outcome)),
        // Otherwise it is the statement itself that says so, a procedure for instance, and not before it began.
        (Ok(_), Err(failure)) if !relied_on && is_stale(&failure) => Ok(Answered::Stale(failure)),
        (Ok(_), Err(failure)) => Err(failure),
    }
}

/// What there is to do before anything is run.
fn begin(
    session: &mut Session<'_>,
    job: &Job<'_>,
    ready: &Ready<'_>,
    at_once: bool,
) -> Result<(Prepared, Vec<Value>), Failure> {
    let prepared = session.prepare(&ready.text, job.kept, at_once).map_err(several)?;
    if job.read_only && !(prepared.shape.has_columns || prepared.shape.prepares && only_shows(&ready.text)) {
        return Err(Failure::InvalidConfig(
            "the action is read_only, and its statement gives no rows; it was not run".into(),
        ));
    }
    let values = values(job, ready, prepared.shape.parameters.into())?;
    Ok((prepared, values))
}

fn send(
    session: &mut Session<'_>,
    ready: &Ready<'_>,
    prepared: &Prepared,
    values: &[Value],
    last: bool,
) -> Result<(), Failure> {
    if !prepared.shape.prepares {
        return session.run(command::QUERY, ready.text.as_bytes(), last);
    }
    let mut body = Vec::with_capacity(64);
    to_binary::execute(&mut body, prepared.id, values);
    session.run(command::EXECUTE, &body, last)
}

/// How an answer is read.
struct Reading {
    binary: bool,
    /// Whether what is not wanted need not be read: nothing but reading comes of it.
    may_stop: bool,
}

impl Reading {
    /// Reads the answer, to its end unless the rest of it may be left.
    fn read<'h>(
        &self,
        session: &mut Session<'_>,
        outcome: &mut Outcome<'h>,
        new_rows: &mut impl FnMut(bool) -> Rows<'h>,
    ) -> Result<(), Failure> {
        let mut head = session.begin()?;
        let mut results = 0;
        loop {
            match head {
                Head::Done(done) => outcome.done = done,
                Head::Failed(failure) => {
                    session.answered();
                    return Err(failure);
                }
                Head::File => return Err(session.refuse_file()),
                Head::Columns(columns) => {
                    if results > FURTHER_MAX {
                        return Err(Failure::LimitExceeded(format!(
                            "the answer has more than {results} results"
                        )));
                    }
                    if results > 0 {
                        outcome.further.push(new_rows(false));
                    }
                    let rows = outcome.further.last_mut().unwrap_or(&mut outcome.rows);
                    rows.columns(
                        columns.iter().map(|column| (column.name.as_str(), column.type_name.as_str())),
                    );
                    outcome.has_columns = true;
                    results += 1;
                    match self.rows(session, &columns, rows)? {
                        Some(done) => outcome.done = done,
                        None => return Ok(()),
                    }
                }
            }
            if !session.says(status::MORE_RESULTS) {
                session.answered();
                return Ok(());
            }
            head = session.head()?;
        }
    }

    /// The end of the rows; none if they were not read to their end.
    fn rows(
        &self,
        session: &mut Session<'_>,
        columns: &[crate::column::Column],
        rows: &mut Rows<'_>,
    ) -> Result<Option<Done>, Failure> {
        let mut enough = false;
        loop {
            // What has come already is passed by: the session then serves the next call.
            if enough && self.may_stop && !session.has_next() {
                return Ok(None);
            }
            match session.line(self.binary)? {
                Line::Row(_) if enough => {}
                Line::Row(fields) => {
                    let write = if self.binary { to_json::binary } else { to_json::text };
                    enough = rows.push(|row| write(row, columns, fields))? == More::Enough;
                }
                Line::End(done) => return Ok(Some(done)),
                Line::Failed(failure) => {
                    session.answered();
                    return Err(failure);
                }
            }
        }
    }
}

/// Several statements as one transaction.
pub(crate) fn run_all<'h>(
    session: &mut Session<'_>,
    level: Option<&str>,
    jobs: &[Job<'_>],
    mut new_rows: impl FnMut(bool) -> Rows<'h>,
) -> Result<Vec<Outcome<'h>>, Failure> {
    let read_only = jobs.iter().any(|job| job.read_only);
    if let Some(level) = level {
        session.before(&format!("SET TRANSACTION ISOLATION LEVEL {level}"))?;
    }
    session.before(if read_only { "START TRANSACTION READ ONLY" } else { "START TRANSACTION" })?;
    // What ends this transaction and begins another at once cannot be told by the server's status, but by this.
    session.before("SAVEPOINT openact")?;
    // A statement must not run before it is known that the transaction has begun.
    let done = session.settle().and_then(|_| all_of(session, jobs, read_only, &mut new_rows));
    let committed = done.and_then(|results| {
        let released = session.before("RELEASE SAVEPOINT openact").and_then(|()| session.settle());
        released.map_err(ended_between)?;
        session.run(command::QUERY, b"COMMIT", true)?;
        let mut outcome = Outcome::new(new_rows(false));
        Reading { binary: false, may_stop: false }.read(session, &mut outcome, &mut new_rows)?;
        Ok(results)
    });
    if !committed.as_ref().is_err_and(is_broken) {
        // What was not committed is rolled back by this.
        session.reset();
    }
    committed
}

fn all_of<'h>(
    session: &mut Session<'_>,
    jobs: &[Job<'_>],
    read_only: bool,
    new_rows: &mut impl FnMut(bool) -> Rows<'h>,
) -> Result<Vec<Outcome<'h>>, Failure> {
    let mut results = Vec::with_capacity(jobs.len());
    for (at, job) in jobs.iter().enumerate() {
        let outcome = step(session, job, new_rows).map_err(|failure| at_statement(failure, at))?;
        results.push(outcome);
        if !session.says(status::IN_TRANSACTION) || (read_only && !session.says(status::READ_ONLY)) {
            return Err(Failure::InvalidConfig(format!(
                "statement {} ends the transaction, which is the host's to end; those after it were not run",
                at + 1
            )));
        }
    }
    Ok(results)
}

fn step<'h>(
    session: &mut Session<'_>,
    job: &Job<'_>,
    new_rows: &mut impl FnMut(bool) -> Rows<'h>,
) -> Result<Outcome<'h>, Failure> {
    let ready = job.ready()?;
    let (prepared, values) = begin(session, job, &ready, false)?;
    send(session, &ready, &prepared, &values, false)?;
    let mut outcome = Outcome::new(new_rows(false));
    Reading { binary: prepared.shape.prepares, may_stop: false }.read(session, &mut outcome, new_rows)?;
    Ok(outcome)
}

/// The values as the server reads them.
fn values(job: &Job<'_>, ready: &Ready<'_>, wanted: usize) -> Result<Vec<Value>, Failure> {
    let given = &ready.values;
    if given.len() != wanted {
        let remedy = if job.parameters.is_empty() {
            "name them in the action's parameters, or send {\"args\": […]}"
        } else {
            "the action's parameters must name each of them"
        };
        let message = format!("the statement has {wanted} values, and {} were given: {remedy}", given.len());
        return Err(match job.parameters.is_empty() {
            true => Failure::InvalidInput(message),
            false => Failure::InvalidConfig(message),
        });
    }
    given.iter().map(|(json, kind, place)| Value::of(json, *kind, &|| place.clone())).collect()
}

/// Statements that show something, of which not every server says beforehand that they give rows. The first word
/// decides what a statement is; in a comment that the server runs it would not be the first.
fn only_shows(text: &str) -> bool {
    let word = text.trim_ascii_start().split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default();
    ["show", "explain", "describe", "desc"].iter().any(|known| word.eq_ignore_ascii_case(known))
}

/// The transaction is not the one that was begun: its savepoint is gone.
fn ended_between(failure: Failure) -> Failure {
    match failure::number(&failure) {
        Some(1305) => Failure::InvalidConfig(
            "one of the statements ends the transaction, which is the host's to end, and begins another (COMMIT AND CHAIN, \
             START TRANSACTION); what came before that is committed or rolled back by it, what came after is rolled back"
                .into(),
        ),
        _ => failure,
    }
}

fn at_statement(failure: Failure, at: usize) -> Failure {
    match failure {
        Failure::Upstream(upstream) => Failure::Upstream(UpstreamFailure {
            message: format!("statement {}: {}", at + 1, upstream.message),
            ..upstream
        }),
        failure => failure,
    }
}

/// The server does not know the statement by that number (1243), or it takes other values (1210, 1835).
fn is_stale(failure: &Failure) -> bool {
    matches!(failure::number(failure), Some(1243 | 1210 | 1835))
}

/// After these nobody knows what the stream would say next.
fn is_broken(failure: &Failure) -> bool {
    matches!(
        failure,
        Failure::Network(_)
            | Failure::Timeout(_)
            | Failure::Protocol(_)
            | Failure::LimitExceeded(_)
            | Failure::Denied(_)
    )
}

/// What to do about several statements in one text.
fn several(failure: Failure) -> Failure {
    match failure::number(&failure) {
        Some(1064) => failure::with_hint(
            failure,
            "if these are several statements, use operation: transaction, with statements: […]",
        ),
        _ => failure,
    }
}
