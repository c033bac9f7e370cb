//! The fuzz targets: each takes any bytes and panics if a promise of S6 (or E4, E10) is broken.
//!
//! `make fuzz` lets libFuzzer look for such bytes; `it/fuzz_corpus.rs` replays what it starts from and what it found.
//! The bytes are lines of text as far as they can be, so that a person can read and write a case.
//!
//! Invariant: a target depends on nothing but its bytes, and reaches nothing but a server of its own on loopback.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, LazyLock},
};

use openact::{Builder, Door, ErrorCode, Execution, Format, OpenAct, Request, SecretsMode, Tenant};
use openact_config::{
    Context, Document, Export, read_text,
    template::{Base, Bases, Template},
    write,
};
use openact_connector::testing::describe;
use openact_core::{
    ConnectorName, JsonObject, Name, Timestamp, Version,
    action::{ActionParts, ActionRecord},
    connection::{ConnectionParts, ConnectionRecord, connection_schema},
    header_policy::{HeaderPolicy, is_host_owned, parse_headers},
    limits::{HTTP_HEADER_BYTES_MAX, HTTP_HEADERS_MAX},
    manifest::Manifest,
    schema::SchemaView,
    secret::{SecretRef, visit_secrets},
    trn::{RecordKind, RecordTrn},
};
use openact_http::{pairs::Pairs, variables::Variables};
use serde_json::{Value, json, value::RawValue};
use url::Url;

use crate::upstream::{Answer, Upstream};

/// A target.
pub type Target = fn(&[u8]);

/// Every target by its name, which is also that of its folders under `fuzz/corpus` and `fuzz/found`.
pub const TARGETS: [(&str, Target); 7] = [
    ("config", config),
    ("guest", guest),
    ("headers", headers),
    ("manifest", manifest),
    ("replies", crate::replies::replies),
    ("template", template),
    ("url", url),
];

/// What is kept of a target, in the order of the names: what fuzzing starts from, and what it found once.
pub fn cases(target: &str) -> Vec<PathBuf> {
    let mut cases = Vec::new();
    for folder in ["corpus", "found"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(folder).join(target);
        // Git keeps no empty folder.
        let entries = std::fs::read_dir(folder).into_iter().flatten();
        cases.extend(entries.map(|entry| entry.unwrap().path()));
    }
    cases.sort();
    cases
}

