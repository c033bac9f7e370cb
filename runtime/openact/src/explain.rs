//! What a call does, before or after it: the configuration with every value's origin, what may be reached and as whom,
//! the request that would go out.
//!
//! Invariants: a secret appears by the name it has in the configuration, never by value, and nothing is dialled: no
//! connection, no token endpoint, no vault. Explaining leaves no run record.

mod settings;
mod words;

use std::sync::Arc;

use openact_core::{
    ActionTrn, ConnectionTrn, Error, ErrorCode, Result, Tenant,
    action::ActionRecord,
    clear::hide_clear,
    connection::ConnectionRecord,
    governance::Governance,
    manifest::ComponentDigest,
    policy::EgressGrants,
    run::{Door, RunId, RunRecord},
    trn::{Action, Reference},
};
use serde::Serialize;
use serde_json::{Value, json, value::RawValue};

pub use self::settings::{Setting, SettingOrigin};
use self::{settings::Sources, words::Words};
use crate::{OpenAct, Request, Shared, execute, prepared::Prepared};

/// What [`OpenAct::explain`] has found out.
#[derive(Debug)]
pub struct Explanation {
    /// The action version.
    pub action: ActionTrn,
    /// The connection version it runs over.
    pub connection: ConnectionTrn,
    /// The connector's version, as it says, and the digest of its component.
    pub connector: (String, ComponentDigest),
    /// What the connector does.
    pub operation: String,
    /// Every value of the merged configuration.
    pub configuration: Vec<Setting>,
    /// What the connector may reach.
    pub reaches: EgressGrants,
    /// Where the host itself asks for tokens.
    pub token_endpoint: Option<String>,
    /// The credential without its value; null if there is none.
    pub credential: Value,
    /// The request that would go out, or what the connector says it would do; none without an input.
    pub request: Option<Result<Value>>,
    /// The run that was asked about.
    pub run: Option<RunRecord>,
    /// What cannot be told, and why.
    pub notes: Vec<String>,
}

impl Explanation {
    /// The explanation as every door gives it.
    pub fn to_json(&self) -> Value {
        let (version, digest) = &self.connector;
        let host = self.token_endpoint.iter().map(|origin| json!({"origin": origin, "by": "host"}));
        let connector = self
            .reaches
            .origins()
            .iter()
            .map(|origin| json!({"origin": origin.to_string(), "by": "connector"}));
        let private = self.reaches.private();
        let rules: Vec<String> = private.rules().iter().map(ToString::to_string).collect();
        json!({
            "action": self.action,
            "connection": self.connection,
            "connector": {
                "name": self.action.connector, "version": version, "digest": digest.to_string(),
            },
            "operation": self.operation,
            "configuration": self.configuration,
            "reaches": connector.chain(host).collect::<Vec<_>>(),
            "private_access": {"named_hosts": private.opens_named_hosts(), "rules": rules},
            "credential": self.credential,
            "request": self.request.as_ref().map(|request| match request {
                Ok(request) => request.clone(),
                Err(error) => json!({ "error": error.to_json() }),
            }),
            "run": self.run.as_ref().map(RunRecord::to_json),
            "notes": self.notes,
        })
    }
}

impl OpenAct {
    /// Explains a run, or an action as it would run with `input`. Of a run the very versions it used are explained; its
    /// input is not kept, so that its request is told only where one is given.
    pub async fn explain(
        &self,
        tenant: &Tenant,
        reference: &str,
        input: Option<Value>,
    ) -> Result<Explanation> {
        let run = match reference.parse::<RunId>() {
            Ok(id) => Some(self.get_run(tenant, id).await?),
            Err(_) => None,
        };
        let prepared = prepared_for(&self.0, tenant, reference, run.as_ref()).await?;
        let mut notes = Vec::new();
        let input = match (&run, input) {
            (Some(run), None) => {
                notes.push("the input of a run is not kept; values it set are not shown".to_owned());
                if run.connector_digest != prepared.connector.digest() {
                    notes.push(format!(
                        "the connector was replaced since: the run used {}",
                        run.connector_digest
                    ));
                }
                None
            }
            (_, input) => Some(input.unwrap_or_else(|| json!({}))),
        };
        let (action, connection, words) = records(&self.0, &prepared).await?;
        let manifest = prepared.connector.manifest();
        let shown = input.as_ref().unwrap_or(&Value::Null);
        let sources = Sources {
            action: &action,
            connection: &connection,
            manifest,
            input: shown,
            timeout: None,
            words,
        };
        let configuration = settings::settings(&sources)?;
        let credential = credential(&self.0, &prepared).await;
        let access = &prepared.access;
        notes.extend(access.parts.seeds.as_ref().map(|seeds| {
            format!(
                "what else it may reach is looked up before a call: the SRV records of {}",
                seeds.service()
            )
        }));
        let request = match input {
            Some(input) => Some(self.request_of(tenant, &prepared, input).await),
            None => None,
        };
        Ok(Explanation {
            connector: (manifest.version.clone(), prepared.connector.digest()),
            operation: prepared.operation.clone(),
            configuration,
            reaches: access.egress(&self.0)?,
            token_endpoint: openact_auth::endpoint(&access.parts.authorization)
                .map(|origin| origin.to_string()),
            credential,
            request,
            run,
            notes,
            action: action.trn,
            connection: connection.trn,
        })
    }

