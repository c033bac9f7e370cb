//! Configuration files of OpenAct: read with positions, substitute, check, write.
//!
//! ```text
//! text ─ parse ─► JSON ─ shapes ─► entries ─ legacy ─ walk (names, variables) ─ check (schemas) ─► Document
//!                   └── positions, read a second time only where a mistake needs its line
//! ```
//!
//! Read in this order: [`document`] (what comes out), `read` (the order of things), `parse` (text to JSON),
//! `shapes` (the two shapes of a file), `legacy` (earlier spellings), `walk` and `substitute` (keys and `${VAR}`),
//! `connector`, `check` and `parameters` (schemas), `problems` and `positions` (mistakes and where they are), and the way back, [`write()`].
//!
//! Invariant: nothing here reads the environment or a store; both are handed in. No message of this crate quotes a secret.

pub mod age;
mod check;
mod connection_url;
mod connector;
pub mod document;
mod file_schema;
mod legacy;
mod parameters;
mod parse;
mod positions;
mod problems;
mod read;
mod shapes;
mod substitute;
pub mod template;
mod toml_file;
mod walk;
mod write;
mod written;

pub use document::{ActionDraft, ConnectionDraft, Context, Document, Format, SecretsMode};
pub use file_schema::file_schema;
pub use problems::together;
pub use read::{read_file, read_text};
pub use write::{Export, write};

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;
