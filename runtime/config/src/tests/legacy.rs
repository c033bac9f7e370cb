//! Files as they were written for earlier versions: each row of the HTTP part of the table of fields, every example
//! that came with them, and what is wrong at its place.

use openact_core::secret::ExposeSecret;
use serde_json::{Value, json};

use crate::{
    Format, SecretsMode,
    fixture::{env, mistakes, read, read_in},
};

/// A file with one connection of these fields; they start at 4:5.
fn connection(fields: &str) -> String {
    format!("connections:\n  c:\n    kind: http\n{}", indented(fields))
}

/// A file with one action of these fields over a stored connection; they start at 5:5.
fn action(fields: &str) -> String {
    format!("actions:\n  a:\n    kind: http\n    connection: c\n{}", indented(fields))
}

fn indented(fields: &str) -> String {
    fields.lines().map(|line| format!("    {}\n", line)).collect()
}

/// A connection's fields as they are read, and its secrets.
fn read_connection(fields: &str) -> (Value, Value) {
    let mut document = read(&connection(&format!("base_url: https://h\n{fields}")));
    let draft = document.connections.remove(0);
    let mut config = draft.config;
    config.shift_remove("base_url");
    let secrets = draft.secrets.into_iter().map(|s| (s.pointer, s.value.expose_secret().into()));
    (Value::Object(config), Value::Object(secrets.collect()))
}

fn read_action(fields: &str) -> Value {
    let mut document = read(&action(&format!("path: /\n{fields}")));
    let mut config = document.actions.remove(0).config;
    config.shift_remove("path");
    Value::Object(config)
}

/// The cases of a file.
fn cases(text: &str) -> Vec<Value> {
    let cases: Vec<Value> = serde_yaml::from_str(text).unwrap();
    assert!(cases.len() > 10);
    cases
}

#[test]
fn every_row_of_a_connection() {
    for case in cases(include_str!("earlier/connections.yaml")) {
        let (row, written) = (&case["row"], case["written"].as_str().unwrap());
        let secrets = case.get("secrets").cloned().unwrap_or_else(|| json!({}));
        assert_eq!(read_connection(written), (case["read"].clone(), secrets), "{row}: {written}");
    }
}

#[test]
fn many_parameters_are_moved_in_one_pass() {
    // Comparing each with each would take minutes.
    let list: String = (0..100_000).map(|n| format!("{{key: h{n}, value: v}},")).collect();
    let (config, _) =
        read_connection(&format!("invocation_http_parameters: {{ header_parameters: [{list}] }}"));
    assert_eq!(config["defaults"]["headers"].as_object().unwrap().len(), 100_000);
}

#[test]
fn every_row_of_an_action() {
    for case in cases(include_str!("earlier/actions.yaml")) {
        let (row, written) = (&case["row"], case["written"].as_str().unwrap());
        assert_eq!(read_action(written), case["read"], "{row}: {written}");
    }
}

#[test]
fn a_flow_in_a_browser_needs_its_credential() {
    for (fields, message) in [
        (
            "authorization: oauth2_authorization_code",
            "4:20 authorization 'oauth2_authorization_code' needs 'auth_ref'",
        ),
        ("authorization: { type: oauth2_authflow }", "4:5 authorization 'oauth2_authflow' needs 'auth_ref'"),
    ] {
        assert_eq!(mistakes(&connection(&format!("{fields}\nbase_url: https://h"))), [message]);
    }
}

#[test]
fn the_examples_of_earlier_versions_load() {
    let examples = [
        (include_str!("earlier/files/example-config.yaml"), 2),
        (include_str!("earlier/files/test-config.yaml"), 3),
        (include_str!("earlier/files/http.yaml"), 2),
        (include_str!("earlier/files/docs-http.yaml"), 3),
        (include_str!("earlier/files/spec.yaml"), 1),
        (include_str!("earlier/files/every-field.yaml"), 4),
    ];
    for (text, actions) in examples {
        for mode in [SecretsMode::Seal, SecretsMode::Reference] {
            let document =
                read_in(text, Format::Yaml, mode, &|name| (name == "HTTPBIN_TOKEN").then(|| "t0ken".into()));
            let document = document.unwrap_or_else(|error| panic!("{error:?}\n{text}"));
            assert_eq!((document.connections.len(), document.actions.len()), (1, actions), "{text}");
        }
    }
    let docs = read_in(examples[3].0, Format::Yaml, SecretsMode::Seal, &|_| Some("t0ken".into())).unwrap();
    assert_eq!(docs.connections[0].secrets[0].value.expose_secret(), "Bearer t0ken");
    assert_eq!(docs.connections[0].config["authorization"]["header"], "Authorization");
    assert_eq!(docs.connections[0].config["defaults"]["headers"]["X-Provider"], "httpbin");
    assert_eq!(docs.actions[0].config["timeout"], json!({"total_ms": 30_000}));
}

#[test]
fn a_mistake_in_a_moved_value_is_where_it_was_written() {
    for case in cases(include_str!("earlier/mistakes.yaml")) {
        let written = case["written"].as_str().unwrap();
        let expected: Vec<&str> =
            case["mistakes"].as_array().unwrap().iter().map(|mistake| mistake.as_str().unwrap()).collect();
        let found = mistakes(&connection(written));
        let fits = found.len() == expected.len()
            && found.iter().zip(&expected).all(|(found, expected)| found.starts_with(expected));
        assert!(fits, "{written}\n{found:#?}");
    }
    for (fields, expected) in [
        (
            "path: /\nresponse_policy: { transform_response: x }",
            "6:24 'transform_response' never did anything",
        ),
        (
            "path: /\nexpected_status: 200\nresponse: { allowed_status: 201 }",
            "6:5 'expected_status' and 'allowed_status' are the same",
        ),
        ("path: /\nbody: {}\nrequest_body: {}", "7:5 'request_body' and 'body' are the same"),
        (
            "path: /\ntimeout_config: { total_ms: 5 }\ntimeout_seconds: 5",
            "7:5 'timeout_seconds' and 'timeout_config' are the same",
        ),
    ] {
        assert_eq!(mistakes(&action(fields)), [expected], "{fields}");
    }
}

