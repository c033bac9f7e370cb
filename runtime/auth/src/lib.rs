//! Obtaining credentials for connections: from an `authorization` section to a [`Credential`] the host can apply.
//!
//! ```text
//! authorization ──► fields ──┬─► fixed: bearer, api_key, basic        the same for every request
//!                            ├─► digest, sigv4, hmac                  signed anew for each
//!                            └─► jwt ──► grant ──► tokens             made or fetched, kept until it ends
//! ```
//!
//! | `type` | what is sent | module |
//! |---|---|---|
//! | `none` | nothing | |
//! | `bearer` | `Authorization: Bearer TOKEN` | `fixed` |
//! | `api_key` | a header, query parameter or cookie | `fixed` |
//! | `basic` | `Authorization: Basic …` (RFC 7617) | `fixed` |
//! | `digest` | `Authorization: Digest …` (RFC 7616), after a first request that is refused | `digest` |
//! | `oauth2_client_credentials` | `Authorization: Bearer …` with a token of `token_url` (RFC 6749 section 4.4) | `grant`, `tokens` |
//! | `aws_sigv4` | `Authorization: AWS4-HMAC-SHA256 …` | `sigv4` |
//! | `hmac` | a header with a signature of what the operator says | `hmac` |
//! | `jwt` | a signed assertion, or the token it is traded for (RFC 7523) | `jwt` |
//!
//! Each module lists its fields. `path_prefix` goes with every type and confines the credential to paths below it.
//!
//! Invariant: a credential that is missing or malformed fails here, before anything is dialled, and no message
//! quotes it.

mod challenge;
mod digest;
mod fields;
mod fixed;
mod grant;
mod hash;
mod hmac;
mod jwt;
mod login;
mod placement;
mod signer;
mod sigv4;
mod template;
mod tokens;

use std::sync::Arc;

use openact_core::{
    Error, JsonObject, Result,
    credential::{Authenticator, Binding, Credential, CredentialKind, Transport},
    policy::Origin,
    secret::SecretRef,
};
use serde_json::Value;

pub use login::Mechanisms;
pub use openact_core::credential::SecretSource;
pub use tokens::Tokens;

use crate::fields::Fields;

/// What a credential is made from.
pub struct Setup<'a> {
    /// The section, with secrets as references.
    pub authorization: &'a JsonObject,
    /// The origin it is bound to.
    pub origin: Option<&'a Origin>,
    /// Whose it is: the connection, as a TRN. Two owners never share a token.
    pub owner: &'a str,
    /// The values of the references.
    pub secrets: &'a dyn SecretSource,
    /// The process's access tokens.
    pub tokens: &'a Arc<Tokens>,
    /// How token endpoints are reached. It must grant [`endpoint`].
    pub transport: Arc<dyn Transport>,
}

/// The secret references an `authorization` section holds, so that a caller can look them up beforehand.
pub fn references(authorization: &JsonObject) -> Vec<SecretRef> {
    let of = |names: &[&str]| -> Vec<&Value> {
        names.iter().filter_map(|field| authorization.get(*field)).collect()
    };
    let nested =
        of(fields::SECRET_PAIRS).into_iter().filter_map(Value::as_object).flat_map(JsonObject::values);
    of(fields::SECRETS).into_iter().chain(nested).filter_map(SecretRef::from_json).collect()
}

/// The origin that the host itself asks for tokens: that of `token_url`. Naming it there grants it to the host's
/// transport, not to the connector.
pub fn endpoint(authorization: &JsonObject) -> Option<Origin> {
    let url = authorization.get("token_url")?.as_str()?;
    Origin::of(&url::Url::parse(url).ok()?)
}

