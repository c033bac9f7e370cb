//! The servers that other tests rely on, asked directly: each says yes to what is right and no to what is nearly right.
//!
//! Invariant: nothing of OpenAct is at work here; what is sent is made by curl and Python's libraries, or published.

use std::{
    path::Path,
    process::{Command, Output, Stdio},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use reqwest::{Certificate, Client, Identity, Method, Response};
use serde_json::{Value, json};
use support::{
    ca::{self, CLIENT_SUBJECT, INTERNAL_NAME, pki},
    servers::{
        Oidc, Proxy, credentials as good, httpbin, oidc, python, socks, socks_with_password, squid, verifier,
    },
};

fn client() -> Client {
    Client::builder().no_proxy().build().unwrap()
}

async fn json_of(response: Response) -> Value {
    serde_json::from_slice(&response.bytes().await.unwrap()).unwrap()
}

/// Status and answer of a GET with these headers.
async fn get(url: String, headers: &[(&str, &str)]) -> (u16, Value) {
    send(Method::GET, url, headers, "").await
}

async fn send(method: Method, url: String, headers: &[(&str, &str)], body: &str) -> (u16, Value) {
    let request = client().request(method, url).body(body.to_owned());
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let response = request.send().await.unwrap();
    (response.status().as_u16(), json_of(response).await)
}

async fn accepted(url: String, headers: &[(&str, &str)], who: &str) {
    let (status, answer) = get(url, headers).await;
    assert_eq!(
        (status, answer["ok"].as_bool(), answer["as"].as_str()),
        (200, Some(true), Some(who)),
        "{answer}"
    );
}

async fn refused(url: String, headers: &[(&str, &str)], why: &str) {
    let (status, answer) = get(url, headers).await;
    assert_eq!((status, answer["ok"].as_bool()), (401, Some(false)), "{answer}");
    assert!(answer["why"].as_str().unwrap().contains(why), "{answer}");
}

fn curl(arguments: &[&str]) -> Output {
    let own = ["--silent", "--show-error", "--disable", "--max-time", "20"];
    Command::new("curl").args(own).args(arguments).stdin(Stdio::null()).output().expect("curl starts")
}

fn curl_json(arguments: &[&str]) -> Value {
    let output = curl(arguments);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
}

#[tokio::test]
async fn bearer_is_compared() {
    let url = format!("{}/bearer", verifier().realm().url);
    accepted(url.clone(), &[("authorization", &format!("Bearer {}", good::BEARER))], "bearer").await;
    refused(url.clone(), &[("authorization", "Bearer wrong")], "wrong token").await;
    refused(url.clone(), &[("authorization", &format!("Token {}", good::BEARER))], "scheme").await;
    refused(url, &[], "no Authorization").await;
}

#[tokio::test]
async fn basic_is_decoded_as_utf8() {
    let url = format!("{}/basic", verifier().realm().url);
    let (user, password) = good::BASIC;
    let header = |pair: String| format!("Basic {}", BASE64_STANDARD.encode(pair));
    accepted(url.clone(), &[("authorization", &header(format!("{user}:{password}")))], user).await;
    refused(url.clone(), &[("authorization", &header(format!("{user}:wrong")))], "wrong password").await;
    refused(url, &[("authorization", "Basic !")], "not base64").await;
}

#[tokio::test]
async fn an_api_key_counts_where_it_belongs() {
    let url = format!("{}/api-key", verifier().realm().url);
    let key = good::API_KEY;
    accepted(format!("{url}/header"), &[("x-api-key", key)], "api-key").await;
    accepted(format!("{url}/query?a=b&api_key={key}"), &[], "api-key").await;
    accepted(format!("{url}/cookie"), &[("cookie", &format!("a=b; api_key={key}"))], "api-key").await;
    accepted(format!("{url}/prefix"), &[("authorization", &format!("ApiKey {key}"))], "api-key").await;
    refused(format!("{url}/prefix"), &[("authorization", key)], "scheme").await;
    refused(format!("{url}/header?api_key={key}"), &[], "no X-Api-Key").await;
    refused(format!("{url}/query?api_key={key}&api_key={key}"), &[], "2 query parameters").await;
    refused(format!("{url}/query"), &[("x-api-key", key)], "0 query parameters").await;
    refused(format!("{url}/cookie"), &[("cookie", "api_key=wrong")], "wrong key").await;
}

/// The headers that botocore adds to a request.
fn signed(method: &str, url: &str, body: &str, keys: &[&str], service: &str) -> Vec<(String, String)> {
    let program = "
import json, sys
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
method, url, body, service, region, *keys = sys.argv[1:]
request = AWSRequest(method=method, url=url, data=body.encode(), headers={'Content-Type': 'text/plain'})
request.context['payload_signing_enabled'] = True
(S3SigV4Auth if service == 's3' else SigV4Auth)(Credentials(*keys), service, region).add_auth(request)
print(json.dumps(list(request.headers.items())))
";
    let mut arguments = vec![method, url, body, service, good::SIGV4_SCOPE.0];
    arguments.extend(keys);
    serde_json::from_str(&python(program, &arguments)).unwrap()
}

#[tokio::test]
async fn sigv4_is_recomputed() {
    let url = format!("{}/sigv4/a%20b/c?b=2&a=%2Fx%20y&a=1", verifier().realm().url);
    let service = good::SIGV4_SCOPE.1;
    let (plain, session) = (good::SIGV4, good::SIGV4_SESSION);
    for (keys, service) in [
        (vec![plain.0, plain.1], service),
        (vec![session.0, session.1, session.2], service),
        (vec![plain.0, plain.1], "s3"),
    ] {
        let headers = signed("POST", &url, "body", &keys, service);
        let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let unsigned = [headers.clone(), vec![("x-extra", "1")]].concat();
        let (status, answer) = send(Method::POST, url.clone(), &unsigned, "body").await;
        assert_eq!((status, answer["as"].as_str()), (200, Some(keys[0])), "{answer}");
        for (method, url, body) in [
            (Method::POST, url.clone(), "other body"),
            (Method::PUT, url.clone(), "body"),
            (Method::POST, url.replace("a=1", "a=2"), "body"),
            (Method::POST, url.replace("/c?", "/d?"), "body"),
        ] {
            let (status, answer) = send(method, url, &headers, body).await;
            assert_eq!(status, 401, "{answer}");
        }
        let (_, answer) =
            send(Method::POST, url.clone(), &[headers, vec![("x-amz-meta", "1")]].concat(), "body").await;
        assert_eq!(answer["why"], "not signed: x-amz-meta");
    }
}

#[tokio::test]
async fn sigv4_of_another_secret_is_refused() {
    let url = format!("{}/sigv4", verifier().realm().url);
    let (key, secret, token) = good::SIGV4_SESSION;
    for (keys, why) in [
        (vec![good::SIGV4.0, "wrong"], "wrong signature"),
        (vec!["AKIDNOBODY", secret], "no such access key"),
        (vec![key, secret, "wrong"], "wrong session token"),
        (vec![key, secret], "wrong session token"),
        (vec![good::SIGV4.0, good::SIGV4.1, token], "wrong session token"),
    ] {
        let headers = signed("GET", &url, "", &keys, good::SIGV4_SCOPE.1);
        let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        refused(url.clone(), &headers, why).await;
    }
}

#[test]
fn sigv4_of_curl_is_recomputed() {
    let (region, service) = good::SIGV4_SCOPE;
    let url = format!("{}/sigv4/curl", verifier().realm().url);
    let provider = format!("aws:amz:{region}:{service}");
    let answer =
        |pair: String| curl_json(&["--aws-sigv4", &provider, "--user", &pair, "--data", "a=b", &url]);
    assert_eq!(answer(format!("{}:{}", good::SIGV4.0, good::SIGV4.1))["as"], good::SIGV4.0);
    assert_eq!(answer(format!("{}:wrong", good::SIGV4.0))["why"], "wrong signature");
}

#[tokio::test]
async fn hmac_signatures_are_recomputed() {
    let base = format!("{}/hmac", verifier().realm().url);
    let sign = |algorithm: &str, message: &str, encode: &str| {
        let program = format!(
            "import base64, hmac, sys\nd = hmac.new(sys.argv[1].encode(), sys.argv[3].encode(), sys.argv[2]).digest()\nprint({encode})"
        );
        python(&program, &[good::HMAC, algorithm, message])
    };
    let now = python("import time; print(int(time.time()))", &[]);
    let old = (now.parse::<u64>().unwrap() - 3600).to_string();
    let body = "{\"amount\": 1}";
    let hash =
        python("import hashlib, sys; print(hashlib.sha256(sys.argv[1].encode()).hexdigest())", &[body]);
    for (time, fresh) in [(&now, true), (&old, false)] {
        let stripe = sign("sha256", &format!("{time}.{body}"), "d.hex()");
        let slack = sign("sha256", &format!("v0:{time}:{body}"), "d.hex()");
        let path = base.split_once("/at/").map(|(_, rest)| format!("/at/{rest}/generic")).unwrap();
        let query = if fresh { "a=b" } else { "tolerance=300" };
        let generic = format!("POST\n{path}\n{query}\n{time}\n{hash}");
        let generic = sign("sha512", &generic, "base64.b64encode(d).decode()");
        for (kind, headers) in [
            ("stripe", vec![("stripe-signature", format!("t={time},v0=00,v1=00,v1={stripe}"))]),
            (
                "slack",
                vec![
                    ("x-slack-signature", format!("v0={slack}")),
                    ("x-slack-request-timestamp", time.clone()),
                ],
            ),
            ("generic", vec![("x-signature", generic), ("x-timestamp", time.clone())]),
        ] {
            let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let url = format!("{base}/{kind}?{query}");
            let (status, answer) = send(Method::POST, url.clone(), &headers, body).await;
            assert_eq!(status, if fresh { 200 } else { 401 }, "{kind} {answer}");
            let (status, answer) = send(Method::POST, url.replace("=300", "=0"), &headers, body).await;
            // The query is a part of what `generic` signs.
            assert_eq!(status, if fresh || kind != "generic" { 200 } else { 401 }, "{kind} {answer}");
            let (status, answer) = send(Method::POST, url, &headers, "{\"amount\": 2}").await;
            assert_eq!(status, 401, "{kind} {answer}");
        }
    }
    let github = format!("sha256={}", sign("sha256", body, "d.hex()"));
    let github = |body: &'static str| {
        let (url, header) = (format!("{base}/github"), github.clone());
        async move { send(Method::POST, url, &[("x-hub-signature-256", header.as_str())], body).await.0 }
    };
    assert_eq!((github("{\"amount\": 1}").await, github("{}").await), (200, 401));
    // GitHub's documentation: "Validating webhook deliveries".
    let published = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    let url = format!("{base}/github");
    let (status, answer) =
        send(Method::POST, url, &[("x-hub-signature-256", published)], "Hello, World!").await;
    assert_eq!(status, 200, "{answer}");
}

