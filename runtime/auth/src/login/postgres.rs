//! `postgres-md5` and `postgres-cleartext`: the logins of PostgreSQL from before SCRAM.
//!
//! Invariant: a `PasswordMessage` is written only as the answer to `AuthenticationCleartextPassword`, after a single
//! startup message. Messages: <https://www.postgresql.org/docs/current/protocol-message-formats.html>.

use md5::{Digest as _, Md5 as Hasher};
use openact_core::{
    Error, Result,
    login::{Answer, Channel, Frame, Heard},
    secret::{ExposeSecret, SecretString},
};
use zeroize::Zeroizing;

use super::{Parameters, Quick, is_over, nothing, refused, without_zero};
use crate::hash;

/// `md5` and MD5(MD5(password user) salt), both in hexadecimal.
pub(super) struct Md5 {
    user: String,
    password: Option<SecretString>,
}

impl Md5 {
    pub(super) fn of(parameters: &Parameters<'_>, password: SecretString) -> Result<Self> {
        parameters.only(&["user"])?;
        Ok(Self { user: parameters.required("user")?.to_owned(), password: Some(password) })
    }
}

impl Quick for Md5 {
    fn answer(&mut self, challenge: &[u8], _: Heard<'_>) -> Result<Answer> {
        let password = self.password.take().ok_or_else(is_over)?;
        if challenge.len() != 4 {
            return Err(Error::invalid_input("the challenge of 'postgres-md5' is a salt of 4 bytes"));
        }
        let inner = Hasher::new().chain_update(password.expose_secret()).chain_update(&self.user);
        let inner = Zeroizing::new(hash::hex(&inner.finalize()));
        let outer = Hasher::new().chain_update(inner.as_bytes()).chain_update(challenge).finalize();
        Ok(Answer::Bytes(format!("md5{}", hash::hex(&outer)).into_bytes()))
    }
}

/// The password itself, in a `PasswordMessage`.
pub(super) struct Cleartext {
    password: SecretString,
    is_encrypted: bool,
}

impl Cleartext {
    pub(super) fn of(
        parameters: &Parameters<'_>,
        password: SecretString,
        channel: Channel<'_>,
    ) -> Result<Self> {
        parameters.only(&[])?;
        Ok(Self { password, is_encrypted: channel.is_encrypted })
    }

    fn frame(&self) -> Result<Frame> {
        let password = without_zero(self.password.expose_secret().as_bytes())?;
        let length = u32::try_from(password.len() + 5)
            .map_err(|_| Error::limit_exceeded("the password is too long"))?;
        let mut bytes = Zeroizing::new(Vec::with_capacity(password.len() + 6));
        bytes.push(b'p');
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(password);
        bytes.push(0);
        Ok(Frame::new(bytes))
    }
}

impl Quick for Cleartext {
    fn answer(&mut self, challenge: &[u8], heard: Heard<'_>) -> Result<Answer> {
        nothing(challenge)?;
        if !is_asked(heard, self.is_encrypted) {
            return Err(refused(
                "'postgres-cleartext' answers AuthenticationCleartextPassword, after one startup message",
            ));
        }
        self.frame().map(Answer::Write)
    }
}

const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
const ASKED: [u8; 9] = [b'R', 0, 0, 0, 8, 0, 0, 0, 3];

/// Whether the server asks for the password in the clear: one startup message was written, and what was read ends with
/// that question, with nothing before it but the protocol version it offers. In plain text a refused request for TLS may
/// come before both.
fn is_asked(heard: Heard<'_>, is_encrypted: bool) -> bool {
    let (mut written, mut read) = (heard.written, heard.read);
    if !is_encrypted && let Some(after) = written.strip_prefix(&SSL_REQUEST) {
        let Some(refusal) = read.strip_prefix(b"N") else { return false };
        (written, read) = (after, refusal);
    }
    heard.is_whole && is_startup(written) && (read == ASKED || after_version(read) == Some(&ASKED))
}

/// What follows `NegotiateProtocolVersion`; none if `read` does not begin with it.
fn after_version(read: &[u8]) -> Option<&[u8]> {
    let rest = read.strip_prefix(b"v")?;
    rest.get(number(rest)?..)
}

/// Whether `written` is one whole startup message of protocol 3, and nothing else.
fn is_startup(written: &[u8]) -> bool {
    let version = written.get(4..).and_then(number);
    number(written) == Some(written.len()) && version.is_some_and(|version| version >> 16 == 3)
}

/// The number of four bytes that `bytes` begin with.
fn number(bytes: &[u8]) -> Option<usize> {
    usize::try_from(u32::from_be_bytes(*bytes.first_chunk()?)).ok()
}

#[cfg(test)]
mod tests;
