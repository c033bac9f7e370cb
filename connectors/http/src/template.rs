//! `{{name}}` in the strings of headers, query, cookies and body.
//!
//! | written | becomes |
//! |---|---|
//! | `{{name}}`, `{{ user.id }}`, `{{list.0}}` | the input's value there |
//! | a string that is one template | the value with its type: any JSON in a body, else a scalar or a list of scalars |
//! | a template inside longer text | a scalar as text; in a body an object or a list as JSON text |
//! | `{{name?}}` that is missing | nothing; a string that is only this leaves its key (or item) out |
//! | `{{{{` | `{{` |
//!
//! A missing variable is `invalid-input`, named with its place. Names of members are not expanded.
//!
//! Invariant: only what the configuration says is expanded. The host has merged the input's `headers`, `query`,
//! `cookies` and `body` into the action before, so an entry that the input has too came from the caller and stays as
//! it is; and what a variable holds is never expanded again.

use openact_connector::{Failure, Json};
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::{
    config::Action,
    json::{Members, push_string},
    pairs::{Pairs, Values},
    variables::{Value, Variables},
};

const OPEN: &str = "{{";

/// Expands `action` in place. The parts in which there was something to expand.
pub(crate) fn expand(action: &mut Action, variables: &Variables<'_>) -> Result<Vec<&'static str>, Failure> {
    let mut filled = Vec::new();
    for (place, pairs) in
        [("headers", &mut action.headers), ("query", &mut action.query), ("cookies", &mut action.cookies)]
    {
        if pairs.0.iter().flat_map(|(_, values)| values).any(|value| has_template(value)) {
            expand_pairs(pairs, place, variables)?;
            filled.push(place);
        }
    }
    if let Some(body) = action.body.as_ref().filter(|body| has_template(body.as_str()))
        && variables.top("body")?.is_none()
    {
        action.body = expand_body(body, variables)?;
        filled.push("body");
    }
    Ok(filled)
}

/// Whether there is an opening: what every call pays. A search for one byte is several times one for two.
fn has_template(text: &str) -> bool {
    let mut rest = text;
    while let Some((_, after)) = rest.split_once('{') {
        if after.starts_with('{') {
            return true;
        }
        rest = after;
    }
    false
}

fn expand_pairs(pairs: &mut Pairs, place: &str, variables: &Variables<'_>) -> Result<(), Failure> {
    let callers = match variables.top(place)?.map(serde_json::from_str::<Members<IgnoredAny>>) {
        Some(Ok(Members(members))) => members,
        // The host puts whatever else it is in place of the action's.
        Some(Err(_)) => return Ok(()),
        None => Vec::new(),
    };
    // As the host merges: header names without regard to case.
    let from_caller = |name: &str| {
        callers
            .iter()
            .any(|(other, _)| other == name || place == "headers" && other.eq_ignore_ascii_case(name))
    };
    let mut expanded = Vec::with_capacity(pairs.0.len());
    for (name, values) in std::mem::take(&mut pairs.0) {
        if from_caller(&name) || !values.iter().any(|value| has_template(value)) {
            expanded.push((name, values));
            continue;
        }
        let place = format!("{place}/{name}");
        let mut all = Vec::with_capacity(values.len());
        let mut left_out = true;
        for value in values {
            if let Some(values) = expand_value(&value, &place, variables)? {
                all.extend(values);
                left_out = false;
            }
        }
        if !left_out {
            expanded.push((name, all));
        }
    }
    pairs.0 = expanded;
    Ok(())
}

/// The values that one string stands for; none if it is left out.
fn expand_value(text: &str, place: &str, variables: &Variables<'_>) -> Result<Option<Vec<String>>, Failure> {
    let Some(variable) = only(text, place)? else {
        return fill(text, place, variables, false).map(|text| Some(vec![text]));
    };
    let Some(value) = variable.value(place, variables)? else { return Ok(None) };
    match serde_json::from_str(value) {
        Ok(Values(values)) => Ok(Some(values)),
        Err(_) => Err(Failure::InvalidInput(format!(
            "'{}' must be text, a number, a boolean or a list of them to be in {place}",
            variable.name
        ))),
    }
}

/// The body, or none if it is an optional variable that is missing.
fn expand_body(body: &Json, variables: &Variables<'_>) -> Result<Option<Json>, Failure> {
    let mut out = String::with_capacity(body.as_str().len() + 256);
    let mut writer = Writer { out: &mut out, place: "body".to_owned(), variables };
    Ok(writer.value(body.as_str())?.then(|| Json::from_text(out)))
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
        let unread = |error| Failure::InvalidConfig(format!("the body is not JSON: {error}"));
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
