//! Compiles every guest in `guests/`, so that the tests can load them: `GUESTS_DIR` holds `hostile.wasm` and so on.

#[path = "../runtime/bundled/build_guests.rs"]
mod build_guests;

use std::{fs, path::Path, process::ExitCode};

use build_guests::Guest;

fn main() -> ExitCode {
    build_guests::end(build())
}

fn build() -> Result<(), String> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let workspace = here.join("guests");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=../runtime/bundled/build_guests.rs");
    let also = ["../wit", "../connectors/sdk"].map(|path| here.join(path));
    let folder = build_guests::build(&workspace, &also, &guests(&workspace)?, "guests")?;
    println!("cargo::rustc-env=GUESTS_DIR={}", folder.display());
    Ok(())
}

/// A folder with a manifest is a guest: `guests/x` holds the package `guest-x`.
fn guests(workspace: &Path) -> Result<Vec<Guest>, String> {
    let mut guests = Vec::new();
    for entry in fs::read_dir(workspace).map_err(|error| format!("{}: {error}", workspace.display()))? {
        let folder = entry.map_err(|error| error.to_string())?;
        if folder.path().join("Cargo.toml").is_file() {
            let file = folder.file_name().to_string_lossy().into_owned();
            guests.push(Guest { package: format!("guest-{file}"), file });
        }
    }
    Ok(guests)
}
