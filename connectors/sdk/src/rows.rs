//! Rows of a table as a result: `{"columns": [{"name", "type"}], "rows": [{name: value}]}`, written as they arrive.
//!
//! A column whose name was there already is called `name_2`, `name_3`, so that no value hides another. Invariant: a row
//! has exactly one value for each column, in their order; anything else is a broken protocol.

use std::collections::BTreeMap;

use crate::{
    Failure, Host, Json,
    items::{Items, Limits, More},
    write::{
        push_base64, push_bool, push_escaped, push_float, push_float32, push_hex, push_int, push_string,
        push_uint,
    },
};

/// The rows of one result.
pub struct Rows<'h> {
    items: Items<'h>,
    columns: Vec<Column>,
}

struct Column {
    name: String,
    kind: String,
    /// `"name":`, as each row has it.
    key: String,
}

impl<'h> Rows<'h> {
    /// No column and no row yet. `stream` is what the action says.
    pub fn new(host: &'h dyn Host, stream: bool, limits: Limits) -> Self {
        Self { items: Items::new(host, stream, limits), columns: Vec::new() }
    }

    /// The names of the columns, with the server's names of their types. Before the first row.
    pub fn columns<'n>(&mut self, columns: impl IntoIterator<Item = (&'n str, &'n str)>) {
        self.columns.clear();
        // With the number of its next copy, so that a thousand columns of one name are no million attempts.
        let mut taken = BTreeMap::<String, u32>::new();
        for (name, kind) in columns {
            let mut unique = name.to_owned();
            while taken.contains_key(&unique) {
                let copies = taken.entry(name.to_owned()).or_insert(1);
                *copies += 1;
                unique = format!("{name}_{copies}");
            }
            taken.insert(unique.clone(), 1);
            let mut key = String::with_capacity(unique.len() + 3);
            push_string(&mut key, &unique);
            key.push(':');
            self.columns.push(Column { name: unique, kind: kind.to_owned(), key });
        }
    }

    /// Adds the row whose values `write` gives, one for each column.
    pub fn push(&mut self, write: impl FnOnce(&mut Row<'_>) -> Result<(), Failure>) -> Result<More, Failure> {
        let columns = &self.columns;
        self.items.push(|out| {
            out.push('{');
            let mut row = Row { out, columns: columns.iter(), written: false, too_many: false };
            write(&mut row)?;
            if row.too_many || row.columns.next().is_some() {
                return Err(Failure::Protocol(format!(
                    "a row of the answer has not the {} values that its description says",
                    columns.len()
                )));
            }
            out.push('}');
            Ok(())
        })
    }

    /// Appends the members `"columns"` and `"rows"` of the result (or `"rows":null,"emitted":n`, see [`Items::finish`]).
    pub fn finish_into(self, out: &mut String) {
        out.push_str("\"columns\":[");
        for (at, column) in self.columns.iter().enumerate() {
            out.push_str(if at == 0 { "{\"name\":" } else { ",{\"name\":" });
            push_string(out, &column.name);
            if !column.kind.is_empty() {
                out.push_str(",\"type\":");
                push_string(out, &column.kind);
            }
            out.push('}');
        }
        out.push_str("],");
        self.items.finish("rows", out);
    }

    /// The result, with `rows_affected` where the server said it.
    pub fn finish(self, rows_affected: Option<u64>) -> Json {
        let mut out = String::with_capacity(self.items.text_len() + 64 * self.columns.len() + 64);
        out.push('{');
        self.finish_into(&mut out);
        if let Some(count) = rows_affected {
            out.push_str(",\"rows_affected\":");
            push_uint(&mut out, count);
        }
        out.push('}');
        Json::from_text(out)
    }
}

/// A row that is being written: each call gives the value of the next column.
pub struct Row<'r> {
    out: &'r mut String,
    columns: std::slice::Iter<'r, Column>,
    written: bool,
    too_many: bool,
}

impl Row<'_> {
    /// NULL.
    pub fn null(&mut self) {
        self.next().push_str("null");
    }

    /// A boolean.
    pub fn bool(&mut self, value: bool) {
        push_bool(self.next(), value);
    }

    /// An integer; as text if JSON cannot hold it exactly.
    pub fn int(&mut self, value: i64) {
        push_int(self.next(), value);
    }

    /// An integer; as text if JSON cannot hold it exactly.
    pub fn uint(&mut self, value: u64) {
        push_uint(self.next(), value);
    }

    /// A number; as text if it is none.
    pub fn float(&mut self, value: f64) {
        push_float(self.next(), value);
    }

    /// A number of single precision; as text if it is none.
    pub fn float32(&mut self, value: f32) {
        push_float32(self.next(), value);
    }

    /// Text.
    pub fn text(&mut self, value: &str) {
        push_string(self.next(), value);
    }

    /// Text as the server sent it. `protocol` if it is no UTF-8.
    pub fn text_bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.text(utf8(bytes)?);
        Ok(())
    }

    /// Bytes, in base64.
    pub fn base64(&mut self, bytes: &[u8]) {
        push_base64(self.next(), bytes);
    }

    /// Bytes, in hex after `prefix`.
    pub fn hex(&mut self, prefix: &str, bytes: &[u8]) {
        push_hex(self.next(), prefix, bytes);
    }

    /// What is JSON already, unparsed. It must be one JSON value.
    pub fn raw(&mut self, json: &str) {
        self.next().push_str(json);
    }

    /// What has a text form, such as a date.
    pub fn display(&mut self, value: impl std::fmt::Display) {
        let out = self.next();
        out.push('"');
        push_escaped(out, &value.to_string());
        out.push('"');
    }

    /// Anything else: `write` appends one JSON value, with the functions of [`crate::write`].
    pub fn with(&mut self, write: impl FnOnce(&mut String) -> Result<(), Failure>) -> Result<(), Failure> {
        write(self.next())
    }

    /// Where the next value goes, after its key.
    fn next(&mut self) -> &mut String {
        if self.written {
            self.out.push(',');
        }
        self.written = true;
        match self.columns.next() {
            Some(column) => self.out.push_str(&column.key),
            // The row is refused when it is complete.
            None => self.too_many = true,
        }
        self.out
    }
}

/// Text that the server sent. `protocol` if it is no UTF-8.
pub fn utf8(bytes: &[u8]) -> Result<&str, Failure> {
    str::from_utf8(bytes).map_err(|_| Failure::Protocol("the server sent text that is not UTF-8".into()))
}
