//! The `openact` command: a translation of arguments to the crate `openact` and of its answers to text.
//!
//! Read in this order: [`args`] (as typed), [`settings`] (resolved), [`app`] (one invocation from start to exit),
//! [`commands`] (one file each), [`output`] (the one file that prints), [`failure`] and [`exit_code`].
//! Invariant: standard output holds the result of a command that succeeded and nothing else; the result of `check` may be
//! that something does not work, and items of a stream are there before it is known whether it will.

mod app;
mod args;
mod commands;
mod exit_code;
mod failure;
mod logs;
mod output;
mod settings;
mod snippet;
mod terminal;

use std::process::ExitCode;

/// A short process allocates and exits; mimalloc starts faster and compiles components faster than the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Capturing a backtrace costs milliseconds for every trap of a guest, which is nothing unusual here.
    if std::env::var_os("RUST_BACKTRACE").is_none() && std::env::var_os("RUST_LIB_BACKTRACE").is_none() {
        // SAFETY: this is the first thing the process does; there is no other thread to read the environment.
        unsafe { std::env::set_var("RUST_LIB_BACKTRACE", "0") };
    }
    app::main()
}
