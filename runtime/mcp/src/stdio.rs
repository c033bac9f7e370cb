//! Standard input and output: a message is a line.
//!
//! | what happens | what is done |
//! |---|---|
//! | standard input ends | calls in flight get a few seconds, then they are cancelled; the server ends |
//! | standard output is closed | the same, at the next message, without the seconds |
//! | `stop` is ready | the same |
//!
//! Invariant: every byte on standard output is part of a message of the protocol.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use openact::{Error, OpenAct, Result, limits::MCP_MESSAGE_BYTES_MAX};
use rmcp::{
    ServiceExt,
    service::ServerInitializeError,
    transport::{async_rw::AsyncRwTransport, io::stdio_pipes},
};
use tokio::io::AsyncWrite;
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
    input: impl tokio::io::AsyncRead + Send + Unpin + 'static,
    output: impl AsyncWrite + Send + Unpin + 'static,
    stop: impl Future<Output = ()>,
) -> Result<()> {
    let server = Server::new(openact, settings);
    let ended = CancellationToken::new();
    let output = Output { output, closed: ended.clone() };
    let transport = AsyncRwTransport::new_server(input, output).with_max_line_length(MCP_MESSAGE_BYTES_MAX);
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
