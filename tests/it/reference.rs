//! `docs/configuration.md` is what `config/schema/openact.schema.json` says, for people.
//!
//! Run with `UPDATE=1`, the test writes the page. Invariant: a field that is in the schema is in the page, or in the list of
//! earlier spellings.

use std::{collections::VecDeque, fmt::Write, fs, path::Path};

use serde_json::{Map, Value};

const HEAD: &str = "# Configuration reference

Every field of a configuration file, made from the JSON Schema that editors use (`config/schema/openact.schema.json`, or
`openact schema` for the connectors of your installation). By topic, with more words, it is in
[config/README.md](../config/README.md). A **secret** is text, `{$secret: name}`, `{$env: VARIABLE}`, `{$file: path}` or
`vault://mount/path#/key`. Every text may have `${VARIABLE}` and `${VARIABLE:default}` in it.
";

/// What may stand in place of any value; HEAD says it once.
const EVERYWHERE: [&str; 4] = ["secret", "variable", "null", "listed"];

struct Page<'a> {
    defs: &'a Map<String, Value>,
    text: String,
    /// Objects that are still to be described: the title, and what is in it.
    next: VecDeque<(String, &'a Map<String, Value>)>,
    seen: Vec<String>,
}

impl<'a> Page<'a> {
    /// What `node` refers to, if it does.
    fn target(&self, node: &'a Value) -> Option<(&'a str, &'a Value)> {
        let name = node["$ref"].as_str()?.strip_prefix("#/$defs/")?;
        Some((name, &self.defs[name]))
    }

