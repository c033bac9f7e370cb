//! Import and export as each other's inverse, on documents nobody wrote: every kind of field, texts that mean something in a
//! format, references of every kind.
//!
//! Invariant: a database is compared by its records, and by whether the first document, read again, would change anything,
//! which compares the secrets by their values.

use openact::{
    ExposeSecret, Format, ImportOptions, OpenAct, SecretName, Tenant,
    age::{self, Identity, Keys, Recipient},
};
use proptest::{
    collection::{btree_map, vec},
    option,
    prelude::*,
    sample::select,
};
use serde_json::{Map, Value, json};

use super::content;
use crate::setup::memory;

const IDENTITY: &str = "AGE-SECRET-KEY-1NE2W9UNDAF8LZ2A7PNA3UQ3F0GXM5Y9UN8WA0WXAJKAFSNFE8RGQGENP98";
const RECIPIENT: &str = "age1fmxpfgu47s35hevvphh22tjnhja8t3rd6ffw63u2s7u3huvy0fyq8d6wqp";

/// Pieces that some format, or the substitution of variables, reads as more than text.
const PIECES: [&str; 31] = [
    "a", "Z9", " ", "\n", "\t", "\"", "'", "\\", "#", ": ", "- ", "{{x}}", "{", "]", "${", "$", "$${", "}",
    "~", "null", "true", "0x1F", "1e5", "=", "é", "😀", "\u{85}", "\u{2028}", "\u{feff}", "|", "&*!%@`",
];

fn text() -> impl Strategy<Value = String> {
    vec(select(&PIECES[..]), 0..6).prop_map(|pieces| pieces.concat())
}

fn word() -> impl Strategy<Value = String> {
    "[a-z][a-z0-9-]{0,6}[a-z0-9]"
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        word(),
        select(vec!["$null", "a b", "1", "true", "é", "a.b", "a/~b", "\"", "#x", ""]).prop_map(str::to_owned)
    ]
}

fn data() -> impl Strategy<Value = Value> {
    let number = prop_oneof![
        any::<i64>().prop_map(Value::from),
        any::<u32>().prop_map(Value::from),
        (-1e9..1e9_f64).prop_map(Value::from),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        number,
        text().prop_map(Value::from)
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            btree_map(key(), inner, 0..4).prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// What may stand in the place of a secret.
fn secret() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => text().prop_map(Value::from),
        1 => select(vec![
            json!({"$env": "T"}), json!({"$secret": "by-hand"}), json!({"$file": "/run/x"}), json!("vault://kv/app#/p"),
        ]),
    ]
}

fn authorization() -> impl Strategy<Value = Value> {
    let url = "https://id.example.com/token";
    prop_oneof![
        Just(json!({"type": "none"})),
        secret().prop_map(|token| json!({"type": "bearer", "token": token})),
        (secret(), word()).prop_map(|(value, header)| json!({"type": "api_key", "value": value, "header": header})),
        (text(), secret()).prop_map(|(user, password)| json!({"type": "basic", "username": user, "password": password})),
        (secret(), btree_map(key(), secret(), 0..3)).prop_map(move |(secret, parameters)| json!({
            "type": "oauth2_client_credentials", "token_url": url, "client_id": "i", "client_secret": secret,
            "token_parameters": parameters,
        })),
        (secret(), secret(), word()).prop_map(|(key, token, region)| json!({
            "type": "aws_sigv4", "access_key_id": "a", "secret_access_key": key, "session_token": token, "region": region,
            "service": "s",
        })),
    ]
}

