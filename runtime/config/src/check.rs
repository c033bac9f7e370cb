//! An entry against its connector's schemas, and the draft it becomes.
//!
//! Invariant: a draft fits the schema its connector declares: a connection by itself, an action merged over the
//! defaults of its connection where that is in the same file.

use std::{
    collections::{HashMap, HashSet},
    rc::Rc,
};

use openact_core::{
    ConnectorName, JsonObject, Name, Result,
    action::ActionParts,
    clear::visit_clear,
    connection::ConnectionParts,
    manifest::{Capability, Manifest},
    merge::merge,
    policies::Policies,
    schema::{Mismatch, Schema, SchemaView, nearest},
    secret::{SecretRef, take_secrets, visit_secrets},
};
use serde_json::{Value, json};

use crate::{
    ActionDraft, ConnectionDraft, Context,
    connection_url::take_apart,
    connector::{Connector, Operation, host_properties},
    parameters,
    parse::shown,
    positions::On,
    problems::Problems,
    shapes::Entry,
    substitute,
    walk::Walk,
};

/// Checks the entries of one file. Connections come before actions.
pub(crate) struct Checker<'a> {
    context: &'a Context<'a>,
    pub(crate) problems: Problems,
    /// JSON Pointers in the file of what looks like a secret in clear.
    pub(crate) clear: Vec<String>,
    connectors: HashMap<ConnectorName, Option<Rc<Connector>>>,
    unknown_at: HashSet<String>,
    defaults: HashMap<(ConnectorName, Name), JsonObject>,
    /// The host's sections of the connections that are right.
    sections: HashMap<(ConnectorName, Name), [JsonObject; 2]>,
    /// Of the host's part of an action.
    host_schema: Value,
    host: Schema,
}

impl<'a> Checker<'a> {
    /// A checker that knows of the mistakes found so far.
    pub(crate) fn new(context: &'a Context<'a>, problems: Problems) -> Result<Self> {
        let host_schema =
            json!({"type": "object", "required": ["connection"], "properties": host_properties()});
        Ok(Self {
            context,
            problems,
            clear: Vec::new(),
            connectors: HashMap::new(),
            unknown_at: HashSet::new(),
            defaults: HashMap::new(),
            sections: HashMap::new(),
            host: Schema::compile(&host_schema, "the host's part of an action")?,
            host_schema,
        })
    }

    /// The connection that `entry` describes; what is wrong with it is reported.
    pub(crate) fn connection(&mut self, entry: Entry) -> Result<Option<ConnectionDraft>> {
        let Some(connector) = self.connector(&entry)? else {
            return Ok(None);
        };
        let view = SchemaView::new(&connector.connection_schema);
        let operation = connector.operation_of_defaults(&entry.fields);
        let before = self.problems.count();
        let defaults_view = operation.map(|operation| SchemaView::new(&operation.config_schema));
        let mut walk = Walk::new(self.context, &mut self.problems, &entry.at, defaults_view);
        let mut config = walk.connection(entry.fields, &view);
        twice(&mut walk, &config);
        take_apart(&mut walk, &mut config, &view);
        check(&mut walk, &connector.connection, &view, &config, "");
        refuse_two_credentials(&mut walk, &config);
        refuse_policies_of_http(&mut walk, &config, &connector.manifest);
        if let (Some(Value::Object(defaults)), Some(operation)) = (config.get("defaults"), operation) {
            let view = SchemaView::new(&operation.config_schema);
            check(&mut walk, &operation.part, &view, &without_nulls(defaults, &view), "/defaults");
            refuse_clear_secrets(&mut walk, defaults, &view, "/defaults");
        }
        let defaults = config.get("defaults").and_then(Value::as_object).cloned().unwrap_or_default();
        let secrets = take_secrets(&mut config, &view, str::to_owned);
        let parts = (walk.problem_count() == before)
            .then(|| {
                let parts = ConnectionParts::of(&config, &connector.manifest)?;
                (self.context.made_of)(&entry.connector, &config).map(|()| parts)
            })
            .transpose()
            .map_err(|error| walk.report("", error.message.clone(), error.hint.clone()));
        self.clear.extend(in_clear(&walk, &config));
        let Entry { connector, name, .. } = entry;
        if let Ok(Some(parts)) = parts {
            self.sections.insert((connector.clone(), name.clone()), parts.sections);
        }
        self.defaults.insert((connector.clone(), name.clone()), defaults);
        Ok(Some(ConnectionDraft { connector, name, config, secrets, place: None }))
    }

