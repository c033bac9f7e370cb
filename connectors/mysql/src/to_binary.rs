//! From a caller's JSON to the values of a prepared statement. The server does not say what it wants, so the JSON decides:
//!
//! | JSON | value |
//! |---|---|
//! | null | NULL |
//! | true, false | 1, 0 |
//! | number without a fraction | an integer; `DECIMAL` beyond 64 bits |
//! | number with a fraction | `DECIMAL`, digit by digit; `DOUBLE` with an exponent or more digits than that has |
//! | text | text; a number for a parameter of type `integer` or `number`, so that no digit is lost |
//! | `{"base64": "…"}` | those bytes |
//! | any other object, a list | the JSON text |
//!
//! Invariant: a value goes to the server beside the statement, never in it.

use base64::{Engine, engine::general_purpose::STANDARD};
use openact_connector::{Failure, args::Kind, members::Members};
use serde_json::value::RawValue;

use crate::wire::put_counted;

/// Digits of a DECIMAL, and of those behind its point.
const DECIMAL_DIGITS_MAX: usize = 65;
const DECIMAL_SCALE_MAX: usize = 30;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// NULL.
    Null,
    /// 1 or 0.
    Bool(bool),
    /// With a sign.
    Int(i64),
    /// Beyond what has a sign.
    Uint(u64),
    /// Digits.
    Decimal(String),
    /// Floating point.
    Double(f64),
    /// Text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
}

impl Value {
    /// Of `json` for a parameter of `kind`. `place` tells a caller which parameter is wrong.
    pub fn of(json: &str, kind: Option<Kind>, place: &dyn Fn() -> String) -> Result<Self, Failure> {
        let wrong = |what: &str| Failure::InvalidInput(format!("{} {what}", place()));
        let json = json.trim_ascii();
        Ok(match json.as_bytes().first() {
            Some(b'n') | None => Self::Null,
            Some(b't' | b'f') => Self::Bool(json == "true"),
            Some(b'-' | b'0'..=b'9') => {
                number(json).ok_or_else(|| wrong("is a number beyond what MySQL has"))?
            }
            Some(b'"') => {
                let text: String = serde_json::from_str(json).map_err(|_| wrong("is no text"))?;
                match kind {
                    Some(Kind::Integer | Kind::Number) => plain_number(text),
                    _ => Self::Text(text),
                }
            }
            Some(b'{') => match base64(json) {
                Some(bytes) => Self::Bytes(bytes.ok_or_else(|| wrong("has base64 that is none"))?),
                None => Self::Text(json.to_owned()),
            },
            Some(_) => Self::Text(json.to_owned()),
        })
    }

    /// The server's number for the type.
    fn code(&self) -> [u8; 2] {
        match self {
            Self::Null => [6, 0],
            Self::Bool(_) => [1, 0],
            Self::Int(_) => [8, 0],
            Self::Uint(_) => [8, 0x80],
            Self::Decimal(_) => [246, 0],
            Self::Double(_) => [5, 0],
            Self::Text(_) => [253, 0],
            Self::Bytes(_) => [252, 0],
        }
    }

    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Null => {}
            Self::Bool(value) => out.push(u8::from(*value)),
            Self::Int(value) => out.extend(value.to_le_bytes()),
            Self::Uint(value) => out.extend(value.to_le_bytes()),
            Self::Double(value) => out.extend(value.to_le_bytes()),
            Self::Decimal(text) | Self::Text(text) => put_counted(out, text.as_bytes()),
            Self::Bytes(bytes) => put_counted(out, bytes),
        }
    }
}

/// Appends the body of `EXECUTE` for these values.
pub fn execute(out: &mut Vec<u8>, statement: u32, values: &[Value]) {
    out.extend(statement.to_le_bytes());
    // No cursor; once.
    out.extend([0, 1, 0, 0, 0]);
    if values.is_empty() {
        return;
    }
    for eight in values.chunks(8) {
        let bits = eight.iter().enumerate().map(|(at, value)| u8::from(*value == Value::Null) << at);
        out.push(bits.sum());
    }
    out.push(1);
    values.iter().for_each(|value| out.extend(value.code()));
    values.iter().for_each(|value| value.put(out));
}

fn number(text: &str) -> Option<Value> {
    if let Ok(number) = text.parse() {
        return Some(Value::Int(number));
    }
    if let Ok(number) = text.parse() {
        return Some(Value::Uint(number));
    }
    if is_decimal(text) {
        return Some(Value::Decimal(text.to_owned()));
    }
    let number: f64 = text.parse().ok()?;
    number.is_finite().then_some(Value::Double(number))
}

/// Text that stands for a number, if it is one digit by digit; the server sees to what it is otherwise.
fn plain_number(text: String) -> Value {
    let plain = !text.is_empty()
        && !text.starts_with('+')
        && text.bytes().all(|b| b.is_ascii_digit() || b"+-.".contains(&b));
    match number(&text).filter(|_| plain) {
        Some(Value::Double(_)) | None => Value::Text(text),
        Some(number) => number,
    }
}

fn is_decimal(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    !whole.is_empty()
        && all(whole)
        && all(fraction)
        && whole.len() <= DECIMAL_DIGITS_MAX - DECIMAL_SCALE_MAX
        && fraction.len() <= DECIMAL_SCALE_MAX
        || fraction.is_empty()
            && !digits.contains('.')
            && whole.len() <= DECIMAL_DIGITS_MAX
            && all(whole)
            && !whole.is_empty()
}

/// The bytes of an object that has nothing but `base64`; none in it if they cannot be read.
fn base64(json: &str) -> Option<Option<Vec<u8>>> {
    let Members(members) = serde_json::from_str::<Members<&RawValue>>(json).ok()?;
    match members.as_slice() {
        [(name, text)] if name == "base64" => {
            let text = serde_json::from_str::<String>(text.get()).ok();
            Some(text.and_then(|text| STANDARD.decode(text).ok()))
        }
        _ => None,
    }
}
