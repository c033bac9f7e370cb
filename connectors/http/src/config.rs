//! The fields of a connection and an action, as they are written in a configuration file.
//!
//! Invariant: nothing here is a secret; `authorization` belongs to the host.

use std::{borrow::Cow, fmt};

use openact_connector::{Failure, Json};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};

/// Where.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Connection {
    /// The URL that every path is appended to; its own path and query are kept.
    #[schemars(url)]
    pub base_url: String,
}

/// What.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Action {
    /// GET, POST, ...
    #[serde(default = "get")]
    #[schemars(extend("pattern" = "^[A-Za-z0-9!#$%&'*+.^_`|~-]+$"))]
    pub method: String,
    /// Appended to the base URL. {name} is replaced by the input's field of that name.
    #[serde(default)]
    pub path: String,
    /// Names and values; a list is sent as several headers, null takes a default away.
    #[serde(default)]
    pub headers: Pairs,
    /// Names and values; a list is sent as several parameters, null takes a default away.
    #[serde(default)]
    #[schemars(extend("x-aliases" = ["query_params"]))]
    pub query: Pairs,
    /// What is sent: any JSON, or text (see body_type).
    #[serde(default)]
    #[schemars(extend("x-merge" = "replace"), extend("x-aliases" = ["request_body"]))]
    pub body: Option<Json>,
    /// How the body is written.
    #[serde(default)]
    pub body_type: BodyType,
    /// Follow redirects to hosts the connection may reach, instead of returning them.
    #[serde(default)]
    pub follow_redirects: bool,
}

fn get() -> String {
    "GET".into()
}

/// The method in upper case, if it is a token (RFC 9110 section 5.6.2).
pub(crate) fn method(text: &str) -> Result<String, Failure> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if text.is_empty() || !text.bytes().all(token) {
        return Err(Failure::InvalidConfig(format!(
            "method '{}' is not an HTTP method",
            text.escape_debug()
        )));
    }
    Ok(text.to_ascii_uppercase())
}

/// How a body is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BodyType {
    /// As it is: JSON.
    #[default]
    Json,
    /// The body is a string, sent as UTF-8 text.
    Text,
    /// The body is a string of base64 (RFC 4648 section 4), sent as the bytes it stands for.
    Base64,
}

/// What a caller sends: an object of whatever the action's path needs, and overrides of its fields.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub struct Input(pub Json);

impl JsonSchema for Input {
    fn schema_name() -> Cow<'static, str> {
        "Input".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "object"})
    }
}

/// Names with their values as text, in the order they were written. A null is no value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pairs(pub Vec<(String, Vec<String>)>);

impl JsonSchema for Pairs {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Pairs".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "additionalProperties": {
                "type": ["string", "number", "boolean", "array", "null"],
                "items": {"type": ["string", "number", "boolean"]},
            },
        })
    }
}

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Pairs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some((name, Values(values))) = map.next_entry()? {
                    pairs.push((name, values));
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// A scalar or a list of scalars.
struct Values(Vec<String>);

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValuesVisitor).map(Values)
    }
}

struct ValuesVisitor;

impl<'de> Visitor<'de> for ValuesVisitor {
    type Value = Vec<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text, a number, true, false, or a list of them")
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(vec![value.to_owned()])
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(vec![value.to_string()])
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(vec![value.to_string()])
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(vec![value.to_string()])
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        // As JSON writes it (1.0, not 1).
        Ok(vec![serde_json::Value::from(value).to_string()])
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Vec::new())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Scalar(value)) = list.next_element()? {
            values.push(value);
        }
        Ok(values)
    }
}

/// One value of a list.
struct Scalar(String);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::String(text) => Ok(Self(text)),
            value @ (serde_json::Value::Number(_) | serde_json::Value::Bool(_)) => {
                Ok(Self(value.to_string()))
            }
            _ => Err(serde::de::Error::custom("a list may hold text, numbers, true and false")),
        }
    }
}
