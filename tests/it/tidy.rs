//! What the sources have to look like, so that they stay readable: sizes, names, headers, and a host test for every
//! guest.
//!
//! Invariant: every rule reads files only; which files there are is asked of the folders, never listed here.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

use std::{
    fs,
    path::{Path, PathBuf},
};

const FILE_LINES_MAX: usize = 800;
/// In shipped code; a test may tell a longer story.
const FUNCTION_LINES_MAX: usize = 70;
/// Names that say nothing.
const EMPTY_NAMES: &[&str] = &["utils", "util", "helpers", "helper", "common", "misc", "imp", "manager"];

struct Source {
    /// From the repository's root, with `/`.
    name: String,
    text: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    for folder in ["runtime", "connectors", "tests"] {
        collect(&root().join(folder), folder, &mut found);
    }
    assert!(found.len() > 50, "the sources were not found");
    found
}

fn collect(folder: &Path, name: &str, found: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let file = path.file_name().unwrap().to_string_lossy().into_owned();
        let name = format!("{name}/{file}");
        if path.is_dir() {
            if file != "target" && !file.starts_with('.') {
                collect(&path, &name, found);
            }
        } else if file.ends_with(".rs") {
            found.push(Source { name, text: fs::read_to_string(&path).unwrap() });
        }
    }
}

fn no_violations(found: Vec<String>) {
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn c10_no_secret_is_compared_but_in_constant_time() {
    let compares = |line: &str| {
        let mut terms = line.split("&&").flat_map(|part| part.split("||"));
        terms.any(|term| term.contains("expose_secret()") && (term.contains(" == ") || term.contains(" != ")))
    };
    let mut found = Vec::new();
    for source in sources().iter().filter(|source| source.name.starts_with("runtime/")) {
        let shipped = source.text.split("#[cfg(test)]").next().unwrap();
        let is_test = source.name.contains("/tests") || source.name.ends_with("testing.rs");
        let lines = shipped.lines().enumerate().filter(|(_, line)| !is_test && compares(line));
        found.extend(lines.map(|(at, _)| format!("{}:{}: compare with secret::same", source.name, at + 1)));
    }
    no_violations(found);
}

#[test]
fn no_file_is_too_long() {
    let lines = |source: &Source| source.text.lines().count();
    let long = sources().into_iter().filter(|source| lines(source) > FILE_LINES_MAX);
    no_violations(
        long.map(|source| format!("{} has {} lines; at most {FILE_LINES_MAX}", source.name, lines(&source)))
            .collect(),
    );
}

#[test]
fn no_function_is_too_long() {
    let mut found = Vec::new();
    for source in sources().iter().filter(|source| source.name.contains("/src/")) {
        for (line, name, length) in functions(&source.text) {
            if length > FUNCTION_LINES_MAX {
                found.push(format!(
                    "{}:{line} {name} has {length} lines; at most {FUNCTION_LINES_MAX}",
                    source.name
                ));
            }
        }
    }
    no_violations(found);
}

/// Line, name and length of every function. rustfmt puts the closing brace under the line that opens it.
fn functions(text: &str) -> Vec<(usize, &str, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let Some((before, after)) = code.split_once("fn ") else { continue };
        let qualifiers = ["pub", "pub(crate)", "pub(super)", "const", "async", "unsafe"];
        if !before.split_whitespace().all(|word| qualifiers.contains(&word)) || code.ends_with(['}', ';']) {
            continue;
        }
        let end = format!("{}}}", " ".repeat(line.len() - code.len()));
        let length =
            lines.iter().skip(index).position(|line| *line == end).map_or(0, |position| position + 1);
        let name = after.split(['(', '<']).next().unwrap_or(after);
        found.push((index + 1, name, length));
    }
    found
}

#[test]
fn functions_are_measured() {
    let text = "impl X {\n    pub(crate) async fn long<T>(\n        a: T,\n    ) {\n        if a {\n        }\n    }\n}\nfn f() {}\n";
    assert_eq!(functions(text), [(2, "long", 6)]);
}

