//! The result of a call: `{"status_code", "headers", "body"}`.
//!
//! | content type | body |
//! |---|---|
//! | JSON (`application/json`, `…+json`) that is valid | as it came |
//! | text, and anything of a textual type, in UTF-8 or Latin-1 | a string |
//! | anything else | `{"base64": "…"}` |
//! | (empty) | `null` |
//!
//! Header names are lower case; repeated headers are joined by `, ` (RFC 9110 section 5.2), except `set-cookie`,
//! which cannot be and is always a list. Invariant: the result is JSON whatever the server sent, and a JSON body is
//! in it byte for byte.

use base64::{Engine, engine::general_purpose::STANDARD};
use openact_connector::{Json, Request};
use serde_json::value::RawValue;

type Headers = [(String, Vec<u8>)];

/// What a response is to the caller.
pub fn result(status: u16, headers: &Headers, body: &[u8]) -> Json {
    let mut out = String::with_capacity(body.len() + body.len() / 8 + 64 + 96 * headers.len());
    out.push_str("{\"status_code\":");
    out.push_str(&status.to_string());
    out.push_str(",\"headers\":");
    push_headers(&mut out, headers);
    out.push_str(",\"body\":");
    let content_type =
        headers.iter().find(|(name, _)| name == "content-type").map_or_else(String::new, |(_, v)| latin1(v));
    push_body(&mut out, &content_type, body);
    out.push('}');
    Json::from_text(out)
}

/// What would have been sent.
pub(crate) fn dry_run(request: &Request) -> Json {
    let mut out = String::from("{\"dry_run\":true,\"request\":{\"method\":");
    push_string(&mut out, &request.method);
    out.push_str(",\"url\":");
    push_string(&mut out, &request.url);
    let headers: Vec<_> =
        request.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())).collect();
    out.push_str(",\"headers\":");
    push_headers(&mut out, &headers);
    out.push_str(",\"body\":");
    let content_type =
        headers.iter().find(|(name, _)| name == "content-type").map_or_else(String::new, |(_, v)| latin1(v));
    push_body(&mut out, &content_type, request.body.as_deref().unwrap_or_default());
    out.push_str("}}");
    Json::from_text(out)
}

fn push_headers(out: &mut String, headers: &Headers) {
    out.push('{');
    for (index, (name, _)) in headers.iter().enumerate() {
        if headers.iter().take(index).any(|(earlier, _)| earlier == name) {
            continue;
        }
        if index > 0 {
            out.push(',');
        }
        push_string(out, name);
        out.push(':');
        let values = headers.iter().filter(|(other, _)| other == name).map(|(_, value)| latin1(value));
        if name == "set-cookie" {
            let mut opening = '[';
            for value in values {
                out.push(std::mem::replace(&mut opening, ','));
                push_string(out, &value);
            }
            out.push(']');
        } else {
            push_string(out, &values.collect::<Vec<_>>().join(", "));
        }
    }
    out.push('}');
}

fn push_body(out: &mut String, content_type: &str, body: &[u8]) {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    if body.is_empty() {
        return out.push_str("null");
    }
    let (essence, parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
    let essence = essence.trim().to_ascii_lowercase();
    let says_json = essence == "application/json" || essence == "text/json" || essence.ends_with("+json");
    if says_json && let Ok(json) = serde_json::from_slice::<&RawValue>(body) {
        return out.push_str(json.get());
    }
    match std::str::from_utf8(body) {
        Ok(text) if is_textual(&essence) => push_string(out, text),
        Err(_) if essence.starts_with("text/") && is_latin1(parameters) => push_string(out, &latin1(body)),
        _ => {
            out.push_str("{\"base64\":\"");
            STANDARD.encode_string(body, out);
            out.push_str("\"}");
        }
    }
}

/// Types whose content is text. An answer without a type is text if it can be.
fn is_textual(essence: &str) -> bool {
    essence.is_empty()
        || essence.starts_with("text/")
        || essence.ends_with("+xml")
        || essence.ends_with("json")
        || essence.ends_with("yaml")
        || matches!(
            essence,
            "application/xml"
                | "application/javascript"
                | "application/x-javascript"
                | "application/x-www-form-urlencoded"
                | "application/x-ndjson"
                | "application/jsonl"
                | "application/graphql"
                | "application/toml"
                | "application/sql"
        )
}

fn is_latin1(parameters: &str) -> bool {
    let parameters = parameters.to_ascii_lowercase().replace(['"', ' '], "");
    parameters.split(';').any(|p| matches!(p, "charset=iso-8859-1" | "charset=latin1" | "charset=us-ascii"))
}

/// UTF-8, else each byte as the character of its number, which is what HTTP once meant (RFC 9110 section 5.5).
fn latin1(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().copied().map(char::from).collect(),
    }
}

/// Appends `text` as a JSON string (RFC 8259 section 7).
fn push_string(out: &mut String, text: &str) {
    out.push('"');
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c < ' ' || c == '"' || c == '\\') {
        let (plain, after) = rest.split_at(at);
        out.push_str(plain);
        let mut characters = after.chars();
        match characters.next() {
            Some('\n') => out.push_str("\\n"),
            Some('\r') => out.push_str("\\r"),
            Some('\t') => out.push_str("\\t"),
            Some(c @ ('"' | '\\')) => out.extend(['\\', c]),
            Some(c) => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            None => {}
        }
        rest = characters.as_str();
    }
    out.push_str(rest);
    out.push('"');
}
