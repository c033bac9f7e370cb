//! Servers that break the protocol, or mean harm.

use openact_connector::HostError;
use openact_mcp_connector::sse::BYTES_MAX;

use super::*;

#[test]
fn a_stream_that_breaks_off_is_resumed_where_it_can_be() {
    let begun = "id: e1\nretry: 1\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"x\"}\n\ndata: {\"jsonrpc\"";
    let broken = HostError::Network("connection reset".into());
    let answered = event(said("test/1", "late"));
    for host in [
        knowing(WITH_SESSION).respond(200, EVENTS, begun),
        knowing(WITH_SESSION).respond_half(200, EVENTS, vec![begun.into()], broken.clone()),
    ] {
        let host = host.respond(200, EVENTS, answered.clone());
        assert_eq!(text(&add(&host).unwrap()), "late");
        let again = &host.requests()[1];
        assert_eq!((again.method.as_str(), again.body.is_none()), ("GET", true));
        assert_eq!(header(again, "last-event-id").unwrap(), "e1");
        assert_eq!(header(again, "accept").unwrap(), "text/event-stream");
        assert_eq!(header(again, "mcp-session-id").unwrap(), "s1");
    }
    // Not without an id, not without sessions, not where the server does not, and not for ever.
    for host in [
        knowing(WITH_SESSION).respond(200, EVENTS, "data: {}\n\n"),
        knowing(STATELESS).respond(200, EVENTS, begun),
        knowing(WITH_SESSION).respond(200, EVENTS, begun).respond(405, &[], ""),
        (0..5)
            .fold(knowing(WITH_SESSION).respond(200, EVENTS, begun), |host, _| host.respond(200, EVENTS, "")),
    ] {
        let failed = add(&host);
        assert!(matches!(failed, Err(Failure::Network(_))), "{failed:?}");
        assert!(host.requests().len() <= 3, "{}", host.requests().len());
        assert_eq!(methods(&host), ["tools/call"], "it is not called twice");
    }
}

#[test]
fn half_an_answer_is_none() {
    let half = said("test/1", "x");
    let (half, _) = half.split_at(40);
    let host = knowing(STATELESS).respond(200, JSON, half);
    assert!(matches!(add(&host), Err(Failure::Protocol(_))));
    let host = knowing(STATELESS).respond(200, EVENTS, format!("data: {}", said("test/1", "x")));
    assert!(matches!(add(&host), Err(Failure::Network(_))), "an event that is not ended is none");
    let broken = HostError::Network("reset".into());
    let host = knowing(STATELESS).respond_half(200, JSON, vec![half.into()], broken);
    assert!(matches!(add(&host), Err(Failure::Network(_))));
    for status in [200, 202, 204] {
        let host = knowing(STATELESS).respond(status, &[], "");
        assert!(matches!(add(&host), Err(Failure::Protocol(_))), "{status}");
    }
}

#[test]
fn an_answer_to_another_request_is_none_of_ours() {
    let host = knowing(STATELESS).respond(200, JSON, said("other/1", "x"));
    assert!(matches!(add(&host), Err(Failure::Protocol(_))));
    for id in [json!("test/2"), json!(1), json!({}), json!("TEST/1")] {
        let other =
            json!({"jsonrpc": "2.0", "id": id, "result": {"content": [{"type": "text", "text": "theirs"}]}});
        let wrong = json!({"jsonrpc": "2.0", "id": id, "error": {"code": 1, "message": "theirs"}});
        let stream = [event(other), event(wrong), event(said("test/1", "ours"))].concat();
        let host = knowing(STATELESS).respond(200, EVENTS, stream);
        assert_eq!(text(&add(&host).unwrap()), "ours", "{id}");
    }
    // An error without an id can be nobody else's.
    let host = knowing(STATELESS).respond(200, JSON, error(Value::Null, -32700, "parse error"));
    assert_eq!(upstream(add(&host)).0, "-32700");
}

#[test]
fn an_endless_stream_is_given_up() {
    let nothing = event(json!({"jsonrpc": "2.0", "method": "notifications/x"})).repeat(1_000).into_bytes();
    let host = knowing(STATELESS).respond_in_parts(200, EVENTS, vec![nothing; 101]);
    assert!(matches!(add(&host), Err(Failure::LimitExceeded(_))));
    let asks = event(json!({"jsonrpc": "2.0", "id": 1, "method": "ping"})).repeat(101);
    let host =
        (0..101).fold(knowing(WITH_SESSION).respond(200, EVENTS, asks), |host, _| host.respond(202, &[], ""));
    assert!(matches!(add(&host), Err(Failure::LimitExceeded(_))));
}

