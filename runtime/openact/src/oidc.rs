//! Callers whom an OpenID provider vouches for: bearer tokens that are JWTs of one issuer, for one audience (M2).
//!
//! ```text
//! JWT ─► algorithm, kind ─► key by `kid` (in memory; asked of the issuer) ─► signature ─► iss, aud, exp, nbf ─► claims ─► Caller
//! ```
//!
//! | claim | what it says |
//! |---|---|
//! | `scope`, or `scp` | [`RUN`] may run actions, [`MANAGE`] may manage them, too; one of them is needed |
//! | `openact_tenants` | a list of tenants; `default` without it |
//! | `openact_allow`, `openact_deny` | lists of patterns of actions; every action without them |
//!
//! A claim that is there and cannot be understood, an empty list among them, refuses its token: what is misspelt must not
//! open what it was to close. Invariants: only asymmetric algorithms; a key is for its own family, curve and use; however
//! many tokens come with keys that nobody knows, the issuer is asked once in a while; a token is in no message and no log.

mod claims;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use jsonwebtoken::{
    Algorithm::{self, ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512},
    DecodingKey, Header, Validation, decode, decode_header,
    errors::ErrorKind,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse},
};
use openact_core::{
    Error, ErrorCode, Result,
    credential::Exchange,
    limits::{
        OIDC_ASK_PAUSE, OIDC_ASK_TIME_MAX, OIDC_FAILED, OIDC_KEYS_FRESH, OIDC_KEYS_KEPT, OIDC_KEYS_MAX,
        OIDC_LEEWAY, OIDC_TOKEN_BYTES_MAX,
    },
    policy::{EgressGrants, Origin, PrivateAccess},
};
use openact_engine::{Engine, GrantSettings};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::{sync::OwnedMutexGuard, task::JoinHandle, time::timeout};
use url::{Host, Url};

use crate::Caller;
use claims::Claims;
pub(crate) use claims::insufficient_scope;

/// The scope of a caller who may run actions.
pub const RUN: &str = "openact:run";
/// The scope of a caller who may manage them, too.
pub const MANAGE: &str = "openact:manage";

/// Those that a token may be signed with. None whose key an issuer would have to share with us.
const ALGORITHMS: [Algorithm; 9] = [RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA];

/// The issuer whose word counts, as it is configured.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    issuer: String,
    audience: String,
    discovery: Url,
    origin: Origin,
}

