//! Export and import: what is exported imports as the same, in every format and shape, no secret is in it unless it is asked
//! for, and no command writes a file that it reads.
//!
//! Invariant: databases are compared by what is in them, secrets by their values, not by the text of an export.

mod any;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use openact::{Format, ImportOptions, OpenAct, SecretName, Tenant};
use serde_json::{Value, json};
use support::{
    command::{openact, stderr, stdout},
    servers::python,
};

use crate::setup::{assert_fails, memory};

const CANARY: &str = "canary-5e1d-secret";

/// A connection of every kind of credential, and what else may hold a secret over HTTP; each with the canary in it.
fn connections() -> Value {
    let pem = format!("-----BEGIN X-----\n{CANARY}\n-----END X-----\n");
    let kinds = json!({
        "none": {"type": "none"},
        "bearer": {"type": "bearer", "token": CANARY},
        "api-key": {"type": "api_key", "value": CANARY, "query": "key"},
        "basic": {"type": "basic", "username": "u", "password": CANARY},
        "digest": {"type": "digest", "username": "u", "password": format!("{CANARY}${{x}}")},
        "client": {"type": "oauth2_client_credentials", "token_url": "https://id.example.com", "client_id": "i",
            "client_secret": CANARY, "token_parameters": {"assertion": CANARY, "b/~c": CANARY}},
        "aws": {"type": "aws_sigv4", "access_key_id": "a", "secret_access_key": CANARY, "session_token": CANARY,
            "region": "r", "service": "s"},
        "hmac": {"type": "hmac", "secret": CANARY, "message": "{body}", "header": "X-S"},
        "jwt": {"type": "jwt", "key": pem, "algorithm": "RS256", "use": "grant", "token_url": "https://id.example.com",
            "client_id": "i", "client_secret": CANARY, "token_parameters": {"x": CANARY}},
    });
    let mut connections: serde_json::Map<String, Value> = kinds
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, kind)| {
            (name.clone(), json!({"base_url": "https://api.example.com", "authorization": kind}))
        })
        .collect();
    connections.insert(
        "tls".into(),
        json!({"base_url": "https://api.example.com", "network": {
            "proxy": {"url": "http://proxy:3128", "username": "u", "password": CANARY},
            "tls": {"ca": pem, "client_cert": pem, "client_key": pem},
        }}),
    );
    connections.insert(
        "earlier".into(),
        json!({"base_url": "https://api.example.com", "proxy": format!("http://u:{CANARY}@p:1")}),
    );
    Value::Object(connections)
}

/// Everything else that a database of configuration may hold.
fn rest() -> (Value, Value) {
    let connections = json!({
        "references": {"base_url": "https://api.example.com", "description": "$${x} \u{fc}\n\"'",
            "authorization": {"type": "basic", "username": "${U:u}", "password": {"$secret": "by-hand"}},
            "network": {"tls": {"ca": {"$file": "/etc/ca.pem"}},
                "proxy": {"url": "http://proxy:1", "username": "u", "password": "vault://kv/app#/p"}},
            "defaults": {"headers": {"X": "$${NOT}", "Accept": ["a", "b"]}, "query": {"n": 5}, "limits": {"cpu_ms": 5}},
            "timeout": {"connect_ms": 5}, "retry": "background", "rate_limit": {"requests": 5},
            "limits": {"max_bytes": 5, "dry_run": true}, "http_policy": {"max_redirects": 2}},
        "environment": {"base_url": "https://api.example.com", "authorization": {"type": "bearer", "token": {"$env": "T"}}},
        "stored": {"base_url": "https://api.example.com", "auth_ref": "github/alice"},
    });
    let actions = json!({
        "plain": {"connection": "references", "path": "/a"},
        "full": {"connection": "references", "description": "d", "method": "POST", "path": "/{id}",
            "headers": {"X": null}, "body": {"a": null, "$null": 1, "b": [null, 1.5, -3, {}], "c": "$${x}"},
            "input_schema": {"type": "object", "properties": {"id": {"type": ["string", "null"], "default": null}}},
            "timeout_ms": null, "limits": {"timeout_ms": 5, "max_bytes": 6, "dry_run": false},
            "mcp": {"enabled": true, "tool_name": "t", "description": "d", "tags": ["a"], "requires_auth": false,
                "input_shape": "args", "input_schema": {"type": "object"}}},
        "named": {"connection": "bearer", "mcp": {"tool_name": "off"}},
        "parameters": {"connection": "bearer", "parameters": [{"name": "n", "type": "integer", "required": true}]},
    });
    (connections, actions)
}