    /// The action that `entry` describes; what is wrong with it is reported.
    pub(crate) fn action(&mut self, entry: Entry) -> Result<Option<ActionDraft>> {
        let Some(connector) = self.connector(&entry)? else {
            return Ok(None);
        };
        let before = self.problems.count();
        let Some(operation) = self.operation(&connector, &entry) else {
            return Ok(None);
        };
        let mut walk = Walk::new(self.context, &mut self.problems, &entry.at, None);
        let mut config = walk.action(entry.fields, &SchemaView::new(&operation.entry_schema));
        twice(&mut walk, &config);
        refuse_policies_of_http(&mut walk, &config, &connector.manifest);
        let host: JsonObject = operation
            .host_keys
            .iter()
            .filter_map(|key| Some(((*key).to_owned(), config.shift_remove(*key)?)))
            .collect();
        check(&mut walk, &self.host, &SchemaView::new(&self.host_schema), &host, "");
        take_parameters(&mut walk, &host, &mut config);
        let connection = connection_name(&mut walk, &host);
        let defaults =
            connection.as_ref().and_then(|name| self.defaults.get(&(entry.connector.clone(), name.clone())));
        let sections =
            connection.as_ref().and_then(|name| self.sections.get(&(entry.connector.clone(), name.clone())));
        check_action(&mut walk, operation, &config, defaults);
        let label = format!("input_schema of {}/{}", entry.connector, entry.name);
        check_input_schema(&mut walk, "/input_schema", config.get("input_schema"), &label);
        let of_tool = host.get("mcp").and_then(|mcp| mcp.get("input_schema"));
        check_input_schema(&mut walk, "/mcp/input_schema", of_tool, &label);
        let (mcp_enabled, mcp_overrides) = mcp(&mut walk, &host);
        if walk.problem_count() == before
            && let Err(error) = check_together(&config, sections)
        {
            walk.report("", error.message.clone(), error.hint.clone());
        }
        self.clear.extend(in_clear(&walk, &config));
        let Entry { connector, name, .. } = entry;
        Ok(connection.map(|connection| ActionDraft {
            connector,
            name,
            connection,
            config,
            mcp_enabled,
            mcp_overrides,
            place: None,
        }))
    }

    /// What is known of the connector of `entry`; an unknown one is reported once per place that names it.
    fn connector(&mut self, entry: &Entry) -> Result<Option<Rc<Connector>>> {
        if let Some(Some(known)) = self.connectors.get(&entry.connector) {
            return Ok(Some(Rc::clone(known)));
        }
        if !self.connectors.contains_key(&entry.connector) {
            if let Some(manifest) = (self.context.manifest)(&entry.connector) {
                let known = Rc::new(Connector::new(manifest)?);
                self.connectors.insert(entry.connector.clone(), Some(Rc::clone(&known)));
                return Ok(Some(known));
            }
            self.connectors.insert(entry.connector.clone(), None);
        }
        if self.unknown_at.insert(entry.kind_at.clone()) {
            let known = || self.context.connectors.iter().map(ConnectorName::as_str);
            let meant = nearest(entry.connector.as_str(), known())
                .map_or(String::new(), |name| format!("; did you mean '{name}'?"));
            let message = format!("there is no connector '{}'{meant}", entry.connector);
            let list: Vec<&str> = known().collect();
            let hint = if list.is_empty() {
                "no connector is installed".into()
            } else {
                format!("there are: {}", list.join(", "))
            };
            match entry.kind_on {
                On::Key => self.problems.key(&entry.kind_at, message, Some(hint)),
                On::Value => self.problems.value(&entry.kind_at, message, Some(hint)),
            }
        }
        Ok(None)
    }

