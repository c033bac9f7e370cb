//! Connections of clients: how many, how slow they may be, and how they end.
//!
//! Invariant: a client costs a bounded time and place, whatever it sends or does not send: its head, its silence in a body or
//! while an answer waits for it, its idling between requests. Ending waits for the requests that are being answered.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::Router;
use hyper::server::conn::http1;
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

/// Serves `router` until `shutdown` is done; then takes no more connections, and waits for `end` and for what is being
/// answered, at most `grace`.
pub(crate) async fn serve(
    listener: Listener,
    router: Router,
    shutdown: impl Future<Output = ()>,
    end: impl Future<Output = ()>,
    grace: Duration,
) {
    let (ending, is_ending) = watch::channel(false);
    let places = Arc::new(Semaphore::new(limits::SERVER_CONNECTIONS_MAX));
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
                    connection(stream, router, is_ending).await;
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
    if tokio::time::timeout(grace, all).await.is_err() {
        tracing::warn!(
            "connections that took longer than {} s to end were closed: {}",
            grace.as_secs(),
            connections.len()
        );
        connections.shutdown().await;
    }
}

async fn connection(stream: TcpStream, router: Router, mut is_ending: watch::Receiver<bool>) {
    let _ = stream.set_nodelay(true);
    let stream = TokioIo::new(Patient { stream, waiting: None });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits::SERVER_HEAD_TIME_MAX)
        .max_buf_size(limits::SERVER_HEAD_BYTES_MAX)
        .serve_connection(stream, TowerToHyperService::new(router));
    let mut served = std::pin::pin!(served);
    let ended = tokio::select! {
        ended = &mut served => Some(ended),
        () = asked(&mut is_ending) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
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

/// A stream whose other side may leave what is written to it lying for [`limits::SERVER_WRITE_SILENCE_MAX`].
struct Patient {
    stream: TcpStream,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Patient {
    fn writes<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.waiting = None;
            return written;
        }
        let waiting = self.waiting.get_or_insert_with(|| {
            Box::pin(tokio::time::sleep_until(Instant::now() + limits::SERVER_WRITE_SILENCE_MAX))
        });
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
