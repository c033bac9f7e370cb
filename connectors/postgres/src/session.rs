//! A session: what is asked of the server, and what of its answers belongs to whom.
//!
//! A resumed session is reset before it is used, in the same write as the first request:
//!
//! | left behind by an earlier call | undone by |
//! |---|---|
//! | an open transaction, half an answer | the session is not parked |
//! | `SET`, `SET ROLE`, `SET SESSION AUTHORIZATION` | `RESET ALL`, `SET SESSION AUTHORIZATION DEFAULT` |
//! | cursors, `LISTEN`, advisory locks, temporary tables, `currval` | `CLOSE ALL` … `DISCARD SEQUENCES` |
//! | statements that somebody's SQL may have prepared or dropped | `DEALLOCATE ALL`, and ours are forgotten |
//!
//! Invariant: the reset is one transaction. If it fails, the session is in a failed one, in which the server refuses the
//! request that was sent behind it: nothing runs in a session that was not reset.

use std::cell::Cell;

use openact_connector::{Failure, Host, Stream, pool};

use crate::{
    failure,
    kind::{self, Known},
    statements::{Column, Prepared, Shape, Statements},
    wire::{self, Message},
};

/// A transaction of its own level: one left behind could let it wait for others (SERIALIZABLE READ ONLY DEFERRABLE).
const RESET: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ALL; \
    UNLISTEN *; SELECT pg_catalog.pg_advisory_unlock_all(); DISCARD TEMP; DISCARD SEQUENCES";

/// Of the state of a parked session; another version's is not read.
const STATE_VERSION: u8 = 1;

/// With what a running statement may be cancelled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CancelKey {
    /// The server's process.
    pub process: u32,
    /// What proves that we may.
    pub secret: Vec<u8>,
}

/// Types of parameters, and names and types of columns if there are rows.
type Description = (Vec<u32>, Option<Vec<(String, u32)>>);

/// What the server says after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// An answer is not at its end.
    Busy,
    /// No transaction.
    Idle,
    /// In a transaction.
    Open,
    /// In one that can only be rolled back.
    Failed,
}

/// A session with the server.
pub struct Session<'h> {
    pub(crate) stream: Stream,
    pub(crate) host: &'h dyn Host,
    /// See [`CancelKey`].
    pub key: CancelKey,
    /// After the last answer.
    pub status: Status,
    statements: Statements,
    /// Statements with names may not be what they were.
    tainted: bool,
    /// Statements the server may forget, told with the next request.
    closing: Vec<String>,
    /// Simple queries whose answers come before that of the next request.
    ahead: Vec<Ahead>,
    /// Set where a reset failed, and so nothing was done.
    unready: &'h Cell<bool>,
    utf8: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ahead {
    Reset,
    Begin,
    End,
}

impl<'h> Session<'h> {
    /// A new one, whose login begins.
    pub(crate) fn new(stream: Stream, host: &'h dyn Host, unready: &'h Cell<bool>) -> Self {
        Self {
            stream: stream.limited_to(wire::MESSAGE_BYTES_MAX),
            host,
            key: CancelKey::default(),
            status: Status::Busy,
            statements: Statements::default(),
            tainted: false,
            closing: Vec::new(),
            ahead: Vec::new(),
            unready,
            utf8: true,
        }
    }

    /// One that was parked with `state`. Its reset goes out with the first request.
    pub(crate) fn resume(
        stream: Stream,
        state: &[u8],
        host: &'h dyn Host,
        unready: &'h Cell<bool>,
    ) -> Result<Self, Failure> {
        let mut session = Self::new(stream, host, unready);
        // Then a new one is opened.
        session
            .read_state(state)
            .ok_or_else(|| Failure::Network("the parked session cannot be read".into()))?;
        let forget = if session.tainted { "; DEALLOCATE ALL" } else { "" };
        session.tainted = false;
        session.send_ahead(&format!("{RESET}{forget}; COMMIT"), Ahead::Reset);
        Ok(session)
    }

    /// Begins a transaction with the next request.
    pub(crate) fn begin(&mut self, characteristics: &str, read_only: bool) {
        // A transaction's mode can be changed until it has seen the database: the empty SELECT looks.
        let read_only = if read_only { " READ ONLY; SELECT" } else { "" };
        self.send_ahead(&format!("BEGIN{characteristics}{read_only}"), Ahead::Begin);
    }

