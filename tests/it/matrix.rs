//! Every kind of credential, by both ways a component asks for HTTP, against servers that verify it with other people's
//! code: botocore, PyJWT, Python's hmac and ssl, httpbin for digest.
//!
//! Invariant: each case is also refused with a credential that is nearly right, so that the server's yes means something.

use std::sync::Arc;

use base64::{Engine, prelude::BASE64_STANDARD};
use openact::{ErrorCode, Format, MasterKey, OpenAct, RunWrites, Timestamp};
use openact_store::{AuthConnection, KeySource, Store};
use serde_json::{Value, json};
use support::{
    ca::pki,
    servers::{Realm, credentials as good, httpbin, oidc, verifier},
};

use crate::setup::{Via, failure, memory, value};

/// A connection, an action, and the field of the connection that is spoilt for the counter-proof.
struct Case {
    name: &'static str,
    connection: Value,
    action: Value,
    /// JSON Pointer into the connection, and what it is set to.
    spoil: (&'static str, Value),
}

fn case(name: &'static str, connection: Value, action: Value, spoil: (&'static str, Value)) -> Case {
    Case { name, connection, action, spoil }
}

fn on(realm: &Realm, authorization: Value) -> Value {
    json!({"base_url": realm.url, "authorization": authorization})
}

fn fixed_cases(realm: &Realm) -> Vec<Case> {
    let key = |place: &str| json!({"type": "api_key", "value": good::API_KEY, place: if place == "header" { "X-Api-Key" } else { "api_key" }});
    let wrong = |field: &'static str| (field, json!("nearly-right"));
    vec![
        case(
            "bearer",
            on(realm, json!({"type": "bearer", "token": good::BEARER})),
            json!({"path": "/bearer"}),
            wrong("/authorization/token"),
        ),
        case(
            "api_key header",
            on(realm, key("header")),
            json!({"path": "/api-key/header"}),
            wrong("/authorization/value"),
        ),
        case(
            "api_key query",
            on(realm, key("query")),
            json!({"path": "/api-key/query"}),
            wrong("/authorization/value"),
        ),
        case(
            "api_key cookie",
            on(realm, key("cookie")),
            json!({"path": "/api-key/cookie"}),
            wrong("/authorization/value"),
        ),
        case(
            "api_key prefix",
            on(
                realm,
                json!({"type": "api_key", "value": good::API_KEY, "header": "Authorization", "prefix": "ApiKey"}),
            ),
            json!({"path": "/api-key/prefix"}),
            wrong("/authorization/value"),
        ),
        case(
            "basic",
            on(realm, json!({"type": "basic", "username": good::BASIC.0, "password": good::BASIC.1})),
            json!({"path": "/basic"}),
            wrong("/authorization/password"),
        ),
    ]
}

fn signed_cases(realm: &Realm) -> Vec<Case> {
    let (region, service) = good::SIGV4_SCOPE;
    let (id, secret, session) = good::SIGV4_SESSION;
    let sigv4 = |service: &str| {
        json!({"type": "aws_sigv4", "access_key_id": good::SIGV4.0, "secret_access_key": good::SIGV4.1,
            "region": region, "service": service})
    };
    let hmac = |more: Value| {
        let mut section = json!({"type": "hmac", "secret": good::HMAC});
        section.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        section
    };
    let post = |path: &str| json!({"method": "POST", "path": path, "headers": {"content-type": "text/plain", "x-amz-meta-a": " b  c "}, "body": "text é"});
    let wrong_secret = || ("/authorization/secret", json!("nearly-right"));
    let wrong_key = || ("/authorization/secret_access_key", json!("nearly-right"));
    vec![
        case("aws_sigv4", on(realm, sigv4(service)), post("/sigv4/a%20b/c?b=2&a=%2Fx%20y&a=1"), wrong_key()),
        case("aws_sigv4 s3", on(realm, sigv4("s3")), post("/sigv4/a%20b//c"), wrong_key()),
        case(
            "aws_sigv4 session",
            on(
                realm,
                json!({"type": "aws_sigv4", "access_key_id": id, "secret_access_key": secret,
                "session_token": session, "region": region, "service": service}),
            ),
            json!({"path": "/sigv4/x"}),
            ("/authorization/session_token", json!("nearly-right")),
        ),
        case(
            "hmac stripe",
            on(
                realm,
                hmac(
                    json!({"message": "{timestamp}.{body}", "header": "Stripe-Signature", "format": "t={timestamp},v1={signature}"}),
                ),
            ),
            post("/hmac/stripe"),
            wrong_secret(),
        ),
        case(
            "hmac slack",
            on(
                realm,
                hmac(
                    json!({"message": "v0:{timestamp}:{body}", "header": "X-Slack-Signature", "format": "v0={signature}",
                "headers": {"X-Slack-Request-Timestamp": "{timestamp}"}}),
                ),
            ),
            post("/hmac/slack"),
            wrong_secret(),
        ),
        case(
            "hmac github",
            on(
                realm,
                hmac(
                    json!({"message": "{body}", "header": "X-Hub-Signature-256", "format": "sha256={signature}"}),
                ),
            ),
            post("/hmac/github"),
            wrong_secret(),
        ),
        case(
            "hmac of everything",
            on(
                realm,
                hmac(json!({"algorithm": "sha512", "encoding": "base64", "header": "X-Signature",
                "message": "{method}\n{path}\n{query}\n{timestamp}\n{body_sha256}", "headers": {"X-Timestamp": "{timestamp}"}})),
            ),
            post("/hmac/generic?a=1&b=%20"),
            wrong_secret(),
        ),
    ]
}

