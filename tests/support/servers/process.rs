//! Starting a server, waiting until it answers, ending it.
//!
//! Invariant: a server ends with its [`Process`], and with this process however that ends: `keep.py` runs it for as long
//! as its standard input, held here, is open.

use std::{
    fs::{self, File},
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    time::{Duration, Instant},
};

use super::{own, python_bin};

const START_MAX: Duration = Duration::from_secs(30);
const POLL_EVERY: Duration = Duration::from_millis(10);

/// A running server.
pub(crate) struct Process {
    keeper: Child,
    stdin: Option<ChildStdin>,
}

/// How a server ends that leaves its folder.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Leave {
    /// In order.
    Stopped,
    /// At once.
    Killed,
}

/// What a server needs to know to be started.
pub(crate) struct Start<'a> {
    /// Removed when it ends.
    pub(crate) folder: &'a Path,
    pub(crate) port: u16,
}

impl Process {
    /// Starts `command` of a server called `name` in a folder of its own, and waits until `ready`.
    ///
    /// The command is made for a free port. Another process may take that in between; then it is tried again.
    pub(crate) fn start(
        name: &str,
        command: impl Fn(&Start<'_>) -> Command,
        ready: impl Fn(&Start<'_>) -> bool,
    ) -> (Self, PathBuf, u16) {
        let mut last = String::new();
        for _ in 0..5 {
            let port = free_port();
            let folder = tempfile::Builder::new().prefix("openact-server-").tempdir().unwrap().keep();
            let start = Start { folder: &folder, port };
            match Self::start_in(&folder, &command(&start), || ready(&start)) {
                Ok(process) => return (process, folder, port),
                Err(log) => {
                    let _ = fs::remove_dir_all(&folder);
                    last = log;
                }
            }
        }
        panic!("the server {name} does not start; its last words: {last}");
    }

    /// Starts `command` in that folder, and waits until `ready`; its log if it does not start.
    pub(crate) fn start_in(
        folder: &Path,
        command: &Command,
        ready: impl Fn() -> bool,
    ) -> Result<Self, String> {
        let mut process = Self::run(folder, command);
        match process.wait(folder, ready) {
            Ok(()) => Ok(process),
            Err(log) => {
                process.leave(Leave::Stopped);
                Err(log)
            }
        }
    }

    /// Runs `command` in that folder to its end, for which it has as long as a server to start; its output if it failed.
    pub(crate) fn complete(folder: &Path, command: &Command) -> Result<(), String> {
        let process = Self::run(folder, command);
        let log = || fs::read_to_string(folder.join("log")).unwrap_or_default();
        let ended = |log: String| log.contains("the server ended with");
        let started = Instant::now();
        while !ended(log()) && started.elapsed() < START_MAX {
            std::thread::sleep(POLL_EVERY);
        }
        process.leave(Leave::Killed);
        let log = log();
        if log.ends_with("the server ended with 0\n") { Ok(()) } else { Err(log) }
    }

    /// Ends the server, but not its folder, so that it can be started there again.
    pub(crate) fn leave(mut self, how: Leave) {
        let word = match how {
            Leave::Stopped => b"stop",
            Leave::Killed => b"kill",
        };
        // A keeper that is gone has ended its server.
        let _ = self.stdin.as_mut().map(|stdin| stdin.write_all(word));
    }

    fn run(folder: &Path, command: &Command) -> Self {
        let log = File::create(folder.join("log")).unwrap();
        let mut keeper = Command::new(python_bin());
        keeper.arg(own("keep.py")).arg(folder).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => keeper.env(name, value),
                None => keeper.env_remove(name),
            };
        }
        keeper.stdin(Stdio::piped()).stderr(log.try_clone().unwrap()).stdout(log);
        let mut keeper = keeper.current_dir(folder).spawn().expect("Python starts");
        let stdin = keeper.stdin.take();
        Self { keeper, stdin }
    }

    /// Polls until it is ready; its log if it ended or took too long instead.
    fn wait(&mut self, folder: &Path, ready: impl Fn() -> bool) -> Result<(), String> {
        let log = || fs::read_to_string(folder.join("log")).unwrap_or_default();
        let started = Instant::now();
        loop {
            // Before and after: what answers on its port may be somebody else's.
            let is_ready = ready();
            if log().contains("the server ended with") || started.elapsed() > START_MAX {
                return Err(log());
            }
            if is_ready {
                return Ok(());
            }
            std::thread::sleep(POLL_EVERY);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// A port below those that the system gives to who asks for any, so that no other test takes it meanwhile.
pub(crate) fn free_port() -> u16 {
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 12_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = (std::process::id() % u32::from(COUNT)) as u16;
    for _ in 0..COUNT {
        let port = FIRST + (start + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT) % COUNT;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port between {FIRST} and {} is free", FIRST + COUNT);
}

/// Whether something accepts connections there.
pub(crate) fn listens(port: u16) -> bool {
    TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], port)), Duration::from_secs(1)).is_ok()
}

/// Whether a GET is answered with 200.
pub(crate) fn answers(port: u16, path: &str) -> bool {
    let ask = || -> std::io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.write_all(
            format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n").as_bytes(),
        )?;
        let mut start = vec![0; b"HTTP/1.1 200".len()];
        stream.read_exact(&mut start)?;
        Ok(start)
    };
    ask().is_ok_and(|start| start == b"HTTP/1.1 200")
}
