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
    fields.lines().map(|line| format!("    {}\n", line.trim_start_matches("| "))).collect()
}

/// What a connection's fields are read as, and its secrets in order.
fn read_connection(fields: &str) -> (Value, Vec<(String, String)>) {
    let mut document = read(&connection(&format!("base_url: https://h\n{fields}")));
    let draft = document.connections.remove(0);
    let mut config = draft.config;
    config.shift_remove("base_url");
    let secret = |s: openact_core::secret::TakenSecret| (s.pointer, s.value.expose_secret().to_owned());
    (Value::Object(config), draft.secrets.into_iter().map(secret).collect())
}

fn read_action(fields: &str) -> Value {
    Value::Object(read(&action(&format!("path: /\n{fields}"))).actions.remove(0).config)
}

/// `(row of the table, fields of a connection, what they are, the secrets in it)`
type Row<'a> = (&'a str, &'a str, Value, &'a [(&'a str, &'a str)]);

#[track_caller]
fn check(rows: &[Row<'_>]) {
    for (row, fields, expected, secrets) in rows {
        let (config, taken) = read_connection(fields);
        assert_eq!(&config, expected, "{row}: {fields}");
        let taken: Vec<_> = taken.iter().map(|(at, value)| (at.as_str(), value.as_str())).collect();
        assert_eq!(&taken, secrets, "{row}: {fields}");
    }
}

fn sealed(field: &str) -> Value {
    json!({"$secret": format!("/authorization/{field}")})
}

#[test]
fn authorization_as_a_word_with_its_parameters() {
    let group = |name: &str, value: &str| {
        format!(
            "authorization: api_key\nauth_parameters:\n  api_key_auth_parameters: {{ api_key_name: {name}, api_key_value: {value} }}"
        )
    };
    let header =
        json!({"authorization": {"type": "api_key", "value": sealed("value"), "header": "X-API-Key"}});
    let bearer = json!({"authorization": {"type": "bearer", "token": sealed("token")}});
    let own_scheme =
        json!({"authorization": {"type": "api_key", "value": sealed("value"), "header": "Authorization"}});
    let query = json!({"authorization": {"type": "api_key", "value": sealed("value"), "query": "appid"}});
    let named = json!({"authorization": {"type": "api_key", "value": sealed("value"), "header": "my_key"}});
    let basic = json!({"authorization": {"type": "basic", "username": "u", "password": sealed("password")}});
    let token = "/authorization/token";
    let value = "/authorization/value";
    check(&[
        ("authorization", "authorization: none", json!({"authorization": {"type": "none"}}), &[]),
        ("authorization", "authorization: bearer\ntoken: t", bearer.clone(), &[(token, "t")]),
        ("authorization", "token: t\nauth: bearer_token", bearer.clone(), &[(token, "t")]),
        ("authorization", "authorization: { type: bearer_token, token: t }", bearer.clone(), &[(token, "t")]),
        ("authorization", "auth: { type: bearer, token: t }", bearer.clone(), &[(token, "t")]),
        (
            "authorization",
            "authorization: { type: api_key, header: X-API-Key, value: v }",
            header.clone(),
            &[(value, "v")],
        ),
        (
            "authorization",
            "authorization: api_key\napi_key: v\napi_key_name: X-API-Key",
            header.clone(),
            &[(value, "v")],
        ),
        (
            "authorization",
            "authorization: api_key\napi_key: v",
            json!({"authorization": {"type": "api_key", "value": sealed("value")}}),
            &[(value, "v")],
        ),
        (
            "authorization",
            "authorization: \"${KIND:basic}\"\nusername: u\npassword: p",
            basic.clone(),
            &[("/authorization/password", "p")],
        ),
        ("api_key_auth_parameters", &group("X-API-Key", "v"), header, &[(value, "v")]),
        (
            "api_key_auth_parameters",
            &group("my_key", "\"${GITHUB_TOKEN}\""),
            named,
            &[(value, "s3cr3t-t0ken")],
        ),
        ("api_key_auth_parameters", &group("appid", "\"123\""), query, &[(value, "123")]),
        ("api_key_auth_parameters", &group("Authorization", "v"), bearer.clone(), &[(token, "v")]),
        (
            "api_key_auth_parameters",
            &group("x-authorization", "\"${GITHUB_TOKEN}\""),
            bearer,
            &[(token, "s3cr3t-t0ken")],
        ),
        (
            "api_key_auth_parameters",
            &group("Authorization", "\"Bearer ${GITHUB_TOKEN}\""),
            own_scheme.clone(),
            &[(value, "Bearer s3cr3t-t0ken")],
        ),
        ("api_key_auth_parameters", &group("authorization", "Token v"), own_scheme, &[(value, "Token v")]),
        (
            "basic_auth_parameters",
            "authorization: basic\nauth_parameters:\n  basic_auth_parameters: { username: u, password: p }\n  oauth_parameters: null",
            basic,
            &[("/authorization/password", "p")],
        ),
    ]);
}

#[test]
fn oauth_as_a_word_with_its_parameters() {
    let parameters = "{ client_id: i, client_secret: s, token_url: https://t/token, scope: \"a b\", use_pkce: true, redirect_uri: https://r, auth_url: null }";
    let made = json!({"authorization": {
        "type": "oauth2_client_credentials", "client_id": "i", "client_secret": sealed("client_secret"),
        "token_url": "https://t/token", "scope": "a b",
    }});
    let secret = [("/authorization/client_secret", "s")];
    let stored = json!({"auth_ref": "github/alice"});
    check(&[
        (
            "oauth_parameters",
            &format!(
                "authorization: oauth2_client_credentials\nauth_parameters: {{ oauth_parameters: {parameters} }}"
            ),
            made.clone(),
            &secret,
        ),
        (
            "oauth_parameters",
            &format!("authorization: oauth2\nauth_parameters: {{ oauth_parameters: {parameters} }}"),
            made.clone(),
            &secret,
        ),
        (
            "authorization",
            "authorization: { type: oauth2, client_id: i, client_secret: s, token_url: https://t/token, scopes: a b }",
            made.clone(),
            &secret,
        ),
        (
            "authorization",
            "authorization: { type: oauth2_client_credentials, client_id: i, client_secret: s, token_url: https://t/token, scope: a b }",
            made,
            &secret,
        ),
        ("auth_ref", "auth_ref: github/alice", stored.clone(), &[]),
        ("auth_ref", "auth_ref: github/alice\nauthorization: oauth2", stored.clone(), &[]),
        (
            "auth_ref",
            &format!(
                "auth_ref: github/alice\nauthorization: oauth2_authorization_code\nauth_parameters: {{ oauth_parameters: {parameters} }}"
            ),
            stored.clone(),
            &[],
        ),
        (
            "auth_ref",
            "auth_ref: github/alice\nauthorization: { type: oauth2_authorization_code }",
            stored.clone(),
            &[],
        ),
        (
            "auth_ref",
            "auth_ref: github/alice\nauthorization: authflow\nauthflow: { provider: github, client_id: i, client_secret: s, authorization_url: https://a, token_url: https://t, callback_url: https://c, scopes: [a], api_key: k, header_name: h, prefix: p }",
            stored,
            &[],
        ),
    ]);
    let place = "4:";
    for (fields, message) in [
        (
            "authorization: oauth2_authorization_code",
            "20 authorization 'oauth2_authorization_code' needs 'auth_ref'",
        ),
        ("authorization: { type: oauth2_authflow }", "5 authorization 'oauth2_authflow' needs 'auth_ref'"),
    ] {
        assert_eq!(
            mistakes(&connection(&format!("{fields}\nbase_url: https://h"))),
            [format!("{place}{message}")]
        );
    }
}

#[test]
fn sections_of_a_connection() {
    let ten_seconds = json!({"timeout": {"total_ms": 10_000}});
    let bytes = |text: &str| format!("{:?}", text.as_bytes());
    let pem = format!(
        "network_config: {{ proxy_url: \"http://p:3128\", tls: {{ verify_peer: true, ca_pem: {}, client_cert_pem: {}, client_key_pem: {}, server_name: s }} }}",
        bytes("ca ${X}"),
        bytes("cert"),
        bytes("key")
    );
    let tls = |field: &str| json!({"$secret": format!("/network/tls/{field}")});
    check(&[
        ("timeout_config", "timeout: 10", ten_seconds.clone(), &[]),
        ("timeout_config", "timeout_seconds: 10", ten_seconds.clone(), &[]),
        ("timeout_config", "timeout: \"${SECONDS:10}\"", ten_seconds.clone(), &[]),
        ("timeout_config", "config: { timeout: 10.0 }", ten_seconds, &[]),
        ("timeout_config", "timeout: 0.25", json!({"timeout": {"total_ms": 250}}), &[]),
        ("timeout_config", "timeout_ms: 250", json!({"timeout_ms": 250}), &[]),
        (
            "timeout_config",
            "timeout_config: { connect_ms: 10000, read_ms: 30000, total_ms: 60000 }",
            json!({"timeout": {"connect_ms": 10000, "read_ms": 30000, "total_ms": 60000}}),
            &[],
        ),
        (
            "timeout_config",
            "timeout_config: null\nretry_policy: null\nnetwork_config: { proxy_url: null, tls: { ca_pem: null, verify_peer: true } }\nauth_ref: null",
            json!({"network": {"tls": {"verify": true}}}),
            &[],
        ),
        (
            "retry_policy",
            "retry_policy: { max_retries: 3, initial_delay_ms: 1000, max_delay_ms: 30000, backoff_multiplier: 2.0, retry_on_status_codes: [429, 500, 502, 503, 504] }",
            json!({"retry": {"max_retries": 3, "initial_delay_ms": 1000, "max_delay_ms": 30000, "backoff_multiplier": 2.0, "retry_on_status_codes": [429, 500, 502, 503, 504]}}),
            &[],
        ),
        (
            "retry_policy",
            "defaults: { retry: { max_attempts: 3, backoff_ms: 1000 } }",
            json!({"defaults": {"retry": {"max_attempts": 3, "initial_delay_ms": 1000}}}),
            &[],
        ),
        (
            "(legacy retry_policy)",
            "retry_policy: { max_retries: 0, base_delay_ms: 100, max_delay_ms: 30000, backoff_multiplier: 2.0, retry_status_codes: [429], respect_retry_after: true }",
            json!({"retry": {"max_retries": 0, "initial_delay_ms": 100, "max_delay_ms": 30000, "backoff_multiplier": 2.0, "retry_on_status_codes": [429], "respect_retry_after": true}}),
            &[],
        ),
        (
            "network_config",
            &pem,
            json!({"network": {"proxy": "http://p:3128", "tls": {"verify": true, "ca": tls("ca"), "client_cert": tls("client_cert"), "client_key": tls("client_key"), "server_name": "s"}}}),
            &[
                ("/network/tls/ca", "ca ${X}"),
                ("/network/tls/client_cert", "cert"),
                ("/network/tls/client_key", "key"),
            ],
        ),
        (
            "network_config",
            "proxy: http://p:3128\nverify_ssl: false",
            json!({"network": {"proxy": "http://p:3128", "tls": {"verify": false}}}),
            &[],
        ),
        (
            "network_config",
            "verify_ssl: false\nnetwork: { allow_private: [10.0.0.0/8], tls: { min_version: \"1.3\" } }",
            json!({"network": {"allow_private": ["10.0.0.0/8"], "tls": {"min_version": "1.3", "verify": false}}}),
            &[],
        ),
        (
            "network_config",
            "network_config: { proxy: http://p:3128, verify_ssl: false }",
            json!({"network": {"proxy": "http://p:3128", "tls": {"verify": false}}}),
            &[],
        ),
        (
            "network_config",
            "proxy: \"http://u:${DIGITS}%40x@p:3128\"",
            json!({"network": {"proxy": {"url": "http://p:3128", "username": "u", "password": {"$secret": "/network/proxy/password"}}}}),
            &[("/network/proxy/password", "123456@x")],
        ),
        (
            "http_policy",
            "http_policy: { denied_headers: [host], reserved_headers: [authorization], multi_value_append_headers: [accept], drop_forbidden_headers: true, normalize_header_names: true, max_header_value_length: 8192, max_total_headers: 100, allowed_content_types: [application/json] }",
            json!({"http_policy": {"denied_headers": ["host"], "reserved_headers": ["authorization"], "multi_value_append_headers": ["accept"], "drop_forbidden_headers": true, "normalize_header_names": true, "max_header_value_length": 8192, "max_total_headers": 100, "allowed_content_types": ["application/json"]}}),
            &[],
        ),
        (
            "http_policy",
            "http_policy: { follow_redirects: true }",
            json!({"http_policy": {}, "defaults": {"follow_redirects": true}}),
            &[],
        ),
    ]);
}

#[test]
fn parameters_of_every_call_become_defaults() {
    let lists = "invocation_http_parameters:\n  header_parameters: [ { key: X-A, value: a }, { key: x-a, value: \"${DIGITS}\" }, { key: B, value: b } ]\n  query_string_parameters: [ { key: q, value: \"1\" }, { key: Q, value: \"2\" } ]\n  body_parameters: [ { key: f, value: x }, { key: f, value: y }, { key: f, value: z } ]";
    let made = json!({"defaults": {
        "headers": {"X-A": ["a", "123456"], "B": "b"}, "query": {"q": "1", "Q": "2"}, "body": {"f": ["x", "y", "z"]},
    }});
    check(&[
        ("invocation_http_parameters", lists, made, &[]),
        (
            "invocation_http_parameters",
            "invocation_http_parameters: { header_parameters: [], query_string_parameters: null }",
            json!({}),
            &[],
        ),
        (
            "invocation_http_parameters",
            "headers: { A: b }\nquery: { c: d }\ncookies: { e: f }",
            json!({"defaults": {"headers": {"A": "b"}, "query": {"c": "d"}, "cookies": {"e": "f"}}}),
            &[],
        ),
        (
            "invocation_http_parameters",
            "defaults: { query_params: { a: b }, timeout: 1 }\nheaders: { A: b }",
            json!({"defaults": {"query": {"a": "b"}, "timeout": {"total_ms": 1000}, "headers": {"A": "b"}}}),
            &[],
        ),
    ]);
}

#[test]
fn rows_of_an_action() {
    for (row, fields, expected) in [
        ("headers", "headers: { A: [a, b], B: c }", json!({"headers": {"A": ["a", "b"], "B": "c"}})),
        ("query_params", "query_params: { a: [\"1\"] }", json!({"query": {"a": ["1"]}})),
        ("query_params", "query: { a: null }", json!({"query": {"a": null}})),
        (
            "body",
            "body: { type: form, fields: { a: b } }",
            json!({"body": {"type": "form", "fields": {"a": "b"}}}),
        ),
        ("body", "body: raw", json!({"body": "raw"})),
        ("request_body", "request_body: { a: null }", json!({"body": {"a": null}})),
        ("timeout_config", "timeout_seconds: 5", json!({"timeout": {"total_ms": 5000}})),
        ("timeout_config", "timeout_config: { total_ms: 5 }", json!({"timeout": {"total_ms": 5}})),
        ("retry_policy", "retry_policy: { max_retries: 0 }", json!({"retry": {"max_retries": 0}})),
        (
            "network_config",
            "network_config: { proxy_url: \"http://p:1\", verify_ssl: false }",
            json!({"network": {"proxy": "http://p:1", "tls": {"verify": false}}}),
        ),
        (
            "http_policy",
            "http_policy: { denied_headers: [x], follow_redirects: false }",
            json!({"http_policy": {"denied_headers": ["x"]}, "follow_redirects": false}),
        ),
        (
            "response_policy",
            "response_policy: { allow_binary: true }",
            json!({"response": {"allow_binary": true}}),
        ),
        ("input_schema", "schema: { type: object }", json!({"input_schema": {"type": "object"}})),
        (
            "limits",
            "limits: { timeout_ms: 5, max_bytes: 6, dry_run: false }",
            json!({"limits": {"timeout_ms": 5, "max_bytes": 6}}),
        ),
        (
            "limits",
            "limits: { max_rows: 7 }\npagination: { style: link }",
            json!({"limits": {}, "pagination": {"style": "link", "max_items": 7}}),
        ),
    ] {
        let mut config = read_action(fields);
        config.as_object_mut().unwrap().shift_remove("path");
        assert_eq!(config, expected, "{row}: {fields}");
    }
}

#[test]
fn the_examples_of_earlier_versions_load() {
    let examples = [
        (include_str!("earlier/example-config.yaml"), 2),
        (include_str!("earlier/test-config.yaml"), 3),
        (include_str!("earlier/http.yaml"), 2),
        (include_str!("earlier/docs-http.yaml"), 3),
        (include_str!("earlier/spec.yaml"), 1),
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
    for (fields, expected) in [
        // Two spellings of one field.
        (
            "base_url: https://h\nauthorization: none\nauth: { type: none }",
            vec!["6:5 'auth' and 'authorization' are the same"],
        ),
        (
            "base_url: https://h\nauthorization: { type: none }\nauth_parameters: {}",
            vec!["6:5 'auth_parameters' and 'authorization' are the same"],
        ),
        (
            "base_url: https://h\ntimeout: 5\ntimeout_seconds: 5",
            vec!["6:5 'timeout_seconds' and 'timeout' are the same"],
        ),
        (
            "base_url: https://h\ntimeout: 5\ntimeout_ms: 5",
            vec!["6:17 'timeout_ms' and 'timeout' are the same"],
        ),
        (
            "base_url: https://h\nretry: { max_retries: 1, max_attempts: 2 }",
            vec!["5:27 'max_retries' and 'max_attempts' are the same"],
        ),
        (
            "base_url: https://h\nproxy: http://p:1\nnetwork: { proxy_url: http://p:1 }",
            vec!["5:5 'proxy' and 'proxy_url' are the same"],
        ),
        (
            "base_url: https://h\nheaders: { A: b }\ninvocation_http_parameters:\n  header_parameters: [ { key: A, value: b } ]",
            vec!["5:5 'headers' and 'header_parameters' are the same"],
        ),
        (
            "base_url: https://h\nheaders: { A: b }\ndefaults: { headers: { A: c } }",
            vec!["5:5 'headers' is given twice, once within 'defaults'"],
        ),
        // What was moved keeps its line.
        (
            "base_url: https://h\nauthorization: api_key\nauth_parameters:\n  api_key_auth_parameters:\n    api_key_name: X-Key\n    api_key_value: \"${MISSING}\"",
            vec!["9:24 environment variable 'MISSING' is not set"],
        ),
        (
            "base_url: https://h\nauthorization: basic\nauth_parameters:\n  basic_auth_parameters:\n    username: 5\n    password: p",
            vec!["8:19 'username': the value is not of type \"string\""],
        ),
        (
            "base_url: https://h\nauthorization: basic\nusername: u",
            vec!["5:20 'authorization': \"password\" is a required property"],
        ),
        (
            "base_url: https://h\nauthorization: api_key\nauth_parameters:\n  api_key_auth_parameters: { api_key_nmae: x, api_key_value: v }",
            vec![
                "7:7 'api_key_name' is missing",
                "7:34 unknown key 'api_key_nmae'; did you mean 'api_key_name'?",
            ],
        ),
        (
            "base_url: https://h\nauthorization: basic\nauth_parameters:\n  basic_auth_paramters: {}",
            vec![
                "5:20 'authorization': \"username\" is a required property",
                "5:20 'authorization': \"password\" is a required property",
                "7:7 unknown key 'basic_auth_paramters'; did you mean 'basic_auth_parameters'?",
            ],
        ),
        (
            "base_url: https://h\nauthorization: none\nauth_parameters:\n  basic_auth_parameters: { username: u, password: p }",
            vec!["7:7 'basic_auth_parameters' does not belong to authorization 'none'"],
        ),
        (
            "base_url: https://h\nauthorization: baerer\ntoken: t",
            vec![
                "5:20 there is no authorization 'baerer'; did you mean 'bearer'?",
                "6:5 unknown key 'token'",
            ],
        ),
        ("base_url: https://h\nauthorization: hmac", vec!["5:20 authorization 'hmac' needs fields"]),
        ("base_url: https://h\nauth_parameters: {}", vec!["5:5 'auth_parameters' without 'authorization'"]),
        (
            "base_url: https://h\nauthorization: bearer\npassword: p\ntoken: t",
            vec!["6:5 unknown key 'password'"],
        ),
        ("base_url: https://h\ntimeout: soon", vec!["5:14 'timeout' is not a number of seconds above 0"]),
        ("base_url: https://h\ntimeout: -5", vec!["5:14 'timeout' is not a number of seconds above 0"]),
        ("base_url: https://h\ntimeout: 5000", vec!["5:14 'timeout': "]),
        (
            "base_url: https://h\ntimeout: \"${MISSING}\"",
            vec!["5:14 environment variable 'MISSING' is not set"],
        ),
        (
            "base_url: https://h\nverify_ssl: 5",
            vec!["5:17 'verify_ssl': the value is not of type \"boolean\""],
        ),
        (
            "base_url: https://h\nnetwork_config: { tls: { ca_pem: [1, 256] } }",
            vec!["5:30 'ca_pem' is not a list of the bytes of a text"],
        ),
        (
            "base_url: https://h\ninvocation_http_parameters:\n  header_parameters:\n    - { key: A, value: { b: c } }\n    - { key: B }\n    - { key: B, value: x }\n    - { key: B, value: \"${MISSING}\" }\n  headers: []",
            vec![
                "7:21 'value': the value is not of types",
                "8:11 not a key and its value",
                "10:28 environment variable 'MISSING' is not set",
                "11:7 unknown key 'headers'",
            ],
        ),
    ] {
        let found = mistakes(&connection(fields));
        let fits = found.len() == expected.len()
            && found.iter().zip(&expected).all(|(found, expected)| found.starts_with(expected));
        assert!(fits, "{fields}\n{found:#?}");
    }
    for (fields, expected) in [
        ("path: /\nlimits: { max_rows: 5 }", "6:25 there are no rows to count here"),
        ("path: /\nlimits: { dry_run: true }", "6:24 an action cannot be a dry run for ever"),
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
    assert!(secrets.is_empty());
    let text = connection("base_url: https://h\nauthorization: bearer\ntoken: \"vault://kv/${NO:}#/token\"");
    assert_eq!(mistakes(&text), ["6:12 not a reference to a secret in Vault"]);
}
