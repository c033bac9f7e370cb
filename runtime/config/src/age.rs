//! Files encrypted by [age](https://age-encryption.org/v1), version 1: what `export --include-secrets` writes and `import`
//! reads. To X25519 keys (`age1…`, `AGE-SECRET-KEY-1…`) or to a passphrase; written armored, so that it is text; read either
//! way.
//!
//! The format is here and its primitives are AWS-LC's, as everywhere else in OpenAct, because age's own crate brings a second
//! set of them and a hundred crates more. What it writes is opened, and what it reads was written, by that crate in the tests.
//! Invariant: nothing of a file is returned before its last chunk was verified.

mod bech32;
mod stanza;

use aws_lc_rs::{
    aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey},
    agreement::{self, PrivateKey, UnparsedPublicKey, X25519},
    hkdf, hmac, rand,
};
use openact_core::{
    Error, Result,
    limits::{AGE_WORK, AGE_WORK_MAX},
    secret::{ExposeSecret, SecretString},
};
use zeroize::Zeroizing;

use stanza::{Header, Stanza};

/// Whom a file is written for, or who opens it.
#[derive(Debug)]
pub enum Keys {
    /// Who knows it.
    Passphrase(SecretString),
    /// Public keys to write for.
    Recipients(Vec<Recipient>),
    /// Private keys to open with.
    Identities(Vec<Identity>),
}

/// A public key: `age1…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient([u8; 32]);

/// A private key: `AGE-SECRET-KEY-1…`.
pub struct Identity(Zeroizing<[u8; 32]>);

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Identity(…)")
    }
}

impl std::str::FromStr for Recipient {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        bech32::decode("age", text).map(|key| Self(*key)).ok_or_else(|| {
            Error::invalid_input("not a public key of age").hint("it starts with age1; age-keygen makes one")
        })
    }
}

impl Identity {
    /// The keys of a file as `age-keygen` writes it: one per line, beside comments (`#`).
    pub fn read_all(text: &str) -> Result<Vec<Self>> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let keys: Option<Vec<Self>> =
            lines.map(|line| bech32::decode("age-secret-key-", line).map(Self)).collect();
        keys.filter(|keys| !keys.is_empty()).ok_or_else(|| {
            Error::invalid_input("there is no private key of age in the file")
                .hint("it is a line that starts with AGE-SECRET-KEY-1; age-keygen makes one")
        })
    }
}

/// Whether a file is one of age's, by its first bytes.
pub fn is_encrypted(file: &[u8]) -> bool {
    file.starts_with(stanza::VERSION) || stanza::is_armored(file)
}

/// Whether the file asks for a passphrase, and not for a private key.
pub fn wants_passphrase(file: &[u8]) -> Result<bool> {
    let bytes = stanza::unarmored(file)?;
    Ok(Header::read(&bytes)?.stanzas.iter().any(|stanza| stanza.kind == "scrypt"))
}

/// Encrypts `text`, as text.
pub fn encrypt(text: &str, keys: &Keys) -> Result<String> {
    encrypt_with(text.as_bytes(), keys, AGE_WORK).map(|file| stanza::armored(&file))
}

/// Decrypts a file, which is text.
pub fn decrypt(file: &[u8], keys: &Keys) -> Result<SecretString> {
    let file = stanza::unarmored(file)?;
    let header = Header::read(&file)?;
    let file_key = header.stanzas.iter().find_map(|stanza| open_stanza(stanza, keys).transpose());
    let file_key = file_key.transpose()?.ok_or_else(|| wrong_key(keys))?;
    let mac = hmac::Key::new(hmac::HMAC_SHA256, &*derive(&file_key[..], b"", b"header")?);
    hmac::verify(&mac, header.signed, &header.mac).map_err(|_| damaged())?;
    let (nonce, chunks) = header.payload.split_at_checked(16).ok_or_else(damaged)?;
    let text = open_chunks(chunks, &*derive(&file_key[..], nonce, b"payload")?)?;
    let text =
        std::str::from_utf8(&text).map_err(|_| Error::invalid_config("what the file holds is not text"))?;
    Ok(SecretString::from(text))
}

/// A key of 16 bytes, which every stanza holds encrypted.
type FileKey = Zeroizing<[u8; 16]>;

const CHUNK: usize = 64 * 1024;
const TAG: usize = 16;

