//! Files that are wrong: every mistake at its place.

use crate::{
    Context, Format, SecretsMode,
    fixture::{env, mistakes, read, refused},
    read_file,
};

#[test]
fn several_mistakes_are_reported_together_each_at_its_place() {
    let text = r#"connectors:
  http:
    connections:
      github:
        base_ulr: "https://api.github.com"
        timeout_ms: soon
        auth: { type: bearer, tokn: "${MISSING}" }
      other:
        port: 1
    actions:
      get user: {}
      get-user:
        conection: github
        method: FETCH
        path: "/${ALSO_MISSING}"
        headers: { A: 5 }
      list:
        connection: github
        method: GET
        mcp: { enabeld: true }
        parameters: [ { name: a, kind: string } ]
        input_schema: { type: 5 }
  htpp:
    connections: {}
    actions: { x: {} }
connectionz: {}
"#;
    let found = mistakes(text);
    let expected = [
        "5:9 unknown key 'base_ulr'; did you mean 'base_url'?",
        "6:21 'timeout_ms': the value is not of type \"integer\"",
        "7:31 unknown key 'tokn'; did you mean 'token'?",
        "7:37 environment variable 'MISSING' is not set",
        "8:7 \"base_url\" is a required property",
        "11:7 'get user' is not the name of a connection or action: expected letters",
        "13:9 unknown key 'conection'; did you mean 'connection'?",
        "14:17 'method': ",
        "15:15 environment variable 'ALSO_MISSING' is not set",
        "16:23 'A': the value is not of types",
        "17:7 \"path\" is a required property",
        "20:16 unknown key 'enabeld'; did you mean 'enabled'?",
        "21:34 unknown key 'kind'",
        "22:9 input_schema of http/list is not a valid JSON Schema",
        "23:3 there is no connector 'htpp'; did you mean 'http'?",
        "26:1 unknown key 'connectionz'; did you mean 'connections'?",
    ];
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}\nis not\n{expected}");
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    let error = refused(text, Format::Yaml);
    assert!(error.message.ends_with("'base_url'? (and 15 more mistakes in this file)"), "{error}");
}

#[test]
fn a_flood_of_mistakes_is_counted_but_not_listed() {
    let many: String = (0..200).map(|n| format!("  x{n}x: {{}}\n")).collect();
    let error = refused(&format!("connections:\n{many}"), Format::Yaml);
    assert!(error.message.contains("and 199 more"), "{error}");
    assert_eq!(error.details.as_ref().unwrap()["problems"].as_array().unwrap().len(), 50);
}

#[test]
fn shapes_do_not_mix_and_say_what_they_expect() {
    assert!(
        mistakes("connectors: {}\nactions: {}\n")[0]
            .starts_with("2:1 a file has either 'connectors' or flat")
    );
    assert_eq!(mistakes("connections: 5\n"), ["1:14 this must hold keys and values"]);
    assert_eq!(mistakes("connections:\n  c: { base_url: https://h }\n"), ["2:3 'kind' is missing"]);
    assert_eq!(mistakes("version: 2\n"), ["1:10 the version of the file is not known"]);
    assert_eq!(mistakes("- a\n")[0], "1:1 the file must hold keys and values");
    assert_eq!(refused("", Format::Yaml).message, "the file is empty");
    let twice = "connectors:\n  pg: { connections: { c: { base_url: https://h } } }\n  postgres: { connections: { c: { base_url: https://h } } }\n";
    assert_eq!(mistakes(twice), ["3:30 'postgres/c' is there twice"]);
    for empty in [
        "{}",
        "connectors:\n",
        "connectors: { http: }",
        "connections:\nactions:\n",
        "version: 1.0\nmetadata: { a: [1] }\n",
    ] {
        assert!(read(empty).connections.is_empty(), "{empty}");
    }
}

#[test]
fn mistakes_in_json_have_places_too() {
    let text = "{\n\t\"connectors\": {\"http\": {\"connections\": {\n\t\t\"c\": {\"base_url\": \"${NO}\", \"prot\": \"x\"}}}}}";
    let error = refused(text, Format::Json);
    let problems = error.details.as_ref().unwrap()["problems"].clone();
    let places: Vec<&str> =
        problems.as_array().unwrap().iter().map(|p| p["place"].as_str().unwrap()).collect();
    assert_eq!(places, ["c.yaml:3:21", "c.yaml:3:30", "c.yaml:3:38"]);
}

