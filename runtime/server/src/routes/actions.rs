//! Actions: what there is to run, and what it takes.
//!
//! Invariant: a caller sees what they may run, and nothing else (M7).

use std::collections::HashMap;

use http::HeaderMap;
use openact::{ActionRecord, ActionTrn, ConnectionTrn, ConnectorName, Expected};
use serde_json::{Value, json};

use super::{Page, json as shape, records};
use crate::{
    access::{Call, Manage},
    envelope::{Answer, Reply},
    extract::{JsonBody, Named, Params},
    shapes::{ActionList, ActionQuery, ActionSchema, ActionSummary, Envelope, Fields, NewAction},
};

/// Actions, the latest version of each
#[utoipa::path(get, path = "/actions", tag = "actions", params(ActionQuery),
    responses((status = 200, description = "A page of them", body = Envelope<ActionList>)))]
pub(crate) async fn list(call: Call, Params(query): Params<ActionQuery>) -> Answer {
    let page = Page::of(query.page, query.page_size)?;
    let kind = query.kind.as_deref().map(ConnectorName::canonical).transpose()?;
    let mut records = call.openact.list_actions(&call.tenant, kind.as_ref(), None).await?;
    records.retain(|record| call.governance.allows(&record.trn));
    match &query.connection {
        Some(trn) if trn.starts_with("trn:") => {
            let trn: ConnectionTrn = trn.parse()?;
            records.retain(|record| record.connection == trn);
        }
        Some(name) => records.retain(|record| record.connection.name.as_str() == name),
        None => {}
    }
    if let Some(text) = query.q.map(|text| text.to_lowercase()) {
        records.retain(|record| {
            let has = |said: &str| said.to_lowercase().contains(&text);
            has(record.trn.name.as_str()) || description(record).is_some_and(has)
        });
    }
    records.sort_by(|one, other| one.trn.cmp(&other.trn));
    let total = records.len();
    let records = page.cut(records);
    let interfaces = call.openact.interfaces_of(&call.tenant, records.clone()).await?;
    let digests: HashMap<ActionTrn, String> = interfaces
        .into_iter()
        .map(|interface| (interface.action.clone(), interface.input_schema_digest()))
        .collect();
    let actions = records.iter().map(|record| summary(record, digests.get(&record.trn))).collect();
    Ok(Reply::new(shape(ActionList { actions, page: page.number, page_size: page.size, total })?))
}

fn description(record: &ActionRecord) -> Option<&str> {
    record.config.get("description").and_then(Value::as_str)
}

fn summary(record: &ActionRecord, digest: Option<&String>) -> ActionSummary {
    ActionSummary {
        name: record.trn.name.to_string(),
        connector: record.trn.connector.to_string(),
        connection: record.connection.to_string(),
        description: description(record).map(str::to_owned),
        action_trn: record.trn.to_string(),
        mcp_enabled: record.mcp_enabled,
        input_schema_digest: digest.cloned(),
    }
}

/// One action, with its configuration
#[utoipa::path(get, path = "/actions/{reference}", tag = "actions",
    params(("reference" = String, Path, description = "TRN, connector.name or name"),
        ("if-none-match" = Option<String>, Header, description = "The etag of what the caller has")),
    responses((status = 200, description = "The record", body = Envelope<Fields>), (status = 304, description = "It is what the caller has")))]
pub(crate) async fn get(Manage(call): Manage, Named(reference): Named, headers: HeaderMap) -> Answer {
    // What may not be run is not shown either.
    let interface = call.openact.interface(&call.tenant, &reference, &call.governance).await?;
    Ok(records::read(&call.openact.show(&call.tenant, &interface.action.to_string()).await?, &headers))
}

/// What an action takes and gives
#[utoipa::path(get, path = "/actions/{reference}/schema", tag = "actions",
    params(("reference" = String, Path, description = "TRN, connector.name or name")),
    responses((status = 200, description = "Its schemas", body = Envelope<ActionSchema>)))]
pub(crate) async fn schema(call: Call, Named(reference): Named) -> Answer {
    let interface = call.openact.interface(&call.tenant, &reference, &call.governance).await?;
    Ok(Reply::new(shape(ActionSchema::from(interface))?))
}

/// Create an action
#[utoipa::path(post, path = "/actions", tag = "actions", request_body = NewAction,
    responses((status = 201, description = "It is there", body = Envelope<Fields>)))]
pub(crate) async fn create(Manage(call): Manage, JsonBody(body): JsonBody<NewAction>) -> Answer {
    let body = Value::Object(body.record());
    let written = call.openact.put_action(&call.tenant, &body, &Expected::Absent).await?;
    Ok(records::written(written, "actions"))
}

/// Write an action: a new version, if it differs
#[utoipa::path(put, path = "/actions/{reference}", tag = "actions", request_body = NewAction,
    params(("reference" = String, Path, description = "connector.name or name"),
        ("if-match" = Option<String>, Header, description = "The etag of what is written over")),
    responses((status = 200, description = "As it is now", body = Envelope<Fields>), (status = 201, description = "It was not there before", body = Envelope<Fields>)))]
pub(crate) async fn put(
    Manage(call): Manage,
    Named(reference): Named,
    headers: HeaderMap,
    JsonBody(body): JsonBody<NewAction>,
) -> Answer {
    let (expected, body) = (records::expected(&headers)?, body.record());
    records::same(&reference, &body)?;
    let written = call.openact.put_action(&call.tenant, &Value::Object(body), &expected).await?;
    Ok(records::written(written, "actions"))
}

/// Delete an action
#[utoipa::path(delete, path = "/actions/{reference}", tag = "actions",
    params(("reference" = String, Path, description = "TRN (that version), or connector.name or name (all versions)"),
        ("if-match" = Option<String>, Header, description = "The etag of what is deleted")),
    responses((status = 200, description = "It is gone", body = Envelope<Fields>)))]
pub(crate) async fn delete(Manage(call): Manage, Named(reference): Named, headers: HeaderMap) -> Answer {
    call.openact.delete_action(&call.tenant, &reference, &records::expected(&headers)?).await?;
    Ok(Reply::new(json!({ "deleted": reference })))
}
