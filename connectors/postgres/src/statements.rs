//! The prepared statements of a session, kept in the state of its parked stream.
//!
//! Invariant: a statement is found by its whole text, never by a digest alone, so that no text runs as another.

use crate::kind::{Kind, Known};

/// A longer text is prepared for its call alone.
const TEXT_BYTES_MAX: usize = 8 * 1024;

/// All entries together; the host keeps 64 KiB of state.
const BYTES_MAX: usize = 40 * 1024;

/// Each costs the server memory.
const COUNT_MAX: usize = 64;

/// What the server said of a statement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// Of the parameters.
    pub parameters: Vec<Kind>,
    /// Of the columns; none if the statement gives no rows.
    pub columns: Option<Vec<Column>>,
}

/// A column of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// The name of its type, if known.
    pub type_name: String,
    /// How its values are told.
    pub kind: Kind,
}

/// A prepared statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared {
    /// What the server knows it by; empty for the one that is not kept.
    pub name: String,
    /// What the server said of it.
    pub shape: Shape,
}

/// The statements, the one used last first.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Statements {
    next: u32,
    entries: Vec<Entry>,
}

#[derive(Debug, PartialEq, Eq)]
struct Entry {
    number: u32,
    text: Vec<u8>,
    shape: Vec<u8>,
}

impl Entry {
    fn size(&self) -> usize {
        self.text.len() + self.shape.len() + 12
    }
}

impl Statements {
    /// The statement with this text.
    pub fn find(&mut self, text: &str) -> Option<Prepared> {
        let at = self.entries.iter().position(|entry| entry.text == text.as_bytes())?;
        let entry = self.entries.remove(at);
        let shape = Shape::from_bytes(&entry.shape);
        let name = name(entry.number);
        self.entries.insert(0, entry);
        shape.map(|shape| Prepared { name, shape })
    }

    /// The name for a new statement; empty if it is too long to be kept.
    pub fn name_for(&mut self, text: &str) -> String {
        if text.len() > TEXT_BYTES_MAX {
            return String::new();
        }
        self.next = self.next.wrapping_add(1);
        name(self.next)
    }

    /// Keeps what the server said of the statement that [`Statements::name_for`] was last asked for. The names of those
    /// that make room for it, to be closed.
    pub fn keep(&mut self, text: &str, shape: &Shape) -> Vec<String> {
        let entry = Entry { number: self.next, text: text.into(), shape: shape.to_bytes() };
        if entry.size() > BYTES_MAX {
            return vec![name(entry.number)];
        }
        self.entries.insert(0, entry);
        let mut closed = Vec::new();
        while self.entries.len() > COUNT_MAX
            || self.entries.iter().map(Entry::size).sum::<usize>() > BYTES_MAX
        {
            closed.extend(self.entries.pop().map(|entry| name(entry.number)));
        }
        closed
    }

    /// Forgets the statement with this text; its name, to be closed.
    pub fn forget(&mut self, text: &str) -> Option<String> {
        let at = self.entries.iter().position(|entry| entry.text == text.as_bytes())?;
        Some(name(self.entries.remove(at).number))
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// Appends them.
    pub fn write(&self, out: &mut Vec<u8>) {
        number(out, self.next);
        for entry in &self.entries {
            number(out, entry.number);
            counted(out, &entry.text);
            counted(out, &entry.shape);
        }
    }

    /// What [`Statements::write`] wrote.
    pub fn read(mut bytes: &[u8]) -> Option<Self> {
        let mut statements = Self { next: take_number(&mut bytes)?, entries: Vec::new() };
        while !bytes.is_empty() {
            let number = take_number(&mut bytes)?;
            let (text, shape) = (take_counted(&mut bytes)?.to_vec(), take_counted(&mut bytes)?.to_vec());
            statements.entries.push(Entry { number, text, shape });
        }
        Some(statements)
    }
}

impl Shape {
    /// The ids of types that nobody here knows yet.
    pub fn unknown(parameters: &[u32], columns: &[(String, u32)], known: &Known) -> Vec<u32> {
        let oids = parameters.iter().copied().chain(columns.iter().map(|(_, oid)| *oid));
        let mut unknown: Vec<u32> = oids.filter(|oid| crate::kind::of(*oid, known).is_none()).collect();
        unknown.sort_unstable();
        unknown.dedup();
        unknown
    }

