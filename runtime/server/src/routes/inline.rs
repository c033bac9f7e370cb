//! Running an action that is in the request itself, for whoever tries one out.
//!
//! Invariant: it runs in a runtime of its own, with a database of its own: nothing of the stored connections (credentials,
//! tokens, sessions), nor a variable or a file of the server, is within its reach; and who may not manage may not do it.

use std::{fmt, sync::Arc};

use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use openact::{Builder, Error, ErrorCode, Execution, Format, Request, SecretRef};
use serde_json::Value;
use tokio::sync::Semaphore;

use super::execute;
use crate::{
    Doors,
    access::Manage,
    envelope::{Data, Failure, Metadata, Reply},
    extract::JsonBody,
    shapes::{Envelope, ExecuteResult, InlineBody},
};

/// How a runtime for one call is set up: with the limits of the server's own.
#[derive(Clone)]
pub struct Inline {
    builder: Arc<dyn Fn() -> Builder + Send + Sync>,
    /// Each has a sandbox of its own.
    at_once: Arc<Semaphore>,
}

impl Inline {
    /// By `builder`, which says what may be reached; the database is in memory, whatever it says.
    pub fn new(builder: impl Fn() -> Builder + Send + Sync + 'static) -> Self {
        let at_once = Arc::new(Semaphore::new(openact::limits::SERVER_INLINE_MAX));
        Self { builder: Arc::new(builder), at_once }
    }
}

impl fmt::Debug for Inline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Inline")
    }
}

/// Run an action of a configuration that is in the request. Its run is not kept
#[utoipa::path(post, path = "/execute-inline", tag = "execute", request_body = InlineBody,
    responses((status = 200, description = "Its result", body = Envelope<ExecuteResult>)))]
pub(crate) async fn run(
    axum::extract::State(doors): axum::extract::State<Doors>,
    Manage(call): Manage,
    headers: HeaderMap,
    JsonBody(body): JsonBody<InlineBody>,
) -> Result<Response, Failure> {
    let inline = doors.settings.inline.as_ref().ok_or_else(|| {
        Error::new(ErrorCode::Forbidden, "this server runs no configuration that is in a request")
    })?;
    if body.options.stream == Some(true) || headers.contains_key("idempotency-key") {
        return Err(Error::invalid_input("what runs inline is neither streamed nor kept under a key").into());
    }
    let mut warnings = vec!["the run is not kept".to_owned()];
    let request = execute::request(
        &call,
        body.action,
        Value::Object(body.input),
        &body.options,
        &headers,
        &mut warnings,
    )?;
    // The configuration becomes the default tenant's of its own database.
    let request = Request { tenant: openact::Tenant::default(), ..request };
    let _place = inline.at_once.acquire().await;
    let config = Value::Object(body.config);
    refuse_references(&config)?;
    let text = config.to_string();
    let builder = (inline.builder)()
        .env(|_| None)
        .store("sqlite::memory:")
        .instances_max(1)
        .config_text(text, Format::Json);
    let openact = builder.build().await?;
    let Execution { result, run } = openact.execute(request).await;
    let metadata = Metadata { run_id: None, warnings, ..Metadata::of(run.as_deref()) };
    if let Err(error) = openact.close().await {
        tracing::debug!("{error:?}");
    }
    match result {
        Ok(result) => Ok(Reply::of(Data::Result(result)).metadata(metadata).into_response()),
        Err(error) => Err(Failure::from(error).metadata(metadata)),
    }
}

/// What this machine keeps would go to whatever host the configuration names.
fn refuse_references(value: &Value) -> openact::Result<()> {
    if let Some(SecretRef::File(_) | SecretRef::Env(_)) = SecretRef::from_json(value) {
        return Err(Error::invalid_config(
            "a configuration in a request cannot refer to a variable or a file of the server",
        )
        .hint("write the value itself, or store the connection"));
    }
    match value {
        Value::Object(fields) => fields.values().try_for_each(refuse_references),
        Value::Array(items) => items.iter().try_for_each(refuse_references),
        _ => Ok(()),
    }
}
