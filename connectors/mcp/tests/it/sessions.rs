//! Which protocol is spoken, and sessions that outlive a call.

use openact_connector::{HostError, log::Level, testing::check};

use super::*;

const NOT_KNOWN: &str = r#"{"jsonrpc":"2.0","error":{"code":-32000,"message":"Bad Request: Unsupported protocol version"},"id":null}"#;

fn discovered(id: &str) -> String {
    result(
        id,
        json!({
            "resultType": "complete", "supportedVersions": ["2026-07-28", "2025-11-25"], "capabilities": {},
            "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "s", "version": "1"}},
        }),
    )
}

fn initialized(id: &str, version: &str) -> String {
    let info = json!({"name": "old", "version": "0.1"});
    result(id, json!({"protocolVersion": version, "capabilities": {}, "serverInfo": info}))
}

/// A host whose server begins the session `id` when it is asked the second time.
fn begins(host: FakeHost, id: &str, request: &str) -> FakeHost {
    let headers = [JSON, &[("mcp-session-id", id)]].concat();
    host.respond(200, &headers, initialized(request, "2025-11-25")).respond(202, &[], "")
}

#[test]
fn a_server_without_sessions_is_found_out_once() {
    let host =
        FakeHost::new().respond(200, JSON, discovered("test/1")).respond(200, JSON, said("test/2", "3"));
    assert_eq!(text(&add(&host).unwrap()), "3");
    assert_eq!(methods(&host), ["server/discover", "tools/call"]);
    let requests = host.requests();
    for (request, method) in requests.iter().zip(["server/discover", "tools/call"]) {
        assert_eq!((request.method.as_str(), request.url.as_str()), ("POST", URL));
        assert_eq!(header(request, "mcp-protocol-version").unwrap(), "2026-07-28");
        assert_eq!(header(request, "mcp-method").unwrap(), method);
        assert_eq!(header(request, "accept").unwrap(), "application/json, text/event-stream");
        assert_eq!(header(request, "mcp-session-id"), None);
    }
    assert_eq!(
        (header(&requests[0], "mcp-name"), header(&requests[1], "mcp-name")),
        (None, Some("add".into()))
    );
    let call = &posted(&host)[1];
    assert_eq!(call["params"]["arguments"], json!({"a": 1, "b": 2}));
    let meta = &call["params"]["_meta"];
    assert_eq!(meta["io.modelcontextprotocol/protocolVersion"], "2026-07-28");
    assert_eq!(meta["io.modelcontextprotocol/clientInfo"]["name"], "openact");
    assert_eq!(meta["io.modelcontextprotocol/clientCapabilities"], json!({}));
    assert_eq!(meta["progressToken"], call["id"]);

    let kept = String::from_utf8(host.kept("session").unwrap()).unwrap();
    let next = knowing(&kept).respond(200, JSON, said("test/1", "4"));
    assert_eq!(text(&add(&next).unwrap()), "4");
    assert_eq!(methods(&next), ["tools/call"]);
}

#[test]
fn a_server_with_sessions_is_greeted_once() {
    let host = begins(FakeHost::new().respond(400, JSON, NOT_KNOWN), "s1", "test/2");
    let host = host.respond(200, EVENTS, event(said("test/3", "3")));
    assert_eq!(text(&add(&host).unwrap()), "3");
    let expected = ["server/discover", "initialize", "notifications/initialized", "tools/call"];
    assert_eq!(methods(&host), expected);
    let requests = host.requests();
    assert_eq!(header(&requests[1], "mcp-protocol-version"), None);
    for request in &requests[2..] {
        assert_eq!(header(request, "mcp-session-id").unwrap(), "s1");
        assert_eq!(header(request, "mcp-protocol-version").unwrap(), "2025-11-25");
        assert_eq!(header(request, "mcp-method"), None);
    }
    assert_eq!(posted(&host)[1]["params"]["protocolVersion"], "2025-11-25");
    assert_eq!(posted(&host)[3]["params"]["_meta"], json!({"progressToken": "test/3"}));

    let kept = String::from_utf8(host.kept("session").unwrap()).unwrap();
    let next = knowing(&kept).respond(200, JSON, said("test/1", "4"));
    assert_eq!(text(&add(&next).unwrap()), "4");
    assert_eq!(header(&next.requests()[0], "mcp-session-id").unwrap(), "s1");
}

