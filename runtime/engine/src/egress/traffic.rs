//! What one call sends and receives, whichever way its connector asks: `openact:connector/http` or `wasi:http`.
//!
//! ```text
//! send ─► policy ─► header policy ─┬─► (dry run: described, not sent)
//!    ▲                             └─► rate limit ─► credential ─► dial ─► 401? retry? ─► redirect? ─► answer
//!    └──────────── each hop of a redirect begins anew ──────────────────────────────────────┘
//! ```
//!
//! Invariants: nothing is resolved or dialled before the policy said yes (E13); what a guest gets back (URLs, headers,
//! bodies, errors) holds no part of the credential; every attempt is in the call's record, or counted there.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use openact_core::{
    Error, ErrorCode, Result, Timestamp,
    credential::RequestView,
    limits::{CallLimits, HTTP_HEADERS_MAX, RUN_HOST_CALLS_MAX, WASI_HTTP_BUFFERED_MAX},
    policy::Origin,
    retry::{Attempt, RetryPolicy, replayable, retry_after},
    run::HostCall,
};
use serde_json::{Value, json};
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, sleep_until},
};
use tracing::{Instrument as _, Span};
use url::Url;

use super::{
    Grants,
    body::Body,
    credential::{Applied, BoundCredential, Masks},
    resolve::denial,
    trace::{self, CallTrace},
};
use crate::{error::http_client, instance::limit_error};

/// See the module. One per call, shared with what runs beside the guest.
pub(crate) struct Traffic {
    pub(crate) grants: Arc<Grants>,
    pub(crate) limits: CallLimits,
    pub(crate) deadline: Instant,
    pub(crate) dry_run: bool,
    pub(crate) trace: CallTrace,
    ledger: Mutex<Ledger>,
}

/// What a call has done so far.
#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) request_bytes: u64,
    pub(crate) response_bytes: u64,
    buffered_bytes: usize,
    /// Byte streams opened.
    pub(crate) sockets: u64,
    /// The place under the connection's rate limit that those which are open share.
    pub(crate) place: Weak<OwnedSemaphorePermit>,
    /// The first uses of host functions.
    pub(crate) host_calls: Vec<HostCall>,
    /// How many more there were.
    pub(crate) unrecorded: u64,
    /// In a dry run: the first request that would have gone out.
    pub(crate) described: Option<Value>,
    /// The last error a host function answered with. When the guest gives up for that reason, the caller gets
    /// this one, which says more than the guest was told.
    pub(crate) last_error: Option<Error>,
}

/// A request of a guest.
#[derive(Clone)]
pub(crate) struct Outgoing {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Option<Bytes>,
    /// Whether it wants the connection's credential.
    pub(crate) credential: bool,
    pub(crate) follow: bool,
}

/// An answer.
pub(crate) struct Incoming {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Body,
}

/// An answer whose body was not read yet.
struct Answered {
    response: reqwest::Response,
    credential: Option<Arc<Applied>>,
    /// What must not come back.
    masks: Masks,
    permit: Option<OwnedSemaphorePermit>,
}

impl Traffic {
    /// Of a call that has had `spent` of its time before.
    pub(crate) fn new(
        grants: Arc<Grants>,
        limits: CallLimits,
        spent: Duration,
        dry_run: bool,
        trace: CallTrace,
    ) -> Self {
        let deadline = Instant::now() + limits.wall().saturating_sub(spent);
        Self { grants, limits, deadline, dry_run, trace, ledger: Mutex::default() }
    }

    pub(crate) fn ledger(&self) -> std::sync::MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes one use of a host function for the run record.
    pub(crate) fn record(&self, function: &str, target: String, outcome: String) {
        self.record_timed(function, target, &outcome, Instant::now());
    }

    /// The same of what took from `started` until now.
    pub(crate) fn record_timed(&self, function: &str, target: String, outcome: &str, started: Instant) {
        let entry = self.begin(function, target);
        self.finish(entry, outcome.to_owned(), started);
    }

    /// Notes that something was begun: it stays in the record as `cancelled` if the call ends before it does.
    pub(crate) fn begin(&self, function: &str, target: String) -> Option<usize> {
        let mut ledger = self.ledger();
        let entry = ledger.host_calls.len();
        if entry >= RUN_HOST_CALLS_MAX {
            ledger.unrecorded += 1;
            return None;
        }
        let (function, outcome) = (function.to_owned(), "cancelled".to_owned());
        ledger.host_calls.push(HostCall { function, target, outcome, duration_us: 0 });
        Some(entry)
    }