fn file() -> Value {
    let (rest, actions) = rest();
    let mut all = connections();
    all.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
    let mut connectors = json!({"http": {"connections": all, "actions": actions}});
    for (kind, scheme, name) in [
        ("postgres", "postgres", "pg"),
        ("mysql", "mysql", "my"),
        ("redis", "rediss", "re"),
        ("mongodb", "mongodb", "mo"),
    ] {
        let by_url = format!("{name}-url");
        connectors[kind] = json!({"connections": {
            name: {"host": "db.example.com", "user": "u", "password": CANARY},
            by_url: {"url": format!("{scheme}://u:{CANARY}@db.example.com:1/1")},
        }});
    }
    json!({ "connectors": connectors })
}

/// The same in the flat shape.
fn flat(file: &Value) -> Value {
    let mut flat = json!({"connections": {}, "actions": {}});
    for (kind, of_kind) in file["connectors"].as_object().unwrap() {
        for (name, connection) in of_kind["connections"].as_object().unwrap() {
            flat["connections"][name] = connection.clone();
            flat["connections"][name]["kind"] = kind.as_str().into();
        }
        for (name, action) in of_kind["actions"].as_object().into_iter().flatten() {
            flat["actions"][name] = action.clone();
        }
    }
    flat
}

/// An OpenAct with a secret that was set by hand, and the file in it.
async fn with(text: &str, format: Format) -> OpenAct {
    let openact = memory(&[]).build().await.unwrap();
    let name: SecretName = "by-hand".parse().unwrap();
    openact.set_secret(&Tenant::default(), &name, &"by hand".into()).await.unwrap();
    openact
        .import_text("f", text, format, &ImportOptions::default())
        .await
        .unwrap_or_else(|error| panic!("{error:?}\n{text}"));
    openact
}

/// All there is, secrets as their values.
async fn content(openact: &OpenAct) -> BTreeMap<String, Value> {
    let tenant = Tenant::default();
    let mut found = BTreeMap::new();
    for record in openact.list_connections(&tenant, None).await.unwrap() {
        found.insert(record.trn.to_string(), Value::Object(record.config));
    }
    for record in openact.list_actions(&tenant, None, None).await.unwrap() {
        let rest =
            json!([record.connection.to_string(), record.config, record.mcp_enabled, record.mcp_overrides]);
        found.insert(record.trn.to_string(), rest);
    }
    found
}

/// The variables that stand for the canary in an export, by its warning's rule: every `${NAME}` that is no `$${`.
fn fill(name: &str) -> Option<String> {
    match name {
        name if name == "U" || name.starts_with("OPENACT_") => None,
        "JWT_AUTHORIZATION_KEY"
        | "TLS_NETWORK_TLS_CA"
        | "TLS_NETWORK_TLS_CLIENT_CERT"
        | "TLS_NETWORK_TLS_CLIENT_KEY" => Some(format!("-----BEGIN X-----\n{CANARY}\n-----END X-----\n")),
        "DIGEST_AUTHORIZATION_PASSWORD" => Some(format!("{CANARY}${{x}}")),
        _ => Some(CANARY.to_owned()),
    }
}

