//! Buffered reading and writing over a [`Socket`]: what every wire protocol needs, and few calls of the host.
//!
//! Reading takes whatever has arrived, 64 KiB and more at a time; writing gathers until [`Stream::flush`], which reading
//! does by itself. A call of the host costs more than parsing a thousand rows' headers.
//!
//! Invariant: memory follows the bytes that arrived, never a length that the other side announced, and no message is
//! longer than the stream's limit.

use serde_json::Value;

use crate::{Failure, HostError, Login, Socket};

/// What one read asks for at least.
const READ_BYTES: usize = 64 * 1024;

/// What one read asks for at most, where a long message is known to follow.
const READ_BYTES_MAX: usize = 1024 * 1024;

/// A message may be this long unless [`Stream::limited_to`] says otherwise.
const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Buffers that grew beyond this are given back once they are empty.
const KEPT_BYTES_MAX: usize = 4 * READ_BYTES_MAX;

/// The host keeps no more than this beside a parked stream.
const STATE_BYTES_MAX: usize = 64 * 1024;

/// A socket with a buffer on each side.
pub struct Stream {
    socket: Box<dyn Socket>,
    input: Vec<u8>,
    /// Where in `input` the unread bytes begin.
    start: usize,
    output: Vec<u8>,
    message_bytes_max: usize,
    answered: bool,
    effect_sent: bool,
    /// Something failed half way: nobody knows what the stream would say next.
    broken: bool,
}

impl Stream {
    /// Over an open socket.
    pub fn new(socket: Box<dyn Socket>) -> Self {
        Self {
            socket,
            input: Vec::new(),
            start: 0,
            output: Vec::new(),
            message_bytes_max: MESSAGE_BYTES_MAX,
            answered: false,
            effect_sent: false,
            broken: false,
        }
    }

    /// Sets how long one message, that is, one [`Stream::need`], may be.
    #[must_use]
    pub fn limited_to(mut self, message_bytes_max: usize) -> Self {
        self.message_bytes_max = message_bytes_max;
        self
    }

