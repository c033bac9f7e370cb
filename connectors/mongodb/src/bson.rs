//! BSON (<https://bsonspec.org/spec.html>): documents read in place, and written in one pass.
//!
//! There is no tree of values in between: a million documents are read without one allocation each. Invariant: a length
//! that does not fit what is there is a failure, found before anything is read by it.

use openact_connector::Failure;

/// How deep documents may be within each other; MongoDB's own limit is 100.
pub const DEPTH_MAX: usize = 110;

/// The kinds of values, as they are written.
pub mod kind {
    #![expect(missing_docs, reason = "the names are those of the specification")]
    pub const DOUBLE: u8 = 0x01;
    pub const STRING: u8 = 0x02;
    pub const DOCUMENT: u8 = 0x03;
    pub const ARRAY: u8 = 0x04;
    pub const BINARY: u8 = 0x05;
    pub const UNDEFINED: u8 = 0x06;
    pub const OBJECT_ID: u8 = 0x07;
    pub const BOOLEAN: u8 = 0x08;
    pub const DATE: u8 = 0x09;
    pub const NULL: u8 = 0x0a;
    pub const REGEX: u8 = 0x0b;
    pub const DB_POINTER: u8 = 0x0c;
    pub const CODE: u8 = 0x0d;
    pub const SYMBOL: u8 = 0x0e;
    pub const CODE_WITH_SCOPE: u8 = 0x0f;
    pub const INT32: u8 = 0x10;
    pub const TIMESTAMP: u8 = 0x11;
    pub const INT64: u8 = 0x12;
    pub const DECIMAL: u8 = 0x13;
    pub const MAX_KEY: u8 = 0x7f;
    pub const MIN_KEY: u8 = 0xff;
}