    /// What a dry run says that would go out.
    async fn request_of(&self, tenant: &Tenant, prepared: &Prepared, input: Value) -> Result<Value> {
        let action = prepared.action.to_string();
        let request =
            Request { dry_run: true, ..Request::new(Door::Embedded, tenant.clone(), action, input) };
        let mut described = execute::dry_run(&self.0, &request, prepared).await?.value()?;
        let mut part = |name: &str| described.get_mut(name).map(Value::take);
        Ok(part("request").or_else(|| part("result")).unwrap_or_default())
    }
}

/// The action version to explain, as calls have it.
async fn prepared_for(
    openact: &Shared,
    tenant: &Tenant,
    reference: &str,
    run: Option<&RunRecord>,
) -> Result<Arc<Prepared>> {
    let all = Governance::default();
    let Some(run) = run else {
        let action: Reference<Action> = reference.parse()?;
        return openact.snapshot.prepared(openact, tenant, reference, &action, &all).await;
    };
    let action = Reference::Trn(run.action.clone());
    let prepared = openact.snapshot.prepared(openact, tenant, &run.action.to_string(), &action, &all).await;
    prepared.map_err(|error| match error.code {
        ErrorCode::NotFound => {
            Error::not_found(format!("{}, which this run used, was deleted", run.action.short()))
                .hint(format!("its record is there: openact show {}", run.id))
        }
        _ => error,
    })
}

/// The records as the component has them, and whose words of a template they are.
async fn records(
    openact: &Shared,
    prepared: &Prepared,
) -> Result<(ActionRecord, ConnectionRecord, Option<Words>)> {
    let gone = || Error::not_found(format!("{} was deleted meanwhile", prepared.action.short()));
    let action = openact.store.get_action(&prepared.action).await?.ok_or_else(gone)?;
    let connection = openact.store.get_connection(&prepared.connection).await?.ok_or_else(gone)?;
    let words = Words::of(&prepared.kind, &action.config, &connection.config);
    let (action, connection) = prepared.kind.expand(action, connection)?;
    Ok((action, connection, words))
}

/// Kind and binding of the credential, and what is wrong with it as far as that can be told from here.
async fn credential(openact: &Shared, prepared: &Prepared) -> Value {
    let parts = &prepared.access.parts;
    let text = |field: &str| parts.authorization.get(field).and_then(Value::as_str);
    let kind = match (&parts.auth_ref, text("type").unwrap_or("none")) {
        (Some(_), _) => "auth_ref",
        // A connector logs in with what it cannot see.
        (None, "none") if !parts.secrets.is_empty() => "login",
        (None, "none") => return Value::Null,
        (None, kind) => kind,
    };
    let error = match prepared.access.grants_of_dry_run(openact).await {
        Ok((_, missing)) => missing,
        Err(error) => Some(error),
    };
    let mut credential = json!({
        "type": kind,
        "origin": parts.credential_origin.as_ref().or(parts.origins.first()).map(ToString::to_string),
        "path_prefix": text("path_prefix"),
    });
    let more = [
        ("auth_ref", parts.auth_ref.as_ref().map(|reference| json!(reference))),
        ("secrets", (kind == "login").then(|| parts.secrets.iter().map(|(name, _)| name.as_str()).collect())),
        ("error", error.map(|error| error.to_json())),
    ];
    if let Value::Object(credential) = &mut credential {
        credential.extend(more.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
    }
    credential
}

/// The result of a dry run: what the host or the connector says would be done, with the configuration it comes from.
/// `missing` is why there is no credential.
pub(crate) async fn described(
    openact: &Shared,
    request: &Request,
    prepared: &Prepared,
    said: &RawValue,
    missing: Option<Error>,
) -> Result<Box<RawValue>> {
    #[derive(Serialize)]
    struct Described<'a> {
        dry_run: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        request: Option<Value>,
        /// What a connector says that asked for no request.
        #[serde(skip_serializing_if = "Option::is_none")]
        result: Option<&'a RawValue>,
        configuration: Vec<Setting>,
    }
    let (action, connection, words) = records(openact, prepared).await?;
    let configuration = settings::settings(&Sources {
        action: &action,
        connection: &connection,
        manifest: prepared.connector.manifest(),
        input: &request.input,
        timeout: request.timeout,
        words,
    })?;
    let mut by_host = match serde_json::from_str(said.get()) {
        Ok(Value::Object(mut said)) if said.get("dry_run") == Some(&Value::Bool(true)) => {
            said.shift_remove("request")
        }
        _ => None,
    };
    if let Some(Value::Object(request)) = &mut by_host {
        hide_clear(request);
    }
    if let (Some(Value::Object(request)), Some(missing)) = (&mut by_host, missing) {
        request.insert("credential".into(), json!({ "error": missing.to_json() }));
    }
    let own = by_host.is_none().then_some(said);
    let described = Described { dry_run: true, request: by_host, result: own, configuration };
    serde_json::value::to_raw_value(&described)
        .map_err(|error| Error::internal("failed to describe a dry run").because(error))
}
