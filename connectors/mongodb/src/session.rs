//! One stream: commands out, replies in.
//!
//! A session keeps nothing between two commands but its login, and cursors, which are closed before it is parked: there is
//! nothing to reset. Invariant: a session is parked only when every reply was read and no cursor is open.

use openact_connector::{Failure, Stream, pool};

use crate::{
    bson::Document,
    failure::ServerError,
    wire::{self, HEADER_BYTES, Sequence},
};

/// A reply is a document of at most 16 MiB, and what is around it.
const REPLY_BYTES_MAX: usize = 17 * 1024 * 1024;

/// A command to send.
#[derive(Clone, Copy, Debug)]
pub struct Command<'a> {
    /// The finished document.
    pub document: &'a [u8],
    /// Documents that go with it.
    pub sequence: Option<Sequence<'a>>,
    /// Whether it may change something.
    pub writes: bool,
}

impl<'a> Command<'a> {
    /// One that changes nothing.
    pub fn reading(document: &'a [u8]) -> Self {
        Self { document, sequence: None, writes: false }
    }
}

/// An open session.
pub struct Session {
    pub(crate) stream: Stream,
    number: i32,
    /// Whether it had a login.
    pub(crate) logged_in: bool,
    /// Whether nothing is left open.
    pub(crate) is_clean: bool,
    /// Whether the server has said that it is not the one to ask, before it did anything.
    pub(crate) is_not_primary: bool,
}

impl pool::Session for Session {
    fn stream(&self) -> &Stream {
        &self.stream
    }

    fn into_parked(self) -> Option<(Stream, Vec<u8>)> {
        (self.is_clean && !self.is_not_primary).then_some((self.stream, Vec::new()))
    }
}

impl Session {
    /// Over a stream; `logged_in` unless its server asks for no login.
    pub fn new(stream: Stream, logged_in: bool) -> Self {
        let stream = stream.limited_to(REPLY_BYTES_MAX);
        Self { stream, number: 0, logged_in, is_clean: true, is_not_primary: false }
    }

    /// Sends a command and reads its reply with `read`, unless that is an error.
    pub fn run<T>(
        &mut self,
        command: Command<'_>,
        read: impl FnOnce(Document<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        match self.ask(command, |reply| match ServerError::of(reply)? {
            Some(error) => Ok(Err(error)),
            None => read(reply).map(Ok),
        })? {
            Ok(value) => Ok(value),
            Err(error) => {
                self.is_not_primary = error.is_not_primary();
                Err(error.into_failure(self.logged_in))
            }
        }
    }

    /// Sends a command and reads whatever is answered.
    pub(crate) fn ask<T>(
        &mut self,
        command: Command<'_>,
        read: impl FnOnce(Document<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        self.number = self.number.wrapping_add(1);
        let Command { document, sequence, writes } = command;
        wire::push_message(self.stream.write_buf(), self.number, document, sequence)?;
        if writes {
            self.stream.flush()?;
        } else {
            self.stream.flush_harmless()?;
        }
        let length = wire::length(self.stream.need(HEADER_BYTES)?, self.number)?;
        let message = self.stream.need(length)?.get(..length).unwrap_or_default();
        let value = wire::document(message).and_then(read);
        self.stream.consume(length);
        value
    }
}