#[test]
fn every_file_and_folder_is_named_after_a_thing() {
    let mut found = Vec::new();
    for source in sources() {
        let parts: Vec<&str> = source.name.trim_end_matches(".rs").split('/').collect();
        if parts.iter().any(|part| EMPTY_NAMES.contains(part)) {
            found.push(source.name.clone());
        }
    }
    no_violations(found);
}

#[test]
fn every_module_opens_with_why_it_exists() {
    // The README is the documentation of `openact`, whose map follows it.
    let opens = |text: &str| text.starts_with("//!") || text.starts_with("#![doc = include_str!(");
    let silent = sources().into_iter().filter(|source| !opens(&source.text));
    no_violations(silent.map(|source| format!("{} does not open with //!", source.name)).collect());
}

#[test]
fn every_guest_has_a_host_test_that_names_it() {
    let guests = fs::read_dir(root().join("tests/guests")).unwrap();
    let guests = guests.map(|entry| entry.unwrap().path()).filter(|path| path.join("Cargo.toml").is_file());
    let tests: Vec<Source> =
        sources().into_iter().filter(|source| source.name.starts_with("tests/it/")).collect();
    let mut found = Vec::new();
    for guest in guests {
        let name = format!("\"{}\"", guest.file_name().unwrap().to_string_lossy());
        if !tests.iter().any(|test| test.text.contains(&name)) {
            found.push(format!("no test in tests/it says {name}"));
        }
    }
    no_violations(found);
}

#[test]
fn every_promise_of_the_readme_has_its_tests() {
    let readme = fs::read_to_string(root().join("tests/README.md")).unwrap();
    let sources = sources();
    let mut rows = 0;
    let mut found = Vec::new();
    for row in readme.lines().filter_map(|line| line.strip_prefix("| ")) {
        let mut cells = row.split(" | ");
        let (Some(id), Some(_), Some(files)) = (cells.next(), cells.next(), cells.next()) else { continue };
        let numbered = id.len() > 1 && id[1..].bytes().all(|digit| digit.is_ascii_digit());
        if !numbered {
            continue;
        }
        rows += 1;
        let named = format!("fn {}_", id.to_lowercase());
        // Between backticks: every second piece.
        for file in files.split('`').skip(1).step_by(2) {
            if !sources.iter().any(|source| source.name == file && source.text.contains(&named)) {
                found.push(format!("{file} has no test named {}_…", id.to_lowercase()));
            }
        }
    }
    assert!(rows > 10, "the table was not found");
    no_violations(found);
}

/// `make guards` takes minutes; that its list still fits takes none.
#[test]
fn every_guard_is_where_it_can_be_removed() {
    let read = |file: &str| fs::read_to_string(root().join(file)).unwrap();
    let guards: serde_json::Value = serde_json::from_str(&read("tests/guards/guards.json")).unwrap();
    let (guards, readme) = (guards.as_array().unwrap(), read("tests/README.md"));
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let mut found = Vec::new();
    for guard in guards {
        let tests: Vec<_> = guard["tests"].as_array().unwrap().iter().map(text).collect();
        let row =
            format!("| {} | {} | `{}` |", text(&guard["guard"]), text(&guard["id"]), tests.join("`, `"));
        if !readme.lines().any(|line| line == row) {
            found.push(format!("tests/README.md lacks the row {row}"));
        }
        for edit in guard["edits"].as_array().unwrap() {
            let (file, find) = (text(&edit["file"]), text(&edit["find"]));
            match read(&file).matches(&find).count() {
                1 => {}
                times => found.push(format!(
                    "{file} has {find:?} {times} times, which tests/guards/guards.json looks for"
                )),
            }
        }
    }
    let ids = [("E", 14), ("C", 10), ("S", 10), ("M", 8), ("A", 5)];
    let ids = ids.into_iter().flat_map(|(kind, last)| (1..=last).map(move |n| format!("{kind}{n}")));
    for id in ids.filter(|id| guards.iter().all(|guard| guard["id"] != id.as_str())) {
        found.push(format!("tests/guards/guards.json has no guard of {id}"));
    }
    no_violations(found);
}