/// Of fields that may be absent.
fn fields(of: Vec<(&'static str, BoxedStrategy<Value>)>) -> impl Strategy<Value = Map<String, Value>> {
    let (names, values): (Vec<_>, Vec<_>) =
        of.into_iter().map(|(name, value)| (name, option::of(value))).unzip();
    values.prop_map(move |values| {
        let there = names.iter().zip(values).filter_map(|(name, value)| Some(((*name).to_owned(), value?)));
        there.collect()
    })
}

fn sections() -> Vec<(&'static str, BoxedStrategy<Value>)> {
    vec![
        ("timeout", (1..60_000_u64).prop_map(|ms| json!({"connect_ms": ms})).boxed()),
        (
            "retry",
            select(vec![
                json!("background"),
                json!("none"),
                json!({"preset": "api_calls", "max_retries": 2}),
            ])
            .boxed(),
        ),
        (
            "limits",
            (1..500_u64, any::<bool>())
                .prop_map(|(rows, dry)| json!({"max_bytes": rows, "dry_run": dry}))
                .boxed(),
        ),
        ("http_policy", (0..5_u8).prop_map(|hops| json!({"max_redirects": hops})).boxed()),
    ]
}

fn headers() -> BoxedStrategy<Value> {
    let value =
        prop_oneof![Just(Value::Null), text().prop_map(Value::from), vec(text(), 1..3).prop_map(Value::from)];
    btree_map(word(), value, 0..3).prop_map(|pairs| json!(pairs)).boxed()
}

fn connection() -> impl Strategy<Value = Value> {
    let network = (secret(), secret()).prop_map(|(password, ca)| {
        json!({"proxy": {"url": "http://proxy:3128", "username": "u", "password": password}, "tls": {"ca": ca},
            "allowed_hosts": ["https://cdn.example.com"]})
    });
    let mut all = sections();
    all.extend([
        ("description", text().prop_map(Value::from).boxed()),
        ("authorization", authorization().boxed()),
        ("network", network.boxed()),
        ("rate_limit", (1..9_u8).prop_map(|requests| json!({"requests": requests})).boxed()),
        (
            "defaults",
            fields(vec![("headers", headers()), ("query", headers()), ("body", data().boxed())])
                .prop_map(Value::Object)
                .boxed(),
        ),
    ]);
    fields(all).prop_map(|mut connection| {
        connection.insert("base_url".into(), "https://api.example.com/v1".into());
        Value::Object(connection)
    })
}

fn action() -> impl Strategy<Value = Value> {
    let mcp = (any::<bool>(), text(), vec(text(), 0..3)).prop_map(
        |(enabled, description, tags)| json!({"enabled": enabled, "description": description, "tags": tags}),
    );
    let schema =
        data().prop_map(|default| json!({"type": "object", "properties": {"id": {"default": default}}}));
    let mut all = sections();
    all.extend([
        ("description", text().prop_map(Value::from).boxed()),
        ("method", select(vec![json!("POST"), json!("PUT")]).boxed()),
        ("path", select(vec![json!("/a/{id}"), json!("/{+key}?q={q}"), json!("")]).boxed()),
        ("headers", headers()),
        ("query", headers()),
        ("body", data().boxed()),
        ("input_schema", schema.boxed()),
        ("mcp", mcp.boxed()),
    ]);
    fields(all).prop_map(Value::Object)
}

/// A file of a connection or more, with actions over them, by connector or flat.
fn document() -> impl Strategy<Value = Value> {
    let connections = btree_map(word(), connection(), 1..4);
    (connections, btree_map(word(), (action(), any::<prop::sample::Index>()), 0..4), any::<bool>()).prop_map(
        |(mut connections, actions, flat)| {
            let names: Vec<String> = connections.keys().cloned().collect();
            let over = |(name, (mut action, index)): (String, (Value, prop::sample::Index))| {
                action["connection"] = index.get(&names).as_str().into();
                (name, action)
            };
            let actions: Map<String, Value> = actions.into_iter().map(over).collect();
            if flat {
                connections.values_mut().for_each(|connection| connection["kind"] = "http".into());
                return json!({"connections": connections, "actions": actions});
            }
            json!({"connectors": {"http": {"connections": connections, "actions": actions}}})
        },
    )
}

/// As a file says it: `${` begins a variable there.
fn escaped(value: &Value) -> Value {
    match value {
        Value::String(text) => text.replace("${", "$${").into(),
        Value::Array(items) => items.iter().map(escaped).collect(),
        Value::Object(members) => {
            Value::Object(members.iter().map(|(key, value)| (key.clone(), escaped(value))).collect())
        }
        other => other.clone(),
    }
}

/// An empty database but for the secret that no file brings.
async fn empty() -> OpenAct {
    let env = |name: &str| (!name.starts_with("OPENACT_")).then(|| format!("value of {name}"));
    let openact = memory(&[]).env(env).build().await.unwrap();
    let name: SecretName = "by-hand".parse().unwrap();
    openact.set_secret(&Tenant::default(), &name, &"by hand".into()).await.unwrap();
    openact
}

async fn import(openact: &OpenAct, text: &str, format: Format) -> Vec<String> {
    let plan = openact.import_text("f", text, format, &ImportOptions::default()).await;
    let plan = plan.unwrap_or_else(|error| panic!("{error:?}\n{text}"));
    plan.changes.iter().map(ToString::to_string).filter(|line| !line.starts_with('=')).collect()
}

async fn there_and_back(document: &Value) {
    let (tenant, text) = (Tenant::default(), escaped(document).to_string());
    let first = empty().await;
    assert!(!import(&first, &text, Format::Json).await.is_empty());
    let expected = content(&first).await;
    for format in [Format::Yaml, Format::Json, Format::Toml] {
        let exported = first.export(&tenant, &[], format).await.unwrap();
        let second = empty().await;
        import(&second, &exported, format).await;
        assert_eq!(content(&second).await, expected, "{format:?}: {exported}");

        let recipient: Recipient = RECIPIENT.parse().unwrap();
        let keys = Keys::Recipients(vec![recipient]);
        let sealed = first.export_with_secrets(&tenant, &[], format, keys).await.unwrap();
        let keys = Keys::Identities(Identity::read_all(IDENTITY).unwrap());
        let opened = age::decrypt(sealed.as_bytes(), &keys).unwrap();
        let third = empty().await;
        import(&third, opened.expose_secret(), format).await;
        assert_eq!(content(&third).await, expected, "{format:?}: {}", opened.expose_secret());
        let changed = import(&third, &text, Format::Json).await;
        assert!(changed.is_empty(), "{format:?}: {changed:?}: {}", opened.expose_secret());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_document_is_the_same_after_export_and_import(document in document()) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(there_and_back(&document));
    }
}
