//! Rows of the schema of connections and tasks: every column, every case of the mapping, every kind of damage, and what
//! each task sent before.
//!
//! Invariant: what was sent is written down here by hand, from the facts about the earlier OpenAct, not computed.

use serde_json::{Value, json};

use super::database::{CANARY, Database, api_key, connection, encoded, task};

/// What a task that is carried sent: the action of today, and the request.
pub(super) struct Sent {
    pub(super) tenant: &'static str,
    pub(super) action: &'static str,
    pub(super) request: Value,
    /// The second of the two servers.
    pub(super) elsewhere: bool,
}

fn sent(action: &'static str, method: &str, path: &str, query: Value, headers: Value, body: Value) -> Sent {
    let request = json!({"method": method, "path": path, "query": query, "headers": headers, "body": body});
    Sent { tenant: "default", action, request, elsewhere: false }
}

/// A policy with every field, as the earlier program wrote it.
fn policy(more: Value) -> Value {
    let mut policy = json!({
        "denied_headers": ["host"], "reserved_headers": ["authorization"], "multi_value_append_headers": ["accept"],
        "drop_forbidden_headers": true, "normalize_header_names": true, "max_header_value_length": 100,
        "max_total_headers": 64, "allowed_content_types": [],
    });
    policy.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    policy
}

fn retry(count: u32) -> Value {
    json!({"max_retries": count, "base_delay_ms": 1, "max_delay_ms": 5, "backoff_multiplier": 1.5,
        "retry_status_codes": [503], "respect_retry_after": true})
}

const JSON: &str = "application/json";

/// Rows that are carried, and what they sent. `one` and `other` are two servers.
pub(super) async fn good(database: &Database, one: &str, other: &str) -> Vec<Sent> {
    let key = json!({"x-api-key": format!("{CANARY}-key")});
    let none = Value::Null;
    let mut all = Vec::new();
    let at = |path: &str| format!("{one}{path}");

    // Credentials.
    database.insert("connections", connection("qs", "api_key", api_key("X-API-Key"), json!({}))).await;
    database.insert("tasks", task("qs", "qs", "GET", &at("/get"), json!({}))).await;
    all.push(sent("http/qs@v1", "GET", "/get", json!([]), key.clone(), none.clone()));

    let nonce =
        json!({"auth_params_nonce": encoded("no-encryption"), "name": "Bearer, by name", "version": 4});
    database.insert("connections", connection("bearer", "api_key", api_key("Authorization"), nonce)).await;
    database.insert("tasks", task("bearer", "bearer", "GET", &at("/b"), json!({"name": "Shown as"}))).await;
    let bearer = json!({"authorization": format!("Bearer {CANARY}-key")});
    all.push(sent("http/bearer", "GET", "/b", json!([]), bearer, none.clone()));

    database.insert("connections", connection("inquery", "api_key", api_key("api_key"), json!({}))).await;
    database.insert("tasks", task("inquery", "inquery", "GET", &at("/q?x=1"), json!({}))).await;
    let query = json!([format!("api_key={CANARY}-key"), "x=1"]);
    all.push(sent("http/inquery", "GET", "/q", query, json!({}), none.clone()));

    database.insert("connections", connection("dash", "api_key", api_key("my-token"), json!({}))).await;
    database.insert("tasks", task("dash", "dash", "DELETE", &at("/d/1"), json!({}))).await;
    let dash = json!({"my-token": format!("{CANARY}-key")});
    all.push(sent("http/dash", "DELETE", "/d/1", json!([]), dash, none.clone()));

    let basic =
        json!({"basic_auth_parameters": {"username": "ann", "password": format!("${{PATH}}{CANARY}")}});
    database.insert("connections", connection("basic", "basic", basic, json!({}))).await;
    let body = json!({"request_body_json": {"n": 1.5, "deep": {"list": [null, true]}}});
    database.insert("tasks", task("basic", "basic", "PUT", &at("/basic"), body)).await;
    let credential = format!("Basic {}", encoded(&format!("ann:${{PATH}}{CANARY}")));
    let headers = json!({"authorization": credential, "content-type": JSON});
    let body = json!({"n": 1.5, "deep": {"list": [null, true]}});
    all.push(sent("http/basic", "PUT", "/basic", json!([]), headers, body));

    let client = json!({"oauth_parameters": {"client_id": "me", "client_secret": CANARY, "token_url": at("/token"),
        "scope": "a  b", "redirect_uri": "http://x", "use_pkce": true}});
    let unused = json!({"auth_ref": "trn:openact:default:auth/github-alice"});
    let kind = "oauth2_client_credentials";
    database.insert("connections", connection("cc", kind, client.clone(), unused)).await;
    database.insert("tasks", task("cc", "cc", "GET", &at("/cc"), json!({}))).await;
    let minted = json!({"authorization": "Bearer minted"});
    all.push(sent("http/cc", "GET", "/cc", json!([]), minted, none.clone()));

    let stored = json!({"auth_ref": "trn:openact:default:auth/github-alice"});
    database.insert("connections", connection("ac", "oauth2_authorization_code", client, stored)).await;
    database.insert("tasks", task("ac", "ac", "GET", &at("/ac"), json!({}))).await;
    let alice = json!({"authorization": format!("Bearer {CANARY}-access")});
    all.push(sent("http/ac", "GET", "/ac", json!([]), alice, none.clone()));

    defaults(database, one, &mut all).await;
    places(database, one, other, &mut all).await;
    policies(database, one, &mut all).await;
    names(database, one, &mut all).await;
    all
}

