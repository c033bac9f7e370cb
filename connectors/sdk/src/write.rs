//! JSON written straight into text, without a tree of values in between.
//!
//! | value | written as |
//! |---|---|
//! | integers up to 2^53 - 1 in size | a number |
//! | greater ones | text, since most readers of JSON would round them |
//! | finite floating point | the shortest number that reads back as the same |
//! | NaN and the infinities | `"NaN"`, `"Infinity"`, `"-Infinity"` |
//! | bytes | text: base64 or hex |
//!
//! Invariant: each function appends exactly one JSON value.

use std::fmt::Write;

use base64::{Engine, engine::general_purpose::STANDARD};

/// The greatest integer that every reader of JSON takes exactly (RFC 8259 section 6).
const EXACT_MAX: u64 = (1 << 53) - 1;

/// Appends `text` as a JSON string (RFC 8259 section 7).
pub fn push_string(out: &mut String, text: &str) {
    out.push('"');
    push_escaped(out, text);
    out.push('"');
}

/// Appends `text` as the inside of a JSON string.
pub fn push_escaped(out: &mut String, text: &str) {
    let mut rest = text;
    while let Some(at) = rest.bytes().position(|b| b < b' ' || b == b'"' || b == b'\\') {
        let (plain, after) = rest.split_at(at);
        out.push_str(plain);
        let mut characters = after.chars();
        match characters.next() {
            Some('\n') => out.push_str("\\n"),
            Some('\r') => out.push_str("\\r"),
            Some('\t') => out.push_str("\\t"),
            Some(c @ ('"' | '\\')) => out.extend(['\\', c]),
            Some(c) => push_formatted(out, format_args!("\\u{:04x}", u32::from(c))),
            None => {}
        }
        rest = characters.as_str();
    }
    out.push_str(rest);
}

/// Appends `true` or `false`.
pub fn push_bool(out: &mut String, value: bool) {
    out.push_str(if value { "true" } else { "false" });
}

/// Appends an integer: a number if JSON holds it exactly, else text.
pub fn push_int(out: &mut String, value: i64) {
    push_integer(out, value.is_negative(), value.unsigned_abs());
}

/// Appends an integer: a number if JSON holds it exactly, else text.
pub fn push_uint(out: &mut String, value: u64) {
    push_integer(out, false, value);
}

/// Appends a number, or the name of what is none.
pub fn push_float(out: &mut String, value: f64) {
    if value.is_finite() {
        // The form of `Debug` is JSON, and has an exponent where digits would only be zeros.
        push_formatted(out, format_args!("{value:?}"));
    } else {
        push_not_finite(out, value);
    }
}

/// Appends a number of single precision, with no more digits than that has.
pub fn push_float32(out: &mut String, value: f32) {
    if value.is_finite() {
        push_formatted(out, format_args!("{value:?}"));
    } else {
        push_not_finite(out, value.into());
    }
}

/// Appends bytes as text in standard base64 (RFC 4648 section 4).
pub fn push_base64(out: &mut String, bytes: &[u8]) {
    out.push('"');
    STANDARD.encode_string(bytes, out);
    out.push('"');
}

/// Appends bytes as text in lower-case hex after `prefix`.
pub fn push_hex(out: &mut String, prefix: &str, bytes: &[u8]) {
    out.push('"');
    push_escaped(out, prefix);
    out.reserve(bytes.len() * 2 + 1);
    for byte in bytes {
        let digit = |nibble: u8| char::from(if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 });
        out.push(digit(byte >> 4));
        out.push(digit(byte & 15));
    }
    out.push('"');
}

/// Appends the decimal digits of `value`, however many: for text that holds a number.
pub fn push_digits(out: &mut String, mut value: u64) {
    let mut digits = [0_u8; 20];
    let mut length = 0;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
        length += 1;
        if value == 0 {
            break;
        }
    }
    let digits = digits.get(20 - length..).unwrap_or_default();
    out.push_str(str::from_utf8(digits).unwrap_or_default());
}

fn push_integer(out: &mut String, negative: bool, size: u64) {
    let quote = (size > EXACT_MAX).then_some('"');
    out.extend(quote);
    if negative {
        out.push('-');
    }
    push_digits(out, size);
    out.extend(quote);
}

fn push_not_finite(out: &mut String, value: f64) {
    out.push_str(if value.is_nan() {
        "\"NaN\""
    } else if value.is_sign_negative() {
        "\"-Infinity\""
    } else {
        "\"Infinity\""
    });
}

fn push_formatted(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a `String` cannot fail.
    let _ = out.write_fmt(text);
}
