//! Private addresses through the whole runtime: what an operator did not open is not dialled, however it is written,
//! wherever a name leads, whoever asks.
//!
//! Invariant: the witness of "not dialled" is a listener that counts, or the client's own log; never the error alone.

use std::{
    collections::VecDeque,
    io,
    net::{IpAddr, Ipv4Addr, TcpListener},
    pin::Pin,
    sync::{Arc, Mutex},
};

use openact::{Builder, ErrorCode, PrivateRule, Resolve};
use serde_json::{Value, json};
use support::{
    ca::{INTERNAL_NAME, pki},
    servers::verifier,
    upstream::{Answer, Upstream},
};

use crate::{
    logged::Logged,
    setup::{Via, failure, memory, request, value},
};

/// A resolver with one answer after the other, of which the last stays. It remembers what it was asked.
#[derive(Clone, Default)]
struct Names(Arc<Mutex<Asked>>);

#[derive(Default)]
struct Asked {
    answers: VecDeque<Vec<IpAddr>>,
    hosts: Vec<String>,
}

impl Names {
    /// Each answer as addresses between spaces.
    fn answering(answers: &[&str]) -> Self {
        let parse = |answer: &&str| answer.split(' ').map(|text| text.parse().unwrap()).collect();
        let answers = answers.iter().map(parse).collect();
        Self(Arc::new(Mutex::new(Asked { answers, hosts: Vec::new() })))
    }

    fn asked(&self) -> Vec<String> {
        self.0.lock().unwrap().hosts.clone()
    }
}

impl Resolve for Names {
    fn resolve<'a>(
        &'a self,
        host: &'a str,
    ) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>> {
        let mut state = self.0.lock().unwrap();
        state.hosts.push(host.to_owned());
        let last = state.answers.len() == 1;
        let answer = if last { state.answers.front().cloned() } else { state.answers.pop_front() };
        Box::pin(async move { Ok(answer.unwrap()) })
    }
}

fn rules(list: &[&str]) -> Vec<PrivateRule> {
    list.iter().map(|text| text.parse().unwrap()).collect()
}

/// As a server would be, with this list of the operator's.
fn only(list: &[&str]) -> Builder {
    memory(&[]).allow_private_only(rules(list))
}

/// A connection that does not wait for addresses where nobody is.
fn to(url: &str) -> Value {
    json!({"base_url": url, "timeout": {"connect_ms": 500, "read_ms": 2_000}})
}

/// Fails unless the call is denied before any attempt; gives the address that was the reason.
async fn denied(via: Via, builder: Builder, connection: Value, what: &str) -> Option<String> {
    let openact = via.build(builder, connection, json!({})).await;
    let (error, run) = failure(&openact, via.action(), json!({})).await;
    assert_eq!(error.code, ErrorCode::EgressDenied, "{via:?} {what}: {error:?}");
    assert!(error.hint.is_some(), "{what}");
    let outcomes: Vec<&str> = run.host_calls.iter().map(|call| call.outcome.as_str()).collect();
    assert_eq!(outcomes, ["egress_denied"], "{via:?} {what}");
    Some(error.details.as_ref()?.get("address")?.as_str()?.to_owned())
}

