//! Which of the servers is asked: the one that may be written to, or a copy of it.
//!
//! A server says who it is when it is greeted. One that is not the right one says who is, and its stream is parked with
//! that as a note, so that the next call goes there at once. Where the note leads the host allows, or refuses.
//!
//! Invariant: a command is sent to another server only if none was sent before, or the first one has refused it unread,
//! being no primary any more.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
};

use openact_connector::{
    Endpoint, Failure, Host, Stream,
    pool::{Pool, Work},
};

use crate::{
    config::{self, Connection, ReadPreference},
    login::{self, Greeting},
    session::Session,
};

/// From server to server. What is parked at one may all be old, and each is thrown away once.
const HOPS_MAX: u32 = 64;

/// The servers of one connection.
pub struct Client<'a> {
    /// Where, and as whom.
    pub connection: &'a Connection,
    /// The host of the call.
    pub host: &'a dyn Host,
}

/// What is known on the way to the right server.
struct Search {
    /// Where to ask next.
    next: VecDeque<Endpoint>,
    /// Whether notes of earlier calls are believed.
    notes: bool,
    /// Those that were followed.
    followed: Vec<Endpoint>,
    /// Whether parked sessions are.
    parked: bool,
    /// Whether the primary will do for those who prefer another.
    settling: bool,
}

impl Search {
    fn go(&mut self, there: Endpoint) {
        self.next.retain(|other| *other != there);
        self.next.push_front(there);
    }
}

/// What came of asking one server.
enum Step {
    /// The work was done there, or has failed.
    Asked,
    /// Another is to be asked: a note says so.
    Noted(Endpoint),
    /// Another is to be asked: the server says so.
    Told(Endpoint),
    /// What was parked there is not believed. Behind it there may be more, or a new stream.
    Again,
    /// This one will not do.
    Unfit,
}

