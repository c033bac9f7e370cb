//! The input of a run: `--input`, then each `--set` over it.
//!
//! Invariant: what is not JSON is refused without being repeated, since an input may hold anything.

use std::io::Read;

use openact::{Error, Place, Result, limits::INPUT_BYTES_MAX};
use serde_json::{Map, Value};

/// The input the arguments describe; an empty object if they describe none.
pub(crate) async fn read(input: Option<String>, set: &[(String, String)]) -> Result<Value> {
    let mut value = match input.as_deref() {
        None => Value::Object(Map::new()),
        Some("-") => {
            // Reading blocks until somebody types; on a thread of its own, Ctrl-C still ends the process.
            let text = tokio::task::spawn_blocking(|| bounded(std::io::stdin(), "standard input"))
                .await
                .map_err(|error| Error::internal("failed to read standard input").because(error))??;
            parse(&text, "standard input", None)?
        }
        Some(text) => match text.strip_prefix('@') {
            None => parse(text, "--input", None)?,
            Some(path) => {
                let file = std::fs::File::open(path).map_err(|error| unreadable(&input_in(path), &error))?;
                parse(&bounded(file, path)?, path, Some(path))?
            }
        },
    };
    for (key, text) in set {
        put(&mut value, key, typed(text))?;
    }
    Ok(value)
}

/// JSON, or the text itself. An identifier can look like a number, so one is taken only if it is printed as typed.
fn typed(text: &str) -> Value {
    match serde_json::from_str(text) {
        Ok(Value::Number(number)) if number.to_string() != text => Value::String(text.to_owned()),
        Ok(value) => value,
        Err(_) => Value::String(text.to_owned()),
    }
}

fn input_in(name: &str) -> String {
    format!("the input from {name}")
}

/// What to say of a file that cannot be read: that it is not there is the same mistake for every command.
pub(crate) fn unreadable(what: &str, error: &std::io::Error) -> Error {
    let message = format!("failed to read {what}: {error}");
    match error.kind() {
        std::io::ErrorKind::NotFound => {
            Error::not_found(message).hint("a path is taken from the folder the command is run in")
        }
        _ => Error::invalid_input(message),
    }
}

fn bounded(from: impl Read, name: &str) -> Result<String> {
    let mut bytes = Vec::new();
    from.take(INPUT_BYTES_MAX as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| unreadable(&input_in(name), &error))?;
    if bytes.len() > INPUT_BYTES_MAX {
        return Err(Error::invalid_input(format!(
            "the input in {name} has more than {INPUT_BYTES_MAX} bytes"
        )));
    }
    String::from_utf8(bytes).map_err(|_| Error::invalid_input(format!("the input in {name} is not UTF-8")))
}

fn parse(text: &str, name: &str, file: Option<&str>) -> Result<Value> {
    serde_json::from_str(text).map_err(|error| {
        let (line, column) = (error.line().max(1), error.column().max(1));
        let what = error.to_string();
        let what = what.split(" at line ").next().unwrap_or_default();
        let place = file.map(|file| Place { file: file.to_owned(), line, column });
        let at = if place.is_some() { String::new() } else { format!(" at line {line} column {column}") };
        Error::invalid_input(format!("the input in {name} is not JSON: {what}{at}")).at(place).hint(
            "expected an object such as {\"login\": \"octocat\"}; @FILE reads a file, - reads standard input",
        )
    })
}

/// Puts `new` at a dotted key, making the objects on the way.
fn put(value: &mut Value, key: &str, new: Value) -> Result<()> {
    let mut at = value;
    let mut parts = key.split('.').peekable();
    while let Some(part) = parts.next() {
        let Value::Object(object) = at else {
            return Err(Error::invalid_input(format!(
                "--set {key} does not fit the input: '{part}' is not in an object"
            )));
        };
        if parts.peek().is_none() {
            object.insert(part.to_owned(), new);
            return Ok(());
        }
        at = object.entry(part).or_insert_with(|| Value::Object(Map::new()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    async fn made(input: Option<&str>, set: &[(&str, &str)]) -> Result<Value> {
        let set: Vec<_> = set.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        read(input.map(str::to_owned), &set).await
    }

    #[tokio::test]
    async fn set_goes_over_the_input_and_reaches_inside() {
        let set = [("a.b", "1"), ("a.c", "x y"), ("d", "\"7\""), ("e", "[1]"), ("f", ""), ("g", "null")];
        let value = made(Some(r#"{"a": {"b": 0, "z": 2}, "k": true}"#), &set).await.unwrap();
        let wanted =
            json!({"a": {"b": 1, "z": 2, "c": "x y"}, "k": true, "d": "7", "e": [1], "f": "", "g": null});
        assert_eq!(value, wanted);
        assert_eq!(made(None, &[("login", "octocat")]).await.unwrap(), json!({"login": "octocat"}));
        assert_eq!(made(None, &[]).await.unwrap(), json!({}));
    }

    #[test]
    fn a_number_that_would_change_is_text() {
        for text in ["7", "-3", "1.5", "18446744073709551615", "-9223372036854775808"] {
            assert!(typed(text).is_number(), "{text}");
        }
        for text in
            ["1234e5", "12345678901234567890123", "1.50", "0.1234567890123456789", "1E3", "7 ", "-0", "007"]
        {
            assert_eq!(typed(text), json!(text));
        }
    }

    #[tokio::test]
    async fn what_does_not_fit_is_refused_without_being_repeated() {
        for (input, set) in [
            (Some("{\"password\": hunter2}"), &[][..]),
            (Some("[1]"), &[("a", "1")]),
            (Some("{\"a\": \"hunter2\"}"), &[("a.b", "1")]),
        ] {
            let error = made(input, set).await.unwrap_err();
            assert_eq!(error.code, openact::ErrorCode::InvalidInput);
            assert!(!error.to_json().to_string().contains("hunter2"), "{error:?}");
        }
        let error = made(Some("@/nonexistent/file"), &[]).await.unwrap_err();
        assert_eq!(error.code, openact::ErrorCode::NotFound);
    }
}
