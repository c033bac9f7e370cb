//! Where clients that speak OAuth learn which issuer gives tokens for this server (RFC 9728, and MCP's authorisation by it).
//!
//! | path | of the resource |
//! |---|---|
//! | `/.well-known/oauth-protected-resource` | the server |
//! | `/.well-known/oauth-protected-resource/mcp` | its `/mcp` |
//!
//! A refusal leads there: `WWW-Authenticate: Bearer …, resource_metadata="…"`. Invariant: the two documents are as the
//! specification has them, and no envelope; where no issuer is configured there is none, and no header speaks of one.

use axum::{
    Router,
    extract::{Request, State},
    response::{IntoResponse, Response},
    routing::get,
};
use http::{HeaderValue, header};
use openact::{Error, Result, SCOPE_MANAGE, SCOPE_RUN};
use serde_json::json;

use crate::{Doors, envelope::Failure, origin};

const METADATA: &str = "/.well-known/oauth-protected-resource";
const MCP: &str = "/mcp";

pub(crate) fn routes() -> Router<Doors> {
    Router::new().route(METADATA, get(metadata)).route(&format!("{METADATA}{MCP}"), get(metadata))
}

/// Whether everybody is told what is at `path`: who has no token yet asks for it.
pub(crate) fn is_metadata(path: &str) -> bool {
    path.strip_prefix(METADATA).is_some_and(|of| of.is_empty() || of == MCP)
}

/// How the URL of a server is written by whoever runs it: the origin, without a path.
pub(crate) fn check(public_url: &str) -> Result<()> {
    match url::Url::parse(public_url) {
        Ok(url)
            if matches!(url.scheme(), "http" | "https")
                && url.origin().ascii_serialization() == public_url =>
        {
            Ok(())
        }
        _ => {
            let message = format!(
                "'{}' is not the URL of a server, by which others know it",
                public_url.escape_debug()
            );
            Err(Error::invalid_config(message)
                .hint("expected a scheme, a host and perhaps a port: https://openact.example.com"))
        }
    }
}

/// The server's URL: as it is configured, else as the request has it. None where no issuer is, or no host was named.
pub(crate) fn base(doors: &Doors, request: &Request) -> Option<String> {
    doors.openact().ok()?.issuer()?;
    match &doors.settings.public_url {
        Some(url) => Some(url.clone()),
        None => origin::host(request).map(|host| format!("http://{host}")),
    }
}

async fn metadata(State(doors): State<Doors>, request: Request) -> Response {
    match document(&doors, &request) {
        Ok(document) => {
            let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
            (headers, document).into_response()
        }
        Err(error) => Failure::from(error).into_response(),
    }
}

fn document(doors: &Doors, request: &Request) -> Result<String> {
    let path = request.uri().path().strip_prefix(METADATA).unwrap_or_default();
    let issuer = doors.openact()?.issuer();
    let Some(issuer) = issuer.filter(|_| path.is_empty() || doors.settings.mcp.is_some()) else {
        return Err(Error::not_found("no issuer of tokens is configured for that")
            .hint("tokens are made by: openact token create NAME"));
    };
    let base = base(doors, request).ok_or_else(|| Error::invalid_input("the request names no host"))?;
    Ok(json!({
        "resource": format!("{base}{path}"),
        "resource_name": "OpenAct",
        "authorization_servers": [issuer],
        "scopes_supported": [SCOPE_RUN, SCOPE_MANAGE],
        "bearer_methods_supported": ["header"],
    })
    .to_string())
}

/// Adds to a refusal where the metadata of what was asked for is, and the scope that does for most of it.
pub(crate) fn lead(mut response: Response, base: Option<String>, path: &str) -> Response {
    if let (Some(base), Some(challenge)) = (base, response.headers_mut().get_mut(header::WWW_AUTHENTICATE)) {
        let below = if path == MCP { MCP } else { "" };
        let said = challenge.to_str().unwrap_or("Bearer").to_owned();
        let scope = if said.contains("scope=") { String::new() } else { format!(", scope=\"{SCOPE_RUN}\"") };
        let led = format!("{said}{scope}, resource_metadata=\"{base}{METADATA}{below}\"");
        if let Ok(led) = HeaderValue::try_from(led) {
            *challenge = led;
        }
    }
    response
}
