//! Where a call may go: what the connection names, nothing else, on every hop.
//!
//! Invariant: a denial comes before any dial; a server that counts its connections is the witness.

use std::sync::{Arc, OnceLock};

use openact::{ErrorCode, Format};
use serde_json::{Value, json};
use support::upstream::{Answer, Upstream};

use crate::setup::{self, config, failure, hostile, http, memory, value};

#[tokio::test]
async fn e1_an_ungranted_host_is_denied_before_any_dial() {
    let (own, other) = (Upstream::json("{}").await, Upstream::json("{}").await);
    let openact = hostile(json!({"base_url": own.url()})).await;
    let (error, run) =
        failure(&openact, "hostile/open-ungranted-host", json!({"url": other.url() + "/x?secret=1"})).await;
    assert_eq!(error.code, ErrorCode::EgressDenied, "{error:?}");
    assert_eq!(error.message, format!("this connection may not reach {}", other.url()));
    assert_eq!(error.details.as_ref().unwrap()["denied"], other.url());
    assert_eq!(run.host_calls.len(), 1);
    assert_eq!(run.host_calls[0].outcome, "egress_denied");
    assert_eq!(run.host_calls[0].target, other.url());
    assert_eq!((own.connections(), other.connections()), (0, 0));
}

#[tokio::test]
async fn e1_a_connection_without_a_url_reaches_nothing() {
    let canary = Upstream::json("{}").await;
    let openact = hostile(json!({})).await;
    for url in [canary.url(), "http://localhost/".into(), "https://example.invalid/".into()] {
        let (error, _) = failure(&openact, "hostile/open-ungranted-host", json!({ "url": url })).await;
        assert_eq!(error.code, ErrorCode::EgressDenied, "{error:?}");
    }
    assert_eq!(canary.connections(), 0);
}

#[tokio::test]
async fn e1_the_line_a_denial_names_is_the_line_that_allows_it() {
    let (own, other) = (Upstream::json("{}").await, Upstream::json("{}").await);
    let openact = hostile(json!({"base_url": own.url()})).await;
    let attack = json!({"url": other.url()});
    let (error, _) = failure(&openact, "hostile/open-ungranted-host", attack.clone()).await;
    let hint = error.hint.clone().unwrap();
    let line = hint.strip_prefix("to allow it, add to the connection: ").expect(&hint);
    // Exactly that line, under exactly that connection, in a file as people write it.
    let file = format!(
        "connectors:\n  hostile:\n    connections:\n      c:\n        base_url: {}\n        {line}\n    actions:\n      \
         open-ungranted-host: {{ connection: c, operation: open-ungranted-host }}\n",
        own.url()
    );
    let openact = memory(&[])
        .connector_bytes(support::guests::guest("hostile"))
        .config_text(file, Format::Yaml)
        .build()
        .await
        .unwrap();
    assert_eq!(value(&openact, "hostile/open-ungranted-host", attack).await["status"], 200);
    assert_eq!((own.connections(), other.received().len()), (0, 1));
}

#[tokio::test]
async fn e4_odd_spellings_of_a_granted_host_are_that_host() {
    let upstream = Upstream::json("{}").await;
    let port = upstream.address().port();
    let openact = hostile(json!({"base_url": upstream.url()})).await;
    let same = ["127.0.0.1", "127.1", "0x7f.1", "2130706433", "0177.0.0.1", "127.0.0.1.", "127.0.0.%31"];
    for host in same {
        let url = format!("http://{host}:{port}/");
        let seen = value(&openact, "hostile/open-ungranted-host", json!({ "url": url })).await;
        assert_eq!(seen["status"], 200, "{host}");
    }
    for received in upstream.received() {
        assert_eq!(received.header("host"), [upstream.address().to_string()]);
    }
}

