//! dnsmasq: a server of DNS that knows what a test gives it, and asks nobody else.
//!
//! Invariant: each is of one test alone.

use std::{fs, net::SocketAddr, path::PathBuf};

use super::{
    process::{Process, listens},
    program,
};

/// A running dnsmasq.
pub struct Dns {
    /// Where it is asked.
    pub server: SocketAddr,
    folder: PathBuf,
    _process: Process,
}

impl Dns {
    /// One with those lines of dnsmasq's configuration: `srv-host=_mongodb._tcp.c.test,a.test,27017`.
    pub fn start(lines: &[String]) -> Self {
        let (process, folder, port) = Process::start(
            "dnsmasq",
            |start| {
                let usual = format!(
                    "port={}\nlisten-address=127.0.0.1\nbind-interfaces\nno-resolv\nno-hosts\nkeep-in-foreground\n\
                     log-queries\nlog-facility=-\npid-file={}/pid\nuser=\ngroup=\nlocal=/test/\n",
                    start.port,
                    start.folder.display()
                );
                let file = start.folder.join("dnsmasq.conf");
                fs::write(&file, usual + &lines.join("\n") + "\n").unwrap();
                let mut command = program("dnsmasq");
                command.arg(format!("--conf-file={}", file.display()));
                command
            },
            |start| listens(start.port),
        );
        Self { server: SocketAddr::from(([127, 0, 0, 1], port)), folder, _process: process }
    }

    /// How often it was asked for records of that kind, such as `SRV`.
    pub fn asked(&self, kind: &str) -> usize {
        let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        log.matches(&format!("query[{kind}]")).count()
    }
}
