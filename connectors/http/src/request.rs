//! From an action and its input to the request that is sent.
//!
//! Invariant: what is wrong is blamed on whoever wrote it: the caller if the input set that part or filled it in, else
//! the author of the configuration. The parts are `headers`, `query`, `cookies`, `body`, and `path`, which can only be
//! filled in.

use std::cell::Cell;

use openact_connector::{
    Failure, Host, HostError, Json, Request, Response, http::RedirectPolicy, log::Level,
};

use crate::{
    body::{Format, Kind},
    config::{Action, Connection},
    cookies,
    pairs::Pairs,
    template, url,
    variables::{Variables, blame},
};

/// A request before it is written out, so that the next page's can be made of it.
#[derive(Clone)]
pub(crate) struct Outgoing<'a> {
    pub(crate) base_url: &'a str,
    pub(crate) method: String,
    path: String,
    /// The whole URL, in place of what base, path and query make.
    pub(crate) url: Option<String>,
    pub(crate) query: Pairs,
    headers: Pairs,
    cookies: Pairs,
    pub(crate) body: Option<Json>,
    pub(crate) format: Format,
    redirects: RedirectPolicy,
}

/// Sends requests, and knows who to blame for them.
pub(crate) struct Sender<'a> {
    pub(crate) host: &'a dyn Host,
    pub(crate) variables: Variables<'a>,
    /// The parts with templates that the input filled in.
    filled: Vec<&'static str>,
    /// Whether it was said that a content type was replaced: once is enough for all pages.
    told: Cell<bool>,
}

/// Takes of `action` what a request is made of, with its templates filled in.
pub(crate) fn prepare<'a>(
    connection: &'a Connection,
    action: &mut Action,
    input: &'a Json,
    host: &'a dyn Host,
) -> Result<(Outgoing<'a>, Sender<'a>), Failure> {
    let variables = Variables::of(input);
    let method = method(&action.method)?;
    if action.body.is_some() && matches!(method.as_str(), "GET" | "HEAD") {
        host.log(Level::Warn, &format!("the body is left out: {method} has none"), None);
        action.body = None;
    }
    let warn = |text: &str| host.log(Level::Warn, text, None);
    let unfilled = |body: &Json| Format::of(body, action.body_type, warn);
    let format = action.body.as_ref().map_or(Format::Typed(Kind::Json), unfilled);
    let mut filled = template::expand(action, &variables)?;
    if action.path.contains('{') {
        filled.push("path");
    }
    let redirects = if action.follow_redirects { RedirectPolicy::Follow } else { RedirectPolicy::Manual };
    let outgoing = Outgoing {
        base_url: &connection.base_url,
        method,
        path: std::mem::take(&mut action.path),
        url: None,
        query: std::mem::take(&mut action.query),
        headers: std::mem::take(&mut action.headers),
        cookies: std::mem::take(&mut action.cookies),
        body: action.body.take(),
        format,
        redirects,
    };
    Ok((outgoing, Sender { host, variables, filled, told: Cell::new(false) }))
}

impl Sender<'_> {
    /// Writes the request out and sends it.
    pub(crate) fn send(&self, outgoing: Outgoing<'_>) -> Result<Response, Failure> {
        let request = self.request(outgoing)?;
        self.host.send(request).map_err(|error| match error {
            HostError::InvalidRequest(message) => {
                self.blame(&["headers", "query", "cookies", "body"], message)
            }
            other => other.into(),
        })
    }

    /// The URL that base, path and query make.
    pub(crate) fn url(&self, outgoing: &Outgoing<'_>) -> Result<String, Failure> {
        url::build(outgoing.base_url, &outgoing.path, &outgoing.query, &self.variables)
    }

    fn request(&self, outgoing: Outgoing<'_>) -> Result<Request, Failure> {
        let url = match outgoing.url {
            Some(url) => url,
            None => self.url(&outgoing)?,
        };
        let mut request = Request::new(outgoing.method, url);
        request.redirects = outgoing.redirects;
        for (name, values) in outgoing.headers.0 {
            request.headers.extend(values.into_iter().map(|value| (name.clone(), value.into_bytes())));
        }
        if !outgoing.cookies.0.is_empty() {
            cookies::attach(&mut request, &outgoing.cookies)
                .map_err(|message| self.blame(&["cookies"], message))?;
        }
        if let Some(body) = outgoing.body {
            self.attach(&mut request, body, outgoing.format)
                .map_err(|message| self.blame(&["body"], message))?;
        }
        Ok(request)
    }

    /// Whoever made one of `parts` what it is, is told.
    pub(crate) fn blame(&self, parts: &[&'static str], message: String) -> Failure {
        if parts.iter().any(|part| self.filled.contains(part)) {
            return Failure::InvalidInput(message);
        }
        blame(&self.variables, parts, message)
    }

    /// Sets the body of `request`, and its content type: a typed body's own, else the one that is set, if one is.
    fn attach(&self, request: &mut Request, body: Json, format: Format) -> Result<(), String> {
        let is_type = |name: &str| name.eq_ignore_ascii_case("content-type");
        let set = request.headers.iter().find(|(name, _)| is_type(name));
        let set = set.map(|(_, value)| String::from_utf8_lossy(value).into_owned());
        let (own, bytes) = format.encode(body, set.as_deref(), &self.variables)?;
        let stays = match &set {
            None => false,
            Some(set) => matches!(format, Format::Bare(_)) || *set == own,
        };
        if !stays {
            if let Some(set) = set {
                // A connection's default, most often, which is meant for other bodies.
                if !self.told.replace(true) {
                    let set = set.escape_debug();
                    let told = format!("the body has a type, so it is sent as {own} and not as {set}");
                    self.host.log(Level::Warn, &told, None);
                }
                request.headers.retain(|(name, _)| !is_type(name));
            }
            request.headers.push(("content-type".into(), own.into_owned().into()));
        }
        request.body = Some(bytes);
        Ok(())
    }
}

/// The method in upper case, if it is a token (RFC 9110 section 5.6.2).
fn method(text: &str) -> Result<String, Failure> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if text.is_empty() || !text.bytes().all(token) {
        return Err(Failure::InvalidConfig(format!(
            "method '{}' is not an HTTP method",
            text.escape_debug()
        )));
    }
    Ok(text.to_ascii_uppercase())
}
