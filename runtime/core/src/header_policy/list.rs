//! Headers whose value is a list (RFC 9110 section 5.6.1), joined from two sides.
//!
//! Invariant: joining what was joined once changes nothing, so that a request can be sent again as it was.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use indexmap::IndexSet;

use crate::{Error, Result};

/// Where both have `name` and differ: one value in `headers`, of the connection's elements and then the others, each once.
pub(super) fn join(name: &HeaderName, connection: &HeaderMap, headers: &mut HeaderMap) -> Result<()> {
    let (own, other) = (connection.get_all(name), headers.get_all(name));
    if !connection.contains_key(name) || !headers.contains_key(name) || own == other {
        return Ok(());
    }
    // A set, because a guest decides how many there are.
    let mut distinct = IndexSet::new();
    let mut sensitive = false;
    for value in own.iter().chain(other) {
        sensitive |= value.is_sensitive();
        let elements = elements(value.as_bytes()).ok_or_else(|| {
            Error::invalid_input(format!(
                "a value of the list header '{name}' opens a quote that it does not close"
            ))
        })?;
        distinct.extend(elements);
    }
    let joined = distinct.into_iter().collect::<Vec<_>>().join(&b", "[..]);
    let mut joined = HeaderValue::from_maybe_shared(Bytes::from(joined))
        .map_err(|error| Error::internal("joined header values are none").because(error))?;
    joined.set_sensitive(sensitive);
    headers.insert(name, joined);
    Ok(())
}

/// What commas part, but for those in quotes. None if a quote stays open: the elements after it would become its text.
fn elements(list: &[u8]) -> Option<Vec<&[u8]>> {
    let (mut quoted, mut escaped) = (false, false);
    let parts = list.split(|byte| {
        let literal = std::mem::take(&mut escaped);
        match byte {
            _ if literal => {}
            b'\\' => escaped = quoted,
            b'"' => quoted = !quoted,
            b',' => return !quoted,
            _ => {}
        }
        false
    });
    let elements = parts.map(<[u8]>::trim_ascii).filter(|element| !element.is_empty()).collect();
    (!quoted).then_some(elements)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCEPT: HeaderName = http::header::ACCEPT;

    fn map(values: &[&'static str]) -> HeaderMap {
        values.iter().map(|value| (ACCEPT, HeaderValue::from_static(value))).collect()
    }

    fn joined(own: &[&'static str], theirs: &[&'static str]) -> Result<Vec<String>> {
        let (own, mut headers) = (map(own), map(theirs));
        join(&ACCEPT, &own, &mut headers)?;
        let once = headers.clone();
        join(&ACCEPT, &own, &mut headers)?;
        assert_eq!(once, headers);
        Ok(headers.get_all(ACCEPT).iter().map(|value| value.to_str().unwrap().to_owned()).collect())
    }

    #[test]
    fn each_element_is_there_once_the_connections_first() {
        for (own, theirs, sent) in [
            (&["a"][..], &["b"][..], &["a, b"][..]),
            (&["a"], &["a"], &["a"]),
            (&["a, a"], &["a, a"], &["a, a"]),
            (&["a", "b"], &["b", "c"], &["a, b, c"]),
            (&["a, b"], &["b,c , a"], &["a, b, c"]),
            (&["a"], &["a, b"], &["a, b"]),
            (&[r#"x;q="1, 2""#], &[r#"x;q="1, 2", 2"#, "y"], &[r#"x;q="1, 2", 2, y"#]),
            (&[r#""a\", b""#], &["b", r#""a\\", b"#], &[r#""a\", b", b, "a\\""#]),
            (&["a"], &[], &[]),
            (&[], &["b", "b"], &["b", "b"]),
            (&[""], &["b,,"], &["b"]),
            (&["A"], &["a"], &["A, a"]),
        ] {
            assert_eq!(joined(own, theirs).unwrap(), sent, "{own:?} {theirs:?}");
        }
    }

    #[test]
    fn a_quote_left_open_is_refused() {
        for open in ["\"a", "a, \"", r#""a\""#, r#""a\"#] {
            assert!(joined(&[open], &["b"]).is_err(), "{open}");
            assert!(joined(&["b"], &[open]).is_err(), "{open}");
        }
    }

    #[test]
    fn what_holds_a_sensitive_value_is_sensitive() {
        let mut headers = map(&["b"]);
        headers.get_mut(ACCEPT).unwrap().set_sensitive(true);
        join(&ACCEPT, &map(&["a"]), &mut headers).unwrap();
        assert!(headers[ACCEPT].is_sensitive());
    }
}
