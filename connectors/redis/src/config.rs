//! The fields of a connection and of actions, as they are written in a configuration file. Their descriptions are what
//! people read in an editor and in messages.
//!
//! Invariant: the connector never gets `password`, nor `url`, which the host takes apart into the other fields.

use std::borrow::Cow;

use openact_connector::{Endpoint, Json, TlsMode};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de::Error};
use serde_json::{Value, json};

/// Where, and as whom.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Connection {
    /// redis://user:password@host:6379/0, or rediss:// for TLS: another way to write the fields below.
    #[serde(default)]
    #[schemars(with = "String", extend("writeOnly" = true, "x-url" = url_rule()))]
    pub url: Option<String>,
    /// The server's name or address. Further nodes of a cluster are named in network.allowed_hosts, as tcp://host:port.
    #[schemars(extend("x-endpoint" = {"port": "port", "default_port": 6379}))]
    pub host: String,
    /// The server's port.
    #[serde(default = "port")]
    pub port: u16,
    /// The user of Redis 6 and later; without one the server takes the password for its default user.
    #[serde(default)]
    #[schemars(with = "String", extend("x-aliases" = ["username"]))]
    pub user: Option<String>,
    /// The password.
    #[serde(default)]
    #[schemars(with = "String", extend("writeOnly" = true))]
    pub password: Option<String>,
    /// The number of the database.
    #[serde(default)]
    #[schemars(extend("x-aliases" = ["db"]))]
    pub database: Database,
    /// Whether to speak TLS from the first byte. Redis has no way to offer it, so prefer is plain text.
    #[serde(default)]
    #[schemars(extend("x-aliases" = ["ssl_mode", "sslmode"]))]
    pub tls: Tls,
    /// The version of the protocol: the newest that the server has, or 2 or 3.
    #[serde(default)]
    pub protocol: Protocol,
    /// The only commands that may be sent, such as GET, CONFIG GET or FT.*; all if it is empty.
    #[serde(default)]
    pub allow: Vec<String>,
    /// Commands that are never sent, such as FLUSHALL, CONFIG SET or DEBUG.
    #[serde(default)]
    pub deny: Vec<String>,
}

impl Connection {
    /// The server that is asked first.
    pub fn endpoint(&self) -> Endpoint {
        Endpoint::new(self.host.clone(), self.port)
    }

    /// The user, if there is a name.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref().filter(|user| !user.is_empty())
    }

    /// How streams begin.
    pub fn tls_mode(&self) -> TlsMode {
        match self.tls {
            Tls::Require => TlsMode::Tls,
            Tls::Prefer | Tls::Disable => TlsMode::Plain,
        }
    }
}

fn port() -> u16 {
    6379
}

fn url_rule() -> Value {
    json!({
        "schemes": {"redis": {}, "rediss": {"tls": "require"}},
        "host": "host", "port": "port", "user": "user", "password": "password", "path": "database",
        "query": {"db": "database", "protocol": "protocol"},
    })
}

/// Whether to speak TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tls {
    /// As require where the protocol offers it, which that of Redis does not.
    #[default]
    #[serde(alias = "allow")]
    Prefer,
    /// TLS, with the server's certificate verified.
    #[serde(alias = "verify-ca", alias = "verify-full", alias = "verify_ca", alias = "verify_full")]
    Require,
    /// Plain text.
    Disable,
}

impl JsonSchema for Tls {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Tls".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "default": "prefer", "enum": [
            "prefer", "require", "disable", "allow", "verify-ca", "verify-full", "verify_ca", "verify_full",
        ]})
    }
}

/// The version of the protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// 3 if the server has it.
    #[default]
    Newest,
    /// RESP2.
    Two,
    /// RESP3, or the call fails.
    Three,
}

impl<'de> Deserialize<'de> for Protocol {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)?.to_string().trim_matches('"') {
            "auto" => Ok(Self::Newest),
            "2" => Ok(Self::Two),
            "3" => Ok(Self::Three),
            _ => Err(D::Error::custom("protocol must be auto, 2 or 3")),
        }
    }
}

impl JsonSchema for Protocol {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Protocol".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"enum": ["auto", 2, 3, "2", "3"], "default": "auto"})
    }
}

/// The number of a database; text, as in a URL, will do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Database(pub u32);

