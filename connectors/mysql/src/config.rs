//! The fields of a connection and of actions, as they are written in a configuration file. Their descriptions are what
//! people read in an editor and in messages.
//!
//! Invariant: the connector never gets `password`, nor `url`, which the host takes apart into the other fields.

use std::{borrow::Cow, collections::BTreeMap};

use openact_connector::{
    Endpoint, Failure, Json,
    args::Parameter,
    items::{Limits, TooMany},
};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de::Error};
use serde_json::{Value, json};

/// Rows of one answer unless the action says otherwise.
const ROWS_MAX: u32 = 10_000;

/// Bytes of one answer unless the action says otherwise: what the host takes as a result.
const BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Where, and as whom.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Connection {
    /// mysql://user:password@host:3306/database: another way to write the fields below.
    #[serde(default)]
    #[schemars(with = "String", extend("writeOnly" = true, "x-url" = url_rule()))]
    pub url: Option<String>,
    /// The server's name or address.
    #[schemars(extend("x-endpoint" = {"port": "port", "default_port": 3306}))]
    pub host: String,
    /// The server's port.
    #[serde(default = "port")]
    pub port: u16,
    /// Who asks.
    #[schemars(extend("x-aliases" = ["username"]))]
    pub user: String,
    /// The user's password, if the server asks for one.
    #[serde(default)]
    #[schemars(extend("writeOnly" = true))]
    pub password: Option<String>,
    /// The database; if absent, statements have to name theirs.
    #[serde(default)]
    #[schemars(with = "String", extend("x-aliases" = ["db", "dbname", "schema"]))]
    pub database: Option<String>,
    /// prefer: TLS where the server has it. require: TLS or nothing. disable: plain text. Certificates are always
    /// verified, as network.tls says.
    #[serde(default)]
    #[schemars(extend("x-aliases" = ["ssl_mode", "sslmode", "ssl-mode"]))]
    pub tls: Tls,
    /// System variables of every session, such as {time_zone: "+00:00", max_execution_time: 5000}.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, Setting>")]
    pub settings: BTreeMap<String, Setting>,
    /// Whether requests may be sent before the answer to the last one is there, which saves round trips. Some proxies
    /// do not take that.
    #[serde(default = "yes")]
    pub pipelining: bool,
    /// Of earlier versions; the host keeps the sessions now.
    #[serde(default)]
    #[schemars(extend("x-aliases" = ["pool_max_size"]))]
    pub max_connections: Option<u32>,
    /// Of earlier versions; timeout.connect_ms counts now.
    #[serde(default)]
    pub connect_timeout_seconds: Option<u32>,
}

fn port() -> u16 {
    3306
}

fn yes() -> bool {
    true
}

fn url_rule() -> Value {
    json!({
        "schemes": {"mysql": {}, "mariadb": {}},
        "host": "host", "port": "port", "user": "user", "password": "password", "path": "database",
        "query": {"ssl-mode": "tls", "ssl_mode": "tls", "sslmode": "tls", "tls": "tls"},
    })
}

/// A system variable's value.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub enum Setting {
    /// As text.
    Text(String),
    /// As a number.
    Number(i64),
    /// On or off.
    Switch(bool),
}

/// What settings must not say, since the connector relies on it.
const NOT_SETTINGS: &[&str] = &[
    "autocommit",
    "sql_select_limit",
    "transaction_read_only",
    "tx_read_only",
    "character_set_client",
    "character_set_results",
    "character_set_connection",
    "names",
    "password",
    "role",
];

impl Connection {
    /// Where the server is.
    pub fn endpoint(&self) -> Endpoint {
        Endpoint::new(self.host.clone(), self.port)
    }

    /// The settings as a part of a SET, each after a comma.
    pub fn assignments(&self) -> Result<String, Failure> {
        let mut out = String::new();
        for (name, value) in &self.settings {
            let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.');
            if NOT_SETTINGS.iter().any(|reserved| name.eq_ignore_ascii_case(reserved))
                || name.is_empty()
                || !name.bytes().all(legal)
            {
                return Err(Failure::InvalidConfig(format!(
                    "settings must not have '{}'",
                    name.escape_debug()
                )));
            }
            let value = match value {
                Setting::Number(number) => number.to_string(),
                Setting::Switch(on) => u8::from(*on).to_string(),
                // What ends a quotation is in no value of a system variable.
                Setting::Text(text) if text.chars().any(|c| c.is_control() || matches!(c, '\'' | '\\')) => {
                    return Err(Failure::InvalidConfig(format!(
                        "settings: '{name}' has a quote or backslash in it"
                    )));
                }
                Setting::Text(text) => format!("'{text}'"),
            };
            out.push_str(&format!(", @@SESSION.{name} = {value}"));
        }
        Ok(out)
    }

