//! Does a connection work? Its connector says, by asking the other system with the connection's credential.
//!
//! A check is a call like any other: in the sandbox, with the connection's grants and limits. What its connector keeps of
//! what it found (`inputs`) is what actions take from then on, in every process. Invariant: it changes nothing that somebody
//! configured, and leaves no run record, since no action ran.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use openact_core::{
    ConnectionTrn, ConnectorName, Error, ErrorCode, Result, Tenant,
    connection::{ConnectionParts, ConnectionRecord},
    credential::Binding,
    governance::Governance,
    limits::CHECKS_AT_ONCE,
    policies::Policies,
    policy::Origin,
    run::{HostCall, RunId},
    secret::SecretRef,
    trn::{Connection, Reference},
};
use openact_engine::{Call, CallKind, CallReport, Connector};
use serde_json::{Value, json, value::RawValue};
use tokio::{sync::Semaphore, task::JoinSet};
use url::Url;

use crate::{
    Json, OpenAct, Shared,
    access::{AUTH_REF_HINT, Access},
    find::find,
    inputs::Inputs,
};

/// What came of checking one connection.
#[derive(Debug)]
pub struct CheckReport {
    /// Which version.
    pub connection: ConnectionTrn,
    /// What was found.
    pub outcome: CheckOutcome,
    /// How long it took.
    pub duration: Duration,
    /// What was asked of the other system.
    pub host_calls: Vec<HostCall>,
    /// What the outcome does not tell.
    pub note: Option<String>,
}

/// See [`CheckReport`].
#[derive(Debug)]
pub enum CheckOutcome {
    /// It works; as whom and what was reached, in the connector's words.
    Works(Json),
    /// It does not.
    Fails(Error),
    /// The connector cannot tell.
    Unchecked,
}

impl CheckReport {
    /// Why it does not work.
    pub fn error(&self) -> Option<&Error> {
        match &self.outcome {
            CheckOutcome::Fails(error) => Some(error),
            CheckOutcome::Works(_) | CheckOutcome::Unchecked => None,
        }
    }

    /// The word in `status`.
    pub fn status(&self) -> &'static str {
        match self.outcome {
            CheckOutcome::Works(_) => "ok",
            CheckOutcome::Fails(_) => "failed",
            CheckOutcome::Unchecked => "unchecked",
        }
    }

    /// The report as every door gives it. `ok` is null where nobody knows.
    pub fn to_json(&self) -> Value {
        let mut report = json!({
            "connection": self.connection,
            "status": self.status(),
            "ok": match self.outcome {
                CheckOutcome::Works(_) => Some(true),
                CheckOutcome::Fails(_) => Some(false),
                CheckOutcome::Unchecked => None,
            },
        });
        let (key, what) = match &self.outcome {
            CheckOutcome::Works(result) => ("result", result.value().unwrap_or_default()),
            CheckOutcome::Fails(error) => ("error", error.to_json()),
            CheckOutcome::Unchecked => ("result", Value::Null),
        };
        if let Value::Object(report) = &mut report {
            report.insert(key.into(), what);
            if let Some(note) = &self.note {
                report.insert("note".into(), note.clone().into());
            }
            report.insert("duration_ms".into(), json!(self.duration.as_micros() as f64 / 1000.0));
            report.insert("host_calls".into(), json!(self.host_calls));
        }
        report
    }
}

impl OpenAct {
    /// Asks a connection's connector whether it works. That it does not is in the report; an error is that there is no
    /// such connection.
    pub async fn check_connection(&self, tenant: &Tenant, reference: &str) -> Result<CheckReport> {
        let reference: Reference<Connection> = reference.parse()?;
        let connection = find(&self.0, tenant, &reference, &Governance::default()).await?;
        Ok(check(&self.0, connection).await)
    }

    /// Checks the latest version of every connection of a tenant, or of those of one connector, [`CHECKS_AT_ONCE`] at
    /// once. The reports are in the order of `list_connections`.
    pub async fn check_all(
        &self,
        tenant: &Tenant,
        connector: Option<&ConnectorName>,
    ) -> Result<Vec<CheckReport>> {
        let places = Arc::new(Semaphore::new(CHECKS_AT_ONCE));
        let mut checks = JoinSet::new();
        for (index, connection) in self.list_connections(tenant, connector).await?.into_iter().enumerate() {
            let (openact, places) = (self.clone(), places.clone());
            checks.spawn(async move {
                let _place = places.acquire().await;
                (index, check(&openact.0, connection).await)
            });
        }
        let mut reports = Vec::with_capacity(checks.len());
        while let Some(done) = checks.join_next().await {
            reports.push(done.map_err(|error| Error::internal("a check broke off").because(error))?);
        }
        reports.sort_by_key(|(index, _)| *index);
        Ok(reports.into_iter().map(|(_, report)| report).collect())
    }
}

