//! `openact list`: what is stored, latest versions. The table has what fits a line, JSON has all of it.

use openact::{ConnectorName, Error, OpenAct, Record, Result, RunFilter, RunRecord, Timestamp};
use serde_json::{Value, json};

use crate::{
    app::App,
    args::{self, Listed},
    commands::connector,
    output::{List, Output},
};

pub(crate) async fn list(app: &App, args: args::List) -> Result<Output> {
    if args.connection.is_some() && !matches!(args.what, Listed::Actions) {
        return Err(Error::invalid_input("--connection narrows a list of actions only"));
    }
    let openact = app.stored().await?;
    Ok(Output::List(match args.what {
        Listed::Connectors => connector::list(openact, args.connector.as_ref()).await?,
        Listed::Connections => connections(app, openact, &args).await?,
        Listed::Actions => actions(app, openact, &args).await?,
        Listed::Runs => runs(app, openact, &args).await?,
        Listed::Secrets => secrets(app, openact, args.connector.as_ref()).await?,
    }))
}

async fn connections(app: &App, openact: &OpenAct, args: &args::List) -> Result<List> {
    let mut list =
        List { header: &["connection", "authorization", "updated"], rows: vec![], records: vec![] };
    for record in openact.list_connections(&app.settings.tenant, args.connector.as_ref()).await? {
        let authorization =
            record.config.get("authorization").and_then(|section| section.get("type")?.as_str());
        list.rows.push(vec![
            record.trn.short(),
            authorization.unwrap_or("none").to_owned(),
            seconds(record.updated_at),
        ]);
        list.records.push(Record::Connection(record).to_json());
    }
    Ok(list)
}

async fn actions(app: &App, openact: &OpenAct, args: &args::List) -> Result<List> {
    let mut list =
        List { header: &["action", "connection", "mcp", "updated"], rows: vec![], records: vec![] };
    for record in
        openact.list_actions(&app.settings.tenant, args.connector.as_ref(), args.connection.as_ref()).await?
    {
        let mcp = if record.mcp_enabled { "yes" } else { "no" }.to_owned();
        list.rows.push(vec![record.trn.short(), record.connection.short(), mcp, seconds(record.updated_at)]);
        list.records.push(Record::Action(record).to_json());
    }
    Ok(list)
}

async fn runs(app: &App, openact: &OpenAct, args: &args::List) -> Result<List> {
    let mut list =
        List { header: &["run", "action", "status", "ms", "started"], rows: vec![], records: vec![] };
    let filter = RunFilter { connector: args.connector.clone(), ..Default::default() };
    for record in openact.list_runs(&app.settings.tenant, args.limit, &filter).await? {
        list.rows.push(run_row(&record));
        list.records.push(record.to_json());
    }
    Ok(list)
}

fn run_row(record: &RunRecord) -> Vec<String> {
    let status = record.failure.as_ref().map_or("ok", |(code, _)| code.as_str()).to_owned();
    let ms = format!("{:.1}", record.duration_us as f64 / 1000.0);
    vec![record.id.to_string(), record.action.short(), status, ms, seconds(record.started_at)]
}

/// Every secret, or those that came with a connection of one connector.
pub(crate) async fn secrets(app: &App, openact: &OpenAct, connector: Option<&ConnectorName>) -> Result<List> {
    let mut list = List { header: &["secret", "updated"], rows: vec![], records: vec![] };
    for secret in openact.list_secrets(&app.settings.tenant).await? {
        // A secret that came with a connection has the connector in its name.
        let of = |connector: &ConnectorName| secret.name.starts_with(&format!("connection/{connector}/"));
        if connector.is_some_and(|connector| !of(connector)) {
            continue;
        }
        list.records.push(secret_json(&secret));
        list.rows.push(vec![secret.name, seconds(secret.updated_at)]);
    }
    Ok(list)
}

fn secret_json(secret: &openact::StoredSecret) -> Value {
    json!({ "name": secret.name, "created_at": secret.created_at, "updated_at": secret.updated_at })
}

/// A time without its fraction, for a table.
fn seconds(time: Timestamp) -> String {
    let text = time.to_string();
    text.split_once('.').map_or(text.clone(), |(whole, _)| format!("{whole}Z"))
}