/// The secret in its other spellings, and the oldest hash.
fn hmac_spellings(realm: &Realm) -> Vec<Case> {
    let hex: String = good::HMAC.bytes().map(|byte| format!("{byte:02x}")).collect();
    [
        ("base64", BASE64_STANDARD.encode(good::HMAC), "sha256", "/hmac/github", "X-Hub-Signature-256"),
        ("hex", hex.clone(), "sha256", "/hmac/github", "X-Hub-Signature-256"),
        ("hex", hex.to_uppercase(), "sha1", "/hmac/github-sha1", "X-Hub-Signature"),
    ]
    .into_iter()
    .map(|(spelling, secret, hash, path, header)| {
        let section = json!({"type": "hmac", "secret": secret, "secret_encoding": spelling, "algorithm": hash,
            "message": "{body}", "header": header, "format": format!("{hash}={{signature}}")});
        let action = json!({"method": "POST", "path": path, "body": "text é"});
        // The same text, taken as it stands.
        case("hmac spelling", on(realm, section), action, ("/authorization/secret_encoding", json!("text")))
    })
    .collect()
}

fn token_cases(realm: &Realm) -> Vec<Case> {
    let pki = pki();
    let jwt = |algorithm: &str, id: &str, key: &str| {
        json!({"type": "jwt", "algorithm": algorithm, "key": key, "key_id": id, "issuer": good::JWT_ISSUER,
            "subject": good::JWT_SUBJECT, "audience": good::JWT_AUDIENCE})
    };
    let kinds = [
        ("jwt HS256", jwt("HS256", "hs", good::JWT_SECRET)),
        ("jwt RS256", jwt("RS256", "rsa", &pki.rsa.private.text)),
        ("jwt ES256", jwt("ES256", "ec", &pki.ec.private.text)),
        ("jwt EdDSA", jwt("EdDSA", "ed25519", &pki.ed25519.private.text)),
        ("jwt HS384", jwt("HS384", "hs384", good::JWT_SECRET)),
        ("jwt HS512", jwt("HS512", "hs512", good::JWT_SECRET)),
        ("jwt RS384", jwt("RS384", "rs384", &pki.rsa.private.text)),
        ("jwt RS512", jwt("RS512", "rs512", &pki.rsa.private.text)),
        ("jwt PS256", jwt("PS256", "ps256", &pki.rsa.private.text)),
        ("jwt PS384", jwt("PS384", "ps384", &pki.rsa.private.text)),
        ("jwt PS512", jwt("PS512", "ps512", &pki.rsa.private.text)),
        ("jwt ES384", jwt("ES384", "ec384", &pki.ec384.private.text)),
    ];
    let wrong_issuer = || ("/authorization/issuer", json!("https://other.test"));
    // Another server's key: the claims are right and the signature is not.
    let wrong_key = json!(pki.server.key.text);
    let mut cases: Vec<Case> = kinds
        .into_iter()
        .map(|(name, section)| case(name, on(realm, section), json!({"path": "/jwt"}), wrong_issuer()))
        .collect();
    let ec = on(realm, jwt("ES256", "ec", &pki.ec.private.text));
    cases.push(case("jwt by another key", ec, json!({"path": "/jwt"}), ("/authorization/key", wrong_key)));
    let mut grant = jwt("RS256", "rsa", &pki.rsa.private.text);
    grant["use"] = "grant".into();
    grant["token_url"] = format!("{}/token", realm.url).into();
    cases.push(case("jwt grant", on(realm, grant), json!({"path": "/protected"}), wrong_issuer()));
    let wrong = || ("/authorization/client_secret", json!("nearly-right"));
    for (name, (id, secret), auth) in [
        ("oauth2 basic", good::CLIENT, "basic"),
        ("oauth2 post", good::CLIENT, "post"),
        ("oauth2 basic, odd characters", good::CLIENT_ODD, "basic"),
    ] {
        let section = json!({"type": "oauth2_client_credentials", "token_url": format!("{}/token", realm.url),
            "client_id": id, "client_secret": secret, "client_auth": auth, "scope": ["a", "b"]});
        cases.push(case(name, on(realm, section), json!({"path": "/protected"}), wrong()));
    }
    cases
}

