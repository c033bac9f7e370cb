//! The server's errors as failures.
//!
//! | error | failure |
//! |---|---|
//! | any before the login is over, of SQLSTATE 28…, 1129, 1130, 1862, 3118, 4151 | `unauthenticated` |
//! | 1053, 1152, 1184, 1927, 4031: the server stops, or closes the connection | `network` |
//! | 1317, 1907, 1969, 3024: interrupted, by a time limit of the server's or by a person | `timeout` |
//! | any other | `upstream`, with the error's number, and its SQLSTATE beside it |
//!
//! Invariant: nothing of what was sent is quoted, but what the server quotes itself.

use openact_connector::{Failure, UpstreamFailure};
use serde_json::json;

use crate::wire::Fields;

/// A text of the server's is cut to this many bytes.
const TEXT_BYTES_MAX: usize = 4096;

/// The failure that an ERR is, its first byte read already.
pub fn of(fields: Fields<'_>) -> Result<Failure, Failure> {
    read(fields, false)
}

/// The same before the login is over.
pub fn of_login(fields: Fields<'_>) -> Result<Failure, Failure> {
    read(fields, true)
}

fn read(mut fields: Fields<'_>, login: bool) -> Result<Failure, Failure> {
    let number = fields.u16()?;
    let mut state = String::new();
    if fields.0.first() == Some(&b'#') {
        let [_, code @ ..] = fields.array::<6>()?;
        state = String::from_utf8_lossy(&code).into_owned();
    }
    let mut message = String::from_utf8_lossy(fields.0).into_owned();
    cut(&mut message);
    if message.is_empty() {
        message = "the server gave no reason".into();
    }
    let unknown = state.starts_with("28") || matches!(number, 1129 | 1130 | 1862 | 3118 | 4151);
    Ok(match number {
        _ if login && unknown => Failure::Unauthenticated(message),
        1053 | 1152 | 1184 | 1927 | 4031 => Failure::Network(message),
        1317 | 1907 | 1969 | 3024 => Failure::Timeout(message),
        _ => Failure::Upstream(UpstreamFailure {
            code: Some(number.to_string()),
            message,
            details: (!state.is_empty()).then(|| json!({"sqlstate": state}).to_string()),
            retryable: is_retryable(number),
        }),
    })
}

/// The number of an error of the server's.
pub fn number(failure: &Failure) -> Option<u16> {
    match failure {
        Failure::Upstream(upstream) => upstream.code.as_deref()?.parse().ok(),
        _ => None,
    }
}

/// Adds what a person can do about it.
#[must_use]
pub fn with_hint(failure: Failure, hint: &str) -> Failure {
    let Failure::Upstream(mut upstream) = failure else { return failure };
    let details = upstream.details.as_deref().and_then(|text| serde_json::from_str(text).ok());
    let mut details: serde_json::Map<_, _> = details.unwrap_or_default();
    details.insert("hint".into(), hint.into());
    upstream.details = Some(serde_json::Value::Object(details).to_string());
    Failure::Upstream(upstream)
}

fn cut(text: &mut String) {
    if text.len() > TEXT_BYTES_MAX {
        let end = (0..=TEXT_BYTES_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
        text.truncate(end);
        text.push('…');
    }
}

/// Whether the same call may succeed later: conflicts with other transactions, and what the server lacks at the moment.
fn is_retryable(number: u16) -> bool {
    matches!(number, 1020 | 1040 | 1041 | 1203 | 1205 | 1213 | 1226 | 3101 | 3572)
}
