//! `openact show`: one record, with secrets as references.

use openact::{Result, RunId};

use crate::{app::App, output::Output};

pub(crate) async fn show(app: &App, reference: &str) -> Result<Output> {
    let (openact, tenant) = (app.stored().await?, &app.settings.tenant);
    if let Ok(id) = reference.parse::<RunId>() {
        return Ok(Output::Record(openact.get_run(tenant, id).await?.to_json()));
    }
    Ok(Output::Record(openact.show(tenant, reference).await?.to_json()))
}
