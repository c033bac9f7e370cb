//! JSON Schema 2020-12: reading one by place ([`SchemaView`]), and checking values against one ([`Schema`]).
//!
//! Invariants: a remote `$ref` is never fetched, and a message never quotes the value that failed, since it may be
//! a secret.

use serde_json::Value;

use crate::error::{Error, ErrorCode, Result};

/// The subschemas that apply at one place of a document.
///
/// Local references (`#/...`), `allOf`, `anyOf`, `oneOf`, `if`/`then`/`else` are looked through, which is what an
/// editor does to complete a key: it over-approximates, and [`Schema`] decides.
#[derive(Clone, Debug)]
pub struct SchemaView<'a> {
    root: &'a Value,
    nodes: Vec<&'a Value>,
}

/// Schemas nest and refer to each other; beyond this depth a view stops looking.
const VIEW_DEPTH_MAX: usize = 16;

impl<'a> SchemaView<'a> {
    /// The view at the top of a document that `root` describes.
    pub fn new(root: &'a Value) -> Self {
        let mut view = Self { root, nodes: Vec::new() };
        view.add(root, 0);
        view
    }

    fn add(&mut self, node: &'a Value, depth: usize) {
        if depth > VIEW_DEPTH_MAX || self.nodes.len() > 64 {
            return;
        }
        self.nodes.push(node);
        let local =
            node.get("$ref").and_then(Value::as_str).and_then(|reference| reference.strip_prefix('#'));
        if let Some(target) = local.and_then(|pointer| self.root.pointer(pointer)) {
            self.add(target, depth + 1);
        }
        for key in ["allOf", "anyOf", "oneOf"] {
            for part in node.get(key).and_then(Value::as_array).into_iter().flatten() {
                self.add(part, depth + 1);
            }
        }
        for key in ["then", "else"] {
            if let Some(part) = node.get(key) {
                self.add(part, depth + 1);
            }
        }
    }

    fn child(&self, nodes: Vec<&'a Value>) -> Option<Self> {
        let mut view = Self { root: self.root, nodes: Vec::new() };
        for node in nodes {
            view.add(node, 0);
        }
        (!view.nodes.is_empty()).then_some(view)
    }

    /// The view of a member: a declared property, else what `additionalProperties` says; none if not known.
    pub fn property(&self, name: &str) -> Option<Self> {
        let mut nodes: Vec<_> =
            self.nodes.iter().filter_map(|node| node.get("properties")?.get(name)).collect();
        if nodes.is_empty() {
            nodes = self
                .nodes
                .iter()
                .filter_map(|node| node.get("additionalProperties").filter(|a| a.is_object()))
                .collect();
        }
        self.child(nodes)
    }

    /// The view of an array's items.
    pub fn item(&self) -> Option<Self> {
        self.child(self.nodes.iter().filter_map(|node| node.get("items")).collect())
    }

    /// Declared property names.
    pub fn property_names(&self) -> impl Iterator<Item = &'a str> {
        self.nodes
            .iter()
            .filter_map(|node| node.get("properties")?.as_object())
            .flat_map(|map| map.keys().map(String::as_str))
    }

    /// Whether a member that is not declared is wrong here.
    pub fn is_closed(&self) -> bool {
        self.nodes.iter().any(|node| node.get("additionalProperties") == Some(&Value::Bool(false)))
    }

    /// The declared property for which `name` is an earlier spelling (`x-aliases`).
    pub fn canonical_name(&self, name: &str) -> Option<&'a str> {
        self.nodes.iter().filter_map(|node| node.get("properties")?.as_object()).flatten().find_map(
            |(key, property)| {
                let aliases = property.get("x-aliases")?.as_array()?;
                aliases.iter().any(|alias| alias.as_str() == Some(name)).then_some(key.as_str())
            },
        )
    }

    /// Whether the value here may be of the JSON type `name` ("string", "integer", ...), as far as the schema says.
    pub fn allows_type(&self, name: &str) -> bool {
        let mut said = false;
        for node in &self.nodes {
            match node.get("type") {
                Some(Value::String(one)) => {
                    said = true;
                    if one == name {
                        return true;
                    }
                }
                Some(Value::Array(many)) => {
                    said = true;
                    if many.iter().any(|one| one == name) {
                        return true;
                    }
                }
                _ => {}
            }
        }
        !said
    }

    /// The view of the place at a JSON Pointer below this one; none if not known.
    pub fn at(&self, pointer: &str) -> Option<Self> {
        pointer.split('/').skip(1).try_fold(self.clone(), |view, segment| {
            let name = segment.replace("~1", "/").replace("~0", "~");
            view.property(&name).or_else(|| view.item())
        })
    }

    /// The texts that the value here may be (`enum`); empty if it is not one of a list.
    pub fn choices(&self) -> Vec<&'a str> {
        let list = self.nodes.iter().find_map(|node| node.get("enum")?.as_array());
        list.into_iter().flatten().filter_map(Value::as_str).collect()
    }

    /// The properties of which at least one must be there (`anyOf` of one `required` each); empty if there is no such
    /// rule.
    pub fn at_least_one_of(&self) -> Vec<&'a str> {
        let names = |node: &&'a Value| -> Option<Vec<&'a str>> {
            let parts = node.get("anyOf")?.as_array()?;
            parts.iter().map(|part| part.get("required")?.get(0)?.as_str()).collect()
        };
        self.nodes.iter().find_map(names).unwrap_or_default()
    }

    /// Whether the value here is a secret (`writeOnly`).
    pub fn is_write_only(&self) -> bool {
        self.nodes.iter().any(|node| node.get("writeOnly") == Some(&Value::Bool(true)))
    }

    /// Whether the value here is text of that `format`.
    pub fn has_format(&self, format: &str) -> bool {
        self.nodes.iter().any(|node| node.get("format").is_some_and(|found| found == format))
    }

    /// The value of an annotation of ours (`x-endpoint`, `x-url`) at this place.
    pub fn annotation(&self, name: &str) -> Option<&'a Value> {
        self.nodes.iter().find_map(|node| node.get(name))
    }

    /// Whether merging replaces the value here whole (`x-merge`).
    pub fn merges_whole(&self) -> bool {
        self.nodes.iter().any(|node| node.get("x-merge").is_some_and(|rule| rule == "replace"))
    }
}

