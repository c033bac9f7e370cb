//! The secrets that credentials are computed from, and what is computed: nowhere but with the host and on the wire.
//!
//! Invariant: each row shows that its credential was sent, and that looking finds what is there.

use std::{fs, path::Path};

use base64::{Engine, prelude::BASE64_STANDARD};
use openact::{ErrorCode, Format, MasterKey, OpenAct, Tenant};
use serde_json::{Value, json};
use support::{
    ca::pki,
    command::{stderr, stdout},
    guests::guest,
    servers::verifier,
    upstream::{Answer, Received, Upstream},
};

use crate::{
    import::Home,
    logged::Logged,
    setup::{failure, hostile_config},
};

const SECRET: &str = "canary+Zq7/secret=93";
const TOKEN: &str = "canary+Zq7/token=58";

struct Row {
    name: &'static str,
    connection: Value,
    /// Connections like it whose calls fail, and how.
    broken: Vec<(Value, ErrorCode)>,
    /// What must not be seen.
    secrets: Vec<String>,
    /// What is in the request that was sent, or in the server's word on it.
    proof: &'static str,
}

fn rows(upstream: &Upstream, mtls: &str) -> Vec<Row> {
    let at =
        |path: &str, section: &Value| json!({"base_url": upstream.url() + path, "authorization": section});
    let row = |name, path: &str, section: Value, secrets: &[&str], proof| Row {
        name,
        connection: at(path, &section),
        broken: vec![(at("/broken", &section), ErrorCode::NetworkError)],
        secrets: secrets.iter().map(|&secret| secret.to_owned()).collect(),
        proof,
    };
    let pki = pki();
    let oauth2 = |path: &str| {
        json!({"type": "oauth2_client_credentials", "token_url": upstream.url() + path,
            "client_id": "id", "client_secret": SECRET, "client_auth": "post"})
    };
    let mut tokens = row(
        "oauth2",
        "/echo",
        oauth2("/token"),
        &[SECRET, TOKEN],
        "authorization: Bearer canary+Zq7/token=58",
    );
    tokens.broken.push((at("/echo", &oauth2("/token-refused")), ErrorCode::AuthRequired));
    let jwt = |algorithm: &str, key: &str| json!({"type": "jwt", "algorithm": algorithm, "key": key});
    let rsa = a_line(&pki.rsa.private.text);
    let hmac =
        json!({"type": "hmac", "secret": SECRET, "message": "{method}{timestamp}", "header": "X-Signature"});
    let sigv4 = json!({"type": "aws_sigv4", "access_key_id": "id", "secret_access_key": SECRET,
        "session_token": TOKEN, "region": "r", "service": "s"});
    let digest = json!({"type": "digest", "username": "user", "password": SECRET});
    let by_tls = |ca: &str| {
        json!({"base_url": mtls, "network": {"tls": {
            "ca": ca, "ca_only": true, "client_cert": pki.client.cert.text, "client_key": pki.client.key.text}}})
    };
    vec![
        tokens,
        row("jwt", "/echo", jwt("HS256", &SECRET.repeat(2)), &[SECRET], "authorization: Bearer eyJ"),
        row(
            "jwt of a key",
            "/echo",
            jwt("RS256", &pki.rsa.private.text),
            &[&rsa],
            "authorization: Bearer eyJ",
        ),
        row("hmac", "/echo", hmac, &[SECRET], "x-signature: "),
        row("aws_sigv4", "/echo", sigv4, &[SECRET, TOKEN], "x-amz-security-token: canary+Zq7/token=58"),
        row("digest", "/digest", digest, &[SECRET], "authorization: Digest "),
        Row {
            name: "mtls",
            connection: by_tls(&pki.ca.text),
            broken: vec![(by_tls(&pki.foreign_ca.text), ErrorCode::NetworkError)],
            secrets: vec![a_line(&pki.client.key.text)],
            proof: support::ca::CLIENT_SUBJECT,
        },
    ]
}

/// A line of the key that no other key has.
fn a_line(pem: &str) -> String {
    pem.lines().nth(2).unwrap().to_owned()
}

/// The request as text, with nothing escaped.
fn text(received: &Received) -> String {
    let headers: Vec<String> =
        received.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    format!("{}\n{}\n{}", received.target, headers.join("\n"), String::from_utf8_lossy(&received.body))
}

