//! Connector templates: a connector without code, as a file that names a base connector, parameters and operations.
//!
//! ```yaml
//! name: github
//! version: 1.0.0
//! description: GitHub's REST API
//! extends: http
//! parameters: [{ name: token, secret: true, required: true }, { name: base_url, default: "https://api.github.com" }]
//! connection: { base_url: "{{base_url}}", authorization: { type: bearer, token: "{{token}}" } }
//! operations: { get-repo: { path: "/repos/{owner}/{repo}" } }
//! ```
//!
//! `connection` is a connection of the base with `{{parameter}}` in it, an operation is an action of the base. Of these a
//! [`Manifest`] is derived, so that a configuration is read, checked and sealed as for any connector; before a call the
//! record is written out as the base's own (`expand`). What may be wrong with one is found once, in `check`.
//!
//! Invariant: a template holds no secret, reads no environment, file or vault, and grants nothing: it cannot say `network`.

mod check;
mod expand;
mod fill;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use openact_core::{
    ConnectorName, Error, JsonObject, Result, limits,
    manifest::{Effect, Manifest, Operation},
    schema::SchemaView,
};
use serde_json::{Value, json};

pub use self::expand::Expanded;
use self::fill::Filler;
use crate::{Format, parameters, parse::parse, problems::Problems};

/// A template that was read.
#[derive(Clone, Debug)]
pub struct Template {
    /// Its name, which is the `kind` of its connections.
    pub name: ConnectorName,
    /// Its version, as it says.
    pub version: String,
    /// One line.
    pub description: String,
    /// The connector it writes configuration for.
    pub extends: ConnectorName,
    /// The fields of its connections.
    pub parameters: Vec<Parameter>,
    /// A connection of the base, with `{{parameter}}` in it.
    pub connection: JsonObject,
    /// What it can do beside the base's own operations.
    pub operations: Vec<TemplateOperation>,
}

/// A field of a template's connections.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// Whether it is sealed, and goes to places of secrets alone.
    pub secret: bool,
    /// Whether a connection must have it.
    pub required: bool,
    /// Where a connection says nothing. May hold earlier parameters.
    pub default: Option<Value>,
    /// Its JSON Schema.
    schema: JsonObject,
}

/// An operation of a template.
#[derive(Clone, Debug)]
pub struct TemplateOperation {
    /// Its name.
    pub name: String,
    /// One line.
    pub description: String,
    /// The base's operation; its default one if absent.
    pub operation: Option<String>,
    /// JSON Schema of the input, unless the base's own is enough.
    pub input_schema: Option<Value>,
    /// What it does to the other system, where the template knows it better than the base.
    pub effect: Option<Effect>,
    /// Whether twice is the same as once, likewise.
    pub idempotent: Option<bool>,
    /// The action of the base.
    pub fields: JsonObject,
}

/// What a template may extend.
#[derive(Clone, Debug)]
pub enum Base {
    /// A connector with code.
    Connector(Arc<Manifest>),
    /// Another template, which is refused.
    Template,
    /// Nothing of that name.
    Unknown,
}

/// What reading a template depends on besides its text.
pub struct Bases<'a> {
    /// What is known by that name.
    pub base: &'a dyn Fn(&ConnectorName) -> Base,
    /// Every connector with code, to suggest one.
    pub connectors: &'a [ConnectorName],
}

impl Template {
    /// Reads a template and reports everything that is wrong with it. `file` names it in errors.
    pub fn read(file: &str, text: &str, bases: &Bases<'_>) -> Result<Self> {
        let value = parsed(file, text)?;
        let mut problems = Problems::default();
        check::template(&value, bases, &mut problems)?;
        problems.finish(file, || crate::positions::Positions::of(text, Format::Yaml))?;
        Self::of(value).ok_or_else(|| Error::internal("a template that was checked could not be read"))
    }

    /// Reads a template that was checked before: one of this program, or of the store.
    pub fn read_again(text: &str) -> Result<Self> {
        Self::of(parsed("template", text)?)
            .ok_or_else(|| Error::internal("the text that is kept of a connector is not a template"))
    }

    /// What a text says it extends, without a look at the rest.
    pub fn extends_of(text: &str) -> Option<ConnectorName> {
        let value = parsed("template", text).ok()?;
        ConnectorName::canonical(value.get("extends")?.as_str()?).ok()
    }

