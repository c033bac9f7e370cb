//! `openact sync`.

use openact::{Error, Result};

use crate::{app::App, args::Sync, output::Output};

pub(crate) async fn sync(_app: &App, _args: Sync) -> Result<Output> {
    Err(Error::internal("not there yet"))
}