    /// The operation an action is of, which decides how the rest of it reads.
    fn operation<'c>(&mut self, connector: &'c Connector, entry: &Entry) -> Option<&'c Operation> {
        let inner = entry.fields.get("config").and_then(|config| config.get("operation"));
        let (at, named) = match entry.fields.get("operation") {
            Some(named) => ("/operation", Some(named)),
            None => ("/config/operation", inner),
        };
        let text = named.and_then(Value::as_str).map(|text| {
            substitute::fill(text, self.context.env).map_or_else(|_| text.to_owned(), |filled| filled.text)
        });
        let wanted = text.as_deref().unwrap_or(&connector.manifest.default_operation);
        let found = connector.operations.iter().find(|operation| operation.name == wanted);
        if found.is_none() {
            let known = || connector.operations.iter().map(|operation| operation.name.as_str());
            let meant =
                nearest(wanted, known()).map_or(String::new(), |name| format!("; did you mean '{name}'?"));
            let message =
                format!("connector '{}' has no operation '{}'{meant}", entry.connector, shown(wanted));
            let hint = format!("it has: {}", known().collect::<Vec<_>>().join(", "));
            self.problems.value(&format!("{}{at}", entry.at), message, Some(hint));
        }
        found
    }
}

/// The host's sections of an action, and over those of its connection where that is in the same file.
fn check_together(action: &JsonObject, connection: Option<&[JsonObject; 2]>) -> Result<()> {
    let action = ActionParts::of(action)?;
    if let Some([own, defaults]) = connection {
        Policies::of([own, defaults, &action.sections])?;
    }
    Ok(())
}

/// Fields of the host that say the same.
const SAME: &[(&str, &str)] =
    &[("/timeout/total_ms", "/timeout_ms"), ("/retry/max_attempts", "/retry/max_retries")];

/// Reports what is said twice, in two fields.
fn twice(walk: &mut Walk<'_>, config: &JsonObject) {
    let config = Value::Object(config.clone());
    for (section, (one, other)) in
        ["", "/defaults"].into_iter().flat_map(|at| SAME.iter().map(move |two| (at, two)))
    {
        let (one, other) = (format!("{section}{one}"), format!("{section}{other}"));
        let is_set = |pointer: &str| config.pointer(pointer).is_some_and(|value| !value.is_null());
        if is_set(&one) && is_set(&other) {
            let message = format!(
                "'{}' and '{}' are the same",
                shown(&walk.written_key(&other)),
                shown(&walk.written_key(&one))
            );
            walk.report(&other, message, Some("keep one of the two".into()));
        }
    }
}

/// A credential of the connection's own beside a stored one.
fn refuse_two_credentials(walk: &mut Walk<'_>, config: &JsonObject) {
    let own = config.get("authorization").and_then(|section| section.get("type"));
    if own.is_some_and(|kind| kind != "none") && config.get("auth_ref").is_some_and(Value::is_string) {
        let key = shown(&walk.written_key("/authorization"));
        let message = format!("a connection has either '{key}' or 'auth_ref', not both");
        walk.report("/auth_ref", message, Some("keep one of the two".into()));
    }
}

/// What is about requests has no effect on byte streams, and who wrote it thinks it has.
fn refuse_policies_of_http(walk: &mut Walk<'_>, config: &JsonObject, manifest: &Manifest) {
    if manifest.needs(Capability::Http) || !manifest.needs(Capability::Sockets) {
        return;
    }
    let defaults = config.get("defaults").and_then(Value::as_object);
    for (at, section) in [("", Some(config)), ("/defaults", defaults)] {
        for key in ["retry", "http_policy"] {
            if section.and_then(|section| section.get(key)).is_some_and(|value| !value.is_null()) {
                let at = format!("{at}/{key}");
                let message = format!(
                    "'{}' is for requests over HTTP, and '{}' sends none",
                    shown(&walk.written_key(&at)),
                    manifest.name
                );
                let hint = "take it out; a connection that breaks is opened anew by itself where nothing is done twice";
                walk.report(&at, message, Some(hint.into()));
            }
        }
    }
}

