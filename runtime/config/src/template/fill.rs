//! `{{parameter}}` in the texts of a template's connection.
//!
//! | written | becomes |
//! |---|---|
//! | `{{name}}` as the whole text | the parameter's value with its type, a secret as the reference it is |
//! | `{{name?}}` as the whole text, without a value | nothing: its key is left out |
//! | `{{name}}` within longer text | the value as text |
//! | `{{{{` | `{{`, which is the base connector's to read |
//!
//! Invariant: what a parameter holds is never filled in again, neither here nor by the base connector, and it chooses a host
//! only where the template leaves the whole of it to a parameter.

use std::collections::BTreeSet;

use openact_core::{ConnectorName, Error, JsonObject, Result, limits, schema::SchemaView};
use serde_json::Value;

use super::Parameter;

const OPEN: &str = "{{";

/// A piece of a text.
#[derive(Debug, PartialEq)]
pub(super) enum Piece<'t> {
    Text(&'t str),
    Hole {
        name: &'t str,
        optional: bool,
    },
    /// `{{` that begins no hole.
    Broken,
}

/// The pieces of a text, in order.
pub(super) fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(OPEN) {
        if !before.is_empty() {
            found.push(Piece::Text(before));
        }
        if let Some(after) = after.strip_prefix(OPEN) {
            found.push(Piece::Text(OPEN));
            rest = after;
            continue;
        }
        match after.split_once("}}").and_then(|(inside, rest)| Some((hole(inside)?, rest))) {
            Some((hole, after)) => {
                found.push(hole);
                rest = after;
            }
            None => {
                found.push(Piece::Broken);
                rest = after;
            }
        }
    }
    if !rest.is_empty() {
        found.push(Piece::Text(rest));
    }
    found
}

fn hole(inside: &str) -> Option<Piece<'_>> {
    let inside = inside.trim_matches(' ');
    let name = inside.strip_suffix('?').unwrap_or(inside);
    let is_name =
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    is_name.then_some(Piece::Hole { name, optional: name.len() < inside.len() })
}

/// The hole that a text is, if it is nothing else.
pub(super) fn only(text: &str) -> Option<(&str, bool)> {
    match pieces(text).as_slice() {
        [Piece::Hole { name, optional }] => Some((*name, *optional)),
        _ => None,
    }
}

/// Whether there is a hole in a text.
pub(super) fn has_hole(text: &str) -> bool {
    pieces(text).iter().any(|piece| matches!(piece, Piece::Hole { .. }))
}

/// Every parameter named anywhere in `value`.
pub(super) fn names(value: &Value) -> BTreeSet<&str> {
    let mut found = BTreeSet::new();
    let mut open = vec![value];
    while let Some(value) = open.pop() {
        match value {
            Value::String(text) => found.extend(pieces(text).into_iter().filter_map(|piece| match piece {
                Piece::Hole { name, .. } => Some(name),
                _ => None,
            })),
            Value::Array(items) => open.extend(items),
            Value::Object(object) => open.extend(object.values()),
            _ => {}
        }
    }
    found
}

/// Puts values in place of holes, [`limits::TEMPLATE_EXPANSION_MAX`] bytes of them in all: a template may name a long
/// default often.
pub(super) struct Filler {
    values: JsonObject,
    left: usize,
    place: Place,
}

/// Who reads a text after this.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    /// The host, for which it may be a URL.
    Host,
    /// Nobody who expands it.
    Plain,
    /// The connector `http`, which puts the input in place of `{{name}}`.
    Template,
    /// The same, of `{name}` in a path.
    Path,
}

/// What the connector `http` expands of an action.
const EXPANDED: &[&str] = &["headers", "query", "cookies", "body"];

impl Filler {
    /// With what a connection says, else the parameters' defaults, in which earlier parameters may stand.
    pub(super) fn new(parameters: &[Parameter], said: &JsonObject) -> Result<Self> {
        Self::of(parameters, said, Place::Host)
    }

    /// The same to be shown: what is said is no value yet.
    pub(super) fn shown(parameters: &[Parameter], said: &JsonObject) -> Result<Self> {
        Self::of(parameters, said, Place::Plain)
    }

