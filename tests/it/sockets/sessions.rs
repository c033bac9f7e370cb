//! Parked sessions, and what a connector keeps, by the guest `wire`: to whom they come back.
//!
//! Invariant: a session that is not resumed was there, and would have been for its own connection.

use std::sync::{Arc, Mutex};

use openact::{Format, ImportOptions, OpenAct};
use serde_json::{Value, json};
use support::{ca::pki, chaos::tls::acceptor, guests::guest};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
};

use super::{connection, echo, ok, open, play, resume, server, told, wire};
use crate::setup::{config, memory, request, value};

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
    // There and back, so that the server has counted it.
    let steps = json!([resume(address), ["write", 0, "x"], ["until", 0, "x"]]);
    let resumes = async |action: &str| value(&openact, action, json!({ "steps": steps })).await[0].clone();
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

/// Parks a session named `s`, whose state is `state`.
async fn park(openact: &OpenAct, address: std::net::SocketAddr) {
    play(openact, json!([open(address), ["park", 0, "s", "state"]])).await;
}

#[tokio::test]
async fn c6_a_session_is_its_tenants() {
    let (address, _) = echo().await;
    let openact = wire(connection(address)).await;
    let other: openact::Tenant = "other".parse().unwrap();
    let text = config("wire", connection(address), json!({"play": {}}));
    let options = ImportOptions { tenant: other.clone(), ..ImportOptions::default() };
    openact.import_text("other", &text, Format::Json, &options).await.unwrap();
    park(&openact, address).await;
    let mut theirs = request("wire/play", json!({"steps": [resume(address)]}));
    theirs.tenant = other;
    let seen = openact.execute(theirs).await.result.unwrap().value().unwrap();
    assert_eq!(seen[0], ok(Value::Null), "another tenant's, of the same name and version");
    assert_eq!(play(&openact, json!([resume(address)])).await[0], ok("state"));
}

#[tokio::test]
async fn c6_what_is_kept_is_its_connectors() {
    let (address, _) = echo().await;
    // The same code with another digest: a custom section at the end.
    let mut rebuilt = guest("wire");
    rebuilt.extend([0, 3, 2, b'h', b'i']);
    let folder = tempfile::tempdir().unwrap();
    let build = async |bytes: Vec<u8>| {
        let text = config("wire", connection(address), json!({"play": {}}));
        let store = format!("sqlite://{}", folder.path().join("data.db").display());
        let builder = memory(&[]).store(store).connector_bytes(bytes);
        builder.config_text(text, Format::Json).build().await.unwrap()
    };
    let openact = build(guest("wire")).await;
    value(&openact, "wire/play", json!({"steps": [["set", "k", "mine", null]]})).await;
    openact.close().await.unwrap();
    let openact = build(rebuilt).await;
    let seen =
        value(&openact, "wire/play", json!({"steps": [["get", "k"], ["set", "k", "own", null]]})).await;
    assert_eq!(seen, json!([ok(Value::Null), ok(1)]));
}

#[tokio::test]
async fn c7_a_session_is_of_the_secret_it_was_logged_in_with() {
    let (address, _) = echo().await;
    let password = Arc::new(Mutex::new("first".to_owned()));
    let read = password.clone();
    let mut with = connection(address);
    with["password"] = json!({"$env": "PW"});
    let openact = memory(&[])
        .env(move |name| (name == "PW").then(|| read.lock().unwrap().clone()))
        .connector_bytes(guest("wire"))
        .config_text(config("wire", with, json!({"play": {}})), Format::Json)
        .build()
        .await
        .unwrap();
    park(&openact, address).await;
    *password.lock().unwrap() = "second".to_owned();
    let seen = play(&openact, json!([resume(address)])).await;
    assert_eq!(seen[0], ok(Value::Null));
    *password.lock().unwrap() = "first".to_owned();
    assert_eq!(play(&openact, json!([resume(address)])).await[0], ok("state"), "it was there");
}

#[tokio::test]
async fn c7_a_session_is_of_the_network_settings_it_was_opened_with() {
    let (address, _) = echo().await;
    let actions = json!({
        "play": {}, "lax": {"network": {"tls": {"verify": false}}}, "proxied": {"network": {"proxy": "http://127.0.0.1:9"}},
        "strict": {"network": {"tls": {"min_version": "1.3"}}}, "named": {"network": {"tls": {"server_name": "db"}}},
        "trusting": {"network": {"tls": {"ca": {"$env": "CA"}}}}, "private": {"network": {"allow_private": ["10.0.0.0/8"]}},
    });
    let names: Vec<String> = actions.as_object().unwrap().keys().cloned().collect();
    let text = config("wire", connection(address), actions);
    let builder = memory(&[("CA", &pki().ca.text)]).connector_bytes(guest("wire"));
    let openact = builder.config_text(text, Format::Json).build().await.unwrap();
    park(&openact, address).await;
    for name in names.iter().filter(|name| *name != "play") {
        let seen = value(&openact, &format!("wire/{name}"), json!({"steps": [resume(address)]})).await;
        match name.as_str() {
            "proxied" => assert!(told(&seen[0], "denied").contains("proxy"), "{seen}"),
            _ => assert_eq!(seen[0], ok(Value::Null), "{name}"),
        }
    }
    assert_eq!(play(&openact, json!([resume(address)])).await[0], ok("state"), "it was there");
}

