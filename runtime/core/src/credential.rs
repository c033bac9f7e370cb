//! What the host adds to a request so that the other system knows who asks.
//!
//! Invariant: a [`Credential`] is bound to one origin; a request to any other gets none of it.

use secrecy::SecretString;

use crate::policy::Origin;

/// A credential, ready to be applied.
#[derive(Debug)]
pub struct Credential {
    /// The only origin it is sent to.
    pub origin: Origin,
    /// What is added to each request.
    pub injections: Vec<Injection>,
}

/// One thing added to a request. It replaces whatever a guest or caller set by the same name.
#[derive(Debug)]
pub enum Injection {
    /// A header.
    Header {
        /// Its name, in lower case.
        name: String,
        /// Its whole value.
        value: SecretString,
    },
    /// A query parameter.
    Query {
        /// Its name.
        name: String,
        /// Its value, not yet encoded.
        value: SecretString,
    },
    /// A cookie.
    Cookie {
        /// Its name.
        name: String,
        /// Its value.
        value: SecretString,
    },
}
