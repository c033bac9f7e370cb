//! The SDK from a connector author's side, natively.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

use openact_connector::{
    Call, Capability, Connector, Effect, Failure, Host, HostError, Json, Manifest, Operation, Request,
    Response,
    http::{CredentialUse, RedirectPolicy},
    log::Level,
    testing::{FakeHost, Invoke, check, describe},
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize, JsonSchema)]
struct Connection {
    #[schemars(url)]
    base_url: String,
    #[schemars(extend("writeOnly" = true))]
    #[expect(dead_code, reason = "a secret field is there for its schema: the connector is never given it")]
    secret: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Action {
    #[serde(default)]
    method: Method,
}

#[derive(Default, Deserialize, JsonSchema)]
enum Method {
    #[default]
    Get,
    Put,
}

#[derive(Deserialize, JsonSchema)]
struct Input {
    name: String,
}

struct Store;

impl Connector for Store {
    type Connection = Connection;

    fn manifest() -> Manifest<Connection> {
        let read = Operation::new("read", "read one", read);
        Manifest::new("store", "1.0.0", "a store")
            .needs(&[Capability::Http])
            .operation(read.effect(Effect::Read).idempotent().overridable(&["method"]).output::<Vec<u8>>())
            .operation(Operation::new("raw", "give the input back", |call: Call<_, Action, Json>, _| {
                Ok(call.input)
            }))
    }
}

fn read(call: Call<Connection, Action, Input>, host: &dyn Host) -> Result<Json, Failure> {
    let method = match call.action.method {
        Method::Get => "GET",
        Method::Put => "PUT",
    };
    host.log(Level::Info, &call.id, None);
    let url = format!("{}/{}", call.connection.base_url, call.input.name);
    host.send(Request::new(method, url))?.success()?.json()
}

fn invoke(operation: &'static str, action: Value, input: Value, host: &FakeHost) -> Result<Value, Failure> {
    Invoke { operation, connection: json!({"base_url": "https://h"}), action, input, dry_run: false }
        .on::<Store>(host)
}

#[test]
fn a_call_reaches_its_handler_with_everything_parsed() {
    let host = FakeHost::new().respond(200, &[], " [1, 2] ");
    assert_eq!(invoke("read", json!({"method": "Put"}), json!({"name": "n"}), &host).unwrap(), json!([1, 2]));
    let request = host.requests().remove(0);
    assert_eq!((request.method.as_str(), request.url.as_str()), ("PUT", "https://h/n"));
    assert_eq!((request.credential, request.redirects), (CredentialUse::Connection, RedirectPolicy::Manual));
    assert_eq!(host.lines(), [(Level::Info, "test".to_owned())]);
}

#[test]
fn each_part_that_does_not_parse_has_its_own_failure() {
    let host = FakeHost::new();
    assert!(
        matches!(invoke("read", json!({}), json!({}), &host), Err(Failure::InvalidInput(t)) if t.contains("name"))
    );
    assert!(matches!(
        invoke("read", json!({"x": 1}), json!({"name": ""}), &host),
        Err(Failure::InvalidConfig(_))
    ));
    assert!(
        matches!(invoke("write", json!({}), json!({}), &host), Err(Failure::Unsupported(t)) if t.contains("write"))
    );
    assert!(
        matches!(check::<Store>(&json!({}), &host), Err(Failure::InvalidConfig(t)) if t.contains("base_url"))
    );
    assert!(matches!(check::<Store>(&json!({"base_url": "x"}), &host), Err(Failure::Unsupported(_))));
    assert!(host.requests().is_empty());
}

#[test]
fn json_passes_through_unparsed() {
    assert_eq!(
        invoke("raw", json!({}), json!({"b": [1.0, null]}), &FakeHost::new()).unwrap(),
        json!({"b": [1.0, null]})
    );
    let json: Json = serde_json::from_str(r#" {"z": 1.10, "z": 12345678901234567890123} "#).unwrap();
    assert_eq!(json.as_str(), r#"{"z": 1.10, "z": 12345678901234567890123}"#);
    assert_eq!(Json::of(&vec![&json]).unwrap().as_str(), r#"[{"z": 1.10, "z": 12345678901234567890123}]"#);
}

#[test]
fn schemas_follow_from_the_types() {
    let manifest = describe::<Store>();
    assert_eq!((manifest.name.as_str(), manifest.default_operation.as_str()), ("store", "read"));
    assert_eq!(manifest.needs, [Capability::Http]);
    let schema = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let connection = schema(&manifest.connection_schema);
    assert_eq!(connection["properties"]["base_url"], json!({"type": "string", "format": "uri"}));
    assert_eq!(connection["properties"]["secret"]["writeOnly"], true);
    assert_eq!((&connection["$schema"], &connection["title"]), (&Value::Null, &Value::Null));
    let [read, raw] = manifest.operations.as_slice() else { panic!("two operations") };
    assert_eq!(schema(&read.action_schema)["properties"]["method"]["enum"], json!(["Get", "Put"]));
    assert_eq!(schema(&read.input_schema)["required"], json!(["name"]));
    assert_eq!(schema(read.output_schema.as_deref().unwrap())["type"], "array");
    assert_eq!(
        (read.effect, read.idempotent, read.overridable.as_slice()),
        (Effect::Read, true, ["method".into()].as_slice())
    );
    assert_eq!((raw.effect, raw.idempotent), (Effect::Write, false));
    // Anything at all is still a schema object, which is what a host can extend.
    assert_eq!(schema(&raw.input_schema), json!({}));
}

fn answer(status: u16, headers: &[(&str, &str)]) -> Result<Response, Failure> {
    FakeHost::new().respond(status, headers, "").send(Request::get("https://h")).unwrap().success()
}

#[test]
fn a_status_becomes_a_failure_where_it_is_one() {
    for fine in [200, 204, 302, 399] {
        assert_eq!(answer(fine, &[]).ok().map(|response| response.status), Some(fine));
    }
    assert!(matches!(answer(401, &[]), Err(Failure::Unauthenticated(_))));
    assert!(matches!(answer(403, &[]), Err(Failure::Unauthenticated(_))));
    assert!(matches!(answer(429, &[("retry-after", " 7 ")]), Err(Failure::RateLimited(Some(7000)))));
    assert!(matches!(
        answer(429, &[("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT")]),
        Err(Failure::RateLimited(None))
    ));
    for (status, retryable) in [(404, false), (500, true), (503, true), (501, false)] {
        let Err(Failure::Upstream(upstream)) = answer(status, &[]) else { panic!("{status}") };
        assert_eq!((upstream.code, upstream.retryable), (Some(status.to_string()), retryable));
    }
}

#[test]
fn a_body_in_parts_is_read_once() {
    let parts = || vec![b"a".to_vec(), b"b".to_vec(), b"c".to_vec()];
    let host = FakeHost::new().respond_in_parts(200, &[], parts()).respond_in_parts(200, &[], parts());
    let mut response = host.send(Request::get("https://h")).unwrap();
    assert_eq!(response.take_body().unwrap(), b"abc");
    assert_eq!(response.take_body().unwrap(), b"");
    let mut response = host.send(Request::get("https://h")).unwrap();
    let mut seen = vec![];
    while let Some(part) = response.read().unwrap() {
        seen.push(part);
    }
    assert_eq!(seen, parts());
}

#[test]
fn a_body_is_not_read_beyond_what_is_wanted() {
    let parts = || vec![b"ab".to_vec(), b"cd".to_vec(), b"ef".to_vec()];
    for (bytes_max, expected) in
        [(6, Some("abcdef")), (5, None), (4, None), (1, None), (u64::MAX, Some("abcdef"))]
    {
        let host = FakeHost::new().respond_in_parts(200, &[], parts());
        let mut response = host.send(Request::get("https://h")).unwrap();
        let body = response.take_body_within(bytes_max).unwrap();
        assert_eq!(body.as_deref(), expected.map(str::as_bytes), "{bytes_max}");
    }
}

#[test]
fn items_are_emitted_where_the_caller_takes_a_stream() {
    let item = Json::from_text("[1]".into());
    let host = FakeHost::new();
    assert!(matches!(host.emit(&item), Err(HostError::Unsupported(_))));
    assert!(host.emitted().is_empty());
    let host = host.streaming();
    host.emit(&item).unwrap();
    assert!(matches!(host.emit(&Json::from_text("[1".into())), Err(HostError::InvalidRequest(_))));
    assert_eq!(host.emitted(), [json!([1])]);
}

#[test]
fn a_fake_host_without_a_script_denies() {
    assert!(matches!(FakeHost::new().send(Request::get("https://h")), Err(HostError::Denied(_))));
}

#[test]
fn the_example_has_fifty_lines_at_most() {
    assert!(include_str!("../examples/fifty.rs").lines().count() <= 50);
}

#[test]
fn a_fake_host_keeps_values_as_the_real_one_does() {
    use openact_connector::state::{delete_by, get_by, set_if_by};
    let host = FakeHost::new().keep("a", "1");
    let get = |key: &str| get_by(&host, key).unwrap().map(|entry| (entry.value, entry.revision));
    assert_eq!((get("a"), get("b")), (Some((b"1".to_vec(), 1)), None));
    for (key, expected) in [("a", None), ("a", Some(7)), ("b", Some(1))] {
        assert!(matches!(set_if_by(&host, key, b"x", expected), Err(HostError::Conflict(_))), "{key}");
    }
    assert_eq!(set_if_by(&host, "a", b"2", Some(1)), Ok(2));
    assert_eq!((get("a"), host.kept("a")), (Some((b"2".to_vec(), 2)), Some(b"2".to_vec())));
    delete_by(&host, "a").unwrap();
    assert_eq!((get("a"), host.kept("a")), (None, None));
    assert!(matches!(set_if_by(&host, "a", b"3", Some(2)), Err(HostError::Conflict(_))));
    assert!(set_if_by(&host, "a", b"3", None).is_ok());
}
