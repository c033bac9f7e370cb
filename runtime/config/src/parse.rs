//! Text to JSON, stricter than the parsers: no key twice, no key that is not text, no YAML tag, no number that JSON
//! cannot hold, and a bound on what aliases and merge keys multiply. TOML has a file of its own, [`crate::toml_file`].
//!
//! Nesting is bounded by the parsers themselves (128 levels). Invariant: a message quotes keys, never values.

use std::{
    cell::{Cell, RefCell},
    fmt,
};

use openact_core::{Error, Result, limits};
use serde::de::{self, DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::{
    Format,
    positions::{On, Positions, Spot},
    problems::{Problems, child},
    toml_file,
};

/// Parses `text`, which has no byte order mark. `file` names it in errors.
pub(crate) fn parse(file: &str, text: &str, format: Format) -> Result<Value> {
    let state = State {
        budget: Cell::new(2 * text.len() as u64 + limits::CONFIG_EXPANSION_MAX),
        is_yaml: format == Format::Yaml,
        refused: RefCell::new(None),
    };
    let parsed = match format {
        Format::Yaml => Strict(&state)
            .deserialize(serde_yaml::Deserializer::from_str(text))
            .map_err(|e| yaml_error(file, text, &e)),
        Format::Json => {
            let mut json = serde_json::Deserializer::from_str(text);
            Strict(&state)
                .deserialize(&mut json)
                .and_then(|value| json.end().map(|()| value))
                .map_err(|e| json_error(file, text, &e))
        }
        Format::Toml => return toml_file::parse(file, text),
    };
    if let Some(Refused { mut path, on, message, hint }) = state.refused.into_inner() {
        path.reverse();
        let pointer = path.iter().fold(String::new(), |pointer, segment| child(&pointer, segment));
        let mut problems = Problems::default();
        match on {
            On::Key => problems.key(&pointer, message, Some(hint.into())),
            On::Value => problems.value(&pointer, message, Some(hint.into())),
        }
        problems.finish(file, || Positions::of(text, format))?;
    }
    let value = parsed?;
    // The values' parser ignores the tags of YAML's own types; the events show them.
    if format == Format::Yaml
        && text.contains('!')
        && let Some(spot) = Positions::of(text, format).first_tag
    {
        return Err(Error::invalid_config("YAML tags (!…) are not supported")
            .hint("write plain values, and quotes around what should be text")
            .at(Some(spot.place(file))));
    }
    Ok(value)
}

/// What the whole parse shares.
struct State {
    /// Nodes and bytes of text that may still be made.
    budget: Cell<u64>,
    is_yaml: bool,
    refused: RefCell<Option<Refused>>,
}

/// What was refused, and the path to it from the inside out.
struct Refused {
    path: Vec<String>,
    on: On,
    message: String,
    hint: &'static str,
}

/// Makes a JSON value of whatever comes.
#[derive(Clone, Copy)]
struct Strict<'s>(&'s State);

