//! Records as a file that [`crate::read_text`] reads, in the shape by connector.
//!
//! A secret that a connection brought along becomes a variable to set before the file is read, such as
//! `${GITHUB_API_AUTHORIZATION_TOKEN}`, unless its value is handed in; one set by hand keeps its name, and one of the
//! environment, of a file or of a vault stays the reference it is.
//! Invariant: no secret is written but those handed in, and any text reads back as it was, whatever it holds.

use std::collections::{BTreeMap, HashMap, HashSet};

use openact_core::{
    ConnectorName, Error, JsonObject, Name, Result, SecretName,
    action::ActionRecord,
    connection::ConnectionRecord,
    secret::{ExposeSecret, SecretRef, SecretString},
};
use serde_json::{Value, json};

use crate::{Format, parse::is_merge_key, problems::child, substitute, toml_file};

/// What to write; of each record the latest version among them counts.
#[derive(Clone, Debug, Default)]
pub struct Export {
    /// Connections of one tenant.
    pub connections: Vec<ConnectionRecord>,
    /// Actions of the same tenant.
    pub actions: Vec<ActionRecord>,
    /// Values to write for secrets that connections brought along, by the names they are stored under.
    pub secrets: HashMap<String, SecretString>,
}

impl Export {
    /// The names of the secrets that the connections brought along.
    pub fn own_secrets(&self) -> Vec<String> {
        fn collect(value: &Value, found: &mut Vec<String>) {
            match (own_secret(value), value) {
                (Some(name), _) => found.push(name),
                (None, Value::Array(items)) => items.iter().for_each(|item| collect(item, found)),
                (None, Value::Object(object)) => object.values().for_each(|item| collect(item, found)),
                _ => {}
            }
        }
        let mut found = Vec::new();
        for record in &self.connections {
            let fields = record.config.iter().filter(|(key, _)| *key != "defaults");
            fields.for_each(|(_, value)| collect(value, &mut found));
        }
        found
    }
}

/// The name of a secret that its connection brought along; one set by hand is not the connection's own.
fn own_secret(value: &Value) -> Option<String> {
    match SecretRef::from_json(value)? {
        SecretRef::Stored(name) if name.parse::<SecretName>().is_err() => Some(name),
        _ => None,
    }
}

/// Writes `export`, sorted by connector and name.
pub fn write(export: &Export, format: Format) -> Result<String> {
    let mut connectors: BTreeMap<&ConnectorName, [JsonObject; 2]> = BTreeMap::new();
    let mut taken = HashSet::new();
    for (key, record) in latest(export.connections.iter().map(|record| (&record.trn, record))) {
        let mut place =
            Place { connector: key.0, connection: key.1, secrets: &export.secrets, taken: &mut taken };
        let config = place.connection(&record.config);
        connectors.entry(key.0).or_default()[0].insert(key.1.to_string(), config);
    }
    for (key, record) in latest(export.actions.iter().map(|record| (&record.trn, record))) {
        connectors.entry(key.0).or_default()[1].insert(key.1.to_string(), action(record));
    }
    let mut out = JsonObject::new();
    for (connector, [connections, actions]) in connectors {
        let mut sections = JsonObject::new();
        for (name, section) in [("connections", connections), ("actions", actions)] {
            if !section.is_empty() {
                sections.insert(name.into(), Value::Object(section));
            }
        }
        out.insert(connector.to_string(), Value::Object(sections));
    }
    let file = json!({ "connectors": out });
    let failed = |error: &dyn std::fmt::Display| {
        Error::internal(format!("failed to write the configuration: {error}"))
    };
    match format {
        // YAML would read it as a merge key again, however it is quoted.
        Format::Yaml if has_merge_key(&file) => {
            Err(Error::invalid_config("a key '<<' with an object cannot be written as YAML")
                .hint("export as JSON or TOML"))
        }
        Format::Yaml => serde_yaml::to_string(&file).map_err(|error| failed(&error)),
        Format::Json => {
            serde_json::to_string_pretty(&file).map(|text| text + "\n").map_err(|error| failed(&error))
        }
        Format::Toml => toml_file::write(&file),
    }
}

fn has_merge_key(value: &Value) -> bool {
    match value {
        Value::Object(object) => {
            object.iter().any(|(key, value)| is_merge_key(key, value) || has_merge_key(value))
        }
        Value::Array(items) => items.iter().any(has_merge_key),
        _ => false,
    }
}

