//! Importing and pruning, by the command: what each strategy makes of what is stored, down to the version numbers.

use std::{path::Path, process::Output};

use serde_json::{Value, json};
use support::{
    command::{openact, openact_bin, stderr},
    servers,
};

use crate::setup::assert_fails;

/// A home with a database, and files beside it.
pub(crate) struct Home(pub(crate) tempfile::TempDir);

impl Home {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn command(&self, args: &[&str]) -> std::process::Command {
        let mut command = openact(self.path());
        command.args(args).args(["--db", &format!("sqlite://{}", self.path().join("data.db").display())]);
        command.env("TOKEN", "first").current_dir(self.path());
        command
    }

    pub(crate) fn output(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// What a command that must succeed says.
    #[track_caller]
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let output = self.output(args);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    pub(crate) fn write(&self, file: &str, content: &Value) {
        std::fs::write(self.path().join(file), content.to_string()).unwrap();
    }

    /// The plan of a command, line by line.
    #[track_caller]
    pub(crate) fn plan(&self, args: &[&str]) -> Vec<String> {
        let output = self.output(&[args, &["--format", "table"]].concat());
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        support::command::stdout(&output).lines().map(str::to_owned).collect()
    }

    /// The TRNs of everything that is current, without what they share.
    pub(crate) fn current(&self, tenant: &str) -> Vec<String> {
        let mut trns = Vec::new();
        for what in ["connections", "actions"] {
            let list = self.json(&["list", what, "--tenant", tenant]);
            let records = list.as_array().unwrap().iter();
            trns.extend(records.map(|record| {
                let trn = record["trn"].as_str().unwrap();
                trn.strip_prefix(&format!("trn:openact:{tenant}:")).unwrap().to_owned()
            }));
        }
        trns
    }

    fn path_of(&self, action: &str) -> Value {
        self.json(&["show", action])["config"]["path"].clone()
    }
}

/// A file with one connection, `c`, and actions over it.
pub(crate) fn file(base_url: &str, actions: &[(&str, &str)]) -> Value {
    let actions: serde_json::Map<String, Value> = actions
        .iter()
        .map(|(name, path)| ((*name).to_owned(), json!({"connection": "c", "path": path})))
        .collect();
    let connection = json!({"base_url": base_url, "auth": {"type": "bearer", "token": "${TOKEN}"}});
    json!({"connectors": {"http": {"connections": {"c": connection}, "actions": actions}}})
}

const URL: &str = "http://127.0.0.1:9";
const BEFORE: [(&str, &str); 2] = [("a", "/a"), ("b", "/b")];
const AFTER: [(&str, &str); 3] = [("a", "/changed"), ("b", "/b"), ("d", "/d")];

/// `before.json` imported for two tenants, and `after.json`, which changes one action and adds another.
fn before_and_after() -> Home {
    let home = Home::new();
    home.write("before.json", &file(URL, &BEFORE));
    home.write("after.json", &file(URL, &AFTER));
    for tenant in ["default", "other"] {
        home.json(&["import", "before.json", "--tenant", tenant]);
    }
    home
}

const V1: [&str; 3] = ["connection/http/c@v1", "action/http/a@v1", "action/http/b@v1"];

#[test]
fn each_strategy_makes_the_versions_it_says_and_leaves_the_rest() {
    let cases = [
        (
            "reuse-if-unchanged",
            [1, 1, 2],
            vec![
                "= connection http/c@v1",
                "~ action http/a@v2 (path)",
                "= action http/b@v1",
                "+ action http/d@v1",
            ],
            "/changed",
        ),
        (
            "always-bump",
            [1, 3, 0],
            vec![
                "~ connection http/c@v2",
                "~ action http/a@v2 (path, connection)",
                "~ action http/b@v2 (connection)",
                "+ action http/d@v1",
            ],
            "/changed",
        ),
        (
            "force-rollback",
            [1, 0, 3],
            vec!["= connection http/c@v1", "= action http/a@v1", "= action http/b@v1", "+ action http/d@v1"],
            "/a",
        ),
    ];
    for (strategy, [created, changed, unchanged], lines, latest) in cases {
        let home = before_and_after();
        let import = ["import", "after.json", "--versioning", strategy];
        let mut planned = home.plan(&[&import[..], &["--dry-run"]].concat());
        assert_eq!(home.current("default"), V1, "{strategy}: a dry run changes nothing");
        assert!(planned.pop().unwrap().contains("dry run"));
        assert_eq!(planned, lines, "{strategy}");

        let imported = home.json(&import);
        assert_eq!(
            imported["summary"],
            json!({"created": created, "changed": changed, "unchanged": unchanged}),
            "{strategy}"
        );
        let mut expected: Vec<String> = lines
            .iter()
            .map(|line| {
                let words: Vec<&str> = line.split(' ').collect();
                format!("{}/{}", words[1], words[2])
            })
            .collect();
        expected.sort_by_key(|trn| (!trn.starts_with("connection"), trn.clone()));
        assert_eq!(home.current("default"), expected, "{strategy}");
        // What was there is there still, and `latest` is the highest.
        for reference in ["http/a@v1", "trn:openact:default:action/http/a@v1"] {
            assert_eq!(home.path_of(reference), "/a", "{strategy}");
        }
        assert_eq!(home.path_of("http/a"), latest, "{strategy}");
        assert_eq!(home.path_of("http/a@latest"), latest, "{strategy}");
        assert_eq!(home.current("other"), V1, "{strategy}: another tenant is left alone");
        assert_eq!(home.json(&["show", "http/a", "--tenant", "other"])["config"]["path"], "/a");
        // Again: only always-bump has more to do.
        let again = home.json(&import)["summary"]["unchanged"].clone();
        assert_eq!(again, if strategy == "always-bump" { 0 } else { 4 }, "{strategy}");
    }
}

#[test]
fn a_secret_that_changed_makes_a_version_by_each_strategy_but_force_rollback() {
    for (strategy, expected) in
        [("reuse-if-unchanged", "http/c@v2"), ("always-bump", "http/c@v2"), ("force-rollback", "http/c@v1")]
    {
        let home = before_and_after();
        let mut import = home.command(&["import", "before.json", "--versioning", strategy]);
        let output = import.env("TOKEN", "second").output().unwrap();
        let said: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(said["changes"][0]["record"], expected, "{strategy}");
        let bumped = expected.ends_with("v2");
        assert_eq!(said["changes"][0]["fields"], if bumped { json!(["authorization"]) } else { Value::Null });
        // The actions go with the connection.
        assert_eq!(said["changes"][1]["record"], if bumped { "http/a@v2" } else { "http/a@v1" });
    }
}

#[test]
fn a_last_item_that_fails_leaves_nothing_by_each_strategy() {
    let nowhere = json!({"connection": "nowhere", "path": "/"});
    for strategy in ["reuse-if-unchanged", "always-bump", "force-rollback"] {
        let home = before_and_after();
        let mut broken = file("http://127.0.0.1:10", &AFTER);
        broken["connectors"]["http"]["actions"]["z"] = nowhere.clone();
        home.write("broken.json", &broken);
        let before =
            (home.current("default"), home.json(&["list", "secrets"]), home.output(&["export"]).stdout);
        let output = home.output(&["import", "broken.json", "--versioning", strategy]);
        assert_fails("first", &output, 3, &["nowhere"]);
        let after =
            (home.current("default"), home.json(&["list", "secrets"]), home.output(&["export"]).stdout);
        assert_eq!(before, after, "{strategy}");
        // Nor does one of several files.
        let output = home.output(&["import", "after.json", "broken.json", "--versioning", strategy]);
        assert_eq!(output.status.code(), Some(3));
        assert_eq!(home.current("default"), before.0, "{strategy}");
    }
}

#[test]
fn what_differs_is_overwritten_skipped_or_ends_the_import() {
    let strategies = ["reuse-if-unchanged", "always-bump", "force-rollback"];
    for strategy in strategies {
        let import =
            |on_conflict| ["import", "after.json", "--versioning", strategy, "--on-conflict", on_conflict];
        let (overwritten, plain) = (before_and_after(), before_and_after());
        assert_eq!(
            overwritten.plan(&import("overwrite")),
            plain.plan(&["import", "after.json", "--versioning", strategy])
        );
        // Whatever the versioning is, what is stored stays.
        let (skipped, rolled_back) = (before_and_after(), before_and_after());
        assert_eq!(
            skipped.plan(&import("skip")),
            rolled_back.plan(&["import", "after.json", "--versioning", "force-rollback"])
        );
        let aborted = before_and_after();
        let output = aborted.output(&import("abort"));
        assert_fails("first", &output, 3, &["error[conflict]", "action http/a (path)"]);
        assert!(!stderr(&output).contains("http/b"), "{}", stderr(&output));
        assert_eq!(aborted.current("default"), V1);
        // Where nothing differs, the versioning decides.
        aborted.write("more.json", &file(URL, &[("a", "/a"), ("d", "/d")]));
        let more = ["import", "more.json", "--versioning", strategy, "--on-conflict", "abort"];
        let bumped = if strategy == "always-bump" { 2 } else { 0 };
        assert_eq!(
            aborted.json(&more)["summary"],
            json!({"created": 1, "changed": bumped, "unchanged": 2 - bumped}),
            "{strategy}"
        );
    }
}

#[test]
fn abort_names_every_record_that_differs() {
    let home = before_and_after();
    home.write("all.json", &file("http://127.0.0.1:10", &[("a", "/x"), ("b", "/y"), ("new", "/")]));
    let output = home.output(&["import", "all.json", "--on-conflict", "abort", "--format", "json"]);
    assert_eq!(output.status.code(), Some(3));
    let error: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(
        error["error"]["details"]["differing"],
        json!([
            "connection http/c (base_url)",
            "action http/a (path, connection)",
            "action http/b (path, connection)"
        ])
    );
}

#[test]
fn a_namespace_goes_before_every_name_and_what_they_say_of_each_other() {
    let home = before_and_after();
    let mut file = file(URL, &[("a", "/spaced")]);
    // Of the files, and of the database.
    file["connectors"]["http"]["connections"]["d"] = json!({"base_url": URL});
    file["connectors"]["http"]["actions"]["over-d"] = json!({"connection": "d"});
    home.write("vendor.json", &file);
    home.write("loose.json", &json!({"connectors": {"http": {"actions": {"loose": {"connection": "c"}}}}}));
    home.json(&["import", "vendor.json", "--namespace", "acme"]);
    home.json(&["import", "loose.json", "--namespace", "acme"]);
    assert_eq!(
        home.current("default"),
        [
            "connection/http/acme-c@v1",
            "connection/http/acme-d@v1",
            "connection/http/c@v1",
            "action/http/a@v1",
            "action/http/acme-a@v1",
            "action/http/acme-loose@v1",
            "action/http/acme-over-d@v1",
            "action/http/b@v1"
        ]
    );
    let over = |action: &str| home.json(&["show", action])["connection"].clone();
    assert_eq!(over("http/acme-a"), "trn:openact:default:connection/http/acme-c@v1");
    assert_eq!(over("http/acme-over-d"), "trn:openact:default:connection/http/acme-d@v1");
    assert_eq!(over("http/acme-loose"), "trn:openact:default:connection/http/c@v1");
    assert_eq!(home.path_of("http/a"), "/a");
    // What it brought, it finds again.
    let again = home.json(&["import", "vendor.json", "--namespace", "acme"]);
    assert_eq!(again["summary"], json!({"created": 0, "changed": 0, "unchanged": 4}));
    let long = "n".repeat(128);
    let output = home.output(&["import", "vendor.json", "--namespace", &long]);
    assert_fails("first", &output, 3, &["in namespace 'nnn", "at most 128"]);
}

#[test]
fn processes_that_import_at_once_all_end_well_one_after_the_other() {
    let home = before_and_after();
    let import = |file: &str| {
        let mut command = home.command(&["import", file]);
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap()
    };
    let files: Vec<String> = (0..6).map(|index| format!("{index}.json")).collect();
    for (index, name) in files.iter().enumerate() {
        home.write(name, &file(URL, &[("a", &format!("/{index}")), (&format!("own-{index}"), "/")]));
    }
    let running: Vec<_> = files.iter().map(|file| import(file)).collect();
    for child in running {
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    }
    // Each made its own version of the action that all change.
    let mut paths: Vec<Value> = (2..=7).map(|version| home.path_of(&format!("http/a@v{version}"))).collect();
    paths.sort_by_key(Value::to_string);
    assert_eq!(paths, ["/0", "/1", "/2", "/3", "/4", "/5"]);
    let current = home.current("default");
    assert_eq!(current.len(), 3 + 6);
    assert!(
        current.contains(&"action/http/a@v7".to_owned()) && current.contains(&"connection/http/c@v1".into())
    );
    // The same at once: one makes the version, and the others find it made.
    home.write("same.json", &file(URL, &[("a", "/same")]));
    let running: Vec<_> = (0..6).map(|_| import("same.json")).collect();
    let said = running.into_iter().map(|child| {
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()["summary"]["changed"].as_u64().unwrap()
    });
    assert_eq!(said.sum::<u64>(), 1);
    assert!(home.current("default").contains(&"action/http/a@v8".to_owned()));
}

/// Runs a command with standard error on a terminal, and gives what it shows there.
const ON_A_TERMINAL: &str = "
import os, pty, subprocess, sys
ours, theirs = pty.openpty()
child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=theirs)
os.close(theirs)
shown = b''
while True:
    try:
        more = os.read(ours, 65536)
    except OSError:
        break
    if not more:
        break
    shown += more
