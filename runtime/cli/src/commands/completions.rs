//! `openact completions`: a script that knows every command and flag, because it is made from them.

use clap::CommandFactory;

use crate::{args::Cli, output::Output};

pub(crate) fn completions(shell: clap_complete::Shell) -> Output {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "openact", &mut script);
    Output::Text(String::from_utf8_lossy(&script).into_owned())
}
