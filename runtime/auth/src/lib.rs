//! Obtaining credentials for connections: from an `authorization` section to a [`Credential`] the host can apply.
//!
//! | `type` | fields | what is sent |
//! |---|---|---|
//! | `none` | – | nothing |
//! | `bearer` | `token`, `prefix` (default `Bearer`) | `Authorization: Bearer TOKEN` |
//! | `api_key` | `value`, one of `header`, `query`, `cookie` (default `header: X-API-Key`), `prefix` | that header, query parameter or cookie |
//! | `basic` | `username`, `password` | `Authorization: Basic …` (RFC 7617) |
//!
//! Invariant: a credential that is missing or malformed fails here, before anything is dialled, and no message
//! quotes it.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use openact_core::{
    Error, JsonObject, Result,
    credential::{Credential, Injection},
    policy::Origin,
    secret::{ExposeSecret, SecretRef, SecretString},
};
use serde_json::Value;

/// Looks up the value of a secret reference; none if there is no such secret.
pub trait SecretSource {
    /// The secret `reference` names.
    fn secret(&self, reference: &SecretRef) -> Result<Option<SecretString>>;
}

/// The secret references an `authorization` section holds, so that a caller can look them up beforehand.
pub fn references(authorization: &JsonObject) -> Vec<SecretRef> {
    authorization.values().filter_map(SecretRef::from_json).collect()
}

/// The credential that `authorization` describes, bound to `origin`; none for `type: none` or an empty section.
pub fn credential(
    authorization: &JsonObject,
    origin: Option<&Origin>,
    secrets: &dyn SecretSource,
) -> Result<Option<Credential>> {
    let fields = Fields { authorization, secrets };
    let injection = match fields.text("type")?.unwrap_or("none") {
        "none" => return Ok(None),
        "bearer" => bearer(&fields)?,
        "api_key" => api_key(&fields)?,
        "basic" => basic(&fields)?,
        other => {
            return Err(Error::invalid_config(format!("authorization type '{other}' is not supported"))
                .hint("supported: none, bearer, api_key, basic"));
        }
    };
    let origin = origin.cloned().ok_or_else(|| {
        Error::invalid_config("the connection has a credential but no URL to bind it to").hint("set base_url")
    })?;
    Ok(Some(Credential { origin, injections: vec![injection] }))
}

fn bearer(fields: &Fields<'_>) -> Result<Injection> {
    let token = fields.secret("token")?;
    let prefix = fields.text("prefix")?.unwrap_or("Bearer");
    // Earlier files wrote "Bearer x" as the token; twice the scheme is never what was meant.
    let token = token.expose_secret();
    let bare = strip_scheme(token, prefix).unwrap_or(token);
    header("authorization", format!("{prefix} {bare}"))
}

fn strip_scheme<'a>(token: &'a str, scheme: &str) -> Option<&'a str> {
    let (head, rest) = (token.get(..scheme.len())?, token.get(scheme.len()..)?);
    (head.eq_ignore_ascii_case(scheme) && rest.starts_with(' ')).then(|| rest.trim_start())
}

fn api_key(fields: &Fields<'_>) -> Result<Injection> {
    let value = fields.secret("value")?;
    let value = match fields.text("prefix")? {
        Some(prefix) if !prefix.is_empty() => {
            SecretString::from(format!("{prefix} {}", value.expose_secret()))
        }
        _ => value,
    };
    match (fields.text("header")?, fields.text("query")?, fields.text("cookie")?) {
        (name, None, None) => header(name.unwrap_or("X-API-Key"), value.expose_secret().to_owned()),
        (None, Some(name), None) => Ok(Injection::Query { name: name.to_owned(), value }),
        (None, None, Some(name)) => {
            let legal = |text: &str| {
                text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b';' | b',' | b'"' | b'\\'))
            };
            if !legal(name) || name.contains('=') || !legal(value.expose_secret()) {
                return Err(Error::invalid_config("the API key cannot be sent as a cookie").hint(
                    "a cookie holds printable ASCII without ; , \" \\ and spaces (RFC 6265 section 4.1.1)",
                ));
            }
            Ok(Injection::Cookie { name: name.to_owned(), value })
        }
        _ => Err(Error::invalid_config("an API key goes to one place")
            .hint("set only one of header, query and cookie")),
    }
}

fn basic(fields: &Fields<'_>) -> Result<Injection> {
    let user = fields.text("username")?.ok_or_else(|| missing("username"))?;
    if user.contains(':') {
        // RFC 7617 section 2: everything after the first colon would be read as the password.
        return Err(Error::invalid_config("authorization.username must not hold a colon"));
    }
    let password = fields.secret("password")?;
    header(
        "authorization",
        format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{}", password.expose_secret()))),
    )
}

fn header(name: &str, value: String) -> Result<Injection> {
    let value = SecretString::from(value);
    let name = http::HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| Error::invalid_config(format!("'{name}' is not a header name")))?;
    if http::HeaderValue::from_str(value.expose_secret()).is_err() {
        return Err(Error::auth_required("the credential holds a character that a header cannot carry")
            .hint("check the secret for line breaks and control characters"));
    }
    Ok(Injection::Header { name: name.as_str().to_owned(), value })
}

fn missing(field: &str) -> Error {
    Error::auth_required(format!("authorization.{field} is missing or empty"))
        .hint("set it in the connection; a secret that was imported can be set anew with another import")
}