    fn of(value: Value) -> Option<Self> {
        let text = |key: &str| Some(value.get(key)?.as_str()?.to_owned());
        let list = value.get("parameters").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let operations = value.get("operations").and_then(Value::as_object).into_iter().flatten();
        Some(Self {
            name: text("name")?.parse().ok()?,
            version: text("version")?,
            description: text("description")?,
            extends: ConnectorName::canonical(&text("extends")?).ok()?,
            parameters: list.iter().map(Parameter::of).collect::<Option<_>>()?,
            connection: value.get("connection").and_then(Value::as_object).cloned().unwrap_or_default(),
            operations: operations
                .map(|(name, fields)| TemplateOperation::of(name, fields))
                .collect::<Option<_>>()?,
        })
    }

    /// What the template says of itself as a connector: its parameters are the fields of a connection; its operations,
    /// and those of the base, take the base's fields.
    pub fn manifest(&self, base: &Manifest) -> Result<Manifest> {
        let mut operations = Vec::with_capacity(self.operations.len() + base.operations.len());
        for operation in &self.operations {
            operations.push(operation.derived(base.operation(operation.operation.as_deref())?));
        }
        operations.extend(base.operations.iter().cloned());
        let manifest = Manifest {
            name: self.name.clone(),
            version: self.version.clone(),
            summary: self.description.clone(),
            connection_schema: self.connection_schema(),
            operations,
            default_operation: base.default_operation.clone(),
            needs: base.needs.clone(),
        };
        manifest.validated()
    }

    fn connection_schema(&self) -> Value {
        let of_credential = |parameter: &&Parameter| self.is_of_credential(&parameter.name);
        let names = |of_credential: bool| -> Vec<&str> {
            let is_needed = |parameter: &&Parameter| parameter.required && parameter.default.is_none();
            let is_such = |parameter: &&Parameter| self.is_of_credential(&parameter.name) == of_credential;
            let needed = self.parameters.iter().filter(is_needed).filter(is_such);
            needed.map(|parameter| parameter.name.as_str()).collect()
        };
        let properties: JsonObject =
            self.parameters.iter().map(|one| (one.name.clone(), Value::Object(one.schema.clone()))).collect();
        let mut schema = json!({"type": "object", "properties": properties, "required": names(false)});
        // A connection with a credential of its own need not have what the template makes one of.
        if self.parameters.iter().filter(of_credential).any(|parameter| parameter.required)
            && let Some(schema) = schema.as_object_mut()
        {
            let own = json!({"anyOf": [{"required": ["authorization"]}, {"required": ["auth_ref"]}]});
            schema.insert("if".into(), json!({ "not": own }));
            schema.insert("then".into(), json!({ "required": names(true) }));
        }
        schema
    }

    /// Whether a parameter is used in the credential and nowhere else.
    fn is_of_credential(&self, name: &str) -> bool {
        let mut rest = self.connection.clone();
        let credential = rest.shift_remove("authorization").unwrap_or_default();
        let defaults = self.parameters.iter().filter_map(|parameter| parameter.default.as_ref());
        fill::names(&credential).contains(name)
            && !fill::names(&Value::Object(rest)).contains(name)
            && !defaults.into_iter().any(|default| fill::names(default).contains(name))
    }

    /// The URLs that its connections lead to, those of tokens included, with defaults filled in and what a connection
    /// has to say left as `{{parameter}}`.
    pub fn reaches(&self, base: &Manifest) -> Result<Vec<String>> {
        let is_left = |parameter: &&Parameter| parameter.default.is_none();
        let left = self.parameters.iter().filter(is_left);
        let said =
            left.map(|parameter| (parameter.name.clone(), format!("{{{{{}}}}}", parameter.name).into()));
        let connection = Filler::shown(&self.parameters, &said.collect())?.object(&self.connection)?;
        Ok(urls(&connection, base))
    }

