//! Connector templates: the bundled ones against doubles of their APIs, and one's own by the real command.
//!
//! Invariant: what a double checks is what the vendor documents: method, path, headers, signature and body.

mod replacing;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use openact::{ErrorCode, Format, OpenAct, Replacing, Tenant};
use serde_json::{Value, json};
use support::{
    command::{openact, stderr, stdout},
    servers::{credentials as good, verifier},
    upstream::{Answer, Received, Upstream},
};

use crate::setup::{assert_fails, config, failure, memory, value};

const CANARY: &str = "canary-tok-5f1e";

/// An OpenAct with one connection of that kind, and its operations as actions of the same name.
async fn kind(kind: &str, connection: Value, operations: &[&str]) -> OpenAct {
    let actions = operations.iter().map(|name| ((*name).to_owned(), json!({ "operation": name })));
    let text = config(kind, connection, Value::Object(actions.collect()));
    memory(&[]).config_text(text, Format::Json).build().await.unwrap()
}

fn body(request: &Received) -> Value {
    serde_json::from_slice(&request.body).unwrap()
}

/// Method and target of every request.
fn lines(upstream: &Upstream) -> Vec<String> {
    upstream.received().iter().map(|request| format!("{} {}", request.method, request.target)).collect()
}

#[track_caller]
fn has(request: &Received, headers: &[(&str, &str)]) {
    for (name, value) in headers {
        assert_eq!(request.header(name), [*value], "{name} of {request:?}");
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../connectors/templates")
}

#[tokio::test]
async fn each_bundled_template_is_short_right_and_there() {
    let openact = memory(&[]).build().await.unwrap();
    let bundled = openact.list_connectors().await.unwrap();
    let mut files = 0;
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines < 50, "{} has {lines} lines", path.display());
        let info = openact.inspect_connector_file(&path).await.unwrap();
        let there = bundled.iter().find(|other| other.manifest.name == info.manifest.name).unwrap();
        assert_eq!(there.digest, info.digest, "{}", path.display());
        assert_eq!(there.extends.as_ref().map(|base| base.as_str()), Some("http"));
        assert_eq!(Some(info.manifest.name.as_str()), path.file_stem().and_then(|stem| stem.to_str()));
        files += 1;
    }
    assert!(files >= 6);
    assert_eq!(bundled.iter().filter(|info| info.extends.is_some()).count(), files);
}

