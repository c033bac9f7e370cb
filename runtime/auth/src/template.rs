//! Texts with placeholders, as `hmac` signs and sends them.
//!
//! | placeholder | is |
//! |---|---|
//! | `{method}` | `GET` |
//! | `{url}`, `{host}` | the whole URL; host, and port if it is not the scheme's own |
//! | `{path}`, `{query}`, `{target}` | as sent: `/a%20b`; `x=1` or nothing; both with `?` between them if there is a query |
//! | `{body}`, `{body_sha256}`, `{body_sha256_base64}` | its bytes; their hash |
//! | `{timestamp}`, `{timestamp_ms}`, `{date}` | Unix time in seconds, in milliseconds; `Sun, 06 Nov 1994 08:49:37 GMT` |
//! | `{nonce}` | 32 random hexadecimal digits, the same throughout a request |
//! | `{header:name}` | a header of the request, or nothing |
//! | `{key_id}` | the field of that name |
//! | `{signature}` | in `format` and `headers` only |
//!
//! `{{` and `}}` stand for one brace. Any other text stands for itself.
//!
//! Invariant: a template that can be read can be filled; what is unknown is said when the connection is read.

use std::borrow::Cow;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::{HeaderName, header::HOST};
use openact_core::{Error, Result, credential::RequestView};
use url::Position;

use crate::{hash, sigv4::host};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Placeholder {
    Method,
    Url,
    Host,
    Path,
    Query,
    Target,
    Body,
    BodySha256,
    BodySha256Base64,
    Timestamp,
    TimestampMs,
    Date,
    Nonce,
    KeyId,
    Signature,
}

const NAMES: &[(&str, Placeholder)] = &[
    ("method", Placeholder::Method),
    ("url", Placeholder::Url),
    ("host", Placeholder::Host),
    ("path", Placeholder::Path),
    ("query", Placeholder::Query),
    ("target", Placeholder::Target),
    ("body", Placeholder::Body),
    ("body_sha256", Placeholder::BodySha256),
    ("body_sha256_base64", Placeholder::BodySha256Base64),
    ("timestamp", Placeholder::Timestamp),
    ("timestamp_ms", Placeholder::TimestampMs),
    ("date", Placeholder::Date),
    ("nonce", Placeholder::Nonce),
    ("key_id", Placeholder::KeyId),
    ("signature", Placeholder::Signature),
];

#[derive(Debug)]
enum Part {
    Text(String),
    Value(Placeholder),
    Header(HeaderName),
}

/// A text with placeholders.
#[derive(Debug)]
pub(crate) struct Template(Vec<Part>);

/// What the placeholders stand for.
#[derive(Clone, Copy)]
pub(crate) struct Values<'a> {
    pub(crate) request: RequestView<'a>,
    pub(crate) nonce: &'a str,
    pub(crate) key_id: &'a str,
    pub(crate) signature: &'a str,
}

impl Template {
    /// Reads the text of `authorization.{field}`.
    pub(crate) fn parse(field: &str, text: &str) -> Result<Self> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(at);
            plain.push_str(before);
            let brace = if from.starts_with('{') { '{' } else { '}' };
            let inside = from.strip_prefix(brace).unwrap_or_default();
            if let Some(after) = inside.strip_prefix(brace) {
                plain.push(brace);
                rest = after;
            } else if brace == '}' {
                plain.push(brace);
                rest = inside;
            } else {
                let (name, after) = inside.split_once('}').ok_or_else(|| {
                    Error::invalid_config(format!("authorization.{field} has a '{{' without a '}}'"))
                        .hint("write {{ for a brace")
                })?;
                if !plain.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut plain)));
                }
                parts.push(Part::parse(field, name)?);
                rest = after;
            }
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Self(parts))
    }

    pub(crate) fn needs_key_id(&self) -> bool {
        self.has(Placeholder::KeyId)
    }

    pub(crate) fn needs_signature(&self) -> bool {
        self.has(Placeholder::Signature)
    }

    fn has(&self, wanted: Placeholder) -> bool {
        self.0.iter().any(|part| matches!(part, Part::Value(found) if *found == wanted))
    }

    /// Hands the text with `values` in place to `out`, piece by piece: a body may be large.
    pub(crate) fn fill(&self, values: Values<'_>, mut out: impl FnMut(&[u8])) {
        for part in &self.0 {
            match part {
                Part::Text(text) => out(text.as_bytes()),
                Part::Value(placeholder) => out(&placeholder.bytes(values)),
                Part::Header(name) if *name == HOST => out(host(values.request.url).as_bytes()),
                Part::Header(name) => {
                    let found: Vec<_> =
                        values.request.headers.get_all(name).iter().map(|value| value.as_bytes()).collect();
                    out(&found.join(&b", "[..]));
                }
            }
        }
    }
}

impl Part {
    fn parse(field: &str, name: &str) -> Result<Self> {
        if let Some(header) = name.strip_prefix("header:") {
            let header = HeaderName::from_bytes(header.as_bytes());
            return header.map(Self::Header).map_err(|_| {
                Error::invalid_config(format!("authorization.{field}: '{{{name}}}' names no header"))
            });
        }
        let found = NAMES.iter().find(|(known, _)| *known == name);
        found.map(|(_, placeholder)| Self::Value(*placeholder)).ok_or_else(|| {
            let known: Vec<_> = NAMES.iter().map(|(name, _)| format!("{{{name}}}")).collect();
            Error::invalid_config(format!("authorization.{field}: '{{{name}}}' is not known"))
                .hint(format!("known are {} and {{header:name}}; {{{{ is a brace", known.join(" ")))
        })
    }
}

impl Placeholder {
    fn bytes<'a>(self, values: Values<'a>) -> Cow<'a, [u8]> {
        let Values { request: RequestView { method, url, body, now, .. }, nonce, key_id, signature } = values;
        let text = match self {
            Self::Body => return Cow::Borrowed(body),
            Self::Method => method.to_string(),
            Self::Url => url[..Position::AfterQuery].to_owned(),
            Self::Host => host(url),
            Self::Path => url.path().to_owned(),
            Self::Query => url.query().unwrap_or_default().to_owned(),
            Self::Target => url[Position::BeforePath..Position::AfterQuery].to_owned(),
            Self::BodySha256 => hash::sha256_hex(body),
            Self::BodySha256Base64 => BASE64_STANDARD.encode(hash::sha256(body)),
            Self::Timestamp => now.as_second().to_string(),
            Self::TimestampMs => now.as_millisecond().to_string(),
            Self::Date => now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string(),
            Self::Nonce => nonce.to_owned(),
            Self::KeyId => key_id.to_owned(),
            Self::Signature => signature.to_owned(),
        };
        Cow::Owned(text.into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "([{}a:]|\\PC|\\{body\\}){0,12}") {
            let _ = Template::parse("message", &text);
        }

        #[test]
        fn text_without_braces_stands_for_itself(text in "[^{}]{0,12}") {
            let request = crate::testing::Request::new(http::Method::GET, "https://api.example.com/");
            let values = Values { request: request.view(), nonce: "", key_id: "", signature: "" };
            let mut out = Vec::new();
            Template::parse("message", &text).unwrap().fill(values, |piece| out.extend_from_slice(piece));
            prop_assert_eq!(out, text.into_bytes());
        }
    }
}