/// The latest version of each record, by connector and name.
fn latest<'r, K: openact_core::trn::RecordKind, R>(
    records: impl Iterator<Item = (&'r openact_core::trn::RecordTrn<K>, &'r R)>,
) -> BTreeMap<(&'r ConnectorName, &'r Name), &'r R> {
    let mut latest = BTreeMap::new();
    for (trn, record) in records {
        let entry = latest.entry((&trn.connector, &trn.name)).or_insert((trn.version, record));
        if entry.0 < trn.version {
            *entry = (trn.version, record);
        }
    }
    latest.into_iter().map(|(key, (_, record))| (key, record)).collect()
}

fn action(record: &ActionRecord) -> Value {
    let mut out = JsonObject::new();
    out.insert("connection".into(), record.connection.name.as_str().into());
    out.extend(record.config.iter().map(|(key, value)| (key.clone(), escaped(value))));
    let mut mcp = JsonObject::new();
    if record.mcp_enabled {
        mcp.insert("enabled".into(), true.into());
    }
    if let Some(Value::Object(overrides)) = &record.mcp_overrides {
        mcp.extend(overrides.iter().map(|(key, value)| (key.clone(), escaped(value))));
    }
    if !mcp.is_empty() {
        out.insert("mcp".into(), Value::Object(mcp));
    }
    Value::Object(out)
}

/// The same value, with no variable in any text of it.
fn escaped(value: &Value) -> Value {
    match value {
        Value::String(text) => substitute::escape(text).into(),
        Value::Array(items) => items.iter().map(escaped).collect(),
        Value::Object(object) => object.iter().map(|(key, value)| (key.clone(), escaped(value))).collect(),
        other => other.clone(),
    }
}

/// Names placeholders within one connection.
struct Place<'t> {
    connector: &'t ConnectorName,
    connection: &'t Name,
    secrets: &'t HashMap<String, SecretString>,
    taken: &'t mut HashSet<String>,
}

impl Place<'_> {
    fn connection(&mut self, config: &JsonObject) -> Value {
        let member = |(key, value): (&String, &Value)| {
            // `defaults` is data of the actions: what looks like a reference there is none.
            let value = if key == "defaults" { escaped(value) } else { self.value(value, &child("", key)) };
            (key.clone(), value)
        };
        config.iter().map(member).collect()
    }

    fn value(&mut self, value: &Value, at: &str) -> Value {
        if let Some(name) = own_secret(value) {
            return match self.secrets.get(&name) {
                Some(secret) => substitute::escape(secret.expose_secret()).into(),
                None => format!("${{{}}}", self.variable(at)).into(),
            };
        }
        match value {
            Value::Array(items) => items
                .iter()
                .enumerate()
                .map(|(index, item)| self.value(item, &child(at, &index.to_string())))
                .collect(),
            Value::Object(object) => {
                object.iter().map(|(key, value)| (key.clone(), self.value(value, &child(at, key)))).collect()
            }
            other => escaped(other),
        }
    }

    /// Named after the connection and the place; where that is taken, after the connector too, then numbered.
    fn variable(&mut self, at: &str) -> String {
        let upper = |c: char| {
            if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }
        };
        let as_variable = |text: String| {
            let name: String = text.chars().map(upper).collect();
            if name.starts_with(|c: char| c.is_ascii_digit()) { format!("_{name}") } else { name }
        };
        let mut name = as_variable(format!("{}{at}", self.connection));
        let long = as_variable(format!("{}_{}{at}", self.connector, self.connection));
        let mut number = 1;
        while !self.taken.insert(name.clone()) {
            name = if number == 1 { long.clone() } else { format!("{long}_{number}") };
            number += 1;
        }
        name
    }
}

#[cfg(test)]
mod tests {
    use openact_core::{Tenant, Timestamp, Version, secret::ExposeSecret, trn::RecordTrn};

    use super::*;
    use crate::{
        SecretsMode,
        fixture::{env, read_in},
    };

    fn trn<K: openact_core::trn::RecordKind>(name: &str, version: u32) -> RecordTrn<K> {
        RecordTrn::new(
            Tenant::default(),
            "http".parse().unwrap(),
            name.parse().unwrap(),
            Version::new(version).unwrap(),
        )
    }

    fn connection(name: &str, version: u32, config: Value) -> ConnectionRecord {
        let (created_at, updated_at) = (Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH);
        ConnectionRecord {
            trn: trn(name, version),
            config: config.as_object().unwrap().clone(),
            created_at,
            updated_at,
        }
    }