/// A connection's headers, parameters and body under those of its tasks.
async fn defaults(database: &Database, one: &str, all: &mut Vec<Sent>) {
    let at = |path: &str| format!("{one}{path}");
    let row = json!({
        "default_headers_json": [{"key": "X-A", "value": "old"}, {"key": "x-a", "value": "c"},
            {"key": "Accept", "value": "text/b, text/a,text/b"}, {"key": "Host", "value": "evil"},
            {"key": "X-Script", "value": "data:1"}],
        "default_query_params_json": [{"key": "v", "value": "1"}, {"key": "page", "value": "c"}],
        "default_body_json": [{"key": "source", "value": "c"}],
    });
    database.insert("connections", connection("defaults", "api_key", api_key("X-API-Key"), row)).await;
    let both = json!({"x-api-key": format!("{CANARY}-key"), "x-a": "c", "accept": "text/a, text/b"});
    let with = |more: Value| {
        let mut headers = both.clone();
        headers.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        headers
    };
    let typed = || with(json!({"content-type": JSON}));

    let own = json!({
        "headers_json": {"X-A": ["t"], "X-B": ["1", "2"], "x-same": ["s"], "Expect": ["100-continue"]},
        "query_params_json": {"page": ["t"], "tags": ["x", "y"]},
        "request_body_json": {"source": "t", "a": 1},
    });
    database.insert("tasks", task("over", "defaults", "POST", &at("/over"), own)).await;
    let headers = with(json!({"content-type": JSON, "x-b": "1, 2", "x-same": "s"}));
    let query = json!(["page=c", "tags=x,y", "v=1"]);
    all.push(sent("http/over", "POST", "/over", query, headers, json!({"source": "c", "a": 1})));

    let plain = json!(["page=c", "v=1"]);
    database.insert("tasks", task("bare", "defaults", "POST", &at("/bare"), json!({}))).await;
    all.push(sent("http/bare", "POST", "/bare", plain.clone(), typed(), json!({"source": "c"})));

    let list = json!({"request_body_json": [1, 2]});
    database.insert("tasks", task("list", "defaults", "POST", &at("/list"), list)).await;
    all.push(sent("http/list", "POST", "/list", plain.clone(), typed(), json!({"source": "c"})));

    database.insert("tasks", task("get", "defaults", "GET", &at("/get?page=7&page=8"), json!({}))).await;
    // The one thing that is not as before, and is reported: it had a body.
    let query = json!(["page=7", "page=8", "page=c", "v=1"]);
    all.push(sent("http/get", "GET", "/get", query, both.clone(), Value::Null));

    let ruled = json!({
        "headers_json": {"x-a": ["t"], "x-b": ["gone"], "x-long": ["l".repeat(101)], "content-type": ["text/x"]},
        "request_body_json": "\"text\"",
        "http_policy_json": policy(json!({"denied_headers": ["X-B"], "reserved_headers": ["x-a"],
            "allowed_content_types": ["text/y"], "multi_value_append_headers": []})),
    });
    database.insert("tasks", task("ruled", "defaults", "POST", &at("/ruled"), ruled)).await;
    let headers = with(json!({"content-type": JSON, "x-a": "t", "accept": "text/b, text/a,text/b"}));
    all.push(sent("http/ruled", "POST", "/ruled", plain, headers, json!({"source": "c"})));
}

