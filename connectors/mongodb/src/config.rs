//! The fields of a connection, as they are written in a configuration file. Their descriptions are what people read in an
//! editor and in messages.
//!
//! Invariant: the connector never gets `password`, nor `url`, which the host takes apart into the other fields.

use std::borrow::Cow;

use openact_connector::{Endpoint, Failure, TlsMode};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de::Error};
use serde_json::{Value, json};

const PORT: u16 = 27017;

/// Where, and as whom.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Connection {
    /// mongodb://user:password@host:27017/database, also with several hosts: another way to write the fields below.
    #[serde(default)]
    #[schemars(with = "String", extend("writeOnly" = true, "x-url" = url_rule()))]
    pub url: Option<String>,
    /// The server's name or address, if it is one.
    #[serde(default)]
    #[schemars(with = "String", extend("x-endpoint" = {"port": "port", "default_port": 27017}))]
    pub host: Option<String>,
    /// The server's port.
    #[serde(default = "port")]
    pub port: u16,
    /// The servers of a replica set, such as [db-1.internal:27017, db-2.internal]. None but these is ever reached.
    #[serde(default)]
    #[schemars(with = "Vec<Host>", extend("x-aliases" = ["seeds"]))]
    pub hosts: Vec<String>,
    /// The name of a mongodb+srv:// URL: DNS lists the servers under it, and perhaps auth_source and replica_set. Their
    /// names have to be of the same domain. TLS is on unless tls says otherwise.
    #[serde(default)]
    #[schemars(with = "String", extend("x-srv" = srv_rule()))]
    pub srv_host: Option<String>,
    /// Who asks.
    #[serde(default)]
    #[schemars(with = "String", extend("x-aliases" = ["username"]))]
    pub user: Option<String>,
    /// The user's password.
    #[serde(default)]
    #[schemars(with = "String", extend("writeOnly" = true))]
    pub password: Option<String>,
    /// The database of actions that name none.
    #[serde(default)]
    #[schemars(with = "String", length(min = 1, max = 63))]
    pub database: Option<String>,
    /// The database that knows the user; if absent, the one above, else admin.
    #[serde(default)]
    #[schemars(with = "String", extend("x-aliases" = ["authSource"]))]
    pub auth_source: Option<String>,
    /// How the user logs in; if absent, the best that the server has for them.
    #[serde(default)]
    #[schemars(with = "Mechanism", extend("x-aliases" = ["authMechanism"]))]
    pub auth_mechanism: Option<Mechanism>,
    /// Whether to speak TLS from the first byte. MongoDB has no way to offer it, so prefer is plain text.
    #[serde(default)]
    #[schemars(extend("x-aliases" = ["ssl", "ssl_mode", "sslmode"]))]
    pub tls: Tls,
    /// The name that the replica set must have.
    #[serde(default)]
    #[schemars(with = "String", extend("x-aliases" = ["replicaSet"]))]
    pub replica_set: Option<String>,
    /// Ask the one server named, whatever its part in a replica set.
    #[serde(default)]
    #[schemars(extend("x-aliases" = ["directConnection"]))]
    pub direct_connection: bool,
    /// Which server is asked by what only reads.
    #[serde(default)]
    #[schemars(extend("x-aliases" = ["readPreference"]))]
    pub read_preference: ReadPreference,
    /// How many servers must have a write before it counts, such as 1 or majority; if absent, what the server says.
    #[serde(default)]
    #[schemars(with = "WriteConcern", extend("x-aliases" = ["w"]))]
    pub write_concern: Option<WriteConcern>,
    /// What the server shows this client as.
    #[serde(default = "application_name")]
    #[schemars(with = "String", extend("x-aliases" = ["appName"]))]
    pub application_name: Option<String>,
    /// The only commands that run-command may send, such as dbStats; all if it is empty.
    #[serde(default)]
    pub allow: Vec<String>,
    /// Commands that run-command never sends, such as dropDatabase.
    #[serde(default)]
    pub deny: Vec<String>,
    /// Whether a load balancer stands before the servers, which is not spoken to yet: false.
    #[serde(default)]
    #[schemars(extend("x-aliases" = ["loadBalanced"]))]
    pub load_balanced: bool,
    /// Taken since URLs often have it. A write is never repeated.
    #[serde(default)]
    #[schemars(with = "bool", extend("x-aliases" = ["retryWrites"]))]
    pub retry_writes: Option<bool>,
}

impl Connection {
    /// The user, if there is a name.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref().filter(|user| !user.is_empty())
    }

    /// The database that knows the user.
    pub fn auth_source(&self) -> &str {
        self.auth_source.as_deref().or(self.database.as_deref()).unwrap_or("admin")
    }

    /// How streams begin.
    pub fn tls_mode(&self) -> TlsMode {
        match self.tls {
            Tls::Require => TlsMode::Tls,
            Tls::Prefer | Tls::Disable => TlsMode::Plain,
        }
    }

    /// The servers that are named, in their order.
    pub fn endpoints(&self) -> Result<Vec<Endpoint>, Failure> {
        if self.load_balanced {
            let message = "loadBalanced=true: servers behind a load balancer are not spoken to";
            return Err(Failure::InvalidConfig(message.into()));
        }
        let one = self.host.iter().map(|host| Ok(Endpoint::new(host.clone(), self.port)));
        let endpoints: Vec<Endpoint> =
            one.chain(self.hosts.iter().map(|host| endpoint(host))).collect::<Result<_, _>>()?;
        match endpoints.len() {
            // Not at a call.
            0 if self.srv_host.is_some() => Err(Failure::Network("the hosts were not looked up".into())),
            0 => Err(Failure::InvalidConfig("the connection names no server; set host, hosts or url".into())),
            2.. if self.direct_connection => {
                Err(Failure::InvalidConfig("direct_connection is for one server, not for several".into()))
            }
            _ => Ok(endpoints),
        }
    }
}

