//! The operations that may change something: `insert`, `update`, `delete`, `run-command`.
//!
//! Invariant: what is sent here is sent once. Whether a write was done whose answer was lost is for the caller to find out.

use std::time::{SystemTime, UNIX_EPOCH};

use openact_connector::{
    Call, Failure, Host, Input, Json, pool::Work, variables::Variables, write::push_int,
};
use serde_json::json;

use crate::{
    actions::{Delete, Insert, RunCommand, Update},
    bson::{Builder, Document, Value, kind},
    client::Client,
    commands::{Clock, Maker, collection, documents},
    config::Connection,
    cursor, described, failure,
    from_json::{Context, Rules, encode},
    session::Command,
    to_json::{Form, push_value},
    wire::Sequence,
};

/// A server takes no more documents at once.
const DOCUMENTS_MAX: usize = 100_000;

/// The host's business: who asks, and what a session of the server's is about.
const REFUSED: &[&str] = &["saslStart", "saslContinue", "authenticate", "logout", "getnonce"];

/// Fields that are set here, or would begin what outlives the call.
const REFUSED_FIELDS: &[&[u8]] = &[
    b"$db",
    b"$readPreference",
    b"maxTimeMS",
    b"lsid",
    b"txnNumber",
    b"startTransaction",
    b"autocommit",
    b"speculativeAuthenticate",
];

pub(crate) fn insert(call: Call<Connection, Insert, Input>, host: &dyn Host) -> Result<Json, Failure> {
    let Call { connection, action, input: Input(input), deadline, dry_run, .. } = call;
    let clock = Clock::of(deadline, action.max_time_ms);
    let variables = Variables::of(&input);
    let maker = Maker::of(&connection, &variables, false, action.database.as_deref())?;
    let rules = documents();
    let mut new = Vec::new();
    match (&action.document, &action.documents) {
        (Some(json), None) => {
            new.push(maker.of_kind(json, "document", rules, kind::DOCUMENT, "an object")?)
        }
        (None, Some(json)) => {
            let list = maker.of_kind(json, "documents", rules, kind::ARRAY, "a list")?;
            for member in Document::of(&list)?.members() {
                let document = member?
                    .1
                    .as_document()
                    .ok_or_else(|| Failure::InvalidInput("each of the documents must be an object".into()))?;
                new.push(document.bytes().to_vec());
            }
        }
        _ => return Err(Failure::InvalidConfig("the action needs one of document and documents".into())),
    }
    if new.is_empty() || new.len() > DOCUMENTS_MAX {
        return Err(Failure::InvalidInput(format!("{} documents; 1 to {DOCUMENTS_MAX}", new.len())));
    }
    let ids = identified(&mut new, action.format.into())?;
    let mut command =
        Builder::new().text("insert", collection(&action.collection)?).boolean("ordered", action.ordered);
    command = maker.write_concern(command);
    if dry_run {
        return described(command, maker.database, Some(&new));
    }
    let client = Client { connection: &connection, host };
    client.run(Work::Writes, |session| {
        let document = maker.finish(command.clone(), clock, None);
        let sequence = Some(Sequence { name: "documents", documents: &new });
        session.run(Command { document: &document, sequence, writes: true }, |reply| {
            let count = integer(reply, "n")?;
            match failure::of_write(reply, json!({"inserted_count": count}))? {
                Some(failure) => Err(failure),
                None => {
                    let mut out = String::from("{\"inserted_count\":");
                    push_int(&mut out, count);
                    out.push_str(",\"inserted_ids\":[");
                    out.push_str(&ids);
                    out.push_str("]}");
                    Ok(Json::from_text(out))
                }
            }
        })
    })
}

/// The ids of `documents` as JSON, with commas; those that have none get one.
fn identified(documents: &mut [Vec<u8>], form: Form) -> Result<String, Failure> {
    let mut ids = String::new();
    let mut next = None;
    for document in documents {
        if !ids.is_empty() {
            ids.push(',');
        }
        if let Some(id) = Document::of(document)?.get("_id")? {
            push_value(&mut ids, id, form)?;
            continue;
        }
        let id = match next {
            Some(id) => id,
            None => first_id()?,
        };
        let id = ObjectId(id);
        next = Some(id.following());
        push_value(&mut ids, Value::ObjectId(id.0), form)?;
        *document = Builder::new().raw("_id", kind::OBJECT_ID, &id.0).members(document).finish();
    }
    Ok(ids)
}

/// Seconds since 1970, five random bytes, and a number that counts up.
struct ObjectId([u8; 12]);

impl ObjectId {
    fn following(&self) -> [u8; 12] {
        let [head @ .., a, b, c] = self.0;
        let [_, a, b, c] = u32::from_be_bytes([0, a, b, c]).wrapping_add(1).to_be_bytes();
        let mut next = [0; 12];
        for (to, from) in next.iter_mut().zip(head.iter().chain(&[a, b, c])) {
            *to = *from;
        }
        next
    }
}