    pub(crate) fn finish(&self, entry: Option<usize>, outcome: String, started: Instant) {
        let mut ledger = self.ledger();
        if let Some(call) = entry.and_then(|entry| ledger.host_calls.get_mut(entry)) {
            call.outcome = outcome;
            call.duration_us = started.elapsed().as_micros() as u64;
        }
    }

    /// Room for bytes of a request that is not whole yet; see [`WASI_HTTP_BUFFERED_MAX`].
    pub(crate) fn buffer(&self, bytes: usize) -> Result<()> {
        let mut ledger = self.ledger();
        ledger.buffered_bytes += bytes;
        if ledger.buffered_bytes <= WASI_HTTP_BUFFERED_MAX {
            return Ok(());
        }
        let message = format!("the bodies of unsent requests have more than {WASI_HTTP_BUFFERED_MAX} bytes");
        Err(limit_error("buffered_bytes", message))
    }

    /// Gives the room back.
    pub(crate) fn unbuffer(&self, bytes: usize) {
        let mut ledger = self.ledger();
        ledger.buffered_bytes = ledger.buffered_bytes.saturating_sub(bytes);
    }

    /// Counts received body bytes.
    pub(crate) fn received(&self, bytes: usize, target: &str) -> Result<()> {
        let mut ledger = self.ledger();
        ledger.response_bytes += bytes as u64;
        if ledger.response_bytes > self.limits.response_bytes { Err(self.too_large(target)) } else { Ok(()) }
    }

    fn too_large(&self, target: &str) -> Error {
        let max = self.limits.response_bytes;
        limit_error("response_bytes", format!("{target}: the response is larger than {max} bytes"))
            .hint("raise limits.response_bytes of the action or connection")
    }

    /// Counts body bytes about to be sent; again for each attempt and hop.
    pub(crate) fn sending(&self, bytes: usize) -> Result<()> {
        let mut ledger = self.ledger();
        ledger.request_bytes += bytes as u64;
        if ledger.request_bytes <= self.limits.request_bytes {
            return Ok(());
        }
        Err(limit_error(
            "request_bytes",
            format!("the call would send more than {} bytes", self.limits.request_bytes),
        )
        .hint("raise limits.request_bytes of the action or connection"))
    }

    /// Sends one request of the guest, and follows its redirects if it asks for that. `origin` is what
    /// [`Traffic::permit`] gave for its URL.
    pub(crate) async fn send(
        self: &Arc<Self>,
        mut origin: Origin,
        mut request: Outgoing,
    ) -> Result<Incoming> {
        let policy = &self.grants.policies.headers;
        let mut hops = 0;
        loop {
            self.admit(&mut request, &origin)?;
            if self.dry_run {
                return Err(self.describe(&request, &origin));
            }
            // The path helps to find the call; the query may hold what should not be kept.
            let target = format!("{} {}{}", request.method, origin, request.url.path());
            let kept = self.may_be_sent_again(&request).then(|| request.clone());
            let is_head = request.method == Method::HEAD;
            let mut answered = self.attempts(request, kept.as_ref(), &origin, &target).await?;
            let headers = self.headers_of(&mut answered, &target)?;
            let status = answered.response.status();
            let next = match &kept {
                Some(kept) if kept.follow => {
                    redirected(kept, &origin, status, &headers, policy.cross_origin_redirects)?
                }
                _ => None,
            };
            let Some(next) = next else {
                // Of these it is said how long the body would be that does not come.
                let has_body = !is_head && status != StatusCode::NOT_MODIFIED;
                let announced = answered.response.content_length().filter(|_| has_body);
                if announced.is_some_and(|length| {
                    self.ledger().response_bytes.saturating_add(length) > self.limits.response_bytes
                }) {
                    return Err(self.too_large(&target));
                }
                let Answered { response, masks, permit, .. } = answered;
                let body = Body::new(response, announced, self.clone(), masks, target, permit);
                return Ok(Incoming { status, headers, body });
            };
            hops += 1;
            if hops > policy.max_redirects {
                let message = format!("{target}: more than {} redirects", policy.max_redirects);
                return Err(limit_error("redirects", message));
            }
            origin = self.permit(&next.url)?;
            request = next;
        }
    }

