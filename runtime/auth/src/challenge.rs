//! Reading `WWW-Authenticate` (RFC 9110 section 11.6.1).
//!
//! | accepted | as |
//! |---|---|
//! | `Digest realm="a, \"b\"", nonce=x` | one challenge; quoted or not is the same |
//! | `Basic realm="x", Digest nonce="y"` | two, of one header |
//! | `Negotiate YWJj=, Digest nonce="y"` | two; the first has no parameters |
//!
//! Invariant: any header can be read, whatever it holds; what is malformed is left out.

use http::{HeaderMap, header::WWW_AUTHENTICATE};

/// One scheme with its parameters.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Challenge {
    scheme: String,
    parameters: Vec<(String, String)>,
}

impl Challenge {
    /// Every challenge of an answer, in its order.
    pub(crate) fn all(headers: &HeaderMap) -> Vec<Self> {
        let mut found = Vec::new();
        for value in headers.get_all(WWW_AUTHENTICATE) {
            read(&String::from_utf8_lossy(value.as_bytes()), &mut found);
        }
        found
    }

    pub(crate) fn is(&self, scheme: &str) -> bool {
        self.scheme.eq_ignore_ascii_case(scheme)
    }

    /// The parameter of that name; the first, if a server says it twice.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let found = self.parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

fn read(text: &str, found: &mut Vec<Challenge>) {
    // Parameters before the first scheme of a header belong to nothing, and not to the last header's.
    let known = found.len();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        if rest.is_empty() {
            return;
        }
        let (token, after) = rest.split_at(rest.find(|c| !is_token(c)).unwrap_or(rest.len()));
        if token.is_empty() || !(after.is_empty() || after.starts_with([' ', '\t', ',', '='])) {
            rest = skip_item(rest);
            continue;
        }
        rest = after.trim_start_matches([' ', '\t']);
        let Some(value) = rest.strip_prefix('=') else {
            found.push(Challenge { scheme: token.to_owned(), parameters: Vec::new() });
            continue;
        };
        let (value, after) = parameter(value.trim_start_matches([' ', '\t']));
        rest = after;
        if let Some(value) = value
            && let Some(challenge) = found.get_mut(known..).and_then(<[Challenge]>::last_mut)
        {
            challenge.parameters.push((token.to_owned(), value));
        }
    }
}

/// A parameter's value and what follows it; none if it is no value, as the end of a token68 is not.
fn parameter(text: &str) -> (Option<String>, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let (token, rest) = text.split_at(text.find(|c| !is_token(c)).unwrap_or(text.len()));
        return match token {
            "" => (None, skip_item(text)),
            token => (Some(token.to_owned()), rest),
        };
    };
    let mut value = String::new();
    let mut escaped = false;
    for (at, c) in quoted.char_indices() {
        match c {
            _ if escaped => {
                value.push(c);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => return (Some(value), quoted.get(at + 1..).unwrap_or_default()),
            _ => value.push(c),
        }
    }
    (None, "")
}

fn skip_item(text: &str) -> &str {
    text.split_once(',').map_or("", |(_, rest)| rest)
}

/// `tchar` of RFC 9110 section 5.6.2.
fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<String> {
        let mut headers = HeaderMap::new();
        headers.append(WWW_AUTHENTICATE, text.parse().unwrap());
        let line = |challenge: &Challenge| {
            let parameters: Vec<_> =
                challenge.parameters.iter().map(|(name, value)| format!("{name}={value}")).collect();
            format!("{}[{}]", challenge.scheme, parameters.join("|"))
        };
        Challenge::all(&headers).iter().map(line).collect()
    }

    #[test]
    fn several_schemes_in_one_header_and_every_spelling_of_a_value() {
        for (text, challenges) in [
            (
                r#"Basic realm="x", Digest nonce="y", qop=auth"#,
                vec!["Basic[realm=x]", "Digest[nonce=y|qop=auth]"],
            ),
            (r#"Digest realm="a, \"b\" = c\\",nonce = "n""#, vec![r#"Digest[realm=a, "b" = c\|nonce=n]"#]),
            (r#"Negotiate YWJj==, Digest nonce="y""#, vec!["Negotiate[]", "Digest[nonce=y]"]),
            (r#"Negotiate a/b+c=, Digest nonce="y""#, vec!["Negotiate[]", "Digest[nonce=y]"]),
            (r#"NTLM, Digest nonce="""#, vec!["NTLM[]", "Digest[nonce=]"]),
            (r#",, Digest  nonce=a,, qop="auth,auth-int" ,"#, vec!["Digest[nonce=a|qop=auth,auth-int]"]),
            (r#"realm="nobody's", Digest nonce=a"#, vec!["Digest[nonce=a]"]),
            (r#"Digest nonce="not closed"#, vec!["Digest[]"]),
            ("=", vec![]),
            ("", vec![]),
        ] {
            assert_eq!(shown(text), challenges, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_header_is_read(text in "([ ,=\"\\\\a/]|Digest|\\PC){0,16}") {
            let mut found = Vec::new();
            read(&text, &mut found);
            proptest::prop_assert!(found.len() <= text.len());
        }
    }
}
