//! A session: what is asked of the server, which answers are still to come, and how it is left for the next call.
//!
//! A session is set back behind the last request of its call, in the same write, and parked only if every part of that
//! was done:
//!
//! | left behind by a call | undone by |
//! |---|---|
//! | transactions, `SET`, user variables, temporary tables, locks, handlers, prepared statements | `COM_RESET_CONNECTION` |
//! | what that sets to the server's defaults: character set, settings of the connection, `READ ONLY` | `SET` |
//! | `SET ROLE`, which survives it | `SET ROLE` to what the login had |
//! | `USE`, which survives it | `COM_INIT_DB`; without a database of the connection an assignment that fails, and closes the session, if one is selected |
//! | an open transaction of a server that cannot do this, half an answer | the session is closed |
//!
//! So a lock is held no longer than its call, and what runs in a parked session runs in one that is known to be set back.
//! Prepared statements do not survive it. Sent again with their values, they cost no further round trip: the server's
//! number for the statement is known beforehand (the next one; with MariaDB, "the last"). If it is another one, the server
//! refuses, and has done nothing.
//!
//! Invariant: a session is parked only after the server has confirmed every part of its resetting.

use std::cell::Cell;

use openact_connector::{Failure, Stream, pool};

use crate::{
    column::Column,
    config::Connection,
    failure,
    login::Server,
    statements::{Shape, Statements},
    wire::{self, Done, Fields, broken, command, status, unexpected},
};

/// Of the state of a parked session; another version's is not read.
const STATE_VERSION: u8 = 1;

/// The last prepared statement, of MariaDB.
const LAST: u32 = u32::MAX;

/// Fails if a database is selected: a value of two rows.
const NO_DATABASE: &str = "SET @openact = IF(DATABASE() IS NULL, NULL, (SELECT 1 UNION SELECT 2))";

/// More than the server has.
const COLUMNS_MAX: u64 = 10_000;

/// No role has so long a name; several may.
const ROLE_BYTES_MAX: usize = 8 * 1024;

/// What every session of a connection is set to.
#[derive(Clone, Debug)]
pub struct Setup<'c> {
    /// The connection.
    pub connection: &'c Connection,
    /// See [`Connection::assignments`].
    pub assignments: String,
    /// Whether the server must refuse what changes something.
    pub read_only: bool,
    /// How many rows a SELECT gives that does not say so itself.
    pub rows: Option<u64>,
}

/// A session with the server.
pub struct Session<'h> {
    pub(crate) stream: Stream,
    setup: &'h Setup<'h>,
    /// The number of the connection while a statement runs.
    running: &'h Cell<Option<u32>>,
    /// The server.
    pub server: Server,
    /// The number of the next packet.
    number: u8,
    /// As the last answer said.
    status: u16,
    /// Answers that come before that of the next request, with the number that each begins with.
    ahead: Vec<(Ahead, u8)>,
    /// The number that the answer to the request begins with.
    answer: u8,
    /// Parts of the resetting whose answers are to come.
    resetting: Option<usize>,
    /// Nothing of a call is left.
    clean: bool,
    /// The number of the statement that was prepared last.
    last_id: u32,
    /// As in `SET ROLE`; empty where there are no roles.
    role: String,
    statements: Statements,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ahead {
    Done,
    Role,
    Prepared,
}

/// A statement that can be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prepared {
    /// What the server knows it by, or is thought to.
    pub id: u32,
    /// What it said of it.
    pub shape: Shape,
    /// Whether its preparation is sent with it.
    pub ahead: bool,
}

/// How an answer begins.
pub(crate) enum Head {
    Done(Done),
    Failed(Failure),
    Columns(Vec<Column>),
    /// The server asks for a file.
    File,
}

/// What follows columns.
pub(crate) enum Line<'a> {
    Row(Fields<'a>),
    End(Done),
    Failed(Failure),
}

impl<'h> Session<'h> {
    fn of(stream: Stream, server: Server, setup: &'h Setup<'h>, running: &'h Cell<Option<u32>>) -> Self {
        Self {
            stream,
            setup,
            running,
            server,
            number: 0,
            status: 0,
            ahead: Vec::new(),
            answer: 1,
            resetting: None,
            clean: false,
            last_id: 0,
            role: String::new(),
            statements: Statements::default(),
        }
    }

    /// A new one, after its login. What it is set to goes out with the first request.
    pub(crate) fn new(
        stream: Stream,
        server: Server,
        setup: &'h Setup<'h>,
        running: &'h Cell<Option<u32>>,
    ) -> Result<Self, Failure> {
        let mut session = Self::of(stream, server, setup, running);
        session.send_ahead("SELECT CURRENT_ROLE()", Ahead::Role)?;
        for sql in session.settings() {
            session.send_ahead(&sql, Ahead::Done)?;
        }
        Ok(session)
    }

