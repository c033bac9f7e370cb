//! `openact mcp`: actions as tools of an MCP client, which starts this command and talks to it over standard input and
//! output.
//!
//! Invariant: nothing is written to standard output but the protocol; what there is to say goes to standard error.

use std::{sync::Arc, time::Duration};

use openact::{Error, Governance, OpenAct, Result, Tenant};
use openact_mcp::{McpCaller, McpSettings, ToolSet, serve_stdio};

use crate::{
    app::{self, App},
    args,
    commands::run,
    output::Output,
};

pub(crate) async fn mcp(app: &App, args: args::Mcp) -> Result<Output> {
    let openact = opened(app, &args).await?;
    let caller = McpCaller {
        name: "stdio".to_owned(),
        tenant: app.settings.tenant.clone(),
        governance: Arc::new(Governance { allow: args.allow, deny: args.deny }),
    };
    let settings = McpSettings {
        tools: tool_set(args.tools),
        concurrency_max: args.max_concurrency as usize,
        timeout: args.timeout_secs.map(Duration::from_secs),
        ..McpSettings::new(Some(caller))
    };
    let stop = async {
        app::interrupted().await;
    };
    serve_stdio(openact.clone(), settings, stop).await?;
    Ok(Output::Nothing)
}

pub(crate) fn tool_set(tools: args::Tools) -> ToolSet {
    match tools {
        args::Tools::Mixed => ToolSet::Mixed,
        args::Tools::AOnly => ToolSet::AOnly,
        args::Tools::BOnly => ToolSet::BOnly,
        args::Tools::Search => ToolSet::Search,
    }
}

async fn opened<'a>(app: &'a App, args: &args::Mcp) -> Result<&'a OpenAct> {
    let source = &args.source;
    // Files that are followed are the default tenant's.
    let is_followed = source.config_json.is_none() && app.settings.tenant == Tenant::default();
    if !is_followed && (source.config_json.is_some() || !source.config.is_empty()) {
        return run::opened(app, source, &args.connector).await;
    }
    if source.config.is_empty() && !args.connector.is_empty() {
        return Err(Error::invalid_input("--connector goes with --config or --config-json")
            .hint("with a database, install it once: openact connector install FILE"));
    }
    app.following(&source.config, &args.connector, args.max_concurrency).await
}