fn encrypt_with(text: &[u8], keys: &Keys, work: u8) -> Result<Vec<u8>> {
    let mut file_key = Zeroizing::new([0; 16]);
    fill(&mut file_key[..])?;
    let stanzas = match keys {
        Keys::Passphrase(passphrase) => vec![passphrase_stanza(&file_key, passphrase, work)?],
        Keys::Recipients(recipients) if !recipients.is_empty() => recipients
            .iter()
            .map(|recipient| recipient_stanza(&file_key, recipient))
            .collect::<Result<_>>()?,
        _ => return Err(Error::internal("nobody could open the file")),
    };
    if stanzas.len() > stanza::STANZAS_MAX {
        return Err(Error::invalid_input(format!(
            "a file is encrypted to at most {} keys",
            stanza::STANZAS_MAX
        )));
    }
    let mut file = Header::begin(&stanzas);
    let mac = hmac::Key::new(hmac::HMAC_SHA256, &*derive(&file_key[..], b"", b"header")?);
    let mac = hmac::sign(&mac, &file);
    Header::end(&mut file, mac.as_ref());
    let mut nonce = [0; 16];
    fill(&mut nonce)?;
    file.extend(nonce);
    seal_chunks(text, &*derive(&file_key[..], &nonce, b"payload")?, &mut file)?;
    Ok(file)
}

fn recipient_stanza(file_key: &FileKey, recipient: &Recipient) -> Result<Stanza> {
    let own = PrivateKey::generate(&X25519).map_err(|_| failed())?;
    let share = own.compute_public_key().map_err(|_| failed())?;
    let key = agreed(&own, &recipient.0, share.as_ref(), &recipient.0)?;
    let arguments = vec![stanza::base64(share.as_ref())];
    Ok(Stanza { kind: "X25519".into(), arguments, body: wrap(file_key, &key)? })
}

fn passphrase_stanza(file_key: &FileKey, passphrase: &SecretString, work: u8) -> Result<Stanza> {
    let mut salt = [0; 16];
    fill(&mut salt)?;
    let key = stretched(passphrase, &salt, work)?;
    let arguments = vec![stanza::base64(&salt), work.to_string()];
    Ok(Stanza { kind: "scrypt".into(), arguments, body: wrap(file_key, &key)? })
}

/// The file key, if this stanza is for one of `keys`.
fn open_stanza(stanza: &Stanza, keys: &Keys) -> Result<Option<FileKey>> {
    match (stanza.kind.as_str(), keys) {
        ("scrypt", Keys::Passphrase(passphrase)) => {
            let [salt, work] = stanza.arguments.as_slice() else { return Err(damaged()) };
            let salt = stanza::from_base64(salt).filter(|salt| salt.len() == 16).ok_or_else(damaged)?;
            let is_number = !work.starts_with('0') && work.bytes().all(|byte| byte.is_ascii_digit());
            let work = work.parse::<u8>().ok().filter(|work| is_number && *work > 0);
            let work = work.ok_or_else(damaged)?;
            if work > AGE_WORK_MAX {
                let message = format!(
                    "the passphrase of the file takes too much work (2^{work}, at most 2^{AGE_WORK_MAX})"
                );
                return Err(Error::invalid_config(message).hint("encrypt it anew with age, or to a key"));
            }
            let key = stretched(passphrase, &salt, work)?;
            Ok(unwrap(&stanza.body, &key))
        }
        ("X25519", Keys::Identities(identities)) => {
            let [share] = stanza.arguments.as_slice() else { return Err(damaged()) };
            let share = stanza::from_base64(share).filter(|share| share.len() == 32).ok_or_else(damaged)?;
            for identity in identities {
                let own = PrivateKey::from_private_key(&X25519, &identity.0[..]).map_err(|_| failed())?;
                let public = own.compute_public_key().map_err(|_| failed())?;
                let key = agreed(&own, &share, &share, public.as_ref()).map_err(|_| damaged())?;
                if let Some(file_key) = unwrap(&stanza.body, &key) {
                    return Ok(Some(file_key));
                }
            }
            Ok(None)
        }
        _ => Ok(None),
    }
}

/// The key that both sides of an X25519 stanza come to.
fn agreed(own: &PrivateKey, other: &[u8], share: &[u8], recipient: &[u8]) -> Result<Zeroizing<[u8; 32]>> {
    let salt = [share, recipient].concat();
    let other = UnparsedPublicKey::new(&X25519, other);
    agreement::agree(own, other, failed(), |secret| derive(secret, &salt, b"age-encryption.org/v1/X25519"))
}

fn stretched(passphrase: &SecretString, salt: &[u8], work: u8) -> Result<Zeroizing<[u8; 32]>> {
    let params = scrypt::Params::new(work, 8, 1, 32).map_err(|_| damaged())?;
    let mut key = Zeroizing::new([0; 32]);
    let salt = [b"age-encryption.org/v1/scrypt", salt].concat();
    scrypt::scrypt(passphrase.expose_secret().as_bytes(), &salt, &params, &mut key[..])
        .map_err(|_| failed())?;
    Ok(key)
}

