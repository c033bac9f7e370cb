//! The shapes of a file, as one list of entries.
//!
//! | shape | where the connector stands |
//! |---|---|
//! | `connectors: {kind: {connections: {name: …}, actions: {name: …}}}` | the key |
//! | `connections: {name: {kind, …}}`, `actions: {name: {connection, kind?, …}}` | `kind`, for an action also its connection's |
//! | the same with lists of `{trn, connector, name, version, …}` | see [`listed`] |
//!
//! All may carry `version` and `metadata`. Invariant: an [`Entry`] has a legal name and connector, no two have the
//! same, and its fields are as written but for `kind`.

mod listed;

use std::collections::{HashMap, HashSet};

use openact_core::{ConnectorName, JsonObject, Name, schema::nearest};
use serde_json::Value;

use crate::{
    Context,
    parse::shown,
    positions::On,
    problems::{Problems, child},
    substitute,
    walk::report_unknown,
};

/// A connection or action as written.
pub(crate) struct Entry {
    pub(crate) connector: ConnectorName,
    pub(crate) name: Name,
    /// JSON Pointer in the file.
    pub(crate) at: String,
    /// JSON Pointer of what says the connector.
    pub(crate) kind_at: String,
    pub(crate) kind_on: On,
    pub(crate) fields: JsonObject,
}

/// A file's entries, in its order.
#[derive(Default)]
pub(crate) struct Entries {
    pub(crate) connections: Vec<Entry>,
    pub(crate) actions: Vec<Entry>,
}

const TOP: &[&str] = &["$schema", "version", "metadata", "connectors", "connections", "actions"];

/// Takes a whole file apart.
pub(crate) fn entries(file: Value, context: &Context<'_>, problems: &mut Problems) -> Entries {
    let mut shapes = Shapes { context, problems, entries: Entries::default() };
    let Value::Object(mut file) = file else {
        let hint = "start with `connectors:`, or with `connections:` and `actions:`";
        let message = if file.is_null() { "the file is empty" } else { "the file must hold keys and values" };
        shapes.problems.value("", message, Some(hint.into()));
        return shapes.entries;
    };
    let schema = file.get("$schema").and_then(Value::as_str);
    if file.contains_key("properties") && schema.is_some_and(|schema| schema.contains("json-schema.org")) {
        let hint = "keep it in another folder than the files to read";
        shapes.problems.value(
            "",
            "this is a JSON Schema, as editors read it, and no configuration",
            Some(hint.into()),
        );
        return shapes.entries;
    }
    for key in file.keys().filter(|key| !TOP.contains(&key.as_str())) {
        let known = || TOP.iter().copied();
        report_unknown(shapes.problems, &child("", key), key, nearest(key, known()), known());
    }
    if let Some(version) = file.get("version") {
        shapes.version(version);
    }
    let (connections, actions) = (file.shift_remove("connections"), file.shift_remove("actions"));
    if let Some(connectors) = file.shift_remove("connectors") {
        for (key, flat) in [("/connections", &connections), ("/actions", &actions)] {
            if flat.is_some() {
                let message = "a file has either 'connectors' or flat 'connections' and 'actions', not both";
                shapes.problems.key(key, message, Some("move these under 'connectors'".into()));
            }
        }
        shapes.by_connector(connectors);
    } else {
        shapes.flat(connections.unwrap_or_default(), actions.unwrap_or_default());
    }
    shapes.unique();
    shapes.entries
}

/// By the name of a connection: its connector and what says it; none where that is wrong, which is reported once.
type Kinds = HashMap<String, Option<(ConnectorName, String)>>;

struct Shapes<'a> {
    context: &'a Context<'a>,
    problems: &'a mut Problems,
    entries: Entries,
}

