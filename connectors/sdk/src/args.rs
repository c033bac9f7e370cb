//! The values of a statement's parameters, from what a caller sent.
//!
//! | input | values |
//! |---|---|
//! | `null`, nothing | none |
//! | `[1, "a"]`, `{"args": [1, "a"]}` | by position |
//! | `{"name": 1}` | by name, in the order of the action's `parameters` |
//!
//! An object that has `args` is by position unless a parameter has that name. Invariant: values stay JSON text until the
//! connector knows their type; they never become part of a statement.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::{Failure, Json};

/// One parameter of a statement, as an action declares it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "keywords that the host has checked are only known here")]
pub struct Parameter {
    /// What a caller calls it.
    pub name: String,
    /// What its value must be. If absent, whatever the server takes.
    #[serde(default, rename = "type", alias = "param_type")]
    #[schemars(with = "Kind", extend("x-aliases" = ["param_type"]))]
    pub kind: Option<Kind>,
    /// Whether a caller must give it. One that need not be given and has no default is null.
    #[serde(default = "yes")]
    pub required: bool,
    /// The value where a caller gives none.
    #[serde(default, deserialize_with = "given")]
    pub default: Option<Json>,
    /// For whoever calls the action.
    #[serde(default)]
    #[schemars(with = "String")]
    pub description: Option<String>,
    /// What else its value must be. These go into the input's schema, which the host checks.
    #[serde(default)]
    #[schemars(with = "bool")]
    nullable: Checked,
    #[serde(default, rename = "enum")]
    #[schemars(with = "Vec<Json>")]
    choices: Checked,
    #[serde(default)]
    #[schemars(with = "String")]
    format: Checked,
    #[serde(default)]
    #[schemars(with = "String")]
    pattern: Checked,
    #[serde(default, rename = "minLength")]
    #[schemars(with = "u64")]
    min_length: Checked,
    #[serde(default, rename = "maxLength")]
    #[schemars(with = "u64")]
    max_length: Checked,
    #[serde(default)]
    #[schemars(with = "f64")]
    minimum: Checked,
    #[serde(default)]
    #[schemars(with = "f64")]
    maximum: Checked,
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, Json>")]
    items: Checked,
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, Json>")]
    properties: Checked,
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, Json>")]
    schema: Checked,
}

/// A keyword that the host has checked.
type Checked = serde::de::IgnoredAny;

/// What a value must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Text.
    String,
    /// A number, or text, which holds the digits that a number would lose.
    Number,
    /// A number without a fraction, or text, which holds the digits that a number would lose.
    Integer,
    /// True or false.
    Boolean,
    /// An object.
    Object,
    /// A list.
    Array,
}

fn yes() -> bool {
    true
}

/// A default of null is a default too.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Json>, D::Error> {
    Json::deserialize(deserializer).map(Some)
}

/// What a caller sent.
#[derive(Debug)]
pub enum Args<'a> {
    /// By position.
    Positional(Vec<&'a RawValue>),
    /// By name.
    Named(BTreeMap<String, &'a RawValue>),
}

impl<'a> Args<'a> {
    /// Reads the input of an action with these `parameters`.
    pub fn of(input: &'a Json, parameters: &[Parameter]) -> Result<Self, Failure> {
        // What the parser says could quote a value.
        let wrong = |_| Failure::InvalidInput("the input is no list or object of values".into());
        let text = input.as_str().trim_ascii();
        match text.as_bytes().first() {
            None | Some(b'n') => Ok(Self::Positional(Vec::new())),
            Some(b'[') => serde_json::from_str(text).map(Self::Positional).map_err(wrong),
            _ => {
                let named: BTreeMap<String, &RawValue> = serde_json::from_str(text).map_err(wrong)?;
                match named.get("args").filter(|_| parameters.iter().all(|p| p.name != "args")) {
                    Some(args) if args.get().starts_with('[') => {
                        serde_json::from_str(args.get()).map(Self::Positional).map_err(wrong)
                    }
                    _ => Ok(Self::Named(named)),
                }
            }
        }
    }

    /// The value of a name, for statements with names of their own.
    pub fn named(&self, name: &str) -> Option<&'a str> {
        match self {
            Self::Positional(_) => None,
            Self::Named(named) => named.get(name).map(|value| value.get()),
        }
    }

    /// The values in the order of `parameters`, as JSON text. Without `parameters`, those by position as they are.
    pub fn ordered<'v>(&self, parameters: &'v [Parameter]) -> Result<Vec<&'v str>, Failure>
    where
        'a: 'v,
    {
        if let Self::Positional(values) = self {
            if parameters.is_empty() {
                return Ok(values.iter().map(|value| value.get()).collect());
            }
            if values.len() > parameters.len() {
                return Err(Failure::InvalidInput(format!(
                    "{} values for {} parameters",
                    values.len(),
                    parameters.len()
                )));
            }
        }
        let given = |at: usize, name: &str| match self {
            Self::Positional(values) => values.get(at).map(|value| value.get()),
            Self::Named(_) => self.named(name),
        };
        parameters
            .iter()
            .enumerate()
            .map(|(at, parameter)| parameter.value(given(at, &parameter.name)))
            .collect()
    }
}

impl Parameter {
    /// The value to send, where `given` came from the caller.
    fn value<'v>(&'v self, given: Option<&'v str>) -> Result<&'v str, Failure> {
        match (given, &self.default) {
            (Some(value), _) => self.admit(value),
            (None, Some(default)) => Ok(default.as_str()),
            (None, None) if self.required => {
                Err(Failure::InvalidInput(format!("'{}' is missing in the input", self.name)))
            }
            (None, None) => Ok("null"),
        }
    }

    /// `value`, if it is what this parameter must be. Null always is: whether the server takes it is the server's to say.
    fn admit<'v>(&self, value: &'v str) -> Result<&'v str, Failure> {
        let first = value.as_bytes().first();
        let is_number = matches!(first, Some(b'-' | b'0'..=b'9'));
        let (fits, wanted) = match self.kind {
            None => (true, ""),
            Some(Kind::String) => (first == Some(&b'"'), "text"),
            Some(Kind::Number) => (is_number || first == Some(&b'"'), "a number"),
            Some(Kind::Integer) => (
                is_number && !value.contains(['.', 'e', 'E']) || first == Some(&b'"'),
                "a number without a fraction",
            ),
            Some(Kind::Boolean) => (matches!(first, Some(b't' | b'f')), "true or false"),
            Some(Kind::Object) => (first == Some(&b'{'), "an object"),
            Some(Kind::Array) => (first == Some(&b'['), "a list"),
        };
        if fits || value == "null" {
            return Ok(value);
        }
        Err(Failure::InvalidInput(format!("'{}' must be {wanted}", self.name)))
    }
}
