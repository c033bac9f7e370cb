//! Where the keys and values of a file stand. The text is read a second time for it, since values carry no positions,
//! and only when somebody has to be told a line.
//!
//! Invariant: lines and columns count from 1, columns in characters; a place that is not found is its nearest
//! ancestor's. The text was parsed successfully before, so its depth is bounded.

use std::{collections::HashMap, rc::Rc};

use indexmap::IndexMap;
use openact_core::{Place, limits};
use saphyr_parser::{Event, Parser, Span};

use crate::{Format, toml_file};

/// Which part of a member a mistake is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum On {
    /// Its key.
    Key,
    /// Its value; of an object, a list or nothing, the key says more to a reader.
    Value,
}

/// Positions of a whole file.
#[derive(Debug, Default)]
pub(crate) struct Positions {
    root: Option<Rc<Node>>,
    /// A YAML tag, if there is one.
    pub(crate) first_tag: Option<Spot>,
    /// The alias that stands for most, and for how many values.
    pub(crate) heaviest_alias: Option<(u64, Spot)>,
}

/// Line and column, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spot {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

impl Spot {
    /// Where the next character is, after `c`.
    pub(crate) fn after(self, c: char) -> Self {
        match c {
            '\n' => Self { line: self.line + 1, column: 1 },
            _ => Self { column: self.column + 1, ..self },
        }
    }

    /// In `file`.
    pub(crate) fn place(self, file: &str) -> Place {
        Place { file: file.to_owned(), line: self.line, column: self.column }
    }
}

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) spot: Spot,
    /// A value that is seen: neither an object or list nor an empty text.
    pub(crate) plain: bool,
    /// By key, or by index from 0. Of a key written twice, the second.
    pub(crate) members: IndexMap<String, Member>,
}

#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) key: Spot,
    pub(crate) node: Rc<Node>,
}

impl Positions {
    /// Positions in `text`, without its byte order mark.
    pub(crate) fn of(text: &str, format: Format) -> Self {
        match format {
            Format::Yaml => yaml(text),
            Format::Json => {
                let mut scan = JsonScan { rest: text, spot: Spot { line: 1, column: 1 } };
                Self { root: scan.value().map(Rc::new), ..Self::default() }
            }
            Format::Toml => Self { root: toml_file::positions(text), ..Self::default() },
        }
    }

    /// The place of the key or value at a JSON Pointer.
    pub(crate) fn place(&self, file: &str, pointer: &str, on: On) -> Option<Place> {
        let mut node = self.root.as_deref()?;
        let mut spot = node.spot;
        let mut on = on;
        for segment in pointer.split('/').skip(1) {
            let Some(member) = node.members.get(&segment.replace("~1", "/").replace("~0", "~")) else {
                on = On::Key;
                break;
            };
            (node, spot) = (&member.node, member.key);
        }
        Some(if on == On::Value && node.plain { node.spot } else { spot }.place(file))
    }
}

/// An object or list whose end was not seen yet.
struct Open {
    node: Node,
    anchor: usize,
    is_list: bool,
    key: Option<(String, Spot)>,
    /// How many values it holds, aliases written out.
    weight: u64,
}

