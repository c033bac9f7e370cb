//! Page after page, and line by line.

use openact_connector::{Failure, HostError, Request, testing::FakeHost};
use openact_http::link;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::call;

const JSON: (&str, &str) = ("content-type", "application/json");

/// A host that answers with these pages and no more.
fn pages(bodies: &[&str]) -> FakeHost {
    bodies.iter().fold(FakeHost::new(), |host, body| host.respond(200, &[JSON], *body))
}

fn paged(pagination: Value, host: &FakeHost) -> Result<Value, Failure> {
    call(json!({"path": "/items", "pagination": pagination}), json!({}), host)
}

fn urls(requests: &[Request]) -> Vec<&str> {
    requests
        .iter()
        .map(|request| request.url.strip_prefix("https://api.example.com/v1/items").unwrap())
        .collect()
}

#[test]
fn pages_are_counted_until_an_empty_one() {
    for (pagination, expected) in [
        (json!({"type": "page"}), ["?page=1", "?page=2", "?page=3"]),
        (
            json!({"type": "page", "param": "p", "start": 0, "size_param": "n", "size": 2}),
            ["?p=0&n=2", "?n=2&p=1", "?n=2&p=2"],
        ),
        (json!({"type": "offset"}), ["?offset=0", "?offset=2", "?offset=3"]),
        (
            json!({"type": "offset", "start": 5, "size": 2}),
            ["?offset=5&limit=2", "?limit=2&offset=7", "?limit=2&offset=8"],
        ),
    ] {
        let host = pages(&["[1, {\"z\":1.50,\"a\":2}]", "[3]", " [] "]);
        let result = paged(pagination.clone(), &host).unwrap();
        assert_eq!(result, json!({"items": [1, {"z": 1.50, "a": 2}, 3], "pages": 3, "truncated": false}));
        assert_eq!(urls(&host.requests()), expected, "{pagination}");
    }
}

#[test]
fn a_count_goes_on_where_the_query_says() {
    let host = pages(&["[1]", "null"]);
    let action = json!({"path": "/items", "query": {"page": 4}, "pagination": {"type": "page"}});
    call(action.clone(), json!({"query": {"page": 4}}), &host).unwrap();
    assert_eq!(urls(&host.requests()), ["?page=4", "?page=5"]);
    // In the action's path it is the same.
    let host = pages(&["[1]", "null"]);
    let action_of_path = json!({"path": "/items?a=b&p%61ge={first}", "pagination": {"type": "page"}});
    call(action_of_path, json!({"first": 3}), &host).unwrap();
    assert_eq!(urls(&host.requests()), ["?a=b&page=3", "?a=b&page=4"]);
    let mut wrong = action;
    wrong["query"] = json!({"page": "x"});
    let failure = call(wrong, json!({"query": {"page": "x"}}), &pages(&[])).unwrap_err();
    assert!(matches!(&failure, Failure::InvalidInput(text) if text.contains("'page'")), "{failure:?}");
}

