//! What an action takes and gives, for those who call it without having written it: a model, a generated client.
//!
//! The input's schema is the action's own, else what a check found of it (`inputs`), else the operation's with what the
//! connector's annotations (decision 0003) let the host know beside it: the variables in the action's texts, and the keys
//! that a caller may set.
//! Invariant: only what the caller may run is described, and asking for the rest by name is `forbidden`.

use std::{collections::HashMap, sync::Arc};

use openact_core::{
    ActionTrn, ConnectionTrn, ConnectorName, Error, JsonObject, Result, Tenant,
    action::{ActionParts, ActionRecord},
    connection::{ConnectionParts, ConnectionRecord},
    governance::Governance,
    manifest::{Capability, Effect, Manifest, Operation},
    schema::SchemaView,
    trn::{Action, Reference},
};
use openact_store::{ConnectionFilter, connectors::digest_of};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::{
    OpenAct, execute::forbidden, find::find, inputs::Inputs, prepared::effective_action, template::Kind,
};

/// An action as its callers see it.
#[derive(Clone, Debug, PartialEq)]
pub struct Interface {
    /// Which version.
    pub action: ActionTrn,
    /// What it runs over.
    pub connection: ConnectionTrn,
    /// What it does: in the words of whoever wrote the action, else of its connector.
    pub description: Option<String>,
    /// The effect on the other system.
    pub effect: Effect,
    /// Whether running it twice is the same as running it once.
    pub idempotent: bool,
    /// Whether it may stream items.
    pub streams: bool,
    /// JSON Schema of the input: of an object, and without references that lead outside of it.
    pub input_schema: Value,
    /// JSON Schema of the result, where it is known.
    pub output_schema: Option<Value>,
    /// Whether it is an MCP tool.
    pub mcp_enabled: bool,
    /// Name and description of the tool, where they differ.
    pub mcp_overrides: Option<Value>,
}

impl OpenAct {
    /// The action that `reference` (in any form) names, as a caller under `governance` sees it.
    pub async fn interface(
        &self,
        tenant: &Tenant,
        reference: &str,
        governance: &Governance,
    ) -> Result<Interface> {
        let record = find(&self.0, tenant, &reference.parse::<Reference<Action>>()?, governance).await?;
        if !governance.allows(&record.trn) {
            return Err(forbidden(&record.trn));
        }
        let connection = self.0.store.get_connection(&record.connection).await?;
        let connection = connection.ok_or_else(|| {
            let (action, connection) = (record.trn.short(), record.connection.short());
            Error::not_found(format!("{action} refers to {connection}, which does not exist"))
        })?;
        let kind = self.0.catalog.connector(&self.0, &record.trn.connector).await?;
        let inputs = self.0.snapshot.inputs(&self.0, &kind.component, &connection.trn).await;
        Interface::of(record, connection, &kind, &inputs)
    }

    /// The latest version of every action of a tenant that a caller under `governance` may run, by connector and name. One
    /// that cannot be called as it is stored is left out, with a warning in the log.
    pub async fn interfaces(&self, tenant: &Tenant, governance: &Governance) -> Result<Vec<Interface>> {
        let mut actions = self.list_actions(tenant, None, None).await?;
        actions.retain(|record| governance.allows(&record.trn));
        self.interfaces_of(tenant, actions).await
    }

    /// The same of these actions of a tenant, which the caller may run.
    pub async fn interfaces_of(&self, tenant: &Tenant, actions: Vec<ActionRecord>) -> Result<Vec<Interface>> {
        let all = self.0.store.find_connections(tenant, &ConnectionFilter::default()).await?;
        let all: HashMap<ConnectionTrn, ConnectionRecord> =
            all.into_iter().map(|record| (record.trn.clone(), record)).collect();
        let mut kinds: HashMap<ConnectorName, Arc<Kind>> = HashMap::new();
        let mut found = Vec::with_capacity(actions.len());
        for record in actions {
            let (name, short) = (record.trn.connector.clone(), record.trn.short());
            if !kinds.contains_key(&name) {
                match self.0.catalog.connector(&self.0, &name).await {
                    Ok(kind) => drop(kinds.insert(name.clone(), kind)),
                    Err(error) => tracing::warn!("the actions of '{name}' cannot be called: {error:?}"),
                }
            }
            let (Some(kind), Some(connection)) = (kinds.get(&name), all.get(&record.connection)) else {
                continue;
            };
            let inputs = self.0.snapshot.inputs(&self.0, &kind.component, &connection.trn).await;
            match Interface::of(record, connection.clone(), kind, &inputs) {
                Ok(interface) => found.push(interface),
                Err(error) => tracing::warn!("{short} cannot be called as it is: {error:?}"),
            }
        }
        Ok(found)
    }

