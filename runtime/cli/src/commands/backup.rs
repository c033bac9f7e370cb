//! `openact backup`.

use openact::{Error, Result};

use crate::{
    app::App,
    args::{Backup, Restore},
    output::Output,
};

pub(crate) async fn backup(_app: &App, _args: Backup) -> Result<Output> {
    Err(Error::internal("not there yet"))
}

pub(crate) async fn restore(_app: &App, _args: Restore) -> Result<Output> {
    Err(Error::internal("not there yet"))
}