impl Client<'_> {
    /// Does `work` at the right server.
    pub fn run<T>(
        &self,
        kind: Work,
        mut work: impl FnMut(&mut Session) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let seeds: VecDeque<Endpoint> = self.connection.endpoints()?.into();
        let next = seeds.clone();
        let mut search = Search { next, notes: true, followed: Vec::new(), parked: true, settling: false };
        let mut last = Failure::Network("no server of the replica set will do".into());
        for _ in 0..HOPS_MAX {
            let Some(at) = search.next.pop_front() else {
                if !self.nearby(kind) || search.settling {
                    return Err(last);
                }
                // There is no copy. The primary has what it would have had.
                (search.next, search.settling, search.notes) = (seeds.clone(), true, false);
                continue;
            };
            let not_primary = Cell::new(false);
            let (step, result) = self.ask(&search, &at, kind, |session| {
                let result = work(session);
                not_primary.set(session.is_not_primary);
                result
            });
            match (step, result) {
                (Step::Asked, Err(_)) if not_primary.get() && search.parked => {
                    // Nothing was done, so it can be done where the primary is now.
                    (search.next, search.notes, search.parked) = (seeds.clone(), false, false);
                }
                (Step::Asked, result) => return result,
                (Step::Noted(there), _) => {
                    // A note that leads back is old, or the other one is.
                    search.notes = there != at && !search.followed.contains(&there);
                    search.followed.push(there.clone());
                    search.go(there);
                }
                (Step::Told(there), _) => {
                    search.notes = false;
                    search.go(there);
                }
                (Step::Again, _) => search.go(at),
                (Step::Unfit, result) => {
                    last = result.err().unwrap_or(last);
                    if search.notes && !search.followed.is_empty() {
                        search.notes = false;
                        search.next = seeds.iter().filter(|seed| **seed != at).cloned().collect();
                    }
                }
            }
        }
        Err(Failure::Network("the servers of the replica set do not agree on their primary".into()))
    }

    /// Whether work of this kind is rather done by a copy.
    pub fn nearby(&self, kind: Work) -> bool {
        kind == Work::Reads
            && self.connection.read_preference == ReadPreference::SecondaryPreferred
            && !self.connection.direct_connection
    }

    fn ask<T>(
        &self,
        search: &Search,
        at: &Endpoint,
        kind: Work,
        work: impl FnMut(&mut Session) -> Result<T, Failure>,
    ) -> (Step, Result<T, Failure>) {
        let name = if self.nearby(kind) { "nearby" } else { "primary" };
        let pool = Pool { endpoint: at.clone(), tls: self.connection.tls_mode(), session: name.into() };
        let step = RefCell::new(Step::Unfit);
        let connect = |stream: Stream, state: Option<Vec<u8>>| {
            step.replace(Step::Unfit);
            if let Some(note) = state {
                let is_believed = if note.is_empty() { search.parked } else { search.notes };
                if !is_believed {
                    step.replace(Step::Again);
                    return Err(elsewhere());
                }
                if note.is_empty() {
                    step.replace(Step::Asked);
                    return Ok(Session::new(stream, self.connection.user().is_some()));
                }
                let there = config::endpoint(&String::from_utf8_lossy(&note))?;
                step.replace(Step::Noted(there));
                stream.park(name, &note);
                return Err(elsewhere());
            }
            let greeted = login::greet(stream, self.connection)?;
            match self.judge(&greeted.greeting, search, kind)? {
                None => {
                    let session = login::log_in(greeted, self.connection).inspect_err(|failure| {
                        // Whoever is refused here is refused by the others of the set.
                        if matches!(failure, Failure::Unauthenticated(_)) {
                            step.replace(Step::Asked);
                        }
                    })?;
                    step.replace(Step::Asked);
                    Ok(session)
                }
                Some(there) => {
                    let note = format!("[{}]:{}", there.host, there.port);
                    step.replace(Step::Told(there));
                    greeted.session.stream.park(name, note.as_bytes());
                    Err(elsewhere())
                }
            }
        };
        let result = pool.run(self.host, kind, connect, work);
        let step = match (step.into_inner(), &result) {
            // Only what may be better elsewhere leads there.
            (Step::Unfit, Err(failure)) if !may_differ(failure) => Step::Asked,
            (step, _) => step,
        };
        (step, result)
    }

    /// Where to go instead of this server; none if it will do.
    fn judge(&self, greeting: &Greeting, search: &Search, kind: Work) -> Result<Option<Endpoint>, Failure> {
        if self.connection.direct_connection {
            return Ok(None);
        }
        if let Some(wanted) = &self.connection.replica_set
            && greeting.set_name.as_ref() != Some(wanted)
        {
            let found = greeting
                .set_name
                .as_ref()
                .map_or("no replica set".into(), |name| format!("the replica set '{}'", name.escape_debug()));
            return Err(Failure::InvalidConfig(format!("the server is of {found}, not of '{wanted}'")));
        }
        if self.nearby(kind) && !search.settling {
            let is_lone = greeting.set_name.is_none() && greeting.is_writable;
            return match search.next.front() {
                _ if greeting.is_secondary || is_lone => Ok(None),
                Some(other) => Ok(Some(other.clone())),
                None => Err(Failure::Network("no server of the replica set is a secondary".into())),
            };
        }
        match &greeting.primary {
            _ if greeting.is_writable => Ok(None),
            Some(primary) => config::endpoint(primary)
                .map(Some)
                .map_err(|_| Failure::Protocol("the server's primary has no name that can be".into())),
            None => Err(Failure::Network("the replica set has no primary at the moment".into())),
        }
    }
}

/// Stands in for a result where there is none.
fn elsewhere() -> Failure {
    Failure::Unsupported("another server is asked".into())
}

fn may_differ(failure: &Failure) -> bool {
    matches!(failure, Failure::Network(_) | Failure::Timeout(_) | Failure::InvalidConfig(_))
}
