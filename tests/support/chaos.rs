//! An upstream that misbehaves, byte by byte: a connection is served by a [`Script`], a list of [`Step`]s, over TCP or
//! over TLS. [`h2`] does the same for HTTP/2.
//!
//! [`Upstream`](crate::upstream::Upstream) gives whole answers; this gives wrong ones, and ends connections in every
//! way that TCP knows. What it was asked is kept as it came, and connections and requests are counted, so that a test
//! can say how often something was dialled.
//!
//! Invariant: it never waits for more than a request and never ends by itself; what it does depends on the script and
//! on what it reads alone.

pub mod h2;
pub mod tls;

use std::{
    io::Write,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use flate2::{Compress, Compression, Crc, FlushCompress, write::GzEncoder};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::server::TlsStream;

/// Makes bytes of the head of a request.
pub type FromHead = dyn Fn(&str) -> Vec<u8> + Send + Sync;

/// One thing done to a connection.
#[derive(Clone)]
pub enum Step {
    /// Reads a whole request. The connection ends if the peer ends it instead.
    Request,
    /// Reads the head of a request; [`Step::Body`] reads what belongs to it.
    Head,
    /// Reads the body of the request whose head was read.
    Body,
    /// Writes these bytes.
    Send(Vec<u8>),
    /// Writes what the function makes of the head of the last request.
    Answer(Arc<FromHead>),
    /// Writes these bytes one at a time, waiting after each.
    Slowly(Vec<u8>, Duration),
    /// Writes these bytes again and again, until the peer is gone.
    Forever(Vec<u8>),
    /// Says nothing more; waits until the peer is gone.
    Silence,
    /// Ends the connection by RST.
    Reset,
    /// Ends the connection by FIN; over TLS without the message that would say that this was all.
    Cut,
    /// Writes these bytes beneath TLS.
    Beneath(Vec<u8>),
    /// Begins the script anew, on the same connection.
    Again,
}

/// How a connection is served. After the last step it is closed, by FIN; over TLS as TLS wants it.
#[derive(Clone)]
pub struct Script(pub Vec<Step>);

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";

/// A complete answer: `{"ok":true}`.
fn ok() -> Vec<u8> {
    format!("{OK}content-length: 11\r\n\r\n{{\"ok\":true}}").into_bytes()
}

impl Script {
    /// Reads a request, writes `bytes`, closes.
    pub fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self(vec![Step::Request, Step::Send(bytes.into())])
    }

    fn ok_then(rest: &str) -> Self {
        Self::raw(format!("{OK}{rest}"))
    }

    /// Answers every request of every connection well.
    pub fn well() -> Self {
        Self(vec![Step::Request, Step::Send(ok()), Step::Again])
    }

    /// Closes without reading.
    pub fn closed_at_once() -> Self {
        Self(vec![])
    }

    /// Reads the request and closes.
    pub fn no_answer() -> Self {
        Self(vec![Step::Request])
    }

    /// Reads the request and says nothing.
    pub fn silent() -> Self {
        Self(vec![Step::Request, Step::Silence])
    }

    /// RST in place of an answer.
    pub fn reset_before_head() -> Self {
        Self(vec![Step::Request, Step::Reset])
    }

    /// RST in the middle of the head.
    pub fn reset_inside_head() -> Self {
        Self(vec![Step::Request, Step::Send(b"HTTP/1.1 200 OK\r\ncontent-ty".to_vec()), Step::Reset])
    }

    /// RST after 5 of 100 bytes of the body.
    pub fn reset_inside_body() -> Self {
        let part = format!("{OK}content-length: 100\r\n\r\nfirst").into_bytes();
        Self(vec![Step::Request, Step::Send(part), Step::Reset])
    }

    /// Reads the request and cuts the connection.
    pub fn cut_before_head() -> Self {
        Self(vec![Step::Request, Step::Cut])
    }

    /// A body that ends with the connection, which is cut: over TLS, anybody on the way could have done that.
    pub fn cut_inside_body() -> Self {
        let part = b"HTTP/1.0 200 OK\r\ncontent-type: application/json\r\n\r\n{\"ok\":true}".to_vec();
        Self(vec![Step::Request, Step::Send(part), Step::Cut])
    }

    /// Half a body, and then bytes that are no TLS.
    pub fn garbage_beneath() -> Self {
        let part = format!("{OK}content-length: 100\r\n\r\nfirst").into_bytes();
        let garbage = (0..=255).cycle().take(1024).collect();
        Self(vec![Step::Request, Step::Send(part), Step::Beneath(garbage), Step::Silence])
    }

    /// Closes after 5 of 100 bytes of the body.
    pub fn truncated() -> Self {
        Self::ok_then("content-length: 100\r\n\r\nfirst")
    }

    /// Closes in the middle of a chunk.
    pub fn truncated_chunk() -> Self {
        Self::ok_then("transfer-encoding: chunked\r\n\r\n64\r\nfirst")
    }

    /// Closes between two chunks, without the last one.
    pub fn no_last_chunk() -> Self {
        Self::ok_then("transfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n")
    }

    /// Five bytes announced, and then a whole other answer: what a cache would be poisoned by.
    pub fn too_long() -> Self {
        let smuggled = "HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nsmuggled";
        Self(vec![
            Step::Request,
            Step::Send(format!("{OK}content-length: 5\r\n\r\nfirst{smuggled}").into_bytes()),
            Step::Again,
        ])
    }

    /// Two lengths that differ.
    pub fn two_lengths() -> Self {
        Self::ok_then("content-length: 5\r\ncontent-length: 100\r\n\r\nfirst")
    }

    /// Both `Content-Length` and `Transfer-Encoding`.
    pub fn length_and_chunked() -> Self {
        Self::ok_then("content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n0\r\n\r\n")
    }

    /// A length that is no number: `+5`, `-1`, `0x5`, more than fits.
    pub fn length(text: &str) -> Self {
        Self::ok_then(&format!("content-length: {text}\r\n\r\nfirst"))
    }

    /// A chunk whose size is `text`: not hexadecimal, negative, more than fits.
    pub fn chunk_size(text: &str) -> Self {
        Self::ok_then(&format!("transfer-encoding: chunked\r\n\r\n{text}\r\nfirst\r\n0\r\n\r\n"))
    }

    /// A good answer, one byte `every` so often.
    pub fn slow(every: Duration) -> Self {
        Self(vec![Step::Request, Step::Slowly(ok(), every)])
    }

    /// A good head at once, then the body one byte `every` so often.
    pub fn slow_body(every: Duration) -> Self {
        let head = format!("{OK}content-length: 20\r\n\r\n").into_bytes();
        Self(vec![Step::Request, Step::Send(head), Step::Slowly(vec![b' '; 20], every)])
    }

    /// Headers without end.
    pub fn endless_headers() -> Self {
        Self(vec![Step::Request, Step::Send(OK.into()), Step::Forever(b"x-more: and more\r\n".repeat(100))])
    }

    /// One header without end.
    pub fn endless_header() -> Self {
        Self(vec![Step::Request, Step::Send(format!("{OK}x-long: ").into()), Step::Forever(vec![b'a'; 4096])])
    }

    /// A good answer with one header of so many bytes.
    pub fn huge_header(bytes: usize) -> Self {
        Self::ok_then(&format!("x-huge: {}\r\ncontent-length: 11\r\n\r\n{{\"ok\":true}}", "a".repeat(bytes)))
    }

    /// A good answer with so many headers.
    pub fn many_headers(count: usize) -> Self {
        let headers: String = (0..count).map(|n| format!("x-{n}: {n}\r\n")).collect();
        Self::ok_then(&format!("{headers}content-length: 11\r\n\r\n{{\"ok\":true}}"))
    }

    /// 103 without end.
    pub fn endless_early_hints() -> Self {
        Self(vec![Step::Request, Step::Forever(b"HTTP/1.1 103 Early Hints\r\n\r\n".repeat(50))])
    }

    /// A body without end, by chunks.
    pub fn endless_body() -> Self {
        let chunk = [b"1000\r\n".as_slice(), &[b' '; 4096], b"\r\n"].concat();
        let head = format!("{OK}transfer-encoding: chunked\r\n\r\n").into_bytes();
        Self(vec![Step::Request, Step::Send(head), Step::Forever(chunk)])
    }

    /// 100 after the head of a request, and the answer after its body.
    pub fn continues() -> Self {
        let interim = b"HTTP/1.1 100 Continue\r\n\r\n".to_vec();
        Self(vec![Step::Head, Step::Send(interim), Step::Body, Step::Send(ok()), Step::Again])
    }

    /// 103 with a link, and then a good answer.
    pub fn early_hints() -> Self {
        let hints = b"HTTP/1.1 103 Early Hints\r\nlink: </style.css>; rel=preload\r\n\r\n".to_vec();
        Self(vec![Step::Request, Step::Send(hints), Step::Send(ok()), Step::Again])
    }

    /// 101 that nobody asked for.
    pub fn switches_protocols() -> Self {
        Self::raw("HTTP/1.1 101 Switching Protocols\r\nupgrade: other\r\nconnection: upgrade\r\n\r\n")
    }

    /// A good answer whose chunks are followed by trailers.
    pub fn trailers() -> Self {
        let rest = "transfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\nb\r\n{\"ok\":true}\r\n0\r\n\
                    x-sum: 1\r\nset-cookie: late=1\r\n\r\n";
        Self(vec![Step::Request, Step::Send(format!("{OK}{rest}").into()), Step::Again])
    }

    /// Under `Content-Encoding: gzip`, so many MiB of zeros: 1024 are 1 MiB on the wire.
    pub fn gzip_bomb(mib: u32) -> Self {
        Self::encoded("gzip", &gzip_of_zeros(mib))
    }

    /// The same under gzip twice: a few KiB on the wire.
    pub fn gzip_bomb_nested(mib: u32) -> Self {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&gzip_of_zeros(mib)).unwrap();
        Self::encoded("gzip, gzip", &encoder.finish().unwrap())
    }

    /// A good answer with this body under that `Content-Encoding`, whether it is true or not.
    pub fn encoded(coding: &str, body: &[u8]) -> Self {
        let head = format!("{OK}content-encoding: {coding}\r\ncontent-length: {}\r\n\r\n", body.len());
        Self(vec![Step::Request, Step::Send([head.as_bytes(), body].concat()), Step::Again])
    }

    /// Lines that end in LF alone.
    pub fn bare_lf() -> Self {
        Self::raw("HTTP/1.1 200 OK\ncontent-length: 5\n\nfirst")
    }

    /// A header folded over two lines (obs-fold).
    pub fn folded_header() -> Self {
        Self::ok_then("x-folded: one\r\n two\r\ncontent-length: 5\r\n\r\nfirst")
    }

    /// A body and nothing else, as HTTP/0.9 had it.
    pub fn http_0_9() -> Self {
        Self::raw("<html>hello</html>\n")
    }

    /// HTTP/1.0, with a body that ends with the connection.
    pub fn http_1_0() -> Self {
        Self::raw("HTTP/1.0 200 OK\r\ncontent-type: application/json\r\n\r\n{\"ok\":true}")
    }

    /// Bytes that are no HTTP.
    pub fn garbage() -> Self {
        Self::raw((0..=255).cycle().take(1024).collect::<Vec<u8>>())
    }

    /// A good answer that promises to keep the connection, which is closed.
    pub fn keep_alive_closed() -> Self {
        let kept = "connection: keep-alive\r\nkeep-alive: timeout=60\r\n";
        Self::ok_then(&format!("{kept}content-length: 11\r\n\r\n{{\"ok\":true}}"))
    }

    /// The same, but the connection is reset when the next request comes in.
    pub fn keep_alive_reset() -> Self {
        Self(vec![Step::Request, Step::Send(ok()), Step::Request, Step::Reset])
    }

    /// An answer of that status with a `Location`.
    pub fn redirect(status: u16, location: &str) -> Self {
        let answer = format!("HTTP/1.1 {status} Moved\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n");
        Self(vec![Step::Request, Step::Send(answer.into()), Step::Again])
    }

    /// `hops` redirects, to `/hops-1`, … `/0`, and then a good answer. A path that is a number goes on from there.
    pub fn redirects(hops: usize) -> Self {
        let answer = move |head: &str| {
            let path = head.split(' ').nth(1).unwrap_or_default();
            match path.trim_start_matches('/').parse().unwrap_or(hops) {
                0 => ok(),
                left => format!("HTTP/1.1 302 Found\r\nlocation: /{}\r\ncontent-length: 0\r\n\r\n", left - 1)
                    .into(),
            }
        };
        Self(vec![Step::Request, Step::Answer(Arc::new(answer)), Step::Again])
    }
}

