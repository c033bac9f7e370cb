//! What may be loaded at all, and the compiled cache.
//!
//! Invariant: whatever bytes are given, loading ends with a connector or a clean error.

use std::{fs, path::Path};

use openact::{Error, ErrorCode, OpenAct};
use serde_json::json;
use support::guests::guest;

use crate::setup::{hostile, limit, memory, value};

async fn refused(bytes: Vec<u8>) -> Error {
    match memory(&[]).without_cache().connector_bytes(bytes).build().await {
        Ok(_) => panic!("it was loaded"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn s8_a_forbidden_import_is_refused_by_name() {
    let error = refused(guest("forbidden-import")).await;
    assert_eq!(error.code, ErrorCode::InvalidConfig);
    assert!(error.message.contains("'evil:host/shell@0.1.0'"), "{}", error.message);
    assert_eq!(error.details.as_ref().unwrap()["import"], "evil:host/shell@0.1.0");
}

#[tokio::test]
async fn s8_a_forbidden_import_is_not_installed_either() {
    let openact = hostile(json!({})).await;
    let error = openact.install_connector(guest("forbidden-import"), vec![]).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::InvalidConfig);
    let names: Vec<_> = openact.list_connectors().await.unwrap();
    assert!(names.iter().all(|info| info.manifest.name.as_str() != "forbidden-import"));
}

#[tokio::test]
async fn s1_a_description_that_never_ends_is_ended() {
    let error = refused(guest("describe-spin")).await;
    assert_eq!((error.code, limit(&error)), (ErrorCode::LimitExceeded, Some("cpu_ms")), "{error:?}");
    assert!(error.message.contains("manifest"), "{}", error.message);
}

#[tokio::test]
async fn a_description_has_no_capability() {
    // Without the cache, which would answer with what it said before.
    let openact = memory(&[]).without_cache().connector_bytes(guest("describe-http")).build().await.unwrap();
    let info = openact.connector_info(&"describe-http".parse().unwrap()).await.unwrap();
    assert!(info.manifest.summary.contains("Denied"), "{}", info.manifest.summary);
    assert!(info.manifest.summary.contains("describe runs without any capability"));
}

#[tokio::test]
async fn s6_what_is_no_component_is_refused() {
    let plain = guest("plain");
    let mut broken: Vec<Vec<u8>> = vec![
        vec![],
        vec![0],
        b"hello, I am a text file\n".to_vec(),
        // A core module, and a component that is not a connector: both empty and valid.
        b"\0asm\x01\0\0\0".to_vec(),
        b"\0asm\x0d\0\x01\0".to_vec(),
        b"\0asm\xff\xff\xff\xff".to_vec(),
        vec![0xff; 4096],
    ];
    broken.extend((1..10).map(|tenth| plain[..plain.len() * tenth / 10].to_vec()));
    broken.push(plain[..plain.len() - 1].to_vec());
    for bytes in broken {
        let length = bytes.len();
        let error = refused(bytes).await;
        assert_eq!(error.code, ErrorCode::InvalidConfig, "{length} bytes: {error:?}");
    }
}

#[tokio::test]
async fn s6_a_flipped_bit_anywhere_is_an_error_or_a_connector_but_no_panic() {
    let plain = guest("plain");
    for part in 0..24 {
        let mut bytes = plain.clone();
        let at = plain.len() * part / 24 + part;
        bytes[at] ^= 0x55;
        if let Err(error) = memory(&[]).without_cache().connector_bytes(bytes).build().await {
            let expected = [ErrorCode::InvalidConfig, ErrorCode::ConnectorCrashed, ErrorCode::LimitExceeded];
            assert!(expected.contains(&error.code), "byte {at}: {error:?}");
        }
    }
}

#[tokio::test]
async fn s10_an_oversized_component_is_refused_unread() {
    let error = refused(vec![0; (64 << 20) + 1]).await;
    assert_eq!((error.code, limit(&error)), (ErrorCode::LimitExceeded, Some("component_bytes")), "{error:?}");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.wasm");
    fs::File::create(&path).unwrap().set_len((64 << 20) + 1).unwrap();
    let error = memory(&[]).connector_file(&path).build().await.map(|_| ()).unwrap_err();
    assert_eq!((error.code, limit(&error)), (ErrorCode::LimitExceeded, Some("component_bytes")), "{error:?}");
}

/// An OpenAct with the guests `names` and its compiled components under `folder`.
async fn cached(folder: &Path, names: &[&str]) -> OpenAct {
    names
        .iter()
        .fold(memory(&[]).cache_folder(folder.join("compiled")), |builder, name| {
            builder.connector_bytes(guest(name))
        })
        .build()
        .await
        .unwrap()
}

async fn summary(openact: &OpenAct, name: &str) -> String {
    openact.connector_info(&name.parse().unwrap()).await.unwrap().manifest.summary.clone()
}

/// The file kept for the guest `name`.
fn cache_file(openact_folder: &Path, digest: &str) -> std::path::PathBuf {
    let hex = digest.strip_prefix("sha256:").unwrap();
    let files = fs::read_dir(openact_folder.join("compiled")).unwrap().map(|entry| entry.unwrap().path());
    let mut own = files.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with(hex));
    let file = own.next().expect("a compiled component is kept");
    assert_eq!(own.next(), None);
    file
}

async fn digest(openact: &OpenAct, name: &str) -> String {
    openact.connector_info(&name.parse().unwrap()).await.unwrap().digest.to_string()
}

fn find(bytes: &[u8], part: &[u8]) -> usize {
    bytes.windows(part.len()).position(|window| window == part).expect("the part is in the file")
}

#[cfg(unix)]
#[tokio::test]
async fn s9_the_cache_and_its_key_are_the_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let folder = tempfile::tempdir().unwrap();
    let openact = cached(folder.path(), &["noop"]).await;
    let file = cache_file(folder.path(), &digest(&openact, "noop").await);
    assert_eq!(mode(&file), 0o600);
    assert_eq!(mode(&folder.path().join("compiled")), 0o700);
    let key = folder.path().join("compiled.key");
    assert_eq!(mode(&key), 0o600);
    assert_eq!(fs::read(key).unwrap().len(), 32);
}

