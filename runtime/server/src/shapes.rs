//! The shapes of what is read and answered, as types: from these comes the OpenAPI document.
//!
//! Invariant: what is read refuses fields it does not know; what is answered is made of these types wherever it is not a record
//! that another crate writes.

use std::collections::HashMap;

use openact::{ErrorCode, Interface, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{
    IntoParams, ToSchema,
    openapi::{Object, ObjectBuilder, Type},
};

/// An answer that succeeded.
#[derive(Serialize, ToSchema)]
pub(crate) struct Envelope<T> {
    /// Always true.
    #[schema(example = true)]
    success: bool,
    data: T,
    metadata: Metadata,
}

/// An answer that failed.
#[derive(Serialize, ToSchema)]
pub(crate) struct FailureEnvelope {
    /// Always false.
    #[schema(example = false)]
    success: bool,
    error: ErrorShape,
    metadata: Metadata,
}

/// Why it failed.
#[derive(Serialize, ToSchema)]
#[schema(as = Error)]
pub(crate) struct ErrorShape {
    /// The stable code.
    #[schema(schema_with = codes)]
    code: String,
    /// What happened.
    message: String,
    /// Whether the same request may succeed later.
    retryable: bool,
    /// What to do about it.
    #[schema(nullable = false)]
    hint: Option<String>,
    /// Particulars.
    details: Option<Value>,
    /// Where in a configuration.
    #[schema(nullable = false)]
    place: Option<String>,
}

/// An object whose fields are not told here: they are an action's, a connector's, or a record's.
#[derive(Serialize, ToSchema)]
pub(crate) struct Fields(HashMap<String, Value>);

/// What a stream of events is made of, as the format has it.
#[derive(Serialize, ToSchema)]
pub(crate) struct StreamEvent {
    /// To come back with, of a run that was started by POST /runs.
    #[schema(nullable = false)]
    id: Option<String>,
    /// `item`, `missed`, and at the end `result` or `error`
    event: String,
    /// JSON: of an item the item, at the end the envelope.
    data: String,
}

/// Every code, so that a generated client knows them.
fn codes() -> Object {
    let codes = ErrorCode::ALL.iter().map(|code| code.as_str().to_ascii_uppercase());
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some("The stable code"))
        .enum_values(Some(codes))
        .examples(["NOT_FOUND"])
        .build()
}

/// What the answer tells besides.
#[derive(Serialize, ToSchema)]
pub(crate) struct Metadata {
    /// As in the header `X-Request-Id`.
    request_id: String,
    /// Of a call that reached an action.
    #[schema(nullable = false)]
    run_id: Option<String>,
    #[schema(nullable = false)]
    execution_time_ms: Option<u64>,
    /// The action version that ran.
    #[schema(nullable = false)]
    action_trn: Option<String>,
    /// Its version.
    #[schema(nullable = false)]
    version: Option<u32>,
    #[schema(nullable = false)]
    warnings: Option<Vec<String>>,
}

/// What the server is.
#[derive(Serialize, ToSchema)]
pub(crate) struct Health {
    /// `ok`
    pub(crate) status: &'static str,
    /// `openact`
    pub(crate) service: &'static str,
    pub(crate) version: &'static str,
}

/// Whether calls can be answered.
#[derive(Serialize, ToSchema)]
pub(crate) struct Readiness {
    /// `ready`, `degraded` (the configuration of before is used) or `not_ready`
    pub(crate) status: &'static str,
    pub(crate) ready: bool,
    pub(crate) checks: Vec<ReadinessCheck>,
}

/// One of the things that calls need.
#[derive(Serialize, ToSchema)]
pub(crate) struct ReadinessCheck {
    /// `store`, `key`, `configuration`
    pub(crate) name: &'static str,
    pub(crate) ok: bool,
    /// Why it is not well.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) message: Option<String>,
}