    /// The policy's word on where a request goes, before anything else of it is looked at (E13).
    pub(crate) fn permit(&self, url: &Url) -> Result<Origin> {
        self.unless_denied(self.grants.egress.check(url))
    }

    /// The policy's word on a request's headers, and what the host adds to them. What fails here was never dialled.
    fn admit(&self, request: &mut Outgoing, origin: &Origin) -> Result<()> {
        let policy = &self.grants.policies.headers;
        let none = HeaderMap::new();
        // The connection's headers are for its own origin; where another is reached, none of them is put back (E8).
        let own = if self.grants.is_own(origin) { &self.grants.connection_headers } else { &none };
        let dropped = self.unless_denied(policy.apply(own, &mut request.headers))?;
        for name in dropped {
            tracing::warn!(target: "openact::egress", header = %name, "left out by http_policy");
        }
        for (name, value) in [(header::USER_AGENT, USER_AGENT), (header::ACCEPT, ANYTHING)] {
            request.headers.entry(name).or_insert(value);
        }
        self.trace.admit(&mut request.headers);
        // Only what the host decodes, so that every answer can be searched. A range of a coded answer decodes to nothing.
        let is_range = request.headers.contains_key(header::RANGE);
        request.headers.insert(header::ACCEPT_ENCODING, if is_range { IDENTITY } else { ENCODINGS });
        Ok(())
    }

    /// Notes a denial in the call's record.
    fn unless_denied<T>(&self, decided: Result<T>) -> Result<T> {
        decided.inspect_err(|error| {
            let denied = error.details.as_ref().and_then(|details| details.get("denied")?.as_str());
            let target = denied.unwrap_or("-").to_owned();
            self.record("http.send", target, error.code.as_str().to_owned());
        })
    }

    /// Most requests are sent once, and need not be copied for that.
    fn may_be_sent_again(&self, request: &Outgoing) -> bool {
        let is_computed =
            self.grants.credential.as_ref().is_some_and(|bound| bound.authenticator().is_some());
        request.follow || self.grants.policies.retry.retries > 0 || is_computed
    }

    /// Sends until an answer stands: retries by policy, and once more after a 401 that something can be done about.
    async fn attempts(
        self: &Arc<Self>,
        request: Outgoing,
        kept: Option<&Outgoing>,
        origin: &Origin,
        target: &str,
    ) -> Result<Answered> {
        let replayable = replayable(&request.method, &request.headers);
        let mut pacing = Pacing::new(&self.grants.policies.retry, replayable, self.deadline);
        let (mut was_refused, mut next) = (false, Some(request));
        while let Some(request) = next.take() {
            let (started, entry) = (Instant::now(), self.begin("http.send", target.to_owned()));
            let span = self.trace.http(&request.method, origin, pacing.attempts);
            let sent = self.attempt(request, origin, target, &span).instrument(span.clone()).await;
            trace::answered(&span, sent.as_ref().map(|answered| answered.response.status().as_u16()));
            drop(span);
            let outcome = match &sent {
                Ok(answered) => answered.response.status().as_u16().to_string(),
                Err(error) => error.code.as_str().to_owned(),
            };
            self.finish(entry, outcome, started);
            let Some(kept) = kept else { return sent };
            let is_refused =
                matches!(&sent, Ok(answered) if answered.response.status() == StatusCode::UNAUTHORIZED);
            if let (true, false, Ok(answered)) = (is_refused, was_refused, &sent) {
                was_refused = true;
                if self.mend_refusal(kept, answered, replayable).await? {
                    next = Some(kept.clone());
                    continue;
                }
            }
            let Some(last) = attempt_of(&sent) else { return sent };
            let bytes = kept.body.as_ref().map_or(0, Bytes::len) as u64;
            let has_room = self.ledger().request_bytes + bytes <= self.limits.request_bytes;
            if !has_room || !pacing.again(last).await {
                return sent;
            }
            next = Some(kept.clone());
        }
        Err(Error::internal("a request was to be sent again and is gone"))
    }

