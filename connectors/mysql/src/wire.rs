//! Packets, and what is in them: read in place from the stream's buffer, written into it.
//!
//! Hand-written: a packet is a length, a number and a few fields, and the crate there is for it is a megabyte of guest.
//!
//! Invariant: no length or number that the server announced is trusted: a field that does not fit its packet, and a
//! packet out of order, are `protocol`.

use openact_connector::{Failure, Stream};

/// A packet of this length goes on in the next one. None so long is taken: several times as much must fit into a call.
pub const PACKET_BYTES_MAX: usize = 0xff_ffff;

/// What the client and the server can do, and what they agree on.
pub mod capability {
    /// A MySQL, not a MariaDB, which uses further capabilities.
    pub const MYSQL: u32 = 1;
    /// The login names a database.
    pub const CONNECT_WITH_DB: u32 = 1 << 3;
    /// Of the year 2003.
    pub const PROTOCOL_41: u32 = 1 << 9;
    /// TLS.
    pub const SSL: u32 = 1 << 11;
    /// Answers say whether there is a transaction.
    pub const TRANSACTIONS: u32 = 1 << 13;
    /// Logins by challenge.
    pub const SECURE_CONNECTION: u32 = 1 << 15;
    /// Several results of one query, such as of CALL.
    pub const MULTI_RESULTS: u32 = 1 << 17;
    /// The same of prepared ones.
    pub const PS_MULTI_RESULTS: u32 = 1 << 18;
    /// The login has a named way.
    pub const PLUGIN_AUTH: u32 = 1 << 19;
    /// The login says what program this is.
    pub const CONNECT_ATTRS: u32 = 1 << 20;
    /// Answers to the login may be long.
    pub const PLUGIN_AUTH_LENENC: u32 = 1 << 21;
    /// Rows end with an OK.
    pub const DEPRECATE_EOF: u32 = 1 << 24;
    /// Of MariaDB's own: columns say that they are JSON.
    pub const EXTENDED_METADATA: u32 = 1 << 3;
}

/// What a server says of its session with each answer.
pub mod status {
    /// A transaction is open.
    pub const IN_TRANSACTION: u16 = 1;
    /// Another result follows.
    pub const MORE_RESULTS: u16 = 8;
    /// The transaction is read-only.
    pub const READ_ONLY: u16 = 0x2000;
}

/// The commands.
pub mod command {
    /// Selects a database.
    pub const INIT_DB: u8 = 2;
    /// SQL as text.
    pub const QUERY: u8 = 3;
    /// Are you there?
    pub const PING: u8 = 14;
    /// Prepares a statement.
    pub const PREPARE: u8 = 22;
    /// Runs it.
    pub const EXECUTE: u8 = 23;
    /// Sets the session back.
    pub const RESET: u8 = 31;
}

/// The body of the next packet, which must have this number; waits for it.
pub fn next<'s>(stream: &'s mut Stream, number: &mut u8) -> Result<&'s [u8], Failure> {
    let (length, got) = match *stream.need(4)? {
        [a, b, c, got, ..] => (u32::from_le_bytes([a, b, c, 0]), got),
        _ => return Err(broken()),
    };
    if got != *number {
        return Err(unexpected("a packet out of order"));
    }
    *number = number.wrapping_add(1);
    let length = usize::try_from(length).map_err(|_| broken())?;
    if length >= PACKET_BYTES_MAX {
        return Err(Failure::LimitExceeded(format!(
            "a row of the answer has {PACKET_BYTES_MAX} bytes or more"
        )));
    }
    stream.take(length + 4)?.get(4..).ok_or_else(broken)
}

/// Whether `buffered` begins with a whole packet.
pub fn is_whole(buffered: &[u8]) -> bool {
    match *buffered {
        [a, b, c, _, ref rest @ ..] => rest.len() as u64 >= u32::from_le_bytes([a, b, c, 0]).into(),
        _ => false,
    }
}

/// Appends `body` as one packet, or as many as it takes; the number of the next.
pub fn put(out: &mut Vec<u8>, mut number: u8, mut body: &[u8]) -> u8 {
    loop {
        let (part, rest) = body.split_at(body.len().min(PACKET_BYTES_MAX));
        let [a, b, c, _] = u32::try_from(part.len()).unwrap_or_default().to_le_bytes();
        out.extend([a, b, c, number]);
        out.extend(part);
        number = number.wrapping_add(1);
        if part.len() < PACKET_BYTES_MAX {
            return number;
        }
        body = rest;
    }
}

