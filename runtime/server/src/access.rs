//! Who calls: a token in `Authorization: Bearer` or `X-API-Key`, and the tenant in `X-Tenant`.
//!
//! A route says by its arguments what it needs: a [`Call`] is of a caller who may run actions, a [`Manage`] of one who may
//! change what there is (M6). Invariant: once there is a token, or anybody but this machine can reach the server, no route but
//! those of [`PUBLIC`], the pages and what says where tokens are to be had is answered without one; a token that is not valid is
//! refused even where none is needed, and goes nowhere from here but to [`OpenAct::authenticate`].

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{FromRequestParts, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderName, header, request::Parts};
use openact::{
    Author, Caller, Door, Error, ErrorCode, Governance, OpenAct, Result as Outcome, Tenant, TokenScope,
};
use tokio::sync::OwnedSemaphorePermit;

use crate::{
    Doors,
    envelope::{Failure, RequestId},
    resource,
};

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const X_TENANT: HeaderName = HeaderName::from_static("x-tenant");

/// Added by proxies (RFC 7239, and what was there before it).
const PROXIED: [&str; 4] = ["forwarded", "x-forwarded-for", "x-real-ip", "via"];

/// What is answered to everybody, below `/` and `/api/v1`.
const PUBLIC: &[&str] = &["/health", "/ready", "/version", "/openapi.json"];

/// Whoever can reach a server that needs no token.
fn anybody() -> Caller {
    Caller::new("anybody", "anybody", TokenScope { may_manage: true, ..TokenScope::default() })
}

/// A caller who was let in, and their place among the calls they may have at once.
#[derive(Clone)]
pub(crate) struct Admitted {
    pub(crate) caller: Arc<Caller>,
    _place: Option<Arc<OwnedSemaphorePermit>>,
}

/// Before every route: finds out who calls, and counts it.
pub(crate) async fn admit(State(doors): State<Doors>, mut request: Request, next: Next) -> Response {
    if is_public(request.uri().path()) {
        return next.run(request).await;
    }
    let (base, path) = (resource::base(&doors, &request), request.uri().path().to_owned());
    let headers = request.headers();
    let admitted = async {
        let caller = Arc::new(caller(&doors, headers).await?);
        let place = doors.meters.admit(&caller)?;
        Ok::<_, Failure>(Admitted { caller, _place: place.map(Arc::new) })
    };
    let response = match admitted.await {
        Ok(admitted) => {
            request.extensions_mut().insert(admitted);
            next.run(request).await
        }
        Err(failure) => failure.for_strangers().into_response(),
    };
    // Some are refused by the route, which wants a scope that they do not have.
    resource::lead(response, base, &path)
}

fn is_public(path: &str) -> bool {
    let below = path.strip_prefix("/api/v1").unwrap_or(path);
    PUBLIC.contains(&below) || path == "/docs" || path.starts_with("/docs/") || resource::is_metadata(path)
}

/// Whether a caller without a token may do everything: on loopback, as long as nobody made a token.
pub(crate) async fn is_open(doors: &Doors) -> Outcome<bool> {
    Ok(doors.settings.open_without_tokens && !doors.openact()?.wants_tokens().await?)
}

/// Who a request is of.
pub(crate) async fn caller(doors: &Doors, headers: &HeaderMap) -> Result<Caller, Failure> {
    let openact = doors.openact()?;
    match token(headers)? {
        Some(token) => openact.authenticate(token).await.map_err(|error| match error.code {
            ErrorCode::Unauthenticated => challenged(error, ", error=\"invalid_token\""),
            _ => forbidden(error),
        }),
        None if is_open(doors).await? => match PROXIED.iter().any(|name| headers.contains_key(*name)) {
            // To a proxy of this machine, whoever reaches it is of this machine.
            true => Err(unauthenticated(
                "a token is needed: the request came by way of a proxy, and whoever reaches that could do everything",
                "make one, and send it as authorization: Bearer TOKEN; openact token create NAME",
            )),
            false => Ok(anybody()),
        },
        None => Err(unauthenticated(
            "a token is needed",
            "send the header authorization: Bearer TOKEN; tokens are made by: openact token create NAME",
        )),
    }
}

