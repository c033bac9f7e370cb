//! The `openact` command, as it is built beside the tests.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::OnceLock,
};

/// The built command. It is built once here, since cargo builds no other package's binary for a test.
pub fn openact_bin() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        // target/<profile>/deps/it-… for a test, target/<profile>/bench for the benchmark → target/<profile>
        let mut profile_folder = std::env::current_exe().unwrap();
        profile_folder.pop();
        if profile_folder.ends_with("deps") {
            profile_folder.pop();
        }
        let target = profile_folder.parent().unwrap().to_owned();
        let profile = match profile_folder.file_name().unwrap().to_str().unwrap() {
            "debug" => "dev",
            other => other,
        }
        .to_owned();
        let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args([
                "build",
                "--locked",
                "--quiet",
                "-p",
                "openact-cli",
                "--bin",
                "openact",
                "--profile",
                &profile,
                "--target-dir",
            ])
            .arg(&target)
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
            .status()
            .expect("failed to start cargo");
        assert!(status.success(), "failed to build the openact command");
        profile_folder.join(format!("openact{}", std::env::consts::EXE_SUFFIX))
    })
}

/// The command with a home of its own under `home` and none of the caller's settings.
pub fn openact(home: &Path) -> Command {
    let mut command = Command::new(openact_bin());
    for (name, _) in std::env::vars().filter(|(name, _)| {
        ["OPENACT_", "OTEL_", "TRACE"].iter().any(|own| name.starts_with(own))
            || name == "GITHUB_TOKEN"
            || name == "RUST_LOG"
    }) {
        command.env_remove(name);
    }
    command.env("OPENACT_HOME", home).env("NO_COLOR", "1").stdin(Stdio::null());
    command
}

/// Standard output as text.
pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Standard error as text.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
