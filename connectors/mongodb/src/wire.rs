//! `OP_MSG`, the one message of MongoDB's protocol that is spoken here
//! (<https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/>).
//!
//! Invariant: of an answer only what was asked for is taken: one document, to the request that was sent last, without
//! checksum, compression, or more to come.

use openact_connector::Failure;

use crate::bson::Document;

/// The head of every message: length, its number, whose answer it is, and what it is.
pub const HEADER_BYTES: usize = 16;

const OP_MSG: i32 = 2013;

/// A server takes no longer message.
const SENT_BYTES_MAX: usize = 48_000_000;

/// A server takes no longer document. A command may be a little longer.
pub const DOCUMENT_BYTES_MAX: usize = 16 * 1024 * 1024;

const CHECKSUM: u32 = 1;
const MORE_TO_COME: u32 = 1 << 1;
/// Of the flags, those that must be understood.
const REQUIRED: u32 = 0xffff;

/// Documents that go with a command, under a name of their own.
#[derive(Clone, Copy, Debug)]
pub struct Sequence<'a> {
    /// The field of the command that they stand for.
    pub name: &'a str,
    /// Finished documents.
    pub documents: &'a [Vec<u8>],
}

/// Writes the message `number`: a command, and maybe documents with it.
pub fn push_message(
    out: &mut Vec<u8>,
    number: i32,
    command: &[u8],
    sequence: Option<Sequence<'_>>,
) -> Result<(), Failure> {
    let documents = sequence.map_or(&[][..], |sequence| sequence.documents);
    let too_long = |what: &str| Err(Failure::LimitExceeded(format!("{what} is longer than MongoDB takes")));
    if command.len() > DOCUMENT_BYTES_MAX {
        return too_long("the command");
    }
    if documents.iter().any(|document| document.len() > DOCUMENT_BYTES_MAX) {
        return too_long("a document");
    }
    let start = out.len();
    push(out, &[0, number, 0, OP_MSG, 0]);
    out.push(0);
    out.extend_from_slice(command);
    if let Some(Sequence { name, .. }) = sequence {
        out.push(1);
        let section = out.len();
        push(out, &[0]);
        out.extend_from_slice(name.as_bytes());
        out.push(0);
        documents.iter().for_each(|document| out.extend_from_slice(document));
        set_length(out, section);
    }
    if out.len() - start > SENT_BYTES_MAX {
        out.truncate(start);
        return too_long("all of it together");
    }
    set_length(out, start);
    Ok(())
}

/// How long the message is that begins with these bytes, if it is an answer to `number`.
pub fn length(header: &[u8], number: i32) -> Result<usize, Failure> {
    let mut words = header.chunks_exact(4).filter_map(|word| Some(i32::from_le_bytes(*word.first_chunk()?)));
    let (length, _, answers, kind) = (words.next(), words.next(), words.next(), words.next());
    if kind != Some(OP_MSG) {
        return Err(Failure::Protocol(
            "the server does not speak MongoDB's protocol of version 3.6 or later".into(),
        ));
    }
    if answers != Some(number) {
        return Err(Failure::Protocol("the server answered what it was not asked".into()));
    }
    // The head, the flags, the kind of the section, and an empty document.
    length
        .and_then(|length| usize::try_from(length).ok())
        .filter(|length| *length >= HEADER_BYTES + 10)
        .ok_or_else(|| Failure::Protocol("the server sent a message of an impossible length".into()))
}

/// The document of a whole message.
pub fn document(message: &[u8]) -> Result<Document<'_>, Failure> {
    let refused = |what: &str| Err(Failure::Protocol(format!("the server sent a message {what}")));
    let body = message.get(HEADER_BYTES..).unwrap_or_default();
    let Some((flags, [0, document @ ..])) = body.split_first_chunk() else {
        return refused("that does not begin with a document");
    };
    let flags = u32::from_le_bytes(*flags);
    if flags & CHECKSUM != 0 {
        return refused("with a checksum, which nobody asked for");
    }
    if flags & MORE_TO_COME != 0 {
        return refused("with more to come, which nobody asked for");
    }
    if flags & REQUIRED != 0 {
        return refused("with unknown flags");
    }
    Document::of(document)
}

fn push(out: &mut Vec<u8>, words: &[i32]) {
    words.iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
}

fn set_length(out: &mut [u8], start: usize) {
    let length = u32::try_from(out.len() - start).unwrap_or(u32::MAX);
    if let Some(place) = out.get_mut(start..start + 4) {
        place.copy_from_slice(&length.to_le_bytes());
    }
}
