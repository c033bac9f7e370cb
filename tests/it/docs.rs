//! What `docs/` shows is so: every file in it is read, every command runs, every output is what comes out.
//!
//! A page is read as a person reads it. A fenced block after a line `` `NAME`: `` is that file; `sh` is run, in a folder with
//! the files of its section; a block after commands is what they print, where `…` stands for anything. Invariant: nothing is
//! replaced but the address of the API, and the one that a server of the page listens on.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use support::{
    command::{openact, openact_bin, stderr, stdout},
    upstream::{Answer, Received, Upstream},
};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs")
}

/// A fenced block: its language, the file it is, its text.
struct Block<'a> {
    language: &'a str,
    file: Option<&'a str>,
    text: &'a str,
}

fn sections(page: &str) -> impl Iterator<Item = (&str, Vec<Block<'_>>)> {
    page.split("\n## ").skip(1).map(|section| {
        let (title, mut rest) = section.split_once('\n').unwrap();
        let mut blocks = Vec::new();
        while let Some((before, after)) = rest.split_once("\n```") {
            let (language, after) = after.split_once('\n').unwrap();
            let (text, after) = after.split_once("```").unwrap();
            let above = before.trim_end().rsplit('\n').next().unwrap_or_default();
            let file = above.strip_prefix('`').and_then(|name| name.strip_suffix("`:"));
            blocks.push(Block { language, file, text });
            rest = after;
        }
        (title, blocks)
    })
}

/// Whether `text` is `pattern`, in which `…` stands for anything.
fn fits(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.trim().split('…');
    let Some(mut rest) = parts.next().and_then(|first| text.trim().strip_prefix(first)) else { return false };
    let mut last = None;
    for part in parts {
        let Some((_, after)) = rest.split_once(part) else { return false };
        (rest, last) = (after, Some(part));
    }
    rest.is_empty() || last.is_some_and(|part| part.is_empty() || rest.ends_with(part))
}

fn answer(request: &Received, busy: &std::sync::atomic::AtomicU32) -> Answer {
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    match (path, query) {
        ("/token", _) => {
            Answer::Json(r#"{"access_token":"t","token_type":"Bearer","expires_in":3600}"#.into())
        }
        ("/items", "page=2") => Answer::Json(r#"{"items":[{"id":3}]}"#.into()),
        ("/items", "" | "page=1") => Answer::Json(r#"{"items":[{"id":1},{"id":2}]}"#.into()),
        ("/items", _) => Answer::Json(r#"{"items":[]}"#.into()),
        ("/busy", _) if busy.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0 => {
            Answer::full(503, &[("retry-after", "0")], "{}")
        }
        _ => match path.strip_prefix("/users/") {
            Some(login) => Answer::Json(format!(r#"{{"login":"{login}"}}"#)),
            None => Answer::Json(r#"{"ok":true}"#.into()),
        },
    }
}

/// One that nobody listens on, or did not when it was looked for.
fn free_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

/// Runs the commands of one section, and compares what they print.
fn run(page: &str, title: &str, blocks: &[Block<'_>], api: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = format!("{}:{}", openact_bin().parent().unwrap().display(), std::env::var("PATH").unwrap());
    let mut printed = None;
    let served = free_address();
    for block in blocks {
        let text = block.text.replace("https://api.example.com", api).replace("127.0.0.1:8080", &served);
        if let Some(name) = block.file {
            let file = folder.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
            continue;
        }
        if block.language == "sh" {
            let mut command = Command::new("sh");
            for (name, value) in openact(&folder.path().join("home")).get_envs() {
                match value {
                    Some(value) => command.env(name, value),
                    None => command.env_remove(name),
                };
            }
            command.args(["-euc", &text]).current_dir(&folder).env("PATH", &path).env("API_TOKEN", "t");
            let output = command.output().unwrap();
            assert!(output.status.success(), "{page}, {title}: {}{}", stdout(&output), stderr(&output));
            printed = Some(stdout(&output).to_owned());
        } else if let Some(printed) = printed.take() {
            // What the last command printed, unless the lines before it are shown too.
            let shown = block.text.trim().lines().count();
            let last: Vec<&str> = printed.trim().lines().rev().take(shown).collect();
            let last: Vec<&str> = last.into_iter().rev().collect();
            assert!(fits(&text, &last.join("\n")), "{page}, {title}: {printed}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_recipe_does_what_it_says() {
    let mut ran = 0;
    for entry in fs::read_dir(folder()).unwrap() {
        let file = entry.unwrap().path();
        // The pages of connectors, whose commands would need their servers.
        if file.is_dir() {
            continue;
        }
        let page = fs::read_to_string(&file).unwrap();
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        for (title, blocks) in sections(&page) {
            if !blocks.iter().any(|block| block.language == "sh" && block.text.contains("openact ")) {
                continue;
            }
            let busy = std::sync::atomic::AtomicU32::new(0);
            let upstream = Upstream::start(move |request| answer(request, &busy)).await;
            let api = upstream.url();
            tokio::task::block_in_place(|| run(&name, title, &blocks, &api));
            ran += 1;
        }
    }
    assert!(ran >= 10, "{ran} recipes");
}

#[test]
fn a_pattern_fits_what_it_should() {
    for (pattern, text, does) in [
        ("{\"a\":1}", "{\"a\":1}\n", true),
        ("…\"a\"…", "x\"a\"y", true),
        ("…\"a\"…", "x\"b\"y", false),
        ("a…c", "abc", true),
        ("a…c", "abcd", false),
        ("a", "ab", false),
    ] {
        assert_eq!(fits(pattern, text), does, "{pattern} {text}");
    }
}
