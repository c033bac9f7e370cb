//! The fields of actions, as they are written in a configuration file.
//!
//! Invariant: what is to be BSON stays JSON text until it is written as that, so that the order of its members is kept.

use std::borrow::Cow;

use openact_connector::Json;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

use crate::to_json::Form;

/// Without a stream and `max_documents`.
const DOCUMENTS_MAX: u64 = 10_000;

/// Without a stream: what the host takes as a result.
const BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Documents of a stream that are asked for at once.
const BATCH: u32 = 1_000;

macro_rules! schemas {
    ($($(#[doc = $doc:literal])* $name:ident = $schema:tt;)*) => {$(
        $(#[doc = $doc])*
        struct $name;

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    )*};
}

schemas! {
    /// A document, or a template that is one.
    Document = {"type": ["object", "string"], "pattern": "^\\{\\{.*\\}\\}$", "x-variables": "{{name}}"};
    /// Several, or a template that is.
    Documents = {"type": ["array", "string"], "pattern": "^\\{\\{.*\\}\\}$", "x-variables": "{{name}}"};
    /// Operators or a whole document, stages, or a template that is one of these.
    Change = {"type": ["object", "array", "string"], "pattern": "^\\{\\{.*\\}\\}$", "x-variables": "{{name}}"};
    /// The name of an index, or its fields.
    Hint = {"type": ["object", "string"], "minLength": 1, "x-variables": "{{name}}"};
    /// A whole number, or a template that is one.
    Count = {"type": ["integer", "string"], "minimum": 0, "pattern": "^\\{\\{.*\\}\\}$", "x-variables": "{{name}}"};
    /// The name of a collection, or nothing for the whole database.
    Collection = {"type": "string", "minLength": 1, "maxLength": 255};
    /// The name of a database.
    Database = {"type": "string", "minLength": 1, "maxLength": 63};
}

/// How documents are written as JSON.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Format {
    /// Made to be read: 5, {"$date": "2024-…"}.
    #[default]
    Relaxed,
    /// Made to keep every type: {"$numberInt": "5"}.
    Canonical,
}

impl From<Format> for Form {
    fn from(format: Format) -> Self {
        match format {
            Format::Relaxed => Self::Relaxed,
            Format::Canonical => Self::Canonical,
        }
    }
}

/// How much of an answer is taken.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// Documents at most.
    pub documents: u64,
    /// Bytes of JSON at most.
    pub bytes: u64,
    /// Documents that are asked for at once.
    pub batch: u32,
    /// Whether they are handed out as they arrive.
    pub stream: bool,
    /// How they are written.
    pub form: Form,
}

macro_rules! answers {
    ($($action:ident),*) => {$(
        impl $action {
            /// How much of the answer is taken.
            pub fn answer(&self) -> Answer {
                let documents = self.max_documents.unwrap_or(if self.stream { u64::MAX } else { DOCUMENTS_MAX });
                // One more than are taken tells whether there are more.
                let whole = u32::try_from(documents.saturating_add(1)).unwrap_or(u32::MAX).min(i32::MAX as u32);
                Answer {
                    documents,
                    bytes: self.max_bytes.unwrap_or(if self.stream { u64::MAX } else { BYTES_MAX }),
                    batch: self.batch_size.unwrap_or(if self.stream { BATCH } else { whole }).min(whole),
                    stream: self.stream,
                    form: self.format.into(),
                }
            }
        }
    )*};
}

answers!(Find, Aggregate, ListCollections);

