//! What an HTTP action does with the input's variables besides templates.
//!
//! Invariant: the input's own fields are told from the action's, so that whoever wrote something wrong is told.

use openact_connector::{Failure, members::member};

pub use openact_connector::variables::{Value, Variables};

/// The variable of a path: a member of the input's `path`, else as [`Variables::find`].
pub(crate) fn of_path<'a>(variables: &Variables<'a>, name: &str) -> Result<Option<&'a str>, Failure> {
    // Where `path` is not an object it is an ordinary field, which may itself be a variable.
    match variables.top("path")?.filter(|path| path.starts_with('{')) {
        Some(path) => match member(path, name) {
            Some(value) => Ok(Some(value)),
            None => variables.find(name),
        },
        None => variables.find(name),
    }
}

/// Whoever set it is told: the caller, if the input has one of `keys`, else the author of the configuration. An
/// input's `path` sets nothing: it only holds variables.
pub(crate) fn blame(variables: &Variables<'_>, keys: &[&str], message: String) -> Failure {
    if keys.iter().any(|key| *key != "path" && matches!(variables.top(key), Ok(Some(_)))) {
        Failure::InvalidInput(message)
    } else {
        Failure::InvalidConfig(message)
    }
}
