//! Base URL, path template and query into one URL.
//!
//! | part | refused, because it could leave the base or was meant to |
//! |---|---|
//! | `base_url` | no http or https scheme, no host, user info, `\`, white space, control characters |
//! | `path` | `//…`, `@…` or `scheme://…` at its start, `\`, `#`, control characters |
//! | both, and after variables are filled in | `.` and `..` segments, also as `%2e` |
//!
//! `https://x/api/v1` and `/users` are `https://x/api/v1/users`. A `{name}` in the path is the input's field
//! `path.name`, else `name`: text, a number or a boolean, with everything but unreserved characters (RFC 3986 section
//! 2.3) percent-encoded, so that it stays one segment. Query parameters come from the base, the path and `query`; a
//! later one replaces an earlier of its name.
//!
//! Invariant: the result begins with scheme and authority of the base, letter by letter, and then `/`.

use std::{borrow::Cow, collections::BTreeMap, fmt::Write};

use openact_connector::{Failure, Json};
use serde_json::{Value, value::RawValue};

use crate::config::Pairs;

/// The URL of a request.
pub fn build(base_url: &str, path: &str, query: &Pairs, input: &Json) -> Result<String, Failure> {
    let base = Base::parse(base_url)?;
    check_template(path)?;
    let (path, path_query) = path.split_once('?').unwrap_or((path, ""));
    let path = fill(path, input, Place::Path)?;
    let path_query = fill(path_query, input, Place::Query)?;

    let mut url = String::with_capacity(base_url.len() + path.len() + path_query.len() + 64);
    url.push_str(base.origin);
    push_literal(&mut url, base.path.trim_end_matches('/'));
    if path.is_empty() {
        url.push_str(if base.path.is_empty() || base.path.ends_with('/') { "/" } else { "" });
    } else {
        url.push('/');
        url.push_str(path.strip_prefix('/').unwrap_or(&path));
    }
    push_query(&mut url, base.query, &path_query, query);
    Ok(url)
}

struct Base<'a> {
    /// Scheme and authority, as written.
    origin: &'a str,
    path: &'a str,
    query: &'a str,
}

impl<'a> Base<'a> {
    fn parse(text: &'a str) -> Result<Self, Failure> {
        let bad = |what: &str| Failure::InvalidConfig(format!("base_url '{}' {what}", text.escape_debug()));
        let (scheme, rest) =
            text.split_once("://").ok_or_else(|| bad("is not a URL such as https://api.example.com"))?;
        if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
            return Err(bad("does not begin with http:// or https://"));
        }
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        if authority.is_empty() {
            return Err(bad("has no host"));
        }
        if authority.contains('@') {
            return Err(bad("has a user name in it; use authorization for that"));
        }
        if text.contains('\\') || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(bad("has a backslash, white space or a control character"));
        }
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        if has_dot_segment(path) {
            return Err(bad("has a '.' or '..' segment"));
        }
        let origin = text.get(..scheme.len() + 3 + end).unwrap_or_default();
        Ok(Self { origin, path, query })
    }
}

fn check_template(path: &str) -> Result<(), Failure> {
    let bad = |what: &str| Err(Failure::InvalidConfig(format!("path '{}' {what}", path.escape_debug())));
    if path.starts_with("//") || path.starts_with('@') {
        return bad("begins like another host; a path begins with one '/'");
    }
    if path.contains('\\') || path.chars().any(char::is_control) {
        return bad("has a backslash or a control character");
    }
    if path.contains('#') {
        return bad("has a fragment; write %23 for a '#'");
    }
    let scheme = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+.-".contains(&b));
    if path.split_once("://").is_some_and(|(before, _)| scheme(before)) {
        return bad("is a whole URL; it is appended to the connection's base_url");
    }
    if has_dot_segment(path.split('?').next().unwrap_or_default()) {
        return bad("has a '.' or '..' segment");
    }
    Ok(())
}

