//! Connections of clients: how many, how slow they may be, and how they end.
//!
//! Invariant: a client costs a bounded time and place, whatever it sends or does not send: its head, its silence in a body or
//! while an answer waits for it, its idling between requests. Ending waits for the requests that have begun, which is when
//! their head is whole, and for nothing else.

use std::{
    convert::Infallible,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{Router, body::Body};
use http_body::{Frame, SizeHint};
use hyper::{
    body::Incoming,
    server::conn::http1,
    service::{Service as _, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use openact::{Error, Result, limits};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{Instant, Sleep},
};

/// What [`crate::serve`] listens on.
pub struct Listener(TcpListener);

impl Listener {
    /// Listens on `address`, `host:port`.
    pub async fn bind(address: &str) -> Result<Self> {
        TcpListener::bind(address).await.map(Self).map_err(|error| {
            let hint = match error.kind() {
                io::ErrorKind::AddrInUse => {
                    "something listens there already; end it, or choose another port: --addr"
                }
                io::ErrorKind::PermissionDenied => {
                    "this user may not listen on that port; choose one above 1023: --addr"
                }
                io::ErrorKind::AddrNotAvailable => "that address is not one of this machine's: --addr",
                _ => "expected HOST:PORT, such as 127.0.0.1:8080: --addr",
            };
            Error::invalid_config(format!("cannot listen on {address}: {error}")).hint(hint)
        })
    }

    /// Where it listens.
    pub fn address(&self) -> Result<std::net::SocketAddr> {
        self.0.local_addr().map_err(|error| Error::internal("a listener has no address").because(error))
    }
}

/// How many clients there may be, and how long they are waited for. The default is that of [`limits`].
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Connections open at once; more wait to be accepted.
    pub connections: usize,
    /// For the head of a request, from the connection's beginning or the answer before on.
    pub head: Duration,
    /// For more of a body.
    pub body_silence: Duration,
    /// For a whole body.
    pub body: Duration,
    /// Until a client takes more of an answer.
    pub answer_silence: Duration,
    /// For what is being answered when the server is asked to end.
    pub grace: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connections: limits::SERVER_CONNECTIONS_MAX,
            head: limits::SERVER_HEAD_TIME_MAX,
            body_silence: limits::SERVER_SILENCE_MAX,
            body: limits::SERVER_BODY_TIME_MAX,
            answer_silence: limits::SERVER_WRITE_SILENCE_MAX,
            grace: limits::SERVER_GRACE,
        }
    }
}

/// Serves `router` until `shutdown` is done; then takes no more connections, and waits for `end` and for what is being
/// answered, within its patience.
pub(crate) async fn serve(
    listener: Listener,
    router: Router,
    patience: Patience,
    shutdown: impl Future<Output = ()>,
    end: impl Future<Output = ()>,
) {
    let (ending, is_ending) = watch::channel(false);
    let places = Arc::new(Semaphore::new(patience.connections));
    let mut connections = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let place = tokio::select! {
            () = &mut shutdown => break,
            place = places.clone().acquire_owned() => place,
            _ = connections.join_next(), if !connections.is_empty() => continue,
        };
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.0.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let (router, is_ending) = (router.clone(), is_ending.clone());
                connections.spawn(async move {
                    connection(stream, router, patience, is_ending).await;
                    drop(place);
                });
            }
            // Out of file descriptors, perhaps: what was accepted will give some back.
            Err(error) => {
                tracing::warn!("failed to accept a connection: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    ending.send_replace(true);
    let all = async {
        let every = async { while connections.join_next().await.is_some() {} };
        tokio::join!(end, every)
    };
    if tokio::time::timeout(patience.grace, all).await.is_err() {
        tracing::warn!(
            "connections that took longer than {} s to end were closed: {}",
            patience.grace.as_secs(),
            connections.len()
        );
        connections.shutdown().await;
    }
}

async fn connection(
    stream: TcpStream,
    router: Router,
    patience: Patience,
    mut is_ending: watch::Receiver<bool>,
) {
    let _ = stream.set_nodelay(true);
    let progress = Arc::<Progress>::default();
    let silence = patience.answer_silence;
    let stream = TokioIo::new(Patient { stream, silence, waiting: None, progress: progress.clone() });
    let router = TowerToHyperService::new(router);
    let answer = |request: http::Request<Incoming>| {
        let answering = Answering::begin(&progress);
        let answer = router.call(request);
        async move {
            let answer = answer.await?;
            Ok::<_, Infallible>(answer.map(|body| Answer { body, _answering: answering }))
        }
    };
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(patience.head)
        .max_buf_size(limits::SERVER_HEAD_BYTES_MAX)
        .serve_connection(stream, service_fn(answer));
    let mut served = std::pin::pin!(served);
    let ended = tokio::select! {
        ended = &mut served => Some(ended),
        () = asked(&mut is_ending) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            progress.is_ending.store(true, Ordering::Relaxed);
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!("a connection broke off: {error}");
    }
}

async fn asked(is_ending: &mut watch::Receiver<bool>) {
    // That nobody can ask any more is as good as being asked.
    let _ = is_ending.wait_for(|ending| *ending).await;
}

/// What a connection is at.
#[derive(Default)]
struct Progress {
    /// Requests that have begun and whose answer has not been handed over whole.
    answering: AtomicUsize,
    is_ending: AtomicBool,
}

/// One of [`Progress::answering`].
struct Answering(Arc<Progress>);

impl Answering {
    fn begin(progress: &Arc<Progress>) -> Self {
        progress.answering.fetch_add(1, Ordering::Relaxed);
        Self(progress.clone())
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.answering.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The body of an answer.
struct Answer {
    body: Body,
    _answering: Answering,
}

impl http_body::Body for Answer {
    type Data = bytes::Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A stream whose other side may leave what is written to it lying for so long, and whose last requests have come when the
/// server ends.
struct Patient {
    stream: TcpStream,
    silence: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
    progress: Arc<Progress>,
}

impl Patient {
    /// Whether the server ends, and nothing is being answered here or is on its way to the client.
    fn has_nothing_to_wait_for(&self) -> bool {
        self.progress.is_ending.load(Ordering::Relaxed)
            && self.progress.answering.load(Ordering::Relaxed) == 0
            && self.waiting.is_none()
    }

    fn writes<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.waiting = None;
            return written;
        }
        let waiting = self
            .waiting
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + self.silence)));
        match waiting.as_mut().poll(context) {
            Poll::Ready(()) => {
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing")))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.has_nothing_to_wait_for() {
            // As if the client had left: half a head would hold the server's end until its time is over.
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.writes(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.writes(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
