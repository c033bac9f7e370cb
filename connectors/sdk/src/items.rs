//! The items of a result, one after the other: handed to the caller at once, or gathered.
//!
//! An action that says `stream: true` has its items emitted. Where the caller takes no stream, which the host says at the
//! first item, they are gathered like any other's. Invariant: what is gathered stays within the limits, and an item that
//! was emitted is in no result.

use crate::{Failure, Host, HostError, Json};

/// Gathered items make a result, which the host limits as well: this keeps the guest's memory below that.
const BYTES_MAX: u64 = 64 * 1024 * 1024;

/// How much a result may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Items: rows, documents.
    pub items: u64,
    /// Bytes of JSON, of all items together, emitted or gathered.
    pub bytes: u64,
    /// What happens to the items that would be too many; too many bytes are a failure in any case.
    pub too_many: TooMany,
}

/// What happens to items beyond [`Limits::items`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TooMany {
    /// The call fails with `limit-exceeded`.
    Fail,
    /// They are left out, and the result says `"truncated": true`.
    LeaveOut,
}

/// As many items as there are. Gathered ones have 64 MiB in any case.
impl Default for Limits {
    fn default() -> Self {
        Self { items: u64::MAX, bytes: u64::MAX, too_many: TooMany::Fail }
    }
}

/// Whether more items are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "an answer that goes on after the last item that is wanted need not be read"]
pub enum More {
    /// Go on.
    Wanted,
    /// The limit was reached, and there was at least one more item: stop the server's work.
    Enough,
}

/// The items of one result.
pub struct Items<'h> {
    host: &'h dyn Host,
    /// Whether they are emitted; decided for good by the first one.
    streaming: bool,
    limits: Limits,
    count: u64,
    bytes: u64,
    /// Gathered items separated by commas; where they are emitted, room for one.
    text: String,
    truncated: bool,
}

impl<'h> Items<'h> {
    /// No item yet. `stream` is what the action says.
    pub fn new(host: &'h dyn Host, stream: bool, limits: Limits) -> Self {
        Self { host, streaming: stream, limits, count: 0, bytes: 0, text: String::new(), truncated: false }
    }

    /// Adds the item that `write` appends, which must be one JSON value. It is taken back if `write` fails.
    pub fn push(&mut self, write: impl FnOnce(&mut String) -> Result<(), Failure>) -> Result<More, Failure> {
        if self.count >= self.limits.items {
            self.truncated = true;
            return match self.limits.too_many {
                TooMany::LeaveOut => Ok(More::Enough),
                TooMany::Fail => Err(too_much(self.limits.items, "items")),
            };
        }
        let before = self.text.len();
        if before > 0 {
            self.text.push(',');
        }
        let from = self.text.len();
        if let Err(failure) = write(&mut self.text) {
            self.text.truncate(before);
            return Err(failure);
        }
        self.bytes += (self.text.len() - from) as u64;
        if self.bytes > self.limits.bytes {
            return Err(too_much(self.limits.bytes, "bytes"));
        }
        if self.streaming {
            self.emit()?;
        }
        if !self.streaming && self.bytes > BYTES_MAX {
            return Err(too_much(BYTES_MAX, "bytes in one answer, without a stream"));
        }
        self.count += 1;
        Ok(More::Wanted)
    }

    /// How many were added.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Whether what was added is with the caller already, and cannot be taken back.
    pub fn emitted(&self) -> bool {
        self.streaming && self.count > 0
    }

    /// Appends the members of the result: `"<name>":[…]`, or `"<name>":null,"emitted":n`; and `"truncated":true` where
    /// items were left out.
    pub fn finish(self, name: &str, out: &mut String) {
        crate::write::push_string(out, name);
        if self.emitted() {
            out.push_str(":null,\"emitted\":");
            crate::write::push_uint(out, self.count);
        } else {
            out.push_str(":[");
            out.push_str(&self.text);
            out.push(']');
        }
        if self.truncated {
            out.push_str(",\"truncated\":true");
        }
    }

    /// How long the gathered items are.
    pub(crate) fn text_len(&self) -> usize {
        self.text.len()
    }

    fn emit(&mut self) -> Result<(), Failure> {
        let item = Json::from_text(std::mem::take(&mut self.text));
        let emitted = self.host.emit(&item);
        self.text = item.into();
        match emitted {
            Ok(()) => self.text.clear(),
            Err(HostError::Unsupported(_)) if self.count == 0 => self.streaming = false,
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

fn too_much(max: u64, what: &str) -> Failure {
    Failure::LimitExceeded(format!("the answer has more than {max} {what}"))
}
