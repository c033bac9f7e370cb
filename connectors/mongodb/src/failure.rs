//! The server's errors as failures.
//!
//! | code | failure |
//! |---|---|
//! | 50, 262: out of time | `timeout` |
//! | 18, and 13 where nobody has logged in | `unauthenticated` |
//! | of a server that stops, starts or is no primary any more (91, 189, 10107, 11600, …) | `network` |
//! | any other | `upstream`, with the code and its name |
//!
//! Invariant: nothing of what was sent is quoted, but what the server quotes itself.

use openact_connector::{Failure, UpstreamFailure};
use serde_json::{Value as Json, json};

use crate::bson::{Document, Value};

/// One text of the server's is cut to this many bytes.
const TEXT_BYTES_MAX: usize = 4096;

/// Of the documents that were not written, so many are told.
const WRITE_ERRORS_MAX: usize = 20;

/// What a server says while it stops, starts, or hands over to another.
const CHANGING: &[i64] = &[6, 7, 89, 91, 189, 9001, 10058, 10107, 11600, 11602, 13435, 13436];

/// Of those, what it says before it does anything.
const NOT_PRIMARY: &[i64] = &[10058, 10107, 13435, 13436];

/// Other errors that may pass: conflicts, and what is in the way for a while.
const PASSING: &[i64] = &[24, 46, 64, 84, 112, 117, 133, 134, 202, 225, 251, 290];

/// An error of the server's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerError {
    code: i64,
    name: Option<String>,
    message: String,
    labels: Vec<String>,
}

impl ServerError {
    /// Of a reply; none if that is of a command that was done.
    pub fn of(reply: Document<'_>) -> Result<Option<Self>, Failure> {
        match reply.get("ok")? {
            Some(ok) if ok.is_true() => Ok(None),
            Some(_) => Self::read(reply).map(Some),
            None => {
                Err(Failure::Protocol("the server sent a reply that does not say whether it was done".into()))
            }
        }
    }

    fn read(document: Document<'_>) -> Result<Self, Failure> {
        let (mut code, mut name, mut message, mut labels) = (0, None, String::new(), Vec::new());
        for member in document.members() {
            match member? {
                (b"code", value) => code = value.as_integer().unwrap_or_default(),
                (b"codeName", Value::String(text)) => name = Some(cut(text)),
                (b"errmsg", Value::String(text)) => message = cut(text),
                (b"errorLabels", Value::Array(list)) => {
                    for member in list.members().take(WRITE_ERRORS_MAX) {
                        labels.extend(member?.1.as_text().map(|text| cut(text.as_bytes())));
                    }
                }
                _ => {}
            }
        }
        if message.is_empty() {
            message = "the server gave no reason".into();
        }
        Ok(Self { code, name, message, labels })
    }

    /// The server's own number for it.
    pub fn code(&self) -> i64 {
        self.code
    }

    /// What it says.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Whether the server has done nothing because it is not the one to ask.
    pub fn is_not_primary(&self) -> bool {
        NOT_PRIMARY.contains(&self.code)
    }

    /// As a failure of a call; `logged_in` if it had a login.
    pub fn into_failure(self, logged_in: bool) -> Failure {
        match self.code {
            50 | 262 => Failure::Timeout(self.message),
            18 => Failure::Unauthenticated(self.message),
            13 if !logged_in => {
                Failure::Unauthenticated(format!("{}; the connection has no user to log in as", self.message))
            }
            code if CHANGING.contains(&code) => Failure::Network(format!("{} ({code})", self.message)),
            _ => self.upstream(None),
        }
    }

    fn upstream(self, details: Option<Json>) -> Failure {
        let retryable = PASSING.contains(&self.code)
            || self.labels.iter().any(|label| label == "TransientTransactionError");
        let mut told = details.unwrap_or_else(|| json!({}));
        if let Json::Object(told) = &mut told {
            if let Some(name) = self.name {
                told.insert("name".into(), name.into());
            }
            if !self.labels.is_empty() {
                told.insert("labels".into(), self.labels.into());
            }
        }
        let empty = told.as_object().is_none_or(serde_json::Map::is_empty);
        Failure::Upstream(UpstreamFailure {
            code: (self.code != 0).then(|| self.code.to_string()),
            message: self.message,
            details: (!empty).then(|| told.to_string()),
            retryable,
        })
    }
}

/// The failure of a write that was done in part, or that not enough servers have confirmed; `done` says what was done.
pub fn of_write(reply: Document<'_>, done: Json) -> Result<Option<Failure>, Failure> {
    let errors = reply.get("writeErrors")?.and_then(Value::as_array);
    let unconfirmed = reply.get("writeConcernError")?.and_then(Value::as_document);
    let (mut first, mut listed, mut count) = (None, Vec::new(), 0_u64);
    if let Some(errors) = errors {
        for member in errors.members() {
            let Some(document) = member?.1.as_document() else {
                return Err(Failure::Protocol("the server sent an error of a write that is none".into()));
            };
            count += 1;
            if listed.len() < WRITE_ERRORS_MAX {
                let error = ServerError::read(document)?;
                let index = document.get("index")?.and_then(Value::as_integer).unwrap_or_default();
                listed
                    .push(json!({"index": index, "code": error.code.to_string(), "message": error.message}));
                first = first.or(Some(error));
            }
        }
    }
    let mut details = done;
    if let Json::Object(details) = &mut details
        && count > 0
    {
        details.insert("write_errors".into(), listed.into());
        details.insert("write_error_count".into(), count.into());
    }
    Ok(match (first, unconfirmed) {
        (Some(error), _) => Some(error.upstream(Some(details))),
        (None, Some(concern)) => {
            let mut error = ServerError::read(concern)?;
            error.message = format!("it was written, but not confirmed as asked: {}", error.message);
            // A server that stops meanwhile is like one that went away: nobody can say what is kept.
            Some(match CHANGING.contains(&error.code) {
                true => error.into_failure(true),
                false => error.upstream(Some(details)),
            })
        }
        (None, None) => None,
    })
}

fn cut(text: &[u8]) -> String {
    let mut text = String::from_utf8_lossy(text).into_owned();
    if text.len() > TEXT_BYTES_MAX {
        text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
        text.push('…');
    }
    text
}
