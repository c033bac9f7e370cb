//! The fields of an entry as they were written, each with its place in the file: what is put together from several
//! places still knows them all.
//!
//! Invariant: the place of a member is that of its key in the file, whatever object it ends up in.

use openact_core::JsonObject;
use serde_json::Value;

use crate::problems::child;

/// A key and its value.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) key: String,
    pub(crate) value: Written,
    /// JSON Pointer in the file.
    pub(crate) at: String,
}

/// A value.
#[derive(Debug)]
pub(crate) enum Written {
    /// As it stands in the file, below the place of its member.
    Value(Value),
    /// An object whose members need not stand together; a key may be there twice.
    Object(Vec<Member>),
    /// A list whose items need not stand together, each with its place.
    List(Vec<(Value, String)>),
}

impl Member {
    pub(crate) fn new(key: &str, value: Value, at: &str) -> Self {
        Self { key: key.to_owned(), value: Written::Value(value), at: at.to_owned() }
    }

    /// The members of an object that stands at `at`.
    pub(crate) fn all(object: JsonObject, at: &str) -> Vec<Self> {
        let member = |(key, value): (String, Value)| {
            let at = child(at, &key);
            Self { key, value: Written::Value(value), at }
        };
        object.into_iter().map(member).collect()
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self.value, Written::Value(Value::Null))
    }

    /// Takes the members of an object out, to be put back changed; a value that is none stays.
    pub(crate) fn take_members(&mut self) -> Option<Vec<Self>> {
        match std::mem::replace(&mut self.value, Written::Value(Value::Null)) {
            Written::Value(Value::Object(object)) => Some(Self::all(object, &self.at)),
            Written::Object(members) => Some(members),
            other => {
                self.value = other;
                None
            }
        }
    }

    /// Makes the value a list, if it is none yet, with one more item.
    pub(crate) fn add(&mut self, value: Value, at: String) {
        if let Written::List(items) = &mut self.value {
            return items.push((value, at));
        }
        if let Written::Value(first) = &mut self.value {
            let first = (first.take(), self.at.clone());
            self.value = Written::List(vec![first, (value, at)]);
        }
    }
}

/// The last key of a JSON Pointer.
pub(crate) fn last_segment(pointer: &str) -> String {
    pointer.rsplit('/').next().unwrap_or_default().replace("~1", "/").replace("~0", "~")
}