/// A token signed by PyJWT. `header` and `claims` are added to what is right.
fn jwt(kid: &str, alg: &str, key: &str, claims: Value) -> String {
    let program = "
import json, jwt, sys, time
kid, alg, key, issuer, subject, audience, more = sys.argv[1:]
now = int(time.time())
claims = {'iss': issuer, 'sub': subject, 'aud': audience, 'iat': now, 'exp': now + 300, **json.loads(more)}
claims = {name: value for name, value in claims.items() if value is not None}
print(jwt.encode(claims, key, algorithm=alg, headers={'kid': kid}))
";
    let claims = claims.to_string();
    python(program, &[kid, alg, key, good::JWT_ISSUER, good::JWT_SUBJECT, good::JWT_AUDIENCE, &claims])
}

#[tokio::test]
async fn a_jwt_is_verified() {
    let url = format!("{}/jwt", verifier().realm().url);
    let keys = [
        ("hs", "HS256", good::JWT_SECRET),
        ("rsa", "RS256", &pki().rsa.private.text),
        ("ec", "ES256", &pki().ec.private.text),
        ("ed25519", "EdDSA", &pki().ed25519.private.text),
    ];
    for (kid, alg, key) in keys {
        let token = jwt(kid, alg, key, json!({}));
        accepted(url.clone(), &[("authorization", &format!("Bearer {token}"))], good::JWT_SUBJECT).await;
        let broken = format!("{}.{}", token.rsplit_once('.').unwrap().0, "AAAA");
        refused(url.clone(), &[("authorization", &format!("Bearer {broken}"))], "Signature").await;
    }
    let secret = good::JWT_SECRET;
    for (token, why) in [
        (jwt("hs", "HS256", "another-secret-of-at-least-32-bytes!!", json!({})), "InvalidSignature"),
        (jwt("hs", "HS256", secret, json!({"aud": "other"})), "Audience"),
        (jwt("hs", "HS256", secret, json!({"iss": "other"})), "Issuer"),
        (jwt("hs", "HS256", secret, json!({"sub": "other"})), "wrong subject"),
        (jwt("hs", "HS256", secret, json!({"exp": 1_000_000_000})), "Expired"),
        (jwt("hs", "HS256", secret, json!({"exp": null})), "exp"),
        (jwt("hs", "HS256", secret, json!({"exp": 99_999_999_999_u64})), "good for"),
        (jwt("other", "HS256", secret, json!({})), "no such key"),
        (jwt("rsa", "HS256", secret, json!({})), "Algorithm"),
    ] {
        refused(url.clone(), &[("authorization", &format!("Bearer {token}"))], why).await;
    }
}

