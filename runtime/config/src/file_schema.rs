//! The JSON Schema (2020-12) of configuration files, for editors: what may be written, with every connector there is.
//!
//! It is made of the schemas that files are read by, so that it cannot say anything else, and of what `config/README.md` says
//! of the host's fields. An editor knows no variables and no other files, so the schema is the looser of the two: a text with
//! a `${VAR}` fits everywhere, what an action may have from its connection is never missing, and earlier spellings fit, marked
//! as such (see [`earlier`]). Invariant: a file that loads fits.

mod earlier;

use std::{collections::HashMap, sync::Arc};

use openact_core::{ConnectorName, JsonObject, Result, manifest::Manifest};
use serde_json::{Value, json};

use crate::connector::Connector;

/// The reference, whose tables describe the host's fields.
const README: &str = include_str!("../../../config/README.md");

/// What is longer than this, bytes of JSON, is written once and referred to.
const INLINE_BYTES: usize = 200;

/// The schema of files for these connectors.
pub fn file_schema(manifests: &[Arc<Manifest>]) -> Result<Value> {
    let mut maker = Maker { described: described(), defs: common_defs(), names: HashMap::new() };
    let (mut by_connector, mut flat) = (JsonObject::new(), Flat::default());
    for manifest in manifests {
        let names = spellings(&manifest.name);
        let connection = maker.connection(manifest, &names)?;
        let actions = maker.actions(manifest, &names)?;
        let sections = json!({
            "type": ["object", "null"], "additionalProperties": false, "title": manifest.name, "description": manifest.summary,
            "properties": {"connections": entries(&connection.0), "actions": entries(&one_of(&actions.0))},
        });
        for name in &names {
            by_connector.insert((*name).to_owned(), sections.clone());
        }
        let (kind, then) = (json!({"kind": {"enum": names}}), json!({"$ref": connection.1}));
        flat.kinds.extend(names.iter().map(|name| Value::from(*name)));
        flat.rules.push(json!({"if": {"required": ["kind"], "properties": kind}, "then": then}));
        flat.actions.extend(actions.1);
    }
    let connection = json!({
        "type": "object", "required": ["kind"], "allOf": flat.rules,
        "properties": {"kind": {"enum": flat.kinds, "description": "the connector"}},
    });
    maker.defs.insert("connection".into(), connection);
    maker.defs.insert("action".into(), one_of(&flat.actions));
    Ok(json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "OpenAct configuration", "description": "Connections and actions, by connector or flat.",
        "type": "object", "additionalProperties": false,
        "properties": {
            "$schema": {"type": "string", "description": "where this schema is, for editors"},
            "version": {"enum": ["1.0", "1", 1]},
            "metadata": {"type": ["object", "null"], "description": "the file's own, not kept"},
            "connectors": {"type": ["object", "null"], "additionalProperties": false, "properties": by_connector,
                "description": "connections and actions, by connector"},
            "connections": either("connection"), "actions": either("action"),
        },
        "dependentSchemas": {"connectors": {"properties": {"connections": false, "actions": false}}},
        "$defs": maker.defs,
    }))
}

#[derive(Default)]
struct Flat {
    kinds: Vec<Value>,
    rules: Vec<Value>,
    actions: Vec<String>,
}

/// A connector's name in every spelling a file may have it in.
fn spellings(name: &ConnectorName) -> Vec<&str> {
    let others = ["postgresql", "pg", "mongo"];
    let same = |other: &&str| ConnectorName::canonical(other).is_ok_and(|canonical| canonical == *name);
    std::iter::once(name.as_str()).chain(others.into_iter().filter(same)).collect()
}

fn one_of(references: &[String]) -> Value {
    match references {
        [one] => json!({"$ref": one}),
        many => json!({"anyOf": many.iter().map(|one| json!({"$ref": one})).collect::<Vec<_>>()}),
    }
}

/// Entries by their name.
fn entries(entry: &Value) -> Value {
    json!({"type": ["object", "null"], "propertyNames": {"pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"},
        "additionalProperties": entry})
}