/// The version of this server.
#[derive(Serialize, ToSchema)]
pub(crate) struct VersionShape {
    pub(crate) service: &'static str,
    pub(crate) version: &'static str,
    /// The highest of `/api/vN`.
    pub(crate) api: &'static str,
}

/// Connectors, by the name earlier clients have for them.
#[derive(Serialize, ToSchema)]
pub(crate) struct Kinds {
    pub(crate) kinds: Vec<Kind>,
}

/// A connector.
#[derive(Serialize, ToSchema)]
pub(crate) struct Kind {
    pub(crate) name: String,
    pub(crate) description: String,
    /// What it speaks: `http`, `database`, …
    pub(crate) category: &'static str,
    pub(crate) version: String,
    /// The operations an action may name.
    pub(crate) operations: Vec<String>,
}

/// A page of actions.
#[derive(Serialize, ToSchema)]
pub(crate) struct ActionList {
    pub(crate) actions: Vec<ActionSummary>,
    pub(crate) page: u32,
    pub(crate) page_size: u32,
    pub(crate) total: usize,
}

/// An action in a list.
#[derive(Serialize, ToSchema)]
pub(crate) struct ActionSummary {
    pub(crate) name: String,
    pub(crate) connector: String,
    /// TRN of the connection it runs over.
    pub(crate) connection: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) description: Option<String>,
    pub(crate) action_trn: String,
    pub(crate) mcp_enabled: bool,
    /// `sha256:…` of the input's schema, whatever the order of its keys: another one when the schema is another. Not there
    /// if the action cannot be called as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) input_schema_digest: Option<String>,
}

/// What an action takes and gives.
#[derive(Serialize, ToSchema)]
pub(crate) struct ActionSchema {
    pub(crate) action_trn: String,
    /// JSON Schema of the input.
    pub(crate) input_schema: Value,
    /// JSON Schema of the result, where it is known.
    pub(crate) output_schema: Value,
    /// Inputs, as the input's schema gives some.
    pub(crate) examples: Vec<Value>,
    /// `read`, `write` or `destructive`.
    pub(crate) effect: Value,
    /// Whether running it twice is the same as running it once.
    pub(crate) idempotent: bool,
    /// Whether it may stream items.
    pub(crate) streams: bool,
}

impl From<Interface> for ActionSchema {
    fn from(interface: Interface) -> Self {
        let examples = interface.input_schema.get("examples").and_then(Value::as_array).cloned();
        Self {
            action_trn: interface.action.to_string(),
            output_schema: interface.output_schema.unwrap_or_default(),
            examples: examples.unwrap_or_default(),
            effect: serde_json::to_value(interface.effect).unwrap_or_default(),
            idempotent: interface.idempotent,
            streams: interface.streams,
            input_schema: interface.input_schema,
        }
    }
}

/// A page of connections.
#[derive(Serialize, ToSchema)]
pub(crate) struct ConnectionList {
    #[schema(value_type = Vec<Fields>)]
    pub(crate) connections: Vec<Value>,
    pub(crate) page: u32,
    pub(crate) page_size: u32,
    pub(crate) total: usize,
}

/// A page of runs, the newest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct RunList {
    #[schema(value_type = Vec<Fields>)]
    pub(crate) runs: Vec<Value>,
    pub(crate) page: u32,
    pub(crate) page_size: u32,
    /// Whether there are older ones.
    pub(crate) has_more: bool,
}

/// Names of secrets; values never come out.
#[derive(Serialize, ToSchema)]
pub(crate) struct SecretList {
    pub(crate) secrets: Vec<SecretShape>,
}

/// A secret, without its value.
#[derive(Serialize, ToSchema)]
pub(crate) struct SecretShape {
    pub(crate) name: String,
    #[schema(value_type = String, format = DateTime)]
    pub(crate) created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub(crate) updated_at: Timestamp,
}

/// Installed and bundled connectors, with their manifests.
#[derive(Serialize, ToSchema)]
pub(crate) struct ConnectorList {
    #[schema(value_type = Vec<Fields>)]
    pub(crate) connectors: Vec<Value>,
}

