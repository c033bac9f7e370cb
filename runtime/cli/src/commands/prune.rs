//! `openact prune`.

use openact::{Error, Result};

use crate::{app::App, args::Prune, output::Output};

pub(crate) async fn prune(_app: &App, _args: Prune) -> Result<Output> {
    Err(Error::internal("not there yet"))
}
