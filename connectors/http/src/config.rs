//! The fields of a connection and an action, as they are written in a configuration file. Their descriptions are what
//! people read in an editor and in messages.
//!
//! Invariant: nothing here is a secret; `authorization` belongs to the host.

use openact_connector::Json;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::rules;
pub use crate::{pagination::Pagination, pairs::Pairs, response::ResponseSettings};

/// Where.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Connection {
    /// The URL that every path is appended to; its own path and query are kept.
    #[schemars(url)]
    pub base_url: String,
}

/// What.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("allOf" = rules::of_action()))]
pub struct Action {
    /// GET, POST, ...
    #[serde(default = "get")]
    #[schemars(extend("pattern" = "^[A-Za-z0-9!#$%&'*+.^_`|~-]+$", "x-effect" = rules::effects()))]
    pub method: String,
    /// Appended to the base URL. {name} is replaced by the input's field of that name, as one segment; {+name} too, with
    /// its slashes.
    #[serde(default)]
    #[schemars(extend("pattern" = rules::PATH, "x-variables" = "{name}"))]
    pub path: String,
    /// Names and values; a list is sent as several headers, null takes a default away. {{name}} in a value is replaced
    /// by the input's field of that name.
    #[serde(default)]
    #[schemars(extend("x-variables" = "{{name}}"))]
    pub headers: Pairs,
    /// Names and values; a list is sent as several parameters, null takes a default away. {{name}} in a value is
    /// replaced by the input's field of that name.
    #[serde(default)]
    #[schemars(extend("x-aliases" = ["query_params"], "x-variables" = "{{name}}"))]
    pub query: Pairs,
    /// Names and values, sent as one Cookie header after the cookies set under headers. {{name}} in a value is replaced
    /// by the input's field of that name.
    #[serde(default)]
    #[schemars(extend("x-variables" = "{{name}}"))]
    pub cookies: Pairs,
    /// What is sent: any JSON, or one of {type: json, data}, {type: form, fields}, {type: multipart, fields, files},
    /// {type: raw, data, content_type}, {type: text, content, charset}; see body_type. {{name}} in a string is replaced
    /// by the input's field of that name; a string that is nothing else keeps the field's type.
    #[serde(default)]
    #[schemars(extend("x-merge" = "replace", "x-aliases" = ["request_body"], "x-variables" = "{{name}}"))]
    pub body: Option<Json>,
    /// How the body is written. If absent, as the body's own type says, else as JSON.
    #[serde(default)]
    #[schemars(with = "BodyType")]
    pub body_type: Option<BodyType>,
    /// Follow redirects to hosts the connection may reach, instead of returning them.
    #[serde(default)]
    pub follow_redirects: bool,
    /// What is accepted as an answer, and what of it is the result.
    #[serde(default)]
    #[schemars(extend("x-aliases" = ["response_policy"]))]
    pub response: ResponseSettings,
    /// Ask for page after page; the result is {items, pages, truncated}, or the items as a stream. A truncated one has
    /// next, from where to go on.
    #[serde(default)]
    #[schemars(with = "Pagination")]
    pub pagination: Option<Box<Pagination>>,
}

fn get() -> String {
    "GET".into()
}

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BodyType {
    /// JSON, whatever the body looks like.
    Json,
    /// The body is a string, sent as UTF-8 text.
    Text,
    /// The body is a string of base64 (RFC 4648 section 4), sent as the bytes it stands for.
    Base64,
    /// The body is an object of names and values, sent as a form (application/x-www-form-urlencoded).
    Form,
}
