//! Logins of wire protocols. The guest frames and sends; what only somebody who knows the password can say comes from
//! here.
//!
//! | mechanism | parameters | steps | module |
//! |---|---|---|---|
//! | `SCRAM-SHA-256`, `SCRAM-SHA-1`, `SCRAM-SHA-256-PLUS` | `user`; `md5_password` (MongoDB's `SCRAM-SHA-1`) | nothing, server-first, server-final | `scram`, `keys` |
//! | `postgres-md5` | `user` | 4 bytes of salt | `postgres` |
//! | `postgres-cleartext` | | nothing | `postgres` |
//! | `mysql_native_password` | | 20 bytes of nonce | `mysql` |
//! | `caching_sha2_password` | | 20 bytes of nonce; the server's public key | `mysql` |
//! | `mysql-cleartext` | `sequence` of the packet | nothing | `mysql` |
//! | `redis-auth` | `user`, `hello`, `client_name` | nothing | `redis` |
//!
//! Invariant: the password itself is written only where the other side waits for it and for nothing else, by what went
//! over the socket so far; so no guest can place it in a query and read it back.

mod certificate;
mod keys;
mod mysql;
mod postgres;
mod redis;
mod scram;

use std::{future, sync::Arc};

use aws_lc_rs::hmac;
use openact_core::{
    Error, JsonObject, Result,
    credential::BoxFuture,
    limits::LOGIN_CHALLENGE_BYTES_MAX,
    login::{Answer, Heard, Login, LoginRequest, Logins},
    secret::{ExposeSecret, SecretString},
};
use serde_json::Value;

use keys::Keys;

/// Every mechanism there is. One for the process.
pub struct Mechanisms {
    keys: Arc<Keys>,
}

impl Mechanisms {
    /// With no key derived yet.
    pub fn new() -> Result<Self> {
        Ok(Self { keys: Arc::new(Keys::new()?) })
    }
}

impl Logins for Mechanisms {
    fn start(&self, request: LoginRequest<'_>) -> Result<Option<Box<dyn Login>>> {
        let LoginRequest { mechanism, parameters, secret, channel } = request;
        let parameters = Parameters { object: parameters, mechanism };
        Ok(Some(match mechanism {
            "postgres-md5" => once(postgres::Md5::of(&parameters, secret)?),
            "postgres-cleartext" => once(postgres::Cleartext::of(&parameters, secret, channel)?),
            "mysql_native_password" => once(mysql::Native::of(&parameters, secret)?),
            "caching_sha2_password" => once(mysql::CachingSha2::of(&parameters, secret, channel)?),
            "mysql-cleartext" => once(mysql::Cleartext::of(&parameters, secret, channel)?),
            "redis-auth" => once(redis::Auth::of(&parameters, secret)?),
            _ => {
                let login = scram::Scram::of(&parameters, secret, channel, self.keys.clone())?;
                return Ok(login.map(|login| Box::new(login) as Box<dyn Login>));
            }
        }))
    }

    fn end_point(&self, certificate: &[u8]) -> Option<Vec<u8>> {
        certificate::tls_server_end_point(certificate)
    }

    fn sign(&self, algorithm: &str, secret: &SecretString, message: &[u8]) -> Option<Vec<u8>> {
        let algorithm = match algorithm {
            "hmac-sha256" => hmac::HMAC_SHA256,
            "hmac-sha1" => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            "hmac-sha512" => hmac::HMAC_SHA512,
            _ => return None,
        };
        let key = hmac::Key::new(algorithm, secret.expose_secret().as_bytes());
        Some(hmac::sign(&key, message).as_ref().to_vec())
    }
}

/// A mechanism that computes its answer at once.
trait Quick: Send {
    fn answer(&mut self, challenge: &[u8], heard: Heard<'_>) -> Result<Answer>;
}

/// A [`Quick`] mechanism, until an error.
struct Once<T>(Option<T>);

fn once(login: impl Quick + 'static) -> Box<dyn Login> {
    Box::new(Once(Some(login)))
}

impl<T: Quick> Login for Once<T> {
    fn step<'a>(&'a mut self, challenge: &'a [u8], heard: Heard<'a>) -> BoxFuture<'a, Result<Answer>> {
        let answer = match self.0.as_mut() {
            Some(login) => bounded(challenge).and_then(|()| login.answer(challenge, heard)),
            None => Err(is_over()),
        };
        if answer.is_err() {
            self.0 = None;
        }
        Box::pin(future::ready(answer))
    }
}

fn bounded(challenge: &[u8]) -> Result<()> {
    if challenge.len() > LOGIN_CHALLENGE_BYTES_MAX {
        return Err(Error::limit_exceeded(format!(
            "a challenge is longer than {LOGIN_CHALLENGE_BYTES_MAX} bytes"
        )));
    }
    Ok(())
}

fn is_over() -> Error {
    Error::invalid_input("the login is over: start another one")
}

/// The first step of a mechanism that needs nothing of the other side.
fn nothing(challenge: &[u8]) -> Result<()> {
    if challenge.is_empty() {
        return Ok(());
    }
    Err(Error::invalid_input("the first step of this login takes an empty challenge"))
}

/// The socket is not where a password may be written to it.
fn refused(why: &str) -> Error {
    Error::egress_denied(format!("the password is not written here: {why}"))
}

/// A password that ends with a zero byte on the wire cannot have one.
fn without_zero(bytes: &[u8]) -> Result<&[u8]> {
    if bytes.contains(&0) {
        return Err(Error::auth_required("the password has a zero byte, which the protocol cannot carry")
            .hint("set another password"));
    }
    Ok(bytes)
}

/// What a guest says beside the secret.
struct Parameters<'a> {
    object: &'a JsonObject,
    mechanism: &'a str,
}

impl<'a> Parameters<'a> {
    /// Refuses what is not among `known`: it would be a slip to pass it over.
    fn only(&self, known: &[&str]) -> Result<()> {
        match self.object.keys().find(|key| *key != "secret" && !known.contains(&key.as_str())) {
            Some(key) => Err(Error::invalid_input(format!("'{}' has no parameter '{key}'", self.mechanism))),
            None => Ok(()),
        }
    }

    /// A text, without control characters; none if it is absent or null.
    fn text(&self, name: &str) -> Result<Option<&'a str>> {
        match self.object.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if !text.contains(char::is_control) => Ok(Some(text)),
            Some(_) => Err(Error::invalid_input(format!(
                "parameter '{name}' is not text without control characters"
            ))),
        }
    }

    fn required(&self, name: &str) -> Result<&'a str> {
        self.text(name)?
            .ok_or_else(|| Error::invalid_input(format!("'{}' lacks the parameter '{name}'", self.mechanism)))
    }

    fn flag(&self, name: &str) -> Result<bool> {
        match self.object.get(name) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => Err(Error::invalid_input(format!("parameter '{name}' is neither true nor false"))),
        }
    }

    fn byte(&self, name: &str) -> Result<Option<u8>> {
        match self.object.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => {
                let byte = value.as_u64().and_then(|number| u8::try_from(number).ok());
                byte.map(Some).ok_or_else(|| {
                    Error::invalid_input(format!("parameter '{name}' is not a number up to 255"))
                })
            }
        }
    }
}

#[cfg(test)]
mod tests;