    async fn attempt(
        self: &Arc<Self>,
        mut request: Outgoing,
        origin: &Origin,
        target: &str,
        span: &Span,
    ) -> Result<Answered> {
        self.sending(request.body.as_ref().map_or(0, Bytes::len))?;
        let permit = match &self.grants.limiter {
            Some(limiter) => limiter.turn(self.deadline).await?,
            None => None,
        };
        let credential = match self.credential_for(&request, origin) {
            None => None,
            Some(bound) => {
                // What fails here (a token endpoint) fails before the request is on its way.
                let applied = bound.for_request(request.view()).await.map_err(not_sent)?;
                applied.apply(&mut request.url, &mut request.headers);
                Some(applied)
            }
        };
        let client = self.grants.client(origin)?;
        self.grants.stand_in(origin, &mut request.url, &mut request.headers)?;
        let policy = &self.grants.policies.headers;
        self.trace.tell(span, &mut request.headers, |name| policy.denies(name));
        let mut sending = reqwest::Request::new(request.method, request.url);
        *sending.headers_mut() = request.headers;
        *sending.body_mut() = request.body.map(Into::into);
        let sent = client.execute(sending).await;
        let masks = self.grants.masks(credential.clone());
        let response = sent.map_err(|error| match denial(&error) {
            Some(denied) => denied,
            None => {
                let was_sent = !error.is_connect();
                http_client(error, target, &masks).details(json!({ "sent": was_sent }))
            }
        })?;
        Ok(Answered { response, credential, masks, permit })
    }

    /// The connection's credential, if the request wants it and goes where it is bound to.
    fn credential_for(&self, request: &Outgoing, origin: &Origin) -> Option<&BoundCredential> {
        let bound = self.grants.credential.as_ref();
        bound.filter(|bound| request.credential && bound.binding.covers(origin, &request.url))
    }

    /// Whether a request that was refused with 401 is worth sending once more.
    async fn mend_refusal(&self, request: &Outgoing, answered: &Answered, replayable: bool) -> Result<bool> {
        let Some(applied) = &answered.credential else { return Ok(false) };
        let Some(authenticator) = self.grants.credential.as_ref().and_then(|bound| bound.authenticator())
        else {
            return Ok(false);
        };
        let headers = answered.response.headers();
        // Asked in any case, so that a token that was refused is not used again.
        let has_more = authenticator.refused(request.view(), &applied.injections, headers).await?;
        Ok(has_more && (replayable || authenticator.begins_refused()))
    }

    /// The headers of an answer, without the credential.
    fn headers_of(&self, answered: &mut Answered, target: &str) -> Result<HeaderMap> {
        let mut headers = std::mem::take(answered.response.headers_mut());
        if headers.len() > HTTP_HEADERS_MAX {
            return Err(limit_error(
                "response_headers",
                format!("{target}: the response has more than {HTTP_HEADERS_MAX} headers"),
            ));
        }
        if let Some(coding) = headers.get(header::CONTENT_ENCODING).filter(|coding| is_compression(coding)) {
            let coding = String::from_utf8_lossy(coding.as_bytes()).into_owned();
            return Err(Error::new(
                ErrorCode::UpstreamError,
                format!(
                    "{target}: the answer is coded as '{}', which was not asked for",
                    coding.escape_debug()
                ),
            ));
        }
        for value in headers.values_mut().filter(|value| answered.masks.find(value.as_bytes())) {
            let mut bytes = value.as_bytes().to_vec();
            answered.masks.mask(&mut bytes);
            *value = HeaderValue::from_bytes(&bytes).unwrap_or(MASKED);
        }
        Ok(headers)
    }

    /// Keeps what would be sent; the error ends the guest's call.
    fn describe(&self, request: &Outgoing, origin: &Origin) -> Error {
        let mut ledger = self.ledger();
        if ledger.described.is_none() {
            let names = self.credential_for(request, origin).map(BoundCredential::names);
            ledger.described = Some(request.describe(origin, names));
        }
        Error::new(ErrorCode::Forbidden, "this is a dry run: nothing is sent")
    }
}

const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("openact/", env!("CARGO_PKG_VERSION")));
const ANYTHING: HeaderValue = HeaderValue::from_static("*/*");
const ENCODINGS: HeaderValue = HeaderValue::from_static("gzip, br, zstd");
const IDENTITY: HeaderValue = HeaderValue::from_static("identity");
const MASKED: HeaderValue = HeaderValue::from_static("*");