impl Settings {
    pub(crate) fn new(issuer: String, audience: String) -> Result<Self> {
        let bad = |what: &str| {
            Error::invalid_config(format!("the issuer is not the URL of an OpenID provider: {what}"))
                .hint("expected what its discovery document has as issuer: https://login.example.com/realm")
        };
        let url = Url::parse(&issuer).map_err(|error| bad(&error.to_string()))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(bad("it has user info"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(bad("it has a query or a fragment"));
        }
        let origin = Origin::of(&url).ok_or_else(|| bad("it is not an https URL"))?;
        if url.scheme() != "https" && !is_loopback(origin.host()) {
            return Err(bad("it is not an https URL, and not on this machine"));
        }
        if audience.is_empty() || audience.chars().any(char::is_whitespace) {
            return Err(Error::invalid_config("the audience of tokens is empty or holds white space")
                .hint("expected what the issuer writes as aud into tokens for this server"));
        }
        let discovery = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let discovery = Url::parse(&discovery).map_err(|error| bad(&error.to_string()))?;
        Ok(Self { issuer, audience, discovery, origin })
    }
}

/// What resolves to this machine, whoever answers for names.
fn is_loopback(host: &Host<String>) -> bool {
    match host {
        Host::Domain(name) => name.eq_ignore_ascii_case("localhost"),
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    }
}

/// Whether `text` could be a JWT: three parts of base64.
pub(crate) fn is_jwt(text: &str) -> bool {
    let is_base64 = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    let mut parts = text.split('.');
    let signed = parts.next().is_some_and(is_base64) && parts.next().is_some_and(is_base64);
    // One without a signature (`none`) is refused as what it is.
    signed && parts.next().is_some_and(|part| part.is_empty() || is_base64(part)) && parts.next().is_none()
}

/// See the module. One for the process.
pub(crate) struct Oidc {
    settings: Settings,
    engine: Engine,
    /// Which private addresses the issuer may lead to, beside its own.
    private: Arc<PrivateAccess>,
    state: Mutex<Arc<State>>,
    /// Held while the issuer is asked.
    turn: Arc<tokio::sync::Mutex<()>>,
}

/// What is known of the issuer.
#[derive(Default)]
struct State {
    keys: Vec<Arc<Key>>,
    /// When they were read; never, if they were not.
    read_at: Option<Instant>,
    /// Why they could not be read the last time.
    failure: Option<(ErrorCode, String)>,
    /// The issuer is not asked before.
    next: Option<Instant>,
}

/// A key of the issuer, and what it may have signed with it.
struct Key {
    id: Option<String>,
    algorithms: Vec<Algorithm>,
    key: DecodingKey,
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Value>,
}

impl Oidc {
    /// Reads the keys at once, before the first caller needs them. That the issuer is down is logged, and keeps nobody from
    /// starting.
    pub(crate) fn start(settings: Settings, engine: &Engine, private: &PrivateAccess) -> Arc<Self> {
        let oidc = Self::new(settings, engine.clone(), private);
        let (seen, preparing) = (oidc.state(), oidc.clone());
        tokio::spawn(async move { preparing.ask(&seen, Instant::now()).await });
        oidc
    }

    fn new(settings: Settings, engine: Engine, private: &PrivateAccess) -> Arc<Self> {
        let private = Arc::new(PrivateAccess::only(private.rules().to_vec()));
        Arc::new(Self { settings, engine, private, state: Mutex::default(), turn: Arc::default() })
    }

    pub(crate) fn issuer(&self) -> &str {
        &self.settings.issuer
    }

    /// Who shows this JWT.
    pub(crate) async fn authenticate(self: &Arc<Self>, text: &str, now: Instant) -> Result<Caller> {
        if text.len() > OIDC_TOKEN_BYTES_MAX {
            return Err(self.refused(&format!("it is longer than {OIDC_TOKEN_BYTES_MAX} bytes")));
        }
        let header = decode_header(text)
            .map_err(|_| self.refused("it cannot be read, or its algorithm is none that is known"))?;
        if !ALGORITHMS.contains(&header.alg) {
            return Err(self.refused("its algorithm is not an asymmetric one"));
        }
        if header.crit.is_some() || !is_access_token(header.typ.as_deref()) {
            return Err(self.refused("it is not an access token"));
        }
        let key = self.key(&header, now).await?;
        let claims = decode::<Claims>(text, &key.key, &self.validation(header.alg));
        // The library's words may quote the token.
        let claims = claims.map_err(|error| self.refused(reason(error.kind())))?.claims;
        claims.caller(self)
    }

    fn validation(&self, algorithm: Algorithm) -> Validation {
        let mut validation = Validation::new(algorithm);
        validation.leeway = OIDC_LEEWAY.as_secs();
        validation.validate_nbf = true;
        validation.set_audience(&[&self.settings.audience]);
        validation.set_issuer(&[&self.settings.issuer]);
        validation.set_required_spec_claims(&["exp", "aud", "iss", "sub"]);
        validation
    }

    /// Whoever shows a token has a right to know what is wrong with it; it is said without a word of it.
    fn refused(&self, why: &str) -> Error {
        let Settings { issuer, audience, .. } = &self.settings;
        Error::new(ErrorCode::Unauthenticated, format!("the token is refused: {why}"))
            .hint(format!("get one of {issuer} for the audience {audience}"))
    }