assert child.wait() == 0, shown
print(repr(shown.decode()))
";

#[test]
fn a_long_import_shows_how_far_it_is_on_a_terminal_and_nowhere_else() {
    let names: Vec<(String, String)> =
        (0..10_000).map(|index| (format!("a{index}"), format!("/{index}"))).collect();
    let actions: Vec<(&str, &str)> = names.iter().map(|(name, path)| (&name[..], &path[..])).collect();
    let home = Home::new();
    home.write("many.json", &file(URL, &actions));
    let on_terminal = |tenant: &str, more: &[&str]| {
        let import = home.command(&[&["import", "many.json", "--tenant", tenant], more].concat());
        let folder = home.path().display();
        let mut arguments = vec!["env".to_owned(), "-C".to_owned(), folder.to_string()];
        arguments.extend([format!("OPENACT_HOME={folder}"), "TOKEN=t".to_owned()]);
        arguments.push(openact_bin().display().to_string());
        arguments.extend(import.get_args().map(|argument| argument.to_string_lossy().into_owned()));
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        servers::python(ON_A_TERMINAL, &arguments)
    };
    let shown = on_terminal("one", &[]);
    assert!(shown.contains(r"\rreading\x1b[K") && shown.contains(" of 10001\\x1b[K"), "{shown}");
    assert!(shown.ends_with(r"\r\x1b[K'"), "the line is taken away: {shown}");
    assert_eq!(on_terminal("two", &["--quiet"]), "''");
    let piped = home.output(&["import", "many.json", "--tenant", "three"]);
    assert_eq!((piped.status.code(), stderr(&piped)), (Some(0), String::new()));
    assert_eq!(home.json(&["list", "actions", "--tenant", "two"]).as_array().unwrap().len(), 10_000);
}

