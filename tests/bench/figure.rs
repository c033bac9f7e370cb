//! A figure: two sides, how they compare, and the budget it is held to.
//!
//! Invariant: what is printed and what is written are the same numbers.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::rounds::median;

/// What became of a figure.
pub(crate) enum Outcome {
    /// It was measured.
    Measured(Figure),
    /// It could not be, and why.
    Skipped { id: &'static str, what: &'static str, why: String },
}

/// Two sides, measured in turn.
pub(crate) struct Figure {
    pub(crate) id: &'static str,
    pub(crate) what: &'static str,
    /// Of both sides.
    pub(crate) unit: &'static str,
    /// Our side and the other's, round by round.
    pub(crate) rounds: Vec<(f64, f64)>,
    pub(crate) compare: Compare,
    pub(crate) budget: Budget,
    /// What a reader should know beside the numbers.
    pub(crate) note: String,
}

/// What is held to the budget.
#[derive(Clone, Copy)]
pub(crate) enum Compare {
    /// ours / theirs
    Ratio,
    /// (ours - theirs) / theirs
    Added,
    /// ours
    Ours,
}

/// The bound of a figure, and what is aimed at.
#[derive(Clone, Copy)]
pub(crate) enum Budget {
    AtLeast(f64, Option<f64>),
    AtMost(f64, Option<f64>),
    /// For the reader; nothing was promised.
    None,
}

impl Compare {
    fn of(self, ours: f64, theirs: f64) -> f64 {
        match self {
            Self::Ratio => ours / theirs,
            Self::Added => (ours - theirs) / theirs,
            Self::Ours => ours,
        }
    }
}

impl Budget {
    fn is_met(self, value: f64) -> Option<bool> {
        match self {
            Self::AtLeast(bound, _) => Some(value >= bound),
            Self::AtMost(bound, _) => Some(value <= bound),
            Self::None => None,
        }
    }

    fn text(self) -> String {
        match self {
            Self::AtLeast(bound, aim) => format!("≥ {bound}{}", aim_text(aim)),
            Self::AtMost(bound, aim) => format!("≤ {bound}{}", aim_text(aim)),
            Self::None => "-".into(),
        }
    }
}

fn aim_text(aim: Option<f64>) -> String {
    aim.map(|aim| format!(" (aim {aim})")).unwrap_or_default()
}

impl Figure {
    fn ours(&self) -> f64 {
        median(self.rounds.iter().map(|round| round.0))
    }

    fn theirs(&self) -> f64 {
        median(self.rounds.iter().map(|round| round.1))
    }

    fn value(&self) -> f64 {
        self.compare.of(self.ours(), self.theirs())
    }

    /// The least and the greatest value of a single round: how far the figure can be trusted.
    fn spread(&self) -> (f64, f64) {
        let values = self.rounds.iter().map(|&(ours, theirs)| self.compare.of(ours, theirs));
        values
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)))
    }

    fn verdict(&self) -> &'static str {
        match self.budget.is_met(self.value()) {
            Some(true) => "ok",
            Some(false) => "MISS",
            None => "-",
        }
    }

    fn cells(&self) -> [String; 7] {
        let (low, high) = self.spread();
        let spread = if self.rounds.len() > 1 { format!("{low:.2}–{high:.2}") } else { "-".into() };
        let side = |value: f64| format!("{} {}", number(value), self.unit);
        [
            format!("{} {}", self.id, self.what),
            side(self.ours()),
            side(self.theirs()),
            format!("{:.2}", self.value()),
            spread,
            self.budget.text(),
            self.verdict().into(),
        ]
    }
}

impl Outcome {
    pub(crate) fn to_json(&self) -> Value {
        match self {
            Self::Measured(figure) => json!({
                "id": figure.id,
                "what": figure.what,
                "unit": figure.unit,
                "ours": figure.ours(),
                "theirs": figure.theirs(),
                "compared": match figure.compare {
                    Compare::Ratio => "ours / theirs",
                    Compare::Added => "(ours - theirs) / theirs",
                    Compare::Ours => "ours",
                },
                "value": figure.value(),
                "budget": figure.budget.text(),
                "met": figure.budget.is_met(figure.value()),
                "note": figure.note,
                "rounds": figure.rounds,
            }),
            Self::Skipped { id, what, why } => json!({"id": id, "what": what, "skipped": why}),
        }
    }
}

/// The figures as people read them.
pub(crate) fn table(outcomes: &[Outcome]) -> String {
    let heads = ["figure", "ours", "theirs", "ratio", "by round", "budget", ""].map(str::to_owned);
    let mut rows = vec![heads];
    let mut notes = String::new();
    for outcome in outcomes {
        match outcome {
            Outcome::Measured(figure) => {
                rows.push(figure.cells());
                if !figure.note.is_empty() {
                    let _ = writeln!(notes, "{}: {}", figure.id, figure.note);
                }
            }
            Outcome::Skipped { id, what, why } => {
                let mut row: [String; 7] = Default::default();
                row[0] = format!("{id} {what}");
                row[6] = format!("skipped: {why}");
                rows.push(row);
            }
        }
    }
    let mut out = String::new();
    for row in &rows {
        for (column, cell) in row.iter().enumerate() {
            let width = rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
            let _ = write!(out, "{cell:<width$}  ");
        }
        out.truncate(out.trim_end().len());
        out.push('\n');
    }
    if !notes.is_empty() {
        out = format!("{out}\n{notes}");
    }
    out
}

/// Three digits or so.
fn number(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