    /// The template as it was written, for people.
    pub fn to_json(&self) -> Value {
        let parameter = |one: &Parameter| {
            let mut shown = json!({"name": one.name, "required": one.required, "secret": one.secret});
            if let Some(shown) = shown.as_object_mut() {
                let is_plain = |(key, _): &(&String, &Value)| *key != "type" && *key != "writeOnly";
                let more = one.schema.iter().filter(is_plain);
                shown.extend(more.map(|(key, value)| (key.clone(), value.clone())));
            }
            shown
        };
        let operations: JsonObject = self
            .operations
            .iter()
            .map(|operation| {
                let mut fields = json!({ "description": operation.description });
                if let Some(fields) = fields.as_object_mut() {
                    fields.extend(operation.fields.clone());
                }
                (operation.name.clone(), fields)
            })
            .collect();
        json!({
            "parameters": self.parameters.iter().map(parameter).collect::<Vec<_>>(),
            "connection": self.connection,
            "operations": operations,
        })
    }
}

impl Parameter {
    fn of(value: &Value) -> Option<Self> {
        let flag = |key: &str| value.get(key) == Some(&Value::Bool(true));
        let secret = flag("secret");
        let mut schema = value.as_object()?.clone();
        schema.retain(|key, _| !matches!(key.as_str(), "name" | "required" | "secret"));
        if secret {
            schema.insert("type".into(), json!(["string", "object"]));
            schema.insert("writeOnly".into(), true.into());
        } else {
            schema.entry("type").or_insert_with(|| "string".into());
        }
        Some(Self {
            name: value.get("name")?.as_str()?.to_owned(),
            secret,
            required: flag("required"),
            default: value.get("default").filter(|default| !default.is_null()).cloned(),
            schema,
        })
    }
}

/// Keys of an operation that are no fields of the base's action.
const OPERATION_KEYS: &[&str] =
    &["description", "operation", "parameters", "input_schema", "effect", "idempotent"];

impl TemplateOperation {
    fn of(name: &str, value: &Value) -> Option<Self> {
        let mut fields = value.as_object()?.clone();
        let mut own: JsonObject = OPERATION_KEYS
            .iter()
            .filter_map(|key| Some(((*key).to_owned(), fields.shift_remove(*key)?)))
            .collect();
        let list = own.shift_remove("parameters");
        let listed = list.as_ref().and_then(Value::as_array).map(|list| parameters::input_schema(list).0);
        let text = |key: &str| own.get(key).and_then(Value::as_str).map(str::to_owned);
        Some(Self {
            name: name.to_owned(),
            description: text("description").unwrap_or_default(),
            operation: text("operation"),
            input_schema: own.get("input_schema").cloned().or(listed),
            effect: own.get("effect").and_then(|effect| serde_json::from_value(effect.clone()).ok()),
            idempotent: own.get("idempotent").and_then(Value::as_bool),
            fields,
        })
    }

    fn derived(&self, base: &Operation) -> Operation {
        let mut derived = base.clone();
        derived.name = self.name.clone();
        derived.summary = self.description.clone();
        derived.effect = self.effect.unwrap_or(base.effect);
        derived.idempotent = self.idempotent.unwrap_or(base.idempotent);
        if let Some(schema) = &self.input_schema {
            derived.input_schema = schema.clone();
        }
        // What the template says, an action need not.
        if let Some(Value::Array(required)) = derived.action_schema.get_mut("required") {
            required.retain(|name| !name.as_str().is_some_and(|name| self.fields.contains_key(name)));
        }
        derived
    }
}

/// The URLs in a connection of a connector with code, those of tokens included.
pub fn urls(connection: &JsonObject, base: &Manifest) -> Vec<String> {
    let schema = openact_core::connection::connection_schema(base);
    let mut found = Vec::new();
    fill::texts(connection, &SchemaView::new(&schema), &mut |view, text| {
        if view.has_format("uri") {
            found.push(text.to_owned());
        }
    });
    found
}

fn parsed(file: &str, text: &str) -> Result<Value> {
    if text.len() > limits::TEMPLATE_BYTES_MAX {
        let kib = limits::TEMPLATE_BYTES_MAX / 1024;
        return Err(Error::limit_exceeded(format!(
            "'{file}' is larger than {kib} KiB, the most of a template"
        ))
        .details(json!({ "limit": "template_bytes" })));
    }
    parse(file, text.strip_prefix('\u{feff}').unwrap_or(text), Format::Yaml)
}