/// A section of the flat shape, or its list.
fn either(def: &str) -> Value {
    let mut by_name = entries(&json!({"$ref": format!("#/$defs/{def}")}));
    earlier::set(&mut by_name, "description", "by name, flat: each connection says its kind".into());
    earlier::set(&mut by_name, "type", json!(["object", "array", "null"]));
    earlier::set(&mut by_name, "items", json!({"$ref": "#/$defs/listed"}));
    by_name
}

fn common_defs() -> JsonObject {
    let text = json!({"type": "string"});
    let defs = json!({
        "variable": {"type": "string", "pattern": "\\$\\{[A-Za-z_][A-Za-z0-9_.-]*(:[^}]*)?\\}",
            "description": "${VAR} or ${VAR:default}"},
        "null": {"description": "nothing; takes a default away", "anyOf": [{"type": "null"},
            {"type": "object", "additionalProperties": false, "required": ["$null"], "properties": {"$null": {"const": true}}}]},
        "secret": {"title": "secret", "anyOf": [
            {"type": "string"},
            {"type": "object", "additionalProperties": false, "minProperties": 1, "maxProperties": 1,
                "properties": {"$secret": text, "$env": text, "$file": text}},
        ]},
        "listed": {"type": "object", "description": "an item of a list, as earlier versions took it",
            "properties": {"trn": text, "connector": text, "kind": text, "name": text, "version": {"type": "integer", "minimum": 1},
                "connection_trn": text}},
    });
    match defs {
        Value::Object(defs) => defs,
        _ => JsonObject::new(),
    }
}

/// What the tables of the reference say, by the path of the field.
fn described() -> HashMap<String, String> {
    let (mut section, mut found) = (None, HashMap::new());
    for line in README.lines().take_while(|line| !line.starts_with("## The `")) {
        if line.starts_with('#') {
            section = line.split('`').nth(1);
        }
        let cells: Vec<&str> = line.trim_matches(['|', ' ']).split(" | ").collect();
        if let [field, _, text, _] = cells.as_slice()
            && let Some(field) = field.strip_prefix('`').and_then(|field| field.strip_suffix('`'))
        {
            let path = section.map_or(field.to_owned(), |section| format!("{section}.{field}"));
            let text = match text.split_once(": ") {
                Some((default, what)) => {
                    format!("{what} (default: {default})").replace("default: required", "required")
                }
                None if *text == "required" => (*text).to_owned(),
                None => format!("default: {text}"),
            };
            found.entry(path).or_insert(text);
        }
    }
    found
}

struct Maker {
    described: HashMap<String, String>,
    defs: JsonObject,
    /// Of what is written once, by its text.
    names: HashMap<String, String>,
}

/// Where a schema is: what its definitions are called, and what the reference calls the place.
#[derive(Clone, Copy)]
struct At<'a> {
    prefix: &'a str,
    path: &'a str,
}

impl Maker {
    /// What an entry by connector fits, and the name of what a flat one does.
    fn connection(&mut self, manifest: &Arc<Manifest>, kinds: &[&str]) -> Result<(Value, String)> {
        let connector = Connector::new(manifest.clone())?;
        let mut raw = connector.connection_schema.clone();
        let required = raw.as_object_mut().and_then(|raw| raw.shift_remove("required"));
        // A connection of which nothing is required is complete as it is.
        let required = required.or_else(|| Some(json!([])));
        earlier::connection(&mut raw, &connector);
        if let Some(operation) = connector.operation_of_defaults(&JsonObject::new()) {
            let mut defaults = operation.config_schema.clone();
            without_required(&mut defaults);
            earlier::shared(&mut defaults);
            let prefix = format!("{}.{}", manifest.name, operation.name);
            let mut made = self.object(&defaults, At { prefix: &prefix, path: "" });
            earlier::set(&mut made, "type", json!(["object", "null"]));
            earlier::set(&mut made, "description", "merged under every action of this connection".into());
            self.defs.insert(format!("{}.defaults", manifest.name), made);
            set_property(
                &mut raw,
                "defaults",
                json!({"$ref": format!("#/$defs/{}.defaults", manifest.name)}),
            );
        }
        let name = format!("{}.connection", manifest.name);
        let made = self.object(&raw, At { prefix: &name, path: "" });
        // What is required may stand within `config`.
        let complete = |name: &str| {
            let own = required.iter().map(|required| json!({"required": required}));
            let wrapped = json!({"required": ["config"]});
            json!({"$ref": format!("#/$defs/{name}"), "anyOf": own.chain([wrapped]).collect::<Vec<_>>()})
        };
        self.wrapped(&name, made, kinds);
        let flat = format!("{name}.flat.entry");
        let entry = complete(&format!("{name}.flat"));
        self.defs.insert(flat.clone(), entry);
        Ok((complete(&name), format!("#/$defs/{flat}")))
    }

