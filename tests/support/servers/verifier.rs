//! The server of `tests/servers/verifier.py`: every kind of credential, verified without any of our code.
//!
//! Invariant: each test asks it through a [`Realm`] of its own, so that tokens and counts are that test's alone.

use std::{
    collections::HashMap,
    fs,
    path::Path,
    process::Command,
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::{Value, json};

use super::{own, process::Process, python_bin};
use crate::ca::{Identity, pki};

/// What the verifier accepts. Texts that an encoding on the way could spoil, where the kind allows them.
pub mod credentials {
    /// The token of `/bearer`.
    pub const BEARER: &str = "bearer-7f3a.~+/9c==";
    /// The key of `/api-key/…`.
    pub const API_KEY: &str = "key-51c2e8";
    /// User and password of `/basic`.
    pub const BASIC: (&str, &str) = ("ålice", "pass:wörd %41+ &=");
    /// Access key and secret of `/sigv4`.
    pub const SIGV4: (&str, &str) = ("AKIDPLAIN", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");
    /// Access key, secret and session token of `/sigv4`.
    pub const SIGV4_SESSION: (&str, &str, &str) =
        ("ASIASESSION", "9drTJvcXLB89EXAMPLELB8923FB892xMFI", "FwoGZXIvYXdzEBYaD/session+token==");
    /// Region and service of `/sigv4`; the service `s3` is accepted too.
    pub const SIGV4_SCOPE: (&str, &str) = ("eu-central-1", "execute-api");
    /// The secret of `/hmac/…`.
    pub const HMAC: &str = "It's a Secret to Everybody";
    /// The secret of the keys `hs`, `hs384` and `hs512` of `/jwt`. The other keys are those of [`crate::ca::Pki`]: `rsa`,
    /// also as `rs384`, `rs512`, `ps256`, `ps384` and `ps512`; `ec`, `ec384`, `ed25519`.
    pub const JWT_SECRET: &str = "hs256-secret-of-at-least-thirty-two-bytes";
    /// Claim `iss` of `/jwt` and of the grant.
    pub const JWT_ISSUER: &str = "https://issuer.test";
    /// Claim `sub`.
    pub const JWT_SUBJECT: &str = "service-account";
    /// Claim `aud`, of a client's assertion too.
    pub const JWT_AUDIENCE: &str = "https://audience.test";
    /// Client and secret of `/token`.
    pub const CLIENT: (&str, &str) = ("svc", "svc-secret");
    /// Another: in HTTP basic authentication both have to be form-encoded first (RFC 6749 section 2.3.1).
    pub const CLIENT_ODD: (&str, &str) = ("odd client", "odd+secret %&=:é");
}

/// A running verifier.
pub struct Verifier {
    ports: HashMap<String, u16>,
    _process: Process,
}

/// The verifier of this process.
pub fn verifier() -> &'static Verifier {
    static STARTED: OnceLock<Verifier> = OnceLock::new();
    STARTED.get_or_init(Verifier::start)
}

impl Verifier {
    fn start() -> Self {
        let (process, folder, _) = Process::start(
            "verifier",
            |start| {
                let file = start.folder.join("config.json");
                fs::write(&file, config(start.folder).to_string()).unwrap();
                let mut command = Command::new(python_bin());
                // Its own modules, without leaving compiled ones beside them.
                command.arg("-B").arg(own("verifier.py")).arg(file);
                command
            },
            |start| start.folder.join("ports.json").exists(),
        );
        let ports = fs::read_to_string(folder.join("ports.json")).unwrap();
        Self { ports: serde_json::from_str(&ports).unwrap(), _process: process }
    }

    /// A realm that nobody else has, over plain HTTP.
    pub fn realm(&self) -> Realm {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("r{}", NEXT.fetch_add(1, Ordering::Relaxed));
        Realm { url: format!("{}/at/{name}", self.http()), name }
    }

    /// `http://127.0.0.1:PORT`
    pub fn http(&self) -> String {
        format!("http://127.0.0.1:{}", self.port("http"))
    }

    /// TLS by the authority of [`pki`].
    pub fn https(&self) -> String {
        self.tls("https")
    }

    /// TLS that wants a client's certificate of the authority.
    pub fn mtls(&self) -> String {
        self.tls("mtls")
    }

    /// TLS 1.2 and nothing newer.
    pub fn tls12(&self) -> String {
        self.tls("tls12")
    }

    /// A certificate that has ended.
    pub fn expired(&self) -> String {
        self.tls("expired")
    }

    /// A certificate for [`crate::ca::OTHER_NAME`] alone.
    pub fn other_name(&self) -> String {
        self.tls("other_name")
    }

    /// A certificate of the foreign authority.
    pub fn foreign(&self) -> String {
        self.tls("foreign")
    }

    /// The port of a listener: `http`, `https`, `mtls`, `tls12`, `expired`, `other_name`, `foreign`.
    pub fn port(&self, listener: &str) -> u16 {
        self.ports[listener]
    }

    fn tls(&self, listener: &str) -> String {
        format!("https://127.0.0.1:{}", self.port(listener))
    }
}

/// Tokens and counts of one test.
#[derive(Clone, Debug)]
pub struct Realm {
    /// `http://127.0.0.1:PORT/at/NAME`: append `/bearer`, `/token`, …
    pub url: String,
    name: String,
}

impl Realm {
    /// The same realm on another listener: `realm.on(&verifier().mtls())`.
    pub fn on(&self, base: &str) -> String {
        format!("{base}/at/{}", self.name)
    }

    /// Requests of this realm so far.
    pub async fn requests(&self) -> u64 {
        self.number("/count").await
    }

    /// Requests for a token so far.
    pub async fn token_requests(&self) -> u64 {
        self.number("/token/count").await
    }

    /// Makes every token of this realm worthless.
    pub async fn revoke_tokens(&self) {
        let url = format!("{}/token/revoke", self.url);
        let answer = reqwest::Client::builder().no_proxy().build().unwrap().post(url).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    }

    async fn number(&self, path: &str) -> u64 {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let answer = client.get(format!("{}{path}", self.url)).send().await.unwrap().bytes().await.unwrap();
        serde_json::from_slice::<Value>(&answer).unwrap()["requests"].as_u64().unwrap()
    }
}

fn config(folder: &Path) -> Value {
    use credentials::{
        API_KEY, BASIC, BEARER, CLIENT, CLIENT_ODD, HMAC, JWT_AUDIENCE, JWT_ISSUER, JWT_SECRET, JWT_SUBJECT,
        SIGV4, SIGV4_SCOPE, SIGV4_SESSION,
    };
    let pki = pki();
    let with = |identity: &Identity| json!({"cert": identity.cert.path, "key": identity.key.path});
    let also = |mut settings: Value, name: &str, value: Value| {
        settings[name] = value;
        settings
    };
    json!({
        "ready": folder.join("ports.json"),
        "listeners": {
            "http": {},
            "https": with(&pki.server),
            "mtls": also(with(&pki.server), "client_ca", json!(pki.ca.path)),
            "tls12": also(with(&pki.server), "version_max", json!("TLSv1_2")),
            "expired": with(&pki.expired),
            "other_name": with(&pki.other_name),
            "foreign": with(&pki.foreign_server),
        },
        "bearer": BEARER,
        "api_key": API_KEY,
        "basic": {"user": BASIC.0, "password": BASIC.1},
        "sigv4": {
            "region": SIGV4_SCOPE.0,
            "service": SIGV4_SCOPE.1,
            "keys": {
                SIGV4.0: {"secret_key": SIGV4.1},
                SIGV4_SESSION.0: {"secret_key": SIGV4_SESSION.1, "session_token": SIGV4_SESSION.2},
            },
        },
        "hmac": HMAC,
        "jwt": {
            "issuer": JWT_ISSUER,
            "subject": JWT_SUBJECT,
            "audience": JWT_AUDIENCE,
            "keys": {
                "hs": {"alg": "HS256", "key": JWT_SECRET},
                "hs384": {"alg": "HS384", "key": JWT_SECRET},
                "hs512": {"alg": "HS512", "key": JWT_SECRET},
                "rsa": {"alg": "RS256", "key": pki.rsa.public.text},
                "rs384": {"alg": "RS384", "key": pki.rsa.public.text},
                "rs512": {"alg": "RS512", "key": pki.rsa.public.text},
                "ps256": {"alg": "PS256", "key": pki.rsa.public.text},
                "ps384": {"alg": "PS384", "key": pki.rsa.public.text},
                "ps512": {"alg": "PS512", "key": pki.rsa.public.text},
                "ec": {"alg": "ES256", "key": pki.ec.public.text},
                "ec384": {"alg": "ES384", "key": pki.ec384.public.text},
                "ed25519": {"alg": "EdDSA", "key": pki.ed25519.public.text},
            },
        },
        "clients": {CLIENT.0: CLIENT.1, CLIENT_ODD.0: CLIENT_ODD.1},
        "expires_in": 3600,
    })
}
