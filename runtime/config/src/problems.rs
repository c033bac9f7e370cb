//! The mistakes of one file, collected so that a user sees all of them at once.
//!
//! Invariant: a mistake says where it is by a JSON Pointer into the file as written; lines are looked up at the end.

use openact_core::{Error, ErrorCode, JsonObject, Place, Result, limits};
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
        let beyond = count - all.len();
        Err(match (count, beyond) {
            (1, _) => error,
            (_, 0) => error.details(json!({ "problems": all })),
            _ => error.details(json!({ "problems": all, "beyond": beyond })),
        })
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
    described(place, &problem.message, problem.hint.as_deref())
}

fn described(place: Option<&Place>, message: &str, hint: Option<&str>) -> Value {
    let mut out = JsonObject::new();
    out.insert("message".into(), message.into());
    if let Some(place) = place {
        out.insert("place".into(), place.to_string().into());
    }
    if let Some(hint) = hint {
        out.insert("hint".into(), hint.into());
    }
    Value::Object(out)
}

/// What is wrong with several files, as one error: every mistake that each error names, in the order of the files. None if
/// there is no error; one that is no fault of a file stands for all.
pub fn together(errors: Vec<Error>) -> Option<Error> {
    if errors.len() < 2 || errors.iter().any(|error| error.code != ErrorCode::InvalidConfig) {
        let other = errors.iter().position(|error| error.code != ErrorCode::InvalidConfig);
        return errors.into_iter().nth(other.unwrap_or(0));
    }
    let (mut all, mut beyond) = (Vec::new(), 0);
    for error in &errors {
        let details = error.details.as_ref();
        match details.and_then(|details| details.get("problems")?.as_array()) {
            Some(problems) => all.extend(problems.iter().cloned()),
            None => all.push(described(error.place.as_ref(), &error.message, error.hint.as_deref())),
        }
        beyond += details.and_then(|details| details.get("beyond")?.as_u64()).unwrap_or(0);
    }
    let first = errors.into_iter().next()?;
    let text = |name: &str| all.first().and_then(|problem| problem.get(name)?.as_str()).map(str::to_owned);
    let more = all.len() as u64 - 1 + beyond;
    let plural = if more == 1 { "mistake" } else { "mistakes" };
    let message = text("message").unwrap_or_default();
    let error = Error::invalid_config(format!("{message} (and {more} more {plural} in these files)"));
    let error = text("hint").into_iter().fold(error, Error::hint).at(first.place.clone());
    Some(error.details(json!({ "problems": all })))
}

/// `pointer` and one more segment.
pub(crate) fn child(pointer: &str, segment: &str) -> String {
    format!("{pointer}/{}", segment.replace('~', "~0").replace('/', "~1"))
}

/// Whether `pointer` is `ancestor` or below it.
pub(crate) fn is_within(pointer: &str, ancestor: &str) -> bool {
    pointer.strip_prefix(ancestor).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
