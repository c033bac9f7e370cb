//! `credentials`: using a secret without seeing it, as the contract has it. Only in a component; no fake yet.

pub use crate::bindings::openact::connector::credentials::{Login, length, reveal, sign};
