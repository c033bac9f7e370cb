//! `output`: results streamed while the call runs, as the contract has it. Only in a component; no fake yet.

pub use crate::bindings::openact::connector::output::emit;
