//! The audit log as the command has it (A4).

use std::{path::Path, process::Output};

use serde_json::{Value, json};
use sqlx::{Connection, SqliteConnection};
use support::{
    command::{openact, stderr, stdout},
    upstream::Upstream,
};

const CANARY: &str = "canary-audit-91c4";

async fn run_with(home: &Path, args: &[&str], env: &[(&str, &str)]) -> Output {
    let mut command = openact(home);
    command.args(args).envs(env.iter().copied());
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

async fn run(home: &Path, args: &[&str]) -> Output {
    run_with(home, args, &[]).await
}

async fn succeed(home: &Path, args: &[&str]) -> Value {
    let output = run(home, args).await;
    assert_eq!(output.status.code(), Some(0), "{args:?}: {}", stderr(&output));
    serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
}

async fn import(home: &Path, upstream: &Upstream) {
    let connection = json!({"base_url": upstream.url(), "auth": {"type": "bearer", "token": CANARY}});
    let config = crate::setup::config("http", connection, json!({"get": {}}));
    std::fs::write(home.join("config.json"), config).unwrap();
    succeed(home, &["import", home.join("config.json").to_str().unwrap()]).await;
}

async fn sql(home: &Path, statement: &'static str) {
    let url = format!("sqlite://{}", home.join("data/openact.db").display());
    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    sqlx::raw_sql(statement).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

#[tokio::test]
async fn a4_what_commands_change_is_listed_and_an_edit_is_found() {
    let (home, upstream) = (tempfile::tempdir().unwrap(), Upstream::json("{}").await);
    let home = home.path();
    let nothing = json!({
        "entries": 0, "ok": true, "broken": null, "differ": [], "head": null, "began_late": false, "has_expected": null,
    });
    assert_eq!(succeed(home, &["audit", "verify"]).await, nothing);
    import(home, &upstream).await;
    let set = run_with(home, &["secret", "set", "t", "--from-env", "T"], &[("T", CANARY)]).await;
    assert_eq!(set.status.code(), Some(0), "{}", stderr(&set));
    succeed(home, &["key", "rotate"]).await;
    succeed(home, &["secret", "delete", "t"]).await;
    let listed = run(home, &["audit", "list"]).await;
    let entries: Vec<Value> = serde_json::from_slice(&listed.stdout).unwrap();
    let operations: Vec<&str> = entries.iter().map(|entry| entry["operation"].as_str().unwrap()).collect();
    let expected = [
        "secret.delete",
        "key.rotated",
        "key.rotate",
        "secret.set",
        "action.create",
        "secret.set",
        "connection.create",
    ];
    assert_eq!(operations, expected);
    assert!(entries.iter().all(|entry| entry["door"] == "cli" && entry["actor"] != "unknown"), "{entries:?}");
    assert!(!stdout(&listed).contains(CANARY));
    let table = run(home, &["audit", "list", "--limit", "2", "--format", "raw"]).await;
    assert_eq!(stdout(&table).lines().count(), 2);
    let report = succeed(home, &["audit", "verify"]).await;
    assert_eq!(report["entries"], 7);
    let head = report["head"].as_str().unwrap();
    assert_eq!(succeed(home, &["audit", "verify", "--expect", head]).await["has_expected"], true);
    let older = run(home, &["audit", "verify", "--expect", &head.replacen('7', "8", 1)]).await;
    assert_eq!(older.status.code(), Some(3), "{}", stdout(&older));

    sql(home, "UPDATE connections SET config_json = '{}'").await;
    let changed = run(home, &["audit", "verify", "--format", "raw"]).await;
    assert_eq!(changed.status.code(), Some(3), "{}", stdout(&changed));
    assert!(stdout(&changed).contains("connection/"), "{}", stdout(&changed));

    sql(home, "UPDATE audit_log SET actor = 'mallory' WHERE id = 4").await;
    let broken = run(home, &["audit", "verify"]).await;
    assert_eq!(broken.status.code(), Some(3));
    let report: Value = serde_json::from_slice(&broken.stdout).unwrap();
    assert_eq!((&report["entries"], &report["broken"]["entry"]), (&json!(3), &json!(4)));
    let doctor = run(home, &["doctor"]).await;
    assert_eq!(doctor.status.code(), Some(3), "{}", stdout(&doctor));
}

#[tokio::test]
async fn a4_runs_are_audited_by_setting_and_fail_closed_if_they_must_be() {
    let (home, upstream) = (tempfile::tempdir().unwrap(), Upstream::json("{}").await);
    let home = home.path();
    import(home, &upstream).await;
    let runs =
        |setting| async move { run_with(home, &["run", "get"], &[("OPENACT_AUDIT_RUNS", setting)]).await };
    for (setting, entries) in [("off", 3), ("on", 4), ("required", 6)] {
        let output = runs(setting).await;
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert_eq!(succeed(home, &["audit", "verify"]).await["entries"], entries, "{setting}");
    }
    let wrong = runs("sometimes").await;
    assert_eq!(wrong.status.code(), Some(3));
    assert!(stderr(&wrong).contains("OPENACT_AUDIT_RUNS"), "{}", stderr(&wrong));

    sql(home, "DELETE FROM settings WHERE key = 'audit_head'").await;
    let sent = upstream.received().len();
    let refused = runs("required").await;
    assert_eq!(refused.status.code(), Some(10), "{}", stderr(&refused));
    assert_eq!(upstream.received().len(), sent, "something was sent");
    assert_eq!(runs("on").await.status.code(), Some(0), "as much as possible is as much as was asked for");
    assert_eq!(upstream.received().len(), sent + 1);
}
