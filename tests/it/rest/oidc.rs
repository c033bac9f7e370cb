//! Callers whom an OpenID provider vouches for (M2): a certified one, and one of the test's own, which signs what no real one
//! would.
//!
//! Invariant: each test has an issuer of its own, or asks the shared one for nothing that others would notice.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use openact::{Builder, Format, Governance, NewToken, OpenAct, RunFilter, Tenant, TokenScope};
use openact_server::{Listener, McpDoor, ServerSettings};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519};
use reqwest::Method;
use serde_json::{Value, json};
use support::{
    command::{openact as command, stderr},
    servers::{self, Oidc},
    upstream::{Answer, Received, Upstream},
};

use super::{Got, Served};
use crate::{
    logged::Logged,
    setup::{config, memory},
};

const AUDIENCE: &str = "urn:openact";
const METADATA: &str = "/.well-known/oauth-protected-resource";

/// A key of an issuer.
struct Signer {
    algorithm: Algorithm,
    key: EncodingKey,
    jwk: Value,
}

impl Signer {
    fn new(id: &str, algorithm: Algorithm) -> Self {
        let pair = KeyPair::generate_for(match algorithm {
            Algorithm::ES256 => &PKCS_ECDSA_P256_SHA256,
            _ => &PKCS_ED25519,
        });
        let pair = pair.unwrap();
        let (der, public) = (pair.serialize_der(), pair.public_key_raw());
        let encoded = |part: &[u8]| BASE64URL.encode(part);
        let (key, jwk) = match algorithm {
            // An uncompressed point: 4, x, y.
            Algorithm::ES256 => {
                let (x, y) = (encoded(&public[1..33]), encoded(&public[33..]));
                (
                    EncodingKey::from_ec_der(&der),
                    json!({"kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": id}),
                )
            }
            _ => {
                let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": encoded(public), "kid": id});
                (EncodingKey::from_ed_der(&der), jwk)
            }
        };
        Self { algorithm, key, jwk }
    }

    fn header(&self) -> Header {
        let kid = self.jwk["kid"].as_str().map(str::to_owned);
        Header { kid, typ: Some("at+jwt".into()), ..Header::new(self.algorithm) }
    }

    fn token(&self, claims: &Value) -> String {
        encode(&self.header(), claims, &self.key).unwrap()
    }
}

/// An issuer whose keys and claims are the test's.
struct Issuer {
    upstream: Upstream,
    keys: Arc<Mutex<Vec<Value>>>,
    is_down: Arc<AtomicBool>,
    signer: Signer,
}

impl Issuer {
    async fn start() -> Self {
        let signer = Signer::new("first", Algorithm::ES256);
        let keys = Arc::new(Mutex::new(vec![signer.jwk.clone()]));
        let is_down = Arc::new(AtomicBool::new(false));
        let (of_keys, down) = (keys.clone(), is_down.clone());
        let upstream = Upstream::start(move |request: &Received| {
            let url = format!("http://{}", request.header("host")[0]);
            match request.target.as_str() {
                _ if down.load(Ordering::SeqCst) => Answer::Raw(Vec::new()),
                "/.well-known/openid-configuration" => {
                    Answer::Json(json!({"issuer": url, "jwks_uri": format!("{url}/keys")}).to_string())
                }
                "/keys" => Answer::Json(json!({"keys": *of_keys.lock().unwrap()}).to_string()),
                _ => Answer::full(404, &[], ""),
            }
        });
        Self { upstream: upstream.await, keys, is_down, signer }
    }

    fn reads(&self) -> usize {
        self.upstream.received().iter().filter(|request| request.target == "/keys").count()
    }

    /// What a caller who may run actions has.
    fn claims(&self, more: Value) -> Value {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let mut claims = json!({
            "iss": self.upstream.url(), "sub": "alice", "aud": AUDIENCE, "iat": now, "exp": now + 600,
            "scope": "openact:run",
        });
        claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        claims
    }

    fn token(&self, more: Value) -> String {
        self.signer.token(&self.claims(more))
    }