#[tokio::test]
async fn e4_odd_spellings_do_not_reach_another_host() {
    let (own, other) = (Upstream::json("{}").await, Upstream::json("{}").await);
    let (here, there) = (own.address().port(), other.address().port());
    let openact = hostile(json!({"base_url": own.url()})).await;
    let refused = [
        (format!("http://127.0.0.1:{there}/"), ErrorCode::EgressDenied),
        (format!("http://127.1:{there}/"), ErrorCode::EgressDenied),
        (format!("http://localhost:{here}/"), ErrorCode::EgressDenied),
        (format!("http://127.0.0.2:{here}/"), ErrorCode::EgressDenied),
        (format!("http://[::ffff:127.0.0.1]:{here}/"), ErrorCode::EgressDenied),
        (format!("https://127.0.0.1:{here}/"), ErrorCode::EgressDenied),
        (format!("ftp://127.0.0.1:{here}/"), ErrorCode::EgressDenied),
        ("file:///etc/passwd".into(), ErrorCode::EgressDenied),
        (format!("http://127.0.0.1:{there}\\@127.0.0.1:{here}/"), ErrorCode::EgressDenied),
        (format!("http://127.0.0.1:{here}@127.0.0.1:{there}/"), ErrorCode::InvalidConfig),
        (format!("http://user@127.0.0.1:{here}/"), ErrorCode::InvalidConfig),
        (format!("http://user:password@127.0.0.1:{here}/"), ErrorCode::InvalidConfig),
        (format!("http://127.0.0.1:{here}\n.evil.invalid/"), ErrorCode::InvalidConfig),
        (format!("http://127.0.0.1:{here}\t/"), ErrorCode::InvalidConfig),
        (format!("http://127.0.0.1%00.evil.invalid:{here}/"), ErrorCode::InvalidConfig),
        (format!("http://127.0.0.1:{here}\0/"), ErrorCode::InvalidConfig),
        (format!("http://[fe80::1%25eth0]:{here}/"), ErrorCode::InvalidConfig),
        ("/relative".into(), ErrorCode::InvalidConfig),
        (String::new(), ErrorCode::InvalidConfig),
    ];
    for (url, code) in refused {
        let (error, _) = failure(&openact, "hostile/open-ungranted-host", json!({ "url": url })).await;
        assert_eq!(error.code, code, "{url:?}: {error:?}");
    }
    assert_eq!((own.connections(), other.connections()), (0, 0));
}

fn redirect(status: u16, to: &str) -> Answer {
    Answer::full(status, &[("location", to)], "")
}

fn following(connection: Value, extra: Value) -> (Value, Value) {
    let mut action = json!({"path": "/start", "follow_redirects": true});
    action.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    (connection, json!({"get": action}))
}

#[tokio::test]
async fn e8_redirects_are_returned_unless_asked_for() {
    let other = Upstream::json("{}").await;
    let to = other.url();
    let own = Upstream::start(move |_| redirect(302, &to)).await;
    let connection = json!({"base_url": own.url(), "network": {"allowed_hosts": [other.url()]}});
    let openact = http(connection, json!({"get": {}})).await;
    let result = value(&openact, "http/get", json!({})).await;
    assert_eq!((&result["status_code"], &result["headers"]["location"]), (&json!(302), &json!(other.url())));
    assert_eq!((own.received().len(), other.connections()), (1, 0));
}

#[tokio::test]
async fn e8_a_hop_within_the_origin_keeps_everything() {
    let own = Upstream::start(|received| match received.target.as_str() {
        "/start" => redirect(302, "/next"),
        _ => Answer::Json("{}".into()),
    })
    .await;
    let authorization = json!({"type": "bearer", "token": "canary"});
    let (connection, actions) = following(
        json!({"base_url": own.url(), "authorization": authorization}),
        json!({"headers": {"X-Custom": "1"}}),
    );
    let openact = http(connection, actions).await;
    assert_eq!(value(&openact, "http/get", json!({})).await["status_code"], 200);
    let last = own.received().pop().unwrap();
    assert_eq!(last.target, "/next");
    assert_eq!((last.header("authorization"), last.header("x-custom")), (vec!["Bearer canary"], vec!["1"]));
}

#[tokio::test]
async fn e8_a_hop_to_an_ungranted_origin_is_denied() {
    let other = Upstream::json("{}").await;
    for status in [301, 302, 303, 307, 308] {
        let to = other.url();
        let own = Upstream::start(move |_| redirect(status, &to)).await;
        let (connection, actions) = following(json!({"base_url": own.url()}), json!({}));
        let openact = http(connection, actions).await;
        let (error, _) = failure(&openact, "http/get", json!({})).await;
        assert_eq!(error.code, ErrorCode::EgressDenied, "{status}: {error:?}");
        assert_eq!(error.details.as_ref().unwrap()["denied"], other.url());
        assert_eq!((own.received().len(), other.connections()), (1, 0), "{status}");
    }
}

#[tokio::test]
async fn e8_a_hop_to_another_granted_origin_loses_every_credential() {
    let kinds = [
        json!({"type": "bearer", "token": "canary"}),
        json!({"type": "api_key", "value": "canary", "header": "X-Key"}),
        json!({"type": "api_key", "value": "canary", "query": "key"}),
        json!({"type": "api_key", "value": "canary", "cookie": "sid"}),
        json!({"type": "basic", "username": "u", "password": "canary"}),
    ];
    for authorization in kinds {
        let other = Upstream::json("{}").await;
        let to = other.url() + "/landed?kept=1";
        let own = Upstream::start(move |_| redirect(307, &to)).await;
        let (connection, actions) = following(
            json!({
                "base_url": own.url(), "authorization": authorization,
                "network": {"allowed_hosts": [other.url()]},
            }),
            json!({"headers": {"X-Custom": "mine", "Cookie": "mine=1", "Accept": "mine/1"}}),
        );
        let openact = http(connection, actions).await;
        assert_eq!(value(&openact, "http/get", json!({})).await["status_code"], 200);
        let first = format!("{:?}", own.received());
        assert!(first.contains("canary") || first.contains("dTpjYW5hcnk="), "{authorization}: {first}");
        let [landed] = &other.received()[..] else { panic!("one request") };
        assert_eq!(landed.target, "/landed?kept=1");
        let text = format!("{landed:?}");
        for lost in
            ["canary", "dTpjYW5hcnk=", "mine", "authorization", "cookie", "x-key", "x-custom", "referer"]
        {
            assert!(!text.contains(lost), "{authorization}: '{lost}' went along: {text}");
        }
    }
}

