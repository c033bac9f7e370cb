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
    let names = placeholders(&text);
    if !names.is_empty() {
        tracing::warn!("secrets are left out; to import the file, set: {}", names.join(", "));
    }
    match args.output {
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
