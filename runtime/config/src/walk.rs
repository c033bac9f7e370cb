//! One pass over an entry as written: keys get their present names, unknown ones are reported, variables are filled.
//!
//! Invariant: for every mistake found later in the result, [`Walk::source`] knows where in the file it came from.

use std::collections::{HashMap, HashSet};

use openact_core::{
    JsonObject,
    schema::{SchemaView, nearest},
    secret::SecretRef,
};
use serde_json::Value;

use crate::{
    Context, SecretsMode,
    legacy::Legacy,
    parse::shown,
    problems::{Problems, child, is_within},
    substitute,
    written::{Member, Written, last_segment},
};

/// The pass over one entry.
pub(crate) struct Walk<'a> {
    context: &'a Context<'a>,
    problems: &'a mut Problems,
    /// JSON Pointer of the entry in the file.
    root: String,
    /// What describes `/defaults`, which the connection's own schema leaves open.
    defaults: Option<SchemaView<'a>>,
    /// Pointers in the result that differ from those in the file.
    moved: Vec<(String, String)>,
    /// Pointers in the result at which something was reported already.
    reported: Vec<String>,
}

/// A place in the file and in the result.
#[derive(Clone, Copy)]
struct At<'p> {
    from: &'p str,
    to: &'p str,
}

impl<'a> Walk<'a> {
    /// A pass over the entry at `root`.
    pub(crate) fn new(
        context: &'a Context<'a>,
        problems: &'a mut Problems,
        root: &str,
        defaults: Option<SchemaView<'a>>,
    ) -> Self {
        Self { context, problems, root: root.to_owned(), defaults, moved: Vec::new(), reported: Vec::new() }
    }

    /// A connection's fields.
    pub(crate) fn connection(&mut self, fields: JsonObject, view: &SchemaView<'_>) -> JsonObject {
        let members = self.unwrapped(fields, view);
        let members = self.legacy(view).connection(members);
        let root = self.root.clone();
        self.members(members, Some(view), At { from: &root, to: "" })
    }

    /// An action's fields.
    pub(crate) fn action(&mut self, fields: JsonObject, view: &SchemaView<'_>) -> JsonObject {
        let members = self.unwrapped(fields, view);
        let members = self.legacy(view).action(members);
        let root = self.root.clone();
        self.members(members, Some(view), At { from: &root, to: "" })
    }

