//! `openact doctor`: what is wrong with this installation. What is found is the result; the exit code is that of the first
//! check that fails.

use openact::{ErrorCode, Finding, Health, Result};

use crate::{
    app::App,
    args::Doctor,
    output::{List, Output},
};

pub(crate) async fn doctor(app: &App, args: Doctor) -> Result<Output> {
    let url = app.settings.store()?;
    let found = openact::doctor(&url, &app.settings.tenant, &args.config).await;
    let failed = found.iter().find_map(|finding| finding.code).map_or(0, ErrorCode::exit_code);
    let list = List {
        header: &["check", "status", "what", "what to do"],
        rows: found.iter().map(row).collect(),
        records: found.iter().map(Finding::to_json).collect(),
    };
    Ok(Output::Verdict(Box::new(Output::List(list)), failed))
}

fn row(finding: &Finding) -> Vec<String> {
    let status = match finding.health {
        Health::Ok => "ok",
        Health::Warn => "warn",
        Health::Fail => "FAIL",
    };
    let hint = finding.hint.clone().unwrap_or_default();
    vec![finding.check.to_owned(), status.to_owned(), finding.what.clone(), hint]
}
