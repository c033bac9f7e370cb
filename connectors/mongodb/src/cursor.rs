//! Cursors: batch after batch, each document handed on as it is read.
//!
//! Invariant: a cursor that is not at its end when a call is done with it is closed at the server, whatever the reason.

use openact_connector::{
    Failure,
    items::{Items, More},
};

use crate::{
    bson::{Builder, Document, Value},
    session::{Command, Session},
    to_json::{Form, push_value},
};

/// A server may need some time for the next document, but not so often without any.
const EMPTY_BATCHES_MAX: u32 = 100;

/// How batches are asked for and written.
#[derive(Clone, Copy, Debug)]
pub struct Reading<'a> {
    /// The database.
    pub database: &'a str,
    /// Documents in a batch.
    pub batch: u32,
    /// How they are written.
    pub form: Form,
}

struct Batch {
    cursor: i64,
    collection: String,
    count: u64,
    /// Whether its documents could be handed on.
    outcome: Result<More, Failure>,
}

/// Sends `first`, whose reply has a cursor, and hands on everything behind it.
pub fn read(
    session: &mut Session,
    first: &[u8],
    reading: Reading<'_>,
    items: &mut Items<'_>,
) -> Result<(), Failure> {
    let mut batch =
        session.run(Command::reading(first), |reply| take(reply, "firstBatch", reading.form, items))?;
    let mut empty = 0;
    loop {
        let Batch { cursor, collection, count, outcome } = batch;
        if !matches!(outcome, Ok(More::Wanted)) {
            close(session, cursor, &collection, reading.database);
            return outcome.map(drop);
        }
        if cursor == 0 {
            return Ok(());
        }
        empty = if count == 0 { empty + 1 } else { 0 };
        if empty > EMPTY_BATCHES_MAX {
            close(session, cursor, &collection, reading.database);
            return Err(Failure::Protocol("the server's cursor neither ends nor has anything".into()));
        }
        let more = Builder::new()
            .long("getMore", cursor)
            .text("collection", &collection)
            .integer("batchSize", reading.batch.into())
            .text("$db", reading.database)
            .finish();
        // What breaks off in between leaves the cursor to the server, with the stream that it was on.
        batch =
            session.run(Command::reading(&more), |reply| take(reply, "nextBatch", reading.form, items))?;
    }
}

/// Closes a cursor. That it could not be is no failure of the call, but the session is not kept then.
pub fn close(session: &mut Session, cursor: i64, collection: &str, database: &str) {
    if cursor == 0 {
        return;
    }
    let list = Builder::new().long("0", cursor).finish();
    let kill = Builder::new()
        .text("killCursors", collection)
        .raw("cursors", crate::bson::kind::ARRAY, &list)
        .text("$db", database)
        .finish();
    session.is_clean &= session.run(Command::reading(&kill), |_| Ok(())).is_ok();
}

/// The cursor of a reply and the collection it is of; none if there is none.
pub fn of(reply: Document<'_>) -> Result<Option<(i64, String)>, Failure> {
    let Some(cursor) = reply.get("cursor")?.and_then(Value::as_document) else { return Ok(None) };
    let id = cursor.get("id")?.and_then(Value::as_integer).ok_or_else(misfit)?;
    let namespace = cursor.get("ns")?.and_then(Value::as_text).unwrap_or_default();
    let collection = namespace.split_once('.').map_or("", |(_, collection)| collection);
    Ok(Some((id, collection.to_owned())))
}

fn take(reply: Document<'_>, name: &str, form: Form, items: &mut Items<'_>) -> Result<Batch, Failure> {
    let (cursor, collection) = of(reply)?.ok_or_else(misfit)?;
    let inner = reply.get("cursor")?.and_then(Value::as_document).ok_or_else(misfit)?;
    let batch = inner.get(name)?.and_then(Value::as_array).ok_or_else(misfit)?;
    let mut count = 0;
    let mut outcome = Ok(More::Wanted);
    for member in batch.members() {
        let pushed = member.and_then(|(_, document)| items.push(|out| push_value(out, document, form)));
        count += 1;
        if !matches!(pushed, Ok(More::Wanted)) {
            outcome = pushed;
            break;
        }
    }
    Ok(Batch { cursor, collection, count, outcome })
}

fn misfit() -> Failure {
    Failure::Protocol("the server sent a reply without the cursor that it should have".into())
}
