//! Standard input and output: a message is a line.
//!
//! | what happens | what is done |
//! |---|---|
//! | standard input ends | calls in flight get a few seconds, then they are cancelled; the server ends |
//! | standard output is closed | the same, at the next message, without the seconds |
//! | `stop` is ready | the same |
//! | a line is no JSON, or longer than [`MCP_MESSAGE_BYTES_MAX`] | error -32700, as JSON-RPC has it; the SDK says nothing |
//!
//! Invariant: every byte on standard output is part of a message of the protocol.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use openact::{Error, OpenAct, Result, limits::MCP_MESSAGE_BYTES_MAX};
use rmcp::{
    ErrorData, RoleServer, ServiceExt,
    service::{RxJsonRpcMessage, ServerInitializeError, TxJsonRpcMessage},
    transport::{Transport, async_rw::AsyncRwTransport, io::stdio_pipes},
};
use serde::de::IgnoredAny;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::mpsc,
};
use tokio_util::sync::CancellationToken;

use crate::{McpSettings, Server, handler::Handler};

/// Serves the one client at standard input and output until it leaves or `stop` is ready. Nothing else may write to
/// standard output meanwhile.
pub async fn serve_stdio(
    openact: OpenAct,
    settings: McpSettings,
    stop: impl Future<Output = ()>,
) -> Result<()> {
    let (input, output) = stdio_pipes();
    serve(openact, settings, input, output, stop).await
}

/// The same for any pair of streams.
pub(crate) async fn serve(
    openact: OpenAct,
    settings: McpSettings,
    input: impl AsyncRead + Send + Unpin + 'static,
    output: impl AsyncWrite + Send + Unpin + 'static,
    stop: impl Future<Output = ()>,
) -> Result<()> {
    let server = Server::new(openact, settings);
    let ended = CancellationToken::new();
    let output = Output { output, closed: ended.clone() };
    let (told, wrong) = mpsc::unbounded_channel();
    let input = Input { input, line: Vec::new(), is_too_long: false, told };
    let inner = AsyncRwTransport::new_server(input, output).with_max_line_length(MCP_MESSAGE_BYTES_MAX);
    let transport = Lines { inner, wrong, answering: None };
    let serving = async {
        match Handler::new(server.clone()).serve_with_ct(transport, ended.clone()).await {
            Ok(running) => running
                .waiting()
                .await
                .map(drop)
                .map_err(|error| Error::internal("the server broke").because(error)),
            Err(error) => not_begun(error),
        }
    };
    let mut serving = std::pin::pin!(serving);
    let result = tokio::select! {
        result = &mut serving => result,
        () = stop => {
            server.ending.cancel();
            ended.cancel();
            serving.await
        }
    };
    // What was still running was cancelled with the connection; it is gone before the store is closed.
    server.ending.cancel();
    server.calls.close();
    server.calls.wait().await;
    result
}

/// A client that leaves before it says anything has done nothing wrong.
fn not_begun(error: ServerInitializeError) -> Result<()> {
    match error {
        ServerInitializeError::ConnectionClosed(_)
        | ServerInitializeError::Cancelled
        | ServerInitializeError::TransportError { .. } => Ok(()),
        // Its text may hold what the client sent.
        ServerInitializeError::ExpectedInitializeRequest(_) => {
            Err(Error::invalid_input("the client did not begin with a request of the Model Context Protocol")
                .hint("this command is started by an MCP client, which writes to its standard input"))
        }
        error => {
            Err(Error::invalid_input("the client and this server found no version of the protocol in common")
                .because(error))
        }
    }
}

/// Standard input, looked at as it passes.
struct Input<R> {
    input: R,
    /// What came of the line that is not over.
    line: Vec<u8>,
    is_too_long: bool,
    /// What is wrong with a line.
    told: mpsc::UnboundedSender<&'static str>,
}

impl<R> Input<R> {
    fn look_at(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.is_too_long |= self.line.len() + piece.len() > MCP_MESSAGE_BYTES_MAX;
            if self.is_too_long {
                self.line.clear();
            } else {
                self.line.extend_from_slice(piece);
            }
            if piece.ends_with(b"\n") {
                let wrong = match std::mem::take(&mut self.is_too_long) {
                    true => Some("the line is too long"),
                    false => (!is_json(&self.line)).then_some("the line is not JSON"),
                };
                self.line.clear();
                if let Some(wrong) = wrong {
                    // Nobody listens only once nobody reads.
                    let _ = self.told.send(wrong);
                }
            }
        }
    }
}

/// A line without anything is no message, and no mistake.
fn is_json(line: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(line) else { return false };
    let text = text.trim_start_matches('\u{feff}').trim();
    text.is_empty() || serde_json::from_str::<IgnoredAny>(text).is_ok()
}

impl<R: AsyncRead + Unpin> AsyncRead for Input<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.input).poll_read(context, buffer))?;
        self.look_at(buffer.filled().get(before..).unwrap_or_default());
        Poll::Ready(Ok(()))
    }
}

/// The SDK's transport, and an answer to each line that it leaves out. They are written before more is read, so that there are
/// never more of them than lines in one piece of the input.
struct Lines<T: Transport<RoleServer>> {
    inner: T,
    wrong: mpsc::UnboundedReceiver<&'static str>,
    /// An answer that is being written: receiving may be stopped midway and begun again.
    answering: Option<Pin<Box<Sending<T>>>>,
}

type Sending<T> = dyn Future<Output = std::result::Result<(), <T as Transport<RoleServer>>::Error>> + Send;

impl<T: Transport<RoleServer>> Transport<RoleServer> for Lines<T> {
    type Error = T::Error;

    fn send(
        &mut self,
        item: TxJsonRpcMessage<RoleServer>,
    ) -> impl Future<Output = std::result::Result<(), T::Error>> + Send + 'static {
        self.inner.send(item)
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleServer>> {
        loop {
            if let Some(answering) = &mut self.answering {
                answering.await.ok()?;
                self.answering = None;
            }
            tokio::select! {
                biased;
                Some(wrong) = self.wrong.recv() => {
                    let error = ErrorData::parse_error(wrong, None);
                    let answer = TxJsonRpcMessage::<RoleServer>::error(error, None);
                    self.answering = Some(Box::pin(self.inner.send(answer)));
                }
                message = self.inner.receive() => return message,
            }
        }
    }

    async fn close(&mut self) -> std::result::Result<(), T::Error> {
        self.inner.close().await
    }
}

/// Standard output. One that fails is closed, and nobody is there to serve.
struct Output<W> {
    output: W,
    closed: CancellationToken,
}

impl<W: AsyncWrite + Unpin> Output<W> {
    fn looked_at<T>(&self, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(Err(error)) = &written {
            tracing::debug!("standard output is closed: {error}");
            self.closed.cancel();
        }
        written
    }
}

impl<W: AsyncWrite + Unpin> AsyncWrite for Output<W> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.output).poll_write(context, bytes);
        self.looked_at(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.output).poll_flush(context);
        self.looked_at(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.output).poll_shutdown(context)
    }
}
