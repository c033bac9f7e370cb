//! From PostgreSQL's text of a value to JSON.
//!
//! | text | JSON |
//! |---|---|
//! | what its kind has a form for (see [`crate::kind`]) | that |
//! | what is not as its kind should be, such as dates before Christ, or JSON with half a character | the text itself |
//! | a list with bounds of its own, `[0:1]={1,2}` | the text itself |
//! | text that is not UTF-8, of a database without an encoding | `{"base64": …}` |
//!
//! Invariant: whatever bytes come, exactly one JSON value is written, and none of them is lost.

use openact_connector::write::{push_base64, push_bool, push_hex, push_int, push_string};
use serde::de::IgnoredAny;

use crate::kind::{Kind, Scalar};

/// Appends `bytes`, the text of a value of `kind`.
pub fn push(out: &mut String, kind: Kind, bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else {
        out.push_str("{\"base64\":");
        push_base64(out, bytes);
        out.push('}');
        return;
    };
    match kind {
        Kind::One(scalar) => push_one(out, scalar, text),
        Kind::Array(scalar, delimiter) => {
            let before = out.len();
            if push_list(out, scalar, delimiter, text).is_none() {
                out.truncate(before);
                push_string(out, text);
            }
        }
    }
}

fn push_one(out: &mut String, scalar: Scalar, text: &str) {
    match scalar {
        Scalar::Bool if matches!(text, "t" | "f") => push_bool(out, text == "t"),
        Scalar::Int => match text.parse() {
            Ok(number) => push_int(out, number),
            Err(_) => push_string(out, text),
        },
        Scalar::Float if is_number(text) => out.push_str(text),
        Scalar::Json if is_json(text) => out.push_str(text),
        Scalar::Bytes => match unescaped(text) {
            Some(bytes) => push_hex(out, "\\x", &bytes),
            None => push_string(out, text),
        },
        Scalar::Time => push_time(out, text),
        Scalar::Void if text.is_empty() => out.push_str("null"),
        _ => push_string(out, text),
    }
}

/// Whether JSON takes it for a number (RFC 8259 section 6).
fn is_number(text: &str) -> bool {
    let first = text.trim_start_matches('-').bytes().next();
    first.is_some_and(|byte| byte.is_ascii_digit()) && serde_json::from_str::<IgnoredAny>(text).is_ok()
}

/// Whether everybody takes it for JSON: `json` may hold half a surrogate pair, which is no text.
fn is_json(text: &str) -> bool {
    match text.contains("\\u") {
        true => serde_json::from_str::<serde_json::Value>(text).is_ok(),
        false => serde_json::from_str::<IgnoredAny>(text).is_ok(),
    }
}

/// The bytes, where they are not in hex (`bytea_output = escape`); none where they are.
fn unescaped(text: &str) -> Option<Vec<u8>> {
    if text.starts_with("\\x") {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        let octal = |digit: &u8| matches!(digit, b'0'..=b'7').then(|| u32::from(digit - b'0'));
        match (byte, rest) {
            (b'\\', [b'\\', after @ ..]) => {
                bytes.push(b'\\');
                rest = after;
            }
            (b'\\', [a, b, c, after @ ..]) => {
                bytes.push(u8::try_from(octal(a)? * 64 + octal(b)? * 8 + octal(c)?).ok()?);
                rest = after;
            }
            (b'\\', _) => return None,
            _ => bytes.push(byte),
        }
    }
    Some(bytes)
}

/// `2024-01-02 03:04:05+00` as RFC 3339 has it; anything else (infinity, years before 1 and after 9999) as it is.
fn push_time(out: &mut String, text: &str) {
    let is_time = |(at, byte): (usize, u8)| match at {
        4 | 7 => byte == b'-',
        10 => byte == b' ',
        13 | 16 => byte == b':',
        _ => byte.is_ascii_digit(),
    };
    let (Some((date, time)), true, false) = (
        text.split_once(' '),
        text.len() >= 19 && text.bytes().take(19).enumerate().all(is_time),
        text.ends_with("BC"),
    ) else {
        return push_string(out, text);
    };
    out.push('"');
    out.push_str(date);
    out.push('T');
    let zone = time.find(['+', '-']).map_or("", |at| time.get(at..).unwrap_or_default());
    // Digits and separators need no escape; what a hostile server puts there does.
    openact_connector::write::push_escaped(out, time);
    if zone.len() == 3 {
        out.push_str(":00");
    }
    out.push('"');
}

/// What may come next in a list.
#[derive(PartialEq)]
enum Next {
    First,
    Item,
    Separator,
}

/// Appends `{a,"b",NULL}` as a list, lists in it too; none if it is not of that form.
fn push_list(out: &mut String, scalar: Scalar, delimiter: u8, text: &str) -> Option<()> {
    let (mut depth, mut next, mut at) = (0_u32, Next::Item, 0);
    let bytes = text.as_bytes();
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'{' if next != Next::Separator => {
                out.push('[');
                (depth, next) = (depth + 1, Next::First);
            }
            b'}' if next != Next::Item => {
                out.push(']');
                (depth, next) = (depth.checked_sub(1)?, Next::Separator);
                if depth == 0 {
                    return (at == bytes.len()).then_some(());
                }
            }
            _ if byte == delimiter && next == Next::Separator => {
                out.push(',');
                next = Next::Item;
            }
            b'"' if next != Next::Separator && depth > 0 => {
                let (item, after) = quoted(text, at)?;
                push_one(out, scalar, &item);
                (next, at) = (Next::Separator, after);
            }
            _ if next != Next::Separator && depth > 0 => {
                let rest = text.get(at - 1..)?;
                let end = rest.bytes().position(|byte| byte == delimiter || byte == b'}')?;
                match rest.get(..end)? {
                    "NULL" => out.push_str("null"),
                    "" => return None,
                    item => push_one(out, scalar, item),
                }
                (next, at) = (Next::Separator, at - 1 + end);
            }
            _ => return None,
        }
    }
    None
}

/// The item that begins at `from`, after its quote, and where the next thing begins.
fn quoted(text: &str, from: usize) -> Option<(String, usize)> {
    let mut item = String::new();
    let mut characters = text.get(from..)?.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((item, from + at + 1)),
            '\\' => item.push(characters.next()?.1),
            _ => item.push(character),
        }
    }
    None
}