    /// Tells of every change of configuration, by this process or another: what was listed before may be another now.
    pub fn config_changes(&self) -> watch::Receiver<u64> {
        self.0.snapshot.changes()
    }
}

impl Interface {
    /// `sha256:…` of the input's schema as JSON without spaces and with its keys in order, so that only another schema has
    /// another one.
    pub fn input_schema_digest(&self) -> String {
        let mut schema = self.input_schema.clone();
        schema.sort_all_objects();
        digest_of(schema.to_string().as_bytes()).to_string()
    }

    fn of(record: ActionRecord, connection: ConnectionRecord, kind: &Kind, inputs: &Inputs) -> Result<Self> {
        let said = record.config.get("operation").and_then(Value::as_str);
        // A template may say more of its operation than what that is made of.
        let named = kind.manifest().operation(said)?.clone();
        let (action, connection) = kind.expand(record, connection)?;
        let manifest = kind.component.manifest();
        let parts = ActionParts::of(&action.config)?;
        let operation = manifest.operation(parts.operation.as_deref())?;
        let effective =
            effective_action(&ConnectionParts::of(&connection.config, manifest)?, &parts, operation);
        let (effect, idempotent) = match (named.effect, named.idempotent) {
            of_operation if of_operation == (operation.effect, operation.idempotent) => {
                effect_of(operation, &effective)
            }
            of_template => of_template,
        };
        let description = parts.description.or(Some(named.summary)).filter(|text| !text.is_empty());
        let found = || inputs.of(operation, &effective).map(|input| input.schema);
        let input_schema = parts.input_schema.or_else(found);
        let input_schema = input_schema.unwrap_or_else(|| derived_schema(operation, &effective));
        Ok(Self {
            action: action.trn,
            connection: connection.trn,
            description,
            effect,
            idempotent,
            streams: streams(manifest),
            input_schema: object_schema(input_schema)?,
            output_schema: named.output_schema,
            mcp_enabled: action.mcp_enabled,
            mcp_overrides: action.mcp_overrides,
        })
    }
}

fn streams(manifest: &Manifest) -> bool {
    manifest.needs(Capability::Emit)
}

/// The operation's, unless a value of the action says otherwise (`x-effect`): of HTTP it is the method.
fn effect_of(operation: &Operation, action: &JsonObject) -> (Effect, bool) {
    let view = SchemaView::new(&operation.action_schema);
    let told = view.property_names().find_map(|name| {
        let property = view.property(name)?;
        let by_value = property.annotation("x-effect")?;
        let value = action.get(name).or_else(|| property.annotation("default"))?;
        let said = by_value.get(value.as_str()?)?;
        let effect = serde_json::from_value(said.get("effect")?.clone()).ok()?;
        Some((effect, said.get("idempotent").and_then(Value::as_bool).unwrap_or(false)))
    });
    told.unwrap_or((operation.effect, operation.idempotent))
}

/// The operation's input schema with the variables that the action needs, and the keys that a caller may set.
fn derived_schema(operation: &Operation, action: &JsonObject) -> Value {
    let mut schema = operation.input_schema.clone();
    let Value::Object(fields) = &mut schema else { return schema };
    let mut properties = match fields.get("properties") {
        Some(Value::Object(own)) => own.clone(),
        _ => JsonObject::new(),
    };
    let mut required: Vec<Value> = match fields.get("required") {
        Some(Value::Array(own)) => own.clone(),
        _ => Vec::new(),
    };
    let view = SchemaView::new(&operation.action_schema);
    // What it leaves out may have a text by default.
    let left_out = view.property_names().filter(|key| !action.contains_key(*key));
    for key in action.keys().map(String::as_str).chain(left_out) {
        let Some(property) = view.property(key) else { continue };
        let value = action.get(key).or_else(|| property.annotation("default"));
        let form = property.annotation("x-variables").and_then(Value::as_str);
        let (Some(value), Some(form)) = (value, form) else { continue };
        for variable in variables(value, form) {
            let is_new = !properties.contains_key(&variable.name);
            if is_new {
                properties.insert(variable.name.clone(), variable.schema(key));
            }
            let name = Value::from(variable.name);
            if is_new && variable.is_needed && !required.contains(&name) {
                required.push(name);
            }
        }
    }
    for key in &operation.overridable {
        if let (Some(property), false) =
            (settable(&operation.action_schema, key), properties.contains_key(key))
        {
            properties.insert(key.clone(), property);
        }
    }
    if !properties.is_empty() {
        fields.insert("properties".into(), properties.into());
    }
    if !required.is_empty() {
        fields.insert("required".into(), required.into());
    }
    schema
}

