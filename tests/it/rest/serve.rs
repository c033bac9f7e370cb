//! `openact serve`: what it says, what it refuses, how it ends.

use std::{
    io::{BufRead, BufReader, Read},
    net::TcpListener,
    path::Path,
    process::{Child, Command, Output, Stdio},
};

use serde_json::Value;
use support::command::{openact, stderr};

/// A server that runs; it is killed with this value.
pub(crate) struct Server {
    child: Child,
    pub(crate) url: String,
    said: Vec<String>,
    stderr: BufReader<std::process::ChildStderr>,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// Starts it on a free port and reads what it says until a line begins with `until`.
    pub(crate) fn start(command: &mut Command, until: &str) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let mut server = Self { child, url: String::new(), said: Vec::new(), stderr };
        server.reads(until);
        let listening = server.said.iter().find_map(|line| line.strip_prefix("listening on "));
        server.url = listening.unwrap().split(' ').next().unwrap().to_owned();
        server
    }

    fn reads(&mut self, until: &str) {
        loop {
            let mut line = String::new();
            assert!(self.stderr.read_line(&mut line).unwrap() > 0, "it ended: {:?}", self.said);
            self.said.push(line.trim_end().to_owned());
            if line.starts_with(until) {
                return;
            }
        }
    }

    fn get(&self, path: &str) -> (u16, Value) {
        self.get_with(path, &[])
    }

    fn get_with(&self, path: &str, options: &[&str]) -> (u16, Value) {
        let url = format!("{}{path}", self.url);
        let mut curl = Command::new("curl");
        let output = curl.args(["-sS", "-w", "\n%{http_code}", &url]).args(options).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let (body, status) = text.rsplit_once('\n').unwrap();
        (status.parse().unwrap(), serde_json::from_str(body).unwrap_or_default())
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end; its exit code and what else it said.
    pub(crate) fn terminate(mut self) -> (Option<i32>, String) {
        assert!(Command::new("kill").arg(self.child.id().to_string()).status().unwrap().success());
        let mut rest = String::new();
        self.stderr.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap().code(), rest)
    }
}

pub(crate) fn serve(home: &Path) -> Command {
    let mut command = openact(home);
    command.args(["serve", "--addr", "127.0.0.1:0"]);
    command
}

fn ends(command: &mut Command) -> Output {
    command.output().unwrap()
}

#[test]
fn it_says_where_it_listens_and_what_it_refuses_and_ends_in_order() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(&mut serve(home.path()), "ready");
    assert!(server.said.iter().any(|line| line.contains("refused: private addresses")), "{:?}", server.said);
    let (status, ready) = server.get("/ready");
    assert_eq!((status, &ready["data"]["ready"]), (200, &true.into()));
    let (code, rest) = server.terminate();
    assert_eq!((code, rest.as_str()), (Some(0), ""));
}

#[test]
fn what_cannot_work_is_refused_at_the_start() {
    let home = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = ends(openact(home.path()).args(["serve", "--addr", &address]));
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert!(stderr(&output).contains(&address) && stderr(&output).contains("--addr"), "{}", stderr(&output));
    let wrong = home.path().join("wrong.yaml");
    std::fs::write(&wrong, "connectors:\n  http:\n    conections: {}\n").unwrap();
    let output = ends(serve(home.path()).arg("--config").arg(&wrong));
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert!(stderr(&output).contains("wrong.yaml:3"), "{}", stderr(&output));
    let output = ends(openact(home.path()).args(["serve", "--addr", "0.0.0.0:0"]));
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert!(stderr(&output).contains("openact token create"), "{}", stderr(&output));
    let output = ends(serve(home.path()).args(["--cors-origin", "app.example"]));
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    let output = ends(serve(home.path()).args(["--allow", "http"]));
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
}

#[test]
fn a_key_that_is_missing_is_told_at_the_start() {
    let home = tempfile::tempdir().unwrap();
    let mut set = openact(home.path());
    set.args(["secret", "set", "token", "--from-env", "VALUE"]).env("VALUE", "canary");
    assert!(ends(&mut set).status.success());
    std::fs::remove_file(home.path().join("config/master.key")).unwrap();
    let output = ends(&mut serve(home.path()));
    assert_eq!(output.status.code(), Some(10), "{}", stderr(&output));
    assert!(stderr(&output).contains("master key"), "{}", stderr(&output));
}