    fn legacy<'v>(&'v mut self, view: &'v SchemaView<'_>) -> Legacy<'v> {
        let defaults = self.defaults.as_ref();
        Legacy { context: self.context, problems: self.problems, view, defaults }
    }

    /// The entry's fields, those of its `config` wrapper included.
    fn unwrapped(&mut self, fields: JsonObject, view: &SchemaView<'_>) -> Vec<Member> {
        let mut members = Vec::new();
        for mut member in Member::all(fields, &self.root) {
            if member.key != "config" || view.property_names().any(|name| name == "config") {
                members.push(member);
                continue;
            }
            match member.take_members() {
                Some(inner) => members.extend(inner),
                None if member.is_null() => {}
                None => self.problems.value(&member.at, "'config' must hold fields", None),
            }
        }
        members
    }

    /// Where in the file the value at `pointer` of the result was written.
    pub(crate) fn source(&self, pointer: &str) -> String {
        let moved = self.moved.iter().filter(|(to, _)| is_within(pointer, to)).max_by_key(|(to, _)| to.len());
        match moved {
            Some((to, from)) => format!("{from}{}", pointer.strip_prefix(to.as_str()).unwrap_or("")),
            None => format!("{}{pointer}", self.root),
        }
    }

    /// Notes that what is now at `to` was written at `from`, both pointers of the result.
    pub(crate) fn moved_to(&mut self, to: &str, from: &str) {
        self.moved.push((to.to_owned(), self.source(from)));
    }

    /// The key of the value at `pointer` of the result as it was written.
    pub(crate) fn written_key(&self, pointer: &str) -> String {
        last_segment(&self.source(pointer))
    }

    /// Reports a mistake with the value at `pointer` of the result, unless a variable or key failed there already.
    pub(crate) fn report(&mut self, pointer: &str, message: impl Into<String>, hint: Option<String>) {
        if !self.reported.iter().any(|reported| is_within(pointer, reported)) {
            let from = self.source(pointer);
            self.problems.value(&from, message, hint);
        }
    }

    /// Whether something at or below `pointer` of the result was reported during the pass.
    pub(crate) fn failed_within(&self, pointer: &str) -> bool {
        self.reported.iter().any(|reported| is_within(reported, pointer))
    }

    /// How many mistakes the file has so far.
    pub(crate) fn problem_count(&self) -> usize {
        self.problems.count()
    }

    fn members(&mut self, members: Vec<Member>, view: Option<&SchemaView<'_>>, at: At<'_>) -> JsonObject {
        let written: HashSet<String> = members.iter().map(|member| member.key.clone()).collect();
        let mut out = JsonObject::new();
        // Where each name was first written.
        let mut first_at: HashMap<String, String> = HashMap::new();
        for member in members {
            let Some(name) = self.name(&member.key, &written, view, &member.at) else {
                continue;
            };
            let to = child(at.to, &name);
            if let Some(first) = first_at.insert(name.clone(), member.at.clone()) {
                self.problems.key(&member.at, twice(&member.at, &first), Some("keep one of the two".into()));
                continue;
            }
            if child(at.from, &name) != member.at {
                self.moved.push((to.clone(), member.at.clone()));
            }
            let defaults = self.defaults.clone().filter(|_| to == "/defaults");
            let below = defaults.or_else(|| view.and_then(|view| view.property(&name)));
            let value = self.written(member.value, below.as_ref(), At { from: &member.at, to: &to });
            out.insert(name, value);
        }
        out
    }

    fn written(&mut self, value: Written, view: Option<&SchemaView<'_>>, at: At<'_>) -> Value {
        match value {
            Written::Value(value) => self.value(value, view, at),
            Written::Object(members) => Value::Object(self.members(members, view, at)),
            Written::List(items) => {
                let view = view.and_then(SchemaView::item);
                let item = |(index, (item, from)): (usize, (Value, String))| {
                    let to = child(at.to, &index.to_string());
                    self.moved.push((to.clone(), from.clone()));
                    self.value(item, view.as_ref(), At { from: &from, to: &to })
                };
                Value::Array(items.into_iter().enumerate().map(item).collect())
            }
        }
    }

    /// The present name of `key`; none, and a report, if there is none and it is not clear which was meant.
    fn name(
        &mut self,
        key: &str,
        written: &HashSet<String>,
        view: Option<&SchemaView<'_>>,
        from: &str,
    ) -> Option<String> {
        let Some(view) = view else {
            return Some(key.to_owned());
        };
        if view.property_names().any(|name| name == key) {
            return Some(key.to_owned());
        }
        if let Some(name) = view.canonical_name(key) {
            return Some(name.to_owned());
        }
        if !view.is_closed() || view.property(key).is_some() {
            return Some(key.to_owned());
        }
        let suggestion = nearest_key(key, &view.property_names().collect::<Vec<_>>());
        report_unknown(self.problems, from, key, suggestion, view.property_names());
        // Going on as if it had been spelt right finds what else is wrong, and not that the field is missing.
        suggestion.filter(|name| !written.contains(*name)).map(str::to_owned)
    }

    fn value(&mut self, value: Value, view: Option<&SchemaView<'_>>, at: At<'_>) -> Value {
        let is_secret = view.is_some_and(SchemaView::is_write_only);
        match value {
            Value::String(text) => self.text(text, view, is_secret, at),
            Value::Object(object) => {
                if is_secret {
                    self.check_reference(&object, at);
                }
                let view = view.filter(|_| !is_secret);
                Value::Object(self.members(Member::all(object, at.from), view, at))
            }
            Value::Array(items) => {
                let view = view.and_then(SchemaView::item);
                let item = |(index, item): (usize, Value)| {
                    let index = index.to_string();
                    let (from, to) = (child(at.from, &index), child(at.to, &index));
                    self.value(item, view.as_ref(), At { from: &from, to: &to })
                };
                Value::Array(items.into_iter().enumerate().map(item).collect())
            }
            other => other,
        }
    }

    fn text(&mut self, text: String, view: Option<&SchemaView<'_>>, is_secret: bool, at: At<'_>) -> Value {
        // A URL is taken apart when it is read; of its password alone nothing would be left to refer to.
        let is_apart = view.is_some_and(|view| view.annotation("x-url").is_some());
        if is_secret
            && !is_apart
            && self.context.secrets == SecretsMode::Reference
            && let Some(variable) = substitute::sole_variable(&text)
        {
            return SecretRef::Env(variable.to_owned()).to_json();
        }
        match substitute::fill(&text, self.context.env) {
            Ok(filled) if is_secret && let Some(Err(error)) = SecretRef::parse_vault(&filled.text) => {
                self.problems.value(at.from, error.message.clone(), error.hint.clone());
                self.reported.push(at.to.to_owned());
                Value::String(text)
            }
            Ok(filled) if filled.had_variable => typed(filled.text, view),
            Ok(filled) => Value::String(filled.text),
            Err(unfilled) => {
                self.problems.value(at.from, unfilled.message, Some(unfilled.hint));
                self.reported.push(at.to.to_owned());
                Value::String(text)
            }
        }
    }

    /// An object where a secret is expected is a reference; a misspelt one must not be sealed as if it were the secret.
    fn check_reference(&mut self, object: &JsonObject, at: At<'_>) {
        let value = Value::Object(object.clone());
        let looks_like_one =
            object.keys().any(|key| key.starts_with('$')) || is_within(at.to, "/authorization");
        if looks_like_one && SecretRef::from_json(&value).is_none() {
            let hint = "write {\"$secret\": \"name\"}, {\"$env\": \"VARIABLE\"} or {\"$file\": \"path\"}, with one key, or vault://mount/path#/key";
            self.problems.value(at.from, "not a reference to a secret", Some(hint.into()));
            self.reported.push(at.to.to_owned());
        }
    }
}