/// Several hosts, credentials and networks over one connection.
async fn places(database: &Database, one: &str, other: &str, all: &mut Vec<Sent>) {
    let key = json!({"x-api-key": format!("{CANARY}-key")});
    database.insert("connections", connection("multi", "api_key", api_key("X-API-Key"), json!({}))).await;
    database.insert("tasks", task("first", "multi", "GET", &format!("{one}/1"), json!({}))).await;
    all.push(sent("http/first", "GET", "/1", json!([]), key.clone(), Value::Null));
    database.insert("tasks", task("second", "multi", "GET", &format!("{other}/2"), json!({}))).await;
    let second = sent("http/second", "GET", "/2", json!([]), key.clone(), Value::Null);
    all.push(Sent { elsewhere: true, ..second });
    let by_hand = json!({"headers_json": {"Authorization": [format!("Token {CANARY}-own")]}});
    database.insert("tasks", task("byhand", "multi", "GET", &format!("{one}/3"), by_hand)).await;
    let own = json!({"authorization": format!("Token {CANARY}-own")});
    all.push(sent("http/byhand", "GET", "/3", json!([]), own, Value::Null));
    let network = json!({"proxy_url": null, "tls": {"verify_peer": false, "ca_pem": null, "client_cert_pem": null,
        "client_key_pem": null, "server_name": null}});
    let network = json!({"network_config_json": network});
    database.insert("tasks", task("network", "multi", "GET", &format!("{one}/4"), network)).await;
    all.push(sent("http/network", "GET", "/4", json!([]), key, Value::Null));

    // The header of the connection came before its credential, which nobody could read any more.
    let direct = json!({"default_headers_json": [{"key": "Authorization", "value": format!("Bearer {CANARY}-direct")}],
        "auth_params_nonce": "lost"});
    database.insert("connections", connection("direct", "api_key", api_key("X-API-Key"), direct)).await;
    database.insert("tasks", task("direct", "direct", "GET", &format!("{one}/5"), json!({}))).await;
    let own = json!({"authorization": format!("Bearer {CANARY}-direct")});
    all.push(sent("http/direct", "GET", "/5", json!([]), own, Value::Null));
}

