//! A server that follows a script: what it expects to be sent, and what it answers.
//!
//! Invariant: whatever is not in the script is an error of the socket that says what was expected, so that a test fails
//! where it goes wrong.

use std::{cell::RefCell, collections::VecDeque, rc::Rc};

use serde_json::Value;

use super::FakeHost;
use crate::{HostError, Login, Socket};

/// What one stream of a [`FakeHost`] expects and answers, in order.
#[derive(Clone, Debug, Default)]
pub struct Script {
    steps: VecDeque<Step>,
    pub(super) resumed: Option<Vec<u8>>,
    /// One read gives no more than this, if it is not zero.
    read_bytes_max: usize,
    /// No read crosses this place of all that is answered.
    cut: usize,
}

#[derive(Clone, Debug)]
enum Step {
    Expect(Vec<u8>),
    Anything,
    Answer(Vec<u8>),
    Tls,
    Login(&'static str, VecDeque<(Vec<u8>, Vec<u8>)>),
    LoginFails(HostError),
    ReadFails(HostError),
    WriteFails(HostError),
    End,
}

impl Script {
    /// A new stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// The stream is one that was parked with `state`.
    #[must_use]
    pub fn resumed(mut self, state: impl Into<Vec<u8>>) -> Self {
        self.resumed = Some(state.into());
        self
    }

    /// Expects these bytes, in however many writes.
    #[must_use]
    pub fn expect(self, bytes: impl Into<Vec<u8>>) -> Self {
        self.step(Step::Expect(bytes.into()))
    }

    /// Expects at least one byte, and takes whatever was written until the next read.
    #[must_use]
    pub fn expect_anything(self) -> Self {
        self.step(Step::Anything)
    }

    /// Answers these bytes.
    #[must_use]
    pub fn answer(self, bytes: impl Into<Vec<u8>>) -> Self {
        self.step(Step::Answer(bytes.into()))
    }

    /// Expects an upgrade to TLS.
    #[must_use]
    pub fn start_tls(self) -> Self {
        self.step(Step::Tls)
    }

    /// Expects a login by `mechanism` with these challenges, each with its answer.
    #[must_use]
    pub fn login(self, mechanism: &'static str, steps: &[(&[u8], &[u8])]) -> Self {
        let steps = steps.iter().map(|(challenge, answer)| (challenge.to_vec(), answer.to_vec())).collect();
        self.step(Step::Login(mechanism, steps))
    }

    /// Lets the next login fail, such as with `not-found` where there is no password.
    #[must_use]
    pub fn fail_login(self, error: HostError) -> Self {
        self.step(Step::LoginFails(error))
    }

    /// Lets the next read fail.
    #[must_use]
    pub fn fail_read(self, error: HostError) -> Self {
        self.step(Step::ReadFails(error))
    }

    /// Lets the next write fail.
    #[must_use]
    pub fn fail_write(self, error: HostError) -> Self {
        self.step(Step::WriteFails(error))
    }

    /// The server closes the stream.
    #[must_use]
    pub fn end(self) -> Self {
        self.step(Step::End)
    }

    /// No read gives more than `bytes_max`.
    #[must_use]
    pub fn reads_of(mut self, bytes_max: usize) -> Self {
        self.read_bytes_max = bytes_max;
        self
    }

    /// Calls `each` with this script byte by byte, and with what is answered cut in two at every place.
    pub fn at_every_split(&self, mut each: impl FnMut(FakeHost)) {
        let answered = |step: &Step| if let Step::Answer(bytes) = step { bytes.len() } else { 0 };
        each(FakeHost::new().socket(self.clone().reads_of(1)));
        for cut in 0..self.steps.iter().map(answered).sum() {
            let mut script = self.clone();
            script.cut = cut;
            each(FakeHost::new().socket(script));
        }
    }

    fn step(mut self, step: Step) -> Self {
        self.steps.push_back(step);
        self
    }
}

/// What the host knows of its streams.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Session and state of each parked stream.
    pub(super) parked: Vec<(String, Vec<u8>)>,
    /// What was written, by stream.
    pub(super) written: Vec<Vec<u8>>,
    /// Steps that are left, by stream.
    pub(super) left: Vec<String>,
}

/// A stream that plays a script.
pub(super) struct Scripted {
    script: Script,
    seen: Rc<RefCell<Seen>>,
    /// Which of the host's streams this is.
    index: usize,
    /// Written, and not expected yet.
    pending: Vec<u8>,
    answered: usize,
}

impl Scripted {
    pub(super) fn new(script: Script, seen: Rc<RefCell<Seen>>) -> Self {
        let index = seen.borrow().written.len();
        seen.borrow_mut().written.push(Vec::new());
        seen.borrow_mut().left.push(String::new());
        let scripted = Self { script, seen, index, pending: Vec::new(), answered: 0 };
        scripted.note_left();
        scripted
    }

