//! From traps, guest failures and HTTP client errors to the one error type.
//!
//! Invariant: a failure of the guest's making never becomes `internal`, and text that a client library or the guest's
//! stack produced stays in the cause unless it is known to be harmless.

use std::error::Error as StdError;

use openact_core::{
    Error, ErrorCode,
    limits::{CAUSE_BYTES_MAX, FAILURE_DETAILS_BYTES_MAX},
};

use crate::{
    bindings::v0_1::types::{Failure, HostError, UpstreamFailure},
    egress::Masks,
};

/// A failure the connector returned, without what `masks` blanks out.
pub(crate) fn failure(failure: Failure, masks: &Masks) -> Error {
    let failure = masked(failure, masks);
    let new = |code, text: String| Error::new(code, clip(text));
    match failure {
        Failure::InvalidConfig(text) => new(ErrorCode::InvalidConfig, text),
        // The caller may care that nothing is wrong with what it asked, only with whom.
        Failure::Unsupported(text) => {
            new(ErrorCode::InvalidConfig, text).details(serde_json::json!({ "unsupported": true }))
        }
        Failure::InvalidInput(text) => new(ErrorCode::InvalidInput, text),
        Failure::Unauthenticated(text) => new(ErrorCode::AuthRequired, text),
        Failure::Denied(text) => new(ErrorCode::EgressDenied, text),
        Failure::RateLimited(after) => {
            let error = Error::new(ErrorCode::RateLimited, "the other system asks to slow down");
            match after {
                Some(ms) => error.details(serde_json::json!({ "retry_after_ms": ms })),
                None => error,
            }
        }
        Failure::Upstream(upstream) => {
            let details = upstream
                .details
                .filter(|text| text.len() <= FAILURE_DETAILS_BYTES_MAX)
                .and_then(|text| serde_json::from_str::<serde_json::Value>(&text).ok());
            new(ErrorCode::UpstreamError, upstream.message)
                .with_retryable(upstream.retryable)
                .details(serde_json::json!({ "code": upstream.code.map(clip), "upstream": details }))
        }
        Failure::Network(text) => new(ErrorCode::NetworkError, text),
        Failure::Timeout(text) => new(ErrorCode::Timeout, text),
        Failure::Protocol(text) => new(ErrorCode::UpstreamError, text),
        Failure::LimitExceeded(text) => new(ErrorCode::LimitExceeded, text),
    }
}

/// What the guest is told of an error of the host.
pub(crate) fn to_guest(error: &Error) -> HostError {
    let text = error.message.clone();
    match error.code {
        ErrorCode::InvalidInput | ErrorCode::InvalidConfig => HostError::InvalidRequest(text),
        ErrorCode::EgressDenied | ErrorCode::Forbidden => HostError::Denied(text),
        ErrorCode::AuthRequired => HostError::AuthRequired(text),
        ErrorCode::Timeout => HostError::Timeout(text),
        ErrorCode::UpstreamError => HostError::Protocol(text),
        ErrorCode::LimitExceeded => HostError::LimitExceeded(text),
        ErrorCode::NotFound => HostError::NotFound(text),
        ErrorCode::Conflict => HostError::Conflict(text),
        _ => HostError::Network(text),
    }
}

/// An error of the HTTP client. `target` is the method, origin and path, without the query. The cause may be worded by the
/// server (HTTP/2 has a field for it), so it is bounded, and searched for `masks`.
pub(crate) fn http_client(error: reqwest::Error, target: &str, masks: &Masks) -> Error {
    let error = error.without_url();
    let mut cause = clip(masks.redact(&root_cause(&error)));
    cause.truncate(cause.floor_char_boundary(CAUSE_BYTES_MAX));
    let (code, what) = if error.is_timeout() {
        (
            ErrorCode::Timeout,
            if error.is_connect() { "connecting timed out" } else { "the response timed out" }.to_owned(),
        )
    } else if error.is_connect() {
        (ErrorCode::NetworkError, format!("failed to connect: {cause}"))
    } else if error.is_body() || error.is_decode() {
        (ErrorCode::NetworkError, format!("the response broke off: {cause}"))
    } else {
        (ErrorCode::NetworkError, format!("the request failed: {cause}"))
    };
    let made = Error::new(code, format!("{target}: {what}"));
    match tls_hint(&cause) {
        Some(hint) => made.hint(hint),
        None => made,
    }
    .because(error)
}