async fn token(url: String, form: &[(&str, &str)], basic: Option<(&str, &str)>) -> (u16, Value) {
    let encode = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let body: Vec<String> = form.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
    let mut request =
        client().post(url).header("content-type", "application/x-www-form-urlencoded").body(body.join("&"));
    if let Some((client, secret)) = basic {
        request = request.basic_auth(encode(client), Some(encode(secret)));
    }
    let response = request.send().await.unwrap();
    (response.status().as_u16(), json_of(response).await)
}

const CLIENT_GRANT: (&str, &str) = ("grant_type", "client_credentials");

#[tokio::test]
async fn tokens_are_issued_counted_and_revoked() {
    let realm = verifier().realm();
    let (url, protected) = (format!("{}/token", realm.url), format!("{}/protected", realm.url));
    let (status, first) = token(url.clone(), &[CLIENT_GRANT, ("scope", "a b")], Some(good::CLIENT)).await;
    assert_eq!(
        (status, &first["expires_in"], &first["scope"]),
        (200, &json!(3600), &json!("a b")),
        "{first}"
    );
    let bearer = format!("Bearer {}", first["access_token"].as_str().unwrap());
    accepted(protected.clone(), &[("authorization", &bearer)], good::CLIENT.0).await;
    // Of another realm it is nothing.
    refused(format!("{}/protected", verifier().realm().url), &[("authorization", &bearer)], "no such token")
        .await;
    let (id, secret) = good::CLIENT;
    let post = [CLIENT_GRANT, ("client_id", id), ("client_secret", secret)];
    assert_eq!(token(format!("{url}/7"), &post, None).await.1["expires_in"], 7);
    assert_eq!(token(url.clone(), &[CLIENT_GRANT], Some(good::CLIENT_ODD)).await.0, 200);
    for (form, basic, error) in [
        (vec![CLIENT_GRANT], Some((id, "wrong")), "invalid_client"),
        (vec![CLIENT_GRANT], None, "invalid_request"),
        (post.to_vec(), Some(good::CLIENT), "invalid_request"),
        (vec![("grant_type", "password")], Some(good::CLIENT), "unsupported_grant_type"),
    ] {
        assert_eq!(token(url.clone(), &form, basic).await.1["error"], error);
    }
    assert_eq!(realm.token_requests().await, 7);
    let none = token(format!("{url}/none"), &[CLIENT_GRANT], Some(good::CLIENT)).await.1;
    assert_eq!(none.get("expires_in"), None);
    let (_, over) = token(format!("{url}/0"), &[CLIENT_GRANT], Some(good::CLIENT)).await;
    let over = format!("Bearer {}", over["access_token"].as_str().unwrap());
    refused(protected.clone(), &[("authorization", &over)], "over").await;
    realm.revoke_tokens().await;
    refused(protected, &[("authorization", &bearer)], "revoked").await;
}