/// Reports every mismatch of `config`, which lies at `at` of the entry.
fn check(walk: &mut Walk<'_>, schema: &Schema, view: &SchemaView<'_>, config: &JsonObject, at: &str) {
    check_own(walk, schema, view, config, at, |_| true);
}

/// Reports the mismatches of `config` at the pointers that are the entry's `own`: one per value, but every field that
/// is missing.
fn check_own(
    walk: &mut Walk<'_>,
    schema: &Schema,
    view: &SchemaView<'_>,
    config: &JsonObject,
    at: &str,
    own: impl Fn(&str) -> bool,
) {
    let mut config = config.clone();
    let mut references = Vec::new();
    visit_secrets(&mut config, view, &mut |pointer, value| {
        if SecretRef::from_json(value).is_some() {
            *value = "reference".into();
            references.push(pointer.to_owned());
        }
    });
    let config = Value::Object(config);
    if schema.accepts(&config) {
        return;
    }
    let mut seen = HashSet::new();
    for mismatch in schema.mismatches(&config) {
        let pointer = format!("{at}{}", mismatch.pointer);
        let is_required = mismatch.message.contains("required property");
        if !own(&mismatch.pointer) || (!is_required && !seen.insert(mismatch.pointer.clone())) {
            continue;
        }
        // What a reference stands for is not known yet, and what failed in the pass need not fit.
        if references.contains(&mismatch.pointer) || (!is_required && walk.failed_within(&pointer)) {
            continue;
        }
        let found = config.pointer(&mismatch.pointer);
        let (said, hint) = advice(&mismatch, found, view);
        let message = if pointer.is_empty() {
            said
        } else {
            format!("'{}': {said}", shown(&walk.written_key(&pointer)))
        };
        walk.report(&pointer, message, hint);
    }
}

/// The message of a mismatch, and what to do about it.
pub(crate) fn advice(
    mismatch: &Mismatch,
    found: Option<&Value>,
    view: &SchemaView<'_>,
) -> (String, Option<String>) {
    let mut message = mismatch.message.clone();
    let is_scalar = found.is_some_and(|value| value.is_number() || value.is_boolean());
    if is_scalar && message.contains("of type") && message.contains("\"string\"") {
        return (message, Some("put the value in quotes".to_owned()));
    }
    let Some(view) = view.at(&mismatch.pointer) else { return (message, None) };
    let (choices, needed) = (view.choices(), view.at_least_one_of());
    match found {
        Some(Value::String(text)) if !choices.is_empty() && !choices.contains(&text.as_str()) => {
            if let Some(meant) = nearest(text, choices.iter().copied()) {
                message.push_str(&format!("; did you mean '{meant}'?"));
            }
            (message, Some(format!("one of {}", choices.join(", "))))
        }
        Some(Value::Object(object)) if needed.iter().all(|name| !object.contains_key(*name)) => {
            if !needed.is_empty() {
                message = format!("set {}", needed.join(" or "));
            }
            (message, None)
        }
        _ => (message, None),
    }
}

/// An action is checked as it will run: merged over the defaults of its connection. Where those are not known,
/// nothing can be said to be missing.
fn check_action(
    walk: &mut Walk<'_>,
    operation: &Operation,
    config: &JsonObject,
    defaults: Option<&JsonObject>,
) {
    let view = SchemaView::new(&operation.config_schema);
    refuse_clear_secrets(walk, config, &view, "");
    match defaults {
        Some(defaults) => {
            let mut merged = defaults.clone();
            merge(&mut merged, config, &view);
            // What the defaults hold was checked with them.
            let whole = Value::Object(config.clone());
            check_own(walk, &operation.config, &view, &merged, "", |pointer| {
                whole.pointer(pointer).is_some()
            });
        }
        None => check(walk, &operation.part, &view, &without_nulls(config, &view), ""),
    }
}

/// `part` without the nulls that delete when it is merged.
fn without_nulls(part: &JsonObject, view: &SchemaView<'_>) -> JsonObject {
    let mut merged = JsonObject::new();
    merge(&mut merged, part, view);
    merged
}

