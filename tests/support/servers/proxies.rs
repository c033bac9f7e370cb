//! Squid, for http and CONNECT, and microsocks, for SOCKS5: both with a password.
//!
//! Invariant: they are the system's own if it has them, else those that `make servers` unpacked.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use super::{
    brought,
    process::{Process, Start, listens},
    program,
};
use crate::ca::pki;

/// A running proxy.
pub struct Proxy {
    /// `http://127.0.0.1:PORT` or `socks5://127.0.0.1:PORT`
    pub url: String,
    folder: PathBuf,
    _process: Process,
}

impl Proxy {
    /// Who may use it.
    pub const USER: &str = "proxy-user";
    /// With which password.
    pub const PASSWORD: &str = "proxy-secret";

    /// The URL with user and password.
    pub fn url_with_password(&self) -> String {
        self.url.replace("://", &format!("://{}:{}@", Self::USER, Self::PASSWORD))
    }

    /// A line per request of Squid's so far: its status, method and URL, and the user or `-`. Squid writes a line once
    /// the connection to the client or the tunnel is over. Empty for SOCKS.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("access.log")).unwrap_or_default()
    }
}

/// The Squid of this process. It wants [`Proxy::USER`] and [`Proxy::PASSWORD`], else answers 407.
pub fn squid() -> &'static Proxy {
    static STARTED: OnceLock<Proxy> = OnceLock::new();
    STARTED.get_or_init(|| start_squid("http"))
}

/// Another Squid, which is spoken to by TLS: its certificate is the server's of [`pki`].
pub fn squid_tls() -> &'static Proxy {
    static STARTED: OnceLock<Proxy> = OnceLock::new();
    STARTED.get_or_init(|| start_squid("https"))
}

fn start_squid(scheme: &str) -> Proxy {
    let (process, folder, port) =
        Process::start("squid", |start| squid_command(start, scheme), |start| listens(start.port));
    Proxy { url: format!("{scheme}://127.0.0.1:{port}"), folder, _process: process }
}

/// The SOCKS5 proxy of this process that lets everybody through.
pub fn socks() -> &'static Proxy {
    static STARTED: OnceLock<Proxy> = OnceLock::new();
    STARTED.get_or_init(|| start_socks(&[]))
}

/// The SOCKS5 proxy of this process that wants [`Proxy::USER`] and [`Proxy::PASSWORD`] (RFC 1929).
pub fn socks_with_password() -> &'static Proxy {
    static STARTED: OnceLock<Proxy> = OnceLock::new();
    STARTED.get_or_init(|| start_socks(&["-u", Proxy::USER, "-P", Proxy::PASSWORD]))
}

fn start_socks(arguments: &[&str]) -> Proxy {
    let (process, folder, port) = Process::start(
        "microsocks",
        |start| {
            let mut command = program("microsocks");
            command.args(["-i", "127.0.0.1", "-p", &start.port.to_string()]).args(arguments);
            command
        },
        |start| listens(start.port),
    );
    Proxy { url: format!("socks5://127.0.0.1:{port}"), folder, _process: process }
}

fn squid_command(start: &Start<'_>, scheme: &str) -> Command {
    // Made by `openssl passwd -apr1`, for Proxy::PASSWORD.
    let passwords = format!("{}:{}\n", Proxy::USER, "$apr1$openact0$xwvj3o6Ov385wfSeoxrwu0");
    fs::write(start.folder.join("passwords"), passwords).unwrap();
    let folder = start.folder.display();
    let programs = ["usr/lib/squid", "usr/lib64/squid", "opt/homebrew/opt/squid/libexec"];
    let data = ["usr/share/squid", "opt/homebrew/opt/squid/share"];
    for (folders, name) in [
        (programs.as_slice(), "basic_ncsa_auth"),
        (&programs, "unlinkd"),
        (&data, "mime.conf"),
        (&data, "icons"),
        (&data, "errors/en"),
    ] {
        copy(&found(folders, name), &start.folder.join(name));
    }
    let tls = if scheme == "https" {
        let server = &pki().server;
        copy(&server.cert.path, &start.folder.join("tls.crt"));
        copy(&server.key.path, &start.folder.join("tls.key"));
        format!(" tls-cert={folder}/tls.crt tls-key={folder}/tls.key")
    } else {
        String::new()
    };
    let config = format!(
        "{scheme}_port 127.0.0.1:{port}{tls}\n\
         auth_param basic program {folder}/basic_ncsa_auth {folder}/passwords\n\
         auth_param basic children 2 startup=1\n\
         auth_param basic realm test\n\
         acl authed proxy_auth REQUIRED\n\
         http_access allow authed\n\
         http_access deny all\n\
         logformat short %>Hs %rm %ru %un\n\
         access_log stdio:{folder}/access.log short\n\
         cache deny all\n\
         cache_log {folder}/cache.log\n\
         pid_filename {folder}/squid.pid\n\
         coredump_dir {folder}\n\
         error_directory {folder}/errors/en\n\
         mime_table {folder}/mime.conf\n\
         icon_directory {folder}/icons\n\
         pinger_enable off\n\
         unlinkd_program {folder}/unlinkd\n\
         netdb_filename none\n\
         visible_hostname squid.test\n\
         shutdown_lifetime 0 seconds\n",
        port = start.port,
    );
    let file = start.folder.join("squid.conf");
    fs::write(&file, config).unwrap();
    give_to_squid(start.folder);
    let mut command = program("squid");
    // The name is that of its shared memory.
    command.args(["-N", "-n", &format!("openact{}", start.port), "-f"]).arg(file);
    command
}

/// Started by root, Squid runs as `proxy` or `squid`, who may look into nobody's target folder (hence the copies) and has
/// to write here. Everybody may: it is gone in a minute.
fn give_to_squid(folder: &Path) {
    if fs::metadata(folder).unwrap().uid() == 0 {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).unwrap();
    }
}

/// A file, or a folder with what is in it.
fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            copy(&entry.path(), &to.join(entry.file_name()));
        }
    } else {
        fs::copy(from, to).unwrap_or_else(|error| panic!("failed to copy {}: {error}", from.display()));
    }
}

/// A file of Squid's, unpacked or of the system.
fn found(folders: &[&str], name: &str) -> PathBuf {
    let roots = [brought().join("system"), PathBuf::from("/")];
    let all = roots.iter().flat_map(|root| folders.iter().map(move |folder| root.join(folder).join(name)));
    let mut there = all.filter(|path| path.exists());
    there.next().unwrap_or_else(|| panic!("squid's {name} is missing; run: make servers"))
}