#[test]
fn what_is_no_evidence_of_a_server_without_sessions() {
    for (status, headers, body) in [
        (400, JSON, NOT_KNOWN.to_owned()),
        (404, &[][..], "not found".to_owned()),
        (405, &[], String::new()),
        (200, JSON, error(json!("test/1"), -32601, "Method not found")),
        (200, EVENTS, event(error(json!("test/1"), -32602, "Invalid request parameters"))),
        (400, JSON, error(json!("server-error"), -32600, "Bad Request: Missing session ID")),
        (200, JSON, result("test/1", json!({"supportedVersions": ["2025-11-25"]}))),
        (200, JSON, result("test/1", json!([]))),
    ] {
        let host = begins(FakeHost::new().respond(status, headers, body.clone()), "s1", "test/2");
        let host = host.respond(200, JSON, said("test/3", "3"));
        assert_eq!(text(&add(&host).unwrap()), "3", "{status} {body}");
    }
    let old = json!({"jsonrpc": "2.0", "id": "test/1", "error": {"code": -32022, "message": "unsupported",
        "data": {"requested": "2026-07-28", "supported": ["2025-06-18"]}}});
    let host = begins(FakeHost::new().respond(400, JSON, old.to_string()), "s1", "test/2");
    assert_eq!(text(&add(&host.respond(200, JSON, said("test/3", "3"))).unwrap()), "3");
}

#[test]
fn what_says_nothing_of_the_version_is_not_taken_for_it() {
    let newer = json!({"jsonrpc": "2.0", "id": "test/1", "error": {"code": -32022, "message": "unsupported",
        "data": {"supported": ["2027-01-01"]}}});
    for (status, body) in [
        (400, newer.to_string()),
        (503, "down".into()),
        (400, error(json!("test/1"), -32021, "needs sampling")),
    ] {
        let host = FakeHost::new().respond(status, JSON, body);
        let (code, _) = upstream(add(&host));
        assert!(["-32022", "503", "-32021"].contains(&code.as_str()), "{code}");
        assert_eq!(methods(&host), ["server/discover"]);
    }
    for status in [401, 403] {
        let host = FakeHost::new().respond(status, JSON, "{}");
        assert!(matches!(add(&host), Err(Failure::Unauthenticated(_))), "{status}");
        assert_eq!(methods(&host).len(), 1);
    }
    let host = FakeHost::new().fail(HostError::Network("refused".into()));
    assert!(matches!(add(&host), Err(Failure::Network(_))));
}

#[test]
fn a_session_that_is_over_is_begun_again_once() {
    for (status, body) in [
        (
            404,
            r#"{"jsonrpc":"2.0","id":"server-error","error":{"code":-32600,"message":"Session not found"}}"#,
        ),
        (404, "Not Found: Session not found"),
        (400, NOT_KNOWN),
    ] {
        let host = knowing(WITH_SESSION).respond(status, JSON, body).respond(400, JSON, NOT_KNOWN);
        let host = begins(host, "s2", "test/3").respond(200, JSON, said("test/4", "3"));
        assert_eq!(text(&add(&host).unwrap()), "3");
        let ids: Vec<_> = host.requests().iter().map(|request| header(request, "mcp-session-id")).collect();
        assert_eq!(ids, [Some("s1"), None, None, Some("s2"), Some("s2")].map(|id| id.map(str::to_owned)));
        assert!(String::from_utf8(host.kept("session").unwrap()).unwrap().contains("s2"));
    }
    // And not twice.
    let host = knowing(WITH_SESSION).respond(404, &[], "").respond(400, JSON, NOT_KNOWN);
    let host = begins(host, "s2", "test/3").respond(404, &[], "gone");
    assert_eq!(upstream(add(&host)).0, "404");
    assert_eq!(host.requests().len(), 5);
}