    /// Ends the transaction, if there is one, and waits for that.
    pub(crate) fn end(&mut self, with: &str) -> Result<(), Failure> {
        self.settle()?;
        if matches!(self.status, Status::Open | Status::Failed) {
            self.send_ahead(with, Ahead::End);
            if with == "ROLLBACK" {
                self.stream.flush_harmless()?;
            }
            self.settle()?;
        }
        Ok(())
    }

    /// Ends the transaction behind the request that is being written.
    pub(crate) fn end_behind(&mut self) {
        wire::query(self.stream.write_buf(), "COMMIT");
    }

    /// Waits for the answer to [`Session::end_behind`].
    pub(crate) fn ended(&mut self) -> Result<(), Failure> {
        self.ahead.push(Ahead::End);
        self.settle()
    }

    fn send_ahead(&mut self, sql: &str, what: Ahead) {
        wire::query(self.stream.write_buf(), sql);
        self.ahead.push(what);
    }

    /// Statements that somebody else may have prepared or dropped are not to be used again.
    pub(crate) fn taint(&mut self) {
        self.tainted = true;
        self.statements.clear();
    }

    /// The statement is to be prepared again.
    pub(crate) fn forget(&mut self, text: &str) {
        self.closing.extend(self.statements.forget(text));
    }

    /// The statement, prepared in an earlier call or now. The one of a caller's own is not kept.
    pub(crate) fn prepare(&mut self, text: &str, kept: bool) -> Result<Prepared, Failure> {
        if kept && let Some(prepared) = self.statements.find(text) {
            return Ok(prepared);
        }
        let name = if kept { self.statements.name_for(text) } else { String::new() };
        let out = self.stream.write_buf();
        wire::parse(out, &name, text);
        wire::describe(out, &name);
        self.sync();
        self.stream.flush_harmless()?;
        self.settle()?;
        let (parameters, columns) = self.description()?;
        let mut known = Known::new();
        let unknown = Shape::unknown(&parameters, columns.as_deref().unwrap_or_default(), &known);
        if !unknown.is_empty() {
            self.look_up(&unknown, &mut known)?;
        }
        let shape = Shape::of(&parameters, columns, &known);
        if !name.is_empty() {
            self.closing.extend(self.statements.keep(text, &shape));
        } else if !unknown.is_empty() {
            // The look-up has taken the place of the statement without a name.
            wire::parse(self.stream.write_buf(), "", text);
        }
        Ok(Prepared { name, shape })
    }

    /// Whether the statement was prepared in an earlier call.
    pub(crate) fn has(&mut self, text: &str) -> bool {
        self.statements.find(text).is_some()
    }

    /// The answer to a preparation.
    fn description(&mut self) -> Result<Description, Failure> {
        let (mut parameters, mut columns, mut failed) = (Vec::new(), None, None);
        loop {
            match self.next()? {
                Message::ParseComplete | Message::NoData | Message::CloseComplete => {}
                Message::ParameterDescription(oids) => parameters = oids,
                Message::RowDescription(described) => {
                    let owned = |(name, oid): (&[u8], u32)| (String::from_utf8_lossy(name).into_owned(), oid);
                    columns = Some(described.into_iter().map(owned).collect());
                }
                Message::Error(fields) => failed = Some(failure::of(fields)?),
                Message::Ready(status) => {
                    self.status = Status::of(status)?;
                    return failed.map_or(Ok((parameters, columns)), Err);
                }
                _ => return Err(wire::unexpected("no answer to a preparation")),
            }
        }
    }

    /// Asks for the types that are not PostgreSQL's own.
    fn look_up(&mut self, oids: &[u32], known: &mut Known) -> Result<(), Failure> {
        let list = oids.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
        let out = self.stream.write_buf();
        wire::parse(out, "", kind::LOOK_UP);
        wire::bind(out, "", &[Some(format!("{{{list}}}"))]);
        wire::execute(out, 0);
        self.sync();
        self.stream.flush_harmless()?;
        let mut failed = None;
        loop {
            match self.next()? {
                Message::DataRow(mut row) => {
                    let mut values = Vec::new();
                    while let Some(value) = row.next_value()? {
                        values.push(value.map(|bytes| String::from_utf8_lossy(bytes).into_owned()));
                    }
                    // Types are at most one for each parameter and column; what is more was not asked for.
                    if known.len() < oids.len() {
                        kind::learn(known, &values);
                    }
                }
                Message::Error(fields) => failed = Some(failure::of(fields)?),
                Message::Ready(status) => {
                    self.status = Status::of(status)?;
                    return failed.map_or(Ok(()), Err);
                }
                _ => {}
            }
        }
    }

