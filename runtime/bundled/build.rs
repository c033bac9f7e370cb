//! Compiles the first-party connectors, so that a bare `cargo build` or `cargo install` embeds them.

mod build_guests;

use std::{path::Path, process::ExitCode};

use build_guests::Guest;

/// Package and file name of every bundled connector; `src/lib.rs` lists the files.
const CONNECTORS: &[(&str, &str)] = &[
    ("openact-http", "http"),
    ("openact-postgres", "postgres"),
    ("openact-redis", "redis"),
    ("openact-mysql", "mysql"),
    ("openact-mongodb", "mongodb"),
    ("openact-mcp-connector", "mcp"),
];

fn main() -> ExitCode {
    build_guests::end(build())
}

fn build() -> Result<(), String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=build_guests.rs");
    let guests: Vec<Guest> = CONNECTORS
        .iter()
        .map(|&(package, file)| Guest { package: package.into(), file: file.into() })
        .collect();
    build_guests::build(&root.join("connectors"), &[root.join("wit")], &guests, "connectors").map(drop)
}