#[tokio::test]
async fn assertions_are_exchanged_for_tokens() {
    let url = format!("{}/token", verifier().realm().url);
    let grant = ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer");
    let right = jwt("rsa", "RS256", &pki().rsa.private.text, json!({}));
    let (status, answer) = token(url.clone(), &[grant, ("assertion", &right)], None).await;
    assert_eq!((status, &answer["client_auth"]), (200, &json!("assertion")), "{answer}");
    let wrong = jwt("rsa", "RS256", &pki().rsa.private.text, json!({"aud": "other"}));
    let (status, answer) = token(url.clone(), &[grant, ("assertion", &wrong)], None).await;
    assert_eq!((status, &answer["error"]), (400, &json!("invalid_grant")), "{answer}");
    let kind = ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
    let own = json!({"iss": good::CLIENT.0, "sub": good::CLIENT.0});
    let named = jwt("ec", "ES256", &pki().ec.private.text, own);
    let (status, answer) =
        token(url.clone(), &[CLIENT_GRANT, kind, ("client_assertion", &named)], None).await;
    assert_eq!(status, 200, "{answer}");
    let (status, _) = token(url, &[CLIENT_GRANT, kind, ("client_assertion", &right)], None).await;
    assert_eq!(status, 401);
}

/// A client that trusts the authority alone, with a certificate of its own.
fn tls_client(identity: Option<&ca::Identity>) -> Client {
    let root = Certificate::from_pem(pki().ca.text.as_bytes()).unwrap();
    let builder = Client::builder().no_proxy().tls_certs_only([root]);
    let builder = builder.resolve(INTERNAL_NAME, ([127, 0, 0, 1], verifier().port("https")).into());
    match identity {
        Some(own) => {
            let pem = format!("{}{}", own.key.text, own.cert.text);
            builder.identity(Identity::from_pem(pem.as_bytes()).unwrap()).build().unwrap()
        }
        None => builder.build().unwrap(),
    }
}

