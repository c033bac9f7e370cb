//! RESP2 and RESP3, the protocol of Redis: commands to bytes, and where in the bytes that arrived a reply ends.
//!
//! Written here since the crates for it build a tree of a whole reply, start again with every packet and recurse as deep
//! as a server asks: this walks over the bytes once, however they arrive, and keeps nothing but counters.
//!
//! Invariant: memory follows the bytes that arrived, never a length or a count that the server announced; nothing is
//! nested deeper than [`DEPTH_MAX`].

use openact_connector::Failure;

/// Aggregates within aggregates. Replies of Redis have less than ten.
pub const DEPTH_MAX: usize = 64;

/// A length, a count or a number is shorter than this; a big number or a double is too.
const HEADER_BYTES_MAX: usize = 4 * 1024;

/// A simple string or an error is shorter than this.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// One element of a reply, borrowed from its bytes. Of an aggregate it is the head: so many elements follow.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Token<'a> {
    /// `+`, `$` and `=` (without its format).
    Text(&'a [u8]),
    /// `-` and `!`.
    Error(&'a [u8]),
    /// `:`.
    Integer(i64),
    /// `,`, as it was written.
    Double(&'a str),
    /// `(`, an integer of any length.
    BigNumber(&'a str),
    /// `#`.
    Boolean(bool),
    /// `_`, `$-1` and `*-1`.
    Null,
    /// `*` and `~`.
    List(u64),
    /// `%`: so many keys, each with its value.
    Map(u64),
    /// `>`: what the server says unasked, between replies.
    Push(u64),
    /// `|`: so many keys, each with its value, about the reply that follows.
    Attribute(u64),
}

impl Token<'_> {
    /// How many elements follow that belong to this one.
    fn children(self) -> Option<u64> {
        match self {
            Self::List(count) | Self::Push(count) => Some(count),
            // Half of the numbers there are: doubling cannot overflow, see `count`.
            Self::Map(pairs) | Self::Attribute(pairs) => Some(pairs.saturating_mul(2)),
            _ => None,
        }
    }
}

/// Where one reply ends, found out as its bytes arrive.
#[derive(Debug, Default)]
pub struct Scanner {
    /// Where the next element begins.
    at: usize,
    /// From `at`, so much of a line holds no end of it.
    searched: usize,
    /// How many elements each open aggregate still lacks.
    open: Vec<u64>,
    /// What began the outermost one.
    first: Option<Kind>,
}

/// What a whole message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The answer to a command.
    Reply,
    /// Something the server says unasked.
    Push,
    /// Something about the reply that follows.
    Attribute,
}

/// What is known of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scan {
    /// It is there: so many bytes.
    Done(Kind, usize),
    /// It has at least so many bytes.
    Needs(usize),
}

impl Scanner {
    /// Goes on with `bytes`, which begin where they began before and are longer now.
    pub fn scan(&mut self, bytes: &[u8]) -> Result<Scan, Failure> {
        loop {
            let (token, end) = match next(bytes, self.at, self.searched)? {
                Step::Token(token, end) => (token, end),
                Step::Needs(count, searched) => {
                    self.searched = searched;
                    return Ok(Scan::Needs(count));
                }
            };
            (self.at, self.searched) = (end, 0);
            let kind = match token {
                Token::Push(_) => Kind::Push,
                Token::Attribute(_) => Kind::Attribute,
                _ => Kind::Reply,
            };
            let outermost = *self.first.get_or_insert(kind);
            if kind != Kind::Reply && !self.open.is_empty() {
                return Err(Failure::Protocol(
                    "the server sent a push or an attribute within a reply".into(),
                ));
            }
            if let Some(children) = token.children() {
                if self.open.len() >= DEPTH_MAX {
                    return Err(Failure::Protocol(format!(
                        "the server sent a reply nested deeper than {DEPTH_MAX} levels"
                    )));
                }
                self.open.push(children);
            } else if let Some(open) = self.open.last_mut() {
                *open -= 1;
            }
            // What is complete is an element of the one around it.
            while let Some(0) = self.open.last() {
                self.open.pop();
                if let Some(open) = self.open.last_mut() {
                    *open -= 1;
                }
            }
            if self.open.is_empty() {
                return Ok(Scan::Done(outermost, self.at));
            }
        }
    }
}

/// The elements of a message that is whole.
#[derive(Clone, Debug)]
pub struct Elements<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Elements<'a> {
    /// Of bytes that [`Scanner`] found to be one message.
    pub fn of(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The next one.
    pub fn token(&mut self) -> Result<Token<'a>, Failure> {
        match next(self.bytes, self.at, 0)? {
            Step::Token(token, end) => {
                self.at = end;
                Ok(token)
            }
            Step::Needs(..) => Err(Failure::Protocol("a reply of the server is not whole".into())),
        }
    }

    /// Leaves the next one out, with everything in it.
    pub fn skip(&mut self) -> Result<(), Failure> {
        let mut left = 1_u64;
        while left > 0 {
            // Every element that is counted has at least three bytes, so that this cannot overflow in what is whole.
            left = left - 1 + self.token()?.children().unwrap_or(0);
        }
        Ok(())
    }
}

/// Appends a command: a list of its arguments, each with its length before it, so that nothing in it is ever more than a
/// value.
pub fn push_command<A: AsRef<[u8]>>(out: &mut Vec<u8>, arguments: &[A]) {
    push_header(out, b'*', arguments.len());
    for argument in arguments {
        let argument = argument.as_ref();
        push_header(out, b'$', argument.len());
        out.extend_from_slice(argument);
        out.extend_from_slice(b"\r\n");
    }
}

