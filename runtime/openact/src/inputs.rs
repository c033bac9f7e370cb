//! The input of an action as the other system describes it: what a tool of an MCP server takes.
//!
//! A connector keeps such schemas in its state; which of them is an action's, a property of the action says (`x-input`,
//! decision 0003). They are found by a check, and read here once for each state of the configuration. Of what the action
//! sets itself its callers are asked for the variables alone.
//!
//! | a schema that | is |
//! |---|---|
//! | refers to itself | shown to callers, and left to the connector to hold inputs against, within its sandbox |
//! | refers outside of itself (M4: that is never fetched), is none, or becomes huge as references are followed | not used, and named in a warning |
//!
//! Invariant: what another system says makes no action impossible to describe or to call, and costs no more than what has
//! [`INPUT_SCHEMA_NODES_MAX`] parts.

use std::collections::{BTreeMap, HashMap};

use openact_core::{
    ConnectionTrn, JsonObject,
    limits::{INPUT_SCHEMA_DEPTH_MAX, INPUT_SCHEMA_NODES_MAX, INPUT_SHELVES},
    manifest::{Manifest, Operation},
    schema::{Schema, SchemaView},
    state::{StateOwner, States},
};
use openact_engine::Connector;
use serde_json::{Value, json};

use crate::{
    Shared,
    interface::{object_schema, variables},
};

/// Keys of a schema whose values are no schemas.
const DATA: &[&str] = &["const", "enum", "default", "examples"];

/// The inputs that a connector knows for one connection version.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Inputs {
    /// By where they are kept, and for what.
    found: HashMap<String, BTreeMap<String, Input>>,
    /// What there is a schema for that is not used, and why.
    unusable: Vec<String>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Input {
    pub(crate) schema: Value,
    /// Whether the host holds inputs against it.
    pub(crate) is_checked: bool,
}

/// What an operation says of its inputs, by the annotation `x-input` of one of its properties.
struct Mark<'a> {
    /// The property whose value says which input it is.
    property: &'a str,
    /// Where in the connector's state the schemas are.
    kept: &'a str,
    /// The property that sets what they describe. If an action has none, it is the input.
    sets: &'a str,
}

impl<'a> Mark<'a> {
    fn of(operation: &'a Operation) -> Option<Self> {
        let view = SchemaView::new(&operation.action_schema);
        view.property_names().find_map(|property| {
            let said = view.property(property)?.annotation("x-input")?;
            Some(Self { property, kept: said.get("kept")?.as_str()?, sets: said.get("sets")?.as_str()? })
        })
    }
}

impl Inputs {
    /// Whether a connector knows any.
    pub(crate) fn are_known_to(manifest: &Manifest) -> bool {
        manifest.operations.iter().any(|operation| Mark::of(operation).is_some())
    }

    /// Those of a connection, from its connector's state.
    pub(crate) async fn read(openact: &Shared, connector: &Connector, connection: &ConnectionTrn) -> Self {
        let owner = StateOwner { connection: connection.clone(), connector: connector.digest() };
        let mut inputs = Self::default();
        for mark in connector.manifest().operations.iter().filter_map(Mark::of) {
            if inputs.found.contains_key(mark.kept) {
                continue;
            }
            let mut kept = BTreeMap::new();
            for shelf in 0..INPUT_SHELVES {
                match openact.store.get_state(&owner, &format!("{}/{shelf}", mark.kept)).await {
                    // What is none of the kind is a connector's own affair.
                    Ok(entry) => {
                        kept.extend(entry.and_then(|entry| parsed(&entry.value)).unwrap_or_default())
                    }
                    Err(error) => {
                        tracing::warn!("what {} takes is not known: {error:?}", connection.short());
                        break;
                    }
                }
            }
            let usable = inputs.usable(connection, kept);
            inputs.found.insert(mark.kept.to_owned(), usable);
        }
        inputs
    }

    fn usable(
        &mut self,
        connection: &ConnectionTrn,
        kept: BTreeMap<String, Value>,
    ) -> BTreeMap<String, Input> {
        let mut usable = BTreeMap::new();
        for (name, schema) in kept {
            match Input::new(schema) {
                Ok(input) => drop(usable.insert(name, input)),
                Err(why) => {
                    let named: String = name.chars().take(100).collect();
                    let why = format!("'{}' {why}", named.escape_debug());
                    tracing::warn!("{}: the schema of {why}; it is not used", connection.short());
                    self.unusable.push(why);
                }
            }
        }
        usable
    }

    /// The input of an action of `operation`, if the other system's word on it is known.
    pub(crate) fn of(&self, operation: &Operation, action: &JsonObject) -> Option<Input> {
        let mark = Mark::of(operation)?;
        let input = self.found.get(mark.kept)?.get(action.get(mark.property)?.as_str()?)?;
        match action.get(mark.sets).filter(|set| !set.is_null()) {
            None => Some(input.clone()),
            Some(set) => input.left_by(set, mark.sets),
        }
    }