    fn of(parameters: &[Parameter], said: &JsonObject, place: Place) -> Result<Self> {
        let mut filler = Self { values: JsonObject::new(), left: limits::TEMPLATE_EXPANSION_MAX, place };
        for parameter in parameters {
            let own = said.get(&parameter.name).filter(|value| !value.is_null());
            let value = match (own, &parameter.default) {
                (Some(own), _) => Some(own.clone()),
                (None, Some(default)) => filler.filled(default)?,
                (None, None) => None,
            };
            if let Some(value) = value {
                filler.values.insert(parameter.name.clone(), value);
            }
        }
        Ok(filler)
    }

    /// `value` with every hole filled; none if it is one optional hole without a value.
    pub(super) fn filled(&mut self, value: &Value) -> Result<Option<Value>> {
        Ok(Some(match value {
            Value::String(text) => match only(text) {
                Some((name, optional)) => match self.values.get(name).cloned() {
                    None if optional => return Ok(None),
                    None => return Err(missing(name)),
                    Some(value) => {
                        self.spend(value.as_str().map_or(0, str::len))?;
                        match value {
                            Value::String(value) => Value::String(self.literal(&value)),
                            other => other,
                        }
                    }
                },
                None => Value::String(self.text(text)?),
            },
            Value::Array(items) => {
                let items: Vec<_> = items.iter().map(|item| self.filled(item)).collect::<Result<_>>()?;
                items.into_iter().flatten().collect()
            }
            Value::Object(object) => Value::Object(self.object(object)?),
            other => other.clone(),
        }))
    }

    /// A template's connection over the connector `base`.
    pub(super) fn connection(&mut self, connection: &JsonObject, base: &ConnectorName) -> Result<JsonObject> {
        let mut rest = connection.clone();
        let defaults = rest.shift_remove("defaults");
        let mut out = self.object(&rest)?;
        if let Some(defaults) = defaults {
            let defaults = self.defaults(&defaults, base);
            self.place = Place::Host;
            if let Some(defaults) = defaults? {
                out.insert("defaults".into(), defaults);
            }
        }
        Ok(out)
    }

    fn defaults(&mut self, defaults: &Value, base: &ConnectorName) -> Result<Option<Value>> {
        self.place = Place::Plain;
        let Some(defaults) = defaults.as_object().filter(|_| base.as_str() == "http") else {
            return self.filled(defaults);
        };
        let mut out = JsonObject::new();
        for (key, value) in defaults {
            self.place = match key.as_str() {
                "path" => Place::Path,
                key if EXPANDED.contains(&key) => Place::Template,
                _ => Place::Plain,
            };
            if let Some(value) = self.filled(value)? {
                out.insert(key.clone(), value);
            }
        }
        Ok(Some(Value::Object(out)))
    }

    /// The same of each member.
    pub(super) fn object(&mut self, object: &JsonObject) -> Result<JsonObject> {
        let mut out = JsonObject::new();
        for (key, value) in object {
            if let Some(value) = self.filled(value)? {
                out.insert(key.clone(), value);
            }
        }
        Ok(out)
    }

    fn text(&mut self, text: &str) -> Result<String> {
        let mut parts: Vec<Part<'_>> = Vec::new();
        for piece in pieces(text) {
            let (name, optional) = match piece {
                Piece::Text(text) => {
                    parts.push(Part { of: None, text: text.to_owned() });
                    continue;
                }
                Piece::Broken => {
                    parts.push(Part { of: None, text: OPEN.to_owned() });
                    continue;
                }
                Piece::Hole { name, optional } => (name, optional),
            };
            let value = match self.values.get(name) {
                Some(Value::String(value)) => value.clone(),
                Some(value @ (Value::Number(_) | Value::Bool(_))) => value.to_string(),
                None if optional => continue,
                None => return Err(missing(name)),
                Some(_) => {
                    let message = format!("the parameter '{name}' must be text, a number, true or false");
                    return Err(Error::invalid_config(message));
                }
            };
            self.spend(value.len())?;
            parts.push(Part { of: Some(name), text: value });
        }
        if self.place == Place::Host {
            keeps_host(&parts)?;
        }
        let mut out = String::with_capacity(text.len() + 32);
        // Together: two values, each with one brace, would make what neither of them is.
        let mut literal = String::new();
        for part in parts {
            if part.of.is_none() && part.text == OPEN {
                out.push_str(&self.literal(&std::mem::take(&mut literal)));
                out.push_str(OPEN);
            } else if part.of.is_none() && self.place == Place::Path {
                out.push_str(&part.text);
            } else if self.place == Place::Path {
                out.push_str(&self.literal(&part.text));
            } else {
                literal.push_str(&part.text);
            }
        }
        out.push_str(&self.literal(&literal));
        Ok(out)
    }

