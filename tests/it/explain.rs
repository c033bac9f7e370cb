//! What a call would do, told beforehand; what a run did, told afterwards; whether connections work.
//!
//! Invariant: what a dry run tells is compared with what a real server then receives, and every test that looks for the
//! canary also shows that it is used.

use std::{collections::BTreeMap, process::Output};

use openact::{
    CheckOutcome, CheckReport, ErrorCode, Explanation, Format, ImportOptions, OpenAct, Request, Setting,
    Tenant, Versioning, limits::CHECKS_AT_ONCE,
};
use serde_json::{Value, json};
use support::{
    command::{openact as command, stderr, stdout},
    guests::guest,
    upstream::{Answer, Received, Upstream},
};

use crate::{
    credentials::{CANARY, assert_absent, kinds},
    setup::{config, failure, hostile, http, memory, request, value},
};

fn tenant() -> Tenant {
    Tenant::default()
}

async fn explained(openact: &OpenAct, reference: &str, input: Value) -> Explanation {
    openact.explain(&tenant(), reference, Some(input)).await.unwrap()
}

/// The result of a dry run.
async fn dry(openact: &OpenAct, action: &str, input: Value) -> Value {
    let request = Request { dry_run: true, ..request(action, input) };
    openact.execute(request).await.result.unwrap().value().unwrap()
}

/// `value origin` of a path; it must be there once.
fn at(settings: &[Setting], path: &str) -> String {
    let found: Vec<_> = settings.iter().filter(|setting| setting.path == path).collect();
    assert_eq!(found.len(), 1, "{path}: {found:?}");
    format!("{} {}", found[0].value, found[0].origin)
}

#[tokio::test]
async fn every_value_has_its_origin() {
    let connection = json!({
        "base_url": "http://127.0.0.1:9/v1",
        "authorization": {"type": "basic", "username": "u", "password": {"$env": "PASSWORD"}},
        "timeout": {"connect_ms": 500, "total_ms": 9000},
        "retry": "background",
        "rate_limit": {"requests": 7},
        "http_policy": {"denied_headers": ["x-no"]},
        "network": {"tls": {"min_version": "1.3"}},
        "defaults": {
            "headers": {"X-Team": "core", "accept": "a/b", "x.dotted": "1"},
            "query": {"a": 1, "b": 2, "gone": 3, "same": 9},
            "body": {"from": "connection"},
            "limits": {"host_calls": 50},
        },
    });
    let actions = json!({
        "get": {
            "method": "POST", "path": "/{id}", "headers": {"Accept": "c/d"}, "query": {"b": 3, "gone": null, "same": 9},
            "timeout_ms": 3000, "response": {"fail_on_status": true},
        },
        "limited": {"retry": {"preset": "health", "max_attempts": 4}, "limits": {"timeout_ms": 1234}},
    });
    let openact = http(connection, actions).await;
    let input = json!({"id": "7", "query": {"c": 4}, "body": {"from": {"$env": "no secret"}}, "headers": {"x-team": "mine"}});
    let explanation = explained(&openact, "http/get", input.clone()).await;
    let settings = &explanation.configuration;
    for (path, wanted) in [
        ("operation", "\"request\" default"),
        ("method", "\"POST\" action"),
        ("path", "\"/{id}\" action"),
        // Header names match without regard to case; the caller's stands.
        ("headers.x-team", "\"mine\" input"),
        ("headers.Accept", "\"c/d\" action"),
        ("headers.\"x.dotted\"", "\"1\" connection"),
        ("query.a", "1 connection"),
        ("query.b", "3 action"),
        ("query.c", "4 input"),
        // Said twice alike, it is the stronger one's.
        ("query.same", "9 action"),
        ("body", "{\"from\":{\"$env\":\"no secret\"}} input"),
        ("follow_redirects", "false default"),
        ("response.fail_on_status", "true action"),
        ("response.allow_binary", "true default"),
        ("base_url", "\"http://127.0.0.1:9/v1\" connection"),
        ("authorization.username", "\"u\" connection"),
        ("authorization.password", "{\"$env\":\"PASSWORD\"} connection"),
        ("rate_limit.requests", "7 connection"),
        ("rate_limit.per_ms", "1000 default"),
        ("rate_limit.burst", "7 default"),
        ("timeout.connect_ms", "500 connection"),
        ("timeout.read_ms", "30000 default"),
        ("timeout.total_ms", "3000 action"),
        // A preset is its values.
        ("retry.preset", "\"background\" connection"),
        ("retry.max_attempts", "6 connection"),
        ("retry.total_ms", "600000 connection"),
        ("limits.host_calls", "50 connection"),
        ("limits.cpu_ms", "10000 default"),
        ("network.tls.min_version", "\"1.3\" connection"),
        ("network.tls.verify", "true default"),
        ("http_policy.denied_headers", "[\"x-no\"] connection"),
        ("http_policy.max_redirects", "5 default"),
    ] {
        assert_eq!(at(settings, path), wanted, "{path}");
    }
    for absent in ["query.gone", "headers.X-Team", "headers.accept", "id", "pagination.max_pages", "retry"] {
        assert!(settings.iter().all(|setting| setting.path != absent), "{absent}");
    }
    // A dry run has the same rows, and the caller's deadline is the caller's.
    let told = dry(&openact, "http/get", input.clone()).await;
    assert_eq!(told["configuration"], serde_json::to_value(settings).unwrap());
    let timed = Request {
        timeout: Some(std::time::Duration::from_millis(77)),
        dry_run: true,
        ..request("http/get", input)
    };
    let told = openact.execute(timed).await.result.unwrap().value().unwrap();
    let total = json!({"path": "timeout.total_ms", "value": 77, "origin": "input"});
    assert!(told["configuration"].as_array().unwrap().contains(&total));

    let limited = explained(&openact, "limited", json!({})).await.configuration;
    for (path, wanted) in [
        ("body", "{\"from\":\"connection\"} connection"),
        ("retry.preset", "\"health\" action"),
        ("retry.max_attempts", "4 action"),
        ("retry.jitter", "false action"),
        ("limits.timeout_ms", "1234 action"),
    ] {
        assert_eq!(at(&limited, path), wanted, "{path}");
    }
    assert!(limited.iter().all(|setting| setting.path != "timeout.total_ms"), "two deadlines");
}

