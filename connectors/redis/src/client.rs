//! Commands to the server that has their keys, and what it answered.
//!
//! A node of a cluster that has not got a key says which one has. Such a command was not run, so it is sent on, to what
//! the connection grants and nowhere else: the host refuses any other.
//!
//! Invariant: what a server has run is not sent again.

use openact_connector::{
    Endpoint, Failure, Host, UpstreamFailure,
    pool::{Pool, Work},
};

use crate::{
    answer::{ServerError, error_of, errors_in, push_message},
    config::Connection,
    rules::{Arguments, Name},
    session::Session,
};

/// From node to node. One that is right knows after the first where to go.
const REDIRECTS_MAX: u32 = 5;

/// All answers of a pipeline, as JSON.
const ANSWERS_BYTES_MAX: usize = 24 * 1024 * 1024;

/// What was answered to one command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// JSON.
    Value(String),
    /// That it was not done.
    Error(ServerError),
}

/// Where a command is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    host: String,
    port: u16,
    /// Each command needs to be announced, since its key is on its way there.
    asking: bool,
}

/// What came of a piece of work at one server.
pub enum Outcome<T> {
    /// This.
    Done(T),
    /// Nothing: another one has the key.
    At(Target),
}

impl<T> Outcome<T> {
    fn map<U>(self, done: impl FnOnce(T) -> U) -> Outcome<U> {
        match self {
            Self::Done(value) => Outcome::Done(done(value)),
            Self::At(target) => Outcome::At(target),
        }
    }
}

/// The commands of one call.
pub struct Client<'a> {
    /// Where, and as whom.
    pub connection: &'a Connection,
    /// The host of the call.
    pub host: &'a dyn Host,
}

impl Client<'_> {
    /// Sends one command.
    pub fn command(&self, command: &Arguments) -> Result<Reply, Failure> {
        self.follow(kind_of(std::slice::from_ref(command)), |session, asking| {
            announce(session, asking);
            session.command(command);
            session.send()?;
            answer(session, asking)
        })
    }

    /// Sends several at once. Each is answered by itself.
    pub fn pipeline(&self, commands: &[Arguments]) -> Result<Vec<Reply>, Failure> {
        // What a server refused to queue must not be done by another one, outside of the transaction.
        let follows = !commands.iter().any(|command| Name::of(command).is_of_transactions());
        let mut replies: Vec<Option<Reply>> = commands.iter().map(|_| None).collect();
        let mut bytes = 0;
        let mut groups = vec![(self.first(), (0..commands.len()).collect::<Vec<_>>())];
        for _ in 0..=REDIRECTS_MAX {
            let mut redirected: Vec<(Target, Vec<usize>)> = Vec::new();
            for (target, indices) in groups {
                let those: Vec<_> = indices.iter().filter_map(|index| commands.get(*index)).collect();
                let kind = kind_of(those.iter().copied());
                let answers =
                    self.at(&target, kind, |session| pipeline(session, &those, target.asking, follows))?;
                for (index, answer) in indices.into_iter().zip(answers) {
                    match answer {
                        Outcome::Done(reply) => {
                            bytes += if let Reply::Value(json) = &reply { json.len() } else { 0 };
                            if let Some(place) = replies.get_mut(index) {
                                *place = Some(reply);
                            }
                        }
                        Outcome::At(target) => {
                            // Commands for one node keep their order.
                            match redirected.iter_mut().find(|(other, _)| *other == target) {
                                Some((_, indices)) => indices.push(index),
                                None => redirected.push((target, vec![index])),
                            }
                        }
                    }
                }
                bounded(bytes)?;
            }
            if redirected.is_empty() {
                return Ok(replies.into_iter().flatten().collect());
            }
            groups = redirected;
        }
        Err(too_often())
    }

    /// Sends several between MULTI and EXEC, and answers with what EXEC is answered with, and how many
    /// of its items are errors.
    pub fn transaction(&self, commands: &[Arguments]) -> Result<(Reply, u64), Failure> {
        self.follow(Work::Writes, |session, _| {
            // If this is refused, what follows would be done at once.
            if let Some(error) = session.ask(&["MULTI"])? {
                return Ok(outcome(session, Reply::Error(error)).map(|reply| (reply, 0)));
            }
            commands.iter().for_each(|command| session.command(command));
            session.put(&["EXEC"]);
            session.send()?;
            // The first refusal says why; that of EXEC only says that there was one.
            let mut refusal = None;
            for _ in commands {
                let error = session.reply(|message| Ok(error_of(message)))?;
                refusal = refusal.or(error);
            }
            let (reply, errors) = session.reply(|message| Ok((reply_of(message)?, errors_in(message)?)))?;
            let reply = match (reply, refusal) {
                // No transaction can be announced to the node that a key is on its way to.
                (Reply::Error(_), Some(refusal)) if refusal.code() == "ASK" => {
                    return Err(Failure::Upstream(UpstreamFailure {
                        code: refusal.code,
                        message: format!("a key of the transaction is being moved: {}", refusal.message),
                        details: None,
                        retryable: true,
                    }));
                }
                (Reply::Error(_), Some(refusal)) => Reply::Error(refusal),
                (reply, _) => reply,
            };
            Ok(outcome(session, reply).map(|reply| (reply, errors)))
        })
    }

    /// Does `work` at the server that has the key.
    pub fn follow<T>(
        &self,
        kind: Work,
        mut work: impl FnMut(&mut Session, bool) -> Result<Outcome<T>, Failure>,
    ) -> Result<T, Failure> {
        let mut target = self.first();
        for _ in 0..=REDIRECTS_MAX {
            match self.at(&target, kind, |session| work(session, target.asking))? {
                Outcome::Done(value) => return Ok(value),
                Outcome::At(other) => target = other,
            }
        }
        Err(too_often())
    }

    fn first(&self) -> Target {
        Target { host: self.connection.host.clone(), port: self.connection.port, asking: false }
    }

    fn at<T>(
        &self,
        target: &Target,
        kind: Work,
        mut work: impl FnMut(&mut Session) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let pool = Pool {
            endpoint: Endpoint::new(target.host.clone(), target.port),
            tls: self.connection.tls_mode(),
            session: "redis".into(),
        };
        pool.run(
            self.host,
            kind,
            |stream, state| Session::begin(stream, state.is_some(), target.host.clone(), self.connection),
            &mut work,
        )
    }
}

