//! Cookies of a request: one `Cookie` header (RFC 6265 section 4.2).
//!
//! Invariant: no name or value can end early and begin another cookie.

use openact_connector::Request;

use crate::pairs::Pairs;

/// Appends `cookies` to the request's `Cookie` header, which is made if there is none and one if there are several.
pub(crate) fn attach(request: &mut Request, cookies: &Pairs) -> Result<(), String> {
    let mut added = Vec::new();
    for (name, values) in &cookies.0 {
        check_name(name)?;
        for value in values {
            check_value(name, value)?;
            separate(&mut added);
            added.extend_from_slice(format!("{name}={value}").as_bytes());
        }
    }
    if added.is_empty() {
        return Ok(());
    }
    let mut all = Vec::new();
    request.headers.retain(|(name, value)| {
        let other = !name.eq_ignore_ascii_case("cookie");
        if !other {
            separate(&mut all);
            all.extend_from_slice(value);
        }
        other
    });
    separate(&mut all);
    all.extend_from_slice(&added);
    request.headers.push(("cookie".into(), all));
    Ok(())
}

fn separate(cookies: &mut Vec<u8>) {
    if !cookies.is_empty() {
        cookies.extend_from_slice(b"; ");
    }
}

fn check_name(name: &str) -> Result<(), String> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if name.is_empty() || !name.bytes().all(token) {
        return Err(format!(
            "the cookie name '{}' has a character that names cannot have",
            name.escape_debug()
        ));
    }
    Ok(())
}

fn check_value(name: &str, value: &str) -> Result<(), String> {
    let quoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    let (bare, offset) = quoted.map_or((value, 1), |bare| (bare, 2));
    let legal = |c: char| matches!(c, '!' | '#'..='+' | '-'..=':' | '<'..='[' | ']'..='~');
    match bare.chars().position(|c| !legal(c)) {
        None => Ok(()),
        // A cookie may be a secret: where, not what.
        Some(at) => Err(format!(
            "character {} of the cookie '{name}' cannot be in a cookie; percent-encode it if the server decodes it",
            at + offset
        )),
    }
}