#[tokio::test]
async fn what_is_exported_imports_as_the_same_in_every_format_and_shape() {
    let file = json_escaped(&file());
    let tenant = Tenant::default();
    let expected = content(&with(&file.to_string(), Format::Json).await).await;
    assert_eq!(expected.len(), 26);
    assert_eq!(content(&with(&flat(&file).to_string(), Format::Json).await).await, expected, "flat");
    for format in [Format::Yaml, Format::Json, Format::Toml] {
        let first = with(&file.to_string(), Format::Json).await;
        let text = first.export(&tenant, &[], format).await.unwrap();
        assert!(!text.contains(CANARY), "{text}");
        let second = memory(&[]).env(fill).build().await.unwrap();
        let name: SecretName = "by-hand".parse().unwrap();
        second.set_secret(&tenant, &name, &"by hand".into()).await.unwrap();
        second.import_text("export", &text, format, &ImportOptions::default()).await.unwrap();
        assert_eq!(content(&second).await, expected, "{text}");
        // The values, too: a file with the same ones changes nothing.
        let plan = second
            .import_text("f", &file.to_string(), Format::Json, &ImportOptions::default())
            .await
            .unwrap();
        let changed: Vec<_> =
            plan.changes.iter().map(ToString::to_string).filter(|line| !line.starts_with('=')).collect();
        assert!(changed.is_empty(), "{format:?}: {changed:?}");
    }
}

/// What a file has to say for the canary with `${x}` in it.
fn json_escaped(file: &Value) -> Value {
    let text = file.to_string().replace(&format!("{CANARY}${{x}}"), &format!("{CANARY}$${{x}}"));
    serde_json::from_str(&text).unwrap()
}

fn command(home: &Path, args: &[&str]) -> Command {
    let mut command = openact(home);
    command.args(args).env("U", "u");
    command
}

fn run(home: &Path, args: &[&str]) -> Output {
    let output = command(home, args).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{args:?}: {}", stderr(&output));
    output
}