fn yaml(text: &str) -> Positions {
    let mut positions = Positions::default();
    let mut open: Vec<Open> = Vec::new();
    let mut anchors: HashMap<usize, (u64, Rc<Node>)> = HashMap::new();
    // A file that was refused for what it repeats is read here, too.
    let mut merges_left = limits::CONFIG_EXPANSION_MAX as usize;
    for event in Parser::new_from_str(text) {
        // What libyaml accepts and this parser does not costs the positions from here on, nothing else.
        let Ok((event, span)) = event else { break };
        let spot = start(span);
        let (weight, node) = match event {
            Event::MappingStart(anchor, ref tag) | Event::SequenceStart(anchor, ref tag) => {
                positions.first_tag = positions.first_tag.or(tag.as_ref().map(|_| spot));
                let node = Node { spot, plain: false, members: IndexMap::new() };
                open.push(Open {
                    node,
                    anchor,
                    is_list: matches!(event, Event::SequenceStart(..)),
                    key: None,
                    weight: 1,
                });
                continue;
            }
            Event::MappingEnd | Event::SequenceEnd => {
                let Some(mut done) = open.pop() else { break };
                if !done.is_list {
                    add_merged(&mut done.node, &mut merges_left);
                }
                let node = Rc::new(done.node);
                anchors.insert(done.anchor, (done.weight, Rc::clone(&node)));
                (done.weight, node)
            }
            Event::Scalar(text, style, anchor, tag) => {
                positions.first_tag = positions.first_tag.or(tag.map(|_| spot));
                if let Some(Open { is_list: false, key: key @ None, .. }) = open.last_mut() {
                    *key = Some((text.into_owned(), spot));
                    continue;
                }
                let plain = !text.is_empty() || style != saphyr_parser::ScalarStyle::Plain;
                let node = Rc::new(Node { spot, plain, members: IndexMap::new() });
                anchors.insert(anchor, (1, Rc::clone(&node)));
                (1, node)
            }
            Event::Alias(anchor) => match anchors.get(&anchor) {
                Some((weight, node)) => {
                    if positions.heaviest_alias.is_none_or(|(most, _)| most < *weight) {
                        positions.heaviest_alias = Some((*weight, spot));
                    }
                    (*weight, Rc::clone(node))
                }
                None => (1, Rc::new(Node { spot, plain: true, members: IndexMap::new() })),
            },
            _ => continue,
        };
        if let Some(parent) = open.last_mut() {
            parent.weight = parent.weight.saturating_add(weight);
        }
        attach(node, &mut open, &mut positions);
    }
    while let Some(unfinished) = open.pop() {
        attach(Rc::new(unfinished.node), &mut open, &mut positions);
    }
    positions
}

/// What a merge key (`<<`) brings along, which stands where its object stands.
fn add_merged(node: &mut Node, left: &mut usize) {
    let Some(merged) = node.members.get("<<").map(|member| Rc::clone(&member.node)) else { return };
    if merged.plain {
        return;
    }
    // One object, or a list of them.
    let lists = merged.members.values().filter(|_| merged.members.contains_key("0"));
    for source in std::iter::once(&merged).chain(lists.map(|member| &member.node)) {
        for (key, member) in &source.members {
            if *left == 0 {
                return;
            }
            *left -= 1;
            node.members.entry(key.clone()).or_insert_with(|| member.clone());
        }
    }
}

/// Puts a finished value where it belongs: into the innermost open object or list, or at the top.
fn attach(node: Rc<Node>, open: &mut [Open], positions: &mut Positions) {
    let Some(parent) = open.last_mut() else {
        positions.root.get_or_insert(node);
        return;
    };
    let (key, spot) = if parent.is_list {
        (parent.node.members.len().to_string(), node.spot)
    } else {
        match parent.key.take() {
            Some(key) => key,
            // A key that is an alias or not a text; the parser of values refuses it.
            None => return parent.key = Some((String::new(), node.spot)),
        }
    };
    parent.node.members.insert(key, Member { key: spot, node });
}

fn start(span: Span) -> Spot {
    Spot { line: span.start.line(), column: span.start.col() + 1 }
}

/// Reads JSON that is known to be valid.
struct JsonScan<'t> {
    rest: &'t str,
    spot: Spot,
}

