//! What connections and actions have in common: what the writer says is there before, and what is told after; what the reader
//! has already.
//!
//! Invariant: a precondition of a change that cannot be read is a mistake; it is never left out.

use http::{HeaderMap, StatusCode, header};
use openact::{Error, Expected, Record, Result, Written};
use serde_json::{Map, Value};

use crate::envelope::{Metadata, Reply};

/// What `If-Match` or `If-None-Match: *` says.
pub(crate) fn expected(headers: &HeaderMap) -> Result<Expected> {
    let only = |name: &header::HeaderName| -> Result<Option<String>> {
        let mut values = headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(value), None) if value.to_str().is_ok_and(|text| !text.contains(',')) => {
                Ok(value.to_str().ok().map(|text| text.trim().to_owned()))
            }
            _ => Err(Error::invalid_input(format!("{name} is not the etag of one record"))),
        }
    };
    match (only(&header::IF_MATCH)?.as_deref(), only(&header::IF_NONE_MATCH)?.as_deref()) {
        (None, None) => Ok(Expected::Any),
        (None, Some("*")) => Ok(Expected::Absent),
        (Some("*"), None) => Ok(Expected::Present),
        (Some(etag), None) => match etag.strip_prefix('"').and_then(|etag| etag.strip_suffix('"')) {
            Some(etag) if !etag.is_empty() => Ok(Expected::Etag(etag.to_owned())),
            _ => Err(Error::invalid_input("if-match is not an etag")
                .hint("send it as it came: \"0123…\", in quotes")),
        },
        _ => Err(Error::invalid_input("of if-match and if-none-match, one can be said, the latter as *")),
    }
}

/// The record that is written has to be the one the path names.
pub(crate) fn same(path: &str, body: &Map<String, Value>) -> Result<()> {
    let text = |key: &str| body.get(key).and_then(Value::as_str).unwrap_or_default();
    let (connector, name) = (text("connector"), text("name"));
    if path == name || path == format!("{connector}/{name}") || path == format!("{connector}.{name}") {
        return Ok(());
    }
    Err(Error::invalid_input(format!(
        "the path names '{}' and the body '{}/{}'",
        path.escape_debug(),
        connector.escape_debug(),
        name.escape_debug()
    )))
}

/// A record, with its etag.
fn shown(record: &Record) -> Reply {
    Reply::new(record.to_json()).header(header::ETAG, &quoted(&record.etag()))
}

/// The same for a reader, who may have it already.
pub(crate) fn read(record: &Record, headers: &HeaderMap) -> Reply {
    unless_known(Reply::new(record.to_json()), &record.etag(), headers)
}

/// `reply`, or only that it is as `If-None-Match` says.
pub(crate) fn unless_known(reply: Reply, etag: &str, headers: &HeaderMap) -> Reply {
    let etag = quoted(etag);
    let known = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let is_known = known.flat_map(|tags| tags.split(',')).map(str::trim).any(|tag| {
        // Whoever packed the answer on its way may have made the etag a weak one.
        tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag
    });
    let reply = reply.header(header::ETAG, &etag);
    if is_known { reply.status(StatusCode::NOT_MODIFIED) } else { reply }
}

fn quoted(etag: &str) -> String {
    format!("\"{etag}\"")
}

/// The same of one that was written, with what should be known of it.
pub(crate) fn written(written: Written, place: &str) -> Reply {
    let status = if written.created { StatusCode::CREATED } else { StatusCode::OK };
    let warnings = written.plan.warnings.into_iter().chain(written.plan.notes).collect();
    let metadata = Metadata { warnings, ..Metadata::default() };
    let trn = written.record.trn().replace('/', "%2F");
    shown(&written.record)
        .status(status)
        .metadata(metadata)
        .header(header::LOCATION, &format!("/api/v1/{place}/{trn}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_reader_has_already_is_not_told_again() {
        let status = |tags: &[&str]| {
            let mut headers = HeaderMap::new();
            for tag in tags {
                headers.append(header::IF_NONE_MATCH, tag.parse().unwrap());
            }
            unless_known(Reply::new(Value::Null), "ab", &headers).status
        };
        for known in [&["\"ab\""][..], &["W/\"ab\""], &["\"x\", \"ab\""], &["\"x\"", "\"ab\""], &["*"]] {
            assert_eq!(status(known), StatusCode::NOT_MODIFIED, "{known:?}");
        }
        for other in [&[][..], &["\"abc\""], &["ab"], &["\"\""], &["w/\"ab\""]] {
            assert_eq!(status(other), StatusCode::OK, "{other:?}");
        }
    }

    #[test]
    fn a_precondition_is_read_or_refused() {
        let of = |pairs: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.append(*name, value.parse().unwrap());
            }
            expected(&headers).ok()
        };
        assert_eq!(of(&[]), Some(Expected::Any));
        assert_eq!(of(&[("if-match", "*")]), Some(Expected::Present));
        assert_eq!(of(&[("if-match", "\"ab\"")]), Some(Expected::Etag("ab".into())));
        assert_eq!(of(&[("if-none-match", "*")]), Some(Expected::Absent));
        for wrong in [
            vec![("if-match", "ab")],
            vec![("if-match", "W/\"ab\"")],
            vec![("if-match", "\"a\", \"b\"")],
            vec![("if-match", "\"a\""), ("if-match", "\"b\"")],
            vec![("if-none-match", "\"ab\"")],
            vec![("if-match", "*"), ("if-none-match", "*")],
            vec![("if-match", "")],
        ] {
            assert_eq!(of(&wrong), None, "{wrong:?}");
        }
    }
}
