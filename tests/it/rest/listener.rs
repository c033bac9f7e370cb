//! Clients that are slow, silent, idle or gone: beside them others are answered, and none of them holds the server.
//!
//! Invariant: nothing here waits by the clock. What the server gives up is seen by what it closes or answers; where it has
//! nothing to wait for, its patience is an hour, and a test that would need it fails.

use std::{future::Future, time::Duration};

use openact::{Door, ErrorCode, Format, OpenAct, RunFilter, RunRecord, Tenant};
use openact_server::{McpDoor, Patience, ServerSettings};
use reqwest::StatusCode;
use serde_json::{Value, json};
use support::{
    guests::guest,
    upstream::{Answer, Received, Upstream},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

use super::Served;
use crate::setup::memory;

const GET: &str = "/api/v1/actions/http.get/execute?version=1";
const HELD: &str = "/api/v1/actions/http.held/execute?version=1";
const LARGE: &str = "/api/v1/actions/http.large/execute?version=1";
const MANY: &str = "/api/v1/actions/http.many/execute?version=1";
const PLAY: &str = "/api/v1/actions/puppet.play/execute?version=1";
const NOTHING: &str = r#"{"input": {}}"#;
const STREAMED: &str = r#"{"input": {}, "options": {"stream": true}}"#;

/// More than the buffers of two sockets hold.
const LARGE_BYTES: usize = 6 << 20;

const HOUR: Duration = Duration::from_secs(3600);

/// Long enough to send a few bytes, however busy the machine is.
const SOON: Duration = Duration::from_secs(1);

/// A server that waits for everybody.
fn patient() -> Patience {
    Patience {
        head: HOUR,
        body_silence: HOUR,
        body: HOUR,
        answer_silence: HOUR,
        grace: HOUR,
        ..Patience::default()
    }
}

/// What must come by itself. Whoever waits for longer waits for something that does not come.
pub(super) async fn comes<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), what).await.expect("it does not come")
}