#[tokio::test]
async fn e8_a_detour_over_another_origin_does_not_bring_the_credential_back() {
    let (far, near) = (Arc::new(OnceLock::<String>::new()), OnceLock::<String>::new());
    let to = far.clone();
    let own = Upstream::start(move |received| match received.target.as_str() {
        "/start" => redirect(302, to.get().unwrap()),
        _ => Answer::Json("{}".into()),
    })
    .await;
    near.set(own.url() + "/back").unwrap();
    let other = Upstream::start(move |_| redirect(302, near.get().unwrap())).await;
    far.set(other.url()).unwrap();
    let (connection, actions) = following(
        json!({
            "base_url": own.url(), "authorization": {"type": "bearer", "token": "canary"},
            "network": {"allowed_hosts": [other.url()]},
        }),
        json!({}),
    );
    let openact = http(connection, actions).await;
    value(&openact, "http/get", json!({})).await;
    let back = own.received().pop().unwrap();
    assert_eq!((back.target.as_str(), back.header("authorization").len()), ("/back", 0));
}

#[tokio::test]
async fn e8_redirects_are_bounded() {
    let own = Upstream::start(|_| redirect(302, "/again")).await;
    let (connection, actions) = following(json!({"base_url": own.url()}), json!({}));
    let openact = http(connection, actions).await;
    let (error, _) = failure(&openact, "http/get", json!({})).await;
    assert_eq!(
        (error.code, setup::limit(&error)),
        (ErrorCode::LimitExceeded, Some("redirects")),
        "{error:?}"
    );
    assert_eq!(own.received().len(), 6);
}

#[tokio::test]
async fn e8_a_redirect_to_a_url_with_user_info_sends_no_authorization() {
    let own = Upstream::start(|received| match received.target.as_str() {
        "/start" => redirect(302, &format!("http://evil:secret@{}/next", received.header("host")[0])),
        _ => Answer::Json("{}".into()),
    })
    .await;
    let (connection, actions) = following(json!({"base_url": own.url()}), json!({}));
    let openact = http(connection, actions).await;
    let _ = openact.run("http/get", json!({})).await;
    for received in own.received() {
        assert!(received.header("authorization").is_empty(), "{received:?}");
    }
}

#[tokio::test]
async fn e9_proxy_variables_of_the_environment_are_ignored() {
    if let Some(url) = setup::role() {
        let openact = http(json!({"base_url": url}), json!({"get": {}})).await;
        assert_eq!(value(&openact, "http/get", json!({})).await["status_code"], 200);
        return;
    }
    let (upstream, proxy) = (Upstream::json("{}").await, Upstream::json("{}").await);
    let proxy_url = proxy.url();
    let names = ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
    let mut env = names.map(|name| (name, proxy_url.as_str())).to_vec();
    env.extend([("NO_PROXY", ""), ("no_proxy", "")]);
    let name = "egress::e9_proxy_variables_of_the_environment_are_ignored";
    let child = setup::start_again(name, &upstream.url(), &env);
    setup::assert_passed(&child.wait_with_output().await.unwrap());
    assert_eq!((upstream.received().len(), proxy.connections()), (1, 0));
}