#[tokio::test]
async fn c1_no_secret_is_in_what_is_told_and_nothing_is_dialled() {
    let upstream = Upstream::json("{}").await;
    let token_url = format!("{}/token", upstream.url());
    let computed = [
        json!({"type": "digest", "username": "u", "password": "${CANARY}"}),
        json!({"type": "oauth2_client_credentials", "token_url": token_url, "client_id": "c", "client_secret": "${CANARY}"}),
        json!({"type": "aws_sigv4", "access_key_id": "a", "secret_access_key": "${CANARY}", "region": "r", "service": "s"}),
        json!({"type": "hmac", "secret": "${CANARY}", "message": "{body}", "header": "X-Signature"}),
        json!({"type": "jwt", "algorithm": "HS256", "key": "${CANARY}"}),
        json!({"type": "jwt", "algorithm": "HS256", "key": "${CANARY}", "use": "grant", "token_url": token_url}),
    ];
    for authorization in kinds().iter().chain(&computed) {
        let connection = json!({
            "base_url": upstream.url(), "authorization": authorization,
            "network": {"proxy": {"url": "http://127.0.0.1:9", "username": "p", "password": "${CANARY}"}},
        });
        let openact = memory(&[("CANARY", CANARY)])
            .config_text(config("http", connection, json!({"get": {"path": "/x"}})), Format::Json)
            .build()
            .await
            .unwrap();
        let told = dry(&openact, "http/get", json!({})).await.to_string();
        let explanation = explained(&openact, "http/get", json!({})).await;
        let (shown, printed) = (explanation.to_json(), format!("{explanation:?}"));
        for (place, text) in [("a dry run", &told), ("explain", &shown.to_string()), ("its Debug", &printed)]
        {
            assert_absent(place, text.as_bytes());
            assert!(text.contains("connection/http/c@v1#/authorization/"), "{place} of {authorization}");
        }
        assert_eq!(shown["credential"]["type"], authorization["type"]);
        assert_eq!(shown["credential"]["error"], Value::Null, "{shown}");
        assert_eq!(shown["request"]["url"], format!("{}/x", upstream.url()));
        let names = shown["request"]["credential"].as_array().unwrap();
        let is_named = |name: &Value| {
            ["header ", "query parameter ", "cookie "]
                .iter()
                .any(|kind| name.as_str().unwrap().starts_with(kind))
        };
        assert!(!names.is_empty() && names.iter().all(is_named), "{shown}");
        assert_eq!(upstream.connections(), 0, "{authorization}");
    }
    // The canary is used where it is not only told about.
    let openact = memory(&[("CANARY", CANARY)])
        .config_text(
            config(
                "http",
                json!({"base_url": upstream.url(), "authorization": kinds()[0]}),
                json!({"get": {}}),
            ),
            Format::Json,
        )
        .build()
        .await
        .unwrap();
    value(&openact, "http/get", json!({})).await;
    assert_eq!(upstream.received()[0].header("authorization"), [format!("Bearer {CANARY}")]);
}

