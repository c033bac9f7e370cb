//! Builds a workspace of guests to WebAssembly from a build script. A module of the build scripts of this
//! crate and of `tests`, which build different workspaces in the same way.
//!
//! Invariants: the inner cargo never waits for the outer one (it has a target folder of its own), and what the outer
//! one is told (flags, wrappers such as clippy's, another target) does not change the guests.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

const TARGET: &str = "wasm32-wasip2";

/// A guest: its package, and the name of the file it becomes (without `.wasm`).
pub(crate) struct Guest {
    pub(crate) package: String,
    pub(crate) file: String,
}

/// Builds `guests` of the workspace at `workspace` and puts them into the folder `OUT_DIR/into`, which is returned. The
/// build script runs again when anything in `workspace` or `also` changes. An error is for a person to read.
pub(crate) fn build(
    workspace: &Path,
    also: &[PathBuf],
    guests: &[Guest],
    into: &str,
) -> Result<PathBuf, String> {
    watch(workspace)?;
    for path in also {
        println!("cargo::rerun-if-changed={}", path.display());
    }
    target_is_installed()?;

    let out = PathBuf::from(env::var("OUT_DIR").map_err(|error| error.to_string())?);
    let target = guest_target_folder(&out);
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(workspace)
        .args(["build", "--locked", "--release", "--target", TARGET, "--target-dir"])
        .arg(&target);
    for guest in guests {
        cargo.args(["--package", &guest.package]);
    }
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(belongs_to_the_outer_build) {
            cargo.env_remove(&name);
        }
    }
    let status = cargo.status().map_err(|error| format!("cargo does not start: {error}"))?;
    if !status.success() {
        return Err(format!("the guests in {} do not build; the reason is above", workspace.display()));
    }

    let folder = out.join(into);
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    for guest in guests {
        let built =
            target.join(TARGET).join("release").join(format!("{}.wasm", guest.package.replace('-', "_")));
        let copy = folder.join(format!("{}.wasm", guest.file));
        fs::copy(&built, copy).map_err(|error| format!("{}: {error}", built.display()))?;
    }
    Ok(folder)
}

/// Ends a build script with the error in one line of cargo's own output.
pub(crate) fn end(result: Result<(), String>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            println!("cargo::error={}", message.replace('\n', " "));
            ExitCode::FAILURE
        }
    }
}

/// Everything in the workspace but what building it makes: a change there must not run the script for ever.
fn watch(workspace: &Path) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{}: {error}", workspace.display());
    for entry in fs::read_dir(workspace).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.file_name().is_some_and(|name| name != "target") {
            println!("cargo::rerun-if-changed={}", path.display());
        }
    }
    Ok(())
}

fn target_is_installed() -> Result<(), String> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc)
        .args(["--print", "target-libdir", "--target", TARGET])
        .output()
        .map_err(|error| format!("rustc does not start: {error}"))?;
    let folder = String::from_utf8_lossy(&output.stdout);
    if output.status.success() && Path::new(folder.trim()).is_dir() {
        return Ok(());
    }
    Err(format!("the {TARGET} target is not installed; run: rustup target add {TARGET}"))
}

/// `guests` in the outer target folder, so that profiles and both workspaces share what they compile; `out` itself if
/// that folder cannot be told.
fn guest_target_folder(out: &Path) -> PathBuf {
    let outer = out.ancestors().find(|folder| folder.join("CACHEDIR.TAG").is_file());
    outer.unwrap_or(out).join("guests")
}

fn belongs_to_the_outer_build(name: &str) -> bool {
    const NAMES: &[&str] =
        &["RUSTFLAGS", "RUSTDOCFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "CLIPPY_ARGS"];
    const PREFIXES: &[&str] =
        &["CARGO_BUILD_", "CARGO_ENCODED_", "CARGO_PROFILE_", "CARGO_TARGET_", "CARGO_LLVM_COV"];
    NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}
