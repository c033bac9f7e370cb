//! One stream to one server: login, commands out, replies in.
//!
//! ```text
//! new      AUTH (the host's)  HELLO 3  SELECT n  ─►  their answers  ─►  commands
//! resumed  SELECT n  commands  ─►  their answers
//! ```
//!
//! No command goes out before the login is answered: if that is refused, a server whose default user has no password
//! would run it as that. `AUTH` goes before `HELLO`, which a server before version 6 does not know, and which would repeat
//! a password in it.
//!
//! Invariant: a session is parked only if every command sent on it was answered and left nothing behind.

use openact_connector::{Failure, HostError, Stream, pool};
use serde_json::json;

use crate::{
    answer::{ServerError, error_of},
    config::{Connection, Protocol},
    resp::{Kind, Scan, Scanner, push_command},
    rules::{Arguments, Name},
};

/// One reply is no longer: the guest's memory has to hold it and its JSON.
const REPLY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// An open session.
pub struct Session {
    stream: Stream,
    /// The server's, as it was opened.
    host: String,
    /// Commands whose reply was not read yet.
    owed: u64,
    /// Whether the first of these is the reset's.
    resetting: bool,
    /// Whether what was sent left nothing behind.
    is_clean: bool,
}

impl pool::Session for Session {
    fn stream(&self) -> &Stream {
        &self.stream
    }

    fn into_parked(self) -> Option<(Stream, Vec<u8>)> {
        (self.is_clean && self.owed == 0).then_some((self.stream, Vec::new()))
    }
}

impl Session {
    /// Over a stream; with `resumed` one that is logged in.
    pub fn begin(
        stream: Stream,
        is_resumed: bool,
        host: String,
        connection: &Connection,
    ) -> Result<Self, Failure> {
        let stream = stream.limited_to(REPLY_BYTES_MAX);
        let mut session = Self { stream, host, owed: 0, resetting: is_resumed, is_clean: true };
        if is_resumed {
            session.put(&["SELECT", &connection.database.0.to_string()]);
        } else {
            session.log_in(connection)?;
        }
        Ok(session)
    }

    /// The server's host, as it was opened.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Adds a command to what is to be sent.
    pub fn command(&mut self, command: &Arguments) {
        self.is_clean &= !Name::of(command).leaves_state();
        self.put(command);
    }

    /// Adds one of the connector's own.
    pub fn put<A: AsRef<[u8]>>(&mut self, command: &[A]) {
        push_command(self.stream.write_buf(), command);
        self.owed += 1;
    }

    /// Sends what was added.
    pub fn send(&mut self) -> Result<(), Failure> {
        self.stream.flush()?;
        self.settle()
    }

    /// Sends one of the connector's own that changes nothing; why it was refused, if it was.
    pub fn ask(&mut self, command: &[&str]) -> Result<Option<ServerError>, Failure> {
        self.put(command);
        self.stream.flush_harmless()?;
        self.settle()?;
        self.reply(|message| Ok(error_of(message)))
    }

    /// Takes the answer to the reset.
    fn settle(&mut self) -> Result<(), Failure> {
        if std::mem::take(&mut self.resetting) {
            // That it is refused, to a user who may not select or by a proxy, leaves the session where it was.
            let as_expected =
                self.reply(|message| Ok(message == b"+OK\r\n" || error_of(message).is_some()))?;
            if !as_expected {
                return Err(Failure::Protocol("a session is not where it was left".into()));
            }
        }
        Ok(())
    }

    /// Reads the next reply.
    pub fn reply<T>(&mut self, read: impl FnOnce(&[u8]) -> Result<T, Failure>) -> Result<T, Failure> {
        loop {
            let mut scanner = Scanner::default();
            let (kind, length) = loop {
                match scanner.scan(self.stream.buffered())? {
                    Scan::Done(kind, length) => break (kind, length),
                    // Of a long value as much as is missing is asked for at once.
                    Scan::Needs(count) => self.stream.need(count).map(drop)?,
                }
            };
            if kind == Kind::Reply {
                let value = self.stream.buffered().get(..length).map(read);
                self.stream.consume(length);
                self.owed = self.owed.saturating_sub(1);
                return value.unwrap_or_else(|| Err(Failure::Protocol("a reply went missing".into())));
            }
            self.stream.consume(length);
        }
    }

    fn log_in(&mut self, connection: &Connection) -> Result<(), Failure> {
        let parameters = json!({"user": connection.user(), "hello": null});
        let has_password = match self.stream.login("redis-auth", &parameters) {
            Ok(mut login) => {
                login.step(&[])?;
                self.owed += 1;
                true
            }
            Err(HostError::NotFound(_)) if connection.user().is_none() => false,
            Err(HostError::NotFound(_)) => {
                return Err(Failure::Unauthenticated(
                    "the connection has a user and no password; set it".into(),
                ));
            }
            Err(error) => return Err(error.into()),
        };
        let says_hello = connection.protocol != Protocol::Two;
        if says_hello {
            self.put(&["HELLO", "3"]);
        }
        let selects = connection.database.0 != 0;
        if selects {
            self.put(&["SELECT", &connection.database.0.to_string()]);
        }
        self.stream.flush_harmless()?;
        // All answers are read first: what one refuses explains the others.
        let mut answers = Vec::new();
        while self.owed > 0 {
            answers.push(self.reply(|message| Ok(error_of(message)))?);
        }
        let mut answers = answers.into_iter();
        if has_password && let Some(error) = answers.next().flatten() {
            return Err(Failure::Unauthenticated(format!("the server refused the login: {}", error.message)));
        }
        if says_hello
            && let Some(error) = answers.next().flatten()
            && (error.code() == "NOAUTH" || connection.protocol == Protocol::Three)
        {
            return Err(error.into_failure());
        }
        match answers.next().flatten().filter(|_| selects) {
            Some(error) => Err(error.into_failure()),
            None => Ok(()),
        }
    }
}
