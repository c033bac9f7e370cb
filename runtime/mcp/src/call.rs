//! A call of a tool, from its name to its result.
//!
//! | what is wrong | is told by |
//! |---|---|
//! | there is no such tool | a protocol error, with the nearest name |
//! | anything else: arguments, a denial, the other system | a result with `isError`, and code, message, hint and run (M5) |
//!
//! Invariant: a call that its client gave up is ended, and every rule of what may run is the runtime's: nothing here
//! decides it but which names there are.

use std::time::Duration;

use openact::{
    Door, Error, Execution, Request, Result, RunRecord, TraceContext, limits::MCP_CALL_WAIT, nearest,
};
use rmcp::{
    ErrorData, RoleServer,
    model::{CallToolRequestParams, CallToolResult, ContentBlock, MetaObject},
    service::RequestContext,
};
use serde_json::{Map, Value, json};
use tokio::sync::SemaphorePermit;

use crate::{
    McpCaller, Server, generic,
    names::{EXECUTE, SEARCH},
    progress::{Gathered, Stream},
    search,
};

/// The run, in the `_meta` of a result.
pub(crate) const META_RUN: &str = "openact/run_id";

/// In the `_meta` of a call, for tools that are actions: asked for again with it, the call is answered as it was and not run
/// again (A5).
const META_KEY: &str = "openact/idempotency_key";

/// What a client wants to have run.
pub(crate) struct Asked {
    /// Its TRN.
    pub(crate) action: String,
    pub(crate) input: Value,
    pub(crate) timeout: Option<Duration>,
    pub(crate) dry_run: bool,
    pub(crate) idempotency_key: Option<String>,
}

impl Server {
    /// Calls a tool.
    pub(crate) async fn call(
        &self,
        caller: &McpCaller,
        params: CallToolRequestParams,
        context: &RequestContext<RoleServer>,
    ) -> Result<CallToolResult, ErrorData> {
        // What goes on is counted, so that a server that ends can wait for it.
        let _goes_on = self.calls.token();
        let arguments = params.arguments.unwrap_or_default();
        let answer = self.answer(caller, &params.name, arguments, context);
        tokio::select! {
            answer = answer => answer,
            // Nobody reads this; what ran was dropped, and so ended.
            () = context.ct.cancelled() => Ok(failed(&Error::timeout("the client gave the call up"), None)),
        }
    }

    async fn answer(
        &self,
        caller: &McpCaller,
        name: &str,
        arguments: Map<String, Value>,
        context: &RequestContext<RoleServer>,
    ) -> Result<CallToolResult, ErrorData> {
        let tools = self.settings.tools;
        let asked = match name {
            EXECUTE if tools.has_execute() => generic::asked(self, caller, arguments).await,
            SEARCH if tools.has_search() => {
                let found = search::search(self, caller, arguments).await;
                return Ok(found.map_or_else(|error| failed(&error, None), CallToolResult::structured));
            }
            _ => match self.catalog.tools(&self.openact, &caller.tenant).await {
                Err(error) => Err(error),
                Ok(tools) => match tools.get(name).filter(|_| self.settings.tools.has_actions()) {
                    Some(interface) => Ok(Asked {
                        action: interface.action.to_string(),
                        input: Value::Object(arguments),
                        timeout: None,
                        dry_run: false,
                        idempotency_key: None,
                    }),
                    None => return Err(self.unknown(caller, name, tools.seen(&caller.governance))),
                },
            },
        };
        Ok(match asked {
            Ok(asked) => self.run(caller, asked, context).await,
            Err(error) => failed(&error, None),
        })
    }

