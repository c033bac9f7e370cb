//! From a file to a [`Document`], in order: text, JSON, entries, connections, actions, and every mistake at once.
//!
//! Invariant: a document is returned only for a file without mistakes.

use std::{collections::HashSet, fs::File, io::Read, path::Path};

use openact_core::{Error, Result, limits};

use crate::{
    Context, Document, Format,
    check::Checker,
    parse::parse,
    positions::{On, Positions},
    problems::Problems,
    shapes,
};

/// Reads the file at `path`, of the format its extension says, at most [`limits::CONFIG_BYTES_MAX`].
pub fn read_file(path: &Path, context: &Context<'_>) -> Result<Document> {
    let name = path.display().to_string();
    let format = Format::of(path)?;
    let failed = |error: std::io::Error| Error::invalid_config(format!("failed to read '{name}': {error}"));
    let mut bytes = Vec::new();
    // To open a pipe would wait for whoever writes to it, and a device may have no end.
    if !path.metadata().map_err(failed)?.is_file() {
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
    checker.problems.finish(name, || Positions::of(text, format))?;
    if leans_on_the_outside(&document) {
        let positions = Positions::of(text, format);
        for (draft, at) in document.connections.iter_mut().zip(&places.0) {
            draft.place = positions.place(name, at, On::Key);
        }
        for (draft, at) in document.actions.iter_mut().zip(&places.1) {
            draft.place = positions.place(name, at, On::Key);
        }
    }
    Ok(document)
}

/// Whether some action's connection is not in the file, so that whoever looks for it may have to say where it was named.
fn leans_on_the_outside(document: &Document) -> bool {
    let inside: HashSet<_> =
        document.connections.iter().map(|draft| (&draft.connector, &draft.name)).collect();
    document.actions.iter().any(|draft| !inside.contains(&(&draft.connector, &draft.connection)))
}
