//! Servers that break the rules, are somebody else, or do not answer: typed errors within the deadline.
//!
//! Invariant: a server waits for what its test does, never for time to pass.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use openact::ErrorCode;
use serde_json::{Value, json};
use support::{
    ca::{Identity, pki},
    chaos::tls::acceptor,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket},
    sync::mpsc,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};

use super::{PASSWORD, connection, ok, open, play, server, told, wire};
use crate::setup::{config, failure, memory};

#[tokio::test]
async fn s2_a_silent_server_ends_a_read_before_the_call() {
    let address = server(|stream| async move {
        let _ = Box::leak(Box::new(stream));
    })
    .await;
    let mut with = connection(address);
    with["timeout_ms"] = 400.into();
    let openact = wire(with).await;
    // The connector still has time to say so: the call itself succeeds.
    let seen = play(&openact, json!([open(address), ["read", 0, 1], open(address)])).await;
    assert!(told(&seen[1], "timeout").contains("the answer timed out"), "{seen:?}");
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
async fn e14_bytes_one_by_one_half_a_stream_a_reset_and_no_end() {
    let address = server(|mut stream| async move {
        tokio::spawn(async move {
            let mut how = [0];
            let _ = stream.read(&mut how).await;
            match how[0] {
                b'1' => {
                    for byte in b"one by one" {
                        stream.write_all(&[*byte]).await.unwrap();
                        stream.flush().await.unwrap();
                        tokio::task::yield_now().await;
                    }
                    let _ = stream.read(&mut how).await;
                }
                b'2' => {
                    stream.write_all(b"half").await.unwrap();
                    stream.shutdown().await.unwrap();
                    let _ = stream.read(&mut how).await;
                }
                b'3' => {
                    stream.write_all(b"mid").await.unwrap();
                    let _ = stream.read(&mut how).await;
                    stream.set_zero_linger().unwrap();
                }
                _ => while stream.write_all(&[b'x'; 4096]).await.is_ok() {},
            }
        });
    })
    .await;
    let mut with = connection(address);
    with["limits"] = json!({"response_bytes": 1 << 20});
    let openact = wire(with).await;
    let how = |how: &str| json!(["write", 0, how]);
    let seen = play(&openact, json!([open(address), how("1"), ["until", 0, "one by one"]])).await;
    assert_eq!(seen[2], ok("one by one"));
    let seen =
        play(&openact, json!([open(address), how("2"), ["until", 0, "whole"], how("x"), ["read", 0, 1]]))
            .await;
    assert_eq!(seen[2..], [ok("half"), ok(Value::Null), ok("")], "the other half is open");
    let seen =
        play(&openact, json!([open(address), how("3"), ["until", 0, "mid"], how("x"), ["until", 0, "end"]]))
            .await;
    told(&seen[4], "network");
    let seen = play(&openact, json!([open(address), how("4"), ["until", 0, "end"]])).await;
    assert!(told(&seen[2], "limit-exceeded").contains("larger than"), "{seen:?}");
}

fn acceptor_as(who: &Identity) -> TlsAcceptor {
    let cert = CertificateDer::from_pem_slice(who.cert.text.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(who.key.text.as_bytes()).unwrap();
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![cert], key).unwrap();
    TlsAcceptor::from(Arc::new(config))
}

#[tokio::test]
async fn c7_a_certificate_has_to_be_valid_for_this_host_now() {
    let with_ca = |more: Value| {
        let mut tls = json!({"ca": pki().ca.text, "ca_only": true});
        tls.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({ "tls": tls })
    };
    let none = || json!({});
    for (who, network, is_let_in) in [
        (&pki().server, with_ca(none()), true),
        (&pki().other_name, with_ca(none()), false),
        (&pki().other_name, with_ca(json!({"server_name": support::ca::OTHER_NAME})), true),
        (&pki().server, with_ca(json!({"server_name": support::ca::OTHER_NAME})), false),
        (&pki().expired, with_ca(none()), false),
        (&pki().foreign_server, with_ca(none()), false),
        (&pki().foreign_server, json!({"tls": {"verify": false}}), true),
        (&pki().server, none(), false),
    ] {
        let acceptor = acceptor_as(who);
        let (got, mut received) = mpsc::unbounded_channel();
        let address = server(move |stream| {
            let (acceptor, got) = (acceptor.clone(), got.clone());
            async move {
                let mut all = Vec::new();
                if let Ok(mut stream) = acceptor.accept(stream).await {
                    let _ = stream.read_to_end(&mut all).await;
                }
                got.send(all).unwrap();
            }
        })
        .await;
        let mut connection = connection(address);
        connection["network"] = network.clone();
        let tls = json!(["open", "127.0.0.1", address.port(), "tls", null]);
        let steps = json!([tls, ["login", 0, "redis-auth", {}], ["step", 0, ""], ["drop", 0]]);
        let seen = play(&wire(connection).await, steps).await;
        let got = received.recv().await.unwrap();
        let has_password = got.windows(PASSWORD.len()).any(|window| window == PASSWORD.as_bytes());
        assert_eq!(has_password, is_let_in, "{network} {seen:?}");
        if !is_let_in {
            assert!(told(&seen[0], "network").contains("the TLS handshake failed"), "{seen:?}");
        }
    }
}

/// Without the other side's word that this was all, somebody between may have cut it.
#[tokio::test]
async fn c7_tls_that_ends_without_a_farewell_is_no_end() {
    let acceptor = acceptor(&[]);
    let address = server(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let mut stream = acceptor.accept(stream).await.unwrap();
            stream.write_all(b"so far").await.unwrap();
            stream.flush().await.unwrap();
            let (mut tcp, _) = stream.into_inner();
            tcp.shutdown().await.unwrap();
            let _ = tcp.read_to_end(&mut Vec::new()).await;
        }
    })
    .await;
    let mut with = connection(address);
    with["network"] = json!({"tls": {"ca": pki().ca.text, "ca_only": true}});
    let tls = json!(["open", "127.0.0.1", address.port(), "tls", null]);
    let seen = play(&wire(with).await, json!([tls, ["until", 0, "far"], ["read", 0, 1]])).await;
    assert_eq!(seen[1], ok("so far"));
    told(&seen[2], "network");
}

