//! `openact token`: who may use the doors, and for what.
//!
//! Invariant: a token is printed once, alone on standard output, so that it can be piped to where it is kept.

use openact::{ExposeSecret, Governance, NewToken, Result, Timestamp, TokenInfo, TokenScope};

use crate::{
    app::App,
    args::{self, CreateToken},
    output::{self, List, Output},
};

pub(crate) async fn token(app: &App, command: args::Token) -> Result<Output> {
    match command {
        args::Token::Create(args) => create(app, args).await,
        args::Token::List => {
            let tokens = app.stored().await?.list_tokens().await?;
            Ok(Output::List(List {
                header: &["token", "id", "tenants", "may", "expires", "last used"],
                rows: tokens.iter().map(row).collect(),
                records: tokens.iter().map(TokenInfo::to_json).collect(),
            }))
        }
        args::Token::Revoke { token } => {
            let revoked = app.stored().await?.revoke_token(&token).await?;
            Ok(Output::Lines(format!("revoked {}\n", revoked.name), revoked.to_json()))
        }
    }
}

async fn create(app: &App, args: CreateToken) -> Result<Output> {
    let scope = TokenScope {
        tenants: (!args.all_tenants).then_some(args.tenants),
        governance: Governance { allow: args.allow, deny: args.deny },
        may_manage: args.manage,
        rate_per_second: args.rate,
        concurrency: args.concurrency,
    };
    let expires_at = args.expires.and_then(|lifetime| Timestamp::now().checked_add(lifetime).ok());
    let new = NewToken { name: args.name, scope, expires_at };
    let (info, text) = app.openact().await?.create_token(new).await?;
    output::to_stderr(&format!("{} ({}): keep it now, it is not shown again\n", info.name, may(&info)));
    Ok(Output::Text(format!("{}\n", text.expose_secret())))
}

fn row(token: &TokenInfo) -> Vec<String> {
    let time =
        |time: Option<Timestamp>, none: &str| time.map_or(none.to_owned(), |time| format!("{time:.0}"));
    let tenants = token.scope.tenants.as_ref().map_or("all".to_owned(), |tenants| {
        tenants.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    });
    let expires = match token.is_live() {
        true => time(token.expires_at, "never"),
        false => "over".to_owned(),
    };
    vec![
        token.name.clone(),
        token.id.clone(),
        tenants,
        may(token),
        expires,
        time(token.last_used_at, "never"),
    ]
}

/// What it is good for, for people.
fn may(token: &TokenInfo) -> String {
    let listed = |patterns: &[openact::Pattern]| {
        patterns.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    };
    let Governance { allow, deny } = &token.scope.governance;
    let mut may = format!("run {}", if allow.is_empty() { "*".to_owned() } else { listed(allow) });
    if !deny.is_empty() {
        may.push_str(&format!(" but {}", listed(deny)));
    }
    if token.scope.may_manage {
        may.push_str(", manage");
    }
    may
}
