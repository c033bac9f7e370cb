//! SCRAM (RFC 5802, 7677): both sides prove that they know the password, and neither says it.
//!
//! With `-PLUS` the proof holds on this TLS connection alone (`tls-server-end-point`). Without it, but where it could
//! be had, the proof says so (`y`), and a server that offered it then refuses: so nobody between can hide the offer.
//!
//! Invariants: a proof is made once, for a nonce of ours, and for no fewer rounds than [`SCRAM_ROUNDS`] begins with; a
//! login is [`Answer::Done`] only when the server has proved itself, too.

use std::{num::NonZeroU32, sync::Arc};

use aws_lc_rs::{constant_time, hmac, rand};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use md5::{Digest as _, Md5};
use openact_core::{
    Error, ErrorCode, Result,
    credential::BoxFuture,
    limits::{CAUSE_BYTES_MAX, SCRAM_ROUNDS},
    login::{Answer, Channel, Heard, Login},
    secret::{ExposeSecret, SecretString},
};
use zeroize::Zeroizing;

use super::{
    Parameters, bounded, is_over,
    keys::{Hash, Keys, Source},
    nothing,
};
use crate::hash::hex;

/// See the module.
pub(super) struct Scram {
    hash: Hash,
    password: Arc<Zeroizing<Vec<u8>>>,
    /// The user's name, escaped.
    user: String,
    binding: Binding,
    keys: Arc<Keys>,
    state: State,
}

enum State {
    Begun,
    Greeted { nonce: String },
    Proved { signature: Vec<u8> },
    Over,
}

/// What a proof says of the TLS connection.
struct Binding {
    header: &'static str,
    data: Vec<u8>,
}

impl Scram {
    /// The login; none if there is no such mechanism, or nothing on the channel to bind it to.
    pub(super) fn of(
        parameters: &Parameters<'_>,
        password: SecretString,
        channel: Channel<'_>,
        keys: Arc<Keys>,
    ) -> Result<Option<Self>> {
        let (hash, is_plus) = match parameters.mechanism {
            "SCRAM-SHA-1" => (Hash::Sha1, false),
            "SCRAM-SHA-256" => (Hash::Sha256, false),
            "SCRAM-SHA-256-PLUS" => (Hash::Sha256, true),
            _ => return Ok(None),
        };
        let is_mongo = hash == Hash::Sha1;
        parameters.only(if is_mongo { &["user", "md5_password"] } else { &["user"] })?;
        let user = parameters.required("user")?;
        let binding = match (is_plus, channel.tls_server_end_point.filter(|_| channel.is_encrypted)) {
            (true, Some(data)) => Binding { header: "p=tls-server-end-point,,", data: data.to_vec() },
            (true, None) if !channel.is_encrypted => {
                return Err(Error::egress_denied(
                    "'SCRAM-SHA-256-PLUS' binds a login to TLS, and the socket is plain text",
                ));
            }
            (true, None) => return Ok(None),
            (false, Some(_)) if hash == Hash::Sha256 => Binding { header: "y,,", data: Vec::new() },
            (false, _) => Binding { header: "n,,", data: Vec::new() },
        };
        let password = match parameters.flag("md5_password")? {
            true => mongo_password(user, &password),
            false => prepared(&password),
        };
        let user = user.replace('=', "=3D").replace(',', "=2C");
        Ok(Some(Self { hash, password: Arc::new(password), user, binding, keys, state: State::Begun }))
    }

    async fn answer(&mut self, challenge: &[u8]) -> Result<Answer> {
        bounded(challenge)?;
        match std::mem::replace(&mut self.state, State::Over) {
            State::Begun => {
                nothing(challenge)?;
                let mut random = [0; 24];
                rand::fill(&mut random).map_err(|_| Error::internal("failed to get random bytes"))?;
                Ok(Answer::Bytes(self.begin(STANDARD.encode(random)).into_bytes()))
            }
            State::Greeted { nonce } => {
                let (message, signature) = self.prove(&nonce, text(challenge)?).await?;
                self.state = State::Proved { signature };
                Ok(Answer::Bytes(message.into_bytes()))
            }
            State::Proved { signature } => verify(&signature, text(challenge)?).map(|()| Answer::Done),
            State::Over => Err(is_over()),
        }
    }

    /// The client-first message.
    fn begin(&mut self, nonce: String) -> String {
        let message = format!("{}{}", self.binding.header, self.bare(&nonce));
        self.state = State::Greeted { nonce };
        message
    }

    fn bare(&self, nonce: &str) -> String {
        format!("n={},r={nonce}", self.user)
    }

