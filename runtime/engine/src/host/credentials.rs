//! `credentials`: using a secret without seeing it. How each login is done is `openact-auth`'s; what it may be used for is
//! decided here.
//!
//! Invariants (C6, C7): a name means a secret of this call's connection and nothing else; a login belongs to the stream it
//! was started on; nothing is proven to a host that the connection itself does not name, nor over plain text to another
//! machine, unless the connection allows that.

use openact_core::{
    Error, JsonObject, Result,
    limits::CAUSE_BYTES_MAX,
    login::{Answer, Channel, Login as Exchange, LoginRequest, Logins},
    manifest::Capability,
    secret::SecretString,
};
use tokio::time::Instant;
use tracing::Instrument as _;
use wasmtime::component::Resource;

use super::{HostView, sockets::Socket};
use crate::{
    bindings::v0_1::{credentials, types::HostError},
    egress::trace,
};

/// A login in progress.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct Login {
    /// None after an error: there is no other step.
    exchange: Option<Box<dyn Exchange>>,
    socket: u32,
    /// Handles are used again; this is not.
    socket_id: u64,
    mechanism: String,
}

impl credentials::Host for HostView<'_> {
    async fn length(&mut self, _name: String) -> wasmtime::Result<Result<u32, HostError>> {
        Ok(Err(self.refuse_to_reveal("credentials.length")))
    }

    async fn sign(
        &mut self,
        algorithm: String,
        name: String,
        message: Vec<u8>,
    ) -> wasmtime::Result<Result<Vec<u8>, HostError>> {
        Ok(self.signed(&algorithm, &name, &message).map_err(|error| match error {
            Some(error) => self.refuse(error),
            None => HostError::Unsupported(format!("no algorithm '{}'", shown(&algorithm))),
        }))
    }

    async fn reveal(&mut self, _name: String) -> wasmtime::Result<Result<String, HostError>> {
        Ok(Err(self.refuse_to_reveal("credentials.reveal")))
    }
}

impl credentials::HostLogin for HostView<'_> {
    async fn start(
        &mut self,
        mechanism: String,
        on: Resource<Socket>,
        parameters: String,
    ) -> wasmtime::Result<Result<Resource<Login>, HostError>> {
        let (rep, socket) = (on.rep(), &self.0.table.get(&on)?.0);
        let exchange = self.start_login(&mechanism, socket, &parameters);
        let socket_id = socket.id;
        Ok(match exchange {
            Ok(Some(exchange)) => {
                let login = Login { exchange: Some(exchange), socket: rep, socket_id, mechanism };
                Ok(self.0.table.push(login)?)
            }
            Ok(None) => Err(HostError::Unsupported(format!("no login '{}' here", shown(&mechanism)))),
            Err(error) => Err(self.refuse(error)),
        })
    }

    async fn step(
        &mut self,
        login: Resource<Login>,
        challenge: Vec<u8>,
    ) -> wasmtime::Result<Result<Vec<u8>, HostError>> {
        let own = self.0.table.get_mut(&login)?;
        let (exchange, mechanism) = (own.exchange.take(), own.mechanism.clone());
        let (socket, socket_id) = (Resource::<Socket>::new_borrow(own.socket), own.socket_id);
        let started = Instant::now();
        let span = self.0.traffic.trace.login(&mechanism);
        let (answer, exchange) = match (exchange, self.0.table.get_mut(&socket)) {
            (Some(mut exchange), Ok(Socket(socket))) if socket.id == socket_id => {
                let step = exchange.step(&challenge, socket.heard()).instrument(span.clone());
                let answer = match step.await {
                    Ok(Answer::Bytes(bytes)) => Ok(bytes),
                    Ok(Answer::Done) => Ok(Vec::new()),
                    Ok(Answer::Write(frame)) => socket.write_frame(frame).await.map(|()| Vec::new()),
                    Err(error) => Err(error.context(socket.target())),
                };
                (answer, Some(exchange))
            }
            _ => (Err(Error::invalid_input("this login is over, or the stream it was on is closed")), None),
        };
        let outcome = answer.as_ref().map_or_else(|error| error.code.as_str(), |_| "ok");
        trace::ended(&span, answer.as_ref().map(|_| "ok"));
        self.0.traffic.record_timed("credentials.login", mechanism, outcome, started);
        if answer.is_ok() {
            self.0.table.get_mut(&login)?.exchange = exchange;
        }
        Ok(answer.map_err(|error| self.refuse(error)))
    }

    async fn drop(&mut self, login: Resource<Login>) -> wasmtime::Result<()> {
        self.0.table.delete(login)?;
        Ok(())
    }
}

impl HostView<'_> {
    fn start_login(
        &self,
        mechanism: &str,
        socket: &crate::egress::socket::Socket,
        parameters: &str,
    ) -> Result<Option<Box<dyn Exchange>>> {
        self.require(Capability::Sockets)?;
        let parameters: JsonObject = serde_json::from_str(parameters)
            .map_err(|_| Error::invalid_input("the parameters of a login are not a JSON object"))?;
        let name = parameters.get("secret").map_or(Some(PASSWORD), |name| name.as_str());
        let secret = self.secret(name.unwrap_or_default())?;
        self.0.traffic.grants.permit_login(socket.origin())?;
        let network = &self.0.traffic.grants.network;
        if !socket.is_encrypted() && !socket.is_local() && !network.allow_plaintext {
            let target = socket.target();
            return Err(Error::egress_denied(format!("{target}: no password is sent or proven without TLS"))
                .hint("let the server speak TLS and set tls: require; or, if whoever is on the way may listen, add to the connection: network: { allow_plaintext: true }"));
        }
        let end_point =
            socket.certificate().and_then(|certificate| self.logins().ok()?.end_point(certificate));
        let channel =
            Channel { is_encrypted: socket.is_encrypted(), tls_server_end_point: end_point.as_deref() };
        self.logins()?.start(LoginRequest { mechanism, parameters: &parameters, secret, channel })
    }

    /// None: there is no such algorithm.
    fn signed(&self, algorithm: &str, name: &str, message: &[u8]) -> Result<Vec<u8>, Option<Error>> {
        let secret = self.require(Capability::Sockets).and_then(|()| self.secret(name));
        let secret = secret.map_err(Some)?;
        let signature = self.logins().map_err(Some)?.sign(algorithm, &secret, message).ok_or(None)?;
        // PBKDF2 signs each signature again. Who has done that often enough has what SCRAM makes of a password, and can
        // log in with it as with the password itself.
        if signature.len() == message.len() && std::str::from_utf8(message).is_err() {
            return Err(Some(Error::egress_denied(
                "what has the length of a signature, and is no text, is not signed: a password's key is derived like that",
            )));
        }
        Ok(signature)
    }

    fn secret(&self, name: &str) -> Result<SecretString> {
        let secrets = &self.0.traffic.grants.secrets;
        let found = secrets.iter().find(|(own, _)| own == name);
        found.map(|(_, secret)| secret.clone()).ok_or_else(|| {
            let name = shown(name);
            Error::not_found(format!("the connection has no secret '{name}'"))
                .hint(format!("set {name} of the connection"))
        })
    }

    fn logins(&self) -> Result<&dyn Logins> {
        let logins = self.0.traffic.grants.logins.as_deref();
        logins.ok_or_else(|| Error::egress_denied("this call has no connection to log in to"))
    }
}

/// A guest's word, as far as a message needs it.
fn shown(text: &str) -> String {
    text.escape_debug().take(CAUSE_BYTES_MAX).collect()
}

/// The secret that is meant where a login names none.
const PASSWORD: &str = "password";
