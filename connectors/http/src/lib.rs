//! The `http` connector: requests to an HTTP API, described by a connection and an action.
//!
//! | module | job |
//! |---|---|
//! | [`config`] | the fields of a connection and an action |
//! | `request` | from an action and its input to the request that is sent |
//! | `template`, `variables` | `{{name}}` in headers, query, cookies and body |
//! | [`url`] | base URL, path template and query into one URL that cannot leave the base |
//! | `cookies`, `body`, `multipart` | the rest of the request |
//! | [`response`], [`answer`] | what is accepted as an answer, and what of it is the result |
//! | [`pagination`], [`link`] | page after page |
//! | `lines` | JSON line by line, as it arrives |
//! | `rules` | what the schema says of fields that depend on each other |
//! | [`charset`], [`json`], [`pairs`] | text as bytes, JSON by place, names with values |
//!
//! Credentials, connection defaults, header policy, retry, timeouts, limits, decompression and dry runs are the
//! host's. Invariant: a request goes to the origin of the connection's `base_url` and, but for the links of pages,
//! below its path, whatever the action, the caller and the server say.

pub mod answer;
mod body;
pub mod charset;
pub mod config;
mod cookies;
pub mod json;
mod lines;
pub mod link;
mod multipart;
pub mod pagination;
pub mod pairs;
mod request;
pub mod response;
mod rules;
mod template;
pub mod url;
pub mod variables;

use openact_connector::{
    Call, Capability, Connector, Failure, Host, Input, Json, Manifest, Operation, Request, UpstreamFailure,
};

use crate::{
    config::{Action, Connection},
    pairs::Pairs,
    variables::Variables,
};

/// The connector.
pub struct Http;

impl Connector for Http {
    type Connection = Connection;

    fn manifest() -> Manifest<Connection> {
        let request =
            Operation::new("request", "send one HTTP request, or one for each page of a list", request);
        Manifest::new("http", env!("CARGO_PKG_VERSION"), "HTTP APIs")
            .needs(&[Capability::Http, Capability::Emit])
            .operation(request.overridable(&["headers", "query", "cookies", "body"]))
    }

    /// Asks for the base URL itself. That it is not found is no fault: the server was reached and said so.
    fn check(connection: Connection, host: &dyn Host) -> Result<Json, Failure> {
        let nothing = Json::from_text("{}".into());
        let url = url::build(&connection.base_url, "", &Pairs::default(), &Variables::of(&nothing))?;
        let response = host.send(Request::get(&url))?;
        let said = || format!("GET {url} was answered with {}", response.status);
        match response.status {
            401 | 403 => Err(Failure::Unauthenticated(said())),
            status @ 500.. => Err(Failure::Upstream(UpstreamFailure {
                code: Some(status.to_string()),
                message: said(),
                details: None,
                retryable: true,
            })),
            status => Ok(serde_json::json!({"status_code": status, "url": url}).into()),
        }
    }
}

fn request(call: Call<Connection, Action, Input>, host: &dyn Host) -> Result<Json, Failure> {
    let Call { connection, mut action, input: Input(input), .. } = call;
    action.response.check()?;
    let (outgoing, sender) = request::prepare(&connection, &mut action, &input, host)?;
    if let Some(pagination) = &action.pagination {
        return pagination::run(pagination, &action.response, outgoing, &sender);
    }
    let response = sender.send(outgoing)?;
    if lines::are_in(&response, &action.response) {
        return lines::result(response, &action.response, host);
    }
    action.response.result(response)
}

openact_connector::export!(Http);