#[test]
fn a_cursor_is_passed_on_until_there_is_none() {
    for end in [
        "",
        ",\"meta\":{}",
        ",\"meta\":{\"next\":null}",
        ",\"meta\":{\"next\":\"\"}",
        ",\"meta\":{\"next\":false}",
    ] {
        let last = format!("{{\"data\":[3]{end}}}");
        let host =
            pages(&[r#"{"data":[1],"meta":{"next":"a b&c"}}"#, r#"{"data":[2],"meta":{"next":17}}"#, &last]);
        let pagination =
            json!({"type": "cursor", "cursor": "/meta/next", "items": "/data", "param": "after"});
        let result = paged(pagination, &host).unwrap();
        assert_eq!(result, json!({"items": [1, 2, 3], "pages": 3, "truncated": false}));
        assert_eq!(urls(&host.requests()), ["", "?after=a%20b%26c", "?after=17"]);
    }
}

#[test]
fn a_cursor_in_the_body_keeps_its_type() {
    let bodies = |body: Value, param: &str| -> Vec<String> {
        let host = pages(&[r#"{"d":[1],"c":{"k":1.0}}"#, r#"{"d":[2],"c":"x"}"#, r#"{"d":[3]}"#]);
        let pagination =
            json!({"type": "cursor", "cursor": "$.c", "items": "$.d", "in": "body", "param": param});
        let mut action = json!({"method": "POST", "pagination": pagination});
        if !body.is_null() {
            action["body"] = body;
        }
        call(action, json!({}), &host).unwrap();
        host.requests()
            .iter()
            .map(|r| String::from_utf8(r.body.clone().unwrap_or_default()).unwrap())
            .collect()
    };
    assert_eq!(
        bodies(json!({"q": "{", "cursor": null}), "cursor"),
        [r#"{"q":"{","cursor":null}"#, r#"{"q":"{","cursor":{"k":1.0}}"#, r#"{"q":"{","cursor":"x"}"#]
    );
    assert_eq!(
        bodies(json!({"query": "q", "variables": {"n": 1}}), "/variables/after"),
        [
            r#"{"query":"q","variables":{"n":1}}"#,
            r#"{"query":"q","variables":{"n":1,"after":{"k":1.0}}}"#,
            r#"{"query":"q","variables":{"n":1,"after":"x"}}"#,
        ]
    );
    assert_eq!(bodies(json!(null), "c"), ["", r#"{"c":{"k":1.0}}"#, r#"{"c":"x"}"#]);
    assert_eq!(
        bodies(json!({"type": "json", "data": {}}), "c"),
        ["{}", r#"{"c":{"k":1.0}}"#, r#"{"c":"x"}"#]
    );
}

#[test]
fn links_are_followed_on_the_origin_of_the_base() {
    let host = FakeHost::new()
        .respond(
            200,
            &[
                JSON,
                ("link", "<https://api.example.com/v1/items?page=0>; rel=prev, </other?x=a b>; rel=\"next\""),
            ],
            "[0]",
        )
        .respond(200, &[JSON], "[9]");
    // White space in a target is refused.
    assert!(paged(json!({"type": "link"}), &host).is_err());
    let host = FakeHost::new()
        .respond(
            200,
            &[JSON, ("link", "<https://api.example.com:443/repositories/1?page=2>; rel=\"next\"")],
            "[1]",
        )
        .respond(200, &[JSON, ("link", "<?page=3>; title=\"a, <b>; rel=x\"; REL=\"last Next\"")], "[2]")
        .respond(200, &[JSON, ("link", "<?page=4>; rel=next; anchor=\"/x\", <p4>; rel=prev")], "[3]");
    let action =
        json!({"path": "/items", "query": {"q": 1}, "headers": {"x-a": "b"}, "pagination": {"type": "link"}});
    let result = call(action, json!({}), &host).unwrap();
    assert_eq!(result, json!({"items": [1, 2, 3], "pages": 3, "truncated": false}));
    let requests = host.requests();
    let urls: Vec<_> = requests.iter().map(|request| request.url.as_str()).collect();
    assert_eq!(
        urls,
        [
            "https://api.example.com/v1/items?q=1",
            "https://api.example.com/repositories/1?page=2",
            "https://api.example.com/repositories/1?page=3",
        ]
    );
    for request in &requests {
        assert_eq!(request.headers, [("x-a".into(), b"b".to_vec())]);
    }
}

#[test]
fn e8_a_link_that_leads_away_is_not_followed() {
    for target in [
        "https://evil.example/items",
        "//evil.example/items",
        "http://api.example.com/v1",
        "https://api.example.com:8443/",
        "https://api.example.com@evil.example/",
        "https://api.example.com.evil.example/",
        "https://user@api.example.com/",
        "https:evil.example",
        "javascript:alert(1)",
        "\\\\evil.example\\x",
        "/a\\b",
        "https:///evil.example",
    ] {
        let host = FakeHost::new().respond(200, &[JSON, ("link", &format!("<{target}>; rel=next"))], "[1]");
        let failure = paged(json!({"type": "link"}), &host).unwrap_err();
        assert!(
            matches!(&failure, Failure::Upstream(upstream) if upstream.message.starts_with("page 1: the link")),
            "{target}: {failure:?}"
        );
        assert_eq!(host.requests().len(), 1);
    }
}

#[test]
fn a_link_is_resolved_as_a_browser_would() {
    let base = "HTTPS://X.example/v1?key=1";
    for (current, target, expected) in [
        ("/v1/a/b?x=1", "c?y=2", "/v1/a/c?y=2"),
        ("/v1/a/b?x=1", "?y=2", "/v1/a/b?y=2"),
        ("/v1/a/b?x=1", "/c#top", "/c"),
        ("/v1/a/b?x=/z/", "c", "/v1/a/c"),
        ("/v1/a/b", "https://x.EXAMPLE?y", "/?y"),
        ("/v1/a/b", "//x.example:443/é|", "/%C3%A9%7C"),
        ("/v1/a/b?x", "", "/v1/a/b?x"),
        ("/v1", "//x.example//evil.example", "//evil.example"),
    ] {
        let url = link::resolve(base, &format!("HTTPS://X.example{current}"), target).unwrap();
        assert_eq!(url, format!("HTTPS://X.example{expected}"), "{current} {target}");
    }
}

#[test]
fn bounds_end_it_and_say_so() {
    let endless = || pages(&[r#"{"i":[1,2,3],"n":"a"}"#, r#"{"i":[4,5,6],"n":"b"}"#, r#"{"i":[7],"n":"c"}"#]);
    for (bound, items, truncated, requests) in [
        (json!({"max_pages": 2}), json!([1, 2, 3, 4, 5, 6]), true, 2),
        (json!({"max_items": 4}), json!([1, 2, 3, 4]), true, 2),
        (json!({"max_items": 3}), json!([1, 2, 3]), true, 1),
        (json!({"max_items": 2, "max_pages": 1}), json!([1, 2]), true, 1),
    ] {
        let mut pagination = json!({"type": "cursor", "cursor": "/n", "items": "/i"});
        pagination.as_object_mut().unwrap().extend(bound.as_object().unwrap().clone());
        let host = endless();
        let result = paged(pagination, &host).unwrap();
        let expected =
            json!({"items": items, "pages": requests, "truncated": truncated, "next": result["next"]});
        assert_eq!(result, expected, "{bound}");
        assert_eq!(host.requests().len(), requests);
    }
    // The rest of a last page is left out, which is more as well.
    let host = pages(&[r#"{"i":[1,2,3]}"#]);
    let result =
        paged(json!({"type": "cursor", "cursor": "/n", "items": "/i", "max_items": 2}), &host).unwrap();
    assert_eq!(result, json!({"items": [1, 2], "pages": 1, "truncated": true, "next": null}));
    // The last page, reached exactly.
    let host = pages(&[r#"{"i":[1,2]}"#]);
    let result =
        paged(json!({"type": "cursor", "cursor": "/n", "items": "/i", "max_items": 2}), &host).unwrap();
    assert_eq!((&result["truncated"], result.get("next")), (&json!(false), None));
    let default = pages(&["[1]"; 11]);
    assert_eq!(paged(json!({"type": "page"}), &default).unwrap()["pages"], 10);
}

#[test]
fn an_empty_page_that_names_a_next_one_is_not_the_end() {
    let cursor = json!({"type": "cursor", "cursor": "/n", "items": "/i"});
    let host =
        pages(&[r#"{"i":[],"n":"a"}"#, r#"{"i":[1],"n":"b"}"#, r#"{"i":null,"n":"c"}"#, r#"{"i":[2]}"#]);
    let result = paged(cursor.clone(), &host).unwrap();
    assert_eq!(result, json!({"items": [1, 2], "pages": 4, "truncated": false}));
    let host = FakeHost::new()
        .respond(200, &[JSON, ("link", "<?page=2>; rel=next")], "[]")
        .respond(204, &[("link", "<?page=3>; rel=next")], "")
        .respond(200, &[JSON], "[3]");
    let result = paged(json!({"type": "link"}), &host).unwrap();
    assert_eq!(result, json!({"items": [3], "pages": 3, "truncated": false}));
    assert_eq!(urls(&host.requests()), ["", "?page=2", "?page=3"]);
    // Not for ever.
    let bodies: Vec<String> = (0..5).map(|page| format!("{{\"i\":[],\"n\":{page}}}")).collect();
    let host = pages(&bodies.iter().map(String::as_str).collect::<Vec<_>>());
    let mut bounded = cursor;
    bounded["max_pages"] = json!(4);
    let result = paged(bounded, &host).unwrap();
    assert_eq!(result, json!({"items": [], "pages": 4, "truncated": true, "next": 3}));
}

#[test]
fn a_truncated_result_says_where_to_go_on() {
    let lists = ["[1,2,3]", "[4,5,6]", "[7]", "[]"];
    for (pagination, query, page_end, mid_page) in [
        (json!({"type": "page"}), json!({}), json!(3), json!(2)),
        (json!({"type": "page"}), json!({"page": 7}), json!(9), json!(8)),
        (json!({"type": "offset"}), json!({}), json!(6), json!(5)),
        (json!({"type": "offset"}), json!({"offset": 10}), json!(16), json!(15)),
    ] {
        for (bound, next) in [("max_pages", &page_end), ("max_items", &mid_page)] {
            let mut pagination = pagination.clone();
            pagination[bound] = if bound == "max_pages" { json!(2) } else { json!(5) };
            let action = json!({"path": "/items", "query": query, "pagination": pagination});
            let result = call(action, json!({}), &pages(&lists)).unwrap();
            assert_eq!((&result["truncated"], &result["next"]), (&json!(true), next), "{pagination}");
        }
    }
    // What it says leads to the rest, and to nothing twice.
    let action = json!({"path": "/items", "query": {"offset": 5}, "pagination": {"type": "offset"}});
    let host = pages(&["[6]", "[]"]);
    call(action, json!({}), &host).unwrap();
    assert_eq!(urls(&host.requests())[0], "?offset=5");

    let cursors = || pages(&[r#"{"i":[1,2],"n":"a"}"#, r#"{"i":[3,4],"n":2.50}"#, r#"{"i":[5]}"#]);
    for (bound, value, own, next) in [
        ("max_pages", 1, json!({}), "\"a\""),
        ("max_pages", 2, json!({}), "2.50"),
        ("max_items", 2, json!({}), "\"a\""),
        ("max_items", 3, json!({}), "\"a\""),
        ("max_items", 1, json!({}), "null"),
        ("max_items", 1, json!({"cursor": "x y"}), "\"x y\""),
    ] {
        let pagination = json!({"type": "cursor", "cursor": "/n", "items": "/i", bound: value});
        let action = json!({"path": "/items", "query": own, "pagination": pagination});
        let result = call(action, json!({}), &cursors()).unwrap();
        assert_eq!(result["next"], serde_json::from_str::<Value>(next).unwrap(), "{pagination}");
        assert!(result.as_object().unwrap().contains_key("next"));
    }
    let pagination = json!({"type": "cursor", "cursor": "/n", "items": "/i", "in": "body", "max_items": 1});
    let action = json!({"method": "POST", "body": {"cursor": {"k": 1}}, "pagination": pagination});
    assert_eq!(call(action, json!({}), &cursors()).unwrap()["next"], json!({"k": 1}));

    for (bound, value, next) in [
        ("max_pages", 1, "/v1/other?page=2"),
        ("max_items", 3, "/v1/other?page=2"),
        ("max_items", 1, "/v1/items?q=1"),
    ] {
        let host = FakeHost::new()
            .respond(200, &[JSON, ("link", "<https://api.example.com/v1/other?page=2>; rel=next")], "[1,2]")
            .respond(200, &[JSON], "[3,4]");
        let action = json!({"path": "/items?q=1", "pagination": {"type": "link", bound: value}});
        assert_eq!(call(action, json!({}), &host).unwrap()["next"], next, "{bound} {value}");
    }
    // Also where the target is one that a base URL could not be.
    let host = FakeHost::new().respond(200, &[JSON, ("link", "</a/../b>; rel=next")], "[1]");
    let result = paged(json!({"type": "link", "max_pages": 1}), &host).unwrap();
    assert_eq!(result["next"], "/a/../b");
    let host = pages(&lists).streaming();
    let result = paged(json!({"type": "offset", "max_items": 2}), &host).unwrap();
    assert_eq!(result, json!({"emitted": 2, "pages": 1, "truncated": true, "next": 2}));
}

#[test]
fn a_page_that_is_none_is_a_failure_and_named() {
    for (status, headers, body, part) in [
        (500, JSON, "[]", "page 2: the server answered 500"),
        (302, JSON, "[]", "page 2: the server answered 302"),
        (200, ("content-type", "text/html"), "<p>", "page 2: the answer is not JSON"),
        (200, JSON, "{}", "page 2: the answer has no list at '/i'"),
        (200, JSON, "{\"i\":{}}", "page 2: the answer has no list at '/i'"),
        (200, JSON, "{\"i\":[2],\"n\":\"a\"}", "page 2: the next page is the same again"),
    ] {
        let host = pages(&[r#"{"i":[1],"n":"a"}"#]).respond(status, &[headers], body);
        let failure = paged(json!({"type": "cursor", "cursor": "/n", "items": "/i"}), &host).unwrap_err();
        assert!(
            matches!(&failure, Failure::Upstream(upstream) if upstream.message.contains(part)),
            "{failure:?}"
        );
    }
    let host = pages(&["[1]"]).fail(HostError::Network("reset".into()));
    assert_eq!(paged(json!({"type": "page"}), &host).unwrap_err(), Failure::Network("page 2: reset".into()));
    let host = pages(&["[1]"]).respond(404, &[JSON], "[]");
    let action = json!({"pagination": {"type": "page"}, "response": {"allowed_status": [200, 404]}});
    assert_eq!(call(action, json!({}), &host).unwrap()["items"], json!([1]));
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    for (action, part) in [
        (json!({"pagination": {"type": "cursor", "items": "/i"}}), "needs cursor"),
        (json!({"pagination": {"type": "cursor", "cursor": "/c"}}), "items"),
        (json!({"pagination": {"type": "link", "param": "p"}}), "param"),
        (json!({"pagination": {"type": "link", "size": 1}}), "size"),
        (json!({"pagination": {"type": "page", "cursor": "/c"}}), "cursor"),
        (json!({"pagination": {"type": "page", "in": "body"}}), "in"),
        (json!({"pagination": {"type": "page", "size": 1}}), "size_param"),
        (json!({"pagination": {"type": "offset", "size_param": "n"}}), "size"),
        (json!({"pagination": {"type": "page", "max_pages": 0}}), "max_pages"),
        (json!({"pagination": {"type": "page", "max_items": 1_000_001}}), "max_items"),
        (json!({"pagination": {"type": "cursor", "cursor": "/c", "items": "/i", "in": "body"}}), "GET"),
        (json!({"pagination": {"type": "page"}, "response": {"extract": "/i"}}), "exclude"),
        (json!({"pagination": {"type": "page"}, "response": {"as": "bytes"}}), "response.as"),
        (json!({"pagination": {"type": "pages"}}), "pages"),
        (json!({"pagination": {"typ": "page"}}), "typ"),
    ] {
        let host = pages(&[]);
        let failure = call(action.clone(), json!({}), &host).unwrap_err();
        assert!(
            matches!(&failure, Failure::InvalidConfig(text) if text.contains(part)),
            "{action}: {failure:?}"
        );
        assert!(host.requests().is_empty());
    }
}

#[test]
fn items_are_streamed_page_by_page_where_the_caller_takes_them() {
    let host = pages(&["[1, \"a\"]", "[{}]", "[]"]).streaming();
    let result = paged(json!({"type": "page"}), &host).unwrap();
    assert_eq!(result, json!({"emitted": 3, "pages": 3, "truncated": false}));
    assert_eq!(host.emitted(), [json!(1), json!("a"), json!({})]);
    // What was emitted before a failure is out, and the failure says where it was.
    let host = pages(&["[1]"]).respond(500, &[JSON], "").streaming();
    assert!(paged(json!({"type": "page"}), &host).is_err());
    assert_eq!(host.emitted(), [json!(1)]);
}

#[test]
fn lines_are_streamed_as_they_arrive() {
    let parts = || vec![b"{\"a\":1}\n[2".to_vec(), b",3]\r\n\n".to_vec(), b"4".to_vec()];
    let headers = [("content-type", "application/x-ndjson; charset=utf-8")];
    let host = FakeHost::new().respond_in_parts(200, &headers, parts()).streaming();
    let result = call(json!({}), json!({}), &host).unwrap();
    assert_eq!(
        (&result["body"], &result["emitted"], &result["status_code"]),
        (&json!(null), &json!(3), &json!(200))
    );
    assert_eq!(host.emitted(), [json!({"a": 1}), json!([2, 3]), json!(4)]);
    // An error is one answer, and so is what a part is wanted of: in both modes alike.
    for streaming in [false, true] {
        let host = |status| {
            let host = FakeHost::new().respond_in_parts(status, &headers, parts());
            if streaming { host.streaming() } else { host }
        };
        let result = call(json!({}), json!({}), &host(500)).unwrap();
        assert_eq!((&result["body"], result.get("emitted")), (&json!("{\"a\":1}\n[2,3]\r\n\n4"), None));
        let result = call(json!({"response": {"as": "text"}}), json!({}), &host(200)).unwrap();
        assert_eq!(result["body"], "{\"a\":1}\n[2,3]\r\n\n4");
        let extracting = host(200);
        let failure = call(json!({"response": {"extract": "/a"}}), json!({}), &extracting).unwrap_err();
        assert!(
            matches!(&failure, Failure::Upstream(upstream) if upstream.message.contains("response.extract")),
            "{failure:?}"
        );
        assert!(extracting.emitted().is_empty());
    }
    // Without a stream it is text, as it came.
    let host = FakeHost::new().respond_in_parts(200, &headers, parts());
    assert_eq!(call(json!({}), json!({}), &host).unwrap()["body"], "{\"a\":1}\n[2,3]\r\n\n4");
    let host = FakeHost::new().respond(200, &headers, "1\n{").streaming();
    let failure = call(json!({}), json!({}), &host).unwrap_err();
    assert!(matches!(&failure, Failure::Protocol(text) if text.contains("line 2")), "{failure:?}");
    for host in [FakeHost::new().streaming(), FakeHost::new()] {
        let host = host.respond_in_parts(200, &headers, parts());
        let failure = call(json!({"response": {"max_bytes": 12}}), json!({}), &host).unwrap_err();
        assert!(matches!(&failure, Failure::LimitExceeded(_)), "{failure:?}");
    }
}

proptest! {
    /// Whatever a server puts into a link: a URL parser finds the base's origin, or it is refused.
    #[test]
    fn a_link_never_leaves_its_base(
        target in "(https:|http:|[/\\\\?#@:]|api\\.example\\.com|evil\\.example|:443|a|\\.\\.|%2e|\\t| |é){0,7}",
    ) {
        for base in ["https://api.example.com", "https://api.example.com/v1/x?key=1", "http://127.0.0.1:81/v1/"] {
            let current = format!("{}/v1/a?b", &base[..base[8..].find('/').map_or(base.len(), |at| at + 8)]);
            let Ok(built) = link::resolve(base, &current, &target) else { continue };
            let (base, built) = (::url::Url::parse(base).unwrap(), ::url::Url::parse(&built).unwrap());
            prop_assert_eq!(built.origin(), base.origin());
            prop_assert_eq!((built.username(), built.password(), built.fragment()), ("", None, None));
        }
    }
}

#[test]
fn a_page_that_says_it_is_a_failure_is_named_with_its_reason() {
    let host = pages(&[r#"{"ok":true,"items":[1],"next":"n"}"#, r#"{"ok":false,"error":"expired"}"#]);
    let action = json!({
        "response": {"fail_when": {"pointer": "/ok", "equals": false, "code": "/error"}},
        "pagination": {"type": "cursor", "items": "/items", "cursor": "/next"},
    });
    let Err(Failure::Upstream(failure)) = call(action, json!({}), &host) else { panic!() };
    assert_eq!(failure.code.as_deref(), Some("expired"));
    assert!(failure.message.contains("page 2") && failure.message.contains("expired"), "{failure:?}");
}
