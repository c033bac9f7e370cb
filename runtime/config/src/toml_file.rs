//! TOML: a text as JSON, where its keys and values stand, and the way back.
//!
//! | TOML | JSON |
//! |---|---|
//! | a date or time | text, as it is written |
//! | `{ "$null" = true }` | null, which TOML has none of; a member `$null` of data is written `$$null`, and so on |
//! | `inf`, `nan`, an integer of more than 64 bits | mistakes |
//!
//! Nesting is bounded by the parser (80 levels). Invariant: what [`write`] writes, [`parse`] reads as the same value.

use std::rc::Rc;

use indexmap::IndexMap;
use openact_core::{Error, JsonObject, Result};
use serde_json::{Number, Value, json};
use toml::{
    Spanned,
    de::{DeInteger, DeTable, DeValue},
};

use crate::{
    Format,
    positions::{Member, Node, Positions, Spot},
    problems::{Problems, child},
};

/// The only member of what stands for null.
const NULL: &str = "$null";

/// Parses `text`, which has no byte order mark. `file` names it in errors.
pub(crate) fn parse(file: &str, text: &str) -> Result<Value> {
    let table = DeTable::parse(text).map_err(|error| {
        let place = error.span().map(|span| Lines::of(text).spot(span.start).place(file));
        // Of several lines only the first says what is wrong.
        let message = error.message().lines().next().unwrap_or_default();
        let message = if message.contains("recurs") { "nested too deeply" } else { message };
        Error::invalid_config(format!("not valid TOML: {message}")).at(place)
    })?;
    let mut problems = Problems::default();
    let value = Reader { text, problems: &mut problems }.table(table.get_ref(), "");
    problems.finish(file, || Positions::of(text, Format::Toml))?;
    Ok(value)
}

/// Positions in `text`, which was parsed before.
pub(crate) fn positions(text: &str) -> Option<Rc<Node>> {
    let table = DeTable::parse(text).ok()?;
    let lines = Lines::of(text);
    Some(Rc::new(Node { spot: lines.spot(0), plain: false, members: members(table.get_ref(), &lines) }))
}

/// `value`, an object, as TOML.
pub(crate) fn write(value: &Value) -> Result<String> {
    toml::to_string_pretty(&with_nulls(value))
        .map_err(|error| Error::internal(format!("failed to write the configuration: {error}")))
}

struct Reader<'a> {
    text: &'a str,
    problems: &'a mut Problems,
}

impl Reader<'_> {
    fn table(&mut self, table: &DeTable<'_>, at: &str) -> Value {
        let mut object = JsonObject::new();
        let is_alone = table.len() == 1;
        for (key, value) in table {
            let key: &str = key.get_ref();
            let at = child(at, key);
            if is_alone && key == NULL {
                if !matches!(value.get_ref(), DeValue::Boolean(true)) {
                    self.problems.key(
                        &at,
                        "'$null' stands for null and can only be true",
                        Some("write { \"$null\" = true }, or \"$$null\" for a key of that name".into()),
                    );
                }
                return Value::Null;
            }
            let name = if is_alone { escaped_null(key).unwrap_or(key) } else { key };
            object.insert(name.to_owned(), self.value(value, &at));
        }
        Value::Object(object)
    }

    fn value(&mut self, value: &Spanned<DeValue<'_>>, at: &str) -> Value {
        match value.get_ref() {
            DeValue::String(text) => text.as_ref().into(),
            DeValue::Boolean(value) => (*value).into(),
            DeValue::Datetime(_) => self.text.get(value.span()).unwrap_or_default().trim().into(),
            DeValue::Integer(integer) => number(integer).unwrap_or_else(|| {
                let hint = "put it in quotes if it is text";
                self.problems.value(at, "the number is too large", Some(hint.into()));
                Value::Null
            }),
            DeValue::Float(float) => {
                let number = float.as_str().parse().ok().and_then(Number::from_f64);
                number.map(Value::Number).unwrap_or_else(|| {
                    let hint = "put it in quotes if it is text";
                    self.problems.value(at, "infinity and NaN are not numbers of JSON", Some(hint.into()));
                    Value::Null
                })
            }
            DeValue::Array(items) => {
                let item = |(index, item): (usize, _)| self.value(item, &child(at, &index.to_string()));
                Value::Array(items.iter().enumerate().map(item).collect())
            }
            DeValue::Table(table) => self.table(table, at),
        }
    }
}