async fn check(openact: &Shared, connection: ConnectionRecord) -> CheckReport {
    let started = Instant::now();
    let kind = openact.catalog.connector(openact, &connection.trn.connector).await;
    let expanded = kind.and_then(|kind| Ok((kind.expand_connection(connection.clone())?, kind)));
    let (connection, asked, found) = match expanded {
        Ok((expanded, kind)) => {
            let before = openact.snapshot.inputs(openact, &kind.component, &expanded.trn).await;
            let asked = ask(openact, &kind.component, &expanded).await;
            let found = inputs(openact, &kind.component, &expanded.trn, &before).await;
            (expanded, asked, found)
        }
        Err(error) => (connection, Err(error), None),
    };
    let (result, host_calls) = match asked {
        Ok(report) => (report.result, report.host_calls),
        Err(error) => (Err(error), Vec::new()),
    };
    let without = went_without_credential(&connection, &host_calls).then(|| {
        "checked without the credential: authorization.path_prefix does not cover what was asked".to_owned()
    });
    CheckReport {
        note: without.or(found),
        outcome: outcome(result, &connection),
        connection: connection.trn,
        duration: started.elapsed(),
        host_calls,
    }
}

/// Has actions take what the check found of their inputs, if that is other than it was before; what there is to note of it.
async fn inputs(
    openact: &Shared,
    connector: &Connector,
    connection: &ConnectionTrn,
    before: &Inputs,
) -> Option<String> {
    if !Inputs::are_known_to(connector.manifest()) {
        return None;
    }
    let now = Inputs::read(openact, connector, connection).await;
    if now != *before {
        openact.snapshot.clear();
        if let Err(error) = openact.store.found().await {
            tracing::warn!("other processes do not know yet what {} takes: {error:?}", connection.short());
        }
    }
    now.note()
}

/// Whether there is a credential that no request got, since none was for a path below `path_prefix`.
fn went_without_credential(connection: &ConnectionRecord, calls: &[HostCall]) -> bool {
    let text = |field: &str| connection.config.get("authorization")?.get(field)?.as_str();
    let Some(prefix) = text("path_prefix").filter(|_| text("type") != Some("none")) else { return false };
    let gets_it = |call: &HostCall| {
        let url = call.target.split_once(' ').and_then(|(_, url)| Url::parse(url).ok());
        url.is_some_and(|url| {
            Origin::of(&url).is_some_and(|origin| {
                let binding = Binding { origin: origin.clone(), path_prefix: Some(prefix.to_owned()) };
                binding.covers(&origin, &url)
            })
        })
    };
    let mut sent = calls.iter().filter(|call| call.function == "http.send").peekable();
    sent.peek().is_some() && !sent.any(gets_it)
}

async fn ask(openact: &Shared, connector: &Connector, connection: &ConnectionRecord) -> Result<CallReport> {
    let parts = ConnectionParts::of(&connection.config, connector.manifest())?;
    let policies = Policies::of(&parts.sections)?;
    let limits = policies.call_limits();
    let access = Access::new(connection.trn.clone(), parts, policies)?;
    let granted = access.grants(openact).await?;
    let call = Call {
        connector,
        run: RunId(uuid::Uuid::now_v7()),
        kind: CallKind::Check,
        connection: &granted.connection,
        grants: &granted.grants,
        limits,
        spent: Duration::ZERO,
        items: None,
        trace: None,
        done: None,
    };
    Ok(openact.engine.call(call).await)
}

fn outcome(result: Result<Box<RawValue>>, connection: &ConnectionRecord) -> CheckOutcome {
    let error = match result {
        Ok(result) => return CheckOutcome::Works(result.into()),
        Err(error) => error,
    };
    let is_unsupported = |details: &Value| details.get("unsupported") == Some(&Value::Bool(true));
    if error.details.as_ref().is_some_and(is_unsupported) {
        return CheckOutcome::Unchecked;
    }
    CheckOutcome::Fails(match (&error.hint, hint(error.code, connection)) {
        (None, Some(hint)) => error.hint(hint),
        _ => error,
    })
}

/// What to do about a failure that says only what happened.
fn hint(code: ErrorCode, connection: &ConnectionRecord) -> Option<String> {
    Some(match code {
        ErrorCode::AuthRequired => credential_hint(connection),
        ErrorCode::NetworkError => {
            "see that the address of the connection is right and something listens there; a way through a proxy is \
             network.proxy"
                .into()
        }
        ErrorCode::UpstreamError => "the other system was reached and failed by itself; try again later".into(),
        _ => return None,
    })
}

/// How to give a connection a credential that the other system accepts.
fn credential_hint(connection: &ConnectionRecord) -> String {
    let section = connection.config.get("authorization").and_then(Value::as_object);
    let Some(section) = section.filter(|section| section.get("type").is_some_and(|kind| kind != "none"))
    else {
        return match connection.config.get("auth_ref") {
            Some(_) => AUTH_REF_HINT.into(),
            None => "the connection has no authorization: add one".into(),
        };
    };
    let set: Vec<String> = openact_auth::references(section).iter().map(how_to_set).collect();
    format!("see that the credential is valid and may do this; {}", set.join(", "))
}

fn how_to_set(reference: &SecretRef) -> String {
    match reference {
        SecretRef::Stored(name) if name.starts_with("connection/") => {
            "import the connection with another".into()
        }
        SecretRef::Stored(name) => format!("set another with: openact secret set {name}"),
        SecretRef::Env(name) => format!("it is read from {name}"),
        SecretRef::File(path) => format!("it is read from {path}"),
        SecretRef::Vault { .. } => {
            format!("it is read from {}", reference.to_json().as_str().unwrap_or("a vault"))
        }
    }
}
