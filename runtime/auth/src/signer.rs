//! Signing JSON Web Tokens (RFC 7515, 7519).
//!
//! | `algorithm` | `key` |
//! |---|---|
//! | `HS256`, `HS384`, `HS512` | the shared secret, written as `secret_encoding` says |
//! | `RS256`, `RS384`, `RS512`, `PS256`, `PS384`, `PS512` | RSA of 2048 to 8192 bits, PEM: PKCS#8 or PKCS#1 |
//! | `ES256`, `ES384` | P-256 or P-384, PEM: PKCS#8 or SEC1 |
//! | `EdDSA` | Ed25519, PEM: PKCS#8 |
//!
//! | field | claim | default |
//! |---|---|---|
//! | `issuer`, `subject`, `audience` | `iss`, `sub`, `aud` | none |
//! | `lifetime_s` | `exp`, as many seconds after `iat` | 300, at most 86,400 |
//! | `key_id` | `kid` of the header | none |
//! | `claims` | any; `null` leaves one out | `iat`, `exp` and a random `jti` |
//!
//! Invariant: the algorithm is the configured one and fits the key, or there is no signer.

use std::fmt;

use aws_lc_rs::{
    hmac,
    rand::SystemRandom,
    rsa,
    signature::{
        self, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
        RsaEncoding,
    },
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL};
use openact_core::{Error, JsonObject, Result, Timestamp, secret::ExposeSecret};
use rustls_pki_types::{PrivateKeyDer, pem::PemObject};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::{fields::Fields, hash};

/// Algorithms, the default of none first.
const ALGORITHMS: &[&str] = &[
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384",
    "EdDSA",
];

/// Makes assertions with one key.
#[derive(Debug)]
pub(crate) struct Signer {
    key: Key,
    /// Header, encoded.
    header: String,
    claims: JsonObject,
    lifetime_s: u32,
}

enum Key {
    Hmac(Box<hmac::Key>),
    Rsa(rsa::KeyPair, &'static dyn RsaEncoding),
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[key]")
    }
}

impl Signer {
    /// The signer of `fields`, with an audience for those that do not name one.
    pub(crate) fn of(fields: &Fields<'_>, audience: Option<&str>) -> Result<Self> {
        fields.required("algorithm")?;
        let algorithm = fields.choice("algorithm", ALGORITHMS)?;
        let mut header = json!({"alg": algorithm, "typ": "JWT"});
        if let (Some(id), Value::Object(header)) = (fields.text("key_id")?, &mut header) {
            header.insert("kid".into(), id.into());
        }
        let mut claims = JsonObject::new();
        for (claim, value) in [
            ("iss", fields.text("issuer")?),
            ("sub", fields.text("subject")?),
            ("aud", fields.text("audience")?.or(audience)),
        ] {
            if let Some(value) = value {
                claims.insert(claim.into(), value.into());
            }
        }
        let configured = fields.object("claims")?.cloned().unwrap_or_default();
        if ["iat", "exp"].iter().any(|time| configured.get(*time).is_some_and(|value| !value.is_null())) {
            return Err(Error::invalid_config("authorization.claims cannot hold a fixed iat or exp")
                .hint("set lifetime_s"));
        }
        claims.extend(configured);
        Ok(Self {
            key: Key::of(fields, algorithm)?,
            header: BASE64URL.encode(header.to_string()),
            claims,
            lifetime_s: fields.seconds("lifetime_s", 300)?,
        })
    }

    pub(crate) fn lifetime_s(&self) -> u32 {
        self.lifetime_s
    }

    /// An assertion made at `now`.
    pub(crate) fn assertion(&self, now: Timestamp) -> Result<Zeroizing<String>> {
        let mut claims = JsonObject::new();
        claims.insert("iat".into(), now.as_second().into());
        claims.insert("exp".into(), now.as_second().saturating_add(self.lifetime_s.into()).into());
        claims.insert("jti".into(), hash::random_hex()?.into());
        claims.extend(self.claims.clone());
        claims.retain(|_, value| !value.is_null());
        self.sign(&Value::Object(claims).to_string())
    }