/// The first and the last address of each network of E2.
const PRIVATE: [(&str, &str); 22] = [
    ("0.0.0.0", "0.255.255.255"),
    ("10.0.0.0", "10.255.255.255"),
    ("100.64.0.0", "100.127.255.255"),
    ("127.0.0.0", "127.255.255.255"),
    ("169.254.0.0", "169.254.255.255"),
    ("172.16.0.0", "172.31.255.255"),
    ("192.0.0.0", "192.0.0.255"),
    ("192.0.2.0", "192.0.2.255"),
    ("192.168.0.0", "192.168.255.255"),
    ("198.18.0.0", "198.19.255.255"),
    ("198.51.100.0", "198.51.100.255"),
    ("203.0.113.0", "203.0.113.255"),
    ("224.0.0.0", "239.255.255.255"),
    ("240.0.0.0", "255.255.255.254"),
    ("255.255.255.255", "255.255.255.255"),
    ("::", "::"),
    ("::1", "::1"),
    ("fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("fe80::1", "fd00::1"),
];

/// The same address as loopback's, inside others.
const EMBEDDED: [&str; 7] = [
    "::ffff:127.0.0.1",
    "::127.0.0.1",
    "64:ff9b::127.0.0.1",
    "64:ff9b:1::127.0.0.1",
    "2002:7f00:1::",
    "2001:0:7f00:1::1",
    "2001::80ff:fffe",
];

#[tokio::test]
async fn e2_no_private_answer_of_a_name_is_dialled() {
    let addresses: Vec<&str> =
        PRIVATE.iter().flat_map(|(first, last)| [*first, *last]).chain(EMBEDDED).collect();
    for via in Via::BOTH {
        let names = Names::answering(&addresses);
        let openact = via.build(only(&[]).resolver(names.clone()), to("http://api.test:81"), json!({})).await;
        for (number, address) in addresses.iter().enumerate() {
            let (error, run) = failure(&openact, via.action(), json!({})).await;
            assert_eq!(error.code, ErrorCode::EgressDenied, "{via:?} {address}: {error:?}");
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(error.details.as_ref().unwrap()["address"], address.to_string());
            assert_eq!(run.host_calls.len(), 1);
            assert_eq!(names.asked().len(), number + 1);
        }
    }
}

#[tokio::test]
async fn e2_no_private_literal_is_dialled() {
    for (number, (first, last)) in PRIVATE.iter().enumerate() {
        let via = Via::BOTH[number % 2];
        for address in [first, last] {
            let host = if address.contains(':') { format!("[{address}]") } else { (*address).to_owned() };
            let seen = denied(via, only(&[]), to(&format!("http://{host}:81")), address).await;
            assert_eq!(seen, Some(address.parse::<IpAddr>().unwrap().to_string()));
        }
    }
}

#[tokio::test]
async fn e3_loopback_is_not_reached_by_any_spelling_or_embedded_form() {
    let upstream = Upstream::json("{}").await;
    let port = upstream.address().port();
    let spelt = ["127.0.0.1", "127.1", "0x7f.1", "2130706433", "0177.0.0.1", "127.0.0.1.", "①②⑦.0.0.1"];
    let hosts = spelt.map(str::to_owned).into_iter().chain(EMBEDDED.map(|address| format!("[{address}]")));
    for host in hosts {
        // By wasi:http an authority is ASCII.
        for via in Via::BOTH.into_iter().filter(|via| *via == Via::Contract || host.is_ascii()) {
            denied(via, only(&[]), to(&format!("http://{host}:{port}")), &host).await;
        }
    }
    assert_eq!(upstream.connections(), 0);
    // What the first of them and the v4-mapped form would have reached.
    for host in ["127.0.0.1", "[::ffff:127.0.0.1]"] {
        let openact = Via::Contract.build(memory(&[]), to(&format!("http://{host}:{port}")), json!({})).await;
        value(&openact, "http/send", json!({})).await;
    }
    assert_eq!(upstream.received().len(), 2);
}

#[tokio::test]
async fn e5_metadata_services_are_refused_even_where_named_hosts_may_be_private() {
    let addresses = [
        "169.254.169.254",
        "169.254.170.2",
        "fd00:ec2::254",
        "100.100.100.200",
        "192.0.0.192",
        "::ffff:a9fe:a9fe",
    ];
    for via in Via::BOTH {
        for address in addresses {
            let host = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
            denied(via, memory(&[]), to(&format!("http://{host}")), address).await;
            // Nor by a network that it lies in, nor where another name leads to it.
            let network = if address.starts_with("fd") { "fd00::/8" } else { "0.0.0.0/0" };
            let mut connection = to("http://innocent.test");
            connection["network"] = json!({"allow_private": [network, "innocent.test:80"]});
            let builder = memory(&[]).resolver(Names::answering(&[address]));
            let seen = denied(via, builder, connection, address).await;
            assert_eq!(seen, Some(address.parse::<IpAddr>().unwrap().to_string()));
        }
        // The name is refused before anyone is asked for its address.
        for name in ["metadata.google.internal", "METADATA.google.internal.", "metadata.goog"] {
            let names = Names::answering(&["127.0.0.1"]);
            denied(via, memory(&[]).resolver(names.clone()), to(&format!("http://{name}")), name).await;
            assert_eq!(names.asked().len(), 0, "{name}");
        }
    }
}

#[tokio::test]
async fn e5_a_rule_that_is_the_very_name_opens_it() {
    let upstream = Upstream::json("{}").await;
    let port = upstream.address().port();
    let rule = format!("metadata.google.internal:{port}");
    let builder = only(&[&rule]).resolver(Names::answering(&["127.0.0.1"]));
    let openact = Via::Contract.build(builder, to(&format!("http://{rule}")), json!({})).await;
    assert_eq!(value(&openact, "http/send", json!({})).await["status_code"], 200);
    assert_eq!(upstream.received()[0].header("host"), [rule]);
}

/// A listener on another loopback address, where there is one; it counts by what its queue holds.
struct Canary(Option<TcpListener>);

impl Canary {
    fn beside(upstream: &Upstream) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::new(127, 0, 0, 2), upstream.address().port())).ok();
        if let Some(listener) = &listener {
            listener.set_nonblocking(true).unwrap();
        }
        Self(listener)
    }

    fn is_untouched(&self) -> bool {
        self.0.as_ref().is_none_or(|listener| listener.accept().is_err())
    }
}

