//! Byte streams, logins and parked sessions, by the guest `wire`, which does what its input says.
//!
//! Invariant: what a guest is refused it is refused before anything is dialled, and what it is told of a secret is never
//! the secret.

use std::net::SocketAddr;

use openact::{ErrorCode, Format, ImportOptions, OpenAct};
use serde_json::{Value, json};
use support::{ca::pki, chaos::tls::acceptor, guests::guest};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

use crate::setup::{config, failure, memory, request, value};

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
async fn s2_a_silent_server_ends_a_read_before_the_call() {
    let address = server(|stream| async move { drop(Box::leak(Box::new(stream))) }).await;
    let mut with = connection(address);
    with["timeout_ms"] = 400.into();
    let openact = wire(with).await;
    // The connector still has time to say so: the call itself succeeds.
    let seen = play(&openact, json!([open(address), ["read", 0, 1], open(address)])).await;
    assert!(told(&seen[1], "timeout").contains("the answer timed out"), "{seen:?}");
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
async fn c5_a_secret_that_is_missing_fails_before_dialling() {
    let (address, mut connections) = echo().await;
    let mut with = connection(address);
    with["password"] = json!({"$env": "NOT_SET"});
    let openact = wire(with).await;
    let (error, _) = failure(&openact, "wire/play", json!({"steps": [open(address)]})).await;
    assert_eq!(error.code, ErrorCode::AuthRequired);
    assert!(error.message.contains("password refers to"), "{error:?}");
    assert!(connections.try_recv().is_err(), "somebody connected");
}

#[tokio::test]
async fn c1_c6_a_name_means_a_secret_of_this_connection_and_nothing_shows_it() {
    let (address, _) = echo().await;
    let openact = wire(connection(address)).await;
    let seen = play(
        &openact,
        json!([
            open(address),
            ["reveal", "password"],
            ["length", "password"],
            ["write-credential", 0, "password"],
            ["sign", "hmac-sha256", "other", "m"],
            ["sign", "hmac-sha256", "password", "m"],
            ["sign", "rot13", "password", "m"],
            ["login", 0, "SCRAM-SHA-256", {"user": "u", "secret": "other"}],
            ["login", 0, "PLAIN", {}],
        ]),
    )
    .await;
    for outcome in &seen[1..4] {
        told(outcome, "denied");
    }
    told(&seen[4], "not-found");
    // By Python's hmac.new(b"hunter2-canary", b"m", "sha256").
    let signature: String =
        seen[5]["ok"].as_str().unwrap().chars().map(|c| format!("{:02x}", c as u32)).collect();
    assert_eq!(signature, "f37d646cd7f7d1b950d8df6a417daa70c8981a9d179dd99624768ff5d63f181a");
    told(&seen[6], "unsupported");
    told(&seen[7], "not-found");
    told(&seen[8], "unsupported");
    assert!(!format!("{seen:?}").contains(PASSWORD), "{seen:?}");
}

#[tokio::test]
async fn c7_a_framed_password_is_written_at_a_logins_beginning_and_nowhere_else() {
    let (sent, mut received) = mpsc::unbounded_channel();
    let address = server(move |mut stream| {
        let sent = sent.clone();
        async move {
            let mut all = Vec::new();
            stream.read_to_end(&mut all).await.unwrap();
            sent.send(String::from_utf8(all).unwrap()).unwrap();
        }
    })
    .await;
    let openact = wire(connection(address)).await;
    let login = json!(["login", 0, "redis-auth", {"user": "app"}]);
    let seen = play(&openact, json!([open(address), login, ["step", 0, ""], ["drop", 0]])).await;
    assert_eq!(seen[2], ok(""), "the guest sees nothing of it");
    let frame = format!("*3\r\n$4\r\nAUTH\r\n$3\r\napp\r\n${}\r\n{PASSWORD}\r\n", PASSWORD.len());
    assert_eq!(received.recv().await.unwrap(), frame);
    // Behind a command of the guest's own it would be that command's argument, to be read back.
    let prefix = "*3\r\n$3\r\nSET\r\n$1\r\nx\r\n";
    let steps = json!([open(address), ["write", 0, prefix], login, ["step", 0, ""], ["drop", 0]]);
    let seen = play(&openact, steps).await;
    told(&seen[3], "denied");
    assert_eq!(received.recv().await.unwrap(), prefix, "no password behind it");
    // Nor on another stream than the login's own, though it has the same handle.
    let again = json!([open(address), login, ["drop", 0], open(address), ["step", 0, ""], ["drop", 1]]);
    let seen = play(&openact, again).await;
    told(&seen[4], "invalid-request");
    assert_eq!(
        (received.recv().await.unwrap(), received.recv().await.unwrap()),
        (String::new(), String::new())
    );
}

#[tokio::test]
async fn c2_a_server_that_repeats_the_password_is_cut_off() {
    let (address, _) = echo().await;
    let openact = wire(connection(address)).await;
    let login = json!(["login", 0, "redis-auth", {}]);
    // Byte by byte, so that no read of the guest's has all of it.
    let mut steps = vec![open(address), login, json!(["step", 0, ""])];
    steps.extend(vec![json!(["read", 0, 1]); 60]);
    let seen = play(&openact, Value::Array(steps)).await;
    assert!(told(&seen[3], "denied").contains("answered with the password"), "{seen:?}");
    assert!(!format!("{seen:?}").contains("hunter"), "{seen:?}");
}

#[tokio::test]
async fn c7_a_session_is_resumed_by_its_own_connection_and_connector_alone() {
    let (address, mut connections) = echo().await;
    let text = json!({"connectors": {"wire": {
        "connections": {"c": connection(address), "d": connection(address)},
        "actions": {"play": {"connection": "c"}, "same": {"connection": "c"}, "other": {"connection": "d"}},
    }}})
    .to_string();
    let openact =
        memory(&[]).connector_bytes(guest("wire")).config_text(text, Format::Json).build().await.unwrap();
    let parked = play(&openact, json!([resume(address), ["park", 0, "s", "state"]])).await;
    assert_eq!(parked[0], ok(Value::Null), "nothing to resume yet");
    let resumes =
        async |action: &str| value(&openact, action, json!({"steps": [resume(address)]})).await[0].clone();
    assert_eq!(resumes("wire/other").await, ok(Value::Null), "another connection's");
    assert_eq!(resumes("wire/same").await, ok("state"), "another action of the connection");
    assert_eq!(resumes("wire/play").await, ok(Value::Null), "it was taken and not parked again");
    // A changed connection is another one.
    play(&openact, json!([resume(address), ["park", 0, "s", "state"]])).await;
    let mut changed = connection(address);
    changed["user"] = "somebody else".into();
    let text = config("wire", changed, json!({"play": {}}));
    openact.import_text("changed", &text, Format::Json, &ImportOptions::default()).await.unwrap();
    assert_eq!(resumes("wire/play").await, ok(Value::Null), "an earlier version's");
    let mut count = 0;
    while connections.try_recv().is_ok() {
        count += 1;
    }
    assert_eq!(count, 5, "one was resumed");
}

#[tokio::test]
async fn c7_a_session_that_is_not_silent_is_not_resumed() {
    let (go, mut gone) = (mpsc::unbounded_channel::<()>(), mpsc::unbounded_channel::<()>());
    let (sent, go) = (gone.0.clone(), std::sync::Arc::new(tokio::sync::Mutex::new(go)));
    let asked = go.lock().await.0.clone();
    let address = server(move |mut stream| {
        let (go, sent) = (go.clone(), sent.clone());
        async move {
            go.lock().await.1.recv().await.unwrap();
            stream.write_all(b"unasked").await.unwrap();
            sent.send(()).unwrap();
            Box::leak(Box::new(stream));
        }
    })
    .await;
    let openact = wire(connection(address)).await;
    play(&openact, json!([resume(address), ["park", 0, "s", "state"]])).await;
    asked.send(()).unwrap();
    gone.1.recv().await.unwrap();
    assert_eq!(play(&openact, json!([resume(address)])).await[0], ok(Value::Null));
}

#[tokio::test]
async fn tls_is_verified_and_begins_where_the_guest_says() {
    let acceptor = acceptor(&[]);
    let direct = {
        let acceptor = acceptor.clone();
        server(move |stream| {
            let acceptor = acceptor.clone();
            async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                stream.write_all(b"secret hello").await.unwrap();
                stream.shutdown().await.unwrap();
            }
        })
        .await
    };
    let tls = |ca: bool| {
        let mut with = connection(direct);
        if ca {
            with["network"] = json!({"tls": {"ca": pki().ca.text, "ca_only": true}});
        }
        with
    };
    let steps = json!([["open", "127.0.0.1", direct.port(), "tls", null], ["until", 0, "hello"]]);
    let refused = play(&wire(tls(false)).await, steps.clone()).await;
    assert!(told(&refused[0], "network").contains("the TLS handshake failed"), "{refused:?}");
    assert_eq!(play(&wire(tls(true)).await, steps).await[1], ok("secret hello"));

    // In place, as PostgreSQL and MySQL do; and a server that sends more than its yes is refused.
    for (word, is_right) in [("S", true), ("Sinjected", false)] {
        let acceptor = acceptor.clone();
        let (written, is_written) = mpsc::unbounded_channel();
        let is_written = std::sync::Arc::new(tokio::sync::Mutex::new(is_written));
        let address = server(move |mut stream| {
            let (acceptor, written) = (acceptor.clone(), written.clone());
            async move {
                stream.write_all(word.as_bytes()).await.unwrap();
                written.send(()).unwrap();
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                stream.write_all(b"inside").await.unwrap();
                stream.shutdown().await.unwrap();
            }
        })
        .await;
        let mut with = connection(address);
        with["network"] = json!({"tls": {"ca": pki().ca.text, "ca_only": true}});
        let openact = wire(with).await;
        let steps = json!([
            open(address),
            ["read", 0, 1],
            ["start-tls", 0],
            ["until", 0, "inside"],
            ["start-tls", 0]
        ]);
        let seen = play(&openact, steps).await;
        is_written.lock().await.recv().await.unwrap();
        assert_eq!(seen[1], ok("S"));
        if is_right {
            assert_eq!(seen[3], ok("inside"));
            told(&seen[4], "invalid-request");
        } else {
            assert!(told(&seen[2], "denied").contains("ahead of the TLS handshake"), "{seen:?}");
            told(&seen[3], "network");
        }
    }
}

