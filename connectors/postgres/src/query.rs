//! One statement: its values, its rows, and what the server says it did.
//!
//! What is known from an earlier call is sent at once, so that a repeated call is one round trip:
//!
//! | | first call | later ones |
//! |---|---|---|
//! | a statement | `Parse Describe Sync`, `Bind Execute Sync` | reset, `Bind Execute Sync` |
//! | read only | the same between `BEGIN READ ONLY` and `COMMIT` | reset, `BEGIN`, `Bind Execute Sync`, `COMMIT` |
//!
//! Invariant: a statement is sent again only if the server had refused it before it began.

use openact_connector::{
    Failure, UpstreamFailure,
    args::{Args, Parameter},
    items::More,
    rows::Rows,
};

use crate::{
    config::Answer,
    failure,
    kind::Kind,
    session::{Session, Status, columns},
    statements::Prepared,
    to_json, to_text,
    wire::{self, Message},
};

/// One statement and where its values come from.
pub(crate) struct Job<'j> {
    /// The SQL.
    pub(crate) text: &'j str,
    /// The names of its values.
    pub(crate) parameters: &'j [Parameter],
    /// What the caller sent.
    pub(crate) args: &'j Args<'j>,
    /// Whether the server must refuse what changes something.
    pub(crate) read_only: bool,
    /// Whether the statement stays prepared for later calls.
    pub(crate) kept: bool,
    /// What becomes of its rows.
    pub(crate) answer: Answer,
}

/// What became of a statement.
pub(crate) struct Done {
    /// Rows that were inserted, changed or deleted, where the server said so.
    pub(crate) rows_affected: Option<u64>,
    /// Whether it ended the transaction that it was in, and perhaps began another.
    ended: bool,
}

/// What the server answered.
enum Answered {
    Done(Done),
    /// The prepared statement is no more what it was; nothing has begun.
    Stale(Failure),
}

/// Runs one statement by itself.
pub(crate) fn run(session: &mut Session<'_>, job: &Job<'_>, rows: &mut Rows<'_>) -> Result<Done, Failure> {
    match attempt(session, job, rows) {
        Ok(Answered::Done(done)) => Ok(done),
        Ok(Answered::Stale(_)) => {
            session.forget(job.text);
            match attempt(session, job, rows)? {
                Answered::Done(done) => Ok(done),
                Answered::Stale(failure) => Err(failure),
            }
        }
        // What broke is not parked; what was refused leaves a session that is.
        Err(failure) => {
            if matches!(failure, Failure::Upstream(_) | Failure::InvalidInput(_) | Failure::InvalidConfig(_))
            {
                session.end("ROLLBACK")?;
            }
            Err(failure)
        }
    }
}

fn attempt(session: &mut Session<'_>, job: &Job<'_>, rows: &mut Rows<'_>) -> Result<Answered, Failure> {
    if job.read_only {
        session.begin("", true);
    }
    step(session, job, rows, job.read_only)
}

/// Runs one statement in whatever transaction there is; with `ends` that is committed behind it.
fn step(
    session: &mut Session<'_>,
    job: &Job<'_>,
    rows: &mut Rows<'_>,
    ends: bool,
) -> Result<Answered, Failure> {
    let known = job.kept && session.has(job.text);
    let prepared = session.prepare(job.text, job.kept).map_err(several)?;
    if job.read_only && prepared.shape.columns.is_none() {
        return Err(Failure::InvalidConfig(
            "the action is read_only, and its statement gives no rows; it was not run".into(),
        ));
    }
    let values = values(job, &prepared.shape.parameters)?;
    let names = columns(&prepared).iter().map(|column| (column.name.as_str(), column.type_name.as_str()));
    rows.columns(names);
    let paged = job.answer.stream;
    let out = session.stream.write_buf();
    wire::bind(out, &prepared.name, &values);
    wire::execute(out, job.answer.rows_asked());
    if paged {
        wire::flush(out);
    } else {
        session.sync();
        if ends {
            session.end_behind();
        }
    }
    if job.read_only {
        session.stream.flush_harmless()?;
    }
    session.settle()?;
    session.status = Status::Busy;
    let mut answer =
        Reading { prepared: &prepared, paged, rows, fetch: job.answer.rows_asked(), may_be_stale: known };
    let answered = answer.read(session);
    // The end was sent whatever the server answers, unless the stream broke.
    if ends && session.status != Status::Busy {
        let ended = if paged { session.end("COMMIT") } else { session.ended() };
        return answered.and_then(|answered| ended.map(|()| answered));
    }
    answered
}

