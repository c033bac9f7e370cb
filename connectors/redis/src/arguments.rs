//! From the arguments as they are configured to bytes.
//!
//! | written | becomes |
//! |---|---|
//! | `GET`, `60`, `true` | itself |
//! | `user:{{id}}` | one argument, whatever the input's `id` holds |
//! | `{{value}}` | one argument; an object or a list as JSON text, `{"base64": "…"}` as its bytes |
//! | `{{keys...}}` | each item of a list, or each name and value of an object, as an argument |
//! | `{{name?}}` | nothing, if it is missing |
//! | `[EX, "{{ttl}}"]` | these, or none of them if a variable of theirs is missing |
//! | `{base64: "…"}` | these bytes |
//!
//! Of what is missing at the end of a command nothing is left, nor of an option's name before it: with
//! `[SET, "{{key}}", "{{value}}", EX, "{{ttl}}"]`, `ttl` need not be given. Null is missing.
//!
//! Invariant: only `{{name...}}`, which the configuration has to ask for, is ever more than one argument.

use base64::{Engine, engine::general_purpose::STANDARD};
use openact_connector::{
    Failure, Json,
    members::Members,
    template::{Filled, expand_text, has_template},
    variables::{Value, Variables},
};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::rules::Arguments;

/// Groups within groups.
const DEPTH_MAX: usize = 8;

/// Options of Redis whose value follows.
const OPTIONS: &[&str] = &[
    "ABSTTL",
    "AGGREGATE",
    "BLOCK",
    "BYLEX",
    "COUNT",
    "EX",
    "EXAT",
    "FREQ",
    "IDLE",
    "IDLETIME",
    "LIMIT",
    "MATCH",
    "MAXLEN",
    "MINID",
    "NOVALUES",
    "PX",
    "PXAT",
    "RANK",
    "TYPE",
    "WEIGHTS",
];

/// The arguments of one command; `place` is where they stand, for messages.
pub fn command(items: &[Json], place: &str, variables: &Variables<'_>) -> Result<Arguments, Failure> {
    let arguments = list(items, place, variables)?;
    if arguments.first().is_none_or(Vec::is_empty) {
        return Err(Failure::InvalidInput(format!("{place} is empty: there is no command")));
    }
    Ok(arguments)
}

/// A list of arguments, without what is missing at its end.
pub fn list(items: &[Json], place: &str, variables: &Variables<'_>) -> Result<Arguments, Failure> {
    let mut kept = items.len();
    while let Some((last, before)) = items.get(..kept).and_then(<[Json]>::split_last) {
        // The first is the command's name, or what a script would not find at its place.
        if before.is_empty() || !is_missing(last, variables, 0)? {
            break;
        }
        kept = before.len() - usize::from(before.len() > 1 && before.last().is_some_and(is_option));
    }
    fill(items.get(..kept).unwrap_or_default(), place, variables, 0)
}

/// As many arguments as there are items: keys of a script, whose number counts.
pub fn exactly(items: &[Json], place: &str, variables: &Variables<'_>) -> Result<Arguments, Failure> {
    fill(items, place, variables, 0)
}

fn fill(items: &[Json], place: &str, variables: &Variables<'_>, depth: usize) -> Result<Arguments, Failure> {
    let mut out = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        match item.as_str().as_bytes().first() {
            Some(b'"') => {
                let text: String = parsed(item, place)?;
                if !has_template(&text) {
                    out.push(text.into_bytes());
                    continue;
                }
                push_text(&mut out, &text, &format!("{place}/{index}"), variables)?;
            }
            Some(b'[') if depth < DEPTH_MAX => {
                if !is_missing(item, variables, depth)? {
                    let group: Vec<Json> = parsed(item, place)?;
                    out.extend(fill(&group, &format!("{place}/{index}"), variables, depth + 1)?);
                }
            }
            Some(b'{') => {
                let bytes = bytes_of(item.as_str()).transpose().map_err(Failure::InvalidConfig)?;
                out.push(bytes.ok_or_else(|| wrong(place, "has an object that is not {base64: …}"))?);
            }
            Some(b'[') => return Err(wrong(place, "has groups within groups within groups")),
            Some(b'n') | None => return Err(wrong(place, "has null, which is no argument")),
            Some(_) => out.push(item.as_str().as_bytes().to_vec()),
        }
    }
    Ok(out)
}

fn push_text(out: &mut Arguments, text: &str, place: &str, variables: &Variables<'_>) -> Result<(), Failure> {
    if let Some(name) = spread(text) {
        return push_each(out, name, place, variables);
    }
    match expand_text(text, place, variables)? {
        Filled::Text(text) => out.push(text.into_bytes()),
        Filled::Value { name, json } => {
            // Null is missing; only an optional one may be.
            if let Some(argument) = argument(json).map_err(|why| invalid(name, &why))? {
                out.push(argument);
            } else if !text.trim_end_matches(['}', ' ']).ends_with('?') {
                return Err(missing(name, place));
            }
        }
        Filled::Nothing => {}
    }
    Ok(())
}

