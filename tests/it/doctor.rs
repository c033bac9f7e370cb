//! `openact doctor`: each thing that can be wrong is found, named and helped.

use std::{fs, path::Path, process::Output};

use serde_json::{Value, json};
use support::command::{openact, stderr, stdout};

fn doctor(home: &Path, args: &[&str], env: &[(&str, &str)]) -> (i32, Vec<Value>) {
    let output = openact(home).arg("doctor").args(args).envs(env.iter().copied()).output().unwrap();
    let found = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", stderr(&output)));
    (output.status.code().unwrap(), found)
}

fn succeed(home: &Path, args: &[&str]) -> Output {
    let output = openact(home).args(args).current_dir(home).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{args:?}: {}", stderr(&output));
    output
}

/// The findings of a check that are of a status.
fn of<'f>(found: &'f [Value], check: &str, status: &str) -> Vec<&'f str> {
    let is = |finding: &&Value| finding["check"] == check && finding["status"] == status;
    found.iter().filter(is).map(|finding| finding["what"].as_str().unwrap()).collect()
}

#[track_caller]
fn assert_found(found: &[Value], check: &str, status: &str, part: &str) {
    assert!(
        of(found, check, status).iter().any(|what| what.contains(part)),
        "{check} {status} {part}: {found:#?}"
    );
}

fn healthy(home: &Path) {
    let connection =
        json!({"base_url": "https://api.example.com", "auth": {"type": "bearer", "token": "a-token"}});
    let config = json!({"connectors": {"http": {"connections": {"c": connection}, "actions": {"get": {"connection": "c"}}}}});
    fs::write(home.join("good.json"), config.to_string()).unwrap();
    succeed(home, &["import", "good.json"]);
}

#[test]
fn a_new_home_and_a_healthy_one_are_well_and_stay_as_they_are() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let (code, found) = doctor(home, &[], &[]);
    assert_eq!(code, 0, "{found:#?}");
    assert_found(&found, "store", "warn", "there is no database at");
    assert!(!home.join("data").exists() && !home.join("config").exists(), "something was made");

    healthy(home);
    let (code, found) = doctor(home, &["--config", home.join("good.json").to_str().unwrap()], &[]);
    assert_eq!(code, 0, "{found:#?}");
    for (check, part) in [
        ("store", "is sound and writable"),
        ("key", "version 1 of the master key is there"),
        ("audit", "3 entries"),
        ("cache", "its owner's alone"),
        ("connector", "http"),
        ("clock", "Z"),
        ("config", "2 connections and actions"),
        ("environment", "no variable"),
    ] {
        assert_found(&found, check, "ok", part);
    }
    let table = succeed(home, &["doctor", "--format", "table"]);
    assert!(stdout(&table).contains("WHAT TO DO"), "{}", stdout(&table));
}

#[test]
fn what_is_wrong_is_found_and_the_first_failure_is_the_exit_code() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    healthy(home);
    let wrong = home.join("wrong.json");
    fs::write(
        &wrong,
        r#"{"connectors": {"http": {"conections": {}, "actions": {"x": {"connection": "none"}}}}}"#,
    )
    .unwrap();
    let env = [("OPENACT_MASTERKEY", "x"), ("OPENACT_UNLIKE_ANY_OTHER", "x")];
    let (code, found) =
        doctor(home, &["--config", wrong.to_str().unwrap(), "--config", "/no/such.yaml"], &env);
    assert_eq!(code, 3, "{found:#?}");
    assert_found(&found, "config", "fail", "conections");
    assert_found(&found, "config", "fail", "/no/such.yaml");
    assert_eq!(of(&found, "environment", "warn"), ["OPENACT_MASTERKEY is not read"]);
    assert_found(&found, "store", "ok", "is sound");

    // Without its key nothing sealed can be opened, and all else is looked at still.
    fs::rename(home.join("config/master.key"), home.join("away")).unwrap();
    let (code, found) = doctor(home, &[], &[]);
    assert_eq!(code, 10, "{found:#?}");
    assert_found(&found, "key", "fail", "version 1 of the master key is missing");
    assert_found(&found, "audit", "fail", "master key");
    assert_found(&found, "connector", "ok", "http");
    assert!(!home.join("config/master.key").exists(), "a key that opens nothing was made");
    fs::rename(home.join("away"), home.join("config/master.key")).unwrap();

    let database = home.join("data/openact.db");
    let whole = fs::read(&database).unwrap();
    for (bytes, part) in
        [(b"text".repeat(2000), "not a SQLite database"), (whole[..8192].to_vec(), "damaged")]
    {
        fs::write(&database, &bytes).unwrap();
        let (code, found) = doctor(home, &[], &[]);
        assert_eq!(code, 10, "{found:#?}");
        assert_found(&found, "store", "fail", part);
        assert_found(&found, "connector", "ok", "http");
        assert_eq!(fs::read(&database).unwrap(), bytes);
    }
    let (code, found) = doctor(home, &["--db", "nonsense://x"], &[]);
    assert!(code != 0 && !of(&found, "store", "fail").is_empty(), "{found:#?}");
}

#[cfg(unix)]
#[test]
fn what_others_may_read_is_told() {
    use std::os::unix::fs::PermissionsExt;
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    healthy(home);
    let set =
        |path: &str, mode| fs::set_permissions(home.join(path), fs::Permissions::from_mode(mode)).unwrap();
    set("data/openact.db", 0o644);
    let (code, found) = doctor(home, &[], &[]);
    assert_eq!(code, 0);
    assert_found(&found, "store", "warn", "mode 644");
    set("config/master.key", 0o644);
    let (code, found) = doctor(home, &[], &[]);
    assert_ne!(code, 0);
    assert!(!of(&found, "key", "fail").is_empty(), "{found:#?}");
    set("config/master.key", 0o600);
    set("data/openact.db", 0o444);
    let (code, found) = doctor(home, &[], &[]);
    assert_eq!(code, 10);
    assert_found(&found, "store", "fail", "read-only");
}

#[test]
fn a_setting_that_is_not_understood_is_told_and_hides_nothing_else() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    healthy(home);
    let (code, found) = doctor(home, &[], &[("OPENACT_AUDIT_RUNS", "maybe")]);
    assert_eq!(code, 3, "{found:#?}");
    assert_found(&found, "environment", "fail", "OPENACT_AUDIT_RUNS");
    assert_found(&found, "connector", "ok", "http");
    let hint = found.iter().find(|finding| finding["status"] == "fail").unwrap();
    assert!(hint["hint"].as_str().unwrap().contains("unset it"), "{hint}");
}