    fn state(&self) -> Arc<State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The key that a token was signed with, if its issuer has it.
    async fn key(self: &Arc<Self>, header: &Header, now: Instant) -> Result<Arc<Key>> {
        let seen = self.state();
        if let Some(key) = seen.key(header, now) {
            if !seen.is_younger(OIDC_KEYS_FRESH, now)
                && seen.may_ask(now)
                && let Ok(turn) = self.turn.clone().try_lock_owned()
            {
                // Goes on by itself; this caller need not wait.
                drop(self.clone().begin(turn, now));
            }
            return Ok(key);
        }
        self.ask(&seen, now).await;
        let state = self.state();
        match (state.key(header, now), &state.failure) {
            (Some(key), _) => Ok(key),
            (None, None) => Err(self.refused("it is signed with a key that its issuer does not have")),
            (None, Some((code, why))) => Err(Error::new(*code, self.unanswered(why))
                .with_retryable(true)
                .hint("tokens of this issuer are accepted once it answers; it is asked again by itself")),
        }
    }

    fn unanswered(&self, why: &str) -> String {
        format!("the keys of the issuer {} cannot be read: {why}", self.settings.issuer)
    }

    /// Asks the issuer, unless somebody did since `seen`, or it is too soon.
    async fn ask(self: &Arc<Self>, seen: &Arc<State>, now: Instant) {
        let turn = self.turn.clone().lock_owned().await;
        if Arc::ptr_eq(seen, &self.state()) && seen.may_ask(now) {
            // It panics no more than it is cancelled; if it did, nothing would be known, which is what is told.
            let _ = self.clone().begin(turn, now).await;
        }
    }

    /// Begins to ask. A task, so that a caller who leaves does not leave the others without an answer.
    fn begin(self: Arc<Self>, turn: OwnedMutexGuard<()>, now: Instant) -> JoinHandle<()> {
        tokio::spawn(async move {
            let _turn = turn;
            let read = timeout(OIDC_ASK_TIME_MAX, self.read()).await;
            self.keep(read.unwrap_or_else(|_| Err(Error::timeout("the answer took too long"))), now);
        })
    }

    fn keep(&self, read: Result<Vec<Arc<Key>>>, now: Instant) {
        let before = self.state();
        let after = match read {
            Ok(keys) => {
                if before.failure.is_some() {
                    tracing::info!("the issuer {} answers again", self.settings.issuer);
                }
                // The first unknown key after a start may be one of this very moment.
                let pause = if before.read_at.is_some() { OIDC_ASK_PAUSE } else { Duration::ZERO };
                State { keys, read_at: Some(now), failure: None, next: Some(now + pause) }
            }
            Err(error) => {
                if before.failure.is_none() {
                    tracing::warn!("{}", self.unanswered(&error.message));
                }
                let code = match error.code {
                    ErrorCode::Timeout | ErrorCode::NetworkError => error.code,
                    _ => ErrorCode::UpstreamError,
                };
                State {
                    keys: before.keys.clone(),
                    read_at: before.read_at,
                    failure: Some((code, error.message.clone())),
                    next: Some(now + OIDC_FAILED),
                }
            }
        };
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(after);
    }

    async fn read(&self) -> Result<Vec<Arc<Key>>> {
        let failed = |why: &str| Error::new(ErrorCode::UpstreamError, why);
        let discovery: Discovery = self.get(self.settings.discovery.clone()).await?;
        if discovery.issuer != self.settings.issuer {
            return Err(failed("its discovery document is of another issuer"));
        }
        let url = Url::parse(&discovery.jwks_uri).map_err(|_| failed("its jwks_uri is not a URL"))?;
        // In clear text to itself alone, where `Settings::new` let it be so.
        if url.scheme() != "https" && Origin::of(&url).as_ref() != Some(&self.settings.origin) {
            return Err(failed("its jwks_uri is not an https URL"));
        }
        let set: KeySet = self.get(url).await?;
        let keys = set.keys.into_iter().filter_map(Key::of).map(Arc::new).take(OIDC_KEYS_MAX);
        Ok(keys.collect())
    }

