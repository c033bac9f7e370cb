//! The configuration files of this repository load, and every action in them runs.
//!
//! Invariant: no file is named here but the seeds' own; whoever adds one has it tested.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use openact::{ActionRecord, ErrorCode, Format, OpenAct, Tenant};
use serde_json::{Map, Value, json};
use support::{ca::pki, upstream::Upstream};

use crate::setup::{memory, request};

/// Every YAML, JSON and TOML file under a folder of the repository.
fn files(folder: &str) -> Vec<PathBuf> {
    fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            let extension = path.extension().and_then(|extension| extension.to_str());
            if path.is_dir() {
                collect(&path, found);
            } else if matches!(extension, Some("yaml" | "yml" | "json" | "toml"))
                && !path.ends_with("openact.schema.json")
            {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder), &mut found);
    found.sort();
    found
}

/// `text` with the scheme and authority of every URL replaced.
fn pointed_at(upstream: &str, text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = ["https://", "http://"].iter().filter_map(|scheme| rest.find(scheme)).min() {
        let (before, url) = rest.split_at(at);
        let authority = url.find("://").unwrap() + 3;
        let end = url[authority..].find(['/', '"', '\'', '}', ' ', ',', '\n', '?']);
        out.push_str(before);
        out.push_str(upstream);
        rest = end.map_or("", |end| &url[authority + end..]);
    }
    out + rest
}

/// An OpenAct with the file's configuration, all of whose variables are set.
async fn load(path: &Path, upstream: &str) -> OpenAct {
    let text = pointed_at(upstream, &fs::read_to_string(path).unwrap());
    let format = Format::of(path).unwrap();
    let upstream = upstream.to_owned();
    memory(&[])
        .env(move |name| match name {
            ours if ours.starts_with("OPENACT_") => None,
            url if url.ends_with("URL") => Some(upstream.clone()),
            ca if ca.ends_with("_CA_PEM") => Some(pki().ca.text.clone()),
            cert if cert.ends_with("_CERT_PEM") => Some(pki().client.cert.text.clone()),
            key if key.ends_with("_KEY_PEM") => Some(pki().client.key.text.clone()),
            port if port.ends_with("_PORT") => Some("1".into()),
            _ => Some("from-the-environment".into()),
        })
        .config_text(text, format)
        .build()
        .await
        .unwrap_or_else(|error| panic!("{}: {error:?}", path.display()))
}

/// An input that has whatever the action's path and schema ask for.
fn input(action: &ActionRecord) -> Value {
    let mut input = Map::new();
    let path = action.config.get("path").and_then(Value::as_str).unwrap_or_default();
    for part in path.split('{').skip(1) {
        input.insert(part.split('}').next().unwrap().to_owned(), "x".into());
    }
    let properties = action.config.get("input_schema").and_then(|schema| schema.get("properties"));
    for (name, schema) in properties.and_then(Value::as_object).into_iter().flatten() {
        let example = match schema.get("enum").or(schema.get("examples")).and_then(|values| values.get(0)) {
            Some(first) => first.clone(),
            None => match schema.get("default") {
                Some(default) => default.clone(),
                None => by_type(schema),
            },
        };
        input.insert(name.clone(), example);
    }
    Value::Object(input)
}

fn by_type(schema: &Value) -> Value {
    match schema.get("type").and_then(Value::as_str) {
        Some("integer" | "number") => schema.get("minimum").cloned().unwrap_or(json!(1)),
        Some("boolean") => json!(true),
        Some("object") => json!({}),
        Some("array") => json!([]),
        _ => json!("x"),
    }
}

/// What suits every action: a token endpoint's answer, and the last page of a list.
const ANSWER: &str = r#"{"ok": true, "access_token": "t", "token_type": "Bearer", "items": [1]}"#;

/// Connectors whose actions are run against real servers, in the modules of their names.
const ELSEWHERE: [&str; 5] = ["mcp", "mongodb", "mysql", "postgres", "redis"];

#[tokio::test]
async fn every_file_loads_and_every_action_runs() {
    let files = files("config");
    assert!(!files.is_empty(), "there are no files under config");
    for path in files {
        let upstream = Upstream::json(ANSWER).await;
        let openact = load(&path, &upstream.url()).await;
        let actions = openact.list_actions(&Tenant::default(), None, None).await.unwrap();
        assert!(!actions.is_empty(), "{}", path.display());
        if actions.iter().any(|action| ELSEWHERE.contains(&action.trn.connector.as_str())) {
            continue;
        }
        for action in &actions {
            let call = request(&action.trn.to_string(), input(action));
            let result = openact.execute(call).await.result;
            let result =
                result.unwrap_or_else(|error| panic!("{}: {}: {error:?}", path.display(), action.trn));
            let (field, expected) =
                if action.config.contains_key("pagination") { ("pages", 1) } else { ("status_code", 200) };
            assert_eq!(result.value().unwrap()[field], expected, "{}: {}", path.display(), action.trn);
        }
        let received = upstream.received();
        let asked = received.iter().filter(|request| !request.target.ends_with("/token"));
        assert_eq!(asked.count(), actions.len(), "{}", path.display());
    }
}

