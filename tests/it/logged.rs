//! What OpenAct writes to its log at the most verbose level, while a [`Logged`] lives, on the thread that made it.
//!
//! Invariant: one event is one line of [`Logged::lines`], unless the text of the event broke it.

use std::{
    io,
    sync::{Arc, LazyLock, Mutex},
};

use tracing::Dispatch;
use tracing_subscriber::{fmt::MakeWriter, util::SubscriberInitExt};

/// See the module. The tests' runtimes have one thread, so that is where everything happens.
pub(crate) struct Logged {
    text: Sink,
    _guard: tracing::subscriber::DefaultGuard,
}

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Sink {
    type Writer = Self;
    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Writes everything to `writer`.
fn verbose(writer: impl for<'a> MakeWriter<'a> + Send + Sync + 'static) -> Dispatch {
    let level = tracing_subscriber::filter::LevelFilter::TRACE;
    tracing_subscriber::fmt().with_max_level(level).with_ansi(false).with_writer(writer).finish().into()
}

impl Logged {
    pub(crate) fn start() -> Self {
        // With one subscriber in the process, a place in the code is switched off for good if the first thread to come
        // by has none: another test's. With two, both are asked.
        static SECOND: LazyLock<Dispatch> = LazyLock::new(|| verbose(io::sink));
        LazyLock::force(&SECOND);
        let text = Sink::default();
        Self { _guard: verbose(text.clone()).set_default(), text }
    }

    /// Everything so far.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.text.0.lock().unwrap()).into_owned()
    }

    /// The lines that hold `part`.
    pub(crate) fn lines(&self, part: &str) -> Vec<String> {
        self.text().lines().filter(|line| line.contains(part)).map(str::to_owned).collect()
    }
}
