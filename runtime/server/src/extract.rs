//! What is read of a request: its body, its query, the record its path names.
//!
//! Invariant: a body is read whole, within its bound and its time, and understood whole, before anything is done; a field or
//! a parameter that is not known is a mistake, never ignored.

use axum::{
    body::Body,
    extract::{FromRequest, FromRequestParts, Path, Query, Request},
};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header, request::Parts};
use http_body_util::BodyExt;
use openact::{Error, limits};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout_at};

use crate::{Doors, Patience, envelope::Failure};

/// A JSON body of at most [`limits::SERVER_BODY_BYTES_MAX`].
pub(crate) struct JsonBody<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<Doors> for JsonBody<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, doors: &Doors) -> Result<Self, Failure> {
        is_json(request.headers())?;
        let bytes = read(request.into_body(), limits::SERVER_BODY_BYTES_MAX, doors.settings.patience).await?;
        let parsed = serde_json::from_slice(&bytes).map_err(|error| {
            let what = match error.classify() {
                serde_json::error::Category::Data => "the body has another shape than is expected",
                _ if bytes.is_empty() => "the body is empty",
                _ => "the body is not JSON",
            };
            Error::invalid_input(format!("{what}: {error}")).hint("see /docs for what this route takes")
        })?;
        Ok(Self(parsed))
    }
}

/// A body as it is, with its content type.
pub(crate) struct RawBody(pub(crate) String, pub(crate) Bytes);

impl FromRequest<Doors> for RawBody {
    type Rejection = Failure;

    async fn from_request(request: Request, doors: &Doors) -> Result<Self, Failure> {
        let kind = content_type(request.headers()).to_owned();
        let max = usize::try_from(limits::COMPONENT_BYTES_MAX).unwrap_or(usize::MAX);
        Ok(Self(kind, read(request.into_body(), max, doors.settings.patience).await?))
    }
}

/// The parameters after `?`.
pub(crate) struct Params<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequestParts<Doors> for Params<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &Doors) -> Result<Self, Failure> {
        let Query(query) = Query::try_from_uri(&parts.uri).map_err(|rejection| {
            Error::invalid_input(format!("the query cannot be understood: {}", rejection.body_text()))
                .hint("see /docs for what this route takes")
        })?;
        Ok(Self(query))
    }
}

/// The one part of the path that varies, decoded.
pub(crate) struct Named(pub(crate) String);

impl FromRequestParts<Doors> for Named {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, doors: &Doors) -> Result<Self, Failure> {
        let Path(name) = Path::<String>::from_request_parts(parts, doors).await.map_err(|rejection| {
            Error::invalid_input(format!("the path cannot be understood: {}", rejection.body_text()))
        })?;
        Ok(Self(name))
    }
}

fn content_type(headers: &HeaderMap) -> &str {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim()
}

/// A page in a browser may send other types to another site without asking, and a form is not what was meant.
fn is_json(headers: &HeaderMap) -> Result<(), Failure> {
    let kind = content_type(headers).to_ascii_lowercase();
    if kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json")) {
        return Ok(());
    }
    let message = match kind.as_str() {
        "" => "the body has no content type".to_owned(),
        kind => format!("the body is '{}', not JSON", kind.escape_debug()),
    };
    Err(Failure::from(Error::invalid_input(message).hint("send the header content-type: application/json"))
        .status(StatusCode::UNSUPPORTED_MEDIA_TYPE))
}

/// The whole body, of at most `max` bytes.
pub(crate) async fn read(mut body: Body, max: usize, patience: Patience) -> Result<Bytes, Failure> {
    let too_large = || {
        let error = Error::invalid_input(format!("the body is too large: at most {max} bytes are allowed"));
        Failure::from(error.details(serde_json::json!({ "limit": "body_bytes" })))
            .status(StatusCode::PAYLOAD_TOO_LARGE)
            // What is still on its way is not read.
            .header(header::CONNECTION, "close")
    };
    if http_body::Body::size_hint(&body).lower() > max as u64 {
        return Err(too_large());
    }
    let end = Instant::now() + patience.body;
    let mut whole: Vec<u8> = Vec::new();
    loop {
        let next = end.min(Instant::now() + patience.body_silence);
        let frame = match timeout_at(next, body.frame()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(None) => return Ok(whole.into()),
            Ok(Some(Err(error))) => {
                let error = Error::invalid_input("the body ended before its end").because(error);
                return Err(Failure::from(error).header(header::CONNECTION, "close"));
            }
            Err(_) => return Err(late(patience)),
        };
        if let Ok(data) = frame.into_data() {
            if whole.len() + data.len() > max {
                return Err(too_large());
            }
            whole.extend_from_slice(&data);
        }
    }
}

fn late(patience: Patience) -> Failure {
    let error = Error::invalid_input(format!(
        "the body did not arrive in time: a pause of {} s, or {} s in all",
        patience.body_silence.as_secs(),
        patience.body.as_secs()
    ));
    Failure::from(error).status(StatusCode::REQUEST_TIMEOUT).header(header::CONNECTION, "close")
}