#[tokio::test]
async fn files_of_earlier_versions_load_unchanged() {
    let files = files("runtime/config/src/tests/earlier/files");
    assert!(files.len() > 5, "{files:?}");
    for path in files {
        let openact = load(&path, "https://api.example.com").await;
        let actions = openact.list_actions(&Tenant::default(), None, None).await.unwrap();
        assert!(!actions.is_empty(), "{}", path.display());
    }
}

#[tokio::test]
async fn the_seeds_file_is_the_one_of_the_documentation() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/connectors.yaml");
    let upstream = Upstream::json("{}").await;
    let openact = load(&path, &upstream.url()).await;
    openact.run("http/get-user", json!({})).await.unwrap();
    let received = upstream.received();
    assert_eq!(received[0].header("authorization"), ["Bearer from-the-environment"]);
    assert_eq!(received[0].header("accept"), ["application/vnd.github.v3+json"]);
    let unset = memory(&[]).config_file(&path).build().await.map(|_| ()).unwrap_err();
    assert_eq!(unset.code, ErrorCode::InvalidConfig);
    let place = unset.place.clone().expect("the place in the file");
    let line = fs::read_to_string(&path).unwrap().lines().nth(place.line - 1).unwrap().to_owned();
    assert!(unset.message.contains("GITHUB_TOKEN") && line.contains("${GITHUB_TOKEN}"), "{unset:?}: {line}");
}

/// The fields that `config/README.md` names under a heading, without those of other tables there.
fn documented(heading: &str) -> BTreeSet<String> {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/README.md");
    let text = fs::read_to_string(readme).unwrap();
    let (_, section) = text.split_once(&format!("### {heading}\n")).unwrap();
    let section = section.split("\n#").next().unwrap();
    let (_, table) = section.split_once("| field | type | default | since |\n|---|---|---|---|\n").unwrap();
    let rows = table.lines().take_while(|line| line.starts_with('|'));
    rows.map(|row| row.split('`').nth(1).unwrap().to_owned()).collect()
}

#[tokio::test]
async fn the_readme_names_every_field_of_the_http_connector_and_no_other() {
    let openact = memory(&[]).build().await.unwrap();
    let info = openact.connector_info(&"http".parse().unwrap()).await.unwrap();
    let manifest = serde_json::to_value(&*info.manifest).unwrap();
    let action = &manifest["operations"][0]["action_schema"];
    let resolved = |schema: &Value| -> Value {
        // A section is behind a reference, and may be null.
        let parts = schema["anyOf"].as_array().cloned().unwrap_or_else(|| vec![schema.clone()]);
        let reference = parts.iter().find_map(|part| part["$ref"].as_str()?.strip_prefix('#'));
        reference.map_or_else(|| schema.clone(), |pointer| action.pointer(pointer).unwrap().clone())
    };
    let fields = |schema: &Value| -> BTreeSet<String> {
        schema["properties"].as_object().unwrap().keys().cloned().collect()
    };
    let section = |name: &str| resolved(&action["properties"][name]);
    assert_eq!(documented("Own fields of a connection"), fields(&manifest["connection_schema"]));
    assert_eq!(documented("Own fields of an action"), fields(action));
    assert_eq!(documented("Own fields of `response`"), fields(&section("response")));
    assert_eq!(documented("Own fields of `pagination`"), fields(&section("pagination")));
}

/// The schema of what comes with OpenAct, as it is checked in.
#[tokio::test]
async fn the_schema_is_that_of_the_types_and_connectors_and_every_file_fits_it() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/schema/openact.schema.json");
    let schema = memory(&[]).build().await.unwrap().file_schema().await.unwrap();
    let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, &text).unwrap();
    }
    let hint = "config/schema/openact.schema.json is not what the types and connectors say: run this test with UPDATE=1";
    assert!(fs::read_to_string(&path).unwrap_or_default() == text, "{hint}");
    let schema = openact_core::schema::Schema::compile(&schema, "the schema of files").unwrap();
    let mut checked = 0;
    for path in files("config") {
        let text = fs::read_to_string(&path).unwrap();
        let value: Value = match path.extension().unwrap().to_str().unwrap() {
            "json" => serde_json::from_str(&text).unwrap(),
            "toml" => toml::from_str(&text).unwrap(),
            _ => serde_yaml::from_str(&text).unwrap(),
        };
        let found: Vec<_> =
            schema.mismatches(&value).into_iter().map(|m| format!("{}: {}", m.pointer, m.message)).collect();
        assert!(found.is_empty(), "{}: {found:#?}", path.display());
        checked += 1;
    }
    assert!(checked > 10, "{checked}");
}
