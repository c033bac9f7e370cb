//! From the claims of a token, whose signature, issuer, audience and time are right, to what its bearer may do.
//!
//! Invariant: nothing is allowed by a claim that is not there but what its absence is documented to allow, and nothing by one
//! that is there and not understood.

use std::str::FromStr;

use openact_core::{
    Error, ErrorCode, Result, Tenant, governance::Governance, limits::OIDC_SUBJECT_BYTES_MAX,
    scope::TokenScope,
};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::{MANAGE, Oidc, RUN};
use crate::Caller;

/// What is read of a token.
#[derive(Deserialize)]
pub(super) struct Claims {
    // Text: the library would take a list that has the issuer in it.
    iss: String,
    sub: String,
    scope: Option<Value>,
    scp: Option<Value>,
    #[serde(default, deserialize_with = "there")]
    openact_tenants: Option<Value>,
    #[serde(default, deserialize_with = "there")]
    openact_allow: Option<Value>,
    #[serde(default, deserialize_with = "there")]
    openact_deny: Option<Value>,
    /// Bound to a key that its bearer would have to prove (RFC 7800), which nobody asks for here.
    cnf: Option<Value>,
    /// What only an ID token has (OpenID Connect Core, section 3.1.3.6 and 3.3.2.11).
    at_hash: Option<Value>,
    c_hash: Option<Value>,
    /// Keycloak's word for what the token is.
    typ: Option<Value>,
    /// Cognito's.
    token_use: Option<Value>,
}

/// A claim that is `null` is there.
fn there<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

impl Claims {
    pub(super) fn caller(self, oidc: &Oidc) -> Result<Caller> {
        let (issuer, subject) = (&oidc.settings.issuer, &self.sub);
        if self.iss != *issuer {
            return Err(oidc.refused("it is of another issuer"));
        }
        if subject.is_empty() || subject.len() > OIDC_SUBJECT_BYTES_MAX {
            return Err(oidc.refused("its subject is empty or too long"));
        }
        if self.is_another_kind() {
            return Err(oidc.refused("it is not an access token"));
        }
        if self.cnf.is_some() {
            return Err(oidc.refused("it is bound to a key, and good for nobody by itself"));
        }
        let scopes = scopes(&[&self.scope, &self.scp])?;
        let has = |wanted: &str| scopes.contains(&wanted);
        if !has(RUN) && !has(MANAGE) {
            return Err(insufficient_scope("the token may not run actions", RUN));
        }
        let tenants = list::<Tenant>("openact_tenants", self.openact_tenants.as_ref())?;
        let governance = Governance {
            allow: list("openact_allow", self.openact_allow.as_ref())?.unwrap_or_default(),
            deny: list("openact_deny", self.openact_deny.as_ref())?.unwrap_or_default(),
        };
        let scope = TokenScope {
            tenants: Some(tenants.unwrap_or_else(|| vec![Tenant::default()])),
            governance,
            may_manage: has(MANAGE),
            ..TokenScope::default()
        };
        // No URL holds a space, so that no two callers share an id, nor one with an API token.
        let caller = Caller::new(format!("{issuer} {subject}"), name(subject), scope);
        Ok(Caller { issuer: Some(issuer.as_str().into()), ..caller })
    }

    fn is_another_kind(&self) -> bool {
        let is = |claim: &Option<Value>, words: &[&str]| {
            let text = claim.as_ref().and_then(Value::as_str);
            text.is_some_and(|text| words.iter().any(|word| text.eq_ignore_ascii_case(word)))
        };
        self.at_hash.is_some()
            || self.c_hash.is_some()
            || is(&self.typ, &["ID", "Refresh", "Offline", "Logout"])
            || is(&self.token_use, &["id", "refresh"])
    }
}

/// That a caller whom an issuer vouches for would need `scope`. The door says so to clients, which may ask for it.
pub(crate) fn insufficient_scope(message: &str, scope: &str) -> Error {
    Error::new(ErrorCode::Forbidden, message)
        .hint(format!("ask the issuer for the scope {scope}"))
        .details(json!({ "required_scope": scope }))
}

/// Words in a text, or a list of them; issuers write both.
fn scopes<'a>(claims: &[&'a Option<Value>]) -> Result<Vec<&'a str>> {
    let mut found = Vec::new();
    for claim in claims.iter().copied().flatten() {
        match claim {
            Value::String(text) => found.extend(text.split(' ')),
            Value::Array(items) => found.extend(items.iter().filter_map(Value::as_str)),
            _ => return Err(not_understood("scope", "is neither text nor a list")),
        }
    }
    Ok(found)
}

fn list<T: FromStr>(name: &str, claim: Option<&Value>) -> Result<Option<Vec<T>>> {
    let Some(claim) = claim else { return Ok(None) };
    let items = claim.as_array().ok_or_else(|| not_understood(name, "is not a list"))?;
    if items.is_empty() {
        return Err(not_understood(name, "is empty, which would be as if it were not there"));
    }
    let parsed = items.iter().map(|item| item.as_str()?.parse().ok());
    let parsed: Option<Vec<T>> = parsed.collect();
    parsed.map(Some).ok_or_else(|| not_understood(name, "holds what is not such a name or pattern"))
}

fn not_understood(claim: &str, why: &str) -> Error {
    Error::new(ErrorCode::Forbidden, format!("the claim {claim} of the token {why}")).hint(
        "openact_tenants is a list of tenants; openact_allow and openact_deny of patterns such as http.*",
    )
}

/// How lists, logs and the audit log call a subject: told apart from API tokens, whose names have no colon, and from any
/// other subject.
fn name(subject: &str) -> String {
    let mut name = String::from("oidc:");
    for byte in subject.bytes() {
        match byte {
            b'!'..=b'~' if byte != b'%' => name.push(char::from(byte)),
            _ => name.push_str(&format!("%{byte:02X}")),
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_named_so_that_no_other_is_named_alike() {
        assert_eq!(name("auth0|5f"), "oidc:auth0|5f");
        assert_eq!(name("a b\n%é"), "oidc:a%20b%0A%25%C3%A9");
    }

    #[test]
    fn a_list_is_understood_whole_or_not_at_all() {
        let tenants = |claim: Value| list::<Tenant>("openact_tenants", Some(&claim));
        assert_eq!(list::<Tenant>("x", None).unwrap(), None);
        assert_eq!(tenants(json!(["a", "b"])).unwrap().unwrap().len(), 2);
        for odd in [json!([]), json!("a"), json!(null), json!(["a", 1]), json!(["a", "A b"]), json!({"a": 1})]
        {
            let error = tenants(odd.clone()).unwrap_err();
            assert_eq!(error.code, ErrorCode::Forbidden, "{odd}");
            assert!(error.message.contains("openact_tenants"), "{odd}: {error}");
        }
    }
}
