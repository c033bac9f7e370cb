//! The arrows between the crates, proved from `cargo metadata`: which crate may import which, and what each must never
//! reach. The rules are those of ARCHITECTURE.md.
//!
//! Invariant: [`violations`] is a pure function of the metadata, so that a test can turn an arrow and see it found.
#![expect(clippy::expect_used, reason = "a test that cannot go on should stop where it is")]

use std::{
    collections::{BTreeSet, HashMap},
    path::Path,
    process::Command,
};

use serde_json::{Value, json};

/// A crate of the host workspace.
struct Rule {
    name: &'static str,
    /// Crates of this workspace it may import.
    may: &'static [&'static str],
    /// Crates it must not reach, not even through others.
    never: &'static [&'static str],
    /// Crates it must not import itself.
    never_itself: &'static [&'static str],
}

const RULES: &[Rule] = &[
    Rule {
        name: "openact-core",
        may: &[],
        never: &["tokio", "sqlx", "wasmtime", "axum", "clap", "reqwest", "hyper", "rustls", "tracing"],
        never_itself: &[],
    },
    Rule {
        name: "openact-config",
        may: &["openact-core"],
        never: &["tokio", "sqlx", "wasmtime", "axum", "clap", "reqwest"],
        never_itself: &[],
    },
    Rule {
        name: "openact-store",
        may: &["openact-core"],
        never: &["wasmtime", "axum", "clap", "reqwest"],
        never_itself: &[],
    },
    Rule {
        name: "openact-engine",
        may: &["openact-core"],
        never: &["sqlx", "axum", "clap"],
        never_itself: &[],
    },
    Rule {
        name: "openact-auth",
        may: &["openact-core"],
        never: &["sqlx", "wasmtime", "axum", "clap"],
        never_itself: &[],
    },
    Rule { name: "openact-bundled", may: &[], never: &["tokio", "wasmtime", "serde"], never_itself: &[] },
    Rule {
        name: "openact",
        may: &[
            "openact-core",
            "openact-config",
            "openact-store",
            "openact-engine",
            "openact-auth",
            "openact-bundled",
        ],
        never: &["axum", "clap"],
        never_itself: &["sqlx", "wasmtime", "reqwest"],
    },
    Rule {
        name: "openact-mcp",
        may: &["openact"],
        never: &["axum", "clap"],
        never_itself: &["sqlx", "wasmtime", "reqwest"],
    },
    Rule {
        name: "openact-server",
        may: &["openact", "openact-mcp"],
        never: &["clap"],
        never_itself: &["sqlx", "wasmtime", "reqwest", "rmcp"],
    },
    Rule {
        name: "openact-cli",
        may: &["openact", "openact-mcp", "openact-server"],
        never: &[],
        never_itself: &["sqlx", "wasmtime", "wasmtime-wasi", "reqwest"],
    },
];

/// May import everything; nothing imports it.
const TESTS: &str = "openact-tests";

/// Every arrow of the host workspace that points the wrong way.
fn violations(metadata: &Value) -> Vec<String> {
    let graph = Graph::of(metadata);
    let mut found = Vec::new();
    for name in graph.members() {
        if name == TESTS {
            continue;
        }
        let Some(rule) = RULES.iter().find(|rule| rule.name == name) else {
            found.push(format!("{name} has no rule in this file"));
            continue;
        };
        for import in graph.imports(name) {
            let own = graph.members().any(|member| member == import);
            if (own && !rule.may.contains(&import)) || rule.never_itself.contains(&import) {
                found.push(format!("{name} imports {import}"));
            }
        }
        let reached = graph.reached(name);
        found.extend(
            rule.never
                .iter()
                .filter(|never| reached.contains(*never))
                .map(|never| format!("{name} reaches {never}")),
        );
    }
    found
}

/// Every guest that imports something of this repository other than the SDK. `metadata` is that of a guest workspace.
fn guest_violations(metadata: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for package in array(metadata, "packages") {
        for import in array(package, "dependencies") {
            let allowed =
                text(import, "name") == "openact-connector" && text(package, "name") != "openact-connector";
            if import["path"].is_string() && !allowed {
                found.push(format!("{} imports {}", text(package, "name"), text(import, "name")));
            }
        }
    }
    found
}

/// What `cargo metadata` says, by name.
struct Graph<'a> {
    metadata: &'a Value,
    names: HashMap<&'a str, &'a str>,
    /// What a package is built with, for this platform and these features; tests excluded.
    built_with: HashMap<&'a str, Vec<&'a str>>,
}

impl<'a> Graph<'a> {
    fn of(metadata: &'a Value) -> Self {
        let names = array(metadata, "packages")
            .iter()
            .map(|package| (text(package, "id"), text(package, "name")))
            .collect();
        let built_with = array(&metadata["resolve"], "nodes")
            .iter()
            .map(|node| {
                let shipped = |dep: &&Value| array(dep, "dep_kinds").iter().any(|kind| kind["kind"] != "dev");
                (
                    text(node, "id"),
                    array(node, "deps").iter().filter(shipped).map(|dep| text(dep, "pkg")).collect(),
                )
            })
            .collect();
        Self { metadata, names, built_with }
    }