/// Documents of a collection.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Find {
    /// The collection.
    #[schemars(with = "Collection")]
    pub collection: String,
    /// The database; if absent, the connection's.
    #[serde(default)]
    #[schemars(with = "Database")]
    pub database: Option<String>,
    /// Which documents, such as {name: "{{name}}"}; all if it is absent.
    #[serde(default)]
    #[schemars(with = "Document", extend("x-aliases" = ["query"], "x-merge" = "replace"))]
    pub filter: Option<Json>,
    /// Which of their fields, such as {name: 1}.
    #[serde(default)]
    #[schemars(with = "Document", extend("x-merge" = "replace"))]
    pub projection: Option<Json>,
    /// In which order, such as {created: -1}.
    #[serde(default)]
    #[schemars(with = "Document", extend("x-merge" = "replace"))]
    pub sort: Option<Json>,
    /// How many to pass over.
    #[serde(default)]
    #[schemars(with = "Count")]
    pub skip: Option<Json>,
    /// How many there are to be at most. 0 is all.
    #[serde(default)]
    #[schemars(with = "Count")]
    pub limit: Option<Json>,
    /// The index to use, by its name or fields.
    #[serde(default)]
    #[schemars(with = "Hint", extend("x-merge" = "replace"))]
    pub hint: Option<Json>,
    /// How text is compared, such as {locale: en, strength: 2}.
    #[serde(default)]
    #[schemars(with = "Document", extend("x-merge" = "replace"))]
    pub collation: Option<Json>,
    /// Take operators from the input as well as values. Then whoever calls the action decides what is looked for.
    #[serde(default)]
    pub allow_operators: bool,
    /// How long the server may work on it, milliseconds; never longer than the call may take.
    #[serde(default)]
    #[schemars(with = "u32", range(min = 1))]
    pub max_time_ms: Option<u32>,
    /// Documents beyond this are left out, and the result says truncated. 10000 unless they are streamed.
    #[serde(default)]
    #[schemars(with = "u64", range(min = 1))]
    pub max_documents: Option<u64>,
    /// A longer answer fails. 16 MiB unless it is streamed.
    #[serde(default)]
    #[schemars(with = "u64", range(min = 1))]
    pub max_bytes: Option<u64>,
    /// Hand out each document as it arrives, where the caller takes a stream.
    #[serde(default)]
    pub stream: bool,
    /// Documents that are asked for at once. 1000 of a stream.
    #[serde(default)]
    #[schemars(with = "u32", range(min = 1, max = 100_000))]
    pub batch_size: Option<u32>,
    /// How documents are written.
    #[serde(default)]
    pub format: Format,
}

/// What a pipeline makes of a collection.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Aggregate {
    /// The collection; if absent, the pipeline is one of the database.
    #[serde(default)]
    #[schemars(with = "Collection")]
    pub collection: Option<String>,
    /// The database; if absent, the connection's.
    #[serde(default)]
    #[schemars(with = "Database")]
    pub database: Option<String>,
    /// The stages. $out and $merge are for run-command.
    #[schemars(with = "Documents", extend("x-merge" = "replace"))]
    pub pipeline: Json,
    /// The index to use, by its name or fields.
    #[serde(default)]
    #[schemars(with = "Hint", extend("x-merge" = "replace"))]
    pub hint: Option<Json>,
    /// How text is compared, such as {locale: en, strength: 2}.
    #[serde(default)]
    #[schemars(with = "Document", extend("x-merge" = "replace"))]
    pub collation: Option<Json>,
    /// Take operators and names of fields from the input as well as values. Then whoever calls the action decides what is
    /// looked for.
    #[serde(default)]
    pub allow_operators: bool,
    /// How long the server may work on it, milliseconds; never longer than the call may take.
    #[serde(default)]
    #[schemars(with = "u32", range(min = 1))]
    pub max_time_ms: Option<u32>,
    /// Documents beyond this are left out, and the result says truncated. 10000 unless they are streamed.
    #[serde(default)]
    #[schemars(with = "u64", range(min = 1))]
    pub max_documents: Option<u64>,
    /// A longer answer fails. 16 MiB unless it is streamed.
    #[serde(default)]
    #[schemars(with = "u64", range(min = 1))]
    pub max_bytes: Option<u64>,
    /// Hand out each document as it arrives, where the caller takes a stream.
    #[serde(default)]
    pub stream: bool,
    /// Documents that are asked for at once. 1000 of a stream.
    #[serde(default)]
    #[schemars(with = "u32", range(min = 1, max = 100_000))]
    pub batch_size: Option<u32>,
    /// How documents are written.
    #[serde(default)]
    pub format: Format,
}

/// New documents.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [{"required": ["document"]}, {"required": ["documents"]}]))]
pub struct Insert {
    /// The collection.
    #[schemars(with = "Collection")]
    pub collection: String,
    /// The database; if absent, the connection's.
    #[serde(default)]
    #[schemars(with = "Database")]
    pub database: Option<String>,
    /// The one document. It gets an _id if it has none.
    #[serde(default)]
    #[schemars(with = "Document", extend("x-merge" = "replace"))]
    pub document: Option<Json>,
    /// Several documents.
    #[serde(default)]
    #[schemars(with = "Documents", extend("x-merge" = "replace"))]
    pub documents: Option<Json>,
    /// Stop at the first that cannot be written.
    #[serde(default = "yes")]
    pub ordered: bool,
    /// How long the server may work on it, milliseconds; never longer than the call may take.
    #[serde(default)]
    #[schemars(with = "u32", range(min = 1))]
    pub max_time_ms: Option<u32>,
    /// How ids are written.
    #[serde(default)]
    pub format: Format,
}

