//! The one file that prints.
//!
//! | format | a result | a list |
//! |---|---|---|
//! | `table` | JSON, indented | a table |
//! | `json` | JSON, as the connector wrote it | JSON |
//! | `yaml` | YAML | YAML |
//! | `raw` | a text without its quotes, else JSON | a row per line, cells divided by tabs |
//! | `raw` | of an HTTP response: its body and nothing else | |
//!
//! The result of a run is an HTTP response if it is an object with `status_code`, `headers` and `body`. Of its body are
//! written: text as UTF-8, JSON as the connector has it, the bytes of `{"base64": …}`, nothing for `null`; no line break
//! is added. An answer whose content type is JSON may itself be `{"base64": …}`, and is left as it is, unless the action
//! says `response: { as: bytes }`: then every body is its exact bytes.
//!
//! Invariant: standard output gets the whole of one result or nothing, or, of an action that streams, whole items; a
//! reader that goes away ends the process quietly.

use std::{
    collections::HashMap,
    io::{self, Write},
    path::Path,
    process::ExitCode,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use comfy_table::{ContentArrangement, Table, presets};
use openact::{Error, Result};
use serde_json::{Value, value::RawValue};

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
    /// The same, of an action that has the bodies of its answers as bytes, those of JSON too.
    JsonOfBytes(String),
    /// One record.
    Record(Value),
    /// Lines for people, and what they say.
    Lines(String, Value),
    /// A list.
    List(List),
    /// Any of these, and the exit code that says what it amounts to.
    Verdict(Box<Output>, u8),
}

/// Several records: a table for people, and all that is known of them.
#[derive(Debug)]
pub(crate) struct List {
    pub(crate) header: &'static [&'static str],
    pub(crate) rows: Vec<Vec<String>>,
    pub(crate) records: Vec<Value>,
}