#[tokio::test]
async fn c7_a_configuration_that_changes_closes_sessions_that_are_parked_or_in_use() {
    let (hung_up, mut closed) = mpsc::unbounded_channel();
    let (begun, mut begins) = mpsc::unbounded_channel();
    let (go, gone) = tokio::sync::watch::channel(false);
    let address = server(move |mut stream| {
        let (hung_up, begun, mut gone) = (hung_up.clone(), begun.clone(), gone.clone());
        async move {
            tokio::spawn(async move {
                let mut bytes = [0; 16];
                while let Ok(count @ 1..) = stream.read(&mut bytes).await {
                    begun.send(()).unwrap();
                    gone.wait_for(|gone| *gone).await.unwrap();
                    stream.write_all(&bytes[..count]).await.unwrap();
                }
                hung_up.send(()).unwrap();
            });
        }
    })
    .await;
    let openact = wire(connection(address)).await;
    park(&openact, address).await;
    let in_use = play(
        &openact,
        json!([
            ["open", "127.0.0.1", address.port(), "plain", "other"],
            ["write", 0, "x"],
            ["until", 0, "x"],
            ["park", 0, "other", "state"]
        ]),
    );
    let change = async {
        begins.recv().await.unwrap();
        let text = config("wire", connection(address), json!({"play": {}, "more": {}}));
        openact.import_text("more", &text, Format::Json, &ImportOptions::default()).await.unwrap();
        closed.recv().await.unwrap();
        go.send(true).unwrap();
    };
    let (seen, ()) = tokio::join!(in_use, change);
    assert_eq!(seen[2], ok("x"), "the call was not disturbed");
    closed.recv().await.unwrap();
}

/// What TLS has decrypted already is not seen by looking at the stream below it.
#[tokio::test]
async fn c7_a_session_with_unread_bytes_inside_tls_is_not_resumed() {
    let acceptor = acceptor(&[]);
    let address = server(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            tokio::spawn(async move {
                let mut stream = acceptor.accept(stream).await.unwrap();
                stream.write_all(b"answer to somebody else").await.unwrap();
                let _ = stream.read(&mut [0]).await;
            });
        }
    })
    .await;
    let mut with = connection(address);
    with["network"] = json!({"tls": {"ca": pki().ca.text, "ca_only": true}});
    let openact = wire(with).await;
    let resume = json!(["open", "127.0.0.1", address.port(), "tls", "s"]);
    for (read, resumed) in [(6, Value::Null), (100, json!("state"))] {
        let seen = play(&openact, json!([resume, ["read", 0, read], ["park", 0, "s", "state"]])).await;
        assert!("answer to somebody else".starts_with(seen[1]["ok"].as_str().unwrap()), "{seen:?}");
        assert_eq!(play(&openact, json!([resume])).await[0], ok(resumed));
    }
}

/// Nobody knows where such a stream is.
#[tokio::test]
async fn c7_a_stream_that_failed_is_closed_and_never_parked() {
    // A peer that never reads: writing ends by the deadline, in the middle.
    let address = server(|stream| async move {
        let _ = Box::leak(Box::new(stream));
    })
    .await;
    let mut with = connection(address);
    with["timeout"] = json!({"read_ms": 200});
    with["limits"] = json!({"request_bytes": 64 << 20});
    let openact = wire(with).await;
    let flood = json!(["write", 0, "x".repeat(8 << 20)]);
    let seen =
        play(&openact, json!([open(address), flood, ["write", 0, "more"], ["park", 0, "s", "state"]])).await;
    told(&seen[1], "timeout");
    told(&seen[2], "network");
    assert_eq!(play(&openact, json!([resume(address)])).await[0], ok(Value::Null));
    // An answer above the limit, which is read and not handed over.
    let address = server(|mut stream| async move {
        stream.write_all(b"an answer").await.unwrap();
        Box::leak(Box::new(stream));
    })
    .await;
    let mut with = connection(address);
    with["limits"] = json!({"response_bytes": 3});
    let openact = wire(with).await;
    let steps = json!([open(address), ["read", 0, 100], ["write", 0, "more"], ["park", 0, "s", "state"]]);
    let seen = play(&openact, steps).await;
    told(&seen[1], "limit-exceeded");
    told(&seen[2], "network");
    assert_eq!(play(&openact, json!([resume(address)])).await[0], ok(Value::Null));
}
