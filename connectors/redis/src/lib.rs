//! The `redis` connector: commands to Redis, Valkey and what else speaks their protocol.
//!
//! | module | job |
//! |---|---|
//! | [`config`] | the fields of a connection and of actions |
//! | [`arguments`] | from what is configured and the input to the arguments of a command |
//! | [`rules`] | what a command is, and which are allowed |
//! | [`resp`] | the protocol: commands to bytes, and where a reply ends |
//! | [`answer`] | replies as JSON |
//! | [`session`] | one stream: login, commands out, replies in |
//! | [`client`] | to the node of a cluster that has the key |
//! | [`scan`] | keys, and what is in them, item by item |
//!
//! Login, TLS, which hosts are reached, and for how long, are the host's. Invariant: a value of the input is one argument
//! of one command, whatever it holds.

pub mod answer;
pub mod arguments;
pub mod client;
pub mod config;
pub mod resp;
pub mod rules;
pub mod scan;
pub mod session;

use openact_connector::{
    Call, Capability, Connector, Effect, Failure, Host, Input, Json, Manifest, Operation,
    template::has_template, variables::Variables, write::push_uint,
};
use serde_json::{Value, json};
use sha1::{Digest, Sha1};

use crate::{
    client::{Client, Reply},
    config::{Action, Connection, Scan},
    rules::{Arguments, Lists, Name},
};

/// More would hold the server up for everybody else.
const COMMANDS_MAX: usize = 10_000;

/// The connector.
pub struct Redis;

impl Connector for Redis {
    type Connection = Connection;

    fn manifest() -> Manifest<Connection> {
        let command =
            Operation::new("command", "send a command, a pipeline of commands, or a script", command);
        let scan = Operation::<Connection>::new::<Scan, Input>(
            "scan",
            "go through keys, or what is in a hash, set or zset, item by item",
            scan::run,
        );
        Manifest::new("redis", env!("CARGO_PKG_VERSION"), "Redis and Valkey")
            .needs(&[Capability::Sockets, Capability::Emit])
            .operation(command)
            .operation(scan.effect(Effect::Read).idempotent())
    }

    fn check(connection: Connection, host: &dyn Host) -> Result<Json, Failure> {
        let client = Client { connection: &connection, host };
        let commands = ["PING", "HELLO"].map(|name| vec![name.as_bytes().to_vec()]);
        let mut replies = client.pipeline(&commands)?.into_iter();
        if let Some(Reply::Error(error)) = replies.next()
            && error.code() != "NOPERM"
        {
            return Err(error.into_failure());
        }
        let mut found = json!({
            "user": connection.user().unwrap_or("default"),
            "database": connection.database.0,
        });
        // What it says of itself, if it is a server that does (version 6 and later, with RESP3).
        if let (Some(Reply::Value(hello)), Value::Object(found)) = (replies.next(), &mut found)
            && let Ok(Value::Object(hello)) = serde_json::from_str(&hello)
        {
            let wanted = |name: &str| ["server", "version", "proto", "mode", "role"].contains(&name);
            found.extend(hello.into_iter().filter(|(name, _)| wanted(name)));
        }
        Ok(found.into())
    }
}

fn command(call: Call<Connection, Action, Input>, host: &dyn Host) -> Result<Json, Failure> {
    let Call { connection, action, input: Input(input), dry_run, .. } = call;
    let prepared = Prepared::of(&connection, &action, &Variables::of(&input))?;
    if dry_run {
        return described(prepared.commands());
    }
    let client = Client { connection: &connection, host };
    match prepared {
        Prepared::One(command) => result(client.command(&command)?),
        Prepared::Transaction(commands) => match client.transaction(&commands)? {
            (Reply::Value(json), errors) => Ok(finished(format!("{{\"value\":{json}"), errors)),
            (Reply::Error(error), _) => Err(error.into_failure()),
        },
        Prepared::Several(commands) => {
            let mut out = String::from("{\"value\":");
            let mut errors = 0;
            for (index, reply) in client.pipeline(&commands)?.into_iter().enumerate() {
                out.push(if index == 0 { '[' } else { ',' });
                match reply {
                    Reply::Value(json) => out.push_str(&json),
                    Reply::Error(error) => {
                        errors += 1;
                        error.push(&mut out);
                    }
                }
            }
            out.push(']');
            Ok(finished(out, errors))
        }
        Prepared::Script { mut by_hash, text } => {
            match client.command(&by_hash)? {
                // It was not run, for it is not known.
                Reply::Error(error) if error.code() == "NOSCRIPT" => {}
                reply => return result(reply),
            }
            for (argument, whole) in by_hash.iter_mut().zip(["EVAL", text.as_str()]) {
                *argument = whole.into();
            }
            result(client.command(&by_hash)?)
        }
    }
}

