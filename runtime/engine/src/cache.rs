//! Compiled components on disk (S9).
//!
//! A compiled component is machine code, and loading a forged one would run anything. So a file is read only if it
//! carries a MAC over its content, made with a key that lives outside the folder; a file that does not verify, or
//! was made by another wasmtime, for another CPU or with other settings, is compiled anew, never trusted.
//! The folder is the owner's alone (0700), files are written beside and renamed.
//!
//! File: `mac (32) | manifest length (4, little endian) | manifest JSON | compiled component`, named by the digest of
//! the component and of the engine's settings. The MAC covers that name too.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use aws_lc_rs::{hmac, rand};
use openact_core::{
    Error, Result,
    manifest::{ComponentDigest, Manifest},
};

/// The key that authenticates cache files.
#[derive(Clone)]
pub struct CacheKey(hmac::Key);

impl std::fmt::Debug for CacheKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CacheKey")
    }
}

impl CacheKey {
    /// The key in the file at `path` (mode 0600), made on first use.
    pub fn from_file_or_create(path: &Path) -> Result<Self> {
        let unusable = |error: io::Error| {
            Error::invalid_config(format!("failed to read or make the cache key {}: {error}", path.display()))
                .hint("use a folder that this user can write to")
                .because(error)
        };
        match read_private(path) {
            Ok(bytes) if bytes.len() == 32 => return Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes))),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(unusable(error)),
        }
        let mut bytes = [0; 32];
        rand::fill(&mut bytes).map_err(|_| Error::internal("the random generator failed"))?;
        if let Some(folder) = path.parent() {
            private_folder(folder).map_err(unusable)?;
        }
        write_private(path, &[&bytes]).map_err(unusable)?;
        // Another process may have made it at the same time; whichever was renamed last is the key.
        let bytes = read_private(path).map_err(unusable)?;
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
    }
}

/// The folder of compiled components of one engine configuration.
pub(crate) struct CompiledCache {
    folder: PathBuf,
    key: CacheKey,
    settings: u64,
}

const MAC_BYTES: usize = 32;

impl CompiledCache {
    pub(crate) fn new(folder: PathBuf, key: CacheKey, engine: &wasmtime::Engine) -> Self {
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        env!("CARGO_PKG_VERSION").hash(&mut hasher);
        Self { folder, key, settings: hasher.finish() }
    }

    /// The manifest and component kept for `digest`, if there is a file and it is ours.
    pub(crate) fn get(
        &self,
        engine: &wasmtime::Engine,
        digest: ComponentDigest,
    ) -> Option<(Manifest, wasmtime::component::Component)> {
        let name = self.name(digest);
        // Whoever made the folder could have made its key as well.
        let bytes = check_owner(&fs::metadata(&self.folder).ok()?, 0o022)
            .and_then(|()| fs::read(self.folder.join(&name)))
            .inspect_err(|error| tracing::debug!(file = %name, %error, "no compiled component is used"))
            .ok()?;
        let (mac, content) = bytes.split_at_checked(MAC_BYTES)?;
        hmac::verify(&self.key.0, &signed(&name, content), mac).ok().or_else(|| {
            tracing::warn!(file = %name, "a compiled component does not verify; compiling it anew");
            None
        })?;
        let (length, rest) = content.split_at_checked(4)?;
        let length = u32::from_le_bytes(length.try_into().ok()?) as usize;
        let (manifest, compiled) = rest.split_at_checked(length)?;
        let manifest = serde_json::from_slice(manifest).ok()?;
        // SAFETY: the MAC shows that these bytes were written by this program, for this engine's settings, from
        // `Component::serialize`; wasmtime checks its own version and the CPU's features on top.
        let component = unsafe { wasmtime::component::Component::deserialize(engine, compiled) };
        match component {
            Ok(component) => Some((manifest, component)),
            Err(error) => {
                tracing::debug!(%error, "a compiled component is for another engine; compiling it anew");
                None
            }
        }
    }

    /// Keeps `compiled`. Failing to is logged, not fatal: the next start compiles again.
    pub(crate) fn put(&self, digest: ComponentDigest, manifest: &Manifest, compiled: &[u8]) {
        let name = self.name(digest);
        let Ok(manifest) = serde_json::to_vec(manifest) else {
            return;
        };
        let length = (manifest.len() as u32).to_le_bytes();
        let content = [&length[..], &manifest, compiled].concat();
        let mac = hmac::sign(&self.key.0, &signed(&name, &content));
        let written = private_folder(&self.folder)
            .and_then(|()| write_private(&self.folder.join(&name), &[mac.as_ref(), &content]));
        if let Err(error) = written {
            tracing::warn!(folder = %self.folder.display(), %error, "failed to keep a compiled component");
        }
    }

    fn name(&self, digest: ComponentDigest) -> String {
        format!("{}-{:016x}.cwasm", digest.hex(), self.settings)
    }
}

fn signed(name: &str, content: &[u8]) -> Vec<u8> {
    [name.as_bytes(), &[0], content].concat()
}

