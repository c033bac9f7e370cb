//! The operation `scan`: keys, or what is in one of them, step by step and item by item.
//!
//! The server may give an item more than once, and need not give what came or went meanwhile (its own rule). Invariant:
//! a step is handed on whole or not at all, so that the cursor of a result leaves nothing out.

use openact_connector::{
    Call, Failure, Host, Input, Json,
    items::{Items, Limits},
    pool::Work,
    template::{Filled, expand_text},
    variables::{Value, Variables},
    write::push_string,
};

use crate::{
    answer::{error_of, push_score, push_text},
    client::{Client, Outcome, Target, announce},
    config::{Collection, Connection, Scan},
    described,
    resp::{Elements, Token},
    rules::{Arguments, Lists, Name},
    session::Session,
};

/// Without a stream and a `limit`.
const ITEMS_MAX: u64 = 10_000;

pub(crate) fn run(call: Call<Connection, Scan, Input>, host: &dyn Host) -> Result<Json, Failure> {
    let Call { connection, action, input: Input(input), dry_run, .. } = call;
    let scan = Prepared::of(&action, &Variables::of(&input))?;
    let first = scan.command(&scan.cursor);
    Lists { allow: &connection.allow, deny: &connection.deny }
        .admit(&Name::of(&first), true)
        .map_err(Failure::InvalidConfig)?;
    if dry_run {
        return described(&[first]);
    }
    let client = Client { connection: &connection, host };
    let mut items = Items::new(host, action.stream, Limits::default());
    let rest = client.follow(Work::Reads, |session, asking| scan.steps(session, asking, &mut items))?;
    let mut out = String::from("{");
    items.finish("value", &mut out);
    if let Some(cursor) = rest {
        out.push_str(",\"truncated\":true,\"cursor\":");
        push_string(&mut out, &cursor);
    }
    out.push('}');
    Ok(Json::from_text(out))
}

/// A scan with its templates filled in.
struct Prepared<'a> {
    action: &'a Scan,
    /// `HSCAN key`
    begin: Arguments,
    cursor: String,
    /// `MATCH pattern COUNT n`
    end: Arguments,
}

impl<'a> Prepared<'a> {
    fn of(action: &'a Scan, variables: &Variables<'_>) -> Result<Self, Failure> {
        let filled = |text: &Option<String>, place: &str| match text {
            Some(text) => fill(text, place, variables),
            None => Ok(None),
        };
        let name = match action.scan {
            Collection::Keys => "SCAN",
            Collection::Hash => "HSCAN",
            Collection::Set => "SSCAN",
            Collection::Zset => "ZSCAN",
        };
        let mut begin = vec![name.into()];
        match (filled(&action.key, "key")?, action.scan) {
            (None, Collection::Keys) => {}
            (Some(key), Collection::Hash | Collection::Set | Collection::Zset) => begin.push(key.into()),
            (Some(_), _) => {
                return Err(Failure::InvalidConfig("key is of use for a hash, set or zset only".into()));
            }
            (None, _) => {
                return Err(Failure::InvalidConfig("a scan of a hash, set or zset needs a key".into()));
            }
        }
        let cursor = filled(&action.cursor, "cursor")?.unwrap_or_else(|| "0".into());
        if cursor.is_empty() || !cursor.bytes().all(|b| b.is_ascii_digit()) {
            return Err(Failure::InvalidInput("the cursor must be that of an earlier answer".into()));
        }
        let mut end: Arguments = vec!["COUNT".into(), action.count.to_string().into()];
        let kind = filled(&action.kind, "type")?;
        if kind.is_some() && action.scan != Collection::Keys {
            return Err(Failure::InvalidConfig("type is of use for keys only".into()));
        }
        for (option, value) in [("MATCH", filled(&action.pattern, "match")?), ("TYPE", kind)] {
            end.extend(value.into_iter().flat_map(|value| [option.into(), value.into()]));
        }
        Ok(Self { action, begin, cursor, end })
    }

