//! The objects of extended JSON (version 2) that stand for a type of BSON: `{"$oid": "…"}`, `{"$date": …}`.
//!
//! Both forms are taken, relaxed and canonical, and numbers where they say text. An object of the same name within
//! (`{"$oid": {"$oid": "…"}}`) counts once, so that `{"$oid": "{{id}}"}` takes an id as another action gave it.
//!
//! Invariant: an object that begins with one of these names is that, whole and valid, or a failure; it is never a document.

use base64::{Engine, engine::general_purpose::STANDARD};
use openact_connector::{
    Failure, Json,
    members::Members,
    template::{expand_json, has_template},
};
use serde_json::value::RawValue;

use crate::{
    bson::{kind, push_binary, push_length, push_text},
    date, decimal,
    from_json::{Context, Encoder},
    text::Text,
};

/// What such an object begins with.
pub(crate) const NAMES: &[&str] = &[
    "$oid",
    "$date",
    "$numberInt",
    "$numberLong",
    "$numberDouble",
    "$numberDecimal",
    "$binary",
    "$uuid",
    "$timestamp",
    "$regularExpression",
    "$minKey",
    "$maxKey",
    "$undefined",
    "$symbol",
    "$code",
    "$dbPointer",
];

type Parts<'j> = Members<&'j RawValue>;

/// Writes what the object `raw` stands for; none if it is left out with a variable that is missing.
pub(crate) fn write(encoder: &mut Encoder<'_, '_>, raw: &str, depth: usize) -> Result<Option<u8>, Failure> {
    let has_variables = encoder.input.is_none() && has_template(raw);
    let filled = if has_variables {
        expand_json(&Json::from_text(raw.to_owned()), &encoder.place, encoder.variables)?
    } else {
        None
    };
    let raw = filled.as_ref().map_or(raw, Json::as_str);
    let Ok(Members(mut parts)) = serde_json::from_str::<Parts<'_>>(raw) else {
        return Err(encoder.not_json());
    };
    let Some((name, _)) = parts.first() else { return encoder.nothing() };
    let name = name.clone();
    // Two are as many as one could be handed on through.
    for _ in 0..2 {
        let inner = match parts.as_slice() {
            [(_, value)] => serde_json::from_str::<Parts<'_>>(value.get()).ok(),
            _ => None,
        };
        match inner {
            Some(Members(inner)) if matches!(inner.as_slice(), [(own, _)] if *own == name) => parts = inner,
            _ => break,
        }
    }
    let before = encoder.input.take();
    encoder.input = before.clone().or_else(|| has_variables.then(|| "the input".to_owned()));
    let is_variable = before.is_some();
    let written = match parts.as_slice() {
        [(_, value)] => one(encoder, &name, value.get(), is_variable),
        [(first, code), (second, scope)] if first == "$code" && second == "$scope" => {
            code_with_scope(encoder, code.get(), scope.get(), depth)
        }
        _ => Err(misfit(encoder, &name, "no other members")),
    };
    encoder.input = before;
    written.map(Some)
}