#[test]
fn rows_are_bounded_only_where_a_connector_counts_something() {
    let fields = "    path: /\n    limits: { max_rows: 5 }\n";
    let text = format!("actions:\n  a:\n    kind: postgres\n    connection: c\n{fields}");
    assert_eq!(mistakes(&text), ["6:25 there are no rows to count here"]);
}

#[test]
fn what_is_of_another_shape_is_a_mistake_on_its_line() {
    for key in [
        "authorization",
        "auth",
        "auth_parameters",
        "authflow",
        "invocation_http_parameters",
        "headers",
        "timeout",
        "timeout_seconds",
        "timeout_config",
        "retry_policy",
        "network_config",
        "http_policy",
        "proxy",
        "verify_ssl",
        "auth_ref",
        "defaults",
        "limits",
    ] {
        for value in ["[1]", "[[]]", "[{a: b}]"] {
            let found = mistakes(&connection(&format!("base_url: https://h\n{key}: {value}")));
            assert!(
                !found.is_empty() && found.iter().all(|found| found.starts_with("5:")),
                "{key}: {found:?}"
            );
        }
    }
}

#[test]
fn c1_no_message_about_a_moved_secret_quotes_it() {
    for fields in [
        "authorization: basic\nusername: u\npassword: [hunter2]",
        "authorization: api_key\nauth_parameters: { api_key_auth_parameters: hunter2 }",
        "authorization: api_key\nauth_parameters: { api_key_auth_parameters: { api_key_name: \"${A b}\", api_key_value: hunter2 } }",
        "authorization: none\npassword: hunter2",
        "proxy: ftp://u:hunter2@p:1",
        "network: { proxy: { url: 5, password: hunter2 } }",
    ] {
        let text = connection(&format!("base_url: https://h\n{fields}"));
        let error = read_in(&text, Format::Yaml, SecretsMode::Seal, &env).unwrap_err();
        assert!(!format!("{error:?}{}", error.to_json()).contains("hunter2"), "{error:?}");
    }
}

#[test]
fn in_reference_mode_a_variable_alone_stays_one_wherever_the_secret_was_written() {
    let reference = |fields: &str| {
        let text = connection(&format!("base_url: https://h\n{fields}"));
        let document = read_in(&text, Format::Yaml, SecretsMode::Reference, &env);
        let mut document = document.unwrap_or_else(|error| panic!("{fields}: {error:?}"));
        assert!(document.connections[0].secrets.is_empty(), "{fields}");
        Value::Object(document.connections.remove(0).config)
    };
    let variable = json!({"$env": "NOT_SET_YET"});
    for (fields, pointer) in [
        (
            "authorization: { type: oauth2_client_credentials, client_id: i, token_url: https://t, client_secret: \"${NOT_SET_YET}\" }",
            "/authorization/client_secret",
        ),
        ("authorization: { type: jwt, algorithm: RS256, key: \"${NOT_SET_YET}\" }", "/authorization/key"),
        (
            "authorization: { type: hmac, message: \"{body}\", header: X-Signature, secret: \"${NOT_SET_YET}\" }",
            "/authorization/secret",
        ),
        (
            "authorization: { type: aws_sigv4, access_key_id: a, region: r, service: s, secret_access_key: \"${NOT_SET_YET}\" }",
            "/authorization/secret_access_key",
        ),
        (
            "network: { tls: { client_cert: \"${NOT_SET_YET}\", client_key: \"${NOT_SET_YET}\" } }",
            "/network/tls/client_key",
        ),
        ("network: { tls: { ca: \"${NOT_SET_YET}\" } }", "/network/tls/ca"),
        (
            "network: { proxy: { url: \"http://p:1\", username: u, password: \"${NOT_SET_YET}\" } }",
            "/network/proxy/password",
        ),
        (
            "authorization: api_key\napi_key_name: Authorization\napi_key: \"${NOT_SET_YET}\"",
            "/authorization/token",
        ),
        ("authorization: basic\nusername: u\npassword: \"${NOT_SET_YET}\"", "/authorization/password"),
    ] {
        assert_eq!(reference(fields).pointer(pointer), Some(&variable), "{fields}");
    }
    // Any other text with a variable in it is filled and sealed, as in the other mode.
    let text = connection("base_url: https://h\nauthorization: bearer\ntoken: \"x-${DIGITS}\"");
    let document = read_in(&text, Format::Yaml, SecretsMode::Reference, &env).unwrap();
    assert_eq!(document.connections[0].secrets[0].value.expose_secret(), "x-123456");
}

#[test]
fn a_vault_reference_is_read_after_its_variables_and_never_sealed() {
    let (config, secrets) = read_connection("authorization: bearer\ntoken: \"vault://kv/${NO:app}#/token\"");
    assert_eq!(config["authorization"], json!({"type": "bearer", "token": "vault://kv/app#/token"}));
    assert_eq!(secrets, json!({}));
    let text = connection("base_url: https://h\nauthorization: bearer\ntoken: \"vault://kv/${NO:}#/token\"");
    assert_eq!(mistakes(&text), ["6:12 not a reference to a secret in Vault"]);
}
