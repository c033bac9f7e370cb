//! `${VAR}` and `${VAR:default}` in a text.
//!
//! | written | read |
//! |---|---|
//! | `${VAR}` | the variable; a mistake if it is not set |
//! | `${VAR:default}`, `${VAR:}` | the variable, or the text up to the first `}` |
//! | `$${` | `${` |
//! | `$`, `$$`, `$x` | themselves |
//! | `${`, `${}`, `${a b}`, `${A:${B}}` | mistakes |
//!
//! Invariant: what a variable holds is never looked at again, and a message names variables but quotes no text.

/// A text after substitution.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Filled {
    pub(crate) text: String,
    /// Whether a variable was in it; an escaped `${` alone is none.
    pub(crate) had_variable: bool,
}

/// Why a text could not be filled: message and hint.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unfilled {
    pub(crate) message: String,
    pub(crate) hint: String,
}

/// Fills every variable of `text`.
pub(crate) fn fill(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Filled, Unfilled> {
    let mut filled = Filled { text: String::with_capacity(text.len()), had_variable: false };
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (before, after) = rest.split_at(at);
        filled.text.push_str(before);
        if let Some(after) = after.strip_prefix("$${") {
            filled.text.push_str("${");
            rest = after;
        } else if let Some(after) = after.strip_prefix("${") {
            let (inside, after) = after.split_once('}').ok_or_else(|| malformed("'${' without '}'"))?;
            filled.text.push_str(&variable(inside, env)?);
            filled.had_variable = true;
            rest = after;
        } else {
            filled.text.push('$');
            rest = after.get(1..).unwrap_or("");
        }
    }
    filled.text.push_str(rest);
    Ok(filled)
}

/// The variable that `text` consists of, if it is exactly `${VAR}`.
pub(crate) fn sole_variable(text: &str) -> Option<&str> {
    text.strip_prefix("${")?.strip_suffix('}').filter(|name| is_variable(name))
}

/// Text that [`fill`] reads as `text`.
pub(crate) fn escape(text: &str) -> String {
    text.replace("${", "$${")
}

/// Whether `name` can be written as `${name}`.
pub(crate) fn is_variable(name: &str) -> bool {
    name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

fn variable(inside: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<String, Unfilled> {
    let (name, default) = match inside.split_once(':') {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    if name.is_empty() {
        return Err(malformed("'${}' without the name of a variable"));
    }
    // What is no name is not quoted: it may be a part of a password with a '${' in it.
    if !is_variable(name) {
        return Err(malformed("what follows '${' is not the name of a variable"));
    }
    if default.is_some_and(|default| default.contains("${")) {
        return Err(malformed(&format!("the default of '{name}' holds another variable")));
    }
    env(name).or_else(|| default.map(str::to_owned)).ok_or_else(|| Unfilled {
        message: format!("environment variable '{name}' is not set"),
        hint: format!("set {name}, or give it a default: ${{{name}:default}}"),
    })
}

fn malformed(message: &str) -> Unfilled {
    Unfilled {
        message: message.to_owned(),
        hint: "write ${VAR} or ${VAR:default}, and $${ for '${' itself".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "A" => Some("a".into()),
            "TRAP" => Some("${A}$${".into()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    #[test]
    fn every_row_of_the_table() {
        for (written, read, had_variable) in [
            ("", "", false),
            ("plain", "plain", false),
            ("${A}", "a", true),
            ("x${A}-${A}y", "xa-ay", true),
            ("${NO:d}", "d", true),
            ("${NO:}", "", true),
            ("${A:d}", "a", true),
            ("${NO:a:b c}", "a:b c", true),
            ("$${A}", "${A}", false),
            ("$$${A}", "$${A}", false),
            ("$", "$", false),
            ("a$$b$", "a$$b$", false),
            ("${TRAP}", "${A}$${", true),
            ("${EMPTY:d}", "", true),
            ("ü${A}ü", "üaü", true),
            ("${A}$${A}", "a${A}", true),
        ] {
            let expected = Filled { text: read.into(), had_variable };
            assert_eq!(fill(written, &env), Ok(expected), "{written}");
        }
        for bad in ["${", "a${A", "${}", "${:d}", "${A B}", "${NO:${A}}", "${1}", "${Ä}"] {
            assert!(fill(bad, &env).is_err(), "{bad}");
        }
        let missing = fill("${NO}", &env).unwrap_err();
        assert_eq!(missing.message, "environment variable 'NO' is not set");
    }

    #[test]
    fn a_mistake_does_not_quote_the_text() {
        for text in ["pass${w rd}", "pass${word", "x${word!:y}"] {
            let Unfilled { message, hint } = fill(text, &env).unwrap_err();
            assert!(!format!("{message}{hint}").contains("rd"), "{message}");
        }
    }

    #[test]
    fn escaped_text_reads_as_itself() {
        // Every text of up to six of these characters.
        let mut texts = vec![String::new()];
        for _ in 0..6 {
            let longer: Vec<String> =
                texts.iter().flat_map(|text| ["$", "{", "}", "A"].map(|c| format!("{text}{c}"))).collect();
            texts.extend(longer);
        }
        for text in texts {
            assert_eq!(fill(&escape(&text), &env).unwrap().text, text);
        }
    }

    proptest::proptest! {
        /// Parts of a text, each as written and as read.
        #[test]
        fn a_text_reads_as_its_parts(
            parts in proptest::collection::vec((0u8..4, "[A-Z_][A-Za-z0-9_.-]{0,4}", "[^$}]{0,5}"), 0..6),
        ) {
            let value = |name: &str| format!("${{{name}}}$$");
            let (mut written, mut read, mut had_variable) = (String::new(), String::new(), false);
            for (kind, name, text) in &parts {
                let (as_written, as_read) = match kind {
                    0 => (text.clone(), text.clone()),
                    1 => (format!("${{{name}}}"), value(name)),
                    2 => (format!("${{NO{name}:{text}}}"), text.clone()),
                    _ => ("$${".to_owned(), "${".to_owned()),
                };
                had_variable |= matches!(kind, 1 | 2);
                written.push_str(&as_written);
                read.push_str(&as_read);
            }
            let env = |name: &str| (!name.starts_with("NO")).then(|| value(name));
            proptest::prop_assume!(!parts.iter().any(|(kind, name, _)| *kind == 1 && name.starts_with("NO")));
            proptest::prop_assert_eq!(fill(&written, &env), Ok(Filled { text: read, had_variable }), "{}", written);
            // Any text at all survives being written and read.
            proptest::prop_assert_eq!(fill(&escape(&written), &|_| None).map(|filled| filled.text), Ok(written));
        }

        #[test]
        fn no_text_panics(text in "[$ {}A:a]{0,12}") {
            let _ = fill(&text, &|name| (name == "A").then(|| "${A}".to_owned()));
        }
    }

    #[test]
    fn only_a_variable_alone_can_stay_a_reference() {
        assert_eq!(sole_variable("${A}"), Some("A"));
        for text in ["${A:d}", "x${A}", "${A}${A}", "$${A}", "${}", "A", "${A} "] {
            assert_eq!(sole_variable(text), None, "{text}");
        }
    }
}