    /// Takes what is pending and expected.
    fn settle(&mut self) -> Result<(), HostError> {
        loop {
            let taken = match self.script.steps.front() {
                Some(Step::Anything) if !self.pending.is_empty() => self.pending.len(),
                Some(Step::Expect(expected)) if self.pending.starts_with(expected) => expected.len(),
                Some(Step::Expect(expected)) if !expected.starts_with(&self.pending) => {
                    return Err(self.unexpected(&format!("'{}' was written", self.pending.escape_ascii())));
                }
                _ => return Ok(()),
            };
            self.pending.drain(..taken);
            self.pop();
        }
    }

    fn pop(&mut self) -> Option<Step> {
        let step = self.script.steps.pop_front();
        self.note_left();
        step
    }

    fn note_left(&self) {
        let steps = &self.script.steps;
        let left = steps.iter().filter(|step| !matches!(step, Step::End)).map(Step::text);
        let left: Vec<_> = left.collect();
        if let Some(text) = self.seen.borrow_mut().left.get_mut(self.index) {
            *text = left.join(", ");
        }
    }

    fn unexpected(&self, what: &str) -> HostError {
        let next = self.script.steps.front().map_or("nothing".into(), Step::text);
        HostError::InvalidRequest(format!("the script has {next}, and {what}"))
    }
}

impl Step {
    fn text(&self) -> String {
        match self {
            Self::Expect(bytes) => format!("expect '{}'", bytes.escape_ascii()),
            Self::Answer(bytes) => format!("answer '{}'", bytes.escape_ascii()),
            other => format!("{other:?}"),
        }
    }
}

impl Socket for Scripted {
    fn read(&mut self, max: u32) -> Result<Vec<u8>, HostError> {
        self.settle()?;
        let (read_bytes_max, cut) = (self.script.read_bytes_max, self.script.cut);
        let bytes = match self.script.steps.front_mut() {
            Some(Step::Answer(bytes)) => {
                let mut count = bytes.len().min(max as usize);
                if read_bytes_max > 0 {
                    count = count.min(read_bytes_max);
                }
                if self.answered < cut {
                    count = count.min(cut - self.answered);
                }
                self.answered += count;
                let given: Vec<u8> = bytes.drain(..count).collect();
                if !bytes.is_empty() {
                    return Ok(given);
                }
                given
            }
            Some(Step::ReadFails(error)) => {
                let error = error.clone();
                self.pop();
                return Err(error);
            }
            Some(Step::End) => return Ok(Vec::new()),
            _ => {
                return Err(self.unexpected("there is nothing to read"));
            }
        };
        self.pop();
        self.settle()?;
        Ok(bytes)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), HostError> {
        let failing = match self.script.steps.front() {
            Some(Step::WriteFails(error)) => Some(error.clone()),
            _ => None,
        };
        if let Some(error) = failing {
            self.pop();
            return Err(error);
        }
        if let Some(written) = self.seen.borrow_mut().written.get_mut(self.index) {
            written.extend_from_slice(bytes);
        }
        self.pending.extend_from_slice(bytes);
        self.settle()
    }

    fn start_tls(&mut self) -> Result<(), HostError> {
        match self.script.steps.front() {
            Some(Step::Tls) => {}
            _ => return Err(self.unexpected("TLS was begun")),
        }
        self.pop();
        Ok(())
    }

    fn login(&mut self, mechanism: &str, _parameters: &Value) -> Result<Box<dyn Login>, HostError> {
        let next = self.script.steps.front().cloned();
        let login: Box<dyn Login> = match next {
            Some(Step::Login(expected, steps)) if expected == mechanism => Box::new(ScriptedLogin(steps)),
            Some(Step::LoginFails(error)) => {
                self.pop();
                return Err(error);
            }
            _ => return Err(self.unexpected(&format!("a login by {mechanism} was begun"))),
        };
        self.pop();
        Ok(login)
    }

    fn park(self: Box<Self>, session: &str, state: &[u8]) {
        self.seen.borrow_mut().parked.push((session.to_owned(), state.to_vec()));
    }
}

struct ScriptedLogin(VecDeque<(Vec<u8>, Vec<u8>)>);

impl Login for ScriptedLogin {
    fn step(&mut self, challenge: &[u8]) -> Result<Vec<u8>, HostError> {
        match self.0.pop_front() {
            Some((expected, answer)) if expected == challenge => Ok(answer),
            other => Err(HostError::AuthRequired(format!(
                "the script has the challenge '{}', and '{}' came",
                other.unwrap_or_default().0.escape_ascii(),
                challenge.escape_ascii()
            ))),
        }
    }
}
