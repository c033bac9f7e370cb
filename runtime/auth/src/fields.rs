//! Typed access to the fields of an `authorization` section, so that each kind reads as a list of what it needs.
//!
//! Invariant: only the fields of [`SECRETS`] and the values of [`SECRET_PAIRS`] are looked up, and what they hold leaves this module in types that are
//! zeroed when dropped.

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use openact_core::{
    Error, JsonObject, Result,
    credential::SecretSource,
    secret::{ExposeSecret, SecretRef, SecretString},
};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::hash;

/// The fields that may hold a reference to a secret.
pub(crate) const SECRETS: &[&str] =
    &["token", "value", "password", "client_secret", "secret_access_key", "session_token", "secret", "key"];

/// The fields that are objects of such.
pub(crate) const SECRET_PAIRS: &[&str] = &["token_parameters"];

/// Either alphabet is accepted, with padding or without.
const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// The section with its secrets.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'a> {
    authorization: &'a JsonObject,
    secrets: &'a dyn SecretSource,
}

impl<'a> Fields<'a> {
    pub(crate) fn new(authorization: &'a JsonObject, secrets: &'a dyn SecretSource) -> Self {
        Self { authorization, secrets }
    }

    fn value(&self, field: &str) -> Option<&'a Value> {
        self.authorization.get(field).filter(|value| !value.is_null())
    }

    pub(crate) fn text(&self, field: &str) -> Result<Option<&'a str>> {
        match self.value(field) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(Error::invalid_config(format!("authorization.{field} must be text"))),
        }
    }

    pub(crate) fn required(&self, field: &str) -> Result<&'a str> {
        self.text(field)?.filter(|text| !text.is_empty()).ok_or_else(|| missing(field))
    }

    /// Text that must be said and may be empty.
    pub(crate) fn said(&self, field: &str) -> Result<&'a str> {
        self.text(field)?.ok_or_else(|| missing(field))
    }

    /// One of `choices`; the first if nothing is said.
    pub(crate) fn choice(&self, field: &str, choices: &[&'static str]) -> Result<&'static str> {
        let chosen = match self.text(field)? {
            None => choices.first(),
            Some(text) => choices.iter().find(|choice| **choice == text),
        };
        chosen.copied().ok_or_else(|| {
            Error::invalid_config(format!("authorization.{field} has a value that is not known"))
                .hint(format!("one of {}", choices.join(", ")))
        })
    }

    /// Text, or a list of texts.
    pub(crate) fn texts(&self, field: &str) -> Result<Vec<&'a str>> {
        let bad = || Error::invalid_config(format!("authorization.{field} must be text or a list of texts"));
        match self.value(field) {
            None => Ok(Vec::new()),
            Some(Value::String(text)) => Ok(vec![text]),
            Some(Value::Array(items)) => items.iter().map(|item| item.as_str().ok_or_else(bad)).collect(),
            Some(_) => Err(bad()),
        }
    }

    pub(crate) fn object(&self, field: &str) -> Result<Option<&'a JsonObject>> {
        match self.value(field) {
            None => Ok(None),
            Some(Value::Object(object)) => Ok(Some(object)),
            Some(_) => Err(Error::invalid_config(format!("authorization.{field} must be an object"))),
        }
    }

    /// An object of texts.
    pub(crate) fn pairs(&self, field: &str) -> Result<Vec<(&'a str, &'a str)>> {
        let Some(object) = self.object(field)? else { return Ok(Vec::new()) };
        let pair = |(name, value): (&'a String, &'a Value)| {
            let text = value
                .as_str()
                .ok_or_else(|| Error::invalid_config(format!("authorization.{field}.{name} must be text")))?;
            Ok((name.as_str(), text))
        };
        object.iter().map(pair).collect()
    }

    /// An object of secrets, each of which may be empty.
    pub(crate) fn secret_pairs(&self, field: &str) -> Result<Vec<(&'a str, SecretString)>> {
        let Some(object) = self.object(field)? else { return Ok(Vec::new()) };
        let pair = |(name, value): (&'a String, &'a Value)| {
            Ok((name.as_str(), self.looked_up(&format!("{field}.{name}"), value)?))
        };
        object.iter().filter(|(_, value)| !value.is_null()).map(pair).collect()
    }

    pub(crate) fn seconds(&self, field: &str, default: u32) -> Result<u32> {
        match self.value(field) {
            None => Ok(default),
            Some(value) => value
                .as_u64()
                .filter(|seconds| (1..=86_400).contains(seconds))
                .and_then(|seconds| u32::try_from(seconds).ok())
                .ok_or_else(|| {
                    Error::invalid_config(format!("authorization.{field} must be between 1 and 86400"))
                }),
        }
    }

    pub(crate) fn secret(&self, field: &str) -> Result<SecretString> {
        self.optional_secret(field)?.ok_or_else(|| missing(field))
    }

    /// None if the field is not set; one that is set and leads to nothing is an error.
    pub(crate) fn optional_secret(&self, field: &str) -> Result<Option<SecretString>> {
        match self.found(field)? {
            Some(found) if found.expose_secret().is_empty() => Err(missing(field)),
            found => Ok(found),
        }
    }

    /// A secret that must be said and may be empty.
    pub(crate) fn said_secret(&self, field: &str) -> Result<SecretString> {
        self.found(field)?.ok_or_else(|| missing(field))
    }

    fn found(&self, field: &str) -> Result<Option<SecretString>> {
        self.value(field).map(|value| self.looked_up(field, value)).transpose()
    }

    fn looked_up(&self, field: &str, value: &Value) -> Result<SecretString> {
        match (value, SecretRef::from_json(value)) {
            (_, Some(reference)) => {
                self.secrets.secret(&reference)?.ok_or_else(|| unresolved(field, &reference))
            }
            (Value::String(text), None) => Ok(SecretString::from(text.clone())),
            _ => Err(Error::invalid_config(format!("authorization.{field} must be text or a reference"))),
        }
    }

    /// A symmetric key, written as `secret_encoding` says.
    pub(crate) fn key_bytes(&self, field: &str) -> Result<Zeroizing<Vec<u8>>> {
        let secret = self.secret(field)?;
        let text = secret.expose_secret();
        let encoding = self.choice("secret_encoding", &["text", "base64", "hex"])?;
        let bytes = match encoding {
            "text" => Some(text.as_bytes().to_vec()),
            "hex" => hash::unhex(text),
            _ => STANDARD.decode(text).or_else(|_| URL_SAFE.decode(text)).ok(),
        };
        let bytes = bytes.filter(|bytes| !bytes.is_empty()).ok_or_else(|| {
            Error::auth_required(format!("authorization.{field} is not {encoding}"))
                .hint("check authorization.secret_encoding and the secret")
        })?;
        Ok(Zeroizing::new(bytes))
    }

    /// SHA-256 over `owner` and the whole section with its secrets: what two credentials share if and only if they are
    /// the same.
    pub(crate) fn fingerprint(&self, owner: &str) -> Result<[u8; 32]> {
        let mut hash = hash::Sha256::new();
        hash.part(owner.as_bytes());
        for (name, value) in self.authorization {
            hash.part(name.as_bytes());
            if SECRET_PAIRS.contains(&name.as_str()) {
                let pairs = self.secret_pairs(name)?;
                hash.part(pairs.len().to_string().as_bytes());
                for (key, secret) in pairs {
                    hash.part(key.as_bytes());
                    hash.part(secret.expose_secret().as_bytes());
                }
                continue;
            }
            match SECRETS.contains(&name.as_str()).then(|| self.optional_secret(name)).transpose()?.flatten()
            {
                Some(secret) => hash.part(secret.expose_secret().as_bytes()),
                None => hash.part(value.to_string().as_bytes()),
            }
        }
        hash.finish()
    }
}

