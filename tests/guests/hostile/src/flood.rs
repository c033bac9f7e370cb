//! Attacks on the host by number and by size.

use openact_connector::{Failure, Host, Json, Request, log::Level};
use serde_json::json;
use std::io::Write;

use crate::component::{Attack, url};

type Outcome = Result<Json, Failure>;

fn done(count: u64) -> Outcome {
    Json::of(&json!({"done": count}))
}

/// Sends requests without end and ignores what comes back.
pub(crate) fn host_calls(call: Attack, host: &dyn Host) -> Outcome {
    let url = call.input.url.clone().unwrap_or_else(|| "http://ungranted.invalid/".into());
    for _ in 0..call.input.count() {
        let _ = host.send(Request::get(&url));
    }
    done(call.input.count())
}

/// Asks WASI for the time without end.
pub(crate) fn wasi(call: Attack, _host: &dyn Host) -> Outcome {
    for _ in 0..call.input.count() {
        std::hint::black_box(wasip2::clocks::monotonic_clock::now());
    }
    done(call.input.count())
}

/// Logs without end.
pub(crate) fn log(call: Attack, host: &dyn Host) -> Outcome {
    for line in 0..call.input.count() {
        host.log(Level::Error, &format!("line {line}"), Some(&json!({"line": line}).into()));
    }
    done(call.input.count())
}

/// Prints without end.
pub(crate) fn stdout(call: Attack, _host: &dyn Host) -> Outcome {
    let block = [b'x'; 4096];
    for _ in 0..call.input.count() {
        // A stream that is closed is no reason to stop.
        let _ = std::io::stdout().write_all(&block);
        let _ = std::io::stderr().write_all(&block);
    }
    done(call.input.count())
}

/// One log line of 16 MiB, with line breaks, terminal codes and fields that are not JSON.
pub(crate) fn huge_log(_call: Attack, host: &dyn Host) -> Outcome {
    let message = format!("\x1b[31m\r\nforged=line\0{}", "x".repeat(16 * 1024 * 1024));
    host.log(Level::Info, &message, Some(&Json::from_text("{not json".into())));
    done(1)
}

/// Lines of 8 MiB without end: all the time goes into the host.
pub(crate) fn huge_logs(call: Attack, host: &dyn Host) -> Outcome {
    let message = "x".repeat(8 * 1024 * 1024);
    for _ in 0..call.input.count() {
        host.log(Level::Info, &message, None);
    }
    done(call.input.count())
}

/// One line of 40 MiB, or `count` bytes, and the same bytes once more beside it: the guest has them once.
pub(crate) fn twice_log(call: Attack, host: &dyn Host) -> Outcome {
    let bytes = usize::try_from(call.input.count.unwrap_or(40 * 1024 * 1024)).unwrap_or(usize::MAX);
    let text = Json::from_text("x".repeat(bytes));
    host.log(Level::Info, text.as_str(), Some(&text));
    done(1)
}

/// One request of 20 MiB, or `count` bytes.
pub(crate) fn huge_request(call: Attack, host: &dyn Host) -> Outcome {
    let bytes = usize::try_from(call.input.count.unwrap_or(20 * 1024 * 1024)).unwrap_or(usize::MAX);
    let response = host.send(Request::new("POST", url(&call)?).body(vec![b'x'; bytes]))?;
    Json::of(&json!({"status": response.status}))
}

/// Makes WASI handles without end and keeps them.
pub(crate) fn leak_handles(call: Attack, _host: &dyn Host) -> Outcome {
    for _ in 0..call.input.count() {
        std::mem::forget(wasip2::clocks::monotonic_clock::subscribe_duration(3_600_000_000_000));
    }
    done(call.input.count())
}

/// Sends requests without end and keeps the bodies open, unread.
pub(crate) fn leak_responses(call: Attack, host: &dyn Host) -> Outcome {
    let url = url(&call)?;
    let mut kept = Vec::new();
    for _ in 0..call.input.count() {
        kept.push(host.send(Request::get(&url))?);
    }
    done(kept.len() as u64)
}

/// 1 GiB of random bytes at once, or `count` bytes.
pub(crate) fn random_huge(call: Attack, _host: &dyn Host) -> Outcome {
    let bytes = wasip2::random::random::get_random_bytes(call.input.count.unwrap_or(1 << 30));
    done(bytes.len() as u64)
}
