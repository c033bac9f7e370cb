//! `{{parameter}}` in the texts of a template's connection.
//!
//! | written | becomes |
//! |---|---|
//! | `{{name}}` as the whole text | the parameter's value with its type, a secret as the reference it is |
//! | `{{name?}}` as the whole text, without a value | nothing: its key is left out |
//! | `{{name}}` within longer text | the value as text |
//! | `{{{{` | `{{`, which is the base connector's to read |
//!
//! Invariant: what a parameter holds is never filled in again.

use std::collections::BTreeSet;

use openact_core::{Error, JsonObject, Result, limits, schema::SchemaView};
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
}

impl Filler {
    /// With what a connection says, else the parameters' defaults, in which earlier parameters may stand.
    pub(super) fn new(parameters: &[Parameter], said: &JsonObject) -> Result<Self> {
        let mut filler = Self { values: JsonObject::new(), left: limits::TEMPLATE_EXPANSION_MAX };
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
                        value
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
        let mut out = String::with_capacity(text.len() + 32);
        for piece in pieces(text) {
            let (name, optional) = match piece {
                Piece::Text(text) => {
                    out.push_str(text);
                    continue;
                }
                Piece::Broken => {
                    out.push_str(OPEN);
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
            out.push_str(&value);
        }
        Ok(out)
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