/// A request as it came.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Which connection it came on, from 0.
    pub connection: usize,
    /// The head up to its empty line, without.
    pub head: String,
    /// The body as sent: with the chunks' sizes if it was chunked.
    pub body: Vec<u8>,
}

#[derive(Default)]
struct State {
    connections: AtomicUsize,
    sent: AtomicU64,
    seen: Mutex<Vec<Seen>>,
}

/// A running server. It ends with this value.
pub struct Chaos {
    /// `http://127.0.0.1:PORT`, or `https://`
    pub url: String,
    address: SocketAddr,
    state: Arc<State>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Drop for Chaos {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Chaos {
    /// A server that treats every connection alike, on a free port of 127.0.0.1.
    pub async fn start(script: Script) -> Self {
        Self::each(move |_| script.clone()).await
    }

    /// A server with a script per connection, which are numbered from 0.
    pub async fn each(script: impl Fn(usize) -> Script + Send + Sync + 'static) -> Self {
        Self::listen(script, None).await
    }

    /// The same over TLS, by the certificate of [`pki`](crate::ca::pki) and HTTP/1.1 alone.
    pub async fn each_tls(script: impl Fn(usize) -> Script + Send + Sync + 'static) -> Self {
        Self::listen(script, Some(tls::acceptor(&[b"http/1.1"]))).await
    }

    async fn listen(
        script: impl Fn(usize) -> Script + Send + Sync + 'static,
        tls: Option<tokio_rustls::TlsAcceptor>,
    ) -> Self {
        let scheme = if tls.is_some() { "https" } else { "http" };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let shared = state.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let number = shared.connections.fetch_add(1, Ordering::SeqCst);
                let _ = stream.set_nodelay(true);
                let (state, tls, script) = (shared.clone(), tls.clone(), script(number));
                tokio::spawn(async move {
                    let stream: Box<dyn Wire> = match tls {
                        Some(tls) => Box::new(tls.accept(stream).await.ok()?),
                        None => Box::new(stream),
                    };
                    Served { stream, state, number, buffer: Vec::new() }.run(script).await;
                    Some(())
                });
            }
        });
        Self { url: format!("{scheme}://{address}"), address, state, accepting }
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// Requests whose head was read so far.
    pub fn requests(&self) -> usize {
        self.state.seen.lock().unwrap().len()
    }

