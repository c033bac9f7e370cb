//! Proxies of a connection: Squid and SOCKS5, with and without a password, and what each of them gets to see.
//!
//! Invariant: what went through a proxy is shown by the proxy's own log or by what it adds, not by the call's success.

use openact::{ErrorCode, OpenAct};
use serde_json::{Value, json};
use support::{
    ca::pki,
    servers::{Proxy, credentials, socks, socks_with_password, squid, squid_tls, verifier},
    upstream::{Answer, Upstream},
};

use crate::{
    logged::Logged,
    setup::{Via, failure, memory, value},
};

/// A connection through a proxy.
fn through(url: &str, proxy: Value) -> Value {
    json!({
        "base_url": url, "network": {"proxy": proxy, "tls": {"ca": pki().ca.text}},
        "timeout": {"connect_ms": 5_000, "read_ms": 5_000},
    })
}

fn with_password(proxy: &Proxy, password: &str) -> Value {
    json!({"url": proxy.url, "username": Proxy::USER, "password": password})
}

/// Through Squid, with the credential that the verifier's `/bearer` wants.
fn of_the_bearer(url: &str) -> Value {
    let mut connection = through(url, with_password(squid(), Proxy::PASSWORD));
    connection["authorization"] = json!({"type": "bearer", "token": credentials::BEARER});
    connection
}

async fn openact(via: Via, connection: Value) -> OpenAct {
    via.build(memory(&[]), connection, json!({})).await
}

fn body(answer: &Value) -> Value {
    match &answer["body"] {
        Value::String(text) => serde_json::from_str(text).unwrap(),
        body => body.clone(),
    }
}

/// Nothing of the proxy's password, as it is or as basic authentication writes it.
fn assert_no_password(place: &str, text: &str) {
    use base64::{Engine, prelude::BASE64_STANDARD};
    let basic = BASE64_STANDARD.encode(format!("{}:{}", Proxy::USER, Proxy::PASSWORD));
    for secret in [Proxy::PASSWORD, basic.as_str()] {
        assert!(!text.contains(secret), "{place} holds {secret}: {text}");
    }
}

#[tokio::test]
async fn squid_gets_the_whole_url_of_http_and_its_password_alone() {
    for via in Via::BOTH {
        let realm = verifier().realm();
        let connection = of_the_bearer(&realm.url);
        let checked = via.build(memory(&[]), connection.clone(), json!({"path": "/bearer"})).await;
        assert_eq!(value(&checked, via.action(), json!({})).await["status_code"], 200);
        let openact = via.build(memory(&[]), connection, json!({"path": "/echo"})).await;
        let seen = body(&value(&openact, via.action(), json!({})).await);
        let headers = seen["headers"].to_string();
        assert!(headers.contains("squid.test"), "{via:?} {headers}");
        assert!(!headers.to_lowercase().contains("proxy-authorization"), "{headers}");
        assert_no_password("the target", &seen.to_string());
        // Squid's line has the URL as it was asked for, and for whom.
        let line = format!("200 GET {}/echo {}", realm.url, Proxy::USER);
        assert!(squid().log().contains(&line), "{}", squid().log());
    }
}

#[tokio::test]
async fn squid_tunnels_https_and_sees_nothing_inside() {
    for via in Via::BOTH {
        let realm = verifier().realm();
        let connection = of_the_bearer(&realm.on(&verifier().https()));
        let checked = via.build(memory(&[]), connection.clone(), json!({"path": "/bearer"})).await;
        assert_eq!(value(&checked, via.action(), json!({})).await["status_code"], 200);
        let openact = via.build(memory(&[]), connection, json!({"path": "/echo"})).await;
        let seen = body(&value(&openact, via.action(), json!({})).await);
        assert_eq!(seen["tls"]["version"], "TLSv1.3", "{seen}");
        let headers = seen["headers"].to_string().to_lowercase();
        assert!(headers.contains("authorization") && !headers.contains("proxy-"), "{headers}");
        assert!(!headers.contains("squid.test"), "{headers}");
    }
}