fn yes() -> bool {
    true
}

/// A change of documents.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Update {
    /// The collection.
    #[schemars(with = "Collection")]
    pub collection: String,
    /// The database; if absent, the connection's.
    #[serde(default)]
    #[schemars(with = "Database")]
    pub database: Option<String>,
    /// Which documents, such as {_id: "{{id}}"}; {} for all.
    #[schemars(with = "Document", extend("x-merge" = "replace"))]
    pub filter: Json,
    /// What becomes of them: {$set: {name: "{{name}}"}}, a pipeline, or a whole document in the place of one.
    #[schemars(with = "Change", extend("x-merge" = "replace"))]
    pub update: Json,
    /// All that fit the filter, not only the first.
    #[serde(default)]
    #[schemars(extend("x-aliases" = ["many"]))]
    pub multi: bool,
    /// Write a new document if none fits the filter.
    #[serde(default)]
    pub upsert: bool,
    /// Which items of lists, for `$[name]` in the update.
    #[serde(default)]
    #[schemars(with = "Documents", extend("x-merge" = "replace"))]
    pub array_filters: Option<Json>,
    /// The index to use, by its name or fields.
    #[serde(default)]
    #[schemars(with = "Hint", extend("x-merge" = "replace"))]
    pub hint: Option<Json>,
    /// How text is compared, such as {locale: en, strength: 2}.
    #[serde(default)]
    #[schemars(with = "Document", extend("x-merge" = "replace"))]
    pub collation: Option<Json>,
    /// Take operators from the input as well as values. Then whoever calls the action decides what is changed, and how.
    #[serde(default)]
    pub allow_operators: bool,
    /// How long the server may work on it, milliseconds; never longer than the call may take.
    #[serde(default)]
    #[schemars(with = "u32", range(min = 1))]
    pub max_time_ms: Option<u32>,
    /// How ids are written.
    #[serde(default)]
    pub format: Format,
}

/// Documents to delete.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Delete {
    /// The collection.
    #[schemars(with = "Collection")]
    pub collection: String,
    /// The database; if absent, the connection's.
    #[serde(default)]
    #[schemars(with = "Database")]
    pub database: Option<String>,
    /// Which documents, such as {_id: "{{id}}"}; {} for all.
    #[schemars(with = "Document", extend("x-merge" = "replace"))]
    pub filter: Json,
    /// All that fit the filter, not only the first.
    #[serde(default)]
    #[schemars(extend("x-aliases" = ["many"]))]
    pub multi: bool,
    /// The index to use, by its name or fields.
    #[serde(default)]
    #[schemars(with = "Hint", extend("x-merge" = "replace"))]
    pub hint: Option<Json>,
    /// How text is compared, such as {locale: en, strength: 2}.
    #[serde(default)]
    #[schemars(with = "Document", extend("x-merge" = "replace"))]
    pub collation: Option<Json>,
    /// Take operators from the input as well as values. Then whoever calls the action decides what is deleted.
    #[serde(default)]
    pub allow_operators: bool,
    /// How long the server may work on it, milliseconds; never longer than the call may take.
    #[serde(default)]
    #[schemars(with = "u32", range(min = 1))]
    pub max_time_ms: Option<u32>,
}