#[tokio::test]
async fn github() {
    let upstream = Upstream::start(|request| {
        let host = request.header("host")[0];
        match request.target.split('?').next().unwrap() {
            "/api/v3/user/repos" if request.target.ends_with("repos?page=2") => {
                Answer::Json(r#"[{"id":3}]"#.into())
            }
            "/api/v3/user/repos" => {
                let next = format!("<http://{host}/api/v3/user/repos?page=2>; rel=\"next\"");
                let headers = [("content-type", "application/json"), ("link", next.as_str())];
                Answer::full(200, &headers, r#"[{"id":1},{"id":2}]"#)
            }
            "/api/v3/repos/o/r%2F1/issues" => {
                Answer::full(201, &[("content-type", "application/json")], r#"{"number":7}"#)
            }
            "/api/v3/rate_limit" => Answer::Json("{}".into()),
            _ => Answer::full(404, &[("content-type", "application/json")], r#"{"message":"Not Found"}"#),
        }
    })
    .await;
    let text = config(
        "github",
        json!({"token": CANARY, "base_url": format!("{}/api/v3", upstream.url())}),
        json!({"mine": {"operation": "list-repos", "query": {"per_page": 2}}, "open": {"operation": "create-issue"},
            "repo": {"operation": "get-repo"}, "raw": {"path": "/rate_limit"}}),
    );
    let openact = memory(&[]).config_text(text, Format::Json).build().await.unwrap();

    let mine = value(&openact, "github/mine", json!({"visibility": "private"})).await;
    assert_eq!(mine["items"], json!([{"id": 1}, {"id": 2}, {"id": 3}]));
    let input = json!({"owner": "o", "repo": "r/1", "title": "t", "text": "b", "labels": ["bug"]});
    assert_eq!(value(&openact, "github/open", input).await["body"], json!({"number": 7}));
    assert_eq!(value(&openact, "github/raw", json!({})).await["status_code"], 200);
    assert_eq!(
        lines(&upstream),
        [
            "GET /api/v3/user/repos?per_page=2&visibility=private",
            "GET /api/v3/user/repos?page=2",
            "POST /api/v3/repos/o/r%2F1/issues",
            "GET /api/v3/rate_limit",
        ]
    );
    for request in upstream.received() {
        has(
            &request,
            &[
                ("authorization", &format!("Bearer {CANARY}")),
                ("accept", "application/vnd.github+json"),
                ("x-github-api-version", "2022-11-28"),
                ("user-agent", "openact"),
            ],
        );
    }
    assert_eq!(body(&upstream.received()[2]), json!({"title": "t", "body": "b", "labels": ["bug"]}));
    // What the API refuses is a failure, and what is not an input is none.
    let (refused, _) = failure(&openact, "github/repo", json!({"owner": "o", "repo": "none"})).await;
    assert_eq!(refused.details.as_ref().unwrap()["upstream"]["body"]["message"], "Not Found", "{refused:?}");
    let (wrong, _) = failure(&openact, "github/repo", json!({"owner": "o"})).await;
    assert_eq!(wrong.code, ErrorCode::InvalidInput);
    assert_eq!(upstream.received().len(), 5);
}

#[tokio::test]
async fn slack() {
    let upstream = Upstream::start(|request| {
        Answer::Json(match request.target.as_str() {
            "/chat.postMessage" if String::from_utf8_lossy(&request.body).contains("C404") => {
                r#"{"ok":false,"error":"channel_not_found"}"#.into()
            }
            "/chat.postMessage" => r#"{"ok":true,"ts":"1.2","message":{"text":"hi"}}"#.into(),
            "/auth.test" => r#"{"ok":true,"user_id":"U1"}"#.into(),
            "/conversations.list?limit=200&exclude_archived=true" => {
                r#"{"ok":true,"channels":[{"id":"C1"}],"response_metadata":{"next_cursor":"dGVh=="}}"#.into()
            }
            "/conversations.list?limit=200&exclude_archived=true&cursor=dGVh%3D%3D" => {
                r#"{"ok":true,"channels":[{"id":"C2"}],"response_metadata":{"next_cursor":""}}"#.into()
            }
            _ => r#"{"ok":false,"error":"unknown_method"}"#.to_owned(),
        })
    })
    .await;
    let connection = json!({"token": CANARY, "base_url": upstream.url()});
    let openact =
        kind("slack", connection, &["post-message", "list-channels", "list-messages", "auth-test"]).await;

    let sent = value(&openact, "slack/post-message", json!({"channel": "C1", "text": "hi"})).await;
    assert_eq!(sent["body"], json!({"text": "hi"}));
    let channels = value(&openact, "slack/list-channels", json!({})).await;
    assert_eq!(channels["items"], json!([{"id": "C1"}, {"id": "C2"}]));
    assert_eq!(value(&openact, "slack/auth-test", json!({})).await["body"], "U1");
    let post = &upstream.received()[0];
    assert_eq!((post.method.as_str(), body(post)), ("POST", json!({"channel": "C1", "text": "hi"})));
    has(post, &[("content-type", "application/json; charset=utf-8")]);
    for request in upstream.received() {
        has(&request, &[("authorization", &format!("Bearer {CANARY}"))]);
    }
    // 200, and all the same refused.
    for (action, input) in [
        ("slack/post-message", json!({"channel": "C404", "text": "hi"})),
        ("slack/list-messages", json!({"channel": "C404"})),
    ] {
        let (error, _) = failure(&openact, action, input).await;
        assert_eq!(error.code, ErrorCode::UpstreamError, "{error:?}");
        // By Slack's own reason.
        let details = error.details.as_ref().unwrap();
        let reason = if action.ends_with("message") { "channel_not_found" } else { "unknown_method" };
        assert_eq!(
            (&details["code"], &details["upstream"]["body"]["error"]),
            (&json!(reason), &json!(reason))
        );
        assert!(error.message.contains(reason), "{error:?}");
    }
}

#[tokio::test]
async fn stripe() {
    let upstream = Upstream::json(r#"{"id":"cus_1"}"#).await;
    let connection = json!({"key": CANARY, "base_url": upstream.url(), "account": "acct_1"});
    let openact =
        kind("stripe", connection, &["list-customers", "create-customer", "create-payment-intent"]).await;

    value(&openact, "stripe/list-customers", json!({"limit": 3, "email": "a+b@example.com"})).await;
    let input = json!({"idempotency_key": "k-1", "email": "a+b@example.com", "name": "Å & Co"});
    value(&openact, "stripe/create-customer", input).await;
    let input = json!({"idempotency_key": "k-2", "amount": 1099, "currency": "eur"});
    value(&openact, "stripe/create-payment-intent", input).await;
    assert_eq!(
        lines(&upstream),
        [
            "GET /v1/customers?limit=3&email=a%2Bb%40example.com",
            "POST /v1/customers",
            "POST /v1/payment_intents"
        ]
    );
    let received = upstream.received();
    for request in &received {
        has(
            request,
            &[
                ("authorization", &format!("Bearer {CANARY}")),
                ("stripe-version", "2025-04-30.basil"),
                ("stripe-account", "acct_1"),
            ],
        );
    }
    let form = ("content-type", "application/x-www-form-urlencoded");
    has(&received[1], &[form, ("idempotency-key", "k-1")]);
    assert_eq!(received[1].body, b"email=a%2Bb%40example.com&name=%C3%85+%26+Co");
    has(&received[2], &[form, ("idempotency-key", "k-2")]);
    assert_eq!(received[2].body, b"amount=1099&currency=eur");
    let (error, _) =
        failure(&openact, "stripe/create-payment-intent", json!({"amount": 1, "currency": "eur"})).await;
    assert_eq!(error.code, ErrorCode::InvalidInput);
    assert_eq!(upstream.received().len(), 3);
}

#[tokio::test]
async fn openai_compatible() {
    let upstream = Upstream::start(|request| {
        Answer::Json(match request.target.as_str() {
            "/v1/models" => r#"{"object":"list","data":[{"id":"m"}]}"#.into(),
            "/v1/chat/completions" => r#"{"choices":[{"message":{"content":"hi"}}]}"#.into(),
            _ => r#"{"data":[{"embedding":[0.5]}]}"#.to_owned(),
        })
    })
    .await;
    let connection =
        json!({"api_key": CANARY, "base_url": format!("{}/v1", upstream.url()), "project": "p1"});
    let openact = kind("openai", connection, &["list-models", "chat", "embed"]).await;

    assert_eq!(value(&openact, "openai/list-models", json!({})).await["body"], json!([{"id": "m"}]));
    let messages = json!([{"role": "user", "content": "say {{hi}}"}]);
    let input = json!({"model": "m", "messages": messages, "temperature": 0});
    let answer = value(&openact, "openai/chat", input).await;
    assert_eq!(answer["body"]["choices"][0]["message"]["content"], "hi");
    value(&openact, "openai/embed", json!({"model": "e", "text": ["a", "b"]})).await;
    assert_eq!(lines(&upstream), ["GET /v1/models", "POST /v1/chat/completions", "POST /v1/embeddings"]);
    let received = upstream.received();
    for request in &received {
        has(request, &[("authorization", &format!("Bearer {CANARY}")), ("openai-project", "p1")]);
        assert!(request.header("openai-organization").is_empty());
    }
    assert_eq!(body(&received[1]), json!({"model": "m", "messages": messages, "temperature": 0}));
    assert_eq!(body(&received[2]), json!({"model": "e", "input": ["a", "b"]}));
    // A server of one's own may want no key.
    let connection = json!({"base_url": upstream.url(), "authorization": {"type": "none"}});
    let openact = kind("openai", connection, &["embed"]).await;
    value(&openact, "openai/embed", json!({"model": "e", "text": "a"})).await;
    assert!(upstream.received()[3].header("authorization").is_empty());
}

#[tokio::test]
async fn notion() {
    let upstream = Upstream::start(|request| {
        Answer::Json(match request.target.as_str() {
            "/v1/search" if body(request)["start_cursor"] == "c2" => {
                r#"{"results":[{"id":"2"}],"next_cursor":null,"has_more":false}"#.into()
            }
            "/v1/search" => r#"{"results":[{"id":"1"}],"next_cursor":"c2","has_more":true}"#.into(),
            _ => r#"{"object":"page","id":"3"}"#.to_owned(),
        })
    })
    .await;
    let connection = json!({"token": CANARY, "base_url": format!("{}/v1", upstream.url())});
    let openact = kind("notion", connection, &["search", "create-page"]).await;

    let found = value(&openact, "notion/search", json!({"text": "plan"})).await;
    assert_eq!(found["items"], json!([{"id": "1"}, {"id": "2"}]));
    let page = json!({"parent": {"database_id": "d"}, "properties": {"Name": {"title": []}}});
    assert_eq!(value(&openact, "notion/create-page", page.clone()).await["body"]["id"], "3");
    assert_eq!(lines(&upstream), ["POST /v1/search", "POST /v1/search", "POST /v1/pages"]);
    let received = upstream.received();
    for request in &received {
        has(request, &[("authorization", &format!("Bearer {CANARY}")), ("notion-version", "2022-06-28")]);
    }
    assert_eq!(body(&received[0]), json!({"query": "plan", "page_size": 100}));
    assert_eq!(body(&received[1]), json!({"query": "plan", "page_size": 100, "start_cursor": "c2"}));
    assert_eq!(body(&received[2]), page);
}

fn bucket(base_url: &str, secret: &str) -> Value {
    json!({"access_key_id": good::SIGV4.0, "secret_access_key": secret, "region": "eu-central-1",
        "bucket": "my-bucket", "base_url": base_url})
}

const OF_S3: [&str; 4] = ["list-objects", "get-object", "put-object", "delete-object"];

#[tokio::test]
async fn s3_sends_what_aws_reads() {
    let upstream = Upstream::start(|request| match request.method.as_str() {
        "GET" if request.target.starts_with("/?") => {
            Answer::full(200, &[("content-type", "application/xml")], "<ListBucketResult/>")
        }
        "DELETE" => Answer::full(204, &[], ""),
        _ => Answer::full(200, &[("content-type", "application/octet-stream")], [0xff, 0x00]),
    })
    .await;
    let openact = kind("s3", bucket(&upstream.url(), CANARY), &OF_S3).await;
    let put =
        json!({"key": "a b/ü.bin", "base64": BASE64_STANDARD.encode([0xff, 0x00]), "content_type": "x/y"});
    value(&openact, "s3/put-object", put).await;
    let listed = value(&openact, "s3/list-objects", json!({"prefix": "a b/", "max_keys": 5})).await;
    assert_eq!(listed["body"], "<ListBucketResult/>");
    let got = value(&openact, "s3/get-object", json!({"key": "k"})).await;
    assert_eq!(got["body"], json!({"base64": BASE64_STANDARD.encode([0xff, 0x00])}));
    value(&openact, "s3/delete-object", json!({"key": "k"})).await;
    assert_eq!(
        lines(&upstream),
        ["PUT /a%20b/%C3%BC.bin", "GET /?list-type=2&prefix=a%20b%2F&max-keys=5", "GET /k", "DELETE /k"]
    );
    let received = upstream.received();
    assert_eq!(received[0].body, [0xff, 0x00]);
    has(&received[0], &[("content-type", "x/y")]);
    for request in &received {
        let signed = request.header("authorization")[0];
        assert!(signed.starts_with("AWS4-HMAC-SHA256 Credential=AKIDPLAIN/"), "{signed}");
        assert!(signed.contains("/eu-central-1/s3/aws4_request, "), "{signed}");
        assert_eq!(request.header("x-amz-content-sha256")[0].len(), 64);
        assert!(request.header("x-amz-security-token").is_empty());
    }
}

/// By botocore's own computation.
#[tokio::test]
async fn s3_signs_as_aws_does() {
    let realm = verifier().realm();
    let url = format!("{}/sigv4", realm.url);
    let (id, secret, session) = good::SIGV4_SESSION;
    let mut temporary = bucket(&url, secret);
    temporary["access_key_id"] = id.into();
    temporary["session_token"] = session.into();
    for (connection, wanted) in [(bucket(&url, good::SIGV4.1), good::SIGV4.0), (temporary, id)] {
        let openact = kind("s3", connection, &OF_S3).await;
        let put = |key: &str| {
            let base64 = BASE64_STANDARD.encode("text é");
            json!({"key": key, "base64": base64, "content_type": "text/plain"})
        };
        for (action, input) in [
            ("s3/put-object", put("a b.txt")),
            ("s3/put-object", put("of/2024/a b+c=d/é~.txt")),
            ("s3/get-object", json!({"key": "a b.txt"})),
            ("s3/get-object", json!({"key": "folder//x/"})),
            ("s3/delete-object", json!({"key": "of/100%/a:b@c,d(e)*!'$&;.txt"})),
        ] {
            assert_eq!(value(&openact, action, input).await["body"]["as"], wanted, "{action}");
        }
        let listed = value(&openact, "s3/list-objects", json!({"prefix": "a /+"})).await;
        assert!(listed["body"].as_str().unwrap().contains(wanted), "{listed}");
    }
    let openact = kind("s3", bucket(&url, "nearly-right"), &OF_S3).await;
    let (error, _) = failure(&openact, "s3/get-object", json!({"key": "k"})).await;
    assert_eq!(error.code, ErrorCode::AuthRequired, "{error:?}");
}

#[tokio::test]
async fn e1_a_template_reaches_what_its_connection_names_and_nothing_else() {
    let connection = json!({"access_key_id": "a", "secret_access_key": "s", "region": "eu-north-1", "bucket": "my-bucket"});
    let openact = kind("s3", connection, &["get-object"]).await;
    let told = openact.explain(&Tenant::default(), "s3/get-object", Some(json!({"key": "k"}))).await.unwrap();
    let told = told.to_json();
    assert_eq!(
        told["reaches"],
        json!([{"origin": "https://my-bucket.s3.eu-north-1.amazonaws.com", "by": "connector"}])
    );
    assert_eq!(told["request"]["url"], "https://my-bucket.s3.eu-north-1.amazonaws.com/k", "{told:#}");
    assert_eq!(told["credential"]["type"], "aws_sigv4");
    assert!(!told.to_string().contains("\"s\""), "{told:#}");
    let info = openact.connector_info(&"s3".parse().unwrap()).await.unwrap();
    assert_eq!(info.reaches.unwrap(), ["https://{{bucket}}.s3.{{region}}.amazonaws.com"]);
}

const ACME: &str = r#"name: acme
version: 1.0.0
description: Acme's API
extends: http
parameters:
  - { name: key, secret: true, required: true }
  - { name: base_url, required: true, format: uri }
connection:
  base_url: "{{base_url}}"
  authorization: { type: api_key, value: "{{key}}", header: X-Key }
operations:
  greet:
    description: say hello
    method: POST
    path: /greet/{name}
    body: { from: "{{from?}}" }
    parameters: [{ name: name, type: string, required: true }]
"#;

async fn run(home: &Path, args: &[&str]) -> Output {
    let mut command = openact(home);
    command.args(args).env("ACME_KEY", CANARY).env("C_KEY", CANARY);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

async fn succeeds(home: &Path, args: &[&str]) -> String {
    let output = run(home, args).await;
    assert_eq!(output.status.code(), Some(0), "{args:?}: {}", stderr(&output));
    stdout(&output)
}

/// Every file below a folder, as one.
fn all_bytes(folder: &Path, found: &mut Vec<u8>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all_bytes(&path, found);
        } else {
            found.extend(fs::read(&path).unwrap());
        }
    }
}

#[tokio::test]
async fn c1_one_s_own_template_is_installed_used_exported_and_removed() {
    let upstream = Upstream::json(r#"{"hello":true}"#).await;
    let (files, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (home, write) = (home.path(), |name: &str, text: &str| {
        let path = files.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    });
    let template = write("acme.yaml", ACME);

    let inspected: Value =
        serde_json::from_str(&succeeds(home, &["connector", "inspect", &template]).await).unwrap();
    assert_eq!((&inspected["source"], &inspected["extends"]), (&json!("file"), &json!("http")));
    assert_eq!(inspected["reaches"], json!(["{{base_url}}"]));
    assert_eq!(inspected["template"]["operations"]["greet"]["path"], "/greet/{name}");
    let installed = succeeds(home, &["connector", "install", &template, "--format", "table"]).await;
    assert!(installed.starts_with("installed acme 1.0.0 (sha256:"), "{installed}");
    assert!(installed.contains("\nreaches {{base_url}}\n"), "{installed}");
    let listed = succeeds(home, &["connector", "list", "--format", "table"]).await;
    let row = listed.lines().find(|line| line.starts_with("acme ")).unwrap();
    assert_eq!(row.split_whitespace().take(4).collect::<Vec<_>>(), ["acme", "1.0.0", "installed", "http"]);

    let file = write(
        "c.yaml",
        &format!(
            "connections:\n  c: {{ kind: acme, base_url: \"{}/v1\", key: \"${{ACME_KEY}}\" }}\n\
             actions:\n  greet: {{ connection: c, operation: greet, headers: {{ X-More: yes }} }}\n\
             \x20 raw: {{ connection: c, path: /raw }}\n",
            upstream.url()
        ),
    );
    succeeds(home, &["import", &file]).await;
    succeeds(home, &["run", "acme/greet", "--set", "name=a/b", "--set", "from=me"]).await;
    succeeds(home, &["run", "raw"]).await;
    assert_eq!(lines(&upstream), ["POST /v1/greet/a%2Fb", "GET /v1/raw"]);
    let received = upstream.received();
    has(&received[0], &[("x-key", CANARY), ("x-more", "yes"), ("content-type", "application/json")]);
    assert_eq!(body(&received[0]), json!({"from": "me"}));
    has(&received[1], &[("x-key", CANARY)]);

    let mut kept = Vec::new();
    all_bytes(home, &mut kept);
    assert!(!kept.is_empty() && !kept.windows(CANARY.len()).any(|part| part == CANARY.as_bytes()));
    let exported = succeeds(home, &["export", "--format", "yaml"]).await;
    assert!(exported.contains("acme:") && exported.contains("operation: greet"), "{exported}");
    assert!(!exported.contains(CANARY) && !exported.contains("authorization"), "{exported}");
    let exported = write("exported.yaml", &exported);
    let again = succeeds(home, &["import", &exported, "--format", "table"]).await;
    assert!(again.contains("0 created, 0 changed, 3 unchanged"), "{again}");

    // In use, it stays; a newer one takes its place.
    assert_fails(CANARY, &run(home, &["connector", "remove", "acme"]).await, 3, &["in use"]);
    let newer = write("newer.yaml", &ACME.replace("X-Key", "X-New").replace("1.0.0", "1.1.0"));
    succeeds(home, &["connector", "install", &newer]).await;
    succeeds(home, &["run", "raw"]).await;
    has(&upstream.received()[2], &[("x-new", CANARY)]);
    let other = write("other.yaml", &ACME.replace("name: acme", "name: other"));
    succeeds(home, &["connector", "install", &other]).await;
    succeeds(home, &["connector", "remove", "other"]).await;
}

#[tokio::test]
async fn what_a_template_makes_of_parameters_is_checked_at_import() {
    let openact = memory(&[]).build().await.unwrap();
    let parameters = "{ name: host, required: true }\n  - { name: ms, type: integer }";
    let text = ACME
        .replace("{ name: base_url, required: true, format: uri }", parameters)
        .replace("\"{{base_url}}\"", "\"https://{{host}}.example\"\n  timeout_ms: \"{{ms?}}\"");
    openact.install_template("acme.yaml", &text, Replacing::default()).await.unwrap();
    for (wrong, part) in [
        ("host: evil.example/", "'host' is part of a host"),
        ("host: a, ms: 99999999999", "/timeout/total_ms"),
        ("host: a, ms: 0", "/timeout/total_ms"),
    ] {
        let good = format!("  good: {{ kind: acme, key: {CANARY}, host: a, ms: 5 }}");
        let file = format!("connections:\n{good}\n  c: {{ kind: acme, key: k, {wrong} }}\n");
        let error =
            openact.import_text("c.yaml", &file, Format::Yaml, &Default::default()).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::InvalidConfig, "{error:?}");
        assert!(error.message.contains(part), "{wrong}: {error:?}");
        assert_eq!(error.place.as_ref().map(ToString::to_string).as_deref(), Some("c.yaml:3:3"), "{error:?}");
    }
    assert!(openact.list_connections(&Tenant::default(), None).await.unwrap().is_empty());
}

#[tokio::test]
async fn explain_tells_the_templates_words_from_its_users() {
    let text = config(
        "github",
        json!({"token": CANARY, "defaults": {"headers": {"X-Mine": "1"}}, "timeout_ms": 5000, "retry": "background"}),
        json!({"mine": {"operation": "list-repos", "query": {"per_page": 2}}, "raw": {"path": "/x"}}),
    );
    let openact = memory(&[]).config_text(text, Format::Json).build().await.unwrap();
    let told = async |action: &str| {
        let told = openact.explain(&Tenant::default(), action, Some(json!({}))).await.unwrap();
        let pairs =
            told.configuration.iter().map(|setting| (setting.path.clone(), setting.origin.to_string()));
        pairs.collect::<std::collections::HashMap<_, _>>()
    };
    let mine = told("github/mine").await;
    for (path, origin) in [
        ("operation", "template"),
        ("base_url", "template"),
        ("authorization.type", "template"),
        ("authorization.token", "connection"),
        ("headers.Accept", "template"),
        ("headers.X-Mine", "connection"),
        ("path", "template"),
        ("query.per_page", "action"),
        ("query.sort", "template"),
        ("pagination.type", "template"),
        ("response.fail_on_status", "template"),
        ("timeout.total_ms", "connection"),
        ("retry.max_attempts", "connection"),
        ("response.allow_binary", "default"),
    ] {
        assert_eq!(mine.get(path).map(String::as_str), Some(origin), "{path}: {mine:#?}");
    }
    let raw = told("github/raw").await;
    assert_eq!((raw["operation"].as_str(), raw["path"].as_str()), ("default", "action"));
    // A dry run says the same.
    let dry = openact::Request { dry_run: true, ..crate::setup::request("github/raw", json!({})) };
    let dry = openact.execute(dry).await.result.unwrap().value().unwrap();
    let of = |path: &str| {
        let settings = dry["configuration"].as_array().unwrap();
        settings.iter().find(|setting| setting["path"] == path).unwrap()["origin"].clone()
    };
    assert_eq!((of("base_url"), of("headers.X-Mine")), (json!("template"), json!("connection")));
}

#[tokio::test]
async fn the_list_of_connections_says_by_what_kind_of_credential_a_template_works() {
    let (files, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = files.path().join("c.yaml");
    let text = "connections:\n  a: { kind: github, token: t }\n  b: { kind: github, authorization: { type: none } }\n  \
                c: { kind: s3, access_key_id: a, secret_access_key: s, region: r, bucket: my-bucket }\n  \
                d: { kind: http, base_url: \"https://h\" }\n  e: { kind: slack, auth_ref: slack/alice }\n";
    fs::write(&path, text).unwrap();
    succeeds(home.path(), &["import", path.to_str().unwrap()]).await;
    let listed = succeeds(home.path(), &["list", "connections", "--format", "table"]).await;
    let kinds: Vec<&str> = listed.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1)).collect();
    assert_eq!(kinds, ["bearer", "none", "none", "aws_sigv4", "auth_ref"], "{listed}");
}

#[tokio::test]
async fn what_is_wrong_with_a_template_or_its_use_is_told_at_its_place() {
    let (files, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (home, write) = (home.path(), |name: &str, text: &str| {
        let path = files.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    });
    let refused = async |text: &str, code: i32, parts: &[&str]| {
        let path = write("t.yaml", text);
        assert_fails(CANARY, &run(home, &["connector", "install", &path]).await, code, parts);
    };
    let wrong = ACME.replace("method: POST", "metod: POST").replace("\"{{key}}\"", CANARY);
    let parts = [
        "unknown key 'metod'; did you mean 'method'?",
        "t.yaml:14:5",
        "t.yaml:10:42",
        "a template holds no secret",
    ];
    refused(&wrong, 3, &parts).await;
    refused(
        &ACME.replace("extends: http", "extends: github"),
        3,
        &["'github' is a template", "there are: http"],
    )
    .await;
    for taken in ["http", "github"] {
        let text = ACME.replace("name: acme", &format!("name: {taken}"));
        refused(&text, 3, &["is the name of a connector that is part of OpenAct"]).await;
    }
    let template = write("acme.yaml", ACME);
    let granted = run(home, &["connector", "install", &template, "--grant", "http"]).await;
    assert_fails(CANARY, &granted, 3, &["a template asks for nothing"]);
    assert_fails(
        CANARY,
        &run(home, &["connector", "install", "/nowhere/t.yaml"]).await,
        4,
        &["/nowhere/t.yaml"],
    );

    let file = write(
        "c.yaml",
        "connectors:\n  github:\n    connections:\n      c: { tokn: x }\n    actions:\n      a: { connection: c, operation: list-repo }\n  gihub: {}\n  slak:\n    connections: { c: {} }\n",
    );
    let parts = [
        "c.yaml:4:12",
        "unknown key 'tokn'; did you mean 'token'?",
        "connector 'github' has no operation 'list-repo'; did you mean 'list-repos'?",
        "there is no connector 'slak'; did you mean 'slack'?",
    ];
    assert_fails(CANARY, &run(home, &["import", &file]).await, 3, &parts);
}

#[tokio::test]
async fn an_embedder_gives_a_template_as_a_file() {
    let upstream = Upstream::json("{}").await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("acme.yaml");
    fs::write(&path, ACME).unwrap();
    let connection = json!({"key": {"$env": "ACME_KEY"}, "base_url": upstream.url()});
    let text = config("acme", connection, json!({"greet": {"operation": "greet"}}));
    let builder = memory(&[("ACME_KEY", CANARY)]).connector_file(&path).config_text(text, Format::Json);
    let openact = builder.build().await.unwrap();
    value(&openact, "acme/greet", json!({"name": "x"})).await;
    has(&upstream.received()[0], &[("x-key", CANARY)]);
    // What it makes of a connection is checked as if it had been written by hand.
    let report = openact.check_connection(&Tenant::default(), "acme/c").await.unwrap();
    assert_eq!(report.status(), "ok", "{:?}", report.error());
    has(&upstream.received()[1], &[("x-key", CANARY)]);
}

#[tokio::test]
async fn the_documentation_tells_the_truth() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/connector-templates.md");
    let text = fs::read_to_string(path).unwrap();
    let block = |heading: &str| {
        let section = text.split_once(heading).unwrap().1;
        section.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap().to_owned()
    };
    let builder = memory(&[("GITHUB_TOKEN", CANARY)]).config_text(block("## Using one"), Format::Yaml);
    let openact = builder.build().await.unwrap();
    let info =
        openact.install_template("acme.yaml", &block("## Writing one"), Replacing::default()).await.unwrap();
    assert_eq!(info.reaches.unwrap(), ["https://eu.acme.example/v1"]);
    for info in openact.list_connectors().await.unwrap().iter().filter(|info| info.template.is_some()) {
        let name = info.manifest.name.as_str();
        let Some(row) = text.lines().find(|line| line.starts_with(&format!("| `{name}` |"))) else {
            assert_eq!(name, "acme");
            continue;
        };
        let own = info.template.as_ref().unwrap();
        let parameters = own["parameters"].as_array().unwrap();
        let named = parameters.iter().map(|parameter| parameter["name"].as_str().unwrap());
        for word in named.chain(own["operations"].as_object().unwrap().keys().map(String::as_str)) {
            assert!(row.contains(&format!("`{word}`")), "{word} is not in: {row}");
        }
    }
}
