//! How often the issuer is asked, by a clock of the test's; which keys and issuers count.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;
use crate::OpenAct;

/// The public key of RFC 8037, appendix A.2.
const ED25519: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

fn jwk(id: &str) -> Value {
    json!({"kty": "OKP", "crv": "Ed25519", "x": ED25519, "kid": id})
}

/// An issuer on loopback.
#[derive(Clone)]
struct Issuer {
    url: String,
    keys: Arc<Mutex<Vec<Value>>>,
    /// What it says that it is, and where its keys are; else what is so.
    says: Arc<Mutex<Option<(String, String)>>>,
    is_down: Arc<AtomicBool>,
    /// How often its keys were read.
    reads: Arc<AtomicUsize>,
}

impl Issuer {
    async fn start(ids: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            keys: Arc::new(Mutex::new(ids.iter().map(|id| jwk(id)).collect())),
            says: Arc::default(),
            is_down: Arc::default(),
            reads: Arc::default(),
        };
        let serving = issuer.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = vec![0; 4096];
                let length = stream.read(&mut head).await.unwrap_or_default();
                let body = serving.body(&String::from_utf8_lossy(&head[..length]));
                if !serving.is_down.load(Ordering::SeqCst) {
                    let head = format!(
                        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                        body.len()
                    );
                    let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
                }
            }
        });
        issuer
    }

    fn body(&self, head: &str) -> String {
        if head.starts_with("GET /keys ") {
            self.reads.fetch_add(1, Ordering::SeqCst);
            return json!({"keys": *self.keys.lock().unwrap()}).to_string();
        }
        let says = self.says.lock().unwrap().clone();
        let (issuer, keys) = says.unwrap_or_else(|| (self.url.clone(), format!("{}/keys", self.url)));
        json!({"issuer": issuer, "jwks_uri": keys}).to_string()
    }

    fn reads(&self) -> usize {
        self.reads.load(Ordering::SeqCst)
    }

    /// What has not asked it yet.
    async fn oidc(&self) -> Arc<Oidc> {
        let openact = OpenAct::builder().without_cache().instances_max(1).build().await.unwrap();
        let settings = Settings::new(self.url.clone(), "openact".into()).unwrap();
        Oidc::new(settings, openact.0.engine.clone(), &PrivateAccess::default())
    }
}

/// Whether there is the key `id`, or why not.
async fn key(oidc: &Arc<Oidc>, id: &str, now: Instant) -> Result<(), ErrorCode> {
    let header = Header { kid: Some(id.into()), ..Header::new(EdDSA) };
    oidc.key(&header, now).await.map(drop).map_err(|error| error.code)
}

#[tokio::test]
async fn m2_keys_that_nobody_knows_are_asked_for_once_in_a_while() {
    let issuer = Issuer::start(&["a"]).await;
    let (oidc, start) = (issuer.oidc().await, Instant::now());
    for _ in 0..3 {
        key(&oidc, "a", start).await.unwrap();
    }
    assert_eq!(issuer.reads(), 1);
    for n in 0..100 {
        assert_eq!(key(&oidc, &format!("b{n}"), start).await, Err(ErrorCode::Unauthenticated));
    }
    // The first of them might have been new.
    assert_eq!(issuer.reads(), 2);
    *issuer.keys.lock().unwrap() = vec![jwk("c")];
    let before = start + OIDC_ASK_PAUSE - Duration::from_millis(1);
    assert_eq!(key(&oidc, "c", before).await, Err(ErrorCode::Unauthenticated));
    key(&oidc, "c", start + OIDC_ASK_PAUSE).await.unwrap();
    assert_eq!(key(&oidc, "a", start + OIDC_ASK_PAUSE).await, Err(ErrorCode::Unauthenticated), "withdrawn");
    assert_eq!(issuer.reads(), 3);
}

#[tokio::test]
async fn m2_callers_who_come_at_once_ask_once() {
    let issuer = Issuer::start(&["a"]).await;
    let (oidc, now) = (issuer.oidc().await, Instant::now());
    let callers = (0..50).map(|_| {
        let oidc = oidc.clone();
        tokio::spawn(async move { key(&oidc, "a", now).await })
    });
    // One who leaves takes nothing with them.
    for (n, caller) in callers.collect::<Vec<_>>().into_iter().enumerate() {
        match n {
            0 => caller.abort(),
            _ => caller.await.unwrap().unwrap(),
        }
    }
    assert_eq!(issuer.reads(), 1);
}

#[tokio::test]
async fn m2_keys_outlive_an_outage_and_are_not_kept_for_ever() {
    let issuer = Issuer::start(&["a"]).await;
    let (oidc, start) = (issuer.oidc().await, Instant::now());
    key(&oidc, "a", start).await.unwrap();
    // Read again behind a caller's back: the lock is the reader's until it has them.
    key(&oidc, "a", start + OIDC_KEYS_FRESH).await.unwrap();
    drop(oidc.turn.lock().await);
    assert_eq!(issuer.reads(), 2);
    issuer.is_down.store(true, Ordering::SeqCst);
    let stale = start + 2 * OIDC_KEYS_FRESH;
    key(&oidc, "a", stale).await.unwrap();
    drop(oidc.turn.lock().await);
    key(&oidc, "a", stale).await.unwrap();
    assert_eq!(key(&oidc, "b", stale).await, Err(ErrorCode::NetworkError), "it cannot be told");
    let over = start + OIDC_KEYS_FRESH + OIDC_KEYS_KEPT;
    assert_eq!(key(&oidc, "a", over).await, Err(ErrorCode::NetworkError));
    issuer.is_down.store(false, Ordering::SeqCst);
    assert_eq!(key(&oidc, "a", over).await, Err(ErrorCode::NetworkError), "asked again too soon");
    key(&oidc, "a", over + OIDC_FAILED).await.unwrap();
}

