//! `openact list`: what is stored, latest versions. The table has what fits a line, JSON has all of it.

use openact::{ConnectorName, Error, OpenAct, Record, Result, RunFilter, RunRecord, Timestamp};
use serde_json::{Value, json};

use crate::{
    app::App,
    args::{self, Listed},
    commands::connector,
    output::{self, List, Output},
};

pub(crate) async fn list(app: &App, args: args::List) -> Result<Output> {
    if args.connection.is_some() && !matches!(args.what, Listed::Actions) {
        return Err(Error::invalid_input("--connection narrows a list of actions only"));
    }
    let openact = app.stored().await?;
    let list = match args.what {
        Listed::Connectors => connector::list(openact, args.connector.as_ref()).await?,
        Listed::Connections => connections(app, openact, &args).await?,
        Listed::Actions => actions(app, openact, &args).await?,
        Listed::Runs => runs(app, openact, &args).await?,
        Listed::Secrets => secrets(app, openact, args.connector.as_ref()).await?,
    };
    if list.rows.is_empty() {
        explain_none(app, openact, &args).await?;
    }
    Ok(Output::List(list))
}

/// Nothing is listed: an error if what narrows the list is not there, else for people what to do about it.
async fn explain_none(app: &App, openact: &OpenAct, args: &args::List) -> Result<()> {
    let tenant = &app.settings.tenant;
    if let Some(connector) = &args.connector {
        openact.connector_info(connector).await?;
    }
    if let Some(connection) = &args.connection {
        openact.show_connection(tenant, connection.as_str()).await?;
    }
    let text = match args.what {
        Listed::Connectors => "there are no connectors",
        Listed::Connections => "there are no connections; add some with: openact import FILE",
        Listed::Actions => "there are no actions; add some with: openact import FILE",
        Listed::Runs => "there are no runs; make one with: openact run ACTION",
        Listed::Secrets => "there are no secrets; set one with: openact secret set NAME",
    };
    let of = args.connector.as_ref().map_or_else(String::new, |connector| format!(" of '{connector}'"));
    let text = text.replacen(';', &format!("{of};"), 1);
    output::note(&app.settings, &text);
    Ok(())
}

async fn connections(app: &App, openact: &OpenAct, args: &args::List) -> Result<List> {
    let mut list =
        List { header: &["connection", "authorization", "updated"], rows: vec![], records: vec![] };
    for record in openact.list_connections(&app.settings.tenant, args.connector.as_ref()).await? {
        let authorization = openact.credential_kind(&record).await;
        list.rows.push(vec![record.trn.short(), authorization, seconds(record.updated_at)]);
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
    let ok = if record.dry_run { "dry run" } else { "ok" };
    let status = record.failure.as_ref().map_or(ok, |(code, _)| code.as_str()).to_owned();
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
