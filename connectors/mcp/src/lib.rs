//! The `mcp` connector: servers of the Model Context Protocol, over Streamable HTTP.
//!
//! | module | job |
//! |---|---|
//! | [`config`] | the fields of a connection and of actions |
//! | `call` | a tool, a resource, a prompt |
//! | `list` | what the server has, page after page |
//! | [`tools`] | schemas of tools, kept between calls; names that are alike |
//! | [`schema`] | whether arguments fit |
//! | `session` | which version of the protocol, and the session |
//! | `client`, `hearing` | requests and their answers, and what the server says meanwhile |
//! | `exchange` | one message over HTTP |
//! | [`sse`], `message` | streams of events, and the messages in them |
//!
//! Credentials, retries, timeouts and where a connection may go are the host's. Invariant: a tool that an action names is
//! the only thing that a caller can make the server do; a caller sets its arguments and nothing else.

mod call;
mod client;
pub mod config;
mod exchange;
mod hearing;
mod list;
mod message;
pub mod schema;
mod session;
pub mod sse;
pub mod tools;

use openact_connector::{
    Call, Capability, Connector, Effect, Failure, Host, Input, Json, Manifest, Operation,
};
use serde_json::{Value, json};

use crate::{
    client::Client,
    config::{CallTool, Connection, GetPrompt, List, ReadResource, ToolResult},
};

/// What a check shows of tools' descriptions and schemas, bytes; more tools are shown by name.
const SHOWN_BYTES_MAX: usize = 256 * 1024;

/// The connector.
pub struct Mcp;

impl Connector for Mcp {
    type Connection = Connection;

    fn manifest() -> Manifest<Connection> {
        fn listing(name: &'static str, summary: &'static str, kind: list::Kind) -> Operation<Connection> {
            let run = move |call: Call<Connection, List, Input>, host: &dyn Host| list::run(kind, call, host);
            Operation::new(name, summary, run).effect(Effect::Read).idempotent()
        }
        let resource = Operation::<Connection>::new::<ReadResource, Input>(
            "read-resource",
            "read a resource of the server",
            call::resource,
        );
        let prompt = Operation::<Connection>::new::<GetPrompt, Input>(
            "get-prompt",
            "get a prompt of the server",
            call::prompt,
        );
        let tool = Operation::<Connection>::new::<CallTool, Input>(
            "call-tool",
            "call a tool of the server",
            call::tool,
        );
        Manifest::new("mcp", env!("CARGO_PKG_VERSION"), "MCP servers")
            .needs(&[Capability::Http, Capability::State, Capability::Emit])
            .operation(tool.output::<ToolResult>())
            .operation(listing("list-tools", "the tools that the server has", list::TOOLS))
            .operation(resource.effect(Effect::Read).idempotent())
            .operation(listing("list-resources", "the resources that the server has", list::RESOURCES))
            .operation(prompt.effect(Effect::Read).idempotent())
            .operation(listing("list-prompts", "the prompts that the server has", list::PROMPTS))
    }

    /// Begins anew with the server, and keeps its tools' schemas for the calls that follow.
    fn check(connection: Connection, host: &dyn Host) -> Result<Json, Failure> {
        let client = Client::new(&connection, host, "check".into(), false)?;
        let (server, protocol) = client.introduce()?;
        let (mut shown, mut bytes) = (Vec::new(), 0);
        for tool in tools::fetch(&client)? {
            let mut entry = json!({"name": tool.name});
            let more = tool.description.as_ref().map_or(0, String::len)
                + tool.input_schema.as_ref().map_or(0, |schema| schema.to_string().len());
            bytes += more;
            if let (Value::Object(entry), true) = (&mut entry, bytes <= SHOWN_BYTES_MAX) {
                entry.extend(tool.description.map(|text| ("description".to_owned(), Value::from(text))));
                entry.extend(tool.input_schema.map(|schema| ("input_schema".to_owned(), schema)));
            }
            shown.push(entry);
        }
        Ok(json!({"url": connection.url, "server": server, "protocol": protocol, "tools": shown}).into())
    }
}

openact_connector::export!(Mcp);
