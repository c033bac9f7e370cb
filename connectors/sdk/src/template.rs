//! `{{name}}` in the strings of an action, filled from the input.
//!
//! | written | becomes |
//! |---|---|
//! | `{{name}}`, `{{ user.id }}`, `{{list.0}}` | the input's value there |
//! | a string that is one template | the value with its type |
//! | a template inside longer text | a scalar as text; in JSON an object or a list as JSON text |
//! | `{{name?}}` that is missing | nothing; a string that is only this leaves its key (or item) out |
//! | `{{{{` | `{{` |
//!
//! A missing variable is `invalid-input`, named with its place. Names of members are not expanded.
//!
//! Invariant: what a variable holds is never expanded again. Whether a string is the configuration's own, and not one
//! that the caller put there through an overridable key, is the connector's to know.

use serde_json::value::RawValue;

use crate::{
    Failure, Json,
    members::Members,
    variables::{Value, Variables},
    write::push_string,
};

const OPEN: &str = "{{";

/// What a string with templates became.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filled<'t, 'a> {
    /// Text, with scalars in the place of templates.
    Text(String),
    /// The string was one template: the JSON of its variable, and the variable's name for messages.
    Value {
        /// The variable.
        name: &'t str,
        /// Its value.
        json: &'a str,
    },
    /// The string was one optional template, and there is no such variable.
    Nothing,
}

/// Whether there is an opening: what every call pays. A search for one byte is several times one for two.
pub fn has_template(text: &str) -> bool {
    let mut rest = text;
    while let Some((_, after)) = rest.split_once('{') {
        if after.starts_with('{') {
            return true;
        }
        rest = after;
    }
    false
}

/// Fills the templates of `text`; `place` is where it stands, for messages.
pub fn expand_text<'t, 'a>(
    text: &'t str,
    place: &str,
    variables: &Variables<'a>,
) -> Result<Filled<'t, 'a>, Failure> {
    let Some(variable) = only(text, place)? else {
        return fill(text, place, variables, false).map(Filled::Text);
    };
    Ok(match variable.value(place, variables)? {
        Some(json) => Filled::Value { name: variable.name, json },
        None => Filled::Nothing,
    })
}

/// Fills the templates in all strings of `json`, which keeps everything else as it is; none if it is an optional
/// variable that is missing.
pub fn expand_json(json: &Json, place: &str, variables: &Variables<'_>) -> Result<Option<Json>, Failure> {
    let mut out = String::with_capacity(json.as_str().len() + 256);
    let mut writer = Writer { out: &mut out, place: place.to_owned(), variables };
    Ok(writer.value(json.as_str())?.then(|| Json::from_text(out)))
}

struct Writer<'w, 'a> {
    out: &'w mut String,
    place: String,
    variables: &'w Variables<'a>,
}

impl Writer<'_, '_> {
    /// Writes one value; `false` if it is left out.
    fn value(&mut self, json: &str) -> Result<bool, Failure> {
        let first = json.as_bytes().first();
        if !matches!(first, Some(b'{' | b'[' | b'"')) || !has_template(json) {
            self.out.push_str(json);
            return Ok(true);
        }
        let unread = |error| Failure::InvalidConfig(format!("{} is not JSON: {error}", self.place));
        match first {
            Some(b'{') => {
                let Members(members) = serde_json::from_str::<Members<&RawValue>>(json).map_err(unread)?;
                let members = members.iter().map(|(name, value)| (name.as_str(), true, value.get()));
                self.several(['{', '}'], members)?;
            }
            Some(b'[') => {
                let items: Vec<&RawValue> = serde_json::from_str(json).map_err(unread)?;
                let names: Vec<String> = (0..items.len()).map(|index| index.to_string()).collect();
                let items = names.iter().zip(&items).map(|(name, item)| (name.as_str(), false, item.get()));
                self.several(['[', ']'], items)?;
            }
            _ => return self.string(&serde_json::from_str::<String>(json).map_err(unread)?),
        }
        Ok(true)
    }

