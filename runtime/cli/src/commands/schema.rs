//! `openact schema`: the JSON Schema of configuration files, with every connector of this installation.

use openact::{Error, Result};

use crate::{
    app::App,
    args::Schema,
    output::{self, Output},
};

pub(crate) async fn schema(app: &App, args: Schema) -> Result<Output> {
    let schema = app.openact().await?.file_schema().await?;
    let text = serde_json::to_string_pretty(&schema)
        .map_err(|error| Error::internal("failed to write the schema").because(error))?;
    let text = text + "\n";
    match args.output {
        None => Ok(Output::Text(text)),
        Some(path) => {
            output::to_file(&path, text.as_bytes())?;
            Ok(Output::Nothing)
        }
    }
}