/// Timeouts, retries, networks, policies and responses.
async fn policies(database: &Database, one: &str, all: &mut Vec<Sent>) {
    let at = |path: &str| format!("{one}{path}");
    let key = json!({"x-api-key": format!("{CANARY}-key")});
    let pem: Vec<u8> = b"-----BEGIN CERTIFICATE-----".to_vec();
    let row = json!({
        "timeout_config_json": {"connect_ms": 5000, "read_ms": 90000, "total_ms": 4000},
        "retry_policy_json": retry(2),
        "network_config_json": {"proxy_url": null, "tls": {"verify_peer": true, "ca_pem": null,
            "client_cert_pem": pem, "client_key_pem": null, "server_name": "elsewhere.example"}},
        "http_policy_json": policy(json!({"denied_headers": ["x-debug"], "normalize_header_names": false})),
    });
    database.insert("connections", connection("rules", "api_key", api_key("X-API-Key"), row)).await;
    let own = json!({
        "timeout_config_json": {"connect_ms": 1, "read_ms": 1, "total_ms": 1},
        "network_config_json": {"proxy_url": "http://127.0.0.1:1", "tls": null},
        "headers_json": {"X-Debug": ["1"]},
        "response_policy_json": {"allow_binary": true, "max_body_bytes": 100_000},
    });
    database.insert("tasks", task("obeys", "rules", "GET", &at("/obeys"), own)).await;
    all.push(sent("http/obeys", "GET", "/obeys", json!([]), key.clone(), Value::Null));
    let own =
        json!({"retry_policy_json": retry(1), "request_body_json": {"type": "form", "fields": {"a": "b"}}});
    database.insert("tasks", task("posts", "rules", "POST", &at("/posts"), own)).await;
    let mut typed = key.clone();
    typed["content-type"] = JSON.into();
    let body = json!({"type": "form", "fields": {"a": "b"}});
    all.push(sent("http/posts", "POST", "/posts", json!([]), typed, body));
    // What is wrong with it can be spared, and is reported.
    let own =
        json!({"retry_policy_json": {"max_retries": 99}, "response_policy_json": {"max_body_bytes": "many"}});
    database.insert("tasks", task("spared", "qs", "GET", &at("/spared"), own)).await;
    all.push(sent("http/spared", "GET", "/spared", json!([]), key, Value::Null));
}

/// Tenants, versions, names, and text that would be a template today.
async fn names(database: &Database, one: &str, all: &mut Vec<Sent>) {
    let at = |path: &str| format!("{one}{path}");
    let key = json!({"x-api-key": format!("{CANARY}-key")});
    let acme = json!({"trn": "trn:openact:ACME:connection/crm@v3", "name": "CRM of Acme"});
    database.insert("connections", connection("", "api_key", api_key("X-API-Key"), acme)).await;
    let list = json!({"trn": "trn:openact:acme:task/list@v2", "connection_trn": "trn:openact:ACME:connection/crm@v3"});
    database.insert("tasks", task("", "", "GET", &at("/acme"), list)).await;
    let acme = sent("http/list@v2", "GET", "/acme", json!([]), key.clone(), Value::Null);
    all.push(Sent { tenant: "acme", ..acme });

    // Both are version 1 of one name today.
    let twin = json!({"trn": "trn:openact:default:connection/qs@v1"});
    database.insert("connections", connection("", "api_key", api_key("X-Twin"), twin)).await;
    database.insert("tasks", task("twin", "qs@v1", "GET", &at("/twin"), json!({}))).await;
    let other = json!({"x-twin": format!("{CANARY}-key")});
    all.push(sent("http/twin", "GET", "/twin", json!([]), other, Value::Null));

    let second = json!({"trn": "trn:openact:default:task/qs@v2"});
    database.insert("tasks", task("", "qs", "GET", &at("/second"), second)).await;
    all.push(sent("http/qs@v2", "GET", "/second", json!([]), key.clone(), Value::Null));

    database
        .insert("connections", connection("odd name/é", "api_key", api_key("X-API-Key"), json!({})))
        .await;
    let text = json!({
        "headers_json": {"X-T": ["{{a}} ${HOME} $${x} {b}"]},
        "query_params_json": {"q": ["{{a}}"], "e": [""]},
        "request_body_json": {"t": "{{a}} {{{b}}} ${HOME}", "{{k}}": ["{{a?}}"]},
    });
    let endpoint = at("/users/{id}/a%20b/../c?z={{y}}&w=${HOME}#part");
    database.insert("tasks", task("odd task!", "odd name/é", "POST", &endpoint, text)).await;
    let mut headers = key;
    headers["content-type"] = JSON.into();
    headers["x-t"] = "{{a}} ${HOME} $${x} {b}".into();
    let query = json!(["e=", "q={{a}}", "w=${HOME}", "z={{y}}"]);
    let body = json!({"t": "{{a}} {{{b}}} ${HOME}", "{{k}}": ["{{a?}}"]});
    all.push(sent("http/odd-task-", "POST", "/users/%7Bid%7D/c", query, headers, body));
}

