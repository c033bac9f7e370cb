//! What a template may say, what is wrong with one, and what it makes of a configuration.

use serde_json::json;

use super::*;
use crate::fixture::manifest;

const GOOD: &str = r#"
name: acme
version: 1.2.0
description: Acme's API
extends: http
parameters:
  - { name: token, secret: true, required: true }
  - { name: team }
  - { name: region, enum: [eu, us], default: eu }
  - { name: base_url, format: uri, default: "https://{{region}}.acme.example" }
connection:
  base_url: "{{base_url}}"
  authorization: { type: bearer, token: "{{token}}" }
  timeout_ms: 5000
  defaults: { headers: { X-Team: "{{team?}}", X-From: "{{{{input}}" }, query: { v: "1" } }
operations:
  list:
    description: all of them
    effect: read
    method: GET
    path: /things
    query: { v: "2", limit: 10 }
    parameters: [{ name: limit, type: integer, required: true }]
"#;

fn read(text: &str) -> Result<Template> {
    let connectors: Vec<ConnectorName> = ["http", "postgres"].map(|name| name.parse().unwrap()).into();
    let base = |name: &ConnectorName| match name.as_str() {
        "http" | "postgres" => Base::Connector(Arc::new(manifest(name.as_str()))),
        "github" => Base::Template,
        _ => Base::Unknown,
    };
    Template::read("t.yaml", text, &Bases { base: &base, connectors: &connectors })
}

/// Every mistake, as `line:column message`.
fn mistakes(text: &str) -> Vec<String> {
    let error = read(text).unwrap_err();
    let show = |place: &str, message: &str| format!("{} {message}", place.trim_start_matches("t.yaml:"));
    match error.details.as_ref().and_then(|details| details.get("problems")) {
        Some(Value::Array(list)) => list
            .iter()
            .map(|one| show(one["place"].as_str().unwrap_or("?"), one["message"].as_str().unwrap()))
            .collect(),
        _ => vec![show(&error.place.as_ref().map(ToString::to_string).unwrap_or_default(), &error.message)],
    }
}

/// The one mistake of the good template with `from` replaced by `to`.
fn mistake(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    let found = mistakes(&GOOD.replacen(from, to, 1));
    assert_eq!(found.len(), 1, "{to}: {found:#?}");
    found[0].split_once(' ').unwrap().1.to_owned()
}

fn object(value: Value) -> JsonObject {
    value.as_object().cloned().unwrap()
}

fn expand(action: Value, connection: Value) -> Value {
    let expanded =
        read(GOOD).unwrap().expand(&object(action), &object(connection), &manifest("http")).unwrap();
    json!({"connection": expanded.connection, "action": expanded.action})
}

#[test]
fn a_connection_and_an_action_become_the_base_s_own() {
    let token = json!({"$secret": "connection/acme/c@v1#/token"});
    let base = json!({
        "base_url": "https://us.acme.example",
        "authorization": {"type": "bearer", "token": token},
        "timeout": {"total_ms": 5000},
        "defaults": {"headers": {"X-From": "{{input}}"}, "query": {"v": "1"}},
    });
    let connection = json!({"token": token, "region": "us"});
    assert_eq!(
        expand(json!({"path": "/own"}), connection.clone()),
        json!({"connection": base, "action": {"path": "/own"}})
    );
    let found = expand(json!({"operation": "list", "query": {"v": "3"}}), connection);
    assert_eq!(found["connection"]["defaults"]["query"], json!({"v": "2", "limit": 10}));
    assert_eq!(found["connection"]["defaults"]["path"], "/things");
    assert_eq!(found["action"]["query"], json!({"v": "3"}));
    assert_eq!(found["action"]["input_schema"]["required"], json!(["limit"]));
    assert!(found["action"].get("operation").is_none());
}