/// HKDF with SHA-256.
fn derive(secret: &[u8], salt: &[u8], info: &[u8]) -> Result<Zeroizing<[u8; 32]>> {
    let mut key = Zeroizing::new([0; 32]);
    let secret = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(secret);
    let info = [info];
    let expanded = secret.expand(&info, hkdf::HKDF_SHA256).map_err(|_| failed())?;
    expanded.fill(&mut key[..]).map_err(|_| failed())?;
    Ok(key)
}

fn wrap(file_key: &FileKey, key: &[u8; 32]) -> Result<Vec<u8>> {
    let mut body = file_key.to_vec();
    let nonce = Nonce::assume_unique_for_key([0; 12]);
    cipher(key)?.seal_in_place_append_tag(nonce, Aad::empty(), &mut body).map_err(|_| failed())?;
    Ok(body)
}

fn unwrap(body: &[u8], key: &[u8; 32]) -> Option<FileKey> {
    // Of another length it could be made to open with several keys.
    if body.len() != 16 + TAG {
        return None;
    }
    let mut body = Zeroizing::new(body.to_vec());
    let nonce = Nonce::assume_unique_for_key([0; 12]);
    let opened = cipher(key).ok()?.open_in_place(nonce, Aad::empty(), &mut body).ok()?;
    Some(Zeroizing::new((&*opened).try_into().ok()?))
}

fn seal_chunks(text: &[u8], key: &[u8; 32], file: &mut Vec<u8>) -> Result<()> {
    let cipher = cipher(key)?;
    let mut chunks = text.chunks(CHUNK).peekable();
    let mut counter = 0;
    loop {
        let mut chunk = Zeroizing::new(chunks.next().unwrap_or_default().to_vec());
        let is_last = chunks.peek().is_none();
        let tag = cipher.seal_in_place_separate_tag(nonce(counter, is_last), Aad::empty(), &mut chunk);
        file.extend_from_slice(&chunk);
        file.extend_from_slice(tag.map_err(|_| failed())?.as_ref());
        if is_last {
            return Ok(());
        }
        counter += 1;
    }
}

fn open_chunks(sealed: &[u8], key: &[u8; 32]) -> Result<Zeroizing<Vec<u8>>> {
    let cipher = cipher(key)?;
    let mut text = Zeroizing::new(Vec::with_capacity(sealed.len()));
    let mut chunks = sealed.chunks(CHUNK + TAG).peekable();
    let mut counter = 0;
    while let Some(chunk) = chunks.next() {
        let mut chunk = Zeroizing::new(chunk.to_vec());
        let is_last = chunks.peek().is_none();
        let opened =
            cipher.open_in_place(nonce(counter, is_last), Aad::empty(), &mut chunk).map_err(|_| damaged())?;
        // An empty chunk is only that of an empty text.
        if opened.is_empty() && counter > 0 {
            return Err(damaged());
        }
        text.extend_from_slice(opened);
        counter += 1;
    }
    if counter == 0 { Err(damaged()) } else { Ok(text) }
}

/// A counter of eleven bytes, and whether it is the last.
fn nonce(counter: u64, is_last: bool) -> Nonce {
    let mut nonce = [0; 12];
    for (byte, value) in nonce.iter_mut().skip(3).zip(counter.to_be_bytes()) {
        *byte = value;
    }
    if let Some(last) = nonce.last_mut() {
        *last = u8::from(is_last);
    }
    Nonce::assume_unique_for_key(nonce)
}

fn cipher(key: &[u8; 32]) -> Result<LessSafeKey> {
    UnboundKey::new(&CHACHA20_POLY1305, key)
        .map(LessSafeKey::new)
        .map_err(|_: aws_lc_rs::error::Unspecified| failed())
}

fn fill(bytes: &mut [u8]) -> Result<()> {
    rand::fill(bytes).map_err(|_| failed())
}

fn failed() -> Error {
    Error::internal("failed to encrypt or decrypt a file")
}

fn damaged() -> Error {
    Error::invalid_config("the encrypted file is damaged, or was changed").hint("take another copy of it")
}

fn wrong_key(keys: &Keys) -> Error {
    match keys {
        Keys::Passphrase(_) => Error::invalid_input("the file does not open with this passphrase"),
        _ => Error::invalid_input("the file does not open with any of these keys")
            .hint("--identity FILE names the private key that age-keygen made with the public one"),
    }
}

#[cfg(test)]
mod tests;
