//! Tokens: who may call, and what.
//!
//! Invariant: a token is made by somebody who is bound to nothing themselves, and its text is shown once.

use http::StatusCode;
use openact::{Error, ExposeSecret, NewToken, Timestamp, TokenScope};
use serde_json::{Value, json};

use crate::{
    access::Everywhere,
    envelope::{Answer, Reply},
    extract::{JsonBody, Named},
    shapes::{Envelope, Fields, NewTokenBody},
};

/// Tokens, without their texts
#[utoipa::path(get, path = "/tokens", tag = "tokens", responses((status = 200, description = "All", body = Envelope<Fields>)))]
pub(crate) async fn list(Everywhere(call): Everywhere) -> Answer {
    let tokens: Vec<Value> =
        call.openact.list_tokens().await?.iter().map(openact::TokenInfo::to_json).collect();
    Ok(Reply::new(json!({ "tokens": tokens })))
}

/// Make a token. Its text is in this answer and never again
#[utoipa::path(post, path = "/tokens", tag = "tokens", request_body = NewTokenBody,
    responses((status = 201, description = "It is made", body = Envelope<Fields>)))]
pub(crate) async fn create(Everywhere(call): Everywhere, JsonBody(body): JsonBody<NewTokenBody>) -> Answer {
    let expires_at = body.expires_at.as_deref().map(str::parse::<Timestamp>).transpose().map_err(|_| {
        Error::invalid_input("expires_at is not a time").hint("expected such as 2027-01-31T00:00:00Z")
    })?;
    let tenants = body
        .tenants
        .map(|names| names.iter().map(|name| name.parse()).collect::<Result<_, Error>>())
        .transpose()?;
    let patterns = |texts: Vec<String>| texts.iter().map(|text| text.parse()).collect::<Result<_, Error>>();
    let scope = TokenScope {
        tenants,
        governance: openact::Governance { allow: patterns(body.allow)?, deny: patterns(body.deny)? },
        may_manage: body.manage,
        rate_per_second: body.rate_per_second,
        concurrency: body.concurrency,
    };
    let (info, text) = call.openact.create_token(NewToken { name: body.name, scope, expires_at }).await?;
    let mut shown = info.to_json();
    if let Value::Object(shown) = &mut shown {
        shown.insert("token".into(), text.expose_secret().into());
    }
    Ok(Reply::new(shown).status(StatusCode::CREATED))
}

/// End a token
#[utoipa::path(delete, path = "/tokens/{name}", tag = "tokens", params(("name" = String, Path, description = "Its name or id")),
    responses((status = 200, description = "The next call with it is refused", body = Envelope<Fields>)))]
pub(crate) async fn revoke(Everywhere(call): Everywhere, Named(name): Named) -> Answer {
    Ok(Reply::new(call.openact.revoke_token(&name).await?.to_json()))
}
