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
//! `{"type": "json", "data": …}` or set `body_type: json`.
//!
//! Invariants: JSON goes out as the caller or the configuration wrote it, not parsed and rebuilt; the kind of a body
//! is what is written before variables are filled in, so that no variable decides it.

use std::{borrow::Cow, fmt};

use base64::{Engine, engine::general_purpose::STANDARD};
use openact_connector::Json;
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};
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
    /// Of a body as it was written.
    pub(crate) fn of(body: &Json, body_type: Option<BodyType>) -> Self {
        match body_type {
            Some(body_type) => Self::Bare(body_type),
            None if may_be_typed(body.as_str()) => match serde_json::from_str(body.as_str()) {
                Ok(Shape(kind)) => Self::Typed(kind),
                Err(_) => Self::Bare(BodyType::Json),
            },
            None => Self::Bare(BodyType::Json),
        }
    }

    /// The content type to send if none is set, and the bytes. `set` is the one that is set.
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
            Kind::Multipart => multipart::encode(fields, files, set, variables),
            Kind::Raw => {
                let data = data.ok_or("the raw body has no data")?;
                let content_type = content_type.map_or(BYTES.into(), Cow::Owned);
                Ok((content_type, bytes(data.get(), "data")?))
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

/// The members of every kind of typed body; [`Shape`] knows which belong to which.
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

/// An object with a `type` and the keys of that type only.
struct Shape(Kind);

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Key {
    Type,
    Data,
    Fields,
    Files,
    ContentType,
    Content,
    Charset,
}

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = Shape;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a body with a type")
            }

            /// Ends at the first key that no typed body has: most bare bodies begin with one.
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Shape, A::Error> {
                let bit = |key: Key| 1_u32 << key as u32;
                let (mut kind, mut seen) = (None, 0);
                while let Some(key) = map.next_key::<Key>()? {
                    match key {
                        Key::Type => kind = Some(map.next_value::<Kind>()?),
                        _ => drop(map.next_value::<IgnoredAny>()?),
                    }
                    seen |= bit(key);
                }
                let kind = kind.ok_or_else(|| serde::de::Error::missing_field("type"))?;
                let (needed, allowed) = match kind {
                    Kind::Json => (bit(Key::Data), 0),
                    Kind::Form => (bit(Key::Fields), 0),
                    Kind::Multipart => (0, bit(Key::Fields) | bit(Key::Files)),
                    Kind::Raw => (bit(Key::Data), bit(Key::ContentType)),
                    Kind::Text => (bit(Key::Content), bit(Key::Charset)),
                };
                let seen = seen & !bit(Key::Type);
                let fits = seen & needed == needed && seen & !(needed | allowed) == 0 && seen != 0;
                if fits { Ok(Shape(kind)) } else { Err(serde::de::Error::custom("another body")) }
            }
        }
        deserializer.deserialize_map(Keys)
    }
}
