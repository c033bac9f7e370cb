//! Real database servers, and the ordinary clients to look into them. Each is started when a test first asks for it and
//! shared by the tests of the process; `Postgres::own(&[…])` and the like start another, for who stops it or sets it up
//! otherwise.
//!
//! | | what | client |
//! |---|---|---|
//! | [`postgres`] | PostgreSQL | psql |
//! | [`mariadb`] | MariaDB | mariadb |
//! | [`mysql`] | MySQL 9, of Debian's unstable: there, or the test says that it is skipped | mysql |
//! | [`redis`], [`redis_cluster`] | Redis; three of them in a cluster | redis-cli |
//! | [`mongodb`] | MongoDB, a replica set of one | pymongo |
//!
//! All speak TLS, as the server of [`crate::ca::pki`], and plain text. `USER` is who may do what an application does.
//!
//! Invariant: they listen on 127.0.0.1 alone and end with this process, however it ends; no password is anywhere but in
//! the server it is for.

mod mongodb;
mod mysql;
mod postgres;
mod redis;

use std::{
    fmt,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

pub use mongodb::{Mongodb, mongodb};
pub use mysql::{Mysql, mariadb, mysql};
pub use postgres::{Postgres, postgres};
pub use redis::{Redis, RedisCluster, redis, redis_cluster};

use crate::servers::process::{Leave, Process, Start, free_port};

/// User and password.
pub type Login = (&'static str, &'static str);

/// User and password that every server has, of what an encoding or a quotation could spoil. The password is not its own
/// normal form: SASLprep makes `IX` of its `Ⅸ`.
pub const ODD: Login = ("odd=user,x", "p:@/%+ é\u{2168}'\"\\ $&#;");

/// How a client is to connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// TLS, with the server's certificate verified.
    Tls,
    /// Plain text.
    Plain,
}

/// What the databases have in common: a server that can be stopped, and started again on the same port with what it kept.
pub struct Server {
    name: &'static str,
    /// For plain text, and for TLS too but with Redis.
    pub port: u16,
    /// Where it keeps everything.
    pub folder: PathBuf,
    command: Box<dyn Fn() -> Command + Send + Sync>,
    ready: Box<dyn Fn() -> bool + Send + Sync>,
    running: Mutex<Option<Process>>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(self.name).field("port", &self.port).finish_non_exhaustive()
    }
}

impl Server {
    /// `127.0.0.1:PORT`
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Ends it in order: clients are disconnected, what was committed is kept.
    pub fn stop(&self) {
        self.leave(Leave::Stopped);
    }

    /// Ends it at once, as a power failure would.
    pub fn kill(&self) {
        self.leave(Leave::Killed);
    }

    /// Starts it again on its port, and waits until it answers.
    pub fn start(&self) {
        let mut running = self.running.lock().unwrap();
        assert!(running.is_none(), "{} runs already", self.name);
        // What is left of a killed one may hold its lock or port for a moment.
        let process = wait_for(self.name, || Process::start_in(&self.folder, &(self.command)(), &self.ready));
        *running = Some(process);
    }

    fn leave(&self, how: Leave) {
        let process = self.running.lock().unwrap().take();
        process.unwrap_or_else(|| panic!("{} does not run", self.name)).leave(how);
    }

    /// Starts `command`, made once for a port and folder, both of which it keeps; `prepare` first fills the folder.
    pub(crate) fn new<C, R>(
        name: &'static str,
        prepare: impl Fn(&Path),
        command: impl Fn(&Start<'_>) -> C,
        ready: impl Fn(u16) -> R,
    ) -> Self
    where
        C: Fn() -> Command + Send + Sync + 'static,
        R: Fn() -> bool + Send + Sync + 'static,
    {
        let mut last = String::new();
        // Another process may take the port before the server does.
        for _ in 0..5 {
            let folder = tempfile::Builder::new().prefix("openact-database-").tempdir().unwrap();
            prepare(folder.path());
            let folder = folder.keep();
            let port = free_port();
            let (command, ready) = (command(&Start { folder: &folder, port }), ready(port));
            match Process::start_in(&folder, &command(), &ready) {
                Ok(process) => {
                    let (command, ready) = (Box::new(command), Box::new(ready));
                    return Self { name, port, folder, command, ready, running: Mutex::new(Some(process)) };
                }
                Err(log) => {
                    let _ = std::fs::remove_dir_all(&folder);
                    last = log;
                }
            }
        }
        panic!("the server {name} does not start; its last words: {last}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let running = self.running.get_mut().unwrap_or_else(|poisoned| poisoned.into_inner());
        // A process that runs removes the folder itself.
        if running.take().is_none() {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}

/// A name that no other test has: `t_…` and small letters, for a database, table, or key.
pub fn fresh_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("t_{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// What a client printed, or what it complained of.
fn run(command: &mut Command) -> Result<String, String> {
    let output = command.stdin(std::process::Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{:?} does not start: {error}", command.get_program()));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(text(&output.stderr) + &text(&output.stdout))
    }
}

/// Asks until there is an answer.
fn wait_for<T>(what: &str, ask: impl Fn() -> Result<T, String>) -> T {
    let started = Instant::now();
    loop {
        match ask() {
            Ok(answer) => return answer,
            Err(error) => assert!(started.elapsed() < Duration::from_secs(30), "{what}: {error}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}
