//! Commands of MongoDB, made of actions and inputs.
//!
//! Invariant: what a command is called and where it goes come from the configuration; the input fills in values.

use std::time::{Duration, Instant};

use openact_connector::{
    Failure, Json,
    template::{Filled, expand_text, has_template},
    variables::Variables,
};

use crate::{
    bson::{Builder, Document, kind},
    config::{Connection, WriteConcern},
    from_json::{Context, Rules, encode},
};

/// When a call has to be over.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    end: Instant,
    /// How long the server may work at most, milliseconds.
    most: Option<u32>,
}

impl Clock {
    /// Of a call that has `left` left; `most` is what its action says.
    pub fn of(left: Duration, most: Option<u32>) -> Self {
        // A little is kept for the way there and back.
        let left = left.saturating_sub((left / 5).min(Duration::from_secs(1)));
        let now = Instant::now();
        Self { end: now.checked_add(left).unwrap_or(now), most }
    }

    /// How long the server may work on a command that is sent now.
    fn max_time_ms(&self) -> i64 {
        let left = self.end.saturating_duration_since(Instant::now()).as_millis();
        let left = i32::try_from(left).unwrap_or(i32::MAX).max(1);
        self.most.map_or(left, |most| left.min(i32::try_from(most).unwrap_or(i32::MAX))).into()
    }
}

/// Where commands go, and with what.
pub struct Maker<'a> {
    /// What the connection says.
    pub connection: &'a Connection,
    /// What the caller sent.
    pub variables: &'a Variables<'a>,
    /// Whether the input may have operators.
    pub operators: bool,
    /// The database.
    pub database: &'a str,
}

impl<'a> Maker<'a> {
    /// For an action that says `database`, or not.
    pub fn of(
        connection: &'a Connection,
        variables: &'a Variables<'a>,
        operators: bool,
        database: Option<&'a str>,
    ) -> Result<Self, Failure> {
        let database = database.or(connection.database.as_deref()).ok_or_else(|| {
            Failure::InvalidConfig("neither the action nor the connection has a database; set one".into())
        })?;
        if database.is_empty() || database.contains(['/', '\\', '.', ' ', '"', '$', '\0', '{']) {
            return Err(Failure::InvalidConfig(format!("'{}' is no database", database.escape_debug())));
        }
        Ok(Self { connection, variables, operators, database })
    }

    /// A filter as BSON; `optional` if a condition may be left out.
    pub fn filter(&self, json: &Json, optional: bool) -> Result<Vec<u8>, Failure> {
        let rules = Rules { optional, ..Rules::filter(self.operators) };
        self.of_kind(json, "filter", rules, kind::DOCUMENT, "an object")
    }

    /// A pipeline, as the bytes of a list.
    pub fn pipeline(&self, json: &Json) -> Result<Vec<u8>, Failure> {
        self.of_kind(json, "pipeline", Rules::expression(self.operators), kind::ARRAY, "a list")
    }

    /// Adds a document to a command, if there is one.
    pub fn add(
        &self,
        command: Builder,
        name: &str,
        json: Option<&Json>,
        rules: Rules,
    ) -> Result<Builder, Failure> {
        Ok(match json {
            None => command,
            Some(json) => {
                command.document(name, &self.of_kind(json, name, rules, kind::DOCUMENT, "an object")?)
            }
        })
    }

    /// Adds an index to use: its name or its fields.
    pub fn hint(&self, command: Builder, json: Option<&Json>) -> Result<Builder, Failure> {
        Ok(match json.map(|json| encode(json, "hint", Rules::filter(false), self.variables)).transpose()? {
            Some(Some((kind @ (kind::STRING | kind::DOCUMENT), bytes))) => command.raw("hint", kind, &bytes),
            None | Some(None) => command,
            Some(Some(_)) => return Err(Failure::InvalidInput("hint must be a name or an object".into())),
        })
    }