    /// The client-final message, and the signature that the server must have for it.
    async fn prove(&self, nonce: &str, server_first: &str) -> Result<(String, Vec<u8>)> {
        let ServerFirst { nonce: joint, salt, rounds } = ServerFirst::parse(server_first, nonce)?;
        let source = Source { hash: self.hash, password: self.password.clone(), salt, rounds };
        let key = self.keys.get(source).await?;
        let binding = STANDARD.encode([self.binding.header.as_bytes(), &self.binding.data].concat());
        let without_proof = format!("c={binding},r={joint}");
        let signed = format!("{},{server_first},{without_proof}", self.bare(nonce));
        let sign = |key: &[u8]| hmac::sign(&hmac::Key::new(self.hash.hmac(), key), signed.as_bytes());
        let signature = sign(&key.stored);
        let proof: Vec<u8> = key.client.iter().zip(signature.as_ref()).map(|(a, b)| a ^ b).collect();
        let message = format!("{without_proof},p={}", STANDARD.encode(proof));
        Ok((message, sign(&key.server).as_ref().to_vec()))
    }
}

impl Login for Scram {
    fn step<'a>(&'a mut self, challenge: &'a [u8], _: Heard<'a>) -> BoxFuture<'a, Result<Answer>> {
        Box::pin(self.answer(challenge))
    }
}

struct ServerFirst<'a> {
    nonce: &'a str,
    salt: Vec<u8>,
    rounds: NonZeroU32,
}

impl<'a> ServerFirst<'a> {
    fn parse(message: &'a str, ours: &str) -> Result<Self> {
        let mut parts = message.split(',');
        let mut part =
            |name: &str| parts.next().and_then(|part| part.strip_prefix(name)).ok_or_else(malformed);
        no_mandatory_extension(message)?;
        server_error(message)?;
        let (nonce, salt, rounds) = (part("r=")?, part("s=")?, part("i=")?);
        let theirs = nonce.strip_prefix(ours).unwrap_or_default();
        if theirs.is_empty() || !theirs.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(broken("the server's nonce of the login does not continue ours"));
        }
        let salt = STANDARD.decode(salt).map_err(|_| malformed())?;
        if salt.is_empty() {
            return Err(broken("the server's salt of the login is empty"));
        }
        if !rounds.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(malformed());
        }
        let rounds = rounds.parse().map_err(|_| malformed())?;
        if !SCRAM_ROUNDS.contains(&rounds) {
            let (least, most) = (SCRAM_ROUNDS.start(), SCRAM_ROUNDS.end());
            return Err(broken(&format!(
                "the server asks for {rounds} rounds of SCRAM; from {least} to {most} are made"
            )));
        }
        Ok(Self { nonce, salt, rounds: NonZeroU32::new(rounds).ok_or_else(malformed)? })
    }
}

/// Whether the server has proved itself by its final message.
fn verify(expected: &[u8], message: &str) -> Result<()> {
    server_error(message)?;
    no_mandatory_extension(message)?;
    let proof = message.split(',').next().and_then(|part| part.strip_prefix("v=")).ok_or_else(malformed)?;
    let proof = STANDARD.decode(proof).map_err(|_| malformed())?;
    constant_time::verify_slices_are_equal(expected, &proof)
        .map_err(|_| broken("the server did not prove that it knows the password"))
}

/// `e=`: the server refuses.
fn server_error(message: &str) -> Result<()> {
    let Some(why) = message.strip_prefix("e=") else { return Ok(()) };
    let why: String =
        why.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').take(CAUSE_BYTES_MAX).collect();
    Err(Error::auth_required(format!("the server refused the login: {why}"))
        .hint("check the user and password"))
}

/// An extension that must be understood is one that is not.
fn no_mandatory_extension(message: &str) -> Result<()> {
    match message.split(',').any(|part| part.starts_with("m=")) {
        true => Err(broken("the server's login has an extension that is not supported")),
        false => Ok(()),
    }
}

fn text(message: &[u8]) -> Result<&str> {
    std::str::from_utf8(message).map_err(|_| malformed())
}

fn malformed() -> Error {
    broken("the server's message of the login is malformed")
}

fn broken(message: &str) -> Error {
    Error::new(ErrorCode::UpstreamError, message)
}

/// The password by SASLprep (RFC 4013), or as it is if that forbids it, as PostgreSQL does on both sides.
fn prepared(password: &SecretString) -> Zeroizing<Vec<u8>> {
    let password = password.expose_secret();
    let prepared = stringprep::saslprep(password).map(|text| Zeroizing::new(text.into_owned()));
    let bytes = prepared.as_ref().map_or(password.as_bytes(), |text| text.as_bytes());
    Zeroizing::new(bytes.to_vec())
}

/// What MongoDB's `SCRAM-SHA-1` takes for the password.
fn mongo_password(user: &str, password: &SecretString) -> Zeroizing<Vec<u8>> {
    let digest = Md5::new().chain_update(user).chain_update(":mongo:").chain_update(password.expose_secret());
    Zeroizing::new(hex(&digest.finalize()).into_bytes())
}

#[cfg(test)]
mod tests;
