//! The result of a call: `{"status_code", "headers", "body"}`.
//!
//! | content type | body |
//! |---|---|
//! | JSON (`application/json`, `…+json`) that is valid | as it came |
//! | textual, in a charset of [`crate::charset`] (a byte order mark decides first) | a string |
//! | anything else | `{"base64": "…"}` |
//! | (empty) | `null` |
//!
//! This is [`As::Auto`]; the others say what the body is, whatever its type.
//!
//! Header names are lower case; repeated headers are joined by `, ` (RFC 9110 section 5.2), except `set-cookie`,
//! which cannot be and is always a list. Invariant: the result is JSON whatever the server sent, and a JSON body is
//! in it byte for byte.

use std::borrow::Cow;

use base64::{Engine, engine::general_purpose::STANDARD};
use openact_connector::Json;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{charset::Charset, json::push_string};

pub(crate) type Headers = [(String, Vec<u8>)];

/// What a body is read as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum As {
    /// What its content type says.
    #[default]
    Auto,
    /// JSON; none is null.
    Json,
    /// A string; none is an empty one.
    Text,
    /// {"base64": ...}, the bytes as they came, always.
    Bytes,
}

/// What a body is to the caller.
#[derive(Debug)]
pub(crate) enum Content<'a> {
    Empty,
    Json(Cow<'a, str>),
    Text(Cow<'a, str>),
    Binary(&'a [u8]),
}

/// What a response is to the caller.
pub fn result(status: u16, headers: &Headers, body: &[u8]) -> Json {
    Content::of(headers, body).result(status, headers)
}

/// The content type, without parameters and in lower case.
pub(crate) fn essence(headers: &Headers) -> String {
    split(&content_type(headers)).0
}

/// The charset that is said of text, if it is none of [`crate::charset`].
pub(crate) fn unknown_charset(headers: &Headers) -> Option<String> {
    let (essence, label) = split(&content_type(headers));
    label.filter(|label| is_textual(&essence) && Charset::of(label).is_none())
}

impl<'a> Content<'a> {
    /// Of a body, by the type that the headers say.
    pub(crate) fn of(headers: &Headers, body: &'a [u8]) -> Self {
        if body.is_empty() {
            return Self::Empty;
        }
        let (essence, label) = split(&content_type(headers));
        let says_json = is_json(&essence);
        if !is_textual(&essence) {
            return Self::Binary(body);
        }
        match decode(label.as_deref(), body, says_json) {
            None => Self::Binary(body),
            Some(text) if text.is_empty() => Self::Empty,
            Some(text) if says_json => as_json(text),
            Some(text) => Self::Text(text),
        }
    }

    /// Of a body that is to be read as `wanted`; none if it cannot be.
    pub(crate) fn read_as(wanted: As, headers: &Headers, body: &'a [u8]) -> Option<Self> {
        let decoded = |is_json| decode(split(&content_type(headers)).1.as_deref(), body, is_json);
        match wanted {
            As::Auto => Some(Self::of(headers, body)),
            As::Bytes => Some(Self::Binary(body)),
            As::Text => decoded(false).map(Self::Text),
            As::Json if body.is_empty() => Some(Self::Empty),
            As::Json => decoded(true).map(as_json).filter(|content| matches!(content, Self::Json(_))),
        }
    }

    /// The result of a call with this body.
    pub(crate) fn result(&self, status: u16, headers: &Headers) -> Json {
        let mut out = String::with_capacity(self.length() + 64 + 96 * headers.len());
        out.push_str("{\"status_code\":");
        out.push_str(&status.to_string());
        out.push_str(",\"headers\":");
        push_headers(&mut out, headers);
        out.push_str(",\"body\":");
        self.push(&mut out);
        out.push('}');
        Json::from_text(out)
    }

    /// Its text, if it is JSON.
    pub(crate) fn json(&self) -> Option<&str> {
        match self {
            Self::Json(json) => Some(json),
            _ => None,
        }
    }

    /// Appends it as JSON.
    pub(crate) fn push(&self, out: &mut String) {
        match self {
            Self::Empty => out.push_str("null"),
            Self::Json(json) => out.push_str(json),
            Self::Text(text) => push_string(out, text),
            Self::Binary(bytes) => {
                out.push_str("{\"base64\":\"");
                STANDARD.encode_string(bytes, out);
                out.push_str("\"}");
            }
        }
    }

    /// About as many bytes as it has as JSON.
    fn length(&self) -> usize {
        match self {
            Self::Empty => 4,
            Self::Json(json) => json.len(),
            Self::Text(text) => text.len() + text.len() / 8,
            Self::Binary(bytes) => bytes.len() / 3 * 4 + 32,
        }
    }
}

/// A body as text, by the charset that `label` says; none if it is none.
fn decode<'a>(label: Option<&str>, body: &'a [u8], is_json: bool) -> Option<Cow<'a, str>> {
    let charset = match label.map(Charset::of) {
        Some(Some(charset)) => charset,
        // JSON between systems is UTF-8 (RFC 8259 section 8.1), whatever is said about it.
        Some(None) if !is_json => return None,
        _ => Charset::Utf8,
    };
    let (charset, bytes) = match Charset::marked(body) {
        Some((Charset::Utf8, bytes)) => (Charset::Utf8, bytes),
        Some(marked) if !is_json || label.is_some() => marked,
        _ => (charset, body),
    };
    charset.decode(bytes)
}

