//! B9, B11, B12: the server. What REST adds to an embedded call, how soon it is ready, what it holds while nobody calls.
//!
//! Invariant: for B9 both sides run the same action of one runtime in this process, so that REST alone is between them; for
//! B11 and B12 the server is the command as people start it, with its connectors compiled by an earlier start.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use openact::{Format, MasterKey, OpenAct};
use openact_server::{Listener, ServerSettings};
use serde_json::json;
use support::command::openact;

use crate::{
    figure::{Budget, Compare, Figure, Outcome},
    http,
    rounds::{Caller, Effort, saturate},
};

/// Calls in flight for B9.
const TASKS: usize = 32;

/// B9: calls a second through REST, and by the runtime itself.
pub(crate) async fn throughput(effort: Effort) -> Result<Figure> {
    let upstream = http::upstream().await;
    let folder = tempfile::tempdir()?;
    let openact = support::builder(folder.path(), &[("BASE_URL", &upstream.url()), ("TOKEN", http::TOKEN)])
        .master_key(MasterKey::ephemeral()?)
        .config_text(http::CONFIG, Format::Yaml)
        .build()
        .await?;
    let listener = Listener::bind("127.0.0.1:0").await?;
    let url = format!(
        "http://{}/api/v1/actions/{}/execute?version=1",
        listener.address()?,
        http::ACTION.replace('/', ".")
    );
    let server =
        openact_server::serve(listener, openact.clone(), ServerSettings::default(), std::future::pending());
    let server = tokio::spawn(server);
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build()?;
    let mut rest: Vec<_> = (0..TASKS).map(|_| over_rest(client.clone(), url.clone())).collect();
    let mut alone: Vec<_> = (0..TASKS).map(|_| embedded(openact.clone())).collect();
    let mut rounds = Vec::new();
    for _ in 0..effort.rounds {
        let through_rest = saturate(effort.turn, rest).await?;
        let embedded = saturate(effort.turn, alone).await?;
        rounds.push((through_rest.per_second(), embedded.per_second()));
        (rest, alone) = (through_rest.callers, embedded.callers);
    }
    server.abort();
    openact.close().await?;
    Ok(Figure {
        id: "B9",
        what: "throughput of an HTTP GET through REST, 32 tasks, against embedded",
        unit: "/s",
        rounds,
        compare: Compare::Ratio,
        budget: Budget::AtLeast(0.60, None),
        note: String::new(),
    })
}

fn over_rest(client: reqwest::Client, url: String) -> impl Caller {
    move || {
        let request = client.post(&url).header("content-type", "application/json").body("{\"input\":{}}");
        async move {
            let response = request.send().await?;
            ensure!(response.status() == 200, "the server answers {}", response.status());
            ensure!(response.bytes().await?.len() > http::BODY.len(), "the answer is short");
            Ok(())
        }
    }
}

fn embedded(openact: OpenAct) -> impl Caller {
    move || {
        let openact = openact.clone();
        async move {
            let outcome = openact.run(http::ACTION, json!({})).await?;
            ensure!(outcome.result.as_str().len() > http::BODY.len(), "the result is short");
            Ok(())
        }
    }
}

/// B11: from starting the process to the first answer that says it is ready; Node.js answers its first request.
pub(crate) async fn ready(effort: Effort) -> Result<Outcome> {
    const ID: &str = "B11";
    const WHAT: &str = "`openact serve` from start to ready, against a server of Node.js";
    if Command::new("node").arg("--version").output().is_err() {
        return Ok(Outcome::Skipped { id: ID, what: WHAT, why: "no node".into() });
    }
    let rounds = tokio::task::spawn_blocking(move || -> Result<_> {
        let home = tempfile::tempdir()?;
        // Compiles the connectors.
        Server::start(ours(home.path()), "/ready")?;
        let mut rounds = Vec::new();
        for _ in 0..effort.rounds {
            let (ours, node) = (Server::start(ours(home.path()), "/ready")?, Server::start(node, "/")?);
            rounds.push((ours.ready_after, node.ready_after));
        }
        Ok(rounds)
    });
    Ok(Outcome::Measured(Figure {
        id: ID,
        what: WHAT,
        unit: "ms",
        rounds: rounds.await??,
        compare: Compare::Ratio,
        budget: Budget::AtMost(3.0, Some(1.0)),
        note: String::new(),
    }))
}

/// B12: resident memory of a server that is ready and idle.
pub(crate) async fn idle(effort: Effort) -> Result<Figure> {
    let rounds = tokio::task::spawn_blocking(move || -> Result<_> {
        let home = tempfile::tempdir()?;
        Server::start(ours(home.path()), "/ready")?;
        let mut rounds = Vec::new();
        for _ in 0..effort.rounds.min(3) {
            let server = Server::start(ours(home.path()), "/ready")?;
            rounds.push((server.resident_mib()?, f64::NAN));
        }
        Ok(rounds)
    });
    Ok(Figure {
        id: "B12",
        what: "resident memory of `openact serve`, idle",
        unit: "MiB",
        rounds: rounds.await??,
        compare: Compare::Ours,
        budget: Budget::AtMost(80.0, Some(40.0)),
        note: String::new(),
    })
}

fn ours(home: &Path) -> impl Fn(SocketAddr) -> Command {
    let home = home.to_owned();
    move |address| {
        let mut command = openact(&home);
        command.args(["serve", "--addr", &address.to_string()]);
        command
    }
}

fn node(address: SocketAddr) -> Command {
    let mut command = Command::new("node");
    let program = format!(
        "require('http').createServer((_, answer) => answer.end('hello')).listen({}, '127.0.0.1')",
        address.port()
    );
    command.args(["-e", &program]);
    command
}

/// A process that serves; ended when it is dropped.
struct Server {
    child: Child,
    /// Milliseconds.
    ready_after: f64,
}

impl Server {
    fn start(command: impl Fn(SocketAddr) -> Command, path: &str) -> Result<Self> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        // Making the first one builds the program.
        let mut command = command(address);
        let started = Instant::now();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let mut server = Self { child, ready_after: 0.0 };
        while !answers(address, path) {
            ensure!(server.child.try_wait()?.is_none(), "the server ended before it was ready");
            ensure!(
                started.elapsed() < Duration::from_secs(120),
                "the server is not ready after two minutes"
            );
            std::thread::sleep(Duration::from_micros(500));
        }
        server.ready_after = started.elapsed().as_secs_f64() * 1e3;
        Ok(server)
    }

    fn resident_mib(&self) -> Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))
            .context("memory is read from /proc")?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("status has no VmRSS")?;
        let kib: f64 = line.split_whitespace().nth(1).context("VmRSS has no value")?.parse()?;
        Ok(kib / 1024.0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether a GET of `path` is answered with 200.
fn answers(address: SocketAddr, path: &str) -> bool {
    let asked = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(address)?;
        write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    asked().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}