/// Header names and values; several values of a name as one, in the order they came in.
fn headers_of(received: &Received) -> BTreeMap<String, String> {
    let mut headers: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in &received.headers {
        let joined = headers.entry(name.clone()).or_default();
        if !joined.is_empty() {
            joined.push_str(", ");
        }
        joined.push_str(value);
    }
    headers
}

#[tokio::test]
async fn the_request_a_dry_run_tells_is_the_one_that_is_sent() {
    let upstream = Upstream::json("{}").await;
    let base_url = format!("{}/base?always=1", upstream.url());
    let connection = json!({
        "base_url": base_url,
        "authorization": {"type": "bearer", "token": CANARY},
        "defaults": {"headers": {"x-many": ["1", "2"], "x-lang": "é"}, "cookies": {"a": "b%20c"}},
    });
    let file = json!({"mime_type": "application/octet-stream", "content": "AP8=", "filename": "f.bin"});
    let bodies = [
        ("none", "GET", json!({})),
        ("nothing", "POST", json!({})),
        ("json", "POST", json!({"body": {"b": 1, "a": ["x", null, 1.5], "t": "{{login}}"}})),
        ("typed", "PUT", json!({"body": {"type": "json", "data": [1, 2]}})),
        ("form", "POST", json!({"body": {"type": "form", "fields": {"a": "1 &", "b": ["x", "é"]}}})),
        (
            "multipart",
            "POST",
            json!({"body": {"type": "multipart", "fields": {"a": "1"}, "files": {"f": file}}}),
        ),
        ("text", "POST", json!({"body": {"type": "text", "content": "Grüße\n{{login}}"}})),
        ("latin", "POST", json!({"body": {"type": "text", "content": "Grüße", "charset": "iso-8859-1"}})),
        ("raw", "PATCH", json!({"body": {"type": "raw", "data": "AP8A", "content_type": "image/x"}})),
    ];
    let actions: serde_json::Map<String, Value> = bodies
        .iter()
        .map(|(name, method, more)| {
            let mut action =
                json!({"method": method, "path": "/u/{login}", "query": {"q": ["a b", "&"], "n": 7}});
            action.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            ((*name).to_owned(), action)
        })
        .collect();
    let openact = http(connection, Value::Object(actions)).await;
    let input = json!({"login": "o/c t", "headers": {"X-Input": "{{login}}"}});
    let mut told = Vec::new();
    for (name, ..) in &bodies {
        told.push(dry(&openact, &format!("http/{name}"), input.clone()).await["request"].take());
    }
    assert_eq!(upstream.connections(), 0, "a dry run dialled");
    for ((name, ..), told) in bodies.iter().zip(told) {
        value(&openact, &format!("http/{name}"), input.clone()).await;
        let received = upstream.received().pop().unwrap();
        assert_eq!(told["method"], received.method, "{name}");
        assert_eq!(told["url"], format!("{}{}", upstream.url(), received.target), "{name}");
        assert_eq!(told["credential"], json!(["header authorization"]), "{name}");
        let mut sent = headers_of(&received);
        assert_eq!(sent.remove("authorization"), Some(format!("Bearer {CANARY}")));
        // It looks like a secret, and is hidden from whoever reads what would be sent.
        assert_eq!(sent.insert("cookie".into(), "[secret]".into()), Some("a=b%20c".into()));
        assert_eq!(told["headers"], json!(sent), "{name}");
        let body = match std::str::from_utf8(&received.body) {
            Ok("") => Value::Null,
            Ok(text) => serde_json::from_str(text).unwrap_or_else(|_| text.into()),
            Err(_) => {
                json!({"base64": base64::Engine::encode(&base64::prelude::BASE64_STANDARD, &received.body)})
            }
        };
        assert_eq!(told["body"], body, "{name}");
    }
}

