//! libFuzzer on the target that `FUZZ_TARGET` names; `make fuzz` runs one after the other.
//!
//! Invariant: what is looked for is written in `support::fuzz`, where the tests can replay it.
#![no_main]
#![expect(clippy::expect_used, reason = "a fuzzer that cannot start should say so and stop")]

use std::sync::LazyLock;

use support::fuzz::{TARGETS, Target};

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").expect("FUZZ_TARGET is set");
    TARGETS.into_iter().find(|(target, _)| *target == name).expect("FUZZ_TARGET is one of them").1
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| TARGET(data));
