//! `openact show`: one record, with secrets as references; of an action, what it takes besides.

use openact::{Governance, Record, Result, RunId};
use serde_json::Value;

use crate::{app::App, output::Output};

pub(crate) async fn show(app: &App, reference: &str) -> Result<Output> {
    let (openact, tenant) = (app.stored().await?, &app.settings.tenant);
    if let Ok(id) = reference.parse::<RunId>() {
        return Ok(Output::Record(openact.get_run(tenant, id).await?.to_json()));
    }
    let record = openact.show(tenant, reference).await?;
    let mut shown = record.to_json();
    if let (Record::Action(action), Value::Object(fields)) = (&record, &mut shown) {
        // One that cannot be called as it is stored is shown all the same.
        match openact.interface(tenant, &action.trn.to_string(), &Governance::default()).await {
            Ok(interface) => drop(fields.insert("input_schema".into(), interface.input_schema)),
            Err(error) => tracing::warn!("it cannot be called as it is: {error}"),
        }
    }
    Ok(Output::Record(shown))
}