#[tokio::test]
async fn squid_by_tls_gets_the_same_and_is_verified() {
    let by_tls = || with_password(squid_tls(), Proxy::PASSWORD);
    for via in Via::BOTH {
        let realm = verifier().realm();
        for (base, is_tunnel) in [(realm.url.clone(), false), (realm.on(&verifier().https()), true)] {
            let mut connection = through(&base, by_tls());
            connection["authorization"] = json!({"type": "bearer", "token": credentials::BEARER});
            let checked = via.build(memory(&[]), connection.clone(), json!({"path": "/bearer"})).await;
            assert_eq!(value(&checked, via.action(), json!({})).await["status_code"], 200, "{via:?} {base}");
            let openact = via.build(memory(&[]), connection.clone(), json!({"path": "/echo"})).await;
            let seen = body(&value(&openact, via.action(), json!({})).await);
            let headers = seen["headers"].to_string().to_lowercase();
            assert_eq!(headers.contains("squid.test"), !is_tunnel, "{via:?} {headers}");
            assert!(!headers.contains("proxy-authorization"), "{via:?} {headers}");
            assert_no_password("the target", &seen.to_string());
            // The authority is asked for the proxy too, and a wrong password is one by TLS too.
            connection["network"]["tls"] = json!({"ca": pki().foreign_ca.text, "ca_only": true});
            let openact = self::openact(via, connection).await;
            let (error, run) = failure(&openact, via.action(), json!({})).await;
            assert_eq!(error.code, ErrorCode::NetworkError, "{via:?} {base}: {error:?}");
            assert!(error.message.contains("UnknownIssuer"), "{via:?} {base}: {error:?}");
            assert_no_password("the error", &format!("{error:?} {}", run.to_json()));
            let wrong = through(&base, with_password(squid_tls(), "wrong-password"));
            let openact = self::openact(via, wrong).await;
            let refused = openact.execute(crate::setup::request(via.action(), json!({}))).await;
            match refused.result {
                Ok(answer) => {
                    assert_eq!((&answer.value().unwrap()["status_code"], is_tunnel), (&json!(407), false))
                }
                Err(error) => assert!(error.message.contains("proxy auth") && is_tunnel, "{error:?}"),
            }
        }
        // Two that were checked, two that were echoed.
        assert_eq!(realm.requests().await, 4);
        let line = format!("200 GET {}/echo {}", realm.url, Proxy::USER);
        assert!(squid_tls().log().contains(&line), "{}", squid_tls().log());
    }
}

/// A proxy that only remembers: what it is asked is what anybody's proxy would see.
#[tokio::test]
async fn c3_the_targets_credential_is_not_for_the_proxy_and_the_other_way_round() {
    let proxy = Upstream::start(|received| match received.method.as_str() {
        "CONNECT" => Answer::full(403, &[], "no tunnels here"),
        _ => Answer::Json("{}".into()),
    })
    .await;
    let authorizations = [
        json!({"type": "bearer", "token": "canary-of-the-target"}),
        json!({"type": "api_key", "value": "canary-of-the-target", "header": "X-Key"}),
        json!({"type": "api_key", "value": "canary-of-the-target", "query": "key"}),
        json!({"type": "api_key", "value": "canary-of-the-target", "cookie": "sid"}),
    ];
    for via in Via::BOTH {
        for authorization in &authorizations {
            let asked = proxy.received().len();
            let proxied = json!({"url": proxy.url(), "username": Proxy::USER, "password": Proxy::PASSWORD});
            let mut connection = through("https://api.test/path?query=1", proxied);
            connection["authorization"] = authorization.clone();
            let openact = openact(via, connection).await;
            let (error, run) = failure(&openact, via.action(), json!({})).await;
            assert_eq!(error.code, ErrorCode::NetworkError, "{error:?}");
            assert_no_password("the error", &format!("{error:?} {}", run.to_json()));
            let received = &proxy.received()[asked..];
            assert_eq!(received.len(), 1);
            assert_eq!(
                (received[0].method.as_str(), received[0].target.as_str()),
                ("CONNECT", "api.test:443")
            );
            assert_eq!(received[0].header("proxy-authorization").len(), 1);
            let text = format!("{received:?}");
            assert!(!text.contains("canary") && !text.contains("/path"), "{via:?} {text}");
        }
    }
    // Plain http has no inside: the proxy sees the request, in absolute form, with its own password beside.
    let connection = through(
        "http://api.test/path",
        json!({"url": proxy.url(), "username": Proxy::USER, "password": Proxy::PASSWORD}),
    );
    let openact = openact(Via::Contract, connection).await;
    value(&openact, "http/send", json!({})).await;
    let last = proxy.received().pop().unwrap();
    assert_eq!((last.target.as_str(), last.header("host")), ("http://api.test/path", vec!["api.test"]));
    assert_eq!(last.header("authorization").len(), 0);
}

#[tokio::test]
async fn c1_a_wrong_or_missing_password_is_a_clear_error_without_it() {
    let logged = Logged::start();
    let realm = verifier().realm();
    let secure = format!("{}/echo", realm.on(&verifier().https()));
    let wrong = with_password(squid(), "wrong-password");
    for via in Via::BOTH {
        for proxy in [wrong.clone(), json!(squid().url)] {
            let openact = openact(via, through(&secure, proxy.clone())).await;
            let (error, run) = failure(&openact, via.action(), json!({})).await;
            assert_eq!(error.code, ErrorCode::NetworkError, "{error:?}");
            assert!(error.message.contains("proxy auth"), "{}", error.message);
            let text = format!("{error:?} {} {}", error.to_json(), run.to_json());
            assert!(!text.contains("wrong-password"), "{text}");
            // Of plain http the proxy's refusal is the answer.
            let openact = self::openact(via, through(&format!("{}/echo", realm.url), proxy)).await;
            assert_eq!(value(&openact, via.action(), json!({})).await["status_code"], 407);
        }
        let proxy = with_password(socks_with_password(), "wrong-password");
        for proxy in [proxy, json!(socks_with_password().url)] {
            let openact = openact(via, through(&format!("{}/echo", realm.url), proxy)).await;
            let (error, _) = failure(&openact, via.action(), json!({})).await;
            assert_eq!(error.code, ErrorCode::NetworkError, "{error:?}");
            assert!(!format!("{error:?}").contains("wrong-password"), "{error:?}");
        }
    }
    assert_eq!(realm.requests().await, 0);
    assert!(!logged.text().contains("wrong-password"));
    assert!(logged.text().contains("hyper"), "the log is at its most verbose");
}

