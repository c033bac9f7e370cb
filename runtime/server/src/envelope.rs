//! What is answered: `{"success": true, "data", "metadata"}` or `{"success": false, "error", "metadata"}`.
//!
//! A route gives a [`Reply`] or a [`Failure`]; [`finish`], around all routes, writes it, since it knows the request's id and how
//! long it took. Invariant: what was logged as the cause of an error is not in its answer.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Instant};

use axum::{
    body::Body,
    extract::Request,
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures_util::FutureExt;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use openact::{Error, ErrorCode, Json, RunRecord};
use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::Value;

/// The header of the request's id.
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// An id that a caller gave, longest.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// What a request is called in logs and answers: the caller's own word for it, or a new one.
#[derive(Clone, Debug)]
pub(crate) struct RequestId(pub(crate) Arc<str>);

impl RequestId {
    fn of(headers: &HeaderMap) -> Self {
        let is_plain = |text: &&str| {
            (1..=REQUEST_ID_BYTES_MAX).contains(&text.len())
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:/+=@".contains(&b))
        };
        let given = headers.get(X_REQUEST_ID).and_then(|value| value.to_str().ok()).filter(is_plain);
        Self(given.map_or_else(|| uuid::Uuid::now_v7().to_string().into(), Into::into))
    }
}

/// What the answer tells besides.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metadata {
    pub(crate) run_id: Option<String>,
    pub(crate) action_trn: Option<String>,
    pub(crate) version: Option<u32>,
    pub(crate) warnings: Vec<String>,
}

impl Metadata {
    pub(crate) fn of(run: Option<&RunRecord>) -> Self {
        Self {
            run_id: run.map(|run| run.id.to_string()),
            action_trn: run.map(|run| run.action.to_string()),
            version: run.map(|run| run.action.version.get()),
            warnings: Vec::new(),
        }
    }
}

/// What a route has found.
#[derive(Clone, Debug)]
pub(crate) enum Data {
    Value(Value),
    /// `{"result": …}`, the text as the connector returned it.
    Result(Json),
}

impl Serialize for Data {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Value(value) => value.serialize(serializer),
            Self::Result(json) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("result", json)?;
                map.end()
            }
        }
    }
}

/// An answer of a route that succeeded.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) data: Data,
    pub(crate) metadata: Metadata,
    pub(crate) headers: HeaderMap,
}

impl Reply {
    /// 200 with `data`.
    pub(crate) fn new(data: Value) -> Self {
        Self::of(Data::Value(data))
    }

    pub(crate) fn of(data: Data) -> Self {
        Self { status: StatusCode::OK, data, metadata: Metadata::default(), headers: HeaderMap::new() }
    }

    #[must_use]
    pub(crate) fn status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    #[must_use]
    pub(crate) fn metadata(mut self, metadata: Metadata) -> Self {
        self.metadata = metadata;
        self
    }

    #[must_use]
    pub(crate) fn header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::try_from(value) {
            self.headers.insert(name, value);
        }
        self
    }
}

/// An answer of a route that failed.
#[derive(Debug)]
pub(crate) struct Failure(Box<Failed>);

/// The parts of a [`Failure`].
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) error: Error,
    /// Where HTTP says more than the code's row: 405, 413, 415.
    pub(crate) status: Option<StatusCode>,
    pub(crate) metadata: Metadata,
    pub(crate) headers: HeaderMap,
}

impl std::ops::Deref for Failure {
    type Target = Failed;
    fn deref(&self) -> &Failed {
        &self.0
    }
}

impl Failure {
    #[must_use]
    pub(crate) fn status(mut self, status: StatusCode) -> Self {
        self.0.status = Some(status);
        self
    }

    #[must_use]
    pub(crate) fn metadata(mut self, metadata: Metadata) -> Self {
        self.0.metadata = metadata;
        self
    }

    #[must_use]
    pub(crate) fn header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::try_from(value) {
            self.0.headers.insert(name, value);
        }
        self
    }
}

impl Failure {
    /// The same for somebody who was not let in: what is wrong with the store names files and hosts, which are not theirs to
    /// know.
    #[must_use]
    pub(crate) fn for_strangers(self) -> Self {
        if self.error.code != ErrorCode::StoreUnavailable {
            return self;
        }
        tracing::warn!("{:?}", self.error);
        let error = Error::store_unavailable("the store cannot be read");
        error.with_retryable(self.error.retryable()).hint("the log of the server says why").into()
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let (metadata, headers) = (Metadata::default(), HeaderMap::new());
        Self(Box::new(Failed { error, status: None, metadata, headers }))
    }
}

/// What a route gives back.
pub(crate) type Answer = std::result::Result<Reply, Failure>;