    /// The fields of an object, wherever in `node` they stand.
    fn fields(&self, node: &'a Value) -> Option<&'a Map<String, Value>> {
        let own = node["properties"].as_object();
        let referred = || {
            let (name, target) = self.target(node)?;
            if EVERYWHERE.contains(&name) { None } else { self.fields(target) }
        };
        let either = || node["anyOf"].as_array()?.iter().find_map(|one| self.fields(one));
        own.or_else(referred).or_else(either)
    }

    /// The type of a field in words.
    fn kind(&self, node: &'a Value) -> String {
        if let Some((name, target)) = self.target(node) {
            return match name {
                "secret" => "secret".into(),
                name if EVERYWHERE.contains(&name) => String::new(),
                _ => self.kind(target),
            };
        }
        let words = |list: &[Value]| {
            let words: Vec<_> = list.iter().map(|value| value.to_string().replace('"', "")).collect();
            words.join(", ")
        };
        let own = match (&node["enum"], &node["type"]) {
            (Value::Array(values), _) => format!("one of {}", words(values)),
            (_, Value::String(kind)) if kind == "array" => format!("list of {}", self.kind(&node["items"])),
            (_, Value::String(kind)) => kind.clone(),
            (_, Value::Array(kinds)) => words(kinds).replace(", null", "").replace(", ", " or "),
            _ => String::new(),
        };
        let mut kinds: Vec<String> = Vec::new();
        let others = ["anyOf", "oneOf"].iter().filter_map(|of| node[of].as_array()).flatten();
        for kind in std::iter::once(own).chain(others.map(|one| self.kind(one))) {
            if !kind.is_empty() && !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        kinds.join(" or ").replace("string", "text")
    }

    fn default(&self, node: &'a Value) -> Option<&'a Value> {
        let referred = || self.default(self.target(node)?.1);
        let either = || node["anyOf"].as_array()?.iter().find_map(|one| self.default(one));
        node.get("default").or_else(referred).or_else(either)
    }

    fn said(&self, node: &'a Value) -> String {
        let said = node["description"].as_str();
        let said = said.or_else(|| self.target(node)?.1["description"].as_str()).unwrap_or_default();
        let default = self.default(node).filter(|_| !said.contains("default") && !said.contains("Default"));
        let default = default.map(|value| format!(" (default: `{value}`)")).unwrap_or_default();
        format!("{said}{default}").replace('\n', " ").replace('|', "\\|").trim().to_owned()
    }

    /// A table of the fields that `wanted` lets through.
    fn table(&mut self, fields: &'a Map<String, Value>, wanted: impl Fn(&str) -> bool) {
        let is_old = |node: &Value| node["deprecated"] == true;
        let (old, new): (Vec<_>, Vec<_>) =
            fields.iter().filter(|(name, _)| wanted(name)).partition(|(_, node)| is_old(node));
        self.text.push_str("\n| field | type | what |\n|---|---|---|\n");
        for (name, node) in new {
            let (mut kind, said) = (self.kind(node), self.said(node));
            if let Some(inner) = self.fields(node).filter(|inner| !inner.is_empty()) {
                // The words it takes in place of an object are in its own table.
                let kinds: Vec<_> = kind.split(" or ").filter(|kind| !kind.starts_with("one of")).collect();
                kind = format!("[{}](#{name})", kinds.join(" or "));
                if !self.seen.contains(name) {
                    self.seen.push(name.clone());
                    self.next.push_back((name.clone(), inner));
                }
            }
            writeln!(
                self.text,
                "| `{name}` | {} | {said} |",
                if kind.is_empty() { "any JSON" } else { &kind }
            )
            .unwrap();
        }
        if !old.is_empty() {
            let names: Vec<_> = old.iter().map(|(name, _)| format!("`{name}`")).collect();
            writeln!(self.text, "\nEarlier spellings that are read too: {}.", names.join(", ")).unwrap();
        }
    }
}

/// The connectors beside `http`; each has a page in `docs/connectors`.
const PAGES: [&str; 5] = ["mcp", "mongodb", "mysql", "postgres", "redis"];

impl<'a> Page<'a> {
    /// What a connection and the actions of `kind` have beside what those of `http` have too.
    fn connector(&mut self, kind: &str, connection: &Map<String, Value>, action: &Map<String, Value>) {
        let own = self.defs[&format!("{kind}.connection")]["properties"].as_object().unwrap();
        writeln!(self.text, "\n## A connection of `{kind}`\n").unwrap();
        writeln!(
            self.text,
            "Beside the host's fields, which are those of `http`. More: [{kind}](connectors/{kind}.md)."
        )
        .unwrap();
        self.table(own, |name| !connection.contains_key(name));
        let prefix = format!("{kind}.action.");
        for (name, node) in self.defs {
            let operation = name.strip_prefix(&prefix).filter(|operation| !operation.contains('.'));
            let Some(operation) = operation else { continue };
            write!(self.text, "\n### `{operation}` of `{kind}`\n").unwrap();
            self.table(node["properties"].as_object().unwrap(), |name| !action.contains_key(name));
        }
        // Their parts are explained in the connector's page.
        self.next.clear();
    }
}

fn page(schema: &Value) -> String {
    let defs = schema["$defs"].as_object().unwrap();
    let mut page = Page { defs, text: HEAD.into(), next: VecDeque::new(), seen: Vec::new() };
    let (connection, action) = (&defs["http.connection"], &defs["http.action.request"]);
    let own = connection["properties"].as_object().unwrap();
    for (title, node) in [("A connection of `http`", connection), ("An action of `http`", action)] {
        write!(page.text, "\n## {title}\n").unwrap();
        page.table(node["properties"].as_object().unwrap(), |_| true);
        while let Some((name, fields)) = page.next.pop_front() {
            write!(page.text, "\n### {name}\n").unwrap();
            page.table(fields, |_| true);
        }
    }
    for kind in PAGES {
        page.connector(kind, own, action["properties"].as_object().unwrap());
    }
    page.text.push_str(
        "\n## Connector templates\n\nFields of their own, beside those of `http`, and their operations.\n",
    );
    for kind in schema["properties"]["connectors"]["properties"].as_object().unwrap().keys() {
        // Other names of a connector have nothing of their own.
        let Some(connection) = defs.get(&format!("{kind}.connection")) else { continue };
        if kind == "http" || PAGES.contains(&kind.as_str()) {
            continue;
        }
        let fields = connection["properties"].as_object().unwrap();
        write!(page.text, "\n### {kind}\n").unwrap();
        page.table(fields, |name| !own.contains_key(name) || matches!(name, "token" | "base_url" | "region"));
        let prefix = format!("{kind}.action.");
        let operations: Vec<_> = defs.keys().filter_map(|name| name.strip_prefix(&prefix)).collect();
        let operations: Vec<_> = operations
            .iter()
            .filter(|name| !name.ends_with(".flat"))
            .map(|name| format!("`{name}`"))
            .collect();
        writeln!(page.text, "\nOperations: {}.", operations.join(", ")).unwrap();
    }
    page.text
}

#[test]
fn the_page_is_what_the_schema_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let schema = fs::read_to_string(root.join("config/schema/openact.schema.json")).unwrap();
    let made = page(&serde_json::from_str(&schema).unwrap());
    let file = root.join("docs/configuration.md");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&file, &made).unwrap();
    }
    let written = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        written == made,
        "docs/configuration.md is not what the schema says: run this test with UPDATE=1"
    );
    for field in [
        "`base_url`",
        "### retry",
        "### authorization",
        "`secret_access_key`",
        "### github",
        "### `find` of `mongodb`",
    ] {
        assert!(made.contains(field), "{field}");
    }
}
