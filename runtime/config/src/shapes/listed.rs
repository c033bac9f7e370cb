//! The flat shape with lists in place of names, as earlier versions took it on the command line.
//!
//! ```json
//! {"connections": [{"trn": "trn:openact:default:connection/http/c@v1", "base_url": "https://h"}],
//!  "actions": [{"connector": "http", "name": "a", "version": 2, "connection_trn": "trn:…", "path": "/"}]}
//! ```
//!
//! Connector and name are fields, or in the TRN; the tenant of a TRN means nothing, since whoever imports says whose it is.
//! Of several versions of a record the highest counts. Invariant: an action that names a version of a connection runs over
//! that version, or the file is refused.

use std::collections::HashMap;

use openact_core::{
    ConnectorName, JsonObject, Name, Version,
    trn::{Connection, RecordKind, RecordTrn},
};
use serde_json::Value;

use super::{Entry, Kinds, Shapes};
use crate::{
    parse::shown,
    positions::On,
    problems::{Problems, child},
};

/// An item of a list.
struct Listed {
    entry: Entry,
    version: Version,
    /// The version of the connection that an action names.
    over: Option<(Name, Version)>,
}

type Versions = HashMap<(ConnectorName, Name), Version>;

impl Shapes<'_> {
    /// The connections of a list; their names go to `kinds`, as those of the other shape.
    pub(super) fn listed_connections(&mut self, items: Vec<Value>, kinds: &mut Kinds) -> Versions {
        let mut found = Vec::new();
        for (index, item) in items.into_iter().enumerate() {
            let at = child("/connections", &index.to_string());
            found.extend(self.listed::<Connection>(item, at, None));
        }
        let found = self.highest(found);
        for Listed { entry, .. } in &found {
            kinds.insert(entry.name.to_string(), Some((entry.connector.clone(), entry.kind_at.clone())));
        }
        let key = |listed: &Listed| (listed.entry.connector.clone(), listed.entry.name.clone());
        let versions = found.iter().map(|listed| (key(listed), listed.version)).collect();
        self.entries.connections.extend(found.into_iter().map(|listed| listed.entry));
        versions
    }

    /// The actions of a list, over connections of which these versions are in the file.
    pub(super) fn listed_actions(&mut self, items: Vec<Value>, kinds: &Kinds, versions: &Versions) {
        let mut found = Vec::new();
        for (index, item) in items.into_iter().enumerate() {
            let at = child("/actions", &index.to_string());
            let mut item = item;
            let over = self.connection_of(&mut item, &at);
            let known = item.get("connection").and_then(Value::as_str).and_then(|name| kinds.get(name));
            let inherited = over.as_ref().map(|trn| trn.connector.clone());
            let inherited = inherited.or_else(|| known.cloned().flatten().map(|(connector, _)| connector));
            if let Some(mut listed) = self.listed::<openact_core::trn::Action>(item, at, inherited) {
                listed.over = over.map(|trn| (trn.name, trn.version));
                found.push(listed);
            }
        }
        for listed in self.highest(found) {
            let entry = listed.entry;
            if let Some((name, version)) = listed.over
                && let Some(highest) = versions.get(&(entry.connector.clone(), name.clone()))
                && *highest != version
            {
                let message = format!(
                    "this action runs over version {version} of connection '{name}', but this file makes it version {highest}"
                );
                let hint = "name that one, or give the other version a name of its own";
                self.problems.value(&child(&entry.at, "connection_trn"), message, Some(hint.into()));
            }
            self.entries.actions.push(entry);
        }
    }

    /// The connection's TRN, whose name takes its place.
    fn connection_of(&mut self, item: &mut Value, at: &str) -> Option<RecordTrn<Connection>> {
        let fields = item.as_object_mut()?;
        let key = match fields.get("connection").and_then(Value::as_str) {
            Some(text) if text.starts_with("trn:") => "connection",
            _ => "connection_trn",
        };
        let text = fields.shift_remove(key)?;
        let trn = self.trn::<Connection>(&text, &child(at, key));
        // Of one that is wrong was said enough.
        let name = trn.as_ref().map_or("unknown", |trn| trn.name.as_str());
        if let Some(other) = fields.insert("connection".into(), name.into())
            && other != name
        {
            let message = "'connection_trn' and 'connection' differ";
            self.problems.key(&child(at, "connection_trn"), message, Some("keep one of the two".into()));
        }
        trn
    }

    fn listed<K: RecordKind>(
        &mut self,
        item: Value,
        at: String,
        inherited: Option<ConnectorName>,
    ) -> Option<Listed> {
        let is_object = item.is_object();
        let mut fields = self.object(item, &at);
        if !is_object {
            return None;
        }
        let trn = match fields.shift_remove("trn") {
            Some(text) => Some(self.trn::<K>(&text, &child(&at, "trn"))?),
            None => None,
        };
        let said = self.version_of(fields.shift_remove("version"), &at)?;
        let kind_key = if fields.contains_key("kind") { "kind" } else { "connector" };
        let (connector, name) =
            (self.connector_of(&mut fields, kind_key, &at), self.name_of(&mut fields, &at));
        let kind_at = child(&at, if connector.is_some() { kind_key } else { "trn" });
        let connector = self.one_of(connector?, trn.as_ref().map(|trn| trn.connector.clone()), kind_key, &at);
        let name = self.one_of(name?, trn.as_ref().map(|trn| trn.name.clone()), "name", &at);
        let connector = connector.or(inherited);
        for (key, missing) in [(kind_key, connector.is_none()), ("name", name.is_none())] {
            if missing {
                let hint = format!("write {key}, or the trn of the whole");
                self.problems.value(&at, format!("'{key}' is missing"), Some(hint));
            }
        }
        let entry = Entry { connector: connector?, name: name?, at, kind_at, kind_on: On::Value, fields };
        // The field counted edits, and the TRN versions.
        Some(Listed { entry, version: trn.map_or(said, |trn| trn.version), over: None })
    }

    /// None if it is wrong, which is reported; `Some(None)` if it is not there.
    fn connector_of(
        &mut self,
        fields: &mut JsonObject,
        key: &str,
        at: &str,
    ) -> Option<Option<ConnectorName>> {
        match fields.shift_remove(key) {
            None | Some(Value::Null) => Some(None),
            Some(value) => self.kind(&value, &child(at, key)).map(Some),
        }
    }

    fn name_of(&mut self, fields: &mut JsonObject, at: &str) -> Option<Option<Name>> {
        let at = child(at, "name");
        match fields.shift_remove("name") {
            None | Some(Value::Null) => Some(None),
            Some(Value::String(text)) => {
                let name = self.filled(&text).parse();
                name.map_err(|error| self.problems.error(&at, On::Value, &error)).ok().map(Some)
            }
            Some(_) => {
                self.problems.value(&at, "'name' must be text", None);
                None
            }
        }
    }

    fn one_of<T: PartialEq + std::fmt::Display>(
        &mut self,
        field: Option<T>,
        of_trn: Option<T>,
        key: &str,
        at: &str,
    ) -> Option<T> {
        if let (Some(field), Some(of_trn)) = (&field, &of_trn)
            && field != of_trn
        {
            let message = format!("'{key}' is '{field}', but the TRN says '{of_trn}'");
            self.problems.value(&child(at, key), message, Some("keep one of the two".into()));
        }
        field.or(of_trn)
    }

    fn version_of(&mut self, value: Option<Value>, at: &str) -> Option<Version> {
        let number = match value {
            None | Some(Value::Null) => return Some(Version::FIRST),
            Some(value) => value.as_u64().and_then(|number| u32::try_from(number).ok()),
        };
        let version = number.and_then(Version::new);
        if version.is_none() {
            let message = "'version' is not a whole number from 1 on";
            self.problems.value(&child(at, "version"), message, Some("write version: 1".into()));
        }
        version
    }

    /// A TRN; earlier ones need not have a version.
    fn trn<K: RecordKind>(&mut self, value: &Value, at: &str) -> Option<RecordTrn<K>> {
        let Some(text) = value.as_str().map(|text| self.filled(text)) else {
            self.problems.value(at, "a TRN must be text", None);
            return None;
        };
        let text = if text.contains('@') { text } else { format!("{text}@v1") };
        let trn = text.parse::<RecordTrn<K>>();
        let trn = trn.map_err(|error| self.problems.error(at, On::Value, &error)).ok()?;
        let connector = self.connector(trn.connector.as_str(), at, On::Value)?;
        Some(RecordTrn::new(trn.tenant, connector, trn.name, trn.version))
    }

    /// The highest version of each, in the order of the file.
    fn highest(&mut self, listed: Vec<Listed>) -> Vec<Listed> {
        let mut highest: HashMap<(ConnectorName, Name), Version> = HashMap::new();
        let mut seen = HashMap::new();
        for Listed { entry, version, .. } in &listed {
            let key = (entry.connector.clone(), entry.name.clone());
            if seen.insert((key.clone(), *version), ()).is_some() {
                report_twice(self.problems, entry, *version);
            }
            let known = highest.entry(key).or_insert(*version);
            *known = (*known).max(*version);
        }
        let is_highest = |listed: &Listed| {
            let key = (listed.entry.connector.clone(), listed.entry.name.clone());
            highest.get(&key) == Some(&listed.version) && seen.remove(&(key, listed.version)).is_some()
        };
        let mut is_highest = is_highest;
        listed.into_iter().filter(|listed| is_highest(listed)).collect()
    }
}

