//! `openact sync`: the database is what the files say, and only what sync made is ever deleted.

use std::{
    io::{BufRead, BufReader},
    process::Stdio,
};

use serde_json::{Value, json};
use support::command::stderr;

use crate::{
    import::{Home, file},
    setup::assert_fails,
};

const URL: &str = "http://127.0.0.1:9";

fn connections(names: &[&str]) -> Value {
    let all: serde_json::Map<String, Value> =
        names.iter().map(|name| ((*name).to_owned(), json!({"base_url": URL}))).collect();
    json!({"connectors": {"http": {"connections": all}}})
}

/// Actions, each with its connection, and these connections.
fn over(connections: &[&str], actions: &[(&str, &str)]) -> Value {
    let mut file = self::connections(connections);
    for (action, connection) in actions {
        file["connectors"]["http"]["actions"][action] = json!({"connection": connection});
    }
    file
}

#[test]
fn the_database_becomes_what_the_files_say() {
    let home = Home::new();
    home.write("c.json", &file(URL, &[("a", "/a"), ("b", "/b")]));
    assert_eq!(
        home.plan(&["sync", "c.json", "--dry-run"]).pop().unwrap(),
        "3 created, 0 changed, 0 unchanged, 0 deleted (dry run: nothing was changed)"
    );
    assert!(home.current("default").is_empty());
    home.json(&["sync", "c.json"]);
    assert_eq!(home.current("default"), ["connection/http/c@v1", "action/http/a@v1", "action/http/b@v1"]);
    let again = home.json(&["sync", "c.json", "--prune"]);
    assert_eq!(again["summary"], json!({"created": 0, "changed": 0, "unchanged": 3, "deleted": 0}));

    // Dropped without --prune, it stays; with it, every version goes.
    home.write("c.json", &file(URL, &[("a", "/new"), ("b", "/new")]));
    home.json(&["sync", "c.json"]);
    home.write("c.json", &file(URL, &[("a", "/new")]));
    assert_eq!(home.json(&["sync", "c.json"])["summary"]["deleted"], 0);
    assert_eq!(home.current("default"), ["connection/http/c@v1", "action/http/a@v2", "action/http/b@v2"]);
    let lines = ["= connection http/c@v1", "= action http/a@v2", "- action http/b"];
    for (dry_run, left) in [(&["--dry-run"][..], 3), (&[], 2)] {
        let plan = home.plan(&[&["sync", "c.json", "--prune"], dry_run].concat());
        assert_eq!(&plan[..3], lines);
        assert_eq!(home.current("default").len(), left);
    }
    assert_eq!(home.output(&["show", "http/b@v1"]).status.code(), Some(4));
    // A number that was used is not used for something else.
    home.write("c.json", &file(URL, &[("a", "/new"), ("b", "/again")]));
    assert_eq!(home.plan(&["sync", "c.json"])[2], "+ action http/b@v3");
}

#[test]
fn a_dropped_connection_goes_with_its_secrets_and_what_import_made_stays() {
    let home = Home::new();
    home.write("own.json", &connections(&["mine"]));
    home.json(&["import", "own.json"]);
    let mut both = file(URL, &[("a", "/a")]);
    both["connectors"]["http"]["connections"]["mine"] = json!({"base_url": "http://127.0.0.1:10"});
    home.write("c.json", &both);
    // What sync finds there it keeps equal to the files, and does not own.
    assert_eq!(home.plan(&["sync", "c.json"])[1], "~ connection http/mine@v2 (base_url)");
    assert_eq!(home.json(&["list", "secrets"]).as_array().unwrap().len(), 1);
    home.write("c.json", &connections(&["left"]));
    assert_eq!(
        home.plan(&["sync", "c.json", "--prune-all"])[..3],
        ["+ connection http/left@v1", "- action http/a", "- connection http/c"]
    );
    assert_eq!(home.current("default"), ["connection/http/left@v1", "connection/http/mine@v2"]);
    assert!(home.json(&["list", "secrets"]).as_array().unwrap().is_empty());
    // Nor does a file that holds nothing own it.
    home.write("c.json", &json!({"connectors": {"http": {"connections": {}}}}));
    assert_eq!(home.plan(&["sync", "c.json", "--prune-all"])[..1], ["- connection http/left"]);
    assert_eq!(home.current("default"), ["connection/http/mine@v2"]);
}