/// Typed access to the section's fields.
struct Fields<'a> {
    authorization: &'a JsonObject,
    secrets: &'a dyn SecretSource,
}

impl<'a> Fields<'a> {
    fn text(&self, field: &str) -> Result<Option<&'a str>> {
        match self.authorization.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(Error::invalid_config(format!("authorization.{field} must be text"))),
        }
    }

    fn secret(&self, field: &str) -> Result<SecretString> {
        let value = self.authorization.get(field).ok_or_else(|| missing(field))?;
        let found = match (value, SecretRef::from_json(value)) {
            (_, Some(reference)) => {
                self.secrets.secret(&reference)?.ok_or_else(|| unresolved(field, &reference))?
            }
            (Value::String(text), None) => SecretString::from(text.clone()),
            _ => {
                return Err(Error::invalid_config(format!(
                    "authorization.{field} must be text or a reference"
                )));
            }
        };
        if found.expose_secret().is_empty() { Err(missing(field)) } else { Ok(found) }
    }
}

fn unresolved(field: &str, reference: &SecretRef) -> Error {
    let hint = match reference {
        SecretRef::Stored(name) if name.contains('/') => "import the connection again with its secret set",
        SecretRef::Stored(_) => "set it: openact secret set NAME",
        SecretRef::Env(_) => "set the environment variable for the process that runs openact",
        SecretRef::File(_) => "create the file and make it readable for the process that runs openact",
        SecretRef::Vault { .. } => "set VAULT_ADDR and VAULT_TOKEN for the process that runs openact",
    };
    Error::auth_required(format!(
        "authorization.{field} refers to {} which does not exist",
        reference.to_json()
    ))
    .hint(hint)
}

#[cfg(test)]
mod tests {
    use openact_core::ErrorCode;
    use serde_json::json;

    use super::*;

    struct NoSecrets;
    impl SecretSource for NoSecrets {
        fn secret(&self, _: &SecretRef) -> Result<Option<SecretString>> {
            Ok(None)
        }
    }

    fn made(section: Value) -> Result<Option<Injection>> {
        let origin = Origin::parse_grant("https://api.example.com").unwrap();
        let credential = credential(section.as_object().unwrap(), Some(&origin), &NoSecrets)?;
        Ok(credential.and_then(|mut c| c.injections.pop()))
    }

    fn shown(section: Value) -> String {
        match made(section).unwrap() {
            None => "nothing".into(),
            Some(Injection::Header { name, value }) => format!("header {name}: {}", value.expose_secret()),
            Some(Injection::Query { name, value }) => format!("query {name}={}", value.expose_secret()),
            Some(Injection::Cookie { name, value }) => format!("cookie {name}={}", value.expose_secret()),
        }
    }

    #[test]
    fn each_kind_as_it_is_sent() {
        assert_eq!(shown(json!({})), "nothing");
        assert_eq!(shown(json!({"type": "none"})), "nothing");
        assert_eq!(shown(json!({"type": "bearer", "token": "t"})), "header authorization: Bearer t");
        assert_eq!(shown(json!({"type": "bearer", "token": "bearer t"})), "header authorization: Bearer t");
        assert_eq!(
            shown(json!({"type": "bearer", "token": "Bearert"})),
            "header authorization: Bearer Bearert"
        );
        assert_eq!(shown(json!({"type": "api_key", "value": "k"})), "header x-api-key: k");
        assert_eq!(
            shown(json!({"type": "api_key", "value": "k", "header": "X-Key", "prefix": "Key"})),
            "header x-key: Key k"
        );
        assert_eq!(shown(json!({"type": "api_key", "value": "k", "query": "key"})), "query key=k");
        assert_eq!(shown(json!({"type": "api_key", "value": "k", "cookie": "sid"})), "cookie sid=k");
        // RFC 7617 section 2.1's example.
        assert_eq!(
            shown(json!({"type": "basic", "username": "Aladdin", "password": "open sesame"})),
            "header authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
        );
    }

    #[test]
    fn c5_a_missing_or_malformed_one_fails_without_being_quoted() {
        for (section, code) in [
            (json!({"type": "bearer"}), ErrorCode::AuthRequired),
            (json!({"type": "bearer", "token": ""}), ErrorCode::AuthRequired),
            (json!({"type": "bearer", "token": {"$env": "UNSET"}}), ErrorCode::AuthRequired),
            (json!({"type": "bearer", "token": "hunter2\r\nX-Evil: 1"}), ErrorCode::AuthRequired),
            (json!({"type": "api_key", "value": "hunter2; a=b", "cookie": "c"}), ErrorCode::InvalidConfig),
            (
                json!({"type": "api_key", "value": "hunter2", "cookie": "c", "query": "q"}),
                ErrorCode::InvalidConfig,
            ),
            (json!({"type": "basic", "username": "a:b", "password": "hunter2"}), ErrorCode::InvalidConfig),
            (json!({"type": "digest", "password": "hunter2"}), ErrorCode::InvalidConfig),
        ] {
            let error = made(section.clone()).unwrap_err();
            assert_eq!(error.code, code, "{section}");
            assert!(!format!("{error:?} {}", error.to_json()).contains("hunter2"), "{section}");
        }
    }

    #[test]
    fn a_credential_without_an_origin_to_bind_to_is_refused() {
        let section = json!({"type": "bearer", "token": "t"});
        let error = credential(section.as_object().unwrap(), None, &NoSecrets).unwrap_err();
        assert_eq!(error.code, ErrorCode::InvalidConfig);
    }
}