fn other_servers(realm: &Realm) -> Vec<Case> {
    let pki = pki();
    let digest = |path: &str| {
        let url = &httpbin().url;
        (
            json!({"base_url": url, "authorization": {"type": "digest", "username": "mufasa", "password": "circle-of-life"}}),
            json!({"path": path}),
        )
    };
    let wrong_password = || ("/authorization/password", json!("circle-of-strife"));
    let mut cases: Vec<Case> = [
        ("digest MD5", "/digest-auth/auth/mufasa/circle-of-life/MD5"),
        ("digest SHA-256", "/digest-auth/auth/mufasa/circle-of-life/SHA-256"),
        ("digest SHA-256 over the body", "/digest-auth/auth-int/mufasa/circle-of-life/SHA-256"),
    ]
    .into_iter()
    .map(|(name, path)| {
        let (connection, action) = digest(path);
        case(name, connection, action, wrong_password())
    })
    .collect();
    let mut mtls = json!({"base_url": realm.on(&verifier().mtls()), "network": {"tls": {
        "ca": pki.ca.text, "ca_only": true, "client_cert": pki.client.cert.text, "client_key": pki.client.key.text}}});
    cases.push(case(
        "mtls",
        mtls.clone(),
        json!({"path": "/mtls"}),
        ("/network/tls", json!({"ca": pki.ca.text})),
    ));
    // A credential beside a client certificate.
    mtls["authorization"] = json!({"type": "bearer", "token": good::BEARER});
    cases.push(case(
        "mtls and bearer",
        mtls,
        json!({"path": "/bearer"}),
        ("/authorization/token", json!("nearly-right")),
    ));
    let oidc = oidc();
    let section = json!({"type": "oauth2_client_credentials", "token_url": oidc.token_url, "client_id": "svc",
        "client_secret": "svc-secret", "scope": "api.read", "resource": "urn:api"});
    let mut connection = on(realm, section);
    // Its tokens are its own; that one was issued and sent is what can be seen.
    connection["base_url"] = realm.url.clone().into();
    cases.push(case(
        "oauth2 of an OpenID provider",
        connection,
        json!({"path": "/echo-headers"}),
        ("/authorization/client_secret", json!("wrong")),
    ));
    cases
}

/// What the server said: whether it was content.
async fn outcome(openact: &OpenAct, via: Via) -> Result<Value, openact::Error> {
    let result = openact.run(via.action(), json!({})).await?.result.value()?;
    match result["status_code"].as_u64() {
        Some(200) => Ok(result),
        _ => Err(openact::Error::new(ErrorCode::UpstreamError, result.to_string())),
    }
}

