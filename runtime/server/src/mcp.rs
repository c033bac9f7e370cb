//! MCP at `/mcp`: the same callers, the same rules about who may call.
//!
//! Invariant: what calls by MCP has been let in as for any other route; an agent finds nothing here that manages (M6).

use axum::{
    Router,
    body::Body,
    extract::{FromRequestParts, Request, State},
    response::{IntoResponse, Response},
    routing::any,
};
use openact::limits;
use openact_mcp::{McpCaller, McpService, McpSettings, ToolSet};
use tower_service::Service;

use crate::{Doors, access::Call, extract};

/// How MCP is served.
#[derive(Clone, Debug, Default)]
pub struct McpDoor {
    /// Which tools there are.
    pub tools: ToolSet,
}

/// The route, if there is one.
pub(crate) fn routes(doors: &Doors) -> Router<Doors> {
    match &doors.settings.mcp {
        None => Router::new(),
        Some(_) => Router::new().route("/mcp", any(handle)),
    }
}

async fn handle(State(doors): State<Doors>, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    let call = match Call::from_request_parts(&mut parts, &doors).await {
        Ok(call) => call,
        Err(failure) => return failure.into_response(),
    };
    let caller = McpCaller {
        name: call.admitted.caller.id.clone(),
        tenant: call.tenant.clone(),
        governance: call.governance.clone(),
    };
    parts.extensions.insert(caller);
    // As any other body: whole, within its bound and its time.
    let body = match extract::read(body, limits::MCP_MESSAGE_BYTES_MAX, doors.settings.patience).await {
        Ok(body) => Body::from(body),
        Err(failure) => return failure.into_response(),
    };
    let mut service = service(&doors, &call).clone();
    match service.call(Request::from_parts(parts, body)).await {
        Ok(response) => response.map(Body::new),
        Err(never) => match never {},
    }
}

fn service<'a>(doors: &'a Doors, call: &Call) -> &'a McpService {
    doors.mcp.get_or_init(|| {
        let tools = doors.settings.mcp.as_ref().map(|door| door.tools).unwrap_or_default();
        // Host and Origin are looked at in front of every route.
        let settings = McpSettings {
            tools,
            timeout: doors.settings.timeout_max,
            loopback_only: false,
            ..McpSettings::new(None)
        };
        openact_mcp::service(call.openact.clone(), settings)
    })
}

/// Ends what waits for changes, and lets calls finish.
pub(crate) async fn shutdown(doors: &Doors) {
    if let Some(service) = doors.mcp.get() {
        service.shutdown().await;
    }
}