#[test]
fn prune_keeps_the_latest_versions_and_what_they_use() {
    let home = Home::new();
    // The connection changes each time, the action `a` with it; `b` is left at version 2, over the second connection.
    for (version, token) in (1..=5).zip(["1", "2", "3", "4", "5"]) {
        let actions: &[(&str, &str)] =
            if version <= 2 { &[("a", "/a"), ("b", "/b")] } else { &[("a", "/a")] };
        home.write("c.json", &file(URL, actions));
        for tenant in ["default", "other"] {
            let mut import = home.command(&["import", "c.json", "--tenant", tenant]);
            assert!(import.env("TOKEN", token).output().unwrap().status.success());
        }
    }
    let secrets = |tenant: &str| -> Vec<String> {
        let list = home.json(&["list", "secrets", "--tenant", tenant]);
        let names = list.as_array().unwrap().iter().map(|secret| secret["name"].as_str().unwrap());
        names.map(|name| name.split('#').next().unwrap().to_owned()).collect()
    };
    assert_eq!(secrets("default").len(), 5);
    assert_fails("none", &home.output(&["prune", "--keep", "0"]), 2, &["--keep"]);
    let expected =
        ["- action http/a@v1", "- action http/a@v2", "- action http/a@v3", "- connection http/c@v3"];
    let lines = |mut plan: Vec<String>| {
        let summary = plan.pop().unwrap();
        (plan, summary)
    };
    let (planned, summary) = lines(home.plan(&["prune", "--keep", "2", "--dry-run"]));
    assert_eq!(
        (&planned[..], &summary[..]),
        (&expected.map(str::to_owned)[..], "4 deleted (dry run: nothing was changed)")
    );
    assert_eq!(home.path_of("http/a@v1"), "/a");
    let (done, summary) = lines(home.plan(&["prune", "--keep", "2"]));
    assert_eq!((&done[..], &summary[..]), (&expected.map(str::to_owned)[..], "4 deleted"));
    for gone in ["http/a@v1", "http/a@v3", "http/c@v3"] {
        assert_eq!(home.output(&["show", gone]).status.code(), Some(4), "{gone}");
    }
    for kept in ["http/a@v4", "http/a@v5", "http/b@v1", "http/b@v2", "http/c@v4", "http/c@v5"] {
        assert_eq!(
            home.json(&["show", kept])["trn"].as_str().unwrap().rsplit_once('/').unwrap().1,
            &kept[5..]
        );
    }
    // Both versions of `b` are among its latest, and each has its own of the connection.
    assert_eq!(
        secrets("default"),
        ["1", "2", "4", "5"].map(|version| format!("connection/http/c@v{version}"))
    );
    assert_eq!(secrets("other").len(), 5);
    assert_eq!(home.json(&["prune", "--keep", "2"])["summary"], json!({"deleted": 0}));
}