    /// References to what an action by connector fits, one for each operation, and to what a flat one does.
    fn actions(&mut self, manifest: &Arc<Manifest>, kinds: &[&str]) -> Result<(Vec<String>, Vec<String>)> {
        let connector = Connector::new(manifest.clone())?;
        let (mut by_connector, mut flat) = (Vec::new(), Vec::new());
        for operation in &connector.operations {
            let mut raw = operation.entry_schema.clone();
            without_required(&mut raw);
            earlier::shared(&mut raw);
            if connector.operations.len() > 1 {
                set_property(&mut raw, "operation", json!({"const": operation.name}));
            }
            let name = format!("{}.action.{}", manifest.name, operation.name);
            let prefix = format!("{}.{}", manifest.name, operation.name);
            let made = self.object(&raw, At { prefix: &prefix, path: "" });
            self.wrapped(&name, made, kinds);
            by_connector.push(format!("#/$defs/{name}"));
            flat.push(format!("#/$defs/{name}.flat"));
        }
        Ok((by_connector, flat))
    }

    /// Defines an entry and its flat form, which says its kind; in either the fields may stand within `config`.
    fn wrapped(&mut self, name: &str, mut made: Value, kinds: &[&str]) {
        earlier::set(&mut made, "title", name.into());
        if made.pointer("/properties/config").is_none() {
            let config = json!({"$ref": format!("#/$defs/{name}"),
                "description": "the fields may stand in here, too"});
            set_property(&mut made, "config", config);
        }
        let mut flat = made.clone();
        set_property(&mut flat, "kind", json!({"enum": kinds, "description": "the connector"}));
        self.defs.insert(name.to_owned(), made);
        self.defs.insert(format!("{name}.flat"), flat);
    }

    /// An object as a file may write it.
    fn object(&mut self, schema: &Value, at: At<'_>) -> Value {
        let mut out = JsonObject::new();
        for (key, value) in schema.as_object().into_iter().flatten() {
            let made = match (key.as_str(), value) {
                ("x-aliases" | "x-merge", _) => continue,
                ("default", Value::Null) => continue,
                ("format", Value::String(format)) if format.starts_with("uint") => continue,
                ("description", Value::String(text)) => text.replace('\n', " ").into(),
                ("properties", Value::Object(properties)) => self.properties(properties, at),
                ("$defs", Value::Object(defs)) => {
                    for (name, def) in defs {
                        let made = self.field(def, at);
                        self.defs.insert(format!("{}.{name}", at.prefix), made);
                    }
                    continue;
                }
                ("$ref", Value::String(reference)) => match reference.strip_prefix("#/$defs/") {
                    Some(name) if !name.ends_with(".defaults") => {
                        format!("#/$defs/{}.{name}", at.prefix).into()
                    }
                    _ => value.clone(),
                },
                ("items" | "additionalProperties", Value::Object(_)) => {
                    let path =
                        if key == "items" { format!("{}[]", at.path) } else { format!("{}.*", at.path) };
                    self.field(value, At { path: &path, ..at })
                }
                ("then" | "else", _) => self.object_or_flag(value, at),
                ("allOf" | "anyOf" | "oneOf", Value::Array(parts)) => {
                    parts.iter().map(|part| self.object_or_flag(part, at)).collect()
                }
                _ => value.clone(),
            };
            out.insert(key.clone(), made);
        }
        Value::Object(out)
    }

    fn object_or_flag(&mut self, schema: &Value, at: At<'_>) -> Value {
        if schema.is_object() { self.object(schema, at) } else { schema.clone() }
    }

