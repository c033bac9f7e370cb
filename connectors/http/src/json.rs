//! JSON as text: written, and taken apart by place without being rebuilt.
//!
//! Invariant: a value that is only passed on stays the text it was, digits, order and repeated names included.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

pub use openact_connector::members::Members;
pub(crate) use openact_connector::{members::member, write::push_string};

/// A place in JSON: a JSON Pointer (RFC 6901) such as `/data/0`, or the same as `$.data[0]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer {
    text: String,
    tokens: Vec<String>,
}

impl Pointer {
    /// Reads either form.
    pub fn parse(text: &str) -> Result<Self, String> {
        let tokens = match text.as_bytes().first() {
            None => Some(Vec::new()),
            Some(b'/') => text.split('/').skip(1).map(pointer_token).collect(),
            Some(b'$') => path_tokens(text.get(1..).unwrap_or_default()),
            _ => None,
        };
        let text = text.to_owned();
        match tokens {
            Some(tokens) => Ok(Self { text, tokens }),
            None => Err(format!("'{}' is no place such as /data/items or $.data.items", text.escape_debug())),
        }
    }

    /// The steps from the top.
    pub fn tokens(&self) -> &[String] {
        &self.tokens
    }

    /// The value at this place of `json`.
    pub fn find<'a>(&self, json: &'a str) -> Option<&'a str> {
        self.tokens.iter().try_fold(json.trim_ascii(), |value, token| member(value, token))
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Pointer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&Cow::<str>::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Pointer {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Pointer".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "^([/$].*)?$"})
    }
}

/// `json` with `value` at the place that `tokens` name, made if it is not there; none if something else is in the way.
pub(crate) fn with_member(json: &str, tokens: &[String], value: &str) -> Option<String> {
    let Some((name, tokens)) = tokens.split_first() else {
        return Some(value.to_owned());
    };
    let Members(members) = serde_json::from_str::<Members<&RawValue>>(json).ok()?;
    let inner = members.iter().rev().find(|(other, _)| other == name).map_or("{}", |(_, value)| value.get());
    let inner = with_member(inner, tokens, value)?;
    let mut out = String::with_capacity(json.len() + inner.len() + name.len() + 8);
    let others = members.iter().filter(|(other, _)| other != name);
    let all = others.map(|(name, value)| (name, value.get())).chain([(name, inner.as_str())]);
    for (name, value) in all {
        out.push(if out.is_empty() { '{' } else { ',' });
        push_string(&mut out, name);
        out.push(':');
        out.push_str(value);
    }
    out.push('}');
    Some(out)
}

fn pointer_token(text: &str) -> Option<String> {
    let mut token = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        token.push(match (c, c == '~') {
            (_, true) => match characters.next()? {
                '0' => '~',
                '1' => '/',
                _ => return None,
            },
            (c, false) => c,
        });
    }
    Some(token)
}

/// `.name`, `[0]` and `['name']`, as often as wanted.
fn path_tokens(mut rest: &str) -> Option<Vec<String>> {
    let mut tokens = Vec::new();
    while !rest.is_empty() {
        let (token, after) = if let Some(after) = rest.strip_prefix('.') {
            after.split_at(after.find(['.', '[']).unwrap_or(after.len()))
        } else {
            let (token, after) = rest.strip_prefix('[')?.split_once(']')?;
            let quoted = |quote: char| token.strip_prefix(quote).and_then(|token| token.strip_suffix(quote));
            let index = || (!token.is_empty() && token.bytes().all(|b| b.is_ascii_digit())).then_some(token);
            (quoted('\'').or_else(|| quoted('"')).or_else(index)?, after)
        };
        // `$..name` and `$.*` of JSONPath ask for several values, which is another thing.
        if token.is_empty() || token == "*" {
            return None;
        }
        tokens.push(token.to_owned());
        rest = after;
    }
    Some(tokens)
}