impl Outgoing {
    fn view(&self) -> RequestView<'_> {
        let (method, url, headers) = (&self.method, &self.url, &self.headers);
        RequestView {
            method,
            url,
            headers,
            body: self.body.as_deref().unwrap_or_default(),
            now: Timestamp::now(),
        }
    }

    /// The request for people: the credential by the names of what it adds.
    fn describe(&self, origin: &Origin, credential: Option<Vec<String>>) -> Value {
        let mut headers = serde_json::Map::new();
        for (name, value) in &self.headers {
            let value = String::from_utf8_lossy(value.as_bytes());
            match headers.get_mut(name.as_str()) {
                Some(Value::String(earlier)) => {
                    earlier.push_str(", ");
                    earlier.push_str(&value);
                }
                _ => drop(headers.insert(name.as_str().to_owned(), value.into())),
            }
        }
        headers.insert("host".into(), origin.authority().into());
        let body = self.body.as_deref().unwrap_or_default();
        if !body.is_empty() {
            headers.insert("content-length".into(), body.len().to_string().into());
        }
        let body = match std::str::from_utf8(body) {
            Ok("") => Value::Null,
            Ok(text) => serde_json::from_str(text).unwrap_or_else(|_| text.into()),
            Err(_) => json!({ "base64": base64::Engine::encode(&base64::prelude::BASE64_STANDARD, body) }),
        };
        json!({
            "method": self.method.as_str(), "url": self.url.as_str(), "headers": headers,
            "credential": credential, "body": body, "follow_redirects": self.follow,
        })
    }
}

/// Decides on another attempt, and waits for it.
struct Pacing<'a> {
    policy: &'a RetryPolicy,
    replayable: bool,
    deadline: Instant,
    first: Instant,
    attempts: u32,
}

impl<'a> Pacing<'a> {
    /// From the start of the first attempt.
    fn new(policy: &'a RetryPolicy, replayable: bool, deadline: Instant) -> Self {
        Self { policy, replayable, deadline, first: Instant::now(), attempts: 0 }
    }

    /// After an attempt that ended as `last`: whether there is to be another, once it is time for it.
    async fn again(&mut self, last: Attempt) -> bool {
        self.attempts += 1;
        let elapsed = self.first.elapsed();
        let Some(wait) = self.policy.wait(self.attempts, elapsed, last, self.replayable, random()) else {
            return false;
        };
        let again = Instant::now() + wait;
        if again >= self.deadline {
            return false;
        }
        sleep_until(again).await;
        true
    }
}

/// How an attempt ended, as far as that says something of another.
fn attempt_of(sent: &Result<Answered>) -> Option<Attempt> {
    match sent {
        Ok(answered) => {
            let after = answered.response.headers().get(header::RETRY_AFTER);
            let after = after.and_then(|value| retry_after(value.as_bytes(), Timestamp::now()));
            Some(Attempt::Answered(answered.response.status().as_u16(), after))
        }
        Err(error) if matches!(error.code, ErrorCode::NetworkError | ErrorCode::Timeout) => {
            let sent = error.details.as_ref().and_then(|details| details.get("sent")?.as_bool());
            Some(if sent == Some(false) { Attempt::NotSent } else { Attempt::Broken })
        }
        Err(_) => None,
    }
}

/// What says how to read a body.
const CONTENT_HEADERS: [HeaderName; 4] =
    [header::CONTENT_TYPE, header::CONTENT_ENCODING, header::CONTENT_LANGUAGE, header::CONTENT_LOCATION];

/// The request that follows `request` by its answer (RFC 9110 section 15.4); none if that is no redirect.
fn redirected(
    request: &Outgoing,
    origin: &Origin,
    status: StatusCode,
    headers: &HeaderMap,
    may_leave: bool,
) -> Result<Option<Outgoing>> {
    let status = status.as_u16();
    let Some(location) =
        headers.get(header::LOCATION).filter(|_| matches!(status, 301 | 302 | 303 | 307 | 308))
    else {
        return Ok(None);
    };
    let next = location.to_str().ok().and_then(|location| request.url.join(location).ok());
    let Some((mut url, next_origin)) = next.and_then(|next| Some((next.clone(), Origin::of(&next)?))) else {
        return Err(Error::new(
            ErrorCode::UpstreamError,
            "the redirect's Location is not an http or https URL",
        ));
    };
    url.set_fragment(None);
    let has_user = !url.username().is_empty() || url.password().is_some();
    if has_user {
        return Err(Error::new(
            ErrorCode::UpstreamError,
            "the redirect's Location holds a user name or password",
        ));
    }
    let mut next = Outgoing { url, ..request.clone() };
    if next_origin != *origin {
        if !may_leave {
            return Err(Error::egress_denied(format!("{origin} redirects to {next_origin}"))
                .hint("http_policy.cross_origin_redirects is false for this connection"));
        }
        // Another origin gets nothing the guest or the connection meant for this one (E8), but what says how to read the
        // body, which 307 and 308 send on.
        let about_body = CONTENT_HEADERS.map(|name| next.headers.remove(&name).map(|value| (name, value)));
        next.headers.clear();
        next.headers.extend(about_body.into_iter().flatten());
        next.credential = false;
    }
    let is_get = match status {
        303 => next.method != Method::HEAD,
        301 | 302 => next.method == Method::POST,
        _ => false,
    };
    if is_get {
        next.method = Method::GET;
        next.body = None;
        for name in CONTENT_HEADERS {
            next.headers.remove(name);
        }
    }
    Ok(Some(next))
}