    /// Those requests, in order.
    pub fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().unwrap().clone()
    }

    /// Bytes that peers took so far, or that lie in the system's buffers.
    pub fn sent(&self) -> u64 {
        self.state.sent.load(Ordering::SeqCst)
    }
}

/// What a script is played on.
trait Wire: AsyncRead + AsyncWrite + Send + Unpin {
    fn tcp(&self) -> &TcpStream;
}

impl Wire for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Wire for TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}

struct Served {
    stream: Box<dyn Wire>,
    state: Arc<State>,
    number: usize,
    /// Read, but not used yet.
    buffer: Vec<u8>,
}

impl Served {
    async fn run(mut self, script: Script) {
        while self.once(&script).await.is_some_and(|again| again) {}
    }

    /// Whether to begin again; none when the connection is over.
    async fn once(&mut self, script: &Script) -> Option<bool> {
        for step in &script.0 {
            match step {
                Step::Request => {
                    self.head().await?;
                    self.body().await?;
                }
                Step::Head => self.head().await?,
                Step::Body => self.body().await?,
                Step::Send(bytes) => self.send(bytes).await?,
                Step::Answer(answer) => {
                    let head = self.state.seen.lock().unwrap().last()?.head.clone();
                    self.send(&answer(&head)).await?;
                }
                Step::Slowly(bytes, every) => {
                    for byte in bytes {
                        self.send(&[*byte]).await?;
                        tokio::time::sleep(*every).await;
                    }
                }
                Step::Forever(bytes) => loop {
                    self.send(bytes).await?;
                },
                Step::Silence => loop {
                    self.more().await?;
                    self.buffer.clear();
                },
                Step::Reset => {
                    let _ = self.stream.tcp().set_zero_linger();
                    return None;
                }
                Step::Cut => return None,
                Step::Beneath(bytes) => {
                    self.stream.tcp().try_write(bytes).ok()?;
                }
                Step::Again => return Some(true),
            }
        }
        let _ = self.stream.shutdown().await;
        None
    }