/// A key of the action as one of the input, without what is the host's to know of it.
fn settable(action_schema: &Value, key: &str) -> Option<Value> {
    let mut property = action_schema.get("properties")?.get(key)?.clone();
    if let Value::Object(fields) = &mut property {
        fields.retain(|name, _| !name.starts_with("x-") && name != "default");
    }
    // What it refers to is not in the input's schema.
    Some(if refers(&property, &|_| true) { json!({}) } else { property })
}

/// A name between braces in an action's text.
pub(crate) struct Variable {
    pub(crate) name: String,
    /// In the text of a path: one value. Elsewhere it may be anything.
    is_scalar: bool,
    pub(crate) is_needed: bool,
}

impl Variable {
    pub(crate) fn schema(&self, key: &str) -> Value {
        let description = format!("for the action's {key}");
        match self.is_scalar {
            true => json!({ "type": ["string", "number", "boolean"], "description": description }),
            false => json!({ "description": description }),
        }
    }
}

/// The variables in the texts of `value`, once each: `{name}` and `{+name}`, or `{{name}}` and `{{name?}}`; or in a list of
/// arguments, `[{{name}}]`, or in several lists.
pub(crate) fn variables(value: &Value, form: &str) -> Vec<Variable> {
    let mut found = Vec::new();
    match form {
        "{name}" => add_texts(&mut found, value, ("{", "}"), true),
        "{{name}}" => add_texts(&mut found, value, DOUBLE, true),
        "[{{name}}]" => add_arguments(&mut found, value),
        "[[{{name}}]]" => {
            value.as_array().into_iter().flatten().for_each(|list| add_arguments(&mut found, list));
        }
        _ => {}
    }
    found
}

const DOUBLE: (&str, &str) = ("{{", "}}");

/// Of a list of arguments, a list within it is left out if a variable of it is missing, and at the end an option and its
/// value are. So what comes after a word that follows a variable may be missing, as far as one can see from here.
fn add_arguments(found: &mut Vec<Variable>, list: &Value) {
    let (mut has_variable, mut is_needed) = (false, true);
    for item in list.as_array().into_iter().flatten() {
        match item {
            Value::String(text) if add_variables(found, text, DOUBLE, is_needed) => has_variable = true,
            Value::String(_) => is_needed &= !has_variable,
            group => add_texts(found, group, DOUBLE, false),
        }
    }
}

fn add_texts(found: &mut Vec<Variable>, value: &Value, braces: (&str, &str), is_needed: bool) {
    visit_texts(value, &mut |text| {
        add_variables(found, text, braces, is_needed);
    });
}

/// Adds the variables of `text`; whether it has any.
fn add_variables(
    found: &mut Vec<Variable>,
    text: &str,
    (open, close): (&str, &str),
    is_needed: bool,
) -> bool {
    let mut has_any = false;
    // Four braces stand for two.
    for piece in text.replace("{{{{", "").split(open).skip(1) {
        let Some((inner, _)) = piece.split_once(close) else { continue };
        let inner = inner.trim();
        let name = inner.trim_start_matches('+').trim_end_matches('?');
        // Of a name with dots, the first part is the input's own.
        let name = name.split('.').next().unwrap_or_default();
        let is_name = |b: u8| b.is_ascii_alphanumeric() || b"_-".contains(&b);
        if name.is_empty() || !name.bytes().all(is_name) {
            continue;
        }
        has_any = true;
        let is_needed = is_needed && !inner.ends_with('?');
        match found.iter_mut().find(|other| other.name == name) {
            Some(other) => other.is_needed |= is_needed,
            None => found.push(Variable { name: name.to_owned(), is_scalar: open == "{", is_needed }),
        }
    }
    has_any
}

