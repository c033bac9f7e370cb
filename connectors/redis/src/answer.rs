//! Replies as JSON.
//!
//! | reply | JSON |
//! |---|---|
//! | simple, bulk and verbatim string | a string if it is UTF-8, else `{"base64": "…"}` |
//! | integer | a number; beyond 2^53 - 1 in size a string of its digits |
//! | double | a number as it was written; `"Infinity"`, `"-Infinity"`, `"NaN"` |
//! | big number | a string of its digits |
//! | boolean, null | `true`, `false`, `null` |
//! | array, set | a list |
//! | map | an object if all keys are different strings, else a list of `[key, value]` |
//! | error within a reply | `{"error": {"code": "WRONGTYPE", "message": "WRONGTYPE …"}}` |
//! | attribute, push | left out |
//!
//! Invariant: the result is JSON whatever the server sent, of at most `JSON_BYTES_MAX`, and nothing of a value is lost.

use openact_connector::{
    Failure, UpstreamFailure,
    write::{push_base64, push_bool, push_float, push_int, push_string},
};

use crate::resp::{Elements, Token};

/// The host takes less by default; the guest's memory has to hold it beside the bytes it comes from.
const JSON_BYTES_MAX: usize = 24 * 1024 * 1024;

/// An error of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerError {
    /// Its first word, if that is in capitals: `ERR`, `WRONGTYPE`, `MOVED`.
    pub code: Option<String>,
    /// All of it.
    pub message: String,
}

/// The error that a message is, if it is one and not a value.
pub fn error_of(message: &[u8]) -> Option<ServerError> {
    match message.first() {
        Some(b'-' | b'!') => match Elements::of(message).token() {
            Ok(Token::Error(text)) => Some(ServerError::of(text)),
            _ => None,
        },
        _ => None,
    }
}

/// How many items of a list are errors.
pub fn errors_in(message: &[u8]) -> Result<u64, Failure> {
    let mut elements = Elements::of(message);
    let Token::List(count) = elements.token()? else { return Ok(0) };
    let mut errors = 0;
    for _ in 0..count {
        errors += u64::from(matches!(elements.clone().token()?, Token::Error(_)));
        elements.skip()?;
    }
    Ok(errors)
}

/// Appends a whole message.
pub fn push_message(out: &mut String, message: &[u8]) -> Result<(), Failure> {
    push_element(out, &mut Elements::of(message))
}

/// Appends the next element with everything in it.
pub fn push_element(out: &mut String, elements: &mut Elements<'_>) -> Result<(), Failure> {
    match elements.token()? {
        Token::Text(bytes) => push_text(out, bytes)?,
        Token::Error(text) => ServerError::of(text).push(out),
        Token::Integer(number) => push_int(out, number),
        Token::Double(text) => push_double(out, text),
        Token::BigNumber(digits) => push_string(out, digits),
        Token::Boolean(value) => push_bool(out, value),
        Token::Null => out.push_str("null"),
        Token::List(count) | Token::Push(count) => {
            for index in 0..count {
                out.push(if index == 0 { '[' } else { ',' });
                push_element(out, elements)?;
            }
            out.push_str(if count == 0 { "[]" } else { "]" });
        }
        Token::Map(count) | Token::Attribute(count) => push_map(out, elements, count)?,
    }
    bounded(out.len())
}

fn push_map(out: &mut String, elements: &mut Elements<'_>, count: u64) -> Result<(), Failure> {
    let named = has_names(elements.clone(), count)?;
    let [open, between, close] = if named { ["{", ":", "}"] } else { ["[", ",", "]"] };
    out.push_str(open);
    for index in 0..count {
        if index > 0 {
            out.push(',');
        }
        if !named {
            out.push('[');
        }
        push_element(out, elements)?;
        out.push_str(between);
        push_element(out, elements)?;
        if !named {
            out.push(']');
        }
    }
    out.push_str(close);
    Ok(())
}

