//! Looking for secrets, and for traces of earlier calls.

use std::{
    hint::black_box,
    sync::atomic::{AtomicU32, Ordering},
};

use openact_connector::{Failure, Host, Json, Request};
use serde_json::json;

use crate::component::{Attack, url};

type Outcome = Result<Json, Failure>;

/// Uses the credential, then looks for secrets in all of its own memory: `found` says which were there. Also returns
/// what the server answered, for one that echoes the request.
pub(crate) fn dump_memory(call: Attack, host: &dyn Host) -> Outcome {
    let mut response = host.send(Request::get(url(&call)?).header("x-guest", "set by the guest"))?;
    let body = response.take_body()?;
    let planted: Vec<String> = if call.input.plant {
        call.input.reversed.iter().map(|text| text.chars().rev().collect()).collect()
    } else {
        vec![]
    };
    let planted = black_box(planted);
    let found: Vec<bool> =
        call.input.reversed.iter().map(|reversed| is_in_memory(reversed.as_bytes())).collect();
    drop(planted);
    let headers: Vec<(String, String)> = response
        .headers
        .iter()
        .map(|(name, value)| (name.clone(), String::from_utf8_lossy(value).into()))
        .collect();
    Json::of(&json!({
        "found": found,
        "memory_bytes": memory().len(),
        "status": response.status,
        "headers": headers,
        "body": String::from_utf8_lossy(&body),
    }))
}

/// Whether the bytes of `reversed`, read backwards, are anywhere in memory.
fn is_in_memory(reversed: &[u8]) -> bool {
    !reversed.is_empty()
        && memory().windows(reversed.len()).any(|window| window.iter().eq(reversed.iter().rev()))
}

/// All of the linear memory but its first bytes, where a null reference would point.
fn memory() -> &'static [u8] {
    const SKIPPED: usize = 8;
    let bytes = core::arch::wasm32::memory_size::<0>() * 65536;
    // SAFETY: linear memory is readable from its first to its last byte. Nothing writes while the slice is read:
    // a component has one thread, and the search allocates nothing.
    unsafe { std::slice::from_raw_parts(black_box(SKIPPED as *const u8), bytes - SKIPPED) }
}

static CALLS: AtomicU32 = AtomicU32::new(0);

/// Counts the calls this memory has seen: always 1 in a fresh instance.
pub(crate) fn stash(_call: Attack, _host: &dyn Host) -> Outcome {
    let calls = CALLS.fetch_add(1, Ordering::Relaxed) + 1;
    Json::of(&json!({"calls": calls}))
}
