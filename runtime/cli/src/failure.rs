//! A failure, as text for a terminal, text for a log, or JSON.
//!
//! Each says the same: what failed, where in the user's file, what to do. Invariant: causes that are for logs
//! only (`source` of an error) are not in any of them, and neither is a control character.

use std::fmt::{self, Write};

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan};
use openact::{Error, ErrorCode};
use serde_json::{Value, json};

use crate::{exit_code, settings::Stream, snippet::Snippet};

/// Why a command did not succeed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It failed.
    Error(Error),
    /// It was interrupted; the exit code.
    Interrupted(u8),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl Failure {
    /// See [`exit_code`].
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Error(error) => error.code.exit_code(),
            Self::Interrupted(code) => *code,
        }
    }

    /// The failure as one JSON document.
    pub(crate) fn to_json(&self) -> Value {
        match self {
            Self::Error(error) => json!({ "error": error.to_json() }),
            Self::Interrupted(_) => {
                json!({ "error": { "code": "interrupted", "message": self.to_string() } })
            }
        }
    }

    /// The failure for a pipe or a file.
    pub(crate) fn to_text(&self) -> String {
        let Self::Error(error) = self else { return format!("{self}\n") };
        let mut text = format!("error[{}]: {}\n", error.code, clean(&error.message));
        if let Some(place) = &error.place {
            let _ = writeln!(text, "  --> {}", clean(&place.to_string()));
        }
        if let Some(hint) = &error.hint {
            let _ = writeln!(text, "  help: {}", clean(hint));
        }
        text + &other_problems(error)
    }

    /// The failure for a terminal.
    pub(crate) fn to_terminal(&self, stream: Stream) -> String {
        let Self::Error(error) = self else { return format!("{self}\n") };
        let theme = if stream.color { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
        let handler = GraphicalReportHandler::new_themed(theme).with_links(false);
        let mut text = String::new();
        match handler.render_report(&mut text, &Shown::new(error)) {
            Ok(()) => text + &other_problems(error),
            Err(_) => self.to_text(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error(error) => f.write_str(&clean(&error.message)),
            Self::Interrupted(exit_code::TERMINATED) => f.write_str("terminated"),
            Self::Interrupted(_) => f.write_str("interrupted"),
        }
    }
}

/// What a file has wrong besides the first mistake, which is the message.
fn other_problems(error: &Error) -> String {
    let problems = error.details.as_ref().and_then(|details| details.get("problems")?.as_array());
    let mut text = String::new();
    for problem in problems.into_iter().flatten().skip(1) {
        let part = |name: &str| problem.get(name).and_then(Value::as_str).map(clean);
        let place = part("place").map_or_else(String::new, |place| format!("{place}: "));
        let _ = write!(text, "  also: {place}{}", part("message").unwrap_or_default());
        let _ = match part("hint") {
            Some(hint) => writeln!(text, " ({hint})"),
            None => writeln!(text),
        };
    }
    text
}

/// Without control characters: a text of somebody else's must not drive the terminal.
pub(crate) fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}

/// An error as miette draws it.
#[derive(Debug)]
struct Shown {
    code: ErrorCode,
    message: String,
    hint: Option<String>,
    snippet: Option<Snippet>,
}

impl Shown {
    fn new(error: &Error) -> Self {
        let snippet = error.place.as_ref().and_then(Snippet::read);
        let mut message = clean(&error.message);
        if let (None, Some(place)) = (&snippet, &error.place) {
            let _ = write!(message, " ({})", clean(&place.to_string()));
        }
        Self { code: error.code, message, hint: error.hint.as_deref().map(clean), snippet }
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Shown {}

impl Diagnostic for Shown {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.code))
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.hint.as_ref().map(|hint| Box::new(hint) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn miette::SourceCode> {
        self.snippet.as_ref().map(|snippet| snippet as &dyn miette::SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let caret = self.snippet.as_ref()?.caret;
        Some(Box::new(std::iter::once(LabeledSpan::new(Some("here".to_owned()), caret, 1))))
    }
}

#[cfg(test)]
mod tests {
    use openact::Place;

    use super::*;

    fn mistake(file: &str) -> Failure {
        let place = Place { file: file.to_owned(), line: 2, column: 3 };
        let problems = json!([
            {"message": "unknown key 'tokn'", "place": format!("{file}:2:3")},
            {"message": "unknown key 'pat\u{1b}[2J'", "place": format!("{file}:9:1"), "hint": "did you mean 'path'?"},
            {"message": "it has no place"},
        ]);
        Error::invalid_config("unknown key 'tokn' (and 1 more mistake in this file)")
            .at(Some(place))
            .hint("did you mean 'token'?")
            .details(json!({ "problems": problems }))
            .because("the inner cause")
            .into()
    }

    #[test]
    fn a_mistake_in_a_file_is_shown_with_its_place_but_without_values() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("c.yaml").display().to_string();
        std::fs::write(&file, "auth:\n  tokn: hunter2\n").unwrap();
        let (failure, stream) = (mistake(&file), Stream { is_terminal: true, color: false });
        let (text, drawn) = (failure.to_text(), failure.to_terminal(stream));
        assert!(text.starts_with("error[invalid_config]: unknown key 'tokn'"), "{text}");
        assert!(
            text.contains(&format!(
                "\n  --> {file}:2:3\n  help: did you mean 'token'?\n  also: {file}:9:1: "
            )),
            "{text}"
        );
        assert!(text.ends_with("\n  also: it has no place\n"), "{text}");
        for part in
            ["invalid_config", "tokn:", "c.yaml:2:3", "help: did you mean 'token'?", "(did you mean 'path'?)"]
        {
            assert!(drawn.contains(part), "{part} is not in {drawn}");
        }
        for shown in [text, drawn] {
            assert!(
                !shown.contains("hunter2") && !shown.contains("inner cause") && !shown.contains('\u{1b}'),
                "{shown}"
            );
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_again_is_named_all_the_same() {
        let drawn = mistake("/nonexistent/c.yaml").to_terminal(Stream { is_terminal: true, color: false });
        assert!(drawn.contains("/nonexistent/c.yaml:2:3"), "{drawn}");
    }
}
