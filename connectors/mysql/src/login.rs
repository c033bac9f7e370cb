//! From an open stream to a session: the greeting, TLS, and the proof of who asks, which the host makes unseen.
//!
//! | the server asks for | the login |
//! |---|---|
//! | `mysql_native_password` | its scramble of the server's nonce |
//! | `caching_sha2_password` | its scramble; then, if the server has no hash in its cache, the password: over TLS as it is (`mysql-cleartext`), else under the server's RSA key |
//! | `mysql_clear_password` | `mysql-cleartext`, over TLS alone |
//! | another of these | a switch, at most a few |
//!
//! Invariant: what is not TLS is never sent a password but encrypted; whether it is sent a proof at all is the host's to say.

use openact_connector::{Failure, HostError, Login, Stream};
use serde_json::json;

use crate::{
    config::{Connection, Tls},
    failure,
    wire::{self, Fields, broken, capability, unexpected},
};

/// utf8mb4_general_ci, which servers of all ages know.
const UTF8MB4: u8 = 45;

/// Packets of a login; the longest there is takes five.
const STEPS_MAX: u32 = 16;

/// What is wanted of the server, TLS and the database aside.
const WANTED: u32 = capability::PROTOCOL_41
    | capability::TRANSACTIONS
    | capability::SECURE_CONNECTION
    | capability::MULTI_RESULTS
    | capability::PS_MULTI_RESULTS
    | capability::PLUGIN_AUTH
    | capability::CONNECT_ATTRS
    | capability::PLUGIN_AUTH_LENENC
    | capability::DEPRECATE_EOF;

const NATIVE: &str = "mysql_native_password";
const SHA2: &str = "caching_sha2_password";
const CLEAR: &str = "mysql_clear_password";

/// What the server is, and what was agreed on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Server {
    /// What it calls its version.
    pub version: String,
    /// The number of the connection, by which a statement of it can be stopped.
    pub connection_id: u32,
    /// Whether it is a MariaDB.
    pub is_mariadb: bool,
    /// Rows end with an OK.
    pub ends_with_ok: bool,
    /// Columns have MariaDB's addition.
    pub extended: bool,
    /// Whether TLS protects it.
    pub encrypted: bool,
}

struct Greeting {
    version: String,
    connection_id: u32,
    capabilities: u32,
    extended: u32,
    nonce: Vec<u8>,
    plugin: String,
}

/// Logs in on a new stream.
pub(crate) fn log_in(stream: &mut Stream, connection: &Connection) -> Result<Server, Failure> {
    let mut number = 0;
    let greeting = greeting(stream, &mut number)?;
    let offered = greeting.capabilities;
    if offered & capability::PROTOCOL_41 == 0 || offered & capability::PLUGIN_AUTH == 0 {
        return Err(Failure::Unsupported(
            "the server is older than MySQL 5.5, whose logins are not safe".into(),
        ));
    }
    let is_mariadb = greeting.version.to_ascii_lowercase().contains("mariadb");
    let mut agreed = WANTED & offered;
    if connection.database.is_some() {
        agreed |= capability::CONNECT_WITH_DB;
    }
    let extended = if is_mariadb && offered & capability::MYSQL == 0 {
        greeting.extended & capability::EXTENDED_METADATA
    } else {
        agreed |= capability::MYSQL & offered;
        0
    };
    let head = |agreed: u32| {
        let mut head = Vec::with_capacity(128);
        head.extend(agreed.to_le_bytes());
        head.extend(0x4000_0000_u32.to_le_bytes());
        head.push(UTF8MB4);
        head.extend([0; 19]);
        head.extend(extended.to_le_bytes());
        head
    };
    let encrypted = match (connection.tls, offered & capability::SSL != 0) {
        (Tls::Disable, _) | (Tls::Prefer, false) => false,
        (Tls::Require, false) => {
            let message = "the server has no TLS, and the connection says tls: require";
            return Err(Failure::InvalidConfig(message.into()));
        }
        (_, true) => true,
    };
    if encrypted {
        agreed |= capability::SSL;
        number = wire::put(stream.write_buf(), number, &head(agreed));
        stream.start_tls()?;
    }
    let mut proof = Proof { stream, number, encrypted, login: None, plugin: String::new() };
    let response = proof.response(head(agreed), agreed, &greeting, connection)?;
    proof.send(&response)?;
    proof.finish()?;
    Ok(Server {
        version: greeting.version,
        connection_id: greeting.connection_id,
        is_mariadb,
        ends_with_ok: agreed & capability::DEPRECATE_EOF != 0,
        extended: extended != 0,
        encrypted,
    })
}

