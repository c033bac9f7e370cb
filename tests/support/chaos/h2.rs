//! The same over HTTP/2: a connection (TLS, ALPN `h2`) on which every request is answered by a list of [`Deed`]s.
//!
//! Frames are written by hand (RFC 9113), because a library would not write wrong ones.
//!
//! Invariant: as in [`chaos`](super): what it does depends on the deeds and on what it reads alone.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::server::TlsStream;

use super::tls;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// `NO_ERROR`
pub const NO_ERROR: u32 = 0;
/// `INTERNAL_ERROR`
pub const INTERNAL_ERROR: u32 = 2;
/// `REFUSED_STREAM`: the server says that it did nothing.
pub const REFUSED_STREAM: u32 = 7;
/// `CANCEL`
pub const CANCEL: u32 = 8;

/// A frame, on the stream of the request unless it is about the connection.
#[derive(Clone)]
pub struct Frame {
    kind: u8,
    flags: u8,
    is_of_connection: bool,
    payload: Vec<u8>,
}

impl Frame {
    fn of_stream(kind: u8, flags: u8, payload: impl Into<Vec<u8>>) -> Self {
        Self { kind, flags, is_of_connection: false, payload: payload.into() }
    }

    fn of_connection(kind: u8, flags: u8, payload: impl Into<Vec<u8>>) -> Self {
        Self { kind, flags, is_of_connection: true, payload: payload.into() }
    }

    /// A whole head: 200, with these headers.
    pub fn head(headers: &[(&str, &str)]) -> Self {
        Self::of_stream(HEADERS, END_HEADERS, block(200, headers))
    }

    /// A whole head and nothing else.
    pub fn last_head(status: u16, headers: &[(&str, &str)]) -> Self {
        Self::of_stream(HEADERS, END_HEADERS | END_STREAM, block(status, headers))
    }

    /// A head that is not the last: 103.
    pub fn early_hints() -> Self {
        Self::of_stream(HEADERS, END_HEADERS, block(103, &[]))
    }

    /// The beginning of a head, which [`Frame::more_head`] goes on with.
    pub fn begun_head() -> Self {
        Self::of_stream(HEADERS, 0, block(200, &[]))
    }

    /// More of a head that was begun, and not its end: so many headers of some 1,000 bytes.
    pub fn more_head(headers: usize) -> Self {
        Self::of_stream(CONTINUATION, 0, literal("x-more", &"m".repeat(1_000)).repeat(headers))
    }

    /// A whole head of 16 KiB that unpacks to 48 MiB: a header of 3,000 bytes, and then 16,000 references to it.
    pub fn packed_head() -> Self {
        // With incremental indexing: it becomes the newest entry of the dynamic table, number 62.
        let mut indexed = literal("x-bomb", &"b".repeat(3_000));
        indexed[0] = 0x40;
        let again = vec![0x80 | 62; 13_000];
        Self::of_stream(HEADERS, END_HEADERS, [block(200, &[]), indexed, again].concat())
    }

    /// A part of the body.
    pub fn data(bytes: &[u8]) -> Self {
        Self::of_stream(DATA, 0, bytes)
    }

    /// The last part of the body.
    pub fn last_data(bytes: &[u8]) -> Self {
        Self::of_stream(DATA, END_STREAM, bytes)
    }

    /// A part of a body on a stream that nobody opened.
    pub fn stray_data() -> Self {
        Self::of_connection(DATA, 0, "stray")
    }

    /// The stream ends here.
    pub fn reset(code: u32) -> Self {
        Self::of_stream(RST_STREAM, 0, code.to_be_bytes())
    }

    /// The connection takes no more streams; those up to `last` were or will be processed.
    pub fn go_away(last: u32, code: u32) -> Self {
        Self::of_connection(GOAWAY, 0, [last.to_be_bytes(), code.to_be_bytes()].concat())
    }

    /// Asks for an answer.
    pub fn ping() -> Self {
        Self::of_connection(PING, 0, [7; 8])
    }

    fn bytes(&self, stream: u32) -> Vec<u8> {
        let stream = if self.is_of_connection { 0 } else { stream };
        let length = (self.payload.len() as u32).to_be_bytes();
        [&length[1..], &[self.kind, self.flags], &stream.to_be_bytes(), &self.payload].concat()
    }
}

/// One thing done when a request has come.
#[derive(Clone)]
pub enum Deed {
    /// Writes a frame.
    Send(Frame),
    /// Writes a frame again and again, until the peer is gone.
    Forever(Frame),
    /// Says nothing more; waits until the peer is gone.
    Silence,
    /// Ends the connection by FIN, with nothing before.
    Cut,
}

/// The deeds that answer well: `{"ok":true}`.
pub fn well() -> Vec<Deed> {
    let head = Frame::head(&[("content-type", "application/json"), ("content-length", "11")]);
    vec![Deed::Send(head), Deed::Send(Frame::last_data(b"{\"ok\":true}"))]
}

