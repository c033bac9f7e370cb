//! `openact connector`: which connectors and templates there are, what they say of themselves, third-party ones.

use std::path::Path;

use openact::{ConnectorInfo, ConnectorName, Error, OpenAct, Replacing, Result};
use serde_json::{Value, json};

use crate::{
    app::App,
    args::Connector,
    output::{List, Output},
};

pub(crate) async fn connector(app: &App, command: Connector) -> Result<Output> {
    match command {
        Connector::List => Ok(Output::List(list(app.openact().await?, None).await?)),
        Connector::Inspect { what } => inspect(app, &what).await.map(Output::Record),
        Connector::Install { file, grant, allow_new_hosts, force } => {
            let replacing = Replacing { new_hosts: allow_new_hosts, broken_actions: force };
            let info = app.openact().await?.install_connector_file(&file, grant, replacing).await?;
            let mut line =
                format!("installed {} {} ({})\n", info.manifest.name, info.manifest.version, info.digest);
            if let Some(reaches) = info.reaches.as_ref().filter(|reaches| !reaches.is_empty()) {
                line.push_str(&format!("reaches {}\n", reaches.join(", ")));
            }
            Ok(Output::Lines(line, to_json(&info)?))
        }
        Connector::Remove { name } => {
            app.openact().await?.remove_connector(&name).await?;
            Ok(Output::Lines(format!("removed {name}\n"), json!({ "removed": name })))
        }
    }
}

/// Every connector, or the one of that name.
pub(crate) async fn list(openact: &OpenAct, only: Option<&ConnectorName>) -> Result<List> {
    let mut list = List {
        header: &["connector", "version", "source", "extends", "needs", "summary"],
        rows: vec![],
        records: vec![],
    };
    for info in openact.list_connectors().await? {
        let record = to_json(&info)?;
        let (manifest, source) =
            (info.manifest, record.get("source").and_then(Value::as_str).unwrap_or_default());
        if only.is_some_and(|only| *only != manifest.name) {
            continue;
        }
        let needs = manifest.needs.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let extends = info.extends.as_ref().map_or("", ConnectorName::as_str);
        let cells = [manifest.name.as_str(), &manifest.version, source, extends, &needs, &manifest.summary];
        list.rows.push(cells.map(str::to_owned).to_vec());
        list.records.push(record);
    }
    Ok(list)
}

async fn inspect(app: &App, what: &str) -> Result<Value> {
    let path = Path::new(what);
    let is_file_name = [".wasm", ".yaml", ".yml"].iter().any(|end| what.ends_with(end));
    // A file needs no database to be looked at.
    let info = if path.is_file() || what.contains(['/', '\\']) || is_file_name {
        app.without_database(&[]).await?.inspect_connector_file(path).await?
    } else {
        app.openact().await?.connector_info(&ConnectorName::canonical(what)?).await?
    };
    let mut shown = to_json(&info)?;
    if info.template.is_some()
        && let Some(Value::Array(operations)) = shown.pointer_mut("/manifest/operations")
    {
        // Those of the base, once for each operation; what the template adds is told by itself.
        for operation in operations.iter_mut().filter_map(Value::as_object_mut) {
            operation.shift_remove("action_schema");
        }
    }
    Ok(shown)
}

fn to_json(info: &ConnectorInfo) -> Result<Value> {
    serde_json::to_value(info).map_err(|error| Error::internal("failed to write a manifest").because(error))
}
