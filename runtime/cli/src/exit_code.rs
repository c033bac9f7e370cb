//! How the process ends, as a number that scripts rely on.
//!
//! | code | meaning |
//! |---|---|
//! | 0 | ok |
//! | 1 to 10, but 2 | the row of the error's code ([`openact::ErrorCode::exit_code`]); of `check`, of the first that does not work |
//! | 3 of `migrate` | also: it was done (or would be, `--dry-run`), and rows are in the earlier tables alone (`complete: false`) |
//! | 2 | usage |
//! | 130, 143 | interrupted (Ctrl-C), terminated |
//!
//! Invariant: every number comes from here or from that row.

/// A usage mistake: the arguments cannot be understood.
pub(crate) const USAGE: u8 = 2;

/// 128 and the number of SIGINT.
pub(crate) const INTERRUPTED: u8 = 130;

/// 128 and the number of SIGTERM.
pub(crate) const TERMINATED: u8 = 143;
