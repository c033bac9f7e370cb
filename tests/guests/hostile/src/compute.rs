//! Attacks on the processor, the memory and whoever reads the result.

use std::hint::black_box;

use openact_connector::{Failure, Host, Json};

use crate::component::Attack;

type Outcome = Result<Json, Failure>;

/// Computes without end and without calling the host.
pub(crate) fn spin(_call: Attack, _host: &dyn Host) -> Outcome {
    let mut turns = 0u64;
    loop {
        turns = black_box(turns.wrapping_add(1));
    }
}

/// Waits in the host for an hour, which costs no processor time.
pub(crate) fn spin_in_host(_call: Attack, _host: &dyn Host) -> Outcome {
    std::thread::sleep(std::time::Duration::from_secs(3600));
    Json::of("slept for an hour")
}

/// Takes memory, and touches it, without end.
pub(crate) fn allocate(_call: Attack, _host: &dyn Host) -> Outcome {
    let mut kept = Vec::new();
    loop {
        kept.push(black_box(vec![1u8; 1024 * 1024]));
    }
}

pub(crate) fn panic(_call: Attack, _host: &dyn Host) -> Outcome {
    panic!("a connector that panics");
}

/// Recurses without end.
pub(crate) fn overflow_stack(call: Attack, _host: &dyn Host) -> Outcome {
    fn deeper(depth: u64) -> u64 {
        let frame = black_box([depth; 64]);
        if depth == u64::MAX { 0 } else { deeper(depth + 1).wrapping_add(frame[(depth % 64) as usize]) }
    }
    Json::of(&deeper(call.input.count.unwrap_or(0)))
}

/// Ends itself through WASI, with success, instead of returning.
pub(crate) fn exit(_call: Attack, _host: &dyn Host) -> Outcome {
    std::process::exit(0);
}

/// A result of 1 GiB.
pub(crate) fn huge_output(_call: Attack, _host: &dyn Host) -> Outcome {
    Ok(Json::from_text(format!("\"{}\"", "x".repeat(1 << 30))))
}

/// A result of 20 MiB, or `count` bytes: it fits into the memory but not into the limit of results.
pub(crate) fn big_output(call: Attack, _host: &dyn Host) -> Outcome {
    let bytes = usize::try_from(call.input.count.unwrap_or(20 * 1024 * 1024)).unwrap_or(usize::MAX);
    let mut text = String::with_capacity(bytes.saturating_add(2));
    text.push('"');
    text.extend(std::iter::repeat_n('x', bytes));
    text.push('"');
    Ok(Json::from_text(text))
}

/// A result that ends the document around it early.
pub(crate) fn malformed_json(_call: Attack, _host: &dyn Host) -> Outcome {
    Ok(Json::from_text(r#"{"a":1}, "forged": {"b":"#.into()))
}
