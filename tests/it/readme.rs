//! The README's configuration and commands do what it says. (Its Rust example is a documentation test of `openact`.)
//!
//! Invariant: what runs here is the text of the README, with nothing replaced but the address of the API.

use std::{fs, path::Path};

use support::{
    command::{openact, openact_bin, stderr, stdout},
    upstream::Upstream,
};

fn readme() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md")).unwrap()
}

/// The first fenced block of `language` after `heading`.
fn block<'a>(text: &'a str, heading: &str, language: &str) -> &'a str {
    let (_, section) = text.split_once(heading).unwrap();
    let (_, block) = section.split_once(&format!("```{language}\n")).unwrap();
    block.split_once("```").unwrap().0
}

#[tokio::test]
async fn the_configuration_and_the_commands_run() {
    let upstream = Upstream::json(r#"{"login":"octocat"}"#).await;
    let (folder, text) = (tempfile::tempdir().unwrap(), readme());
    let config = block(&text, "## A configuration file", "yaml");
    assert!(config.contains("https://api.github.com"));
    let config = config.replace("https://api.github.com", &upstream.url());
    fs::write(folder.path().join("connectors.yaml"), config).unwrap();

    let commands = block(&text, "## From the command line", "sh");
    let commands: Vec<String> =
        commands.lines().filter(|line| line.starts_with("openact ")).map(str::to_owned).collect();
    assert!(commands.len() >= 4, "{commands:?}");
    let home = folder.path().join("home");
    let path = format!("{}:{}", openact_bin().parent().unwrap().display(), std::env::var("PATH").unwrap());
    for line in commands {
        let mut command = std::process::Command::new("sh");
        let settings = openact(&home);
        for (name, value) in settings.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.args(["-c", &line]).current_dir(folder.path()).env("PATH", &path).env("GITHUB_TOKEN", "t");
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        assert_eq!(output.status.code(), Some(0), "{line}: {}", stderr(&output));
        if line.contains(" run ") {
            assert!(stdout(&output).contains(r#""body":{"login":"octocat"}"#), "{line}: {}", stdout(&output));
        }
    }
    let received = upstream.received();
    let (checks, runs): (Vec<_>, Vec<_>) = received.iter().partition(|request| request.target == "/");
    assert_eq!((runs.len(), checks.len()), (3, 1));
    assert!(runs.iter().all(|request| request.target == "/users/octocat"));
    assert!(received.iter().all(|request| request.header("authorization") == ["Bearer t"]));
}