/// An address that takes no more connections: the queue of its listener is full, so that nothing is answered.
fn unanswering() -> (TcpListener, Vec<std::net::TcpStream>, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let connect = || std::net::TcpStream::connect_timeout(&address, Duration::from_millis(200)).ok();
    let waiting = std::iter::from_fn(connect).collect();
    (listener, waiting, address)
}

#[tokio::test]
async fn s2_connecting_and_shaking_hands_have_an_end() {
    let (_listener, _waiting, unanswering) = unanswering();
    let silent = server(|stream| async move {
        let _ = Box::leak(Box::new(stream));
    })
    .await;
    let tls = |address: SocketAddr| json!(["open", "127.0.0.1", address.port(), "tls", null]);
    let hurried = |mut connection: Value, by: Value| {
        connection.as_object_mut().unwrap().extend(by.as_object().unwrap().clone());
        connection
    };
    // By the time for connecting, and by the call's own, before which the connector can still say so.
    for by in [json!({"timeout": {"connect_ms": 300}}), json!({"timeout_ms": 500})] {
        let openact = wire(hurried(connection(unanswering), by.clone())).await;
        let seen = play(&openact, json!([open(unanswering)])).await;
        assert!(told(&seen[0], "timeout").contains("connecting timed out"), "{by} {seen:?}");
        let openact = wire(hurried(connection(silent), by.clone())).await;
        let seen = play(&openact, json!([tls(silent)])).await;
        assert!(told(&seen[0], "timeout").contains("connecting timed out"), "{by} {seen:?}");
        let openact = wire(hurried(connection(silent), by.clone())).await;
        let seen = play(&openact, json!([open(silent), ["start-tls", 0], ["write", 0, "x"]])).await;
        assert!(told(&seen[1], "timeout").contains("handshake timed out"), "{by} {seen:?}");
        told(&seen[2], "network");
    }
}

/// What a server says in place of the answers of Redis, and what comes of it: the password is nowhere.
#[tokio::test]
async fn a4_the_redis_connector_and_servers_that_are_none() {
    let answers: [(&str, &[u8], ErrorCode); 9] = [
        ("nothing", b"", ErrorCode::NetworkError),
        ("half an answer", b"+OK\r\n%1\r\n$3\r\nfo", ErrorCode::NetworkError),
        ("another protocol", b"HTTP/1.1 400 Bad Request\r\n\r\n", ErrorCode::UpstreamError),
        ("a negative length", b"$-99\r\n", ErrorCode::UpstreamError),
        ("a length that is none", b"$99999999999999999999\r\n", ErrorCode::UpstreamError),
        ("a line without an end", b"+", ErrorCode::UpstreamError),
        ("a value without an end", b"$100000000\r\n", ErrorCode::LimitExceeded),
        (
            "no password wanted",
            b"-ERR AUTH <password> called without any password\r\n+OK\r\n",
            ErrorCode::AuthRequired,
        ),
        (
            "the password",
            b"-ERR unknown command 'AUTH', with args beginning with: 'hunter2-canary'\r\n",
            ErrorCode::EgressDenied,
        ),
    ];
    for (what, answer, code) in answers {
        let is_endless = what.ends_with("without an end");
        let address = server(move |mut stream| async move {
            tokio::spawn(async move {
                let _ = stream.read(&mut [0; 256]).await;
                let _ = stream.write_all(answer).await;
                while is_endless && stream.write_all(&[b'x'; 4096]).await.is_ok() {}
                let _ = stream.shutdown().await;
                let _ = stream.read_to_end(&mut Vec::new()).await;
            });
        })
        .await;
        let mut with = connection(address);
        with["limits"] = json!({"response_bytes": 1 << 20});
        let text = config("redis", with, json!({"get": {"command": ["GET", "k"]}}));
        let openact = memory(&[]).config_text(text, openact::Format::Json).build().await.unwrap();
        let (error, run) = failure(&openact, "redis/get", json!({})).await;
        assert_eq!(error.code, code, "{what}: {error:?}");
        assert!(!format!("{error:?} {run:?}").contains(PASSWORD), "{what}: {error:?}");
    }
}

/// A server that says it has no TLS is not talked to without it.
#[tokio::test]
async fn c7_tls_that_is_required_is_not_talked_away() {
    let (got, mut received) = mpsc::unbounded_channel();
    let address = server(move |mut stream| {
        let got = got.clone();
        async move {
            let mut request = [0; 8];
            stream.read_exact(&mut request).await.unwrap();
            stream.write_all(b"N").await.unwrap();
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
            got.send(rest).unwrap();
        }
    })
    .await;
    let mut with = connection(address);
    with["user"] = "app".into();
    with["tls"] = "require".into();
    let text = config("postgres", with, json!({"read": {"statement": "SELECT 1"}}));
    let openact = memory(&[]).config_text(text, openact::Format::Json).build().await.unwrap();
    let (error, _) = failure(&openact, "postgres/read", json!({})).await;
    assert!(error.message.contains("TLS"), "{error:?}");
    assert_eq!(received.recv().await.unwrap(), b"", "not even the user's name");
}
