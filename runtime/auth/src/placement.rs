//! The one way a header with a credential comes about.
//!
//! Invariant: what leaves here can be carried by a header, and is none of those by which a message is framed or routed.

use http::{HeaderName, HeaderValue};
use openact_core::{
    Error, Result, credential::Injection, header_policy::is_host_owned, secret::SecretString,
};
use zeroize::Zeroizing;

use crate::fields::Fields;

/// Where a token goes: `header` (default `Authorization`) and `prefix` (default `Bearer`; may be empty).
#[derive(Debug)]
pub(crate) struct Placement {
    header: HeaderName,
    prefix: String,
}

impl Placement {
    pub(crate) fn of(fields: &Fields<'_>) -> Result<Self> {
        Ok(Self {
            header: header_name(fields.text("header")?.unwrap_or("authorization"))?,
            prefix: fields.text("prefix")?.unwrap_or("Bearer").to_owned(),
        })
    }

    /// The header's name.
    pub(crate) fn name(&self) -> String {
        self.header.as_str().to_owned()
    }

    pub(crate) fn injection(&self, token: &str) -> Result<Injection> {
        header(&self.header, prefixed(&self.prefix, token))
    }
}

/// `prefix` and `token`, once: earlier files wrote `Bearer x` as the token itself, and twice the scheme is never what
/// was meant.
pub(crate) fn prefixed(prefix: &str, token: &str) -> Zeroizing<String> {
    if prefix.is_empty() {
        return Zeroizing::new(token.to_owned());
    }
    Zeroizing::new(format!("{prefix} {}", strip_scheme(token, prefix).unwrap_or(token)))
}

fn strip_scheme<'a>(token: &'a str, scheme: &str) -> Option<&'a str> {
    let (head, rest) = (token.get(..scheme.len())?, token.get(scheme.len()..)?);
    (head.eq_ignore_ascii_case(scheme) && rest.starts_with(' ')).then(|| rest.trim_start())
}

/// A header's name, if a credential may go there.
pub(crate) fn header_name(name: &str) -> Result<HeaderName> {
    let name = HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| Error::invalid_config(format!("'{name}' is not a header name")))?;
    if is_host_owned(&name) {
        return Err(Error::invalid_config(format!("a credential cannot go into the header '{name}'"))
            .hint("the host sets it; name another one"));
    }
    Ok(name)
}

/// A header that is no secret.
pub(crate) fn plain(name: &HeaderName, value: String) -> Injection {
    Injection::Plain { name: name.as_str().to_owned(), value }
}

/// A header with a signature of this one request.
pub(crate) fn once(name: &HeaderName, value: Zeroizing<String>) -> Result<Injection> {
    Ok(match header(name, value)? {
        Injection::Header { name, value } => Injection::Once { name, value },
        other => other,
    })
}

/// A header with a secret in it.
pub(crate) fn header(name: &HeaderName, value: Zeroizing<String>) -> Result<Injection> {
    if HeaderValue::from_str(&value).is_err() {
        return Err(Error::auth_required("the credential holds a character that a header cannot carry")
            .hint("check the secret for line breaks and control characters"));
    }
    Ok(Injection::Header { name: name.as_str().to_owned(), value: SecretString::from(value.as_str()) })
}
