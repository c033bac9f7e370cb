//! `openact schema`.

use openact::{Error, Result};

use crate::{app::App, args::Schema, output::Output};

pub(crate) async fn schema(_app: &App, _args: Schema) -> Result<Output> {
    Err(Error::internal("not there yet"))
}
