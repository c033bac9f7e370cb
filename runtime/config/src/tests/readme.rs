//! The tables of `config/README.md` are those of the schemas: no field of the host is missing, none is made up, and
//! each is of the type that is said, with the default that is said. What is in the `http` connector only its component knows.

use std::collections::{BTreeMap, BTreeSet};

use openact_core::{
    JsonObject,
    action::action_schema,
    connection::connection_schema,
    manifest::Manifest,
    policies::{Policies, RateLimit},
    retry::RetryPolicy,
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
        match found.get_mut(&path) {
            None => drop(found.insert(path, cells[1].to_owned())),
            Some(other) if other == cells[1] => {}
            // Two kinds of a section, each with its own values.
            Some(other) => match cells[1].strip_prefix("one of ") {
                Some(more) if other.starts_with("one of ") => other.push_str(&format!(", {more}")),
                _ => panic!("{path} is {other} and {}", cells[1]),
            },
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
        // What is narrower for this kind is said so in its table.
        for (field, property) in rule["then"]["properties"].as_object().into_iter().flatten() {
            let row = rows.iter().find(|(of, cells)| *of == heading && cells[0] == format!("`{field}`"));
            assert_eq!(row.unwrap().1[1], self::kind(property), "{kind}: {field}");
        }
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

/// Every leaf of `value` as a whole path.
fn leaves(value: &Value, prefix: &str, found: &mut BTreeMap<String, Value>) {
    match value.as_object() {
        Some(object) => object.iter().for_each(|(name, value)| {
            leaves(value, &format!("{prefix}{}{name}", if prefix.is_empty() { "" } else { "." }), found);
        }),
        None => drop(found.insert(prefix.to_owned(), value.clone())),
    }
}

/// What a default is said to be, without what is said of it.
fn literal(cell: &str) -> Value {
    let whole = cell.split([':', ';']).next().unwrap_or_default();
    let words: Vec<&str> = whole.split(", ").map(|word| word.trim_matches('`')).collect();
    let numbers: Option<Vec<f64>> = words.iter().map(|word| word.parse().ok()).collect();
    match (numbers, words[0]) {
        (Some(numbers), _) if numbers.len() > 1 => json!(numbers),
        (Some(numbers), _) if !cell.starts_with('`') => numbers[0].into(),
        (_, "true") => true.into(),
        (_, "false") => false.into(),
        (_, "none" | "any") => json!([]),
        (_, word) => word.into(),
    }
}

#[test]
fn every_default_that_is_a_value_is_the_one_in_force() {
    let mut sections = JsonObject::new();
    // The fields of `retry` change this preset.
    sections.insert("retry".into(), "api_calls".into());
    let mut in_force = Policies::of([&sections]).unwrap().in_force();
    let retries = RetryPolicy::preset("api_calls").unwrap().retries;
    in_force["retry"]["max_retries"] = retries.into();
    in_force["timeout_ms"] = in_force["timeout"]["total_ms"].clone();
    let rate: RateLimit = serde_json::from_value(json!({"requests": 1})).unwrap();
    in_force["rate_limit"] = json!({"per_ms": rate.per_ms});
    // It can be nothing else.
    in_force["http_policy"]["normalize_header_names"] = true.into();
    let mut actual = BTreeMap::new();
    leaves(&in_force, "", &mut actual);
    // Numbers are compared by value.
    let as_floats = |value: &Value| match value {
        Value::Number(number) => json!(number.as_f64()),
        Value::Array(list) => {
            list.iter().map(|item| item.as_f64().map_or(item.clone(), Value::from)).collect()
        }
        other => other.clone(),
    };
    let mut compared = BTreeSet::new();
    for (heading, cells) in rows(chapter("What a connection may hold")) {
        if cells.len() != 4 || heading.contains("`authorization`") {
            continue;
        }
        let (field, default) = (cells[0].trim_matches('`'), literal(cells[2]));
        let path = heading.split('`').nth(1).map_or(field.to_owned(), |section| format!("{section}.{field}"));
        match actual.get(&path) {
            Some(value) => {
                assert_eq!(default, as_floats(value), "{path}");
                compared.insert(path);
            }
            None => assert!(!default.is_number() && !default.is_boolean(), "{path}: {default}"),
        }
    }
    let left: Vec<_> = actual.keys().filter(|path| !compared.contains(*path)).collect();
    assert!(left.is_empty(), "not in the tables: {left:?}");
}

#[test]
fn a_default_of_several_words_is_one_of_them() {
    let mut found = 0;
    for (_, cells) in rows(chapter("What a connection may hold")) {
        let Some(values) = cells.get(1).and_then(|kind| kind.strip_prefix("one of ")) else { continue };
        if cells[2].starts_with('`') {
            let default = literal(cells[2]);
            assert!(values.split(", ").any(|value| default == value), "{cells:?}");
            found += 1;
        }
    }
    assert!(found > 5, "{found}");
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
