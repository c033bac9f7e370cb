//! From an open stream to a session: who the server is, and the proof of who asks, which the host makes unseen.
//!
//! `hello` carries the first step of SCRAM-SHA-256, so that a login costs two round trips; a user who has only SCRAM-SHA-1
//! costs one more. Invariant: the server has proved that it knows the password before any command is sent to it.

use openact_connector::{Failure, HostError, Login, Stream};
use serde_json::json;

use crate::{
    bson::{Builder, Document, Value},
    config::{Connection, Mechanism},
    failure::ServerError,
    session::{Command, Session},
};

/// Steps after the proofs were exchanged; some servers want an empty one.
const EMPTY_STEPS_MAX: u32 = 2;

/// The wire protocol of MongoDB 4.2, which has `OP_MSG` for everything that is sent here.
const WIRE_VERSION_MIN: i64 = 8;

/// What a server says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Greeting {
    /// It takes writes: a primary, a lone server, or a router.
    pub is_writable: bool,
    /// It has a copy of the data.
    pub is_secondary: bool,
    /// The name of its replica set.
    pub set_name: Option<String>,
    /// Who the primary of its set is, as far as it knows.
    pub primary: Option<String>,
    mechanisms: Vec<String>,
    wire_version: i64,
}

/// A session whose server has said who it is, and that is not logged in.
pub struct Greeted {
    /// The session.
    pub session: Session,
    /// What the server said.
    pub greeting: Greeting,
    begun: Option<Begun>,
}

/// A login whose first step went with the greeting.
struct Begun {
    login: Box<dyn Login>,
    mechanism: Mechanism,
    answer: Option<Step>,
}

/// The server's part of a step.
struct Step {
    conversation: i64,
    payload: Vec<u8>,
    done: bool,
}

/// Greets the server at the other end of a new stream.
pub fn greet(stream: Stream, connection: &Connection) -> Result<Greeted, Failure> {
    let mut session = Session::new(stream, connection.user().is_some());
    let mut hello = Builder::new().integer("hello", 1).document("client", &client(connection));
    let mut begun = None;
    if let Some(user) = connection.user() {
        let mechanism = connection.auth_mechanism.unwrap_or(Mechanism::Sha256);
        let mut login = start(&mut session, mechanism, user)?;
        let first = sasl_start(mechanism, &login.step(b"")?).text("db", connection.auth_source());
        hello = hello
            .text("saslSupportedMechs", &format!("{}.{user}", connection.auth_source()))
            .document("speculativeAuthenticate", &first.finish());
        begun = Some(Begun { login, mechanism, answer: None });
    }
    let hello = hello.text("$db", "admin").finish();
    let (greeting, answer) = session.run(Command::reading(&hello), |reply| {
        let step = reply.get("speculativeAuthenticate")?.and_then(Value::as_document);
        Ok((greeting(reply)?, step.map(step_of).transpose()?))
    })?;
    if greeting.wire_version < WIRE_VERSION_MIN {
        return Err(Failure::Unsupported("the server is older than MongoDB 4.2".into()));
    }
    if let Some(begun) = &mut begun {
        begun.answer = answer;
    }
    Ok(Greeted { session, greeting, begun })
}

/// Finishes the login.
pub fn log_in(greeted: Greeted, connection: &Connection) -> Result<Session, Failure> {
    let Greeted { mut session, greeting, begun } = greeted;
    let Some((begun, user)) = begun.zip(connection.user()) else { return Ok(session) };
    let (mut login, first) = match begun {
        Begun { login, answer: Some(step), .. } => (login, step),
        Begun { mechanism, .. } => {
            let mechanism = connection.auth_mechanism.map_or_else(|| chosen(&greeting, mechanism), Ok)?;
            let mut login = start(&mut session, mechanism, user)?;
            let command = sasl_start(mechanism, &login.step(b"")?);
            let step = exchange(&mut session, command, connection)?;
            (login, step)
        }
    };
    let mut step = first;
    let proof = login.step(&step.payload)?;
    step = exchange(&mut session, sasl_continue(&step, &proof), connection)?;
    // Fails if the server has not proved itself.
    let rest = login.step(&step.payload)?;
    if !rest.is_empty() {
        return Err(unexpected("a login that goes on after its end"));
    }
    for _ in 0..EMPTY_STEPS_MAX {
        if step.done {
            return Ok(session);
        }
        step = exchange(&mut session, sasl_continue(&step, b""), connection)?;
    }
    if step.done { Ok(session) } else { Err(unexpected("a login without an end")) }
}