/// Asks until it is so.
pub(super) async fn until(mut is_so: impl AsyncFnMut() -> bool) {
    comes(async {
        while !is_so().await {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

fn script(script: &str) -> String {
    let hex: String = script.bytes().map(|byte| format!("{byte:02x}")).collect();
    json!({"input": {"script": hex}, "options": {"stream": true}}).to_string()
}

/// By the path: `/held` is held, `/large` is large, and so is `/many`, which is a list.
async fn upstream() -> Upstream {
    Upstream::start(|request: &Received| match request.target.split('?').next().unwrap_or_default() {
        "/held" => Answer::Held(r#"{"late": true}"#.into()),
        "/large" => Answer::Json(format!("\"{}\"", "x".repeat(LARGE_BYTES))),
        "/many" => Answer::Json(json!(vec!["x".repeat(64 << 10); LARGE_BYTES >> 16]).to_string()),
        target => Answer::Json(json!(target).to_string()),
    })
    .await
}

async fn openact(upstream: &Upstream, store: &str) -> OpenAct {
    let connections = json!({"c": {"base_url": upstream.url()}});
    let actions = json!({
        "get": {"connection": "c", "path": "/get"},
        "held": {"connection": "c", "path": "/held", "mcp": {"enabled": true}},
        "large": {"connection": "c", "path": "/large"},
        "many": {"connection": "c", "path": "/many", "pagination": {"type": "page", "max_pages": 1}},
    });
    let text = json!({"connectors": {
        "http": {"connections": connections, "actions": actions},
        "puppet": {"connections": connections, "actions": {"play": {"connection": "c"}}},
    }});
    memory(&[])
        .instances_max(64)
        .store(store)
        .connector_bytes(guest("puppet"))
        .config_text(text.to_string(), Format::Json)
        .build()
        .await
        .unwrap()
}

async fn serve(upstream: &Upstream, patience: Patience) -> Served {
    let settings = ServerSettings { patience, mcp: Some(McpDoor::default()), ..ServerSettings::default() };
    Served::start(openact(upstream, "sqlite::memory:").await, settings).await
}

async fn runs(openact: &OpenAct, failed_only: bool) -> Vec<RunRecord> {
    let filter = RunFilter { failed_only, ..RunFilter::default() };
    openact.list_runs(&Tenant::default(), 1_000, &filter).await.unwrap()
}

/// A request of a client that stays.
pub(super) fn request(path: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

/// What a client got.
#[derive(Debug, PartialEq)]
pub(super) enum Seen {
    Whole {
        status: u16,
        body: String,
        /// Whether the server said that it closes the connection.
        closes: bool,
    },
    /// It was closed before a byte of an answer.
    Nothing,
    /// It was closed in the middle of one.
    Broken(Vec<u8>),
}

/// A client that writes bytes by hand.
pub(super) struct Raw {
    pub(super) stream: TcpStream,
    buffer: Vec<u8>,
}

impl Raw {
    /// The receive buffer is small, so that what is not read stays with the server.
    pub(super) async fn open(url: &str) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(8 << 10).unwrap();
        let stream = socket.connect(url.strip_prefix("http://").unwrap().parse().unwrap()).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, buffer: Vec::new() }
    }

    /// One that has said this.
    async fn saying(served: &Served, text: &str) -> Self {
        let mut raw = Self::open(&served.url).await;
        raw.say(text).await;
        raw
    }

    /// The server may have closed it, which shows when the answer is read.
    pub(super) async fn say(&mut self, text: &str) {
        let _ = self.stream.write_all(text.as_bytes()).await;
    }

    /// The next answer, which has a length.
    pub(super) async fn answer(&mut self) -> Seen {
        loop {
            let mut headers = [httparse::EMPTY_HEADER; 32];
            let mut parsed = httparse::Response::new(&mut headers);
            if let Ok(httparse::Status::Complete(head)) = parsed.parse(&self.buffer) {
                let header = |name: &str| {
                    let found = parsed.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
                    found.map(|header| std::str::from_utf8(header.value).unwrap())
                };
                let end = head + header("content-length").unwrap().parse::<usize>().unwrap();
                if self.buffer.len() >= end {
                    let (status, closes) = (parsed.code.unwrap(), header("connection") == Some("close"));
                    let body = String::from_utf8(self.buffer[head..end].to_vec()).unwrap();
                    self.buffer.drain(..end);
                    return Seen::Whole { status, body, closes };
                }
            }
            match self.stream.read_buf(&mut self.buffer).await {
                Ok(1..) => {}
                _ if self.buffer.is_empty() => return Seen::Nothing,
                _ => return Seen::Broken(std::mem::take(&mut self.buffer)),
            }
        }
    }

    /// The next answer, which is that of an action that succeeded; what it gave.
    async fn result(&mut self) -> Value {
        let Seen::Whole { status: 200, body, .. } = self.answer().await else { panic!("no answer") };
        serde_json::from_str::<Value>(&body).unwrap()["data"]["result"]["body"].clone()
    }

    /// All until the server closes it.
    async fn rest(&mut self) -> String {
        let mut bytes = Vec::new();
        // A reset is an end, too.
        let _ = comes(self.stream.read_to_end(&mut bytes)).await;
        String::from_utf8(bytes).unwrap()
    }

    /// Goes away without a word: a reset.
    fn vanish(self) {
        self.stream.set_zero_linger().unwrap();
    }
}

#[tokio::test]
async fn slow_silent_and_vanished_clients_hold_nobody_up() {
    let upstream = upstream().await;
    let served = serve(&upstream, patient()).await;
    let mut held = Vec::new();
    for _ in 0..40 {
        held.push(Raw::open(&served.url).await);
        held.push(Raw::saying(&served, "POST /api/v1/execute HTTP/1.1\r\nhost: loc").await);
        let whole = request(GET, NOTHING);
        held.push(Raw::saying(&served, &whole[..whole.len() - 5]).await);
    }
    for _ in 0..10 {
        held.push(Raw::saying(&served, &request(MANY, STREAMED)).await);
        held.push(Raw::saying(&served, &request(LARGE, NOTHING)).await);
    }
    let mut gone = Vec::new();
    for _ in 0..10 {
        gone.push(Raw::saying(&served, &request(HELD, NOTHING)).await);
    }
    comes(upstream.wait_for_held(10)).await;
    gone.into_iter().for_each(Raw::vanish);
    for _ in 0..20 {
        let got = comes(served.post(GET, json!({"input": {}}))).await;
        assert_eq!(got.data()["result"]["body"], "/get");
    }
    until(async || runs(&served.openact, true).await.len() == 10).await;
    // Those who leave in order leave nothing behind, either: only what is begun is waited for.
    drop(held);
    comes(served.end()).await;
}

#[tokio::test]
async fn a_head_has_a_time_and_so_has_idling() {
    let upstream = upstream().await;
    let served = serve(&upstream, Patience { head: SOON, ..patient() }).await;
    let mut silent = Raw::open(&served.url).await;
    let mut half = Raw::saying(&served, "POST /api/v1/execute HTTP/1.1\r\nhost: loc").await;
    let mut idle = Raw::saying(&served, &request(GET, NOTHING)).await;
    assert_eq!(idle.result().await, "/get");
    for raw in [&mut silent, &mut half, &mut idle] {
        assert_eq!(raw.rest().await, "");
    }
}

#[tokio::test]
async fn a_body_has_a_time_for_each_pause_and_one_for_all() {
    let upstream = upstream().await;
    for path in [GET, "/mcp"] {
        let served = serve(&upstream, Patience { body_silence: SOON, ..patient() }).await;
        let whole = request(path, NOTHING);
        let mut half = Raw::saying(&served, &whole[..whole.len() - 5]).await;
        let answer = half.rest().await;
        assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("INVALID_INPUT"), "{answer}");
        // A byte and a byte and a byte.
        let served = serve(&upstream, Patience { body: SOON, ..patient() }).await;
        let head = "host: localhost\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
        let drip = Raw::saying(&served, &format!("POST {path} HTTP/1.1\r\n{head}")).await;
        let (mut reading, mut writing) = drip.stream.into_split();
        let dripping = tokio::spawn(async move { while writing.write_all(b"1\r\n \r\n").await.is_ok() {} });
        let mut answer = Vec::new();
        let _ = comes(reading.read_to_end(&mut answer)).await;
        comes(dripping).await.unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 408 "), "{}", String::from_utf8_lossy(&answer));
    }
    assert!(upstream.received().is_empty());
}

#[tokio::test]
async fn an_answer_that_is_not_taken_is_given_up() {
    let upstream = upstream().await;
    for (path, body) in [(LARGE, NOTHING), (MANY, STREAMED)] {
        let served = serve(&upstream, Patience { connections: 1, answer_silence: SOON, ..patient() }).await;
        let mut slow = Raw::saying(&served, &request(path, body)).await;
        // There is one place: whoever comes next is answered once it is given back.
        let mut next = Raw::saying(&served, &request(GET, NOTHING)).await;
        assert_eq!(comes(next.result()).await, "/get");
        assert!(slow.rest().await.len() < LARGE_BYTES, "{path}");
        if path == MANY {
            until(async || runs(&served.openact, true).await.len() == 1).await;
        }
    }
}

#[tokio::test]
async fn so_many_connections_are_open_and_no_more() {
    let upstream = upstream().await;
    let served = serve(&upstream, Patience { connections: 1, ..patient() }).await;
    let mut first = Raw::saying(&served, &request(GET, NOTHING)).await;
    assert_eq!(first.result().await, "/get");
    let mut second = Raw::saying(&served, &request(HELD, NOTHING)).await;
    for _ in 0..20 {
        first.say(&request(GET, NOTHING)).await;
        assert_eq!(first.result().await, "/get");
    }
    assert!(upstream.received().iter().all(|received| received.target == "/get"));
    drop(first);
    comes(upstream.wait_for_held(1)).await;
    upstream.release();
    assert_eq!(second.result().await, json!({"late": true}));
}

#[tokio::test]
async fn an_end_waits_for_nobody_who_has_asked_for_nothing() {
    let upstream = upstream().await;
    let served = serve(&upstream, patient()).await;
    let mut silent = Raw::open(&served.url).await;
    let mut half = Raw::saying(&served, "POST /api/v1/execute HTTP/1.1\r\nhost: loc").await;
    let mut idle = Raw::saying(&served, &request(GET, NOTHING)).await;
    assert_eq!(idle.result().await, "/get");
    let session = session_of_mcp(&served).await;
    let listening = reqwest::Client::new().get(format!("{}/mcp", served.url));
    let listening = listening.header("accept", "text/event-stream").header("mcp-session-id", session);
    let mut listening = listening.send().await.unwrap();
    assert_eq!(listening.status(), StatusCode::OK);
    comes(served.end()).await;
    for raw in [&mut silent, &mut half, &mut idle] {
        assert_eq!(raw.rest().await, "");
    }
    while comes(listening.chunk()).await.unwrap().is_some() {}
}

/// A session of MCP.
async fn session_of_mcp(served: &Served) -> String {
    let url = format!("{}/mcp", served.url);
    let initialize = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"},
    }});
    let begun = reqwest::Client::new()
        .post(url)
        .header("accept", "application/json, text/event-stream")
        .header("content-type", "application/json")
        .body(initialize.to_string());
    let begun = begun.send().await.unwrap();
    let session = begun.headers()["mcp-session-id"].to_str().unwrap().to_owned();
    let initialized = reqwest::Client::new()
        .post(format!("{}/mcp", served.url))
        .header("accept", "application/json, text/event-stream")
        .header("content-type", "application/json")
        .header("mcp-session-id", &session)
        .body(r#"{"jsonrpc": "2.0", "method": "notifications/initialized"}"#);
    assert_eq!(initialized.send().await.unwrap().status(), StatusCode::ACCEPTED);
    session
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_of_mcp_that_leaves_has_a_record_of_its_call_at_the_latest_when_the_server_ends() {
    let upstream = upstream().await;
    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite://{}", folder.path().join("runs.db").display());
    let settings =
        ServerSettings { patience: patient(), mcp: Some(McpDoor::default()), ..ServerSettings::default() };
    let served = Served::start(openact(&upstream, &store).await, settings).await;
    let trn = "trn:openact:default:action/http/held@v1";
    let with_session = format!("mcp-session-id: {}\r\n", session_of_mcp(&served).await);
    let alone = "mcp-protocol-version: 2026-07-28\r\nmcp-method: tools/call\r\nmcp-name: openact.execute\r\n";
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    for (headers, meta) in [(&*with_session, json!({})), (alone, meta)] {
        let call = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {
            "name": "openact.execute", "arguments": {"action_trn": trn, "input": {}}, "_meta": meta,
        }});
        let headers = format!("host: localhost\r\naccept: application/json, text/event-stream\r\n{headers}");
        let text = request("/mcp", &call.to_string()).replacen("host: localhost\r\n", &headers, 1);
        let raw = Raw::saying(&served, &text).await;
        comes(upstream.wait_for_held(if headers.contains("session") { 1 } else { 2 })).await;
        raw.vanish();
    }
    comes(served.end()).await.close().await.unwrap();
    let recorded = runs(&openact(&upstream, &store).await, true).await;
    assert_eq!(recorded.len(), 2);
    for run in recorded {
        assert_eq!(run.door, Door::Mcp);
        assert_cancelled(&run);
    }
}

