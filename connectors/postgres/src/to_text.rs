//! From a caller's JSON to the text PostgreSQL reads, by the type the server gave to the parameter.
//!
//! | JSON | type | text |
//! |---|---|---|
//! | null | any | NULL |
//! | any other | `json`, `jsonb` | the JSON itself: a string is a JSON string |
//! | `{"base64": "…"}` | `bytea` | those bytes |
//! | list | array | the array, lists in it as further dimensions |
//! | text | any other | as it is: what the type's own input takes |
//! | number, true, false | any other | as JSON writes it, digit by digit |
//! | object, list | any other | the JSON text |
//!
//! Invariant: the text is a value of its own in the protocol and never part of a statement.

use base64::{Engine, engine::general_purpose::STANDARD};
use openact_connector::{Failure, members::member, write::push_hex};
use serde_json::value::RawValue;

use crate::kind::{Kind, Scalar};

/// PostgreSQL's arrays have at most six dimensions.
const DIMENSIONS_MAX: u32 = 6;

/// The text of `json` for a parameter of `kind`; none is NULL. `place` tells a caller which parameter is wrong.
pub fn of(json: &str, kind: Kind, place: &dyn Fn() -> String) -> Result<Option<String>, Failure> {
    let json = json.trim_ascii();
    match (kind, json.as_bytes().first()) {
        (_, Some(b'n') | None) => Ok(None),
        (Kind::Array(scalar, delimiter), Some(b'[')) => {
            let mut out = String::with_capacity(json.len() + 2);
            list(&mut out, json, scalar, delimiter, 1)
                .map_err(|what| Failure::InvalidInput(format!("{} {what}", place())))?;
            Ok(Some(out))
        }
        (Kind::Array(..), _) => one(json, Scalar::Text, place).map(Some),
        (Kind::One(scalar), _) => one(json, scalar, place).map(Some),
    }
}

fn one(json: &str, scalar: Scalar, place: &dyn Fn() -> String) -> Result<String, Failure> {
    scalar_text(json, scalar).map_err(|what| Failure::InvalidInput(format!("{} {what}", place())))
}

fn scalar_text(json: &str, scalar: Scalar) -> Result<String, &'static str> {
    match (scalar, json.as_bytes().first()) {
        (Scalar::Json, _) => Ok(json.to_owned()),
        (_, Some(b'"')) => serde_json::from_str(json).map_err(|_| "is no text"),
        (Scalar::Bytes, Some(b'{')) => {
            let base64 = member(json, "base64").and_then(|text| serde_json::from_str::<String>(text).ok());
            let bytes = base64.and_then(|text| STANDARD.decode(text).ok());
            let bytes = bytes.ok_or("must be {\"base64\": …}, or text as bytea has it (\\x…)")?;
            let mut hex = String::new();
            push_hex(&mut hex, "", &bytes);
            // Without the quotes of JSON.
            Ok(format!("\\x{}", hex.trim_matches('"')))
        }
        _ => Ok(json.to_owned()),
    }
}

fn list(
    out: &mut String,
    json: &str,
    scalar: Scalar,
    delimiter: u8,
    dimension: u32,
) -> Result<(), &'static str> {
    if dimension > DIMENSIONS_MAX {
        return Err("has more dimensions than an array may have");
    }
    let items: Vec<&RawValue> = serde_json::from_str(json).map_err(|_| "is no list")?;
    out.push('{');
    for (at, item) in items.iter().map(|item| item.get()).enumerate() {
        if at > 0 {
            out.push(char::from(delimiter));
        }
        match item.as_bytes().first() {
            Some(b'n') => out.push_str("NULL"),
            Some(b'[') if scalar != Scalar::Json => list(out, item, scalar, delimiter, dimension + 1)?,
            _ => {
                out.push('"');
                for character in scalar_text(item, scalar)?.chars() {
                    if matches!(character, '"' | '\\') {
                        out.push('\\');
                    }
                    out.push(character);
                }
                out.push('"');
            }
        }
    }
    out.push('}');
    Ok(())
}
