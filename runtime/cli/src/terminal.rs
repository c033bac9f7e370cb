//! Standard input as a person's terminal: asking for what must not be shown.
//!
//! Invariant: the terminal shows again what is typed however the asking ends, Ctrl-C included.

use std::fs::File;

use openact::{Error, Result};

use crate::output;

/// What standard input is, read without a buffer that would keep a copy of what went through it.
#[cfg(unix)]
pub(crate) fn input() -> Result<File> {
    use std::os::fd::AsFd;
    let owned = std::io::stdin().as_fd().try_clone_to_owned();
    owned
        .map(File::from)
        .map_err(|error| Error::invalid_input(format!("failed to read standard input: {error}")))
}

/// What standard input is, read without a buffer that would keep a copy of what went through it.
#[cfg(windows)]
pub(crate) fn input() -> Result<File> {
    use std::os::windows::io::AsHandle;
    let owned = std::io::stdin().as_handle().try_clone_to_owned();
    owned
        .map(File::from)
        .map_err(|error| Error::invalid_input(format!("failed to read standard input: {error}")))
}

/// Prints `question`; what is typed is not shown until the value is dropped.
#[cfg(unix)]
pub(crate) fn ask_hidden(question: &str) -> Result<Hidden> {
    use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
    let stdin = std::io::stdin();
    let failed = |error: rustix::io::Errno| {
        Error::invalid_input(format!("the terminal would show what is typed: {error}"))
            .hint("pipe the value in, or use --from-env or --from-file")
    };
    let shown = tcgetattr(&stdin).map_err(failed)?;
    let mut hidden = shown.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    hidden.local_modes.insert(LocalModes::ECHONL);
    tcsetattr(&stdin, OptionalActions::Flush, &hidden).map_err(failed)?;
    output::to_stderr(question);
    Ok(Hidden(shown))
}

/// See [`ask_hidden`].
#[cfg(unix)]
pub(crate) struct Hidden(rustix::termios::Termios);

#[cfg(unix)]
impl Drop for Hidden {
    fn drop(&mut self) {
        use rustix::termios::{OptionalActions, tcsetattr};
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.0);
    }
}

/// There is no way here to hide what is typed.
#[cfg(not(unix))]
pub(crate) fn ask_hidden(_question: &str) -> Result<()> {
    Err(Error::invalid_input("this terminal would show what is typed")
        .hint("pipe the value in, or use --from-env or --from-file"))
}