/// An upstream that ends each connection, so that the next request makes a new one.
async fn closing() -> Upstream {
    Upstream::start(|_| {
        Answer::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}".to_vec())
    })
    .await
}

#[tokio::test]
async fn e6_a_name_that_is_rebound_is_looked_up_once_and_its_second_address_never_dialled() {
    for via in Via::BOTH {
        let upstream = closing().await;
        let canary = Canary::beside(&upstream);
        let host = format!("rebound.test:{}", upstream.address().port());
        // 127.0.0.1 is what may be dialled here; the next answer is not.
        let names = Names::answering(&["127.0.0.1", "127.0.0.2"]);
        let builder = only(&["127.0.0.1/32"]).resolver(names.clone());
        let openact = via.build(builder, to(&format!("http://{host}")), json!({})).await;
        assert_eq!(value(&openact, via.action(), json!({})).await["status_code"], 200, "{via:?}");
        assert_eq!((names.asked(), upstream.connections()), (vec!["rebound.test".to_owned()], 1));
        assert_eq!(upstream.received()[0].header("host"), [host.as_str()]);
        for lookups in [2, 3] {
            let (error, _) = failure(&openact, via.action(), json!({})).await;
            assert_eq!(error.code, ErrorCode::EgressDenied, "{via:?} {error:?}");
            assert_eq!(error.details.as_ref().unwrap()["address"], "127.0.0.2");
            assert_eq!((names.asked().len(), upstream.connections()), (lookups, 1));
        }
        assert!(canary.is_untouched());
    }
}

#[tokio::test]
async fn e6_tls_names_the_host_not_the_address() {
    let verifier = verifier();
    let host = format!("{INTERNAL_NAME}:{}", verifier.port("https"));
    for via in Via::BOTH {
        let names = Names::answering(&["127.0.0.1"]);
        let mut connection = to(&format!("https://{host}/echo"));
        connection["network"] = json!({"tls": {"ca": pki().ca.text, "ca_only": true}});
        let openact = via.build(only(&["127.0.0.1"]).resolver(names.clone()), connection, json!({})).await;
        let answer = value(&openact, via.action(), json!({})).await;
        let seen = match &answer["body"] {
            Value::String(text) => serde_json::from_str(text).unwrap(),
            body => body.clone(),
        };
        assert_eq!(seen["tls"]["sni"], INTERNAL_NAME, "{seen}");
        let headers: Vec<(String, String)> = serde_json::from_value(seen["headers"].clone()).unwrap();
        let sent: Vec<_> = headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("host")).collect();
        assert_eq!(sent.len(), 1);
        assert_eq!(sent[0].1, host);
        assert_eq!(names.asked(), [INTERNAL_NAME]);
    }
}

#[tokio::test]
async fn e7_of_a_mixed_answer_only_what_is_allowed_is_dialled() {
    for via in Via::BOTH {
        let upstream = Upstream::json("{}").await;
        let canary = Canary::beside(&upstream);
        let port = upstream.address().port();
        let logged = Logged::start();
        let names = Names::answering(&["10.255.255.1 127.0.0.2 127.0.0.1 169.254.169.254 ::1"]);
        let builder = only(&["127.0.0.1/32"]).resolver(names.clone());
        let openact = via.build(builder, to(&format!("http://mixed.test:{port}")), json!({})).await;
        assert_eq!(value(&openact, via.action(), json!({})).await["status_code"], 200, "{via:?}");
        let dialled = logged.lines("connecting to ");
        assert_eq!(dialled.len(), 1, "{dialled:?}");
        assert!(dialled[0].ends_with(&format!("connecting to 127.0.0.1:{port}")), "{dialled:?}");
        assert!(canary.is_untouched());
        assert_eq!((names.asked().len(), upstream.connections()), (1, 1));
    }
}