fn one(encoder: &mut Encoder<'_, '_>, name: &str, value: &str, is_variable: bool) -> Result<u8, Failure> {
    let needs = |what: &'static str| (name.to_owned(), what);
    let written = match name {
        "$oid" => id(value).map(|id| (kind::OBJECT_ID, id.to_vec())).ok_or(needs("24 hexadecimal digits")),
        "$date" => moment(value)
            .map(|millis| (kind::DATE, millis.to_le_bytes().to_vec()))
            .ok_or(needs("a time such as \"2024-02-29T12:00:00Z\", or milliseconds since 1970")),
        "$numberInt" => parsed::<i32>(value)
            .map(|number| (kind::INT32, number.to_le_bytes().to_vec()))
            .ok_or(needs("a whole number of 32 bits")),
        "$numberLong" => parsed::<i64>(value)
            .map(|number| (kind::INT64, number.to_le_bytes().to_vec()))
            .ok_or(needs("a whole number of 64 bits")),
        "$numberDouble" => double(value)
            .map(|number| (kind::DOUBLE, number.to_le_bytes().to_vec()))
            .ok_or(needs("a number, \"Infinity\", \"-Infinity\" or \"NaN\"")),
        "$numberDecimal" => text_of(value)
            .and_then(|text| decimal::of_text(&text))
            .map(|bits| (kind::DECIMAL, bits.to_le_bytes().to_vec()))
            .ok_or(needs("a number of at most 34 digits, as text")),
        "$binary" => binary(value).map(|bytes| (kind::BINARY, bytes)).ok_or(needs("{base64, subType}")),
        "$uuid" => uuid(value).map(|bytes| (kind::BINARY, bytes)).ok_or(needs("36 characters of a UUID")),
        "$timestamp" => timestamp(value).map(|bytes| (kind::TIMESTAMP, bytes)).ok_or(needs("{t, i}")),
        "$regularExpression" => {
            if is_variable && !encoder.rules.patterns && !encoder.rules.operators {
                return Err(encoder.wrong(
                    "is a regular expression where a value is expected; the action's allow_operators: true would take it",
                ));
            }
            regex(value).map(|bytes| (kind::REGEX, bytes)).ok_or(needs("{pattern, options}"))
        }
        "$minKey" => whole_one(value).map(|()| (kind::MIN_KEY, Vec::new())).ok_or(needs("1")),
        "$maxKey" => whole_one(value).map(|()| (kind::MAX_KEY, Vec::new())).ok_or(needs("1")),
        "$undefined" => (value == "true").then(|| (kind::UNDEFINED, Vec::new())).ok_or(needs("true")),
        "$symbol" => string(value).map(|text| (kind::SYMBOL, text)).ok_or(needs("text")),
        "$code" => string(value).map(|text| (kind::CODE, text)).ok_or(needs("text")),
        _ => db_pointer(value).map(|bytes| (kind::DB_POINTER, bytes)).ok_or(needs("{$ref, $id}")),
    };
    let (kind, bytes) = written.map_err(|(name, needs)| misfit(encoder, &name, needs))?;
    encoder.out.extend_from_slice(&bytes);
    Ok(kind)
}

fn misfit(encoder: &Encoder<'_, '_>, name: &str, needs: &str) -> Failure {
    encoder.wrong(&format!("has {{{name}: …}} that is not extended JSON: it needs {needs}"))
}

fn code_with_scope(
    encoder: &mut Encoder<'_, '_>,
    code: &str,
    scope: &str,
    depth: usize,
) -> Result<u8, Failure> {
    let start = encoder.out.len();
    push_length(encoder.out, 0);
    let code: Option<String> = serde_json::from_str(code).ok();
    push_text(encoder.out, &code.ok_or_else(|| misfit(encoder, "$code", "text"))?);
    let kind = encoder.value(&mut Text::of(scope), Context::Value, depth + 1)?;
    if kind != Some(kind::DOCUMENT) {
        return Err(misfit(encoder, "$code", "a document as $scope"));
    }
    let length = u32::try_from(encoder.out.len() - start).unwrap_or(u32::MAX);
    if let Some(place) = encoder.out.get_mut(start..start + 4) {
        place.copy_from_slice(&length.to_le_bytes());
    }
    Ok(kind::CODE_WITH_SCOPE)
}

/// Text, or a number as it is written.
fn text_of(value: &str) -> Option<String> {
    match value.bytes().next()? {
        b'"' => serde_json::from_str(value).ok(),
        b'-' | b'0'..=b'9' => Some(value.to_owned()),
        _ => None,
    }
}

fn parsed<T: std::str::FromStr>(value: &str) -> Option<T> {
    text_of(value)?.parse().ok()
}

fn string(value: &str) -> Option<Vec<u8>> {
    let text: String = serde_json::from_str(value).ok()?;
    let mut bytes = Vec::with_capacity(text.len() + 5);
    push_text(&mut bytes, &text);
    Some(bytes)
}

