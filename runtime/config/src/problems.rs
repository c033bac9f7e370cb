//! The mistakes of one file, collected so that a user sees all of them at once.
//!
//! Invariant: a mistake says where it is by a JSON Pointer into the file as written; lines are looked up at the end.

use openact_core::{Error, JsonObject, Place, Result, limits};
use serde_json::{Value, json};

use crate::positions::{On, Positions};

/// One mistake.
#[derive(Debug)]
pub(crate) struct Problem {
    /// JSON Pointer into the file.
    pub(crate) at: String,
    /// The key or the value at `at`.
    pub(crate) on: On,
    /// As in an [`Error`].
    pub(crate) message: String,
    /// As in an [`Error`].
    pub(crate) hint: Option<String>,
}

/// Mistakes, up to [`limits::CONFIG_PROBLEMS_MAX`]; the rest is counted.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    list: Vec<Problem>,
    beyond: usize,
}

impl Problems {
    /// Adds a mistake at a key.
    pub(crate) fn key(&mut self, at: &str, message: impl Into<String>, hint: Option<String>) {
        self.push(Problem { at: at.to_owned(), on: On::Key, message: message.into(), hint });
    }

    /// Adds a mistake at a value.
    pub(crate) fn value(&mut self, at: &str, message: impl Into<String>, hint: Option<String>) {
        self.push(Problem { at: at.to_owned(), on: On::Value, message: message.into(), hint });
    }

    /// Adds what another crate found wrong with the value at `at`.
    pub(crate) fn error(&mut self, at: &str, on: On, error: &Error) {
        self.push(Problem {
            at: at.to_owned(),
            on,
            message: error.message.clone(),
            hint: error.hint.clone(),
        });
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.list.len() + self.beyond
    }

    /// Fails if there are any, with the first in the order of the file and all of them in `details`.
    pub(crate) fn finish(self, file: &str, positions: impl FnOnce() -> Positions) -> Result<()> {
        if self.list.is_empty() {
            return Ok(());
        }
        let (positions, count) = (positions(), self.count());
        let mut found: Vec<(Option<Place>, Problem)> = self
            .list
            .into_iter()
            .map(|problem| (positions.place(file, &problem.at, problem.on), problem))
            .collect();
        found.sort_by_key(|(place, _)| {
            place.as_ref().map_or((usize::MAX, 0), |place| (place.line, place.column))
        });
        let all: Vec<Value> = found.iter().map(|(place, problem)| to_json(place.as_ref(), problem)).collect();
        let Some((place, first)) = found.into_iter().next() else {
            return Ok(());
        };
        let message = match count - 1 {
            0 => first.message,
            1 => format!("{} (and 1 more mistake in this file)", first.message),
            more => format!("{} (and {more} more mistakes in this file)", first.message),
        };
        let mut error = Error::invalid_config(message).at(place);
        if let Some(hint) = first.hint {
            error = error.hint(hint);
        }
        Err(if count > 1 { error.details(json!({ "problems": all })) } else { error })
    }

    fn push(&mut self, problem: Problem) {
        if self.list.len() < limits::CONFIG_PROBLEMS_MAX {
            self.list.push(problem);
        } else {
            self.beyond += 1;
        }
    }
}

fn to_json(place: Option<&Place>, problem: &Problem) -> Value {
    let mut out = JsonObject::new();
    out.insert("message".into(), problem.message.clone().into());
    if let Some(place) = place {
        out.insert("place".into(), place.to_string().into());
    }
    if let Some(hint) = &problem.hint {
        out.insert("hint".into(), hint.clone().into());
    }
    Value::Object(out)
}

/// `pointer` and one more segment.
pub(crate) fn child(pointer: &str, segment: &str) -> String {
    format!("{pointer}/{}", segment.replace('~', "~0").replace('/', "~1"))
}

/// Whether `pointer` is `ancestor` or below it.
pub(crate) fn is_within(pointer: &str, ancestor: &str) -> bool {
    pointer.strip_prefix(ancestor).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