impl<'de> Deserialize<'de> for Database {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?.to_string();
        let number = value.trim_matches('"');
        let number = if number.is_empty() { Ok(0) } else { number.parse() };
        number.map(Self).map_err(|_| D::Error::custom("database must be a number, such as 0"))
    }
}

impl JsonSchema for Database {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Database".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": ["integer", "string"], "pattern": "^[0-9]*$", "minimum": 0, "default": 0})
    }
}

/// One argument, or a group of them.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub struct Argument(pub Json);

impl JsonSchema for Argument {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Argument".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Text, in which {{name}} is replaced by the input's field of that name, a number or a \
                boolean; {base64: …} for bytes; a list of arguments that are left out together if a field is missing. \
                {{name...}} is an argument for each item of a list.",
            "type": ["string", "number", "boolean", "array", "object"],
            "required": ["base64"],
            "properties": {"base64": {"type": "string"}},
            "additionalProperties": false,
        })
    }
}

/// Commands to send: exactly one of command, pipeline and script.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [{"required": ["command"]}, {"required": ["pipeline"]}, {"required": ["script"]}]))]
pub struct Action {
    /// A command and its arguments, such as [GET, "{{key}}"].
    #[serde(default)]
    #[schemars(with = "Vec<Argument>", length(min = 1), extend("x-variables" = "[{{name}}]"))]
    pub command: Option<Vec<Json>>,
    /// Several commands, sent together; the result is a list of their answers.
    #[serde(default)]
    #[schemars(with = "Vec<Vec<Argument>>", length(min = 1), extend("x-variables" = "[[{{name}}]]"))]
    pub pipeline: Option<Vec<Vec<Json>>>,
    /// Run the pipeline as one transaction (MULTI and EXEC): all of it or nothing, and nothing of others in between.
    #[serde(default)]
    pub transaction: bool,
    /// A script in Lua. It is sent once, and called by its hash from then on.
    #[serde(default)]
    #[schemars(with = "String", length(min = 1))]
    pub script: Option<String>,
    /// KEYS of the script.
    #[serde(default)]
    #[schemars(with = "Vec<Argument>", extend("x-variables" = "[{{name}}]"))]
    pub keys: Vec<Json>,
    /// ARGV of the script.
    #[serde(default)]
    #[schemars(with = "Vec<Argument>", extend("x-variables" = "[{{name}}]"))]
    pub args: Vec<Json>,
    /// The only commands that may be sent, beside what the connection says.
    #[serde(default)]
    pub allow: Vec<String>,
    /// Commands that are never sent, beside what the connection says.
    #[serde(default)]
    pub deny: Vec<String>,
}

/// Keys, or what is in one of them, item by item.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scan {
    /// What to go through.
    #[serde(default)]
    pub scan: Collection,
    /// The key of a hash, set or zset.
    #[serde(default)]
    #[schemars(with = "String", extend("x-variables" = "{{name}}"))]
    pub key: Option<String>,
    /// Only names like this, such as user:*.
    #[serde(default, rename = "match")]
    #[schemars(with = "String", extend("x-variables" = "{{name}}"))]
    pub pattern: Option<String>,
    /// Only keys of this type, such as string or hash.
    #[serde(default, rename = "type")]
    #[schemars(with = "String", extend("x-variables" = "{{name}}"))]
    pub kind: Option<String>,
    /// How many the server looks at in one step.
    #[serde(default = "count")]
    #[schemars(range(min = 1))]
    pub count: u32,
    /// Stop after the step that reaches so many items. Without a stream, 10000 if it is absent.
    #[serde(default)]
    #[schemars(with = "u64", range(min = 1))]
    pub limit: Option<u64>,
    /// Where to go on: the cursor of an answer that was stopped.
    #[serde(default)]
    #[schemars(with = "String", extend("x-variables" = "{{name}}"))]
    pub cursor: Option<String>,
    /// Hand the items to the caller as they arrive, if it takes a stream.
    #[serde(default)]
    pub stream: bool,
}

fn count() -> u32 {
    500
}

/// What a scan goes through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Collection {
    /// The keys of the database: SCAN.
    #[default]
    Keys,
    /// The fields of a hash: HSCAN.
    Hash,
    /// The members of a set: SSCAN.
    Set,
    /// The members of a sorted set: ZSCAN.
    Zset,
}
