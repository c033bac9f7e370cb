//! What the server has, page after page.
//!
//! Invariant: pages end: a cursor that comes back, or more pages than [`PAGES_MAX`], is the server's fault.

use std::collections::BTreeSet;

use openact_connector::{
    Call, Failure, Host, Input, Json,
    items::{Items, Limits, More, TooMany},
    members::member,
    write::push_string,
};
use serde_json::value::RawValue;

use crate::{
    client::{Ask, Client},
    config::{Connection, List},
    message::RpcError,
    tools,
};

/// Pages of one list.
const PAGES_MAX: usize = 1_000;

/// A list of the server: its method, and what its items are called in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) method: &'static str,
    pub(crate) items: &'static str,
}

pub(crate) const TOOLS: Kind = Kind { method: "tools/list", items: "tools" };
pub(crate) const RESOURCES: Kind = Kind { method: "resources/list", items: "resources" };
pub(crate) const PROMPTS: Kind = Kind { method: "prompts/list", items: "prompts" };

/// The operation that gives a list.
pub(crate) fn run(kind: Kind, call: Call<Connection, List, Input>, host: &dyn Host) -> Result<Json, Failure> {
    let Call { connection, action, id, dry_run, .. } = call;
    let client = Client::new(&connection, host, id, dry_run)?;
    let limits = Limits { items: action.limit, too_many: TooMany::LeaveOut, ..Limits::default() };
    let mut items = Items::new(host, action.stream, limits);
    let each = |item: &RawValue| {
        if kind == TOOLS && tools::is_left_out(item.get()) {
            return Ok(More::Wanted);
        }
        items.push(|out| {
            out.push_str(item.get());
            Ok(())
        })
    };
    walk(&client, kind, each)?.map_err(RpcError::into_failure)?;
    let mut out = String::from("{");
    items.finish(kind.items, &mut out);
    out.push('}');
    Ok(Json::from_text(out))
}

/// Calls `each` with every item until no more is wanted; the server's error if it has one.
pub(crate) fn walk(
    client: &Client<'_>,
    kind: Kind,
    mut each: impl FnMut(&RawValue) -> Result<More, Failure>,
) -> Result<Result<(), RpcError>, Failure> {
    let mut cursors = BTreeSet::new();
    let mut params = String::new();
    for _ in 0..PAGES_MAX {
        let page = match client.ask(Ask::new(kind.method, &params))? {
            Ok(page) => page,
            Err(error) => return Ok(Err(error)),
        };
        let items = member(page.as_str(), kind.items).map(serde_json::from_str::<Vec<&RawValue>>);
        let Some(Ok(items)) = items else {
            let message = format!("the server's answer to {} has no list of {}", kind.method, kind.items);
            return Err(Failure::Protocol(message));
        };
        for item in items {
            if each(item)? == More::Enough {
                return Ok(Ok(()));
            }
        }
        let cursor = member(page.as_str(), "nextCursor").map(serde_json::from_str::<String>);
        let Some(Ok(cursor)) = cursor else { return Ok(Ok(())) };
        params = String::from("\"cursor\":");
        push_string(&mut params, &cursor);
        if !cursors.insert(cursor) {
            return Err(Failure::Protocol(format!("the server's pages of {} go in a circle", kind.items)));
        }
    }
    Err(Failure::LimitExceeded(format!("the server has more than {PAGES_MAX} pages of {}", kind.items)))
}
