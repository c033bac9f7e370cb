//! The `http` connector: one request to an HTTP API, described by a connection and an action.
//!
//! | module | job |
//! |---|---|
//! | [`config`] | the fields of a connection and an action |
//! | [`url`] | base URL, path template and query into one URL that cannot leave the base |
//! | [`body`] | the request's body |
//! | [`answer`] | the response as a result |
//!
//! Credentials, connection defaults, timeouts and limits are the host's. Invariant: a request goes to the origin of
//! the connection's `base_url` and below its path, whatever the action and the caller say.

pub mod answer;
pub mod body;
pub mod config;
pub mod url;

use openact_connector::{
    Call, Capability, Connector, Failure, Host, HostError, Json, Manifest, Operation, Request,
    UpstreamFailure, http::RedirectPolicy, log::Level,
};

use crate::config::{Action, Connection, Input};

/// The connector.
pub struct Http;

impl Connector for Http {
    type Connection = Connection;

    fn manifest() -> Manifest<Connection> {
        let request = Operation::new("request", "send one HTTP request", request);
        Manifest::new("http", env!("CARGO_PKG_VERSION"), "HTTP APIs")
            .needs(&[Capability::Http])
            .operation(request.overridable(&["headers", "query", "body"]))
    }

    /// Asks for the base URL itself. That it is not found is no fault: the server was reached and said so.
    fn check(connection: Connection, host: &dyn Host) -> Result<Json, Failure> {
        let url =
            url::build(&connection.base_url, "", &config::Pairs::default(), &Json::from_text("{}".into()))?;
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
    let Call { connection, action, input: Input(input), .. } = call;
    let mut request = Request::new(
        config::method(&action.method)?,
        url::build(&connection.base_url, &action.path, &action.query, &input)?,
    );
    if action.follow_redirects {
        request.redirects = RedirectPolicy::Follow;
    }
    for (name, values) in action.headers.0 {
        request.headers.extend(values.into_iter().map(|value| (name.clone(), value.into_bytes())));
    }
    match action.body {
        Some(_) if matches!(request.method.as_str(), "GET" | "HEAD") => {
            host.log(Level::Warn, &format!("the body is left out: {} has none", request.method), None);
        }
        Some(body) => body::attach(&mut request, body, action.body_type, &input)?,
        None => {}
    }
    if call.dry_run {
        return Ok(answer::dry_run(&request));
    }
    let mut response = host.send(request).map_err(|error| match error {
        HostError::InvalidRequest(message) => body::blame(&input, &["headers", "query"], message),
        other => other.into(),
    })?;
    let body = response.take_body()?;
    Ok(answer::result(response.status, &response.headers, &body))
}

openact_connector::export!(Http);