/// Whether the keys of a map can be those of an object.
fn has_names(mut elements: Elements<'_>, count: u64) -> Result<bool, Failure> {
    let mut names = Vec::new();
    for _ in 0..count {
        match elements.token()? {
            Token::Text(name) if std::str::from_utf8(name).is_ok() => names.push(name),
            _ => return Ok(false),
        }
        elements.skip()?;
    }
    names.sort_unstable();
    Ok(names.windows(2).all(|pair| pair.first() != pair.last()))
}

/// Appends a string, or the bytes that are none.
pub fn push_text(out: &mut String, bytes: &[u8]) -> Result<(), Failure> {
    let Ok(text) = std::str::from_utf8(bytes) else {
        bounded(out.len() + bytes.len() / 3 * 4)?;
        out.push_str("{\"base64\":");
        push_base64(out, bytes);
        out.push('}');
        return Ok(());
    };
    // A control character is six of JSON.
    let escaped = bytes.iter().filter(|byte| **byte < b' ').count() * 5;
    bounded(out.len() + bytes.len() + escaped)?;
    push_string(out, text);
    Ok(())
}

/// Appends a score, which RESP2 and some commands write as text.
pub fn push_score(out: &mut String, text: &str) {
    if text.parse::<f64>().is_ok() { push_double(out, text) } else { push_string(out, text) }
}

/// As it was written, if JSON has numbers like that: an integer stays one.
fn push_double(out: &mut String, text: &str) {
    if is_json_number(text) {
        out.push_str(text);
    } else {
        push_float(out, text.parse().unwrap_or(f64::NAN));
    }
}

/// RFC 8259 section 6, of what is a number already.
fn is_json_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let whole = digits.bytes().take_while(u8::is_ascii_digit).count();
    let rest = digits.get(whole..).unwrap_or_default();
    let fraction = rest.strip_prefix('.').unwrap_or("0");
    whole > 0
        && (whole == 1 || !digits.starts_with('0'))
        && fraction.starts_with(|c: char| c.is_ascii_digit())
        && text.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b))
        // What `parse` took and is no number otherwise: none is left.
        && text.parse::<f64>().is_ok_and(f64::is_finite)
}

fn bounded(length: usize) -> Result<(), Failure> {
    if length > JSON_BYTES_MAX {
        let max = JSON_BYTES_MAX;
        return Err(Failure::LimitExceeded(format!("the answer would have more than {max} bytes of JSON")));
    }
    Ok(())
}

impl ServerError {
    /// Of the text behind `-`.
    pub fn of(text: &[u8]) -> Self {
        let message = String::from_utf8_lossy(text).into_owned();
        let first = message.split(' ').next().unwrap_or_default();
        let capital = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b"-_".contains(&b);
        let code = (!first.is_empty() && first.bytes().all(capital)).then(|| first.to_owned());
        Self { code, message }
    }

    /// Its code, or nothing.
    pub fn code(&self) -> &str {
        self.code.as_deref().unwrap_or_default()
    }

    /// As a failure of the call.
    pub fn into_failure(self) -> Failure {
        match self.code() {
            "NOAUTH" => Failure::Unauthenticated(format!(
                "the server asks for a password: {}; set password (and user) on the connection",
                self.message
            )),
            "WRONGPASS" => {
                Failure::Unauthenticated(format!("the server refused the login: {}", self.message))
            }
            // It has just been started, and is as good as not there.
            "LOADING" => Failure::Network(format!("the server is not ready: {}", self.message)),
            code => {
                // Answers to a command that was not run, and may be soon.
                let retryable =
                    matches!(code, "BUSY" | "TRYAGAIN" | "CLUSTERDOWN" | "MASTERDOWN" | "NOREPLICAS");
                Failure::Upstream(UpstreamFailure {
                    code: self.code,
                    message: self.message,
                    details: None,
                    retryable,
                })
            }
        }
    }

    /// Appends it as an item among others.
    pub fn push(&self, out: &mut String) {
        out.push_str("{\"error\":{\"code\":");
        match &self.code {
            Some(code) => push_string(out, code),
            None => out.push_str("null"),
        }
        out.push_str(",\"message\":");
        push_string(out, &self.message);
        out.push_str("}}");
    }
}