    fn sign(&self, claims: &str) -> Result<Zeroizing<String>> {
        let mut out = Zeroizing::new(format!("{}.{}", self.header, BASE64URL.encode(claims)));
        let signature = self.key.sign(out.as_bytes())?;
        out.push('.');
        out.push_str(&BASE64URL.encode(signature));
        Ok(out)
    }
}

impl Key {
    fn of(fields: &Fields<'_>, algorithm: &str) -> Result<Self> {
        let shared = |hash| Ok(Self::Hmac(Box::new(hmac::Key::new(hash, &fields.key_bytes("key")?))));
        match algorithm {
            "HS256" => return shared(hmac::HMAC_SHA256),
            "HS384" => return shared(hmac::HMAC_SHA384),
            "HS512" => return shared(hmac::HMAC_SHA512),
            _ => {}
        }
        let secret = fields.secret("key")?;
        let der = pem(secret.expose_secret())?;
        let made = match algorithm {
            "RS256" => Self::rsa(&der, &signature::RSA_PKCS1_SHA256),
            "RS384" => Self::rsa(&der, &signature::RSA_PKCS1_SHA384),
            "RS512" => Self::rsa(&der, &signature::RSA_PKCS1_SHA512),
            "PS256" => Self::rsa(&der, &signature::RSA_PSS_SHA256),
            "PS384" => Self::rsa(&der, &signature::RSA_PSS_SHA384),
            "PS512" => Self::rsa(&der, &signature::RSA_PSS_SHA512),
            "ES256" => EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_FIXED_SIGNING, der.secret_der())
                .map(Self::Ecdsa),
            "ES384" => EcdsaKeyPair::from_private_key_der(&ECDSA_P384_SHA384_FIXED_SIGNING, der.secret_der())
                .map(Self::Ecdsa),
            _ => Ed25519KeyPair::from_pkcs8(der.secret_der()).map(Self::Ed25519),
        };
        // The library's reason names no part of the key, but is of no use either.
        made.map_err(|_| {
            Error::auth_required(format!("authorization.key is not a key for {algorithm}"))
                .hint("RS and PS take RSA of 2048 bits or more, ES256 P-256, ES384 P-384, EdDSA Ed25519")
        })
    }

    fn rsa(
        der: &PrivateKeyDer<'_>,
        encoding: &'static dyn RsaEncoding,
    ) -> Result<Self, aws_lc_rs::error::KeyRejected> {
        let pair = match der {
            PrivateKeyDer::Pkcs1(key) => rsa::KeyPair::from_der(key.secret_pkcs1_der()),
            other => rsa::KeyPair::from_pkcs8(other.secret_der()),
        };
        Ok(Self::Rsa(pair?, encoding))
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        let failed = |_| Error::internal("failed to sign with the configured key");
        match self {
            Self::Hmac(key) => Ok(hmac::sign(key, message).as_ref().to_vec()),
            Self::Rsa(pair, encoding) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(*encoding, &SystemRandom::new(), message, &mut signature).map_err(failed)?;
                Ok(signature)
            }
            Self::Ecdsa(pair) => {
                let signature = pair.sign(&SystemRandom::new(), message).map_err(failed)?;
                Ok(signature.as_ref().to_vec())
            }
            Self::Ed25519(pair) => Ok(pair.try_sign(message).map_err(failed)?.as_ref().to_vec()),
        }
    }
}

/// The key of a PEM text. One that went through an environment variable or JSON often has `\n` for its line breaks.
fn pem(text: &str) -> Result<PrivateKeyDer<'static>> {
    let lines = Zeroizing::new(if text.contains('\n') { text.to_owned() } else { text.replace("\\n", "\n") });
    PrivateKeyDer::from_pem_slice(lines.as_bytes()).map_err(|_| {
        Error::auth_required("authorization.key is not a private key in PEM").hint(
            "expected -----BEGIN PRIVATE KEY-----, RSA PRIVATE KEY or EC PRIVATE KEY, without a passphrase",
        )
    })
}

#[cfg(test)]
mod tests;