    /// Where to put what is to be sent.
    pub fn write_buf(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    /// Sends what [`Stream::write_buf`] has. It counts as something that may have an effect on the other system, so that
    /// it is not sent again on another stream (see [`crate::pool`]).
    pub fn flush(&mut self) -> Result<(), Failure> {
        self.effect_sent |= !self.output.is_empty();
        self.flush_harmless()
    }

    /// As [`Stream::flush`], for what changes nothing there: a greeting, a reset, the preparation of a statement.
    pub fn flush_harmless(&mut self) -> Result<(), Failure> {
        Ok(self.write_out()?)
    }

    /// The bytes that have arrived and were not consumed.
    pub fn buffered(&self) -> &[u8] {
        self.input.get(self.start..).unwrap_or_default()
    }

    /// Waits until `count` bytes have arrived, and gives those and whatever follows them. They stay until
    /// [`Stream::consume`]. `network` if the stream ends before, `limit-exceeded` if `count` is beyond the limit.
    pub fn need(&mut self, count: usize) -> Result<&[u8], Failure> {
        while self.buffered().len() < count {
            if count > self.message_bytes_max {
                return Err(self.too_long(count));
            }
            if !self.fill_for(count)? {
                return Err(self.ended());
            }
        }
        Ok(self.buffered())
    }

    /// Gives the next `count` bytes away.
    pub fn consume(&mut self, count: usize) {
        self.start = self.start.saturating_add(count).min(self.input.len());
    }

    /// [`Stream::need`] and [`Stream::consume`] in one: exactly `count` bytes.
    pub fn take(&mut self, count: usize) -> Result<&[u8], Failure> {
        self.need(count)?;
        let from = self.start;
        self.consume(count);
        Ok(self.input.get(from..self.start).unwrap_or_default())
    }

    /// The next line without its CR LF, consumed. `protocol` if there is none within `bytes_max`.
    pub fn line(&mut self, bytes_max: usize) -> Result<&[u8], Failure> {
        let mut searched = 0;
        let length = loop {
            let rest = self.buffered().get(searched..).unwrap_or_default();
            if let Some(at) = rest.windows(2).position(|pair| pair == b"\r\n") {
                break searched + at;
            }
            // The last byte may be the CR of a line end that is still on its way.
            searched = self.buffered().len().saturating_sub(1);
            if searched > bytes_max {
                break searched;
            }
            if !self.fill()? {
                return Err(self.ended());
            }
        };
        if length > bytes_max {
            self.broken = true;
            return Err(Failure::Protocol(format!("the server sent a line of more than {bytes_max} bytes")));
        }
        let from = self.start;
        self.consume(length + 2);
        Ok(self.input.get(from..from + length).unwrap_or_default())
    }

    /// Reads once more, for protocols that know a message's length only when they have parsed it; `false` at the end of
    /// the stream. `limit-exceeded` if as much as one message may be is buffered already.
    pub fn fill(&mut self) -> Result<bool, Failure> {
        let buffered = self.buffered().len();
        if buffered >= self.message_bytes_max {
            return Err(self.too_long(buffered));
        }
        self.fill_for(0)
    }

    /// Whether anything has arrived on this stream, or since it was resumed.
    pub fn answered(&self) -> bool {
        self.answered
    }

    /// Whether something was sent by [`Stream::flush`], which may have had an effect.
    pub fn effect_sent(&self) -> bool {
        self.effect_sent
    }

    /// Upgrades to TLS in place. Plain bytes that arrived after the answer that offered it are refused: anybody could
    /// have put them there.
    pub fn start_tls(&mut self) -> Result<(), Failure> {
        self.flush_harmless()?;
        if !self.buffered().is_empty() {
            self.broken = true;
            return Err(Failure::Protocol("the server sent plain text where TLS was to begin".into()));
        }
        let started = self.socket.start_tls();
        self.broken |= started.is_err();
        Ok(started?)
    }

    /// Begins a login with the connection's secret, unseen; what was written so far is sent before. `not-found` if the
    /// connection has no such secret.
    pub fn login(&mut self, mechanism: &str, parameters: &Value) -> Result<Box<dyn Login>, HostError> {
        self.write_out()?;
        self.socket.login(mechanism, parameters)
    }

    /// Keeps the stream for a later call under `session`, with `state` for the one who resumes it. It is closed instead
    /// if reading or writing failed, if something is unread or unsent, for that belongs to this call, or if `state` is
    /// longer than 64 KiB.
    pub fn park(self, session: &str, state: &[u8]) {
        let silent = self.buffered().is_empty() && self.output.is_empty();
        if silent && !self.broken && state.len() <= STATE_BYTES_MAX {
            self.socket.park(session, state);
        }
    }

    fn write_out(&mut self) -> Result<(), HostError> {
        if !self.output.is_empty() {
            let written = self.socket.write(&self.output);
            self.broken |= written.is_err();
            written?;
            self.output.clear();
            self.output.shrink_to(KEPT_BYTES_MAX);
        }
        Ok(())
    }

    /// Reads once, with at least `count` buffered bytes in view; `false` at the end.
    fn fill_for(&mut self, count: usize) -> Result<bool, Failure> {
        self.flush()?;
        let missing = count.saturating_sub(self.buffered().len());
        let max = missing.clamp(READ_BYTES, READ_BYTES_MAX);
        let read = self.socket.read(u32::try_from(max).unwrap_or(u32::MAX));
        let more = read.as_ref().is_ok_and(|bytes| !bytes.is_empty());
        self.answered |= more;
        self.broken |= !more;
        let bytes = read?;
        if self.start == self.input.len() {
            self.input = bytes;
        } else {
            self.input.drain(..self.start);
            self.input.extend_from_slice(&bytes);
        }
        self.start = 0;
        Ok(more)
    }

    fn ended(&self) -> Failure {
        Failure::Network(if self.buffered().is_empty() {
            "the server closed the connection".into()
        } else {
            "the server closed the connection in the middle of a message".into()
        })
    }

    fn too_long(&mut self, count: usize) -> Failure {
        self.broken = true;
        Failure::LimitExceeded(format!(
            "a message of {count} bytes from the server; at most {} are taken",
            self.message_bytes_max
        ))
    }
}