#[tokio::test]
async fn mtls_wants_a_certificate_of_the_authority() {
    let url = format!("{}/mtls", verifier().mtls());
    let answer = json_of(tls_client(Some(&pki().client)).get(&url).send().await.unwrap()).await;
    assert_eq!((&answer["ok"], &answer["as"]), (&json!(true), &json!(CLIENT_SUBJECT)), "{answer}");
    for other in [None, Some(&pki().foreign_client), Some(&pki().expired_client)] {
        assert!(tls_client(other).get(&url).send().await.is_err(), "{other:?}");
    }
    let answer = tls_client(None).get(format!("{}/mtls", verifier().https())).send().await.unwrap();
    assert_eq!(answer.status(), 401);
}

#[tokio::test]
async fn each_certificate_has_the_fault_it_is_there_for() {
    let client = tls_client(None);
    let port = verifier().port("https");
    let answer = client.get(format!("https://{INTERNAL_NAME}:{port}/echo")).send().await.unwrap();
    assert_eq!(
        json_of(answer).await["tls"],
        json!({"version": "TLSv1.3", "sni": INTERNAL_NAME, "client": null})
    );
    let answer = client.get(format!("{}/echo", verifier().tls12())).send().await.unwrap();
    assert_eq!(json_of(answer).await["tls"]["version"], "TLSv1.2");
    for (url, why) in [
        (verifier().expired(), "Expired"),
        (verifier().other_name(), "NotValidForName"),
        (verifier().foreign(), "UnknownIssuer"),
    ] {
        let error = format!("{:?}", client.get(url).send().await.unwrap_err());
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn an_echo_is_what_was_sent() {
    let realm = verifier().realm();
    let url = format!("{}/echo/a%2Fb?q=%20&&r", realm.url);
    let answer =
        curl_json(&["-H", "X-Two: 1", "-H", "x-two:  2 ", "-A", "", "--data-binary", "a=b\r\n", &url]);
    let target = url.split_once("/at/").map(|(_, rest)| format!("/at/{rest}")).unwrap();
    assert_eq!(answer["line"], format!("POST {target} HTTP/1.1"));
    let headers = answer["headers"].as_array().unwrap();
    assert_eq!(headers[2..4], [json!(["X-Two", "1"]), json!(["x-two", "2"])], "{answer}");
    assert_eq!(BASE64_STANDARD.decode(answer["body"].as_str().unwrap()).unwrap(), b"a=b\r\n");
    let chunked = ["-H", "Transfer-Encoding: chunked", "-H", "Expect: 100-continue", "--data", "chunk", &url];
    let answer = curl_json(&chunked);
    assert_eq!(
        (&answer["chunked"], &answer["body"]),
        (&json!(true), &json!(BASE64_STANDARD.encode("chunk")))
    );
}

#[test]
fn bodies_are_encoded_as_they_say() {
    let realm = verifier().realm();
    let length = |coding: &str, more: &[&str]| {
        let url = format!("{}/{coding}", realm.url);
        let output = curl(&[&[url.as_str()], more].concat());
        assert!(output.status.success(), "{coding} {output:?}");
        output.stdout
    };
    let plain = length("gzip", &["--compressed"]);
    assert!(serde_json::from_slice::<Value>(&plain).unwrap()["text"].as_str().unwrap().starts_with("zażółć"));
    for coding in ["br", "zstd", "deflate", "gzip-gzip"] {
        assert_eq!(length(coding, &["--compressed"]), plain, "{coding}");
        assert_ne!(length(coding, &[]), plain, "{coding}");
    }
    for coding in ["gzip", "br", "zstd"] {
        let (on_the_wire, decoded) = (
            length(&format!("bomb/{coding}?mib=8"), &[]),
            length(&format!("bomb/{coding}?mib=8"), &["--compressed"]),
        );
        assert_eq!(
            (decoded.len(), on_the_wire.len() < 16 << 10),
            (8 << 20, true),
            "{coding} {}",
            on_the_wire.len()
        );
    }
}

#[test]
fn httpbin_wants_a_digest() {
    for algorithm in ["MD5", "SHA-256", "SHA-512"] {
        let url = format!("{}/digest-auth/auth/alice/secret/{algorithm}", httpbin().url);
        let status = |pair: &str| {
            let output = curl(&["--digest", "--user", pair, "-o", "/dev/null", "-w", "%{http_code}", &url]);
            String::from_utf8(output.stdout).unwrap()
        };
        // This curl may not know the algorithm, but a wrong password never passes.
        assert_eq!(status("alice:wrong"), "401", "{algorithm}");
        if algorithm != "SHA-512" {
            assert_eq!(status("alice:secret"), "200", "{algorithm}");
        }
    }
}

/// A client that goes through this proxy.
fn through(proxy: &str) -> Client {
    Client::builder().proxy(reqwest::Proxy::all(proxy).unwrap()).build().unwrap()
}

#[tokio::test]
async fn squid_wants_its_password() {
    let realm = verifier().realm();
    let url = format!("{}/echo", realm.url);
    let answer = through(&squid().url_with_password()).get(&url).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let via = json_of(answer).await["headers"].to_string();
    assert!(via.contains("squid.test"), "{via}");
    assert_eq!(through(&squid().url).get(&url).send().await.unwrap().status(), 407);
    let wrong = squid().url.replace("://", &format!("://{}:wrong@", Proxy::USER));
    assert_eq!(through(&wrong).get(&url).send().await.unwrap().status(), 407);
    assert_eq!(realm.requests().await, 1);
}

#[test]
fn squid_tunnels() {
    let url = format!("{}/echo", verifier().https());
    let ca = pki().ca.path.to_str().unwrap();
    let answer = curl_json(&["--cacert", ca, "--proxy", &squid().url_with_password(), &url]);
    assert_eq!(answer["tls"]["version"], "TLSv1.3");
    let output = curl(&["--cacert", ca, "--proxy", &squid().url, "-w", "%{http_connect}", &url]);
    assert!(String::from_utf8_lossy(&output.stdout).ends_with("407"), "{output:?}");
}

#[test]
fn socks_forwards_and_wants_its_password() {
    let realm = verifier().realm();
    let url = format!("{}/bearer", realm.url);
    // socks5h: the name is resolved by the proxy.
    let named = url.replace("127.0.0.1", "localhost");
    let free = socks().url.replace("socks5", "socks5h");
    assert_eq!(curl_json(&["--noproxy", "", "--proxy", &free, &named])["kind"], "bearer");
    assert_eq!(curl_json(&["--noproxy", "", "--proxy", &socks().url, &url])["kind"], "bearer");
    let locked = socks_with_password();
    assert_eq!(curl_json(&["--noproxy", "", "--proxy", &locked.url_with_password(), &url])["kind"], "bearer");
    let wrong = locked.url.replace("://", &format!("://{}:wrong@", Proxy::USER));
    for refused in [wrong, locked.url.clone()] {
        assert!(!curl(&["--noproxy", "", "--proxy", &refused, &url]).status.success(), "{refused}");
    }
}

#[tokio::test]
async fn oidc_provider_issues_tokens_that_it_knows() {
    let url = || oidc().token_url.clone();
    let scope = ("scope", Oidc::SCOPE);
    for client in [Oidc::CLIENT, Oidc::CLIENT_ODD] {
        let (status, answer) = token(url(), &[CLIENT_GRANT, scope], Some(client)).await;
        assert_eq!((status, &answer["expires_in"]), (200, &json!(Oidc::TOKEN_SECONDS)), "{answer}");
        let issued = answer["access_token"].as_str().unwrap();
        let (_, answer) = token(oidc().introspection_url.clone(), &[("token", issued)], Some(client)).await;
        assert_eq!((&answer["active"], &answer["client_id"]), (&json!(true), &json!(client.0)), "{answer}");
    }
    let (id, secret) = Oidc::CLIENT_POST;
    let post = [CLIENT_GRANT, scope, ("client_id", id), ("client_secret", secret)];
    assert_eq!(token(url(), &post, None).await.0, 200);
    let (status, answer) = token(url(), &[CLIENT_GRANT], Some((Oidc::CLIENT.0, "wrong"))).await;
    assert_eq!((status, &answer["error"]), (401, &json!("invalid_client")), "{answer}");
}

/// Every server's folder and process are gone once the process that asked for them is, even if that was killed.
#[test]
fn nothing_is_left_running() {
    let keep = Path::new(env!("CARGO_MANIFEST_DIR")).join("servers/keep.py");
    let folder = tempfile::tempdir().unwrap().keep();
    // It says its process id, which is its group's too, and that of a child that it started itself.
    let server = "(sleep 5; echo survived) & echo $$; wait";
    let mut kept = Command::new("python3")
        .args([keep.as_os_str(), folder.as_os_str()])
        .args(["sh", "-c", server])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    let mut output = std::io::BufReader::new(kept.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut output, &mut said).unwrap();
    let group = format!("-{}", said.trim());
    let alive =
        || Command::new("kill").args(["-0", "--", &group]).stderr(Stdio::null()).status().unwrap().success();
    assert!(alive() && folder.exists());
    // What the end of this process does to the pipe.
    drop(kept.stdin.take());
    kept.wait().unwrap();
    // The child that lost its parent holds the pipe until it is dead.
    std::io::Read::read_to_string(&mut output, &mut said).unwrap();
    assert!(!said.contains("survived") && !folder.exists(), "{said}");
}
