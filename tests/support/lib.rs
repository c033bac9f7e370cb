//! What the integration tests and the benchmark share: an upstream server, hostile and real servers with their
//! certificates, databases, an OpenAct set up for one test, the built command, the guests.
//!
//! Invariant: nothing here reaches beyond loopback, and every folder it makes is removed with its owner.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should stop where it is"
)]

pub mod ca;
pub mod chaos;
pub mod command;
pub mod databases;
pub mod fuzz;
pub mod guests;
pub mod openmetrics;
pub mod replies;
pub mod servers;
pub mod upstream;

use openact::{Builder, OpenAct};

/// A builder that keeps nothing outside `folder` and reads no environment but `env`.
pub fn builder(folder: &std::path::Path, env: &[(&str, &str)]) -> Builder {
    let env: std::collections::HashMap<String, String> =
        env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    OpenAct::builder()
        .cache_folder(guests::compiled_folder())
        .env(move |name| env.get(name).cloned())
        .store(format!("sqlite://{}", folder.join("test.db").display()))
}