/// Makes `folder` for its owner alone. One that others may write to is refused.
fn private_folder(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt;
        builder.mode(0o700);
    }
    builder.create(folder)?;
    check_owner(&fs::metadata(folder)?, 0o022)
}

/// Reads a file that only its owner may read.
fn read_private(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = fs::File::open(path)?;
    check_owner(&file.metadata()?, 0o077)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Fails unless this process's user owns it, and others have none of the rights in `others`.
fn check_owner(of: &fs::Metadata, others: u32) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        if of.uid() != rustix::process::geteuid().as_raw() {
            return Err(io::Error::other("it belongs to another user"));
        }
        if of.mode() & others != 0 {
            return Err(io::Error::other("other users have rights to it; take them away with chmod"));
        }
    }
    #[cfg(not(unix))]
    let _ = (of, others);
    Ok(())
}

/// Writes a file for its owner alone, whole or not at all.
fn write_private(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    let mut random = [0; 8];
    rand::fill(&mut random).map_err(|_| io::Error::other("the random generator failed"))?;
    let temporary = path.with_extension(format!("{:016x}.tmp", u64::from_ne_bytes(random)));
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&temporary)?;
    let written =
        parts.iter().try_for_each(|part| file.write_all(part)).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The smallest component there is.
    const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

    struct Kept {
        engine: wasmtime::Engine,
        folder: tempfile::TempDir,
        digest: ComponentDigest,
    }

    impl Kept {
        fn new() -> Self {
            let kept = Self {
                engine: wasmtime::Engine::default(),
                folder: tempfile::tempdir().unwrap(),
                digest: ComponentDigest([7; 32]),
            };
            let manifest: Manifest = serde_json::from_value(serde_json::json!({
                "name": "it", "version": "1.0.0", "summary": "", "connection_schema": {}, "operations": [],
                "default_operation": "x", "needs": [],
            }))
            .unwrap();
            let compiled = kept.engine.precompile_component(EMPTY).unwrap();
            kept.cache().put(kept.digest, &manifest, &compiled);
            kept
        }

        fn cache(&self) -> CompiledCache {
            let key = CacheKey::from_file_or_create(&self.folder.path().join("key")).unwrap();
            CompiledCache::new(self.folder.path().join("compiled"), key, &self.engine)
        }

        fn is_used(&self, digest: ComponentDigest) -> bool {
            self.cache().get(&self.engine, digest).is_some()
        }

        fn file(&self, digest: ComponentDigest) -> PathBuf {
            self.folder.path().join("compiled").join(self.cache().name(digest))
        }
    }

    #[test]
    fn s9_what_was_kept_is_used_by_the_next_process() {
        let kept = Kept::new();
        assert!(kept.is_used(kept.digest));
    }

    #[test]
    fn s9_a_changed_or_truncated_file_is_never_used() {
        let kept = Kept::new();
        let (path, whole) = (kept.file(kept.digest), fs::read(kept.file(kept.digest)).unwrap());
        for index in [0, MAC_BYTES, MAC_BYTES + 5, whole.len() - 1] {
            let mut bytes = whole.clone();
            bytes[index] ^= 1;
            fs::write(&path, bytes).unwrap();
            assert!(!kept.is_used(kept.digest), "byte {index}");
        }
        for length in [0, 10, MAC_BYTES, MAC_BYTES + 2, whole.len() - 1] {
            fs::write(&path, &whole[..length]).unwrap();
            assert!(!kept.is_used(kept.digest), "length {length}");
        }
    }

    #[test]
    fn s9_one_components_file_is_not_used_for_another() {
        let kept = Kept::new();
        let other = ComponentDigest([8; 32]);
        fs::copy(kept.file(kept.digest), kept.file(other)).unwrap();
        assert!(!kept.is_used(other));
    }

    #[test]
    fn s9_a_file_made_with_another_key_is_not_used() {
        let kept = Kept::new();
        fs::write(kept.folder.path().join("key"), [1; 32]).unwrap();
        assert!(!kept.is_used(kept.digest));
    }

    #[cfg(unix)]
    #[test]
    fn s9_what_others_could_have_written_is_not_used() {
        use std::os::unix::fs::PermissionsExt;
        let chmod = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        let kept = Kept::new();
        chmod(&kept.folder.path().join("compiled"), 0o777);
        assert!(!kept.is_used(kept.digest));
        chmod(&kept.folder.path().join("compiled"), 0o700);
        assert!(kept.is_used(kept.digest));
        chmod(&kept.folder.path().join("key"), 0o644);
        assert!(CacheKey::from_file_or_create(&kept.folder.path().join("key")).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn s9_folder_file_and_key_are_the_owners_alone() {
        use std::os::unix::fs::PermissionsExt;
        let kept = Kept::new();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&kept.folder.path().join("compiled")), 0o700);
        assert_eq!(mode(&kept.file(kept.digest)), 0o600);
        assert_eq!(mode(&kept.folder.path().join("key")), 0o600);
    }
}