    /// A text such that whoever reads it next finds nothing to expand.
    fn literal(&self, text: &str) -> String {
        match self.place {
            Place::Host | Place::Plain => text.to_owned(),
            Place::Template => text.replace(OPEN, "{{{{"),
            Place::Path => text.replace('{', "%7B").replace('}', "%7D"),
        }
    }

    fn spend(&mut self, bytes: usize) -> Result<()> {
        let left = self.left.checked_sub(bytes).ok_or_else(|| {
            Error::limit_exceeded("the parameters of this template expand to too much")
                .details(serde_json::json!({ "limit": "template_expansion" }))
        })?;
        self.left = left;
        Ok(())
    }
}

/// A piece of a filled text, and the parameter it is the value of.
struct Part<'t> {
    of: Option<&'t str>,
    text: String,
}

/// Refuses a value that would make a URL one of another host. A parameter that is everything before the path is the host its
/// user chose.
fn keeps_host(parts: &[Part<'_>]) -> Result<()> {
    let ends_host = |c: char| matches!(c, '/' | '\\' | '?' | '#');
    // As a URL is read: no control characters, no spaces before it.
    let whole = parts.iter().flat_map(|part| part.text.chars()).filter(|c| *c > ' ');
    let start: String = whole.take("https:".len()).collect::<String>().to_ascii_lowercase();
    if !start.starts_with("http:") && start != "https:" {
        return Ok(());
    }
    match parts {
        [Part { of: Some(_), .. }] => return Ok(()),
        [Part { of: Some(_), .. }, Part { of: None, text }, ..] if text.starts_with(ends_host) => {
            return Ok(());
        }
        _ => {}
    }
    let mut is_after_scheme = false;
    for Part { of, text } in parts {
        let Some(name) = of else {
            let mut text = text.as_str();
            if let (false, Some((_, after))) = (is_after_scheme, text.split_once("//")) {
                (is_after_scheme, text) = (true, after);
            }
            if text.contains(ends_host) {
                return Ok(());
            }
            continue;
        };
        let is_of_host = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-');
        if text.is_empty() || !text.bytes().all(is_of_host) || text.starts_with('.') || text.ends_with('.') {
            let message = format!("the parameter '{name}' is part of a host, and its value cannot be");
            return Err(Error::invalid_config(message)
                .hint("letters, digits, '-', and '.' that is neither first nor last"));
        }
    }
    Ok(())
}

fn missing(name: &str) -> Error {
    Error::invalid_config(format!("the connection has no '{name}', which its template needs"))
        .hint(format!("add '{name}' to the connection"))
}

/// Calls `visit` with every text below a member that the schema knows.
pub(super) fn texts(
    object: &JsonObject,
    view: &SchemaView<'_>,
    visit: &mut dyn FnMut(&SchemaView<'_>, &str),
) {
    fn walk(value: &Value, view: &SchemaView<'_>, visit: &mut dyn FnMut(&SchemaView<'_>, &str)) {
        match value {
            Value::String(text) => visit(view, text),
            Value::Object(object) => texts(object, view, visit),
            Value::Array(items) => {
                if let Some(view) = view.item() {
                    items.iter().for_each(|item| walk(item, &view, visit));
                }
            }
            _ => {}
        }
    }
    for (key, value) in object {
        if let Some(view) = view.property(key) {
            walk(value, &view, visit);
        }
    }
}