    async fn send(&mut self, bytes: &[u8]) -> Option<()> {
        self.stream.write_all(bytes).await.ok()?;
        self.stream.flush().await.ok()?;
        self.state.sent.fetch_add(bytes.len() as u64, Ordering::SeqCst);
        Some(())
    }

    async fn more(&mut self) -> Option<()> {
        (self.stream.read_buf(&mut self.buffer).await.ok()? > 0).then_some(())
    }

    async fn head(&mut self) -> Option<()> {
        let head = self.until(b"\r\n\r\n").await?;
        let head = String::from_utf8_lossy(&head).trim_end().to_owned();
        self.state.seen.lock().unwrap().push(Seen { connection: self.number, head, body: vec![] });
        Some(())
    }

    async fn body(&mut self) -> Option<()> {
        let own = |seen: &&mut Seen| seen.connection == self.number;
        let head = {
            let mut seen = self.state.seen.lock().unwrap();
            seen.iter_mut().rev().find(own)?.head.to_ascii_lowercase()
        };
        let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let body = if header("transfer-encoding:") == Some("chunked") {
            let mut body = Vec::new();
            while !body.ends_with(b"\r\n0\r\n\r\n") && body != b"0\r\n\r\n" {
                body.extend(self.until(b"\r\n").await?);
            }
            body
        } else {
            let length = header("content-length:").map_or(0, |text| text.parse().unwrap());
            while self.buffer.len() < length {
                self.more().await?;
            }
            self.buffer.drain(..length).collect()
        };
        let own = |seen: &&mut Seen| seen.connection == self.number;
        self.state.seen.lock().unwrap().iter_mut().rev().find(own)?.body = body;
        Some(())
    }

    /// The bytes up to and with `end`.
    async fn until(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        loop {
            if let Some(at) = self.buffer.windows(end.len()).position(|window| window == end) {
                return Some(self.buffer.drain(..at + end.len()).collect());
            }
            self.more().await?;
        }
    }
}

/// A gzip of so many MiB of zeros, without compressing them all: a block that refers to nothing before it can be
/// repeated.
fn gzip_of_zeros(mib: u32) -> Vec<u8> {
    let zeros = vec![0; 1 << 20];
    let mut block = Vec::with_capacity(1 << 16);
    let mut compress = Compress::new(Compression::best(), false);
    compress.compress_vec(&zeros, &mut block, FlushCompress::Full).unwrap();
    let mut one = Crc::new();
    one.update(&zeros);
    let mut all = Crc::new();
    for _ in 0..mib {
        all.combine(&one);
    }
    let mut gzip = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 255];
    gzip.extend(block.repeat(mib as usize));
    // An empty last block.
    gzip.extend([0x03, 0x00]);
    gzip.extend(all.sum().to_le_bytes());
    gzip.extend((mib << 20).to_le_bytes());
    gzip
}
