//! Byte streams by the guest `wire`, which does what its input says.
//!
//! | module | of |
//! |---|---|
//! | `login` | logins and signatures |
//! | `sessions` | parked sessions and what connectors keep |
//! | `hostile` | servers that break the rules, and those that wait |
//! | `canary` | passwords of real servers |
//!
//! Invariant: what a guest is refused it is refused before anything is dialled, and what it is told of a secret is never
//! the secret.

mod canary;
mod hostile;
mod login;
mod sessions;

use std::{
    net::{IpAddr, SocketAddr},
    pin::Pin,
};

use openact::{Format, OpenAct, Resolve};
use serde_json::{Value, json};
use support::guests::guest;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

use crate::setup::{config, memory, request, value};

const PASSWORD: &str = "hunter2-canary";

/// A server of one test: what `serve` does with each connection, one after the other.
async fn server<F: Future<Output = ()> + Send>(
    serve: impl Fn(TcpStream) -> F + Send + Sync + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            serve(stream).await;
        }
    });
    address
}

/// A server that sends back what it is sent, and counts its connections.
async fn echo() -> (SocketAddr, mpsc::UnboundedReceiver<()>) {
    let (accepted, connections) = mpsc::unbounded_channel();
    let address = server(move |stream| {
        let accepted = accepted.clone();
        async move {
            let _ = accepted.send(());
            tokio::spawn(repeat(stream));
        }
    });
    (address.await, connections)
}

async fn repeat(mut stream: TcpStream) {
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut bytes).await {
        if stream.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}

fn connection(address: SocketAddr) -> Value {
    json!({"host": address.ip().to_string(), "port": address.port(), "password": PASSWORD})
}

async fn wire(connection: Value) -> OpenAct {
    let text = config("wire", connection, json!({"play": {}, "other": {}}));
    memory(&[]).connector_bytes(guest("wire")).config_text(text, Format::Json).build().await.unwrap()
}

async fn play(openact: &OpenAct, steps: Value) -> Vec<Value> {
    let answer = value(openact, "wire/play", json!({ "steps": steps })).await;
    answer.as_array().unwrap().clone()
}

fn ok(value: impl Into<Value>) -> Value {
    json!({"ok": value.into()})
}

/// The message of a step that ended as `case`.
fn told<'a>(outcome: &'a Value, case: &str) -> &'a str {
    outcome[case].as_str().unwrap_or_else(|| panic!("{outcome} is not {case}"))
}

fn open(address: SocketAddr) -> Value {
    json!(["open", address.ip().to_string(), address.port(), "plain", null])
}

fn resume(address: SocketAddr) -> Value {
    json!(["open", address.ip().to_string(), address.port(), "plain", "s"])
}

#[tokio::test]
async fn a_guest_talks_to_its_connections_own_host() {
    let (address, _) = echo().await;
    let openact = wire(connection(address)).await;
    let steps =
        json!([open(address), ["write", 0, "hello"], ["until", 0, "hello"], ["drop", 0], ["read", 0, 1]]);
    let seen = play(&openact, steps).await;
    assert_eq!(seen[..3], [ok(Value::Null), ok(Value::Null), ok("hello")]);
    let run = openact.execute(request("wire/play", json!({"steps": [open(address)]}))).await.run.unwrap();
    let calls: Vec<_> =
        run.host_calls.iter().map(|call| (&*call.function, &*call.target, &*call.outcome)).collect();
    assert_eq!(calls, [("sockets.open", &*format!("tcp://{address}"), "connected")]);
}

#[tokio::test]
async fn e1_e2_e12_no_stream_goes_where_the_connection_does_not() {
    let (own, _) = echo().await;
    let (other, mut connections) = echo().await;
    let openact = wire(connection(own)).await;
    let seen = play(
        &openact,
        json!([
            open(other),
            ["open", "localhost", own.port(), "plain", null],
            ["open", "169.254.169.254", 80, "plain", null],
            ["open", "127.0.0.1/../x", own.port(), "plain", null],
            ["open", "", own.port(), "plain", null],
        ]),
    )
    .await;
    let line = format!("this connection may not reach tcp://{other}");
    assert_eq!(told(&seen[0], "denied"), line);
    for outcome in &seen[1..] {
        told(outcome, "denied");
    }
    assert!(connections.try_recv().is_err(), "somebody connected");
    // By what the operator lists, the connection's own host is not open either.
    let text = config("wire", connection(own), json!({"play": {}}));
    let builder = memory(&[]).allow_private_only(vec![]).connector_bytes(guest("wire"));
    let openact = builder.config_text(text, Format::Json).build().await.unwrap();
    told(&play(&openact, json!([open(own)])).await[0], "denied");
}

