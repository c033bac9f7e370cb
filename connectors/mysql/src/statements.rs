//! What is known of statements from earlier calls, kept in the state of the parked session: enough to send a statement
//! and its values in one flight. The server forgets prepared statements when the session is set back; these do not.
//!
//! Invariant: a statement is known by the SHA-256 of its text, and what is known is only ever about that text.

use sha2::{Digest, Sha256};

/// The host keeps 64 KiB of state; an entry has 36 bytes.
const COUNT_MAX: usize = 512;

const ENTRY_BYTES: usize = 36;

/// What the server said of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// How many values it takes.
    pub parameters: u16,
    /// Whether it gives rows, as far as the server knew before it ran.
    pub has_columns: bool,
    /// Whether it can be prepared; the others are sent as text.
    pub prepares: bool,
}

/// The statements, the one used last first.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Statements(Vec<([u8; 32], Shape)>);

impl Statements {
    /// What is known of `text`.
    pub fn find(&mut self, text: &str) -> Option<Shape> {
        let digest = digest(text);
        let at = self.0.iter().position(|(known, _)| *known == digest)?;
        let entry = self.0.remove(at);
        self.0.insert(0, entry);
        Some(entry.1)
    }

    /// Keeps what the server said.
    pub fn keep(&mut self, text: &str, shape: Shape) {
        self.forget(text);
        self.0.truncate(COUNT_MAX - 1);
        self.0.insert(0, (digest(text), shape));
    }

    /// Forgets it.
    pub fn forget(&mut self, text: &str) {
        let digest = digest(text);
        self.0.retain(|(known, _)| *known != digest);
    }

    /// Appends them.
    pub fn write(&self, out: &mut Vec<u8>) {
        for (digest, shape) in &self.0 {
            out.extend(digest);
            out.extend(shape.parameters.to_le_bytes());
            out.extend([u8::from(shape.has_columns), u8::from(shape.prepares)]);
        }
    }

    /// What [`Statements::write`] wrote.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (entries, []) = bytes.as_chunks::<ENTRY_BYTES>() else { return None };
        let read = |entry: &[u8; ENTRY_BYTES]| {
            let (digest, rest) = entry.split_first_chunk::<32>()?;
            let [a, b, has_columns, prepares] = *rest.first_chunk::<4>()?;
            let parameters = u16::from_le_bytes([a, b]);
            Some((*digest, Shape { parameters, has_columns: has_columns == 1, prepares: prepares == 1 }))
        };
        entries.iter().map(read).collect::<Option<_>>().map(Self)
    }
}

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(parameters: u16) -> Shape {
        Shape {
            parameters,
            has_columns: parameters.is_multiple_of(2),
            prepares: parameters.is_multiple_of(3),
        }
    }

    #[test]
    fn they_come_back_from_a_parked_session() {
        let mut statements = Statements::default();
        for number in 0..6 {
            statements.keep(&number.to_string(), shape(number));
        }
        let mut state = Vec::new();
        statements.write(&mut state);
        let mut read = Statements::read(&state).unwrap();
        assert_eq!(read, statements);
        assert_eq!((read.find("5"), read.find("05")), (Some(shape(5)), None));
        for end in 0..state.len() {
            assert_eq!(Statements::read(&state[..end]).is_some(), end % ENTRY_BYTES == 0);
        }
        read.forget("5");
        assert_eq!(read.find("5"), None);
    }

    #[test]
    fn the_one_used_longest_ago_makes_room() {
        let mut statements = Statements::default();
        for number in 0..COUNT_MAX {
            statements.keep(&number.to_string(), shape(1));
        }
        assert!(statements.find("0").is_some());
        statements.keep("one more", shape(2));
        statements.keep("one more", shape(3));
        assert!(statements.find("1").is_none() && statements.find("0").is_some());
        assert_eq!(statements.find("one more"), Some(shape(3)));
        let mut state = Vec::new();
        statements.write(&mut state);
        assert_eq!(state.len(), COUNT_MAX * ENTRY_BYTES);
        assert!(state.len() < 32 * 1024);
    }
}
