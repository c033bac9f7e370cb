//! `openact doctor`.

use openact::{Error, Result};

use crate::{app::App, args::Doctor, output::Output};

pub(crate) async fn doctor(_app: &App, _args: Doctor) -> Result<Output> {
    Err(Error::internal("not there yet"))
}
