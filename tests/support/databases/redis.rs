//! Redis, alone and in a cluster, and redis-cli.
//!
//! Invariant: what a Redis holds is gone when it ends, unless it was told to keep it: `&["appendonly yes"]`.

use std::{fmt::Write, fs, ops::Deref, process::Command, sync::OnceLock};

use super::{By, Login, ODD, Server, run, wait_for};
use crate::{
    ca::pki,
    servers::{
        process::{free_port, listens},
        program,
    },
};

/// A running Redis. Fields and methods of [`Server`] are its own.
#[derive(Debug)]
pub struct Redis {
    server: Server,
    /// For TLS.
    pub tls_port: u16,
}

/// Three masters that share the keys.
#[derive(Debug)]
pub struct RedisCluster {
    /// Everybody's password is that of [`Redis::PASSWORD`].
    pub nodes: Vec<Redis>,
}

/// The Redis of this process.
pub fn redis() -> &'static Redis {
    static STARTED: OnceLock<Redis> = OnceLock::new();
    STARTED.get_or_init(|| Redis::own(&[]))
}

/// The cluster of this process.
pub fn redis_cluster() -> &'static RedisCluster {
    static STARTED: OnceLock<RedisCluster> = OnceLock::new();
    STARTED.get_or_init(RedisCluster::own)
}

impl Redis {
    /// Of the user `default`, which needs not be named.
    pub const PASSWORD: &str = "redis-canary-6ea1d9f035";
    /// The user `default` by its name.
    pub const USER: Login = ("default", Self::PASSWORD);
    /// May do everything that is not dangerous, with keys that begin with `app:`.
    pub const LIMITED: Login = ("alice", "redis-acl-canary-9b4e27");

    /// A server of one's own, with lines of configuration beside the usual: `&["appendonly yes"]`.
    pub fn own(lines: &[&str]) -> Self {
        let tls_port = free_port();
        let lines: Vec<String> = lines.iter().map(|&line| line.to_owned()).collect();
        let server = Server::new(
            "redis",
            |_| (),
            |start| {
                let file = start.folder.join("redis.conf");
                fs::write(&file, configuration(start.port, tls_port, &lines)).unwrap();
                move || {
                    let mut command = program("redis-server");
                    command.arg(&file);
                    command
                }
            },
            move |port| move || listens(port) && listens(tls_port),
        );
        let redis = Self { server, tls_port };
        redis.wait();
        redis
    }

    /// Starts it again on its ports, and waits until it has read what it kept.
    pub fn start(&self) {
        self.server.start();
        self.wait();
    }

    /// While it reads what it kept, it listens and answers an error.
    fn wait(&self) {
        wait_for("redis", || self.cli_as(Self::USER, By::Plain, &["ping"]));
    }

    /// What redis-cli prints for this command as the default user, raw.
    pub fn cli(&self, command: &[&str]) -> String {
        self.cli_as(Self::USER, By::Plain, command)
            .unwrap_or_else(|error| panic!("redis-cli: {error}\n{command:?}"))
    }

    /// As [`Redis::cli`], by whom and how one likes; the error if the server answered one.
    pub fn cli_as(&self, (user, password): Login, by: By, command: &[&str]) -> Result<String, String> {
        let mut cli = client((user, password));
        match by {
            By::Plain => cli.args(["-p", &self.port.to_string()]),
            By::Tls => cli.args(["-p", &self.tls_port.to_string(), "--tls", "--cacert"]).arg(&pki().ca.path),
        };
        run(cli.arg("-e").arg("--raw").args(command))
    }
}

impl Deref for Redis {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl RedisCluster {
    fn own() -> Self {
        let node = || {
            let bus = format!("cluster-port {}", free_port());
            Redis::own(&["cluster-enabled yes", &bus, "cluster-node-timeout 2000"])
        };
        let nodes: Vec<Redis> = (0..3).map(|_| node()).collect();
        let mut create = client(Redis::USER);
        create
            .args(["--cluster", "create"])
            .args(nodes.iter().map(|node| node.address()))
            .arg("--cluster-yes");
        run(&mut create).unwrap_or_else(|error| panic!("redis-cli --cluster create: {error}"));
        for node in &nodes {
            wait_for("the cluster", || {
                let state = node.cli(&["cluster", "info"]);
                if state.contains("cluster_state:ok") { Ok(()) } else { Err(state) }
            });
        }
        Self { nodes }
    }

    /// What redis-cli prints for this command, sent to whichever node it belongs to.
    pub fn cli(&self, command: &[&str]) -> String {
        let mut cli = client(Redis::USER);
        cli.args(["-c", "-e", "--raw", "-p", &self.nodes[0].port.to_string()]).args(command);
        run(&mut cli).unwrap_or_else(|error| panic!("redis-cli -c: {error}\n{command:?}"))
    }
}

fn client((user, password): Login) -> Command {
    let mut cli = program("redis-cli");
    cli.env("REDISCLI_AUTH", password).args(["-h", "127.0.0.1", "--user", user, "--no-auth-warning"]);
    cli
}

fn configuration(port: u16, tls_port: u16, lines: &[String]) -> String {
    let quoted = |text: &str| {
        text.bytes().fold(String::new(), |mut quoted, byte| {
            write!(quoted, "\\x{byte:02x}").unwrap();
            quoted
        })
    };
    let (cert, key) = (&pki().server.cert.path, &pki().server.key.path);
    let mut text = format!(
        "bind 127.0.0.1\nport {port}\ntls-port {tls_port}\ndir .\nsave \"\"\nappendonly no\ndaemonize no\n\
         tls-cert-file {}\ntls-key-file {}\ntls-ca-cert-file {}\ntls-auth-clients optional\n\
         enable-debug-command yes\nrequirepass {}\nuser {} on >{} ~app:* &* +@all -@dangerous\n\
         user {} on \">{}\" ~* &* +@all\n",
        cert.display(),
        key.display(),
        pki().ca.path.display(),
        Redis::PASSWORD,
        Redis::LIMITED.0,
        Redis::LIMITED.1,
        ODD.0,
        quoted(ODD.1),
    );
    for line in lines {
        writeln!(text, "{line}").unwrap();
    }
    text
}