#[tokio::test]
async fn c5_a_dry_run_does_without_a_credential_that_is_missing_and_says_so() {
    let upstream = Upstream::json("{}").await;
    let connection =
        json!({"base_url": upstream.url(), "authorization": {"type": "bearer", "token": {"$env": "GONE"}}});
    let openact = http(connection, json!({"get": {"path": "/x"}})).await;
    let request = dry(&openact, "http/get", json!({})).await["request"].take();
    assert_eq!(request["url"], format!("{}/x", upstream.url()));
    let error = &request["credential"]["error"];
    assert_eq!(error["code"], "auth_required");
    assert!(error["message"].as_str().unwrap().contains("GONE") && error["hint"].is_string(), "{error}");
    let explanation = explained(&openact, "http/get", json!({})).await;
    // Neither the connection nor the action has a section of the host.
    let settings = &explanation.configuration;
    assert!(settings.iter().all(|setting| !setting.path.is_empty()), "{settings:?}");
    let shown = explanation.to_json();
    assert_eq!(shown["credential"]["error"]["code"], "auth_required");
    // The call itself fails as ever.
    assert_eq!(failure(&openact, "http/get", json!({})).await.0.code, ErrorCode::AuthRequired);
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn c1_a_token_parameter_is_sealed_and_sent() {
    let upstream =
        Upstream::json(r#"{"access_token": "t0ken-of-the-endpoint", "token_type": "Bearer"}"#).await;
    let folder = tempfile::tempdir().unwrap();
    let connection = json!({"base_url": upstream.url(), "authorization": {
        "type": "oauth2_client_credentials", "token_url": upstream.url() + "/token", "client_id": "c",
        "client_secret": "s3cret", "token_parameters": {"tenant": "5", "password": "${CANARY}"},
    }});
    let openact = support::builder(folder.path(), &[("CANARY", CANARY)])
        .config_text(config("http", connection, json!({"get": {"path": "/x"}})), Format::Json)
        .build()
        .await
        .unwrap();
    value(&openact, "http/get", json!({})).await;
    let received = upstream.received();
    let asked = String::from_utf8_lossy(&received[0].body).into_owned();
    let field = url::form_urlencoded::parse(asked.as_bytes()).find(|(name, _)| name == "password");
    assert_eq!(field.unwrap().1, CANARY, "{asked}");
    let export = openact.export(&tenant(), &[], Format::Yaml).await.unwrap();
    assert!(export.contains("token_parameters"), "{export}");
    assert_absent("the export", export.as_bytes());
    let shown = openact.show(&tenant(), "http/c").await.unwrap();
    assert_absent("show", shown.to_json().to_string().as_bytes());
    openact.close().await.unwrap();
    let mut files = 0;
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            assert_absent(&path.display().to_string(), &std::fs::read(&path).unwrap());
            files += 1;
        }
    }
    assert!(files > 0);
}

#[tokio::test]
async fn c3_a_check_that_went_without_the_credential_says_so() {
    let upstream = Upstream::json("{}").await;
    for (prefix, is_noted) in [("/api/v1", true), ("/api", false)] {
        let connection = json!({"base_url": upstream.url() + "/api",
            "authorization": {"type": "bearer", "token": "t0ken", "path_prefix": prefix}});
        let openact = http(connection, json!({"get": {"path": "/x"}})).await;
        let report = openact.check_connection(&tenant(), "http/c").await.unwrap().to_json();
        assert_eq!(report["status"], "ok", "{report}");
        let note = report["note"].as_str().unwrap_or_default();
        assert_eq!(note.contains("without the credential"), is_noted, "{report}");
        let sent = upstream.received().last().unwrap().header("authorization").len();
        assert_eq!(sent == 0, is_noted, "{prefix}");
    }
}

#[tokio::test]
async fn c6_a_dry_run_is_no_way_to_another_connections_secret() {
    let connection = |token: Value| json!({"base_url": "http://127.0.0.1:9", "authorization": {"type": "bearer", "token": token}});
    let foreign = connection(json!({"$secret": "connection/http/own@v1#/authorization/token"}));
    let file = json!({"connectors": {"http": {
        "connections": {"own": connection(CANARY.into()), "foreign": foreign},
        "actions": {"get": {"connection": "foreign"}},
    }}});
    let openact = memory(&[]).config_text(file.to_string(), Format::Json).build().await.unwrap();
    let request = Request { dry_run: true, ..request("http/get", json!({})) };
    assert_eq!(openact.execute(request).await.result.unwrap_err().code, ErrorCode::InvalidConfig);
    let shown = explained(&openact, "http/get", json!({})).await.to_json();
    assert_eq!(shown["credential"]["error"]["code"], "invalid_config");
    assert_eq!(shown["request"]["error"]["code"], "invalid_config");
}