/// How many documents there are.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CountDocuments {
    /// The collection.
    #[schemars(with = "Collection")]
    pub collection: String,
    /// The database; if absent, the connection's.
    #[serde(default)]
    #[schemars(with = "Database")]
    pub database: Option<String>,
    /// Which documents; all if it is absent.
    #[serde(default)]
    #[schemars(with = "Document", extend("x-aliases" = ["query"], "x-merge" = "replace"))]
    pub filter: Option<Json>,
    /// How many to pass over.
    #[serde(default)]
    #[schemars(with = "Count")]
    pub skip: Option<Json>,
    /// Count no further than this.
    #[serde(default)]
    #[schemars(with = "Count")]
    pub limit: Option<Json>,
    /// The index to use, by its name or fields.
    #[serde(default)]
    #[schemars(with = "Hint", extend("x-merge" = "replace"))]
    pub hint: Option<Json>,
    /// How text is compared, such as {locale: en, strength: 2}.
    #[serde(default)]
    #[schemars(with = "Document", extend("x-merge" = "replace"))]
    pub collation: Option<Json>,
    /// Take operators from the input as well as values. Then whoever calls the action decides what is looked for.
    #[serde(default)]
    pub allow_operators: bool,
    /// How long the server may work on it, milliseconds; never longer than the call may take.
    #[serde(default)]
    #[schemars(with = "u32", range(min = 1))]
    pub max_time_ms: Option<u32>,
}

/// The values that a field has.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Distinct {
    /// The collection.
    #[schemars(with = "Collection")]
    pub collection: String,
    /// The database; if absent, the connection's.
    #[serde(default)]
    #[schemars(with = "Database")]
    pub database: Option<String>,
    /// The field, such as address.city.
    #[schemars(length(min = 1), extend("x-aliases" = ["key"]))]
    pub field: String,
    /// In which documents; all if it is absent.
    #[serde(default)]
    #[schemars(with = "Document", extend("x-aliases" = ["query"], "x-merge" = "replace"))]
    pub filter: Option<Json>,
    /// How text is compared, such as {locale: en, strength: 2}.
    #[serde(default)]
    #[schemars(with = "Document", extend("x-merge" = "replace"))]
    pub collation: Option<Json>,
    /// Take operators from the input as well as values. Then whoever calls the action decides what is looked for.
    #[serde(default)]
    pub allow_operators: bool,
    /// How long the server may work on it, milliseconds; never longer than the call may take.
    #[serde(default)]
    #[schemars(with = "u32", range(min = 1))]
    pub max_time_ms: Option<u32>,
    /// How values are written.
    #[serde(default)]
    pub format: Format,
}

/// Any command.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunCommand {
    /// The command, its name first, such as {dbStats: 1}.
    #[schemars(with = "Document", extend("x-merge" = "replace"))]
    pub command: Json,
    /// The database; if absent, the connection's.
    #[serde(default)]
    #[schemars(with = "Database")]
    pub database: Option<String>,
    /// Take operators, names of fields and whole commands from the input as well as values.
    #[serde(default)]
    pub allow_operators: bool,
    /// The only commands that may be sent, beside what the connection says.
    #[serde(default)]
    pub allow: Vec<String>,
    /// Commands that are never sent, beside what the connection says.
    #[serde(default)]
    pub deny: Vec<String>,
    /// How long the server may work on it, milliseconds; never longer than the call may take.
    #[serde(default)]
    #[schemars(with = "u32", range(min = 1))]
    pub max_time_ms: Option<u32>,
    /// How the reply is written.
    #[serde(default)]
    pub format: Format,
}

/// The collections and views of a database.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListCollections {
    /// The database; if absent, the connection's.
    #[serde(default)]
    #[schemars(with = "Database")]
    pub database: Option<String>,
    /// Which of them, such as {type: view}.
    #[serde(default)]
    #[schemars(with = "Document", extend("x-merge" = "replace"))]
    pub filter: Option<Json>,
    /// Names and types alone.
    #[serde(default)]
    pub name_only: bool,
    /// How long the server may work on it, milliseconds; never longer than the call may take.
    #[serde(default)]
    #[schemars(with = "u32", range(min = 1))]
    pub max_time_ms: Option<u32>,
    /// Collections beyond this are left out, and the result says truncated. 10000 unless they are streamed.
    #[serde(default)]
    #[schemars(with = "u64", range(min = 1))]
    pub max_documents: Option<u64>,
    /// A longer answer fails. 16 MiB unless it is streamed.
    #[serde(default)]
    #[schemars(with = "u64", range(min = 1))]
    pub max_bytes: Option<u64>,
    /// Hand out each as it arrives, where the caller takes a stream.
    #[serde(default)]
    pub stream: bool,
    /// How many are asked for at once. 1000 of a stream.
    #[serde(default)]
    #[schemars(with = "u32", range(min = 1, max = 100_000))]
    pub batch_size: Option<u32>,
    /// How they are written.
    #[serde(default)]
    pub format: Format,
}
