//! Actions as tools of a Model Context Protocol server, over stdio and over Streamable HTTP.
//!
//! Read in this order: [`McpSettings`] (what is offered, to whom), `handler` (what a client asks), `tools` and `names`
//! (which tools there are, and what they are called), `call` (a call of one), `generic` and `search` (tools for actions that
//! are no tool of their own), `progress` (streams), `resources`; `http` and `stdio` (the two transports).
//! Invariant: a client runs what its caller may run and sees what it may see, by every path; nothing here changes
//! configuration.

mod call;
mod generic;
mod handler;
mod http;
mod names;
mod progress;
mod resources;
mod search;
mod stdio;
mod tools;

use std::{sync::Arc, time::Duration};

use openact::{Governance, OpenAct, Tenant, limits::MCP_CALLS_MAX};
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use crate::{http::McpService, stdio::serve_stdio};

/// What a server offers, and to whom.
#[derive(Clone, Debug)]
pub struct McpSettings {
    /// Who calls, where the request does not carry an [`McpCaller`]; none: such a request is refused.
    pub caller: Option<McpCaller>,
    /// Which tools there are.
    pub tools: ToolSet,
    /// Calls that run at once; further ones wait a while.
    pub concurrency_max: usize,
    /// The longest that a call may take, whatever its action says.
    pub timeout: Option<Duration>,
    /// Over HTTP: whether requests are refused that name another host than this machine, or come from a page (`Origin`). To
    /// be turned off only where what this is mounted in does that.
    pub loopback_only: bool,
}

impl McpSettings {
    /// Every tool, for `caller`.
    pub fn new(caller: Option<McpCaller>) -> Self {
        Self {
            caller,
            tools: ToolSet::default(),
            concurrency_max: MCP_CALLS_MAX,
            timeout: None,
            loopback_only: true,
        }
    }
}

/// Which tools there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ToolSet {
    /// One per action, and `openact.execute`.
    #[default]
    Mixed,
    /// `openact.execute` alone.
    AOnly,
    /// One per action, without `openact.execute`.
    BOnly,
    /// `openact.search` and `openact.execute`: for more actions than a model should be shown at once.
    Search,
}

impl ToolSet {
    /// Whether each action is a tool.
    pub(crate) fn has_actions(self) -> bool {
        matches!(self, Self::Mixed | Self::BOnly)
    }

    /// Whether there is `openact.execute`.
    pub(crate) fn has_execute(self) -> bool {
        self != Self::BOnly
    }

    /// Whether there is `openact.search`.
    pub(crate) fn has_search(self) -> bool {
        self == Self::Search
    }
}

/// Who calls. A server that knows its callers puts one into the extensions of each HTTP request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct McpCaller {
    /// Whoever it is; a session is of the one who opened it.
    pub name: String,
    /// Whose actions.
    pub tenant: Tenant,
    /// What the caller may see and run.
    pub governance: Arc<Governance>,
}

/// The MCP server over HTTP, a tower service: Streamable HTTP, of the protocol 2026-07-28 without sessions, of the earlier
/// ones with.
pub fn service(openact: OpenAct, settings: McpSettings) -> McpService {
    McpService::new(Server::new(openact, settings))
}

/// What every connection to one server shares.
pub(crate) struct Server {
    pub(crate) openact: OpenAct,
    pub(crate) settings: McpSettings,
    pub(crate) catalog: tools::Catalog,
    /// A permit per call that may run at once.
    pub(crate) places: Semaphore,
    /// Calls that go on.
    pub(crate) calls: TaskTracker,
    /// Cancelled when the server is to end: what waits for changes stops waiting.
    pub(crate) ending: CancellationToken,
}

impl Server {
    pub(crate) fn new(openact: OpenAct, settings: McpSettings) -> Arc<Self> {
        Arc::new(Self {
            catalog: tools::Catalog::new(&openact),
            places: Semaphore::new(settings.concurrency_max.clamp(1, Semaphore::MAX_PERMITS)),
            calls: TaskTracker::new(),
            ending: CancellationToken::new(),
            openact,
            settings,
        })
    }
}