#[tokio::test]
async fn s9_a_tampered_file_is_compiled_anew() {
    let folder = tempfile::tempdir().unwrap();
    let openact = cached(folder.path(), &["plain"]).await;
    let file = cache_file(folder.path(), &digest(&openact, "plain").await);
    let good = fs::read(&file).unwrap();
    let at = find(&good, b"greetings");
    type Edit<'a> = &'a dyn Fn(&mut Vec<u8>);
    let edits: [Edit<'_>; 5] = [
        &|bytes| bytes[at] = b'G',
        &|bytes| *bytes.last_mut().unwrap() ^= 1,
        &|bytes| bytes[0] ^= 1,
        &|bytes| bytes.truncate(bytes.len() / 2),
        &Vec::clear,
    ];
    for (number, edit) in edits.into_iter().enumerate() {
        let mut bytes = good.clone();
        edit(&mut bytes);
        fs::write(&file, &bytes).unwrap();
        let openact = cached(folder.path(), &["plain"]).await;
        assert_eq!(summary(&openact, "plain").await, "greetings", "edit {number}");
        let now = fs::read(&file).unwrap();
        assert!(now != bytes && now.len() == good.len(), "edit {number}: the file was not written anew");
    }
}

#[tokio::test]
async fn s9_a_file_made_with_another_key_is_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let openact = cached(folder.path(), &["plain"]).await;
    let file = cache_file(folder.path(), &digest(&openact, "plain").await);
    let first = fs::read(&file).unwrap();
    fs::write(folder.path().join("compiled.key"), [7; 32]).unwrap();
    let openact = cached(folder.path(), &["plain"]).await;
    assert_eq!(summary(&openact, "plain").await, "greetings");
    assert_ne!(fs::read(&file).unwrap()[..32], first[..32], "it must carry the new key's mark");
}

#[tokio::test]
async fn s9_a_file_of_another_component_is_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let openact = cached(folder.path(), &["plain", "noop"]).await;
    let plain = cache_file(folder.path(), &digest(&openact, "plain").await);
    let noop = cache_file(folder.path(), &digest(&openact, "noop").await);
    fs::copy(&plain, &noop).unwrap();
    let openact = cached(folder.path(), &["noop"]).await;
    assert_eq!(summary(&openact, "noop").await, "nothing");
    assert_ne!(fs::read(&noop).unwrap(), fs::read(&plain).unwrap());
}

#[tokio::test]
async fn s9_a_good_file_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let openact = cached(folder.path(), &["hostile"]).await;
    let file = cache_file(folder.path(), &digest(&openact, "hostile").await);
    let written = fs::metadata(&file).unwrap().modified().unwrap();
    let config = crate::setup::hostile_config(json!({}));
    let openact = memory(&[])
        .cache_folder(folder.path().join("compiled"))
        .connector_bytes(guest("hostile"))
        .config_text(config, openact::Format::Json)
        .build()
        .await
        .unwrap();
    assert_eq!(value(&openact, "hostile/stash", json!({})).await["calls"], 1);
    assert_eq!(fs::metadata(&file).unwrap().modified().unwrap(), written, "it was compiled again");
}
