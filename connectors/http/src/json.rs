//! JSON as text: written, and taken apart by place without being rebuilt.
//!
//! Invariant: a value that is only passed on stays the text it was, digits, order and repeated names included.

use std::{borrow::Cow, fmt, marker::PhantomData};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

/// The members of an object in the order they were written, repeated names too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Members<T>(pub Vec<(String, T)>);

impl<T> Default for Members<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Members<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Collect<T> {
            type Value = Vec<(String, T)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(Collect(PhantomData)).map(Self)
    }
}

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

/// The member of an object, or the item of a list, that `token` names. Of a repeated name the last counts.
pub(crate) fn member<'a>(json: &'a str, token: &str) -> Option<&'a str> {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let found = match json.as_bytes().first()? {
        b'{' => deserializer.deserialize_map(Step(token)),
        b'[' => deserializer.deserialize_seq(Step(token)),
        _ => return None,
    };
    found.ok().flatten().map(RawValue::get)
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

/// Appends `text` as a JSON string (RFC 8259 section 7).
pub(crate) fn push_string(out: &mut String, text: &str) {
    out.push('"');
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c < ' ' || c == '"' || c == '\\') {
        let (plain, after) = rest.split_at(at);
        out.push_str(plain);
        let mut characters = after.chars();
        match characters.next() {
            Some('\n') => out.push_str("\\n"),
            Some('\r') => out.push_str("\\r"),
            Some('\t') => out.push_str("\\t"),
            Some(c @ ('"' | '\\')) => out.extend(['\\', c]),
            Some(c) => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            None => {}
        }
        rest = characters.as_str();
    }
    out.push_str(rest);
    out.push('"');
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

/// One step down, skipping everything beside it.
struct Step<'t>(&'t str);

impl<'de> Visitor<'de> for Step<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or a list")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(is_it) = map.next_key_seed(Is(self.0))? {
            if is_it {
                found = Some(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let canonical = self.0 == "0" || !self.0.starts_with(['0', '+']);
        let mut left = self.0.parse::<usize>().ok().filter(|_| canonical);
        let mut found = None;
        while let Some(item) = list.next_element::<&RawValue>()? {
            if left == Some(0) {
                found = Some(item);
            }
            left = left.and_then(|left| left.checked_sub(1));
        }
        Ok(found)
    }
}

/// Whether a key is this one, without keeping it.
struct Is<'t>(&'t str);

impl<'de> DeserializeSeed<'de> for Is<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Is<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, key: &str) -> Result<bool, E> {
        Ok(key == self.0)
    }
}
