//! `openact check`: does a connection work, or every one? What is found is the result; the exit code sums it up.

use openact::{CheckOutcome, CheckReport, Error, Result};

use crate::{
    app::App,
    args,
    commands::run::opened,
    output::{List, Output},
};

pub(crate) async fn check(app: &App, args: args::Check) -> Result<Output> {
    let openact = opened(app, &args.source, &[]).await?;
    let tenant = &app.settings.tenant;
    let (reports, one) = match &args.connection {
        Some(reference) => (vec![openact.check_connection(tenant, reference).await?], true),
        None => (openact.check_all(tenant, args.connector.as_ref()).await?, false),
    };
    if reports.is_empty() {
        tracing::warn!("there are no connections to check");
    }
    let failed = reports.iter().find_map(CheckReport::error).map_or(0, |error| error.code.exit_code());
    let list = List {
        header: &["connection", "status", "ms", "what"],
        rows: reports.iter().map(row).collect(),
        records: reports.iter().map(CheckReport::to_json).collect(),
    };
    let output = match list.records.first() {
        Some(report) if one => Output::Lines(list.to_table(), report.clone()),
        _ => Output::List(list),
    };
    Ok(Output::Verdict(Box::new(output), failed))
}

fn row(report: &CheckReport) -> Vec<String> {
    let mut what = match &report.outcome {
        CheckOutcome::Works(result) => result.to_string(),
        CheckOutcome::Fails(error) => told(error),
        CheckOutcome::Unchecked => "this connector cannot check a connection".to_owned(),
    };
    if let Some(note) = &report.note {
        what = format!("{what}; {note}");
    }
    let ms = format!("{:.1}", report.duration.as_micros() as f64 / 1000.0);
    vec![report.connection.short(), report.status().to_owned(), ms, what]
}

fn told(error: &Error) -> String {
    let mut text = format!("{}: {}", error.code, error.message);
    if let Some(hint) = &error.hint {
        text.push_str("; ");
        text.push_str(hint);
    }
    text
}