fn greeting(stream: &mut Stream, number: &mut u8) -> Result<Greeting, Failure> {
    // Its first packet is short. What is not, or is none, is another protocol.
    let is_none = matches!(*stream.need(4)?, [_, b, c, n, ..] if c != 0 || b > 16 || n != 0);
    if is_none {
        return Err(Failure::Protocol("the server does not speak MySQL's protocol".into()));
    }
    let mut fields = Fields(wire::next(stream, number)?);
    match fields.u8()? {
        10 => {}
        0xff => return Err(failure::of_login(fields)?),
        _ => return Err(Failure::Protocol("the server does not speak MySQL's protocol".into())),
    }
    let version = fields.text();
    let mut version =
        String::from_utf8_lossy(version.get(..version.len().min(128)).unwrap_or_default()).into_owned();
    if let Some(real) = version.strip_prefix("5.5.5-") {
        // What MariaDB 10 says to old replicas.
        version = real.to_owned();
    }
    let connection_id = fields.u32()?;
    let mut nonce = fields.bytes(8)?.to_vec();
    fields.u8()?;
    let mut capabilities = u32::from(fields.u16()?);
    let (_charset, _status) = (fields.u8()?, fields.u16()?);
    capabilities |= u32::from(fields.u16()?) << 16;
    let length = fields.u8()?;
    fields.bytes(6)?;
    let extended = fields.u32()?;
    nonce.extend(fields.bytes(usize::from(length.saturating_sub(8)).max(13))?);
    nonce.truncate(20);
    let plugin = String::from_utf8_lossy(fields.text()).into_owned();
    Ok(Greeting { version, connection_id, capabilities, extended, nonce, plugin })
}

/// A login that is going on.
struct Proof<'s> {
    stream: &'s mut Stream,
    number: u8,
    encrypted: bool,
    /// None if the connection has no password.
    login: Option<Box<dyn Login>>,
    plugin: String,
}

/// What the server says to a packet of a login.
enum Said {
    Welcome,
    Switch(String, Vec<u8>),
    More(Vec<u8>),
}

