//! A server that answers with given bytes, whatever it is sent: for replies that no server would give.
//!
//! Invariant: it ends. Streams, their bytes, and the steps of a login are bounded, and a connector that asks for more is
//! told so.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
};

use serde_json::Value;

use super::{FakeHost, OverFake};
use crate::{
    Endpoint, HostError, Login, Socket, TlsMode,
    sockets::{Opened, Streams},
};

/// No connector asks further than this. The real host has such a limit, too.
const STREAMS_MAX: u32 = 64;

/// No login has more steps.
const STEPS_MAX: u32 = 64;

/// A host whose streams all answer from the same bytes, one after the other. Each login succeeds with a proof of nothing; TLS
/// begins and changes nothing.
pub struct Replies {
    /// For emitted items and log lines.
    pub fake: FakeHost,
    bytes: Rc<RefCell<VecDeque<u8>>>,
    piece: usize,
    resumed: RefCell<Option<Vec<u8>>>,
    streams: Cell<u32>,
    written: Rc<Cell<usize>>,
}

impl Replies {
    /// Answers with `bytes`, at most `piece` of them at a time.
    pub fn new(bytes: &[u8], piece: usize) -> Self {
        Self {
            fake: FakeHost::new().streaming(),
            bytes: Rc::new(RefCell::new(bytes.iter().copied().collect())),
            piece: piece.max(1),
            resumed: RefCell::default(),
            streams: Cell::default(),
            written: Rc::default(),
        }
    }

    /// The first stream is one that was parked with `state`.
    #[must_use]
    pub fn resumed(self, state: impl Into<Vec<u8>>) -> Self {
        self.resumed.replace(Some(state.into()));
        self
    }

    /// How many bytes it was sent.
    pub fn written(&self) -> usize {
        self.written.get()
    }
}

impl OverFake for Replies {
    fn fake(&self) -> &FakeHost {
        &self.fake
    }
}

impl Streams for Replies {
    fn open(&self, _: &Endpoint, _: TlsMode, session: Option<&str>) -> Result<Opened, HostError> {
        self.streams.set(self.streams.get() + 1);
        if self.streams.get() > STREAMS_MAX {
            return Err(HostError::Denied("the call opened too many streams".into()));
        }
        let state = if session.is_some() { self.resumed.take() } else { None };
        let socket = Replying { bytes: self.bytes.clone(), piece: self.piece, written: self.written.clone() };
        Ok((Box::new(socket), state))
    }
}

struct Replying {
    bytes: Rc<RefCell<VecDeque<u8>>>,
    piece: usize,
    written: Rc<Cell<usize>>,
}

impl Socket for Replying {
    fn read(&mut self, max: u32) -> Result<Vec<u8>, HostError> {
        let mut bytes = self.bytes.borrow_mut();
        let count = bytes.len().min(self.piece).min(max as usize);
        Ok(bytes.drain(..count).collect())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), HostError> {
        self.written.set(self.written.get() + bytes.len());
        Ok(())
    }

    fn start_tls(&mut self) -> Result<(), HostError> {
        Ok(())
    }

    fn login(&mut self, _: &str, _: &Value) -> Result<Box<dyn Login>, HostError> {
        Ok(Box::new(Proving(0)))
    }

    fn park(self: Box<Self>, _: &str, _: &[u8]) {}
}

struct Proving(u32);

impl Login for Proving {
    fn step(&mut self, _: &[u8]) -> Result<Vec<u8>, HostError> {
        self.0 += 1;
        match self.0 > STEPS_MAX {
            true => Err(HostError::InvalidRequest("the login has no end".into())),
            // Of SCRAM, which has the most: what is first said, the proof, and then the server has to prove itself.
            false if self.0 > 2 => Ok(Vec::new()),
            false => Ok(b"proof".to_vec()),
        }
    }
}