impl Strict<'_> {
    fn refuse<E: de::Error>(&self, on: On, message: impl Into<String>, hint: &'static str) -> E {
        let message = message.into();
        let error = E::custom(&message);
        self.0.refused.replace(Some(Refused { path: Vec::new(), on, message, hint }));
        error
    }

    fn spend<E: de::Error>(&self, bytes: usize) -> std::result::Result<(), E> {
        let left = self.0.budget.get().checked_sub(1 + bytes as u64);
        let left = left.ok_or_else(|| self.refuse(On::Value, TOO_MANY_ALIASES, WRITE_OUT))?;
        self.0.budget.set(left);
        Ok(())
    }

    /// Adds a step to the path of what was refused below.
    fn below<T, E>(
        &self,
        segment: impl fmt::Display,
        result: std::result::Result<T, E>,
    ) -> std::result::Result<T, E> {
        if result.is_err()
            && let Some(refused) = self.0.refused.borrow_mut().as_mut()
        {
            refused.path.push(segment.to_string());
        }
        result
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> std::result::Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> std::result::Result<Value, E> {
        self.spend(0).map(|()| Value::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> std::result::Result<Value, E> {
        self.spend(0).map(|()| value.into())
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> std::result::Result<Value, E> {
        self.spend(0).map(|()| value.into())
    }

    fn visit_i128<E: de::Error>(self, _: i128) -> std::result::Result<Value, E> {
        Err(self.too_large())
    }

    fn visit_u128<E: de::Error>(self, _: u128) -> std::result::Result<Value, E> {
        Err(self.too_large())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> std::result::Result<Value, E> {
        self.spend(0)?;
        Number::from_f64(value).map(Value::Number).ok_or_else(|| {
            self.refuse(
                On::Value,
                "infinity and NaN are not numbers of JSON",
                "put it in quotes if it is text",
            )
        })
    }

    fn visit_str<E: de::Error>(self, value: &str) -> std::result::Result<Value, E> {
        self.spend(value.len()).map(|()| value.into())
    }

    fn visit_unit<E: de::Error>(self) -> std::result::Result<Value, E> {
        self.spend(0).map(|()| Value::Null)
    }

    fn visit_none<E: de::Error>(self) -> std::result::Result<Value, E> {
        self.visit_unit()
    }

    fn visit_enum<A: EnumAccess<'de>>(self, _: A) -> std::result::Result<Value, A::Error> {
        Err(self.refuse(
            On::Value,
            "YAML tags (!…) are not supported",
            "write plain values, and quotes around what should be text",
        ))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> std::result::Result<Value, A::Error> {
        self.spend(0)?;
        let mut list = Vec::new();
        while let Some(item) = self.below(list.len(), items.next_element_seed(self))? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> std::result::Result<Value, A::Error> {
        self.spend(0)?;
        let mut object = Map::new();
        let mut merged = None;
        while let Some(key) = members.next_key_seed(Key(self))? {
            let value = self.below(&key, members.next_value_seed(self))?;
            let is_merge = self.0.is_yaml && is_merge_key(&key, &value);
            if object.contains_key(&key) || (is_merge && merged.is_some()) {
                let error = self.refuse(
                    On::Key,
                    format!("the key '{}' is there twice", shown(&key)),
                    "keep one of the two",
                );
                return self.below(key, Err(error));
            }
            match is_merge {
                true => merged = Some(value),
                false => drop(object.insert(key, value)),
            }
        }
        merged.into_iter().for_each(|value| add_merged(&mut object, value));
        Ok(Value::Object(object))
    }
}

impl Strict<'_> {
    fn too_large<E: de::Error>(&self) -> E {
        self.refuse(On::Value, "the number is too large", "put it in quotes if it is text")
    }
}

/// A key: text, or a mistake.
struct Key<'s>(Strict<'s>);

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = String;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> std::result::Result<String, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Key<'_> {
    type Value = String;

    // Every other kind of key ends in this message, with the parser's own position.
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text as a key")
    }

    fn visit_str<E: de::Error>(self, value: &str) -> std::result::Result<String, E> {
        self.0.spend(value.len()).map(|()| value.to_owned())
    }
}

/// What aliases stand for would have no end.
const TOO_MANY_ALIASES: &str = "the aliases of this file expand to too much";
const WRITE_OUT: &str = "write out what they repeat";

fn yaml_error(file: &str, text: &str, error: &serde_yaml::Error) -> Error {
    let message = error.to_string();
    if message.contains("more than one document") {
        return Error::invalid_config("the file holds more than one YAML document")
            .hint("split it at the '---'");
    }
    if message.contains("repetition limit") {
        let place = Positions::of(text, Format::Yaml).heaviest_alias.map(|(_, spot)| spot.place(file));
        return Error::invalid_config(TOO_MANY_ALIASES).hint(WRITE_OUT).at(place);
    }
    // libyaml's reader knows a byte, not a line.
    let byte = message.split_once(" at position ").and_then(|(_, byte)| byte.parse().ok());
    let spot = match byte.and_then(|byte| text.get(..byte)) {
        Some(before) => {
            let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
            Some(Spot { line: before.matches('\n').count() + 1, column })
        }
        None => error.location().map(|location| Spot { line: location.line(), column: location.column() }),
    };
    syntax_error(file, "YAML", message.split(" at position ").next().unwrap_or(&message), spot)
}

fn json_error(file: &str, text: &str, error: &serde_json::Error) -> Error {
    let line = text.split('\n').nth(error.line().saturating_sub(1)).unwrap_or("");
    // serde_json counts bytes, and a byte within a character counts as that character.
    let column = line.char_indices().take_while(|(at, _)| *at < error.column()).count().max(1);
    syntax_error(file, "JSON", &error.to_string(), Some(Spot { line: error.line().max(1), column }))
}

fn syntax_error(file: &str, language: &str, text: &str, spot: Option<Spot>) -> Error {
    let place = spot.map(|spot| spot.place(file));
    if text.contains("expected text as a key") {
        return Error::invalid_config("a key that is not text").hint("put the key in quotes").at(place);
    }
    // serde quotes the value it did not expect, which may be a secret.
    if text.contains("invalid value") || text.contains("invalid type") {
        return Error::invalid_config("a value does not fit its YAML tag").hint("remove the tag").at(place);
    }
    let text = text.split(" at line ").next().unwrap_or(text);
    let text = if text.contains("recursion limit") { "nested too deeply" } else { text };
    Error::invalid_config(format!("not valid {language}: {text}")).at(place)
}

/// Whether a member of a YAML object stands for others, by the type `merge` of YAML 1.1: `<<` with an object, or with a
/// list of them. Beside any other value `<<` is a key like others.
pub(crate) fn is_merge_key(key: &str, value: &Value) -> bool {
    let objects = |items: &Vec<Value>| !items.is_empty() && items.iter().all(Value::is_object);
    key == "<<" && (value.is_object() || value.as_array().is_some_and(objects))
}

/// What is written out comes before what is merged, and of that the first.
fn add_merged(object: &mut Map<String, Value>, merged: Value) {
    match merged {
        Value::Object(more) => {
            for (key, value) in more {
                object.entry(key).or_insert(value);
            }
        }
        Value::Array(items) => items.into_iter().for_each(|item| add_merged(object, item)),
        _ => {}
    }
}

/// A key as a message shows it, at most 80 characters.
pub(crate) fn shown(key: &str) -> String {
    let mut short: String = key.chars().take(80).flat_map(char::escape_debug).collect();
    if key.chars().nth(80).is_some() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{mistakes, read, refused};

    fn at(text: &str, format: Format) -> (String, String) {
        let error = parse("f", text, format).unwrap_err();
        (
            error.place.as_ref().map(|place| format!("{}:{}", place.line, place.column)).unwrap_or_default(),
            error.message.clone(),
        )
    }

    #[test]
    fn what_either_parser_would_let_through_is_refused_at_its_place() {
        for (text, place, message) in [
            ("a: 1\nb: { c: 1, c: 2 }", "2:12", "the key 'c' is there twice"),
            ("a: 1\n2: b", "2:1", "a key that is not text"),
            ("a: 1\ntrue: b", "2:1", "a key that is not text"),
            ("a: 1\n~: b", "2:1", "a key that is not text"),
            ("? [a]\n: b", "1:3", "a key that is not text"),
            ("a: !mine b", "1:4", "YAML tags (!…) are not supported"),
            ("a: !!binary aGk=", "1:4", "YAML tags (!…) are not supported"),
            ("a: .inf", "1:4", "infinity and NaN are not numbers of JSON"),
            ("a: 99999999999999999999999", "1:4", "the number is too large"),
            ("a: { <<: {}, <<: {} }", "1:14", "the key '<<' is there twice"),
        ] {
            let (found, text_found) = at(text, Format::Yaml);
            assert_eq!((found.as_str(), text_found.as_str()), (place, message), "{text}");
        }
        assert_eq!(
            at("{\"a\": {\"ü\": 1,\n \"ü\": 2}}", Format::Json),
            ("2:2".into(), "the key 'ü' is there twice".into())
        );
        assert_eq!(at("{\"ü\": [1,]}", Format::Json).0, "1:10");
        assert_eq!(at("{\n\"a\": 1,\n}", Format::Json).0, "3:1");
        assert_eq!(at("{} x", Format::Json).0, "1:4");
        assert_eq!(at("a: [1\nb: 2", Format::Yaml).0, "2:2");
        assert_eq!(
            at("ü: 1\nü: \u{1}", Format::Yaml),
            ("2:4".into(), "not valid YAML: control characters are not allowed".into())
        );
        assert_eq!(at("a: 1\n---\na: 2", Format::Yaml).1, "the file holds more than one YAML document");
        assert!(parse("f", "a: \"text!\" # !", Format::Yaml).is_ok());
    }

    #[test]
    fn hostile_texts_are_errors() {
        let laughs: String =
            (1..30).map(|n| format!("l{n}: &l{n} [*l{0},*l{0},*l{0},*l{0},*l{0},*l{0}]\n", n - 1)).collect();
        let long = "x".repeat(100_000);
        let wide = format!("a: &a \"{long}\"\nb: [{}]\n", "*a, ".repeat(10_000));
        for text in [
            format!("l0: &l0 lol\n{laughs}"),
            wide,
            "[".repeat(10_000),
            format!("{}{}", "[".repeat(10_000), "]".repeat(10_000)),
            "- ".repeat(10_000),
            "{a: ".repeat(10_000),
            "? ".repeat(10_000),
            "a: \0".into(),
            "\0".into(),
            "&a [*a]".into(),
            "*nothing".into(),
            "a: &a {b: *a}".into(),
            "%YAML 9.9\n---\na".into(),
        ] {
            let short: String = text.chars().take(40).collect();
            assert!(parse("f", &text, Format::Yaml).is_err(), "{short}");
            let error = refused(&text, Format::Yaml);
            assert!(error.message.len() < 200, "{error}");
        }
        for text in [
            "[".repeat(10_000),
            "{\"a\":".repeat(10_000),
            "\0".into(),
            "{\"a\": \"\0\"}".into(),
            "{\"a\": 1e999}".into(),
            "".into(),
        ] {
            assert!(parse("f", &text, Format::Json).is_err());
        }
        assert_eq!(at(&"[".repeat(10_000), Format::Json).1, "not valid JSON: nested too deeply");
    }

    #[test]
    fn byte_order_mark_and_crlf() {
        let text = "\u{feff}connections:\r\n  c:\r\n    kind: http\r\n    base_url: https://h\r\n";
        assert_eq!(read(text).connections[0].config["base_url"], "https://h");
        assert_eq!(
            mistakes(&format!("{text}    prot: 1\r\n")),
            ["5:5 unknown key 'prot'; did you mean 'port'?"]
        );
    }

    #[test]
    fn merge_keys_bring_along_what_is_not_written_out() {
        let text = "b: &b { x: 1, y: { z: 1 } }\nc: &c { x: 2, w: 2 }\none: { <<: *b, x: 0 }\nmany:\n  y: 3\n  <<: [*c, *b]\n\
            plain: { <<: text, \"<<\": 5 }\n";
        assert_eq!(at(text, Format::Yaml).1, "the key '<<' is there twice");
        let value = parse("f", &text.replace(", \"<<\": 5", ""), Format::Yaml).unwrap();
        assert_eq!(value["one"], serde_json::json!({"x": 0, "y": {"z": 1}}));
        assert_eq!(value["many"], serde_json::json!({"y": 3, "x": 2, "w": 2}));
        assert_eq!(value["plain"], serde_json::json!({"<<": "text"}));
        assert_eq!(parse("f", "{\"<<\": {\"a\": 1}}", Format::Json).unwrap()["<<"]["a"], 1);
        // A mistake is where the value was written.
        let file = "connections:\n  a: &a\n    kind: http\n    base_url: https://h\n    prot: 1\n  b:\n    <<: *a\n    port: x\n";
        assert_eq!(
            mistakes(file),
            [
                "5:5 unknown key 'prot'; did you mean 'port'?",
                "5:5 unknown key 'prot'; did you mean 'port'?",
                "8:11 'port': the value is not of type \"integer\"",
            ]
        );
    }

    #[test]
    fn aliases_that_repeat_a_little_are_fine() {
        let text = "a: &h { x: y }\nb: *h\nc: [*h, *h]\n";
        let value = parse("f", text, Format::Yaml).unwrap();
        assert_eq!(value["c"][1]["x"], "y");
    }
}
