//! The master key: where it comes from, and that it stays out of sight.
//!
//! Invariant: the 32 bytes are never printed, never in an error, and zeroed when dropped; a key file that others may
//! read is refused, because it would be no key.

use std::{fmt, fs, io::Write, path::Path};

use base64::{Engine, prelude::BASE64_STANDARD};
use openact_core::{Error, Result};
use zeroize::{Zeroize, Zeroizing};

/// Length of the master key, bytes: AES-256's.
const KEY_BYTES: usize = 32;

/// A key file is base64 and a line end; a longer one is something else.
const KEY_FILE_BYTES_MAX: u64 = 1024;

/// What wraps the data keys of all sealed records.
pub struct MasterKey(Zeroizing<[u8; KEY_BYTES]>);

/// Where the master key comes from.
pub enum KeySource {
    /// This key.
    Key(MasterKey),
    /// Asked when the first secret is sealed, opened or compared, so that a command without secrets needs no key.
    /// An error is reported and the next use asks again.
    Lazy(Box<dyn Fn() -> Result<MasterKey> + Send + Sync>),
}

impl MasterKey {
    /// Reads base64 (standard alphabet, padded) of 32 bytes. White space around it is ignored.
    pub fn from_base64(text: &str) -> Result<Self> {
        let bad = || {
            Error::invalid_config("the master key is not base64 of 32 bytes")
                .hint("make one with: head -c 32 /dev/urandom | base64")
        };
        let mut decoded = BASE64_STANDARD.decode(text.trim()).map_err(|_| bad())?;
        let key =
            <[u8; KEY_BYTES]>::try_from(&*decoded).map(|key| Self(Zeroizing::new(key))).map_err(|_| bad());
        decoded.zeroize();
        key
    }

    /// Reads the key file at `path`, or makes it, for its owner alone, together with its folder. Several processes
    /// may do so at once and get the same key.
    pub fn from_file_or_create(path: &Path) -> Result<Self> {
        if !path.exists() {
            create(path).map_err(|error| unusable(path, "be created", error))?;
        }
        let metadata = fs::metadata(path).map_err(|error| unusable(path, "be read", error))?;
        refuse_wide(path, &metadata)?;
        if metadata.len() > KEY_FILE_BYTES_MAX {
            return Err(Error::invalid_config(format!("{} is not a key file", path.display())));
        }
        let text =
            Zeroizing::new(fs::read_to_string(path).map_err(|error| unusable(path, "be read", error))?);
        Self::from_base64(&text).map_err(|error| error.context(path.display()))
    }

    /// A random key that nobody else will ever know: for a store in memory.
    pub fn ephemeral() -> Result<Self> {
        let mut key = Self(Zeroizing::new([0; KEY_BYTES]));
        crate::seal::random(&mut *key.0)?;
        Ok(key)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &*self.0
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(…)")
    }
}

/// Writes a fresh key beside `path` and links it there: the file appears whole or not at all, and the first of
/// several processes wins.
fn create(path: &Path) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    crate::open::create_folder(folder)?;
    let key = MasterKey::ephemeral()?;
    let mut text = Zeroizing::new(String::with_capacity(2 * KEY_BYTES));
    BASE64_STANDARD.encode_string(key.bytes(), &mut text);
    text.push('\n');
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}.new", uuid::Uuid::now_v7()));
    let written = crate::open::create_private(Path::new(&beside)).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::hard_link(&beside, path)
    });
    // The link is the key; the name beside it is not needed, whatever happened.
    let _ = fs::remove_file(&beside);
    match written {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error.into()),
        _ => Ok(()),
    }
}

#[cfg(unix)]
fn refuse_wide(path: &Path, metadata: &fs::Metadata) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    Err(Error::invalid_config(format!("key file {} can be read by others (mode {mode:03o})", path.display()))
        .hint(format!("run: chmod 600 {}", path.display())))
}

#[cfg(not(unix))]
fn refuse_wide(_path: &Path, _metadata: &fs::Metadata) -> Result<()> {
    Ok(())
}

fn unusable(path: &Path, what: &str, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    let error = error.into();
    Error::invalid_config(format!("key file {} cannot {what}: {error}", path.display()))
        .hint("set OPENACT_MASTER_KEY (base64 of 32 bytes) instead, or mend the file")
        .because(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c9_a_master_key_does_not_show() {
        let text = BASE64_STANDARD.encode([7; 32]);
        let key = MasterKey::from_base64(&format!("{text}\n")).unwrap();
        assert_eq!(key.bytes(), [7; 32]);
        assert_eq!(format!("{key:?}"), "MasterKey(…)");
        for bad in [&text[1..], "", "AAAA", &format!("{text}AAAA")] {
            let error = MasterKey::from_base64(bad).unwrap_err();
            assert!(bad.is_empty() || !format!("{error:?}").contains(bad));
        }
    }

    #[test]
    fn a_key_file_is_made_once_by_many() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sub/key");
        let keys: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..8).map(|_| scope.spawn(|| MasterKey::from_file_or_create(&path).unwrap())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(keys.iter().all(|key| key.bytes() == keys[0].bytes()));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[cfg(unix)]
    #[test]
    fn a_key_file_is_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        MasterKey::from_file_or_create(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = MasterKey::from_file_or_create(&path).unwrap_err();
        assert!(error.hint.as_deref().unwrap().contains("chmod 600"), "{error:?}");
    }
}