/// What to do about a handshake that failed, by what rustls says.
pub(crate) fn tls_hint(cause: &str) -> Option<&'static str> {
    const REFUSALS: [&str; 6] = [
        "CertificateRequired",
        "BadCertificate",
        "CertificateExpired",
        "CertificateUnknown",
        "UnknownCA",
        "DecryptError",
    ];
    if cause.contains("UnknownIssuer") {
        return Some(
            "if the server's certificate is by an authority of your own, add to the connection: network: { tls: { ca: \"PEM\" } }",
        );
    }
    if cause.contains("not valid for name") || cause.contains("NotValidForName") {
        return Some(
            "if the server has another name in its certificate, set network.tls.server_name to that",
        );
    }
    let refused = cause.contains("fatal alert") && REFUSALS.iter().any(|alert| cause.contains(alert));
    refused.then_some(
        "the server wants a client certificate that it accepts: set network.tls.client_cert and client_key",
    )
}

/// A trap, or a host function that gave up.
pub(crate) fn trap(error: wasmtime::Error) -> Error {
    let text = match error.downcast_ref::<wasmtime::Trap>() {
        Some(trap) => format!("the connector crashed: {trap}"),
        None if error.is::<wasmtime_wasi::I32Exit>() => "the connector crashed: it called exit".to_owned(),
        None => "the connector crashed: it broke the contract".to_owned(),
    };
    Error::new(ErrorCode::ConnectorCrashed, text).because(error.into_boxed_dyn_error())
}

/// The innermost cause, which names the system's error ("Connection refused (os error 111)").
fn root_cause(error: &dyn StdError) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

/// A guest's text is shown to people: bounded, and without control characters.
fn clip(text: String) -> String {
    const CHARACTERS_MAX: usize = 2_000;
    if text.len() <= CHARACTERS_MAX && !text.contains(|c: char| c.is_control() && c != '\n') {
        return text;
    }
    text.chars().filter(|c| !c.is_control() || *c == '\n').take(CHARACTERS_MAX).collect()
}

/// Without secrets: a server may have repeated what it was sent, and a connector quotes what a server says.
fn masked(failure: Failure, masks: &Masks) -> Failure {
    let clean = |text: String| masks.redact(&text);
    match failure {
        Failure::InvalidConfig(text) => Failure::InvalidConfig(clean(text)),
        Failure::Unsupported(text) => Failure::Unsupported(clean(text)),
        Failure::InvalidInput(text) => Failure::InvalidInput(clean(text)),
        Failure::Unauthenticated(text) => Failure::Unauthenticated(clean(text)),
        Failure::Denied(text) => Failure::Denied(clean(text)),
        Failure::RateLimited(after) => Failure::RateLimited(after),
        Failure::Upstream(upstream) => Failure::Upstream(UpstreamFailure {
            code: upstream.code.map(clean),
            message: clean(upstream.message),
            details: upstream.details.map(clean),
            retryable: upstream.retryable,
        }),
        Failure::Network(text) => Failure::Network(clean(text)),
        Failure::Timeout(text) => Failure::Timeout(clean(text)),
        Failure::Protocol(text) => Failure::Protocol(clean(text)),
        Failure::LimitExceeded(text) => Failure::LimitExceeded(clean(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upstream(details: String) -> Error {
        let message = "\u{1b}[31mred".into();
        failure(
            Failure::Upstream(UpstreamFailure {
                code: None,
                message,
                details: Some(details),
                retryable: true,
            }),
            &Masks::default(),
        )
    }

    #[test]
    fn s4_particulars_of_a_failure_are_bounded_and_its_text_is_plain() {
        let kept = upstream("[1]".into());
        assert_eq!(kept.details.as_ref().unwrap()["upstream"], serde_json::json!([1]));
        assert_eq!(kept.message, "[31mred");
        assert!(kept.retryable());
        let dropped = upstream(format!("[{}1]", "0,".repeat(FAILURE_DETAILS_BYTES_MAX / 2)));
        assert!(dropped.details.as_ref().unwrap()["upstream"].is_null());
    }
}