/// Appends a command; the number that its answer begins with.
pub fn put_command(out: &mut Vec<u8>, command: u8, body: &[u8]) -> u8 {
    if body.len() + 1 >= PACKET_BYTES_MAX {
        return put(out, 0, &[&[command], body].concat());
    }
    let [a, b, c, _] = u32::try_from(body.len() + 1).unwrap_or_default().to_le_bytes();
    out.extend([a, b, c, 0, command]);
    out.extend(body);
    1
}

/// Appends a length and that many bytes.
pub fn put_counted(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = bytes.len() as u64;
    let [a, b, c, d, ..] = length.to_le_bytes();
    match length {
        0..=250 => out.push(a),
        251..=0xffff => out.extend([0xfc, a, b]),
        0x1_0000..=0xff_ffff => out.extend([0xfd, a, b, c]),
        _ => {
            out.extend([0xfe, a, b, c, d]);
            out.extend(length.to_le_bytes().into_iter().skip(4));
        }
    }
    out.extend(bytes);
}

/// The fields of a packet that were not read yet.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a>(pub &'a [u8]);

impl<'a> Fields<'a> {
    /// The next `count` bytes.
    pub fn bytes(&mut self, count: usize) -> Result<&'a [u8], Failure> {
        let (bytes, rest) = self.0.split_at_checked(count).ok_or_else(broken)?;
        self.0 = rest;
        Ok(bytes)
    }

    /// The next bytes as many as the caller's array has.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Failure> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or_else(broken)?;
        self.0 = rest;
        Ok(*bytes)
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8, Failure> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// Two bytes.
    pub fn u16(&mut self) -> Result<u16, Failure> {
        self.array().map(u16::from_le_bytes)
    }

    /// Four bytes.
    pub fn u32(&mut self) -> Result<u32, Failure> {
        self.array().map(u32::from_le_bytes)
    }

    /// Eight bytes.
    pub fn u64(&mut self) -> Result<u64, Failure> {
        self.array().map(u64::from_le_bytes)
    }

    /// A number of one to nine bytes.
    pub fn number(&mut self) -> Result<u64, Failure> {
        match self.u8()? {
            byte @ 0..=250 => Ok(byte.into()),
            0xfc => self.u16().map(u64::from),
            0xfd => self.array().map(|[a, b, c]| u32::from_le_bytes([a, b, c, 0]).into()),
            0xfe => self.u64(),
            _ => Err(broken()),
        }
    }

    /// A length and that many bytes.
    pub fn counted(&mut self) -> Result<&'a [u8], Failure> {
        let length = self.number()?;
        self.bytes(usize::try_from(length).map_err(|_| broken())?)
    }

    /// The same as a column of text has it; none is NULL.
    pub fn nullable(&mut self) -> Result<Option<&'a [u8]>, Failure> {
        if self.0.first() == Some(&0xfb) {
            return self.u8().map(|_| None);
        }
        self.counted().map(Some)
    }

    /// Bytes up to a zero byte, or to the end.
    pub fn text(&mut self) -> &'a [u8] {
        let end = self.0.iter().position(|byte| *byte == 0);
        let (text, rest) = self.0.split_at(end.unwrap_or(self.0.len()));
        self.0 = rest.get(1..).unwrap_or_default();
        text
    }
}

/// The server broke the protocol.
pub fn broken() -> Failure {
    unexpected("a packet that is not what it should be")
}

/// The same, with what it sent.
pub fn unexpected(what: &str) -> Failure {
    Failure::Protocol(format!("the server sent {what}"))
}

/// What an answer without rows, or the end of one with rows, says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Rows that were inserted, changed or deleted.
    pub rows_affected: u64,
    /// What AUTO_INCREMENT gave to the first row; 0 if it gave nothing.
    pub last_insert_id: u64,
    /// See [`status`].
    pub status: u16,
    /// How many there were.
    pub warnings: u16,
}

impl Done {
    /// Of an OK, its first byte read already.
    pub fn ok(mut fields: Fields<'_>) -> Result<Self, Failure> {
        Ok(Self {
            rows_affected: fields.number()?,
            last_insert_id: fields.number()?,
            status: fields.u16()?,
            warnings: fields.u16()?,
        })
    }

    /// Of an EOF, its first byte read already.
    pub fn eof(mut fields: Fields<'_>) -> Result<Self, Failure> {
        let (warnings, status) = (fields.u16()?, fields.u16()?);
        Ok(Self { status, warnings, ..Self::default() })
    }
}
