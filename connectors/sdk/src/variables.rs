//! The input as a source of variables.
//!
//! Invariant: it is parsed when the first variable is asked for, and only its top: a value stays the text it is.

use std::{borrow::Cow, cell::OnceCell, collections::BTreeMap};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{Failure, Json, members::member};

/// What a caller sends to an operation of which each action says for itself what it needs: an object.
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

/// What a caller sent.
pub struct Variables<'a> {
    input: &'a Json,
    top: OnceCell<Option<BTreeMap<String, &'a RawValue>>>,
}

/// A scalar, null, or something made of several.
pub enum Value<'a> {
    /// A string, or a number or boolean as JSON writes it.
    Text(Cow<'a, str>),
    /// Null.
    Null,
    /// An object or a list.
    Compound,
}

impl<'a> Variables<'a> {
    /// Of an input, which must be an object.
    pub fn of(input: &'a Json) -> Self {
        Self { input, top: OnceCell::new() }
    }

    /// The whole input.
    pub fn input(&self) -> &'a str {
        self.input.as_str()
    }

    /// The input's own member `name`.
    pub fn top(&self, name: &str) -> Result<Option<&'a str>, Failure> {
        let top = self.top.get_or_init(|| serde_json::from_str(self.input.as_str()).ok());
        match top {
            Some(top) => Ok(top.get(name).map(|raw| raw.get())),
            None => Err(Failure::InvalidInput("the input must be an object".into())),
        }
    }

    /// The member `name`, else what the names between its dots lead to.
    pub fn find(&self, name: &str) -> Result<Option<&'a str>, Failure> {
        let whole = self.top(name)?;
        match name.split_once('.') {
            Some((first, rest)) if whole.is_none() => {
                let first = self.top(first)?;
                Ok(first.and_then(|first| rest.split('.').try_fold(first, member)))
            }
            _ => Ok(whole),
        }
    }
}

impl<'a> Value<'a> {
    /// Of one JSON value.
    pub fn of(json: &'a str) -> Self {
        match json.as_bytes().first() {
            Some(b'{' | b'[') => Self::Compound,
            Some(b'n') | None => Self::Null,
            Some(b'"') => {
                serde_json::from_str(json).map_or(Self::Null, |text: String| Self::Text(text.into()))
            }
            Some(_) => Self::Text(json.into()),
        }
    }
}
