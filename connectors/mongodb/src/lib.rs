//! The `mongodb` connector: MongoDB and what else speaks its protocol.
//!
//! | module | job |
//! |---|---|
//! | [`config`], [`actions`] | the fields of a connection and of actions |
//! | [`from_json`], `extended`, `text` | what an action and its input say, as BSON |
//! | [`to_json`] | BSON as JSON |
//! | [`bson`], [`decimal`], [`date`] | BSON itself, and the two types whose text is not obvious |
//! | [`commands`] | commands, of both |
//! | [`wire`], [`session`] | messages, and one stream of them |
//! | [`login`], [`client`] | the login, and which of several servers is asked |
//! | [`reads`], [`cursor`], [`writes`] | the operations |
//! | [`failure`] | the server's errors |
//!
//! Login, TLS, which hosts are reached, and for how long, are the host's. Invariant: a value of the input is a value of one
//! command; an operator only if the action says so.

pub mod actions;
pub mod bson;
pub mod client;
pub mod commands;
pub mod config;
pub mod cursor;
pub mod date;
pub mod decimal;
mod extended;
pub mod failure;
pub mod from_json;
pub mod login;
pub mod reads;
pub mod session;
mod text;
pub mod to_json;
pub mod wire;
pub mod writes;

use openact_connector::{
    Capability, Connector, Effect, Failure, Host, Input, Json, Manifest, Operation, pool::Work,
};
use serde_json::{Value as JsonValue, json};

use crate::{
    actions::{
        Aggregate, CountDocuments, Delete, Distinct, Find, Insert, ListCollections, RunCommand, Update,
    },
    bson::{Builder, Document, Value},
    client::Client,
    config::Connection,
    session::Command,
    to_json::{Form, push_document},
};

/// The connector.
pub struct MongoDb;

impl Connector for MongoDb {
    type Connection = Connection;

    fn manifest() -> Manifest<Connection> {
        let reading = |operation: Operation<Connection>| operation.effect(Effect::Read).idempotent();
        Manifest::new("mongodb", env!("CARGO_PKG_VERSION"), "MongoDB")
            .needs(&[Capability::Sockets, Capability::Emit])
            .operation(reading(Operation::new::<Find, Input>("find", "find documents", reads::find)))
            .operation(reading(Operation::new::<Aggregate, Input>(
                "aggregate",
                "run a pipeline that only reads",
                reads::aggregate,
            )))
            .operation(Operation::new::<Insert, Input>("insert", "insert documents", writes::insert))
            .operation(Operation::new::<Update, Input>(
                "update",
                "update or replace documents",
                writes::update,
            ))
            .operation(
                Operation::new::<Delete, Input>("delete", "delete documents", writes::delete)
                    .effect(Effect::Destructive),
            )
            .operation(reading(Operation::new::<CountDocuments, Input>(
                "count",
                "count documents",
                reads::count,
            )))
            .operation(reading(Operation::new::<Distinct, Input>(
                "distinct",
                "the values that a field has",
                reads::distinct,
            )))
            .operation(
                Operation::new::<RunCommand, Input>("run-command", "run any command", writes::run_command)
                    .effect(Effect::Destructive),
            )
            .operation(reading(Operation::new::<ListCollections, Input>(
                "list-collections",
                "list collections and views",
                reads::list_collections,
            )))
    }

    fn check(connection: Connection, host: &dyn Host) -> Result<Json, Failure> {
        let database = connection.database.as_deref().unwrap_or("admin");
        let ping = Builder::new().integer("ping", 1).text("$db", database).finish();
        let hello = Builder::new().integer("hello", 1).text("$db", "admin").finish();
        let client = Client { connection: &connection, host };
        let mut found = client.run(Work::Reads, |session| {
            session.run(Command::reading(&ping), |_| Ok(()))?;
            session.run(Command::reading(&hello), told)
        })?;
        if let JsonValue::Object(found) = &mut found {
            found.insert("user".into(), connection.user().into());
            found.insert("database".into(), connection.database.as_deref().into());
        }
        Ok(found.into())
    }
}

/// What a server says of itself that an operator wants to know.
fn told(reply: Document<'_>) -> Result<JsonValue, Failure> {
    let mut found = json!({});
    for (name, shown) in [
        ("me", "server"),
        ("setName", "replica_set"),
        ("isWritablePrimary", "writable"),
        ("maxWireVersion", "wire_version"),
    ] {
        let value = match reply.get(name)? {
            Some(Value::Boolean(value)) => value.into(),
            Some(value) => match value.as_integer() {
                Some(number) => number.into(),
                None => value.as_text().into(),
            },
            None => continue,
        };
        if let JsonValue::Object(found) = &mut found {
            found.insert(shown.into(), value);
        }
    }
    Ok(found)
}

/// What a dry run would send.
pub(crate) fn described(
    command: Builder,
    database: &str,
    documents: Option<&[Vec<u8>]>,
) -> Result<Json, Failure> {
    let command = match documents {
        Some(documents) => {
            let documents: Vec<&[u8]> = documents.iter().map(Vec::as_slice).collect();
            command.documents("documents", &documents)
        }
        None => command,
    };
    let command = command.text("$db", database).finish();
    let mut out = String::from("{\"dry_run\":true,\"command\":");
    push_document(&mut out, Document::of(&command)?, Form::Relaxed)?;
    out.push('}');
    Ok(Json::from_text(out))
}

openact_connector::export!(MongoDb);
