//! `openact export`: the configuration as a file that `import` reads.

use openact::{Format, Result};

use crate::{app::App, args, output, output::Output};

pub(crate) async fn export(app: &App, args: args::Export) -> Result<Output> {
    let format = match (&args.output, app.settings.format) {
        (Some(path), _) => Format::of(path)?,
        (None, Some(args::Format::Json)) => Format::Json,
        (None, _) => Format::Yaml,
    };
    let text = app.openact().await?.export(&app.settings.tenant, &args.connector, format).await?;
    match args.output {
        None => Ok(Output::Text(text)),
        Some(path) => {
            output::to_file(&path, &text)?;
            Ok(Output::Nothing)
        }
    }
}