    /// What whoever had them found should know.
    pub(crate) fn note(&self) -> Option<String> {
        let [first, more @ ..] = &self.unusable[..] else { return None };
        let more = if more.is_empty() { String::new() } else { format!(" (and {} more)", more.len()) };
        Some(format!("the schema of {first}{more}: inputs are not held against it"))
    }
}

impl Input {
    fn new(schema: Value) -> std::result::Result<Self, &'static str> {
        let schema = object_schema(schema).map_err(|_| "refers to something outside of it")?;
        let (left, path) = (INPUT_SCHEMA_NODES_MAX, Vec::new());
        let mut walk = Walk { root: &schema, left, depth: 0, path, is_cyclic: false };
        if !walk.fits(&schema) {
            return Err("is too large, or becomes so where its references lead");
        }
        let is_checked = !walk.is_cyclic;
        match Schema::compile(&schema, "it") {
            Ok(_) => Ok(Self { schema, is_checked }),
            Err(_) => Err("is not a valid JSON Schema"),
        }
    }

    /// What is left for a caller of an action that sets some of it: the variables in what it `set`, each as it is described
    /// where it stands.
    fn left_by(&self, set: &Value, place: &str) -> Option<Self> {
        let (mut properties, mut required) = (JsonObject::new(), Vec::new());
        visit(&self.schema, Some(&self.schema), set, &mut |text, described| {
            for variable in variables(&text.into(), "{{name}}") {
                let is_whole =
                    text.starts_with("{{") && text.ends_with("}}") && text.matches("{{").count() == 1;
                // Of a name with dots, the first part is the input's own, and what it is nobody said.
                let described = described.filter(|_| is_whole && !text.contains('.')).cloned();
                let schema = described.unwrap_or_else(|| variable.schema(place));
                properties.entry(variable.name.clone()).or_insert(schema);
                let name = Value::from(variable.name);
                if variable.is_needed && !required.contains(&name) {
                    required.push(name);
                }
            }
        });
        let mut schema = json!({ "type": "object" });
        let fields = schema.as_object_mut()?;
        if !properties.is_empty() {
            fields.insert("properties".into(), properties.into());
        }
        if !required.is_empty() {
            fields.insert("required".into(), required.into());
        }
        for definitions in ["$defs", "definitions"] {
            if let Some(of_whole) = self.schema.get(definitions) {
                fields.insert(definitions.into(), of_whole.clone());
            }
        }
        // It may refer to what is no longer there.
        Schema::compile(&schema, "it").ok()?;
        Some(Self { schema, is_checked: self.is_checked })
    }
}

fn parsed(value: &[u8]) -> Option<BTreeMap<String, Value>> {
    serde_json::from_slice(value).ok()
}

/// Calls `each` with every text in `set`, and what `described`, a part of `root`, says of it.
fn visit(root: &Value, described: Option<&Value>, set: &Value, each: &mut dyn FnMut(&str, Option<&Value>)) {
    let described = described.and_then(|described| resolved(root, described));
    match set {
        Value::String(text) => each(text, described),
        Value::Object(fields) => {
            for (name, field) in fields {
                visit(root, described.and_then(|it| it.get("properties")?.get(name)), field, each);
            }
        }
        Value::Array(items) => {
            for item in items {
                visit(root, described.and_then(|it| it.get("items")), item, each);
            }
        }
        _ => {}
    }
}

/// What a schema that is nothing but a reference refers to.
fn resolved<'a>(root: &'a Value, schema: &'a Value) -> Option<&'a Value> {
    match schema.as_object().and_then(target) {
        Some(target) => root.pointer(target),
        None => Some(schema),
    }
}

/// Where in its document a schema refers to.
fn target(schema: &JsonObject) -> Option<&str> {
    schema.get("$ref")?.as_str()?.strip_prefix('#')
}

/// Counts the parts of a schema as a validator meets them, each as often as it is referred to.
struct Walk<'a> {
    root: &'a Value,
    left: usize,
    depth: usize,
    /// References that are being followed.
    path: Vec<&'a str>,
    is_cyclic: bool,
}

impl<'a> Walk<'a> {
    fn fits(&mut self, schema: &'a Value) -> bool {
        if self.left == 0 || self.depth == INPUT_SCHEMA_DEPTH_MAX {
            return false;
        }
        self.left -= 1;
        self.depth += 1;
        let fits = match schema {
            Value::Object(fields) => {
                let mut inner = fields.iter().filter(|(name, _)| !DATA.contains(&name.as_str()));
                self.follows(fields) && inner.all(|(_, field)| self.fits(field))
            }
            Value::Array(items) => items.iter().all(|item| self.fits(item)),
            _ => true,
        };
        self.depth -= 1;
        fits
    }

