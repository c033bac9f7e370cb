//! Trading credentials for an access token: `oauth2_client_credentials` (RFC 6749 section 4.4) and `jwt` with
//! `use: grant` (RFC 7523 section 2.1).
//!
//! | field | default | |
//! |---|---|---|
//! | `token_url` | | `https`; `http` if the connection's own URL is, as in development |
//! | `client_id`, `client_secret` | none for `jwt` | who asks |
//! | `client_auth` | `basic` | `basic` or `post` (RFC 6749 section 2.3.1) |
//! | `scope` | none | text, or a list that is joined by spaces |
//! | `audience`, `resource` | none | sent as they are (`resource`: RFC 8707). With `jwt`, `audience` is the assertion's `aud`, by default `token_url` |
//! | `token_parameters` | none | secrets: further fields of the request; they replace those above |
//! | `header`, `prefix` | `Authorization`, `Bearer` | where the token goes |
//!
//! | the endpoint says | the call gets |
//! |---|---|
//! | `{"access_token": …}` of type Bearer | the token, for `expires_in` or an hour |
//! | 400 to 499, or an `error` | `auth_required`, with the error's code |
//! | 429; 408, 500 and more | `rate_limited`; `upstream_error`, worth a retry |
//! | anything else | `upstream_error` |
//!
//! Invariant: nothing of an answer but an error's code, and no part of a request, gets into a message.

