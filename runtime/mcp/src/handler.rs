//! What a client asks, translated: one handler per connection, session or request, as the transport has it.
//!
//! Invariant: who calls is looked up in each request, never kept from an earlier one.

use std::sync::Arc;

use openact::Result;
use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CacheScope, CallToolRequestParams, CallToolResponse, Extensions, Implementation,
        ListResourceTemplatesResult, ListResourcesResult, ListToolsResult, PaginatedRequestParams,
        ReadResourceRequestParams, ReadResourceResponse, ServerCapabilities, ServerConfig,
        SubscriptionFilter, Tool,
    },
    service::{NotificationContext, RequestContext, SubscriptionContext},
};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    McpCaller, Server, ToolSet, generic,
    names::{EXECUTE, SEARCH},
    resources, search,
    tools::{self, Tools},
};

/// See the module.
pub(crate) struct Handler {
    server: Arc<Server>,
    /// Cancelled when the connection is gone: what watches for it ends.
    gone: CancellationToken,
    _gone: DropGuard,
}

impl Handler {
    pub(crate) fn new(server: Arc<Server>) -> Self {
        let gone = server.ending.child_token();
        Self { server, _gone: gone.clone().drop_guard(), gone }
    }

    fn caller(&self, extensions: &Extensions) -> Result<McpCaller, ErrorData> {
        let parts = extensions.get::<::http::request::Parts>();
        let told = parts.and_then(|parts| parts.extensions.get::<McpCaller>());
        told.or(self.server.settings.caller.as_ref())
            .cloned()
            .ok_or_else(|| ErrorData::invalid_request("who calls is not known", None))
    }
}

impl Server {
    /// The tools of the caller's tenant.
    pub(crate) async fn tools(&self, caller: &McpCaller) -> Result<Arc<Tools>, ErrorData> {
        let tools = self.catalog.tools(&self.openact, &caller.tenant).await;
        tools.map_err(|error| resources::internal(&error))
    }

    async fn list_tools(
        &self,
        caller: &McpCaller,
        cursor: Option<&str>,
    ) -> Result<(Vec<Tool>, Option<String>), ErrorData> {
        let tools = self.settings.tools;
        let mut all: Vec<(String, Tool)> = Vec::new();
        if tools.has_actions() {
            let of_tenant = self.tools(caller).await?;
            let seen = of_tenant.seen(&caller.governance);
            all.extend(seen.map(|(name, interface)| (name.to_owned(), tools::described(name, interface))));
        }
        all.extend(tools.has_execute().then(|| (EXECUTE.to_owned(), generic::tool())));
        all.extend(tools.has_search().then(|| (SEARCH.to_owned(), search::tool())));
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        tools::page(all.into_iter(), cursor)
    }
}

fn cursor(request: Option<PaginatedRequestParams>) -> Option<String> {
    request.and_then(|request| request.cursor)
}

impl ServerHandler for Handler {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_tools()
            .enable_tool_list_changed()
            .enable_resources()
            .enable_resources_list_changed()
            .build();
        let server = Implementation::new("openact", env!("CARGO_PKG_VERSION")).with_title("OpenAct");
        ServerConfig::new(capabilities)
            .with_server_info(server)
            .with_instructions(instructions(self.server.settings.tools))
    }

    async fn list_tools(
        &self,
        request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let caller = self.caller(&context.extensions)?;
        let (tools, next) = self.server.list_tools(&caller, cursor(request).as_deref()).await?;
        let mut listed =
            ListToolsResult::with_all_items(tools).with_ttl_ms(0).with_cache_scope(CacheScope::Private);
        listed.next_cursor = next;
        Ok(listed)
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let caller = self.caller(&context.extensions)?;
        self.server.call(&caller, request, &context).await.map(CallToolResponse::from)
    }

    async fn list_resources(
        &self,
        request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        let caller = self.caller(&context.extensions)?;
        let (resources, next) = resources::list(&self.server, &caller, cursor(request).as_deref()).await?;
        let listed = ListResourcesResult::with_all_items(resources);
        let mut listed = listed.with_ttl_ms(0).with_cache_scope(CacheScope::Private);
        listed.next_cursor = next;
        Ok(listed)
    }

    async fn list_resource_templates(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        Ok(ListResourceTemplatesResult::with_all_items(resources::templates()))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let caller = self.caller(&context.extensions)?;
        resources::read(&self.server, &caller, &request.uri).await.map(ReadResourceResponse::from)
    }

    fn accepted_subscription_filter(&self, _requested: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        Some(SubscriptionFilter::builder().tools_list_changed().resources_list_changed().build())
    }

    /// Changes of configuration, for clients of the newest protocol.
    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let mut changes = self.server.catalog.changes();
        let sink = context.sink();
        loop {
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return Ok(()) },
                () = context.cancelled() => return Ok(()),
                () = self.server.ending.cancelled() => return Ok(()),
            }
            let accepted = context.accepted();
            if accepted.tools_list_changed == Some(true) && sink.notify_tool_list_changed().await.is_err() {
                return Ok(());
            }
            if accepted.resources_list_changed == Some(true)
                && sink.notify_resource_list_changed().await.is_err()
            {
                return Ok(());
            }
        }
    }

    /// The same, for those of the earlier ones.
    async fn on_initialized(&self, context: NotificationContext<RoleServer>) {
        let (mut changes, gone) = (self.server.catalog.changes(), self.gone.clone());
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    changed = changes.changed() => if changed.is_err() { return },
                    () = gone.cancelled() => return,
                }
                let peer = &context.peer;
                let told = (peer.notify_tool_list_changed().await, peer.notify_resource_list_changed().await);
                if let (Err(error), _) | (_, Err(error)) = told {
                    tracing::debug!("the client is told of no more changes: {error}");
                    return;
                }
            }
        });
    }
}

fn instructions(tools: ToolSet) -> &'static str {
    match tools {
        ToolSet::Mixed => {
            "Each tool is an action of OpenAct: one call of another system. openact.execute runs the same actions by \
             connector, action and version. A failed call tells code, message and hint; what ran is in openact://runs/recent."
        }
        ToolSet::AOnly => {
            "openact.execute runs actions of OpenAct; which there are, and what they take, is in the resources \
             openact://actions/CONNECTOR/NAME. A failed call tells code, message and hint."
        }
        ToolSet::BOnly => {
            "Each tool is an action of OpenAct: one call of another system. A failed call tells code, message and hint; what \
             ran is in openact://runs/recent."
        }
        ToolSet::Search => {
            "openact.search finds actions of OpenAct by words and tells what they take; openact.execute runs one by its \
             action_trn. A failed call tells code, message and hint."
        }
    }
}