fn first_id() -> Result<[u8; 12], Failure> {
    let mut id = [0; 12];
    getrandom::fill(&mut id).map_err(|_| Failure::Unsupported("there are no random bytes".into()))?;
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    // The type has four bytes for it, which end in 2106.
    let seconds = (seconds as u32).to_be_bytes();
    id.iter_mut().zip(seconds).for_each(|(to, from)| *to = from);
    Ok(id)
}

pub(crate) fn update(call: Call<Connection, Update, Input>, host: &dyn Host) -> Result<Json, Failure> {
    let Call { connection, action, input: Input(input), deadline, dry_run, .. } = call;
    let clock = Clock::of(deadline, action.max_time_ms);
    let variables = Variables::of(&input);
    let maker = Maker::of(&connection, &variables, action.allow_operators, action.database.as_deref())?;
    let filter = maker.filter(&action.filter, false)?;
    let (kind, change) = change(&action, &variables)?;
    let mut one = Builder::new()
        .document("q", &filter)
        .raw("u", kind, &change)
        .boolean("multi", action.multi)
        .boolean("upsert", action.upsert);
    if let Some(json) = &action.array_filters {
        let rules = Rules { optional: false, ..Rules::filter(action.allow_operators) };
        let filters = maker.of_kind(json, "array_filters", rules, kind::ARRAY, "a list")?;
        one = one.raw("arrayFilters", kind::ARRAY, &filters);
    }
    one = maker.add(one, "collation", action.collation.as_ref(), Rules::filter(action.allow_operators))?;
    one = maker.hint(one, action.hint.as_ref())?;
    let command = Builder::new().text("update", collection(&action.collection)?);
    let command = maker.write_concern(command.documents("updates", &[&one.finish()]));
    if dry_run {
        return described(command, maker.database, None);
    }
    let client = Client { connection: &connection, host };
    client.run(Work::Writes, |session| {
        let document = maker.finish(command.clone(), clock, None);
        session.run(Command { document: &document, sequence: None, writes: true }, |reply| {
            let upserted = reply.get("upserted")?.and_then(Value::as_array);
            let upserted = upserted.and_then(|list| list.members().next()).transpose()?;
            let upserted = upserted.and_then(|(_, one)| one.as_document());
            let id = upserted.map(|one| one.get("_id")).transpose()?.flatten();
            // The server counts a new document among those that fit.
            let matched = integer(reply, "n")? - i64::from(id.is_some());
            let modified = integer(reply, "nModified")?;
            if let Some(failure) =
                failure::of_write(reply, json!({"matched_count": matched, "modified_count": modified}))?
            {
                return Err(failure);
            }
            let mut out = String::from("{\"matched_count\":");
            push_int(&mut out, matched);
            out.push_str(",\"modified_count\":");
            push_int(&mut out, modified);
            if let Some(id) = id {
                out.push_str(",\"upserted_id\":");
                push_value(&mut out, id, action.format.into())?;
            }
            out.push('}');
            Ok(Json::from_text(out))
        })
    })
}

/// Operators, a whole document, or stages.
fn change(action: &Update, variables: &Variables<'_>) -> Result<(u8, Vec<u8>), Failure> {
    let is_pipeline = action.update.as_str().starts_with('[');
    // What comes from the input whole may be either, and is read as what is more dangerous.
    let is_value = action.update.as_str().starts_with('{');
    let context = if is_value { Context::Value } else { Context::Expression };
    let rules = Rules { context, operators: action.allow_operators, patterns: false, optional: true };
    match encode(&action.update, "update", rules, variables)? {
        Some((kind::DOCUMENT, bytes)) => {
            if action.multi && !is_change(&bytes)? {
                return Err(Failure::InvalidConfig(
                    "a whole document can take the place of one only; without multi".into(),
                ));
            }
            Ok((kind::DOCUMENT, bytes))
        }
        Some((kind::ARRAY, bytes)) if is_pipeline || action.allow_operators => Ok((kind::ARRAY, bytes)),
        _ => Err(Failure::InvalidInput("what becomes update must be an object".into())),
    }
}

/// Whether a document consists of operators.
fn is_change(document: &[u8]) -> Result<bool, Failure> {
    let first = Document::of(document)?.members().next().transpose()?;
    Ok(first.is_some_and(|(name, _)| name.starts_with(b"$")))
}