    /// One that was parked with `state`.
    pub(crate) fn resume(
        stream: Stream,
        state: &[u8],
        setup: &'h Setup<'h>,
        running: &'h Cell<Option<u32>>,
    ) -> Result<Self, Failure> {
        let mut session = Self::of(stream, Server::default(), setup, running);
        // Then a new one is opened.
        let rows = session
            .read_state(state)
            .ok_or_else(|| Failure::Network("the parked session cannot be read".into()))?;
        session.clean = true;
        if rows != setup.rows {
            session.send_ahead(&format!("SET {}", select_limit(setup.rows)), Ahead::Done)?;
        }
        Ok(session)
    }

    /// SQL to be done before the next request.
    pub(crate) fn before(&mut self, sql: &str) -> Result<(), Failure> {
        self.send_ahead(sql, Ahead::Done)
    }

    /// Asks whether the server is there.
    pub(crate) fn ping(&mut self) -> Result<(), Failure> {
        self.put_ahead(command::PING, b"", Ahead::Done);
        self.settle().map(drop)
    }

    fn send_ahead(&mut self, sql: &str, what: Ahead) -> Result<(), Failure> {
        self.put_ahead(command::QUERY, sql.as_bytes(), what);
        if self.setup.connection.pipelining { Ok(()) } else { self.settle().map(drop) }
    }

    fn put_ahead(&mut self, command: u8, body: &[u8], what: Ahead) {
        let number = self.put(command, body);
        self.ahead.push((what, number));
    }

    /// The number that the answer begins with.
    fn put(&mut self, command: u8, body: &[u8]) -> u8 {
        self.clean = false;
        wire::put_command(self.stream.write_buf(), command, body)
    }

    /// What the statement is, learned in an earlier call or asked for now. With `at_once` what is known is not asked for.
    pub(crate) fn prepare(&mut self, text: &str, kept: bool, at_once: bool) -> Result<Prepared, Failure> {
        let known = if kept { self.statements.find(text) } else { None };
        if let Some(shape) = known.filter(|shape| !shape.prepares) {
            return Ok(Prepared { id: 0, shape, ahead: false });
        }
        self.put_ahead(command::PREPARE, text.as_bytes(), Ahead::Prepared);
        if let Some(shape) = known.filter(|_| at_once && self.setup.connection.pipelining) {
            let id = if self.server.is_mariadb { LAST } else { self.last_id.wrapping_add(1) };
            return Ok(Prepared { id, shape, ahead: true });
        }
        let shape = match self.settle() {
            Ok(shape) => shape,
            Err(failure) if failure::number(&failure) == Some(1295) => {
                Some(Shape { parameters: 0, has_columns: false, prepares: false })
            }
            Err(failure) => return Err(failure),
        };
        let shape = shape.ok_or_else(broken)?;
        if kept {
            self.statements.keep(text, shape);
        }
        Ok(Prepared { id: self.last_id, shape, ahead: false })
    }

    /// Whether what the server says of a statement is what was sent with it relied on.
    pub(crate) fn is_still(&self, prepared: &Prepared, said: Shape) -> bool {
        let same_number = prepared.id == LAST && self.server.is_mariadb || prepared.id == self.last_id;
        !prepared.ahead || same_number && prepared.shape.parameters == said.parameters
    }

    /// What is known of a statement is wrong.
    pub(crate) fn forget(&mut self, text: &str) {
        self.statements.forget(text);
    }

    /// Sends a request, and with `last` what sets the session back behind it.
    pub(crate) fn run(&mut self, command: u8, body: &[u8], last: bool) -> Result<(), Failure> {
        self.answer = self.put(command, body);
        if last && self.setup.connection.pipelining {
            self.put_reset();
        }
        self.running.set(Some(self.server.connection_id));
        if self.setup.read_only { self.stream.flush_harmless() } else { self.stream.flush() }
    }

    /// Takes the answers to what was sent ahead; what was said of a prepared statement. Where one of them is an error, the
    /// request's is still to come. Where several are, the first is why.
    pub(crate) fn settle(&mut self) -> Result<Option<Shape>, Failure> {
        self.stream.flush_harmless()?;
        let (mut failed, mut shape) = (None, None);
        for (what, number) in std::mem::take(&mut self.ahead) {
            self.number = number;
            let outcome = match what {
                Ahead::Done => self.plain()?.map(|_| ()),
                Ahead::Role => self.learn_role()?,
                Ahead::Prepared => self.prepared()?.map(|said| shape = Some(said)),
            };
            failed = failed.or(outcome.err());
        }
        failed.map_or(Ok(shape), Err)
    }