#[test]
fn a_connection_that_somebody_elses_action_uses_is_not_deleted() {
    let home = Home::new();
    home.write("c.json", &over(&["x", "y"], &[("a", "x")]));
    home.json(&["sync", "c.json"]);
    home.write("own.json", &json!({"connectors": {"http": {"actions": {"mine": {"connection": "x"}}}}}));
    home.json(&["import", "own.json"]);
    let before = home.current("default");
    // All or nothing: the new connection is not made either.
    home.write("c.json", &over(&["y", "z"], &[("a", "y")]));
    let output = home.output(&["sync", "c.json", "--prune"]);
    assert_fails("none", &output, 3, &["error[conflict]", "connection http/x", "http/mine@v1", "--prune"]);
    assert_eq!(home.current("default"), before);
    // Nor one that the files themselves still use.
    home.write("c.json", &over(&["y"], &[("a", "x")]));
    let output = home.output(&["sync", "c.json", "--prune"]);
    assert_fails("none", &output, 3, &["connection http/x", "action http/a of the same files"]);
    // Without --prune there is nothing against it.
    home.write("c.json", &over(&["y", "z"], &[("a", "y")]));
    home.json(&["sync", "c.json"]);
    assert_eq!(home.current("default").len(), 5);
}

#[test]
fn old_versions_of_its_own_action_go_with_the_connection_they_were_over() {
    let home = Home::new();
    home.write("c.json", &over(&["x"], &[("a", "x")]));
    home.json(&["sync", "c.json"]);
    home.write("c.json", &over(&["y"], &[("a", "y")]));
    assert_eq!(
        home.plan(&["sync", "c.json", "--prune"])[..4],
        [
            "+ connection http/y@v1",
            "~ action http/a@v2 (connection)",
            "- action http/a@v1",
            "- connection http/x"
        ]
    );
    assert_eq!(home.current("default"), ["connection/http/y@v1", "action/http/a@v2"]);
    assert_eq!(home.output(&["show", "http/a@v1"]).status.code(), Some(4));
}

#[test]
fn each_source_answers_for_what_it_made() {
    let home = Home::new();
    for folder in ["team", "team/deep", "team/.git"] {
        std::fs::create_dir(home.path().join(folder)).unwrap();
    }
    home.write("team/a.json", &connections(&["a"]));
    home.write("team/deep/b.json", &connections(&["b"]));
    home.write("team/.git/hidden.json", &connections(&["hidden"]));
    home.write("team/README.md", &json!("not a configuration"));
    home.write("other.json", &connections(&["o"]));
    home.json(&["sync", "./team/"]);
    home.json(&["sync", "other.json"]);
    assert_eq!(home.current("default"), ["a", "b", "o"].map(|name| format!("connection/http/{name}@v1")));

    // Within a folder, what is in a file may move; another source is not asked.
    std::fs::remove_file(home.path().join("team/a.json")).unwrap();
    std::fs::rename(home.path().join("team/deep/b.json"), home.path().join("team/c.json")).unwrap();
    let plan = home.plan(&["sync", "team", "--prune"]);
    assert_eq!(plan[..2], ["= connection http/b@v1", "- connection http/a"]);
    assert!(plan[2].starts_with("note: 1 of 'other.json' stay"), "{plan:?}");
    assert_eq!(home.current("default"), ["b", "o"].map(|name| format!("connection/http/{name}@v1")));

    // What moved to another source is that one's.
    home.write("other.json", &connections(&["o", "b"]));
    home.write("team/c.json", &connections(&["d"]));
    home.json(&["sync", "other.json", "team", "--prune"]);
    home.write("other.json", &connections(&["o"]));
    assert_eq!(home.plan(&["sync", "other.json", "--prune"])[1], "- connection http/b");

    let twice = home.output(&["sync", "team", "team/c.json"]);
    assert_fails("none", &twice, 3, &["'team/c.json' is named twice"]);
    // A folder without files is rather a mistake than a wish to have nothing.
    std::fs::remove_file(home.path().join("team/c.json")).unwrap();
    let before = home.current("default");
    assert_fails("none", &home.output(&["sync", "team", "--prune"]), 3, &["no configuration file", "'team'"]);
    assert_fails("none", &home.output(&["sync", "gone.json", "--prune"]), 4, &["gone.json"]);
    assert_eq!(home.current("default"), before);
}