#[tokio::test]
async fn e11_an_opt_in_opens_what_it_says_and_nothing_else() {
    let (open, closed) = (Upstream::json("{}").await, Upstream::json("{}").await);
    let (here, there) = (open.address().port(), closed.address().port());
    let port = format!("127.0.0.1:{here}");
    let name = format!("db.test:{here}");
    // The operator's rule, the URL's host and port, whether it is reached.
    let cases = [
        (port.as_str(), "127.0.0.1", here, true),
        (&port, "db.test", here, true),
        (&port, "127.0.0.1", there, false),
        (&port, "127.0.0.2", here, false),
        (&port, "[::1]", here, false),
        ("127.0.0.1/32", "127.0.0.1", here, true),
        ("127.0.0.1/32", "127.0.0.2", here, false),
        ("127.0.0.1/32", "[::1]", here, false),
        ("127.0.0.1/32", "[64:ff9b::127.0.0.1]", here, false),
        ("127.0.0.2/31", "127.0.0.1", here, false),
        ("10.0.0.0/8", "127.0.0.1", here, false),
        (&name, "db.test", here, true),
        (&name, "db.test", there, false),
        (&name, "other.test", here, false),
        (&name, "127.0.0.1", here, false),
    ];
    let mut reached = 0;
    for via in Via::BOTH {
        for (rule, host, port, opens) in cases {
            let builder = only(&[rule]).resolver(Names::answering(&["127.0.0.1"]));
            let openact = via.build(builder, to(&format!("http://{host}:{port}")), json!({})).await;
            let result = openact.execute(request(via.action(), json!({}))).await.result;
            let outcome = result.as_ref().map(|_| ()).map_err(|error| error.code);
            let expected = if opens { Ok(()) } else { Err(ErrorCode::EgressDenied) };
            assert_eq!(outcome, expected, "{via:?} {rule}: {host}:{port}: {:?}", result.err());
            reached += usize::from(opens);
        }
    }
    assert_eq!((open.received().len(), closed.connections()), (reached, 0));
}