/// What an action comes to, with its templates filled in.
enum Prepared {
    One(Arguments),
    Several(Vec<Arguments>),
    Transaction(Vec<Arguments>),
    Script { by_hash: Arguments, text: String },
}

impl Prepared {
    fn of(connection: &Connection, action: &Action, variables: &Variables<'_>) -> Result<Self, Failure> {
        let wrong = |what: &str| Err(Failure::InvalidConfig(format!("the action {what}")));
        let is_script = action.script.is_some();
        if action.transaction && action.pipeline.is_none() {
            return wrong("has transaction, which is for a pipeline");
        }
        if !(is_script || action.keys.is_empty() && action.args.is_empty()) {
            return wrong("has keys or args, which are for a script");
        }
        match (&action.command, &action.pipeline, &action.script) {
            (Some(items), None, None) => {
                let command = arguments::command(items, "command", variables)?;
                admit(connection, action, items, &command)?;
                Ok(Self::One(command))
            }
            (None, Some(commands), None) => {
                if commands.is_empty() || commands.len() > COMMANDS_MAX {
                    return wrong(&format!(
                        "has a pipeline of {}; 1 to {COMMANDS_MAX} commands",
                        commands.len()
                    ));
                }
                let mut prepared = Vec::with_capacity(commands.len());
                for (index, items) in commands.iter().enumerate() {
                    let command = arguments::command(items, &format!("pipeline/{index}"), variables)?;
                    admit(connection, action, items, &command)?;
                    if action.transaction && Name::of(&command).is_of_transactions() {
                        return wrong("has a transaction within a transaction");
                    }
                    prepared.push(command);
                }
                Ok(if action.transaction { Self::Transaction(prepared) } else { Self::Several(prepared) })
            }
            (None, None, Some(text)) => {
                let keys = arguments::exactly(&action.keys, "keys", variables)?;
                let mut by_hash: Arguments =
                    vec!["EVALSHA".into(), hash(text).into(), keys.len().to_string().into()];
                by_hash.extend(keys);
                by_hash.extend(arguments::list(&action.args, "args", variables)?);
                for list in lists(connection, action) {
                    let name = Name::of(&[b"EVAL".to_vec()]);
                    list.admit(&name, true).map_err(Failure::InvalidConfig)?;
                }
                Ok(Self::Script { by_hash, text: text.clone() })
            }
            _ => wrong("needs one of command, pipeline and script"),
        }
    }

    fn commands(&self) -> &[Arguments] {
        match self {
            Self::One(command) | Self::Script { by_hash: command, .. } => std::slice::from_ref(command),
            Self::Several(commands) | Self::Transaction(commands) => commands,
        }
    }
}

fn lists<'a>(connection: &'a Connection, action: &'a Action) -> [Lists<'a>; 2] {
    [
        Lists { allow: &connection.allow, deny: &connection.deny },
        Lists { allow: &action.allow, deny: &action.deny },
    ]
}

/// Refuses what may not be sent. Whoever chose it is told: the caller, if the command's name comes from a variable.
fn admit(
    connection: &Connection,
    action: &Action,
    items: &[Json],
    command: &Arguments,
) -> Result<(), Failure> {
    let name = Name::of(command);
    let written = items.iter().take(2).all(|item| !has_template(item.as_str()));
    let mut checks = rules::refuse(&name);
    for list in lists(connection, action) {
        checks = checks.and_then(|()| list.admit(&name, written));
    }
    checks.map_err(|why| if written { Failure::InvalidConfig(why) } else { Failure::InvalidInput(why) })
}

fn result(reply: Reply) -> Result<Json, Failure> {
    match reply {
        Reply::Value(json) => Ok(Json::from_text(format!("{{\"value\":{json}}}"))),
        Reply::Error(error) => Err(error.into_failure()),
    }
}

/// With how many of the commands were refused, beside what the others did.
fn finished(mut out: String, errors: u64) -> Json {
    if errors > 0 {
        out.push_str(",\"errors\":");
        push_uint(&mut out, errors);
    }
    out.push('}');
    Json::from_text(out)
}

/// What a dry run would send.
pub(crate) fn described(commands: &[Arguments]) -> Result<Json, Failure> {
    let mut out = String::from("{\"dry_run\":true,\"commands\":[");
    for (index, command) in commands.iter().enumerate() {
        out.push_str(if index == 0 { "" } else { "," });
        for (index, argument) in command.iter().enumerate() {
            out.push(if index == 0 { '[' } else { ',' });
            answer::push_text(&mut out, argument)?;
        }
        out.push(']');
    }
    out.push_str("]}");
    Ok(Json::from_text(out))
}

/// What a server calls a script by.
fn hash(script: &str) -> String {
    Sha1::digest(script.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

openact_connector::export!(Redis);
