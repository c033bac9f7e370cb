//! The components under `tests/guests`, built by this crate's build script.

use std::path::PathBuf;

/// The bytes of the guest of that name.
pub fn guest(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("GUESTS_DIR")).join(format!("{name}.wasm"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("failed to read {}: {error}", path.display()))
}

/// Where the tests keep compiled components, so that each is compiled once for all of them.
pub fn compiled_folder() -> PathBuf {
    PathBuf::from(env!("GUESTS_DIR")).join("compiled")
}