/// The list or the object that is to be several arguments.
fn push_each(out: &mut Arguments, name: &str, place: &str, variables: &Variables<'_>) -> Result<(), Failure> {
    let json = variables.find(name)?.ok_or_else(|| missing(name, place))?;
    let misfit = || invalid(name, "it must be a list, or an object of names and values");
    let mut push = |json: &str| -> Result<(), Failure> {
        let argument = argument(json).map_err(|why| invalid(name, &why))?;
        out.push(argument.ok_or_else(|| invalid(name, "null is no argument"))?);
        Ok(())
    };
    match json.as_bytes().first() {
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(json).map_err(|_| misfit())?;
            items.iter().try_for_each(|item| push(item.get()))
        }
        Some(b'{') => {
            let Members(members) = serde_json::from_str::<Members<&RawValue>>(json).map_err(|_| misfit())?;
            members.iter().try_for_each(|(name, value)| {
                push(Json::of(name)?.as_str())?;
                push(value.get())
            })
        }
        _ => Err(misfit()),
    }
}

/// One value as one argument; none if it is null.
fn argument(json: &str) -> Result<Option<Vec<u8>>, String> {
    Ok(match Value::of(json) {
        Value::Text(text) => Some(text.into_owned().into_bytes()),
        Value::Null => None,
        Value::Compound => Some(bytes_of(json).unwrap_or_else(|| Ok(json.as_bytes().to_vec()))?),
    })
}

/// The bytes that `{"base64": "…"}` stands for; none if it is something else.
fn bytes_of(json: &str) -> Option<Result<Vec<u8>, String>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Bytes {
        base64: String,
    }
    let Bytes { base64 } = json.starts_with('{').then(|| serde_json::from_str(json).ok()).flatten()?;
    Some(STANDARD.decode(base64).map_err(|error| format!("its base64 is none: {error}")))
}

/// Whether an item cannot be filled in, for want of a variable.
fn is_missing(item: &Json, variables: &Variables<'_>, depth: usize) -> Result<bool, Failure> {
    match item.as_str().as_bytes().first() {
        Some(b'"') if has_template(item.as_str()) => {
            let text: String = parsed(item, "command")?;
            let absent = |name: &str| -> Result<bool, Failure> {
                Ok(variables.find(name)?.is_none_or(|value| value == "null"))
            };
            if let Some(name) = spread(&text) {
                return absent(name);
            }
            let (count, all) = (text.matches("{{").count(), text.starts_with("{{") && text.ends_with("}}"));
            for name in names(&text) {
                match name.strip_suffix('?') {
                    Some(name) if count == 1 && all && absent(name)? => return Ok(true),
                    None if absent(name)? => return Ok(true),
                    _ => {}
                }
            }
            Ok(false)
        }
        Some(b'[') if depth < DEPTH_MAX => {
            let group: Vec<Json> = parsed(item, "command")?;
            for item in &group {
                if item.as_str().starts_with('"') && is_missing(item, variables, depth + 1)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        _ => Ok(false),
    }
}

/// The variables of a text, with the `?` of an optional one.
fn names(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            let (_, after) = rest.split_once("{{")?;
            if let Some(literal) = after.strip_prefix("{{") {
                rest = literal;
                continue;
            }
            let (name, after) = after.split_once("}}")?;
            rest = after;
            let name = name.trim_matches(' ');
            // What is none is told by whoever fills it in.
            if is_name(name.strip_suffix('?').unwrap_or(name)) {
                return Some(name);
            }
        }
    })
}

/// The name of `{{name...}}`.
fn spread(text: &str) -> Option<&str> {
    let inside = text.strip_prefix("{{")?.strip_suffix("}}")?.trim_matches(' ');
    inside.strip_suffix("...").filter(|name| is_name(name))
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}

fn is_option(item: &Json) -> bool {
    let word = item.as_str().trim_matches('"').to_ascii_uppercase();
    OPTIONS.contains(&word.as_str())
}

fn parsed<T: for<'de> Deserialize<'de>>(item: &Json, place: &str) -> Result<T, Failure> {
    item.parse().map_err(|error| Failure::InvalidConfig(format!("{place} is wrong: {error}")))
}

fn wrong(place: &str, what: &str) -> Failure {
    Failure::InvalidConfig(format!("{place} {what}"))
}

fn invalid(name: &str, why: &str) -> Failure {
    Failure::InvalidInput(format!("'{name}' cannot be an argument: {why}"))
}

fn missing(name: &str, place: &str) -> Failure {
    Failure::InvalidInput(format!("'{name}' is missing in the input, and the action's {place} needs it"))
}
