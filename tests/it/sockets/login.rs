//! Logins and signatures by the guest `wire`: what a secret may be used for, and to whom it is proven.
//!
//! Invariant: no test looks for a secret that the server did not get, or could not have got.

use std::net::{IpAddr, UdpSocket};

use openact::{ErrorCode, Format};
use serde_json::{Value, json};
use support::{ca::pki, chaos::tls::acceptor, guests::guest};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::mpsc,
};

use super::{PASSWORD, connection, echo, ok, open, play, server, told, wire};
use crate::setup::{config, failure, memory, value};

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
async fn c2_a_password_that_comes_back_late_is_found_too() {
    let (saw, mut has_come_back) = mpsc::unbounded_channel();
    let address = server(move |mut stream| {
        let saw = saw.clone();
        async move {
            // The beginning of an answer that is none to a login; the rest of it when the guest has written again.
            let mut frame = [0; 64];
            let _ = stream.read(&mut frame).await.unwrap();
            stream.write_all(b"-ERR unknown ").await.unwrap();
            let _ = stream.read(&mut frame).await.unwrap();
            stream.write_all(PASSWORD.as_bytes()).await.unwrap();
            saw.send(()).unwrap();
            let _ = stream.read(&mut frame).await;
        }
    })
    .await;
    let openact = wire(connection(address)).await;
    let steps = json!([
        open(address),
        ["login", 0, "redis-auth", {}],
        ["step", 0, ""],
        ["until", 0, "unknown "],
        ["write", 0, "x"],
        ["read", 0, 100],
    ]);
    let seen = play(&openact, steps).await;
    has_come_back.recv().await.unwrap();
    assert_eq!(seen[3], ok("-ERR unknown "));
    assert!(told(&seen[5], "denied").contains("answered with the password"), "{seen:?}");
}

/// PBKDF2 is signatures of signatures: who could make them would have what SCRAM knows of a password.
#[tokio::test]
async fn c7_signing_is_no_way_to_a_key_of_the_password() {
    let (address, _) = echo().await;
    let openact = wire(connection(address)).await;
    let begun =
        play(&openact, json!([["sign", "hmac-sha256", "password", "salt\u{0}\u{0}\u{0}\u{1}"]])).await;
    let first = begun[0]["ok"].as_str().unwrap();
    let seen = play(
        &openact,
        json!([
            ["sign", "hmac-sha256", "password", first],
            ["sign", "hmac-sha1", "password", first],
            ["sign", "hmac-sha256", "password", "0123456789abcdef0123456789abcdef"],
        ]),
    )
    .await;
    assert!(told(&seen[0], "denied").contains("is derived like that"), "{seen:?}");
    for other in &seen[1..] {
        assert!(other["ok"].is_string(), "{other}");
    }
}

#[tokio::test]
async fn c7_an_action_opens_hosts_and_not_the_connections_password() {
    let ((own, _), (listed, _), (foreign, _)) = (echo().await, echo().await, echo().await);
    let mut with = connection(own);
    with["network"] = json!({"allowed_hosts": [format!("tcp://{listed}")]});
    let hosts = json!([format!("tcp://{listed}"), format!("tcp://{foreign}")]);
    let actions = json!({
        "play": {"network": {"allowed_hosts": hosts}},
        "lax": {"network": {"tls": {"verify": false}}},
        "plain": {"network": {"allow_plaintext": true}},
        "strict": {"timeout_ms": 5000},
    });
    let text = config("wire", with, actions);
    let openact =
        memory(&[]).connector_bytes(guest("wire")).config_text(text, Format::Json).build().await.unwrap();
    let log_in = async |action: &str, to: std::net::SocketAddr| -> Value {
        let steps =
            json!([open(to), ["login", 0, "redis-auth", {}], ["login", 0, "SCRAM-SHA-256", {"user": "u"}]]);
        let mut seen = value(&openact, action, json!({ "steps": steps })).await;
        assert_eq!(seen[0], ok(Value::Null), "{action} {to}");
        assert_eq!(seen[1], seen[2], "{action} {to}");
        seen[1].take()
    };
    for to in [own, listed] {
        assert_eq!(log_in("wire/play", to).await, ok(Value::Null));
    }
    assert_eq!(log_in("wire/strict", own).await, ok(Value::Null));
    let refused = log_in("wire/play", foreign).await;
    assert!(told(&refused, "denied").contains("an action opened this host"), "{refused}");
    for action in ["wire/lax", "wire/plain"] {
        let refused = log_in(action, own).await;
        assert!(told(&refused, "denied").contains("network settings of an action"), "{refused}");
    }
}

/// An address of this machine that is not loopback, if it has one. Nothing is sent to find it.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|address| !address.is_loopback() && !address.is_unspecified())
}

#[tokio::test]
async fn c7_nothing_is_proven_without_tls_but_to_this_machine() {
    let Some(address) = own_address() else {
        eprintln!("skipped: this machine has no address but loopback");
        return;
    };
    let listener = TcpListener::bind((address, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut streams = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            streams.push(stream);
        }
    });
    for allows in [false, true] {
        let mut with = connection(address);
        with["network"] = json!({"allow_plaintext": allows});
        let steps = json!([open(address), ["login", 0, "SCRAM-SHA-256", {"user": "u"}]]);
        let seen = play(&wire(with).await, steps).await;
        match allows {
            true => assert_eq!(seen[1], ok(Value::Null)),
            false => assert!(told(&seen[1], "denied").contains("without TLS"), "{seen:?}"),
        }
    }
}

/// A handshake that failed leaves a stream that is neither encrypted nor anybody's.
#[tokio::test]
async fn c7_a_stream_whose_handshake_failed_logs_nobody_in() {
    let acceptor = acceptor(&[]);
    let address = server(move |stream| {
        let acceptor = acceptor.clone();
        async move { drop(acceptor.accept(stream).await) }
    })
    .await;
    let mut with = connection(address);
    with["network"] = json!({"tls": {"ca": pki().foreign_ca.text, "ca_only": true}});
    let steps = json!([open(address), ["start-tls", 0], ["login", 0, "redis-auth", {}], ["write", 0, "x"]]);
    let seen = play(&wire(with).await, steps).await;
    told(&seen[1], "network");
    told(&seen[2], "denied");
    told(&seen[3], "network");
}
