//! `openact audit`.

use openact::{Error, Result};

use crate::{app::App, args::Audit, output::Output};

pub(crate) async fn audit(_app: &App, _args: Audit) -> Result<Output> {
    Err(Error::internal("not there yet"))
}
