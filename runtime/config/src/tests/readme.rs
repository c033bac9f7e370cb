//! The tables of `config/README.md` are those of the schemas: no field of the host is missing, none is made up, and
//! each is of the type that is said. What is in the `http` connector only its component knows.

use std::collections::{BTreeMap, BTreeSet};

use openact_core::{
    action::action_schema, connection::connection_schema, manifest::Manifest, retry::RetryPolicy,
};
use serde_json::{Value, json};

use crate::connector::host_properties;

const README: &str = include_str!("../../../../config/README.md");

/// A chapter, from its heading to the next.
fn chapter(heading: &str) -> &'static str {
    let (_, rest) = README.split_once(&format!("\n## {heading}\n")).expect(heading);
    rest.split_once("\n## ").map_or(rest, |(chapter, _)| chapter)
}

/// Every row of a chapter as heading, and cells.
fn rows(chapter: &'static str) -> Vec<(&'static str, Vec<&'static str>)> {
    let mut heading = "";
    let mut found = Vec::new();
    for line in chapter.lines() {
        if line.starts_with('#') {
            heading = line.trim_start_matches(['#', ' ']);
        } else if let Some(row) = line.strip_prefix("| ").and_then(|row| row.strip_suffix(" |")) {
            found.push((heading, row.split(" | ").collect()));
        }
    }
    found
}

/// `field` of a row as a whole path, with its type.
fn documented(chapter: &'static str) -> BTreeMap<String, String> {
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    for (heading, cells) in rows(chapter) {
        let Some(field) = cells[0].strip_prefix('`').and_then(|field| field.strip_suffix('`')) else {
            continue;
        };
        let section = heading.split('`').nth(1);
        let path = section.map_or(field.to_owned(), |section| format!("{section}.{field}"));
        assert_eq!((cells.len(), cells[3]), (4, "0.1"), "{path}");
        assert!(!cells[2].is_empty(), "{path}");
        if let Some(other) = found.insert(path.clone(), cells[1].to_owned()) {
            assert_eq!(other, cells[1], "{path}");
        }
    }
    found
}

/// Every property of `schema` as a whole path, with its type.
fn declared(schema: &Value, prefix: &str, found: &mut BTreeMap<String, String>) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{prefix}{name}");
        found.insert(path.clone(), kind(property));
        declared(property, &format!("{path}."), found);
        declared(&property["items"], &format!("{path}[]."), found);
    }
}

fn kind(schema: &Value) -> String {
    if schema["writeOnly"] == true {
        return "secret".into();
    }
    if let Some(values) = schema["enum"].as_array() {
        let values: Vec<&str> = values.iter().map(|value| value.as_str().unwrap()).collect();
        return format!("one of {}", values.join(", "));
    }
    let word = |name: &Value| match name.as_str().unwrap() {
        "string" => "text",
        "boolean" => "true or false",
        "array" => "list",
        "object" => "object",
        "integer" => "integer",
        "number" => "number",
        other => panic!("no word for {other}"),
    };
    match &schema["type"] {
        Value::Array(names) => {
            let mut words: Vec<&str> = names.iter().map(word).collect();
            // As a reader expects: what holds fields first.
            words.sort_by_key(|word| (*word != "object", *word == "list"));
            words.join(" or ")
        }
        Value::Null => "any".into(),
        name => word(name).into(),
    }
}

fn empty_manifest() -> Manifest {
    let operation = json!({
        "name": "o", "summary": "", "action_schema": {}, "input_schema": {}, "output_schema": null, "overridable": [],
        "effect": "read", "idempotent": true,
    });
    serde_json::from_value(json!({
        "name": "it", "version": "1", "summary": "", "connection_schema": {}, "operations": [operation],
        "default_operation": "o", "needs": [],
    }))
    .unwrap()
}

#[track_caller]
fn same(documented: &BTreeMap<String, String>, declared: &BTreeMap<String, String>) {
    let lines = |fields: &BTreeMap<String, String>| -> BTreeSet<String> {
        fields.iter().map(|(path, kind)| format!("{path}: {kind}")).collect()
    };
    let (documented, declared) = (lines(documented), lines(declared));
    let missing: Vec<_> = declared.difference(&documented).collect();
    let invented: Vec<_> = documented.difference(&declared).collect();
    assert!(missing.is_empty() && invented.is_empty(), "missing: {missing:#?}\ninvented: {invented:#?}");
}

