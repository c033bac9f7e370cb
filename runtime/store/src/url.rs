//! Where the database is.
//!
//! | form | meaning |
//! |---|---|
//! | `sqlite::memory:`, `:memory:` | in memory, gone when the store is closed |
//! | `sqlite:path`, `sqlite://path` | a file, relative to the working folder |
//! | `sqlite:///abs/path` | a file |
//! | `path` | a file |
//!
//! Refused: an empty text, another scheme, parameters (`?mode=…`), SQLite's own `file:` form. Invariant: a message
//! about a refused text does not repeat it, because a URL of another database may hold a password.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use openact_core::{Error, Result};

/// Where the database is. See the module for the forms it is parsed from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreUrl {
    location: Location,
    creates_folder: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Location {
    Memory,
    File(PathBuf),
}

impl StoreUrl {
    /// In memory, gone when the store is closed.
    pub fn memory() -> Self {
        Self { location: Location::Memory, creates_folder: false }
    }

    /// The file at `path`.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self { location: Location::File(path.into()), creates_folder: false }
    }

    /// Lets opening create the file's folder, for its owner alone: for the default path, which nobody typed.
    #[must_use]
    pub fn creating_folder(self) -> Self {
        Self { creates_folder: true, ..self }
    }

    /// The file; none in memory.
    pub fn path(&self) -> Option<&Path> {
        match &self.location {
            Location::Memory => None,
            Location::File(path) => Some(path),
        }
    }

    pub(crate) fn location(&self) -> &Location {
        &self.location
    }

    pub(crate) fn creates_folder(&self) -> bool {
        self.creates_folder
    }
}

impl FromStr for StoreUrl {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = |what: &str| {
            Error::invalid_config(format!("the database cannot be used: {what}"))
                .hint("expected sqlite:PATH, a path, or sqlite::memory:")
        };
        let lower = text.to_ascii_lowercase();
        if lower.starts_with("postgres://") || lower.starts_with("postgresql://") {
            return Err(bad("PostgreSQL is not supported yet"));
        }
        let is_url = lower.starts_with("sqlite:");
        let path = match text.get("sqlite:".len()..) {
            Some(rest) if is_url => rest.strip_prefix("//").unwrap_or(rest),
            _ if lower.starts_with("file:") => return Err(bad("a file: URL is not supported")),
            _ if text.contains("://") => return Err(bad("the scheme is not sqlite")),
            _ => text,
        };
        match path {
            "" => Err(bad("no path is given")),
            ":memory:" => Ok(Self::memory()),
            // sqlx and others take parameters here; ignoring them would be worse than a refusal.
            _ if is_url && path.contains('?') => Err(bad("parameters after '?' are not supported")),
            _ => Ok(Self::file(path)),
        }
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.location {
            Location::Memory => f.write_str("sqlite::memory:"),
            Location::File(path) => path.display().fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_the_table() {
        for (text, path) in [
            ("sqlite::memory:", None),
            ("sqlite://:memory:", None),
            (":memory:", None),
            ("sqlite:a/b.db", Some("a/b.db")),
            ("sqlite://a/b.db", Some("a/b.db")),
            ("sqlite:///a/b.db", Some("/a/b.db")),
            ("sqlite:/a/b.db", Some("/a/b.db")),
            ("SQLite:a.db", Some("a.db")),
            ("what?.db", Some("what?.db")),
            ("./a.db", Some("./a.db")),
        ] {
            let url: StoreUrl = text.parse().unwrap();
            assert_eq!(url.path(), path.map(Path::new), "{text}");
            assert_eq!(url.to_string().parse::<StoreUrl>().unwrap(), url, "{text}");
        }
    }

    #[test]
    fn other_databases_are_refused_without_repeating_their_password() {
        for text in [
            "postgres://u:hunter2@h/db",
            "PostgreSQL://u:hunter2@h/db",
            "mysql://u:hunter2@h/db",
            "",
            "sqlite:",
            "sqlite://",
            "sqlite:a.db?mode=ro",
            "file:a.db",
        ] {
            let error = text.parse::<StoreUrl>().unwrap_err();
            assert!(!error.to_json().to_string().contains("hunter2"), "{text}");
        }
        assert!("postgres://h/db".parse::<StoreUrl>().unwrap_err().message.contains("not supported yet"));
    }
}