    /// A whole number, as itself or by a template.
    pub fn number(&self, json: Option<&Json>, place: &str) -> Result<Option<i64>, Failure> {
        let Some(json) = json else { return Ok(None) };
        let written = json.as_str();
        let filled = if written.starts_with('"') {
            let text: String = json.parse().map_err(|_| no_number(place))?;
            match expand_text(&text, place, self.variables)? {
                Filled::Text(text) => text,
                Filled::Value { json, .. } => json.to_owned(),
                Filled::Nothing => return Ok(None),
            }
        } else {
            written.to_owned()
        };
        let number = filled.trim_matches('"').parse().ok().filter(|number| *number >= 0);
        number.map(Some).ok_or_else(|| no_number(place))
    }

    /// A value of one kind.
    pub fn of_kind(
        &self,
        json: &Json,
        place: &str,
        rules: Rules,
        wanted: u8,
        called: &str,
    ) -> Result<Vec<u8>, Failure> {
        match encode(json, place, rules, self.variables)? {
            Some((kind, bytes)) if kind == wanted => Ok(bytes),
            None if wanted == kind::DOCUMENT && rules.optional => Ok(Builder::new().finish()),
            // A string is a template, which the caller has filled.
            _ if json.as_str().starts_with('"') => {
                Err(Failure::InvalidInput(format!("what becomes {place} must be {called}")))
            }
            _ => Err(Failure::InvalidConfig(format!("the action's {place} must be {called}"))),
        }
    }

    /// Adds to a command what all have.
    pub fn finish(&self, command: Builder, clock: Clock, reads: Option<bool>) -> Vec<u8> {
        let command = match reads {
            Some(nearby) => self.read_preference(command, nearby),
            None => command,
        };
        command.integer("maxTimeMS", clock.max_time_ms()).text("$db", self.database).finish()
    }

    /// Adds how many servers must have a write.
    pub fn write_concern(&self, command: Builder) -> Builder {
        let concern = match &self.connection.write_concern {
            None => return command,
            Some(WriteConcern::Servers(servers)) => Builder::new().integer("w", (*servers).into()),
            Some(WriteConcern::Named(name)) => Builder::new().text("w", name),
        };
        command.document("writeConcern", &concern.finish())
    }

    /// Without it a server that is no primary would refuse to be read.
    pub fn read_preference(&self, command: Builder, nearby: bool) -> Builder {
        let mode = match (nearby, self.connection.direct_connection) {
            (true, _) => "secondaryPreferred",
            (false, true) => "primaryPreferred",
            (false, false) => return command,
        };
        command.document("$readPreference", &Builder::new().text("mode", mode).finish())
    }
}

/// The name of a collection; it is never a template, so that no caller chooses it.
pub fn collection(name: &str) -> Result<&str, Failure> {
    if name.is_empty() || name.contains(['$', '\0']) || has_template(name) {
        return Err(Failure::InvalidConfig(format!(
            "'{}' is no collection: it must not be empty, a template, or have a $ in it",
            name.escape_debug()
        )));
    }
    Ok(name)
}

/// For documents that are written: what they hold is never looked for.
pub fn documents() -> Rules {
    Rules { context: Context::Value, operators: false, patterns: true, optional: true }
}

/// Refuses stages that write: a pipeline of the operation `aggregate` only reads.
pub fn only_reads(pipeline: &[u8]) -> Result<(), Failure> {
    for member in Document::of(pipeline)?.members() {
        let Some(stage) = member?.1.as_document() else { continue };
        for member in stage.members() {
            let (name, _) = member?;
            if matches!(name, b"$out" | b"$merge") {
                return Err(Failure::InvalidConfig(
                    "the pipeline writes ($out, $merge); run it as {aggregate: …, pipeline: …, cursor: {}} with the \
                     operation run-command"
                        .into(),
                ));
            }
        }
    }
    Ok(())
}

fn no_number(place: &str) -> Failure {
    Failure::InvalidInput(format!("{place} must be a whole number, not negative"))
}