/// The token in either header.
fn token(headers: &HeaderMap) -> Result<Option<&str>, Failure> {
    let malformed = || {
        unauthenticated(
            "the token cannot be read",
            "send one header authorization: Bearer TOKEN, or x-api-key: TOKEN",
        )
    };
    let only = |name: &HeaderName| -> Result<Option<&str>, Failure> {
        let mut values = headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(value), None) => value.to_str().map(|text| Some(text.trim())).map_err(|_| malformed()),
            _ => Err(malformed()),
        }
    };
    let bearer = match only(&header::AUTHORIZATION)? {
        None => None,
        Some(text) => match text.split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Some(token.trim()),
            _ => return Err(malformed()),
        },
    };
    match (bearer, only(&X_API_KEY)?) {
        (Some(bearer), Some(key)) if bearer != key => Err(malformed()),
        (bearer, key) => Ok(bearer.or(key)),
    }
}

fn unauthenticated(message: &str, hint: &str) -> Failure {
    challenged(Error::new(ErrorCode::Unauthenticated, message).hint(hint), "")
}

/// With what RFC 6750 section 3 has a refusal say.
fn challenged(error: Error, why: &str) -> Failure {
    Failure::from(error).header(header::WWW_AUTHENTICATE, &format!("Bearer realm=\"openact\"{why}"))
}

/// Tells a client which scope would do, where one would.
fn forbidden(error: Error) -> Failure {
    let scope = error.details.as_ref().and_then(|details| details["required_scope"].as_str());
    match scope.map(|scope| format!(", error=\"insufficient_scope\", scope=\"{scope}\"")) {
        Some(why) => challenged(error, &why),
        None => error.into(),
    }
}

/// A request of somebody who may run actions.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) openact: OpenAct,
    pub(crate) tenant: Tenant,
    pub(crate) id: RequestId,
    pub(crate) governance: Arc<Governance>,
    /// The longest that a call of theirs may take.
    pub(crate) timeout_max: Option<Duration>,
    pub(crate) admitted: Admitted,
}

impl FromRequestParts<Doors> for Call {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, doors: &Doors) -> Result<Self, Failure> {
        let lost = || Error::internal("a request came to a route without a caller");
        let admitted = parts.extensions.get::<Admitted>().cloned().ok_or_else(lost)?;
        let id = parts.extensions.get::<RequestId>().cloned().ok_or_else(lost)?;
        let tenant = tenant(&admitted.caller, &parts.headers)?;
        let governance = governance(doors, &admitted.caller);
        let (openact, timeout_max) = (doors.openact()?.clone(), doors.settings.timeout_max);
        Ok(Self { openact, tenant, id, governance, timeout_max, admitted })
    }
}

/// A request of somebody who may change what there is.
pub(crate) struct Manage(pub(crate) Call);

impl FromRequestParts<Doors> for Manage {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, doors: &Doors) -> Result<Self, Failure> {
        let mut call = Call::from_request_parts(parts, doors).await?;
        call.admitted.caller.check_manage().map_err(forbidden)?;
        let actor = call.admitted.caller.name.clone();
        call.openact = call.openact.acting_as(Author { actor, door: Door::Rest });
        Ok(Self(call))
    }
}

/// A request of somebody who may change what is no tenant's: tokens, connectors. Who is bound to tenants or actions is not:
/// they could make a token that is not bound.
pub(crate) struct Everywhere(pub(crate) Call);

impl FromRequestParts<Doors> for Everywhere {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, doors: &Doors) -> Result<Self, Failure> {
        let Manage(call) = Manage::from_request_parts(parts, doors).await?;
        if call.admitted.caller.is_bound() {
            return Err(Error::new(
                ErrorCode::Forbidden,
                "this token is bound to tenants or actions, and this is about all of them",
            )
            .hint("use one that may manage everything: openact token create NAME --manage")
            .into());
        }
        Ok(Self(call))
    }
}