/// Credentials and their history, good and bad.
pub(super) async fn credentials(database: &Database) {
    let (none, other) = ("no-encryption", encoded("no-encryption"));
    let row = |trn: &str, provider: &str, user: &str, token: &str, nonce: &str, more: Value| {
        let mut row = json!({"trn": format!("trn:openact:default:{trn}"), "tenant": "default", "provider": provider,
            "user_id": user, "access_token_encrypted": token, "access_token_nonce": nonce,
            "created_at": "2025-01-02 03:04:05", "updated_at": "2025-01-02 03:04:05"});
        row.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        row
    };
    let access = encoded(&format!("{CANARY}-access"));
    let more = json!({"refresh_token_encrypted": encoded(&format!("{CANARY}-refresh")), "refresh_token_nonce": none,
        "extra_data_encrypted": encoded(&format!("{{\"id_token\":\"{CANARY}\"}}")), "extra_data_nonce": other,
        "expires_at": "2100-01-01T00:00:00Z", "token_type": "bearer", "scope": "repo", "version": 7});
    let bad_refresh = json!({"refresh_token_encrypted": "%%%", "refresh_token_nonce": none});
    for row in [
        row("auth/github-alice", "github", "alice", &access, none, more),
        row(
            "auth_connection/Google/bob@example.com",
            "Google",
            "bob@example.com",
            &access,
            &other,
            bad_refresh,
        ),
        row("auth/slack-eve", "slack", "eve", "encrypted_placeholder", "nonce_placeholder", json!({})),
        row("token/cc", "token", "cc", &access, none, json!({})),
        row("auth/x-sealed", "x", "sealed", &access, "c2VhbGVkLW5vbmNl", json!({})),
        row("auth/x-when", "x", "when", &access, none, json!({"expires_at": "soon"})),
        row("auth/x-empty", "x", "empty", "", none, json!({})),
        row("auth/a b-c", "a b", "c", &access, none, json!({})),
    ] {
        database.insert("auth_connections", row).await;
    }
    let record = encoded(&json!({"access_token": format!("{CANARY}-before")}).to_string());
    for (trn, operation, nonce) in [
        ("auth/github-alice", "create", none),
        ("auth/github-alice", "update", none),
        ("auth/github-alice", "rename", none),
        ("auth/github-alice", "update", "other"),
        ("nothing", "create", none),
    ] {
        let trn = format!("trn:openact:default:{trn}");
        let row = json!({"trn": trn, "operation": operation, "new_data_encrypted": record, "new_data_nonce": nonce,
            "created_at": "2025-01-02 03:04:05", "reason": "it was so"});
        database.insert("auth_connection_history", row).await;
    }
}

