//! `openact serve`: actions over HTTP, by REST and, with `--mcp`, by MCP.
//!
//! Invariants: what cannot work is refused at the start, but for a store that is down, which may come back; standard error says
//! where it listens and whom it will refuse.

use std::{sync::Arc, time::Duration};

use openact::{Builder, Door, Error, ErrorCode, Governance, OpenAct, Result, limits};
use openact_server::{Inline, Listener, McpDoor, ServerSettings, Slot};
use tokio::sync::oneshot;

use crate::{
    app::{self, App},
    args,
    commands::mcp::tool_set,
    output::{self, Output},
};

pub(crate) async fn serve(app: &App, args: args::Serve) -> Result<Output> {
    let listener = Listener::bind(&args.addr).await?;
    let is_loopback = listener.address()?.ip().is_loopback();
    let slot = Slot::default();
    let settings = settings(&args, is_loopback);
    let (stop, stopped) = oneshot::channel::<()>();
    let (address, serving_slot) = (listener.address()?, slot.clone());
    let serving = openact_server::serve(listener, serving_slot, settings.clone(), async {
        tokio::select! {
            _ = app::interrupted() => {}
            // What opens the store found that there is nothing to serve.
            _ = stopped => {}
        }
    });
    say(app, &greeting(&address.to_string(), &args, &settings, is_loopback));
    let opening = async {
        let openact = open(app, &args, &slot).await?;
        refuse_open_door(&openact, is_loopback).await?;
        refuse_missing_key(&openact).await?;
        slot.fill(openact);
        say(app, "ready");
        Ok::<(), Error>(())
    };
    let mut serving = std::pin::pin!(serving);
    let opened = tokio::select! {
        ended = &mut serving => return ended.map(|()| Output::Nothing),
        opened = opening => opened,
    };
    if let Err(error) = opened {
        drop(stop);
        serving.await?;
        return Err(error);
    }
    tokio::select! {
        ended = &mut serving => ended?,
        // Whoever asks twice does not want to wait for calls in flight.
        () = asked_twice() => {}
    }
    drop(stop);
    if let Ok(openact) = slot.get() {
        // Runs that nobody waits for end as calls do.
        if tokio::time::timeout(limits::SERVER_GRACE, openact.finish_runs()).await.is_err() {
            tracing::warn!(
                "runs that took longer than {} s to end were stopped",
                limits::SERVER_GRACE.as_secs()
            );
        }
        openact.close().await?;
    }
    Ok(Output::Nothing)
}

fn say(app: &App, text: &str) {
    if !app.settings.quiet {
        output::to_stderr(&format!("{text}\n"));
    }
}

async fn asked_twice() {
    app::interrupted().await;
    app::interrupted().await;
}

fn settings(args: &args::Serve, is_loopback: bool) -> ServerSettings {
    ServerSettings {
        open_without_tokens: is_loopback,
        hosts: args.host.clone(),
        public_url: args.public_url.clone(),
        cors_origins: args.cors_origin.clone(),
        governance: Arc::new(Governance { allow: args.allow.clone(), deny: args.deny.clone() }),
        timeout_max: args.timeout_secs.map(Duration::from_secs),
        mcp: args.mcp.then(|| McpDoor { tools: tool_set(args.tools) }),
        inline: Some(inline(args)),
        ..ServerSettings::default()
    }
}

/// What is tried out reaches what the server's own connections may reach.
fn inline(args: &args::Serve) -> Inline {
    let (rules, connectors) = (args.allow_private.clone(), args.connector.clone());
    Inline::new(move || {
        let builder = OpenAct::builder().door(Door::Rest).allow_private_only(rules.clone());
        connectors.iter().fold(builder, |builder, path| builder.connector_file(path))
    })
}

/// Opens the store, as often as it takes. What is wrong with the configuration is an error at once.
async fn open(app: &App, args: &args::Serve, slot: &Slot) -> Result<OpenAct> {
    let mut is_told = false;
    loop {
        let error = match builder(app, args)?.build().await {
            Ok(openact) => return Ok(openact),
            Err(error) if error.code == ErrorCode::StoreUnavailable => error,
            Err(error) => return Err(error),
        };
        slot.failed(&error);
        if !is_told {
            is_told = true;
            say(app, &format!("not ready, and refusing calls: {error}"));
        }
        tokio::time::sleep(limits::STORE_RETRY).await;
    }
}

fn builder(app: &App, args: &args::Serve) -> Result<Builder> {
    let mut builder = OpenAct::builder()
        .store(app.settings.store()?)
        .door(Door::Rest)
        .allow_private_only(args.allow_private.clone());
    if let (Some(issuer), Some(audience)) = (&args.oidc_issuer, &args.oidc_audience) {
        builder = builder.oidc(issuer, audience);
    }
    builder = args.connector.iter().fold(builder, |builder, path| builder.connector_file(path));
    Ok(app.traced(args.config.iter().fold(builder, |builder, path| builder.config_file(path))))
}

/// A server that others can reach and that knows nobody would be everybody's.
async fn refuse_open_door(openact: &OpenAct, is_loopback: bool) -> Result<()> {
    if is_loopback || openact.wants_tokens().await? {
        return Ok(());
    }
    Err(Error::invalid_config(
        "other machines can reach this address, and there is no token to tell callers by",
    )
    .hint("make one: openact token create NAME; or name an issuer of tokens: --oidc-issuer; or listen on 127.0.0.1"))
}

/// Calls would fail one by one, each when it first needs a secret.
async fn refuse_missing_key(openact: &OpenAct) -> Result<()> {
    let status = openact.key_status().await?;
    let needed = status.versions.iter().find(|key| !key.available && key.records() > 0);
    match needed {
        None => Ok(()),
        Some(key) => Err(Error::store_unavailable(format!(
            "records are sealed with the master key {}, which is not here",
            key.id
        ))
        .with_retryable(false)
        .hint("give it back: OPENACT_MASTER_KEY, or the key file; see: openact key status")),
    }
}

fn greeting(address: &str, args: &args::Serve, settings: &ServerSettings, is_loopback: bool) -> String {
    let mut lines =
        vec![format!("listening on http://{address}  REST /api/v1, pages /docs, metrics /metrics")];
    if args.mcp {
        lines.push(format!("MCP    http://{address}/mcp"));
    }
    lines.push(match (&args.oidc_issuer, is_loopback) {
        (Some(issuer), _) => format!("callers: by token of {issuer}, or of this server (openact token)"),
        (None, true) => {
            "callers: without a token while there is none, from this machine; else by token (openact token)"
                .into()
        }
        (None, false) => "callers: by token (openact token)".to_owned(),
    });
    lines.push(match args.allow_private.as_slice() {
        [] => "refused: private addresses (--allow-private RULE)".to_owned(),
        rules => {
            let rules: Vec<String> = rules.iter().map(ToString::to_string).collect();
            format!("refused: private addresses but {}", rules.join(", "))
        }
    });
    let listed = |patterns: &[openact::Pattern]| {
        patterns.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    };
    let governance = &settings.governance;
    if !governance.allow.is_empty() {
        lines.push(format!("refused: actions but {}", listed(&governance.allow)));
    }
    if !governance.deny.is_empty() {
        lines.push(format!("refused: actions {}", listed(&governance.deny)));
    }
    lines.push(match settings.cors_origins.as_slice() {
        [] => "refused: pages of other sites (--cors-origin ORIGIN)".to_owned(),
        origins => format!("refused: pages of other sites but {}", origins.join(", ")),
    });
    lines.join("\n")
}
