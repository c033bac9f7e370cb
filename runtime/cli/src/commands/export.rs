//! `openact export`: the configuration as a file that `import` reads.

use std::path::PathBuf;

use openact::{Error, Format, Result};

use crate::{
    app::App,
    args,
    commands::encrypted,
    output::{self, Output},
};

pub(crate) async fn export(app: &App, args: args::Export) -> Result<Output> {
    let format = format(&args, app.settings.format)?;
    let (openact, tenant) = (app.stored().await?, &app.settings.tenant);
    if args.include_secrets {
        let keys = encrypted::keys_to_write(&args.recipient).await?;
        let text = openact.export_with_secrets(tenant, &args.connector, format, keys).await?;
        return written(args.output, text);
    }
    let text = openact.export(tenant, &args.connector, format).await?;
    let names = placeholders(&text);
    if !names.is_empty() {
        tracing::warn!("secrets are left out; to import the file, set: {}", names.join(", "));
    }
    written(args.output, text)
}

fn format(args: &args::Export, wanted: Option<args::Format>) -> Result<Format> {
    match (&args.output, wanted) {
        (Some(path), _) if encrypted::is_named(path) => match args.include_secrets {
            true => encrypted::format_within(path),
            false => {
                Err(Error::invalid_input(format!("'{}' is the name of an encrypted file", path.display()))
                    .hint("only an export with --include-secrets is encrypted"))
            }
        },
        (Some(path), _) if args.include_secrets => {
            Err(Error::invalid_input(format!("'{}' would be an encrypted file", path.display()))
                .hint(format!("name it {}.age", path.display())))
        }
        (Some(path), _) => Format::of(path),
        (None, Some(args::Format::Json)) => Ok(Format::Json),
        (None, None | Some(args::Format::Yaml)) => Ok(Format::Yaml),
        (None, Some(args::Format::Table | args::Format::Raw)) => {
            Err(Error::invalid_input("a configuration file is YAML, JSON or TOML")
                .hint("use --format yaml or --format json, or --output with the name of a file"))
        }
    }
}

fn written(output: Option<PathBuf>, text: String) -> Result<Output> {
    match output {
        None => Ok(Output::Text(text)),
        Some(path) => {
            output::to_file(&path, text.as_bytes())?;
            Ok(Output::Nothing)
        }
    }
}

/// The names in `${NAME}`; `$${` is no placeholder.
fn placeholders(text: &str) -> Vec<&str> {
    let mut names: Vec<&str> = text
        .match_indices("${")
        .filter(|(at, _)| !text.get(..*at).is_some_and(|before| before.ends_with('$')))
        .filter_map(|(at, open)| text.get(at + open.len()..)?.split(['}', ':']).next())
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_named_once_and_literals_are_not() {
        assert_eq!(placeholders("a: ${B}\nb: x${A}-${B:d}\nc: $${NOT}"), ["A", "B"]);
        assert!(placeholders("a: 1").is_empty());
    }
}