/// One value. Texts are bytes, since nobody checks on the way that they are UTF-8.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names are those of the specification")]
pub enum Value<'a> {
    Double(f64),
    String(&'a [u8]),
    Document(Document<'a>),
    Array(Document<'a>),
    Binary(u8, &'a [u8]),
    Undefined,
    ObjectId([u8; 12]),
    Boolean(bool),
    /// Milliseconds since 1970.
    Date(i64),
    Null,
    Regex(&'a [u8], &'a [u8]),
    DbPointer(&'a [u8], [u8; 12]),
    Code(&'a [u8]),
    Symbol(&'a [u8]),
    CodeWithScope(&'a [u8], Document<'a>),
    Int32(i32),
    /// Seconds, and a number within the second.
    Timestamp(u32, u32),
    Int64(i64),
    Decimal(u128),
    MinKey,
    MaxKey,
}

impl<'a> Value<'a> {
    /// A whole number, of whichever type the server has chosen.
    pub fn as_integer(self) -> Option<i64> {
        match self {
            Self::Int32(number) => Some(number.into()),
            Self::Int64(number) => Some(number),
            // Replies have `ok: 1.0`, and counts beyond what is exact are not ours to tell.
            Self::Double(number) if number.fract() == 0.0 && number.abs() < 9.1e15 => Some(number as i64),
            _ => None,
        }
    }

    /// True, or a number other than zero, as in `ok`.
    pub fn is_true(self) -> bool {
        match self {
            Self::Boolean(value) => value,
            other => other.as_integer().is_some_and(|number| number != 0),
        }
    }

    /// Text, if it is UTF-8.
    pub fn as_text(self) -> Option<&'a str> {
        match self {
            Self::String(bytes) => str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    /// A document.
    pub fn as_document(self) -> Option<Document<'a>> {
        match self {
            Self::Document(document) => Some(document),
            _ => None,
        }
    }

    /// A list.
    pub fn as_array(self) -> Option<Document<'a>> {
        match self {
            Self::Array(document) => Some(document),
            _ => None,
        }
    }
}

/// A document, or a list, which is a document whose names are 0, 1, ….
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Document<'a> {
    /// All of it, length and final zero included.
    whole: &'a [u8],
}

impl<'a> Document<'a> {
    /// The document that `bytes` are, all of them.
    pub fn of(bytes: &'a [u8]) -> Result<Self, Failure> {
        let mut rest = bytes;
        let document = document(&mut rest)?;
        if rest.is_empty() { Ok(document) } else { Err(broken("ends before what it is in")) }
    }

    /// Its bytes.
    pub fn bytes(self) -> &'a [u8] {
        self.whole
    }

    /// Its members, in their order.
    pub fn members(self) -> Members<'a> {
        let inside = self.whole.len().saturating_sub(1);
        Members { rest: self.whole.get(4..inside).unwrap_or_default() }
    }

    /// The first member of this name.
    pub fn get(self, name: &str) -> Result<Option<Value<'a>>, Failure> {
        for member in self.members() {
            let (own, value) = member?;
            if own == name.as_bytes() {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    /// Whether it has no members.
    pub fn is_empty(self) -> bool {
        self.whole.len() <= 5
    }
}

/// The members of a [`Document`]. After a failure there are no more.
#[derive(Clone, Copy, Debug)]
pub struct Members<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Members<'a> {
    type Item = Result<(&'a [u8], Value<'a>), Failure>;

    fn next(&mut self) -> Option<Self::Item> {
        let (&kind, rest) = self.rest.split_first()?;
        self.rest = rest;
        let member = member(kind, &mut self.rest);
        if member.is_err() {
            self.rest = &[];
        }
        Some(member)
    }
}

fn member<'a>(kind: u8, rest: &mut &'a [u8]) -> Result<(&'a [u8], Value<'a>), Failure> {
    let name = zero_ended(rest)?;
    let value = match kind {
        kind::DOUBLE => Value::Double(f64::from_le_bytes(fixed(rest)?)),
        kind::STRING => Value::String(text(rest)?),
        kind::DOCUMENT => Value::Document(document(rest)?),
        kind::ARRAY => Value::Array(document(rest)?),
        kind::BINARY => {
            let length = length(rest)?;
            let [subtype] = fixed(rest)?;
            Value::Binary(subtype, take(rest, length)?)
        }
        kind::UNDEFINED => Value::Undefined,
        kind::OBJECT_ID => Value::ObjectId(fixed(rest)?),
        kind::BOOLEAN => match fixed(rest)? {
            [0] => Value::Boolean(false),
            [1] => Value::Boolean(true),
            _ => return Err(broken("has a boolean that is neither")),
        },
        kind::DATE => Value::Date(i64::from_le_bytes(fixed(rest)?)),
        kind::NULL => Value::Null,
        kind::REGEX => Value::Regex(zero_ended(rest)?, zero_ended(rest)?),
        kind::DB_POINTER => Value::DbPointer(text(rest)?, fixed(rest)?),
        kind::CODE => Value::Code(text(rest)?),
        kind::SYMBOL => Value::Symbol(text(rest)?),
        kind::CODE_WITH_SCOPE => {
            let whole = length(rest)?.checked_sub(4).ok_or_else(|| broken("has code of no length"))?;
            let mut inside = take(rest, whole)?;
            let value = Value::CodeWithScope(text(&mut inside)?, document(&mut inside)?);
            if !inside.is_empty() {
                return Err(broken("has code that is longer than its parts"));
            }
            value
        }
        kind::INT32 => Value::Int32(i32::from_le_bytes(fixed(rest)?)),
        kind::TIMESTAMP => {
            let increment = u32::from_le_bytes(fixed(rest)?);
            Value::Timestamp(u32::from_le_bytes(fixed(rest)?), increment)
        }
        kind::INT64 => Value::Int64(i64::from_le_bytes(fixed(rest)?)),
        kind::DECIMAL => Value::Decimal(u128::from_le_bytes(fixed(rest)?)),
        kind::MIN_KEY => Value::MinKey,
        kind::MAX_KEY => Value::MaxKey,
        _ => return Err(broken(&format!("has a value of the unknown type {kind:#04x}"))),
    };
    Ok((name, value))
}

fn document<'a>(rest: &mut &'a [u8]) -> Result<Document<'a>, Failure> {
    let mut after = *rest;
    let length = length(&mut after)?;
    if length < 5 {
        return Err(broken("has a document of less than five bytes"));
    }
    let whole = take(rest, length)?;
    if whole.last() != Some(&0) {
        return Err(broken("has a document without an end"));
    }
    Ok(Document { whole })
}

fn text<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], Failure> {
    let length = length(rest)?;
    match take(rest, length)?.split_last() {
        Some((0, text)) => Ok(text),
        _ => Err(broken("has text without an end")),
    }
}

fn zero_ended<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], Failure> {
    let end = rest.iter().position(|byte| *byte == 0).ok_or_else(|| broken("has a name without an end"))?;
    let text = take(rest, end)?;
    take(rest, 1)?;
    Ok(text)
}

fn length(rest: &mut &[u8]) -> Result<usize, Failure> {
    usize::try_from(i32::from_le_bytes(fixed(rest)?)).map_err(|_| broken("has a negative length"))
}

