//! What an action takes and gives, for those who call it without having written it: a model, a generated client.
//!
//! The input's schema is the action's own, else the operation's with what the connector's annotations (decision 0003) let the
//! host know beside it: the variables in the action's texts, and the keys that a caller may set.
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
use openact_store::ConnectionFilter;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::{OpenAct, execute::forbidden, find::find, prepared::effective_action, template::Kind};

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
        Interface::of(record, connection, &kind)
    }

    /// The latest version of every action of a tenant that a caller under `governance` may run, by connector and name. One
    /// that cannot be called as it is stored is left out, with a warning in the log.
    pub async fn interfaces(&self, tenant: &Tenant, governance: &Governance) -> Result<Vec<Interface>> {
        let mut actions = self.list_actions(tenant, None, None).await?;
        actions.retain(|record| governance.allows(&record.trn));
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
            match Interface::of(record, connection.clone(), kind) {
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
    fn of(record: ActionRecord, connection: ConnectionRecord, kind: &Kind) -> Result<Self> {
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
        let input_schema = parts.input_schema.unwrap_or_else(|| derived_schema(operation, &effective));
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
    for (key, value) in action {
        let Some(form) = view.property(key).and_then(|view| view.annotation("x-variables")?.as_str()) else {
            continue;
        };
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
struct Variable {
    name: String,
    /// In the text of a path: one value. Elsewhere it may be anything.
    is_scalar: bool,
    is_needed: bool,
}

impl Variable {
    fn schema(&self, key: &str) -> Value {
        let description = format!("for the action's {key}");
        match self.is_scalar {
            true => json!({ "type": ["string", "number", "boolean"], "description": description }),
            false => json!({ "description": description }),
        }
    }
}

/// The variables in the texts of `value`, once each: `{name}` and `{+name}`, or `{{name}}` and `{{name?}}`.
fn variables(value: &Value, form: &str) -> Vec<Variable> {
    let (open, close) = match form {
        "{name}" => ("{", "}"),
        "{{name}}" => ("{{", "}}"),
        _ => return Vec::new(),
    };
    let mut found: Vec<Variable> = Vec::new();
    let mut add = |inner: &str| {
        let inner = inner.trim();
        let name = inner.trim_start_matches('+').trim_end_matches('?');
        // Of a name with dots, the first part is the input's own.
        let name = name.split('.').next().unwrap_or_default();
        let is_name = |b: u8| b.is_ascii_alphanumeric() || b"_-".contains(&b);
        if name.is_empty() || !name.bytes().all(is_name) {
            return;
        }
        let is_needed = !inner.ends_with('?');
        match found.iter_mut().find(|other| other.name == name) {
            Some(other) => other.is_needed |= is_needed,
            None => found.push(Variable { name: name.to_owned(), is_scalar: open == "{", is_needed }),
        }
    };
    visit_texts(value, &mut |text| {
        // Four braces stand for two.
        for piece in text.replace("{{{{", "").split(open).skip(1) {
            if let Some((inner, _)) = piece.split_once(close) {
                add(inner);
            }
        }
    });
    found
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
fn object_schema(schema: Value) -> Result<Value> {
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