    /// A server whose callers it vouches for, with the actions `http/get` and `http/remove`.
    async fn served(&self) -> (Upstream, Served) {
        let upstream = Upstream::json(r#"{"login": "octocat"}"#).await;
        let openact = over(&upstream).oidc(self.upstream.url(), AUDIENCE).build().await.unwrap();
        (upstream, Served::start(openact, settings()).await)
    }
}

fn over(upstream: &Upstream) -> Builder {
    let mcp = json!({"enabled": true});
    let actions = json!({
        "get": {"path": "/user", "mcp": mcp},
        "remove": {"path": "/user", "method": "DELETE", "mcp": mcp},
    });
    memory(&[]).config_text(config("http", json!({"base_url": upstream.url()}), actions), Format::Json)
}

fn settings() -> ServerSettings {
    ServerSettings { mcp: Some(McpDoor::default()), ..ServerSettings::default() }
}

async fn send(served: &Served, token: &str, method: Method, path: &str, body: Option<Value>) -> Got {
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    served.send(method, path, &headers, body.map(|body| body.to_string()).as_deref()).await
}

async fn get(served: &Served, token: &str) -> Got {
    send(served, token, Method::GET, "/api/v1/actions", None).await
}

async fn execute(served: &Served, token: &str, action: &str) -> Got {
    let path = format!("/api/v1/actions/http.{action}/execute?version=1");
    send(served, token, Method::POST, &path, Some(json!({"input": {}}))).await
}

/// A call of `openact.execute`; status and answer.
async fn execute_by_mcp(served: &Served, token: &str, action: &str) -> Got {
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let arguments = json!({"connector": "http", "action": action, "version": 1, "input": {}});
    let params = json!({"name": "openact.execute", "arguments": arguments, "_meta": meta});
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
    let bearer = format!("Bearer {token}");
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", "openact.execute"),
    ];
    served.send(Method::POST, "/mcp", &headers, Some(&message.to_string())).await
}

#[track_caller]
fn challenge(got: &Got) -> &str {
    got.headers["www-authenticate"].to_str().unwrap()
}

/// A JWT of the certified provider.
async fn provided(scope: &str, resource: &str) -> String {
    let form = format!("grant_type=client_credentials&scope={scope}&resource={resource}");
    let response = reqwest::Client::new()
        .post(&servers::oidc().token_url)
        .basic_auth(Oidc::CLIENT.0, Some(Oidc::CLIENT.1))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form)
        .send();
    let text = response.await.unwrap().text().await.unwrap();
    let answer: Value = serde_json::from_str(&text).unwrap();
    answer["access_token"].as_str().unwrap_or_else(|| panic!("{text}")).to_owned()
}