fn client(connection: &Connection) -> Vec<u8> {
    let mut client = Builder::new();
    if let Some(name) = &connection.application_name {
        client = client.document("application", &Builder::new().text("name", name).finish());
    }
    let driver = Builder::new().text("name", "openact").text("version", env!("CARGO_PKG_VERSION")).finish();
    client.document("driver", &driver).document("os", &Builder::new().text("type", "wasm").finish()).finish()
}

fn greeting(reply: Document<'_>) -> Result<Greeting, Failure> {
    let mut greeting = Greeting::default();
    for member in reply.members() {
        let (name, value) = member?;
        let text = || value.as_text().map(str::to_owned);
        match name {
            b"isWritablePrimary" => greeting.is_writable = value.is_true(),
            b"secondary" => greeting.is_secondary = value.is_true(),
            b"setName" => greeting.set_name = text(),
            b"primary" => greeting.primary = text(),
            b"maxWireVersion" => greeting.wire_version = value.as_integer().unwrap_or_default(),
            b"saslSupportedMechs" => {
                for member in value.as_array().iter().flat_map(|list| list.members()).take(20) {
                    greeting.mechanisms.extend(member?.1.as_text().map(str::to_owned));
                }
            }
            _ => {}
        }
    }
    Ok(greeting)
}

/// Of what the user has, the best that is known here.
fn chosen(greeting: &Greeting, otherwise: Mechanism) -> Result<Mechanism, Failure> {
    let has = |mechanism: &Mechanism| greeting.mechanisms.iter().any(|own| own == mechanism.name());
    match [Mechanism::Sha256, Mechanism::Sha1].into_iter().find(has) {
        Some(mechanism) => Ok(mechanism),
        // Of a user it does not know a server says nothing, and refuses the login.
        None if greeting.mechanisms.is_empty() => Ok(otherwise),
        None => Err(Failure::Unsupported(
            "the user has no way of login that is known here (SCRAM-SHA-256, SCRAM-SHA-1)".into(),
        )),
    }
}

fn start(session: &mut Session, mechanism: Mechanism, user: &str) -> Result<Box<dyn Login>, Failure> {
    let parameters = match mechanism {
        Mechanism::Sha256 => json!({ "user": user }),
        Mechanism::Sha1 => json!({"user": user, "md5_password": true}),
    };
    session.stream.login(mechanism.name(), &parameters).map_err(|error| match error {
        HostError::NotFound(_) => {
            Failure::Unauthenticated("the connection has a user and no password; set it".into())
        }
        error => error.into(),
    })
}

fn sasl_start(mechanism: Mechanism, payload: &[u8]) -> Builder {
    Builder::new()
        .integer("saslStart", 1)
        .text("mechanism", mechanism.name())
        .binary("payload", payload)
        .document("options", &Builder::new().boolean("skipEmptyExchange", true).finish())
}

fn sasl_continue(step: &Step, payload: &[u8]) -> Builder {
    Builder::new()
        .integer("saslContinue", 1)
        .integer("conversationId", step.conversation)
        .binary("payload", payload)
}

fn exchange(session: &mut Session, command: Builder, connection: &Connection) -> Result<Step, Failure> {
    let command = command.text("$db", connection.auth_source()).finish();
    let answer = session.ask(Command::reading(&command), |reply| match ServerError::of(reply)? {
        Some(error) => Ok(Err(error)),
        None => step_of(reply).map(Ok),
    })?;
    answer.map_err(|error| match error.into_failure(true) {
        failure @ (Failure::Network(_) | Failure::Timeout(_)) => failure,
        Failure::Upstream(failure) => {
            Failure::Unauthenticated(format!("the server refused the login: {}", failure.message))
        }
        Failure::Unauthenticated(message) => {
            Failure::Unauthenticated(format!("the server refused the login: {message}"))
        }
        failure => failure,
    })
}

fn step_of(reply: Document<'_>) -> Result<Step, Failure> {
    let conversation = reply.get("conversationId")?.and_then(Value::as_integer);
    let payload = match reply.get("payload")? {
        Some(Value::Binary(_, bytes)) => Some(bytes.to_vec()),
        // Old servers sent it as text.
        Some(Value::String(text)) => Some(text.to_vec()),
        _ => None,
    };
    let done = reply.get("done")?.is_some_and(Value::is_true);
    match (conversation, payload) {
        (Some(conversation), Some(payload)) => Ok(Step { conversation, payload, done }),
        _ => Err(unexpected("no step of a login")),
    }
}

fn unexpected(what: &str) -> Failure {
    Failure::Protocol(format!("the server sent {what} where another answer was expected"))
}