/// A configuration file: the first byte says its format (`y`, `j`, `t`) and, by its case, what becomes of `${VAR}` in a
/// secret's place. What loads, exports, and that loads again as the same.
pub fn config(data: &[u8]) {
    let Some((first, text)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let format = match first.to_ascii_lowercase() {
        b'j' => Format::Json,
        b't' => Format::Toml,
        _ => Format::Yaml,
    };
    let secrets = if first.is_ascii_uppercase() { SecretsMode::Reference } else { SecretsMode::Seal };
    let http = http_manifest();
    let _ = reads_back(text, format, secrets, &http);
}

/// The manifest of a connector, as JSON, and from a line `===` on a configuration file, as YAML: a manifest that is
/// accepted serves every file.
pub fn manifest(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (manifest, file) = text.split_once("\n===\n").unwrap_or((&text, ""));
    let Ok(manifest) = serde_json::from_str::<Manifest>(manifest) else { return };
    if let Ok(manifest) = manifest.validated() {
        let _ = reads_back(file, Format::Yaml, SecretsMode::Seal, &Arc::new(manifest));
    }
}

/// A template over `http`, and from a line `===` on a configuration file, as YAML: a template that is accepted is a connector
/// like others, and what it makes of a connection holds secrets in places of secrets alone and no `network` of its own.
pub fn template(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (text, file) = text.split_once("\n===\n").unwrap_or((&text, ""));
    let http = http_manifest();
    let base = |name: &ConnectorName| match *name == http.name {
        true => Base::Connector(http.clone()),
        false => Base::Unknown,
    };
    let connectors = [http.name.clone()];
    let template = match Template::read("fuzz", text, &Bases { base: &base, connectors: &connectors }) {
        Ok(template) => template,
        Err(error) => return assert_ne!(error.code, ErrorCode::Internal, "{error:?}"),
    };
    let manifest = Arc::new(template.manifest(&http).unwrap());
    let again = Template::read_again(text).unwrap();
    assert_eq!(template.to_json(), again.to_json());
    let _ = template.reaches(&http);
    let Some(document) = reads_back(file, Format::Yaml, SecretsMode::Seal, &manifest) else { return };
    for draft in &document.connections {
        let Some(mut made) = expanded(template.expand_connection(&draft.config, &http)) else { continue };
        assert_eq!(made.contains_key("network"), draft.config.contains_key("network"));
        // Data of the actions, in which a text like any other may look like a reference.
        let is_own = draft.config.contains_key("defaults");
        visit_secrets(&mut made, &SchemaView::new(&connection_schema(&http)), &mut |_, value| {
            *value = Value::Null
        });
        assert!(is_own || !Value::Object(made).to_string().contains("\"$secret\""), "{text}");
        for action in document.actions.iter().filter(|action| action.connection == draft.name) {
            let _ = expanded(template.expand(&action.config, &draft.config, &http));
        }
    }
}

/// What a template makes of records; where it makes nothing, that is the fault of those who wrote it or them.
fn expanded<T>(made: openact_core::Result<T>) -> Option<T> {
    made.inspect_err(|error| assert_ne!(error.code, ErrorCode::Internal, "{error:?}")).ok()
}

/// Base URL, path, query (`a=1&b=2`) and input, a line each: what is made of them stays below the base.
pub fn url(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut lines = text.splitn(4, '\n');
    let mut next = || lines.next().unwrap_or_default();
    let (base_url, path, query, input) = (next(), next(), next(), next());
    let pair = |pair: &str| {
        let (name, values) = pair.split_once('=').unwrap_or((pair, ""));
        (name.to_owned(), values.split(',').map(str::to_owned).collect())
    };
    let query = Pairs(query.split('&').filter(|query| !query.is_empty()).map(pair).collect());
    let input = if serde_json::from_str::<JsonObject>(input).is_ok() { input } else { "{}" };
    let input = openact_connector::Json::from_text(input.to_owned());
    let Ok(built) = openact_http::url::build(base_url, path, &query, &Variables::of(&input)) else { return };

    assert!(built.bytes().all(|byte| byte.is_ascii_graphic() || byte >= 0x80), "{built:?}");
    // A host that is none is told by the parser, which the runtime's own side has.
    let (base, built) = match (Url::parse(base_url), Url::parse(&built)) {
        (Ok(base), Ok(built)) => (base, built),
        (Err(_), Err(_)) => return,
        (base, parsed) => panic!("{base:?}, {built:?} is {parsed:?}"),
    };
    assert_eq!(origin(&base), origin(&built));
    assert_eq!(built.fragment(), None, "{built}");
    let (above, below) = (decoded(base.path().trim_end_matches('/')), decoded(built.path()));
    assert!(
        below.strip_prefix(&*above).is_some_and(|rest| rest.is_empty() || rest[0] == b'/'),
        "{base} {built}"
    );
}

/// Lines by their first byte: `D`enied, `R`eserved, `M`ultiple and `T`ypes are names of a policy, `L`ength and
/// `N`umber its bounds, `X` drops what is forbidden, `C` is `name:value` of the connection, and any other `name:value`
/// of the guest. In a value, 0x1e stands for a line break.
pub fn headers(data: &[u8]) {
    let mut policy = HeaderPolicy::default();
    let (mut own, mut asked) = (Vec::new(), Vec::new());
    for line in data.split(|byte| *byte == b'\n') {
        let Some((first, rest)) = line.split_first() else { continue };
        let text = String::from_utf8_lossy(rest).into_owned();
        match first {
            b'D' => policy.denied_headers.push(text),
            b'R' => policy.reserved_headers.push(text),
            b'M' => policy.multi_value_append_headers.push(text),
            b'T' => policy.allowed_content_types.push(text),
            b'L' => policy.max_header_value_length = text.parse().unwrap_or(rest.len()),
            b'N' => policy.max_total_headers = text.parse().unwrap_or(rest.len()),
            b'X' => policy.drop_forbidden_headers = true,
            b'C' => own.push(header(rest)),
            _ => asked.push(header(line)),
        }
    }
    let count = asked.len();
    let own = parse_headers(own).unwrap_or_default();
    let Ok(mut headers) = parse_headers(asked) else { return };
    assert!(headers.len() == count && count <= HTTP_HEADERS_MAX);
    let Ok(dropped) = policy.apply(&own, &mut headers) else { return };

    assert!(policy.drop_forbidden_headers || dropped.is_empty());
    assert!(headers.len() <= policy.max_total_headers);
    let is_in = |list: &[String], name: &str| list.iter().any(|other| other.eq_ignore_ascii_case(name));
    let mut bytes = 0;
    for (name, value) in &headers {
        let denied = is_in(&policy.denied_headers, name.as_str());
        assert!(!is_host_owned(name) && !denied && !dropped.contains(name), "{name}");
        assert!(value.len() <= policy.max_header_value_length);
        assert!(!value.as_bytes().iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)), "{value:?}");
        bytes += name.as_str().len() + value.len();
    }
    assert!(bytes <= HTTP_HEADER_BYTES_MAX);
    for name in own.keys().filter(|name| headers.contains_key(*name)) {
        let joined = is_in(&policy.multi_value_append_headers, name.as_str());
        if is_in(&policy.reserved_headers, name.as_str()) && !joined {
            assert!(headers.get_all(name).iter().eq(own.get_all(name)), "{name}");
        }
    }
    let again = headers.clone();
    assert!(policy.apply(&own, &mut headers).unwrap().is_empty());
    assert_eq!(headers, again);
}