#[tokio::test]
async fn m2_a_token_of_a_certified_provider_works_over_rest_and_mcp_and_goes_no_further() {
    let logged = Logged::start();
    let provider = tokio::task::spawn_blocking(servers::oidc).await.unwrap();
    let upstream = Upstream::json(r#"{"login": "octocat"}"#).await;
    let openact = over(&upstream).oidc(&provider.issuer, AUDIENCE).build().await.unwrap();
    let served = Served::start(openact, settings()).await;
    let token = provided("openact:run", AUDIENCE).await;
    assert!(token.starts_with("eyJ") && token.split('.').count() == 3, "not a JWT");
    let ran = execute(&served, &token, "get").await;
    assert_eq!(ran.data()["result"]["body"]["login"], "octocat");
    let called = execute_by_mcp(&served, &token, "get").await;
    assert_eq!(called.json["result"]["structuredContent"]["body"]["login"], "octocat", "{}", called.text);
    let other = provided("openact:run", "urn:other").await;
    get(&served, &other).await.error(401, "UNAUTHENTICATED");
    execute_by_mcp(&served, &other, "get").await.error(401, "UNAUTHENTICATED");
    // Opaque: nothing but the provider can tell what it is.
    get(&served, &provided("api.read", "urn:api").await).await.error(401, "UNAUTHENTICATED");

    let runs = served.openact.list_runs(&Tenant::default(), 10, &RunFilter::default()).await.unwrap();
    let said = format!("{runs:?} {} {} {:?}", ran.text, called.text, upstream.received());
    assert_eq!((runs.len(), upstream.received().len()), (2, 2));
    let logs = logged.text();
    assert!(logs.contains("127.0.0.1"), "the log is not of this");
    for token in [&token, &other] {
        for part in token.split('.') {
            assert!(!said.contains(part) && !logs.contains(part), "a part of a token went on: {part}");
        }
    }
}

#[tokio::test]
async fn m2_what_is_not_quite_right_is_refused_and_says_why() {
    let issuer = Issuer::start().await;
    let (upstream, served) = issuer.served().await;
    let now = issuer.claims(json!({}))["iat"].as_i64().unwrap();
    get(&served, &issuer.token(json!({}))).await.data();
    get(&served, &issuer.token(json!({"aud": ["urn:a", AUDIENCE]}))).await.data();
    get(&served, &issuer.token(json!({"exp": now - 5, "nbf": now + 5}))).await.data();
    let url = issuer.upstream.url();
    for (claims, why) in [
        (json!({"aud": "urn:other"}), "another audience"),
        (json!({"aud": ["urn:openact2", "openact"]}), "another audience"),
        (json!({"aud": null}), "lacks"),
        (json!({"iss": "https://login.example"}), "another issuer"),
        (json!({"iss": format!("{url}/")}), "another issuer"),
        (json!({"iss": [url.clone()]}), "claims cannot be read"),
        (json!({"iss": null}), ""),
        (json!({"exp": now - 60}), "it is over"),
        (json!({"exp": null}), "lacks"),
        (json!({"exp": "never"}), ""),
        (json!({"nbf": now + 60}), "not valid yet"),
        (json!({"nbf": "later"}), "claims cannot be read"),
        (json!({"sub": null}), ""),
        (json!({"sub": ""}), "subject"),
        (json!({"sub": "x".repeat(256)}), "subject"),
        (json!({"at_hash": "x"}), "not an access token"),
        (json!({"typ": "ID"}), "not an access token"),
        (json!({"token_use": "id"}), "not an access token"),
        (json!({"cnf": {"jkt": "x"}}), "bound to a key"),
    ] {
        let got = get(&served, &issuer.token(claims.clone())).await;
        let message = got.error(401, "UNAUTHENTICATED")["message"].as_str().unwrap();
        assert!(message.contains(why), "{claims}: {message}");
        assert!(challenge(&got).contains("error=\"invalid_token\""), "{got:?}");
    }
    let typed = |typ: &str| {
        let header = Header { typ: Some(typ.into()), ..issuer.signer.header() };
        encode(&header, &issuer.claims(json!({})), &issuer.signer.key).unwrap()
    };
    get(&served, &typed("JWT")).await.data();
    get(&served, &typed("logout+jwt")).await.error(401, "UNAUTHENTICATED");
    let critical = Header { crit: Some(vec!["exp".into()]), ..issuer.signer.header() };
    let critical = encode(&critical, &issuer.claims(json!({})), &issuer.signer.key).unwrap();
    get(&served, &critical).await.error(401, "UNAUTHENTICATED");
    let long = issuer.token(json!({"more": "x".repeat(16 * 1024)}));
    get(&served, &long).await.error(401, "UNAUTHENTICATED");
    assert!(upstream.received().is_empty());
}

#[tokio::test]
async fn m2_only_the_issuers_key_signs_and_only_by_its_own_algorithm() {
    let issuer = Issuer::start().await;
    let (_upstream, served) = issuer.served().await;
    let claims = issuer.claims(json!({}));
    let good = issuer.token(json!({}));
    get(&served, &good).await.data();
    // Another key by the same name.
    get(&served, &Signer::new("first", Algorithm::ES256).token(&claims)).await.error(401, "UNAUTHENTICATED");
    get(&served, &Signer::new("first", Algorithm::EdDSA).token(&claims)).await.error(401, "UNAUTHENTICATED");
    // Nothing, or a secret that everybody knows: the public key, in each of its forms.
    let part = |value: &Value| BASE64URL.encode(value.to_string());
    for algorithm in ["none", "None", "NONE"] {
        let header = json!({"alg": algorithm, "typ": "JWT", "kid": "first"});
        let unsigned = format!("{}.{}.", part(&header), part(&claims));
        get(&served, &unsigned).await.error(401, "UNAUTHENTICATED");
        let signature = good.rsplit('.').next().unwrap();
        get(&served, &format!("{unsigned}{signature}")).await.error(401, "UNAUTHENTICATED");
    }
    let jwk = &issuer.signer.jwk;
    let point = ["x", "y"].map(|half| BASE64URL.decode(jwk[half].as_str().unwrap()).unwrap()).concat();
    for secret in [point.clone(), [vec![4], point].concat(), jwk.to_string().into_bytes()] {
        let header = Header { alg: Algorithm::HS256, ..issuer.signer.header() };
        let forged = encode(&header, &claims, &EncodingKey::from_secret(&secret)).unwrap();
        get(&served, &forged).await.error(401, "UNAUTHENTICATED");
    }
    // Other claims under a good signature; a signature cut short.
    let parts: Vec<&str> = good.split('.').collect();
    let others = part(&issuer.claims(json!({"scope": "openact:manage"})));
    for forged in [
        format!("{}.{others}.{}", parts[0], parts[2]),
        format!("{}.{}.{}", parts[0], parts[1], &parts[2][..40]),
        format!("{}.{}.", parts[0], parts[1]),
    ] {
        get(&served, &forged).await.error(401, "UNAUTHENTICATED");
    }
    // A key in the token is nobody's but the forger's.
    let forger = Signer::new("forger", Algorithm::ES256);
    let jwk = serde_json::from_value(forger.jwk.clone()).unwrap();
    let header = Header { jwk: Some(jwk), jku: Some(issuer.upstream.url()), ..forger.header() };
    let forged = encode(&header, &claims, &forger.key).unwrap();
    get(&served, &forged).await.error(401, "UNAUTHENTICATED");
}

#[tokio::test]
async fn m2_a_flood_of_unknown_keys_is_none_at_the_issuer() {
    let issuer = Issuer::start().await;
    let (_upstream, served) = issuer.served().await;
    let claims = issuer.claims(json!({}));
    let stranger = Signer::new("stranger", Algorithm::EdDSA);
    for n in 0..300 {
        let header = Header { kid: Some(format!("key-{n}")), ..stranger.header() };
        let token = encode(&header, &claims, &stranger.key).unwrap();
        get(&served, &token).await.error(401, "UNAUTHENTICATED");
    }
    // One at the start, one for the first of them, and one more for each five seconds that this machine was busy.
    assert!(issuer.reads() < 30, "{} reads", issuer.reads());
    get(&served, &issuer.token(json!({}))).await.data();
}

#[tokio::test]
async fn m2_a_new_key_is_known_when_its_first_token_comes() {
    let issuer = Issuer::start().await;
    let (_upstream, served) = issuer.served().await;
    get(&served, &issuer.token(json!({}))).await.data();
    let second = Signer::new("second", Algorithm::EdDSA);
    *issuer.keys.lock().unwrap() = vec![second.jwk.clone()];
    get(&served, &second.token(&issuer.claims(json!({})))).await.data();
    assert_eq!(issuer.reads(), 2);
    get(&served, &issuer.token(json!({}))).await.error(401, "UNAUTHENTICATED");
}

#[tokio::test]
async fn m6_a_caller_manages_by_scope_alone() {
    let issuer = Issuer::start().await;
    let (upstream, home) = (Upstream::json("{}").await, tempfile::tempdir().unwrap());
    // In a file: a database in memory has no audit log.
    let file = format!("sqlite://{}", home.path().join("test.db").display());
    let builder = over(&upstream).store(file).key_file(home.path().join("master.key"));
    let openact = builder.oidc(issuer.upstream.url(), AUDIENCE).build().await.unwrap();
    let served = Served::start(openact, settings()).await;
    let secret = Some(json!({"name": "a", "value": "b"}));
    for scope in [json!({"scope": "openact:run email"}), json!({"scope": null, "scp": ["openact:run"]})] {
        let run = issuer.token(scope);
        execute(&served, &run, "get").await.data();
        let got = send(&served, &run, Method::POST, "/api/v1/secrets", secret.clone()).await;
        assert!(got.error(403, "FORBIDDEN")["hint"].as_str().unwrap().contains("openact:manage"));
        let said = challenge(&got);
        assert!(said.contains("error=\"insufficient_scope\", scope=\"openact:manage\""), "{said}");
        assert!(said.contains("resource_metadata="), "{said}");
    }
    let manage = issuer.token(json!({"scope": "openact:manage"}));
    send(&served, &manage, Method::POST, "/api/v1/secrets", secret).await.data();
    execute(&served, &manage, "get").await.data();
    let audit = send(&served, &manage, Method::GET, "/api/v1/audit", None).await;
    assert!(audit.text.contains("\"oidc:alice\""), "{}", audit.text);
    // What is every tenant's is not for who is bound to some: tokens, nor what the log says of them.
    let elsewhere = TokenScope { tenants: Some(vec!["elsewhere".parse().unwrap()]), ..TokenScope::default() };
    let mut texts = Vec::new();
    for (name, scope) in [("of-others", elsewhere), ("root", TokenScope::default())] {
        let scope = TokenScope { may_manage: true, ..scope };
        let new = NewToken { name: name.into(), scope, expires_at: None };
        let (_, text) = served.openact.create_token(new).await.unwrap();
        texts.push(openact::ExposeSecret::expose_secret(&text).to_owned());
    }
    for (caller, is_told) in [(&manage, false), (&texts[0], false), (&texts[1], true)] {
        let audit = send(&served, caller, Method::GET, "/api/v1/audit", None).await;
        audit.data();
        assert_eq!(audit.text.contains("of-others"), is_told, "{}", audit.text);
    }
    let token = Some(json!({"name": "more"}));
    send(&served, &manage, Method::POST, "/api/v1/tokens", token).await.error(403, "FORBIDDEN");
    for scope in [
        json!({"scope": "openid email"}),
        json!({"scope": ""}),
        json!({"scope": null}),
        json!({"scope": 5}),
        json!({"scope": "openact:runs OPENACT:RUN openact:run,openact:manage"}),
    ] {
        let got = execute(&served, &issuer.token(scope.clone()), "get").await;
        got.error(403, "FORBIDDEN");
        if scope["scope"].is_string() {
            assert!(
                challenge(&got).contains("error=\"insufficient_scope\", scope=\"openact:run\""),
                "{got:?}"
            );
        }
    }
    assert_eq!(upstream.received().len(), 3);
}

#[tokio::test]
async fn m8_a_token_is_for_its_tenants_alone() {
    let issuer = Issuer::start().await;
    let (_upstream, served) = issuer.served().await;
    let total = async |claims: Value, tenant: &str| {
        let bearer = format!("Bearer {}", issuer.token(claims));
        let headers = [("authorization", bearer.as_str()), ("x-tenant", tenant)];
        let headers = if tenant.is_empty() { &headers[..1] } else { &headers[..] };
        let got = served.send(Method::GET, "/api/v1/actions", headers, None).await;
        if got.status == 200 { Ok(got.data()["total"].clone()) } else { Err(got.status.as_u16()) }
    };
    assert_eq!(total(json!({}), "").await, Ok(json!(2)));
    assert_eq!(total(json!({}), "acme").await, Err(403));
    assert_eq!(total(json!({"openact_tenants": ["acme"]}), "").await, Ok(json!(0)));
    assert_eq!(total(json!({"openact_tenants": ["acme"]}), "default").await, Err(403));
    assert_eq!(total(json!({"openact_tenants": ["acme", "default"]}), "default").await, Ok(json!(2)));
    for odd in [json!([]), json!("default"), json!(null), json!(["*"]), json!(["default", 1])] {
        let got = get(&served, &issuer.token(json!({"openact_tenants": odd}))).await;
        let message = got.error(403, "FORBIDDEN")["message"].as_str().unwrap();
        assert!(message.contains("openact_tenants"), "{odd}: {message}");
    }
}

#[tokio::test]
async fn m7_the_patterns_of_a_token_bind_it_by_every_door() {
    let issuer = Issuer::start().await;
    let (upstream, served) = issuer.served().await;
    for claims in [
        json!({"openact_allow": ["http.get"]}),
        json!({"openact_deny": ["*.remove"]}),
        json!({"openact_allow": ["http.*"], "openact_deny": ["http.remove"]}),
    ] {
        let token = issuer.token(claims);
        assert_eq!(get(&served, &token).await.data()["total"], 1);
        execute(&served, &token, "get").await.data();
        execute(&served, &token, "remove").await.error(403, "FORBIDDEN");
        let trn = json!({"action_trn": "trn:openact:default:action/http/remove@v1", "input": {}});
        send(&served, &token, Method::POST, "/api/v1/execute", Some(trn)).await.error(403, "FORBIDDEN");
        let denied = execute_by_mcp(&served, &token, "remove").await;
        let error = &denied.json["result"]["structuredContent"]["error"];
        assert_eq!(error["code"], "forbidden", "{}", denied.text);
    }
    assert!(upstream.received().iter().all(|request| request.method == "GET"));
    for claim in ["openact_allow", "openact_deny"] {
        for odd in [json!([]), json!("http.*"), json!(["http"]), json!(["http.*", null]), json!(null)] {
            let got = get(&served, &issuer.token(json!({claim: odd}))).await;
            let message = got.error(403, "FORBIDDEN")["message"].as_str().unwrap();
            assert!(message.contains(claim), "{odd}: {message}");
        }
    }
}

#[tokio::test]
async fn m2_an_issuer_that_is_down_is_told_and_comes_back() {
    let logged = Logged::start();
    let issuer = Issuer::start().await;
    issuer.is_down.store(true, Ordering::SeqCst);
    let (_upstream, served) = issuer.served().await;
    let token = issuer.token(json!({}));
    let got = get(&served, &token).await;
    let error = got.error(502, "NETWORK_ERROR");
    assert_eq!(error["retryable"], true);
    assert!(error["message"].as_str().unwrap().contains(&issuer.upstream.url()), "{error}");
    // Tokens of our own are judged as ever; whoever shows none is nobody.
    let new = NewToken { name: "ci".into(), scope: TokenScope::default(), expires_at: None };
    let (_, own) = served.openact.create_token(new).await.unwrap();
    get(&served, openact::ExposeSecret::expose_secret(&own)).await.data();
    served.get("/api/v1/actions").await.error(401, "UNAUTHENTICATED");
    issuer.is_down.store(false, Ordering::SeqCst);
    let deadline = Instant::now() + Duration::from_secs(60);
    while get(&served, &token).await.status != 200 {
        assert!(Instant::now() < deadline, "it is not asked again");
    }
    let said =
        |level: &str, what: &str| logged.lines(what).iter().filter(|line| line.contains(level)).count();
    assert_eq!((said("WARN", "cannot be read"), said("INFO", "answers again")), (1, 1), "{}", logged.text());
}

#[tokio::test]
async fn m2_refusals_lead_to_the_issuer_by_the_metadata() {
    let issuer = Issuer::start().await;
    let (_upstream, served) = issuer.served().await;
    for (path, below) in [("/api/v1/actions", ""), ("/mcp", "/mcp"), ("/metrics", "")] {
        let got = served.get(path).await;
        got.error(401, "UNAUTHENTICATED");
        let url = format!("{}{METADATA}{below}", served.url);
        let said = format!(r#"Bearer realm="openact", scope="openact:run", resource_metadata="{url}""#);
        assert_eq!(challenge(&got), said);
        let document = served.get(&format!("{METADATA}{below}")).await;
        assert_eq!(
            (document.status.as_u16(), &document.headers["content-type"]),
            (200, &"application/json".parse().unwrap())
        );
        assert_eq!(
            document.json,
            json!({
                "resource": format!("{}{below}", served.url),
                "resource_name": "OpenAct",
                "authorization_servers": [issuer.upstream.url()],
                "scopes_supported": ["openact:run", "openact:manage"],
                "bearer_methods_supported": ["header"],
            })
        );
    }
    served.get(&format!("{METADATA}/other")).await.error(401, "UNAUTHENTICATED");
    served.post(METADATA, json!({})).await.error(405, "INVALID_INPUT");

    let public =
        ServerSettings { public_url: Some("https://openact.example".into()), ..ServerSettings::default() };
    let openact = served.end().await;
    let served = Served::start(openact, public).await;
    let document = served.get(METADATA).await;
    assert_eq!(document.json["resource"], "https://openact.example");
    served.get(&format!("{METADATA}/mcp")).await.error(404, "NOT_FOUND");
    let got = served.get("/api/v1/actions").await;
    assert!(challenge(&got).contains("\"https://openact.example/.well-known/"), "{got:?}");
    for wrong in ["openact.example", "https://a.example/", "https://a.example/x", "ftp://a.example"] {
        let settings = ServerSettings { public_url: Some(wrong.into()), ..ServerSettings::default() };
        let error = openact_server::router(served.openact.clone(), settings).map(drop).unwrap_err();
        assert_eq!(error.code, openact::ErrorCode::InvalidConfig, "{wrong}");
    }

    let none = Served::start(memory(&[]).build().await.unwrap(), settings()).await;
    none.get(METADATA).await.error(404, "NOT_FOUND");
    let refused = send(&none, "a.b.c", Method::GET, "/api/v1/actions", None).await;
    refused.error(401, "UNAUTHENTICATED");
    assert_eq!(challenge(&refused), r#"Bearer realm="openact", error="invalid_token""#);
}

/// What an operator denies to everybody is denied to them, too, and no session is another's.
#[tokio::test]
async fn m7_a_door_binds_callers_of_an_issuer() {
    let issuer = Issuer::start().await;
    let upstream = Upstream::json("{}").await;
    let openact: OpenAct = over(&upstream).oidc(issuer.upstream.url(), AUDIENCE).build().await.unwrap();
    let governance = Arc::new(Governance { allow: vec![], deny: vec!["*.get".parse().unwrap()] });
    let served = Served::start(openact, ServerSettings { governance, ..settings() }).await;
    let token = issuer.token(json!({"openact_allow": ["http.*"], "scope": "openact:manage"}));
    execute(&served, &token, "get").await.error(403, "FORBIDDEN");
    execute(&served, &token, "remove").await.data();
}

#[tokio::test(flavor = "multi_thread")]
async fn m2_the_sdk_of_python_finds_the_issuer_by_itself() {
    let provider = tokio::task::spawn_blocking(servers::oidc).await.unwrap();
    let upstream = Upstream::json(r#"{"login": "octocat"}"#).await;
    // The audience that it asks for is the URL of the server.
    let listener = Listener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.address().unwrap());
    let mcp = format!("{url}/mcp");
    let openact = over(&upstream).oidc(&provider.issuer, &mcp).build().await.unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(openact_server::serve(listener, openact, settings(), async {
        let _ = stopped.await;
    }));
    let printed = tokio::task::spawn_blocking(move || {
        let (client, secret) = Oidc::CLIENT;
        let program = include_str!("../../servers/mcp_oauth.py");
        servers::python(program, &[&mcp, &provider.issuer, client, secret])
    });
    let done: Value = serde_json::from_str(&printed.await.unwrap()).unwrap();
    assert_eq!(done["tools"], json!(["http.get", "http.remove", "openact.execute"]));
    assert_eq!(done["body"], json!({"login": "octocat"}));
    assert_eq!(done["scope"], "openact:run", "no more than it needs");
    assert!(upstream.received().iter().all(|request| request.header("authorization").is_empty()));
    drop(stop);
    serving.await.unwrap().unwrap();
}

/// What `openact serve` says until it is ready, and ends it.
fn says(command: &mut Command) -> Vec<String> {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = Vec::new();
    for line in BufReader::new(child.stderr.take().unwrap()).lines() {
        said.push(line.unwrap());
        if said.last().unwrap() == "ready" {
            break;
        }
    }
    let _ = child.kill();
    let _ = child.wait();
    said
}

#[test]
fn m2_serve_takes_an_issuer_for_a_token_and_starts_without_it() {
    let home = tempfile::tempdir().unwrap();
    let serve = |args: &[&str]| {
        let mut serve = command(home.path());
        serve.args(["serve", "--addr", "0.0.0.0:0"]).args(args);
        serve
    };
    // Nobody listens at port 1.
    let issuer = ["--oidc-issuer", "http://127.0.0.1:1/realm", "--oidc-audience", AUDIENCE];
    let said = says(&mut serve(&issuer)).join("\n");
    assert!(
        said.contains("callers: by token of http://127.0.0.1:1/realm") && said.ends_with("ready"),
        "{said}"
    );
    for (args, code, why) in [
        (&issuer[..2], 2, "--oidc-audience"),
        (&issuer[2..], 2, "--oidc-issuer"),
        (&["--oidc-issuer", "http://login.example", "--oidc-audience", "x"], 3, "https"),
        (&["--public-url", "openact.example"], 3, "https://openact.example.com"),
    ] {
        let output = serve(args).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(why), "{args:?}: {}", stderr(&output));
    }
}
