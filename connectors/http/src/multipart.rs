//! `multipart/form-data` (RFC 7578), as browsers write it.
//!
//! `fields` are names with scalars or lists. `files` are names with one file or a list of them:
//! `{filename?, mime_type?}` and one of `content` (base64, or the `{"base64": …}` of a binary answer), `text`, or
//! `input`: the place in the input where the content is, such as `/attachment`.
//!
//! Invariant: no part contains the boundary, wherever in it, and no name or type can end its line.

use std::{borrow::Cow, collections::BTreeSet};

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::{
    body::{bytes, bytes_of_input},
    json::{Members, Pointer},
    pairs::{Pairs, Scalar},
    variables::Variables,
};

/// One file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct File<'a> {
    filename: Option<Scalar>,
    mime_type: Option<Scalar>,
    #[serde(borrow, alias = "base64")]
    content: Option<&'a RawValue>,
    text: Option<Scalar>,
    input: Option<Pointer>,
}

/// A value, or a list of them.
pub(crate) struct OneOrMany<T>(Vec<T>);

impl<'de: 'a, 'a> Deserialize<'de> for OneOrMany<File<'a>> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?.get();
        let files = if raw.starts_with('[') {
            serde_json::from_str(raw)
        } else {
            serde_json::from_str(raw).map(|file| vec![file])
        };
        files.map(Self).map_err(serde::de::Error::custom)
    }
}

/// The content type, with its boundary, and the bytes.
pub(crate) fn encode(
    fields: Pairs,
    files: Members<OneOrMany<File<'_>>>,
    variables: &Variables<'_>,
) -> Result<(Cow<'static, str>, Vec<u8>), String> {
    let mut parts = Vec::new();
    for (name, values) in fields.0 {
        for value in values {
            parts.push(Part { head: disposition(&name, None), bytes: value.into_bytes() });
        }
    }
    for (name, OneOrMany(files)) in files.0 {
        for file in files {
            parts.push(file.part(&name, variables)?);
        }
    }
    let boundary = boundary(&parts);
    let length: usize = parts.iter().map(|part| part.head.len() + part.bytes.len() + 64).sum();
    let mut out = Vec::with_capacity(length + 64);
    for part in &parts {
        out.extend_from_slice(format!("--{boundary}\r\n{}\r\n\r\n", part.head).as_bytes());
        out.extend_from_slice(&part.bytes);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    Ok((format!("multipart/form-data; boundary={boundary}").into(), out))
}

struct Part {
    head: String,
    bytes: Vec<u8>,
}

impl File<'_> {
    fn part(self, name: &str, variables: &Variables<'_>) -> Result<Part, String> {
        let what = || format!("the file '{}'", name.escape_debug());
        let (default, bytes) = match (self.content, self.text, self.input) {
            (Some(content), None, None) => (BYTES, bytes(content.get(), &format!("content of {}", what()))?),
            (None, Some(Scalar(text)), None) => ("text/plain; charset=utf-8", text.into_bytes()),
            (None, None, Some(place)) => {
                (BYTES, bytes_of_input(&place, variables).map_err(|error| format!("{}: {error}", what()))?)
            }
            _ => return Err(format!("{} needs one of content, text and input", what())),
        };
        let mime_type = self.mime_type.map_or(default.to_owned(), |Scalar(text)| text);
        if mime_type.is_empty() || !mime_type.bytes().all(|b| matches!(b, b' '..=b'~')) {
            return Err(format!("the mime_type of {} is none", what()));
        }
        let filename = self.filename.map_or(name.to_owned(), |Scalar(text)| text);
        let head = format!("{}\r\nContent-Type: {mime_type}", disposition(name, Some(&filename)));
        Ok(Part { head, bytes })
    }
}

const BYTES: &str = "application/octet-stream";

fn disposition(name: &str, filename: Option<&str>) -> String {
    let mut line = format!("Content-Disposition: form-data; name=\"{}\"", escaped(name));
    if let Some(filename) = filename {
        line.push_str(&format!("; filename=\"{}\"", escaped(filename)));
    }
    line
}

/// As browsers do (WHATWG HTML, "multipart/form-data encoding algorithm"); other characters stay, in UTF-8.
fn escaped(text: &str) -> String {
    text.replace('\r', "%0D").replace('\n', "%0A").replace('"', "%22")
}

const MARK: &[u8; 17] = b"openact-boundary-";
const DIGITS: usize = 8;

/// The mark with the smallest number that it is not followed by anywhere: one pass, whatever the parts contain.
fn boundary(parts: &[Part]) -> String {
    let mut taken = BTreeSet::new();
    for part in parts {
        for bytes in [part.head.as_bytes(), &part.bytes] {
            for window in bytes.windows(MARK.len() + DIGITS) {
                let Some(digits) = window.strip_prefix(MARK) else { continue };
                taken.extend(std::str::from_utf8(digits).ok().and_then(|text| text.parse::<u32>().ok()));
            }
        }
    }
    // There are more numbers than a body has room for.
    let free = (0..).zip(&taken).find(|(number, taken)| number != *taken).map(|(number, _)| number);
    let free = free.unwrap_or(taken.len() as u32);
    format!("openact-boundary-{free:08}")
}
