//! The file that keeps master keys: a line per key, `NUMBER:BASE64`.
//!
//! | content | is |
//! |---|---|
//! | one line of base64 alone | key 1, as the file is first made |
//! | lines `2:BASE64` | keys by number; the highest is the newest |
//!
//! Several databases of a user may share one file, each at a key of its own; none can see what another one needs.
//!
//! Invariants: the file is its owner's alone, and one that others may read is refused, because it would be no key; it
//! is replaced whole, by one process at a time, so that a reader finds the old keys or the new ones and no key is lost.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use openact_core::{Error, Result};
use zeroize::Zeroizing;

use crate::key::{KEY_BYTES, MasterKey};

/// A key takes 50 bytes; a longer file is something else.
const KEY_FILE_BYTES_MAX: u64 = 8 * 1024;

/// A key and its number in the file.
pub(crate) struct NumberedKey {
    pub(crate) number: i64,
    pub(crate) key: MasterKey,
}

/// The keys of the file at `path`, the newest first; none if there is no file.
pub(crate) fn read(path: &Path) -> Result<Vec<NumberedKey>> {
    let metadata = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        metadata => metadata.map_err(|error| unusable(path, "be read", error))?,
    };
    refuse_wide(path, &metadata)?;
    if metadata.len() > KEY_FILE_BYTES_MAX {
        return Err(Error::invalid_config(format!("{} is not a key file", path.display())));
    }
    let text = Zeroizing::new(fs::read_to_string(path).map_err(|error| unusable(path, "be read", error))?);
    parse(&text).map_err(|error| error.context(path.display()))
}

/// Makes the file, for its owner alone, together with its folder, unless there is one. Several processes may do so at
/// once and get the same key.
pub(crate) fn create(path: &Path) -> Result<()> {
    if path.exists() {
        return Ok(());
    }
    let made =
        crate::open::create_folder(folder_of(path)).map_err(|error| unusable(path, "be created", error));
    made?;
    let mut text = Zeroizing::new(String::with_capacity(2 * KEY_BYTES));
    push_base64(&mut text, &MasterKey::ephemeral()?);
    // The first of several processes wins.
    match place(path, &text, |beside| fs::hard_link(beside, path)) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(unusable(path, "be created", error))
        }
        _ => Ok(()),
    }
}

/// Adds a fresh key, numbered `number` or as the next one of the file, and keeps those that are there.
pub(crate) fn add(path: &Path, number: i64) -> Result<()> {
    let _alone = lock(path)?;
    let mut keys = read(path)?;
    let number = keys.first().map_or(number, |newest| number.max(newest.number.saturating_add(1)));
    keys.insert(0, NumberedKey { number, key: MasterKey::ephemeral()? });
    replace(path, &keys)
}

/// Removes the keys that `keep` refuses, and returns their numbers.
pub(crate) fn retain(path: &Path, keep: impl Fn(&NumberedKey) -> bool) -> Result<Vec<i64>> {
    let _alone = lock(path)?;
    let (kept, dropped): (Vec<_>, Vec<_>) = read(path)?.into_iter().partition(|key| keep(key));
    if !dropped.is_empty() {
        replace(path, &kept)?;
    }
    Ok(dropped.iter().map(|key| key.number).collect())
}

fn parse(text: &str) -> Result<Vec<NumberedKey>> {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if let [bare] = *lines
        && !bare.contains(':')
    {
        return Ok(vec![NumberedKey { number: 1, key: MasterKey::from_base64(bare)? }]);
    }
    let mut keys = Vec::with_capacity(lines.len());
    for line in &lines {
        let bad = || Error::invalid_config("a line is not NUMBER:BASE64").hint("restore the key file");
        let (number, key) = line.split_once(':').ok_or_else(bad)?;
        let number = number.parse().ok().filter(|number| *number > 0).ok_or_else(bad)?;
        keys.push(NumberedKey { number, key: MasterKey::from_base64(key)? });
    }
    keys.sort_unstable_by_key(|key| std::cmp::Reverse(key.number));
    if keys.is_empty() || keys.windows(2).any(|pair| matches!(pair, [a, b] if a.number == b.number)) {
        return Err(Error::invalid_config("the key file is empty, or has two keys of one number")
            .hint("restore the key file"));
    }
    Ok(keys)
}

