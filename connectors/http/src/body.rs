//! The body of a request.
//!
//! | body | sent as |
//! |---|---|
//! | `{"type": "json", "data": …}` | JSON |
//! | `{"type": "form", "fields": {…}}` | `application/x-www-form-urlencoded`; values are scalars or lists |
//! | `{"type": "multipart", "fields": {…}, "files": {…}}` | `multipart/form-data`, see [`crate::multipart`] |
//! | `{"type": "raw", "data": "base64", "content_type": "…"}` | bytes |
//! | `{"type": "text", "content": "…", "charset": "…"}` | text, in UTF-8 if no charset is given |
//! | anything else, and an object with a key that its type does not have | JSON |
//!
//! So that a JSON body which happens to look like one of these is sent as it is, write it as
//! `{"type": "json", "data": …}` or set `body_type: json`; that a body is taken for JSON although its type is one of
//! these is logged.
//!
//! Invariants: JSON goes out as the caller or the configuration wrote it, not parsed and rebuilt; the kind of a body
//! is what is written before variables are filled in, so that no variable decides it.

use std::borrow::Cow;

use base64::{Engine, engine::general_purpose::STANDARD};
use openact_connector::Json;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    charset::{self, Charset},
    config::BodyType,
    json::{self, Members, Pointer},
    multipart::{self, File, OneOrMany},
    pairs::Pairs,
    url,
    variables::{Value, Variables},
};

/// How a body becomes bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// As `body_type` says, JSON if it says nothing.
    Bare(BodyType),
    /// As its own `type` says.
    Typed(Kind),
}

/// The `type` of a body that has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Json,
    Form,
    Multipart,
    Raw,
    Text,
}

impl Format {
    /// Of a body as it was written. `warn` is told where it may have been meant otherwise.
    pub(crate) fn of(body: &Json, body_type: Option<BodyType>, warn: impl FnOnce(&str)) -> Self {
        if let Some(body_type) = body_type {
            return Self::Bare(body_type);
        }
        match may_be_typed(body.as_str()).then(|| kind(body.as_str())).flatten() {
            Some(Ok(kind)) => Self::Typed(kind),
            Some(Err(misfit)) => {
                warn(&format!("the body is sent as JSON: {misfit}; set body_type to json if that is meant"));
                Self::Bare(BodyType::Json)
            }
            None => Self::Bare(BodyType::Json),
        }
    }

    /// The content type of the body itself, and the bytes. `set` is the one that the headers say.
    pub(crate) fn encode(
        self,
        body: Json,
        set: Option<&str>,
        variables: &Variables<'_>,
    ) -> Result<(Cow<'static, str>, Vec<u8>), String> {
        let Format::Typed(kind) = self else { return self.encode_bare(body) };
        let wrong = |error| format!("the {kind:?} body is wrong: {error}").to_lowercase();
        let Typed { data, fields, files, content_type, content, charset } =
            serde_json::from_str(body.as_str()).map_err(wrong)?;
        match kind {
            Kind::Json => {
                let data = data.map(RawValue::get).unwrap_or("null");
                Ok(("application/json".into(), data.as_bytes().to_vec()))
            }
            Kind::Form => Ok((FORM.into(), url::form(&fields).into_bytes())),
            Kind::Multipart => multipart::encode(fields, files, variables),
            Kind::Raw => {
                let data = data.ok_or("the raw body has no data")?;
                // Without a type of its own it has the one that is set.
                let content_type = content_type.or_else(|| set.map(str::to_owned));
                Ok((content_type.map_or(BYTES.into(), Cow::Owned), bytes(data.get(), "data")?))
            }
            Kind::Text => text(&content.unwrap_or_default(), charset.as_deref()),
        }
    }

    fn encode_bare(self, body: Json) -> Result<(Cow<'static, str>, Vec<u8>), String> {
        let string = |kind: &str| {
            body.parse::<String>().map_err(|_| format!("the body must be a string for body_type {kind}"))
        };
        match self {
            Self::Bare(BodyType::Text) => text(&string("text")?, None),
            Self::Bare(BodyType::Base64) => Ok((BYTES.into(), bytes(body.as_str(), "the body")?)),
            Self::Bare(BodyType::Form) => {
                let fields: Pairs = body.parse().map_err(|error| format!("the body is no form: {error}"))?;
                Ok((FORM.into(), url::form(&fields).into_bytes()))
            }
            Self::Bare(BodyType::Json) | Self::Typed(_) => {
                Ok(("application/json".into(), String::from(body).into_bytes()))
            }
        }
    }
}

