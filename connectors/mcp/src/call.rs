//! The operations that ask for one thing: a tool, a resource, a prompt.
//!
//! Invariant: a tool is called at most once: it is asked again only where the server said that it did not run it.

use openact_connector::{
    Call, Failure, Host, Input, Json, UpstreamFailure,
    members::member,
    template::{Filled, expand_json, expand_text},
    variables::{Value as Variable, Variables},
    write::push_string,
};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use crate::{
    client::{Ask, Client, wants_input},
    config::{CallTool, Connection, GetPrompt, ReadResource},
    message::{RpcError, clipped, code, fits},
    schema::misfit,
    tools,
};

/// `call-tool`.
pub(crate) fn tool(call: Call<Connection, CallTool, Input>, host: &dyn Host) -> Result<Json, Failure> {
    let Call { connection, action, input: Input(input), id, dry_run, .. } = call;
    let client = Client::new(&connection, host, id, dry_run)?;
    client.stream(action.stream);
    let name = action.tool.as_str();
    let arguments = arguments(action.arguments.as_ref(), &input)?;
    let parsed: Value = arguments
        .parse()
        .map_err(|_| Failure::InvalidInput("the tool's arguments are no JSON object".into()))?;
    let mut schema = tools::kept(&client, name);
    if let Some(why) = schema.as_ref().and_then(tools::unsendable) {
        return Err(Failure::InvalidConfig(format!("the server's tool cannot be called: {why}")));
    }
    if let Some(outdated) = schema.as_ref().and_then(|schema| misfit(schema, &parsed)) {
        if dry_run {
            return Err(Failure::InvalidInput(outdated));
        }
        schema = Some(current(&client, name)?);
        if let Some(why) = schema.as_ref().and_then(|schema| misfit(schema, &parsed)) {
            return Err(Failure::InvalidInput(why));
        }
    }
    let mut params = String::from("\"name\":");
    push_string(&mut params, name);
    params.push_str(",\"arguments\":");
    params.push_str(arguments.as_str());
    let mut headers = schema.map(|schema| tools::headers(&schema, &parsed)).unwrap_or_default();
    let ask = |headers: &[(String, String)]| {
        client.ask(Ask { method: "tools/call", name: Some(name), params: &params, headers, progress: true })
    };
    let mut answer = ask(&headers)?;
    // It was refused for a header whose name only the schema has.
    if matches!(&answer, Err(error) if error.code == code::HEADER_MISMATCH) && client.is_stateless() {
        headers = tools::headers(&current(&client, name)?, &parsed);
        answer = ask(&headers)?;
    }
    match answer {
        Ok(result) => tool_result(&client, name, result.as_str()),
        Err(error) => Err(refused(&client, name, error)),
    }
}

/// `read-resource`.
pub(crate) fn resource(
    call: Call<Connection, ReadResource, Input>,
    host: &dyn Host,
) -> Result<Json, Failure> {
    let Call { connection, action, input: Input(input), id, dry_run, .. } = call;
    let client = Client::new(&connection, host, id, dry_run)?;
    let uri = fill_uri(&action.uri, &Variables::of(&input))?;
    let mut params = String::from("\"uri\":");
    push_string(&mut params, &uri);
    let ask = Ask { name: Some(&uri), ..Ask::new("resources/read", &params) };
    let result = client.ask(ask)?.map_err(RpcError::into_failure)?;
    members(result.as_str(), &["contents"])
}

/// `get-prompt`.
pub(crate) fn prompt(call: Call<Connection, GetPrompt, Input>, host: &dyn Host) -> Result<Json, Failure> {
    let Call { connection, action, input: Input(input), id, dry_run, .. } = call;
    let client = Client::new(&connection, host, id, dry_run)?;
    let mut params = String::from("\"name\":");
    push_string(&mut params, &action.prompt);
    params.push_str(",\"arguments\":");
    params.push_str(arguments(action.arguments.as_ref(), &input)?.as_str());
    let ask = Ask { name: Some(&action.prompt), ..Ask::new("prompts/get", &params) };
    let result = client.ask(ask)?.map_err(RpcError::into_failure)?;
    members(result.as_str(), &["messages", "description"])
}

/// What the action says, with its templates filled in, else the whole input.
fn arguments(configured: Option<&Json>, input: &Json) -> Result<Json, Failure> {
    let arguments = match configured {
        Some(configured) => expand_json(configured, "arguments", &Variables::of(input))?,
        None => Some(input.clone()),
    };
    match arguments.filter(|arguments| arguments.as_str().trim_start() != "null") {
        Some(arguments) if arguments.as_str().trim_start().starts_with('{') => Ok(arguments),
        Some(_) => Err(Failure::InvalidInput("the arguments are no object".into())),
        None => Ok(Json::from_text("{}".into())),
    }
}

/// The schema of a tool as the server has it now.
fn current(client: &Client<'_>, name: &str) -> Result<Value, Failure> {
    let tools = tools::fetch(client)?;
    match tools.iter().find(|tool| tool.name == name) {
        Some(tool) => Ok(tool.input_schema.clone().unwrap_or(Value::Bool(true))),
        None => Err(tools::unknown(name, &tools)),
    }
}

