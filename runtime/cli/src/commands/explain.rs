//! `openact explain`: a run or an action, told in full as JSON and for people as a table with what goes around it.

use std::fmt::Write;

use openact::{Explanation, Result, RunRecord, SecretRef, Setting, SettingOrigin};
use serde_json::{Value, json};

use crate::{
    app::App,
    args,
    commands::{input, run::opened},
    failure::clean,
    output::{List, Output},
};

/// Characters of a value in the table; JSON has all of it.
const SHOWN_MAX: usize = 72;

pub(crate) async fn explain(app: &App, args: args::Explain) -> Result<Output> {
    let input = match (&args.call.input, args.call.set.is_empty()) {
        (None, true) => None,
        _ => Some(input::read(args.call.input, &args.call.set).await?),
    };
    let openact = opened(app, &args.call.source, &args.call.connector).await?;
    let explanation = openact.explain(&app.settings.tenant, &args.reference, input).await?;
    Ok(Output::Lines(lines(&explanation), explanation.to_json()))
}

fn lines(explanation: &Explanation) -> String {
    let (version, digest) = &explanation.connector;
    let mut text = String::new();
    let _ = write!(
        text,
        "action      {} ({})\nconnection  {}\nconnector   {} {version} {digest}\n\n",
        explanation.action.short(),
        explanation.operation,
        explanation.connection.short(),
        explanation.action.connector,
    );
    let rows = explanation.configuration.iter().map(row).collect();
    text += &List { header: &["path", "value", "origin"], rows, records: Vec::new() }.to_table();
    text += &reaches(explanation);
    text += &credential(&explanation.credential);
    match &explanation.request {
        None => {}
        Some(Ok(request)) => text += &format!("\nREQUEST\n{}", request_lines(request)),
        Some(Err(error)) => {
            let _ = writeln!(text, "\nREQUEST\nnone: {}", clean(&error.message));
        }
    }
    if let Some(run) = &explanation.run {
        text += &run_lines(run);
    }
    for note in &explanation.notes {
        let _ = write!(text, "\nnote: {note}\n");
    }
    text
}

fn row(setting: &Setting) -> Vec<String> {
    let is_reference = setting.origin == SettingOrigin::Connection;
    let reference = SecretRef::from_json(&setting.value).filter(|_| is_reference);
    let value = match (reference, &setting.value) {
        (Some(SecretRef::Stored(name)), _) => format!("secret {name}"),
        (Some(SecretRef::Env(name)), _) => format!("env {name}"),
        (Some(SecretRef::File(path)), _) => format!("file {path}"),
        (Some(SecretRef::Vault { .. }) | None, Value::String(text)) if !text.is_empty() => text.clone(),
        (_, Value::Null) => "none".to_owned(),
        (_, value) => value.to_string(),
    };
    vec![setting.path.clone(), cut(&value), setting.origin.to_string()]
}

fn cut(text: &str) -> String {
    let mut short: String = text.chars().take(SHOWN_MAX).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

fn reaches(explanation: &Explanation) -> String {
    let mut text = "\nREACHES\n".to_owned();
    for origin in explanation.reaches.origins() {
        let _ = writeln!(text, "{origin}");
    }
    if let Some(origin) = &explanation.token_endpoint {
        let _ = writeln!(text, "{origin} (the host itself, for tokens)");
    }
    let private = explanation.reaches.private();
    let mut open: Vec<String> = private.rules().iter().map(ToString::to_string).collect();
    if private.opens_named_hosts() {
        open.insert(0, "hosts that the connection names".to_owned());
    }
    let open = if open.is_empty() { "none".to_owned() } else { open.join(", ") };
    let _ = writeln!(text, "private addresses: {open}");
    text
}

fn credential(credential: &Value) -> String {
    let text = |key: &str| credential.get(key).and_then(Value::as_str);
    let Some(kind) = text("type") else { return "\nCREDENTIAL\nnone\n".to_owned() };
    let mut line = format!("\nCREDENTIAL\n{kind}");
    for name in credential.get("secrets").and_then(Value::as_array).into_iter().flatten() {
        let _ = write!(line, " {}", clean(name.as_str().unwrap_or_default()));
    }
    for (before, key) in [(" ", "auth_ref"), (", to ", "origin"), (", below ", "path_prefix")] {
        if let Some(value) = text(key) {
            let _ = write!(line, "{before}{}", clean(value));
        }
    }
    if let Some(message) = credential.pointer("/error/message").and_then(Value::as_str) {
        let _ = write!(line, "\nmissing: {}", clean(message));
    }
    line + "\n"
}

fn request_lines(request: &Value) -> String {
    let (Some(method), Some(url)) = (request.get("method"), request.get("url")) else {
        return format!("{request:#}\n");
    };
    let plain = |value: &Value| clean(value.as_str().unwrap_or(&value.to_string()));
    let mut text = format!("{} {}\n", plain(method), plain(url));
    for (name, value) in request.get("headers").and_then(Value::as_object).into_iter().flatten() {
        let _ = writeln!(text, "{}: {}", clean(name), plain(value).replace('\n', " "));
    }
    for added in request.get("credential").and_then(Value::as_array).into_iter().flatten() {
        let _ = writeln!(text, "(credential: {})", plain(added));
    }
    match request.get("body") {
        None | Some(Value::Null) => {}
        Some(Value::String(body)) => {
            let _ = writeln!(text, "\n{}", clean(body));
        }
        Some(body) => {
            let _ = writeln!(text, "\n{body:#}");
        }
    }
    text
}

fn run_lines(run: &RunRecord) -> String {
    let ended = match &run.failure {
        None => "ok".to_owned(),
        Some((code, message)) => format!("{code}: {}", clean(message)),
    };
    let ms = |us: u64| us as f64 / 1000.0;
    let mut text = format!(
        "\nRUN\n{} of {} through {}, {:.1} ms\n{ended}\n",
        run.id,
        run.started_at,
        run.door.as_str(),
        ms(run.duration_us)
    );
    for call in &run.host_calls {
        let (function, target, outcome) = (&call.function, clean(&call.target), &call.outcome);
        let _ = writeln!(text, "{function} {target}: {outcome}, {:.1} ms", ms(call.duration_us));
    }
    if let Value::Object(usage) = json!(run.usage) {
        let used: Vec<String> = usage.iter().map(|(name, value)| format!("{name} {value}")).collect();
        let _ = writeln!(text, "used: {}", used.join(", "));
    }
    text
}