/// What reading an answer needs.
struct Reading<'r, 'h> {
    prepared: &'r Prepared,
    paged: bool,
    rows: &'r mut Rows<'h>,
    fetch: u32,
    may_be_stale: bool,
}

impl Reading<'_, '_> {
    fn read(&mut self, session: &mut Session<'_>) -> Result<Answered, Failure> {
        let (mut failed, mut begun, mut enough, mut tag) = (None, false, false, String::new());
        // Each Sync is answered by one Ready: a second one would be taken for the next call's.
        let mut unsynced = self.paged;
        // Of those that were asked for; 0 are as many as there are.
        let mut rows_left = self.fetch;
        loop {
            match session.next()? {
                Message::BindComplete => {
                    begun = true;
                    continue;
                }
                Message::ParseComplete | Message::CloseComplete => continue,
                Message::DataRow(_) if self.fetch > 0 && rows_left == 0 => {
                    return Err(wire::unexpected("more rows than were asked for"));
                }
                Message::DataRow(row) => {
                    rows_left = rows_left.saturating_sub(1);
                    enough = enough || push(self.rows, self.prepared, row)? == More::Enough;
                    continue;
                }
                Message::PortalSuspended if unsynced && !enough => {
                    rows_left = self.fetch;
                    let out = session.stream.write_buf();
                    wire::execute(out, self.fetch);
                    wire::flush(out);
                    continue;
                }
                Message::PortalSuspended | Message::EmptyQuery => {}
                Message::CommandComplete(bytes) => tag = String::from_utf8_lossy(bytes).into_owned(),
                Message::Error(fields) => failed = failed.or(Some(failure::of(fields)?)),
                Message::CopyIn => {
                    failed = Some(no_copy());
                    wire::copy_fail(session.stream.write_buf());
                    // While it waits for data the server does not hear a Sync.
                    unsynced = true;
                }
                Message::CopyOut | Message::CopyData => return Err(no_copy()),
                Message::Ready(status) => {
                    session.status = Status::of(status)?;
                    break;
                }
                _ => return Err(wire::unexpected("no answer to a statement")),
            }
            if std::mem::take(&mut unsynced) {
                session.sync();
            }
        }
        if !session.is_utf8() {
            return Err(Failure::Unsupported(
                "the statement has changed client_encoding, which must be UTF8".into(),
            ));
        }
        match failed {
            Some(failure) if self.may_be_stale && !begun && is_stale(&failure) => {
                Ok(Answered::Stale(failure))
            }
            Some(failure) => Err(failure),
            None => {
                if changes_statements(&tag) {
                    session.taint();
                }
                let ended = matches!(tag.as_str(), "COMMIT" | "ROLLBACK");
                Ok(Answered::Done(Done { rows_affected: affected(&tag, self.prepared), ended }))
            }
        }
    }
}

fn push(rows: &mut Rows<'_>, prepared: &Prepared, mut row: wire::Row<'_>) -> Result<More, Failure> {
    rows.push(|out| {
        for column in columns(prepared) {
            match row.next_value()? {
                Some(None) => out.null(),
                Some(Some(value)) => out.with(|out| {
                    to_json::push(out, column.kind, value);
                    Ok(())
                })?,
                None => return Ok(()),
            }
        }
        // More values than columns.
        if row.next_value()?.is_some() {
            out.null();
        }
        Ok(())
    })
}