fn report_twice(problems: &mut Problems, entry: &Entry, version: Version) {
    let name = shown(entry.name.as_str());
    let message = format!("'{}/{name}@v{version}' is there twice", entry.connector);
    problems.key(&entry.at, message, Some("keep one of the two".into()));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::{
        Format, SecretsMode,
        fixture::{env, mistakes, read, read_in},
    };

    #[test]
    fn connector_and_name_are_fields_or_in_the_trn_and_the_highest_version_counts() {
        let text = json!({
            "version": "1.0",
            "connections": [
                {"trn": "trn:openact:acme:connection/http/c@v2", "base_url": "https://two"},
                {"connector": "http", "name": "c", "version": 1, "base_url": "https://one"},
                {"connector": "pg", "name": "d", "base_url": "https://d", "config": {"port": 5}},
            ],
            "actions": [
                {"trn": "trn:openact:acme:action/http/a@v1", "connection_trn": "trn:openact:acme:connection/http/c@v2",
                 "method": "GET", "path": "/", "mcp_enabled": true},
                {"name": "b", "connection": "d", "version": 3, "path": "/", "method": "GET"},
                {"kind": "http", "name": "stored", "connection_trn": "trn:openact:acme:connection/http/elsewhere",
                 "path": "/", "method": "GET"},
            ],
        });
        let document = read_in(&text.to_string(), Format::Json, SecretsMode::Seal, &env).unwrap();
        let connections: Vec<_> =
            document.connections.iter().map(|d| (d.connector.as_str(), d.name.as_str())).collect();
        assert_eq!(connections, [("http", "c"), ("postgres", "d")]);
        assert_eq!(document.connections[0].config["base_url"], "https://two");
        assert_eq!(document.connections[1].config["port"], 5);
        let actions: Vec<_> = document
            .actions
            .iter()
            .map(|d| (d.connector.as_str(), d.name.as_str(), d.connection.as_str(), d.mcp_enabled))
            .collect();
        assert_eq!(
            actions,
            [("http", "a", "c", true), ("postgres", "b", "d", false), ("http", "stored", "elsewhere", false)]
        );
        assert!(!document.actions[0].config.contains_key("version"));
    }

    proptest::proptest! {
        /// In whatever order they stand, and whatever comes after it is one higher.
        #[test]
        fn the_highest_of_any_versions_counts(versions in proptest::collection::hash_set(1u32..=u32::MAX, 1..6)) {
            let list: Vec<_> = versions
                .iter()
                .map(|v| json!({"trn": format!("trn:openact:t:connection/http/c@v{v}"), "base_url": format!("https://v{v}")}))
                .collect();
            let text = json!({ "connections": list }).to_string();
            let document = read_in(&text, Format::Json, SecretsMode::Seal, &env).unwrap();
            let highest = versions.iter().max().unwrap();
            proptest::prop_assert_eq!(document.connections.len(), 1);
            proptest::prop_assert_eq!(&document.connections[0].config["base_url"], &json!(format!("https://v{highest}")));
            let version = openact_core::Version::new(*highest).unwrap();
            if *highest < u32::MAX {
                proptest::prop_assert!(version.next() > version && version.next().get() == highest + 1);
            }
            proptest::prop_assert_eq!(version.to_string().parse::<openact_core::Version>().unwrap(), version);
        }
    }

    #[test]
    fn one_of_the_two_may_be_a_list() {
        let document = read(
            "connections: { c: { kind: http, base_url: https://h } }\nactions:\n  - { name: a, connection: c, method: GET, path: / }\n",
        );
        assert_eq!(document.actions[0].connector.as_str(), "http");
        let document = read(
            "connections:\n  - { connector: http, name: c, base_url: https://h }\nactions: { a: { connection: c, method: GET, path: / } }\n",
        );
        assert_eq!(document.actions[0].connector.as_str(), "http");
    }

    #[test]
    fn mistakes_of_a_list_are_at_their_items() {
        let text = "connections:
  - { base_url: https://h }
  - { trn: 'trn:openact:t:action/http/c@v1' }
  - { trn: 'trn:openact:t:connection/http/c@v1', connector: pg, name: d, base_url: https://h }
  - { connector: http, name: c, version: 0 }
  - { connector: http, name: 'a b' }
  - { connector: http, name: e, base_url: https://h }
  - { connector: http, name: e, base_url: https://h }
  - 5
actions:
  - { name: a, connector: http, connection_trn: 'trn:openact:t:connection/http/e@v2', method: GET, path: / }
  - { name: b, connector: htpp, connection: e }
";
        let expected = [
            "2:5 'connector' is missing",
            "2:5 'name' is missing",
            "3:12 'trn:openact:t:action/http/c@v1' is not the TRN of a version of a connection",
            "4:61 'connector' is 'postgres', but the TRN says 'http'",
            "4:71 'name' is 'd', but the TRN says 'c'",
            "5:42 'version' is not a whole number",
            "6:30 'a b' is not the name",
            "8:5 'http/e@v1' is there twice",
            "9:5 this must hold keys and values",
            "11:49 this action runs over version 2 of connection 'e'",
            "12:27 there is no connector 'htpp'; did you mean 'http'?",
        ];
        let found = mistakes(text);
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.starts_with(expected), "{found}\nis not\n{expected}");
        }
        assert_eq!(found.len(), expected.len(), "{found:#?}");
    }
}
