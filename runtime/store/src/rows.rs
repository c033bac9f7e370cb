//! Columns to values and back.
//!
//! Invariant: whatever stands in a row, reading it ends in a value or in an error that names table, row and column;
//! the content of the column is not repeated.

use std::str::FromStr;

use openact_core::{Error, Timestamp};
use serde::{Serialize, de::DeserializeOwned};

/// A row that something other than this crate must have written.
pub(crate) fn damaged(
    table: &str,
    row: &str,
    column: &str,
    cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> Error {
    Error::internal(format!("row '{row}' of table '{table}' is damaged: column '{column}' cannot be read"))
        .hint("restore the database from a backup, or delete the row and make it again")
        .because(cause)
}

/// Names a row while its columns are read.
#[derive(Clone, Copy)]
pub(crate) struct Row<'a> {
    pub(crate) table: &'static str,
    pub(crate) key: &'a str,
}

impl Row<'_> {
    pub(crate) fn damaged(
        &self,
        column: &str,
        cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Error {
        damaged(self.table, self.key, column, cause)
    }

    pub(crate) fn parse<T: FromStr<Err: Into<Box<dyn std::error::Error + Send + Sync>>>>(
        &self,
        column: &str,
        text: &str,
    ) -> Result<T, Error> {
        text.parse().map_err(|error| self.damaged(column, error))
    }

    pub(crate) fn json<T: DeserializeOwned>(&self, column: &str, text: &str) -> Result<T, Error> {
        serde_json::from_str(text).map_err(|error| self.damaged(column, error))
    }

    pub(crate) fn unsigned<T: TryFrom<i64, Error = std::num::TryFromIntError>>(
        &self,
        column: &str,
        number: i64,
    ) -> Result<T, Error> {
        T::try_from(number).map_err(|error| self.damaged(column, error))
    }
}

/// A time as it is stored: a fixed number of decimals, so that text sorts as time does.
pub(crate) fn time_text(time: Timestamp) -> String {
    format!("{time:.9}")
}

/// A value as JSON text.
pub(crate) fn json_text(value: &impl Serialize) -> Result<String, Error> {
    serde_json::to_string(value)
        .map_err(|error| Error::internal("a value cannot be written as JSON").because(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_times_sort_as_times_do() {
        let times = [
            "2026-01-01T00:00:00Z",
            "2026-01-01T00:00:00.000000001Z",
            "2026-01-01T00:00:00.5Z",
            "2026-01-01T00:00:01Z",
        ];
        let stored: Vec<String> = times.iter().map(|time| time_text(time.parse().unwrap())).collect();
        assert!(stored.is_sorted(), "{stored:?}");
        assert!(
            stored
                .iter()
                .zip(times)
                .all(|(stored, time)| stored.parse::<Timestamp>().unwrap() == time.parse().unwrap())
        );
    }
}
