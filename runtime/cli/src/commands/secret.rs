//! `openact secret`: the secrets that configuration refers to by name.
//!
//! Invariant: a value comes from a terminal without being shown, a pipe, a variable or a file; it is never repeated,
//! and what held it is zeroed.

use std::{
    fs::File,
    io::{IsTerminal, Read},
    path::Path,
};

use openact::{Error, Result, SecretString, limits::SECRET_FILE_BYTES_MAX};
use serde_json::json;
use zeroize::Zeroizing;

use crate::{
    app::App,
    args::{Secret, SetSecret},
    commands::{input::unreadable, list},
    output::Output,
    terminal,
};

pub(crate) async fn secret(app: &App, command: Secret) -> Result<Output> {
    let tenant = &app.settings.tenant;
    match command {
        Secret::Set(args) => {
            refuse_argument(&args)?;
            // Opened before the value is asked for: nobody should type one in to hear that there is no database.
            let openact = app.openact().await?;
            let value = value(&args).await?;
            openact.set_secret(tenant, &args.name, &value).await?;
            Ok(Output::Lines(format!("set {}\n", args.name), json!({ "set": args.name.as_str() })))
        }
        Secret::List => Ok(Output::List(list::secrets(app, app.stored().await?, None).await?)),
        Secret::Delete { name, force } => {
            app.openact().await?.delete_secret(tenant, &name, force).await?;
            Ok(Output::Lines(format!("deleted {name}\n"), json!({ "deleted": name.as_str() })))
        }
    }
}

fn refuse_argument(args: &SetSecret) -> Result<()> {
    let Some(_) = args.refused else { return Ok(()) };
    Err(Error::invalid_input(
        "the value of a secret is no argument: other users can read those, and the shell keeps them",
    )
    .hint("leave it out and type it when asked, pipe it in, or use --from-env or --from-file"))
}

async fn value(args: &SetSecret) -> Result<SecretString> {
    if let Some(name) = &args.from_env {
        return match std::env::var(name).map(Zeroizing::new) {
            Ok(text) => Ok(SecretString::from(text.as_str())),
            Err(std::env::VarError::NotPresent) => {
                Err(Error::invalid_input(format!("there is no environment variable {name}")))
            }
            Err(_) => Err(Error::invalid_input(format!("environment variable {name} is not UTF-8"))),
        };
    }
    if let Some(path) = &args.from_file {
        return read_blocking(path.display().to_string(), open(path)).await;
    }
    if std::io::stdin().is_terminal() {
        return ask(&format!("value of secret '{}': ", args.name)).await;
    }
    read_blocking("standard input".into(), terminal::input()).await
}

/// Asks a person for a secret, without showing it.
pub(crate) async fn ask(question: &str) -> Result<SecretString> {
    let _hidden = terminal::ask_hidden(question)?;
    read_blocking("the terminal".into(), terminal::input()).await
}

fn open(path: &Path) -> Result<File> {
    File::open(path).map_err(|error| unreadable(&secret_in(&path.display().to_string()), &error))
}

/// Reads off the runtime's threads: a person or a pipe may take its time, and Ctrl-C still ends the process.
async fn read_blocking(name: String, from: Result<File>) -> Result<SecretString> {
    let from = from?;
    tokio::task::spawn_blocking(move || read(&name, from))
        .await
        .map_err(|error| Error::internal("failed to read a secret").because(error))?
}

/// All there is, or one line of a terminal; without a line break at the end.
fn read(name: &str, mut from: File) -> Result<SecretString> {
    let one_line = from.is_terminal();
    // With all the room there from the start, no copy is left behind by growing.
    let mut buffer = Zeroizing::new(vec![0; SECRET_FILE_BYTES_MAX as usize + 3]);
    let mut length = 0;
    while let Some(rest) = buffer.get_mut(length..).filter(|rest| !rest.is_empty()) {
        let count = from.read(rest).map_err(|error| unreadable(&secret_in(name), &error))?;
        length += count;
        if count == 0 || (one_line && buffer.get(..length).is_some_and(|read| read.ends_with(b"\n"))) {
            break;
        }
    }
    let text = std::str::from_utf8(buffer.get(..length).unwrap_or_default())
        .map_err(|_| Error::invalid_input(format!("the secret in {name} is not UTF-8")))?;
    let text = text.strip_suffix('\n').map_or(text, |text| text.strip_suffix('\r').unwrap_or(text));
    Ok(SecretString::from(text))
}

fn secret_in(name: &str) -> String {
    format!("the secret from {name}")
}