/// What a URL parser (WHATWG URL, section 4.2) takes for `.` or `..`.
fn has_dot_segment(path: &str) -> bool {
    path.split('/').any(|segment| {
        segment.len() <= 6 && matches!(segment.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..")
    })
}

#[derive(Clone, Copy, PartialEq)]
enum Place {
    Path,
    Query,
}

/// Replaces every `{name}` of `template` and encodes what a URL cannot hold as it is.
fn fill(template: &str, input: &Json, place: Place) -> Result<String, Failure> {
    let mut filled = String::with_capacity(template.len() + 32);
    let mut rest = template;
    let mut variables = None;
    while let Some((literal, after)) = rest.split_once('{') {
        let name = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
        let (variable, after) = after
            .split_once('}')
            .filter(|(variable, _)| !variable.is_empty() && variable.bytes().all(name))
            .ok_or_else(|| {
                let template = template.escape_debug();
                Failure::InvalidConfig(format!(
                    "path '{template}' has a '{{' that begins no {{name}}; write %7B for it"
                ))
            })?;
        push_literal(&mut filled, literal);
        if variables.is_none() {
            variables = Some(Variables::of(input)?);
        }
        let value = variables.as_ref().map_or_else(|| missing(variable), |found| found.get(variable))?;
        if value.is_empty() && place == Place::Path {
            // An empty segment would name another resource, such as the list instead of one of its members.
            return Err(Failure::InvalidInput(format!(
                "'{variable}' is empty, and the action's path needs it"
            )));
        }
        push_encoded(&mut filled, &value);
        rest = after;
    }
    push_literal(&mut filled, rest);
    if place == Place::Path && variables.is_some() && (has_dot_segment(&filled) || filled.starts_with("//")) {
        return Err(Failure::InvalidInput(format!(
            "the input would turn the path '{template}' into another"
        )));
    }
    Ok(filled)
}

/// The members of the input that a path may name, unparsed.
struct Variables<'a> {
    top: BTreeMap<String, &'a RawValue>,
    path: BTreeMap<String, &'a RawValue>,
}

impl<'a> Variables<'a> {
    fn of(input: &'a Json) -> Result<Self, Failure> {
        let top: BTreeMap<String, &RawValue> = serde_json::from_str(input.as_str())
            .map_err(|_| Failure::InvalidInput("the input must be an object".into()))?;
        // Where `path` is not an object it is an ordinary field, which may itself be a variable.
        let path = top.get("path").and_then(|path| serde_json::from_str(path.get()).ok()).unwrap_or_default();
        Ok(Self { top, path })
    }

    fn get(&self, name: &str) -> Result<Cow<'a, str>, Failure> {
        let Some(raw) = self.path.get(name).or_else(|| self.top.get(name)) else {
            return missing(name);
        };
        match serde_json::from_str(raw.get()) {
            Ok(Value::String(text)) => Ok(text.into()),
            Ok(Value::Number(_) | Value::Bool(_)) => Ok(raw.get().into()),
            Ok(Value::Null) => missing(name),
            _ => Err(Failure::InvalidInput(format!(
                "'{name}' must be text, a number or a boolean to be in a path"
            ))),
        }
    }
}

fn missing<T>(name: &str) -> Result<T, Failure> {
    Err(Failure::InvalidInput(format!("'{name}' is missing in the input, and the action's path needs it")))
}

fn push_query(url: &mut String, base: &str, path: &str, query: &Pairs) {
    let own: Vec<(String, &[String])> =
        query.0.iter().map(|(name, values)| (encoded(name), values.as_slice())).collect();
    let named = |parameter: &str| decoded(parameter.split('=').next().unwrap_or_default());
    let in_path: Vec<_> = path.split('&').filter(|p| !p.is_empty()).map(named).collect();
    let in_query = |name: &[u8]| query.0.iter().any(|(own, _)| own.as_bytes() == name);
    let mut separator = '?';
    let mut push = |url: &mut String, write: &dyn Fn(&mut String)| {
        url.push(std::mem::replace(&mut separator, '&'));
        write(url);
    };
    for parameter in base.split('&').filter(|p| !p.is_empty()) {
        let name = named(parameter);
        if !in_query(&name) && !in_path.contains(&name) {
            push(url, &|url| push_literal(url, parameter));
        }
    }
    for parameter in path.split('&').filter(|p| !p.is_empty()) {
        if !in_query(&named(parameter)) {
            push(url, &|url| url.push_str(parameter));
        }
    }
    for (name, values) in &own {
        for value in *values {
            push(url, &|url| {
                url.push_str(name);
                url.push('=');
                push_encoded(url, value);
            });
        }
    }
}

/// Percent-decoded, `+` as a space: the name that a server will see.
fn decoded(name: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let pair =
            after.get(..2).and_then(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
        match (first, pair) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            (b'+', _) => {
                bytes.push(b' ');
                rest = after;
            }
            _ => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    bytes
}

fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    push_encoded(&mut out, text);
    out
}

/// Appends `text` with all but unreserved characters encoded.
fn push_encoded(out: &mut String, text: &str) {
    push_where(out, text, |b| b.is_ascii_alphanumeric() || b"-._~".contains(&b));
}

/// Appends what the author of the configuration wrote, encoding only what a URL cannot hold.
fn push_literal(out: &mut String, text: &str) {
    push_where(out, text, |b| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?%[]".contains(&b));
}

fn push_where(out: &mut String, text: &str, keep: impl Fn(u8) -> bool) {
    for byte in text.bytes() {
        if keep(byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a String does not fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
}
