//! `credentials`: using a secret without seeing it.
//!
//! Invariant: a [`Login`] belongs to the socket it was begun on; what it answers is of use there only.

use crate::{HostError, bindings::openact::connector::credentials};

pub use credentials::{length, reveal, sign};

/// A login that is going on, begun by [`crate::Stream::login`].
pub trait Login {
    /// The answer to one challenge, to be framed and sent. The first call of a client-first mechanism takes an empty
    /// challenge. An empty answer: there is nothing to send, or the host has sent it itself.
    fn step(&mut self, challenge: &[u8]) -> Result<Vec<u8>, HostError>;
}

/// The real one: a resource of the host.
impl Login for credentials::Login {
    fn step(&mut self, challenge: &[u8]) -> Result<Vec<u8>, HostError> {
        credentials::Login::step(self, challenge)
    }
}
