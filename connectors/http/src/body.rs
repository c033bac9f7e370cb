//! The body of a request.
//!
//! Invariant: JSON goes out as the caller or the configuration wrote it, not parsed and rebuilt.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use openact_connector::{Failure, Json, Request};
use serde_json::value::RawValue;

use crate::config::BodyType;

/// Sets the body of `request`, and its content type unless one is set.
pub(crate) fn attach(request: &mut Request, body: Json, kind: BodyType, input: &Json) -> Result<(), Failure> {
    let (content_type, bytes) = match kind {
        BodyType::Json => ("application/json", String::from(body).into_bytes()),
        BodyType::Text => ("text/plain; charset=utf-8", text(&body, kind, input)?.into_bytes()),
        BodyType::Base64 => {
            let text = text(&body, kind, input)?;
            let bytes = STANDARD
                .decode(text)
                .map_err(|error| wrong(input, format!("the body is not base64: {error}")))?;
            ("application/octet-stream", bytes)
        }
    };
    if !request.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
        request.headers.push(("content-type".into(), content_type.into()));
    }
    request.body = Some(bytes);
    Ok(())
}

fn text(body: &Json, kind: BodyType, input: &Json) -> Result<String, Failure> {
    body.parse()
        .map_err(|_| wrong(input, format!("the body must be a string for body_type {kind:?}").to_lowercase()))
}

fn wrong(input: &Json, message: String) -> Failure {
    blame(input, &["body"], message)
}

/// Whoever set it is told: the caller, if the input has one of `keys`, else the author of the configuration.
pub(crate) fn blame(input: &Json, keys: &[&str], message: String) -> Failure {
    let by_caller = input
        .parse::<BTreeMap<String, Box<RawValue>>>()
        .is_ok_and(|input| keys.iter().any(|key| input.contains_key(*key)));
    if by_caller { Failure::InvalidInput(message) } else { Failure::InvalidConfig(message) }
}