    fn action(name: &str, config: Value, mcp: Option<Value>) -> ActionRecord {
        ActionRecord {
            trn: trn(name, 1),
            connection: trn("c", 1),
            config: config.as_object().unwrap().clone(),
            mcp_enabled: mcp.is_some(),
            mcp_overrides: mcp.filter(|mcp| mcp != &json!({})),
            created_at: Timestamp::UNIX_EPOCH,
            updated_at: Timestamp::UNIX_EPOCH,
        }
    }

    /// Texts that a YAML or a variable could misread.
    const TEXTS: &[&str] = &[
        "",
        " ",
        "${A}",
        "$${A}",
        "$$${",
        "${",
        "123456",
        "1e3",
        "true",
        "no",
        "null",
        "~",
        "0x10",
        "a: b",
        "- a",
        "# x",
        "a # b",
        "'",
        "\"",
        "\\",
        "{}",
        "[1]",
        "!tag",
        "&a",
        "*a",
        "<<",
        "%",
        "@",
        "`",
        "|",
        ">",
        "two\nlines",
        "end\n",
        "\n\n",
        "tab\t",
        "ü€😀",
        "\u{7}",
        "\u{85}",
        "\u{2028}",
        "\u{feff}",
        "2024-01-01",
        "=",
        ".inf",
        "trailing ",
        "\r\n",
    ];

    fn export() -> Export {
        let body: JsonObject = TEXTS.iter().map(|text| (format!("k{text}"), (*text).into())).collect();
        let defaults = json!({"headers": {"X": "${A}"}, "body": {"$env": "NOT_A_REFERENCE"}});
        let texts = TEXTS.iter().enumerate().map(|(index, text)| {
            let config = json!({"base_url": "https://h", "description": text, "defaults": {"body": text}});
            connection(&format!("t{index}"), 1, config)
        });
        let mut connections: Vec<_> = texts.collect();
        connections.push(connection("c", 1, json!({"base_url": "https://old"})));
        connections.push(connection("c", 2, json!({
            "base_url": "https://h", "port": 5, "ratio": 0.1, "verify": false, "defaults": defaults,
            "authorization": {"type": "basic", "username": "u", "password": {"$secret": "/authorization/password"}},
            "keys": [{"key": {"$secret": "/keys/0/key"}}, {"key": {"$file": "/run/${x}"}}],
        })));
        let actions = vec![
            action(
                "a",
                json!({"method": "POST", "path": "/${x}", "body": body, "input_schema": {"type": "object"}}),
                None,
            ),
            action(
                "b",
                json!({"method": "GET", "path": "/", "body": [null, 1.5, -3, u64::MAX, {}, []]}),
                Some(json!({})),
            ),
            action(
                "m",
                json!({"method": "GET", "path": "/"}),
                Some(json!({"tool_name": "t", "description": "${d}"})),
            ),
        ];
        Export { connections, actions, ..Export::default() }
    }

    #[test]
    fn what_is_written_reads_back_as_it_was() {
        let export = export();
        for format in [Format::Yaml, Format::Json, Format::Toml] {
            let text = write(&export, format).unwrap();
            let read =
                read_in(&text, format, SecretsMode::Seal, &|name| Some(format!("value of {name}"))).unwrap();
            let expected = latest(export.connections.iter().map(|record| (&record.trn, record)));
            assert_eq!(read.connections.len(), expected.len());
            for draft in &read.connections {
                assert_eq!(draft.config, expected[&(&draft.connector, &draft.name)].config, "{text}");
            }
            let secrets: Vec<_> = read
                .connections
                .iter()
                .flat_map(|draft| &draft.secrets)
                .map(|secret| secret.value.expose_secret())
                .collect();
            assert_eq!(secrets, ["value of C_AUTHORIZATION_PASSWORD", "value of C_KEYS_0_KEY"]);
            assert_eq!(read.actions.len(), export.actions.len());
            for (draft, record) in read.actions.iter().zip(&export.actions) {
                assert_eq!((&draft.name, &draft.connection), (&record.trn.name, &record.connection.name));
                assert_eq!(draft.config, record.config, "{text}");
                assert_eq!(
                    (draft.mcp_enabled, &draft.mcp_overrides),
                    (record.mcp_enabled, &record.mcp_overrides)
                );
            }
        }
    }

