//! `:name` in a statement becomes `?`, which is all that the server knows.
//!
//! | in the statement | is |
//! |---|---|
//! | `:name` where a value can stand | the parameter of that name; it may stand there several times |
//! | `'…'`, `"…"`, `` `…` `` | left alone, with `\` and doubled quotes |
//! | `-- …`, `# …`, `/* … */` | left alone, but for `/*! … */` and `/*+ … */`, which the server reads |
//! | `@a := 1`, `label:` | no parameter |
//!
//! Invariant: nothing but names becomes anything else; a text that is misread costs an error of the server's and never
//! puts a value into it.

use std::borrow::Cow;

/// A statement as the server takes it.
#[derive(Debug, PartialEq, Eq)]
pub struct Rewritten<'t> {
    /// With `?` only.
    pub text: Cow<'t, str>,
    /// What stands for each of them, in order; empty if the statement has no names.
    pub names: Vec<&'t str>,
    /// Whether it had a `?` of its own.
    pub marks: bool,
}

/// Finds the names of `text`.
pub fn rewrite(text: &str) -> Rewritten<'_> {
    let (mut out, mut copied, mut names, mut marks) = (String::new(), 0, Vec::new(), false);
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let rest = bytes.get(at..).unwrap_or_default();
        match byte {
            b'\'' | b'"' | b'`' => at += quoted(rest, byte),
            b'#' => at += line(rest),
            b'-' if is_dash_comment(rest) => at += line(rest),
            b'/' if rest.starts_with(b"/*") && !matches!(rest.get(2), Some(b'!' | b'+')) => {
                let end = rest.get(2..).and_then(|inside| inside.windows(2).position(|pair| pair == b"*/"));
                at += end.map_or(rest.len(), |end| end + 4);
            }
            b':' if is_begin(bytes, at) => {
                let length = rest.iter().skip(1).take_while(|byte| is_name(**byte)).count();
                out.push_str(text.get(copied..at).unwrap_or_default());
                out.push('?');
                names.extend(text.get(at + 1..at + 1 + length));
                at += 1 + length;
                copied = at;
            }
            b'?' => {
                marks = true;
                at += 1;
            }
            _ => at += 1,
        }
    }
    if names.is_empty() {
        return Rewritten { text: Cow::Borrowed(text), names, marks };
    }
    out.push_str(text.get(copied..).unwrap_or_default());
    Rewritten { text: Cow::Owned(out), names, marks }
}

/// How long the quotation is that begins here.
fn quoted(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while let Some(&byte) = rest.get(at) {
        at += 1;
        match byte {
            b'\\' if quote != b'`' => at += 1,
            // A doubled quote begins the next one at once, which comes to the same.
            _ if byte == quote => return at,
            _ => {}
        }
    }
    rest.len()
}

fn line(rest: &[u8]) -> usize {
    rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |end| end + 1)
}

fn is_dash_comment(rest: &[u8]) -> bool {
    rest.starts_with(b"--")
        && rest.get(2).is_none_or(|byte| byte.is_ascii_whitespace() || byte.is_ascii_control())
}

/// Whether a name begins with the colon at `at`.
fn is_begin(bytes: &[u8], at: usize) -> bool {
    let first = bytes.get(at + 1).is_some_and(|byte| byte.is_ascii_alphabetic() || *byte == b'_');
    let before = at.checked_sub(1).and_then(|before| bytes.get(before));
    first && before.is_none_or(|byte| !is_name(*byte) && *byte != b':' && *byte != b'@' && byte.is_ascii())
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, expected: &str, names: &[&str]) {
        let rewritten = rewrite(text);
        assert_eq!((rewritten.text.as_ref(), rewritten.names.as_slice()), (expected, names), "{text}");
    }

    #[test]
    fn names_are_found_where_values_can_stand() {
        check("SELECT :a, :b_2,:a", "SELECT ?, ?,?", &["a", "b_2", "a"]);
        check("WHERE x=:x AND(:y)", "WHERE x=? AND(?)", &["x", "y"]);
        check("/*!50000 :a */ /*+ x */ :b", "/*!50000 ? */ /*+ x */ ?", &["a", "b"]);
        check("SELECT 1--:a\n", "SELECT 1--?\n", &["a"]);
        check("ä :a", "ä ?", &["a"]);
    }

    #[test]
    fn nothing_else_is_one() {
        for text in [
            "SELECT ':a', \":b\", `:c`",
            "SELECT 'it''s :a', 'it\\'s :a', '\\\\' ':a'",
            "-- :a",
            "SELECT 1 -- :a\n",
            "# :a\n",
            "/* :a",
            "/* :a */",
            "SET @a:=1, @b := 2",
            "l1:BEGIN END",
            "SELECT a:b, 1::x, ':",
            ": a",
            ":1",
            "",
        ] {
            check(text, text, &[]);
        }
        assert!(rewrite("SELECT ?").marks && !rewrite("SELECT '?', `?` -- ?").marks);
    }

    proptest! {
        #[test]
        fn as_many_marks_as_names(text in "[ :a'\"`#*/!?\\\\\n-]{0,40}") {
            let rewritten = rewrite(&text);
            let marks = |text: &str| text.bytes().filter(|byte| *byte == b'?').count();
            prop_assert_eq!(marks(&rewritten.text), marks(&text) + rewritten.names.len());
        }
    }
}
