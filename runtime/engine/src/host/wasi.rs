//! WASI as a connector gets it: an empty environment, no files, no sockets, bounded standard streams (S4).
//!
//! Invariant: whatever a toolchain links in loads, and none of it reaches anything outside the call. The context is
//! made on first use, since most calls of most connectors never ask WASI for anything.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use openact_core::{
    limits::{HTTP_HEADER_BYTES_MAX, RANDOM_BYTES_MAX, STDIO_BYTES_MAX},
    run::RunId,
};
use tokio::io::AsyncWrite;
use wasmtime_wasi::{
    WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView,
    cli::{IsTerminal, StdoutStream},
    p2::{OutputStream, Pollable, StreamResult},
};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use super::{one_line, wasi_http::WasiOutgoing};
use crate::{egress::traffic::Traffic, instance::CallState};

/// The WASI part of a call.
pub(crate) struct Wasi {
    context: Option<(WasiCtx, WasiHttpCtx)>,
    stdout: BoundedOutput,
    stderr: BoundedOutput,
    outgoing: WasiOutgoing,
}

impl Wasi {
    /// `may_http` says whether the connector declared that it needs HTTP.
    pub(crate) fn new(traffic: Arc<Traffic>, may_http: bool) -> Self {
        Self {
            context: None,
            stdout: BoundedOutput::default(),
            stderr: BoundedOutput::default(),
            outgoing: WasiOutgoing { traffic, denied: !may_http },
        }
    }

    /// What the guest wrote to standard error, such as a panic message.
    pub(crate) fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Logs what was written to the standard streams; `run` is none while a connector describes itself.
    pub(crate) fn finish(&self, run: Option<RunId>) {
        for (stream, output) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            let text = output.text();
            if !text.is_empty() {
                tracing::debug!(target: "openact::connector", ?run, stream, "{text}");
            }
        }
    }

    /// The one place where the contexts are made, so that neither is ever had without its restrictions.
    fn parts(&mut self) -> (&mut WasiCtx, &mut WasiHttpCtx, &mut WasiOutgoing) {
        let (wasi, http) = self.context.get_or_insert_with(|| {
            let wasi = WasiCtxBuilder::new()
                .stdout(self.stdout.clone())
                .stderr(self.stderr.clone())
                .max_random_size(RANDOM_BYTES_MAX)
                .allow_tcp(false)
                .allow_udp(false)
                .allow_ip_name_lookup(false)
                .build();
            let mut http = WasiHttpCtx::new();
            http.set_field_size_limit(HTTP_HEADER_BYTES_MAX);
            (wasi, http)
        });
        (wasi, http, &mut self.outgoing)
    }
}

impl WasiView for CallState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let (ctx, _, _) = self.wasi.parts();
        WasiCtxView { ctx, table: &mut self.table }
    }
}

impl WasiHttpView for CallState {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        let (_, ctx, hooks) = self.wasi.parts();
        WasiHttpCtxView { ctx, table: &mut self.table, hooks }
    }
}

/// A standard stream: the first bytes are kept for the log, the rest is dropped.
#[derive(Clone, Default)]
struct BoundedOutput(Arc<Mutex<Vec<u8>>>);

impl BoundedOutput {
    fn text(&self) -> String {
        one_line(&String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl IsTerminal for BoundedOutput {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for BoundedOutput {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for BoundedOutput {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = STDIO_BYTES_MAX.saturating_sub(kept.len()).min(bytes.len());
        kept.extend_from_slice(bytes.get(..room).unwrap_or_default());
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(STDIO_BYTES_MAX)
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for BoundedOutput {
    async fn ready(&mut self) {}
}