fn governance(doors: &Doors, caller: &Caller) -> Arc<Governance> {
    let (own, outer) = (&caller.governance, &doors.settings.governance);
    match (**outer == Governance::default(), **own == Governance::default()) {
        (true, _) => own.clone(),
        (_, true) => outer.clone(),
        _ => Arc::new(own.within(outer)),
    }
}

/// Whose actions: as `X-Tenant` says, if the caller may name it; else `default`, or the only one they have.
fn tenant(caller: &Caller, headers: &HeaderMap) -> Result<Tenant, Failure> {
    let mut named = headers.get_all(X_TENANT).iter();
    let named = match (named.next(), named.next()) {
        (None, _) => None,
        (Some(name), None) => Some(name.to_str().unwrap_or("?").parse::<Tenant>()?),
        _ => return Err(Error::invalid_input("x-tenant is there twice").into()),
    };
    let Some(own) = &caller.tenants else { return Ok(named.unwrap_or_default()) };
    match named {
        Some(tenant) if own.contains(&tenant) => Ok(tenant),
        Some(tenant) => {
            Err(Error::new(ErrorCode::Forbidden, format!("this token is not for the tenant '{tenant}'"))
                .hint("leave x-tenant out, or use a token of that tenant")
                .into())
        }
        None => match own.as_slice() {
            [only] => Ok(only.clone()),
            several if several.contains(&Tenant::default()) => Ok(Tenant::default()),
            _ => Err(Error::invalid_input("this token is for several tenants, and none was named")
                .hint("say which: the header x-tenant")
                .into()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, value.parse().unwrap());
        }
        map
    }

    #[test]
    fn a_token_is_in_one_of_two_headers() {
        for (pairs, expected) in [
            (vec![], Ok(None)),
            (vec![("authorization", "Bearer abc")], Ok(Some("abc"))),
            (vec![("authorization", "bearer  abc ")], Ok(Some("abc"))),
            (vec![("x-api-key", "abc")], Ok(Some("abc"))),
            (vec![("x-api-key", "abc"), ("authorization", "Bearer abc")], Ok(Some("abc"))),
            (vec![("x-api-key", "abd"), ("authorization", "Bearer abc")], Err(())),
            (vec![("authorization", "Basic abc")], Err(())),
            (vec![("authorization", "Bearer a"), ("authorization", "Bearer b")], Err(())),
        ] {
            let headers = headers(&pairs);
            assert_eq!(token(&headers).map_err(|_| ()), expected, "{pairs:?}");
        }
    }

    #[test]
    fn m8_a_tenant_is_named_only_by_a_token_that_may() {
        let tenants = |names: &[&str]| Some(names.iter().map(|name| name.parse().unwrap()).collect());
        let of = |own: Option<Vec<Tenant>>, named: Option<&str>| {
            let caller = Caller::new("x", "x", TokenScope { tenants: own, ..TokenScope::default() });
            let headers = headers(&named.map(|name| ("x-tenant", name)).into_iter().collect::<Vec<_>>());
            tenant(&caller, &headers).map(|tenant| tenant.to_string()).map_err(|failure| failure.error.code)
        };
        assert_eq!(of(None, None), Ok("default".into()));
        assert_eq!(of(None, Some("acme")), Ok("acme".into()));
        assert_eq!(of(tenants(&["acme"]), None), Ok("acme".into()));
        assert_eq!(of(tenants(&["acme"]), Some("acme")), Ok("acme".into()));
        assert_eq!(of(tenants(&["acme"]), Some("default")), Err(ErrorCode::Forbidden));
        assert_eq!(of(tenants(&["acme", "other"]), None), Err(ErrorCode::InvalidInput));
        assert_eq!(of(tenants(&["acme", "default"]), None), Ok("default".into()));
        assert_eq!(of(tenants(&[]), Some("acme")), Err(ErrorCode::Forbidden));
        assert_eq!(of(None, Some("A b")), Err(ErrorCode::InvalidInput));
    }
}