impl Output {
    /// What is written, to a terminal or not.
    pub(crate) fn to_bytes(&self, format: Option<Format>, is_terminal: bool) -> Result<Vec<u8>> {
        let body = match (self, format) {
            (Self::Json(text), Some(Format::Raw)) => http_body(text, false),
            (Self::JsonOfBytes(text), Some(Format::Raw)) => http_body(text, true),
            _ => None,
        };
        if let Some(body) = body {
            return Ok(body);
        }
        self.render(format, is_terminal).map(String::into_bytes)
    }

    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Verdict(_, code) => ExitCode::from(*code),
            _ => ExitCode::SUCCESS,
        }
    }

    fn render(&self, format: Option<Format>, is_terminal: bool) -> Result<String> {
        let format = format.unwrap_or(if is_terminal { Format::Table } else { Format::Json });
        let value = match self {
            Self::Verdict(output, _) => return output.render(Some(format), is_terminal),
            Self::Nothing => return Ok(String::new()),
            Self::Text(text) => return Ok(text.clone()),
            Self::Lines(lines, _) if matches!(format, Format::Table | Format::Raw) => {
                return Ok(lines.clone());
            }
            Self::List(list) if format == Format::Table => return Ok(list.to_table()),
            Self::List(list) if format == Format::Raw => return Ok(list.to_rows()),
            Self::Json(text) | Self::JsonOfBytes(text) if format == Format::Json => {
                return Ok(format!("{text}\n"));
            }
            Self::Json(text) | Self::JsonOfBytes(text) => serde_json::from_str(text)
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

/// The body of a result that is an HTTP response. `is_bytes` says that it is never the server's own JSON.
fn http_body(result: &str, is_bytes: bool) -> Option<Vec<u8>> {
    let members: HashMap<&str, &RawValue> = serde_json::from_str(result).ok()?;
    let (headers, body) = (members.get("headers")?, members.get("body")?.get());
    members.get("status_code")?;
    let headers: Value = serde_json::from_str(headers.get()).ok()?;
    let content_type = headers.as_object()?.get("content-type").and_then(Value::as_str).unwrap_or_default();
    Some(match serde_json::from_str(body).ok()? {
        Value::Null => Vec::new(),
        Value::String(text) => text.into_bytes(),
        Value::Object(object) if object.len() == 1 && (is_bytes || !is_json(content_type)) => object
            .get("base64")
            .and_then(|text| BASE64_STANDARD.decode(text.as_str()?).ok())
            .unwrap_or_else(|| body.as_bytes().to_vec()),
        // Not as it would be written here: numbers keep their digits.
        _ => body.as_bytes().to_vec(),
    })
}

/// Whether a body of this type is the server's own JSON.
fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    matches!(essence.as_str(), "application/json" | "text/json") || essence.ends_with("+json")
}

impl List {
    /// The table for people.
    pub(crate) fn to_table(&self) -> String {
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
    let bytes = match output.to_bytes(settings.format, settings.stdout.is_terminal) {
        Ok(bytes) => bytes,
        Err(error) => return failure(settings, &error.into()),
    };
    let mut stdout = io::stdout().lock();
    match stdout.write_all(&bytes).and_then(|()| stdout.flush()) {
        Ok(()) => output.exit_code(),
        // The reader had enough, as `head` has.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => output.exit_code(),
        Err(error) => {
            failure(settings, &Error::internal(format!("failed to write to standard output: {error}")).into())
        }
    }
}

/// Prints an item of a stream as one line; false if nobody reads any more.
pub(crate) fn item(json: &str) -> Result<bool> {
    // Within a string a line break is written as an escape, so these are only white space.
    lines(&json.replace(['\n', '\r'], " "))
}

/// Prints text at once, on lines of its own; false if nobody reads any more.
pub(crate) fn lines(text: &str) -> Result<bool> {
    let text = text.trim_end_matches('\n').to_owned() + "\n";
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Error::internal(format!("failed to write to standard output: {error}"))),
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

/// Tells a person at a terminal, or who asked for a table, what an empty one leaves open.
pub(crate) fn note(settings: &Settings, text: &str) {
    let is_table =
        settings.format == Some(Format::Table) || settings.format.is_none() && settings.stdout.is_terminal;
    if is_table && !settings.quiet {
        to_stderr(&format!("{text}\n"));
    }
}

/// Prints something beside the result, such as a run record.
pub(crate) fn to_stderr(text: &str) {
    let mut stderr = io::stderr().lock();
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}

/// Writes a result to a file, whole or not at all: beside it first, and then in its place.
pub(crate) fn to_file(path: &Path, bytes: &[u8]) -> Result<()> {
    replace(path, bytes).map_err(|error| {
        Error::invalid_input(format!("failed to write {}: {error}", path.display()))
            .hint("name a file in a folder that exists and can be written")
    })
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // A link stays one, and so does a device or pipe.
    let target = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    if target.exists() && !target.is_file() {
        return std::fs::OpenOptions::new().write(true).open(target)?.write_all(bytes);
    }
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    // The process's mask takes away from this, as from that of any other file.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut beside = builder.tempfile_in(folder)?;
    // Replacing a file that others cannot read must not let them.
    if let Ok(replaced) = target.metadata() {
        beside.as_file().set_permissions(replaced.permissions())?;
    }
    beside.write_all(bytes)?;
    beside.persist(target)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rendered(output: &Output, format: Option<Format>, is_terminal: bool) -> String {
        String::from_utf8(output.to_bytes(format, is_terminal).unwrap()).unwrap()
    }

    #[test]
    fn a_response_is_its_body_as_it_came() {
        let json = r#"{"content-type": "application/json; charset=utf-8"}"#;
        for (headers, body, written) in [
            ("{}", "null", &b""[..]),
            ("{}", r#""caf\u00e9\n""#, "café\n".as_bytes()),
            ("{}", r#"{"base64": "AP8K"}"#, b"\x00\xff\n"),
            (json, r#"{"base64": "AP8K"}"#, br#"{"base64": "AP8K"}"#),
            ("{}", r#"{"base64": "not base64"}"#, br#"{"base64": "not base64"}"#),
            (
                json,
                r#"{"n":1.50, "id": 12345678901234567890123}"#,
                br#"{"n":1.50, "id": 12345678901234567890123}"#,
            ),
            (json, "7", b"7"),
        ] {
            let result = format!(r#"{{"status_code": 200, "headers": {headers}, "body": {body}}}"#);
            let result = Output::Json(result);
            assert_eq!(result.to_bytes(Some(Format::Raw), true).unwrap(), written, "{body}");
            assert!(result.to_bytes(None, false).unwrap().starts_with(b"{\"status_code\""));
        }
        for (content_type, is_decoded) in [
            ("application/json", false),
            ("Application/Problem+JSON ;charset=utf-8", false),
            ("text/json", false),
            ("application/jsonl", true),
            ("application/x-json-stream", true),
            ("text/plain; note=json", true),
            ("image/png", true),
        ] {
            let headers = json!({"content-type": content_type});
            let result =
                format!(r#"{{"status_code": 200, "headers": {headers}, "body": {{"base64": "aGk="}}}}"#);
            let written = Output::Json(result.clone()).to_bytes(Some(Format::Raw), false).unwrap();
            let wanted = if is_decoded { &b"hi"[..] } else { br#"{"base64": "aGk="}"# };
            assert_eq!(written, wanted, "{content_type}");
            // What is asked for as bytes is bytes.
            assert_eq!(Output::JsonOfBytes(result).to_bytes(Some(Format::Raw), false).unwrap(), b"hi");
        }
        let other = r#"{"status_code": 200, "body": "x"}"#;
        assert_eq!(
            rendered(&Output::Json(other.into()), Some(Format::Raw), false),
            "{\"status_code\":200,\"body\":\"x\"}\n"
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_file_is_replaced_whole_and_what_is_no_file_stays() {
        use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        to_file(&file, b"one").unwrap();
        // The mask is this process's own; a file made in the usual way tells it.
        std::fs::write(folder.path().join("usual"), "").unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&file), mode(&folder.path().join("usual")));
        symlink(&file, &link).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        to_file(&link, b"two").unwrap();
        assert!(link.is_symlink() && std::fs::read(&file).unwrap() == b"two");
        assert_eq!(mode(&file) & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3, "nothing is left beside it");
        to_file(Path::new("/dev/null"), b"gone").unwrap();
        assert!(std::fs::metadata("/dev/null").unwrap().file_type().is_char_device());
        let error = to_file(&folder.path().join("none/file"), b"x").unwrap_err();
        assert!(error.hint.is_some(), "{error:?}");
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
