//! Credentials: applied by the host, seen by nobody else.
//!
//! Invariant: every test that looks for a canary also shows that it was used, or that looking finds one.

use std::{fs, path::Path};

use base64::{Engine, prelude::BASE64_STANDARD};
use openact::{ErrorCode, Format, ImportOptions, MasterKey, OpenAct, Tenant};
use serde_json::{Value, json};
use support::{
    guests::guest,
    upstream::{Answer, Received, Upstream},
};

use crate::{
    logged::Logged,
    setup::{config, failure, hostile_config, http, memory, value},
};

/// Characters that each way of writing it down changes, every kind of percent-encoding in the same way, and that a
/// header, a query and a cookie can carry.
pub(crate) const CANARY: &str = "canary+Zq7/secret=93";

/// `authorization` sections that hold the canary as `${CANARY}`.
pub(crate) fn kinds() -> [Value; 5] {
    [
        json!({"type": "bearer", "token": "${CANARY}"}),
        json!({"type": "api_key", "value": "${CANARY}", "header": "X-Key"}),
        json!({"type": "api_key", "value": "${CANARY}", "query": "api key"}),
        json!({"type": "api_key", "value": "${CANARY}", "cookie": "sid"}),
        json!({"type": "basic", "username": "user", "password": "${CANARY}"}),
    ]
}

/// The canary as it may be written down.
fn forms() -> Vec<String> {
    let hex: String = CANARY.bytes().map(|byte| format!("{byte:02x}")).collect();
    let percent = |every: bool| -> String {
        let quoted = |byte: u8| every || !(byte.is_ascii_alphanumeric() || b"-._~".contains(&byte));
        let one = |byte: u8| if quoted(byte) { format!("%{byte:02X}") } else { char::from(byte).to_string() };
        CANARY.bytes().map(one).collect()
    };
    let base64 = |text: &str| {
        let text = BASE64_STANDARD.encode(text);
        // The last group depends on what follows.
        text[..text.len() - 4].to_owned()
    };
    vec![
        CANARY.to_owned(),
        base64(CANARY),
        base64(&format!("user:{CANARY}"))[8..].to_owned(),
        base64(&format!("Bearer {CANARY}"))[12..].to_owned(),
        hex.to_uppercase(),
        hex,
        percent(false),
        percent(true),
    ]
}

pub(crate) fn assert_absent(place: &str, bytes: &[u8]) {
    for form in forms() {
        let found = bytes.windows(form.len()).any(|window| window == form.as_bytes());
        assert!(!found, "{place} holds {form}");
    }
}

fn assert_absent_in_folder(folder: &Path) {
    let mut files = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            files += 1;
            assert_absent(&path.display().to_string(), &fs::read(&path).unwrap());
        }
    }
    assert!(files > 0, "{} is empty", folder.display());
}

/// What the server got, with everything of it that a credential can be in.
fn sent(received: &Received) -> String {
    let decoded = received
        .header("authorization")
        .iter()
        .filter_map(|value| BASE64_STANDARD.decode(value.strip_prefix("Basic ")?).ok())
        .map(|bytes| String::from_utf8(bytes).unwrap())
        .collect::<String>();
    let target = received.target.replace("%2B", "+").replace("%2F", "/").replace("%3D", "=");
    format!("{target} {:?} {decoded}", received.headers)
}

/// The guest `hostile` with this `authorization`, for servers of `base_url`.
async fn hostile(base_url: &str, authorization: &Value, more: Value) -> OpenAct {
    let mut connection = json!({"base_url": base_url, "authorization": authorization});
    connection.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    memory(&[("CANARY", CANARY)])
        .connector_bytes(guest("hostile"))
        .config_text(hostile_config(connection), Format::Json)
        .build()
        .await
        .unwrap()
}

fn backwards() -> Vec<String> {
    forms().iter().map(|form| form.chars().rev().collect()).collect()
}

#[tokio::test]
async fn c1_the_guests_memory_never_holds_it() {
    for authorization in kinds() {
        let upstream = Upstream::json("{}").await;
        let openact = hostile(&upstream.url(), &authorization, json!({})).await;
        let input = json!({"reversed": backwards()});
        let seen = value(&openact, "hostile/dump-memory", input).await;
        assert_eq!(seen["found"], json!(vec![false; forms().len()]), "{authorization}");
        assert!(seen["memory_bytes"].as_u64().unwrap() > 65_536);
        let received = upstream.received();
        assert!(sent(&received[0]).contains(CANARY), "{authorization}: {received:?}");
        assert_eq!(received[0].header("x-guest"), ["set by the guest"]);
        // Looking does find what is there.
        let planted = json!({"reversed": backwards(), "plant": true});
        let seen = value(&openact, "hostile/dump-memory", planted).await;
        assert_eq!(seen["found"], json!(vec![true; forms().len()]));
    }
}

