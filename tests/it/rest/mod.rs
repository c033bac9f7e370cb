//! The REST door over loopback: what is answered, to whom, and what is not done.
//!
//! Invariant: each test has a server of its own, with an OpenAct in memory or in its own folder.

mod access;
mod hostile;
mod listener;
mod load;
mod oidc;
mod openapi;
mod records;
mod runs;
pub(crate) mod serve;
mod streaming;

use std::sync::Arc;

use openact::{Format, Governance, OpenAct, RunFilter, Tenant};
use openact_server::{Listener, ServerSettings};
use reqwest::{Method, StatusCode, header::HeaderMap};
use serde_json::{Value, json};
use support::upstream::{Answer, Upstream};
use tokio::sync::oneshot;

use crate::setup::{config, memory};

/// A server of this process. It ends when it is told, or with this value.
pub(crate) struct Served {
    pub(crate) url: String,
    pub(crate) openact: OpenAct,
    stop: Option<oneshot::Sender<()>>,
    serving: tokio::task::JoinHandle<openact::Result<()>>,
}

impl Served {
    pub(crate) async fn start(openact: OpenAct, settings: ServerSettings) -> Self {
        let listener = Listener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.address().unwrap());
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(openact_server::serve(listener, openact.clone(), settings, async {
            let _ = stopped.await;
        }));
        Self { url, openact, stop: Some(stop), serving }
    }

    /// Asks it to end and waits until it has.
    pub(crate) async fn end(mut self) -> OpenAct {
        drop(self.stop.take());
        self.serving.await.unwrap().unwrap();
        self.openact
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&str>,
    ) -> Got {
        let mut request = reqwest::Client::new().request(method, format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.body(body.to_owned());
        }
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await.unwrap();
        let json = serde_json::from_str(&text).unwrap_or(Value::Null);
        Got { status, headers, text, json }
    }

    pub(crate) async fn get(&self, path: &str) -> Got {
        self.send(Method::GET, path, &[], None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Got {
        self.send(Method::POST, path, &[("content-type", "application/json")], Some(&body.to_string())).await
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
    pub(crate) json: Value,
}

impl Got {
    /// That it is the envelope of a success; its data.
    #[track_caller]
    pub(crate) fn data(&self) -> &Value {
        assert_eq!(self.json["success"], true, "{self:?}");
        assert_eq!(self.json["metadata"]["request_id"], self.headers["x-request-id"].to_str().unwrap());
        &self.json["data"]
    }

    /// That it is the envelope of a failure with this status and code; its error.
    #[track_caller]
    pub(crate) fn error(&self, status: u16, code: &str) -> &Value {
        assert_eq!(
            (self.status.as_u16(), &self.json["error"]["code"]),
            (status, &json!(code)),
            "{}",
            self.text
        );
        assert_eq!(self.json["success"], false);
        assert_eq!(self.headers["content-type"], "application/json");
        assert_eq!(self.json["metadata"]["request_id"], self.headers["x-request-id"].to_str().unwrap());
        &self.json["error"]
    }
}

/// An upstream that answers `{"login": "octocat"}`, and a server with the action `http/get` over it.
pub(crate) async fn octocat(settings: ServerSettings) -> (Upstream, Served) {
    let upstream = Upstream::json(r#"{"login": "octocat"}"#).await;
    let served = Served::start(over(&upstream).await, settings).await;
    (upstream, served)
}

pub(crate) async fn over(upstream: &Upstream) -> OpenAct {
    let input =
        json!({"type": "object", "properties": {"login": {"type": "string"}}, "additionalProperties": false});
    let text = config(
        "http",
        json!({"base_url": upstream.url()}),
        json!({
            "get": {"path": "/user", "description": "who it is", "input_schema": input},
            "remove": {"path": "/user", "method": "DELETE"},
        }),
    );
    memory(&[]).config_text(text, Format::Json).build().await.unwrap()
}

#[tokio::test]
async fn an_action_runs_and_is_answered_in_the_envelope() {
    let (_upstream, served) = octocat(ServerSettings::default()).await;
    let got =
        served.post("/api/v1/actions/http.get/execute?version=1", json!({"input": {"login": "x"}})).await;
    assert_eq!(got.status, StatusCode::OK);
    assert_eq!(got.data()["result"]["body"], json!({"login": "octocat"}));
    let metadata = &got.json["metadata"];
    assert_eq!(metadata["action_trn"], "trn:openact:default:action/http/get@v1");
    assert_eq!((&metadata["version"], metadata["execution_time_ms"].is_u64()), (&json!(1), true));
    let run = served.get(&format!("/api/v1/runs/{}", metadata["run_id"].as_str().unwrap())).await;
    assert_eq!((&run.data()["door"], &run.data()["status"]), (&json!("rest"), &json!("ok")));
    // The same by its TRN, in the path and in the body.
    let by_trn = "/api/v1/actions/trn:openact:default:action%2Fhttp%2Fget@v1/execute";
    served.post(by_trn, json!({"input": {}})).await.data();
    let body = json!({"action_trn": "trn:openact:default:action/http/get@v1", "input": {}, "options": {"timeout_ms": 9000}});
    served.post("/api/v1/execute", body).await.data();
    assert_eq!(served.get("/api/v1/runs?status=failed").await.data()["runs"], json!([]));
    assert_eq!(served.get("/api/v1/runs?page_size=2").await.data()["has_more"], true);
}

#[tokio::test]
async fn a_dry_run_says_so_and_reaches_nothing() {
    let (upstream, served) = octocat(ServerSettings::default()).await;
    let body = json!({"input": {}, "options": {"dry_run": true}});
    let got = served.post("/api/v1/actions/http.remove/execute?version=latest", body).await;
    assert_eq!(got.data()["result"]["dry_run"], true);
    assert_eq!(got.json["metadata"]["warnings"], json!(["dry_run=true"]));
    assert!(upstream.received().is_empty());
}

#[tokio::test]
async fn a_name_without_a_version_is_not_run_and_a_misspelt_one_gets_the_nearest() {
    let (upstream, served) = octocat(ServerSettings::default()).await;
    let got = served.post("/api/v1/actions/http.get/execute", json!({"input": {}})).await;
    assert!(got.error(400, "INVALID_INPUT")["hint"].as_str().unwrap().contains("version=latest"));
    let got = served.post("/api/v1/actions/http.gett/execute?version=latest", json!({"input": {}})).await;
    assert_eq!(got.error(404, "NOT_FOUND")["hint"], "did you mean 'http/get'?");
    let got = served.get("/api/v1/conections").await;
    assert_eq!(got.error(404, "NOT_FOUND")["hint"], "did you mean /api/v1/connections?");
    assert!(upstream.received().is_empty());
}

#[tokio::test]
async fn an_upstream_that_is_down_is_502_with_its_cause_and_its_run() {
    let upstream = Upstream::json("{}").await;
    let openact = over(&upstream).await;
    drop(upstream);
    let served = Served::start(openact, ServerSettings::default()).await;
    let got = served.post("/api/v1/actions/http.get/execute?version=1", json!({"input": {}})).await;
    assert_eq!(got.error(502, "NETWORK_ERROR")["retryable"], true);
    let run = got.json["metadata"]["run_id"].as_str().unwrap();
    assert_eq!(served.get(&format!("/api/v1/runs/{run}")).await.data()["error"]["code"], "NETWORK_ERROR");
}

#[tokio::test]
async fn lists_are_filtered_and_come_in_pages() {
    let (_upstream, served) = octocat(ServerSettings::default()).await;
    let all = served.get("/api/v1/actions").await;
    let interfaces = served.openact.interfaces(&Tenant::default(), &Governance::default()).await.unwrap();
    let digest = |at: usize| interfaces[at].input_schema_digest();
    assert_eq!(
        all.data(),
        &json!({"actions": [
            {"name": "get", "connector": "http", "connection": "trn:openact:default:connection/http/c@v1",
             "description": "who it is", "action_trn": "trn:openact:default:action/http/get@v1", "mcp_enabled": false,
             "input_schema_digest": digest(0)},
            {"name": "remove", "connector": "http", "connection": "trn:openact:default:connection/http/c@v1",
             "action_trn": "trn:openact:default:action/http/remove@v1", "mcp_enabled": false,
             "input_schema_digest": digest(1)}
        ], "page": 1, "page_size": 50, "total": 2})
    );
    let names = async |query: &str| {
        let got = served.get(&format!("/api/v1/actions?{query}")).await;
        let names = got.data()["actions"].as_array().unwrap().iter();
        (
            names.map(|action| action["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>(),
            got.data()["total"].clone(),
        )
    };
    assert_eq!(names("q=WHO").await, (vec!["get".to_owned()], json!(1)));
    assert_eq!(names("page=2&page_size=1").await, (vec!["remove".to_owned()], json!(2)));
    assert_eq!(names("kind=postgresql").await, (vec![], json!(0)));
    assert_eq!(names("connection=trn:openact:default:connection/http/c@v1&q=rem").await.0, ["remove"]);
    served.get("/api/v1/actions?page=0").await.error(400, "INVALID_INPUT");
    served.get("/api/v1/actions?page_sise=1").await.error(400, "INVALID_INPUT");
    let schema = served.get("/api/v1/actions/http.get/schema").await;
    assert_eq!(schema.data()["input_schema"]["properties"]["login"]["type"], "string");
    assert_eq!(served.get("/api/v1/actions/http.get").await.data()["config"]["path"], "/user");
    assert_eq!(
        served.get("/api/v1/connections").await.data()["connections"][0]["trn"],
        "trn:openact:default:connection/http/c@v1"
    );
    let kinds = served.get("/api/v1/kinds").await;
    assert!(kinds.data()["kinds"].as_array().unwrap().iter().any(|kind| kind["name"] == "postgres"));
    assert!(served.get("/api/v1/kinds/http/connection-schema").await.data()["properties"].is_object());
    served.get("/api/v1/kinds/htpp").await.error(404, "NOT_FOUND");
}

#[tokio::test]
async fn a_secret_goes_in_and_its_name_comes_out() {
    let (_upstream, served) = octocat(ServerSettings::default()).await;
    let set = served.post("/api/v1/secrets", json!({"name": "token", "value": "canary-value"})).await;
    assert_eq!(set.data(), &json!({"name": "token"}));
    let listed = served.get("/api/v1/secrets").await;
    assert_eq!(listed.data()["secrets"][0]["name"], "token");
    let wrong = served.post("/api/v1/secrets", json!({"name": "token", "value": ["canary-value"]})).await;
    wrong.error(400, "INVALID_INPUT");
    for got in [set, listed, wrong] {
        assert!(!got.text.contains("canary-value"), "{}", got.text);
    }
}

#[tokio::test]
async fn m7_what_a_door_denies_is_denied_however_it_is_named() {
    let governance = Governance { allow: vec![], deny: vec!["*.remove".parse().unwrap()] };
    let settings = ServerSettings { governance: Arc::new(governance), ..ServerSettings::default() };
    let (upstream, served) = octocat(settings).await;
    let trn = "trn:openact:default:action/http/remove@v1";
    served
        .post("/api/v1/actions/http.remove/execute?version=1", json!({"input": {}}))
        .await
        .error(403, "FORBIDDEN");
    served
        .post("/api/v1/actions/remove/execute?version=latest", json!({"input": {}}))
        .await
        .error(403, "FORBIDDEN");
    served.post("/api/v1/execute", json!({"action_trn": trn, "input": {}})).await.error(403, "FORBIDDEN");
    served.get("/api/v1/actions/http.remove/schema").await.error(403, "FORBIDDEN");
    served.get("/api/v1/actions/http.remove").await.error(403, "FORBIDDEN");
    let misspelt = served.post("/api/v1/actions/http.remov/execute?version=1", json!({"input": {}})).await;
    misspelt.error(404, "NOT_FOUND");
    assert!(!misspelt.text.contains("remove'"), "{}", misspelt.text);
    assert_eq!(served.get("/api/v1/actions").await.data()["total"], 1);
    // It ran before, by another door.
    served.openact.run("http/remove", json!({})).await.unwrap();
    let filter = RunFilter { action: Some(trn.parse().unwrap()), ..RunFilter::default() };
    let id = served.openact.list_runs(&Tenant::default(), 1, &filter).await.unwrap()[0].id;
    served.get(&format!("/api/v1/runs/{id}")).await.error(404, "NOT_FOUND");
    assert!(!served.get("/api/v1/runs").await.text.contains(trn));
    assert_eq!(upstream.received().len(), 1);
}

#[tokio::test]
async fn m8_another_tenants_action_and_run_are_not_found() {
    let (upstream, served) = octocat(ServerSettings::default()).await;
    let ran = served.openact.run("http/get", json!({})).await.unwrap();
    let other = [("content-type", "application/json"), ("x-tenant", "other")];
    let post = async |path: &str, body: Value| {
        served.send(Method::POST, path, &other, Some(&body.to_string())).await
    };
    let trn = "trn:openact:default:action/http/get@v1";
    post("/api/v1/execute", json!({"action_trn": trn, "input": {}})).await.error(404, "NOT_FOUND");
    post("/api/v1/actions/http.get/execute?version=1", json!({"input": {}})).await.error(404, "NOT_FOUND");
    let streamed = json!({"action_trn": trn, "input": {}, "options": {"stream": true}});
    post("/api/v1/execute", streamed).await.error(404, "NOT_FOUND");
    for path in [
        &format!("/api/v1/runs/{}", ran.run.id),
        "/api/v1/actions/http.get/schema",
        "/api/v1/connections/http.c",
    ] {
        served.send(Method::GET, path, &other, None).await.error(404, "NOT_FOUND");
    }
    assert_eq!(served.send(Method::GET, "/api/v1/actions", &other, None).await.data()["total"], 0);
    assert_eq!(upstream.received().len(), 1, "only the call of before");
}

#[tokio::test]
async fn calls_in_flight_are_answered_and_recorded_before_the_server_ends() {
    let upstream = Upstream::start(|_| Answer::Held(r#"{"late": true}"#.into())).await;
    let served = Served::start(over(&upstream).await, ServerSettings::default()).await;
    let url = format!("{}/api/v1/actions/http.get/execute?version=1", served.url);
    let request =
        reqwest::Client::new().post(url).header("content-type", "application/json").body(r#"{"input": {}}"#);
    let in_flight = tokio::spawn(async move { request.send().await.unwrap().text().await.unwrap() });
    upstream.wait_for_held(1).await;
    let ending = tokio::spawn(served.end());
    upstream.release();
    let openact = ending.await.unwrap();
    let answer: Value = serde_json::from_str(&in_flight.await.unwrap()).unwrap();
    assert_eq!(answer["data"]["result"]["body"], json!({"late": true}));
    assert_eq!(openact.list_runs(&Tenant::default(), 10, &RunFilter::default()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_request_id_is_echoed_or_made() {
    let (_upstream, served) = octocat(ServerSettings::default()).await;
    let got = served.send(Method::GET, "/api/v1/actions", &[("x-request-id", "mine-1")], None).await;
    assert_eq!(got.headers["x-request-id"], "mine-1");
    got.data();
    let long = "x".repeat(500);
    let got = served.send(Method::GET, "/nowhere", &[("x-request-id", &long)], None).await;
    got.error(404, "NOT_FOUND");
    assert_eq!(got.headers["x-request-id"].len(), 36);
}
