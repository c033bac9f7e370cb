//! `openact backup` and `openact restore` (A2).

use std::{fs, path::Path, process::Output};

use serde_json::{Value, json};
use support::command::{openact, stderr};

fn run(home: &Path, args: &[&str]) -> Output {
    openact(home).args(args).current_dir(home).output().unwrap()
}

fn succeed(home: &Path, args: &[&str]) -> Value {
    let output = run(home, args);
    assert_eq!(output.status.code(), Some(0), "{args:?}: {}", stderr(&output));
    serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
}

#[track_caller]
fn assert_refused(output: &Output, code: i32, parts: &[&str]) {
    assert_eq!(output.status.code(), Some(code), "{}", stderr(output));
    assert!(output.stdout.is_empty());
    for part in parts {
        assert!(stderr(output).contains(part), "{part}: {}", stderr(output));
    }
}

fn import(home: &Path, name: &str) {
    let connection =
        json!({"base_url": "https://api.example.com", "auth": {"type": "bearer", "token": "a-token"}});
    let config = json!({"connectors": {"http": {"connections": {name: connection}, "actions": {}}}});
    fs::write(home.join("config.json"), config.to_string()).unwrap();
    succeed(home, &["import", "config.json"]);
}

fn connections(home: &Path) -> usize {
    succeed(home, &["list", "connections"]).as_array().unwrap().len()
}

#[test]
fn a2_a_copy_is_restored_and_nothing_is_overwritten() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    import(home, "one");
    succeed(home, &["token", "create", "revoked"]);
    let report = succeed(home, &["backup", "copy.db"]);
    assert_eq!((&report["rows"]["connections"], &report["audit"]["broken"]), (&json!(1), &Value::Null));
    assert_eq!(report["audit"]["entries"], 3);
    assert_refused(&run(home, &["backup", "copy.db"]), 3, &["copy.db exists already"]);
    import(home, "two");
    succeed(home, &["token", "revoke", "revoked"]);
    assert_refused(&run(home, &["restore", "copy.db"]), 3, &["--force"]);
    assert_eq!(connections(home), 2);
    let report = succeed(home, &["restore", "copy.db", "--force"]);
    assert_eq!((connections(home), &report["logged"]), (1, &json!(true)));
    assert_eq!(report["ended_tokens"], json!(["revoked"]));
    assert_eq!(succeed(home, &["token", "list"])[0]["live"], false);
    let replaced = report["replaced"].as_str().unwrap();
    let replaced = succeed(home, &["list", "connections", "--db", &format!("sqlite://{replaced}")]);
    assert_eq!(replaced.as_array().unwrap().len(), 2);
    let (verified, log) = (succeed(home, &["audit", "verify"]), succeed(home, &["audit", "list"]));
    assert_eq!((&verified["entries"], &verified["ok"]), (&json!(5), &json!(true)));
    assert_eq!(log[0]["operation"], "token.end");
    let entry = &log[1];
    assert_eq!((&entry["operation"], &entry["door"]), (&json!("database.restore"), &json!("cli")), "{entry}");
    assert_eq!((&entry["after"]["backup"], &entry["after"]["verified"]), (&json!("copy.db"), &json!(true)));
    // What was kept of the copy's log is in this one, and what was given up is not.
    let expect =
        |head: &Value| run(home, &["audit", "verify", "--expect", head.as_str().unwrap()]).status.code();
    assert_eq!(expect(&entry["after"]["head"]), Some(0));
    assert_eq!(expect(&entry["before"]["head"]), Some(3), "{entry}");
    assert_eq!(expect(&verified["head"]), Some(0));
}

#[test]
fn a2_what_is_no_backup_is_refused_by_the_command() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    import(home, "one");
    succeed(home, &["backup", "copy.db"]);
    let before = fs::read(home.join("data/openact.db")).unwrap();
    let whole = fs::read(home.join("copy.db")).unwrap();
    fs::write(home.join("copy.db"), &whole[..whole.len() / 2]).unwrap();
    assert_refused(&run(home, &["restore", "copy.db", "--force"]), 10, &["copy.db is damaged"]);
    fs::write(home.join("copy.db"), "text\n".repeat(1000)).unwrap();
    assert_refused(&run(home, &["restore", "copy.db", "--force"]), 10, &["is not a SQLite database"]);
    assert_refused(&run(home, &["restore", "none.db", "--force"]), 4, &["none.db"]);
    assert_eq!(fs::read(home.join("data/openact.db")).unwrap(), before);
    // And a database that is damaged is replaced by one that is not.
    fs::write(home.join("copy.db"), &whole).unwrap();
    fs::write(home.join("data/openact.db"), &whole[..whole.len() / 2]).unwrap();
    assert_refused(&run(home, &["list", "connections"]), 10, &["damaged", "restore it from a backup"]);
    assert_eq!(run(home, &["doctor"]).status.code(), Some(10));
    succeed(home, &["restore", "copy.db", "--force"]);
    assert_eq!(connections(home), 1);
}