#[test]
fn every_field_of_a_connection_is_there_with_its_type() {
    let mut schema = BTreeMap::new();
    declared(&connection_schema(&empty_manifest()), "", &mut schema);
    same(&documented(chapter("What a connection may hold")), &schema);
}

#[test]
fn every_field_of_an_action_is_there_with_its_type() {
    let manifest = empty_manifest();
    let schema = action_schema(&manifest.operations[0]);
    let connection = connection_schema(&manifest);
    let mut own = json!({"properties": host_properties()});
    let mut shared = Vec::new();
    for (name, property) in schema["properties"].as_object().unwrap() {
        if name != "description" && connection["properties"].get(name) == Some(property) {
            shared.push(format!("`{name}`"));
        } else {
            own["properties"][name] = property.clone();
        }
    }
    let mut fields = BTreeMap::new();
    declared(&own, "", &mut fields);
    let chapter = chapter("What an action may hold");
    same(&documented(chapter), &fields);
    let (introduction, _) = chapter.split_once("\n### ").unwrap();
    for name in &shared {
        assert!(introduction.contains(name), "{name} is not said to be a field of an action");
    }
    assert_eq!(introduction.matches('`').count(), 2 * shared.len(), "{shared:?}");
}

#[test]
fn every_kind_of_credential_has_a_table_that_says_what_it_needs() {
    let schema = connection_schema(&empty_manifest());
    let rules = schema["properties"]["authorization"]["allOf"].as_array().unwrap();
    let rows = rows(chapter("What a connection may hold"));
    for rule in rules {
        let kind = rule["if"]["properties"]["type"]["const"].as_str().unwrap();
        let needed: BTreeSet<&str> =
            rule["then"]["required"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
        let heading = format!("`authorization` of type `{kind}`");
        let table = rows.iter().filter(|(of, cells)| *of == heading && cells[2].starts_with("required"));
        let said: BTreeSet<&str> = table.map(|(_, cells)| cells[0].trim_matches('`')).collect();
        assert_eq!(said, needed, "{kind}");
    }
}

#[test]
fn the_presets_are_what_the_table_says() {
    let table = rows(chapter("What a connection may hold"));
    let presets: Vec<_> =
        table.iter().filter(|(_, cells)| cells.len() == 6 && cells[0] != "preset").collect();
    assert_eq!(presets.len(), 6);
    for (_, cells) in presets {
        let preset = RetryPolicy::preset(cells[0]).unwrap();
        let ms = |at: usize| std::time::Duration::from_millis(cells[at].parse().unwrap());
        assert_eq!(preset.retries.to_string(), cells[1], "{cells:?}");
        assert_eq!(
            (preset.initial_delay, preset.max_delay, preset.total),
            (ms(2), ms(3), ms(4)),
            "{cells:?}"
        );
        assert_eq!(preset.jitter.to_string(), cells[5], "{cells:?}");
    }
}

#[test]
fn every_alias_is_among_the_earlier_spellings() {
    fn aliases(schema: &Value, found: &mut BTreeSet<(String, String)>) {
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            for alias in property["x-aliases"].as_array().into_iter().flatten() {
                found.insert((alias.as_str().unwrap().to_owned(), name.clone()));
            }
            aliases(property, found);
        }
    }
    let mut found = BTreeSet::new();
    let manifest = empty_manifest();
    aliases(&connection_schema(&manifest), &mut found);
    aliases(&action_schema(&manifest.operations[0]), &mut found);
    assert!(found.len() > 10, "{found:?}");
    let table = rows(chapter("Earlier spellings"));
    for (alias, name) in found {
        let said = |cells: &Vec<&str>| cells[0].contains(&format!("`{alias}`")) && cells[1].contains(&name);
        assert!(table.iter().any(|(_, cells)| said(cells)), "{alias} for {name} is not in the table");
    }
}
