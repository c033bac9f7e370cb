//! Runs: what was done.
//!
//! Invariant: a caller sees runs of their tenant's actions that they may run, and no others (M8).

use axum::response::Response;
use http::{HeaderMap, StatusCode, header};
use openact::{ActionTrn, ConnectorName, Error, RunFilter, RunId, RunRecord, RunStatus};
use serde_json::{Value, json};

use super::{Page, execute, json as written};
use crate::{
    access::Call,
    envelope::{Answer, Failure, Metadata, Reply, shown},
    extract::{JsonBody, Named, Params},
    shapes::{Envelope, ExecuteTrnBody, Fields, RunList, RunQuery, RunStatusQuery, StreamEvent},
    stream,
};

/// How far back a list goes.
const RUNS_LISTED_MAX: usize = 10_000;

/// Runs, the newest first
#[utoipa::path(get, path = "/runs", tag = "runs", params(RunQuery),
    responses((status = 200, description = "A page of them", body = Envelope<RunList>)))]
pub(crate) async fn list(call: Call, Params(query): Params<RunQuery>) -> Answer {
    let page = Page::of(query.page, query.page_size)?;
    let wanted = page.skipped().saturating_add(page.size as usize);
    if wanted > RUNS_LISTED_MAX {
        return Err(Error::invalid_input(format!("only the {RUNS_LISTED_MAX} latest runs are listed"))
            .hint("narrow it down by action, kind or status")
            .into());
    }
    let filter = RunFilter {
        action: query.action.as_deref().map(str::parse::<ActionTrn>).transpose()?,
        connector: query.kind.as_deref().map(ConnectorName::canonical).transpose()?,
        failed_only: query.status == Some(RunStatusQuery::Failed),
    };
    // Of a caller who may not see all, it is not known how many are to be left out.
    let is_all = *call.governance == openact::Governance::default();
    let most = if is_all { wanted + 1 } else { RUNS_LISTED_MAX };
    let mut runs =
        call.openact.list_runs(&call.tenant, u32::try_from(most).unwrap_or(u32::MAX), &filter).await?;
    runs.retain(|run| call.governance.allows(&run.action));
    let has_more = runs.len() > wanted;
    let runs = page.cut(runs).iter().map(record).collect();
    Ok(Reply::new(written(RunList { runs, page: page.number, page_size: page.size, has_more })?))
}

/// One run: its record, and of one that was started by POST /runs its state and result
#[utoipa::path(get, path = "/runs/{run_id}", tag = "runs", params(("run_id" = String, Path, description = "As in an answer's metadata")),
    responses((status = 200, description = "What is known of it", body = Envelope<Fields>)))]
pub(crate) async fn get(call: Call, Named(id): Named) -> Answer {
    let id = id.parse()?;
    let status = visible(&call, id).await?;
    Ok(Reply::new(told(&call, status).await))
}

/// Start a run and do not wait for it
#[utoipa::path(post, path = "/runs", tag = "runs", request_body = ExecuteTrnBody,
    responses((status = 202, description = "It was started; Location says where it is told of", body = Envelope<Fields>)))]
pub(crate) async fn start(
    call: Call,
    headers: HeaderMap,
    JsonBody(body): JsonBody<ExecuteTrnBody>,
) -> Answer {
    let trn: ActionTrn = body.action_trn.parse()?;
    let (mut warnings, input) = (Vec::new(), Value::Object(body.input));
    let request = execute::request(&call, trn.to_string(), input, &body.options, &headers, &mut warnings)?;
    let id = call.openact.start_run(request, body.options.stream == Some(true)).await?;
    let status = call.openact.run_status(&call.tenant, id).await?;
    let metadata = Metadata {
        run_id: Some(id.to_string()),
        action_trn: Some(trn.to_string()),
        version: Some(trn.version.get()),
        warnings,
    };
    Ok(Reply::new(told(&call, status).await)
        .status(StatusCode::ACCEPTED)
        .metadata(metadata)
        .header(header::LOCATION, &format!("/api/v1/runs/{id}")))
}

/// Stop a run
#[utoipa::path(post, path = "/runs/{run_id}/cancel", tag = "runs", params(("run_id" = String, Path, description = "As in an answer's metadata")),
    responses((status = 200, description = "It was told to stop", body = Envelope<Fields>)))]
pub(crate) async fn cancel(call: Call, Named(id): Named) -> Answer {
    let id = id.parse()?;
    visible(&call, id).await?;
    call.openact.cancel_run(&call.tenant, id).await?;
    let status = visible(&call, id).await?;
    Ok(Reply::new(told(&call, status).await))
}

/// What happens in a run, as server-sent events: item, missed, and at the end result or error
#[utoipa::path(get, path = "/runs/{run_id}/events", tag = "runs",
    params(("run_id" = String, Path, description = "As in an answer's metadata"),
        ("last-event-id" = Option<String>, Header, description = "The id of the last event that was read")),
    responses((status = 200, description = "The events", content_type = "text/event-stream", body = StreamEvent)))]
pub(crate) async fn events(call: Call, Named(id): Named, headers: HeaderMap) -> Result<Response, Failure> {
    let id = id.parse()?;
    visible(&call, id).await?;
    let after = match headers.get("last-event-id") {
        None => 0,
        Some(after) => after
            .to_str()
            .ok()
            .and_then(|after| after.parse().ok())
            .ok_or_else(|| Error::invalid_input("last-event-id is not the id of an event"))?,
    };
    let events = call.openact.run_events(&call.tenant, id, after).await?;
    Ok(stream::run_events(call, id, events))
}

/// The record, with the code of its error as every answer has it.
fn record(run: &RunRecord) -> Value {
    let mut record = run.to_json();
    if let (Some(code), Some((failed, _))) = (record.pointer_mut("/error/code"), &run.failure) {
        *code = failed.as_str().to_ascii_uppercase().into();
    }
    record
}

/// A run of an action that the caller may run; any other is not there.
async fn visible(call: &Call, id: RunId) -> openact::Result<RunStatus> {
    let status = call.openact.run_status(&call.tenant, id).await?;
    if !call.governance.allows(&status.action) {
        return Err(Error::not_found(format!("there is no run {id}")));
    }
    Ok(status)
}

/// The record, if it is written, with what else is known.
async fn told(call: &Call, status: RunStatus) -> Value {
    let mut told = match call.openact.get_run(&call.tenant, status.id).await {
        Ok(run) => record(&run),
        Err(_) => {
            json!({"run_id": status.id.to_string(), "action_trn": status.action, "started_at": status.started_at})
        }
    };
    if let Value::Object(told) = &mut told {
        told.insert("state".into(), status.state.as_str().into());
        match status.outcome {
            Some(Ok(result)) => drop(told.insert("result".into(), result.value().unwrap_or_default())),
            Some(Err(error)) => drop(told.insert("error".into(), shown(&error))),
            None => {}
        }
    }
    told
}
