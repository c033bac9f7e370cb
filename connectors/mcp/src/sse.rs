//! A stream of events (WHATWG HTML, section 9.2 "Server-sent events"), from bytes that arrive in any pieces.
//!
//! Invariant: no more than one event and what arrived with its end is held, and an event is no longer than [`BYTES_MAX`].

use openact_connector::Failure;

/// One event, bytes. A result is as much as the host lets a call give.
pub const BYTES_MAX: usize = 16 * 1024 * 1024;

/// One event with data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its type; `message` if it has none.
    pub kind: String,
    /// Its lines of data, joined by line breaks.
    pub data: String,
}

/// The events of one stream.
#[derive(Debug, Default)]
pub struct Events {
    /// Arrived, from the beginning of the line that is not complete.
    bytes: Vec<u8>,
    /// Where in it the unread bytes begin.
    start: usize,
    /// How far it was searched for a line end.
    searched: usize,
    /// Whether the first line is still to come, which may have a byte order mark.
    begun: bool,
    /// The last line ended with CR; an LF that follows belongs to it.
    after_cr: bool,
    kind: String,
    data: String,
    has_data: bool,
    id: Option<String>,
    last_id: Option<String>,
    retry_ms: Option<u64>,
}

impl Events {
    /// The events of a stream that goes on after another one.
    pub fn after(id: Option<String>) -> Self {
        Self { id: id.clone(), last_id: id, ..Self::default() }
    }

    /// The id of the last event, from after which the stream can be asked for again.
    pub fn last_id(&self) -> Option<&str> {
        self.last_id.as_deref().filter(|id| !id.is_empty())
    }

    /// How long the server wants to be left alone before that, milliseconds.
    pub fn retry_ms(&self) -> Option<u64> {
        self.retry_ms
    }

    /// Takes bytes that arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.start);
        self.searched -= self.start;
        self.start = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next event with data, if it is complete. `limit-exceeded` where it is too long.
    pub fn take(&mut self) -> Result<Option<Event>, Failure> {
        while let Some(line) = self.line() {
            if line.is_empty() {
                self.last_id.clone_from(&self.id);
                let (kind, data) = (std::mem::take(&mut self.kind), std::mem::take(&mut self.data));
                if std::mem::take(&mut self.has_data) {
                    let kind = if kind.is_empty() { "message".into() } else { kind };
                    return Ok(Some(Event { kind, data }));
                }
                continue;
            }
            self.field(&line);
            if self.data.len() > BYTES_MAX {
                return Err(too_long());
            }
        }
        if self.bytes.len() - self.start > BYTES_MAX { Err(too_long()) } else { Ok(None) }
    }

    fn field(&mut self, line: &str) {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.data.push('\n');
                }
                self.data.push_str(value);
            }
            "event" => self.kind = value.to_owned(),
            // It has to go into a header again.
            "id" if value.len() <= 4096 && !value.contains(char::is_control) => {
                self.id = Some(value.to_owned());
            }
            "retry" if value.bytes().all(|b| b.is_ascii_digit()) => {
                self.retry_ms = value.parse().ok().or(self.retry_ms);
            }
            // A comment begins with the colon and so has no name; other fields mean nothing.
            _ => {}
        }
    }

    /// The next complete line. One that ends with CR is complete; an LF after it is none of its own.
    fn line(&mut self) -> Option<String> {
        if self.after_cr && self.bytes.get(self.start)? == &b'\n' {
            self.start += 1;
        }
        self.after_cr = false;
        let from = self.searched.max(self.start);
        let rest = self.bytes.get(from..).unwrap_or_default();
        let Some(at) = rest.iter().position(|b| matches!(b, b'\n' | b'\r')) else {
            self.searched = self.bytes.len();
            return None;
        };
        let end = from + at;
        let mut line = self.bytes.get(self.start..end).unwrap_or_default();
        if !std::mem::replace(&mut self.begun, true) {
            line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        }
        let line = String::from_utf8_lossy(line).into_owned();
        self.after_cr = self.bytes.get(end) == Some(&b'\r');
        self.start = end + 1;
        self.searched = self.start;
        Some(line)
    }
}

fn too_long() -> Failure {
    Failure::LimitExceeded(format!("an event of the server is longer than {BYTES_MAX} bytes"))
}
