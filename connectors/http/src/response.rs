//! The `response` section: what is accepted as an answer, and what of it is the result.
//!
//! Invariant: what is not accepted is not read further than a person needs to see why.

use std::borrow::Cow;

use openact_connector::{Failure, Json, Response, UpstreamFailure};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};

use crate::{
    answer::{self, As, Content, Headers},
    charset,
    json::Pointer,
    rules,
    variables::Value,
};

/// A failure carries this much of the answer's body, bytes; the host drops particulars beyond 64 KiB.
const FAILURE_BODY_BYTES_MAX: usize = 16 * 1024;

/// A message says this much of the server's own reason, bytes.
const FAILURE_REASON_BYTES_MAX: usize = 500;

/// The same bound for body and headers each once they are JSON, where a byte may have become six.
const FAILURE_PART_BYTES_MAX: usize = 28 * 1024;

/// What is asked of an answer.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("allOf" = [rules::extract_needs_json()]))]
pub struct ResponseSettings {
    /// A longer body is a failure, and is not read to its end.
    #[serde(alias = "max_response_size", alias = "max_body_bytes")]
    #[schemars(with = "u64", extend("x-aliases" = ["max_response_size", "max_body_bytes"]))]
    pub max_bytes: Option<u64>,
    /// A status such as 200, a range such as "2xx" or "200-299", or a list of them; any other status is a failure.
    /// Decides alone where it is set.
    #[serde(alias = "allowed_status_codes", alias = "expected_status")]
    #[schemars(with = "StatusSet", extend("x-aliases" = ["allowed_status_codes", "expected_status"]))]
    pub allowed_status: Option<StatusSet>,
    /// A status from 400 on is a failure instead of a result.
    pub fail_on_status: bool,
    /// What the body is read as, whatever its content type says. A body that cannot be is a failure, unless the status
    /// is none of 200 to 299.
    #[serde(rename = "as", alias = "response_format")]
    #[schemars(extend("x-aliases" = ["response_format"]))]
    pub read_as: As,
    /// The part of a JSON body that becomes the result's body, such as /data/items or $.data.items. For answers with a
    /// status of 200 to 299; one without a body stays null.
    #[serde(alias = "extract_json_path")]
    #[schemars(with = "Pointer", extend("x-aliases" = ["extract_json_path"]))]
    pub extract: Option<Pointer>,
    /// Whether a body that is neither JSON nor text is a result instead of a failure. Default: true.
    pub allow_binary: bool,
    /// What a JSON body says when it is a failure, whatever the status: for servers that answer 200 to what they refuse.
    #[schemars(with = "FailWhen")]
    pub fail_when: Option<FailWhen>,
}

/// By what an answer is known to be a failure.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct FailWhen {
    /// The place in the body that is looked at, such as /ok or $.ok.
    pub pointer: Pointer,
    /// The answer is a failure if this is there.
    #[schemars(extend("type" = ["string", "number", "boolean"]))]
    pub equals: serde_json::Value,
    /// Where the body has the reason as a code, text or a number. It becomes that of the failure.
    #[serde(default)]
    #[schemars(with = "Pointer")]
    pub code: Option<Pointer>,
    /// Where the body has the reason in words.
    #[serde(default)]
    #[schemars(with = "Pointer")]
    pub message: Option<Pointer>,
}

impl Default for ResponseSettings {
    fn default() -> Self {
        Self {
            max_bytes: None,
            allowed_status: None,
            fail_on_status: false,
            read_as: As::Auto,
            extract: None,
            allow_binary: true,
            fail_when: None,
        }
    }
}

/// Which statuses, as ranges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusSet(Vec<(u16, u16)>);

