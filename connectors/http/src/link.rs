//! The next page by link: `Link: <https://api.example.com/items?page=2>; rel="next"` (RFC 8288).
//!
//! | target | |
//! |---|---|
//! | `https://same-host/…`, `/…`, `?…`, `page2` | resolved against the page before (RFC 3986 section 5.2) |
//! | another scheme, host or port, user info, `\`, white space, control characters | refused |
//!
//! Invariant: the URL of a next page begins with scheme and authority of the base, letter by letter, and then `/`.

use openact_connector::Failure;

use crate::{answer::Headers, url};

/// The target of the first link that says `rel=next`.
pub(crate) fn next(headers: &Headers) -> Option<String> {
    let links = headers.iter().filter(|(name, _)| name == "link");
    links.filter_map(|(_, value)| std::str::from_utf8(value).ok()).find_map(next_of_one)
}

/// `target`, as found on the page `current`, as a URL below `base_url`'s origin.
pub fn resolve(base_url: &str, current: &str, target: &str) -> Result<String, Failure> {
    let base = url::Base::parse(base_url)?;
    let refused = |what: &str| {
        Failure::upstream(format!("the link '{}' to the next page {what}", target.escape_debug()))
    };
    let target = target.trim_matches(' ');
    if target.contains(|c: char| c == '\\' || c.is_control() || c.is_whitespace()) {
        return Err(refused("has a backslash, white space or a control character"));
    }
    let target = target.split('#').next().unwrap_or_default();
    let (scheme, rest) = match scheme(target) {
        Some((scheme, rest)) => (Some(scheme), rest),
        None => (None, target),
    };
    let (base_scheme, base_authority) = base.origin.split_once("://").unwrap_or_default();
    let path = if let Some(rest) = rest.strip_prefix("//") {
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let scheme = scheme.unwrap_or(base_scheme);
        if origin(scheme, authority) != origin(base_scheme, base_authority) {
            return Err(refused(&format!("leads away from {}", base.origin)));
        }
        path.to_owned()
    } else if scheme.is_some() {
        return Err(refused(&format!("leads away from {}", base.origin)));
    } else {
        let current = current.get(base.origin.len()..).unwrap_or_default();
        let current_path = current.split('?').next().unwrap_or_default();
        match rest.as_bytes().first() {
            None => current.to_owned(),
            Some(b'/') => rest.to_owned(),
            Some(b'?') => format!("{current_path}{rest}"),
            Some(_) => format!("{}/{rest}", current_path.rsplit_once('/').map_or("", |(folder, _)| folder)),
        }
    };
    let mut url = base.origin.to_owned();
    if !path.starts_with('/') {
        url.push('/');
    }
    url::push_literal(&mut url, &path);
    Ok(url)
}

/// The scheme and what follows its colon, if there is one (RFC 3986 section 3.1).
fn scheme(target: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = target.split_once(':')?;
    let letters = |b: u8| b.is_ascii_alphanumeric() || b"+-.".contains(&b);
    (scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && scheme.bytes().all(letters))
        .then_some((scheme, rest))
}

fn origin(scheme: &str, authority: &str) -> (String, String) {
    let (scheme, authority) = (scheme.to_ascii_lowercase(), authority.to_ascii_lowercase());
    let default = if scheme == "http" { ":80" } else { ":443" };
    let bare = authority.strip_suffix(default).unwrap_or(&authority).to_owned();
    (scheme, bare)
}

fn next_of_one(mut rest: &str) -> Option<String> {
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let (target, after) = rest.strip_prefix('<')?.split_once('>')?;
        let (mut is_next, mut elsewhere, mut said) = (false, false, false);
        rest = after;
        while let Some(after) = rest.trim_start().strip_prefix(';') {
            let (name, value, after) = parameter(after)?;
            rest = after;
            // The first rel counts (section 3.3); with an anchor the link is another page's (section 3.2).
            if name.eq_ignore_ascii_case("rel") && !said {
                said = true;
                is_next = value.split_ascii_whitespace().any(|rel| rel.eq_ignore_ascii_case("next"));
            }
            elsewhere |= name.eq_ignore_ascii_case("anchor");
        }
        if is_next && !elsewhere {
            return Some(target.to_owned());
        }
    }
}

/// Name, value and the rest.
fn parameter(text: &str) -> Option<(&str, String, &str)> {
    let end = text.find(['=', ';', ',']).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let name = name.trim();
    let Some(rest) = rest.strip_prefix('=') else {
        return Some((name, String::new(), rest));
    };
    let rest = rest.trim_start();
    let Some(quoted) = rest.strip_prefix('"') else {
        let (value, rest) = rest.split_at(rest.find([';', ',']).unwrap_or(rest.len()));
        return Some((name, value.trim().to_owned(), rest));
    };
    let (mut value, mut characters) = (String::new(), quoted.chars());
    loop {
        match characters.next()? {
            '"' => return Some((name, value, characters.as_str())),
            '\\' => value.push(characters.next()?),
            c => value.push(c),
        }
    }
}