#[test]
fn a_session_of_this_call_is_not_begun_again() {
    let host = begins(FakeHost::new().respond(400, JSON, NOT_KNOWN), "s1", "test/2").respond(404, &[], "");
    assert_eq!(upstream(add(&host)).0, "404");
    assert_eq!(host.requests().len(), 4);
}

#[test]
fn an_error_of_a_tool_is_no_end_of_a_session() {
    let host = knowing(WITH_SESSION).respond(200, JSON, error(json!("test/1"), -32603, "boom"));
    let (code, message) = upstream(add(&host));
    assert_eq!((code.as_str(), message.contains("boom"), host.requests().len()), ("-32603", true, 1));
    let host = knowing(WITH_SESSION).respond(500, &[], "boom");
    assert_eq!((upstream(add(&host)).0.as_str(), host.requests().len()), ("500", 1));
}

#[test]
fn a_server_that_changed_its_generation_is_asked_again() {
    // It was replaced by an earlier one.
    let host = knowing(STATELESS).respond(400, JSON, NOT_KNOWN).respond(400, JSON, NOT_KNOWN);
    let host = begins(host, "s1", "test/3").respond(200, JSON, said("test/4", "3"));
    assert_eq!(text(&add(&host).unwrap()), "3");
    // And by a later one.
    let host = knowing(WITH_SESSION).respond(404, &[], "").respond(200, JSON, discovered("test/2"));
    let host = host.respond(200, JSON, said("test/3", "3"));
    assert_eq!(text(&add(&host).unwrap()), "3");
    assert_eq!(header(&host.requests()[2], "mcp-session-id"), None);
}

#[test]
fn a_version_that_is_set_is_spoken() {
    let invoke = |protocol: &str, host: &FakeHost| {
        let connection = json!({"url": URL, "protocol": protocol, "headers": {"X-Team": "blue"}});
        let (action, input) = (json!({"tool": "add"}), json!({}));
        Invoke { operation: "call-tool", connection, action, input, dry_run: false }.on::<Mcp>(host)
    };
    let host = FakeHost::new().respond(200, JSON, said("test/1", "3"));
    assert_eq!(text(&invoke("2026-07-28", &host).unwrap()), "3");
    assert_eq!(header(&host.requests()[0], "X-Team").unwrap(), "blue");

    let host = FakeHost::new()
        .respond(200, JSON, initialized("test/1", "2025-03-26"))
        .respond(202, &[], "")
        .respond(200, JSON, format!("[{}]", said("test/2", "3")));
    assert_eq!(text(&invoke("2025-06-18", &host).unwrap()), "3");
    assert_eq!(posted(&host)[0]["params"]["protocolVersion"], "2025-06-18");
    // Without an id there is no session, and no need to greet again.
    assert_eq!(header(&host.requests()[2], "mcp-session-id"), None);
    assert_eq!(header(&host.requests()[2], "mcp-protocol-version").unwrap(), "2025-03-26");

    // What was kept of another version is not taken.
    let host = knowing(WITH_SESSION).respond(200, JSON, said("test/1", "3"));
    assert_eq!(text(&invoke("2026-07-28", &host).unwrap()), "3");
    assert_eq!(header(&host.requests()[0], "mcp-session-id"), None);
}