impl Proof<'_> {
    /// The answer to the greeting.
    fn response(
        &mut self,
        mut out: Vec<u8>,
        agreed: u32,
        greeting: &Greeting,
        connection: &Connection,
    ) -> Result<Vec<u8>, Failure> {
        // Others than these are not for the connection's user, maybe: the server says which one is.
        let plugin = if greeting.plugin == SHA2 { SHA2 } else { NATIVE };
        let scramble = self.begin(plugin, &greeting.nonce)?;
        out.extend(connection.user.as_bytes());
        out.push(0);
        // A scramble is shorter than what would be written otherwise without PLUGIN_AUTH_LENENC.
        wire::put_counted(&mut out, &scramble);
        if let Some(database) = &connection.database {
            out.extend(database.as_bytes());
            out.push(0);
        }
        out.extend(plugin.as_bytes());
        out.push(0);
        if agreed & capability::CONNECT_ATTRS != 0 {
            let mut attributes = Vec::new();
            for text in ["_client_name", "openact", "program_name", "openact"] {
                wire::put_counted(&mut attributes, text.as_bytes());
            }
            wire::put_counted(&mut out, &attributes);
        }
        Ok(out)
    }

    /// Begins a login by `plugin`; its first answer.
    fn begin(&mut self, plugin: &str, nonce: &[u8]) -> Result<Vec<u8>, Failure> {
        plugin.clone_into(&mut self.plugin);
        self.login = match self.stream.login(plugin, &json!({})) {
            Ok(login) => Some(login),
            Err(HostError::NotFound(_)) => None,
            Err(error) => return Err(error.into()),
        };
        match &mut self.login {
            Some(login) => Ok(login.step(nonce)?),
            None => Ok(Vec::new()),
        }
    }

    fn finish(&mut self) -> Result<(), Failure> {
        for _ in 0..STEPS_MAX {
            match self.said()? {
                Said::Welcome => return Ok(()),
                Said::Switch(plugin, nonce) => self.switch(&plugin, &nonce)?,
                Said::More(data) if self.plugin == SHA2 => match data.as_slice() {
                    // The cache has it; the welcome follows.
                    [3] => {}
                    [4] if self.encrypted => self.password()?,
                    [4] => self.encrypted_password()?,
                    _ => return Err(unexpected("no step of caching_sha2_password")),
                },
                Said::More(_) => return Err(unexpected("a step of no login")),
            }
        }
        Err(unexpected("a login without an end"))
    }

    fn switch(&mut self, plugin: &str, nonce: &[u8]) -> Result<(), Failure> {
        match plugin {
            NATIVE | SHA2 => {
                let nonce = nonce.strip_suffix(&[0]).unwrap_or(nonce);
                let answer = self.begin(plugin, nonce)?;
                self.send(&answer)
            }
            CLEAR if self.encrypted => {
                plugin.clone_into(&mut self.plugin);
                self.password()
            }
            CLEAR => Err(Failure::Denied(
                "the server asks for the password in plain text; set tls: require".into(),
            )),
            _ => Err(Failure::Unsupported(format!(
                "the server asks for a login by '{}', which is not known here ({NATIVE}, {SHA2}, {CLEAR})",
                plugin.escape_debug()
            ))),
        }
    }

    /// The password as it is, which the host writes itself.
    fn password(&mut self) -> Result<(), Failure> {
        let parameters = json!({"sequence": self.number});
        match self.stream.login("mysql-cleartext", &parameters) {
            Ok(mut login) => {
                login.step(b"")?;
                self.number = self.number.wrapping_add(1);
                Ok(())
            }
            Err(HostError::NotFound(_)) => Err(no_password()),
            Err(error) => Err(error.into()),
        }
    }

    /// The password under the server's key.
    fn encrypted_password(&mut self) -> Result<(), Failure> {
        if self.login.is_none() {
            return Err(no_password());
        }
        self.send(&[2])?;
        let Said::More(key) = self.said()? else { return Err(unexpected("no public key")) };
        let login = self.login.as_mut().ok_or_else(no_password)?;
        let answer = login.step(&key)?;
        self.send(&answer)
    }

    fn send(&mut self, body: &[u8]) -> Result<(), Failure> {
        self.number = wire::put(self.stream.write_buf(), self.number, body);
        self.stream.flush_harmless()
    }

    fn said(&mut self) -> Result<Said, Failure> {
        let mut fields = Fields(wire::next(self.stream, &mut self.number)?);
        match fields.u8()? {
            0 => Ok(Said::Welcome),
            1 => Ok(Said::More(fields.0.to_vec())),
            0xfe if fields.0.is_empty() => Err(Failure::Unsupported(
                "the server asks for a login of before MySQL 4.1, which is not safe".into(),
            )),
            0xfe => {
                let plugin = String::from_utf8_lossy(fields.text()).into_owned();
                Ok(Said::Switch(plugin, fields.0.to_vec()))
            }
            0xff => Err(failure::of_login(fields)?),
            _ => Err(broken()),
        }
    }
}

fn no_password() -> Failure {
    Failure::Unauthenticated("the server asks for a password, and the connection has none".into())
}