#[test]
fn what_a_connection_says_comes_before_the_template() {
    let found = expand(
        json!({}),
        json!({"token": "t", "base_url": "https://own.example", "timeout": {"total_ms": 9}, "team": "a",
            "defaults": {"headers": {"x-team": "b"}, "query": {"v": null}}, "network": {"allowed_hosts": ["https://x"]}}),
    );
    let connection = &found["connection"];
    assert_eq!(connection["base_url"], "https://own.example");
    assert_eq!(connection["timeout"], json!({"total_ms": 9}));
    assert_eq!(
        connection["defaults"],
        json!({"headers": {"X-From": "{{input}}", "x-team": "b"}, "query": {}})
    );
    assert_eq!(connection["network"], json!({"allowed_hosts": ["https://x"]}));
    let own = expand(json!({}), json!({"auth_ref": "acme/alice"}));
    assert!(
        own["connection"].get("authorization").is_none() && own["connection"]["auth_ref"] == "acme/alice"
    );
    let none = expand(json!({}), json!({"authorization": {"type": "none"}}));
    assert_eq!(none["connection"]["authorization"], json!({"type": "none"}));
}

#[test]
fn the_manifest_asks_for_the_parameters_and_seals_the_secret_ones() {
    use openact_core::schema::Schema;
    let manifest = read(GOOD).unwrap().manifest(&manifest("http")).unwrap();
    let names: Vec<_> = manifest.operations.iter().map(|operation| operation.name.as_str()).collect();
    assert_eq!(
        (names.as_slice(), manifest.default_operation.as_str()),
        (&["list", "request"][..], "request")
    );
    assert_eq!(manifest.operations[0].effect, Effect::Read);
    let view = SchemaView::new(&manifest.connection_schema);
    assert!(view.property("token").unwrap().is_write_only());
    assert!(!view.property("team").unwrap().is_write_only());
    let schema = Schema::compile(&manifest.connection_schema, "it").unwrap();
    for fits in
        [json!({"token": "t"}), json!({"auth_ref": "a/b"}), json!({"authorization": {"type": "none"}})]
    {
        assert!(schema.accepts(&fits), "{fits}");
    }
    for wrong in [json!({}), json!({"token": "t", "region": "mars"}), json!({"token": "t", "team": 1})] {
        assert!(!schema.accepts(&wrong), "{wrong}");
    }
}

#[test]
fn where_it_leads_is_told_with_what_is_left_open() {
    let base = manifest("http");
    assert_eq!(read(GOOD).unwrap().reaches(&base).unwrap(), ["https://eu.acme.example"]);
    let open = GOOD.replace(", default: eu", ", required: true");
    assert_eq!(read(&open).unwrap().reaches(&base).unwrap(), ["https://{{region}}.acme.example"]);
}

#[test]
fn a_mistake_names_what_was_meant() {
    for (from, to, message) in [
        ("extends: http", "extends: htpt", "there is no connector 'htpt'; did you mean 'http'?"),
        ("extends: http", "extends: github", "'github' is a template, and only a connector can be extended"),
        ("operations:", "extra: 1\noperations:", "unknown key 'extra'"),
        ("    method: GET", "    metod: GET", "unknown key 'metod'; did you mean 'method'?"),
        (
            "    method: GET",
            "    method: FETCH",
            "'method': the value is not one of \"GET\", \"POST\" or 2 other candidates",
        ),
        ("    query: {", "    query_params: {", "unknown key 'query_params'; did you mean 'query'?"),
        ("bearer, token", "bearer, tokn", "unknown key 'tokn'; did you mean 'token'?"),
        ("{{team?}}", "{{taem?}}", "there is no parameter 'taem'; did you mean 'team'?"),
        ("{{team?}}", "{{team}}", "'team' may be missing"),
        ("{{team?}}", "{{team?} {{team?}}", "'{{' begins no {{parameter}}"),
        ("{{team?}}", "{{token}} {{team?}}", "'token' is a secret, and this is no place of one"),
        ("name: team", "name: description", "'description' is a field that every connection has"),
        ("name: acme", "name: pg", "'pg' is another name of the connector 'postgres'"),
        ("  list:", "  request:", "'request' is an operation of 'http' itself"),
        ("default: eu", "default: mars", "the default of parameter 'region' does not fit it"),
        (
            "https://{{region}}",
            "ftp://{{region}}",
            "a URL of the connection is not an http or https URL with a host",
        ),
        ("v: \"1\"", "v: \"${HOME}\"", "a template does not read the environment"),
    ] {
        let found = match message.contains("taem") || to.contains("description") {
            // The one that is then used nowhere, or not there, is another.
            true => mistakes(&GOOD.replacen(from, to, 1)).join("\n"),
            false => mistake(from, to),
        };
        assert!(found.contains(message), "{to}: {found}");
    }
}

