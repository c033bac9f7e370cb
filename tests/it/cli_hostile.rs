//! Hostile guests through the command: each ends with its documented exit code, says why, prints no result, and the next
//! call works.

use std::{path::Path, process::Output};

use serde_json::json;
use support::{
    command::{openact, stderr, stdout},
    guests::guest,
};

use crate::setup::hostile_config;

fn run(home: &Path, args: &[&str]) -> Output {
    openact(home).args(args).output().unwrap()
}

#[test]
fn each_attack_has_its_own_exit_code() {
    let home = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = home.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.display().to_string()
    };
    let component = file("hostile.wasm", &guest("hostile"));
    let config = file("hostile.json", hostile_config(json!({"limits": {"cpu_ms": 100}})).as_bytes());
    for setup in [&["connector", "install", &component][..], &["import", &config]] {
        let output = run(home.path(), setup);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    }
    let elsewhere = r#"{"url": "http://127.0.0.1:9/"}"#;
    for (attack, input, exit, code) in [
        ("spin", "{}", 9, "limit_exceeded"),
        ("spin-in-host", "{}", 8, "timeout"),
        ("allocate", "{}", 9, "limit_exceeded"),
        ("open-ungranted-host", elsewhere, 5, "egress_denied"),
        ("panic", "{}", 9, "connector_crashed"),
        ("huge-output", "{}", 9, "limit_exceeded"),
        ("malformed-json", "{}", 9, "connector_crashed"),
        ("flood-host-calls", elsewhere, 9, "limit_exceeded"),
        ("flood-log", "{}", 9, "limit_exceeded"),
    ] {
        let output =
            run(home.path(), &["run", &format!("hostile/{attack}"), "--input", input, "--timeout", "5s"]);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(exit), "{attack}: {said}");
        assert!(said.contains(&format!("error[{code}]: ")), "{attack}: {said}");
        assert_eq!(stdout(&output), "", "{attack}");
        let next = run(home.path(), &["run", "hostile/stash"]);
        assert_eq!(next.status.code(), Some(0), "after {attack}: {}", stderr(&next));
    }
}

#[test]
fn what_is_no_connector_is_refused_in_one_line() {
    let home = tempfile::tempdir().unwrap();
    for (name, bytes, said) in [
        ("text.wasm", &b"connectors: {}"[..], "not a WebAssembly file"),
        ("module.wasm", &b"\0asm\x01\0\0\0"[..], "a core WebAssembly module"),
        ("forbidden.wasm", &guest("forbidden-import"), "imports 'evil:host/shell"),
    ] {
        let path = home.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let output = run(home.path(), &["connector", "install", path.to_str().unwrap()]);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(3), "{text}");
        assert!(text.lines().next().unwrap().contains(said), "{text}");
        assert_eq!(stdout(&output), "");
    }
}

#[test]
fn a_connector_file_runs_without_being_installed_and_without_a_cache() {
    let home = tempfile::tempdir().unwrap();
    let component = home.path().join("hostile.wasm");
    std::fs::write(&component, guest("hostile")).unwrap();
    // A file where the home folder should be: nothing can be written below it.
    let blocked = home.path().join("blocked");
    std::fs::write(&blocked, "").unwrap();
    let args = ["run", "hostile/stash", "--connector", component.to_str().unwrap(), "--config-json"];
    let output = openact(&blocked).args(args).arg(hostile_config(json!({}))).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stdout(&output).contains("calls"), "{}", stdout(&output));
}
