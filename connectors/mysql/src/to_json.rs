//! From MySQL's values to JSON, in both forms that the server sends: binary of prepared statements, text of others.
//!
//! | value | JSON |
//! |---|---|
//! | what its kind has a form for (see [`crate::column`]) | that |
//! | zero dates and dates with zeros | as they are, `"0000-00-00"` |
//! | `TIME` beyond a day | its hours, `"-838:59:59"` |
//! | what is not as its kind should be, and text that is not UTF-8 | the text itself; `{"base64": …}` |
//!
//! Invariant: exactly one JSON value is written for each column, or the server has broken the protocol.

use std::fmt::Write;

use openact_connector::{
    Failure,
    rows::Row,
    write::{push_base64, push_digits, push_string},
};
use serde::de::IgnoredAny;

use crate::{
    column::{Column, Kind},
    wire::{Fields, broken},
};

/// The values of a binary row, its first byte read already.
pub fn binary(row: &mut Row<'_>, columns: &[Column], mut fields: Fields<'_>) -> Result<(), Failure> {
    let nulls = fields.bytes((columns.len() + 9) / 8)?;
    for (at, column) in columns.iter().enumerate() {
        // The first two bits are nobody's.
        let is_null = nulls.get((at + 2) / 8).is_some_and(|byte| byte >> ((at + 2) % 8) & 1 == 1);
        if is_null {
            row.null();
        } else {
            binary_value(row, column, &mut fields)?;
        }
    }
    at_end(fields)
}

/// The values of a row of text.
pub fn text(row: &mut Row<'_>, columns: &[Column], mut fields: Fields<'_>) -> Result<(), Failure> {
    for column in columns {
        match fields.nullable()? {
            None => row.null(),
            Some(bytes) => text_value(row, column, bytes)?,
        }
    }
    at_end(fields)
}

fn at_end(fields: Fields<'_>) -> Result<(), Failure> {
    if fields.0.is_empty() { Ok(()) } else { Err(broken()) }
}

fn binary_value(row: &mut Row<'_>, column: &Column, fields: &mut Fields<'_>) -> Result<(), Failure> {
    match column.kind {
        Kind::Int { bytes: 1, unsigned: true } => row.uint(fields.u8()?.into()),
        Kind::Int { bytes: 2, unsigned: true } => row.uint(fields.u16()?.into()),
        Kind::Int { bytes: 4, unsigned: true } => row.uint(fields.u32()?.into()),
        Kind::Int { unsigned: true, .. } => row.uint(fields.u64()?),
        Kind::Int { bytes: 1, .. } => row.int(fields.u8()?.cast_signed().into()),
        Kind::Int { bytes: 2, .. } => row.int(fields.u16()?.cast_signed().into()),
        Kind::Int { bytes: 4, .. } => row.int(fields.u32()?.cast_signed().into()),
        Kind::Int { .. } => row.int(fields.u64()?.cast_signed()),
        Kind::Float => row.float32(f32::from_bits(fields.u32()?)),
        Kind::Double => row.float(f64::from_bits(fields.u64()?)),
        Kind::Date | Kind::DateTime => {
            let length = fields.u8()?;
            let moment = moment(Fields(fields.bytes(length.into())?), column)?;
            row.display(moment);
        }
        Kind::Time => {
            let length = fields.u8()?;
            let span = span(Fields(fields.bytes(length.into())?), column)?;
            row.display(span);
        }
        Kind::Null => row.null(),
        Kind::Bit | Kind::Json | Kind::Bytes | Kind::Text => {
            same_in_both(row, column.kind, fields.counted()?)?
        }
    }
    Ok(())
}

