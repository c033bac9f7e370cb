//! One request and its response, in the words of WASI 0.2.
//!
//! Invariant: every resource is dropped before this returns, children first.

use openact_connector::Failure;
use serde_json::{Value, json};
use wasip2::{
    http::{
        outgoing_handler,
        types::{
            ErrorCode, Fields, IncomingResponse, Method, OutgoingBody, OutgoingRequest, RequestOptions,
            Scheme,
        },
    },
    io::streams::StreamError,
};

use crate::component::{Action, Connection, Read};

/// What one write to an output stream may carry.
const WRITE_BYTES_MAX: usize = 4096;

pub(crate) fn send(connection: &Connection, action: &Action) -> Result<Value, Failure> {
    let joined = || format!("{}{}", connection.base_url.trim_end_matches('/'), action.path);
    let url = action.url.clone().unwrap_or_else(joined);
    let request = request(&url, action)?;
    let body = request.body().map_err(|()| invalid("body"))?;
    let future = outgoing_handler::handle(request, Some(options(action)?)).map_err(failure)?;
    // Whoever refuses or answers early reads no body: what came back says more than that it could not be written.
    let _ = match &action.body {
        Some(text) => write(body, text.as_bytes()),
        None => OutgoingBody::finish(body, None).map_err(failure),
    };
    future.subscribe().block();
    let answer = future.get().ok_or_else(|| Failure::Protocol("ready without an answer".into()))?;
    let answer = answer.map_err(|()| Failure::Protocol("the answer was taken before".into()))?;
    let response = answer.map_err(failure)?;
    read(response, action.read)
}

fn request(url: &str, action: &Action) -> Result<OutgoingRequest, Failure> {
    let (scheme, rest) = url.split_once("://").ok_or_else(|| invalid("URL"))?;
    let at = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at(at);
    let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
    let headers = Fields::new();
    for (name, value) in &action.headers {
        headers
            .append(name, value.as_bytes())
            .map_err(|error| Failure::InvalidConfig(format!("header {name}: {error:?}")))?;
    }
    if let Some(body) = &action.body {
        let length = body.len().to_string();
        headers.append("content-length", length.as_bytes()).map_err(|_| invalid("content-length"))?;
    }
    let request = OutgoingRequest::new(headers);
    request.set_method(&method(action)).map_err(|()| invalid("method"))?;
    let scheme = match scheme {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        other => Scheme::Other(other.into()),
    };
    request.set_scheme(Some(&scheme)).map_err(|()| invalid("scheme"))?;
    request.set_authority(Some(authority)).map_err(|()| invalid("authority"))?;
    request.set_path_with_query(Some(&target)).map_err(|()| invalid("path"))?;
    Ok(request)
}

fn method(action: &Action) -> Method {
    match action.method.as_deref().unwrap_or("GET") {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        "CONNECT" => Method::Connect,
        "OPTIONS" => Method::Options,
        "TRACE" => Method::Trace,
        "PATCH" => Method::Patch,
        other => Method::Other(other.into()),
    }
}

fn options(action: &Action) -> Result<RequestOptions, Failure> {
    const NANOSECONDS: u64 = 1_000_000;
    let options = RequestOptions::new();
    let connect = action.connect_timeout_ms.map(|ms| ms * NANOSECONDS);
    options.set_connect_timeout(connect).map_err(|()| invalid("connect timeout"))?;
    let first_byte = action.first_byte_timeout_ms.map(|ms| ms * NANOSECONDS);
    options.set_first_byte_timeout(first_byte).map_err(|()| invalid("first byte timeout"))?;
    Ok(options)
}

fn write(body: OutgoingBody, bytes: &[u8]) -> Result<(), Failure> {
    let stream = body.write().map_err(|()| invalid("body"))?;
    for part in bytes.chunks(WRITE_BYTES_MAX) {
        stream.blocking_write_and_flush(part).map_err(stream_failure)?;
    }
    drop(stream);
    OutgoingBody::finish(body, None).map_err(failure)
}

fn read(response: IncomingResponse, how: Read) -> Result<Value, Failure> {
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let headers: Vec<_> =
        response.headers().entries().into_iter().map(|(name, value)| json!([name, text(value)])).collect();
    let status = response.status();
    let mut bytes = Vec::new();
    if how == Read::All {
        let body = response.consume().map_err(|()| invalid("response"))?;
        let stream = body.stream().map_err(|()| invalid("response"))?;
        loop {
            match stream.blocking_read(64 * 1024) {
                Ok(part) => bytes.extend(part),
                Err(StreamError::Closed) => break,
                Err(error) => return Err(stream_failure(error)),
            }
        }
        drop(stream);
    }
    Ok(json!({"status_code": status, "headers": headers, "body": text(bytes)}))
}

fn invalid(what: &str) -> Failure {
    Failure::InvalidConfig(format!("the {what} was refused"))
}

fn stream_failure(error: StreamError) -> Failure {
    match error {
        StreamError::Closed => Failure::Network("the stream is closed".into()),
        StreamError::LastOperationFailed(error) => match wasip2::http::types::http_error_code(&error) {
            Some(code) => failure(code),
            None => Failure::Network(error.to_debug_string()),
        },
    }
}

/// Begins with the name of the code.
fn failure(code: ErrorCode) -> Failure {
    let text = format!("{code:?}").replacen("ErrorCode::", "", 1);
    match code {
        ErrorCode::HttpRequestDenied => Failure::Denied(text),
        ErrorCode::DnsTimeout
        | ErrorCode::ConnectionTimeout
        | ErrorCode::ConnectionReadTimeout
        | ErrorCode::ConnectionWriteTimeout
        | ErrorCode::HttpResponseTimeout => Failure::Timeout(text),
        _ => Failure::Network(text),
    }
}
