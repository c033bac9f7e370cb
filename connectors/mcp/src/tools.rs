//! The schemas of the server's tools, kept between calls: arguments are checked before they are sent, and a check that fails
//! is repeated with what the server says now, so that no call fails for a schema that is out of date.
//!
//! Invariant: what is kept never widens what may be sent; the server checks in any case.

use std::collections::{BTreeMap, BTreeSet};

use openact_connector::{Failure, HostError, items::More, log::Level, state};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use crate::{
    client::Client,
    exchange::header_value,
    list::{TOOLS, walk},
    message::{RpcError, code},
};

/// What the keys begin with under which the schemas are kept, where the host finds them too (`x-input`).
pub(crate) const SHELF: &str = "tools";

/// How many keys, as the host knows: of one key has room for 64 KiB, and a connection for 100 keys.
const SHELVES: u32 = 16;

/// What one key holds at most, bytes.
const SHELF_BYTES_MAX: usize = 60 * 1024;

/// Tools that are looked at.
pub(crate) const TOOLS_MAX: usize = 5_000;

/// A tool as the server lists it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Tool {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) description: Option<String>,
    #[serde(default)]
    pub(crate) input_schema: Option<Value>,
}

/// The kept schema of a tool.
pub(crate) fn kept(client: &Client<'_>, tool: &str) -> Option<Value> {
    let entry = state::get_by(client.host(), &shelf(tool)).ok()??;
    let schemas: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(&entry.value).ok()?;
    serde_json::from_str(schemas.get(tool)?.get()).ok()
}

/// The server's tools. Their schemas are kept, unless nothing may be.
pub(crate) fn fetch(client: &Client<'_>) -> Result<Vec<Tool>, Failure> {
    let mut tools: Vec<Tool> = Vec::new();
    let listed = walk(client, TOOLS, |item| {
        // What is no tool cannot be called.
        tools.extend(serde_json::from_str::<Tool>(item.get()).ok());
        Ok(if tools.len() < TOOLS_MAX { More::Wanted } else { More::Enough })
    })?;
    match listed {
        Ok(()) => {}
        // It has resources or prompts and nothing else.
        Err(error) if error.code == code::METHOD_NOT_FOUND => {}
        Err(error) => return Err(RpcError::into_failure(error)),
    }
    if !client.is_dry_run() {
        keep(client, &tools);
    }
    tools.retain(|tool| {
        let Some(why) = tool.input_schema.as_ref().and_then(unsendable) else { return true };
        let told = format!("the tool '{}' is left out: {why}", tool.name.escape_debug());
        client.host().log(Level::Warn, &told, None);
        false
    });
    Ok(tools)
}

fn keep(client: &Client<'_>, tools: &[Tool]) {
    let mut shelves: Vec<(String, String)> =
        (0..SHELVES).map(|number| (format!("{SHELF}/{number}"), String::new())).collect();
    for tool in tools {
        let Some(schema) = &tool.input_schema else { continue };
        let entry = format!("{}:{schema}", Value::from(tool.name.as_str()));
        if let Some((_, text)) = shelves.iter_mut().find(|(key, _)| *key == shelf(&tool.name))
            && text.len() + entry.len() < SHELF_BYTES_MAX
        {
            text.push(if text.is_empty() { '{' } else { ',' });
            text.push_str(&entry);
        }
    }
    let mut unkept = None;
    for (key, mut text) in shelves {
        text.push_str(if text.is_empty() { "{}" } else { "}" });
        let kept = match state::get_by(client.host(), &key) {
            Ok(kept) => kept,
            Err(error) => {
                unkept = Some(error);
                break;
            }
        };
        let same = kept.as_ref().map_or(text == "{}", |entry| entry.value == text.as_bytes());
        if same {
            continue;
        }
        match state::set_if_by(client.host(), &key, text.as_bytes(), kept.map(|entry| entry.revision)) {
            // Another call has listed them just now.
            Ok(_) | Err(HostError::Conflict(_)) => {}
            Err(error) => unkept = Some(error),
        }
    }
    if let Some(error) = unkept {
        let told = format!("the schemas of the tools are not kept: {error:?}");
        client.host().log(Level::Warn, &told, None);
    }
}

/// Where the schema of a tool is kept.
fn shelf(tool: &str) -> String {
    // FNV-1a: the same in every build.
    let hash =
        tool.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    format!("{SHELF}/{}", hash % SHELVES)
}

