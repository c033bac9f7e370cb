//! Credentials that are the same for every request.
//!
//! | `type` | fields |
//! |---|---|
//! | `bearer` | `token`; `header` (`Authorization`), `prefix` (`Bearer`; may be empty) |
//! | `api_key` | `value`; one of `header` (`X-API-Key`), `query`, `cookie`; `prefix` (none) |
//! | `basic` | `username`, `password`; either may be empty |
//!
//! Invariant: a prefix is never sent twice, whether the secret already has it or not.

use std::sync::Arc;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use openact_core::{
    Error, Result,
    credential::{CredentialKind, Injection},
    secret::{ExposeSecret, SecretString},
};
use zeroize::Zeroizing;

use crate::{
    fields::Fields,
    placement::{Placement, header, header_name, prefixed},
};

pub(crate) fn bearer(fields: &Fields<'_>) -> Result<CredentialKind> {
    let token = fields.secret("token")?;
    Placement::of(fields)?.injection(token.expose_secret()).map(fixed)
}

pub(crate) fn api_key(fields: &Fields<'_>) -> Result<CredentialKind> {
    let value = fields.secret("value")?;
    let value = prefixed(fields.text("prefix")?.unwrap_or_default(), value.expose_secret());
    let secret = SecretString::from(value.as_str());
    let injection = match (fields.text("header")?, fields.text("query")?, fields.text("cookie")?) {
        (name, None, None) => header(&header_name(name.unwrap_or("X-API-Key"))?, value)?,
        (None, Some(name), None) => Injection::Query { name: name.to_owned(), value: secret },
        (None, None, Some(name)) => {
            let legal = |text: &str| {
                text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b';' | b',' | b'"' | b'\\'))
            };
            if !legal(name) || name.contains('=') || !legal(&value) {
                return Err(Error::invalid_config("the API key cannot be sent as a cookie").hint(
                    "a cookie holds printable ASCII without ; , \" \\ and spaces (RFC 6265 section 4.1.1)",
                ));
            }
            Injection::Cookie { name: name.to_owned(), value: secret }
        }
        _ => {
            return Err(Error::invalid_config("an API key goes to one place")
                .hint("set only one of header, query and cookie"));
        }
    };
    Ok(fixed(injection))
}

pub(crate) fn basic(fields: &Fields<'_>) -> Result<CredentialKind> {
    let user = fields.said("username")?;
    if user.contains(':') {
        // RFC 7617 section 2: everything after the first colon would be read as the password.
        return Err(Error::invalid_config("authorization.username must not hold a colon"));
    }
    let password = fields.said_secret("password")?;
    let pair = Zeroizing::new(format!("{user}:{}", password.expose_secret()));
    let encoded = Zeroizing::new(BASE64_STANDARD.encode(pair.as_bytes()));
    header(&http::header::AUTHORIZATION, prefixed("Basic", &encoded)).map(fixed)
}

fn fixed(injection: Injection) -> CredentialKind {
    CredentialKind::Fixed(Arc::new([injection]))
}

#[cfg(test)]
mod tests {
    use openact_core::ErrorCode;
    use serde_json::{Value, json};

    use crate::testing::{made, shown};

    fn sent(section: Value) -> String {
        match made(&section).unwrap().map(|credential| credential.kind) {
            None => "nothing".into(),
            Some(super::CredentialKind::Fixed(injections)) => shown(&injections).join(", "),
            Some(super::CredentialKind::Computed(_)) => "computed".into(),
        }
    }

