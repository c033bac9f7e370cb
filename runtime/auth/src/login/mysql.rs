//! The logins of MySQL and MariaDB: `mysql_native_password`, `caching_sha2_password`, and the password itself.
//!
//! | | answer to the nonce |
//! |---|---|
//! | `mysql_native_password` | SHA1(password) ⊕ SHA1(nonce SHA1(SHA1(password))) |
//! | `caching_sha2_password` | SHA256(password) ⊕ SHA256(SHA256(SHA256(password)) nonce) |
//!
//! An empty password has an empty answer. A server that has no hash of `caching_sha2_password` in its cache wants the
//! password: over TLS as it is (`mysql-cleartext`), over plain text encrypted with its public key.
//!
//! Invariant: that is done only if `phase` finds the server asking for it, and with the key that it sent.

mod phase;

use aws_lc_rs::{
    digest::{self, Digest, SHA1_FOR_LEGACY_USE_ONLY, SHA256},
    rsa::{OAEP_SHA1_MGF1SHA1, OaepPublicEncryptingKey, PublicEncryptingKey},
};
use openact_core::{
    Error, ErrorCode, Result,
    login::{Answer, Channel, Frame, Heard},
    secret::{ExposeSecret, SecretString},
};
use rustls_pki_types::{SubjectPublicKeyInfoDer, pem::PemObject};
use zeroize::Zeroizing;

use self::phase::Phase;
use super::{Parameters, Quick, is_over, nothing, refused, without_zero};

type Nonce = [u8; 20];

/// See the module.
pub(super) struct Native(Option<SecretString>);

impl Native {
    pub(super) fn of(parameters: &Parameters<'_>, password: SecretString) -> Result<Self> {
        parameters.only(&[])?;
        Ok(Self(Some(password)))
    }
}

impl Quick for Native {
    fn answer(&mut self, challenge: &[u8], _: Heard<'_>) -> Result<Answer> {
        let password = self.0.take().ok_or_else(is_over)?;
        let nonce = nonce(challenge)?;
        let sha1 = |parts: &[&[u8]]| hashed(&SHA1_FOR_LEGACY_USE_ONLY, parts);
        Ok(Answer::Bytes(scramble(&password, |password| {
            let once = sha1(&[password]);
            let twice = sha1(&[once.as_ref()]);
            (once, sha1(&[&nonce, twice.as_ref()]))
        })))
    }
}

/// See the module.
pub(super) struct CachingSha2 {
    password: SecretString,
    is_encrypted: bool,
    state: State,
}

enum State {
    Begun,
    /// The scramble is made; the server may say that it does not do.
    Scrambled(Nonce),
    Over,
}

impl CachingSha2 {
    pub(super) fn of(
        parameters: &Parameters<'_>,
        password: SecretString,
        channel: Channel<'_>,
    ) -> Result<Self> {
        parameters.only(&[])?;
        Ok(Self { password, is_encrypted: channel.is_encrypted, state: State::Begun })
    }

    fn scramble(&self, nonce: &Nonce) -> Vec<u8> {
        let sha256 = |parts: &[&[u8]]| hashed(&SHA256, parts);
        scramble(&self.password, |password| {
            let once = sha256(&[password]);
            let twice = sha256(&[once.as_ref()]);
            (once, sha256(&[sha256(&[twice.as_ref()]).as_ref(), nonce]))
        })
    }

    /// The password and its zero byte, under the nonce over and over, encrypted for whom the server says it is.
    fn encrypted(&self, nonce: &Nonce, pem: &[u8]) -> Result<Vec<u8>> {
        let password = without_zero(self.password.expose_secret().as_bytes())?;
        let masked = password.iter().chain(&[0]).zip(nonce.iter().cycle()).map(|(byte, mask)| byte ^ mask);
        let masked: Zeroizing<Vec<u8>> = Zeroizing::new(masked.collect());
        let key = SubjectPublicKeyInfoDer::from_pem_slice(pem)
            .ok()
            .and_then(|key| PublicEncryptingKey::from_der(&key).ok())
            .and_then(|key| OaepPublicEncryptingKey::new(key).ok())
            .ok_or_else(|| Error::new(ErrorCode::UpstreamError, "the server's public key cannot be used"))?;
        let mut out = vec![0; key.ciphertext_size()];
        if masked.len() > key.max_plaintext_size(&OAEP_SHA1_MGF1SHA1) {
            return Err(
                Error::auth_required("the password is too long for the server's public key").hint("use TLS")
            );
        }
        let length = key
            .encrypt(&OAEP_SHA1_MGF1SHA1, &masked, &mut out, None)
            .map_err(|_| Error::internal("failed to encrypt the password"))?
            .len();
        out.truncate(length);
        Ok(out)
    }
}