fn number(integer: &DeInteger<'_>) -> Option<Value> {
    let (digits, radix) = (integer.as_str(), integer.radix());
    let signed = i64::from_str_radix(digits, radix).ok().map(Value::from);
    signed.or_else(|| u64::from_str_radix(digits.trim_start_matches('+'), radix).ok().map(Value::from))
}

/// A key `$null` of data, as many dollars as it has before it was written.
fn escaped_null(key: &str) -> Option<&str> {
    key.strip_prefix('$').filter(|rest| rest.starts_with('$') && rest.trim_start_matches('$') == "null")
}

/// The same without a null.
fn with_nulls(value: &Value) -> Value {
    match value {
        Value::Null => json!({ NULL: true }),
        Value::Array(items) => items.iter().map(with_nulls).collect(),
        Value::Object(object) => {
            let is_alone = object.len() == 1;
            let member = |(key, value): (&String, &Value)| {
                let like_null = is_alone && key.starts_with('$') && key.trim_start_matches('$') == "null";
                (if like_null { format!("${key}") } else { key.clone() }, with_nulls(value))
            };
            Value::Object(object.iter().map(member).collect())
        }
        other => other.clone(),
    }
}

fn members(table: &DeTable<'_>, lines: &Lines<'_>) -> IndexMap<String, Member> {
    let is_alone = table.len() == 1;
    let member = |(key, value): (&Spanned<_>, _)| {
        let spot = lines.spot(key.span().start);
        let name: &str = AsRef::<str>::as_ref(key.get_ref());
        let name = if is_alone { escaped_null(name).unwrap_or(name) } else { name };
        (name.to_owned(), Member { key: spot, node: Rc::new(node(value, lines)) })
    };
    table.iter().map(member).collect()
}

fn node(value: &Spanned<DeValue<'_>>, lines: &Lines<'_>) -> Node {
    let mut spot = lines.spot(value.span().start);
    let (plain, members) = match value.get_ref() {
        DeValue::Table(table) => {
            let members = members(table, lines);
            // A table that no header of its own begins is where its first key is.
            if value.span().is_empty() {
                spot = members.first().map_or(spot, |(_, member)| member.key);
            }
            (false, members)
        }
        DeValue::Array(items) => {
            let member = |(index, item): (usize, _)| {
                let node = node(item, lines);
                (index.to_string(), Member { key: node.spot, node: Rc::new(node) })
            };
            (false, items.iter().enumerate().map(member).collect())
        }
        _ => (true, IndexMap::new()),
    };
    Node { spot, plain, members }
}

/// Bytes of a text as lines and columns. Of one long line, too, no more than a block is counted for each.
struct Lines<'t> {
    text: &'t str,
    /// Where each block begins.
    blocks: Vec<(usize, Spot)>,
}

const BLOCK_BYTES: usize = 4096;

impl<'t> Lines<'t> {
    fn of(text: &'t str) -> Self {
        let (mut blocks, mut spot) = (Vec::new(), Spot { line: 1, column: 1 });
        let mut next = 0;
        for (at, c) in text.char_indices() {
            if at >= next {
                blocks.push((at, spot));
                next = at + BLOCK_BYTES;
            }
            spot = spot.after(c);
        }
        Self { text, blocks }
    }

