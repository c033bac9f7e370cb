//! What is wrong with a template: everything at once, each at its place, with the nearest right word.
//!
//! Whoever wrote it is not who uses it: it may send what its user hands it to the URLs it names, which are shown before it
//! is installed, and do nothing else. So it names no secret, reads nothing, and widens no network.
//!
//! Invariant: what passes here can be read by `Template::of` and derives a valid manifest.

use std::collections::{HashMap, HashSet};

use openact_core::{
    ConnectorName, JsonObject, Result,
    connection::{ConnectionParts, connection_schema},
    limits::TEMPLATE_OPERATIONS_MAX,
    manifest::Manifest,
    schema::{Schema, SchemaView, nearest},
};
use serde_json::{Value, json};

use super::{
    Base, Bases, Parameter,
    fill::{Filler, Piece, has_hole, only, pieces},
};
use crate::{
    check::advice,
    connector::Connector,
    parameters,
    parse::shown,
    positions::On,
    problems::{Problems, child},
    walk::report_unknown,
};

/// Checks a whole template.
pub(super) fn template(value: &Value, bases: &Bases<'_>, problems: &mut Problems) -> Result<()> {
    let mut check = Check { problems, parameters: Vec::new(), used: HashSet::new() };
    let schema = file_schema();
    let value = check.fits("", value, &schema, &Schema::compile(&schema, "the schema of a template")?);
    check.variables(&value, "");
    check.name(&value);
    let base = check.base(&value, bases);
    check.parameters(&value, base.as_deref());
    if let Some(base) = base {
        let base = Connector::new(base)?;
        check.connection(&value, &base)?;
        check.operations(&value, &base)?;
        check.unused(&value);
    }
    Ok(())
}

fn file_schema() -> Value {
    let text = json!({"type": "string", "minLength": 1});
    let version =
        json!({"type": "string", "pattern": r"^[0-9]+\.[0-9]+\.[0-9]+([-+][0-9A-Za-z.+-]{1,40})?$"});
    let mut parameter = parameters::schema();
    if let Some(properties) = parameter.pointer_mut("/items/properties").and_then(Value::as_object_mut) {
        for key in ["nullable", "items", "properties", "schema"] {
            properties.shift_remove(key);
        }
        properties.insert("secret".into(), json!({"type": "boolean"}));
        properties.insert("name".into(), json!({"type": "string", "pattern": "^[a-z][a-z0-9_]{0,62}$"}));
        properties.insert(
            "type".into(),
            json!({"type": "string", "enum": ["string", "number", "integer", "boolean"]}),
        );
    }
    json!({
        "type": "object", "additionalProperties": false,
        "required": ["name", "version", "description", "extends", "operations"],
        "properties": {
            "name": text, "version": version, "description": text, "extends": text, "parameters": parameter,
            "connection": {"type": "object"},
            "operations": {"type": "object", "minProperties": 1, "maxProperties": TEMPLATE_OPERATIONS_MAX,
                "additionalProperties": {"type": "object"}},
        },
    })
}

struct Check<'p> {
    problems: &'p mut Problems,
    parameters: Vec<Parameter>,
    /// Parameters that something names.
    used: HashSet<String>,
}