#[tokio::test]
async fn m2_an_issuer_leads_to_no_other_and_into_no_network_of_ours() {
    let (issuer, other) = (Issuer::start(&["a"]).await, Issuer::start(&["a"]).await);
    for (says, why) in [
        ((other.url.clone(), format!("{}/keys", issuer.url)), "another issuer"),
        ((issuer.url.clone(), format!("{}/keys", other.url)), "https"),
        ((issuer.url.clone(), format!("{}/keys", other.url.replace("http:", "https:"))), "private address"),
        ((issuer.url.clone(), "file:///etc/passwd".into()), "https"),
        ((issuer.url.clone(), "/keys".into()), "not a URL"),
    ] {
        *issuer.says.lock().unwrap() = Some(says);
        let header = Header { kid: Some("a".into()), ..Header::new(EdDSA) };
        let error = issuer.oidc().await.key(&header, Instant::now()).await.map(drop).unwrap_err();
        assert_eq!(error.code, ErrorCode::UpstreamError, "{why}: {error}");
        assert!(error.message.contains(why) && error.message.contains(&issuer.url), "{why}: {error}");
    }
    assert_eq!((issuer.reads(), other.reads()), (0, 0));
}

#[test]
fn m2_a_key_signs_what_it_is_for_and_nothing_else() {
    let algorithms = |jwk: Value| Key::of(jwk).map(|key| key.algorithms).unwrap_or_default();
    let with = |fields: Value| {
        let mut jwk = jwk("a");
        jwk.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        jwk
    };
    let ec = |curve: &str| json!({"kty": "EC", "crv": curve, "x": ED25519, "y": ED25519});
    assert_eq!(algorithms(jwk("a")), [EdDSA]);
    assert_eq!(algorithms(with(json!({"use": "sig", "alg": "EdDSA"}))), [EdDSA]);
    assert_eq!(algorithms(ec("P-256")), [ES256]);
    assert_eq!(algorithms(ec("P-384")), [ES384]);
    let rsa = |alg: Value| json!({"kty": "RSA", "n": "AQAB", "e": "AQAB", "alg": alg});
    assert_eq!(algorithms(rsa(json!("PS256"))), [PS256]);
    assert_eq!(algorithms(rsa(json!(null))).len(), 6);
    for none in [
        with(json!({"use": "enc"})),
        with(json!({"alg": "HS256"})),
        rsa(json!("HS256")),
        rsa(json!("RSA-OAEP")),
        ec("P-521"),
        ec("secp256k1"),
        json!({"kty": "oct", "k": "AQAB", "kid": "a"}),
        json!({"kid": "a"}),
        json!("a"),
    ] {
        assert!(algorithms(none.clone()).is_empty(), "{none}");
    }
}

#[test]
fn m2_a_token_without_a_key_id_is_of_the_only_key() {
    let state = |ids: &[&str]| State {
        keys: ids.iter().filter_map(|id| Key::of(jwk(id))).map(Arc::new).collect(),
        read_at: Some(Instant::now()),
        ..State::default()
    };
    let header = Header::new(EdDSA);
    assert!(state(&["a"]).key(&header, Instant::now()).is_some());
    assert!(state(&["a", "b"]).key(&header, Instant::now()).is_none());
    assert!(state(&["a"]).key(&Header::new(RS256), Instant::now()).is_none());
}

#[test]
fn an_issuer_is_reached_by_https_or_on_this_machine() {
    for good in ["https://a.example", "https://a.example/realm/", "http://localhost:1", "http://[::1]:1/x"] {
        Settings::new(good.into(), "openact".into()).unwrap();
    }
    for bad in [
        "",
        "a.example",
        "http://a.example",
        "http://10.0.0.1",
        "http://localhost.a.example",
        "ftp://localhost",
        "https://u:hunter2@a.example",
        "https://a.example/?x=1",
        "https://a.example/#x",
    ] {
        let error = Settings::new(bad.into(), "openact".into()).unwrap_err();
        assert_eq!(error.code, ErrorCode::InvalidConfig, "{bad}");
        assert!(!format!("{error:?}").contains("hunter2"));
    }
    for audience in ["", "a b"] {
        assert!(Settings::new("https://a.example".into(), audience.into()).is_err());
    }
    let at = |issuer: &str| Settings::new(issuer.into(), "x".into()).unwrap().discovery.to_string();
    assert_eq!(at("https://a.example"), "https://a.example/.well-known/openid-configuration");
    assert_eq!(at("https://a.example/r/"), "https://a.example/r/.well-known/openid-configuration");
}

#[test]
fn a_jwt_is_told_from_an_api_token() {
    for jwt in ["a.b.c", "eyJ.eyJ.x-_9", "a.b."] {
        assert!(is_jwt(jwt), "{jwt}");
    }
    for other in ["", "oat_0123_4567", "a.b", "a.b.c.d", ".b.c", "a..c", "a.b.c=", "a.b c.d"] {
        assert!(!is_jwt(other), "{other}");
    }
    assert!(
        is_access_token(None) && is_access_token(Some("JWT")) && is_access_token(Some("application/at+jwt"))
    );
    for other in ["logout+jwt", "dpop+jwt", "secevent+jwt", "id_token", ""] {
        assert!(!is_access_token(Some(other)), "{other}");
    }
}