#[tokio::test]
async fn c6_what_a_connector_keeps_is_its_connections_own() {
    let (address, _) = echo().await;
    let text = json!({"connectors": {"wire": {
        "connections": {"c": connection(address), "d": connection(address)},
        "actions": {"play": {"connection": "c"}, "other": {"connection": "d"}},
    }}})
    .to_string();
    let openact =
        memory(&[]).connector_bytes(guest("wire")).config_text(text, Format::Json).build().await.unwrap();
    let seen = play(
        &openact,
        json!([
            ["get", "k"],
            ["set", "k", "\u{0}\u{ff}", null],
            ["set", "k", "late", null],
            ["set", "k", "second", 1],
            ["get", "k"],
            ["set", "", "x", null],
            ["set", "k".repeat(257), "x", null],
            ["set", "big", "x".repeat(65_537), null],
        ]),
    )
    .await;
    assert_eq!(seen[..2], [ok(Value::Null), ok(1)]);
    told(&seen[2], "conflict");
    assert_eq!(seen[3..5], [ok(2), ok(json!(["second", 2]))]);
    told(&seen[5], "invalid-request");
    told(&seen[6], "invalid-request");
    told(&seen[7], "limit-exceeded");
    let mut dry = request("wire/play", json!({"steps": [["delete", "k"]]}));
    dry.dry_run = true;
    let ended = openact.execute(dry).await;
    assert!(format!("{:?}", ended.result).contains("nothing is kept"), "{:?}", ended.result);
    let others = value(&openact, "wire/other", json!({"steps": [["get", "k"], ["delete", "k"]]})).await;
    assert_eq!(others, json!([ok(Value::Null), ok(Value::Null)]));
    let seen = play(&openact, json!([["get", "k"], ["delete", "k"], ["get", "k"]])).await;
    assert_eq!(seen, [ok(json!(["second", 2])), ok(Value::Null), ok(Value::Null)]);
}