    /// An answer without rows.
    fn plain(&mut self) -> Result<Result<Done, Failure>, Failure> {
        match self.head()? {
            Head::Done(done) => Ok(Ok(done)),
            Head::Failed(failure) => Ok(Err(failure)),
            Head::Columns(_) | Head::File => Err(unexpected("no answer to a command")),
        }
    }

    /// Who the login has made us. A server without roles, which says so, has none to set back.
    fn learn_role(&mut self) -> Result<Result<(), Failure>, Failure> {
        match self.head()? {
            Head::Failed(Failure::Upstream(_)) => return Ok(Ok(())),
            Head::Failed(failure) => return Ok(Err(failure)),
            Head::Columns(columns) if columns.len() == 1 => {}
            _ => return Err(unexpected("no role")),
        }
        let is_mariadb = self.server.is_mariadb;
        let mut role = None;
        loop {
            match self.line(false)? {
                Line::Row(mut fields) => {
                    let text = fields.nullable()?.map(String::from_utf8_lossy);
                    role = Some(match text.as_deref() {
                        None | Some("NONE" | "") => "NONE".to_owned(),
                        Some(name) if is_mariadb => format!("`{}`", name.replace('`', "``")),
                        Some(list) => list.to_owned(),
                    });
                }
                Line::End(_) => break,
                Line::Failed(failure) => return Ok(Err(failure)),
            }
        }
        self.role = role.filter(|role| role.len() <= ROLE_BYTES_MAX).ok_or_else(|| unexpected("no role"))?;
        Ok(Ok(()))
    }

    /// The answer to a preparation.
    fn prepared(&mut self) -> Result<Result<Shape, Failure>, Failure> {
        let mut fields = Fields(wire::next(&mut self.stream, &mut self.number)?);
        match fields.u8()? {
            0 => {}
            0xff => return Ok(Err(failure::of(fields)?)),
            _ => return Err(unexpected("no answer to a preparation")),
        }
        self.last_id = fields.u32()?;
        let (columns, parameters) = (fields.u16()?, fields.u16()?);
        for count in [parameters, columns] {
            let end = usize::from(count > 0 && !self.server.ends_with_ok);
            for _ in 0..usize::from(count) + end {
                wire::next(&mut self.stream, &mut self.number)?;
            }
        }
        Ok(Ok(Shape { parameters, has_columns: columns > 0, prepares: true }))
    }

    /// The beginning of the answer to a request.
    pub(crate) fn begin(&mut self) -> Result<Head, Failure> {
        self.number = self.answer;
        self.head()
    }

    /// The beginning of a result, the first or a further one of an answer.
    pub(crate) fn head(&mut self) -> Result<Head, Failure> {
        let body = wire::next(&mut self.stream, &mut self.number)?;
        let mut fields = Fields(body);
        let count = match fields.u8()? {
            0 => {
                let done = Done::ok(fields)?;
                self.status = done.status;
                return Ok(Head::Done(done));
            }
            0xff => return Ok(Head::Failed(failure::of(fields)?)),
            0xfb => return Ok(Head::File),
            _ => Fields(body).number()?,
        };
        if count > COLUMNS_MAX {
            return Err(unexpected("more columns than there can be"));
        }
        let (mut columns, mut bytes) = (Vec::new(), 0);
        for _ in 0..count {
            let body = wire::next(&mut self.stream, &mut self.number)?;
            bytes += body.len();
            if bytes > wire::PACKET_BYTES_MAX {
                return Err(unexpected("names of columns that are longer than there can be"));
            }
            columns.push(Column::read(body, self.server.extended)?);
        }
        if !self.server.ends_with_ok {
            wire::next(&mut self.stream, &mut self.number)?;
        }
        Ok(Head::Columns(columns))
    }

