//! A local HTTP/1.1 server that answers as told and remembers what it was asked.
//!
//! It is written by hand because tests need answers that a real server would refuse to give: truncated, endless,
//! withheld. What it remembers is the raw head, so that a test sees exactly what was sent.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Notify, Semaphore},
};

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Received {
    /// `GET`
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Names in lower case, in order.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Received {
    /// The values of a header, in order.
    pub fn header(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(n, _)| n == name).map(|(_, value)| value.as_str()).collect()
    }
}

/// What the server answers.
#[derive(Clone, Debug)]
pub enum Answer {
    /// A complete response.
    Full {
        /// Its status.
        status: u16,
        /// Its headers, without content-length.
        headers: Vec<(String, String)>,
        /// Its body.
        body: Vec<u8>,
    },
    /// A 200 of JSON.
    Json(String),
    /// These bytes, then the connection closes.
    Raw(Vec<u8>),
    /// A head that promises `announced` bytes, then as many zero bytes as the peer takes; no length if none.
    Endless {
        /// The announced content-length.
        announced: Option<u64>,
    },
    /// A 200 of JSON, once [`Upstream::release`] is called.
    Held(String),
}

impl Answer {
    /// A response with headers and a body.
    pub fn full(status: u16, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> Self {
        let headers = headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        Self::Full { status, headers, body: body.into() }
    }
}

type Handler = dyn Fn(&Received) -> Answer + Send + Sync;

struct Shared {
    handler: Box<Handler>,
    received: Mutex<Vec<Received>>,
    remember: bool,
    connections: AtomicUsize,
    waiting: AtomicUsize,
    arrived: Notify,
    gate: Semaphore,
}

/// A running server. It ends with this value.
pub struct Upstream {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Upstream {
    /// A server that answers by `handler`, on a free port of 127.0.0.1.
    pub async fn start(handler: impl Fn(&Received) -> Answer + Send + Sync + 'static) -> Self {
        Self::run(Box::new(handler), true).await
    }

    /// The same, for benchmarks: nothing is remembered.
    pub async fn start_forgetful(handler: impl Fn(&Received) -> Answer + Send + Sync + 'static) -> Self {
        Self::run(Box::new(handler), false).await
    }

    /// A server that answers everything with the same JSON.
    pub async fn json(body: &str) -> Self {
        let body = body.to_owned();
        Self::start(move |_| Answer::Json(body.clone())).await
    }

    async fn run(handler: Box<Handler>, remember: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            handler,
            received: Mutex::default(),
            remember,
            connections: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            arrived: Notify::new(),
            gate: Semaphore::new(0),
        });
        let state = shared.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                state.connections.fetch_add(1, Ordering::SeqCst);
                let _ = stream.set_nodelay(true);
                tokio::spawn(serve(stream, state.clone()));
            }
        });
        Self { address, shared, accepting }
    }

    /// `http://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Everything it was asked, in order.
    pub fn received(&self) -> Vec<Received> {
        self.shared.received.lock().unwrap().clone()
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Waits until `count` requests are held at once.
    pub async fn wait_for_held(&self, count: usize) {
        loop {
            let arrived = self.shared.arrived.notified();
            if self.shared.waiting.load(Ordering::SeqCst) >= count {
                return;
            }
            arrived.await;
        }
    }

    /// Lets every held request go, now and from here on.
    pub fn release(&self) {
        self.shared.gate.close();
    }
}

async fn serve(mut stream: TcpStream, shared: Arc<Shared>) {
    let mut buffer = Vec::with_capacity(4096);
    while let Some(request) = read_request(&mut stream, &mut buffer).await {
        let answer = (shared.handler)(&request);
        if shared.remember {
            shared.received.lock().unwrap().push(request);
        }
        if let Answer::Held(_) = &answer {
            shared.waiting.fetch_add(1, Ordering::SeqCst);
            shared.arrived.notify_waiters();
            let _ = shared.gate.acquire().await;
        }
        if write_answer(&mut stream, answer).await.is_none() {
            return;
        }
    }
}

/// None when the connection is to be closed.
async fn write_answer(stream: &mut TcpStream, answer: Answer) -> Option<()> {
    let (status, headers, body) = match answer {
        Answer::Full { status, headers, body } => (status, headers, body),
        Answer::Json(body) | Answer::Held(body) => {
            (200, vec![("content-type".into(), "application/json".into())], body.into_bytes())
        }
        Answer::Raw(bytes) => {
            stream.write_all(&bytes).await.ok()?;
            let _ = stream.shutdown().await;
            return None;
        }
        Answer::Endless { announced } => {
            let length = announced.map(|length| format!("content-length: {length}\r\n")).unwrap_or_default();
            stream
                .write_all(format!("HTTP/1.1 200 OK\r\n{length}connection: close\r\n\r\n").as_bytes())
                .await
                .ok()?;
            let zeros = vec![0; 64 * 1024];
            loop {
                stream.write_all(&zeros).await.ok()?;
            }
        }
    };
    let mut bytes = format!("HTTP/1.1 {status} Status\r\ncontent-length: {}\r\n", body.len()).into_bytes();
    for (name, value) in headers {
        bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(&body);
    stream.write_all(&bytes).await.ok()
}

async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Received> {
    loop {
        let mut headers = [httparse::EMPTY_HEADER; 200];
        let mut parsed = httparse::Request::new(&mut headers);
        if let Ok(httparse::Status::Complete(head)) = parsed.parse(buffer) {
            let mut request = Received {
                method: parsed.method.unwrap().to_owned(),
                target: parsed.path.unwrap().to_owned(),
                headers: parsed
                    .headers
                    .iter()
                    .map(|h| (h.name.to_ascii_lowercase(), String::from_utf8_lossy(h.value).into_owned()))
                    .collect(),
                body: Vec::new(),
            };
            let length = request.header("content-length").first().map_or(0, |length| length.parse().unwrap());
            while buffer.len() < head + length {
                if stream.read_buf(buffer).await.ok()? == 0 {
                    return None;
                }
            }
            request.body = buffer[head..head + length].to_vec();
            buffer.drain(..head + length);
            return Some(request);
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}