impl Shapes<'_> {
    fn version(&mut self, version: &Value) {
        let is_first = match version {
            Value::String(text) => matches!(text.as_str(), "1" | "1.0"),
            Value::Number(number) => number.as_f64() == Some(1.0),
            _ => false,
        };
        if !is_first {
            self.problems.value(
                "/version",
                "the version of the file is not known",
                Some("write version: \"1.0\"".into()),
            );
        }
    }

    fn by_connector(&mut self, connectors: Value) {
        for (kind, sections) in self.object(connectors, "/connectors") {
            let kind_at = child("/connectors", &kind);
            let Some(connector) = self.connector(&kind, &kind_at, On::Key) else {
                continue;
            };
            for (section, entries) in self.object(sections, &kind_at) {
                let at = child(&kind_at, &section);
                let is_connection = section == "connections";
                if !is_connection && section != "actions" {
                    let known = || ["connections", "actions"].into_iter();
                    report_unknown(self.problems, &at, &section, nearest(&section, known()), known());
                    continue;
                }
                for (name, fields) in self.object(entries, &at) {
                    let at = child(&at, &name);
                    let (Some(name), fields) = (self.name(&name, &at), self.object(fields, &at)) else {
                        continue;
                    };
                    let (connector, kind_at) = (connector.clone(), kind_at.clone());
                    let entry = Entry { connector, name, at, kind_at, kind_on: On::Key, fields };
                    if is_connection {
                        self.entries.connections.push(entry)
                    } else {
                        self.entries.actions.push(entry)
                    }
                }
            }
        }
    }

    fn flat(&mut self, connections: Value, actions: Value) {
        let mut kinds = Kinds::new();
        let versions = match connections {
            Value::Array(items) => self.listed_connections(items, &mut kinds),
            other => {
                self.flat_connections(other, &mut kinds);
                HashMap::new()
            }
        };
        match actions {
            Value::Array(items) => self.listed_actions(items, &kinds, &versions),
            other => self.flat_actions(other, &kinds),
        }
    }

    fn flat_connections(&mut self, connections: Value, kinds: &mut Kinds) {
        for (key, fields) in self.object(connections, "/connections") {
            let at = child("/connections", &key);
            let mut fields = self.object(fields, &at);
            let kind_at = child(&at, "kind");
            let connector = match fields.shift_remove("kind") {
                Some(kind) => self.kind(&kind, &kind_at),
                None => {
                    let misspelt = nearest("kind", fields.keys().map(String::as_str));
                    let hint = misspelt.map_or("say which connector it is for: kind: http".into(), |key| {
                        format!("is '{key}' meant to be 'kind'?")
                    });
                    self.problems.value(&at, "'kind' is missing", Some(hint));
                    None
                }
            };
            kinds.insert(key.clone(), connector.clone().map(|connector| (connector, kind_at.clone())));
            if let (Some(connector), Some(name)) = (connector, self.name(&key, &at)) {
                self.entries.connections.push(Entry {
                    connector,
                    name,
                    at,
                    kind_at,
                    kind_on: On::Value,
                    fields,
                });
            }
        }
    }

    fn flat_actions(&mut self, actions: Value, kinds: &Kinds) {
        for (key, fields) in self.object(actions, "/actions") {
            let at = child("/actions", &key);
            let mut fields = self.object(fields, &at);
            let own = match fields.shift_remove("kind") {
                Some(kind) => {
                    let kind_at = child(&at, "kind");
                    Some(self.kind(&kind, &kind_at).map(|connector| (connector, kind_at)))
                }
                None => None,
            };
            let found = self.kind_of_action(own, &fields, kinds, &at);
            if let (Some((connector, kind_at)), Some(name)) = (found, self.name(&key, &at)) {
                self.entries.actions.push(Entry { connector, name, at, kind_at, kind_on: On::Value, fields });
            }
        }
    }

    /// The connector of a flat action: its own `kind`, or that of its connection.
    fn kind_of_action(
        &mut self,
        own: Option<Option<(ConnectorName, String)>>,
        fields: &JsonObject,
        kinds: &Kinds,
        at: &str,
    ) -> Option<(ConnectorName, String)> {
        let named = fields.get("connection").and_then(Value::as_str).map(|text| self.filled(text));
        let inherited = named.as_ref().and_then(|name| kinds.get(name));
        match (own, inherited, named) {
            (Some(Some((own, kind_at))), Some(Some((other, _))), Some(name)) if own != *other => {
                let message =
                    format!("this action is for '{own}', but its connection '{name}' is for '{other}'");
                self.problems.value(
                    &kind_at,
                    message,
                    Some("remove 'kind': an action has that of its connection".into()),
                );
                None
            }
            (Some(own), ..) => own,
            (None, Some(inherited), _) => inherited.clone(),
            (None, None, Some(name)) => {
                let known = kinds.keys().map(String::as_str);
                let meant =
                    nearest(&name, known).map_or(String::new(), |meant| format!("; did you mean '{meant}'?"));
                let message = format!("connection '{}' is not in this file{meant}", shown(&name));
                let hint = "say which connector the action is for, as in kind: http, if its connection is stored already";
                self.problems.value(&child(at, "connection"), message, Some(hint.into()));
                None
            }
            (None, None, None) => {
                self.problems.value(
                    at,
                    "'connection' is missing",
                    Some("name the connection the action runs over".into()),
                );
                None
            }
        }
    }

    fn kind(&mut self, kind: &Value, at: &str) -> Option<ConnectorName> {
        match kind {
            Value::String(text) => {
                let text = self.filled(text);
                self.connector(&text, at, On::Value)
            }
            _ => {
                self.problems.value(
                    at,
                    "'kind' must be text",
                    Some("write the name of a connector: kind: http".into()),
                );
                None
            }
        }
    }

    fn connector(&mut self, text: &str, at: &str, on: On) -> Option<ConnectorName> {
        ConnectorName::canonical(text).map_err(|error| self.problems.error(at, on, &error)).ok()
    }

    fn name(&mut self, text: &str, at: &str) -> Option<Name> {
        text.parse().map_err(|error| self.problems.error(at, On::Key, &error)).ok()
    }

    /// The text with its variables; where one is wrong, as written, since the pass over the fields reports it.
    fn filled(&self, text: &str) -> String {
        substitute::fill(text, self.context.env).map_or_else(|_| text.to_owned(), |filled| filled.text)
    }

    /// The members of an object; none, and a report, if it is something else. Nothing written is an empty object.
    fn object(&mut self, value: Value, at: &str) -> JsonObject {
        match value {
            Value::Object(object) => object,
            Value::Null => JsonObject::new(),
            _ => {
                self.problems.value(
                    at,
                    "this must hold keys and values",
                    Some("write one name and its fields per entry".into()),
                );
                JsonObject::new()
            }
        }
    }

    /// Two spellings of a connector (`pg`, `postgres`) can hold the same name.
    fn unique(&mut self) {
        for entries in [&mut self.entries.connections, &mut self.entries.actions] {
            let mut seen = HashSet::new();
            entries.retain(|entry| {
                let is_new = seen.insert((entry.connector.clone(), entry.name.clone()));
                if !is_new {
                    let message = format!("'{}/{}' is there twice", entry.connector, entry.name);
                    self.problems.key(&entry.at, message, Some("keep one of the two".into()));
                }
                is_new
            });
        }
    }
}
