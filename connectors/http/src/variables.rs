//! The input as a source of variables.
//!
//! Invariant: it is parsed when the first variable is asked for, and only its top: a value stays the text it is.

use std::{borrow::Cow, cell::OnceCell, collections::BTreeMap};

use openact_connector::{Failure, Json};
use serde_json::value::RawValue;

use crate::json;

/// What a caller sent.
pub struct Variables<'a> {
    input: &'a Json,
    top: OnceCell<Option<BTreeMap<String, &'a RawValue>>>,
}

/// A scalar, null, or something made of several.
pub(crate) enum Value<'a> {
    Text(Cow<'a, str>),
    Null,
    Compound,
}

impl<'a> Variables<'a> {
    /// Of an input, which must be an object.
    pub fn of(input: &'a Json) -> Self {
        Self { input, top: OnceCell::new() }
    }

    /// The whole input.
    pub(crate) fn input(&self) -> &'a str {
        self.input.as_str()
    }

    /// The input's own member `name`.
    pub(crate) fn top(&self, name: &str) -> Result<Option<&'a str>, Failure> {
        let top = self.top.get_or_init(|| serde_json::from_str(self.input.as_str()).ok());
        match top {
            Some(top) => Ok(top.get(name).map(|raw| raw.get())),
            None => Err(Failure::InvalidInput("the input must be an object".into())),
        }
    }

    /// The member `name`, else what the names between its dots lead to.
    pub(crate) fn find(&self, name: &str) -> Result<Option<&'a str>, Failure> {
        let whole = self.top(name)?;
        match name.split_once('.') {
            Some((first, rest)) if whole.is_none() => {
                let first = self.top(first)?;
                Ok(first.and_then(|first| rest.split('.').try_fold(first, json::member)))
            }
            _ => Ok(whole),
        }
    }

    /// The variable of a path: a member of the input's `path`, else as [`Variables::find`].
    pub(crate) fn of_path(&self, name: &str) -> Result<Option<&'a str>, Failure> {
        // Where `path` is not an object it is an ordinary field, which may itself be a variable.
        match self.top("path")?.filter(|path| path.starts_with('{')) {
            Some(path) => match json::member(path, name) {
                Some(value) => Ok(Some(value)),
                None => self.find(name),
            },
            None => self.find(name),
        }
    }

    /// Whoever set it is told: the caller, if the input has one of `keys`, else the author of the configuration. An
    /// input's `path` sets nothing: it only holds variables.
    pub(crate) fn blame(&self, keys: &[&str], message: String) -> Failure {
        if keys.iter().any(|key| *key != "path" && matches!(self.top(key), Ok(Some(_)))) {
            Failure::InvalidInput(message)
        } else {
            Failure::InvalidConfig(message)
        }
    }
}

impl<'a> Value<'a> {
    /// Of one JSON value.
    pub(crate) fn of(json: &'a str) -> Self {
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