#[tokio::test]
async fn no_vault_is_asked_for_a_dry_run() {
    let vault = Upstream::json(r#"{"data": {"data": {"token": "t"}}}"#).await;
    let upstream = Upstream::json("{}").await;
    let connection =
        |authorization: Value| json!({"base_url": upstream.url(), "authorization": authorization});
    let file = json!({"connectors": {"http": {
        "connections": {
            "bearer": connection(json!({"type": "bearer", "token": "vault://secret/app#/token"})),
            "jwt": connection(json!({"type": "jwt", "algorithm": "ES256", "key": "vault://secret/app#/token"})),
        },
        "actions": {"bearer": {"connection": "bearer"}, "jwt": {"connection": "jwt"}},
    }}});
    let openact = memory(&[("VAULT_ADDR", &vault.url()), ("VAULT_TOKEN", "v")])
        .config_text(file.to_string(), Format::Json)
        .build()
        .await
        .unwrap();
    let told = dry(&openact, "http/bearer", json!({})).await;
    assert_eq!(told["request"]["credential"], json!(["header authorization"]));
    // What cannot even be made without its value is said to be out of reach.
    let told = dry(&openact, "http/jwt", json!({})).await;
    let message = told["request"]["credential"]["error"]["message"].as_str().unwrap();
    assert!(message.contains("vault"), "{message}");
    assert_eq!((vault.connections(), upstream.connections()), (0, 0));
    // Nothing of a dry run is used by a call.
    value(&openact, "http/bearer", json!({})).await;
    assert_eq!(upstream.received()[0].header("authorization"), ["Bearer t"]);
    assert_eq!(vault.received().len(), 1);
}

#[tokio::test]
async fn a_connector_that_asks_for_nothing_tells_itself_what_it_would_do() {
    let openact = hostile(json!({"base_url": "http://127.0.0.1:9"})).await;
    let told = dry(&openact, "hostile/echo", json!({"a": 12})).await;
    let real = value(&openact, "hostile/echo", json!({"a": 12})).await;
    assert_eq!(told["dry_run"], true);
    assert_eq!(told["result"]["input"], real["input"], "{told} {real}");
    assert!(told["configuration"].is_array() && told.get("request").is_none(), "{told}");
}

#[tokio::test]
async fn m8_a_run_is_explained_by_the_versions_it_used_for_its_own_tenant() {
    let upstream = Upstream::json("{}").await;
    let file = |path: &str, team: &str| {
        let connection = json!({"base_url": upstream.url(), "defaults": {"headers": {"x-team": team}}});
        config("http", connection, json!({"get": {"path": path}}))
    };
    let openact = memory(&[]).config_text(file("/old", "old"), Format::Json).build().await.unwrap();
    let run = openact.run("http/get", json!({"query": {"q": "1"}})).await.unwrap().run;
    let options = ImportOptions { versioning: Versioning::ReuseIfUnchanged, ..Default::default() };
    openact.import_text("new", &file("/new", "new"), Format::Json, &options).await.unwrap();
    assert_eq!(
        at(&explained(&openact, "http/get", json!({})).await.configuration, "path"),
        "\"/new\" action"
    );

    let id = run.id.to_string();
    let explanation = openact.explain(&tenant(), &id, None).await.unwrap();
    assert_eq!(at(&explanation.configuration, "path"), "\"/old\" action");
    assert_eq!(at(&explanation.configuration, "headers.x-team"), "\"old\" connection");
    assert!(explanation.configuration.iter().all(|setting| setting.path != "query.q"));
    let shown = explanation.to_json();
    assert_eq!(
        (shown["action"].clone(), shown["connection"].clone()),
        (json!(run.action), json!(run.connection))
    );
    assert_eq!(shown["request"], Value::Null);
    assert_eq!(shown["notes"], json!(["the input of a run is not kept; values it set are not shown"]));
    assert_eq!(shown["run"], run.to_json());
    assert_eq!(shown["run"]["host_calls"][0]["outcome"], "200");
    assert_eq!(shown["reaches"], json!([{"origin": upstream.url(), "by": "connector"}]));
    // With an input there is a request, by the versions of the run.
    let again = explained(&openact, &id, json!({"query": {"q": "2"}})).await.to_json();
    assert_eq!(again["request"]["url"], format!("{}/old?q=2", upstream.url()));
    assert_eq!(upstream.received().len(), 1);
    // Explaining leaves no run behind.
    assert_eq!(openact.list_runs(&tenant(), 10, &Default::default()).await.unwrap().len(), 1);

    let other: Tenant = "other".parse().unwrap();
    for reference in [id.as_str(), &run.action.to_string(), "http/get"] {
        let error = openact.explain(&other, reference, None).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::NotFound, "{reference}");
    }
    let error = openact.check_connection(&other, &run.connection.to_string()).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::NotFound);
    assert!(openact.check_all(&other, None).await.unwrap().is_empty());
}

/// Connections of `http`, by name.
fn connections(connections: &Value) -> String {
    json!({"connectors": {"http": {"connections": connections}}}).to_string()
}