fn visit_texts(value: &Value, visit: &mut dyn FnMut(&str)) {
    match value {
        Value::String(text) => visit(text),
        Value::Array(items) => items.iter().for_each(|item| visit_texts(item, visit)),
        Value::Object(fields) => fields.values().for_each(|field| visit_texts(field, visit)),
        _ => {}
    }
}

/// The schema as one of an object. One that refers to something elsewhere describes nothing to somebody who, rightly, does
/// not fetch it.
pub(crate) fn object_schema(schema: Value) -> Result<Value> {
    let elsewhere = |target: &str| !target.starts_with('#');
    if refers(&schema, &elsewhere) {
        return Err(Error::invalid_config("the input schema refers to something outside of it")
            .hint("put it under $defs of the schema and write {\"$ref\": \"#/$defs/NAME\"}"));
    }
    let Value::Object(mut fields) = schema else {
        return Ok(json!({ "type": "object" }));
    };
    if fields.get("type").and_then(Value::as_str) != Some("object") {
        fields.insert("type".into(), "object".into());
    }
    Ok(Value::Object(fields))
}

/// Whether a reference that `is_such` is anywhere in the schema.
fn refers(schema: &Value, is_such: &dyn Fn(&str) -> bool) -> bool {
    match schema {
        Value::Object(fields) => fields.iter().any(|(key, value)| match (key.as_str(), value) {
            ("$ref" | "$dynamicRef", Value::String(target)) => is_such(target),
            ("const" | "enum" | "default" | "examples", _) => false,
            (_, value) => refers(value, is_such),
        }),
        Value::Array(items) => items.iter().any(|item| refers(item, is_such)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Format;

    const CONFIG: &str = r#"{"connectors": {"http": {
        "connections": {"api": {"base_url": "http://127.0.0.1:1", "defaults": {"headers": {"x-team": "{{team}}"}}}},
        "actions": {
            "get": {"connection": "api", "path": "/users/{id}/files/{+path}?since={since}", "description": "a user",
                "mcp": {"enabled": true, "tool_name": "get_user"}},
            "post": {"connection": "api", "method": "POST", "path": "/users",
                "body": {"name": "{{user.name}}", "note": "{{note?}}", "braces": "{{{{", "all": ["{{user}}"]}},
            "own": {"connection": "api", "method": "DELETE", "path": "/users/{id}",
                "input_schema": {"properties": {"id": {"type": "integer"}}, "required": ["id"]}}
        }}}}"#;

    async fn openact() -> OpenAct {
        OpenAct::builder().without_cache().config_text(CONFIG, Format::Json).build().await.unwrap()
    }

    fn governance(allow: &[&str], deny: &[&str]) -> Governance {
        let patterns = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        Governance { allow: patterns(allow), deny: patterns(deny) }
    }

    #[tokio::test]
    async fn an_action_is_described_by_what_its_caller_may_send() {
        let openact = openact().await;
        let (tenant, all) = (Tenant::default(), Governance::default());
        let listed = openact.interfaces(&tenant, &all).await.unwrap();
        let names: Vec<&str> = listed.iter().map(|interface| interface.action.name.as_str()).collect();
        assert_eq!(names, ["get", "own", "post"]);
        let [get, own, post] = &listed[..] else { panic!("three actions") };

        assert_eq!(
            (get.effect, get.idempotent, get.streams, get.mcp_enabled),
            (Effect::Read, true, true, true)
        );
        assert_eq!(get.description.as_deref(), Some("a user"));
        assert_eq!(get.mcp_overrides, Some(json!({ "tool_name": "get_user" })));
        assert_eq!(get.input_schema["type"], "object");
        let mut required: Vec<&str> =
            get.input_schema["required"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        required.sort_unstable();
        assert_eq!(required, ["id", "path", "since", "team"]);
        assert_eq!(get.input_schema["properties"]["id"]["type"], json!(["string", "number", "boolean"]));
        for key in ["headers", "query", "cookies", "body"] {
            assert!(get.input_schema["properties"][key].is_object(), "{key}");
        }

        assert_eq!((post.effect, post.idempotent), (Effect::Write, false));
        assert_eq!(
            post.input_schema["required"],
            json!(["team", "user"]),
            "what may be missing is not needed"
        );
        assert!(post.input_schema["properties"]["note"].is_object());
        assert!(post.description.is_some(), "the operation's");

        assert_eq!((own.effect, own.idempotent), (Effect::Destructive, true));
        let written =
            json!({"properties": {"id": {"type": "integer"}}, "required": ["id"], "type": "object"});
        assert_eq!(own.input_schema, written);
        for interface in &listed {
            let reference = interface.action.to_string();
            assert_eq!(openact.interface(&tenant, &reference, &all).await.unwrap(), *interface);
            openact_core::schema::Schema::compile(&interface.input_schema, "it").unwrap();
        }
    }

    #[tokio::test]
    async fn templates_of_every_connector_are_in_the_schema_of_the_input() {
        let actions = json!({
            "redis": {
                "set": {"command": ["SET", "user:{{id}}", "{{value}}", "EX", "{{ttl}}"]},
                "group": {"command": ["ZADD", "{{key}}", ["{{flag}}", "{{more}}"], 1, "{{members...}}"]},
                "several": {"pipeline": [["GET", "{{one}}"], ["SET", "{{two}}", "x", "{{three}}"]]},
                "script": {"script": "return 1", "keys": ["{{key}}"], "args": ["{{arg?}}"]},
                "scan": {"operation": "scan", "match": "{{prefix}}*", "cursor": "{{cursor?}}"},
            },
            "mongodb": {
                "find": {"collection": "c", "filter": {"name": {"$eq": "{{user.name}}"}}, "limit": "{{limit?}}",
                    "sort": {"at": "{{order}}"}},
                "insert": {"operation": "insert", "collection": "c", "document": "{{document}}"},
                "change": {"operation": "update", "collection": "c", "filter": {"_id": "{{id}}"},
                    "update": {"$set": {"a": ["{{value}}"]}}},
                "stages": {"operation": "aggregate", "pipeline": [{"$match": {"a": "{{a}}"}}]},
                "any": {"operation": "run-command", "command": {"dbStats": 1, "scale": "{{scale}}"}},
            },
        });
        let mut config = json!({ "connectors": {} });
        for (connector, actions) in actions.as_object().unwrap() {
            let mut actions = actions.clone();
            for action in actions.as_object_mut().unwrap().values_mut() {
                action["connection"] = "c".into();
            }
            let connections = json!({ "c": { "host": "127.0.0.1", "database": "0" } });
            config["connectors"][connector] = json!({ "connections": connections, "actions": actions });
        }
        let builder = OpenAct::builder().without_cache().config_text(config.to_string(), Format::Json);
        let openact = builder.build().await.unwrap();
        let all = Governance::default();
        for (action, expected) in [
            ("redis/set", &["id!", "ttl", "value!"][..]),
            ("redis/group", &["flag", "key!", "members!", "more"]),
            ("redis/several", &["one!", "three", "two!"]),
            ("redis/script", &["arg", "key!"]),
            ("redis/scan", &["cursor", "prefix!"]),
            ("mongodb/find", &["limit", "order!", "user!"]),
            ("mongodb/insert", &["document!"]),
            ("mongodb/change", &["id!", "value!"]),
            ("mongodb/stages", &["a!"]),
            ("mongodb/any", &["scale!"]),
        ] {
            let schema = openact.interface(&Tenant::default(), action, &all).await.unwrap().input_schema;
            let required = schema["required"].as_array().cloned().unwrap_or_default();
            let mut found: Vec<String> = schema["properties"]
                .as_object()
                .unwrap_or_else(|| panic!("{action}: {schema}"))
                .keys()
                .cloned()
                .collect();
            found.sort();
            let is_needed = |name: &String| required.contains(&Value::from(name.as_str()));
            let found: Vec<String> = found
                .into_iter()
                .map(|name| if is_needed(&name) { format!("{name}!") } else { name })
                .collect();
            assert_eq!(found, expected, "{action}: {schema}");
        }
    }

    #[tokio::test]
    async fn the_digest_of_a_schema_is_of_what_it_says() {
        let openact = openact().await;
        let (tenant, all) = (Tenant::default(), Governance::default());
        let one = openact.interface(&tenant, "own", &all).await.unwrap();
        let digest = one.input_schema_digest();
        assert!(digest.starts_with("sha256:") && digest.len() == 71, "{digest}");
        let turned = json!({"type": "object", "required": ["id"], "properties": {"id": {"type": "integer"}}});
        assert_ne!(turned.to_string(), one.input_schema.to_string());
        assert_eq!(Interface { input_schema: turned, ..one.clone() }.input_schema_digest(), digest);
        let other = json!({"type": "object", "properties": {"id": {"type": "integer"}}});
        assert_ne!(Interface { input_schema: other, ..one }.input_schema_digest(), digest);
    }

    #[tokio::test]
    async fn m7_what_is_not_allowed_is_not_listed_nor_named() {
        let openact = openact().await;
        let tenant = Tenant::default();
        let some = governance(&["http.*"], &["http.post"]);
        let listed = openact.interfaces(&tenant, &some).await.unwrap();
        let names: Vec<&str> = listed.iter().map(|interface| interface.action.name.as_str()).collect();
        assert_eq!(names, ["get", "own"]);
        for reference in ["post", "http/post", "http.post", "trn:openact:default:action/http/post@v1"] {
            let error = openact.interface(&tenant, reference, &some).await.unwrap_err();
            assert_eq!(error.code, openact_core::ErrorCode::Forbidden, "{reference}");
        }
        for (wrong, hint) in [("http/pots", None), ("http/gett", Some("did you mean 'http/get'?"))] {
            let error = openact.interface(&tenant, wrong, &some).await.unwrap_err();
            assert_eq!(error.code, openact_core::ErrorCode::NotFound);
            assert!(
                hint.is_none_or(|hint| error.hint.as_deref() == Some(hint)),
                "{error:?} {:?}",
                error.hint
            );
            assert!(!error.to_json().to_string().contains("http/post"), "{error:?}");
        }
    }

    #[tokio::test]
    async fn m7_an_ambiguous_name_tells_of_what_the_caller_may_run_alone() {
        let of = |connection: Value, action: Value| json!({"connections": {"c": connection}, "actions": {"get": action}});
        let config = json!({"connectors": {
            "http": of(json!({"base_url": "http://127.0.0.1:1"}), json!({"connection": "c"})),
            "redis": of(json!({"host": "127.0.0.1"}), json!({"connection": "c", "command": ["GET", "k"]})),
        }});
        let builder = OpenAct::builder().without_cache().config_text(config.to_string(), Format::Json);
        let openact = builder.build().await.unwrap();
        for (deny, named) in [
            (&[][..], &["http/get", "redis/get"][..]),
            (&["redis.*"], &["http/get"]),
            (&["http.*", "*.get"], &[]),
        ] {
            let governance = governance(&[], deny);
            let told = openact.interface(&Tenant::default(), "get", &governance).await.unwrap_err();
            let told = told.to_json().to_string();
            for action in ["http/get", "redis/get"] {
                assert_eq!(told.contains(action), named.contains(&action), "{deny:?}: {told}");
            }
        }
    }

    #[tokio::test]
    async fn m8_another_tenants_action_is_not_found() {
        let openact = openact().await;
        let (other, all): (Tenant, _) = ("other".parse().unwrap(), Governance::default());
        assert!(openact.interfaces(&other, &all).await.unwrap().is_empty());
        for reference in ["get", "http/get", "trn:openact:default:action/http/get@v1"] {
            let error = openact.interface(&other, reference, &all).await.unwrap_err();
            assert_eq!(error.code, openact_core::ErrorCode::NotFound, "{reference}");
        }
    }

    #[tokio::test]
    async fn a_change_of_configuration_is_told() {
        let openact = openact().await;
        let mut changes = openact.config_changes();
        changes.mark_unchanged();
        openact
            .import_text(
                "more",
                CONFIG,
                Format::Json,
                &crate::ImportOptions { versioning: crate::Versioning::AlwaysBump, ..Default::default() },
            )
            .await
            .unwrap();
        assert!(changes.has_changed().unwrap());
    }

    #[test]
    fn m4_a_schema_that_leads_elsewhere_is_not_handed_out() {
        let remote = json!({"properties": {"a": {"$ref": "http://127.0.0.1:9/x"}}});
        assert!(object_schema(remote).is_err());
        let local =
            json!({"$ref": "#/$defs/a", "$defs": {"a": {}}, "default": {"$ref": "http://127.0.0.1:9/x"}});
        assert!(object_schema(local).is_ok());
    }
}