    /// Refuses what a packet of text cannot hold.
    pub fn checked(&self) -> Result<&Self, Failure> {
        let texts = [Some(&self.user), self.database.as_ref()];
        match texts.into_iter().flatten().any(|text| text.contains('\0')) {
            true => Err(Failure::InvalidConfig("the connection has a zero byte in a text".into())),
            false => Ok(self),
        }
    }
}

/// Whether to speak TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tls {
    /// Where the server has it.
    #[default]
    Prefer,
    /// Or nothing.
    Require,
    /// Never.
    Disable,
}

const TLS: &[(Tls, &[&str])] = &[
    (Tls::Prefer, &["prefer", "preferred", "allow"]),
    (Tls::Require, &["require", "required", "verify-ca", "verify-full", "verify-identity", "true"]),
    (Tls::Disable, &["disable", "disabled", "false"]),
];

impl<'de> Deserialize<'de> for Tls {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?.to_ascii_lowercase().replace('_', "-");
        let found = TLS.iter().find(|(_, names)| names.contains(&text.as_str()));
        found.map(|(tls, _)| *tls).ok_or_else(|| D::Error::custom("tls must be prefer, require or disable"))
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
        let spellings = |name: &&str| {
            let (lower, upper) = ((*name).to_owned(), name.to_ascii_uppercase().replace('-', "_"));
            let other = name.replace('-', "_");
            let mut all = vec![lower, upper, other];
            all.dedup();
            all
        };
        let mut names: Vec<String> =
            TLS.iter().flat_map(|(_, names)| names.iter().flat_map(spellings)).collect();
        let mut seen = std::collections::BTreeSet::new();
        names.retain(|name| seen.insert(name.clone()));
        json_schema!({"type": "string", "enum": names})
    }
}

/// One statement.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Query {
    /// The SQL, with ? or :name for values. One statement; for several there is the operation transaction.
    #[schemars(extend("minLength" = 1), extend("x-aliases" = ["sql", "query"]))]
    pub statement: String,
    /// The names that callers use: of each ? in order, or of :name.
    #[serde(default)]
    #[schemars(extend("x-merge" = "replace"))]
    pub parameters: Vec<Parameter>,
    /// The server refuses whatever changes something, and statements that give no rows are not run.
    #[serde(default)]
    pub read_only: bool,
    /// Rows beyond this are left out, and the result says truncated. 10000 unless they are streamed.
    #[serde(default)]
    #[schemars(with = "u32", range(min = 1))]
    pub max_rows: Option<u32>,
    /// A longer answer fails. 16 MiB unless it is streamed.
    #[serde(default)]
    #[schemars(with = "u64", range(min = 1))]
    pub max_bytes: Option<u64>,
    /// Hand out each row as it arrives, where the caller takes a stream.
    #[serde(default)]
    pub stream: bool,
}

/// What becomes of a statement's rows.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// Rows at most.
    pub max_rows: Option<u32>,
    /// Bytes at most.
    pub max_bytes: Option<u64>,
    /// Whether they are handed out as they arrive.
    pub stream: bool,
}

impl Query {
    /// What becomes of its rows.
    pub fn answer(&self) -> Answer {
        let Self { max_rows, max_bytes, stream, .. } = *self;
        Answer { max_rows, max_bytes, stream }
    }
}

impl Execute {
    /// What becomes of the rows.
    pub fn answer(&self) -> Answer {
        let Self { max_rows, max_bytes, stream, .. } = *self;
        Answer { max_rows, max_bytes, stream }
    }
}

impl Transaction {
    /// What becomes of the rows of each statement.
    pub fn answer(&self) -> Answer {
        Answer { max_rows: self.max_rows, max_bytes: self.max_bytes, stream: false }
    }
}

impl Answer {
    /// What of an answer is taken.
    pub fn limits(&self) -> Limits {
        let rows = self.max_rows.or((!self.stream).then_some(ROWS_MAX));
        Limits {
            items: rows.map_or(u64::MAX, u64::from),
            bytes: self.max_bytes.or((!self.stream).then_some(BYTES_MAX)).unwrap_or(u64::MAX),
            too_many: TooMany::LeaveOut,
        }
    }