#[tokio::test]
async fn e11_a_host_of_allowed_hosts_is_open_on_its_port() {
    let (own, _) = echo().await;
    let (other, _) = echo().await;
    let mut with = connection(own);
    with["network"] = json!({"allowed_hosts": [format!("tcp://{other}")]});
    let openact = wire(with).await;
    let seen = play(&openact, json!([open(other), ["open", "127.0.0.1", 1, "plain", null]])).await;
    assert_eq!(seen[0], ok(Value::Null));
    told(&seen[1], "denied");
}

#[tokio::test]
async fn e14_streams_and_bytes_of_a_call_are_counted() {
    let (address, _) = echo().await;
    let mut with = connection(address);
    with["limits"] = json!({"response_bytes": 10, "request_bytes": 100});
    let openact = wire(with).await;
    let write = |text: &str| json!(["write", 0, text]);
    let seen = play(&openact, json!([open(address), write(&"x".repeat(20)), ["read", 0, 100]])).await;
    assert!(told(&seen[2], "limit-exceeded").contains("larger than 10 bytes"), "{seen:?}");
    let seen = play(&openact, json!([open(address), write(&"x".repeat(101))])).await;
    told(&seen[1], "limit-exceeded");
    let seen = play(&openact, Value::Array(vec![open(address); 65])).await;
    assert_eq!(seen[63], ok(Value::Null));
    assert!(told(&seen[64], "limit-exceeded").contains("more than 64 streams"), "{seen:?}");
}

#[tokio::test]
async fn a_dry_run_opens_no_stream() {
    let (address, mut connections) = echo().await;
    let openact = wire(connection(address)).await;
    let mut dry = request("wire/play", json!({"steps": [open(address)]}));
    dry.dry_run = true;
    let ended = openact.execute(dry).await;
    assert!(format!("{:?}", ended.result).contains("no stream is opened"), "{:?}", ended.result);
    assert!(connections.try_recv().is_err(), "somebody connected");
}

#[tokio::test]
async fn e14_what_is_no_host_name_is_not_kept_in_the_record() {
    let (address, _) = echo().await;
    let openact = wire(connection(address)).await;
    let steps = json!([["open", "x".repeat(1 << 20), 1, "plain", null]]);
    let ended = openact.execute(request("wire/play", json!({ "steps": steps }))).await;
    let seen = ended.result.unwrap().value().unwrap();
    assert!(told(&seen[0], "denied").len() < 300, "{}", seen.to_string().len());
    assert!(ended.run.unwrap().to_json().to_string().len() < 4096);
}

#[tokio::test]
async fn s5_the_streams_of_a_call_have_one_place_under_the_rate_limit() {
    let (address, _) = echo().await;
    let mut with = connection(address);
    with["rate_limit"] = json!({"concurrency": 1});
    with["timeout_ms"] = 2_000.into();
    let openact = wire(with).await;
    // A second stream beside the first, as for a request to cancel what goes on there; and after both, a third.
    let steps = json!([
        open(address),
        open(address),
        ["drop", 0],
        ["drop", 1],
        resume(address),
        ["park", 2, "s", "x"]
    ]);
    let seen = play(&openact, steps).await;
    assert_eq!((&seen[1], &seen[4]), (&ok(Value::Null), &ok(Value::Null)), "{seen:?}");
    // A parked session takes no place.
    assert_eq!(play(&openact, json!([resume(address)])).await[0], ok("x"));
}

/// Every name is these addresses, one answer after the other.
struct Rebound(std::sync::Mutex<std::collections::VecDeque<Vec<IpAddr>>>);

impl Resolve for Rebound {
    fn resolve<'a>(
        &'a self,
        _host: &'a str,
    ) -> Pin<Box<dyn Future<Output = std::io::Result<Vec<IpAddr>>> + Send + 'a>> {
        let answer = self.0.lock().unwrap().pop_front().expect("it is looked up once for each stream");
        Box::pin(async move { Ok(answer) })
    }
}

#[tokio::test]
async fn e12_a_streams_name_is_looked_up_and_its_addresses_checked() {
    let (address, mut connections) = echo().await;
    let answers =
        [vec!["127.0.0.1"], vec!["::ffff:127.0.0.1", "169.254.169.254"], vec!["10.0.0.1", "127.0.0.1"]];
    let answers = answers.map(|answer| answer.iter().map(|address| address.parse().unwrap()).collect());
    let mut with = connection(address);
    with["host"] = "db.example.com".into();
    let builder = memory(&[]).allow_private_only(vec!["192.0.2.0/24".parse().unwrap()]);
    let builder = builder.resolver(Rebound(std::sync::Mutex::new(answers.into())));
    let text = config("wire", with, json!({"play": {}}));
    let openact =
        builder.connector_bytes(guest("wire")).config_text(text, Format::Json).build().await.unwrap();
    let open = json!(["open", "db.example.com", address.port(), "plain", null]);
    for outcome in play(&openact, json!([open, open, open])).await {
        assert!(told(&outcome, "denied").contains("private address"), "{outcome}");
    }
    assert!(connections.try_recv().is_err(), "somebody connected");
}
