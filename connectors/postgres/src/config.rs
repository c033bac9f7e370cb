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

/// Rows of a stream that are asked for at once.
const FETCH_ROWS: u32 = 1_000;

/// Where, and as whom.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Connection {
    /// postgres://user:password@host:5432/database: another way to write the fields below.
    #[serde(default)]
    #[schemars(with = "String", extend("writeOnly" = true, "x-url" = url_rule()))]
    pub url: Option<String>,
    /// The server's name or address.
    #[schemars(extend("x-endpoint" = {"port": "port", "default_port": 5432}))]
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
    /// The database; if absent, the one named like the user.
    #[serde(default)]
    #[schemars(with = "String", extend("x-aliases" = ["dbname"]))]
    pub database: Option<String>,
    /// prefer: TLS where the server has it. require: TLS or nothing. disable: plain text. Certificates are always
    /// verified, as network.tls says.
    #[serde(default)]
    #[schemars(extend("x-aliases" = ["ssl_mode", "sslmode"]))]
    pub tls: Tls,
    /// What the server shows this client as.
    #[serde(default = "application_name")]
    #[schemars(with = "String")]
    pub application_name: Option<String>,
    /// Run-time parameters of every session, such as {search_path: app, statement_timeout: 5s}.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, Setting>", extend("x-aliases" = ["query_params"]))]
    pub settings: BTreeMap<String, Setting>,
    /// Of earlier versions; the host keeps the sessions now.
    #[serde(default)]
    #[schemars(extend("x-aliases" = ["pool_max_size"]))]
    pub max_connections: Option<u32>,
    /// Of earlier versions; timeout.connect_ms counts now.
    #[serde(default)]
    pub connect_timeout_seconds: Option<u32>,
}

fn port() -> u16 {
    5432
}

fn application_name() -> Option<String> {
    Some("openact".into())
}

fn url_rule() -> Value {
    json!({
        "schemes": {"postgres": {}, "postgresql": {}},
        "host": "host", "port": "port", "user": "user", "password": "password", "path": "database",
        "query": {"sslmode": "tls", "application_name": "application_name"},
    })
}

/// A run-time parameter's value.
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

impl Setting {
    fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Number(number) => number.to_string(),
            Self::Switch(on) => (if *on { "on" } else { "off" }).into(),
        }
    }
}

/// What a session's settings must not say: who it is and how it speaks.
const NOT_SETTINGS: &[&str] =
    &["user", "database", "replication", "client_encoding", "default_transaction_read_only"];

impl Connection {
    /// Where the server is.
    pub fn endpoint(&self) -> Endpoint {
        Endpoint::new(self.host.clone(), self.port)
    }

    /// What a session begins with.
    pub fn startup(&self, read_only: bool) -> Result<Vec<(String, String)>, Failure> {
        let mut parameters = vec![
            ("user".to_owned(), self.user.clone()),
            ("client_encoding".to_owned(), "UTF8".to_owned()),
            // So that dates are told in one way. Lists and intervals are by PostgreSQL's own rules.
            ("DateStyle".to_owned(), "ISO".to_owned()),
            ("IntervalStyle".to_owned(), "iso_8601".to_owned()),
        ];
        if read_only {
            parameters.push(("default_transaction_read_only".into(), "on".into()));
        }
        for (name, value) in [("database", &self.database), ("application_name", &self.application_name)] {
            parameters.extend(value.clone().map(|value| (name.to_owned(), value)));
        }
        for (name, value) in &self.settings {
            if NOT_SETTINGS.iter().any(|reserved| name.eq_ignore_ascii_case(reserved)) || name.is_empty() {
                return Err(Failure::InvalidConfig(format!("settings must not have '{name}'")));
            }
            parameters.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
            parameters.push((name.clone(), value.text()));
        }
        if parameters.iter().any(|(name, value)| name.contains('\0') || value.contains('\0')) {
            return Err(Failure::InvalidConfig("the connection has a zero byte in a text".into()));
        }
        Ok(parameters)
    }
}