/// Arguments that a server without sessions wants as headers too (SEP-2243): those whose schema names one.
pub(crate) fn headers(schema: &Value, arguments: &Value) -> Vec<(String, String)> {
    let mut headers = Vec::new();
    collect(schema, arguments, &mut headers);
    headers
}

fn collect(schema: &Value, value: &Value, headers: &mut Vec<(String, String)>) {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
    for (name, schema) in properties {
        let Some(value) = value.get(name) else { continue };
        let header = schema.get("x-mcp-header").and_then(Value::as_str);
        let text = match value {
            Value::String(text) => Some(text.clone()),
            Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
            _ => None,
        };
        if let Some((header, text)) = header.zip(text) {
            headers.push((
                format!("mcp-param-{}", header.to_ascii_lowercase()),
                header_value(&text).into_owned(),
            ));
        }
        collect(schema, value, headers);
    }
}

/// Why nobody may call the tool: its schema asks for headers that there cannot be (SEP-2243). Such a tool is left out, and not
/// called half as its server wants it.
pub fn unsendable(schema: &Value) -> Option<String> {
    asked(schema, &mut BTreeSet::new())
}

/// Whether a tool, as the server lists it, is such a one.
pub(crate) fn is_left_out(listed: &str) -> bool {
    let tool = serde_json::from_str::<Tool>(listed).ok();
    tool.and_then(|tool| tool.input_schema).is_some_and(|schema| unsendable(&schema).is_some())
}

fn asked(schema: &Value, seen: &mut BTreeSet<String>) -> Option<String> {
    let properties = schema.get("properties").and_then(Value::as_object)?;
    properties.iter().find_map(|(name, property)| {
        let wrong = property.get("x-mcp-header").and_then(|header| {
            let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
            let kind = property.get("type").and_then(Value::as_str).unwrap_or_default();
            match header.as_str() {
                _ if matches!(kind, "number" | "object" | "array" | "null") => {
                    Some("of a type that no header has")
                }
                Some(header) if header.is_empty() || !header.bytes().all(token) => {
                    Some("by no header's name")
                }
                Some(header) if !seen.insert(header.to_ascii_lowercase()) => {
                    Some("by a name of another one's")
                }
                Some(_) => None,
                None => Some("by no name"),
            }
        });
        let shown: String = name.chars().take(100).collect();
        wrong
            .map(|why| format!("argument '{}' is to be sent as a header {why}", shown.escape_debug()))
            .or_else(|| asked(property, seen))
    })
}

/// The failure of a call of a tool that the server does not have.
pub(crate) fn unknown(name: &str, tools: &[Tool]) -> Failure {
    let near = nearest(name, tools.iter().map(|tool| tool.name.as_str()));
    let shown = name.chars().take(100).collect::<String>();
    let mut message = format!("the server has no tool '{}'", shown.escape_debug());
    if !near.is_empty() {
        message.push_str(&format!("; the nearest: {}", near.join(", ")));
    } else if tools.is_empty() {
        message.push_str(", nor any other");
    }
    Failure::InvalidConfig(message)
}

/// Up to three names that are like `wanted`, the most alike first.
pub fn nearest<'n>(wanted: &str, names: impl Iterator<Item = &'n str>) -> Vec<&'n str> {
    let plain = |text: &str| -> Vec<char> {
        let letters = text.chars().filter(|c| !matches!(c, '-' | '_' | '.' | ' ' | '/'));
        letters.flat_map(char::to_lowercase).take(100).collect()
    };
    let wanted = plain(wanted);
    let most = (wanted.len() / 3).max(2);
    let mut found: Vec<(usize, &str)> =
        names.map(|name| (distance(&wanted, &plain(name)), name)).filter(|(far, _)| *far <= most).collect();
    found.sort_unstable();
    found.into_iter().take(3).map(|(_, name)| name).collect()
}

/// How many letters have to be put in, taken out or changed (Levenshtein).
fn distance(left: &[char], right: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, one) in left.iter().enumerate() {
        let mut diagonal = index;
        let mut before = index + 1;
        let mut next = Vec::with_capacity(row.len());
        next.push(before);
        for (other, above) in right.iter().zip(row.iter().skip(1)) {
            let changed = diagonal + usize::from(one != other);
            before = changed.min(above + 1).min(before + 1);
            diagonal = *above;
            next.push(before);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}