fn fixed<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Failure> {
    match rest.split_first_chunk() {
        Some((taken, after)) => {
            *rest = after;
            Ok(*taken)
        }
        None => Err(broken("ends in the middle of a value")),
    }
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Result<&'a [u8], Failure> {
    match rest.split_at_checked(count) {
        Some((taken, after)) => {
            *rest = after;
            Ok(taken)
        }
        None => Err(broken("has a length beyond its end")),
    }
}

fn broken(what: &str) -> Failure {
    Failure::Protocol(format!("the server sent BSON that {what}"))
}

/// A document that is being written: members one after the other, then [`Builder::finish`].
#[derive(Clone, Debug, Default)]
pub struct Builder(Vec<u8>);

impl Builder {
    /// No member yet. The first one should be what a command is called.
    pub fn new() -> Self {
        Self(vec![0; 4])
    }

    /// Adds a member of `kind` whose value has these bytes.
    #[must_use]
    pub fn raw(mut self, name: &str, kind: u8, bytes: &[u8]) -> Self {
        self.0.push(kind);
        self.0.extend_from_slice(name.as_bytes());
        self.0.push(0);
        self.0.extend_from_slice(bytes);
        self
    }

    /// Adds text.
    #[must_use]
    pub fn text(mut self, name: &str, text: &str) -> Self {
        self = self.raw(name, kind::STRING, &[]);
        push_text(&mut self.0, text);
        self
    }

    /// Adds a whole number, in four bytes if it fits.
    #[must_use]
    pub fn integer(self, name: &str, number: i64) -> Self {
        match i32::try_from(number) {
            Ok(number) => self.raw(name, kind::INT32, &number.to_le_bytes()),
            Err(_) => self.long(name, number),
        }
    }

    /// Adds a whole number in eight bytes.
    #[must_use]
    pub fn long(self, name: &str, number: i64) -> Self {
        self.raw(name, kind::INT64, &number.to_le_bytes())
    }

    /// Adds true or false.
    #[must_use]
    pub fn boolean(self, name: &str, value: bool) -> Self {
        self.raw(name, kind::BOOLEAN, &[value.into()])
    }

    /// Adds bytes.
    #[must_use]
    pub fn binary(mut self, name: &str, bytes: &[u8]) -> Self {
        self = self.raw(name, kind::BINARY, &[]);
        push_binary(&mut self.0, 0, bytes);
        self
    }

    /// Adds a document, finished.
    #[must_use]
    pub fn document(self, name: &str, document: &[u8]) -> Self {
        self.raw(name, kind::DOCUMENT, document)
    }

    /// Adds a list of documents, finished.
    #[must_use]
    pub fn documents(self, name: &str, documents: &[&[u8]]) -> Self {
        let mut list = Self::new();
        for (index, document) in documents.iter().enumerate() {
            list = list.document(&index.to_string(), document);
        }
        self.raw(name, kind::ARRAY, &list.finish())
    }

    /// Adds the members of a finished document.
    #[must_use]
    pub fn members(mut self, document: &[u8]) -> Self {
        self.0.extend_from_slice(Members::of(document).rest);
        self
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.0.len() <= 4
    }

    /// The document.
    pub fn finish(mut self) -> Vec<u8> {
        end(&mut self.0, 0);
        self.0
    }
}

impl<'a> Members<'a> {
    fn of(document: &'a [u8]) -> Self {
        Document { whole: document }.members()
    }
}

/// Begins a document in `out`, for [`end`].
pub(crate) fn begin(out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    start
}

/// Ends the document that began at `start`.
pub(crate) fn end(out: &mut Vec<u8>, start: usize) {
    out.push(0);
    let length = u32::try_from(out.len() - start).unwrap_or(u32::MAX);
    if let Some(place) = out.get_mut(start..start + 4) {
        place.copy_from_slice(&length.to_le_bytes());
    }
}

/// Writes text with its length.
pub(crate) fn push_text(out: &mut Vec<u8>, text: &str) {
    push_length(out, text.len() + 1);
    out.extend_from_slice(text.as_bytes());
    out.push(0);
}

/// Writes bytes with their length and subtype.
pub(crate) fn push_binary(out: &mut Vec<u8>, subtype: u8, bytes: &[u8]) {
    push_length(out, bytes.len());
    out.push(subtype);
    out.extend_from_slice(bytes);
}

/// Writes a length. What is too long for it is refused as a message, long before.
pub(crate) fn push_length(out: &mut Vec<u8>, length: usize) {
    out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
}