    /// Of the types that the server named; one that is not known is told as text.
    pub fn of(parameters: &[u32], columns: Option<Vec<(String, u32)>>, known: &Known) -> Self {
        let kind = |oid: u32| {
            crate::kind::of(oid, known)
                .unwrap_or_else(|| (String::new(), Kind::One(crate::kind::Scalar::Text)))
        };
        let column = |(name, oid): (String, u32)| {
            let (type_name, kind) = kind(oid);
            Column { name, type_name, kind }
        };
        Self {
            parameters: parameters.iter().map(|oid| kind(*oid).1).collect(),
            columns: columns.map(|columns| columns.into_iter().map(column).collect()),
        }
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        counted(&mut out, &self.parameters.iter().flat_map(|kind| kind.to_bytes()).collect::<Vec<u8>>());
        for column in self.columns.iter().flatten() {
            out.extend(column.kind.to_bytes());
            counted(&mut out, column.name.as_bytes());
            counted(&mut out, column.type_name.as_bytes());
        }
        // No columns at all are something else than none.
        out.push(u8::from(self.columns.is_some()));
        out
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (has_columns, mut bytes) = bytes.split_last()?;
        let kinds = take_counted(&mut bytes)?;
        let kind = |pair: &[u8]| Kind::from_bytes(pair.try_into().ok()?);
        let mut columns = Vec::new();
        while let Some((kinds, rest)) = bytes.split_at_checked(2) {
            bytes = rest;
            let name = String::from_utf8(take_counted(&mut bytes)?.into()).ok()?;
            let type_name = String::from_utf8(take_counted(&mut bytes)?.into()).ok()?;
            columns.push(Column { name, type_name, kind: kind(kinds)? });
        }
        Some(Self {
            parameters: kinds.chunks(2).map(kind).collect::<Option<_>>()?,
            columns: (*has_columns == 1).then_some(columns),
        })
    }
}

fn name(number: u32) -> String {
    format!("openact_{number}")
}

fn number(out: &mut Vec<u8>, number: u32) {
    out.extend(number.to_be_bytes());
}

fn counted(out: &mut Vec<u8>, bytes: &[u8]) {
    number(out, u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    out.extend(bytes);
}

fn take_number(bytes: &mut &[u8]) -> Option<u32> {
    let (number, rest) = bytes.split_first_chunk::<4>()?;
    *bytes = rest;
    Some(u32::from_be_bytes(*number))
}

fn take_counted<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(take_number(bytes)?).ok()?;
    let (counted, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(counted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::Scalar;

    fn shape(name: &str) -> Shape {
        let column =
            |name: &str| Column { name: name.into(), type_name: "int4".into(), kind: Kind::One(Scalar::Int) };
        Shape {
            parameters: vec![Kind::Array(Scalar::Json, b',')],
            columns: Some(vec![column(name), column("")]),
        }
    }

    fn add(statements: &mut Statements, text: &str) -> Vec<String> {
        statements.name_for(text);
        statements.keep(text, &shape(text))
    }

    #[test]
    fn they_come_back_from_a_parked_session() {
        let mut statements = Statements::default();
        add(&mut statements, "a");
        add(&mut statements, "b");
        let none = Shape { parameters: Vec::new(), columns: None };
        let empty = Shape { parameters: Vec::new(), columns: Some(Vec::new()) };
        for (text, shape) in [("none", &none), ("empty", &empty)] {
            statements.name_for(text);
            statements.keep(text, shape);
        }
        let mut state = Vec::new();
        statements.write(&mut state);
        let mut read = Statements::read(&state).unwrap();
        assert_eq!(read, statements);
        assert_eq!(read.find("a"), Some(Prepared { name: "openact_1".into(), shape: shape("a") }));
        assert_eq!((read.find("none").unwrap().shape, read.find("empty").unwrap().shape), (none, empty));
        assert_eq!(read.find("A"), None);
        for end in 0..state.len() {
            // Cut anywhere: either whole entries or nothing, and no panic.
            let _ = Statements::read(&state[..end]).map(|mut cut| cut.find("a"));
        }
    }

    #[test]
    fn the_one_used_longest_ago_makes_room() {
        let mut statements = Statements::default();
        for number in 0..COUNT_MAX {
            assert!(add(&mut statements, &format!("s{number}")).is_empty());
        }
        assert!(statements.find("s0").is_some());
        assert_eq!(add(&mut statements, "one more"), ["openact_2"]);
        assert!(statements.find("s1").is_none() && statements.find("s0").is_some());
        for number in 0..10 {
            let long = format!("{number}{}", "x".repeat(TEXT_BYTES_MAX - 1));
            add(&mut statements, &long);
        }
        let mut state = Vec::new();
        statements.write(&mut state);
        assert!(state.len() < 64 * 1024, "{}", state.len());
        assert_eq!(statements.name_for(&"x".repeat(TEXT_BYTES_MAX + 1)), "");
        let mut wide = shape("w");
        wide.columns = Some(vec![wide.columns.unwrap()[0].clone(); 4000]);
        statements.name_for("wide");
        assert_eq!(statements.keep("wide", &wide).len(), 1);
        assert!(statements.find("wide").is_none());
    }
}