impl ResponseSettings {
    /// Refuses what contradicts itself.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        if self.extract.is_some() && matches!(self.read_as, As::Text | As::Bytes) {
            let text = "response.extract needs JSON, and response.as wants something else";
            return Err(Failure::InvalidConfig(text.into()));
        }
        Ok(())
    }

    /// The whole answer as a result.
    pub(crate) fn result(&self, mut response: Response) -> Result<Json, Failure> {
        self.admit(&mut response, self.failing())?;
        let body = self.read(&mut response)?;
        self.result_of(response.status, &response.headers, &body)
    }

    /// The result, of an answer that was admitted and read.
    pub(crate) fn result_of(&self, status: u16, headers: &Headers, body: &[u8]) -> Result<Json, Failure> {
        let content = self.content(status, headers, body)?;
        match &self.extract {
            Some(place) if is_success(status) => Ok(extracted(place, &content)?.result(status, headers)),
            _ => Ok(content.result(status, headers)),
        }
    }

    /// The body as what it is wanted as.
    pub(crate) fn content<'b>(
        &self,
        status: u16,
        headers: &Headers,
        body: &'b [u8],
    ) -> Result<Content<'b>, Failure> {
        let content = match Content::read_as(self.read_as, headers, body) {
            Some(content) => content,
            None if is_success(status) => return Err(not_as_wanted(self.read_as, headers)),
            // What an error says must not be lost.
            None => Content::of(headers, body),
        };
        if matches!(content, Content::Binary(_))
            && !self.allow_binary
            && matches!(Content::of(headers, body), Content::Binary(_))
        {
            let what = match answer::unknown_charset(headers) {
                Some(label) => format!("text in the unknown charset '{}'", label.escape_debug()),
                None => format!("bytes ({})", answer::essence(headers)),
            };
            return Err(Failure::upstream(format!(
                "the server answered {what}, which response.allow_binary refuses"
            )));
        }
        match self.fail_when.as_ref().zip(content.json()).and_then(|(when, json)| when.failure(json)) {
            Some(failure) => {
                let details = details_of(status, headers, body.to_vec());
                Err(Failure::Upstream(UpstreamFailure { details: Some(details), ..failure }))
            }
            None => Ok(content),
        }
    }

    /// The lowest status that is a failure, where no set is given.
    pub(crate) fn failing(&self) -> u16 {
        if self.fail_on_status { 400 } else { u16::MAX }
    }

    /// Fails unless the status is allowed; from `failing` on it is not, where no set is given.
    pub(crate) fn admit(&self, response: &mut Response, failing: u16) -> Result<(), Failure> {
        let status = response.status;
        let (refused, why) = match &self.allowed_status {
            Some(allowed) => (!allowed.contains(status), ", which response.allowed_status does not have"),
            None => (status >= failing, ""),
        };
        if !refused {
            return Ok(());
        }
        match response.failure() {
            Some(Failure::Upstream(upstream)) => {
                Err(Failure::Upstream(UpstreamFailure { details: Some(details(response)), ..upstream }))
            }
            Some(failure) => Err(failure),
            None => Err(Failure::Upstream(UpstreamFailure {
                code: Some(status.to_string()),
                message: format!("the server answered {status}{why}"),
                details: Some(details(response)),
                retryable: false,
            })),
        }
    }

    /// The whole body, within its bound.
    pub(crate) fn read(&self, response: &mut Response) -> Result<Vec<u8>, Failure> {
        let Some(bytes_max) = self.max_bytes else { return Ok(response.take_body()?) };
        response.take_body_within(bytes_max)?.ok_or_else(|| too_long(bytes_max))
    }
}

impl FailWhen {
    /// The failure that a JSON body is, if it is one.
    fn failure(&self, json: &str) -> Option<UpstreamFailure> {
        let found: serde_json::Value = serde_json::from_str(self.pointer.find(json)?).ok()?;
        if found != self.equals {
            return None;
        }
        let said = |place: &Option<Pointer>| match Value::of(place.as_ref()?.find(json)?) {
            Value::Text(text) if !text.is_empty() => Some(text.into_owned()),
            _ => None,
        };
        let (code, message) = (said(&self.code), said(&self.message));
        let why = match (&code, &message) {
            (Some(code), Some(message)) => format!("{code}: {message}"),
            (Some(why), None) | (None, Some(why)) => why.clone(),
            (None, None) => format!("{} is {}", self.pointer, self.equals),
        };
        Some(UpstreamFailure {
            code,
            message: format!("the server refused: {}", clipped(&why)),
            details: None,
            retryable: false,
        })
    }
}

/// As much of a reason as a message holds.
fn clipped(text: &str) -> &str {
    text.get(..text.floor_char_boundary(FAILURE_REASON_BYTES_MAX)).unwrap_or_default()
}

/// The failure of an answer beyond `max_bytes`.
pub(crate) fn too_long(bytes_max: u64) -> Failure {
    Failure::LimitExceeded(format!("the answer is longer than response.max_bytes ({bytes_max}) allows"))
}

fn is_success(status: u16) -> bool {
    (200..300).contains(&status)
}