fn not_sent(error: Error) -> Error {
    if error.details.is_some() { error } else { error.details(json!({ "sent": false })) }
}

/// What the client decodes is no longer in the header; another compression cannot be searched.
fn is_compression(coding: &HeaderValue) -> bool {
    let coding = coding.as_bytes().to_ascii_lowercase();
    coding.split(|byte| matches!(byte, b',' | b' ')).any(|coding| {
        matches!(coding, b"gzip" | b"x-gzip" | b"br" | b"zstd" | b"deflate" | b"compress" | b"x-compress")
    })
}

/// A number in [0, 1), to spread attempts. Not from the cryptographic generator, which takes 20 ms to start.
fn random() -> f64 {
    (RandomState::new().hash_one(()) >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Attempts until the policy gives up, and the delays between them as the paused clock saw them.
    async fn paced(policy: &RetryPolicy, last: Attempt, replayable: bool) -> Vec<Duration> {
        let mut pacing = Pacing::new(policy, replayable, Instant::now() + Duration::from_secs(86_400));
        let mut delays = Vec::new();
        loop {
            let before = Instant::now();
            if !pacing.again(last).await {
                assert_eq!(before.elapsed(), Duration::ZERO, "it waited for nothing");
                return delays;
            }
            delays.push(before.elapsed());
        }
    }

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    #[tokio::test(start_paused = true)]
    async fn each_preset_waits_as_promised_and_no_longer() {
        for (name, longest) in [
            ("none", vec![]),
            ("api_calls", vec![1.0, 2.0, 4.0]),
            ("background", vec![2.0, 4.0, 8.0, 16.0, 32.0]),
            ("health", vec![0.5]),
            ("aggressive", vec![0.2, 0.4, 0.8, 1.6, 3.2]),
            ("conservative", vec![2.0, 4.0]),
        ] {
            let preset = RetryPolicy::preset(name).unwrap();
            let exact = RetryPolicy { jitter: false, ..preset.clone() };
            let longest: Vec<Duration> = longest.into_iter().map(seconds).collect();
            assert_eq!(paced(&exact, Attempt::Answered(503, None), true).await, longest, "{name}");
            let random = paced(&preset, Attempt::Answered(503, None), true).await;
            assert_eq!(random.len(), longest.len(), "{name}");
            // The clock of timers counts whole milliseconds.
            let fits = |(delay, most): (&Duration, &Duration)| *delay <= *most + Duration::from_millis(1);
            assert!(random.iter().zip(&longest).all(fits), "{name}: {random:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn retry_after_decides_and_a_post_is_not_sent_twice() {
        let policy = RetryPolicy::preset("api_calls").unwrap();
        let asked = Attempt::Answered(429, Some(seconds(3.0)));
        assert_eq!(paced(&policy, asked, true).await, [seconds(3.0); 3]);
        let too_long = Attempt::Answered(429, Some(seconds(3600.0)));
        assert_eq!(paced(&policy, too_long, true).await, [seconds(16.0); 3], "clamped to the longest delay");
        for last in [asked, Attempt::Broken, Attempt::Answered(503, None)] {
            assert!(paced(&policy, last, false).await.is_empty(), "{last:?}");
        }
        assert_eq!(paced(&policy, Attempt::NotSent, false).await.len(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn no_attempt_begins_after_the_deadline() {
        let policy = RetryPolicy { jitter: false, ..RetryPolicy::preset("background").unwrap() };
        let mut pacing = Pacing::new(&policy, true, Instant::now() + seconds(7.0));
        let last = Attempt::Answered(503, None);
        assert!(pacing.again(last).await && pacing.again(last).await);
        let before = Instant::now();
        assert!(!pacing.again(last).await);
        assert_eq!(before.elapsed(), Duration::ZERO);
    }
}