#[test]
fn every_mistake_is_told_at_once_with_its_place() {
    let text = GOOD
        .replace("version: 1.2.0", "version: 1.2")
        .replace("team }", "team, tpye: string }")
        .replace("type: integer", "type: int")
        .replace("path: /things", "path: 7");
    let found = mistakes(&text);
    assert_eq!(found.len(), 4, "{found:#?}");
    assert!(found[0].starts_with("3:10 'version': "), "{found:#?}");
    assert_eq!(found[1], "8:19 unknown key 'tpye'; did you mean 'type'?");
    assert!(found[2].starts_with("21:11 'path': "), "{found:#?}");
    assert!(found[3].starts_with("23:39 'type': "), "{found:#?}");
}

#[test]
fn c6_a_template_names_no_secret_and_grants_nothing() {
    let file = "{ $file: /etc/passwd }";
    for (from, to) in [
        ("\"{{token}}\"", "hunter2"),
        ("\"{{token}}\"", "{ $env: AWS_SECRET_ACCESS_KEY }"),
        ("\"{{token}}\"", file),
        ("\"{{token}}\"", "{ $secret: prod }"),
        ("\"{{token}}\"", "vault://secret/prod#/key"),
        ("\"{{token}}\"", "\"{{token}}{{token}}\""),
        ("secret: true, required: true", "secret: true, required: true, default: hunter2"),
        ("    method: GET", "    signature: { $env: KEY }"),
    ] {
        let found = mistakes(&GOOD.replacen(from, to, 1)).join("\n");
        assert!(found.contains("a template holds no secret"), "{to}: {found}");
        assert!(!found.contains("hunter2"), "{found}");
    }
    let plain = mistakes(&GOOD.replacen("secret: true, required", "required", 1)).join("\n");
    assert!(plain.contains("'token' goes to a place of a secret"), "{plain}");
    for (from, to) in [
        ("  timeout_ms: 5000", "  network: { allowed_hosts: [\"https://evil.example\"] }"),
        ("  timeout_ms: 5000", "  auth_ref: prod/alice"),
        ("query: { v: \"1\" } }", "network: { allow_private: [10.0.0.0/8] } }"),
        ("    method: GET", "    network: { proxy: \"http://evil.example\" }"),
    ] {
        assert!(mistake(from, to).ends_with("is for those who use a template to say"), "{to}");
    }
}

#[test]
fn a_caller_s_own_keys_are_no_parameters() {
    let mut base = manifest("http");
    base.operations[0].overridable = vec!["body".into()];
    let text = GOOD.replace("name: limit, type: integer", "name: body, type: string");
    let (base, connectors) = (Base::Connector(Arc::new(base)), []);
    let bases = Bases { base: &|_| base.clone(), connectors: &connectors };
    let error = Template::read("t.yaml", &text, &bases).unwrap_err();
    assert_eq!(error.message, "a caller sets the whole body of the request by 'body'");
}

#[test]
fn hostile_templates_are_errors() {
    let long = format!("{GOOD}# {}", "x".repeat(limits::TEMPLATE_BYTES_MAX));
    assert_eq!(read(&long).unwrap_err().code, openact_core::ErrorCode::LimitExceeded);
    let many: String =
        (0..=limits::TEMPLATE_OPERATIONS_MAX).map(|n| format!("  o{n}: {{ description: d }}\n")).collect();
    assert!(mistakes(&format!("{GOOD}{many}")).join("\n").contains("'operations'"));
    // Each default is twice the one before it.
    let doubling: String = (1..60)
        .map(|n| format!("  - {{ name: p{n}, default: \"{{{{p{0}}}}}{{{{p{0}}}}}\" }}\n", n - 1))
        .collect();
    let text = GOOD
        .replace(
            "parameters:\n",
            &format!("parameters:\n  - {{ name: p0, default: xxxxxxxxxxxxxxxx }}\n{doubling}"),
        )
        .replace("{{team?}}", "{{team?}}{{p59}}");
    let found = mistakes(&text).join("\n");
    assert!(found.contains("expand to too much"), "{found}");
    for text in ["", "[]", "a: 1", "name: x", "\0", "name: *x", "{{{{", "operations: 1\nparameters: {}"] {
        assert!(read(text).is_err(), "{text}");
    }
}