/// A script of the guest `puppet`, after a byte that says how it is called: whatever it asks and answers, the call ends,
/// leaves a record, and is nobody's fault but the guest's.
pub fn guest(data: &[u8]) {
    static STAGE: LazyLock<Stage> = LazyLock::new(Stage::new);
    let (flags, script) = data.split_first().unwrap_or((&0, &[]));
    let script: String = script.iter().map(|byte| format!("{byte:02x}")).collect();
    STAGE.runtime.block_on(async {
        // Wide enough that nobody waits for the one who takes the items.
        let (items, mut taken) = tokio::sync::mpsc::channel(4096);
        let input = json!({ "script": script });
        let request = Request {
            dry_run: flags & 2 != 0,
            items: (flags & 1 != 0).then_some(items),
            ..Request::new(Door::Embedded, Tenant::default(), "puppet/play", input)
        };
        let Execution { result, run } = STAGE.openact.execute(request).await;
        let run = run.expect("a call that reached an action has a record");
        match result {
            Ok(result) => assert!(is_json(result.as_str()), "{result}"),
            Err(error) => {
                assert_ne!(error.code, ErrorCode::Internal, "{error:?}");
                assert_eq!(run.failure, Some((error.code, error.message.clone())));
            }
        }
        assert!(serde_json::to_string(&run.to_json()).is_ok());
        while let Ok(item) = taken.try_recv() {
            assert!(is_json(item.get()), "{item}");
        }
    });
}

/// Whether it is JSON; a number may be too large for ours.
fn is_json(text: &str) -> bool {
    serde_json::from_str::<Box<RawValue>>(text).is_ok()
}

fn header(line: &[u8]) -> (String, Vec<u8>) {
    let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
    let (name, value) = line.split_at(colon);
    let value = value.iter().skip(1).map(|byte| if *byte == 0x1e { b'\n' } else { *byte });
    (String::from_utf8_lossy(name).into_owned(), value.collect())
}

