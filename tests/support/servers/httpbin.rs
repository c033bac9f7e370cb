//! httpbin under gunicorn: `/digest-auth/{qop}/{user}/{password}/{algorithm}`, `/redirect-to`, `/status`, `/gzip`,
//! `/brotli`, `/drip`, `/stream`, `/bytes`, `/anything`.
//!
//! Invariant: it keeps no state between requests, but in the cookies it sets.

use std::{process::Command, sync::OnceLock};

use super::{
    needed,
    process::{Process, answers},
    python_bin,
};

/// A running httpbin.
pub struct Httpbin {
    /// `http://127.0.0.1:PORT`
    pub url: String,
    _process: Process,
}

/// The httpbin of this process.
pub fn httpbin() -> &'static Httpbin {
    static STARTED: OnceLock<Httpbin> = OnceLock::new();
    STARTED.get_or_init(|| {
        let (process, _, port) =
            Process::start(
                "httpbin",
                |start| {
                    let mut command = Command::new(needed(python_bin().with_file_name("gunicorn")));
                    command
                        .args(["--worker-class", "gthread", "--threads", "16", "--no-control-socket"])
                        .args(["--bind", &format!("127.0.0.1:{}", start.port), "httpbin:app"]);
                    command
                },
                |start| answers(start.port, "/status/200"),
            );
        Httpbin { url: format!("http://127.0.0.1:{port}"), _process: process }
    })
}