/// Whether an object begins with a key that a typed body has: most bare bodies do not, and cost nothing more.
fn may_be_typed(body: &str) -> bool {
    let first = body.strip_prefix('{').unwrap_or_default().trim_ascii_start();
    ["\"type\"", "\"data\"", "\"fi", "\"content", "\"charset\""].iter().any(|key| first.starts_with(key))
}

const FORM: &str = "application/x-www-form-urlencoded";
const BYTES: &str = "application/octet-stream";

/// The bytes that a string of base64, or the `{"base64": "…"}` of a binary answer, stands for.
pub(crate) fn bytes(json: &str, what: &str) -> Result<Vec<u8>, String> {
    let text = match json::member(json, "base64") {
        Some(inner) => inner,
        None => json,
    };
    let Value::Text(text) = Value::of(text) else {
        return Err(format!("{what} must be a string of base64"));
    };
    STANDARD.decode(&*text).map_err(|error| format!("{what} is not base64: {error}"))
}

/// The bytes at a place of the input: text as UTF-8, or the `{"base64": "…"}` of a binary answer.
pub(crate) fn bytes_of_input(place: &Pointer, variables: &Variables<'_>) -> Result<Vec<u8>, String> {
    let found = place.find(variables.input()).ok_or_else(|| format!("the input has nothing at '{place}'"))?;
    match Value::of(found) {
        Value::Text(text) if found.starts_with('"') => Ok(text.into_owned().into_bytes()),
        Value::Compound if json::member(found, "base64").is_some() => {
            bytes(found, &format!("the input at '{place}'"))
        }
        _ => Err(format!("the input at '{place}' must be text or {{\"base64\": …}}")),
    }
}

fn text(content: &str, charset: Option<&str>) -> Result<(Cow<'static, str>, Vec<u8>), String> {
    let label = charset.unwrap_or("utf-8");
    let charset = Charset::of(label).ok_or_else(|| {
        format!("the charset '{}' is not known; known are {}", label.escape_debug(), charset::KNOWN)
    })?;
    let name = charset.name();
    let bytes = charset
        .encode(content)
        .map_err(|at| format!("character {at} of the text cannot be written in {name}; use utf-8"))?;
    Ok((format!("text/plain; charset={name}").into(), bytes))
}

/// The members of every kind of typed body; [`kind`] knows which belong to which.
#[derive(Deserialize)]
struct Typed<'a> {
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(default)]
    fields: Pairs,
    #[serde(default, borrow)]
    files: Members<OneOrMany<File<'a>>>,
    content_type: Option<String>,
    content: Option<String>,
    charset: Option<String>,
}

/// The kind of an object with a `type`, or which key does not fit it; none if it has no such type.
fn kind(body: &str) -> Option<Result<Kind, String>> {
    let Members(members) = serde_json::from_str::<Members<&RawValue>>(body).ok()?;
    let (_, name) = members.iter().find(|(name, _)| name == "type")?;
    let kind: Kind = serde_json::from_str(name.get()).ok()?;
    let (needed, allowed): (&str, &[&str]) = match kind {
        Kind::Json => ("data", &[]),
        Kind::Form => ("fields", &[]),
        Kind::Multipart => ("", &["fields", "files"]),
        Kind::Raw => ("data", &["content_type"]),
        Kind::Text => ("content", &["charset"]),
    };
    let mut others = members.iter().map(|(name, _)| name.as_str()).filter(|name| *name != "type").peekable();
    let is_empty = others.peek().is_none();
    if let Some(alien) = others.find(|name| *name != needed && !allowed.contains(name)) {
        return Some(Err(format!("a body of type {name} has no '{}'", alien.escape_debug())));
    }
    let has = |wanted: &str| members.iter().any(|(name, _)| name == wanted);
    Some(match needed {
        "" if is_empty => Err(format!("a body of type {name} needs 'fields' or 'files'")),
        "" => Ok(kind),
        needed if has(needed) => Ok(kind),
        needed => Err(format!("a body of type {name} needs '{needed}'")),
    })
}
