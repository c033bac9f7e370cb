//! From an open stream to a session: TLS, the start-up, and the proof of who asks, which the host makes unseen.
//!
//! | the server asks for | the login |
//! |---|---|
//! | nothing | none |
//! | SASL | `SCRAM-SHA-256-PLUS` over TLS where it is offered, else `SCRAM-SHA-256` |
//! | MD5 | `postgres-md5` |
//! | the password | `postgres-cleartext`, which the host writes itself |
//!
//! Invariant: a server that began SCRAM has proved that it knows the password before anything else is sent to it.

use openact_connector::{Failure, HostError, Login, Stream};
use serde_json::{Value, json};

use crate::{
    config::Tls,
    failure,
    session::{CancelKey, Session, Status},
    wire::{self, Fields, Message},
};

/// Messages before the server is ready; it sends a dozen parameters.
const MESSAGES_MAX: u32 = 1_000;

/// Begins TLS where it is wanted and offered; whether it did.
pub(crate) fn encrypt(stream: &mut Stream, tls: Tls) -> Result<bool, Failure> {
    if tls == Tls::Disable {
        return Ok(false);
    }
    wire::ssl_request(stream.write_buf());
    stream.flush_harmless()?;
    match (stream.take(1)?, tls) {
        (b"S", _) => stream.start_tls().map(|()| true),
        (b"N", Tls::Require) => {
            Err(Failure::InvalidConfig("the server has no TLS, and the connection says tls: require".into()))
        }
        (b"N", _) => Ok(false),
        // Nobody has been asked who they are yet, so an error here may be anybody's and is not shown.
        _ => Err(Failure::Protocol("the server does not speak PostgreSQL's protocol".into())),
    }
}

/// Makes a session of a new stream.
pub(crate) fn log_in(
    session: &mut Session<'_>,
    tls: Tls,
    parameters: &[(String, String)],
) -> Result<(), Failure> {
    let encrypted = encrypt(&mut session.stream, tls)?;
    let parameters: Vec<(&str, &str)> =
        parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    wire::startup(session.stream.write_buf(), &parameters);
    session.stream.flush_harmless()?;
    let user = parameters.iter().find(|(name, _)| *name == "user").map_or("", |(_, user)| *user);
    prove(session, user, encrypted)?;
    for _ in 0..MESSAGES_MAX {
        match session.next()? {
            Message::KeyData { process, secret } => {
                session.key = CancelKey { process, secret: secret.to_vec() };
            }
            Message::Ready(status) => {
                session.status = Status::of(status)?;
                return Ok(());
            }
            Message::Error(fields) => return Err(failure::of(fields)?),
            _ => return Err(wire::unexpected("no part of a start")),
        }
    }
    Err(wire::unexpected("a start without an end"))
}

/// What the server asked for.
enum Asked {
    Nothing,
    Password,
    Md5(Vec<u8>),
    Sasl(Vec<Vec<u8>>),
    More(Vec<u8>),
    Final(Vec<u8>),
}

fn prove(session: &mut Session<'_>, user: &str, encrypted: bool) -> Result<(), Failure> {
    match asked(session)? {
        Asked::Nothing => return Ok(()),
        Asked::Password => {
            let mut login = login(session, "postgres-cleartext", &json!({}))?;
            // The host has written it; there is nothing to send.
            login.step(b"")?;
        }
        Asked::Md5(salt) => {
            let mut login = login(session, "postgres-md5", &json!({"user": user}))?;
            let mut answer = login.step(&salt)?;
            answer.push(0);
            wire::password(session.stream.write_buf(), &answer);
            session.stream.flush_harmless()?;
        }
        Asked::Sasl(offered) => scram(session, &offered, encrypted)?,
        Asked::More(_) | Asked::Final(_) => return Err(wire::unexpected("a step of no login")),
    }
    match asked(session)? {
        Asked::Nothing => Ok(()),
        _ => Err(wire::unexpected("a second login")),
    }
}

fn scram(session: &mut Session<'_>, offered: &[Vec<u8>], encrypted: bool) -> Result<(), Failure> {
    let has = |mechanism: &&str| offered.iter().any(|offer| offer == mechanism.as_bytes());
    let wanted: &[&str] =
        if encrypted { &["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"] } else { &["SCRAM-SHA-256"] };
    let mechanism = *wanted.iter().find(|mechanism| has(mechanism)).ok_or_else(|| {
        Failure::Unsupported("the server offers no way of login that is known here (SCRAM-SHA-256)".into())
    })?;
    // The server takes the user from the start-up.
    let mut login = login(session, mechanism, &json!({"user": ""}))?;
    let first = login.step(b"")?;
    wire::sasl_first(session.stream.write_buf(), mechanism, &first);
    session.stream.flush_harmless()?;
    let Asked::More(challenge) = asked(session)? else {
        return Err(wire::unexpected("no step of SCRAM"));
    };
    let answer = login.step(&challenge)?;
    wire::password(session.stream.write_buf(), &answer);
    session.stream.flush_harmless()?;
    let Asked::Final(proof) = asked(session)? else {
        return Err(wire::unexpected("no proof of the server's"));
    };
    login.step(&proof)?;
    Ok(())
}

fn login(session: &mut Session<'_>, mechanism: &str, parameters: &Value) -> Result<Box<dyn Login>, Failure> {
    session.stream.login(mechanism, parameters).map_err(|error| match error {
        HostError::NotFound(_) => {
            Failure::Unauthenticated("the server asks for a password, and the connection has none".into())
        }
        error => error.into(),
    })
}

fn asked(session: &mut Session<'_>) -> Result<Asked, Failure> {
    let (kind, mut fields): (u32, Fields<'_>) = match session.next()? {
        Message::Authentication(kind, fields) => (kind, fields),
        Message::Error(fields) => return Err(failure::of(fields)?),
        _ => return Err(wire::unexpected("no part of a login")),
    };
    Ok(match kind {
        0 => Asked::Nothing,
        3 => Asked::Password,
        5 => Asked::Md5(fields.rest().to_vec()),
        10 => {
            let mut offered = Vec::new();
            while !matches!(fields.0.first(), None | Some(0)) {
                offered.push(fields.text()?.to_vec());
            }
            Asked::Sasl(offered)
        }
        11 => Asked::More(fields.rest().to_vec()),
        12 => Asked::Final(fields.rest().to_vec()),
        2 | 7..=9 => {
            return Err(Failure::Unsupported(
                "the server asks for a login by Kerberos, GSSAPI or SSPI; give the user a password login"
                    .into(),
            ));
        }
        _ => return Err(wire::unexpected("an unknown way of login")),
    })
}