    /// The next row, or the end of them.
    pub(crate) fn line(&mut self, binary: bool) -> Result<Line<'_>, Failure> {
        let ends_with_ok = self.server.ends_with_ok;
        let body = wire::next(&mut self.stream, &mut self.number)?;
        let mut fields = Fields(body);
        let done = match fields.u8()? {
            0 if binary => return Ok(Line::Row(fields)),
            0xff => return Ok(Line::Failed(failure::of(fields)?)),
            0xfe if ends_with_ok => Done::ok(fields)?,
            0xfe if body.len() < 9 => Done::eof(fields)?,
            _ if !binary => return Ok(Line::Row(Fields(body))),
            _ => return Err(broken()),
        };
        self.status = done.status;
        Ok(Line::End(done))
    }

    /// Whether the next packet is here already, whole.
    pub(crate) fn has_next(&self) -> bool {
        wire::is_whole(self.stream.buffered())
    }

    /// Refuses to send a file: an empty packet says that there is none.
    pub(crate) fn refuse_file(&mut self) -> Failure {
        wire::put(self.stream.write_buf(), self.number, b"");
        // The answer is of no use, and neither is the session.
        let _ = self.stream.flush_harmless();
        Failure::Unsupported("LOAD DATA LOCAL is never done: no file is given away; use INSERT".into())
    }

    /// Whether the last answer says so.
    pub(crate) fn says(&self, flag: u16) -> bool {
        self.status & flag != 0
    }

    /// The answer to the last request is read.
    pub(crate) fn answered(&mut self) {
        self.running.set(None);
    }

    fn settings(&self) -> Vec<String> {
        let Setup { assignments, rows, read_only, .. } = self.setup;
        let rows = select_limit(*rows);
        let mut all = vec![format!("SET NAMES utf8mb4, autocommit = 1, {rows}{assignments}")];
        if *read_only {
            all.push("SET SESSION TRANSACTION READ ONLY".into());
        }
        all
    }

    /// What sets the session back.
    fn resetting(&self) -> Vec<(u8, String)> {
        let mut parts = vec![(command::RESET, String::new())];
        parts.extend(self.settings().into_iter().map(|sql| (command::QUERY, sql)));
        if !self.role.is_empty() {
            parts.push((command::QUERY, format!("SET ROLE {}", self.role)));
        }
        parts.push(match &self.setup.connection.database {
            Some(name) => (command::INIT_DB, name.clone()),
            None => (command::QUERY, NO_DATABASE.into()),
        });
        parts
    }

    /// Writes it.
    fn put_reset(&mut self) {
        let parts = self.resetting();
        self.resetting = Some(parts.len());
        for (command, body) in parts {
            self.put(command, body.as_bytes());
        }
    }

    /// Sets the session back, or waits for that. A session that cannot be set back is not parked, and that is all: the
    /// call has its answer.
    pub(crate) fn reset(&mut self) {
        let is_over = self.ahead.is_empty() && self.running.get().is_none();
        if is_over && self.try_reset().is_ok_and(|confirmed| confirmed) {
            self.clean = !self.says(status::IN_TRANSACTION);
        }
    }

    fn try_reset(&mut self) -> Result<bool, Failure> {
        let mut confirmed = true;
        if self.resetting.is_none() && !self.setup.connection.pipelining {
            for (command, body) in self.resetting() {
                self.put(command, body.as_bytes());
                self.stream.flush_harmless()?;
                self.number = 1;
                confirmed &= self.plain()?.is_ok();
            }
            return Ok(confirmed);
        }
        if self.resetting.is_none() {
            self.put_reset();
            self.stream.flush_harmless()?;
        }
        for _ in 0..self.resetting.take().unwrap_or_default() {
            self.number = 1;
            confirmed &= self.plain()?.is_ok();
        }
        Ok(confirmed)
    }

    fn read_state(&mut self, state: &[u8]) -> Option<Option<u64>> {
        let (&[STATE_VERSION, flags], rest) = state.split_first_chunk::<2>()? else { return None };
        let mut fields = Fields(rest);
        let flag = |at: u8| flags >> at & 1 == 1;
        self.server = Server {
            version: String::new(),
            connection_id: fields.u32().ok()?,
            is_mariadb: flag(0),
            ends_with_ok: flag(1),
            extended: flag(2),
            encrypted: flag(3),
        };
        self.last_id = fields.u32().ok()?;
        let rows = fields.u64().ok()?;
        self.role = String::from_utf8(fields.counted().ok()?.to_vec()).ok()?;
        self.statements = Statements::read(fields.0)?;
        Some((rows > 0).then_some(rows))
    }
}

impl pool::Session for Session<'_> {
    fn stream(&self) -> &Stream {
        &self.stream
    }

    fn into_parked(self) -> Option<(Stream, Vec<u8>)> {
        if !self.clean || self.running.get().is_some() {
            return None;
        }
        let Server { connection_id, is_mariadb, ends_with_ok, extended, encrypted, .. } = self.server;
        let flags = [is_mariadb, ends_with_ok, extended, encrypted];
        let flags = flags.into_iter().enumerate().map(|(at, flag)| u8::from(flag) << at).sum();
        let mut state = vec![STATE_VERSION, flags];
        state.extend(connection_id.to_le_bytes());
        state.extend(self.last_id.to_le_bytes());
        state.extend(self.setup.rows.unwrap_or_default().to_le_bytes());
        wire::put_counted(&mut state, self.role.as_bytes());
        self.statements.write(&mut state);
        Some((self.stream, state))
    }
}

fn select_limit(rows: Option<u64>) -> String {
    rows.map_or("sql_select_limit = DEFAULT".into(), |rows| format!("sql_select_limit = {rows}"))
}
