//! Base URL, path template and query into one URL.
//!
//! | part | refused, because it could leave the base or was meant to |
//! |---|---|
//! | `base_url` | no http or https scheme, no host, user info, `\`, white space, control characters |
//! | `path` | `//…`, `@…` or `scheme://…` at its start, `\`, `#`, control characters |
//! | both, and after variables are filled in | `.` and `..` segments, also as `%2e` |
//!
//! `https://x/api/v1` and `/users` are `https://x/api/v1/users`. A `{name}` in the path is the input's field
//! `path.name`, else `name`, else what the names between its dots lead to: text, a number or a boolean, with all but
//! unreserved characters (RFC 3986 section 2.3) percent-encoded, so that it stays one segment. `{+name}` keeps `/` too, for
//! what is itself a path, such as the key of an object; none of its segments can be `.` or `..`, and the path does not begin with `//`.
//! Query parameters come from the base, the path and `query`; a later one replaces an earlier of its name.
//!
//! Invariant: the result begins with scheme and authority of the base, letter by letter, and then `/`.

use std::{borrow::Cow, fmt::Write};

use openact_connector::Failure;

use crate::{
    pairs::Pairs,
    variables::{Value, Variables, of_path},
};

/// The URL of a request.
pub fn build(
    base_url: &str,
    path: &str,
    query: &Pairs,
    variables: &Variables<'_>,
) -> Result<String, Failure> {
    let base = Base::parse(base_url)?;
    check_template(path)?;
    let (path, path_query) = path.split_once('?').unwrap_or((path, ""));
    let path = fill(path, variables, Place::Path)?;
    let path_query = fill(path_query, variables, Place::Query)?;

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

/// The first value of the query parameter `name` of a URL.
pub(crate) fn parameter(url: &str, name: &str) -> Option<String> {
    let (_, query) = url.split_once('?')?;
    query.split('&').find_map(|parameter| {
        let (own, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        (decoded(own) == name.as_bytes()).then(|| String::from_utf8_lossy(&decoded(value)).into_owned())
    })
}

/// `fields` as a form (WHATWG URL, "application/x-www-form-urlencoded serializing").
pub(crate) fn form(fields: &Pairs) -> String {
    let keep = |b: u8| b.is_ascii_alphanumeric() || b"-._*".contains(&b);
    let mut out = String::new();
    for (name, values) in &fields.0 {
        for value in values {
            if !out.is_empty() {
                out.push('&');
            }
            push_where(&mut out, name, keep);
            out.push('=');
            push_where(&mut out, value, keep);
        }
    }
    // A space is all that is written as %20: a percent sign of the text itself is %25.
    out.replace("%20", "+")
}

/// A base URL in its parts.
pub(crate) struct Base<'a> {
    /// Scheme and authority, as written.
    pub(crate) origin: &'a str,
    path: &'a str,
    query: &'a str,
}

impl<'a> Base<'a> {
    pub(crate) fn parse(text: &'a str) -> Result<Self, Failure> {
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
    let is_dots = |segment: &str| {
        let (mut rest, mut dots) = (segment.as_bytes(), 0);
        while let [b'.', after @ ..] | [b'%', b'2', b'e' | b'E', after @ ..] = rest {
            (rest, dots) = (after, dots + 1);
        }
        rest.is_empty() && matches!(dots, 1 | 2)
    };
    path.split('/').any(is_dots)
}

#[derive(Clone, Copy, PartialEq)]
enum Place {
    Path,
    Query,
}

/// Replaces every `{name}` of `template` and encodes what a URL cannot hold as it is.
fn fill(template: &str, variables: &Variables<'_>, place: Place) -> Result<String, Failure> {
    let mut filled = String::with_capacity(template.len() + 32);
    let mut rest = template;
    let mut filled_in = false;
    while let Some((literal, after)) = rest.split_once('{') {
        let name = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
        let (variable, after) = after
            .split_once('}')
            .map(|(variable, after)| (Variable::of(variable), after))
            .filter(|(variable, _)| !variable.name.is_empty() && variable.name.bytes().all(name))
            .ok_or_else(|| {
                let template = template.escape_debug();
                Failure::InvalidConfig(format!(
                    "path '{template}' has a '{{' that begins no {{name}}; write %7B for it"
                ))
            })?;
        push_literal(&mut filled, literal);
        let value = value_of(variable.name, variables)?;
        filled_in = true;
        if value.is_empty() && place == Place::Path {
            // An empty segment would name another resource, such as the list instead of one of its members.
            return Err(Failure::InvalidInput(format!(
                "'{}' is empty, and the action's path needs it",
                variable.name
            )));
        }
        push_where(&mut filled, &value, |b| is_unreserved(b) || variable.is_path && b == b'/');
        rest = after;
    }
    push_literal(&mut filled, rest);
    if place == Place::Path && filled_in && (has_dot_segment(&filled) || filled.starts_with("//")) {
        return Err(Failure::InvalidInput(format!(
            "the input would turn the path '{template}' into another"
        )));
    }
    Ok(filled)
}

/// What stands between braces: `name`, or `+name` (RFC 6570 section 3.2.3, but for the other reserved characters, which could
/// end the path).
struct Variable<'t> {
    name: &'t str,
    is_path: bool,
}

impl<'t> Variable<'t> {
    fn of(text: &'t str) -> Self {
        let name = text.strip_prefix('+').unwrap_or(text);
        Self { name, is_path: name.len() < text.len() }
    }
}

fn value_of<'a>(name: &str, variables: &Variables<'a>) -> Result<Cow<'a, str>, Failure> {
    match of_path(variables, name)?.map(Value::of) {
        Some(Value::Text(text)) => Ok(text),
        Some(Value::Compound) => Err(Failure::InvalidInput(format!(
            "'{name}' must be text, a number or a boolean to be in a path"
        ))),
        Some(Value::Null) | None => Err(Failure::InvalidInput(format!(
            "'{name}' is missing in the input, and the action's path needs it"
        ))),
    }
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

/// Percent-decoded, `+` as a space: the name or value that a server will see.
fn decoded(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
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
    push_where(out, text, is_unreserved);
}

fn is_unreserved(b: u8) -> bool {
    matches!(b, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~')
}

/// Appends what the author of the configuration wrote, encoding only what a URL cannot hold.
pub(crate) fn push_literal(out: &mut String, text: &str) {
    push_where(out, text, |b| {
        is_unreserved(b)
            || matches!(b, b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=')
            || matches!(b, b':' | b'@' | b'/' | b'?' | b'%' | b'[' | b']')
    });
}

/// Whatever is not to be kept is encoded; only ASCII is.
fn push_where(out: &mut String, text: &str, keep: impl Fn(u8) -> bool) {
    let mut rest = text;
    while let Some(at) = rest.bytes().position(|byte| !keep(byte)) {
        let (kept, after) = rest.split_at(at);
        out.push_str(kept);
        let mut characters = after.chars();
        let other = characters.next().map_or(0, char::len_utf8);
        for byte in after.bytes().take(other) {
            // Writing to a String does not fail.
            let _ = write!(out, "%{byte:02X}");
        }
        rest = characters.as_str();
    }
    out.push_str(rest);
}
