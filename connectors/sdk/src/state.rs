//! `state`: small values kept between calls, as the contract has them. Only in a component; no fake yet.

pub use crate::bindings::openact::connector::state::{Entry, delete, get, set_if};
