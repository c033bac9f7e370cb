//! Tools, resources, prompts and lists.

use super::*;

const ADD: &str = r#"{"name":"add","inputSchema":{"type":"object","required":["a","b"],"additionalProperties":false,
    "properties":{"a":{"type":"integer","x-mcp-header":"First"},"b":{"type":"number"}}}}"#;

fn tools(id: &str, tools: &[&str]) -> String {
    format!("{{\"jsonrpc\":\"2.0\",\"id\":\"{id}\",\"result\":{{\"tools\":[{}]}}}}", tools.join(","))
}

/// A host that keeps the schema of the tool `add`.
fn knowing_add() -> FakeHost {
    let kept = knowing(STATELESS).respond(
        200,
        JSON,
        result("check/1", json!({"supportedVersions": ["2026-07-28"]})),
    );
    let kept = kept.respond(200, JSON, tools("check/2", &[ADD]));
    openact_connector::testing::check::<Mcp>(&connection(), &kept).unwrap();
    (0..16).fold(knowing(STATELESS), |host, number| {
        let key = format!("tools/{number}");
        match kept.kept(&key) {
            Some(value) => host.keep(&key, value),
            None => host,
        }
    })
}

#[test]
fn a_tool_that_asks_for_headers_which_cannot_be_is_left_out() {
    let with = |properties: Value| json!({"type": "object", "properties": properties});
    let header = |kind: &str, name: &str| json!({"type": kind, "x-mcp-header": name});
    for right in
        [json!({"a": header("string", "A"), "b": header("boolean", "B")}), json!({"a": {"type": "number"}})]
    {
        assert_eq!(openact_mcp_connector::tools::unsendable(&with(right)), None);
    }
    let inner = with(json!({"c": header("string", "a")}));
    for wrong in [
        json!({"a": header("string", "")}),
        json!({"a": header("string", "A b")}),
        json!({"a": header("string", "Ä")}),
        json!({"a": {"type": "string", "x-mcp-header": 1}}),
        json!({"a": header("number", "A")}),
        json!({"a": header("object", "A")}),
        json!({"a": header("string", "A"), "b": header("string", "a")}),
        json!({"a": header("string", "A"), "b": inner}),
    ] {
        let schema = with(wrong);
        assert!(openact_mcp_connector::tools::unsendable(&schema).is_some(), "{schema}");
        let add = json!({"name": "add", "inputSchema": schema}).to_string();
        let host = knowing(STATELESS);
        let host = host.respond(200, JSON, result("check/1", json!({"supportedVersions": ["2026-07-28"]})));
        let host = host.respond(200, JSON, tools("check/2", &[&add, "{\"name\":\"other\"}"]));
        let checked = openact_connector::testing::check::<Mcp>(&connection(), &host).unwrap();
        assert_eq!(checked["tools"], json!([{"name": "other"}]));
        // Nor is it called, for an action that names it.
        let kept = (0..16).fold(knowing(STATELESS), |fresh, number| {
            let key = format!("tools/{number}");
            match host.kept(&key) {
                Some(value) => fresh.keep(&key, value),
                None => fresh,
            }
        });
        let refused = invoke("call-tool", json!({"tool": "add"}), json!({"a": "x"}), &kept);
        assert!(matches!(refused, Err(Failure::InvalidConfig(_))), "{refused:?}");
        assert!(kept.requests().is_empty());
    }
}

#[test]
fn a_result_is_the_servers_own() {
    let body = "{\"jsonrpc\":\"2.0\",\"id\":\"test/1\",\"result\":{\"content\":[{\"type\":\"text\",\"text\":\"x\",\
                \"n\":1.50e3}],\"structuredContent\":{\"b\":2,\"a\":9007199254740993},\"isError\":false}}";
    let host = knowing(STATELESS).respond(200, JSON, body);
    let answer = add(&host).unwrap();
    assert_eq!(answer["structured_content"], json!({"a": 9_007_199_254_740_993_u64, "b": 2}));
    assert_eq!(answer["content"][0]["text"], "x");
}

