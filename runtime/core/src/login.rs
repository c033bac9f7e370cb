//! Logins of wire protocols: a guest asks, the host answers with a password that the guest never sees.
//!
//! ```text
//! guest ──start, step──► engine ──Login──► openact-auth        the proof, for the guest to send
//!                        engine ◄──Frame── openact-auth        the password itself: the engine writes it
//! ```
//!
//! What the engine tells a guest of an error: `invalid_input` (parameters, order of steps) is `invalid-request`,
//! `egress_denied` (a password that would be given away) is `denied`, `auth_required` (the other side refused) is
//! `auth-required`, and `upstream_error` (it broke the rules, or did not prove that it knows the password) is `protocol`.
//!
//! Invariant: nothing here is an answer to the guest but [`Answer::Bytes`], and no password is in that but as a proof.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::{JsonObject, Result, credential::BoxFuture, limits::REDACTED_BYTES_MIN};

/// The mechanisms. One for the process; it may keep what is slow to compute.
pub trait Logins: Send + Sync {
    /// Begins a login; none if there is no such mechanism, or not on this channel (channel binding to a certificate
    /// that has none), so that a guest may take another. The caller knows the peer, and so whether plain text will do.
    fn start(&self, request: LoginRequest<'_>) -> Result<Option<Box<dyn Login>>>;

    /// What a login can bind itself to, of the server's `certificate` (DER); see [`Channel::tls_server_end_point`].
    fn end_point(&self, certificate: &[u8]) -> Option<Vec<u8>>;

    /// `message` signed with `secret`: `hmac-sha256`, `hmac-sha1`, `hmac-sha512`; none of another `algorithm`.
    fn sign(&self, algorithm: &str, secret: &SecretString, message: &[u8]) -> Option<Vec<u8>>;
}

/// What a guest asks for.
pub struct LoginRequest<'a> {
    /// Its name, such as `SCRAM-SHA-256`.
    pub mechanism: &'a str,
    /// What it needs besides the secret. `secret`, the name by which the caller looked that up, is passed over.
    pub parameters: &'a JsonObject,
    /// The password.
    pub secret: SecretString,
    /// What it will go over.
    pub channel: Channel<'a>,
}

/// The stream of a login. Of plain text it is the default.
#[derive(Clone, Copy, Debug, Default)]
pub struct Channel<'a> {
    /// Whether it is TLS.
    pub is_encrypted: bool,
    /// The hash of the server's certificate (RFC 5929 section 4), if TLS has one that it is defined for.
    pub tls_server_end_point: Option<&'a [u8]>,
}

/// One login, which belongs to its socket.
pub trait Login: Send {
    /// The answer to one challenge. After an error there is no other step.
    fn step<'a>(&'a mut self, challenge: &'a [u8], heard: Heard<'a>) -> BoxFuture<'a, Result<Answer>>;
}

/// What has gone over the socket: since TLS began, or since the beginning if it is plain text.
#[derive(Clone, Copy)]
pub struct Heard<'a> {
    /// What the guest wrote, and placeholders for what the host wrote for it (see [`Frame::placeholder`]).
    pub written: &'a [u8],
    /// What the guest was given to read.
    pub read: &'a [u8],
    /// Whether that is all. It is not if there was more than is kept, or if another call has used the socket.
    pub is_whole: bool,
}

/// What a step comes to.
pub enum Answer {
    /// For the guest to send. It holds a proof at most.
    Bytes(Vec<u8>),
    /// The host writes it; the guest gets an empty answer and never sees it.
    Write(Frame),
    /// Nothing to send: the other side has proved itself.
    Done,
}

/// A message of a protocol with the password in it.
pub struct Frame {
    bytes: Zeroizing<Vec<u8>>,
    echo: Option<Echo>,
}

impl Frame {
    /// `bytes` as they go to the socket, with the password somewhere in them.
    pub fn new(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self { bytes, echo: None }
    }

    /// To a server that may not take it for a login, and repeat it. One whose answer begins with one of `taken` took it for
    /// that, and what else it says is no echo, though it may hold a password that is a common word.
    #[must_use]
    pub fn may_be_repeated(mut self, password: &SecretString, taken: &'static [&'static [u8]]) -> Self {
        self.echo = Some(Echo::of(password, taken));
        self
    }

    /// What to write.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What stands for it in [`Heard::written`]: as many zeros, which are no beginning of any login.
    pub fn placeholder(&self) -> Vec<u8> {
        vec![0; self.bytes.len()]
    }

    /// What is to hear everything that arrives until it [is over](Echo::is_over), if anything is.
    pub fn into_echo(self) -> Option<Echo> {
        self.echo
    }
}

/// Finds a password in what the other side answers: a server that does not know a command may repeat it. (Redis before
/// version 6 does so with `HELLO 3 AUTH user password`, and a later one with a command that was renamed.)
pub struct Echo {
    /// The password's beginning, as error messages cut long arguments short. Of one that ordinary text may hold, being short,
    /// as they quote it. None if there is nothing to look for.
    needles: Vec<Zeroizing<Vec<u8>>>,
    tail: Zeroizing<Vec<u8>>,
    /// Beginnings of answers that are none; empty once it is known whether the answer has one.
    taken: &'static [&'static [u8]],
    /// The answer's beginning, until then.
    head: Zeroizing<Vec<u8>>,
}

impl Echo {
    const NEEDLE_BYTES_MAX: usize = 32;