    fn any_json() -> impl proptest::strategy::Strategy<Value = Value> {
        use proptest::prelude::*;
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            proptest::num::f64::NORMAL.prop_map(Value::from),
            ".{0,6}".prop_map(Value::from),
            proptest::sample::select(TEXTS).prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-c$<]{0,2}|\\$null", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_written_reads_back(body in any_json(), text in ".{0,8}", secret in ".{0,8}") {
            proptest::prop_assume!(!has_merge_key(&body));
            let name = "connection/http/c@v1#/authorization/token";
            let config = json!({"base_url": "https://h", "description": text, "defaults": {"body": body},
                "authorization": {"type": "bearer", "token": {"$secret": name}}});
            let mut export = Export { connections: vec![connection("c", 1, config)], ..Export::default() };
            export.actions.push(action("a", json!({"path": text, "body": body, "method": "GET"}), None));
            // A text that only looks like a reference to a vault is a mistake of whoever set it.
            proptest::prop_assume!(SecretRef::parse_vault(&secret).is_none());
            export.secrets.insert(name.to_owned(), SecretString::from(secret.as_str()));
            for format in [Format::Yaml, Format::Json, Format::Toml] {
                let written = write(&export, format).unwrap();
                let read = read_in(&written, format, SecretsMode::Seal, &|_| None);
                let read = read.unwrap_or_else(|error| panic!("{error:?}\n{written}"));
                let connection = &read.connections[0];
                proptest::prop_assert_eq!(connection.config.get("description"), Some(&Value::from(text.as_str())));
                let defaults = connection.config.get("defaults").and_then(|defaults| defaults.get("body"));
                // Nothing is what a null of `defaults` means.
                proptest::prop_assert_eq!(defaults.unwrap_or(&Value::Null), &body, "{}", written);
                proptest::prop_assert_eq!(connection.secrets[0].value.expose_secret(), secret.as_str());
                proptest::prop_assert_eq!(read.actions[0].config.get("body"), Some(&body), "{}", written);
            }
        }
    }

    #[test]
    fn references_come_back_as_they_are() {
        let config = json!({"base_url": "https://h", "authorization": {"type": "bearer", "token": {"$env": "GITHUB_TOKEN"}}});
        let export =
            Export { connections: vec![connection("github-api", 1, config.clone())], ..Export::default() };
        let text = write(&export, Format::Yaml).unwrap();
        for mode in [SecretsMode::Reference, SecretsMode::Seal] {
            let read = read_in(&text, Format::Yaml, mode, &env).unwrap();
            assert_eq!(Value::Object(read.connections[0].config.clone()), config);
        }
    }

    #[test]
    fn values_are_written_if_they_are_handed_in_whatever_they_hold() {
        let name = "connection/http/c@v1#/authorization/token";
        let config = json!({"base_url": "https://h", "authorization": {"type": "bearer", "token": {"$secret": name}},
            "keys": [{"key": {"$secret": "by-hand"}}], "defaults": {"body": {"$secret": name}}});
        for value in TEXTS {
            let mut export =
                Export { connections: vec![connection("c", 1, config.clone())], ..Export::default() };
            assert_eq!(export.own_secrets(), [name]);
            export.secrets.insert(name.to_owned(), SecretString::from(*value));
            for format in [Format::Yaml, Format::Json, Format::Toml] {
                let text = write(&export, format).unwrap();
                let read = read_in(&text, format, SecretsMode::Seal, &|_| None).unwrap();
                let [secret] = &read.connections[0].secrets[..] else { panic!("{text}") };
                assert_eq!(secret.value.expose_secret(), *value, "{text}");
                assert_eq!(read.connections[0].config["keys"], config["keys"]);
                assert_eq!(read.connections[0].config["defaults"], config["defaults"]);
            }
        }
    }

    #[test]
    fn placeholders_are_named_after_their_place_and_never_twice() {
        let secret = json!({"authorization": {"type": "bearer", "token": {"$secret": "connection/http/x@v1#/authorization/token"}}});
        let connections =
            ["github-api", "github_api", "github.api", "1x"].map(|name| connection(name, 1, secret.clone()));
        let text =
            write(&Export { connections: connections.into(), ..Export::default() }, Format::Yaml).unwrap();
        for name in [
            "${GITHUB_API_AUTHORIZATION_TOKEN}",
            "${HTTP_GITHUB_API_AUTHORIZATION_TOKEN}",
            "${HTTP_GITHUB_API_AUTHORIZATION_TOKEN_2}",
            "${_1X_AUTHORIZATION_TOKEN}",
        ] {
            assert_eq!(text.matches(name).count(), 1, "{name} in {text}");
        }
    }
}
