//! Against pages in a browser on the same machine (M1): the name a request was sent to, and the page it was sent by.
//!
//! A page of any site may send requests to loopback, and by DNS rebinding read the answers: its name leads to 127.0.0.1 by
//! then, but `Host` still has that name. Invariant: where no token is needed, `Host` is a name of loopback or a configured
//! one; an `Origin` is that of this server or a configured one, always.

use std::net::IpAddr;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, header, uri::Authority};
use openact::{Error, ErrorCode};

use crate::{Doors, access::is_open, envelope::Failure};

/// Refuses a request that another site's page may have caused.
pub(crate) async fn check(State(doors): State<Doors>, request: Request, next: Next) -> Response {
    let host = host(&request);
    match refused(&doors, host, request.headers()).await {
        Some(error) => Failure::from(error).into_response(),
        None => next.run(request).await,
    }
}

async fn refused(doors: &Doors, host: Option<Authority>, headers: &HeaderMap) -> Option<Error> {
    let forbidden = |message: String| Error::new(ErrorCode::Forbidden, message);
    let names = &doors.settings.hosts;
    let is_own =
        host.as_ref().is_some_and(|host| is_loopback(host.host()) || names.iter().any(|name| is(host, name)));
    // Where it cannot be told whether tokens are needed, they are not.
    if !is_own && (!names.is_empty() || is_open(doors).await.unwrap_or(doors.settings.open_without_tokens)) {
        let host = host.as_ref().map_or("", Authority::as_str);
        return Some(
            forbidden(format!("this server does not answer to the name '{host}'"))
                .hint("use a name of loopback (localhost, 127.0.0.1), or start the server with --host NAME"),
        );
    }
    let origin = origin(headers)?;
    let is_listed = doors.settings.cors_origins.iter().any(|listed| listed == origin);
    let is_same = host.as_ref().is_some_and(|host| {
        ["http://", "https://"].iter().any(|scheme| {
            origin.strip_prefix(scheme).is_some_and(|rest| rest.eq_ignore_ascii_case(host.as_str()))
        })
    });
    (!is_listed && !is_same).then(|| {
        forbidden(format!("pages of '{}' may not call this server", origin.escape_debug()))
            .hint("to allow them: openact serve --cors-origin ORIGIN")
    })
}

/// What the request was sent to. Two `Host` headers that differ are nobody's.
pub(crate) fn host(request: &Request) -> Option<Authority> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().ok()?.parse::<Authority>().ok()?,
        (None, None) => request.uri().authority().cloned()?,
        _ => return None,
    };
    (!host.as_str().contains('@')).then_some(host)
}

/// The page that sends it; browsers say so for every request that is not a plain visit.
fn origin(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::ORIGIN).map(|origin| origin.to_str().unwrap_or("?"))
}

/// `name` alone, or with a port.
fn is(host: &Authority, name: &str) -> bool {
    host.as_str().eq_ignore_ascii_case(name) || host.host().eq_ignore_ascii_case(name)
}

fn is_loopback(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost")
        || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn m1_only_loopback_is_loopback() {
        for own in ["localhost", "LOCALHOST", "127.0.0.1", "127.8.8.8", "[::1]"] {
            assert!(is_loopback(own), "{own}");
        }
        for other in
            ["localhost.evil.com", "127.0.0.1.evil.com", "10.0.0.1", "[::2]", "", "2130706433", "0.0.0.0"]
        {
            assert!(!is_loopback(other), "{other}");
        }
    }
}