/// The value of each name, and nothing else.
fn exactly<'j, const N: usize>(value: &'j str, names: [&str; N]) -> Option<[&'j str; N]> {
    let Members(parts) = serde_json::from_str::<Parts<'_>>(value).ok()?;
    if parts.len() != N {
        return None;
    }
    let mut values = [""; N];
    for (name, place) in names.iter().zip(values.iter_mut()) {
        *place = parts.iter().find(|(own, _)| own == name).map(|(_, value)| value.get())?;
    }
    Some(values)
}

fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; N];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(bytes)
}

fn id(value: &str) -> Option<[u8; 12]> {
    hex(&serde_json::from_str::<String>(value).ok()?)
}

fn moment(value: &str) -> Option<i64> {
    match value.bytes().next()? {
        b'"' => date::of_text(&serde_json::from_str::<String>(value).ok()?),
        b'{' => exactly(value, ["$numberLong"]).and_then(|[millis]| parsed(millis)),
        _ => parsed(value),
    }
}

fn double(value: &str) -> Option<f64> {
    match text_of(value)?.as_str() {
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        "NaN" => Some(f64::NAN),
        text if text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte)) => {
            text.parse().ok().filter(|number: &f64| number.is_finite())
        }
        _ => None,
    }
}

fn binary(value: &str) -> Option<Vec<u8>> {
    let [base64, subtype] = exactly(value, ["base64", "subType"])?;
    let bytes = STANDARD.decode(serde_json::from_str::<String>(base64).ok()?).ok()?;
    let subtype = serde_json::from_str::<String>(subtype).ok()?;
    let [subtype] = hex(if subtype.len() == 1 { format!("0{subtype}") } else { subtype }.as_str())?;
    let mut out = Vec::with_capacity(bytes.len() + 9);
    if subtype == 2 {
        let mut inner = Vec::with_capacity(bytes.len() + 4);
        push_length(&mut inner, bytes.len());
        inner.extend_from_slice(&bytes);
        push_binary(&mut out, subtype, &inner);
    } else {
        push_binary(&mut out, subtype, &bytes);
    }
    Some(out)
}

fn uuid(value: &str) -> Option<Vec<u8>> {
    let text: String = serde_json::from_str(value).ok()?;
    let dashes: Vec<usize> = text.match_indices('-').map(|(at, _)| at).collect();
    if dashes != [8, 13, 18, 23] {
        return None;
    }
    let bytes: [u8; 16] = hex(&text.replace('-', ""))?;
    let mut out = Vec::new();
    push_binary(&mut out, 4, &bytes);
    Some(out)
}

fn timestamp(value: &str) -> Option<Vec<u8>> {
    let [seconds, increment] = exactly(value, ["t", "i"])?;
    let (seconds, increment): (u32, u32) = (seconds.parse().ok()?, increment.parse().ok()?);
    Some([increment.to_le_bytes(), seconds.to_le_bytes()].concat())
}

fn regex(value: &str) -> Option<Vec<u8>> {
    let [pattern, options] = exactly(value, ["pattern", "options"])?;
    let (pattern, options): (String, String) =
        (serde_json::from_str(pattern).ok()?, serde_json::from_str(options).ok()?);
    // They are written in alphabetical order.
    let mut options: Vec<char> = options.chars().collect();
    options.sort_unstable();
    let options: String = options.into_iter().collect();
    if pattern.contains('\0') || options.contains('\0') {
        return None;
    }
    Some([pattern.as_bytes(), b"\0", options.as_bytes(), b"\0"].concat())
}

fn db_pointer(value: &str) -> Option<Vec<u8>> {
    let [collection, pointed] = exactly(value, ["$ref", "$id"])?;
    let [pointed] = exactly(pointed, ["$oid"])?;
    let mut out = string(collection)?;
    out.extend_from_slice(&id(pointed)?);
    Some(out)
}

fn whole_one(value: &str) -> Option<()> {
    (value == "1").then_some(())
}