#[derive(Default)]
struct State {
    connections: AtomicUsize,
    sent: AtomicU64,
    requests: AtomicUsize,
    /// Bytes of the bodies of requests.
    received: Mutex<Vec<u8>>,
}

/// A running server. It ends with this value.
pub struct ChaosH2 {
    /// `https://127.0.0.1:PORT`
    pub url: String,
    state: Arc<State>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Drop for ChaosH2 {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl ChaosH2 {
    /// A server that answers each request by what `deeds` gives for its number, from 0.
    pub async fn start(deeds: impl Fn(usize) -> Vec<Deed> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let state = Arc::new(State::default());
        let (shared, deeds, acceptor) = (state.clone(), Arc::new(deeds), tls::acceptor(&[b"h2"]));
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                shared.connections.fetch_add(1, Ordering::SeqCst);
                let _ = stream.set_nodelay(true);
                let (state, deeds, acceptor) = (shared.clone(), deeds.clone(), acceptor.clone());
                tokio::spawn(async move {
                    let stream = acceptor.accept(stream).await.ok()?;
                    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
                    Served { stream, state }.run(&*deeds).await
                });
            }
        });
        Self { url, state, accepting }
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// Requests that came whole so far.
    pub fn requests(&self) -> usize {
        self.state.requests.load(Ordering::SeqCst)
    }

    /// Bytes that peers took so far, or that lie in the system's buffers.
    pub fn sent(&self) -> u64 {
        self.state.sent.load(Ordering::SeqCst)
    }

    /// The bodies of all requests, one after the other.
    pub fn received(&self) -> Vec<u8> {
        self.state.received.lock().unwrap().clone()
    }
}

struct Served {
    stream: TlsStream<TcpStream>,
    state: Arc<State>,
}

impl Served {
    /// None when the connection is over.
    async fn run(mut self, deeds: &(dyn Fn(usize) -> Vec<Deed> + Send + Sync)) -> Option<()> {
        let mut preface = [0; 24];
        self.stream.read_exact(&mut preface).await.ok()?;
        assert_eq!(&preface, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        self.send(&Frame::of_connection(SETTINGS, 0, []), 0).await?;
        loop {
            let stream = self.request().await?;
            let number = self.state.requests.fetch_add(1, Ordering::SeqCst);
            for deed in deeds(number) {
                match deed {
                    Deed::Send(frame) => self.send(&frame, stream).await?,
                    Deed::Forever(frame) => loop {
                        self.send(&frame, stream).await?;
                    },
                    Deed::Silence => loop {
                        self.frame().await?;
                    },
                    Deed::Cut => return None,
                }
            }
        }
    }

    async fn send(&mut self, frame: &Frame, stream: u32) -> Option<()> {
        let bytes = frame.bytes(stream);
        self.stream.write_all(&bytes).await.ok()?;
        self.stream.flush().await.ok()?;
        self.state.sent.fetch_add(bytes.len() as u64, Ordering::SeqCst);
        Some(())
    }

    /// Reads up to the end of a request; its stream.
    async fn request(&mut self) -> Option<u32> {
        loop {
            let (kind, flags, stream, payload) = self.frame().await?;
            match kind {
                SETTINGS if flags & ACK == 0 => {
                    self.send(&Frame::of_connection(SETTINGS, ACK, []), 0).await?;
                }
                PING if flags & ACK == 0 => self.send(&Frame::of_connection(PING, ACK, payload), 0).await?,
                DATA => self.state.received.lock().unwrap().extend(payload),
                _ => {}
            }
            if matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0 {
                return Some(stream);
            }
        }
    }

    async fn frame(&mut self) -> Option<(u8, u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).await.ok()?;
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, l0, l1, l2]) as usize];
        self.stream.read_exact(&mut payload).await.ok()?;
        Some((kind, flags, u32::from_be_bytes([s0, s1, s2, s3]), payload))
    }
}

/// A header block (RFC 7541), without any compression.
fn block(status: u16, headers: &[(&str, &str)]) -> Vec<u8> {
    // A name of the static table, number 8.
    let mut block = vec![8];
    text(&mut block, &status.to_string());
    for (name, value) in headers {
        block.extend(literal(name, value));
    }
    block
}

/// A header, without indexing.
fn literal(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![0];
    text(&mut bytes, name);
    text(&mut bytes, value);
    bytes
}

/// Length, with a prefix of seven bits, and bytes.
fn text(bytes: &mut Vec<u8>, text: &str) {
    match u8::try_from(text.len()) {
        Ok(length @ ..127) => bytes.push(length),
        _ => {
            bytes.push(127);
            let mut rest = text.len() - 127;
            while rest >= 128 {
                bytes.push(0x80 | (rest % 128) as u8);
                rest /= 128;
            }
            bytes.push(rest as u8);
        }
    }
    bytes.extend_from_slice(text.as_bytes());
}