/// What becomes of the good template's connection with these parameters.
fn expanded(text: &str, said: Value) -> Result<JsonObject> {
    let mut config = json!({"token": {"$secret": "t"}});
    config.as_object_mut().unwrap().extend(said.as_object().unwrap().clone());
    read(text).unwrap().expand_connection(config.as_object().unwrap(), &manifest("http"))
}

#[test]
fn a_parameter_that_is_part_of_a_host_does_not_change_the_rest_of_it() {
    let in_default = GOOD.replace(", enum: [eu, us]", "");
    let outright = |url: &str| {
        let text = in_default.replace(
            "  - { name: base_url, format: uri, default: \"https://{{region}}.acme.example\" }\n",
            "",
        );
        text.replace("base_url: \"{{base_url}}\"", &format!("base_url: \"{url}\""))
    };
    for text in [&in_default, &outright("https://{{region}}.acme.example/v1")] {
        for wrong in
            ["https://evil.example/?", "https://evil.example", "http:evil.example#", "HTTPS://evil.example\\"]
        {
            let error = expanded(text, json!({ "region": wrong })).unwrap_err();
            assert_eq!(error.code, openact_core::ErrorCode::InvalidConfig);
            assert!(error.message.contains("'region'") && !error.message.contains("evil"), "{error}");
        }
    }
    for text in [&in_default, &outright("https://{{region}}.acme.example/v1")] {
        for wrong in [
            "evil.example/?",
            "evil.example#",
            "evil.example?",
            "a@evil",
            "a:1",
            "a\\",
            "a\n",
            ".a",
            "a.",
            "",
            "é",
            "%2f",
        ] {
            let error = expanded(text, json!({ "region": wrong })).unwrap_err();
            assert!(error.message.contains("'region'"), "{error}");
        }
        let good = expanded(text, json!({ "region": "eu-1.b" })).unwrap();
        assert!(good["base_url"].as_str().unwrap().starts_with("https://eu-1.b.acme.example"), "{good:?}");
    }
    // Of a whole host and of a path its user may say anything.
    for (url, default, value, full) in [
        ("{{region}}/api", "required: true, format: uri", "http://127.0.0.1:80", "http://127.0.0.1:80/api"),
        ("https://acme.example/{{region}}/v1", "default: eu", "a/b", "https://acme.example/a/b/v1"),
        ("https://acme.example:{{region}}", "default: \"1\"", "8080", "https://acme.example:8080"),
    ] {
        let text = outright(url).replace("default: eu", default);
        assert_eq!(expanded(&text, json!({ "region": value })).unwrap()["base_url"], full);
    }
}

#[test]
fn the_base_reads_nothing_in_what_a_parameter_holds() {
    let headers =
        "{ X-Team: \"{{team?}}\", X-Two: \"{{team?}}{{team?}}\", X-In: \"a {{team?}} {{{{input}}\" }";
    let text = GOOD
        .replace("{ X-Team: \"{{team?}}\", X-From: \"{{{{input}}\" }", headers)
        .replace("query: { v: \"1\" } }", "path: \"/{{team?}}/{id}\" }");
    let headers = |team: &str| expanded(&text, json!({ "team": team })).unwrap()["defaults"].clone();
    assert_eq!(
        headers("{{h}}"),
        json!({
            "headers": {"X-Team": "{{{{h}}", "X-Two": "{{{{h}}{{{{h}}", "X-In": "a {{{{h}} {{input}}"},
            "path": "/%7B%7Bh%7D%7D/{id}",
        })
    );
    let in_text = GOOD.replace("X-Team: \"{{team?}}\"", "X-Team: \"{{base_url}}, see\"");
    assert!(
        read(
            &in_text
                .replace(", default: \"https://{{region}}.acme.example\"", ", required: true")
                .replace("{{team?}}", "")
                .replace("  - { name: team }\n", "")
                .replace("timeout_ms: 5000", "description: \"{{region}}\"")
        )
        .is_ok()
    );
    // Neither of them alone has anything to expand.
    assert_eq!(headers("{")["headers"]["X-Two"], "{{{{");
    assert_eq!(headers("{")["headers"]["X-Team"], "{");
}