#[tokio::test]
async fn what_has_begun_is_answered_whole_when_the_server_ends() {
    let upstream = upstream().await;
    let served = serve(&upstream, patient()).await;
    let whole = request(GET, NOTHING);
    let mut half = Raw::saying(&served, &whole[..whole.len() - 5]).await;
    let mut slow = Raw::saying(&served, &request(LARGE, NOTHING)).await;
    let mut waiting = Raw::saying(&served, &request(HELD, NOTHING)).await;
    let stream = format!("E1\n{}\no2", "SGET\t@/held\t\t\t");
    let mut streaming = Raw::saying(&served, &request(PLAY, &script(&stream))).await;
    let trn = "trn:openact:default:action/http/held@v1";
    let started = served.post("/api/v1/runs", json!({"action_trn": trn, "input": {}})).await;
    let place = started.headers["location"].to_str().unwrap().to_owned();
    let mut events =
        Raw::saying(&served, &format!("GET {place}/events HTTP/1.1\r\nhost: localhost\r\n\r\n")).await;
    comes(upstream.wait_for_held(3)).await;
    until(async || upstream.received().iter().any(|received| received.target == "/large")).await;

    let address = served.url.strip_prefix("http://").unwrap().to_owned();
    let ending = tokio::spawn(served.end());
    until(async || TcpStream::connect(&address).await.is_err()).await;
    assert!(!ending.is_finished());
    half.say(&whole[whole.len() - 5..]).await;
    upstream.release();
    let Seen::Whole { status: 200, closes: true, .. } = comes(half.answer()).await else { panic!("broken") };
    let Seen::Whole { status: 200, closes: true, .. } = comes(waiting.answer()).await else {
        panic!("broken")
    };
    let Seen::Whole { status: 200, body, .. } = comes(slow.answer()).await else { panic!("broken") };
    assert!(body.len() > LARGE_BYTES);
    let streamed = streaming.rest().await;
    assert!(streamed.contains(r#"{"item":1}"#) && streamed.contains(r#""result":2"#), "{streamed}");
    let followed = events.rest().await;
    assert!(followed.contains("event: result\n"), "{followed}");
    let openact = comes(ending).await.unwrap();
    assert_eq!((runs(&openact, false).await.len(), runs(&openact, true).await.len()), (5, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_takes_longer_than_the_grace_is_broken_off_and_recorded() {
    let upstream = upstream().await;
    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite://{}", folder.path().join("runs.db").display());
    let settings =
        ServerSettings { patience: Patience { grace: SOON, ..patient() }, ..ServerSettings::default() };
    let served = Served::start(openact(&upstream, &store).await, settings).await;
    let mut waiting = Vec::new();
    let stream = script(&format!("E1\n{}\no2", "SGET\t@/held\t\t\t"));
    for _ in 0..10 {
        waiting.push(Raw::saying(&served, &request(HELD, NOTHING)).await);
        waiting.push(Raw::saying(&served, &request(PLAY, &stream)).await);
    }
    comes(upstream.wait_for_held(20)).await;
    let ended = comes(served.end()).await;
    // The store is closed as soon as the server has ended: no record is late.
    ended.close().await.unwrap();
    for mut raw in waiting {
        let text = raw.rest().await;
        assert!(text.is_empty() || !text.contains("success"), "{text}");
    }
    let recorded = runs(&openact(&upstream, &store).await, true).await;
    assert_eq!(recorded.len(), 20);
    recorded.iter().for_each(assert_cancelled);
}

/// It says what was asked of the other system before it ended.
#[track_caller]
fn assert_cancelled(run: &RunRecord) {
    assert_eq!(run.failure, Some((ErrorCode::Conflict, "the run was cancelled".to_owned())));
    let calls: Vec<_> = run.host_calls.iter().map(|call| (&*call.function, &*call.outcome)).collect();
    assert_eq!(calls, [("http.send", "cancelled")]);
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_call_and_leaves_a_record() {
    let upstream = upstream().await;
    let served = serve(&upstream, patient()).await;
    let stream = script(&format!("E1\n{}\no2", "SGET\t@/held\t\t\t"));
    let mut clients = Vec::new();
    for (path, body) in [(HELD, NOTHING), (HELD, NOTHING), (PLAY, &stream)] {
        clients.push(Raw::saying(&served, &request(path, body)).await);
    }
    comes(upstream.wait_for_held(3)).await;
    clients.pop();
    clients.pop().unwrap().vanish();
    clients.pop();
    until(async || runs(&served.openact, true).await.len() == 3).await;
    for run in runs(&served.openact, false).await {
        assert_eq!(run.door, Door::Rest);
        assert_cancelled(&run);
        let shown = served.get(&format!("/api/v1/runs/{}", run.id)).await;
        assert_eq!(shown.data()["error"]["code"], "CONFLICT", "{shown:?}");
    }
    let seen = support::openmetrics::parse(&served.openact.metrics());
    assert_eq!((seen["openact_calls_dropped_total"], seen["openact_calls_in_flight"]), (3.0, 0.0));
}