/// Rows that cannot be carried: the end of the TRN, and the column that is said to be why.
pub(super) async fn bad(database: &Database, one: &str) -> Vec<(&'static str, Option<&'static str>)> {
    let key = || api_key("X-API-Key");
    let mut expected = Vec::new();
    for (id, kind, parameters, more, column) in [
        ("nonce", "api_key", key(), json!({"auth_params_nonce": "AAAA"}), "auth_params_encrypted"),
        ("version", "api_key", key(), json!({"key_version": 7}), "key_version"),
        ("base64", "api_key", key(), json!({"auth_params_encrypted": "%"}), "auth_params_encrypted"),
        ("text", "api_key", key(), json!({"auth_params_encrypted": encoded("{")}), "auth_params_encrypted"),
        ("other", "api_key", json!({"basic_auth_parameters": {}}), json!({}), "auth_params_encrypted"),
        (
            "half",
            "basic",
            json!({"basic_auth_parameters": {"username": "u"}}),
            json!({}),
            "auth_params_encrypted",
        ),
        ("kind", "kerberos", key(), json!({}), "authorization_type"),
        ("headers", "api_key", key(), json!({"default_headers_json": "[{"}), "default_headers_json"),
        (
            "pairs",
            "api_key",
            key(),
            json!({"default_query_params_json": [{"key": 1}]}),
            "default_query_params_json",
        ),
        ("retries", "api_key", key(), json!({"retry_policy_json": "7"}), "retry_policy_json"),
        (
            "proxy",
            "api_key",
            key(),
            json!({"network_config_json": {"proxy_url": "gopher://x"}}),
            "network_config_json",
        ),
        ("rule", "api_key", key(), json!({"http_policy_json": {"no_such_rule": true}}), "http_policy_json"),
        ("noref", "oauth2_authorization_code", key(), json!({}), "auth_ref"),
    ] {
        database.insert("connections", connection(id, kind, parameters, more)).await;
        database
            .insert("tasks", task(&format!("over-{id}"), id, "GET", &format!("{one}/x"), json!({})))
            .await;
        expected.push((format!("connection/{id}").leak() as &str, Some(column)));
        expected.push((format!("task/over-{id}").leak() as &str, None));
    }
    for (id, trn, column) in [
        ("notasks", "trn:openact:default:connection/notasks", None),
        ("shape", "connection shape", Some("trn")),
        ("tenant", "trn:openact:no_tenant:connection/tenant", Some("trn")),
    ] {
        database.insert("connections", connection(id, "api_key", key(), json!({"trn": trn}))).await;
        expected.push((trn, column));
    }
    bad_tasks(database, one, &mut expected).await;
    expected
}

async fn bad_tasks(database: &Database, one: &str, expected: &mut Vec<(&'static str, Option<&'static str>)>) {
    for (id, over, method, endpoint, more, column) in [
        ("orphan", "gone", "GET", "/x", json!({}), "connection_trn"),
        ("relative", "qs", "GET", "", json!({"api_endpoint": "/users"}), "api_endpoint"),
        ("userinfo", "qs", "GET", "", json!({"api_endpoint": "https://u:p@example.com/"}), "api_endpoint"),
        ("ftp", "qs", "GET", "", json!({"api_endpoint": "ftp://example.com/"}), "api_endpoint"),
        ("badheaders", "qs", "GET", "/x", json!({"headers_json": "{\"a\": 1}"}), "headers_json"),
        ("badquery", "qs", "GET", "/x", json!({"query_params_json": "no"}), "query_params_json"),
        ("badbody", "qs", "POST", "/x", json!({"request_body_json": "{"}), "request_body_json"),
        ("nomethod", "qs", "", "/x", json!({}), "method"),
        ("badmethod", "qs", "GE T", "/x", json!({}), "method"),
        ("foreign", "qs", "GET", "/x", json!({"trn": "trn:openact:acme:task/foreign"}), "connection_trn"),
    ] {
        database.insert("tasks", task(id, over, method, &format!("{one}{endpoint}"), more)).await;
        expected.push((format!("task/{id}").leak() as &str, Some(column)));
    }
    // Bytes that are no text.
    database.insert("tasks", task("bytes", "qs", "GET", &format!("{one}/x"), json!({}))).await;
    database.sql("UPDATE tasks SET headers_json = x'ff00ff' WHERE trn LIKE '%task/bytes'").await;
    expected.push(("task/bytes", Some("headers_json")));
}
