//! JSON text read from the front, without a tree of values: what is written straight into BSON needs none.
//!
//! The text was parsed once before, by the host. Invariant: text that is not JSON after all is a failure, never a guess.

use std::borrow::Cow;

/// What is left of a JSON text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Text<'a> {
    rest: &'a str,
}

/// That the text is not JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotJson;

impl<'a> Text<'a> {
    pub(crate) fn of(json: &'a str) -> Self {
        Self { rest: json.trim_ascii_start() }
    }

    /// The first byte of what comes next.
    pub(crate) fn peek(&self) -> Option<u8> {
        self.rest.bytes().next()
    }

    /// Takes `mark` if it is what comes next.
    pub(crate) fn take(&mut self, mark: u8) -> bool {
        if self.peek() != Some(mark) {
            return false;
        }
        self.rest = self.rest.get(1..).unwrap_or_default().trim_ascii_start();
        true
    }

    /// Takes `mark`, which must be what comes next.
    pub(crate) fn expect(&mut self, mark: u8) -> Result<(), NotJson> {
        if self.take(mark) { Ok(()) } else { Err(NotJson) }
    }

    /// After a part of an object or a list: whether another follows; else its `end` is taken.
    pub(crate) fn goes_on(&mut self, end: u8) -> Result<bool, NotJson> {
        if self.take(b',') {
            return Ok(true);
        }
        self.expect(end).map(|()| false)
    }

    /// Takes a string.
    pub(crate) fn string(&mut self) -> Result<Cow<'a, str>, NotJson> {
        let raw = self.raw_string()?;
        let inside = raw.get(1..raw.len() - 1).ok_or(NotJson)?;
        // An escape is to be read; a control character has to be one (RFC 8259 section 7).
        if inside.bytes().any(|byte| byte == b'\\' || byte < b' ') {
            serde_json::from_str(raw).map(Cow::Owned).map_err(|_| NotJson)
        } else {
            Ok(Cow::Borrowed(inside))
        }
    }

    /// Takes a number, `true`, `false` or `null`, as it is written.
    pub(crate) fn word(&mut self) -> &'a str {
        let end = self.rest.find(|c: char| !(c.is_ascii_alphanumeric() || "+-.".contains(c)));
        let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest.trim_ascii_start();
        word
    }

    /// Takes a whole value, as it is written.
    pub(crate) fn raw(&mut self) -> Result<&'a str, NotJson> {
        let before = self.rest;
        let mut depth = 0_usize;
        loop {
            match self.peek().ok_or(NotJson)? {
                b'"' => self.raw_string().map(drop)?,
                mark @ (b'{' | b'[') => {
                    depth += 1;
                    self.expect(mark)?;
                }
                mark @ (b'}' | b']') => {
                    depth = depth.checked_sub(1).ok_or(NotJson)?;
                    self.expect(mark)?;
                }
                mark @ (b',' | b':') if depth > 0 => self.expect(mark)?,
                _ => {
                    if self.word().is_empty() {
                        return Err(NotJson);
                    }
                }
            }
            if depth == 0 {
                return before.get(..before.len() - self.rest.len()).map(str::trim_ascii_end).ok_or(NotJson);
            }
        }
    }

    fn raw_string(&mut self) -> Result<&'a str, NotJson> {
        if self.peek() != Some(b'"') {
            return Err(NotJson);
        }
        let mut escaped = false;
        let end = self.rest.bytes().skip(1).position(|byte| {
            let ends = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            ends
        });
        let (raw, rest) = end.and_then(|end| self.rest.split_at_checked(end + 2)).ok_or(NotJson)?;
        self.rest = rest.trim_ascii_start();
        Ok(raw)
    }
}