#[tokio::test]
async fn e10_headers_the_host_decides_are_refused() {
    let upstream = Upstream::json("{}").await;
    let openact = http(json!({"base_url": upstream.url()}), json!({"get": {}})).await;
    let names = [
        "Host",
        "content-length",
        "Transfer-Encoding",
        "CONNECTION",
        "Keep-Alive",
        "Upgrade",
        "TE",
        "Trailer",
        "Expect",
        "Proxy-Authorization",
        "proxy-connection",
        "Proxy-Anything",
    ];
    for name in names {
        let (error, _) = failure(&openact, "http/get", json!({"headers": {name: "1"}})).await;
        assert_eq!(error.code, ErrorCode::EgressDenied, "{name}: {error:?}");
        assert!(error.message.contains(&name.to_lowercase()), "{error:?}");
    }
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn e10_line_breaks_and_nul_in_headers_are_refused() {
    let upstream = Upstream::json("{}").await;
    let openact = http(json!({"base_url": upstream.url()}), json!({"get": {}})).await;
    let headers = [
        json!({"X-A": "1\r\nX-Evil: 1"}),
        json!({"X-A": "1\nX-Evil: 1"}),
        json!({"X-A": "1\rX-Evil: 1"}),
        json!({"X-A": "1\0"}),
        json!({"X-A": ["fine", "1\r\n\r\nGET /evil HTTP/1.1"]}),
        json!({"X-A\r\nX-Evil": "1"}),
        json!({"X-A:": "1"}),
        json!({"X A": "1"}),
        json!({"X-A\0": "1"}),
        json!({"": "1"}),
    ];
    for headers in headers {
        let (error, _) = failure(&openact, "http/get", json!({ "headers": headers })).await;
        assert_eq!(error.code, ErrorCode::InvalidInput, "{headers}: {error:?}");
        assert!(!error.message.contains(['\r', '\n', '\0']), "{:?}", error.message);
    }
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn e10_methods_that_open_tunnels_or_smuggle_are_refused() {
    let upstream = Upstream::json("{}").await;
    for method in ["CONNECT", "connect", "TRACE", "GET / HTTP/1.1\r\nX-Evil: 1\r\n\r\n", "G T", ""] {
        let text = config("http", json!({"base_url": upstream.url()}), json!({"get": {"method": method}}));
        // Some are refused when the file is read, the rest when the call is made.
        if let Ok(openact) = memory(&[]).config_text(text, Format::Json).build().await {
            let (error, _) = failure(&openact, "http/get", json!({})).await;
            assert_eq!(error.code, ErrorCode::InvalidConfig, "{method:?}: {error:?}");
        }
    }
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn a_caller_cannot_retarget_an_action() {
    let (own, other) = (Upstream::json("{}").await, Upstream::json("{}").await);
    let openact =
        http(json!({"base_url": own.url() + "/base"}), json!({"get": {"path": "/users/{id}"}})).await;
    let there = other.address();
    for id in [
        format!("//{there}/"),
        format!("@{there}"),
        format!("\\\\{there}"),
        format!("http://{there}"),
        "a/b?c#d".to_owned(),
    ] {
        let input = json!({"id": id, "base_url": other.url(), "path": "/evil", "method": "DELETE"});
        let result = openact.run("http/get", input).await;
        if let Ok(outcome) = result {
            assert_eq!(outcome.result.value().unwrap()["status_code"], 200);
        }
    }
    assert_eq!(other.connections(), 0);
    assert!(!own.received().is_empty());
    for received in own.received() {
        let segment = received.target.strip_prefix("/base/users/").expect(&received.target);
        assert!(!segment.contains(['/', '?', '#', '@', '\\']), "{}", received.target);
        assert_eq!(received.method, "GET");
    }
}

#[tokio::test]
async fn e14_a_response_over_its_limit_is_refused() {
    for announced in [Some(2 << 30), None] {
        let upstream = Upstream::start(move |_| Answer::Endless { announced }).await;
        let connection = json!({"base_url": upstream.url(), "limits": {"response_bytes": 1 << 20}});
        let openact = http(connection, json!({"get": {}})).await;
        let (error, run) = failure(&openact, "http/get", json!({})).await;
        let expected = (ErrorCode::LimitExceeded, Some("response_bytes"));
        assert_eq!((error.code, setup::limit(&error)), expected, "{error:?}");
        // What is announced is refused before any of it is read.
        assert_eq!(run.usage.response_bytes == 0, announced.is_some(), "{:?}", run.usage);
    }
}

#[tokio::test]
async fn e14_header_counts_and_sizes_are_bounded_both_ways() {
    let upstream = Upstream::start(|_| {
        let name = |number: usize| (format!("x-{number}"), "1".to_owned());
        Answer::Full { status: 200, headers: (0..200).map(name).collect(), body: Vec::new() }
    })
    .await;
    let openact = http(json!({"base_url": upstream.url()}), json!({"get": {}})).await;
    let (error, _) = failure(&openact, "http/get", json!({})).await;
    assert_eq!(error.code, ErrorCode::NetworkError, "{error:?}");
    let many: Value = (0..129).map(|number| (format!("x-{number}"), json!("1"))).collect();
    for headers in [many, json!({"x-long": "x".repeat(64 * 1024)})] {
        let (error, _) = failure(&openact, "http/get", json!({ "headers": headers })).await;
        let expected = (ErrorCode::LimitExceeded, Some("request_headers"));
        assert_eq!((error.code, setup::limit(&error)), expected, "{error:?}");
    }
    assert_eq!(upstream.received().len(), 1);
}
