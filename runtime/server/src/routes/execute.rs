//! Running an action and waiting for its result.
//!
//! Invariant: by name, the version is said: a client that was written for one version does not run another unasked.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use openact::{ActionTrn, Door, Error, Request, Result, TraceContext, Version};
use serde_json::Value;

use crate::{
    access::Call,
    envelope::{Data, Failure, Metadata, Reply},
    extract::{JsonBody, Named, Params},
    shapes::{
        Envelope, ExecuteBody, ExecuteOptions, ExecuteQuery, ExecuteResult, ExecuteTrnBody, StreamEvent,
    },
    stream::{self, Form},
};

/// Run an action by name or TRN
#[utoipa::path(post, path = "/actions/{reference}/execute", tag = "execute",
    params(("reference" = String, Path, description = "connector.name, name, or a TRN (percent-encoded)"), ExecuteQuery),
    request_body = ExecuteBody,
    responses((status = 200, description = "Its result; with options.stream its items, one by one", content(
        (Envelope<ExecuteResult> = "application/json"), (StreamEvent = "text/event-stream"), (String = "application/x-ndjson")))))]
pub(crate) async fn by_reference(
    call: Call,
    Named(reference): Named,
    Params(query): Params<ExecuteQuery>,
    headers: HeaderMap,
    JsonBody(body): JsonBody<ExecuteBody>,
) -> Result<Response, Failure> {
    let action = versioned(&reference, query.version.as_deref())?;
    let mut warnings = Vec::new();
    if query.validate == Some(false) {
        warnings.push("validate=false has no effect: an input is always checked".to_owned());
    }
    execute(call, action, Value::Object(body.input), &body.options, &headers, warnings).await
}

/// Run an action by its TRN
#[utoipa::path(post, path = "/execute", tag = "execute", request_body = ExecuteTrnBody,
    responses((status = 200, description = "Its result; with options.stream its items, one by one", content(
        (Envelope<ExecuteResult> = "application/json"), (StreamEvent = "text/event-stream"), (String = "application/x-ndjson")))))]
pub(crate) async fn by_trn(
    call: Call,
    headers: HeaderMap,
    JsonBody(body): JsonBody<ExecuteTrnBody>,
) -> Result<Response, Failure> {
    let trn: ActionTrn = body.action_trn.parse()?;
    execute(call, trn.to_string(), Value::Object(body.input), &body.options, &headers, Vec::new()).await
}

async fn execute(
    call: Call,
    action: String,
    input: Value,
    options: &ExecuteOptions,
    headers: &HeaderMap,
    mut warnings: Vec<String>,
) -> Result<Response, Failure> {
    let form = if options.stream == Some(true) { Some(Form::of(headers)?) } else { None };
    let request = request(&call, action, input, options, headers, &mut warnings)?;
    if let Some(form) = form {
        return Ok(stream::respond(call, request, form, warnings).await);
    }
    let execution = call.openact.execute(request).await;
    let metadata = Metadata { warnings, ..Metadata::of(execution.run.as_deref()) };
    match execution.result {
        Ok(result) => Ok(Reply::of(Data::Result(result)).metadata(metadata).into_response()),
        Err(error) => Err(Failure::from(error).metadata(metadata)),
    }
}

/// The call as every door makes it, with what the caller should know besides.
pub(crate) fn request(
    call: &Call,
    action: String,
    input: Value,
    options: &ExecuteOptions,
    headers: &HeaderMap,
    warnings: &mut Vec<String>,
) -> Result<Request> {
    if options.timeout_ms == Some(0) {
        return Err(Error::invalid_input("timeout_ms must be at least 1"));
    }
    let dry_run = options.dry_run.unwrap_or(false);
    if dry_run {
        warnings.push("dry_run=true".to_owned());
    }
    Ok(Request {
        timeout: options.timeout_ms.map(Duration::from_millis),
        timeout_max: call.timeout_max,
        dry_run,
        trace: TraceContext::of_headers(headers),
        idempotency_key: idempotency_key(headers)?,
        governance: call.governance.clone(),
        ..Request::new(Door::Rest, call.tenant.clone(), action, input)
    })
}

/// One key, as text; what it may be is the runtime's to say.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>> {
    let mut keys = headers.get_all("idempotency-key").iter();
    match (keys.next(), keys.next()) {
        (None, _) => Ok(None),
        (Some(key), None) => match key.to_str() {
            Ok(key) => Ok(Some(key.to_owned())),
            Err(_) => Err(Error::invalid_input("idempotency-key is not plain text")),
        },
        _ => Err(Error::invalid_input("idempotency-key is there twice")),
    }
}

/// The reference with its version, which is said in one of two places, or the same in both.
pub(crate) fn versioned(reference: &str, version: Option<&str>) -> Result<String> {
    let said = match reference.starts_with("trn:") {
        true => reference.rsplit_once("@v").map(|(_, version)| version),
        false => reference.split_once('@').map(|(_, version)| version.strip_prefix('v').unwrap_or(version)),
    };
    let Some(version) = version else {
        return match said {
            Some(_) => Ok(reference.to_owned()),
            None => {
                Err(Error::invalid_input(format!("the version of '{}' is missing", reference.escape_debug()))
                    .hint("add ?version=1, or another number, or ?version=latest"))
            }
        };
    };
    let wanted = match version {
        "latest" => "latest".to_owned(),
        number => number.strip_prefix('v').unwrap_or(number).parse::<Version>()?.to_string(),
    };
    match said {
        Some(said) if said == wanted => Ok(reference.to_owned()),
        Some(said) => Err(Error::invalid_input(format!(
            "the version is '{said}' in the path and '{wanted}' in the query"
        ))
        .hint("say it once")),
        None if wanted == "latest" => Ok(format!("{reference}@latest")),
        None => Ok(format!("{reference}@v{wanted}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_needs_a_version_and_a_trn_has_one() {
        let trn = "trn:openact:default:action/http/get@v2";
        for (reference, version, expected) in [
            ("http.get", Some("latest"), Some("http.get@latest")),
            ("http.get", Some("3"), Some("http.get@v3")),
            ("http/get", Some("v3"), Some("http/get@v3")),
            ("http/get@v3", None, Some("http/get@v3")),
            ("http/get@v3", Some("3"), Some("http/get@v3")),
            (trn, None, Some(trn)),
            (trn, Some("2"), Some(trn)),
            (trn, Some("3"), None),
            (trn, Some("latest"), None),
            ("http.get", None, None),
            ("http.get", Some("0"), None),
            ("http.get", Some(""), None),
            ("http.get", Some("newest"), None),
        ] {
            assert_eq!(versioned(reference, version).ok().as_deref(), expected, "{reference} {version:?}");
        }
    }
}