#[test]
fn files_are_read_by_extension_and_must_be_utf_8() {
    let folder = std::env::temp_dir().join(format!("openact-config-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let read = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        std::fs::write(&path, bytes).unwrap();
        let none = |_: &_| None;
        let context = Context {
            env: &env,
            manifest: &none,
            connectors: &[],
            secrets: SecretsMode::Seal,
            made_of: &|_, _| Ok(()),
        };
        read_file(&path, &context)
    };
    assert!(read("a.yml", b"connectors:\n").is_ok() && read("a.JSON", b"{}").is_ok());
    assert!(read("b.json", b"connectors:\n").unwrap_err().message.starts_with("not valid JSON"));
    assert!(read("c.toml", b"connections = {}").is_ok() && read("c.ini", b"").unwrap_err().hint.is_some());
    assert!(read("d.yaml", b"a: \xff").unwrap_err().message.ends_with("is not UTF-8 at byte 3"));
    let missing = read("e.yaml", b"connections: { c: { kind: http } }").unwrap_err();
    assert_eq!(
        (missing.message.as_str(), missing.hint.as_deref()),
        ("there is no connector 'http'", Some("no connector is installed"))
    );
    let place = missing.place.as_ref().unwrap();
    assert!(place.file.ends_with("e.yaml") && (place.line, place.column) == (1, 27), "{place}");
    std::fs::create_dir(folder.join("folder.yaml")).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink("/dev/null", folder.join("device.yaml")).unwrap();
    for name in if cfg!(unix) { &["folder.yaml", "device.yaml"][..] } else { &["folder.yaml"] } {
        let context = Context {
            env: &env,
            manifest: &|_| None,
            connectors: &[],
            secrets: SecretsMode::Seal,
            made_of: &|_, _| Ok(()),
        };
        let error = read_file(&folder.join(name), &context).unwrap_err();
        assert!(error.message.ends_with("is not a regular file"), "{error}");
    }
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(
        read_file(
            &folder.join("gone.yaml"),
            &Context {
                env: &env,
                manifest: &|_| None,
                connectors: &[],
                secrets: SecretsMode::Seal,
                made_of: &|_, _| Ok(())
            }
        )
        .is_err()
    );
}

#[test]
fn an_action_that_contradicts_its_connection_is_a_mistake_of_the_file() {
    let file = |total: &str| {
        format!(
            "connectors:
  http:
    connections: {{ c: {{ base_url: https://h, timeout: {{ read_ms: 5000 }} }} }}
    actions:
      get: {{ connection: c, method: GET, path: /, timeout_ms: {total} }}
"
        )
    };
    assert_eq!(mistakes(&file("1000")), ["5:7 timeout.read_ms (5000) is above timeout.total_ms (1000)"]);
    assert_eq!(read(&file("5000")).actions.len(), 1);
}

#[test]
fn a_wrong_choice_is_told_the_right_ones() {
    let file = |fields: &str| {
        format!("connectors:\n  http:\n    connections:\n      c: {{ base_url: https://h, {fields} }}\n")
    };
    let error = refused(&file("authorization: { type: beerer, token: t }"), Format::Yaml);
    assert!(error.message.ends_with("did you mean 'bearer'?"), "{error}");
    let kinds =
        "one of none, bearer, api_key, basic, digest, oauth2_client_credentials, aws_sigv4, hmac, jwt";
    assert_eq!(error.hint.as_deref(), Some(kinds));
    let found = mistakes(&file("rate_limit: {}"));
    assert!(found[0].ends_with("'rate_limit': set requests or concurrency"), "{found:?}");
}

#[test]
fn a_key_without_its_unit_is_known() {
    let file = "connectors: {http: {connections: {a: {base_url: 'https://a.example', limits: {timeot: 3, memory: 1, cpu: 5}}}}}";
    let said = mistakes(file).join("\n");
    for meant in [
        "'timeot'; did you mean 'timeout_ms'?",
        "'memory'; did you mean 'memory_bytes'?",
        "'cpu'; did you mean 'cpu_ms'?",
    ] {
        assert!(said.contains(meant), "{meant}: {said}");
    }
}

#[test]
fn aliases_that_multiply_are_shown_where_they_do_most() {
    let mut file = "a: &a [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for (name, of) in ('b'..='i').zip('a'..) {
        file += &format!("{name}: &{name} [{}]\n", vec![format!("*{of}"); 9].join(", "));
    }
    assert_eq!(mistakes(&file), ["9:8 the aliases of this file expand to too much"]);
}

#[test]
fn a_secret_in_clear_is_warned_of_once_at_its_place() {
    let file = "connectors:
  http:
    connections:
      c:
        base_url: https://a.example
        defaults: {headers: {Accept: text/plain, Authorization: Bearer canary}}
    actions:
      a:
        connection: c
        method: GET
        path: /
        headers:
          X-Api-Key: [canary, canary]
          Cookie: '{{cookie}}'
        cookies: {sid: canary}
";
    let document = read(file);
    let said = document.warnings.join("\n");
    let places: Vec<_> = document.warnings.iter().map(|said| said.split(", which").next().unwrap()).collect();
    let start =
        |place: &str, what: &str| format!("{place}: the {what} looks like a secret and is kept in clear");
    assert!(!said.contains("canary") && said.contains("$secret"), "{said}");
    assert_eq!(places.len(), 3, "{said}");
    for (said, wanted) in places.iter().zip([
        start("c.yaml:6:50", "header 'Authorization'"),
        start("c.yaml:13:11", "header 'X-Api-Key'"),
        start("c.yaml:15:19", "cookie 'sid'"),
    ]) {
        assert!(said.starts_with(&wanted), "{wanted}: {said}");
    }
}

#[test]
fn a_json_schema_is_no_configuration_and_says_so_once() {
    let schema = r#"{"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "t", "properties": {}, "type": "object"}"#;
    assert_eq!(mistakes(schema), ["1:1 this is a JSON Schema, as editors read it, and no configuration"]);
}

#[test]
fn what_is_about_requests_is_refused_where_there_are_none() {
    let file = |connector: &str, connection: &str, action: &str| {
        format!(
            "connectors:\n  {connector}:\n    connections:\n      c: {{base_url: \"https://x\", {connection}}}\n    \
             actions:\n      a: {{connection: c, method: GET, path: /, {action}}}\n"
        )
    };
    for (connection, action, at) in [
        ("retry: {max_attempts: 2}", "", "'retry' is for requests over HTTP, and 'postgres' sends none"),
        ("retry_policy: {max_attempts: 2}", "", "'retry_policy' is for requests"),
        ("defaults: {http_policy: {max_total_headers: 5}}", "", "'http_policy' is for requests"),
        ("port: 1", "retry: {max_attempts: 2}", "'retry' is for requests"),
    ] {
        let found = mistakes(&file("postgres", connection, action));
        assert!(found.len() == 1 && found[0].contains(at), "{connection} {action} {found:#?}");
        read(&file("http", connection, action));
    }
    read(&file("postgres", "retry: null", "timeout: {connect_ms: 5}"));
}
