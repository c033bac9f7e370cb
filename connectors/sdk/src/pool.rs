//! Sessions that outlive a call: resumed if one is parked, opened otherwise, parked again after. The one retry policy.
//!
//! | what broke with `network` | then |
//! |---|---|
//! | a new session | the failure is the call's |
//! | a resumed one while `connect` had it, which sends nothing that may have an effect | once more on a new one |
//! | a resumed one that has answered something in this call | the failure is the call's |
//! | a resumed one that has not, and nothing was sent that may have an effect | once more on a new one |
//! | the same, but something was sent ([`Stream::flush`]) | once more if the work only reads |
//!
//! Invariant: nothing that may write is sent twice, and nothing at all is sent a third time.

use crate::{Endpoint, Failure, Host, Stream, TlsMode, sockets::open_by};

/// A session of a connector's protocol over one stream.
pub trait Session {
    /// The stream.
    fn stream(&self) -> &Stream;

    /// The stream and the state for whoever resumes it, after the work was done or refused by the server. None if the
    /// session is not where its next call can begin, such as with half an answer unread: it is closed then.
    fn into_parked(self) -> Option<(Stream, Vec<u8>)>;
}

/// What the work of a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// It changes nothing at the server, so that doing it twice is the same as once.
    Reads,
    /// It may change something.
    Writes,
}

/// Where sessions are opened, and the name they are parked under.
#[derive(Clone, Debug)]
pub struct Pool {
    /// One of the connection's own endpoints.
    pub endpoint: Endpoint,
    /// Whether TLS begins with the first byte.
    pub tls: TlsMode,
    /// What tells apart sessions that cannot stand in for each other, such as by database and user.
    pub session: String,
}

impl Pool {
    /// Does `work` in a session.
    ///
    /// `connect` makes the session of a stream. With the state of a parked one it must only put the session's reset into
    /// [`Stream::write_buf`], to go out with the first request; without, it greets and logs in. On a second attempt
    /// both are called again, with a new stream.
    pub fn run<S: Session, T>(
        &self,
        host: &dyn Host,
        kind: Work,
        mut connect: impl FnMut(Stream, Option<Vec<u8>>) -> Result<S, Failure>,
        mut work: impl FnMut(&mut S) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let (socket, state) = open_by(host, &self.endpoint, self.tls, Some(&self.session))?;
        let resumed = state.is_some();
        let mut attempt_on = |socket, state| {
            connect(Stream::new(socket), state).map(|mut session| {
                let result = work(&mut session);
                (session, result)
            })
        };
        let mut attempt = attempt_on(socket, state);
        let again = resumed
            && match &attempt {
                Err(failure) => matches!(failure, Failure::Network(_)),
                Ok((session, Err(Failure::Network(_)))) => may_repeat(session.stream(), kind),
                Ok(_) => false,
            };
        if again {
            drop(attempt);
            // Without a name nothing parked is given: the others of this name are as old as the one that broke.
            let (socket, _) = open_by(host, &self.endpoint, self.tls, None)?;
            attempt = attempt_on(socket, None);
        }
        let (session, result) = attempt?;
        // After these nobody knows what the stream would say next.
        let broken = matches!(result, Err(Failure::Network(_) | Failure::Timeout(_) | Failure::Protocol(_)));
        if !broken && let Some((stream, state)) = session.into_parked() {
            stream.park(&self.session, &state);
        }
        result
    }
}

fn may_repeat(stream: &Stream, kind: Work) -> bool {
    !stream.answered() && (kind == Work::Reads || !stream.effect_sent())
}