fn missing(field: &str) -> Error {
    Error::auth_required(format!("authorization.{field} is missing or empty"))
        .hint("set it in the connection; a secret that was imported can be set anew with another import")
}

fn unresolved(field: &str, reference: &SecretRef) -> Error {
    let hint = match reference {
        SecretRef::Stored(name) if name.contains('/') => {
            "import the connection again with its secret set".into()
        }
        SecretRef::Stored(name) => format!("set it: openact secret set {name}"),
        SecretRef::Env(_) => "set the environment variable for the process that runs openact".into(),
        SecretRef::File(_) => "create the file and make it readable for the process that runs openact".into(),
        SecretRef::Vault { .. } => {
            "there is no such secret or key in the vault: write it there, or mend the path".into()
        }
    };
    Error::auth_required(format!(
        "authorization.{field} refers to {} which does not exist",
        reference.to_json()
    ))
    .hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nothing;

    impl SecretSource for Nothing {
        fn secret(&self, _: &SecretRef) -> Result<Option<SecretString>> {
            Ok(None)
        }
    }

    #[test]
    fn c5_the_command_in_a_hint_can_be_typed_as_it_is() {
        let hint = |name: &str| {
            let section = serde_json::json!({"token": {"$secret": name}});
            let section = section.as_object().cloned().unwrap_or_default();
            Fields::new(&section, &Nothing).secret("token").unwrap_err().hint.clone().unwrap()
        };
        assert_eq!(hint("github-token"), "set it: openact secret set github-token");
        // That of a connection cannot be set by hand.
        assert!(!hint("connection/http/c@v1#/authorization/token").contains("openact secret"));
    }

    #[test]
    fn c5_what_a_vault_was_asked_for_and_lacks_is_said_to_be_missing_there() {
        let section = serde_json::json!({"token": "vault://secret/app#/token"});
        let error = Fields::new(section.as_object().unwrap(), &Nothing).secret("token").unwrap_err();
        let hint = error.hint.as_deref().unwrap();
        assert!(hint.contains("no such secret or key in the vault") && !hint.contains("VAULT_"), "{hint}");
    }
}
