//! What the tests of every kind share: a section made into a credential, a request, a transport that is played.
//!
//! Invariant: no test waits for a clock or dials anything.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use openact_core::{
    Result, Timestamp,
    credential::{
        Answer, Authenticator, BoxFuture, Credential, CredentialKind, Exchange, Injection, RequestView,
        SecretSource, Transport,
    },
    policy::Origin,
    secret::{ExposeSecret, SecretRef, SecretString},
};
use serde_json::Value;
use url::Url;

use crate::{Setup, Tokens, credential};

/// Knows one secret: that of the variable `SET`.
pub(crate) struct Secrets;

impl SecretSource for Secrets {
    fn secret(&self, reference: &SecretRef) -> Result<Option<SecretString>> {
        Ok((*reference == SecretRef::Env("SET".into())).then(|| "hunter2".into()))
    }
}

/// A transport that plays `script` and keeps what it was asked.
pub(crate) struct Played {
    pub(crate) asked: Mutex<Vec<(Url, HeaderMap, String)>>,
    script: Script,
}

type Script = Box<dyn Fn(usize) -> BoxFuture<'static, Result<Answer>> + Send + Sync>;

impl Played {
    /// `script` is given the number of the request, from 1.
    pub(crate) fn new(
        script: impl Fn(usize) -> BoxFuture<'static, Result<Answer>> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self { asked: Mutex::default(), script: Box::new(script) })
    }

    /// Answers at once.
    pub(crate) fn answers(answer: impl Fn(usize) -> Answer + Send + Sync + 'static) -> Arc<Self> {
        Self::new(move |number| {
            let answer = answer(number);
            Box::pin(async move { Ok(answer) })
        })
    }

    pub(crate) fn count(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    pub(crate) fn last(&self) -> (Url, HeaderMap, String) {
        self.asked.lock().unwrap().last().unwrap().clone()
    }
}

impl Transport for Played {
    fn exchange<'a>(&'a self, request: Exchange) -> BoxFuture<'a, Result<Answer>> {
        assert_eq!(request.method, Method::POST);
        let body = String::from_utf8(request.body.to_vec()).unwrap();
        let number = {
            let mut asked = self.asked.lock().unwrap();
            asked.push((request.url, request.headers, body));
            asked.len()
        };
        (self.script)(number)
    }
}

pub(crate) fn answer(status: u16, body: impl ToString) -> Answer {
    let status = StatusCode::from_u16(status).unwrap();
    Answer { status, headers: HeaderMap::new(), body: Bytes::from(body.to_string()) }
}

/// A clock that stands still until it is moved.
#[derive(Clone)]
pub(crate) struct Clock(Instant, Arc<AtomicU64>);

impl Clock {
    pub(crate) fn new() -> Self {
        Self(Instant::now(), Arc::default())
    }

    pub(crate) fn tokens(&self) -> Arc<Tokens> {
        self.tokens_with(Duration::from_secs(30))
    }

    pub(crate) fn tokens_with(&self, patience: Duration) -> Arc<Tokens> {
        let clock = self.clone();
        let now = move || clock.0 + Duration::from_secs(clock.1.load(Ordering::SeqCst));
        Arc::new(Tokens::new(Arc::new(now), patience))
    }

    pub(crate) fn set(&self, seconds: u64) {
        self.1.store(seconds, Ordering::SeqCst);
    }
}

/// The credential of `section` for `https://api.example.com`, or another base.
pub(crate) fn make(
    section: &Value,
    base: &str,
    owner: &str,
    tokens: &Arc<Tokens>,
    transport: Arc<dyn Transport>,
) -> Result<Option<Credential>> {
    let origin = Origin::parse_grant(base).unwrap();
    credential(Setup {
        authorization: section.as_object().unwrap(),
        origin: Some(&origin),
        owner,
        secrets: &Secrets,
        tokens,
        transport,
    })
}

pub(crate) fn made(section: &Value) -> Result<Option<Credential>> {
    let nobody = Played::answers(|_| answer(404, ""));
    make(section, "https://api.example.com", "o", &Arc::default(), nobody)
}

pub(crate) fn authenticator(section: &Value) -> Arc<dyn Authenticator> {
    computed(made(section).unwrap())
}

pub(crate) fn computed(credential: Option<Credential>) -> Arc<dyn Authenticator> {
    match credential.unwrap().kind {
        CredentialKind::Computed(authenticator) => authenticator,
        CredentialKind::Fixed(_) => panic!("the credential is fixed"),
    }
}

/// A request, to be viewed.
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    pub(crate) now: Timestamp,
}

impl Request {
    pub(crate) fn new(method: Method, url: &str) -> Self {
        Self {
            method,
            url: Url::parse(url).unwrap(),
            headers: HeaderMap::new(),
            body: Vec::new(),
            now: Timestamp::UNIX_EPOCH,
        }
    }

    pub(crate) fn header(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        self
    }

    pub(crate) fn body(mut self, body: &[u8]) -> Self {
        self.body = body.to_vec();
        self
    }

    pub(crate) fn at(mut self, now: &str) -> Self {
        self.now = now.parse().unwrap();
        self
    }

    pub(crate) fn view(&self) -> RequestView<'_> {
        let Self { method, url, headers, body, now } = self;
        RequestView { method, url, headers, body, now: *now }
    }
}

/// The outcome of a future that must not wait.
pub(crate) fn ready<T>(future: impl Future<Output = T>) -> T {
    match std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => panic!("it waits"),
    }
}

pub(crate) fn shown(injections: &[Injection]) -> Vec<String> {
    let one = |injection: &Injection| match injection {
        Injection::Header { name, value } | Injection::Once { name, value } => {
            format!("header {name}: {}", value.expose_secret())
        }
        Injection::Plain { name, value } => format!("header {name}: {value}"),
        Injection::Query { name, value } => format!("query {name}={}", value.expose_secret()),
        Injection::Cookie { name, value } => format!("cookie {name}={}", value.expose_secret()),
    };
    injections.iter().map(one).collect()
}