#[test]
fn actions_of_other_files_stay_where_they_are_and_are_named() {
    let home = Home::new();
    let connection = |url: &str| json!({"connectors": {"http": {"connections": {"c": {"base_url": url}}}}});
    home.write("connection.json", &connection("http://one.example"));
    home.write("action.json", &json!({"connectors": {"http": {"actions": {"a": {"connection": "c"}}}}}));
    assert!(home.json(&["import", "connection.json", "action.json"])["notes"].is_null());
    home.write("connection.json", &connection("http://two.example"));
    let notes = home.json(&["import", "connection.json"])["notes"].clone();
    let note = notes[0].as_str().unwrap();
    assert!(note.contains("http/a@v1 stays over http/c@v1"), "{note}");
    let exported = home.output(&["export"]);
    assert!(
        stderr(&exported).contains("over the latest in what is written: http/a@v1"),
        "{}",
        stderr(&exported)
    );
    home.json(&["import", "connection.json", "action.json"]);
    assert!(!stderr(&home.output(&["export"])).contains("earlier version"));
    // What is not there to be exported is told apart from what is only empty.
    assert_fails(
        "first",
        &home.output(&["export", "--connector", "htp"]),
        4,
        &["'htp'", "did you mean 'http'"],
    );
}

#[test]
fn every_connection_that_is_not_there_is_told() {
    let home = Home::new();
    home.write(
        "a.json",
        &json!({"connectors": {"http": {"actions": {"a": {"connection": "x"}, "b": {"connection": "y"}}}}}),
    );
    assert_fails("first", &home.output(&["import", "a.json"]), 3, &["connection 'x'", "connection 'y'"]);
}