    fn several<'j>(
        &mut self,
        [open, close]: [char; 2],
        parts: impl Iterator<Item = (&'j str, bool, &'j str)>,
    ) -> Result<(), Failure> {
        let mut separator = None;
        self.out.push(open);
        for (name, named, value) in parts {
            let (written, place) = (self.out.len(), self.place.len());
            self.out.extend(separator);
            if named {
                push_string(self.out, name);
                self.out.push(':');
            }
            self.place.extend(["/", name]);
            if self.value(value)? {
                separator = Some(',');
            } else {
                self.out.truncate(written);
            }
            self.place.truncate(place);
        }
        self.out.push(close);
        Ok(())
    }

    fn string(&mut self, text: &str) -> Result<bool, Failure> {
        match only(text, &self.place)? {
            Some(variable) => match variable.value(&self.place, self.variables)? {
                Some(value) => self.out.push_str(value),
                None => return Ok(false),
            },
            None => push_string(self.out, &fill(text, &self.place, self.variables, true)?),
        }
        Ok(true)
    }
}

struct Variable<'t> {
    name: &'t str,
    optional: bool,
}

impl Variable<'_> {
    /// Its JSON; none if it is optional and missing.
    fn value<'a>(&self, place: &str, variables: &Variables<'a>) -> Result<Option<&'a str>, Failure> {
        match variables.find(self.name)? {
            None if !self.optional => Err(Failure::InvalidInput(format!(
                "'{}' is missing in the input, and the action's {place} needs it",
                self.name
            ))),
            found => Ok(found),
        }
    }
}

/// The variable that `text` is, if it is one template and nothing else.
fn only<'t>(text: &'t str, place: &str) -> Result<Option<Variable<'t>>, Failure> {
    match text.strip_prefix(OPEN) {
        Some(after) if !after.starts_with(OPEN) => {
            let (variable, rest) = variable(text, after, place)?;
            Ok(rest.is_empty().then_some(variable))
        }
        _ => Ok(None),
    }
}

/// `text` with every template in it replaced; objects and lists as JSON where `compound` says so.
fn fill(text: &str, place: &str, variables: &Variables<'_>, compound: bool) -> Result<String, Failure> {
    let mut filled = String::with_capacity(text.len() + 32);
    let mut rest = text;
    while let Some((literal, after)) = rest.split_once(OPEN) {
        filled.push_str(literal);
        if let Some(after) = after.strip_prefix(OPEN) {
            filled.push_str(OPEN);
            rest = after;
            continue;
        }
        let (variable, after) = variable(text, after, place)?;
        rest = after;
        let Some(value) = variable.value(place, variables)? else { continue };
        match Value::of(value) {
            Value::Text(text) => filled.push_str(&text),
            Value::Compound if compound => filled.push_str(value),
            Value::Null if variable.optional => {}
            _ => {
                let wanted =
                    if compound { "must not be null" } else { "must be text, a number or a boolean" };
                return Err(Failure::InvalidInput(format!(
                    "'{}' {wanted} to be in the text of {place}",
                    variable.name
                )));
            }
        }
    }
    filled.push_str(rest);
    Ok(filled)
}

/// The variable that `after`, what follows an opening in `text`, begins with, and the rest.
fn variable<'t>(text: &str, after: &'t str, place: &str) -> Result<(Variable<'t>, &'t str), Failure> {
    let legal = |name: &str| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
    };
    let parsed = after.split_once("}}").and_then(|(inside, rest)| {
        let inside = inside.trim_matches(' ');
        let name = inside.strip_suffix('?').unwrap_or(inside);
        legal(name).then_some((Variable { name, optional: name.len() < inside.len() }, rest))
    });
    parsed.ok_or_else(|| {
        // From where it is wrong, and enough to find it by.
        let from = text.len() - after.len() - OPEN.len();
        let shown: String = text.get(from..).unwrap_or(text).chars().take(60).collect();
        Failure::InvalidConfig(format!(
            "{place} has '{{{{' that begins no {{{{name}}}}: '{}'; write {{{{{{{{ for a literal '{{{{'",
            shown.escape_debug()
        ))
    })
}