fn replace(path: &Path, keys: &[NumberedKey]) -> Result<()> {
    // With all the room there from the start, no copy is left behind by growing.
    let mut text = Zeroizing::new(String::with_capacity(keys.len() * 3 * KEY_BYTES));
    for numbered in keys.iter().rev() {
        text.push_str(&format!("{}:", numbered.number));
        push_base64(&mut text, &numbered.key);
    }
    place(path, &text, |beside| fs::rename(beside, path))
        .map_err(|error| unusable(path, "be replaced", error))
}

fn push_base64(text: &mut String, key: &MasterKey) {
    BASE64_STANDARD.encode_string(key.bytes(), text);
    text.push('\n');
}

/// Writes `text` beside `path`, lets `put` bring it there, and waits until the disk has both.
fn place(path: &Path, text: &str, put: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    let beside = beside(path, &format!(".{}.new", uuid::Uuid::now_v7()));
    let written = crate::open::create_private(&beside).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        put(&beside)?;
        sync_folder(folder_of(path))
    });
    // The name beside it is not needed any more, whatever happened.
    let _ = fs::remove_file(&beside);
    written
}

/// One process at a time changes the file. The lock ends with the value, or with the process.
fn lock(path: &Path) -> Result<fs::File> {
    let failed = |error| unusable(path, "be locked", error);
    let file = crate::open::lock_file(&beside(path, ".lock")).map_err(failed)?;
    file.lock().map_err(failed)?;
    Ok(file)
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A new name is on the disk once its folder is.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { fs::File::open(folder)?.sync_all() } else { Ok(()) }
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

fn unusable(path: &Path, what: &str, error: io::Error) -> Error {
    Error::invalid_config(format!("key file {} cannot {what}: {error}", path.display()))
        .hint("set OPENACT_MASTER_KEY (base64 of 32 bytes) instead, or mend the file")
        .because(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(keys: &[NumberedKey]) -> Vec<(i64, Vec<u8>)> {
        keys.iter().map(|key| (key.number, key.key.bytes().to_vec())).collect()
    }

    #[test]
    fn a_key_file_is_made_once_by_many() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sub/key");
        assert!(read(&path).unwrap().is_empty());
        let made = || {
            create(&path).unwrap();
            bytes(&read(&path).unwrap())
        };
        let keys: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(made)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(keys.iter().all(|key| *key == keys[0]));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn keys_are_added_by_many_and_none_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        create(&path).unwrap();
        let first = bytes(&read(&path).unwrap());
        assert_eq!(first[0].0, 1);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| add(&path, 2).unwrap());
            }
        });
        let keys = read(&path).unwrap();
        assert_eq!(keys.iter().map(|key| key.number).collect::<Vec<_>>(), [5, 4, 3, 2, 1]);
        assert_eq!(bytes(&keys)[4], first[0], "the bare key is key 1");
        assert_eq!(retain(&path, |key| key.number > 3).unwrap(), [3, 2, 1]);
        assert_eq!(bytes(&read(&path).unwrap()), bytes(&keys)[..2]);
        add(&path, 9).unwrap();
        assert_eq!(read(&path).unwrap()[0].number, 9);
    }

    #[test]
    fn what_is_no_key_file_is_refused_without_being_quoted() {
        let key = BASE64_STANDARD.encode([9; 32]);
        for text in [
            "",
            "\n",
            &format!("{key}\n{key}"),
            &format!("1:{key}\n1:{key}"),
            &format!("0:{key}"),
            &format!("-1:{key}"),
            &format!("x:{key}"),
            &format!("1:{key}\n2:{}", &key[1..]),
        ] {
            let error = parse(text).err().unwrap();
            assert!(!format!("{error:?}").contains(&key[1..]), "{text}");
        }
        assert_eq!(parse(&format!("\n 3:{key} \n\n1:{key}")).unwrap()[0].number, 3);
    }

    #[cfg(unix)]
    #[test]
    fn a_key_file_is_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        create(&path).unwrap();
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(), 0o600);
        add(&path, 2).unwrap();
        assert_eq!(mode(), 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = read(&path).err().unwrap();
        assert!(error.hint.as_deref().unwrap().contains("chmod 600"), "{error:?}");
    }
}
