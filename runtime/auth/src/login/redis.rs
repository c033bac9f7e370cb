//! `redis-auth`: `AUTH password`, `AUTH user password` or `HELLO 3 AUTH user password`, written by the host.
//!
//! Invariant: it is the first thing on its socket, so nothing that a guest wrote can make an argument of it.

use openact_core::{
    Error, Result,
    login::{Answer, Frame, Heard},
    secret::{ExposeSecret, SecretString},
};
use zeroize::Zeroizing;

use super::{Parameters, Quick, nothing, refused};

pub(super) struct Auth {
    user: Option<String>,
    hello: Option<u8>,
    client_name: Option<String>,
    password: SecretString,
}

impl Auth {
    pub(super) fn of(parameters: &Parameters<'_>, password: SecretString) -> Result<Self> {
        parameters.only(&["user", "hello", "client_name"])?;
        let hello = parameters.byte("hello")?;
        if !matches!(hello, None | Some(3)) {
            return Err(Error::invalid_input("parameter 'hello' is 3 or null"));
        }
        let client_name = parameters.text("client_name")?.map(str::to_owned);
        if client_name.is_some() && hello.is_none() {
            return Err(Error::invalid_input("parameter 'client_name' goes with 'hello'"));
        }
        Ok(Self { user: parameters.text("user")?.map(str::to_owned), hello, client_name, password })
    }

    fn frame(&self) -> Frame {
        let password = self.password.expose_secret();
        let mut parts: Vec<&str> = match self.hello {
            Some(_) => vec!["HELLO", "3", "AUTH", self.user.as_deref().unwrap_or("default"), password],
            None => ["AUTH"].into_iter().chain(self.user.as_deref()).chain([password]).collect(),
        };
        parts.extend(self.client_name.iter().flat_map(|name| ["SETNAME", name]));
        // Its size is known beforehand, so that no copy is left behind by growing.
        let size = parts.iter().map(|part| part.len() + 32).sum::<usize>() + 32;
        let mut bytes = Zeroizing::new(Vec::with_capacity(size));
        bytes.extend_from_slice(format!("*{}\r\n", parts.len()).as_bytes());
        for part in parts {
            bytes.extend_from_slice(format!("${}\r\n", part.len()).as_bytes());
            bytes.extend_from_slice(part.as_bytes());
            bytes.extend_from_slice(b"\r\n");
        }
        Frame::new(bytes).may_be_repeated(&self.password, TAKEN)
    }
}

/// How Redis answers a login: `AUTH` is done, `HELLO 3` answers a map, and the password is wrong. A frame that is repeated whole begins with
/// `*`.
const TAKEN: &[&[u8]] = &[b"+OK\r\n", b"%", b"-WRONGPASS "];

impl Quick for Auth {
    fn answer(&mut self, challenge: &[u8], heard: Heard<'_>) -> Result<Answer> {
        nothing(challenge)?;
        if !is_untouched(heard) {
            return Err(refused("'redis-auth' must be the first thing on its socket"));
        }
        Ok(Answer::Write(self.frame()))
    }
}

/// Whether nothing at all has gone over the socket.
fn is_untouched(heard: Heard<'_>) -> bool {
    heard.is_whole && heard.written.is_empty() && heard.read.is_empty()
}