fn origin(url: &Url) -> (&str, &str, Option<&str>, Option<&str>, Option<u16>) {
    (url.scheme(), url.username(), url.password(), url.host_str(), url.port_or_known_default())
}

/// Percent-decoded: parsers differ in what they leave as it is.
fn decoded(path: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = path.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) if *first == b'%' => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    bytes
}

/// The http connector's, as the engine makes it of what the component says.
fn http_manifest() -> Arc<Manifest> {
    static MANIFEST: LazyLock<Arc<Manifest>> = LazyLock::new(|| {
        let raw = describe::<openact_http::Http>();
        let schema = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        let operation = |operation: &openact_connector::bindings::openact::connector::types::Operation| {
            json!({
                "name": operation.name, "summary": operation.summary, "overridable": operation.overridable,
                "action_schema": schema(&operation.action_schema), "input_schema": schema(&operation.input_schema),
                "output_schema": null, "effect": "write", "idempotent": operation.idempotent,
            })
        };
        let manifest = json!({
            "name": raw.name, "version": raw.version, "summary": raw.summary, "needs": ["http", "emit"],
            "connection_schema": schema(&raw.connection_schema), "default_operation": raw.default_operation,
            "operations": raw.operations.iter().map(operation).collect::<Vec<_>>(),
        });
        Arc::new(serde_json::from_value::<Manifest>(manifest).unwrap().validated().unwrap())
    });
    MANIFEST.clone()
}

/// Reads `text`, and if it is without mistakes, what it exports as: that has to say the same.
fn reads_back(
    text: &str,
    format: Format,
    secrets: SecretsMode,
    manifest: &Arc<Manifest>,
) -> Option<Document> {
    let connectors = [manifest.name.clone()];
    let context = Context {
        env: &variable,
        manifest: &|name: &ConnectorName| (*name == manifest.name).then(|| manifest.clone()),
        connectors: &connectors,
        secrets,
        made_of: &|_, _| Ok(()),
    };
    let document = match read_text("fuzz", text, format, &context) {
        Ok(document) => document,
        Err(error) => {
            assert_ne!(error.code, ErrorCode::Internal, "{error:?}");
            return None;
        }
    };
    for draft in &document.connections {
        let _ = ConnectionParts::of(&draft.config, manifest);
    }
    for draft in &document.actions {
        let _ = ActionParts::of(&draft.config);
    }
    let written = match write(&export(&document), format) {
        Ok(written) => written,
        // A merge key by another name: JSON has it as a key like others.
        Err(error) => {
            assert!(error.code == ErrorCode::InvalidConfig && format == Format::Yaml, "{error:?}");
            return Some(document);
        }
    };
    let again = match read_text("export", &written, format, &context) {
        Ok(again) => again,
        Err(error) => panic!("{error:?}\n{written}"),
    };
    assert_eq!(said(&document), said(&again), "\n{written}");
    Some(document)
}

/// Some variables are not set, some are URLs, numbers or not text, and one holds what looks like a variable.
fn variable(name: &str) -> Option<String> {
    match name.as_bytes() {
        [.., b'U', b'R', b'L'] => Some("https://api.example.com/v1".into()),
        [b'U', ..] => None,
        [b'N', ..] => Some("8443".into()),
        [b'B', ..] => Some("true".into()),
        [b'T', ..] => Some("${TRAP}".into()),
        _ => Some(format!("value-of-{name}")),
    }
}