/// The credential that `setup` describes; none for `type: none` or an empty section.
pub fn credential(setup: Setup<'_>) -> Result<Option<Credential>> {
    let fields = Fields::new(setup.authorization, setup.secrets);
    let kind = match fields.text("type")?.unwrap_or("none") {
        "none" => return Ok(None),
        "bearer" => fixed::bearer(&fields)?,
        "api_key" => fixed::api_key(&fields)?,
        "basic" => fixed::basic(&fields)?,
        "digest" => computed(digest::Digest::of(&fields)?),
        "oauth2_client_credentials" => computed(grant::client_credentials(&fields, &setup)?),
        "aws_sigv4" => computed(sigv4::SigV4::of(&fields)?),
        "hmac" => computed(hmac::Hmac::of(&fields)?),
        "jwt" => match fields.choice("use", &["bearer", "grant"])? {
            "bearer" => computed(jwt::Jwt::of(&fields)?),
            _ => computed(grant::jwt_bearer(&fields, &setup)?),
        },
        other => {
            return Err(Error::invalid_config(format!("authorization type '{other}' is not supported")).hint(
                "supported: none, bearer, api_key, basic, digest, oauth2_client_credentials, aws_sigv4, hmac, jwt",
            ));
        }
    };
    let origin = setup.origin.cloned().ok_or_else(|| {
        Error::invalid_config("the connection has a credential but no URL to bind it to").hint("set base_url")
    })?;
    let path_prefix = fields.text("path_prefix")?.map(str::to_owned);
    if path_prefix.as_ref().is_some_and(|prefix| !prefix.starts_with('/')) {
        return Err(Error::invalid_config("authorization.path_prefix must start with '/'"));
    }
    Ok(Some(Credential { binding: Binding { origin, path_prefix }, kind }))
}

fn computed(authenticator: impl Authenticator + 'static) -> CredentialKind {
    CredentialKind::Computed(Arc::new(authenticator))
}

#[cfg(test)]
mod testing;

#[cfg(test)]
mod tests {
    use openact_core::{ErrorCode, credential::Injection, secret::SecretRef};
    use serde_json::json;

    use super::*;
    use crate::testing::{Played, Request, Secrets, answer, computed, made, ready, shown};

    /// One section of each type that can be made without a key file.
    fn every_kind() -> Vec<Value> {
        let token_url = "https://id.example.com/token";
        vec![
            json!({"type": "bearer", "token": "hunter2"}),
            json!({"type": "api_key", "value": "hunter2", "query": "key"}),
            json!({"type": "basic", "username": "u", "password": "hunter2"}),
            json!({"type": "digest", "username": "u", "password": "hunter2"}),
            json!({"type": "oauth2_client_credentials", "token_url": token_url, "client_id": "c", "client_secret": "hunter2"}),
            json!({"type": "aws_sigv4", "access_key_id": "a", "secret_access_key": "hunter2", "session_token": "hunter2",
                "region": "r", "service": "s"}),
            json!({"type": "hmac", "secret": "hunter2", "message": "{body}", "header": "X-Signature"}),
            json!({"type": "jwt", "algorithm": "HS256", "key": "hunter2"}),
            json!({"type": "jwt", "algorithm": "HS256", "key": "hunter2", "use": "grant", "token_url": token_url}),
        ]
    }

    #[test]
    fn c9_no_credential_shows_its_secret() {
        for section in every_kind() {
            let credential = made(&section).unwrap().unwrap();
            assert!(!format!("{credential:?}").contains("hunter2"), "{section}");
        }
    }

    #[test]
    fn c3_every_kind_is_bound_to_the_origin_and_the_path_prefix() {
        for mut section in every_kind() {
            section["path_prefix"] = "/v1".into();
            let binding = made(&section).unwrap().unwrap().binding;
            let origin = Origin::parse_grant("https://api.example.com").unwrap();
            assert_eq!(binding, Binding { origin, path_prefix: Some("/v1".into()) }, "{section}");
        }
    }

    #[test]
    fn a_credential_without_an_origin_to_bind_to_is_refused() {
        for section in every_kind() {
            let error = credential(Setup {
                authorization: section.as_object().unwrap(),
                origin: None,
                owner: "o",
                secrets: &Secrets,
                tokens: &Arc::default(),
                transport: Played::answers(|_| answer(404, "")),
            })
            .unwrap_err();
            assert_eq!(error.code, ErrorCode::InvalidConfig, "{section}");
        }
    }

    #[test]
    fn references_are_those_of_secret_fields_alone() {
        let section = json!({"type": "hmac", "secret": {"$env": "A"}, "message": "vault://secret/app#/x",
            "key_id": "vault://secret/app#/y", "token_parameters": {"password": {"$env": "B"}, "tenant": "5"}});
        assert_eq!(
            references(section.as_object().unwrap()),
            [SecretRef::Env("A".into()), SecretRef::Env("B".into())]
        );
    }