/// The failure of a tool that was refused: whether there is none of that name, only the list can tell for certain.
fn refused(client: &Client<'_>, name: &str, error: RpcError) -> Failure {
    if matches!(error.code, code::INVALID_PARAMS | code::METHOD_NOT_FOUND)
        && let Some(failure) = if_unknown(client, name)
    {
        return failure;
    }
    error.into_failure()
}

fn if_unknown(client: &Client<'_>, name: &str) -> Option<Failure> {
    let tools = tools::fetch(client).ok()?;
    let is_there = tools.iter().any(|tool| tool.name == name) || tools.len() >= tools::TOOLS_MAX;
    (!is_there).then(|| tools::unknown(name, &tools))
}

/// What is read of a tool's answer.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answered<'a> {
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    structured_content: Option<&'a RawValue>,
    #[serde(default)]
    is_error: Option<bool>,
    #[serde(default)]
    result_type: Option<String>,
}

fn tool_result(client: &Client<'_>, name: &str, result: &str) -> Result<Json, Failure> {
    let answered: Answered<'_> = parsed(result)?;
    complete(answered.result_type.as_deref(), result)?;
    let content = answered.content.map_or("[]", RawValue::get);
    let mut out = format!("{{\"content\":{content}");
    if let Some(structured) = answered.structured_content {
        out.push_str(&format!(",\"structured_content\":{structured}"));
    }
    out.push('}');
    if answered.is_error != Some(true) {
        return Ok(Json::from_text(out));
    }
    let said = text_of(content);
    // Some servers say it so that they have no such tool, and it is not worth another request for every error.
    let lower = said.to_lowercase();
    if (lower.contains("unknown") || lower.contains("not found"))
        && said.contains(name)
        && let Some(failure) = if_unknown(client, name)
    {
        return Err(failure);
    }
    let said = if said.is_empty() { "the tool failed and said nothing".into() } else { said };
    Err(Failure::Upstream(UpstreamFailure {
        code: Some("tool_error".into()),
        message: clipped(&said).to_owned(),
        details: Some(out).filter(|details| fits(details)),
        retryable: false,
    }))
}

/// The members of a result that are the caller's; the first has to be there.
fn members(result: &str, names: &[&str]) -> Result<Json, Failure> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Typed {
        #[serde(default)]
        result_type: Option<String>,
    }
    let typed: Typed = parsed(result)?;
    complete(typed.result_type.as_deref(), result)?;
    let mut out = String::new();
    for name in names {
        let Some(value) = member(result, name) else {
            if out.is_empty() {
                return Err(Failure::Protocol(format!("the server's result has no {name}")));
            }
            continue;
        };
        out.push(if out.is_empty() { '{' } else { ',' });
        push_string(&mut out, name);
        out.push(':');
        out.push_str(value);
    }
    out.push('}');
    Ok(Json::from_text(out))
}

fn parsed<'a, T: Deserialize<'a>>(result: &'a str) -> Result<T, Failure> {
    let wrong = |_| Failure::Protocol("the server's result is none that the protocol has".into());
    serde_json::from_str(result).map_err(wrong)
}

/// Refuses a result that is only half of one.
fn complete(kind: Option<&str>, result: &str) -> Result<(), Failure> {
    match kind {
        None | Some("complete") => Ok(()),
        Some("input_required") => Err(wants_input(result)),
        Some(other) => Err(Failure::Protocol(format!(
            "the server gave a result of type '{}', which this connector did not ask for",
            clipped(other).escape_debug()
        ))),
    }
}

/// The texts of content.
fn text_of(content: &str) -> String {
    #[derive(Deserialize)]
    struct Item {
        #[serde(default)]
        text: String,
    }
    let items: Vec<Item> = serde_json::from_str(content).unwrap_or_default();
    let texts: Vec<&str> =
        items.iter().map(|item| item.text.as_str()).filter(|text| !text.is_empty()).collect();
    texts.join("\n")
}

/// A URI with its variables filled in: as they are if the URI is one variable, else each as one segment, so that no
/// value leads to another resource than the configuration means.
fn fill_uri(template: &str, variables: &Variables<'_>) -> Result<String, Failure> {
    let text = |name: &str, json: &str| match Variable::of(json) {
        Variable::Text(text) => Ok(text.into_owned()),
        _ => Err(Failure::InvalidInput(format!("'{name}' must be text, a number or a boolean to be in uri"))),
    };
    let mut filled = String::with_capacity(template.len() + 32);
    let mut rest = template;
    while let Some((literal, after)) = rest.split_once("{{") {
        filled.push_str(literal);
        let Some((inside, after)) = after.split_once("}}") else {
            return Err(Failure::InvalidConfig("uri has '{{' that begins no {{name}}".into()));
        };
        let whole = filled.is_empty() && after.is_empty();
        if let Filled::Value { name, json } = expand_text(&format!("{{{{{inside}}}}}"), "uri", variables)? {
            let value = text(name, json)?;
            if value.is_empty() || !whole && matches!(value.as_str(), "." | "..") {
                return Err(Failure::InvalidInput(format!("'{name}' cannot be that to be in uri")));
            }
            if whole { filled.push_str(&value) } else { push_segment(&mut filled, &value) }
        }
        rest = after;
    }
    filled.push_str(rest);
    if filled.is_empty() { Err(Failure::InvalidInput("the uri is empty".into())) } else { Ok(filled) }
}

/// Appends `text` with all but unreserved characters (RFC 3986 section 2.3) percent-encoded.
fn push_segment(out: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
}