impl Quick for CachingSha2 {
    fn answer(&mut self, challenge: &[u8], heard: Heard<'_>) -> Result<Answer> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Begun => {
                let nonce = nonce(challenge)?;
                self.state = State::Scrambled(nonce);
                Ok(Answer::Bytes(self.scramble(&nonce)))
            }
            State::Scrambled(nonce) => {
                let sent = Phase::of(heard, self.is_encrypted).and_then(|phase| phase.public_key());
                if sent.is_none_or(|key| key.trim_ascii() != challenge.trim_ascii()) {
                    return Err(refused(
                        "the public key is not one that the server sent on this socket, in answer to the request for it",
                    ));
                }
                self.encrypted(&nonce, challenge).map(Answer::Bytes)
            }
            State::Over => Err(is_over()),
        }
    }
}

/// The password itself and a zero byte, in a packet.
pub(super) struct Cleartext {
    password: SecretString,
    is_encrypted: bool,
    sequence: u8,
}

impl Cleartext {
    pub(super) fn of(
        parameters: &Parameters<'_>,
        password: SecretString,
        channel: Channel<'_>,
    ) -> Result<Self> {
        parameters.only(&["sequence"])?;
        let sequence = parameters.byte("sequence")?.ok_or_else(|| {
            Error::invalid_input("'mysql-cleartext' lacks the parameter 'sequence', the number of its packet")
        })?;
        Ok(Self { password, is_encrypted: channel.is_encrypted, sequence })
    }

    fn frame(&self) -> Result<Frame> {
        let password = without_zero(self.password.expose_secret().as_bytes())?;
        let length = u32::try_from(password.len() + 1).ok().filter(|length| *length < 0xff_ffff);
        let length = length.ok_or_else(|| Error::limit_exceeded("the password is too long"))?;
        let [a, b, c, _] = length.to_le_bytes();
        let mut bytes = Zeroizing::new(Vec::with_capacity(password.len() + 5));
        bytes.extend_from_slice(&[a, b, c, self.sequence]);
        bytes.extend_from_slice(password);
        bytes.push(0);
        Ok(Frame::new(bytes))
    }
}

impl Quick for Cleartext {
    fn answer(&mut self, challenge: &[u8], heard: Heard<'_>) -> Result<Answer> {
        nothing(challenge)?;
        let phase = Phase::of(heard, self.is_encrypted)
            .filter(|phase| phase.wants_password(self.is_encrypted) && phase.next == self.sequence);
        match phase {
            Some(_) => self.frame().map(Answer::Write),
            None => Err(refused(
                "'mysql-cleartext' is the next packet of a login whose server has just asked for the password",
            )),
        }
    }
}

fn nonce(challenge: &[u8]) -> Result<Nonce> {
    challenge.try_into().map_err(|_| Error::invalid_input("the challenge is a nonce of 20 bytes"))
}

/// Both digests of `digests` over each other; nothing for an empty password.
fn scramble(password: &SecretString, digests: impl Fn(&[u8]) -> (Digest, Digest)) -> Vec<u8> {
    let password = password.expose_secret().as_bytes();
    if password.is_empty() {
        return Vec::new();
    }
    let (one, other) = digests(password);
    one.as_ref().iter().zip(other.as_ref()).map(|(a, b)| a ^ b).collect()
}

fn hashed(algorithm: &'static digest::Algorithm, parts: &[&[u8]]) -> Digest {
    let mut context = digest::Context::new(algorithm);
    parts.iter().for_each(|part| context.update(part));
    context.finish()
}

#[cfg(test)]
mod tests;