#[tokio::test]
async fn e11_a_connection_cannot_open_what_the_operator_did_not() {
    let upstream = Upstream::json("{}").await;
    for via in Via::BOTH {
        for rule in ["127.0.0.0/8".to_owned(), upstream.address().to_string()] {
            let mut connection = to(&upstream.url());
            connection["network"] = json!({ "allow_private": [rule] });
            denied(via, only(&["10.0.0.0/8"]), connection, &rule).await;
        }
    }
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn e11_the_rule_a_denial_names_is_the_rule_that_opens_it() {
    let upstream = Upstream::json("{}").await;
    let host = format!("http://db.test:{}", upstream.address().port());
    let build = |list: Vec<PrivateRule>| {
        let builder = memory(&[]).allow_private_only(list).resolver(Names::answering(&["127.0.0.1"]));
        Via::Contract.build(builder, to(&host), json!({}))
    };
    let (error, _) = failure(&build(vec![]).await, "http/send", json!({})).await;
    let hint = error.hint.clone().unwrap();
    let rule = hint.rsplit_once("--allow-private ").unwrap().1;
    let openact = build(rules(&[rule])).await;
    assert_eq!(value(&openact, "http/send", json!({})).await["status_code"], 200);
}

#[tokio::test]
async fn e12_a_token_endpoint_is_under_the_same_rules() {
    let (upstream, tokens) = (
        Upstream::json("{}").await,
        Upstream::json(r#"{"access_token": "t", "token_type": "Bearer"}"#).await,
    );
    let client = |url: &str| json!({"type": "oauth2_client_credentials", "token_url": url, "client_id": "c", "client_secret": "s3cret"});
    let assertion = |url: &str| json!({"type": "jwt", "use": "grant", "token_url": url, "algorithm": "HS256", "key": "0123456789abcdef0123456789abcdef"});
    let own = upstream.address().to_string();
    let by_name = format!("http://tokens.test:{}/t", tokens.address().port());
    for via in Via::BOTH {
        for (url, opened) in [
            (tokens.url(), vec![own.as_str()]),
            (by_name.clone(), vec![&own]),
            ("http://169.254.169.254/t".into(), vec!["0.0.0.0/0"]),
            ("http://metadata.google.internal/t".into(), vec!["0.0.0.0/0"]),
        ] {
            for authorization in [client(&url), assertion(&url)] {
                let mut connection = to(&upstream.url());
                connection["authorization"] = authorization;
                let names = Names::answering(&["127.0.0.1"]);
                denied(via, only(&opened).resolver(names), connection, &url).await;
            }
        }
        assert_eq!((upstream.connections(), tokens.connections()), (0, 0));
    }
    // With both opened it works, so that it was the rule.
    let mut connection = to(&upstream.url());
    connection["authorization"] = client(&by_name);
    let builder = only(&["127.0.0.1"]).resolver(Names::answering(&["127.0.0.1"]));
    let openact = Via::Contract.build(builder, connection, json!({})).await;
    value(&openact, "http/send", json!({})).await;
    assert_eq!(upstream.received()[0].header("authorization"), ["Bearer t"]);
}

#[tokio::test]
async fn e12_a_vault_may_be_private_because_the_operator_names_it_but_no_metadata_service() {
    let vault = Upstream::json(r#"{"data": {"data": {"token": "from the vault"}}}"#).await;
    let upstream = Upstream::json("{}").await;
    let mut connection = to(&upstream.url());
    connection["authorization"] = json!({"type": "bearer", "token": "vault://kv/app#/token"});
    let own = upstream.address().to_string();
    let builder = |address: &str| {
        memory(&[("VAULT_ADDR", address), ("VAULT_TOKEN", "root")]).allow_private_only(rules(&[&own]))
    };
    let openact = Via::Contract.build(builder(&vault.url()), connection.clone(), json!({})).await;
    value(&openact, "http/send", json!({})).await;
    assert_eq!(upstream.received()[0].header("authorization"), ["Bearer from the vault"]);
    assert_eq!(vault.received()[0].target, "/v1/kv/data/app");
    let openact = Via::Contract.build(builder("http://169.254.169.254"), connection, json!({})).await;
    let (error, _) = failure(&openact, "http/send", json!({})).await;
    assert_eq!(error.code, ErrorCode::EgressDenied, "{error:?}");
    assert_eq!(upstream.received().len(), 1);
}

#[tokio::test]
async fn e13_the_policy_speaks_before_anything_else() {
    let other = Upstream::json("{}").await;
    let long = "x".repeat(9 * 1024);
    // What would fail by itself, were the URL allowed.
    let contract = [
        json!({}),
        json!({"headers": {"Host": "evil"}}),
        json!({"headers": {"X-A": "1\r\nX-Evil: 1"}}),
        json!({"headers": {"X-Long": long}}),
        json!({"method": "TRACE"}),
        json!({"method": "POST", "body": "more than may be sent", "limits": {"request_bytes": 1}}),
        json!({"retry": {"max_attempts": 5, "initial_delay_ms": 0}}),
    ];
    let wasi = [
        json!({}),
        json!({"headers": {"x-long": long}}),
        json!({"method": "TRACE"}),
        json!({"method": "POST", "body": "more than may be sent", "limits": {"request_bytes": 1}}),
        json!({"retry": {"max_attempts": 5, "initial_delay_ms": 0}}),
    ];
    for (via, actions) in [(Via::Contract, &contract[..]), (Via::Wasi, &wasi)] {
        for action in actions {
            for dry_run in [false, true] {
                let openact = via.build(only(&[]), to(&other.url()), action.clone()).await;
                let mut call = request(via.action(), json!({}));
                call.dry_run = dry_run;
                let done = openact.execute(call).await;
                let (error, run) = (done.result.unwrap_err(), done.run.unwrap());
                let shown = action.to_string();
                let what = format!("{via:?} {} dry: {dry_run}", &shown[..shown.len().min(80)]);
                assert_eq!(error.code, ErrorCode::EgressDenied, "{what}: {error:?}");
                assert_eq!(run.host_calls.len(), 1, "{what}: {:?}", run.host_calls);
                assert_eq!(run.host_calls[0].outcome, "egress_denied", "{what}");
                assert_eq!(run.usage.request_bytes, 0, "{what}");
            }
        }
    }
    assert_eq!(other.connections(), 0);
}