fn export(document: &Document) -> Export {
    fn trn<K: RecordKind>(connector: &ConnectorName, name: &Name) -> RecordTrn<K> {
        RecordTrn::new(Tenant::default(), connector.clone(), name.clone(), Version::FIRST)
    }
    let (created_at, updated_at) = (Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH);
    let connections = document.connections.iter().map(|draft| ConnectionRecord {
        trn: trn(&draft.connector, &draft.name),
        config: draft.config.clone(),
        created_at,
        updated_at,
    });
    let actions = document.actions.iter().map(|draft| ActionRecord {
        trn: trn(&draft.connector, &draft.name),
        connection: trn(&draft.connector, &draft.connection),
        config: draft.config.clone(),
        mcp_enabled: draft.mcp_enabled,
        mcp_overrides: draft.mcp_overrides.clone(),
        created_at,
        updated_at,
    });
    Export { connections: connections.collect(), actions: actions.collect(), ..Export::default() }
}

/// Everything in a document, by name.
fn said(document: &Document) -> BTreeMap<String, Value> {
    let connections = document.connections.iter().map(|draft| {
        let mut config = draft.config.clone();
        // Data of the actions: what looks like a reference there is none.
        let defaults = config.shift_remove("defaults");
        (
            format!("connection {}/{}", draft.connector, draft.name),
            json!([unnamed(&Value::Object(config)), defaults]),
        )
    });
    let actions = document.actions.iter().map(|draft| {
        let rest = json!([draft.connection.as_str(), draft.config, draft.mcp_enabled, draft.mcp_overrides]);
        (format!("action {}/{}", draft.connector, draft.name), rest)
    });
    connections.chain(actions).collect()
}

/// The same with secrets that have no name: an export makes variables of them, which become secrets of their own.
fn unnamed(value: &Value) -> Value {
    match (SecretRef::from_json(value), value) {
        (Some(SecretRef::Stored(_) | SecretRef::Env(_)), _) => json!("a secret"),
        (_, Value::Array(items)) => items.iter().map(unnamed).collect(),
        (_, Value::Object(object)) => {
            Value::Object(object.iter().map(|(key, value)| (key.clone(), unnamed(value))).collect())
        }
        (_, other) => other.clone(),
    }
}

/// An OpenAct in memory with the guest `puppet`, and the one server it may reach.
struct Stage {
    runtime: tokio::runtime::Runtime,
    openact: OpenAct,
    _upstream: Upstream,
}

impl Stage {
    fn new() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (openact, upstream) = runtime.block_on(async {
            let upstream = Upstream::start_forgetful(|request| answer(&request.target)).await;
            let connection = json!({
                "base_url": upstream.url(), "authorization": {"type": "bearer", "token": "canary"},
                "timeout_ms": 5000, "limits": {"cpu_ms": 1000}, "http_policy": {"drop_forbidden_headers": true},
            });
            let config = json!({"connectors": {"puppet": {
                "connections": {"c": connection}, "actions": {"play": {"connection": "c"}},
            }}});
            let builder: Builder = crate::builder(Path::new("unused"), &[]);
            let openact = builder
                .store("sqlite::memory:")
                .instances_max(2)
                .connector_bytes(crate::guests::guest("puppet"))
                .config_text(config.to_string(), Format::Json)
                .build()
                .await
                .unwrap();
            (openact, upstream)
        });
        Self { runtime, openact, _upstream: upstream }
    }
}

/// What the server answers to `/to/LOCATION`, `/big`, `/broken`, `/odd` and anything else.
fn answer(target: &str) -> Answer {
    match target.split_once("/to/") {
        Some((_, location)) => Answer::full(307, &[("location", location)], ""),
        None if target.starts_with("/big") => Answer::full(200, &[], vec![b'x'; 600 * 1024]),
        None if target.starts_with("/broken") => Answer::Raw(b"HTTP/1.1 2OO what\r\n:\r\n\r\n".to_vec()),
        None if target.starts_with("/odd") => {
            let odd = [("content-encoding", "gzip"), ("set-cookie", "a=\u{ff}"), ("x-empty", "")];
            Answer::full(226, &odd, "not gzip")
        }
        None => Answer::Json(format!("{{\"asked\": {}}}", json!(target))),
    }
}
