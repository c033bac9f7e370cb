//! `openact.search`: finds actions by words, where there are more than a model should be shown at once.
//!
//! Invariant: it finds what the caller may run and what is for MCP clients, and nothing else.

use std::sync::Arc;

use openact::{Error, Interface, Result, limits::MCP_FOUND_MAX};
use rmcp::model::{Tool, ToolAnnotations};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{McpCaller, Server, names::SEARCH, tools};

/// Found by one search that does not say how many.
const FOUND: usize = 10;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Arguments {
    #[serde(default)]
    query: String,
    limit: Option<usize>,
}

/// The tool as it is listed.
pub(crate) fn tool() -> Tool {
    let schema = json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "query": {"type": "string", "description": "words of what is to be done; without any, the first actions"},
            "limit": {"type": "integer", "minimum": 1, "maximum": MCP_FOUND_MAX, "default": FOUND},
        },
    });
    let schema = schema.as_object().cloned().unwrap_or_default();
    let description = "Find actions of OpenAct by words of their names and descriptions. What is found tells what the \
                       action takes; run it by openact.execute with its action_trn.";
    let annotations =
        ToolAnnotations::new().read_only(true).destructive(false).idempotent(true).open_world(false);
    Tool::new(SEARCH, description, Arc::new(schema)).with_annotations(annotations)
}

/// The actions that fit best, with what they take.
pub(crate) async fn search(
    server: &Server,
    caller: &McpCaller,
    arguments: Map<String, Value>,
) -> Result<Value> {
    let arguments: Arguments = serde_json::from_value(Value::Object(arguments)).map_err(|error| {
        Error::invalid_input(format!("the arguments of {SEARCH} are wrong: {error}"))
            .hint("give query, a text, and limit, a number")
    })?;
    let limit = arguments.limit.unwrap_or(FOUND).clamp(1, MCP_FOUND_MAX);
    let words: Vec<String> = words(&arguments.query).collect();
    let tools = server.catalog.tools(&server.openact, &caller.tenant).await?;
    let scored =
        tools.seen(&caller.governance).map(|(name, interface)| (score(name, interface, &words), interface));
    let mut found: Vec<(usize, &Interface)> =
        scored.filter(|(score, _)| words.is_empty() || *score > 0).collect();
    // By name, where they fit alike: the sort is stable.
    found.sort_by_key(|(score, _)| std::cmp::Reverse(*score));
    let total = found.len();
    let actions: Vec<Value> = found.into_iter().take(limit).map(|(_, interface)| told(interface)).collect();
    Ok(json!({ "actions": actions, "total": total }))
}

/// What is told of an action to whoever may run it.
pub(crate) fn told(interface: &Interface) -> Value {
    let action = &interface.action;
    json!({
        "action_trn": action,
        "connector": action.connector,
        "action": action.name,
        "version": action.version.get(),
        "description": tools::said(interface, "description").or(interface.description.as_deref()),
        "effect": interface.effect,
        "idempotent": interface.idempotent,
        "input_schema": interface.input_schema,
        "output_schema": interface.output_schema,
    })
}

/// How many of the words are in the name, which says most, and in what is said of the action.
fn score(name: &str, interface: &Interface, words: &[String]) -> usize {
    let action = &interface.action;
    let name = format!("{name} {} {}", action.connector, action.name).to_lowercase();
    let said = [tools::said(interface, "description"), interface.description.as_deref()];
    let said = said.into_iter().flatten().collect::<Vec<_>>().join(" ").to_lowercase();
    let fields = interface.input_schema.get("properties").and_then(Value::as_object);
    let fields = fields.map(|fields| fields.keys().cloned().collect::<Vec<_>>().join(" ").to_lowercase());
    let is_in = |text: &str, word: &String| usize::from(text.contains(word.as_str()));
    words
        .iter()
        .map(|word| {
            4 * is_in(&name, word)
                + 2 * is_in(&said, word)
                + fields.as_ref().map_or(0, |text| is_in(text, word))
        })
        .sum()
}

fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| word.len() > 1).map(str::to_lowercase)
}
