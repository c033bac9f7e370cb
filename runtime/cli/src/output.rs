//! The one file that prints.
//!
//! | format | a result | a list |
//! |---|---|---|
//! | `table` | JSON, indented | a table |
//! | `json` | JSON, as the connector wrote it | JSON |
//! | `yaml` | YAML | YAML |
//! | `raw` | a text without its quotes, else JSON | a row per line, cells divided by tabs |
//!
//! Invariant: standard output gets the whole of one result or nothing; a reader that goes away ends the process
//! quietly.

use std::{
    io::{self, Write},
    path::Path,
    process::ExitCode,
};

use comfy_table::{ContentArrangement, Table, presets};
use openact::{Error, Result};
use serde_json::Value;

use crate::{
    args::Format,
    exit_code,
    failure::{Failure, clean},
    settings::{Settings, Stream},
};

/// The result of a command.
#[derive(Debug)]
pub(crate) enum Output {
    /// It went elsewhere.
    Nothing,
    /// A text that has no other form: a script, a file.
    Text(String),
    /// JSON as it came, byte for byte.
    Json(String),
    /// One record.
    Record(Value),
    /// Lines for people, and what they say.
    Lines(String, Value),
    /// A list.
    List(List),
}

/// Several records: a table for people, and all that is known of them.
#[derive(Debug)]
pub(crate) struct List {
    pub(crate) header: &'static [&'static str],
    pub(crate) rows: Vec<Vec<String>>,
    pub(crate) records: Vec<Value>,
}

impl Output {
    /// The text, for a terminal or not.
    pub(crate) fn render(&self, format: Option<Format>, is_terminal: bool) -> Result<String> {
        let format = format.unwrap_or(if is_terminal { Format::Table } else { Format::Json });
        let value = match self {
            Self::Nothing => return Ok(String::new()),
            Self::Text(text) => return Ok(text.clone()),
            Self::Lines(lines, _) if matches!(format, Format::Table | Format::Raw) => {
                return Ok(lines.clone());
            }
            Self::List(list) if format == Format::Table => return Ok(list.to_table()),
            Self::List(list) if format == Format::Raw => return Ok(list.to_rows()),
            Self::Json(text) if format == Format::Json => return Ok(format!("{text}\n")),
            Self::Json(text) => serde_json::from_str(text)
                .map_err(|error| Error::internal("the result is not JSON").because(error))?,
            Self::Record(value) | Self::Lines(_, value) => value.clone(),
            Self::List(list) => Value::Array(list.records.clone()),
        };
        let unwritable = || Error::internal("failed to write the result in this format");
        match (format, &value) {
            (Format::Raw, Value::String(text)) => Ok(format!("{text}\n")),
            (Format::Raw, _) | (Format::Json, _) if !is_terminal => Ok(format!("{value}\n")),
            (Format::Yaml, _) => serde_yaml::to_string(&value).map_err(|error| unwritable().because(error)),
            _ => serde_json::to_string_pretty(&value)
                .map(|text| text + "\n")
                .map_err(|error| unwritable().because(error)),
        }
    }
}

impl List {
    fn to_table(&self) -> String {
        if self.rows.is_empty() {
            return String::new();
        }
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(self.header.iter().map(|name| name.to_uppercase()));
        table.add_rows(self.rows.iter().map(|row| row.iter().map(|cell| clean(cell).replace('\n', " "))));
        table.lines().map(|line| line.trim().to_owned() + "\n").collect()
    }

    fn to_rows(&self) -> String {
        let cell = |cell: &String| cell.replace(['\t', '\n', '\r'], " ");
        self.rows.iter().map(|row| row.iter().map(cell).collect::<Vec<_>>().join("\t") + "\n").collect()
    }
}

/// Prints the result of a command that succeeded.
pub(crate) fn result(settings: &Settings, output: &Output) -> ExitCode {
    let text = match output.render(settings.format, settings.stdout.is_terminal) {
        Ok(text) => text,
        Err(error) => return failure(settings, &error.into()),
    };
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        // The reader had enough, as `head` has.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            failure(settings, &Error::internal(format!("failed to write to standard output: {error}")).into())
        }
    }
}

/// Prints why a command failed, on standard error.
pub(crate) fn failure(settings: &Settings, failure: &Failure) -> ExitCode {
    if let Failure::Error(error) = failure {
        tracing::debug!("{error:?}");
    }
    let text = match (settings.format, settings.stderr) {
        (Some(Format::Json), _) => format!("{}\n", failure.to_json()),
        (_, stream @ Stream { is_terminal: true, .. }) => failure.to_terminal(stream),
        _ => failure.to_text(),
    };
    to_stderr(&text);
    ExitCode::from(failure.exit_code())
}

/// Prints what clap says: help and the version on standard output, a usage mistake on standard error.
pub(crate) fn usage(usage: &clap::Error) -> ExitCode {
    // Nobody is left to be told if it cannot be printed.
    let _ = usage.print();
    if usage.use_stderr() { ExitCode::from(exit_code::USAGE) } else { ExitCode::SUCCESS }
}

/// Prints something beside the result, such as a run record.
pub(crate) fn to_stderr(text: &str) {
    let mut stderr = io::stderr().lock();
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}

/// Writes a result to a file.
pub(crate) fn to_file(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).map_err(|error| {
        Error::invalid_input(format!("failed to write {}: {error}", path.display()))
            .hint("name a file in a folder that exists and can be written")
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rendered(output: &Output, format: Option<Format>, is_terminal: bool) -> String {
        output.render(format, is_terminal).unwrap()
    }

    #[test]
    fn a_result_goes_through_a_pipe_byte_for_byte() {
        let text = r#"{"id": 123456789012345678901234567890, "a":1.0}"#;
        assert_eq!(rendered(&Output::Json(text.into()), None, false), format!("{text}\n"));
    }

    #[test]
    fn a_table_lines_up_and_cannot_drive_the_terminal() {
        let list = List {
            header: &["action", "summary"],
            rows: vec![vec!["http/a".into(), "x\u{1b}[2J\ny".into()], vec!["http/longer".into(), "é".into()]],
            records: vec![json!({"a": 1}), json!({"a": 2})],
        };
        let list = Output::List(list);
        let table = rendered(&list, None, true);
        assert_eq!(table, "ACTION       SUMMARY\nhttp/a       x\u{fffd}[2J y\nhttp/longer  é\n");
        assert_eq!(rendered(&list, None, false), "[{\"a\":1},{\"a\":2}]\n");
        assert_eq!(rendered(&list, Some(Format::Yaml), false), "- a: 1\n- a: 2\n");
        assert_eq!(rendered(&list, Some(Format::Raw), false).lines().count(), 2);
    }

    #[test]
    fn raw_text_has_no_quotes() {
        assert_eq!(rendered(&Output::Json("\"a\\nb\"".into()), Some(Format::Raw), false), "a\nb\n");
        assert_eq!(rendered(&Output::Json("{\"a\":1}".into()), Some(Format::Raw), false), "{\"a\":1}\n");
        assert_eq!(rendered(&Output::Json("{\"a\":1}".into()), None, true), "{\n  \"a\": 1\n}\n");
    }
}