/// Entries of the audit log, the latest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct AuditList {
    pub(crate) entries: Vec<AuditShape>,
}

/// A change of configuration, a credential or a grant.
#[derive(Serialize, ToSchema)]
pub(crate) struct AuditShape {
    pub(crate) id: u64,
    #[schema(value_type = String, format = DateTime)]
    pub(crate) at: Timestamp,
    pub(crate) tenant: Option<String>,
    pub(crate) actor: String,
    pub(crate) door: String,
    pub(crate) operation: String,
    pub(crate) object: String,
    pub(crate) before: Option<Value>,
    pub(crate) after: Option<Value>,
}

/// What an action gave.
#[derive(Serialize, ToSchema)]
pub(crate) struct ExecuteResult {
    /// As the action's output schema has it; of a dry run `{"dry_run": true, …}`.
    result: Value,
}

/// The input of a call.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExecuteBody {
    /// The action's input; `{}` where it takes none.
    #[schema(value_type = Fields)]
    pub(crate) input: Map<String, Value>,
    #[serde(default)]
    pub(crate) options: ExecuteOptions,
}

/// The input of a call, and the action by its TRN.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExecuteTrnBody {
    /// `trn:openact:TENANT:action/CONNECTOR/NAME@vN`
    #[schema(example = "trn:openact:default:action/http/get-user@v1")]
    pub(crate) action_trn: String,
    /// The action's input; `{}` where it takes none.
    #[schema(value_type = Fields)]
    pub(crate) input: Map<String, Value>,
    #[serde(default)]
    pub(crate) options: ExecuteOptions,
}

/// A configuration, and which action of it to run.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct InlineBody {
    /// As a configuration file, in JSON.
    #[schema(value_type = Fields)]
    pub(crate) config: Map<String, Value>,
    /// `connector/name`, or a name alone.
    pub(crate) action: String,
    /// The action's input; `{}` where it takes none.
    #[schema(value_type = Fields)]
    pub(crate) input: Map<String, Value>,
    #[serde(default)]
    pub(crate) options: ExecuteOptions,
}

/// How to run it.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExecuteOptions {
    /// The deadline, milliseconds.
    #[schema(minimum = 1)]
    pub(crate) timeout_ms: Option<u64>,
    /// Say what would be done, and do nothing.
    pub(crate) dry_run: Option<bool>,
    /// Answer with the items as they come, by `Accept`: `text/event-stream` or `application/x-ndjson`.
    pub(crate) stream: Option<bool>,
}

/// How the action's name is to be read.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ExecuteQuery {
    /// A number or `latest`; needed where the action is not named by its TRN.
    pub(crate) version: Option<String>,
    /// The input is always checked; here for earlier clients.
    pub(crate) validate: Option<bool>,
}

/// Which actions.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ActionQuery {
    /// Of this connector.
    pub(crate) kind: Option<String>,
    /// Over this connection: its TRN or name.
    pub(crate) connection: Option<String>,
    /// With this text in name or description.
    pub(crate) q: Option<String>,
    /// From 1.
    #[param(minimum = 1)]
    pub(crate) page: Option<u32>,
    /// Default 50.
    #[param(minimum = 1, maximum = 1000)]
    pub(crate) page_size: Option<u32>,
}

/// Which connections.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ConnectionQuery {
    /// Of this connector.
    pub(crate) kind: Option<String>,
    /// With this text in its name.
    pub(crate) q: Option<String>,
    /// From 1.
    #[param(minimum = 1)]
    pub(crate) page: Option<u32>,
    /// Default 50.
    #[param(minimum = 1, maximum = 1000)]
    pub(crate) page_size: Option<u32>,
}

