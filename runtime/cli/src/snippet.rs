//! The line of a user's file that an error points at.
//!
//! | line | shown |
//! |---|---|
//! | `tokn: hunter2` | `tokn: …` |
//! | `token: "${GITHUB_TOKEN}"` | as it is: it names a variable |
//! | `{ type: bearer, tokn: x }` | `{ type: …, tokn: … }` |
//!
//! Invariant: no value of the file is shown, because a misspelt or misplaced key may well stand before a secret.

use std::{
    fs::File,
    io::{BufRead, BufReader},
};

use miette::{MietteError, MietteSpanContents, SourceCode, SourceSpan, SpanContents};
use openact::Place;

use crate::failure::clean;

/// A longer line is not worth showing.
const LINE_BYTES_MAX: usize = 400;

/// One line, without its values.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Snippet {
    place: Place,
    text: String,
    /// Where in the text the error is, bytes from 0.
    pub(crate) caret: usize,
}

impl Snippet {
    /// Reads the line at `place`; none if that is no file, or the line is not fit to be shown.
    pub(crate) fn read(place: &Place) -> Option<Self> {
        let file =
            File::open(&place.file).ok().filter(|file| file.metadata().is_ok_and(|data| data.is_file()))?;
        let line = BufReader::new(file).lines().nth(place.line.checked_sub(1)?)?.ok()?;
        let line = line.trim_start_matches('\u{feff}');
        if line.len() > LINE_BYTES_MAX {
            return None;
        }
        let (text, caret) = without_values(&clean(line), place.column.checked_sub(1)?);
        Some(Self { place: place.clone(), text, caret })
    }
}

impl SourceCode for Snippet {
    /// The line is all there is. Without context miette asks for the place, which is that of the file as written.
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        lines_before: usize,
        _lines_after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let (span, column) =
            if lines_before == 0 { (*span, self.place.column - 1) } else { ((0, self.text.len()).into(), 0) };
        let (name, line) = (clean(&self.place.file), self.place.line - 1);
        Ok(Box::new(MietteSpanContents::new_named(name, self.text.as_bytes(), span, line, column, 1)))
    }
}

/// The line without its values, and the byte at which what was at character `column` is now.
fn without_values(line: &str, column: usize) -> (String, usize) {
    let (mut out, mut caret, mut at) = (String::new(), None, 0);
    let mut rest = line;
    while !rest.is_empty() {
        let (piece, is_value) = next_piece(rest, &out);
        let shown = if is_value && !names_a_variable(piece) { "…" } else { piece };
        let length = piece.chars().count();
        if caret.is_none() && column < at + length {
            let inside = shown.char_indices().nth(column - at).map_or(0, |(byte, _)| byte);
            caret = Some(out.len() + if shown == piece { inside } else { 0 });
        }
        out.push_str(shown);
        at += length;
        rest = rest.get(piece.len()..).unwrap_or_default();
    }
    let end = out.trim_end().chars().next_back().map_or(0, |last| out.trim_end().len() - last.len_utf8());
    (out, caret.unwrap_or(end))
}

/// The next piece of `rest`: punctuation and space, a key with its colon, or a value.
fn next_piece<'l>(rest: &'l str, before: &str) -> (&'l str, bool) {
    let blank = |c: char| c.is_whitespace() || matches!(c, '{' | '}' | '[' | ']' | ',' | ':');
    let filler = rest.find(|c| !blank(c)).unwrap_or(rest.len());
    if filler > 0 {
        return (rest.get(..filler).unwrap_or(rest), false);
    }
    if before.trim().is_empty() && rest.starts_with("- ") {
        return (rest.get(..2).unwrap_or(rest), false);
    }
    let end = match rest.chars().next() {
        Some(quote @ ('"' | '\'')) => {
            rest.get(1..).and_then(|inner| inner.find(quote)).map_or(rest.len(), |end| end + 2)
        }
        _ if rest.starts_with("${") => rest.find('}').map_or(rest.len(), |end| end + 1),
        _ => rest.find([',', '}', ']']).unwrap_or(rest.len()).min(rest.find(": ").unwrap_or(rest.len())),
    };
    let piece = rest.get(..end).unwrap_or(rest);
    // In JSON a colon may follow without a space, in YAML at the end of the line.
    let after = rest.get(end..).unwrap_or_default().trim_start();
    let is_key = after.starts_with(':') || (after.is_empty() && piece.trim_end().ends_with(':'));
    let follows_colon = before.trim_end().ends_with(':');
    (piece, follows_colon || !is_key)
}

/// Whether a value is one variable without a default, and so tells nothing.
fn names_a_variable(value: &str) -> bool {
    let name =
        value.trim().trim_matches(['"', '\'']).strip_prefix("${").and_then(|value| value.strip_suffix('}'));
    name.is_some_and(|name| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_left_out_and_the_caret_stays_on_its_word() {
        for (line, word, shown) in [
            ("  tokn: hunter2", "tokn", "  tokn: …"),
            ("  tokn: hunter2", "hunter2", "  tokn: …"),
            ("connections:", "connections", "connections:"),
            ("  - hunter2", "hunter2", "  - …"),
            (
                "auth: { type: basic, password: hunter2, usr: x }",
                "usr",
                "auth: { type: …, password: …, usr: …}",
            ),
            ("  token: \"${GITHUB_TOKEN}\"", "\"$", "  token: \"${GITHUB_TOKEN}\""),
            ("  token: ${T:hunter2}", "$", "  token: …"),
            ("  {\"tokn\":\"hunter2, b\",\"b\":1}", "\"tokn", "  {\"tokn\":…,\"b\":…}"),
            ("  password: hunter2: x", "hunter2", "  password: …: …"),
            ("hunter2", "hunter2", "…"),
        ] {
            let column = line[..line.find(word).unwrap()].chars().count();
            let (text, caret) = without_values(line, column);
            assert_eq!(text, shown, "{line}");
            let at = &text[caret..];
            assert!(at.starts_with(word) || at.starts_with('…'), "{line}: {at}");
        }
    }

    #[test]
    fn a_caret_past_the_end_is_on_the_last_character() {
        assert_eq!(without_values("a:", 99), ("a:".to_owned(), 1));
        assert_eq!(without_values("", 5), (String::new(), 0));
    }
}