#[test]
fn versions_and_ids_that_are_none() {
    let connection = json!({"url": URL, "protocol": "2025-11-25"});
    for (version, id) in [("2031-01-01", "s1"), ("", "s1"), ("2025-11-25", "a b"), ("2025-11-25", "s\u{e9}")]
    {
        let headers = [JSON, &[("mcp-session-id", id)]].concat();
        let host = FakeHost::new().respond(200, &headers, initialized("test/1", version));
        let (action, input) = (json!({"tool": "add"}), json!({}));
        let invoke =
            Invoke { operation: "call-tool", connection: connection.clone(), action, input, dry_run: false };
        let failed = invoke.on::<Mcp>(&host);
        assert!(matches!(failed, Err(Failure::Protocol(_))), "{version} {id} {failed:?}");
        assert_eq!((host.requests().len(), host.kept("session")), (1, None));
    }
}

#[test]
fn headers_of_the_protocol_are_not_the_connections_to_set() {
    for name in ["Accept", "MCP-Session-Id", "mcp-method", "content-type"] {
        let connection = json!({"url": URL, "headers": {name: "x"}});
        let (action, input) = (json!({"tool": "add"}), json!({}));
        let host = FakeHost::new();
        let invoke = Invoke { operation: "call-tool", connection, action, input, dry_run: false };
        assert!(matches!(invoke.on::<Mcp>(&host), Err(Failure::InvalidConfig(_))), "{name}");
        assert!(host.requests().is_empty());
    }
}

#[test]
fn a_check_begins_anew_and_keeps_the_tools() {
    let tools = json!({"tools": [
        {"name": "add", "description": "adds", "inputSchema": {"type": "object", "required": ["a"]}},
        {"name": "odd"},
    ]});
    let host = knowing(WITH_SESSION).respond(200, JSON, discovered("check/1"));
    let host = host.respond(200, JSON, result("check/2", tools));
    let found = check::<Mcp>(&connection(), &host).unwrap();
    assert_eq!(found["server"], json!({"name": "s", "version": "1"}));
    assert_eq!((&found["protocol"], &found["url"]), (&json!("2026-07-28"), &json!(URL)));
    assert_eq!(found["tools"][0]["input_schema"]["required"], json!(["a"]));
    assert_eq!(found["tools"][1], json!({"name": "odd"}));
    assert!(String::from_utf8(host.kept("session").unwrap()).unwrap().contains("2026-07-28"));

    // A server without tools is one too.
    let host = FakeHost::new().respond(200, JSON, discovered("check/1"));
    let host = host.respond(404, JSON, error(json!("check/2"), -32601, "Method not found"));
    assert_eq!(check::<Mcp>(&connection(), &host).unwrap()["tools"], json!([]));
    let host = FakeHost::new().respond(401, &[], "");
    assert!(matches!(check::<Mcp>(&connection(), &host), Err(Failure::Unauthenticated(_))));
}

#[test]
fn a_dry_run_greets_nobody() {
    for (protocol, kept, version) in [
        ("auto", None, "2026-07-28"),
        ("2025-11-25", None, "2025-11-25"),
        ("auto", Some(WITH_SESSION), "2025-11-25"),
    ] {
        let host = kept.map_or_else(FakeHost::new, knowing).fail(HostError::Denied("dry run".into()));
        let connection = json!({"url": URL, "protocol": protocol});
        let (action, input) = (json!({"tool": "add"}), json!({"a": 1}));
        let invoke = Invoke { operation: "call-tool", connection, action, input, dry_run: true };
        assert!(matches!(invoke.on::<Mcp>(&host), Err(Failure::Denied(_))));
        assert_eq!(methods(&host), ["tools/call"]);
        assert_eq!(header(&host.requests()[0], "mcp-protocol-version").unwrap(), version);
        assert_eq!(host.kept("session").is_some(), kept.is_some());
    }
}

#[test]
fn what_cannot_be_kept_is_logged_and_no_failure() {
    let host = knowing("not what was written").respond(200, JSON, discovered("test/1"));
    let host = host.respond(200, JSON, said("test/2", "3"));
    assert_eq!(text(&add(&host).unwrap()), "3");
    assert!(host.lines().iter().all(|(level, _)| *level == Level::Debug));
    assert!(String::from_utf8(host.kept("session").unwrap()).unwrap().contains("2026-07-28"));
}
