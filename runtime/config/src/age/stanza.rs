//! The header of a file of age, its armor, and the Base64 of both.
//!
//! Invariant: a text that is read has one way to be written, and it is that one: no padding, no bits left over, lines of 64.

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD},
};
use openact_core::Result;
use zeroize::Zeroizing;

use super::damaged;

/// The first line.
pub(super) const VERSION: &[u8] = b"age-encryption.org/v1\n";

const BEGIN: &str = "-----BEGIN AGE ENCRYPTED FILE-----";
const END: &str = "-----END AGE ENCRYPTED FILE-----";
const COLUMNS: usize = 64;

/// Each is a key agreement for each key that is tried, before anything of the file is known to be genuine.
pub(super) const STANZAS_MAX: usize = 64;

/// One way to the key of the file.
pub(super) struct Stanza {
    pub(super) kind: String,
    pub(super) arguments: Vec<String>,
    pub(super) body: Vec<u8>,
}

/// What comes before the text.
pub(super) struct Header<'f> {
    pub(super) stanzas: Vec<Stanza>,
    /// What the code after it was made of.
    pub(super) signed: &'f [u8],
    pub(super) mac: Vec<u8>,
    pub(super) payload: &'f [u8],
}

impl<'f> Header<'f> {
    pub(super) fn read(file: &'f [u8]) -> Result<Self> {
        Self::parse(file).ok_or_else(damaged)
    }

    fn parse(file: &'f [u8]) -> Option<Self> {
        let mut rest = file.strip_prefix(VERSION)?;
        let mut stanzas = Vec::new();
        loop {
            let before = rest;
            let line = line(&mut rest)?;
            if let Some(mac) = line.strip_prefix("--- ") {
                let mac = from_base64(mac).filter(|mac| mac.len() == 32)?;
                let signed = file.get(..file.len() - before.len() + 3)?;
                // Beside other stanzas a passphrase would say nothing of who wrote the file.
                let has_passphrase = stanzas.iter().any(|stanza: &Stanza| stanza.kind == "scrypt");
                if stanzas.is_empty() || has_passphrase && stanzas.len() > 1 {
                    return None;
                }
                return Some(Self { stanzas, signed, mac, payload: rest });
            }
            if stanzas.len() == STANZAS_MAX {
                return None;
            }
            let mut words = line.strip_prefix("-> ")?.split(' ').map(str::to_owned);
            let (kind, arguments) = (words.next()?, words.collect::<Vec<_>>());
            let mut body = String::new();
            loop {
                let part = self::line(&mut rest)?;
                body.push_str(part);
                match part.len() {
                    COLUMNS => {}
                    less if less < COLUMNS => break,
                    _ => return None,
                }
            }
            stanzas.push(Stanza { kind, arguments, body: from_base64(&body)? });
        }
    }

    /// The header up to where its code comes.
    pub(super) fn begin(stanzas: &[Stanza]) -> Vec<u8> {
        let mut out = VERSION.to_vec();
        for Stanza { kind, arguments, body } in stanzas {
            let body = base64(body);
            out.extend(format!("-> {kind} {}\n", arguments.join(" ")).bytes());
            let lines = body.as_bytes().chunks(COLUMNS);
            lines.clone().for_each(|line| out.extend(line.iter().chain(b"\n")));
            if body.len().is_multiple_of(COLUMNS) {
                out.push(b'\n');
            }
        }
        out.extend(b"---");
        out
    }

    /// Its code, which ends it.
    pub(super) fn end(header: &mut Vec<u8>, mac: &[u8]) {
        header.extend(format!(" {}\n", base64(mac)).bytes());
    }
}

fn line<'f>(rest: &mut &'f [u8]) -> Option<&'f str> {
    let end = rest.iter().position(|byte| *byte == b'\n')?;
    let (line, after) = rest.split_at_checked(end)?;
    *rest = after.get(1..)?;
    std::str::from_utf8(line).ok()
}

pub(super) fn base64(bytes: &[u8]) -> String {
    STANDARD_NO_PAD.encode(bytes)
}

pub(super) fn from_base64(text: &str) -> Option<Vec<u8>> {
    STANDARD_NO_PAD.decode(text).ok()
}

pub(super) fn is_armored(file: &[u8]) -> bool {
    file.trim_ascii_start().starts_with(BEGIN.as_bytes())
}

/// As text, which survives a terminal and a mail.
pub(super) fn armored(file: &[u8]) -> String {
    let text = STANDARD.encode(file);
    let mut out = format!("{BEGIN}\n");
    for line in text.as_bytes().chunks(COLUMNS) {
        out.extend(line.iter().map(|byte| char::from(*byte)));
        out.push('\n');
    }
    out + END + "\n"
}

/// The file without its armor, if it has one.
pub(super) fn unarmored(file: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
    if !is_armored(file) {
        return Ok(Zeroizing::new(file.to_vec()));
    }
    let text = std::str::from_utf8(file).map_err(|_| damaged())?;
    let body = text.trim().strip_prefix(BEGIN).and_then(|text| text.strip_suffix(END)).ok_or_else(damaged)?;
    let lines: String = body.lines().collect();
    STANDARD.decode(lines).map(Zeroizing::new).map_err(|_| damaged())
}