#[test]
fn it_starts_while_the_store_is_down_and_recovers() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("mount");
    let url = format!("sqlite://{}", folder.join("openact.db").display());
    let mut server = Server::start(serve(home.path()).args(["--db", &url]), "not ready");
    let (status, ready) = server.get("/ready");
    assert_eq!((status, &ready["error"]["code"]), (503, &"STORE_UNAVAILABLE".into()));
    assert_eq!(server.get("/health").0, 200);
    let (status, refused) = server.get("/api/v1/actions");
    assert_eq!((status, &refused["error"]["code"]), (503, &"STORE_UNAVAILABLE".into()), "{refused}");
    // Whether there are tokens is not known, so nobody is told where the store is.
    let said = format!("{ready} {refused}");
    assert!(said.contains("the log of the server says why") && !said.contains("mount"), "{said}");
    std::fs::create_dir(&folder).unwrap();
    server.reads("ready");
    assert_eq!(server.get("/ready").0, 200);
    assert_eq!(server.get("/api/v1/actions").0, 200);
    assert_eq!(server.terminate().0, Some(0));
}

/// A configuration with one action.
fn action(name: &str) -> String {
    format!(
        r#"{{"connectors": {{"http": {{"connections": {{"c": {{"base_url": "http://127.0.0.1:1"}}}}, "actions": {{"{name}": {{"connection": "c"}}}}}}}}}}"#
    )
}

/// Asks until it is so; the answer. That it never will be is the test's end.
fn until<T>(mut asked: impl FnMut() -> T, is_so: impl Fn(&T) -> bool) -> T {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        let answer = asked();
        if is_so(&answer) {
            return answer;
        }
        assert!(std::time::Instant::now() < deadline, "it does not come");
    }
}

#[test]
fn it_follows_its_files() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("c.json");
    std::fs::write(&file, action("one")).unwrap();
    let server = Server::start(serve(home.path()).arg("--config").arg(&file), "ready");
    assert_eq!(server.get("/api/v1/actions").1["data"]["actions"][0]["name"], "one");
    std::fs::write(&file, action("two")).unwrap();
    until(|| server.get("/api/v1/actions/http.two/schema").0, |status| *status == 200);
}

#[test]
fn ready_says_that_changed_files_were_refused_and_to_callers_why() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("secret-place.json");
    std::fs::write(&file, action("one")).unwrap();
    let server = Server::start(serve(home.path()).arg("--config").arg(&file), "ready");
    let status = |(_, ready): &(u16, Value)| ready["data"]["status"].as_str().unwrap_or_default().to_owned();
    assert_eq!(status(&server.get("/ready")), "ready");
    std::fs::write(&file, action("one").replace("actions", "acts")).unwrap();
    let (code, ready) = until(|| server.get("/ready"), |got| status(got) == "degraded");
    let check = &ready["data"]["checks"][2];
    assert_eq!(
        (code, &ready["data"]["ready"], &check["name"], &check["ok"]),
        (200, &true.into(), &"configuration".into(), &false.into())
    );
    // On this machine, without tokens, everybody is a caller.
    let why = check["message"].as_str().unwrap();
    assert!(why.contains("secret-place.json:1:") && why.contains("acts"), "{why}");
    assert_eq!(server.get("/api/v1/actions").1["data"]["actions"][0]["name"], "one");

    let made = openact(home.path()).args(["token", "create", "ci"]).output().unwrap();
    let made = String::from_utf8(made.stdout).unwrap();
    until(|| server.get("/api/v1/actions").0, |code| *code == 401);
    let (code, ready) = server.get("/ready");
    assert_eq!((code, status(&(code, ready.clone()))), (200, "degraded".to_owned()));
    assert!(!ready.to_string().contains("secret-place"), "{ready}");
    let token = format!("authorization: Bearer {}", made.trim());
    let (_, ready) = server.get_with("/ready", &["-H", &token]);
    assert_eq!(ready["data"]["checks"][2]["message"], why);

    std::fs::write(&file, action("one")).unwrap();
    until(|| server.get("/ready"), |got| status(got) == "ready");
}