#[tokio::test]
async fn c1_the_password_is_in_no_log_record_or_export() {
    let logged = Logged::start();
    let realm = verifier().realm();
    for (proxy, url) in [
        (squid(), format!("{}/echo", realm.url)),
        (squid(), format!("{}/echo", realm.on(&verifier().https()))),
        (socks_with_password(), format!("{}/echo", realm.url)),
    ] {
        let openact = openact(Via::Contract, through(&url, with_password(proxy, Proxy::PASSWORD))).await;
        let outcome = openact.run("http/send", json!({})).await.unwrap();
        assert_no_password("the record", &format!("{:?} {}", outcome.run, outcome.run.to_json()));
        assert_no_password("the result", outcome.result.as_str());
        let tenant = openact::Tenant::default();
        let export = openact.export(&tenant, &[], openact::Format::Yaml).await.unwrap();
        assert!(export.contains(Proxy::USER), "{export}");
        assert_no_password("the export", &export);
        assert_no_password("show", &openact.show(&tenant, "http/c").await.unwrap().to_json().to_string());
    }
    assert_eq!(realm.requests().await, 3);
    assert_no_password("the log", &logged.text());
}

#[tokio::test]
async fn socks_forwards_http_and_https() {
    for via in Via::BOTH {
        let realm = verifier().realm();
        for proxy in [
            json!(socks().url),
            json!(socks().url.replace("socks5:", "socks5h:")),
            with_password(socks_with_password(), Proxy::PASSWORD),
        ] {
            for base in [realm.url.clone(), realm.on(&verifier().https())] {
                let openact = openact(via, through(&format!("{base}/echo"), proxy.clone())).await;
                assert_eq!(
                    value(&openact, via.action(), json!({})).await["status_code"],
                    200,
                    "{via:?} {proxy}"
                );
            }
        }
        assert_eq!(realm.requests().await, 6);
    }
}

#[tokio::test]
async fn e9_a_proxy_is_checked_as_any_other_host() {
    let (proxy, target) = (Upstream::json("{}").await, Upstream::json("{}").await);
    let port = proxy.address().port();
    let only: Vec<openact::PrivateRule> = vec![target.address().to_string().parse().unwrap()];
    for via in Via::BOTH {
        for scheme in ["http", "https", "socks5", "socks5h"] {
            for host in ["127.0.0.1", "127.1", "[::1]", "[::ffff:127.0.0.1]", "localhost", "169.254.169.254"]
            {
                let url = format!("{scheme}://{host}:{port}");
                let builder = memory(&[]).allow_private_only(only.clone());
                let openact = via.build(builder, through(&target.url(), json!(url)), json!({})).await;
                let (error, run) = failure(&openact, via.action(), json!({})).await;
                // The client's SOCKS part does not say why it could not connect.
                let hidden = scheme.starts_with("socks") && host == "localhost";
                let code = if hidden { ErrorCode::NetworkError } else { ErrorCode::EgressDenied };
                assert_eq!(error.code, code, "{via:?} {url}: {error:?}");
                assert_eq!(run.host_calls[0].outcome, code.as_str(), "{url}");
            }
        }
        // The metadata service is nobody's proxy.
        let openact = openact(via, through(&target.url(), json!("http://169.254.169.254:80"))).await;
        let (error, _) = failure(&openact, via.action(), json!({})).await;
        assert_eq!(error.code, ErrorCode::EgressDenied, "{error:?}");
    }
    assert_eq!((proxy.connections(), target.connections()), (0, 0));
    // With its own rule it is used.
    let both = [only, vec![proxy.address().to_string().parse().unwrap()]].concat();
    let builder = memory(&[]).allow_private_only(both);
    let openact = Via::Contract.build(builder, through(&target.url(), json!(proxy.url())), json!({})).await;
    value(&openact, "http/send", json!({})).await;
    assert_eq!((proxy.received().len(), target.connections()), (1, 0));
    assert_eq!(proxy.received()[0].target, target.url() + "/");
}

#[tokio::test]
async fn e9_what_is_denied_is_not_asked_of_the_proxy_either() {
    let proxy = Upstream::json("{}").await;
    let only = || vec![proxy.address().to_string().parse().unwrap()];
    for via in Via::BOTH {
        for url in [
            "http://10.0.0.1/",
            "http://[::1]:81/",
            "http://169.254.169.254/",
            "http://metadata.google.internal/",
        ] {
            let builder = memory(&[]).allow_private_only(only());
            let openact = via.build(builder, through(url, json!(proxy.url())), json!({})).await;
            let (error, _) = failure(&openact, via.action(), json!({})).await;
            assert_eq!(error.code, ErrorCode::EgressDenied, "{via:?} {url}: {error:?}");
        }
    }
    assert_eq!(proxy.connections(), 0);
}
