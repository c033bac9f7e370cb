//! MCP servers of other people's making: the reference server of npm, whose protocol has sessions, and one of the official
//! Python SDK, which speaks 2026-07-28 too.
//!
//! Invariant: sessions of a server end with it, so that one that was stopped and started again knows none.

use std::{process::Command, sync::OnceLock};

use super::{brought, needed, node_bin, own, process::answers, python_bin};
use crate::{databases::Server, servers::process::listens};

/// A server of its own that can be stopped and started.
pub struct Mcp {
    /// `http://127.0.0.1:PORT/mcp`
    pub url: String,
    server: Server,
}

impl Mcp {
    /// What the Python server wants as a bearer token.
    pub const TOKEN: &str = "canary-mcp-6uF2token";

    /// The npm package `@modelcontextprotocol/server-everything`.
    pub fn everything() -> Self {
        Self::of(Server::new(
            "server-everything",
            |_| {},
            |start| {
                let node_packages = needed(brought().join("node/node_modules"));
                let folder = node_packages.parent().unwrap().to_owned();
                let port = start.port.to_string();
                move || {
                    let mut command = Command::new(node_bin());
                    command.arg(own("everything.mjs")).arg(&folder).arg(&port);
                    command
                }
            },
            |port| move || listens(port),
        ))
    }

    /// The one of the Python SDK, `tests/servers/mcp_tools.py`.
    pub fn python() -> Self {
        Self::of(Server::new(
            "mcp_tools",
            |_| {},
            |start| {
                let port = start.port.to_string();
                move || {
                    let mut command = Command::new(python_bin());
                    command.arg(own("mcp_tools.py")).args([&port, Self::TOKEN]);
                    command
                }
            },
            |port| move || answers(port, "/seen"),
        ))
    }

    /// Ends it, and its sessions, and starts it again.
    pub fn restart(&self) {
        self.server.kill();
        self.server.start();
    }

    fn of(server: Server) -> Self {
        Self { url: format!("http://{}/mcp", server.address()), server }
    }
}

/// The npm package's server of this process.
pub fn mcp_everything() -> &'static Mcp {
    static STARTED: OnceLock<Mcp> = OnceLock::new();
    STARTED.get_or_init(Mcp::everything)
}

/// The Python SDK's server of this process.
pub fn mcp_python() -> &'static Mcp {
    static STARTED: OnceLock<Mcp> = OnceLock::new();
    STARTED.get_or_init(Mcp::python)
}