async fn runs(cases: Vec<Case>) {
    for case in cases {
        for via in Via::BOTH {
            let openact = via.build(memory(&[]), case.connection.clone(), case.action.clone()).await;
            let accepted = outcome(&openact, via).await;
            assert!(accepted.is_ok(), "{} by {via:?}: {accepted:?}", case.name);
            // Once more: what was made the first time may be used again.
            let again = outcome(&openact, via).await;
            assert!(again.is_ok(), "{} by {via:?}, again: {again:?}", case.name);
            let mut spoilt = case.connection.clone();
            *spoilt.pointer_mut(case.spoil.0).unwrap() = case.spoil.1.clone();
            let openact = via.build(memory(&[]), spoilt, case.action.clone()).await;
            assert!(
                outcome(&openact, via).await.is_err(),
                "{} by {via:?}: the server says yes to anything",
                case.name
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fixed_credentials_by_both_ways() {
    runs(fixed_cases(&verifier().realm())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signatures_by_both_ways() {
    let realm = verifier().realm();
    runs(signed_cases(&realm)).await;
    runs(hmac_spellings(&realm)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_by_both_ways() {
    runs(token_cases(&verifier().realm())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn digest_client_certificates_and_a_real_provider_by_both_ways() {
    runs(other_servers(&verifier().realm())).await;
}

/// A credential that a flow would have stored: of that token, ending then, at that version.
fn stored(token: &str, expires_at: Option<Timestamp>, version: u32) -> AuthConnection {
    AuthConnection {
        trn: "trn:openact:default:auth/verifier/alice".parse().unwrap(),
        access_token: token.into(),
        refresh_token: None,
        expires_at,
        token_type: "bearer".into(),
        scope: None,
        extra: None,
        created_at: Timestamp::now(),
        updated_at: Timestamp::now(),
        version,
    }
}

/// No command stores a credential yet, so the database of the runtime is opened beside it, as another process would.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c5_a_stored_credential_by_both_ways() {
    const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
    let key = || MasterKey::from_base64(KEY).unwrap();
    let realm = verifier().realm();
    for auth_ref in ["verifier/alice", "trn:openact:default:auth/verifier/alice"] {
        for via in Via::BOTH {
            let folder = tempfile::tempdir().unwrap();
            let url = format!("sqlite://{}", folder.path().join("own.db").display());
            let builder = memory(&[]).store(url.as_str()).master_key(key());
            let connection = json!({"base_url": realm.url, "auth_ref": auth_ref});
            let openact = via.build(builder, connection, json!({"path": "/bearer"})).await;
            let keys = KeySource::Keys(vec![key()]);
            let store = Store::open(&url.parse().unwrap(), keys, RunWrites::BeforeAnswer).await.unwrap();

            let before = realm.requests().await;
            let (error, _) = failure(&openact, via.action(), json!({})).await;
            assert_eq!(error.code, ErrorCode::AuthRequired, "{via:?} {auth_ref}: {error:?}");
            assert_eq!(realm.requests().await, before, "{via:?}: nothing is sent without it");

            store.put_auth_connection(&stored(good::BEARER, None, 0), None).await.unwrap();
            for _ in 0..2 {
                let accepted = outcome(&openact, via).await;
                assert!(accepted.is_ok(), "{via:?} {auth_ref}: {accepted:?}");
            }
            // What is stored next is sent next, by the same runtime.
            store.put_auth_connection(&stored("nearly-right", None, 1), None).await.unwrap();
            let refused = value(&openact, via.action(), json!({})).await;
            assert_eq!(refused["status_code"], 401, "{via:?}: the server says yes to anything: {refused}");

            let over = stored(good::BEARER, Some(Timestamp::UNIX_EPOCH), 2);
            store.put_auth_connection(&over, None).await.unwrap();
            let before = realm.requests().await;
            let (error, _) = failure(&openact, via.action(), json!({})).await;
            assert_eq!(error.code, ErrorCode::AuthRequired, "{via:?} {auth_ref}: {error:?}");
            assert!(error.message.contains("expired"), "{error:?}");
            assert_eq!(realm.requests().await, before, "{via:?}: nothing is sent with it");
        }
    }
}

#[tokio::test]
async fn c3_a_request_outside_the_path_prefix_gets_no_credential() {
    let jwt = json!({"type": "jwt", "algorithm": "HS256", "key": good::JWT_SECRET, "key_id": "hs",
        "issuer": good::JWT_ISSUER, "subject": good::JWT_SUBJECT, "audience": good::JWT_AUDIENCE});
    let realm = verifier().realm();
    let base = url::Url::parse(&realm.url).unwrap().path().to_owned();
    for (section, path) in [
        (json!({"type": "bearer", "token": good::BEARER}), "/bearer"),
        (jwt, "/jwt"),
        (client_credentials(&realm, "")["authorization"].clone(), "/protected"),
    ] {
        let part = &path[..path.len() - 1];
        for (prefix, status) in [
            (format!("{base}{path}"), 200),
            (format!("{base}/"), 200),
            (format!("{base}{part}"), 401),
            (format!("{base}{path}/below"), 401),
            ("/elsewhere".to_owned(), 401),
        ] {
            for via in Via::BOTH {
                let mut section = section.clone();
                section["path_prefix"] = prefix.clone().into();
                let openact = via.build(memory(&[]), on(&realm, section), json!({ "path": path })).await;
                let asked = realm.token_requests().await;
                let answer = value(&openact, via.action(), json!({})).await;
                assert_eq!(answer["status_code"], status, "{via:?} {path} below {prefix}: {answer}");
                if status == 401 {
                    let why = answer["body"].to_string();
                    assert!(why.contains("no Authorization header"), "{via:?} {prefix}: {why}");
                    // No token is fetched that nobody would be sent.
                    assert_eq!(realm.token_requests().await, asked, "{via:?} {prefix}");
                }
            }
        }
    }
}

fn client_credentials(realm: &Realm, lifetime: &str) -> Value {
    on(
        realm,
        json!({"type": "oauth2_client_credentials", "token_url": format!("{}/token{lifetime}", realm.url),
        "client_id": good::CLIENT.0, "client_secret": good::CLIENT.1}),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o2_ten_thousand_calls_of_two_hundred_tasks_make_one_token_request() {
    let realm = verifier().realm();
    let openact = for_two_hundred(&realm, "?delay_ms=50").await;
    assert_eq!(ten_thousand_calls(&openact).await, 0);
    assert_eq!(realm.token_requests().await, 1);
}

/// Ended before its time, which only the server knows: the calls that were refused are answered all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o2_ten_thousand_calls_with_a_revoked_token_make_one_token_request() {
    let realm = verifier().realm();
    // At once, so that some are refused with the old token when the new one is there.
    let openact = for_two_hundred(&realm, "").await;
    assert_eq!(value(&openact, "http/a", json!({})).await["status_code"], 200);
    assert_eq!(realm.token_requests().await, 1);
    realm.revoke_tokens().await;
    let refused = ten_thousand_calls(&openact).await;
    // Of each task at most the first.
    assert!((1..=200).contains(&refused), "{refused} calls were refused first");
    assert_eq!(realm.token_requests().await, 2);
}

/// Two actions, one connection: the token is the connection's.
async fn for_two_hundred(realm: &Realm, lifetime: &str) -> Arc<OpenAct> {
    let text = json!({"connectors": {"http": {
        "connections": {"c": client_credentials(realm, lifetime)},
        "actions": {"a": {"connection": "c", "path": "/protected"}, "b": {"connection": "c", "path": "/protected"}},
    }}});
    let builder = memory(&[]).instances_max(200).config_text(text.to_string(), Format::Json);
    Arc::new(builder.build().await.unwrap())
}

/// 50 calls of each of 200 tasks, all answered; how many of them were refused first.
async fn ten_thousand_calls(openact: &Arc<OpenAct>) -> usize {
    let tasks: Vec<_> = (0..200)
        .map(|task| {
            let openact = openact.clone();
            tokio::spawn(async move {
                let action = if task % 2 == 0 { "http/a" } else { "http/b" };
                let mut refused = 0;
                for _ in 0..50 {
                    let outcome = openact.run(action, json!({})).await.unwrap();
                    assert_eq!(outcome.result.value().unwrap()["status_code"], 200);
                    refused += outcome.run.host_calls.iter().filter(|call| call.outcome == "401").count();
                }
                refused
            })
        })
        .collect();
    let mut refused = 0;
    for task in tasks {
        refused += task.await.unwrap();
    }
    refused
}

#[tokio::test]
async fn o13_a_revoked_token_is_replaced_once_and_the_request_sent_again() {
    let realm = verifier().realm();
    for via in Via::BOTH {
        let openact =
            via.build(memory(&[]), client_credentials(&realm, ""), json!({"path": "/protected"})).await;
        assert!(outcome(&openact, via).await.is_ok());
        realm.revoke_tokens().await;
        let before = realm.token_requests().await;
        let run = openact.run(via.action(), json!({})).await.unwrap().run;
        assert_eq!(realm.token_requests().await, before + 1, "{via:?}");
        let outcomes: Vec<_> = run.host_calls.iter().map(|call| call.outcome.as_str()).collect();
        assert_eq!(outcomes, ["401", "200"], "{via:?}");
    }
}

#[tokio::test]
async fn o13_a_post_is_not_sent_again_but_the_next_call_has_a_new_token() {
    let realm = verifier().realm();
    let action = json!({"method": "POST", "path": "/protected", "body": "x"});
    let openact = Via::Contract.build(memory(&[]), client_credentials(&realm, ""), action).await;
    assert!(outcome(&openact, Via::Contract).await.is_ok());
    realm.revoke_tokens().await;
    assert_eq!(value(&openact, "http/send", json!({})).await["status_code"], 401);
    assert_eq!(value(&openact, "http/send", json!({})).await["status_code"], 200);
    assert_eq!(realm.token_requests().await, 2);
}

#[tokio::test]
async fn c5_a_client_that_is_refused_fails_before_the_request() {
    let realm = verifier().realm();
    let mut connection = client_credentials(&realm, "");
    connection["authorization"]["client_secret"] = "canary-nearly-right".into();
    let openact = Via::Contract.build(memory(&[]), connection, json!({"path": "/protected"})).await;
    let (error, _) = failure(&openact, "http/send", json!({})).await;
    assert_eq!(error.code, ErrorCode::AuthRequired, "{error:?}");
    assert!(error.message.contains("invalid_client"), "{error:?}");
    assert!(!format!("{error:?} {}", error.to_json()).contains("canary"), "{error:?}");
}
