//! What became of every row of an earlier database, for people and programs.
//!
//! Invariant: nothing here quotes the content of a column; identities and names of columns are all that is shown, and to
//! people without the characters that would steer their terminal.

use std::{borrow::Cow, fmt};

use serde::Serialize;

/// What became of a database of the earlier OpenAct.
#[derive(Clone, Debug, Default, Serialize)]
pub struct LegacyReport {
    /// Its tables, for people: `connections and tasks`.
    pub schema: &'static str,
    /// Where the earlier tables are now.
    pub kept_as: Vec<String>,
    /// Rows by table, and how many of them were carried.
    pub tables: Vec<TableCount>,
    /// Every row that was carried, and what it is now.
    pub carried: Vec<Carried>,
    /// Every row and field that was not carried whole, and everything that is another way now.
    pub findings: Vec<Finding>,
}

/// How much of a table was carried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TableCount {
    /// The earlier table.
    pub table: &'static str,
    /// Its rows.
    pub rows: usize,
    /// Those that are records of this version now.
    pub carried: usize,
}

/// A row that was carried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Carried {
    /// The earlier table.
    pub table: &'static str,
    /// The earlier TRN.
    pub from: String,
    /// The TRNs of today: several for a connection to several hosts.
    pub to: Vec<String>,
}

/// Something to know about a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The earlier table.
    pub table: &'static str,
    /// The earlier TRN, or `*` for every row of the table.
    pub trn: String,
    /// The column; none if it is the whole row.
    pub column: Option<String>,
    /// How much it matters.
    pub effect: Effect,
    /// What is not as it was, and why.
    pub why: String,
    /// What to do about it.
    pub advice: String,
}

/// How much a [`Finding`] matters, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// The row is only in the earlier tables.
    RowNotCarried,
    /// The field is only in the earlier tables.
    FieldNotCarried,
    /// It does something else than before.
    Changed,
    /// It does the same in another way.
    Note,
}

impl Effect {
    /// For people.
    fn words(self) -> &'static str {
        match self {
            Self::RowNotCarried => "not carried",
            Self::FieldNotCarried => "field not carried",
            Self::Changed => "changed",
            Self::Note => "note",
        }
    }
}

impl fmt::Display for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}", plain(&self.from), plain(&self.to.join(", ")))
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} {}", self.effect.words(), self.table, plain(&self.trn))?;
        if let Some(column) = &self.column {
            write!(f, ", {}", plain(column))?;
        }
        write!(f, ": {}", plain(&self.why))?;
        if !self.advice.is_empty() {
            write!(f, "\n    {}", plain(&self.advice))?;
        }
        Ok(())
    }
}

/// `text` with what is no letter on a screen written out: control characters, and those that turn its direction.
fn plain(text: &str) -> Cow<'_, str> {
    let steers = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(steers) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if steers(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    Cow::Owned(out)
}

impl LegacyReport {
    /// How many rows are only in the earlier tables.
    pub fn rows_not_carried(&self) -> usize {
        self.findings.iter().filter(|finding| finding.effect == Effect::RowNotCarried).count()
    }

    /// Whether everything was carried whole and is as it was.
    pub fn is_whole(&self) -> bool {
        self.findings.iter().all(|finding| finding.effect == Effect::Note)
    }
}

/// Why a column cannot be read; its bound is that of [`openact_core::limits::LEGACY_CELL_BYTES_MAX`].
pub(super) const UNREADABLE: &str = "it is not text, or longer than 1 MiB";

/// Findings about one row, as they are made.
#[derive(Clone, Debug)]
pub(super) struct About {
    pub(super) table: &'static str,
    pub(super) trn: String,
}

impl About {
    pub(super) fn row(&self, why: impl Into<String>, advice: impl Into<String>) -> Finding {
        self.finding(None, Effect::RowNotCarried, why, advice)
    }

    pub(super) fn finding(
        &self,
        column: Option<&str>,
        effect: Effect,
        why: impl Into<String>,
        advice: impl Into<String>,
    ) -> Finding {
        let (table, trn) = (self.table, self.trn.clone());
        let (why, advice) = (why.into(), advice.into());
        Finding { table, trn, column: column.map(str::to_owned), effect, why, advice }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_steers_the_terminal() {
        let about = About { table: "tasks", trn: "a\u{1b}[2Jb\u{202e}".into() };
        let finding = about.finding(Some("c\nnote: d"), Effect::Note, "é 'x'\u{9b}", "y\r");
        assert_eq!(
            finding.to_string(),
            "note: tasks a\\u{1b}[2Jb\\u{202e}, c\\nnote: d: é 'x'\\u{9b}\n    y\\r"
        );
        let carried = Carried { table: "tasks", from: "\u{7}".into(), to: vec!["a".into(), "b".into()] };
        assert_eq!(carried.to_string(), "\\u{7} -> a, b");
    }
}
