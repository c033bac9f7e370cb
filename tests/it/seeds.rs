//! `mongodb+srv://`: servers that DNS lists, by a real server of DNS, a real MongoDB, and answers that lie.
//!
//! Invariant: what is looked up under the names of these tests is answered by [`Dns`], and their hosts by [`Here`].

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    pin::Pin,
    sync::{Arc, Mutex},
};

use openact::{Error, ErrorCode, Format, OpenAct, Resolve, Tenant};
use serde_json::{Value, json};
use support::{
    ca::{INTERNAL_NAME, pki},
    databases::{Mongodb, mongodb},
    servers::Dns,
};

use crate::setup::{config, failure, memory, request, value};

const NAME: &str = "cluster.internal.test";

/// Every host is this machine. It remembers which was asked for.
#[derive(Clone, Default)]
struct Here(Arc<Mutex<Vec<String>>>);

impl Resolve for Here {
    fn resolve<'a>(
        &'a self,
        host: &'a str,
    ) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>> {
        self.0.lock().unwrap().push(host.to_owned());
        Box::pin(async { Ok(vec![IpAddr::V4(Ipv4Addr::LOCALHOST)]) })
    }
}

fn srv(target: &str, port: u16) -> String {
    format!("srv-host=_mongodb._tcp.{NAME},{target},{port}")
}

fn txt(text: &str) -> String {
    format!("txt-record={NAME},\"{text}\"")
}

fn actions() -> Value {
    json!({
        "who": {"operation": "run-command", "command": {"connectionStatus": 1}},
        "find": {"collection": "c"},
    })
}

fn url(query: &str) -> String {
    let (user, password) = Mongodb::USER;
    format!("mongodb+srv://{user}:{password}@{NAME}/app{query}")
}

async fn over(dns: &Dns, hosts: Here, connection: Value) -> OpenAct {
    let builder = memory(&[("OPENACT_DNS_SERVER", &dns.server.to_string())]).resolver(hosts);
    builder.config_text(config("mongodb", connection, actions()), Format::Json).build().await.unwrap()
}

fn with_ca(url: &str) -> Value {
    json!({"url": url, "network": {"tls": {"ca": pki().ca.text}}})
}

/// How a call fails, and which hosts were looked up before.
async fn refused(lines: &[String], connection: Value) -> (Error, Vec<String>) {
    let (dns, hosts) = (Dns::start(lines), Here::default());
    let openact = over(&dns, hosts.clone(), connection).await;
    let (error, run) = failure(&openact, "mongodb/find", json!({})).await;
    assert!(!format!("{error:?}{run:?}").contains("canary"), "{error:?}");
    let hosts = hosts.0.lock().unwrap().clone();
    (error, hosts)
}

#[tokio::test]
async fn servers_that_dns_lists_are_reached_by_tls_and_looked_up_once() {
    let port = mongodb().port;
    let dns = Dns::start(&[srv(INTERNAL_NAME, port), txt("authSource=admin&replicaSet=rs0")]);
    let hosts = Here::default();
    let openact = over(&dns, hosts.clone(), with_ca(&url(""))).await;
    for _ in 0..5 {
        let who = value(&openact, "mongodb/who", json!({})).await;
        assert_eq!(who["result"]["authInfo"]["authenticatedUsers"][0]["db"], "admin");
    }
    let report = openact.check_connection(&Tenant::default(), "mongodb/c").await.unwrap().to_json();
    assert_eq!(report["result"]["replica_set"], "rs0", "{report}");
    assert_eq!((dns.asked("SRV"), dns.asked("TXT")), (1, 1), "its answer is kept");
    assert_eq!(*hosts.0.lock().unwrap(), [INTERNAL_NAME], "one stream, kept, to the listed host");
    let run = openact.execute(request("mongodb/find", json!({}))).await.run.unwrap();
    assert!(format!("{run:?}").contains(&format!("tcp://{INTERNAL_NAME}:{port}")), "{run:?}");
    // Without the authority: TLS is on by itself.
    let (error, _) =
        refused(&[srv(INTERNAL_NAME, port), txt("authSource=admin")], json!({"url": url("")})).await;
    assert!(error.code == ErrorCode::NetworkError && error.message.contains("TLS"), "{error:?}");
    let plain = over(&dns, Here::default(), json!({"url": url("?tls=false")})).await;
    value(&plain, "mongodb/who", json!({})).await;
}

#[tokio::test]
async fn what_the_connection_says_itself_is_not_for_dns_to_change() {
    let dns = Dns::start(&[srv(INTERNAL_NAME, mongodb().port), txt("authSource=elsewhere&replicaSet=other")]);
    let openact = over(&dns, Here::default(), with_ca(&url("?authSource=admin&replicaSet=rs0"))).await;
    value(&openact, "mongodb/who", json!({})).await;
}

#[tokio::test]
async fn e12_a_list_that_leads_elsewhere_is_refused_before_anything_is_dialled() {
    let port = mongodb().port;
    let other = [srv("other.test", port), srv(INTERNAL_NAME, port)];
    let (error, hosts) = refused(&other, with_ca(&url(""))).await;
    assert!(error.code == ErrorCode::EgressDenied && error.message.contains("other.test"), "{error:?}");
    assert_eq!(hosts, [""; 0]);
    for (lines, code, why) in [
        (vec![], ErrorCode::NetworkError, "_mongodb._tcp.cluster.internal.test"),
        (vec![txt("authSource=admin")], ErrorCode::NetworkError, "SRV"),
        (vec![srv(INTERNAL_NAME, port), txt("tls=false")], ErrorCode::UpstreamError, "authSource"),
        (
            vec![srv(INTERNAL_NAME, port), txt("authSource=a"), txt("replicaSet=b")],
            ErrorCode::UpstreamError,
            "TXT",
        ),
        (vec![srv(INTERNAL_NAME, 0)], ErrorCode::InvalidConfig, "port"),
        (vec![srv(INTERNAL_NAME, port), txt("loadBalanced=true")], ErrorCode::InvalidConfig, "loadBalanced"),
    ] {
        let (error, hosts) = refused(&lines, with_ca(&url(""))).await;
        assert!(error.code == code && error.message.contains(why), "{lines:?}: {error:?}");
        assert_eq!(hosts, [""; 0], "{lines:?}");
    }
}

#[tokio::test]
async fn e12_what_answers_not_at_all_fails_the_call_and_nothing_is_dialled() {
    // Nobody listens: a port of UDP that is taken and never read.
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let hosts = Here::default();
    let builder = memory(&[]).dns_server(silent.local_addr().unwrap()).resolver(hosts.clone());
    let mut connection = with_ca(&url(""));
    connection["timeout_ms"] = 1000.into();
    let text = config("mongodb", connection, actions());
    let openact = builder.config_text(text, Format::Json).build().await.unwrap();
    let (error, _) = failure(&openact, "mongodb/find", json!({})).await;
    assert!(matches!(error.code, ErrorCode::Timeout | ErrorCode::NetworkError), "{error:?}");
    assert_eq!(*hosts.0.lock().unwrap(), [""; 0]);
    // What only tells what it would do asks nobody.
    let explained = openact.explain(&Tenant::default(), "mongodb/find", None).await.unwrap().to_json();
    assert!(explained["notes"].to_string().contains("_mongodb._tcp.cluster.internal.test"), "{explained}");
    assert_eq!(explained["reaches"], json!([]));
    let wrong = memory(&[("OPENACT_DNS_SERVER", "dns.example.com")]).build().await.err().unwrap();
    assert_eq!(wrong.code, ErrorCode::InvalidConfig);
}