    /// Whether what a schema refers to fits as well. Ways to refer that only a validator understands do not.
    fn follows(&mut self, schema: &'a JsonObject) -> bool {
        let is_odd = |key: &str| schema.get(key).is_some_and(Value::is_string);
        if is_odd("$dynamicRef") || is_odd("$recursiveRef") || self.depth > 1 && is_odd("$id") {
            return false;
        }
        let Some(target) = target(schema) else { return true };
        if target.is_empty() || self.path.contains(&target) {
            self.is_cyclic = true;
            return true;
        }
        let Some(referred) = self.root.pointer(target) else { return false };
        self.path.push(target);
        let fits = self.fits(referred);
        self.path.pop();
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(schema: Value) -> std::result::Result<Input, &'static str> {
        Input::new(schema)
    }

    #[test]
    fn m4_what_another_system_says_of_an_input_is_bounded_and_leads_nowhere() {
        let outside = json!({"properties": {"a": {"$ref": "http://127.0.0.1:9/x"}}});
        assert_eq!(input(outside).unwrap_err(), "refers to something outside of it");
        assert_eq!(input(json!({"required": 5})).unwrap_err(), "is not a valid JSON Schema");
        // Twice as many at each of 40 steps: a validator would be at it for days.
        let doubling = |own: &str| {
            let mut defs: JsonObject = (0..40)
                .map(|n| {
                    let next = json!({"$ref": format!("{own}/d{}", n + 1)});
                    (format!("d{n}"), json!({"allOf": [next, next]}))
                })
                .collect();
            defs.insert("d40".into(), json!({"type": "string"}));
            json!({"$defs": defs, "properties": {"a": {"$ref": format!("{own}/d0")}}})
        };
        let refused = "is too large, or becomes so where its references lead";
        assert_eq!(input(doubling("#/$defs")).unwrap_err(), refused);
        assert_eq!(input(doubling("#/%24defs")).unwrap_err(), refused, "the same, written otherwise");
        let odd = json!({"$defs": {"a": {"$id": "other", "type": "object"}}});
        assert_eq!(input(odd).unwrap_err(), refused);
        assert_eq!(input(json!({"properties": {"a": {"$dynamicRef": "#a"}}})).unwrap_err(), refused);
        let mut deep = json!({"type": "string"});
        for _ in 0..100 {
            deep = json!({"items": deep});
        }
        assert_eq!(input(deep).unwrap_err(), refused);

        let tree = json!({"type": "object", "properties": {"child": {"$ref": "#"}}});
        assert!(!input(tree.clone()).unwrap().is_checked, "only shown");
        assert_eq!(input(tree.clone()).unwrap().schema, tree);
        let usual = json!({"$defs": {"n": {"type": "integer"}}, "default": {"$ref": "#"},
            "properties": {"a": {"$ref": "#/$defs/n"}, "b": {"$ref": "#/$defs/n"}, "$ref": {"type": "string"}}});
        assert!(input(usual).unwrap().is_checked);
    }

    #[test]
    fn of_what_an_action_sets_its_callers_are_asked_for_the_variables() {
        let schema = json!({
            "type": "object", "required": ["city", "days", "unit"], "additionalProperties": false,
            "properties": {
                "city": {"type": "string"}, "unit": {"enum": ["C", "F"]}, "days": {"$ref": "#/$defs/days"},
                "place": {"$ref": "#/$defs/place"}, "list": {"items": {"type": "boolean"}},
            },
            "$defs": {
                "days": {"type": "integer", "maximum": 7},
                "place": {"type": "object", "properties": {"lat": {"type": "number"}}},
            },
        });
        let input = input(schema).unwrap();
        let set = json!({
            "city": "Gdynia, {{street}}", "unit": "C", "days": "{{days}}", "place": {"lat": "{{lat?}}"},
            "list": ["{{yes}}", true], "note": "{{user.name}}", "braces": "{{{{days}}",
        });
        let left = input.left_by(&set, "arguments").unwrap();
        let properties = &left.schema["properties"];
        assert_eq!(properties["days"], json!({"type": "integer", "maximum": 7}));
        assert_eq!(properties["lat"], json!({"type": "number"}));
        assert_eq!(properties["yes"], json!({"type": "boolean"}));
        for any in ["street", "user"] {
            assert_eq!(properties[any], json!({"description": "for the action's arguments"}), "{any}");
        }
        assert_eq!(properties.as_object().unwrap().len(), 5);
        assert_eq!(left.schema["required"], json!(["street", "days", "yes", "user"]));
        let fixed = input.left_by(&json!({"city": "Gdynia"}), "arguments").unwrap();
        assert!(fixed.schema.get("properties").is_none() && fixed.schema.get("required").is_none());
    }
}
