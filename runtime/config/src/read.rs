//! From a file to a [`Document`], in order: text, JSON, entries, connections, actions, and every mistake at once.
//!
//! Invariant: a document is returned only for a file without mistakes.

use std::{collections::HashSet, fs::File, io::Read, path::Path};

use openact_core::{Error, Place, Result, limits};

use crate::{
    Context, Document, Format,
    check::Checker,
    parse::{parse, shown},
    positions::{On, Positions},
    problems::Problems,
    shapes,
};

/// Reads the file at `path`, of the format its extension says, at most [`limits::CONFIG_BYTES_MAX`].
pub fn read_file(path: &Path, context: &Context<'_>) -> Result<Document> {
    let name = path.display().to_string();
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => Error::not_found(format!("there is no file '{name}'"))
            .hint("a path is taken from the folder the command is run in"),
        _ => Error::invalid_config(format!("failed to read '{name}': {error}")),
    };
    let mut bytes = Vec::new();
    let metadata = path.metadata().map_err(failed)?;
    let format = Format::of(path)?;
    // To open a pipe would wait for whoever writes to it, and a device may have no end.
    if !metadata.is_file() {
        return Err(Error::invalid_config(format!("'{name}' is not a regular file"))
            .hint("name a file; a folder, a pipe and a device are none"));
    }
    let file = File::open(path).map_err(failed)?;
    file.take(limits::CONFIG_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > limits::CONFIG_BYTES_MAX {
        let mib = limits::CONFIG_BYTES_MAX / (1024 * 1024);
        return Err(Error::invalid_config(format!("'{name}' is larger than {mib} MiB")).hint("split it"));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let byte = error.utf8_error().valid_up_to();
        Error::invalid_config(format!("'{name}' is not UTF-8 at byte {byte}")).hint("save the file as UTF-8")
    })?;
    read_text(&name, &text, format, context)
}

/// Reads `text`. `name` is the file in the place of an error.
pub fn read_text(name: &str, text: &str, format: Format, context: &Context<'_>) -> Result<Document> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let value = parse(name, text, format)?;
    let mut problems = Problems::default();
    let entries = shapes::entries(value, context, &mut problems);
    let mut checker = Checker::new(context, problems)?;
    let (mut document, mut places) = (Document::default(), (Vec::new(), Vec::new()));
    for entry in entries.connections {
        let at = entry.at.clone();
        if let Some(draft) = checker.connection(entry)? {
            document.connections.push(draft);
            places.0.push(at);
        }
    }
    for entry in entries.actions {
        let at = entry.at.clone();
        if let Some(draft) = checker.action(entry)? {
            document.actions.push(draft);
            places.1.push(at);
        }
    }
    let clear = std::mem::take(&mut checker.clear);
    checker.problems.finish(name, || Positions::of(text, format))?;
    if leans_on_the_outside(&document) || !clear.is_empty() {
        let positions = Positions::of(text, format);
        document.warnings = clear.iter().map(|at| of_clear(at, positions.place(name, at, On::Key))).collect();
        for (draft, at) in document.connections.iter_mut().zip(&places.0) {
            draft.place = positions.place(name, at, On::Key);
        }
        for (draft, at) in document.actions.iter_mut().zip(&places.1) {
            draft.place = positions.place(name, at, On::Key);
        }
    }
    Ok(document)
}

/// What to say of a secret in clear at a JSON Pointer of the file.
fn of_clear(at: &str, place: Option<Place>) -> String {
    let place = place.map_or_else(String::new, |place| format!("{place}: "));
    let mut segments = at.rsplit('/');
    let name = segments.next().unwrap_or_default().replace("~1", "/").replace("~0", "~");
    let what = if segments.next() == Some("cookies") { "cookie" } else { "header" };
    format!(
        "{place}the {what} '{}' looks like a secret and is kept in clear; give it to the connection's authorization, \
         which seals it, as in authorization: {{type: api_key, header: NAME, value: {{$secret: NAME}}}}",
        shown(&name)
    )
}

/// Whether some action's connection is not in the file, so that whoever looks for it may have to say where it was named.
fn leans_on_the_outside(document: &Document) -> bool {
    let inside: HashSet<_> =
        document.connections.iter().map(|draft| (&draft.connector, &draft.name)).collect();
    document.actions.iter().any(|draft| !inside.contains(&(&draft.connector, &draft.connection)))
}
