//! BSON as extended JSON (version 2), written straight into the text of a result.
//!
//! | BSON | relaxed | canonical |
//! |---|---|---|
//! | int32, int64, double | a number; int64 beyond ±(2^53 - 1) and what is not finite as canonical | `$numberInt`, `$numberLong`, `$numberDouble` |
//! | date | `{"$date": "2024-…Z"}`; before 1970 and after 9999 as canonical | `{"$date": {"$numberLong": "…"}}` |
//! | anything else | the same in both | |
//!
//! Invariant: what is written reads back (`from_json`) as the same BSON, but for text that is not UTF-8, and for the type of
//! small whole numbers in relaxed form.

use std::fmt::Write;

use openact_connector::{
    Failure,
    write::{push_base64, push_bool, push_escaped, push_float, push_hex, push_int, push_string, push_uint},
};

use crate::{
    bson::{DEPTH_MAX, Document, Value},
    date, decimal,
};

/// The greatest integer that every reader of JSON takes exactly.
const EXACT_MAX: u64 = (1 << 53) - 1;

/// Which of the two forms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// Made to be read.
    #[default]
    Relaxed,
    /// Made to keep every type.
    Canonical,
}

/// Appends a document.
pub fn push_document(out: &mut String, document: Document<'_>, form: Form) -> Result<(), Failure> {
    push_members(out, document, form, 0)
}

/// Appends a value.
pub fn push_value(out: &mut String, value: Value<'_>, form: Form) -> Result<(), Failure> {
    push(out, value, form, 0)
}

fn push_members(out: &mut String, document: Document<'_>, form: Form, depth: usize) -> Result<(), Failure> {
    deeper(depth)?;
    out.push('{');
    for (index, member) in document.members().enumerate() {
        let (name, value) = member?;
        if index > 0 {
            out.push(',');
        }
        push_lossy(out, name);
        out.push(':');
        push(out, value, form, depth + 1)?;
    }
    out.push('}');
    Ok(())
}

fn push_items(out: &mut String, list: Document<'_>, form: Form, depth: usize) -> Result<(), Failure> {
    deeper(depth)?;
    out.push('[');
    for (index, member) in list.members().enumerate() {
        let (_, value) = member?;
        if index > 0 {
            out.push(',');
        }
        push(out, value, form, depth + 1)?;
    }
    out.push(']');
    Ok(())
}

fn push(out: &mut String, value: Value<'_>, form: Form, depth: usize) -> Result<(), Failure> {
    match value {
        Value::String(text) => push_lossy(out, text),
        Value::Document(document) => push_members(out, document, form, depth)?,
        Value::Array(list) => push_items(out, list, form, depth)?,
        Value::Boolean(value) => push_bool(out, value),
        Value::Null => out.push_str("null"),
        Value::Int32(number) if form == Form::Relaxed => push_int(out, number.into()),
        Value::Int64(number) if form == Form::Relaxed && number.unsigned_abs() <= EXACT_MAX => {
            push_int(out, number);
        }
        Value::Double(number) if form == Form::Relaxed && number.is_finite() => push_float(out, number),
        Value::Int32(number) => formatted(out, format_args!("{{\"$numberInt\":\"{number}\"}}")),
        Value::Int64(number) => formatted(out, format_args!("{{\"$numberLong\":\"{number}\"}}")),
        Value::Double(number) => push_double(out, number),
        Value::Decimal(bits) => {
            formatted(out, format_args!("{{\"$numberDecimal\":\"{}\"}}", decimal::to_text(bits)));
        }
        Value::ObjectId(id) => push_id(out, &id),
        Value::Date(millis) => match date::to_text(millis).filter(|_| form == Form::Relaxed) {
            Some(text) => formatted(out, format_args!("{{\"$date\":\"{text}\"}}")),
            None => formatted(out, format_args!("{{\"$date\":{{\"$numberLong\":\"{millis}\"}}}}")),
        },
        Value::Binary(subtype, bytes) => {
            // The old subtype has a second length within.
            let bytes = if subtype == 2 { bytes.get(4..).unwrap_or(bytes) } else { bytes };
            out.push_str("{\"$binary\":{\"base64\":");
            push_base64(out, bytes);
            formatted(out, format_args!(",\"subType\":\"{subtype:02x}\"}}}}"));
        }
        Value::Regex(pattern, options) => {
            out.push_str("{\"$regularExpression\":{\"pattern\":");
            push_lossy(out, pattern);
            out.push_str(",\"options\":");
            push_lossy(out, options);
            out.push_str("}}");
        }
        Value::Timestamp(seconds, increment) => {
            out.push_str("{\"$timestamp\":{\"t\":");
            push_uint(out, seconds.into());
            out.push_str(",\"i\":");
            push_uint(out, increment.into());
            out.push_str("}}");
        }
        Value::DbPointer(collection, id) => {
            out.push_str("{\"$dbPointer\":{\"$ref\":");
            push_lossy(out, collection);
            out.push_str(",\"$id\":");
            push_id(out, &id);
            out.push_str("}}");
        }
        Value::Code(code) => wrapped(out, "$code", code),
        Value::Symbol(text) => wrapped(out, "$symbol", text),
        Value::CodeWithScope(code, scope) => {
            out.push_str("{\"$code\":");
            push_lossy(out, code);
            out.push_str(",\"$scope\":");
            push_members(out, scope, form, depth)?;
            out.push('}');
        }
        Value::Undefined => out.push_str("{\"$undefined\":true}"),
        Value::MinKey => out.push_str("{\"$minKey\":1}"),
        Value::MaxKey => out.push_str("{\"$maxKey\":1}"),
    }
    Ok(())
}

fn push_double(out: &mut String, number: f64) {
    out.push_str("{\"$numberDouble\":");
    if number.is_finite() {
        out.push('"');
        push_float(out, number);
        out.push('"');
    } else {
        push_float(out, number);
    }
    out.push('}');
}

fn push_id(out: &mut String, id: &[u8; 12]) {
    out.push_str("{\"$oid\":");
    push_hex(out, "", id);
    out.push('}');
}

fn wrapped(out: &mut String, name: &str, text: &[u8]) {
    formatted(out, format_args!("{{\"{name}\":"));
    push_lossy(out, text);
    out.push('}');
}

/// Text; what is not UTF-8 in it becomes U+FFFD, so that one broken text does not hide a whole collection.
fn push_lossy(out: &mut String, text: &[u8]) {
    match str::from_utf8(text) {
        Ok(text) => push_string(out, text),
        Err(_) => {
            out.push('"');
            text.utf8_chunks().for_each(|chunk| {
                push_escaped(out, chunk.valid());
                if !chunk.invalid().is_empty() {
                    out.push('\u{fffd}');
                }
            });
            out.push('"');
        }
    }
}

fn deeper(depth: usize) -> Result<(), Failure> {
    if depth > DEPTH_MAX {
        return Err(Failure::LimitExceeded(format!("a document is deeper than {DEPTH_MAX} levels")));
    }
    Ok(())
}

fn formatted(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a `String` cannot fail.
    let _ = out.write_fmt(text);
}