fn port() -> u16 {
    PORT
}

fn application_name() -> Option<String> {
    Some("openact".into())
}

fn url_rule() -> Value {
    json!({
        "schemes": {"mongodb": {}, "mongodb+srv": {}}, "srv": {"mongodb+srv": "srv_host"},
        "hosts": "hosts", "user": "user", "password": "password", "path": "database",
        "query": {
            "tls": "tls", "ssl": "tls", "authSource": "auth_source", "authMechanism": "auth_mechanism",
            "replicaSet": "replica_set", "directConnection": "direct_connection",
            "readPreference": "read_preference", "w": "write_concern", "appName": "application_name",
            "retryWrites": "retry_writes", "loadBalanced": "load_balanced",
        },
    })
}

fn srv_rule() -> Value {
    json!({
        "service": "_mongodb._tcp", "hosts": "hosts", "defaults": {"tls": "require"},
        "text": {"authSource": "auth_source", "replicaSet": "replica_set", "loadBalanced": "load_balanced"},
    })
}

/// The server of `host`, `host:port`, or `[address]:port`.
pub fn endpoint(text: &str) -> Result<Endpoint, Failure> {
    let wrong = || Failure::InvalidConfig(format!("'{}' is no host:port", text.escape_debug()));
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) => {
            (address, rest.strip_prefix(':').map_or((rest.is_empty(), ""), |port| (true, port)))
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, (!port.contains(':'), port)),
            None => (text, (true, "")),
        },
    };
    let (well_formed, port) = port;
    if host.is_empty() || host.contains('/') || !well_formed {
        return Err(wrong());
    }
    let port =
        if port.is_empty() { PORT } else { port.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)? };
    Ok(Endpoint::new(host, port))
}

/// One of several servers.
struct Host;

impl JsonSchema for Host {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Host".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "minLength": 1, "x-endpoint": {"default_port": 27017}})
    }
}

/// How a user logs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum Mechanism {
    /// For users made since MongoDB 4.0.
    #[serde(rename = "SCRAM-SHA-256")]
    Sha256,
    /// For older ones.
    #[serde(rename = "SCRAM-SHA-1")]
    Sha1,
}

impl Mechanism {
    /// As SASL has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "SCRAM-SHA-256",
            Self::Sha1 => "SCRAM-SHA-1",
        }
    }
}

/// Whether to speak TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tls {
    /// As require where the protocol offers it, which that of MongoDB does not.
    #[default]
    Prefer,
    /// TLS, with the server's certificate verified.
    Require,
    /// Plain text.
    Disable,
}

const PREFER: &[&str] = &["prefer", "allow"];
const REQUIRE: &[&str] = &["require", "true", "verify-ca", "verify-full", "verify_ca", "verify_full"];
const DISABLE: &[&str] = &["disable", "false"];

impl<'de> Deserialize<'de> for Tls {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = match Value::deserialize(deserializer)? {
            Value::String(text) => text,
            other => other.to_string(),
        };
        let is = |names: &[&str]| names.contains(&text.as_str());
        if is(PREFER) {
            Ok(Self::Prefer)
        } else if is(REQUIRE) {
            Ok(Self::Require)
        } else if is(DISABLE) {
            Ok(Self::Disable)
        } else {
            Err(D::Error::custom("tls must be prefer, require or disable"))
        }
    }
}

impl JsonSchema for Tls {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Tls".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let names: Vec<Value> = [PREFER, REQUIRE, DISABLE].concat().into_iter().map(Value::from).collect();
        let names = [names, vec![true.into(), false.into()]].concat();
        json_schema!({"default": "prefer", "enum": names})
    }
}

/// Which server is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReadPreference {
    /// The one that is written to.
    #[default]
    Primary,
    /// One that may lag behind it, if there is one.
    #[serde(alias = "secondaryPreferred")]
    SecondaryPreferred,
}

impl JsonSchema for ReadPreference {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "ReadPreference".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        // The last is how a URL has it.
        let names = ["primary", "secondary_preferred", "secondaryPreferred"];
        json_schema!({"type": "string", "default": "primary", "enum": names})
    }
}

/// How many servers must have a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteConcern {
    /// So many, at least one.
    Servers(u32),
    /// A majority, or what the replica set calls so.
    Named(String),
}

impl<'de> Deserialize<'de> for WriteConcern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = match Value::deserialize(deserializer)? {
            Value::String(text) => text,
            other => other.to_string(),
        };
        match text.parse::<u32>() {
            // Nobody would know whether it was written.
            Ok(0) => Err(D::Error::custom("write_concern must be at least 1")),
            Ok(servers) => Ok(Self::Servers(servers)),
            Err(_) => Ok(Self::Named(text)),
        }
    }
}

impl JsonSchema for WriteConcern {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "WriteConcern".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": ["string", "integer"], "minimum": 1, "maximum": 50, "pattern": "^[^0]", "minLength": 1})
    }
}
