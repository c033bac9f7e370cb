//! Real servers to talk to. Each is started when a test first asks for it and shared by the tests of the process:
//!
//! | | what | kept |
//! |---|---|---|
//! | [`verifier`] | verifies every kind of credential by other people's code | `tests/servers/verifier.py` |
//! | [`httpbin`] | digest authentication, redirects, slow and encoded bodies | PyPI |
//! | [`squid`], [`squid_tls`] | a proxy with a password, for http and CONNECT; the same by TLS | Debian |
//! | [`socks`], [`socks_with_password`] | SOCKS5 | Debian, microsocks |
//! | [`oidc`] | an OpenID provider's token endpoint | npm, oidc-provider |
//!
//! What they are made of is brought by `make servers`.
//!
//! Invariant: they listen on 127.0.0.1 alone and end with this process, however it ends.

mod httpbin;
mod oidc;
mod process;
mod proxies;
mod verifier;

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

pub use httpbin::{Httpbin, httpbin};
pub use oidc::{Oidc, oidc};
pub use proxies::{Proxy, socks, socks_with_password, squid, squid_tls};
pub use verifier::{Realm, Verifier, credentials, verifier};

/// Runs a Python program in the servers' environment, with `arguments`, and returns what it prints: to compute with
/// PyJWT, botocore or the standard library what our own code must compute too.
pub fn python(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(python_bin())
        .arg("-c")
        .arg(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("Python starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

/// Where `.ci/servers` puts what it brings: beside what cargo builds.
fn brought() -> PathBuf {
    let target = Path::new(env!("OUT_DIR")).ancestors().find(|path| path.join("CACHEDIR.TAG").is_file());
    target.expect("cargo marks its target folder").join("test-servers")
}

fn python_bin() -> PathBuf {
    needed(brought().join("python/bin/python"))
}

/// A program of this repository.
fn own(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("servers").join(name)
}

fn needed(path: PathBuf) -> PathBuf {
    assert!(path.exists(), "{} is missing; run: make servers", path.display());
    path
}