    fn of(password: &SecretString, taken: &'static [&'static [u8]]) -> Self {
        let bytes = password.expose_secret().as_bytes();
        let quoted = |quote: &u8| Zeroizing::new([&[*quote], bytes, &[*quote]].concat());
        let needles = match bytes.len() {
            0 => Vec::new(),
            1..REDACTED_BYTES_MIN => b"'`\"".iter().map(quoted).collect(),
            _ => vec![Zeroizing::new(bytes.iter().copied().take(Self::NEEDLE_BYTES_MAX).collect())],
        };
        Self { needles, tail: Zeroizing::default(), taken, head: Zeroizing::default() }
    }

    /// Whether the password is in what arrived so far, of which `arrived` is the latest. Asked of what the network
    /// brings, not of the piece that a guest asks for: before any of it is handed over.
    pub fn is_in(&mut self, arrived: &[u8]) -> bool {
        self.look_at_the_beginning(arrived);
        let Some(longest) = self.needles.iter().map(|needle| needle.len()).max() else { return false };
        let mut seen = Zeroizing::new(Vec::with_capacity(self.tail.len() + arrived.len()));
        seen.extend_from_slice(&self.tail);
        seen.extend_from_slice(arrived);
        let is_seen = |needle: &Zeroizing<Vec<u8>>| {
            seen.windows(needle.len()).any(|window| window == needle.as_slice())
        };
        let found = self.needles.iter().any(is_seen);
        let kept = seen.len().saturating_sub(longest - 1);
        self.tail = Zeroizing::new(seen.split_off(kept));
        found
    }

    /// Whether there is nothing to look for any more: the login was taken for one, or there is no password.
    pub fn is_over(&self) -> bool {
        self.needles.is_empty()
    }

    fn look_at_the_beginning(&mut self, arrived: &[u8]) {
        let longest = self.taken.iter().map(|taken| taken.len()).max().unwrap_or(0);
        let missing = longest.saturating_sub(self.head.len());
        self.head.extend(arrived.iter().take(missing));
        if self.taken.iter().any(|taken| self.head.starts_with(taken)) {
            self.needles.clear();
        }
        if self.needles.is_empty() || !self.taken.iter().any(|taken| taken.starts_with(&self.head)) {
            self.taken = &[];
            self.head.clear();
        }
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "Bytes({})", bytes.len()),
            Self::Write(frame) => frame.fmt(f),
            Self::Done => f.write_str("Done"),
        }
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frame({})", self.bytes.len())
    }
}

impl fmt::Debug for Echo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Echo")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(password: &str) -> Frame {
        let bytes = Zeroizing::new(format!("AUTH {password}").into_bytes());
        Frame::new(bytes).may_be_repeated(&password.into(), &[b"+OK\r\n", b"-WRONGPASS "])
    }

    #[test]
    fn c9_nothing_of_a_login_shows_its_secret() {
        let shown = |what: &dyn fmt::Debug| format!("{what:?}");
        let frame = frame("hunter2");
        let bytes = shown(&b"hunter2".to_vec());
        for text in [
            shown(&frame),
            shown(&Answer::Bytes(b"hunter2".to_vec())),
            shown(&Answer::Write(frame)),
            shown(&Echo::of(&"hunter2".into(), &[])),
        ] {
            assert!(!text.contains("hunter2") && !text.contains(bytes.trim_matches(['[', ']'])), "{text}");
        }
    }

    #[test]
    fn c1_what_the_host_wrote_is_zeros_to_later_steps() {
        assert_eq!(frame("hunter2").placeholder(), [0; 12]);
    }

    #[test]
    fn c2_a_password_that_comes_back_is_found_across_pieces() {
        let password = "correct horse battery staple and more than thirty-two bytes";
        let heard = |password: &str, pieces: &[&str]| {
            let mut echo = frame(password).into_echo().unwrap();
            pieces.iter().any(|piece| echo.is_in(piece.as_bytes()))
        };
        assert!(heard("hunter2", &["-ERR unknown command 'AUTH', with args beginning with: 'hunter2'\r\n"]));
        assert!(heard("hunter2", &["-ERR hun", "t", "er2'\r\n"]));
        assert!(heard("hunter2", &["hunter2"]));
        assert!(heard(password, &["beginning with: 'correct horse battery staple and"]));
        assert!(!heard("hunter2", &["-WRONGPASS hunter", " 2", "hunter1 unter2"]));
        // A server that took it for a login says what it says.
        assert!(!heard("master", &["+OK\r\n$4\r\nrole\r\n$6\r\nmaster\r\n"]));
        assert!(!heard("password", &["-WRONGPASS invalid username-password pair"]));
        assert!(!heard("master", &["+", "", "OK\r", "\n", "$6\r\nmaster\r\n"]), "however it is cut");
        assert!(heard("master", &["+O", "ops master"]));
        assert!(heard("password", &["-ERR unknown command, with args 'password'"]));
        assert!(heard("master", &["-ERR x\r\n", "+OK\r\n master"]), "only the first answer counts");
        // A short one is a common word, but for how errors quote it.
        assert!(!heard("hunt", &["-ERR the hunt's over"]));
        for repeated in ["-ERR args beginning with: `3`, `hunt`, ", "-ERR 'HELLO' '3' 'hunt' ", "\"hunt\""] {
            let (head, tail) = repeated.split_at(repeated.find("unt").unwrap());
            assert!(heard("hunt", &[repeated]) && heard("hunt", &[head, tail]), "{repeated}");
        }
        assert!(heard("x", &["-ERR with args '", "x", "'"]));
        assert!(!heard("", &["", "x"]));
    }
}
