//! Reading whole files: both shapes, secrets, variables, and mistakes with their places.

use openact_core::{ErrorCode, secret::ExposeSecret};
use serde_json::{Value, json};

use crate::{
    Format, SecretsMode,
    fixture::{env, mistakes, read, read_in, refused},
};

mod file_schema;
mod legacy;
mod mistakes;
mod readme;

/// The example of the first seed, to the letter.
const SEED: &str = r#"# config/connectors.yaml
connectors:
  http:
    connections:
      github-api:
        base_url: "https://api.github.com"
        timeout_ms: 30000
        auth:
          type: "bearer"
          token: "${GITHUB_TOKEN}"
    actions:
      get-user:
        connection: "github-api"
        method: "GET"
        path: "/user"
        headers:
          Accept: "application/vnd.github.v3+json"
"#;

/// The flat example of design/3.
const FLAT: &str = r#"
version: "1.0"
connections:
  github: { kind: http, base_url: https://api.github.com, authorization: { type: bearer, token: "${GITHUB_TOKEN}" } }
actions:
  get-repos: { connection: github, config: { method: GET, path: /user/repos }, mcp: { enabled: true },
               parameters: [ { name: visibility, type: string, enum: [all, public, private] } ] }
"#;

/// A connection with `fields` in flow style, alone in its file; the fields start at 4:8.
fn connection(fields: &str) -> String {
    format!("connectors:\n  http:\n    connections:\n      c: {{ base_url: \"https://h\", {fields} }}\n")
}

fn config(fields: &str) -> Value {
    Value::Object(read(&connection(fields)).connections.remove(0).config)
}

#[test]
fn the_example_of_the_seed() {
    let document = read(SEED);
    let [connection] = &document.connections[..] else { panic!() };
    assert_eq!((connection.connector.as_str(), connection.name.as_str()), ("http", "github-api"));
    assert_eq!(
        Value::Object(connection.config.clone()),
        json!({
            "base_url": "https://api.github.com", "timeout_ms": 30000,
            "authorization": {"type": "bearer", "token": {"$secret": "/authorization/token"}},
        })
    );
    let [secret] = &connection.secrets[..] else { panic!() };
    assert_eq!(
        (secret.pointer.as_str(), secret.value.expose_secret()),
        ("/authorization/token", "s3cr3t-t0ken")
    );
    let [action] = &document.actions[..] else { panic!() };
    assert_eq!((action.connection.as_str(), action.mcp_enabled), ("github-api", false));
    assert_eq!(
        Value::Object(action.config.clone()),
        json!({
            "method": "GET", "path": "/user", "headers": {"Accept": "application/vnd.github.v3+json"},
        })
    );
    assert!(!format!("{document:?}").contains("s3cr3t"), "{document:?}");
}

#[test]
fn the_flat_example_of_the_design() {
    let document = read(FLAT);
    assert_eq!(
        document.connections[0].config["authorization"]["token"],
        json!({"$secret": "/authorization/token"})
    );
    let action = &document.actions[0];
    assert_eq!((action.connector.as_str(), action.mcp_enabled, &action.mcp_overrides), ("http", true, &None));
    assert_eq!(
        Value::Object(action.config.clone()),
        json!({
            "method": "GET", "path": "/user/repos",
            "input_schema": {"type": "object", "properties": {"visibility": {"type": "string", "enum": ["all", "public", "private"]}}},
        })
    );
}

#[test]
fn json_reads_the_same() {
    for text in [SEED, FLAT] {
        let value: Value = serde_yaml::from_str(text).unwrap();
        let json =
            read_in(&serde_json::to_string_pretty(&value).unwrap(), Format::Json, SecretsMode::Seal, &env)
                .unwrap();
        let yaml = read(text);
        assert_eq!(json.connections[0].config, yaml.connections[0].config);
        assert_eq!(json.actions[0].config, yaml.actions[0].config);
    }
}

#[test]
fn a_missing_variable_names_itself_file_and_line() {
    let error = read_in(SEED, Format::Yaml, SecretsMode::Seal, &|_| None).unwrap_err();
    assert_eq!(error.code, ErrorCode::InvalidConfig);
    assert_eq!(error.message, "environment variable 'GITHUB_TOKEN' is not set");
    assert_eq!(error.place.as_ref().unwrap().to_string(), "c.yaml:10:18");
    assert!(error.details.is_none() && error.hint.is_some());
    // A reference is resolved at call time, so nothing is missing yet.
    let document = read_in(SEED, Format::Yaml, SecretsMode::Reference, &|_| None).unwrap();
    assert_eq!(document.connections[0].config["authorization"]["token"], json!({"$env": "GITHUB_TOKEN"}));
    assert!(document.connections[0].secrets.is_empty());
}

#[test]
fn a_variable_is_text_except_where_only_another_type_fits() {
    let config = config(
        r#"port: "${PORT}", ratio: "${HALF}", verify: "${YES}", code: "${DIGITS}", description: "${DIGITS}""#,
    );
    assert_eq!(
        config,
        json!({
            "base_url": "https://h", "port": 8443, "ratio": 0.5, "verify": true, "code": "123456", "description": "123456",
        })
    );
    let basic = r#"authorization: { type: basic, username: "u${NO:}x", password: "${DIGITS}" }"#;
    let document = read(&connection(basic));
    assert_eq!(document.connections[0].config["authorization"]["username"], "ux");
    assert_eq!(document.connections[0].secrets[0].value.expose_secret(), "123456");
    assert_eq!(
        mistakes(&connection(r#"port: "${GITHUB_TOKEN}""#)),
        ["4:41 'port': the value is not of type \"integer\""]
    );
    assert_eq!(
        mistakes(&connection(r#"port: "${HALF}""#)),
        ["4:41 'port': the value is not of type \"integer\""]
    );
    // Text in quotes is text, and a number is not a password.
    assert_eq!(mistakes(&connection(r#"port: "8443""#)).len(), 1);
    let error = refused(&connection("authorization: { type: bearer, token: 123456 }"), Format::Yaml);
    assert_eq!(error.hint.as_deref(), Some("put the value in quotes"));
    assert!(!format!("{error:?}{}", error.to_json()).contains("123456"));
}

#[test]
fn what_a_variable_holds_is_not_expanded_and_an_escape_is_literal() {
    assert_eq!(config(r#"description: "${TRAP}""#)["description"], "${GITHUB_TOKEN}");
    assert_eq!(config(r#"description: "$${TRAP} ${NO:x}${NO:y}""#)["description"], "${TRAP} xy");
    assert_eq!(mistakes(&connection(r#"description: "a ${B""#)), ["4:48 '${' without '}'"]);
}

#[test]
fn earlier_spellings_are_renamed_and_two_spellings_refused() {
    let text = r#"
connections:
  c:
    kind: HTTP
    config:
      base_url: https://h
      auth: { type: none }
      defaults: { query_params: { format: json }, headers: { X: y } }
actions:
  a: { connection: c, method: GET, path: /, query_params: { per_page: "5" }, schema: { type: object } }
"#;
    let document = read(text);
    let config = Value::Object(document.connections[0].config.clone());
    assert_eq!(config["defaults"], json!({"query": {"format": "json"}, "headers": {"X": "y"}}));
    assert_eq!(config["authorization"], json!({"type": "none"}));
    let action = Value::Object(document.actions[0].config.clone());
    assert_eq!(
        (&action["query"], &action["input_schema"]),
        (&json!({"per_page": "5"}), &json!({"type": "object"}))
    );
    assert_eq!(
        mistakes(&connection("auth: { type: none }, authorization: { type: none }")),
        ["4:57 'authorization' and 'auth' are the same"]
    );
    let twice = "connections:\n  c: { kind: http, base_url: https://h, config: { base_url: https://h } }\n";
    assert_eq!(mistakes(twice), ["2:51 'base_url' is given twice, once within 'config'"]);
    // Within renamed and wrapped parts, places are still those of the file.
    let inner = "connections:\n  c:\n    kind: http\n    config:\n      base_url: https://h\n      auth: { typ: none, type: 5 }\n";
    assert_eq!(mistakes(inner)[0], "6:15 unknown key 'typ'; did you mean 'type'?");
    assert!(mistakes(inner)[1].starts_with("6:32 'type': "), "{:?}", mistakes(inner));
}

#[test]
fn an_action_is_checked_over_the_defaults_of_its_connection() {
    let file = |defaults: &str, action: &str| {
        format!(
            "connections:\n  c: {{ kind: http, base_url: https://h, defaults: {defaults} }}\nactions:\n  a: {{ connection: c, {action} }}\n"
        )
    };
    read(&file("{ method: GET, timeout_ms: 5 }", "path: /, timeout_ms: null, body: { a: null }"));
    assert_eq!(mistakes(&file("{ method: GET }", "headers: {}")), ["4:3 \"path\" is a required property"]);
    assert_eq!(mistakes(&file("{ methd: GET }", "path: /")).len(), 1);
    assert_eq!(mistakes(&file("{ method: 5 }", "path: /")).len(), 1);
}

#[test]
fn an_action_may_name_a_connection_outside_of_the_file() {
    let document = read("connectors: { http: { actions: {\n  a: { connection: stored, path: / } } } }\n");
    assert_eq!(document.actions[0].place.as_ref().unwrap().to_string(), "c.yaml:2:3");
    let document = read("actions:\n  a: { connection: stored, kind: pg, path: / }\n");
    assert_eq!(document.actions[0].connector.as_str(), "postgres");
    assert!(read(SEED).actions[0].place.is_none());
    let near = "connections: { github: { kind: http, base_url: https://h } }\nactions:\n  a: { connection: githbu }\n";
    assert_eq!(mistakes(near), ["3:20 connection 'githbu' is not in this file; did you mean 'github'?"]);
    let other = "connections: { c: { kind: http, base_url: https://h } }\nactions:\n  a: { connection: c, kind: pg, method: GET, path: / }\n";
    assert_eq!(mistakes(other), ["3:29 this action is for 'postgres', but its connection 'c' is for 'http'"]);
}

#[test]
fn secrets_in_lists_references_and_misspelt_references() {
    let document = read(&connection(r#"keys: [ { key: k1, user: u }, { key: { $env: K2 } } ]"#));
    let keys = &document.connections[0].config["keys"];
    assert_eq!(keys, &json!([{"key": {"$secret": "/keys/0/key"}, "user": "u"}, {"key": {"$env": "K2"}}]));
    let wrong = connection("authorization: { type: bearer, token: { $evn: hunter2 } }");
    assert_eq!(mistakes(&wrong), ["4:66 not a reference to a secret"]);
    assert!(!format!("{:?}", refused(&wrong, Format::Yaml)).contains("hunter2"));
    let missing = connection("authorization: { type: basic }");
    assert_eq!(mistakes(&missing).len(), 2, "{:?}", mistakes(&missing));
    // The core refuses a password in a URL; the message must not show it.
    let url = "connections: { c: { kind: http, base_url: \"https://u:hunter2@h\" } }";
    let error = refused(url, Format::Yaml);
    assert!(error.message.contains("must not hold") && error.place.is_some(), "{error:?}");
    assert!(!format!("{error:?}").contains("hunter2"));
}

#[test]
fn mcp_and_parameters() {
    let action = |fields: &str| {
        format!("actions:\n  a: {{ kind: http, connection: c, method: GET, path: /, {fields} }}\n")
    };
    let read = |fields: &str| read(&action(fields)).actions.remove(0);
    let tool = read(r#"mcp: { enabled: "${YES}", tool_name: t, tags: [a], requires_auth: false }"#);
    assert!(tool.mcp_enabled);
    assert_eq!(tool.mcp_overrides, Some(json!({"tool_name": "t", "tags": ["a"], "requires_auth": false})));
    assert!(read("mcp_enabled: true").mcp_enabled && !read("mcp: { tool_name: t }").mcp_enabled);
    assert_eq!(mistakes(&action("mcp_enabled: true, mcp: { enabled: false }")).len(), 1);
    let both = read("parameters: [ { name: a } ], input_schema: { type: object, maxProperties: 1 }");
    assert_eq!(both.config["input_schema"], json!({"type": "object", "maxProperties": 1}));
    assert_eq!(
        mistakes(&action("parameters: [ { name: a }, { name: a } ]")),
        ["2:57 parameter 'a' is there twice"]
    );
    assert_eq!(mistakes(&action("parameters: [ { name: a, pattern: \"(\" } ]")).len(), 1);
    assert_eq!(mistakes(&action("parameters: [ { type: string } ]")).len(), 1);
}

#[test]
fn a_secret_of_an_action_may_only_be_referred_to() {
    // `keys` of the fixture is sealed in connections; defaults and actions have no place to seal one.
    let in_reference_mode = read_in(
        &connection(r#"authorization: { type: bearer, token: "Bearer ${GITHUB_TOKEN}" }"#),
        Format::Yaml,
        SecretsMode::Reference,
        &env,
    )
    .unwrap();
    assert_eq!(in_reference_mode.connections[0].secrets[0].value.expose_secret(), "Bearer s3cr3t-t0ken");
    let action = "actions:\n  a: { kind: http, connection: c, path: /, signature: hunter2 }\n";
    assert_eq!(mistakes(action), ["2:55 a secret must not be written here in clear"]);
    let reference = read(&action.replace("hunter2", "{ $env: S }")).actions.remove(0);
    assert_eq!(reference.config["signature"], json!({"$env": "S"}));
}