/// What to say of one field written at two places.
fn twice(at: &str, first: &str) -> String {
    let (key, other) = (last_segment(at), last_segment(first));
    if key != other {
        return format!("'{}' and '{}' are the same", shown(&key), shown(&other));
    }
    let deeper = if at.matches('/').count() > first.matches('/').count() { at } else { first };
    let parent = deeper.rsplit_once('/').map_or("", |(parent, _)| parent);
    format!("'{}' is given twice, once within '{}'", shown(&key), shown(&last_segment(parent)))
}

/// The known key that is meant, with or without the unit at its end.
fn nearest_key<'n>(key: &str, known: &[&'n str]) -> Option<&'n str> {
    let without_unit = |name: &'n str| UNITS.iter().find_map(|unit| name.strip_suffix(unit));
    nearest(key, known.iter().copied()).or_else(|| {
        let near = nearest(key, known.iter().copied().filter_map(without_unit))?;
        known.iter().copied().find(|name| without_unit(name) == Some(near))
    })
}

/// What keys say their numbers count, and people leave out.
const UNITS: [&str; 2] = ["_ms", "_bytes"];

/// Reports a key that is not known.
pub(crate) fn report_unknown<'n>(
    problems: &mut Problems,
    at: &str,
    key: &str,
    suggestion: Option<&str>,
    known: impl Iterator<Item = &'n str>,
) {
    match suggestion {
        Some(name) => {
            let message = format!("unknown key '{}'; did you mean '{name}'?", shown(key));
            problems.key(at, message, Some(format!("write '{name}', or remove it")));
        }
        None => {
            let known: Vec<&str> = known.take(30).collect();
            let hint = if known.is_empty() {
                "remove it".into()
            } else {
                format!("known here: {}", known.join(", "))
            };
            problems.key(at, format!("unknown key '{}'", shown(key)), Some(hint));
        }
    }
}

/// A filled text as the schema wants it: a number or boolean only where text is not allowed.
fn typed(text: String, view: Option<&SchemaView<'_>>) -> Value {
    let Some(view) = view.filter(|view| !view.allows_type("string")) else {
        return Value::String(text);
    };
    let number = serde_json::from_str(&text).ok().filter(|value: &Value| match value {
        Value::Bool(_) => view.allows_type("boolean"),
        Value::Number(number) => {
            view.allows_type("number") || (!number.is_f64() && view.allows_type("integer"))
        }
        _ => false,
    });
    number.unwrap_or(Value::String(text))
}