fn answer(received: &Received) -> Answer {
    let challenge = r#"Digest realm="r", nonce="n", qop="auth", algorithm=SHA-256"#;
    match received.target.as_str() {
        "/token" => Answer::Json(json!({"access_token": TOKEN, "token_type": "Bearer"}).to_string()),
        "/token-refused" => {
            let echo = json!({"error": "invalid_client", "error_description": format!("{} {SECRET}", text(received))});
            Answer::full(400, &[("content-type", "application/json")], echo.to_string())
        }
        "/broken" => Answer::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nshort".to_vec()),
        "/digest" if received.header("authorization").is_empty() => {
            Answer::full(401, &[("www-authenticate", challenge)], "")
        }
        _ => Answer::full(200, &[("x-echo", &text(received).replace('\n', "; "))], text(received)),
    }
}

/// A secret as it may be written down.
fn forms(secret: &str) -> Vec<String> {
    let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    let base64 = BASE64_STANDARD.encode(secret);
    let percent = secret.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    // The last group of base64 depends on what follows.
    vec![secret.to_owned(), hex.to_uppercase(), hex, base64[..base64.len() - 4].to_owned(), percent]
}

fn assert_absent(place: &str, secrets: &[String], bytes: &[u8]) {
    for form in secrets.iter().flat_map(|secret| forms(secret)) {
        let found = bytes.windows(form.len()).any(|window| window == form.as_bytes());
        assert!(!found, "{place} holds {form}");
    }
}

async fn open(folder: &Path, connection: &Value) -> OpenAct {
    support::builder(folder, &[])
        .instances_max(4)
        .connector_bytes(guest("hostile"))
        .master_key(MasterKey::ephemeral().unwrap())
        .config_text(hostile_config(connection.clone()), Format::Json)
        .build()
        .await
        .unwrap()
}

/// What an answer shows of what was sent: the guest's part is shown, the host's is not.
fn assert_masked(name: &str, sent: &Received, seen: &str) {
    assert!(seen.contains("set by the guest"), "{name}: the answer is no echo: {seen}");
    assert!(seen.contains("***"), "{name}: nothing was blanked out: {seen}");
    for header in ["authorization", "x-signature", "x-amz-security-token"] {
        for value in sent.header(header) {
            let value = value.strip_prefix("Bearer ").unwrap_or(value);
            assert!(!seen.contains(value), "{name} shows its {header}: {seen}");
        }
    }
}

#[tokio::test]
async fn c1_c2_what_credentials_are_computed_from_is_seen_nowhere() {
    let logged = Logged::start();
    let upstream = Upstream::start(answer).await;
    let realm = verifier().realm();
    let mut all = Vec::new();
    for row in rows(&upstream, &(realm.on(&verifier().mtls()) + "/echo")) {
        let (name, secrets) = (row.name, &row.secrets);
        let folder = tempfile::tempdir().unwrap();
        let openact = open(folder.path(), &row.connection).await;
        let forms: Vec<String> = secrets.iter().flat_map(|secret| forms(secret)).collect();
        let reversed: Vec<String> = forms.iter().map(|form| form.chars().rev().collect()).collect();
        let before = upstream.received().len();
        let outcome = openact.run("hostile/dump-memory", json!({"reversed": reversed})).await.unwrap();
        let seen = outcome.result.value().unwrap();
        assert_eq!(
            (&seen["status"], &seen["found"]),
            (&json!(200), &json!(vec![false; forms.len()])),
            "{name}: {seen}"
        );
        assert_absent(&format!("{name}: the answer"), secrets, outcome.result.as_str().as_bytes());
        let sent = &upstream.received()[before..];
        match sent.last() {
            Some(last) => {
                assert!(text(last).contains(row.proof), "{name}: {}", text(last));
                assert_masked(name, last, seen["body"].as_str().unwrap());
                assert_masked(name, last, &seen["headers"].to_string());
            }
            None => assert!(seen["body"].as_str().unwrap().contains(row.proof), "{name}: {seen}"),
        }
        let planted = json!({"reversed": reversed, "plant": true});
        let seen = openact.run("hostile/dump-memory", planted).await.unwrap().result.value().unwrap();
        assert_eq!(seen["found"], json!(vec![true; forms.len()]), "{name}");
        let record = format!("{:?} {}", outcome.run, outcome.run.to_json());
        assert_absent(&format!("{name}: the run record"), secrets, record.as_bytes());
        let tenant = Tenant::default();
        let export = openact.export(&tenant, &[], Format::Yaml).await.unwrap();
        assert!(export.contains("base_url"), "{name}: {export}");
        let shown = openact.show(&tenant, "hostile/c").await.unwrap();
        let shown = format!("{export} {} {shown:?}", shown.to_json());
        assert_absent(&format!("{name}: the export"), secrets, shown.as_bytes());
        openact.close().await.unwrap();
        for entry in fs::read_dir(folder.path()).unwrap() {
            let path = entry.unwrap().path();
            assert_absent(&format!("{name}: {}", path.display()), secrets, &fs::read(&path).unwrap());
        }
        for (connection, code) in &row.broken {
            let folder = tempfile::tempdir().unwrap();
            let openact = open(folder.path(), connection).await;
            let (error, run) = failure(&openact, "hostile/dump-memory", json!({})).await;
            assert_eq!(error.code, *code, "{name}: {error:?}");
            let told = format!("{error:?} {error} {} {}", error.to_json(), run.to_json());
            assert_absent(&format!("{name}: the error"), secrets, told.as_bytes());
        }
        all.extend(row.secrets);
    }
    let text = logged.text();
    assert!(text.contains("hyper"), "the log is at its most verbose: {} bytes", text.len());
    assert_absent("the log", &all, text.as_bytes());
    // Looking finds what is there.
    assert!(
        upstream
            .received()
            .iter()
            .any(|received| String::from_utf8_lossy(&received.body).contains("client_secret"))
    );
}

