//! The `openact` command as scripts see it: streams, exit codes, messages, and what it leaves where.

use std::{
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
};

use serde_json::{Value, json};
use support::{
    command::{openact, stderr, stdout},
    upstream::{Answer, Upstream},
};

use crate::{import::Home, setup::assert_fails};

const TOKEN: &str = "canary-7f3a9c-token";

/// The seed's example, with another `base_url`.
fn seed_file(folder: &Path, base_url: &str) -> String {
    let path = folder.join("connectors.yaml");
    let text = format!(
        r#"# config/connectors.yaml
connectors:
  http:
    connections:
      github-api:
        base_url: "{base_url}"
        timeout_ms: 30000
        auth:
          type: "bearer"
          token: "${{GITHUB_TOKEN}}"
    actions:
      get-user:
        connection: "github-api"
        method: "GET"
        path: "/user"
        headers:
          Accept: "application/vnd.github.v3+json"
"#
    );
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

/// Runs off the runtime's threads: the upstream server of the test has to answer meanwhile.
async fn finished(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

async fn run(home: &Path, args: &[&str]) -> Output {
    let mut command = openact(home);
    command.args(args).env("GITHUB_TOKEN", TOKEN);
    finished(command).await
}

fn json_of(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

#[track_caller]
fn assert_succeeds(output: &Output) {
    assert_eq!(output.status.code(), Some(0), "{}", stderr(output));
}

#[tokio::test]
async fn the_seeds_example_runs_and_its_token_is_nowhere() {
    let upstream = Upstream::json(r#"{"login":"octocat"}"#).await;
    let home = tempfile::tempdir().unwrap();
    let file = seed_file(home.path(), &upstream.url());
    let db = home.path().join("data.db");
    let url = format!("sqlite://{}", db.display());

    let imported = run(home.path(), &["import", &file, "--db", &url, "-vvv"]).await;
    assert_succeeds(&imported);
    assert_eq!(json_of(&imported)["summary"], json!({"created": 2, "changed": 0, "unchanged": 0}));
    let ran = run(home.path(), &["run", "http/get-user", "--db", &url, "-vvv", "--show-run"]).await;
    assert_succeeds(&ran);
    assert!(stdout(&ran).starts_with(r#"{"status_code":200,"#), "{}", stdout(&ran));
    assert_eq!(json_of(&ran)["body"], json!({"login": "octocat"}));

    assert!(stderr(&ran).contains("http.send"), "nothing was logged: {}", stderr(&ran));
    let received = upstream.received();
    assert_eq!(received[0].header("authorization"), [format!("Bearer {TOKEN}")]);
    assert_eq!(received[0].header("accept"), ["application/vnd.github.v3+json"]);

    let record = stderr(&ran).lines().find(|line| line.starts_with("{\"run_id\"")).unwrap().to_owned();
    assert_eq!(serde_json::from_str::<Value>(&record).unwrap()["status"], "ok");
    let runs = run(home.path(), &["list", "runs", "--db", &url]).await;
    assert_eq!(json_of(&runs)[0]["run_id"], serde_json::from_str::<Value>(&record).unwrap()["run_id"]);
    let mut seen = vec![imported.stdout, imported.stderr, ran.stdout, ran.stderr, runs.stdout];
    for args in
        [["list", "connections"], ["list", "secrets"], ["show", "http/github-api"], ["export", "--quiet"]]
    {
        let output = run(home.path(), &[&args[..], &["--db", &url]].concat()).await;
        assert_succeeds(&output);
        seen.extend([output.stdout, output.stderr]);
    }
    seen.extend(files_under(home.path()));
    for (index, bytes) in seen.iter().enumerate() {
        assert!(!bytes.windows(TOKEN.len()).any(|window| window == TOKEN.as_bytes()), "text or file {index}");
    }
}

/// The contents of every file: the database, its write-ahead log, keys, compiled connectors.
fn files_under(folder: &Path) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(files_under(&path));
        } else {
            all.push(std::fs::read(path).unwrap());
        }
    }
    assert!(!all.is_empty());
    all
}

#[tokio::test]
async fn an_unset_variable_is_named_with_its_file_and_line() {
    let home = tempfile::tempdir().unwrap();
    let file = seed_file(home.path(), "http://127.0.0.1:9");
    for args in [&["import", &file][..], &["run", "http/get-user", "--config", &file]] {
        let mut command = openact(home.path());
        command.args(args);
        assert_fails(
            TOKEN,
            &finished(command).await,
            3,
            &["error[invalid_config]", "GITHUB_TOKEN", &format!("{file}:10:")],
        );
    }
}

#[tokio::test]
async fn database_file_trn_and_embedded_give_equal_results() {
    let upstream = Upstream::json(r#"{"login":"octocat","id":12345678901234567890}"#).await;
    let home = tempfile::tempdir().unwrap();
    let file = seed_file(home.path(), &upstream.url());
    assert_succeeds(&run(home.path(), &["import", &file]).await);
    let database = run(home.path(), &["run", "http/get-user"]).await;
    assert_succeeds(&database);
    let trn = run(home.path(), &["execute", "trn:openact:default:action/http/get-user@v1"]).await;
    let config_home = tempfile::tempdir().unwrap();
    let config = run(config_home.path(), &["run", "http/get-user", "--config", &file]).await;
    let embedded = support::builder(home.path(), &[("GITHUB_TOKEN", TOKEN)])
        .store("sqlite::memory:")
        .config_file(&file)
        .build()
        .await
        .unwrap();
    let outcome = embedded.run("http/get-user", json!({})).await.unwrap();
    embedded.close().await.unwrap();
    for other in [stdout(&trn), stdout(&config), format!("{}\n", outcome.result)] {
        assert_eq!(other, stdout(&database));
    }
    assert!(!config_home.path().join("data").exists(), "a database was made");
    assert!(!config_home.path().join("config").exists(), "a key was made");
}

/// A file with one action per name and path, over one connection.
fn actions_file(folder: &Path, base_url: &str, actions: &[&str]) -> String {
    let actions: serde_json::Map<String, Value> = actions
        .iter()
        .map(|name| ((*name).to_owned(), json!({"connection": "c", "path": format!("/{name}")})))
        .collect();
    let file =
        json!({"connectors": {"http": {"connections": {"c": {"base_url": base_url}}, "actions": actions}}});
    let path = folder.join("actions.json");
    std::fs::write(&path, file.to_string()).unwrap();
    path.display().to_string()
}

#[tokio::test]
async fn mistakes_in_the_arguments_and_names() {
    let home = tempfile::tempdir().unwrap();
    let file = actions_file(home.path(), "http://127.0.0.1:9", &["get-user"]);
    let case = async |args: &[&str], code: i32, parts: &[&str]| {
        let args = [&["run", "--config", &file], args].concat();
        assert_fails(TOKEN, &run(home.path(), &args).await, code, parts);
    };
    case(
        &["http/get-user", "--input", "{\"a\": "],
        3,
        &["error[invalid_input]", "not JSON", "line 1 column 6"],
    )
    .await;
    case(&["http/get-usr"], 4, &["error[not_found]", "get-usr", "did you mean 'http/get-user'?"]).await;
    case(&["http/get-user@v7"], 4, &["error[not_found]", "@v7"]).await;
    case(&["a b"], 3, &["error[invalid_input]"]).await;
    case(&["http/get-user", "--set", "novalue"], 2, &["key=value"]).await;
    case(&["http/get-user", "--timeout", "soon"], 2, &["not a duration"]).await;
    case(&["http/get-user", "--nonsense"], 2, &["--nonsense"]).await;
    case(&["http/get-user", "--input", "@/nonexistent"], 4, &["/nonexistent"]).await;
    let bad = home.path().join("bad.json");
    std::fs::write(&bad, "{\n  \"a\": ]\n}").unwrap();
    let input = format!("@{}", bad.display());
    case(&["http/get-user", "--input", &input], 3, &["not JSON", &format!("--> {}:2:", bad.display())]).await;
}

#[tokio::test]
async fn an_ambiguous_name_lists_its_candidates() {
    let home = tempfile::tempdir().unwrap();
    let file = actions_file(home.path(), "http://127.0.0.1:9", &["get", "other"]);
    let guest = home.path().join("plain.wasm");
    std::fs::write(&guest, support::guests::guest("plain")).unwrap();
    let installed =
        run(home.path(), &["connector", "install", guest.to_str().unwrap(), "--format", "json"]).await;
    assert_succeeds(&installed);
    let name = json_of(&installed)["manifest"]["name"].as_str().unwrap().to_owned();
    let second = home.path().join("second.json");
    let connection_schema = &json_of(&installed)["manifest"]["connection_schema"];
    let connection = if connection_schema["properties"]["base_url"].is_object() {
        json!({"base_url": "http://127.0.0.1:9"})
    } else {
        json!({})
    };
    let text = json!({"connectors": {name.as_str(): {"connections": {"c": connection}, "actions": {"get": {"connection": "c"}}}}});
    std::fs::write(&second, text.to_string()).unwrap();
    assert_succeeds(&run(home.path(), &["import", &file, second.to_str().unwrap()]).await);
    let output = run(home.path(), &["run", "get"]).await;
    assert_fails(TOKEN, &output, 3, &["error[conflict]", "ambiguous", "http/get", &format!("{name}/get")]);
}

#[tokio::test]
async fn what_goes_wrong_on_the_way() {
    let elsewhere = Upstream::json("{}").await;
    let target = elsewhere.url();
    let upstream = Upstream::start(move |request| match request.target.as_str() {
        "/moved" => Answer::full(302, &[("location", &target)], ""),
        "/truncated" => Answer::Raw(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{\"a\":"
                .to_vec(),
        ),
        "/announced" => Answer::Endless { announced: Some(2 << 30) },
        "/endless" => Answer::Endless { announced: None },
        "/held" => Answer::Held("{}".into()),
        "/teapot" => Answer::full(418, &[], "short"),
        other => panic!("{other}"),
    })
    .await;
    let closed = {
        // Bound and closed again: nobody listens there.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let home = tempfile::tempdir().unwrap();
    let connection = |url: &str| json!({"base_url": url});
    let action = |connection: &str, path: &str| json!({"connection": connection, "path": path, "follow_redirects": true});
    let file = json!({"connectors": {"http": {
        "connections": {
            "c": connection(&upstream.url()),
            "closed": connection(&format!("http://{closed}")),
            // The broadcast address: the system refuses to connect to it without sending anything.
            "unreachable": connection("http://255.255.255.255"),
            // A label longer than DNS allows (RFC 1035 section 2.3.4): no resolver is asked for it.
            "unresolvable": connection(&format!("http://{}.invalid", "a".repeat(64))),
        },
        "actions": {
            "moved": action("c", "/moved"), "truncated": action("c", "/truncated"), "announced": action("c", "/announced"),
            "endless": action("c", "/endless"), "held": action("c", "/held"), "teapot": action("c", "/teapot"),
            "closed": action("closed", "/"), "unreachable": action("unreachable", "/"), "unresolvable": action("unresolvable", "/"),
        },
    }}});
    let file = file.to_string();
    let case = async |action: &str, code: i32, parts: &[&str]| {
        let args = [
            "run",
            action,
            "--config-json",
            &file,
            "--timeout",
            if action == "held" { "300ms" } else { "50s" },
        ];
        assert_fails(TOKEN, &run(home.path(), &args).await, code, parts);
    };
    let allow = format!("network: {{ allowed_hosts: [\"{}\"] }}", elsewhere.url());
    case("moved", 5, &["error[egress_denied]", "may not reach", &allow]).await;
    case("closed", 7, &["error[network_error]", &closed.to_string(), "refused"]).await;
    case("unreachable", 7, &["error[network_error]", "255.255.255.255", "unreachable"]).await;
    case("unresolvable", 7, &["error[network_error]", "failed to connect"]).await;
    case("truncated", 7, &["error[network_error]", "broke off"]).await;
    case("announced", 9, &["error[limit_exceeded]", "larger than"]).await;
    case("endless", 9, &["error[limit_exceeded]"]).await;
    case("held", 8, &["error[timeout]"]).await;
    assert_eq!(elsewhere.connections(), 0, "a denied host was dialled");
    // What the other side answers is a result.
    let teapot = run(home.path(), &["run", "teapot", "--config-json", &file]).await;
    assert_succeeds(&teapot);
    assert_eq!(json_of(&teapot)["status_code"], 418);
}

#[tokio::test]
async fn a_failure_is_json_where_that_is_asked_for_and_its_run_is_shown() {
    let home = tempfile::tempdir().unwrap();
    let file = actions_file(home.path(), "http://127.0.0.1:9", &["get"]);
    let output =
        run(home.path(), &["run", "get", "--config", &file, "--format", "json", "--show-run", "--quiet"])
            .await;
    assert_eq!((output.status.code(), stdout(&output)), (Some(7), String::new()));
    let lines: Vec<Value> = stderr(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["status"], "failed");
    assert_eq!(lines[1]["error"]["code"], "network_error");
    assert_eq!(lines.len(), 2, "{lines:?}");
}

#[tokio::test]
async fn the_database_must_be_usable() {
    let home = tempfile::tempdir().unwrap();
    let foreign = home.path().join("foreign.db");
    std::fs::write(&foreign, "this is no database, and must stay as it is").unwrap();
    let before = std::fs::read(&foreign).unwrap();
    let output = run(home.path(), &["run", "http/x", "--db", foreign.to_str().unwrap()]).await;
    assert_fails(TOKEN, &output, 10, &["error[store_unavailable]"]);
    assert_eq!(std::fs::read(&foreign).unwrap(), before);
    let output = run(home.path(), &["run", "http/x", "--db", "/nonexistent/folder/x.db"]).await;
    assert_fails(TOKEN, &output, 10, &["error[store_unavailable]", "/nonexistent/folder"]);
}

#[tokio::test]
async fn input_comes_from_arguments_files_and_standard_input() {
    let upstream =
        Upstream::start(|request| Answer::Json(json!({ "target": request.target }).to_string())).await;
    let home = tempfile::tempdir().unwrap();
    let file = json!({"connectors": {"http": {
        "connections": {"c": {"base_url": upstream.url()}},
        "actions": {"get": {"connection": "c", "path": "/{login}", "query": {"a": "1"}}},
    }}});
    let file = file.to_string();
    let input = home.path().join("input.json");
    std::fs::write(&input, r#"{"login": "from-file"}"#).unwrap();
    let at_file = format!("@{}", input.display());
    let base = ["run", "get", "--config-json", &file];
    let target = |output: Output| {
        assert_succeeds(&output);
        json_of(&output)["body"]["target"].as_str().unwrap().to_owned()
    };
    let with = async |args: &[&str]| target(run(home.path(), &[&base, args].concat()).await);
    assert_eq!(with(&["--input", r#"{"login": "x y"}"#]).await, "/x%20y?a=1");
    assert_eq!(with(&["--input", &at_file]).await, "/from-file?a=1");
    assert_eq!(with(&["--input", &at_file, "--set", "login=over"]).await, "/over?a=1");
    assert_eq!(with(&["--set", "login=12", "--set", "query.b=two"]).await, "/12?a=1&b=two");

    let mut command = openact(home.path());
    command
        .args(base)
        .args(["--input", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(br#"{"login": "from-stdin"}"#).unwrap();
    let output = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await.unwrap();
    assert_eq!(target(output), "/from-stdin?a=1");

    let missing = run(home.path(), &base).await;
    assert_fails(TOKEN, &missing, 3, &["error[invalid_input]", "login"]);
    let before = upstream.received().len();
    let dry = run(home.path(), &[&base[..], &["--set", "login=a", "--dry-run"]].concat()).await;
    assert_succeeds(&dry);
    assert_eq!(json_of(&dry)["dry_run"], true);
    assert_eq!(upstream.received().len(), before, "a dry run sent something");

    let result = home.path().join("result.json");
    let args = ["--set", "login=a", "--output", result.to_str().unwrap()];
    let written = run(home.path(), &[&base[..], &args].concat()).await;
    assert_succeeds(&written);
    assert_eq!(stdout(&written), "");
    let value: Value = serde_json::from_slice(&std::fs::read(&result).unwrap()).unwrap();
    assert_eq!(value["status_code"], 200);
}

#[tokio::test]
async fn an_import_says_what_it_does_and_an_export_imports_as_unchanged() {
    let home = tempfile::tempdir().unwrap();
    let file = seed_file(home.path(), "http://127.0.0.1:9");
    let import = async |args: &[&str]| {
        let output = run(home.path(), &[&["import"], args].concat()).await;
        assert_succeeds(&output);
        stdout(&output)
    };
    let dry = import(&[&file, "--dry-run", "--format", "table"]).await;
    let plan =
        "+ connection http/github-api@v1\n+ action http/get-user@v1\n2 created, 0 changed, 0 unchanged";
    assert_eq!(dry, format!("{plan} (dry run: nothing was changed)\n"));
    assert_eq!(import(&[&file, "--format", "table"]).await, format!("{plan}\n"));
    let again = import(&[&file, "--format", "table"]).await;
    assert!(again.ends_with("0 created, 0 changed, 2 unchanged\n"), "{again}");
    let bumped = import(&[&file, "--format", "table", "--versioning", "always-bump"]).await;
    assert!(bumped.contains("~ action http/get-user@v2"), "{bumped}");

    let exported = home.path().join("backup.yaml");
    let output = run(home.path(), &["export", "--output", exported.to_str().unwrap()]).await;
    assert_succeeds(&output);
    let text = std::fs::read_to_string(&exported).unwrap();
    let variable = text.split("${").nth(1).unwrap().split('}').next().unwrap();
    let mut command = openact(home.path());
    command.args(["import", exported.to_str().unwrap(), "--format", "table"]).env(variable, TOKEN);
    let output = finished(command).await;
    assert_succeeds(&output);
    assert!(stdout(&output).ends_with("0 created, 0 changed, 2 unchanged\n"), "{}", stdout(&output));
    let as_json = run(home.path(), &["export", "--format", "json"]).await;
    assert!(json_of(&as_json)["connectors"]["http"]["actions"]["get-user"].is_object());
}

#[tokio::test]
async fn several_files_are_imported_all_or_none() {
    let home = tempfile::tempdir().unwrap();
    let (good, bad) =
        (actions_file(home.path(), "http://127.0.0.1:9", &["get"]), home.path().join("bad.yaml"));
    std::fs::write(&bad, "connectors:\n  http:\n    actions:\n      x: { connection: c, methd: GET }\n")
        .unwrap();
    let output = run(home.path(), &["import", &good, bad.to_str().unwrap()]).await;
    assert_fails(TOKEN, &output, 3, &["methd", "bad.yaml:4:", "did you mean 'method'?"]);
    let listed = run(home.path(), &["list", "actions"]).await;
    assert_eq!(json_of(&listed), json!([]));
    let twice = run(home.path(), &["import", &good, &good]).await;
    assert_fails(TOKEN, &twice, 3, &["is named twice"]);
}

#[tokio::test]
async fn every_mistake_of_a_file_is_listed() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("bad.yaml");
    let text = "connectors:\n  http:\n    connections:\n      c: { base_url: \"http://h\", tmeout_ms: 1 }\n    actions:\n      x: { connection: c, methd: GET }\n";
    std::fs::write(&file, text).unwrap();
    let output = run(home.path(), &["import", file.to_str().unwrap()]).await;
    assert_fails(TOKEN, &output, 3, &["tmeout_ms", "bad.yaml:4:", "also: ", "bad.yaml:6:", "methd"]);
}

#[tokio::test]
async fn lists_show_and_migrate() {
    let home = tempfile::tempdir().unwrap();
    let file = seed_file(home.path(), "http://127.0.0.1:9");
    let migrated = run(home.path(), &["migrate"]).await;
    assert_succeeds(&migrated);
    assert_eq!(json_of(&migrated)["created"], true);
    let again = json_of(&run(home.path(), &["migrate"]).await);
    assert_eq!((&again["created"], &again["applied"]), (&json!(false), &json!([])));
    assert_succeeds(&run(home.path(), &["import", &file]).await);
    let count = async |args: &[&str]| {
        let output = run(home.path(), args).await;
        assert_succeeds(&output);
        json_of(&output).as_array().unwrap().len()
    };
    assert_eq!(count(&["list", "connections"]).await, 1);
    assert_eq!(count(&["list", "actions", "--connector", "http"]).await, 1);
    assert_eq!(count(&["list", "actions", "--connector", "github"]).await, 0);
    assert_eq!(count(&["list", "actions", "--tenant", "other"]).await, 0);
    assert_eq!(count(&["list", "secrets"]).await, 1);
    assert_eq!(count(&["list", "runs"]).await, 0);
    assert!(count(&["connector", "list"]).await >= 1);
    let shown = run(home.path(), &["show", "get-user"]).await;
    assert_eq!(json_of(&shown)["trn"], "trn:openact:default:action/http/get-user@v1");
    let table = stdout(&run(home.path(), &["list", "actions", "--format", "table"]).await);
    assert!(table.starts_with("ACTION"), "{table}");
    assert_fails(TOKEN, &run(home.path(), &["show", "get-usr"]).await, 4, &["did you mean 'http/get-user'?"]);
    let inspected = run(home.path(), &["connector", "inspect", "http"]).await;
    assert_eq!(json_of(&inspected)["source"], "bundled");
    assert_fails(TOKEN, &run(home.path(), &["connector", "remove", "http"]).await, 3, &["part of OpenAct"]);
    assert_fails(
        TOKEN,
        &run(home.path(), &["connector", "inspect", "htp"]).await,
        4,
        &["did you mean 'http'?"],
    );
}

#[tokio::test]
async fn the_demo_tells_the_truth_and_leaves_nothing_behind() {
    let home = tempfile::tempdir().unwrap();
    let temporary = tempfile::tempdir().unwrap();
    let mut command = openact(home.path());
    command
        .arg("demo")
        .env("TMPDIR", temporary.path())
        .env("TMP", temporary.path())
        .env("TEMP", temporary.path());
    let output = finished(command).await;
    assert_succeeds(&output);
    let text = stdout(&output);
    for part in [
        "+ action http/get-user@v1",
        "\"status_code\": 200",
        "\"login\": \"octocat\"",
        "What the API saw         Authorization: Bearer [hidden]",
        "What the sandbox held    no Authorization header, no token",
        "error[egress_denied]",
        "network: { allowed_hosts: [\"http://127.0.0.1:",
        "Requests that reached the other origin: 0",
        "later calls, median of 200",
    ] {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
    for folder in [&home, &temporary] {
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "the demo left something behind");
    }
}

#[tokio::test]
async fn a_reader_that_goes_away_ends_the_command_quietly() {
    let home = tempfile::tempdir().unwrap();
    let mut command = openact(home.path());
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    command.args(["completions", "bash"]).stdout(writer).stderr(Stdio::piped());
    let output = tokio::task::spawn_blocking(move || command.spawn().unwrap().wait_with_output().unwrap())
        .await
        .unwrap();
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_full_disk_is_no_success() {
    let home = tempfile::tempdir().unwrap();
    let mut command = openact(home.path());
    command.args(["completions", "bash"]).stderr(Stdio::piped());
    command.stdout(std::fs::File::options().write(true).open("/dev/full").unwrap());
    let output = tokio::task::spawn_blocking(move || command.spawn().unwrap().wait_with_output().unwrap())
        .await
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("standard output"), "{}", stderr(&output));
}

#[cfg(unix)]
#[tokio::test]
async fn an_interrupted_run_exits_with_130() {
    let upstream = Upstream::start(|_| Answer::Held("{}".into())).await;
    let home = tempfile::tempdir().unwrap();
    let file = actions_file(home.path(), &upstream.url(), &["get"]);
    let mut command = openact(home.path());
    command.args(["run", "get", "--config", &file]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    upstream.wait_for_held(1).await;
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let output = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await.unwrap();
    assert_fails(TOKEN, &output, 130, &["interrupted"]);
}

#[tokio::test]
async fn rust_log_does_not_let_other_crates_speak() {
    let upstream = Upstream::json("{}").await;
    let home = tempfile::tempdir().unwrap();
    let file = seed_file(home.path(), &upstream.url());
    let mut command = openact(home.path());
    command.args(["run", "http/get-user", "--config", &file, "--log-format", "json"]);
    command.env("RUST_LOG", "trace").env("GITHUB_TOKEN", TOKEN);
    let output = finished(command).await;
    assert_succeeds(&output);
    assert!(stderr(&output).contains("http.send"), "nothing was logged: {}", stderr(&output));
    for line in stderr(&output).lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert!(line["target"].as_str().unwrap().starts_with("openact"), "{line}");
    }
    assert!(!stderr(&output).contains(TOKEN));
}

#[tokio::test]
async fn completions_know_the_commands() {
    let home = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let output = run(home.path(), &["completions", shell]).await;
        assert_succeeds(&output);
        let script = stdout(&output);
        for word in ["execute", "--dry-run", "inspect"] {
            assert!(script.contains(word.trim_start_matches("--")), "{shell} lacks {word}");
        }
    }
    let output = run(home.path(), &["completions", "tcsh"]).await;
    assert_fails(TOKEN, &output, 2, &["tcsh"]);
    let help = run(home.path(), &["completions", "--help"]).await;
    assert!(stdout(&help).contains(".config/fish/completions"), "{help:?}");
}

#[tokio::test]
async fn a_command_that_only_reads_makes_no_database() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("typo.db");
    let url = format!("sqlite://{}", file.display());
    for args in [
        ["list", "actions"].as_slice(),
        &["audit", "verify"],
        &["export"],
        &["show", "http/x"],
        &["backup", "copy.db"],
        &["prune"],
        &["secret", "list"],
    ] {
        let output = run(home.path(), &[args, &["--db", &url]].concat()).await;
        assert_fails(TOKEN, &output, 4, &["there is no database at", "typo.db", "--db"]);
        assert!(!file.exists(), "{args:?}");
    }
}

/// Each says what is wrong with what was typed, with the code of its class.
#[test]
fn a_mistyped_name_is_told_with_what_may_have_been_meant() {
    let home = Home::new();
    home.write("c.json", &crate::import::file("http://127.0.0.1:9", &[("get", "/")]));
    home.json(&["import", "c.json"]);
    home.write("lost.json", &json!({"connectors": {"http": {"actions": {"x": {"connection": "d"}}}}}));
    home.write("plain.yaml", &json!({}));
    home.write("two.json", &crate::import::file("http://127.0.0.1:9", &[("get", "/")]));
    let missing = "there is no file 'nope.yaml'";
    for (args, code, parts) in [
        (&["import", "nope.yaml"][..], 4, &["error[not_found]", missing][..]),
        (&["import", "nope"], 4, &["there is no file 'nope'"]),
        (&["run", "http/get", "--config", "nope.yaml"], 4, &["'nope.yaml'"]),
        (&["import", "nope.yaml.age"], 4, &["failed to read 'nope.yaml.age'"]),
        (&["run", "http/get", "--input", "@nope.json"], 4, &["nope.json"]),
        (&["secret", "set", "s", "--from-file", "nope"], 4, &["nope"]),
        (&["connector", "install", "nope.wasm"], 4, &["nope.wasm"]),
        (&["restore", "nope.db"], 4, &["there is no file nope.db"]),
        (&["sync", "nodir"], 4, &["there is no file or folder 'nodir'"]),
        (&["sync", "--config", "nodir"], 4, &["there is no file or folder 'nodir'"]),
        (&["sync", "c.json", "./c.json"], 3, &["the file './c.json' is named twice"]),
        (&["sync", ".", "c.json"], 3, &["is named twice"]),
        (
            &["import", "c.json", "two.json"],
            3,
            &["connection 'http/c' of two.json is in c.json too", "\n  also: action 'http/get'"],
        ),
        (&["connector", "remove", "htp"], 4, &["there is no connector 'htp'"]),
        (&["list", "actions", "--connector", "htp"], 4, &["did you mean 'http'?"]),
        (
            &["list", "actions", "--connection", "d"],
            4,
            &["there is no connection 'd'", "did you mean 'http/c'?"],
        ),
        (&["show", "http/d"], 4, &["there is no connection 'http/d'", "did you mean 'http/c'?"]),
        (&["import", "lost.json"], 3, &["uses connection 'd'", "did you mean 'c'?"]),
        (&["import", "plain.yaml", "--identity", "key.txt"], 3, &["--identity opens an encrypted export"]),
    ] {
        assert_fails(TOKEN, &home.output(args), code, parts);
    }
    let output = home.output(&["list", "runs", "--format", "table"]);
    assert_eq!(
        (stdout(&output), stderr(&output)),
        ("".into(), "there are no runs; make one with: openact run ACTION\n".into())
    );
    assert_eq!(stderr(&home.output(&["list", "runs"])), "", "a script needs no advice");
}

#[tokio::test]
async fn an_action_that_only_ever_describes_itself_reaches_nobody() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (seen, counted) =
        (std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0)), std::sync::atomic::Ordering::SeqCst);
    let counting = seen.clone();
    let server = tokio::spawn(async move {
        while listener.accept().await.is_ok() {
            counting.fetch_add(1, counted);
        }
    });
    let home = Home::new();
    let connection =
        json!({"base_url": url, "auth": {"type": "bearer", "token": TOKEN}, "retry": {"max_attempts": 3}});
    let dry = json!({"connection": "c", "method": "POST", "path": "/x", "body": {"a": 1}, "limits": {"dry_run": true}});
    let file = |dry: &Value| json!({"connectors": {"http": {"connections": {"c": connection}, "actions": {"a": dry}}}});
    home.write("dry.json", &file(&dry));
    let mut wet = dry.clone();
    wet["limits"]["dry_run"] = json!(false);
    home.write("wet.json", &file(&wet));
    let output = finished(home.command(&["run", "http/a", "--config", "dry.json", "--show-run"])).await;
    assert_succeeds(&output);
    let said = json_of(&output);
    assert_eq!((&said["dry_run"], &said["request"]["method"]), (&json!(true), &json!("POST")));
    assert_eq!(
        (&said["request"]["url"], &said["request"]["body"]),
        (&json!(format!("{url}/x")), &json!({"a": 1}))
    );
    assert!(stderr(&output).contains(r#""dry_run":true"#), "{}", stderr(&output));
    assert!(!format!("{output:?}").contains(TOKEN));
    let output = finished(home.command(&["import", "dry.json"])).await;
    assert_succeeds(&output);
    assert_succeeds(&finished(home.command(&["run", "http/a"])).await);
    let listed = finished(home.command(&["list", "runs", "--format", "raw"])).await;
    assert!(stdout(&listed).contains("\tdry run\t"), "{}", stdout(&listed));
    assert_eq!(seen.load(counted), 0, "somebody was dialled");
    // What is counted is what would have come: without the limit it does.
    let output = finished(home.command(&["run", "http/a", "--config", "wet.json", "--timeout", "2s"])).await;
    assert_ne!(output.status.code(), Some(0));
    assert!(seen.load(counted) > 0);
    server.abort();
}
