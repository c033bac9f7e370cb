//! Connectors: the code that actions run by.
//!
//! Invariant: what is installed here goes through the same checks as by the command.

use http::StatusCode;
use openact::{Capability, ConnectorName, Error, Replacing};
use serde_json::Value;

use super::json;
use crate::{
    access::{Everywhere, Manage},
    envelope::{Answer, Failure, Reply},
    extract::{Named, Params, RawBody},
    shapes::{ConnectorList, Envelope, Fields, InstallQuery},
};

/// Connectors, bundled and installed
#[utoipa::path(get, path = "/connectors", tag = "connectors", responses((status = 200, description = "All", body = Envelope<ConnectorList>)))]
pub(crate) async fn list(Manage(call): Manage) -> Answer {
    let mut connectors: Vec<Value> = Vec::new();
    for info in call.openact.list_connectors().await? {
        connectors.push(json(info)?);
    }
    Ok(Reply::new(json(ConnectorList { connectors })?))
}

/// Install a component, or a template, in place of an earlier one of its name
#[utoipa::path(post, path = "/connectors", tag = "connectors", params(InstallQuery),
    request_body(content((Vec<u8> = "application/wasm"), (String = "application/yaml"))),
    responses((status = 201, description = "It is installed", body = Envelope<Fields>)))]
pub(crate) async fn install(
    Everywhere(call): Everywhere,
    Params(query): Params<InstallQuery>,
    RawBody(kind, bytes): RawBody,
) -> Answer {
    let info = match kind.to_ascii_lowercase().as_str() {
        "application/wasm" | "application/octet-stream" => {
            call.openact
                .replace_connector(bytes.into(), grants(query.grant.as_deref())?, Replacing::default())
                .await?
        }
        "application/yaml" | "text/yaml" | "application/x-yaml" => {
            let text =
                std::str::from_utf8(&bytes).map_err(|_| Error::invalid_input("the template is not UTF-8"))?;
            call.openact.install_template("the template", text, Replacing::default()).await?
        }
        _ => {
            let error = Error::invalid_input("the body is neither a component nor a template")
                .hint("send the header content-type: application/wasm, or application/yaml");
            return Err(Failure::from(error).status(StatusCode::UNSUPPORTED_MEDIA_TYPE));
        }
    };
    Ok(Reply::new(json(info)?).status(StatusCode::CREATED))
}

fn grants(text: Option<&str>) -> openact::Result<Vec<Capability>> {
    let names = text.unwrap_or_default().split(',').filter(|name| !name.is_empty());
    names
        .map(|name| {
            serde_json::from_value(name.into()).map_err(|_| {
                Error::invalid_input(format!("'{}' is nothing that can be granted", name.escape_debug()))
                    .hint("expected some of: http, sockets, reveal-credential, state, emit")
            })
        })
        .collect()
}

/// Remove an installed connector that no connection uses
#[utoipa::path(delete, path = "/connectors/{name}", tag = "connectors", params(("name" = String, Path, description = "Its name")),
    responses((status = 200, description = "It is gone", body = Envelope<Fields>)))]
pub(crate) async fn remove(Everywhere(call): Everywhere, Named(name): Named) -> Answer {
    let name = ConnectorName::canonical(&name)?;
    call.openact.remove_connector(&name).await?;
    Ok(Reply::new(serde_json::json!({ "removed": name })))
}