/// Whether to speak TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tls {
    /// Where the server has it.
    #[default]
    #[serde(alias = "allow")]
    Prefer,
    /// Or nothing.
    #[serde(alias = "verify-ca", alias = "verify-full", alias = "verify_ca", alias = "verify_full")]
    Require,
    /// Never.
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
        json_schema!({"type": "string", "enum": [
            "prefer", "require", "disable", "allow", "verify-ca", "verify-full", "verify_ca", "verify_full",
        ]})
    }
}

/// One statement.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Query {
    /// The SQL, with $1, $2, … for values. One statement; for several there is the operation transaction.
    #[schemars(extend("minLength" = 1), extend("x-aliases" = ["sql", "query"]))]
    pub statement: String,
    /// The names that callers use for $1, $2, …, in this order.
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
    /// Rows of a stream that are asked for at once.
    #[serde(default = "fetch_rows")]
    #[schemars(range(min = 1, max = 100_000))]
    pub fetch_rows: u32,
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
    /// Rows of a stream that are asked for at once.
    pub fetch_rows: u32,
}

fn fetch_rows() -> u32 {
    FETCH_ROWS
}

impl Query {
    /// What becomes of its rows.
    pub fn answer(&self) -> Answer {
        let Self { max_rows, max_bytes, stream, fetch_rows, .. } = *self;
        Answer { max_rows, max_bytes, stream, fetch_rows }
    }
}

impl Execute {
    /// What becomes of the rows.
    pub fn answer(&self) -> Answer {
        let Self { max_rows, max_bytes, stream, fetch_rows, .. } = *self;
        Answer { max_rows, max_bytes, stream, fetch_rows }
    }
}

impl Transaction {
    /// What becomes of the rows of each statement.
    pub fn answer(&self) -> Answer {
        Answer { max_rows: self.max_rows, max_bytes: self.max_bytes, stream: false, fetch_rows: FETCH_ROWS }
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

    /// How many rows to ask the server for; one more than are taken, to learn whether there are more.
    pub fn rows_asked(&self) -> u32 {
        let rows = u32::try_from(self.limits().items).ok().and_then(|rows| rows.checked_add(1));
        let rows = rows.filter(|rows| *rows <= i32::MAX.unsigned_abs()).unwrap_or_default();
        match (self.stream, rows) {
            (false, rows) => rows,
            (true, 0) => self.fetch_rows.max(1),
            (true, rows) => rows.min(self.fetch_rows.max(1)),
        }
    }
}

/// Several statements that take effect together or not at all.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Transaction {
    /// The statements, in order: SQL, or {statement, parameters}.
    #[schemars(length(min = 1, max = 100), extend("x-merge" = "replace"))]
    pub statements: Vec<Statement>,
    /// The names that callers use for $1, $2, … of statements that have no list of their own.
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
    /// The names that callers use for $1, $2, …, in this order.
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
    /// Whatever was committed before the statement.
    ReadCommitted,
    /// Whatever was committed before the transaction.
    RepeatableRead,
    /// As if there were no others; one that cannot be so fails with 40001.
    Serializable,
}

impl Isolation {
    /// As SQL has it.
    pub fn sql(self) -> &'static str {
        match self {
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
    /// Rows of a stream that are asked for at once.
    #[serde(default = "fetch_rows")]
    #[schemars(range(min = 1, max = 100_000))]
    pub fetch_rows: u32,
}

/// What the caller of such an action sends.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecuteInput {
    /// One SQL statement, with $1, $2, … for values.
    #[schemars(extend("minLength" = 1))]
    pub statement: String,
    /// The values, in order.
    #[serde(default)]
    pub args: Vec<Json>,
}

/// Nothing to configure.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListTables {
    /// Whose tables are listed. If absent, those of every schema but the server's own; a caller may set it too.
    #[serde(default)]
    #[schemars(with = "String")]
    pub schema: Option<String>,
}

/// What a caller of list-tables sends.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListTablesInput {
    /// Whose tables are listed.
    #[serde(default)]
    #[schemars(with = "String")]
    pub schema: Option<String>,
}