    fn command(&self, cursor: &str) -> Arguments {
        let cursor = std::slice::from_ref(&cursor).iter().map(|cursor| cursor.as_bytes().to_vec());
        self.begin.iter().cloned().chain(cursor).chain(self.end.iter().cloned()).collect()
    }

    /// Steps until there are no more, or enough; where to go on, then.
    fn steps(
        &self,
        session: &mut Session,
        asking: bool,
        items: &mut Items<'_>,
    ) -> Result<Outcome<Option<String>>, Failure> {
        let mut cursor = self.cursor.clone();
        loop {
            announce(session, asking);
            session.command(&self.command(&cursor));
            session.send()?;
            if asking {
                session.reply(|_| Ok(()))?;
            }
            let host = session.host().to_owned();
            let step = session.reply(|message| match error_of(message) {
                Some(error) => match Target::of(&error, &host).filter(|_| items.count() == 0) {
                    Some(target) => Ok(Outcome::At(target)),
                    None => Err(error.into_failure()),
                },
                None => self.step(message, items).map(Outcome::Done),
            })?;
            cursor = match step {
                Outcome::Done(cursor) => cursor,
                Outcome::At(target) => return Ok(Outcome::At(target)),
            };
            if cursor == "0" {
                return Ok(Outcome::Done(None));
            }
            let enough = self.action.limit.or((!items.emitted()).then_some(ITEMS_MAX));
            if enough.is_some_and(|enough| items.count() >= enough) {
                return Ok(Outcome::Done(Some(cursor)));
            }
        }
    }

    /// Hands on what one step gave, `[cursor, [item, …]]`; the next cursor.
    fn step(&self, message: &[u8], items: &mut Items<'_>) -> Result<String, Failure> {
        let misfit = || Failure::Protocol("the server answered a scan with something else".into());
        let mut elements = Elements::of(message);
        let (Token::List(2), Token::Text(cursor)) = (elements.token()?, elements.token()?) else {
            return Err(misfit());
        };
        let cursor = std::str::from_utf8(cursor).map_err(|_| misfit())?;
        if cursor.is_empty() || !cursor.bytes().all(|b| b.is_ascii_digit()) {
            return Err(misfit());
        }
        let Token::List(count) = elements.token()? else { return Err(misfit()) };
        let mut text = || match elements.token()? {
            Token::Text(text) => Ok(text),
            _ => Err(misfit()),
        };
        let names = match self.action.scan {
            Collection::Keys | Collection::Set => None,
            Collection::Hash => Some(["field", "value"]),
            Collection::Zset => Some(["member", "score"]),
        };
        if names.is_some() && count % 2 > 0 {
            return Err(misfit());
        }
        for _ in 0..if names.is_some() { count / 2 } else { count } {
            let more = items.push(|out| {
                let Some([first, second]) = names else { return push_text(out, text()?) };
                out.push_str(&format!("{{\"{first}\":"));
                push_text(out, text()?)?;
                out.push_str(&format!(",\"{second}\":"));
                let value = text()?;
                match (self.action.scan, std::str::from_utf8(value)) {
                    (Collection::Zset, Ok(score)) => push_score(out, score),
                    _ => push_text(out, value)?,
                }
                out.push('}');
                Ok(())
            });
            // No limit of items was set that could say otherwise.
            let _ = more?;
        }
        Ok(cursor.to_owned())
    }
}

/// Text with its templates filled in; none if it is a variable that is missing, or null.
fn fill(text: &str, place: &str, variables: &Variables<'_>) -> Result<Option<String>, Failure> {
    match expand_text(text, place, variables)? {
        Filled::Text(text) => Ok(Some(text)),
        Filled::Nothing => Ok(None),
        Filled::Value { name, json } => match Value::of(json) {
            Value::Text(text) => Ok(Some(text.into_owned())),
            Value::Null => Ok(None),
            Value::Compound => {
                Err(Failure::InvalidInput(format!("'{name}' must be text or a number to be {place}")))
            }
        },
    }
}