use std::{fmt, sync::Arc, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use openact_core::{
    Error, ErrorCode, Result, Timestamp,
    credential::{Answer, Authenticator, BoxFuture, Exchange, Injection, RequestView, Transport},
    limits::REDACTED_BYTES_MIN,
    policy::{Origin, Scheme},
    retry::retry_after,
    secret::{ExposeSecret, SecretString},
};
use serde::Deserialize;
use serde_json::Value;
use url::{Url, form_urlencoded};
use zeroize::{Zeroize, Zeroizing};

use crate::{
    Setup,
    fields::Fields,
    placement::Placement,
    signer::Signer,
    tokens::{Failure, Tokens},
};

/// What is asked for, and with what.
pub(crate) struct Grant {
    /// See [`Fields::fingerprint`].
    pub(crate) key: [u8; 32],
    token_url: Url,
    client: Option<Client>,
    assertion: Option<Signer>,
    parameters: Vec<(String, String)>,
    /// `token_parameters`
    secret_parameters: Vec<(String, SecretString)>,
    placement: Placement,
    transport: Arc<dyn Transport>,
}

#[derive(Debug)]
struct Client {
    id: String,
    secret: Option<SecretString>,
    in_header: bool,
}

/// A token as it is sent, and how long it lives.
#[derive(Debug)]
pub(crate) struct Issued {
    pub(crate) injections: Arc<[Injection]>,
    pub(crate) lifetime: Option<Duration>,
}

/// An [`Authenticator`] over a grant's token.
pub(crate) struct Granted {
    grant: Arc<Grant>,
    tokens: Arc<Tokens>,
}

pub(crate) fn client_credentials(fields: &Fields<'_>, setup: &Setup<'_>) -> Result<Granted> {
    fields.required("client_id")?;
    fields.secret("client_secret")?;
    let mut parameters = vec![("grant_type".to_owned(), "client_credentials".to_owned())];
    if let Some(audience) = fields.text("audience")? {
        parameters.push(("audience".to_owned(), audience.to_owned()));
    }
    Grant::of(fields, setup, parameters, None)
}

pub(crate) fn jwt_bearer(fields: &Fields<'_>, setup: &Setup<'_>) -> Result<Granted> {
    let kind = "urn:ietf:params:oauth:grant-type:jwt-bearer";
    let signer = Signer::of(fields, Some(fields.required("token_url")?))?;
    Grant::of(fields, setup, vec![("grant_type".to_owned(), kind.to_owned())], Some(signer))
}

impl Grant {
    fn of(
        fields: &Fields<'_>,
        setup: &Setup<'_>,
        mut parameters: Vec<(String, String)>,
        assertion: Option<Signer>,
    ) -> Result<Granted> {
        let scope = fields.texts("scope")?.join(" ");
        if !scope.is_empty() {
            parameters.push(("scope".to_owned(), scope));
        }
        if let Some(resource) = fields.text("resource")? {
            parameters.push(("resource".to_owned(), resource.to_owned()));
        }
        let mut secret_parameters = Vec::new();
        for (name, value) in fields.secret_pairs("token_parameters")? {
            parameters.retain(|(known, _)| known != name);
            secret_parameters.push((name.to_owned(), value));
        }
        let grant = Self {
            key: fields.fingerprint(setup.owner)?,
            token_url: token_url(fields.required("token_url")?, setup.origin)?,
            client: Client::of(fields)?,
            assertion,
            parameters,
            secret_parameters,
            placement: Placement::of(fields)?,
            transport: setup.transport.clone(),
        };
        Ok(Granted { grant: Arc::new(grant), tokens: setup.tokens.clone() })
    }

    /// Asks for a token, once. `now` is for what is dated.
    pub(crate) async fn request(&self, now: Timestamp) -> Result<Issued, Failure> {
        let exchange = self.exchange(now)?;
        let answer = self.transport.exchange(exchange).await.map_err(|error| {
            let context = format!("failed to get a token from {}", self.host());
            Failure::from(error.context(context))
        })?;
        self.issued(answer, now)
    }

    fn host(&self) -> &str {
        self.token_url.host_str().unwrap_or_default()
    }

    fn exchange(&self, now: Timestamp) -> Result<Exchange> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(header::CONTENT_TYPE, form);
        let mut body = form_urlencoded::Serializer::new(String::new());
        body.extend_pairs(&self.parameters);
        body.extend_pairs(self.secret_parameters.iter().map(|(name, value)| (name, value.expose_secret())));
        if let Some(signer) = &self.assertion {
            body.append_pair("assertion", &signer.assertion(now)?);
        }
        if let Some(client) = &self.client {
            match (&client.secret, client.in_header) {
                (Some(secret), true) => {
                    headers.insert(header::AUTHORIZATION, client.basic(secret)?);
                }
                (Some(secret), false) => {
                    body.append_pair("client_id", &client.id);
                    body.append_pair("client_secret", secret.expose_secret());
                }
                (None, _) => {
                    body.append_pair("client_id", &client.id);
                }
            }
        }
        let body = Bytes::from_owner(Zeroizing::new(body.finish().into_bytes()));
        Ok(Exchange { method: Method::POST, url: self.token_url.clone(), headers, body })
    }

    fn issued(&self, answer: Answer, now: Timestamp) -> Result<Issued, Failure> {
        let Answer { status, headers, body } = answer;
        let body: TokenAnswer = serde_json::from_slice(&body).unwrap_or_default();
        let transient = [StatusCode::TOO_MANY_REQUESTS, StatusCode::REQUEST_TIMEOUT].contains(&status);
        if transient || status.is_server_error() {
            let code = match status {
                StatusCode::TOO_MANY_REQUESTS => ErrorCode::RateLimited,
                _ => ErrorCode::UpstreamError,
            };
            let message = format!("the token endpoint {} answered {}", self.host(), status.as_u16());
            let mut failure = Failure::from(Error::new(code, message).with_retryable(true));
            let wait = headers.get(header::RETRY_AFTER);
            failure.wait = wait.and_then(|value| retry_after(value.as_bytes(), now));
            return Err(failure);
        }
        if status.is_client_error() || body.error.is_some() {
            return Err(self.refusal(status, body.error.as_deref()).into());
        }
        let unusable = |what: &str| {
            let message = format!("the token endpoint {} answered {} {what}", self.host(), status.as_u16());
            Error::new(ErrorCode::UpstreamError, message).hint("check authorization.token_url")
        };
        if !status.is_success() {
            return Err(unusable("in place of a token").into());
        }
        let token = body.access_token.as_ref().map(SecretString::expose_secret).filter(|token| {
            // RFC 6750 section 2.1 allows less; this is what a header carries.
            !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic())
        });
        let token = token.ok_or_else(|| unusable("without a usable access_token"))?;
        if body.token_type.as_ref().is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer")) {
            return Err(unusable("with a token of a type other than Bearer").into());
        }
        let injections = Arc::new([self.placement.injection(token)?]);
        Ok(Issued { injections, lifetime: body.expires_in.as_ref().and_then(lifetime) })
    }

    fn refusal(&self, status: StatusCode, code: Option<&str>) -> Error {
        let code = code.filter(|code| self.may_show(code));
        let hint = match code {
            Some("invalid_client") => "check client_id, client_secret and client_auth (basic or post)",
            Some("invalid_scope") => "check scope",
            Some("invalid_target" | "invalid_resource") => "check audience and resource",
            Some("invalid_grant") => "check key, key_id, issuer, subject and audience",
            Some("unauthorized_client") => "allow this client that grant at the provider",
            Some("unsupported_grant_type") => "check token_url; this provider may not support that grant",
            _ => "check token_url, client_id, client_secret, scope and token_parameters",
        };
        let what = code.map_or_else(|| status.as_u16().to_string(), str::to_owned);
        Error::auth_required(format!("the token endpoint {} refused: {what}", self.host()))
            .hint(format!("{hint}, in authorization"))
    }

    /// Whether `code` looks like an error code (RFC 6749 section 5.2), and is no echo of a secret.
    fn may_show(&self, code: &str) -> bool {
        let secret = self.client.as_ref().and_then(|client| client.secret.as_ref());
        // A short parameter is a version or a number, and may be part of any code.
        let parameters = self.secret_parameters.iter().map(|(_, value)| value);
        let long = parameters.filter(|value| value.expose_secret().len() >= REDACTED_BYTES_MIN);
        let mut secrets = secret.into_iter().chain(long).map(SecretString::expose_secret);
        let echo = secrets.any(|secret| code.contains(secret) || secret.contains(code));
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        (1..=40).contains(&code.len()) && code.bytes().all(plain) && !echo
    }
}