/// Which runs.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct RunQuery {
    /// Of this action version: a TRN.
    pub(crate) action: Option<String>,
    /// Of this connector's actions.
    pub(crate) kind: Option<String>,
    /// `failed`: only those.
    #[param(inline)]
    pub(crate) status: Option<RunStatusQuery>,
    /// From 1.
    #[param(minimum = 1)]
    pub(crate) page: Option<u32>,
    /// Default 50.
    #[param(minimum = 1, maximum = 1000)]
    pub(crate) page_size: Option<u32>,
}

/// Which runs by how they ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RunStatusQuery {
    Failed,
}

/// How many.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct LimitQuery {
    /// Default 50.
    #[param(minimum = 1, maximum = 1000)]
    pub(crate) limit: Option<u32>,
}

/// Which operation of a connector.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct OperationQuery {
    /// The connector's default if absent.
    pub(crate) operation: Option<String>,
}

/// A secret to seal.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewSecret {
    /// What `{"$secret": "name"}` says.
    pub(crate) name: String,
    /// Never comes out again.
    #[schema(write_only)]
    pub(crate) value: String,
}

/// What was done to a secret.
#[derive(Serialize, ToSchema)]
pub(crate) struct SecretSet {
    pub(crate) name: String,
}

/// A token to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewTokenBody {
    /// What people call it; the audit log ascribes to it what is changed with it.
    pub(crate) name: String,
    /// For which tenants; every one if absent.
    #[serde(default)]
    pub(crate) tenants: Option<Vec<String>>,
    /// Only these actions: `*`, `connector.action`, `connector.*`, `*.action`.
    #[serde(default)]
    pub(crate) allow: Vec<String>,
    /// Not these, whatever `allow` says.
    #[serde(default)]
    pub(crate) deny: Vec<String>,
    /// Whether it may change configuration, too.
    #[serde(default)]
    pub(crate) manage: bool,
    /// Requests in a second.
    #[serde(default)]
    #[schema(minimum = 1)]
    pub(crate) rate_per_second: Option<u32>,
    /// Requests at once.
    #[serde(default)]
    #[schema(minimum = 1)]
    pub(crate) concurrency: Option<u32>,
    /// When it ends.
    #[serde(default)]
    #[schema(format = DateTime)]
    pub(crate) expires_at: Option<String>,
}

/// What a connector may do.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct InstallQuery {
    /// Host functions the component asks for and may use, parted by commas: `http,state`.
    pub(crate) grant: Option<String>,
}

/// A connection to write.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewConnection {
    /// Its kind.
    pub(crate) connector: String,
    pub(crate) name: String,
    /// As in a configuration file; what is a secret in it is sealed.
    #[schema(value_type = Fields)]
    pub(crate) config: Map<String, Value>,
}

impl NewConnection {
    pub(crate) fn record(self) -> Map<String, Value> {
        let Self { connector, name, config } = self;
        [("connector", connector.into()), ("name", name.into()), ("config", Value::Object(config))]
            .map(|(key, value)| (key.to_owned(), value))
            .into_iter()
            .collect()
    }
}

/// An action to write.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewAction {
    /// Its kind.
    pub(crate) connector: String,
    pub(crate) name: String,
    /// The name of the connection it runs over, of the same kind.
    pub(crate) connection: String,
    /// As in a configuration file, without `connection` and `mcp`.
    #[schema(value_type = Fields)]
    pub(crate) config: Map<String, Value>,
    /// As in a configuration file: `{"enabled": true}`.
    #[serde(default)]
    #[schema(value_type = Option<Fields>, required = false)]
    pub(crate) mcp: Option<Map<String, Value>>,
}

impl NewAction {
    pub(crate) fn record(self) -> Map<String, Value> {
        let Self { connector, name, connection, config, mcp } = self;
        let mut record = NewConnection { connector, name, config }.record();
        record.insert("connection".into(), connection.into());
        record.extend(mcp.map(|mcp| ("mcp".to_owned(), Value::Object(mcp))));
        record
    }
}