#[test]
fn an_action_sets_arguments_by_templates() {
    let host = knowing(STATELESS).respond(200, JSON, said("test/1", "ok"));
    let action = json!({"tool": "search", "arguments": {"query": "in:{{team}} {{text}}", "limit": "{{limit}}", "page": "{{page?}}"}});
    let input = json!({"team": "a", "text": "{{limit}}", "limit": 5});
    invoke("call-tool", action.clone(), input, &host).unwrap();
    assert_eq!(posted(&host)[0]["params"]["arguments"], json!({"query": "in:a {{limit}}", "limit": 5}));
    let host = knowing(STATELESS);
    assert!(matches!(
        invoke("call-tool", action, json!({"team": "a"}), &host),
        Err(Failure::InvalidInput(_))
    ));
    assert!(host.requests().is_empty());
    let host = knowing(STATELESS).respond(200, JSON, said("test/1", "ok"));
    invoke("call-tool", json!({"tool": "now"}), Value::Null, &host).unwrap();
    assert_eq!(posted(&host)[0]["params"]["arguments"], json!({}));
}

#[test]
fn a_tool_that_fails_is_a_failure_with_its_words() {
    let content = json!([{"type": "text", "text": "no such city"}, {"type": "image", "data": ""}]);
    let body = json!({"content": content, "isError": true});
    let host = knowing(STATELESS).respond(200, JSON, result("test/1", body));
    match add(&host) {
        Err(Failure::Upstream(failure)) => {
            assert_eq!(
                (failure.code.as_deref(), failure.message.as_str()),
                (Some("tool_error"), "no such city")
            );
            assert_eq!(serde_json::from_str::<Value>(&failure.details.unwrap()).unwrap()["content"], content);
            assert!(!failure.retryable);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(host.requests().len(), 1);
}

#[test]
fn a_tool_that_is_not_there_has_neighbours() {
    let wanted = |host: &FakeHost| match invoke("call-tool", json!({"tool": "ad"}), json!({}), host) {
        Err(Failure::InvalidConfig(message)) => message,
        other => panic!("{other:?}"),
    };
    let no_such = [
        error(json!("test/1"), -32602, "Unknown tool: ad"),
        result(
            "test/1",
            json!({"content": [{"type": "text", "text": "MCP error -32602: Tool ad not found"}], "isError": true}),
        ),
    ];
    for body in no_such {
        let host = knowing(STATELESS).respond(200, JSON, body);
        let host =
            host.respond(200, JSON, tools("test/2", &[ADD, r#"{"name":"multiply"}"#, r#"{"name":"a_d_d"}"#]));
        assert_eq!(wanted(&host), "the server has no tool 'ad'; the nearest: a_d_d, add");
    }
    // It is there: then the arguments were wrong.
    let host = knowing(STATELESS).respond(200, JSON, error(json!("test/1"), -32602, "a is not a number"));
    let host = host.respond(200, JSON, tools("test/2", &[ADD]));
    assert_eq!(upstream(add(&host)).0, "-32602");
}

#[test]
fn arguments_are_checked_against_what_was_kept() {
    let call = |input: Value, host: &FakeHost| invoke("call-tool", json!({"tool": "add"}), input, host);
    let host = knowing_add().respond(200, JSON, said("test/1", "3"));
    assert_eq!(text(&call(json!({"a": 1, "b": 2}), &host).unwrap()), "3");
    // What the schema names as a header is one.
    assert_eq!(header(&host.requests()[0], "mcp-param-first").unwrap(), "1");

    for (input, why) in [
        (json!({"a": 1}), "argument 'b' is missing"),
        (json!({"a": 1, "b": "secret"}), "argument 'b' must be of type number"),
        (json!({"a": 1, "b": 2, "c": 3}), "argument 'c' does not exist; there are: a, b"),
    ] {
        let host = knowing_add().respond(200, JSON, tools("test/1", &[ADD]));
        match call(input, &host) {
            Err(Failure::InvalidInput(message)) => assert_eq!(message, why),
            other => panic!("{other:?}"),
        }
        assert_eq!(methods(&host), ["tools/list"]);
    }
}

#[test]
fn a_schema_that_is_out_of_date_refuses_nothing() {
    let newer = r#"{"name":"add","inputSchema":{"type":"object","required":["c"]}}"#;
    let host =
        knowing_add().respond(200, JSON, tools("test/1", &[newer])).respond(200, JSON, said("test/2", "3"));
    assert_eq!(text(&invoke("call-tool", json!({"tool": "add"}), json!({"c": 3}), &host).unwrap()), "3");
    // And the new one is kept.
    let all: Vec<u8> = (0..16).filter_map(|number| host.kept(&format!("tools/{number}"))).flatten().collect();
    assert!(String::from_utf8(all).unwrap().contains(r#""required":["c"]"#));
    let host = knowing_add().respond(200, JSON, tools("test/1", &[r#"{"name":"sum"}"#]));
    let gone = invoke("call-tool", json!({"tool": "add"}), json!({"c": 3}), &host);
    assert!(matches!(gone, Err(Failure::InvalidConfig(_))), "{gone:?}");
}

#[test]
fn a_header_that_only_the_schema_names_is_learnt() {
    let refused = error(json!("test/1"), -32020, "missing Mcp-Param-First header");
    let host =
        knowing(STATELESS).respond(400, JSON, refused.clone()).respond(200, JSON, tools("test/2", &[ADD]));
    let host = host.respond(200, JSON, said("test/3", "3"));
    assert_eq!(text(&add(&host).unwrap()), "3");
    assert_eq!(header(&host.requests()[2], "mcp-param-first").unwrap(), "1");
    let again = error(json!("test/3"), -32020, "still");
    let host = knowing(STATELESS).respond(400, JSON, refused).respond(200, JSON, tools("test/2", &[ADD]));
    let host = host.respond(400, JSON, again);
    assert_eq!((upstream(add(&host)).0.as_str(), host.requests().len()), ("-32020", 3));
}

#[test]
fn names_that_no_header_holds_are_encoded() {
    for (tool, expected) in [
        ("dodać", "=?base64?ZG9kYcSH?="),
        (" a", "=?base64?IGE=?="),
        ("=?base64?YQ==?=", "=?base64?PT9iYXNlNjQ/WVE9PT89?="),
    ] {
        let host = knowing(STATELESS).respond(200, JSON, said("test/1", ""));
        invoke("call-tool", json!({"tool": tool}), json!({}), &host).unwrap();
        assert_eq!(header(&host.requests()[0], "mcp-name").unwrap(), expected);
        assert_eq!(posted(&host)[0]["params"]["name"], tool);
    }
}

#[test]
fn resources_are_read_by_uri() {
    let body = json!({"contents": [{"uri": "demo://1", "text": "x"}], "ttlMs": 5});
    for (action, input, uri) in [
        (json!({}), json!({"uri": "demo://a/b c"}), "demo://a/b c"),
        (json!({"uri": "demo://{{kind}}/{{id}}"}), json!({"kind": "a/../b", "id": 7}), "demo://a%2F..%2Fb/7"),
        (json!({"uri": "demo://all"}), json!({}), "demo://all"),
    ] {
        let host = knowing(STATELESS).respond(200, JSON, result("test/1", body.clone()));
        let answer = invoke("read-resource", action, input, &host).unwrap();
        assert_eq!(answer, json!({"contents": [{"uri": "demo://1", "text": "x"}]}));
        assert_eq!(posted(&host)[0]["params"]["uri"], uri);
        assert_eq!(header(&host.requests()[0], "mcp-name").unwrap(), uri);
    }
    for (uri, input) in [
        ("{{uri}}", json!({})),
        ("demo://{{id}}", json!({"id": ".."})),
        ("demo://{{id}}", json!({"id": ""})),
        ("demo://{{id}}", json!({"id": {}})),
    ] {
        let host = knowing(STATELESS);
        let refused = invoke("read-resource", json!({"uri": uri}), input, &host);
        assert!(matches!(refused, Err(Failure::InvalidInput(_))), "{uri} {refused:?}");
        assert!(host.requests().is_empty());
    }
    let host = knowing(STATELESS).respond(200, JSON, result("test/1", json!({"wrong": 1})));
    assert!(matches!(
        invoke("read-resource", json!({"uri": "a:b"}), json!({}), &host),
        Err(Failure::Protocol(_))
    ));
}

#[test]
fn prompts_are_got_with_arguments() {
    let body = json!({"description": "d", "messages": [{"role": "user", "content": {"type": "text", "text": "hi"}}]});
    let host = knowing(STATELESS).respond(200, JSON, result("test/1", body.clone()));
    let action = json!({"prompt": "greet", "arguments": {"who": "{{name}}"}});
    assert_eq!(invoke("get-prompt", action, json!({"name": "Ada"}), &host).unwrap(), body);
    assert_eq!(posted(&host)[0]["params"]["arguments"], json!({"who": "Ada"}));
    assert_eq!(methods(&host), ["prompts/get"]);
}

#[test]
fn lists_go_on_to_their_end() {
    let page = |id: &str, names: &[&str], next: Option<&str>| {
        let items: Vec<_> = names.iter().map(|name| json!({"name": name})).collect();
        result(id, json!({"prompts": items, "nextCursor": next}))
    };
    let host = knowing(STATELESS).respond(200, JSON, page("test/1", &["a", "b"], Some("2"))).respond(
        200,
        EVENTS,
        event(page("test/2", &["c"], None)),
    );
    let answer = invoke("list-prompts", json!({}), json!({}), &host).unwrap();
    assert_eq!(answer, json!({"prompts": [{"name": "a"}, {"name": "b"}, {"name": "c"}]}));
    assert_eq!(posted(&host)[1]["params"]["cursor"], "2");

    let host = knowing(STATELESS).respond(200, JSON, page("test/1", &["a", "b"], Some("2")));
    let answer = invoke("list-prompts", json!({"limit": 1}), json!({}), &host).unwrap();
    assert_eq!(answer, json!({"prompts": [{"name": "a"}], "truncated": true}));

    let host = knowing(STATELESS).streaming().respond(200, JSON, page("test/1", &["a", "b"], None));
    let answer = invoke("list-prompts", json!({"stream": true}), json!({}), &host).unwrap();
    assert_eq!((answer, host.emitted().len()), (json!({"prompts": null, "emitted": 2}), 2));

    let circle = knowing(STATELESS).respond(200, JSON, page("test/1", &[], Some("x"))).respond(
        200,
        JSON,
        page("test/2", &[], Some("x")),
    );
    assert!(matches!(invoke("list-prompts", json!({}), json!({}), &circle), Err(Failure::Protocol(_))));
    let other = knowing(STATELESS).respond(200, JSON, result("test/1", json!({"tools": []})));
    assert!(matches!(invoke("list-prompts", json!({}), json!({}), &other), Err(Failure::Protocol(_))));
}

#[test]
fn progress_goes_to_whoever_takes_a_stream() {
    let progress = |token: &str, done: u32| {
        let params = json!({"progressToken": token, "progress": done, "total": 2, "message": "working"});
        event(json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": params}))
    };
    let stream =
        [progress("test/1", 1), progress("other", 9), progress("test/1", 2), event(said("test/1", "done"))];
    let streaming = json!({"tool": "slow", "stream": true});
    for (action, host, emitted) in [
        (streaming.clone(), knowing(WITH_SESSION).streaming(), 2),
        (streaming, knowing(WITH_SESSION), 0),
        (json!({"tool": "slow"}), knowing(WITH_SESSION).streaming(), 0),
    ] {
        let host =
            host.respond_in_parts(200, EVENTS, stream.iter().map(|part| part.clone().into_bytes()).collect());
        assert_eq!(text(&invoke("call-tool", action, json!({}), &host).unwrap()), "done");
        assert_eq!(host.emitted().len(), emitted);
        if emitted > 0 {
            assert_eq!(host.emitted()[0], json!({"progress": 1, "total": 2, "message": "working"}));
        } else {
            assert_eq!(host.lines().iter().filter(|(_, line)| line.contains("progress")).count(), 2);
        }
    }
}

#[test]
fn what_the_server_asks_for_is_answered_while_it_waits() {
    let ask =
        |id: Value, method: &str| event(json!({"jsonrpc": "2.0", "id": id, "method": method, "params": {}}));
    let log = json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "warning", "data": "careful"}});
    let parts = [
        ask(json!(7), "ping"),
        ask(json!("e"), "elicitation/create"),
        ask(json!(8), "sampling/createMessage"),
        event(log),
        event(said("test/1", "done")),
    ];
    let host = knowing(WITH_SESSION)
        .respond_in_parts(200, EVENTS, parts.iter().map(|part| part.clone().into_bytes()).collect())
        .respond(202, &[], "")
        .respond(202, &[], "")
        .respond(500, &[], "");
    assert_eq!(text(&add(&host).unwrap()), "done");
    let replies = posted(&host).split_off(1);
    assert_eq!(replies[0], json!({"jsonrpc": "2.0", "id": 7, "result": {}}));
    for (reply, id) in replies[1..].iter().zip([json!("e"), json!(8)]) {
        assert_eq!((&reply["id"], &reply["error"]["code"]), (&id, &json!(-32601)));
    }
    assert_eq!(header(&host.requests()[1], "mcp-session-id").unwrap(), "s1");
    assert!(
        host.lines().iter().any(|(_, line)| line == "the server says: \"careful\""),
        "{:?}",
        host.lines()
    );
}

#[test]
fn a_result_that_asks_for_input_is_a_failure() {
    let body =
        json!({"resultType": "input_required", "inputRequests": {"x": {"method": "elicitation/create"}}});
    let host = knowing(STATELESS).respond(200, JSON, result("test/1", body));
    assert_eq!(upstream(add(&host)).0, "input_required");
    let host = knowing(STATELESS).respond(200, JSON, result("test/1", json!({"resultType": "task"})));
    assert!(matches!(add(&host), Err(Failure::Protocol(_))));
}