fn not_as_wanted(wanted: As, headers: &Headers) -> Failure {
    let kind = answer::essence(headers);
    match answer::unknown_charset(headers).filter(|_| wanted == As::Text) {
        Some(label) => Failure::upstream(format!(
            "the charset '{}' of the answer is not known, and response.as wants text; known are {}",
            label.escape_debug(),
            charset::KNOWN
        )),
        None => Failure::upstream(format!(
            "the answer ({kind}) is not {}, which response.as wants",
            if wanted == As::Json { "JSON" } else { "text" }
        )),
    }
}

fn extracted<'a>(place: &Pointer, content: &'a Content<'_>) -> Result<Content<'a>, Failure> {
    let json = match content {
        Content::Json(json) => json,
        Content::Empty => return Ok(Content::Empty),
        Content::Text(_) | Content::Binary(_) => {
            return Err(Failure::upstream(format!(
                "the answer is not JSON, and response.extract wants '{place}' of it"
            )));
        }
    };
    match place.find(json) {
        Some(found) => Ok(Content::Json(found.into())),
        None => Err(Failure::upstream(format!(
            "the answer has nothing at '{place}', which response.extract wants"
        ))),
    }
}

/// `{"status_code", "headers", "body"}`, each bounded.
fn details(response: &mut Response) -> String {
    let mut body = Vec::new();
    // What broke off is as good as what was cut.
    while let Ok(Some(part)) = response.read() {
        body.extend_from_slice(&part);
        if body.len() > FAILURE_BODY_BYTES_MAX {
            break;
        }
    }
    details_of(response.status, &response.headers, body)
}

/// The same, of a body that was read.
fn details_of(status: u16, headers: &Headers, mut body: Vec<u8>) -> String {
    let cut = body.len() > FAILURE_BODY_BYTES_MAX;
    body.truncate(FAILURE_BODY_BYTES_MAX);
    if cut
        && let Err(error) = std::str::from_utf8(&body)
        && error.error_len().is_none()
    {
        body.truncate(error.valid_up_to());
    }
    let mut shown_headers = String::new();
    answer::push_headers(&mut shown_headers, headers);
    let mut shown = String::new();
    Content::of(headers, &body).push(&mut shown);
    let bounded = |text: String, instead: &str| {
        if text.len() <= FAILURE_PART_BYTES_MAX { text } else { instead.to_owned() }
    };
    format!(
        "{{\"status_code\":{},\"headers\":{},\"body\":{},\"truncated\":{cut}}}",
        status,
        bounded(shown_headers, "{}"),
        bounded(shown, "null")
    )
}

impl StatusSet {
    fn contains(&self, status: u16) -> bool {
        self.0.iter().any(|(first, last)| (*first..=*last).contains(&status))
    }

    fn add(&mut self, value: &serde_json::Value) -> Result<(), String> {
        let wrong = || format!("{value} is no status such as 200, \"2xx\" or \"200-299\"");
        let status = |text: &str| text.parse::<u16>().ok().filter(|status| (100..=599).contains(status));
        let range = match value {
            serde_json::Value::Number(number) => status(&number.to_string()).map(|status| (status, status)),
            serde_json::Value::String(text) => match text.to_ascii_lowercase().strip_suffix("xx") {
                Some(class) => status(&format!("{class}00")).map(|first| (first, first + 99)),
                None => {
                    let (first, last) = text.split_once('-').unwrap_or((text, text));
                    status(first.trim()).zip(status(last.trim())).filter(|(first, last)| first <= last)
                }
            },
            _ => None,
        };
        self.0.push(range.ok_or_else(wrong)?);
        Ok(())
    }
}

impl<'de> Deserialize<'de> for StatusSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut set = Self(Vec::new());
        let added = match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::Array(list) if list.is_empty() => {
                Err("a list of no status allows none".into())
            }
            serde_json::Value::Array(list) => list.iter().try_for_each(|value| set.add(value)),
            one => set.add(&one),
        };
        added.map(|()| set).map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for StatusSet {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "StatusSet".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let pattern = "^([1-5][xX]{2}|[1-5][0-9]{2}( *- *[1-5][0-9]{2})?)$";
        json_schema!({
            "type": ["integer", "string", "array"],
            "minimum": 100, "maximum": 599, "pattern": pattern, "minItems": 1,
            "items": {"type": ["integer", "string"], "minimum": 100, "maximum": 599, "pattern": pattern},
        })
    }
}
