//! `openact export`: the configuration as a file that `import` reads.

use openact::{Error, Format, Result};

use crate::{app::App, args, output, output::Output};

pub(crate) async fn export(app: &App, args: args::Export) -> Result<Output> {
    let format = match (&args.output, app.settings.format) {
        (Some(path), _) => Format::of(path)?,
        (None, Some(args::Format::Json)) => Format::Json,
        (None, None | Some(args::Format::Yaml)) => Format::Yaml,
        (None, Some(args::Format::Table | args::Format::Raw)) => {
            return Err(Error::invalid_input("a configuration file is YAML or JSON")
                .hint("use --format yaml or --format json"));
        }
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