    /// A document of the issuer's. It may be on another host than the issuer, but not lead into a network that only the
    /// operator may open.
    async fn get<T: DeserializeOwned>(&self, url: Url) -> Result<T> {
        let failed = |why: String| Error::new(ErrorCode::UpstreamError, why);
        let origin = Origin::of(&url).ok_or_else(|| failed("its jwks_uri is not an https URL".into()))?;
        let shown = format!("{origin}{}", url.path());
        let mut egress = EgressGrants::new(vec![origin.clone()]);
        if origin != self.settings.origin {
            egress = egress.with_private(self.private.clone());
        }
        let transport = self.engine.transport(GrantSettings { egress, ..GrantSettings::default() })?;
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        let exchange = Exchange { method: Method::GET, url, headers, body: Bytes::new() };
        let answer = transport.exchange(exchange).await?;
        if !answer.status.is_success() {
            return Err(failed(format!("{shown} answered {}", answer.status.as_u16())));
        }
        serde_json::from_slice(&answer.body)
            .map_err(|_| failed(format!("{shown} answered something else than that document")))
    }
}

impl State {
    fn is_younger(&self, age: Duration, now: Instant) -> bool {
        self.read_at.is_some_and(|read_at| now < read_at + age)
    }

    fn may_ask(&self, now: Instant) -> bool {
        self.next.is_none_or(|next| now >= next)
    }

    /// By its id; a token that names none was signed with the only key there is.
    fn key(&self, header: &Header, now: Instant) -> Option<Arc<Key>> {
        if !self.is_younger(OIDC_KEYS_KEPT, now) {
            return None;
        }
        let mut fitting = self.keys.iter().filter(|key| key.algorithms.contains(&header.alg));
        match &header.kid {
            Some(id) => fitting.find(|key| key.id.as_ref() == Some(id)).cloned(),
            None => fitting.next().filter(|_| fitting.next().is_none()).cloned(),
        }
    }
}

impl Key {
    /// None for one that signs nothing we accept.
    fn of(jwk: Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(jwk).ok()?;
        if jwk.common.public_key_use.as_ref().is_some_and(|of| *of != PublicKeyUse::Signature) {
            return None;
        }
        let mut algorithms = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => vec![RS256, RS384, RS512, PS256, PS384, PS512],
            AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => vec![ES256],
            AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P384 => vec![ES384],
            AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => vec![EdDSA],
            _ => return None,
        };
        if let Some(named) = jwk.common.key_algorithm {
            algorithms.retain(|algorithm| Algorithm::try_from(named).is_ok_and(|named| named == *algorithm));
        }
        let key = DecodingKey::from_jwk(&jwk).ok().filter(|_| !algorithms.is_empty())?;
        Some(Self { id: jwk.common.key_id, algorithms, key })
    }
}

/// RFC 9068 calls an access token `at+jwt`; many issuers write what every JWT may be called. What is named as anything else
/// (a logout token, a proof of possession) is something else.
fn is_access_token(typ: Option<&str>) -> bool {
    let typ = typ.unwrap_or("JWT").to_ascii_lowercase();
    matches!(typ.strip_prefix("application/").unwrap_or(&typ), "jwt" | "at+jwt")
}

fn reason(kind: &ErrorKind) -> &'static str {
    match kind {
        ErrorKind::ExpiredSignature => "it is over",
        ErrorKind::ImmatureSignature => "it is not valid yet",
        ErrorKind::InvalidIssuer => "it is of another issuer",
        ErrorKind::InvalidAudience => "it is for another audience",
        ErrorKind::MissingRequiredClaim(_) => "it lacks one of the claims iss, sub, aud and exp",
        ErrorKind::Json(_) | ErrorKind::InvalidClaimFormat(_) => "its claims cannot be read",
        _ => "its signature is not its issuer's",
    }
}

#[cfg(test)]
mod tests;
