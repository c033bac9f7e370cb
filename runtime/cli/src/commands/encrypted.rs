//! Files encrypted by age: for whom `export` writes one, and how `import` opens one.
//!
//! Invariant: a passphrase comes from the environment or from a terminal that does not show it, never from an argument.

use std::{
    fs::File,
    io::{IsTerminal, Read},
    path::Path,
};

use openact::{
    Error, ExposeSecret, Format, Result, SecretString,
    age::{self, Identity, Keys, Recipient},
    limits::{CONFIG_BYTES_MAX, SECRET_FILE_BYTES_MAX},
    settings::OPENACT_PASSPHRASE,
};
use zeroize::Zeroizing;

use crate::commands::{input::unreadable, secret};

/// For `recipients`, else for who knows a passphrase.
pub(crate) async fn keys_to_write(recipients: &[String]) -> Result<Keys> {
    if !recipients.is_empty() {
        let recipients = recipients.iter().map(|text| text.parse::<Recipient>());
        return recipients.collect::<Result<_>>().map(Keys::Recipients);
    }
    if let Some(passphrase) = passphrase_of_environment() {
        return Ok(Keys::Passphrase(passphrase));
    }
    let passphrase = not_empty(asked("passphrase of the export: ").await?)?;
    if !openact::same_secrets(&passphrase, &asked("the same again: ").await?) {
        return Err(Error::invalid_input("the two passphrases differ"));
    }
    Ok(Keys::Passphrase(passphrase))
}

/// Whether `path` is named as an encrypted file.
pub(crate) fn is_named(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("age"))
}

/// The format of what is within a file, by its name without `.age`; YAML if that says nothing.
pub(crate) fn format_within(path: &Path) -> Result<Format> {
    let inner = path.with_extension("");
    if inner.extension().is_none() { Ok(Format::Yaml) } else { Format::of(&inner) }
}

/// Opens the encrypted file at `path`.
pub(crate) async fn opened(path: &Path, identity: Option<&Path>) -> Result<SecretString> {
    let file = read(path, CONFIG_BYTES_MAX)?;
    let name = path.display();
    if !age::is_encrypted(&file) {
        return Err(Error::invalid_config(format!("'{name}' is not a file encrypted by age")));
    }
    let keys = match (age::wants_passphrase(&file)?, identity) {
        (true, Some(_)) => {
            return Err(Error::invalid_input(format!("'{name}' is encrypted to a passphrase, not to a key"))
                .hint(format!(
                    "leave --identity out; the passphrase is asked for, or taken from {OPENACT_PASSPHRASE}"
                )));
        }
        (true, None) => Keys::Passphrase(match passphrase_of_environment() {
            Some(passphrase) => passphrase,
            None => not_empty(asked(&format!("passphrase of '{name}': ")).await?)?,
        }),
        (false, Some(identity)) => {
            let text = read(identity, SECRET_FILE_BYTES_MAX)?;
            let text = std::str::from_utf8(&text)
                .map_err(|_| Error::invalid_input(format!("'{}' is not text", identity.display())))?;
            Keys::Identities(Identity::read_all(text)?)
        }
        (false, None) => {
            return Err(Error::invalid_input(format!("'{name}' is encrypted to a key"))
                .hint("--identity FILE names the file with the private key"));
        }
    };
    tokio::task::spawn_blocking(move || age::decrypt(&file, &keys))
        .await
        .map_err(|error| Error::internal("failed to decrypt a file").because(error))?
}

fn passphrase_of_environment() -> Option<SecretString> {
    let text = std::env::var(OPENACT_PASSPHRASE).ok().map(Zeroizing::new)?;
    (!text.is_empty()).then(|| SecretString::from(text.as_str()))
}

async fn asked(question: &str) -> Result<SecretString> {
    if !std::io::stdin().is_terminal() {
        return Err(Error::invalid_input("there is nobody to ask for a passphrase")
            .hint(format!("set {OPENACT_PASSPHRASE}, or encrypt to a key: --recipient age1…")));
    }
    secret::ask(question).await
}

/// Whoever has a file under an empty passphrase can open it.
fn not_empty(passphrase: SecretString) -> Result<SecretString> {
    if passphrase.expose_secret().is_empty() {
        return Err(Error::invalid_input("the passphrase is empty")
            .hint("type one, or encrypt to a key: --recipient age1…"));
    }
    Ok(passphrase)
}

fn read(path: &Path, bytes_max: u64) -> Result<Zeroizing<Vec<u8>>> {
    let name = path.display();
    let failed = |error: std::io::Error| unreadable(&format!("'{name}'"), &error);
    let mut bytes = Zeroizing::new(Vec::new());
    // Armor and chunks take a part more.
    File::open(path).map_err(failed)?.take(2 * bytes_max).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 == 2 * bytes_max {
        return Err(Error::invalid_config(format!("'{name}' is too large")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_passphrase_is_none() {
        assert!(not_empty(SecretString::from("")).unwrap_err().message.contains("is empty"));
        assert!(not_empty(SecretString::from(" ")).is_ok());
    }
}
