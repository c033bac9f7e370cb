//! Connectors by what they are: what a connection and an action of each may say.
//!
//! Invariant: nothing here is of a tenant.

use openact::{Capability, ConnectorInfo, ConnectorName, Manifest};
use serde_json::Value;

use super::json;
use crate::{
    access::Call,
    envelope::{Answer, Reply},
    extract::{Named, Params},
    shapes::{Envelope, Fields, Kind, Kinds, OperationQuery},
};

/// Kinds of connections
#[utoipa::path(get, path = "/kinds", tag = "kinds", responses((status = 200, description = "All", body = Envelope<Kinds>)))]
pub(crate) async fn list(call: Call) -> Answer {
    let kinds = call.openact.list_connectors().await?.iter().map(|info| kind(&info.manifest)).collect();
    Ok(Reply::new(json(Kinds { kinds })?))
}

fn kind(manifest: &Manifest) -> Kind {
    let category = match (manifest.needs(Capability::Http), manifest.needs(Capability::Sockets)) {
        (_, true) => "database",
        (true, _) => "http",
        _ => "other",
    };
    Kind {
        name: manifest.name.to_string(),
        description: manifest.summary.clone(),
        category,
        version: manifest.version.clone(),
        operations: manifest.operations.iter().map(|operation| operation.name.clone()).collect(),
    }
}

async fn info(call: &Call, name: &str) -> openact::Result<ConnectorInfo> {
    call.openact.connector_info(&ConnectorName::canonical(name)?).await
}

/// One kind, with its manifest
#[utoipa::path(get, path = "/kinds/{kind}", tag = "kinds", params(("kind" = String, Path, description = "A connector's name")),
    responses((status = 200, description = "What it says of itself", body = Envelope<Fields>)))]
pub(crate) async fn get(call: Call, Named(name): Named) -> Answer {
    Ok(Reply::new(json(info(&call, &name).await?)?))
}

/// JSON Schema of a kind's connections
#[utoipa::path(get, path = "/kinds/{kind}/connection-schema", tag = "kinds", params(("kind" = String, Path, description = "A connector's name")),
    responses((status = 200, description = "The schema", body = Envelope<Fields>)))]
pub(crate) async fn connection_schema(call: Call, Named(name): Named) -> Answer {
    Ok(Reply::new(info(&call, &name).await?.manifest.connection_schema.clone()))
}

/// JSON Schema of a kind's actions, of one operation
#[utoipa::path(get, path = "/kinds/{kind}/action-schema", tag = "kinds",
    params(("kind" = String, Path, description = "A connector's name"), OperationQuery),
    responses((status = 200, description = "The schema", body = Envelope<Fields>)))]
pub(crate) async fn action_schema(
    call: Call,
    Named(name): Named,
    Params(query): Params<OperationQuery>,
) -> Answer {
    let info = info(&call, &name).await?;
    let schema: &Value = &info.manifest.operation(query.operation.as_deref())?.action_schema;
    Ok(Reply::new(schema.clone()))
}