    /// How many rows the server should give; one more than are taken, to learn whether there are more.
    pub fn rows_asked(&self) -> Option<u64> {
        self.limits().items.checked_add(1)
    }
}

/// Several statements that take effect together or not at all.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Transaction {
    /// The statements, in order: SQL, or {statement, parameters}.
    #[schemars(length(min = 1, max = 100), extend("x-merge" = "replace"))]
    pub statements: Vec<Statement>,
    /// The names that callers use, for statements that have no list of their own.
    #[serde(default)]
    #[schemars(extend("x-merge" = "replace"))]
    pub parameters: Vec<Parameter>,
    /// The server refuses whatever changes something, and statements that give no rows are not run.
    #[serde(default)]
    pub read_only: bool,
    /// What the statements see of other transactions. If absent, what the server's default is.
    #[serde(default)]
    #[schemars(with = "Isolation")]
    pub isolation: Option<Isolation>,
    /// Rows of one statement beyond this are left out, and its result says truncated. 10000.
    #[serde(default)]
    #[schemars(with = "u32", range(min = 1))]
    pub max_rows: Option<u32>,
    /// A longer answer of one statement fails, and with it the transaction. 16 MiB.
    #[serde(default)]
    #[schemars(with = "u64", range(min = 1))]
    pub max_bytes: Option<u64>,
}

/// One of several statements: SQL, or an object.
#[derive(Clone, Debug)]
pub struct Statement(pub StatementFields);

/// SQL and the names of its values.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct StatementFields {
    /// The SQL.
    #[schemars(extend("x-aliases" = ["sql", "query"]))]
    pub statement: String,
    /// The names that callers use: of each ? in order, or of :name.
    #[serde(default)]
    pub parameters: Vec<Parameter>,
}

impl<'de> Deserialize<'de> for Statement {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = Json::deserialize(deserializer)?;
        let fields = if json.as_str().starts_with('"') {
            json.parse().map(|statement| StatementFields { statement, parameters: Vec::new() })
        } else {
            json.parse()
        };
        fields.map(Self).map_err(D::Error::custom)
    }
}

impl JsonSchema for Statement {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Statement".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = StatementFields::json_schema(generator);
        // SQL alone, too; what an object must hold does not concern text.
        schema.insert("type".into(), json!(["string", "object"]));
        schema
    }
}

/// What statements see of other transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// Whatever was written, committed or not.
    ReadUncommitted,
    /// Whatever was committed before the statement.
    ReadCommitted,
    /// Whatever was committed before the transaction.
    RepeatableRead,
    /// As if there were no others; one that cannot be so waits, or fails.
    Serializable,
}

impl Isolation {
    /// As SQL has it.
    pub fn sql(self) -> &'static str {
        match self {
            Self::ReadUncommitted => "READ UNCOMMITTED",
            Self::ReadCommitted => "READ COMMITTED",
            Self::RepeatableRead => "REPEATABLE READ",
            Self::Serializable => "SERIALIZABLE",
        }
    }
}

/// A statement of the caller's own.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Execute {
    /// The server refuses whatever changes something, and statements that give no rows are not run.
    #[serde(default)]
    pub read_only: bool,
    /// Rows beyond this are left out, and the result says truncated. 10000 unless they are streamed.
    #[serde(default)]
    #[schemars(with = "u32", range(min = 1))]
    pub max_rows: Option<u32>,
    /// A longer answer fails. 16 MiB unless it is streamed.
    #[serde(default)]
    #[schemars(with = "u64", range(min = 1))]
    pub max_bytes: Option<u64>,
    /// Hand out each row as it arrives, where the caller takes a stream.
    #[serde(default)]
    pub stream: bool,
}

/// What the caller of such an action sends.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecuteInput {
    /// One SQL statement, with ? for values.
    #[schemars(extend("minLength" = 1))]
    pub statement: String,
    /// The values, in order.
    #[serde(default)]
    pub args: Vec<Json>,
}

/// Which tables are listed.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListTables {
    /// The database whose tables are listed. If absent, the connection's, or all but the server's own; a caller may set
    /// it too.
    #[serde(default)]
    #[schemars(with = "String", extend("x-aliases" = ["database"]))]
    pub schema: Option<String>,
}

/// What a caller of list-tables sends.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListTablesInput {
    /// The database whose tables are listed.
    #[serde(default)]
    #[schemars(with = "String")]
    pub schema: Option<String>,
}