    #[test]
    fn e12_the_endpoint_is_the_origin_of_token_url() {
        let shown = |section: Value| endpoint(section.as_object().unwrap()).map(|origin| origin.to_string());
        let url = "https://id.example.com:8443/token";
        assert_eq!(shown(json!({"token_url": url})).as_deref(), Some("https://id.example.com:8443"));
        assert_eq!(shown(json!({"token_url": "ftp://x"})), None);
        assert_eq!(shown(json!({})), None);
    }

    #[test]
    fn the_names_told_beforehand_are_those_sent() {
        let name = |injection: &Injection| match injection {
            Injection::Header { name, .. } | Injection::Once { name, .. } | Injection::Plain { name, .. } => {
                name.clone()
            }
            other => panic!("{other:?} is no header"),
        };
        for section in [
            json!({"type": "aws_sigv4", "access_key_id": "a", "secret_access_key": "s", "session_token": "t",
                "region": "r", "service": "s"}),
            json!({"type": "aws_sigv4", "access_key_id": "a", "secret_access_key": "s", "region": "r", "service": "s"}),
            json!({"type": "hmac", "secret": "s", "message": "{body}", "header": "X-Signature",
                "headers": {"X-Time": "{timestamp}"}}),
            json!({"type": "jwt", "algorithm": "HS256", "key": "k", "header": "X-Assertion"}),
        ] {
            let authenticator = computed(made(&section).unwrap());
            let request = Request::new(http::Method::GET, "https://api.example.com/v1");
            let sent = ready(authenticator.authenticate(request.view())).unwrap();
            let mut sent: Vec<String> = sent.iter().map(name).collect();
            let mut told = authenticator.names();
            sent.sort();
            told.sort();
            assert_eq!(told, sent, "{section}");
        }
        for section in every_kind() {
            let Some(Credential { kind: CredentialKind::Computed(it), .. }) = made(&section).unwrap() else {
                continue;
            };
            assert!(!it.names().is_empty(), "{section}");
        }
    }

    /// What a credential adds to a request, but for what is new each time.
    fn sent(section: &Value) -> Vec<String> {
        let request = Request::new(http::Method::GET, "https://api.example.com/v1");
        let made = made(section).unwrap().unwrap();
        let injections = match made.kind {
            CredentialKind::Fixed(injections) => injections,
            CredentialKind::Computed(_) => ready(computed(Some(made)).authenticate(request.view())).unwrap(),
        };
        shown(&injections)
    }

    #[test]
    fn a_documented_default_is_what_is_sent_without_the_field() {
        let readme = include_str!("../../../config/README.md");
        let mut compared = Vec::new();
        for section in [
            json!({"type": "bearer", "token": "t"}),
            json!({"type": "api_key", "value": "v"}),
            json!({"type": "hmac", "secret": "s", "message": "m", "header": "X-Signature"}),
            json!({"type": "jwt", "key": "k", "algorithm": "HS256", "claims": {"jti": null}}),
        ] {
            let heading = format!("#### `authorization` of type `{}`\n", section["type"].as_str().unwrap());
            let (_, table) = readme.split_once(&heading).unwrap();
            for row in table.split("\n#").next().unwrap().lines().filter(|line| line.starts_with("| `")) {
                let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
                let (field, default) = (cells[0].trim_matches('`'), cells[2]);
                let value = match default.split([':', ';', ',']).next().unwrap() {
                    text if text.starts_with('`') => Value::from(text.trim_matches('`')),
                    text => match text.parse::<u32>() {
                        Ok(number) => number.into(),
                        Err(_) => continue,
                    },
                };
                // What several claims are by default is told by their names.
                if field == "claims" {
                    continue;
                }
                let mut with = section.clone();
                with[field] = value.clone();
                assert_eq!(sent(&with), sent(&section), "{section}: {field}: {value}");
                compared.push(field);
            }
        }
        assert!(compared.len() > 9 && compared.contains(&"lifetime_s"), "{compared:?}");
    }
}