impl Client {
    fn of(fields: &Fields<'_>) -> Result<Option<Self>> {
        let in_header = fields.choice("client_auth", &["basic", "post"])? == "basic";
        let Some(id) = fields.text("client_id")? else { return Ok(None) };
        Ok(Some(Self { id: id.to_owned(), secret: fields.optional_secret("client_secret")?, in_header }))
    }

    /// Both are form-encoded before they are joined, unlike in RFC 7617.
    fn basic(&self, secret: &SecretString) -> Result<HeaderValue> {
        let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let pair = Zeroizing::new(format!("{}:{}", encode(&self.id), encode(secret.expose_secret())));
        let value = Zeroizing::new(format!("Basic {}", BASE64_STANDARD.encode(pair.as_bytes())));
        let mut value = HeaderValue::from_str(&value)
            .map_err(|_| Error::internal("failed to write the client's credentials into a header"))?;
        value.set_sensitive(true);
        Ok(value)
    }
}

/// The fields of RFC 6749 sections 5.1 and 5.2 that matter here. Read leniently: what is no JSON object has none.
#[derive(Default, Deserialize)]
struct TokenAnswer {
    #[serde(default, deserialize_with = "secret")]
    access_token: Option<SecretString>,
    token_type: Option<String>,
    expires_in: Option<Value>,
    error: Option<String>,
}

fn secret<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<SecretString>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    Ok(text.map(|mut text| {
        let secret = SecretString::from(text.as_str());
        text.zeroize();
        secret
    }))
}

/// Seconds, as a number or, of some providers, a text. Zero is what some say for "unknown".
fn lifetime(value: &Value) -> Option<Duration> {
    let seconds = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.parse().ok()?,
        _ => return None,
    };
    (seconds >= 1.0).then(|| Duration::try_from_secs_f64(seconds).ok()).flatten()
}

fn token_url(text: &str, own: Option<&Origin>) -> Result<Url> {
    let bad = |what: &str| Error::invalid_config(format!("authorization.token_url {what}"));
    let url = Url::parse(text).map_err(|error| bad(&format!("is not a URL: {error}")))?;
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err(bad("has user info or a fragment"));
    }
    let own_is_plain = own.is_some_and(|own| own.scheme() == Scheme::Http);
    match Origin::of(&url).map(|origin| origin.scheme()) {
        Some(Scheme::Https) => Ok(url),
        Some(Scheme::Http) if own_is_plain => Ok(url),
        Some(Scheme::Http) => Err(bad("must be https")
            .hint("http is allowed only if the connection's own URL is http too, as in development")),
        Some(Scheme::Tcp) | None => Err(bad("is not an https URL with a host")),
    }
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grant")
            .field("host", &self.host())
            .field("client", &self.client)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Granted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Granted").field("grant", &self.grant).finish_non_exhaustive()
    }
}

impl Authenticator for Granted {
    fn authenticate<'a>(&'a self, request: RequestView<'a>) -> BoxFuture<'a, Result<Arc<[Injection]>>> {
        Box::pin(self.tokens.get(&self.grant, request.now))
    }

    fn names(&self) -> Vec<String> {
        vec![self.grant.placement.name()]
    }

    fn refused<'a>(
        &'a self,
        _: RequestView<'a>,
        sent: &'a [Injection],
        _: &'a HeaderMap,
    ) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move { Ok(self.tokens.refused(&self.grant.key, sent)) })
    }
}

#[cfg(test)]
mod tests;