/// Only a connection's own fields are sealed; elsewhere a secret may only be referred to.
fn refuse_clear_secrets(walk: &mut Walk<'_>, config: &JsonObject, view: &SchemaView<'_>, at: &str) {
    let mut clear = Vec::new();
    visit_secrets(&mut config.clone(), view, &mut |pointer, value| {
        if SecretRef::from_json(value).is_none() {
            clear.push(format!("{at}{pointer}"));
        }
    });
    for pointer in clear {
        walk.report(
            &pointer,
            "a secret must not be written here in clear",
            Some("refer to it: {\"$env\": \"VARIABLE\"}".into()),
        );
    }
}

/// Where in the file something stands in clear that looks like a secret: each header once, whatever it has of values.
fn in_clear(walk: &Walk<'_>, config: &JsonObject) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    visit_clear(&mut config.clone(), &mut |pointer, _| {
        let names = if pointer.starts_with("/defaults/") { 3 } else { 2 };
        let end = pointer.match_indices('/').nth(names).map_or(pointer.len(), |(end, _)| end);
        let at = walk.source(pointer.get(..end).unwrap_or(pointer));
        if !found.contains(&at) {
            found.push(at);
        }
    });
    found
}

/// `parameters` become `input_schema`, unless that is there. Those that are a field of the connector's own, which has to
/// know their order, stay there too.
fn take_parameters(walk: &mut Walk<'_>, host: &JsonObject, config: &mut JsonObject) {
    let named = |item: &Value| item.get("name").is_some_and(Value::is_string);
    let own = config.get("parameters").and_then(Value::as_array).filter(|list| list.iter().all(named));
    let own = own.filter(|list| !list.is_empty()).map(|list| Value::Array(list.iter().map(needed).collect()));
    let Some(Value::Array(list)) = host.get("parameters").or(own.as_ref()) else {
        return;
    };
    let (schema, twice) = parameters::input_schema(list);
    for name in twice {
        walk.report("/parameters", format!("parameter '{}' is there twice", shown(&name)), None);
    }
    if !config.contains_key("input_schema") && !walk.failed_within("/parameters") {
        match Schema::compile(&schema, "the schema of the parameters") {
            Ok(_) => drop(config.insert("input_schema".into(), schema)),
            Err(error) => walk.report("/parameters", error.message.clone(), None),
        }
    }
}

/// A connector's own parameter has to be given unless it says otherwise or has a default.
fn needed(parameter: &Value) -> Value {
    let mut parameter = parameter.clone();
    if let Some(fields) = parameter.as_object_mut()
        && !fields.contains_key("default")
    {
        fields.entry("required").or_insert(Value::Bool(true));
    }
    parameter
}

fn check_input_schema(walk: &mut Walk<'_>, pointer: &str, schema: Option<&Value>, label: &str) {
    let Some(schema) = schema.filter(|schema| schema.is_object() && !walk.failed_within(pointer)) else {
        return;
    };
    if let Err(error) = Schema::compile(schema, label) {
        walk.report(pointer, error.message.clone(), None);
    }
}

fn connection_name(walk: &mut Walk<'_>, host: &JsonObject) -> Option<Name> {
    let text = host.get("connection")?.as_str()?;
    match text.parse() {
        Ok(name) => Some(name),
        Err(_) => {
            let message = format!("'{}' is not the name of a connection", shown(text));
            walk.report(
                "/connection",
                message,
                Some("write its name alone, without connector or version".into()),
            );
            None
        }
    }
}

fn mcp(walk: &mut Walk<'_>, host: &JsonObject) -> (bool, Option<Value>) {
    let mut overrides = host.get("mcp").and_then(Value::as_object).cloned().unwrap_or_default();
    let inner = overrides.shift_remove("enabled").and_then(|value| value.as_bool());
    let outer = host.get("mcp_enabled").and_then(Value::as_bool);
    if matches!((inner, outer), (Some(inner), Some(outer)) if inner != outer) {
        walk.report(
            "/mcp_enabled",
            "'mcp_enabled' and 'mcp.enabled' differ",
            Some("keep one of the two".into()),
        );
    }
    let enabled = inner.or(outer).unwrap_or(false);
    (enabled, (!overrides.is_empty()).then_some(Value::Object(overrides)))
}