/// A finished answer on its way to [`finish`].
#[derive(Debug)]
struct Answered {
    outcome: std::result::Result<Data, Error>,
    metadata: Metadata,
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        let answered = Answered { outcome: Ok(self.data), metadata: self.metadata };
        held(self.status, self.headers, answered)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let Failed { error, status, metadata, headers } = *self.0;
        if matches!(error.code, ErrorCode::Internal) {
            tracing::error!("{error:?}");
        } else {
            tracing::debug!("{error:?}");
        }
        let by_code =
            StatusCode::from_u16(error.code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        held(status.unwrap_or(by_code), headers, Answered { outcome: Err(error), metadata })
    }
}

fn held(status: StatusCode, headers: HeaderMap, answered: Answered) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response.extensions_mut().insert(Arc::new(answered));
    response
}

/// Around every route: gives the request its id, writes the envelope, answers for a route that panicked.
pub(crate) async fn finish(mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = RequestId::of(request.headers());
    request.extensions_mut().insert(id.clone());
    let mut response = match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(_) => {
            Failure::from(Error::internal("the server failed; this is a bug of OpenAct")).into_response()
        }
    };
    let answered = response.extensions_mut().remove::<Arc<Answered>>();
    // Of what is as it was, nothing is told but this.
    if let Some(answered) = answered.filter(|_| response.status() != StatusCode::NOT_MODIFIED) {
        let written = write(&answered, &id, Some(started.elapsed().as_millis() as u64));
        let length = HeaderValue::from(written.len());
        *response.body_mut() = Body::from(written);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::CONTENT_LENGTH, length);
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    }
    if let Ok(id) = HeaderValue::try_from(&*id.0) {
        response.headers_mut().insert(X_REQUEST_ID, id);
    }
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// The envelope of a call that ended while its items were already on their way.
pub(crate) fn last_word(
    outcome: std::result::Result<Json, Error>,
    metadata: Metadata,
    id: &RequestId,
) -> Vec<u8> {
    write(&Answered { outcome: outcome.map(Data::Result), metadata }, id, None)
}

#[derive(Serialize)]
struct Written<'a> {
    success: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a Data>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Value>,
    metadata: WrittenMetadata<'a>,
}

#[derive(Serialize)]
struct WrittenMetadata<'a> {
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    run_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    execution_time_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    action_trn: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u32>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    warnings: &'a [String],
}

fn write(answered: &Answered, id: &RequestId, execution_time_ms: Option<u64>) -> Vec<u8> {
    let Metadata { run_id, action_trn, version, warnings } = &answered.metadata;
    let written = Written {
        success: answered.outcome.is_ok(),
        data: answered.outcome.as_ref().ok(),
        error: answered.outcome.as_ref().err().map(shown),
        metadata: WrittenMetadata {
            request_id: &id.0,
            run_id: run_id.as_deref(),
            execution_time_ms,
            action_trn: action_trn.as_deref(),
            version: *version,
            warnings,
        },
    };
    // Nothing in it can fail to be written: no map has keys that are not text.
    serde_json::to_vec(&written).unwrap_or_default()
}

/// The error, with its code in upper case, as clients of the earlier OpenAct expect it.
pub(crate) fn shown(error: &Error) -> Value {
    let mut shown = error.to_json();
    if let Some(code) = shown.get_mut("code") {
        *code = error.code.as_str().to_ascii_uppercase().into();
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(given: &str) -> String {
        let mut headers = HeaderMap::new();
        headers.insert(X_REQUEST_ID, HeaderValue::from_bytes(given.as_bytes()).unwrap());
        RequestId::of(&headers).0.to_string()
    }

    #[test]
    fn a_callers_id_is_taken_if_it_is_short_and_plain() {
        assert_eq!(id("abc-1/2.3"), "abc-1/2.3");
        for odd in ["", "a b", "ü", "<script>", &"x".repeat(129)] {
            let made = id(odd);
            assert!(made != odd && made.len() == 36, "{odd} {made}");
        }
    }

    #[test]
    fn what_is_wrong_with_the_store_is_not_for_strangers() {
        let error =
            Error::store_unavailable("database sqlite:///srv/openact.db is locked").with_retryable(false);
        let failure = Failure::from(error.details(serde_json::json!({ "path": "/srv" }))).for_strangers();
        assert_eq!((failure.error.code, failure.error.retryable()), (ErrorCode::StoreUnavailable, false));
        assert!(!failure.error.to_json().to_string().contains("/srv"), "{:?}", failure.error);
        let told = Failure::from(Error::new(ErrorCode::Unauthenticated, "a token is needed")).for_strangers();
        assert_eq!(told.error.message, "a token is needed");
    }

    #[test]
    fn an_envelope_has_the_code_in_upper_case_and_no_cause() {
        let error =
            Error::not_found("there is no action 'x'").hint("did you mean 'y'?").because("the inner cause");
        let answered = Answered { outcome: Err(error), metadata: Metadata::default() };
        let written = String::from_utf8(write(&answered, &RequestId("r".into()), Some(3))).unwrap();
        assert_eq!(
            written,
            r#"{"success":false,"error":{"code":"NOT_FOUND","message":"there is no action 'x'","retryable":false,"hint":"did you mean 'y'?"},"metadata":{"request_id":"r","execution_time_ms":3}}"#
        );
    }
}