fn push_header(out: &mut Vec<u8>, kind: u8, count: usize) {
    out.push(kind);
    out.extend_from_slice(count.to_string().as_bytes());
    out.extend_from_slice(b"\r\n");
}

enum Step<'a> {
    /// An element, and where it ends.
    Token(Token<'a>, usize),
    /// At least so many bytes are needed; from the element's beginning so many were searched for the end of its line.
    Needs(usize, usize),
}

/// The element at `at`.
fn next(bytes: &[u8], at: usize, searched: usize) -> Result<Step<'_>, Failure> {
    let Some((&kind, rest)) = bytes.get(at..).and_then(<[u8]>::split_first) else {
        return Ok(Step::Needs(at + 1, 0));
    };
    let bytes_max = if matches!(kind, b'+' | b'-') { LINE_BYTES_MAX } else { HEADER_BYTES_MAX };
    let Some(length) = line_end(rest, searched, bytes_max)? else {
        // The last byte may be the CR of a line end that is still on its way.
        return Ok(Step::Needs(bytes.len() + 1, rest.len().saturating_sub(1)));
    };
    let line = rest.get(..length).unwrap_or_default();
    let end = at + 1 + length + 2;
    let token = match kind {
        b'+' => Token::Text(line),
        b'-' => Token::Error(line),
        b':' => Token::Integer(integer(line)?),
        b',' => Token::Double(double(line)?),
        b'(' => Token::BigNumber(big_number(line)?),
        b'#' if line == b"t" => Token::Boolean(true),
        b'#' if line == b"f" => Token::Boolean(false),
        b'_' if line.is_empty() => Token::Null,
        b'$' | b'*' if line == b"-1" => Token::Null,
        b'*' | b'~' => Token::List(count(line)?),
        b'%' => Token::Map(count(line)?),
        b'>' => Token::Push(count(line)?),
        b'|' => Token::Attribute(count(line)?),
        b'$' | b'=' | b'!' => return bulk(bytes, kind, count(line)?, end, length),
        _ => return Err(bad("the beginning of an element", bytes.get(at..end).unwrap_or_default())),
    };
    Ok(Step::Token(token, end))
}

/// An element whose length is known before it.
fn bulk(bytes: &[u8], kind: u8, length: u64, start: usize, header: usize) -> Result<Step<'_>, Failure> {
    let too_long = || Failure::LimitExceeded(format!("the server announced a value of {length} bytes"));
    let end =
        usize::try_from(length).ok().and_then(|length| start.checked_add(length)).ok_or_else(too_long)?;
    let whole = end.checked_add(2).ok_or_else(too_long)?;
    let Some(line_end) = bytes.get(end..whole) else {
        return Ok(Step::Needs(whole, header));
    };
    if line_end != b"\r\n" {
        return Err(bad("the end of a value", line_end));
    }
    let value = bytes.get(start..end).unwrap_or_default();
    let token = match kind {
        b'!' => Token::Error(value),
        // Three bytes that say what format it has, and a colon.
        b'=' => match value.split_at_checked(4) {
            Some((format, text)) if format.ends_with(b":") => Token::Text(text),
            _ => return Err(bad("a verbatim string", value)),
        },
        _ => Token::Text(value),
    };
    Ok(Step::Token(token, whole))
}

/// Where in `bytes` the line ends, if its end is there.
fn line_end(bytes: &[u8], searched: usize, bytes_max: usize) -> Result<Option<usize>, Failure> {
    let rest = bytes.get(searched..).unwrap_or_default();
    let mut from = 0;
    let found = loop {
        // One byte is found several times as fast as two.
        let Some(at) = rest.get(from..).and_then(|rest| rest.iter().position(|byte| *byte == b'\r')) else {
            break None;
        };
        match rest.get(from + at + 1) {
            Some(b'\n') => break Some(searched + from + at),
            Some(_) => from += at + 1,
            None => break None,
        }
    };
    if found.unwrap_or(bytes.len()) > bytes_max {
        return Err(Failure::Protocol(format!("the server sent a line of more than {bytes_max} bytes")));
    }
    Ok(found)
}

fn integer(line: &[u8]) -> Result<i64, Failure> {
    let number = std::str::from_utf8(line).ok().and_then(|text| text.parse().ok());
    number.ok_or_else(|| bad("an integer", line))
}

/// A length or a count. One of more than half a `u64` is no such thing, so that twice as many can be counted.
fn count(line: &[u8]) -> Result<u64, Failure> {
    u64::try_from(integer(line)?).map_err(|_| bad("a length", line))
}

fn double(line: &[u8]) -> Result<&str, Failure> {
    let text = std::str::from_utf8(line).ok().filter(|text| text.parse::<f64>().is_ok());
    text.ok_or_else(|| bad("a double", line))
}

fn big_number(line: &[u8]) -> Result<&str, Failure> {
    let digits = line.strip_prefix(b"-").unwrap_or(line);
    let text = std::str::from_utf8(line).ok();
    text.filter(|_| !digits.is_empty() && digits.iter().all(u8::is_ascii_digit))
        .ok_or_else(|| bad("a big number", line))
}

fn bad(what: &str, bytes: &[u8]) -> Failure {
    let shown = bytes.get(..bytes.len().min(40)).unwrap_or_default();
    Failure::Protocol(format!("the server does not speak Redis: '{}' is not {what}", shown.escape_ascii()))
}