fn text_value(row: &mut Row<'_>, column: &Column, bytes: &[u8]) -> Result<(), Failure> {
    let text = str::from_utf8(bytes).unwrap_or_default();
    match column.kind {
        Kind::Int { unsigned: true, .. } => match text.parse() {
            Ok(number) => row.uint(number),
            Err(_) => return same_in_both(row, Kind::Text, bytes),
        },
        Kind::Int { .. } => match text.parse() {
            Ok(number) => row.int(number),
            Err(_) => return same_in_both(row, Kind::Text, bytes),
        },
        Kind::Float | Kind::Double if is_number(text) => row.raw(text),
        Kind::DateTime if !text.is_empty() => row.display(text.replacen(' ', "T", 1)),
        kind => return same_in_both(row, kind, bytes),
    }
    Ok(())
}

fn same_in_both(row: &mut Row<'_>, kind: Kind, bytes: &[u8]) -> Result<(), Failure> {
    match (kind, str::from_utf8(bytes)) {
        (Kind::Bit, _) if bytes.len() <= 8 => {
            row.uint(bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)));
        }
        (Kind::Json, Ok(text)) if is_json(text) => row.raw(text),
        (Kind::Bit | Kind::Bytes, _) | (_, Err(_)) => row.with(|out| {
            out.push_str("{\"base64\":");
            push_base64(out, bytes);
            out.push('}');
            Ok(())
        })?,
        (_, Ok(text)) => row.with(|out| {
            push_string(out, text);
            Ok(())
        })?,
    }
    Ok(())
}

/// What JSON takes for one value, and in one line, since items may be written line by line.
fn is_json(text: &str) -> bool {
    !text.contains(['\n', '\r']) && serde_json::from_str::<IgnoredAny>(text).is_ok()
}

/// Whether JSON takes it for a number (RFC 8259 section 6).
fn is_number(text: &str) -> bool {
    let first = text.trim_start_matches('-').bytes().next();
    first.is_some_and(|byte| byte.is_ascii_digit()) && serde_json::from_str::<IgnoredAny>(text).is_ok()
}

/// A date, with its time where the column has one.
fn moment(mut fields: Fields<'_>, column: &Column) -> Result<String, Failure> {
    let mut out = String::with_capacity(26);
    let whole = fields.0.len();
    let (year, month, day) = if whole == 0 { (0, 0, 0) } else { (fields.u16()?, fields.u8()?, fields.u8()?) };
    put(&mut out, format_args!("{year:04}-{month:02}-{day:02}"));
    if column.kind == Kind::DateTime || whole > 4 {
        let (hour, minute, second) =
            if whole > 4 { (fields.u8()?, fields.u8()?, fields.u8()?) } else { (0, 0, 0) };
        put(&mut out, format_args!("T{hour:02}:{minute:02}:{second:02}"));
        let micros = if whole > 7 { fields.u32()? } else { 0 };
        fraction(&mut out, micros, column.decimals);
    }
    at_end(fields).map(|()| out)
}

/// A time of day, or a span of days.
fn span(mut fields: Fields<'_>, column: &Column) -> Result<String, Failure> {
    let mut out = String::with_capacity(17);
    let whole = fields.0.len();
    let (negative, days) = if whole == 0 { (0, 0) } else { (fields.u8()?, fields.u32()?) };
    let (hour, minute, second) =
        if whole == 0 { (0, 0, 0) } else { (fields.u8()?, fields.u8()?, fields.u8()?) };
    if negative == 1 {
        out.push('-');
    }
    let hours = u64::from(days) * 24 + u64::from(hour);
    if hours < 10 {
        out.push('0');
    }
    push_digits(&mut out, hours);
    put(&mut out, format_args!(":{minute:02}:{second:02}"));
    let micros = if whole > 8 { fields.u32()? } else { 0 };
    fraction(&mut out, micros, column.decimals);
    at_end(fields).map(|()| out)
}

/// As many digits as the column has; all six where it does not say.
fn fraction(out: &mut String, micros: u32, decimals: u8) {
    let digits = match (decimals, micros) {
        (1..=6, _) => usize::from(decimals),
        (_, 0) => return,
        _ => 6,
    };
    let text = format!("{micros:06}");
    out.push('.');
    out.push_str(text.get(..digits).unwrap_or(&text));
}

fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a `String` cannot fail.
    let _ = out.write_fmt(text);
}