/// What is not sealed because it stands in a header is hidden from who looks, and sent as it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_secret_in_a_header_is_warned_of_and_shown_to_nobody() {
    let upstream = Upstream::json("{}").await;
    let home = Home::new();
    let headers = |name: &str| json!({name: SECRET, "Accept": "text/plain"});
    let file = json!({"connectors": {"http": {
        "connections": {"c": {"base_url": upstream.url(), "defaults": {"headers": headers("Authorization")}}},
        "actions": {"a": {"connection": "c", "headers": headers("X-Api-Key"), "cookies": {"sid": SECRET}}},
    }}});
    home.write("c.json", &file);
    let run = async |args: &[&str]| {
        let mut command = home.command(args);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", stderr(&output));
        output
    };
    let imported = run(&["import", "c.json"]).await;
    for (name, text) in
        [("Authorization", stderr(&imported)), ("X-Api-Key", stdout(&imported)), ("sid", stderr(&imported))]
    {
        let told: Vec<&str> = text.matches(&format!("'{name}' looks like a secret")).collect();
        assert_eq!(told.len(), 1, "{name}: {text}");
    }
    assert!(stderr(&imported).contains("c.json:1:"), "{}", stderr(&imported));
    assert_absent("import", &[SECRET.to_owned()], format!("{imported:?}").as_bytes());
    for args in [
        &["list", "connections"][..],
        &["list", "actions"],
        &["show", "http/a"],
        &["show", "http/c"],
        &["explain", "http/a"],
        &["explain", "http/a", "--format", "table"],
        &["run", "http/a", "--dry-run", "--show-run"],
        &["run", "http/a", "--show-run", "-vvv"],
        &["audit", "list"],
        &["audit", "verify"],
    ] {
        let output = run(args).await;
        let said = format!("{}{}", stdout(&output), stderr(&output));
        assert_absent(&format!("{args:?}"), &[SECRET.to_owned()], said.as_bytes());
        let is_shown = args[0] == "show" || args[0] == "explain" || args.contains(&"--dry-run");
        assert!(!is_shown || (said.contains("[secret]") && said.contains("text/plain")), "{args:?}: {said}");
    }
    let [sent] = &upstream.received()[..] else { panic!("one call") };
    assert_eq!((sent.header("authorization"), sent.header("x-api-key")), (vec![SECRET], vec![SECRET]));
    // A file that could not be imported again would be no export.
    let exported = run(&["export"]).await;
    assert!(
        stdout(&exported).contains(SECRET) && stderr(&exported).contains("http/a@v1"),
        "{}",
        stderr(&exported)
    );
}