    /// Ends the request that is being written.
    pub(crate) fn sync(&mut self) {
        let out = self.stream.write_buf();
        for name in self.closing.drain(..) {
            wire::close(out, &name);
        }
        wire::sync(out);
        self.status = Status::Busy;
    }

    /// Takes the answers to what was sent ahead. Where one of them is an error, nothing of the request was done.
    pub(crate) fn settle(&mut self) -> Result<(), Failure> {
        for what in std::mem::take(&mut self.ahead) {
            let mut failed = None;
            self.status = Status::Busy;
            while self.status == Status::Busy {
                match self.next_of(what != Ahead::Reset)? {
                    Message::Error(fields) => failed = failed.or(Some(failure::of(fields)?)),
                    Message::Ready(status) => self.status = Status::of(status)?,
                    Message::CommandComplete(_)
                    | Message::RowDescription(_)
                    | Message::DataRow(_)
                    | Message::EmptyQuery => {}
                    _ => return Err(wire::unexpected("no answer to a query")),
                }
            }
            match (what, failed) {
                (_, None) => {}
                (Ahead::End, Some(failure)) => return Err(failure),
                (Ahead::Reset | Ahead::Begin, Some(failure)) => {
                    self.unready.set(what == Ahead::Reset && self.status == Status::Failed);
                    self.status = Status::Busy;
                    return Err(failure);
                }
            }
        }
        Ok(())
    }

    /// The next message that belongs to an answer.
    pub(crate) fn next(&mut self) -> Result<Message<'_>, Failure> {
        self.next_of(true)
    }

    /// Notices are logged unless they are about what this connector did itself; notifications are for nobody.
    fn next_of(&mut self, logged: bool) -> Result<Message<'_>, Failure> {
        while matches!(self.stream.need(1)?.first(), Some(b'N' | b'S' | b'A')) {
            match wire::next(&mut self.stream)? {
                Message::Notice(fields) if logged => failure::log(self.host, fields)?,
                Message::ParameterStatus(b"client_encoding", value) => self.utf8 = value == b"UTF8",
                _ => {}
            }
        }
        wire::next(&mut self.stream)
    }

    /// Whether text is in the encoding that was asked for.
    pub(crate) fn is_utf8(&self) -> bool {
        self.utf8
    }

    fn read_state(&mut self, mut state: &[u8]) -> Option<()> {
        let (&[STATE_VERSION, tainted, length], rest) = state.split_first_chunk::<3>()? else { return None };
        let (process, rest) = rest.split_first_chunk::<4>()?;
        let (secret, rest) = rest.split_at_checked(usize::from(length))?;
        state = rest;
        self.key = CancelKey { process: u32::from_be_bytes(*process), secret: secret.to_vec() };
        self.tainted = tainted == 1;
        if !self.tainted {
            self.statements = Statements::read(state)?;
        }
        Some(())
    }
}

impl pool::Session for Session<'_> {
    fn stream(&self) -> &Stream {
        &self.stream
    }

    fn into_parked(self) -> Option<(Stream, Vec<u8>)> {
        let length = u8::try_from(self.key.secret.len()).ok()?;
        if self.status != Status::Idle || !self.ahead.is_empty() || !self.utf8 {
            return None;
        }
        let tainted = self.tainted || !self.closing.is_empty();
        let mut state = vec![STATE_VERSION, u8::from(tainted), length];
        state.extend(self.key.process.to_be_bytes());
        state.extend(&self.key.secret);
        if !tainted {
            self.statements.write(&mut state);
        }
        Some((self.stream, state))
    }
}

impl Status {
    pub(crate) fn of(byte: u8) -> Result<Self, Failure> {
        match byte {
            b'I' => Ok(Self::Idle),
            b'T' => Ok(Self::Open),
            b'E' => Ok(Self::Failed),
            _ => Err(wire::unexpected("a state of no transaction")),
        }
    }
}

/// Where values of columns go.
pub(crate) fn columns(prepared: &Prepared) -> &[Column] {
    prepared.shape.columns.as_deref().unwrap_or_default()
}
