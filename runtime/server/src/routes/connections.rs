//! Connections: where actions go, as whom.
//!
//! Invariant: secrets come out as references only.

use http::HeaderMap;
use openact::{ConnectorName, Expected, Record};
use serde_json::{Value, json};

use super::{Page, json as shape, records};
use crate::{
    access::Manage,
    envelope::{Answer, Reply},
    extract::{JsonBody, Named, Params},
    shapes::{ConnectionList, ConnectionQuery, Envelope, Fields, NewConnection},
};

/// Connections, the latest version of each
#[utoipa::path(get, path = "/connections", tag = "connections", params(ConnectionQuery),
    responses((status = 200, description = "A page of them", body = Envelope<ConnectionList>)))]
pub(crate) async fn list(Manage(call): Manage, Params(query): Params<ConnectionQuery>) -> Answer {
    let page = Page::of(query.page, query.page_size)?;
    let kind = query.kind.as_deref().map(ConnectorName::canonical).transpose()?;
    let mut records = call.openact.list_connections(&call.tenant, kind.as_ref()).await?;
    records.sort_by(|one, other| one.trn.cmp(&other.trn));
    if let Some(text) = query.q.map(|text| text.to_lowercase()) {
        records.retain(|record| record.trn.name.as_str().to_lowercase().contains(&text));
    }
    let total = records.len();
    let connections: Vec<Value> =
        page.cut(records).into_iter().map(|record| Record::Connection(record).to_json()).collect();
    let list = ConnectionList { connections, page: page.number, page_size: page.size, total };
    Ok(Reply::new(shape(list)?))
}

/// One connection
#[utoipa::path(get, path = "/connections/{reference}", tag = "connections",
    params(("reference" = String, Path, description = "TRN, connector.name or name"),
        ("if-none-match" = Option<String>, Header, description = "The etag of what the caller has")),
    responses((status = 200, description = "The record", body = Envelope<Fields>), (status = 304, description = "It is what the caller has")))]
pub(crate) async fn get(Manage(call): Manage, Named(reference): Named, headers: HeaderMap) -> Answer {
    Ok(records::read(&call.openact.show_connection(&call.tenant, &reference).await?, &headers))
}

/// Ask a connection whether it works. That it does not is in the report
#[utoipa::path(post, path = "/connections/{reference}/check", tag = "connections",
    params(("reference" = String, Path, description = "TRN, connector.name or name")),
    responses((status = 200, description = "What was found", body = Envelope<Fields>)))]
pub(crate) async fn check(Manage(call): Manage, Named(reference): Named) -> Answer {
    Ok(Reply::new(call.openact.check_connection(&call.tenant, &reference).await?.to_json()))
}

/// Create a connection
#[utoipa::path(post, path = "/connections", tag = "connections", request_body = NewConnection,
    responses((status = 201, description = "It is there", body = Envelope<Fields>)))]
pub(crate) async fn create(Manage(call): Manage, JsonBody(body): JsonBody<NewConnection>) -> Answer {
    let body = Value::Object(body.record());
    let written = call.openact.put_connection(&call.tenant, &body, &Expected::Absent).await?;
    Ok(records::written(written, "connections"))
}

/// Write a connection: a new version, if it differs
#[utoipa::path(put, path = "/connections/{reference}", tag = "connections", request_body = NewConnection,
    params(("reference" = String, Path, description = "connector.name or name"),
        ("if-match" = Option<String>, Header, description = "The etag of what is written over")),
    responses((status = 200, description = "As it is now", body = Envelope<Fields>), (status = 201, description = "It was not there before", body = Envelope<Fields>)))]
pub(crate) async fn put(
    Manage(call): Manage,
    Named(reference): Named,
    headers: HeaderMap,
    JsonBody(body): JsonBody<NewConnection>,
) -> Answer {
    let (expected, body) = (records::expected(&headers)?, body.record());
    records::same(&reference, &body)?;
    let written = call.openact.put_connection(&call.tenant, &Value::Object(body), &expected).await?;
    Ok(records::written(written, "connections"))
}

/// Delete a connection that no action runs over
#[utoipa::path(delete, path = "/connections/{reference}", tag = "connections",
    params(("reference" = String, Path, description = "TRN (that version), or connector.name or name (all versions)"),
        ("if-match" = Option<String>, Header, description = "The etag of what is deleted")),
    responses((status = 200, description = "It is gone", body = Envelope<Fields>)))]
pub(crate) async fn delete(Manage(call): Manage, Named(reference): Named, headers: HeaderMap) -> Answer {
    call.openact.delete_connection(&call.tenant, &reference, &records::expected(&headers)?).await?;
    Ok(Reply::new(json!({ "deleted": reference })))
}