    fn spot(&self, byte: usize) -> Spot {
        let block = self.blocks.partition_point(|(at, _)| *at <= byte).saturating_sub(1);
        let (at, spot) = self.blocks.get(block).copied().unwrap_or((0, Spot { line: 1, column: 1 }));
        self.text.get(at..byte).unwrap_or_default().chars().fold(spot, Spot::after)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{fixture::refused, positions::On};

    fn read(text: &str) -> Value {
        parse("f", text).unwrap()
    }

    #[test]
    fn every_row_of_the_table() {
        let text = "d = 1979-05-27 07:32:00Z\nt = 07:32:00\ni = -5\nh = 0xff\nb = 0b11\nu = 18446744073709551615\n\
            f = 1e3\nn = { \"$null\" = true }\nm = { \"$$null\" = 1 }\nk = { \"$null\" = 1, a = 2 }\n[x.\"y.z\"]\na = [1, [\"b\"]]\n";
        assert_eq!(
            read(text),
            json!({"d": "1979-05-27 07:32:00Z", "t": "07:32:00", "i": -5, "h": 255, "b": 3, "u": u64::MAX, "f": 1000.0,
                "n": null, "m": {"$null": 1}, "k": {"$null": 1, "a": 2}, "x": {"y.z": {"a": [1, ["b"]]}}})
        );
    }

    #[test]
    fn mistakes_have_their_places_and_do_not_quote() {
        for (text, place, message) in [
            ("a = 1\na = 2", "2:1", "not valid TOML: duplicate key"),
            ("\"ü\" = \"ü\"\nb = hunter2", "2:5", "not valid TOML: string values must be quoted"),
            ("a = { b = inf }", "1:11", "infinity and NaN"),
            ("a = [\n1, 99999999999999999999]", "2:4", "the number is too large"),
            ("[a]\n  n = { \"$null\" = 1 }", "2:9", "'$null' stands for null"),
        ] {
            let error = parse("f", text).unwrap_err();
            assert!(error.message.starts_with(message), "{error}");
            assert_eq!(error.place.as_ref().unwrap().to_string(), format!("f:{place}"), "{text}");
            assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        }
    }

    #[test]
    fn hostile_texts_are_errors() {
        let dots = vec!["a"; 100_000].join(".");
        for text in [
            format!("{dots} = 1"),
            format!("[{dots}]"),
            format!("a = {}", "[".repeat(100_000)),
            format!("a = {}", "{a = ".repeat(100_000)),
            "\0".into(),
            "a = \"".into(),
            "[[a]]\n[a]".into(),
        ] {
            let error = refused(&text, Format::Toml);
            assert!(error.message.starts_with("not valid TOML") && error.message.len() < 200, "{error}");
        }
        // Places in one long line are found in one pass.
        let items: String = (0..100_000).map(|n| format!("k{n} = inf, ")).collect();
        assert_eq!(parse("f", &format!("a = {{ {items} }}")).unwrap_err().place.as_ref().unwrap().column, 12);
    }

    #[test]
    fn keys_and_values_have_places() {
        let text = "[a]\nx.y = 1\n  [a.\"b/c\"] # ü\n  list = [ \"ü\", { k = 2 } ]\n[[t]]\nn = 1\n[[t]]\nn = \"z\"\n";
        let positions = Positions::of(text, Format::Toml);
        for (pointer, on, expected) in [
            ("/a/x/y", On::Key, (2, 3)),
            ("/a/x/y", On::Value, (2, 7)),
            ("/a/b~1c", On::Key, (3, 6)),
            ("/a/b~1c/list/0", On::Value, (4, 12)),
            ("/a/b~1c/list/1/k", On::Value, (4, 23)),
            ("/t/1/n", On::Value, (8, 5)),
            ("/t/0/none", On::Value, (5, 1)),
        ] {
            let place = positions.place("f", pointer, on).unwrap();
            assert_eq!((place.line, place.column), expected, "{pointer}");
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            proptest::num::f64::NORMAL.prop_map(Value::from),
            ".{0,6}".prop_map(Value::from),
        ];
        let key = prop_oneof!["[a-c]{0,2}", "\\$*null", ".{0,4}"];
        leaf.prop_recursive(4, 32, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(key.clone(), inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(value in prop::collection::btree_map("[a-c]{1,2}", any_json(), 0..5)) {
            let value = Value::Object(value.into_iter().collect());
            let text = write(&value).unwrap();
            prop_assert_eq!(read(&text), value, "{}", text);
        }
    }
}