impl Check<'_> {
    /// Reports unknown keys and mismatches of `value`, which lies at `at`. What is left of it has no unknown keys.
    fn fits(&mut self, at: &str, value: &Value, schema: &Value, compiled: &Schema) -> Value {
        let known = self.known(value, Some(&SchemaView::new(schema)), at);
        self.mismatches(at, &known, schema, compiled, &[]);
        known
    }

    /// Reports mismatches, but for those at the pointers of `unsure`.
    fn mismatches(&mut self, at: &str, value: &Value, schema: &Value, compiled: &Schema, unsure: &[String]) {
        let view = SchemaView::new(schema);
        let mut seen = HashSet::new();
        for mismatch in compiled.mismatches(value) {
            let is_required = mismatch.message.contains("required property");
            if unsure.contains(&mismatch.pointer) || !is_required && !seen.insert(mismatch.pointer.clone()) {
                continue;
            }
            let (said, hint) = advice(&mismatch, value.pointer(&mismatch.pointer), &view);
            let key =
                mismatch.pointer.rsplit_once('/').map(|(_, key)| key.replace("~1", "/").replace("~0", "~"));
            let message = key.map_or(said.clone(), |key| format!("'{}': {said}", shown(&key)));
            self.problems.value(&format!("{at}{}", mismatch.pointer), message, hint);
        }
    }

    /// Reports unknown keys. Going on as if they had been spelt right finds what else is wrong.
    fn known(&mut self, value: &Value, view: Option<&SchemaView<'_>>, at: &str) -> Value {
        let Some(view) = view else { return value.clone() };
        match value {
            Value::Object(object) => {
                let mut known = JsonObject::new();
                for (key, value) in object {
                    let (below, at) = (view.property(key), child(at, key));
                    if below.is_some() || !view.is_closed() {
                        known.insert(key.clone(), self.known(value, below.as_ref(), &at));
                        continue;
                    }
                    let meant = view.canonical_name(key).or_else(|| nearest(key, view.property_names()));
                    report_unknown(self.problems, &at, key, meant, view.property_names());
                    if let Some(meant) = meant.filter(|meant| !object.contains_key(*meant)) {
                        known.insert(meant.to_owned(), self.known(value, view.property(meant).as_ref(), &at));
                    }
                }
                Value::Object(known)
            }
            Value::Array(items) => {
                let view = view.item();
                let item = |(index, item)| self.known(item, view.as_ref(), &format!("{at}/{index}"));
                items.iter().enumerate().map(item).collect()
            }
            other => other.clone(),
        }
    }

    /// `${VAR}` would be sent as it is.
    fn variables(&mut self, value: &Value, at: &str) {
        match value {
            Value::String(text) if text.contains("${") => {
                let hint = "make it a parameter, which a connection sets: {{name}}";
                self.problems.value(at, "a template does not read the environment", Some(hint.into()));
            }
            Value::Object(object) => {
                object.iter().for_each(|(key, value)| self.variables(value, &child(at, key)))
            }
            Value::Array(items) => {
                items
                    .iter()
                    .enumerate()
                    .for_each(|(at_item, item)| self.variables(item, &format!("{at}/{at_item}")));
            }
            _ => {}
        }
    }

    fn name(&mut self, value: &Value) {
        let Some(text) = value.get("name").and_then(Value::as_str).filter(|text| !text.is_empty()) else {
            return;
        };
        match (text.parse::<ConnectorName>(), ConnectorName::canonical(text)) {
            (Err(error), _) => self.problems.error("/name", On::Value, &error),
            (Ok(name), Ok(meant)) if name != meant => {
                let message = format!("'{name}' is another name of the connector '{meant}'");
                self.problems.value("/name", message, Some("choose another name".into()));
            }
            _ => {}
        }
    }

    fn base(&mut self, value: &Value, bases: &Bases<'_>) -> Option<std::sync::Arc<Manifest>> {
        let text = value.get("extends")?.as_str().filter(|text| !text.is_empty())?;
        let known = || bases.connectors.iter().map(ConnectorName::as_str);
        let list = || format!("there are: {}", known().collect::<Vec<_>>().join(", "));
        match ConnectorName::canonical(text).map(|name| (bases.base)(&name)) {
            Ok(Base::Connector(manifest)) => return Some(manifest),
            Ok(Base::Template) => {
                let message =
                    format!("'{}' is a template, and only a connector can be extended", shown(text));
                self.problems.value("/extends", message, Some(list()));
            }
            Ok(Base::Unknown) | Err(_) => {
                let meant =
                    nearest(text, known()).map_or(String::new(), |name| format!("; did you mean '{name}'?"));
                let message = format!("there is no connector '{}'{meant}", shown(text));
                self.problems.value("/extends", message, Some(list()));
            }
        }
        None
    }

    fn parameters(&mut self, value: &Value, base: Option<&Manifest>) {
        // What is left of a connection without its connector's fields is the host's.
        let host =
            base.map(|base| connection_schema(&Manifest { connection_schema: json!({}), ..base.clone() }));
        let host = host.unwrap_or_default();
        let host = SchemaView::new(&host);
        let list = value.get("parameters").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        for (index, value) in list.iter().enumerate() {
            let at = format!("/parameters/{index}");
            let Some(parameter) = Parameter::of(value) else { continue };
            let name = shown(&parameter.name);
            let at_name = format!("{at}/name");
            let is_host = host.property(&name).is_some() || host.canonical_name(&name).is_some();
            if is_host || matches!(name.as_str(), "kind" | "config") {
                let message = format!("'{name}' is a field that every connection has");
                self.problems.value(&at_name, message, Some("choose another name".into()));
            }
            if self.parameters.iter().any(|other| other.name == parameter.name) {
                let hint = Some("keep one of the two".into());
                self.problems.value(&at_name, format!("parameter '{name}' is there twice"), hint);
                continue;
            }
            self.default_of(&parameter, &at);
            self.parameters.push(parameter);
        }
    }

    /// A default fits its parameter and holds earlier parameters alone.
    fn default_of(&mut self, parameter: &Parameter, at: &str) {
        let what = format!("parameter '{}'", parameter.name);
        let schema = match Schema::compile(&Value::Object(parameter.schema.clone()), &what) {
            Ok(schema) => schema,
            Err(error) => return self.problems.error(at, On::Value, &error),
        };
        let at = format!("{at}/default");
        match &parameter.default {
            None => {}
            Some(_) if parameter.secret => {
                self.problems.value(&at, "a template holds no secret", Some("remove the default".into()));
            }
            Some(default @ Value::String(text)) if has_hole(text) => self.holes(default, None, &at),
            Some(default) if !schema.accepts(default) => {
                let hint = "see its type, enum and pattern";
                self.problems.value(&at, format!("the default of {what} does not fit it"), Some(hint.into()));
            }
            Some(_) => {}
        }
    }

    fn connection(&mut self, value: &Value, base: &Connector) -> Result<()> {
        let Some(own) = value.get("connection").and_then(Value::as_object) else { return Ok(()) };
        let mut own = own.clone();
        for key in ["network", "auth_ref"] {
            self.refuse(&mut own, key, "/connection");
        }
        let defaults = own.get_mut("defaults").and_then(Value::as_object_mut);
        if let Some(defaults) = defaults {
            self.refuse(defaults, "network", "/connection/defaults");
        }
        let before = self.problems.count();
        let operation =
            base.operations.iter().find(|operation| operation.name == base.manifest.default_operation);
        let defaults = own.shift_remove("defaults").zip(operation);
        let view = SchemaView::new(&base.connection_schema);
        let mut own = self.known(&Value::Object(own), Some(&view), "/connection");
        self.holes(&own, Some(&view), "/connection");
        if let (Some((defaults, operation)), Some(own)) = (&defaults, own.as_object_mut()) {
            let (view, at) = (SchemaView::new(&operation.config_schema), "/connection/defaults");
            let defaults = self.known(defaults, Some(&view), at);
            self.holes(&defaults, Some(&view), at);
            own.insert("defaults".into(), defaults);
        }
        let Value::Object(own) = own else { return Ok(()) };
        let unsure = places_of_holes(&own);
        // What is not known cannot be filled in.
        let sample = match self.problems.count() == before {
            true => Filler::new(&self.parameters, &self.samples())
                .and_then(|mut filler| filler.connection(&own, &base.manifest.name)),
            false => Ok(own),
        };
        let sample = match sample {
            Ok(sample) => Value::Object(sample),
            Err(error) => {
                self.problems.error("/connection", On::Key, &error);
                return Ok(());
            }
        };
        self.mismatches("/connection", &sample, &base.connection_schema, &base.connection, &unsure);
        if let (Some(defaults), Some(operation)) = (sample.get("defaults"), operation) {
            let unsure: Vec<String> =
                unsure.iter().filter_map(|at| at.strip_prefix("/defaults").map(str::to_owned)).collect();
            let at = "/connection/defaults";
            self.mismatches(at, defaults, &operation.config_schema, &operation.part, &unsure);
        }
        if let (Value::Object(sample), true) = (&sample, self.problems.count() == before)
            && let Err(error) = ConnectionParts::of(sample, &base.manifest)
        {
            self.problems.error("/connection", On::Key, &error);
        }
        Ok(())
    }

    fn refuse(&mut self, object: &mut JsonObject, key: &str, at: &str) {
        if object.shift_remove(key).is_some() {
            let hint = "remove it; a connection of this template may say it";
            let message = format!("'{key}' is for those who use a template to say");
            self.problems.key(&child(at, key), message, Some(hint.into()));
        }
    }

    /// A value for each parameter that has no default.
    fn samples(&self) -> JsonObject {
        let sample = |parameter: &Parameter| {
            let keyword = |key: &str| parameter.schema.get(key);
            let choice = keyword("enum").and_then(Value::as_array).and_then(|choices| choices.first());
            match (choice, keyword("type").and_then(Value::as_str)) {
                (Some(choice), _) => choice.clone(),
                (None, Some("number" | "integer")) => keyword("minimum").cloned().unwrap_or_else(|| 1.into()),
                (None, Some("boolean")) => true.into(),
                _ if keyword("format").is_some_and(|format| format == "uri") => "https://example.com".into(),
                _ => "x".into(),
            }
        };
        let open = self.parameters.iter().filter(|parameter| parameter.default.is_none());
        open.map(|parameter| (parameter.name.clone(), sample(parameter))).collect()
    }

    /// Reports holes that cannot be filled, and secrets.
    fn holes(&mut self, value: &Value, view: Option<&SchemaView<'_>>, at: &str) {
        let is_secret = view.is_some_and(SchemaView::is_write_only);
        match value {
            Value::String(text) if is_secret => match only(text) {
                Some((name, optional)) => self.hole(name, optional, true, at),
                None => self.no_secret(at),
            },
            _ if is_secret && !value.is_null() => self.no_secret(at),
            Value::String(text) => {
                for piece in pieces(text) {
                    match piece {
                        Piece::Hole { name, optional } => self.hole(name, optional, false, at),
                        Piece::Broken => {
                            let hint = "write {{name}}, or {{{{ for '{{' itself";
                            self.problems.value(at, "'{{' begins no {{parameter}}", Some(hint.into()));
                        }
                        Piece::Text(_) => {}
                    }
                }
            }
            Value::Object(object) => {
                for (key, value) in object {
                    let below = view.and_then(|view| view.property(key));
                    self.holes(value, below.as_ref(), &child(at, key));
                }
            }
            Value::Array(items) => {
                let below = view.and_then(SchemaView::item);
                for (index, item) in items.iter().enumerate() {
                    self.holes(item, below.as_ref(), &format!("{at}/{index}"));
                }
            }
            _ => {}
        }
    }

    fn hole(&mut self, name: &str, optional: bool, is_secret: bool, at: &str) {
        self.used.insert(name.to_owned());
        let Some(parameter) = self.parameters.iter().find(|parameter| parameter.name == name) else {
            let known = self.parameters.iter().map(|parameter| parameter.name.as_str());
            let meant =
                nearest(name, known).map_or(String::new(), |name| format!("; did you mean '{name}'?"));
            let message = format!("there is no parameter '{}'{meant}", shown(name));
            let hint = "list it under parameters, before a default that uses it";
            return self.problems.value(at, message, Some(hint.into()));
        };
        if parameter.secret != is_secret {
            let (message, hint) = match is_secret {
                true => (format!("'{name}' goes to a place of a secret"), "give the parameter secret: true"),
                false => (
                    format!("'{name}' is a secret, and this is no place of one"),
                    "secrets go to authorization, each as a whole text",
                ),
            };
            return self.problems.value(at, message, Some(hint.into()));
        }
        if !optional && !parameter.required && parameter.default.is_none() {
            let message = format!("'{name}' may be missing");
            let hint = format!("write {{{{{name}?}}}}, or give the parameter required: true or a default");
            self.problems.value(at, message, Some(hint));
        }
    }

    fn no_secret(&mut self, at: &str) {
        let hint = "name a parameter with secret: true, as in \"{{token}}\"";
        self.problems.value(at, "a template holds no secret and names none", Some(hint.into()));
    }

    fn operations(&mut self, value: &Value, base: &Connector) -> Result<()> {
        let operations = value.get("operations").and_then(Value::as_object).into_iter().flatten();
        let mut schemas: HashMap<String, (Value, Schema)> = HashMap::new();
        for (name, fields) in operations {
            let at = child("/operations", name);
            let is_name = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
            if name.is_empty() || !name.bytes().all(is_name) {
                let message = format!("'{}' is not an operation name", shown(name));
                self.problems.key(&at, message, Some("lower-case letters, digits and '-'".into()));
            } else if base.operations.iter().any(|operation| operation.name == *name) {
                let message = format!("'{name}' is an operation of '{}' itself", base.manifest.name);
                self.problems.key(&at, message, Some("choose another name".into()));
            }
            let Some(mut fields) = fields.as_object().cloned() else { continue };
            self.refuse(&mut fields, "network", &at);
            let wanted = fields.get("operation").and_then(Value::as_str);
            let wanted = wanted.unwrap_or(&base.manifest.default_operation);
            let Some(operation) = base.operations.iter().find(|operation| operation.name == wanted) else {
                let known = || base.operations.iter().map(|operation| operation.name.as_str());
                let meant = nearest(wanted, known())
                    .map_or(String::new(), |name| format!("; did you mean '{name}'?"));
                let message =
                    format!("connector '{}' has no operation '{}'{meant}", base.manifest.name, shown(wanted));
                let hint = format!("it has: {}", known().collect::<Vec<_>>().join(", "));
                self.problems.value(&child(&at, "operation"), message, Some(hint));
                continue;
            };
            if !schemas.contains_key(wanted) {
                let schema = operation_schema(&operation.config_schema);
                let compiled = Schema::compile(&schema, "the schema of a template's operation")?;
                schemas.insert(wanted.to_owned(), (schema, compiled));
            }
            if let Some((schema, compiled)) = schemas.get(wanted) {
                let before = self.problems.count();
                let known = self.fits(&at, &Value::Object(fields.clone()), schema, compiled);
                self.secrets(&known, &SchemaView::new(schema), &at);
                if self.problems.count() > before {
                    continue;
                }
            }
            let overridable = base.manifest.operation(Some(wanted)).map(|operation| &operation.overridable);
            self.input(&fields, overridable.map_or(&[][..], Vec::as_slice), &at);
        }
        Ok(())
    }

    /// A secret of an action is a reference, which a template has none of.
    fn secrets(&mut self, fields: &Value, view: &SchemaView<'_>, at: &str) {
        let Value::Object(fields) = fields else { return };
        let mut found = Vec::new();
        openact_core::secret::visit_secrets(&mut fields.clone(), view, &mut |pointer, _| {
            found.push(format!("{at}{pointer}"));
        });
        for pointer in found {
            let hint = "remove it; an action of this template may refer to one";
            self.problems.value(&pointer, "a template holds no secret and names none", Some(hint.into()));
        }
    }

    fn input(&mut self, fields: &JsonObject, overridable: &[String], at: &str) {
        let label = "the input";
        if let Some(schema) = fields.get("input_schema").filter(|schema| schema.is_object())
            && let Err(error) = Schema::compile(schema, label)
        {
            self.problems.error(&child(at, "input_schema"), On::Value, &error);
        }
        let Some(Value::Array(list)) = fields.get("parameters") else { return };
        let at = child(at, "parameters");
        if fields.contains_key("input_schema") {
            let message = "'parameters' and 'input_schema' are the same";
            self.problems.key(&at, message, Some("keep one of the two".into()));
        }
        let (schema, twice) = parameters::input_schema(list);
        for name in twice {
            self.problems.value(&at, format!("parameter '{}' is there twice", shown(&name)), None);
        }
        if let Err(error) = Schema::compile(&schema, label) {
            self.problems.error(&at, On::Value, &error);
        }
        for (index, parameter) in list.iter().enumerate() {
            let Some(name) = parameter.get("name").and_then(Value::as_str) else { continue };
            if overridable.iter().any(|key| key == name) {
                let message = format!("a caller sets the whole {name} of the request by '{name}'");
                let hint = "choose another name for the parameter";
                self.problems.value(&format!("{at}/{index}/name"), message, Some(hint.into()));
            }
        }
    }

    fn unused(&mut self, value: &Value) {
        let list = value.get("parameters").and_then(Value::as_array).into_iter().flatten();
        for (index, parameter) in list.enumerate() {
            let name = parameter.get("name").and_then(Value::as_str).unwrap_or_default();
            if !name.is_empty() && !self.used.contains(name) {
                let message = format!("parameter '{}' is used nowhere", shown(name));
                let hint = format!("use it in connection as {{{{{}}}}}, or remove it", shown(name));
                self.problems.value(&format!("/parameters/{index}/name"), message, Some(hint));
            }
        }
    }
}

/// Of an operation as a template writes it.
fn operation_schema(config: &Value) -> Value {
    let mut schema = config.clone();
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("required".into(), json!(["description"]));
        if let Some(Value::Object(own)) = schema.get_mut("properties") {
            own.insert("description".into(), json!({"type": "string", "minLength": 1}));
            own.insert("parameters".into(), parameters::schema());
            own.insert("effect".into(), json!({"enum": ["read", "write", "destructive"]}));
            own.insert("idempotent".into(), json!({"type": "boolean"}));
            own.shift_remove("network");
        }
    }
    schema
}

/// JSON Pointers of the texts with holes.
fn places_of_holes(object: &JsonObject) -> Vec<String> {
    fn walk(value: &Value, at: &str, found: &mut Vec<String>) {
        match value {
            Value::String(text) if has_hole(text) => found.push(at.to_owned()),
            Value::Object(object) => {
                object.iter().for_each(|(key, value)| walk(value, &child(at, key), found));
            }
            Value::Array(items) => {
                items
                    .iter()
                    .enumerate()
                    .for_each(|(index, item)| walk(item, &format!("{at}/{index}"), found));
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    object.iter().for_each(|(key, value)| walk(value, &child("", key), &mut found));
    found
}