/// Sends `ASKING` where it is needed.
pub fn announce(session: &mut Session, asking: bool) {
    if asking {
        session.put(&["ASKING"]);
    }
}

/// The answer to one command.
fn answer(session: &mut Session, asking: bool) -> Result<Outcome<Reply>, Failure> {
    if asking {
        session.reply(|_| Ok(()))?;
    }
    let reply = session.reply(reply_of)?;
    Ok(outcome(session, reply))
}

fn pipeline(
    session: &mut Session,
    commands: &[&Arguments],
    asking: bool,
    follows: bool,
) -> Result<Vec<Outcome<Reply>>, Failure> {
    for command in commands {
        announce(session, asking);
        session.command(command);
    }
    session.send()?;
    let mut bytes = 0;
    commands
        .iter()
        .map(|_| {
            let outcome = match follows {
                true => answer(session, asking)?,
                false => Outcome::Done(session.reply(reply_of)?),
            };
            if let Outcome::Done(Reply::Value(json)) = &outcome {
                bytes += json.len();
            }
            bounded(bytes).map(|()| outcome)
        })
        .collect()
}

fn reply_of(message: &[u8]) -> Result<Reply, Failure> {
    if let Some(error) = error_of(message) {
        return Ok(Reply::Error(error));
    }
    let mut json = String::with_capacity(message.len() + 16);
    push_message(&mut json, message)?;
    Ok(Reply::Value(json))
}

/// What a reply means: that of a cluster may be where to go.
fn outcome(session: &Session, reply: Reply) -> Outcome<Reply> {
    let target = match &reply {
        Reply::Error(error) => Target::of(error, session.host()),
        Reply::Value(_) => None,
    };
    target.map_or(Outcome::Done(reply), Outcome::At)
}

impl Target {
    /// Of `MOVED 3999 127.0.0.1:6381` or `ASK 3999 :6381`, which is the host that said so; none of any other error.
    pub fn of(error: &ServerError, host: &str) -> Option<Self> {
        if !matches!(error.code(), "MOVED" | "ASK") {
            return None;
        }
        let mut words = error.message.split(' ').skip(1);
        words.next()?.parse::<u16>().ok()?;
        let (name, port) = words.next()?.rsplit_once(':')?;
        let port = port.parse().ok().filter(|port| *port > 0)?;
        // A script's error has more words; what it says was run.
        if name == "?" || words.next().is_some() {
            return None;
        }
        let host = if name.is_empty() { host } else { name };
        Some(Self { host: host.to_owned(), port, asking: error.code() == "ASK" })
    }
}

fn kind_of<'c>(commands: impl IntoIterator<Item = &'c Arguments>) -> Work {
    let reads = commands.into_iter().all(|command| Name::of(command).is_read());
    if reads { Work::Reads } else { Work::Writes }
}

fn bounded(bytes: usize) -> Result<(), Failure> {
    if bytes > ANSWERS_BYTES_MAX {
        return Err(Failure::LimitExceeded(format!(
            "the answers have more than {ANSWERS_BYTES_MAX} bytes of JSON"
        )));
    }
    Ok(())
}

fn too_often() -> Failure {
    Failure::Protocol(format!("the servers redirect in circles: more than {REDIRECTS_MAX} times"))
}
