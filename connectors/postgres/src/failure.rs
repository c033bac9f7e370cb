//! The server's errors and notices as failures and log lines.
//!
//! | SQLSTATE | failure |
//! |---|---|
//! | 28… | `unauthenticated` |
//! | 57P01, 57P02, 57P03: the server stops or starts | `network` |
//! | 57014: cancelled, by a timeout of the server's or by a person | `timeout` |
//! | any other | `upstream`, with the SQLSTATE, position, hint and what else the server said |
//!
//! Invariant: nothing of what was sent is quoted, but what the server quotes itself.

use openact_connector::{Failure, Host, Json, UpstreamFailure, log::Level};
use serde_json::{Map, Value};

use crate::wire::Fields;

/// The letters of an error's fields that are told, with their names.
const TOLD: &[(u8, &str)] = &[
    (b'V', "severity"),
    (b'D', "detail"),
    (b'H', "hint"),
    (b'P', "position"),
    (b'p', "internal_position"),
    (b'q', "internal_query"),
    (b'W', "where"),
    (b's', "schema"),
    (b't', "table"),
    (b'c', "column"),
    (b'd', "type"),
    (b'n', "constraint"),
];

/// One text of the server's is cut to this many bytes; several fit into a failure's particulars.
const TEXT_BYTES_MAX: usize = 4096;

/// The failure that an error of the server's is; as an error where nothing follows it, for the server is going.
pub fn of(fields: Fields<'_>) -> Result<Failure, Failure> {
    let (code, message, details) = parts(fields)?;
    Ok(match code.as_str() {
        "57P01" | "57P02" | "57P03" => return Err(Failure::Network(message)),
        "57014" => Failure::Timeout(message),
        _ if code.starts_with("28") => Failure::Unauthenticated(message),
        _ => Failure::Upstream(UpstreamFailure {
            retryable: is_retryable(&code),
            message,
            details: (!details.is_empty()).then(|| Value::Object(details).to_string()),
            code: Some(code),
        }),
    })
}

/// The SQLSTATE of a failure, where it is the server's.
pub fn code(failure: &Failure) -> Option<&str> {
    match failure {
        Failure::Upstream(upstream) => upstream.code.as_deref(),
        _ => None,
    }
}

/// Adds what a person can do about it, where the server has not.
#[must_use]
pub fn with_hint(failure: Failure, hint: &str) -> Failure {
    let Failure::Upstream(mut upstream) = failure else { return failure };
    let details = upstream.details.as_deref().and_then(|text| serde_json::from_str(text).ok());
    let mut details: Map<String, Value> = details.unwrap_or_default();
    details.entry("hint").or_insert_with(|| hint.into());
    upstream.details = Some(Value::Object(details).to_string());
    Failure::Upstream(upstream)
}

/// Writes a notice to the log.
pub fn log(host: &dyn Host, fields: Fields<'_>) -> Result<(), Failure> {
    let (code, message, mut details) = parts(fields)?;
    let level = match details.get("severity").and_then(Value::as_str) {
        Some("WARNING") => Level::Warn,
        Some("DEBUG" | "LOG") => Level::Debug,
        _ => Level::Info,
    };
    details.insert("code".into(), code.into());
    host.log(level, &message, Some(&Json::from(Value::Object(details))));
    Ok(())
}

fn parts(fields: Fields<'_>) -> Result<(String, String, Map<String, Value>), Failure> {
    let (mut code, mut message, mut details) = (String::new(), String::new(), Map::new());
    for (letter, mut text) in fields.lettered()? {
        cut(&mut text);
        match letter {
            b'C' => code = text,
            b'M' => message = text,
            _ => {
                if let Some((_, name)) = TOLD.iter().find(|(told, _)| *told == letter) {
                    let number = matches!(letter, b'P' | b'p').then(|| text.parse::<u64>().ok()).flatten();
                    details.insert((*name).into(), number.map_or_else(|| text.into(), Value::from));
                }
            }
        }
    }
    if message.is_empty() {
        message = "the server gave no reason".into();
    }
    Ok((code, message, details))
}

fn cut(text: &mut String) {
    if text.len() > TEXT_BYTES_MAX {
        let end = (0..=TEXT_BYTES_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
        text.truncate(end);
        text.push('…');
    }
}

/// Whether the same call may succeed later: conflicts with other transactions, and what the server lacks at the moment.
fn is_retryable(code: &str) -> bool {
    matches!(code, "40001" | "40P01" | "55P03" | "55006") || code.starts_with("53") || code.starts_with("08")
}