/// The known name nearest to a misspelt one, if one is near enough to be meant.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| {
            (strsim::damerau_levenshtein(&name.to_lowercase(), &candidate.to_lowercase()), candidate)
        })
        .filter(|(distance, candidate)| *distance <= (candidate.len().max(name.len()) / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// One way in which a value does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// JSON Pointer (RFC 6901) to the value; empty at the top.
    pub pointer: String,
    /// What is wrong, without the value itself.
    pub message: String,
}

/// A compiled JSON Schema.
pub struct Schema(jsonschema::Validator);

impl Schema {
    /// Compiles `schema`. `what` names it in the error ("input_schema of http/get-user").
    pub fn compile(schema: &Value, what: &str) -> Result<Self> {
        jsonschema::draft202012::options().with_retriever(NeverFetch).build(schema).map(Self).map_err(
            |error| Error::invalid_config(format!("{what} is not a valid JSON Schema: {}", error.masked())),
        )
    }

    /// Whether `value` fits: the fast path.
    pub fn accepts(&self, value: &Value) -> bool {
        self.0.is_valid(value)
    }

    /// Every mismatch, at most 20.
    pub fn mismatches(&self, value: &Value) -> Vec<Mismatch> {
        self.0
            .iter_errors(value)
            .take(20)
            .map(|error| Mismatch {
                pointer: error.instance_path().to_string(),
                message: error.masked_with("the value").to_string(),
            })
            .collect()
    }

    /// Fails with `code` and every mismatch if `value` does not fit. `what` names the value ("input").
    pub fn check(&self, value: &Value, code: ErrorCode, what: &str) -> Result<()> {
        if self.accepts(value) {
            return Ok(());
        }
        let found = self.mismatches(value);
        let lines: Vec<String> = found
            .iter()
            .map(|m| {
                if m.pointer.is_empty() { m.message.clone() } else { format!("{}: {}", m.pointer, m.message) }
            })
            .collect();
        let details =
            found.iter().map(|m| serde_json::json!({"pointer": m.pointer, "message": m.message})).collect();
        Err(Error::new(code, format!("{what} does not fit its schema: {}", lines.join("; ")))
            .details(serde_json::json!({ "mismatches": Value::Array(details) })))
    }
}

/// A schema comes from a connector or a configuration file: it must not make the host fetch or open anything.
struct NeverFetch;

impl jsonschema::Retrieve for NeverFetch {
    fn retrieve(
        &self,
        uri: &jsonschema::Uri<String>,
    ) -> std::result::Result<Value, Box<dyn std::error::Error + Send + Sync>> {
        Err(format!("'{uri}' is outside the schema; only local references (#/...) are allowed").into())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_view_follows_references_and_alternatives() {
        let schema = json!({
            "properties": {"auth": {"$ref": "#/$defs/Auth"}, "n": {"type": ["integer", "null"]}, "q": {"x-aliases": ["query_params"]}},
            "additionalProperties": false,
            "$defs": {"Auth": {"oneOf": [{"properties": {"token": {"type": "string", "writeOnly": true}}}]}},
        });
        let view = SchemaView::new(&schema);
        assert!(view.is_closed());
        assert!(view.property("auth").unwrap().property("token").unwrap().is_write_only());
        assert!(view.property("n").unwrap().allows_type("integer"));
        assert!(!view.property("n").unwrap().allows_type("string"));
        assert_eq!(view.canonical_name("query_params"), Some("q"));
        assert!(view.property("nope").is_none());
        assert_eq!(nearest("base_ulr", ["base_url", "headers"]), Some("base_url"));
        assert_eq!(nearest("zzz", ["base_url", "headers"]), None);
    }

    #[test]
    fn m4_a_remote_reference_is_never_fetched() {
        let error = Schema::compile(&json!({"$ref": "http://127.0.0.1:9/x"}), "it").err().unwrap();
        assert_eq!(error.code, ErrorCode::InvalidConfig);
    }

    #[test]
    fn a_mismatch_never_quotes_the_value() {
        let schema = Schema::compile(&json!({"properties": {"token": {"type": "integer"}}}), "it").unwrap();
        let error = schema.check(&json!({"token": "hunter2"}), ErrorCode::InvalidInput, "input").unwrap_err();
        assert!(error.message.contains("/token"), "{error}");
        assert!(!format!("{error:?}{}", error.to_json()).contains("hunter2"));
    }
}