#[tokio::test]
async fn c1_no_byte_of_database_cache_record_log_or_export_holds_it() {
    let logged = Logged::start();
    for authorization in kinds() {
        let folder = tempfile::tempdir().unwrap();
        let upstream = Upstream::json(r#"{"ok": true}"#).await;
        let connection = json!({"base_url": upstream.url(), "authorization": authorization});
        let openact = support::builder(folder.path(), &[("CANARY", CANARY)])
            .instances_max(4)
            .cache_folder(folder.path().join("compiled"))
            .connector_bytes(guest("plain"))
            .master_key(MasterKey::ephemeral().unwrap())
            .config_text(config("plain", connection, json!({"greet": {}})), Format::Json)
            .build()
            .await
            .unwrap();
        let outcome = openact.run("plain/greet", json!({"name": "you"})).await.unwrap();
        assert!(sent(&upstream.received()[0]).contains(CANARY), "{authorization}");
        assert_absent("the run record", outcome.run.to_json().to_string().as_bytes());
        assert_absent("the run record", format!("{:?}", outcome.run).as_bytes());
        assert_absent("the result", outcome.result.as_str().as_bytes());
        let tenant = Tenant::default();
        let export = openact.export(&tenant, &[], Format::Yaml).await.unwrap();
        assert!(export.contains("authorization"), "{export}");
        assert_absent("the export", export.as_bytes());
        let shown = openact.show(&tenant, "plain/c").await.unwrap();
        assert!(shown.to_json()["config"]["authorization"]["type"].is_string());
        assert_absent("show", format!("{} {shown:?}", shown.to_json()).as_bytes());
        assert_absent(
            "the secrets' list",
            format!("{:?}", openact.list_secrets(&tenant).await.unwrap()).as_bytes(),
        );
        assert_absent_in_folder(folder.path());
        openact.close().await.unwrap();
        assert_absent_in_folder(folder.path());
        assert_absent_in_folder(&folder.path().join("compiled"));
    }
    let text = logged.text();
    assert!(text.contains("hyper"), "the log is at its most verbose: {} bytes", text.len());
    assert_absent("the log", text.as_bytes());
}

#[tokio::test]
async fn c1_no_error_text_holds_it() {
    let logged = Logged::start();
    let truncated =
        || Upstream::start(|_| Answer::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nshort".to_vec()));
    let nonsense = || Upstream::start(|_| Answer::Raw(b"220 smtp.example ready\r\n".to_vec()));
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    for authorization in kinds() {
        let (truncated, nonsense) = (truncated().await, nonsense().await);
        let slow = Upstream::start(|_| Answer::Held("{}".into())).await;
        for (url, code) in [
            (closed.clone(), ErrorCode::NetworkError),
            (truncated.url(), ErrorCode::NetworkError),
            (nonsense.url(), ErrorCode::NetworkError),
            (slow.url(), ErrorCode::Timeout),
        ] {
            let more = json!({"timeout": {"read_ms": 100}});
            let openact = hostile(&url, &authorization, more).await;
            let (error, run) = failure(&openact, "hostile/dump-memory", json!({})).await;
            assert_eq!(error.code, code, "{authorization}: {error:?}");
            assert_absent("the error", format!("{error:?} {error} {}", error.to_json()).as_bytes());
            assert_absent("the run record", run.to_json().to_string().as_bytes());
        }
    }
    assert_absent("the log", logged.text().as_bytes());
}

#[tokio::test]
async fn c3_another_granted_origin_gets_none() {
    for authorization in kinds() {
        let (own, other) = (Upstream::json("{}").await, Upstream::json("{}").await);
        let more = json!({"network": {"allowed_hosts": [other.url()]}});
        let openact = hostile(&own.url(), &authorization, more).await;
        value(&openact, "hostile/dump-memory", json!({"url": other.url() + "/a?b=c"})).await;
        let [received] = &other.received()[..] else { panic!("one request") };
        assert_eq!(received.target, "/a?b=c");
        assert!(!sent(received).contains(CANARY), "{authorization}: {received:?}");
        assert_eq!(received.header("x-guest"), ["set by the guest"]);
        value(&openact, "hostile/dump-memory", json!({})).await;
        assert!(sent(&own.received()[0]).contains(CANARY), "{authorization}");
    }
}

/// Runs `action` over a connection with `authorization` and gives back the one request the server got.
async fn received(authorization: Value, action: Value, input: Value) -> Received {
    let upstream = Upstream::json("{}").await;
    let connection = json!({
        "base_url": upstream.url() + "/?key=base", "authorization": authorization,
        "defaults": {"headers": {"X-Default": "1", "authorization": "by the defaults"}},
    });
    let openact = http(connection, json!({"get": action})).await;
    value(&openact, "http/get", input).await;
    let mut received = upstream.received();
    assert_eq!(received.len(), 1);
    received.remove(0)
}

#[tokio::test]
async fn c4_a_header_of_the_same_name_is_replaced() {
    for (authorization, name, expected) in [
        (json!({"type": "bearer", "token": "own"}), "authorization", "Bearer own"),
        (json!({"type": "basic", "username": "u", "password": "p"}), "authorization", "Basic dTpw"),
        (json!({"type": "api_key", "value": "own", "header": "X-Key"}), "x-key", "own"),
    ] {
        let action = json!({"headers": {
            "Authorization": "by the action", "X-KEY": ["by the action", "twice"], "X-Other": "kept",
        }});
        let input = json!({"headers": {"AUTHORIZATION": "by the caller", "x-Key": "by the caller", "X-Third": "kept"}});
        let received = received(authorization, action, input).await;
        assert_eq!(received.header(name), [expected]);
        assert_eq!((received.header("x-other"), received.header("x-third")), (vec!["kept"], vec!["kept"]));
        assert_eq!(received.header("x-default"), ["1"]);
    }
}

#[tokio::test]
async fn c4_a_query_parameter_of_the_same_name_is_replaced() {
    let received = received(
        json!({"type": "api_key", "value": "own", "query": "key"}),
        json!({"path": "/a?key=path&k%65y=spelt&a=1&Key=upper", "query": {"key": ["by the action", "twice"], "b": "2"}}),
        json!({"query": {"key": "by the caller", "c": "3"}}),
    )
    .await;
    let url = format!("http://x{}", received.target);
    let query = url.split_once('?').unwrap().1;
    let mut pairs: Vec<&str> = query.split('&').collect();
    pairs.sort_unstable();
    assert_eq!(pairs, ["Key=upper", "a=1", "b=2", "c=3", "key=own"], "{url}");
}

#[tokio::test]
async fn c4_a_cookie_of_the_same_name_is_replaced() {
    let received = received(
        json!({"type": "api_key", "value": "own", "cookie": "sid"}),
        json!({"headers": {"Cookie": "a=1; sid=by-the-action;sid = spaced; sid; b=2"}}),
        json!({"headers": {"cookie": ["sid=by-the-caller; c=3", "sid=again; sidx=4"]}}),
    )
    .await;
    let [cookies] = received.header("cookie")[..] else { panic!("one header: {received:?}") };
    let names: Vec<&str> = cookies.split("; ").collect();
    assert_eq!(names, ["c=3", "sidx=4", "sid=own"], "{cookies}");
}

#[tokio::test]
async fn c4_no_input_replaces_the_connections_authorization() {
    let received = received(
        json!({"type": "bearer", "token": "own"}),
        json!({}),
        json!({"authorization": {"type": "bearer", "token": "evil"}, "auth": {"type": "none"}, "connection": "x"}),
    )
    .await;
    assert_eq!(received.header("authorization"), ["Bearer own"]);
}

#[tokio::test]
async fn c5_a_missing_secret_fails_before_any_dial() {
    let upstream = Upstream::json("{}").await;
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing").display().to_string();
    for (reference, named) in [
        (json!({"$env": "UNSET"}), "UNSET"),
        (json!({"$file": missing}), missing.as_str()),
        (json!({"$secret": "never-set"}), "never-set"),
    ] {
        let connection =
            json!({"base_url": upstream.url(), "authorization": {"type": "bearer", "token": reference}});
        let openact = http(connection, json!({"get": {}})).await;
        let (error, run) = failure(&openact, "http/get", json!({})).await;
        assert_eq!(error.code, ErrorCode::AuthRequired, "{error:?}");
        assert!(error.message.contains(named), "{}", error.message);
        assert!(error.hint.is_some());
        assert!(run.host_calls.is_empty());
    }
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn c5_a_secret_sealed_with_another_key_fails_before_any_dial() {
    let upstream = Upstream::json("{}").await;
    let folder = tempfile::tempdir().unwrap();
    let connection =
        json!({"base_url": upstream.url(), "authorization": {"type": "bearer", "token": CANARY}});
    let open = || {
        let key = MasterKey::ephemeral().unwrap();
        support::builder(folder.path(), &[]).instances_max(4).master_key(key).build()
    };
    let openact = open().await.unwrap();
    let text = config("http", connection, json!({"get": {}}));
    openact.import_text("test", &text, Format::Json, &ImportOptions::default()).await.unwrap();
    value(&openact, "http/get", json!({})).await;
    openact.close().await.unwrap();
    let openact = open().await.unwrap();
    let (error, _) = failure(&openact, "http/get", json!({})).await;
    assert_eq!(error.code, ErrorCode::StoreUnavailable, "{error:?}");
    assert_absent("the error", format!("{error:?} {}", error.to_json()).as_bytes());
    assert_eq!(upstream.received().len(), 1);
    openact.close().await.unwrap();
}

#[tokio::test]
async fn c5_a_secret_with_a_line_break_is_refused_unquoted() {
    let upstream = Upstream::json("{}").await;
    let token = format!("{CANARY}\r\nX-Evil: 1");
    let connection = json!({"base_url": upstream.url(), "authorization": {"type": "bearer", "token": token}});
    let openact = http(connection, json!({"get": {}})).await;
    let (error, _) = failure(&openact, "http/get", json!({})).await;
    assert_eq!(error.code, ErrorCode::AuthRequired, "{error:?}");
    assert_absent("the error", format!("{error:?} {}", error.to_json()).as_bytes());
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn c3_the_own_url_inside_another_one_is_not_the_own_origin() {
    let (own, other) = (Upstream::json("{}").await, Upstream::json("{}").await);
    let openact = hostile(&own.url(), &kinds()[0], json!({})).await;
    let own_url = own.url();
    for url in [format!("{}/{own_url}", other.url()), format!("{}/?{own_url}", other.url())] {
        let (error, _) = failure(&openact, "hostile/dump-memory", json!({ "url": url })).await;
        assert_eq!(error.code, ErrorCode::EgressDenied);
    }
    assert_eq!(other.connections(), 0);
}

#[tokio::test]
async fn c6_a_connection_cannot_name_another_ones_secret() {
    let upstream = Upstream::json("{}").await;
    let openact = memory(&[("CANARY", CANARY)])
        .config_text(
            config("http", json!({"base_url": upstream.url(), "auth": kinds()[0]}), json!({"own": {}})),
            Format::Json,
        )
        .build()
        .await
        .unwrap();
    let stored = openact.list_secrets(&Tenant::default()).await.unwrap();
    let thief = json!({"connectors": {"http": {
        "connections": {"thief": {
            "base_url": upstream.url(), "auth": {"type": "bearer", "token": {"$secret": stored[0].name}},
        }},
        "actions": {"steal": {"connection": "thief"}},
    }}});
    openact.import_text("thief", &thief.to_string(), Format::Json, &ImportOptions::default()).await.unwrap();
    let (error, _) = failure(&openact, "http/steal", json!({})).await;
    assert_eq!(error.code, ErrorCode::InvalidConfig, "{error:?}");
    assert!(upstream.received().is_empty());
    // The one it belongs to uses it.
    openact.run("http/own", json!({})).await.unwrap();
    assert_eq!(upstream.received()[0].header("authorization"), [format!("Bearer {CANARY}")]);
}

#[tokio::test]
async fn c1_the_master_key_is_not_a_value_of_any_configuration() {
    let upstream = Upstream::json("{}").await;
    let env = [("OPENACT_MASTER_KEY", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")];
    let with = |token: Value| {
        let connection = json!({"base_url": upstream.url(), "auth": {"type": "bearer", "token": token}});
        memory(&env).config_text(config("http", connection, json!({"get": {}})), Format::Json).build()
    };
    let error = with(json!("${OPENACT_MASTER_KEY}")).await.err().unwrap();
    assert_eq!(error.code, ErrorCode::InvalidConfig, "{error:?}");
    let openact = with(json!({"$env": "OPENACT_MASTER_KEY"})).await.unwrap();
    let (error, _) = failure(&openact, "http/get", json!({})).await;
    assert_eq!(error.code, ErrorCode::AuthRequired, "{error:?}");
    assert!(upstream.received().is_empty());
}

#[tokio::test]
async fn c5_a_secret_file_that_is_none_fails_and_holds_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let large = folder.path().join("large");
    fs::write(&large, vec![b'x'; 65 * 1024]).unwrap();
    for path in ["/dev/zero", folder.path().to_str().unwrap(), large.to_str().unwrap()] {
        let connection =
            json!({"base_url": "http://127.0.0.1:1", "auth": {"type": "bearer", "token": {"$file": path}}});
        let openact = http(connection, json!({"get": {}})).await;
        let (error, _) = failure(&openact, "http/get", json!({})).await;
        assert_eq!(error.code, ErrorCode::AuthRequired, "{path}: {error:?}");
    }
}