    #[test]
    fn each_kind_as_it_is_sent() {
        for (section, wanted) in [
            (json!({}), "nothing"),
            (json!({"type": "none"}), "nothing"),
            (json!({"type": "bearer", "token": "t"}), "header authorization: Bearer t"),
            (json!({"type": "bearer", "token": {"$env": "SET"}}), "header authorization: Bearer hunter2"),
            (json!({"type": "bearer", "token": "t", "prefix": ""}), "header authorization: t"),
            (
                json!({"type": "bearer", "token": "t", "header": "X-Token", "prefix": "T"}),
                "header x-token: T t",
            ),
            (json!({"type": "api_key", "value": "k"}), "header x-api-key: k"),
            (
                json!({"type": "api_key", "value": "k", "header": "X-Key", "prefix": "Key"}),
                "header x-key: Key k",
            ),
            (json!({"type": "api_key", "value": "k", "query": "key"}), "query key=k"),
            (json!({"type": "api_key", "value": "k", "cookie": "sid"}), "cookie sid=k"),
            // RFC 7617 section 2 and, with another charset than ASCII, section 2.1.
            (
                json!({"type": "basic", "username": "Aladdin", "password": "open sesame"}),
                "header authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
            ),
            (
                json!({"type": "basic", "username": "test", "password": "123£"}),
                "header authorization: Basic dGVzdDoxMjPCow==",
            ),
            // Either half may be empty: a key in place of the user, or in place of the password.
            (
                json!({"type": "basic", "username": "sk_live", "password": ""}),
                "header authorization: Basic c2tfbGl2ZTo=",
            ),
            (
                json!({"type": "basic", "username": "", "password": "pat"}),
                "header authorization: Basic OnBhdA==",
            ),
            (json!({"type": "digest", "username": "", "password": ""}), "computed"),
        ] {
            assert_eq!(sent(section), wanted);
        }
    }

    #[test]
    fn a_scheme_that_is_in_the_secret_too_is_sent_once() {
        for (section, wanted) in [
            (json!({"type": "bearer", "token": "bearer t"}), "header authorization: Bearer t"),
            (json!({"type": "bearer", "token": "Bearert"}), "header authorization: Bearer Bearert"),
            (
                json!({"type": "api_key", "header": "Authorization", "prefix": "Bearer", "value": "Bearer x"}),
                "header authorization: Bearer x",
            ),
            (
                json!({"type": "api_key", "header": "Authorization", "value": "Bearer x"}),
                "header authorization: Bearer x",
            ),
        ] {
            assert_eq!(sent(section), wanted);
        }
    }

    #[test]
    fn c5_a_missing_or_malformed_one_fails_without_being_quoted() {
        for (section, code) in [
            (json!({"type": "bearer"}), ErrorCode::AuthRequired),
            (json!({"type": "bearer", "token": ""}), ErrorCode::AuthRequired),
            (json!({"type": "bearer", "token": {"$env": "UNSET"}}), ErrorCode::AuthRequired),
            (json!({"type": "bearer", "token": "hunter2\r\nX-Evil: 1"}), ErrorCode::AuthRequired),
            (json!({"type": "bearer", "token": "hunter2", "header": "Host"}), ErrorCode::InvalidConfig),
            (json!({"type": "bearer", "token": "hunter2", "path_prefix": "v1"}), ErrorCode::InvalidConfig),
            (json!({"type": "api_key", "value": "hunter2; a=b", "cookie": "c"}), ErrorCode::InvalidConfig),
            (
                json!({"type": "api_key", "value": "hunter2", "cookie": "c", "query": "q"}),
                ErrorCode::InvalidConfig,
            ),
            (json!({"type": "basic", "username": "a:b", "password": "hunter2"}), ErrorCode::InvalidConfig),
            (json!({"type": "basic", "password": "hunter2"}), ErrorCode::AuthRequired),
            (json!({"type": "basic", "username": "u"}), ErrorCode::AuthRequired),
            (
                json!({"type": "basic", "username": "u", "password": {"$env": "UNSET"}}),
                ErrorCode::AuthRequired,
            ),
            (json!({"type": "digest", "password": "hunter2"}), ErrorCode::AuthRequired),
            (json!({"type": "digest", "username": "hunter2"}), ErrorCode::AuthRequired),
            (json!({"type": "digest", "username": "a\nb", "password": "hunter2"}), ErrorCode::InvalidConfig),
            (json!({"type": "kerberos", "password": "hunter2"}), ErrorCode::InvalidConfig),
            (json!({"type": "jwt", "algorithm": "RS256", "key": "hunter2"}), ErrorCode::AuthRequired),
            (json!({"type": "jwt", "algorithm": "none", "key": "hunter2"}), ErrorCode::InvalidConfig),
            (
                json!({"type": "jwt", "algorithm": "HS256", "key": "hunter2", "secret_encoding": "hex"}),
                ErrorCode::AuthRequired,
            ),
            (
                json!({"type": "aws_sigv4", "access_key_id": "a", "secret_access_key": "hunter2", "region": "r"}),
                ErrorCode::AuthRequired,
            ),
        ] {
            let error = made(&section).unwrap_err();
            assert_eq!(error.code, code, "{section}");
            assert!(!format!("{error:?} {}", error.to_json()).contains("hunter2"), "{section}");
        }
    }
}