    async fn run(
        &self,
        caller: &McpCaller,
        asked: Asked,
        context: &RequestContext<RoleServer>,
    ) -> CallToolResult {
        let _place = match self.place().await {
            Ok(place) => place,
            Err(error) => return failed(&error, None),
        };
        let key = match (asked.idempotency_key, context.meta.get(META_KEY)) {
            (None, Some(Value::String(key))) => Some(key.clone()),
            (None, Some(_)) => {
                return failed(&Error::invalid_input(format!("{META_KEY} of _meta must be a text")), None);
            }
            (key, _) => key,
        };
        // What is to be answered again as it was is no stream.
        let (items, stream) = match context.meta.get_progress_token().filter(|_| key.is_none()) {
            Some(token) => {
                let (items, stream) = Stream::new(context.peer.clone(), token);
                (Some(items), Some(stream))
            }
            None => (None, None),
        };
        let request = Request {
            timeout: asked.timeout,
            timeout_max: self.settings.timeout,
            dry_run: asked.dry_run,
            items,
            governance: caller.governance.clone(),
            trace: trace(context),
            idempotency_key: key,
            ..Request::new(Door::Mcp, caller.tenant.clone(), asked.action, asked.input)
        };
        let gathering = async {
            match stream {
                Some(stream) => stream.gather().await,
                None => Gathered::default(),
            }
        };
        let (execution, gathered) = tokio::join!(self.openact.execute(request), gathering);
        ended(execution, gathered)
    }

    /// A place among the calls that run at once.
    async fn place(&self) -> Result<SemaphorePermit<'_>> {
        match tokio::time::timeout(MCP_CALL_WAIT, self.places.acquire()).await {
            Ok(Ok(place)) => Ok(place),
            _ => Err(Error::overloaded(format!(
                "{} calls are running, which is as many as may run at once",
                self.settings.concurrency_max
            ))
            .hint("call again later, or start the server with a higher --max-concurrency")),
        }
    }

    fn unknown<'a>(
        &self,
        caller: &McpCaller,
        name: &str,
        seen: impl Iterator<Item = (&'a str, &'a openact::Interface)>,
    ) -> ErrorData {
        let tools = self.settings.tools;
        let mut names: Vec<&str> = seen.filter(|_| tools.has_actions()).map(|(name, _)| name).collect();
        names.extend(tools.has_execute().then_some(EXECUTE));
        names.extend(tools.has_search().then_some(SEARCH));
        let shown: String = name.chars().take(128).collect();
        let near = nearest(name, names);
        tracing::debug!(caller = caller.name, "unknown tool");
        let end = near.map_or_else(String::new, |near| format!("; did you mean '{near}'?"));
        ErrorData::invalid_params(
            format!("there is no tool '{}'{end}", shown.escape_debug()),
            near.map(|near| json!({ "nearest": near })),
        )
    }
}

/// The trace that the client began: in the message, else around it.
fn trace(context: &RequestContext<RoleServer>) -> Option<TraceContext> {
    let meta = &context.meta;
    match (meta.get_traceparent(), context.extensions.get::<::http::request::Parts>()) {
        (Some(parent), _) => TraceContext::parse(parent, meta.get_tracestate()),
        (None, Some(parts)) => TraceContext::of_headers(&parts.headers),
        (None, None) => None,
    }
}

fn ended(execution: Execution, gathered: Gathered) -> CallToolResult {
    let run = execution.run.as_deref();
    let result = match (gathered.failure(), execution.result) {
        (Some(error), _) | (None, Err(error)) => return failed(&error, run),
        (None, Ok(result)) => result,
    };
    let value = match result.value() {
        Ok(value) => value,
        Err(error) => return failed(&error, run),
    };
    let (text, value) = match gathered.is_empty() {
        // As the connector wrote it: a number may be longer than a value holds.
        true => (result.as_str().to_owned(), value),
        false => {
            let whole = gathered.whole(value);
            (whole.to_string(), whole)
        }
    };
    let mut answer = CallToolResult::success(vec![ContentBlock::text(text)]);
    answer.structured_content = Some(value);
    answer.meta = run.map(|run| {
        let mut meta = Map::new();
        meta.insert(META_RUN.into(), run.id.to_string().into());
        MetaObject(meta)
    });
    answer
}

/// A failure as its client's model reads it (M5).
pub(crate) fn failed(error: &Error, run: Option<&RunRecord>) -> CallToolResult {
    let mut text = format!("{}: {}", error.code, error.message);
    if let Some(hint) = &error.hint {
        text.push_str(&format!(" ({hint})"));
    }
    let mut told = Map::new();
    told.insert("error".into(), error.to_json());
    if let Some(run) = run {
        told.insert("run_id".into(), run.id.to_string().into());
    }
    let mut answer = CallToolResult::error(vec![ContentBlock::text(text)]);
    answer.structured_content = Some(Value::Object(told));
    answer
}