    fn properties(&mut self, properties: &JsonObject, at: At<'_>) -> Value {
        let mut out = JsonObject::new();
        for (name, property) in properties {
            let path = if at.path.is_empty() { name.clone() } else { format!("{}.{name}", at.path) };
            let mut made = self.field(property, At { path: &path, ..at });
            made = self.interned(name, made);
            for alias in property.get("x-aliases").and_then(Value::as_array).into_iter().flatten() {
                if let (Some(alias), Some(made)) = (alias.as_str(), made.as_object()) {
                    let mut earlier = made.clone();
                    earlier.insert("deprecated".into(), true.into());
                    earlier.insert("description".into(), format!("an earlier spelling of {name}").into());
                    out.entry(alias).or_insert(Value::Object(earlier));
                }
            }
            out.insert(name.clone(), made);
        }
        Value::Object(out)
    }

    /// A reference to `schema`, if it is long: many places say the same.
    fn interned(&mut self, name: &str, schema: Value) -> Value {
        let text = schema.to_string();
        if text.len() <= INLINE_BYTES {
            return schema;
        }
        let defs = &mut self.defs;
        let name = self.names.entry(text).or_insert_with(|| {
            let mut numbered = (1..).map(|n| if n == 1 { name.to_owned() } else { format!("{name}.{n}") });
            let free = numbered.find(|name| !defs.contains_key(name)).unwrap_or_default();
            defs.insert(free.clone(), schema);
            free
        });
        json!({"$ref": format!("#/$defs/{name}")})
    }

    /// The value of a key: what the schema says, a text with a variable in it, or null, which takes a default away.
    fn field(&mut self, schema: &Value, at: At<'_>) -> Value {
        let Some(fields) = schema.as_object() else { return schema.clone() };
        let own = schema.get("description").and_then(Value::as_str).map(|text| text.replace('\n', " "));
        let description = own.or_else(|| self.described.get(at.path).cloned());
        let mut out = JsonObject::new();
        if let Some(description) = description {
            out.insert("description".into(), description.into());
        }
        if schema.get("deprecated").is_some() {
            out.insert("deprecated".into(), true.into());
        }
        if schema.get("writeOnly") == Some(&Value::Bool(true)) {
            out.insert("writeOnly".into(), true.into());
            let secret = json!({"$ref": "#/$defs/secret"});
            let bytes = json!({"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 255}});
            let is_list = schema
                .get("type")
                .and_then(Value::as_array)
                .is_some_and(|types| types.iter().any(|name| name == "array"));
            let others = is_list.then_some(bytes).into_iter().chain([json!({"$ref": "#/$defs/null"})]);
            out.insert("anyOf".into(), std::iter::once(secret).chain(others).collect());
            return Value::Object(out);
        }
        let mut own = self.object(schema, at);
        let is_open = !fields.keys().any(|key| KINDS.contains(&key.as_str()));
        if let Some(own) = own.as_object_mut() {
            own.shift_remove("description");
            own.shift_remove("deprecated");
            if is_open || own.contains_key("$ref") {
                own.extend(out);
                return Value::Object(std::mem::take(own));
            }
        }
        let others = [json!({"$ref": "#/$defs/variable"}), json!({"$ref": "#/$defs/null"})];
        out.insert("anyOf".into(), std::iter::once(own).chain(others).collect());
        Value::Object(out)
    }
}

fn set_property(schema: &mut Value, name: &str, property: Value) {
    if let Some(properties) = schema.get_mut("properties") {
        earlier::set(properties, name, property);
    }
}

/// Keywords by which a schema excludes a text or null.
const KINDS: &[&str] = &["type", "enum", "const", "oneOf", "anyOf", "pattern", "format"];

/// What an action may have from its connection is not missing.
fn without_required(schema: &mut Value) {
    let Some(schema) = schema.as_object_mut() else { return };
    schema.shift_remove("required");
    for rule in schema.get_mut("allOf").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(then) = rule.get_mut("then").and_then(Value::as_object_mut) {
            then.shift_remove("required");
        }
    }
}