#[test]
fn another_repository_s_folder_of_the_same_name_deletes_nothing() {
    let home = Home::new();
    let sync = |repository: &str, name: &str, prune: &str| {
        let folder = home.path().join(repository);
        std::fs::create_dir_all(folder.join("conf")).unwrap();
        home.write(&format!("{repository}/conf/c.json"), &connections(&[name]));
        home.command(&["sync", "conf", prune]).current_dir(folder).output().unwrap()
    };
    let first = sync("first", "a", "--prune");
    assert_eq!(first.status.code(), Some(0), "{}", stderr(&first));
    let said = ["conflict", "'conf'", "--prune-all"];
    for prune in ["--prune", "--prune"] {
        assert_fails("none", &sync("second", "b", prune), 3, &said);
        assert_eq!(home.current("default"), ["connection/http/a@v1"]);
    }
    // Asked for, it is done.
    let all = sync("second", "b", "--prune-all");
    assert_eq!(all.status.code(), Some(0), "{}", stderr(&all));
    assert_eq!(home.current("default"), ["connection/http/b@v1"]);
}

#[test]
fn tenants_are_synced_apart() {
    let home = Home::new();
    home.write("c.json", &connections(&["a", "b"]));
    for tenant in ["default", "other"] {
        home.json(&["sync", "c.json", "--tenant", tenant]);
    }
    home.write("c.json", &connections(&["a"]));
    home.json(&["sync", "c.json", "--prune"]);
    assert_eq!(home.current("default"), ["connection/http/a@v1"]);
    assert_eq!(home.current("other"), ["connection/http/a@v1", "connection/http/b@v1"]);
}

#[cfg(unix)]
#[test]
fn watch_prints_a_line_per_change_and_a_mistake_once_and_ends_well() {
    let home = Home::new();
    home.write("bad.json", &json!({"connectors": {"http": {"conections": {}}}}));
    let output = home.output(&["sync", "bad.json", "--watch"]);
    assert_fails("none", &output, 3, &["conections"]);

    home.write("c.json", &connections(&["a"]));
    let mut watch = home.command(&["sync", "c.json", "--watch", "--prune", "--format", "table"]);
    let mut child = watch.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut out, mut err) =
        (BufReader::new(child.stdout.take().unwrap()), BufReader::new(child.stderr.take().unwrap()));
    let line = |from: &mut dyn BufRead| {
        let mut line = String::new();
        from.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    };
    assert_eq!(line(&mut out), "+ connection http/a@v1");
    home.write("c.json", &connections(&["a", "b"]));
    assert_eq!(line(&mut out), "+ connection http/b@v1");
    std::fs::write(home.path().join("c.json"), "{\"connectors\": ").unwrap();
    assert!(line(&mut err).starts_with("error[invalid_config]"));
    // A file put in its place by rename, as editors do.
    home.write("new.json", &connections(&["b", "c"]));
    std::fs::rename(home.path().join("new.json"), home.path().join("c.json")).unwrap();
    assert_eq!([line(&mut out), line(&mut out)], ["+ connection http/c@v1", "- connection http/a"]);
    assert_eq!(home.current("default"), ["connection/http/b@v1", "connection/http/c@v1"]);

    let interrupted = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(interrupted.unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let rest: Vec<String> =
        err.lines().map(Result::unwrap).filter(|line| line.starts_with("error")).collect();
    assert!(rest.is_empty(), "told again: {rest:?}");
    assert_eq!(line(&mut out), "");
    let ended = home.output(&["sync", "c.json", "--prune"]);
    assert_eq!(ended.status.code(), Some(0), "{}", stderr(&ended));
}