#[test]
fn what_is_huge_is_given_up() {
    let part = vec![b'x'; BYTES_MAX / 4 + 1];
    for headers in [EVENTS, JSON] {
        let host = knowing(STATELESS).respond_in_parts(200, headers, vec![part.clone(); 5]);
        assert!(matches!(add(&host), Err(Failure::LimitExceeded(_))), "{headers:?}");
    }
    // Of a refusal no more is read than a person needs.
    let host = knowing(STATELESS).respond_in_parts(500, &[], vec![part; 5]);
    assert_eq!(upstream(add(&host)).0, "500");
    let long = error(json!("test/1"), -1, &"é".repeat(100_000));
    let host = knowing(STATELESS).respond(200, JSON, long);
    assert!(upstream(add(&host)).1.len() < 2_100);
}

#[test]
fn a_type_that_is_none_of_the_protocols() {
    let page = [("content-type", "text/html")];
    for (headers, body) in [
        (&page[..], "<html>".to_owned()),
        (&[], "hello".into()),
        (&[("content-type", "application/jsonx")], said("test/1", "x")),
    ] {
        let host = knowing(STATELESS).respond(200, headers, body);
        match add(&host) {
            Err(Failure::Protocol(message)) => assert!(message.contains("neither JSON nor"), "{message}"),
            other => panic!("{other:?}"),
        }
    }
    for body in ["", "[]", "7", "{}", "null", "{\"id\":\"test/1\"}"] {
        let host = knowing(STATELESS).respond(200, JSON, body);
        assert!(matches!(add(&host), Err(Failure::Protocol(_))), "{body}");
    }
}

#[test]
fn a_redirect_stays_on_its_origin() {
    for location in ["/mcp/", "https://mcp.example.com/mcp/", "HTTPS://MCP.example.com/mcp/"] {
        let host = knowing(STATELESS).respond(307, &[("location", location)], "");
        let host = host.respond(200, JSON, said("test/1", "3"));
        assert_eq!(text(&add(&host).unwrap()), "3", "{location}");
        assert!(host.requests()[1].url.to_lowercase().ends_with("example.com/mcp/"));
        assert_eq!(methods(&host), ["tools/call", "tools/call"]);
    }
    for (status, location) in [
        (307, "https://evil.example.com/mcp"),
        (308, "https://mcp.example.com.evil.com/mcp"),
        (308, "https://mcp.example.com:444/mcp"),
        (308, "https://mcp.example.com@evil.com/"),
        (307, "http://mcp.example.com/mcp/"),
        (307, "//evil.example.com/mcp"),
        (307, "/\\evil.example.com/mcp"),
        (307, "mcp/"),
        (307, ""),
        (302, "/mcp/"),
        (303, "/mcp/"),
    ] {
        let host = knowing(STATELESS).respond(status, &[("location", location)], "");
        assert_eq!(upstream(add(&host)).0, status.to_string(), "{location}");
        assert_eq!(host.requests().len(), 1);
    }
    let circle = (0..9).fold(knowing(STATELESS), |host, _| host.respond(307, &[("location", "/mcp")], ""));
    assert!(upstream(add(&circle)).1.contains("circle"));
    assert_eq!(circle.requests().len(), 4);
}

#[test]
fn what_http_refuses() {
    let host = knowing(STATELESS).respond(429, &[("retry-after", "7")], "");
    assert!(matches!(add(&host), Err(Failure::RateLimited(Some(7_000)))));
    let host = knowing(STATELESS).respond(403, JSON, error(json!("test/1"), -32000, "forbidden"));
    assert!(matches!(add(&host), Err(Failure::Unauthenticated(_))));
    let host = knowing(STATELESS).respond(502, &[], "bad gateway");
    match add(&host) {
        Err(Failure::Upstream(failure)) => {
            assert_eq!((failure.code.as_deref(), failure.retryable), (Some("502"), true));
            assert!(failure.details.unwrap().contains("bad gateway"));
        }
        other => panic!("{other:?}"),
    }
    let host = knowing(STATELESS).respond(400, JSON, error(json!("test/1"), -32602, "meta is malformed"));
    let host = host.respond(200, JSON, result("test/2", json!({"tools": [{"name": "add"}]})));
    assert_eq!(upstream(add(&host)).0, "-32602");
    for error in [HostError::Denied("no".into()), HostError::Timeout("late".into())] {
        let host = knowing(STATELESS).fail(error);
        assert!(matches!(add(&host), Err(Failure::Denied(_) | Failure::Timeout(_))));
    }
}

#[test]
fn the_server_may_give_a_request_up() {
    let cancelled = |id: &str| {
        let params = json!({"requestId": id, "reason": "shutting down"});
        event(json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}))
    };
    let stream = [cancelled("other/1"), cancelled("test/1"), event(said("test/1", "x"))].concat();
    let host = knowing(WITH_SESSION).respond(200, EVENTS, stream);
    assert!(upstream(add(&host)).1.contains("shutting down"));
}