fn refused_address() -> String {
    // Bound and closed again: nobody listens there.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// A connection, how its check fails, and what is said of it.
type Expected = (&'static str, Option<ErrorCode>, &'static str);

/// Connections that fail in every way, one that works, and the code of each.
fn matrix(upstream: &Upstream) -> (Value, Vec<Expected>) {
    let bearer = |path: &str, token: Value| json!({"base_url": format!("{}{path}", upstream.url()), "authorization": {"type": "bearer", "token": token}});
    let file = json!({
        "works": bearer("/works", CANARY.into()),
        "missing": bearer("/works", json!({"$env": "GONE"})),
        "refused": bearer("/401", json!({"$env": "CANARY"})),
        "anonymous": {"base_url": format!("{}/401", upstream.url())},
        "broken": bearer("/500", CANARY.into()),
        "closed": {"base_url": refused_address()},
        "denied": {"base_url": "http://169.254.169.254/latest"},
        "slow": {"base_url": format!("{}/held", upstream.url()), "timeout_ms": 50},
    });
    let wanted = vec![
        ("works", None, ""),
        ("missing", Some(ErrorCode::AuthRequired), "environment variable"),
        ("refused", Some(ErrorCode::AuthRequired), "read from CANARY"),
        ("anonymous", Some(ErrorCode::AuthRequired), "no authorization"),
        ("broken", Some(ErrorCode::UpstreamError), "try again"),
        ("closed", Some(ErrorCode::NetworkError), "something listens there"),
        ("denied", Some(ErrorCode::EgressDenied), "allow_private"),
        ("slow", Some(ErrorCode::Timeout), "timeout_ms"),
    ];
    (file, wanted)
}

async fn answering() -> Upstream {
    Upstream::start(|request| match request.target.as_str() {
        "/401" => Answer::full(401, &[], ""),
        "/500" => Answer::full(500, &[], "oops"),
        "/held" => Answer::Held("{}".into()),
        _ => Answer::Json("{}".into()),
    })
    .await
}

#[tokio::test]
async fn a_check_says_what_is_wrong_and_what_to_do() {
    let upstream = answering().await;
    let (file, wanted) = matrix(&upstream);
    let openact =
        memory(&[("CANARY", CANARY)]).config_text(connections(&file), Format::Json).build().await.unwrap();
    for (name, code, hint) in wanted {
        let report = openact.check_connection(&tenant(), &format!("http/{name}")).await.unwrap();
        let shown = report.to_json();
        assert_absent("a report", shown.to_string().as_bytes());
        assert_eq!(report.error().map(|error| error.code), code, "{shown}");
        assert_eq!(shown["ok"], code.is_none(), "{shown}");
        assert_eq!(shown["connection"], format!("trn:openact:default:connection/http/{name}@v1"));
        assert!(shown["duration_ms"].is_number());
        let said = shown["error"]["hint"].as_str().unwrap_or_default();
        assert!(said.contains(hint), "{name}: {said}");
        let asked = match name {
            "missing" => vec![],
            "works" | "refused" | "anonymous" | "broken" | "closed" | "denied" => vec!["http.send"],
            _ => continue,
        };
        let functions: Vec<_> = report.host_calls.iter().map(|call| call.function.as_str()).collect();
        assert_eq!(functions, asked, "{shown}");
    }
    let works = upstream.received().into_iter().find(|request| request.target == "/works").unwrap();
    assert_eq!(works.header("authorization"), [format!("Bearer {CANARY}")]);
    assert!(openact.list_runs(&tenant(), 10, &Default::default()).await.unwrap().is_empty());
    upstream.release();
}

#[tokio::test]
async fn a_connector_that_cannot_check_is_no_fault_of_the_connection() {
    let openact = hostile(json!({"base_url": "http://127.0.0.1:9"})).await;
    let report = openact.check_connection(&tenant(), "c").await.unwrap();
    assert!(matches!(report.outcome, CheckOutcome::Unchecked), "{report:?}");
    let shown = report.to_json();
    assert_eq!((&shown["status"], &shown["ok"]), (&json!("unchecked"), &Value::Null));
}

#[tokio::test]
async fn thirty_connections_are_checked_at_once_as_far_as_allowed() {
    let upstream = Upstream::start(|_| Answer::Held("{}".into())).await;
    let file: serde_json::Map<String, Value> = (0..30)
        .map(|n| (format!("c{n:02}"), json!({"base_url": format!("{}/{n}", upstream.url())})))
        .collect();
    let openact = memory(&[])
        .instances_max(40)
        .config_text(connections(&Value::Object(file)), Format::Json)
        .build()
        .await
        .unwrap();
    let http = "http".parse().unwrap();
    let (all, tenant) = (openact.clone(), tenant());
    let checking = tokio::spawn(async move { all.check_all(&tenant, Some(&http)).await.unwrap() });
    upstream.wait_for_held(CHECKS_AT_ONCE).await;
    assert_eq!(upstream.connections(), CHECKS_AT_ONCE);
    upstream.release();
    let reports: Vec<CheckReport> = checking.await.unwrap();
    let names: Vec<String> = reports.iter().map(|report| report.connection.name.to_string()).collect();
    assert_eq!(names, (0..30).map(|n| format!("c{n:02}")).collect::<Vec<_>>());
    for (n, report) in reports.iter().enumerate() {
        let CheckOutcome::Works(result) = &report.outcome else { panic!("{report:?}") };
        assert_eq!(result.value().unwrap()["url"], format!("{}/{n}", upstream.url()));
    }
    assert_eq!(upstream.received().len(), 30);
}

#[tokio::test]
async fn a_misspelt_or_ambiguous_connection_is_helped_as_an_action_is() {
    let plain = |connector: &str| {
        let file: Value =
            serde_json::from_str(&config(connector, json!({"base_url": "http://127.0.0.1:9"}), json!({})))
                .unwrap();
        file["connectors"][connector].clone()
    };
    let file = json!({"connectors": {"http": plain("http"), "hostile": plain("hostile")}});
    let openact = memory(&[])
        .connector_bytes(guest("hostile"))
        .config_text(file.to_string(), Format::Json)
        .build()
        .await
        .unwrap();
    let failed = async |reference: &str| openact.check_connection(&tenant(), reference).await.unwrap_err();
    let error = failed("htp/c").await;
    assert_eq!((error.code, error.hint.as_deref()), (ErrorCode::NotFound, Some("did you mean 'http/c'?")));
    assert_eq!(error.message, "there is no connection 'htp/c'");
    let error = failed("c").await;
    assert_eq!(error.code, ErrorCode::Conflict);
    assert_eq!(error.hint.as_deref(), Some("use one of: hostile/c, http/c"));
    assert_eq!(failed("http/c@v7").await.code, ErrorCode::NotFound);
    // The older form reads either way.
    assert_eq!(openact.check_connection(&tenant(), "http.c").await.unwrap().connection.short(), "http/c@v1");
}

async fn run(home: &std::path::Path, args: &[&str]) -> Output {
    let mut command = command(home);
    command.args(args).env("CANARY", CANARY);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn json_of(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

#[tokio::test]
async fn the_command_explains_for_people_and_for_programs() {
    let upstream = Upstream::json("{}").await;
    let home = tempfile::tempdir().unwrap();
    let connection = json!({
        "base_url": upstream.url(), "authorization": {"type": "bearer", "token": "${CANARY}"},
        "defaults": {"headers": {"x-team": "core"}},
    });
    let file = home.path().join("c.json");
    std::fs::write(&file, config("http", connection, json!({"get": {"path": "/u/{login}"}}))).unwrap();
    let file = file.to_str().unwrap();
    let from_file = ["explain", "http/get", "--config", file, "--set", "login=octocat"];
    let json = run(home.path(), &from_file).await;
    assert_eq!(json.status.code(), Some(0), "{}", stderr(&json));
    let members: Vec<String> = json_of(&json).as_object().unwrap().keys().cloned().collect();
    let wanted = [
        "action",
        "connection",
        "connector",
        "operation",
        "configuration",
        "reaches",
        "private_access",
        "credential",
        "request",
        "run",
        "notes",
    ];
    assert_eq!(members, wanted);
    assert_eq!(json_of(&json)["request"]["url"], format!("{}/u/octocat", upstream.url()));
    let table = run(home.path(), &[&from_file[..], &["--format", "table"]].concat()).await;
    for line in [
        "action      http/get@v1 (request)".to_owned(),
        "headers.x-team core connection".into(),
        "path /u/{login} action".into(),
        "timeout.read_ms 30000 default".into(),
        "authorization.token secret connection/http/c@v1#/authorization/token connection".into(),
        format!("GET {}/u/octocat", upstream.url()),
        "(credential: header authorization)".into(),
        format!("bearer, to {}", upstream.url()),
    ] {
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            stdout(&table).lines().any(|found| words(found) == words(&line)),
            "{line}:\n{}",
            stdout(&table)
        );
    }
    assert_eq!(upstream.connections(), 0);

    assert_eq!(run(home.path(), &["import", file]).await.status.code(), Some(0));
    let ran = run(home.path(), &["run", "get", "--set", "login=a", "--show-run"]).await;
    let record: Value = serde_json::from_str(stderr(&ran).lines().last().unwrap()).unwrap();
    let id = record["run_id"].as_str().unwrap();
    let shown = run(home.path(), &["explain", id]).await;
    assert_eq!(json_of(&shown)["run"]["run_id"], id);
    let told = run(home.path(), &["explain", id, "--format", "table"]).await;
    for part in
        ["RUN\n", "through cli", &format!("http.send GET {}/u/a: 200", upstream.url()), "note: the input"]
    {
        assert!(stdout(&told).contains(part), "{part}:\n{}", stdout(&told));
    }
    for output in [json, table, shown, told] {
        assert_absent("the command", &[output.stdout, output.stderr].concat());
    }
    let unknown = run(home.path(), &["explain", "http/gte"]).await;
    assert_eq!((unknown.status.code(), stdout(&unknown)), (Some(4), String::new()));
    assert!(stderr(&unknown).contains("did you mean 'http/get'?"), "{}", stderr(&unknown));
    // What is explained without the input it needs says so and tells the rest.
    let without = json_of(&run(home.path(), &["explain", "http/get"]).await);
    assert_eq!(without["request"]["error"]["code"], "invalid_input", "{without}");
}

#[tokio::test]
async fn the_command_checks_and_its_exit_code_sums_up() {
    let upstream = answering().await;
    let home = tempfile::tempdir().unwrap();
    let (mut file, wanted) = matrix(&upstream);
    file.as_object_mut().unwrap().shift_remove("slow");
    let path = home.path().join("c.json");
    std::fs::write(&path, connections(&file)).unwrap();
    let path = path.to_str().unwrap();
    for (name, code, hint) in wanted.iter().filter(|(name, ..)| *name != "slow") {
        let args = ["check", name, "--config", path];
        let (json, table) = (
            run(home.path(), &args).await,
            run(home.path(), &[&args[..], &["--format", "table"]].concat()).await,
        );
        let exit = code.map_or(0, |code| i32::from(code.exit_code()));
        assert_eq!((json.status.code(), table.status.code()), (Some(exit), Some(exit)), "{name}");
        assert_eq!(json_of(&json)["error"]["code"], code.map_or(Value::Null, |code| code.as_str().into()));
        let shown = stdout(&table);
        assert!(shown.starts_with("CONNECTION"), "{shown}");
        assert!(
            shown.lines().nth(1).unwrap().contains(&format!("http/{name}@v1")) && shown.contains(hint),
            "{shown}"
        );
        assert_absent("the command", &[json.stdout, table.stdout, json.stderr, table.stderr].concat());
    }
    assert_eq!(run(home.path(), &["import", path]).await.status.code(), Some(0));
    let all = run(home.path(), &["check", "--all"]).await;
    let names: Vec<String> = json_of(&all)
        .as_array()
        .unwrap()
        .iter()
        .map(|report| report["connection"].as_str().unwrap().to_owned())
        .collect();
    assert!(names.is_sorted() && names.len() == 7, "{names:?}");
    // The first that fails is `anonymous`.
    assert_eq!(all.status.code(), Some(6), "{}", stderr(&all));
    let none = run(home.path(), &["check", "--all", "--connector", "other"]).await;
    assert_eq!((none.status.code(), stdout(&none)), (Some(0), "[]\n".to_owned()));
    for wrong in [&["check"][..], &["check", "x", "--all"], &["check", "x", "--connector", "http"]] {
        let output = run(home.path(), wrong).await;
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
        assert!(stderr(&output).contains("--all"), "{wrong:?}: {}", stderr(&output));
    }
    let unknown = run(home.path(), &["check", "wrks"]).await;
    assert_eq!((unknown.status.code(), stdout(&unknown)), (Some(4), String::new()));
}

#[tokio::test]
async fn what_a_connector_logs_in_with_is_named() {
    let connection = json!({"host": "127.0.0.1", "port": 1, "password": "hunter2-canary"});
    let text = config("wire", connection, json!({"play": {}}));
    let builder = memory(&[]).connector_bytes(guest("wire")).config_text(text, Format::Json);
    let openact = builder.build().await.unwrap();
    let explained = openact.explain(&tenant(), "wire/play", None).await.unwrap().to_json();
    let expected = json!({
        "type": "login", "secrets": ["password"], "origin": "tcp://127.0.0.1:1", "path_prefix": null,
    });
    assert_eq!(explained["credential"], expected);
    assert!(!explained.to_string().contains("hunter2"), "{explained}");
}