/// Several statements as one transaction; the result of each into `results`.
pub(crate) fn run_all<'j, 'h>(
    session: &mut Session<'_>,
    characteristics: &str,
    jobs: &[Job<'j>],
    mut new_rows: impl FnMut() -> Rows<'h>,
) -> Result<Vec<(Rows<'h>, Done)>, Failure> {
    let read_only = jobs.iter().any(|job| job.read_only);
    let mut fresh = false;
    loop {
        session.begin(characteristics, read_only);
        if read_only {
            session.stream.flush_harmless()?;
        }
        // A statement must not run before it is known that the transaction has begun.
        session.settle()?;
        match all_of(session, jobs, &mut new_rows) {
            Ok(Ok(results)) => {
                session.end("COMMIT")?;
                return Ok(results);
            }
            // Everything so far is rolled back, and so can be done again.
            Ok(Err(_)) if !fresh => {
                session.end("ROLLBACK")?;
                session.taint();
                fresh = true;
            }
            Ok(Err(failure)) | Err(failure) => {
                if session.status != Status::Busy {
                    session.end("ROLLBACK")?;
                }
                return Err(failure);
            }
        }
    }
}

/// The results of each, or why a prepared statement is taken for stale.
fn all_of<'h>(
    session: &mut Session<'_>,
    jobs: &[Job<'_>],
    new_rows: &mut impl FnMut() -> Rows<'h>,
) -> Result<Result<Vec<(Rows<'h>, Done)>, Failure>, Failure> {
    let mut results = Vec::with_capacity(jobs.len());
    for (at, job) in jobs.iter().enumerate() {
        let mut rows = new_rows();
        let mut is_over =
            match step(session, job, &mut rows, false).map_err(|failure| at_statement(failure, at))? {
                Answered::Done(done) => {
                    let ended = done.ended && !goes_back(job.text);
                    results.push((rows, done));
                    ended
                }
                Answered::Stale(failure) => return Ok(Err(at_statement(failure, at))),
            };
        // With AND CHAIN there is another one at once.
        is_over |= session.status != Status::Open;
        if is_over {
            return Err(Failure::InvalidConfig(format!(
                "statement {} ends the transaction, which is the host's to end; those after it were not run",
                at + 1
            )));
        }
    }
    Ok(Ok(results))
}

/// `ROLLBACK TO` a savepoint, which the server reports as it does the end of a transaction.
fn goes_back(text: &str) -> bool {
    let mut words = text.split_ascii_whitespace();
    let is_rollback = words.next().is_some_and(|word| word.eq_ignore_ascii_case("rollback"));
    is_rollback && words.any(|word| word.eq_ignore_ascii_case("to"))
}

fn at_statement(failure: Failure, at: usize) -> Failure {
    let told = |message: &str| format!("statement {}: {message}", at + 1);
    match failure {
        Failure::Upstream(upstream) => {
            Failure::Upstream(UpstreamFailure { message: told(&upstream.message), ..upstream })
        }
        Failure::InvalidInput(message) => Failure::InvalidInput(told(&message)),
        Failure::InvalidConfig(message) => Failure::InvalidConfig(told(&message)),
        failure => failure,
    }
}

/// The values as the server reads them.
fn values(job: &Job<'_>, kinds: &[Kind]) -> Result<Vec<Option<String>>, Failure> {
    let given = job.args.ordered(job.parameters)?;
    if given.len() != kinds.len() {
        let remedy = if job.parameters.is_empty() {
            "name them in the action's parameters, or send {\"args\": […]}"
        } else {
            "the action's parameters must name each of them"
        };
        let message =
            format!("the statement has {} values, and {} were given: {remedy}", kinds.len(), given.len());
        return Err(match job.parameters.is_empty() {
            true => Failure::InvalidInput(message),
            false => Failure::InvalidConfig(message),
        });
    }
    let place = |at: usize| match job.parameters.get(at) {
        Some(parameter) => format!("'{}'", parameter.name),
        None => format!("value {}", at + 1),
    };
    given
        .iter()
        .zip(kinds)
        .enumerate()
        .map(|(at, (json, kind))| to_text::of(json, *kind, &|| place(at)))
        .collect()
}

/// The number at the end of a command's tag, of commands that change rows.
fn affected(tag: &str, prepared: &Prepared) -> Option<u64> {
    let (command, _) = tag.split_once(' ').unwrap_or((tag, ""));
    let changes = matches!(command, "INSERT" | "UPDATE" | "DELETE" | "MERGE");
    match tag.rsplit_once(' ').and_then(|(_, count)| count.parse().ok()) {
        Some(count) if changes || prepared.shape.columns.is_none() => Some(count),
        _ => prepared.shape.columns.is_none().then_some(0),
    }
}

/// Whether what ran may have prepared or dropped statements, or run code that did.
fn changes_statements(tag: &str) -> bool {
    let command = tag.split(' ').next().unwrap_or_default();
    matches!(command, "PREPARE" | "DEALLOCATE" | "DISCARD" | "DO" | "CALL" | "LOAD")
}

/// Whether another preparation may help: the statement is not there any more (26), its result has other columns now (0A),
/// or a type or a table is another one than it was: what is sent does not fit (22), or what it names is gone (42, XX).
fn is_stale(failure: &Failure) -> bool {
    let class = failure::code(failure).and_then(|code| code.get(..2));
    matches!(class, Some("0A" | "22" | "26" | "42" | "XX"))
}

/// What to do about several statements in one text.
fn several(failure: Failure) -> Failure {
    let is_it = matches!(&failure, Failure::Upstream(upstream)
        if upstream.code.as_deref() == Some("42601") && upstream.message.contains("multiple commands"));
    match is_it {
        true => failure::with_hint(failure, "use operation: transaction, with statements: […]"),
        false => failure,
    }
}

fn no_copy() -> Failure {
    Failure::Unsupported("COPY to or from the client is not possible; use SELECT or INSERT".into())
}