fn written(home: &Path, name: &str, text: &str) -> String {
    let path = home.join(name);
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

/// A connection of every template that is part of OpenAct, with the canary in each of its secret fields.
async fn of_templates(openact: &OpenAct) -> Value {
    let mut kinds = serde_json::Map::new();
    for info in openact.list_connectors().await.unwrap() {
        let Some(template) = &info.template else { continue };
        let mut connection = serde_json::Map::new();
        for parameter in template["parameters"].as_array().unwrap() {
            let value = match (parameter["secret"] == true, parameter["required"] == true) {
                (true, _) => CANARY,
                // Fits every pattern there is.
                (false, true) => "some-where-1",
                (false, false) => continue,
            };
            connection.insert(parameter["name"].as_str().unwrap().to_owned(), value.into());
        }
        kinds.insert(info.manifest.name.to_string(), json!({"connections": {"t": connection}}));
    }
    json!({ "connectors": kinds })
}

#[tokio::test]
async fn c1_no_secret_of_a_template_is_in_an_export_and_it_imports_as_the_same() {
    let tenant = Tenant::default();
    let first = memory(&[]).build().await.unwrap();
    let file = of_templates(&first).await;
    let kinds = file["connectors"].as_object().unwrap();
    assert!(kinds.len() >= 6);
    for (kind, section) in kinds {
        assert!(section.to_string().contains(CANARY), "{kind} has no secret");
    }
    let text = file.to_string();
    first.import_text("f", &text, Format::Json, &ImportOptions::default()).await.unwrap();
    let expected = content(&first).await;
    assert!(!json!(expected).to_string().contains(CANARY), "kept in clear: {expected:?}");
    for format in [Format::Yaml, Format::Json, Format::Toml] {
        let exported = first.export(&tenant, &[], format).await.unwrap();
        assert!(!exported.contains(CANARY), "{exported}");
        let second = memory(&[]).env(fill).build().await.unwrap();
        second.import_text("export", &exported, format, &ImportOptions::default()).await.unwrap();
        assert_eq!(content(&second).await, expected, "{exported}");
        let plan = second.import_text("f", &text, Format::Json, &ImportOptions::default()).await.unwrap();
        assert!(plan.is_empty(), "{format:?}: {plan:?}");
    }
    for record in first.list_connections(&tenant, None).await.unwrap() {
        let shown = first.show(&tenant, &record.trn.to_string()).await.unwrap().to_json().to_string();
        assert!(!shown.contains(CANARY), "{shown}");
    }
}

#[test]
fn c1_no_secret_is_in_what_the_command_exports() {
    let home = tempfile::tempdir().unwrap();
    let file = written(home.path(), "all.json", &json_escaped(&file()).to_string());
    run(home.path(), &["import", &file]);
    for args in [&["export"][..], &["export", "--format", "json"], &["export", "--connector", "http", "-vvv"]]
    {
        let output = run(home.path(), args);
        assert!(!stdout(&output).contains(CANARY) && !stderr(&output).contains(CANARY), "{args:?}");
        assert!(stdout(&output).contains("${TLS_NETWORK_TLS_CLIENT_KEY}"), "{}", stdout(&output));
        assert!(stdout(&output).contains("by-hand"));
    }
    for name in ["out.yaml", "out.json", "out.toml"] {
        let path = home.path().join(name);
        run(home.path(), &["export", "--output", path.to_str().unwrap()]);
        let text = fs::read_to_string(&path).unwrap();
        assert!(
            text.contains("${CLIENT_AUTHORIZATION_TOKEN_PARAMETERS_ASSERTION}") && !text.contains(CANARY),
            "{text}"
        );
    }
}

/// Runs age itself, which did not write any of this.
fn age_itself(program: &str, arguments: &[&str]) -> String {
    python(&format!("import pyrage, sys\n{program}"), arguments)
}

#[test]
fn an_encrypted_export_opens_with_age_and_imports_again() {
    let keys = age_itself("i = pyrage.x25519.Identity.generate()\nprint(i, i.to_public())", &[]);
    let (identity, recipient) = keys.split_once(' ').unwrap();
    let (home, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = written(home.path(), "all.json", &json_escaped(&file()).to_string());
    let identity_file = written(home.path(), "key.txt", &format!("# created: today\n{identity}\n"));
    run(home.path(), &["import", &file]);
    let out = home.path().join("backup.toml.age").display().to_string();
    run(home.path(), &["export", "--include-secrets", "--recipient", recipient, "--output", &out]);
    let sealed = fs::read_to_string(&out).unwrap();
    assert!(sealed.starts_with("-----BEGIN AGE ENCRYPTED FILE-----\n") && !sealed.contains(CANARY));
    let open = "i = pyrage.x25519.Identity.from_str(sys.argv[2])\nprint(pyrage.decrypt(open(sys.argv[1], 'rb').read(), [i]).decode())";
    assert!(age_itself(open, &[&out, identity]).contains(CANARY));

    let refused = command(other.path(), &["import", &out]).output().unwrap();
    assert_fails(CANARY, &refused, 3, &["invalid_input", "--identity"]);
    let imported = run(other.path(), &["import", &out, "--identity", &identity_file]);
    assert!(!stdout(&imported).contains(CANARY) && !stderr(&imported).contains(CANARY));
    // A file with the same values changes nothing.
    let again = run(other.path(), &["import", &file, "--dry-run"]);
    let summary: Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(summary["summary"], json!({"created": 0, "changed": 0, "unchanged": 26}));
    // What age encrypted, binary, is read, too.
    let binary = home.path().join("theirs.json.age").display().to_string();
    let seal = "k = pyrage.x25519.Recipient.from_str(sys.argv[3])\nopen(sys.argv[2], 'wb').write(pyrage.encrypt(open(sys.argv[1], 'rb').read(), [k]))";
    age_itself(seal, &[&file, &binary, recipient]);
    run(other.path(), &["import", &binary, "--identity", &identity_file, "--dry-run"]);
}

#[test]
fn a_passphrase_seals_an_export_and_is_never_an_argument() {
    let home = tempfile::tempdir().unwrap();
    let file = written(home.path(), "all.json", &json_escaped(&file()).to_string());
    run(home.path(), &["import", &file]);
    let with = |args: &[&str], passphrase: &str| {
        command(home.path(), args).env("OPENACT_PASSPHRASE", passphrase).output().unwrap()
    };
    let out = home.path().join("backup.age").display().to_string();
    let sealed = with(&["export", "--include-secrets", "--output", &out], "correct horse");
    assert_eq!(sealed.status.code(), Some(0), "{}", stderr(&sealed));
    let open = "print(pyrage.passphrase.decrypt(open(sys.argv[1], 'rb').read(), sys.argv[2]).decode())";
    assert!(age_itself(open, &[&out, "correct horse"]).contains(CANARY));
    let imported = with(&["import", &out, "--dry-run"], "correct horse");
    assert_eq!(imported.status.code(), Some(0), "{}", stderr(&imported));
    for (output, message) in [
        (with(&["import", &out], "battery staple"), "does not open with this passphrase"),
        (command(home.path(), &["import", &out]).output().unwrap(), "nobody to ask"),
        (command(home.path(), &["export", "--include-secrets"]).output().unwrap(), "nobody to ask"),
        (with(&["export", "--include-secrets", "--output", "x.yaml"], "p"), "would be an encrypted file"),
        (with(&["export", "--output", "x.yaml.age"], "p"), "only an export with --include-secrets"),
        (with(&["import", &out, &file], "correct horse"), "by itself"),
        (with(&["import", &file.replace("all.json", "none.age")], "p"), "failed to read"),
    ] {
        assert_ne!(output.status.code(), Some(0));
        assert!(stderr(&output).contains(message), "{}", stderr(&output));
        assert!(!stderr(&output).contains(CANARY));
    }
}

#[test]
fn no_command_writes_a_file_that_it_reads() {
    let home = tempfile::tempdir().unwrap();
    let text = "# a comment\nconnectors:   # and another\n  http:\n    connections: { c: { base_url: 'http://127.0.0.1:9' } }\n    actions:\n      get: { connection: c }  # last\n";
    let file = written(home.path(), "c.yaml", text);
    let before = fs::metadata(&file).unwrap().modified().unwrap();
    for (args, code) in [
        (&["import", &file, "--dry-run"][..], 0),
        (&["import", &file], 0),
        (&["import", &file, "--versioning", "always-bump"], 0),
        (&["sync", &file], 0),
        (&["run", "http/get", "--config", &file, "--dry-run"], 0),
        (&["explain", "http/get", "--config", &file], 0),
        (&["check", "--all", "--config", &file], 7),
        (&["export"], 0),
    ] {
        let output = command(home.path(), args).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", stderr(&output));
        assert_eq!(fs::read_to_string(&file).unwrap(), text, "{args:?}");
        assert_eq!(fs::metadata(&file).unwrap().modified().unwrap(), before, "{args:?}");
    }
    let left: Vec<PathBuf> = fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(left.iter().all(|path| path.extension().is_none_or(|extension| extension != "tmp")), "{left:?}");
}

/// Ten mistakes in each format: the key or value, and what is said of it.
const TEN: [&str; 10] = [
    "unknown key 'base_ulr'; did you mean 'base_url'?",
    "unknown key 'tokn'; did you mean 'token'?",
    "'timeout_ms': the value is not of type \"integer\"",
    "did you mean 'bearer'?",
    "environment variable 'NOT_SET' is not set",
    "unknown key 'conection'; did you mean 'connection'?",
    "unknown key 'enabeld'; did you mean 'enabled'?",
    "unknown key 'metod'; did you mean 'method'?",
    "there is no connector 'htpp'; did you mean 'http'?",
    "unknown key 'connectorz'; did you mean 'connectors'?",
];

const TEN_YAML: &str = "connectors:
  http:
    connections:
      a:
        base_ulr: https://h
        auth: { type: bearer, tokn: t }
      b:
        base_url: https://h
        timeout_ms: soon
        auth: { type: beerer }
        description: ${NOT_SET}
    actions:
      get:
        conection: a
        mcp: { enabeld: true }
        metod: GET
  htpp:
    connections: { x: {} }
connectorz: {}
";

const TEN_TOML: &str = "[connectors.http.connections.a]
base_ulr = 'https://h'
auth = { type = 'bearer', tokn = 't' }
[connectors.http.connections.b]
base_url = 'https://h'
timeout_ms = 'soon'
auth = { type = 'beerer' }
description = '${NOT_SET}'
[connectors.http.actions.get]
conection = 'a'
mcp = { enabeld = true }
metod = 'GET'
[connectors.htpp.connections.x]
[connectorz]
";

/// Lines and columns in the order of [`TEN`].
const TEN_PLACES: [(&str, [&str; 10]); 3] = [
    ("yaml", ["5:9", "6:31", "9:21", "10:23", "11:22", "14:9", "15:16", "16:9", "17:3", "19:1"]),
    ("toml", ["2:1", "3:27", "6:14", "7:17", "8:15", "10:1", "11:9", "12:1", "13:13", "14:2"]),
    ("json", ["6:11", "9:13", "14:25", "16:21", "18:26", "23:11", "25:13", "27:11", "31:5", "37:3"]),
];

#[test]
fn ten_mistakes_are_reported_at_once_in_every_format_and_of_several_files() {
    let home = tempfile::tempdir().unwrap();
    let json = json!({
        "connectors": {
            "http": {
                "connections": {
                    "a": {"base_ulr": "https://h", "auth": {"type": "bearer", "tokn": "t"}},
                    "b": {"base_url": "https://h", "timeout_ms": "soon", "auth": {"type": "beerer"}, "description": "${NOT_SET}"},
                },
                "actions": {"get": {"conection": "a", "mcp": {"enabeld": true}, "metod": "GET"}},
            },
            "htpp": {"connections": {"x": {}}},
        },
        "connectorz": {},
    });
    let json = serde_json::to_string_pretty(&json).unwrap();
    let mut files = Vec::new();
    for (format, places) in TEN_PLACES {
        let text = match format {
            "yaml" => TEN_YAML,
            "toml" => TEN_TOML,
            _ => &json,
        };
        let file = written(home.path(), &format!("ten.{format}"), text);
        let output = command(home.path(), &["import", &file, "--log-format", "text"]).output().unwrap();
        assert_eq!(output.status.code(), Some(3));
        let said = stderr(&output);
        assert!(said.contains("(and 9 more mistakes in this file)"), "{said}");
        for (message, place) in TEN.into_iter().zip(places) {
            let line = said
                .lines()
                .position(|line| line.contains(message))
                .unwrap_or_else(|| panic!("{message}: {said}"));
            let near = said.lines().skip(line).take(2).collect::<String>();
            assert!(near.contains(&format!("{file}:{place}")), "{place}: {near}\n{text}");
        }
        files.push(file);
    }
    let mut args = vec!["import"];
    args.extend(files.iter().map(String::as_str));
    let output = command(home.path(), &args).output().unwrap();
    let said = stderr(&output);
    assert!(said.contains("(and 29 more mistakes in these files)"), "{said}");
    for file in files {
        assert_eq!(said.matches(&format!("{file}:")).count(), 10, "{said}");
    }
    assert_eq!(stdout(&run(home.path(), &["list", "connections", "--format", "json"])).trim(), "[]");
}