pub(crate) fn delete(call: Call<Connection, Delete, Input>, host: &dyn Host) -> Result<Json, Failure> {
    let Call { connection, action, input: Input(input), deadline, dry_run, .. } = call;
    let clock = Clock::of(deadline, action.max_time_ms);
    let variables = Variables::of(&input);
    let maker = Maker::of(&connection, &variables, action.allow_operators, action.database.as_deref())?;
    let filter = maker.filter(&action.filter, false)?;
    let mut one = Builder::new().document("q", &filter).integer("limit", i64::from(!action.multi));
    one = maker.add(one, "collation", action.collation.as_ref(), Rules::filter(action.allow_operators))?;
    one = maker.hint(one, action.hint.as_ref())?;
    let command = Builder::new().text("delete", collection(&action.collection)?);
    let command = maker.write_concern(command.documents("deletes", &[&one.finish()]));
    if dry_run {
        return described(command, maker.database, None);
    }
    let client = Client { connection: &connection, host };
    client.run(Work::Writes, |session| {
        let document = maker.finish(command.clone(), clock, None);
        session.run(Command { document: &document, sequence: None, writes: true }, |reply| {
            let count = integer(reply, "n")?;
            match failure::of_write(reply, json!({"deleted_count": count}))? {
                Some(failure) => Err(failure),
                None => Ok(json!({"deleted_count": count}).into()),
            }
        })
    })
}

pub(crate) fn run_command(
    call: Call<Connection, RunCommand, Input>,
    host: &dyn Host,
) -> Result<Json, Failure> {
    let Call { connection, action, input: Input(input), deadline, dry_run, .. } = call;
    let clock = Clock::of(deadline, action.max_time_ms);
    let variables = Variables::of(&input);
    let maker = Maker::of(&connection, &variables, action.allow_operators, action.database.as_deref())?;
    let rules = Rules::expression(action.allow_operators);
    let command = maker.of_kind(&action.command, "command", rules, kind::DOCUMENT, "an object")?;
    let written = action.command.as_str().starts_with('{');
    let name = admit(&connection, &action, Document::of(&command)?)
        .map_err(|why| if written { Failure::InvalidConfig(why) } else { Failure::InvalidInput(why) })?;
    let command = Builder::new().members(&command);
    if dry_run {
        return described(command, maker.database, None);
    }
    let client = Client { connection: &connection, host };
    client.run(Work::Writes, |session| {
        let command = command.clone();
        // A cursor has the time of the command that opened it.
        let document = if name == "getMore" {
            command.text("$db", maker.database).finish()
        } else {
            maker.finish(command, clock, Some(false))
        };
        let (json, open) =
            session.run(Command { document: &document, sequence: None, writes: true }, |reply| {
                if let Some(failure) = failure::of_write(reply, json!({}))? {
                    return Err(failure);
                }
                Ok((shown(reply, action.format.into())?, cursor::of(reply).ok().flatten()))
            })?;
        if let Some((cursor, collection)) = open {
            cursor::close(session, cursor, &collection, maker.database);
        }
        Ok(json)
    })
}

/// The name of a command that may be sent, or why it may not.
fn admit(connection: &Connection, action: &RunCommand, command: Document<'_>) -> Result<String, String> {
    let broken = |_| "the command has no name".to_owned();
    let first = command.members().next().transpose().map_err(broken)?;
    let name = first.map(|(name, _)| String::from_utf8_lossy(name).into_owned());
    let name = name.ok_or_else(|| "the command has no name".to_owned())?;
    let is_in = |list: &[String]| list.iter().any(|entry| entry.eq_ignore_ascii_case(&name));
    let shown = name.escape_debug();
    if REFUSED.iter().any(|refused| refused.eq_ignore_ascii_case(&name)) {
        return Err(format!("'{shown}' is the host's business"));
    }
    for (allow, deny) in [(&connection.allow, &connection.deny), (&action.allow, &action.deny)] {
        if is_in(deny) {
            return Err(format!("'{shown}' is in deny"));
        }
        if !allow.is_empty() && !is_in(allow) {
            return Err(format!("'{shown}' is not in allow"));
        }
    }
    for member in command.members() {
        let (field, _) = member.map_err(broken)?;
        if REFUSED_FIELDS.contains(&field) {
            return Err(format!("a command must not have '{}'", String::from_utf8_lossy(field)));
        }
    }
    Ok(name)
}

/// `{"result": {…}}`, without the cluster's clock.
fn shown(reply: Document<'_>, form: Form) -> Result<Json, Failure> {
    let mut out = String::from("{\"result\":{");
    let mut separator = "";
    for member in reply.members() {
        let (name, value) = member?;
        if matches!(name, b"$clusterTime" | b"operationTime") {
            continue;
        }
        out.push_str(separator);
        separator = ",";
        openact_connector::write::push_string(&mut out, &String::from_utf8_lossy(name));
        out.push(':');
        push_value(&mut out, value, form)?;
    }
    out.push_str("}}");
    Ok(Json::from_text(out))
}

fn integer(reply: Document<'_>, name: &str) -> Result<i64, Failure> {
    reply
        .get(name)?
        .and_then(Value::as_integer)
        .ok_or_else(|| Failure::Protocol("the server sent a reply to a write that has no count".into()))
}
