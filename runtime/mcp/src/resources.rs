//! Resources: what an action takes and gives, and what ran of late.
//!
//! | URI | what |
//! |---|---|
//! | `openact://actions/{connector}/{name}` | the latest version of an action, with its schemas |
//! | `openact://runs/recent` | the newest runs of the caller's tenant, of actions that the caller may run |
//!
//! Invariant: what a caller may not run is not found, as if it were not there.

use openact::{Result, RunFilter, limits::MCP_RUNS, nearest};
use rmcp::{
    ErrorData,
    model::{CacheScope, ReadResourceResult, Resource, ResourceContents, ResourceTemplate},
};
use serde_json::{Value, json};

use crate::{McpCaller, Server, search, tools};

const ACTIONS: &str = "openact://actions/";
const RUNS: &str = "openact://runs/recent";
const JSON: &str = "application/json";

/// One page of them.
pub(crate) async fn list(
    server: &Server,
    caller: &McpCaller,
    cursor: Option<&str>,
) -> Result<(Vec<Resource>, Option<String>), ErrorData> {
    let tools = server.tools(caller).await?;
    let actions = tools.seen(&caller.governance).map(|(_, interface)| {
        let action = &interface.action;
        let resource = Resource::new(
            format!("{ACTIONS}{}/{}", action.connector, action.name),
            format!("{}/{}", action.connector, action.name),
        );
        let resource = resource.with_mime_type(JSON);
        let said = tools::said(interface, "description").or(interface.description.as_deref());
        let resource = match said {
            Some(said) => resource.with_description(said),
            None => resource,
        };
        (resource.uri.clone(), resource)
    });
    let runs = Resource::new(RUNS, "recent runs")
        .with_mime_type(JSON)
        .with_description("what ran of late, how it ended, and what it asked of other systems");
    let mut all: Vec<(String, Resource)> = actions.chain([(RUNS.to_owned(), runs)]).collect();
    all.sort_by(|(one, _), (other, _)| one.cmp(other));
    tools::page(all.into_iter(), cursor)
}

/// How the URIs of actions are made.
pub(crate) fn templates() -> Vec<ResourceTemplate> {
    let template =
        ResourceTemplate::new(format!("{ACTIONS}{{connector}}/{{name}}"), "an action and its schemas");
    vec![template.with_mime_type(JSON).with_description("what an action does, takes and gives")]
}

/// What is at `uri`.
pub(crate) async fn read(
    server: &Server,
    caller: &McpCaller,
    uri: &str,
) -> Result<ReadResourceResult, ErrorData> {
    let found = match uri.strip_prefix(ACTIONS) {
        Some(path) => action(server, caller, path).await?,
        None if uri == RUNS => Some(runs(server, caller).await?),
        None => None,
    };
    let Some(found) = found else {
        return Err(unknown(server, caller, uri).await);
    };
    let contents = ResourceContents::text(found.to_string(), uri).with_mime_type(JSON);
    Ok(ReadResourceResult::new(vec![contents]).with_ttl_ms(0).with_cache_scope(CacheScope::Private))
}

async fn action(server: &Server, caller: &McpCaller, path: &str) -> Result<Option<Value>, ErrorData> {
    let tools = server.tools(caller).await?;
    let found = tools.seen(&caller.governance).find(|(_, interface)| {
        let action = &interface.action;
        path.split_once('/') == Some((action.connector.as_str(), action.name.as_str()))
    });
    Ok(found.map(|(name, interface)| {
        let mut told = search::told(interface);
        if let (Value::Object(told), true) = (&mut told, server.settings.tools.has_actions()) {
            told.insert("tool".into(), name.into());
        }
        told
    }))
}

async fn runs(server: &Server, caller: &McpCaller) -> Result<Value, ErrorData> {
    let runs = server.openact.list_runs(&caller.tenant, MCP_RUNS, &RunFilter::default()).await;
    let mut runs = runs.map_err(|error| internal(&error))?;
    runs.retain(|run| caller.governance.allows(&run.action));
    let runs: Vec<Value> = runs.iter().map(openact::RunRecord::to_json).collect();
    Ok(json!({ "runs": runs }))
}

async fn unknown(server: &Server, caller: &McpCaller, uri: &str) -> ErrorData {
    let mut uris = vec![RUNS.to_owned()];
    if let Ok(tools) = server.tools(caller).await {
        let seen = tools.seen(&caller.governance).map(|(_, interface)| &interface.action);
        uris.extend(seen.map(|action| format!("{ACTIONS}{}/{}", action.connector, action.name)));
    }
    let shown: String = uri.chars().take(256).collect();
    let near = nearest(uri, uris.iter().map(String::as_str));
    let end = near.map_or_else(String::new, |near| format!("; did you mean '{near}'?"));
    let message = format!("there is no resource '{}'{end}", shown.escape_debug());
    ErrorData::resource_not_found(message, Some(json!({ "uri": shown })))
}

/// A failure that has no result to be told in.
pub(crate) fn internal(error: &openact::Error) -> ErrorData {
    ErrorData::internal_error(format!("{}: {}", error.code, error.message), Some(error.to_json()))
}
