//! The protocol's messages, version 3.0: read in place from the stream's buffer, written into it.
//!
//! Hand-written: a message is a tag, a length and a few fields, and reading it where it lies copies nothing.
//!
//! Invariant: no length that the server announced is trusted: a field that does not fit its message is `protocol`.

use openact_connector::{Failure, Stream};

/// A row may be this long. Several times as much must fit into a call's memory.
pub const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What the server sent.
#[derive(Debug)]
pub enum Message<'a> {
    /// `R`: what the server asks for to let us in.
    Authentication(u32, Fields<'a>),
    /// `K`: with which a running statement may be cancelled.
    KeyData {
        /// Of the server's process.
        process: u32,
        /// What proves that we may.
        secret: &'a [u8],
    },
    /// `S`
    ParameterStatus(&'a [u8], &'a [u8]),
    /// `Z`: `I` idle, `T` in a transaction, `E` in a failed one.
    Ready(u8),
    /// `1`
    ParseComplete,
    /// `2`
    BindComplete,
    /// `3`
    CloseComplete,
    /// `t`: the type of each parameter.
    ParameterDescription(Vec<u32>),
    /// `T`: name and type of each column.
    RowDescription(Vec<(&'a [u8], u32)>),
    /// `n`
    NoData,
    /// `D`
    DataRow(Row<'a>),
    /// `C`
    CommandComplete(&'a [u8]),
    /// `s`: there are more rows.
    PortalSuspended,
    /// `I`
    EmptyQuery,
    /// `E`
    Error(Fields<'a>),
    /// `N`
    Notice(Fields<'a>),
    /// `A`: somebody's NOTIFY; nobody here listens.
    Notification,
    /// `G`
    CopyIn,
    /// `H`
    CopyOut,
    /// `d`, `c`
    CopyData,
}

/// Reads the next message; waits for it.
pub fn next(stream: &mut Stream) -> Result<Message<'_>, Failure> {
    let (tag, length) = match *stream.need(5)? {
        [tag, a, b, c, d, ..] => (tag, u32::from_be_bytes([a, b, c, d])),
        _ => return Err(broken()),
    };
    let length = usize::try_from(length).map_err(|_| broken())?;
    // What is no message of a server is no PostgreSQL; its length means nothing.
    if length < 4 || !b"RKSZ123tTnDCsIENAGHdcWv".contains(&tag) {
        return Err(Failure::Protocol("the server does not speak PostgreSQL's protocol".into()));
    }
    let message = stream.take(length.saturating_add(1))?;
    let body = Fields(message.get(5..).ok_or_else(broken)?);
    read(tag, body)
}

fn read(tag: u8, mut body: Fields<'_>) -> Result<Message<'_>, Failure> {
    Ok(match tag {
        b'D' => {
            let count = body.u16()?;
            Message::DataRow(Row { left: count, fields: body })
        }
        b'R' => Message::Authentication(body.u32()?, body),
        b'K' => Message::KeyData { process: body.u32()?, secret: body.rest() },
        b'S' => Message::ParameterStatus(body.text()?, body.text()?),
        b'Z' => Message::Ready(body.u8()?),
        b'1' => Message::ParseComplete,
        b'2' => Message::BindComplete,
        b'3' => Message::CloseComplete,
        b't' => {
            let count = body.u16()?;
            Message::ParameterDescription((0..count).map(|_| body.u32()).collect::<Result<_, _>>()?)
        }
        b'T' => {
            let count = body.u16()?;
            Message::RowDescription((0..count).map(|_| column(&mut body)).collect::<Result<_, _>>()?)
        }
        b'n' => Message::NoData,
        b'C' => Message::CommandComplete(body.text()?),
        b's' => Message::PortalSuspended,
        b'I' => Message::EmptyQuery,
        b'E' => Message::Error(body),
        b'N' => Message::Notice(body),
        b'A' => Message::Notification,
        b'G' => Message::CopyIn,
        b'H' => Message::CopyOut,
        b'd' | b'c' => Message::CopyData,
        _ => return Err(unexpected("message of another version")),
    })
}

fn column<'a>(body: &mut Fields<'a>) -> Result<(&'a [u8], u32), Failure> {
    let name = body.text()?;
    let (_table, _number) = (body.u32()?, body.u16()?);
    let oid = body.u32()?;
    let (_size, _modifier, _format) = (body.u16()?, body.u32()?, body.u16()?);
    Ok((name, oid))
}

/// What is left of a message.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a>(pub &'a [u8]);

impl<'a> Fields<'a> {
    fn bytes(&mut self, count: usize) -> Result<&'a [u8], Failure> {
        let (bytes, rest) = self.0.split_at_checked(count).ok_or_else(broken)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn u8(&mut self) -> Result<u8, Failure> {
        self.bytes(1)?.first().copied().ok_or_else(broken)
    }

    fn u16(&mut self) -> Result<u16, Failure> {
        self.bytes(2)?.try_into().map(u16::from_be_bytes).map_err(|_| broken())
    }

    fn u32(&mut self) -> Result<u32, Failure> {
        self.bytes(4)?.try_into().map(u32::from_be_bytes).map_err(|_| broken())
    }

    /// Up to a zero byte.
    pub fn text(&mut self) -> Result<&'a [u8], Failure> {
        let end = self.0.iter().position(|byte| *byte == 0).ok_or_else(broken)?;
        let text = self.bytes(end)?;
        self.u8()?;
        Ok(text)
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    /// The fields of an error or a notice: a letter and a text each.
    pub fn lettered(mut self) -> Result<Vec<(u8, String)>, Failure> {
        let mut fields = Vec::new();
        while let Some((&letter, rest)) = self.0.split_first() {
            self.0 = rest;
            if letter == 0 {
                break;
            }
            fields.push((letter, String::from_utf8_lossy(self.text()?).into_owned()));
        }
        Ok(fields)
    }
}

/// The values of a row, as text.
#[derive(Debug)]
pub struct Row<'a> {
    left: u16,
    fields: Fields<'a>,
}

impl<'a> Row<'a> {
    /// The next value, `Some(None)` for null; none after the last.
    pub fn next_value(&mut self) -> Result<Option<Option<&'a [u8]>>, Failure> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        match self.fields.u32()? {
            u32::MAX => Ok(Some(None)),
            length => {
                let length = usize::try_from(length).map_err(|_| broken())?;
                self.fields.bytes(length).map(|value| Some(Some(value)))
            }
        }
    }
}

/// `SSLRequest`
pub fn ssl_request(out: &mut Vec<u8>) {
    for word in [8_u32, 80_877_103] {
        out.extend(word.to_be_bytes());
    }
}

/// `CancelRequest`
pub fn cancel_request(out: &mut Vec<u8>, process: u32, secret: &[u8]) {
    framed(out, |out| {
        out.extend(80_877_102_u32.to_be_bytes());
        out.extend(process.to_be_bytes());
        out.extend(secret);
    });
}

/// `StartupMessage`
pub fn startup(out: &mut Vec<u8>, parameters: &[(&str, &str)]) {
    framed(out, |out| {
        out.extend(196_608_u32.to_be_bytes());
        for (name, value) in parameters {
            text(out, name);
            text(out, value);
        }
        out.push(0);
    });
}

/// `p` with a mechanism and its first message.
pub fn sasl_first(out: &mut Vec<u8>, mechanism: &str, first: &[u8]) {
    out.push(b'p');
    framed(out, |out| {
        text(out, mechanism);
        out.extend(length(first));
        out.extend(first);
    });
}

/// `p` with whatever an exchange asks for.
pub fn password(out: &mut Vec<u8>, answer: &[u8]) {
    out.push(b'p');
    framed(out, |out| out.extend(answer));
}

/// `Q`: one or several statements without parameters.
pub fn query(out: &mut Vec<u8>, statements: &str) {
    out.push(b'Q');
    framed(out, |out| text(out, statements));
}

/// `P`: exactly one statement.
pub fn parse(out: &mut Vec<u8>, name: &str, statement: &str) {
    out.push(b'P');
    framed(out, |out| {
        text(out, name);
        text(out, statement);
        out.extend(0_u16.to_be_bytes());
    });
}

/// `D` of a statement.
pub fn describe(out: &mut Vec<u8>, name: &str) {
    out.push(b'D');
    framed(out, |out| {
        out.push(b'S');
        text(out, name);
    });
}

/// `B` of the unnamed portal: values as text, and the result as text.
pub fn bind(out: &mut Vec<u8>, name: &str, values: &[Option<String>]) {
    out.push(b'B');
    framed(out, |out| {
        out.push(0);
        text(out, name);
        out.extend(0_u16.to_be_bytes());
        out.extend(u16::try_from(values.len()).unwrap_or(u16::MAX).to_be_bytes());
        for value in values {
            match value {
                None => out.extend(u32::MAX.to_be_bytes()),
                Some(value) => {
                    out.extend(length(value.as_bytes()));
                    out.extend(value.as_bytes());
                }
            }
        }
        out.extend(0_u16.to_be_bytes());
    });
}

/// `E` of the unnamed portal; 0 rows are all of them.
pub fn execute(out: &mut Vec<u8>, rows_max: u32) {
    out.push(b'E');
    framed(out, |out| {
        out.push(0);
        out.extend(rows_max.to_be_bytes());
    });
}

/// `C` of a statement.
pub fn close(out: &mut Vec<u8>, name: &str) {
    out.push(b'C');
    framed(out, |out| {
        out.push(b'S');
        text(out, name);
    });
}

/// `f`: nothing will be copied.
pub fn copy_fail(out: &mut Vec<u8>) {
    out.push(b'f');
    framed(out, |out| out.push(0));
}

/// `S`
pub fn sync(out: &mut Vec<u8>) {
    out.extend([b'S', 0, 0, 0, 4]);
}

/// `H`
pub fn flush(out: &mut Vec<u8>) {
    out.extend([b'H', 0, 0, 0, 4]);
}

/// What came is not what may come now.
pub(crate) fn unexpected(what: &str) -> Failure {
    Failure::Protocol(format!("the server sent what does not belong here: {what}"))
}

fn broken() -> Failure {
    Failure::Protocol("the server sent a message whose fields do not fit it".into())
}

/// A message without its tag: the length comes first and counts itself.
fn framed(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend([0; 4]);
    write(out);
    let bytes = length(out.get(start..).unwrap_or_default());
    if let Some(place) = out.get_mut(start..start + 4) {
        place.copy_from_slice(&bytes);
    }
}

fn length(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes()
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend(text.as_bytes());
    out.push(0);
}