impl JsonScan<'_> {
    fn value(&mut self) -> Option<Node> {
        let first = self.next_is()?;
        let mut node = Node { spot: self.spot, plain: false, members: IndexMap::new() };
        match first {
            '{' | '[' => {
                self.skip(1);
                loop {
                    match self.next_is()? {
                        '}' | ']' => break self.skip(1),
                        ',' => self.skip(1),
                        _ => {}
                    }
                    self.next_is()?;
                    let mut key = self.spot;
                    let name = if first == '{' {
                        let name = self.text()?;
                        self.next_is()?;
                        self.skip(1);
                        name
                    } else {
                        node.members.len().to_string()
                    };
                    let value = self.value()?;
                    if first == '[' {
                        key = value.spot;
                    }
                    node.members.insert(name, Member { key, node: Rc::new(value) });
                }
            }
            '"' => {
                self.text()?;
                node.plain = true;
            }
            _ => {
                let end = self.rest.find(|c: char| ",]} \t\r\n".contains(c)).unwrap_or(self.rest.len());
                self.skip(end);
                node.plain = true;
            }
        }
        Some(node)
    }

    /// The text at the cursor, decoded.
    fn text(&mut self) -> Option<String> {
        let mut escaped = false;
        let end = self.rest.char_indices().skip(1).find_map(|(at, c)| {
            let closes = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            closes.then_some(at + 1)
        })?;
        let text = serde_json::from_str(self.rest.get(..end)?).ok();
        self.skip(end);
        text
    }

    /// Skips white space and peeks.
    fn next_is(&mut self) -> Option<char> {
        let blank = self.rest.len() - self.rest.trim_start_matches([' ', '\t', '\r', '\n']).len();
        self.skip(blank);
        self.rest.chars().next()
    }

    fn skip(&mut self, bytes: usize) {
        let Some((skipped, rest)) = self.rest.split_at_checked(bytes) else {
            return;
        };
        self.spot = skipped.chars().fold(self.spot, Spot::after);
        self.rest = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str, format: Format, pointer: &str, on: On) -> (usize, usize) {
        let place = Positions::of(text, format).place("f", pointer, on).unwrap();
        (place.line, place.column)
    }

    #[test]
    fn yaml_keys_and_values() {
        let text = "a: &x\n  ü: { b: [1, \"zwei\"] }\nc: *x\nd:\n  - e: f\n";
        let check = |pointer, on| at(text, Format::Yaml, pointer, on);
        assert_eq!(check("/a/ü", On::Key), (2, 3));
        assert_eq!(check("/a/ü", On::Value), (2, 3));
        assert_eq!(check("/a/ü/b", On::Key), (2, 8));
        assert_eq!(check("/a/ü/b/1", On::Value), (2, 15));
        assert_eq!(check("/c/ü/b/0", On::Value), (2, 12));
        assert_eq!(check("/c", On::Key), (3, 1));
        assert_eq!(check("/d/0/e", On::Value), (5, 8));
        assert_eq!(check("/d/0/no/such", On::Value), (5, 5));
        assert_eq!(check("/d/0", On::Key), (5, 5));
    }

    #[test]
    fn json_keys_and_values_with_tabs_and_escapes() {
        let text = "{\r\n\t\"a/b\": {\"ü\\u0041\": [1, \"x\\\"\", {}], \"n\": null},\r\n\t\"z\":true}";
        let check = |pointer, on| at(text, Format::Json, pointer, on);
        assert_eq!(check("/a~1b", On::Key), (2, 2));
        assert_eq!(check("/a~1b/üA/0", On::Value), (2, 22));
        assert_eq!(check("/a~1b/üA/1", On::Value), (2, 25));
        assert_eq!(check("/a~1b/n", On::Value), (2, 42));
        assert_eq!(check("/z", On::Key), (3, 2));
        assert_eq!(check("/z", On::Value), (3, 6));
    }

    #[test]
    fn what_the_second_parser_does_not_accept_falls_back_to_the_nearest_ancestor() {
        let cut = Positions::of("a:\n  b: 1\n  c: [1\nd: {", Format::Yaml);
        assert_eq!(cut.place("f", "/a/b", On::Key).unwrap().line, 2);
        assert!(cut.place("f", "/d/e", On::Key).is_some());
    }
}
