//! `wasi:http/outgoing-handler`: what a plain HTTP library of any language asks, on the same path as
//! `openact:connector/http`, with the same grants, credential, limits and records.
//!
//! Invariant: a request body is whole before anything is dialled, so that it can be signed, counted and sent again.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, StreamBody};
use openact_core::{
    Error, ErrorCode,
    limits::{HTTP_READ_BYTES_MAX, WASI_HTTP_CHUNK_BYTES},
};
use tokio::time::timeout;
use wasmtime_wasi_http::{Error as WasiError, RequestOptions, WasiBody, WasiHttpHooks};

use super::http::{method, parse_url};
use crate::egress::{
    Body,
    traffic::{Incoming, Outgoing, Traffic},
};

/// The hooks of one call.
pub(crate) struct WasiOutgoing {
    pub(crate) traffic: Arc<Traffic>,
    /// Why the connector may not use it, if it may not.
    pub(crate) denied: bool,
}

type Sent = wasmtime_wasi_http::Result<(
    http::Response<WasiBody>,
    Box<dyn Future<Output = Result<(), WasiError>> + Send>,
)>;

impl WasiHttpHooks for WasiOutgoing {
    // A guest that only writes bodies would otherwise make the host keep 1 MiB of each.
    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        WASI_HTTP_CHUNK_BYTES
    }

    /// The host sets it.
    fn set_host_header(&mut self) -> bool {
        false
    }

    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _sent: Box<dyn Future<Output = Result<(), WasiError>> + Send>,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        if self.denied {
            self.traffic.record("http.send", "-".to_owned(), "egress_denied".to_owned());
            return Box::new(async { Err(WasiError::HttpRequestDenied) });
        }
        let traffic = self.traffic.clone();
        // The connection's own timeouts hold in any case; a guest may only be less patient.
        let patience = options.and_then(|options| options.first_byte_timeout).unwrap_or(Duration::MAX);
        Box::new(async move {
            let exchanged = match timeout(patience, exchange(&traffic, request)).await {
                Ok(exchanged) => exchanged,
                Err(_) => return Err(WasiError::ConnectionReadTimeout),
            };
            match exchanged {
                Ok(response) => {
                    Ok((response, Box::new(async { Ok(()) }) as Box<dyn Future<Output = _> + Send>))
                }
                Err(error) => {
                    let told = to_wasi(&error);
                    traffic.ledger().last_error = Some(error);
                    Err(told)
                }
            }
        })
    }
}

async fn exchange(
    traffic: &Arc<Traffic>,
    request: http::Request<WasiBody>,
) -> openact_core::Result<http::Response<WasiBody>> {
    let (mut head, body) = request.into_parts();
    let url = parse_url(&head.uri.to_string())?;
    let origin = traffic.permit(&url)?;
    // It was checked against the body; the one that is sent is made from the body.
    head.headers.remove(http::header::CONTENT_LENGTH);
    let mut body = whole(traffic, body).await?;
    let outgoing = Outgoing {
        method: method(head.method.as_str())?,
        url,
        headers: head.headers,
        body: Some(body.bytes.split().freeze()).filter(|body| !body.is_empty()),
        credential: true,
        // A library of the guest's follows redirects itself, and each comes through here again.
        follow: false,
    };
    let Incoming { status, headers, body } = traffic.send(origin, outgoing).await?;
    let parts = futures_util::stream::unfold(Some((body, traffic.clone())), |state| async move {
        let (mut body, traffic): (Body, Arc<Traffic>) = state?;
        match body.next(HTTP_READ_BYTES_MAX as usize).await {
            Ok(None) => None,
            Ok(Some(part)) => Some((Ok(http_body::Frame::<Bytes>::data(part)), Some((body, traffic)))),
            Err(error) => {
                let told = to_wasi(&error);
                traffic.ledger().last_error = Some(error);
                Some((Err(told), None))
            }
        }
    });
    let mut response = http::Response::new(StreamBody::new(parts).boxed_unsync());
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Ok(response)
}

/// A body on its way from the guest; what it holds counts for the call until it is sent or given up.
struct Buffered<'a> {
    traffic: &'a Traffic,
    bytes: BytesMut,
    counted: usize,
}

impl Drop for Buffered<'_> {
    fn drop(&mut self) {
        self.traffic.unbuffer(self.counted);
    }
}

async fn whole(traffic: &Traffic, mut body: WasiBody) -> openact_core::Result<Buffered<'_>> {
    let mut buffered = Buffered { traffic, bytes: BytesMut::new(), counted: 0 };
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Error::invalid_input("the request's body broke off"))?;
        let Ok(data) = frame.into_data() else { continue };
        buffered.counted += data.len();
        traffic.buffer(data.len())?;
        buffered.bytes.extend_from_slice(&data);
    }
    Ok(buffered)
}

fn to_wasi(error: &Error) -> WasiError {
    match error.code {
        ErrorCode::EgressDenied | ErrorCode::Forbidden | ErrorCode::AuthRequired => {
            WasiError::HttpRequestDenied
        }
        ErrorCode::Timeout => WasiError::ConnectionTimeout,
        ErrorCode::NetworkError => WasiError::ConnectionTerminated,
        ErrorCode::LimitExceeded => WasiError::HttpResponseBodySize(None),
        ErrorCode::InvalidInput => WasiError::HttpRequestUriInvalid,
        _ => WasiError::InternalError(Some(error.message.clone())),
    }
}
