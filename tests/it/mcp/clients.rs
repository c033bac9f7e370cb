//! A server over HTTP, and what talks to it.

use axum::{Router, extract::Request, middleware, response::Response};
use openact::{Governance, OpenAct};
use openact_mcp::{McpService, McpSettings};
use serde_json::{Value, json};

use super::caller;

const PROGRAM: &str = include_str!("../../servers/mcp_client.py");
const NEWEST: &str = "2026-07-28";

/// Lets the official SDK do `steps`; what came of each.
pub(super) async fn python(target: &str, mode: &str, steps: &Value, headers: &Value) -> Vec<Value> {
    let arguments = [target.to_owned(), mode.to_owned(), steps.to_string(), headers.to_string()];
    let printed = tokio::task::spawn_blocking(move || {
        support::servers::python(PROGRAM, &arguments.each_ref().map(String::as_str))
    });
    serde_json::from_str(&printed.await.unwrap()).unwrap()
}

/// A request of the newest protocol, which has no sessions.
pub(super) fn request(method: &str, params: Value) -> Value {
    let mut params = params;
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": NEWEST,
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
}

/// A server at a free port of 127.0.0.1, which ends with the test's runtime.
#[derive(Clone)]
pub(super) struct Served {
    pub(super) url: String,
    pub(super) service: McpService,
    http: reqwest::Client,
}

impl Served {
    pub(super) async fn start(openact: OpenAct, settings: McpSettings) -> Self {
        let service = openact_mcp::service(openact, settings);
        Self::listen(Router::new().route_service("/mcp", service.clone()), service).await
    }

    /// One that is told by a header who calls, as a server that knows its callers tells it.
    pub(super) async fn with_callers(openact: OpenAct, settings: McpSettings) -> Self {
        let service = openact_mcp::service(openact, settings);
        let router = Router::new().route_service("/mcp", service.clone()).layer(middleware::from_fn(told));
        Self::listen(router, service).await
    }

    async fn listen(router: Router, service: McpService) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, service, http: reqwest::Client::new() }
    }

    /// Status and body of a message.
    pub(super) async fn raw(&self, message: Value, headers: &[(&str, &str)]) -> (u16, String) {
        let mut request = self
            .http
            .post(&self.url)
            .header("accept", "application/json, text/event-stream")
            .header("content-type", "application/json")
            .body(message.to_string());
        if message["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] == NEWEST {
            request = request
                .header("mcp-protocol-version", NEWEST)
                .header("mcp-method", message["method"].as_str().unwrap());
            if let Some(name) = message["params"].get("name").or(message["params"].get("uri")) {
                request = request.header("mcp-name", name.as_str().unwrap());
            }
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    /// A request of the newest protocol and its answer.
    pub(super) async fn post(&self, method: &str, params: Value) -> Value {
        let (status, text) = self.raw(request(method, params), &[]).await;
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("{status} {text}"))
    }

    /// A tool's result.
    pub(super) async fn call(&self, name: &str, arguments: Value) -> Value {
        let answer = self.post("tools/call", json!({"name": name, "arguments": arguments})).await;
        assert!(answer["result"].is_object(), "{answer}");
        answer["result"].clone()
    }

    /// The names of the tools.
    pub(super) async fn list(&self) -> Vec<String> {
        let listed = self.post("tools/list", json!({})).await;
        let tools = listed["result"]["tools"].as_array().unwrap_or_else(|| panic!("{listed}"));
        assert_eq!(listed["result"]["cacheScope"], "private");
        tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
    }

    /// Opens a session as clients of the earlier protocols do: status, session, answer.
    pub(super) async fn initialize(&self, headers: &[(&str, &str)]) -> (u16, String, String) {
        let params = json!({
            "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"},
        });
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params});
        let mut request = self
            .http
            .post(&self.url)
            .header("accept", "application/json, text/event-stream")
            .header("content-type", "application/json")
            .body(message.to_string());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.unwrap();
        let id = response.headers().get("mcp-session-id").map(|id| id.to_str().unwrap().to_owned());
        (response.status().as_u16(), id.unwrap_or_default(), response.text().await.unwrap())
    }

    /// The status of a request without a body.
    pub(super) async fn send(&self, method: &str, headers: &[(&str, &str)]) -> u16 {
        let mut request =
            self.http.request(method.parse().unwrap(), &self.url).header("accept", "text/event-stream");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap().status().as_u16()
    }
}

async fn told(mut request: Request, next: middleware::Next) -> Response {
    let name = request.headers().get("x-caller").map(|name| name.to_str().unwrap().to_owned());
    if let Some(name) = name {
        request.extensions_mut().insert(caller(&name, "default", Governance::default()));
    }
    next.run(request).await
}