    fn id(&self, name: &str) -> &'a str {
        let own = |id: &&str| self.names.get(id) == Some(&name);
        array(self.metadata, "workspace_members")
            .iter()
            .filter_map(Value::as_str)
            .find(own)
            .unwrap_or_default()
    }

    fn members(&self) -> impl Iterator<Item = &'a str> {
        array(self.metadata, "workspace_members")
            .iter()
            .filter_map(|id| self.names.get(id.as_str()?).copied())
    }

    /// What the manifest of a crate names, for tests and build scripts too, optional or not.
    fn imports(&self, name: &str) -> Vec<&'a str> {
        let id = self.id(name);
        let packages = array(self.metadata, "packages").iter().filter(|package| text(package, "id") == id);
        packages
            .flat_map(|package| array(package, "dependencies"))
            .map(|import| text(import, "name"))
            .collect()
    }

    fn reached(&self, name: &str) -> BTreeSet<&'a str> {
        let mut seen = BTreeSet::new();
        let mut open = vec![self.id(name)];
        while let Some(id) = open.pop() {
            for &next in self.built_with.get(id).into_iter().flatten() {
                if seen.insert(next) {
                    open.push(next);
                }
            }
        }
        seen.iter().filter_map(|id| self.names.get(id).copied()).collect()
    }
}

fn array<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// Asks cargo, for this platform alone: what other platforms need may not have been downloaded.
fn metadata(workspace: &str, arguments: &[&str]) -> Value {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(workspace).join("Cargo.toml");
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["metadata", "--format-version", "1", "--offline", "--locked", "--manifest-path"])
        .arg(manifest)
        .args(arguments)
        .output()
        .expect("cargo starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo prints JSON")
}

fn host() -> Value {
    metadata(".", &["--filter-platform", "host-tuple"])
}

#[test]
fn every_arrow_points_the_right_way() {
    let metadata = host();
    assert_eq!(violations(&metadata), Vec::<String>::new());
    // Each rule is about a crate that is there, so that a renamed crate does not go free.
    let graph = Graph::of(&metadata);
    for rule in RULES {
        assert!(graph.members().any(|member| member == rule.name), "{} is gone", rule.name);
    }
    // The forbidden are known by their right names: someone else reaches each of the great ones.
    for (from, to) in [
        ("openact-engine", "wasmtime"),
        ("openact-store", "sqlx"),
        ("openact-cli", "clap"),
        ("openact-engine", "reqwest"),
    ] {
        assert!(graph.reached(from).contains(to), "{from} was expected to reach {to}");
    }
}

#[test]
fn guests_import_the_sdk_and_nothing_else_of_this_repository() {
    for workspace in ["connectors", "tests/guests"] {
        let metadata = metadata(workspace, &["--no-deps"]);
        assert_eq!(guest_violations(&metadata), Vec::<String>::new(), "{workspace}");
        assert!(array(&metadata, "packages").len() > 1, "{workspace}");
    }
}

/// Adds an arrow, in the manifest and in what it resolves to, as an edit of a Cargo.toml would.
fn turned(mut metadata: Value, from: &str, to: &str) -> Value {
    let id_of = |name: &str| {
        let package = array(&metadata, "packages").iter().find(|package| text(package, "name") == name);
        text(package.expect("the crate is in the graph"), "id").to_owned()
    };
    let (from, to_id) = (id_of(from), id_of(to));
    let mut add = |list: &str, key: &str, new: Value| {
        let mut items = metadata.pointer_mut(list).and_then(Value::as_array_mut).into_iter().flatten();
        let item = items.find(|item| item["id"] == from.as_str()).expect("the crate is in the graph");
        item.get_mut(key).and_then(Value::as_array_mut).expect("a list").push(new);
    };
    add("/packages", "dependencies", json!({"name": to, "kind": null}));
    let dep = json!({"name": to, "pkg": to_id, "dep_kinds": [{"kind": null, "target": null}]});
    add("/resolve/nodes", "deps", dep);
    metadata
}

#[test]
fn a_turned_arrow_is_found() {
    let metadata = host();
    for (from, to, finding) in [
        ("openact-engine", "sqlx", "openact-engine reaches sqlx"),
        ("openact-engine", "openact-store", "openact-engine imports openact-store"),
        ("openact-core", "tokio", "openact-core reaches tokio"),
        ("openact-store", "openact-config", "openact-store imports openact-config"),
        ("openact-config", "openact-engine", "openact-config imports openact-engine"),
        ("openact-auth", "wasmtime", "openact-auth reaches wasmtime"),
        ("openact", "clap", "openact reaches clap"),
        ("openact", "openact-cli", "openact imports openact-cli"),
        ("openact-cli", "sqlx", "openact-cli imports sqlx"),
        ("openact-cli", "openact-engine", "openact-cli imports openact-engine"),
        ("openact-bundled", "openact-core", "openact-bundled imports openact-core"),
        ("openact-core", TESTS, "openact-core imports openact-tests"),
        // Through a crate of somebody else's: nothing in openact-core's own manifest tells.
        ("jsonschema", "reqwest", "openact-core reaches reqwest"),
    ] {
        let found = violations(&turned(metadata.clone(), from, to));
        assert!(found.iter().any(|violation| violation == finding), "{from} -> {to}: {found:?}");
    }
}

#[test]
fn a_guest_that_reaches_into_the_runtime_is_found() {
    let mut metadata = metadata("connectors", &["--no-deps"]);
    for package in metadata["packages"].as_array_mut().expect("a list") {
        let imports = package["dependencies"].as_array_mut().expect("a list");
        imports.push(json!({"name": "openact-core", "path": "/somewhere/runtime/core"}));
    }
    assert!(guest_violations(&metadata).contains(&"openact-http imports openact-core".to_owned()));
    assert!(guest_violations(&metadata).contains(&"openact-connector imports openact-core".to_owned()));
}

#[test]
fn a_crate_without_a_rule_is_found() {
    let metadata = json!({
        "packages": [{"id": "new 1", "name": "openact-new", "dependencies": []}],
        "workspace_members": ["new 1"], "resolve": {"nodes": []},
    });
    assert_eq!(violations(&metadata), ["openact-new has no rule in this file"]);
}