fn as_json(text: Cow<'_, str>) -> Content<'_> {
    match text {
        Cow::Borrowed(text) => match serde_json::from_str::<&RawValue>(text) {
            Ok(json) => Content::Json(json.get().into()),
            Err(_) => Content::Text(text.into()),
        },
        Cow::Owned(text) => {
            match serde_json::from_str::<&RawValue>(&text).map(|json| json.get().to_owned()) {
                Ok(json) => Content::Json(json.into()),
                Err(_) => Content::Text(text.into()),
            }
        }
    }
}

pub(crate) fn push_headers(out: &mut String, headers: &Headers) {
    out.push('{');
    for (index, (name, _)) in headers.iter().enumerate() {
        if headers.iter().take(index).any(|(earlier, _)| earlier == name) {
            continue;
        }
        if index > 0 {
            out.push(',');
        }
        push_string(out, name);
        out.push(':');
        let values = headers.iter().filter(|(other, _)| other == name).map(|(_, value)| latin1(value));
        if name == "set-cookie" {
            let mut opening = '[';
            for value in values {
                out.push(std::mem::replace(&mut opening, ','));
                push_string(out, &value);
            }
            out.push(']');
        } else {
            push_string(out, &values.collect::<Vec<_>>().join(", "));
        }
    }
    out.push('}');
}

fn content_type(headers: &Headers) -> Cow<'_, str> {
    headers
        .iter()
        .find(|(name, _)| name == "content-type")
        .map_or(Cow::Borrowed(""), |(_, value)| latin1(value))
}

/// The type in lower case, and the charset.
fn split(content_type: &str) -> (String, Option<String>) {
    let mut parameters = content_type.split(';');
    let essence = parameters.next().unwrap_or_default().trim().to_ascii_lowercase();
    let charset = parameters.find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        let value = value.trim().trim_matches('"');
        name.trim().eq_ignore_ascii_case("charset").then(|| value.to_owned())
    });
    (essence, charset)
}

fn is_json(essence: &str) -> bool {
    essence == "application/json" || essence == "text/json" || essence.ends_with("+json")
}

/// Types whose content is text. An answer without a type is text if it can be.
fn is_textual(essence: &str) -> bool {
    essence.is_empty()
        || essence.starts_with("text/")
        || essence.ends_with("+xml")
        || essence.ends_with("json")
        || essence.ends_with("yaml")
        || matches!(
            essence,
            "application/xml"
                | "application/javascript"
                | "application/x-javascript"
                | "application/x-www-form-urlencoded"
                | "application/x-ndjson"
                | "application/jsonl"
                | "application/graphql"
                | "application/toml"
                | "application/sql"
        )
}

/// UTF-8, else each byte as the character of its number, which is what HTTP once meant (RFC 9110 section 5.5).
fn latin1(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => bytes.iter().copied().map(char::from).collect::<String>().into(),
    }
}
